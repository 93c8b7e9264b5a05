//! `/api/tenants…`: what tenants there are, and all servers of one at once.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Map, Value, json};

use super::{fault::Fault, ok, target, whole};
use crate::{
    access::Principal,
    control::ServerTools,
    downstream::{Doors, Reply, Request},
};

pub(super) fn list(doors: &Doors, principal: &Arc<Principal>) -> Reply {
    let tenants: BTreeMap<_, _> = doors.control.tenants(principal).into_iter().map(|tenant| (tenant.tenant_id.clone(), tenant)).collect();
    ok(&json!({"total": tenants.len(), "tenants": tenants}))
}

pub(super) fn one(doors: &Doors, principal: &Arc<Principal>, request: &Request) -> Result<Reply, Fault> {
    let tenant = target::tenant(request)?;
    Ok(ok(&doors.control.tenant(principal, &tenant)?))
}

pub(super) fn tools(doors: &Doors, principal: &Arc<Principal>, request: &Request) -> Result<Reply, Fault> {
    let tenant = target::tenant(request)?;
    let servers = doors.control.tools(principal, Some(&tenant))?;
    Ok(ok(&json!({
        "tenant_id": tenant,
        "exists": true,
        "total_tools": servers.iter().map(|server| server.names.len()).sum::<usize>(),
        "active_servers": servers.iter().filter(|server| server.running).count(),
        "tools_by_server": by_server(&servers, |server| server.server.name.to_string()),
        "all_tools": sorted(&servers),
    })))
}

pub(super) async fn start(doors: &Doors, principal: &Arc<Principal>, request: &Request) -> Result<Reply, Fault> {
    let tenant = target::tenant(request)?;
    let (control, caller, id) = (Arc::clone(&doors.control), Arc::clone(principal), tenant.clone());
    let start = whole(doors, async move { control.start_tenant(&caller, &id).await }).await?;
    let started = start.servers_count - start.failed.len();
    let message = format!("Started {started} of {} servers of tenant '{tenant}'", start.servers_count);
    Ok(ok(&json!({"message": message, "servers_count": start.servers_count, "failed": start.failed})))
}

pub(super) async fn stop(doors: &Doors, principal: &Arc<Principal>, request: &Request) -> Result<Reply, Fault> {
    let tenant = target::tenant(request)?;
    let (control, caller, id) = (Arc::clone(&doors.control), Arc::clone(principal), tenant.clone());
    whole(doors, async move { control.stop_tenant(&caller, &id).await }).await?;
    Ok(ok(&json!({"message": format!("Stopped all servers of tenant '{tenant}'")})))
}

/// `{"github":["github.create_issue"]}`, servers under the name that `key` gives them.
pub(super) fn by_server(servers: &[ServerTools], key: impl Fn(&ServerTools) -> String) -> Map<String, Value> {
    servers.iter().map(|server| (key(server), json!(server.names))).collect()
}

/// All names, sorted, each once.
pub(super) fn sorted(servers: &[ServerTools]) -> Vec<&str> {
    let mut names: Vec<&str> = servers.iter().flat_map(|server| &server.names).map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::{ServerId, ServerName, TenantId};

    #[test]
    fn names_are_grouped_by_server_and_listed_once_in_order() {
        let tools = |tenant: &str, server: &str, names: &[&str]| ServerTools {
            server: ServerId { tenant: TenantId::new(tenant).unwrap(), name: ServerName::new(server).unwrap() },
            running: false,
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        };
        let servers = [tools("b", "x", &["x.z", "x.a"]), tools("a", "x", &["x.a"]), tools("a", "y", &[])];
        assert_eq!(sorted(&servers), ["x.a", "x.z"]);
        let grouped = by_server(&servers, |server| server.server.to_string());
        assert_eq!(Value::Object(grouped), json!({"a:x": ["x.a"], "a:y": [], "b:x": ["x.z", "x.a"]}));
    }
}
