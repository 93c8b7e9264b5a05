use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn ok(text: &str) -> Scan {
    scan(text.as_bytes()).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn refused(text: impl AsRef<[u8]>) -> (Fault, Option<String>) {
    let error = scan(text.as_ref()).expect_err(&String::from_utf8_lossy(text.as_ref()));
    (error.fault, error.id.map(|id| id.to_string()))
}

/// What a span holds.
fn at(text: &str, span: Option<Span>) -> &str {
    &text[span.unwrap().range()]
}

#[test]
fn a_stateless_call_shows_all_that_the_hub_reads() {
    let text = r#"{"jsonrpc":"2.0","id":"é1","method":"tools/call","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"roots":{}},"io.modelcontextprotocol/clientInfo":{"name":"c"},"io.modelcontextprotocol/logLevel":"info","progressToken":7,"traceparent":"x"},"name":"a.b","arguments":{"name":"inner","_meta":{"progressToken":0}},"task":{"ttl":1}}}"#;
    let found = ok(text);
    assert_eq!(found.kind, Kind::Request);
    assert_eq!(at(text, found.id), "\"é1\"");
    assert_eq!(at(text, found.method), "\"tools/call\"");
    assert_eq!(at(text, found.name), "\"a.b\"");
    assert_eq!(at(text, found.arguments), r#"{"name":"inner","_meta":{"progressToken":0}}"#);
    assert_eq!(at(text, found.task.map(|member| member.value)), r#"{"ttl":1}"#);
    let meta = found.meta;
    let value = |member: Option<Member>| at(text, member.map(|member| member.value));
    assert_eq!(value(meta.protocol_version), "\"2026-07-28\"");
    assert_eq!(value(meta.client_capabilities), r#"{"roots":{}}"#);
    assert_eq!(value(meta.client_info), r#"{"name":"c"}"#);
    assert_eq!(value(meta.log_level), "\"info\"");
    assert_eq!(value(meta.progress_token), "7");
    assert_eq!(at(text, meta.progress_token.map(|member| member.key)), "\"progressToken\"");
    assert!(at(text, meta.object).starts_with(r#"{"io.model"#) && at(text, meta.object).ends_with(r#""x"}"#));
    assert!(!found.has_newline);
}

#[test]
fn results_and_errors_show_what_is_rewritten() {
    let text = r#"{"result":{"resultType":"complete","content":[],"structuredContent":5,"isError":true,"ttlMs":1,"cacheScope":"public","_meta":{"io.modelcontextprotocol/serverInfo":{}}},"id":3,"jsonrpc":"2.0"}"#;
    let found = ok(text);
    assert_eq!(found.kind, Kind::Result);
    assert_eq!(at(text, found.content), "[]");
    assert_eq!(at(text, found.structured_content), "5");
    assert_eq!(at(text, found.is_error), "true");
    for (member, want) in
        [(found.result_type, "\"complete\""), (found.ttl_ms, "1"), (found.cache_scope, "\"public\""), (found.meta.server_info, "{}")]
    {
        assert_eq!(at(text, member.map(|member| member.value)), want);
    }
    let text = "{\n \"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32000,\"message\":\"m\",\"data\":[1]}}";
    let found = ok(text);
    assert_eq!((found.kind, found.id, found.has_newline), (Kind::Error, None, true));
    assert_eq!((at(text, found.error_code), at(text, found.error_message), at(text, found.error_data)), ("-32000", "\"m\"", "[1]"));
}

#[test]
fn keys_written_with_escapes_are_recognised() {
    let text =
        r#"{"\u006asonrpc":"2.0","\u0069d":7,"m\u0065thod":"ping","p\u0061rams":{"n\u0061me":"x","\u005fmeta":{"progress\u0054oken":1}}}"#;
    let found = ok(text);
    assert_eq!((found.kind, at(text, found.id), at(text, found.name)), (Kind::Request, "7", "\"x\""));
    assert!(found.meta.progress_token.is_some());
    assert_eq!(refused(r#"{"jsonrpc":"2.0","id":7,"\u0069d":8,"method":"ping"}"#), (Fault::Invalid, Some("7".into())));
}

#[test]
fn what_is_json_but_no_message_is_refused_with_its_id() {
    let seven = Some("7".to_owned());
    for (text, id) in [
        (r#"{"jsonrpc":"2.0","id":null,"method":"m"}"#, None),
        (r#"{"jsonrpc":"2.0","id":1.5,"method":"m"}"#, None),
        (r#"{"jsonrpc":"2.0","id":1e2,"method":"m"}"#, None),
        (r#"{"jsonrpc":"2.0","id":{},"method":"m"}"#, None),
        (r#"{"jsonrpc":"2.0","id":[1],"method":"m"}"#, None),
        (r#"{"jsonrpc":"2.0","id":true,"method":"m"}"#, None),
        (r#"{"jsonrpc":"1.0","method":"m","id":7}"#, seven.clone()),
        (r#"{"method":"m","id":7}"#, seven.clone()),
        (r#"{"jsonrpc":2.0,"method":"m","id":7}"#, seven.clone()),
        (r#"{"jsonrpc":"2.0","id":7}"#, seven.clone()),
        (r#"{"jsonrpc":"2.0","id":7,"method":1}"#, seven.clone()),
        (r#"{"jsonrpc":"2.0","id":7,"method":"m","params":[1]}"#, seven.clone()),
        (r#"{"jsonrpc":"2.0","id":7,"method":"m","params":null}"#, seven.clone()),
        (r#"{"jsonrpc":"2.0","params":[],"method":"m","id":7}"#, seven.clone()),
        (r#"{"jsonrpc":"2.0","id":7,"method":"m","params":{"_meta":1}}"#, seven.clone()),
        (r#"{"jsonrpc":"2.0","id":7,"result":[]}"#, seven.clone()),
        (r#"{"jsonrpc":"2.0","id":7,"error":"x"}"#, seven.clone()),
        (r#"{"jsonrpc":"2.0","id":7,"result":{},"error":{}}"#, seven.clone()),
        (r#"{"jsonrpc":"2.0","id":7,"result":{},"method":"m"}"#, seven.clone()),
        (r#"{"jsonrpc":"2.0","result":{}}"#, None),
        (r#"{"jsonrpc":"2.0","id":7,"id":8,"method":"m"}"#, seven.clone()),
        (r#"{"jsonrpc":"2.0","id":7,"method":"m","method":"n"}"#, seven.clone()),
        (r#"{"jsonrpc":"2.0","id":7,"method":"m","params":{},"params":{}}"#, seven.clone()),
        (r#"{"jsonrpc":"2.0","id":7,"method":"m","params":{"name":"a","name":"b"}}"#, seven.clone()),
        (r#"{"jsonrpc":"2.0","id":7,"method":"m","params":{"_meta":{},"_meta":{}}}"#, seven.clone()),
        (r#"{"jsonrpc":"2.0","id":7,"method":"m","params":{"_meta":{"progressToken":1,"progressToken":2}}}"#, seven.clone()),
        (r#"{"jsonrpc":"2.0","ID":7,"method":"m"}"#, None),
        (r#"{"jsonrpc":"2.0","id":7,"Method":"m","method":"m"}"#, seven.clone()),
        (r#"{"jsonrpc":"2.0","id":7,"method":"m","PARAMS":{}}"#, seven),
        ("5", None),
        ("\"text\"", None),
        ("null", None),
    ] {
        assert_eq!(refused(text), (Fault::Invalid, id), "{text}");
    }
}

#[test]
fn a_refusal_says_where() {
    for (text, said) in [
        (r#"{"jsonrpc":"2.0","id":null,"method":"m"}"#, "id is null at byte 22"),
        (r#"{"jsonrpc":"2.0","id":null,"result":{}}"#, "id is null at byte 22"),
        (r#"{"jsonrpc":"2.0","id":1.5,"method":"m"}"#, "id is neither a string nor an integer at byte 22"),
        (r#"{"jsonrpc":"2.0","id":1,"params":{}}"#, "params without method at byte 33"),
        (r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#, "both result and error at byte 44"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"m","result":{}}"#, "both a request and a response at byte 46"),
        (r#"{"id":1,"method":"m"}"#, "no jsonrpc at byte 0"),
    ] {
        assert_eq!(scan(text.as_bytes()).unwrap_err().to_string(), said, "{text}");
    }
}

#[test]
fn what_is_not_json_is_a_parse_error() {
    let deep =
        |levels: usize| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{{"a":{}{}}}}}"#, "[".repeat(levels), "]".repeat(levels));
    assert_eq!(ok(&deep(126)).kind, Kind::Request);
    for text in [
        "",
        " ",
        "{",
        "}",
        "{]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "{\"a\":1 \"b\":2}",
        "nul",
        "tru",
        "01",
        "-",
        "1.",
        "1e",
        "+1",
        ".5",
        "\"",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"\\u12\"",
        "\"a\tb\"",
        "\"a\nb\"",
        "{}{}",
        "{} x",
        "[1,]",
        "[1 2]",
        "[}",
        "{'a':1}",
        "{\"a\":\"\u{0}\"}",
        "\u{feff}{}",
    ] {
        let error = scan(text.as_bytes()).expect_err(text);
        assert_eq!(error.fault, Fault::Parse, "{text:?}: {error}");
    }
    for bytes in [&b"{\"a\":\"\xff\"}"[..], b"\xc0\x80", b"{\"a\":\"\xed\xa0\x80\"}"] {
        assert_eq!(refused(bytes), (Fault::Parse, None));
    }
    assert_eq!(refused(deep(127)), (Fault::Parse, None));
    assert_eq!(refused(deep(100_000)), (Fault::Parse, None));
}

#[test]
fn a_batch_is_split_and_bounded() {
    assert_eq!(refused("[5]"), (Fault::Batch, None));
    for text in ["[]", " [ ] "] {
        assert_eq!(refused(text), (Fault::Invalid, None));
        assert_eq!(elements(text.as_bytes()).unwrap_err().fault, Fault::Invalid);
    }
    let text = r#" [ {"a":[1,2]} , 5 ] "#;
    let spans: Vec<&str> = elements(text.as_bytes()).unwrap().into_iter().map(|span| &text[span.range()]).collect();
    assert_eq!(spans, [r#"{"a":[1,2]}"#, "5"]);
    assert_eq!(elements(b"{\"a\":1}").unwrap_err().fault, Fault::Invalid);
    for text in ["[1,]", "[1", "[1 2]", "[1]]", "", "[,]"] {
        assert_eq!(elements(text.as_bytes()).unwrap_err().fault, Fault::Parse, "{text}");
    }
    assert_eq!(elements(b"[\"\xff\"]").unwrap_err().fault, Fault::Parse);
    let many = format!("[{}1]", "1,".repeat(BATCH_MAX));
    assert_eq!(elements(many.as_bytes()).unwrap_err().fault, Fault::Invalid);
    assert_eq!(elements(many.replacen("1,", "", 1).as_bytes()).unwrap().len(), BATCH_MAX);
    assert_eq!(elements(b"[1]x").unwrap_err().fault, Fault::Parse);
}

#[test]
fn a_lone_surrogate_is_relayed_but_is_no_name() {
    let text = r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"name":"\ud83d","arguments":"\udc00"}}"#;
    assert_eq!(unescape(at(text, ok(text).name).as_bytes()), None);
}

#[test]
fn a_key_that_others_may_take_for_another_is_refused() {
    for text in [
        r#"{"jsonrpc":"2.0","id":7,"method":"m","Jsonrpc":1}"#,
        r#"{"jsonrpc":"2.0","id":7,"method":"m","paramſ":{}}"#,
        r#"{"jsonrpc":"2.0","id":7,"method":"m","Re\u017fult":{}}"#,
        r#"{"jsonrpc":"2.0","id":7,"method":"m","params":{"name":"a","Name":"b"}}"#,
        r#"{"jsonrpc":"2.0","id":7,"method":"m","params":{"NAME":"b"}}"#,
        r#"{"jsonrpc":"2.0","id":7,"method":"m","params":{"tasKId":"b"}}"#,
        r#"{"jsonrpc":"2.0","id":7,"method":"m","params":{"_Meta":{}}}"#,
        r#"{"jsonrpc":"2.0","id":7,"method":"m","params":{"n\u0041me":"b"}}"#,
    ] {
        assert_eq!(refused(text), (Fault::Invalid, Some("7".into())), "{text}");
    }
    for text in [
        r#"{"jsonrpc":"2.0","id":7,"method":"m","x-ID":1,"ids":2,"":3}"#,
        r#"{"jsonrpc":"2.0","id":7,"method":"m","params":{"names":1,"arguments":{"Name":1,"NAME":2},"title":1}}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{"Content":1,"x":1,"x":2}}"#,
    ] {
        ok(text);
    }
}

#[test]
fn an_error_says_what_is_wrong_and_where() {
    for (text, sentence) in [
        ("{\"jsonrpc\":\"2.0\",}", "expected a key at byte 17"),
        ("{\"jsonrpc\":\"2.0\"", "unexpected end at byte 16"),
        ("[1}", "expected `,` or `]` at byte 2"),
        ("{\"a\":\"x\ny\"}", "control character in a string at byte 7"),
        ("{\"a\":\"x\\qy\"}", "invalid escape at byte 7"),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"m\",\"id\":2}", "duplicate key in the envelope at byte 37"),
        ("{\"jsonrpc\":\"2.0\",\"id\":1.5,\"method\":\"m\"}", "id is neither a string nor an integer at byte 22"),
        ("{}x", "more after the end of the message at byte 2"),
    ] {
        assert_eq!(scan(text.as_bytes()).unwrap_err().to_string(), sentence, "{text}");
    }
    assert_eq!(scan(b"{\"a\":\"abc\xff\"}").unwrap_err().to_string(), "not UTF-8 at byte 9");
}

#[test]
fn broken_rules_before_broken_json_are_a_parse_error_without_id() {
    assert_eq!(refused(r#"{"jsonrpc":"1.0","id":7,"method":"m""#), (Fault::Parse, None));
}

#[test]
fn a_string_of_any_length_stops_at_its_own_quote() {
    for len in 0..200 {
        for (tail, is_json) in [
            ("", true),
            ("\\n", true),
            ("\\\"", true),
            ("\\\\", true),
            ("\\u00e9é", true),
            ("\\", false),
            ("\u{1f}", false),
            ("\n", false),
            ("\\u12", false),
        ] {
            let text =
                format!(r#"{{"jsonrpc":"2.0","id":7,"method":"m","params":{{"arguments":["{}{tail}"],"name":"n"}}}}"#, "x".repeat(len));
            match scan(text.as_bytes()) {
                Ok(found) => {
                    assert!(is_json, "{text}");
                    assert_eq!(at(&text, found.name), "\"n\"");
                }
                Err(error) => assert!(!is_json && error.fault == Fault::Parse, "{text}: {error}"),
            }
            fuzz_scan(text.as_bytes());
        }
    }
}

#[test]
fn depth_is_counted_alike_wherever_it_is_looked_into() {
    let wrap = |head: &str, levels: usize, tail: &str| format!("{head}{}{}{tail}", "[".repeat(levels), "]".repeat(levels));
    for (head, outer, tail) in [
        (r#"{"jsonrpc":"2.0","method":"m","x":"#, 1, "}"),
        (r#"{"jsonrpc":"2.0","method":"m","params":{"x":"#, 2, "}}"),
        (r#"{"jsonrpc":"2.0","method":"m","params":{"_meta":{"x":"#, 3, "}}}"),
        (r#"{"jsonrpc":"2.0","error":{"data":"#, 2, "}}"),
    ] {
        ok(&wrap(head, crate::limits::JSON_DEPTH_MAX - outer, tail));
        assert_eq!(refused(wrap(head, crate::limits::JSON_DEPTH_MAX - outer + 1, tail)), (Fault::Parse, None));
    }
    let objects = |levels: usize| format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
    ok(&format!(r#"{{"jsonrpc":"2.0","method":"m","x":{}}}"#, objects(127)));
    assert_eq!(refused(format!(r#"{{"jsonrpc":"2.0","method":"m","x":{}}}"#, objects(128))), (Fault::Parse, None));
}

#[test]
fn a_key_uri_is_noticed_where_content_has_it_and_nowhere_else() {
    let has_inner_uri = |result: &str| ok(&format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#)).has_inner_uri;
    for with in [
        r#"{"content":[{"type":"resource_link","uri":"a://b"}]}"#,
        r#"{"contents":[{"text":"","uri" : "a://b"}]}"#,
        r#"{"messages":[{"content":{"resource":{"\u0075ri":"a://b"}}}]}"#,
    ] {
        assert!(has_inner_uri(with), "{with}");
    }
    for without in
        [r#"{"content":[{"text":"\"uri\":1","a":"uri"},["uri"]]}"#, r#"{"uri":"a://b"}"#, r#"{"x":[{"uris":1,"uriTemplate":2}]}"#]
    {
        assert!(!has_inner_uri(without), "{without}");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter("finite", |number| number.is_finite()).prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
        "[\"\\\\\n\t\u{1}a-c]{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec(("[a-z_]{0,6}|name|uri|_meta|progressToken", inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_request_is_scanned_as_a_tree_reads_it(arguments in any_json(), name in ".{0,30}", id in any::<i64>(), token in any_json(), pretty: bool) {
        let message = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": name, "arguments": arguments, "_meta": {"progressToken": token}}});
        let text = if pretty { serde_json::to_string_pretty(&message).unwrap() } else { message.to_string() };
        let found = ok(&text);
        prop_assert_eq!(found.kind, Kind::Request);
        prop_assert_eq!(found.has_newline, pretty);
        fuzz::check_against_tree(text.as_bytes(), &found, &serde_json::from_str(&text).unwrap());
        prop_assert_eq!(unescape(at(&text, found.name).as_bytes()).unwrap(), name);
    }

    #[test]
    fn a_changed_byte_is_judged_as_serde_json_judges_it(value in any_json(), place in any::<prop::sample::Index>(), byte: u8) {
        let mut text = json!({"jsonrpc": "2.0", "id": 1, "method": "m", "params": {"arguments": value}}).to_string().into_bytes();
        let place = place.index(text.len());
        text[place] = byte;
        fuzz_scan(&text);
        super::super::splice::fuzz_splice(&text);
    }

    #[test]
    fn any_bytes_are_judged_as_serde_json_judges_them(bytes in prop::collection::vec(any::<u8>(), 0..60), text in "[\\[\\]{}\",:0-9.eE+\\-a-f\\\\unltrs \n]{0,40}") {
        fuzz_scan(&bytes);
        fuzz_scan(text.as_bytes());
    }
}
