//! A call that its server may make a task of: either its client is told of the task, or the hub looks at it until it ends and answers
//! as if there were none. Which of the two is `bridge::task::Plan`'s to say.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{Say, held::Whose, listen, open, publish};
use crate::{
    bridge::{
        round::Outcome,
        task::{self, Facts, Naming, Plan, Task},
    },
    hub::{
        Answer, Inbound,
        carried::{Aim, Call, Kept},
        task::Held,
    },
    protocol::{Era, Kind, Message, Method, RequestId, Version, capability::Profile, code::Reason},
    upstream::{Event, Exchange, Lease, Lingering, Server, UpstreamError},
};

/// What is to become of a call. Most servers make no tasks.
pub(in crate::hub) fn plan(inbound: &Inbound, aim: &Aim, lease: &Lease, server: &Server) -> Plan {
    let Aim::Named(route) = aim else { return Plan::Plain };
    if !lease.makes_tasks() || inbound.message.method() != Method::ToolsCall {
        return Plan::Plain;
    }
    Plan::of(&Facts {
        client: inbound.client,
        profile: inbound.profile(),
        server: lease.version(),
        server_has_tasks: true,
        support: route.tasks,
        asked: inbound.message.scan().task.is_some() && inbound.endpoint.server.is_some(),
        prefers: false,
        bridges: server.settings().bridge_tasks,
    })
}

/// Whether it asks a server of the handshake era for a task.
pub(in crate::hub) fn begins(plan: Plan) -> bool {
    matches!(plan, Plan::Start | Plan::Poll | Plan::Relay)
}

/// Whether the server may go on to say of its progress what the client of the call can read.
pub(in crate::hub) fn lingers(plan: Plan) -> bool {
    plan == Plan::Relay
}

/// Of one call. Dropping it cancels a task that nobody will ask for.
pub(in crate::hub) struct Tasking {
    plan: Plan,
    lease: Lease,
    /// What a stateless server is told of the caller.
    profile: Profile,
    /// What the server says of its progress when the call has become a task of its client's.
    lingering: Option<Lingering>,
    /// The task that the hub looks at.
    watched: Option<Watched>,
}

struct Watched {
    /// As the server said it last.
    task: Task,
    /// When to look again.
    due: Instant,
    /// What the server has to answer first: the last look, or what was asked of it.
    asking: Option<Exchange>,
    /// Whether it waits for input, and what it needed so far.
    asks: bool,
    seen: Vec<String>,
    until: Instant,
}

/// What a look at a task brings.
pub(in crate::hub) enum Seen {
    /// It goes on, and has something to tell.
    Goes(String),
    /// A stateless server's task asks for input, as an `input_required` result.
    Asks(Message),
    /// It has ended, or cannot be looked at: the answer of the call.
    Ended(Event),
    /// It goes on for longer than any call may.
    Late,
}

impl Tasking {
    /// `None` for a call that stays a plain one.
    pub(in crate::hub) fn new(plan: Plan, lease: &Lease, profile: Profile, exchange: &Exchange) -> Option<Box<Self>> {
        let lingering = || if lingers(plan) { exchange.lingering() } else { None };
        (plan != Plan::Plain).then(|| Box::new(Self { plan, lease: lease.clone(), profile, lingering: lingering(), watched: None }))
    }

    /// The answer that says that the call has become a task, for a client that is told so.
    pub(in crate::hub) fn created(
        &self,
        kept: &Kept,
        answer: &Message,
        (call, id, server): (&Call, &RequestId, Version),
    ) -> Option<Answer> {
        if !matches!(self.plan, Plan::Start | Plan::Relay | Plan::Declare) {
            return None;
        }
        let task = self.read(answer)?;
        let hub = kept.hub();
        let ttl = task.ttl_ms.map(Duration::from_millis);
        let place = hub.place(self.lease.connection());
        let public = publish(hub, kept.server(), (&task.id, place), kept.principal().id(), ttl);
        let whose = Whose::of(kept.inbound(), kept.server(), &public);
        let held = Held::hold(hub, whose, (&task.id, Some(place)), self.lease.clone(), ttl.unwrap_or(Duration::MAX));
        if let (Some(lingering), Some(progress)) = (&self.lingering, call.further_progress()) {
            held.tell_progress(hub, progress, lingering.clone());
        }
        if self.plan == Plan::Start {
            listen(hub, &task.id, &held);
            return Some(Answer::ok(task::created(id, &task, &public)));
        }
        Some(call.answer_naming(Event::Answer(answer.clone()), id, server, Some(Naming::As(&public))))
    }

    /// A task, if that is what a call was answered with.
    fn read(&self, answer: &Message) -> Option<Task> {
        let is_one = match self.lease.version().era() {
            Era::Handshake => answer.kind() == Kind::Result,
            Era::Stateless => Outcome::of(answer) == Outcome::Task,
        };
        is_one.then(|| Task::read(answer)).flatten()
    }

    /// How the answer of the call names its task.
    pub(in crate::hub) fn naming(&self) -> Option<Naming<'static>> {
        matches!(self.plan, Plan::Poll | Plan::DeclareAndPoll).then_some(Naming::Hide)
    }

    /// Whether the hub looks at a task.
    pub(in crate::hub) fn is_watching(&self) -> bool {
        self.watched.is_some()
    }

    /// The call is answered: there is no task any more.
    pub(in crate::hub) fn end(&mut self) {
        self.watched = None;
    }

    /// The last event of a call, handed back unless it says that the call has become a task that the hub looks at. What follows then
    /// comes by `exchange`, or by `watch`.
    pub(in crate::hub) fn follow(&mut self, event: Event, exchange: &mut Exchange, kept: &Kept, wants_progress: bool) -> Option<Event> {
        let Event::Answer(answer) = &event else { return Some(event) };
        if self.watched.is_some() || self.naming().is_none() {
            return Some(event);
        }
        let Some(task) = self.read(answer) else { return Some(event) };
        let now = Instant::now();
        let id = task.id.clone();
        let timeouts = &kept.server.settings().timeouts;
        let until = now + if self.plan == Plan::Poll { timeouts.call } else { timeouts.call_max };
        // Where the result is asked for, a look is only for who wants to hear of progress.
        let is_looked_at = self.plan == Plan::DeclareAndPoll || wants_progress;
        let due = if is_looked_at { now + task.poll() } else { until };
        self.watched = Some(Watched { task, due, asking: None, asks: false, seen: Vec::new(), until });
        if self.plan == Plan::Poll {
            // Answered when the task has ended, and meanwhile the way of what the server asks.
            let say = Say { profile: self.profile, asks: self.lease.profile().can_be_asked(), waits: false };
            match open(&self.lease, Method::TasksResult, &id, None, say) {
                Ok(result) => *exchange = result,
                Err(error) => return Some(Event::Failed(error)),
            }
        }
        None
    }

    /// Sends what a stateless server's task asked for.
    ///
    /// # Errors
    /// It could not be sent.
    pub(in crate::hub) fn update(&mut self, responses: Option<&str>) -> Result<(), UpstreamError> {
        let Some(watched) = &mut self.watched else { return Ok(()) };
        let say = Say::plainly(self.profile);
        let sent = open(&self.lease, Method::TasksUpdate, &watched.task.id, Some(responses.unwrap_or("{}")), say);
        watched.asking = Some(sent?);
        watched.asks = false;
        Ok(())
    }

    /// What becomes of the task that the hub looks at. Cancel-safe. Pends for ever when there is none.
    pub(in crate::hub) async fn watch(&mut self) -> Seen {
        let Some(watched) = &mut self.watched else { return std::future::pending().await };
        loop {
            let Some(asking) = &mut watched.asking else {
                sleep_until(watched.due.min(watched.until)).await;
                if watched.until <= Instant::now() {
                    if self.plan == Plan::DeclareAndPoll {
                        return Seen::Late;
                    }
                    // The request for its result is over in this moment too.
                    return std::future::pending().await;
                }
                watched.due = Instant::now() + watched.task.poll();
                match open(&self.lease, Method::TasksGet, &watched.task.id, None, Say::plainly(self.profile)) {
                    Ok(look) => watched.asking = Some(look),
                    Err(error) if self.plan == Plan::DeclareAndPoll && error.reason != Reason::Busy => {
                        return Seen::Ended(Event::Failed(error));
                    }
                    // Another look will do; where the result is asked for, that fails too.
                    Err(_) => {}
                }
                continue;
            };
            let event = asking.next().await;
            if !matches!(event, Event::Answer(_) | Event::Failed(_)) {
                continue;
            }
            watched.asking = None;
            watched.due = Instant::now() + watched.task.poll();
            if let Some(seen) = watched.seen(event, self.plan) {
                return seen;
            }
        }
    }
}

impl Watched {
    fn seen(&mut self, event: Event, plan: Plan) -> Option<Seen> {
        let Event::Answer(got) = event else { return (plan == Plan::DeclareAndPoll).then_some(Seen::Ended(event)) };
        if plan == Plan::DeclareAndPoll {
            if got.kind() == Kind::Error {
                return Some(Seen::Ended(Event::Answer(got)));
            }
            if let Some(answer) = task::ended(&got) {
                return Some(Seen::Ended(Event::Answer(answer)));
            }
        }
        let asked = if plan == Plan::DeclareAndPoll && !self.asks { task::input_required(&got, &mut self.seen) } else { None };
        self.asks |= asked.is_some();
        // What answers `tasks/update` describes none.
        let news = Task::read(&got).and_then(|task| {
            let is_news = task.status != self.task.status || task.message != self.task.message;
            self.task = task;
            let text = self.task.message.clone().unwrap_or_else(|| self.task.status.as_str().to_owned());
            (is_news && !self.task.status.is_terminal()).then_some(Seen::Goes(text))
        });
        asked.map(Seen::Asks).or(news)
    }
}

impl Drop for Tasking {
    fn drop(&mut self) {
        if let Some(watched) = &self.watched
            && let Ok(cancel) = open(&self.lease, Method::TasksCancel, &watched.task.id, None, Say::plainly(self.profile))
        {
            cancel.detach();
        }
    }
}
