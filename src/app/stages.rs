//! What the hub says on stdout as it starts and ends: one object a stage for a program, addresses for a person.

use std::{io::IsTerminal, net::IpAddr, sync::Arc};

use serde_json::json;

use super::Core;
use crate::{
    access::Principal,
    config::{
        ServerSettings, Settings,
        settings::{Builtin, Launch},
    },
    name::TenantId,
    observe::Log,
};

/// Addresses that a person is shown before they become a list.
const TENANTS_SHOWN: usize = 5;

/// What the hub says when every boot server was tried: addresses for a person, the ready object for a program.
pub(super) fn announce(core: &Core, port: u16, log: &mut Log) {
    if std::io::stdout().is_terminal() {
        log.line(&addresses(&core.settings, port));
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

/// Where the hub is to be found. Callers who name no tenant are in `default`; where that does not exist, each other has its own address.
fn addresses(settings: &Settings, port: u16) -> String {
    let base = format!("http://{}:{port}{}", authority(&settings.gateway.host), settings.gateway.base_path);
    let mut text = "\n".to_owned();
    if settings.tenants.iter().any(|tenant| tenant.id.as_str() == TenantId::DEFAULT) {
        text.push_str(&format!("  MCP    {base}/mcp\n"));
    } else {
        let shown = settings.tenants.iter().take(TENANTS_SHOWN).map(|tenant| format!("  MCP    {base}/t/{}/mcp\n", tenant.id));
        text.extend(shown);
        if let Some(more) = settings.tenants.len().checked_sub(TENANTS_SHOWN).filter(|more| *more > 0) {
            text.push_str(&format!("         and {more} more\n"));
        }
    }
    text.push_str(&format!("  REST   {base}/api/tools\n  Try    {}\n", sample(settings, &base)));
    text
}

/// A line that works as pasted: a call, where the demo server is there to be called.
fn sample(settings: &Settings, base: &str) -> String {
    let is_demo = |launch: &Launch| match launch {
        Launch::Builtin(builtin) => *builtin == Builtin::Echo,
        Launch::Command { args, .. } => *args == ["demo", "echo"],
        Launch::Remote(_) => false,
    };
    let is_default = |server: &&Arc<ServerSettings>| server.id.tenant.as_str() == TenantId::DEFAULT;
    let servers = || settings.tenants.iter().flat_map(|tenant| &tenant.servers).filter(|server| server.enabled && is_demo(&server.launch));
    let Some(server) = servers().find(is_default).or_else(|| servers().next()) else { return format!("curl -s {base}/api/tools") };
    let tenant = if is_default(&server) { String::new() } else { format!(" -H 'x-tenant-id: {}'", server.id.tenant) };
    format!(
        "curl -s {base}/api/tools/{}.echo_tool{tenant} -H 'content-type: application/json' -d '{{\"message\":\"hello\"}}'",
        server.id.name
    )
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::{ServerId, ServerName};

    /// An echo server in each of these tenants.
    fn settings(tenants: &[&str]) -> Settings {
        let server = |tenant: &&str| {
            let id = ServerId { tenant: TenantId::new(tenant).unwrap(), name: ServerName::new("echo").unwrap() };
            ServerSettings { launch: Launch::Builtin(Builtin::Echo), ..ServerSettings::plain(id) }
        };
        Settings::plain(tenants.iter().map(server).collect())
    }

    #[test]
    fn every_address_that_is_shown_is_one_that_answers() {
        let said = addresses(&settings(&["acme", "default"]), 80);
        assert!(said.starts_with("\n  MCP    http://127.0.0.1:80/mcp\n  REST   http://127.0.0.1:80/api/tools\n  Try    "), "{said}");
        assert!(said.contains("/api/tools/echo.echo_tool -H 'content-type") && !said.contains("acme"), "{said}");

        let said = addresses(&settings(&["acme", "sales"]), 80);
        let own = "\n  MCP    http://127.0.0.1:80/t/acme/mcp\n  MCP    http://127.0.0.1:80/t/sales/mcp\n  REST ";
        assert!(said.starts_with(own) && said.contains("echo.echo_tool -H 'x-tenant-id: acme' -H"), "{said}");

        let many = ["a", "b", "c", "d", "e", "f", "g"];
        let said = addresses(&settings(&many), 80);
        assert!(said.contains("/t/e/mcp\n         and 2 more\n") && !said.contains("/t/f/"), "{said}");
        assert!(!addresses(&settings(&many[..5]), 80).contains("more"));
    }
}
