use super::*;
use crate::protocol::Method;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(600);
const FORM: &str = r#"{"message":"m","requestedSchema":{"type":"object","properties":{}}}"#;
const YES: &str = r#"{"action":"accept","content":{}}"#;

#[expect(clippy::disallowed_methods, reason = "time has to start somewhere; it never passes by itself")]
fn now() -> Instant {
    Instant::now()
}

fn message(text: String) -> Message {
    Message::parse(Bytes::from(text.clone())).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn form(id: &str) -> Message {
    message(format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"elicitation/create","params":{FORM}}}"#))
}

fn roots(id: &str) -> Message {
    message(format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"roots/list"}}"#))
}

fn id(token: &'static str) -> RequestId {
    RequestId::from_token(Bytes::from_static(token.as_bytes())).unwrap()
}

fn parked() -> Parked<&'static str> {
    Parked::new(Profile::FORM.with(Profile::ROOTS).with(Profile::SAMPLING), Version::V2025_11_25, PATIENCE)
}

fn responses(replies: Vec<Reply>) -> Vec<String> {
    replies.into_iter().map(|reply| String::from_utf8(reply.response.to_vec()).unwrap()).collect()
}

#[test]
fn a_question_is_asked_when_its_window_is_over_and_answered_by_the_retry() {
    let (mut call, start) = (parked(), now());
    assert_eq!(call.handle_question(&form("0"), None, start), None);
    assert_eq!(call.handle_question(&roots(r#""x""#), None, start + Duration::from_millis(5)), None);
    assert_eq!(call.poll(start), Step::Wait);
    assert_eq!(call.timeout(), Some(start + limits::PARK_GATHER));
    let asked_at = start + limits::PARK_GATHER;
    assert_eq!(call.poll(asked_at), Step::Ask);
    assert!(!call.is_awaited());
    assert_eq!(call.requests(), format!(r#"{{"q1":{{"method":"elicitation/create","params":{FORM}}},"q2":{{"method":"roots/list"}}}}"#));
    let replies = call.handle_retry(Some(&format!(r#"{{"q2":{{"roots":[]}},"q1":{YES},"q9":7}}"#)), asked_at).unwrap();
    assert_eq!(
        responses(replies),
        [format!(r#"{{"jsonrpc":"2.0","id":0,"result":{YES}}}"#), r#"{"jsonrpc":"2.0","id":"x","result":{"roots":[]}}"#.into()]
    );
    assert_eq!((call.poll(asked_at), call.timeout()), (Step::Wait, None));
    assert_eq!(call.handle_outcome("done"), []);
    assert_eq!(call.poll(asked_at), Step::Answer("done"));
    assert!(call.is_over());
}

#[test]
fn a_retry_that_lacks_keys_is_asked_for_them_alone_at_once() {
    let (mut call, start) = (parked(), now());
    call.handle_question(&form("1"), None, start);
    call.handle_question(&form("2"), None, start);
    assert_eq!(call.poll(start + limits::PARK_GATHER), Step::Ask);
    let later = start + Duration::from_secs(5);
    assert_eq!(call.handle_retry(Some(&format!(r#"{{"q1":{YES}}}"#)), later).unwrap().len(), 1);
    assert_eq!(call.poll(later), Step::Ask);
    assert_eq!(call.requests(), format!(r#"{{"q2":{{"method":"elicitation/create","params":{FORM}}}}}"#));
    assert_eq!(call.handle_retry(None, later).unwrap(), []);
    assert_eq!(call.poll(later), Step::Ask, "nothing was answered");
    assert_eq!(call.handle_retry(Some(&format!(r#"{{"q1":{YES},"q2":{YES}}}"#)), later).unwrap().len(), 1, "q1 was answered before");
}

#[test]
fn a_malformed_response_answers_nothing_and_nobody_waits() {
    let (mut call, start) = (parked(), now());
    call.handle_question(&form("1"), None, start);
    call.handle_question(&form("2"), None, start);
    assert_eq!(call.poll(start + limits::PARK_GATHER), Step::Ask);
    for bad in [format!(r#"{{"q1":{YES},"q2":{{}}}}"#), r#"{"q1":[]}"#.into(), "[]".into(), format!(r#"{{"q1":{YES},"q1":{YES}}}"#)] {
        assert_eq!(call.handle_retry(Some(&bad), start).unwrap_err().code, Code::InvalidParams, "{bad}");
        assert!(!call.is_awaited());
    }
    assert_eq!(call.kinds().count(), 2);
}

#[test]
fn later_questions_have_keys_of_their_own() {
    let (mut call, start) = (parked(), now());
    call.handle_question(&form("1"), None, start);
    assert_eq!(call.poll(start + limits::PARK_GATHER), Step::Ask);
    call.handle_retry(Some(&format!(r#"{{"q1":{YES}}}"#)), start).unwrap();
    call.handle_question(&roots("1"), None, start);
    assert_eq!(call.poll(start), Step::Wait, "others may come with it");
    assert_eq!(call.poll(start + limits::PARK_GATHER), Step::Ask);
    assert_eq!(call.requests(), r#"{"q2":{"method":"roots/list"}}"#);
}

#[test]
fn what_ends_while_nobody_waits_is_kept_for_who_comes_back() {
    let (mut call, start) = (parked(), now());
    call.handle_question(&form("1"), None, start);
    assert_eq!(call.poll(start + limits::PARK_GATHER), Step::Ask);
    assert_eq!(responses(call.handle_outcome("gave up")), [r#"{"jsonrpc":"2.0","id":1,"result":{"action":"cancel"}}"#]);
    assert_eq!((call.poll(start + Duration::from_secs(9)), call.is_done()), (Step::Wait, true));
    assert_eq!(call.handle_retry(Some(&format!(r#"{{"q1":{YES}}}"#)), start).unwrap(), [], "the server does not wait any more");
    assert_eq!(call.poll(start), Step::Answer("gave up"));
    assert_eq!(call.handle_retry(None, start).unwrap_err().message, UNKNOWN_STATE);
}

#[test]
fn a_duplicate_retry_waits_instead_of_the_one_before() {
    let (mut call, start) = (parked(), now());
    call.handle_question(&form("1"), None, start);
    assert_eq!(call.poll(start + limits::PARK_GATHER), Step::Ask);
    let retry = format!(r#"{{"q1":{YES}}}"#);
    assert_eq!(call.handle_retry(Some(&retry), start).unwrap().len(), 1);
    assert_eq!(call.handle_retry(Some(&retry), start).unwrap(), [], "the question has its answer");
    assert!(call.is_awaited());
    call.handle_outcome("once");
    assert_eq!((call.poll(start), call.poll(start)), (Step::Answer("once"), Step::Wait));
}

#[test]
fn nobody_coming_back_closes_every_question_in_its_own_words() {
    let (mut call, start) = (parked(), now());
    call.handle_question(&form("1"), None, start);
    call.handle_question(&roots("2"), None, start);
    let sampling = r#"{"jsonrpc":"2.0","id":3,"method":"sampling/createMessage","params":{"messages":[],"maxTokens":1}}"#;
    call.handle_question(&message(sampling.into()), None, start);
    let asked_at = start + limits::PARK_GATHER;
    assert_eq!(call.poll(asked_at), Step::Ask);
    assert_eq!(call.timeout(), Some(asked_at + PATIENCE));
    assert_eq!(call.poll(asked_at + PATIENCE - Duration::from_millis(1)), Step::Wait);
    let Step::Expired(replies) = call.poll(asked_at + PATIENCE) else { panic!("it is late") };
    assert_eq!(
        responses(replies),
        [
            r#"{"jsonrpc":"2.0","id":1,"result":{"action":"cancel"}}"#,
            r#"{"jsonrpc":"2.0","id":2,"error":{"code":-32603,"message":"nobody answered in time"}}"#,
            r#"{"jsonrpc":"2.0","id":3,"error":{"code":-1,"message":"nobody answered in time"}}"#,
        ]
    );
    assert!(call.is_over() && call.timeout().is_none());
    assert_eq!(call.close(), []);
}

#[test]
fn a_withdrawn_question_is_neither_asked_nor_answered() {
    let (mut call, start) = (parked(), now());
    call.handle_question(&form("1"), None, start);
    call.handle_withdrawn(&id("1"));
    assert_eq!((call.poll(start + limits::PARK_GATHER), call.timeout()), (Step::Wait, None));
    call.handle_question(&form("2"), None, start);
    call.handle_question(&form("3"), None, start);
    assert_eq!(call.poll(start + limits::PARK_GATHER), Step::Ask);
    call.handle_withdrawn(&id("2"));
    assert_eq!(call.handle_retry(Some(&format!(r#"{{"q2":{YES},"q3":{YES}}}"#)), start).unwrap().len(), 1);
    let note = message(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"x"}}"#.into());
    assert_eq!((note.method(), withdrawn_id(&note)), (Method::Cancelled, Some(id("\"x\""))));
}

#[test]
fn what_the_client_did_not_declare_is_refused_at_once() {
    let (mut call, start) = (Parked::<()>::new(Profile::FORM, Version::V2025_11_25, PATIENCE), now());
    let reply = call.handle_question(&roots(r#""r""#), None, start).unwrap();
    assert_eq!((reply.question, call.timeout()), (id("\"r\""), None));
    assert_eq!(
        String::from_utf8(reply.response.to_vec()).unwrap(),
        r#"{"jsonrpc":"2.0","id":"r","error":{"code":-32601,"message":"the client has not declared roots/list"}}"#
    );
}

#[test]
fn questions_are_bounded_in_number_and_size() {
    let (mut call, start) = (parked(), now());
    for n in 0..limits::QUESTIONS_MAX {
        assert_eq!(call.handle_question(&form(&n.to_string()), None, start), None);
    }
    assert!(call.handle_question(&form("99"), None, start).is_some());
    let (mut call, big) = (parked(), "x".repeat(limits::QUESTION_BYTES_MAX / 2));
    let big = |id| message(form(id).bytes().escape_ascii().to_string().replace("\\\"", "\"").replace("\"m\"", &format!("\"{big}\"")));
    assert_eq!(call.handle_question(&big("1"), None, start), None);
    assert!(call.handle_question(&big("2"), None, start).is_some());
    call.handle_withdrawn(&id("1"));
    assert_eq!(call.handle_question(&big("2"), None, start), None, "there is room again");
    let mut call = parked();
    for n in 0..limits::QUESTIONS_PER_CALL_MAX {
        assert_eq!(call.handle_question(&form("1"), None, start), None, "{n}");
        call.handle_withdrawn(&id("1"));
    }
    assert!(call.handle_question(&form("1"), None, start).is_some());
    let mut call = parked();
    call.handle_question(&form("1"), None, start);
    assert!(call.handle_question(&form("1"), None, start).is_some(), "an id in use");
}

#[test]
fn a_completed_elicitation_is_named() {
    let note = message(r#"{"jsonrpc":"2.0","method":"notifications/elicitation/complete","params":{"elicitationId":"e\u0031"}}"#.into());
    assert_eq!(completed_elicitation(&note).as_deref(), Some("e1"));
}
