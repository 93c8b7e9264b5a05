//! What servers say besides answers, and what clients say besides requests: to whom it goes, and to whom it does not.

mod support;

use serde_json::{Value, json};
use support::{
    Hub, hub, server,
    talk::{self, Socket},
};

const FORM: &str = r#"{"elicitation":{"form":{}}}"#;

/// A session of a client that can do this, on a pipe of its own.
async fn session(hub: &Hub, able: &str) -> Socket {
    session_of(hub, "2025-11-25", able).await
}

async fn session_of(hub: &Hub, version: &str, able: &str) -> Socket {
    let mut session = talk::open(hub, "/ws/mcp").await;
    let mut hello = talk::initialize("hello", version);
    hello["params"]["capabilities"] = serde_json::from_str(able).unwrap();
    session.ask(&hello).await;
    session.say(&talk::notice("notifications/initialized", json!({}))).await;
    session
}

fn call(id: &str, tool: &str, arguments: Value) -> Value {
    talk::request(id, "tools/call", json!({"name": format!("s.{tool}"), "arguments": arguments}))
}

/// The server says this, then answers.
fn says(id: &str, note: &Value) -> Value {
    call(id, "say", json!({"text": note.to_string()}))
}

/// The server answers, and says this when no call of this caller is open.
fn says_after(id: &str, note: &Value) -> Value {
    let note = note.to_string();
    let note = note.strip_suffix('}').unwrap();
    call(id, "answer", json!({"members": format!(r#""result":{{"content":[]}}}}{}{note}"#, "\n")}))
}

fn log(level: &str, text: &str) -> Value {
    talk::notice("notifications/message", json!({"level": level, "data": text}))
}

/// The texts of the logs that came, up to this one.
async fn logs(session: &mut Socket, last: &str) -> Vec<String> {
    let mut texts = Vec::new();
    while texts.last().is_none_or(|text| text != last) {
        let log = session.heard.pick(|message| message["method"] == "notifications/message").await;
        texts.push(log["params"]["data"].as_str().unwrap().to_owned());
    }
    texts
}

#[tokio::test(flavor = "multi_thread")]
async fn before_a_level_is_set_a_session_hears_every_log_of_its_own_connection_and_nobody_elses() {
    let hub = hub::new().server("s", server::child("full --era handshake").scope("user")).run();
    let mut own = session(&hub, FORM).await;
    let mut other = session(&hub, "{}").await;
    own.ask(&says("1", &log("debug", "in a call"))).await;
    own.ask(&says_after("2", &log("debug", "between calls"))).await;
    other.ask(&says_after("3", &log("debug", "of another"))).await;
    assert_eq!(logs(&mut other, "of another").await, ["of another"]);
    own.ask(&talk::request("4", "logging/setLevel", json!({"level": "error"}))).await;
    own.ask(&says("5", &log("debug", "too little"))).await;
    own.ask(&says("6", &log("error", "last"))).await;
    assert_eq!(logs(&mut own, "last").await, ["in a call", "between calls", "last"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_a_connection_that_sessions_of_one_principal_share_reaches_each_by_its_level_once() {
    let hub = hub::new().server("s", server::child("full --era handshake").scope("user")).run();
    let (mut one, mut two) = (session(&hub, "{}").await, session(&hub, "{}").await);
    let mut apart = session(&hub, FORM).await;
    one.ask(&call("0", "echo", json!({"text": ""}))).await;
    two.ask(&talk::request("0", "logging/setLevel", json!({"level": "warning"}))).await;
    two.say(&call("open", "never", json!({}))).await;
    one.ask(&call("1", "await", json!({"name": "never"}))).await;
    for (id, level, text) in [("2", "debug", "of two calls"), ("3", "error", "grave"), ("4", "error", "last")] {
        one.ask(&says(id, &log(level, text))).await;
    }
    assert_eq!(logs(&mut one, "last").await, ["of two calls", "grave", "last"]);
    assert_eq!(logs(&mut two, "last").await, ["grave", "last"]);
    apart.ask(&says_after("5", &log("error", "own"))).await;
    assert_eq!(logs(&mut apart, "own").await, ["own"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_a_connection_that_is_everybodys_reaches_nobody() {
    let hub = hub::new()
        .server("s", server::child("full --era handshake"))
        .server("t", server::child("full --era handshake").scope("user"))
        .run();
    let mut session = session(&hub, "{}").await;
    session.ask(&says_after("1", &log("error", "whose?"))).await;
    session.ask(&call("2", "echo", json!({"text": ""}))).await;
    let mut own = says_after("3", &log("error", "own"));
    own["params"]["name"] = "t.answer".into();
    session.ask(&own).await;
    assert_eq!(logs(&mut session, "own").await, ["own"]);
}

fn completed(id: &str) -> Value {
    talk::notice("notifications/elicitation/complete", json!({"elicitationId": id}))
}

#[tokio::test(flavor = "multi_thread")]
async fn who_opens_a_page_hears_once_that_it_is_done_whether_a_call_is_open_or_not() {
    let hub = hub::new().server("s", server::child("full --era handshake").scope("user")).run();
    for able in [r#"{"elicitation":{"url":{}}}"#, "{}"] {
        let mut older = session_of(&hub, "2025-06-18", able).await;
        older.ask(&call("0", "echo", json!({"text": ""}))).await;
        let mut session = session(&hub, able).await;
        session.ask(&call("1", "need_url", json!({}))).await;
        session.ask(&says_after("2", &completed("between calls"))).await;
        session.say(&call("open", "never", json!({}))).await;
        session.ask(&call("3", "await", json!({"name": "never"}))).await;
        session.ask(&says("4", &completed("in a call"))).await;
        session.ask(&says("5", &completed("last"))).await;
        for id in ["between calls", "in a call", "last"] {
            let told = session.heard.pick(|message| message["method"] == "notifications/elicitation/complete").await;
            assert_eq!(told["params"]["elicitationId"], id, "{able}");
        }
        // Its revision knows no pages: it is told of none. What comes first is of a call of its own.
        older.ask(&says("1", &completed("of another revision"))).await;
        older.ask(&says("2", &log("error", "last"))).await;
        let is_told =
            |message: &Value| ["notifications/message", "notifications/elicitation/complete"].iter().any(|told| message["method"] == *told);
        assert_eq!(older.heard.pick(is_told).await["method"], "notifications/message", "{able}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_were_told_of_roots_that_change_are_told_when_they_do() {
    let hub = hub::new().server("s", server::child("full --era handshake").scope("user")).run();
    let changed = talk::notice("notifications/roots/list_changed", json!({}));
    for (able, declared, told) in [
        (r#"{"roots":{"listChanged":true}}"#, json!({"roots": {"listChanged": true}}), "1"),
        (r#"{"roots":{"listChanged":false}}"#, json!({"roots": {}}), "0"),
        (r#"{"roots":{}}"#, json!({"roots": {}}), "0"),
    ] {
        let mut session = session(&hub, able).await;
        let answer = session.ask(&call("1", "declared", json!({}))).await;
        let said: Value = serde_json::from_str(answer["result"]["content"][0]["text"].as_str().unwrap()).unwrap();
        assert_eq!(said, declared, "{able}");
        session.say(&changed).await;
        let count = told.parse::<u64>().unwrap();
        let counted = session.ask(&call("2", "await", json!({"name": "notifications/roots/list_changed", "count": count}))).await;
        assert_eq!(counted["result"]["content"][0]["text"], told, "{able}");
    }
}

/// What progress the client was told before this answer.
async fn progress(session: &mut Socket, id: &str) -> Vec<f64> {
    let mut told = Vec::new();
    loop {
        let message = session.heard.next().await;
        if message["method"] == "notifications/progress" {
            assert_eq!(message["params"]["progressToken"], "p");
            told.push(message["params"]["progress"].as_f64().unwrap());
        } else if message["id"] == id {
            assert!(message["result"]["content"].is_array(), "{message}");
            return told;
        } else if message["method"] == "elicitation/create" {
            let reply = json!({"jsonrpc": "2.0", "id": message["id"], "result": {"action": "accept", "content": {"name": "x"}}});
            session.say(&reply).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_rises_however_many_requests_and_looks_of_the_hub_one_call_takes() {
    let hub = hub::new()
        .server("s", server::child("full --era stateless").scope("user"))
        .server("t", server::child("full tasks --era handshake").scope("user"))
        .run();
    let mut session = session(&hub, FORM).await;
    let with_token = |id: &str, tool: &str, arguments: Value| {
        talk::request(id, "tools/call", json!({"name": tool, "arguments": arguments, "_meta": {"progressToken": "p"}}))
    };
    session.say(&with_token("1", "s.ask_again", json!({"progress": [[2, 5], [1, 5, 6], [3]]}))).await;
    assert_eq!(progress(&mut session, "1").await, [2.0, 5.0, 6.0]);

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("go");
    session.say(&with_token("2", "t.task_required", json!({"progress": 10, "file": file}))).await;
    let first = session.heard.pick(|message| message["method"] == "notifications/progress").await;
    let second = session.heard.pick(|message| message["method"] == "notifications/progress").await;
    assert_eq!((&first["params"]["progress"], &second["params"]["progress"]), (&json!(10), &json!(11)));
    std::fs::write(&file, "").unwrap();
    let rest = progress(&mut session, "2").await;
    assert!(rest.iter().zip([11.0].iter().chain(&rest)).all(|(later, earlier)| later > earlier), "{rest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_says_of_its_progress_on_a_question_reaches_who_asked() {
    let hub = hub::new().server("s", server::child("full --era handshake").scope("user")).run();
    let mut session = session(&hub, FORM).await;
    let asked = |message: &Value| message["method"] == "elicitation/create";
    let goes = |token: &Value, progress: f64| {
        talk::notice("notifications/progress", json!({"progressToken": token, "progress": progress, "message": "typing"}))
    };
    session.say(&call("1", "ask_form", json!({"token": "mine"}))).await;
    let question = session.heard.pick(asked).await;
    let token = &question["params"]["_meta"]["progressToken"];
    session.say(&goes(&json!("of nothing"), 1.0)).await;
    session.say(&goes(token, 2.5)).await;
    session.ask(&call("2", "await", json!({"name": "progress \"mine\" 2.5"}))).await;
    // Not higher: it is no progress.
    session.say(&goes(token, 2.0)).await;
    session.say(&goes(token, 3.0)).await;
    session.ask(&call("3", "await", json!({"name": "progress \"mine\" 3.0"}))).await;
    let counted = session.ask(&call("4", "await", json!({"name": "progress \"mine\" 2.0", "count": 0}))).await;
    assert_eq!(counted["result"]["content"][0]["text"], "0");
    session.say(&json!({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "decline"}})).await;
    session.heard.answer("1").await;

    let outside = json!({"jsonrpc": "2.0", "id": "q", "method": "elicitation/create",
        "params": {"message": "?", "requestedSchema": {"type": "object", "properties": {}}, "_meta": {"progressToken": 7}}});
    session.ask(&says_after("5", &outside)).await;
    let question = session.heard.pick(asked).await;
    session.say(&goes(&question["params"]["_meta"]["progressToken"], 1.0)).await;
    session.ask(&call("6", "await", json!({"name": "progress 7 1.0"}))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hubs_own_subscription_is_nothing_to_a_session() {
    let hub = hub::new().server("s", server::child("full --era stateless").scope("user")).run();
    let mut session = session(&hub, "{}").await;
    session.ask(&talk::request("1", "resources/subscribe", json!({"uri": "hub+s:file:///r0"}))).await;
    session.ask(&call("2", "touch_resource", json!({"uri": "file:///r0"}))).await;
    let updated = session.heard.pick(|message| message["method"] == "notifications/resources/updated").await;
    assert_eq!(updated["params"]["uri"], "hub+s:file:///r0");
    assert!(!updated.to_string().contains("subscriptionId"), "{updated}");
}

#[tokio::test(flavor = "multi_thread")]
async fn uris_in_a_question_outside_any_call_are_those_that_the_client_knows() {
    let hub = hub::new().server("s", server::child("full --era handshake").scope("user")).run();
    let mut session = session(&hub, r#"{"sampling":{}}"#).await;
    let link = json!({"type": "resource_link", "uri": "file:///a", "name": "a"});
    let params = json!({"maxTokens": 1, "messages": [{"role": "user", "content": link}]});
    let question = json!({"jsonrpc": "2.0", "id": "q", "method": "sampling/createMessage", "params": params});
    session.ask(&says_after("1", &question)).await;
    let asked = session.heard.pick(|message| message["method"] == "sampling/createMessage").await;
    assert_eq!(asked["params"]["messages"][0]["content"]["uri"], "hub+s:file:///a");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_hears_why_its_client_cancelled() {
    for era in ["handshake", "stateless"] {
        let hub = hub::new().server("s", server::child(&format!("full --era {era}")).scope("user")).run();
        let mut session = session(&hub, FORM).await;
        session.say(&call("n", "never", json!({}))).await;
        session.ask(&call("1", "await", json!({"name": "never"}))).await;
        session.say(&talk::notice("notifications/cancelled", json!({"requestId": "n", "reason": "changed \"my\" mind"}))).await;
        let told = session.ask(&call("2", "await", json!({"name": "cancelled: changed \"my\" mind"}))).await;
        assert_eq!(told["result"]["content"][0]["text"], "1", "{era}");
    }
}
