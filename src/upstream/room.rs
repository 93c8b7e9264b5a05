//! Callers that wait until a connection has room for one call more.

use std::{
    pin::pin,
    sync::atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Notify;

/// Stands beside the lock under which room is looked for and made: that lock orders what is counted here.
#[derive(Debug, Default)]
pub(super) struct Room {
    freed: Notify,
    waiting: AtomicUsize,
}

impl Room {
    /// Until `has_room`, which is asked again after every place that is freed. Cancel-safe.
    ///
    /// # Errors
    /// As `has_room`.
    pub(super) async fn wait<E>(&self, has_room: impl Fn() -> Result<bool, E>) -> Result<(), E> {
        let _waiting = Waiting::new(&self.waiting);
        loop {
            let mut freed = pin!(self.freed.notified());
            // In the queue before the look: two places freed in between must wake two.
            freed.as_mut().enable();
            if has_room()? {
                return Ok(());
            }
            freed.await;
        }
    }

    /// Wakes as many of those who wait as may find room. Called under the lock of what was freed.
    pub(super) fn free(&self, places: usize) {
        for _ in 0..places.min(self.waiting.load(Ordering::Relaxed)) {
            self.freed.notify_one();
        }
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// All of them: there is room for any number, or never will be.
    pub(super) fn wake_all(&self) {
        self.freed.notify_waiters();
    }
}

/// Counts one that waits, however that ends.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
