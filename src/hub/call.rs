//! What a server answers: resolve, permit, lease, splice, send. What comes back is `crossing`'s.
//!
//! Cost of a call whose server is ready: one table look-up, one fleet look-up, one pool look-up, one splice into the outgoing
//! line. Nothing is awaited before the line is queued; only what must wait (a start, a full queue, an unknown catalog) takes
//! the boxed way.

use std::sync::Arc;

use super::{
    Answer, Crossing, Hub, Inbound, Outcome,
    aim::{self, Found},
    carried::{Aim, Asker, Call, Kept, roots_for},
    crossing::{Claim, OnWire},
    pages::Page,
    park, random, resume,
    talk::Talk,
    task::{self, Tasking},
};
use crate::{
    access::{Permit, Use},
    bridge::{
        outgoing::{self, Inputs, Outgoing},
        round::{self, Retry},
        task::is_of_tasks,
        trace::{self, SpanId},
    },
    protocol::{
        Era, Method, Refusal,
        capability::Profile,
        code::{Code, Reason, failure_data},
    },
    upstream::{Lease, Opening, Server, Sharer, UpstreamError},
};

pub(super) fn call(hub: &Arc<Hub>, inbound: Inbound) -> Outcome {
    let Some(permit) = Permit::take(&inbound.principal, Use::Call, hub.limits.in_flight_per_principal) else {
        return Outcome::Now(over_quota(hub, &inbound));
    };
    let claim = match Claim::take(&inbound) {
        Ok(claim) => claim,
        Err(answer) => return Outcome::Now(answer),
    };
    if inbound.client.era() == Era::Stateless {
        match Retry::read(&inbound.message) {
            Ok(retry) if retry.is_one() => return resume::resume(hub, inbound, claim, permit),
            Ok(_) => {}
            Err(refusal) => return refuse(&inbound, refusal),
        }
    }
    again(hub, inbound, claim, permit, Again::default())
}

/// How a request differs that its client, or the hub, sends once more.
#[derive(Default)]
pub(super) struct Again {
    /// The server's own `requestState`.
    pub(super) state: Option<String>,
    /// Raw JSON in place of the client's `inputResponses`.
    pub(super) responses: Option<String>,
    /// How often the server refused it until pages were opened.
    pub(super) refusals: u32,
    /// The elicitations that are best finished before it is sent.
    pub(super) pages: Vec<Page>,
}

pub(super) fn again(hub: &Arc<Hub>, inbound: Inbound, claim: Claim, permit: Permit, again: Again) -> Outcome {
    match aim::find(hub, &inbound) {
        Ok(Found::One(aim)) if again.pages.is_empty() => aimed(hub, inbound, claim, permit, aim, again),
        Ok(_) => later(hub, inbound, claim, permit, again, None),
        Err(refusal) => refuse(&inbound, refusal),
    }
}

fn aimed(hub: &Arc<Hub>, inbound: Inbound, claim: Claim, permit: Permit, aim: Aim, again: Again) -> Outcome {
    if let Err(refusal) = aim::check(&inbound, &aim) {
        return refuse(&inbound, refusal);
    }
    let Some(server) = hub.fleet.server(aim.server()) else {
        return refuse(&inbound, aim::unknown(&inbound));
    };
    let on_wire = server.try_lease(&sharer(&inbound)).and_then(|lease| put(&lease, &server, &inbound, &aim, again.inputs()).ok());
    match on_wire {
        Some(mut on_wire) => {
            let call = Call::new(hub, &inbound, aim.clone(), permit);
            prepare(hub, inbound, aim, server, &mut on_wire, again.refusals);
            Crossing::carrying(claim, call, on_wire)
        }
        None => later(hub, inbound, claim, permit, again, Some((aim, server))),
    }
}

/// Keeps what is needed should somebody be asked before the answer. For most calls: nothing.
pub(super) fn prepare(hub: &Arc<Hub>, inbound: Inbound, aim: Aim, server: Arc<Server>, on_wire: &mut OnWire, refusals: u32) {
    let method = inbound.message.method();
    let may_talk = match (inbound.client.era(), on_wire.version.era()) {
        _ if on_wire.task.is_some() => true,
        (Era::Handshake, Era::Stateless) => round::may_ask(method),
        (Era::Handshake, Era::Handshake) => inbound.profile().can_be_asked(),
        // By questions, or by an error that names a page to open (2025-11-25).
        (Era::Stateless, Era::Handshake) => inbound.profile().can_be_asked() && round::may_ask(method),
        // Its result may be a question, or only say to come back: that is between the two, and the hub keeps no more than the request.
        (Era::Stateless, Era::Stateless) => {
            on_wire.asker = round::may_ask(method).then(|| Asker::new(hub, &inbound));
            false
        }
    };
    if may_talk {
        let task = on_wire.task.take();
        on_wire.talk = Some(Talk::new(Arc::new(Kept::new(hub, inbound, aim, server)), refusals, task));
    }
}

/// The way of a call that has to wait before its line can be queued.
fn later(hub: &Arc<Hub>, inbound: Inbound, claim: Claim, permit: Permit, again: Again, aimed: Option<(Aim, Arc<Server>)>) -> Outcome {
    let (hub, client) = (Arc::clone(hub), inbound.client);
    let opening = async move {
        hub.pages.finished(&again.pages).await;
        let (aim, server) = match aimed {
            Some(aimed) => aimed,
            None => {
                let aim = aim::learnt(&hub, &inbound).await?;
                aim::check(&inbound, &aim)?;
                let server = hub.fleet.server(aim.server()).ok_or_else(|| aim::unknown(&inbound))?;
                (aim, server)
            }
        };
        let mut on_wire = open(&hub, &server, &inbound, &aim, again.inputs()).await?;
        let call = Call::new(&hub, &inbound, aim.clone(), permit);
        prepare(&hub, inbound, aim, server, &mut on_wire, again.refusals);
        Ok((call, on_wire))
    };
    Crossing::opening(claim, client, Box::pin(opening))
}

impl Again {
    pub(super) fn inputs(&self) -> Inputs<'_> {
        let state = self.state.as_deref();
        match (self.refusals, &self.responses) {
            (0, None) => Inputs::Keep { state },
            (0, Some(responses)) => Inputs::Put { responses: Some(responses), state },
            // The answers were the hub's to ask for.
            _ => Inputs::Take,
        }
    }
}

/// Waits for an instance, then for room in its queue. Bounded by the server's start and call times.
///
/// # Errors
/// What to tell the caller; without id.
pub(super) async fn open(hub: &Hub, server: &Arc<Server>, inbound: &Inbound, aim: &Aim, inputs: Inputs<'_>) -> Result<OnWire, Refusal> {
    waited(hub, server, inbound, aim, inputs).await.map_err(|error| failed(&error))
}

async fn waited(hub: &Hub, server: &Arc<Server>, inbound: &Inbound, aim: &Aim, inputs: Inputs<'_>) -> Result<OnWire, UpstreamError> {
    let lease = park::lease(hub, server, &sharer(inbound)).await?;
    through(&lease, server, inbound, aim, inputs).await
}

/// Waits for room in the queue.
///
/// # Errors
/// There was none for as long as a call may take, or the instance is gone.
pub(super) async fn through(
    lease: &Lease,
    server: &Server,
    inbound: &Inbound,
    aim: &Aim,
    inputs: Inputs<'_>,
) -> Result<OnWire, UpstreamError> {
    let deadline = tokio::time::Instant::now() + server.settings().timeouts.call;
    loop {
        match put(lease, server, inbound, aim, inputs) {
            Err(busy) if busy.reason == Reason::Busy => {
                // One that stays full for as long as a call may take is busy, whatever it does.
                tokio::time::timeout_at(deadline, lease.ready()).await.map_err(|_| busy)??;
            }
            opened => return opened,
        }
    }
}

fn put(lease: &Lease, server: &Server, inbound: &Inbound, aim: &Aim, inputs: Inputs<'_>) -> Result<OnWire, UpstreamError> {
    let message = &inbound.message;
    let version = lease.version();
    let method = message.method();
    let level = inbound.level();
    let headers = aim::headers(inbound, aim);
    let plan = task::plan(inbound, aim, lease, server);
    let profile = if plan.declares() || is_of_tasks(method) { inbound.relayed().with(Profile::TASKS) } else { inbound.relayed() };
    // A task of a client's own asks that client; of other questions the hub knows.
    let has_roots = version.era() == Era::Stateless
        && roots_for(server, profile)
        && round::may_ask(method)
        && (!plan.declares() || inbound.client.era() == Era::Handshake);
    let profile = if has_roots { profile.with(Profile::ROOTS) } else { profile };
    let opening = Opening {
        progress: message.scan().meta.progress_token.is_some(),
        asks: version.era() == Era::Handshake
            && lease.profile().can_be_asked()
            && (round::may_ask(method) || method == Method::TasksResult),
        notes: level.is_some(),
        begins_task: task::begins(plan) && version.era() == Era::Handshake,
        lingers: task::lingers(plan) && message.scan().meta.progress_token.is_some(),
        waits: method == Method::TasksResult,
        method: method.as_str(),
        name: aim.name(),
        headers: &headers,
    };
    if let Some(level) = level.filter(|_| version.era() == Era::Handshake) {
        lease.set_level(level);
    }
    // A handshake server knows neither answers nor states.
    let inputs = if version.era() == Era::Handshake { Inputs::Take } else { inputs };
    let extras = if version.era() == Era::Stateless { inbound.extras(lease.capabilities()) } else { None };
    let exchange = lease.open(&opening, |wire| {
        let (name, uri, task_id) = aim.tokens();
        let span = trace::is_sent(message).then(|| SpanId::new(random()));
        let task = plan.param(message);
        outgoing::request(
            message,
            &Outgoing {
                name,
                uri,
                task_id,
                profile,
                extras: extras.as_ref(),
                caller: inbound.handshaken().and_then(|session| session.client()?.info.as_ref()),
                level,
                task: task.as_deref(),
                inputs,
                span,
                ..Outgoing::new(wire, version)
            },
        )
    })?;
    let task = Tasking::new(plan, lease, profile, &exchange);
    Ok(OnWire { exchange, version, talk: None, asker: None, task, is_again: false, rounds: 0 })
}

/// Whose instance may be used. Stateless clients have no session, wherever they come from.
pub(super) fn sharer(inbound: &Inbound) -> Sharer {
    let session = inbound.handshaken().map(|session| session.id().share());
    Sharer { principal: Arc::clone(inbound.principal.id()), session, profile: inbound.profile() }
}

pub(super) fn over_quota(hub: &Hub, inbound: &Inbound) -> Answer {
    let limit = hub.limits.in_flight_per_principal;
    let text = format!("{limit} calls of this caller are under way already; wait for one to end");
    let refusal = Refusal::new(Code::Internal, 429, text)
        .with_data(format!(r#"{{"origin":"hub","reason":"quota","retryable":true,"limit":{limit}}}"#))
        .with_id(inbound.message.id());
    Answer { status: 429, body: refusal.to_body(), session: None, is_hubs: true }
}

pub(super) fn refuse(inbound: &Inbound, refusal: Refusal) -> Outcome {
    Outcome::Now(Answer::refused(&refusal.with_id(inbound.message.id()), inbound.client.era()))
}

/// What a caller is told when its server could not, or did not, answer.
pub(super) fn failed(error: &UpstreamError) -> Refusal {
    let data = failure_data(Some(error.server.name.as_str()), error.reason, error.retry_after_ms);
    Refusal::new(error.reason.code(), 200, error.to_string()).with_data(data)
}
