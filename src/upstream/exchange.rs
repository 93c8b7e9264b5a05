//! One open call on a server leg.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{
    UpstreamError,
    child::{link::Link, progress::Progress},
    instance::Use,
    question::Question,
};
use crate::{
    mux::WireId,
    protocol::{Message, RequestId},
};

/// What a server sends back for a call.
#[derive(Debug)]
pub enum Event {
    /// `notifications/progress` of this call (only when it was asked for).
    Progress(Message),
    /// Any other notification that certainly belongs to this call (`notifications/message`, `notifications/elicitation/complete`).
    Note(Message),
    /// The server asks the caller something (only when the call was opened with `asks`).
    Question(Question),
    /// The server takes back the question with this id of its own.
    Withdrawn(RequestId),
    /// The answer; nothing follows.
    Answer(Message),
    /// There will be none; nothing follows.
    Failed(UpstreamError),
}

/// Dropping it before its last event cancels the call: the server is told once and the slot is freed.
#[derive(Debug)]
pub struct Exchange {
    opened: Option<Opened>,
    /// What `Progress` may still precede.
    last: Option<Event>,
    /// Keeps the instance from being stopped as idle.
    held: Option<Use>,
}

/// A slot taken on a link.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) link: Link,
    pub(super) wire: WireId,
    pub(super) answered: oneshot::Receiver<Event>,
    pub(super) progress: Option<Arc<Progress>>,
}

impl Exchange {
    pub(super) fn new(opened: Opened, held: Option<Use>) -> Self {
        Self { opened: Some(opened), last: None, held }
    }

    /// Cancel-safe. Pends for ever after the last event.
    pub async fn next(&mut self) -> Event {
        let Some(opened) = &mut self.opened else { return std::future::pending().await };
        if self.last.is_none() {
            let last = match &opened.progress {
                None => (&mut opened.answered).await,
                Some(progress) => tokio::select! {
                    biased;
                    last = &mut opened.answered => last,
                    message = progress.next() => return Event::Progress(message),
                },
            };
            // The link answers every waiter it drops, so a lost one is a link that went with its runtime.
            self.last = Some(last.unwrap_or_else(|_| Event::Failed(opened.link.lost())));
        }
        if let Some(message) = opened.progress.as_ref().and_then(|progress| progress.rest()) {
            return Event::Progress(message);
        }
        self.opened = None;
        self.held = None;
        match self.last.take() {
            Some(last) => last,
            None => std::future::pending().await,
        }
    }

    /// The caller has left, but the call goes on: its slot stays taken until the answer or the deadline, and the server is told
    /// nothing.
    pub fn detach(mut self) {
        if let (Some(opened), held) = (self.opened.take(), self.held.take())
            && self.last.is_none()
        {
            let Opened { link, answered, .. } = opened;
            link.detach(answered, held);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some(opened) = self.opened.take()
            && self.last.is_none()
        {
            opened.link.cancel(opened.wire);
        }
    }
}
