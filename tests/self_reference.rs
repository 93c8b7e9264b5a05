//! A configuration that leads back to its own hub: the hub knows itself again, and lists nothing twice.

mod support;

use std::net::TcpListener;

use serde_json::{Value, json};
use support::{
    client, hub,
    server::{self, Server},
};

async fn check(entry: Server, folder: &tempfile::TempDir, port: u16) {
    let builder = hub::new().setting("gateway", json!({"mcp_port": port})).server("a", server::child("echo")).server("me", entry);
    let hub = builder.run_in(folder.path());
    let started = client::rest(&hub).post("/api/servers/start", &[], r#"{"server_name":"me"}"#).await;
    let error = started.json().to_string();
    assert!(error.contains("self_reference"), "{error}");
    let info = client::rest(&hub).post("/api/servers/info", &[], r#"{"server_name":"me"}"#).await.json();
    assert_eq!(info["server"]["status"], "disconnected", "it is not tried again: {info}");
    let tools = client::session(&hub, "2025-11-25").await.tools().await;
    assert!(!tools.is_empty() && tools.iter().all(|tool| tool.starts_with("a.")), "{tools:?}");
}

/// Nobody else's for now, since it was somebody's a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).unwrap().port()
}

#[tokio::test]
async fn a_hub_refuses_to_be_its_own_remote_server() {
    let port = free_port();
    for (path, kind) in [("/mcp", "http"), ("/sse", "sse")] {
        let entry = server::remote(&format!("http://127.0.0.1:{port}{path}")).with("allow_private", true).with("type", kind);
        check(entry, &tempfile::tempdir().unwrap(), port).await;
    }
}

#[tokio::test]
async fn a_hub_refuses_a_child_that_reads_its_own_file() {
    let folder = tempfile::tempdir().unwrap();
    let (path, state) = (folder.path().join("servers.json"), folder.path().join("of-the-child"));
    let words: Vec<&str> = vec!["stdio", "--config", path.to_str().unwrap()];
    let environment: Value = json!({"XDG_STATE_HOME": state, "XDG_DATA_HOME": state, "XDG_CONFIG_HOME": state});
    let entry = server::program(env!("CARGO_BIN_EXE_mcp-hub"), &words).with("env", environment);
    check(entry, &folder, free_port()).await;
}
