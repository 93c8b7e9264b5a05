//! What a hub must keep whatever happens: every call gets its own answer once, children live and die as they are told, lists and
//! names hold, and the end is clean. The real binary, real children, clients of both eras.

#[path = "../support/mod.rs"]
mod support;

mod crash;
mod endpoint;
mod list;
mod load;
mod pool;
mod stop;
mod stream;
mod wire;

use std::{future::Future, time::Duration};

use serde_json::{Value, json};
use support::{Client, Hub, client};

/// The three handshake revisions have one way through the hub; this stands for them.
const HANDSHAKE: &str = "2025-11-25";

/// A failing test ends, too.
async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("an answer in time")
}

/// One client of each era at this address.
async fn both(hub: &Hub, path: &str) -> [Client; 2] {
    [client::stateless_at(hub, path), client::session_at(hub, path, HANDSHAKE).await]
}

/// The error of a call that must fail.
async fn error(client: &Client, tool: &str) -> Value {
    let message = client.ask("tools/call", json!({"name": tool, "arguments": {}})).await.json();
    assert!(message["error"].is_object(), "{message}");
    message["error"].clone()
}

/// The REST object of a server of the default tenant.
async fn server(rest: &Client, name: &str) -> Value {
    rest.get(&format!("/api/servers/default/{name}")).await.json()
}

/// Starts or stops (`verb`) a server of the default tenant.
async fn order(rest: &Client, verb: &str, name: &str) {
    let answer = rest.post(&format!("/api/servers/default/{name}/{verb}"), &[], "{}").await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
}
