//! HTTP+SSE of 2024-11-05: a stream that tells where to POST, answers and notices on it, and a session that ends with it.

mod support;

use serde_json::{Value, json};
use support::{Client, Events, Hub, client, events, hub, server, talk};

/// An open stream, and the address for its messages.
struct Talk {
    stream: Events,
    to: String,
    client: Client,
}

async fn open(hub: &Hub, path: &str) -> Talk {
    let mut stream = events::open(hub.address, "GET", path, &[("accept", "text/event-stream")], "").await;
    assert_eq!((stream.status, &stream.headers["content-type"]), (200, &"text/event-stream".parse().unwrap()));
    let first = stream.next().await.unwrap();
    assert_eq!((first.event.as_deref(), first.id), (Some("endpoint"), None));
    Talk { stream, to: first.data, client: client::rest(hub) }
}

impl Talk {
    async fn say(&self, message: &Value) -> u16 {
        self.client.post(&self.to, &[], &message.to_string()).await.status
    }

    async fn hear(&mut self) -> Value {
        let (message, id) = self.stream.message().await;
        assert_eq!(id, None, "nothing is resumed here");
        message
    }

    async fn ask(&mut self, message: &Value) -> Value {
        assert_eq!(self.say(message).await, 202);
        self.hear().await
    }

    async fn handshake(&mut self) -> Value {
        let answer = self.ask(&talk::initialize("i", "2024-11-05")).await;
        assert_eq!(self.say(&talk::notice("notifications/initialized", json!({}))).await, 202);
        answer
    }
}

fn call(id: &str, tool: &str, arguments: &Value) -> Value {
    talk::request(id, "tools/call", json!({"name": tool, "arguments": arguments, "_meta": {"progressToken": 1}}))
}

#[tokio::test]
async fn everything_is_said_on_the_stream() {
    let hub = hub::new().server("s", server::child("")).run();
    let mut talk = open(&hub, "/sse").await;
    let hello = talk.handshake().await;
    assert_eq!((&hello["id"], &hello["result"]["protocolVersion"]), (&json!("i"), &json!("2024-11-05")));
    let tools = talk.ask(&talk::request(1, "tools/list", json!({}))).await;
    assert!(tools["result"]["tools"].as_array().unwrap().iter().any(|tool| tool["name"] == "s.echo"), "{tools}");

    let told = talk.ask(&call("p", "s.progress", &json!({"steps": 2}))).await;
    assert_eq!((&told["method"], &told["params"]["progress"]), (&json!("notifications/progress"), &json!(1)));
    assert_eq!(talk.hear().await["params"]["progress"], 2);
    assert_eq!(talk.hear().await["result"]["content"][0]["text"], "done");

    assert_eq!(talk.say(&call("g", "s.grow", &json!({}))).await, 202);
    let (one, other) = (talk.hear().await, talk.hear().await);
    assert!([&one, &other].iter().any(|message| message["id"] == "g"));
    assert!([&one, &other].iter().any(|message| message["method"] == "notifications/tools/list_changed"));

    // Cancelled by its id, and nothing is said of it.
    assert_eq!(talk.say(&call("n", "s.never", &json!({}))).await, 202);
    talk.ask(&call("a", "s.await", &json!({"name": "never"}))).await;
    assert_eq!(talk.say(&talk::notice("notifications/cancelled", json!({"requestId": "n"}))).await, 202);
    assert_eq!(talk.ask(&call("c", "s.await", &json!({"name": "cancelled"}))).await["id"], "c");

    let refused = talk.client.post(&talk.to, &[], "{").await;
    assert_eq!((refused.status, &talk.hear().await["error"]["code"]), (202, &json!(-32700)));
}

#[tokio::test]
async fn a_session_is_of_its_address_and_ends_with_its_stream() {
    let hub = hub::new().server("s", server::child("")).tenant_server("other", "o", server::child("")).run();
    for (path, name) in [
        ("/sse?names=safe", "s__echo"),
        ("/s/sse", "echo"),
        ("/t/other/sse", "o.echo"),
        ("/t/other/o/sse", "echo"),
        ("/t/default/s/sse", "echo"),
    ] {
        let mut talk = open(&hub, path).await;
        talk.handshake().await;
        let answer = talk.ask(&call("1", name, &json!({"text": path}))).await;
        assert_eq!(answer["result"]["content"][0]["text"], *path, "{answer}");
    }
    for path in ["/x/sse", "/t/none/sse", "/t/other/s/sse"] {
        let missing = events::open(hub.address, "GET", path, &[("accept", "text/event-stream")], "").await;
        assert_eq!(missing.status, 404, "{path}");
    }

    let mut first = open(&hub, "/sse").await;
    let mut second = open(&hub, "/sse").await;
    assert_ne!(first.to, second.to);
    first.handshake().await;
    second.handshake().await;
    for (talk, text) in [(&mut first, "1"), (&mut second, "2")] {
        assert_eq!(talk.ask(&call("same", "s.echo", &json!({"text": text}))).await["result"]["content"][0]["text"], text);
    }
    // What is under way when the stream closes is cancelled.
    assert_eq!(first.say(&call("n", "s.never", &json!({}))).await, 202);
    assert_eq!(second.ask(&call("a", "s.await", &json!({"name": "never"}))).await["id"], "a");
    let Talk { stream, to, client } = first;
    drop(stream);
    assert_eq!(second.ask(&call("c", "s.await", &json!({"name": "cancelled"}))).await["id"], "c");
    assert_eq!(client.post(&to, &[], &talk::request(1, "ping", json!({})).to_string()).await.status, 404);
}

#[tokio::test]
async fn what_is_no_message_of_a_session_is_refused_by_its_status() {
    let hub = hub::new().setting("limits", json!({"body_mb": 1})).run();
    let talk = open(&hub, "/sse").await;
    let client = client::rest(&hub);
    let ping = talk::request(1, "ping", json!({})).to_string();
    let json = ("content-type", "application/json");
    let large = "x".repeat((1 << 20) + 1);
    let cases = [
        ("POST", "/messages", &[json][..], &*ping, 400),
        ("POST", "/messages?sessionId=nobody", &[json], &ping, 404),
        ("POST", &talk.to, &[("content-type", "text/plain")], &ping, 415),
        ("POST", &talk.to, &[json], &large, 413),
        ("GET", &talk.to, &[], "", 405),
        ("POST", "/sse", &[json], &ping, 405),
        ("GET", "/sse", &[("accept", "application/json")], "", 406),
        ("GET", "/sse", &[("origin", "https://evil.example")], "", 403),
    ];
    for (verb, path, headers, body, status) in cases {
        assert_eq!(client.send(verb, path, headers, body).await.status, status, "{verb} {path} {headers:?}");
    }
}

#[tokio::test]
async fn it_can_be_turned_off_and_ends_when_the_hub_does() {
    let hub = hub::new().setting("gateway", json!({"legacy_sse": false})).run();
    let client = client::rest(&hub);
    for (verb, path) in [("GET", "/sse"), ("POST", "/messages?sessionId=x")] {
        assert_eq!(client.send(verb, path, &[("accept", "text/event-stream")], "").await.status, 404);
    }
    let hub = hub::new().server("s", server::child("")).setting("gateway", json!({"base_path": "/hub"})).run();
    let mut talk = open(&hub, "/hub/sse").await;
    assert!(talk.to.starts_with("/hub/messages?sessionId="), "{}", talk.to);
    talk.handshake().await;
    hub.signal(rustix::process::Signal::TERM);
    assert_eq!(talk.stream.next().await, None);
}
