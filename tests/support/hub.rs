//! A running hub: `hub::new().server("a", server::child("echo")).run()`. Dropping it ends it and everything below it.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    time::Duration,
};

use serde_json::{Map, Value, json};

use super::Server;

/// Longer than anything here may take on a busy machine; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub struct Builder {
    tenants: BTreeMap<String, Vec<(String, Server)>>,
    top: Map<String, Value>,
    args: Vec<String>,
    state: Option<PathBuf>,
    variables: Vec<(String, String)>,
}

pub fn new() -> Builder {
    Builder { tenants: BTreeMap::new(), top: Map::new(), args: Vec::new(), state: None, variables: Vec::new() }
}

impl Builder {
    pub fn server(self, name: &str, server: Server) -> Self {
        self.tenant_server("default", name, server)
    }

    pub fn tenant_server(mut self, tenant: &str, name: &str, server: Server) -> Self {
        self.tenants.entry(tenant.into()).or_default().push((name.into(), server));
        self
    }

    /// A top-level key of the file.
    pub fn setting(mut self, key: &str, value: Value) -> Self {
        self.top.insert(key.into(), value);
        self
    }

    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.into());
        self
    }

    /// A variable of the hub's environment.
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Keep state and data in this folder, to be found by the next hub.
    pub fn state(mut self, dir: &Path) -> Self {
        self.state = Some(dir.into());
        self
    }

    /// The configuration as JSON text.
    pub fn config(&self) -> String {
        let mut file = self.top.clone();
        let tenants: Map<String, Value> =
            self.tenants.iter().map(|(tenant, servers)| (tenant.clone(), json!({"servers": entries(servers)}))).collect();
        file.insert("tenants".into(), tenants.into());
        Value::Object(file).to_string()
    }

    /// Starts the hub and waits until it says that it is ready.
    pub fn run(self) -> Hub {
        let dir = tempfile::tempdir().unwrap();
        let hub = self.command(dir.path(), &["--port", "0"]);
        start(hub, dir)
    }

    /// The same with a file in this folder, where other processes find it.
    pub fn run_in(self, folder: &Path) -> Hub {
        let hub = self.command(folder, &["--port", "0"]);
        start(hub, tempfile::tempdir().unwrap())
    }

    /// The hub as it is shipped: in this folder, with the file that lies there.
    pub fn run_shipped(self, folder: &Path) -> Hub {
        let dir = tempfile::tempdir().unwrap();
        let mut hub = self.command(dir.path(), &[]);
        let shipped = hub.get_program().to_owned();
        let variables: Vec<_> = hub.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect();
        hub = Command::new(shipped);
        hub.args(["--port", "0"]).envs(variables).current_dir(folder);
        start(hub, dir)
    }

    /// The command that runs the hub with this configuration, not started: for `stdio`, and for hubs that must fail.
    pub fn command(&self, dir: &Path, words: &[&str]) -> Command {
        let config = dir.join("servers.json");
        // Another process may be reading it.
        if std::fs::read_to_string(&config).ok() != Some(self.config()) {
            std::fs::write(&config, self.config()).unwrap();
        }
        let state = self.state.as_deref().unwrap_or(dir);
        let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-hub"));
        command.args(words).args(&self.args).arg("--config").arg(config).current_dir(dir);
        command
            .env("XDG_STATE_HOME", state.join("state"))
            .env("XDG_DATA_HOME", state.join("data"))
            .env("XDG_CONFIG_HOME", state.join("config"))
            .envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// Runs it until it says that it is ready.
fn start(mut hub: Command, dir: tempfile::TempDir) -> Hub {
    let mut process = hub.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (told, lines) = mpsc::channel();
    let errors = process.stderr.take().unwrap();
    let also = told.clone();
    std::thread::spawn(move || BufReader::new(errors).lines().map_while(Result::ok).for_each(|line| also.send(line).unwrap_or_default()));
    let output = process.stdout.take().unwrap();
    std::thread::spawn(move || BufReader::new(output).lines().map_while(Result::ok).for_each(|line| told.send(line).unwrap_or_default()));
    let mut hub = Hub { process, lines, address: SocketAddr::from(([127, 0, 0, 1], 0)), ready: Value::Null, dir };
    let ready = hub.line(|line| line["status"] == "ready");
    hub.ready = ready.clone();
    hub.address.set_port(u16::try_from(ready["port"].as_u64().unwrap()).unwrap());
    hub
}

fn entries(servers: &[(String, Server)]) -> Map<String, Value> {
    servers.iter().map(|(name, server)| (name.clone(), server.entry())).collect()
}

pub struct Hub {
    process: Child,
    lines: mpsc::Receiver<String>,
    pub address: SocketAddr,
    /// What it said when it was.
    pub ready: Value,
    dir: tempfile::TempDir,
}

impl Hub {
    /// The next line of the log that fits.
    pub fn line(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        let mut seen = Vec::new();
        loop {
            let Ok(line) = self.lines.recv_timeout(PATIENCE) else { panic!("no such line among:\n{}", seen.join("\n")) };
            match serde_json::from_str(&line) {
                Ok(value) if fits(&value) => return value,
                _ => seen.push(line),
            }
        }
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Processes whose parent is the hub, however deep.
    pub fn descendants(&self) -> Vec<u32> {
        descendants(self.pid())
    }

    /// Open file descriptors of the hub.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    /// Resident memory of the hub in KiB.
    pub fn resident_kib(&self) -> u64 {
        self.status_kib("VmRSS:")
    }

    /// The most resident memory it ever had, in KiB.
    pub fn resident_peak_kib(&self) -> u64 {
        self.status_kib("VmHWM:")
    }

    fn status_kib(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// SIGTERM, and how it ended.
    pub fn terminate(mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        self.wait()
    }

    /// Waits for the end of a hub that was told to stop.
    pub fn wait(&mut self) -> ExitStatus {
        // The hub's output closes when it ends; only then is waiting short.
        while self.lines.recv_timeout(PATIENCE).is_ok() {}
        self.process.wait().unwrap()
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let below = self.descendants();
        let _ = self.process.kill();
        let _ = self.process.wait();
        // A test that failed leaves nothing behind: some of these servers outlive their stdin.
        for pid in below.into_iter().filter_map(|pid| rustix::process::Pid::from_raw(pid.cast_signed())) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

/// Every process below `pid`.
pub fn descendants(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let mut wave = vec![pid];
    while let Some(parent) = wave.pop() {
        let tasks = std::fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
        for task in tasks {
            let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            let children: Vec<u32> = children.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
            found.extend(&children);
            wave.extend(children);
        }
    }
    found
}

/// Whether a process still runs (a zombie does not).
pub fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.trim().is_empty() && !rest.trim_start().starts_with('Z'))
}
