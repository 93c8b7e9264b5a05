//! A stateless client comes back with answers (MCP 2026-07-28, multi round-trip requests): to a call that is parked here, to a
//! server that keeps its own state, or to one that refused until pages were opened.

use std::{sync::Arc, time::SystemTime};

use super::{
    Answer, Crossing, Hub, Inbound, Outcome,
    aim::{self, Found},
    call::{self, Again},
    carried::{Call, Kept, digest},
    crossing::Claim,
    pages::Page,
    park, seal,
};
use crate::{
    access::Permit,
    bridge::{
        question,
        reissue::{Needed, Verdict},
        round::{self, Retry},
        seal::{Binding, What},
    },
    protocol::{Era, Refusal},
};

pub(super) fn resume(hub: &Arc<Hub>, inbound: Inbound, claim: Claim, permit: Permit) -> Outcome {
    let (state, responses) = match read(hub, &inbound) {
        Ok(read) => read,
        Err(refusal) => return call::refuse(&inbound, refusal),
    };
    match state {
        Some(What::Park { call, instance }) if instance == hub.instance => parked(hub, &inbound, claim, permit, call, responses),
        Some(What::Park { .. } | What::Hub(_)) => call::refuse(&inbound, park::unknown()),
        Some(What::Relay(state)) => call::again(hub, inbound, claim, permit, Again { state: Some(state), ..Again::default() }),
        Some(What::Rooted { state, keys }) => {
            let again = rooted(hub, &inbound, state, responses.as_deref(), &keys);
            call::again(hub, inbound, claim, permit, again)
        }
        // A server may ask without a state of its own; then the answers are all there is.
        None => call::again(hub, inbound, claim, permit, Again::default()),
        Some(What::Reissue(needed)) => reissue(hub, inbound, claim, permit, needed, responses.as_deref()),
    }
}

/// What the client brought with a request that is sent to its server once more.
///
/// # Errors
/// Meanwhile its state has expired; without id.
pub(super) fn said(kept: &Kept) -> Result<Again, Refusal> {
    let (state, responses) = read(kept.hub(), kept.inbound())?;
    Ok(match state {
        Some(What::Rooted { state, keys }) => rooted(kept.hub(), kept.inbound(), state, responses.as_deref(), &keys),
        None => Again::default(),
        Some(What::Relay(state)) => Again { state: Some(state), ..Again::default() },
        Some(What::Reissue(needed)) => Again { refusals: needed.round, ..Again::default() },
        Some(What::Park { .. } | What::Hub(_)) => return Err(park::unknown()),
    })
}

/// With the roots that the server asked for beside what it asked the client.
fn rooted(hub: &Hub, inbound: &Inbound, state: Option<String>, responses: Option<&str>, keys: &[String]) -> Again {
    let server = match aim::find(hub, inbound) {
        Ok(Found::One(aim)) => hub.fleet.server(aim.server()),
        _ => None,
    };
    // An entry that names none any more has none.
    let roots = question::roots(server.as_ref().map_or(&[], |server| &server.settings().roots));
    Again { state, responses: Some(round::with_roots(responses, keys, &roots)), ..Again::default() }
}

/// What the client brings.
fn read(hub: &Hub, inbound: &Inbound) -> Result<(Option<What>, Option<String>), Refusal> {
    let retry = Retry::read(&inbound.message)?;
    let responses = retry.responses.map(str::to_owned);
    let Some(sealed) = retry.state else { return Ok((None, responses)) };
    let binding = Binding { principal: inbound.principal.id(), request: digest(inbound) };
    let state = hub.sealer.open(&sealed, &binding, seal::unix(SystemTime::now())).map_err(|error| {
        tracing::debug!(%error, "a requestState was refused");
        park::unknown()
    })?;
    Ok((Some(state.what), responses))
}

fn parked(hub: &Arc<Hub>, inbound: &Inbound, claim: Claim, permit: Permit, number: u128, responses: Option<String>) -> Outcome {
    let aim = match aim::find(hub, inbound) {
        Ok(Found::One(aim)) => aim,
        Ok(Found::Perhaps) => return call::refuse(inbound, aim::unknown(inbound)),
        Err(refusal) => return call::refuse(inbound, refusal),
    };
    let call = Call::new(hub, inbound, aim, permit);
    match park::resume(hub, number, inbound.principal.id(), responses, call, inbound.id()) {
        Ok(waiter) => Crossing::parked(claim, waiter),
        Err(refusal) => call::refuse(inbound, refusal),
    }
}

/// The server refused the request, so it may be sent again once its pages were opened.
fn reissue(hub: &Arc<Hub>, inbound: Inbound, claim: Claim, permit: Permit, needed: Needed, responses: Option<&str>) -> Outcome {
    let id = inbound.id();
    match needed.verdict(responses) {
        Ok(Verdict::Reissue) => {
            let pages = match aim::find(hub, &inbound) {
                Ok(Found::One(aim)) => {
                    let page = |id| Page { server: aim.server().clone(), id };
                    needed.pages.into_iter().map(|needed| page(needed.elicitation_id)).collect()
                }
                // Whose they are is not known any more, so nobody tells when they are done.
                _ => Vec::new(),
            };
            call::again(hub, inbound, claim, permit, Again { refusals: needed.round, pages, ..Again::default() })
        }
        Ok(Verdict::Ask(needed)) => {
            let requests = needed.requests();
            let binding = Binding { principal: inbound.principal.id(), request: digest(&inbound) };
            let state = seal::state(hub, What::Reissue(needed), "", hub.limits.parked_ttl, &binding);
            Outcome::Now(Answer::ok(round::input_required(&id, &requests, Some(&state))))
        }
        Ok(Verdict::Declined(text)) => match round::failed(inbound.message.method(), &id, Era::Stateless, &text, None) {
            Ok(body) => Outcome::Now(Answer::ok(body)),
            Err(refusal) => call::refuse(&inbound, refusal),
        },
        Err(refusal) => call::refuse(&inbound, refusal),
    }
}
