//! One connection to a server: the pure `mux` core behind a short lock, and the two tasks that move bytes.
//!
//! Cost of a small call: one lock, one oneshot and one wake of the writer to open it; one lock and one wake of the caller when
//! it is answered. The reader never waits for the writer, nor the writer for the reader: what the reader has to say (answers
//! to the server's own requests) goes through the same bounded outbox and is dropped, counted, when there is no room.
//!
//! Room: a call is taken while fewer than `queue` calls are in flight, fewer than `queue` lines wait and less than
//! `QUEUE_BYTES_MAX` bytes wait. The outbox itself holds twice as many lines, so that a cancellation always finds a place.

use std::{
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Notify, oneshot},
    task::AbortHandle,
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{progress::Progress, reader, writer};
use crate::{
    bridge::outgoing,
    limits,
    mux::{Connection, Deadline, Outbox, WireId},
    name::ServerId,
    observe::wire::{Leg, Peer},
    protocol::{Message, Version},
    upstream::{Event, UpstreamError, exchange::Opened, instance::Use, status::Noise},
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
    pub(super) wire: Leg,
    /// Set by the handshake. Before it nothing is cancelled: `initialize` cannot be.
    version: OnceLock<Version>,
    /// Lines wait, or a deadline came nearer, or the link was closed.
    pub(super) to_write: Notify,
    room: Notify,
    list_changed: Notify,
    /// Reader or writer met the end of its pipe.
    pub(super) broken: CancellationToken,
    /// The reader has seen everything there was.
    pub(super) drained: CancellationToken,
    pub(super) closed: CancellationToken,
    pub(super) counts: Counts,
    reader: OnceLock<AbortHandle>,
    tasks: TaskTracker,
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
    pub(super) connection: Connection<Waiter>,
    pub(super) outbox: Outbox,
    pub(super) is_closed: bool,
    /// Callers in `ready`.
    waiting: usize,
}

/// Who waits for an answer.
#[derive(Debug)]
pub(super) struct Waiter {
    answer: oneshot::Sender<Event>,
    progress: Option<Arc<Progress>>,
    deadline: Deadline,
}

impl Link {
    /// Spawns the two tasks on the current runtime.
    pub(in crate::upstream) fn start(
        server: &ServerId,
        bounds: Bounds,
        output: impl AsyncRead + Unpin + Send + 'static,
        input: impl AsyncWrite + Unpin + Send + 'static,
        tasks: &TaskTracker,
    ) -> Self {
        let core = Core {
            connection: Connection::new(bounds.queue),
            // `has_room` bounds the bytes: by what waits already, so that a line of any size gets its turn.
            outbox: Outbox::new(bounds.queue.saturating_mul(2), usize::MAX),
            is_closed: false,
            waiting: 0,
        };
        let shared = Arc::new(Shared {
            core: Mutex::new(core),
            server: server.clone(),
            bounds,
            wire: Leg::new(Peer::Server, server.name.as_str()),
            version: OnceLock::new(),
            to_write: Notify::new(),
            room: Notify::new(),
            list_changed: Notify::new(),
            broken: CancellationToken::new(),
            drained: CancellationToken::new(),
            closed: CancellationToken::new(),
            counts: Counts::default(),
            reader: OnceLock::new(),
            tasks: tasks.clone(),
        });
        let ends = [shared.drained.clone().drop_guard(), shared.broken.clone().drop_guard()];
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
        wants_progress: bool,
        deadline: Deadline,
        line: impl FnOnce(WireId) -> Bytes,
    ) -> Result<Opened, UpstreamError> {
        let now = Instant::now();
        let (answer, answered) = oneshot::channel();
        let progress = wants_progress.then(|| Arc::new(Progress::new(now)));
        let waiter = Waiter { answer, progress: progress.clone(), deadline };
        let shared = &self.0;
        let mut core = shared.lock();
        if core.is_closed {
            return Err(UpstreamError::gone(&shared.server));
        }
        if !core.has_room(shared.bounds.queue) {
            return Err(UpstreamError::busy(&shared.server));
        }
        let Ok(wire) = core.connection.open(waiter, deadline, now.into_std()) else {
            return Err(UpstreamError::busy(&shared.server));
        };
        let was_empty = core.outbox.is_empty();
        if core.outbox.push(line(wire)).is_err() {
            core.connection.cancel(wire);
            return Err(UpstreamError::busy(&shared.server));
        }
        drop(core);
        if was_empty {
            shared.to_write.notify_one();
        }
        Ok(Opened { link: self.clone(), wire, answered, progress })
    }

    /// Waits until `open` would find room. Cancel-safe.
    ///
    /// # Errors
    /// The link was closed.
    pub(in crate::upstream) async fn ready(&self) -> Result<(), UpstreamError> {
        let shared = &self.0;
        let _waiting = Waiting::new(shared);
        loop {
            let mut room = pin!(shared.room.notified());
            // In the queue before the look: two places freed in between must wake two.
            room.as_mut().enable();
            {
                let core = shared.lock();
                if core.is_closed {
                    return Err(UpstreamError::gone(&shared.server));
                }
                if core.has_room(shared.bounds.queue) {
                    return Ok(());
                }
            }
            room.await;
        }
    }

    /// Gives a call up: its slot is free at once, and the server is told, once, unless the call was over already.
    pub(in crate::upstream) fn cancel(&self, wire: WireId) {
        let mut core = self.0.lock();
        if core.connection.cancel(wire).is_some() {
            self.0.tell_cancelled(&mut core, wire, None);
        }
    }

    /// The caller has left, the call goes on; `held` lives as long as the call.
    pub(in crate::upstream) fn detach(&self, answered: oneshot::Receiver<Event>, held: Option<Use>) {
        // Ends with the answer, the deadline or the link, whichever is first.
        self.0.tasks.spawn(async move {
            let _ = answered.await;
            drop(held);
        });
    }

    /// Of a call that the link lost with its runtime.
    pub(in crate::upstream) fn lost(&self) -> UpstreamError {
        UpstreamError::exited(&self.0.server)
    }

    /// `false` when there was no room for it.
    pub(in crate::upstream) fn notify(&self, line: Bytes) -> bool {
        self.0.push(&mut self.0.lock(), line)
    }

    /// Resolves after the server said that its tools changed.
    pub(in crate::upstream) async fn list_changed(&self) {
        self.0.list_changed.notified().await;
    }

    /// Resolves when a pipe has ended: nothing more can be asked, or answered.
    pub(in crate::upstream) async fn broken(&self) {
        self.0.broken.cancelled().await;
    }

    /// Resolves when everything the server wrote has been read.
    pub(in crate::upstream) async fn drained(&self) {
        self.0.drained.cancelled().await;
    }

    /// Every open call fails with `error`, at once and once; both tasks end and drop their pipes.
    pub(in crate::upstream) fn close(&self, error: &UpstreamError) {
        let shared = &self.0;
        let open = {
            let mut core = shared.lock();
            core.is_closed = true;
            core.connection.close()
        };
        shared.closed.cancel();
        if let Some(reader) = shared.reader.get() {
            reader.abort();
        }
        shared.to_write.notify_one();
        shared.room.notify_waiters();
        for (_, waiter) in open {
            waiter.end(Event::Failed(error.clone()));
        }
    }

    pub(in crate::upstream) fn in_flight(&self) -> usize {
        self.0.lock().connection.in_flight()
    }

    pub(in crate::upstream) fn noise(&self) -> Noise {
        let counters = self.0.lock().connection.counters();
        let counts = &self.0.counts;
        Noise {
            bad_lines: counts.bad_lines.load(Ordering::Relaxed),
            long_lines: counts.long_lines.load(Ordering::Relaxed),
            late_answers: counters.late + counters.repeated,
            unknown_answers: counters.unknown + counts.unknown_answers.load(Ordering::Relaxed),
        }
    }
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Core> {
        // A panic under the lock is one caller's; the core itself is never left half changed by it.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn handle_answer(&self, wire: WireId, answer: Message) {
        match self.take(wire) {
            Some(waiter) => waiter.end(Event::Answer(answer)),
            None => tracing::debug!(server = %self.server, %wire, "answer to no open call"),
        }
    }

    /// What came for this call cannot be carried to anybody.
    pub(super) fn handle_bad_answer(&self, wire: WireId) {
        if let Some(waiter) = self.take(wire) {
            waiter.end(Event::Failed(UpstreamError::bad_answer(&self.server)));
        }
    }

    fn take(&self, wire: WireId) -> Option<Waiter> {
        let mut core = self.lock();
        let waiter = core.connection.handle_answer(wire);
        self.make_room(&core, 1);
        waiter
    }

    pub(super) fn handle_progress(&self, wire: WireId, message: Message) {
        let now = Instant::now();
        let progress = {
            let mut core = self.lock();
            core.connection.handle_progress(wire, now.into_std()).and_then(|waiter| waiter.progress.clone())
        };
        // What waits for a slow caller is bounded in bytes by this, in count by `Progress`.
        if let Some(progress) = progress.filter(|_| message.bytes().len() <= limits::PROGRESS_BYTES_MAX) {
            progress.put(message, now);
        }
    }

    pub(super) fn handle_list_changed(&self) {
        self.list_changed.notify_one();
    }

    pub(super) fn handle_request(&self, request: &Message) {
        let Some(line) = outgoing::answer_server(request) else { return };
        let mut core = self.lock();
        // Bounded in bytes as calls are, and never in the places kept for cancellations.
        let has_room = core.outbox.len() < self.bounds.queue && core.outbox.bytes() < limits::QUEUE_BYTES_MAX;
        if !(has_room && self.push(&mut core, line)) {
            self.counts.dropped_replies.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn handle_timeout(&self, now: Instant) {
        let mut expired = Vec::new();
        {
            let mut core = self.lock();
            core.connection.handle_timeout(now.into_std(), &mut expired);
            for (wire, _) in &expired {
                self.tell_cancelled(&mut core, *wire, Some("timeout"));
            }
            self.make_room(&core, expired.len());
        }
        for (_, waiter) in expired {
            let error = UpstreamError::timed_out(&self.server, waiter.deadline.call);
            waiter.end(Event::Failed(error));
        }
    }

    /// Wakes as many of those who wait as may find room.
    pub(super) fn make_room(&self, core: &Core, freed: usize) {
        for _ in 0..freed.min(core.waiting) {
            self.room.notify_one();
        }
    }

    fn tell_cancelled(&self, core: &mut Core, wire: WireId, reason: Option<&str>) {
        self.make_room(core, 1);
        if let Some(version) = self.version.get() {
            self.push(core, outgoing::cancelled(wire, reason, *version));
        }
    }

    fn push(&self, core: &mut Core, line: Bytes) -> bool {
        let was_empty = core.outbox.is_empty();
        let is_in = !core.is_closed && core.outbox.push(line).is_ok();
        if is_in && was_empty {
            self.to_write.notify_one();
        }
        is_in
    }
}

impl Core {
    fn has_room(&self, queue: usize) -> bool {
        self.connection.in_flight() < queue && self.outbox.len() < queue && self.outbox.bytes() < limits::QUEUE_BYTES_MAX
    }
}

impl Waiter {
    fn end(self, event: Event) {
        // The caller may have left in this very moment.
        let _ = self.answer.send(event);
    }
}

/// Counts one caller in `ready`, however that ends.
struct Waiting<'a>(&'a Shared);

impl<'a> Waiting<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.lock().waiting += 1;
        Self(shared)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.lock().waiting -= 1;
    }
}
