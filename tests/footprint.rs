//! What the hub costs in memory: at rest, per running server, per idle connection. The figures are printed (`--nocapture`) and only
//! held to generous bounds, since debug builds and allocators differ; a release build is what counts.

mod support;

use futures_util::future::join_all;
use serde_json::json;
use support::{Hub, client, hub, raw, server};

const SERVERS: usize = 100;
const RUNNING: usize = 50;
const CONNECTIONS: usize = 2000;

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
    assert!(rest < 48 << 10, "at rest: {rest} KiB");
    assert!(per_server < 128, "per running server: {per_server} KiB");
    assert!(per_connection < 28.0, "per idle connection: {per_connection} KiB");
    drop((_first, _idle));
    assert!(hub.terminate().success());
}
