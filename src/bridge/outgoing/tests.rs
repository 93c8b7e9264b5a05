use super::*;

const A: Version = Version::V2025_11_25;
const B: Version = Version::V2026_07_28;
const ENVELOPE: &str = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":HUB,"io.modelcontextprotocol/clientCapabilities":{}"#;

fn wire() -> WireId {
    WireId::parse(b"65536").expect("a wire id")
}

fn message(text: &str) -> Message {
    Message::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// One line of valid JSON, its line end taken off; `HUB` stands for the hub's identity.
fn line(line: &Bytes) -> String {
    let text = std::str::from_utf8(line).expect("UTF-8");
    let text = text.strip_suffix('\n').unwrap_or_else(|| panic!("no line end: {text}"));
    assert!(!text.contains(['\r', '\n']), "{text}");
    serde_json::from_str::<serde_json::Value>(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    text.replace(HUB, "HUB")
}

/// `params` before, for a handshake server, and for a stateless one.
fn check(params: &str, handshake: &str, stateless: &str) {
    let frame = |id: &str, params: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{params}}}"#);
    let name = Bytes::from_static(br#""echo""#);
    for (version, expected) in [(A, handshake), (B, stateless)] {
        let to = Outgoing { name: Some(&name), ..Outgoing::new(wire(), version) };
        let sent = request(&message(&frame(r#""c1""#, params)), &to);
        assert_eq!(line(&sent), frame("65536", &expected.replace("ENVELOPE", ENVELOPE)), "{params} to {version:?}");
    }
}

#[test]
fn a_call_gets_the_wire_id_and_the_servers_own_name() {
    check(
        r#"{"name":"demo.echo","arguments":{"a":[1.0,"é"], "name":"demo.echo"}}"#,
        r#"{"name":"echo","arguments":{"a":[1.0,"é"], "name":"demo.echo"}}"#,
        r#"{"_meta":{ENVELOPE},"name":"echo","arguments":{"a":[1.0,"é"], "name":"demo.echo"}}"#,
    );
}

#[test]
fn the_callers_envelope_never_reaches_a_server() {
    let caller = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"c"},"io.modelcontextprotocol/clientCapabilities":{"sampling":{}},"io.modelcontextprotocol/logLevel":"debug""#;
    check(&format!(r#"{{"_meta":{{{caller}}},"name":"x"}}"#), r#"{"_meta":{},"name":"echo"}"#, r#"{"_meta":{ENVELOPE},"name":"echo"}"#);
    check(
        &format!(r#"{{"name":"x","_meta":{{"traceparent":"00-1",{caller},"progressToken":"t"}}}}"#),
        r#"{"name":"echo","_meta":{"traceparent":"00-1","progressToken":65536}}"#,
        r#"{"name":"echo","_meta":{"traceparent":"00-1",ENVELOPE,"progressToken":65536}}"#,
    );
    check(
        &format!(r#"{{"_meta":{{"progressToken":7,{caller},"vendor/key":{{"a":1}}}},"name":"x"}}"#),
        r#"{"_meta":{"progressToken":65536,"vendor/key":{"a":1}},"name":"echo"}"#,
        r#"{"_meta":{"progressToken":65536,ENVELOPE,"vendor/key":{"a":1}},"name":"echo"}"#,
    );
}

#[test]
fn what_the_envelope_lacks_is_put_in() {
    check(r#"{"name":"x","_meta":{}}"#, r#"{"name":"echo","_meta":{}}"#, r#"{"name":"echo","_meta":{ENVELOPE}}"#);
    check(
        r#"{"name":"x","_meta":{"progressToken":"t"}}"#,
        r#"{"name":"echo","_meta":{"progressToken":65536}}"#,
        r#"{"name":"echo","_meta":{ENVELOPE,"progressToken":65536}}"#,
    );
    check(
        r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}},"name":"x"}"#,
        r#"{"_meta":{},"name":"echo"}"#,
        r#"{"_meta":{"io.modelcontextprotocol/clientInfo":HUB,"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}},"name":"echo"}"#,
    );
    check(r#"{}"#, r#"{}"#, r#"{"_meta":{ENVELOPE}}"#);
    check(r#"{ }"#, r#"{ }"#, r#"{"_meta":{ENVELOPE} }"#);
}

#[test]
fn a_task_is_never_asked_for() {
    check(r#"{"task":{"ttl":5},"name":"x"}"#, r#"{"name":"echo"}"#, r#"{"_meta":{ENVELOPE},"name":"echo"}"#);
    check(r#"{"task":{}}"#, r#"{}"#, r#"{"_meta":{ENVELOPE}}"#);
    check(r#"{"name":"x","task":{},"_meta":{}}"#, r#"{"name":"echo","_meta":{}}"#, r#"{"name":"echo","_meta":{ENVELOPE}}"#);
}

#[test]
fn a_request_without_params_gets_them_only_where_they_are_required() {
    for (version, expected) in [
        (A, r#"{"jsonrpc":"2.0","id":65536,"method":"tools/list"}"#.to_owned()),
        (B, format!(r#"{{"params":{{"_meta":{{{ENVELOPE}}}}},"jsonrpc":"2.0","id":65536,"method":"tools/list"}}"#)),
    ] {
        let sent =
            request(&message(r#" {"jsonrpc":"2.0","id":1,"method":"tools/list"} "#), &Outgoing::new(wire(), version));
        assert_eq!(line(&sent).trim(), expected);
    }
}

#[test]
fn a_pretty_printed_call_becomes_one_line() {
    let pretty =
        "{\r\n  \"jsonrpc\": \"2.0\",\n  \"id\": 1,\n  \"method\": \"tools/call\",\n  \"params\": {\n    \"name\": \"a\\n\"\n  }\n}\n";
    for version in [A, B] {
        let sent = request(&message(pretty), &Outgoing::new(wire(), version));
        assert!(line(&sent).contains(r#""a\n""#));
    }
}

#[test]
fn a_cancellation_names_the_wire_id() {
    for version in [A, B] {
        for (reason, expected) in [(None, ""), (Some("user \"x\"\n"), r#","reason":"user \"x\"\n""#)] {
            assert_eq!(
                line(&cancelled(wire(), reason, version)),
                format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":65536{expected}}}}}"#)
            );
        }
    }
}

#[test]
fn the_hubs_own_requests_carry_the_envelope_of_the_era() {
    for (params, handshake, stateless) in [
        ("{}", "{}".to_owned(), format!(r#"{{"_meta":{{{ENVELOPE}}}}}"#)),
        (" { } ", " { } ".to_owned(), format!(r#"{{"_meta":{{{ENVELOPE}}}}}"#)),
        (r#"{"cursor":"{"}"#, r#"{"cursor":"{"}"#.to_owned(), format!(r#"{{"_meta":{{{ENVELOPE}}},"cursor":"{{"}}"#)),
    ] {
        let frame = |params: &str| format!(r#"{{"jsonrpc":"2.0","id":65536,"method":"tools/list","params":{params}}}"#);
        assert_eq!(line(&own(wire(), "tools/list", params, A)), frame(&handshake));
        assert_eq!(line(&own(wire(), "tools/list", params, B)), frame(&stateless));
    }
    assert_eq!(line(&own_notification("notifications/initialized", A)), r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
}

#[test]
fn a_server_gets_its_ping_answered_and_nothing_else() {
    let error = r#""error":{"code":-32601,"message":"mcp-hub takes no requests of this kind from a server"}"#;
    for (request, expected) in [
        (r#""id":0,"method":"ping""#, Some(r#""id":0,"result":{}"#.to_owned())),
        (r#""id":"a\u0041","method":"ping","params":{}"#, Some(r#""id":"a\u0041","result":{}"#.to_owned())),
        (r#""id":1,"method":"roots/list""#, Some(format!(r#""id":1,{error}"#))),
        (r#""id":"s","method":"sampling/createMessage","params":{}"#, Some(format!(r#""id":"s",{error}"#))),
        (r#""id":2,"method":"elicitation/create","params":{}"#, Some(format!(r#""id":2,{error}"#))),
        (r#""id":3,"method":"who/knows""#, Some(format!(r#""id":3,{error}"#))),
        (r#""method":"notifications/message","params":{}"#, None),
        (r#""id":4,"result":{}"#, None),
    ] {
        let frame = |rest: &str| format!(r#"{{"jsonrpc":"2.0",{rest}}}"#);
        let answer = answer_server(&message(&frame(request))).map(|bytes| line(&bytes));
        assert_eq!(answer, expected.map(|rest| frame(&rest)), "{request}");
    }
}
