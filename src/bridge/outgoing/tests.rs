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
fn the_callers_envelope_never_reaches_a_server_but_for_who_it_is() {
    let kept = r#""io.github.mcp-hub.mcp-hub/clientInfo":{"name":"c"}"#;
    let envelope =
        format!(r#""io.modelcontextprotocol/protocolVersion":"2026-07-28",{kept},"io.modelcontextprotocol/clientCapabilities":{{}}"#);
    let told = |params: &str, handshake: &str, stateless: &str| {
        let stateless = stateless.replace("CLIENT", r#""io.modelcontextprotocol/clientInfo":HUB"#).replace("REST", &envelope);
        check(params, &handshake.replace("KEPT", kept), &stateless);
    };
    let caller = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"c"},"io.modelcontextprotocol/clientCapabilities":{"sampling":{}},"io.modelcontextprotocol/logLevel":"debug""#;
    told(
        &format!(r#"{{"_meta":{{{caller}}},"name":"x"}}"#),
        r#"{"_meta":{KEPT},"name":"echo"}"#,
        r#"{"_meta":{CLIENT,REST},"name":"echo"}"#,
    );
    told(
        &format!(r#"{{"name":"x","_meta":{{"traceparent":"00-1",{caller},"progressToken":"t"}}}}"#),
        r#"{"name":"echo","_meta":{"traceparent":"00-1",KEPT,"progressToken":65536}}"#,
        r#"{"name":"echo","_meta":{CLIENT,"traceparent":"00-1",REST,"progressToken":65536}}"#,
    );
    told(
        &format!(r#"{{"_meta":{{"progressToken":7,{caller},"vendor/key":{{"a":1}}}},"name":"x"}}"#),
        r#"{"_meta":{"progressToken":65536,KEPT,"vendor/key":{"a":1}},"name":"echo"}"#,
        r#"{"_meta":{CLIENT,"progressToken":65536,REST,"vendor/key":{"a":1}},"name":"echo"}"#,
    );
    // What a hub before this one kept is no less true here.
    let first = r#""io.github.mcp-hub.mcp-hub/clientInfo":{"name":"first"}"#;
    check(
        &format!(r#"{{"_meta":{{{first},{caller}}},"name":"x"}}"#),
        &format!(r#"{{"_meta":{{{first}}},"name":"echo"}}"#),
        &format!(r#"{{"_meta":{{{first},ENVELOPE}},"name":"echo"}}"#),
    );
    // A session said it once.
    let session = Bytes::from_static(b"{\"name\":\n\"c\"}");
    for params in ["{}", r#"{"_meta":{}}"#] {
        let after = carried("tools/call", params, &Outgoing { caller: Some(&session), ..Outgoing::new(wire(), B) });
        assert!(after.contains(r#""io.github.mcp-hub.mcp-hub/clientInfo":{"name": "c"}"#), "{after}");
        let before = carried("tools/call", params, &Outgoing { caller: Some(&session), ..Outgoing::new(wire(), A) });
        assert_eq!(before, params);
    }
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
        let sent = request(&message(r#" {"jsonrpc":"2.0","id":1,"method":"tools/list"} "#), &Outgoing::new(wire(), version));
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
        let answer = answer_server(&message(&frame(request)), None).map(|bytes| line(&bytes));
        assert_eq!(answer, expected.as_ref().map(|rest| frame(rest)), "{request}");
        let answer = answer_server(&message(&frame(request)), Some("{}")).map(|bytes| line(&bytes));
        let is_roots = request.contains("roots/list");
        assert_eq!(answer, if is_roots { Some(frame(r#""id":1,"result":{}"#)) } else { expected.map(|rest| frame(&rest)) }, "{request}");
    }
}

/// `params` of a request of that method before and after.
fn carried(method: &str, params: &str, to: &Outgoing<'_>) -> String {
    let sent = request(&message(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#)), to);
    let text = line(&sent);
    let after =
        text.strip_prefix(&format!(r#"{{"jsonrpc":"2.0","id":65536,"method":"{method}","params":"#)).unwrap_or_else(|| panic!("{text}"));
    after.strip_suffix('}').unwrap().replace(ENVELOPE, "ENVELOPE")
}

#[test]
fn every_method_gets_the_servers_own_names() {
    let (name, uri, task) = (Bytes::from(r#""n""#), Bytes::from(r#""a:1""#), Bytes::from(r#""up""#));
    let to = Outgoing { name: Some(&name), uri: Some(&uri), task_id: Some(&task), ..Outgoing::new(wire(), A) };
    for (method, before, after) in [
        ("prompts/get", r#"{"name":"s.n","arguments":{"name":"s.n"}}"#, r#"{"name":"n","arguments":{"name":"s.n"}}"#),
        ("resources/read", r#"{"uri":"hub+s:a:1","x":1.0}"#, r#"{"uri":"a:1","x":1.0}"#),
        ("resources/subscribe", r#"{"uri":"hub+s:a:1"}"#, r#"{"uri":"a:1"}"#),
        ("tasks/get", r#"{"taskId":"tHUB"}"#, r#"{"taskId":"up"}"#),
        (
            "completion/complete",
            r#"{"ref":{"type":"ref/prompt","name":"s.n"},"argument":{"name":"name","value":""}}"#,
            r#"{"ref":{"type":"ref/prompt","name":"n"},"argument":{"name":"name","value":""}}"#,
        ),
        (
            "completion/complete",
            r#"{"argument":{},"ref":{"type":"ref/resource","uri":"hub+s:a:{x}"}}"#,
            r#"{"argument":{},"ref":{"type":"ref/resource","uri":"a:1"}}"#,
        ),
        ("own/x", r#"{"any":["thing"]}"#, r#"{"any":["thing"]}"#),
    ] {
        assert_eq!(carried(method, before, &to), after, "{method}");
    }
}

#[test]
fn a_completion_has_its_context_only_where_it_is_known() {
    let params = r#"{"ref":{"type":"ref/prompt","name":"n"},"context":{"arguments":{}},"argument":{}}"#;
    assert_eq!(carried("completion/complete", params, &Outgoing::new(wire(), Version::V2025_06_18)), params);
    assert_eq!(
        carried("completion/complete", params, &Outgoing::new(wire(), Version::V2025_03_26)),
        r#"{"ref":{"type":"ref/prompt","name":"n"},"argument":{}}"#
    );
}

#[test]
fn what_the_caller_can_be_asked_is_declared_for_this_request() {
    let can = r#""io.modelcontextprotocol/clientCapabilities":{"roots":{},"elicitation":{"form":{}}}"#;
    let to = Outgoing { profile: Profile::FORM.with(Profile::ROOTS), ..Outgoing::new(wire(), B) };
    let said = r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"c"},"io.modelcontextprotocol/clientCapabilities":{"sampling":{},"roots":{},"elicitation":{}}}}"#;
    for params in [said, "{}", r#"{"_meta":{}}"#] {
        let after = carried("tools/call", params, &to);
        assert!(after.contains(can) && !after.contains("sampling"), "{after}");
    }
    let handshake = Outgoing { version: A, ..to };
    assert_eq!(carried("tools/call", "{}", &handshake), "{}");
    assert!(line(&own_for(wire(), "tasks/get", "{}", B, Profile::FORM)).contains(r#"{"elicitation":{"form":{}}}"#));
}

#[test]
fn the_level_is_said_to_stateless_servers_only() {
    let with = |level, version| Outgoing { level, ..Outgoing::new(wire(), version) };
    let asked = r#"{"_meta":{"io.modelcontextprotocol/logLevel":"info"}}"#;
    assert_eq!(carried("tools/call", asked, &with(Some(Level::Info), A)), r#"{"_meta":{}}"#);
    assert_eq!(carried("tools/call", asked, &with(None, B)), r#"{"_meta":{ENVELOPE}}"#);
    assert_eq!(
        carried("tools/call", asked, &with(Some(Level::Info), B)),
        r#"{"_meta":{ENVELOPE,"io.modelcontextprotocol/logLevel":"info"}}"#
    );
    assert_eq!(
        carried("tools/call", asked, &with(Some(Level::Error), B)),
        r#"{"_meta":{ENVELOPE,"io.modelcontextprotocol/logLevel":"error"}}"#
    );
    assert_eq!(
        carried("tools/call", "{}", &with(Some(Level::Error), B)),
        r#"{"_meta":{"io.modelcontextprotocol/logLevel":"error",ENVELOPE}}"#
    );
}

#[test]
fn the_members_of_a_retry_go_only_where_they_are_meant_to() {
    let retry = r#"{"requestState":"v1.x","name":"a","inputResponses":{"q1": {"action":"accept"}},"_meta":{}}"#;
    let with = |inputs, version| Outgoing { inputs, ..Outgoing::new(wire(), version) };
    assert_eq!(carried("tools/call", retry, &with(Inputs::Take, A)), r#"{"name":"a","_meta":{}}"#);
    assert_eq!(
        carried("tools/call", retry, &with(Inputs::Keep { state: Some("s\"") }, B)),
        r#"{"requestState":"s\"","name":"a","inputResponses":{"q1": {"action":"accept"}},"_meta":{ENVELOPE}}"#
    );
    assert_eq!(
        carried("tools/call", retry, &with(Inputs::Keep { state: None }, B)),
        r#"{"name":"a","inputResponses":{"q1": {"action":"accept"}},"_meta":{ENVELOPE}}"#
    );
    let put = Inputs::Put { responses: Some(r#"{"k":{}}"#), state: Some("s") };
    assert_eq!(
        carried("tools/call", retry, &with(put, B)),
        r#"{"inputResponses":{"k":{}},"requestState":"s","name":"a","_meta":{ENVELOPE}}"#
    );
    assert_eq!(
        carried("prompts/get", r#"{"name":"a"}"#, &with(put, B)),
        r#"{"requestState":"s","inputResponses":{"k":{}},"_meta":{ENVELOPE},"name":"a"}"#
    );
    assert_eq!(
        carried("tools/call", retry, &with(Inputs::Put { responses: None, state: Some("s") }, B)),
        r#"{"requestState":"s","name":"a","_meta":{ENVELOPE}}"#
    );
}

#[test]
fn progress_and_a_task_can_be_asked_for_on_the_callers_behalf() {
    let to = Outgoing { wants_progress: true, task: Some(r#"{"ttl":5}"#), ..Outgoing::new(wire(), A) };
    assert_eq!(carried("tools/call", r#"{"name":"a"}"#, &to), r#"{"task":{"ttl":5},"_meta":{"progressToken":65536},"name":"a"}"#);
    assert_eq!(
        carried("tools/call", r#"{"task":{"x":1},"_meta":{"progressToken":"t"}}"#, &to),
        r#"{"task":{"ttl":5},"_meta":{"progressToken":65536}}"#
    );
}

#[test]
fn a_server_hears_from_whom_it_asked() {
    let id = RequestId::from_token(Bytes::from_static(br#""s\u0031""#)).unwrap();
    assert_eq!(response(&id, "{\n}"), r#"{"jsonrpc":"2.0","id":"s\u0031","result":{ }}"#);
    assert_eq!(error_response(&id, Code::UserRejected, "no"), r#"{"jsonrpc":"2.0","id":"s\u0031","error":{"code":-1,"message":"no"}}"#);
    assert_eq!(
        line(&progress("\"t\"", 3, "waiting")),
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t","progress":3,"message":"waiting"}}"#
    );
    let note = message(r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":9,"progress":0.5}}"#);
    assert_eq!(
        line(&relayed_progress(&note, &Bytes::from("\"t\"")).unwrap()),
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t","progress":0.5}}"#
    );
}

#[test]
fn a_callers_trace_goes_on_in_a_span_of_the_hubs() {
    let sent = r#"{"_meta":{"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","baggage":"a=b"}}"#;
    let traced = message(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{sent}}}"#));
    assert!(trace::is_sent(&traced) && !trace::is_sent(&message(r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"traceparent":1}}"#)));
    let to = Outgoing { span: Some(SpanId::new([1; 8])), ..Outgoing::new(wire(), A) };
    assert_eq!(carried("tools/call", sent, &to), sent.replace("b7ad6b7169203331", "0101010101010101"));
    assert_eq!(carried("tools/call", sent, &Outgoing::new(wire(), A)), sent);
}
