//! The catalog of all tenants: immutable snapshots swapped whole, and the tool table kept in line.
//!
//! Writers of one tenant take turns; readers never wait for them. A list is rendered by the first one who asks after a change, and shared from then
//! on. The table is brought in line name by name, new names before the new list shows and old ones after: at no moment does a name lead to another
//! tool than it says.

use super::{
    Names, Offer, Route, Tool,
    cursor::{CursorError, Key as CursorKey},
    merge::{Entry, Forms, Listed, Nicknames, Offered, merge, nickname},
    offer::raw,
    table::Table,
    view::{Frame, HUB_INFO, Line, Pages},
};
use crate::{
    name::{ServerId, ServerName, TenantId},
    protocol::Era,
};
use arc_swap::ArcSwap;
use bytes::Bytes;
use dashmap::DashMap;
use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

/// Longer than any form of any name.
const NAME_BYTES_MAX: usize = 2048;

pub struct Catalog {
    table: Table,
    tenants: DashMap<TenantId, Arc<Tenant>>,
    ttl_ms: u64,
    key: CursorKey,
}

/// Which list: a tenant's merged one, or one server's own.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    pub tenant: &'a TenantId,
    pub server: Option<&'a ServerName>,
    pub names: Names,
}

/// Never removed: a tenant without servers is an empty list.
#[derive(Default)]
struct Tenant {
    snapshot: ArcSwap<Snapshot>,
    /// Held while a snapshot is replaced.
    writing: Mutex<Written>,
}

#[derive(Default)]
struct Written {
    /// Of the last list that differed from the one before.
    generation: u64,
    /// What the table holds for this tenant.
    forms: Forms,
    nicknames: Nicknames,
}

/// What a tenant's servers offer, in configured order.
#[derive(Default)]
struct Snapshot {
    generation: u64,
    servers: Vec<Listed>,
    places: HashMap<ServerName, usize>,
    /// Of the merged list, per style and era.
    pages: [OnceLock<Pages>; 4],
}

impl Catalog {
    /// `default_ttl_ms` is what stateless clients may rely on when no server says less; `cursor_key` is random, one for a process.
    pub fn new(default_ttl_ms: u64, cursor_key: [u8; 32]) -> Self {
        Self { table: Table::default(), tenants: DashMap::new(), ttl_ms: default_ttl_ms, key: CursorKey::new(cursor_key) }
    }

    /// Declares the servers of a tenant in configured order (defines list order). Servers not named lose their offers; offers of servers never
    /// declared are not taken.
    pub fn declare(&self, tenant: &TenantId, servers: Vec<ServerName>) {
        let entry = Arc::clone(&self.tenants.entry(tenant.clone()).or_default());
        let mut written = entry.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = entry.snapshot.load_full();
        let mut seen = HashSet::new();
        let servers: Vec<_> = servers.into_iter().filter(|server| seen.insert(server.clone())).collect();
        if servers.iter().eq(old.servers.iter().map(|listed| &listed.server)) {
            return;
        }
        let offered = |server: &ServerName| old.listed(server).and_then(|listed| listed.offered.clone());
        let servers = servers.into_iter().map(|server| (server.clone(), offered(&server))).collect();
        written.generation += 1;
        self.swap(tenant, &entry, &mut written, servers);
    }

    /// Further names that lead to tools of a server: `(name, the tool's own)`. Never listed; a tool's own names go first. Counts from the next
    /// change of the tenant's offers on: say so before the server's own.
    pub fn nickname(&self, server: &ServerId, names: &'static [(&'static str, &'static str)]) {
        let Some(tenant) = self.tenant(&server.tenant) else { return };
        tenant.writing.lock().unwrap_or_else(PoisonError::into_inner).nicknames.insert(server.name.clone(), names);
    }

    /// Takes over a server's offer. `true` when the published list changed. Re-renders only this tenant.
    pub fn publish(&self, server: &ServerId, offer: Arc<Offer>) -> bool {
        self.replace(server, Some(offer))
    }

    /// Forgets a server's offer; it keeps its place. `true` when the published list changed.
    pub fn withdraw(&self, server: &ServerId) -> bool {
        self.replace(server, None)
    }

    pub fn offer(&self, server: &ServerId) -> Option<Arc<Offer>> {
        self.offered(server).map(|offered| Arc::clone(&offered.offer))
    }

    /// Every form of a name; with a server scope its original names first. One table look-up (two where that misses), no allocation.
    pub fn resolve(&self, scope: Scope<'_>, name: &str) -> Option<Arc<Route>> {
        if name.len() > NAME_BYTES_MAX {
            return None;
        }
        let Some(server) = scope.server else { return self.table.get(scope.tenant, None, name) };
        self.table
            .get(scope.tenant, Some(server), name)
            .or_else(|| self.table.get(scope.tenant, None, name).filter(|route| route.server.name == *server))
    }

    /// A tool of a tenant by any form of its name, with its definition as the server gave it.
    pub fn tool(&self, tenant: &TenantId, name: &str) -> Option<(Arc<Route>, Bytes)> {
        let route = self.resolve(Scope { tenant, server: None, names: Names::Dotted }, name)?;
        let definition = route.definition.clone();
        Some((route, definition))
    }

    /// The tools of one server in its own order, under its own names.
    pub fn tools_of(&self, server: &ServerId) -> Vec<Tool> {
        let tool = |entry: &Entry| Tool { name: entry.original.as_ref().into(), definition: entry.definition.clone() };
        self.offered(server).map(|offered| offered.entries.iter().map(tool).collect()).unwrap_or_default()
    }

    /// The `tools/list` result object (raw JSON), rendered when something changed, shared here. With the envelope of `era`
    /// (`resultType`, `ttlMs`, `cacheScope`, `_meta` for stateless clients). What is unknown has no tools.
    ///
    /// # Errors
    /// A cursor that was not given out for this list as it is now.
    pub fn tools_page(&self, scope: Scope<'_>, era: Era, cursor: Option<&str>) -> Result<Bytes, CursorError> {
        let position = cursor.map(|cursor| self.key.open(cursor, scope, era)).transpose()?;
        let page = |pages: &Pages, generation| match position {
            Some(position) if position.generation != generation => Err(CursorError::Unknown),
            Some(position) => pages.at(position.offset).cloned().ok_or(CursorError::Unknown),
            None => Ok(pages.at(0).cloned().unwrap_or_default()),
        };
        let Some(tenant) = self.tenant(scope.tenant) else { return page(&self.nothing(scope, era), 0) };
        let snapshot = tenant.snapshot.load();
        match scope.server {
            None => page(snapshot.pages(self, scope, era), snapshot.generation),
            Some(server) => match snapshot.listed(server).and_then(|listed| listed.offered.as_deref()) {
                Some(offered) => page(offered.pages(self, scope, era), offered.generation),
                None => page(&self.nothing(scope, era), 0),
            },
        }
    }

    /// Canonical names of a tenant's tools, sorted within each server, servers in configured order, those without tools included.
    pub fn tool_names(&self, tenant: &TenantId) -> Vec<(ServerName, Vec<String>)> {
        let Some(tenant) = self.tenant(tenant) else { return Vec::new() };
        let names = |listed: &Listed| {
            let mut names: Vec<_> = listed.tools().filter_map(|(_, tool)| tool.name(Names::Dotted)).map(str::to_owned).collect();
            names.sort_unstable();
            names
        };
        tenant.snapshot.load().servers.iter().map(|listed| (listed.server.clone(), names(listed))).collect()
    }

    fn replace(&self, server: &ServerId, offer: Option<Arc<Offer>>) -> bool {
        let Some(tenant) = self.tenant(&server.tenant) else { return false };
        let mut written = tenant.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = tenant.snapshot.load_full();
        let Some(listed) = old.listed(&server.name) else { return false };
        let was = listed.offered.as_deref();
        let mut offered = offer.map(|offer| Offered::new(server.clone(), offer, written.generation + 1));
        let changed = !Offered::same_list(was, offered.as_ref());
        if changed {
            written.generation += 1;
        } else if let (Some(offered), Some(was)) = (&mut offered, was) {
            // Cursors of the list stay good, even when the hints that go with it are new.
            offered.generation = was.generation;
        }
        let offered = offered.map(Arc::new);
        let servers = old.servers.iter().map(|listed| {
            let offered = if listed.server == server.name { &offered } else { &listed.offered };
            (listed.server.clone(), offered.clone())
        });
        self.swap(&server.tenant, &tenant, &mut written, servers.collect());
        changed
    }

    fn swap(&self, id: &TenantId, tenant: &Tenant, written: &mut Written, servers: Vec<(ServerName, Option<Arc<Offered>>)>) {
        let (servers, mut forms) = merge(id, servers, &written.forms);
        nickname(id, &written.nicknames, &mut forms);
        for (key, route) in &forms {
            if written.forms.get(key).is_none_or(|old| !Arc::ptr_eq(old, route)) {
                self.table.insert(key.clone(), Arc::clone(route));
            }
        }
        let places = servers.iter().enumerate().map(|(place, listed)| (listed.server.clone(), place)).collect();
        tenant.snapshot.store(Arc::new(Snapshot { generation: written.generation, servers, places, pages: Default::default() }));
        for key in written.forms.keys().filter(|key| !forms.contains_key(*key)) {
            self.table.remove(key);
        }
        written.forms = forms;
    }

    fn tenant(&self, tenant: &TenantId) -> Option<Arc<Tenant>> {
        self.tenants.get(tenant).map(|tenant| Arc::clone(&tenant))
    }

    fn offered(&self, server: &ServerId) -> Option<Arc<Offered>> {
        self.tenant(&server.tenant)?.snapshot.load().listed(&server.name)?.offered.clone()
    }

    fn nothing(&self, scope: Scope<'_>, era: Era) -> Pages {
        Pages::render(&Frame { scope, era, generation: 0, ttl_ms: self.ttl_ms, server_info: HUB_INFO, key: &self.key }, &[])
    }
}

impl Snapshot {
    fn listed(&self, server: &ServerName) -> Option<&Listed> {
        self.servers.get(*self.places.get(server)?)
    }

    fn pages(&self, catalog: &Catalog, scope: Scope<'_>, era: Era) -> &Pages {
        let [dotted_handshake, dotted_stateless, safe_handshake, safe_stateless] = &self.pages;
        let pages = match (scope.names, era) {
            (Names::Dotted, Era::Handshake) => dotted_handshake,
            (Names::Dotted, Era::Stateless) => dotted_stateless,
            (Names::Safe, Era::Handshake) => safe_handshake,
            (Names::Safe, Era::Stateless) => safe_stateless,
        };
        pages.get_or_init(|| {
            let tools = self.servers.iter().flat_map(Listed::tools);
            let lines: Vec<_> = tools
                .filter_map(|(entry, tool)| {
                    let name = Some(tool.name(scope.names)?);
                    Some(Line { definition: &entry.definition, layout: &entry.layout, name, execution: false })
                })
                .collect();
            let offers = self.servers.iter().filter_map(|listed| listed.offered.as_deref());
            let ttl_ms = offers.filter_map(Offered::ttl_ms).fold(catalog.ttl_ms, u64::min);
            Pages::render(&Frame { scope, era, generation: self.generation, ttl_ms, server_info: HUB_INFO, key: &catalog.key }, &lines)
        })
    }
}

impl Offered {
    /// The list on the server's own endpoint: its own names whatever the style, and its own identity.
    fn pages<'a>(&'a self, catalog: &Catalog, scope: Scope<'_>, era: Era) -> &'a Pages {
        let [handshake, stateless] = &self.pages;
        let (pages, execution) = match era {
            Era::Handshake => (handshake, true),
            Era::Stateless => (stateless, false),
        };
        pages.get_or_init(|| {
            let line = |entry: &'a Entry| Line { definition: &entry.definition, layout: &entry.layout, name: None, execution };
            let lines: Vec<_> = self.entries.iter().map(line).collect();
            let ttl_ms = self.ttl_ms().map_or(catalog.ttl_ms, |ttl_ms| ttl_ms.min(catalog.ttl_ms));
            let server_info = raw(&self.offer.server_info).map(|info| info.get().as_bytes()).filter(|info| info.starts_with(b"{"));
            let server_info = server_info.unwrap_or(HUB_INFO);
            Pages::render(&Frame { scope, era, generation: self.generation, ttl_ms, server_info, key: &catalog.key }, &lines)
        })
    }

    /// What a stateless server promised for its list; a missing hint means 0 (MCP 2026-07-28, caching). Other servers promise nothing.
    fn ttl_ms(&self) -> Option<u64> {
        (self.offer.version.era() == Era::Stateless).then(|| self.offer.ttl_ms.unwrap_or(0))
    }
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalog").field("tenants", &self.tenants.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
