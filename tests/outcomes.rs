//! What clients are told where their server has nothing to answer, or answers in words of another revision.

mod support;

use serde_json::json;
use support::{client, hub, server};

#[tokio::test]
async fn a_server_without_completion_completes_nothing_where_it_is_one_of_several() {
    let hub = hub::new()
        .server("a", server::child("full --era handshake --no-completion 1"))
        .server("b", server::child("full --era stateless --no-completion 1"))
        .run();
    let complete = |prompt: &str| json!({"ref": {"type": "ref/prompt", "name": prompt}, "argument": {"name": "who", "value": "A"}});
    for server in ["a", "b"] {
        let prompt = format!("{server}.prompt0");
        for client in [client::stateless(&hub), client::session(&hub, "2025-11-25").await] {
            let answer = client.ask("completion/complete", complete(&prompt)).await;
            assert_eq!((answer.status, &answer.json()["result"]["completion"]), (200, &json!({"values": []})), "{:?}", answer.body);
            let unknown = client.ask("completion/complete", complete(&format!("{server}.nobody"))).await.json();
            assert_eq!(unknown["error"]["code"], -32602, "{unknown}");
        }
        // Alone it says itself what it lacks.
        let own = client::stateless_at(&hub, &format!("/{server}/mcp"));
        assert_eq!(own.ask("completion/complete", complete("prompt0")).await.json()["error"]["code"], -32601);
    }
}

#[tokio::test]
async fn who_can_be_asked_nothing_is_told_that_a_page_has_to_be_opened() {
    let hub = hub::new().server("s", server::child("full --era handshake --revision 2025-11-25").scope("user")).run();
    let refused = client::stateless(&hub).ask("tools/call", json!({"name": "s.need_url", "arguments": {}})).await;
    let error = &refused.json()["error"];
    assert_eq!((refused.status, &error["code"]), (400, &json!(-32021)), "{error}");
    assert_eq!(error["data"], json!({"requiredCapabilities": {"elicitation": {"url": {}}}}));
}
