//! Tasks of 2025-11-25 for clients of the tasks extension. The result of such a task is a request that blocks, and what its server
//! asks comes while that is open: so it is kept open for whoever can be asked, and what was asked waits for `tasks/get`.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};

use super::{Held, Named, Say, ask, held::Whose, open};
use crate::{
    access::Permit,
    bridge::{
        content::Publish,
        incoming::{self, Carry},
        park::{Parked, Reply},
        round::Retry,
        task::{self, Detail, Status, Task},
    },
    hub::{Answer, Hub, Inbound, carried},
    limits,
    protocol::{
        Body, Kind, Message, Method, Refusal, Version,
        capability::Profile,
        code::{Code, Reason, failure_data},
    },
    upstream::{Event, Exchange, Question},
};

/// What a task's server asks of who has the task.
pub(in crate::hub) struct Asking {
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    machine: Parked<()>,
    /// Open at the server.
    questions: Vec<Question>,
    /// The result is waited for.
    is_open: bool,
}

impl Asking {
    /// `patience`: for whoever has the task to answer.
    pub(super) fn new(profile: Profile, server: Version, patience: Duration) -> Self {
        let state = State { machine: Parked::new(profile, server, patience), questions: Vec::new(), is_open: false };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `inputRequests`, if anything is asked.
    fn requests(&self) -> Option<String> {
        let state = self.lock();
        state.machine.kinds().next().map(|_| state.machine.requests())
    }
}

/// The answer to a stateless client's request about such a task.
pub(super) async fn answer(hub: Arc<Hub>, inbound: Inbound, permit: Permit, named: Named, held: Option<Arc<Held>>) -> Answer {
    let said = match Held::find(&hub, &inbound, &named, held).await {
        Ok(held) => match inbound.message.method() {
            Method::TasksGet => get(&hub, &inbound, &named, &held).await,
            Method::TasksUpdate => update(&inbound, &held),
            _ => cancel(&hub, &inbound, &named, &held).await,
        },
        Err(refusal) => Err(refusal),
    };
    drop(permit);
    match said {
        Ok(body) => Answer::ok(body),
        Err(refusal) => Answer::refused(&refusal.with_id(Some(inbound.id())), inbound.client.era()),
    }
}

async fn get(hub: &Arc<Hub>, inbound: &Inbound, named: &Named, held: &Arc<Held>) -> Result<Body, Refusal> {
    let id = inbound.id();
    let got = told(hub, named, held, Method::TasksGet).await?;
    let Some(task) = Task::read(&got) else {
        held.end_soon();
        return refused(&got, inbound, held.lease.version());
    };
    let detail = match task.status {
        Status::Completed | Status::Failed => {
            let result = told(hub, named, held, Method::TasksResult).await?;
            held.end_soon();
            let publishes = inbound.endpoint.publishes();
            let publish = |uri: &str| carried::publish(hub, inbound.principal.id(), &named.server, uri, publishes?);
            let carry = Carry {
                publish: publishes.is_some().then_some(&publish as &Publish<'_>),
                ..Carry::new(&id, inbound.client, held.lease.version())
            };
            Detail::settled(&result, &named.public, &carry)
        }
        Status::Cancelled => {
            held.end_soon();
            Detail::Nothing
        }
        Status::Working | Status::InputRequired => match asked(hub, named, held, task.status).await {
            Some(requests) => Detail::Inputs(requests),
            None => Detail::Nothing,
        },
    };
    Ok(task::shown(&id, &task, &named.public, &detail))
}

/// The error of a server that knows no such task.
fn refused(got: &Message, inbound: &Inbound, server: Version) -> Result<Body, Refusal> {
    if got.kind() != Kind::Error {
        let data = failure_data(None, Reason::BadAnswer, None);
        return Err(Refusal::new(Code::Internal, 200, "The server described no task").with_data(data));
    }
    let id = inbound.id();
    incoming::answer(got, &Carry { method: inbound.message.method(), ..Carry::new(&id, inbound.client, server) })
}

fn update(inbound: &Inbound, held: &Held) -> Result<Body, Refusal> {
    let retry = Retry::read(&inbound.message)?;
    let responses =
        retry.responses.ok_or_else(|| Refusal::new(Code::InvalidParams, 200, "tasks/update needs params.inputResponses, an object"))?;
    let mut state = held.asking.lock();
    let replies = state.machine.handle_retry(Some(responses), Instant::now().into_std())?;
    let answered: Vec<_> = replies.into_iter().filter_map(|reply| Some((state.take(&reply)?, reply.response))).collect();
    drop(state);
    answered.into_iter().for_each(|(question, response)| question.answer(response));
    Ok(task::acknowledged(&inbound.id()))
}

/// A task that has ended already is no error here.
async fn cancel(hub: &Arc<Hub>, inbound: &Inbound, named: &Named, held: &Arc<Held>) -> Result<Body, Refusal> {
    told(hub, named, held, Method::TasksCancel).await?;
    Ok(task::acknowledged(&inbound.id()))
}

async fn told(hub: &Hub, named: &Named, held: &Held, method: Method<'static>) -> Result<Message, Refusal> {
    let patience = hub.fleet.server(&named.server).map_or(Duration::ZERO, |server| server.settings().timeouts.call);
    ask(&held.lease, method, &named.id, Say::plainly(Profile::BARE), patience).await.map_err(|error| held.fail(&error))
}

/// What the server asks now.
async fn asked(hub: &Arc<Hub>, named: &Named, held: &Arc<Held>, status: Status) -> Option<String> {
    let came = held.asking.changed.notified();
    listen(hub, &named.id, held);
    if status == Status::InputRequired && held.asking.requests().is_none() && held.asking.lock().is_open {
        // It is about to ask, and others may come with the first.
        if timeout(limits::TASK_POLL, came).await.is_ok() {
            sleep(limits::PARK_GATHER).await;
        }
    }
    held.asking.requests()
}

/// Waits for the result on behalf of who has the task, so that the server can ask. Nothing happens where nobody can be asked.
pub(super) fn listen(hub: &Arc<Hub>, id: &str, held: &Arc<Held>) {
    if !held.lease.profile().can_be_asked() {
        return;
    }
    let mut state = held.asking.lock();
    if state.is_open {
        return;
    }
    let say = Say { profile: Profile::BARE, asks: true, waits: true };
    if let Ok(exchange) = open(&held.lease, Method::TasksResult, id, None, say) {
        state.is_open = true;
        drop(state);
        hub.tasks.spawn(hear(Arc::clone(hub), Arc::clone(held), exchange));
    }
}

async fn hear(hub: Arc<Hub>, held: Arc<Held>, mut exchange: Exchange) {
    loop {
        let event = tokio::select! {
            biased;
            () = held.gone.cancelled() => break,
            () = hub.stop.cancelled() => break,
            event = exchange.next() => event,
        };
        match event {
            Event::Question(question) => {
                let Whose { server, principal, publishes, .. } = &held.whose;
                let publish = |uri: &str| carried::publish(&hub, principal.id(), server, uri, (*publishes)?);
                held.asking.ask(question, publishes.is_some().then_some(&publish as &Publish<'_>));
            }
            Event::Withdrawn(id) => {
                let mut state = held.asking.lock();
                state.machine.handle_withdrawn(&id);
                state.questions.retain(|question| question.id() != id);
            }
            Event::Progress(_) | Event::Note(_) => continue,
            // Whoever wants the result asks for it: this one only listened.
            Event::Answer(_) | Event::Failed(_) => break,
        }
        held.asking.changed.notify_waiters();
    }
    let closed = {
        let mut state = held.asking.lock();
        state.is_open = false;
        let closed = std::mem::take(&mut state.questions);
        closed.iter().for_each(|question| state.machine.handle_withdrawn(&question.id()));
        closed
    };
    drop(closed);
    held.asking.changed.notify_waiters();
}

impl Asking {
    fn ask(&self, question: Question, publish: Option<&Publish<'_>>) {
        let mut state = self.lock();
        match state.machine.handle_question(question.message(), publish, Instant::now().into_std()) {
            Some(reply) => {
                drop(state);
                question.answer(reply.response);
            }
            None => state.questions.push(question),
        }
    }
}

impl State {
    fn take(&mut self, reply: &Reply) -> Option<Question> {
        let at = self.questions.iter().position(|open| open.id() == reply.question)?;
        Some(self.questions.swap_remove(at))
    }
}
