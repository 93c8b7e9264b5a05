//! The catalog as its users see it: what is listed, what a name leads to, who sees it.

use super::*;
use crate::{
    catalog::offer::tests::{item, offer},
    limits::LIST_PAGE_TOOLS,
    protocol::{Era, Version},
};
use serde_json::{Value, json};

/// A catalog of tenants `acme` and `umbrella`.
struct World {
    catalog: Catalog,
    acme: TenantId,
    umbrella: TenantId,
}

impl World {
    fn new() -> Self {
        Self { catalog: Catalog::new(60_000, [7; 32]), acme: TenantId::new("acme").unwrap(), umbrella: TenantId::new("umbrella").unwrap() }
    }

    fn declare(&self, servers: &[&str]) {
        for tenant in [&self.acme, &self.umbrella] {
            self.catalog.declare(tenant, servers.iter().map(|name| ServerName::new(name).unwrap()).collect());
        }
    }

    /// Publishes for `acme`; whether its tools changed.
    fn publish(&self, name: &str, definitions: &[&str]) -> bool {
        self.catalog.publish(&server(&self.acme, name), Arc::new(offer(definitions))).tools
    }

    fn page(&self, server: Option<&ServerName>, names: Names, era: Era) -> String {
        let scope = Scope { tenant: &self.acme, server, names, uris: None };
        String::from_utf8(self.catalog.page(Kind::Tools, scope, view(era), None).unwrap().to_vec()).unwrap()
    }

    fn list(&self) -> Vec<String> {
        let list: Value = serde_json::from_str(&self.page(None, Names::Dotted, Era::Handshake)).unwrap();
        list["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    }

    fn resolve(&self, server: Option<&str>, name: &str) -> Option<String> {
        let server = server.map(|server| ServerName::new(server).unwrap());
        let scope = Scope { tenant: &self.acme, server: server.as_ref(), names: Names::Dotted, uris: None };
        self.catalog.resolve(scope, name).map(|route| format!("{}/{}", route.server.name, route.tool))
    }
}

fn view(era: Era) -> View {
    let version = if era == Era::Handshake { Version::LATEST_HANDSHAKE } else { Version::STATELESS };
    View { version, profile: Profile::BARE }
}

fn server(tenant: &TenantId, name: &str) -> ServerId {
    ServerId { tenant: tenant.clone(), name: ServerName::new(name).unwrap() }
}

#[test]
fn a_nickname_leads_to_its_tool_in_every_form_and_gives_way_to_names() {
    let world = World::new();
    world.declare(&["s"]);
    world.catalog.nickname(&server(&world.acme, "s"), &[("a.b", "long"), ("other", "long"), ("gone", "nothing")]);
    world.publish("s", &[r#"{"name":"long"}"#, r#"{"name":"other"}"#]);
    for (scope, name, tool) in [
        (None, "s.a.b", Some("s/long")),
        (None, "s__a_b", Some("s/long")),
        (Some("s"), "a.b", Some("s/long")),
        (None, "a.b", None),
        (None, "s.other", Some("s/other")),
        (Some("s"), "other", Some("s/other")),
        (None, "s.gone", None),
    ] {
        assert_eq!(world.resolve(scope, name).as_deref(), tool, "{name}");
    }
    assert_eq!(world.list(), ["s.long", "s.other"]);
    assert!(world.catalog.tool(&world.umbrella, "s.a.b").is_none());
    world.publish("s", &[r#"{"name":"other"}"#]);
    assert_eq!(world.resolve(None, "s.a.b"), None);
}

#[test]
fn lists_follow_the_configured_order_then_the_servers_own() {
    let world = World::new();
    world.declare(&["b", "a"]);
    assert!(world.publish("a", &[r#"{"name":"z"}"#, r#"{"name":"y"}"#]));
    assert!(world.publish("b", &[r#"{"name":"x"}"#]));
    assert_eq!(world.list(), ["b.x", "a.z", "a.y"]);
    world.declare(&["a", "b"]);
    assert_eq!(world.list(), ["a.z", "a.y", "b.x"]);
    let names = world.catalog.tool_names(&world.acme);
    let expected = [("a", vec!["a.y", "a.z"]), ("b", vec!["b.x"])];
    assert_eq!(names, expected.map(|(server, tools)| (ServerName::new(server).unwrap(), tools.into_iter().map(String::from).collect())));
}

#[test]
fn a_definition_is_relayed_byte_for_byte_under_another_name() {
    let world = World::new();
    world.declare(&["fs"]);
    let tool = r#"{ "title":"Read", "name":"read.text","execution":{"taskSupport":"optional"}, "inputSchema":{"z":1.0,"a":"\u00e9"} }"#;
    world.publish("fs", &[tool]);
    let (fs, without) =
        (ServerName::new("fs"), |name: &str| format!(r#"{{ "title":"Read", "name":"{name}", "inputSchema":{{"z":1.0,"a":"\u00e9"}} }}"#));
    let hub = format!(r#"{{"name":"mcp-hub","version":"{}"}}"#, env!("CARGO_PKG_VERSION"));
    let envelope = |info: &str| {
        format!(r#","resultType":"complete","ttlMs":60000,"cacheScope":"private","_meta":{{"io.modelcontextprotocol/serverInfo":{info}}}"#)
    };
    for (server, names, era, tool, envelope) in [
        (None, Names::Dotted, Era::Handshake, without("fs.read.text"), String::new()),
        (None, Names::Safe, Era::Handshake, without("fs__read_text"), String::new()),
        (None, Names::Dotted, Era::Stateless, without("fs.read.text"), envelope(&hub)),
        (None, Names::Safe, Era::Stateless, without("fs__read_text"), envelope(&hub)),
        (fs.as_ref(), Names::Dotted, Era::Handshake, tool.to_owned(), String::new()),
        (fs.as_ref(), Names::Safe, Era::Handshake, tool.to_owned(), String::new()),
        (fs.as_ref(), Names::Safe, Era::Stateless, without("read.text"), envelope(r#"{"name":"one","version":"1"}"#)),
    ] {
        assert_eq!(world.page(server, names, era), format!(r#"{{"tools":[{tool}]{envelope}}}"#), "{names:?} {era:?}");
    }
}

#[test]
fn what_is_unknown_has_no_tools() {
    let world = World::new();
    let nobody = ServerName::new("nobody").unwrap();
    let check = |server: Option<&ServerName>| {
        assert_eq!(world.page(server, Names::Dotted, Era::Handshake), r#"{"tools":[]}"#);
        let list: Value = serde_json::from_str(&world.page(server, Names::Dotted, Era::Stateless)).unwrap();
        assert_eq!((&list["tools"], &list["resultType"], &list["ttlMs"]), (&json!([]), &json!("complete"), &json!(60_000)));
    };
    check(None);
    check(Some(&nobody));
    world.declare(&["fs"]);
    check(None);
    check(Some(&nobody));
    check(ServerName::new("fs").as_ref());
    assert!(!world.publish("nobody", &[r#"{"name":"a"}"#]), "a server never declared");
    check(Some(&nobody));
    assert!(!World::new().publish("fs", &[r#"{"name":"a"}"#]), "a tenant never declared");
    assert!(world.catalog.tool_names(&TenantId::default_tenant()).is_empty());
}

#[test]
fn every_form_of_a_name_is_found() {
    let world = World::new();
    world.declare(&["fs", "other"]);
    world.publish("fs", &[r#"{"name":"read.text"}"#, r#"{"name":"größe"}"#, r#"{"name":"other.x"}"#]);
    world.publish("other", &[r#"{"name":"x"}"#, r#"{"name":"fs.read.text"}"#]);
    for (scope, name, expected) in [
        (None, "fs.read.text", Some("fs/read.text")),
        (None, "fs__read_text", Some("fs/read.text")),
        (None, "read.text", None),
        (None, "fs.größe", Some("fs/größe")),
        (None, "fs__gr__e", Some("fs/größe")),
        (None, "other.x", Some("other/x")),
        (None, "FS.read.text", None),
        (None, "", None),
        (Some("fs"), "read.text", Some("fs/read.text")),
        (Some("fs"), "fs.read.text", Some("fs/read.text")),
        (Some("fs"), "fs__read_text", Some("fs/read.text")),
        (Some("fs"), "other.x", Some("fs/other.x")),
        (Some("fs"), "x", None),
        (Some("fs"), "other__x", None),
        (Some("other"), "fs.read.text", Some("other/fs.read.text")),
        (Some("other"), "fs__read_text", None),
        (Some("nobody"), "fs.read.text", None),
    ] {
        assert_eq!(world.resolve(scope, name).as_deref(), expected, "{scope:?} {name}");
    }
    assert_eq!(world.resolve(None, &"x".repeat(1 << 20)), None);
    let (route, definition) = world.catalog.tool(&world.acme, "fs__read_text").unwrap();
    assert_eq!((route.canonical.as_str(), &route.tool_token[..]), ("fs.read.text", &br#""read.text""#[..]));
    assert_eq!(definition, r#"{"name":"read.text"}"#);
    assert_eq!(
        world.catalog.tools_of(&server(&world.acme, "fs")),
        offer(&[r#"{"name":"read.text"}"#, r#"{"name":"größe"}"#, r#"{"name":"other.x"}"#]).tools
    );
}

#[test]
fn a_tenant_sees_nothing_of_another() {
    let world = World::new();
    world.declare(&["fs"]);
    world.publish("fs", &[r#"{"name":"a"}"#]);
    let (umbrella, fs) = (&world.umbrella, ServerName::new("fs").unwrap());
    for server in [None, Some(&fs)] {
        let scope = Scope { tenant: umbrella, server, names: Names::Dotted, uris: None };
        assert!(["a", "fs.a", "fs__a"].iter().all(|name| world.catalog.resolve(scope, name).is_none()));
        assert_eq!(world.catalog.page(Kind::Tools, scope, view(Era::Handshake), None).unwrap(), r#"{"tools":[]}"#);
    }
    assert!(world.catalog.offer(&server(umbrella, "fs")).is_none());
    assert!(world.catalog.tools_of(&server(umbrella, "fs")).is_empty());
    assert!(world.catalog.tool(umbrella, "fs.a").is_none());
    assert_eq!(world.catalog.tool_names(umbrella), [(fs, vec![])]);
    // The same server and tool there is another route, and its going leaves ours.
    assert!(world.catalog.publish(&server(umbrella, "fs"), Arc::new(offer(&[r#"{"name":"a"}"#]))).tools);
    assert_eq!(world.catalog.tool(umbrella, "fs.a").unwrap().0.server, server(umbrella, "fs"));
    assert_eq!(world.catalog.tool(&world.acme, "fs.a").unwrap().0.server, server(&world.acme, "fs"));
    assert!(world.catalog.withdraw(&server(umbrella, "fs")).any());
    assert!(world.catalog.tool(umbrella, "fs.a").is_none());
    assert!(world.catalog.tool(&world.acme, "fs.a").is_some());
}

#[test]
fn publishing_tells_whether_the_list_changed() {
    let world = World::new();
    world.declare(&["fs", "git"]);
    let fs = server(&world.acme, "fs");
    let (a, b) = (r#"{"name":"a"}"#, r#"{"name":"b"}"#);
    for (definitions, changed) in [
        (&[][..], false),
        (&[a, b], true),
        (&[a, b], false),
        (&[b, a], true),
        (&[b, a, a], false),
        (&[b, r#"{"name":"a","description":"new"}"#], true),
        (&[b], true),
        (&[], true),
    ] {
        assert_eq!(world.publish("fs", definitions), changed, "{definitions:?}");
    }
    assert!(!world.catalog.withdraw(&fs).any(), "nothing was listed");
    assert!(world.catalog.offer(&fs).is_none());
    world.publish("fs", &[a]);
    assert!(world.catalog.withdraw(&fs).tools);
    assert!(world.list().is_empty());
}

#[test]
fn routes_of_unchanged_tools_stay_and_the_others_go() {
    let world = World::new();
    world.declare(&["fs", "git"]);
    world.publish("fs", &[r#"{"name":"same"}"#, r#"{"name":"changed"}"#, r#"{"name":"gone"}"#]);
    let route = |name: &str| world.catalog.tool(&world.acme, name).map(|(route, _)| route);
    let before = ["fs.same", "fs.changed", "fs.gone"].map(|name| route(name).unwrap());
    world.publish("fs", &[r#"{"name":"changed","x":1}"#, r#"{"name":"same"}"#, r#"{"name":"new"}"#]);
    world.publish("git", &[r#"{"name":"log"}"#]);
    assert!(Arc::ptr_eq(&route("fs.same").unwrap(), &before[0]));
    assert!(Arc::ptr_eq(&route("fs__same").unwrap(), &before[0]));
    assert!(!Arc::ptr_eq(&route("fs.changed").unwrap(), &before[1]));
    for gone in ["fs.gone", "fs__gone"] {
        assert!(route(gone).is_none());
    }
    assert_eq!(world.resolve(Some("fs"), "gone"), None);
    world.declare(&["git"]);
    assert!(route("fs.same").is_none());
    assert_eq!(world.resolve(Some("fs"), "same"), None);
    assert_eq!(world.list(), ["git.log"]);
    world.declare(&[]);
    assert_eq!(world.catalog.tools.len(), 0, "nothing is left over");
}

#[test]
fn a_name_that_comes_to_mean_two_tools_leads_to_none() {
    let world = World::new();
    world.declare(&["a", "a__b"]);
    world.publish("a", &[r#"{"name":"b__c"}"#]);
    assert_eq!(world.resolve(None, "a__b__c").as_deref(), Some("a/b__c"));
    world.publish("a__b", &[r#"{"name":"c"}"#]);
    assert_eq!(world.resolve(None, "a__b__c"), None);
    let list: Value = serde_json::from_str(&world.page(None, Names::Safe, Era::Handshake)).unwrap();
    let listed: Vec<_> =
        list["tools"].as_array().unwrap().iter().map(|tool| world.resolve(None, tool["name"].as_str().unwrap()).unwrap()).collect();
    assert_eq!(listed, ["a/b__c", "a__b/c"]);
    world.catalog.withdraw(&server(&world.acme, "a__b"));
    assert_eq!(world.resolve(None, "a__b__c").as_deref(), Some("a/b__c"));
}

#[test]
fn pages_hang_together_by_cursors_that_die_with_the_list() {
    let world = World::new();
    world.declare(&["big", "small"]);
    let definitions: Vec<_> = (0..2 * LIST_PAGE_TOOLS + 1).map(|n| format!(r#"{{"name":"t{n}"}}"#)).collect();
    let definitions: Vec<_> = definitions.iter().map(String::as_str).collect();
    world.publish("big", &definitions);
    let big = ServerName::new("big").unwrap();
    let merged = Scope { tenant: &world.acme, server: None, names: Names::Dotted, uris: None };
    let own = Scope { server: Some(&big), ..merged };
    let read = |scope, cursor: Option<&str>| {
        let page = world.catalog.page(Kind::Tools, scope, view(Era::Stateless), cursor)?;
        let page: Value = serde_json::from_slice(&page).unwrap();
        assert_eq!(page["resultType"], "complete");
        Ok((page["tools"].as_array().unwrap().len(), page["nextCursor"].as_str().map(str::to_owned)))
    };
    for scope in [merged, own] {
        let (len, first) = read(scope, None).unwrap();
        let (next_len, second) = read(scope, first.as_deref()).unwrap();
        assert_eq!((len, next_len), (LIST_PAGE_TOOLS, LIST_PAGE_TOOLS));
        assert_eq!(read(scope, second.as_deref()), Ok((1, None)));
        for wrong in ["", "x", "AAAAAAAAAAAAAAAAAAAAAAAAAAA"] {
            assert_eq!(read(scope, Some(wrong)), Err(CursorError::Unknown));
        }
    }
    let [merged_cursor, own_cursor] = [merged, own].map(|scope| read(scope, None).unwrap().1);
    assert_eq!(read(own, merged_cursor.as_deref()), Err(CursorError::Unknown));
    assert!(!world.publish("big", &definitions));
    assert!(read(merged, merged_cursor.as_deref()).is_ok(), "the list is the same");
    world.publish("small", &[r#"{"name":"a"}"#]);
    assert_eq!(read(merged, merged_cursor.as_deref()), Err(CursorError::Unknown));
    assert!(read(own, own_cursor.as_deref()).is_ok(), "another server's change is none of this list");
    world.publish("big", &definitions[1..]);
    assert_eq!(read(own, own_cursor.as_deref()), Err(CursorError::Unknown));
    let again = read(own, None).unwrap().1;
    world.catalog.withdraw(&server(&world.acme, "big"));
    assert_eq!(read(own, again.as_deref()), Err(CursorError::Unknown));
}

#[test]
fn a_list_lives_no_longer_than_its_shortest_promise() {
    let stateless = |ttl_ms| Offer { version: Version::STATELESS, ttl_ms, ..offer(&[r#"{"name":"a"}"#]) };
    let handshake = |ttl_ms| Offer { ttl_ms, ..offer(&[r#"{"name":"a"}"#]) };
    for (offers, merged, own) in [
        (vec![handshake(None)], 60_000, 60_000),
        (vec![handshake(Some(1))], 60_000, 60_000),
        (vec![stateless(Some(500)), stateless(Some(700)), handshake(Some(1))], 500, 500),
        (vec![stateless(Some(90_000))], 60_000, 60_000),
        (vec![stateless(Some(700)), stateless(None)], 0, 700),
    ] {
        let world = World::new();
        world.declare(&["s0", "s1", "s2"]);
        for (n, offer) in offers.iter().enumerate() {
            world.catalog.publish(&server(&world.acme, &format!("s{n}")), Arc::new(offer.clone()));
        }
        let ttl = |server: Option<&ServerName>| -> Value {
            let page: Value = serde_json::from_str(&world.page(server, Names::Dotted, Era::Stateless)).unwrap();
            page["ttlMs"].clone()
        };
        assert_eq!((ttl(None), ttl(ServerName::new("s0").as_ref())), (json!(merged), json!(own)), "{offers:?}");
    }
}

#[test]
fn new_hints_show_although_the_list_is_the_same() {
    let world = World::new();
    world.declare(&["s"]);
    let publish = |ttl_ms| {
        let offer = Offer { version: Version::STATELESS, ttl_ms: Some(ttl_ms), ..offer(&[r#"{"name":"a"}"#]) };
        world.catalog.publish(&server(&world.acme, "s"), Arc::new(offer)).tools
    };
    assert!(publish(500));
    assert!(world.page(None, Names::Dotted, Era::Stateless).contains(r#""ttlMs":500,"#));
    assert!(!publish(400));
    assert!(world.page(None, Names::Dotted, Era::Stateless).contains(r#""ttlMs":400,"#));
}

#[test]
fn a_list_is_rendered_once_and_shared() {
    let world = World::new();
    world.declare(&["s"]);
    world.publish("s", &[r#"{"name":"a"}"#]);
    let s = ServerName::new("s").unwrap();
    for server in [None, Some(&s)] {
        let scope = Scope { tenant: &world.acme, server, names: Names::Dotted, uris: None };
        let [one, other] = [(); 2].map(|()| world.catalog.page(Kind::Tools, scope, view(Era::Stateless), None).unwrap());
        assert_eq!(one.as_ptr(), other.as_ptr());
    }
}

#[test]
fn odd_definitions_leave_the_list_well_formed() {
    let world = World::new();
    world.declare(&["s"]);
    let mut odd = offer(&["{\n \"name\": \"a\\\"b\",\r\n \"execution\": {} }", r#"{"name":"two","name":"three"}"#, "  {\"name\":\"c\"}\n"]);
    odd.tools.push(Item { key: "d".into(), definition: "{\"name\":\"d\"},{".into() });
    odd.server_info = Bytes::from_static(b"[]");
    world.catalog.publish(&server(&world.acme, "s"), Arc::new(odd));
    assert_eq!(world.list(), ["s__a_b", "s.c"]);
    let s = ServerName::new("s").unwrap();
    let own = world.page(Some(&s), Names::Dotted, Era::Stateless);
    assert!(!own.contains(['\n', '\r']), "{own}");
    let own: Value = serde_json::from_str(&own).unwrap();
    assert_eq!(own["tools"], json!([{"name": "a\"b"}, {"name": "c"}]));
    assert_eq!(own["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "mcp-hub");
}

#[test]
fn names_never_lead_astray_while_servers_come_and_go() {
    let world = World::new();
    world.declare(&["a", "b"]);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for tenant in [&world.acme, &world.umbrella] {
            for name in ["a.t", "b.t", "a__t", "b__t"] {
                let (world, done) = (&world, &done);
                scope.spawn(move || {
                    let mut found = 0;
                    while found < 100 || !done.load(std::sync::atomic::Ordering::Relaxed) {
                        let scope = Scope { tenant, server: None, names: Names::Dotted, uris: None };
                        if let Some(route) = world.catalog.resolve(scope, name) {
                            assert_eq!((&route.server.tenant, route.server.name.as_str(), route.tool.as_str()), (tenant, &name[..1], "t"));
                            found += 1;
                        }
                    }
                });
            }
        }
        for round in 0..200 {
            for tenant in [&world.acme, &world.umbrella] {
                world.catalog.withdraw(&server(tenant, "a"));
                world.catalog.publish(&server(tenant, "b"), Arc::new(offer(&[&format!(r#"{{"name":"t","round":{round}}}"#)])));
                world.catalog.publish(&server(tenant, "a"), Arc::new(offer(&[&format!(r#"{{"name":"t","round":{round}}}"#)])));
            }
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

const FORM: Profile = Profile::FORM;

/// Names, or URIs, of a list.
fn keys(page: &[u8]) -> Vec<String> {
    let page: Value = serde_json::from_slice(page).unwrap();
    let (_, list) = page.as_object().unwrap().iter().find(|(_, list)| list.is_array()).unwrap();
    let key = |entry: &Value| ["uri", "uriTemplate", "name"].iter().find_map(|key| entry[key].as_str().map(str::to_owned)).unwrap();
    list.as_array().unwrap().iter().map(key).collect()
}

#[test]
fn every_kind_is_listed_in_its_own_words() {
    let world = World::new();
    world.declare(&["b", "A_x"]);
    for name in ["A_x", "b"] {
        let mut offer = offer(&[r#"{"name":"t"}"#]);
        offer.prompts = vec![item(Kind::Prompts, r#"{"name":"p.1" , "arguments":[]}"#)];
        offer.resources = vec![item(Kind::Resources, r#"{"name":"r","uri":"file:\/\/\/r"}"#), item(Kind::Resources, r#"{"uri":"ui://v"}"#)];
        offer.templates = vec![item(Kind::Templates, r#"{"uriTemplate":"file:///{x}","name":"u"}"#)];
        assert_eq!(
            world.catalog.publish(&server(&world.acme, name), Arc::new(offer)),
            Changed { tools: true, prompts: true, resources: true }
        );
    }
    let a = ServerName::new("A_x").unwrap();
    for (server, names, kind, expected) in [
        (None, Names::Dotted, Kind::Prompts, r#"{"prompts":[{"name":"b.p.1" , "arguments":[]},{"name":"A_x.p.1" , "arguments":[]}]}"#),
        (None, Names::Safe, Kind::Prompts, r#"{"prompts":[{"name":"b__p_1" , "arguments":[]},{"name":"A_x__p_1" , "arguments":[]}]}"#),
        (
            None,
            Names::Safe,
            Kind::Resources,
            r#"{"resources":[{"name":"r","uri":"hub+b:file:///r"},{"uri":"ui://b/v"},{"name":"r","uri":"hub+a-x:file:///r"},{"uri":"ui://a-x/v"}]}"#,
        ),
        (
            None,
            Names::Dotted,
            Kind::Templates,
            r#"{"resourceTemplates":[{"uriTemplate":"hub+b:file:///{x}","name":"u"},{"uriTemplate":"hub+a-x:file:///{x}","name":"u"}]}"#,
        ),
        (Some(&a), Names::Safe, Kind::Prompts, r#"{"prompts":[{"name":"p.1" , "arguments":[]}]}"#),
        (Some(&a), Names::Dotted, Kind::Resources, r#"{"resources":[{"name":"r","uri":"file:\/\/\/r"},{"uri":"ui://v"}]}"#),
        (Some(&a), Names::Dotted, Kind::Templates, r#"{"resourceTemplates":[{"uriTemplate":"file:///{x}","name":"u"}]}"#),
    ] {
        let scope = Scope { tenant: &world.acme, server, names, uris: None };
        let page = |era| String::from_utf8(world.catalog.page(kind, scope, view(era), None).unwrap().to_vec()).unwrap();
        assert_eq!(page(Era::Handshake), expected);
        let stateless = page(Era::Stateless);
        assert!(
            stateless.starts_with(&format!(r#"{},"resultType":"complete","ttlMs":60000,"#, &expected[..expected.len() - 1])),
            "{stateless}"
        );
    }
}

#[test]
fn prompts_have_names_of_their_own() {
    let world = World::new();
    world.declare(&["s"]);
    let mut offer = offer(&[r#"{"name":"both"}"#, r#"{"name":"tool"}"#]);
    offer.prompts = [r#"{"name":"both"}"#, r#"{"name":"prömpt"}"#].map(|text| item(Kind::Prompts, text)).into();
    world.catalog.publish(&server(&world.acme, "s"), Arc::new(offer));
    let s = ServerName::new("s").unwrap();
    for (server, name, tool, prompt) in [
        (None, "s.both", true, true),
        (None, "s.tool", true, false),
        (None, "s__pr_mpt", false, true),
        (None, "s.prömpt", false, true),
        (Some(&s), "prömpt", false, true),
        (Some(&s), "s.both", true, true),
        (None, "both", false, false),
    ] {
        let scope = Scope { tenant: &world.acme, server, names: Names::Dotted, uris: None };
        assert_eq!(world.catalog.resolve(scope, name).is_some(), tool, "{name}");
        assert_eq!(world.catalog.resolve_prompt(scope, name).is_some(), prompt, "{name}");
    }
    world.catalog.withdraw(&server(&world.acme, "s"));
    assert_eq!((world.catalog.tools.len(), world.catalog.prompts.len()), (0, 0), "nothing is left over");
}

#[test]
fn a_change_of_one_kind_is_none_of_the_others() {
    let world = World::new();
    world.declare(&["s"]);
    let s = server(&world.acme, "s");
    let publish = |tools: &[&str], prompts: &[&str], resources: &[&str], templates: &[&str]| {
        let items = |kind, texts: &[&str]| texts.iter().map(|text| item(kind, text)).collect();
        let offer = Offer {
            prompts: items(Kind::Prompts, prompts),
            resources: items(Kind::Resources, resources),
            templates: items(Kind::Templates, templates),
            ..offer(tools)
        };
        world.catalog.publish(&s, Arc::new(offer))
    };
    let (a, r, t) = ([r#"{"name":"a"}"#], [r#"{"uri":"x:1"}"#], [r#"{"uriTemplate":"x:{a}"}"#]);
    let many: Vec<_> = (0..=LIST_PAGE_TOOLS).map(|n| format!(r#"{{"name":"p{n}"}}"#)).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let none = Changed::default();
    assert_eq!(publish(&[], &[], &[], &[]), none);
    assert_eq!(publish(&a, &many, &[], &[]), Changed { tools: true, prompts: true, ..none });
    let scope = Scope { tenant: &world.acme, server: None, names: Names::Dotted, uris: None };
    let prompts = |cursor: Option<&str>| world.catalog.page(Kind::Prompts, scope, view(Era::Handshake), cursor);
    let first: Value = serde_json::from_slice(&prompts(None).unwrap()).unwrap();
    let cursor = first["nextCursor"].as_str();
    assert_eq!(publish(&a, &many, &r, &[]), Changed { resources: true, ..none });
    assert_eq!(publish(&a, &many, &r, &t), Changed { resources: true, ..none });
    assert_eq!(publish(&[], &many, &r, &t), Changed { tools: true, ..none });
    assert_eq!(keys(&prompts(cursor).unwrap()), [format!("s.p{LIST_PAGE_TOOLS}")], "a cursor outlives changes of other lists");
    for kind in [Kind::Tools, Kind::Resources] {
        assert_eq!(world.catalog.page(kind, scope, view(Era::Handshake), cursor), Err(CursorError::Unknown));
    }
    assert_eq!(publish(&[], &many[1..], &r, &t), Changed { prompts: true, ..none });
    assert_eq!(prompts(cursor), Err(CursorError::Unknown));
    assert_eq!(world.catalog.withdraw(&s), Changed { prompts: true, resources: true, ..none });
}

#[test]
fn everyone_sees_the_offer_that_fits() {
    let world = World::new();
    world.declare(&["s", "plain"]);
    world.publish("plain", &[r#"{"name":"x"}"#]);
    let s = server(&world.acme, "s");
    let publish = |profile, tools: &[&str]| world.catalog.publish(&s, Arc::new(Offer { profile, ..offer(tools) })).tools;
    let name = ServerName::new("s").unwrap();
    let list = |server: Option<&ServerName>, profile| {
        let scope = Scope { tenant: &world.acme, server, names: Names::Dotted, uris: None };
        keys(&world.catalog.page(Kind::Tools, scope, View { profile, ..view(Era::Handshake) }, None).unwrap()).join(" ")
    };
    let (ask, more) = (r#"{"name":"ask"}"#, FORM.with(Profile::ROOTS));
    let base = r#"{"name":"base"}"#;
    // Only another's is known.
    assert!(publish(FORM, &[ask, base]));
    for profile in [Profile::BARE, FORM, more] {
        assert_eq!(list(None, profile), "s.ask s.base plain.x");
        assert_eq!(list(Some(&name), profile), "ask base");
    }
    assert!(publish(more, &[base, ask, r#"{"name":"roots"}"#]));
    assert_eq!((list(None, Profile::URL), list(None, FORM)), ("s.base s.ask s.roots plain.x".into(), "s.ask s.base plain.x".into()));
    assert!(publish(Profile::BARE, &[base]));
    for (profile, merged, own) in [
        (Profile::BARE, "s.base plain.x", "base"),
        (Profile::BARE.with(Profile::UI), "s.base plain.x", "base"),
        (Profile::URL, "s.base plain.x", "base"),
        (FORM, "s.ask s.base plain.x", "ask base"),
        (FORM.with(Profile::UI).with(Profile::TASKS), "s.ask s.base plain.x", "ask base"),
        (more, "s.base s.ask s.roots plain.x", "base ask roots"),
    ] {
        assert_eq!((list(None, profile), list(Some(&name), profile)), (merged.into(), own.into()), "{profile:?}");
        assert!(world.catalog.offer_to(&s, profile).is_some());
    }
    assert!(world.catalog.knows(&s, more) && !world.catalog.knows(&s, Profile::URL));
    // A name leads to its tool, whoever says it.
    for name in ["s.base", "s.ask", "s.roots", "s__roots"] {
        assert!(world.resolve(None, name).is_some(), "{name}");
    }
    assert!(!publish(FORM, &[ask, base]));
    assert!(publish(FORM, &[base, ask]));
    assert_eq!(world.catalog.offers(&s).len(), 3);
    world.catalog.withdraw(&s);
    assert_eq!((list(None, FORM), world.resolve(None, "s.ask")), ("plain.x".into(), None));
}

#[test]
fn offers_for_few_profiles_are_kept() {
    let world = World::new();
    world.declare(&["s"]);
    let s = server(&world.acme, "s");
    let profiles: Vec<_> = [
        Profile::BARE,
        Profile::ROOTS,
        Profile::SAMPLING,
        FORM,
        Profile::URL,
        Profile::ROOTS.with(FORM),
        Profile::ROOTS.with(Profile::URL),
    ]
    .into();
    for profile in &profiles {
        world.catalog.publish(&s, Arc::new(Offer { profile: *profile, ..offer(&[r#"{"name":"a"}"#]) }));
    }
    assert_eq!(world.catalog.offers(&s).len(), crate::limits::PROFILES_PER_SERVER_MAX);
    let kept: Vec<_> = profiles.iter().map(|profile| world.catalog.knows(&s, *profile)).collect();
    assert_eq!(kept, [true, false, true, true, true, true, true], "the oldest goes, but never what all others see");
}

/// Whoever looks, and whatever is published in whatever order: who sees another list than before is told, at least.
#[test]
fn nobody_whose_list_changed_goes_untold() {
    let abilities = [Profile::ROOTS, FORM, Profile::URL, Profile::UI, Profile::TASKS, Profile::ROOTS_CHANGE];
    let sets = |of: &[Profile]| -> Vec<Profile> {
        let of = of.to_vec();
        let set = |bits: usize| (0..of.len()).filter(|at| bits >> at & 1 == 1).fold(Profile::BARE, |set, at| set.with(of[at]));
        (0..1 << of.len()).map(set).collect()
    };
    // Servers are told neither of these.
    let (callers, told) = (sets(&abilities), sets(&abilities[..4]));
    let lists = [vec![r#"{"name":"a"}"#], vec![r#"{"name":"b"}"#]];
    for seed in 0..50_u64 {
        let world = World::new();
        world.declare(&["s"]);
        let s = server(&world.acme, "s");
        let seen = || {
            let list = |profile: &Profile| {
                let scope = Scope { tenant: &world.acme, server: None, names: Names::Dotted, uris: None };
                keys(&world.catalog.page(Kind::Tools, scope, View { profile: *profile, ..view(Era::Handshake) }, None).unwrap())
            };
            callers.iter().map(list).collect::<Vec<_>>()
        };
        let mut dice = seed;
        let mut roll = |sides: usize| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (dice >> 33) as usize % sides
        };
        let mut before = seen();
        for _ in 0..20 {
            let (profile, tools) = (told[roll(told.len())], &lists[roll(2)]);
            let changed = world.catalog.publish(&s, Arc::new(Offer { profile, ..offer(tools) }));
            let now = seen();
            assert!(changed.tools || now == before, "seed {seed}: {profile:?} is listed {tools:?}");
            before = now;
        }
    }
}

#[test]
fn each_revision_gets_what_it_understands() {
    let world = World::new();
    world.declare(&["old", "new"]);
    let tool = r#"{"name":"t","execution":{},"outputSchema":{"type":"array"}}"#;
    world.publish("old", &[tool]);
    world.catalog.publish(&server(&world.acme, "new"), Arc::new(Offer { version: Version::STATELESS, ..offer(&[tool]) }));
    let wrapped = r#"{"type":"object","properties":{"result":{"type":"array"}},"required":["result"]}"#;
    let array = r#"{"type":"array"}"#;
    for (own, version, execution, output) in [
        (Some("old"), Version::V2025_11_25, true, array),
        (Some("old"), Version::V2025_06_18, false, array),
        (Some("old"), Version::V2026_07_28, false, array),
        (Some("new"), Version::V2025_11_25, true, wrapped),
        (Some("new"), Version::V2024_11_05, false, wrapped),
        (Some("new"), Version::V2026_07_28, false, array),
        (None, Version::V2025_11_25, false, wrapped),
        (None, Version::V2026_07_28, false, array),
    ] {
        let server = own.map(|name| ServerName::new(name).unwrap());
        let scope = Scope { tenant: &world.acme, server: server.as_ref(), names: Names::Dotted, uris: None };
        let page = world.catalog.page(Kind::Tools, scope, View { version, profile: Profile::BARE }, None).unwrap();
        let page: Value = serde_json::from_slice(&page).unwrap();
        let tool = page["tools"].as_array().unwrap().last().unwrap();
        assert_eq!(
            (tool.get("execution").is_some(), tool["outputSchema"].to_string().as_str()),
            (execution, output),
            "{own:?} {version:?}"
        );
    }
    let route = |name| world.catalog.tool(&world.acme, name).unwrap().0;
    assert_eq!((route("old.t").wraps_output, route("new.t").wraps_output), (false, true));
}

#[test]
fn a_route_says_what_a_call_needs_to_know() {
    let world = World::new();
    world.declare(&["s"]);
    world.publish(
        "s",
        &[
            r#"{"name":"a","inputSchema":{"properties":{"r":{"type":"string","x-mcp-header":"Region"},"n":{"type":"number","x-mcp-header":"N"}}}}"#,
            r#"{"name":"b","_meta":{"ui":{"visibility":["app"]}}}"#,
        ],
    );
    let route = |name| world.catalog.tool(&world.acme, name).unwrap().0;
    let headers: Vec<_> = route("s.a").headers.iter().flat_map(|headers| headers.iter()).map(|param| param.header.to_string()).collect();
    assert_eq!(headers, ["Mcp-Param-Region"], "only those by the rules");
    assert_eq!(route("s.b").headers, None);
    assert_eq!((route("s.a").visibility.app, route("s.b").visibility.model), (false, false));
}

#[test]
fn what_a_tool_links_to_is_published_as_the_resource_is() {
    let world = World::new();
    world.declare(&["s"]);
    let tool = r#"{"name":"a","_meta":{"ui":{"resourceUri":"ui://v"},"ui/resourceUri":"ui://v","openai/outputTemplate":"ui://v"}}"#;
    world.publish("s", &[tool]);
    let merged = world.page(None, Names::Dotted, Era::Handshake);
    assert_eq!(merged.matches("\"ui://s/v\"").count(), 3, "{merged}");
    assert_eq!(world.page(ServerName::new("s").as_ref(), Names::Dotted, Era::Handshake), format!(r#"{{"tools":[{tool}]}}"#));
}
