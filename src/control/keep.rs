//! What servers say of themselves, taken over: into the catalog at once, onto disk behind it, and back from disk at the next
//! start, so that lists are there before any server is.
//!
//! A server's offers are kept under its id and the fingerprint of its entry: a changed entry finds nothing and is learned anew,
//! and two tenants with the same entry never read each other's.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use sha2::{Digest, Sha256};
use tokio_util::task::TaskTracker;

use super::demo;
use crate::{
    catalog::{Catalog, Changed, Item, Kind, Offer, offer},
    config::{Launch, ServerSettings, Settings},
    name::ServerId,
    observe::{Bus, Event},
    protocol::Version,
    store::Store,
    upstream::Learned,
};

/// Folder of the store.
const ROOM: &str = "catalogs";

/// Keeps the catalog in line with the servers.
pub struct Keeper {
    catalog: Arc<Catalog>,
    bus: Bus,
    store: Store,
    /// One per configured server; the set never changes.
    shelves: HashMap<ServerId, Arc<Shelf>>,
    writes: TaskTracker,
}

/// Where one server's offers are kept, and what is known to be there.
struct Shelf {
    key: String,
    /// Revision the server spoke when it was last learned.
    known: Option<Version>,
    over_http: bool,
    state: Mutex<Writing>,
}

#[derive(Default)]
struct Writing {
    /// Digest of the bytes on disk.
    written: Option<[u8; 32]>,
    /// What is not on disk yet.
    waiting: Option<Vec<Arc<Offer>>>,
    /// A task is on its way to the disk and will take `waiting` along.
    busy: bool,
}

impl Keeper {
    /// Declares every tenant's servers to the catalog and publishes the offers that were kept. Reads files: before the runtime
    /// has other work, or on a blocking thread. A file that cannot be read or understood counts as none.
    pub fn load(settings: &Settings, store: Store, catalog: Arc<Catalog>, bus: Bus) -> Arc<Self> {
        let mut shelves = HashMap::new();
        for tenant in &settings.tenants {
            catalog.declare(&tenant.id, tenant.servers.iter().map(|server| server.id.name.clone()).collect());
            for server in &tenant.servers {
                catalog.nickname(&server.id, demo::short_names(&server.launch));
                let listed = tenant.enabled && server.enabled && server.error.is_none();
                let shelf = Shelf::read(server, &store, |offer| {
                    if listed {
                        catalog.publish(&server.id, Arc::new(offer));
                    }
                });
                shelves.insert(server.id.clone(), Arc::new(shelf));
            }
        }
        Arc::new(Self { catalog, bus, store, shelves, writes: TaskTracker::new() })
    }

    /// The revision that a server spoke when its kept offer was learned: its start can skip the probe.
    pub fn known(&self, server: &ServerSettings) -> Option<Version> {
        self.shelves.get(&server.id)?.known
    }

    /// The closure that takes what a server said. When it returns, the catalog knows; the disk follows.
    pub fn learned(self: &Arc<Self>) -> Arc<dyn Fn(Learned) + Send + Sync> {
        let keeper = Arc::clone(self);
        Arc::new(move |learned| keeper.take(learned))
    }

    fn take(&self, learned: Learned) {
        let id = learned.server.clone();
        let shelf = self.shelves.get(&id);
        let offer = Arc::new(offer_of(learned, shelf.is_some_and(|shelf| shelf.over_http)));
        let changed = self.catalog.publish(&id, Arc::clone(&offer));
        if changed.any() {
            let [tools, prompts, resources, templates] = Kind::ALL.map(|kind| offer.items(kind).len());
            tracing::info!(tenant = %id.tenant, server = %id.name, tools, prompts, resources, templates, "lists changed");
        }
        announce(&self.bus, &id, changed);
        if let Some(shelf) = shelf
            && shelf.queue(|| self.catalog.offers(&id))
        {
            let (shelf, store) = (Arc::clone(shelf), self.store.clone());
            self.writes.spawn_blocking(move || shelf.write_all(&store));
        }
    }

    /// Resolves when everything taken so far is on disk. Call it when no server can say anything any more.
    pub async fn written(&self) {
        self.writes.close();
        self.writes.wait().await;
    }
}

/// Tells those who listen which lists of a server changed.
pub(crate) fn announce(bus: &Bus, server: &ServerId, changed: Changed) {
    let (tenant, server) = (&server.tenant, server);
    if changed.tools {
        bus.emit(Event::ToolsChanged { tenant: tenant.clone(), server: server.clone() });
    }
    if changed.prompts {
        bus.emit(Event::PromptsChanged { tenant: tenant.clone(), server: server.clone() });
    }
    if changed.resources {
        bus.emit(Event::ResourcesChanged { tenant: tenant.clone(), server: server.clone() });
    }
}

impl Shelf {
    fn read(server: &ServerSettings, store: &Store, publish: impl FnMut(Offer)) -> Self {
        let key = format!("{}/{}", server.id, server.fingerprint);
        let bytes = store.get(ROOM, &key).unwrap_or_else(|error| {
            tracing::warn!(server = %server.id, %error, "the kept catalog cannot be read; the server will be asked again");
            None
        });
        let offers = bytes.as_deref().and_then(offer::from_stored);
        if bytes.is_some() && offers.is_none() {
            tracing::warn!(server = %server.id, "the kept catalog is damaged or of another version; the server will be asked again");
        }
        let known = offers.iter().flatten().next().map(|offer| offer.version);
        let written = bytes.filter(|_| offers.is_some()).map(|bytes| Sha256::digest(bytes).into());
        offers.into_iter().flatten().for_each(publish);
        Self { key, known, over_http: is_over_http(&server.launch), state: Mutex::new(Writing { written, ..Writing::default() }) }
    }

    /// Leaves the offers for the disk. `true`: nobody is on the way, the caller must send `write_all`.
    fn queue(&self, offers: impl FnOnce() -> Vec<Arc<Offer>>) -> bool {
        let mut state = self.state.lock().expect("no panic under this lock");
        // Asked for under the lock: of two who come at once, the last one leaves what is newest.
        state.waiting = Some(offers());
        !std::mem::replace(&mut state.busy, true)
    }

    /// Writes what waits, newest only, until nothing does. One caller at a time, by `queue`.
    fn write_all(&self, store: &Store) {
        while let Some(offers) = self.next() {
            let bytes = offer::to_stored(offers.iter().map(AsRef::as_ref));
            let digest: [u8; 32] = Sha256::digest(&bytes).into();
            if self.state.lock().expect("no panic under this lock").written == Some(digest) {
                continue;
            }
            match store.put(ROOM, &self.key, &bytes) {
                Ok(()) => self.state.lock().expect("no panic under this lock").written = Some(digest),
                Err(error) => tracing::warn!(key = %self.key, %error, "the catalog of a server could not be kept"),
            }
        }
    }

    fn next(&self) -> Option<Vec<Arc<Offer>>> {
        let mut state = self.state.lock().expect("no panic under this lock");
        let offers = state.waiting.take();
        state.busy = offers.is_some();
        offers
    }
}

/// Tidied; what had to be dropped is told once, here.
pub(crate) fn offer_of(learned: Learned, over_http: bool) -> Offer {
    let Learned { server, version, server_info, capabilities, instructions, profile, tools, prompts, resources, templates, ttl_ms, public } =
        learned;
    let items = |kind, definitions: Vec<_>| definitions.into_iter().map(|definition| Item::read(kind, definition)).collect();
    let mut offer = Offer {
        version,
        server_info,
        capabilities,
        instructions,
        profile,
        tools: items(Kind::Tools, tools),
        prompts: items(Kind::Prompts, prompts),
        resources: items(Kind::Resources, resources),
        templates: items(Kind::Templates, templates),
        ttl_ms,
        public,
    };
    for dropped in offer.tidy(over_http) {
        tracing::warn!(tenant = %server.tenant, server = %server.name, "{dropped}");
    }
    offer
}

const fn is_over_http(launch: &Launch) -> bool {
    match launch {
        Launch::Command { .. } | Launch::Builtin(_) => false,
        Launch::Remote(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{
        catalog::{Names, Scope, View},
        config::TenantSettings,
        control::server::tests::entry,
        limits::LIST_TTL_MS,
        name::TenantId,
        protocol::capability::Profile,
    };

    /// A hub without servers that run: files, catalog, keeper.
    struct Desk {
        dir: tempfile::TempDir,
        settings: Settings,
    }

    struct Sitting {
        catalog: Arc<Catalog>,
        keeper: Arc<Keeper>,
        bus: Bus,
    }

    impl Desk {
        fn new(servers: &[(&str, &str)]) -> Self {
            let mut tenants: Vec<TenantSettings> = Vec::new();
            for (tenant, server) in servers {
                let id = TenantId::new(tenant).unwrap();
                let server = Arc::new(entry(tenant, server));
                match tenants.iter_mut().find(|tenant| tenant.id == id) {
                    Some(tenant) => tenant.servers.push(server),
                    None => tenants.push(TenantSettings { id, description: String::new(), enabled: true, servers: vec![server] }),
                }
            }
            Self { dir: tempfile::tempdir().unwrap(), settings: crate::control::tests::settings(tenants) }
        }

        fn store(&self) -> Store {
            Store::open(self.dir.path().to_owned()).unwrap()
        }

        /// A start of the hub.
        fn sit(&self) -> Sitting {
            let (catalog, bus) = (Arc::new(Catalog::new(LIST_TTL_MS, [7; 32])), Bus::default());
            let keeper = Keeper::load(&self.settings, self.store(), Arc::clone(&catalog), bus.clone());
            Sitting { catalog, keeper, bus }
        }

        fn server(&self, at: usize) -> &Arc<ServerSettings> {
            &self.settings.tenants[at].servers[0]
        }
    }

    impl Sitting {
        fn names(&self, tenant: &str) -> Vec<String> {
            self.catalog.tool_names(&TenantId::new(tenant).unwrap()).into_iter().flat_map(|(_, names)| names).collect()
        }
    }

    fn said(server: &ServerSettings, tools: &[&'static str]) -> Learned {
        Learned {
            server: server.id.clone(),
            version: Version::V2025_06_18,
            server_info: Bytes::from_static(br#"{"name":"x","version":"1"}"#),
            capabilities: Bytes::from_static(br#"{"tools":{}}"#),
            instructions: None,
            profile: Profile::BARE,
            prompts: vec![],
            resources: vec![],
            templates: vec![],
            tools: tools.iter().map(|tool| Bytes::from_static(tool.as_bytes())).collect(),
            ttl_ms: None,
            public: false,
        }
    }

    const A: &str = r#"{"name":"a","inputSchema":{"type":"object"}}"#;
    const B: &str = r#"{"name":"b","inputSchema":{"type":"object"}}"#;

    #[tokio::test]
    async fn what_a_server_said_is_there_at_the_next_start_before_it_runs() {
        let desk = Desk::new(&[("default", "x")]);
        let first = desk.sit();
        assert_eq!((first.names("default").len(), first.keeper.known(desk.server(0))), (0, None));
        first.keeper.learned()(said(desk.server(0), &[A, B]));
        assert_eq!(first.names("default"), ["x.a", "x.b"], "known when the closure returns");
        first.keeper.written().await;

        let second = desk.sit();
        assert_eq!(second.names("default"), ["x.a", "x.b"]);
        assert_eq!(second.keeper.known(desk.server(0)), Some(Version::V2025_06_18));
        let scope = Scope { tenant: &TenantId::default_tenant(), server: None, names: Names::Dotted, uris: None };
        let view = View { version: Version::V2025_06_18, profile: Profile::BARE };
        assert!(second.catalog.page(Kind::Tools, scope, view, None).is_ok());
    }

    #[tokio::test]
    async fn only_a_change_of_the_list_is_an_event_and_only_a_change_of_the_offer_a_write() {
        let desk = Desk::new(&[("default", "x")]);
        let sitting = desk.sit();
        let mut events = sitting.bus.listen();
        let learned = sitting.keeper.learned();
        learned(said(desk.server(0), &[A]));
        assert!(matches!(events.try_recv(), Ok(Event::ToolsChanged { server, .. }) if server == desk.server(0).id));
        learned(said(desk.server(0), &[A]));
        assert!(events.try_recv().is_err(), "nothing changed");
        sitting.keeper.written().await;

        // A file that was taken away comes back only with a change.
        let key = &sitting.keeper.shelves[&desk.server(0).id].key;
        desk.store().delete(ROOM, key).unwrap();
        learned(said(desk.server(0), &[A]));
        sitting.keeper.written().await;
        assert_eq!(desk.store().get(ROOM, key).unwrap(), None);
        learned(said(desk.server(0), &[B, A]));
        sitting.keeper.written().await;
        assert!(desk.store().get(ROOM, key).unwrap().is_some());
    }

    #[tokio::test]
    async fn every_list_and_every_profile_is_told_of_and_kept() {
        let desk = Desk::new(&[("default", "x")]);
        let (sitting, id) = (desk.sit(), desk.server(0).id.clone());
        let (mut events, learned) = (sitting.bus.listen(), sitting.keeper.learned());
        let prompts = vec![Bytes::from_static(br#"{"name":"p"}"#)];
        let templates = vec![Bytes::from_static(br#"{"uriTemplate":"x:{a}"}"#)];
        learned(Learned { prompts: prompts.clone(), ..said(desk.server(0), &[]) });
        assert!(matches!(events.try_recv(), Ok(Event::PromptsChanged { server, .. }) if server == id));
        learned(Learned { prompts, templates, profile: Profile::FORM, ..said(desk.server(0), &[]) });
        assert!(matches!(events.try_recv(), Ok(Event::ResourcesChanged { server, .. }) if server == id));
        assert!(events.try_recv().is_err(), "who sees the prompts saw them before");
        sitting.keeper.written().await;

        let again = desk.sit();
        let kept = [Profile::BARE, Profile::FORM].map(|profile| {
            let offer = again.catalog.offer_to(&id, profile).unwrap();
            Kind::ALL.map(|kind| offer.items(kind).len())
        });
        assert_eq!(kept, [[0, 1, 0, 0], [0, 1, 0, 1]]);
    }

    #[tokio::test]
    async fn a_changed_entry_and_another_tenant_find_nothing() {
        let mut desk = Desk::new(&[("default", "x")]);
        let sitting = desk.sit();
        sitting.keeper.learned()(said(desk.server(0), &[A]));
        sitting.keeper.written().await;

        let mut other = entry("acme", "x");
        other.fingerprint.clone_from(&desk.server(0).fingerprint);
        let acme = TenantSettings {
            id: TenantId::new("acme").unwrap(),
            description: String::new(),
            enabled: true,
            servers: vec![Arc::new(other)],
        };
        desk.settings.tenants.push(acme);
        let again = desk.sit();
        assert_eq!((again.names("default").len(), again.names("acme").len()), (1, 0));

        let mut changed = entry("default", "x");
        changed.fingerprint = "another".into();
        desk.settings.tenants[0].servers = vec![Arc::new(changed)];
        let again = desk.sit();
        assert_eq!((again.names("default").len(), again.keeper.known(desk.server(0))), (0, None));
    }

    #[tokio::test]
    async fn a_damaged_file_counts_as_none_and_is_replaced() {
        let desk = Desk::new(&[("default", "x")]);
        let sitting = desk.sit();
        let key = sitting.keeper.shelves[&desk.server(0).id].key.clone();
        desk.store().put(ROOM, &key, b"{\"form\":1,").unwrap();
        let sitting = desk.sit();
        assert_eq!((sitting.names("default").len(), sitting.keeper.known(desk.server(0))), (0, None));
        sitting.keeper.learned()(said(desk.server(0), &[A]));
        sitting.keeper.written().await;
        assert_eq!(desk.sit().names("default"), ["x.a"]);
    }

    #[tokio::test]
    async fn the_kept_tools_of_a_disabled_server_are_not_listed() {
        let mut desk = Desk::new(&[("default", "x")]);
        let sitting = desk.sit();
        sitting.keeper.learned()(said(desk.server(0), &[A]));
        sitting.keeper.written().await;
        let mut off = entry("default", "x");
        off.enabled = false;
        desk.settings.tenants[0].servers = vec![Arc::new(off)];
        let again = desk.sit();
        assert_eq!(again.names("default").len(), 0);
        assert_eq!(again.keeper.known(desk.server(0)), Some(Version::V2025_06_18));
    }

    #[tokio::test]
    async fn what_cannot_be_a_tool_is_dropped() {
        let desk = Desk::new(&[("default", "x")]);
        let sitting = desk.sit();
        sitting.keeper.learned()(said(desk.server(0), &[A, "{}", r#"{"name":7}"#, "not json", A, B]));
        assert_eq!(sitting.names("default"), ["x.a", "x.b"]);
    }
}
