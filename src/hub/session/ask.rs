//! What the hub asked a client: requests the other way, told apart by ids of the hub's own.

use std::sync::{Arc, Weak};

use tokio::sync::oneshot;

use super::Session;
use crate::{
    limits,
    protocol::{Message, RequestId},
    upstream::Progressing,
};

/// The questions of one session without an answer. Ids count from 1, or from where an earlier hub left off, and are never used again.
#[derive(Default)]
pub(super) struct Questions {
    last: u64,
    open: Vec<Open>,
    closed: bool,
}

struct Open {
    id: RequestId,
    answer: oneshot::Sender<Message>,
    /// Of a server that wants to hear of it.
    progress: Option<Progressing>,
}

/// More than any hub gets to, and less than what numbers of JSON are exact for.
const LAST_NUMBER: u64 = 1 << 52;

impl Session {
    /// The client has seen questions with ids up to this one from a hub before this one.
    pub fn number_questions_after(&self, last: u64) {
        self.questions.lock().expect("no panic under this lock").last = last.min(LAST_NUMBER);
    }

    /// Takes an id for a question; whoever asks writes the line and sends it: as a notice of the request it belongs to, or with
    /// `post_question`. `None` when the session has ended, or with `limits::SESSION_QUESTIONS_MAX` open.
    pub fn ask(self: &Arc<Self>) -> Option<Asked> {
        self.ask_for(None)
    }

    /// The same for a server that is told what the client says of its progress.
    pub(in crate::hub) fn ask_for(self: &Arc<Self>, progress: Option<&Progressing>) -> Option<Asked> {
        let mut questions = self.questions.lock().expect("no panic under this lock");
        if questions.closed || questions.open.len() >= limits::SESSION_QUESTIONS_MAX {
            return None;
        }
        questions.last += 1;
        let id = RequestId::from_number(questions.last);
        let (answer, receiver) = oneshot::channel();
        questions.open.push(Open { id: id.clone(), answer, progress: progress.cloned() });
        drop(questions);
        Some(Asked { session: Arc::downgrade(self), id, receiver })
    }

    /// A response of the client's. `false` when no question is open under its id: it came too late, or was never asked for.
    pub(in crate::hub) fn answered(&self, response: Message) -> bool {
        let Some(id) = response.id() else { return false };
        let mut questions = self.questions.lock().expect("no panic under this lock");
        let Some(at) = questions.open.iter().position(|open| open.id == id) else { return false };
        let Open { answer, .. } = questions.open.swap_remove(at);
        drop(questions);
        answer.send(response).is_ok()
    }

    /// `notifications/progress` of the client: on a question, whose progress token is its id.
    pub(in crate::hub) fn goes_on(&self, note: &Message) {
        let Some(token) = note.scan().progress_token.filter(|_| note.bytes().len() <= limits::PROGRESS_BYTES_MAX) else { return };
        let questions = self.questions.lock().expect("no panic under this lock");
        let asked = questions.open.iter().find(|open| open.id.token() == note.token(token));
        if let Some(progress) = asked.and_then(|open| open.progress.as_ref()) {
            progress.say(note.clone());
        }
    }

    pub(super) fn close_questions(&self) {
        let mut questions = self.questions.lock().expect("no panic under this lock");
        questions.closed = true;
        questions.open = Vec::new();
    }
}

/// A question under way. Dropping it forgets the question: an answer that still comes is ignored. It does not keep its session: a pipe
/// that is gone answers nothing.
pub struct Asked {
    session: Weak<Session>,
    id: RequestId,
    receiver: oneshot::Receiver<Message>,
}

impl Asked {
    /// To be the `id` of the line, as it is.
    pub fn id(&self) -> &RequestId {
        &self.id
    }

    /// The client's response, a result or an error; `None` when the session ends without one. Cancel-safe; once only.
    pub async fn answer(&mut self) -> Option<Message> {
        (&mut self.receiver).await.ok()
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if let Some(session) = self.session.upgrade() {
            session.questions.lock().expect("no panic under this lock").open.retain(|open| open.id != self.id);
        }
    }
}
