//! A handshake server blocks in a request and asks; a stateless client gets the question as the result of its request, and comes back
//! with the answer in a new one (MCP 2026-07-28, multi round-trip requests). Between the two the call is parked. The state of one such
//! call, without its connection: whoever holds that feeds this and does what it says.
//!
//! ```text
//!             question            window over: Ask
//!   awaited ────────────► asking ──────────────────► parked ──► (expiry: closed)
//!      ▲ ◄──────────────────┘ withdrawn               │  │
//!      └──────────────────────────────────────────────┘  │ the server ends: the outcome waits
//!                    retry                               ▼
//!   the server ends: Answer ◄────────────────────────── done
//! ```
//!
//! A question has one response: the client's, a refusal at once, or the one that closes it. One that its server withdraws has none.
//! Bounded: `limits::QUESTIONS_MAX` at once, `QUESTIONS_PER_CALL_MAX` in all, `QUESTION_BYTES_MAX` kept.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{
    content::Publish,
    downgrade,
    json::{Object, Writer, text_of},
    outgoing,
    question::{Asked, Kind},
};
use crate::{
    limits,
    protocol::{Message, Refusal, RequestId, Version, capability::Profile, code::Code},
};

/// A response for the server: to be handed to the question with this id of the server's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub question: RequestId,
    /// A whole response with that id, without line end.
    pub response: Bytes,
}

/// What there is to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<T> {
    /// Nothing, until something happens or `timeout` is over.
    Wait,
    /// Answer the waiting request with `requests`; from then on nobody waits.
    Ask,
    /// Answer the waiting request with this. The call is over.
    Answer(T),
    /// Nobody came back in time: give the server these, cancel the call, forget it.
    Expired(Vec<Reply>),
}

/// A call that may be, or is, parked. `T` is how the call ends.
#[derive(Debug)]
pub struct Parked<T> {
    /// What the client declared on its request.
    client: Profile,
    server: Version,
    /// For the client to come back.
    patience: Duration,
    /// In the order they were asked.
    pending: Vec<Pending>,
    /// In bytes, over all pending.
    kept: usize,
    asked_so_far: u32,
    state: State,
    outcome: Option<T>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A request of the client waits. Pending questions go to it at that time.
    Awaited {
        ask_at: Option<Instant>,
    },
    /// Nobody waits.
    Parked {
        until: Instant,
    },
    Over,
}

#[derive(Debug)]
struct Pending {
    key: String,
    id: RequestId,
    asked: Asked,
}

impl<T> Parked<T> {
    /// A call that its first request waits for. `client`: declared on that request; `server`: spoken on its connection.
    /// `patience`: how long its client may take to come back.
    pub fn new(client: Profile, server: Version, patience: Duration) -> Self {
        let state = State::Awaited { ask_at: None };
        Self { client, server, patience, pending: Vec::new(), kept: 0, asked_so_far: 0, state, outcome: None }
    }

    /// The server asks. A reply refuses it at once: the client did not declare such things, it is malformed, or it is one too many.
    pub fn handle_question(&mut self, question: &Message, publish: Option<&Publish<'_>>, now: Instant) -> Option<Reply> {
        let id = question.id()?;
        match self.accept(question, publish) {
            Ok(asked) => {
                self.asked_so_far += 1;
                self.kept += asked.len();
                self.pending.push(Pending { key: format!("q{}", self.asked_so_far), id, asked });
                if let State::Awaited { ask_at } = &mut self.state {
                    ask_at.get_or_insert(now + limits::PARK_GATHER);
                }
                None
            }
            Err(refusal) => {
                let response = refusal.with_id(Some(id.clone())).to_body().to_bytes();
                Some(Reply { question: id, response })
            }
        }
    }

    fn accept(&self, question: &Message, publish: Option<&Publish<'_>>) -> Result<Asked, Refusal> {
        let too_many = || Refusal::new(Code::Internal, 200, "too many questions in one call");
        let asked = Asked::read(question, publish)?;
        asked.check(self.client)?;
        let is_over = self.outcome.is_some() || self.state == State::Over;
        let is_full = self.pending.len() >= limits::QUESTIONS_MAX || self.asked_so_far >= limits::QUESTIONS_PER_CALL_MAX;
        let is_known = question.id().is_none_or(|id| self.pending.iter().any(|pending| pending.id == id));
        match is_over || is_full || is_known || self.kept + asked.len() > limits::QUESTION_BYTES_MAX {
            true => Err(too_many()),
            false => Ok(asked),
        }
    }

    /// The server takes a question back.
    pub fn handle_withdrawn(&mut self, id: &RequestId) {
        self.take(|pending| pending.id == *id);
        if let State::Awaited { ask_at } = &mut self.state
            && self.pending.is_empty()
        {
            *ask_at = None;
        }
    }

    /// The call has ended at its server. What was pending is closed: a server that has ended waits for nothing any more.
    pub fn handle_outcome(&mut self, outcome: T) -> Vec<Reply> {
        if self.state != State::Over && self.outcome.is_none() {
            self.outcome = Some(outcome);
        }
        self.close_pending()
    }

    /// The client has come back, and waits from now on, whoever waited before: the newest does. The replies go to the server; keys
    /// that nothing is pending under are ignored; what is still pending is asked again at once.
    ///
    /// # Errors
    /// A response is malformed (`-32602`, without id): nothing was answered, and nobody else waits than before.
    pub fn handle_retry(&mut self, responses: Option<&str>, now: Instant) -> Result<Vec<Reply>, Refusal> {
        let malformed = |what: String| Refusal::new(Code::InvalidParams, 200, what);
        if self.state == State::Over {
            return Err(malformed(UNKNOWN_STATE.into()));
        }
        let responses = Object::read(responses.unwrap_or("{}")).ok_or_else(|| malformed("inputResponses is not an object".into()))?;
        let mut replies = Vec::new();
        for pending in &self.pending {
            let Some(response) = responses.field(&pending.key) else { continue };
            let kind = pending.asked.kind;
            if !kind.accepts(response.value) {
                return Err(malformed(format!("inputResponses.{} is no answer to {}", pending.key, kind.method())));
            }
            let response = outgoing::response(&pending.id, &downgrade::answer(kind, response.value, self.server));
            replies.push(Reply { question: pending.id.clone(), response });
        }
        self.take(|pending| responses.field(&pending.key).is_some());
        self.state = State::Awaited { ask_at: (!self.pending.is_empty()).then_some(now) };
        Ok(replies)
    }

    /// Ends the call: the client cancelled, its quota is used up, the hub stops. What the server still waits for.
    pub fn close(&mut self) -> Vec<Reply> {
        self.state = State::Over;
        self.outcome = None;
        self.close_pending()
    }

    fn close_pending(&mut self) -> Vec<Reply> {
        self.kept = 0;
        let close = |pending: Pending| Reply { response: pending.asked.kind.closing(&pending.id), question: pending.id };
        self.pending.drain(..).map(close).collect()
    }

    /// To be asked after every `handle_…`, and when `timeout` is over.
    pub fn poll(&mut self, now: Instant) -> Step<T> {
        match self.state {
            State::Awaited { ask_at } => match self.outcome.take() {
                Some(outcome) => {
                    self.state = State::Over;
                    Step::Answer(outcome)
                }
                None if ask_at.is_some_and(|at| at <= now) => {
                    self.state = State::Parked { until: now + self.patience };
                    Step::Ask
                }
                None => Step::Wait,
            },
            State::Parked { until } if until <= now => Step::Expired(self.close()),
            State::Parked { .. } | State::Over => Step::Wait,
        }
    }

    /// When `poll` has something new to say, though nothing happens.
    pub fn timeout(&self) -> Option<Instant> {
        match self.state {
            State::Awaited { ask_at } => ask_at,
            State::Parked { until } => Some(until),
            State::Over => None,
        }
    }

    /// What to ask the client: the raw object `inputRequests`, all that is pending by its keys.
    pub fn requests(&self) -> String {
        self.pending.iter().fold(Writer::new(), |requests, pending| requests.member(&pending.key, &pending.asked.entry())).finish()
    }

    /// Whether a request of the client waits.
    pub fn is_awaited(&self) -> bool {
        matches!(self.state, State::Awaited { .. })
    }

    /// Whether the call has ended and nobody knows yet.
    pub fn is_done(&self) -> bool {
        self.outcome.is_some()
    }

    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// The kinds of what is pending.
    pub fn kinds(&self) -> impl Iterator<Item = Kind> + '_ {
        self.pending.iter().map(|pending| pending.asked.kind)
    }

    fn take(&mut self, is_it: impl Fn(&Pending) -> bool) {
        self.pending.retain(|pending| !is_it(pending));
        self.kept = self.pending.iter().map(|pending| pending.asked.len()).sum();
    }
}

/// What a retry gets whose state opens nothing.
pub const UNKNOWN_STATE: &str = "requestState unknown or expired; send the request again without it";

/// The id of the question that a server takes back (`notifications/cancelled`).
pub fn withdrawn_id(note: &Message) -> Option<RequestId> {
    note.scan().request_id.and_then(|span| note.request_id_at(span))
}

/// The `elicitationId` of `notifications/elicitation/complete`.
pub fn completed_elicitation(note: &Message) -> Option<String> {
    Object::read(text_of(note, note.scan().params)?)?.string("elicitationId").map(String::from)
}

#[cfg(test)]
mod tests;
