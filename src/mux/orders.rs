//! A connection behind its lock, as a link has it: whoever is first takes a call's waiter, and nobody else does, in whatever order the
//! reader, the timer, the callers and the end of the link come.

use std::time::{Duration, Instant};

use shuttle::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use super::{Connection, Deadline, WireId};

const ORDERS: usize = 3_000;
const CALLS: usize = 3;
const DEADLINE: Deadline = Deadline { call: Duration::from_secs(1), call_max: Duration::from_secs(9) };

/// Who waits: told once, by whoever takes it out.
struct Waiter {
    told: Arc<[AtomicUsize; CALLS]>,
    call: usize,
}

impl Waiter {
    fn tell(self) {
        self.told[self.call].fetch_add(1, Ordering::SeqCst);
    }
}

type Shared = Arc<Mutex<Connection<Waiter>>>;

fn answer(connection: &Shared, wire: WireId, expected: usize) {
    // The lock is not held while somebody is told.
    let taken = connection.lock().unwrap().handle_answer(wire);
    if let Some(waiter) = taken {
        assert_eq!(waiter.call, expected, "the answer of another call");
        waiter.tell();
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "time has to start somewhere; it never passes by itself")]
fn every_waiter_is_taken_exactly_once_by_whoever_is_first() {
    shuttle::check_random(
        || {
            let now = Instant::now();
            let told: Arc<[AtomicUsize; CALLS]> = Arc::new(std::array::from_fn(|_| AtomicUsize::new(0)));
            // Two places: slots are used again, under other generations.
            let connection: Shared = Arc::new(Mutex::new(Connection::new(2)));
            let callers: Vec<_> = (0..CALLS)
                .map(|call| {
                    let (connection, told) = (Arc::clone(&connection), Arc::clone(&told));
                    thread::spawn(move || {
                        let waiter = Waiter { told, call };
                        let opened = connection.lock().unwrap().open(waiter, DEADLINE, now);
                        let wire = match opened {
                            Ok(wire) => wire,
                            // No room, or closed: it is told at once, by itself.
                            Err((_, waiter)) => return waiter.tell(),
                        };
                        // Its server answers twice, and it may give up meanwhile.
                        let reader = thread::spawn({
                            let connection = Arc::clone(&connection);
                            move || (0..2).for_each(|_| answer(&connection, wire, call))
                        });
                        if call == 0 {
                            let taken = connection.lock().unwrap().cancel(wire);
                            if let Some(waiter) = taken {
                                assert_eq!(waiter.call, call);
                                waiter.tell();
                            }
                        }
                        reader.join().unwrap();
                    })
                })
                .collect();
            let timer = thread::spawn({
                let connection = Arc::clone(&connection);
                move || {
                    let mut expired = Vec::new();
                    connection.lock().unwrap().handle_timeout(now + DEADLINE.call, &mut expired);
                    expired.into_iter().for_each(|(_, waiter)| waiter.tell());
                }
            });
            let closer = thread::spawn({
                let connection = Arc::clone(&connection);
                move || {
                    let open: Vec<_> = connection.lock().unwrap().close();
                    open.into_iter().for_each(|(_, waiter)| waiter.tell());
                }
            });
            for thread in callers.into_iter().chain([timer, closer]) {
                thread.join().unwrap();
            }
            for (call, times) in told.iter().enumerate() {
                assert_eq!(times.load(Ordering::SeqCst), 1, "call {call}");
            }
            let counters = connection.lock().unwrap().counters();
            let ends = counters.answered + counters.cancelled + counters.expired + counters.abandoned;
            assert_eq!((counters.opened, connection.lock().unwrap().in_flight()), (ends, 0));
        },
        ORDERS,
    );
}
