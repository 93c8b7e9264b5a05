//! One server's offers, prepared once: only what can be published, each key once, and which offer is whose.

use std::{
    borrow::Cow,
    cmp::Reverse,
    collections::{HashMap, HashSet},
    sync::{Arc, OnceLock},
};

use bytes::Bytes;

use super::{
    Kind, Offer,
    definition::Layout,
    kind::PerKind,
    name::{dotted, publish},
    offer::Item,
    rendered::Rendered,
    template::Template,
    uri,
    view::Names,
};
use crate::{
    limits::{LIST_TTL_UNTOLD_MS, PROFILES_PER_SERVER_MAX},
    name::{ServerId, ServerName},
    protocol::{
        Era,
        capability::{self, Profile},
        raw,
    },
};

/// What a server offers to one profile.
pub(super) struct Offered {
    pub(super) server: ServerId,
    pub(super) offer: Arc<Offer>,
    lists: PerKind<Vec<Entry>>,
    /// Of the lists on the server's own endpoint.
    pub(super) generations: PerKind<u64>,
    /// Of those lists.
    pub(super) rendered: Rendered,
    /// Of all, to tell which was learned longest ago.
    pub(super) learned: u64,
    pub(super) has_ui: bool,
    /// For how long each list may be kept, as far as its server decides that.
    pub(super) ttl_ms: PerKind<Option<u64>>,
    uris: OnceLock<Index>,
}

/// One definition, with the names that do not depend on other servers'.
pub(super) struct Entry {
    pub(super) original: Arc<str>,
    pub(super) definition: Bytes,
    pub(super) layout: Layout,
    /// Of tools and prompts.
    pub(super) names: Option<EntryNames>,
}

pub(super) struct EntryNames {
    pub(super) dotted: Arc<str>,
    pub(super) safe: Arc<str>,
}

impl Offered {
    /// `turn`: counts changes of the tenant.
    pub(super) fn new(server: ServerId, offer: Arc<Offer>, turn: u64) -> Self {
        let era = offer.version.era();
        let lists = PerKind::of(|kind| {
            let mut seen = HashSet::new();
            let items = offer.items(kind).iter();
            items
                .filter_map(|item| Entry::new(&server.name, kind, item, era).filter(|_| seen.insert(item.key.as_str())))
                .take(kind.items_max())
                .collect::<Vec<_>>()
        });
        let has_ui = declares_ui(&offer.capabilities) || lists.get(Kind::Tools).iter().any(|entry| entry.links().next().is_some());
        let generations = PerKind::of(|_| turn);
        let ttl_ms = PerKind::of(|kind| ttl_ms(kind, &offer));
        Self { server, offer, lists, generations, rendered: Rendered::default(), learned: turn, has_ui, ttl_ms, uris: OnceLock::new() }
    }

    pub(super) fn list(&self, kind: Kind) -> &[Entry] {
        self.lists.get(kind)
    }

    /// Would a client see the same list?
    pub(super) fn same_list(kind: Kind, one: Option<&Self>, other: Option<&Self>) -> bool {
        let [one, other] = [one, other].map(|offered| offered.into_iter().flat_map(|offered| offered.list(kind)).map(Entry::shown));
        one.eq(other)
    }

    /// The URI as the server says it, if it is one of its own: listed, or linked to by a tool.
    pub(super) fn known_uri(&self, uri: &str, normal: &str) -> Option<Arc<str>> {
        let index = self.index();
        let known = index.exact.get(uri).or_else(|| index.exact.get(normal)).or_else(|| index.normal.get(normal));
        known.cloned()
    }

    pub(super) fn matches_template(&self, uri: &str) -> bool {
        self.index().templates.iter().any(|template| template.matches(uri))
    }

    fn index(&self) -> &Index {
        self.uris.get_or_init(|| {
            let mut index = Index::default();
            let listed =
                [Kind::Resources, Kind::Templates].into_iter().flat_map(|kind| self.list(kind)).map(|entry| Arc::clone(&entry.original));
            let linked = self.list(Kind::Tools).iter().flat_map(Entry::links).map(|link| Arc::from(&*link));
            for uri in listed.chain(linked) {
                if let Cow::Owned(normal) = uri::normal(&uri)
                    && normal != *uri
                {
                    index.normal.entry(normal.into()).or_insert_with(|| Arc::clone(&uri));
                }
                index.exact.insert(uri);
            }
            index.templates = self.list(Kind::Templates).iter().filter_map(|entry| Template::parse(&entry.original)).collect();
            index
        })
    }
}

/// For owners of URIs; made when somebody first asks.
#[derive(Default)]
struct Index {
    exact: HashSet<Arc<str>>,
    /// Those that client libraries would write otherwise, by how they would.
    normal: HashMap<Box<str>, Arc<str>>,
    templates: Vec<Template>,
}

impl Entry {
    /// `None` for a definition that is not an object with this key: a list must stay well formed whatever a server says.
    fn new(server: &ServerName, kind: Kind, item: &Item, era: Era) -> Option<Self> {
        let (layout, _) = Layout::find(kind, &item.definition, era).filter(|(_, key)| *key == item.key)?;
        let (server, key) = (server.as_str(), item.key.as_str());
        let names = || EntryNames { dotted: dotted(server, key).into(), safe: publish(server, key, Names::Safe, false).into() };
        let is_named = matches!(kind, Kind::Tools | Kind::Prompts);
        Some(Self { original: key.into(), definition: item.definition.clone(), layout, names: is_named.then(names) })
    }

    fn shown(&self) -> (&str, &[u8]) {
        (&self.original, &self.definition)
    }

    fn links(&self) -> impl Iterator<Item = Cow<'_, str>> {
        self.layout.links(&self.definition)
    }
}

/// What a stateless server promised for its lists; a missing hint means 0 (MCP 2026-07-28, caching). Others promise nothing: until one
/// tells that a list changed it holds, and where it would not tell, for a short while.
fn ttl_ms(kind: Kind, offer: &Offer) -> Option<u64> {
    if offer.version.era() == Era::Stateless {
        return Some(offer.ttl_ms.unwrap_or(0));
    }
    let list = match kind {
        Kind::Tools => "tools",
        Kind::Prompts => "prompts",
        Kind::Resources | Kind::Templates => "resources",
    };
    let declared = std::str::from_utf8(&offer.capabilities).ok().and_then(|said| raw::member(said, list).ok()?);
    let is_told = |declared| matches!(raw::member(declared, "listChanged"), Ok(Some("true")));
    declared.is_some_and(|declared| !is_told(declared)).then_some(LIST_TTL_UNTOLD_MS)
}

fn declares_ui(capabilities: &[u8]) -> bool {
    let text = std::str::from_utf8(capabilities).unwrap_or_default();
    let extensions = raw::member(text, "extensions").ok().flatten();
    extensions.is_some_and(|extensions| matches!(raw::member(extensions, capability::UI), Ok(Some(_))))
}

/// Everything one server offers, one offer for a profile; the one that others are shown stands first: to whom nothing can be asked, else to whom the most.
#[derive(Clone, Default)]
pub(super) struct Offers(Vec<Arc<Offered>>);

impl Offers {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Offered>> {
        self.0.iter()
    }

    pub(super) fn first(&self) -> Option<&Arc<Offered>> {
        self.0.first()
    }

    /// What a caller of that profile is shown: what is listed to just such callers, else to those of whom as much can be asked, else to
    /// those who can be asked nothing and render as much, else what all others are shown.
    pub(super) fn fitting(&self, profile: Profile) -> Option<&Arc<Offered>> {
        if self.0.len() < 2 {
            return self.first();
        }
        let [own, rendered] = [profile.without(Profile::TASKS), profile.only(Profile::UI)];
        let to = |fits: &dyn Fn(Profile) -> bool| self.0.iter().find(|offered| fits(offered.offer.profile));
        to(&|to| to == own).or_else(|| to(&|to| asked(to) == asked(own))).or_else(|| to(&|to| to == rendered)).or_else(|| self.first())
    }

    /// With this offer in place of the one to the same profile.
    pub(super) fn with(&self, offered: Arc<Offered>) -> Self {
        let profile = offered.offer.profile;
        let mut offers: Vec<_> = self.0.iter().filter(|old| old.offer.profile != profile).cloned().collect();
        if offers.len() >= PROFILES_PER_SERVER_MAX
            && let Some(oldest) = offers.iter().skip(1).min_by_key(|old| old.learned).map(|old| old.offer.profile)
        {
            offers.retain(|old| old.offer.profile != oldest);
        }
        offers.push(offered);
        offers.sort_by_key(|offered| (!offered.offer.profile.is_empty(), Reverse(offered.offer.profile.len()), offered.offer.profile));
        Self(offers)
    }

    pub(super) fn of_profile(&self, profile: Profile) -> Option<&Arc<Offered>> {
        self.0.iter().find(|offered| offered.offer.profile == profile)
    }

    /// Of which lists is there a caller who would see another than before?
    pub(super) fn changed(old: &Self, new: &Self) -> PerKind<bool> {
        // Whom an offer fits depends on which others there are, so every caller there can be is looked for; they share a few.
        let mut shown: Vec<[Option<&Arc<Offered>>; 2]> = Vec::new();
        let is_same = |one: &Option<&Arc<Offered>>, other: &Option<&Arc<Offered>>| match (one, other) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        for profile in Profile::every().filter(|profile| !profile.has(Profile::TASKS)) {
            let pair = [old, new].map(|offers| offers.fitting(profile));
            let [was, is] = &pair;
            if !is_same(was, is) && !shown.iter().any(|known| known.iter().zip(&pair).all(|(known, one)| is_same(known, one))) {
                shown.push(pair);
            }
        }
        PerKind::of(|kind| {
            let mut pairs = shown.iter().map(|pair| pair.map(|offered| offered.map(Arc::as_ref)));
            pairs.any(|[was, is]| !Offered::same_list(kind, was, is))
        })
    }
}

/// What decides what a server may ask; the rest of a profile seldom changes what it lists.
pub(super) const fn asked(profile: Profile) -> Profile {
    profile.without(Profile::UI).without(Profile::TASKS).without(Profile::ROOTS_CHANGE)
}
