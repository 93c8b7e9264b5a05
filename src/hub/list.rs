//! The four lists, from the catalog. Servers whose offer is not known yet are started once to learn it, and waited for a little.

use std::sync::Arc;

use super::{Answer, Crossing, Endpoint, Hub, Inbound, Outcome, crossing::Claim};
use crate::{
    catalog::Kind,
    limits,
    name::ServerId,
    protocol::{Method, Refusal, capability::Profile, code::Code},
    upstream::Server,
};

/// Cost when everything is known: one look at the fleet, one snapshot load, no rendering.
pub(super) fn list(hub: &Arc<Hub>, inbound: Inbound) -> Outcome {
    if learning(hub, &inbound.endpoint).is_empty() {
        // What comes of it is announced as a list change.
        drop(learning_as(hub, &inbound));
        return Outcome::Now(page(hub, &inbound));
    }
    let claim = match Claim::take(&inbound) {
        Ok(claim) => claim,
        Err(answer) => return Outcome::Now(answer),
    };
    let hub = Arc::clone(hub);
    let waited = async move {
        learn(&hub, &inbound.endpoint).await;
        drop(learning_as(&hub, &inbound));
        page(&hub, &inbound)
    };
    Crossing::answering(claim, Box::pin(waited))
}

/// The servers seen at this endpoint that are only now asked what they offer. A server's own endpoint starts no other.
pub(super) fn learning(hub: &Hub, endpoint: &Endpoint) -> Vec<Arc<Server>> {
    match &endpoint.server {
        Some(name) => hub.fleet.learn_one(&ServerId { tenant: endpoint.tenant.clone(), name: name.clone() }).into_iter().collect(),
        None => hub.fleet.learn(&endpoint.tenant),
    }
}

/// The servers seen at this endpoint that are only now asked what they offer to callers who can do what this one can. Until they have
/// told, such callers see what others see.
pub(super) fn learning_as(hub: &Hub, inbound: &Inbound) -> Vec<Arc<Server>> {
    let profile = inbound.relayed();
    if profile.is_empty() {
        return Vec::new();
    }
    let Endpoint { tenant, server, .. } = &*inbound.endpoint;
    let is_asked = |server: &&Arc<Server>| {
        let told = server.told(profile);
        server.learn_as(told, || hub.catalog.knows(&server.settings().id, told.without(Profile::ROOTS_CHANGE)))
    };
    match server {
        Some(name) => {
            let server = hub.fleet.server(&ServerId { tenant: tenant.clone(), name: name.clone() });
            server.iter().filter(is_asked).cloned().collect()
        }
        None => hub.fleet.servers_of(tenant).filter(is_asked).cloned().collect(),
    }
}

/// Waits for those: for the one that is meant as long as its start may take, for others no longer than a list waits.
pub(super) async fn learn_as(hub: &Hub, inbound: &Inbound, is_meant: impl Fn(&ServerId) -> bool) {
    let begun = tokio::time::Instant::now();
    let mut learning = learning_as(hub, inbound);
    let mut wait = limits::LIST_WAIT;
    if let Some(meant) = learning.iter().find(|server| is_meant(&server.settings().id)).cloned() {
        wait = meant.settings().timeouts.start * 2;
        learning = vec![meant];
    }
    for server in learning {
        let told = server.told(inbound.relayed());
        if tokio::time::timeout_at(begun + wait, server.learnt_as(told)).await.is_err() {
            break;
        }
    }
}

/// Waits until the servers of the endpoint that may be started were asked what they offer, at most `limits::LIST_WAIT` from when the
/// first list wanted each. What comes later is announced as a list change.
pub(super) async fn learn(hub: &Hub, endpoint: &Endpoint) {
    for server in learning(hub, endpoint) {
        if let Some(until) = server.awaited_until() {
            let _ = tokio::time::timeout_at(until, server.learnt()).await;
        }
    }
}

fn page(hub: &Hub, inbound: &Inbound) -> Answer {
    let message = &inbound.message;
    let bad_cursor = || {
        let refusal = Refusal::new(Code::InvalidParams, 200, "the cursor is not one of this list; start again without one");
        Answer::refused(&refusal.with_id(message.id()), inbound.client.era())
    };
    let cursor = match message.scan().cursor {
        None => None,
        Some(span) => match message.string(span) {
            Some(cursor) => Some(cursor),
            None => return bad_cursor(),
        },
    };
    let kind = match message.method() {
        Method::PromptsList => Kind::Prompts,
        Method::ResourcesList => Kind::Resources,
        Method::ResourcesTemplatesList => Kind::Templates,
        _ => Kind::Tools,
    };
    match hub.catalog.page(kind, inbound.endpoint.scope(), inbound.view(), cursor.as_deref()) {
        Ok(page) => Answer::result(&inbound.id(), page),
        Err(_) => bad_cursor(),
    }
}
