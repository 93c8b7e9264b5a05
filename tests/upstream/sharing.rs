//! Who shares an instance, how many there are and how long they stay.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::Path,
    sync::Arc,
};

use futures_util::FutureExt;
use mcp_hub::{
    limits::Limits,
    name::TenantId,
    observe::ServerPhase,
    protocol::{Version, code::Reason},
    upstream::{State, Usable},
};
use serde_json::{Map, Value, json};

use crate::scene::*;

#[tokio::test]
async fn scopes_decide_who_shares_an_instance() {
    let callers = [principal("a"), principal("b"), session("a", "1"), session("a", "2"), session("b", "3"), principal("a")];
    let cases = [
        ("shared", [0, 0, 0, 0, 0, 0]),
        ("user", [0, 1, 0, 0, 1, 0]),
        // Without a session a client counts as its user.
        ("session", [0, 1, 2, 3, 4, 0]),
        ("call", [0, 1, 2, 3, 4, 5]),
    ];
    for (scope, expected) in cases {
        let scene = one("echo", json!({"pool": {"scope": scope}}));
        let server = scene.server("s");
        let mut seen = HashMap::new();
        let mut instances = Vec::new();
        for caller in &callers {
            let lease = server.lease(caller).await.unwrap();
            let next = seen.len();
            instances.push(*seen.entry(pid(&lease).await).or_insert(next));
        }
        assert_eq!(instances, expected, "{scope}");
        scene.end().await;
    }
}

#[tokio::test]
async fn an_instance_for_one_call_is_gone_after_it_and_counts_against_its_principal() {
    let mut scene = one("echo", json!({"pool": {"scope": "call", "size": 2}}));
    let server = scene.server("s");
    let (one, two) = (lease(&server).await, lease(&server).await);
    let groups = [pid(&one).await, pid(&two).await];
    let other = server.lease(&principal("q")).await.unwrap();
    let third = tokio::spawn({
        let server = Arc::clone(&server);
        async move { pid(&lease(&server).await).await }
    });
    assert!(!third.is_finished());
    // The call outlives the lease that opened it.
    let mut exchange = open(&one, "slow", json!({"ms": 50}));
    drop(one);
    last(&mut exchange).await.unwrap();
    let third = tokio::time::timeout(PATIENCE, third).await.unwrap().unwrap();
    assert!(!groups.contains(&third));
    assert_eq!(members(groups[0]), NOBODY);
    drop((two, other));
    while server.status().instances > 0 {
        scene.happens(ServerPhase::Stopped).await;
    }
    assert_eq!(server.status().state, State::Stopped);
    scene.end().await;
}

#[tokio::test]
async fn a_pool_grows_only_when_the_least_used_is_full_and_no_further_than_its_size() {
    let setup = Setup { limits: Limits { queue: 2, ..Limits::default() }, ..Setup::default() };
    let scene = setup.server("s", "echo", json!({"pool": {"scope": "shared", "size": 2}})).run();
    let server = scene.server("s");
    let mut held = Vec::new();
    let mut groups = HashSet::new();
    // Listing takes a place too.
    server.refresh().await.unwrap();
    for expected in [1, 1, 2, 2, 2] {
        let lease = lease(&server).await;
        if held.len() < 4 {
            held.push(open(&lease, "slow", json!({"ms": 100_000})));
        } else {
            assert_eq!(open_with(&lease, "echo", json!({}), false).unwrap_err().reason, Reason::Busy);
        }
        groups.extend(server.status().pids);
        assert_eq!(groups.len(), expected);
    }
    drop(held);
    scene.end().await;
}

#[tokio::test]
async fn callers_that_come_together_share_one_start() {
    let scene = one("echo", json!({"pool": {"scope": "shared"}}));
    let server = scene.server("s");
    scene.fleet.learn(&TenantId::default_tenant());
    let callers: Vec<_> = (0..50)
        .map(|caller| {
            let server = Arc::clone(&server);
            tokio::spawn(async move { pid(&lease_of(&server, caller).await).await })
        })
        .collect();
    let mut groups = HashSet::new();
    for caller in callers {
        groups.insert(caller.await.unwrap());
    }
    assert_eq!((groups.len(), server.status().instances), (1, 1));
    scene.end().await;
}

#[tokio::test]
async fn who_comes_first_takes_the_instance_that_was_started_for_nobody() {
    let mut scene = one("echo", json!({"start": "boot"}));
    scene.fleet.boot().await;
    let server = scene.server("s");
    scene.learned().await;
    let group = server.status().pids[0];
    assert_eq!(pid(&server.lease(&principal("a")).await.unwrap()).await, group);
    assert_ne!(pid(&server.lease(&principal("b")).await.unwrap()).await, group);
    assert!(server.try_lease(&principal("a")).is_some());
    assert!(server.try_lease(&principal("c")).is_none());
    scene.end().await;
}

#[tokio::test]
async fn spares_are_kept_ready() {
    let mut scene = one("echo", json!({"pool": {"spare": 2}}));
    let server = scene.server("s");
    let first = pid(&lease(&server).await).await;
    while server.status().instances < 3 {
        scene.happens(ServerPhase::Started).await;
    }
    let spares: HashSet<_> = server.status().pids.into_iter().filter(|pid| *pid != first).collect();
    let second = pid(&server.lease(&principal("q")).await.unwrap()).await;
    assert!(spares.contains(&second));
    while server.status().instances < 4 {
        scene.happens(ServerPhase::Started).await;
    }
    scene.end().await;
}

#[tokio::test]
async fn an_unused_instance_is_stopped_and_a_used_one_is_not() {
    let mut scene = one("echo", json!({"pool": {"idle_stop": 0.2}}));
    let server = scene.server("s");
    let lease = lease(&server).await;
    let mut exchange = open(&lease, "slow", json!({"ms": 1000}));
    drop(lease);
    last(&mut exchange).await.unwrap();
    assert_eq!(server.status().state, State::Running);
    scene.happens(ServerPhase::Stopped).await;
    let status = server.status();
    assert_eq!((status.state, status.usable, status.error), (State::Stopped, Usable::Connected, None));
    assert_eq!(call(&server, "echo", json!({"text": "again"})).await, "again");
    scene.end().await;
}

/// A server of which every process is one caller's, and a file to which each of its processes writes its id.
fn counted(dir: &Path, idle_stop: &Value) -> (Scene, impl Fn() -> Vec<u32> + use<>) {
    let starts = dir.join("starts");
    let line = format!("echo $$ >> {}; exec {}", starts.display(), scripted().display());
    let mut setup = Setup { known: Some(Version::STATELESS), ..Setup::default() };
    let entry = json!({"command": "sh", "args": ["-c", line], "pool": {"scope": "call", "size": 2, "idle_stop": idle_stop}});
    setup.servers.insert("s".into(), entry);
    let started = move || fs::read_to_string(&starts).unwrap_or_default().lines().map(|pid| pid.parse().unwrap()).collect();
    (setup.run(), started)
}

#[tokio::test]
async fn starts_for_callers_who_left_make_no_room_for_more() {
    let dir = tempfile::tempdir().unwrap();
    let (scene, started) = counted(dir.path(), &json!(null));
    let server = scene.server("s");
    // Each begins a start, if it has a place, and leaves; nothing comes up meanwhile.
    for _ in 0..5 {
        let caller = principal("p");
        assert!(server.lease(&caller).now_or_never().is_none());
    }
    let (first, second) = (principal("p"), principal("p"));
    let (one, two) = tokio::join!(server.lease(&first), server.lease(&second));
    let mut groups = vec![pid(&one.unwrap()).await, pid(&two.unwrap()).await];
    let mut all: Vec<u32> = started();
    groups.sort_unstable();
    all.sort_unstable();
    assert_eq!(all, groups, "those who come next take what was started");
    scene.end().await;
}

#[tokio::test]
async fn nothing_stays_of_a_start_whose_caller_left() {
    let dir = tempfile::tempdir().unwrap();
    let (mut scene, started) = counted(dir.path(), &json!(0.1));
    let server = scene.server("s");
    let caller = tokio::spawn({
        let server = Arc::clone(&server);
        async move { lease(&server).await }
    });
    while started().is_empty() {
        tokio::task::yield_now().await;
    }
    caller.abort();
    while server.status().state != State::Stopped {
        scene.happens(ServerPhase::Stopped).await;
    }
    for group in started() {
        while !members(group).is_empty() {
            tokio::task::yield_now().await;
        }
    }
    scene.end().await;
}

#[tokio::test]
async fn the_instances_of_a_session_that_is_over_are_stopped() {
    let mut scene = one("echo", json!({"pool": {"scope": "session", "idle_stop": null}}));
    let server = scene.server("s");
    let group = pid(&server.lease(&session("a", "1")).await.unwrap()).await;
    let kept = pid(&server.lease(&session("a", "2")).await.unwrap()).await;
    scene.fleet.forget_session("1");
    while server.status().instances > 1 {
        scene.happens(ServerPhase::Stopped).await;
    }
    assert_eq!(server.status().pids, [kept]);
    assert_ne!(pid(&server.lease(&session("a", "1")).await.unwrap()).await, group);
    scene.end().await;
}

#[tokio::test]
async fn an_instance_on_its_way_to_a_session_that_is_over_does_not_stay() {
    // One start at a time: when the second session has its instance, the first one's start has come to its end.
    let setup = Setup { top: Map::from_iter([("orchestrator".to_owned(), json!({"parallel_starts": 1}))]), ..Setup::default() };
    let scene = setup.server("s", "", json!({"pool": {"scope": "session"}})).run();
    let server = scene.server("s");
    let (gone, here) = (session("p", "gone"), session("p", "here"));
    tokio::select! {
        biased;
        _ = server.lease(&gone) => panic!("a start takes longer than one look"),
        () = std::future::ready(()) => {}
    }
    scene.fleet.forget_session("gone");
    let lease = server.lease(&here).await.unwrap();
    assert_eq!(text(&lease, "echo", json!({"text": "x"})).await, "x");
    assert_eq!(server.status().instances, 1);
    drop(lease);
    scene.end().await;
}
