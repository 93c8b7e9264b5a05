//! The sections about the hub itself: `gateway`, `orchestrator`, `limits`, `logging`. An error here leaves nothing to start with.

use std::time::Duration;

use super::{
    document::Notes,
    life,
    settings::{Gateway, Listener, Serves},
    value::{Fault, Field},
};
use crate::limits::{LISTENS_MAX, Limits, PARKED_MAX};

/// The hub's own sections, of all files so far. In each object the later file's key wins.
#[derive(Default)]
pub(super) struct Hub {
    pub(super) gateway: Gateway,
    pub(super) mcp_port: Option<u16>,
    pub(super) websocket_port: Option<u16>,
    pub(super) limits: Limits,
    pub(super) log_level: Option<String>,
    pub(super) log_text: bool,
    pub(super) auto_start: bool,
    pub(super) parallel_starts: Option<usize>,
    /// As in `Life`: unset, or given.
    pub(super) max_retries: Option<Option<u32>>,
    pub(super) startup_timeout: Option<Duration>,
}

impl Hub {
    pub(super) fn gateway(&mut self, section: &Field<'_>, notes: &mut Notes<'_>) {
        let gateway = &mut self.gateway;
        for field in notes.keep(section.object()).unwrap_or_default() {
            match field.name {
                "host" => set(&mut gateway.host, notes.keep(field.text())),
                "port" => set(&mut gateway.port, notes.keep(port(&field))),
                "mcp_port" => self.mcp_port = notes.keep(port(&field)),
                "websocket_port" => self.websocket_port = notes.keep(port(&field)),
                "listeners" => gateway.listeners = listeners(&field, notes),
                "public_url" => gateway.public_url = notes.keep(field.or_null(web_address)).flatten(),
                "base_path" => set(&mut gateway.base_path, notes.keep(base_path(&field))),
                "hosts" => set(&mut gateway.hosts, notes.keep(field.strings())),
                "threads" => gateway.threads = notes.keep(field.whole(1, 64)).map(|threads| threads as usize),
                "names" => set(&mut gateway.safe_names, notes.keep(safe_names(&field))),
                "cors" => cors(gateway, &field, notes),
                "legacy_sse" => set(&mut gateway.legacy_sse, notes.keep(field.flag())),
                "trusted_proxies" => notes.later(field.at, &field.label),
                // Ignored, it would serve in the clear what was meant to be encrypted.
                "tls" => notes.restricting(field.at, &field.label),
                _ => notes.unknown(field.at, &field.label),
            }
        }
        if gateway.cors_credentials && gateway.cors_origins.iter().any(|origin| origin == "*") {
            notes.fail(section.at, "\"gateway.cors\" cannot allow credentials to every origin; list the origins");
        }
    }

    pub(super) fn orchestrator(&mut self, section: &Field<'_>, notes: &mut Notes<'_>) {
        for field in notes.keep(section.object()).unwrap_or_default() {
            match field.name {
                "auto_start" => set(&mut self.auto_start, notes.keep(field.flag())),
                "max_retries" => self.max_retries = notes.keep(life::retries(&field)),
                "startup_timeout" => self.startup_timeout = notes.keep(field.some_seconds()),
                "parallel_starts" => self.parallel_starts = notes.keep(field.whole(1, 1024)).map(|starts| starts as usize),
                "watch" => {
                    if notes.keep(field.flag()) == Some(true) {
                        notes.later(field.at, &field.label);
                    }
                }
                _ => notes.unknown(field.at, &field.label),
            }
        }
    }

    pub(super) fn limits(&mut self, section: &Field<'_>, notes: &mut Notes<'_>) {
        let limits = &mut self.limits;
        for field in notes.keep(section.object()).unwrap_or_default() {
            match field.name {
                "body_mb" => set(&mut limits.body_bytes, notes.keep(field.whole(1, 1024)).map(mebibytes)),
                "line_mb" => set(&mut limits.line_bytes, notes.keep(field.whole(1, 1024)).map(mebibytes)),
                // No more than a connection has ids for.
                "queue" => set(&mut limits.queue, notes.keep(field.whole(1, 1 << 16)).map(|queue| queue as usize)),
                "session_idle" => set(&mut limits.session_idle, notes.keep(field.some_seconds())),
                "in_flight" => set(&mut limits.in_flight_per_principal, notes.keep(field.whole(1, 1 << 20)).map(|calls| calls as usize)),
                "parked_ttl" => set(&mut limits.parked_ttl, notes.keep(field.some_seconds())),
                "parked" => {
                    set(&mut limits.parked_per_principal, notes.keep(field.whole(1, PARKED_MAX as u64)).map(|calls| calls as usize))
                }
                "listens" => {
                    set(&mut limits.listens_per_principal, notes.keep(field.whole(1, LISTENS_MAX as u64)).map(|streams| streams as usize));
                }
                _ => notes.unknown(field.at, &field.label),
            }
        }
    }

    pub(super) fn logging(&mut self, section: &Field<'_>, notes: &mut Notes<'_>) {
        for field in notes.keep(section.object()).unwrap_or_default() {
            match field.name {
                "level" => {
                    let level = field.string().and_then(|word| {
                        log_level(&word).ok_or_else(|| field.fault("must be one of \"error\", \"warn\", \"info\", \"debug\", \"trace\""))
                    });
                    self.log_level = notes.keep(level).map(str::to_owned).or_else(|| self.log_level.take());
                }
                "format" => set(&mut self.log_text, notes.keep(text_format(&field))),
                _ => notes.unknown(field.at, &field.label),
            }
        }
    }
}

fn set<T>(slot: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *slot = value;
    }
}

fn mebibytes(count: u64) -> usize {
    (count as usize) << 20
}

fn port(field: &Field<'_>) -> Result<u16, Fault> {
    field.whole(0, u64::from(u16::MAX)).map(|port| port as u16)
}

fn safe_names(field: &Field<'_>) -> Result<bool, Fault> {
    field.one_of(&[("dotted", false), ("safe", true)])
}

fn web_address(field: &Field<'_>) -> Result<String, Fault> {
    let address = field.text()?;
    let host = address.strip_prefix("https://").or_else(|| address.strip_prefix("http://"));
    if host.is_some_and(|host| !host.is_empty()) { Ok(address) } else { Err(field.fault("must begin with http:// or https:// and a host")) }
}

fn base_path(field: &Field<'_>) -> Result<String, Fault> {
    let path = field.string()?;
    let path = path.trim_end_matches('/');
    let fits = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#' | b'{' | b'}');
    if path.is_empty() || path.starts_with('/') && !path.contains("//") && path.bytes().all(fits) {
        Ok(path.to_owned())
    } else {
        Err(field.fault("must be a path such as \"/tools\""))
    }
}

fn cors(gateway: &mut Gateway, section: &Field<'_>, notes: &mut Notes<'_>) {
    for field in notes.keep(section.object()).unwrap_or_default() {
        match field.name {
            "origins" => set(&mut gateway.cors_origins, notes.keep(field.strings())),
            "credentials" => set(&mut gateway.cors_credentials, notes.keep(field.flag())),
            _ => notes.unknown(field.at, &field.label),
        }
    }
}

/// An empty host stands for the gateway's, which a later key or a flag may still change.
fn listeners(section: &Field<'_>, notes: &mut Notes<'_>) -> Vec<Listener> {
    let mut listeners = Vec::new();
    for item in notes.keep(section.items()).unwrap_or_default() {
        let mut listener = Listener { host: String::new(), port: 0, serves: Serves::ALL, safe_names: None };
        let mut has_port = false;
        for field in notes.keep(item.object()).unwrap_or_default() {
            match field.name {
                "host" => set(&mut listener.host, notes.keep(field.text())),
                "port" => {
                    set(&mut listener.port, notes.keep(port(&field)));
                    has_port = true;
                }
                "serves" => set(&mut listener.serves, notes.keep(serves(&field))),
                "names" => listener.safe_names = notes.keep(safe_names(&field)),
                _ => notes.unknown(field.at, &field.label),
            }
        }
        if !has_port && notes.error.is_none() {
            notes.fail(item.at, format!("\"{}\" needs a \"port\"", item.label));
        }
        listeners.push(listener);
    }
    listeners
}

fn serves(field: &Field<'_>) -> Result<Serves, Fault> {
    let mut serves = Serves::NONE;
    for door in field.strings()? {
        match door.as_str() {
            "api" => serves.api = true,
            "mcp" => serves.mcp = true,
            "ws" => serves.ws = true,
            "apps" => serves.apps = true,
            "ops" => serves.ops = true,
            _ => return Err(field.fault("must hold some of \"api\", \"mcp\", \"ws\", \"apps\", \"ops\"")),
        }
    }
    if serves == Serves::NONE { Err(field.fault("must not be empty; leave it out to serve everything")) } else { Ok(serves) }
}

/// One of the hub's levels, by any name that loggers use.
pub(super) fn log_level(word: &str) -> Option<&'static str> {
    Some(match word.to_ascii_lowercase().as_str() {
        "error" | "critical" | "fatal" => "error",
        "warn" | "warning" => "warn",
        "info" => "info",
        "debug" => "debug",
        "trace" => "trace",
        _ => return None,
    })
}

/// Whether the log is text: another product has the format strings of Python here.
fn text_format(field: &Field<'_>) -> Result<bool, Fault> {
    match field.string()?.as_str() {
        "json" => Ok(false),
        "text" => Ok(true),
        format if format.contains(['%', '{']) => Ok(true),
        _ => Err(field.fault("must be \"json\" or \"text\"")),
    }
}
