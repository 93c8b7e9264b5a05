use super::*;
use serde_json::{Value, json};

/// A ledger, and what each side has been told.
#[derive(Default)]
struct Told {
    ledger: Ledger,
    out: Out,
}

impl Told {
    fn begun() -> Self {
        let mut told = Self::default();
        told.ledger.begin(&mut told.out);
        told
    }

    fn client(&mut self, message: &Value) {
        self.client_line(&message.to_string());
    }

    fn client_line(&mut self, line: &str) {
        self.ledger.client_said(Bytes::copy_from_slice(line.as_bytes()), &mut self.out);
    }

    fn hub(&mut self, message: &Value) {
        self.ledger.hub_said(message.to_string().into(), &mut self.out);
    }

    fn lose(&mut self) {
        self.ledger.lost(&mut self.out);
    }

    fn begin(&mut self) {
        self.ledger.begin(&mut self.out);
    }

    /// Messages to the hub since the last look.
    fn hub_heard(&mut self) -> Vec<Value> {
        messages(&mut self.out.hub)
    }

    fn client_heard(&mut self) -> Vec<Value> {
        messages(&mut self.out.client)
    }

    /// What both sides were told.
    fn forget(&mut self) {
        self.out = Out::default();
    }

    /// A client of the handshake era, and what that takes.
    fn handshaken() -> Self {
        Self::speaking("2025-06-18")
    }

    fn speaking(version: &str) -> Self {
        let mut told = Self::begun();
        told.client(&asking_for(version));
        told.hub(&welcome(version));
        told.client(&initialized());
        told.forget();
        told
    }
}

fn welcome(version: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": 0, "result": {"protocolVersion": version, "serverInfo": {"name": "h", "version": "1"},
        "capabilities": {"tools": {"listChanged": true}, "prompts": {}, "logging": {}}}})
}

fn lines(gather: &mut Gather) -> Vec<String> {
    let mut bytes = Vec::new();
    let writing = gather.write(&mut bytes);
    futures_util::FutureExt::now_or_never(writing).unwrap().unwrap();
    String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
}

fn messages(gather: &mut Gather) -> Vec<Value> {
    lines(gather).iter().map(|line| serde_json::from_str(line).unwrap_or_else(|_| json!(line))).collect()
}

fn initialize() -> Value {
    asking_for("2025-06-18")
}

fn asking_for(version: &str) -> Value {
    request(0, "initialize", json!({"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}))
}

fn initialized() -> Value {
    json!({"jsonrpc": "2.0", "method": "notifications/initialized"})
}

fn request(id: impl Into<Value>, method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id.into(), "method": method, "params": params})
}

fn result(id: impl Into<Value>) -> Value {
    json!({"jsonrpc": "2.0", "id": id.into(), "result": {}})
}

fn cancelled(id: impl Into<Value>) -> Value {
    json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id.into()}})
}

/// Id and reason of each.
fn failures(messages: &[Value]) -> Vec<(Value, String)> {
    let reason = |message: &Value| {
        let data = &message["error"]["data"];
        assert_eq!((&message["error"]["code"], &data["origin"]), (&json!(-32603), &json!("hub")), "{message}");
        format!("{} {}", data["reason"].as_str().unwrap(), data["retryable"])
    };
    messages.iter().map(|message| (message["id"].clone(), reason(message))).collect()
}

#[test]
fn lines_go_through_as_they_are() {
    let mut told = Told::begun();
    for line in [
        r#"{ "jsonrpc":"2.0" , "id":1,"method":"tools\/call","params":{"name":"x"}}"#,
        r#"{"jsonrpc":"2.0","method":"own/thing"}"#,
        "no message at all",
        "[]",
        "[1,2]",
    ] {
        told.client_line(line);
        assert_eq!(lines(&mut told.out.hub), [line]);
        told.ledger.hub_said(Bytes::copy_from_slice(line.as_bytes()), &mut told.out);
        assert_eq!(lines(&mut told.out.client), [line]);
    }
}

#[test]
fn an_open_call_fails_once_and_an_answered_or_cancelled_one_does_not() {
    let mut told = Told::begun();
    for id in [json!(1), json!("1"), json!(2), json!(3), json!(3)] {
        told.client(&request(id, "tools/call", json!({"name": "t"})));
    }
    told.hub(&result(1));
    told.client(&cancelled(2));
    told.hub(&json!({"jsonrpc": "2.0", "id": 4, "error": {"code": 1, "message": "nobody asked"}}));
    told.forget();
    told.lose();
    let text = "hub_exited false".to_owned();
    assert_eq!(failures(&told.client_heard()), [(json!("1"), text.clone()), (json!(3), text.clone()), (json!(3), text)]);
    told.lose();
    assert_eq!(told.client_heard(), [json!(null); 0], "nothing fails twice");
    told.begin();
    assert_eq!(told.hub_heard(), [json!(null); 0], "a call is never sent twice");
}

#[test]
fn what_has_no_effect_is_asked_again_in_order_and_answered_under_its_own_id() {
    let mut told = Told::begun();
    let asked = [
        request(1, "tools/list", json!({})),
        request(2, "ping", json!({})),
        request("d", "server/discover", json!({})),
        request(4, "resources/templates/list", json!({})),
    ];
    asked.iter().for_each(|request| told.client(request));
    told.client(&request(5, "subscriptions/listen", json!({})));
    told.hub(&result(2));
    told.forget();
    told.lose();
    assert_eq!(failures(&told.client_heard()), [(json!(5), "shutting_down true".to_owned())]);
    for _ in 0..2 {
        told.begin();
        assert_eq!(told.hub_heard(), [asked[0].clone(), asked[2].clone(), asked[3].clone()]);
        told.lose();
    }
    told.begin();
    told.hub(&result(1));
    assert_eq!(told.client_heard(), [result(1)]);
}

#[test]
fn a_session_is_told_to_the_next_hub_and_its_answers_to_nobody() {
    let mut told = Told::handshaken();
    told.client(&request(1, "logging/setLevel", json!({"level": "info"})));
    told.client(&request(2, "logging/setLevel", json!({"level": "debug"})));
    told.client(&request(3, "resources/subscribe", json!({"uri": "a:1"})));
    told.client(&request(4, "resources/subscribe", json!({"uri": "a:2"})));
    told.client(&request(5, "resources/unsubscribe", json!({"uri": "a:1"})));
    (1..=5).for_each(|id| told.hub(&result(id)));
    told.forget();
    told.lose();
    assert_eq!(told.client_heard(), [json!(null); 0]);
    told.begin();
    assert_eq!(told.client_heard(), [json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})]);
    let said = told.hub_heard();
    let methods: Vec<_> = said.iter().map(|message| message["method"].as_str().unwrap()).collect();
    assert_eq!(methods, ["initialize", "notifications/initialized", "logging/setLevel", "resources/subscribe"]);
    assert_eq!(
        (&said[0]["params"], &said[2]["params"]["level"], &said[3]["params"]["uri"]),
        (&initialize()["params"], &json!("debug"), &json!("a:2"))
    );
    for message in [&said[0], &said[2], &said[3]] {
        told.hub(&result(message["id"].clone()));
    }
    assert_eq!(told.client_heard(), [json!(null); 0]);
    // An id of that kind that the client chose itself is its own.
    told.client(&request(said[0]["id"].clone(), "ping", json!({})));
    told.hub(&result(said[0]["id"].clone()));
    assert_eq!(told.client_heard().len(), 1);
}

#[test]
fn a_handshake_without_an_answer_is_said_again_as_it_was() {
    let mut told = Told::begun();
    told.client(&initialize());
    told.client(&initialized());
    told.hub_heard();
    told.lose();
    told.begin();
    assert_eq!(told.hub_heard(), [initialize(), initialized()]);
    told.hub(&json!({"jsonrpc": "2.0", "id": 0, "error": {"code": -32602, "message": "no"}}));
    assert_eq!(told.client_heard().len(), 1);
    told.lose();
    told.begin();
    assert_eq!(told.hub_heard(), [json!(null); 0], "a handshake that failed is none");
}

#[test]
fn questions_are_withdrawn_with_their_hub_and_numbered_on() {
    assert_eq!(Ledger::default().questions(), 0);
    let mut told = Told::handshaken();
    for id in 1..=3 {
        told.hub(&request(id, "elicitation/create", json!({})));
    }
    told.client(&result(1));
    told.hub(&cancelled(2));
    told.forget();
    told.lose();
    let withdrawn = told.client_heard();
    assert_eq!(
        (withdrawn.len(), &withdrawn[0]["method"], &withdrawn[0]["params"]["requestId"]),
        (1, &json!("notifications/cancelled"), &json!(3))
    );
    assert_eq!(told.ledger.questions(), QUESTIONS_PER_HUB, "the next hub has numbers of its own");
}

#[test]
fn requests_wait_while_a_hub_parts_and_everything_else_goes_on() {
    let mut told = Told::speaking("2025-03-26");
    told.hub(&request(7, "elicitation/create", json!({})));
    told.client(&request(1, "tools/call", json!({})));
    told.forget();
    told.ledger.hub_said(Bytes::from_static(PARTING), &mut told.out);
    assert_eq!(lines(&mut told.out.hub), [std::str::from_utf8(CONSENT).unwrap()]);
    let call = request(2, "tools/call", json!({"name": "later"}));
    let batch = json!([request(3, "ping", json!({})), cancelled(1)]);
    told.client(&call);
    told.client(&batch);
    told.client(&result(7));
    assert_eq!(told.hub_heard(), [result(7)]);
    told.client(&request("alive", "ping", json!({})));
    assert_eq!((told.hub_heard().len(), told.client_heard()), (0, vec![result("alive")]));
    told.hub(&result(1));
    assert_eq!(told.client_heard(), [result(1)]);
    told.lose();
    assert_eq!(told.client_heard(), [json!(null); 0], "nothing was open");
    told.begin();
    assert_eq!(told.hub_heard()[2..], [call, batch]);
}

#[test]
fn what_is_said_to_a_request_that_waits_stays_behind_it() {
    let mut told = Told::begun();
    told.client(&request(1, "tools/call", json!({})));
    told.ledger.hub_said(Bytes::from_static(PARTING), &mut told.out);
    told.forget();
    let later = [initialize(), initialized(), request(2, "tools/call", json!({})), cancelled(2)];
    later.iter().for_each(|message| told.client(message));
    told.client(&cancelled(1));
    assert_eq!(told.hub_heard(), [cancelled(1)]);
    told.lose();
    assert_eq!(told.client_heard(), [json!(null); 0]);
    told.begin();
    assert_eq!(told.hub_heard(), later);
    told.lose();
    assert_eq!(told.client_heard(), [json!(null); 0], "what was cancelled does not fail");
}

#[test]
fn when_no_hub_follows_everything_that_waits_fails() {
    let mut told = Told::speaking("2025-03-26");
    told.client(&request(1, "tools/list", json!({})));
    told.ledger.hub_said(Bytes::from_static(PARTING), &mut told.out);
    told.client(&request(2, "tools/call", json!({})));
    told.client(&json!([request(3, "ping", json!({})), request(4, "tools/call", json!({}))]));
    told.lose();
    told.forget();
    told.ledger.give_up(&mut told.out);
    let text = "shutting_down true".to_owned();
    assert_eq!(failures(&told.client_heard()), [1, 2, 3, 4].map(|id| (json!(id), text.clone())));
}

#[test]
fn every_request_of_a_batch_is_open_by_itself() {
    let mut told = Told::speaking("2025-03-26");
    told.client(&json!([request(1, "tools/call", json!({})), initialized(), 7, request(2, "tools/list", json!({}))]));
    told.hub_heard();
    told.lose();
    assert_eq!(failures(&told.client_heard()), [(json!(1), "hub_exited false".to_owned())]);
    told.begin();
    assert_eq!(told.hub_heard()[2..], [request(2, "tools/list", json!({}))]);
}

#[test]
fn a_batch_counts_for_nothing_where_there_are_none() {
    let calls: Vec<_> = (1..=limits::BATCH_MAX).map(|id| request(id, "tools/call", json!({}))).collect();
    let batch = json!(calls);
    let refused = json!({"jsonrpc": "2.0", "error": {"code": -32600, "message": "no batches"}});
    for mut told in [Told::begun(), Told::speaking("2024-11-05"), Told::speaking("2025-06-18"), Told::speaking("2025-11-25")] {
        // More than there would be room for.
        for _ in 0..=limits::LOCAL_OPEN_MAX / limits::BATCH_MAX {
            told.client(&batch);
            told.hub(&refused);
        }
        assert!(told.ledger.has_room());
        told.forget();
        told.lose();
        assert_eq!(told.client_heard(), [json!(null); 0], "the hub refused the whole with one error, and nothing is owed");
        // Nor does it wait: the hub that parts refuses it as ever.
        told.begin();
        told.ledger.hub_said(Bytes::from_static(PARTING), &mut told.out);
        told.forget();
        told.client(&batch);
        assert_eq!(told.hub_heard(), std::slice::from_ref(&batch));
    }
}

#[test]
fn what_is_negotiated_counts_and_until_then_what_was_asked_for() {
    let batch = json!([request(1, "tools/call", json!({}))]);
    let failed = [(json!(1), "hub_exited false".to_owned())];
    for (asked, granted, counts) in [
        ("2025-03-26", Some("2025-03-26"), true),
        // A client may not wait for the answer, and the hub reads in order.
        ("2025-03-26", None, true),
        ("2025-06-18", None, false),
        ("2025-03-26", Some("2025-06-18"), false),
        ("1999-01-01", Some("2025-03-26"), true),
    ] {
        let mut told = Told::begun();
        told.client(&asking_for(asked));
        if let Some(granted) = granted {
            told.hub(&welcome(granted));
        }
        told.client(&batch);
        told.forget();
        told.lose();
        let want = if counts { &failed[..] } else { &[] };
        assert_eq!(failures(&told.client_heard()), want, "{asked} {granted:?}");
    }
    // Of a handshake that is refused nothing is left, nor of what came with it.
    let mut told = Told::begun();
    told.client(&asking_for("2025-03-26"));
    told.client(&batch);
    told.hub(&json!({"jsonrpc": "2.0", "id": 0, "error": {"code": -32603, "message": "no"}}));
    told.forget();
    told.lose();
    assert_eq!(told.client_heard(), [json!(null); 0]);
}

#[test]
fn a_client_with_too_much_open_or_waiting_is_not_read_from() {
    let mut told = Told::begun();
    for id in 0..limits::LOCAL_OPEN_MAX {
        assert!(told.ledger.has_room());
        told.client(&request(id, "tools/call", json!({})));
    }
    assert!(!told.ledger.has_room());
    told.hub(&result(5));
    assert!(told.ledger.has_room());

    let mut told = Told::begun();
    told.ledger.hub_said(Bytes::from_static(PARTING), &mut told.out);
    told.client(&request(1, "tools/call", json!({"x": "x".repeat(limits::LOCAL_HELD_BYTES_MAX)})));
    assert!(!told.ledger.has_room());
    told.lose();
    told.begin();
    assert!(told.ledger.has_room());
}
