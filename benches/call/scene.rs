//! What is measured: the hub's binary with one shared child, and the bare server. Both end with the scene.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde_json::json;

use crate::client::{self, Request};

#[derive(Clone, Copy)]
pub(crate) enum Dialect {
    /// 2026-07-28
    Stateless,
    /// 2025-11-25, with a session
    Handshake,
}

pub(crate) struct Scene {
    hub: Running,
    bare: Running,
    relay: Running,
    session: String,
    _dir: tempfile::TempDir,
}

struct Running {
    process: Child,
    address: SocketAddr,
}

impl Scene {
    /// With the hub of this build, or the binary that `MCP_HUB` names.
    pub(crate) fn start() -> Self {
        let binary = std::env::var_os("MCP_HUB").unwrap_or_else(|| env!("CARGO_BIN_EXE_mcp-hub").into());
        Self::of(Path::new(&binary))
    }

    /// With a hub of another build.
    pub(crate) fn of(binary: &Path) -> Self {
        let bare = Running::start(Command::new(me()).arg("bare"), |line| line.parse().ok());
        let remote = format!("http://{}/mcp", bare.address);
        Self::around(binary, bare, &remote)
    }

    /// With a remote server of 2026-07-28 that runs already.
    pub(crate) fn before(url: &str) -> Self {
        let address = url.strip_prefix("http://").and_then(|rest| rest.split('/').next()).and_then(|address| address.parse().ok());
        let mut server = Running::start(Command::new(me()).arg("bare"), |line| line.parse().ok());
        server.address = address.expect("http://<address>:<port>/…");
        Self::around(Path::new(env!("CARGO_BIN_EXE_mcp-hub")), server, url)
    }

    fn around(binary: &Path, bare: Running, remote: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("servers.json");
        let server = json!({"command": me(), "args": ["child"], "start": "boot", "pool": {"scope": "shared"}});
        let remote = json!({"url": remote, "allow_private": true, "start": "boot"});
        std::fs::write(&config, json!({"mcpServers": {"bench": server, "remote": remote}}).to_string()).unwrap();
        let mut hub = Command::new(binary);
        hub.args(["--port", "0", "--log-format", "json", "--config"]).arg(&config);
        hub.env("XDG_STATE_HOME", dir.path()).env("XDG_DATA_HOME", dir.path());
        let hub = Running::start(&mut hub, |line| {
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            (line["status"] == "ready").then(|| u16::try_from(line["port"].as_u64().unwrap()).unwrap())
        });
        let mut relay = Command::new(me());
        let relay = Running::start(relay.arg("relay").arg(bare.address.to_string()), |line| line.parse().ok());
        let mut scene = Self { hub, bare, relay, session: String::new(), _dir: dir };
        scene.session = scene.open_session();
        scene
    }

    pub(crate) fn small(&self, dialect: Dialect) -> Request {
        self.call("bench.small", dialect)
    }

    pub(crate) fn large(&self, dialect: Dialect) -> Request {
        self.call("bench.large", dialect)
    }

    /// Of a remote server, over HTTP on both legs.
    pub(crate) fn remote(&self) -> Request {
        self.call("remote.small", Dialect::Stateless)
    }

    /// The same asked of that server itself.
    pub(crate) fn bare_remote(&self) -> Request {
        self.bare_of("/mcp", &self.remote())
    }

    /// One tool of the remote server, without arguments: through the hub, and of itself.
    pub(crate) fn remote_tool(&self, path: &str, tool: &str) -> (Request, Request) {
        let params = |name: &str| message("tools/call", json!({"name": name, "arguments": {}}), Dialect::Stateless);
        let headers = |name: &str| format!("MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: {name}\r\n");
        let public = format!("remote.{tool}");
        let own = request(self.bare.address, path, params(tool).as_bytes(), &headers(tool));
        (self.post(&params(&public), &headers(&public)), own)
    }

    pub(crate) fn list(&self) -> Request {
        self.post(&message("tools/list", json!({}), Dialect::Stateless), "Mcp-Method: tools/list\r\nMCP-Protocol-Version: 2026-07-28\r\n")
    }

    /// Echoes the same body that the hub gets.
    pub(crate) fn bare_small(&self) -> Request {
        self.bare_of("/small", &self.small(Dialect::Stateless))
    }

    /// Through the relay to a child like the hub's.
    pub(crate) fn relay_pipe(&self) -> Request {
        relayed(self.relay.address, "/pipe", &self.small(Dialect::Handshake))
    }

    pub(crate) fn relay_large(&self) -> Request {
        relayed(self.relay.address, "/pipe", &self.large(Dialect::Handshake))
    }

    /// Through the relay to the remote server.
    pub(crate) fn relay_remote(&self) -> Request {
        relayed(self.relay.address, "/mcp", &self.remote())
    }

    /// Sends as many bytes as the hub's answer has.
    pub(crate) fn bare_large(&self) -> Request {
        self.bare_as(&self.large(Dialect::Stateless))
    }

    pub(crate) fn bare_list(&self) -> Request {
        self.bare_as(&self.list())
    }

    /// The child by itself.
    pub(crate) fn pipe(&self) -> Pipe {
        let mut child = Command::new(me()).arg("child").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Pipe { child, stdin, stdout, buffer: vec![0; 1 << 16] }
    }

    /// The hub's process id, and its child's.
    pub(crate) fn hub_pid(&self) -> u32 {
        self.hub.process.id()
    }

    fn call(&self, tool: &str, dialect: Dialect) -> Request {
        let body =
            message("tools/call", json!({"name": tool, "arguments": {"query": "a question of ordinary length", "limit": 10}}), dialect);
        let headers = match dialect {
            Dialect::Stateless => format!("MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: {tool}\r\n"),
            Dialect::Handshake => format!("MCP-Protocol-Version: 2025-11-25\r\nMcp-Session-Id: {}\r\n", self.session),
        };
        self.post(&body, &headers)
    }

    fn open_session(&self) -> String {
        let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}});
        let (head, _) = client::once(&self.post(&message("initialize", params, Dialect::Handshake), ""));
        let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with("mcp-session-id:")).expect("a session was opened");
        line[15..].trim().to_owned()
    }

    fn post(&self, body: &str, headers: &str) -> Request {
        request(self.hub.address, "/mcp", body.as_bytes(), headers)
    }

    fn bare_as(&self, hub: &Request) -> Request {
        let (_, body) = client::once(hub);
        self.bare_of(&format!("/{}", body.len()), hub)
    }

    fn bare_of(&self, path: &str, hub: &Request) -> Request {
        relayed(self.bare.address, path, hub)
    }
}

impl Running {
    /// Starts a program and reads its lines until one tells the port.
    fn start(command: &mut Command, port: impl Fn(&str) -> Option<u16>) -> Self {
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        let port = loop {
            line.clear();
            assert!(lines.read_line(&mut line).unwrap() > 0, "ended before it told its port");
            if let Some(port) = port(line.trim_end()) {
                break port;
            }
        };
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        Self { process, address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The hub's child ends with its stdin.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A child and nothing else.
pub(crate) struct Pipe {
    child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
    buffer: Vec<u8>,
}

impl Pipe {
    pub(crate) fn round_trip(&mut self) {
        const LINE: &[u8] = b"{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"tools/call\",\"params\":{\"name\":\"small\",\"arguments\":{\"query\":\"a question of ordinary length\",\"limit\":10}}}\n";
        self.stdin.write_all(LINE).unwrap();
        loop {
            let read = self.stdout.read(&mut self.buffer).unwrap();
            if self.buffer[..read].ends_with(b"\n") {
                return;
            }
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the hub is sent, sent elsewhere.
fn relayed(address: SocketAddr, path: &str, hub: &Request) -> Request {
    let at = memchr::memmem::find(&hub.bytes, b"\r\n\r\n").unwrap() + 4;
    let headers = "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: bench.small\r\n";
    request(address, path, &hub.bytes[at..], headers)
}

fn me() -> PathBuf {
    std::env::current_exe().unwrap()
}

fn message(method: &str, mut params: serde_json::Value, dialect: Dialect) -> String {
    if matches!(dialect, Dialect::Stateless) {
        params["_meta"] =
            json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}});
    }
    json!({"jsonrpc": "2.0", "id": 1000, "method": method, "params": params}).to_string()
}

fn request(address: SocketAddr, path: &str, body: &[u8], headers: &str) -> Request {
    let mut bytes = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    Request { address, bytes: bytes.into() }
}
