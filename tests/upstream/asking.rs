//! Servers that ask: who is asked, through which instance, and who else does not notice.

use std::{collections::HashSet, sync::Arc};

use bytes::Bytes;
use mcp_hub::{
    protocol::{Version, capability::Profile},
    upstream::{Event, Exchange, Lease, News, Opening, Question, Sharer, What, Whose},
};
use serde_json::{Value, json};

use crate::scene::*;

const ALL: Profile = Profile::FORM.with(Profile::URL).with(Profile::SAMPLING).with(Profile::ROOTS);
const HANDSHAKE: &str = "full --era handshake";

fn stateless(principal: &str, profile: Profile) -> Sharer {
    Sharer { principal: principal.into(), session: None, profile }
}

fn of_session(session: &str, profile: Profile) -> Sharer {
    Sharer { principal: "p".into(), session: Some(session.into()), profile }
}

fn ask(lease: &Lease, tool: &str, arguments: Value) -> Exchange {
    let params = json!({"name": tool, "arguments": arguments});
    let opening = Opening { asks: true, ..Opening::default() };
    let line = |wire: mcp_hub::mux::WireId| {
        Bytes::from(format!("{}\n", json!({"jsonrpc": "2.0", "id": wire.as_u64(), "method": "tools/call", "params": params})))
    };
    lease.open(&opening, line).unwrap()
}

async fn next(exchange: &mut Exchange) -> Event {
    tokio::time::timeout(PATIENCE, exchange.next()).await.expect("an event")
}

async fn question(exchange: &mut Exchange) -> Question {
    match next(exchange).await {
        Event::Question(question) => question,
        other => panic!("{other:?}"),
    }
}

fn params(question: &Question) -> Value {
    serde_json::from_slice::<Value>(question.message().bytes()).unwrap()["params"].clone()
}

fn answer(question: Question, result: Value) {
    let id = question.id();
    question.answer(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#).into());
}

/// The text that a tool answered, read as JSON.
async fn said(exchange: &mut Exchange) -> Value {
    let answer = last(exchange).await.unwrap();
    let text = answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}"));
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

impl Scene {
    async fn news(&mut self) -> News {
        tokio::time::timeout(PATIENCE, self.news.recv()).await.expect("news").unwrap()
    }
}

#[tokio::test]
async fn whatever_a_server_asks_reaches_the_caller_and_the_reply_the_server() {
    let scene = one(HANDSHAKE, json!({}));
    let server = scene.server("s");
    let lease = server.lease(&stateless("p", ALL)).await.unwrap();
    assert_eq!(lease.profile(), ALL);
    let capabilities: Value = serde_json::from_slice(lease.capabilities()).unwrap();
    assert_eq!(capabilities["resources"]["subscribe"], true);
    for (tool, method) in [
        ("ask_form", "elicitation/create"),
        ("ask_url", "elicitation/create"),
        ("ask_sampling", "sampling/createMessage"),
        ("ask_roots", "roots/list"),
    ] {
        let mut exchange = ask(&lease, tool, json!({}));
        let question = question(&mut exchange).await;
        assert_eq!(question.message().method().as_str(), method, "{tool}");
        answer(question, json!({"of": tool}));
        assert_eq!(said(&mut exchange).await, json!({"of": tool}));
    }
    let mut two = ask(&lease, "ask_two", json!({}));
    let (first, second) = (question(&mut two).await, question(&mut two).await);
    assert_eq!((&params(&first)["message"], &params(&second)["message"]), (&json!("first?"), &json!("second?")));
    answer(second, json!({"n": 2}));
    answer(first, json!({"n": 1}));
    assert_eq!(said(&mut two).await, json!([{"n": 1}, {"n": 2}]));
    let mut again = ask(&lease, "ask_again", json!({}));
    answer(question(&mut again).await, json!({"n": 1}));
    drop(question(&mut again).await);
    let replies = said(&mut again).await;
    assert_eq!((&replies[0], &replies[1]["code"]), (&json!({"n": 1}), &json!(-32603)));
    let mut withdrawn = ask(&lease, "ask_withdrawn", json!({}));
    assert_eq!(said(&mut withdrawn).await, "withdrawn");
    drop(lease);
    scene.end().await;
}

#[tokio::test]
async fn each_caller_has_an_instance_that_was_told_what_it_can_do() {
    let scene = Setup::default()
        .server("s", HANDSHAKE, json!({}))
        .server("shared", HANDSHAKE, json!({"pool": {"scope": "shared"}}))
        .server("never", HANDSHAKE, json!({"interactive": "never"}))
        .server("always", HANDSHAKE, json!({"interactive": "always", "pool": {"scope": "shared"}}))
        .server("call", HANDSHAKE, json!({"interactive": "always", "pool": {"scope": "call"}}))
        .run();
    let form = Profile::FORM.with(Profile::UI);
    let ui = Profile::UI;
    let callers = [
        stateless("p", Profile::BARE),
        stateless("p", form),
        stateless("q", form),
        of_session("s1", form),
        of_session("s2", form),
        of_session("s2", Profile::ROOTS),
    ];
    let r = Profile::ROOTS;
    for (name, told, pids) in [
        ("s", [Profile::BARE, form, form, form, form, r], 6),
        ("shared", [Profile::BARE, ui, ui, ui, ui, Profile::BARE], 2),
        ("never", [Profile::BARE, ui, ui, ui, ui, Profile::BARE], 3),
        ("always", [Profile::BARE, form, form, form, form, r], 6),
        ("call", [Profile::BARE, form, form, form, form, r], 6),
    ] {
        let server = scene.server(name);
        let mut seen = HashSet::new();
        for (caller, told) in callers.iter().zip(told) {
            let lease = server.lease(caller).await.unwrap();
            assert_eq!(lease.profile(), told, "{name} {caller:?}");
            let declared: Value = serde_json::from_str(&text(&lease, "declared", json!({})).await).unwrap();
            assert_eq!(declared, serde_json::from_str::<Value>(&told.declare(lease.version())).unwrap(), "{name}");
            let pid = pid(&lease).await;
            drop(lease);
            if name != "call" {
                let again = server.lease(caller).await.unwrap();
                assert_eq!(self::pid(&again).await, pid, "{name}");
            }
            seen.insert(pid);
        }
        assert_eq!(seen.len(), pids, "{name}");
    }
    scene.end().await;
}

#[tokio::test]
async fn configured_roots_are_told_where_the_caller_has_none_of_its_own() {
    let roots = ["file:///home/me/a", "file:///home/me/b%20c"];
    let scene = Setup::default()
        .server("s", HANDSHAKE, json!({"roots": roots}))
        .server("shared", HANDSHAKE, json!({"roots": roots, "pool": {"scope": "shared"}}))
        .run();
    let configured = json!({"roots": [{"uri": roots[0]}, {"uri": roots[1]}]});
    for (name, caller) in [
        ("shared", stateless("p", ALL)),
        ("s", stateless("p", Profile::BARE)),
        ("s", stateless("p", Profile::FORM)),
        ("s", of_session("s1", Profile::FORM)),
    ] {
        let lease = scene.server(name).lease(&caller).await.unwrap();
        assert_eq!(lease.profile(), if name == "s" { caller.profile } else { Profile::BARE }, "what can be asked is not more");
        let declared: Value = serde_json::from_str(&text(&lease, "declared", json!({})).await).unwrap();
        assert_eq!((&declared["roots"], declared.get("elicitation").is_some()), (&json!({}), lease.profile().can_be_asked()));
        let mut exchange = ask(&lease, "ask_roots", json!({}));
        assert_eq!(said(&mut exchange).await, configured, "{name} {caller:?}");
    }
    let lease = scene.server("s").lease(&stateless("p", ALL)).await.unwrap();
    let mut exchange = ask(&lease, "ask_roots", json!({}));
    answer(question(&mut exchange).await, json!({"roots": []}));
    assert_eq!(said(&mut exchange).await, json!({"roots": []}), "its own, though they are none");
    drop((lease, exchange));
    scene.end().await;
}

#[tokio::test]
async fn a_stateless_server_is_the_same_for_all_that_one_principal_can_do() {
    for known in [None, Some(Version::STATELESS), Some(Version::V2025_11_25)] {
        let setup = Setup { known, ..Setup::default() };
        let scene = setup.server("s", "full --era stateless", json!({})).run();
        let server = scene.server("s");
        let mut pids = HashSet::new();
        for caller in [of_session("s1", ALL), stateless("p", ALL), of_session("s2", Profile::BARE), stateless("p", Profile::FORM)] {
            let lease = server.lease(&caller).await.unwrap();
            assert_eq!(lease.profile(), Profile::BARE);
            pids.insert(pid(&lease).await);
        }
        assert_eq!(pids.len(), 1, "{known:?}");
        assert!(server.try_lease(&of_session("s3", ALL)).is_some());
        scene.end().await;
    }
}

#[tokio::test]
async fn callers_without_a_session_are_asked_on_instances_of_their_own_up_to_the_size_of_the_pool() {
    let scene = one(HANDSHAKE, json!({"pool": {"size": 2}}));
    let server = scene.server("s");
    let caller = stateless("p", Profile::FORM);
    let first = server.lease(&caller).await.unwrap();
    let second = server.lease(&caller).await.unwrap();
    let mut exchanges = [ask(&first, "ask_form", json!({"message": "a"})), ask(&second, "ask_form", json!({"message": "b"}))];
    for (exchange, message) in exchanges.iter_mut().zip(["a", "b"]) {
        let question = question(exchange).await;
        assert_eq!(params(&question)["message"], message);
        answer(question, json!({"to": message}));
    }
    assert_ne!(pid(&first).await, pid(&second).await);
    for (exchange, message) in exchanges.iter_mut().zip(["a", "b"]) {
        assert_eq!(said(exchange).await, json!({"to": message}));
    }
    drop(exchanges);
    // One more waits: it must not be asked what belongs to another, nor another what belongs to it.
    assert!(server.try_lease(&caller).is_none());
    let waiting = tokio::spawn({
        let (server, caller) = (Arc::clone(&server), caller.clone());
        async move { server.lease(&caller).await }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    let given_back = pid(&first).await;
    drop(first);
    let third = waiting.await.unwrap().unwrap();
    assert_eq!(pid(&third).await, given_back);
    assert_eq!(server.status().instances, 2);
    drop((second, third));
    scene.end().await;
}

#[tokio::test]
async fn whoever_waits_for_one_more_instance_takes_one_that_is_given_back() {
    // The second start never ends.
    let scene = one("silent-probe --era handshake", json!({"pool": {"size": 2}, "timeouts": {"start": 50}}));
    let server = scene.server("s");
    let caller = stateless("p", Profile::FORM);
    let first = server.lease(&caller).await.unwrap();
    let held = pid(&first).await;
    let waiting = tokio::spawn({
        let (server, caller) = (Arc::clone(&server), caller.clone());
        async move { server.lease(&caller).await.map(|lease| lease.profile()) }
    });
    tokio::task::yield_now().await;
    drop(first);
    assert_eq!(waiting.await.unwrap(), Ok(Profile::FORM));
    let lease = server.try_lease(&caller).unwrap();
    assert!(server.status().pids.contains(&held));
    drop(lease);
    scene.end().await;
}

#[tokio::test]
async fn sessions_never_see_each_others_questions() {
    const SESSIONS: usize = 6;
    let scene = one(HANDSHAKE, json!({}));
    let server = scene.server("s");
    let sessions: Vec<_> = (0..SESSIONS)
        .map(|n| {
            let server = Arc::clone(&server);
            tokio::spawn(async move {
                let caller = of_session(&format!("s{n}"), Profile::FORM);
                for round in 0..5 {
                    let lease = server.lease(&caller).await.unwrap();
                    let message = format!("{n}/{round}");
                    let mut exchange = ask(&lease, "ask_form", json!({"message": message}));
                    let question = question(&mut exchange).await;
                    assert_eq!(params(&question)["message"], message);
                    answer(question, json!({"to": message}));
                    assert_eq!(said(&mut exchange).await, json!({"to": message}));
                }
            })
        })
        .collect();
    for session in sessions {
        session.await.unwrap();
    }
    assert_eq!(server.status().instances, SESSIONS);
    scene.fleet.forget_session("s0");
    while server.status().instances == SESSIONS {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.status().instances, SESSIONS - 1);
    scene.end().await;
}

#[tokio::test]
async fn a_session_is_asked_outside_calls_and_a_principal_is_not() {
    let mut scene = one("full roots-first --era handshake", json!({}));
    let server = scene.server("s");
    let lease = server.lease(&of_session("s1", Profile::ROOTS)).await.unwrap();
    let said = scene.news().await;
    assert_eq!((said.server, said.whose), (id("s"), Whose::Session("s1".into())));
    let What::Question(question) = said.what else { panic!("{:?}", said.what) };
    assert_eq!(question.message().method().as_str(), "roots/list");
    answer(question, json!({"roots": [{"uri": "file:///home"}]}));
    assert_eq!(text(&lease, "told", json!({})).await, r#"{"roots":[{"uri":"file:///home"}]}"#);
    // A plain call is no call that may be asked.
    assert_eq!(text(&lease, "ask_outside", json!({"method": "sampling/createMessage"})).await, "asked");
    let What::Question(question) = scene.news().await.what else { panic!("a question") };
    drop(question);
    assert!(text(&lease, "told", json!({})).await.contains("-32603"));
    for caller in [stateless("p", Profile::ROOTS), of_session("s2", Profile::BARE)] {
        let lease = server.lease(&caller).await.unwrap();
        assert!(text(&lease, "told", json!({})).await.contains("-32601"), "{caller:?}");
    }
    assert!(scene.news.try_recv().is_err());
    drop(lease);
    scene.end().await;
}

#[tokio::test]
async fn what_is_listed_to_those_who_can_be_asked_is_learned_for_them() {
    let mut scene = one("full by-profile --era handshake", json!({}));
    let server = scene.server("s");
    server.know().await.unwrap();
    let learned = scene.learned().await;
    assert_eq!(learned.profile, Profile::BARE);
    assert!(!names(&learned).iter().any(|name| name.starts_with("ask_form")), "{:?}", names(&learned));
    let form = Profile::FORM;
    let _first = server.lease(&of_session("s1", form)).await.unwrap();
    let learned = scene.learned().await;
    assert_eq!(learned.profile, form);
    assert!(names(&learned).contains(&"ask_form".to_owned()) && !names(&learned).contains(&"ask_roots".to_owned()));
    // Another of the same kind lists the same.
    let _second = server.lease(&of_session("s2", form)).await.unwrap();
    let lease = server.lease(&of_session("s2", Profile::ROOTS)).await.unwrap();
    assert_eq!(scene.learned().await.profile, Profile::ROOTS);
    assert_eq!(text(&lease, "grow", json!({})).await, "grown");
    let learned = scene.learned().await;
    assert_eq!((learned.profile, names(&learned).contains(&"grown0".to_owned())), (Profile::ROOTS, true));
    server.refresh().await.unwrap();
    let mut profiles = [scene.learned().await.profile, scene.learned().await.profile, scene.learned().await.profile];
    profiles.sort();
    assert_eq!(profiles, [Profile::BARE, Profile::ROOTS, form]);
    drop(lease);
    scene.end().await;
}
