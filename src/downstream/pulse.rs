//! Where one connection stands and since when, so that a single sweeper can close the overdue ones: a request costs a few relaxed
//! stores here instead of a timer. Time is counted in ticks of the sweeper.
//!
//! ```text
//! Fresh --byte--> Head --service--> Handling <--> Body        Handling --upgraded--> Upgraded
//!                  ^                    |
//!                  +---byte--- Idle <---+ response over       any --poll_shutdown--> Lingering
//! ```
//! The connection's task alone moves the phase; the sweeper reads it, gives orders and wakes the task.

use crate::limits;
use futures_util::task::AtomicWaker;
use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release},
    },
    task::{Context, Poll},
    time::Duration,
};

/// The length of a tick: deadlines are met within one of it, never early.
pub const TICK: Duration = Duration::from_secs(1);

/// Counts ticks from 1.
#[derive(Debug)]
pub(super) struct Clock(AtomicU32);
impl Default for Clock {
    fn default() -> Self {
        Self(AtomicU32::new(1))
    }
}
impl Clock {
    pub(super) fn now(&self) -> u32 {
        self.0.load(Relaxed)
    }
    pub(super) fn advance(&self) -> u32 {
        self.0.fetch_add(1, Relaxed) + 1
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    Fresh,
    Idle,
    Head,
    Handling,
    Body,
    Upgraded,
    Lingering,
}
impl Phase {
    const ALL: [Self; 7] = [Self::Fresh, Self::Idle, Self::Head, Self::Handling, Self::Body, Self::Upgraded, Self::Lingering];

    /// How long a connection may stay in it.
    const fn limit(self) -> Option<Duration> {
        match self {
            Self::Fresh => Some(limits::FIRST_BYTE),
            Self::Idle => Some(limits::KEEP_ALIVE),
            Self::Head => Some(limits::HEADERS_WAIT),
            Self::Body => Some(limits::BODY_WAIT),
            Self::Lingering => Some(limits::LINGER),
            Self::Handling | Self::Upgraded => None,
        }
    }
}

/// What the sweeper, or the drain, tells a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Order {
    Go,
    /// Finish what is running, then close.
    Drain,
    Close,
}

/// One connection's state.
#[derive(Debug)]
pub struct Pulse {
    clock: Arc<Clock>,
    /// Phase in the upper half, the tick it began in the lower.
    phase: AtomicU64,
    last_read: AtomicU32,
    /// The tick at which a write began to wait; 0 while none does.
    write_waits: AtomicU32,
    /// The tick at which the task wants to be woken; 0 for never.
    alarm: AtomicU32,
    order: AtomicU8,
    /// The request's body, or some of it, was not taken.
    body_left: AtomicBool,
    waker: AtomicWaker,
}

impl Pulse {
    pub(super) fn new(clock: Arc<Clock>) -> Arc<Self> {
        let pulse = Self {
            phase: AtomicU64::new(0),
            last_read: AtomicU32::new(0),
            write_waits: AtomicU32::new(0),
            alarm: AtomicU32::new(0),
            order: AtomicU8::new(Order::Go as u8),
            body_left: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            clock,
        };
        pulse.enter(Phase::Fresh);
        Arc::new(pulse)
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(u64::from(phase as u8) << 32 | u64::from(self.clock.now()), Relaxed);
    }
    fn phase(&self) -> (Phase, u32) {
        let packed = self.phase.load(Relaxed);
        (Phase::ALL.get((packed >> 32) as usize).copied().unwrap_or(Phase::Fresh), packed as u32)
    }

    /// Bytes came in.
    pub(super) fn on_read(&self) {
        self.last_read.store(self.clock.now(), Relaxed);
        if matches!(self.phase().0, Phase::Fresh | Phase::Idle) {
            self.enter(Phase::Head);
        }
    }
    pub(super) fn on_write_waits(&self) {
        if self.write_waits.load(Relaxed) == 0 {
            self.write_waits.store(self.clock.now(), Relaxed);
        }
    }
    pub(super) fn on_write(&self) {
        if self.write_waits.load(Relaxed) != 0 {
            self.write_waits.store(0, Relaxed);
        }
    }
    /// The head of a request is complete; the guard goes into the response's body.
    pub(super) fn on_request(self: &Arc<Self>, has_body: bool) -> InService {
        self.enter(Phase::Handling);
        self.body_left.store(has_body, Relaxed);
        InService(self.clone())
    }
    /// The handler waits for more of the body.
    pub(super) fn on_body_wait(&self) {
        if self.phase().0 != Phase::Body {
            self.enter(Phase::Body);
        }
    }
    pub(super) fn on_body_end(&self) {
        self.body_left.store(false, Relaxed);
        if self.phase().0 == Phase::Body {
            self.enter(Phase::Handling);
        }
    }
    /// Nothing written before still waits for the client to read.
    pub(super) fn is_written(&self) -> bool {
        self.write_waits.load(Relaxed) == 0
    }
    /// Between two requests, or before the first one: nothing is asked, and all answers are on their way.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.phase().0, Phase::Fresh | Phase::Idle) && self.is_written()
    }
    /// It has asked nothing yet, or not all of it.
    pub(super) fn has_not_asked(&self) -> bool {
        matches!(self.phase().0, Phase::Fresh | Phase::Head)
    }
    pub(super) fn has_body_left(&self) -> bool {
        self.body_left.load(Relaxed)
    }
    pub(super) fn on_upgrade(&self) {
        self.enter(Phase::Upgraded);
    }
    /// Its place is about to be given back.
    pub(super) fn on_end(&self) {
        self.enter(Phase::Lingering);
    }
    pub(super) fn on_shutdown(&self) {
        if self.phase().0 != Phase::Lingering {
            self.enter(Phase::Lingering);
        }
    }

    /// Has it been where it is for too long?
    pub(super) fn is_overdue(&self, now: u32) -> bool {
        let past = |since: u32, limit: Duration| u64::from(now.saturating_sub(since)) > limit.as_secs() / TICK.as_secs();
        let (phase, since) = self.phase();
        let write_waits = self.write_waits.load(Relaxed);
        phase.limit().is_some_and(|limit| past(since, limit))
            || phase == Phase::Body && past(self.last_read.load(Relaxed).max(since), limits::BODY_PAUSE)
            || write_waits != 0 && phase != Phase::Upgraded && past(write_waits, limits::WRITE_STALL)
    }

    pub(super) fn order(&self) -> Order {
        match self.order.load(Acquire) {
            0 => Order::Go,
            1 => Order::Drain,
            _ => Order::Close,
        }
    }
    pub(super) fn give(&self, order: Order) {
        self.order.fetch_max(order as u8, Release);
        self.waker.wake();
    }
    /// Wakes the task when its alarm is due.
    pub(super) fn ring(&self, now: u32) {
        let alarm = self.alarm.load(Relaxed);
        if alarm != 0 && alarm <= now {
            self.alarm.store(0, Relaxed);
            self.waker.wake();
        }
    }
    pub(super) fn register(&self, cx: &Context<'_>) {
        self.waker.register(cx.waker());
    }

    /// Resolves after `wait`, within a tick. Only for futures and bodies polled by the connection's own task; one at a time.
    pub fn alarm(self: &Arc<Self>, wait: Duration) -> Alarm {
        let ticks = u32::try_from(wait.as_secs() / TICK.as_secs()).unwrap_or(u32::MAX);
        Alarm { at: self.clock.now().saturating_add(ticks).saturating_add(1), pulse: self.clone() }
    }
}

/// A timer that costs two atomic operations.
#[must_use = "does nothing unless polled"]
pub struct Alarm {
    pulse: Arc<Pulse>,
    at: u32,
}
impl Future for Alarm {
    type Output = ();
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.pulse.clock.now() >= self.at {
            return Poll::Ready(());
        }
        // A tick that passes just here misses it; the next one does not.
        self.pulse.alarm.store(self.at, Relaxed);
        Poll::Pending
    }
}

/// A request is being answered; dropped when its response is over.
#[derive(Debug)]
pub(super) struct InService(Arc<Pulse>);
impl Drop for InService {
    fn drop(&mut self) {
        if self.0.phase().0 != Phase::Upgraded {
            self.0.enter(Phase::Idle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pulse() -> (Arc<Clock>, Arc<Pulse>) {
        let clock = Arc::new(Clock::default());
        (clock.clone(), Pulse::new(clock))
    }
    /// The tick at which it becomes overdue, from now on, within `most`.
    fn overdue_after(clock: &Clock, pulse: &Pulse, most: u32) -> Option<u32> {
        let start = clock.now();
        (1..=most).find(|_| pulse.is_overdue(clock.advance())).map(|_| clock.now() - start)
    }

    #[test]
    fn a_silent_connection_is_overdue_just_after_the_first_byte_limit() {
        let (clock, pulse) = pulse();
        assert_eq!(overdue_after(&clock, &pulse, 99), Some(11));
    }
    #[test]
    fn a_trickled_head_does_not_extend_its_deadline() {
        let (clock, pulse) = pulse();
        pulse.on_read();
        for _ in 0..10 {
            assert!(!pulse.is_overdue(clock.advance()));
            pulse.on_read();
        }
        assert!(pulse.is_overdue(clock.advance()));
    }
    #[test]
    fn a_handler_may_take_its_time_and_idling_counts_from_the_end_of_the_response() {
        let (clock, pulse) = pulse();
        pulse.on_read();
        let serving = pulse.on_request(false);
        assert_eq!(overdue_after(&clock, &pulse, 5000), None);
        drop(serving);
        assert_eq!(overdue_after(&clock, &pulse, 99), Some(76));
    }
    #[test]
    fn a_body_is_bounded_in_its_pauses_and_as_a_whole() {
        let (clock, pulse) = pulse();
        let _serving = pulse.on_request(false);
        pulse.on_body_wait();
        assert_eq!(overdue_after(&clock, &pulse, 99), Some(11));

        let (clock, pulse) = self::pulse();
        let _serving = pulse.on_request(false);
        pulse.on_body_wait();
        let lasted = (1..99).find(|_| {
            pulse.on_read();
            pulse.is_overdue(clock.advance())
        });
        assert_eq!(lasted, Some(61));
        pulse.on_body_end();
        assert!(!pulse.is_overdue(clock.now()));
    }
    #[test]
    fn a_write_that_makes_no_progress_is_overdue_and_one_that_does_is_not() {
        let (clock, pulse) = pulse();
        let _serving = pulse.on_request(false);
        pulse.on_write_waits();
        assert_eq!(overdue_after(&clock, &pulse, 30), None);
        pulse.on_write();
        pulse.on_write_waits();
        assert_eq!(overdue_after(&clock, &pulse, 99), Some(31));
    }
    #[test]
    fn an_upgraded_connection_is_left_alone() {
        let (clock, pulse) = pulse();
        let serving = pulse.on_request(false);
        pulse.on_upgrade();
        drop(serving);
        pulse.on_read();
        pulse.on_write_waits();
        assert_eq!(overdue_after(&clock, &pulse, 5000), None);
    }
    #[test]
    fn orders_only_grow_stricter() {
        let (_, pulse) = pulse();
        pulse.give(Order::Close);
        pulse.give(Order::Drain);
        assert_eq!(pulse.order(), Order::Close);
    }
}
