//! Lists of servers that do not say when they change: for how long what was listed last is shown before the server is asked again.
//!
//! Nothing asks by itself: a server is asked again when somebody looks at its lists, they are too old, and it runs.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{Server, child::listing::Listing, instance::Instance};
use crate::{limits, protocol::Era};

const NEVER: u64 = u64::MAX;

/// When what was listed last is too old.
#[derive(Debug)]
pub(super) struct Age {
    born: Instant,
    /// Milliseconds since `born`, or `NEVER`.
    due_ms: AtomicU64,
}

impl Age {
    pub(super) fn new() -> Self {
        Self { born: Instant::now(), due_ms: AtomicU64::new(NEVER) }
    }

    /// `None`: never.
    pub(super) fn set(&self, lives: Option<Duration>) {
        let due_ms = |lives: Duration| u64::try_from((self.born.elapsed() + lives).as_millis()).unwrap_or(NEVER);
        self.due_ms.store(lives.map_or(NEVER, due_ms), Ordering::Relaxed);
    }

    /// To one caller only. Most servers cost one look: they say when their lists change.
    fn take_due(&self) -> bool {
        let due_ms = self.due_ms.load(Ordering::Relaxed);
        due_ms != NEVER
            && self.born.elapsed() >= Duration::from_millis(due_ms)
            && self.due_ms.compare_exchange(due_ms, NEVER, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

impl Server {
    /// Somebody looks at its lists.
    pub(super) fn freshen(self: &Arc<Self>) {
        if !self.age.take_due() {
            return;
        }
        let life = self.life();
        let mut seen = BTreeSet::new();
        for instance in life.pool.instances().filter(|instance| seen.insert(instance.profile)) {
            self.relist_soon(instance, &life.run);
        }
    }
}

impl Instance {
    /// For how long what it lists now may be shown; `None`: until it says otherwise.
    pub(super) fn lists_live(&self, listing: Option<&Listing>) -> Option<Duration> {
        if listing.is_some_and(|listing| listing.is_partial) {
            return Some(Duration::from_millis(limits::LIST_TTL_UNTOLD_MS));
        }
        let ttl_ms = listing.and_then(|listing| listing.ttl_ms);
        if self.greeting.declared.tells_of_all_lists() && !self.feed.is_deaf() {
            return None;
        }
        let said = ttl_ms.filter(|_| self.version().era() == Era::Stateless).map(Duration::from_millis);
        Some(said.unwrap_or(Duration::from_millis(limits::LIST_TTL_UNTOLD_MS)).max(limits::LIST_AGE_MIN))
    }
}
