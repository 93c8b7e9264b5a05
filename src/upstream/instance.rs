//! One running child, or one connection to a remote server, that callers may use.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::SystemTime,
};

use tokio::{
    sync::{Notify, OwnedSemaphorePermit},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{child::probe::Greeting, feed::Feed, logging, news::Outlet, pool::Key, uses::Uses, wire::Wire};
use crate::protocol::{Version, capability::Profile};

#[derive(Debug)]
pub(super) struct Instance {
    pub(super) link: Wire,
    /// None of a remote server.
    pub(super) pid: Option<u32>,
    pub(super) greeting: Greeting,
    /// What it was told that its caller can do: for its life. A stateless one was told nothing; its calls say it.
    pub(super) profile: Profile,
    outlet: Arc<Outlet>,
    pub(super) feed: Feed,
    /// The last `Level` asked for, or `logging::UNSET`.
    pub(super) level: AtomicU8,
    pub(super) ready_at: Instant,
    pub(super) started_at: SystemTime,
    /// Asks the task that serves it to stop the process.
    pub(super) stop: CancellationToken,
    /// For one lease only (`pool.scope: call`): stopped after its first use.
    pub(super) is_for_one: bool,
    uses: Uses,
    taken: AtomicU64,
    place: OnceLock<Arc<OwnedSemaphorePermit>>,
    /// Told whenever nobody uses it any more, if there may be somebody who wants it alone.
    freed: Option<Arc<Notify>>,
}

/// A process, or a remote server, that has answered the handshake, and how.
#[derive(Debug)]
pub(super) struct Born {
    pub(super) link: Wire,
    pub(super) pid: Option<u32>,
    pub(super) greeting: Greeting,
    pub(super) profile: Profile,
    pub(super) outlet: Arc<Outlet>,
}

impl Instance {
    pub(super) fn new(born: Born, stop: CancellationToken, is_for_one: bool, freed: &Arc<Notify>) -> Arc<Self> {
        let Born { link, pid, greeting, profile, outlet } = born;
        Arc::new(Self {
            link,
            pid,
            greeting,
            profile,
            outlet,
            feed: Feed::default(),
            level: AtomicU8::new(logging::UNSET),
            ready_at: Instant::now(),
            started_at: SystemTime::now(),
            stop,
            is_for_one,
            uses: Uses::default(),
            taken: AtomicU64::new(0),
            place: OnceLock::new(),
            freed: profile.can_be_asked().then(|| Arc::clone(freed)),
        })
    }

    pub(super) fn version(&self) -> Version {
        self.greeting.version
    }

    /// Its number among all connections of the fleet.
    pub(super) fn connection(&self) -> u64 {
        self.link.connection()
    }

    /// Whose it is from now on.
    pub(super) fn bind(&self, key: Option<&Key>) {
        self.outlet.settle(key.map(Key::owner));
    }

    /// Leases and exchanges alive.
    pub(super) fn uses(&self) -> usize {
        self.uses.count()
    }

    /// How often it was taken so far.
    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Under `pool.scope: call` it takes one of its principal's places until the process is gone.
    pub(super) fn occupy(&self, place: Arc<OwnedSemaphorePermit>) {
        let _ = self.place.set(place);
    }

    /// From now on `Use::new` fails. `false` when somebody uses it.
    pub(super) fn retire(&self) -> bool {
        self.uses.retire()
    }
}

/// Keeps an instance from being stopped for want of use.
#[derive(Debug)]
pub(super) struct Use(Arc<Instance>);

impl Use {
    /// `None`: it was retired in this moment.
    pub(super) fn new(instance: &Arc<Instance>) -> Option<Self> {
        let is_taken = instance.uses.take();
        // Dropped, it gives back what was not to be taken.
        let this = Self(Arc::clone(instance));
        if !is_taken {
            return None;
        }
        instance.taken.fetch_add(1, Ordering::Relaxed);
        Some(this)
    }

    /// As `new`, if nobody else uses it.
    pub(super) fn alone(instance: &Arc<Instance>) -> Option<Self> {
        if !instance.uses.take_alone() {
            return None;
        }
        instance.taken.fetch_add(1, Ordering::Relaxed);
        Some(Self(Arc::clone(instance)))
    }

    pub(super) fn instance(&self) -> &Arc<Instance> {
        &self.0
    }
}

impl Clone for Use {
    fn clone(&self) -> Self {
        self.0.uses.take_again();
        Self(Arc::clone(&self.0))
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        if self.0.uses.give() {
            if self.0.is_for_one {
                self.0.stop.cancel();
            }
            if let Some(freed) = &self.0.freed {
                freed.notify_waiters();
            }
        }
    }
}
