//! The MCP door over HTTP, refusals first: every malformed request gets its status, its code and its id; sessions begin, belong to one
//! endpoint and end; streams open once.

mod support;

use http_body_util::BodyExt;
use serde_json::{Value, json};
use support::{Answer, Client, client, hub, raw};

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
    let client = client::session(&hub, "2025-06-18").await;
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
        ("/mcp?group=research", 400),
        ("/own/mcp?group=", 400),
        ("/mcp?mode=search", 400),
        ("/mcp?server=own", 400),
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
        let code = [(400, json!("VALIDATION_ERROR")), (404, json!("NOT_FOUND"))].into_iter().find(|(of, _)| *of == status);
        if let Some((_, code)) = code {
            assert_eq!(answer.json()["code"], code, "{path}");
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

const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES_KEY: &str = "io.modelcontextprotocol/clientCapabilities";

/// A stateless request, the text of `params` beside `_meta` given.
fn request(id: &str, method: &str, params: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{"_meta":{{"{VERSION_KEY}":"2026-07-28","{CAPABILITIES_KEY}":{{}}}}{params}}}}}"#
    )
}

/// The same with another `_meta`.
fn with_meta(meta: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": 7, "method": "tools/list", "params": {"_meta": meta}}).to_string()
}

#[tokio::test]
async fn bytes_that_are_no_message_are_refused_in_both_eras() {
    let hub = hub::new().run();
    let session = client::session(&hub, "2025-11-25").await;
    let named = [("mcp-session-id", session.session_id().unwrap())];
    let headers = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/list")];
    let deep = |levels: usize| request("7", "tools/list", &format!(r#","x":{}{}"#, "[".repeat(levels), "]".repeat(levels)));
    let bad_utf8 = [request("7", "tools/list", r#","x":""#).trim_end_matches("}}").as_bytes(), b"\xff\"}}"].concat();
    let parse = |what, body: &[u8]| (what, body.to_vec(), (400, -32700, Value::Null));
    let invalid = |what, body: &str, id: Value| (what, body.as_bytes().to_vec(), (400, -32600, id));
    let cases = [
        parse("bad UTF-8", &bad_utf8),
        parse("an overlong encoding", b"{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"\xc0\xaf\"}"),
        parse("half a surrogate pair in UTF-8", b"{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"\xed\xa0\x80\"}"),
        parse("a byte order mark", "\u{feff}{}".as_bytes()),
        parse("nested too deeply", deep(128).as_bytes()),
        parse("nested as deeply as the body is long", "[".repeat(1 << 20).replacen('[', "{\"a\":", 1).as_bytes()),
        parse("something after it", format!("{}x", request("7", "tools/list", "")).as_bytes()),
        parse("two messages", request("7", "tools/list", "").repeat(2).as_bytes()),
        parse("a control character in a string", b"{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"a\nb\"}"),
        parse("a number with a leading zero", br#"{"jsonrpc":"2.0","id":07,"method":"ping"}"#),
        parse("a comment", br#"{"jsonrpc":"2.0",/**/"id":7,"method":"ping"}"#),
        parse("not a number", br#"{"jsonrpc":"2.0","id":NaN,"method":"ping"}"#),
        invalid("a string", r#""ping""#, Value::Null),
        invalid("null", "null", Value::Null),
        invalid("an array", "[]", Value::Null),
        invalid("an array of one", r#"[{"jsonrpc":"2.0","id":7,"method":"ping"}]"#, Value::Null),
        invalid("a null id", r#"{"jsonrpc":"2.0","id":null,"method":"tools/list"}"#, Value::Null),
        invalid("a fractional id", r#"{"jsonrpc":"2.0","id":1.5,"method":"tools/list"}"#, Value::Null),
        invalid("an id that is true", r#"{"jsonrpc":"2.0","id":true,"method":"tools/list"}"#, Value::Null),
        invalid("an id that is an object", r#"{"jsonrpc":"2.0","id":{},"method":"tools/list"}"#, Value::Null),
        invalid("an id that is an array", r#"{"jsonrpc":"2.0","id":[7],"method":"tools/list"}"#, Value::Null),
        invalid("two ids", r#"{"jsonrpc":"2.0","id":7,"id":8,"method":"tools/list"}"#, json!(7)),
        invalid("two ids, one escaped", r#"{"jsonrpc":"2.0","id":7,"\u0069d":8,"method":"tools/list"}"#, json!(7)),
        invalid("two methods", r#"{"jsonrpc":"2.0","id":7,"method":"ping","method":"tools/list"}"#, json!(7)),
        invalid("two params", r#"{"jsonrpc":"2.0","id":7,"method":"tools/list","params":{},"params":{}}"#, json!(7)),
        invalid("two names", r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"a","name":"b"}}"#, json!(7)),
        invalid("two metas", r#"{"jsonrpc":"2.0","id":7,"method":"tools/list","params":{"_meta":{},"_meta":{}}}"#, json!(7)),
        invalid("two versions", &with_meta(&json!({})).replace("{}", &format!(r#"{{"{VERSION_KEY}":"a","{VERSION_KEY}":"b"}}"#)), json!(7)),
        invalid("another case of id", r#"{"jsonrpc":"2.0","Id":7,"method":"tools/list"}"#, Value::Null),
        invalid("another case of method", r#"{"jsonrpc":"2.0","id":7,"Method":"ping"}"#, json!(7)),
        invalid("another case of params", r#"{"jsonrpc":"2.0","id":7,"method":"tools/list","PARAMS":{}}"#, json!(7)),
        invalid("another case of jsonrpc", r#"{"jsonRPC":"2.0","id":7,"method":"tools/list"}"#, json!(7)),
        invalid("no jsonrpc", r#"{"id":7,"method":"tools/list"}"#, json!(7)),
        invalid("another jsonrpc", r#"{"jsonrpc":"1.0","id":7,"method":"tools/list"}"#, json!(7)),
        invalid("jsonrpc as a number", r#"{"jsonrpc":2.0,"id":7,"method":"tools/list"}"#, json!(7)),
        invalid("a method that is a number", r#"{"jsonrpc":"2.0","id":7,"method":1}"#, json!(7)),
        invalid("params that are an array", r#"{"jsonrpc":"2.0","id":7,"method":"tools/list","params":[]}"#, json!(7)),
        invalid("params that are null", r#"{"jsonrpc":"2.0","id":7,"method":"tools/list","params":null}"#, json!(7)),
        invalid("a meta that is a string", r#"{"jsonrpc":"2.0","id":7,"method":"tools/list","params":{"_meta":""}}"#, json!(7)),
        invalid("request and response in one", r#"{"jsonrpc":"2.0","id":7,"method":"ping","result":{}}"#, json!(7)),
        invalid("two outcomes", r#"{"jsonrpc":"2.0","id":7,"result":{},"error":{"code":1,"message":""}}"#, json!(7)),
        invalid("a result that is an array", r#"{"jsonrpc":"2.0","id":7,"result":[]}"#, json!(7)),
        invalid("a result without an id", r#"{"jsonrpc":"2.0","result":{}}"#, Value::Null),
        invalid("an error that is a string", r#"{"jsonrpc":"2.0","id":7,"error":"no"}"#, json!(7)),
        invalid("nothing at all", "{}", Value::Null),
    ];
    for (what, body, expected) in cases {
        for headers in [&headers[..], &named[..], &[]] {
            let answer = raw::post(&hub, headers, &body).await;
            assert_eq!(refusal(&answer), expected, "{what} with {headers:?}");
            assert_eq!(answer.json()["jsonrpc"], "2.0");
            assert_eq!(answer.json().get("id").is_some(), !expected.2.is_null(), "{what}: never a null id");
        }
    }
    let good = raw::post(&hub, &headers, deep(125).as_bytes()).await;
    assert_eq!((good.status, &good.json()["id"]), (200, &json!(7)), "nested as deeply as may be");
}

#[tokio::test]
async fn an_id_is_answered_as_it_was_written() {
    let hub = hub::new().run();
    let headers = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/list")];
    let unknown = [headers[0], ("mcp-method", "no/such")];
    for id in
        ["0", "-0", "-1", "9007199254740993", "123456789012345678901234567890", r#""1""#, r#""""#, r#""\u00e9\"\\""#, "\"é\"", r#""null""#]
    {
        for (headers, method, status) in [(headers, "tools/list", 200), (unknown, "no/such", 404)] {
            let answer = raw::post(&hub, &headers, request(id, method, "").as_bytes()).await;
            let text = std::str::from_utf8(&answer.body).unwrap();
            assert_eq!(answer.status, status);
            assert!(text.contains(&format!(r#""id":{id},"#)), "{id}: {text}");
        }
    }
}

#[tokio::test]
async fn a_progress_token_is_a_string_or_an_integer_in_either_era() {
    let hub = hub::new().server("own", support::server::child("").with("start", "boot")).run();
    let (stateless, session) = (client::stateless(&hub), client::session(&hub, "2025-11-25").await);
    for (token, good) in [
        ("1", true),
        ("-7", true),
        (r#""1.5""#, true),
        (r#""""#, true),
        ("1.5", false),
        ("1e3", false),
        ("null", false),
        ("{}", false),
        ("[1]", false),
        ("true", false),
    ] {
        let token: Value = serde_json::from_str(token).unwrap();
        for (client, status) in [(&stateless, 400), (&session, 200)] {
            for (method, params) in [("tools/list", json!({})), ("tools/call", json!({"name": "own.echo", "arguments": {"text": "x"}}))] {
                let mut params = params;
                params["_meta"] = json!({"progressToken": token});
                let answer = client.ask(method, params).await;
                if good {
                    assert!(answer.status == 200 && answer.json()["result"].is_object(), "{token} {method}");
                } else {
                    assert_eq!((answer.status, &answer.json()["error"]["code"]), (status, &json!(-32602)), "{token} {method}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_stateless_request_with_a_faulty_envelope_or_header_is_told_which() {
    let hub = hub::new().server("own", support::server::child("")).run();
    let version = ("mcp-protocol-version", "2026-07-28");
    let list = [version, ("mcp-method", "tools/list")];
    let plain = request("7", "tools/list", "");
    let call = request("7", "tools/call", r#","name":"own.echo","arguments":{"text":"x"}"#);
    let calling = |name: &'static str| vec![version, ("mcp-method", "tools/call"), ("mcp-name", name)];
    let meta = |version: Value, capabilities: Value| with_meta(&json!({VERSION_KEY: version, CAPABILITIES_KEY: capabilities}));
    let level =
        |level: Value| with_meta(&json!({VERSION_KEY: "2026-07-28", CAPABILITIES_KEY: {}, "io.modelcontextprotocol/logLevel": level}));
    type Case = (&'static str, Vec<(&'static str, &'static str)>, String, (u16, i64));
    let cases: Vec<Case> = vec![
        // The envelope, before any header.
        ("no capabilities", list.to_vec(), with_meta(&json!({VERSION_KEY: "2026-07-28"})), (400, -32602)),
        ("capabilities null", list.to_vec(), meta(json!("2026-07-28"), Value::Null), (400, -32602)),
        ("capabilities an array", list.to_vec(), meta(json!("2026-07-28"), json!([])), (400, -32602)),
        ("version a number", list.to_vec(), meta(json!(20260728), json!({})), (400, -32602)),
        ("version null", list.to_vec(), meta(Value::Null, json!({})), (400, -32602)),
        ("no version, header names it", list.to_vec(), with_meta(&json!({CAPABILITIES_KEY: {}})), (400, -32602)),
        ("no meta, header names it", list.to_vec(), r#"{"jsonrpc":"2.0","id":7,"method":"tools/list"}"#.into(), (400, -32602)),
        (
            "no meta, header names nonsense",
            vec![("mcp-protocol-version", "v999")],
            r#"{"jsonrpc":"2.0","id":7,"method":"tools/list"}"#.into(),
            (400, -32602),
        ),
        ("an unknown log level", list.to_vec(), level(json!("loud")), (400, -32602)),
        ("a log level that is a number", list.to_vec(), level(json!(3)), (400, -32602)),
        ("the envelope before the headers", vec![], with_meta(&json!({VERSION_KEY: "2026-07-28"})), (400, -32602)),
        // Versions.
        ("another version than the header", list.to_vec(), meta(json!("2027-01-01"), json!({})), (400, -32020)),
        ("the header names the other era", vec![("mcp-protocol-version", "2025-11-25"), list[1]], plain.clone(), (400, -32020)),
        ("a later version", vec![("mcp-protocol-version", "2027-01-01"), list[1]], meta(json!("2027-01-01"), json!({})), (400, -32022)),
        ("a later version, no headers", vec![], meta(json!("2027-01-01"), json!({})), (400, -32022)),
        (
            "a version of the other era",
            vec![("mcp-protocol-version", "2025-11-25"), list[1]],
            meta(json!("2025-11-25"), json!({})),
            (400, -32022),
        ),
        ("nonsense", vec![("mcp-protocol-version", "v999"), list[1]], meta(json!("v999"), json!({})), (400, -32022)),
        // Headers.
        ("no headers", vec![], plain.clone(), (400, -32020)),
        ("no version header", vec![list[1]], plain.clone(), (400, -32020)),
        ("no method header", vec![version], plain.clone(), (400, -32020)),
        ("an empty method header", vec![version, ("mcp-method", "")], plain.clone(), (400, -32020)),
        ("another method", vec![version, ("mcp-method", "tools/call")], plain.clone(), (400, -32020)),
        ("another case of the method", vec![version, ("mcp-method", "Tools/List")], plain.clone(), (400, -32020)),
        ("two version headers", vec![version, ("mcp-protocol-version", "2025-11-25"), list[1]], plain.clone(), (400, -32020)),
        ("no name header", calling("")[..2].to_vec(), call.clone(), (400, -32020)),
        ("another name", calling("own.slow"), call.clone(), (400, -32020)),
        ("another case of the name", calling("Own.echo"), call.clone(), (400, -32020)),
        ("another form of the name", calling("own__echo"), call.clone(), (400, -32020)),
        ("no name in the body", calling("own.echo"), request("7", "tools/call", ""), (400, -32020)),
        ("a name that is a number", calling("own.echo"), request("7", "tools/call", r#","name":1"#), (400, -32020)),
        ("undecodable base64", calling("=?base64?!!?="), call.clone(), (400, -32020)),
        ("base64 of something else", calling("=?base64?b3duLnNsb3c=?="), call.clone(), (400, -32020)),
        ("base64 of no UTF-8", calling("=?base64?/w==?="), call.clone(), (400, -32020)),
        ("a mismatch before the unknown method", vec![version, ("mcp-method", "no/such")], plain.clone(), (400, -32020)),
        (
            "initialize where the header names this era",
            list.to_vec(),
            initialize("2026-07-28").replace("\"id\":0", "\"id\":7"),
            (400, -32020),
        ),
        // Methods that this era does not have, or nobody has.
        ("unknown", vec![version, ("mcp-method", "no/such")], request("7", "no/such", ""), (404, -32601)),
        ("an empty method", vec![version, ("mcp-method", "")], request("7", "", ""), (404, -32601)),
        ("initialize", vec![version, ("mcp-method", "initialize")], request("7", "initialize", ""), (404, -32601)),
        ("ping", vec![version, ("mcp-method", "ping")], request("7", "ping", ""), (404, -32601)),
        ("setLevel", vec![version, ("mcp-method", "logging/setLevel")], request("7", "logging/setLevel", ""), (404, -32601)),
        ("a method of a client", vec![version, ("mcp-method", "roots/list")], request("7", "roots/list", ""), (404, -32601)),
        (
            "a notification with an id",
            vec![version, ("mcp-method", "notifications/cancelled")],
            request("7", "notifications/cancelled", ""),
            (404, -32601),
        ),
        // In order as an envelope: an outcome of the request.
        ("an unknown tool", calling("own.nothing"), call.replace("own.echo", "own.nothing"), (200, -32602)),
        ("an unknown server", calling("a.b"), call.replace("own.echo", "a.b"), (200, -32602)),
        ("an empty name", calling(""), call.replace("own.echo", ""), (200, -32602)),
        ("a bad cursor", list.to_vec(), request("7", "tools/list", r#","cursor":"nonsense""#), (200, -32602)),
        ("an empty cursor", list.to_vec(), request("7", "tools/list", r#","cursor":"""#), (200, -32602)),
        ("a cursor that is a number", list.to_vec(), request("7", "tools/list", r#","cursor":1"#), (200, -32602)),
    ];
    for (what, headers, body, (status, code)) in &cases {
        let answer = raw::post(&hub, headers, body.as_bytes()).await;
        assert_eq!(refusal(&answer), (*status, *code, json!(7)), "{what}: {:?}", answer.body);
        assert_eq!(answer.header("mcp-session-id"), None);
        if *code == -32022 {
            let error = &answer.json()["error"];
            let asked: Value = serde_json::from_str(body).unwrap();
            assert_eq!(error["data"], json!({"supported": ["2026-07-28"], "requested": asked["params"]["_meta"][VERSION_KEY]}), "{what}");
        }
        if *code == -32602 && what.starts_with("no ") {
            assert!(answer.json()["error"]["message"].as_str().unwrap().contains("io.modelcontextprotocol/"), "{what} names the key");
        }
    }
    // What looks odd and is in order.
    for (what, headers, body) in [
        ("base64", calling("=?base64?b3duLmVjaG8=?="), call.clone()),
        ("space around", vec![version, ("mcp-method", "\ttools/call "), ("mcp-name", "  own.echo ")], call.clone()),
        ("a foreign session", [calling("own.echo"), vec![("mcp-session-id", "nobody"), ("last-event-id", "1")]].concat(), call.clone()),
        ("escapes in keys and method", calling("own.echo"), call.replace("method", "meth\\u006fd").replace("tools/call", "tools\\/call")),
        ("unknown members", calling("own.echo"), call.replacen('{', r#"{"x":{"id":9},"trace":null,"#, 1)),
        ("line ends", calling("own.echo"), call.replace(',', ",\r\n\t")),
    ] {
        let answer = raw::post(&hub, &headers, body.as_bytes()).await;
        assert_eq!((answer.status, &answer.json()["result"]["content"][0]["text"]), (200, &json!("x")), "{what}: {:?}", answer.body);
    }
}

#[tokio::test]
async fn every_rung_answers_before_the_next() {
    let hub = hub::new().run();
    let client = client::session(&hub, "2025-11-25").await;
    let id = client.session_id().unwrap();
    let garbage = "not json";
    for (what, headers, status) in [
        ("the origin first", vec![("origin", "http://evil.example"), ("content-type", "text/plain"), ("x-forwarded-for", "1.2.3.4")], 403),
        ("the host first", vec![("host", "evil.example"), ("authorization", "Bearer x")], 403),
        ("then the caller", vec![("content-type", "text/plain"), ("authorization", "Bearer x")], 401),
        ("then the content type", vec![("content-type", "text/plain"), ("mcp-session-id", "nobody")], 415),
        ("then the body", vec![("mcp-session-id", "nobody"), ("accept", "text/html")], 400),
    ] {
        assert_eq!(raw::post(&hub, &headers, garbage.as_bytes()).await.status, status, "{what}");
    }
    for (what, request, status) in [
        ("no host", "GET /health HTTP/1.1\r\n", 400),
        ("an empty host", "GET /health HTTP/1.1\r\nhost:\r\n", 400),
        ("two hosts", "GET /health HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\n", 400),
        ("two equal hosts", "GET /health HTTP/1.1\r\nhost: localhost\r\nhost: localhost\r\n", 400),
        ("a host with a user", "GET /health HTTP/1.1\r\nhost: localhost@evil.example\r\n", 400),
        ("a host with a path", "GET /health HTTP/1.1\r\nhost: localhost/x\r\n", 400),
        ("a host that begins like ours", "GET /health HTTP/1.1\r\nhost: localhost.evil.example\r\n", 403),
        ("a foreign absolute target", "GET http://evil.example/health HTTP/1.1\r\nhost: localhost\r\n", 400),
        ("an own absolute target", "GET http://localhost/health HTTP/1.1\r\nhost: localhost\r\n", 200),
        ("no verb that exists", "BREW /mcp HTTP/1.1\r\nhost: localhost\r\n", 405),
        ("trace", "TRACE /mcp HTTP/1.1\r\nhost: localhost\r\n", 405),
        ("another protocol", "GET /health HTTP/9.9\r\nhost: localhost\r\n", 400),
        ("a folded header", "GET /health HTTP/1.1\r\nhost: localhost\r\nx: a\r\n b\r\n", 400),
        ("space before the colon", "GET /health HTTP/1.1\r\nhost : localhost\r\n", 400),
        (
            "two lengths",
            "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 4\r\ncontent-length: 5\r\n",
            400,
        ),
        ("a negative length", "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: -1\r\n", 400),
    ] {
        let answer = raw::ask(&hub, &format!("{request}connection: close\r\n\r\n")).await;
        assert_eq!(answer.status, status, "{what}: {:?}", answer.body);
    }
    let many: String = (0..80).map(|n| format!("x-{n}: y\r\n")).collect();
    let long = "x".repeat(40 << 10);
    for (what, more) in [("too many headers", many), ("too long headers", format!("x: {long}\r\n"))] {
        let answer = raw::ask(&hub, &format!("GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{more}\r\n")).await;
        assert_eq!(answer.status, 431, "{what}");
    }
    // Verbs of sessions.
    let events = ("accept", "text/event-stream");
    for (what, verb, headers, status) in [
        ("a stream in the other era", "GET", vec![events, ("mcp-protocol-version", "2026-07-28")], 405),
        ("a stream in no era", "GET", vec![events, ("mcp-protocol-version", "v999"), ("mcp-session-id", id)], 405),
        ("an end in the other era", "DELETE", vec![("mcp-protocol-version", "2026-07-28"), ("mcp-session-id", id)], 405),
        ("a stream without a session", "GET", vec![events], 400),
        ("a stream of an unknown session", "GET", vec![events, ("mcp-session-id", "nobody")], 404),
        ("a stream that is not one", "GET", vec![("accept", "application/json"), ("mcp-session-id", id)], 406),
        ("an end without a session", "DELETE", vec![], 400),
        ("the end of an unknown session", "DELETE", vec![("mcp-session-id", "nobody")], 404),
        ("two sessions", "DELETE", vec![("mcp-session-id", "nobody"), ("mcp-session-id", id)], 404),
    ] {
        let answer = client.send(verb, "/mcp", &headers, "").await;
        assert_eq!(answer.status, status, "{what}");
        if status == 405 {
            assert_eq!(answer.header("allow"), Some("POST, OPTIONS"), "{what}");
        }
    }
    // Answers to questions that nobody asked, and notifications, are taken and dropped; outside a session they are of nobody.
    let answer = br#"{"jsonrpc":"2.0","id":99,"result":{}}"#;
    let note = br#"{"jsonrpc":"2.0","method":"notifications/whatever"}"#;
    for body in [&answer[..], &note[..]] {
        assert_eq!(raw::post(&hub, &[("mcp-session-id", id)], body).await.status, 202);
        assert_eq!(raw::post(&hub, &[("mcp-session-id", "nobody")], body).await.status, 404);
        assert_eq!(raw::post(&hub, &[], body).await.status, 400);
    }
    assert_eq!(client.ask("ping", json!({})).await.json()["result"], json!({}), "the session never noticed");
    // Methods that a session does not have are an outcome, not a failure of the door.
    for method in ["no/such", "server/discover", "subscriptions/listen"] {
        let answer = client.ask_with(&json!("m"), method, json!({})).await;
        assert_eq!(refusal(&answer), (200, -32601, json!("m")), "{method}");
    }
}
