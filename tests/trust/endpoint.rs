//! What an endpoint says of what it has not: servers that are disabled, subscriptions that they do not take, lists that they have not;
//! and in whose name a server's own endpoint answers.

use serde_json::{Value, json};

use crate::{
    both, error, order,
    support::{client, events, hub, server},
    within,
};

#[tokio::test]
async fn a_server_that_was_disabled_is_not_an_unknown_tool() {
    let hub = hub::new().server("s", server::child("full")).run();
    let rest = client::rest(&hub);
    for (path, tool, uri) in [("/mcp", "s.echo", "hub+s:file:///r0"), ("/s/mcp", "echo", "file:///r0")] {
        let clients = both(&hub, path).await;
        for client in &clients {
            assert_eq!(client.text(tool, json!({"text": "x"})).await, "x");
        }
        assert_eq!(rest.post("/api/servers/stop?disable=true", &[], r#"{"server_name":"s"}"#).await.status, 200);
        for client in &clients {
            let called = error(client, tool).await;
            let read = client.ask("resources/read", json!({"uri": uri})).await.json()["error"].clone();
            for error in [called, read] {
                assert_eq!((&error["code"], &error["data"]["reason"]), (&json!(-32603), &json!("disabled")), "{path}: {error}");
            }
        }
        order(&rest, "start", "s").await;
        for client in &clients {
            assert_eq!(client.text(tool, json!({"text": "y"})).await, "y");
        }
    }
}

#[tokio::test]
async fn who_asks_to_watch_what_its_server_does_not_tell_of_is_told_why_not() {
    let hub = hub::new().server("s", server::child("full --no-subscribe 1")).run();
    let [_, session] = both(&hub, "/mcp").await;
    let refused = session.ask("resources/subscribe", json!({"uri": "hub+s:file:///r0"})).await.json();
    assert_eq!((&refused["error"]["code"], &refused["error"]["data"]["reason"]), (&json!(-32602), &json!("unsupported")), "{refused}");
}

#[tokio::test]
async fn only_an_object_is_a_filter_of_changes() {
    let hub = hub::new().run();
    let client = client::stateless(&hub);
    for filter in [json!([]), json!([true]), json!(null), json!("all"), json!({"toolsListChanged": 1})] {
        let refused = client.ask("subscriptions/listen", json!({"notifications": filter})).await;
        assert_eq!((refused.status, &refused.json()["error"]["code"]), (400, &json!(-32602)), "{filter}");
    }
}

#[tokio::test]
async fn a_servers_own_endpoint_tells_only_of_lists_that_it_has() {
    let hub = hub::new().server("some", server::child("")).server("all", server::child("full")).run();
    let wanted = json!({"toolsListChanged": true, "promptsListChanged": true, "resourcesListChanged": true});
    for (path, expected) in [("/some/mcp", json!({"toolsListChanged": true})), ("/all/mcp", wanted.clone()), ("/mcp", wanted.clone())] {
        let client = client::stateless_at(&hub, path);
        client.tools().await;
        let mut stream = events::post(&hub, path, &client, &json!(1), "subscriptions/listen", json!({"notifications": wanted})).await;
        let (acknowledged, _) = within(stream.message()).await;
        assert_eq!(acknowledged["params"]["notifications"], expected, "{path}");
    }
}

#[tokio::test]
async fn a_servers_own_endpoint_answers_everything_in_its_name() {
    let hub = ["handshake", "stateless"].iter().fold(hub::new(), |hub, era| hub.server(era, server::child(&format!("--era {era}")))).run();
    for (path, tool, expected) in [
        ("/handshake/mcp", "echo", "scripted-server"),
        ("/stateless/mcp", "echo", "scripted-server"),
        ("/mcp", "handshake.echo", "mcp-hub"),
    ] {
        let client = client::stateless_at(&hub, path);
        let info = |answer: &Value| answer["result"]["_meta"]["io.modelcontextprotocol/serverInfo"]["name"].clone();
        let listed = client.ask("tools/list", json!({})).await.json();
        let discovered = client.ask("server/discover", json!({})).await.json();
        let called = client.ask("tools/call", json!({"name": tool, "arguments": {"text": "x"}})).await.json();
        for answer in [listed, discovered, called] {
            assert_eq!(info(&answer), expected, "{path}: {answer}");
        }
    }
}
