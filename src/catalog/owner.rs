//! Whose is it? URIs to their server, and names that an app says without one.
//!
//! A published URI says its server. Others are looked for where they are listed, then among the templates, then in what was shown to the caller
//! lately: models copy URIs out of text, and apps use those of their server. Nobody is asked: a URI that is nobody's is not found.

use std::sync::Arc;

use super::{
    Catalog, Recents, Route, Scope, Uris,
    merge::Listed,
    offered::Offered,
    snapshot::Snapshot,
    uri::{self, normal},
};
use crate::{
    limits::URI_BYTES_MAX,
    name::{ServerId, ServerName},
};

/// Most that are named to a caller who has to choose.
const CANDIDATES_MAX: usize = 20;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Its URI as the server says it.
    One {
        server: ServerId,
        uri: String,
    },
    /// As it can be said of each, so that it belongs to one.
    Several(Vec<String>),
    Nobody,
}

#[derive(Clone, Debug)]
pub enum AppMatch {
    One(Arc<Route>),
    /// Canonical names of those it may be, the first of them.
    Several(Vec<String>),
    Nobody,
}

impl Catalog {
    /// Whose resource, or template, this is. On a server's own endpoint everything is that server's. `caller`: the id under which `recents` remembers.
    pub fn owner(&self, scope: Scope<'_>, uri: &str, recents: &Recents, caller: &str) -> Owner {
        let Some(tenant) = self.tenant(scope.tenant).filter(|_| uri.len() <= URI_BYTES_MAX) else { return Owner::Nobody };
        let snapshot = tenant.snapshot.load();
        let one = |listed: &Listed, uri: &str| Owner::One {
            server: ServerId { tenant: scope.tenant.clone(), name: listed.server.clone() },
            uri: known(listed, uri).map_or_else(|| uri.to_owned(), |known| known.to_string()),
        };
        if let Some(server) = scope.server {
            let own = uri::reverse(uri).filter(|(key, _)| scope.uris() == Uris::Prefixed && uri::is_key(key, server));
            return snapshot.listed(server).map_or(Owner::Nobody, |listed| match own {
                Some((_, original)) => one(listed, &original),
                None => one(listed, uri),
            });
        }
        let unprefixed = || owners(&snapshot, uri, || recents.owners(caller, scope.tenant, uri));
        let (found, uri) = match uri::reverse(uri) {
            None => (unprefixed(), uri.into()),
            Some((key, original)) => {
                let meant: Vec<_> = snapshot.servers.iter().filter(|listed| uri::is_key(key, &listed.server)).collect();
                // A server's own `ui://` URI may begin with the name of another server.
                let is_surely_meant = !uri.starts_with("ui://") || meant.iter().any(|listed| has(listed, &original));
                let other = if is_surely_meant { Vec::new() } else { unprefixed() };
                if other.is_empty() { (meant, original) } else { (other, uri.into()) }
            }
        };
        match found.as_slice() {
            [] => Owner::Nobody,
            [listed] => one(listed, &uri),
            several => Owner::Several(several.iter().take(CANDIDATES_MAX).map(|listed| uri::qualified(&listed.server, &uri)).collect()),
        }
    }

    /// The tool that an app means by a name: any accepted form, else the one tool for apps that its server calls so.
    pub fn resolve_app(&self, scope: Scope<'_>, name: &str) -> AppMatch {
        if let Some(route) = self.resolve(scope, name) {
            return AppMatch::One(route);
        }
        let Some(tenant) = self.tenant(scope.tenant).filter(|_| scope.server.is_none()) else { return AppMatch::Nobody };
        let snapshot = tenant.snapshot.load();
        let named = |listed: &Listed| self.resolve(Scope { server: Some(&listed.server), ..scope }, name);
        let routes: Vec<_> = snapshot.servers.iter().filter_map(named).filter(|route| route.visibility.app && route.tool == name).collect();
        match routes.as_slice() {
            [] => AppMatch::Nobody,
            [route] => AppMatch::One(Arc::clone(route)),
            several => AppMatch::Several(several.iter().take(CANDIDATES_MAX).map(|route| route.canonical.clone()).collect()),
        }
    }
}

/// The first of these that any server answers to: it lists or links to the URI, lists one that differs only in spelling, has a template for it, or
/// showed it lately.
fn owners<'s>(snapshot: &'s Snapshot, uri: &str, recent: impl FnOnce() -> Vec<ServerName>) -> Vec<&'s Listed> {
    let normal = normal(uri);
    let all = |is: &dyn Fn(&Offered) -> bool| -> Vec<&'s Listed> {
        snapshot.servers.iter().filter(|listed| listed.offers.iter().any(|offered| is(offered))).collect()
    };
    // As it stands, before any other spelling of it.
    let steps: [&dyn Fn(&Offered) -> bool; 3] =
        [&|offered| offered.known_uri(uri, uri).is_some(), &|offered| offered.known_uri(uri, &normal).is_some(), &|offered| {
            offered.matches_template(uri)
        }];
    let found = steps.into_iter().map(all).find(|owners| !owners.is_empty());
    found.unwrap_or_else(|| recent().iter().filter_map(|server| snapshot.listed(server)).collect())
}

fn known(listed: &Listed, uri: &str) -> Option<Arc<str>> {
    let normal = normal(uri);
    let exact = listed.offers.iter().find_map(|offered| offered.known_uri(uri, uri));
    exact.or_else(|| listed.offers.iter().find_map(|offered| offered.known_uri(uri, &normal)))
}

fn has(listed: &Listed, uri: &str) -> bool {
    known(listed, uri).is_some() || listed.offers.iter().any(|offered| offered.matches_template(uri))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalog::{
            Kind, Names, Offer,
            offer::tests::{item, offer},
        },
        name::TenantId,
    };

    struct World {
        catalog: Catalog,
        recents: Recents,
        tenant: TenantId,
    }

    impl World {
        fn new(servers: &[&str]) -> Self {
            let (catalog, tenant) = (Catalog::new(60_000, [7; 32]), TenantId::default_tenant());
            catalog.declare(&tenant, servers.iter().map(|name| ServerName::new(name).unwrap()).collect());
            Self { catalog, recents: Recents::default(), tenant }
        }

        fn server(&self, name: &str) -> ServerId {
            ServerId { tenant: self.tenant.clone(), name: ServerName::new(name).unwrap() }
        }

        fn offers(&self, name: &str, tools: &[&str], resources: &[&str], templates: &[&str]) {
            let resources = resources.iter().map(|uri| item(Kind::Resources, &format!(r#"{{"uri":"{uri}"}}"#))).collect();
            let templates = templates.iter().map(|uri| item(Kind::Templates, &format!(r#"{{"uriTemplate":"{uri}"}}"#))).collect();
            self.catalog.publish(&self.server(name), Arc::new(Offer { resources, templates, ..offer(tools) }));
        }

        /// `server uri`, or candidates, or nothing.
        fn owner(&self, server: Option<&str>, uri: &str) -> String {
            let server = server.map(|name| ServerName::new(name).unwrap());
            let scope = Scope { tenant: &self.tenant, server: server.as_ref(), names: Names::Dotted, uris: None };
            match self.catalog.owner(scope, uri, &self.recents, "me") {
                Owner::One { server, uri } => format!("{} {uri}", server.name),
                Owner::Several(candidates) => candidates.join(" | "),
                Owner::Nobody => String::new(),
            }
        }

        fn app(&self, server: Option<&str>, name: &str) -> String {
            let server = server.map(|name| ServerName::new(name).unwrap());
            let scope = Scope { tenant: &self.tenant, server: server.as_ref(), names: Names::Dotted, uris: None };
            match self.catalog.resolve_app(scope, name) {
                AppMatch::One(route) => route.canonical.clone(),
                AppMatch::Several(names) => names.join(" | "),
                AppMatch::Nobody => String::new(),
            }
        }
    }

    #[test]
    fn a_uri_leads_to_its_server() {
        let world = World::new(&["fs", "Other_One", "app"]);
        world.offers("fs", &[], &["file:///a", "file:///both", "http://Site.example"], &["file:///tree/{+path}"]);
        world.offers("Other_One", &[], &["file:///both", "note:1", "http://site.example/x"], &["note:{id}"]);
        world.offers("app", &[r#"{"name":"t","_meta":{"ui":{"resourceUri":"ui://fs/view"}}}"#], &["ui://plain"], &[]);
        let (fs, me) = (world.server("fs"), Arc::from("me"));
        world.recents.remember(&me, "odd:1", &fs);
        world.recents.remember(&Arc::from("somebody else"), "odd:2", &fs);
        for uri in ["file:///twice", "gone:1"] {
            world.recents.remember(&me, uri, &fs);
            world.recents.remember(&me, uri, &world.server("Other_One"));
        }
        for (uri, expected) in [
            // Published.
            ("hub+fs:file:///a", "fs file:///a"),
            ("hub+fs:file:///not/listed", "fs file:///not/listed"),
            ("HUB+Other-One:note:1", "Other_One note:1"),
            ("hub+other_one:note:1", ""),
            ("hub+nobody:note:1", ""),
            ("hub+fs:http://site.example/", "fs http://Site.example"),
            ("hub+fs:file:///tree/{+path}", "fs file:///tree/{+path}"),
            ("ui://app/plain", "app ui://plain"),
            ("ui://app/not/listed", "app ui://not/listed"),
            // As servers say them.
            ("file:///a", "fs file:///a"),
            ("FILE:///a", "fs file:///a"),
            ("file:///both", "hub+fs:file:///both | hub+other-one:file:///both"),
            ("http://site.example/", "fs http://Site.example"),
            ("http://site.example/x", "Other_One http://site.example/x"),
            ("file:///tree/x/y", "fs file:///tree/x/y"),
            ("note:{id}", "Other_One note:{id}"),
            ("note:2", "Other_One note:2"),
            ("ui://plain", "app ui://plain"),
            // Begins like a published one, but is linked to by a tool of another.
            ("ui://fs/view", "app ui://fs/view"),
            ("ui://fs/other", "fs ui://other"),
            ("odd:1", "fs odd:1"),
            ("odd:2", ""),
            ("gone:1", "hub+fs:gone:1 | hub+other-one:gone:1"),
            ("file:///nowhere", ""),
            ("", ""),
        ] {
            assert_eq!(world.owner(None, uri), expected, "{uri}");
        }
        assert_eq!(world.owner(Some("app"), "file:///a"), "app file:///a");
        assert_eq!(world.owner(Some("fs"), "File:///a"), "fs file:///a");
        assert_eq!(world.owner(Some("fs"), "hub+other-one:note:1"), "fs hub+other-one:note:1");
        assert_eq!(world.owner(Some("nobody"), "file:///a"), "");
        assert_eq!(world.owner(None, &format!("hub+fs:{}", "x".repeat(URI_BYTES_MAX))), "");
        assert_eq!(World { tenant: TenantId::new("acme").unwrap(), ..world }.owner(None, "file:///a"), "");
    }

    #[test]
    fn servers_that_are_one_in_a_uri_are_never_confused() {
        let world = World::new(&["a_b", "a-b"]);
        assert_eq!(world.owner(None, "hub+a-b:x:1"), "hub+a-b:x:1 | hub+a-b:x:1");
        assert_eq!(world.owner(Some("a_b"), "x:1"), "a_b x:1");
    }

    #[test]
    fn an_app_calls_the_tools_of_its_server_by_their_own_names() {
        let world = World::new(&["a", "b", "c"]);
        let ui = r#""_meta":{"ui":{"resourceUri":"ui://x"}}"#;
        let hidden = r#""_meta":{"ui":{"resourceUri":"ui://x","visibility":["model"]}}"#;
        world.offers("a", &[&format!(r#"{{"name":"one",{ui}}}"#), &format!(r#"{{"name":"two",{ui}}}"#), r#"{"name":"plain"}"#], &[], &[]);
        world.offers(
            "b",
            &[r#"{"name":"one"}"#, &format!(r#"{{"name":"two",{ui}}}"#), &format!(r#"{{"name":"three",{hidden}}}"#)],
            &[],
            &[],
        );
        world.offers("c", &[&format!(r#"{{"name":"a.plain",{ui}}}"#)], &[], &[]);
        for (server, name, expected) in [
            (None, "b.one", "b.one"),
            (None, "b__three", "b.three"),
            (None, "one", "a.one"),
            (None, "two", "a.two | b.two"),
            (None, "three", ""),
            (None, "plain", ""),
            (None, "a.plain", "a.plain"),
            (None, "nothing", ""),
            (Some("b"), "two", "b.two"),
            (Some("c"), "one", ""),
        ] {
            assert_eq!(world.app(server, name), expected, "{server:?} {name}");
        }
    }
}
