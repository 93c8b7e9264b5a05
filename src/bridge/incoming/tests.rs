use super::*;
use crate::protocol::Level;

const A: Version = Version::V2025_11_25;
const B: Version = Version::V2026_07_28;

fn answer(member: &str) -> Message {
    let text = format!(r#"{{"jsonrpc":"2.0","id":65536,{member}}}"#);
    Message::parse(Bytes::from(text)).unwrap_or_else(|error| panic!("{error}: {member}"))
}

fn cross(member: &str, client: Version, server: Version) -> String {
    of(member, &|carry| carry.client = client, server)
}

/// The member that carries the outcome, as the client gets it; `HUB` stands for the hub's identity. The id is checked here.
fn of(member: &str, with: &dyn Fn(&mut Carry<'_>), server: Version) -> String {
    let id = RequestId::from_token(Bytes::from_static(br#""c\u0031""#)).expect("an id");
    let mut carry = Carry::new(&id, B, server);
    with(&mut carry);
    let body = super::answer(&answer(member), &carry).unwrap_or_else(|refusal| {
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
            r#""result":{"content":[{"type":"text","text":"Open this first, then try again\nu"}],"isError":true}"#,
        )],
    );
    let empty = r#""error":{"code":-32042,"message":"go","data":{"elicitations":[]}}"#;
    let wrapped = r#""error":{"code":-32603,"message":"go","data":{"origin":"server","rpc":{"code":-32042,"message":"go","data":{"elicitations":[]}}}}"#;
    check(Version::V2025_06_18, A, &[(empty, wrapped)]);
    let refused = r#""error":{"code":-32042,"message":"go","data":{"elicitations":[{"url":"https://a.example","message":"Sign in"}]}}"#;
    let old = |carry: &mut Carry<'_>| (carry.client, carry.method) = (Version::V2025_06_18, Method::ResourcesRead);
    let read = of(refused, &old, A);
    assert!(
        read.starts_with(r#""error":{"code":-32603,"message":"Open this first, then try again\nSign in: https://a.example","#),
        "{read}"
    );
}

#[test]
fn a_stateless_client_that_opens_no_pages_is_told_what_it_lacks() {
    let refused = r#""error":{"code":-32042,"message":"go","data":{"elicitations":[{"url":"https://a.example"}]}}"#;
    let lacks = r#""error":{"code":-32021,"message":"the server needs its user to open an address first","data":{"requiredCapabilities":{"elicitation":{"url":{}}}}}"#;
    for method in [Method::ToolsCall, Method::PromptsGet, Method::ResourcesRead] {
        assert_eq!(of(refused, &|carry| carry.method = method, A), lacks);
    }
    // No result of it could have asked.
    let complete = of(refused, &|carry| carry.method = Method::Complete, A);
    assert!(complete.starts_with(r#""error":{"code":-32603,"message":"go""#), "{complete}");
    let id = RequestId::from_number(1);
    assert_eq!(super::answer(&answer(refused), &Carry::new(&id, B, A)).unwrap_err().status, 400);
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
fn a_client_that_knows_no_structured_content_reads_it_as_text() {
    let text = r#""result":{"content":[{"type":"text","text":"{\"a\":1}"}],"structuredContent":{"a":1}}"#;
    let image = r#""result":{"content":[{"type":"image"}],"structuredContent":{"a":1}}"#;
    let told = r#""result":{"content":[{"type":"text","text":"t"}],"structuredContent":{"a":1}}"#;
    for client in [Version::V2024_11_05, Version::V2025_03_26] {
        for server in [Version::V2025_06_18, A, B] {
            for (from, to) in [
                (r#""result":{"content":[],"structuredContent":{"a":1}}"#, text),
                (r#""result":{"structuredContent":{"a":1}}"#, text),
                (image, r#""result":{"content":[{"type":"text","text":"{\"a\":1}"},{"type":"image"}],"structuredContent":{"a":1}}"#),
                (told, told),
            ] {
                check(client, server, &[(from, to)]);
            }
        }
    }
    for client in [Version::V2025_06_18, A] {
        check(client, A, &[(image, image), (r#""result":{"structuredContent":{"a":1}}"#, r#""result":{"structuredContent":{"a":1}}"#)]);
        check(client, B, &[(image, image)]);
    }
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
fn a_stateless_client_gets_no_code_that_its_era_does_not_define() {
    let gone = r#""error":{"code":-32002,"message":"no","data":{"uri":"a:b"}}"#;
    check(B, B, &[(gone, r#""error":{"code":-32602,"message":"no","data":{"uri":"a:b"}}"#)]);
    check(A, B, &[(gone, gone)]);
    for code in ["-32042", "-32050", "-32099"] {
        let error = format!(r#""error":{{"code":{code},"message":"no"}}"#);
        let wrapped =
            format!(r#""error":{{"code":-32603,"message":"no","data":{{"origin":"server","rpc":{{"code":{code},"message":"no"}}}}}}"#);
        check(B, B, &[(&error, &wrapped)]);
        check(A, B, &[(&error, &error)]);
    }
}

#[test]
fn what_is_not_found_is_named_though_its_server_does_not() {
    fn publish(uri: &str) -> Option<String> {
        uri.starts_with("a:").then(|| format!("hub+s:{uri}"))
    }
    for server in [A, B] {
        for (data, uri, told) in [
            ("", "a:b", r#","data":{"uri":"hub+s:a:b"}"#),
            ("", "b:c", r#","data":{"uri":"b:c"}"#),
            (r#","data":{"x":1}"#, "a:b", r#","data":{"x":1,"uri":"hub+s:a:b"}"#),
            (r#","data":{"uri":"a:d"}"#, "a:b", r#","data":{"uri":"hub+s:a:d"}"#),
            (r#","data":"why""#, "a:b", r#","data":"why""#),
        ] {
            let with = |carry: &mut Carry<'_>| {
                carry.method = Method::ResourcesRead;
                carry.publish = Some(&publish);
                carry.uri = Some(if uri == "a:b" { "a:b" } else { "b:c" });
            };
            let error = format!(r#""error":{{"code":-32002,"message":"no"{data}}}"#);
            assert_eq!(of(&error, &with, server), format!(r#""error":{{"code":-32602,"message":"no"{told}}}"#));
        }
    }
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
        assert_eq!(progress(&note, &Bytes::from_static(token.as_bytes()), &|_| None).to_bytes(), frame(expected));
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

const META: &str = r#""_meta":{"io.modelcontextprotocol/serverInfo":HUB}"#;

/// The same for a method, at an endpoint that publishes `a:` URIs as `hub+s:a:`.
fn published(method: Method<'static>, client: Version, server: Version, cases: &[(&str, &str)]) {
    fn publish(uri: &str) -> Option<String> {
        uri.starts_with("a:").then(|| format!("hub+s:{uri}"))
    }
    for (from, to) in cases {
        let with = |carry: &mut Carry<'_>| {
            (carry.client, carry.method) = (client, method);
            carry.publish = Some(&publish);
        };
        assert_eq!(of(from, &with, server), to.replace("META", META), "{from}");
    }
}

#[test]
fn uris_are_published_in_the_results_of_every_method_that_has_them() {
    let tool =
        r#""result":{"content":[ {"type":"resource_link","uri":"a:1"}, {"type":"text","text":"a:1"}],"structuredContent":{"uri":"a:1"}}"#;
    let tool_out = r#""result":{"content":[ {"type":"resource_link","uri":"hub+s:a:1"}, {"type":"text","text":"a:1"}],"structuredContent":{"uri":"a:1"}}"#;
    let prompt = r#""result":{"messages":[{"role":"user","content":{"type":"resource","resource":{"uri":"a:1","text":"t"}}}]}"#;
    let prompt_out = r#""result":{"messages":[{"role":"user","content":{"type":"resource","resource":{"uri":"hub+s:a:1","text":"t"}}}]}"#;
    let read = r#""result":{"contents":[{"uri":"a:1","blob":"AA=="},{"uri":"b:1","text":""}]}"#;
    let read_out = r#""result":{"contents":[{"uri":"hub+s:a:1","blob":"AA=="},{"uri":"b:1","text":""}]}"#;
    for (method, from, to) in
        [(Method::ToolsCall, tool, tool_out), (Method::PromptsGet, prompt, prompt_out), (Method::ResourcesRead, read, read_out)]
    {
        published(method, A, A, &[(from, to)]);
        published(Method::Complete, A, A, &[(from, from)]);
    }
    published(
        Method::TasksGet,
        B,
        B,
        &[
            (
                r#""result":{"resultType":"complete","taskId":"x","result":{"content":[{"type":"resource_link","uri":"a:1"}]}}"#,
                r#""result":{META,"resultType":"complete","taskId":"x","result":{"content":[{"type":"resource_link","uri":"hub+s:a:1"}]}}"#,
            ),
            (
                r#""result":{"resultType":"complete","taskId":"x","result":{"structuredContent":[1]}}"#,
                r#""result":{META,"resultType":"complete","taskId":"x","result":{"content":[{"type":"text","text":"[1]"}],"structuredContent":[1]}}"#,
            ),
            (
                r#""result":{"resultType":"complete","taskId":"x","error":{"code":-32602,"message":"nf","data":{"uri":"a:1"}}}"#,
                r#""result":{META,"resultType":"complete","taskId":"x","error":{"code":-32602,"message":"nf","data":{"uri":"hub+s:a:1"}}}"#,
            ),
            (
                r#""result":{"resultType":"complete","taskId":"x","error":{"code":-32022,"message":"q"}}"#,
                r#""result":{META,"resultType":"complete","taskId":"x","error":{"code":-32603,"message":"q","data":{"origin":"server","rpc":{"code":-32022,"message":"q"}}}}"#,
            ),
        ],
    );
}

#[test]
fn a_read_result_says_how_long_it_holds() {
    published(
        Method::ResourcesRead,
        B,
        A,
        &[(
            r#""result":{"contents":[{"uri":"a:1"}]}"#,
            r#""result":{"resultType":"complete","ttlMs":0,"cacheScope":"private",META,"contents":[{"uri":"hub+s:a:1"}]}"#,
        )],
    );
    published(
        Method::ResourcesRead,
        B,
        B,
        &[
            (
                r#""result":{"resultType":"complete","contents":[],"ttlMs":9,"cacheScope":"public"}"#,
                r#""result":{META,"resultType":"complete","contents":[],"ttlMs":9,"cacheScope":"public"}"#,
            ),
            (
                r#""result":{"resultType":"complete","contents":[],"cacheScope":"public"}"#,
                r#""result":{"ttlMs":0,META,"resultType":"complete","contents":[],"cacheScope":"public"}"#,
            ),
        ],
    );
    let hints =
        |ttl: &str, scope: &str| format!(r#""result":{{"resultType":"complete","contents":[],"ttlMs":{ttl},"cacheScope":{scope}}}"#);
    let told = |ttl: &str, scope: &str| hints(ttl, scope).replacen('{', "{META,", 1);
    for (ttl, read) in [
        ("0", "0"),
        ("5000", "5000"),
        ("1e3", "1e3"),
        ("5.0", "5.0"),
        ("-5", "0"),
        ("1.5", "0"),
        ("1e999", "0"),
        ("\"5\"", "0"),
        ("null", "0"),
    ] {
        let (from, to) = (hints(ttl, r#""public""#), told(read, r#""public""#));
        published(Method::ResourcesRead, B, B, &[(&from, &to)]);
    }
    for scope in [r#""x""#, "7", "null"] {
        published(Method::ResourcesRead, B, B, &[(&hints("5", scope), &told("5", r#""private""#))]);
    }
    // A handshake server's own members of these names say nothing.
    published(Method::ResourcesRead, B, A, &[(&hints("777", r#""public""#), &told("0", r#""private""#))]);
    published(
        Method::ResourcesRead,
        A,
        B,
        &[(r#""result":{"resultType":"complete","contents":[],"ttlMs":9,"cacheScope":"public"}"#, r#""result":{"contents":[]}"#)],
    );
}

#[test]
fn other_methods_get_the_envelope_and_no_content() {
    for method in [Method::Complete, Method::PromptsGet, Method::Other("own/x")] {
        published(method, B, A, &[(r#""result":{"x":1}"#, r#""result":{"resultType":"complete",META,"x":1}"#)]);
        published(method, A, B, &[(r#""result":{"resultType":"complete","x":1}"#, r#""result":{"x":1}"#)]);
    }
    let own = r#""result":{"resultType":"own","_meta":{}}"#;
    published(
        Method::Other("own/x"),
        B,
        B,
        &[(own, r#""result":{"resultType":"own","_meta":{"io.modelcontextprotocol/serverInfo":HUB}}"#)],
    );
    published(Method::Other("own/x"), A, B, &[(own, BAD_RESULT_TYPE)]);
    published(Method::Complete, B, B, &[(own, BAD_RESULT_TYPE)]);
}

#[test]
fn a_missing_resource_is_told_in_the_words_of_the_era() {
    let old = r#""error":{"code":-32002,"message":"no","data":{"uri":"a:1","x":1.0}}"#;
    let new = r#""error":{"code":-32602,"message":"no","data":{"uri":"a:1","x":1.0}}"#;
    let out = |code: &str| format!(r#""error":{{"code":{code},"message":"no","data":{{"uri":"hub+s:a:1","x":1.0}}}}"#);
    published(Method::ResourcesRead, B, A, &[(old, &out("-32602"))]);
    published(Method::ResourcesRead, A, A, &[(old, &out("-32002"))]);
    published(Method::ResourcesRead, A, B, &[(new, &out("-32002"))]);
    published(Method::ResourcesRead, B, B, &[(new, &out("-32602"))]);
    published(Method::ToolsCall, A, B, &[(new, &out("-32602"))]);
    let without = r#""error":{"code":-32602,"message":"no"}"#;
    published(Method::ResourcesRead, A, B, &[(without, without)]);
}

#[test]
fn what_a_client_cannot_do_is_an_error_where_no_model_reads_it() {
    published(
        Method::PromptsGet,
        A,
        B,
        &[(
            r#""error":{"code":-32021,"message":"Needs roots","data":{"requiredCapabilities":{"roots":{}}}}"#,
            r#""error":{"code":-32603,"message":"Needs roots","data":{"requiredCapabilities":{"roots":{}}}}"#,
        )],
    );
}

#[test]
fn a_client_of_an_older_revision_reads_what_it_does_not_know_as_text() {
    let link = r#""result":{"content":[{"type":"resource_link","uri":"a:1","name":"n"}]}"#;
    let text = r#""result":{"content":[{"type":"text","text":"n: hub+s:a:1"}]}"#;
    published(Method::ToolsCall, Version::V2025_03_26, A, &[(link, text)]);
    assert_eq!(cross(link, Version::V2025_03_26, B), r#""result":{"content":[{"type":"text","text":"n: a:1"}]}"#);
    // A server that says it speaks no newer revision than its client is believed.
    assert_eq!(cross(link, Version::V2025_03_26, Version::V2025_03_26), link);
    let audio = r#""result":{"content":[{"type":"audio","data":"AA==","mimeType":"audio/wav"}]}"#;
    assert_eq!(cross(audio, Version::V2025_03_26, A), audio);
    assert!(cross(audio, Version::V2024_11_05, A).contains(r#"{"type":"text","text":"[audio, audio/wav"#));
}

#[test]
fn structured_content_is_wrapped_with_its_schema_and_always_readable_as_text() {
    let array = r#""result":{"resultType":"complete","structuredContent":[1],"content":[ ]}"#;
    check(A, B, &[(array, r#""result":{"structuredContent":{"result":[1]},"content":[{"type":"text","text":"[1]"} ]}"#)]);
    let image = r#""result":{"resultType":"complete","structuredContent":7,"content":[{"type":"image"}]}"#;
    check(A, B, &[(image, r#""result":{"structuredContent":{"result":7},"content":[{"type":"text","text":"7"},{"type":"image"}]}"#)]);
    let text = r#""result":{"resultType":"complete","structuredContent":7,"content":[{"type":"text","text":"x"}]}"#;
    check(A, B, &[(text, r#""result":{"structuredContent":{"result":7},"content":[{"type":"text","text":"x"}]}"#)]);
    let object = r#""result":{"structuredContent":{"a":1},"content":[]}"#;
    let wraps = |carry: &mut Carry<'_>| (carry.client, carry.wraps_output) = (A, true);
    assert_eq!(of(object, &wraps, B), r#""result":{"structuredContent":{"result":{"a":1}},"content":[]}"#);
}

#[test]
fn the_oldest_servers_results_are_content() {
    let old = r#""result":{"toolResult":{"a":1}}"#;
    check(
        B,
        Version::V2024_11_05,
        &[(
            old,
            r#""result":{"resultType":"complete","content":[{"type":"text","text":"{\"a\":1}"}],"_meta":{"io.modelcontextprotocol/serverInfo":HUB},"toolResult":{"a":1}}"#,
        )],
    );
    check(A, Version::V2024_11_05, &[(old, old)]);
}

#[test]
fn a_server_may_answer_in_its_own_name_at_its_own_endpoint() {
    let named = r#""result":{"resultType":"complete","content":[],"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s"}}}"#;
    let own = |carry: &mut Carry<'_>| carry.identity = Identity::Server(&|| None);
    let said = |carry: &mut Carry<'_>| carry.identity = Identity::Server(&|| Some(Bytes::from_static(br#"{"name":"own","version":"2"}"#)));
    assert_eq!(of(named, &own, B), named);
    assert_eq!(of(named, &said, B), named);
    for (answer, expected) in [
        (
            r#""result":{"resultType":"complete","content":[]}"#,
            r#""result":{"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"own","version":"2"}},"resultType":"complete","content":[]}"#,
        ),
        (
            r#""result":{"resultType":"complete","content":[],"_meta":{"x":1}}"#,
            r#""result":{"resultType":"complete","content":[],"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"own","version":"2"},"x":1}}"#,
        ),
    ] {
        assert_eq!(of(answer, &said, B), expected, "what it said before");
    }
    assert_eq!(
        of(r#""result":{"resultType":"complete","content":[]}"#, &own, B),
        r#""result":{META,"resultType":"complete","content":[]}"#.replace("META", META)
    );
}

#[test]
fn a_task_goes_on_under_the_hubs_id_and_only_to_who_understands_it() {
    let task = r#""result":{"resultType":"task","taskId":"up","status":"working"}"#;
    let named = |carry: &mut Carry<'_>| carry.task = Some(Naming::As("tHUB"));
    assert_eq!(of(task, &named, B), r#""result":{META,"resultType":"task","taskId":"tHUB","status":"working"}"#.replace("META", META));
    assert_eq!(cross(task, B, B), BAD_RESULT_TYPE);
    let nested = r#""result":{"task":{"taskId":"up","ttl":5}}"#;
    let handshake = |carry: &mut Carry<'_>| (carry.client, carry.task) = (A, Some(Naming::As("tHUB")));
    assert_eq!(of(nested, &handshake, A), r#""result":{"task":{"taskId":"tHUB","ttl":5}}"#);
    let done = r#""result":{"content":[],"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"up"},"x":1}}"#;
    assert_eq!(
        of(done, &handshake, A),
        r#""result":{"content":[],"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"tHUB"},"x":1}}"#
    );
    let hidden = |carry: &mut Carry<'_>| (carry.client, carry.task) = (A, Some(Naming::Hide));
    assert_eq!(of(done, &hidden, A), r#""result":{"content":[],"_meta":{"x":1}}"#);
}

fn note(text: &str) -> Message {
    Message::parse(Bytes::copy_from_slice(text.as_bytes())).expect("a message")
}

#[test]
fn a_log_reaches_who_wants_to_read_from_its_level_on() {
    let warning = note(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"warning","data":{"x":1.0}}}"#);
    for (from, is_read) in [(None, true), (Some(Level::Debug), true), (Some(Level::Warning), true), (Some(Level::Error), false)] {
        let read = log(&warning, from, &|_| None).map(|body| body.to_bytes());
        assert_eq!(read.as_ref(), is_read.then_some(warning.bytes()), "{from:?}");
    }
    let odd = note(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"loud","data":1}}"#);
    assert!(log(&odd, Some(Level::Debug), &|_| None).is_none());
}

#[test]
fn what_a_server_says_of_a_task_names_it_as_the_client_knows_it() {
    let tasks = |id: &str| (id == "up").then(|| "tHUB".to_owned());
    let frame = |method: &str, meta: &str| format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{{"progressToken":1{meta}}}}}"#);
    for (before, after) in [
        (
            r#","_meta":{"io.modelcontextprotocol/related-task":{"taskId":"up"}}"#,
            r#","_meta":{"io.modelcontextprotocol/related-task":{"taskId":"tHUB"}}"#,
        ),
        (r#","_meta":{"io.modelcontextprotocol/related-task":{"taskId":"other"},"x":1}"#, r#","_meta":{"x":1}"#),
        (r#","_meta":{"io.modelcontextprotocol/related-task":7}"#, r#","_meta":{}"#),
        (r#","_meta":{"x":"related-task"}"#, r#","_meta":{"x":"related-task"}"#),
    ] {
        let told = progress(&note(&frame("notifications/progress", before)), &Bytes::from_static(b"1"), &tasks);
        assert_eq!(told.to_bytes(), frame("notifications/progress", after));
        let told = log(&note(&frame("notifications/message", before)), None, &tasks).unwrap();
        assert_eq!(told.to_bytes(), frame("notifications/message", after));
    }
}

#[test]
fn notifications_of_a_listen_stream_name_it() {
    let id = RequestId::from_token(Bytes::from_static(br#""l\u0031""#)).unwrap();
    let changed = note(
        r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a:1","_meta":{"io.modelcontextprotocol/subscriptionId":3,"x":1}}}"#,
    );
    assert_eq!(
        updated(&changed, "hub+s:a:1", Some(&id)).to_bytes(),
        r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"hub+s:a:1","_meta":{"io.modelcontextprotocol/subscriptionId":"l\u0031","x":1}}}"#
    );
    assert_eq!(
        updated(&changed, "a:1", None).to_bytes(),
        r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a:1","_meta":{"x":1}}}"#
    );
    let plain = note(r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a:1","_meta":{"x" : 1}}}"#);
    assert_eq!(updated(&plain, "a:1", None).to_bytes(), plain.bytes());
    let stamped = r#""_meta":{"io.modelcontextprotocol/subscriptionId":"l\u0031"}"#;
    for (before, after) in [
        (
            r#"{"jsonrpc":"2.0","method":"notifications/x"}"#,
            format!(r#"{{"params":{{{stamped}}},"jsonrpc":"2.0","method":"notifications/x"}}"#),
        ),
        (
            r#"{"jsonrpc":"2.0","method":"notifications/x","params":{"a":1}}"#,
            format!(r#"{{"jsonrpc":"2.0","method":"notifications/x","params":{{{stamped},"a":1}}}}"#),
        ),
        (
            r#"{"jsonrpc":"2.0","method":"notifications/x","params":{"_meta":{}}}"#,
            format!(r#"{{"jsonrpc":"2.0","method":"notifications/x","params":{{{stamped}}}}}"#),
        ),
    ] {
        assert_eq!(notice(&note(before), Some(&id)).to_bytes(), after);
        assert_eq!(notice(&note(before), None).to_bytes(), before);
    }
    for (params, subscription, after) in [
        ("{}", None, r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#.to_owned()),
        ("{}", Some(&id), format!(r#"{{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{{{stamped}}}}}"#)),
        (
            r#" { "a":1}"#,
            Some(&id),
            format!(r#"{{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{{{stamped},"a":1}}}}"#),
        ),
        (r#"{"a":1}"#, None, r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"a":1}}"#.to_owned()),
    ] {
        assert_eq!(own_notification(Method::ToolsListChanged, params, subscription).to_bytes(), after, "{params}");
    }
    assert_eq!(
        String::from_utf8_lossy(&listen_ended(&id).to_bytes()).replace(HUB, "HUB"),
        r#"{"jsonrpc":"2.0","id":"l\u0031","result":{"resultType":"complete","_meta":{"io.modelcontextprotocol/subscriptionId":"l\u0031","io.modelcontextprotocol/serverInfo":HUB}}}"#
    );
}

#[test]
fn nothing_is_completed_in_the_words_of_either_era() {
    for (client, members) in [(Era::Handshake, String::new()), (Era::Stateless, format!(r#""resultType":"complete",{META},"#))] {
        let told = String::from_utf8(no_completion(&RequestId::from_number(1), client).to_bytes().to_vec()).unwrap();
        assert_eq!(told.replace(HUB, "HUB"), format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{{members}"completion":{{"values":[]}}}}}}"#));
    }
}

#[test]
fn the_hub_reports_progress_of_its_own() {
    assert_eq!(
        own_progress(&Bytes::from_static(br#""t\u0031""#), 2, Some("half")).to_bytes(),
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t\u0031","progress":2,"message":"half"}}"#
    );
}
