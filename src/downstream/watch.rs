//! All open client connections: how many, and the one sweeper that closes overdue ones.

use super::pulse::{Clock, Order, Pulse, TICK};
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;

/// Shared by all listeners and all runtimes of a hub.
#[derive(Debug)]
pub struct Watch {
    clock: Arc<Clock>,
    ledger: Mutex<Ledger>,
    open: AtomicUsize,
    refused: AtomicUsize,
    open_max: usize,
    /// The first connection after none: the sweeper sleeps without any.
    opened: Notify,
    /// The last one closed; while draining, any.
    emptied: Notify,
}

/// Closed connections stay listed until the next sweep.
#[derive(Debug, Default)]
struct Ledger {
    pulses: Vec<Arc<Pulse>>,
    draining: bool,
}

impl Watch {
    /// Starts the sweeper on the current runtime; it ends with the last handle.
    pub fn start(open_max: usize) -> Arc<Self> {
        let watch = Arc::new(Self {
            clock: Arc::default(),
            ledger: Mutex::default(),
            open: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            open_max,
            opened: Notify::new(),
            emptied: Notify::new(),
        });
        tokio::spawn(sweep(Arc::downgrade(&watch)));
        watch
    }

    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
    /// Connections closed at once because there were too many.
    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }

    /// A place for one more connection; `None` when all are taken.
    pub fn admit(self: &Arc<Self>) -> Option<Place> {
        let taken = self.open.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |open| (open < self.open_max).then_some(open + 1));
        let Ok(before) = taken else {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        let pulse = Pulse::new(self.clock.clone());
        let place = Place { watch: self.clone(), pulse: pulse.clone() };
        let mut ledger = self.ledger();
        if ledger.draining {
            pulse.give(Order::Drain);
        }
        // Churn between two sweeps must not pile up.
        if ledger.pulses.len() > 2 * before + 1024 {
            ledger.tidy();
        }
        ledger.pulses.push(pulse);
        drop(ledger);
        if before == 0 {
            self.opened.notify_one();
        }
        Some(place)
    }

    /// Idle connections close now, the others after what they are answering; so do those still to come.
    pub fn drain(&self) {
        self.ledger().draining = true;
        self.tell(Order::Drain);
    }
    /// Closes every connection that HTTP still owns, whatever it is doing.
    pub fn close(&self) {
        self.ledger().draining = true;
        self.tell(Order::Close);
    }
    /// Resolves when no connection is open, upgraded ones included; after `drain` but for those that have asked nothing: whoever asks then is
    /// told of the drain, and whoever does not makes it no longer.
    pub async fn closed(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.owes_nothing() {
                return;
            }
            emptied.await;
        }
    }

    fn owes_nothing(&self) -> bool {
        // First: a place that is given back in between is no silent one any more.
        let open = self.open.load(Ordering::Acquire);
        let ledger = self.ledger();
        let silent = || ledger.pulses.iter().filter(|pulse| pulse.has_not_asked()).count();
        open == 0 || ledger.draining && open <= silent()
    }

    fn tell(&self, order: Order) {
        let ledger = self.ledger();
        ledger.pulses.iter().for_each(|pulse| pulse.give(order));
    }
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn tick(&self) {
        let now = self.clock.advance();
        let mut ledger = self.ledger();
        ledger.tidy();
        for pulse in &ledger.pulses {
            if pulse.is_overdue(now) {
                pulse.give(Order::Close);
            } else {
                pulse.ring(now);
            }
        }
    }
}
impl Ledger {
    fn tidy(&mut self) {
        self.pulses.retain(|pulse| Arc::strong_count(pulse) > 1);
    }
}

async fn sweep(watch: Weak<Watch>) {
    /// How often an idle sweeper looks whether the hub is still there.
    const LOOK: Duration = Duration::from_secs(60);
    loop {
        tokio::time::sleep(TICK).await;
        let Some(watch) = watch.upgrade() else { return };
        watch.tick();
        if watch.open() == 0 {
            let _ = tokio::time::timeout(LOOK, watch.opened.notified()).await;
        }
    }
}

/// A connection's place; given back when dropped, wherever its socket went.
#[derive(Debug)]
pub struct Place {
    watch: Arc<Watch>,
    pulse: Arc<Pulse>,
}
impl Place {
    pub(super) fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }
}
impl Drop for Place {
    fn drop(&mut self) {
        self.pulse.on_end();
        let before = self.watch.open.fetch_sub(1, Ordering::AcqRel);
        if before == 1 || self.pulse.order() != Order::Go {
            self.watch.emptied.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn places_are_bounded_and_given_back() {
        let watch = Watch::start(2);
        let first = watch.admit().unwrap();
        let _second = watch.admit().unwrap();
        assert!(watch.admit().is_none());
        assert_eq!((watch.open(), watch.refused()), (2, 1));
        drop(first);
        assert!(watch.admit().is_some());
    }

    #[tokio::test]
    async fn closed_resolves_with_the_last_place() {
        let watch = Watch::start(2);
        let place = watch.admit().unwrap();
        let closed = tokio::spawn({
            let watch = watch.clone();
            async move { watch.closed().await }
        });
        tokio::task::yield_now().await;
        assert!(!closed.is_finished());
        drop(place);
        closed.await.unwrap();
    }

    #[tokio::test]
    async fn those_that_come_while_draining_are_told_and_hold_it_only_once_they_ask() {
        let watch = Watch::start(4);
        let place = watch.admit().unwrap();
        watch.drain();
        let [silent, _silent_too, asking] = [(); 3].map(|()| watch.admit().unwrap());
        assert_eq!([silent.pulse().order(), place.pulse().order()], [Order::Drain; 2]);
        let closed = tokio::spawn({
            let watch = watch.clone();
            async move { watch.closed().await }
        });
        let in_service = asking.pulse().on_request(false);
        let still_open = async || {
            tokio::task::yield_now().await;
            !closed.is_finished()
        };
        assert!(still_open().await);
        drop(place);
        assert!(still_open().await, "one is being answered");
        drop(silent);
        assert!(still_open().await, "one that was silent and is gone counts for nobody");
        drop(in_service);
        assert!(still_open().await, "its answer may not be written yet");
        drop(asking);
        closed.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn churn_does_not_pile_up() {
        let watch = Watch::start(4);
        for _ in 0..10_000 {
            drop(watch.admit());
        }
        assert!(watch.ledger().pulses.len() <= 1026);
        let _stays = watch.admit();
        tokio::time::sleep(TICK * 3).await;
        assert_eq!(watch.ledger().pulses.len(), 1);
    }
}
