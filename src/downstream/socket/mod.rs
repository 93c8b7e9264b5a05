//! WebSocket: raw MCP, the tools of one server, and the tools of a tenant for an app in a browser. Mounted by `route`: `ROUTES` are
//! its addresses, `upgrade` answers them (101, or a refusal: whatever can be checked is checked before).
//!
//! A socket is one task among `doors.tasks`; it ends at `doors.stop`, when its calls are answered.

mod app;
pub mod assembly;
mod close;
mod connection;
mod door;
mod frames;
mod handshake;
mod mcp;
mod server;

use std::sync::Arc;

use hyper::{
    StatusCode,
    header::{self, HeaderValue},
};

use self::{app::App, connection::Inbox, door::Door, server::Server};
use super::{
    Doors, Reply, Request,
    mcp::endpoint,
    pipe::Pipe,
    reply::{self, class, not_found},
    route::{self, Access, Handler, Route, Verb},
    work::Outlet,
};
use crate::{
    catalog::Names,
    hub::Endpoint,
    name::{ServerId, TenantId},
};

/// Which socket was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Mcp,
    App,
    Server,
}

pub const ROUTES: &[Route] = &[
    row("/ws/mcp", Kind::Mcp),
    row("/ws/mcp/{tenant}", Kind::Mcp),
    row("/ws/app/{app_id}/{tenant}", Kind::App),
    row("/{server}/mcp/ws", Kind::Server),
    row("/t/{tenant}/{server}/mcp/ws", Kind::Server),
];

const fn row(path: &'static str, kind: Kind) -> Route {
    Route { verb: Verb::Get, path, access: Access::Principal, door: route::Door::Ws, handler: Handler::Socket(kind) }
}

/// The socket's life begins when the answer is sent, and does not depend on this future.
pub fn upgrade(doors: &Arc<Doors>, kind: Kind, request: Request) -> Reply {
    let opened = match kind {
        Kind::Mcp => open_mcp(doors, request),
        Kind::App => open_app(doors, request),
        Kind::Server => open_server(doors, request),
    };
    opened.unwrap_or_else(|refusal| refusal)
}

fn open_mcp(doors: &Arc<Doors>, request: Request) -> Result<Reply, Reply> {
    let server = request.query("server").map(std::borrow::Cow::into_owned);
    let endpoint = endpoint::find_named(doors, &request, server.as_deref())?;
    handshake::check(&request.parts)?;
    if !handshake::offers(&request.parts.headers, mcp::SUBPROTOCOL) {
        return Err(reply::invalid("Sec-WebSocket-Protocol must offer mcp", None));
    }
    let principal = Arc::clone(request.caller()?);
    let hub = Arc::clone(&doors.hub);
    let mut reply = open(doors, request, move |outlet| Pipe::new(hub, endpoint, principal, outlet))?;
    reply.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(mcp::SUBPROTOCOL));
    Ok(reply)
}

fn open_app(doors: &Arc<Doors>, request: Request) -> Result<Reply, Reply> {
    let principal = Arc::clone(request.caller()?);
    let app_id = request.param("app_id").unwrap_or_default().to_owned();
    if !app::is_app_id(&app_id) {
        return Err(not_found("app", &app_id));
    }
    let tenant = request.param("tenant").unwrap_or_default();
    let unknown = not_found("tenant", tenant);
    let Some(tenant) = TenantId::new(tenant) else { return Err(unknown) };
    if !doors.hub.knows(&principal, &Endpoint::plain(tenant.clone(), None, Names::Dotted)) {
        return Err(unknown);
    }
    handshake::check(&request.parts)?;
    let own = Arc::clone(doors);
    open(doors, request, move |outlet| App::new(own, principal, &app_id, tenant, outlet))
}

fn open_server(doors: &Arc<Doors>, request: Request) -> Result<Reply, Reply> {
    let endpoint = endpoint::find(doors, &request)?;
    let unknown = || not_found("server", request.param("server").unwrap_or_default());
    let id = ServerId { tenant: endpoint.tenant.clone(), name: endpoint.server.clone().ok_or_else(unknown)? };
    handshake::check(&request.parts)?;
    let principal = Arc::clone(request.caller()?);
    let own = Arc::clone(doors);
    open(doors, request, move |outlet| Server::new(own, principal, id, Endpoint::clone(&endpoint), outlet))
}

/// Every check is done: promises the upgrade and serves it when it comes.
fn open<D: Door + Send + 'static>(
    doors: &Arc<Doors>,
    request: Request,
    door: impl FnOnce(Outlet) -> D + Send + 'static,
) -> Result<Reply, Reply> {
    if doors.stop.is_cancelled() {
        let data = serde_json::json!({"origin": "hub", "reason": "shutting_down", "retryable": true});
        return Err(reply::error(StatusCode::SERVICE_UNAVAILABLE, class::HUB, "The hub is stopping", data));
    }
    let no_socket = || reply::invalid("This request cannot become a WebSocket", None);
    let (reply, upgrade) = handshake::accept(request.parts, request.body).ok_or_else(no_socket)?;
    let stop = doors.stop.clone();
    doors.tasks.spawn(async move {
        match upgrade.await {
            Ok(socket) => {
                connection::serve(socket.into_inner(), |inbox: Inbox, outlet| door::serve(door(outlet), inbox, stop)).await;
            }
            Err(failure) => tracing::debug!(%failure, "a WebSocket was not opened"),
        }
    });
    Ok(reply)
}
