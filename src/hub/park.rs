//! Calls whose handshake server asks a stateless client: each is held by a task of its own while the client comes and goes (MCP
//! 2026-07-28, multi round-trip requests). What it does is said by `bridge::park`; here it is done.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use dashmap::DashMap;
use tokio::{sync::mpsc, time::Instant};

use super::{
    Answer, Hub, Step,
    carried::{Call, Kept},
    crossing::OnWire,
    random, sleep_until, talk,
    task::Tasking,
};
use crate::{
    access::{Principal, quota::surplus},
    bridge::{
        park::{Parked, Reply, Step as Next, UNKNOWN_STATE},
        round,
        seal::What,
    },
    protocol::{
        Refusal, RequestId, Version,
        code::{Code, Reason, failure_data},
    },
    upstream::{Event, Exchange, Question},
};

/// Messages on their way to a client that reads slowly; more of them wait at the server.
const WAITING: usize = 16;

/// All parked calls.
#[derive(Default)]
pub(super) struct Parks {
    calls: DashMap<u128, Arc<Place>>,
    arrivals: AtomicU64,
}

/// One parked call, as those who come back find it.
struct Place {
    principal: Arc<Principal>,
    arrival: u64,
    door: mpsc::Sender<Visit>,
}

/// A request that waits for what the parked call says next.
pub(super) struct Visit {
    /// Raw JSON object; none for the request that started the call.
    pub(super) responses: Option<String>,
    pub(super) call: Call,
    pub(super) id: RequestId,
    pub(super) tell: mpsc::Sender<Step>,
}

/// What the waiting request reads. Dropping it cancels the call: a stateless client that goes away has no other way to say so.
pub(super) struct Waiter(mpsc::Receiver<Step>);

impl Waiter {
    /// Cancel-safe; nothing follows an answer.
    pub(super) async fn next(&mut self) -> Step {
        match self.0.recv().await {
            Some(step) => step,
            None => std::future::pending().await,
        }
    }
}

fn waiter() -> (mpsc::Sender<Step>, Waiter) {
    let (tell, told) = mpsc::channel(WAITING);
    (tell, Waiter(told))
}

impl Parks {
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    /// The oldest make room: who parks more than it may is known not to come back for all.
    fn make_room(&self, principal: &Arc<Principal>, limit: usize) {
        let kept = self.calls.iter().map(|place| (place.arrival, Arc::clone(&place.principal), *place.key()));
        for number in surplus(principal, limit, kept) {
            // Without its place the task finds its door closed, and ends.
            self.calls.remove(&number);
        }
    }
}

/// What a parked call is made of.
pub(super) struct Parking {
    pub(super) call: Call,
    pub(super) id: RequestId,
    pub(super) kept: Arc<Kept>,
    pub(super) on_wire: OnWire,
    pub(super) first: Question,
    pub(super) task: Option<Box<Tasking>>,
}

/// From here on the call lives in a task of its own, and the request that started it reads what it is told.
pub(super) fn park(parking: Parking) -> Waiter {
    let Parking { call, id, kept, on_wire, first, task } = parking;
    let hub = Arc::clone(kept.hub());
    let (door, visits) = mpsc::channel(1);
    let number = u128::from_ne_bytes(random());
    let principal = Arc::clone(kept.principal());
    hub.parks.make_room(&principal, hub.limits.parked_per_principal);
    let arrival = hub.parks.arrivals.fetch_add(1, Ordering::Relaxed);
    hub.parks.calls.insert(number, Arc::new(Place { principal, arrival, door }));
    let (tell, waiter) = waiter();
    let parked = Task {
        machine: Parked::new(kept.profile, on_wire.version, hub.limits.parked_ttl),
        number,
        kept,
        exchange: on_wire.exchange,
        version: on_wire.version,
        questions: Vec::new(),
        progress: None,
        visit: Some(Visit { responses: None, call, id, tell }),
        visits,
        task,
    };
    hub.tasks.spawn(parked.run(first));
    waiter
}

/// The request that comes back.
///
/// # Errors
/// No such call is parked for this principal.
pub(super) fn resume(
    hub: &Hub,
    number: u128,
    principal: &str,
    responses: Option<String>,
    call: Call,
    id: RequestId,
) -> Result<Waiter, Refusal> {
    let place = hub.parks.calls.get(&number).map(|place| Arc::clone(&place)).filter(|place| &**place.principal.id() == principal);
    let place = place.ok_or_else(unknown)?;
    let (tell, waiter) = waiter();
    // Its one place is taken only while another retry comes in this very moment.
    place.door.try_send(Visit { responses, call, id, tell }).map_err(|_| unknown())?;
    Ok(waiter)
}

pub(super) fn unknown() -> Refusal {
    Refusal::new(Code::InvalidParams, 200, UNKNOWN_STATE)
}

struct Task {
    number: u128,
    kept: Arc<Kept>,
    machine: Parked<Event>,
    exchange: Exchange,
    version: Version,
    /// Open at the server.
    questions: Vec<Question>,
    /// The last that the server said while nobody waited.
    progress: Option<Event>,
    /// Who waits.
    visit: Option<Visit>,
    visits: mpsc::Receiver<Visit>,
    /// The task that the call may become.
    task: Option<Box<Tasking>>,
}

enum Happened {
    Server(Event),
    Back(Visit),
    /// The waiting client went away.
    Left,
    /// Nobody can come back any more: why.
    GivenUp(Reason, &'static str),
    Time,
}

impl Task {
    async fn run(mut self, first: Question) {
        self.ask(first);
        loop {
            if !self.settle().await {
                break;
            }
            match self.wait().await {
                Happened::Server(event) => self.handle(event).await,
                Happened::Back(visit) => self.handle_back(visit).await,
                Happened::Left => {
                    let replies = self.machine.close();
                    self.reply(replies);
                    break;
                }
                Happened::GivenUp(reason, why) => {
                    let replies = self.machine.close();
                    self.reply(replies);
                    if let Some(visit) = self.visit.take() {
                        let data = failure_data(Some(self.kept.server().name.as_str()), reason, None);
                        let answer = visit.call.refused(Refusal::new(reason.code(), 200, why).with_data(data), &visit.id);
                        let _ = visit.tell.send(Step::Answer(answer)).await;
                    }
                    break;
                }
                Happened::Time => {}
            }
        }
        self.kept.hub().parks.calls.remove(&self.number);
        // Whoever came back in this moment is told that there is nothing to come back to.
        self.visits.close();
        while let Ok(Visit { call, id, tell, .. }) = self.visits.try_recv() {
            let _ = tell.send(Step::Answer(call.refused(unknown(), &id))).await;
        }
    }

    /// Does what the machine says; `false` when the call is over.
    async fn settle(&mut self) -> bool {
        match self.machine.poll(Instant::now().into_std()) {
            Next::Wait => true,
            Next::Ask => {
                let what = What::Park { call: self.number, instance: self.kept.hub().instance };
                let state = self.kept.seal(what, self.kept.hub().limits.parked_ttl);
                if let Some(visit) = self.visit.take() {
                    let body = round::input_required(&visit.id, &self.machine.requests(), Some(&state));
                    if visit.tell.send(Step::Answer(Answer::ok(body))).await.is_err() {
                        // It left in this moment, and nobody else has the state.
                        let replies = self.machine.close();
                        self.reply(replies);
                        return false;
                    }
                }
                true
            }
            Next::Answer(outcome) => {
                if let Some(visit) = self.visit.take() {
                    let answer = talk::last(&self.kept, 0, &mut self.task, outcome, &visit.call, self.version, &visit.id);
                    let _ = visit.tell.send(Step::Answer(answer)).await;
                }
                false
            }
            Next::Expired(replies) => {
                tracing::debug!(server = %self.kept.server(), "nobody came back to a parked call");
                self.reply(replies);
                false
            }
        }
    }

    async fn wait(&mut self) -> Happened {
        let time = self.machine.timeout().map(Instant::from_std);
        let gone = async {
            match &self.visit {
                Some(visit) => visit.tell.closed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            // First: who lost a connection may be back already.
            visit = self.visits.recv() => {
                visit.map_or(Happened::GivenUp(Reason::Busy, "the caller has more calls that wait for answers than it may"), Happened::Back)
            }
            () = gone => Happened::Left,
            event = self.exchange.next(), if !self.machine.is_done() => Happened::Server(event),
            () = sleep_until(time) => Happened::Time,
            () = self.kept.hub().stop.cancelled() => Happened::GivenUp(Reason::ShuttingDown, "the hub is shutting down"),
        }
    }

    async fn handle(&mut self, event: Event) {
        match event {
            Event::Question(question) => self.ask(question),
            Event::Withdrawn(id) => {
                self.machine.handle_withdrawn(&id);
                self.questions.retain(|question| question.id() != id);
            }
            Event::Answer(_) | Event::Failed(_) => {
                // What its status says while it is parked, nobody would read.
                if let Some(event) = talk::follow(&mut self.task, event, &mut self.exchange, &self.kept, false) {
                    self.end(event);
                }
            }
            Event::Progress(_) if self.visit.is_none() => self.progress = Some(event),
            // Of the other notes that come while nobody waits, none is kept.
            Event::Progress(_) | Event::Note(_) => self.notice(event).await,
        }
    }

    async fn notice(&mut self, event: Event) {
        if let Some(visit) = &mut self.visit
            && let Some(notice) = visit.call.notice(&event)
        {
            let _ = visit.tell.send(Step::Notice(notice)).await;
        }
    }

    fn end(&mut self, outcome: Event) {
        self.questions.clear();
        self.machine.handle_outcome(outcome);
    }

    fn ask(&mut self, question: Question) {
        let publish = self.kept.publisher();
        let refused = self.machine.handle_question(question.message(), publish.as_deref(), Instant::now().into_std());
        match refused {
            Some(reply) => question.answer(reply.response),
            None => self.questions.push(question),
        }
    }

    async fn handle_back(&mut self, visit: Visit) {
        match self.machine.handle_retry(visit.responses.as_deref(), Instant::now().into_std()) {
            Ok(replies) => {
                self.reply(replies);
                if let Some(older) = self.visit.replace(visit) {
                    let refusal = Refusal::new(Code::Internal, 200, "another retry of this request took its place");
                    let answer = older.call.refused(refusal, &older.id);
                    let _ = older.tell.send(Step::Answer(answer)).await;
                }
                if let Some(progress) = self.progress.take() {
                    self.notice(progress).await;
                }
            }
            Err(refusal) => {
                let answer = visit.call.refused(refusal, &visit.id);
                let _ = visit.tell.send(Step::Answer(answer)).await;
            }
        }
    }

    fn reply(&mut self, replies: Vec<Reply>) {
        for Reply { question, response } in replies {
            if let Some(at) = self.questions.iter().position(|open| open.id() == question) {
                self.questions.swap_remove(at).answer(response);
            }
        }
    }
}
