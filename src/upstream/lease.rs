//! The right to put calls on one instance, and how a caller comes by one.

use std::{
    pin::pin,
    sync::{Arc, PoisonError, atomic::Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};

use super::{
    Exchange, Server, UpstreamError,
    exchange::Wants,
    instance::{Instance, Use},
    pool::{Failed, Key, least_used},
    server::Life,
    wire::Wire,
};
use crate::{
    config::Scope,
    mux::{Deadline, WireId},
    protocol::{Level, Version, capability::Profile},
};

/// Not written at every call: what lies beside it is read by all threads.
const USED_TICK_MS: u64 = 16;

/// Who shares an instance (`pool.scope`): the parts a caller brings; the server picks what its scope asks for.
#[derive(Clone, Debug)]
pub struct Sharer {
    pub principal: Arc<str>,
    /// Absent for stateless clients.
    pub session: Option<Arc<str>>,
    /// What the caller can be asked.
    pub profile: Profile,
}

/// What a call needs of its connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Opening<'a> {
    /// Whether to deliver progress.
    pub progress: bool,
    /// Whether the server may ask the caller (`Event::Question`).
    pub asks: bool,
    /// Whether to deliver `Event::Note`; with `progress` or `asks` they come in any case.
    pub notes: bool,
    /// Whether to deliver progress after the answer too (`Exchange::lingering`).
    pub lingers: bool,
    /// Whether it asks for a task: its server may be at work on it, and speak of that, long after the answer.
    pub begins_task: bool,
    /// Answered only when some work is done: it may take as long as any call (`timeouts.call_max`) without a sign.
    pub waits: bool,
    /// What headers of HTTP repeat (MCP 2026-07-28, Streamable HTTP).
    pub method: &'a str,
    /// `params.name`, `params.uri` or `params.taskId` as the server knows it.
    pub name: Option<&'a str>,
    /// `Mcp-Param-*`: the rest of the header's name, and the value as text.
    pub headers: &'a [(Box<str>, String)],
}

/// A guard; dropping it gives the instance back. Calls opened through it hold the instance themselves. A clone is another use.
#[derive(Clone, Debug)]
pub struct Lease {
    held: Use,
    deadline: Deadline,
}

impl Lease {
    pub(super) fn new(held: Use, deadline: Deadline) -> Self {
        Self { held, deadline }
    }

    /// The revision negotiated with this instance.
    pub fn version(&self) -> Version {
        self.held.instance().version()
    }

    /// The number of this connection, which no other of this fleet has or will have.
    pub fn connection(&self) -> u64 {
        self.held.instance().connection()
    }

    /// What this instance was told that its caller can do: for its life. `BARE` of a stateless server, which every call tells.
    pub fn profile(&self) -> Profile {
        self.held.instance().profile
    }

    /// What the server declared: a raw JSON object.
    pub fn capabilities(&self) -> &Bytes {
        &self.held.instance().greeting.capabilities
    }

    /// Whether the server makes tasks of calls.
    pub fn makes_tasks(&self) -> bool {
        self.held.instance().greeting.declared.tasks
    }

    /// Asks a server of the handshake era for records of this level and graver, if it asked for fewer so far; what is opened next is
    /// logged so. Its records arrive as `Event::Note` where they are certainly of one call, else as `What::Log`.
    pub fn set_level(&self, level: Level) {
        self.held.instance().raise_level(level, self.deadline);
    }

    pub(super) fn into_use(self) -> Use {
        self.held
    }

    /// Opens a call now, without waiting: `line` gets the wire id and returns the whole line.
    ///
    /// # Errors
    /// `Reason::Busy` when its queues are full: wait for `ready`, then try again. `Reason::Crashed` when the instance is gone;
    /// nothing was sent.
    pub fn open(&self, opening: &Opening<'_>, line: impl FnOnce(WireId) -> Bytes) -> Result<Exchange, UpstreamError> {
        let wants = Wants {
            progress: opening.progress,
            asks: opening.asks,
            notes: opening.notes,
            lingers: opening.lingers,
            begins_task: opening.begins_task,
            ..Wants::NOTHING
        };
        let deadline = if opening.waits { Deadline { call: Duration::MAX, ..self.deadline } } else { self.deadline };
        let opened = self.held.instance().link.open_as(opening, wants, deadline, line)?;
        Ok(Exchange::new(opened, Some(self.held.clone())))
    }

    /// Waits for room in the queues of this instance. Cancel-safe; the bound on waiting is the caller's.
    ///
    /// # Errors
    /// The instance is gone.
    pub async fn ready(&self) -> Result<(), UpstreamError> {
        self.held.instance().link.ready().await
    }
}

/// What a caller finds.
enum Found {
    Lease(Lease),
    /// The next failed try is told here; gone when it is worth looking again.
    Coming(Failed),
    /// All there are have broken connections. They leave the pool before these are closed; how the next comes up is known then.
    Leaving(Wire),
    /// Each of as many instances as there may be has a caller that can be asked, or may still ask one who has left; the first of these
    /// is free again then at the latest.
    InUse(Option<Instant>),
}

impl Server {
    /// A ready instance for this sharer, without waiting. `None`: ask `lease`.
    pub fn try_lease(&self, sharer: &Sharer) -> Option<Lease> {
        let pool = &self.settings.pool;
        if pool.scope == Scope::Call {
            return None;
        }
        let ready = self.ready.load();
        let key = Key::new(pool, ready.is_stateless, sharer);
        let instances = ready.shares.get(&key)?;
        if key.is_exclusive() {
            return alone(instances).map(|held| self.lease_by(held));
        }
        let may_grow = instances.len() < pool.size;
        let instance = least_used(instances)?;
        // One more instance may take what this one cannot: `lease` decides.
        let is_busy = instance.uses() >= self.commons.limits.queue;
        if is_busy && may_grow { None } else { self.lease_of(instance) }
    }

    /// Starts what is needed and waits for it (bounded by `timeouts.start`). Dropping the future leaves the start under way.
    ///
    /// Whoever can be asked and has no session gets an instance that nobody else uses, and waits for one where `pool.size` are in use:
    /// nothing tells which of two calls a question belongs to, and it may be read by one caller only. That holds for a while longer where a
    /// call was given up (`limits::STRAY`): its server may ask for it after all. An instance in that state is replaced rather than
    /// waited for.
    ///
    /// # Errors
    /// It may not be started, cannot be, or was not ready in time.
    pub async fn lease(self: &Arc<Self>, sharer: &Sharer) -> Result<Lease, UpstreamError> {
        let mut until = self.patience();
        if self.settings.pool.scope == Scope::Call {
            return self.lease_fresh(sharer, until).await;
        }
        let call_until = Instant::now() + self.settings.timeouts.call;
        loop {
            let mut freed = pin!(self.freed.notified());
            // Before the look: what is given back after it must not be missed.
            freed.as_mut().enable();
            let coming = match self.find(sharer)? {
                Found::Lease(lease) => return Ok(lease),
                Found::Coming(coming) => coming,
                Found::Leaving(link) => {
                    link.signs().closed().await;
                    continue;
                }
                Found::InUse(strays_until) => {
                    let free_at = strays_until.map_or(call_until, |until| until.min(call_until));
                    if timeout_at(free_at, freed).await.is_err() && free_at == call_until {
                        return Err(UpstreamError::in_use(&self.settings.id, self.settings.pool.size));
                    }
                    // What starts in its place is waited for as long as any.
                    until = self.patience();
                    continue;
                }
            };
            let waited = tokio::select! {
                biased;
                waited = self.wait(coming, until) => waited,
                () = freed => Ok(()),
            };
            if let Err(error) = waited {
                // One more could not come up, but a busy one is better than none.
                return self.any_lease(sharer).ok_or(error);
            }
        }
    }

    /// The instance of one connection, for whoever knows that something of theirs lives on it. `None`: it is gone.
    ///
    /// One that its callers have each alone is waited for while it is in use, and while its server may ask for a call that was given up.
    ///
    /// # Errors
    /// That took as long as a call may.
    pub async fn lease_on(&self, connection: u64) -> Result<Option<Lease>, UpstreamError> {
        let until = Instant::now() + self.settings.timeouts.call;
        loop {
            let mut freed = pin!(self.freed.notified());
            // Before the look: what is given back after it must not be missed.
            freed.as_mut().enable();
            let Some((instance, is_exclusive)) = self.ready.load().instance_of(connection) else { return Ok(None) };
            if !is_exclusive {
                return Ok(self.lease_of(&instance));
            }
            if let Some(held) = alone(std::slice::from_ref(&instance)) {
                return Ok(Some(self.lease_by(held)));
            }
            let free_at = instance.link.strays_until().map_or(until, |strays| strays.min(until));
            if timeout_at(free_at, freed).await.is_err() && free_at == until {
                return Err(UpstreamError::in_use(&self.settings.id, self.settings.pool.size));
            }
        }
    }

    /// When a caller last took an instance, to a few milliseconds.
    pub fn used_at(&self) -> Option<SystemTime> {
        let used_ms = Some(self.used_ms.load(Ordering::Relaxed)).filter(|used_ms| *used_ms > 0)?;
        Some(UNIX_EPOCH + Duration::from_millis(used_ms))
    }

    fn lease_of(&self, instance: &Arc<Instance>) -> Option<Lease> {
        Some(self.lease_by(Use::new(instance)?))
    }

    fn lease_by(&self, held: Use) -> Lease {
        self.touch();
        Lease::new(held, self.deadline())
    }

    /// A caller takes an instance.
    fn touch(&self) {
        let now_ms = UNIX_EPOCH.elapsed().map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        if now_ms.saturating_sub(self.used_ms.load(Ordering::Relaxed)) >= USED_TICK_MS {
            self.used_ms.store(now_ms, Ordering::Relaxed);
        }
    }

    fn find(self: &Arc<Self>, sharer: &Sharer) -> Result<Found, UpstreamError> {
        let mut life = self.life();
        self.admit(&life)?;
        // Anew at each look: a start may have shown that the server is of the other era.
        let key = Key::new(&self.settings.pool, life.is_stateless, sharer);
        let slot = Some(key.clone());
        let share = life.pool.share(&slot);
        let (instances, coming) = share.map_or((&[][..], None), |share| (&share.instances, share.coming.as_ref()));
        let whole: Vec<_> = instances.iter().filter(|instance| !instance.link.signs().is_broken()).map(Arc::clone).collect();
        if let (Some(broken), []) = (instances.first(), whole.as_slice()) {
            return Ok(Found::Leaving(broken.link.clone()));
        }
        let may_grow = instances.len() < self.settings.pool.size && coming.is_none_or(|coming| coming.due.is_none());
        if key.is_exclusive() {
            if let Some(held) = alone(&whole) {
                return Ok(Found::Lease(self.lease_by(held)));
            }
            // Nothing is stopped in whose place nothing could start.
            let may_replace = share.is_some_and(|share| share.coming.is_none() && share.backoff.left(Instant::now()).is_none());
            let is_full = !may_grow && !whole.is_empty();
            if is_full && !(may_replace && self.make_way(&mut life, &whole)) {
                return Ok(Found::InUse(strays_until(&whole)));
            }
        } else if let Some(instance) = least_used(&whole) {
            let is_busy = instance.uses() >= self.commons.limits.queue;
            if !(is_busy && may_grow)
                && let Some(lease) = self.lease_of(instance)
            {
                return Ok(Found::Lease(lease));
            }
        }
        if let Some(instance) = life.pool.bind(&key) {
            self.apply_level(&slot, &instance);
            self.publish(&life);
            self.replenish(&mut life);
            if let Some(lease) = self.lease_of(&instance) {
                return Ok(Found::Lease(lease));
            }
        }
        // One that comes up for nobody in particular will do: whoever is first takes it. Where the era is not known, it tells, and a
        // stateless server is the same for all.
        let is_unbound_coming = life.pool.share(&None).is_some_and(|share| share.coming.is_some());
        let will_do = key.profile == Profile::BARE || (!life.is_known && life.pool.instances().next().is_none());
        let slot = if is_unbound_coming && will_do { None } else { slot };
        // Nor needs one that comes up for callers of the same abilities a second beside it.
        if let Some(coming) = life.coming_as(key.profile) {
            return Ok(Found::Coming(coming));
        }
        let coming = self.come_patiently(&mut life, &slot);
        drop(life);
        match coming {
            Ok(coming) => Ok(Found::Coming(coming)),
            Err(error) => match self.any_lease(sharer) {
                Some(lease) => Ok(Found::Lease(lease)),
                None => strays_until(&whole).filter(|_| key.is_exclusive()).map(|until| Found::InUse(Some(until))).ok_or(error),
            },
        }
    }

    /// Stops an instance that nobody may have yet, though nobody uses it: of several the one that would last be free again.
    fn make_way(&self, life: &mut Life, instances: &[Arc<Instance>]) -> bool {
        let mut strayed: Vec<_> = instances.iter().filter_map(|instance| Some((instance.link.strays_until()?, instance))).collect();
        strayed.sort_by_key(|(until, _)| std::cmp::Reverse(*until));
        let Some((_, instance)) = strayed.into_iter().find(|(_, instance)| instance.retire()) else { return false };
        tracing::debug!(server = %self.settings.id, pid = instance.pid, "may ask for a call that was given up, and is replaced");
        life.pool.remove(instance);
        self.publish(life);
        instance.stop.cancel();
        true
    }

    fn any_lease(&self, sharer: &Sharer) -> Option<Lease> {
        let ready = self.ready.load();
        let key = Key::new(&self.settings.pool, ready.is_stateless, sharer);
        let instances = ready.shares.get(&key)?;
        if key.is_exclusive() { alone(instances).map(|held| self.lease_by(held)) } else { self.lease_of(least_used(instances)?) }
    }

    /// `pool.scope: call`: an instance that nobody used before.
    async fn lease_fresh(self: &Arc<Self>, sharer: &Sharer, until: Instant) -> Result<Lease, UpstreamError> {
        let id = &self.settings.id;
        let places = self.places_of(&sharer.principal);
        let place = timeout_at(until, places.acquire_owned()).await;
        let Ok(Ok(place)) = place else { return Err(UpstreamError::busy(id)) };
        // The start holds it too: a caller who leaves must not make room for one more process.
        let place = Arc::new(place);
        // However long that took: a start that is begun is waited for.
        let until = self.patience();
        loop {
            let coming = {
                let mut life = self.life();
                self.admit(&life)?;
                let key = Key::new(&self.settings.pool, life.is_stateless, sharer);
                if let Some(instance) = life.pool.bind(&key) {
                    self.apply_level(&Some(key), &instance);
                    if let Some(lease) = self.lease_of(&instance) {
                        instance.occupy(place);
                        self.replenish(&mut life);
                        return Ok(lease);
                    }
                    continue;
                }
                if let Some(left) = life.pool.share(&None).and_then(|share| share.backoff.left(Instant::now())) {
                    return Err(self.last_failure(&life).retry_after(left));
                }
                // Each caller needs one of its own, so starts are not shared.
                if key.profile != Profile::BARE || life.pool.share(&None).is_some_and(|share| share.coming.is_some()) {
                    self.launch_beside(&life, key.profile, Arc::clone(&place))
                } else {
                    let failed = self.launch(&mut life, &None, None, false);
                    if let Some(coming) = &mut life.pool.share_mut(&None).coming {
                        coming.place = Some(Arc::clone(&place));
                    }
                    failed
                }
            };
            self.wait(coming, until).await?;
        }
    }

    fn places_of(&self, principal: &Arc<str>) -> Arc<Semaphore> {
        let size = self.settings.pool.size.max(1);
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if !places.contains_key(principal) {
            // Those who have nothing running are not remembered.
            places.retain(|_, places| Arc::strong_count(places) > 1 || places.available_permits() < size);
        }
        Arc::clone(places.entry(Arc::clone(principal)).or_insert_with(|| Arc::new(Semaphore::new(size))))
    }

    #[cfg(test)]
    pub(super) fn places_left(&self) -> Vec<String> {
        let size = self.settings.pool.size.max(1);
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = places.iter().map(|(whose, places)| (whose, size - places.available_permits())).filter(|(_, taken)| *taken > 0);
        taken.map(|(whose, taken)| format!("{taken} places of {whose}")).collect()
    }
}

/// When the first of those is free again of which a call was given up.
fn strays_until(instances: &[Arc<Instance>]) -> Option<Instant> {
    instances.iter().filter_map(|instance| instance.link.strays_until()).min()
}

/// One that nobody uses, and whose server will not ask for a call that was given up.
fn alone(instances: &[Arc<Instance>]) -> Option<Use> {
    let has_strays = |instance: &Arc<Instance>| instance.link.strays_until().is_some();
    // Whoever gives a call up still has the instance then, so the second look is certain. The first is for those who would give back what
    // they must not have, and be woken by that.
    let free = instances.iter().filter(|instance| !has_strays(instance));
    free.filter_map(Use::alone).find(|held| !has_strays(held.instance()))
}
