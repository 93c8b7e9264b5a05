//! The MCP door over HTTP, refusals first: every malformed request gets its status, its code and its id; sessions begin, belong to one
//! endpoint and end; streams open once.

mod support;

use http_body_util::BodyExt;
use serde_json::{Value, json};
use support::{Answer, Client, client, hub};

const JSON: (&str, &str) = ("content-type", "application/json");
const BOTH: (&str, &str) = ("accept", "application/json, text/event-stream");

/// A stateless message with its envelope.
fn stateless(id: Option<Value>, method: &str) -> String {
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}});
    let mut message = json!({"jsonrpc": "2.0", "method": method, "params": {"_meta": meta}});
    if let Some(id) = id {
        message["id"] = id;
    }
    message.to_string()
}
fn stateless_headers(method: &str) -> [(&'static str, &str); 4] {
    [JSON, BOTH, ("mcp-protocol-version", "2026-07-28"), ("mcp-method", method)]
}
fn initialize(version: &str) -> String {
    let params = json!({"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}).to_string()
}
/// Status, code and id of a JSON-RPC error.
fn refusal(answer: &Answer) -> (u16, i64, Value) {
    let body = answer.json();
    (answer.status, body["error"]["code"].as_i64().unwrap_or_else(|| panic!("no code in {body}")), body["id"].clone())
}
async fn post(client: &Client, headers: &[(&str, &str)], body: &str) -> Answer {
    client.send("POST", "/mcp", headers, body).await
}

#[tokio::test]
async fn a_request_that_cannot_be_read_is_refused_with_its_status_code_and_id() {
    let hub = hub::new().setting("limits", json!({"body_mb": 1})).run();
    let client = client::rest(&hub);
    let ping = r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#;
    let discover = stateless(Some(json!(7)), "server/discover");
    let good = stateless_headers("server/discover");
    let large = format!("\"{}\"", "x".repeat(1 << 20));
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str, (u16, i64, Value));
    let cases: &[Case<'_>] = &[
        ("no content type", &[BOTH], ping, (415, -32600, Value::Null)),
        ("another content type", &[BOTH, ("content-type", "text/plain")], ping, (415, -32600, Value::Null)),
        ("compressed", &[BOTH, JSON, ("content-encoding", "gzip")], ping, (415, -32600, Value::Null)),
        ("too large", &[BOTH, JSON], &large, (413, -32600, Value::Null)),
        ("nothing", &[BOTH, JSON], "", (400, -32700, Value::Null)),
        ("not JSON", &[BOTH, JSON], "{\"jsonrpc\":", (400, -32700, Value::Null)),
        ("not a message", &[BOTH, JSON], "{\"jsonrpc\":\"2.0\",\"id\":3}", (400, -32600, json!(3))),
        ("an array without a session", &[BOTH, JSON], "[]", (400, -32600, Value::Null)),
        ("an array of stateless requests", &good, &format!("[{discover}]"), (400, -32600, Value::Null)),
        ("no session", &[BOTH, JSON], ping, (400, -32600, json!("p"))),
        ("unknown session", &[BOTH, JSON, ("mcp-session-id", "nobody")], ping, (404, -32600, json!("p"))),
        ("stateless without headers", &[BOTH, JSON], &discover, (400, -32020, json!(7))),
        ("header without envelope", &good, ping, (400, -32602, json!("p"))),
        ("two methods", &[BOTH, JSON, good[2], good[3], ("mcp-method", "tools/list")], &discover, (400, -32020, json!(7))),
        ("reads nothing of ours", &[JSON, ("accept", "text/html"), good[2], good[3]], &discover, (406, -32600, json!(7))),
        ("handshake reads JSON only", &[JSON, ("accept", "application/json")], &initialize("2025-11-25"), (406, -32600, json!(0))),
        ("removed method", &stateless_headers("ping"), &stateless(Some(json!("x")), "ping"), (404, -32601, json!("x"))),
    ];
    for (what, headers, body, expected) in cases {
        assert_eq!(refusal(&post(&client, headers, body).await), *expected, "{what}");
    }
}

#[tokio::test]
async fn stateless_clients_get_what_they_can_read() {
    let hub = hub::new().run();
    let client = client::rest(&hub);
    let body = stateless(Some(json!(1)), "server/discover");
    let method = stateless_headers("server/discover");
    for (accept, expected) in [
        (Some("application/json, text/event-stream"), "application/json"),
        (Some("application/json"), "application/json"),
        (Some("*/*"), "application/json"),
        (None, "application/json"),
        (Some("text/event-stream"), "text/event-stream"),
    ] {
        let mut headers = vec![JSON, method[2], method[3]];
        headers.extend(accept.map(|accept| ("accept", accept)));
        let answer = post(&client, &headers, &body).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(expected)), "{accept:?}");
        assert_eq!(answer.json()["id"], 1);
        assert_eq!(answer.header("mcp-session-id"), None);
    }
    let notified = post(&client, &stateless_headers("notifications/cancelled"), &stateless(None, "notifications/cancelled")).await;
    assert_eq!((notified.status, notified.body.len()), (202, 0));
}

#[tokio::test]
async fn a_session_begins_serves_and_ends() {
    let hub = hub::new().run();
    for version in ["2025-03-26", "2025-06-18", "2025-11-25"] {
        let client = client::session(&hub, version).await;
        let id = client.session_id().unwrap().to_owned();
        assert!(id.len() >= 32 && id.bytes().all(|b| (0x21..=0x7e).contains(&b)), "{id}");
        assert_eq!(client.ask("ping", json!({})).await.json()["result"], json!({}));

        let named = [JSON, BOTH, ("mcp-session-id", id.as_str())];
        assert_eq!(refusal(&post(&client, &named, &initialize(version)).await), (400, -32600, json!(0)));
        let strange = [JSON, BOTH, named[2], ("mcp-protocol-version", "2024-01-01")];
        let ping = r#"{"jsonrpc":"2.0","id":5,"method":"ping"}"#;
        assert_eq!(post(&client, &strange, ping).await.status, 400);
        let answered = post(&client, &named, r#"{"jsonrpc":"2.0","id":99,"result":{}}"#).await;
        assert_eq!((answered.status, answered.body.len()), (202, 0));

        assert_eq!(client.send("DELETE", "/mcp", &[], "").await.status, 400);
        assert_eq!(client.send("DELETE", "/mcp", &named[2..], "").await.status, 204);
        assert_eq!(client.send("DELETE", "/mcp", &named[2..], "").await.status, 404);
        assert_eq!(refusal(&post(&client, &named, ping).await), (404, -32600, json!(5)));
    }
}

#[tokio::test]
async fn arrays_are_answered_as_arrays_in_the_one_revision_that_has_them() {
    let hub = hub::new().run();
    let old = client::session(&hub, "2025-03-26").await;
    let headers = [JSON, BOTH, ("mcp-session-id", old.session_id().unwrap())];
    let batch = r#"[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","method":"notifications/x"},{"jsonrpc":"2.0","id":"1","method":"ping"},7]"#;
    let answer = post(&old, &headers, batch).await;
    assert_eq!(answer.status, 200);
    let answers = answer.json();
    let ids: Vec<_> = answers.as_array().unwrap().iter().filter(|one| one.get("result").is_some()).map(|one| one["id"].clone()).collect();
    assert_eq!((ids.len(), answers.as_array().unwrap().len()), (2, 3), "{answers}");
    assert!(ids.contains(&json!(1)) && ids.contains(&json!("1")));

    let quiet = post(&old, &headers, r#"[{"jsonrpc":"2.0","method":"notifications/x"}]"#).await;
    assert_eq!((quiet.status, quiet.body.len()), (202, 0));
    for refused in ["[]", &format!("[{}]", initialize("2025-03-26")), &format!("[{}]", stateless(Some(json!(1)), "server/discover"))] {
        assert_eq!(refusal(&post(&old, &headers, refused).await), (400, -32600, Value::Null), "{refused}");
    }
    let new = client::session(&hub, "2025-06-18").await;
    let headers = [JSON, BOTH, ("mcp-session-id", new.session_id().unwrap())];
    assert_eq!(refusal(&post(&new, &headers, batch).await), (400, -32600, Value::Null));
}

#[tokio::test]
async fn a_session_has_one_stream_at_a_time_and_it_ends_with_the_session() {
    let hub = hub::new().run();
    let client = client::session(&hub, "2025-11-25").await;
    let id = client.session_id().unwrap();
    let events = [("accept", "text/event-stream"), ("mcp-session-id", id)];
    assert_eq!(client.send("GET", "/mcp", &[("accept", "application/json"), events[1]], "").await.status, 406);
    assert_eq!(client.send("GET", "/mcp", &events[..1], "").await.status, 400);
    let stateless = [events[0], events[1], ("mcp-protocol-version", "2026-07-28")];
    assert_eq!(client.send("GET", "/mcp", &stateless, "").await.status, 405);

    let mut sender = client::connect(hub.address).await;
    let request = || {
        let request = hyper::Request::get("/mcp").header("host", "localhost").header(events[0].0, events[0].1).header(events[1].0, id);
        request.body(http_body_util::Full::default()).unwrap()
    };
    let stream = sender.send_request(request()).await.unwrap();
    assert_eq!((stream.status().as_u16(), &stream.headers()["x-accel-buffering"]), (200, &hyper::header::HeaderValue::from_static("no")));
    assert_eq!(client.send("GET", "/mcp", &events, "").await.status, 409);
    assert_eq!(client.send("DELETE", "/mcp", &events[1..], "").await.status, 204);
    assert_eq!(stream.into_body().collect().await.unwrap().to_bytes(), "");
}

#[tokio::test]
async fn foreign_hosts_and_origins_are_turned_away_before_anything_else() {
    let hub = hub::new().setting("gateway", json!({"cors": {"origins": ["https://app.example"]}})).run();
    let client = client::rest(&hub);
    let own = hub.address.to_string();
    let cases: &[(&[(&str, &str)], u16)] = &[
        (&[("host", "evil.example")], 403),
        (&[("host", &own), ("host", &own)], 400),
        (&[("origin", "http://evil.example")], 403),
        (&[("origin", "null")], 403),
        (&[("origin", &format!("http://{own}"))], 200),
        (&[("origin", "https://app.example")], 200),
    ];
    for (headers, status) in cases {
        let answer = client.send("GET", "/health", headers, "").await;
        assert_eq!(answer.status, *status, "{headers:?}");
        if *status != 200 {
            assert_eq!(client.send("GET", "/nowhere", headers, "").await.status, *status);
            assert!(answer.json()["message"].is_string());
        }
    }
    let asking =
        [("origin", "https://app.example"), ("access-control-request-method", "POST"), ("access-control-request-headers", "mcp-param-x")];
    let preflight = client.send("OPTIONS", "/mcp", &asking, "").await;
    assert_eq!((preflight.status, preflight.header("access-control-allow-headers")), (204, Some("mcp-param-x")));
    assert_eq!(preflight.header("access-control-allow-origin"), Some("https://app.example"));
}

#[tokio::test]
async fn addresses_that_do_not_exist_and_verbs_they_do_not_take_say_so() {
    let hub = hub::new().server("own", support::server::child("")).run();
    let client = client::rest(&hub);
    let body = stateless(Some(json!(1)), "server/discover");
    let headers = stateless_headers("server/discover");
    for (path, status) in [
        ("/mcp", 200),
        ("/mcp/", 200),
        ("/mcp?names=safe", 200),
        ("/own/mcp", 200),
        ("/t/default/mcp", 200),
        ("/t/default/own/mcp", 200),
        ("/default:own/mcp", 200),
        ("/%6Fwn/mcp", 200),
        ("/mcp?names=loud", 400),
        ("/other/mcp", 404),
        ("/own%2Fx/mcp", 404),
        ("/%FF/mcp", 404),
        ("/api/mcp", 404),
        ("/t/nobody/mcp", 404),
        ("/t/nobody/own/mcp", 404),
        ("/mcp?tenant_id=nobody", 404),
        ("/nobody:own/mcp", 404),
        ("/mcp/more", 404),
    ] {
        let answer = client.send("POST", path, &headers, &body).await;
        assert_eq!(answer.status, status, "{path}");
        if status == 404 {
            assert_eq!(answer.json()["code"], "NOT_FOUND", "{path}");
        }
    }
    let foreign = client.send("POST", "/mcp", &[headers[0], headers[1], headers[2], headers[3], ("x-tenant-id", "nobody")], &body).await;
    assert_eq!(foreign.status, 404);
    for verb in ["HEAD", "PUT", "PATCH"] {
        let answer = client.send(verb, "/mcp", &[], "").await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, POST, DELETE, OPTIONS")), "{verb}");
    }
    assert_eq!(client.send("OPTIONS", "/mcp", &[], "").await.status, 204);
}

#[tokio::test]
async fn a_session_belongs_to_its_endpoint() {
    let hub = hub::new().server("own", support::server::child("")).run();
    let client = client::session_at(&hub, "/own/mcp", "2025-11-25").await;
    let named = [JSON, BOTH, ("mcp-session-id", client.session_id().unwrap())];
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    assert_eq!(client.send("POST", "/own/mcp", &named, ping).await.status, 200);
    assert_eq!(client.send("POST", "/t/default/own/mcp", &named, ping).await.status, 200);
    assert_eq!(client.send("POST", "/mcp", &named, ping).await.status, 404);
    assert_eq!(client.send("DELETE", "/mcp", &named[2..], "").await.status, 404);
}
