//! What servers that behave say and are told.

use mcp_hub::{
    protocol::{Version, capability::Profile},
    upstream::{Event, State, What, Whose},
};
use serde_json::{Value, json};

use crate::{
    scene::{call, json_of, next, scene, scene_known, scene_with, text, try_call},
    support::remote_server::{Script, Speaks},
};

const EVERY: [(Speaks, Version); 8] = [
    (Speaks::Stateless, Version::V2026_07_28),
    (Speaks::Sessions("2025-11-25"), Version::V2025_11_25),
    (Speaks::Sessions("2025-06-18"), Version::V2025_06_18),
    (Speaks::Sessions("2025-03-26"), Version::V2025_03_26),
    (Speaks::Handshake("2025-11-25"), Version::V2025_11_25),
    (Speaks::Handshake("2025-06-18"), Version::V2025_06_18),
    (Speaks::Handshake("2025-03-26"), Version::V2025_03_26),
    (Speaks::Legacy, Version::V2024_11_05),
];

#[tokio::test]
async fn every_revision_is_found_out_listed_and_called() {
    for (speaks, version) in EVERY {
        for (streams, pretty) in [(false, false), (true, false), (false, true)] {
            let server = Script { streams, pretty, ..Script::new(speaks) }.run().await;
            let mut scene = scene(&server);
            let lease = scene.lease().await;
            assert_eq!(lease.version(), version);
            let learned = scene.learned().await;
            assert_eq!((learned.version, learned.tools.len()), (version, 10));
            let calls: Vec<_> = (0..20).map(|n| call(&lease, "echo", json!({"text": format!("t{n}")}))).collect();
            for (n, exchange) in calls.into_iter().enumerate() {
                assert_eq!(text(exchange).await, format!("t{n}"));
            }
            let status = scene.server().status();
            assert_eq!((status.state, status.instances, status.pids.len()), (State::Running, 1, 0));
            assert_eq!((status.breaker, status.in_flight), (Some("closed"), 0));
            drop(lease);
            scene.close().await;
            if matches!(speaks, Speaks::Sessions(_)) {
                assert_eq!(server.sessions(), 0, "the session was ended");
            }
        }
    }
}

#[tokio::test]
async fn what_is_known_of_a_server_saves_the_probe_and_what_is_wrong_does_no_harm() {
    for (speaks, version) in [EVERY[0], EVERY[1], EVERY[7]] {
        for known in [Version::V2026_07_28, Version::V2025_11_25] {
            let server = Script::new(speaks).run().await;
            let scene = scene_known(&server.url(), json!({}), Some(known));
            assert_eq!(scene.lease().await.version(), version);
            let is_probed = !server.asked("server/discover").is_empty();
            assert_eq!(is_probed, known == Version::STATELESS || speaks != EVERY[1].0, "{speaks:?} {known:?}");
            scene.close().await;
        }
    }
}

#[tokio::test]
async fn static_headers_travel_with_every_request_and_the_query_stays() {
    let script = Script { authorization: Some("Bearer s3cr3t"), ..Script::new(Speaks::Sessions("2025-11-25")) };
    let server = script.run().await;
    let scene = scene_with(&server.url(), json!({"headers": {"Authorization": "Bearer ${TOKEN}", "X-Team": "a"}}));
    let lease = scene.lease().await;
    assert_eq!(text(call(&lease, "echo", json!({"text": "x"}))).await, "x");
    drop(lease);
    scene.close().await;
    for seen in server.seen() {
        assert_eq!((seen.header("authorization"), seen.header("x-team")), (Some("Bearer s3cr3t"), Some("a")), "{seen:?}");
        assert!(seen.header("user-agent").unwrap().starts_with("mcp-hub/"));
    }
}

#[tokio::test]
async fn headers_of_the_stateless_revision_repeat_the_body() {
    let server = Script::new(Speaks::Stateless).run().await;
    let scene = scene(&server);
    let lease = scene.lease().await;
    assert_eq!(text(call(&lease, "echo", json!({"text": "x"}))).await, "x");
    let called = server.sees(|seen| seen.is("tools/call")).await;
    assert_eq!((called.header("mcp-method"), called.header("mcp-name")), (Some("tools/call"), Some("echo")));
    assert_eq!(called.header("mcp-protocol-version"), Some("2026-07-28"));
    let opening = mcp_hub::upstream::Opening {
        method: "tools/call",
        name: Some("gr\u{fc}n"),
        headers: &[("Region".into(), "eu west ".to_owned()), ("N".into(), "42".to_owned())],
        ..Default::default()
    };
    let line = |wire| mcp_hub::bridge::outgoing::own(wire, "tools/call", r#"{"name":"x"}"#, Version::STATELESS);
    drop(lease.open(&opening, line).unwrap().next().await);
    let called = server.sees(|seen| seen.header("mcp-param-region").is_some()).await;
    assert_eq!(called.header("mcp-name"), Some("=?base64?Z3LDvG4=?="));
    assert_eq!(called.header("mcp-param-region"), Some("=?base64?ZXUgd2VzdCA=?="));
    assert_eq!(called.header("mcp-param-n"), Some("42"));
}

#[tokio::test]
async fn progress_and_logs_of_a_call_come_before_its_answer_and_to_nobody_else() {
    for (speaks, _) in EVERY {
        let server = Script::new(speaks).run().await;
        let scene = scene(&server);
        let lease = scene.lease().await;
        let mut other = call(&lease, "never", json!({}));
        let mut exchange = call(&lease, "progress", json!({"steps": 3}));
        let mut steps = Vec::new();
        let mut logs = 0;
        let answer = loop {
            match next(&mut exchange).await {
                Event::Progress(message) => steps.push(json_of(&message)["params"]["progress"].as_u64().unwrap()),
                Event::Note(_) => logs += 1,
                Event::Answer(answer) => break answer,
                event => panic!("{event:?}"),
            }
        };
        assert_eq!((steps.as_slice(), json_of(&answer)["result"]["content"][0]["text"].as_str()), (&[1, 2, 3][..], Some("done")));
        // On the one stream of 2024-11-05 nobody can tell whose a record is.
        assert_eq!(logs, u32::from(speaks != Speaks::Legacy), "{speaks:?}");
        assert!(futures_util::FutureExt::now_or_never(other.next()).is_none());
    }
}

#[tokio::test]
async fn giving_a_call_up_closes_its_stream_and_tells_servers_of_the_handshake_era() {
    for (speaks, version) in EVERY {
        let server = Script::new(speaks).run().await;
        let scene = scene(&server);
        let lease = scene.lease().await;
        let exchange = call(&lease, "never", json!({}));
        let called = server.sees(|seen| seen.body["params"]["name"] == "never").await;
        drop(exchange);
        if version == Version::STATELESS {
            server.sees_closed(1).await;
            assert_eq!(server.asked("notifications/cancelled").len(), 0);
        } else {
            let told = server.sees(|seen| seen.is("notifications/cancelled")).await;
            assert_eq!(told.body["params"]["requestId"], called.body["id"]);
        }
        assert_eq!(scene.server().status().in_flight, 0);
        assert_eq!(text(call(&lease, "echo", json!({"text": "on"}))).await, "on");
    }
}

#[tokio::test]
async fn a_call_whose_caller_has_left_goes_on() {
    for speaks in [Speaks::Stateless, Speaks::Sessions("2025-11-25")] {
        let server = Script::new(speaks).run().await;
        let scene = scene(&server);
        let lease = scene.lease().await;
        let exchange = call(&lease, "hold", json!({}));
        server.sees(|seen| seen.body["params"]["name"] == "hold").await;
        exchange.detach();
        assert_eq!(scene.server().status().in_flight, 1);
        server.release();
        while scene.server().status().in_flight > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(server.asked("notifications/cancelled").len(), 0);
    }
}

#[tokio::test]
async fn a_question_on_the_stream_of_a_call_is_that_callers_and_so_is_its_answer() {
    for speaks in [Speaks::Sessions("2025-11-25"), Speaks::Handshake("2025-06-18")] {
        let server = Script::new(speaks).run().await;
        let scene = scene_with(&server.url(), json!({"pool": {"scope": "session"}}));
        let lease = scene.lease_for(Profile::BARE.with(Profile::FORM)).await;
        let initialize = server.asked("initialize").pop().unwrap();
        assert_eq!(initialize.body["params"]["capabilities"], json!({"elicitation": {"form": {}}}));
        // The newest call of all is not asked: it did not cause the question.
        let mut asked = call(&lease, "ask", json!({}));
        let mut other = call(&lease, "never", json!({}));
        let Event::Question(question) = next(&mut asked).await else { panic!() };
        assert_eq!(json_of(question.message())["method"], "elicitation/create");
        let id = json_of(question.message())["id"].clone();
        question.answer(json!({"jsonrpc": "2.0", "id": id, "result": {"action": "decline"}}).to_string().into());
        assert!(text(asked).await.contains("decline"));
        assert!(futures_util::FutureExt::now_or_never(other.next()).is_none());
        drop(other);

        let mut asked = call(&lease, "ask-twice", json!({}));
        let mut seen = Vec::new();
        loop {
            match next(&mut asked).await {
                Event::Question(_) => seen.push("asked"),
                Event::Withdrawn(_) => seen.push("withdrawn"),
                Event::Answer(_) => break,
                event => panic!("{event:?}"),
            }
        }
        assert!(seen.is_empty() || seen == ["asked", "withdrawn"], "{seen:?}");
    }
}

#[tokio::test]
async fn who_cannot_be_asked_is_not_and_the_server_is_told() {
    for speaks in [Speaks::Sessions("2025-11-25"), Speaks::Legacy] {
        let server = Script::new(speaks).run().await;
        let scene = scene_with(&server.url(), json!({"interactive": "never"}));
        let lease = scene.lease().await;
        let opening = mcp_hub::upstream::Opening { method: "tools/call", name: Some("ask"), ..Default::default() };
        let line = |wire| mcp_hub::bridge::outgoing::own(wire, "tools/call", r#"{"name":"ask"}"#, lease.version());
        let answer = text(lease.open(&opening, line).unwrap()).await;
        assert_eq!(serde_json::from_str::<Value>(&answer).unwrap()["error"]["code"], -32601, "{answer}");
    }
}

#[tokio::test]
async fn configured_roots_are_told_where_the_caller_has_none() {
    for speaks in [Speaks::Sessions("2025-11-25"), Speaks::Handshake("2025-03-26"), Speaks::Legacy] {
        let server = Script::new(speaks).run().await;
        let scene = scene_with(&server.url(), json!({"roots": ["file:///a"]}));
        let lease = scene.lease_for(Profile::FORM).await;
        let initialize = server.asked("initialize").pop().unwrap();
        let said = &initialize.body["params"]["capabilities"];
        assert_eq!((&said["roots"], said["elicitation"].is_object()), (&json!({}), true), "{speaks:?}");
        let answer = text(call(&lease, "ask-roots", json!({}))).await;
        assert_eq!(serde_json::from_str::<Value>(&answer).unwrap()["result"], json!({"roots": [{"uri": "file:///a"}]}), "{speaks:?}");

        let lease = scene.lease_for(Profile::ROOTS).await;
        let mut asked = call(&lease, "ask-roots", json!({}));
        let Event::Question(question) = next(&mut asked).await else { panic!("its own roots") };
        drop(question);
        scene.close().await;
    }
}

#[tokio::test]
async fn what_a_server_says_unasked_reaches_whom_it_is_for() {
    for speaks in [Speaks::Sessions("2025-11-25"), Speaks::Handshake("2025-11-25"), Speaks::Legacy] {
        let server = Script::new(speaks).run().await;
        let mut scene = scene_with(&server.url(), json!({"pool": {"scope": "session"}}));
        let lease = scene.lease_for(Profile::BARE.with(Profile::FORM)).await;
        server.sees_streams(1).await;
        scene.learned().await;
        server.say(json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})).await;
        scene.learned().await;
        server.say(json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": "a:b"}})).await;
        let news = scene.news().await;
        assert_eq!(news.whose, Whose::Session("s".into()));
        assert!(matches!(&news.what, What::Updated(message) if json_of(message)["params"]["uri"] == "a:b"), "{news:?}");
        server.say(json!({"jsonrpc": "2.0", "id": "g", "method": "elicitation/create", "params": {}})).await;
        let What::Question(question) = scene.news().await.what else { panic!() };
        question.answer(json!({"jsonrpc": "2.0", "id": "g", "result": {"action": "accept"}}).to_string().into());
        let replied = server.sees(|seen| seen.body["id"] == "g").await;
        assert_eq!(replied.body["result"]["action"], "accept");
        server.say(json!({"jsonrpc": "2.0", "id": 7, "method": "ping"})).await;
        assert_eq!(server.sees(|seen| seen.body["id"] == 7).await.body["result"], json!({}));
        drop(lease);
    }
}

#[tokio::test]
async fn a_stateless_server_is_listened_to_and_again_after_a_break() {
    let server = Script::new(Speaks::Stateless).run().await;
    let mut scene = scene(&server);
    let lease = scene.lease().await;
    scene.learned().await;
    server.sees_streams(1).await;
    server.say(json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})).await;
    scene.learned().await;
    server.end_streams();
    server.sees_streams(2).await;
    // What was said in between is lost, so the lists are asked for again.
    scene.learned().await;
    assert_eq!(scene.server().status().in_flight, 0, "a listen is no call");
    drop(lease);
}

#[tokio::test]
async fn connections_are_used_again_and_not_shared_with_other_servers() {
    for (streams, most) in [(false, 4), (true, 4)] {
        let server = Script { streams, tells: false, ..Script::new(Speaks::Sessions("2025-11-25")) }.run().await;
        let mut scene = scene(&server);
        let lease = scene.lease().await;
        scene.learned().await;
        for n in 0..50 {
            assert_eq!(text(call(&lease, "echo", json!({"text": n.to_string()}))).await, n.to_string());
        }
        let count = server.connections();
        assert!(count <= most, "{count} connections for 50 calls in turn, streams: {streams}");
    }
}

#[tokio::test]
async fn a_call_beyond_the_bound_waits_for_room() {
    let server = Script::new(Speaks::Stateless).run().await;
    let scene = scene(&server);
    let lease = scene.lease().await;
    let mut held = Vec::new();
    let busy = loop {
        match try_call(&lease, "never", json!({})) {
            Ok(exchange) => held.push(exchange),
            Err(error) => break error,
        }
    };
    assert_eq!(busy.reason, mcp_hub::protocol::code::Reason::Busy);
    assert!(held.len() > 1000);
    let ready = lease.ready();
    tokio::pin!(ready);
    assert!(futures_util::FutureExt::now_or_never(&mut ready).is_none());
    held.pop();
    tokio::time::timeout(crate::scene::PATIENCE, ready).await.unwrap().unwrap();
}
