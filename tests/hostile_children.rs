//! Servers that misbehave, each beside a good one in one hub: the good one never notices, callers of the bad one are answered, the
//! hub says what is wrong, its memory stays bounded, and nothing of them is left when it has ended.

mod support;

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use support::{
    Client, Hub, Server, client,
    hub::{self, is_running},
    server,
};

/// What the hub may grow by, whatever a server does.
const GROWTH_KIB: u64 = 64 << 10;

/// The server under test and a good one.
fn beside(bad: Server) -> Hub {
    hub::new().server("bad", bad).server("good", server::child("")).run()
}

/// A server whose calls, start and stop are soon given up.
fn hurried(words: &str) -> Server {
    server::child(words).with("timeouts", json!({"start": 2, "call": 1, "stop": 0.5}))
}

async fn check_good(client: &Client) {
    for turn in 0..20 {
        let text = format!("still here {turn}");
        assert_eq!(client.text("good.echo", json!({"text": text})).await, text);
    }
}

/// As `GET /api/servers` shows it.
async fn shown(hub: &Hub, name: &str) -> Value {
    let all = client::rest(hub).get("/api/servers").await.json();
    all["servers"].as_array().unwrap().iter().find(|server| server["name"] == name).unwrap_or_else(|| panic!("{all}")).clone()
}

async fn command(hub: &Hub, verb: &str, name: &str) -> u16 {
    let body = json!({"server_name": name}).to_string();
    client::rest(hub).post(&format!("/api/servers/{verb}"), &[], &body).await.status
}

/// Ends the hub in order; of everything below it, and of `others`, nothing may be left.
async fn end(hub: Hub, others: &[u32]) {
    let below = hub.descendants();
    // Beside this task: the clients have to see that their connections end.
    assert!(tokio::task::spawn_blocking(|| hub.terminate()).await.unwrap().success());
    let left: Vec<_> = below.iter().chain(others).filter(|pid| is_running(**pid)).collect();
    assert!(left.is_empty(), "left over: {left:?} of {below:?} and {others:?}");
}

/// The error of a call that the hub answered itself: its reason and its message.
async fn failure(client: &Client, tool: &str, arguments: Value) -> (String, String) {
    let message = client.ask("tools/call", json!({"name": tool, "arguments": arguments})).await.json();
    let error = &message["error"];
    assert_eq!((&error["code"], &error["data"]["origin"]), (&json!(-32603), &json!("hub")), "{message}");
    (error["data"]["reason"].as_str().unwrap().to_owned(), error["message"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn garbage_and_split_characters_around_the_answers_change_nothing() {
    let hub = beside(server::child("garbage"));
    let client = client::stateless(&hub);
    for turn in 0..30 {
        let text = format!("grüße — 世界 🎈 {turn}");
        assert_eq!(client.text("bad.echo", json!({"text": text})).await, text);
    }
    check_good(&client).await;
    let bad = shown(&hub, "bad").await;
    assert_eq!((&bad["state"], &bad["error"]), (&json!("RUNNING"), &Value::Null));
    end(hub, &[]).await;
}

#[tokio::test]
async fn a_line_of_200_megabytes_is_dropped_in_bounded_memory_and_the_next_one_is_read() {
    let hub = beside(server::child("huge-line").with("start", "boot"));
    let client = client::stateless(&hub);
    check_good(&client).await;
    let before = hub.resident_kib();
    let others = client::stateless(&hub);
    let huge = client.text("bad.echo", json!({"text": "after it"}));
    let (said, ()) = tokio::join!(huge, check_good(&others));
    assert_eq!(said, "after it");
    let grown = hub.resident_peak_kib().saturating_sub(before);
    assert!(grown < GROWTH_KIB, "{before} KiB grew by {grown}");
    assert_eq!(shown(&hub, "bad").await["state"], "RUNNING");
    end(hub, &[]).await;
}

#[tokio::test]
async fn second_answers_and_answers_to_ids_that_nobody_gave_reach_nobody() {
    for words in ["twice", "unknown-ids", "twice unknown-ids shuffle"] {
        let hub = beside(server::child(words));
        let clients: Vec<_> = (0..8).map(|_| client::stateless(&hub)).collect();
        join_all(clients.iter().enumerate().map(|(number, client)| async move {
            for turn in 0..50 {
                let text = format!("{number}/{turn}");
                assert_eq!(client.text("bad.echo", json!({"text": text})).await, text, "{words}");
            }
        }))
        .await;
        check_good(&clients[0]).await;
        assert_eq!(shown(&hub, "bad").await["state"], "RUNNING", "{words}");
        end(hub, &[]).await;
    }
}

#[tokio::test]
async fn an_answer_that_is_none_fails_its_call_at_once() {
    let hub = beside(server::child(""));
    let client = client::stateless(&hub);
    let deep = format!(r#""result":{{"content":{}{}}}"#, "[".repeat(200), "]".repeat(200));
    for members in [
        r#""result":[1,2]"#,
        r#""result":"text""#,
        r#""result":null"#,
        r#""result":7"#,
        r#""error":"text""#,
        r#""error":null"#,
        r#""result":{},"error":{}"#,
        r#""result":{},"result":{}"#,
        r#""Result":{}"#,
        r#""nothing":0"#,
        &deep,
    ] {
        let start = Instant::now();
        let (reason, message) = failure(&client, "bad.answer", json!({"members": members})).await;
        assert_eq!(reason, "bad_answer", "{members}: {message}");
        assert!(start.elapsed() < Duration::from_secs(20), "{members}");
    }
    assert_eq!(client.text("bad.echo", json!({"text": "well"})).await, "well");
    check_good(&client).await;
    assert_eq!(shown(&hub, "bad").await["state"], "RUNNING");
    end(hub, &[]).await;
}

#[tokio::test]
async fn a_server_that_stops_reading_holds_up_only_its_own_callers_and_a_bounded_queue() {
    const QUEUE: usize = 16;
    let hub = hub::new()
        .setting("limits", json!({"queue": QUEUE}))
        .server("bad", hurried("").with("pool", json!({"scope": "shared", "size": 1})))
        .server("good", server::child(""))
        .run();
    let client = client::stateless(&hub);
    client.text("bad.deaf", json!({})).await;
    check_good(&client).await;
    let before = hub.resident_kib();
    let large = "x".repeat(1 << 20);
    let callers: Vec<_> = (0..60).map(|_| client::stateless(&hub)).collect();
    let calls = join_all(callers.iter().map(|caller| failure(caller, "bad.echo", json!({"text": large}))));
    let (failures, ()) = tokio::join!(calls, async {
        for _ in 0..20 {
            check_good(&client).await;
        }
    });
    for (reason, message) in failures {
        assert!(matches!(reason.as_str(), "timeout" | "busy"), "{reason}: {message}");
    }
    // The callers' own bodies, which wait with them, and the queue.
    let grown = hub.resident_peak_kib().saturating_sub(before);
    assert!(grown < GROWTH_KIB + (60 << 10), "{before} KiB grew by {grown}");
    let pid = hub.descendants();
    assert_eq!(command(&hub, "stop", "bad").await, 200);
    assert_eq!(pid.iter().filter(|pid| is_running(**pid)).count(), 1, "the good one alone");
    assert_eq!(shown(&hub, "bad").await["state"], "STOPPED");
    end(hub, &pid).await;
}

#[tokio::test]
async fn a_server_that_says_nothing_at_all_fails_to_start_and_says_so() {
    let hub = beside(hurried("deaf"));
    let client = client::stateless(&hub);
    let (start, bad) = (Instant::now(), client::rest(&hub));
    let body = json!({"server_name": "bad"}).to_string();
    let (answer, ()) = tokio::join!(bad.post("/api/servers/start", &[], &body), check_good(&client));
    assert!(start.elapsed() < Duration::from_secs(20));
    assert_eq!((answer.status, &answer.json()["data"]["reason"]), (503, &json!("start_failed")), "{:?}", answer.body);
    let bad = shown(&hub, "bad").await;
    assert_eq!(bad["last_error"], "did not answer the handshake in time");
    end(hub, &[]).await;
}

#[tokio::test]
async fn servers_that_cannot_start_show_why_and_the_hub_is_ready_all_the_same() {
    let missing = server::program("/nowhere/no-such-program", &[]);
    let hub = hub::new()
        .server("missing", missing.boot())
        .server("exits", server::child("exit-at-start").boot())
        .server("mute", hurried("deaf").boot())
        .server("nodir", server::child("").with("cwd", "/nowhere/at/all").boot())
        .server("good", server::child("").boot())
        .run();
    let client = client::stateless(&hub);
    check_good(&client).await;
    for (name, error) in [
        ("missing", "cannot be run: '/nowhere/no-such-program': No such file or directory"),
        ("exits", "exited (status 3) during the handshake: exit-at-start"),
        ("mute", "did not answer the handshake in time"),
        ("nodir", "cannot be run: its cwd '/nowhere/at/all' is no folder"),
    ] {
        let shown = shown(&hub, name).await;
        assert!(matches!(shown["state"].as_str(), Some("CRASHED" | "STARTING")), "{shown}");
        let told = shown["last_error"].as_str().unwrap_or_default();
        assert!(told.starts_with(error), "{name}: {told}");
        let answer = client::rest(&hub).post("/api/servers/start", &[], &json!({"server_name": name}).to_string()).await;
        assert_eq!(answer.status, 503, "{:?}", answer.body);
        assert_eq!(command(&hub, "stop", name).await, 200);
    }
    check_good(&client).await;
    assert_eq!(hub.descendants().len(), 1, "only the good one has a process");
    for (tool, reason) in [("missing.echo", "stopped"), ("missing__echo", "stopped")] {
        assert_eq!(failure(&client, tool, json!({})).await.0, reason, "{tool}");
    }
    end(hub, &[]).await;
}

#[tokio::test]
async fn a_call_of_a_server_that_cannot_start_says_so_and_is_no_unknown_tool() {
    let hub = hub::new()
        .server("missing", server::program("/nowhere/no-such-program", &[]))
        .server("mute", hurried("deaf"))
        .server("byhand", server::child("").with("start", "manual"))
        .server("off", server::child("").with("enabled", false))
        .server("good", server::child(""))
        .run();
    for turn in 0..2 {
        let clients: Vec<_> = (0..5).map(|_| client::stateless(&hub)).collect();
        let (missing, mute, byhand, off, ()) = tokio::join!(
            failure(&clients[0], "missing.echo", json!({})),
            failure(&clients[1], "mute.echo", json!({})),
            failure(&clients[2], "byhand.echo", json!({})),
            failure(&clients[3], "off__echo", json!({})),
            check_good(&clients[4]),
        );
        for (reason, message) in [missing, mute] {
            assert!(matches!(reason.as_str(), "start_failed" | "crashed"), "{turn} {reason}: {message}");
        }
        assert_eq!((byhand.0.as_str(), off.0.as_str()), ("stopped", "disabled"));
    }
    let client = client::stateless(&hub);
    let unknown = client.ask("tools/call", json!({"name": "nobody.echo", "arguments": {}})).await.json();
    assert_eq!(unknown["error"]["code"], -32602, "{unknown}");
    end(hub, &[]).await;
}

#[tokio::test]
async fn servers_that_take_the_probe_badly_are_spoken_to_in_the_older_way() {
    for words in ["exit-at-probe", "silent-probe", "--era handshake", "exit-at-probe --revision 2025-03-26 --strict 1"] {
        let hub = beside(server::child(words).with("timeouts", json!({"start": 8})));
        let client = client::stateless(&hub);
        assert_eq!(client.text("bad.whoami", json!({})).await, "handshake", "{words}");
        check_good(&client).await;
        let bad = shown(&hub, "bad").await;
        assert_eq!((&bad["state"], &bad["error"], &bad["restart_count"]), (&json!("RUNNING"), &Value::Null, &json!(0)), "{words}");
        end(hub, &[]).await;
    }
}

#[tokio::test]
async fn a_server_that_ignores_every_request_to_end_is_killed() {
    for words in ["ignore-term", "linger", "ignore-term --era handshake"] {
        let hub = beside(hurried(words));
        let client = client::stateless(&hub);
        let pid: u32 = client.text("bad.pid", json!({})).await.parse().unwrap();
        assert!(is_running(pid));
        let start = Instant::now();
        let (status, ()) = tokio::join!(command(&hub, "stop", "bad"), check_good(&client));
        assert_eq!(status, 200);
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
        assert!(!is_running(pid), "{words}");
        assert_eq!(shown(&hub, "bad").await["state"], "STOPPED");
        assert_eq!(command(&hub, "start", "bad").await, 200);
        client.text("bad.pid", json!({})).await;
        end(hub, &[pid]).await;
    }
}

#[tokio::test]
async fn what_a_server_forked_goes_with_it_however_it_goes() {
    let hub = beside(hurried("ignore-term").with("restart", json!({"wait": 0.1})));
    let client = client::stateless(&hub);
    let fork = async || -> u32 {
        let pid = client.text("bad.fork", json!({})).await.parse().unwrap();
        assert!(is_running(pid));
        pid
    };
    let stopped = [fork().await, fork().await];
    assert_eq!(command(&hub, "stop", "bad").await, 200);
    assert!(!stopped.into_iter().any(is_running), "after a stop");

    assert_eq!(command(&hub, "start", "bad").await, 200);
    let crashed = fork().await;
    let (reason, _) = failure(&client, "bad.crash", json!({})).await;
    assert_eq!(reason, "server_exited");
    // The next answer comes from another process: the crashed one's group is dead.
    assert_eq!(command(&hub, "start", "bad").await, 200);
    let last = fork().await;
    assert!(!is_running(crashed), "after a crash");
    check_good(&client).await;
    end(hub, &[last]).await;
}

#[tokio::test]
async fn a_flood_on_stderr_and_of_requests_to_the_hub_is_drained_in_bounded_memory() {
    let hub = beside(server::child(""));
    let client = client::stateless(&hub);
    client.text("bad.echo", json!({"text": "up"})).await;
    check_good(&client).await;
    let before = hub.resident_kib();
    let large = "x".repeat(2 << 20);
    for _ in 0..20 {
        client.text("bad.stderr", json!({"text": large})).await;
    }
    let asking = r#"{"jsonrpc":"2.0","id":"q","method":"sampling/createMessage","params":{}}"#;
    let changing = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
    let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#;
    for line in [asking, changing, progress] {
        let lines = vec![line; 10_000].join("\n");
        for _ in 0..4 {
            client.text("bad.say", json!({"text": lines})).await;
        }
    }
    check_good(&client).await;
    assert_eq!(client.text("bad.echo", json!({"text": "well"})).await, "well");
    let grown = hub.resident_peak_kib().saturating_sub(before);
    assert!(grown < GROWTH_KIB, "{before} KiB grew by {grown}");
    end(hub, &[]).await;
}
