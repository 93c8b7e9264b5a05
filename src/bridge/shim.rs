//! A stateless server asks by the result `input_required` (MCP 2026-07-28, multi round-trip requests); a handshake client is asked by
//! requests on its session. The state of one request that is answered in rounds. Pure: it says what to send, and is told what came.
//!
//! ```text
//!   sent ──input_required──► asking ──all answered──► retry ──► sent …
//!                 │             └── refused, too late ──► failed
//!                 └── state only ──► pause ──► retry
//! ```

use std::{
    fmt,
    time::{Duration, Instant},
};

use super::{
    content::Publish,
    downgrade::Inexpressible,
    json::{Writer, text_of},
    question::{self, CANCELLED, Kind},
    round::InputRequired,
};
use crate::{
    limits,
    protocol::{Body, Kind as MessageKind, Message, Refusal, RequestId, Version, capability::Profile},
};

/// A question of this request; never the same for two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Number(u32);

impl Number {
    pub const fn as_u32(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A question to send to the client's session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pub number: Number,
    pub kind: Kind,
    params: Option<String>,
}

impl Question {
    /// The request, under an id of the hub's own.
    pub fn to_body(&self, id: &RequestId) -> Body {
        question::request(id, self.kind, self.params.as_deref())
    }
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Wait for the other answers, until `timeout`.
    Wait,
    /// Ask the client all of these, at once.
    Ask(Vec<Question>),
    /// Send the request again after the pause: `Inputs::Put` of these.
    Retry(Retry),
    /// Give up: take these questions back from the client, then `round::failed`.
    Fail(Failure),
}

/// What the request says when it is sent again.
#[derive(Debug, PartialEq, Eq)]
pub struct Retry {
    /// A raw JSON object.
    pub responses: Option<String>,
    pub state: Option<String>,
    /// Before it is sent.
    pub pause: Duration,
    /// Questions that the client need not answer any more: `question::withdrawn`.
    pub withdrawn: Vec<Number>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// As in `Retry`.
    pub withdrawn: Vec<Number>,
    pub text: String,
    /// Raw JSON of the error's data, where it becomes one.
    pub data: Option<String>,
}

#[derive(Debug)]
pub struct Shim {
    client: Version,
    /// What the session declared.
    profile: Profile,
    /// What it answers for a session without roots of its own: the result of `roots/list`.
    roots: Option<String>,
    rounds: u32,
    numbers: u32,
    open: Vec<Open>,
    state: Option<String>,
    patience: Duration,
    /// When whoever has not answered will not.
    until: Option<Instant>,
}

#[derive(Debug)]
struct Open {
    number: Number,
    /// The server's.
    key: String,
    kind: Kind,
    /// A raw JSON object.
    response: Option<String>,
}

impl Shim {
    /// For one request of a session. `roots`: raw JSON, of one that has none of its own. `patience`: for its answers.
    pub fn new(client: Version, profile: Profile, roots: Option<String>, patience: Duration) -> Self {
        Self { client, profile, roots, patience, rounds: 0, numbers: 0, open: Vec::new(), state: None, until: None }
    }

    /// The server's answer is `input_required`. `mint`: ids for elicitations by URL (2025-11-25), each unguessable and new.
    ///
    /// # Errors
    /// The answer for the client, without id: what the server sent is malformed.
    pub fn handle_input_required(
        &mut self,
        answer: &Message,
        publish: Option<&Publish<'_>>,
        mint: &mut dyn FnMut() -> String,
        now: Instant,
    ) -> Result<Step, Refusal> {
        let required = InputRequired::read(answer, publish)?;
        self.open.clear();
        self.rounds += 1;
        if self.rounds > limits::ROUNDS_MAX {
            return Ok(self.fail(format!("The server asked for input more than {} times", limits::ROUNDS_MAX), None));
        }
        self.state = required.state.map(String::from);
        if required.asked.is_empty() {
            return Ok(Step::Retry(Retry {
                responses: None,
                state: self.state.take(),
                pause: limits::ROUND_PAUSE * self.rounds,
                withdrawn: Vec::new(),
            }));
        }
        let mut questions = Vec::new();
        for (key, asked) in &required.asked {
            if let Some(roots) = self.roots.as_ref().filter(|_| asked.kind == Kind::Roots && !self.profile.has(Profile::ROOTS)) {
                self.numbers += 1;
                let (number, response) = (Number(self.numbers), Some(roots.clone()));
                self.open.push(Open { number, key: key.to_string(), kind: asked.kind, response });
                continue;
            }
            let elicitation_id = if asked.kind == Kind::Url { mint() } else { String::new() };
            let params = match asked.params_for(self.client, &elicitation_id) {
                Ok(params) if asked.check(self.profile).is_ok() => params,
                Ok(_) => return Ok(self.lacks(asked.needs)),
                Err(Inexpressible { needs }) => return Ok(self.lacks(needs)),
            };
            self.numbers += 1;
            let number = Number(self.numbers);
            self.open.push(Open { number, key: key.to_string(), kind: asked.kind, response: None });
            questions.push(Question { number, kind: asked.kind, params });
        }
        if questions.is_empty() {
            return Ok(self.next(Vec::new()));
        }
        self.until = Some(now + self.patience);
        Ok(Step::Ask(questions))
    }

    /// The client's response to a question, result or error. One that nothing is open for changes nothing.
    pub fn handle_response(&mut self, number: Number, response: &Message) -> Step {
        let is_result = response.kind() == MessageKind::Result;
        let result = text_of(response, response.scan().result).filter(|_| is_result);
        let Some(open) = self.open.iter_mut().find(|open| open.number == number && open.response.is_none()) else { return Step::Wait };
        match result {
            Some(result) if open.kind.accepts(result) => {
                open.response = Some(result.to_owned());
                self.next(Vec::new())
            }
            // An elicitation can be cancelled; the stateless era has no words for a refusal of the others.
            _ if open.kind.is_elicitation() => {
                open.response = Some(CANCELLED.into());
                self.next(Vec::new())
            }
            _ => {
                let text = format!("The client declined to answer {}, which the server needs", open.kind.method());
                self.open.retain(|open| open.number != number);
                self.fail(text, None)
            }
        }
    }

    /// `timeout` is over, or the client is known not to answer.
    pub fn handle_timeout(&mut self) -> Step {
        let late: Vec<Number> = self.waiting().collect();
        if let Some(open) = self.open.iter().find(|open| open.response.is_none() && !open.kind.is_elicitation()) {
            let text = format!("The client did not answer {} in time, which the server needs", open.kind.method());
            return self.fail(text, None);
        }
        for open in self.open.iter_mut().filter(|open| open.response.is_none()) {
            open.response = Some(CANCELLED.into());
        }
        if late.is_empty() { Step::Wait } else { self.next(late) }
    }

    /// The questions that the client has not answered.
    pub fn waiting(&self) -> impl Iterator<Item = Number> + '_ {
        self.open.iter().filter(|open| open.response.is_none()).map(|open| open.number)
    }

    pub fn timeout(&self) -> Option<Instant> {
        self.until
    }

    fn next(&mut self, withdrawn: Vec<Number>) -> Step {
        if self.waiting().next().is_some() {
            return Step::Wait;
        }
        self.until = None;
        let put = |responses: Writer, open: Open| responses.member(&open.key, open.response.as_deref().unwrap_or(CANCELLED));
        let responses = self.open.drain(..).fold(Writer::new(), put).finish();
        Step::Retry(Retry { responses: Some(responses), state: self.state.take(), pause: Duration::ZERO, withdrawn })
    }

    fn lacks(&mut self, needs: Profile) -> Step {
        // Nothing of this round was asked.
        self.open.clear();
        let needed = needs.declare(Version::STATELESS);
        self.fail(
            format!("The server needs of the client what it cannot do: {needed}"),
            Some(format!(r#"{{"requiredCapabilities":{needed}}}"#)),
        )
    }

    fn fail(&mut self, text: String, data: Option<String>) -> Step {
        let withdrawn = self.waiting().collect();
        self.open.clear();
        self.until = None;
        Step::Fail(Failure { withdrawn, text, data })
    }
}

#[cfg(test)]
mod tests;
