//! How the hub is: `/`, `/health`, `/livez`, `/readyz`, `/api/health`.

use std::sync::Arc;

use hyper::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};

use super::{fault::Fault, ok};
use crate::{
    access::Principal,
    control::ServerView,
    downstream::{
        Doors, Reply, Request, Stage,
        reply::{self, class},
    },
};

pub(super) fn root() -> Reply {
    ok(&Root { name: "MCP Hub", version: env!("CARGO_PKG_VERSION"), status: "running", description: env!("CARGO_PKG_DESCRIPTION") })
}

#[derive(Serialize)]
struct Root {
    name: &'static str,
    version: &'static str,
    status: &'static str,
    description: &'static str,
}

pub(super) fn health(doors: &Doors) -> Reply {
    let (status, body) = health_of(doors.ready.stage(), doors.started.elapsed().as_secs());
    reply::json(status, &body)
}

/// Of the hub alone: a dead server never makes it unhealthy, and nobody learns here whether another tenant's servers live.
fn health_of(stage: Stage, uptime: u64) -> (StatusCode, Value) {
    let (status, word) = match stage {
        Stage::Starting => (StatusCode::OK, "degraded"),
        Stage::Ready => (StatusCode::OK, "healthy"),
        Stage::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "unhealthy"),
    };
    let (started, open) = (stage != Stage::Starting, stage != Stage::Stopping);
    let components = json!({
        "registry": true, "orchestrator": started && open, "router": true, "multitenant_manager": true, "gateway": open, "ui_proxy": open,
    });
    let version = env!("CARGO_PKG_VERSION");
    let body = json!({"status": word, "components": components, "version": version, "uptime": uptime, "timestamp": reply::timestamp()});
    (status, body)
}

pub(super) fn live() -> Reply {
    ok(&json!({"status": "ok"}))
}

pub(super) fn ready(doors: &Doors) -> Result<Reply, Fault> {
    not_ready(doors.ready.stage()).map_or_else(|| Ok(ok(&json!({"status": "ready"}))), Err)
}

fn not_ready(stage: Stage) -> Option<Fault> {
    let (reason, message) = match stage {
        Stage::Ready => return None,
        Stage::Starting => ("starting", "The hub is starting"),
        Stage::Stopping => ("shutting_down", "The hub is shutting down"),
    };
    let data = json!({"origin": "hub", "reason": reason, "retryable": true});
    Some(Fault { retry_after_ms: Some(1000), ..Fault::new(503, class::HUB, message, data) })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ApiHealth<'a> {
    status: &'static str,
    state: &'static str,
    #[serde(rename = "server_id")]
    server_id: &'static str,
    version: &'a str,
    active_clients: usize,
    timestamp: String,
    servers: Vec<ServerView>,
    connections: Value,
    mcp_endpoint: Value,
    workspaces: Value,
}

pub(super) fn api_health(doors: &Doors, principal: &Arc<Principal>, request: &Request) -> Result<Reply, Fault> {
    let servers = doors.control.servers(principal, None)?;
    let sum = |of: fn(&ServerView) -> usize| servers.iter().map(of).sum::<usize>();
    let (tools, resources) = (sum(ServerView::tools), sum(ServerView::resources));
    let (templates, prompts) = (sum(ServerView::resource_templates), sum(ServerView::prompts));
    Ok(ok(&ApiHealth {
        status: "ok",
        state: doors.ready.stage().as_str(),
        server_id: "mcp-hub",
        version: &doors.version,
        active_clients: 0,
        timestamp: reply::timestamp(),
        connections: json!({"totalConnections": 0, "connections": []}),
        mcp_endpoint: json!({
            "activeClients": doors.hub.sessions.len(),
            "registeredCapabilities": {"tools": tools, "resources": resources, "resourceTemplates": templates, "prompts": prompts},
            "totalCapabilities": tools + resources + templates + prompts,
        }),
        workspaces: json!({"current": request.mount.port.to_string(), "allActive": {}}),
        servers,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_follows_the_hubs_own_stage() {
        for (stage, status, word, gateway) in
            [(Stage::Starting, 200, "degraded", true), (Stage::Ready, 200, "healthy", true), (Stage::Stopping, 503, "unhealthy", false)]
        {
            let (code, body) = health_of(stage, 7);
            assert_eq!((code.as_u16(), &body["status"], &body["uptime"]), (status, &json!(word), &json!(7)), "{stage:?}");
            assert_eq!(body["components"]["gateway"], gateway, "{stage:?}");
            let names: Vec<_> = body["components"].as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(names, ["registry", "orchestrator", "router", "multitenant_manager", "gateway", "ui_proxy"]);
        }
    }

    #[test]
    fn the_hub_is_ready_only_between_starting_and_stopping() {
        assert_eq!(not_ready(Stage::Ready), None);
        for (stage, reason) in [(Stage::Starting, "starting"), (Stage::Stopping, "shutting_down")] {
            let fault = not_ready(stage).unwrap();
            assert_eq!((fault.status, fault.code, &fault.data["reason"]), (503, "HUB_ERROR", &json!(reason)));
        }
    }
}
