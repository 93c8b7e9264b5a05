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

#[tokio::test]
async fn an_extension_that_client_and_server_know_is_declared_at_that_servers_own_endpoint() {
    let hub = hub::new().server("s", server::child("full --era stateless --extension acme/x")).run();
    let said = json!({"extensions": {"acme/x": {"z": [1]}, "other/y": {}}, "roots": {}});
    let with = |tool: &str| json!({"name": tool, "arguments": {}, "_meta": {"io.modelcontextprotocol/clientCapabilities": said}});
    let text = |answer: serde_json::Value| answer["result"]["content"][0]["text"].as_str().unwrap_or_default().to_owned();
    let (own, merged) = (client::stateless_at(&hub, "/s/mcp"), client::stateless(&hub));
    let session = client::session_able(&hub, "/s/mcp", "2025-11-25", said.clone()).await;
    let shared = r#"{"roots":{},"extensions":{"acme/x":{"z":[1]}}}"#;
    assert_eq!(text(own.ask("tools/call", with("declared")).await.json()), shared);
    assert_eq!(session.text("declared", json!({})).await, shared);
    assert_eq!(text(merged.ask("tools/call", with("s.declared")).await.json()), r#"{"roots":{}}"#, "the hub could not carry it");
}

#[tokio::test]
async fn a_child_that_refuses_the_revision_is_asked_what_it_speaks_before_anything_is_sent_again() {
    for speaks in ["2026-07-28", "2025-11-25", "2031-01-01 <b>"] {
        for is_session in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("spoken");
            let hub = hub::new().server("s", server::child(&format!("--renounces {}", file.display()))).run();
            let client = if is_session { client::session(&hub, "2025-11-25").await } else { client::stateless(&hub) };
            assert_eq!(client.text("s.whoami", json!({})).await, "stateless");
            let pid = client.text("s.pid", json!({})).await;
            std::fs::write(&file, speaks).unwrap();
            if speaks.starts_with("2031") {
                let refused = client.ask("tools/call", json!({"name": "s.whoami", "arguments": {}})).await.json();
                let error = &refused["error"];
                assert_eq!((&error["code"], &error["data"]["reason"]), (&json!(-32603), &json!("bad_answer")), "{refused}");
                let text = "server 's' speaks no revision of MCP any more that the hub knows; it names 2031-01-01";
                assert_eq!(error["message"], text);
                continue;
            }
            let era = if speaks == "2026-07-28" { "stateless" } else { "handshake" };
            assert_eq!(client.text("s.whoami", json!({})).await, era, "{speaks}");
            // No process speaks in both ways.
            assert_eq!(client.text("s.pid", json!({})).await == pid, era == "stateless");
        }
    }
}
