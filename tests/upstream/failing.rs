//! Servers that crash or do not start: who is told what, and when they are tried again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use mcp_hub::{
    observe::ServerPhase,
    protocol::code::Reason,
    upstream::{State, Usable},
};
use serde_json::json;

use crate::scene::*;

#[tokio::test]
async fn a_child_killed_with_calls_in_flight_fails_each_once_and_comes_back() {
    const CALLS: usize = 1000;
    let setup = Setup::default().server("killed", "echo", json!({"pool": {"scope": "shared", "size": 1}}));
    let mut scene = setup.server("other", "echo", json!({})).run();
    let (killed, other) = (scene.server("killed"), scene.server("other"));
    let lease = lease(&killed).await;
    let group = pid(&lease).await;
    call(&other, "echo", json!({"text": "up"})).await;
    let mut exchanges: Vec<_> = (0..CALLS).map(|_| open(&lease, "never", json!({}))).collect();
    // Everything was read when this is answered.
    text(&lease, "echo", json!({})).await;
    let elsewhere = tokio::spawn({
        let other = Arc::clone(&other);
        async move {
            for _ in 0..200 {
                assert_eq!(call(&other, "echo", json!({"text": "never noticed"})).await, "never noticed");
            }
        }
    });
    let dead = Instant::now();
    kill(group);
    for exchange in &mut exchanges {
        assert_eq!(last(exchange).await.unwrap_err().reason, Reason::ServerExited);
    }
    let failed = dead.elapsed();
    while killed.status().state != State::Running {
        scene.happens(ServerPhase::Started).await;
    }
    // On a quiet machine: failed within 20 ms, back within 150 ms. Other tests keep this one busy.
    assert!(failed < Duration::from_secs(1) && dead.elapsed() < Duration::from_secs(5), "{failed:?}, {:?}", dead.elapsed());
    assert_ne!(pid(&self::lease(&killed).await).await, group);
    assert_eq!(open_with(&lease, "echo", json!({}), false).unwrap_err().reason, Reason::Crashed);
    let status = killed.status();
    assert_eq!((status.state, status.restart_count, status.error), (State::Running, 1, None));
    assert_eq!(status.last_error.as_deref(), Some("was killed by SIGKILL"));
    elsewhere.await.unwrap();
    scene.end().await;
}

#[tokio::test]
async fn a_server_that_keeps_crashing_during_calls_is_spared_by_its_back_off() {
    let mut scene = one("echo", json!({}));
    let server = scene.server("s");
    let caller = principal("p");
    for _ in 0..5 {
        // The first waits are short enough to be waited for.
        let lease = lease(&server).await;
        assert_eq!(last(&mut open(&lease, "crash", json!({"status": 1}))).await.unwrap_err().reason, Reason::ServerExited);
    }
    let refused = server.lease(&caller).now_or_never().expect("an answer at once").unwrap_err();
    assert_eq!((refused.reason, refused.to_string().as_str()), (Reason::Crashed, "server 's' failed and will be tried again soon"));
    assert!(refused.retry_after_ms.is_some_and(|wait| (1000..2000).contains(&wait)), "{refused:?}");
    assert!(server.try_lease(&caller).is_none());
    // It is tried again by itself.
    while server.status().state != State::Running {
        scene.happens(ServerPhase::Started).await;
    }
    assert_eq!(call(&server, "echo", json!({"text": "back"})).await, "back");
    assert_eq!(server.status().restart_count, 5);
    // It has not proved itself yet.
    assert_eq!(last(&mut open(&lease(&server).await, "crash", json!({"status": 1}))).await.unwrap_err().reason, Reason::ServerExited);
    let refused = server.lease(&caller).now_or_never().expect("an answer at once").unwrap_err();
    assert!(refused.retry_after_ms.is_some_and(|wait| wait > 2000), "{refused:?}");
    scene.end().await;
}

#[tokio::test]
async fn a_start_that_fails_is_told_to_who_waits_and_tried_again_no_sooner_than_the_back_off_says() {
    let mut scene = one("exit-at-start", json!({"restart": {"wait": 30}}));
    let server = scene.server("s");
    let (one, two) = (principal("p"), principal("p"));
    let (first, second) = tokio::join!(server.lease(&one), server.lease(&two));
    for refused in [first.unwrap_err(), second.unwrap_err()] {
        assert_eq!(refused.reason, Reason::StartFailed);
        assert_eq!(refused.to_string(), "server 's' did not start: exited (status 3) during the handshake: exit-at-start");
        assert!(refused.retry_after_ms.is_some_and(|millis| millis > 20_000));
    }
    scene.happens(ServerPhase::Failed).await;
    let start = Instant::now();
    let refused = server.lease(&one).await.unwrap_err();
    assert_eq!(refused.reason, Reason::StartFailed);
    assert!(refused.retry_after_ms.is_some_and(|millis| millis > 20_000));
    assert!(start.elapsed() < Duration::from_secs(5));
    let status = server.status();
    assert_eq!((status.state, status.usable), (State::Crashed, Usable::Disconnected));
    assert_eq!(status.error.as_deref(), Some("exited (status 3) during the handshake: exit-at-start"));
    // By request: at once.
    assert_eq!(server.start().await.unwrap_err().reason, Reason::StartFailed);
    scene.end().await;
}

#[tokio::test]
async fn a_boot_server_that_fails_is_tried_again_until_its_retries_are_used_up() {
    let restart = json!({"wait": 0.01, "wait_max": 0.02, "max_retries": 3});
    let mut scene = one("exit-at-start", json!({"start": "boot", "restart": restart}));
    scene.fleet.boot().await;
    let server = scene.server("s");
    for _ in 0..4 {
        scene.happens(ServerPhase::Failed).await;
    }
    let status = server.status();
    assert_eq!((status.state, status.usable, status.retry), (State::Crashed, Usable::Disconnected, None));
    assert_eq!(status.restart_count, 3);
    scene.end().await;
}

#[tokio::test]
async fn while_it_waits_to_try_again_a_server_says_when() {
    let mut scene = one("exit-at-start", json!({"start": "boot", "restart": {"wait": 20}}));
    scene.fleet.boot().await;
    scene.happens(ServerPhase::Failed).await;
    let server = scene.server("s");
    let status = server.status();
    assert_eq!((status.state, status.usable), (State::Crashed, Usable::Connecting));
    assert_eq!(status.retry.map(|(attempts, _)| attempts), Some(1));
    assert!(server.lease(&principal("p")).await.unwrap_err().retry_after_ms.is_some_and(|millis| millis > 10_000));
    scene.end().await;
}

#[tokio::test]
async fn a_server_that_gives_no_sign_of_life_is_started_anew_and_one_that_does_stays() {
    for era in ["handshake", "stateless"] {
        let fields = json!({"keepalive": 0.2, "timeouts": {"stop": 0.2}, "restart": {"wait": 0.01}});
        let mut scene = one(&format!("echo --era {era}"), fields);
        let server = scene.server("s");
        let lease = lease(&server).await;
        let first = pid(&lease).await;
        let mut held = open(&lease, "never", json!({}));
        text(&lease, "deaf", json!({})).await;
        scene.happens(ServerPhase::Failed).await;
        let error = last(&mut held).await.unwrap_err();
        assert_eq!((error.reason, server.status().last_error), (Reason::ServerExited, Some("gave no sign of life for 0.2 s".into())));
        drop((lease, held));
        let lease = self::lease(&server).await;
        assert_ne!(pid(&lease).await, first, "{era}");
        drop(lease);
        scene.end().await;
    }
}

#[tokio::test]
async fn a_server_that_cannot_be_run_says_why() {
    let command = json!({"command": "/no/such/program"});
    let scene = one("", command);
    let server = scene.server("s");
    assert_eq!(server.lease(&principal("p")).await.unwrap_err().reason, Reason::StartFailed);
    assert!(server.status().last_error.unwrap().starts_with("cannot be run: '/no/such/program': "));
    let scene = one("${NO_SUCH_VARIABLE}", json!({}));
    let server = scene.server("s");
    assert!(server.lease(&principal("p")).await.is_err());
    assert!(server.status().last_error.unwrap().contains("NO_SUCH_VARIABLE"));
}
