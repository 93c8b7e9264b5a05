//! From the server's answer or notification to the client's.
//!
//! Between two handshake peers only the id changes. Otherwise the envelope of the client's era is put on or taken off in the same one
//! splice; content is never read, only found missing. Errors are rare and may be parsed.

use super::HUB;
use crate::protocol::{
    Body, Era, Kind, Message, Refusal, RequestId, Version,
    code::{self, Code, Reason},
    refusal::quoted,
    splice::Splice,
};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The answer of `tools/call` for the client: its id restored byte for byte, the envelope of its era.
///
/// # Errors
/// The answer that takes its place, with the client's id: the server's could not be carried (unknown `resultType`, malformed error), or it has to be
/// told with a status of its own (`-32021`, 400).
pub fn tool_answer(answer: &Message, id: &RequestId, client: Version, server: Version) -> Result<Body, Refusal> {
    let carried = match answer.kind() {
        Kind::Error => error(answer, id, client, server),
        _ => result(answer, id, client.era(), server.era()),
    };
    carried.map_err(|refusal| refusal.with_id(Some(id.clone())))
}

/// `notifications/progress` with the client's own token (raw JSON).
pub fn progress(note: &Message, token: &Bytes) -> Body {
    let mut body = Splice::new(note);
    if let Some(span) = note.scan().progress_token {
        body.replace(span, token.clone());
    }
    body.to_body()
}

fn with_id<'a>(answer: &'a Message, id: &RequestId) -> Splice<'a> {
    let mut body = Splice::new(answer);
    if let Some(span) = answer.scan().id {
        body.replace(span, id.token().clone());
    }
    body
}

fn result(answer: &Message, id: &RequestId, client: Era, server: Era) -> Result<Body, Refusal> {
    let mut body = with_id(answer, id);
    match (client, server) {
        (Era::Handshake, Era::Handshake) => {}
        (Era::Handshake, Era::Stateless) => {
            check_complete(answer)?;
            take_envelope(&mut body, answer);
        }
        (Era::Stateless, _) => {
            if server == Era::Stateless {
                check_complete(answer)?;
            }
            put_envelope(&mut body, answer);
        }
    }
    Ok(body.to_body())
}

/// A stateless server may say anything but `complete` only if it was told that the caller understands it; the hub tells nobody so yet.
fn check_complete(answer: &Message) -> Result<(), Refusal> {
    match answer.scan().result_type {
        Some(member) if answer.string(member.value).as_deref() != Some("complete") => {
            Err(bad_answer("The server answered with a result type that was not asked for"))
        }
        _ => Ok(()),
    }
}

/// For a handshake client: what only 2026-07-28 knows goes, what earlier revisions require comes.
fn take_envelope(body: &mut Splice<'_>, answer: &Message) {
    let scan = answer.scan();
    for member in [scan.result_type, scan.ttl_ms, scan.cache_scope, scan.meta.server_info].into_iter().flatten() {
        body.delete(member);
    }
    if let Some(span) = scan.structured_content {
        let value = answer.token(span);
        // Until 2025-11-25 structured content is an object: strict clients drop a result in which it is not.
        if !value.starts_with(b"{") {
            body.replace(span, [br#"{"result":"#, value, b"}"].concat());
        }
    }
    if let (None, Some(object)) = (scan.content, scan.result) {
        body.insert_first(object, content(answer));
    }
}

/// For a stateless client: the result says that it is complete and who answers.
fn put_envelope(body: &mut Splice<'_>, answer: &Message) {
    let scan = answer.scan();
    let mut first = String::new();
    let mut put = |member: &str| {
        if !first.is_empty() {
            first.push(',');
        }
        first.push_str(member);
    };
    match scan.result_type {
        None => put(r#""resultType":"complete""#),
        // A handshake server may mean anything by it.
        Some(member) if answer.token(member.value) != br#""complete""# => {
            body.replace(member.value, r#""complete""#);
        }
        Some(_) => {}
    }
    if scan.content.is_none() {
        put(&content(answer));
    }
    match (scan.meta.object, scan.meta.server_info) {
        (None, _) => put(&format!(r#""_meta":{{{SERVER_INFO_KEY}:{HUB}}}"#)),
        (Some(meta), None) => {
            body.insert_first(meta, format!("{SERVER_INFO_KEY}:{HUB}"));
        }
        // The server's own identity stays, under the hub's key, unless a hub before this one put somebody there.
        (Some(meta), Some(member)) if memchr::memmem::find(answer.token(meta), KEPT_SERVER_INFO_KEY.as_bytes()).is_none() => {
            body.replace(member.key, KEPT_SERVER_INFO_KEY);
            body.insert_first(meta, format!("{SERVER_INFO_KEY}:{HUB}"));
        }
        (Some(_), Some(member)) => {
            body.replace(member.value, HUB);
        }
    }
    if let (false, Some(object)) = (first.is_empty(), scan.result) {
        body.insert_first(object, first);
    }
}

const SERVER_INFO_KEY: &str = r#""io.modelcontextprotocol/serverInfo""#;
const KEPT_SERVER_INFO_KEY: &str = r#""io.github.mcp-hub.mcp-hub/serverInfo""#;

/// The `content` member for a result that has none: every revision requires it, and structured content is to be readable there too.
fn content(answer: &Message) -> String {
    match answer.scan().structured_content {
        Some(span) => {
            let text = quoted(&String::from_utf8_lossy(answer.token(span)));
            format!(r#""content":[{{"type":"text","text":{text}}}]"#)
        }
        None => r#""content":[]"#.into(),
    }
}

/// What a server's error says; the parts that are only relayed stay raw.
#[derive(Deserialize)]
struct ErrorObject<'a> {
    code: i64,
    #[serde(borrow)]
    message: Cow<'a, str>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// Which errors may pass as they are, and what the others become (codes mean different things in the two eras).
fn error(answer: &Message, id: &RequestId, client: Version, server: Version) -> Result<Body, Refusal> {
    let relay = || Ok(with_id(answer, id).to_body());
    let raw = answer.scan().error.map(|span| answer.token(span)).unwrap_or_default();
    let Ok(error) = serde_json::from_slice::<ErrorObject<'_>>(raw) else {
        return match (client.era(), server.era()) {
            (Era::Handshake, Era::Handshake) => relay(),
            _ => Err(bad_answer("The server answered with an error that is malformed")),
        };
    };
    let is = |code: Code| error.code == code.number();
    match (client.era(), server.era()) {
        (Era::Handshake, Era::Handshake) if is(Code::UrlElicitation) && client < Version::V2025_11_25 => Err(wrapped(&error, raw)),
        (Era::Handshake, Era::Handshake) => relay(),
        (Era::Stateless, Era::Handshake) if is(Code::ResourceNotFound) => Err(recoded(&error, Code::InvalidParams)),
        (Era::Stateless, Era::Handshake) if code::is_reserved(error.code) => Err(wrapped(&error, raw)),
        // The hub spoke wrongly to that server; its caller did not.
        (_, Era::Stateless) if is(Code::HeaderMismatch) || is(Code::UnsupportedVersion) => Err(wrapped(&error, raw)),
        (Era::Stateless, Era::Stateless) if is(Code::MissingCapability) => Err(recoded(&error, Code::MissingCapability)),
        (Era::Handshake, Era::Stateless) if is(Code::MissingCapability) => Ok(missing_capability(&error, id)),
        _ => relay(),
    }
}

/// The server's error under a code that the client's era knows for the same thing.
fn recoded(error: &ErrorObject<'_>, code: Code) -> Refusal {
    let refusal = Refusal::new(code, code.http_status(Era::Stateless), &*error.message);
    match error.data {
        Some(data) => refusal.with_data(on_one_line(data.get())),
        None => refusal,
    }
}

/// An error whose code must not, or cannot usefully, reach the client: the whole of it goes into `data.rpc`.
fn wrapped(error: &ErrorObject<'_>, raw: &[u8]) -> Refusal {
    let rpc = on_one_line(&String::from_utf8_lossy(raw));
    Refusal::new(Code::Internal, 200, &*error.message).with_data(format!(r#"{{"origin":"server","rpc":{rpc}}}"#))
}

/// A handshake client has no such code: the model reads what is missing.
fn missing_capability(error: &ErrorObject<'_>, id: &RequestId) -> Body {
    let mut text = error.message.to_string();
    if let Some(data) = error.data {
        text.push(' ');
        text.push_str(data.get());
    }
    let (id, text) = (String::from_utf8_lossy(id.token()), quoted(&text));
    let result = format!(r#"{{"content":[{{"type":"text","text":{text}}}],"isError":true}}"#);
    Body::one(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#).into())
}

fn bad_answer(message: &str) -> Refusal {
    Refusal::new(Code::Internal, 200, message).with_data(code::failure_data(None, Reason::BadAnswer, None))
}

/// A raw line end in JSON stands only between tokens.
fn on_one_line(json: &str) -> String {
    json.replace(['\r', '\n'], " ")
}

#[cfg(test)]
mod tests {
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
        let body = tool_answer(&answer(member), &id, client, server).unwrap_or_else(|refusal| {
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
                    r#""result":{"_meta":{"io.modelcontextprotocol/serverInfo":HUB},"resultType":"complete","structuredContent":[1],"content":[]}"#,
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
            assert_eq!(tool_answer(&error, &id, B, B).err().map(|refusal| refusal.status), status, "{code}");
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
            let body = tool_answer(&pretty, &RequestId::from_number(1), client, server).expect("carried");
            assert!(!body.to_bytes().contains(&b'\n') && !body.to_bytes().contains(&b'\r'));
        }
    }
}
