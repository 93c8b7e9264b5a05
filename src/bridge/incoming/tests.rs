use super::*;

const A: Version = Version::V2025_11_25;
const B: Version = Version::V2026_07_28;

fn answer(member: &str) -> Message {
    let text = format!(r#"{{"jsonrpc":"2.0","id":65536,{member}}}"#);
    Message::parse(Bytes::from(text)).unwrap_or_else(|error| panic!("{error}: {member}"))
}

/// The member that carries the outcome, as the client gets it; `HUB` stands for the hub's identity. The id is checked here.
fn cross(member: &str, client: Version, server: Version) -> String {
    let id = RequestId::from_token(Bytes::from_static(br#""c\u0031""#)).expect("an id");
    let body = super::answer(&answer(member), &Carry::new(&id, client, server)).unwrap_or_else(|refusal| {
        assert_eq!(refusal.id.as_ref(), Some(&id));
        refusal.to_body()
    });
    let text = String::from_utf8(body.to_bytes().to_vec()).expect("UTF-8");
    serde_json::from_str::<serde_json::Value>(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let rest = text.strip_prefix(r#"{"jsonrpc":"2.0","id":"c\u0031","#).unwrap_or_else(|| panic!("{text}"));
    rest.strip_suffix('}').unwrap_or_else(|| panic!("{text}")).replace(HUB, "HUB")
}

fn check(client: Version, server: Version, cases: &[(&str, &str)]) {
    for (from, to) in cases {
        assert_eq!(cross(from, client, server), *to, "{from}");
    }
}

const BAD_RESULT_TYPE: &str = r#""error":{"code":-32603,"message":"The server answered with a result type that was not asked for","data":{"origin":"hub","reason":"bad_answer","retryable":false}}"#;
const MALFORMED_ERROR: &str = r#""error":{"code":-32603,"message":"The server answered with an error that is malformed","data":{"origin":"hub","reason":"bad_answer","retryable":false}}"#;

#[test]
fn between_handshake_peers_only_the_id_changes() {
    for member in [
        r#""result":{"content":[ {"type":"text","text":"é\n"} ]}"#,
        r#""result":{"resultType":"task","ttlMs":5,"_meta":{"io.modelcontextprotocol/serverInfo":1,"a":2}}"#,
        r#""error":{"code":-32602,"message":"no","data":{"uri":"a:b"}}"#,
        r#""error":{"code":-32002,"message":"no","data":{"uri":"a:b"}}"#,
        r#""error":{"code":-32042,"message":"go","data":{"elicitations":[]}}"#,
        r#""error":{"code":-32050,"message":"mine"}"#,
        r#""error":{"code":"x"}"#,
    ] {
        check(A, A, &[(member, member)]);
        check(A, Version::V2024_11_05, &[(member, member)]);
    }
}

#[test]
fn an_old_client_gets_no_code_it_cannot_know() {
    check(
        Version::V2025_06_18,
        A,
        &[(
            r#""error":{"code":-32042,"message":"go","data":{"elicitations":[{"url":"u"}]}}"#,
            r#""error":{"code":-32603,"message":"go","data":{"origin":"server","rpc":{"code":-32042,"message":"go","data":{"elicitations":[{"url":"u"}]}}}}"#,
        )],
    );
}

#[test]
fn a_stateless_client_gets_its_envelope_from_a_handshake_server() {
    check(
        B,
        A,
        &[
            (
                r#""result":{"content":[]}"#,
                r#""result":{"resultType":"complete","_meta":{"io.modelcontextprotocol/serverInfo":HUB},"content":[]}"#,
            ),
            (r#""result":{}"#, r#""result":{"resultType":"complete","content":[],"_meta":{"io.modelcontextprotocol/serverInfo":HUB}}"#),
            (
                r#""result":{"structuredContent":{"a":"b"}}"#,
                r#""result":{"resultType":"complete","content":[{"type":"text","text":"{\"a\":\"b\"}"}],"_meta":{"io.modelcontextprotocol/serverInfo":HUB},"structuredContent":{"a":"b"}}"#,
            ),
            (
                r#""result":{"content":[],"_meta":{"a":1}}"#,
                r#""result":{"resultType":"complete","content":[],"_meta":{"io.modelcontextprotocol/serverInfo":HUB,"a":1}}"#,
            ),
            (
                r#""result":{"content":[],"_meta":{}}"#,
                r#""result":{"resultType":"complete","content":[],"_meta":{"io.modelcontextprotocol/serverInfo":HUB}}"#,
            ),
            (
                r#""result":{"resultType":7,"content":[],"isError":true}"#,
                r#""result":{"_meta":{"io.modelcontextprotocol/serverInfo":HUB},"resultType":"complete","content":[],"isError":true}"#,
            ),
        ],
    );
}

#[test]
fn between_stateless_peers_the_hub_answers_in_its_own_name() {
    check(
        B,
        B,
        &[
            (
                r#""result":{"resultType":"complete","content":[],"ttlMs":5,"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s"},"a":1}}"#,
                r#""result":{"resultType":"complete","content":[],"ttlMs":5,"_meta":{"io.modelcontextprotocol/serverInfo":HUB,"io.github.mcp-hub.mcp-hub/serverInfo":{"name":"s"},"a":1}}"#,
            ),
            (
                r#""result":{"resultType":"complete","content":[],"_meta":{"io.github.mcp-hub.mcp-hub/serverInfo":{"name":"s"},"io.modelcontextprotocol/serverInfo":{"name":"h"}}}"#,
                r#""result":{"resultType":"complete","content":[],"_meta":{"io.github.mcp-hub.mcp-hub/serverInfo":{"name":"s"},"io.modelcontextprotocol/serverInfo":HUB}}"#,
            ),
            (
                r#""result":{"resultType":"complete","structuredContent":[1],"content":[]}"#,
                r#""result":{"_meta":{"io.modelcontextprotocol/serverInfo":HUB},"resultType":"complete","structuredContent":[1],"content":[{"type":"text","text":"[1]"}]}"#,
            ),
            (
                r#""result":{"content":[]}"#,
                r#""result":{"resultType":"complete","_meta":{"io.modelcontextprotocol/serverInfo":HUB},"content":[]}"#,
            ),
            (r#""result":{"resultType":"input_required","inputRequests":{}}"#, BAD_RESULT_TYPE),
            (r#""result":{"resultType":"task","taskId":"t"}"#, BAD_RESULT_TYPE),
            (r#""result":{"resultType":null,"content":[]}"#, BAD_RESULT_TYPE),
        ],
    );
}

#[test]
fn a_handshake_client_sees_nothing_of_the_stateless_envelope() {
    check(
        A,
        B,
        &[
            (
                r#""result":{"resultType":"complete","ttlMs":0,"cacheScope":"private","content":[],"_meta":{"io.modelcontextprotocol/serverInfo":{},"a":1}}"#,
                r#""result":{"content":[],"_meta":{"a":1}}"#,
            ),
            (
                r#""result":{"content":[],"_meta":{"io.modelcontextprotocol/serverInfo":{}},"resultType":"complete"}"#,
                r#""result":{"content":[],"_meta":{}}"#,
            ),
            (r#""result":{"resultType":"complete"}"#, r#""result":{"content":[]}"#),
            (
                r#""result":{"resultType":"complete","structuredContent":{"a":1}}"#,
                r#""result":{"content":[{"type":"text","text":"{\"a\":1}"}],"structuredContent":{"a":1}}"#,
            ),
            (
                r#""result":{"resultType":"complete","structuredContent":[1,2],"isError":false}"#,
                r#""result":{"content":[{"type":"text","text":"[1,2]"}],"structuredContent":{"result":[1,2]},"isError":false}"#,
            ),
            (r#""result":{"resultType":"input_required","requestState":"s"}"#, BAD_RESULT_TYPE),
            (r#""result":{"resultType":"task","taskId":"t"}"#, BAD_RESULT_TYPE),
        ],
    );
}

#[test]
fn error_codes_mean_in_one_era_what_they_meant_in_the_other() {
    for code in ["-32602", "-32601", "-32603", "-32000", "-32019", "-1", "42"] {
        let error = format!(r#""error":{{"code":{code},"message":"no","data":{{"uri":"a:b"}}}}"#);
        for (client, server) in [(A, B), (B, A), (B, B)] {
            check(client, server, &[(&error, &error)]);
        }
    }
    check(
        B,
        A,
        &[
            (
                r#""error":{"code":-32002,"message":"no","data":{"uri":"a:b"}}"#,
                r#""error":{"code":-32602,"message":"no","data":{"uri":"a:b"}}"#,
            ),
            (r#""error":{"code":-32002,"message":"n\u006f"}"#, r#""error":{"code":-32602,"message":"no"}"#),
            (
                r#""error":{"code":-32042,"message":"go","data":{"elicitations":[]}}"#,
                r#""error":{"code":-32603,"message":"go","data":{"origin":"server","rpc":{"code":-32042,"message":"go","data":{"elicitations":[]}}}}"#,
            ),
            (
                "\"error\":{\"code\":-32020,\n\"message\":\"mine\"}",
                r#""error":{"code":-32603,"message":"mine","data":{"origin":"server","rpc":{"code":-32020, "message":"mine"}}}"#,
            ),
            (r#""error":{"code":1.5,"message":"no"}"#, MALFORMED_ERROR),
            (r#""error":{"code":-32000}"#, MALFORMED_ERROR),
        ],
    );
    for code in ["-32020", "-32022"] {
        let error = format!(r#""error":{{"code":{code},"message":"no"}}"#);
        let wrapped =
            format!(r#""error":{{"code":-32603,"message":"no","data":{{"origin":"server","rpc":{{"code":{code},"message":"no"}}}}}}"#);
        check(A, B, &[(&error, &wrapped)]);
        check(B, B, &[(&error, &wrapped)]);
    }
    let missing = r#""error":{"code":-32021,"message":"Needs sampling","data":{"requiredCapabilities":{"sampling":{}}}}"#;
    check(B, B, &[(missing, missing)]);
    check(
        A,
        B,
        &[(
            missing,
            r#""result":{"content":[{"type":"text","text":"Needs sampling {\"requiredCapabilities\":{\"sampling\":{}}}"}],"isError":true}"#,
        )],
    );
}

#[test]
fn errors_of_the_stateless_era_keep_their_status() {
    let id = RequestId::from_number(1);
    for (code, status) in [("-32021", Some(400)), ("-32022", Some(200)), ("-32602", None), ("-32601", None)] {
        let error = answer(&format!(r#""error":{{"code":{code},"message":"no"}}"#));
        assert_eq!(super::answer(&error, &Carry::new(&id, B, B)).err().map(|refusal| refusal.status), status, "{code}");
    }
}

#[test]
fn progress_carries_the_token_as_the_client_wrote_it() {
    for (note, token, expected) in [
        (r#"{"progressToken":65536,"progress":1}"#, r#""t\u0031""#, r#"{"progressToken":"t\u0031","progress":1}"#),
        (r#"{"progress":0.50,"progressToken":65536,"message":"m"}"#, "-7", r#"{"progress":0.50,"progressToken":-7,"message":"m"}"#),
        (r#"{"progress":1}"#, "7", r#"{"progress":1}"#),
    ] {
        let frame = |params: &str| format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{params}}}"#);
        let note = Message::parse(Bytes::from(frame(note))).expect("a message");
        assert_eq!(progress(&note, &Bytes::from_static(token.as_bytes())).to_bytes(), frame(expected));
    }
}

#[test]
fn an_answer_is_one_line_whatever_the_server_put_between_tokens() {
    for (client, server) in [(A, A), (A, B), (B, A), (B, B)] {
        let pretty = answer("\n  \"result\": {\r\n    \"content\": []\n  }\n");
        let body = super::answer(&pretty, &Carry::new(&RequestId::from_number(1), client, server)).expect("carried");
        assert!(!body.to_bytes().contains(&b'\n') && !body.to_bytes().contains(&b'\r'));
    }
}
