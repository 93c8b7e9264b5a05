//! Which era a remote server speaks, and how it is connected (MCP 2026-07-28, Versioning, backward compatibility).
//!
//! ```text
//! server/discover ─► DiscoverResult ─────────────────────────────► stateless
//!    ├─ 401, 403, 5xx, no answer: an outage, no verdict
//!    └─ anything else ─► initialize ─► result ────────────────────► handshake
//!                            └─ 400, 404, 405 ─► GET: endpoint ──► HTTP+SSE of 2024-11-05
//! ```

use std::sync::Arc;

use bytes::Bytes;
use hyper::{StatusCode, header::HeaderValue};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;

use super::{
    call::{Answered, converse},
    fault::Fault,
    legacy,
    link::{Link, Shared},
    names,
    session::{self, Session},
    target::{Head, Target},
};
use crate::{
    bridge::outgoing,
    config::remote::Transport,
    mux::WireId,
    name::ServerId,
    protocol::{Era, Kind, Version, code::Code, mark},
    upstream::{
        child::{
            link::Bounds,
            probe::{GreetError, Greeting, RpcError, Speaker, initialize_params, read_discovery, read_initialized},
        },
        news::Outlet,
        wire::Wire,
    },
};

/// Why there is no connection.
#[derive(Clone, Debug, thiserror::Error)]
pub(in crate::upstream) enum ConnectError {
    #[error("{0}")]
    Fault(Fault),
    #[error("did not answer in time")]
    Silent,
    #[error("refused the handshake: {0}")]
    Refused(String),
    #[error("{}", GreetError::Itself)]
    Itself,
    /// Of neither transport.
    #[error("is no MCP server at this address: initialize {http}; as a server of 2024-11-05 it {sse}")]
    Neither { http: String, sse: String },
    #[error("{0}")]
    Legacy(String),
}

/// What `initialize` came to, if not to a session.
enum Refusal {
    Fault(Fault),
    /// It was answered with an error; with this status.
    Error {
        status: StatusCode,
        code: i64,
    },
    Unreadable(String),
    /// The server is this hub.
    Itself,
}

/// What it takes to connect.
#[derive(Clone, Debug)]
pub(in crate::upstream) struct Dial {
    pub(in crate::upstream) target: Target,
    pub(in crate::upstream) bounds: Bounds,
    pub(in crate::upstream) outlet: Arc<Outlet>,
    pub(in crate::upstream) speaker: Speaker,
    pub(in crate::upstream) until: Instant,
}

impl Dial {
    pub(super) fn server(&self) -> &ServerId {
        &self.target.server
    }

    /// From an address to a connection that has been greeted. What was begun is closed when it fails or is dropped.
    ///
    /// # Errors
    /// There is no server, or none that can be spoken to.
    pub(in crate::upstream) async fn connect(&self, known: Option<Era>, tasks: &TaskTracker) -> Result<(Wire, Greeting), ConnectError> {
        let connected = timeout_at(self.until, self.try_both(known, tasks)).await.unwrap_or(Err(ConnectError::Silent));
        match &connected {
            Ok(_) => self.target.common.succeed(),
            Err(ConnectError::Fault(fault)) => self.target.fail(fault),
            Err(_) => {}
        }
        connected
    }

    async fn try_both(&self, known: Option<Era>, tasks: &TaskTracker) -> Result<(Wire, Greeting), ConnectError> {
        if self.target.transport == Transport::Sse {
            return self.connect_legacy(tasks, ConnectError::Legacy).await;
        }
        let link = Link::start(self, tasks);
        match Unfinished(Some(&link)).greet(known).await? {
            Ok(greeting) => Ok((Wire::Http(link), greeting)),
            Err(http) => self.connect_legacy(tasks, |sse| ConnectError::Neither { http, sse }).await,
        }
    }

    async fn connect_legacy(
        &self,
        tasks: &TaskTracker,
        refused: impl FnOnce(String) -> ConnectError,
    ) -> Result<(Wire, Greeting), ConnectError> {
        legacy::connect(self, tasks).await.map_err(|refusal| match refusal {
            legacy::Refusal::Itself => ConnectError::Itself,
            legacy::Refusal::Other(why) => refused(why),
        })
    }
}

/// Closed on the way out, however that is, unless it was greeted.
struct Unfinished<'a>(Option<&'a Link>);

impl Unfinished<'_> {
    /// `Err` within `Ok`: it may be a server of 2024-11-05; what `initialize` came to.
    async fn greet(mut self, known: Option<Era>) -> Result<Result<Greeting, String>, ConnectError> {
        let Some(link) = self.0 else { return Err(ConnectError::Silent) };
        let greeted = greet(&link.0, known).await?;
        if greeted.is_ok() {
            self.0 = None;
        }
        Ok(greeted)
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(link) = self.0 {
            link.0.signs.closed.cancel();
        }
    }
}

async fn greet(shared: &Arc<Shared>, known: Option<Era>) -> Result<Result<Greeting, String>, ConnectError> {
    if known != Some(Era::Handshake)
        && let Some(greeting) = discover(shared).await?
    {
        shared.set_version(greeting.version);
        return Ok(Ok(greeting));
    }
    match initialize(shared).await {
        Ok((greeting, id)) => {
            shared.set_version(greeting.version);
            session::begin(shared, id).await;
            Ok(Ok(greeting))
        }
        Err(Refusal::Fault(fault)) if fault.is_outage() || matches!(fault, Fault::Unauthorized(_) | Fault::Busy { .. }) => {
            Err(ConnectError::Fault(fault))
        }
        // What was known of it no longer holds.
        Err(_) if known == Some(Era::Handshake) => Box::pin(greet(shared, None)).await,
        Err(Refusal::Unreadable(why)) => Err(ConnectError::Refused(why)),
        Err(Refusal::Itself) => Err(ConnectError::Itself),
        Err(Refusal::Fault(fault)) => match fault.status() {
            Some(StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) => Ok(Err(fault.to_string())),
            _ => Err(ConnectError::Fault(fault)),
        },
        Err(Refusal::Error { status, code }) => match status {
            StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Ok(Err(format!("failed with code {code}"))),
            _ => Err(ConnectError::Refused(format!("initialize failed with code {code}"))),
        },
    }
}

/// `None`: not of the stateless era.
async fn discover(shared: &Arc<Shared>) -> Result<Option<Greeting>, ConnectError> {
    let line = outgoing::discover(own_id(), &shared.dial.speaker.mark);
    let headers = names::of_line(&line);
    let head = Head { version: Some(Version::STATELESS), session: None, names: Some(&headers) };
    let answered = converse(shared, own_id(), trimmed(line), head, &Session::default()).await;
    let message = match answered {
        Ok(Answered { message, .. }) => message,
        Err(fault @ (Fault::Unauthorized(_) | Fault::Busy { .. } | Fault::Net(_))) => return Err(ConnectError::Fault(fault)),
        Err(fault) if fault.is_outage() => return Err(ConnectError::Fault(fault)),
        Err(Fault::Refused { message, .. }) => *message,
        Err(_) => return Ok(None),
    };
    if message.kind() != Kind::Error {
        return Ok(read_discovery(&message));
    }
    if mark::is_self_reference(&message) {
        return Err(ConnectError::Itself);
    }
    let error = RpcError::read(&message);
    let is = |code: Code| error.code == code.number();
    if is(Code::UnsupportedVersion) && error.supported().is_none() {
        return Err(ConnectError::Refused("it speaks no revision that the hub knows".into()));
    }
    if is(Code::HeaderMismatch) || is(Code::MissingCapability) {
        return Err(ConnectError::Refused(format!("server/discover failed with code {}", error.code)));
    }
    Ok(None)
}

/// A new session, not yet in effect: what the server says of itself, and the session's id.
pub(super) async fn initialize_session(shared: &Arc<Shared>) -> Result<(Greeting, Option<HeaderValue>), ConnectError> {
    initialize(shared).await.map_err(|refusal| match refusal {
        Refusal::Fault(fault) => ConnectError::Fault(fault),
        Refusal::Error { code, .. } => ConnectError::Refused(format!("initialize failed with code {code}")),
        Refusal::Unreadable(why) => ConnectError::Refused(why),
        Refusal::Itself => ConnectError::Itself,
    })
}

/// Once more with a revision that the server lists, should it refuse ours.
async fn initialize(shared: &Arc<Shared>) -> Result<(Greeting, Option<HeaderValue>), Refusal> {
    let mut version = Version::LATEST_HANDSHAKE;
    let mut is_last = false;
    loop {
        let line = outgoing::own(own_id(), "initialize", &initialize_params(version, &shared.dial.speaker), version);
        let answered = converse(shared, own_id(), trimmed(line), Head::default(), &Session::default()).await.map_err(Refusal::Fault)?;
        let Answered { status, message, session, .. } = answered;
        if message.kind() == Kind::Result {
            return match read_initialized(&message) {
                Ok(greeting) => Ok((greeting, session)),
                Err(GreetError::Refused(why)) => Err(Refusal::Unreadable(why)),
                Err(error) => Err(Refusal::Unreadable(error.to_string())),
            };
        }
        if mark::is_self_reference(&message) {
            return Err(Refusal::Itself);
        }
        let error = RpcError::read(&message);
        let other = error.supported().or_else(|| (error.code == Code::InvalidParams.number()).then_some(Version::V2024_11_05));
        match other.filter(|other| !is_last && *other != version) {
            Some(other) => (version, is_last) = (other, true),
            None => return Err(Refusal::Error { status, code: error.code }),
        }
    }
}

/// Of requests outside of the slab, whose ids are all larger.
fn own_id() -> WireId {
    WireId::parse(b"1").unwrap_or_else(|| unreachable!("a plain number"))
}

fn trimmed(line: Bytes) -> Bytes {
    let len = line.trim_ascii_end().len();
    line.slice(..len)
}
