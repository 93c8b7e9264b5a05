//! Real children and the fleet that runs them, and the words of the tests here.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use mcp_hub::{
    config::{
        Settings,
        read::{Environment, Overrides, read},
    },
    limits::Limits,
    name::{ServerId, ServerName, TenantId},
    observe::{Bus, Event as Happened, ServerPhase},
    protocol::{Version, capability::Profile},
    upstream::{Event, Exchange, Fleet, Learned, Lease, News, Opening, Server, Sharer, UpstreamError},
};
use serde_json::{Map, Value, json};
use tokio::sync::{broadcast, mpsc};

/// Longer than anything here may take on a busy machine; only a failing test waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const NOBODY: [u32; 0] = [];

/// A fleet of scripted servers.
pub(crate) struct Scene {
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) learned: mpsc::UnboundedReceiver<Learned>,
    pub(crate) news: mpsc::UnboundedReceiver<News>,
    pub(crate) events: broadcast::Receiver<Happened>,
    pub(crate) _dir: tempfile::TempDir,
}

#[derive(Default)]
pub(crate) struct Setup {
    pub(crate) servers: Map<String, Value>,
    pub(crate) top: Map<String, Value>,
    pub(crate) known: Option<Version>,
    pub(crate) limits: Limits,
}

pub(crate) fn scripted() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let path = tests.parent().and_then(|deps| deps.parent()).unwrap().join("examples/scripted-server");
    assert!(path.exists(), "cargo builds it before `cargo test`; by hand: cargo build --example scripted-server");
    path
}

impl Setup {
    /// `fields` of the entry besides the command.
    pub(crate) fn server(mut self, name: &str, words: &str, fields: Value) -> Self {
        let args: Vec<_> = words.split_whitespace().collect();
        let mut entry = json!({"command": scripted(), "args": args});
        entry.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        self.servers.insert(name.into(), entry);
        self
    }

    pub(crate) fn settings(&self, dir: &tempfile::TempDir) -> Settings {
        let mut file = self.top.clone();
        file.insert("mcpServers".into(), self.servers.clone().into());
        let path = dir.path().join("servers.json");
        fs::write(&path, Value::from(file).to_string()).unwrap();
        let vars = ["PATH", "HOME"].into_iter().filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)));
        let vars = vars.chain([("SECRET_OF_THE_HUB".to_owned(), "x".to_owned())]).collect();
        let environment = Environment { vars, cwd: dir.path().into(), exe: scripted() };
        read(&[path], &environment, &Overrides::default()).unwrap_or_else(|problems| panic!("{problems:?}"))
    }

    pub(crate) fn run(self) -> Scene {
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
pub(crate) fn one(words: &str, fields: Value) -> Scene {
    Setup::default().server("s", words, fields).run()
}

pub(crate) fn id(name: &str) -> ServerId {
    ServerId { tenant: TenantId::default_tenant(), name: ServerName::new(name).unwrap() }
}

pub(crate) fn principal(name: &str) -> Sharer {
    Sharer { principal: name.into(), session: None, profile: Profile::BARE }
}

pub(crate) fn session(principal: &str, session: &str) -> Sharer {
    Sharer { principal: principal.into(), session: Some(session.into()), profile: Profile::BARE }
}

impl Scene {
    pub(crate) fn server(&self, name: &str) -> Arc<Server> {
        self.fleet.server(&id(name)).unwrap()
    }

    pub(crate) async fn learned(&mut self) -> Learned {
        tokio::time::timeout(PATIENCE, self.learned.recv()).await.expect("a listing").unwrap()
    }

    pub(crate) async fn happens(&mut self, phase: ServerPhase) {
        loop {
            let event = tokio::time::timeout(PATIENCE, self.events.recv()).await.unwrap_or_else(|_| panic!("no {phase:?}")).unwrap();
            if matches!(event, Happened::Server { phase: happened, .. } if happened == phase) {
                return;
            }
        }
    }

    /// Ends the fleet and looks for what it left.
    pub(crate) async fn end(self) {
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
pub(crate) fn open_with(lease: &Lease, tool: &str, arguments: Value, progress: bool) -> Result<Exchange, UpstreamError> {
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

pub(crate) fn open(lease: &Lease, tool: &str, arguments: Value) -> Exchange {
    open_with(lease, tool, arguments, false).unwrap()
}

pub(crate) async fn last(exchange: &mut Exchange) -> Result<Value, UpstreamError> {
    loop {
        match tokio::time::timeout(PATIENCE, exchange.next()).await.expect("an answer") {
            Event::Progress(_) | Event::Note(_) | Event::Question(_) | Event::Withdrawn(_) => {}
            Event::Answer(message) => return Ok(serde_json::from_slice(message.bytes()).unwrap()),
            Event::Failed(error) => return Err(error),
        }
    }
}

pub(crate) async fn lease(server: &Arc<Server>) -> Lease {
    server.lease(&principal("p")).await.unwrap()
}

/// The text that a tool answers.
pub(crate) async fn text(lease: &Lease, tool: &str, arguments: Value) -> String {
    let answer = last(&mut open(lease, tool, arguments)).await.unwrap();
    answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

pub(crate) async fn call(server: &Arc<Server>, tool: &str, arguments: Value) -> String {
    text(&lease(server).await, tool, arguments).await
}

pub(crate) async fn pid(lease: &Lease) -> u32 {
    text(lease, "pid", json!({})).await.parse().unwrap()
}

/// Processes of a group, zombies aside.
pub(crate) fn members(group: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let is_member = |pid: &u32| {
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
        let rest: Vec<_> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        rest[0] != "Z" && rest[2] == group.to_string()
    };
    processes.filter(is_member).collect()
}

pub(crate) fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

pub(crate) fn names(learned: &Learned) -> Vec<String> {
    learned.tools.iter().map(|tool| serde_json::from_slice::<Value>(tool).unwrap()["name"].as_str().unwrap().to_owned()).collect()
}

pub(crate) async fn lease_of(server: &Arc<Server>, caller: usize) -> Lease {
    server.lease(&principal(&caller.to_string())).await.unwrap()
}
