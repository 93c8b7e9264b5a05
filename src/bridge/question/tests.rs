use super::*;
use crate::protocol::Kind as MessageKind;

const FORM: &str = r#"{"message":"m","requestedSchema":{"type":"object","properties":{}}}"#;
const URL: &str = r#"{"mode":"url","message":"m","url":"https://a.example","elicitationId":"e1"}"#;
const SAMPLE: &str = r#"{"messages":[{"role":"user","content":{"type":"text","text":"t"}}],"maxTokens":5}"#;

fn everything() -> Profile {
    [Profile::ROOTS, Profile::SAMPLING, Profile::SAMPLING_TOOLS, Profile::FORM, Profile::URL].into_iter().fold(Profile::BARE, Profile::with)
}

fn message(text: &str) -> Message {
    Message::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn question(method: &str, params: &str) -> Message {
    let params = if params.is_empty() { String::new() } else { format!(r#","params":{params}"#) };
    message(&format!(r#"{{"jsonrpc":"2.0","id":"s1","method":"{method}"{params}}}"#))
}

fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    assert!(!text.contains(['\n', '\r']), "{text}");
    message(&text);
    text
}

#[test]
fn a_question_is_read_without_what_only_its_server_needs() {
    for (method, params, kind, needs, entry) in [
        ("elicitation/create", FORM, Kind::Form, Profile::FORM, format!(r#"{{"method":"elicitation/create","params":{FORM}}}"#)),
        (
            "elicitation/create",
            URL,
            Kind::Url,
            Profile::URL,
            r#"{"method":"elicitation/create","params":{"mode":"url","message":"m","url":"https://a.example"}}"#.into(),
        ),
        (
            "sampling/createMessage",
            r#"{"_meta":{"progressToken":1},"messages":[],"task":{"ttl":5},"maxTokens":5,"own":1.0}"#,
            Kind::Sampling,
            Profile::SAMPLING,
            r#"{"method":"sampling/createMessage","params":{"messages":[],"maxTokens":5,"own":1.0}}"#.into(),
        ),
        (
            "sampling/createMessage",
            r#"{"messages":[],"maxTokens":5,"tools":[]}"#,
            Kind::Sampling,
            Profile::SAMPLING.with(Profile::SAMPLING_TOOLS),
            r#"{"method":"sampling/createMessage","params":{"messages":[],"maxTokens":5,"tools":[]}}"#.into(),
        ),
        ("roots/list", "", Kind::Roots, Profile::ROOTS, r#"{"method":"roots/list"}"#.into()),
    ] {
        let asked = Asked::read(&question(method, params), None).unwrap();
        assert_eq!((asked.kind, asked.needs, asked.entry()), (kind, needs, entry), "{params}");
    }
    assert_eq!(Asked::read(&question("elicitation/create", URL), None).unwrap().elicitation_id.as_deref(), Some("e1"));
}

#[test]
fn uris_in_messages_to_be_sampled_are_published() {
    let params = r#"{"maxTokens":1,"messages":[{"role":"user","content":{"type":"resource","resource":{"uri":"a:1"}}}]}"#;
    let publish = |uri: &str| Some(format!("hub+s:{uri}"));
    let asked = Asked::read(&question("sampling/createMessage", params), Some(&publish)).unwrap();
    assert!(asked.entry().contains(r#""uri":"hub+s:a:1""#), "{}", asked.entry());
}

#[test]
fn what_is_no_question_is_refused() {
    for (method, params, code) in [
        ("who/knows", "{}", Code::MethodNotFound),
        ("tools/call", "{}", Code::MethodNotFound),
        ("elicitation/create", "", Code::InvalidParams),
        ("elicitation/create", r#"{"message":"m"}"#, Code::InvalidParams),
        ("elicitation/create", r#"{"message":"m","mode":"url"}"#, Code::InvalidParams),
        ("elicitation/create", r#"{"message":"m","mode":"post","requestedSchema":{}}"#, Code::InvalidParams),
        ("elicitation/create", r#"{"message":"m","mode":7,"requestedSchema":{}}"#, Code::InvalidParams),
        ("elicitation/create", r#"{"message":"m","message":"n","requestedSchema":{}}"#, Code::InvalidParams),
        ("sampling/createMessage", r#"{"messages":{},"maxTokens":1}"#, Code::InvalidParams),
        ("sampling/createMessage", r#"{"messages":[]}"#, Code::InvalidParams),
    ] {
        let refusal = Asked::read(&question(method, params), None).unwrap_err();
        assert_eq!((refusal.code, refusal.id.unwrap().to_string()), (code, r#""s1""#.into()), "{method} {params}");
    }
}

#[test]
fn nobody_is_asked_what_it_did_not_declare() {
    let tools = r#"{"messages":[],"maxTokens":5,"tools":[]}"#;
    for (method, params, client, code) in [
        ("elicitation/create", FORM, Profile::BARE, Code::MethodNotFound),
        ("elicitation/create", FORM, Profile::URL, Code::InvalidParams),
        ("elicitation/create", URL, Profile::FORM, Code::InvalidParams),
        ("sampling/createMessage", SAMPLE, Profile::FORM, Code::MethodNotFound),
        ("sampling/createMessage", tools, Profile::SAMPLING, Code::InvalidParams),
        ("roots/list", "", Profile::SAMPLING, Code::MethodNotFound),
    ] {
        let asked = Asked::read(&question(method, params), None).unwrap();
        assert_eq!(asked.check(client).unwrap_err().code, code, "{params}");
        assert_eq!(asked.check(everything()), Ok(()));
    }
}

#[test]
fn a_question_between_handshake_peers_changes_its_ids_only() {
    let id = RequestId::from_number(9);
    let forwarded = |question: &Message, client, server| {
        forward(question, &id, (client, everything()), server, None, &|task| (task == "up").then(|| "tHUB".into()))
            .map(|body| text(&body.to_bytes()))
    };
    let newest = Version::V2025_11_25;
    for (before, after) in [
        (
            r#"{"jsonrpc":"2.0","id":0,"method":"sampling/createMessage","params":{ "maxTokens":1.0,"messages":[],"task":{},"_meta":{"progressToken":"t","own":1}}}"#,
            r#"{"jsonrpc":"2.0","id":9,"method":"sampling/createMessage","params":{ "maxTokens":1.0,"messages":[],"_meta":{"progressToken":9,"own":1}}}"#,
        ),
        (
            r#"{"jsonrpc":"2.0","id":"x","method":"elicitation/create","params":{"mode":"url","message":"m","url":"u","elicitationId":"e"}}"#,
            r#"{"jsonrpc":"2.0","id":9,"method":"elicitation/create","params":{"mode":"url","message":"m","url":"u","elicitationId":"e"}}"#,
        ),
        (r#"{"jsonrpc":"2.0","id":1,"method":"roots/list"}"#, r#"{"jsonrpc":"2.0","id":9,"method":"roots/list"}"#),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"roots/list","params":{"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"up"}}}}"#,
            r#"{"jsonrpc":"2.0","id":9,"method":"roots/list","params":{"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"tHUB"}}}}"#,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"roots/list","params":{"_meta":{"progressToken":"t","io.modelcontextprotocol/related-task":{"taskId":"other"}}}}"#,
            r#"{"jsonrpc":"2.0","id":9,"method":"roots/list","params":{"_meta":{"progressToken":9}}}"#,
        ),
    ] {
        assert_eq!(forwarded(&message(before), newest, newest).unwrap(), after);
    }
    let newer = question("elicitation/create", r#"{"mode":"form","message":"m","requestedSchema":{"type":"object","properties":{}}}"#);
    assert_eq!(
        forwarded(&newer, Version::V2025_06_18, newest).unwrap(),
        r#"{"jsonrpc":"2.0","id":9,"method":"elicitation/create","params":{"message":"m","requestedSchema":{"type":"object","properties":{}}}}"#
    );
    let refusal = forwarded(&question("elicitation/create", URL), Version::V2025_06_18, newest).unwrap_err();
    assert_eq!((refusal.code, refusal.id.is_some()), (Code::MethodNotFound, true));
    let bare = forward(&question("roots/list", ""), &id, (newest, Profile::BARE), newest, None, &|_| None).unwrap_err();
    assert_eq!((bare.code, bare.id.is_some()), (Code::MethodNotFound, true));
}

#[test]
fn an_answer_goes_back_under_the_servers_own_id() {
    let asked = |meta: &str| message(&format!(r#"{{"jsonrpc":"2.0","id":"s\u0031","method":"roots/list","params":{{{meta}}}}}"#));
    for (response, kind, server, after) in [
        (
            r#"{"jsonrpc":"2.0","id":9,"result":{"action":"accept","content":{"a":1.0}}}"#,
            Kind::Form,
            Version::V2025_06_18,
            r#"{"jsonrpc":"2.0","id":"s\u0031","result":{"action":"accept","content":{"a":1.0}}}"#,
        ),
        (
            r#"{"jsonrpc":"2.0","id":9,"error":{"code":-1,"message":"no"}}"#,
            Kind::Sampling,
            Version::V2025_06_18,
            r#"{"jsonrpc":"2.0","id":"s\u0031","error":{"code":-1,"message":"no"}}"#,
        ),
        (
            r#"{"jsonrpc":"2.0","id":9,"result":{"role":"assistant","model":"m","content":[{"type":"text","text":"t"}]}}"#,
            Kind::Sampling,
            Version::V2025_06_18,
            r#"{"jsonrpc":"2.0","id":"s\u0031","result":{"role":"assistant","model":"m","content":{"type":"text","text":"t"}}}"#,
        ),
    ] {
        assert_eq!(text(&answer(&message(response), kind, &asked(""), server)), after);
    }
    let related = |id: &str| format!(r#""_meta":{{"io.modelcontextprotocol/related-task":{{"taskId":"{id}"}}}}"#);
    let response = message(&format!(r#"{{"jsonrpc":"2.0","id":9,"result":{{"action":"cancel",{}}}}}"#, related("tHUB")));
    for (question, meta) in [(asked(&related("up")), related("up")), (asked(""), r#""_meta":{}"#.to_owned())] {
        let after = format!(r#"{{"jsonrpc":"2.0","id":"s\u0031","result":{{"action":"cancel",{meta}}}}}"#);
        assert_eq!(text(&answer(&response, Kind::Form, &question, Version::V2025_11_25)), after);
    }
}

#[test]
fn a_question_that_nobody_answers_is_closed_in_the_words_of_its_kind() {
    let id = RequestId::from_number(3);
    for (kind, closing) in [
        (Kind::Form, r#"{"jsonrpc":"2.0","id":3,"result":{"action":"cancel"}}"#),
        (Kind::Url, r#"{"jsonrpc":"2.0","id":3,"result":{"action":"cancel"}}"#),
        (Kind::Sampling, r#"{"jsonrpc":"2.0","id":3,"error":{"code":-1,"message":"nobody answered in time"}}"#),
        (Kind::Roots, r#"{"jsonrpc":"2.0","id":3,"error":{"code":-32603,"message":"nobody answered in time"}}"#),
    ] {
        assert_eq!(text(&kind.closing(&id)), closing);
    }
}

#[test]
fn a_withdrawn_question_is_cancelled_at_its_client() {
    let note = message(&text(&withdrawn(&RequestId::from_number(9), "too \"late\"").to_bytes()));
    assert_eq!((note.kind(), note.method()), (MessageKind::Notification, Method::Cancelled));
    assert_eq!(note.scan().request_id.map(|span| note.token(span)), Some(&b"9"[..]));
}

#[test]
fn answers_must_have_the_members_of_their_kind() {
    for (kind, result, is_one) in [
        (Kind::Form, r#"{"action":"accept","content":{}}"#, true),
        (Kind::Form, r#"{"action":"decline"}"#, true),
        (Kind::Form, r#"{"action":"accept","content":[]}"#, false),
        (Kind::Form, r#"{"action":"go"}"#, false),
        (Kind::Url, r#"{"action":"cancel"}"#, true),
        (Kind::Sampling, r#"{"role":"assistant","content":{"type":"text"},"model":"m"}"#, true),
        (Kind::Sampling, r#"{"role":"assistant","content":[],"model":"m"}"#, true),
        (Kind::Sampling, r#"{"role":"assistant","content":"t","model":"m"}"#, false),
        (Kind::Sampling, r#"{"role":"assistant","content":{}}"#, false),
        (Kind::Roots, r#"{"roots":[]}"#, true),
        (Kind::Roots, r#"{"roots":{}}"#, false),
        (Kind::Roots, "[]", false),
    ] {
        assert_eq!(kind.accepts(result), is_one, "{result}");
    }
}
