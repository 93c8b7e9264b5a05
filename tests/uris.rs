//! Resources under the names that an address asks for: prefixed with their server, or as it says them.

mod support;

use serde_json::{Value, json};
use support::{Client, client, hub, server};

async fn listed(client: &Client) -> Vec<String> {
    let list = client.ask("resources/list", json!({})).await.json();
    list["result"]["resources"].as_array().unwrap().iter().map(|resource| resource["uri"].as_str().unwrap().to_owned()).collect()
}

async fn read(client: &Client, uri: &str) -> Value {
    client.ask("resources/read", json!({"uri": uri})).await.json()
}

#[tokio::test]
async fn each_address_says_how_resources_are_named() {
    let hub = hub::new().server("s", server::child("full --resources 1")).run();
    for (path, uri) in [
        ("/mcp", "hub+s:file:///r0"),
        ("/mcp?uris=prefixed", "hub+s:file:///r0"),
        ("/mcp?uris=raw", "file:///r0"),
        ("/s/mcp", "file:///r0"),
        ("/s/mcp?uris=raw", "file:///r0"),
        ("/s/mcp?uris=prefixed", "hub+s:file:///r0"),
    ] {
        for client in [client::stateless_at(&hub, path), client::session_at(&hub, path, "2025-11-25").await] {
            assert_eq!(listed(&client).await, [uri], "{path}");
            let contents = read(&client, uri).await["result"]["contents"][0].clone();
            assert_eq!((&contents["uri"], &contents["text"]), (&json!(uri), &json!("this is file:///r0")), "{path}");
        }
    }
    let unknown = client::rest(&hub).post("/mcp?uris=own", &[("content-type", "application/json")], "{}").await;
    assert_eq!(unknown.status, 400);
    assert!(String::from_utf8_lossy(&unknown.body).contains("uris must be prefixed or raw"));
}

#[tokio::test]
async fn a_raw_uri_of_two_servers_is_nobodys_choice_to_make() {
    let child = || server::child("full --resources 1");
    let hub = hub::new().server("a", child()).server("b", child()).run();
    let client = client::stateless_at(&hub, "/mcp?uris=raw");
    assert_eq!(listed(&client).await, ["file:///r0", "file:///r0"]);
    let refused = read(&client, "file:///r0").await;
    assert_eq!(refused["error"]["code"], -32602, "{refused}");
    let candidates = json!(["hub+a:file:///r0", "hub+b:file:///r0"]);
    assert_eq!(refused["error"]["data"]["candidates"], candidates);
    let chosen = read(&client, "hub+b:file:///r0").await;
    assert_eq!(chosen["result"]["contents"][0]["text"], "this is file:///r0", "{chosen}");
}
