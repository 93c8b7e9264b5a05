//! The composition root: settings in, a running hub, an exit code out. `serve` and `stdio.rs` tell the whole life of a process in
//! order: bind, build, start, run, drain, end.

mod sealing;
mod shards;
mod signals;
mod stages;
mod stdio;

pub use stdio::{Sharing, log_format, serve_stdio};

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;
use shards::Shards;
use signals::Signals;
use stages::{announce, stage, tell};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    access::{Gate, Principal, first_key},
    bridge::seal::Sealer,
    catalog::{Catalog, Names},
    config::{Identity, Settings, settings::Serves},
    control::{Control, Keeper},
    downstream::{
        Doors, Mount, Ready, Stage,
        guard::Guard,
        legacy::Talks,
        listen::{self, Acceptor, BindError},
        local::{door::Door, join, seat::Seat},
        route::Router,
        watch::Watch,
    },
    hub::{Hub, Parts},
    limits,
    observe::{Bus, Log, log::error_line},
    store::Store,
    upstream::Fleet,
};

/// Where the hub keeps what outlives it (`mcp-hub/` below the XDG bases), and what the environment says of it.
#[derive(Clone, Debug)]
pub struct Place {
    pub state: PathBuf,
    pub data: PathBuf,
    /// Told to clients that insist on a version of another product; the log shows the hub's own.
    pub version: String,
}

impl Place {
    /// The newest file of the log.
    pub fn log(&self) -> PathBuf {
        self.state.join("logs/mcp-hub.log")
    }

    /// The key that callers from beyond this machine need.
    fn first_key(&self) -> PathBuf {
        self.state.join("first-key")
    }
}

/// The parts of a hub that every door stands on.
struct Core {
    settings: Arc<Settings>,
    fleet: Arc<Fleet>,
    keeper: Arc<Keeper>,
    hub: Arc<Hub>,
    control: Arc<Control>,
}

impl Core {
    /// Reads what was kept; starts nothing. Fails only without random numbers.
    fn build(settings: Settings, place: &Place) -> std::io::Result<Self> {
        let settings = Arc::new(settings);
        let bus = Bus::default();
        let mut cursor_key = [0; 32];
        getrandom::fill(&mut cursor_key).map_err(std::io::Error::other)?;
        let catalog = Arc::new(Catalog::new(limits::LIST_TTL_MS, cursor_key));
        let (store, sealer) = kept(&place.data)?;
        let keeper = Keeper::load(&settings, store, Arc::clone(&catalog), bus.clone());
        let known = |server: &_| keeper.known(server);
        let fleet = Fleet::new(&settings, settings.limits.clone(), bus.clone(), keeper.learned(), known);
        let tenants = settings.tenants.iter().map(|tenant| tenant.id.clone()).collect();
        let hub = Hub::new(Parts {
            catalog: Arc::clone(&catalog),
            fleet: Arc::clone(&fleet),
            bus: bus.clone(),
            limits: settings.limits.clone(),
            tenants,
            sealer,
        });
        let control = Arc::new(Control::new(Arc::clone(&settings), catalog, Arc::clone(&fleet), bus));
        Ok(Self { settings, fleet, keeper, hub, control })
    }

    /// For processes of this user; calls under way when the hub stops have so long.
    fn local_door(&self, identity: Identity, patience: Duration) -> Door {
        Door { hub: Arc::clone(&self.hub), identity, principal: Principal::local_admin(), patience }
    }

    /// Ends every child, and returns when none is left. `hurry` ends the patience with those that take their time.
    async fn end(&self, hurry: impl Future<Output = ()>) {
        self.hub.end().await;
        let ended = self.fleet.shutdown();
        tokio::pin!(ended, hurry);
        tokio::select! {
            () = &mut ended => {}
            () = &mut hurry => {
                self.fleet.kill_all();
                ended.await;
            }
        }
        self.keeper.written().await;
    }
}

/// What outlives the hub below `folder`. Where that cannot be used the hub does without: lists are learned anew at each start, and
/// states that clients hold are good for as long as this process runs.
fn kept(folder: &Path) -> std::io::Result<(Store, Sealer)> {
    let opened = Store::open(folder.to_owned()).and_then(|store| Ok((sealing::sealer(&store)?, store)));
    opened.map(|(sealer, store)| (store, sealer)).or_else(|error| {
        let folder = folder.display();
        tracing::warn!(%folder, %error, "nothing can be kept in {folder}; make it writable, or set XDG_DATA_HOME to a folder that is");
        let nowhere = Store::nowhere();
        let sealer = sealing::sealer(&nowhere)?;
        Ok((nowhere, sealer))
    })
}

/// `mcp-hub serve`, to its end. `sharing`: the local socket for processes of `mcp-hub stdio`.
pub fn serve(settings: Settings, place: &Place, allow_unauthenticated: bool, sharing: &Sharing, log: &mut Log) -> ExitCode {
    let bound = match bind(&settings) {
        Ok(bound) => bound,
        Err(error) => {
            fail("HTTP_SERVER_ERROR", &said(&error), json!({"host": error.host, "port": error.port, "error": error.name()}));
            return ExitCode::FAILURE;
        }
    };
    let gate = match gate(&settings, place, allow_unauthenticated) {
        Ok(gate) => gate,
        Err(error) => {
            let path = place.first_key().display().to_string();
            let remedy = "make its folder writable, or set XDG_STATE_HOME to one that is";
            fail("HUB_ERROR", &format!("the first key cannot be kept in {path}: {error}; {remedy}"), json!({"path": path}));
            return ExitCode::FAILURE;
        }
    };
    match Shards::start(settings.gateway.threads) {
        Ok(shards) => shards.block_on(run(settings, place, gate, bound, sharing, log, &shards)),
        Err(error) => no_runtime(&error),
    }
}

async fn run(
    settings: Settings,
    place: &Place,
    gate: Gate,
    bound: Vec<Bound>,
    sharing: &Sharing,
    log: &mut Log,
    shards: &Shards,
) -> ExitCode {
    let core = match Core::build(settings, place) {
        Ok(core) => core,
        Err(error) => {
            fail("HUB_ERROR", &format!("the system gives no random numbers: {error}"), json!({}));
            return ExitCode::FAILURE;
        }
    };
    let doors = doors(&core, gate, place, &bound);
    let port = bound.first().map_or(0, |bound| bound.port);
    let watch = Watch::start(limits::CONNECTIONS_MAX);
    let accepting = CancellationToken::new();
    for bound in bound {
        tracing::info!(port = bound.port, "HTTP_SERVER_STARTED");
        let mount = Mount::new(bound.serves, bound.names, bound.port);
        let Ok(acceptor) = Acceptor::new(bound.listener, Arc::clone(&watch)) else {
            fail("HTTP_SERVER_ERROR", "the listener cannot be used", json!({"port": bound.port}));
            return ExitCode::FAILURE;
        };
        shards.serve(acceptor, Arc::clone(&doors), mount, accepting.clone());
    }
    share(sharing, &core, &doors);
    let mut signals = Signals::listen();
    let housekeeping = tokio::spawn(sweep(Arc::clone(&core.hub), doors.stop.clone()));

    tokio::select! {
        () = core.fleet.boot() => {
            doors.ready.set(Stage::Ready);
            announce(&core, port, log);
            signals.next().await;
        }
        () = signals.next() => {}
    }

    tell(log, &stage("stopping", port));
    doors.ready.set(Stage::Stopping);
    doors.stop.cancel();
    core.hub.stop.cancel();
    core.hub.sessions.end_all();
    watch.drain();
    doors.tasks.close();
    let drained = async {
        watch.closed().await;
        doors.tasks.wait().await;
    };
    tokio::select! {
        _ = tokio::time::timeout(limits::DRAIN, drained) => {}
        () = signals.next() => core.fleet.kill_all(),
    }
    // Not before: until the last call is answered, whoever asks is told that the hub is not ready.
    accepting.cancel();
    watch.close();
    core.end(signals.next()).await;
    let _ = housekeeping.await;
    tell(log, &stage("stopped", port));
    ExitCode::SUCCESS
}

/// Listens for local processes, among the doors' tasks, unless another hub of the same configuration does so already.
fn share(sharing: &Sharing, core: &Core, doors: &Doors) {
    let taken = match sharing {
        Ok(join::Place { address, identity }) => match Seat::take(address) {
            Ok(Some(taken)) => Ok((taken, *identity)),
            Ok(None) => Err("another hub of this configuration has it".to_owned()),
            Err(error) => Err(error.to_string()),
        },
        Err(why) => Err(why.clone()),
    };
    match taken {
        Ok(((seat, listener), identity)) => {
            let door = core.local_door(identity, limits::DRAIN);
            doors.tasks.spawn(door.serve(seat, listener, CancellationToken::new(), doors.stop.clone()));
        }
        Err(why) => tracing::info!(why, "no local socket: mcp-hub stdio does not share this hub"),
    }
}

/// A listener that has its port.
struct Bound {
    listener: std::net::TcpListener,
    port: u16,
    serves: Serves,
    names: Names,
}

/// All ports, before anything is started: a port that is taken starts no child.
fn bind(settings: &Settings) -> Result<Vec<Bound>, BindError> {
    let gateway = &settings.gateway;
    let all = Serves { api: true, mcp: true, ws: true, apps: true, ops: true };
    let first = (gateway.host.clone(), gateway.port, all, gateway.safe_names);
    let further =
        gateway.listeners.iter().map(|own| (own.host.clone(), own.port, own.serves, own.safe_names.unwrap_or(gateway.safe_names)));
    std::iter::once(first)
        .chain(further)
        .map(|(host, port, serves, safe)| {
            let listener = listen::bind(&host, port)?;
            let port = listener.local_addr().map_or(port, |address| address.port());
            Ok(Bound { listener, port, serves, names: if safe { Names::Safe } else { Names::Dotted } })
        })
        .collect()
}

/// Beyond loopback, callers need the key that the first start makes and shows.
fn gate(settings: &Settings, place: &Place, allow_unauthenticated: bool) -> std::io::Result<Gate> {
    let hosts = std::iter::once(&settings.gateway.host).chain(settings.gateway.listeners.iter().map(|listener| &listener.host));
    let outside = hosts.into_iter().any(|host| !is_loopback(host));
    if allow_unauthenticated {
        tracing::warn!("every caller is local admin, wherever it comes from (--allow-unauthenticated)");
        return Ok(Gate::new(None, true));
    }
    if !outside {
        return Ok(Gate::new(None, false));
    }
    let first = first_key::load_or_make(&place.first_key())?;
    if first.is_new {
        eprintln!("Callers from beyond this machine need this key, shown only now: {}", first.key);
    }
    Ok(Gate::new(Some(first.key), false))
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

fn doors(core: &Core, gate: Gate, place: &Place, bound: &[Bound]) -> Arc<Doors> {
    let ports: Vec<u16> = bound.iter().map(|bound| bound.port).collect();
    Arc::new(Doors {
        hub: Arc::clone(&core.hub),
        control: Arc::clone(&core.control),
        gate: Arc::new(gate),
        settings: Arc::clone(&core.settings),
        limits: core.settings.limits.clone(),
        guard: Guard::new(&core.settings.gateway, &ports),
        router: Router::new(),
        talks: Talks::default(),
        started: Instant::now(),
        version: place.version.as_str().into(),
        ready: Ready::default(),
        tasks: TaskTracker::new(),
        stop: CancellationToken::new(),
    })
}

/// Ends idle sessions, until `stop`.
async fn sweep(hub: Arc<Hub>, stop: CancellationToken) {
    const EVERY: Duration = Duration::from_secs(15);
    while tokio::time::timeout(EVERY, stop.cancelled()).await.is_err() {
        hub.sessions.sweep();
    }
}

/// An error and all that caused it, in one sentence.
fn said(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn no_runtime(error: &std::io::Error) -> ExitCode {
    fail("HUB_ERROR", &format!("the system gives no thread or event queue: {error}"), json!({}));
    ExitCode::FAILURE
}

fn fail(code: &str, message: &str, data: serde_json::Value) {
    eprintln!("{}", error_line(code, message, data));
}
