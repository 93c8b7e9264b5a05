//! One world: what is configured, who plays it, how it goes on and how it ends. All of it follows from the seed.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    client::{self, Client, Made},
    dice::Dice,
    record::{Record, Share, Story},
    server::{self, AtProbe, Part, Troupe, remote::Hosts},
};
use crate::{
    access::Principal,
    bridge::seal::Sealer,
    catalog::{Catalog, Names},
    config::{Interactive, Launch, Pool, Remote, Restart, Scope, ServerSettings, Settings, Start, Timeouts, remote::Transport},
    control::keep,
    hub::{Endpoint, Hub, Parts},
    limits::{self, Limits},
    name::{ServerId, ServerName, TenantId},
    observe::Bus,
    protocol::{Era, Version},
    random,
    upstream::{Fleet, Learned},
};

/// Every timer of the hub's has ended after this: the longest is that of a parked call.
const QUIET: Duration = Duration::from_secs(15 * 60);
/// How long the end of everything may take.
const END: Duration = Duration::from_secs(120);

const VERSIONS: [Version; 4] = [Version::V2025_03_26, Version::V2025_06_18, Version::V2025_11_25, Version::V2026_07_28];

/// Which world: `17`, or `1:17` of the first edition. What was added since then is rolled for apart, so that a world that was found once can
/// be seen again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seed {
    pub(super) number: u64,
    pub(super) edition: Edition,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Edition {
    /// Knew no tasks.
    First,
    /// Knew no servers over HTTP.
    Second,
    Third,
}

impl Seed {
    pub(super) fn new(number: u64) -> Self {
        Self { number, edition: Edition::Third }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let (edition, number) = match text.split_once(':') {
            Some(("1", number)) => (Edition::First, number),
            Some(("2", number)) => (Edition::Second, number),
            Some(_) => return None,
            None => (Edition::Third, text),
        };
        Some(Self { number: number.parse().ok()?, edition })
    }

    /// Rolls for what came with the second edition; `None` in a world that has none of it.
    fn of_tasks(self) -> Option<Dice> {
        let mut dice = Dice::new(!self.number);
        (self.edition >= Edition::Second && dice.percent(30)).then_some(dice)
    }

    /// The same for the third.
    fn of_remotes(self) -> Option<Dice> {
        let mut dice = Dice::new(self.number.reverse_bits());
        (self.edition >= Edition::Third && dice.percent(25)).then_some(dice)
    }
}

/// Plays the world of this seed to its end.
pub(super) fn play(seed: Seed, prints: bool) -> Story {
    random::seeded::follow(Some(seed.number));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let story = runtime.block_on(async {
        let record = Arc::new(Record::new(prints));
        World::new(seed, &record).run().await;
        // What was aborted is dropped in the next turn; what gathers changes looks up once more.
        sleep(limits::LIST_COALESCE * 2).await;
        let alive = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        if alive > 0 {
            record.wrong(format!("{alive} tasks are left after the end"));
        }
        record.close()
    });
    drop(runtime);
    random::seeded::follow(None);
    story
}

struct World {
    dice: Dice,
    of_tasks: Option<Dice>,
    record: Arc<Record>,
    hub: Arc<Hub>,
    fleet: Arc<Fleet>,
    parts: Vec<Arc<Part>>,
    tenants: Vec<TenantId>,
    doors: TaskTracker,
    troupe: Arc<Troupe>,
    hosts: Arc<Hosts>,
    /// Many calls at a time, of few principals.
    is_crowded: bool,
}

impl World {
    fn new(seed: Seed, record: &Arc<Record>) -> Self {
        let mut dice = Dice::new(seed.number);
        let (mut of_tasks, mut of_remotes) = (seed.of_tasks(), seed.of_remotes());
        let is_crowded = dice.percent(40);
        let tenants: Vec<_> =
            ["red", "blue"].iter().take(if dice.percent(30) { 2 } else { 1 }).map(|name| TenantId::new(name).unwrap()).collect();
        let mut parts = Vec::new();
        let mut servers = Vec::new();
        for tenant in &tenants {
            let count = if is_crowded { 1 } else { dice.between(1, 3) };
            for n in 0..count {
                let id = ServerId { tenant: tenant.clone(), name: ServerName::new(&format!("s{n}")).unwrap() };
                let (mut part, mut server) = cast(&mut dice, id);
                if let Some(dice) = &mut of_tasks {
                    let can = part.version >= Version::V2025_11_25;
                    part.makes_tasks = can && dice.percent(80);
                    server.bridge_tasks = dice.percent(60);
                }
                if let Some(dice) = &mut of_remotes
                    && dice.percent(60)
                {
                    (part.is_remote, part.has_stream) = (true, dice.percent(70));
                    // What a wild one fails to list once is missing until it is listed again, which nothing here brings about.
                    part.is_rich &= !part.is_wild;
                    if part.version.era() == Era::Stateless {
                        // It is one for all.
                        part.share = Share::Everyone;
                    }
                    server.launch = Launch::Remote(Remote {
                        url: format!("https://{}.test/mcp", server.id.name),
                        headers: BTreeMap::new(),
                        env: BTreeMap::new(),
                        env_file: None,
                        transport: Transport::default(),
                        allow_private: false,
                    });
                }
                record.line("WORLD", &format!("{part:?} {:?} {:?}", server.pool, server.start));
                parts.push(Arc::new(part));
                servers.push(server);
            }
        }
        let queue = if dice.percent(20) { 2 } else { 64 };
        let settings = Settings {
            limits: Limits { session_idle: Duration::from_secs(300), queue, ..Limits::default() },
            parallel_starts: 16,
            ..Settings::plain(servers)
        };
        let bus = Bus::default();
        let catalog = Arc::new(Catalog::new(limits::LIST_TTL_MS, [7; 32]));
        for tenant in &settings.tenants {
            catalog.declare(&tenant.id, tenant.servers.iter().map(|server| server.id.name.clone()).collect());
        }
        let fleet = Fleet::new(&settings, settings.limits.clone(), bus.clone(), learned(&catalog, &bus), |_| None);
        let by_id: BTreeMap<_, _> = parts.iter().map(|part| (part.id.to_string(), Arc::clone(part))).collect();
        let troupe = Troupe::new(queue < 64);
        fleet.play_on(server::stage(by_id, Arc::clone(record), dice.fork(), Arc::clone(&troupe)));
        let hosts = Hosts::new(&parts, record, of_remotes.unwrap_or_else(|| Dice::new(0)), &troupe);
        fleet.connect_to(&hosts.network());
        let hub = Hub::new(Parts {
            catalog,
            fleet: Arc::clone(&fleet),
            bus,
            limits: settings.limits,
            tenants: tenants.iter().cloned().collect(),
            sealer: Sealer::new(&[1; 32], None),
        });
        Self {
            dice,
            record: Arc::clone(record),
            hub,
            fleet,
            parts,
            tenants,
            of_tasks,
            doors: TaskTracker::new(),
            troupe,
            hosts,
            is_crowded,
        }
    }

    async fn run(mut self) {
        let is_disturbed = Arc::new(AtomicBool::new(false));
        let swept = tokio::spawn(sweep(Arc::clone(&self.hub)));
        let fleet = Arc::clone(&self.fleet);
        let booted = tokio::spawn(async move { fleet.boot().await });
        let mut clients = JoinSet::new();
        let mut everybody = Vec::new();
        let principals = self.principals();
        let count = self.dice.between(2, 6);
        for n in 0..count {
            let own = if self.is_crowded && self.dice.percent(70) { &principals[..1] } else { &principals };
            let (tenant, principal) = self.dice.pick(own).clone();
            let stranger =
                principals.iter().find(|(own, other)| *own == tenant && other.id() != principal.id()).map(|(_, other)| Arc::clone(other));
            let client = self.client(&format!("c{n}"), (&tenant, &principal, &stranger.unwrap()), &is_disturbed, false);
            let wait = self.dice.lag(if self.is_crowded { 500 } else { 20_000 });
            everybody.push(Arc::clone(&client));
            clients.spawn(async move {
                wait.pass().await;
                match client.version.era() {
                    Era::Handshake => client::session::live(client).await,
                    Era::Stateless => client::stateless::live(client).await,
                }
            });
        }
        let meddling = self.dice.percent(20).then(|| self.meddle(&is_disturbed));
        let ends_early = self.dice.percent(20);
        if ends_early {
            let wait = self.dice.millis(0, 60_000);
            sleep(wait).await;
            is_disturbed.store(true, Ordering::Relaxed);
            self.record.line("WORLD", "ends");
            self.hub.stop.cancel();
            self.hub.sessions.end_all();
            let drained = async { while clients.join_next().await.is_some() {} };
            let _ = timeout(limits::DRAIN, drained).await;
            clients.shutdown().await;
            meddling.inspect(tokio::task::JoinHandle::abort);
            everybody.iter().for_each(|client| client.errands.lock().unwrap().abort_all());
        } else {
            while let Some(lived) = clients.join_next().await {
                if let Err(error) = lived {
                    self.record.wrong(format!("a client failed: {error}"));
                }
            }
            if let Some(meddling) = meddling {
                let _ = meddling.await;
            }
            self.be_quiet(&principals).await;
            self.troupe.calm();
            // Whatever broke is forgiven, and nobody has to come back for it.
            is_disturbed.store(false, Ordering::Relaxed);
            for (n, (tenant, principal)) in principals.iter().enumerate() {
                let client = self.client(&format!("z{n}"), (tenant, principal, principal), &is_disturbed, true);
                match client.version.era() {
                    Era::Handshake => client::session::visit(client).await,
                    Era::Stateless => client::stateless::visit(client).await,
                }
            }
            self.be_quiet(&principals).await;
            self.hub.sessions.end_all();
        }
        let _ = booted.await;
        if timeout(END, self.hub.end()).await.is_err() {
            self.record.wrong(format!("the hub does not end: {:?}", self.hub.left()));
        }
        if timeout(END, self.fleet.shutdown()).await.is_err() {
            self.record.wrong(format!("the fleet does not end: {:?}", self.fleet.left()));
        }
        self.doors.close();
        if timeout(END, self.doors.wait()).await.is_err() {
            self.record.wrong(format!("{} calls are not answered at the end", self.doors.len()));
        }
        for server in self.fleet.servers() {
            if !server.is_still() {
                self.record.wrong(format!("{} is not still after the end", server.settings().id));
            }
        }
        if self.record.alive() > 0 {
            self.record.wrong(format!("{} processes are alive after the end", self.record.alive()));
        }
        self.hosts.end().await;
        swept.abort();
        let _ = swept.await;
    }

    /// Waits until everything that callers left behind must be gone.
    async fn be_quiet(&self, principals: &[(TenantId, Arc<Principal>)]) {
        self.record.line("WORLD", "is quiet");
        sleep(if self.of_tasks.is_some() { client::task::QUIET } else { QUIET }).await;
        for left in self.hub.left().into_iter().chain(self.fleet.left()).chain(self.troupe.left()) {
            self.record.wrong(format!("left behind: {left}"));
        }
        for (_, principal) in principals {
            if principal.in_use() > 0 {
                self.record.wrong(format!("{} has {} calls or listens under way", principal.id(), principal.in_use()));
            }
        }
    }

    fn principals(&mut self) -> Vec<(TenantId, Arc<Principal>)> {
        let names = ["ann", "bob", "cat", "dan"];
        let mut principals = Vec::new();
        for (tenant, names) in self.tenants.iter().zip(names.chunks(2)) {
            principals.extend(names.iter().map(|name| (tenant.clone(), Principal::of_tenant(name, tenant.clone()))));
        }
        principals
    }

    /// `who`: of which tenant, who, and who else.
    fn client(
        &mut self,
        name: &str,
        who: (&TenantId, &Arc<Principal>, &Arc<Principal>),
        is_disturbed: &Arc<AtomicBool>,
        is_last: bool,
    ) -> Arc<Client> {
        let (tenant, principal, stranger) = who;
        let mut version = *self.dice.pick(&VERSIONS);
        let mut parts: Vec<_> = self.parts.iter().filter(|part| part.id.tenant == *tenant).cloned().collect();
        let mut server = (!is_last && self.dice.percent(25)).then(|| self.dice.pick(&parts).id.name.clone());
        let asks_for_tasks = self.of_tasks.as_mut().is_some_and(|dice| !is_last && dice.percent(40));
        let of_handshake = |part: &&Arc<Part>| part.makes_tasks && part.version.era() == Era::Handshake;
        if asks_for_tasks && let Some(part) = parts.iter().find(of_handshake) {
            // Only such a client can, and only there.
            (version, server) = (Version::V2025_11_25, Some(part.id.name.clone()));
        }
        parts.retain(|part| server.as_ref().is_none_or(|server| part.id.name == *server));
        let sign = if version.era() == Era::Stateless { "~" } else { "" };
        let name = format!("{}.{name}{sign}", principal.id());
        let made = Made {
            hub: Arc::clone(&self.hub),
            record: Arc::clone(&self.record),
            principal: Arc::clone(principal),
            stranger: Arc::clone(stranger),
            endpoint: Arc::new(Endpoint::plain(tenant.clone(), server, Names::Dotted)),
            name,
            version,
            parts,
            is_disturbed: Arc::clone(is_disturbed),
            doors: self.doors.clone(),
            pace: if self.is_crowded { 300 } else { 4_000 },
            is_last,
            knows_tasks: self.of_tasks.as_mut().is_some_and(|dice| dice.percent(60)),
            dice: Mutex::new(self.dice.fork()),
        };
        let client = Client::new(made);
        self.record.line(
            "WORLD",
            &format!("{} speaks {} at {:?}, can {}", client.name, version.as_str(), client.endpoint.server, client.capabilities),
        );
        client
    }

    /// Stops, starts and refreshes servers, as their owner may.
    fn meddle(&mut self, is_disturbed: &Arc<AtomicBool>) -> tokio::task::JoinHandle<()> {
        is_disturbed.store(true, Ordering::Relaxed);
        let (fleet, record, mut dice) = (Arc::clone(&self.fleet), Arc::clone(&self.record), self.dice.fork());
        tokio::spawn(async move {
            for _ in 0..dice.between(1, 6) {
                sleep(dice.millis(0, 20_000)).await;
                let servers = fleet.servers();
                let server = dice.pick(&servers);
                match dice.below(3) {
                    0 => {
                        record.line("WORLD", &format!("stops {}", server.settings().id));
                        server.stop(false).await;
                        sleep(dice.millis(0, 5_000)).await;
                        let _ = server.start().await;
                    }
                    1 => _ = server.refresh().await,
                    _ => _ = server.start().await,
                }
            }
            for server in fleet.servers() {
                let _ = server.start().await;
            }
        })
    }
}

/// What a keeper does, without a disk.
pub(super) fn learned(catalog: &Arc<Catalog>, bus: &Bus) -> Arc<dyn Fn(Learned) + Send + Sync> {
    let (catalog, bus) = (Arc::clone(catalog), bus.clone());
    Arc::new(move |learned| {
        let id = learned.server.clone();
        let changed = catalog.publish(&id, Arc::new(keep::offer_of(learned, false)));
        keep::announce(&bus, &id, changed);
    })
}

async fn sweep(hub: Arc<Hub>) {
    let stop: CancellationToken = hub.stop.clone();
    while timeout(Duration::from_secs(15), stop.cancelled()).await.is_err() {
        hub.sessions.sweep();
    }
}

/// A configured server, and what its processes are like.
fn cast(dice: &mut Dice, id: ServerId) -> (Part, ServerSettings) {
    let version = *dice.pick(&VERSIONS);
    let is_wild = dice.percent(50);
    let scope = *dice.pick(&[Scope::Shared, Scope::User, Scope::User, Scope::Session, Scope::Call]);
    let interactive = *dice.pick(&[Interactive::Auto, Interactive::Auto, Interactive::Always, Interactive::Never]);
    let size = usize::try_from(dice.between(1, 3)).unwrap();
    let share = match scope {
        _ if version.era() == Era::Stateless && matches!(scope, Scope::Session) => Share::Session,
        Scope::Shared => Share::Everyone,
        Scope::User => Share::Principal,
        Scope::Session => Share::Session,
        Scope::Call => Share::Call,
    };
    let part = Part {
        id: id.clone(),
        version,
        is_wild,
        share,
        at_probe: *dice.pick(&[AtProbe::Refuses, AtProbe::Refuses, AtProbe::Ignores, AtProbe::Exits]),
        pipe_bytes: usize::try_from(*dice.pick(&[64, 1 << 10, 1 << 16])).unwrap(),
        is_stubborn: dice.percent(20),
        slowness: *dice.pick(&[0, 5, 200]),
        ignores_cancel: dice.percent(30),
        is_rich: dice.percent(60),
        stirs: dice.percent(40),
        asks_first: dice.percent(20),
        makes_tasks: false,
        is_remote: false,
        has_stream: false,
    };
    let pool = Pool {
        scope,
        interactive,
        size,
        spare: usize::try_from(dice.below(2)).unwrap().min(size),
        idle_stop: Some(Duration::from_secs(*dice.pick(&[2, 20, 120]))),
    };
    let settings = ServerSettings {
        start: *dice.pick(&[Start::Boot, Start::Demand, Start::Demand]),
        pool,
        restart: Restart { max_retries: dice.percent(20).then_some(2), ..Restart::default() },
        timeouts: Timeouts {
            start: Duration::from_secs(20),
            call: Duration::from_secs(30),
            call_max: Duration::from_secs(120),
            stop: Duration::from_secs(dice.between(1, 5)),
        },
        ..ServerSettings::plain(id)
    };
    (part, settings)
}
