//! `tools/list`, from the catalog. Servers whose offer is not known yet are started once to learn it, and waited for a little.

use std::sync::Arc;

use super::{Answer, Crossing, Hub, Inbound, Outcome};
use crate::{
    limits,
    name::TenantId,
    protocol::{Refusal, code::Code},
};

/// Cost when everything is known: one look at the fleet, one snapshot load, no rendering.
pub(super) fn tools(hub: &Arc<Hub>, inbound: Inbound) -> Outcome {
    if hub.fleet.learn(&inbound.endpoint.tenant).is_empty() {
        return Outcome::Now(page(hub, &inbound));
    }
    let id = inbound.id();
    let session = inbound.session.clone();
    let hub = Arc::clone(hub);
    let waited = async move {
        learn(&hub, &inbound.endpoint.tenant).await;
        page(&hub, &inbound)
    };
    Crossing::answering(id, session.as_ref(), Box::pin(waited))
}

/// Waits, at most `limits::LIST_WAIT`, until the servers of the tenant that may be started were asked what they offer. What
/// comes later is announced as a list change.
pub(super) async fn learn(hub: &Hub, tenant: &TenantId) {
    let deadline = tokio::time::Instant::now() + limits::LIST_WAIT;
    for server in hub.fleet.learn(tenant) {
        if tokio::time::timeout_at(deadline, server.learnt()).await.is_err() {
            break;
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
    match hub.catalog.tools_page(inbound.endpoint.scope(), inbound.client.era(), cursor.as_deref()) {
        Ok(page) => Answer::result(&inbound.id(), page),
        Err(_) => bad_cursor(),
    }
}
