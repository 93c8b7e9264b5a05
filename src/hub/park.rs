//! Calls whose handshake server asks a stateless client: each is held by a task of its own while the client comes and goes (MCP
//! 2026-07-28, multi round-trip requests). What it does is said by `bridge::park`; here it is done.

use std::{
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use dashmap::DashMap;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};

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
    limits,
    name::ServerId,
    protocol::{
        Refusal, RequestId, Version,
        capability::Profile,
        code::{Code, Reason, failure_data},
    },
    upstream::{Event, Exchange, Lease, Question, Server, Sharer, UpstreamError},
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
    server: ServerId,
    /// What the process that it holds was told.
    profile: Profile,
    arrival: u64,
    left: Left,
    door: mpsc::Sender<Visit>,
}

/// Since when no request waits for what a parked call says next.
#[derive(Clone, Default)]
struct Left(Arc<Mutex<Option<Instant>>>);

impl Left {
    fn set(&self, is_left: bool) {
        let mut since = self.lock();
        *since = is_left.then(|| since.unwrap_or_else(Instant::now));
    }

    fn is_longer_than(&self, wait: Duration) -> bool {
        self.lock().is_some_and(|since| since.elapsed() >= wait)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that waits for what the parked call says next.
pub(super) struct Visit {
    /// Raw JSON object; none for the request that started the call.
    pub(super) responses: Option<String>,
    pub(super) call: Call,
    pub(super) id: RequestId,
    tell: Tell,
}

/// The way to the waiting request.
#[derive(Clone)]
pub(super) struct Tell {
    steps: mpsc::Sender<Step>,
    why_left: Arc<OnceLock<Box<str>>>,
}

impl Tell {
    /// `false`: it has left.
    async fn send(&self, step: Step) -> bool {
        self.steps.send(step).await.is_ok()
    }
}

/// What the waiting request reads. Dropping it cancels the call: a stateless client that goes away has no other way to say so.
pub(super) struct Waiter {
    steps: mpsc::Receiver<Step>,
    why_left: Arc<OnceLock<Box<str>>>,
}

impl Waiter {
    /// Cancel-safe; nothing follows an answer.
    pub(super) async fn next(&mut self) -> Step {
        match self.steps.recv().await {
            Some(step) => step,
            None => std::future::pending().await,
        }
    }

    /// The client cancelled, and said why. To be dropped next.
    pub(super) fn leave(&mut self, reason: Box<str>) {
        let _ = self.why_left.set(reason);
    }
}

fn waiter() -> (Tell, Waiter) {
    let (tell, steps) = mpsc::channel(WAITING);
    let why_left = Arc::default();
    (Tell { steps: tell, why_left: Arc::clone(&why_left) }, Waiter { steps, why_left })
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

    /// The oldest call of this principal ends that holds such a process of this server and that nobody has come back to for this long.
    fn make_way(&self, principal: &str, server: &ServerId, profile: Profile, patience: Duration) {
        let holds = |place: &Place| **place.principal.id() == *principal && place.server == *server && place.profile == profile;
        let left = self.calls.iter().filter(|place| holds(place) && place.left.is_longer_than(patience));
        // Each guard is gone before the removal.
        let oldest = left.map(|place| (place.arrival, *place.key())).min();
        if let Some((_, number)) = oldest {
            tracing::debug!(server = %server, "a parked call that nobody waits for makes way");
            self.calls.remove(&number);
        }
    }
}

/// As `Server::lease`. Where every process that the caller may have is held by calls of the same principal, the oldest of them that
/// nobody has come back to for a while gives its own up: questions that were left unanswered must not keep everybody else out
/// until their time is over.
///
/// # Errors
/// As there.
pub(super) async fn lease(hub: &Hub, server: &Arc<Server>, sharer: &Sharer) -> Result<Lease, UpstreamError> {
    let patience = limits::CROWDED.min(server.settings().timeouts.call / 4);
    let mut leased = pin!(server.lease(sharer));
    loop {
        if let Ok(leased) = timeout(patience, &mut leased).await {
            return leased;
        }
        if let Some(profile) = server.in_use(sharer) {
            hub.parks.make_way(&sharer.principal, &server.settings().id, profile, patience);
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
    let left = Left::default();
    let place = Place { principal, server: kept.server().clone(), profile: on_wire.exchange.profile(), arrival, left: left.clone(), door };
    hub.parks.calls.insert(number, Arc::new(place));
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
        left,
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
    /// Since when nobody does.
    left: Left,
    visits: mpsc::Receiver<Visit>,
    /// The task that the call may become.
    task: Option<Box<Tasking>>,
}

enum Happened {
    Server(Event),
    Back(Box<Visit>),
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
                Happened::Back(visit) => self.handle_back(*visit).await,
                Happened::Left => {
                    self.leave();
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
                    if !visit.tell.send(Step::Answer(Answer::ok(body))).await {
                        // It left in this moment, and nobody else has the state.
                        self.visit = Some(visit);
                        self.leave();
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
        self.left.set(self.visit.is_none());
        let time = self.machine.timeout().map(Instant::from_std);
        let gone = async {
            match &self.visit {
                Some(visit) => visit.tell.steps.closed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            // First: who lost a connection may be back already.
            visit = self.visits.recv() => {
                let busy = Happened::GivenUp(Reason::Busy, "the caller has more calls that wait for answers than it may");
                visit.map_or(busy, |visit| Happened::Back(Box::new(visit)))
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

    /// The call is given up: its client, the only one who could come back, has left.
    fn leave(&mut self) {
        let replies = self.machine.close();
        self.reply(replies);
        if let Some(reason) = self.visit.as_ref().and_then(|visit| visit.tell.why_left.get()) {
            self.exchange.cancel(reason);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::{ServerName, TenantId};

    #[tokio::test(start_paused = true)]
    async fn only_the_oldest_call_that_nobody_came_back_to_makes_way_and_none_of_anybody_else() {
        const PATIENCE: Duration = Duration::from_secs(9);
        let server = |name| ServerId { tenant: TenantId::default_tenant(), name: ServerName::new(name).unwrap() };
        let parks = Parks::default();
        let [me, other] = ["me", "other"].map(|name| Principal::of_tenant(name, TenantId::default_tenant()));
        let places = [
            (&other, "s", Profile::FORM, true),
            (&me, "t", Profile::FORM, true),
            (&me, "s", Profile::URL, true),
            (&me, "s", Profile::FORM, false),
            (&me, "s", Profile::FORM, true),
            (&me, "s", Profile::FORM, true),
        ];
        for (number, (principal, on, profile, is_left)) in places.into_iter().enumerate() {
            let left = Left::default();
            left.set(is_left);
            let principal = Arc::clone(principal);
            let place = Place { principal, server: server(on), profile, arrival: number as u64, left, door: mpsc::channel(1).0 };
            parks.calls.insert(number as u128, Arc::new(place));
        }
        let make_way = || {
            parks.make_way(me.id(), &server("s"), Profile::FORM, PATIENCE);
            let mut left: Vec<_> = parks.calls.iter().map(|place| *place.key()).collect();
            left.sort_unstable();
            left
        };
        tokio::time::advance(PATIENCE - Duration::from_millis(1)).await;
        assert_eq!(make_way(), [0, 1, 2, 3, 4, 5]);
        tokio::time::advance(Duration::from_millis(1)).await;
        // Being looked at again does not make it newer.
        parks.calls.get(&4).unwrap().left.set(true);
        assert_eq!(make_way(), [0, 1, 2, 3, 5]);
        parks.calls.get(&5).unwrap().left.set(false);
        assert_eq!(make_way(), [0, 1, 2, 3, 5]);
        parks.calls.get(&5).unwrap().left.set(true);
        assert_eq!(make_way(), [0, 1, 2, 3, 5]);
        tokio::time::advance(PATIENCE).await;
        assert_eq!(make_way(), [0, 1, 2, 3]);
    }
}
