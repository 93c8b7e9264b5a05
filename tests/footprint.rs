//! What the hub costs in memory: at rest, per running server, per idle connection. The figures are printed (`--nocapture`). A release
//! build is held to what the hub promises, a debug build to bounds that only show a leak.

mod support;

use std::time::Instant;

use futures_util::future::join_all;
use serde_json::json;
use support::{Hub, client, hub, raw, raw::Raw, server};

const SERVERS: usize = 100;
const RUNNING: usize = 50;
const CONNECTIONS: usize = 2000;
/// Another number by `MCP_HUB_TEST_SESSIONS`.
const SESSIONS: usize = 1000;

/// In KiB: at rest, for each running server, for each idle connection, for each session with a stream. Promised are 20 MB, 100 KB, 20 KiB.
#[cfg(not(debug_assertions))]
const BOUNDS: (u64, u64, f64, f64) = (20_000_000 >> 10, 100_000 >> 10, 20.0, 10.0);
#[cfg(debug_assertions)]
const BOUNDS: (u64, u64, f64, f64) = (48 << 10, 128, 28.0, 10.0);

/// One after the other: what is measured is what stays, not what a storm of starts needs.
async fn start(hub: &Hub, names: impl Iterator<Item = usize>) {
    let rest = client::rest(hub);
    for name in names {
        let started = rest.post("/api/servers/start", &[], &json!({"server_name": format!("s{name}")}).to_string()).await;
        assert_eq!(started.status, 200, "{:?}", started.body);
    }
}

#[tokio::test]
async fn memory_at_rest_per_server_and_per_connection() {
    // Without tools: lists grow with the tools, not with the processes.
    let builder = (0..SERVERS).fold(hub::new(), |hub, number| hub.server(&format!("s{number}"), server::child("--no-tools 1")));
    let hub = builder.run();
    let rest = hub.resident_kib();

    // The first ones pay for what all of them share.
    start(&hub, 0..5).await;
    let some = hub.resident_kib();
    start(&hub, 5..5 + RUNNING).await;
    let running = hub.resident_kib();

    let request = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let open = async |count: usize| {
        join_all((0..count).map(|_| async {
            let mut raw = raw::open(&hub).await;
            raw.send(request).await;
            assert!(raw.some().await.starts_with(b"HTTP/1.1 200"));
            raw
        }))
        .await
    };
    let _first = open(50).await;
    let few = hub.resident_kib();
    let _idle = open(CONNECTIONS).await;
    let many = hub.resident_kib();

    let per_server = running.saturating_sub(some) / RUNNING as u64;
    let per_connection = many.saturating_sub(few) as f64 / CONNECTIONS as f64;
    eprintln!("at rest with {SERVERS} configured servers: {rest} KiB");
    eprintln!("per running server: {per_server} KiB ({RUNNING} servers: {some} to {running} KiB)");
    eprintln!("per idle connection: {per_connection:.1} KiB ({CONNECTIONS} connections: {few} to {many} KiB)");
    let (rest_max, server_max, connection_max, _) = BOUNDS;
    assert!(rest < rest_max, "at rest: {rest} KiB");
    assert!(per_server < server_max, "per running server: {per_server} KiB");
    assert!(per_connection < connection_max, "per idle connection: {per_connection} KiB");
    drop((_first, _idle));
    assert!(hub.terminate().success());
}

/// Sessions with a stream open each, in which nothing was said but what they begin with.
async fn streams(hub: &Hub, count: usize) -> Vec<Raw> {
    let rest = client::rest(hub);
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {"roots": {}}, "clientInfo": {"name": "test", "version": "1"}});
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}).to_string();
    let mut streams = Vec::new();
    for _ in 0..count {
        let opened = rest.post("/mcp", &[], &hello).await;
        let session = opened.header("mcp-session-id").expect("a session");
        let mut raw = raw::open(hub).await;
        let head = format!("GET /mcp HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\nmcp-session-id: {session}\r\n\r\n");
        raw.send(head.as_bytes()).await;
        hear(&mut raw, b"data:\n\n").await;
        streams.push(raw);
    }
    streams
}

async fn hear(raw: &mut Raw, what: &[u8]) {
    let mut heard = Vec::new();
    while !heard.windows(what.len()).any(|part| part == what) {
        let some = raw.some().await;
        assert!(!some.is_empty(), "closed after {:?}", String::from_utf8_lossy(&heard));
        heard.extend(some);
    }
}

#[tokio::test]
async fn memory_per_session_with_a_stream() {
    let sessions = std::env::var("MCP_HUB_TEST_SESSIONS").ok().and_then(|number| number.parse().ok()).unwrap_or(SESSIONS);
    let hub = hub::new().server("s", server::child("")).run();
    let asking = client::stateless(&hub);
    asking.text("s.echo", json!({"text": "up"})).await;
    let _first = streams(&hub, 50).await;
    let few = hub.resident_kib();
    let mut streams = streams(&hub, sessions).await;
    let many = hub.resident_kib();
    let start = Instant::now();
    assert!(asking.tools().await.len() > 1);
    let listed = start.elapsed();

    asking.text("s.grow", json!({})).await;
    let start = Instant::now();
    for stream in &mut streams {
        hear(stream, b"tools/list_changed").await;
    }
    let (told, after) = (start.elapsed(), hub.resident_kib());
    let per_session = many.saturating_sub(few) as f64 / sessions as f64;
    eprintln!("per session with a stream: {per_session:.2} KiB ({sessions} sessions: {few} to {many} KiB)");
    eprintln!("a list meanwhile: {listed:?}; all told of a change: {told:?}, then {after} KiB");
    assert!(per_session < BOUNDS.3, "per session: {per_session} KiB");
}
