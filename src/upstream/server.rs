//! One configured server: its pool, its state, its start and stop by request.
//!
//! Callers find their instances in `lease`. The way of one that finds an instance ready takes no lock: `ready` is a map swapped whole
//! whenever the pool changes. Everything else goes through `life`, a short lock never held across an await.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use tokio::{
    sync::{Notify, Semaphore, broadcast, broadcast::error::RecvError},
    time::{Instant, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    State, Status, UpstreamError, Usable,
    age::Age,
    fleet::Commons,
    instance::Instance,
    pool::{Failed, Key, Pool, Ready, Slot},
    profiles::{Listings, Profiles},
    remote,
    renegotiate::Verdict,
    status::Noise,
};
use crate::{
    config::{Interactive, Launch, Scope, ServerSettings, Start},
    mux::Deadline,
    observe::{self, ServerPhase},
    protocol::{Level, Version, capability::Profile, code::Reason},
};

/// A caller waits for a try that is due this soon, and is sent away from a later one.
const PATIENCE: Duration = Duration::from_secs(1);
/// How much later than a start's own deadline its callers give up.
const VERDICT: Duration = Duration::from_millis(500);

pub struct Server {
    pub(super) settings: Arc<ServerSettings>,
    /// As far as the configuration goes.
    is_enabled: bool,
    pub(super) commons: Arc<Commons>,
    pub(super) ready: ArcSwap<Ready>,
    /// Somebody gave back an instance that callers want for themselves alone.
    pub(super) freed: Arc<Notify>,
    /// An instance came up.
    pub(super) came: Notify,
    /// What is to be logged, for those who said so.
    levels: Mutex<HashMap<Key, Level>>,
    pub(super) life: Mutex<Life>,
    /// What connections to a remote server share.
    pub(super) remote: Arc<remote::target::Common>,
    /// Its offer is known: stored, or sent as `Learned`.
    pub(super) is_learned: AtomicBool,
    /// When it was first to be learned because somebody wanted a list.
    pub(super) wanted_at: OnceLock<Instant>,
    /// The first try to learn it has ended.
    pub(super) tried: CancellationToken,
    /// One listing at a time.
    pub(super) listing: tokio::sync::Mutex<Listings>,
    /// When that is too old.
    pub(super) age: Age,
    /// For whom it lists, or was tried to list, besides those who can do nothing.
    pub(super) profiles: Profiles,
    /// Those for whom a listing after `list_changed` is on its way.
    pub(super) relisting: Mutex<HashSet<Profile>>,
    /// One at a time asks what it speaks.
    pub(super) renegotiated: tokio::sync::Mutex<Option<Verdict>>,
    /// Starts and stops by request, one after the other.
    turn: tokio::sync::Mutex<()>,
    /// Under `pool.scope: call`, the instances each principal may have.
    pub(super) places: Mutex<HashMap<Arc<str>, Arc<Semaphore>>>,
    /// When a caller last took an instance: milliseconds since 1970, at most `USED_TICK_MS` behind; 0 for never.
    pub(super) used_ms: AtomicU64,
}

#[derive(Debug)]
pub(super) struct Life {
    pub(super) pool: Pool,
    /// Starts of instances that nobody has yet, by what they are told of their callers: whoever needs one may wait for it.
    pub(super) coming: Vec<(Profile, broadcast::Sender<UpstreamError>)>,
    pub(super) run: Run,
    /// The revision it spoke last, so that the next start need not probe.
    pub(super) era: Option<Version>,
    /// What it spoke last, also while it starts.
    pub(super) is_stateless: bool,
    /// It spoke once, or what it spoke was stored.
    pub(super) is_known: bool,
    /// Stopped by request.
    is_held: bool,
    is_disabled: bool,
    /// Started by request, which a `manual` server needs.
    is_wanted: bool,
    is_closing: bool,
    stopping: usize,
    /// The last start or instance failed.
    pub(super) is_crashed: bool,
    pub(super) last_error: Option<String>,
    pub(super) restart_count: u32,
    /// Of instances that are gone.
    pub(super) noise: Noise,
}

/// From one stop by request to the next: its tasks, and what tells them to end.
#[derive(Clone, Debug, Default)]
pub(super) struct Run {
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
}

impl Server {
    pub(super) fn new(
        settings: &Arc<ServerSettings>,
        is_tenant_enabled: bool,
        commons: &Arc<Commons>,
        known: Option<Version>,
    ) -> Arc<Self> {
        let is_enabled = is_tenant_enabled && settings.enabled && settings.error.is_none();
        let life = Life {
            pool: Pool::default(),
            coming: Vec::new(),
            run: Run::default(),
            era: known,
            is_stateless: known == Some(Version::STATELESS),
            is_known: known.is_some(),
            is_held: false,
            is_disabled: !is_enabled,
            is_wanted: false,
            is_closing: false,
            stopping: 0,
            is_crashed: false,
            last_error: None,
            restart_count: 0,
            noise: Noise::default(),
        };
        Arc::new(Self {
            settings: Arc::clone(settings),
            is_enabled,
            commons: Arc::clone(commons),
            ready: ArcSwap::from_pointee(Pool::default().ready(known == Some(Version::STATELESS))),
            freed: Arc::default(),
            came: Notify::new(),
            levels: Mutex::default(),
            life: Mutex::new(life),
            remote: Arc::default(),
            is_learned: AtomicBool::new(known.is_some()),
            wanted_at: OnceLock::new(),
            tried: CancellationToken::new(),
            listing: tokio::sync::Mutex::default(),
            age: Age::new(),
            profiles: Profiles::default(),
            relisting: Mutex::default(),
            renegotiated: tokio::sync::Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            places: Mutex::default(),
            used_ms: AtomicU64::new(0),
        })
    }

    pub fn settings(&self) -> &Arc<ServerSettings> {
        &self.settings
    }

    /// Whether what was begun on a connection may be known to the server on another: a remote server may keep it, a process that is gone
    /// keeps nothing.
    pub fn may_remember(&self) -> bool {
        matches!(self.settings.launch, Launch::Remote(_))
    }

    /// By its entry, or by request.
    pub fn is_disabled(&self) -> bool {
        self.life().is_disabled
    }

    /// Until when a caller waits for a start: a little longer than the start itself may take, since its own end says more.
    pub(super) fn patience(&self) -> Instant {
        Instant::now() + self.settings.timeouts.start + VERDICT
    }

    /// As `GET /api/servers` shows it.
    pub fn status(&self) -> Status {
        let now = Instant::now();
        let life = self.life();
        let state = life.state();
        let coming = || life.pool.shares().filter_map(|share| Some((share, share.coming.as_ref()?)));
        let retries = coming().filter_map(|(share, coming)| Some((share.backoff.failures(), coming.due?)));
        let retry = retries.min_by_key(|(_, due)| *due);
        let mut noise = life.noise;
        life.pool.instances().for_each(|instance| noise += instance.link.noise());
        Status {
            state,
            usable: self.usable(&life, state, retry.is_some()),
            error: self.settings.error.clone().or_else(|| life.last_error.clone().filter(|_| state == State::Crashed)),
            last_error: self.settings.error.clone().or_else(|| life.last_error.clone()),
            started_at: life.pool.instances().map(|instance| instance.started_at).min(),
            restart_count: life.restart_count,
            instances: life.pool.instances().count(),
            pids: life.pool.instances().filter_map(|instance| instance.pid).collect(),
            breaker: matches!(self.settings.launch, Launch::Remote(_)).then(|| self.remote.breaker()),
            in_flight: life.pool.instances().map(|instance| instance.link.in_flight()).sum(),
            retry: retry.map(|(failures, due)| (failures, SystemTime::now() + due.saturating_duration_since(now))),
            noise,
        }
    }

    /// By request: forgets back-off, returns after the first good handshake; running already is no error.
    ///
    /// # Errors
    /// It is disabled, or its first try failed.
    pub async fn start(self: &Arc<Self>) -> Result<(), UpstreamError> {
        if self.life().is_closing {
            return Err(UpstreamError::shutting_down(&self.settings.id));
        }
        let _turn = self.turn.lock().await;
        let until = self.patience();
        let coming = {
            let mut life = self.life();
            life.is_held = false;
            life.is_wanted = true;
            life.is_disabled = !self.is_enabled;
            self.admit(&life)?;
            if life.pool.instances().next().is_some() {
                return Ok(());
            }
            life.pool.shares_mut().for_each(|share| share.backoff.forget());
            let waiting = life.pool.shares().find_map(|share| share.coming.as_ref());
            match waiting {
                Some(coming) => {
                    coming.hurry.notify_one();
                    coming.failed.subscribe()
                }
                None => self.come(&mut life, &self.unbound(), false),
            }
        };
        self.wait(coming, until).await?;
        // Stopped again in between.
        self.admit(&self.life())
    }

    /// By request: holds until a start by request. Returns when every process is gone.
    pub async fn stop(self: &Arc<Self>, disable: bool) {
        {
            let mut life = self.life();
            life.is_held = true;
            life.is_wanted = false;
            life.is_disabled |= disable;
        }
        self.end_run().await;
    }

    /// A session is over: nobody will ask for its instances again.
    pub(super) fn forget_session(&self, session: &str) {
        let pool = &self.settings.pool;
        if pool.scope != Scope::Session && pool.interactive == Interactive::Never {
            return;
        }
        self.forget_levels(session);
        let mut life = self.life();
        for share in life.pool.shares_of(session) {
            share.instances.iter().for_each(|instance| instance.stop.cancel());
            // One on its way finds that nobody waits for it any more (`is_forgotten`).
            share.coming = None;
        }
    }

    /// No start from now on; stops what runs. Returns when every process is gone.
    pub(super) async fn close(self: &Arc<Self>) {
        self.life().is_closing = true;
        self.end_run().await;
    }

    /// The start of a `boot` server; returns when it was tried once.
    pub(super) async fn boot(self: &Arc<Self>) {
        let coming = {
            let mut life = self.life();
            if self.admit(&life).is_err() {
                return;
            }
            self.come(&mut life, &self.unbound(), true)
        };
        let _ = self.wait(coming, self.patience()).await;
    }

    pub(super) fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// After every change of the pool.
    pub(super) fn publish(&self, life: &Life) {
        self.ready.store(Arc::new(life.pool.ready(life.is_stateless)));
    }

    pub(super) fn emit(&self, life: &Life, phase: ServerPhase) {
        let state = life.state().as_str();
        self.commons.bus.emit(observe::Event::Server { id: self.settings.id.clone(), phase, state });
    }

    pub(super) fn levels(&self) -> MutexGuard<'_, HashMap<Key, Level>> {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn deadline(&self) -> Deadline {
        Deadline { call: self.settings.timeouts.call, call_max: self.settings.timeouts.call_max }
    }

    /// Where instances start that nobody asked for by name.
    pub(super) fn unbound(&self) -> Slot {
        (self.settings.pool.scope == Scope::Shared).then_some(Key::EVERYONE)
    }

    /// Keeps `pool.spare` instances unbound, once anything of this server was needed.
    pub(super) fn replenish(self: &Arc<Self>, life: &mut Life) {
        let spare = self.settings.pool.spare;
        let is_spare = |instance: &&Arc<Instance>| instance.profile == Profile::BARE;
        let unbound = life.pool.share(&None).map_or(0, |share| share.instances.iter().filter(is_spare).count());
        if self.settings.pool.scope != Scope::Shared && unbound < spare && self.admit(life).is_ok() {
            let _ = self.come_patiently(life, &None);
        }
    }

    /// May it run at all?
    pub(super) fn admit(&self, life: &Life) -> Result<(), UpstreamError> {
        let id = &self.settings.id;
        if life.is_closing {
            return Err(UpstreamError::shutting_down(id));
        }
        if life.is_disabled {
            return Err(self.disabled());
        }
        if life.is_held || (self.settings.start == Start::Manual && !life.is_wanted) {
            return Err(UpstreamError::stopped(id));
        }
        Ok(())
    }

    /// Whether it may be used at all, running or not.
    ///
    /// # Errors
    /// It is disabled: why, and what enables it.
    pub fn check_enabled(&self) -> Result<(), UpstreamError> {
        if self.life().is_disabled { Err(self.disabled()) } else { Ok(()) }
    }

    fn disabled(&self) -> UpstreamError {
        let why = match &self.settings.error {
            Some(error) => format!("is disabled: {error}"),
            None if !self.is_enabled => "is disabled in its file; set \"enabled\": true there".to_owned(),
            None => "was disabled by request; start it first".to_owned(),
        };
        UpstreamError::new(&self.settings.id, Reason::Disabled, why)
    }

    /// Joins or begins a start; refuses while the next try is further away than anybody likes to wait.
    pub(super) fn come_patiently(self: &Arc<Self>, life: &mut Life, slot: &Slot) -> Result<Failed, UpstreamError> {
        let now = Instant::now();
        if let Some(share) = life.pool.share(slot) {
            let left = match &share.coming {
                Some(coming) => coming.due.map(|due| due.saturating_duration_since(now)),
                None => share.backoff.left(now),
            };
            if let Some(left) = left.filter(|left| *left > PATIENCE || share.coming.is_none()) {
                let id = &self.settings.id;
                let error = match share.coming {
                    Some(_) if self.is_known() => UpstreamError::new(id, Reason::Crashed, "failed and will be tried again soon"),
                    _ => self.last_failure(life),
                };
                return Err(error.retry_after(left));
            }
        }
        Ok(self.come(life, slot, false))
    }

    /// Of the start that failed last.
    pub(super) fn last_failure(&self, life: &Life) -> UpstreamError {
        start_failed(&self.settings.id, life.last_error.as_deref().unwrap_or("see the log of the hub"))
    }

    /// Joins a start or begins one.
    fn come(self: &Arc<Self>, life: &mut Life, slot: &Slot, keeps_trying: bool) -> Failed {
        match &life.pool.share_mut(slot).coming {
            Some(coming) => coming.failed.subscribe(),
            None => self.launch(life, slot, None, keeps_trying),
        }
    }

    pub(super) async fn wait(&self, mut coming: Failed, until: Instant) -> Result<(), UpstreamError> {
        loop {
            return match timeout_at(until, coming.recv()).await {
                Err(_) => Err(UpstreamError::start_timed_out(&self.settings.id, self.settings.timeouts.start)),
                // Ready, or stopped: the caller looks again.
                Ok(Err(RecvError::Closed)) => Ok(()),
                // Of several failures the newest is kept.
                Ok(Err(RecvError::Lagged(_))) => continue,
                Ok(Ok(error)) => Err(error),
            };
        }
    }

    /// Ends every process, and every start under way.
    async fn end_run(self: &Arc<Self>) {
        let (run, is_up) = {
            let mut life = self.life();
            let run = std::mem::take(&mut life.run);
            life.pool = Pool::default();
            life.coming.clear();
            self.publish(&life);
            life.is_crashed = false;
            let is_up = !run.tasks.is_empty();
            if is_up {
                life.stopping += 1;
                self.emit(&life, ServerPhase::Stopping);
            }
            (run, is_up)
        };
        run.stop.cancel();
        run.tasks.close();
        let server = Arc::clone(self);
        let ended = tokio::spawn(async move {
            // A start by request that comes now finds the old processes gone, and who stops it once more waits for them too.
            let _turn = server.turn.lock().await;
            if is_up {
                run.tasks.wait().await;
                let mut life = server.life();
                life.stopping -= 1;
                server.emit(&life, ServerPhase::Stopped);
            }
        });
        // Whoever asked may leave; what has begun goes on.
        let _ = ended.await;
    }

    fn usable(&self, life: &Life, state: State, is_retrying: bool) -> Usable {
        if life.is_disabled {
            return Usable::Disabled;
        }
        let may_start = self.admit(life).is_ok();
        match state {
            State::Running => Usable::Connected,
            State::Starting => Usable::Connecting,
            _ if is_retrying => Usable::Connecting,
            State::Stopped if may_start && self.is_learned.load(Ordering::Acquire) => Usable::Connected,
            State::Stopped | State::Crashed | State::Stopping => Usable::Disconnected,
        }
    }
}

impl Life {
    /// A start for nobody in particular, told of this, to wait for.
    pub(super) fn coming_as(&self, profile: Profile) -> Option<Failed> {
        self.coming.iter().find(|(of, _)| *of == profile).map(|(_, failed)| failed.subscribe())
    }

    pub(super) fn state(&self) -> State {
        let mut coming = self.pool.shares().filter_map(|share| share.coming.as_ref());
        if self.pool.instances().next().is_some() {
            State::Running
        } else if self.stopping > 0 {
            State::Stopping
        } else if coming.any(|coming| coming.due.is_none()) {
            State::Starting
        } else if self.is_crashed {
            State::Crashed
        } else {
            State::Stopped
        }
    }
}

/// `why`: one line, as in the log and in `last_error`.
pub(super) fn start_failed(id: &crate::name::ServerId, why: &str) -> UpstreamError {
    UpstreamError::new(id, Reason::StartFailed, format!("did not start: {why}"))
}
