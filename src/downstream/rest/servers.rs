//! `/api/servers…`: look at servers, start, stop and refresh them. What is asked of them is `ask`'s.

use std::sync::Arc;

use serde_json::json;

use super::{
    fault::Fault,
    fields::{self, Fields},
    ok,
    page::Page,
    target, whole,
};
use crate::{
    access::Principal,
    control::ServerView,
    downstream::{Doors, Reply, Request, reply},
    name::ServerId,
};

pub(super) fn list(doors: &Doors, principal: &Arc<Principal>, request: &Request) -> Result<Reply, Fault> {
    #[derive(serde::Serialize)]
    struct Servers {
        total: usize,
        timestamp: String,
        servers: Vec<ServerView>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next_cursor: Option<String>,
    }
    let page = Page::of(request, "servers")?;
    let servers = doors.control.servers(principal, target::narrowed(request)?.as_ref())?;
    let total = servers.len();
    let (servers, next_cursor) = page.of_ordered(servers, |server| &server.server_id)?;
    Ok(ok(&Servers { total, timestamp: reply::timestamp(), servers, next_cursor }))
}

pub(super) async fn info(doors: &Doors, principal: &Arc<Principal>, request: &mut Request) -> Result<Reply, Fault> {
    let id = named(doors, request).await?;
    let server = doors.control.server(principal, &id)?;
    Ok(ok(&Told { status: None, server, timestamp: reply::timestamp() }))
}

pub(super) async fn start(doors: &Doors, principal: &Arc<Principal>, request: &mut Request) -> Result<Reply, Fault> {
    let id = named(doors, request).await?;
    let (control, caller) = (Arc::clone(&doors.control), Arc::clone(principal));
    Ok(done(whole(doors, async move { control.start(&caller, &id).await }).await?))
}

pub(super) async fn stop(doors: &Doors, principal: &Arc<Principal>, request: &mut Request) -> Result<Reply, Fault> {
    let disable = disables(request)?;
    let id = named(doors, request).await?;
    let (control, caller) = (Arc::clone(&doors.control), Arc::clone(principal));
    Ok(done(whole(doors, async move { control.stop(&caller, &id, disable).await }).await?))
}

pub(super) async fn refresh(doors: &Doors, principal: &Arc<Principal>, request: &mut Request) -> Result<Reply, Fault> {
    let id = named(doors, request).await?;
    let (control, caller) = (Arc::clone(&doors.control), Arc::clone(principal));
    Ok(done(whole(doors, async move { control.refresh(&caller, &id).await }).await?))
}

pub(super) fn one(doors: &Doors, principal: &Arc<Principal>, request: &Request) -> Result<Reply, Fault> {
    let id = target::server(request, request.param("server").unwrap_or_default())?;
    Ok(ok(&doors.control.server(principal, &id)?))
}

/// `GET /api/servers/{tenant}/tools` and its like, where the table calls the tenant `server`.
pub(super) fn one_called(doors: &Doors, principal: &Arc<Principal>, request: &Request, name: &str) -> Result<Reply, Fault> {
    let id = target::server(request, &format!("{}:{name}", request.param("server").unwrap_or_default()))?;
    Ok(ok(&doors.control.server(principal, &id)?))
}

pub(super) async fn start_one(doors: &Doors, principal: &Arc<Principal>, request: &Request) -> Result<Reply, Fault> {
    let id = target::server(request, request.param("server").unwrap_or_default())?;
    let (control, caller) = (Arc::clone(&doors.control), Arc::clone(principal));
    let server = whole(doors, async move { control.start(&caller, &id).await }).await?;
    Ok(ok(&json!({"message": format!("Server '{}' started", server.name), "state": server.state})))
}

pub(super) async fn stop_one(doors: &Doors, principal: &Arc<Principal>, request: &Request) -> Result<Reply, Fault> {
    let disable = disables(request)?;
    let id = target::server(request, request.param("server").unwrap_or_default())?;
    let (control, caller) = (Arc::clone(&doors.control), Arc::clone(principal));
    let server = whole(doors, async move { control.stop(&caller, &id, disable).await }).await?;
    Ok(ok(&json!({"message": format!("Server '{}' stopped", server.name)})))
}

/// Whether the server is to stay stopped until somebody starts it.
fn disables(request: &Request) -> Result<bool, Fault> {
    match request.query("disable").as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Fault::invalid("'disable' must be true or false", "disable")),
    }
}

/// The server that the body names.
async fn named(doors: &Doors, request: &mut Request) -> Result<ServerId, Fault> {
    let body = fields::body(request, doors.limits.body_bytes).await?;
    let name = Fields::parse(&body)?.text("server_name", "Missing server name")?;
    target::server(request, &name)
}

#[derive(serde::Serialize)]
struct Told {
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    server: ServerView,
    timestamp: String,
}

fn done(server: ServerView) -> Reply {
    ok(&Told { status: Some("ok"), server, timestamp: reply::timestamp() })
}
