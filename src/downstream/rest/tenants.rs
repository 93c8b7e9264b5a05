//! `/api/tenants…`: what tenants there are, and all servers of one at once.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Map, Value, json};

use super::{fault::Fault, ok, page::Page, target, whole};
use crate::{
    access::Principal,
    control::ServerTools,
    downstream::{Doors, Reply, Request},
};

pub(super) fn list(doors: &Doors, principal: &Arc<Principal>, request: &Request) -> Result<Reply, Fault> {
    let page = Page::of(request, "tenants")?;
    let mut tenants = doors.control.tenants(principal);
    tenants.sort_unstable_by(|one, other| one.tenant_id.cmp(&other.tenant_id));
    let total = tenants.len();
    let (tenants, next) = page.of_sorted(tenants, |tenant| &tenant.tenant_id);
    let tenants: BTreeMap<_, _> = tenants.into_iter().map(|tenant| (tenant.tenant_id.clone(), tenant)).collect();
    Ok(ok(&with_next(json!({"total": total, "tenants": tenants}), next)))
}

pub(super) fn one(doors: &Doors, principal: &Arc<Principal>, request: &Request) -> Result<Reply, Fault> {
    let tenant = target::tenant(request)?;
    Ok(ok(&doors.control.tenant(principal, &tenant)?))
}

pub(super) fn tools(doors: &Doors, principal: &Arc<Principal>, request: &Request) -> Result<Reply, Fault> {
    let tenant = target::tenant(request)?;
    let page = Page::of(request, "tools")?;
    let servers = doors.control.tools(principal, Some(&tenant))?;
    let (names, next) = page.of_sorted(sorted(&servers), |name| name);
    let shown = json!({
        "tenant_id": tenant,
        "exists": true,
        "total_tools": servers.iter().map(|server| server.names.len()).sum::<usize>(),
        "active_servers": servers.iter().filter(|server| server.running).count(),
        "tools_by_server": by_server(&servers, &names, |server| server.server.name.to_string()),
        "all_tools": names,
    });
    Ok(ok(&with_next(shown, next)))
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

/// `{"github":["github.create_issue"]}`, servers under the name that `key` gives them, each with its own of `names`, which are sorted.
pub(super) fn by_server(servers: &[ServerTools], names: &[&str], key: impl Fn(&ServerTools) -> String) -> Map<String, Value> {
    let own = |server: &ServerTools| {
        server.names.iter().filter(|name| names.binary_search(&name.as_str()).is_ok()).map(|name| Value::from(name.as_str())).collect()
    };
    servers.iter().map(|server| (key(server), Value::Array(own(server)))).collect()
}

/// A list's answer with the cursor of its next page, if there is one.
pub(super) fn with_next(mut answer: Value, next: Option<String>) -> Value {
    if let (Value::Object(members), Some(next)) = (&mut answer, next) {
        members.insert("next_cursor".into(), next.into());
    }
    answer
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
        let grouped = |names| Value::Object(by_server(&servers, names, |server| server.server.to_string()));
        assert_eq!(grouped(&["x.a", "x.z"]), json!({"a:x": ["x.a"], "a:y": [], "b:x": ["x.z", "x.a"]}));
        assert_eq!(grouped(&["x.z"]), json!({"a:x": [], "a:y": [], "b:x": ["x.z"]}));
    }
}
