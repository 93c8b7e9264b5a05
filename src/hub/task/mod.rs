//! Tasks: calls that go on after their answer. Those of 2025-11-25 a caller asks for, those of 2026-07-28 a server decides on (tasks
//! extension); what the two are to each other is said by `bridge::task`.
//!
//! A task's id travels sealed, so that a hub that was started anew knows whose it is, and says on which connection it was made: several
//! processes of a server may each have a `task-1`. What a task needs besides, that connection, is held while somebody may ask for it
//! (`held`). Requests about tasks of a server of the client's own era are relayed; those of a
//! stateless client about a handshake server's are answered here (`older`). Calls that may become tasks are `tasking`.

mod follow;
mod held;
mod older;
mod tasking;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::{Instant, timeout_at};

pub(super) use follow::{Follower, follow};
pub(super) use held::{Held, Holds};
use older::listen;
pub(super) use tasking::{Seen, Tasking, begins, lingers, plan};

use super::{
    Crossing, Hub, Inbound, Outcome,
    call::{self, failed, sharer},
    carried::{Aim, Call, Kept},
    crossing::Claim,
    park, random, seal,
    talk::Talk,
};
use crate::{
    access::{Permit, Principal, Use},
    bridge::{
        outgoing::{self, Inputs},
        seal::{Place, TaskRef},
        task,
    },
    limits,
    name::{ServerId, ServerName, TenantId},
    protocol::{
        Era, Message, Method, Refusal,
        capability::{Profile, TASKS},
        code::{Code, Reason},
    },
    upstream::{Event, Exchange, Lease, Opening, UpstreamError},
};

/// A task that a request is about.
struct Named {
    server: ServerId,
    /// The server's own.
    id: String,
    /// Where it was made.
    place: Option<Place>,
    /// As its client knows it.
    public: String,
}

/// `tasks/get`, `tasks/update`, `tasks/cancel`, `tasks/result`.
pub(super) fn request(hub: &Arc<Hub>, inbound: Inbound) -> Outcome {
    let Some(permit) = Permit::take(&inbound.principal, Use::Call, hub.limits.in_flight_per_principal) else {
        return Outcome::Now(call::over_quota(hub, &inbound));
    };
    let claim = match Claim::take(&inbound) {
        Ok(claim) => claim,
        Err(answer) => return Outcome::Now(answer),
    };
    let named = match named(hub, &inbound) {
        Ok(named) => named,
        Err(refusal) => return call::refuse(&inbound, refusal),
    };
    let held = hub.holds.get(&named.server, inbound.principal.id(), named.place, &named.id);
    let server = match &held {
        Some(held) => Some(held.lease.version()),
        None => hub.catalog.offer(&named.server).map(|offer| offer.version),
    };
    match (inbound.client.era(), server.map(|server| server.era())) {
        (Era::Stateless, Some(Era::Handshake)) => {
            let hub = Arc::clone(hub);
            Crossing::answering(claim, Box::pin(older::answer(hub, inbound, permit, named, held)))
        }
        (client, Some(server)) if client == server => relay(hub, inbound, claim, permit, named, held),
        // Of no server that is known, or of one whose tasks such a client was never told of.
        _ => call::refuse(&inbound, unknown()),
    }
}

fn named(hub: &Hub, inbound: &Inbound) -> Result<Named, Refusal> {
    let message = &inbound.message;
    let public = message.scan().task_id.and_then(|span| message.string(span));
    named_as(hub, inbound, public.as_deref())
}

/// A task of the caller's, by the id that the caller knows.
fn named_as(hub: &Hub, inbound: &Inbound, public: Option<&str>) -> Result<Named, Refusal> {
    if inbound.client.era() == Era::Stateless && !inbound.profile().has(Profile::TASKS) {
        let required = format!(r#"{{"requiredCapabilities":{{"extensions":{{"{TASKS}":{{}}}}}}}}"#);
        return Err(Refusal::new(Code::MissingCapability, 400, format!("Tasks are for clients that declare {TASKS}")).with_data(required));
    }
    let method = inbound.message.method();
    let public =
        public.ok_or_else(|| Refusal::new(Code::InvalidParams, 200, format!("{} needs params.taskId, a string", method.as_str())))?;
    opened(hub, &inbound.principal, public).filter(|named| inbound.endpoint.shows(&named.server)).ok_or_else(unknown)
}

fn opened(hub: &Hub, principal: &Principal, public: &str) -> Option<Named> {
    let TaskRef { server, id, place, .. } = hub.sealer.open_task(public, principal.id(), seal::unix(SystemTime::now())).ok()?;
    Some(Named { server: server_id(&server)?, id, place, public: public.to_owned() })
}

/// For callers who know a task and no endpoint.
pub struct Owner {
    pub server: ServerId,
    /// What could be asked of whoever made the call, tasks included. Of a task that nobody has asked for in a while: only these.
    pub profile: Profile,
}

impl Hub {
    /// Whose the task is that this principal knows by that id. `None`: it is none, or another's.
    pub fn task_owner(&self, principal: &Principal, public: &str) -> Option<Owner> {
        let named = opened(self, principal, public)?;
        let held = self.holds.get(&named.server, principal.id(), named.place, &named.id);
        let profile = held.map_or(Profile::TASKS, |held| held.whose.profile.with(Profile::TASKS));
        Some(Owner { server: named.server, profile })
    }
}

fn server_id(text: &str) -> Option<ServerId> {
    let (tenant, name) = text.split_once(':')?;
    Some(ServerId { tenant: TenantId::new(tenant)?, name: ServerName::new(name)? })
}

fn unknown() -> Refusal {
    Refusal::new(Code::InvalidParams, 200, "Unknown task: it does not exist, or no longer")
}

fn lost() -> Refusal {
    Refusal::new(Code::InvalidParams, 200, "Unknown task: the process of its server that worked on it has ended")
}

/// The id by which a client knows a task that was made there.
fn publish(hub: &Hub, server: &ServerId, (id, place): (&str, Place), principal: &str, ttl: Option<Duration>) -> String {
    // The server says when it forgets a task; this only ends ids that nobody can have any more.
    let lives = ttl.unwrap_or_default().max(limits::TASK_ID_LIVES);
    let expires_unix = seal::unix(SystemTime::now()).saturating_add(lives.as_secs());
    let task = TaskRef { server: server.to_string(), id: id.to_owned(), expires_unix, place: Some(place) };
    hub.sealer.seal_task(&task, principal, random())
}

/// To a server of the client's era, under its own id of the task.
fn relay(hub: &Arc<Hub>, inbound: Inbound, claim: Claim, permit: Permit, named: Named, held: Option<Arc<Held>>) -> Outcome {
    let (hub, client) = (Arc::clone(hub), inbound.client);
    let opening = async move {
        let held = Held::find(&hub, &inbound, &named, held).await?;
        let server = hub.fleet.server(&named.server).ok_or_else(unknown)?;
        let aim = Aim::task(named.server, named.id);
        let opened = call::through(&held.lease, &server, &inbound, &aim, Inputs::Keep { state: None }).await;
        let mut on_wire = opened.map_err(|error| held.fail(&error))?;
        let call = Call::of_task(&hub, &inbound, aim.clone(), permit, named.public.into(), Arc::clone(&held));
        if inbound.message.method() == Method::TasksResult && inbound.profile().can_be_asked() {
            on_wire.talk = Some(Talk::new(Arc::new(Kept::new(&hub, inbound, aim, server)), 0, None));
        }
        Ok((call, on_wire))
    };
    Crossing::opening(claim, client, Box::pin(opening))
}

impl Held {
    /// The connection of a task. Where that is gone: one on which its server may know it, if it may know it at all.
    async fn find(hub: &Arc<Hub>, inbound: &Inbound, named: &Named, held: Option<Arc<Self>>) -> Result<Arc<Self>, Refusal> {
        if let Some(held) = held {
            held.touch();
            return Ok(held);
        }
        let server = hub.fleet.server(&named.server).ok_or_else(unknown)?;
        let own = match named.place.filter(|place| place.instance == hub.instance) {
            Some(place) => server.lease_on(place.connection).await.map_err(|error| failed(&error))?,
            None => None,
        };
        let lease = match own {
            Some(lease) => lease,
            None if server.may_remember() => {
                let lease = park::lease(hub, &server, &sharer(inbound)).await.map_err(|error| failed(&error))?;
                // There the server has made another of that number: it counts its tasks by connection.
                if hub.holds.is_made_on(&named.server, inbound.principal.id(), hub.place(lease.connection()), &named.id) {
                    return Err(unknown());
                }
                lease
            }
            None => return Err(lost()),
        };
        let whose = held::Whose::of(inbound, &named.server, &named.public);
        Ok(Self::hold(hub, whose, (&named.id, named.place), lease, limits::TASK_KEPT))
    }
}

/// A request of the hub's own about a task, sent now.
fn open(lease: &Lease, method: Method<'static>, id: &str, responses: Option<&str>, say: Say) -> Result<Exchange, UpstreamError> {
    let params = task::params(id, responses);
    let opening = Opening { asks: say.asks, waits: say.waits, method: method.as_str(), name: Some(id), ..Opening::default() };
    lease.open(&opening, |wire| outgoing::own_for(wire, method.as_str(), &params, lease.version(), say.profile))
}

/// How one is sent.
#[derive(Clone, Copy)]
struct Say {
    /// What a stateless server is told of the caller.
    profile: Profile,
    asks: bool,
    waits: bool,
}

impl Say {
    fn plainly(profile: Profile) -> Self {
        Self { profile, asks: false, waits: false }
    }
}

/// Waits for room in the queue, then for the answer: a result or an error.
async fn ask(lease: &Lease, method: Method<'static>, id: &str, say: Say, patience: Duration) -> Result<Message, UpstreamError> {
    let deadline = Instant::now() + patience;
    let mut exchange = loop {
        match open(lease, method, id, None, say) {
            Err(busy) if busy.reason == Reason::Busy => timeout_at(deadline, lease.ready()).await.map_err(|_| busy)??,
            opened => break opened?,
        }
    };
    loop {
        match exchange.next().await {
            Event::Answer(answer) => return Ok(answer),
            Event::Failed(error) => return Err(error),
            // Not asked for; a question is refused as it is dropped.
            Event::Progress(_) | Event::Note(_) | Event::Question(_) | Event::Withdrawn(_) => {}
        }
    }
}
