//! What clients see: lists that change, lists in pages, and names in every form.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use http_body_util::BodyExt;
use hyper::body::Incoming;
use mcp_hub::limits::LIST_WAIT;
use serde_json::{Value, json};

use crate::{
    HANDSHAKE, both,
    support::{Client, client, client::tool_names, hub, server},
    within,
};

/// What comes on a stream of events, message after message.
struct Events {
    body: Incoming,
    text: String,
}

impl Events {
    async fn of(session: &Client, path: &str) -> Self {
        let headers = [("accept", "text/event-stream"), ("mcp-session-id", session.session_id().unwrap())];
        let response = session.beside().open("GET", path, &headers, "").await;
        assert_eq!(response.status(), 200);
        Self { body: response.into_body(), text: String::new() }
    }

    /// `None` at the end of the stream.
    async fn next(&mut self) -> Option<Value> {
        loop {
            while let Some((event, rest)) = self.text.split_once("\n\n") {
                let message = event.lines().find_map(|line| line.strip_prefix("data: ")).map(|data| serde_json::from_str(data).unwrap());
                self.text = rest.to_owned();
                if message.is_some() {
                    return message;
                }
            }
            let frame = self.body.frame().await?.unwrap();
            self.text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
        }
    }
}

#[tokio::test]
async fn a_burst_of_changes_is_told_once_to_each_session_that_can_see_it() {
    let hub = hub::new().server("a", server::child("").boot()).tenant_server("acme", "a", server::child("").boot()).run();
    let acme = "/t/acme/mcp";
    for path in ["/mcp", acme] {
        // Known before the sessions begin: what they are told of comes later.
        assert!(client::stateless_at(&hub, path).tools().await.contains(&"a.grow".to_owned()));
    }
    let (session, foreign) = (client::session(&hub, HANDSHAKE).await, client::session_at(&hub, acme, HANDSHAKE).await);
    let (mut events, mut foreign_events) = (Events::of(&session, "/mcp").await, Events::of(&foreign, acme).await);
    let before = session.tools().await;
    // The neighbour is told of nothing, though its server has the same name, until its own changes.
    for (is_own, burst, all) in [(true, 5, 5), (true, 1, 6), (false, 3, 3)] {
        let (session, events) = if is_own { (&session, &mut events) } else { (&foreign, &mut foreign_events) };
        session.text("a.grow", json!({"by": burst})).await;
        let changed = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
        assert_eq!(within(events.next()).await, Some(changed));
        let grown = (0..all).map(|n| format!("a.grown{n}"));
        let expected: BTreeSet<_> = before.iter().cloned().chain(grown).collect();
        assert_eq!(session.tools().await.into_iter().collect::<BTreeSet<_>>(), expected);
    }
    for (session, mut events, path) in [(session, events, "/mcp"), (foreign, foreign_events, acme)] {
        let id = ("mcp-session-id", session.session_id().unwrap());
        assert_eq!(session.send("DELETE", path, &[id], "").await.status, 204);
        assert_eq!(within(events.next()).await, None);
    }
}

#[tokio::test]
async fn a_server_that_takes_long_to_start_delays_only_the_first_lists() {
    let hub = hub::new().server("slow", server::child("deaf")).server("quick", server::child("")).run();
    let client = client::stateless(&hub);
    assert!(client.tools().await.contains(&"quick.echo".to_owned()));
    let begun = Instant::now();
    assert!(client.tools().await.contains(&"quick.echo".to_owned()));
    let unknown = client.ask("tools/call", json!({"name": "nobodys", "arguments": {}})).await.json();
    assert_eq!(unknown["error"]["code"], -32602, "{unknown}");
    assert!(begun.elapsed() < LIST_WAIT, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_long_list_comes_in_pages_that_hold_every_tool_once() {
    let hub = hub::new().server("many", server::child("--tools 1500 --pages 7")).server("more", server::child("--tools 1100")).run();
    for path in ["/mcp", "/mcp?names=safe"] {
        for client in &both(&hub, path).await {
            let (mut params, mut pages, mut names) = (json!({}), Vec::new(), Vec::new());
            loop {
                let list = client.ask("tools/list", params).await.json();
                let tools = list["result"]["tools"].as_array().unwrap_or_else(|| panic!("{list}"));
                pages.push(tools.len());
                names.extend(tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()));
                let Some(cursor) = list["result"]["nextCursor"].as_str() else { break };
                params = json!({"cursor": cursor});
            }
            assert!(pages.len() == 3 && pages.iter().all(|tools| *tools <= 1000), "{pages:?}");
            let distinct: BTreeSet<_> = names.iter().collect();
            assert_eq!(distinct.len(), names.len());
            let dot = if path == "/mcp" { "." } else { "__" };
            for (server, count) in [("many", 1500), ("more", 1100)] {
                assert!((0..count).all(|n| distinct.contains(&format!("{server}{dot}tool{n}"))));
            }
            assert_eq!(client.text(&format!("more{dot}tool1099"), json!({})).await, "tool1099");
            let refused = client.ask("tools/list", json!({"cursor": "1000"})).await.json();
            assert_eq!(refused["error"]["code"], -32602, "{refused}");
        }
    }
}

/// Published name to the server's own, which the scripted server puts in the description; without the tools it always has.
async fn names(client: &Client) -> BTreeMap<String, String> {
    let list = client.ask("tools/list", json!({})).await.json();
    let tools = list["result"]["tools"].as_array().unwrap_or_else(|| panic!("{list}"));
    let own = |tool: &Value| tool["description"].as_str().unwrap().strip_prefix("The tool ").unwrap().to_owned();
    let named = tools.iter().map(|tool| (tool["name"].as_str().unwrap().to_owned(), own(tool)));
    named.filter(|(_, own)| own.contains(['.', '_']) || own.len() > 100 || own == "c").collect()
}

#[tokio::test]
async fn every_tool_is_called_by_every_name_that_it_has() {
    let long = ["l".repeat(200), format!("{}m", "l".repeat(199))];
    let own = ["read.text", "read_text", "b.c", &long[0], &long[1]];
    let hub = hub::new()
        .server("s", server::child(&format!("--also {}", own.join(","))))
        .server("a", server::child("--also b__c"))
        .server("a__b", server::child("--also c"))
        .run();
    let [stateless, session] = &both(&hub, "/mcp").await;
    let [safe_stateless, safe_session] = &both(&hub, "/mcp?names=safe").await;
    let (dotted, safe) = (names(stateless).await, names(safe_session).await);
    assert_eq!((dotted.len(), safe.len()), (7, 7), "{dotted:?} {safe:?}");
    assert_eq!(names(session).await, dotted);
    assert_eq!(names(safe_stateless).await, safe);
    for expected in ["s.read.text", "s.read_text", "s.b.c", "a.b__c", "a__b.c"] {
        assert!(dotted.contains_key(expected), "{expected}: {dotted:?}");
    }
    for name in safe.keys() {
        assert!(name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b)), "{name}");
    }
    // Each of a colliding pair is told apart; the plain form leads to neither.
    assert_eq!(safe.keys().filter(|name| name.starts_with("s__read_text_")).count(), 2, "{safe:?}");
    assert_eq!(safe.keys().filter(|name| name.starts_with("a__b__c_")).count(), 2, "{safe:?}");
    for client in [stateless, session, safe_stateless, safe_session] {
        for (name, own) in dotted.iter().chain(&safe) {
            assert_eq!(client.text(name, json!({})).await, *own, "{name}");
        }
        let unknown = client.ask("tools/call", json!({"name": "a__b__c", "arguments": {}})).await.json();
        assert_eq!(unknown["error"]["code"], -32602, "{unknown}");
    }
    for client in &both(&hub, "/s/mcp").await {
        let listed = names(client).await;
        assert_eq!(listed.into_keys().collect::<BTreeSet<_>>(), own.map(str::to_owned).into());
        for name in own {
            assert_eq!(client.text(name, json!({})).await, name);
        }
        for (name, own) in dotted.iter().chain(&safe).filter(|(name, _)| name.starts_with('s')) {
            assert_eq!(client.text(name, json!({})).await, *own, "{name}");
        }
        let foreign = client.ask("tools/call", json!({"name": "a.b__c", "arguments": {}})).await.json();
        assert_eq!(foreign["error"]["code"], -32602, "{foreign}");
    }
}

/// The names of the tools that a stateless client with these abilities sees.
async fn shown(client: &Client, able: &Value) -> BTreeSet<String> {
    let meta = json!({"io.modelcontextprotocol/clientCapabilities": able});
    tool_names(&client.ask("tools/list", json!({"_meta": meta})).await.json()).into_iter().collect()
}

#[tokio::test]
async fn whoever_can_do_more_is_listed_more_and_what_runs_does_not_matter() {
    let words = |era: &str| format!("full by-profile --era {era}");
    let hub =
        ["handshake", "stateless"].iter().fold(hub::new(), |hub, era| hub.server(era, server::child(&words(era)).scope("user"))).run();
    let client = client::stateless(&hub);
    let (bare, roots) = (json!({}), json!({"roots": {}}));
    let gated = ["handshake.ask_roots", "stateless.ask_roots"];
    let sees = |shown: &BTreeSet<String>| gated.iter().filter(|tool| shown.contains(**tool)).count();
    let before = shown(&client, &bare).await;
    assert_eq!(sees(&before), 0);
    // Nothing is called; the first look is enough.
    within(async { while sees(&shown(&client, &roots).await) < gated.len() {} }).await;
    assert_eq!(shown(&client, &bare).await, before);
    assert!(!shown(&client, &roots).await.contains("stateless.ask_url"));
}

#[tokio::test]
async fn a_tool_that_is_listed_to_those_who_can_do_more_is_found_by_the_first_of_them() {
    for era in ["handshake", "stateless"] {
        let hub = hub::new().server("s", server::child(&format!("full by-profile --era {era}")).scope("user")).run();
        let client = client::stateless(&hub);
        assert!(!shown(&client, &json!({})).await.contains("s.ask_roots"));
        let meta = json!({"io.modelcontextprotocol/clientCapabilities": {"roots": {}}});
        let answer = client.ask("tools/call", json!({"name": "s.ask_roots", "arguments": {}, "_meta": meta})).await.json();
        assert_eq!(answer["result"]["resultType"], "input_required", "{era}: {answer}");
        let unknown = client.ask("tools/call", json!({"name": "s.no_such", "arguments": {}, "_meta": meta})).await.json();
        assert_eq!(unknown["error"]["code"], -32602, "{era}: {unknown}");
    }
}
