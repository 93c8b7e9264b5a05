//! What a configuration says, checked and typed. Placeholders are still in place: they are resolved at each start of a server.

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc, time::Duration};

use super::{Problem, Remote, document::Place, placeholder, problem::Severity, shown::MASK};
use crate::{
    limits::{BACKOFF_MAX, BACKOFF_MIN, BACKOFF_RESET, Limits},
    name::{ServerId, TenantId},
};

#[derive(Clone, Debug)]
pub struct Settings {
    pub gateway: Gateway,
    pub limits: Limits,
    /// error, warn, info, debug or trace.
    pub log_level: String,
    pub log_text: bool,
    pub parallel_starts: usize,
    /// In configured order; `default` alone when nothing is configured.
    pub tenants: Vec<TenantSettings>,
    /// Warnings and disabled entries, in file order.
    pub problems: Vec<Problem>,
    /// The files that were read, as given.
    pub files: Vec<PathBuf>,
    /// SHA-256 of their texts, one after the other; `None`: there were none.
    pub digest: Option<[u8; 32]>,
}

#[derive(Clone, Debug)]
pub struct Gateway {
    pub host: String,
    pub port: u16,
    /// Listeners beyond the first (`mcp_port`, `websocket_port`, `listeners`).
    pub listeners: Vec<Listener>,
    pub public_url: Option<String>,
    /// "" or "/prefix", no trailing slash.
    pub base_path: String,
    pub hosts: Vec<String>,
    /// Runtimes that share the connections; `None`: as many as the machine has pairs of cores.
    pub threads: Option<usize>,
    pub safe_names: bool,
    /// Whether the transport of 2024-11-05 has addresses (`/sse`, `/messages`).
    pub legacy_sse: bool,
    pub cors_origins: Vec<String>,
    pub cors_credentials: bool,
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 8080,
            listeners: Vec::new(),
            public_url: None,
            base_path: String::new(),
            hosts: Vec::new(),
            threads: None,
            safe_names: false,
            legacy_sse: true,
            cors_origins: Vec::new(),
            cors_credentials: false,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    pub host: String,
    pub port: u16,
    pub serves: Serves,
    pub safe_names: Option<bool>,
}

/// Which doors a listener has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serves {
    pub api: bool,
    pub mcp: bool,
    pub ws: bool,
    pub apps: bool,
    pub ops: bool,
}

impl Serves {
    pub const ALL: Self = Self { api: true, mcp: true, ws: true, apps: true, ops: true };
    pub const NONE: Self = Self { api: false, mcp: false, ws: false, apps: false, ops: false };
}

#[derive(Clone, Debug)]
pub struct TenantSettings {
    pub id: TenantId,
    pub description: String,
    /// When false, so is `enabled` of every server.
    pub enabled: bool,
    pub servers: Vec<Arc<ServerSettings>>,
}

#[derive(Clone, Debug)]
pub struct ServerSettings {
    pub id: ServerId,
    pub launch: Launch,
    pub display_name: Option<String>,
    pub description: Option<String>,
    /// Label (`type` when not a transport word).
    pub kind: String,
    pub enabled: bool,
    pub start: Start,
    pub pool: Pool,
    /// Absolute `file://` URIs: the roots of callers that have none of their own. Empty: those have none.
    pub roots: Vec<String>,
    /// Handshake clients get the results of a stateless server's tasks: it may make tasks of their calls.
    pub bridge_tasks: bool,
    /// Silent for so long, it is asked for a sign of life.
    pub keepalive: Option<Duration>,
    pub restart: Restart,
    pub timeouts: Timeouts,
    /// File the entry came from.
    pub source: Option<PathBuf>,
    /// A bad entry: disabled, shown with this error.
    pub error: Option<String>,
    /// The entry as JSON with secret values masked, for REST (`config` of the Server object).
    pub shown: serde_json::Map<String, serde_json::Value>,
    /// Changes whenever what the server offers may change (command, args, env names, cwd, url, builtin): names the stored catalog.
    pub fingerprint: String,
    /// Everything placeholders may look at (tenant env, envFile, hub environment as visible, predefined).
    pub scope: Arc<placeholder::Scope>,
}

/// How an instance comes to be. The command of a bad entry may be empty.
#[derive(Clone)]
pub enum Launch {
    /// In `env`, `None` stands for the hub's variable of that name, if the tenant may see it.
    Command {
        command: String,
        args: Vec<String>,
        env: BTreeMap<String, Option<String>>,
        env_file: Option<String>,
        cwd: Option<String>,
    },
    Builtin(Builtin),
    Remote(Remote),
}

/// Values of `env` may be secrets.
impl fmt::Debug for Launch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command { command, args, env, env_file, cwd } => {
                let env: BTreeMap<&str, &str> = env.keys().map(|name| (name.as_str(), MASK)).collect();
                f.debug_struct("Command")
                    .field("command", command)
                    .field("args", args)
                    .field("env", &env)
                    .field("env_file", env_file)
                    .field("cwd", cwd)
                    .finish()
            }
            Self::Builtin(builtin) => f.debug_tuple("Builtin").field(builtin).finish(),
            Self::Remote(remote) => remote.fmt(f),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Builtin {
    Echo,
    Math,
}

impl Builtin {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Math => "math",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    Boot,
    Demand,
    Manual,
}

impl Start {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::Demand => "demand",
            Self::Manual => "manual",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    Shared,
    User,
    Session,
    Call,
}

/// Whether instances may ask their callers (sampling, elicitation, roots). One that may is one principal's, or one session's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interactive {
    Never,
    /// Where `scope` is `user` or `session`.
    Auto,
    /// In every scope.
    Always,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    pub scope: Scope,
    /// The field of the entry with this name.
    pub interactive: Interactive,
    /// At least 1.
    pub size: usize,
    /// At most `size`.
    pub spare: usize,
    /// `None`: never; always so with `start: boot`.
    pub idle_stop: Option<Duration>,
}

impl Default for Pool {
    fn default() -> Self {
        Self { scope: Scope::User, interactive: Interactive::Auto, size: 4, spare: 0, idle_stop: Some(Duration::from_secs(600)) }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restart {
    /// `None`: never give up.
    pub max_retries: Option<u32>,
    pub wait: Duration,
    pub wait_max: Duration,
    pub reset_after: Duration,
}

impl Default for Restart {
    fn default() -> Self {
        Self { max_retries: None, wait: BACKOFF_MIN, wait_max: BACKOFF_MAX, reset_after: BACKOFF_RESET }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    pub start: Duration,
    pub call: Duration,
    /// At least `call`.
    pub call_max: Duration,
    pub stop: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            start: Duration::from_secs(60),
            call: Duration::from_secs(60),
            call_max: Duration::from_secs(1800),
            stop: Duration::from_secs(5),
        }
    }
}

impl ServerSettings {
    /// Something wrong with a text of the entry, told where that stands. A warning for an entry that is switched off.
    pub fn problem(&self, text: &str, message: String) -> Problem {
        let Place { source, line, column } = self.scope.texts.get(text).unwrap_or(&self.scope.place);
        let is_known = !source.path.as_os_str().is_empty();
        Problem {
            severity: if self.enabled { Severity::Entry } else { Severity::Warning },
            file: is_known.then(|| source.path.clone()),
            line: is_known.then_some(*line),
            column: is_known.then_some(*column),
            tenant: Some(self.id.tenant.to_string()),
            server: Some(self.id.name.to_string()),
            message,
        }
    }
}

#[cfg(test)]
impl Settings {
    /// These servers, all of one tenant or of several, and nothing else.
    pub(crate) fn plain(servers: Vec<ServerSettings>) -> Self {
        let mut tenants: Vec<TenantSettings> = Vec::new();
        for server in servers.into_iter().map(Arc::new) {
            match tenants.iter_mut().find(|tenant| tenant.id == server.id.tenant) {
                Some(tenant) => tenant.servers.push(server),
                None => {
                    let id = server.id.tenant.clone();
                    tenants.push(TenantSettings { id, description: String::new(), enabled: true, servers: vec![server] });
                }
            }
        }
        let (gateway, limits) = (Gateway::default(), Limits::default());
        let (problems, files, log_level) = (vec![], vec![], "info".into());
        Self { gateway, limits, log_level, log_text: false, parallel_starts: 8, tenants, problems, files, digest: None }
    }
}

#[cfg(test)]
impl ServerSettings {
    /// An entry that says nothing but a command.
    pub(crate) fn plain(id: ServerId) -> Self {
        Self {
            launch: Launch::Command { command: "server".into(), args: vec![], env: BTreeMap::new(), env_file: None, cwd: None },
            display_name: None,
            description: None,
            kind: String::new(),
            enabled: true,
            start: Start::Demand,
            pool: Pool::default(),
            bridge_tasks: false,
            roots: Vec::new(),
            keepalive: None,
            restart: Restart::default(),
            timeouts: Timeouts::default(),
            source: None,
            error: None,
            shown: serde_json::Map::new(),
            fingerprint: id.to_string(),
            scope: Arc::default(),
            id,
        }
    }
}
