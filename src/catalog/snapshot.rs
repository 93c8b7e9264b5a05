//! The catalog of all tenants: immutable snapshots swapped whole, and the tables of names kept in line.
//!
//! Writers of one tenant take turns; readers never wait for them. A list is rendered by the first one who asks after a change, and shared from then
//! on. A table is brought in line name by name, new names before the new list shows and old ones after: at no moment does a name lead to another
//! tool than it says.

use super::{
    Changed, Item, Kind, Names, Offer, Route, View,
    cursor::{CursorError, Key as CursorKey, Position},
    definition::Dress,
    kind::PerKind,
    merge::{AllForms, Forms, Listed, Nicknames, merge, nickname},
    offered::{Entry, Offered, Offers, asked},
    page::{Frame, HUB_INFO, Line, Pages},
    rendered::{Rendered, Variant},
    table::Table,
    uri::{self, Uris},
};
use crate::{
    name::{ServerId, ServerName, TenantId},
    protocol::capability::Profile,
};
use arc_swap::ArcSwap;
use bytes::Bytes;
use dashmap::DashMap;
use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

/// Longer than any form of any name.
const NAME_BYTES_MAX: usize = 2048;

pub struct Catalog {
    pub(super) tools: Table,
    pub(super) prompts: Table,
    tenants: DashMap<TenantId, Arc<Tenant>>,
    ttl_ms: u64,
    key: CursorKey,
}

/// Which lists: a tenant's merged ones, or one server's own.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    pub tenant: &'a TenantId,
    pub server: Option<&'a ServerName>,
    pub names: Names,
    /// `None`: as is usual there.
    pub uris: Option<Uris>,
}

impl Scope<'_> {
    /// A server's own endpoint renames nothing unless asked.
    pub fn uris(&self) -> Uris {
        match (self.uris, self.server) {
            (Some(uris), _) => uris,
            (None, Some(_)) => Uris::Raw,
            (None, None) => Uris::Prefixed,
        }
    }
}

/// Never removed: a tenant without servers is an empty list.
#[derive(Default)]
pub(super) struct Tenant {
    pub(super) snapshot: ArcSwap<Snapshot>,
    /// Held while a snapshot is replaced.
    writing: Mutex<Written>,
}

#[derive(Default)]
struct Written {
    /// Counts offers taken and servers declared.
    turn: u64,
    /// When each list last differed from the one before.
    generations: PerKind<u64>,
    /// What the tables hold for this tenant.
    forms: AllForms,
    /// Of tools.
    nicknames: Nicknames,
}

/// What a tenant's servers offer, in configured order.
#[derive(Default)]
pub(super) struct Snapshot {
    generations: PerKind<u64>,
    pub(super) servers: Vec<Listed>,
    places: HashMap<ServerName, usize>,
    /// To whom any server makes an offer beside the one that all others see.
    profiles: Vec<Profile>,
    /// Of the merged lists.
    rendered: Rendered,
}

impl Catalog {
    /// `default_ttl_ms` is what stateless clients may rely on when no server says less; `cursor_key` is random, one for a process.
    pub fn new(default_ttl_ms: u64, cursor_key: [u8; 32]) -> Self {
        let key = CursorKey::new(cursor_key);
        Self { tools: Table::default(), prompts: Table::default(), tenants: DashMap::new(), ttl_ms: default_ttl_ms, key }
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
        let offers = |server: &ServerName| old.listed(server).map(|listed| listed.offers.clone()).unwrap_or_default();
        let servers = servers.into_iter().map(|server| (server.clone(), offers(&server))).collect();
        written.turn += 1;
        written.generations = PerKind::of(|_| written.turn);
        self.swap(tenant, &entry, &mut written, servers);
    }

    /// Further names that lead to tools of a server: `(name, the tool's own)`. Never listed; a tool's own names go first. Counts from the next
    /// change of the tenant's offers on: say so before the server's own.
    pub fn nickname(&self, server: &ServerId, names: &'static [(&'static str, &'static str)]) {
        let Some(tenant) = self.tenant(&server.tenant) else { return };
        tenant.writing.lock().unwrap_or_else(PoisonError::into_inner).nicknames.insert(server.name.clone(), names);
    }

    /// Takes over a server's offer to one profile; those to others stay. Tells which lists changed for anybody. Re-renders only this tenant.
    pub fn publish(&self, server: &ServerId, offer: Arc<Offer>) -> Changed {
        self.replace(server, Some(offer))
    }

    /// Forgets a server's offers; it keeps its place. Tells which lists changed.
    pub fn withdraw(&self, server: &ServerId) -> Changed {
        self.replace(server, None)
    }

    /// What everybody is shown to whom the server makes no other offer.
    pub fn offer(&self, server: &ServerId) -> Option<Arc<Offer>> {
        self.offer_to(server, Profile::BARE)
    }

    /// What a caller of that profile is shown.
    pub fn offer_to(&self, server: &ServerId, profile: Profile) -> Option<Arc<Offer>> {
        Some(Arc::clone(&self.offers_of(server)?.fitting(profile)?.offer))
    }

    /// All that is known of a server, one offer for a profile.
    pub fn offers(&self, server: &ServerId) -> Vec<Arc<Offer>> {
        self.offers_of(server).map(|offers| offers.iter().map(|offered| Arc::clone(&offered.offer)).collect()).unwrap_or_default()
    }

    /// Whether there is an offer to this very profile.
    pub fn knows(&self, server: &ServerId, profile: Profile) -> bool {
        self.offers_of(server).is_some_and(|offers| offers.of_profile(profile).is_some())
    }

    /// Any form of a tool's name; on a server's own endpoint its original names go first. An unknown name costs one look-up, and one more there.
    pub fn resolve(&self, scope: Scope<'_>, name: &str) -> Option<Arc<Route>> {
        resolve(&self.tools, scope, name)
    }

    /// The same for prompts, whose names are another space.
    pub fn resolve_prompt(&self, scope: Scope<'_>, name: &str) -> Option<Arc<Route>> {
        resolve(&self.prompts, scope, name)
    }

    /// A tool of a tenant by any form of its name, with its definition as the server gave it.
    pub fn tool(&self, tenant: &TenantId, name: &str) -> Option<(Arc<Route>, Bytes)> {
        let route = self.resolve(Scope { tenant, server: None, names: Names::Dotted, uris: None }, name)?;
        let definition = route.definition.clone();
        Some((route, definition))
    }

    /// The tools of one server in its own order, under its own names.
    pub fn tools_of(&self, server: &ServerId) -> Vec<Item> {
        let item = |entry: &Entry| Item { key: entry.original.as_ref().into(), definition: entry.definition.clone() };
        let offers = self.offers_of(server).unwrap_or_default();
        offers.first().map(|offered| offered.list(Kind::Tools).iter().map(item).collect()).unwrap_or_default()
    }

    /// One page of a list: the whole result object, shared.
    ///
    /// # Errors
    /// The cursor was given for another list, or for one that has changed since.
    pub fn page(&self, kind: Kind, scope: Scope<'_>, view: View, cursor: Option<&str>) -> Result<Bytes, CursorError> {
        let tenant = self.tenant(scope.tenant);
        let snapshot = tenant.as_ref().map(|tenant| tenant.snapshot.load());
        let Some(server) = scope.server else {
            let profile = snapshot.as_ref().map_or(Profile::BARE, |snapshot| snapshot.profile(view.profile));
            let variant = Variant::merged(kind, scope.names, scope.uris(), view.version, profile);
            let position = self.position(cursor, scope, variant)?;
            return match &snapshot {
                Some(snapshot) => {
                    let make = || self.render_merged(snapshot, scope, variant);
                    snapshot.rendered.read(variant, make, |pages| take(pages, position, *snapshot.generations.get(kind)))
                }
                None => take(&self.nothing(scope, variant), position, 0),
            };
        };
        let offered = snapshot.as_ref().and_then(|snapshot| snapshot.listed(server)).and_then(|listed| listed.offers.fitting(view.profile));
        let profile = offered.map_or(Profile::BARE, |offered| offered.offer.profile);
        let variant = Variant::own(kind, scope.uris(), view.version, profile);
        let position = self.position(cursor, scope, variant)?;
        match offered {
            Some(offered) => {
                let make = || self.render_own(offered, scope, variant);
                offered.rendered.read(variant, make, |pages| take(pages, position, *offered.generations.get(kind)))
            }
            None => take(&self.nothing(scope, variant), position, 0),
        }
    }

    /// Canonical names of a tenant's tools, whoever sees them, sorted within each server, servers in configured order, those without tools included.
    pub fn tool_names(&self, tenant: &TenantId) -> Vec<(ServerName, Vec<String>)> {
        let Some(tenant) = self.tenant(tenant) else { return Vec::new() };
        let names = |listed: &Listed| {
            let mut names: Vec<_> = listed.tools.iter().filter_map(|tool| tool.name(Names::Dotted)).map(str::to_owned).collect();
            names.sort_unstable();
            names
        };
        tenant.snapshot.load().servers.iter().map(|listed| (listed.server.clone(), names(listed))).collect()
    }

    fn replace(&self, server: &ServerId, offer: Option<Arc<Offer>>) -> Changed {
        let Some(tenant) = self.tenant(&server.tenant) else { return Changed::default() };
        let mut written = tenant.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = tenant.snapshot.load_full();
        let Some(listed) = old.listed(&server.name) else { return Changed::default() };
        written.turn += 1;
        let turn = written.turn;
        let offers = match offer {
            Some(offer) => {
                let was = listed.offers.of_profile(offer.profile);
                let mut offered = Offered::new(server.clone(), offer, turn);
                // Cursors of the same list stay good, even when the hints that go with it are new.
                if let Some(was) = was {
                    offered.generations =
                        PerKind::of(
                            |kind| if Offered::same_list(kind, Some(was), Some(&offered)) { *was.generations.get(kind) } else { turn },
                        );
                }
                listed.offers.with(Arc::new(offered))
            }
            None => Offers::default(),
        };
        let changed = Offers::changed(&listed.offers, &offers);
        for kind in Kind::ALL {
            if *changed.get(kind) {
                *written.generations.get_mut(kind) = turn;
            }
        }
        let servers = old.servers.iter().map(|listed| {
            let offers = if listed.server == server.name { &offers } else { &listed.offers };
            (listed.server.clone(), offers.clone())
        });
        self.swap(&server.tenant, &tenant, &mut written, servers.collect());
        changed.into()
    }

    fn swap(&self, id: &TenantId, tenant: &Tenant, written: &mut Written, servers: Vec<(ServerName, Offers)>) {
        let (servers, mut forms) = merge(id, servers, &written.forms);
        nickname(id, &written.nicknames, &mut forms.tools);
        enter(&self.tools, &written.forms.tools, &forms.tools);
        enter(&self.prompts, &written.forms.prompts, &forms.prompts);
        tenant.snapshot.store(Arc::new(Snapshot::new(written.generations, servers)));
        leave(&self.tools, &written.forms.tools, &forms.tools);
        leave(&self.prompts, &written.forms.prompts, &forms.prompts);
        written.forms = forms;
    }

    pub(super) fn tenant(&self, tenant: &TenantId) -> Option<Arc<Tenant>> {
        self.tenants.get(tenant).map(|tenant| Arc::clone(&tenant))
    }

    fn offers_of(&self, server: &ServerId) -> Option<Offers> {
        Some(self.tenant(&server.tenant)?.snapshot.load().listed(&server.name)?.offers.clone())
    }

    fn position(&self, cursor: Option<&str>, scope: Scope<'_>, variant: Variant) -> Result<Option<Position>, CursorError> {
        cursor.map(|cursor| self.key.open(cursor, scope, variant)).transpose()
    }

    fn nothing(&self, scope: Scope<'_>, variant: Variant) -> Pages {
        let frame = Frame { scope, variant, generation: 0, ttl_ms: self.ttl_ms, server_info: HUB_INFO, key: &self.key };
        Pages::render(&frame, &[])
    }

    fn render_merged(&self, snapshot: &Snapshot, scope: Scope<'_>, variant: Variant) -> Pages {
        let lines: Vec<_> = snapshot.servers.iter().flat_map(|listed| listed.lines(variant)).collect();
        let shown = snapshot.servers.iter().filter_map(|listed| listed.offers.fitting(variant.profile));
        let ttl_ms = shown.filter_map(|offered| *offered.ttl_ms.get(variant.kind)).fold(self.ttl_ms, u64::min);
        let generation = *snapshot.generations.get(variant.kind);
        Pages::render(&Frame { scope, variant, generation, ttl_ms, server_info: HUB_INFO, key: &self.key }, &lines)
    }

    /// The list on the server's own endpoint: its own names whatever the style, and its own identity.
    fn render_own<'o>(&self, offered: &'o Offered, scope: Scope<'_>, variant: Variant) -> Pages {
        let is_resources = matches!(variant.kind, Kind::Resources | Kind::Templates) && variant.uris == Uris::Prefixed;
        let line = |entry: &'o Entry| {
            let Entry { definition, layout, original, .. } = entry;
            let key = is_resources.then(|| uri::publish(&offered.server.name, original, variant.uris));
            let dress = Dress { key, execution: variant.execution, client: variant.era, server: &offered.server.name, uris: variant.uris };
            Line { definition, layout, dress }
        };
        let lines: Vec<_> = offered.list(variant.kind).iter().map(line).collect();
        let ttl_ms = offered.ttl_ms.get(variant.kind).map_or(self.ttl_ms, |ttl_ms| ttl_ms.min(self.ttl_ms));
        let server_info = offered.offer.own_info().map_or(HUB_INFO, |info| info.get().as_bytes());
        let generation = *offered.generations.get(variant.kind);
        Pages::render(&Frame { scope, variant, generation, ttl_ms, server_info, key: &self.key }, &lines)
    }
}

fn take(pages: &Pages, position: Option<Position>, generation: u64) -> Result<Bytes, CursorError> {
    match position {
        Some(position) if position.generation != generation => Err(CursorError::Unknown),
        Some(position) => pages.at(position.offset).cloned().ok_or(CursorError::Unknown),
        None => Ok(pages.at(0).cloned().unwrap_or_default()),
    }
}

fn resolve(table: &Table, scope: Scope<'_>, name: &str) -> Option<Arc<Route>> {
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    let Some(server) = scope.server else { return table.get(scope.tenant, None, name) };
    let merged = || table.get(scope.tenant, None, name).filter(|route| route.server.name == *server);
    table.get(scope.tenant, Some(server), name).or_else(merged)
}

/// New and changed names, before the list that shows them.
fn enter(table: &Table, old: &Forms, new: &Forms) {
    for (key, route) in new {
        if old.get(key).is_none_or(|old| !Arc::ptr_eq(old, route)) {
            table.insert(key.clone(), Arc::clone(route));
        }
    }
}

/// Names that are gone, after the list that showed them.
fn leave(table: &Table, old: &Forms, new: &Forms) {
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        table.remove(key);
    }
}

impl Snapshot {
    fn new(generations: PerKind<u64>, servers: Vec<Listed>) -> Self {
        let places = servers.iter().enumerate().map(|(place, listed)| (listed.server.clone(), place)).collect();
        let beside = servers.iter().flat_map(|listed| listed.offers.iter().skip(1));
        let mut profiles: Vec<_> = beside.map(|offered| offered.offer.profile).collect();
        profiles.sort_unstable();
        profiles.dedup();
        Self { generations, servers, places, profiles, rendered: Rendered::default() }
    }

    pub(super) fn listed(&self, server: &ServerName) -> Option<&Listed> {
        self.servers.get(*self.places.get(server)?)
    }

    /// Callers who are shown the same have the same; bare for all without an offer of their own, unless those who can do nothing have one.
    fn profile(&self, profile: Profile) -> Profile {
        let has_own = |profile: Profile| {
            let fits = |known: &Profile| {
                *known == profile.without(Profile::TASKS) || asked(*known) == asked(profile) || *known == profile.only(Profile::UI)
            };
            self.profiles.iter().any(fits)
        };
        if has_own(profile) || has_own(Profile::BARE) { profile } else { Profile::BARE }
    }
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalog").field("tenants", &self.tenants.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
