//! What can be asked of servers: look, start, stop, refresh.

use std::{sync::Arc, time::SystemTime};

use super::{Control, ControlError, ServerView, keep::announce};
use crate::{
    access::Principal,
    config::{ServerSettings, TenantSettings},
    limits,
    name::{ServerId, TenantId},
    upstream::{Server, State, Status, Usable, status::Noise},
};

impl Control {
    /// Every configured server in the caller's reach, or of one tenant, in configured order. Those whose tools are not known
    /// yet are learned in the background; the answer does not wait for them.
    ///
    /// # Errors
    /// The tenant is unknown.
    pub fn servers(&self, principal: &Principal, tenant: Option<&TenantId>) -> Result<Vec<ServerView>, ControlError> {
        let tenants = self.tenants_of(principal, tenant)?;
        for tenant in &tenants {
            self.fleet.learn(&tenant.id);
        }
        Ok(tenants.iter().flat_map(|tenant| &tenant.servers).map(|settings| self.view(principal, settings)).collect())
    }

    /// As `servers`, for all tenants, and nothing is learned.
    pub fn known(&self, principal: &Principal) -> Vec<ServerView> {
        let tenants = self.settings.tenants.iter().filter(|tenant| principal.may_reach(&tenant.id));
        tenants.flat_map(|tenant| &tenant.servers).map(|settings| self.view(principal, settings)).collect()
    }

    /// # Errors
    /// The server is unknown.
    pub fn server(&self, principal: &Principal, id: &ServerId) -> Result<ServerView, ControlError> {
        let (settings, _) = self.find(principal, id)?;
        Ok(self.view(principal, settings))
    }

    /// Starts it and waits for the first good handshake; running already is no error.
    ///
    /// # Errors
    /// The server is unknown, or did not come up.
    pub async fn start(&self, principal: &Principal, id: &ServerId) -> Result<ServerView, ControlError> {
        let (settings, server) = self.find(principal, id)?;
        let server = server.ok_or_else(|| ControlError::unknown_server(id))?;
        server.start().await?;
        if self.catalog.offer(id).is_none() {
            // So that the answer shows its tools. A server that cannot list in this time runs all the same.
            let _ = tokio::time::timeout(limits::LIST_WAIT, server.refresh()).await;
        }
        Ok(self.view(principal, settings))
    }

    /// Stops it and waits until its processes are gone. With `disable` its tools are no longer listed either. Both hold until a
    /// start by request.
    ///
    /// # Errors
    /// The server is unknown.
    pub async fn stop(&self, principal: &Principal, id: &ServerId, disable: bool) -> Result<ServerView, ControlError> {
        let (settings, server) = self.find(principal, id)?;
        server.ok_or_else(|| ControlError::unknown_server(id))?.stop(disable).await;
        if disable {
            announce(&self.bus, id, self.catalog.withdraw(id));
        }
        Ok(self.view(principal, settings))
    }

    /// Asks it again what it offers, starting it if it may be started.
    ///
    /// # Errors
    /// The server is unknown, or could not be asked.
    pub async fn refresh(&self, principal: &Principal, id: &ServerId) -> Result<ServerView, ControlError> {
        let (settings, server) = self.find(principal, id)?;
        server.ok_or_else(|| ControlError::unknown_server(id))?.refresh().await?;
        Ok(self.view(principal, settings))
    }

    /// The tenants in the caller's reach, or the one that was named.
    pub(super) fn tenants_of(&self, principal: &Principal, named: Option<&TenantId>) -> Result<Vec<&TenantSettings>, ControlError> {
        let all = self.settings.tenants.iter().filter(|tenant| principal.may_reach(&tenant.id));
        let found: Vec<_> = all.filter(|tenant| named.is_none_or(|named| *named == tenant.id)).collect();
        match named {
            Some(named) if found.is_empty() => Err(ControlError::unknown_tenant(named)),
            _ => Ok(found),
        }
    }

    /// The entry and, unless it is too broken to be one, the server behind it.
    pub(super) fn find(&self, principal: &Principal, id: &ServerId) -> Result<(&Arc<ServerSettings>, Option<Arc<Server>>), ControlError> {
        let tenants = self.settings.tenants.iter().filter(|tenant| principal.may_reach(&tenant.id));
        let settings = tenants.flat_map(|tenant| &tenant.servers).find(|settings| settings.id == *id);
        let settings = settings.ok_or_else(|| ControlError::unknown_server(id))?;
        Ok((settings, self.fleet.server(id)))
    }

    pub(super) fn view(&self, principal: &Principal, settings: &ServerSettings) -> ServerView {
        let status = self.status(settings);
        ServerView::new(settings, &status, self.catalog.offer(&settings.id), principal.is_admin(), SystemTime::now())
    }

    pub(super) fn status(&self, settings: &ServerSettings) -> Status {
        self.fleet.server(&settings.id).map_or_else(|| never_started(settings), |server| server.status())
    }
}

/// Of an entry that no server was made for.
fn never_started(settings: &ServerSettings) -> Status {
    Status {
        state: State::Stopped,
        usable: Usable::Disabled,
        error: settings.error.clone(),
        last_error: settings.error.clone(),
        started_at: None,
        restart_count: 0,
        instances: 0,
        pids: Vec::new(),
        breaker: None,
        in_flight: 0,
        retry: None,
        noise: Noise::default(),
    }
}
