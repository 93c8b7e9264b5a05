//! Real children that behave in every bad way: each caller gets one answer, others do not notice, memory stays bounded, no process stays.

mod asking;
mod offers;

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::FutureExt;
use mcp_hub::{
    config::{
        Settings,
        read::{Environment, Overrides, read},
    },
    limits::Limits,
    name::{ServerId, ServerName, TenantId},
    observe::{Bus, Event as Happened, ServerPhase},
    protocol::{Version, capability::Profile, code::Reason},
    upstream::{Event, Exchange, Fleet, Learned, Lease, News, Opening, Server, Sharer, State, UpstreamError, Usable},
};
use serde_json::{Map, Value, json};
use tokio::sync::{broadcast, mpsc};

/// Longer than anything here may take on a busy machine; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(60);
const NOBODY: [u32; 0] = [];

/// A fleet of scripted servers.
struct Scene {
    fleet: Arc<Fleet>,
    learned: mpsc::UnboundedReceiver<Learned>,
    news: mpsc::UnboundedReceiver<News>,
    events: broadcast::Receiver<Happened>,
    _dir: tempfile::TempDir,
}

#[derive(Default)]
struct Setup {
    servers: Map<String, Value>,
    top: Map<String, Value>,
    known: Option<Version>,
    limits: Limits,
}

fn scripted() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let path = tests.parent().and_then(|deps| deps.parent()).unwrap().join("examples/scripted-server");
    assert!(path.exists(), "cargo builds it before `cargo test`; by hand: cargo build --example scripted-server");
    path
}

impl Setup {
    /// `fields` of the entry besides the command.
    fn server(mut self, name: &str, words: &str, fields: Value) -> Self {
        let args: Vec<_> = words.split_whitespace().collect();
        let mut entry = json!({"command": scripted(), "args": args});
        entry.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        self.servers.insert(name.into(), entry);
        self
    }

    fn settings(&self, dir: &tempfile::TempDir) -> Settings {
        let mut file = self.top.clone();
        file.insert("mcpServers".into(), self.servers.clone().into());
        let path = dir.path().join("servers.json");
        fs::write(&path, Value::from(file).to_string()).unwrap();
        let vars = ["PATH", "HOME"].into_iter().filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)));
        let vars = vars.chain([("SECRET_OF_THE_HUB".to_owned(), "x".to_owned())]).collect();
        let environment = Environment { vars, cwd: dir.path().into(), exe: scripted() };
        read(&[path], &environment, &Overrides::default()).unwrap_or_else(|problems| panic!("{problems:?}"))
    }

    fn run(self) -> Scene {
        let dir = tempfile::tempdir().unwrap();
        let settings = self.settings(&dir);
        let bus = Bus::default();
        let events = bus.listen();
        let (sender, learned) = mpsc::unbounded_channel();
        let report = Arc::new(move |learned| drop(sender.send(learned)));
        let known = self.known;
        let fleet = Fleet::new(&settings, self.limits, bus, report, move |_| known);
        let (sender, news) = mpsc::unbounded_channel();
        fleet.report_to(Arc::new(move |said| drop(sender.send(said))));
        Scene { fleet, learned, news, events, _dir: dir }
    }
}

/// One server named `s`.
fn one(words: &str, fields: Value) -> Scene {
    Setup::default().server("s", words, fields).run()
}

fn id(name: &str) -> ServerId {
    ServerId { tenant: TenantId::default_tenant(), name: ServerName::new(name).unwrap() }
}

fn principal(name: &str) -> Sharer {
    Sharer { principal: name.into(), session: None, profile: Profile::BARE }
}

fn session(principal: &str, session: &str) -> Sharer {
    Sharer { principal: principal.into(), session: Some(session.into()), profile: Profile::BARE }
}

impl Scene {
    fn server(&self, name: &str) -> Arc<Server> {
        self.fleet.server(&id(name)).unwrap()
    }

    async fn learned(&mut self) -> Learned {
        tokio::time::timeout(PATIENCE, self.learned.recv()).await.expect("a listing").unwrap()
    }

    async fn happens(&mut self, phase: ServerPhase) {
        loop {
            let event = tokio::time::timeout(PATIENCE, self.events.recv()).await.unwrap_or_else(|_| panic!("no {phase:?}")).unwrap();
            if matches!(event, Happened::Server { phase: happened, .. } if happened == phase) {
                return;
            }
        }
    }

    /// Ends the fleet and looks for what it left.
    async fn end(self) {
        let groups: Vec<_> = self.fleet.servers().iter().flat_map(|server| server.status().pids).collect();
        tokio::time::timeout(PATIENCE, self.fleet.shutdown()).await.expect("an end");
        for group in groups {
            assert_eq!(members(group), NOBODY, "of group {group}");
        }
        for server in self.fleet.servers() {
            assert_eq!(server.status().pids, NOBODY);
        }
    }
}

/// Opens a call of a tool, with what its arguments are.
fn open_with(lease: &Lease, tool: &str, arguments: Value, progress: bool) -> Result<Exchange, UpstreamError> {
    let version = lease.version();
    lease.open(&Opening { progress, ..Opening::default() }, |wire| {
        let mut meta = json!({});
        if version == Version::STATELESS {
            meta["io.modelcontextprotocol/protocolVersion"] = version.as_str().into();
            meta["io.modelcontextprotocol/clientCapabilities"] = json!({});
        }
        if progress {
            meta["progressToken"] = wire.as_u64().into();
        }
        let params = json!({"name": tool, "arguments": arguments, "_meta": meta});
        let line = json!({"jsonrpc": "2.0", "id": wire.as_u64(), "method": "tools/call", "params": params});
        Bytes::from(format!("{line}\n"))
    })
}

fn open(lease: &Lease, tool: &str, arguments: Value) -> Exchange {
    open_with(lease, tool, arguments, false).unwrap()
}

async fn last(exchange: &mut Exchange) -> Result<Value, UpstreamError> {
    loop {
        match tokio::time::timeout(PATIENCE, exchange.next()).await.expect("an answer") {
            Event::Progress(_) | Event::Note(_) | Event::Question(_) | Event::Withdrawn(_) => {}
            Event::Answer(message) => return Ok(serde_json::from_slice(message.bytes()).unwrap()),
            Event::Failed(error) => return Err(error),
        }
    }
}

async fn lease(server: &Arc<Server>) -> Lease {
    server.lease(&principal("p")).await.unwrap()
}

/// The text that a tool answers.
async fn text(lease: &Lease, tool: &str, arguments: Value) -> String {
    let answer = last(&mut open(lease, tool, arguments)).await.unwrap();
    answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

async fn call(server: &Arc<Server>, tool: &str, arguments: Value) -> String {
    text(&lease(server).await, tool, arguments).await
}

async fn pid(lease: &Lease) -> u32 {
    text(lease, "pid", json!({})).await.parse().unwrap()
}

/// Processes of a group, zombies aside.
fn members(group: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let is_member = |pid: &u32| {
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
        let rest: Vec<_> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        rest[0] != "Z" && rest[2] == group.to_string()
    };
    processes.filter(is_member).collect()
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

fn names(learned: &Learned) -> Vec<String> {
    learned.tools.iter().map(|tool| serde_json::from_slice::<Value>(tool).unwrap()["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_server_of_either_era_is_started_learned_and_called() {
    use Version::*;
    let cases = [
        ("echo --era stateless --tools 300 --pages 7", None, V2026_07_28, Some(60_000), true),
        ("echo --era handshake --tools 300 --pages 7", None, V2025_11_25, None, false),
        ("echo --era both", None, V2026_07_28, Some(60_000), true),
        ("echo --era both", Some(V2025_06_18), V2025_11_25, None, false),
        // What is stored is out of date.
        ("echo --era stateless", Some(V2025_06_18), V2026_07_28, Some(60_000), true),
        ("echo --era handshake", Some(V2026_07_28), V2025_11_25, None, false),
        ("echo --era handshake --revision 2024-11-05 --strict 1", None, V2024_11_05, None, false),
        ("exit-at-probe", None, V2025_11_25, None, false),
        ("silent-probe", None, V2025_11_25, None, false),
    ];
    for (words, known, version, ttl_ms, public) in cases {
        let setup = Setup { known, ..Setup::default() };
        let mut scene = setup.server("s", words, json!({"timeouts": {"start": 20}})).run();
        let server = scene.server("s");
        let lease = lease(&server).await;
        assert_eq!(lease.version(), version, "{words}");
        assert_eq!(text(&lease, "echo", json!({"text": "hé\n"})).await, "hé\n", "{words}");
        let learned = scene.learned().await;
        assert_eq!((learned.version, learned.ttl_ms, learned.public), (version, ttl_ms, public), "{words}");
        assert_eq!(serde_json::from_slice::<Value>(&learned.server_info).unwrap()["name"], "scripted-server");
        assert_eq!(learned.instructions.as_deref(), Some("do as told"));
        let names = names(&learned);
        assert_eq!(names[0], "echo");
        let more: Vec<_> = names.iter().filter(|name| name.starts_with("tool")).collect();
        let expected = if words.contains("300") { 300 } else { 0 };
        assert!(more.iter().copied().eq((0..expected).map(|n| format!("tool{n}")).collect::<Vec<_>>().iter()), "{words}: {more:?}");
        let status = server.status();
        assert_eq!((status.state, status.usable, status.error), (State::Running, Usable::Connected, None));
        scene.end().await;
    }
}

#[tokio::test]
async fn a_server_that_exits_at_its_first_word_comes_up_by_the_other() {
    let mut scene = one("exit-at-probe", json!({}));
    let server = scene.server("s");
    assert_eq!(call(&server, "whoami", json!({})).await, "handshake");
    assert_eq!(server.status().restart_count, 0);
    scene.happens(ServerPhase::Started).await;
    scene.end().await;
}

#[tokio::test]
async fn answers_in_random_order_reach_their_callers() {
    const CALLERS: usize = 100;
    const CALLS: usize = 200;
    let scene = one("shuffle --batch 50", json!({"pool": {"scope": "shared", "size": 1}}));
    let server = scene.server("s");
    let callers = (0..CALLERS).map(|caller| {
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            for n in 0..CALLS {
                let lease = server.try_lease(&principal("p"));
                let lease = match lease {
                    Some(lease) => lease,
                    None => lease_of(&server, caller).await,
                };
                let expected = format!("{caller}/{n}");
                assert_eq!(text(&lease, "echo", json!({"text": expected})).await, expected);
            }
        })
    });
    let callers: Vec<_> = callers.collect();
    for caller in callers {
        caller.await.unwrap();
    }
    let status = server.status();
    assert_eq!((status.instances, status.in_flight, status.noise), (1, 0, Default::default()));
    scene.end().await;
}

async fn lease_of(server: &Arc<Server>, caller: usize) -> Lease {
    server.lease(&principal(&caller.to_string())).await.unwrap()
}

#[tokio::test]
async fn garbage_between_answers_is_counted_and_hurts_nobody() {
    let scene = one("garbage", json!({}));
    let server = scene.server("s");
    for n in 0..20 {
        let expected = "aé漢🦀".repeat(n);
        assert_eq!(call(&server, "echo", json!({"text": expected})).await, expected);
    }
    assert!(server.status().noise.bad_lines >= 20 * 4, "{:?}", server.status().noise);
    assert_eq!(server.status().state, State::Running);
    scene.end().await;
}

#[tokio::test]
async fn answers_given_twice_or_to_unknown_ids_reach_nobody_else() {
    let scene = one("twice unknown-ids", json!({}));
    let server = scene.server("s");
    let lease = lease(&server).await;
    for n in 0..50 {
        let expected = n.to_string();
        assert_eq!(text(&lease, "echo", json!({"text": expected})).await, expected);
    }
    let noise = server.status().noise;
    // Of the four ids that nobody gave, one is no id at all.
    assert!(noise.unknown_answers >= 3 * 49 && noise.bad_lines >= 49 && noise.late_answers >= 49, "{noise:?}");
    scene.end().await;
}

#[tokio::test]
async fn a_huge_line_is_dropped_in_bounded_memory_and_the_answer_after_it_arrives() {
    let scene = one("huge-line", json!({}));
    let server = scene.server("s");
    let lease = lease(&server).await;
    let before = resident_most();
    assert_eq!(text(&lease, "echo", json!({"text": "after it"})).await, "after it");
    let grown = resident_most() - before;
    assert!(grown < 100 << 10, "{grown} KiB for a line of 200 MiB");
    assert_eq!(server.status().noise.long_lines, 1);
    assert_eq!(server.status().state, State::Running);
    scene.end().await;
}

/// KiB, the most ever.
fn resident_most() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_server_that_never_reads_fails_its_start_in_time_and_leaves_nothing() {
    let scene = one("deaf", json!({"timeouts": {"start": 1, "stop": 1}, "restart": {"wait": 30}}));
    let server = scene.server("s");
    let start = Instant::now();
    let refused = server.lease(&principal("p")).await.unwrap_err();
    assert_eq!(refused.reason, Reason::StartFailed);
    assert!(start.elapsed() >= Duration::from_millis(900) && start.elapsed() < Duration::from_secs(20));
    let mut events = scene.events.resubscribe();
    if server.status().state == State::Starting {
        let _ = events.recv().await;
    }
    let status = server.status();
    assert_eq!((status.state, status.usable, status.instances), (State::Crashed, Usable::Disconnected, 0), "{status:?}");
    assert_eq!(status.last_error.as_deref(), Some("did not answer the handshake in time"));
    scene.end().await;
}

#[tokio::test]
async fn a_server_that_stops_reading_delays_only_its_own_callers() {
    let setup = Setup { limits: Limits { queue: 64, ..Limits::default() }, ..Setup::default() };
    let setup = setup.server("bad", "echo", json!({"timeouts": {"call": 2}, "pool": {"size": 1}}));
    let scene = setup.server("good", "echo", json!({})).run();
    let (bad, good) = (scene.server("bad"), scene.server("good"));
    let lease = lease(&bad).await;
    text(&lease, "deaf", json!({})).await;
    let large = "x".repeat(256 << 10);
    let mut held = Vec::new();
    let refused = loop {
        match open_with(&lease, "echo", json!({"text": large}), false) {
            Ok(exchange) => held.push(exchange),
            Err(error) => break error,
        }
    };
    assert_eq!(refused.reason, Reason::Busy);
    assert!(held.len() <= 64);
    let ready = tokio::spawn(async move { lease.ready().await });
    for _ in 0..100 {
        assert_eq!(call(&good, "echo", json!({"text": "good"})).await, "good");
    }
    for exchange in &mut held {
        assert_eq!(last(exchange).await.unwrap_err().reason, Reason::Timeout);
    }
    assert_eq!(bad.status().in_flight, 0);
    ready.abort();
    scene.end().await;
}

#[tokio::test]
async fn whatever_ignores_term_and_the_end_of_its_stdin_is_killed_in_time() {
    let scene = one("ignore-term", json!({"timeouts": {"stop": 1}}));
    let server = scene.server("s");
    let group = pid(&lease(&server).await).await;
    assert!(!members(group).is_empty());
    let start = Instant::now();
    server.stop(false).await;
    assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!(members(group), NOBODY);
    assert_eq!(server.status().state, State::Stopped);
    scene.end().await;
}

#[tokio::test]
async fn a_server_that_ends_with_its_stdin_is_not_kept_waiting() {
    let scene = one("echo", json!({}));
    let server = scene.server("s");
    let group = pid(&lease(&server).await).await;
    let start = Instant::now();
    server.stop(false).await;
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(members(group), NOBODY);
    scene.end().await;
}

#[tokio::test]
async fn grandchildren_end_with_the_server_however_it_ends() {
    let mut scene = one("echo", json!({}));
    let server = scene.server("s");
    for ending in ["stop", "crash", "kill"] {
        server.start().await.unwrap();
        let lease = lease(&server).await;
        let group = pid(&lease).await;
        let grandchild: u32 = text(&lease, "fork", json!({})).await.parse().unwrap();
        assert!(members(group).contains(&grandchild));
        match ending {
            "stop" => server.stop(false).await,
            "crash" => assert!(last(&mut open(&lease, "crash", json!({}))).await.is_err()),
            _ => kill(group),
        }
        if ending != "stop" {
            scene.happens(ServerPhase::Failed).await;
            // Whoever is stopped waits for what is left of those before.
            server.stop(false).await;
        }
        assert_eq!(members(group), NOBODY, "after {ending}");
    }
    scene.end().await;
}

#[tokio::test]
async fn a_child_killed_with_calls_in_flight_fails_each_once_and_comes_back() {
    const CALLS: usize = 1000;
    let setup = Setup::default().server("killed", "echo", json!({"pool": {"scope": "shared", "size": 1}}));
    let mut scene = setup.server("other", "echo", json!({})).run();
    let (killed, other) = (scene.server("killed"), scene.server("other"));
    let lease = lease(&killed).await;
    let group = pid(&lease).await;
    call(&other, "echo", json!({"text": "up"})).await;
    let mut exchanges: Vec<_> = (0..CALLS).map(|_| open(&lease, "never", json!({}))).collect();
    // Everything was read when this is answered.
    text(&lease, "echo", json!({})).await;
    let elsewhere = tokio::spawn({
        let other = Arc::clone(&other);
        async move {
            for _ in 0..200 {
                assert_eq!(call(&other, "echo", json!({"text": "never noticed"})).await, "never noticed");
            }
        }
    });
    let dead = Instant::now();
    kill(group);
    for exchange in &mut exchanges {
        assert_eq!(last(exchange).await.unwrap_err().reason, Reason::ServerExited);
    }
    let failed = dead.elapsed();
    while killed.status().state != State::Running {
        scene.happens(ServerPhase::Started).await;
    }
    // On a quiet machine: failed within 20 ms, back within 150 ms. Other tests keep this one busy.
    assert!(failed < Duration::from_secs(1) && dead.elapsed() < Duration::from_secs(5), "{failed:?}, {:?}", dead.elapsed());
    assert_ne!(pid(&self::lease(&killed).await).await, group);
    assert_eq!(open_with(&lease, "echo", json!({}), false).unwrap_err().reason, Reason::Crashed);
    let status = killed.status();
    assert_eq!((status.state, status.restart_count, status.error), (State::Running, 1, None));
    assert_eq!(status.last_error.as_deref(), Some("was killed by signal 9"));
    elsewhere.await.unwrap();
    scene.end().await;
}

#[tokio::test]
async fn a_server_that_keeps_crashing_during_calls_is_spared_by_its_back_off() {
    let mut scene = one("echo", json!({}));
    let server = scene.server("s");
    let caller = principal("p");
    for _ in 0..5 {
        // The first waits are short enough to be waited for.
        let lease = lease(&server).await;
        assert_eq!(last(&mut open(&lease, "crash", json!({"status": 1}))).await.unwrap_err().reason, Reason::ServerExited);
    }
    let refused = server.lease(&caller).now_or_never().expect("an answer at once").unwrap_err();
    assert_eq!((refused.reason, refused.to_string().as_str()), (Reason::Crashed, "server 's' failed and will be tried again soon"));
    assert!(refused.retry_after_ms.is_some_and(|wait| (1000..2000).contains(&wait)), "{refused:?}");
    assert!(server.try_lease(&caller).is_none());
    // It is tried again by itself.
    while server.status().state != State::Running {
        scene.happens(ServerPhase::Started).await;
    }
    assert_eq!(call(&server, "echo", json!({"text": "back"})).await, "back");
    assert_eq!(server.status().restart_count, 5);
    // It has not proved itself yet.
    assert_eq!(last(&mut open(&lease(&server).await, "crash", json!({"status": 1}))).await.unwrap_err().reason, Reason::ServerExited);
    let refused = server.lease(&caller).now_or_never().expect("an answer at once").unwrap_err();
    assert!(refused.retry_after_ms.is_some_and(|wait| wait > 2000), "{refused:?}");
    scene.end().await;
}

#[tokio::test]
async fn a_start_that_fails_is_told_to_who_waits_and_tried_again_no_sooner_than_the_back_off_says() {
    let mut scene = one("exit-at-start", json!({"restart": {"wait": 30}}));
    let server = scene.server("s");
    let (one, two) = (principal("p"), principal("p"));
    let (first, second) = tokio::join!(server.lease(&one), server.lease(&two));
    for refused in [first.unwrap_err(), second.unwrap_err()] {
        assert_eq!(refused.reason, Reason::StartFailed);
        assert_eq!(refused.to_string(), "server 's' did not start: exited during the handshake");
        assert!(refused.retry_after_ms.is_some_and(|millis| millis > 20_000));
    }
    scene.happens(ServerPhase::Failed).await;
    let start = Instant::now();
    let refused = server.lease(&one).await.unwrap_err();
    assert_eq!(refused.reason, Reason::StartFailed);
    assert!(refused.retry_after_ms.is_some_and(|millis| millis > 20_000));
    assert!(start.elapsed() < Duration::from_secs(5));
    let status = server.status();
    assert_eq!((status.state, status.usable), (State::Crashed, Usable::Disconnected));
    assert_eq!(status.error.as_deref(), Some("exited during the handshake"));
    assert!(server.stderr().contains("exit-at-start"));
    // By request: at once.
    assert_eq!(server.start().await.unwrap_err().reason, Reason::StartFailed);
    scene.end().await;
}

#[tokio::test]
async fn a_boot_server_that_fails_is_tried_again_until_its_retries_are_used_up() {
    let restart = json!({"wait": 0.01, "wait_max": 0.02, "max_retries": 3});
    let mut scene = one("exit-at-start", json!({"start": "boot", "restart": restart}));
    scene.fleet.boot().await;
    let server = scene.server("s");
    for _ in 0..4 {
        scene.happens(ServerPhase::Failed).await;
    }
    let status = server.status();
    assert_eq!((status.state, status.usable, status.retry), (State::Crashed, Usable::Disconnected, None));
    assert_eq!(status.restart_count, 3);
    scene.end().await;
}

#[tokio::test]
async fn while_it_waits_to_try_again_a_server_says_when() {
    let mut scene = one("exit-at-start", json!({"start": "boot", "restart": {"wait": 20}}));
    scene.fleet.boot().await;
    scene.happens(ServerPhase::Failed).await;
    let server = scene.server("s");
    let status = server.status();
    assert_eq!((status.state, status.usable), (State::Crashed, Usable::Connecting));
    assert_eq!(status.retry.map(|(attempts, _)| attempts), Some(1));
    assert!(server.lease(&principal("p")).await.unwrap_err().retry_after_ms.is_some_and(|millis| millis > 10_000));
    scene.end().await;
}

#[tokio::test]
async fn a_server_that_cannot_be_run_says_why() {
    let command = json!({"command": "/no/such/program"});
    let scene = one("", command);
    let server = scene.server("s");
    assert_eq!(server.lease(&principal("p")).await.unwrap_err().reason, Reason::StartFailed);
    assert!(server.status().last_error.unwrap().starts_with("cannot be run: '/no/such/program': "));
    let scene = one("${NO_SUCH_VARIABLE}", json!({}));
    let server = scene.server("s");
    assert!(server.lease(&principal("p")).await.is_err());
    assert!(server.status().last_error.unwrap().contains("NO_SUCH_VARIABLE"));
}

#[tokio::test]
async fn a_stop_by_request_holds_until_a_start_by_request() {
    let mut scene = one("echo", json!({"start": "demand"}));
    let server = scene.server("s");
    let group = pid(&lease(&server).await).await;
    scene.learned().await;
    server.stop(false).await;
    assert_eq!(members(group), NOBODY);
    let status = server.status();
    assert_eq!((status.state, status.usable), (State::Stopped, Usable::Disconnected));
    assert_eq!(server.lease(&principal("p")).await.unwrap_err().reason, Reason::Stopped);
    assert_eq!(server.refresh().await.unwrap_err().reason, Reason::Stopped);
    assert!(scene.fleet.learn(&TenantId::default_tenant()).is_empty());
    server.start().await.unwrap();
    server.start().await.unwrap();
    assert_eq!((server.status().state, server.status().instances), (State::Running, 1));
    server.stop(true).await;
    assert_eq!(server.status().usable, Usable::Disabled);
    assert_eq!(server.lease(&principal("p")).await.unwrap_err().reason, Reason::Disabled);
    server.start().await.unwrap();
    call(&server, "echo", json!({})).await;
    scene.end().await;
}

#[tokio::test]
async fn a_stop_fails_the_calls_under_way_once() {
    let scene = one("echo", json!({}));
    let server = scene.server("s");
    let lease = lease(&server).await;
    let mut exchange = open(&lease, "never", json!({}));
    let (failed, ()) = tokio::join!(last(&mut exchange), server.stop(false));
    assert_eq!(failed.unwrap_err().to_string(), "server 's' was stopped during the call");
    scene.end().await;
}

#[tokio::test]
async fn only_those_that_may_start_do() {
    let setup = Setup::default().server("manual", "echo", json!({"start": "manual"}));
    let scene = setup.server("off", "echo", json!({"enabled": false})).server("demand", "echo", json!({})).run();
    scene.fleet.boot().await;
    let learning: Vec<_> = scene.fleet.learn(&TenantId::default_tenant()).iter().map(|server| server.settings().id.clone()).collect();
    assert_eq!(learning, [id("demand")]);
    scene.server("demand").learnt().await;
    assert!(scene.fleet.learn(&TenantId::default_tenant()).is_empty());
    let (manual, off) = (scene.server("manual"), scene.server("off"));
    assert_eq!(manual.lease(&principal("p")).await.unwrap_err().reason, Reason::Stopped);
    assert_eq!(off.lease(&principal("p")).await.unwrap_err().reason, Reason::Disabled);
    assert_eq!(off.start().await.unwrap_err().reason, Reason::Disabled);
    assert_eq!((manual.status().usable, off.status().usable), (Usable::Disconnected, Usable::Disabled));
    manual.start().await.unwrap();
    call(&manual, "echo", json!({})).await;
    scene.end().await;
}

#[tokio::test]
async fn a_server_that_cannot_be_learned_does_not_hold_up_lists_for_ever() {
    let scene = one("exit-at-start", json!({"restart": {"wait": 30}}));
    let tenant = TenantId::default_tenant();
    let learning = scene.fleet.learn(&tenant);
    assert_eq!(learning.len(), 1);
    tokio::time::timeout(PATIENCE, learning[0].learnt()).await.unwrap();
    assert!(scene.fleet.learn(&tenant).is_empty());
    scene.end().await;
}

#[tokio::test]
async fn a_known_server_is_usable_before_it_runs_and_is_not_started_to_be_learned() {
    let setup = Setup { known: Some(Version::STATELESS), ..Setup::default() };
    let scene = setup.server("s", "echo", json!({})).run();
    let status = scene.server("s").status();
    assert_eq!((status.state, status.usable), (State::Stopped, Usable::Connected));
    assert!(scene.fleet.learn(&TenantId::default_tenant()).is_empty());
    assert_eq!(scene.server("s").status().instances, 0);
    scene.end().await;
}

#[tokio::test]
async fn at_most_so_many_start_at_once() {
    for (parallel, least, most) in [(1, 1500, 60_000), (3, 500, 1400)] {
        let mut setup = Setup::default();
        setup.top.insert("startup".into(), json!({"parallel": parallel}));
        for name in ["a", "b", "c"] {
            // Silent for a quarter of the time to start: half a second each.
            setup = setup.server(name, "silent-probe", json!({"start": "boot", "timeouts": {"start": 2}}));
        }
        let dir = tempfile::tempdir().unwrap();
        let mut settings = setup.settings(&dir);
        settings.parallel_starts = parallel;
        let fleet = Fleet::new(&settings, Limits::default(), Bus::default(), Arc::new(drop), |_| None);
        let start = Instant::now();
        fleet.boot().await;
        let elapsed = start.elapsed().as_millis();
        assert!((least..most).contains(&elapsed), "{parallel}: {elapsed} ms");
        fleet.shutdown().await;
    }
}

#[tokio::test]
async fn servers_of_one_tenant_that_hang_at_their_start_do_not_keep_others_from_starting() {
    let mut setup = Setup::default().server("s", "", json!({}));
    let hanging = |_| json!({"command": scripted(), "args": ["deaf"], "timeouts": {"start": 600}});
    let servers: Map<_, _> = (0..4).map(|n| (format!("deaf{n}"), hanging(n))).collect();
    setup.top.insert("tenants".into(), json!({"hanging": {"servers": servers}}));
    setup.top.insert("orchestrator".into(), json!({"parallel_starts": 2}));
    let scene = setup.run();
    for server in scene.fleet.servers().into_iter().filter(|server| server.settings().id.tenant.as_str() == "hanging") {
        tokio::spawn(async move { server.start().await });
        // So that it is before the one below.
        tokio::task::yield_now().await;
    }
    assert_eq!(call(&scene.server("s"), "echo", json!({"text": "x"})).await, "x");
    scene.end().await;
}

#[tokio::test]
async fn scopes_decide_who_shares_an_instance() {
    let callers = [principal("a"), principal("b"), session("a", "1"), session("a", "2"), session("b", "3"), principal("a")];
    let cases = [
        ("shared", [0, 0, 0, 0, 0, 0]),
        ("user", [0, 1, 0, 0, 1, 0]),
        // Without a session a client counts as its user.
        ("session", [0, 1, 2, 3, 4, 0]),
        ("call", [0, 1, 2, 3, 4, 5]),
    ];
    for (scope, expected) in cases {
        let scene = one("echo", json!({"pool": {"scope": scope}}));
        let server = scene.server("s");
        let mut seen = HashMap::new();
        let mut instances = Vec::new();
        for caller in &callers {
            let lease = server.lease(caller).await.unwrap();
            let next = seen.len();
            instances.push(*seen.entry(pid(&lease).await).or_insert(next));
        }
        assert_eq!(instances, expected, "{scope}");
        scene.end().await;
    }
}

#[tokio::test]
async fn an_instance_for_one_call_is_gone_after_it_and_counts_against_its_principal() {
    let mut scene = one("echo", json!({"pool": {"scope": "call", "size": 2}}));
    let server = scene.server("s");
    let (one, two) = (lease(&server).await, lease(&server).await);
    let groups = [pid(&one).await, pid(&two).await];
    let other = server.lease(&principal("q")).await.unwrap();
    let third = tokio::spawn({
        let server = Arc::clone(&server);
        async move { pid(&lease(&server).await).await }
    });
    assert!(!third.is_finished());
    // The call outlives the lease that opened it.
    let mut exchange = open(&one, "slow", json!({"ms": 50}));
    drop(one);
    last(&mut exchange).await.unwrap();
    let third = tokio::time::timeout(PATIENCE, third).await.unwrap().unwrap();
    assert!(!groups.contains(&third));
    assert_eq!(members(groups[0]), NOBODY);
    drop((two, other));
    while server.status().instances > 0 {
        scene.happens(ServerPhase::Stopped).await;
    }
    assert_eq!(server.status().state, State::Stopped);
    scene.end().await;
}

#[tokio::test]
async fn a_pool_grows_only_when_the_least_used_is_full_and_no_further_than_its_size() {
    let setup = Setup { limits: Limits { queue: 2, ..Limits::default() }, ..Setup::default() };
    let scene = setup.server("s", "echo", json!({"pool": {"scope": "shared", "size": 2}})).run();
    let server = scene.server("s");
    let mut held = Vec::new();
    let mut groups = HashSet::new();
    // Listing takes a place too.
    server.refresh().await.unwrap();
    for expected in [1, 1, 2, 2, 2] {
        let lease = lease(&server).await;
        if held.len() < 4 {
            held.push(open(&lease, "slow", json!({"ms": 100_000})));
        } else {
            assert_eq!(open_with(&lease, "echo", json!({}), false).unwrap_err().reason, Reason::Busy);
        }
        groups.extend(server.status().pids);
        assert_eq!(groups.len(), expected);
    }
    drop(held);
    scene.end().await;
}

#[tokio::test]
async fn callers_that_come_together_share_one_start() {
    let scene = one("echo", json!({"pool": {"scope": "shared"}}));
    let server = scene.server("s");
    scene.fleet.learn(&TenantId::default_tenant());
    let callers: Vec<_> = (0..50)
        .map(|caller| {
            let server = Arc::clone(&server);
            tokio::spawn(async move { pid(&lease_of(&server, caller).await).await })
        })
        .collect();
    let mut groups = HashSet::new();
    for caller in callers {
        groups.insert(caller.await.unwrap());
    }
    assert_eq!((groups.len(), server.status().instances), (1, 1));
    scene.end().await;
}

#[tokio::test]
async fn who_comes_first_takes_the_instance_that_was_started_for_nobody() {
    let mut scene = one("echo", json!({"start": "boot"}));
    scene.fleet.boot().await;
    let server = scene.server("s");
    scene.learned().await;
    let group = server.status().pids[0];
    assert_eq!(pid(&server.lease(&principal("a")).await.unwrap()).await, group);
    assert_ne!(pid(&server.lease(&principal("b")).await.unwrap()).await, group);
    assert!(server.try_lease(&principal("a")).is_some());
    assert!(server.try_lease(&principal("c")).is_none());
    scene.end().await;
}

#[tokio::test]
async fn spares_are_kept_ready() {
    let mut scene = one("echo", json!({"pool": {"spare": 2}}));
    let server = scene.server("s");
    let first = pid(&lease(&server).await).await;
    while server.status().instances < 3 {
        scene.happens(ServerPhase::Started).await;
    }
    let spares: HashSet<_> = server.status().pids.into_iter().filter(|pid| *pid != first).collect();
    let second = pid(&server.lease(&principal("q")).await.unwrap()).await;
    assert!(spares.contains(&second));
    while server.status().instances < 4 {
        scene.happens(ServerPhase::Started).await;
    }
    scene.end().await;
}

#[tokio::test]
async fn an_unused_instance_is_stopped_and_a_used_one_is_not() {
    let mut scene = one("echo", json!({"pool": {"idle_stop": 0.2}}));
    let server = scene.server("s");
    let lease = lease(&server).await;
    let mut exchange = open(&lease, "slow", json!({"ms": 1000}));
    drop(lease);
    last(&mut exchange).await.unwrap();
    assert_eq!(server.status().state, State::Running);
    scene.happens(ServerPhase::Stopped).await;
    let status = server.status();
    assert_eq!((status.state, status.usable, status.error), (State::Stopped, Usable::Connected, None));
    assert_eq!(call(&server, "echo", json!({"text": "again"})).await, "again");
    scene.end().await;
}

/// A server of which every process is one caller's, and a file to which each of its processes writes its id.
fn counted(dir: &Path, idle_stop: &Value) -> (Scene, impl Fn() -> Vec<u32> + use<>) {
    let starts = dir.join("starts");
    let line = format!("echo $$ >> {}; exec {}", starts.display(), scripted().display());
    let mut setup = Setup { known: Some(Version::STATELESS), ..Setup::default() };
    let entry = json!({"command": "sh", "args": ["-c", line], "pool": {"scope": "call", "size": 2, "idle_stop": idle_stop}});
    setup.servers.insert("s".into(), entry);
    let started = move || fs::read_to_string(&starts).unwrap_or_default().lines().map(|pid| pid.parse().unwrap()).collect();
    (setup.run(), started)
}

#[tokio::test]
async fn starts_for_callers_who_left_make_no_room_for_more() {
    let dir = tempfile::tempdir().unwrap();
    let (scene, started) = counted(dir.path(), &json!(null));
    let server = scene.server("s");
    // Each begins a start, if it has a place, and leaves; nothing comes up meanwhile.
    for _ in 0..5 {
        let caller = principal("p");
        assert!(server.lease(&caller).now_or_never().is_none());
    }
    let (first, second) = (principal("p"), principal("p"));
    let (one, two) = tokio::join!(server.lease(&first), server.lease(&second));
    let mut groups = vec![pid(&one.unwrap()).await, pid(&two.unwrap()).await];
    let mut all: Vec<u32> = started();
    groups.sort_unstable();
    all.sort_unstable();
    assert_eq!(all, groups, "those who come next take what was started");
    scene.end().await;
}

#[tokio::test]
async fn nothing_stays_of_a_start_whose_caller_left() {
    let dir = tempfile::tempdir().unwrap();
    let (mut scene, started) = counted(dir.path(), &json!(0.1));
    let server = scene.server("s");
    let caller = tokio::spawn({
        let server = Arc::clone(&server);
        async move { lease(&server).await }
    });
    while started().is_empty() {
        tokio::task::yield_now().await;
    }
    caller.abort();
    while server.status().state != State::Stopped {
        scene.happens(ServerPhase::Stopped).await;
    }
    for group in started() {
        while !members(group).is_empty() {
            tokio::task::yield_now().await;
        }
    }
    scene.end().await;
}

#[tokio::test]
async fn the_instances_of_a_session_that_is_over_are_stopped() {
    let mut scene = one("echo", json!({"pool": {"scope": "session", "idle_stop": null}}));
    let server = scene.server("s");
    let group = pid(&server.lease(&session("a", "1")).await.unwrap()).await;
    let kept = pid(&server.lease(&session("a", "2")).await.unwrap()).await;
    scene.fleet.forget_session("1");
    while server.status().instances > 1 {
        scene.happens(ServerPhase::Stopped).await;
    }
    assert_eq!(server.status().pids, [kept]);
    assert_ne!(pid(&server.lease(&session("a", "1")).await.unwrap()).await, group);
    scene.end().await;
}

#[tokio::test]
async fn an_instance_on_its_way_to_a_session_that_is_over_does_not_stay() {
    // One start at a time: when the second session has its instance, the first one's start has come to its end.
    let setup = Setup { top: Map::from_iter([("orchestrator".to_owned(), json!({"parallel_starts": 1}))]), ..Setup::default() };
    let scene = setup.server("s", "", json!({"pool": {"scope": "session"}})).run();
    let server = scene.server("s");
    let (gone, here) = (session("p", "gone"), session("p", "here"));
    tokio::select! {
        biased;
        _ = server.lease(&gone) => panic!("a start takes longer than one look"),
        () = std::future::ready(()) => {}
    }
    scene.fleet.forget_session("gone");
    let lease = server.lease(&here).await.unwrap();
    assert_eq!(text(&lease, "echo", json!({"text": "x"})).await, "x");
    assert_eq!(server.status().instances, 1);
    drop(lease);
    scene.end().await;
}

#[tokio::test]
async fn changed_tools_are_learned_again_a_burst_of_changes_once() {
    let mut scene = one("changes --era handshake", json!({}));
    let server = scene.server("s");
    let lease = lease(&server).await;
    let first = scene.learned().await.tools.len();
    // Four announcements right after the handshake.
    scene.learned().await;
    assert!(scene.learned.try_recv().is_err());
    for _ in 0..3 {
        text(&lease, "grow", json!({})).await;
    }
    let mut learned = scene.learned().await;
    while learned.tools.len() < first + 3 {
        learned = scene.learned().await;
    }
    assert_eq!(names(&learned).last().map(String::as_str), Some("grown2"));
    server.refresh().await.unwrap();
    assert_eq!(scene.learned().await.tools.len(), first + 3);
    scene.end().await;
}

#[tokio::test]
async fn a_server_without_tools_is_learned_to_have_none_and_one_whose_pages_never_end_is_cut() {
    let mut scene = one("echo --no-tools 1", json!({}));
    call(&scene.server("s"), "echo", json!({})).await;
    assert!(scene.learned().await.tools.is_empty());
    scene.end().await;
    let mut scene = one("echo --loop-cursor 1 --tools 1", json!({}));
    scene.server("s").refresh().await.unwrap();
    let names = names(&scene.learned().await);
    assert_eq!(names.iter().filter(|name| *name == "tool0").count(), 2, "until the cursor comes back");
    scene.end().await;
}

#[tokio::test]
async fn progress_arrives_before_the_answer_and_only_where_it_was_asked_for() {
    let scene = one("echo", json!({}));
    let lease = lease(&scene.server("s")).await;
    for (wants, expected) in [(true, 5), (false, 0)] {
        let mut exchange = open_with(&lease, "progress", json!({"steps": 5}), wants).unwrap();
        let mut notes = 0;
        while let Event::Progress(_) = tokio::time::timeout(PATIENCE, exchange.next()).await.unwrap() {
            notes += 1;
        }
        assert_eq!(notes, expected);
    }
    scene.end().await;
}

#[tokio::test]
async fn a_dropped_call_is_cancelled_once_a_detached_and_an_answered_one_never() {
    let scene = one("late", json!({"timeouts": {"call": 30}}));
    let server = scene.server("s");
    let lease = lease(&server).await;
    drop(open(&lease, "slow", json!({"ms": 1})));
    open(&lease, "slow", json!({"ms": 1})).detach();
    last(&mut open(&lease, "slow", json!({"ms": 1}))).await.unwrap();
    assert_eq!(text(&lease, "cancellations", json!({})).await, "1");
    scene.end().await;
}

#[tokio::test]
async fn a_call_that_takes_too_long_fails_and_the_server_is_told() {
    let scene = one("echo", json!({"timeouts": {"call": 1}}));
    let lease = lease(&scene.server("s")).await;
    let failed = last(&mut open(&lease, "never", json!({}))).await.unwrap_err();
    assert_eq!((failed.reason, failed.to_string().as_str()), (Reason::Timeout, "server 's' did not answer within 1 s"));
    assert_eq!(text(&lease, "cancellations", json!({})).await, "1");
    scene.end().await;
}

#[tokio::test]
async fn what_a_server_asks_is_answered_without_anybody_being_asked() {
    let scene = one("echo --era handshake", json!({}));
    let lease = lease(&scene.server("s")).await;
    assert_eq!(text(&lease, "ask", json!({"method": "ping"})).await, "{}");
    let refused: Value = serde_json::from_str(&text(&lease, "ask", json!({"method": "roots/list"})).await).unwrap();
    assert_eq!(refused["code"], -32601);
    scene.end().await;
}

#[tokio::test]
async fn a_child_sees_nothing_of_the_hubs_environment_but_what_it_is_given() {
    let scene = one("echo", json!({"env": {"OWN": "yes"}}));
    let lease = lease(&scene.server("s")).await;
    let vars: HashMap<String, String> = serde_json::from_str(&text(&lease, "env", json!({})).await).unwrap();
    assert_eq!(vars.get("OWN").map(String::as_str), Some("yes"));
    assert!(vars.contains_key("PATH") && !vars.contains_key("SECRET_OF_THE_HUB"), "{vars:?}");
    scene.end().await;
}

#[tokio::test]
async fn large_answers_pass_and_stderr_never_blocks() {
    let scene = one("echo", json!({}));
    let lease = lease(&scene.server("s")).await;
    for bytes in [100_usize << 10, 10 << 20, 1] {
        assert_eq!(text(&lease, "blob", json!({"bytes": bytes})).await.len(), bytes);
    }
    let line = "e".repeat(100_000);
    for _ in 0..20 {
        text(&lease, "stderr", json!({"text": line})).await;
    }
    let server = scene.server("s");
    while server.stderr().len() < 256 << 10 {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.stderr().len(), 256 << 10);
    scene.end().await;
}

#[tokio::test]
async fn after_the_end_nothing_starts_and_a_second_end_does_not_wait() {
    let mut scene = one("ignore-term", json!({"timeouts": {"stop": 50}}));
    let server = scene.server("s");
    let lease = lease(&server).await;
    let group = pid(&lease).await;
    let ending = tokio::spawn({
        let fleet = Arc::clone(&scene.fleet);
        async move { fleet.shutdown().await }
    });
    scene.happens(ServerPhase::Stopping).await;
    assert_eq!(server.lease(&principal("p")).await.unwrap_err().reason, Reason::ShuttingDown);
    assert_eq!(server.start().await.unwrap_err().reason, Reason::ShuttingDown);
    let again = Instant::now();
    scene.fleet.shutdown().await;
    ending.await.unwrap();
    assert!(again.elapsed() < Duration::from_secs(10), "{:?}", again.elapsed());
    assert_eq!(members(group), NOBODY);
}

#[test]
fn a_runtime_that_goes_takes_its_children_along() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let scene = one("ignore-term", json!({}));
    let group = runtime.block_on(async { pid(&lease(&scene.server("s")).await).await });
    drop(runtime);
    let gone = (0..1000).any(|_| {
        std::thread::yield_now();
        members(group).is_empty()
    });
    assert!(gone);
}
