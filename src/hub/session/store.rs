//! What a session's streams said, kept for a client that lost one and comes back for the rest (MCP 2025-03-26 to 2025-11-25,
//! Streamable HTTP, resumability).
//!
//! Stream 0 carries what was not asked for, over all its connections; every other is that of one POST. An event is kept where it
//! was said and nowhere else.

use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker, ready},
};

use tokio::time::Instant;

use super::{Mail, Session};
use crate::{
    limits,
    protocol::{Body, Version, sse},
};

/// `3-17`, the seventeenth event of stream 3; `3-0` is where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventId {
    stream: u32,
    sequence: u64,
}

impl EventId {
    /// Exactly what `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        let number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u64>().ok())?;
        let (stream, sequence) = text.split_once('-')?;
        Some(Self { stream: number(stream)?.try_into().ok()?, sequence: number(sequence)? })
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.stream, self.sequence)
    }
}

/// An event without a message, so that the client has an id to come back with.
fn priming(last: EventId) -> Body {
    let event = sse::Event { id: Some(last.to_string()), retry_ms: Some(limits::SSE_RETRY_MS), ..sse::Event::default() };
    Body::one(sse::event(&event))
}

/// Bytes kept for all sessions together.
#[derive(Debug, Default)]
pub(super) struct Budget(AtomicUsize);

impl Budget {
    /// `false` when they would be more than `limits::KEPT_BYTES_MAX`.
    pub(super) fn take(&self, bytes: usize) -> bool {
        let fits = |kept: usize| Some(kept + bytes).filter(|kept| *kept <= limits::KEPT_BYTES_MAX);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    /// Even so; `true`.
    fn force(&self, bytes: usize) -> bool {
        self.0.fetch_add(bytes, Ordering::Relaxed);
        true
    }

    pub(super) fn taken(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn give(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The last events of one stream: at most `limits::EVENTS_MAX`, and `limits::EVENTS_BYTES_MAX` bytes or one event.
struct Tape {
    number: u32,
    budget: Arc<Budget>,
    reel: Mutex<Reel>,
}

#[derive(Default)]
struct Reel {
    /// Framed, with their numbers.
    events: VecDeque<(u64, Body)>,
    bytes: usize,
    /// The number of the last event.
    last: u64,
    /// Since when nothing follows.
    over: Option<Instant>,
    /// Who sends the stream; the last to come.
    reader: u32,
    waker: Option<Waker>,
    /// A client is coming back for it now, and must miss nothing.
    is_replayed: bool,
    /// Nobody can come back for it any more.
    is_dropped: bool,
}

impl Tape {
    fn new(number: u32, budget: &Arc<Budget>) -> Arc<Self> {
        Arc::new(Self { number, budget: Arc::clone(budget), reel: Mutex::default() })
    }

    /// The message as the stream's next event, kept.
    fn record(&self, message: Body) -> Body {
        let (frame, waker) = self.with_reel(|reel| {
            reel.last += 1;
            let id = EventId { stream: self.number, sequence: reel.last };
            let frame = sse::numbered(&id.to_string(), message);
            self.keep(reel, frame.clone());
            (frame, reel.waker.take())
        });
        if let Some(waker) = waker {
            waker.wake();
        }
        frame
    }

    fn keep(&self, reel: &mut Reel, frame: Body) {
        let len = frame.len();
        while reel.events.len() >= limits::EVENTS_MAX || !reel.events.is_empty() && reel.bytes + len > limits::EVENTS_BYTES_MAX {
            let first = reel.events.pop_front().map_or(0, |(_, event)| event.len());
            reel.bytes -= first;
            self.budget.give(first);
        }
        // The budget is overdrawn by no more than what clients read at this moment.
        let has_room = !reel.is_dropped && (self.budget.take(len) || reel.is_replayed && self.budget.force(len));
        if has_room {
            reel.bytes += len;
            reel.events.push_back((reel.last, frame));
        }
    }

    fn finish(&self) {
        let waker = self.with_reel(|reel| {
            reel.over.get_or_insert_with(Instant::now);
            reel.waker.take()
        });
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn last(&self) -> EventId {
        EventId { stream: self.number, sequence: self.with_reel(|reel| reel.last) }
    }

    /// The next sender: any other hears that it is none any more.
    fn attach(&self, is_replay: bool) -> u32 {
        let (reader, waker) = self.with_reel(|reel| {
            reel.reader = reel.reader.wrapping_add(1);
            reel.is_replayed = is_replay;
            (reel.reader, reel.waker.take())
        });
        if let Some(waker) = waker {
            waker.wake();
        }
        reader
    }

    fn after(&self, sequence: u64) -> Vec<Body> {
        self.with_reel(|reel| reel.events.iter().filter(|(number, _)| *number > sequence).map(|(_, event)| event.clone()).collect())
    }

    fn with_reel<T>(&self, then: impl FnOnce(&mut Reel) -> T) -> T {
        then(&mut self.reel.lock().expect("no panic under this lock"))
    }
}

impl Drop for Tape {
    fn drop(&mut self) {
        self.budget.give(self.with_reel(|reel| reel.bytes));
    }
}

/// The streams of one session. Nothing is allocated before the first event.
#[derive(Default)]
pub(super) struct Streams {
    unasked: Option<Arc<Tape>>,
    requests: Vec<Arc<Tape>>,
    last: u32,
}

impl Streams {
    fn unasked(&mut self, budget: &Arc<Budget>) -> &Arc<Tape> {
        self.unasked.get_or_insert_with(|| Tape::new(0, budget))
    }

    /// `None` with `limits::STREAMS_MAX` that are not over.
    fn open(&mut self, budget: &Arc<Budget>) -> Option<Arc<Tape>> {
        if self.requests.len() >= limits::STREAMS_MAX {
            let is_over = |tape: &Arc<Tape>| tape.with_reel(|reel| reel.over.is_some());
            let oldest = self.requests.iter().position(is_over)?;
            drop(self.requests.remove(oldest));
        }
        self.last += 1;
        let tape = Tape::new(self.last, budget);
        self.requests.push(Arc::clone(&tape));
        Some(tape)
    }

    /// Forgets the streams that were over for `limits::STREAM_KEPT`.
    fn tidy(&mut self, now: Instant) {
        let is_past = |since: Instant| now.saturating_duration_since(since) > limits::STREAM_KEPT;
        self.requests.retain(|tape| tape.with_reel(|reel| !reel.over.is_some_and(is_past)));
    }

    fn clear(&mut self) {
        let tapes = std::mem::take(&mut self.requests);
        for tape in self.unasked.take().into_iter().chain(tapes) {
            let waker = tape.with_reel(|reel| {
                tape.budget.give(std::mem::take(&mut reel.bytes));
                reel.events = VecDeque::new();
                reel.is_dropped = true;
                reel.over.get_or_insert_with(Instant::now);
                reel.waker.take()
            });
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

/// One request's stream, from the side that writes it.
pub struct Recorder {
    tape: Arc<Tape>,
    reader: u32,
    primes: bool,
}

impl Recorder {
    /// What such a stream begins with, in the revision that has such a thing.
    pub fn prime(&self) -> Option<Body> {
        self.primes.then(|| priming(self.tape.last()))
    }

    /// The message, framed as the stream's next event.
    pub fn record(&self, message: Body) -> Body {
        self.tape.record(message)
    }

    /// The client has come back for the stream: nobody reads this connection.
    pub fn is_replaced(&self) -> bool {
        self.tape.with_reel(|reel| reel.reader != self.reader)
    }
}

/// Nothing follows.
impl Drop for Recorder {
    fn drop(&mut self) {
        self.tape.finish();
    }
}

/// The rest of a request's stream.
pub struct Replay {
    tape: Arc<Tape>,
    reader: u32,
    after: u64,
}

impl Replay {
    /// The next event, framed; `None` after the last, or when the client has come back once more. Cancel-safe.
    pub async fn next(&mut self) -> Option<Body> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &Context<'_>) -> Poll<Option<Body>> {
        self.tape.with_reel(|reel| {
            if reel.reader != self.reader {
                return Poll::Ready(None);
            }
            let next = reel.events.partition_point(|(number, _)| *number <= self.after);
            if let Some((number, event)) = reel.events.get(next) {
                self.after = *number;
                return Poll::Ready(Some(event.clone()));
            }
            if reel.over.is_some() {
                return Poll::Ready(None);
            }
            reel.waker = Some(cx.waker().clone());
            Poll::Pending
        })
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        self.tape.with_reel(|reel| {
            if reel.reader == self.reader {
                reel.is_replayed = false;
            }
        });
    }
}

/// What a client that comes back gets.
pub enum Resumed {
    /// What was not asked for: events that it may have missed, then the mail.
    Unasked(Vec<Body>, Mail),
    /// The rest of a request's stream, and then its end.
    Request(Replay),
}

impl Session {
    /// Keeps a stream for a request's notices and answer. `None` in revisions without, and with too many open.
    pub fn recorder(&self) -> Option<Recorder> {
        if !self.resumes() {
            return None;
        }
        let tape = self.with_streams(|streams| streams.open(&self.home.budget))?;
        Some(Recorder { reader: tape.attach(false), tape, primes: self.primes() })
    }

    /// The stream after this event, whoever has it now. `None` for a stream that is not kept, or not any more.
    pub fn resume(self: &Arc<Self>, id: EventId) -> Option<Resumed> {
        if !self.resumes() {
            return None;
        }
        if id.stream == 0 {
            // In one step: whoever had the mail records nothing behind our back.
            return Some(self.with_streams(|streams| {
                let mail = self.take_over_mail();
                let missed = streams.unasked.as_ref().map(|tape| tape.after(id.sequence));
                Resumed::Unasked(missed.unwrap_or_default(), mail)
            }));
        }
        let tape = self.with_streams(|streams| streams.requests.iter().find(|tape| tape.number == id.stream).cloned())?;
        Some(Resumed::Request(Replay { reader: tape.attach(true), tape, after: id.sequence }))
    }

    pub(super) fn tidy_streams(&self, now: Instant) {
        self.with_streams(|streams| streams.tidy(now));
    }

    pub(super) fn drop_streams(&self) {
        self.with_streams(Streams::clear);
    }

    fn resumes(&self) -> bool {
        matches!(self.version(), Some(Version::V2025_03_26 | Version::V2025_06_18 | Version::V2025_11_25))
    }

    /// Older clients take every event for a message.
    fn primes(&self) -> bool {
        self.version() == Some(Version::V2025_11_25)
    }

    fn with_streams<T>(&self, then: impl FnOnce(&mut Streams) -> T) -> T {
        then(&mut self.streams.lock().expect("no panic under this lock"))
    }
}

impl Mail {
    /// What the stream begins with, in the revision that has such a thing.
    pub fn prime(&self) -> Option<Body> {
        let session = self.session();
        let last = || session.with_streams(|streams| streams.unasked.as_ref().map(|tape| tape.last()));
        session.primes().then(|| priming(last().unwrap_or(EventId { stream: 0, sequence: 0 })))
    }

    /// As `next`, framed as an event and kept where the revision knows resumption. Cancel-safe.
    pub async fn next_event(&mut self) -> Option<Body> {
        if !self.session().resumes() {
            return self.next().await.map(sse::message);
        }
        poll_fn(|cx| {
            let session = self.session();
            session.with_streams(|streams| {
                let message = ready!(self.poll_next(cx));
                Poll::Ready(message.map(|message| streams.unasked(&session.home.budget).record(message)))
            })
        })
        .await
    }
}
