use super::*;
use crate::{
    bridge::incoming::{
        self,
        tests::{A, B, answer, check, of, published},
    },
    protocol::RequestId,
};

const MALFORMED_ERROR: &str = r#""error":{"code":-32603,"message":"The server answered with an error that is malformed","data":{"origin":"hub","reason":"bad_answer","retryable":false}}"#;

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
    assert_eq!(incoming::answer(&answer(refused), &Carry::new(&id, B, A)).unwrap_err().status, 400);
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
        assert_eq!(incoming::answer(&error, &Carry::new(&id, B, B)).err().map(|refusal| refusal.status), status, "{code}");
    }
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
