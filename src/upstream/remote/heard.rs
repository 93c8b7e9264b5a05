//! What the server says, read: each message to whom it concerns. Never waits.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use super::{call, fault::Fault, link::Shared};
use crate::{
    bridge::outgoing,
    limits,
    mux::WireId,
    protocol::{Era, Kind, Message, Method, RequestId, code::Code},
    upstream::{
        Event, Question, What,
        calls::{Asking, Calls},
        question::{Progressing, progress_token, reassure},
    },
};

/// The stream that a message came on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source {
    /// Of the session whose it is.
    pub(super) epoch: u64,
    /// `None`: a stream that belongs to no call.
    pub(super) call: Option<WireId>,
}

impl Shared {
    pub(super) fn handle_answer(&self, wire: WireId, answer: Message) {
        if answer.kind() == Kind::Error && self.is_stateless() {
            self.heed(&answer);
        }
        match self.take(wire) {
            Some(waiter) => waiter.end(Event::Answer(answer)),
            None => tracing::debug!(server = %self.dial.server(), %wire, "answer to no open call"),
        }
    }

    pub(super) fn handle_fault(&self, wire: WireId, fault: &Fault) {
        self.dial.target.fail(fault);
        let waiter = if fault.may_go_on() { self.lose(wire) } else { self.take(wire) };
        if let Some(waiter) = waiter {
            waiter.end(Event::Failed(fault.told(self.dial.server())));
        }
    }

    /// Errors that say what the hub knows of this server is out of date.
    fn heed(&self, error: &Message) {
        let is = |code: Code| error.error_code() == Some(code.number());
        if is(Code::HeaderMismatch) {
            // The schema that said which arguments are repeated in headers has changed.
            self.signs.list_changed.notify_one();
        } else if is(Code::UnsupportedVersion) {
            self.signs.outdate();
        }
    }

    pub(super) fn handle_notification(self: &Arc<Self>, source: Source, message: Message) {
        match message.method() {
            Method::Progress => {
                let wire = message.scan().progress_token.and_then(|token| WireId::parse(message.token(token)));
                if let Some(wire) = wire {
                    self.handle_progress(wire, message);
                }
            }
            Method::ToolsListChanged | Method::PromptsListChanged | Method::ResourcesListChanged => self.signs.list_changed.notify_one(),
            Method::Cancelled => self.handle_cancelled(source, &message),
            // Bounded in bytes by this; in count by whoever keeps them.
            method if message.bytes().len() > limits::NOTE_BYTES_MAX => {
                let bytes = message.bytes().len();
                tracing::debug!(server = %self.dial.server(), method = method.as_str(), bytes, "notification too large, dropped");
            }
            Method::ResourcesUpdated => self.dial.outlet.tell(What::Updated(message)),
            Method::ElicitationComplete => {
                let inbox = self.with_calls(|calls| calls.newest_asked());
                self.dial.outlet.elicited(message, inbox);
            }
            method => match source.call.and_then(|wire| self.with_calls(|calls| calls.inbox_of(wire))) {
                Some(inbox) => inbox.note(message),
                None if method == Method::LogMessage => self.dial.outlet.tell(What::Log(message)),
                None => self.dial.outlet.tell(What::Note(message)),
            },
        }
    }

    fn handle_progress(&self, wire: WireId, message: Message) {
        let now = Instant::now();
        if let Some(inbox) = self.with_calls(|calls| calls.progress(wire, now)) {
            inbox.progress(message, now);
        }
    }

    /// Whether the session of that stream is still the connection's. What a session asks that is over, nobody can answer: it is 404 to
    /// whoever names it (2025-11-25, Session Management). Certain only under the lock of the questions.
    fn is_current(&self, source: Source) -> bool {
        self.session.load().epoch == source.epoch
    }

    /// A request of the server's own.
    pub(super) fn handle_request(self: &Arc<Self>, source: Source, request: Message) {
        let is_handshake = self.version().is_some_and(|version| version.era() == Era::Handshake);
        match request.id() {
            _ if !self.is_current(source) => tracing::debug!(server = %self.dial.server(), "a request of a session that is over"),
            Some(id) if is_handshake && !self.dial.outlet.answers(request.method()) => self.handle_question(source, id, request),
            // 2026-07-28 knows no requests of servers, and no way to answer one.
            _ if self.is_stateless() => tracing::debug!(server = %self.dial.server(), "a request of a server that may send none"),
            _ => self.answer(&request),
        }
    }

    fn handle_question(self: &Arc<Self>, source: Source, id: RequestId, request: Message) {
        let outlet = &self.dial.outlet;
        let server = self.dial.server();
        let asking = self.with_calls(|calls| self.is_current(source).then(|| calls.ask(&id, source.call, outlet.takes_questions())));
        let Some(asking) = asking else { return };
        match asking {
            Asking::Twice => tracing::debug!(%server, "a question under the id of one that is open"),
            Asking::Nobody => {
                tracing::debug!(%server, method = request.method().as_str(), "a question that nobody can be asked");
                self.answer(&request);
            }
            Asking::Somebody { inbox, serial } => {
                let progress = self.reassure(&id, serial, &request);
                let shared = Arc::clone(self);
                let question = Question::new(request, Box::new(move |response| shared.handle_reply(&id, serial, response)));
                outlet.ask(question.with_progress(progress), inbox);
            }
        }
    }

    /// For as long as the question is open, if its server can be told.
    fn reassure(self: &Arc<Self>, id: &RequestId, serial: u64, request: &Message) -> Option<Progressing> {
        let token = progress_token(request)?;
        let closed = self.with_calls(|calls| calls.questions.closed(id, serial))?;
        let (shared, id) = (Arc::clone(self), id.clone());
        let (progress, telling) = reassure(token, closed, move |line| {
            if shared.with_calls(|calls| calls.questions.is_current(&id, serial)) {
                shared.note(line);
            }
        });
        self.tasks.spawn(telling);
        Some(progress)
    }

    /// Somebody answered a question; too late if it was taken back.
    fn handle_reply(self: &Arc<Self>, id: &RequestId, serial: u64, response: Bytes) {
        // Of the session that asked: no question outlives its own.
        let session = self.with_calls(|calls| calls.answered(id, serial, Instant::now()).then(|| self.session.load_full()));
        let Some(session) = session else { return };
        self.timer.notify_one();
        // None is dropped for want of room: there are no more than questions, which are bounded.
        let shared = Arc::clone(self);
        self.tasks.spawn(async move { call::tell(&shared, &session, response).await });
    }

    /// The server takes a question back.
    fn handle_cancelled(&self, source: Source, message: &Message) {
        let Some(id) = message.scan().request_id.and_then(|span| message.request_id_at(span)) else { return };
        let withdraw = |calls: &mut Calls| if self.is_current(source) { calls.withdraw(&id, Instant::now()) } else { None };
        if let Some(asked) = self.with_calls(withdraw) {
            // Its calls are due again.
            self.timer.notify_one();
            self.dial.outlet.withdraw(id, asked);
        }
    }

    /// By the hub itself: `ping`, roots that are configured, and what nobody can be asked.
    fn answer(self: &Arc<Self>, request: &Message) {
        if let Some(line) = outgoing::answer_server(request, self.dial.outlet.roots()) {
            self.note(line);
        }
    }
}
