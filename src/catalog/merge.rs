//! All servers of one tenant as one: which tool is published under which name, and which names lead to it.
//!
//! A tool has one safe name, `server__tool` as it stands or with the digest where two tools of the tenant would meet. Its canonical name is
//! `server.tool`, or the safe name where that cannot be published. `server.tool` is accepted in any case: server names hold no dot, so the first one
//! divides it, and no two tools share it. A safe name that two tools would have is nobody's.

use super::{
    Kind, Names, Route,
    definition::Dress,
    name::{dotted, is_dotted, publish},
    offered::{Entry, Offered, Offers},
    page::Line,
    rendered::Variant,
    table::Key,
    uri,
};
use crate::{
    name::{ServerName, TenantId},
    protocol::capability::TaskSupport,
};
use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

/// A server's place in the tenant's lists.
pub(super) struct Listed {
    pub(super) server: ServerName,
    pub(super) offers: Offers,
    /// Everything of any offer, in the order of the first, then of the others.
    pub(super) tools: Vec<Published>,
    prompts: Vec<Published>,
}

pub(super) struct Published {
    pub(super) route: Arc<Route>,
    /// `None` for one that is left out of the merged list.
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
    fn named(&self, kind: Kind) -> &[Published] {
        match kind {
            Kind::Tools => &self.tools,
            Kind::Prompts => &self.prompts,
            Kind::Resources | Kind::Templates => &[],
        }
    }

    /// This server's part of a merged list.
    pub(super) fn lines<'s>(&'s self, variant: Variant) -> Vec<Line<'s>> {
        let Some(offered) = self.offers.fitting(variant.profile) else { return Vec::new() };
        let entries = offered.list(variant.kind);
        let line = |entry: &'s Entry, key: Option<Cow<'s, str>>| {
            let Entry { definition, layout, .. } = entry;
            let dress = Dress { key, execution: variant.execution, client: variant.era, server: &self.server, uris: variant.uris };
            Line { definition, layout, dress }
        };
        if let Kind::Resources | Kind::Templates = variant.kind {
            return entries.iter().map(|entry| line(entry, Some(uri::publish(&self.server, &entry.original, variant.uris)))).collect();
        }
        let named = self.named(variant.kind);
        let shown = |entry: &'s Entry, published: &'s Published| Some(line(entry, Some(Cow::Borrowed(published.name(variant.names)?))));
        if self.offers.first().is_some_and(|first| Arc::ptr_eq(first, offered)) {
            return entries.iter().zip(named).filter_map(|(entry, published)| shown(entry, published)).collect();
        }
        let named: HashMap<_, _> = named.iter().map(|published| (published.route.tool.as_str(), published)).collect();
        entries.iter().filter_map(|entry| shown(entry, named.get(&*entry.original)?)).collect()
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

/// Every accepted name of one tenant's tools, or of its prompts.
pub(super) type Forms = HashMap<Key, Arc<Route>>;

/// Names everything of one kind, for the servers in the order given. Routes of what did not change are taken over from `old`.
fn name_all(tenant: &TenantId, servers: &[(ServerName, Offers)], kind: Kind, old: &Forms) -> (Vec<Vec<Published>>, Forms) {
    let unions: Vec<_> = servers.iter().map(|(_, offers)| union(offers, kind)).collect();
    let all: Vec<_> = unions.iter().flatten().copied().collect();
    // In the same order, so each takes the next.
    let mut safe_names = safe_names(&all).into_iter();
    let mut forms = Forms::with_capacity(all.len() * 3);
    let mut publish = |(offered, entry): (&Offered, &Entry)| {
        let safe = safe_names.next().flatten();
        let original = Key { tenant: tenant.clone(), server: Some(offered.server.name.clone()), name: Arc::clone(&entry.original) };
        let route = route(offered, entry, safe.as_deref(), old.get(&original));
        forms.insert(original, Arc::clone(&route));
        if let (Some(safe), Some(names)) = (&safe, &entry.names) {
            for name in [safe, &names.dotted] {
                forms.insert(Key { tenant: tenant.clone(), server: None, name: Arc::clone(name) }, Arc::clone(&route));
            }
        }
        Published { route, safe }
    };
    let published = unions.into_iter().map(|union| union.into_iter().map(&mut publish).collect()).collect();
    (published, forms)
}

/// What stands in any of a server's offers, each name once: as the first offer that has it says it.
fn union(offers: &Offers, kind: Kind) -> Vec<(&Offered, &Entry)> {
    let entries = offers.iter().flat_map(|offered| offered.list(kind).iter().map(move |entry| (&**offered, entry)));
    match offers.iter().count() {
        0 | 1 => entries.collect(),
        _ => {
            let mut seen = HashSet::new();
            entries.filter(|(_, entry)| seen.insert(&entry.original)).collect()
        }
    }
}

/// What the tables hold for one tenant.
#[derive(Default)]
pub(super) struct AllForms {
    pub(super) tools: Forms,
    pub(super) prompts: Forms,
}

/// Lists the servers in the order given.
pub(super) fn merge(tenant: &TenantId, servers: Vec<(ServerName, Offers)>, old: &AllForms) -> (Vec<Listed>, AllForms) {
    let (tools, tool_forms) = name_all(tenant, &servers, Kind::Tools, &old.tools);
    let (prompts, prompt_forms) = name_all(tenant, &servers, Kind::Prompts, &old.prompts);
    let named = tools.into_iter().zip(prompts);
    let listed = servers.into_iter().zip(named).map(|((server, offers), (tools, prompts))| Listed { server, offers, tools, prompts });
    (listed.collect(), AllForms { tools: tool_forms, prompts: prompt_forms })
}

fn route(offered: &Offered, entry: &Entry, safe: Option<&str>, old: Option<&Arc<Route>>) -> Arc<Route> {
    let canonical = match (safe, &entry.names) {
        (Some(safe), _) if !is_dotted(offered.server.name.as_str(), &entry.original) => safe,
        (_, Some(names)) => &names.dotted,
        (_, None) => &entry.original,
    };
    let wraps_output = entry.layout.wraps_output();
    let is_same = |old: &&Arc<Route>| old.canonical == canonical && old.definition == entry.definition && old.wraps_output == wraps_output;
    if let Some(old) = old.filter(is_same) {
        return Arc::clone(old);
    }
    Arc::new(Route {
        server: offered.server.clone(),
        tool: entry.original.as_ref().into(),
        tool_token: serde_json::to_vec(entry.original.as_ref()).unwrap_or_default().into(),
        canonical: canonical.into(),
        definition: entry.definition.clone(),
        headers: entry.layout.headers(),
        visibility: entry.layout.visibility(),
        wraps_output,
        tasks: TaskSupport::of(&entry.definition),
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
    let name = |entry: &Entry| Arc::clone(entry.names.as_ref().map_or(&entry.original, |names| &names.safe));
    let mut namings: Vec<_> = tools.iter().map(|(_, entry)| Naming { name: name(entry), digest: false }).collect();
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
    use crate::{catalog::offer::tests::offer, name::ServerId};

    fn offered(server: &str, tools: &[&str]) -> (ServerName, Offers) {
        let name = ServerName::new(server).unwrap();
        let definitions: Vec<_> = tools.iter().map(|tool| serde_json::json!({ "name": tool }).to_string()).collect();
        let offer = offer(&definitions.iter().map(String::as_str).collect::<Vec<_>>());
        let server = ServerId { tenant: TenantId::default_tenant(), name: name.clone() };
        (name, Offers::default().with(Arc::new(Offered::new(server, Arc::new(offer), 1))))
    }

    /// Published names in both styles, in list order; every name that leads to the first tool of the first server.
    fn names(servers: Vec<(ServerName, Offers)>) -> (Vec<[Option<String>; 2]>, Vec<String>) {
        let (listed, forms) = merge(&TenantId::default_tenant(), servers, &AllForms::default());
        let published = listed
            .iter()
            .flat_map(|listed| &listed.tools)
            .map(|tool| [tool.name(Names::Dotted), tool.name(Names::Safe)].map(|name| name.map(str::to_owned)));
        let first = &listed[0].tools[0].route;
        let mut leading: Vec<_> = forms
            .tools
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
        offer.tools[3].key = "other".into();
        let server = ServerId { tenant: TenantId::default_tenant(), name: ServerName::new("s").unwrap() };
        let offered = Offered::new(server, Arc::new(offer), 1);
        assert_eq!(offered.list(Kind::Tools).iter().map(|entry| &*entry.original).collect::<Vec<_>>(), ["a"]);
    }
}
