//! One connection to a remote server: the pure `mux` core behind a short lock, and one task for every open call.
//!
//! Cost of a small call besides HTTP itself: two locks, one oneshot, one task. A slot that is freed, by whom ever, drops the `alive`
//! end of its task, and that ends the exchange: in 2026-07-28 this is the cancellation, earlier revisions are told besides.
//!
//! Room: a call is taken while it has a place (`Calls`) and fewer than `REMOTE_BYTES_MAX` bytes of requests are under way.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use hyper::header::HeaderMap;
use tokio::{
    sync::{Notify, Semaphore},
    time::{Instant, sleep_until},
};
use tokio_util::task::TaskTracker;

use super::{
    call::{self, Call},
    fault::Fault,
    greet::Dial,
    names,
    session::{self, Session},
    target::Head,
};
use crate::{
    bridge::outgoing,
    limits,
    mux::{Deadline, WireId},
    protocol::{Era, Version},
    upstream::{
        Opening, UpstreamError,
        calls::Calls,
        exchange::{Opened, Wants},
        room::Room,
        signs::Signs,
        status::Noise,
        waiter::Waiter,
        wire::Wire,
    },
};

const FAR: Duration = Duration::from_secs(24 * 3600);

/// A handle; the tasks hold others. The connection ends by `close`, not by dropping handles.
#[derive(Clone, Debug)]
pub(in crate::upstream) struct Link(pub(super) Arc<Shared>);

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) dial: Dial,
    core: Mutex<Core>,
    /// Set when the era is known. Before it nothing is cancelled: `initialize` cannot be.
    version: OnceLock<Version>,
    pub(super) session: ArcSwap<Session>,
    /// One at a time makes a new session.
    pub(super) renewing: tokio::sync::Mutex<()>,
    /// A deadline came nearer.
    pub(super) timer: Notify,
    room: Room,
    pub(super) signs: Signs,
    notes: Arc<Semaphore>,
    pub(super) counts: Counts,
    /// Of requests under way.
    bytes: AtomicUsize,
    pub(super) tasks: TaskTracker,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) bad_messages: AtomicU64,
    pub(super) unknown_answers: AtomicU64,
    dropped_notes: AtomicU64,
}

#[derive(Debug)]
struct Core {
    calls: Calls,
    /// When the timer looks next.
    armed: Option<Instant>,
}

/// Bytes of a request under way.
pub(super) struct Weight(Arc<Shared>, usize);

impl Link {
    /// Sends nothing; spawns the timer on the current runtime.
    pub(super) fn start(dial: &Dial, tasks: &TaskTracker) -> Self {
        let shared = Arc::new(Shared {
            dial: dial.clone(),
            core: Mutex::new(Core { calls: Calls::new(dial.bounds.queue), armed: None }),
            version: OnceLock::new(),
            session: ArcSwap::default(),
            renewing: tokio::sync::Mutex::default(),
            timer: Notify::new(),
            room: Room::default(),
            signs: Signs::default(),
            notes: Arc::new(Semaphore::new(limits::REMOTE_NOTES_MAX)),
            counts: Counts::default(),
            bytes: AtomicUsize::new(0),
            tasks: tasks.clone(),
        });
        tasks.spawn(deadlines(Arc::clone(&shared)));
        Self(shared)
    }

    pub(in crate::upstream) fn open(
        &self,
        wants: Wants,
        opening: Option<&Opening<'_>>,
        deadline: Deadline,
        line: impl FnOnce(WireId) -> Bytes,
    ) -> Result<Opened, UpstreamError> {
        let now = Instant::now();
        let (mut waiter, answered) = Waiter::new(wants, deadline, now);
        let (inbox, gone) = (waiter.inbox.clone(), waiter.gone());
        let shared = &self.0;
        let server = shared.dial.server();
        let wire = {
            let mut core = shared.lock();
            let wire = core.calls.open(server, waiter, shared.takes_bytes(), now)?;
            if let Err(left) = shared.dial.target.common.admit() {
                core.calls.unopen(wire);
                return Err(UpstreamError::left_alone(server).retry_after(left));
            }
            if core.calls.due() < core.armed || core.armed.is_none() {
                shared.timer.notify_one();
            }
            wire
        };
        let line = without_end(line(wire));
        let weight = Weight::new(shared, line.len());
        let names = shared.names(opening, &line);
        let call = Call { wire, line, names, weight, gone };
        // Large: it is put on the heap once, where spawning would move it there step by step.
        shared.tasks.spawn(Box::pin(call::run(Arc::clone(shared), call)));
        Ok(Opened { link: Wire::Http(self.clone()), wire, answered, inbox })
    }

    pub(in crate::upstream) async fn ready(&self) -> Result<(), UpstreamError> {
        let shared = &self.0;
        let has_room = || {
            let core = shared.lock();
            if core.calls.is_closed() {
                return Err(UpstreamError::gone(shared.dial.server()));
            }
            Ok(core.calls.has_place() && shared.takes_bytes())
        };
        shared.room.wait(has_room).await
    }

    pub(in crate::upstream) fn cancel(&self, wire: WireId, reason: Option<&str>) {
        let cancelled = {
            let mut core = self.0.lock();
            let cancelled = core.calls.cancel(wire);
            self.0.room.free(1);
            cancelled
        };
        if cancelled.is_some() {
            self.0.tell_cancelled(wire, reason);
        }
    }

    pub(in crate::upstream) fn connection(&self) -> u64 {
        self.0.dial.outlet.connection()
    }

    pub(in crate::upstream) fn tasks(&self) -> &TaskTracker {
        &self.0.tasks
    }

    pub(in crate::upstream) fn lost(&self) -> UpstreamError {
        Fault::Cut.told(self.0.dial.server())
    }

    /// A notification. `false` when there was no room for it.
    pub(in crate::upstream) fn tell(&self, line: Bytes) -> bool {
        self.0.note(line)
    }

    pub(in crate::upstream) fn signs(&self) -> &Signs {
        &self.0.signs
    }

    pub(in crate::upstream) fn close(&self, error: &UpstreamError) {
        let shared = &self.0;
        let left = shared.lock().calls.close();
        shared.signs.closed.cancel();
        shared.room.wake_all();
        left.end(error, &shared.dial.outlet);
    }

    /// Ends the session at the server, if there is one and it was not lost.
    pub(in crate::upstream) async fn leave(&self) {
        if !self.0.signs.is_broken() {
            session::end(&self.0).await;
        }
    }

    pub(in crate::upstream) fn in_flight(&self) -> usize {
        self.0.lock().calls.in_flight()
    }

    pub(in crate::upstream) fn strays_until(&self) -> Option<Instant> {
        self.0.lock().calls.strays_until(Instant::now())
    }

    pub(in crate::upstream) fn noise(&self) -> Noise {
        let counts = &self.0.counts;
        Noise {
            bad_lines: counts.bad_messages.load(Ordering::Relaxed),
            unknown_answers: counts.unknown_answers.load(Ordering::Relaxed),
            ..Noise::default()
        } + self.0.lock().calls.noise()
    }
}

impl Shared {
    pub(super) fn version(&self) -> Option<Version> {
        self.version.get().copied()
    }

    /// Once.
    pub(super) fn set_version(&self, version: Version) {
        let _ = self.version.set(version);
    }

    pub(super) fn is_stateless(&self) -> bool {
        self.version() == Some(Version::STATELESS)
    }

    /// Nothing in it waits, nor is it held for long.
    pub(super) fn with_calls<T>(&self, look: impl FnOnce(&mut Calls) -> T) -> T {
        look(&mut self.lock().calls)
    }

    /// Of an answer.
    pub(super) fn take(&self, wire: WireId) -> Option<Waiter> {
        let mut core = self.lock();
        let waiter = core.calls.take(wire);
        self.room.free(1);
        waiter
    }

    /// Of an answer that was lost on its way.
    pub(super) fn lose(&self, wire: WireId) -> Option<Waiter> {
        let mut core = self.lock();
        let waiter = core.calls.lose(wire);
        self.room.free(1);
        waiter
    }

    /// Sends what needs no answer. `false` when there was no room for it.
    pub(super) fn note(self: &Arc<Self>, line: Bytes) -> bool {
        let Ok(place) = Arc::clone(&self.notes).try_acquire_owned() else {
            self.counts.dropped_notes.fetch_add(1, Ordering::Relaxed);
            return false;
        };
        let shared = Arc::clone(self);
        self.tasks.spawn(async move {
            let session = shared.session.load_full();
            call::tell(&shared, &session, line).await;
            drop(place);
        });
        true
    }

    fn handle_timeout(self: &Arc<Self>, now: Instant) {
        let expired = {
            let mut core = self.lock();
            let expired = core.calls.expire(now);
            self.room.free(expired.len());
            expired
        };
        for (wire, waiter) in expired {
            self.tell_cancelled(wire, Some("timeout"));
            waiter.time_out(self.dial.server(), now);
        }
    }

    /// In 2026-07-28 the end of the stream says it all.
    fn tell_cancelled(self: &Arc<Self>, wire: WireId, reason: Option<&str>) {
        if let Some(version) = self.version().filter(|version| version.era() == Era::Handshake) {
            self.note(outgoing::cancelled(wire, reason, version));
        }
    }

    /// What the headers of a request repeat.
    fn names(&self, opening: Option<&Opening<'_>>, line: &Bytes) -> Option<HeaderMap> {
        if !self.is_stateless() {
            return None;
        }
        Some(match opening.filter(|opening| !opening.method.is_empty()) {
            Some(opening) => names::of_opening(opening),
            None => names::of_line(line),
        })
    }

    fn takes_bytes(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) < limits::REMOTE_BYTES_MAX
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        // A panic under the lock is one caller's; the core itself is never left half changed by it.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn head<'a>(&self, session: &'a Session, names: Option<&'a HeaderMap>) -> Head<'a> {
        Head { version: self.version(), session: session.id.as_ref(), names }
    }
}

impl Weight {
    fn new(shared: &Arc<Shared>, bytes: usize) -> Self {
        shared.bytes.fetch_add(bytes, Ordering::Relaxed);
        Self(Arc::clone(shared), bytes)
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        let before = self.0.bytes.fetch_sub(self.1, Ordering::Relaxed);
        if before >= limits::REMOTE_BYTES_MAX {
            self.0.room.wake_all();
        }
    }
}

/// Ends with the link.
async fn deadlines(shared: Arc<Shared>) {
    loop {
        let due = {
            let mut core = shared.lock();
            core.armed = core.calls.due();
            core.armed
        };
        tokio::select! {
            biased;
            () = shared.signs.closed() => return,
            () = shared.timer.notified() => {}
            () = sleep_until(due.unwrap_or_else(|| Instant::now() + FAR)) => shared.handle_timeout(Instant::now()),
        }
    }
}

/// HTTP needs no line end.
fn without_end(line: Bytes) -> Bytes {
    let len = line.trim_ascii_end().len();
    line.slice(..len)
}
