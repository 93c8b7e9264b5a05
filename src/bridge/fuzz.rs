//! Random operations on a parked call and on a shim, held to naive models of both.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    json::Object,
    park::{self, Parked},
    question::Kind,
    shim::{self, Number, Shim},
};
use crate::{
    limits,
    protocol::{Kind as MessageKind, Message, RequestId, Version, capability::Profile},
};

const OPERATIONS_MAX: usize = 2048;
/// Of a client that is asked.
const PATIENCE: Duration = Duration::from_secs(600);

/// Runs `data`, three bytes an operation, against a parked call and a shim. Whatever comes in whatever order: a server's question gets
/// exactly one response, or is pending, or was withdrawn; keys and numbers are never used again; a call is answered once; what is kept
/// is bounded; every question to a client ends in one retry or one failure.
///
/// # Panics
/// When one of these does not hold.
pub fn fuzz_bridge(data: &[u8]) {
    let mut park = Park::new();
    let mut rounds = Rounds::new();
    for operation in data.chunks_exact(3).take(OPERATIONS_MAX) {
        let [verb, which, amount] = *operation else { continue };
        if verb & 1 == 0 {
            park.run(verb >> 1, which, amount);
        } else {
            rounds.run(verb >> 1, which, amount);
        }
    }
    park.finish();
}

fn profile() -> Profile {
    Profile::FORM.with(Profile::SAMPLING).with(Profile::ROOTS)
}

fn message(text: String) -> Message {
    Message::parse(Bytes::from(text)).expect("the model writes messages")
}

#[expect(clippy::disallowed_methods, reason = "the model's time has to start somewhere; it never passes by itself")]
fn start() -> Instant {
    Instant::now()
}

const QUESTIONS: [(Kind, &str, &str); 4] = [
    (Kind::Form, r#"{"message":"m","requestedSchema":{"type":"object","properties":{}}}"#, r#"{"action":"accept"}"#),
    (Kind::Sampling, r#"{"messages":[],"maxTokens":1}"#, r#"{"role":"assistant","model":"m","content":[{"type":"text","text":"t"}]}"#),
    (Kind::Roots, "{}", r#"{"roots":[]}"#),
    // Which the client has not declared.
    (Kind::Url, r#"{"mode":"url","message":"m","url":"u","elicitationId":"e"}"#, r#"{"action":"accept"}"#),
];

fn sample(which: u8) -> (Kind, &'static str, &'static str) {
    QUESTIONS.get(usize::from(which) % QUESTIONS.len()).copied().unwrap_or((Kind::Roots, "{}", "{}"))
}

struct Park {
    call: Parked<u32>,
    now: Instant,
    next_id: u64,
    /// By the server's id: what kind it is.
    pending: BTreeMap<u64, Kind>,
    keys: BTreeSet<String>,
    outcome: Option<u32>,
    answered: bool,
    over: bool,
}

impl Park {
    fn new() -> Self {
        Self {
            call: Parked::new(profile(), Version::V2025_06_18, PATIENCE),
            now: start(),
            next_id: 0,
            pending: BTreeMap::new(),
            keys: BTreeSet::new(),
            outcome: None,
            answered: false,
            over: false,
        }
    }

    fn run(&mut self, verb: u8, which: u8, amount: u8) {
        match verb % 8 {
            0..=2 => self.ask(which),
            3 => {
                let id = self.pick(which);
                self.call.handle_withdrawn(&RequestId::from_number(id));
                self.pending.remove(&id);
            }
            4 | 5 => self.retry(which, amount),
            6 => {
                if which == 0 {
                    let replies = self.call.handle_outcome(7);
                    if !self.over {
                        self.outcome = Some(7);
                    }
                    self.take(replies);
                    assert!(self.pending.is_empty());
                } else if which == 1 {
                    let replies = self.call.close();
                    self.take(replies);
                    self.over = true;
                }
            }
            _ => self.now += Duration::from_millis(u64::from(amount) * u64::from(which)),
        }
        self.poll();
        self.check();
    }

    fn ask(&mut self, which: u8) {
        let (kind, params, _) = sample(which);
        // By times an id that is in use.
        let id = if which > 250 { self.pick(which) } else { self.next_id };
        self.next_id += 1;
        let method = kind.method();
        let question = message(format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#));
        match self.call.handle_question(&question, None, self.now) {
            Some(reply) => assert_eq!(reply.question, RequestId::from_number(id)),
            None => {
                assert!(kind != Kind::Url && !self.over && self.outcome.is_none());
                assert_eq!(self.pending.insert(id, kind), None, "one question has one id");
            }
        }
    }

    /// The retry answers every second pending key, all, or none, and by times not as it should.
    fn retry(&mut self, which: u8, amount: u8) {
        let requests = self.call.requests();
        let requests = Object::read(&requests).expect("the requests are an object");
        let mut responses = Vec::new();
        for (n, field) in requests.fields().iter().enumerate() {
            let method = Object::read(field.value).and_then(|entry| entry.string("method").map(String::from));
            let answer = QUESTIONS.iter().find(|(kind, ..)| Some(kind.method()) == method.as_deref()).map_or("{}", |(_, _, answer)| answer);
            if amount >> (n % 8) & 1 == 1 {
                responses.push(format!("{}:{answer}", field.key_token));
            }
        }
        let is_bad = which == 9 && !responses.is_empty();
        if is_bad {
            responses.push(format!("{}:[]", requests.fields().first().map_or("\"q\"", |field| field.key_token)));
        }
        let before = self.pending.len();
        match self.call.handle_retry(Some(&format!("{{{}}}", responses.join(","))), self.now) {
            Ok(replies) => {
                assert!(!self.over && !is_bad);
                assert_eq!(replies.len(), responses.len());
                self.take(replies);
                assert_eq!(self.pending.len(), before - responses.len());
            }
            Err(_) => assert!(self.over || is_bad),
        }
    }

    fn poll(&mut self) {
        match self.call.poll(self.now) {
            park::Step::Wait => {}
            park::Step::Ask => {
                assert!(!self.pending.is_empty() && !self.over);
                assert!(!self.call.is_awaited());
            }
            park::Step::Answer(outcome) => {
                assert_eq!(self.outcome.take(), Some(outcome));
                assert!(!self.answered, "a call is answered once");
                (self.answered, self.over) = (true, true);
            }
            park::Step::Expired(replies) => {
                assert!(!self.over);
                self.take(replies);
                assert!(self.pending.is_empty());
                self.over = true;
            }
        }
    }

    fn take(&mut self, replies: Vec<park::Reply>) {
        for reply in replies {
            let response = Message::parse(reply.response).expect("a response is a message");
            assert!(matches!(response.kind(), MessageKind::Result | MessageKind::Error));
            assert_eq!(response.id().as_ref(), Some(&reply.question));
            let id = reply.question.to_string().parse().expect("the model's ids are numbers");
            assert!(self.pending.remove(&id).is_some(), "one response each");
        }
    }

    fn check(&mut self) {
        let requests = self.call.requests();
        let requests = Object::read(&requests).expect("no key stands twice");
        assert_eq!(requests.fields().len(), self.pending.len());
        assert!(requests.fields().len() <= limits::QUESTIONS_MAX && requests.fields().len() == self.call.kinds().count());
        self.keys.extend(requests.fields().iter().map(|field| field.key.to_string()));
        assert!(self.keys.len() <= limits::QUESTIONS_PER_CALL_MAX as usize);
        assert_eq!(self.call.is_over(), self.over);
        assert!(self.over || self.call.is_awaited() || self.call.timeout().is_some(), "whoever nobody waits for expires");
    }

    fn finish(&mut self) {
        let replies = self.call.close();
        self.take(replies);
        assert!(self.pending.is_empty(), "no question stays without response");
    }

    fn pick(&self, which: u8) -> u64 {
        let place = usize::from(which) % self.pending.len().max(1);
        self.pending.keys().nth(place).copied().unwrap_or(self.next_id)
    }
}

struct Rounds {
    shim: Shim,
    now: Instant,
    given: BTreeSet<Number>,
    waiting: BTreeSet<Number>,
    rounds: u32,
}

impl Rounds {
    fn new() -> Self {
        Self {
            shim: Shim::new(Version::V2025_11_25, profile(), None, PATIENCE),
            now: start(),
            given: BTreeSet::new(),
            waiting: BTreeSet::new(),
            rounds: 0,
        }
    }

    fn run(&mut self, verb: u8, which: u8, amount: u8) {
        match verb % 8 {
            0..=1 if self.waiting.is_empty() => self.required(which, amount),
            7 => {
                let step = self.shim.handle_timeout();
                self.step(step, None);
                assert!(self.waiting.is_empty());
            }
            _ => self.respond(which, amount),
        }
        assert_eq!(self.shim.waiting().collect::<BTreeSet<_>>(), self.waiting);
        assert_eq!(self.shim.timeout().is_some(), !self.waiting.is_empty());
    }

    fn required(&mut self, which: u8, amount: u8) {
        let entry = |n: u8| {
            let (kind, params, _) = sample(which.wrapping_add(n));
            format!(r#""k{n}":{{"method":"{}","params":{params}}}"#, kind.method())
        };
        let entries: Vec<String> = (0..amount % 20).map(entry).collect();
        let result = format!(r#"{{"resultType":"input_required","requestState":"s","inputRequests":{{{}}}}}"#, entries.join(","));
        let answer = message(format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#));
        match self.shim.handle_input_required(&answer, None, &mut || "e".to_owned(), self.now) {
            Ok(step) => {
                self.rounds += 1;
                assert!(self.rounds <= limits::ROUNDS_MAX || matches!(step, shim::Step::Fail(_)));
                self.step(step, Some(entries.len()));
            }
            Err(_) => assert!(entries.len() > limits::QUESTIONS_MAX),
        }
    }

    fn respond(&mut self, which: u8, amount: u8) {
        let Some(number) = self.given.iter().nth(usize::from(which) % self.given.len().max(1)).copied() else { return };
        let (_, _, result) = sample(amount);
        let response = match amount > 128 {
            true => message(r#"{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"no"}}"#.into()),
            false => message(format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#)),
        };
        let was_waiting = self.waiting.remove(&number);
        let step = self.shim.handle_response(number, &response);
        assert!(was_waiting || step == shim::Step::Wait, "who is not asked changes nothing");
        self.step(step, None);
    }

    fn step(&mut self, step: shim::Step, asked: Option<usize>) {
        match step {
            shim::Step::Wait => {}
            shim::Step::Ask(questions) => {
                assert_eq!(Some(questions.len()), asked);
                for question in questions {
                    Message::parse(question.to_body(&RequestId::from_number(1)).to_bytes()).expect("a question is a message");
                    assert!(self.given.insert(question.number), "numbers are never used again");
                    self.waiting.insert(question.number);
                }
            }
            shim::Step::Retry(retry) => {
                let responses = retry.responses.as_deref().map(|responses| Object::read(responses).expect("responses are an object"));
                assert!(responses.is_some_and(|responses| !responses.fields().is_empty()) || asked == Some(0));
                self.withdraw(&retry.withdrawn);
            }
            shim::Step::Fail(failure) => self.withdraw(&failure.withdrawn),
        }
    }

    /// All that was waited for, and nothing else.
    fn withdraw(&mut self, withdrawn: &[Number]) {
        for number in withdrawn {
            assert!(self.waiting.remove(number), "only what is asked is taken back");
        }
        assert!(self.waiting.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn whatever_happens_every_question_ends_once(data in proptest::collection::vec(any::<u8>(), 0..900)) {
            fuzz_bridge(&data);
        }

        #[test]
        fn altered_states_never_open(data in proptest::collection::vec(any::<u8>(), 0..80)) {
            super::super::seal::fuzz_seal(&data);
        }
    }
}
