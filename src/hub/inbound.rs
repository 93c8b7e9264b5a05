//! What every door builds, and what it gets back.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::{Crossing, Session, SessionId};
use crate::{
    access::Principal,
    catalog::{Names, snapshot::Scope},
    name::{ServerName, TenantId},
    protocol::{Body, Era, Message, Refusal, RequestId, Version},
};

/// Which address was called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub tenant: TenantId,
    /// One server's own endpoint: its names, nothing prefixed.
    pub server: Option<ServerName>,
    pub names: Names,
}

impl Endpoint {
    pub fn scope(&self) -> Scope<'_> {
        Scope { tenant: &self.tenant, server: self.server.as_ref(), names: self.names }
    }
}

/// A message that passed the ladder of `protocol::era`.
pub struct Inbound {
    pub principal: Arc<Principal>,
    pub endpoint: Arc<Endpoint>,
    pub message: Message,
    /// The revision this client speaks: its session's, or the stateless one. For `initialize` any handshake revision.
    pub client: Version,
    /// The session of a handshake client; on pipes (stdio, WebSocket) also given with stateless requests, so that they can
    /// be cancelled by id.
    pub session: Option<Arc<Session>>,
    /// The `Mcp-Param-*` headers of a stateless POST, perhaps none, to be checked once the tool is known. `None` where there is no
    /// header layer, and so nothing to check.
    pub param_headers: Option<ParamHeaders>,
}

/// Of each header the rest of its name, in lower case, and its value without white space around it. What is not UTF-8 is replaced
/// by U+FFFD, which no header may hold. A header sent twice stands here twice.
pub type ParamHeaders = Box<[(Box<str>, Box<str>)]>;

impl Inbound {
    /// The id of a request. Doors dispatch only what the scanner called a request, so there is one.
    pub fn id(&self) -> RequestId {
        self.message.id().unwrap_or_else(|| RequestId::from_number(0))
    }
}

/// What to send back.
#[expect(clippy::large_enum_variant, reason = "the large one is the usual one, and a box would be an allocation per call")]
pub enum Outcome {
    /// Known at once.
    Now(Answer),
    /// Comes; drive it with `Crossing::next`.
    Later(Crossing),
    /// A notification or response: nothing (202 over HTTP).
    Silent,
}

/// The one answer of a request.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status where there is HTTP; always 200 for handshake clients.
    pub status: u16,
    pub body: Body,
    /// The session that this `initialize` opened over HTTP.
    pub session: Option<SessionId>,
    /// An error of the hub's own: what a server says of itself in an error is no word of the hub.
    pub is_hubs: bool,
}

impl Answer {
    pub fn ok(body: Body) -> Self {
        Self { status: 200, body, session: None, is_hubs: false }
    }

    /// `{"jsonrpc":"2.0","id":…,"result":…}` around a result object; `result` is shared, not copied.
    pub fn result(id: &RequestId, result: Bytes) -> Self {
        const HEAD: &[u8] = br#"{"jsonrpc":"2.0","id":"#;
        const MID: &[u8] = br#","result":"#;
        let mut head = BytesMut::with_capacity(HEAD.len() + id.token().len() + MID.len());
        head.extend_from_slice(HEAD);
        head.extend_from_slice(id.token());
        head.extend_from_slice(MID);
        let mut body = Body::one(head.freeze());
        body.push(result);
        body.push(Bytes::from_static(b"}"));
        Self::ok(body)
    }

    /// An error of the hub's own. In the handshake era every outcome of a request is 200.
    pub fn refused(refusal: &Refusal, era: Era) -> Self {
        let status = match era {
            Era::Handshake => 200,
            Era::Stateless => refusal.status,
        };
        Self { status, body: refusal.to_body(), session: None, is_hubs: true }
    }
}
