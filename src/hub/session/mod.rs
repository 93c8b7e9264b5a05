//! Sessions of handshake clients over HTTP, and the one session that every pipe (stdio, WebSocket) is. A session belongs to
//! the principal that opened it; to everybody else it does not exist.

mod ask;
mod changes;
mod mail;
mod store;
mod table;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

pub use ask::Asked;
pub(super) use mail::Lists;
pub use mail::{List, Mail};
pub use store::{EventId, Recorder, Replay, Resumed};
pub(super) use table::NoSession;
pub use table::Sessions;

use super::{Endpoint, random, watch::Watching};
use crate::{
    access::Principal,
    protocol::{Level, RequestId, Version, capability::Profile},
};

/// Visible ASCII of 256 random bits. Not a credential: a session answers only to its principal.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SessionId(Arc<str>);

impl SessionId {
    fn random() -> Self {
        Self(URL_SAFE_NO_PAD.encode(random::<32>()).into())
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

/// What a client said of itself when it opened the session.
#[derive(Clone, Debug)]
pub struct Client {
    pub version: Version,
    /// What it can be asked.
    pub profile: Profile,
    /// Extensions of others that it knows: a raw JSON object of capabilities (`Extras::declared`).
    pub extras: Option<Box<str>>,
    /// `clientInfo`, a raw JSON object; `None` when absent or larger than `limits::CLIENT_INFO_BYTES_MAX`.
    pub info: Option<Bytes>,
}

/// One client's conversation.
pub struct Session {
    id: SessionId,
    principal: Arc<Principal>,
    endpoint: Arc<Endpoint>,
    client: OnceLock<Client>,
    /// Changes of lists from here on are news to the client.
    since: AtomicU64,
    /// 0 for none, else one more than the level.
    level: AtomicU8,
    /// Requests without an answer, by the client's id.
    calls: Mutex<HashMap<RequestId, Entered>>,
    questions: Mutex<ask::Questions>,
    outbox: Mutex<mail::Outbox>,
    /// Resources it subscribed to, by the URIs it knows.
    watching: Mutex<Vec<(String, Watching)>>,
    streams: Mutex<store::Streams>,
    /// Milliseconds since the table was made.
    last_used: AtomicU64,
    ended: CancellationToken,
    home: table::Home,
}

struct Entered {
    token: CancellationToken,
    /// Why the client cancelled it, if it did and said so.
    reason: Option<Box<str>>,
}

impl Drop for Session {
    fn drop(&mut self) {
        // Before the session is forgotten: who follows a resource for it would look for another instance.
        drop(std::mem::take(&mut *self.watching()));
        self.home.leave(&self.id);
    }
}

impl Session {
    fn new(principal: Arc<Principal>, endpoint: Arc<Endpoint>, home: table::Home) -> Self {
        Self {
            id: SessionId::random(),
            principal,
            endpoint,
            client: OnceLock::new(),
            since: AtomicU64::new(0),
            level: AtomicU8::new(0),
            calls: Mutex::default(),
            questions: Mutex::default(),
            watching: Mutex::default(),
            outbox: Mutex::new(mail::Outbox::new(&home.budget)),
            streams: Mutex::default(),
            last_used: AtomicU64::new(0),
            ended: CancellationToken::new(),
            home,
        }
    }

    pub fn id(&self) -> &SessionId {
        &self.id
    }

    pub fn principal(&self) -> &Arc<Principal> {
        &self.principal
    }

    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// `None` until `initialize` came on this pipe.
    pub fn client(&self) -> Option<&Client> {
        self.client.get()
    }

    /// `None` until `initialize` came on this pipe.
    pub fn version(&self) -> Option<Version> {
        self.client().map(|client| client.version)
    }

    /// What this client can be asked: nothing until `initialize`.
    pub fn profile(&self) -> Profile {
        self.client().map_or(Profile::BARE, |client| client.profile)
    }

    /// Settles who the client is; `false` when that was settled before.
    pub(super) fn settle(&self, client: Client) -> bool {
        let since = self.home.changes.now();
        let is_first = self.client.set(client).is_ok();
        if is_first {
            self.since.store(since, Ordering::Relaxed);
        }
        is_first
    }

    /// The gravest-or-equal bound of `logging/setLevel`; `None` until it was set.
    pub fn level(&self) -> Option<Level> {
        let set = self.level.load(Ordering::Relaxed);
        Level::ALL.get(usize::from(set).checked_sub(1)?).copied()
    }

    pub fn set_level(&self, level: Level) {
        self.level.store(level as u8 + 1, Ordering::Relaxed);
    }

    /// Resolves when the session has ended: DELETE, idle for too long, or the hub stops.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    fn end(&self) {
        self.ended.cancel();
        self.close_mail();
        self.close_questions();
        self.drop_streams();
        drop(std::mem::take(&mut *self.watching()));
    }

    pub(super) fn watches(&self, uri: &str) -> bool {
        self.watching().iter().any(|(watched, _)| watched == uri)
    }

    /// `false` at `most`, and after its end.
    pub(super) fn watch(&self, uri: String, watching: Watching, most: usize) -> bool {
        let mut all = self.watching();
        let has_room = all.len() < most && !self.ended.is_cancelled();
        if has_room && !all.iter().any(|(watched, _)| *watched == uri) {
            all.push((uri, watching));
        }
        has_room
    }

    pub(super) fn unwatch(&self, uri: &str) {
        self.watching().retain(|(watched, _)| watched != uri);
    }

    fn watching(&self) -> std::sync::MutexGuard<'_, Vec<(String, Watching)>> {
        self.watching.lock().expect("no panic under this lock")
    }

    /// Cancels the request with this id, if it has no answer yet. Unknown ids are ignored: the race is normal.
    pub(super) fn cancel(&self, id: &RequestId, reason: Option<Box<str>>) {
        let token = self.calls.lock().expect("no panic under this lock").get_mut(id).map(|entered| {
            entered.reason = reason;
            entered.token.clone()
        });
        if let Some(token) = token {
            token.cancel();
        }
    }

    /// `None` when a request with this id is under way.
    pub(super) fn enter(self: &Arc<Self>, id: &RequestId) -> Option<CallEntry> {
        use std::collections::hash_map::Entry;
        let mut calls = self.calls.lock().expect("no panic under this lock");
        let Entry::Vacant(place) = calls.entry(id.clone()) else { return None };
        let token = place.insert(Entered { token: CancellationToken::new(), reason: None }).token.clone();
        Some(CallEntry { session: Arc::clone(self), id: id.clone(), token })
    }

    /// Requests without an answer.
    pub fn open_calls(&self) -> usize {
        self.calls.lock().expect("no panic under this lock").len()
    }

    /// The ids of those.
    pub fn unanswered(&self) -> Vec<RequestId> {
        self.calls.lock().expect("no panic under this lock").keys().cloned().collect()
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

    /// Why the client cancelled it: once.
    pub(super) fn reason(&self) -> Option<Box<str>> {
        self.session.calls.lock().expect("no panic under this lock").get_mut(&self.id)?.reason.take()
    }
}

impl Drop for CallEntry {
    fn drop(&mut self) {
        self.session.calls.lock().expect("no panic under this lock").remove(&self.id);
    }
}

#[cfg(test)]
mod tests;
