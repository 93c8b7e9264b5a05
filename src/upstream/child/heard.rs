//! What the server says, scanned: each message to whom it concerns. Never waits.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use tokio::time::Instant;

use super::link::Shared;
use crate::{
    bridge::outgoing,
    mux::WireId,
    protocol::{Era, Message, RequestId},
    upstream::{
        Event, Question, UpstreamError, What,
        calls::Asking,
        question::{Progressing, progress_token, reassure},
    },
};

impl Shared {
    pub(super) fn handle_answer(&self, wire: WireId, answer: Message) {
        match self.take(wire) {
            Some(waiter) => waiter.end(Event::Answer(answer)),
            None => tracing::debug!(server = %self.server, %wire, "answer to no open call"),
        }
    }

    /// What came for this call cannot be carried to anybody.
    pub(super) fn handle_bad_answer(&self, wire: WireId) {
        if let Some(waiter) = self.take(wire) {
            waiter.end(Event::Failed(UpstreamError::bad_answer(&self.server)));
        }
    }

    /// The line with the answer to this call was dropped.
    pub(super) fn handle_long_answer(&self, wire: WireId) {
        if let Some(waiter) = self.take(wire) {
            waiter.end(Event::Failed(UpstreamError::long_answer(&self.server, self.bounds.line_bytes)));
        }
    }

    pub(super) fn handle_progress(&self, wire: WireId, message: Message) {
        let now = Instant::now();
        let inbox = self.lock().calls.progress(wire, now);
        if let Some(inbox) = inbox {
            inbox.progress(message, now);
        }
    }

    pub(super) fn handle_list_changed(&self) {
        self.signs.list_changed.notify_one();
    }

    /// A log record: for the one call there is, if it takes notes. Of several nobody could tell whose it is; nor where there are tasks,
    /// which need not be of who calls now.
    pub(super) fn handle_log(&self, message: Message) {
        let (only, has_tasks) = {
            let core = self.lock();
            (core.calls.only_inbox(Instant::now()), core.calls.has_tasks())
        };
        match only.filter(|_| !has_tasks || self.outlet.is_of_one()) {
            Some(inbox) => inbox.note(message),
            None => self.outlet.tell(What::Log(message)),
        }
    }

    pub(super) fn handle_elicited(&self, message: Message) {
        let inbox = self.lock().calls.newest_asked();
        self.outlet.elicited(message, inbox);
    }

    pub(super) fn handle_news(&self, what: What) {
        self.outlet.tell(what);
    }

    /// A request of the server's own.
    pub(super) fn handle_request(self: &Arc<Self>, request: Message) {
        let is_handshake = self.version().is_some_and(|version| version.era() == Era::Handshake);
        match request.id() {
            // 2026-07-28 knows no requests of servers.
            Some(id) if is_handshake && !self.outlet.answers(request.method()) => self.handle_question(id, request),
            _ => self.answer(&request),
        }
    }

    fn handle_question(self: &Arc<Self>, id: RequestId, request: Message) {
        let asking = self.lock().calls.ask(&id, None, self.outlet.takes_questions());
        match asking {
            Asking::Twice => tracing::debug!(server = %self.server, "a question under the id of one that is open"),
            Asking::Nobody => {
                tracing::debug!(server = %self.server, method = request.method().as_str(), "a question that nobody can be asked");
                self.answer(&request);
            }
            Asking::Somebody { inbox, serial } => {
                let progress = self.reassure(&id, serial, &request);
                let shared = Arc::clone(self);
                let question = Question::new(request, Box::new(move |response| shared.handle_reply(&id, serial, &response)));
                self.outlet.ask(question.with_progress(progress), inbox);
            }
        }
    }

    /// For as long as the question is open, if its server can be told.
    fn reassure(self: &Arc<Self>, id: &RequestId, serial: u64, request: &Message) -> Option<Progressing> {
        let token = progress_token(request)?;
        let closed = self.lock().calls.questions.closed(id, serial)?;
        let (shared, id) = (Arc::clone(self), id.clone());
        let (progress, telling) = reassure(token, closed, move |line| {
            if shared.lock().calls.questions.say(&id, serial, line) {
                shared.to_write.notify_one();
            }
        });
        self.tasks.spawn(telling);
        Some(progress)
    }

    /// Somebody answered a question; too late if it was taken back.
    fn handle_reply(&self, id: &RequestId, serial: u64, response: &[u8]) {
        let mut core = self.lock();
        if core.calls.answered(id, serial, Instant::now()) {
            core.calls.questions.answer(one_line(response));
            self.to_write.notify_one();
        }
    }

    /// `notifications/cancelled` of the server: a question it takes back, or a listen that it ends (MCP 2026-07-28, subscriptions).
    pub(super) fn handle_cancelled(&self, message: &Message) {
        let Some(span) = message.scan().request_id else { return };
        if self.version().is_none_or(|version| version.era() == Era::Stateless) {
            if let Some(wire) = WireId::parse(message.token(span)) {
                self.handle_end(wire);
            }
            return;
        }
        let Some(id) = message.request_id_at(span) else { return };
        let withdrawn = self.lock().calls.withdraw(&id, Instant::now());
        if let Some(asked) = withdrawn {
            // Its calls are due again, which the timer is to learn.
            self.to_write.notify_one();
            self.outlet.withdraw(id, asked);
        }
    }

    /// Only what is for the server to end.
    fn handle_end(&self, wire: WireId) {
        let is_quiet = self.lock().calls.is_quiet(wire);
        if is_quiet && let Some(waiter) = self.take(wire) {
            waiter.end(Event::Failed(UpstreamError::gone(&self.server)));
        }
    }

    /// First message of a listen: what the server will tell.
    pub(super) fn handle_acknowledged(&self, wire: WireId, message: Message) {
        let inbox = self.lock().calls.inbox_of(wire);
        if let Some(inbox) = inbox {
            inbox.note(message);
        }
    }

    /// By the hub itself: `ping`, roots that are configured, and what nobody can be asked.
    fn answer(&self, request: &Message) {
        if let Some(line) = outgoing::answer_server(request, self.outlet.roots())
            && !self.push_own(line)
        {
            self.counts.dropped_replies.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Raw line ends between tokens are legal JSON, but would be two lines to the server, of which the second could be anything.
fn one_line(response: &[u8]) -> Bytes {
    let mut line = Vec::with_capacity(response.len() + 1);
    line.extend(response.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
    line.push(b'\n');
    line.into()
}
