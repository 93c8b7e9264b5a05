//! The one way in: Host and Origin, then the route, then the caller, then the door. Nothing reaches a door past this.

use super::{
    Doors, Mount, Reply, Request, Stage, legacy, mcp,
    pulse::Pulse,
    reply::{self, class},
    request::Params,
    rest,
    route::{Access, Door, Found, Handler, Route},
    socket,
};
use crate::{
    access::{Denied, Principal},
    config::settings::Serves,
    limits,
    protocol::code::Reason,
};
use futures_util::future::{BoxFuture, Either, Ready, ready};
use hyper::{
    Method, StatusCode,
    body::Incoming,
    header::{self, HeaderName, HeaderValue},
    http::request::Parts,
};
use std::{net::SocketAddr, sync::Arc};

/// The most frequent address, found without the table.
const MCP: &str = "/mcp";

/// The answer to a request. What needs no door is ready; what does is a future of its door's own on the heap (some 5 KiB each): hyper
/// keeps room for what this returns in every connection, idle ones too. The request is put there once and moves no more.
pub(super) fn answer(
    doors: &Arc<Doors>,
    mount: &Arc<Mount>,
    peer: SocketAddr,
    pulse: Arc<Pulse>,
    request: hyper::Request<Incoming>,
) -> Either<Ready<Reply>, BoxFuture<'static, Reply>> {
    let (parts, body) = request.into_parts();
    let origin = match doors.guard.check(&parts) {
        Ok(origin) => origin,
        Err(refusal) => return Either::Left(ready(refusal.to_reply())),
    };
    match route(doors, mount, peer, &parts, origin.is_some()) {
        Ok((handler, params, principal)) => {
            let request = Box::new(Request { parts, body, params, principal, peer, mount: Arc::clone(mount), pulse });
            let reply = hand_over(Arc::clone(doors), handler, request);
            Either::Right(match origin {
                None => reply,
                Some(origin) => Box::pin(share(Arc::clone(doors), origin, reply)),
            })
        }
        Err(mut reply) => {
            if let Some(origin) = origin {
                doors.guard.share(&origin, &mut reply);
            }
            Either::Left(ready(reply))
        }
    }
}

/// Whose it is to answer, and who asks.
///
/// # Errors
/// The reply to what no door sees.
fn route(
    doors: &Doors,
    mount: &Mount,
    peer: SocketAddr,
    parts: &Parts,
    is_from_page: bool,
) -> Result<(Handler, Params, Option<Arc<Principal>>), Reply> {
    if parts.headers.len() > limits::HEADERS_MAX {
        return Err(reply::error(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, class::VALIDATION, "Too many headers", hub()));
    }
    if is_from_page && is_preflight(parts) {
        return Err(doors.guard.preflight(parts));
    }
    // Nobody without a credential learns which addresses exist.
    let (handler, access, params) =
        find(doors, mount, parts).map_err(|unknown| admit(doors, Access::Principal, parts, peer).err().unwrap_or(unknown))?;
    let principal = admit(doors, access, parts, peer)?;
    if doors.ready.stage() == Stage::Stopping && principal.is_some() && parts.method != Method::GET {
        return Err(stopping());
    }
    Ok((handler, params, principal))
}

fn hand_over(doors: Arc<Doors>, handler: Handler, request: Box<Request>) -> BoxFuture<'static, Reply> {
    match handler {
        Handler::Mcp => Box::pin(mcp::handle(doors, request)),
        Handler::Legacy(action) => Box::pin(legacy::handle(doors, action, request)),
        Handler::Rest(action) => Box::pin(rest::handle(doors, action, request)),
        Handler::Socket(kind) => Box::pin(ready(socket::upgrade(&doors, kind, *request))),
    }
}

async fn share(doors: Arc<Doors>, origin: HeaderValue, reply: BoxFuture<'static, Reply>) -> Reply {
    let mut reply = reply.await;
    doors.guard.share(&origin, &mut reply);
    reply
}

fn find(doors: &Doors, mount: &Mount, parts: &Parts) -> Result<(Handler, Access, Params), Reply> {
    let unknown = || reply::not_found("route", parts.uri.path());
    let path = parts.uri.path().strip_prefix(doors.settings.gateway.base_path.as_str()).ok_or_else(unknown)?;
    if path == MCP && mount.serves.mcp {
        return Ok((Handler::Mcp, Access::Principal, Params::default()));
    }
    let path = match path.strip_suffix('/') {
        Some("") | None if path.is_empty() => "/",
        Some("") | None => path,
        Some(shorter) => shorter,
    };
    match doors.router.find(&parts.method, path) {
        Found::Route(Route { door, .. }, _) if !serves(mount.serves, *door) => Err(unknown()),
        Found::Route(Route { handler: Handler::Legacy(_), .. }, _) if !doors.settings.gateway.legacy_sse => Err(unknown()),
        Found::Route(route, params) => Ok((route.handler, route.access, Params::decode(&params).ok_or_else(unknown)?)),
        Found::OtherVerb(allow) if parts.method == Method::OPTIONS => Err(with_allow(reply::status(StatusCode::NO_CONTENT), &allow)),
        Found::OtherVerb(allow) => Err(wrong_verb(&allow)),
        Found::Unknown => Err(unknown()),
    }
}

const fn serves(serves: Serves, door: Door) -> bool {
    match door {
        Door::Api => serves.api,
        Door::Mcp => serves.mcp,
        Door::Ws => serves.ws,
        Door::Apps => serves.apps,
        Door::Ops => serves.ops,
        Door::All => true,
    }
}

/// 405 with `Allow`.
pub(super) fn wrong_verb(allow: &str) -> Reply {
    with_allow(reply::error(StatusCode::METHOD_NOT_ALLOWED, class::VALIDATION, "This address does not take that method", hub()), allow)
}
pub(super) fn with_allow(mut reply: Reply, allow: &str) -> Reply {
    if let Ok(allow) = HeaderValue::from_str(allow) {
        reply.headers_mut().insert(header::ALLOW, allow);
    }
    reply
}

/// RFC 9110 has `OPTIONS` for more than preflights; those carry the method they ask for.
fn is_preflight(parts: &Parts) -> bool {
    parts.method == Method::OPTIONS && parts.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

static FORWARDING: [HeaderName; 4] = [
    header::FORWARDED,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-real-ip"),
];

/// `Ok(None)` for open routes.
fn admit(doors: &Doors, access: Access, parts: &Parts, peer: SocketAddr) -> Result<Option<Arc<Principal>>, Reply> {
    if access == Access::Open {
        return Ok(None);
    }
    let mut credentials = parts.headers.get_all(header::AUTHORIZATION).iter();
    let credential = credentials.next().map(HeaderValue::as_bytes);
    if credentials.next().is_some() {
        return Err(unauthorized(Denied::Invalid));
    }
    let forwarded = parts.headers.keys().any(|name| FORWARDING.contains(name));
    doors.gate.authenticate(credential, peer.ip().to_canonical(), forwarded).map(Some).map_err(unauthorized)
}

fn unauthorized(denied: Denied) -> Reply {
    let (challenge, message) = match denied {
        Denied::Missing => ("Bearer", "A credential is needed: send Authorization: Bearer with a key of this hub"),
        Denied::Invalid => ("Bearer error=\"invalid_token\"", "The credential is not valid"),
    };
    let mut reply = reply::error(StatusCode::UNAUTHORIZED, class::AUTH, message, hub());
    reply.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    reply
}

/// What began before is finished, and who looks is still answered; nothing new begins.
fn stopping() -> Reply {
    let data = serde_json::json!({"origin": "hub", "reason": Reason::ShuttingDown.as_str(), "retryable": true});
    let mut reply = reply::error(StatusCode::SERVICE_UNAVAILABLE, class::HUB, "The hub is shutting down", data);
    reply.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    reply
}

fn hub() -> serde_json::Value {
    serde_json::json!({"origin": "hub"})
}
