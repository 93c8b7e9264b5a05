//! The connections on which tasks live: held, so that the process is not stopped as idle, and found again by whoever asks. Bounded in
//! time by the task's own, and in number for each principal; a task that is no longer held is asked for where it was made.

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
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
    access::{Principal, quota::surplus},
    bridge::{seal::Place, task},
    catalog::Uris,
    hub::{Hub, Inbound, Session, call::failed, progress::Progress},
    limits,
    name::ServerId,
    protocol::{Message, Refusal, capability::Profile, code::Reason},
    upstream::{Lease, Lingering, UpstreamError},
};

/// All that are held.
#[derive(Default)]
pub(in crate::hub) struct Holds {
    tasks: DashMap<Key, Arc<Held>>,
    arrivals: AtomicU64,
}

/// Server, principal, and the server's own id, which another connection may have too: a task is found by where it was made, and by where
/// it is asked for now.
type Key = (ServerId, Arc<str>, Option<Place>, Box<str>);

/// The connection of one task.
pub(in crate::hub) struct Held {
    pub(in crate::hub) lease: Lease,
    /// Where it was made: not here, if that connection is gone.
    made: Option<Place>,
    pub(super) whose: Whose,
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
    pub(super) principal: Arc<Principal>,
    /// What can be asked of them.
    pub(super) profile: Profile,
    /// How they are told the server's URIs.
    pub(super) publishes: Option<Uris>,
    /// The task, as they know it.
    public: Box<str>,
    /// Of a handshake client.
    session: Option<Weak<Session>>,
}

impl Whose {
    pub(super) fn of(inbound: &Inbound, server: &ServerId, public: &str) -> Self {
        Self {
            server: server.clone(),
            principal: Arc::clone(&inbound.principal),
            profile: inbound.profile(),
            publishes: inbound.endpoint.publishes(),
            public: public.into(),
            session: inbound.handshaken().map(Arc::downgrade),
        }
    }
}

impl Hub {
    /// What a server of the handshake era says of a task unasked, to the session of whoever has it (`notifications/tasks/status`,
    /// MCP 2025-11-25, tasks).
    pub(in crate::hub) fn task_status(&self, server: &ServerId, connection: u64, principal: &Arc<str>, note: &Message) {
        let place = Some(self.place(connection));
        let Some(held) = task::Task::read(note).and_then(|task| self.holds.get(server, principal, place, &task.id)) else { return };
        if let Some(session) = held.whose.session.as_ref().and_then(Weak::upgrade) {
            session.post(task::status(note, &held.whose.public));
        }
    }

    /// The task that a server means by this id on this connection, as this principal knows it.
    pub(in crate::hub) fn known_task(&self, server: &ServerId, connection: u64, principal: &Arc<str>, id: &str) -> Option<String> {
        self.holds.get(server, principal, Some(self.place(connection)), id).map(|held| held.whose.public.to_string())
    }

    pub(super) fn place(&self, connection: u64) -> Place {
        Place { instance: self.instance, connection }
    }
}

impl Holds {
    pub(super) fn get(&self, server: &ServerId, principal: &Arc<str>, place: Option<Place>, id: &str) -> Option<Arc<Held>> {
        self.tasks.get(&(server.clone(), Arc::clone(principal), place, id.into())).map(|held| Arc::clone(&held))
    }

    /// Whether there is a task of that id that was made there.
    pub(super) fn is_made_on(&self, server: &ServerId, principal: &Arc<str>, place: Place, id: &str) -> bool {
        self.get(server, principal, Some(place), id).is_some_and(|held| held.made == Some(place))
    }

    #[cfg(test)]
    pub(in crate::hub) fn len(&self) -> usize {
        self.tasks.len()
    }

    /// The oldest make room.
    fn make_room(&self, principal: &Arc<Principal>) {
        let once = self.tasks.iter().filter(|held| held.key().2 == held.made);
        let kept = once.map(|held| (held.arrival, Arc::clone(&held.whose.principal), held.gone.clone()));
        surplus(principal, limits::TASKS_HELD_PER_PRINCIPAL_MAX, kept).into_iter().for_each(|gone| gone.cancel());
    }
}

impl Held {
    /// From now on the task is found, until nobody has asked for it for so long. `id` is the server's own, `made` where it gave that.
    pub(super) fn hold(hub: &Arc<Hub>, whose: Whose, (id, made): (&str, Option<Place>), lease: Lease, lives: Duration) -> Arc<Self> {
        let holds = &hub.holds;
        holds.make_room(&whose.principal);
        let key = |place| (whose.server.clone(), Arc::clone(whose.principal.id()), place, id.into());
        let here = Some(hub.place(lease.connection()));
        let keys: Vec<Key> = [here, made].into_iter().take(if here == made { 1 } else { 2 }).map(key).collect();
        let lives = lives.clamp(limits::TASK_KEPT_MIN, limits::TASK_KEPT);
        let held = Arc::new(Self {
            asking: Asking::new(whose.profile, lease.version(), hub.limits.parked_ttl),
            lease,
            made,
            whose,
            lives,
            until: Mutex::new(Instant::now() + lives),
            changed: Notify::new(),
            gone: CancellationToken::new(),
            arrival: holds.arrivals.fetch_add(1, Ordering::Relaxed),
        });
        for key in &keys {
            if let Some(older) = holds.tasks.insert(key.clone(), Arc::clone(&held)) {
                older.gone.cancel();
            }
        }
        hub.tasks.spawn(keep(Arc::clone(hub), keys, Arc::clone(&held)));
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

    /// The progress token of a call stays good for as long as the task lives that it has become (MCP 2025-11-25, tasks).
    pub(super) fn tell_progress(&self, hub: &Hub, progress: Progress, lingering: Lingering) {
        let Some(session) = self.whose.session.clone() else { return };
        let (gone, stop, public) = (self.gone.clone(), hub.stop.clone(), self.whose.public.clone());
        hub.tasks.spawn(async move {
            loop {
                let note = tokio::select! {
                    biased;
                    () = gone.cancelled() => return,
                    () = stop.cancelled() => return,
                    note = lingering.progress() => note,
                };
                let Some(session) = session.upgrade() else { return };
                if let Some(body) = progress.relay(&note, &|_| Some(public.to_string())) {
                    session.post(body);
                }
            }
        });
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

async fn keep(hub: Arc<Hub>, keys: Vec<Key>, held: Arc<Held>) {
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
    for key in &keys {
        hub.holds.tasks.remove_if(key, |_, now| Arc::ptr_eq(now, &held));
    }
}
