//! Many clients, the same ids, answers in any order: nothing is lost, doubled or mixed up.

use std::time::Instant;

use futures_util::future::join_all;
use serde_json::json;

use crate::{
    HANDSHAKE,
    support::{client, hub, server},
    wire::Wire,
};

const TENANTS: [&str; 2] = ["acme", "umbrella"];
const CLIENTS: usize = 200;
/// In the suite; `MCP_HUB_TEST_CALLS` asks for another number.
const CALLS: usize = 100_000;

#[tokio::test]
async fn every_call_of_200_clients_of_two_tenants_gets_its_own_answer_once() {
    let calls = std::env::var("MCP_HUB_TEST_CALLS").map_or(CALLS, |calls| calls.parse().unwrap());
    let each = calls.div_ceil(CLIENTS);
    // Several threads share the connections, whatever the machine: answers cross them.
    let gateway = json!({"threads": 3});
    let mut hub = hub::new().setting("limits", json!({"in_flight": CLIENTS + 1})).setting("gateway", gateway);
    for tenant in TENANTS {
        hub = hub.tenant_server(tenant, "same", server::child(&format!("shuffle --label {tenant}")));
    }
    let hub = hub.run();

    let mut wires = Vec::new();
    for number in 0..CLIENTS {
        let tenant = TENANTS[number % 2];
        let path = format!("/t/{tenant}/mcp");
        let like = match number % 4 {
            0 | 1 => client::stateless_at(&hub, &path),
            _ => client::session_at(&hub, &path, HANDSHAKE).await,
        };
        wires.push((number, tenant, Wire::connect(&hub, &path, &like, "same.label", "text").await));
    }
    let start = Instant::now();
    join_all(wires.into_iter().map(async |(number, tenant, mut wire)| {
        for id in 1..=each {
            wire.send(id, &format!("{number}-{id}")).await;
            let message = wire.answer().await;
            assert_eq!(message["id"], id, "{message}");
            assert_eq!(message["result"]["content"][0]["text"], format!("{tenant}/{number}-{id}"), "{message}");
        }
        wire.assert_quiet();
    }))
    .await;
    let elapsed = start.elapsed();

    for tenant in TENANTS {
        let counted = client::stateless_at(&hub, &format!("/t/{tenant}/mcp")).text("same.await", json!({"name": "label"})).await;
        assert_eq!(counted, (each * CLIENTS / 2).to_string(), "{tenant}");
    }
    eprintln!("{} calls in {elapsed:.1?}", each * CLIENTS);
}
