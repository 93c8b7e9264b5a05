//! All servers of all tenants.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use futures_util::future::join_all;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{News, Server, child::process::Groups, starts::Starts};
use crate::{
    config::{ServerSettings, Settings, Start},
    limits::Limits,
    name::{ServerId, TenantId},
    observe::Bus,
    protocol::{Version, capability::Profile, mark::Mark},
    random,
};

/// What a started server said of itself and listed: every start, refresh and `list_changed` ends in one of these.
#[derive(Clone, Debug)]
pub struct Learned {
    pub server: ServerId,
    pub version: Version,
    /// Raw JSON objects.
    pub server_info: Bytes,
    pub capabilities: Bytes,
    pub instructions: Option<String>,
    /// What the caller could be asked for whom it was listed: servers list more to those who can be asked more.
    pub profile: Profile,
    /// Raw definitions of all pages.
    pub tools: Vec<Bytes>,
    pub prompts: Vec<Bytes>,
    pub resources: Vec<Bytes>,
    pub templates: Vec<Bytes>,
    /// The smallest of all pages; absent for servers of the handshake era.
    pub ttl_ms: Option<u64>,
    pub public: bool,
}

/// Takes what servers say outside any call; must not wait.
pub type NewsDesk = Arc<dyn Fn(News) + Send + Sync>;

/// Begins what plays a connection to a server, and hands out the hub's end of it.
#[cfg(test)]
pub(crate) type Network = Arc<dyn Fn(&ServerId) -> std::io::Result<tokio::io::DuplexStream> + Send + Sync>;

pub struct Fleet {
    servers: HashMap<ServerId, Arc<Server>, random::State>,
    /// In configured order.
    order: Vec<Arc<Server>>,
    pub(super) commons: Arc<Commons>,
}

/// What the servers of a fleet share.
pub(super) struct Commons {
    /// `parallel_starts`.
    pub(super) starts: Starts,
    pub(super) limits: Limits,
    pub(super) mark: Mark,
    pub(super) bus: Bus,
    pub(super) learned: Arc<dyn Fn(Learned) + Send + Sync>,
    pub(super) news: OnceLock<NewsDesk>,
    connections: AtomicU64,
    pub(super) groups: Groups,
    /// Where processes are played.
    #[cfg(test)]
    pub(super) stage: OnceLock<super::actor::Stage>,
    pub(super) closing: CancellationToken,
    /// Of subscriptions; they outlive any one instance.
    pub(super) followers: TaskTracker,
}

impl Commons {
    /// The number of a new connection.
    pub(super) fn next_connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed)
    }
}

impl Fleet {
    /// Starts nothing. `learned` is called, on the server's own task, with every `Learned`; when it returns, the catalog knows.
    /// `known`: the stored era of a server, so that the probe can be skipped.
    pub fn new(
        settings: &Settings,
        limits: Limits,
        bus: Bus,
        learned: Arc<dyn Fn(Learned) + Send + Sync>,
        known: impl Fn(&ServerSettings) -> Option<Version>,
    ) -> Arc<Self> {
        let starts = Starts::new(settings.parallel_starts, settings.tenants.iter().map(|tenant| &tenant.id));
        let commons = Commons {
            starts,
            limits,
            mark: Mark::new(random::bytes(), settings.digest),
            bus,
            learned,
            news: OnceLock::new(),
            connections: AtomicU64::new(0),
            groups: Groups::default(),
            #[cfg(test)]
            stage: OnceLock::new(),
            closing: CancellationToken::new(),
            followers: TaskTracker::new(),
        };
        let commons = Arc::new(commons);
        let all = settings.tenants.iter().flat_map(|tenant| tenant.servers.iter().map(|server| (tenant.enabled, server)));
        let order: Vec<_> = all.map(|(is_enabled, server)| Server::new(server, is_enabled, &commons, known(server))).collect();
        let servers = order.iter().map(|server| (server.settings().id.clone(), Arc::clone(server))).collect();
        Arc::new(Self { servers, order, commons })
    }

    /// Once, before anything is started: where `News` go. Without it they are dropped.
    pub fn report_to(&self, desk: NewsDesk) {
        let _ = self.commons.news.set(desk);
    }

    /// Once, before anything is started: nothing is, from now on, but there.
    #[cfg(test)]
    pub(crate) fn play_on(&self, stage: super::actor::Stage) {
        let _ = self.commons.stage.set(stage);
    }

    /// By which the hub of these servers knows itself.
    pub fn mark(&self) -> &Mark {
        &self.commons.mark
    }

    /// The same for what is connected to.
    #[cfg(test)]
    pub(crate) fn connect_to(&self, network: &Network) {
        for server in &self.order {
            let (network, id) = (Arc::clone(network), server.settings().id.clone());
            server.remote.play_on(Arc::new(move || network(&id)));
        }
    }

    pub fn server(&self, id: &ServerId) -> Option<Arc<Server>> {
        self.servers.get(id).cloned()
    }

    /// In configured order.
    pub fn servers(&self) -> Vec<Arc<Server>> {
        self.order.clone()
    }

    /// Of one tenant, in configured order.
    pub fn servers_of(&self, tenant: &TenantId) -> impl Iterator<Item = &Arc<Server>> {
        self.order.iter().filter(move |server| server.settings().id.tenant == *tenant)
    }

    /// Starts every `start: boot` server, at most `parallel_starts` at a time; returns when each was tried.
    pub async fn boot(self: &Arc<Self>) {
        let servers = self.order.iter().filter(|server| server.settings().start == Start::Boot);
        join_all(servers.map(Server::boot)).await;
    }

    /// Starts, to learn them, the enabled `start: demand` (and boot) servers of this tenant whose offer is neither stored nor learned
    /// yet and that were not stopped by request, in the background; returns those that are being learned for the first time and were not
    /// waited for long enough. Await `Server::learnt` of each, until `Server::awaited_until`.
    pub fn learn(self: &Arc<Self>, tenant: &TenantId) -> Vec<Arc<Server>> {
        let servers = self.order.iter().filter(|server| server.settings().id.tenant == *tenant);
        servers.filter(|server| server.learn() && server.awaited_until().is_some()).cloned().collect()
    }

    /// The same for one server.
    pub fn learn_one(&self, id: &ServerId) -> Option<Arc<Server>> {
        self.server(id).filter(|server| server.learn() && server.awaited_until().is_some())
    }

    /// The servers of this tenant that list nothing whatever they may offer: it is not known, or they are disabled. Starts nothing.
    pub fn unlisted(&self, tenant: &TenantId) -> impl Iterator<Item = Arc<Server>> {
        let servers = self.order.iter().filter(move |server| server.settings().id.tenant == *tenant);
        servers.filter(|server| !server.is_known() || server.is_disabled()).cloned()
    }

    /// A client session is over: instances that were its own are stopped.
    pub fn forget_session(&self, session: &str) {
        for server in &self.order {
            server.forget_session(session);
        }
    }

    /// A client's roots have changed: the servers that were told of them, and that they may change, are told.
    pub fn roots_changed(&self, session: &str) {
        for server in &self.order {
            server.roots_changed(session);
        }
    }

    /// No new starts, then every child is stopped; returns when all processes are gone. Second call while running: kill at once.
    pub async fn shutdown(self: &Arc<Self>) {
        if self.commons.closing.is_cancelled() {
            self.kill_all();
        }
        self.commons.closing.cancel();
        join_all(self.order.iter().map(Server::close)).await;
        self.commons.followers.close();
        self.commons.followers.wait().await;
    }

    pub fn kill_all(&self) {
        self.commons.groups.kill_all();
    }
}
