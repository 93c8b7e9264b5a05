//! A naive model of a connection, and random operations that hold the real one to it. Driven by proptest here and by the fuzz target `mux`.

use super::{Connection, Counters, Deadline, WireId};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

const IN_FLIGHT_MAX: usize = 24;
const OPERATIONS_MAX: usize = 4096;

/// Runs `data`, three bytes an operation, against a connection and its model.
///
/// # Panics
/// When the two disagree.
pub fn fuzz_mux(data: &[u8]) {
    let mut world = World::new();
    for operation in data.chunks_exact(3).take(OPERATIONS_MAX) {
        if let [verb, which, amount] = *operation {
            world.run(Operation::read(verb, which, amount));
        }
    }
    world.finish();
}

/// `which` picks one of the ids given so far, open or not.
#[derive(Clone, Copy, Debug)]
enum Operation {
    Open {
        call: Duration,
        call_max: Duration,
    },
    Answer {
        which: u8,
    },
    Progress {
        which: u8,
    },
    Pause {
        which: u8,
    },
    Resume {
        which: u8,
    },
    Cancel {
        which: u8,
    },
    /// An answer to whatever number a peer may make up.
    Invented {
        slot: u8,
        generation: u8,
    },
    Wait {
        elapsed: Duration,
    },
    Timeout,
    Close,
}

impl Operation {
    fn read(verb: u8, which: u8, amount: u8) -> Self {
        let millis = |byte| Duration::from_millis(u64::from(byte));
        match verb % 16 {
            0..=3 => Self::Open { call: millis(which), call_max: millis(amount) * 4 },
            4 => Self::Pause { which },
            5..=7 => Self::Answer { which },
            8 | 9 => Self::Progress { which },
            10 => Self::Cancel { which },
            11 => Self::Invented { slot: which, generation: amount },
            12 => Self::Wait { elapsed: millis(amount) / 4 },
            13 => Self::Resume { which },
            14 => Self::Timeout,
            // Rare, since little happens afterwards.
            _ if which == 0 => Self::Close,
            _ => Self::Timeout,
        }
    }
}

struct World {
    connection: Connection<u64>,
    now: Instant,
    /// Every id ever given, in order; a caller is its place here.
    given: Vec<WireId>,
    open: HashMap<WireId, Open>,
    closed: bool,
    counters: Counters,
    dropped_answers: u64,
}

struct Open {
    caller: u64,
    due: Instant,
    due_max: Instant,
    renewal: Duration,
    pauses: u32,
}

impl World {
    #[expect(clippy::disallowed_methods, reason = "the model's time has to start somewhere; it never passes by itself")]
    fn new() -> Self {
        Self {
            connection: Connection::new(IN_FLIGHT_MAX),
            now: Instant::now(),
            given: Vec::new(),
            open: HashMap::new(),
            closed: false,
            counters: Counters::default(),
            dropped_answers: 0,
        }
    }

    fn run(&mut self, operation: Operation) {
        match operation {
            Operation::Open { call, call_max } => self.open(Deadline { call, call_max }),
            Operation::Answer { which } => {
                if let Some(id) = self.pick(which) {
                    self.answer(id);
                }
            }
            Operation::Progress { which } => {
                if let Some(id) = self.pick(which) {
                    self.progress(id);
                }
            }
            Operation::Pause { which } => {
                if let Some(id) = self.pick(which) {
                    let open = self.open.get_mut(&id);
                    let is_open = open.is_some();
                    if let Some(open) = open {
                        open.pauses += 1;
                        open.due = open.due_max;
                    }
                    assert_eq!(self.connection.pause(id), is_open);
                }
            }
            Operation::Resume { which } => {
                if let Some(id) = self.pick(which) {
                    if let Some(open) = self.open.get_mut(&id).filter(|open| open.pauses > 0) {
                        open.pauses -= 1;
                        if open.pauses == 0 {
                            open.due = (self.now + open.renewal).min(open.due_max);
                        }
                    }
                    self.connection.resume(id, self.now);
                }
            }
            Operation::Cancel { which } => {
                if let Some(id) = self.pick(which) {
                    let expected = self.open.remove(&id).map(|open| open.caller);
                    self.counters.cancelled += u64::from(expected.is_some());
                    assert_eq!(self.connection.cancel(id), expected);
                }
            }
            Operation::Invented { slot, generation } => {
                let number = u64::from(generation) << 16 | u64::from(slot % 32);
                self.answer(WireId::parse(number.to_string().as_bytes()).expect("the number is below 2^53"));
            }
            Operation::Wait { elapsed } => self.now += elapsed,
            Operation::Timeout => self.timeout(),
            Operation::Close => self.close(),
        }
        self.check();
    }

    fn finish(&mut self) {
        self.close();
        self.check();
        assert_eq!(self.connection.in_flight(), 0);
    }

    /// The newest ids are picked more often than the old ones: those are the ones still open.
    fn pick(&self, which: u8) -> Option<WireId> {
        let span = if which & 1 == 0 { IN_FLIGHT_MAX } else { self.given.len() };
        let back = usize::from(which / 2) % span.max(1);
        self.given.iter().rev().nth(back).copied()
    }

    fn open(&mut self, deadline: Deadline) {
        let caller = self.given.len() as u64;
        match self.connection.open(caller, deadline, self.now) {
            Ok(id) => {
                assert!(!self.closed && self.open.len() < IN_FLIGHT_MAX);
                assert!(id.as_u64() > 0 && id.as_u64() < 1 << 53);
                assert!(!self.given.contains(&id), "an id is given once");
                let due_max = self.now + deadline.call_max;
                let due = (self.now + deadline.call).min(due_max);
                self.open.insert(id, Open { caller, due, due_max, renewal: deadline.call, pauses: 0 });
                self.given.push(id);
                self.counters.opened += 1;
            }
            Err((_, returned)) => {
                assert_eq!(returned, caller);
                assert!(self.closed || self.open.len() == IN_FLIGHT_MAX);
            }
        }
    }

    fn answer(&mut self, id: WireId) {
        let expected = self.open.remove(&id).map(|open| open.caller);
        let unknown = !self.given.contains(&id);
        self.counters.answered += u64::from(expected.is_some());
        self.counters.unknown += u64::from(unknown);
        self.dropped_answers += u64::from(expected.is_none() && !unknown);
        assert_eq!(self.connection.handle_answer(id), expected);
    }

    fn progress(&mut self, id: WireId) {
        let now = self.now;
        let expected = self.open.get_mut(&id).map(|open| {
            open.due = open.due.max((now + open.renewal).min(open.due_max));
            open.caller
        });
        self.counters.progress_dropped += u64::from(expected.is_none());
        assert_eq!(self.connection.handle_progress(id, now).copied(), expected);
    }

    fn timeout(&mut self) {
        let timeout = self.connection.poll_timeout();
        let mut expired = Vec::new();
        self.connection.handle_timeout(self.now, &mut expired);
        let late: Vec<_> = self.open.iter().filter(|(_, open)| open.due <= self.now).map(|(id, open)| (*id, open.caller)).collect();
        if timeout.is_none_or(|timeout| self.now < timeout) {
            assert_eq!(expired, [], "nothing expires before the timeout");
            return;
        }
        let mut expected = late;
        expected.sort_unstable();
        expired.sort_unstable();
        assert_eq!(expired, expected);
        for (id, _) in &expired {
            self.open.remove(id);
        }
        self.counters.expired += expired.len() as u64;
    }

    fn close(&mut self) {
        let mut expected: Vec<_> = self.open.drain().map(|(id, open)| (id, open.caller)).collect();
        expected.sort_unstable_by_key(|(_, caller)| *caller);
        self.counters.abandoned += expected.len() as u64;
        self.closed = true;
        assert_eq!(self.connection.close(), expected);
    }

    fn check(&self) {
        assert_eq!(self.connection.in_flight(), self.open.len());
        let timeout = self.connection.poll_timeout();
        match self.open.values().map(|open| open.due).min() {
            Some(due) => {
                let timeout = timeout.expect("something is open, so something will be due");
                assert!(timeout <= due.max(self.now) + Duration::from_millis(10), "no call outlives its deadline by more than 10 ms");
            }
            None => assert_eq!(timeout, None),
        }
        let counters = self.connection.counters();
        assert_eq!(counters.late + counters.repeated, self.dropped_answers);
        assert_eq!(Counters { late: 0, repeated: 0, ..counters }, self.counters);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn random_operations_agree_with_the_model(data in proptest::collection::vec(any::<u8>(), 0..3000)) {
            fuzz_mux(&data);
        }
    }

    #[test]
    fn every_operation_can_be_reached() {
        let mut world = World::new();
        for (verb, which, amount) in [
            (0, 40, 40),
            (0, 40, 40),
            (1, 1, 1),
            (8, 0, 0),
            (4, 0, 0),
            (13, 0, 0),
            (5, 0, 0),
            (5, 0, 0),
            (10, 2, 0),
            (11, 9, 9),
            (12, 0, 255),
            (14, 0, 0),
            (0, 9, 9),
            (15, 0, 0),
        ] {
            world.run(Operation::read(verb, which, amount));
        }
        let expected = Counters { opened: 4, answered: 1, cancelled: 1, expired: 1, abandoned: 1, unknown: 1, ..Counters::default() };
        assert_eq!(world.counters, expected);
        assert_eq!(world.dropped_answers, 1);
        assert!(world.closed);
    }
}
