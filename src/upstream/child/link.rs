//! One connection to a server: the pure `mux` core behind a short lock, and the two tasks that move bytes.
//!
//! Cost of a small call: one lock, one oneshot and one wake of the writer to open it; one lock and one wake of the caller when
//! it is answered. The reader never waits for the writer, nor the writer for the reader: what the reader has to say (answers
//! to the server's own requests) goes through the same bounded outbox and is dropped, counted, when there is no room.
//!
//! Room: a call is taken while it has a place (`Calls`), fewer than `queue` lines wait and less than `QUEUE_BYTES_MAX` bytes wait. The
//! outbox itself holds twice as many lines, so that a cancellation always finds a place. Answers to questions have places of their
//! own (`Questions`).

use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Notify,
    task::AbortHandle,
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{reader, writer};
use crate::{
    bridge::outgoing,
    limits,
    mux::{Deadline, Outbox, WireId},
    name::ServerId,
    observe::wire::{Leg, Peer},
    protocol::Version,
    upstream::{
        UpstreamError,
        calls::Calls,
        exchange::{Opened, Wants},
        news::Outlet,
        room::Room,
        signs::Signs,
        status::Noise,
        waiter::Waiter,
        wire::Wire,
    },
};

/// A handle; the tasks hold others. The connection ends by `close`, not by dropping handles.
#[derive(Clone, Debug)]
pub(in crate::upstream) struct Link(Arc<Shared>);

/// What bounds a link.
#[derive(Clone, Copy, Debug)]
pub(in crate::upstream) struct Bounds {
    pub(in crate::upstream) line_bytes: usize,
    pub(in crate::upstream) queue: usize,
}

#[derive(Debug)]
pub(super) struct Shared {
    core: Mutex<Core>,
    pub(super) server: ServerId,
    pub(super) bounds: Bounds,
    pub(super) outlet: Arc<Outlet>,
    pub(super) wire: Leg,
    /// Set by the handshake. Before it nothing is cancelled: `initialize` cannot be.
    version: OnceLock<Version>,
    /// Lines wait, or a deadline came nearer, or the link was closed.
    pub(super) to_write: Notify,
    room: Room,
    pub(super) signs: Signs,
    /// The reader has seen everything there was.
    pub(super) drained: CancellationToken,
    pub(super) counts: Counts,
    reader: OnceLock<AbortHandle>,
    pub(super) tasks: TaskTracker,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) bad_lines: AtomicU64,
    pub(super) long_lines: AtomicU64,
    pub(super) unknown_answers: AtomicU64,
    pub(super) dropped_replies: AtomicU64,
}

#[derive(Debug)]
pub(super) struct Core {
    pub(super) calls: Calls,
    pub(super) outbox: Outbox,
}

impl Link {
    /// Spawns the two tasks on the current runtime.
    pub(in crate::upstream) fn start(
        server: &ServerId,
        bounds: Bounds,
        outlet: Arc<Outlet>,
        output: impl AsyncRead + Unpin + Send + 'static,
        input: impl AsyncWrite + Unpin + Send + 'static,
        tasks: &TaskTracker,
    ) -> Self {
        // `has_room` bounds the bytes: by what waits already, so that a line of any size gets its turn.
        let outbox = Outbox::new(bounds.queue.saturating_mul(2), usize::MAX);
        let shared = Arc::new(Shared {
            core: Mutex::new(Core { calls: Calls::new(bounds.queue), outbox }),
            server: server.clone(),
            bounds,
            outlet,
            wire: Leg::new(Peer::Server, server.name.as_str()),
            version: OnceLock::new(),
            to_write: Notify::new(),
            room: Room::default(),
            signs: Signs::default(),
            drained: CancellationToken::new(),
            counts: Counts::default(),
            reader: OnceLock::new(),
            tasks: tasks.clone(),
        });
        let ends = [shared.drained.clone().drop_guard(), shared.signs.broken.clone().drop_guard()];
        let reader = tasks.spawn(reader::run(Arc::clone(&shared), output, ends));
        let _ = shared.reader.set(reader.abort_handle());
        tasks.spawn(writer::run(Arc::clone(&shared), input));
        Self(shared)
    }

    /// The handshake settled it; from now on calls given up are cancelled at the server.
    pub(in crate::upstream) fn set_version(&self, version: Version) {
        let _ = self.0.version.set(version);
    }

    pub(in crate::upstream) fn open(
        &self,
        wants: Wants,
        deadline: Deadline,
        line: impl FnOnce(WireId) -> Bytes,
    ) -> Result<Opened, UpstreamError> {
        let now = Instant::now();
        let (waiter, answered) = Waiter::new(wants, deadline, now);
        let inbox = waiter.inbox.clone();
        let shared = &self.0;
        let mut core = shared.lock();
        let has_room = core.takes_lines(shared.bounds.queue);
        let wire = core.calls.open(&shared.server, waiter, has_room, now)?;
        let was_empty = core.outbox.is_empty();
        if core.outbox.push(line(wire)).is_err() {
            core.calls.unopen(wire);
            return Err(UpstreamError::busy(&shared.server));
        }
        drop(core);
        if was_empty {
            shared.to_write.notify_one();
        }
        Ok(Opened { link: Wire::Pipe(self.clone()), wire, answered, inbox })
    }

    /// Waits until `open` would find room. Cancel-safe.
    ///
    /// # Errors
    /// The link was closed.
    pub(in crate::upstream) async fn ready(&self) -> Result<(), UpstreamError> {
        let shared = &self.0;
        let has_room = || {
            let core = shared.lock();
            if core.calls.is_closed() {
                return Err(UpstreamError::gone(&shared.server));
            }
            Ok(core.calls.has_place() && core.takes_lines(shared.bounds.queue))
        };
        shared.room.wait(has_room).await
    }

    /// Gives a call up: its slot is free at once, and the server is told, once, unless the call was over already.
    pub(in crate::upstream) fn cancel(&self, wire: WireId, reason: Option<&str>) {
        let mut core = self.0.lock();
        if core.calls.cancel(wire).is_some() {
            self.0.tell_cancelled(&mut core, wire, reason);
        }
    }

    pub(in crate::upstream) fn connection(&self) -> u64 {
        self.0.outlet.connection()
    }

    pub(in crate::upstream) fn tasks(&self) -> &TaskTracker {
        &self.0.tasks
    }

    /// Of a call that the link lost with its runtime.
    pub(in crate::upstream) fn lost(&self) -> UpstreamError {
        UpstreamError::exited(&self.0.server)
    }

    /// `false` when there was no room for it.
    pub(in crate::upstream) fn notify(&self, line: Bytes) -> bool {
        self.0.push(&mut self.0.lock(), line)
    }

    /// The same, which leaves room for what matters more.
    pub(in crate::upstream) fn tell(&self, line: Bytes) -> bool {
        self.0.push_own(line)
    }

    pub(in crate::upstream) fn signs(&self) -> &Signs {
        &self.0.signs
    }

    /// Resolves when everything the server wrote has been read.
    pub(in crate::upstream) async fn drained(&self) {
        self.0.drained.cancelled().await;
    }

    /// Every open call fails with `error`, at once and once; both tasks end and drop their pipes.
    pub(in crate::upstream) fn close(&self, error: &UpstreamError) {
        let shared = &self.0;
        let left = shared.lock().calls.close();
        shared.signs.closed.cancel();
        if let Some(reader) = shared.reader.get() {
            reader.abort();
        }
        shared.to_write.notify_one();
        shared.room.wake_all();
        left.end(error, &shared.outlet);
    }

    /// Calls without an answer, listens and the like aside.
    pub(in crate::upstream) fn in_flight(&self) -> usize {
        self.0.lock().calls.in_flight()
    }

    pub(in crate::upstream) fn strays_until(&self) -> Option<Instant> {
        self.0.lock().calls.strays_until(Instant::now())
    }

    /// What is not as it was before the first call, listens aside.
    #[cfg(test)]
    pub(in crate::upstream) fn left(&self) -> Vec<String> {
        let waiting = self.0.room.waiting();
        let waiting = (waiting > 0).then(|| format!("{waiting} callers that wait for room"));
        self.0.lock().calls.left().into_iter().chain(waiting).collect()
    }

    pub(in crate::upstream) fn noise(&self) -> Noise {
        let counts = &self.0.counts;
        Noise {
            bad_lines: counts.bad_lines.load(Ordering::Relaxed),
            long_lines: counts.long_lines.load(Ordering::Relaxed),
            unknown_answers: counts.unknown_answers.load(Ordering::Relaxed),
            late_answers: 0,
        } + self.0.lock().calls.noise()
    }
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Core> {
        // A panic under the lock is one caller's; the core itself is never left half changed by it.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn version(&self) -> Option<Version> {
        self.version.get().copied()
    }

    /// Of an answer.
    pub(super) fn take(&self, wire: WireId) -> Option<Waiter> {
        let mut core = self.lock();
        let waiter = core.calls.take(wire);
        self.make_room(&core, 1);
        waiter
    }

    pub(super) fn handle_timeout(&self, now: Instant) {
        let expired = {
            let mut core = self.lock();
            let expired = core.calls.expire(now);
            for (wire, _) in &expired {
                self.tell_cancelled(&mut core, *wire, Some("timeout"));
            }
            self.make_room(&core, expired.len());
            expired
        };
        expired.into_iter().for_each(|(_, waiter)| waiter.time_out(&self.server, now));
    }

    /// Wakes as many of those who wait as may find room.
    pub(super) fn make_room(&self, _freed_in: &Core, freed: usize) {
        self.room.free(freed);
    }

    fn tell_cancelled(&self, core: &mut Core, wire: WireId, reason: Option<&str>) {
        self.make_room(core, 1);
        if let Some(version) = self.version() {
            self.push(core, outgoing::cancelled(wire, reason, version));
        }
    }

    /// Into the places of calls, never in those kept for cancellations: by the hub itself, and dropped where there is no room.
    pub(super) fn push_own(&self, line: Bytes) -> bool {
        let mut core = self.lock();
        core.takes_lines(self.bounds.queue) && self.push(&mut core, line)
    }

    fn push(&self, core: &mut Core, line: Bytes) -> bool {
        let was_empty = core.outbox.is_empty();
        let is_in = !core.calls.is_closed() && core.outbox.push(line).is_ok();
        if is_in && was_empty {
            self.to_write.notify_one();
        }
        is_in
    }
}

impl Core {
    fn takes_lines(&self, queue: usize) -> bool {
        self.outbox.len() < queue && self.outbox.bytes() < limits::QUEUE_BYTES_MAX
    }

    /// Up to `max` lines for one write; returns how many of them make room for calls.
    pub(super) fn take_lines(&mut self, lines: &mut Vec<Bytes>, max: usize) -> usize {
        self.calls.take_replies(lines, max);
        let answers = lines.len();
        self.outbox.take(lines, max.saturating_sub(answers));
        lines.len() - answers
    }
}
