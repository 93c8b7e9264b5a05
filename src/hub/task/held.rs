//! The connections on which tasks live: held, so that the process is not stopped as idle, and found again by whoever asks. Bounded in
//! time by the task's own, and in number for each principal; a task that is no longer held is asked for on any connection.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use dashmap::DashMap;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::older::Asking;
use crate::{
    catalog::Uris,
    hub::{Hub, Inbound, call::failed},
    limits,
    name::ServerId,
    protocol::{Refusal, capability::Profile, code::Reason},
    upstream::{Lease, UpstreamError},
};

/// All that are held.
#[derive(Default)]
pub(in crate::hub) struct Holds {
    tasks: DashMap<Key, Arc<Held>>,
    arrivals: AtomicU64,
}

/// Server, principal, and the server's own id.
type Key = (ServerId, Arc<str>, Box<str>);

/// The connection of one task.
pub(in crate::hub) struct Held {
    pub(in crate::hub) lease: Lease,
    pub(super) whose: Whose,
    /// The id by which they know it.
    public: Box<str>,
    /// Of a handshake server's task that a stateless client has.
    pub(super) asking: Asking,
    /// How long after somebody asked for it.
    lives: Duration,
    until: Mutex<Instant>,
    changed: Notify,
    pub(super) gone: CancellationToken,
    arrival: u64,
}

/// Who has a task.
#[derive(Clone)]
pub(super) struct Whose {
    pub(super) server: ServerId,
    pub(super) principal: Arc<str>,
    /// What can be asked of them.
    pub(super) profile: Profile,
    /// How they are told the server's URIs.
    pub(super) publishes: Option<Uris>,
}

impl Whose {
    pub(super) fn of(inbound: &Inbound, server: &ServerId) -> Self {
        Self {
            server: server.clone(),
            principal: Arc::clone(inbound.principal.id()),
            profile: inbound.profile(),
            publishes: inbound.endpoint.publishes(),
        }
    }
}

impl Holds {
    pub(super) fn get(&self, server: &ServerId, principal: &Arc<str>, id: &str) -> Option<Arc<Held>> {
        self.tasks.get(&(server.clone(), Arc::clone(principal), id.into())).map(|held| Arc::clone(&held))
    }

    /// A server's task as this principal knows it.
    pub(in crate::hub) fn known(&self, server: &ServerId, principal: &Arc<str>, id: &str) -> Option<String> {
        self.get(server, principal, id).map(|held| held.public.to_string())
    }

    #[cfg(test)]
    pub(in crate::hub) fn len(&self) -> usize {
        self.tasks.len()
    }

    /// The oldest of this principal make room.
    fn make_room(&self, principal: &Arc<str>) {
        let mut own: Vec<_> =
            self.tasks.iter().filter(|entry| entry.key().1 == *principal).map(|entry| (entry.arrival, entry.gone.clone())).collect();
        own.sort_unstable_by_key(|(arrival, _)| *arrival);
        let surplus = own.len().saturating_sub(limits::TASKS_HELD_PER_PRINCIPAL_MAX.saturating_sub(1));
        own.into_iter().take(surplus).for_each(|(_, gone)| gone.cancel());
    }
}

impl Held {
    /// From now on the task is found, until nobody has asked for it for so long.
    /// `id` is the server's own, `public` that of its caller.
    pub(super) fn hold(hub: &Arc<Hub>, whose: Whose, (id, public): (&str, &str), lease: Lease, lives: Duration) -> Arc<Self> {
        let holds = &hub.holds;
        holds.make_room(&whose.principal);
        let key = (whose.server.clone(), Arc::clone(&whose.principal), id.into());
        let lives = lives.clamp(limits::TASK_KEPT_MIN, limits::TASK_KEPT);
        let held = Arc::new(Self {
            asking: Asking::new(whose.profile, lease.version()),
            lease,
            whose,
            public: public.into(),
            lives,
            until: Mutex::new(Instant::now() + lives),
            changed: Notify::new(),
            gone: CancellationToken::new(),
            arrival: holds.arrivals.fetch_add(1, Ordering::Relaxed),
        });
        if let Some(older) = holds.tasks.insert(key.clone(), Arc::clone(&held)) {
            older.gone.cancel();
        }
        hub.tasks.spawn(keep(Arc::clone(hub), key, Arc::clone(&held)));
        held
    }

    /// Somebody asked for it.
    pub(super) fn touch(&self) {
        self.set(self.lives);
    }

    /// It has ended: who has not read its result yet does so soon.
    pub(in crate::hub) fn end_soon(&self) {
        self.set(limits::TASK_KEPT_MIN);
    }

    /// What to tell the caller; a connection that is gone is held no longer.
    pub(super) fn fail(&self, error: &UpstreamError) -> Refusal {
        if matches!(error.reason, Reason::Crashed | Reason::ServerExited | Reason::Stopped) {
            self.gone.cancel();
        }
        failed(error)
    }

    fn set(&self, lives: Duration) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + lives;
        self.changed.notify_one();
    }

    fn until(&self) -> Instant {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn keep(hub: Arc<Hub>, key: Key, held: Arc<Held>) {
    while held.until() > Instant::now() {
        tokio::select! {
            biased;
            () = held.gone.cancelled() => break,
            () = hub.stop.cancelled() => break,
            () = held.changed.notified() => {}
            () = sleep_until(held.until()) => {}
        }
    }
    held.gone.cancel();
    hub.holds.tasks.remove_if(&key, |_, now| Arc::ptr_eq(now, &held));
}
