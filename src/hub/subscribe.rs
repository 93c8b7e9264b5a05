//! `resources/subscribe`, `resources/unsubscribe` (handshake era), `logging/setLevel`: what a session wants to hear of.

use std::sync::Arc;

use super::{
    Answer, Crossing, Hub, Inbound, Outcome,
    aim::{self, Found},
    call::{self, sharer},
    carried::Aim,
    crossing::Claim,
    watch::{Ear, Watching, Wish},
};
use crate::{
    limits,
    protocol::{Level, Message, Refusal, code::Code},
};

pub(super) fn subscribe(hub: &Arc<Hub>, inbound: Inbound) -> Outcome {
    let claim = match Claim::take(&inbound) {
        Ok(claim) => claim,
        Err(answer) => return Outcome::Now(answer),
    };
    let hub = Arc::clone(hub);
    Crossing::answering(
        claim,
        Box::pin(async move { subscribed(&hub, &inbound).await.unwrap_or_else(|refusal| refused(&inbound, refusal)) }),
    )
}

async fn subscribed(hub: &Arc<Hub>, inbound: &Inbound) -> Result<Answer, Refusal> {
    let session = inbound.handshaken().ok_or_else(|| aim::unknown(inbound))?;
    let uri = aim::addressed(inbound)?.into_owned();
    if session.watches(&uri) {
        return Ok(done(inbound));
    }
    let watching = watch(hub, inbound, &uri, Ear::Session(Arc::downgrade(session))).await?;
    if !session.watch(uri, watching, limits::WATCHED_MAX) {
        return Err(Refusal::new(
            Code::Internal,
            200,
            format!("{} resources are subscribed to already; unsubscribe some", limits::WATCHED_MAX),
        ));
    }
    Ok(done(inbound))
}

/// Asks the server that has this URI to tell of its changes.
///
/// # Errors
/// What to tell the caller, without id: nobody has it, or who has it does not tell of changes.
pub(super) async fn watch(hub: &Arc<Hub>, inbound: &Inbound, uri: &str, ear: Ear) -> Result<Watching, Refusal> {
    let aim = match aim::find_resource(hub, inbound, uri)? {
        Found::One(aim) => aim,
        Found::Perhaps => aim::learnt_resource(hub, inbound, uri).await?,
    };
    let Aim::Resource { server, uri: own, .. } = aim else { return Err(aim::unknown(inbound)) };
    let known = hub.fleet.server(&server).ok_or_else(|| aim::unknown(inbound))?;
    let subscription = known.subscribe(&sharer(inbound), &own).await.map_err(|error| call::failed(&error))?;
    let session = inbound.handshaken().map(|session| session.id().share());
    let wish = Wish { server, uri: own, published: uri.to_owned(), principal: Arc::clone(inbound.principal.id()), session };
    Ok(hub.watches.add(wish, ear, subscription))
}

/// Unknown ones are as good as ended.
pub(super) fn unsubscribe(inbound: &Inbound) -> Answer {
    match (aim::addressed(inbound), inbound.handshaken()) {
        (Ok(uri), Some(session)) => {
            session.unwatch(&uri);
            done(inbound)
        }
        (Err(refusal), _) => refused(inbound, refusal),
        (_, None) => refused(inbound, aim::unknown(inbound)),
    }
}

/// From now on the session hears of what is that grave, or graver.
pub(super) fn set_level(hub: &Hub, inbound: &Inbound) -> Answer {
    let Some(level) = level(&inbound.message) else {
        let refusal = Refusal::new(
            Code::InvalidParams,
            200,
            "logging/setLevel needs params.level, one of debug, info, notice, warning, error, critical, alert, emergency",
        );
        return refused(inbound, refusal);
    };
    if let Some(session) = inbound.handshaken() {
        session.set_level(level);
        let sharer = sharer(inbound);
        for server in hub.fleet.servers().into_iter().filter(|server| inbound.endpoint.shows(&server.settings().id)) {
            server.log_level(&sharer, level);
        }
    }
    done(inbound)
}

fn level(message: &Message) -> Option<Level> {
    #[derive(serde::Deserialize)]
    struct Params<'a> {
        #[serde(borrow)]
        level: std::borrow::Cow<'a, str>,
    }
    let params: Params<'_> = serde_json::from_slice(message.token(message.scan().params?)).ok()?;
    Level::parse(&params.level)
}

fn done(inbound: &Inbound) -> Answer {
    Answer::result(&inbound.id(), bytes::Bytes::from_static(b"{}"))
}

fn refused(inbound: &Inbound, refusal: Refusal) -> Answer {
    Answer::refused(&refusal.with_id(Some(inbound.id())), inbound.client.era())
}
