//! What a handshake client is asked while its call is under way: on its session, by a handshake server that asks while it works, or for a
//! stateless one whose result or task asks for input. Dropping it takes the questions back.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
};

use tokio::time::Instant;

use super::{
    Answer, Session, Step,
    carried::{Call, Kept},
    crossing::{OnWire, Turn},
    news, random,
    session::Asked,
    sleep_until,
    talk::{Reopening, follow, watch},
    task::{Seen, Tasking},
};
use crate::{
    bridge::{
        outgoing::Inputs,
        question,
        round::{self, Outcome},
        shim::{Failure, Number, Shim, Step as Round},
        task::Known,
    },
    protocol::{
        Body, Era, Message, Refusal, RequestId, Version,
        code::{Code, Reason},
    },
    upstream::{Event, Exchange, Question, UpstreamError},
};

/// One call of a handshake client.
pub(super) struct Conversation {
    kept: Arc<Kept>,
    session: Arc<Session>,
    /// To be said before anything else; then how the call ends, if it does.
    out: VecDeque<Body>,
    end: Option<Turn>,
    open: Vec<Open>,
    rounds: Option<Shim>,
    /// The request on its way to the server again.
    reopening: Option<Reopening>,
}

/// A question that the client has.
struct Open {
    asked: Asked,
    until: Instant,
    from: From,
}

enum From {
    /// A handshake server, while it works.
    Server(Question, question::Kind, Version),
    /// A stateless server's result.
    Round(Number),
}

enum Happened {
    Server(Event),
    /// The response to the question at this place; none when the session ended or it took too long.
    Said(usize, Option<Message>),
    Reopened(Result<OnWire, Refusal>),
    Seen(Seen),
}

impl Conversation {
    pub(super) fn new(kept: &Arc<Kept>, session: &Arc<Session>) -> Self {
        Self {
            kept: Arc::clone(kept),
            session: Arc::clone(session),
            out: VecDeque::new(),
            end: None,
            open: Vec::new(),
            rounds: None,
            reopening: None,
        }
    }

    /// Then the request as its client sent it is not what the server saw last.
    pub(super) fn has_asked_by_results(&self) -> bool {
        self.rounds.is_some()
    }

    /// Cancel-safe.
    pub(super) async fn next(
        &mut self,
        exchange: &mut Exchange,
        task: &mut Option<Box<Tasking>>,
        call: &Call,
        server: Version,
        id: &RequestId,
    ) -> Turn {
        loop {
            if let Some(body) = self.out.pop_front() {
                return Turn::Step(Step::Notice(body));
            }
            if let Some(end) = self.end.take() {
                return end;
            }
            match self.happens(exchange, task).await {
                Happened::Server(Event::Question(question)) => {
                    let is_hidden = task.as_ref().is_some_and(|task| task.naming().is_some());
                    let kept = Arc::clone(&self.kept);
                    let connection = exchange.connection();
                    let known = |task: &str| call.known_task(task).or_else(|| kept.known_task(connection, task));
                    self.ask(question, server, &|task| if is_hidden { None } else { known(task) });
                }
                Happened::Server(Event::Withdrawn(theirs)) => self.withdraw(&theirs),
                Happened::Server(Event::Answer(answer))
                    if server.era() == Era::Stateless && Outcome::of(&answer) == Outcome::InputRequired =>
                {
                    self.input_required(&answer, task, call, id);
                }
                Happened::Server(event @ (Event::Answer(_) | Event::Failed(_))) => {
                    if let Some(event) = follow(task, event, exchange, &self.kept, call.wants_progress()) {
                        self.end(Turn::Event(event));
                    }
                }
                Happened::Server(event) => return Turn::Event(event),
                Happened::Seen(Seen::Goes(text)) => self.out.extend(call.own_progress(&text)),
                Happened::Seen(Seen::Asks(answer)) => self.input_required(&answer, task, call, id),
                Happened::Seen(Seen::Ended(event)) => self.end(Turn::Event(event)),
                Happened::Seen(Seen::Late) => {
                    let error = UpstreamError {
                        server: self.kept.server().clone(),
                        reason: Reason::Timeout,
                        what: format!("did not end the task within {} s", self.kept.server.settings().timeouts.call_max.as_secs_f64()),
                        retry_after_ms: None,
                    };
                    self.end(Turn::Event(Event::Failed(error)));
                }
                Happened::Said(at, said) => self.said(at, said, task, call, server, id),
                Happened::Reopened(Ok(on_wire)) => {
                    *exchange = on_wire.exchange;
                    *task = on_wire.task;
                    call.begins_again();
                }
                Happened::Reopened(Err(refusal)) => self.end(Turn::Step(Step::Answer(call.refused(refusal, id)))),
            }
        }
    }

    /// Cancel-safe.
    async fn happens(&mut self, exchange: &mut Exchange, task: &mut Option<Box<Tasking>>) -> Happened {
        if let Some(reopening) = &mut self.reopening {
            let reopened = reopening.await;
            self.reopening = None;
            return Happened::Reopened(reopened);
        }
        let until = self.open.iter().map(|open| open.until).min();
        let open = &mut self.open;
        let said = poll_fn(|cx| {
            for (at, open) in open.iter_mut().enumerate() {
                if let Poll::Ready(said) = pin!(open.asked.answer()).poll(cx) {
                    return Poll::Ready((at, said));
                }
            }
            Poll::Pending
        });
        tokio::select! {
            biased;
            (at, said) = said => Happened::Said(at, said),
            event = exchange.next() => Happened::Server(event),
            seen = watch(task) => Happened::Seen(seen),
            () = sleep_until(until) => Happened::Said(self.latest(), None),
        }
    }

    /// The place of the question whose time is over first.
    fn latest(&self) -> usize {
        self.open.iter().enumerate().min_by_key(|(_, open)| open.until).map_or(0, |(at, _)| at)
    }

    /// A handshake server asks a handshake client.
    fn ask(&mut self, question: Question, server: Version, tasks: &Known<'_>) {
        let refuse = |question: Question, refusal: Refusal| {
            let response = refusal.with_id(Some(question.id())).to_body().to_bytes();
            question.answer(response);
        };
        let kind = match question::Asked::read(question.message(), None) {
            Ok(read) => read.kind,
            Err(refusal) => return refuse(question, refusal),
        };
        let Some(asked) = self.session.ask_for(question.progress()) else {
            return refuse(question, Refusal::new(Code::Internal, 200, "the client has too many questions open"));
        };
        let publish = self.kept.publisher();
        let client = (self.kept.client, self.kept.profile);
        let forwarded = question::forward(question.message(), asked.id(), client, server, publish.as_deref(), tasks);
        drop(publish);
        match forwarded {
            Ok(body) => {
                self.out.push_back(body);
                let until = Instant::now() + self.kept.hub().limits.parked_ttl;
                self.open.push(Open { asked, until, from: From::Server(question, kind, server) });
            }
            Err(refusal) => refuse(question, refusal),
        }
    }

    /// The server takes its question back; the client is told.
    fn withdraw(&mut self, theirs: &RequestId) {
        let is_it = |open: &Open| matches!(&open.from, From::Server(question, ..) if question.id() == *theirs);
        if let Some(at) = self.open.iter().position(is_it) {
            let open = self.open.swap_remove(at);
            self.out.push_back(question::withdrawn(open.asked.id(), "the server withdrew it"));
        }
    }

    /// A stateless server asks, by the result of a call or by the state of a task.
    fn input_required(&mut self, answer: &Message, task: &mut Option<Box<Tasking>>, call: &Call, id: &RequestId) {
        let kept = Arc::clone(&self.kept);
        let shim = self.rounds.get_or_insert_with(|| Shim::new(call.client, kept.profile, kept.roots(), kept.hub().limits.parked_ttl));
        let publish = kept.publisher();
        match shim.handle_input_required(answer, publish.as_deref(), &mut || hex::encode(random::<16>()), Instant::now().into_std()) {
            Ok(step) => self.step(step, task, call, id),
            Err(refusal) => self.end(Turn::Step(Step::Answer(call.refused(refusal, id)))),
        }
    }

    fn said(&mut self, at: usize, said: Option<Message>, task: &mut Option<Box<Tasking>>, call: &Call, server: Version, id: &RequestId) {
        if at >= self.open.len() {
            return;
        }
        let Open { asked, from, .. } = self.open.swap_remove(at);
        if said.is_none() {
            self.out.push_back(question::withdrawn(asked.id(), "it took too long"));
        }
        match (from, said) {
            (From::Server(theirs, kind, _), Some(said)) => {
                let response = question::answer(&said, kind, theirs.message(), server);
                theirs.answer(response);
            }
            (From::Server(theirs, kind, _), None) => {
                let response = kind.closing(&theirs.id());
                theirs.answer(response);
            }
            (From::Round(number), said) => {
                let Some(shim) = &mut self.rounds else { return };
                let step = match said {
                    Some(said) => shim.handle_response(number, &said),
                    None => shim.handle_timeout(),
                };
                self.step(step, task, call, id);
            }
        }
    }

    fn step(&mut self, step: Round, task: &mut Option<Box<Tasking>>, call: &Call, id: &RequestId) {
        match step {
            Round::Wait => {}
            Round::Ask(questions) => {
                for question in questions {
                    let Some(asked) = self.session.ask() else {
                        let refusal = Refusal::new(Code::Internal, 200, "too many questions are open in this session");
                        return self.end(Turn::Step(Step::Answer(call.refused(refusal, id))));
                    };
                    self.out.push_back(question.to_body(asked.id()));
                    let until = Instant::now() + self.kept.hub().limits.parked_ttl;
                    self.open.push(Open { asked, until, from: From::Round(question.number) });
                }
            }
            Round::Retry(retry) => {
                // What it has not answered, it need not any more.
                for open in self.open.extract_if(.., |open| matches!(open.from, From::Round(_))) {
                    self.out.push_back(question::withdrawn(open.asked.id(), "it took too long"));
                }
                if let Some(task) = task.as_mut().filter(|task| task.is_watching()) {
                    if let Err(error) = task.update(retry.responses.as_deref()) {
                        self.end(Turn::Event(Event::Failed(error)));
                    }
                    return;
                }
                let kept = Arc::clone(&self.kept);
                self.reopening = Some(Box::pin(async move {
                    tokio::time::sleep(retry.pause).await;
                    kept.open(Inputs::Put { responses: retry.responses.as_deref(), state: retry.state.as_deref() }).await
                }));
            }
            Round::Fail(Failure { text, data, .. }) => {
                let answer = match round::failed(call.method(), id, Era::Handshake, &text, data) {
                    Ok(body) => Answer::ok(body),
                    Err(refusal) => call.refused(refusal, id),
                };
                self.end(Turn::Step(Step::Answer(answer)));
            }
        }
    }

    /// The call ends: what the client was asked it need not answer any more.
    fn end(&mut self, end: Turn) {
        for asked in self.leave() {
            self.out.push_back(question::withdrawn(asked.id(), "the request it belonged to has ended"));
        }
        self.end = Some(end);
    }

    /// Gives up what is open, but for questions that may belong to another call of this session: nothing tells which one a handshake
    /// server means, so those wait for their answers without this one.
    fn leave(&mut self) -> Vec<Asked> {
        let is_alone = self.session.open_calls() <= 1;
        let mut given_up = Vec::new();
        for Open { asked, from, .. } in self.open.drain(..) {
            match from {
                From::Server(question, kind, revision) if !is_alone => {
                    let (hub, open) = (Arc::clone(self.kept.hub()), news::Open { asked, question, kind, revision });
                    self.kept.hub().tasks.spawn(async move { open.see_through(&hub).await });
                }
                _ => given_up.push(asked),
            }
        }
        given_up
    }
}

/// The client cancelled, or is gone.
impl Drop for Conversation {
    fn drop(&mut self) {
        for asked in self.leave() {
            self.session.post(question::withdrawn(asked.id(), "the request it belonged to has ended"));
        }
    }
}
