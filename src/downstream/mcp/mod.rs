//! MCP over Streamable HTTP: the stateless revision 2026-07-28, and sessions of 2025-03-26 to 2025-11-25, on the same addresses.
//!
//! The body decides the era (`protocol::era`), never the client's name. Host, Origin and caller were checked by `entry`.
//!
//! Cost of a POST beyond hyper, the scan and the hub: the body's copy (small ones), the answer's header map. No timer, no task, no
//! channel: the connection's own task drives the call, and pulls the stream if there is one.

pub(super) mod accept;
mod answer;
mod batch;
pub(super) mod endpoint;
mod mail;
mod post;
pub(super) mod refuse;
mod session;

use super::{
    Doors, Reply, Request,
    entry::{with_allow, wrong_verb},
    reply,
    route::{Access, Door, Handler, Route, Verb},
};
use crate::{
    observe::wire::{Leg, Peer},
    protocol::Version,
};
use hyper::{
    HeaderMap, Method, StatusCode,
    header::{HeaderName, HeaderValue},
};
use std::sync::Arc;

pub const ROUTES: &[Route] = &[row("/mcp"), row("/{server}/mcp"), row("/t/{tenant}/mcp"), row("/t/{tenant}/{server}/mcp")];

const fn row(path: &'static str) -> Route {
    Route { verb: Verb::Any, path, access: Access::Principal, door: Door::Mcp, handler: Handler::Mcp }
}

static SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
static LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
static VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
static METHOD: HeaderName = HeaderName::from_static("mcp-method");
static NAME: HeaderName = HeaderName::from_static("mcp-name");

const VERBS: &str = "GET, POST, DELETE, OPTIONS";
const STATELESS_VERBS: &str = "POST, OPTIONS";

pub async fn handle(doors: Arc<Doors>, request: Box<Request>) -> Reply {
    let endpoint = match endpoint::find(&doors, &request) {
        Ok(endpoint) => endpoint,
        Err(reply) => return reply,
    };
    let wire = Leg::new(Peer::Client, "http").speaking(|| text(&request.parts.headers, &VERSION));
    let reply = match request.parts.method {
        Method::POST => post::handle(&doors, endpoint, request, &wire).await,
        Method::GET | Method::DELETE if is_stateless(&request.parts.headers) => wrong_verb(STATELESS_VERBS),
        Method::GET => mail::open(&doors, &endpoint, &request).unwrap_or_else(|refused| refused),
        Method::DELETE => session::end(&doors, &endpoint, &request).unwrap_or_else(|refused| refused),
        Method::OPTIONS => with_allow(reply::status(StatusCode::NO_CONTENT), VERBS),
        _ => wrong_verb(VERBS),
    };
    reply::checked(reply, wire)
}

/// The header names a revision without sessions: everything that is not one of the handshake revisions.
fn is_stateless(headers: &HeaderMap) -> bool {
    headers.get(&VERSION).is_some_and(|value| !session::is_handshake(value))
}

/// As text; `None` when absent.
fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    as_text(headers.get(name)?)
}

fn as_text(value: &HeaderValue) -> Option<&str> {
    std::str::from_utf8(value.as_bytes()).ok().map(str::trim_ascii)
}

fn session_header(id: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(id).ok()
}

/// What a session's requests may name in `MCP-Protocol-Version`, for messages.
fn supported() -> String {
    [Version::V2025_03_26, Version::V2025_06_18, Version::V2025_11_25, Version::V2026_07_28].map(Version::as_str).join(", ")
}
