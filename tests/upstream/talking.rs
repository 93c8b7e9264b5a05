//! What goes over the pipes of one server, and what must not reach anybody.

use std::{fs, sync::Arc};

use futures_util::FutureExt;
use mcp_hub::{
    limits::Limits,
    observe::ServerPhase,
    protocol::{Version, code::Reason},
    upstream::{Event, State, Usable},
};
use serde_json::{Value, json};

use crate::scene::*;

#[tokio::test]
async fn a_server_of_either_era_is_started_learned_and_called() {
    use Version::*;
    let cases = [
        ("echo --era stateless --tools 300 --pages 7", None, V2026_07_28, Some(60_000), true),
        ("echo --era handshake --tools 300 --pages 7", None, V2025_11_25, None, false),
        ("echo --era both", None, V2026_07_28, Some(60_000), true),
        ("echo --era both", Some(V2025_06_18), V2025_11_25, None, false),
        // What is stored is out of date.
        ("echo --era stateless", Some(V2025_06_18), V2026_07_28, Some(60_000), true),
        ("echo --era handshake", Some(V2026_07_28), V2025_11_25, None, false),
        ("echo --era handshake --revision 2024-11-05 --strict 1", None, V2024_11_05, None, false),
        ("exit-at-probe", None, V2025_11_25, None, false),
        ("silent-probe", None, V2025_11_25, None, false),
    ];
    for (words, known, version, ttl_ms, public) in cases {
        let setup = Setup { known, ..Setup::default() };
        let mut scene = setup.server("s", words, json!({"timeouts": {"start": 20}})).run();
        let server = scene.server("s");
        let lease = lease(&server).await;
        assert_eq!(lease.version(), version, "{words}");
        assert_eq!(text(&lease, "echo", json!({"text": "hé\n"})).await, "hé\n", "{words}");
        let learned = scene.learned().await;
        assert_eq!((learned.version, learned.ttl_ms, learned.public), (version, ttl_ms, public), "{words}");
        assert_eq!(serde_json::from_slice::<Value>(&learned.server_info).unwrap()["name"], "scripted-server");
        assert_eq!(learned.instructions.as_deref(), Some("do as told"));
        let names = names(&learned);
        assert_eq!(names[0], "echo");
        let more: Vec<_> = names.iter().filter(|name| name.starts_with("tool")).collect();
        let expected = if words.contains("300") { 300 } else { 0 };
        assert!(more.iter().copied().eq((0..expected).map(|n| format!("tool{n}")).collect::<Vec<_>>().iter()), "{words}: {more:?}");
        let status = server.status();
        assert_eq!((status.state, status.usable, status.error), (State::Running, Usable::Connected, None));
        scene.end().await;
    }
}

#[tokio::test]
async fn a_server_that_exits_at_its_first_word_comes_up_by_the_other() {
    let mut scene = one("exit-at-probe", json!({}));
    let server = scene.server("s");
    assert_eq!(call(&server, "whoami", json!({})).await, "handshake");
    assert_eq!(server.status().restart_count, 0);
    scene.happens(ServerPhase::Started).await;
    scene.end().await;
}

#[tokio::test]
async fn answers_in_random_order_reach_their_callers() {
    const CALLERS: usize = 100;
    const CALLS: usize = 200;
    let scene = one("shuffle --batch 50", json!({"pool": {"scope": "shared", "size": 1}}));
    let server = scene.server("s");
    let callers = (0..CALLERS).map(|caller| {
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            for n in 0..CALLS {
                let lease = server.try_lease(&principal("p"));
                let lease = match lease {
                    Some(lease) => lease,
                    None => lease_of(&server, caller).await,
                };
                let expected = format!("{caller}/{n}");
                assert_eq!(text(&lease, "echo", json!({"text": expected})).await, expected);
            }
        })
    });
    let callers: Vec<_> = callers.collect();
    for caller in callers {
        caller.await.unwrap();
    }
    let status = server.status();
    assert_eq!((status.instances, status.in_flight, status.noise), (1, 0, Default::default()));
    scene.end().await;
}

#[tokio::test]
async fn garbage_between_answers_is_counted_and_hurts_nobody() {
    let scene = one("garbage", json!({}));
    let server = scene.server("s");
    for n in 0..20 {
        let expected = "aé漢🦀".repeat(n);
        assert_eq!(call(&server, "echo", json!({"text": expected})).await, expected);
    }
    assert!(server.status().noise.bad_lines >= 20 * 4, "{:?}", server.status().noise);
    assert_eq!(server.status().state, State::Running);
    scene.end().await;
}

#[tokio::test]
async fn answers_given_twice_or_to_unknown_ids_reach_nobody_else() {
    let scene = one("twice unknown-ids", json!({}));
    let server = scene.server("s");
    let lease = lease(&server).await;
    for n in 0..50 {
        let expected = n.to_string();
        assert_eq!(text(&lease, "echo", json!({"text": expected})).await, expected);
    }
    let noise = server.status().noise;
    // Of the four ids that nobody gave, one is no id at all.
    assert!(noise.unknown_answers >= 3 * 49 && noise.bad_lines >= 49 && noise.late_answers >= 49, "{noise:?}");
    scene.end().await;
}

#[tokio::test]
async fn a_huge_line_is_dropped_in_bounded_memory_and_the_answer_after_it_arrives() {
    let scene = one("huge-line", json!({}));
    let server = scene.server("s");
    let lease = lease(&server).await;
    let before = resident_most();
    assert_eq!(text(&lease, "echo", json!({"text": "after it"})).await, "after it");
    let grown = resident_most() - before;
    assert!(grown < 100 << 10, "{grown} KiB for a line of 200 MiB");
    assert_eq!(server.status().noise.long_lines, 1);
    assert_eq!(server.status().state, State::Running);
    scene.end().await;
}

/// KiB, the most ever.
fn resident_most() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_server_that_stops_reading_delays_only_its_own_callers() {
    let setup = Setup { limits: Limits { queue: 64, ..Limits::default() }, ..Setup::default() };
    let setup = setup.server("bad", "echo", json!({"timeouts": {"call": 2}, "pool": {"size": 1}}));
    let scene = setup.server("good", "echo", json!({})).run();
    let (bad, good) = (scene.server("bad"), scene.server("good"));
    let lease = lease(&bad).await;
    text(&lease, "deaf", json!({})).await;
    let large = "x".repeat(256 << 10);
    let mut held = Vec::new();
    let refused = loop {
        match open_with(&lease, "echo", json!({"text": large}), false) {
            Ok(exchange) => held.push(exchange),
            Err(error) => break error,
        }
    };
    assert_eq!(refused.reason, Reason::Busy);
    assert!(held.len() <= 64);
    let ready = tokio::spawn(async move { lease.ready().await });
    for _ in 0..100 {
        assert_eq!(call(&good, "echo", json!({"text": "good"})).await, "good");
    }
    for exchange in &mut held {
        assert_eq!(last(exchange).await.unwrap_err().reason, Reason::Timeout);
    }
    assert_eq!(bad.status().in_flight, 0);
    ready.abort();
    scene.end().await;
}

#[tokio::test]
async fn progress_arrives_before_the_answer_and_only_where_it_was_asked_for() {
    let scene = one("echo", json!({}));
    let lease = lease(&scene.server("s")).await;
    for (wants, expected) in [(true, 5), (false, 0)] {
        let mut exchange = open_with(&lease, "progress", json!({"steps": 5}), wants).unwrap();
        let mut notes = 0;
        while let Event::Progress(_) = tokio::time::timeout(PATIENCE, exchange.next()).await.unwrap() {
            notes += 1;
        }
        assert_eq!(notes, expected);
    }
    scene.end().await;
}

#[tokio::test]
async fn a_dropped_call_is_cancelled_once_a_detached_and_an_answered_one_never() {
    let scene = one("late", json!({"timeouts": {"call": 30}}));
    let server = scene.server("s");
    let lease = lease(&server).await;
    drop(open(&lease, "slow", json!({"ms": 1})));
    open(&lease, "slow", json!({"ms": 1})).detach();
    last(&mut open(&lease, "slow", json!({"ms": 1}))).await.unwrap();
    assert_eq!(text(&lease, "cancellations", json!({})).await, "1");
    scene.end().await;
}

#[tokio::test]
async fn a_call_that_takes_too_long_fails_and_the_server_is_told() {
    let scene = one("echo", json!({"timeouts": {"call": 1}}));
    let lease = lease(&scene.server("s")).await;
    let failed = last(&mut open(&lease, "never", json!({}))).await.unwrap_err();
    assert_eq!((failed.reason, failed.to_string().as_str()), (Reason::Timeout, "server 's' did not answer within 1 s (timeouts.call)"));
    assert_eq!(text(&lease, "cancellations", json!({})).await, "1");
    scene.end().await;
}

#[tokio::test]
async fn what_a_server_asks_is_answered_without_anybody_being_asked() {
    let scene = one("echo --era handshake", json!({}));
    let lease = lease(&scene.server("s")).await;
    assert_eq!(text(&lease, "ask", json!({"method": "ping"})).await, "{}");
    let refused: Value = serde_json::from_str(&text(&lease, "ask", json!({"method": "roots/list"})).await).unwrap();
    assert_eq!(refused["code"], -32601);
    scene.end().await;
}

#[tokio::test]
async fn an_answer_that_is_too_long_fails_its_call_at_once_and_no_other() {
    const LIMIT: usize = 64 << 10;
    for era in ["handshake", "stateless"] {
        let setup = Setup { limits: Limits { line_bytes: LIMIT, ..Limits::default() }, ..Setup::default() };
        let scene = setup.server("s", &format!("echo --era {era}"), json!({})).run();
        let lease = lease(&scene.server("s")).await;
        let mut other = open(&lease, "never", json!({}));
        for bytes in [LIMIT, 40 * LIMIT] {
            let error = last(&mut open(&lease, "blob", json!({"bytes": bytes}))).await.unwrap_err();
            assert_eq!(error.reason, Reason::BadAnswer);
            let told = "server 's' gave an answer of more than 65536 bytes, which exceeds limits.line_mb";
            assert_eq!(error.to_string(), told);
        }
        assert_eq!(text(&lease, "echo", json!({"text": "in step"})).await, "in step");
        assert!(other.next().now_or_never().is_none());
        assert_eq!(scene.server("s").status().noise.long_lines, 2);
        drop(other);
        scene.end().await;
    }
}

#[tokio::test]
async fn large_answers_pass_and_stderr_never_blocks() {
    let scene = one("echo", json!({}));
    let lease = lease(&scene.server("s")).await;
    for bytes in [100_usize << 10, 10 << 20, 1] {
        assert_eq!(text(&lease, "blob", json!({"bytes": bytes})).await.len(), bytes);
    }
    let line = "e".repeat(100_000);
    for _ in 0..20 {
        text(&lease, "stderr", json!({"text": line})).await;
    }
    assert_eq!(text(&lease, "echo", json!({"text": "still there"})).await, "still there");
    scene.end().await;
}
