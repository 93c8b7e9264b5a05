//! `/api/servers…`: look at servers, start, stop and refresh them, call their tools.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, stream};
use hyper::header::{self, HeaderValue};
use serde_json::json;

use super::{
    call::{self, Call, Event, Options, Running},
    fault::{Fault, Subject},
    fields::{self, Fields},
    ok, target, whole,
};
use crate::{
    access::Principal,
    control::ServerView,
    downstream::{Doors, Reply, Request, reply},
    hub::Endpoint,
    limits,
    name::ServerId,
    protocol::{Body, sse},
};

pub(super) fn list(doors: &Doors, principal: &Arc<Principal>, request: &Request) -> Result<Reply, Fault> {
    #[derive(serde::Serialize)]
    struct Servers {
        total: usize,
        timestamp: String,
        servers: Vec<ServerView>,
    }
    let servers = doors.control.servers(principal, target::narrowed(request)?.as_ref())?;
    Ok(ok(&Servers { total: servers.len(), timestamp: reply::timestamp(), servers }))
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
    let disable = match request.query("disable").as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(Fault::invalid("'disable' must be true or false", "disable")),
    };
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

/// `GET /api/servers/{tenant}/tools`, where the table calls the tenant `server`.
pub(super) fn named_tools(doors: &Doors, principal: &Arc<Principal>, request: &Request) -> Result<Reply, Fault> {
    let id = target::server(request, &format!("{}:tools", request.param("server").unwrap_or_default()))?;
    Ok(ok(&doors.control.server(principal, &id)?))
}

pub(super) async fn start_one(doors: &Doors, principal: &Arc<Principal>, request: &Request) -> Result<Reply, Fault> {
    let id = target::server(request, request.param("server").unwrap_or_default())?;
    let (control, caller) = (Arc::clone(&doors.control), Arc::clone(principal));
    let server = whole(doors, async move { control.start(&caller, &id).await }).await?;
    Ok(ok(&json!({"message": format!("Server '{}' started", server.name), "state": server.state})))
}

pub(super) async fn stop_one(doors: &Doors, principal: &Arc<Principal>, request: &Request) -> Result<Reply, Fault> {
    let id = target::server(request, request.param("server").unwrap_or_default())?;
    let (control, caller) = (Arc::clone(&doors.control), Arc::clone(principal));
    let server = whole(doors, async move { control.stop(&caller, &id, false).await }).await?;
    Ok(ok(&json!({"message": format!("Server '{}' stopped", server.name)})))
}

/// `POST /api/servers/tools`: by server and the server's own name for the tool.
pub(super) async fn call(doors: &Arc<Doors>, principal: &Arc<Principal>, request: &mut Request) -> Result<Reply, Fault> {
    let body = fields::body(request, doors.limits.body_bytes).await?;
    let fields = Fields::parse(&body)?;
    let id = match request.param("server") {
        Some(name) => target::server(request, name)?,
        None => target::server(request, &fields.text("server_name", "Missing server name")?)?,
    };
    let tool = fields.text("tool", "Missing tool name")?;
    let arguments = fields.arguments()?;
    let options: Options = fields.read("request_options", "an object of milliseconds")?.unwrap_or_default();
    let streams = wants_events(request);
    // What is known or can be started is called; anything else says why not before it becomes an unknown tool.
    doors.control.offer(principal, &id).await?;
    let call = Call {
        principal,
        endpoint: endpoint_of(&id, request),
        subject: Subject { tenant: id.tenant, server: Some(id.name), tool },
        arguments,
        progress: streams,
        options,
    };
    let mut running = call::start(doors, call)?;
    if streams && !running.is_known() {
        return Ok(reply::events(events(running)));
    }
    loop {
        if let Event::Done(result) = running.next().await {
            return Ok(call::around(r#"{"result":"#.into(), result?, tail()));
        }
    }
}

/// The endpoint on which a server's own names count.
pub(super) fn endpoint_of(id: &ServerId, request: &Request) -> Endpoint {
    Endpoint::plain(id.tenant.clone(), Some(id.name.clone()), request.mount.names)
}

fn tail() -> Bytes {
    format!(r#","timestamp":"{}"}}"#, reply::timestamp()).into()
}

/// `progress` events, then one `result` or `error`.
fn events(running: Running) -> impl Stream<Item = Body> + Send {
    stream::unfold(Some(running), async |state| {
        let mut running = state?;
        Some(match tokio::time::timeout(limits::SSE_COMMENT, running.next()).await {
            Err(_) => (Body::one(sse::comment()), Some(running)),
            Ok(Event::Progress(progress)) => (event("progress", Body::one(progress.to_string().into())), Some(running)),
            Ok(Event::Done(Ok(result))) => {
                let mut body = Body::one(Bytes::from_static(br#"{"result":"#));
                body.push(result);
                body.push(tail());
                (event("result", body), None)
            }
            Ok(Event::Done(Err(fault))) => (event("error", Body::one(fault.body().to_string().into())), None),
        })
    })
}

/// `body` is one line: relayed messages lose their line ends in the bridge, our own have none.
fn event(name: &str, body: Body) -> Body {
    let mut framed = Body::one(format!("event: {name}\ndata: ").into());
    for piece in body.pieces() {
        framed.push(piece.clone());
    }
    framed.push(Bytes::from_static(b"\n\n"));
    framed
}

fn wants_events(request: &Request) -> bool {
    first_of_two(request.parts.headers.get_all(header::ACCEPT).iter().map(HeaderValue::as_bytes))
}

/// Whether events are asked for, and before JSON: who names both takes what the list says first.
fn first_of_two<'a>(accept: impl Iterator<Item = &'a [u8]>) -> bool {
    let ranges = accept.flat_map(|value| value.split(|byte| *byte == b','));
    let mut media = ranges.map(|range| range.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii());
    let either = media.find(|media| media.eq_ignore_ascii_case(b"text/event-stream") || media.eq_ignore_ascii_case(b"application/json"));
    either.is_some_and(|media| media.eq_ignore_ascii_case(b"text/event-stream"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_sent_to_those_who_ask_for_them_first() {
        for (accept, want) in [
            (&["text/event-stream"][..], true),
            (&["Text/Event-Stream;q=0.9, application/json"], true),
            (&["*/*", "text/event-stream"], true),
            (&["application/json, text/event-stream"], false),
            (&["application/json"], false),
            (&["*/*"], false),
            (&[], false),
        ] {
            assert_eq!(first_of_two(accept.iter().map(|text| text.as_bytes())), want, "{accept:?}");
        }
    }

    #[test]
    fn an_event_is_three_lines_around_shared_pieces() {
        let mut body = Body::one(Bytes::from_static(b"{\"a\":"));
        body.push(Bytes::from_static(b"1}"));
        assert_eq!(event("result", body).to_bytes(), "event: result\ndata: {\"a\":1}\n\n");
    }
}
