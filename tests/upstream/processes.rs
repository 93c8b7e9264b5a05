//! Processes: how they end, what they leave, what they see.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use mcp_hub::{
    observe::ServerPhase,
    protocol::code::Reason,
    upstream::{State, Usable},
};
use serde_json::json;

use crate::scene::*;

#[tokio::test]
async fn a_server_that_never_reads_fails_its_start_in_time_and_leaves_nothing() {
    let scene = one("deaf", json!({"timeouts": {"start": 1, "stop": 1}, "restart": {"wait": 30}}));
    let server = scene.server("s");
    let start = Instant::now();
    let refused = server.lease(&principal("p")).await.unwrap_err();
    assert_eq!(refused.reason, Reason::StartFailed);
    assert!(start.elapsed() >= Duration::from_millis(900) && start.elapsed() < Duration::from_secs(20));
    let mut events = scene.events.resubscribe();
    if server.status().state == State::Starting {
        let _ = events.recv().await;
    }
    let status = server.status();
    assert_eq!((status.state, status.usable, status.instances), (State::Crashed, Usable::Disconnected, 0), "{status:?}");
    assert_eq!(status.last_error.as_deref(), Some("did not answer the handshake in time"));
    scene.end().await;
}

#[tokio::test]
async fn whatever_ignores_term_and_the_end_of_its_stdin_is_killed_in_time() {
    let scene = one("ignore-term", json!({"timeouts": {"stop": 1}}));
    let server = scene.server("s");
    let group = pid(&lease(&server).await).await;
    assert!(!members(group).is_empty());
    let start = Instant::now();
    server.stop(false).await;
    assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!(members(group), NOBODY);
    assert_eq!(server.status().state, State::Stopped);
    scene.end().await;
}

#[tokio::test]
async fn a_server_that_ends_with_its_stdin_is_not_kept_waiting() {
    let scene = one("echo", json!({}));
    let server = scene.server("s");
    let group = pid(&lease(&server).await).await;
    let start = Instant::now();
    server.stop(false).await;
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(members(group), NOBODY);
    scene.end().await;
}

#[tokio::test]
async fn grandchildren_end_with_the_server_however_it_ends() {
    let mut scene = one("echo", json!({}));
    let server = scene.server("s");
    for ending in ["stop", "crash", "kill"] {
        server.start().await.unwrap();
        let lease = lease(&server).await;
        let group = pid(&lease).await;
        let grandchild: u32 = text(&lease, "fork", json!({})).await.parse().unwrap();
        assert!(members(group).contains(&grandchild));
        match ending {
            "stop" => server.stop(false).await,
            "crash" => assert!(last(&mut open(&lease, "crash", json!({}))).await.is_err()),
            _ => kill(group),
        }
        if ending != "stop" {
            scene.happens(ServerPhase::Failed).await;
            // Whoever is stopped waits for what is left of those before.
            server.stop(false).await;
        }
        assert_eq!(members(group), NOBODY, "after {ending}");
    }
    scene.end().await;
}

#[tokio::test]
async fn a_child_sees_nothing_of_the_hubs_environment_but_what_it_is_given() {
    let scene = one("echo", json!({"env": {"OWN": "yes"}}));
    let lease = lease(&scene.server("s")).await;
    let vars: HashMap<String, String> = serde_json::from_str(&text(&lease, "env", json!({})).await).unwrap();
    assert_eq!(vars.get("OWN").map(String::as_str), Some("yes"));
    assert!(vars.contains_key("PATH") && !vars.contains_key("SECRET_OF_THE_HUB"), "{vars:?}");
    scene.end().await;
}

#[tokio::test]
async fn after_the_end_nothing_starts_and_a_second_end_does_not_wait() {
    let mut scene = one("ignore-term", json!({"timeouts": {"stop": 50}}));
    let server = scene.server("s");
    let lease = lease(&server).await;
    let group = pid(&lease).await;
    let ending = tokio::spawn({
        let fleet = Arc::clone(&scene.fleet);
        async move { fleet.shutdown().await }
    });
    scene.happens(ServerPhase::Stopping).await;
    assert_eq!(server.lease(&principal("p")).await.unwrap_err().reason, Reason::ShuttingDown);
    assert_eq!(server.start().await.unwrap_err().reason, Reason::ShuttingDown);
    let again = Instant::now();
    scene.fleet.shutdown().await;
    ending.await.unwrap();
    assert!(again.elapsed() < Duration::from_secs(10), "{:?}", again.elapsed());
    assert_eq!(members(group), NOBODY);
}

#[test]
fn a_runtime_that_goes_takes_its_children_along() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let scene = one("ignore-term", json!({}));
    let group = runtime.block_on(async { pid(&lease(&scene.server("s")).await).await });
    drop(runtime);
    let gone = (0..1000).any(|_| {
        std::thread::yield_now();
        members(group).is_empty()
    });
    assert!(gone);
}
