//! Calls of stateless clients whose handshake server asks: the question is the answer (`input_required`), and a retry with what the
//! user said ends the very call that asked. Nothing is called twice, and no retry opens what it was not given for.

mod support;

use serde_json::{Value, json};
use support::{Calls, Client, Hub, calls::name, client, events, hub, talk};

/// One tool call of a client that can be asked, for the first time and again.
struct Caller {
    client: Client,
    able: Value,
}

impl Caller {
    fn new(client: Client, able: Value) -> Self {
        Self { client, able: json!({"io.modelcontextprotocol/clientCapabilities": able}) }
    }

    fn params(&self, tool: &str, arguments: &Value) -> Value {
        json!({"name": tool, "arguments": arguments, "_meta": self.able})
    }

    fn again(&self, tool: &str, arguments: &Value, state: &Value, responses: &Value) -> Value {
        let mut params = self.params(tool, arguments);
        params["requestState"] = state.clone();
        params["inputResponses"] = responses.clone();
        params
    }

    async fn call(&self, tool: &str, arguments: &Value) -> Value {
        self.client.ask("tools/call", self.params(tool, arguments)).await.json()
    }

    /// The request once more, as whoever was asked sends it.
    async fn retry(&self, tool: &str, arguments: &Value, state: &Value, responses: &Value) -> Value {
        self.client.ask("tools/call", self.again(tool, arguments, state, responses)).await.json()
    }

    /// A call whose server asks one thing; the key of that, and the state.
    async fn parked(&self, tool: &str, arguments: &Value) -> (String, Value) {
        let asked = asked(&self.call(tool, arguments).await);
        assert_eq!(asked.keys.len(), 1, "{tool}");
        (asked.keys[0].clone(), asked.state)
    }

    /// Comes back without answers until nothing is asked any more: what the call has come to.
    async fn outcome(&self, tool: &str, arguments: &Value, mut state: Value) -> Value {
        loop {
            let message = self.retry(tool, arguments, &state, &json!({})).await;
            if message["result"]["resultType"] != "input_required" {
                return message;
            }
            state = asked(&message).state;
        }
    }

    /// The one process of this caller's is free for another call, and was told this often that a call is cancelled.
    async fn is_free(&self, cancelled: u32) {
        assert_eq!(text(&self.call("s.cancellations", &json!({})).await), cancelled.to_string());
    }
}

struct Asked {
    keys: Vec<String>,
    messages: Vec<String>,
    state: Value,
}

fn asked(message: &Value) -> Asked {
    let result = &message["result"];
    assert_eq!(result["resultType"], "input_required", "{message}");
    let requests = result["inputRequests"].as_object().unwrap_or_else(|| panic!("{message}"));
    assert!(requests.values().all(|request| request["method"] == "elicitation/create" && request.get("id").is_none()), "{message}");
    let messages = requests.values().map(|request| request["params"]["message"].as_str().unwrap().to_owned()).collect();
    assert!(result["requestState"].is_string(), "{message}");
    Asked { keys: requests.keys().cloned().collect(), messages, state: result["requestState"].clone() }
}

fn text(message: &Value) -> &str {
    assert_eq!(message["result"]["resultType"], "complete", "{message}");
    support::text(message)
}

/// What the tool was told, which it answers.
fn said(message: &Value) -> Value {
    serde_json::from_str(text(message)).unwrap()
}

fn refused(message: &Value) {
    assert_eq!(message["error"]["code"], -32602, "{message}");
    assert!(message["error"]["message"].as_str().unwrap().starts_with("requestState unknown or expired"), "{message}");
}

/// As many processes of a handshake server as may be needed, for each caller.
fn pool(calls: &Calls, size: u32) -> support::Server {
    calls.child("full --era handshake").with("pool", json!({"scope": "user", "size": size}))
}

fn run(calls: &Calls, size: u32) -> Hub {
    hub::new().server("s", pool(calls, size)).run()
}

fn forms(hub: &Hub) -> Caller {
    Caller::new(client::stateless(hub), json!({"elicitation": {}}))
}

#[tokio::test]
async fn the_answer_reaches_the_call_that_asked_and_its_result_the_retry() {
    let calls = Calls::new();
    let hub = run(&calls, 1);
    let caller = forms(&hub);
    let arguments = json!({"message": "who is it?"});
    let question = asked(&caller.call("s.ask_form", &arguments).await);
    assert_eq!(question.messages, ["who is it?"]);
    let key = &question.keys[0];
    // `retry` asserts that the answer has the retry's id.
    let answer = caller.retry("s.ask_form", &arguments, &question.state, &json!({key: name("Ann"), "nobody's": {}})).await;
    assert_eq!(said(&answer), name("Ann"));
    refused(&caller.retry("s.ask_form", &arguments, &question.state, &json!({key: name("Bob")})).await);
    assert_eq!(calls.of("ask_form"), 1);
    caller.is_free(0).await;
}

#[tokio::test]
async fn only_what_was_not_answered_is_asked_again() {
    let calls = Calls::new();
    let hub = run(&calls, 1);
    let caller = forms(&hub);
    let nothing = json!({});
    let mut both = asked(&caller.call("s.ask_two", &nothing).await);
    while both.keys.len() < 2 {
        both = asked(&caller.retry("s.ask_two", &nothing, &both.state, &nothing).await);
    }
    let key_of = |message: &str| &both.keys[both.messages.iter().position(|own| own == message).unwrap()];
    let (first, second) = (key_of("first?"), key_of("second?"));

    let malformed = caller.retry("s.ask_two", &nothing, &both.state, &json!({first: name("Ann"), second: "yes"})).await;
    assert_eq!(malformed["error"]["code"], -32602, "{malformed}");
    let rest = asked(&caller.retry("s.ask_two", &nothing, &both.state, &json!({second: name("Bob")})).await);
    assert_eq!((&rest.keys, &rest.messages), (&vec![first.clone()], &vec!["first?".to_owned()]));
    let answer = caller.retry("s.ask_two", &nothing, &rest.state, &json!({first: name("Ann"), second: name("Eve")})).await;
    assert_eq!(said(&answer), json!([name("Ann"), name("Bob")]));

    let (key, state) = caller.parked("s.ask_again", &nothing).await;
    let next = asked(&caller.retry("s.ask_again", &nothing, &state, &json!({key: name("Ann")})).await);
    assert_eq!(next.messages, ["second?"]);
    let answer = caller.retry("s.ask_again", &nothing, &next.state, &json!({&next.keys[0]: name("Bob")})).await;
    assert_eq!(said(&answer), json!([name("Ann"), name("Bob")]));
    assert_eq!((calls.of("ask_two"), calls.of("ask_again")), (1, 1));
    caller.is_free(0).await;
}

#[tokio::test]
async fn an_altered_state_opens_nothing_and_harms_nothing() {
    let calls = Calls::new();
    let hub = run(&calls, 1);
    let caller = forms(&hub);
    let nothing = json!({});
    let (key, state) = caller.parked("s.ask_form", &nothing).await;
    let responses = json!({&key: name("Ann")});
    let whole = state.as_str().unwrap();
    for at in [0, whole.len() / 2, whole.len() - 2] {
        let other = if &whole[at..=at] == "A" { "B" } else { "A" };
        let altered = format!("{}{other}{}", &whole[..at], &whole[at + 1..]);
        refused(&caller.retry("s.ask_form", &nothing, &json!(altered), &responses).await);
    }
    for other in ["", "v1.", &whole[..whole.len() - 4], &format!("{whole}{whole}")] {
        refused(&caller.retry("s.ask_form", &nothing, &json!(other), &responses).await);
    }
    assert_eq!(caller.retry("s.ask_form", &nothing, &json!(7), &responses).await["error"]["code"], -32602);
    assert_eq!(said(&caller.retry("s.ask_form", &nothing, &state, &responses).await), name("Ann"));
    assert_eq!(calls.of("ask_form"), 1);
    caller.is_free(0).await;
}

#[tokio::test]
async fn a_state_does_not_open_for_another_request() {
    let calls = Calls::new();
    let hub = hub::new().server("s", pool(&calls, 1)).tenant_server("acme", "s", pool(&calls, 1)).run();
    let caller = forms(&hub);
    let arguments = json!({"message": "who is it?"});
    let (key, state) = caller.parked("s.ask_form", &arguments).await;
    let responses = json!({&key: name("Eve")});
    refused(&caller.retry("s.ask_form", &json!({"message": "who is she?"}), &state, &responses).await);
    refused(&caller.retry("s.ask_form", &json!({}), &state, &responses).await);
    refused(&caller.retry("s.ask_two", &arguments, &state, &responses).await);
    refused(&caller.retry("s.echo", &arguments, &state, &responses).await);
    let own = Caller::new(client::stateless_at(&hub, "/s/mcp"), json!({"elicitation": {}}));
    refused(&own.retry("ask_form", &arguments, &state, &responses).await);
    let acme = Caller::new(client::stateless_at(&hub, "/t/acme/mcp"), json!({"elicitation": {}}));
    refused(&acme.retry("s.ask_form", &arguments, &state, &responses).await);
    assert_eq!(calls.of("ask_two") + calls.of("echo"), 0, "a refused retry calls nothing");
    assert_eq!(said(&caller.retry("s.ask_form", &arguments, &state, &json!({key: name("Ann")})).await), name("Ann"));
    assert_eq!(calls.of("ask_form"), 1);
    caller.is_free(0).await;
}

#[tokio::test]
async fn a_call_that_ends_while_nobody_waits_keeps_its_result_for_the_retry() {
    let calls = Calls::new();
    let hub = run(&calls, 1);
    let caller = forms(&hub);
    let file = calls.path("go");
    let arguments = json!({"file": file});
    let (_, state) = caller.parked("s.ask_given_up", &arguments).await;
    std::fs::write(&file, "").unwrap();
    let answer = caller.outcome("s.ask_given_up", &arguments, state.clone()).await;
    assert_eq!(text(&answer), "given up");
    refused(&caller.retry("s.ask_given_up", &arguments, &state, &json!({})).await);
    assert_eq!(calls.of("ask_given_up"), 1);
    caller.is_free(0).await;
}

#[tokio::test]
async fn the_last_progress_that_came_while_nobody_waited_is_the_first_thing_that_the_retry_reads() {
    let calls = Calls::new();
    let hub = run(&calls, 1);
    let caller = forms(&hub);
    let file = calls.path("go");
    let arguments = json!({"file": file});
    let mut params = caller.params("s.ask_given_up", &arguments);
    params["_meta"]["progressToken"] = "first".into();
    let asked = asked(&caller.client.ask("tools/call", params).await.json());
    std::fs::write(&file, "").unwrap();
    // The one process is free when it has answered.
    caller.is_free(0).await;
    let mut again = caller.again("s.ask_given_up", &arguments, &asked.state, &json!({}));
    again["_meta"]["progressToken"] = "second".into();
    let told = caller.client.ask("tools/call", again).await.messages();
    let progress = json!({"progressToken": "second", "progress": 1, "total": 2});
    assert_eq!((told.len(), &told[0]["params"]), (2, &progress), "{told:?}");
    assert_eq!(text(&told[1]), "given up");
}

#[tokio::test]
async fn a_server_that_dies_while_nobody_waits_fails_the_retry_and_is_not_called_again() {
    let calls = Calls::new();
    let hub = run(&calls, 1);
    let caller = forms(&hub);
    let nothing = json!({});
    let pid: i32 = text(&caller.call("s.pid", &nothing).await).parse().unwrap();
    let (_, state) = caller.parked("s.ask_form", &nothing).await;
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL).unwrap();
    let failed = caller.outcome("s.ask_form", &nothing, state.clone()).await;
    assert!(failed["error"]["code"].is_i64() && failed["error"]["code"] != -32602, "{failed}");
    refused(&caller.retry("s.ask_form", &nothing, &state, &nothing).await);
    assert_eq!(calls.of("ask_form"), 1);
    let next: i32 = text(&caller.call("s.pid", &nothing).await).parse().unwrap();
    assert_ne!(next, pid);
    caller.is_free(0).await;
}

#[tokio::test]
async fn a_hub_that_started_again_knows_no_parked_call_and_says_so() {
    let calls = Calls::new();
    let kept = tempfile::tempdir().unwrap();
    let run = || hub::new().server("s", pool(&calls, 1)).state(kept.path()).run();
    let nothing = json!({});
    let first = run();
    let (key, state) = forms(&first).parked("s.ask_form", &nothing).await;
    let below = first.descendants();
    assert!(first.terminate().success());
    assert!(!below.into_iter().any(hub::is_running), "a process of the hub before");

    let second = run();
    let caller = forms(&second);
    let answer = caller.retry("s.ask_form", &nothing, &state, &json!({key: name("Ann")})).await;
    refused(&answer);
    assert!(answer["error"]["message"].as_str().unwrap().contains("send the request again without it"), "{answer}");
    assert_eq!(calls.of("ask_form"), 1);
    let (key, state) = caller.parked("s.ask_form", &nothing).await;
    assert_eq!(said(&caller.retry("s.ask_form", &nothing, &state, &json!({key: name("Bob")})).await), name("Bob"));
    assert_eq!(calls.of("ask_form"), 2);
    caller.is_free(0).await;
}

#[tokio::test]
async fn of_two_retries_the_newer_one_gets_the_result() {
    let calls = Calls::new();
    let hub = run(&calls, 1);
    let caller = forms(&hub);
    let file = calls.path("go");
    let arguments = json!({"file": file});
    let mut params = caller.params("s.ask_held", &arguments);
    params["_meta"]["progressToken"] = json!("p");
    let asked = asked(&caller.client.ask("tools/call", params).await.json());
    let responses = json!({&asked.keys[0]: name("Ann")});

    let mut older = caller.again("s.ask_held", &arguments, &asked.state, &responses);
    older["_meta"]["progressToken"] = json!("q");
    let mut stream = events::post(&hub, "/mcp", &caller.client, &json!("older"), "tools/call", older).await;
    let (progress, _) = stream.message().await;
    assert_eq!((&progress["method"], &progress["params"]["progressToken"]), (&json!("notifications/progress"), &json!("q")), "{progress}");
    let newer = async { caller.retry("s.ask_held", &arguments, &asked.state, &responses).await };
    let replaced = async {
        let (answer, _) = stream.message().await;
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!("older"), &json!(-32603)), "{answer}");
        std::fs::write(&file, "").unwrap();
    };
    let (answer, ()) = tokio::join!(newer, replaced);
    assert_eq!(said(&answer), name("Ann"));
    assert_eq!(calls.of("ask_held"), 1);
    caller.is_free(0).await;
}

#[tokio::test]
async fn one_parked_call_too_many_ends_the_oldest() {
    let calls = Calls::new();
    let hub = run(&calls, 17);
    let caller = forms(&hub);
    let arguments = |n: usize| json!({"message": format!("number {n}?")});
    let mut parked = Vec::new();
    for n in 0..17 {
        parked.push(caller.parked("s.ask_form", &arguments(n)).await);
    }
    let (key, state) = parked[0].clone();
    refused(&caller.retry("s.ask_form", &arguments(0), &state, &json!({key: name("too late")})).await);
    // Every process but that of the oldest is still held.
    assert_eq!(text(&caller.call("s.await", &json!({"name": "cancel", "count": 1})).await), "1");
    assert_eq!(text(&caller.call("s.await", &json!({"name": "cancelled", "count": 1})).await), "1");
    for (n, (key, state)) in parked.into_iter().enumerate().skip(1) {
        let own = name(&format!("{n}"));
        assert_eq!(said(&caller.retry("s.ask_form", &arguments(n), &state, &json!({key: own})).await), own);
    }
    assert_eq!(calls.of("ask_form"), 17);
    // Whoever comes now waits for nobody.
    for n in 0..17 {
        caller.parked("s.ask_form", &arguments(n)).await;
    }
}

#[tokio::test]
async fn parked_calls_that_hold_every_process_make_way_for_one_more_oldest_first() {
    let calls = Calls::new();
    for (scope, interactive) in [("user", "auto"), ("call", "always")] {
        let pool = json!({"scope": scope, "size": 2});
        let server = calls.child("full --era handshake").with("pool", pool).with("interactive", interactive);
        let hub = hub::new().server("s", server.with("timeouts", json!({"call": 4}))).run();
        let caller = forms(&hub);
        let arguments = |n: usize| json!({"message": format!("number {n}?")});
        let mut parked = Vec::new();
        for n in 0..4 {
            parked.push(caller.parked("s.ask_form", &arguments(n)).await);
        }
        for (n, (key, state)) in parked.into_iter().enumerate() {
            let own = name(&format!("{n}"));
            let answer = caller.retry("s.ask_form", &arguments(n), &state, &json!({key: own})).await;
            match n {
                0 | 1 => refused(&answer),
                _ => assert_eq!(said(&answer), own, "{scope}"),
            }
        }
    }
    assert_eq!(calls.of("ask_form"), 8, "nothing is called twice");
}

#[tokio::test]
async fn a_call_that_nobody_comes_back_to_in_time_is_given_up() {
    let calls = Calls::new();
    let builder = hub::new().server("s", pool(&calls, 1)).setting("limits", json!({"parked_ttl": 0.2}));
    let mut hub = builder.arg("--log-level").arg("debug").run();
    let caller = forms(&hub);
    let nothing = json!({});
    let (key, state) = caller.parked("s.ask_form", &nothing).await;
    hub.line(|line| line["message"] == "nobody came back to a parked call");
    refused(&caller.retry("s.ask_form", &nothing, &state, &json!({key: name("too late")})).await);
    assert_eq!(calls.of("ask_form"), 1);
}

#[tokio::test]
async fn a_configuration_says_how_many_calls_may_be_parked_and_how_many_streams_be_open() {
    let calls = Calls::new();
    let hub = hub::new().server("s", pool(&calls, 2)).setting("limits", json!({"parked": 1, "listens": 1})).run();
    let caller = forms(&hub);
    let arguments = |n: usize| json!({"message": format!("number {n}?")});
    let (key, state) = caller.parked("s.ask_form", &arguments(0)).await;
    let (own, newer) = caller.parked("s.ask_form", &arguments(1)).await;
    refused(&caller.retry("s.ask_form", &arguments(0), &state, &json!({key: name("too late")})).await);
    assert_eq!(said(&caller.retry("s.ask_form", &arguments(1), &newer, &json!({own: name("Ann")})).await), name("Ann"));

    let filter = json!({"notifications": {"toolsListChanged": true}});
    let mut open = events::post(&hub, "/mcp", &caller.client, &json!("one"), "subscriptions/listen", filter.clone()).await;
    assert_eq!(open.message().await.0["method"], "notifications/subscriptions/acknowledged");
    let refused = caller.client.ask("subscriptions/listen", filter).await;
    assert_eq!((refused.status, &refused.json()["error"]["data"]["limit"]), (429, &json!(1)));
}

#[tokio::test]
async fn a_question_that_its_server_takes_back_is_asked_no_more() {
    let calls = Calls::new();
    let hub = run(&calls, 1);
    let caller = forms(&hub);
    let nothing = json!({});
    let mut answer = caller.call("s.ask_withdrawn", &nothing).await;
    // On a busy machine the question may have been asked before it was taken back.
    if answer["result"]["resultType"] == "input_required" {
        answer = caller.outcome("s.ask_withdrawn", &nothing, asked(&answer).state).await;
    }
    assert_eq!(text(&answer), "withdrawn");
    assert_eq!(calls.of("ask_withdrawn"), 1);
    caller.is_free(0).await;
}

#[tokio::test]
async fn a_page_that_must_be_opened_first_is_asked_for_and_the_request_sent_again() {
    let nothing = json!({});
    for action in ["accept", "decline"] {
        let calls = Calls::new();
        let hub = run(&calls, 1);
        let caller = Caller::new(client::stateless(&hub), json!({"elicitation": {"url": {}}}));
        let answer = caller.call("s.need_url", &nothing).await;
        let question = asked(&answer);
        let page = answer["result"]["inputRequests"].as_object().unwrap().values().next().unwrap()["params"].clone();
        assert_eq!(page, json!({"mode": "url", "message": "please look", "url": "https://example.org/"}), "{answer}");
        assert_eq!(asked(&caller.retry("s.need_url", &nothing, &question.state, &nothing).await).keys, question.keys);
        // Nothing is held while the user looks; whoever accepts is done only when the server says so.
        caller.is_free(0).await;
        caller.call("s.elicited", &json!({"id": "e1"})).await;
        let answer = caller.retry("s.need_url", &nothing, &question.state, &json!({&question.keys[0]: {"action": action}})).await;
        if action == "accept" {
            assert_eq!(text(&answer), "was looked at");
            assert_eq!(calls.of("need_url"), 2, "refused, and then not");
        } else {
            assert_eq!(answer["result"]["isError"], true, "{answer}");
            assert_eq!(calls.of("need_url"), 1);
        }
        caller.is_free(0).await;
    }
    let calls = Calls::new();
    let hub = run(&calls, 1);
    let caller = forms(&hub);
    let refused = caller.client.ask("tools/call", caller.params("s.need_url", &nothing)).await;
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (400, &json!(-32021)), "not declared");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_hears_why_a_retry_was_cancelled() {
    let calls = Calls::new();
    let reasons = calls.path("reasons");
    let child = calls.child(&format!("full --era handshake --reasons {}", reasons.display())).scope("user");
    let hub = hub::new().server("s", child).run();
    let mut socket = talk::open(&hub, "/ws/mcp").await;
    let mut params = json!({"name": "s.ask_held", "arguments": {"file": "/nowhere/at/all"}, "_meta": {"progressToken": "p"}});
    let mut call = |id: u64, more: Value| {
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut call = talk::stateless(id, "tools/call", params.clone());
        call["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({"elicitation": {}});
        call
    };
    let asked = asked(&socket.ask(&call(1, json!({}))).await);
    socket.say(&call(2, json!({"requestState": asked.state, "inputResponses": {&asked.keys[0]: name("Ann")}}))).await;
    // The server works on.
    socket.heard.pick(|message| message["method"] == "notifications/progress").await;
    socket.say(&talk::notice("notifications/cancelled", json!({"requestId": 2, "reason": "changed my mind"}))).await;
    let told = tokio::task::spawn_blocking(move || {
        let told = || std::fs::read_to_string(&reasons).unwrap_or_default();
        let begun = std::time::Instant::now();
        while !told().ends_with('\n') && begun.elapsed() < std::time::Duration::from_secs(10) {
            std::thread::yield_now();
        }
        told()
    });
    assert_eq!(told.await.unwrap(), "changed my mind\n");
}
