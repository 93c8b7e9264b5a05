//! A server's own request, on its way to somebody who can answer it.

use std::{convert::Infallible, fmt};

use bytes::Bytes;
use tokio::{
    sync::{oneshot, watch},
    time::sleep,
};

use crate::{
    bridge::{incoming, outgoing},
    limits::QUESTION_PROGRESS,
    protocol::{Message, Refusal, RequestId, code::Code},
};

/// A longer one is none that anybody means.
const TOKEN_BYTES_MAX: usize = 1024;

/// Answered at most once. Dropping it tells the server that there is no answer.
pub struct Question {
    message: Message,
    reply: Option<Reply>,
    progress: Option<Progressing>,
}

/// Takes what whoever is asked says of their progress (`notifications/progress`); of what comes faster than it goes on, the last.
#[derive(Clone)]
pub struct Progressing(watch::Sender<Option<Message>>);

impl Progressing {
    pub fn say(&self, note: Message) {
        self.0.send_replace(Some(note));
    }
}

/// Takes the whole response, with the server's own id, without line end.
pub(super) type Reply = Box<dyn FnOnce(Bytes) + Send>;

impl Question {
    pub(super) fn new(message: Message, reply: Reply) -> Self {
        Self { message, reply: Some(reply), progress: None }
    }

    pub(super) fn with_progress(mut self, progress: Option<Progressing>) -> Self {
        self.progress = progress;
        self
    }

    /// `None` when the server does not want to hear of it.
    pub fn progress(&self) -> Option<&Progressing> {
        self.progress.as_ref()
    }

    /// The server's request.
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// The server's own id of it.
    pub fn id(&self) -> RequestId {
        self.message.id().unwrap_or_else(|| RequestId::from_number(0))
    }

    /// `response`: a whole JSON-RPC response with the server's own id.
    pub fn answer(mut self, response: Bytes) {
        if let Some(reply) = self.reply.take() {
            reply(response);
        }
    }
}

/// The progress token that a server gave its question (raw JSON), if it is one.
pub(super) fn progress_token(question: &Message) -> Option<String> {
    let meta = &question.scan().meta;
    let token = question.token(meta.progress_token?.value);
    let is_one = !meta.is_progress_token_wrong && token.len() <= TOKEN_BYTES_MAX;
    String::from_utf8(token.to_vec()).ok().filter(|_| is_one)
}

/// Servers give up on their questions after a minute or so, but wait longer for one that makes progress: somebody is being asked.
/// What they say of it themselves goes to the server too. Ends with the question (`closed`).
pub(super) fn reassure(
    token: String,
    mut closed: oneshot::Receiver<Infallible>,
    say: impl Fn(Bytes),
) -> (Progressing, impl Future<Output = ()>) {
    let (progressing, mut said) = watch::channel(None);
    let telling = async move {
        let token = Bytes::from(token);
        let mut last = 0.0;
        loop {
            let line = tokio::select! {
                biased;
                _ = &mut closed => return,
                Ok(()) = said.changed() => said.borrow_and_update().as_ref().and_then(|note| {
                    let progress = incoming::progress_of(note).filter(|progress| *progress > last && *progress < PROGRESS_MAX)?;
                    last = progress;
                    outgoing::relayed_progress(note, &token)
                }),
                () = sleep(QUESTION_PROGRESS) => {
                    last = last.floor() + 1.0;
                    Some(outgoing::progress(&String::from_utf8_lossy(&token), last as u64, "waiting for an answer"))
                }
            };
            line.into_iter().for_each(&say);
        }
    };
    (Progressing(progressing), telling)
}

/// Well below what one step makes no difference to.
const PROGRESS_MAX: f64 = (1_u64 << 52) as f64;

impl Drop for Question {
    fn drop(&mut self) {
        if let Some(reply) = self.reply.take() {
            let refusal = Refusal::new(Code::Internal, 200, "the caller has gone; there will be no answer");
            reply(refusal.with_id(Some(self.id())).to_body().to_bytes());
        }
    }
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question").field("id", &self.id()).finish_non_exhaustive()
    }
}
