//! One open call on a server leg.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{UpstreamError, inbox::Inbox, instance::Use, question::Question, wire::Wire};
use crate::{
    mux::WireId,
    protocol::{Message, RequestId, capability::Profile},
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

/// Dropping it before its last event cancels the call: the server is told once and the slot is freed. Questions that were not taken
/// out are answered; those that were live on.
#[derive(Debug)]
pub struct Exchange {
    opened: Option<Opened>,
    /// What the rest of the inbox still precedes.
    last: Option<Box<Event>>,
    /// Keeps the instance from being stopped as idle.
    held: Option<Use>,
    connection: u64,
}

/// What a server says of its progress when it has answered. A clone reads the same.
#[derive(Clone, Debug)]
pub struct Lingering(Arc<Inbox>);

impl Lingering {
    /// Not before the exchange has ended. Cancel-safe; pends for ever when nothing comes any more.
    pub async fn progress(&self) -> Message {
        loop {
            if let Event::Progress(note) = self.0.next().await {
                return note;
            }
        }
    }
}

/// A slot taken on a link.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) link: Wire,
    pub(super) wire: WireId,
    pub(super) answered: oneshot::Receiver<Event>,
    pub(super) inbox: Option<Arc<Inbox>>,
}

/// What a call takes besides its answer. A plain one takes nothing, and costs no inbox.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wants {
    pub(super) progress: bool,
    /// It may be asked.
    pub(super) asks: bool,
    pub(super) notes: bool,
    /// Progress after the answer too, for as long as somebody reads it.
    pub(super) lingers: bool,
    /// What its server says later may be of it.
    pub(super) begins_task: bool,
    /// The hub's own: nobody's secret can be in what a server says of it.
    pub(super) is_hubs: bool,
    /// One of the hub's own that takes no place of a caller's: a `subscriptions/listen`, a log level.
    pub(super) is_quiet: bool,
}

impl Wants {
    pub(super) const NOTHING: Self =
        Self { progress: false, asks: false, notes: false, lingers: false, begins_task: false, is_hubs: false, is_quiet: false };
    pub(super) const HUBS: Self = Self { is_hubs: true, ..Self::NOTHING };
    pub(super) const QUIET: Self = Self { is_quiet: true, ..Self::HUBS };

    pub(super) fn has_inbox(self) -> bool {
        self.progress || self.asks || self.notes
    }
}

impl Exchange {
    pub(super) fn new(opened: Opened, held: Option<Use>) -> Self {
        let connection = opened.link.connection();
        Self { opened: Some(opened), last: None, held, connection }
    }

    /// What the process, or connection, was told that its caller can do.
    pub fn profile(&self) -> Profile {
        self.held.as_ref().map_or(Profile::BARE, |held| held.instance().profile)
    }

    /// As `Lease::connection`.
    pub fn connection(&self) -> u64 {
        self.connection
    }

    /// Cancel-safe. Pends for ever after the last event.
    pub async fn next(&mut self) -> Event {
        let Some(opened) = &mut self.opened else { return std::future::pending().await };
        let last = match self.last.take() {
            Some(last) => *last,
            None => {
                let last = match &opened.inbox {
                    None => (&mut opened.answered).await,
                    Some(inbox) => tokio::select! {
                        biased;
                        last = &mut opened.answered => last,
                        event = inbox.next() => return event,
                    },
                };
                // The link answers every waiter it drops, so a lost one is a link that went with its runtime.
                last.unwrap_or_else(|_| Event::Failed(opened.link.lost()))
            }
        };
        if let Some(event) = opened.inbox.as_ref().and_then(|inbox| inbox.rest()) {
            self.last = Some(Box::new(last));
            return event;
        }
        self.opened = None;
        self.held = None;
        last
    }

    /// The progress that follows the answer, of a call that was opened with `lingers`.
    pub fn lingering(&self) -> Option<Lingering> {
        self.opened.as_ref()?.inbox.clone().map(Lingering)
    }

    /// Cancels the call as dropping it does, and tells its server why. Nothing follows.
    pub fn cancel(&mut self, reason: &str) {
        self.give_up(Some(reason));
    }

    fn give_up(&mut self, reason: Option<&str>) {
        if let Some(opened) = self.opened.take()
            && self.last.is_none()
        {
            opened.link.cancel(opened.wire, reason);
        }
    }

    /// The caller has left, but the call goes on: its slot stays taken until the answer or the deadline, and the server is told
    /// nothing. It can be asked nothing any more.
    pub fn detach(mut self) {
        if let (Some(opened), held) = (self.opened.take(), self.held.take())
            && self.last.is_none()
        {
            let Opened { link, answered, inbox, .. } = opened;
            if let Some(inbox) = inbox {
                inbox.close();
            }
            link.detach(answered, held);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.give_up(None);
    }
}
