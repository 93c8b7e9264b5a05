//! One connection to a server: the pure `mux` core behind a short lock, and the two tasks that move bytes.
//!
//! Cost of a small call: one lock, one oneshot and one wake of the writer to open it; one lock and one wake of the caller when
//! it is answered. The reader never waits for the writer, nor the writer for the reader: what the reader has to say (answers
//! to the server's own requests) goes through the same bounded outbox and is dropped, counted, when there is no room.
//!
//! Room: a call is taken while fewer than `queue` calls are in flight, fewer than `queue` lines wait and less than
//! `QUEUE_BYTES_MAX` bytes wait. The outbox itself holds twice as many lines, so that a cancellation always finds a place. Answers
//! to questions have places of their own (`Questions`).
//!
//! Who is asked: nothing on a pipe says for which call a server asks. The newest call that may be asked is, else the session whose
//! connection it is, else nobody (`-32601`). While a question is open every call that it may belong to waits for somebody else than
//! the server: `timeouts.call` rests, `timeouts.call_max` does not.

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

use super::{
    questions::{Asked, Questions},
    reader, writer,
};
use crate::{
    bridge::outgoing,
    limits,
    mux::{Connection, Deadline, Outbox, WireId},
    name::ServerId,
    observe::wire::{Leg, Peer},
    protocol::{Era, Message, Method, RequestId, Version},
    upstream::{
        Event, Question, UpstreamError, What,
        exchange::{Opened, Wants},
        inbox::Inbox,
        instance::Use,
        news::Outlet,
        status::Noise,
        wire::Wire,
    },
};

/// Most quiet requests of one link at a time: two listens while they change, and a log level.
pub(in crate::upstream) const QUIET_MAX: usize = 3;

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
    outlet: Arc<Outlet>,
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
    outbox: Outbox,
    questions: Questions,
    /// Of the open calls, those that take no place of a caller's.
    quiet: usize,
    /// Those and the hub's other own.
    hubs: usize,
    pub(super) is_closed: bool,
    /// Callers in `ready`.
    waiting: usize,
}

/// Who waits for an answer.
#[derive(Debug)]
pub(super) struct Waiter {
    answer: oneshot::Sender<Event>,
    inbox: Option<Arc<Inbox>>,
    wants: Wants,
    deadline: Deadline,
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
        let core = Core {
            connection: Connection::new(bounds.queue.saturating_add(QUIET_MAX)),
            // `has_room` bounds the bytes: by what waits already, so that a line of any size gets its turn.
            outbox: Outbox::new(bounds.queue.saturating_mul(2), usize::MAX),
            questions: Questions::default(),
            quiet: 0,
            hubs: 0,
            is_closed: false,
            waiting: 0,
        };
        let shared = Arc::new(Shared {
            core: Mutex::new(core),
            server: server.clone(),
            bounds,
            outlet,
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
        wants: Wants,
        deadline: Deadline,
        line: impl FnOnce(WireId) -> Bytes,
    ) -> Result<Opened, UpstreamError> {
        let now = Instant::now();
        let (answer, answered) = oneshot::channel();
        let inbox = wants.has_inbox().then(|| Arc::new(Inbox::new(now)));
        let waiter = Waiter { answer, inbox: inbox.clone(), wants, deadline };
        let shared = &self.0;
        let mut core = shared.lock();
        if core.is_closed {
            return Err(UpstreamError::gone(&shared.server));
        }
        let has_room = if wants.is_quiet { core.quiet < QUIET_MAX } else { core.has_room(shared.bounds.queue) };
        if !has_room {
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
        core.quiet += usize::from(wants.is_quiet);
        core.hubs += usize::from(wants.is_hubs);
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
        if let Some(waiter) = core.connection.cancel(wire) {
            core.forget(&waiter);
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

    /// Resolves when it was closed: nothing is open, and nothing can be opened.
    pub(in crate::upstream) async fn closed(&self) {
        self.0.closed.cancelled().await;
    }

    pub(in crate::upstream) fn is_closed(&self) -> bool {
        self.0.closed.is_cancelled()
    }

    /// Resolves when everything the server wrote has been read.
    pub(in crate::upstream) async fn drained(&self) {
        self.0.drained.cancelled().await;
    }

    /// Every open call fails with `error`, at once and once; both tasks end and drop their pipes.
    pub(in crate::upstream) fn close(&self, error: &UpstreamError) {
        let shared = &self.0;
        let (open, questions) = {
            let mut core = shared.lock();
            core.is_closed = true;
            (core.quiet, core.hubs) = (0, 0);
            (core.connection.close(), core.questions.drain().collect::<Vec<_>>())
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
        // Those that calls were asked went with the calls.
        for (id, _) in questions.into_iter().filter(|(_, asked)| asked.asked.is_none()) {
            shared.outlet.tell(What::Withdrawn(id));
        }
    }

    /// Calls without an answer, listens and the like aside.
    pub(in crate::upstream) fn in_flight(&self) -> usize {
        self.0.lock().calls()
    }

    /// What is not as it was before the first call, listens aside.
    #[cfg(test)]
    pub(in crate::upstream) fn left(&self) -> Vec<String> {
        let core = self.0.lock();
        let counts = [
            ("calls", core.calls()),
            ("questions", core.questions.open_count()),
            ("callers that wait for room", core.waiting),
            ("requests of the hub's own", core.hubs.saturating_sub(core.quiet)),
            ("quiet requests too many", core.quiet.saturating_sub(1)),
        ];
        counts.into_iter().filter(|(_, count)| *count > 0).map(|(what, count)| format!("{count} {what}")).collect()
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
        if let Some(waiter) = &waiter {
            core.forget(waiter);
        }
        self.make_room(&core, 1);
        waiter
    }

    pub(super) fn handle_progress(&self, wire: WireId, message: Message) {
        let now = Instant::now();
        let inbox = {
            let mut core = self.lock();
            core.connection
                .handle_progress(wire, now.into_std())
                .filter(|waiter| waiter.wants.progress)
                .and_then(|waiter| waiter.inbox.clone())
        };
        // What waits for a slow caller is bounded in bytes by this, in count by `Inbox`.
        if let Some(inbox) = inbox.filter(|_| message.bytes().len() <= limits::PROGRESS_BYTES_MAX) {
            inbox.progress(message, now);
        }
    }

    pub(super) fn handle_list_changed(&self) {
        self.list_changed.notify_one();
    }

    /// A log record: for the one call there is, if it takes notes. Of several nobody could tell whose it is.
    pub(super) fn handle_log(&self, message: Message) {
        let only = self.lock().only_call().and_then(|waiter| waiter.inbox.clone());
        match only {
            Some(inbox) => inbox.note(message),
            None => self.outlet.tell(What::Log(message)),
        }
    }

    /// The work behind an elicitation by URL is done: of interest to whoever was asked, who may have left since.
    pub(super) fn handle_elicited(&self, message: Message) {
        let core = self.lock();
        let inboxes: Vec<_> =
            core.connection.open_calls().filter(|(_, waiter)| waiter.wants.asks).filter_map(|(_, waiter)| waiter.inbox.clone()).collect();
        drop(core);
        for inbox in inboxes {
            inbox.note(message.clone());
        }
        self.outlet.tell(What::Note(message));
    }

    pub(super) fn handle_news(&self, what: What) {
        self.outlet.tell(what);
    }

    /// A request of the server's own.
    pub(super) fn handle_request(self: &Arc<Self>, request: Message) {
        let is_handshake = self.version.get().is_some_and(|version| version.era() == Era::Handshake);
        match request.id() {
            // 2026-07-28 knows no requests of servers.
            Some(id) if is_handshake && request.method() != Method::Ping => self.handle_question(&id, request),
            _ => self.answer(&request),
        }
    }

    fn handle_question(self: &Arc<Self>, id: &RequestId, request: Message) {
        let (inbox, serial) = {
            let mut core = self.lock();
            if core.is_closed || core.questions.is_open(id) {
                tracing::debug!(server = %self.server, "a question under the id of one that is open");
                return;
            }
            let newest = core.connection.newest(Waiter::can_be_asked).and_then(|(_, waiter)| waiter.inbox.clone());
            if !core.questions.has_room() || (newest.is_none() && !self.outlet.takes_questions()) {
                drop(core);
                tracing::debug!(server = %self.server, method = request.method().as_str(), "a question that nobody can be asked");
                return self.answer(&request);
            }
            let paused: Vec<_> = core.connection.open_calls().filter(|(_, waiter)| waiter.can_be_asked()).map(|(wire, _)| wire).collect();
            for wire in &paused {
                core.connection.pause(*wire);
            }
            let serial = core.questions.open(id.clone(), newest.as_ref().map(Arc::downgrade), paused);
            (newest, serial)
        };
        let (shared, id) = (Arc::clone(self), id.clone());
        let question = Question::new(request, Box::new(move |response| shared.handle_reply(&id, serial, &response)));
        match inbox {
            // One that is handed back is answered by being dropped.
            Some(inbox) => drop(inbox.ask(question)),
            None => self.outlet.tell(What::Question(question)),
        }
    }

    /// Somebody answered a question; too late if it was taken back.
    fn handle_reply(&self, id: &RequestId, serial: u64, response: &[u8]) {
        let now = Instant::now();
        let mut core = self.lock();
        let Some(asked) = core.questions.close(id, serial) else { return };
        core.resume(&asked, now);
        if !core.is_closed {
            core.questions.answer(one_line(response));
            self.to_write.notify_one();
        }
    }

    /// `notifications/cancelled` of the server: a question it takes back, or a listen that it ends (MCP 2026-07-28, subscriptions).
    pub(super) fn handle_cancelled(&self, message: &Message) {
        let Some(span) = message.scan().request_id else { return };
        if self.version.get().is_none_or(|version| version.era() == Era::Stateless) {
            if let Some(wire) = WireId::parse(message.token(span)) {
                self.handle_end(wire);
            }
            return;
        }
        let Some(id) = message.request_id_at(span) else { return };
        let now = Instant::now();
        let asked = {
            let mut core = self.lock();
            let Some(asked) = core.questions.withdraw(&id) else { return };
            core.resume(&asked, now);
            asked.asked
        };
        match asked {
            // Nobody saw it yet: its drop finds it closed and says nothing.
            Some(inbox) => drop(inbox.upgrade().and_then(|inbox| inbox.withdraw(&id))),
            None => self.outlet.tell(What::Withdrawn(id)),
        }
    }

    /// Only what is for the server to end.
    fn handle_end(&self, wire: WireId) {
        let is_quiet = self.lock().connection.open_calls().any(|(open, waiter)| open == wire && waiter.wants.is_quiet);
        if is_quiet && let Some(waiter) = self.take(wire) {
            waiter.end(Event::Failed(UpstreamError::gone(&self.server)));
        }
    }

    /// First message of a listen: what the server will tell.
    pub(super) fn handle_acknowledged(&self, wire: WireId, message: Message) {
        let inbox = self.lock().connection.open_calls().find(|(open, _)| *open == wire).and_then(|(_, waiter)| waiter.inbox.clone());
        if let Some(inbox) = inbox {
            inbox.note(message);
        }
    }

    /// By the hub itself: `ping`, and what nobody can be asked.
    fn answer(&self, request: &Message) {
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
            for (wire, waiter) in &expired {
                core.forget(waiter);
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
        self.calls() < queue && self.outbox.len() < queue && self.outbox.bytes() < limits::QUEUE_BYTES_MAX
    }

    /// Up to `max` lines for one write; returns how many of them make room for calls.
    pub(super) fn take_lines(&mut self, lines: &mut Vec<Bytes>, max: usize) -> usize {
        self.questions.take(lines, max);
        let answers = lines.len();
        self.outbox.take(lines, max.saturating_sub(answers));
        lines.len() - answers
    }

    fn calls(&self) -> usize {
        self.connection.in_flight().saturating_sub(self.quiet)
    }

    fn forget(&mut self, over: &Waiter) {
        self.quiet -= usize::from(over.wants.is_quiet);
        self.hubs -= usize::from(over.wants.is_hubs);
    }

    /// The only call of a caller's. What a server says of the hub's own requests may go there too: it is nobody else's.
    fn only_call(&self) -> Option<&Waiter> {
        if self.connection.in_flight() != self.hubs + 1 {
            return None;
        }
        self.connection.open_calls().find(|(_, waiter)| !waiter.wants.is_hubs).map(|(_, waiter)| waiter)
    }

    fn resume(&mut self, asked: &Asked, now: Instant) {
        for wire in &asked.paused {
            self.connection.resume(*wire, now.into_std());
        }
    }
}

impl Waiter {
    fn can_be_asked(&self) -> bool {
        self.wants.asks && self.inbox.as_ref().is_some_and(|inbox| !inbox.is_closed())
    }

    fn end(self, event: Event) {
        // The caller may have left in this very moment.
        let _ = self.answer.send(event);
    }
}

/// Raw line ends between tokens are legal JSON, but would be two lines to the server, of which the second could be anything.
fn one_line(response: &[u8]) -> Bytes {
    let mut line = Vec::with_capacity(response.len() + 1);
    line.extend(response.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
    line.push(b'\n');
    line.into()
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
