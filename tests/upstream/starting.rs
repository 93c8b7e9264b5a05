//! Starts and stops: by request, at need, in turn.

use std::{sync::Arc, time::Instant};

use mcp_hub::{
    limits::Limits,
    name::TenantId,
    observe::{Bus, ServerPhase},
    protocol::{Version, code::Reason},
    upstream::{Fleet, State, Usable},
};
use serde_json::{Map, json};

use crate::scene::*;

#[tokio::test]
async fn a_stop_by_request_holds_until_a_start_by_request() {
    let mut scene = one("echo", json!({"start": "demand"}));
    let server = scene.server("s");
    let group = pid(&lease(&server).await).await;
    scene.learned().await;
    server.stop(false).await;
    assert_eq!(members(group), NOBODY);
    let status = server.status();
    assert_eq!((status.state, status.usable), (State::Stopped, Usable::Disconnected));
    assert_eq!(server.lease(&principal("p")).await.unwrap_err().reason, Reason::Stopped);
    assert_eq!(server.refresh().await.unwrap_err().reason, Reason::Stopped);
    assert!(scene.fleet.learn(&TenantId::default_tenant()).is_empty());
    server.start().await.unwrap();
    server.start().await.unwrap();
    assert_eq!((server.status().state, server.status().instances), (State::Running, 1));
    server.stop(true).await;
    assert_eq!(server.status().usable, Usable::Disabled);
    assert_eq!(server.lease(&principal("p")).await.unwrap_err().reason, Reason::Disabled);
    server.start().await.unwrap();
    call(&server, "echo", json!({})).await;
    scene.end().await;
}

#[tokio::test]
async fn a_stop_fails_the_calls_under_way_once() {
    let scene = one("echo", json!({}));
    let server = scene.server("s");
    let lease = lease(&server).await;
    let mut exchange = open(&lease, "never", json!({}));
    let (failed, ()) = tokio::join!(last(&mut exchange), server.stop(false));
    assert_eq!(failed.unwrap_err().to_string(), "server 's' was stopped during the call");
    scene.end().await;
}

#[tokio::test]
async fn only_those_that_may_start_do() {
    let setup = Setup::default().server("manual", "echo", json!({"start": "manual"}));
    let scene = setup.server("off", "echo", json!({"enabled": false})).server("demand", "echo", json!({})).run();
    scene.fleet.boot().await;
    let learning: Vec<_> = scene.fleet.learn(&TenantId::default_tenant()).iter().map(|server| server.settings().id.clone()).collect();
    assert_eq!(learning, [id("demand")]);
    scene.server("demand").learnt().await;
    assert!(scene.fleet.learn(&TenantId::default_tenant()).is_empty());
    let (manual, off) = (scene.server("manual"), scene.server("off"));
    assert_eq!(manual.lease(&principal("p")).await.unwrap_err().reason, Reason::Stopped);
    assert_eq!(off.lease(&principal("p")).await.unwrap_err().reason, Reason::Disabled);
    assert_eq!(off.start().await.unwrap_err().reason, Reason::Disabled);
    assert_eq!((manual.status().usable, off.status().usable), (Usable::Disconnected, Usable::Disabled));
    manual.start().await.unwrap();
    call(&manual, "echo", json!({})).await;
    scene.end().await;
}

#[tokio::test]
async fn at_most_so_many_start_at_once() {
    for (parallel, least, most) in [(1, 1500, 60_000), (3, 500, 1400)] {
        let mut setup = Setup::default();
        setup.top.insert("startup".into(), json!({"parallel": parallel}));
        for name in ["a", "b", "c"] {
            // Silent for a quarter of the time to start: half a second each.
            setup = setup.server(name, "silent-probe", json!({"start": "boot", "timeouts": {"start": 2}}));
        }
        let dir = tempfile::tempdir().unwrap();
        let mut settings = setup.settings(&dir);
        settings.parallel_starts = parallel;
        let fleet = Fleet::new(&settings, Limits::default(), Bus::default(), Arc::new(drop), |_| None);
        let start = Instant::now();
        fleet.boot().await;
        let elapsed = start.elapsed().as_millis();
        assert!((least..most).contains(&elapsed), "{parallel}: {elapsed} ms");
        fleet.shutdown().await;
    }
}

#[tokio::test]
async fn servers_of_one_tenant_that_hang_at_their_start_do_not_keep_others_from_starting() {
    let mut setup = Setup::default().server("s", "", json!({}));
    let hanging = |_| json!({"command": scripted(), "args": ["deaf"], "timeouts": {"start": 600}});
    let servers: Map<_, _> = (0..4).map(|n| (format!("deaf{n}"), hanging(n))).collect();
    setup.top.insert("tenants".into(), json!({"hanging": {"servers": servers}}));
    setup.top.insert("orchestrator".into(), json!({"parallel_starts": 2}));
    let scene = setup.run();
    for server in scene.fleet.servers().into_iter().filter(|server| server.settings().id.tenant.as_str() == "hanging") {
        tokio::spawn(async move { server.start().await });
        // So that it is before the one below.
        tokio::task::yield_now().await;
    }
    assert_eq!(call(&scene.server("s"), "echo", json!({"text": "x"})).await, "x");
    scene.end().await;
}

#[tokio::test]
async fn a_server_that_cannot_be_learned_does_not_hold_up_lists_for_ever() {
    let scene = one("exit-at-start", json!({"restart": {"wait": 30}}));
    let tenant = TenantId::default_tenant();
    let learning = scene.fleet.learn(&tenant);
    assert_eq!(learning.len(), 1);
    tokio::time::timeout(PATIENCE, learning[0].learnt()).await.unwrap();
    assert!(scene.fleet.learn(&tenant).is_empty());
    scene.end().await;
}

#[tokio::test]
async fn a_server_that_fails_when_it_is_first_learned_is_tried_until_it_says_what_it_offers() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("up");
    let starts_late = json!({"command": "sh", "args": ["-c", "[ -e \"$0\" ] || exit 1; exec \"$1\"", file, scripted()]});
    let lists_late = json!({"args": ["--unlisted-until", file]});
    for (what, mut fields) in [("starts", starts_late), ("lists", lists_late)] {
        for scope in ["shared", "user", "session", "call"] {
            let _ = std::fs::remove_file(&file);
            fields["pool"] = json!({"scope": scope});
            fields["restart"] = json!({"wait": 0.01, "wait_max": 0.02});
            let mut scene = one("", fields.clone());
            let tenant = TenantId::default_tenant();
            let learning = scene.fleet.learn(&tenant);
            tokio::time::timeout(PATIENCE, learning[0].learnt()).await.unwrap();
            if what == "starts" {
                for _ in 0..5 {
                    scene.happens(ServerPhase::Failed).await;
                }
            }
            assert!(scene.fleet.learn(&tenant).is_empty() && !scene.server("s").is_known(), "{what} {scope}");
            std::fs::write(&file, "").unwrap();
            assert!(names(&scene.learned().await).contains(&"echo".to_owned()), "{what} {scope}");
            scene.end().await;
        }
    }
}

#[tokio::test]
async fn a_server_that_cannot_be_learned_yet_says_when_it_is_tried_again_and_tells_callers_why() {
    let mut scene = one("exit-at-start", json!({"restart": {"wait": 30}}));
    scene.fleet.learn(&TenantId::default_tenant());
    scene.happens(ServerPhase::Failed).await;
    let server = scene.server("s");
    let status = server.status();
    assert_eq!((status.state, status.usable), (State::Crashed, Usable::Connecting));
    assert_eq!(status.retry.map(|(attempts, _)| attempts), Some(1));
    let refused = server.know().await.unwrap_err();
    assert_eq!(refused.reason, Reason::StartFailed);
    assert!(refused.retry_after_ms.is_some_and(|millis| millis > 20_000), "{refused:?}");
    server.stop(false).await;
    assert_eq!((server.status().state, server.status().retry), (State::Stopped, None));
    scene.end().await;
}

#[tokio::test]
async fn a_known_server_is_usable_before_it_runs_and_is_not_started_to_be_learned() {
    let setup = Setup { known: Some(Version::STATELESS), ..Setup::default() };
    let scene = setup.server("s", "echo", json!({})).run();
    let status = scene.server("s").status();
    assert_eq!((status.state, status.usable), (State::Stopped, Usable::Connected));
    assert!(scene.fleet.learn(&TenantId::default_tenant()).is_empty());
    assert_eq!(scene.server("s").status().instances, 0);
    scene.end().await;
}
