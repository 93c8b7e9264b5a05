//! From what a request names to whom it is aimed at.

use std::{borrow::Cow, sync::Arc};

use super::{Endpoint, Hub, Inbound, call::failed, carried::Aim, list};
use crate::{
    catalog::{AppMatch, Owner, uri},
    name::ServerId,
    protocol::{Era, Method, Refusal, code::Code, param},
    upstream::Server,
};

/// What the catalog says now.
pub(super) enum Found {
    One(Aim),
    /// A server that was not asked yet what it offers, or is disabled, may have it.
    Perhaps,
}

/// # Errors
/// What to tell the caller, without id: it named nothing, or nothing that exists.
pub(super) fn find(hub: &Hub, inbound: &Inbound) -> Result<Found, Refusal> {
    found(hub, inbound, || known(hub, inbound), || target(inbound))
}

/// Of a resource.
///
/// # Errors
/// As `find`.
pub(super) fn find_resource(hub: &Hub, inbound: &Inbound, uri: &str) -> Result<Found, Refusal> {
    found(hub, inbound, || owner(hub, inbound, uri), || uri.into())
}

fn found<'a>(
    hub: &Hub,
    inbound: &Inbound,
    look: impl Fn() -> Result<Option<Aim>, Refusal>,
    target: impl FnOnce() -> Cow<'a, str>,
) -> Result<Found, Refusal> {
    if let Some(aim) = look()? {
        return Ok(Found::One(aim));
    }
    if !list::learning(hub, &inbound.endpoint).is_empty()
        || unlisted(hub, inbound, &target()).is_some()
        || !list::learning_as(hub, inbound).is_empty()
    {
        return Ok(Found::Perhaps);
    }
    // The last of them may have told what it offers between the two looks, on another thread.
    look()?.map(Found::One).ok_or_else(|| unknown(inbound))
}

/// The name or URI that the request names.
fn target(inbound: &Inbound) -> Cow<'_, str> {
    let scan = inbound.message.scan();
    scan.name.or(scan.uri).and_then(|span| inbound.message.string(span)).unwrap_or_default()
}

fn known(hub: &Hub, inbound: &Inbound) -> Result<Option<Aim>, Refusal> {
    let scope = inbound.endpoint.scope();
    match inbound.message.method() {
        Method::ToolsCall => {
            let name = named(inbound)?;
            match hub.catalog.resolve(scope, &name) {
                Some(route) => Ok(Some(Aim::Named(route))),
                None => app(hub, inbound, &name),
            }
        }
        Method::PromptsGet => Ok(hub.catalog.resolve_prompt(scope, &named(inbound)?).map(Aim::Named)),
        Method::ResourcesRead | Method::ResourcesSubscribe | Method::ResourcesUnsubscribe => owner(hub, inbound, &addressed(inbound)?),
        Method::Complete => match reference(inbound)? {
            Reference::Prompt(name) => Ok(hub.catalog.resolve_prompt(scope, &name).map(Aim::Named)),
            Reference::Resource(uri) => owner(hub, inbound, &uri),
        },
        _ => Ok(inbound
            .endpoint
            .server
            .as_ref()
            .map(|name| Aim::Server(ServerId { tenant: inbound.endpoint.tenant.clone(), name: name.clone() }))),
    }
}

/// An app calls the tools of its server by their own names, which say nothing of the server (MCP Apps).
fn app(hub: &Hub, inbound: &Inbound, name: &str) -> Result<Option<Aim>, Refusal> {
    match hub.catalog.resolve_app(inbound.endpoint.scope(), name) {
        AppMatch::One(route) => Ok(Some(Aim::Named(route))),
        AppMatch::Nobody => Ok(None),
        AppMatch::Several(names) => Err(ambiguous(&format!("Several tools are called {name}"), &names)),
    }
}

fn owner(hub: &Hub, inbound: &Inbound, uri: &str) -> Result<Option<Aim>, Refusal> {
    match hub.catalog.owner(inbound.endpoint.scope(), uri, &hub.recents, inbound.principal.id()) {
        Owner::One { server, uri } => Ok(Some(Aim::resource(server, uri))),
        Owner::Nobody => Ok(None),
        Owner::Several(uris) => Err(ambiguous("Several servers have this resource", &uris)),
    }
}

/// What a completion completes.
enum Reference<'a> {
    Prompt(Cow<'a, str>),
    Resource(Cow<'a, str>),
}

fn reference(inbound: &Inbound) -> Result<Reference<'_>, Refusal> {
    #[derive(serde::Deserialize)]
    struct Params<'a> {
        #[serde(borrow, rename = "ref")]
        reference: Ref<'a>,
    }
    #[derive(serde::Deserialize)]
    struct Ref<'a> {
        #[serde(borrow, rename = "type")]
        kind: Cow<'a, str>,
        #[serde(borrow)]
        name: Option<Cow<'a, str>>,
        #[serde(borrow)]
        uri: Option<Cow<'a, str>>,
    }
    let message = &inbound.message;
    let params = message.scan().params.map(|span| message.token(span)).unwrap_or_default();
    let read = serde_json::from_slice::<Params<'_>>(params).ok().and_then(|params| {
        match (&*params.reference.kind, params.reference.name, params.reference.uri) {
            ("ref/prompt", Some(name), _) => Some(Reference::Prompt(name)),
            ("ref/resource", _, Some(uri)) => Some(Reference::Resource(uri)),
            _ => None,
        }
    });
    read.ok_or_else(|| {
        invalid("completion/complete needs params.ref: {\"type\":\"ref/prompt\",\"name\"} or {\"type\":\"ref/resource\",\"uri\"}")
    })
}

fn named(inbound: &Inbound) -> Result<Cow<'_, str>, Refusal> {
    let method = inbound.message.method();
    inbound.message.name().ok_or_else(|| invalid(&format!("{} needs params.name, a string", method.as_str())))
}

pub(super) fn addressed(inbound: &Inbound) -> Result<Cow<'_, str>, Refusal> {
    let message = &inbound.message;
    let uri = message.scan().uri.and_then(|span| message.string(span));
    uri.ok_or_else(|| invalid(&format!("{} needs params.uri, a string", message.method().as_str())))
}

/// Of a name that is not known yet. Whose it may be is asked, for as long as its start may take: a slow or broken server is not
/// an unknown tool. Others are waited for no longer than a list waits.
///
/// # Errors
/// What to tell the caller, without id: nobody has it, or whose it may be cannot be asked.
pub(super) async fn learnt(hub: &Hub, inbound: &Inbound) -> Result<Aim, Refusal> {
    learn(hub, inbound, &target(inbound)).await?;
    known(hub, inbound)?.ok_or_else(|| unknown(inbound))
}

/// The same of a resource.
///
/// # Errors
/// As `learnt`.
pub(super) async fn learnt_resource(hub: &Hub, inbound: &Inbound, uri: &str) -> Result<Aim, Refusal> {
    learn(hub, inbound, uri).await?;
    owner(hub, inbound, uri)?.ok_or_else(|| unknown(inbound))
}

async fn learn(hub: &Hub, inbound: &Inbound, target: &str) -> Result<(), Refusal> {
    match unlisted(hub, inbound, target) {
        Some(server) => server.know().await.map_err(|error| failed(&error)),
        None => {
            list::learn(hub, &inbound.endpoint).await;
            list::learn_as(hub, inbound, meant(&inbound.endpoint, target)).await;
            Ok(())
        }
    }
}

/// The server of the endpoint, or the one with whose name this begins, if it lists nothing whatever it may offer.
fn unlisted(hub: &Hub, inbound: &Inbound, target: &str) -> Option<Arc<Server>> {
    let is_meant = meant(&inbound.endpoint, target);
    hub.fleet.unlisted(&inbound.endpoint.tenant).find(|server| is_meant(&server.settings().id))
}

/// Whether it is the server of the endpoint, or the one with whose name this begins.
fn meant<'a>(endpoint: &'a Endpoint, target: &'a str) -> impl Fn(&ServerId) -> bool + use<'a> {
    let key = uri::reverse(target);
    move |id| match (&endpoint.server, &key) {
        (Some(server), _) => id.name == *server,
        (None, Some((key, _))) => uri::is_key(key, &id.name),
        (None, None) => target.strip_prefix(id.name.as_str()).is_some_and(|rest| rest.starts_with('.') || rest.starts_with("__")),
    }
}

/// What nobody has.
pub(super) fn unknown(inbound: &Inbound) -> Refusal {
    let message = &inbound.message;
    let scan = message.scan();
    let name = scan.name.or(scan.uri).and_then(|span| message.string(span)).unwrap_or_default();
    match message.method() {
        Method::ToolsCall => invalid(&format!("Unknown tool: {name}")),
        Method::PromptsGet => invalid(&format!("Unknown prompt: {name}")),
        Method::Complete => invalid("params.ref names no prompt or resource of this endpoint"),
        Method::ResourcesRead | Method::ResourcesSubscribe | Method::ResourcesUnsubscribe => {
            let code = if inbound.client.era() == Era::Handshake { Code::ResourceNotFound } else { Code::InvalidParams };
            Refusal::new(code, 200, "Resource not found").with_data(serde_json::json!({"uri": name}).to_string())
        }
        method => Refusal::new(Code::MethodNotFound, 404, format!("Method not found: {}", method.as_str())),
    }
}

fn ambiguous(what: &str, candidates: &[String]) -> Refusal {
    invalid(&format!("{what}; name one of data.candidates")).with_data(serde_json::json!({"candidates": candidates}).to_string())
}

fn invalid(what: &str) -> Refusal {
    Refusal::new(Code::InvalidParams, 200, what)
}

/// The headers that mirror arguments agree with them (MCP 2026-07-28, Streamable HTTP).
///
/// # Errors
/// They do not: `-32020`, 400.
pub(super) fn check(inbound: &Inbound, aim: &Aim) -> Result<(), Refusal> {
    let (Aim::Named(route), Some(sent)) = (aim, &inbound.param_headers) else { return Ok(()) };
    let Some(params) = &route.headers else { return Ok(()) };
    param::check(params, arguments(inbound), |name| {
        let own = own_name(name);
        sent.iter().find(|(sent, _)| sent.eq_ignore_ascii_case(own)).map(|(_, value)| &**value)
    })
}

/// `Mcp-Param-*` for a stateless server over HTTP.
pub(super) fn headers(inbound: &Inbound, aim: &Aim) -> Vec<(Box<str>, String)> {
    let Aim::Named(route) = aim else { return Vec::new() };
    let Some(params) = &route.headers else { return Vec::new() };
    // What is there twice is left to the server to refuse.
    let values = param::values(params, arguments(inbound)).unwrap_or_default();
    values.into_iter().map(|(name, value)| (own_name(name).into(), value)).collect()
}

fn arguments(inbound: &Inbound) -> &[u8] {
    inbound.message.scan().arguments.map(|span| inbound.message.token(span)).unwrap_or(b"{}")
}

/// `Region` of `Mcp-Param-Region`.
fn own_name(header: &str) -> &str {
    const PREFIX: usize = "Mcp-Param-".len();
    header.get(PREFIX..).unwrap_or(header)
}
