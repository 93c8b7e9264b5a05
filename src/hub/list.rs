//! The four lists, from the catalog. Servers whose offer is not known yet are started once to learn it, and waited for a little.

use std::sync::Arc;

use super::{Answer, Crossing, Endpoint, Hub, Inbound, Outcome, crossing::Claim};
use crate::{
    catalog::Kind,
    name::ServerId,
    protocol::{Method, Refusal, code::Code},
    upstream::Server,
};

/// Cost when everything is known: one look at the fleet, one snapshot load, no rendering.
pub(super) fn list(hub: &Arc<Hub>, inbound: Inbound) -> Outcome {
    if learning(hub, &inbound.endpoint).is_empty() {
        return Outcome::Now(page(hub, &inbound));
    }
    let claim = match Claim::take(&inbound) {
        Ok(claim) => claim,
        Err(answer) => return Outcome::Now(answer),
    };
    let hub = Arc::clone(hub);
    let waited = async move {
        learn(&hub, &inbound.endpoint).await;
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
