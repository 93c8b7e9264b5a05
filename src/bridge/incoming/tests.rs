//! Results; errors and notifications have tests of their own, which share what is first here.

use super::*;

pub(super) const A: Version = Version::V2025_11_25;
pub(super) const B: Version = Version::V2026_07_28;

pub(super) fn answer(member: &str) -> Message {
    let text = format!(r#"{{"jsonrpc":"2.0","id":65536,{member}}}"#);
    Message::parse(Bytes::from(text)).unwrap_or_else(|error| panic!("{error}: {member}"))
}

fn cross(member: &str, client: Version, server: Version) -> String {
    of(member, &|carry| carry.client = client, server)
}

/// The member that carries the outcome, as the client gets it; `HUB` stands for the hub's identity. The id is checked here.
pub(super) fn of(member: &str, with: &dyn Fn(&mut Carry<'_>), server: Version) -> String {
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

pub(super) fn check(client: Version, server: Version, cases: &[(&str, &str)]) {
    for (from, to) in cases {
        assert_eq!(cross(from, client, server), *to, "{from}");
    }
}

const BAD_RESULT_TYPE: &str = r#""error":{"code":-32603,"message":"The server answered with a result type that was not asked for","data":{"origin":"hub","reason":"bad_answer","retryable":false}}"#;

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
fn an_answer_is_one_line_whatever_the_server_put_between_tokens() {
    for (client, server) in [(A, A), (A, B), (B, A), (B, B)] {
        let pretty = answer("\n  \"result\": {\r\n    \"content\": []\n  }\n");
        let body = super::answer(&pretty, &Carry::new(&RequestId::from_number(1), client, server)).expect("carried");
        assert!(!body.to_bytes().contains(&b'\n') && !body.to_bytes().contains(&b'\r'));
    }
}

const META: &str = r#""_meta":{"io.modelcontextprotocol/serverInfo":HUB}"#;

/// The same for a method, at an endpoint that publishes `a:` URIs as `hub+s:a:`.
pub(super) fn published(method: Method<'static>, client: Version, server: Version, cases: &[(&str, &str)]) {
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

#[test]
fn nothing_is_completed_in_the_words_of_either_era() {
    for (client, members) in [(Era::Handshake, String::new()), (Era::Stateless, format!(r#""resultType":"complete",{META},"#))] {
        let told = String::from_utf8(no_completion(&RequestId::from_number(1), client).to_bytes().to_vec()).unwrap();
        assert_eq!(told.replace(HUB, "HUB"), format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{{members}"completion":{{"values":[]}}}}}}"#));
    }
}
