//! What every door builds, and what it gets back.

use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};

use super::{Crossing, Session, SessionId};
use crate::{
    access::Principal,
    catalog::{Names, Uris, View, snapshot::Scope},
    name::{ServerId, ServerName, TenantId},
    protocol::{
        Body, Era, Level, Message, Refusal, RequestId, Version,
        capability::{Extras, Profile},
    },
};

/// Which address was called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub tenant: TenantId,
    /// One server's own endpoint: its names, nothing prefixed.
    pub server: Option<ServerName>,
    pub names: Names,
    /// How resources are named; `None`: as is usual there.
    pub uris: Option<Uris>,
}

impl Endpoint {
    /// As addresses name it that say nothing of its options.
    pub fn plain(tenant: TenantId, server: Option<ServerName>, names: Names) -> Self {
        Self { tenant, server, names, uris: None }
    }

    /// How a server's URIs are told here; `None`: as the server says them, and nobody has to remember whose they are.
    pub(super) fn publishes(&self) -> Option<Uris> {
        let uris = self.scope().uris();
        (self.server.is_none() || uris == Uris::Prefixed).then_some(uris)
    }

    /// Whether what this server offers is seen here.
    pub(super) fn shows(&self, server: &ServerId) -> bool {
        self.tenant == server.tenant && self.server.as_ref().is_none_or(|own| *own == server.name)
    }

    pub fn scope(&self) -> Scope<'_> {
        Scope { tenant: &self.tenant, server: self.server.as_ref(), names: self.names, uris: self.uris }
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
    /// What the client can be asked, once somebody wanted to know.
    profile: OnceLock<Profile>,
}

/// Of each header the rest of its name, in lower case, and its value without white space around it. What is not UTF-8 is replaced
/// by U+FFFD, which no header may hold. A header sent twice stands here twice.
pub type ParamHeaders = Box<[(Box<str>, Box<str>)]>;

impl Inbound {
    /// Without headers; a door that has a header layer adds them.
    pub fn new(
        principal: Arc<Principal>,
        endpoint: Arc<Endpoint>,
        message: Message,
        client: Version,
        session: Option<Arc<Session>>,
    ) -> Self {
        Self { principal, endpoint, message, client, session, param_headers: None, profile: OnceLock::new() }
    }

    /// The same request once more.
    pub(super) fn again(&self) -> Self {
        let (principal, endpoint) = (Arc::clone(&self.principal), Arc::clone(&self.endpoint));
        Self::new(principal, endpoint, self.message.clone(), self.client, self.session.clone())
    }

    /// The id of a request. Doors dispatch only what the scanner called a request, so there is one.
    pub fn id(&self) -> RequestId {
        self.message.id().unwrap_or_else(|| RequestId::from_number(0))
    }

    /// The session, for a client that speaks the era which has them. Stateless requests on a pipe have none.
    pub(super) fn handshaken(&self) -> Option<&Arc<Session>> {
        self.session.as_ref().filter(|_| self.client.era() == Era::Handshake)
    }

    /// What the client can be asked: of its session, or as this request declares.
    pub(super) fn profile(&self) -> Profile {
        *self.profile.get_or_init(|| match self.handshaken() {
            Some(session) => session.profile(),
            None => {
                let declared = self.message.scan().meta.client_capabilities;
                let profile = declared.map_or(Profile::BARE, |member| Profile::read(self.message.token(member.value)));
                // There is no way to say it in this era.
                profile.without(Profile::ROOTS_CHANGE)
            }
        })
    }

    /// For whom lists are shown.
    pub(super) fn view(&self) -> View {
        View { version: self.client, profile: self.profile() }
    }

    /// What of it a stateless server is told, besides that tasks are understood: that is for `task::plan` to say.
    pub(super) fn relayed(&self) -> Profile {
        self.profile().without(Profile::TASKS)
    }

    /// What the client declares besides, of which the server with those capabilities knows too: at that server's own endpoint only.
    /// Elsewhere the hub could not carry what such a server answers.
    pub(super) fn extras(&self, server: &[u8]) -> Option<Extras> {
        self.endpoint.server.as_ref()?;
        match self.handshaken() {
            Some(session) => Extras::shared(session.client()?.extras.as_deref()?.as_bytes(), server),
            None => Extras::shared(self.message.token(self.message.scan().meta.client_capabilities?.value), server),
        }
    }

    /// From which level on the client wants to hear what a server logs about this request.
    pub(super) fn level(&self) -> Option<Level> {
        match self.handshaken() {
            Some(session) => session.level(),
            None => Level::asked(&self.message).ok().flatten(),
        }
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
