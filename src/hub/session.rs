//! Sessions of handshake clients over HTTP, and the one session that every pipe (stdio, WebSocket) is. A session belongs to
//! the principal that opened it; to everybody else it does not exist.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use dashmap::DashMap;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio_util::sync::CancellationToken;

use super::Endpoint;
use crate::{
    access::Principal,
    limits,
    observe::{Bus, Event},
    protocol::{Body, RequestId, Version},
    upstream::Fleet,
};

/// Visible ASCII of 256 random bits. Not a credential: a session answers only to its principal.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SessionId(Arc<str>);

impl SessionId {
    fn random() -> Self {
        let mut bits = [0; 32];
        getrandom::fill(&mut bits).expect("the operating system has random numbers");
        Self(URL_SAFE_NO_PAD.encode(bits).into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, shared.
    pub fn share(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl std::fmt::Debug for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionId(…)")
    }
}

/// One client's conversation.
pub struct Session {
    id: SessionId,
    principal: Arc<Principal>,
    endpoint: Arc<Endpoint>,
    version: OnceLock<Version>,
    /// Requests without an answer, by the client's id.
    calls: Mutex<HashMap<RequestId, CancellationToken>>,
    /// The bus seen from this session's opening on; out while a stream reads it.
    mail: Mutex<Option<Receiver<Event>>>,
    /// Milliseconds since the table was made.
    last_used: AtomicU64,
    ended: CancellationToken,
    fleet: Arc<Fleet>,
}

/// After its last call: nobody will ask for the instances that were its own.
impl Drop for Session {
    fn drop(&mut self) {
        self.fleet.forget_session(self.id.as_str());
    }
}

impl Session {
    fn new(principal: Arc<Principal>, endpoint: Arc<Endpoint>, bus: &Bus, fleet: &Arc<Fleet>) -> Self {
        Self {
            id: SessionId::random(),
            principal,
            endpoint,
            version: OnceLock::new(),
            calls: Mutex::default(),
            mail: Mutex::new(Some(bus.listen())),
            last_used: AtomicU64::new(0),
            ended: CancellationToken::new(),
            fleet: Arc::clone(fleet),
        }
    }

    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// `None` until `initialize` came on this pipe.
    pub fn version(&self) -> Option<Version> {
        self.version.get().copied()
    }

    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Settles the revision; `false` when it was settled before.
    pub(super) fn settle(&self, version: Version) -> bool {
        self.version.set(version).is_ok()
    }

    /// The unsolicited messages for this client. `None` while another stream has them. What changed since the session was
    /// opened, or since the last stream was dropped, comes first.
    pub fn take_mail(self: &Arc<Self>) -> Option<Mail> {
        let receiver = self.mail.lock().expect("no panic under this lock").take()?;
        Some(Mail { receiver: Some(receiver), session: Arc::clone(self) })
    }

    /// Resolves when the session has ended: DELETE, idle for too long, or the hub stops.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Cancels the request with this id, if it has no answer yet. Unknown ids are ignored: the race is normal.
    pub(super) fn cancel(&self, id: &RequestId) {
        let token = self.calls.lock().expect("no panic under this lock").get(id).cloned();
        if let Some(token) = token {
            token.cancel();
        }
    }

    /// `None` when a request with this id is under way.
    pub(super) fn enter(self: &Arc<Self>, id: &RequestId) -> Option<CallEntry> {
        use std::collections::hash_map::Entry;
        let mut calls = self.calls.lock().expect("no panic under this lock");
        let Entry::Vacant(place) = calls.entry(id.clone()) else { return None };
        let token = place.insert(CancellationToken::new()).clone();
        Some(CallEntry { session: Arc::clone(self), id: id.clone(), token })
    }

    /// Requests without an answer.
    pub fn open_calls(&self) -> usize {
        self.calls.lock().expect("no panic under this lock").len()
    }
}

/// One request in its session's table; dropping it takes the request out.
pub(super) struct CallEntry {
    session: Arc<Session>,
    id: RequestId,
    token: CancellationToken,
}

impl CallEntry {
    pub(super) fn token(&self) -> &CancellationToken {
        &self.token
    }
}

impl Drop for CallEntry {
    fn drop(&mut self) {
        self.session.calls.lock().expect("no panic under this lock").remove(&self.id);
    }
}

/// The receiving end of a session's unsolicited messages; dropping it lets another stream take them.
pub struct Mail {
    receiver: Option<Receiver<Event>>,
    session: Arc<Session>,
}

impl Mail {
    /// The next message; `None` when the session has ended. Cancel-safe but for changes of the last
    /// `limits::LIST_COALESCE`, which are one message.
    pub async fn next(&mut self) -> Option<Body> {
        let ended = self.session.ended.clone();
        tokio::select! {
            () = ended.cancelled() => None,
            changed = self.changed() => changed.then(list_changed),
        }
    }

    /// Waits for a change of this session's list, and then for those that come with it.
    async fn changed(&mut self) -> bool {
        let Some(receiver) = &mut self.receiver else { return false };
        loop {
            match receiver.recv().await {
                Ok(event) if !concerns(&self.session, &event) => {}
                // Whoever lagged may have missed a change of its own.
                Ok(_) | Err(RecvError::Lagged(_)) => break,
                Err(RecvError::Closed) => return false,
            }
        }
        tokio::time::sleep(limits::LIST_COALESCE).await;
        while receiver.try_recv().is_ok() {}
        true
    }
}

impl Drop for Mail {
    fn drop(&mut self) {
        *self.session.mail.lock().expect("no panic under this lock") = self.receiver.take();
    }
}

/// Only a handshake client is told, and only of lists that it can see.
fn concerns(session: &Session, event: &Event) -> bool {
    let Event::ToolsChanged { tenant, server } = event else { return false };
    let endpoint = &session.endpoint;
    session.version().is_some() && endpoint.tenant == *tenant && endpoint.server.as_ref().is_none_or(|own| *own == server.name)
}

fn list_changed() -> Body {
    Body::one(Bytes::from_static(br#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#))
}

/// All open HTTP sessions.
pub struct Sessions {
    open: DashMap<Arc<str>, Arc<Session>>,
    bus: Bus,
    fleet: Arc<Fleet>,
    idle: Duration,
    since: Instant,
}

impl Sessions {
    pub(super) fn new(bus: Bus, fleet: Arc<Fleet>, idle: Duration) -> Self {
        Self { open: DashMap::new(), bus, fleet, idle, since: Instant::now() }
    }

    /// `None` at `limits::SESSIONS_MAX`.
    pub(super) fn open(&self, principal: &Arc<Principal>, endpoint: &Arc<Endpoint>, version: Version) -> Option<Arc<Session>> {
        if self.open.len() >= limits::SESSIONS_MAX {
            return None;
        }
        let session = Arc::new(Session::new(Arc::clone(principal), Arc::clone(endpoint), &self.bus, &self.fleet));
        session.settle(version);
        self.touch(&session);
        self.open.insert(session.id.share(), Arc::clone(&session));
        Some(session)
    }

    /// `None` for unknown, ended and foreign sessions alike. Counts as use.
    pub fn get(&self, id: &str, principal: &Principal) -> Option<Arc<Session>> {
        let session = self.open.get(id).map(|entry| Arc::clone(entry.value()))?;
        (session.principal.id() == principal.id()).then(|| {
            self.touch(&session);
            session
        })
    }

    /// Ends a session; `false` where `get` finds none.
    pub fn end(&self, id: &str, principal: &Principal) -> bool {
        let ended = self.open.remove_if(id, |_, session| session.principal.id() == principal.id());
        if let Some((_, session)) = &ended {
            session.ended.cancel();
        }
        ended.is_some()
    }

    /// The session that a pipe is: in no table, found by nobody else, gone when dropped.
    pub fn pipe(&self, principal: Arc<Principal>, endpoint: Arc<Endpoint>) -> Arc<Session> {
        Arc::new(Session::new(principal, endpoint, &self.bus, &self.fleet))
    }

    /// Ends the sessions that were not used for the idle time and have nothing under way, no stream and no request.
    pub fn sweep(&self) {
        let now = self.now_ms();
        let idle_ms = u64::try_from(self.idle.as_millis()).unwrap_or(u64::MAX);
        self.open.retain(|_, session| {
            let streaming = session.mail.lock().expect("no panic under this lock").is_none();
            let idle = now.saturating_sub(session.last_used.load(Ordering::Relaxed)) > idle_ms;
            let keep = streaming || !idle || session.open_calls() > 0;
            if !keep {
                session.ended.cancel();
            }
            keep
        });
    }

    /// Ends every session: their streams close.
    pub fn end_all(&self) {
        self.open.retain(|_, session| {
            session.ended.cancel();
            false
        });
    }

    pub fn len(&self) -> usize {
        self.open.len()
    }

    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    fn touch(&self, session: &Session) {
        session.last_used.store(self.now_ms(), Ordering::Relaxed);
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
