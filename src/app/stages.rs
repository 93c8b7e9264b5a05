//! What the hub says on stdout as it starts and ends: one object a stage for a program, addresses for a person.

use std::{io::IsTerminal, net::IpAddr};

use serde_json::json;

use super::Core;
use crate::{
    access::Principal,
    config::settings::{Builtin, Launch},
    observe::Log,
};

/// What the hub says when every boot server was tried: addresses for a person, the ready object for a program.
pub(super) fn announce(core: &Core, port: u16, log: &mut Log) {
    if std::io::stdout().is_terminal() {
        let base = format!("http://{}:{port}{}", authority(&core.settings.gateway.host), core.settings.gateway.base_path);
        log.line(&format!("\n  MCP    {base}/mcp\n  REST   {base}/api/tools\n  Try    {}\n", sample(core, &base)));
    }
    let servers: Vec<_> = core
        .control
        .known(&Principal::local_admin())
        .iter()
        .map(|server| json!({"name": server.name, "server_id": server.server_id, "status": server.status, "error": server.error}))
        .collect();
    let mut ready = stage("ready", port);
    ready["servers"] = servers.into();
    tell(log, &ready);
}

/// A line that works as pasted: a call, where the demo server is there to be called.
fn sample(core: &Core, base: &str) -> String {
    let is_demo = |launch: &Launch| match launch {
        Launch::Builtin(builtin) => *builtin == Builtin::Echo,
        Launch::Command { args, .. } => *args == ["demo", "echo"],
        Launch::Remote(_) => false,
    };
    let mut servers = core.settings.tenants.iter().filter(|tenant| tenant.id.as_str() == "default").flat_map(|tenant| &tenant.servers);
    match servers.find(|server| server.enabled && is_demo(&server.launch)) {
        Some(server) => format!(
            "curl -s {base}/api/tools/{}.echo_tool -H 'content-type: application/json' -d '{{\"message\":\"hello\"}}'",
            server.id.name
        ),
        None => format!("curl -s {base}/api/tools"),
    }
}

/// A host as it stands in a URL; an address of all interfaces as one that can be called.
fn authority(host: &str) -> String {
    match host.parse::<IpAddr>() {
        Ok(address) if address.is_unspecified() => "127.0.0.1".to_owned(),
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        _ => host.to_owned(),
    }
}

pub(super) fn stage(status: &str, port: u16) -> serde_json::Value {
    json!({
        "status": status, "server_id": "mcp-hub", "version": env!("CARGO_PKG_VERSION"), "port": port, "pid": std::process::id(),
        "timestamp": humantime::format_rfc3339_millis(std::time::SystemTime::now()).to_string(),
    })
}

/// A person is shown the addresses instead.
pub(super) fn tell(log: &mut Log, object: &serde_json::Value) {
    let line = object.to_string();
    log.keep(&line);
    if !std::io::stdout().is_terminal() {
        log.line(&line);
    }
}
