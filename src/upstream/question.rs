//! A server's own request, on its way to somebody who can answer it.

use std::fmt;

use bytes::Bytes;

use crate::protocol::{Message, Refusal, RequestId, code::Code};

/// Answered at most once. Dropping it tells the server that there is no answer.
pub struct Question {
    message: Message,
    reply: Option<Reply>,
}

/// Takes the whole response, with the server's own id, without line end.
pub(super) type Reply = Box<dyn FnOnce(Bytes) + Send>;

impl Question {
    pub(super) fn new(message: Message, reply: Reply) -> Self {
        Self { message, reply: Some(reply) }
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
