//! Servers that misbehave: each call gets one answer, nothing is called twice, and what can be mended is.

use std::time::Duration;

use mcp_hub::{
    protocol::{Level, capability::Profile, code::Reason},
    upstream::{Sharer, What},
};
use serde_json::json;

use crate::{
    scene::{call, json_of, last, scene, scene_with, text, try_call},
    support::remote_server::{Script, Seen, Speaks},
};

const SESSIONS: Speaks = Speaks::Sessions("2025-11-25");

#[tokio::test]
async fn answers_that_are_none_fail_their_call_and_no_other() {
    for speaks in [Speaks::Stateless, SESSIONS] {
        let server = Script::new(speaks).run().await;
        let scene = scene(&server);
        let lease = scene.lease().await;
        for (tool, arguments, reason, says) in [
            ("html", json!({}), Reason::BadAnswer, "text/html"),
            ("empty", json!({}), Reason::BadAnswer, "no answer"),
            ("broken", json!({}), Reason::BadAnswer, "no answer"),
            ("cut", json!({}), Reason::ServerExited, "broke off"),
            (
                "redirect",
                json!({"to": "http://elsewhere.example/x?secret=1"}),
                Reason::BadAnswer,
                "redirects to 'http://elsewhere.example/x'",
            ),
            ("redirect", json!({"to": "/other"}), Reason::BadAnswer, "redirects to '/other'"),
            ("huge", json!({"bytes": 17 << 20}), Reason::BadAnswer, "more than 16777216 bytes"),
            (
                "status",
                json!({"code": 401}),
                Reason::Unauthorized,
                "needs authorization: it answered with HTTP 401; what it wants belongs into \"headers\"",
            ),
            ("status", json!({"code": 403}), Reason::Unauthorized, "needs authorization"),
            ("status", json!({"code": 418}), Reason::BadAnswer, "HTTP 418"),
            ("status", json!({"code": 500}), Reason::BadAnswer, "HTTP 500"),
            ("status", json!({"code": 429}), Reason::Busy, "HTTP 429"),
        ] {
            let error = last(call(&lease, tool, arguments.clone())).await.unwrap_err();
            assert_eq!(error.reason, reason, "{tool} {arguments}: {error}");
            assert!(error.to_string().contains(says) && !error.to_string().contains("secret"), "{error}");
            assert_eq!(text(call(&lease, "echo", json!({"text": tool}))).await, tool);
            let calls = server
                .seen()
                .into_iter()
                .filter(|seen| seen.body["params"]["name"] == tool && seen.body["params"]["arguments"] == arguments);
            assert_eq!(calls.count(), 1, "{tool} was called once");
        }
        let error = last(call(&lease, "status", json!({"code": 503, "retry_after": 7}))).await.unwrap_err();
        assert_eq!((error.reason, error.retry_after_ms), (Reason::Busy, Some(7000)));
    }
}

#[tokio::test]
async fn an_address_is_told_as_it_is_written_and_never_what_it_stands_for() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let script = Script::new(Speaks::Stateless).run().await;
    let there = script.url();
    let (origin, _) = there.rsplit_once('/').unwrap();
    for (url, told) in [
        ("http://${TOKEN}.invalid/x?key=${TOKEN}".to_owned(), "'http://${TOKEN}.invalid/x?***' cannot be resolved: ".to_owned()),
        (format!("http://127.0.0.1:{closed}/${{TOKEN}}"), format!("'http://127.0.0.1:{closed}/${{TOKEN}}' cannot be connected to: ")),
        (format!("{origin}/redirect/${{TOKEN}}"), format!("'{origin}/redirect/${{TOKEN}}' redirects to '/elsewhere/***'; ")),
    ] {
        let scene = scene_with(&url, json!({}));
        let error = scene.error().await.to_string();
        assert!(error.contains(&told) && !error.contains("s3cr3t"), "{url}: {error}");
        let shown = scene.server().status().last_error.unwrap();
        assert!(shown.contains(&told) && !shown.contains("s3cr3t"), "{url}: {shown}");
    }
}

#[tokio::test]
async fn a_forgotten_session_is_begun_anew_once_and_the_call_is_made() {
    let server = Script::new(SESSIONS).run().await;
    let mut scene = scene(&server);
    let lease = scene.lease().await;
    scene.learned().await;
    for round in 2..5 {
        server.forget_sessions();
        let calls: Vec<_> = (0..5).map(|n| call(&lease, "echo", json!({"text": n.to_string()}))).collect();
        for (n, exchange) in calls.into_iter().enumerate() {
            assert_eq!(text(exchange).await, n.to_string());
        }
        assert_eq!(server.asked("initialize").len(), round, "one new session for all of them");
        assert_eq!(server.sessions(), 1);
    }
    assert_eq!(scene.server().status().restart_count, 0);
}

#[tokio::test]
async fn a_session_begun_anew_is_told_again_what_the_one_before_was_told() {
    let server = Script { watched: true, ..Script::new(SESSIONS) }.run().await;
    let scene = scene(&server);
    let sharer = Sharer { principal: "p".into(), session: None, profile: Profile::BARE };
    let lease = scene.server().lease(&sharer).await.unwrap();
    let _watched = scene.server().subscribe(&sharer, "file:///a").await.unwrap();
    drop(scene.server().subscribe(&sharer, "file:///b").await.unwrap());
    server.sees(|seen| seen.is("resources/unsubscribe")).await;
    scene.server().log_level(&sharer, Level::Warning);
    let first = server.sees(|seen| seen.is("logging/setLevel")).await;
    server.forget_sessions();
    assert_eq!(text(call(&lease, "echo", json!({"text": "x"}))).await, "x");
    let session = |seen: &Seen| seen.header("mcp-session-id").map(str::to_owned);
    let before = session(&first);
    for (method, key, value) in [("resources/subscribe", "uri", "file:///a"), ("logging/setLevel", "level", "warning")] {
        let again = server.sees(|seen| seen.is(method) && session(seen) != before).await;
        assert_eq!(again.body["params"][key], value);
    }
    let of_b = |seen: &&Seen| seen.body["params"]["uri"] == "file:///b";
    assert_eq!(server.asked("resources/subscribe").iter().filter(of_b).count(), 1, "nobody watches it any more");
}

/// Each session counts its questions from one, and knows nothing of those of the session before.
#[tokio::test]
async fn a_forgotten_session_takes_its_questions_with_it() {
    let server = Script::new(SESSIONS).run().await;
    let mut scene = scene_with(&server.url(), json!({"pool": {"scope": "session"}}));
    let lease = scene.lease_for(Profile::FORM).await;
    server.sees_streams(1).await;
    let question = json!({"jsonrpc": "2.0", "id": 1, "method": "elicitation/create", "params": {}});
    let answer = |action: &str| json!({"jsonrpc": "2.0", "id": 1, "result": {"action": action}}).to_string().into();
    server.say(question.clone()).await;
    let What::Question(of_the_first) = scene.news().await.what else { panic!("a question") };
    server.forget_sessions();
    server.end_streams();
    assert_eq!(text(call(&lease, "echo", json!({"text": "x"}))).await, "x");
    let news = scene.news().await.what;
    assert!(matches!(&news, What::Withdrawn(id) if *id == of_the_first.id()), "{news:?}");
    server.sees_streams(2).await;
    server.say(question).await;
    let What::Question(of_the_second) = scene.news().await.what else { panic!("a question") };
    of_the_first.answer(answer("accept"));
    of_the_second.answer(answer("decline"));
    let is_answer = |seen: &Seen| seen.body["id"] == 1 && seen.body.get("result").is_some();
    assert_eq!(server.sees(is_answer).await.body["result"]["action"], "decline");
    scene.close().await;
    assert_eq!(server.seen().iter().filter(|seen| is_answer(seen)).count(), 1, "nobody hears the other");
}

#[tokio::test]
async fn a_server_that_begins_no_new_session_is_started_anew() {
    let server = Script::new(SESSIONS).run().await;
    let scene = scene_with(&server.url(), json!({"restart": {"wait": 0.01, "wait_max": 0.02}}));
    let lease = scene.lease().await;
    server.refuse_sessions();
    server.forget_sessions();
    let error = last(call(&lease, "echo", json!({"text": "x"}))).await.unwrap_err();
    assert!(matches!(error.reason, Reason::Crashed | Reason::ServerExited), "{error}");
    drop(lease);
    let calls = server.seen().into_iter().filter(|seen| seen.is("tools/call")).count();
    assert_eq!(calls, 1, "it was not sent again");
}

#[tokio::test]
async fn a_restarted_server_is_found_again() {
    for speaks in [Speaks::Stateless, SESSIONS] {
        let server = Script::new(speaks).run().await;
        let mut scene = scene(&server);
        let lease = scene.lease().await;
        scene.learned().await;
        let server = server.restart(Script::new(speaks)).await;
        // A connection that died with the server may be met once.
        let mut tries = 0;
        loop {
            match last(call(&lease, "echo", json!({"text": "again"}))).await {
                Ok(answer) => break assert_eq!(crate::scene::text_of(&answer), "again"),
                Err(error) => {
                    tries += 1;
                    assert!(tries < 3, "{error}");
                }
            }
        }
        drop(server);
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_taken_up_where_its_events_had_ids() {
    let server = Script::new(SESSIONS).run().await;
    let scene = scene(&server);
    let lease = scene.lease().await;
    assert_eq!(text(call(&lease, "resumed", json!({}))).await, "resumed");
    let again = server.sees(|seen| seen.header("last-event-id").is_some()).await;
    let called = server.sees(|seen| seen.body["params"]["name"] == "resumed").await;
    assert_eq!(again.header("last-event-id").unwrap(), called.body["id"].to_string());
    assert!(again.header("mcp-session-id").is_some());
    let calls = server.seen().into_iter().filter(|seen| seen.body["params"]["name"] == "resumed");
    assert_eq!(calls.count(), 1);
}

#[tokio::test]
async fn a_stateless_stream_that_breaks_off_is_not_taken_up() {
    let server = Script::new(Speaks::Stateless).run().await;
    let scene = scene(&server);
    let lease = scene.lease().await;
    let error = last(call(&lease, "resumed", json!({}))).await.unwrap_err();
    assert_eq!(error.reason, Reason::ServerExited);
    assert!(server.seen().iter().all(|seen| seen.header("last-event-id").is_none()));
}

#[tokio::test]
async fn a_call_without_an_answer_ends_at_its_deadline_and_progress_puts_it_off() {
    for speaks in [Speaks::Stateless, SESSIONS, Speaks::Legacy] {
        let server = Script::new(speaks).run().await;
        let scene = scene_with(&server.url(), json!({"timeouts": {"call": 0.2, "call_max": 0.2}}));
        let lease = scene.lease().await;
        for tool in if speaks == Speaks::Legacy { &["never"][..] } else { &["never", "hold"] } {
            let error = last(call(&lease, tool, json!({}))).await.unwrap_err();
            assert_eq!(error.reason, Reason::Timeout, "{tool}");
        }
        if speaks != Speaks::Stateless {
            let told = server.sees(|seen| seen.is("notifications/cancelled")).await;
            assert_eq!(told.body["params"]["reason"], "timeout");
        }
    }
}

#[tokio::test]
async fn a_server_that_fails_again_and_again_is_left_alone_for_a_while_and_found_well_again() {
    let server = Script::new(Speaks::Stateless).run().await;
    let mut scene = scene_with(&server.url(), json!({"restart": {"wait": 0.3, "wait_max": 0.3}}));
    let lease = scene.lease().await;
    scene.learned().await;
    server.outage(503);
    let mut asked = 0;
    let left_alone = loop {
        match try_call(&lease, "echo", json!({"text": "x"})) {
            Ok(exchange) => assert_eq!(last(exchange).await.unwrap_err().reason, Reason::BadAnswer),
            Err(error) => break error,
        }
        asked += 1;
        assert!(asked <= 5);
    };
    assert_eq!(left_alone.reason, Reason::Crashed);
    assert!((1..=400).contains(&left_alone.retry_after_ms.unwrap()), "{left_alone:?}");
    assert_eq!(scene.server().status().breaker, Some("open"));
    server.outage(0);
    let until = tokio::time::Instant::now() + Duration::from_secs(30);
    let answer = loop {
        match try_call(&lease, "echo", json!({"text": "well"})) {
            Ok(exchange) => break text(exchange).await,
            Err(_) => tokio::task::yield_now().await,
        }
        assert!(tokio::time::Instant::now() < until);
    };
    assert_eq!((answer.as_str(), scene.server().status().breaker), ("well", Some("closed")));
}

#[tokio::test]
async fn a_session_that_gives_no_sign_of_life_is_begun_anew() {
    for speaks in [SESSIONS, Speaks::Legacy] {
        let server = Script::new(speaks).run().await;
        let scene = scene_with(&server.url(), json!({"keepalive": 0.1}));
        let lease = scene.lease().await;
        let never = call(&lease, "never", json!({}));
        let handshakes = server.asked("initialize").len();
        for pings in 1..=3 {
            server.sees(|_| server.asked("ping").len() >= pings).await;
        }
        assert_eq!((scene.server().status().instances, server.asked("initialize").len()), (1, handshakes), "each was answered");
        if speaks == Speaks::Legacy {
            // Its stream would end with it.
            drop((lease, never));
            scene.close().await;
            continue;
        }
        server.outage(503);
        assert_eq!(last(never).await.unwrap_err().reason, Reason::ServerExited);
        server.outage(0);
        drop(lease);
        let answer = text(call(&scene.lease().await, "echo", json!({"text": "anew"}))).await;
        assert_eq!(answer, "anew", "{speaks:?}");
        scene.close().await;
    }
}

#[tokio::test]
async fn one_sign_of_life_that_only_failed_ends_no_session() {
    let server = Script::new(SESSIONS).run().await;
    let scene = scene_with(&server.url(), json!({"keepalive": 1}));
    let never = call(&scene.lease().await, "never", json!({}));
    server.outage(503);
    server.sees(|_| server.asked("ping").len() == 1).await;
    server.outage(0);
    server.sees(|_| server.asked("ping").len() == 3).await;
    assert_eq!((scene.server().status().instances, server.asked("initialize").len()), (1, 1));
    drop(never);
    scene.close().await;
}

#[tokio::test]
async fn no_server_an_outage_and_a_wrong_address_are_told_apart_and_decide_no_era() {
    let server = Script::new(SESSIONS).run().await;
    for (status, says) in [(401, "needs authorization"), (500, "HTTP 500"), (503, "HTTP 503"), (404, "no MCP server at this address")] {
        server.outage(status);
        let scene = scene(&server);
        let error = scene.error().await;
        assert_eq!(error.reason, Reason::StartFailed);
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!(scene.server().status().state, mcp_hub::upstream::State::Crashed);
        let is_outage = status != 404;
        assert_eq!(server.asked("initialize").is_empty(), is_outage, "no handshake is tried while {status}");
        scene.close().await;
    }
    server.outage(0);
    let url = server.url();
    drop(server);
    let scene = scene_with(&url, json!({}));
    let error = scene.error().await;
    assert!(error.to_string().contains("cannot be connected to"), "{error}");
}

#[tokio::test]
async fn addresses_that_nobody_allowed_are_not_connected_to() {
    let server = Script::new(Speaks::Stateless).run().await;
    let port = server.address.port();
    for (url, fields, is_allowed) in [
        (format!("http://127.0.0.1:{port}/mcp"), json!({}), true),
        (format!("http://localhost:{port}/mcp"), json!({}), true),
        (format!("http://0.0.0.0:{port}/mcp"), json!({}), false),
        (format!("http://0.0.0.0:{port}/mcp"), json!({"allow_private": true}), false),
        (format!("http://127.0.0.1:{port}/mcp"), json!({"allow_private": true}), true),
        (format!("http://10.255.255.1:{port}/mcp"), json!({}), false),
        (format!("http://169.254.169.254:{port}/mcp"), json!({"allow_private": true}), false),
        (format!("http://[::ffff:127.0.0.1]:{port}/mcp"), json!({}), true),
        (format!("http://[::ffff:10.0.0.1]:{port}/mcp"), json!({}), false),
    ] {
        let scene = scene_with(&url, fields.clone());
        if is_allowed {
            scene.lease().await;
        } else {
            let error = scene.error().await;
            assert!(error.to_string().contains("allow_private"), "{url} {fields}: {error}");
        }
        scene.close().await;
    }
}

#[tokio::test]
async fn an_endpoint_elsewhere_is_refused() {
    for endpoint in ["http://elsewhere.example/messages", "//127.0.0.1:1/messages"] {
        let server = Script { endpoint: Some(endpoint.into()), ..Script::new(Speaks::Legacy) }.run().await;
        let scene = scene_with(&server.url(), json!({"type": "sse"}));
        let error = scene.error().await;
        assert!(error.to_string().contains("endpoint at another place"), "{error}");
        assert!(server.seen().iter().all(|seen| seen.verb == hyper::Method::GET), "nothing is posted anywhere");
    }
}

#[tokio::test]
async fn a_message_that_a_server_of_2024_11_05_does_not_take_fails_its_call_and_a_stream_that_ends_ends_the_session() {
    let server = Script::new(Speaks::Legacy).run().await;
    let mut scene = scene_with(&server.url(), json!({"type": "sse", "start": "boot"}));
    let lease = scene.lease().await;
    scene.learned().await;
    let error = last(call(&lease, "status", json!({"code": 500}))).await.unwrap_err();
    assert_eq!(error.reason, Reason::BadAnswer);
    assert_eq!(text(call(&lease, "echo", json!({"text": "on"}))).await, "on");
    let cut = call(&lease, "never", json!({}));
    server.sees(|seen| seen.body["params"]["name"] == "never").await;
    server.cut_connections();
    assert_eq!(last(cut).await.unwrap_err().reason, Reason::ServerExited);
    drop(lease);
    server.sees_streams(2).await;
    assert_eq!(text(call(&scene.lease().await, "echo", json!({"text": "again"}))).await, "again");
}

#[tokio::test]
async fn headers_that_no_longer_fit_have_the_tools_listed_again() {
    let server = Script::new(Speaks::Stateless).run().await;
    let mut scene = scene(&server);
    let lease = scene.lease().await;
    scene.learned().await;
    let answer = last(call(&lease, "mismatch", json!({}))).await.unwrap();
    assert_eq!(json_of(&answer)["error"]["code"], -32020);
    scene.learned().await;
}
