//! How many use one instance, until nobody may any more. One word, no lock: every call goes through it.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Set when nobody may use it any more.
const RETIRED: usize = 1 << (usize::BITS - 1);

/// Counts uses. `W` is the word that they are counted in.
#[derive(Debug, Default)]
pub(super) struct Uses<W = AtomicUsize>(W);

/// What an atomic word does here.
pub(super) trait Word {
    /// Returns what it was.
    fn add_one(&self) -> usize;
    /// Returns what it was.
    fn take_one(&self) -> usize;
    /// `false`: it was another than `from`.
    fn change(&self, from: usize, to: usize) -> bool;
    fn read(&self) -> usize;
}

impl Word for AtomicUsize {
    fn add_one(&self) -> usize {
        self.fetch_add(1, Ordering::AcqRel)
    }

    fn take_one(&self) -> usize {
        self.fetch_sub(1, Ordering::AcqRel)
    }

    fn change(&self, from: usize, to: usize) -> bool {
        self.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    fn read(&self) -> usize {
        self.load(Ordering::Relaxed)
    }
}

impl<W: Word> Uses<W> {
    /// One more. `false`: nobody may any more; to be given back all the same.
    pub(super) fn take(&self) -> bool {
        self.0.add_one() & RETIRED == 0
    }

    /// One, if nobody else has any. What is refused is not to be given back.
    pub(super) fn take_alone(&self) -> bool {
        self.0.change(0, 1)
    }

    /// One more of somebody who has one.
    pub(super) fn take_again(&self) {
        self.0.add_one();
    }

    /// `true`: that was the last.
    pub(super) fn give(&self) -> bool {
        self.0.take_one() == 1
    }

    /// From now on nobody may. `false` when somebody has one.
    pub(super) fn retire(&self) -> bool {
        self.0.change(0, RETIRED)
    }

    pub(super) fn count(&self) -> usize {
        self.0.read() & !RETIRED
    }
}

#[cfg(test)]
mod tests {
    use shuttle::{
        sync::{
            Arc,
            atomic::{AtomicBool, AtomicUsize as Scheduled},
        },
        thread,
    };

    use super::*;

    impl Word for Scheduled {
        fn add_one(&self) -> usize {
            self.fetch_add(1, Ordering::SeqCst)
        }

        fn take_one(&self) -> usize {
            self.fetch_sub(1, Ordering::SeqCst)
        }

        fn change(&self, from: usize, to: usize) -> bool {
            self.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
        }

        fn read(&self) -> usize {
            self.load(Ordering::SeqCst)
        }
    }

    const ORDERS: usize = 5_000;

    /// An instance that is stopped once it is retired.
    struct Instance {
        uses: Uses<Scheduled>,
        is_stopped: AtomicBool,
    }

    impl Instance {
        fn new() -> Arc<Self> {
            Arc::new(Self { uses: Uses(Scheduled::new(0)), is_stopped: AtomicBool::new(false) })
        }

        /// A caller who has one finds it alive for as long as that.
        fn work(&self) {
            for _ in 0..2 {
                assert!(!self.is_stopped.load(Ordering::SeqCst), "somebody uses what is stopped");
                thread::yield_now();
            }
        }

        fn retire(&self) -> bool {
            let is_retired = self.uses.retire();
            if is_retired {
                self.is_stopped.store(true, Ordering::SeqCst);
            }
            is_retired
        }
    }

    #[test]
    fn nobody_uses_what_is_retired_and_nothing_is_retired_in_use() {
        shuttle::check_random(
            || {
                let instance = Instance::new();
                let callers: Vec<_> = (0..3)
                    .map(|n| {
                        let instance = Arc::clone(&instance);
                        thread::spawn(move || {
                            let is_taken = instance.uses.take();
                            if is_taken {
                                instance.work();
                                if n == 0 {
                                    // A lease opens a call, and goes before it.
                                    instance.uses.take_again();
                                    instance.uses.give();
                                    instance.work();
                                }
                            }
                            instance.uses.give();
                        })
                    })
                    .collect();
                let idle = thread::spawn({
                    let instance = Arc::clone(&instance);
                    move || (0..3).any(|_| instance.retire())
                });
                for caller in callers {
                    caller.join().unwrap();
                }
                let was_retired = idle.join().unwrap();
                assert_eq!(instance.uses.count(), 0);
                assert_ne!(was_retired, instance.retire(), "once, and when nobody uses it then at last");
                assert!(!instance.uses.take() && !instance.uses.take_alone());
            },
            ORDERS,
        );
    }

    #[test]
    fn who_has_it_alone_has_it_alone() {
        shuttle::check_random(
            || {
                let instance = Instance::new();
                let holders = Arc::new(Scheduled::new(0));
                let callers: Vec<_> = (0..3)
                    .map(|_| {
                        let (instance, holders) = (Arc::clone(&instance), Arc::clone(&holders));
                        thread::spawn(move || {
                            if instance.uses.take_alone() {
                                assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0, "two have it");
                                instance.work();
                                holders.fetch_sub(1, Ordering::SeqCst);
                                assert!(instance.uses.give(), "nobody else had it");
                            }
                        })
                    })
                    .collect();
                instance.retire();
                for caller in callers {
                    caller.join().unwrap();
                }
                assert_eq!(instance.uses.count(), 0);
            },
            ORDERS,
        );
    }

    /// As `Server` does it: the map is swapped before an instance that left the pool is stopped, and callers look without a lock.
    #[test]
    fn a_map_that_is_swapped_shows_whole_instances_and_never_an_older_one_after_a_newer() {
        type Ready = Vec<(u32, Arc<Instance>)>;
        shuttle::check_random(
            || {
                let first: Ready = vec![(1, Instance::new())];
                let ready = Arc::new(shuttle::sync::Mutex::new(Arc::new(first)));
                let callers: Vec<_> = (0..2)
                    .map(|_| {
                        let ready = Arc::clone(&ready);
                        thread::spawn(move || {
                            let mut seen = 0;
                            for _ in 0..3 {
                                // What a reader of `arc_swap` gets: one of the maps that were stored, whole.
                                let map = Arc::clone(&ready.lock().unwrap());
                                let (number, instance) = map.first().expect("there is always one");
                                assert!(*number >= seen, "an older map after a newer one");
                                seen = *number;
                                if instance.uses.take() {
                                    instance.work();
                                }
                                instance.uses.give();
                            }
                        })
                    })
                    .collect();
                for number in 2..4 {
                    let old = Arc::clone(&ready.lock().unwrap());
                    let (_, instance) = old.first().expect("there is always one");
                    *ready.lock().unwrap() = Arc::new(vec![(number, Instance::new())]);
                    instance.retire();
                }
                for caller in callers {
                    caller.join().unwrap();
                }
            },
            ORDERS,
        );
    }
}
