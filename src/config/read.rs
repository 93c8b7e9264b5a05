//! Which files, environment variables and flags make the settings, and in which order: flags over environment over files, later files
//! over earlier ones.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use sha2::{Digest, Sha256};

pub use super::environment::Environment;
use super::{
    Problem, Settings,
    document::Document,
    files::Draft,
    finish::Finish,
    gateway::{Hub, log_level},
    placeholder::World,
    problem::{Severity, in_file_order},
    remote,
    settings::{Gateway, Listener, Serves},
};

const PARALLEL_STARTS: usize = 8;

/// Overrides from the command line.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    pub host: Option<String>,
    pub port: Option<u16>,
    pub demo: bool,
    pub strict: bool,
    pub log_level: Option<String>,
    pub log_text: Option<bool>,
}

/// Reads and merges `files` (or the default places when empty). `Err`: all problems, at least one of them fatal.
pub fn read(files: &[PathBuf], environment: &Environment, overrides: &Overrides) -> Result<Settings, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut read = Vec::new();
    let mut draft = Draft::default();
    let mut digest = Sha256::new();
    for path in places(files, environment).map_err(|message| vec![Problem::outside(Severity::Fatal, message)])? {
        // A relative path is shown as given and found from the captured working directory.
        let added = Document::open(&path, &environment.cwd).and_then(|document| match document {
            Some(document) => {
                read.push(path.clone());
                digest.update(&document.text);
                draft.add(&document, overrides.strict, &mut problems)
            }
            None => {
                let problem = Problem::outside(Severity::Warning, "no such file; skipped".to_owned());
                problems.push(Problem { file: Some(path.clone()), ..problem });
                Ok(())
            }
        });
        problems.extend(added.err().map(|problem| *problem));
    }
    if overrides.demo {
        draft.add_demo();
    }
    let world = world(environment).unwrap_or_else(|message| {
        problems.push(Problem::outside(Severity::Fatal, message));
        World::default()
    });
    override_by_environment(&mut draft.hub, environment, &mut problems);
    override_by_flags(&mut draft.hub, overrides);
    let gateway = gateway(&mut draft.hub, &mut problems);
    let mut hosts = std::iter::once(&gateway.host).chain(gateway.listeners.iter().map(|listener| &listener.host));
    let world = World { is_local: hosts.all(|host| remote::is_loopback(host)), ..world };
    let finish = Finish { hub: &draft.hub, world: Arc::new(world), inputs: Arc::new(draft.inputs), problems: &mut problems };
    let tenants = finish.tenants(draft.tenants);
    in_file_order(&mut problems, &read);
    if problems.iter().any(|problem| problem.severity == Severity::Fatal) {
        return Err(problems);
    }
    Ok(Settings {
        gateway,
        limits: draft.hub.limits,
        log_level: draft.hub.log_level.unwrap_or_else(|| "info".to_owned()),
        log_text: draft.hub.log_text,
        parallel_starts: draft.hub.parallel_starts.unwrap_or(PARALLEL_STARTS),
        tenants,
        problems,
        digest: (!read.is_empty()).then(|| digest.finalize().into()),
        files: read,
    })
}

/// The files to read: those named, else the first default place where there is one.
fn places(files: &[PathBuf], environment: &Environment) -> Result<Vec<PathBuf>, String> {
    if !files.is_empty() {
        return Ok(files.to_vec());
    }
    if let Some(named) = environment.own("MCP_HUB_CONFIG")? {
        return Ok(vec![named.into()]);
    }
    let set = |name: &str| environment.vars.get(name).filter(|value| !value.is_empty());
    let base = set("XDG_CONFIG_HOME").map(PathBuf::from).or_else(|| set("HOME").map(|home| Path::new(home).join(".config")));
    let of_user = base.map(|base| base.join("mcp-hub/servers.json"));
    let places = [Some(PathBuf::from("config/servers.json")), of_user].into_iter().flatten();
    Ok(places.filter(|place| environment.cwd.join(place).exists()).take(1).collect())
}

/// What placeholders of every server may look at, `MCP_HUB_ENV` included.
fn world(environment: &Environment) -> Result<World, String> {
    let mut added = BTreeMap::new();
    if let Some(text) = environment.own("MCP_HUB_ENV")? {
        let not_an_object = || "MCP_HUB_ENV must be a JSON object such as {\"NAME\": \"value\"}".to_owned();
        let map: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).map_err(|_| not_an_object())?;
        for (name, value) in map {
            let value = match value {
                serde_json::Value::String(text) => text,
                serde_json::Value::Number(_) | serde_json::Value::Bool(_) => value.to_string(),
                serde_json::Value::Null => continue,
                _ => return Err(not_an_object()),
            };
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                return Err("MCP_HUB_ENV holds a name or value that no variable can have".to_owned());
            }
            added.insert(name, value);
        }
    }
    Ok(World { environment: environment.clone(), added, ..World::default() })
}

fn override_by_environment(hub: &mut Hub, environment: &Environment, problems: &mut Vec<Problem>) {
    let mut own = |name: &str| {
        environment.own(name).unwrap_or_else(|message| {
            problems.push(Problem::outside(Severity::Fatal, message));
            None
        })
    };
    let (host, port, level) = (own("MCP_HUB_HOST"), own("MCP_HUB_PORT"), own("LOG_LEVEL"));
    if let Some(host) = host {
        hub.gateway.host = host;
    }
    match port.map(|port| port.trim().parse()) {
        Some(Ok(port)) => hub.gateway.port = port,
        Some(Err(_)) => {
            problems.push(Problem::outside(Severity::Fatal, "MCP_HUB_PORT must be a whole number from 0 to 65535".to_owned()));
        }
        None => {}
    }
    match level.as_deref().map(log_level) {
        Some(Some(level)) => hub.log_level = Some(level.to_owned()),
        // Other programs share this variable and have levels of their own.
        Some(None) => {
            let message = "LOG_LEVEL must be one of error, warn, info, debug, trace; it has no effect".to_owned();
            problems.push(Problem::outside(Severity::Warning, message));
        }
        None => {}
    }
}

fn override_by_flags(hub: &mut Hub, overrides: &Overrides) {
    if let Some(host) = &overrides.host {
        hub.gateway.host.clone_from(host);
    }
    if let Some(port) = overrides.port {
        hub.gateway.port = port;
    }
    if let Some(level) = &overrides.log_level {
        hub.log_level = Some(level.clone());
    }
    if let Some(text) = overrides.log_text {
        hub.log_text = text;
    }
}

/// The gateway with all its listeners; two doors on one extra port are one listener.
fn gateway(hub: &mut Hub, problems: &mut Vec<Problem>) -> Gateway {
    let mut gateway = std::mem::take(&mut hub.gateway);
    for listener in gateway.listeners.iter_mut().filter(|listener| listener.host.is_empty()) {
        listener.host.clone_from(&gateway.host);
    }
    let mut extra: Vec<Listener> = Vec::new();
    let mcp = (hub.mcp_port, Serves { mcp: true, ..Serves::NONE });
    let ws = (hub.websocket_port, Serves { ws: true, ..Serves::NONE });
    for (port, serves) in [mcp, ws].into_iter().filter_map(|(port, serves)| Some((port?, serves))) {
        match extra.iter_mut().find(|listener| listener.port == port && port != 0) {
            Some(both) => both.serves = Serves { mcp: true, ws: true, ..Serves::NONE },
            None if port == gateway.port => {}
            None => extra.push(Listener { host: gateway.host.clone(), port, serves, safe_names: None }),
        }
    }
    extra.append(&mut gateway.listeners);
    gateway.listeners = extra;
    let mut taken = vec![(&gateway.host, gateway.port)];
    for listener in &gateway.listeners {
        let place = (&listener.host, listener.port);
        if listener.port != 0 && taken.contains(&place) {
            let message = format!("two listeners on {}:{}; give each its own port", listener.host, listener.port);
            problems.push(Problem::outside(Severity::Fatal, message));
        }
        taken.push(place);
    }
    gateway
}
