//! All sessions: found by their ids, swept when idle, told when lists change.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use dashmap::DashMap;
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::Instant,
};

use super::{
    Client, Session, SessionId,
    changes::{Changed, Changes},
    store::Budget,
};
use crate::{
    access::Principal,
    hub::Endpoint,
    limits,
    observe::{Bus, Event},
    random,
};

/// All open sessions.
pub struct Sessions {
    table: Arc<Table>,
    gone: Gone,
    budget: Arc<Budget>,
    changes: Arc<Changes>,
    idle: Duration,
    since: Instant,
}

#[derive(Default)]
struct Table {
    /// Those over HTTP live here.
    open: DashMap<Arc<str>, Arc<Session>, random::State>,
    /// Pipes live where they are read.
    pipes: DashMap<Arc<str>, Weak<Session>, random::State>,
    closed: AtomicBool,
}

impl Table {
    /// Shared before anything is done with them: the last handle of a pipe's session, dropped under a lock of `pipes`, would wait
    /// for that lock for ever.
    fn all(&self) -> Vec<Arc<Session>> {
        let open = self.open.iter().map(|entry| Arc::clone(entry.value()));
        let pipes = self.pipes.iter().filter_map(|entry| entry.value().upgrade());
        open.chain(pipes).collect()
    }

    /// Only handshake clients are told, and only of lists that they can see.
    fn announce(&self, changed: &Changed) {
        for session in self.all() {
            let lists = changed.seen_at(session.endpoint(), session.since.load(Ordering::Relaxed));
            if !lists.is_empty() && session.version().is_some() {
                session.lists_changed(lists);
            }
        }
    }
}

/// Why no other session is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::hub) enum NoSession {
    TooMany,
    Stopping,
}

/// Told the id of a session after its last call: nobody will ask for what was its own.
pub(in crate::hub) type Gone = Arc<dyn Fn(&str) + Send + Sync>;

/// Where a session was opened: it says when it is gone.
pub(super) struct Home {
    gone: Gone,
    pub(super) budget: Arc<Budget>,
    pub(super) changes: Arc<Changes>,
    /// Of pipes.
    table: Option<Weak<Table>>,
}

impl Home {
    pub(super) fn leave(&self, id: &SessionId) {
        (self.gone)(id.as_str());
        if let Some(table) = self.table.as_ref().and_then(Weak::upgrade) {
            table.pipes.remove(id.as_str());
        }
    }
}

impl Sessions {
    /// Within a runtime: one task passes on what changes, and ends with the bus.
    pub(in crate::hub) fn new(bus: &Bus, gone: Gone, idle: Duration) -> Self {
        let table = Arc::new(Table::default());
        let changes = Arc::new(Changes::new(bus.listen()));
        tokio::spawn(announce(bus.listen(), Arc::clone(&changes), Arc::downgrade(&table)));
        Self { table, gone, budget: Arc::default(), changes, idle, since: Instant::now() }
    }

    /// # Errors
    /// At `limits::SESSIONS_MAX`, and after `end_all`.
    pub(in crate::hub) fn open(
        &self,
        principal: &Arc<Principal>,
        endpoint: &Arc<Endpoint>,
        client: Client,
    ) -> Result<Arc<Session>, NoSession> {
        if self.table.closed.load(Ordering::Acquire) {
            return Err(NoSession::Stopping);
        }
        if self.table.open.len() >= limits::SESSIONS_MAX {
            return Err(NoSession::TooMany);
        }
        let home = self.home(None);
        let session = Arc::new(Session::new(Arc::clone(principal), Arc::clone(endpoint), home));
        session.settle(client);
        self.touch(&session);
        self.table.open.insert(session.id.share(), Arc::clone(&session));
        Ok(session)
    }

    /// The session over HTTP with this id. `None` for unknown, ended and foreign sessions alike. Counts as use.
    pub fn get(&self, id: &str, principal: &Principal) -> Option<Arc<Session>> {
        let session = self.table.open.get(id).map(|entry| Arc::clone(entry.value()))?;
        (session.principal.id() == principal.id()).then(|| {
            self.touch(&session);
            session
        })
    }

    /// The session with this id, over HTTP or on a pipe, for what a server says to it. No use by its client.
    pub fn find(&self, id: &str) -> Option<Arc<Session>> {
        let open = self.table.open.get(id).map(|entry| Arc::clone(entry.value()));
        open.or_else(|| self.table.pipes.get(id).and_then(|entry| entry.value().upgrade()))
    }

    /// Every session, over HTTP and on pipes.
    pub fn all(&self) -> Vec<Arc<Session>> {
        self.table.all()
    }

    /// The sessions of one principal that have begun, over HTTP and on pipes.
    pub(in crate::hub) fn of(&self, principal: &str) -> Vec<Arc<Session>> {
        let mut all = self.table.all();
        all.retain(|session| **session.principal.id() == *principal && session.client().is_some());
        all
    }

    /// Ends a session; `false` where `get` finds none.
    pub fn end(&self, id: &str, principal: &Principal) -> bool {
        let ended = self.table.open.remove_if(id, |_, session| session.principal.id() == principal.id());
        if let Some((_, session)) = &ended {
            session.end();
        }
        ended.is_some()
    }

    /// The session that a pipe is: answers to no id of a client's, gone when dropped.
    pub fn pipe(&self, principal: Arc<Principal>, endpoint: Arc<Endpoint>) -> Arc<Session> {
        let home = self.home(Some(Arc::downgrade(&self.table)));
        let session = Arc::new(Session::new(principal, endpoint, home));
        self.table.pipes.insert(session.id.share(), Arc::downgrade(&session));
        session
    }

    /// Ends the sessions that were not used for the idle time and have nothing under way, no stream and no request; forgets what
    /// the others' streams said long ago.
    pub fn sweep(&self) {
        let now = self.now_ms();
        let instant = Instant::now();
        let idle_ms = u64::try_from(self.idle.as_millis()).unwrap_or(u64::MAX);
        self.table.open.retain(|_, session| {
            let idle = now.saturating_sub(session.last_used.load(Ordering::Relaxed)) > idle_ms;
            let keep = !idle || session.has_reader() || session.open_calls() > 0;
            if keep {
                session.tidy_streams(instant);
            } else {
                session.end();
            }
            keep
        });
    }

    /// Ends every session over HTTP: their streams close. No other is opened.
    pub fn end_all(&self) {
        self.table.closed.store(true, Ordering::Release);
        self.table.open.retain(|_, session| {
            session.end();
            false
        });
    }

    /// Bytes of mail and events that wait for clients.
    pub fn kept(&self) -> usize {
        self.budget.taken()
    }

    /// Of those over HTTP.
    pub fn len(&self) -> usize {
        self.table.open.len()
    }

    pub fn is_empty(&self) -> bool {
        self.table.open.is_empty()
    }

    fn home(&self, table: Option<Weak<Table>>) -> Home {
        Home { gone: Arc::clone(&self.gone), budget: Arc::clone(&self.budget), changes: Arc::clone(&self.changes), table }
    }

    fn touch(&self, session: &Session) {
        session.last_used.store(self.now_ms(), Ordering::Relaxed);
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Passes on what changes, until the bus or the table is gone.
async fn announce(mut bus: Receiver<Event>, changes: Arc<Changes>, table: Weak<Table>) {
    loop {
        if let Err(RecvError::Closed) = bus.recv().await {
            return;
        }
        if !changes.are_there() {
            continue;
        }
        tokio::time::sleep(limits::LIST_COALESCE).await;
        let Some(table) = table.upgrade() else { return };
        table.announce(&changes.take());
    }
}
