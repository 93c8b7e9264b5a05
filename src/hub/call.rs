//! `tools/call`: resolve, permit, lease, splice, send. What comes back is `crossing`'s.
//!
//! Cost of a call whose server is ready: one table look-up, one fleet look-up, one pool look-up, one splice into the outgoing
//! line. Nothing is awaited before the line is queued; only what must wait (a start, a full queue, an unknown catalog) takes
//! the boxed way.

use std::sync::Arc;

use super::{
    Answer, Crossing, Hub, Inbound, Outcome,
    crossing::{Call, Claim, OnWire},
    list,
};
use crate::{
    access::Permit,
    bridge::outgoing::{self, Outgoing},
    catalog::Route,
    name::ServerId,
    protocol::{
        Method, Refusal,
        capability::Profile,
        code::{Code, Reason, failure_data},
    },
    upstream::{Lease, Opening, Server, Sharer, UpstreamError},
};

pub(super) fn call(hub: &Arc<Hub>, inbound: Inbound) -> Outcome {
    let Some(permit) = Permit::take(&inbound.principal, hub.limits.in_flight_per_principal) else {
        return Outcome::Now(over_quota(hub, &inbound));
    };
    let Some(name) = inbound.message.name() else {
        return refuse(&inbound, Refusal::new(Code::InvalidParams, 200, "tools/call needs params.name, a string"));
    };
    let claim = match Claim::take(&inbound) {
        Ok(claim) => claim,
        Err(answer) => return Outcome::Now(answer),
    };
    match hub.catalog.resolve(inbound.endpoint.scope(), &name) {
        Some(route) => routed(hub, inbound, claim, permit, route),
        None if list::learning(hub, &inbound.endpoint).is_empty() && unlearned(hub, &inbound, &name).is_none() => {
            let refusal = unknown_tool(&name);
            refuse(&inbound, refusal)
        }
        None => later(hub, inbound, claim, permit, None),
    }
}

fn routed(hub: &Arc<Hub>, inbound: Inbound, claim: Claim, permit: Permit, route: Arc<Route>) -> Outcome {
    let ready = hub.fleet.server(&route.server).and_then(|server| server.try_lease(&sharer(&inbound)));
    let on_wire = ready.and_then(|lease| open(&lease, &inbound, &route).ok());
    match on_wire {
        Some(on_wire) => {
            let call = Call::new(&inbound, permit);
            Crossing::carrying(claim, call, on_wire)
        }
        None => later(hub, inbound, claim, permit, Some(route)),
    }
}

/// The way of a call that has to wait before its line can be queued.
fn later(hub: &Arc<Hub>, inbound: Inbound, claim: Claim, permit: Permit, route: Option<Arc<Route>>) -> Outcome {
    let call = Call::new(&inbound, permit);
    let hub = Arc::clone(hub);
    let opening = async move {
        let route = match route {
            Some(route) => route,
            None => learnt(&hub, &inbound).await?,
        };
        let server = hub.fleet.server(&route.server).ok_or_else(|| unknown_tool(&route.canonical))?;
        waited(&server, &inbound, &route).await.map_err(|error| failed(&error))
    };
    Crossing::opening(claim, call, Box::pin(opening))
}

/// Of a name that is not known yet. Whose it may be is asked, for as long as its start may take: a slow or broken server is not
/// an unknown tool. Others are waited for no longer than a list waits.
async fn learnt(hub: &Hub, inbound: &Inbound) -> Result<Arc<Route>, Refusal> {
    let name = inbound.message.name().unwrap_or_default();
    match unlearned(hub, inbound, &name) {
        Some(server) => server.know().await.map_err(|error| failed(&error))?,
        None => list::learn(hub, &inbound.endpoint).await,
    }
    hub.catalog.resolve(inbound.endpoint.scope(), &name).ok_or_else(|| unknown_tool(&name))
}

/// The server of the endpoint, or the one with whose name this name begins, if what it offers is not known.
fn unlearned(hub: &Hub, inbound: &Inbound, name: &str) -> Option<Arc<Server>> {
    let endpoint = &inbound.endpoint;
    let is_meant = |id: &ServerId| match &endpoint.server {
        Some(server) => id.name == *server,
        None => name.strip_prefix(id.name.as_str()).is_some_and(|rest| rest.starts_with('.') || rest.starts_with("__")),
    };
    hub.fleet.unlearned(&endpoint.tenant).find(|server| is_meant(&server.settings().id))
}

/// Waits for an instance, then for room in its queue. Bounded by the server's start and call times.
async fn waited(server: &Arc<Server>, inbound: &Inbound, route: &Route) -> Result<OnWire, UpstreamError> {
    let lease = server.lease(&sharer(inbound)).await?;
    let deadline = tokio::time::Instant::now() + server.settings().timeouts.call;
    loop {
        match open(&lease, inbound, route) {
            Err(busy) if busy.reason == Reason::Busy => {
                // One that stays full for as long as a call may take is busy, whatever it does.
                tokio::time::timeout_at(deadline, lease.ready()).await.map_err(|_| busy)??;
            }
            opened => return opened,
        }
    }
}

fn open(lease: &Lease, inbound: &Inbound, route: &Route) -> Result<OnWire, UpstreamError> {
    let wants_progress = inbound.message.scan().meta.progress_token.is_some();
    let version = lease.version();
    let opening = Opening { progress: wants_progress, method: Method::ToolsCall.as_str(), name: Some(&route.tool), ..Opening::default() };
    let exchange = lease.open(&opening, |wire| {
        outgoing::request(&inbound.message, &Outgoing { name: Some(&route.tool_token), ..Outgoing::new(wire, version) })
    })?;
    Ok(OnWire { exchange, version })
}

/// Whose instance may be used. Stateless clients have no session, wherever they come from.
fn sharer(inbound: &Inbound) -> Sharer {
    let session = inbound.session.as_ref().filter(|session| session.version().is_some());
    Sharer { principal: Arc::clone(inbound.principal.id()), session: session.map(|session| session.id().share()), profile: Profile::BARE }
}

fn over_quota(hub: &Hub, inbound: &Inbound) -> Answer {
    let limit = hub.limits.in_flight_per_principal;
    let text = format!("{limit} calls of this caller are under way already; wait for one to end");
    let refusal = Refusal::new(Code::Internal, 429, text)
        .with_data(format!(r#"{{"origin":"hub","reason":"quota","retryable":true,"limit":{limit}}}"#))
        .with_id(inbound.message.id());
    Answer { status: 429, body: refusal.to_body(), session: None, is_hubs: true }
}

fn unknown_tool(name: &str) -> Refusal {
    Refusal::new(Code::InvalidParams, 200, format!("Unknown tool: {name}"))
}

fn refuse(inbound: &Inbound, refusal: Refusal) -> Outcome {
    Outcome::Now(Answer::refused(&refusal.with_id(inbound.message.id()), inbound.client.era()))
}

/// What a caller is told when its server could not, or did not, answer.
pub(super) fn failed(error: &UpstreamError) -> Refusal {
    let data = failure_data(Some(error.server.name.as_str()), error.reason, error.retry_after_ms);
    Refusal::new(error.reason.code(), 200, error.to_string()).with_data(data)
}
