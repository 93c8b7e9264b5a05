//! Clients that misbehave: silent, slow, endless, gone. They are closed on time, others never notice, what they had at the servers
//! is cancelled where their era says so, and everything they held is counted back. Also who must show a key.

mod support;

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use support::{
    Client, Hub, client, hub,
    raw::{self, Raw},
    server,
};

const MEBIBYTE: usize = 1 << 20;

/// The bytes of a stateless tool call that asks to be the last on its connection.
fn call(tool: &str, arguments: &Value) -> String {
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}});
    let params = json!({"name": tool, "arguments": arguments, "_meta": meta});
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string();
    let headers = format!("mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: {tool}\r\n");
    post(&headers, &body)
}

fn post(headers: &str, body: &str) -> String {
    format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
         accept: application/json, text/event-stream\r\ncontent-length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}

async fn check_good(client: &Client) {
    for turn in 0..20 {
        let text = format!("still here {turn}");
        assert_eq!(client.text("good.echo", json!({"text": text})).await, text);
    }
}

/// A figure of the hub that has to come back to what it was; closing a socket is not seen at once on the other side.
async fn comes_back(what: &str, start: usize, now: impl Fn() -> usize) {
    let until = Instant::now() + Duration::from_secs(20);
    while now() > start {
        assert!(Instant::now() < until, "{what}: {} after {start}", now());
        tokio::task::yield_now().await;
    }
}

async fn sessions(hub: &Hub) -> u64 {
    client::rest(hub).get("/api/health").await.json()["mcpEndpoint"]["activeClients"].as_u64().unwrap()
}

#[tokio::test]
async fn a_connection_that_is_silent_or_slow_is_closed_on_time_and_nobody_else_waits() {
    let hub = hub::new().server("good", server::child("")).run();
    let good = client::stateless(&hub);
    check_good(&good).await;
    let before = hub.descriptors();
    // The rest of the first-byte, header and body timers is tested with virtual time beside the code.
    let starts = [
        "",
        "GET /health HT",
        "GET /health HTTP/1.1\r\nhost: localhost\r\nx-long: ",
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n{\"jsonrpc\"",
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"jso",
    ];
    let opened = Instant::now();
    let slow = starts.iter().cycle().take(100).map(|start| {
        let hub = &hub;
        async move {
            let mut raw = raw::open(hub).await;
            raw.send(start.as_bytes()).await;
            raw.rest().await;
            opened.elapsed()
        }
    });
    let (closed, ()) = tokio::join!(join_all(slow), async {
        for _ in 0..5 {
            check_good(&good).await;
        }
        assert!(opened.elapsed() < Duration::from_secs(8), "the others waited");
    });
    for (after, start) in closed.iter().zip(starts.iter().cycle()) {
        assert!((10..=14).contains(&after.as_secs()), "{start:?} after {after:?}");
    }
    comes_back("descriptors", before, || hub.descriptors()).await;
    check_good(&good).await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_whether_announced_or_not() {
    let hub = hub::new().setting("limits", json!({"body_mb": 1})).server("good", server::child("")).run();
    let announced = format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        64 * MEBIBYTE
    );
    let answer = raw::ask(&hub, &announced).await;
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (413, &json!(-32600)), "not one byte of it was needed");

    for path in ["/mcp", "/api/servers/start"] {
        let mut raw = raw::open(&hub).await;
        raw.send(format!("POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n").as_bytes()).await;
        let chunk = [format!("{:x}\r\n", MEBIBYTE / 4).into_bytes(), vec![b' '; MEBIBYTE / 4], b"\r\n".to_vec()].concat();
        // Endless: only the hub can end this. It throws away for a short while what is still sent, for the answer's sake.
        let start = Instant::now();
        while raw.sends(&chunk).await {
            assert!(start.elapsed() < Duration::from_secs(10), "{path}: the hub takes whatever comes");
        }
    }
    // Within its time, the refusal is there to be read.
    let mut raw = raw::open(&hub).await;
    raw.send(b"POST /mcp HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n").await;
    raw.send(&[format!("{:x}\r\n", MEBIBYTE + 1).into_bytes(), vec![b' '; MEBIBYTE + 1]].concat()).await;
    assert_eq!(raw.answer().await.status, 413);
    check_good(&client::stateless(&hub)).await;
    assert!(hub.resident_peak_kib() < 128 << 10, "{} KiB", hub.resident_peak_kib());
}

#[tokio::test]
async fn a_reader_of_nothing_holds_its_answer_and_nothing_else() {
    let hub = hub::new().server("bad", server::child("")).server("good", server::child("")).run();
    let good = client::stateless(&hub);
    check_good(&good).await;
    good.text("bad.blob", json!({"bytes": 8})).await;
    let before = hub.descriptors();
    let mut slow = Vec::new();
    for _ in 0..4 {
        let mut raw = raw::open(&hub).await;
        raw.send(call("bad.blob", &json!({"bytes": 15 * MEBIBYTE})).as_bytes()).await;
        // The answer has begun, and its rest waits in the hub.
        assert!(raw.some().await.starts_with(b"HTTP/1.1 200"));
        slow.push(raw);
    }
    check_good(&good).await;
    assert_eq!(good.text("bad.echo", json!({"text": "not held up"})).await, "not held up");
    let whole = slow.pop().unwrap().rest().await;
    assert!(whole.len() > 14 * MEBIBYTE && whole.ends_with(b"}"), "{} bytes", whole.len());
    slow.into_iter().for_each(Raw::vanish);
    comes_back("descriptors", before, || hub.descriptors()).await;
    check_good(&good).await;
}

#[tokio::test]
async fn five_hundred_clients_that_vanish_in_their_calls_leave_nothing_behind() {
    const CLIENTS: usize = 500;
    // No slot to spare: the second round finds room only if the first gave back every permit and every place on the link.
    let hub = hub::new()
        .setting("limits", json!({"in_flight": CLIENTS + 2, "queue": CLIENTS + 2}))
        .server("bad", server::child("").with("pool", json!({"scope": "shared", "size": 1})))
        .server("good", server::child(""))
        .run();
    let watching = client::stateless(&hub);
    check_good(&watching).await;
    watching.text("bad.echo", json!({"text": "up"})).await;
    let before = hub.descriptors();
    let resident = hub.resident_kib();
    let request = call("bad.never", &json!({}));
    for round in 1..=3 {
        let came = json!({"name": "never", "count": round * CLIENTS});
        let gone = json!({"name": "cancelled", "count": round * CLIENTS});
        let callers = join_all((0..CLIENTS).map(|_| async {
            let mut raw = raw::open(&hub).await;
            raw.send(request.as_bytes()).await;
            raw
        }))
        .await;
        watching.text("bad.await", came).await;
        let full = watching.ask("tools/call", json!({"name": "good.echo", "arguments": {"text": "room for one"}})).await;
        assert_eq!(full.json()["result"]["content"][0]["text"], "room for one");
        callers.into_iter().for_each(Raw::vanish);
        assert_eq!(watching.text("bad.await", gone).await, (round * CLIENTS).to_string(), "each cancelled once");
        comes_back("descriptors", before, || hub.descriptors()).await;
    }
    assert_eq!(watching.text("bad.cancellations", json!({})).await, (3 * CLIENTS).to_string());
    check_good(&watching).await;
    let grown = hub.resident_kib().saturating_sub(resident);
    assert!(grown < 48 << 10, "{resident} KiB grew by {grown}");
}

#[tokio::test]
async fn clients_that_vanish_before_their_request_is_whole_leave_nothing_behind() {
    let hub = hub::new().server("good", server::child("")).run();
    let watching = client::stateless(&hub);
    check_good(&watching).await;
    let before = hub.descriptors();
    let request = call("good.echo", &json!({"text": "x"}));
    for cut in [0, 1, 30, request.find("\r\n\r\n").unwrap() + 2, request.find("\r\n\r\n").unwrap() + 4, request.len() - 1, request.len()] {
        for vanish in [true, false] {
            for _ in 0..30 {
                let mut raw = raw::open(&hub).await;
                raw.send(&request.as_bytes()[..cut]).await;
                if vanish {
                    raw.vanish();
                }
            }
        }
    }
    comes_back("descriptors", before, || hub.descriptors()).await;
    check_good(&watching).await;
}

#[tokio::test]
async fn a_handshake_client_that_vanishes_keeps_its_session_and_its_call_goes_on() {
    const SESSIONS: usize = 50;
    let hub = hub::new().server("bad", server::child("")).run();
    let watching = client::stateless(&hub);
    watching.text("bad.echo", json!({"text": "up"})).await;
    let (before, start) = (hub.descriptors(), sessions(&hub).await);
    let clients = join_all((0..SESSIONS).map(|_| client::session(&hub, "2025-11-25"))).await;
    assert_eq!(sessions(&hub).await, start + SESSIONS as u64);

    let file = hub.dir().join("let-go");
    let params = json!({"name": "bad.hold", "arguments": {"file": file}});
    let body = json!({"jsonrpc": "2.0", "id": "held", "method": "tools/call", "params": params}).to_string();
    let mut calls = Vec::new();
    let mut streams = Vec::new();
    for client in &clients {
        let id = client.session_id().unwrap();
        let mut raw = raw::open(&hub).await;
        raw.send(post(&format!("mcp-session-id: {id}\r\n"), &body).as_bytes()).await;
        calls.push(raw);
        let mut stream = raw::open(&hub).await;
        stream
            .send(format!("GET /mcp HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\nmcp-session-id: {id}\r\n\r\n").as_bytes())
            .await;
        assert!(stream.some().await.starts_with(b"HTTP/1.1 200"));
        streams.push(stream);
    }
    watching.text("bad.await", json!({"name": "hold", "count": SESSIONS})).await;
    calls.into_iter().chain(streams).for_each(Raw::vanish);
    for client in &clients {
        // The id is still in use: its call was not cancelled. The stream can be opened again.
        let again = client.ask_with(&json!("held"), "tools/call", params.clone()).await;
        assert_eq!((again.status, &again.json()["error"]["code"]), (400, &json!(-32600)), "{:?}", again.body);
        let headers = [("accept", "text/event-stream"), ("mcp-session-id", client.session_id().unwrap())];
        let until = Instant::now() + Duration::from_secs(20);
        while client.open("GET", "/mcp", &headers, "").await.status() != 200 {
            assert!(Instant::now() < until, "the stream of a client that is gone is still taken");
        }
    }
    assert_eq!(watching.text("bad.cancellations", json!({})).await, "0", "neither the calls that go on nor those refused");
    std::fs::write(&file, "").unwrap();
    // Answered now, to nobody; then the id is free.
    for client in &clients {
        let until = Instant::now() + Duration::from_secs(20);
        while client.ask_with(&json!("held"), "tools/call", params.clone()).await.json().get("result").is_none() {
            assert!(Instant::now() < until, "the call of a client that is gone never ended");
        }
        let ended = client.send("DELETE", "/mcp", &[("mcp-session-id", client.session_id().unwrap())], "").await;
        assert_eq!(ended.status, 204);
    }
    assert_eq!(sessions(&hub).await, start);
    drop(clients);
    comes_back("descriptors", before, || hub.descriptors()).await;
}

#[tokio::test]
async fn beyond_loopback_everybody_shows_the_key_that_the_first_start_made() {
    let hub = hub::new().server("good", server::child("")).arg("--host").arg("0.0.0.0").run();
    let client = client::rest(&hub);
    let file = hub.dir().join("state/mcp-hub/first-key");
    let key = std::fs::read_to_string(&file).unwrap().trim().to_owned();
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&file).unwrap());
    assert_eq!((key.len() >= 32, mode & 0o777), (true, 0o600));
    let (right, wrong) = (format!("Bearer {key}"), format!("Bearer {}x", &key[1..]));
    let own = (String::from("mcp-protocol-version"), String::from("2026-07-28"));
    let message = client::stateless(&hub).message(Some(&json!(1)), "tools/list", json!({}));
    let forwards = [("x-forwarded-for", "203.0.113.9"), ("forwarded", "for=203.0.113.9"), ("x-real-ip", "203.0.113.9")];
    for forwarded in forwards {
        for (authorization, status) in [(None, 401), (Some(wrong.as_str()), 401), (Some("Basic eA=="), 401), (Some(right.as_str()), 200)] {
            let mut headers = vec![forwarded, (own.0.as_str(), own.1.as_str()), ("mcp-method", "tools/list")];
            headers.extend(authorization.map(|value| ("authorization", value)));
            for (verb, path, body) in [("POST", "/mcp", message.1.as_str()), ("GET", "/api/servers", ""), ("GET", "/", "")] {
                let answer = match verb {
                    "POST" => client.post(path, &headers, body).await,
                    _ => client.send(verb, path, &headers, body).await,
                };
                let case = format!("{forwarded:?} {authorization:?} {verb} {path}");
                assert_eq!(answer.status, status, "{case}");
                let challenge = answer.header("www-authenticate").map(|value| value.starts_with("Bearer"));
                assert_eq!(challenge, (status == 401).then_some(true), "{case}");
            }
        }
        for path in ["/nowhere", "/api/nowhere", "/other/mcp"] {
            assert_eq!(client.send("GET", path, &[forwarded], "").await.status, 401, "{path}: nobody learns what exists");
        }
        for path in ["/health", "/livez", "/readyz"] {
            assert_eq!(client.send("GET", path, &[forwarded], "").await.status, 200, "{path}");
        }
    }
    // A peer of this machine that nobody speaks for is its admin; a wrong key is wrong all the same.
    assert_eq!(client.get("/api/servers").await.status, 200);
    assert_eq!(client.send("GET", "/api/servers", &[("authorization", &wrong)], "").await.status, 401);
}

#[tokio::test]
async fn on_loopback_without_credentials_only_a_proxy_is_refused() {
    let hub = hub::new().server("good", server::child("")).run();
    let client = client::rest(&hub);
    assert_eq!(client.get("/api/servers").await.status, 200);
    assert_eq!(client.send("GET", "/api/servers", &[("x-forwarded-for", "203.0.113.9")], "").await.status, 401);
    assert_eq!(client.send("GET", "/api/servers", &[("authorization", "Bearer x")], "").await.status, 401);
    assert!(!hub.dir().join("state/mcp-hub/first-key").exists());
    check_good(&client::stateless(&hub)).await;
}
