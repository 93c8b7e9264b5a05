use super::*;
use crate::bridge::HUB;

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
fn the_hub_reports_progress_of_its_own() {
    assert_eq!(
        own_progress(&Bytes::from_static(br#""t\u0031""#), 2, Some("half")).to_bytes(),
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t\u0031","progress":2,"message":"half"}}"#
    );
}
