//! Open calls of one connection, with their deadlines.
//!
//! There is no timer per call: each call keeps when it is due, the connection keeps a lower bound of the earliest. `handle_timeout` sweeps the slab,
//! at most once in `SWEEP`, and finds the bound anew. With calls of 60 s that is about one sweep a minute, whatever the number of calls.
//!
//! ```text
//! open ──► in flight ──► handle_answer          answered
//!              │  ▲ └──► cancel                 cancelled
//!              │  └─── handle_progress (renews), pause and resume (the hard deadline only, in between)
//!              ├───────► handle_timeout         expired
//!              └───────► close                  abandoned
//! ```

use super::{
    WireId,
    pending::{End, Past, Pending},
};
use std::time::{Duration, Instant};

/// Expired calls are collected this long, so that a burst of them costs one sweep.
const SWEEP: Duration = Duration::from_millis(10);
/// Stands for "never", and keeps instants from overflowing.
const FAR: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// How long a call may take: `call` renewed by progress, never past `call_max`.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    pub call: Duration,
    pub call_max: Duration,
}

/// Counts since the connection opened. `opened` = `answered` + `cancelled` + `expired` + `abandoned` + in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub opened: u64,
    pub answered: u64,
    pub cancelled: u64,
    pub expired: u64,
    /// open when the connection closed
    pub abandoned: u64,
    /// answers to calls already over
    pub late: u64,
    /// second answers to a call, where its slot was not reused in between (else they count as late)
    pub repeated: u64,
    /// answers to ids never given
    pub unknown: u64,
    /// progress of calls that are not open
    pub progress_dropped: u64,
}

/// Open calls of one connection; `T` is what the shell needs to reach the caller.
#[derive(Debug)]
pub struct Connection<T> {
    calls: Pending<Call<T>>,
    in_flight_max: usize,
    /// Not later than any call is due. `None` when nothing is open.
    earliest: Option<Instant>,
    /// No sweep before this.
    rest_until: Option<Instant>,
    closed: bool,
    counters: Counters,
}

#[derive(Debug)]
struct Call<T> {
    caller: T,
    due: Instant,
    due_max: Instant,
    renewal: Duration,
    /// How often `pause` came without its `resume`.
    pauses: u16,
    /// Place in the order of opening.
    serial: u64,
}

/// No further call can be opened now, or, on a closed connection, ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{in_flight_max} calls are already in flight")]
pub struct Full {
    pub in_flight_max: usize,
}

impl<T> Connection<T> {
    /// At most 65,536 calls in flight, whatever is asked for.
    pub fn new(in_flight_max: usize) -> Self {
        Self {
            calls: Pending::new(in_flight_max),
            in_flight_max,
            earliest: None,
            rest_until: None,
            closed: false,
            counters: Counters::default(),
        }
    }

    /// Takes a slot for a call, due at `now + call`.
    ///
    /// # Errors
    /// Hands the caller back when `in_flight_max` calls are open or the connection is closed.
    pub fn open(&mut self, caller: T, deadline: Deadline, now: Instant) -> Result<WireId, (Full, T)> {
        let full = Full { in_flight_max: self.in_flight_max };
        if self.closed {
            return Err((full, caller));
        }
        let due_max = after(now, deadline.call_max);
        let due = after(now, deadline.call).min(due_max);
        let call = Call { caller, due, due_max, renewal: deadline.call, pauses: 0, serial: self.counters.opened };
        let id = self.calls.open(call).map_err(|call| (full, call.caller))?;
        self.counters.opened += 1;
        self.earliest = Some(self.earliest.map_or(due, |earliest| earliest.min(due)));
        Ok(id)
    }

    /// The caller of an answer, its slot freed; `None` (counted) for late, repeated and unknown answers.
    pub fn handle_answer(&mut self, id: WireId) -> Option<T> {
        let caller = self.free(id, End::Answered);
        match caller {
            Some(_) => self.counters.answered += 1,
            None => match self.calls.past(id) {
                Past::Unknown => self.counters.unknown += 1,
                Past::Repeated => self.counters.repeated += 1,
                Past::Late => self.counters.late += 1,
            },
        }
        caller
    }

    /// The caller of a progress notification, its deadline renewed; `None` (counted) when its call is not open.
    pub fn handle_progress(&mut self, id: WireId, now: Instant) -> Option<&mut T> {
        let Some(call) = self.calls.get_mut(id) else {
            self.counters.progress_dropped += 1;
            return None;
        };
        // Only ever later, so `earliest` stays a lower bound.
        call.due = after(now, call.renewal).min(call.due_max).max(call.due);
        Some(&mut call.caller)
    }

    /// The server waits for somebody else: until as many `resume`, only its hard deadline ends the call. `false`: it is not open.
    pub fn pause(&mut self, id: WireId) -> bool {
        let Some(call) = self.calls.get_mut(id) else { return false };
        call.pauses = call.pauses.saturating_add(1);
        // Only ever later, so `earliest` stays a lower bound.
        call.due = call.due_max;
        true
    }

    /// Ends one `pause`; after the last the call is due as if it had been opened now.
    pub fn resume(&mut self, id: WireId, now: Instant) {
        let Some(call) = self.calls.get_mut(id).filter(|call| call.pauses > 0) else { return };
        call.pauses -= 1;
        if call.pauses == 0 {
            call.due = after(now, call.renewal).min(call.due_max);
            self.earliest = Some(self.earliest.map_or(call.due, |earliest| earliest.min(call.due)));
        }
    }

    /// Every open call, in no order. O(slots): not for a call's way.
    pub fn open_calls(&self) -> impl Iterator<Item = (WireId, &T)> {
        self.calls.iter().map(|(id, call)| (id, &call.caller))
    }

    /// The call opened last of those that `is_it` picks. O(slots).
    pub fn newest(&self, is_it: impl Fn(&T) -> bool) -> Option<(WireId, &T)> {
        let picked = self.calls.iter().filter(|(_, call)| is_it(&call.caller));
        picked.max_by_key(|(_, call)| call.serial).map(|(id, call)| (id, &call.caller))
    }

    /// Gives the call up; `Some` exactly once, so that the server is told once.
    pub fn cancel(&mut self, id: WireId) -> Option<T> {
        let caller = self.free(id, End::GivenUp)?;
        self.counters.cancelled += 1;
        Some(caller)
    }

    /// When `handle_timeout` is due: never later than 10 ms after a call is, perhaps earlier. `None` when nothing is open.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let earliest = self.earliest?;
        Some(self.rest_until.map_or(earliest, |rest_until| rest_until.max(earliest)))
    }

    /// Appends the calls that took too long, their slots freed. Does nothing before `poll_timeout`.
    pub fn handle_timeout(&mut self, now: Instant, expired: &mut Vec<(WireId, T)>) {
        if self.poll_timeout().is_none_or(|timeout| now < timeout) {
            return;
        }
        let mut earliest: Option<Instant> = None;
        let mut over = Vec::new();
        let is_over = |call: &Call<T>| {
            let is_over = call.due <= now;
            if !is_over {
                earliest = Some(earliest.map_or(call.due, |earliest| earliest.min(call.due)));
            }
            is_over
        };
        self.calls.free_where(is_over, &mut over);
        self.earliest = earliest;
        self.rest_until = Some(after(now, SWEEP));
        self.counters.expired += over.len() as u64;
        expired.extend(over.into_iter().map(|(id, call)| (id, call.caller)));
    }

    /// Everything still open, in order of opening. A closed connection opens nothing any more.
    pub fn close(&mut self) -> Vec<(WireId, T)> {
        self.closed = true;
        self.earliest = None;
        let mut open = Vec::with_capacity(self.calls.len());
        self.calls.free_where(|_| true, &mut open);
        open.sort_unstable_by_key(|(_, call)| call.serial);
        self.counters.abandoned += open.len() as u64;
        open.into_iter().map(|(id, call)| (id, call.caller)).collect()
    }

    pub fn in_flight(&self) -> usize {
        self.calls.len()
    }

    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn free(&mut self, id: WireId, end: End) -> Option<T> {
        let call = self.calls.free(id, end)?;
        if self.calls.is_empty() {
            self.earliest = None;
        }
        Some(call.caller)
    }
}

fn after(now: Instant, wait: Duration) -> Instant {
    now.checked_add(wait.min(FAR)).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Deadline = Deadline { call: Duration::from_secs(60), call_max: Duration::from_secs(150) };

    /// Seconds from a fixed start.
    struct Clock(Instant);
    impl Clock {
        #[expect(clippy::disallowed_methods, reason = "a test has to start somewhere")]
        fn new() -> Self {
            Self(Instant::now())
        }
        fn at(&self, seconds: u64) -> Instant {
            self.0 + Duration::from_secs(seconds)
        }
    }

    fn expire<T>(connection: &mut Connection<T>, now: Instant) -> Vec<T> {
        let mut expired = Vec::new();
        connection.handle_timeout(now, &mut expired);
        expired.into_iter().map(|(_, caller)| caller).collect()
    }

    #[test]
    fn answers_reach_their_callers_in_any_order() {
        let (clock, mut connection) = (Clock::new(), Connection::new(8));
        let ids: Vec<_> = (0..8).map(|caller| connection.open(caller, DEADLINE, clock.at(0)).unwrap()).collect();
        assert_eq!(connection.open(8, DEADLINE, clock.at(0)), Err((Full { in_flight_max: 8 }, 8)));
        for caller in [3, 0, 7, 1, 2, 6, 5, 4] {
            assert_eq!(connection.handle_answer(ids[caller]), Some(caller));
        }
        assert_eq!(connection.in_flight(), 0);
        assert_eq!(connection.poll_timeout(), None);
        assert_eq!(connection.counters(), Counters { opened: 8, answered: 8, ..Counters::default() });
    }

    #[test]
    fn what_no_caller_waits_for_is_dropped_and_counted_for_what_it_is() {
        let (clock, mut connection) = (Clock::new(), Connection::new(8));
        let answered = connection.open((), DEADLINE, clock.at(0)).unwrap();
        let cancelled = connection.open((), DEADLINE, clock.at(0)).unwrap();
        connection.handle_answer(answered);
        connection.cancel(cancelled);
        for id in [answered, cancelled, WireId::new(5, 1), WireId::new(0, 2), WireId::parse(b"7").unwrap()] {
            assert_eq!(connection.handle_answer(id), None);
            assert_eq!(connection.handle_progress(id, clock.at(1)), None);
            assert_eq!(connection.cancel(id), None);
        }
        let expected =
            Counters { opened: 2, answered: 1, cancelled: 1, late: 1, repeated: 1, unknown: 3, progress_dropped: 5, ..Counters::default() };
        assert_eq!(connection.counters(), expected);
    }

    #[test]
    fn progress_renews_a_call_up_to_its_hard_deadline() {
        let (clock, mut connection) = (Clock::new(), Connection::new(8));
        let id = connection.open('a', DEADLINE, clock.at(0)).unwrap();
        assert_eq!(connection.poll_timeout(), Some(clock.at(60)));
        for second in [50, 100, 140, 149] {
            assert_eq!(connection.handle_progress(id, clock.at(second)), Some(&mut 'a'));
            assert_eq!(expire(&mut connection, clock.at(second + 1)).len(), usize::from(second == 149), "after progress at {second}");
        }
        assert_eq!(connection.counters().expired, 1);
        assert_eq!(connection.handle_answer(id), None);
        assert_eq!(connection.counters().late, 1);
    }

    #[test]
    fn a_paused_call_is_due_at_its_hard_deadline_and_starts_anew_when_all_resume() {
        let (clock, mut connection) = (Clock::new(), Connection::new(8));
        let id = connection.open('a', DEADLINE, clock.at(0)).unwrap();
        let other = connection.open('b', DEADLINE, clock.at(0)).unwrap();
        assert!(connection.pause(id) && connection.pause(id));
        connection.handle_progress(id, clock.at(10));
        assert_eq!(expire(&mut connection, clock.at(60)), ['b']);
        connection.resume(id, clock.at(80));
        assert!(expire(&mut connection, clock.at(100)).is_empty());
        assert!(!connection.pause(other), "it is over");
        connection.resume(other, clock.at(80));
        connection.resume(id, clock.at(70));
        assert_eq!(connection.poll_timeout(), Some(clock.at(130)));
        assert!(connection.pause(id));
        assert_eq!(expire(&mut connection, clock.at(150)), ['a']);
    }

    #[test]
    fn the_newest_of_those_picked_is_found_whatever_its_slot() {
        let (clock, mut connection) = (Clock::new(), Connection::new(8));
        let ids: Vec<_> = (0..4).map(|caller| connection.open(caller, DEADLINE, clock.at(0)).unwrap()).collect();
        connection.handle_answer(ids[0]);
        let reused = connection.open(4, DEADLINE, clock.at(0)).unwrap();
        assert_eq!(reused.slot(), ids[0].slot());
        assert_eq!(connection.newest(|_| true), Some((reused, &4)));
        assert_eq!(connection.newest(|caller| *caller % 2 == 1), Some((ids[3], &3)));
        assert_eq!(connection.newest(|caller| *caller == 0), None);
        assert_eq!(connection.open_calls().map(|(_, caller)| caller).sum::<i32>(), 1 + 2 + 3 + 4);
    }

    #[test]
    fn a_call_longer_than_its_hard_deadline_ends_at_the_hard_one() {
        let (clock, mut connection) = (Clock::new(), Connection::new(8));
        let deadline = Deadline { call: Duration::MAX, call_max: Duration::from_secs(5) };
        connection.open('a', deadline, clock.at(0)).unwrap();
        assert!(expire(&mut connection, clock.at(4)).is_empty());
        assert_eq!(expire(&mut connection, clock.at(5)), ['a']);
    }

    #[test]
    fn endless_deadlines_do_not_overflow() {
        let (clock, mut connection) = (Clock::new(), Connection::new(8));
        connection.open((), Deadline { call: Duration::MAX, call_max: Duration::MAX }, clock.at(0)).unwrap();
        assert!(connection.poll_timeout().unwrap() > clock.at(1_000_000));
    }

    #[test]
    fn sweeps_rest_ten_milliseconds() {
        let (clock, mut connection) = (Clock::new(), Connection::new(8));
        let call = |millis| Deadline { call: Duration::from_millis(millis), call_max: Duration::from_secs(1) };
        connection.open('a', call(1000), clock.at(0)).unwrap();
        connection.open('b', call(1), clock.at(0)).unwrap();
        let now = clock.at(0) + Duration::from_millis(1);
        assert_eq!(expire(&mut connection, now), ['b']);
        connection.open('c', call(1), now).unwrap();
        assert_eq!(connection.poll_timeout(), Some(now + SWEEP));
        assert!(expire(&mut connection, now + Duration::from_millis(9)).is_empty());
        assert_eq!(expire(&mut connection, now + SWEEP), ['c']);
        assert_eq!(connection.poll_timeout(), Some(clock.at(1)));
    }

    #[test]
    fn closing_hands_every_open_call_back_once_in_order_of_opening() {
        let (clock, mut connection) = (Clock::new(), Connection::new(8));
        let first = connection.open(0, DEADLINE, clock.at(0)).unwrap();
        for caller in 1..4 {
            connection.open(caller, DEADLINE, clock.at(0)).unwrap();
        }
        connection.handle_answer(first);
        let reused = connection.open(4, DEADLINE, clock.at(0)).unwrap();
        assert_eq!(reused.slot(), first.slot());
        let callers: Vec<_> = connection.close().into_iter().map(|(_, caller)| caller).collect();
        assert_eq!(callers, [1, 2, 3, 4]);
        assert_eq!(connection.close(), []);
        assert_eq!(connection.handle_answer(reused), None);
        assert!(connection.open(5, DEADLINE, clock.at(0)).is_err());
        assert_eq!(connection.poll_timeout(), None);
        assert_eq!(connection.counters(), Counters { opened: 5, answered: 1, abandoned: 4, late: 1, ..Counters::default() });
    }
}
