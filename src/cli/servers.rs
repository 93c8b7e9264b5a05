//! `mcp-hub servers [list|info|start|stop|refresh] [NAME]`, over REST.

use std::process::ExitCode;

use hyper::StatusCode;
use serde_json::{Value, json};

use super::{
    args::{ServersAction, ServersArgs},
    client::{Client, Failure, Output, finish, table},
};

pub async fn run(args: ServersArgs) -> ExitCode {
    finish(servers(&args).await, args.rest.json)
}

async fn servers(args: &ServersArgs) -> Result<Output, Failure> {
    let client = Client::new(&args.rest)?;
    let path = match args.action {
        ServersAction::List => "/api/servers",
        ServersAction::Info => "/api/servers/info",
        ServersAction::Start => "/api/servers/start",
        ServersAction::Stop => "/api/servers/stop",
        ServersAction::Refresh => "/api/servers/refresh",
    };
    let reply = match (args.action, &args.name) {
        (ServersAction::List, _) => client.get(path).await?,
        (_, Some(name)) => match client.post(path, json!({ "server_name": name }).to_string()).await {
            Err(Failure::Refused { status: StatusCode::NOT_FOUND, message, raw }) => {
                // For a person only; the hub's own sentence is enough where that cannot be found out.
                let servers = client.get("/api/servers").await.map(|reply| reply.json).unwrap_or_default();
                let message = format!("{message}{}", namesakes(&servers, name));
                return Err(Failure::Refused { status: StatusCode::NOT_FOUND, message, raw });
            }
            reply => reply?,
        },
        (_, None) => return Err(Failure::Usage("name a server".into())),
    };
    if args.rest.json {
        return Ok(Output::raw(&reply));
    }
    let text = match args.action {
        ServersAction::List => list(&reply.json, args.name.as_deref()),
        ServersAction::Info => info(&reply.json["server"]),
        ServersAction::Start | ServersAction::Stop | ServersAction::Refresh => line(&reply.json["server"]),
    };
    Ok(Output::text(text))
}

/// The rest of a sentence that says that there is no such server: which of that name there are in other tenants, as they are named in full.
fn namesakes(answer: &Value, missing: &str) -> String {
    let own = missing.rsplit_once(':').map_or(missing, |(_, name)| name);
    let servers = answer["servers"].as_array().map_or(&[][..], Vec::as_slice);
    let names: Vec<_> = servers.iter().filter(|server| server["name"] == own).filter_map(|server| server["server_id"].as_str()).collect();
    match names.as_slice() {
        [] => String::new(),
        [one] => format!("; there is one in another tenant: {one}"),
        several => format!("; there are some in other tenants: {}", several.join(", ")),
    }
}

/// `only`: of the server so called.
fn list(answer: &Value, only: Option<&str>) -> String {
    let servers = answer["servers"].as_array().map_or(&[][..], Vec::as_slice);
    let wanted = servers.iter().filter(|server| only.is_none_or(|only| server["server_id"] == only || name(server) == only));
    let rows: Vec<_> = wanted
        .map(|server| {
            let error = server["error"].as_str().unwrap_or_default().to_owned();
            [name(server).to_owned(), text(server, "status"), text(server, "state"), tools(server).to_string(), error]
        })
        .collect();
    if rows.is_empty() { "no servers\n".into() } else { table(["NAME", "STATUS", "STATE", "TOOLS", "ERROR"], &rows) }
}

fn info(server: &Value) -> String {
    let mut rows = Vec::new();
    for (label, member) in [
        ("name", "name"),
        ("title", "displayName"),
        ("description", "description"),
        ("tenant", "tenant_id"),
        ("status", "status"),
        ("state", "state"),
        ("error", "error"),
        ("last error", "last_error"),
        ("start", "start"),
        ("started at", "started_at"),
        ("uptime", "uptime"),
        ("instances", "instances"),
        ("restarts", "restart_count"),
        ("from", "config_source"),
    ] {
        let value = text(server, member);
        if !value.is_empty() {
            rows.push([format!("{label}:"), value]);
        }
    }
    let names: Vec<_> = server["capabilities"]["tools"].as_array().into_iter().flatten().filter_map(|tool| tool["name"].as_str()).collect();
    rows.push(["tools:".into(), names.join(" ")]);
    let table = table(["", ""], &rows);
    // The head is blank.
    table.trim_start_matches('\n').to_owned()
}

fn line(server: &Value) -> String {
    format!("{}: {} ({}), {} tools\n", name(server), text(server, "status"), text(server, "state"), tools(server))
}

/// With its tenant, unless that is the default one.
fn name(server: &Value) -> &str {
    let member = if server["tenant_id"] == "default" { "name" } else { "server_id" };
    server[member].as_str().unwrap_or_default()
}

fn tools(server: &Value) -> usize {
    server["capabilities"]["tools"].as_array().map_or(0, Vec::len)
}

/// A member as a person reads it; nothing for `null`.
fn text(server: &Value, member: &str) -> String {
    match &server[member] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(tenant: &str, name: &str, error: Value) -> Value {
        json!({
            "name": name, "displayName": "GitHub", "description": "", "server_id": format!("{tenant}:{name}"), "tenant_id": tenant,
            "status": "connected", "state": "RUNNING", "error": error, "uptime": 12, "instances": 1, "config_source": null,
            "capabilities": {"tools": [{"name": "a"}, {"name": "b"}]},
        })
    }

    #[test]
    fn a_list_is_a_table_with_tenants_where_they_matter() {
        let answer = json!({"servers": [server("default", "github", Value::Null), server("acme", "db", json!("exited"))]});
        assert_eq!(
            list(&answer, None),
            "NAME     STATUS     STATE    TOOLS  ERROR\n\
             github   connected  RUNNING  2\n\
             acme:db  connected  RUNNING  2      exited\n"
        );
        assert_eq!(list(&answer, Some("default:github")).lines().count(), 2);
        assert_eq!(list(&answer, Some("db")), "no servers\n");
        assert_eq!(list(&json!({"servers": []}), None), "no servers\n");
    }

    #[test]
    fn a_name_that_is_missing_here_is_found_elsewhere() {
        let servers = [server("default", "db", Value::Null), server("acme", "db", Value::Null), server("acme", "web", Value::Null)];
        let answer = json!({ "servers": servers });
        for (missing, told) in [
            ("none", ""),
            ("web", "; there is one in another tenant: acme:web"),
            ("else:web", "; there is one in another tenant: acme:web"),
            ("else:db", "; there are some in other tenants: default:db, acme:db"),
        ] {
            assert_eq!(namesakes(&answer, missing), told);
        }
    }

    #[test]
    fn info_leaves_out_what_is_not_known() {
        let text = info(&server("default", "github", Value::Null));
        assert!(text.starts_with("name:       github\n"), "{text}");
        assert!(text.ends_with("tools:      a b\n"), "{text}");
        assert!(!text.contains("error") && !text.contains("from:") && !text.contains("description"), "{text}");
    }

    #[test]
    fn a_change_is_told_in_one_line() {
        assert_eq!(line(&server("acme", "db", Value::Null)), "acme:db: connected (RUNNING), 2 tools\n");
    }
}
