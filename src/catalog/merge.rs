//! All servers of one tenant as one: which tool is published under which name, and which names lead to it.
//!
//! A tool has one safe name, `server__tool` as it stands or with the digest where two tools of the tenant would meet. Its canonical name is
//! `server.tool`, or the safe name where that cannot be published. `server.tool` is accepted in any case: server names hold no dot, so the first one
//! divides it, and no two tools share it. A safe name that two tools would have is nobody's.

use super::{
    Names, Offer, Route, Tool,
    definition::Layout,
    name::{dotted, is_dotted, publish},
    table::Key,
    view::Pages,
};
use crate::{
    limits::TOOLS_PER_SERVER_MAX,
    name::{ServerId, ServerName, TenantId},
};
use bytes::Bytes;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, OnceLock},
};

/// One server's offer, prepared once: only tools that can be published, each of its names once.
pub(super) struct Offered {
    pub(super) server: ServerId,
    /// Of the list on the server's own endpoint.
    pub(super) generation: u64,
    pub(super) offer: Arc<Offer>,
    pub(super) entries: Vec<Entry>,
    /// Per era.
    pub(super) pages: [OnceLock<Pages>; 2],
}

/// One tool, with the names that do not depend on other tools.
pub(super) struct Entry {
    pub(super) original: Arc<str>,
    pub(super) definition: Bytes,
    pub(super) layout: Layout,
    dotted: Arc<str>,
    safe: Arc<str>,
}

impl Offered {
    pub(super) fn new(server: ServerId, offer: Arc<Offer>, generation: u64) -> Self {
        let mut seen = HashSet::new();
        let entries = offer
            .tools
            .iter()
            .filter_map(|tool| Entry::new(&server, tool).filter(|_| seen.insert(tool.name.as_str())))
            .take(TOOLS_PER_SERVER_MAX)
            .collect();
        Self { server, generation, offer, entries, pages: Default::default() }
    }

    /// Would a client see the same tools?
    pub(super) fn same_list(one: Option<&Self>, other: Option<&Self>) -> bool {
        let [one, other] = [one, other].map(|offered| offered.into_iter().flat_map(|offered| &offered.entries).map(Entry::shown));
        one.eq(other)
    }
}

impl Entry {
    /// `None` for a definition that is not an object with this name: a list must stay well formed whatever a server says.
    fn new(server: &ServerId, tool: &Tool) -> Option<Self> {
        let (layout, _) = Layout::find(&tool.definition).filter(|(_, name)| *name == tool.name)?;
        let (server, name) = (server.name.as_str(), tool.name.as_str());
        Some(Self {
            original: name.into(),
            definition: tool.definition.clone(),
            layout,
            dotted: dotted(server, name).into(),
            safe: publish(server, name, Names::Safe, false).into(),
        })
    }

    fn shown(&self) -> (&str, &[u8]) {
        (&self.original, &self.definition)
    }
}

/// A server's place in the tenant's list.
pub(super) struct Listed {
    pub(super) server: ServerName,
    pub(super) offered: Option<Arc<Offered>>,
    /// In the order of the entries.
    pub(super) published: Vec<Published>,
}

pub(super) struct Published {
    pub(super) route: Arc<Route>,
    /// `None` for a tool that is left out of the merged list.
    safe: Option<Arc<str>>,
}

impl Published {
    /// The name in the merged list.
    pub(super) fn name(&self, names: Names) -> Option<&str> {
        match names {
            Names::Dotted => self.safe.as_ref().map(|_| self.route.canonical.as_str()),
            Names::Safe => self.safe.as_deref(),
        }
    }
}

impl Listed {
    /// The tools of this server in the merged list.
    pub(super) fn tools(&self) -> impl Iterator<Item = (&Entry, &Published)> {
        self.offered.iter().flat_map(|offered| &offered.entries).zip(&self.published)
    }
}

/// For each server that has any: a further name, and the tool's own.
pub(super) type Nicknames = BTreeMap<ServerName, &'static [(&'static str, &'static str)]>;

/// Lets every form of the further names lead to their tools, where no tool has that form as its own.
pub(super) fn nickname(tenant: &TenantId, nicknames: &Nicknames, forms: &mut Forms) {
    let key = |server: Option<&ServerName>, name: &str| Key { tenant: tenant.clone(), server: server.cloned(), name: name.into() };
    for (server, names) in nicknames {
        for (name, own) in *names {
            let Some(route) = forms.get(&key(Some(server), own)).cloned() else { continue };
            let (dotted, safe) = (dotted(server.as_str(), name), publish(server.as_str(), name, Names::Safe, false));
            for key in [key(Some(server), name), key(None, &dotted), key(None, &safe)] {
                forms.entry(key).or_insert_with(|| Arc::clone(&route));
            }
        }
    }
}

/// Every accepted name of one tenant.
pub(super) type Forms = HashMap<Key, Arc<Route>>;

/// Lists the servers in the order given. Routes of tools that did not change are taken over from `old`.
pub(super) fn merge(tenant: &TenantId, servers: Vec<(ServerName, Option<Arc<Offered>>)>, old: &Forms) -> (Vec<Listed>, Forms) {
    let tools: Vec<_> = servers
        .iter()
        .flat_map(|(_, offered)| offered)
        .flat_map(|offered| offered.entries.iter().map(|entry| (&**offered, entry)))
        .collect();
    // In the order of the tools, so each takes the next.
    let mut safe_names = safe_names(&tools).into_iter();
    let mut forms = Forms::with_capacity(tools.len() * 3);
    let mut publish_tool = |offered: &Offered, entry: &Entry| {
        let safe = safe_names.next().flatten();
        let original = Key { tenant: tenant.clone(), server: Some(offered.server.name.clone()), name: Arc::clone(&entry.original) };
        let route = route(offered, entry, safe.as_deref(), old.get(&original));
        forms.insert(original, Arc::clone(&route));
        if let Some(safe) = &safe {
            for name in [safe, &entry.dotted] {
                forms.insert(Key { tenant: tenant.clone(), server: None, name: Arc::clone(name) }, Arc::clone(&route));
            }
        }
        Published { route, safe }
    };
    let mut listed = Vec::with_capacity(servers.len());
    for (server, offered) in servers {
        let published = match &offered {
            Some(offered) => offered.entries.iter().map(|entry| publish_tool(offered, entry)).collect(),
            None => Vec::new(),
        };
        listed.push(Listed { server, offered, published });
    }
    (listed, forms)
}

fn route(offered: &Offered, entry: &Entry, safe: Option<&str>, old: Option<&Arc<Route>>) -> Arc<Route> {
    let canonical = match safe {
        Some(safe) if !is_dotted(offered.server.name.as_str(), &entry.original) => safe,
        _ => &entry.dotted,
    };
    if let Some(old) = old.filter(|old| old.canonical == canonical && old.definition == entry.definition) {
        return Arc::clone(old);
    }
    Arc::new(Route {
        server: offered.server.clone(),
        tool: entry.original.as_ref().into(),
        tool_token: serde_json::to_vec(entry.original.as_ref()).unwrap_or_default().into(),
        canonical: canonical.into(),
        definition: entry.definition.clone(),
    })
}

/// The safe name of each tool, no two alike. Does not depend on the order of the tools.
///
/// Whoever meets another takes the digest. Should two be alike even then, which takes a search for equal digests, the first in the order of server
/// and tool keeps the name and the other is left out.
fn safe_names(tools: &[(&Offered, &Entry)]) -> Vec<Option<Arc<str>>> {
    struct Naming {
        name: Arc<str>,
        digest: bool,
    }
    let mut namings: Vec<_> = tools.iter().map(|(_, entry)| Naming { name: Arc::clone(&entry.safe), digest: false }).collect();
    // Everyone who ever had a name. A digest may meet a name that another tool has as it stands, so this is not over in one round.
    let mut holders: HashMap<Arc<str>, Vec<usize>> = HashMap::with_capacity(tools.len());
    for (tool, naming) in namings.iter().enumerate() {
        holders.entry(Arc::clone(&naming.name)).or_default().push(tool);
    }
    let mut meeting: Vec<usize> = holders.values().filter(|holders| holders.len() > 1).flatten().copied().collect();
    while let Some(tool) = meeting.pop() {
        let (Some(naming), Some((offered, entry))) = (namings.get_mut(tool), tools.get(tool)) else { continue };
        if naming.digest {
            continue;
        }
        *naming = Naming { name: publish(offered.server.name.as_str(), &entry.original, Names::Safe, true).into(), digest: true };
        let holders = holders.entry(Arc::clone(&naming.name)).or_default();
        meeting.extend_from_slice(holders);
        // It need not be listed here: it will not move again, and nobody else comes but with a digest of his own.
    }
    let mut winners: HashMap<&str, usize> = HashMap::with_capacity(tools.len());
    let rank = |tool: usize| tools.get(tool).map(|(offered, entry)| (&offered.server.name, &entry.original));
    for (tool, naming) in namings.iter().enumerate() {
        let winner = winners.entry(&naming.name).or_insert(tool);
        if rank(tool) < rank(*winner) {
            *winner = tool;
        }
    }
    namings.iter().enumerate().map(|(tool, naming)| (winners.get(&*naming.name) == Some(&tool)).then(|| Arc::clone(&naming.name))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::offer::tests::offer;

    fn offered(server: &str, tools: &[&str]) -> (ServerName, Option<Arc<Offered>>) {
        let name = ServerName::new(server).unwrap();
        let definitions: Vec<_> = tools.iter().map(|tool| serde_json::json!({ "name": tool }).to_string()).collect();
        let offer = offer(&definitions.iter().map(String::as_str).collect::<Vec<_>>());
        let server = ServerId { tenant: TenantId::default_tenant(), name: name.clone() };
        (name, Some(Arc::new(Offered::new(server, Arc::new(offer), 1))))
    }

    /// Published names in both styles, in list order; every name that leads to the first tool of the first server.
    fn names(servers: Vec<(ServerName, Option<Arc<Offered>>)>) -> (Vec<[Option<String>; 2]>, Vec<String>) {
        let (listed, forms) = merge(&TenantId::default_tenant(), servers, &Forms::new());
        let published = listed
            .iter()
            .flat_map(Listed::tools)
            .map(|(_, tool)| [tool.name(Names::Dotted), tool.name(Names::Safe)].map(|name| name.map(str::to_owned)));
        let first = &listed[0].published[0].route;
        let mut leading: Vec<_> = forms
            .iter()
            .filter(|(_, route)| Arc::ptr_eq(route, first))
            .map(|(key, _)| format!("{}/{}", key.server.as_ref().map_or("", ServerName::as_str), key.name))
            .collect();
        leading.sort();
        (published.collect(), leading)
    }

    fn both(dotted: &str, safe: &str) -> [Option<String>; 2] {
        [Some(dotted.to_owned()), Some(safe.to_owned())]
    }

    #[test]
    fn a_tool_is_found_by_each_of_its_forms() {
        let (published, leading) = names(vec![offered("fs", &["read.text", "größe"])]);
        assert_eq!(published, [both("fs.read.text", "fs__read_text"), both("fs__gr__e", "fs__gr__e")]);
        assert_eq!(leading, ["/fs.read.text", "/fs__read_text", "fs/read.text"]);
        let (_, leading) = names(vec![offered("fs", &["größe"])]);
        assert_eq!(leading, ["/fs.größe", "/fs__gr__e", "fs/größe"]);
    }

    #[test]
    fn names_that_meet_all_take_the_digest_in_any_order() {
        let expected = |server, tool| publish(server, tool, Names::Safe, true);
        for (one, other) in [(("a", "b__c"), ("a__b", "c")), (("a__b", "c"), ("a", "b__c"))] {
            let (published, leading) = names(vec![offered(one.0, &[one.1]), offered(other.0, &[other.1])]);
            let safe = expected(one.0, one.1);
            assert_eq!(
                published,
                [both(&format!("{}.{}", one.0, one.1), &safe), both(&format!("{}.{}", other.0, other.1), &expected(other.0, other.1))]
            );
            assert_eq!(leading, [format!("/{}.{}", one.0, one.1), format!("/{safe}"), format!("{}/{}", one.0, one.1)]);
        }
    }

    #[test]
    fn a_name_made_to_look_like_a_digest_gives_way() {
        let digest = publish("s", "a.b", Names::Safe, true);
        let mimic = digest.strip_prefix("s__").unwrap();
        let (published, leading) = names(vec![offered("s", &["a.b", "a_b", mimic])]);
        let safe: Vec<_> = published.iter().map(|[_, safe]| safe.clone().unwrap()).collect();
        assert_eq!(safe, [digest.clone(), publish("s", "a_b", Names::Safe, true), publish("s", mimic, Names::Safe, true)]);
        assert_eq!(leading, ["/s.a.b".to_owned(), format!("/{digest}"), "s/a.b".to_owned()]);
    }

    #[test]
    fn a_chain_of_mimics_ends() {
        let mut tools = vec!["a.b".to_owned(), "a_b".to_owned()];
        for n in 0..300 {
            let next = publish("s", &tools[n + 1], Names::Safe, true);
            tools.push(next.strip_prefix("s__").unwrap().to_owned());
        }
        let (published, _) = names(vec![offered("s", &tools.iter().map(String::as_str).collect::<Vec<_>>())]);
        let distinct: HashSet<_> = published.iter().map(|[_, safe]| safe.clone().unwrap()).collect();
        assert_eq!(distinct.len(), tools.len());
    }

    #[test]
    fn of_equal_digests_the_first_in_order_keeps_the_name() {
        // Two tools with equal first 55 characters and equal first four bytes of SHA-256, found by search.
        let (one, other) = (format!("{}0067324", "x".repeat(60)), format!("{}0110438", "x".repeat(60)));
        assert_eq!(publish("s", &one, Names::Safe, true), publish("s", &other, Names::Safe, true));
        for tools in [[&one, &other], [&other, &one]] {
            let (published, _) = names(vec![offered("s", &tools.map(String::as_str))]);
            let kept: Vec<_> = published.iter().map(|[_, safe]| safe.is_some()).collect();
            assert_eq!(kept, tools.map(|tool| tool == (&one).min(&other)), "{tools:?}");
        }
    }

    #[test]
    fn what_cannot_be_published_is_skipped() {
        let mut offer = offer(&[r#"{"name":"a"}"#, r#"{"name":"a","x":1}"#, r#"{"name":"b","name":"b"}"#, r#"{"name":"c"}"#]);
        offer.tools[3].name = "other".into();
        let server = ServerId { tenant: TenantId::default_tenant(), name: ServerName::new("s").unwrap() };
        let offered = Offered::new(server, Arc::new(offer), 1);
        assert_eq!(offered.entries.iter().map(|entry| &*entry.original).collect::<Vec<_>>(), ["a"]);
    }
}
