//! One connection to a remote server: the pure `mux` core behind a short lock, and one task for every open call.
//!
//! Cost of a small call besides HTTP itself: two locks, one oneshot, one task. A slot that is freed, by whom ever, drops the `alive`
//! end of its task, and that ends the exchange: in 2026-07-28 this is the cancellation, earlier revisions are told besides.
//!
//! Room: a call is taken while fewer than `queue` calls are in flight, and fewer than `REMOTE_BYTES_MAX` bytes of requests.

use std::{
    convert::Infallible,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::{
    sync::{Notify, Semaphore, oneshot},
    time::{Instant, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    call::{self, Call},
    fault::Fault,
    greet::Dial,
    session::{self, Session},
    target::Head,
};
use crate::{
    bridge::outgoing,
    limits,
    mux::{Connection, Deadline, WireId},
    protocol::{Era, Kind, Message, Method, RequestId, Version, code::Code, header},
    upstream::{
        Event, Opening, Question, UpstreamError, What,
        child::{
            link::QUIET_MAX,
            questions::{Asked, Questions},
        },
        exchange::{Opened, Wants},
        inbox::Inbox,
        instance::Use,
        status::Noise,
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
    timer: Notify,
    room: Notify,
    pub(super) list_changed: Notify,
    /// The session is over, and there will be no other on this connection.
    pub(super) broken: CancellationToken,
    pub(super) closed: CancellationToken,
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
    connection: Connection<Waiter>,
    questions: Questions,
    is_closed: bool,
    /// When the timer looks next.
    armed: Option<Instant>,
    /// Callers in `ready`.
    waiting: usize,
    /// Of the open calls, those that take no place of a caller's.
    quiet: usize,
}

/// Who waits for an answer.
#[derive(Debug)]
struct Waiter {
    answer: oneshot::Sender<Event>,
    inbox: Option<Arc<Inbox>>,
    wants: Wants,
    deadline: Deadline,
    /// Dropped with the waiter, which ends the task of the call.
    _alive: oneshot::Sender<Infallible>,
}

/// Bytes of a request under way.
pub(super) struct Weight(Arc<Shared>, usize);

impl Link {
    /// Sends nothing; spawns the timer on the current runtime.
    pub(super) fn start(dial: &Dial, tasks: &TaskTracker) -> Self {
        let connection = Connection::new(dial.bounds.queue.saturating_add(QUIET_MAX));
        let core = Core { connection, questions: Questions::default(), is_closed: false, armed: None, waiting: 0, quiet: 0 };
        let shared = Arc::new(Shared {
            dial: dial.clone(),
            core: Mutex::new(core),
            version: OnceLock::new(),
            session: ArcSwap::default(),
            renewing: tokio::sync::Mutex::default(),
            timer: Notify::new(),
            room: Notify::new(),
            list_changed: Notify::new(),
            broken: CancellationToken::new(),
            closed: CancellationToken::new(),
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
        let (answer, answered) = oneshot::channel();
        let (alive, gone) = oneshot::channel();
        let inbox = wants.has_inbox().then(|| Arc::new(Inbox::new(now)));
        let waiter = Waiter { answer, inbox: inbox.clone(), wants, deadline, _alive: alive };
        let shared = &self.0;
        let server = shared.dial.server();
        let wire = {
            let mut core = shared.lock();
            if core.is_closed {
                return Err(UpstreamError::gone(server));
            }
            let has_room = if wants.is_quiet { core.quiet < QUIET_MAX } else { shared.has_room(&core) };
            if !has_room {
                return Err(UpstreamError::busy(server));
            }
            shared.dial.target.common.admit().map_err(|left| UpstreamError::left_alone(server).retry_after(left))?;
            let Ok(wire) = core.connection.open(waiter, deadline, now.into_std()) else { return Err(UpstreamError::busy(server)) };
            core.quiet += usize::from(wants.is_quiet);
            let due = core.connection.poll_timeout().map(Instant::from_std);
            if due < core.armed || core.armed.is_none() {
                shared.timer.notify_one();
            }
            wire
        };
        let line = without_end(line(wire));
        let weight = Weight::new(shared, line.len());
        let names = shared.names(opening, &line);
        let call = Call { wire, line, names, weight, gone };
        shared.tasks.spawn(call::run(Arc::clone(shared), call));
        Ok(Opened { link: Wire::Http(self.clone()), wire, answered, inbox })
    }

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
                    return Err(UpstreamError::gone(shared.dial.server()));
                }
                if shared.has_room(&core) {
                    return Ok(());
                }
            }
            room.await;
        }
    }

    pub(in crate::upstream) fn cancel(&self, wire: WireId) {
        let cancelled = {
            let mut core = self.0.lock();
            let cancelled = core.connection.cancel(wire);
            cancelled.iter().for_each(|waiter| core.forget(waiter));
            self.0.make_room(&core, 1);
            cancelled
        };
        if cancelled.is_some() {
            self.0.tell_cancelled(wire, None);
        }
    }

    pub(in crate::upstream) fn detach(&self, answered: oneshot::Receiver<Event>, held: Option<Use>) {
        // Ends with the answer, the deadline or the link, whichever is first.
        self.0.tasks.spawn(async move {
            let _ = answered.await;
            drop(held);
        });
    }

    pub(in crate::upstream) fn lost(&self) -> UpstreamError {
        Fault::Cut.told(self.0.dial.server())
    }

    pub(in crate::upstream) async fn list_changed(&self) {
        self.0.list_changed.notified().await;
    }

    pub(in crate::upstream) async fn broken(&self) {
        self.0.broken.cancelled().await;
    }

    pub(in crate::upstream) async fn closed(&self) {
        self.0.closed.cancelled().await;
    }

    pub(in crate::upstream) fn is_closed(&self) -> bool {
        self.0.closed.is_cancelled()
    }

    pub(in crate::upstream) fn close(&self, error: &UpstreamError) {
        let shared = &self.0;
        let (open, questions) = {
            let mut core = shared.lock();
            core.is_closed = true;
            core.quiet = 0;
            (core.connection.close(), core.questions.drain().collect::<Vec<_>>())
        };
        shared.closed.cancel();
        shared.room.notify_waiters();
        for (_, waiter) in open {
            waiter.end(Event::Failed(error.clone()));
        }
        // Those that calls were asked went with the calls.
        for (id, _) in questions.into_iter().filter(|(_, asked)| asked.asked.is_none()) {
            shared.dial.outlet.tell(What::Withdrawn(id));
        }
    }

    /// Ends the session at the server, if there is one and it was not lost.
    pub(in crate::upstream) async fn leave(&self) {
        if !self.0.broken.is_cancelled() {
            session::end(&self.0).await;
        }
    }

    pub(in crate::upstream) fn in_flight(&self) -> usize {
        self.0.lock().calls()
    }

    pub(in crate::upstream) fn noise(&self) -> Noise {
        let counters = self.0.lock().connection.counters();
        let counts = &self.0.counts;
        Noise {
            bad_lines: counts.bad_messages.load(Ordering::Relaxed),
            long_lines: 0,
            late_answers: counters.late + counters.repeated,
            unknown_answers: counters.unknown + counts.unknown_answers.load(Ordering::Relaxed),
        }
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

    pub(super) fn handle_answer(&self, wire: WireId, answer: Message) {
        if answer.kind() == Kind::Error && self.is_stateless() {
            self.heed(&answer);
        }
        match self.take(wire) {
            Some(waiter) => waiter.end(Event::Answer(answer)),
            None => tracing::debug!(server = %self.dial.server(), %wire, "answer to no open call"),
        }
    }

    pub(super) fn handle_fault(&self, wire: WireId, fault: &Fault) {
        self.dial.target.fail(fault);
        if let Some(waiter) = self.take(wire) {
            waiter.end(Event::Failed(fault.told(self.dial.server())));
        }
    }

    /// Errors that say what the hub knows of this server is out of date.
    fn heed(&self, error: &Message) {
        let code = error.scan().error_code.map(|code| error.token(code));
        let is = |other: Code| code.is_some_and(|code| code == other.number().to_string().as_bytes());
        if is(Code::HeaderMismatch) {
            // The schema that said which arguments are repeated in headers has changed.
            self.list_changed.notify_one();
        } else if is(Code::UnsupportedVersion) {
            // The next start finds out what it speaks now.
            self.broken.cancel();
        }
    }

    fn take(&self, wire: WireId) -> Option<Waiter> {
        let mut core = self.lock();
        let waiter = core.connection.handle_answer(wire);
        waiter.iter().for_each(|waiter| core.forget(waiter));
        self.make_room(&core, 1);
        waiter
    }

    /// `wire`: the call on whose stream it came; `None`: a stream that belongs to no call.
    pub(super) fn handle_notification(self: &Arc<Self>, wire: Option<WireId>, message: Message) {
        match message.method() {
            Method::Progress => {
                let wire = message.scan().progress_token.and_then(|token| WireId::parse(message.token(token)));
                if let Some(wire) = wire {
                    self.handle_progress(wire, message);
                }
            }
            Method::ToolsListChanged | Method::PromptsListChanged | Method::ResourcesListChanged => self.list_changed.notify_one(),
            Method::Cancelled => self.handle_cancelled(&message),
            // Bounded in bytes by this; in count by whoever keeps them.
            method if message.bytes().len() > limits::NOTE_BYTES_MAX => {
                let bytes = message.bytes().len();
                tracing::debug!(server = %self.dial.server(), method = method.as_str(), bytes, "notification too large, dropped");
            }
            Method::ResourcesUpdated => self.dial.outlet.tell(What::Updated(message)),
            Method::ElicitationComplete => self.handle_elicited(message),
            method => {
                let is_log = method == Method::LogMessage;
                match self.inbox_of(wire) {
                    Some(inbox) => inbox.note(message),
                    None if is_log => self.dial.outlet.tell(What::Log(message)),
                    None => self.dial.outlet.tell(What::Note(message)),
                }
            }
        }
    }

    fn handle_progress(&self, wire: WireId, message: Message) {
        let now = Instant::now();
        let inbox = {
            let mut core = self.lock();
            let waiter = core.connection.handle_progress(wire, now.into_std());
            waiter.filter(|waiter| waiter.wants.progress).and_then(|waiter| waiter.inbox.clone())
        };
        if let Some(inbox) = inbox.filter(|_| message.bytes().len() <= limits::PROGRESS_BYTES_MAX) {
            inbox.progress(message, now);
        }
    }

    /// The work behind an elicitation by URL is done: of interest to whoever was asked, who may have left since.
    fn handle_elicited(&self, message: Message) {
        let core = self.lock();
        let asked = core.connection.open_calls().filter(|(_, waiter)| waiter.wants.asks);
        let inboxes: Vec<_> = asked.filter_map(|(_, waiter)| waiter.inbox.clone()).collect();
        drop(core);
        for inbox in inboxes {
            inbox.note(message.clone());
        }
        self.dial.outlet.tell(What::Note(message));
    }

    /// A request of the server's own.
    pub(super) fn handle_request(self: &Arc<Self>, wire: Option<WireId>, request: Message) {
        let is_handshake = self.version().is_some_and(|version| version.era() == Era::Handshake);
        match request.id() {
            Some(id) if is_handshake && request.method() != Method::Ping => self.handle_question(wire, &id, request),
            // 2026-07-28 knows no requests of servers, and no way to answer one.
            _ if self.is_stateless() => tracing::debug!(server = %self.dial.server(), "a request of a server that may send none"),
            _ => self.answer(&request),
        }
    }

    /// One on the stream of a call is for its caller, and nobody else. Outside of them, for the newest who can be asked.
    fn handle_question(self: &Arc<Self>, wire: Option<WireId>, id: &RequestId, request: Message) {
        let (inbox, serial) = {
            let mut core = self.lock();
            if core.is_closed || core.questions.is_open(id) {
                tracing::debug!(server = %self.dial.server(), "a question under the id of one that is open");
                return;
            }
            let asked = match wire {
                Some(wire) => core.connection.open_calls().find(|(open, waiter)| *open == wire && waiter.can_be_asked()),
                None => core.connection.newest(Waiter::can_be_asked),
            };
            let inbox = asked.and_then(|(_, waiter)| waiter.inbox.clone());
            let has_somebody = inbox.is_some() || (wire.is_none() && self.dial.outlet.takes_questions());
            if !core.questions.has_room() || !has_somebody {
                drop(core);
                tracing::debug!(server = %self.dial.server(), method = request.method().as_str(), "a question that nobody can be asked");
                return self.answer(&request);
            }
            let waits = |open: WireId, waiter: &Waiter| wire.map_or_else(|| waiter.can_be_asked(), |wire| wire == open);
            let paused: Vec<_> = core.connection.open_calls().filter(|(open, waiter)| waits(*open, waiter)).map(|(open, _)| open).collect();
            for wire in &paused {
                core.connection.pause(*wire);
            }
            let serial = core.questions.open(id.clone(), inbox.as_ref().map(Arc::downgrade), paused);
            (inbox, serial)
        };
        let (shared, id) = (Arc::clone(self), id.clone());
        let question = Question::new(request, Box::new(move |response| shared.handle_reply(&id, serial, response)));
        match inbox {
            // One that is handed back is answered by being dropped.
            Some(inbox) => drop(inbox.ask(question)),
            None => self.dial.outlet.tell(What::Question(question)),
        }
    }

    /// Somebody answered a question; too late if it was taken back.
    fn handle_reply(self: &Arc<Self>, id: &RequestId, serial: u64, response: Bytes) {
        let now = Instant::now();
        {
            let mut core = self.lock();
            let Some(asked) = core.questions.close(id, serial) else { return };
            core.resume(&asked, now);
            if core.is_closed {
                return;
            }
        }
        self.timer.notify_one();
        // None is dropped for want of room: there are no more than questions, which are bounded.
        let shared = Arc::clone(self);
        self.tasks.spawn(async move { call::tell(&shared, response).await });
    }

    /// The server takes a question back.
    fn handle_cancelled(&self, message: &Message) {
        let Some(id) = message.scan().request_id.and_then(|span| message.request_id_at(span)) else { return };
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
            None => self.dial.outlet.tell(What::Withdrawn(id)),
        }
    }

    fn inbox_of(&self, wire: Option<WireId>) -> Option<Arc<Inbox>> {
        let wire = wire?;
        self.lock().connection.open_calls().find(|(open, _)| *open == wire).and_then(|(_, waiter)| waiter.inbox.clone())
    }

    /// By the hub itself: `ping`, and what nobody can be asked.
    fn answer(self: &Arc<Self>, request: &Message) {
        if let Some(line) = outgoing::answer_server(request) {
            self.note(line);
        }
    }

    /// Sends what needs no answer. `false` when there was no room for it.
    pub(super) fn note(self: &Arc<Self>, line: Bytes) -> bool {
        let Ok(place) = Arc::clone(&self.notes).try_acquire_owned() else {
            self.counts.dropped_notes.fetch_add(1, Ordering::Relaxed);
            return false;
        };
        let shared = Arc::clone(self);
        self.tasks.spawn(async move {
            call::tell(&shared, line).await;
            drop(place);
        });
        true
    }

    fn handle_timeout(self: &Arc<Self>, now: Instant) {
        let mut expired = Vec::new();
        {
            let mut core = self.lock();
            core.connection.handle_timeout(now.into_std(), &mut expired);
            expired.iter().for_each(|(_, waiter)| core.forget(waiter));
            self.make_room(&core, expired.len());
        }
        for (wire, waiter) in expired {
            self.tell_cancelled(wire, Some("timeout"));
            let error = UpstreamError::timed_out(self.dial.server(), waiter.deadline.call);
            waiter.end(Event::Failed(error));
        }
    }

    /// In 2026-07-28 the end of the stream says it all.
    fn tell_cancelled(self: &Arc<Self>, wire: WireId, reason: Option<&str>) {
        if let Some(version) = self.version().filter(|version| version.era() == Era::Handshake) {
            self.note(outgoing::cancelled(wire, reason, version));
        }
    }

    /// What the headers of a request repeat (MCP 2026-07-28, Streamable HTTP).
    fn names(&self, opening: Option<&Opening<'_>>, line: &Bytes) -> Option<HeaderMap> {
        if self.version()? != Version::STATELESS {
            return None;
        }
        let Some(opening) = opening.filter(|opening| !opening.method.is_empty()) else { return Some(names_of(line)) };
        let mut names = HeaderMap::with_capacity(2 + opening.headers.len());
        put(&mut names, METHOD, opening.method);
        opening.name.into_iter().for_each(|name| put(&mut names, NAME, name));
        for (name, value) in opening.headers {
            if let Ok(name) = HeaderName::from_bytes(format!("mcp-param-{name}").as_bytes()) {
                put(&mut names, name, value);
            }
        }
        Some(names)
    }

    fn has_room(&self, core: &Core) -> bool {
        core.calls() < self.dial.bounds.queue && self.bytes.load(Ordering::Relaxed) < limits::REMOTE_BYTES_MAX
    }

    /// Wakes as many of those who wait as may find room.
    fn make_room(&self, core: &Core, freed: usize) {
        for _ in 0..freed.min(core.waiting) {
            self.room.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        // A panic under the lock is one caller's; the core itself is never left half changed by it.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn head<'a>(&self, session: &'a Session, names: Option<&'a HeaderMap>) -> Head<'a> {
        Head { version: self.version(), session: session.id.as_ref(), names }
    }
}

impl Core {
    fn calls(&self) -> usize {
        self.connection.in_flight().saturating_sub(self.quiet)
    }

    fn forget(&mut self, over: &Waiter) {
        self.quiet -= usize::from(over.wants.is_quiet);
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
            self.0.room.notify_waiters();
        }
    }
}

/// Ends with the link.
async fn deadlines(shared: Arc<Shared>) {
    loop {
        let due = {
            let mut core = shared.lock();
            core.armed = core.connection.poll_timeout().map(Instant::from_std);
            core.armed
        };
        tokio::select! {
            () = shared.closed.cancelled() => return,
            () = shared.timer.notified() => {}
            () = sleep_until(due.unwrap_or_else(|| Instant::now() + FAR)) => shared.handle_timeout(Instant::now()),
        }
    }
}

const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");

fn put(names: &mut HeaderMap, name: HeaderName, value: &str) {
    // What was encoded is printable, so it always can be carried.
    if let Ok(value) = HeaderValue::from_str(&header::encode(value)) {
        names.insert(name, value);
    }
}

/// Of a request of the hub's own, for which nobody said them.
pub(super) fn names_of(line: &Bytes) -> HeaderMap {
    let mut names = HeaderMap::new();
    if let Ok(message) = Message::parse(line.clone()) {
        put(&mut names, METHOD, message.method().as_str());
        if let Some(name) = message.name().filter(|_| matches!(message.method(), Method::ToolsCall | Method::PromptsGet)) {
            put(&mut names, NAME, &name);
        }
    }
    names
}

/// HTTP needs no line end.
fn without_end(line: Bytes) -> Bytes {
    let len = line.trim_ascii_end().len();
    line.slice(..len)
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
