//! The Tenant object, and starting and stopping all servers of one.

use std::{sync::Arc, time::SystemTime};

use futures_util::future::join_all;
use serde::Serialize;

use super::{Control, ControlError, wire_time};
use crate::{
    access::Principal,
    config::TenantSettings,
    name::{ServerId, TenantId},
    upstream::{Server, State, Status, Usable},
};

/// Serialises to the object itself.
#[derive(Debug, Serialize)]
pub struct TenantView {
    pub tenant_id: String,
    description: String,
    is_active: bool,
    total_servers: usize,
    active_servers: usize,
    total_tools: usize,
    created_at: String,
    last_activity: String,
    servers: Vec<TenantServer>,
}

#[derive(Debug, Serialize)]
struct TenantServer {
    server_id: String,
    name: String,
    #[serde(rename = "type")]
    kind: String,
    state: &'static str,
}

/// What starting all servers of a tenant came to.
#[derive(Debug, Serialize)]
pub struct TenantStart {
    /// Servers that were asked to start.
    pub servers_count: usize,
    pub failed: Vec<FailedStart>,
}

#[derive(Debug, Serialize)]
pub struct FailedStart {
    pub server: String,
    pub error: String,
}

impl Control {
    /// In configured order.
    pub fn tenants(&self, principal: &Principal) -> Vec<TenantView> {
        let tenants = self.settings.tenants.iter().filter(|tenant| principal.may_reach(&tenant.id));
        tenants.map(|tenant| self.tenant_view(tenant)).collect()
    }

    /// # Errors
    /// The tenant is unknown.
    pub fn tenant(&self, principal: &Principal, id: &TenantId) -> Result<TenantView, ControlError> {
        self.find_tenant(principal, id).map(|tenant| self.tenant_view(tenant))
    }

    /// Starts every enabled server at once and waits for each. One that was disabled by request stays so: it waits for a start of
    /// its own.
    ///
    /// # Errors
    /// The tenant is unknown. A server that does not come up is in the answer.
    pub async fn start_tenant(&self, principal: &Principal, id: &TenantId) -> Result<TenantStart, ControlError> {
        let mut servers = self.enabled(self.find_tenant(principal, id)?);
        servers.retain(|server| server.status().usable != Usable::Disabled);
        let outcomes = join_all(servers.iter().map(Server::start)).await;
        let failed = servers.iter().zip(outcomes).filter_map(|(server, outcome)| {
            let error = ControlError::from(outcome.err()?).to_string();
            Some(FailedStart { server: server.settings().id.name.to_string(), error })
        });
        Ok(TenantStart { servers_count: servers.len(), failed: failed.collect() })
    }

    /// Stops every server at once and waits until their processes are gone.
    ///
    /// # Errors
    /// The tenant is unknown.
    pub async fn stop_tenant(&self, principal: &Principal, id: &TenantId) -> Result<(), ControlError> {
        let servers = self.enabled(self.find_tenant(principal, id)?);
        join_all(servers.iter().map(|server| server.stop(false))).await;
        Ok(())
    }

    pub(super) fn find_tenant(&self, principal: &Principal, id: &TenantId) -> Result<&TenantSettings, ControlError> {
        let found = self.settings.tenants.iter().find(|tenant| tenant.id == *id && principal.may_reach(&tenant.id));
        found.ok_or_else(|| ControlError::unknown_tenant(id))
    }

    fn enabled(&self, tenant: &TenantSettings) -> Vec<Arc<Server>> {
        let entries = tenant.servers.iter().filter(|settings| settings.enabled && settings.error.is_none());
        entries.filter_map(|settings| self.fleet.server(&settings.id)).collect()
    }

    fn tenant_view(&self, tenant: &TenantSettings) -> TenantView {
        let servers: Vec<_> = tenant.servers.iter().map(|settings| (&settings.id, settings.kind.as_str(), self.status(settings))).collect();
        let tools = self.catalog.tool_names(&tenant.id).iter().map(|(_, names)| names.len()).sum();
        let used = tenant.servers.iter().filter_map(|settings| self.fleet.server(&settings.id)?.used_at());
        TenantView::new(tenant, &servers, tools, self.opened, used.max())
    }
}

impl TenantView {
    fn new(
        tenant: &TenantSettings,
        servers: &[(&ServerId, &str, Status)],
        tools: usize,
        opened: SystemTime,
        used: Option<SystemTime>,
    ) -> Self {
        let last_start = servers.iter().filter_map(|(_, _, status)| status.started_at).max();
        Self {
            tenant_id: tenant.id.to_string(),
            description: tenant.description.clone(),
            is_active: tenant.enabled,
            total_servers: servers.len(),
            active_servers: servers.iter().filter(|(_, _, status)| status.state == State::Running).count(),
            total_tools: tools,
            created_at: wire_time(opened),
            last_activity: wire_time(last_start.max(used).map_or(opened, |active| active.max(opened))),
            servers: servers.iter().map(|(id, kind, status)| TenantServer::new(id, kind, status)).collect(),
        }
    }
}

impl TenantServer {
    fn new(id: &ServerId, kind: &str, status: &Status) -> Self {
        Self { server_id: id.to_string(), name: id.name.to_string(), kind: kind.to_owned(), state: status.state.as_str() }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::control::server::tests::{entry, idle};

    #[test]
    fn a_tenant_counts_its_servers_and_tools_and_shows_them_in_the_published_order() {
        let opened = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_261_600);
        let (github, files) = (Arc::new(entry("default", "github")), Arc::new(entry("default", "files")));
        let running = Status { state: State::Running, started_at: Some(opened + Duration::from_secs(60)), ..idle() };
        let tenant = TenantSettings {
            id: TenantId::default_tenant(),
            description: "first".into(),
            enabled: true,
            servers: vec![Arc::clone(&github), Arc::clone(&files)],
        };
        let servers = [(&github.id, "api", running), (&files.id, "file", idle())];
        let view = TenantView::new(&tenant, &servers, 9, opened, None);
        assert_eq!(
            serde_json::to_string(&view).unwrap(),
            concat!(
                r#"{"tenant_id":"default","description":"first","is_active":true,"total_servers":2,"active_servers":1,"total_tools":9,"#,
                r#""created_at":"2026-01-01T10:00:00.000Z","last_activity":"2026-01-01T10:01:00.000Z","#,
                r#""servers":[{"server_id":"default:github","name":"github","type":"api","state":"RUNNING"},"#,
                r#"{"server_id":"default:files","name":"files","type":"file","state":"STOPPED"}]}"#,
            )
        );
        for (used, active) in [(30, "2026-01-01T10:01:00.000Z"), (90, "2026-01-01T10:01:30.000Z")] {
            let used = opened + Duration::from_secs(used);
            assert_eq!(TenantView::new(&tenant, &servers, 9, opened, Some(used)).last_activity, active);
        }
    }
}
