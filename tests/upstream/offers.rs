//! What servers offer besides tools, and what they tell when it changes.

use std::sync::Arc;

use bytes::Bytes;
use mcp_hub::{
    observe::ServerPhase,
    protocol::{Level, capability::Profile, code::Reason},
    upstream::{Event, Lease, Opening, State, Subscription, What, Whose},
};
use serde_json::{Value, json};

use crate::scene::*;

const ERAS: [&str; 2] = ["handshake", "stateless"];

fn uris(definitions: &[Bytes], key: &str) -> Vec<String> {
    definitions.iter().map(|one| serde_json::from_slice::<Value>(one).unwrap()[key].as_str().unwrap().to_owned()).collect()
}

/// What the server says it tells of: of the handshake era the URIs, else the filters.
async fn subscriptions(lease: &Lease) -> Value {
    serde_json::from_str(&text(lease, "subscriptions", json!({})).await).unwrap()
}

/// Asks until it is so; each question is one call of the server.
async fn subscribed(lease: &Lease, uris: &[&str]) {
    let is_so = |said: &Value| match said.as_array().map(Vec::as_slice) {
        Some([Value::Object(filter)]) => filter.get("resourceSubscriptions").cloned().unwrap_or_else(|| json!([])) == json!(uris),
        _ => *said == json!(uris),
    };
    let settled = async { while !is_so(&subscriptions(lease).await) {} };
    if tokio::time::timeout(PATIENCE, settled).await.is_err() {
        panic!("{uris:?}: {}", subscriptions(lease).await);
    }
}

impl Scene {
    /// The next resource that is said to have changed.
    async fn updated(&mut self) -> (Whose, String) {
        let news = tokio::time::timeout(PATIENCE, self.news.recv()).await.expect("news").unwrap();
        let What::Updated(message) = news.what else { panic!("{news:?}") };
        let said: Value = serde_json::from_slice(message.bytes()).unwrap();
        (news.whose, said["params"]["uri"].as_str().unwrap().to_owned())
    }
}

#[tokio::test]
async fn every_kind_of_offer_is_listed_over_all_its_pages() {
    for era in ERAS {
        let words = format!("full --era {era} --prompts 5 --resources 7 --templates 3 --pages 3");
        let mut scene = one(&words, json!({}));
        scene.server("s").know().await.unwrap();
        let learned = scene.learned().await;
        assert_eq!(uris(&learned.prompts, "name"), ["prompt0", "prompt1", "prompt2", "prompt3", "prompt4"]);
        assert_eq!(uris(&learned.resources, "uri"), (0..7).map(|n| format!("file:///r{n}")).collect::<Vec<_>>());
        assert_eq!(uris(&learned.templates, "uriTemplate"), (0..3).map(|n| format!("file:///t{n}/{{name}}")).collect::<Vec<_>>());
        assert!(names(&learned).contains(&"touch_resource".to_owned()));
        assert_eq!((learned.profile, learned.public), (Profile::BARE, era == "stateless"));
        scene.end().await;
    }
}

#[tokio::test]
async fn a_list_that_was_declared_and_does_not_exist_is_empty() {
    let mut scene = one("full --no-templates 1 --no-tools 1", json!({}));
    scene.server("s").know().await.unwrap();
    let learned = scene.learned().await;
    assert_eq!((learned.tools.len(), learned.prompts.len(), learned.resources.len(), learned.templates.len()), (0, 2, 2, 0));
    scene.end().await;
}

#[tokio::test]
async fn a_change_of_any_list_is_learned() {
    for era in ERAS {
        let mut scene = one(&format!("full --era {era}"), json!({}));
        let server = scene.server("s");
        let lease = lease(&server).await;
        scene.learned().await;
        let mut counts = [0; 3];
        for (n, kind) in ["tools", "prompts", "resources"].into_iter().enumerate() {
            text(&lease, "grow", json!({"kind": kind, "by": n + 1})).await;
            let learned = scene.learned().await;
            counts[n] = n + 1;
            let grown = names(&learned).iter().filter(|name| name.starts_with("grown")).count();
            assert_eq!([grown, learned.prompts.len() - 2, learned.resources.len() - 2], counts, "{era} {kind}");
        }
        if era == "stateless" {
            let filters = subscriptions(&lease).await;
            assert_eq!(filters, json!([{"toolsListChanged": true, "promptsListChanged": true, "resourcesListChanged": true}]));
        }
        drop(lease);
        scene.end().await;
    }
}

#[tokio::test]
async fn a_listen_that_the_server_ends_is_opened_again_and_the_lists_fetched() {
    let mut scene = one("full --era stateless", json!({}));
    let server = scene.server("s");
    let lease = lease(&server).await;
    scene.learned().await;
    for _ in 0..2 {
        text(&lease, "end_listens", json!({})).await;
        scene.learned().await;
        assert_eq!(subscriptions(&lease).await.as_array().unwrap().len(), 1);
        text(&lease, "grow", json!({})).await;
        scene.learned().await;
    }
    // Its listen keeps nobody from seeing that it is idle.
    assert_eq!(server.status().in_flight, 0);
    drop(lease);
    scene.end().await;
}

#[tokio::test]
async fn a_server_without_listens_is_used_all_the_same() {
    let mut scene = one("full --era stateless --no-listen 1", json!({"pool": {"idle_stop": 1}}));
    let server = scene.server("s");
    assert_eq!(call(&server, "echo", json!({"text": "x"})).await, "x");
    scene.learned().await;
    let error = server.subscribe(&principal("p"), "file:///r0").await.unwrap_err();
    assert_eq!(error.reason, Reason::Refused);
    scene.happens(ServerPhase::Stopped).await;
    scene.end().await;
}

#[tokio::test]
async fn a_resource_is_watched_as_long_as_anybody_does() {
    for era in ERAS {
        let mut scene = one(&format!("full --era {era}"), json!({}));
        let server = scene.server("s");
        let watch = |uri: &'static str| {
            let server = Arc::clone(&server);
            async move { server.subscribe(&principal("p"), uri).await.unwrap() }
        };
        let lease = lease(&server).await;
        let first: Subscription = watch("file:///r0").await;
        let second = watch("file:///r0").await;
        let other = watch("file:///r1").await;
        subscribed(&lease, &["file:///r0", "file:///r1"]).await;
        for uri in ["file:///r1", "file:///unwatched", "file:///r0"] {
            text(&lease, "touch_resource", json!({"uri": uri})).await;
        }
        let whose = Whose::Principal("p".into());
        assert_eq!(scene.updated().await, (whose.clone(), "file:///r1".into()), "{era}");
        assert_eq!(scene.updated().await, (whose.clone(), "file:///r0".into()), "{era}");
        drop(first);
        drop(other);
        subscribed(&lease, &["file:///r0"]).await;
        // The lists are told of as before.
        text(&lease, "grow", json!({})).await;
        while !names(&scene.learned().await).contains(&"grown0".to_owned()) {}
        drop(second);
        subscribed(&lease, &[]).await;
        drop(lease);
        scene.end().await;
    }
}

#[tokio::test]
async fn a_resource_is_watched_again_after_a_crash_or_a_restart() {
    for era in ERAS {
        let mut scene = one(&format!("full --era {era}"), json!({"restart": {"wait": 0.01}}));
        let server = scene.server("s");
        let _watched = server.subscribe(&principal("p"), "file:///r0").await.unwrap();
        drop(last(&mut open(&lease(&server).await, "crash", json!({}))).await.unwrap_err());
        scene.happens(ServerPhase::Failed).await;
        subscribed(&lease(&server).await, &["file:///r0"]).await;
        server.stop(false).await;
        assert_eq!(server.status().state, State::Stopped);
        server.start().await.unwrap();
        let lease = lease(&server).await;
        subscribed(&lease, &["file:///r0"]).await;
        text(&lease, "touch_resource", json!({"uri": "file:///r0"})).await;
        assert_eq!(scene.updated().await.1, "file:///r0");
        drop(lease);
        scene.end().await;
    }
}

#[tokio::test]
async fn what_cannot_be_watched_is_refused_with_the_reason() {
    for era in ERAS {
        let scene = one(&format!("full --era {era} --no-subscribe 1"), json!({}));
        let error = scene.server("s").subscribe(&principal("p"), "file:///r0").await.unwrap_err();
        assert_eq!(error.reason, Reason::Unsupported, "{era}");
        scene.end().await;
    }
}

#[tokio::test]
async fn a_server_logs_as_much_as_was_asked_of_its_connection() {
    let mut scene = one("full --era handshake", json!({}));
    let server = scene.server("s");
    let lease = lease(&server).await;
    lease.set_level(Level::Warning);
    lease.set_level(Level::Error);
    assert_eq!(text(&lease, "log_level", json!({})).await, "warning");
    lease.set_level(Level::Info);
    assert_eq!(text(&lease, "log_level", json!({})).await, "info");
    let params = json!({"name": "log", "arguments": {"level": "info", "data": "hello"}});
    let opening = Opening { notes: true, ..Opening::default() };
    let line = |wire: mcp_hub::mux::WireId| {
        Bytes::from(format!("{}\n", json!({"jsonrpc": "2.0", "id": wire.as_u64(), "method": "tools/call", "params": params})))
    };
    let mut exchange = lease.open(&opening, line).unwrap();
    let Event::Note(note) = tokio::time::timeout(PATIENCE, exchange.next()).await.unwrap() else { panic!("a note") };
    assert_eq!(serde_json::from_slice::<Value>(note.bytes()).unwrap()["params"]["data"], "hello");
    last(&mut exchange).await.unwrap();
    // Who takes no notes leaves them to the connection.
    text(&lease, "log", json!({"level": "error"})).await;
    let news = tokio::time::timeout(PATIENCE, scene.news.recv()).await.unwrap().unwrap();
    assert!(matches!((&news.what, &news.whose), (What::Log(_), Whose::Principal(_))), "{news:?}");
    drop(lease);
    scene.end().await;
}

#[tokio::test]
async fn the_level_of_a_session_holds_for_its_connection_now_and_at_its_next_start() {
    let scene = Setup::default()
        .server("own", "full --era handshake", json!({"pool": {"scope": "session"}}))
        .server("shared", "full --era handshake", json!({"pool": {"scope": "shared"}}))
        .run();
    let (one, other) = (session("p", "s1"), session("p", "s2"));
    for (name, levels) in [("own", ["critical", "none"]), ("shared", ["info", "info"])] {
        let server = scene.server(name);
        server.log_level(&one, Level::Info);
        let before = server.lease(&one).await.unwrap();
        assert_eq!(text(&before, "log_level", json!({})).await, "info", "{name}");
        server.log_level(&one, Level::Critical);
        assert_eq!(text(&before, "log_level", json!({})).await, levels[0], "{name}");
        let after = server.lease(&other).await.unwrap();
        assert_eq!(text(&after, "log_level", json!({})).await, levels[1], "{name}");
    }
    scene.end().await;
}

#[tokio::test]
async fn changed_tools_are_learned_again_a_burst_of_changes_once() {
    let mut scene = one("changes --era handshake", json!({}));
    let server = scene.server("s");
    let lease = lease(&server).await;
    let first = scene.learned().await.tools.len();
    // Four announcements right after the handshake.
    scene.learned().await;
    assert!(scene.learned.try_recv().is_err());
    for _ in 0..3 {
        text(&lease, "grow", json!({})).await;
    }
    let mut learned = scene.learned().await;
    while learned.tools.len() < first + 3 {
        learned = scene.learned().await;
    }
    assert_eq!(names(&learned).last().map(String::as_str), Some("grown2"));
    server.refresh().await.unwrap();
    assert_eq!(scene.learned().await.tools.len(), first + 3);
    scene.end().await;
}

#[tokio::test]
async fn a_server_without_tools_is_learned_to_have_none_and_one_whose_pages_never_end_is_cut() {
    let mut scene = one("echo --no-tools 1", json!({}));
    call(&scene.server("s"), "echo", json!({})).await;
    assert!(scene.learned().await.tools.is_empty());
    scene.end().await;
    let mut scene = one("echo --loop-cursor 1 --tools 1", json!({}));
    scene.server("s").refresh().await.unwrap();
    let names = names(&scene.learned().await);
    assert_eq!(names.iter().filter(|name| *name == "tool0").count(), 2, "until the cursor comes back");
    scene.end().await;
}
