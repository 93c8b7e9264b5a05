//! What happens beside a call's answer: progress on its own stream, and its end before time.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{
    HANDSHAKE, both,
    support::{Answer, Client, client, hub, server},
    wire::Wire,
    within,
};

const EVENTS: Option<&str> = Some("text/event-stream");
const JSON: Option<&str> = Some("application/json");

async fn progress(client: &Client, id: u64, steps: u64, token: Option<Value>) -> Answer {
    let mut params = json!({"name": "p.progress", "arguments": {"steps": steps}});
    if let Some(token) = token {
        params["_meta"] = json!({"progressToken": token});
    }
    within(client.ask_with(&json!(id), "tools/call", params)).await
}

#[tokio::test]
async fn progress_comes_on_the_calling_stream_with_the_clients_own_token() {
    let hub = hub::new().server("p", server::child("")).run();
    for client in &both(&hub, "/mcp").await {
        for token in [json!("tok"), json!(7), json!("7")] {
            let answer = progress(client, client.next_id(), 3, Some(token.clone())).await;
            assert_eq!((answer.status, answer.header("content-type")), (200, EVENTS));
            let messages = answer.messages();
            let told: Vec<_> =
                messages.iter().map(|message| (&message["params"]["progressToken"], &message["params"]["progress"])).collect();
            assert_eq!(told[..3], [(&token, &json!(1)), (&token, &json!(2)), (&token, &json!(3))], "{messages:?}");
            assert!(messages.len() == 4 && messages[3]["result"]["content"][0]["text"] == "done", "{messages:?}");
        }
        // Nobody asked, so nothing is told; and what is answered first needs no stream.
        let silent = progress(client, client.next_id(), 3, None).await;
        assert_eq!((silent.header("content-type"), silent.messages().len()), (JSON, 1));
        let prompt = progress(client, client.next_id(), 0, Some(json!("tok"))).await;
        assert_eq!((prompt.header("content-type"), prompt.messages().len()), (JSON, 1));
    }
}

#[tokio::test]
async fn calls_with_one_id_and_one_token_get_each_their_own_progress() {
    let hub = hub::new().server("p", server::child("")).run();
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.extend(both(&hub, "/mcp").await);
    }
    let answers = join_all((1..).zip(&clients).map(|(steps, client)| progress(client, 1, steps, Some(json!("same"))))).await;
    for (steps, answer) in (1..).zip(answers) {
        let messages = answer.messages();
        assert_eq!(messages.len(), steps + 1, "{messages:?}");
        assert!(messages[..steps].iter().all(|note| note["params"]["total"] == steps && note["params"]["progressToken"] == "same"));
        assert_eq!(messages[steps]["id"], 1);
    }
}

#[tokio::test]
async fn a_cancelled_call_is_cancelled_at_its_server_once_and_no_other_is() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("go").display().to_string();
    let hub = hub::new().server("c", server::child("")).server("other", server::child("")).run();
    let session = client::session(&hub, HANDSHAKE).await;
    let neighbour = client::session(&hub, HANDSHAKE).await;
    let mut held = Vec::new();
    for (id, like, server) in [(6, &session, "c"), (5, &neighbour, "c"), (7, &session, "other")] {
        let mut wire = Wire::connect(&hub, "/mcp", like, &format!("{server}.hold"), "file").await;
        wire.send(id, &file).await;
        held.push((id, wire));
    }
    let story = async {
        within(session.text("c.await", json!({"name": "never"}))).await;
        within(session.text("c.await", json!({"name": "hold", "count": 2}))).await;
        within(session.text("other.await", json!({"name": "hold"}))).await;
        for _ in 0..3 {
            // The second and third come too late, which is no error.
            let accepted = session.notify("notifications/cancelled", json!({"requestId": 5, "reason": "enough"})).await;
            assert_eq!(accepted.status, 202);
        }
        // Ids of other calls, other types and nobody's.
        for id in [json!("5"), json!("6"), json!(99)] {
            assert_eq!(session.notify("notifications/cancelled", json!({"requestId": id})).await.status, 202);
        }
    };
    let (beside, id) = (session.beside(), json!(5));
    let never = beside.ask_with(&id, "tools/call", json!({"name": "c.never", "arguments": {}}));
    let (unanswered, ()) = within(async { tokio::join!(never, story) }).await;
    assert_eq!((unanswered.status, unanswered.messages()), (200, vec![]));

    std::fs::write(&file, "").unwrap();
    for (id, mut wire) in held {
        let message = within(wire.answer()).await;
        assert_eq!((&message["id"], &message["result"]["content"][0]["text"]), (&json!(id), &json!("let go")));
    }
    assert_eq!(within(session.text("c.await", json!({"name": "cancelled"}))).await, "1");
    assert_eq!(session.text("other.cancellations", json!({})).await, "0");
    // The id is free again.
    assert_eq!(session.ask_with(&json!(5), "tools/call", json!({"name": "c.echo", "arguments": {"text": "x"}})).await.json()["id"], 5);
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_its_call_in_one_era_only() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("go").display().to_string();
    let hub = hub::new().server("c", server::child("")).run();
    let [stateless, session] = both(&hub, "/mcp").await;
    within(stateless.text("c.pid", json!({}))).await;

    // The handshake client first: were its call cancelled, the count below would tell.
    let mut wire = Wire::connect(&hub, "/mcp", &session, "c.hold", "file").await;
    wire.send(500, &file).await;
    within(stateless.text("c.await", json!({"name": "hold"}))).await;
    let open = hub.descriptors();
    drop(wire);
    within(async {
        while hub.descriptors() >= open {
            assert_eq!(stateless.get("/livez").await.status, 200);
        }
    })
    .await;
    let again = async || session.ask_with(&json!(500), "tools/call", json!({"name": "c.echo", "arguments": {"text": "x"}})).await;
    let in_use = again().await;
    assert_eq!((in_use.status, &in_use.json()["error"]["code"]), (400, &json!(-32600)), "its call goes on");

    let mut wire = Wire::connect(&hub, "/mcp", &stateless, "c.never", "text").await;
    wire.send(500, "").await;
    within(stateless.text("c.await", json!({"name": "never"}))).await;
    drop(wire);
    assert_eq!(within(stateless.text("c.await", json!({"name": "cancelled"}))).await, "1");

    std::fs::write(&file, "").unwrap();
    within(async { while again().await.status != 200 {} }).await;
    assert_eq!(stateless.text("c.cancellations", json!({})).await, "1");
}

#[tokio::test]
async fn a_request_whose_id_is_in_use_is_refused_and_does_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (file, log) = (dir.path().join("go").display().to_string(), dir.path().join("calls"));
    let hub = hub::new().server("c", server::child(&format!("--count {}", log.display()))).run();
    let session = client::session(&hub, HANDSHAKE).await;
    within(session.text("c.pid", json!({}))).await;
    let mut wire = Wire::connect(&hub, "/mcp", &session, "c.hold", "file").await;
    wire.send(500, &file).await;
    within(session.text("c.await", json!({"name": "hold"}))).await;
    let refused = session.ask_with(&json!(500), "tools/call", json!({"name": "c.echo", "arguments": {}})).await;
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (400, &json!(-32600)));
    // Another type is another id.
    session.ask_with(&json!("500"), "tools/call", json!({"name": "c.whoami", "arguments": {}})).await;
    std::fs::write(&file, "").unwrap();
    assert_eq!(within(wire.answer()).await["id"], 500);
    let calls = std::fs::read_to_string(log).unwrap();
    assert_eq!(calls.lines().collect::<BTreeSet<_>>(), ["await", "hold", "pid", "whoami"].into());
}
