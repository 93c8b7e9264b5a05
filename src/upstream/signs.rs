//! What a connection signals to those who watch it.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

#[derive(Debug, Default)]
pub(super) struct Signs {
    pub(super) list_changed: Notify,
    pub(super) renewed: Notify,
    pub(super) broken: CancellationToken,
    pub(super) closed: CancellationToken,
    heard: AtomicBool,
    is_outdated: AtomicBool,
}

impl Signs {
    /// Resolves after the server said that something it lists changed.
    pub(super) async fn list_changed(&self) {
        self.list_changed.notified().await;
    }

    /// Resolves after the server has forgotten all it was told, and the connection was begun anew.
    pub(super) async fn renewed(&self) {
        self.renewed.notified().await;
    }

    /// Resolves when nothing more can be asked, or answered: a pipe has ended, or a session that there will be no other of.
    pub(super) async fn broken(&self) {
        self.broken.cancelled().await;
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken.is_cancelled()
    }

    /// Broken, since its server speaks another revision now: the next start finds out which.
    pub(super) fn outdate(&self) {
        self.is_outdated.store(true, Ordering::Release);
        self.broken.cancel();
    }

    pub(super) fn is_outdated(&self) -> bool {
        self.is_outdated.load(Ordering::Acquire)
    }

    /// Resolves when it was closed: nothing is open, and nothing can be opened.
    pub(super) async fn closed(&self) {
        self.closed.cancelled().await;
    }

    /// The server said something.
    pub(super) fn hear(&self) {
        self.heard.store(true, Ordering::Relaxed);
    }

    /// Since it was last asked.
    pub(super) fn was_heard(&self) -> bool {
        self.heard.swap(false, Ordering::Relaxed)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }
}
