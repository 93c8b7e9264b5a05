//! Streams of sessions that break and are taken up again (MCP 2025-03-26 to 2025-11-25, Streamable HTTP): what was missed is told on
//! the stream it belongs to, once, and nothing of another.

mod support;

use serde_json::{Value, json};
use support::{client, events, hub, server};

/// A tool call whose first notice comes at once and whose rest waits for the file.
fn halves(file: &str) -> Value {
    json!({"name": "s.halves", "arguments": {"file": file}, "_meta": {"progressToken": "p"}})
}

fn progress(message: &Value) -> &Value {
    assert_eq!((&message["method"], &message["params"]["progressToken"]), (&json!("notifications/progress"), &json!("p")));
    &message["params"]["progress"]
}

#[tokio::test]
async fn a_broken_stream_of_a_request_is_taken_up_where_it_broke() {
    let hub = hub::new().server("s", server::child("")).run();
    for (at, version) in ["2025-03-26", "2025-06-18", "2025-11-25"].into_iter().enumerate() {
        let file = hub.dir().join(format!("go{at}")).display().to_string();
        let client = client::session(&hub, version).await;
        let mut broken = events::post(&hub, "/mcp", &client, &json!("c"), "tools/call", halves(&file)).await;
        assert_eq!(broken.status, 200);
        if version == "2025-11-25" {
            broken.primed().await;
        }
        let (first, id) = broken.message().await;
        assert_eq!(progress(&first), 1);
        let id = id.expect("an id to come back with");
        drop(broken);
        std::fs::write(&file, "").unwrap();

        // The stream of what was not asked for is another, and gets none of it.
        let mut other = events::get(&hub, "/mcp", &client, None).await;
        let mut resumed = events::get(&hub, "/mcp", &client, Some(&id)).await;
        assert_eq!(resumed.status, 200);
        assert_eq!(progress(&resumed.message().await.0), 2);
        let (answer, last) = resumed.message().await;
        assert_eq!((&answer["id"], &answer["result"]["content"][0]["text"]), (&json!("c"), &json!("both")));
        assert_eq!(resumed.next().await, None, "nothing follows an answer");

        let mut again = events::get(&hub, "/mcp", &client, Some(&id)).await;
        assert_eq!(progress(&again.message().await.0), 2, "the same as often as the client comes back");
        let mut rest = events::get(&hub, "/mcp", &client, last.as_deref()).await;
        assert_eq!(rest.next().await, None);

        client.send("DELETE", "/mcp", &[("mcp-session-id", client.session_id().unwrap())], "").await;
        if version == "2025-11-25" {
            other.primed().await;
        }
        assert_eq!(other.next().await, None);
    }
}

#[tokio::test]
async fn who_comes_back_before_the_break_is_seen_takes_the_stream_over() {
    let hub = hub::new().server("s", server::child("")).run();
    let file = hub.dir().join("go").display().to_string();
    let client = client::session(&hub, "2025-11-25").await;
    let mut first = events::post(&hub, "/mcp", &client, &json!(1), "tools/call", halves(&file)).await;
    let primed = first.primed().await;
    assert_eq!(progress(&first.message().await.0), 1);
    let mut second = events::get(&hub, "/mcp", &client, Some(&primed)).await;
    assert_eq!(progress(&second.message().await.0), 1);
    std::fs::write(&file, "").unwrap();
    assert_eq!(first.next().await, None, "one stream, one reader");
    assert_eq!(progress(&second.message().await.0), 2);
    assert_eq!(second.message().await.0["result"]["content"][0]["text"], "both");
    assert_eq!(second.next().await, None);
}

#[tokio::test]
async fn the_stream_of_a_session_is_taken_up_too_and_by_its_session_only() {
    let hub = hub::new().server("s", server::child("")).run();
    let client = client::session(&hub, "2025-11-25").await;
    client.text("s.echo", json!({"text": "up"})).await;
    let mut first = events::get(&hub, "/mcp", &client, None).await;
    let primed = first.primed().await;
    client.text("s.grow", json!({})).await;
    let (told, id) = first.message().await;
    assert_eq!(told["method"], "notifications/tools/list_changed");
    assert_ne!(id.as_deref(), Some(&*primed));

    assert_eq!(events::get(&hub, "/mcp", &client, None).await.status, 409, "it has a stream already");
    let mut second = events::get(&hub, "/mcp", &client, Some(&primed)).await;
    assert_eq!(second.message().await, (told, id.clone()), "missed, as far as the hub can know");
    assert_eq!(first.next().await, None);
    drop(second);
    let mut third = events::get(&hub, "/mcp", &client, id.as_deref()).await;
    client.text("s.grow", json!({})).await;
    let (told, next) = third.message().await;
    assert_eq!(told["method"], "notifications/tools/list_changed");
    assert!(next.is_some() && next != id);

    let other = client::session(&hub, "2025-11-25").await;
    let mut of_other = events::get(&hub, "/mcp", &other, Some(&primed)).await;
    other.send("DELETE", "/mcp", &[("mcp-session-id", other.session_id().unwrap())], "").await;
    assert_eq!(of_other.next().await, None, "an id means the stream of the session it is said in");
}

#[tokio::test]
async fn what_was_never_said_or_is_not_kept_cannot_be_taken_up() {
    let hub = hub::new().server("s", server::child("")).run();
    let client = client::session(&hub, "2025-11-25").await;
    for id in ["1-0", "99-1", "0", "-", "0-x", "4294967296-0", "0-99999999999999999999", "a-1"] {
        let refused = client.send("GET", "/mcp", &resume(client.session_id().unwrap(), id), "").await;
        assert_eq!((refused.status, refused.json()["error"]["code"].as_i64()), (400, Some(-32600)), "{id}");
    }
    // A call that was answered without a stream has none.
    client.text("s.echo", json!({"text": "x"})).await;
    assert_eq!(client.send("GET", "/mcp", &resume(client.session_id().unwrap(), "1-0"), "").await.status, 400);
    assert_eq!(client.send("GET", "/mcp", &resume("nobody", "0-0"), "").await.status, 404);
}

fn resume<'a>(session: &'a str, id: &'a str) -> [(&'a str, &'a str); 3] {
    [("accept", "text/event-stream"), ("mcp-session-id", session), ("last-event-id", id)]
}

#[tokio::test]
async fn an_array_that_has_notices_is_answered_by_a_stream() {
    let hub = hub::new().server("s", server::child("")).run();
    let file = hub.dir().join("go").display().to_string();
    let client = client::session(&hub, "2025-03-26").await;
    let call = |id: &str, params: Value| json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params});
    let quick = call("quick", json!({"name": "s.echo", "arguments": {"text": "x"}}));
    let ping = json!({"jsonrpc": "2.0", "id": "ping", "method": "ping"});
    let batch = json!([quick, ping, call("slow", halves(&file))]).to_string();
    let headers = [
        ("accept", "application/json, text/event-stream"),
        ("content-type", "application/json"),
        ("mcp-session-id", client.session_id().unwrap()),
    ];
    let mut stream = events::open(hub.address, "POST", "/mcp", &headers, &batch).await;
    assert_eq!((stream.status, &stream.headers["content-type"]), (200, &"text/event-stream".parse().unwrap()));
    let mut ids = Vec::new();
    let mut told = 0;
    let mut last = String::new();
    while ids.len() < 2 || told == 0 {
        let (message, id) = stream.message().await;
        last = id.unwrap();
        match message["id"].as_str() {
            Some(id) => ids.push(id.to_owned()),
            None => told = progress(&message).as_u64().unwrap(),
        }
    }
    ids.sort();
    assert_eq!((ids, told), (vec!["ping".to_owned(), "quick".to_owned()], 1));
    drop(stream);
    std::fs::write(&file, "").unwrap();
    let mut rest = events::get(&hub, "/mcp", &client, Some(&last)).await;
    assert_eq!(progress(&rest.message().await.0), 2);
    assert_eq!(rest.message().await.0["id"], "slow");
    assert_eq!(rest.next().await, None);
}
