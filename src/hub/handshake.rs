//! `initialize`, `server/discover`, `ping`, unknown methods: answered from memory, no child is started by them.

use std::fmt::Write as _;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{
    Answer, Endpoint, Hub, Inbound,
    session::{Client, NoSession},
};
use crate::{
    catalog::View,
    limits,
    name::{ServerId, ServerName},
    protocol::{
        Message, Refusal, Version,
        capability::{Extras, Profile},
        code::Code,
        era, mark,
    },
};

/// The hub's text for models, before what the servers say themselves.
const INSTRUCTIONS: &str = "Tools of several MCP servers behind one address. Each name starts with the name of its server.";

/// Opens the session (over HTTP), or settles the revision of the one this pipe is.
pub(super) fn initialize(hub: &Hub, inbound: &Inbound) -> Answer {
    let id = inbound.id();
    let refuse = |code, what: &str| Answer { status: 400, ..refused(inbound, Refusal::new(code, 400, what)) };
    let asked = inbound.message.scan().protocol_version.and_then(|span| inbound.message.string(span));
    let Some(asked) = asked else {
        return refused(inbound, Refusal::new(Code::InvalidParams, 400, "initialize needs params.protocolVersion, a string"));
    };
    if hub.fleet.mark().is_on(&inbound.message) {
        return refused(inbound, itself());
    }
    let client = client(&inbound.message, era::negotiate(&asked));
    let (version, profile) = (client.version, client.profile);
    let session = match &inbound.session {
        Some(pipe) => {
            if !pipe.settle(client) {
                return refuse(Code::InvalidRequest, "this session is initialized already");
            }
            None
        }
        None => match hub.sessions.open(&inbound.principal, &inbound.endpoint, client) {
            Ok(session) => Some(session.id().clone()),
            Err(NoSession::TooMany) => {
                return refused(inbound, Refusal::new(Code::Internal, 503, "too many sessions are open; end some, or try again later"));
            }
            Err(NoSession::Stopping) => return refused(inbound, Refusal::stopping()),
        },
    };
    let identity = identity(hub, &inbound.endpoint);
    let mut result = json!({
        "protocolVersion": version.as_str(),
        "capabilities": capabilities(hub, inbound, version, profile),
        "serverInfo": identity.info,
    });
    if let Some(instructions) = identity.instructions {
        result["instructions"] = instructions.into();
    }
    Answer { session, ..Answer::result(&id, Bytes::from(result.to_string())) }
}

/// Said to a hub that met itself behind one of its servers.
fn itself() -> Refusal {
    let what = "this is the hub that asks, or one with the same configuration: it is no server of its own";
    Refusal::new(Code::InvalidRequest, 400, what).with_data(mark::refusal_data())
}

/// Who says `initialize`.
fn client(message: &Message, version: Version) -> Client {
    #[derive(Default, Deserialize)]
    struct Params<'a> {
        #[serde(borrow)]
        capabilities: Option<&'a RawValue>,
        #[serde(borrow, rename = "clientInfo")]
        info: Option<&'a RawValue>,
    }
    let params = message.scan().params.map(|span| message.token(span)).unwrap_or_default();
    let params: Params<'_> = serde_json::from_slice(params).unwrap_or_default();
    let info = params.info.map(RawValue::get).filter(|info| info.starts_with('{') && info.len() <= limits::CLIENT_INFO_BYTES_MAX);
    Client {
        version,
        profile: params.capabilities.map_or(Profile::BARE, |declared| Profile::read(declared.get().as_bytes())),
        extras: params.capabilities.and_then(|declared| Extras::declared(declared.get())).map(Into::into),
        info: info.map(|info| Bytes::copy_from_slice(info.as_bytes())),
    }
}

pub(super) fn discover(hub: &Hub, inbound: &Inbound) -> Answer {
    if hub.fleet.mark().is_on(&inbound.message) {
        return refused(inbound, itself());
    }
    let identity = identity(hub, &inbound.endpoint);
    let mut result = json!({
        "supportedVersions": [Version::STATELESS.as_str()],
        "capabilities": capabilities(hub, inbound, inbound.client, inbound.profile()),
        "resultType": "complete",
        "ttlMs": limits::LIST_TTL_MS,
        // As with lists: what the endpoint can do is told by what its client declares.
        "cacheScope": "private",
        "_meta": {"io.modelcontextprotocol/serverInfo": identity.info},
    });
    if let Some(instructions) = identity.instructions {
        result["instructions"] = instructions.into();
    }
    Answer::result(&inbound.id(), Bytes::from(result.to_string()))
}

/// What the endpoint can do for such a client.
fn capabilities(hub: &Hub, inbound: &Inbound, version: Version, profile: Profile) -> serde_json::Value {
    let capabilities = hub.catalog.capabilities(inbound.endpoint.scope(), View { version, profile });
    serde_json::from_slice(&capabilities).unwrap_or_else(|_| json!({}))
}

pub(super) fn pong(inbound: &Inbound) -> Answer {
    Answer::result(&inbound.id(), Bytes::from_static(b"{}"))
}

pub(super) fn unknown_method(inbound: &Inbound) -> Answer {
    let method = inbound.message.method();
    refused(inbound, Refusal::new(Code::MethodNotFound, 404, format!("Method not found: {}", method.as_str())))
}

fn refused(inbound: &Inbound, refusal: Refusal) -> Answer {
    Answer::refused(&refusal.with_id(Some(inbound.id())), inbound.client.era())
}

/// What an endpoint says of itself: a server's own endpoint speaks as that server.
struct Identity {
    info: serde_json::Value,
    instructions: Option<String>,
}

fn identity(hub: &Hub, endpoint: &Endpoint) -> Identity {
    match &endpoint.server {
        Some(name) => {
            let offer = hub.catalog.offer(&ServerId { tenant: endpoint.tenant.clone(), name: name.clone() });
            let info = offer.as_ref().and_then(|offer| serde_json::from_str(offer.own_info()?.get()).ok());
            Identity {
                info: info.unwrap_or_else(|| json!({"name": name, "version": env!("CARGO_PKG_VERSION")})),
                instructions: offer.and_then(|offer| offer.instructions.clone()),
            }
        }
        None => Identity {
            info: json!({"name": "mcp-hub", "version": env!("CARGO_PKG_VERSION")}),
            instructions: Some(instructions(hub, endpoint)),
        },
    }
}

/// The hub's text and a section for each server that gave one; a section that does not fit is left out whole.
fn instructions(hub: &Hub, endpoint: &Endpoint) -> String {
    let mut text = String::from(INSTRUCTIONS);
    let names = hub.fleet.servers().into_iter().map(|server| server.settings().id.clone()).filter(|id| id.tenant == endpoint.tenant);
    for id in names {
        let own = hub.catalog.offer(&id).and_then(|offer| offer.instructions.clone());
        if let Some(own) = own.filter(|own| text.len() + own.len() + id.name.as_str().len() + 8 <= limits::INSTRUCTIONS_BYTES_MAX) {
            section(&mut text, &id.name, &own);
        }
    }
    text
}

fn section(text: &mut String, name: &ServerName, own: &str) {
    // Writing to a String cannot fail.
    let _ = write!(text, "\n\n## {name}\n{own}");
}
