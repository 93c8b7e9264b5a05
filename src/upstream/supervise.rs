//! How an instance comes up. One task per start; how it serves and ends is `serve`.
//!
//! ```text
//! launch ─► come_up: [wait] ─► bring_up ─► joined the pool ─► serve ─┬─► asked, idle, used up: stopped in order
//!             ▲  └─ failed: told to who waits, perhaps tried again   └─► exited, pipe broken: calls failed, killed
//!             └────────────── comes back after the back-off ◄──────────────────────┘
//! ```

use std::{
    collections::HashSet,
    sync::{Arc, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{OwnedSemaphorePermit, broadcast},
    time::{Instant, sleep, timeout},
};
use tokio_util::task::TaskTracker;

use super::{
    Server, UpstreamError, Whose,
    backoff::Backoff,
    child::{
        link::{Bounds, Link},
        probe::{First, GreetError, Greeting, Speaker, greet},
        process::{Pipes, Process},
        stderr::Stderr,
        unrun,
    },
    exit,
    instance::{Born, Instance},
    news::Outlet,
    pool::{Coming, Failed, Key, Slot},
    remote::{
        greet::{ConnectError, Dial},
        target::Target,
    },
    server::{Life, Run, start_failed},
    starts::Place,
    wire::Wire,
};
use crate::{
    bridge::question,
    config::{
        Scope, ServerSettings, Start,
        placeholder::{self, Program, Resolved},
        remote::Destination,
        veil::Veil,
    },
    observe::ServerPhase,
    protocol::{Era, Version, capability::Profile},
};

/// After a process has exited, what it wrote last is still read for so long.
pub(super) const LAST_WORDS: Duration = Duration::from_millis(50);
/// What has answered the handshake.
struct Up {
    /// None of a remote server.
    process: Option<Process>,
    born: Born,
    stderr: Option<Stderr>,
}

/// What is started, for whom.
struct Of<'a> {
    slot: &'a Slot,
    /// What they can be asked.
    profile: Profile,
    /// What the server is told: roots that are configured stand in for those that nobody has.
    told: Profile,
    /// What is said of it is said without this.
    veil: Veil,
}

impl<'a> Of<'a> {
    fn new(slot: &'a Slot, profile: Profile, settings: &ServerSettings, veil: Veil) -> Self {
        let told = if settings.roots.is_empty() { profile } else { profile.with(Profile::ROOTS) };
        Self { slot, profile, told, veil }
    }

    fn born(&self, link: Wire, pid: Option<u32>, greeting: Greeting, outlet: Arc<Outlet>) -> Born {
        let profile = if greeting.version.era() == Era::Handshake { self.profile } else { Profile::BARE };
        Born { link, pid, greeting, profile, outlet }
    }
}

/// Why a start came to nothing: one line for the log and `last_error`.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("{0}")]
    Placeholder(#[from] placeholder::PlaceholderError),
    #[error("cannot be run: {0}")]
    Spawn(String),
    #[error("{told}")]
    Greet { error: GreetError, told: String },
    #[error("{0}")]
    Connect(#[from] ConnectError),
    #[error("was stopped while it started")]
    Stopped,
}

impl StartError {
    /// The next try would come to the same.
    fn is_for_good(&self) -> bool {
        matches!(self, Self::Greet { error: GreetError::Itself, .. } | Self::Connect(ConnectError::Itself))
    }
}

impl Server {
    /// Begins a start in the background, after `wait`. `keeps_trying`: after a failure too.
    pub(super) fn launch(self: &Arc<Self>, life: &mut Life, slot: &Slot, wait: Option<Duration>, keeps_trying: bool) -> Failed {
        let coming = Coming::new(wait);
        let failed = coming.failed.subscribe();
        life.pool.share_mut(slot).coming = Some(coming);
        let run = life.run.clone();
        let come_up = Arc::clone(self).come_up(slot.clone(), wait, keeps_trying, run);
        life.run.tasks.spawn(come_up);
        failed
    }

    /// A start besides the one that everybody may join. It holds the caller's place for as long as it takes.
    pub(super) fn launch_beside(self: &Arc<Self>, life: &Life, profile: Profile, place: Arc<OwnedSemaphorePermit>) -> Failed {
        let failed = broadcast::Sender::new(1);
        let receiver = failed.subscribe();
        let (server, run) = (Arc::clone(self), life.run.clone());
        life.run.tasks.spawn(async move {
            let _place = place;
            match server.bring_up(&None, profile, &run, None).await {
                Ok(up) => server.join(&None, up, &run, Begun::Beside),
                Err(error) => {
                    let mut life = server.life();
                    if !is_current(&life, &run) {
                        return;
                    }
                    let _ = server.note_failure(&mut life, &None, &error);
                    drop(life);
                    // Who waited may have left.
                    let _ = failed.send(start_failed(&server.settings.id, &error.to_string()));
                }
            }
        });
        receiver
    }

    /// Joins or begins a start for nobody in particular, told of this. Whoever is first takes it.
    pub(super) fn come_as(self: &Arc<Self>, life: &mut Life, profile: Profile) -> Failed {
        if let Some(coming) = life.coming_as(profile) {
            return coming;
        }
        let failed = broadcast::Sender::new(1);
        let receiver = failed.subscribe();
        life.coming.push((profile, failed.clone()));
        let (server, run) = (Arc::clone(self), life.run.clone());
        life.run.tasks.spawn(async move {
            let up = server.bring_up(&None, profile, &run, None).await;
            let error = match up {
                Ok(up) => {
                    server.join(&None, up, &run, Begun::Beside);
                    None
                }
                Err(error) => Some(error),
            };
            let mut life = server.life();
            if !is_current(&life, &run) {
                return;
            }
            life.coming.retain(|(_, other)| !other.same_channel(&failed));
            if let Some(error) = error {
                let (wait, _) = server.note_failure(&mut life, &None, &error);
                // Who waited may have left.
                let _ = failed.send(start_failed(&server.settings.id, &error.to_string()).retry_after(wait));
            }
        });
        receiver
    }

    async fn come_up(self: Arc<Self>, slot: Slot, mut wait: Option<Duration>, keeps_trying: bool, run: Run) {
        loop {
            let place = match wait {
                Some(wait) => self.wait_to_try(&slot, wait, &run, keeps_trying).await,
                None => None,
            };
            {
                let mut life = self.life();
                if !is_current(&life, &run) || is_forgotten(&life, &slot) {
                    return;
                }
                if let Some(coming) = &mut life.pool.share_mut(&slot).coming {
                    coming.due = None;
                }
                if wait.is_some() {
                    life.restart_count += 1;
                }
                self.emit(&life, ServerPhase::Starting);
            }
            let profile = slot.as_ref().map_or(Profile::BARE, |key| key.profile);
            let error = match self.bring_up(&slot, profile, &run, place).await {
                Ok(up) => {
                    self.join(&slot, up, &run, Begun::ForAll);
                    return;
                }
                Err(error) => error,
            };
            let mut life = self.life();
            if !is_current(&life, &run) {
                return;
            }
            let (next, may_retry) = self.note_failure(&mut life, &slot, &error);
            let share = life.pool.share_mut(&slot);
            if let Some(coming) = &mut share.coming {
                let is_next = (keeps_trying || self.is_to_be_learned(&slot)) && may_retry;
                let error = start_failed(&self.settings.id, &error.to_string()).retry_after(next);
                coming.due = is_next.then(|| Instant::now() + next);
                // Nobody may be waiting for it.
                let _ = coming.failed.send(error);
                if !is_next {
                    share.coming = None;
                }
            }
            wait = share.coming.is_some().then_some(next);
            self.emit(&life, ServerPhase::Failed);
            if wait.is_none() {
                return;
            }
        }
    }

    /// One that is tried only so that it is known what it offers gets a place apart, unless somebody wants it by then.
    async fn wait_to_try(&self, slot: &Slot, wait: Duration, run: &Run, keeps_trying: bool) -> Option<Place<'_>> {
        let hurry = self.life().pool.share(slot).and_then(|share| share.coming.as_ref()).map(|coming| Arc::clone(&coming.hurry));
        let hurry = hurry?;
        let waited = async {
            sleep(wait).await;
            if keeps_trying { None } else { self.commons.starts.begin_unasked(&self.settings.id.tenant).await }
        };
        tokio::select! {
            biased;
            () = run.stop.cancelled() => None,
            () = hurry.notified() => None,
            place = waited => place,
        }
    }

    /// Logged here, once.
    fn note_failure(&self, life: &mut Life, slot: &Slot, error: &StartError) -> (Duration, bool) {
        tracing::warn!(server = %self.settings.id, %error, "start failed");
        life.is_crashed = true;
        life.last_error = Some(error.to_string());
        life.pool.tidy(&self.settings.restart);
        // Whoever waits to learn it has waited enough.
        if slot.as_ref().is_none_or(|key| key.profile == Profile::BARE) {
            self.tried.cancel();
        }
        let (next, may_retry) = life.pool.share_mut(slot).backoff.fail(&self.settings.restart, Instant::now());
        (next, may_retry && !error.is_for_good())
    }

    /// From nothing to a greeting, within `timeouts.start`. What was begun is gone when it fails.
    async fn bring_up(&self, slot: &Slot, profile: Profile, run: &Run, place: Option<Place<'_>>) -> Result<Up, StartError> {
        let begin = async {
            match place {
                Some(place) => place,
                None => self.commons.starts.begin(&self.settings.id.tenant).await,
            }
        };
        let starting = tokio::select! {
            biased;
            () = run.stop.cancelled() => return Err(StartError::Stopped),
            starting = begin => starting,
        };
        let until = Instant::now() + self.settings.timeouts.start;
        let resolved = tokio::select! {
            biased;
            () = run.stop.cancelled() => return Err(StartError::Stopped),
            resolved = self.resolve() => resolved?,
        };
        let (resolved, veil) = resolved;
        let of = Of::new(slot, profile, &self.settings, veil);
        let known = self.life().era.take().map(Version::era);
        let up = match (&resolved, known) {
            (Resolved::Remote(destination), known) => self.connect(&of, destination, known, until, run).await,
            // What is known may be out of date: a new release of the server.
            (Resolved::Program(program), Some(era)) => match self.try_up(&of, program, first_of(era), until, run).await {
                Err(StartError::Greet { .. }) if Instant::now() < until => self.probe(&of, program, until, run).await,
                up => up,
            },
            (Resolved::Program(program), None) => self.probe(&of, program, until, run).await,
        }?;
        drop(starting);
        self.life().era = Some(up.born.greeting.version);
        Ok(up)
    }

    /// Commands may be run for it.
    async fn resolve(&self) -> Result<(Resolved, Veil), StartError> {
        #[cfg(test)]
        if self.commons.stage.get().is_some() {
            return Ok(placeholder::resolve_veiled(&self.settings)?);
        }
        let settings = Arc::clone(&self.settings);
        let resolved = tokio::task::spawn_blocking(move || placeholder::resolve_veiled(&settings)).await;
        Ok(resolved.map_err(|error| StartError::Spawn(error.to_string()))??)
    }

    async fn connect(
        &self,
        of: &Of<'_>,
        destination: &Destination,
        known: Option<Era>,
        until: Instant,
        run: &Run,
    ) -> Result<Up, StartError> {
        let target = Target::new(&self.settings, &self.remote, destination, &of.veil);
        let outlet = self.outlet(of);
        let speaker = Speaker { profile: of.told, mark: self.commons.mark.without_files() };
        let dial = Dial { target, bounds: self.bounds(), outlet: Arc::clone(&outlet), speaker, until };
        let (link, greeting) = tokio::select! {
            biased;
            () = run.stop.cancelled() => return Err(StartError::Stopped),
            connected = dial.connect(known, &run.tasks) => connected?,
        };
        Ok(Up { process: None, born: of.born(link, None, greeting, outlet), stderr: None })
    }

    fn bounds(&self) -> Bounds {
        Bounds { line_bytes: self.commons.limits.line_bytes, queue: self.commons.limits.queue }
    }

    fn outlet(&self, of: &Of<'_>) -> Arc<Outlet> {
        let roots = (of.told != of.profile).then(|| question::roots(&self.settings.roots).into());
        let (commons, id) = (&self.commons, self.settings.id.clone());
        let outlet = Outlet::new(id, commons.next_connection(), commons.news.get().cloned(), roots);
        // Now: many ask for roots with their first breath.
        outlet.settle(of.slot.as_ref().map(Key::owner));
        outlet
    }

    async fn probe(&self, of: &Of<'_>, program: &Program, until: Instant, run: &Run) -> Result<Up, StartError> {
        match self.try_up(of, program, First::Discover, until, run).await {
            // Some of the handshake era end themselves on any other first word.
            Err(StartError::Greet { error: GreetError::Gone, .. }) => self.try_up(of, program, First::Initialize, until, run).await,
            up => up,
        }
    }

    async fn try_up(&self, of: &Of<'_>, program: &Program, first: First, until: Instant, run: &Run) -> Result<Up, StartError> {
        #[cfg(test)]
        if let Some(stage) = self.commons.stage.get() {
            let (process, pipes) = stage(&self.settings.id).map_err(|error| StartError::Spawn(error.to_string()))?.into_process();
            return self.meet(of, process, pipes, first, until, run).await;
        }
        let spawned = Process::spawn(program, &self.commons.groups);
        let (process, pipes) = spawned.map_err(|error| StartError::Spawn(unrun::why(&self.settings.launch, program, &error)))?;
        self.meet(of, process, pipes, first, until, run).await
    }

    /// The first words with a new process.
    async fn meet(
        &self,
        of: &Of<'_>,
        process: Process,
        pipes: Pipes<
            impl AsyncWrite + Unpin + Send + 'static,
            impl AsyncRead + Unpin + Send + 'static,
            impl AsyncRead + Unpin + Send + 'static,
        >,
        first: First,
        until: Instant,
        run: &Run,
    ) -> Result<Up, StartError> {
        let id = self.settings.id.clone();
        let stderr = Stderr::read(pipes.stderr, &id, &of.veil, &run.tasks);
        let outlet = self.outlet(of);
        let link = Link::start(&id, self.bounds(), Arc::clone(&outlet), pipes.stdout, pipes.stdin, &run.tasks);
        let speaker = Speaker { profile: of.told, mark: self.commons.mark.clone() };
        let mut up = Starting { process: Some(process), link, stderr };
        let greeted = tokio::select! {
            biased;
            () = run.stop.cancelled() => Err(None),
            greeted = up.greet(first, &speaker, until) => greeted.map_err(Some),
        };
        match (greeted, up.process.take()) {
            (Ok(greeting), Some(process)) => {
                let born = of.born(Wire::Pipe(up.link), Some(process.id()), greeting, outlet);
                Ok(Up { process: Some(process), born, stderr: Some(up.stderr) })
            }
            (greeted, process) => {
                up.link.close(&UpstreamError::gone(&id));
                let error = greeted.err().flatten();
                let mut status = None;
                if let Some(mut process) = process {
                    if error == Some(GreetError::Gone) {
                        // A pipe ends a moment before its process.
                        status = timeout(LAST_WORDS, process.exited()).await.ok().flatten();
                    }
                    process.kill_and_wait().await;
                }
                let words = up.stderr.last_words(LAST_WORDS).await;
                let Some(error) = error else { return Err(StartError::Stopped) };
                let how = if error == GreetError::Gone { exit::in_handshake(status) } else { error.to_string() };
                // What a hub has to say of itself is its whole log.
                let told = match words.filter(|_| error != GreetError::Itself) {
                    Some(words) => format!("{how}: {words}"),
                    None => how,
                };
                Err(StartError::Greet { error, told })
            }
        }
    }

    fn join(self: &Arc<Self>, slot: &Slot, up: Up, run: &Run, begun: Begun) {
        let Up { process, born, stderr } = up;
        let is_for_one = self.settings.pool.scope == Scope::Call;
        let (version, profile) = (born.greeting.version, born.profile);
        let instance = Instance::new(born, run.stop.child_token(), is_for_one, &self.freed);
        run.tasks.spawn(Arc::clone(self).serve(Arc::clone(&instance), process, stderr, run.clone()));
        let mut life = self.life();
        // Else it was stopped in this moment, and `serve` finds its token cancelled.
        if !is_current(&life, run) {
            return;
        }
        if is_forgotten(&life, slot) {
            instance.stop.cancel();
            return;
        }
        tracing::info!(server = %self.settings.id, pid = instance.pid, version = version.as_str(), "started");
        life.is_stateless = version.era() == Era::Stateless;
        life.is_known = true;
        let is_first = life.pool.one_of(profile).is_none();
        if begun == Begun::ForAll {
            life.pool.share_mut(slot).coming = None;
        }
        // Stateless after all: it is of use to more than those it was started for, so whoever looks first takes it.
        let slot = slot.clone().filter(|key| key.profile == profile);
        instance.bind(slot.as_ref());
        self.apply_level(&slot, &instance);
        self.listen(&instance, run);
        life.pool.share_mut(&slot).instances.push(Arc::clone(&instance));
        life.is_crashed = false;
        self.publish(&life);
        self.came.notify_waiters();
        self.emit(&life, ServerPhase::Started);
        self.replenish(&mut life);
        if is_first {
            self.list(&life, &instance);
        }
    }

    pub(super) fn relist_soon(self: &Arc<Self>, instance: &Arc<Instance>, run: &Run) {
        if self.relisting().insert(instance.profile) {
            run.tasks.spawn(Arc::clone(self).relist_coalesced(Arc::clone(instance)));
        }
    }

    pub(super) fn relisting(&self) -> MutexGuard<'_, HashSet<Profile>> {
        self.relisting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// In the background. Where nothing is known of the server yet, again and again until it says what it offers: nobody calls what is
    /// not listed.
    pub(super) fn list(self: &Arc<Self>, life: &Life, instance: &Arc<Instance>) {
        let (server, instance) = (Arc::clone(self), Arc::clone(instance));
        life.run.tasks.spawn(async move {
            let mut backoff = Backoff::default();
            while server.learn_from(&instance).await.is_err() && !server.is_known() {
                let (wait, may_retry) = backoff.fail(&server.settings.restart, Instant::now());
                if !may_retry || timeout(wait, instance.link.signs().closed()).await.is_ok() {
                    return;
                }
            }
        });
    }

    /// An instance on its way for nobody in particular is the one through which the server is learned.
    pub(super) fn is_to_be_learned(&self, slot: &Slot) -> bool {
        *slot == self.unbound() && self.settings.start != Start::Manual && !self.is_known()
    }
}

/// How a start was begun.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Begun {
    /// As the one that everybody may join (`Share::coming`).
    ForAll,
    /// For one caller, beside that.
    Beside,
}

/// A process that has not answered yet.
struct Starting {
    process: Option<Process>,
    link: Link,
    stderr: Stderr,
}

impl Starting {
    async fn greet(&mut self, first: First, speaker: &Speaker, until: Instant) -> Result<Greeting, GreetError> {
        let exited = async {
            match &mut self.process {
                Some(process) => drop(process.exited().await),
                None => std::future::pending().await,
            }
        };
        let link = &self.link;
        let mut greeting = std::pin::pin!(greet(link, first, speaker, until));
        tokio::select! {
            biased;
            greeting = &mut greeting => return greeting,
            () = exited => {}
            () = link.signs().broken() => {}
        }
        // It may have answered before it went, but nobody could use it.
        Err(GreetError::Gone)
    }
}

fn first_of(era: Era) -> First {
    match era {
        Era::Handshake => First::Initialize,
        Era::Stateless => First::Discover,
    }
}

/// The session it was for is over: nobody can ask for it.
fn is_forgotten(life: &Life, slot: &Slot) -> bool {
    matches!(slot, Some(Key { whose: Whose::Session(_), .. })) && life.pool.share(slot).is_none_or(|share| share.coming.is_none())
}

/// No stop by request came since.
pub(super) fn is_current(life: &Life, run: &Run) -> bool {
    TaskTracker::ptr_eq(&life.run.tasks, &run.tasks)
}
