//! Roots that an entry names: what a server is told where its caller has none, whatever the two speak.

mod support;

use serde_json::{Value, json};
use support::{Client, client, hub, server};

const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

fn configured() -> Value {
    json!({"roots": [{"uri": "file:///home/me/a"}, {"uri": "file:///home/me/b"}]})
}

fn hub_with(era: &str) -> support::Hub {
    let roots = json!(["file:///home/me/a", "file:///home/me/b"]);
    hub::new().server("s", server::child(&format!("full --era {era}")).scope("user").with("roots", roots)).run()
}

/// What a tool says, of a call that nobody is asked anything for.
async fn said(client: &Client, tool: &str) -> Value {
    serde_json::from_str(&client.text(tool, json!({})).await).unwrap()
}

async fn call(client: &Client, able: &Value, arguments: &Value, retry: Value) -> Value {
    let mut params = json!({"name": "s.ask_roots", "arguments": arguments, "_meta": {CAPABILITIES: able}});
    params.as_object_mut().unwrap().extend(retry.as_object().unwrap().clone());
    client.ask("tools/call", params).await.json()["result"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_no_roots_has_those_of_the_entry_in_every_era() {
    for era in ["handshake", "stateless"] {
        let hub = hub_with(era);
        for client in [client::stateless(&hub), client::session(&hub, "2025-11-25").await] {
            assert_eq!(said(&client, "s.ask_roots").await, configured(), "{era}");
            assert_eq!(said(&client, "s.declared").await, json!({"roots": {}}), "{era}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_roots_is_asked_for_them() {
    for era in ["handshake", "stateless"] {
        let hub = hub_with(era);
        let client = client::stateless(&hub);
        let able = json!({"roots": {}});
        let asked = call(&client, &able, &json!({}), json!({})).await;
        assert_eq!(asked["resultType"], "input_required", "{era}: {asked}");
        let requests = asked["inputRequests"].as_object().unwrap();
        let (key, request) = requests.iter().next().unwrap();
        assert_eq!((requests.len(), &request["method"]), (1, &json!("roots/list")));
        let own = json!({"roots": [{"uri": "file:///own"}]});
        let retry = json!({"requestState": asked["requestState"], "inputResponses": {key: own}});
        let answer = call(&client, &able, &json!({}), retry).await;
        assert_eq!(serde_json::from_str::<Value>(answer["content"][0]["text"].as_str().unwrap()).unwrap(), own, "{era}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_questions_the_client_gets_those_that_it_can_answer_and_the_server_all_the_answers() {
    let hub = hub_with("stateless");
    let client = client::stateless(&hub);
    let (able, arguments) = (json!({"elicitation": {"form": {}}}), json!({"message": "who?"}));
    let mut asked = call(&client, &able, &arguments, json!({})).await;
    // What was not answered is asked again, and again without the roots.
    for _ in 0..2 {
        let requests = asked["inputRequests"].as_object().unwrap_or_else(|| panic!("{asked}"));
        let methods: Vec<_> = requests.values().map(|request| request["method"].clone()).collect();
        assert_eq!(methods, ["elicitation/create"]);
        asked = call(&client, &able, &arguments, json!({"requestState": asked["requestState"], "inputResponses": {}})).await;
    }
    let key = asked["inputRequests"].as_object().unwrap().keys().next().unwrap();
    let form = json!({"action": "accept", "content": {"name": "x"}});
    let retry = json!({"requestState": asked["requestState"], "inputResponses": {key: form}});
    let answer = call(&client, &able, &arguments, retry).await;
    let replies: Value = serde_json::from_str(answer["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}"))).unwrap();
    assert_eq!(replies, json!([configured(), form]));
}
