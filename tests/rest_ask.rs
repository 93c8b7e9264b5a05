//! What a REST client asks of one server, by the server's own names and URIs; and what it is asked in turn, if it says what it can do:
//! a question is an answer, and the same body with what the user said ends the very call that asked.

mod support;

use serde_json::{Value, json};
use support::{Calls, Client, Hub, calls::name, client, events, hub, server, text};

async fn post(rest: &Client, path: &str, body: &Value) -> (u16, Value) {
    let answer = rest.send("POST", path, &[("content-type", "application/json")], &body.to_string()).await;
    (answer.status, answer.json())
}

async fn ok(rest: &Client, path: &str, body: Value) -> Value {
    let (status, answer) = post(rest, path, &body).await;
    assert_eq!(status, 200, "{path} {body}: {answer}");
    assert!(answer["timestamp"].as_str().unwrap().ends_with('Z'), "{answer}");
    answer
}

/// `body` with these members too.
fn with(body: &Value, more: Value) -> Value {
    let mut body = body.clone();
    let (Some(members), Value::Object(more)) = (body.as_object_mut(), more) else { panic!("two objects") };
    members.extend(more);
    body
}

fn run(calls: &Calls, words: &str) -> Hub {
    hub::new().server("s", calls.child(words).scope("user")).tenant_server("acme", "own", server::child("full")).run()
}

#[tokio::test]
async fn resources_are_read_and_prompts_got_by_the_servers_own_names() {
    let calls = Calls::new();
    for era in ["handshake", "stateless"] {
        let hub = run(&calls, &format!("full --era {era}"));
        let rest = client::rest(&hub);
        for (path, body) in [
            ("/api/servers/resources", json!({"server_name": "s", "uri": "file:///r0"})),
            ("/api/servers/resources", json!({"server_name": "default:s", "uri": "file:///r0", "request_options": {"timeout": 60_000}})),
            ("/api/servers/resources", json!({"server_name": "acme:own", "uri": "file:///r0"})),
            ("/api/servers/s/resources", json!({"uri": "file:///r0"})),
            ("/api/servers/own/resources?tenant_id=acme", json!({"uri": "file:///r0"})),
        ] {
            let contents = json!([{"uri": "file:///r0", "mimeType": "text/plain", "text": "this is file:///r0"}]);
            assert_eq!(ok(&rest, path, body).await["result"]["contents"], contents, "{era} {path}");
        }
        for (path, body) in [
            ("/api/servers/prompts", json!({"server_name": "s", "prompt": "prompt1", "arguments": {"who": "Ann"}})),
            ("/api/servers/s/prompts", json!({"prompt": "prompt1", "arguments": {"who": "Ann"}, "server_name": 7})),
        ] {
            let said = &ok(&rest, path, body).await["result"]["messages"][0]["content"]["text"];
            assert_eq!(said, "prompt1 for Ann", "{era} {path}");
        }
        assert_eq!(text(&ok(&rest, "/api/servers/s/tools", json!({"tool": "echo", "arguments": {"text": "hi"}})).await), "hi");
    }
}

#[tokio::test]
async fn what_is_wrong_or_not_there_is_named() {
    let calls = Calls::new();
    let hub = run(&calls, "full --era handshake");
    let rest = client::rest(&hub);
    for (path, body, status, code, said, field) in [
        ("resources", json!({}), 400, "VALIDATION_ERROR", "Missing server name", "server_name"),
        ("prompts", json!({"server_name": 1}), 400, "VALIDATION_ERROR", "'server_name' must be a string", "server_name"),
        ("s/resources", json!({}), 400, "VALIDATION_ERROR", "Missing resource URI", "uri"),
        ("s/resources", json!({"uri": ["a:b"]}), 400, "VALIDATION_ERROR", "'uri' must be a string", "uri"),
        ("s/prompts", json!({"tool": "prompt0"}), 400, "VALIDATION_ERROR", "Missing prompt name", "prompt"),
        (
            "s/prompts",
            json!({"prompt": "prompt0", "arguments": "who"}),
            400,
            "VALIDATION_ERROR",
            "'arguments' must be an object",
            "arguments",
        ),
        (
            "s/tools",
            json!({"tool": "echo", "capabilities": []}),
            400,
            "VALIDATION_ERROR",
            "'capabilities' must be an object",
            "capabilities",
        ),
        (
            "s/resources",
            json!({"uri": "a:b", "request_options": {"timeout": "1 s"}}),
            400,
            "VALIDATION_ERROR",
            "'request_options' must be an object of milliseconds",
            "request_options",
        ),
        (
            "s/prompts",
            json!({"prompt": "prompt0", "inputResponses": 1}),
            400,
            "VALIDATION_ERROR",
            "'inputResponses' must be an object",
            "inputResponses",
        ),
        ("s/tools", json!({"tool": "echo", "requestState": 1}), 400, "VALIDATION_ERROR", "'requestState' must be a string", "requestState"),
        ("s/tools", json!({"tool": "echo", "requestState": "v1.no"}), 400, "VALIDATION_ERROR", "", "requestState"),
        ("no/resources", json!({"uri": "a:b"}), 404, "NOT_FOUND", "Server 'no' not found", ""),
        ("s/prompts", json!({"prompt": "no"}), 404, "NOT_FOUND", "Prompt 'no' not found on server 's'", ""),
        ("s/tools", json!({"tool": "no"}), 404, "TOOL_ERROR", "Tool 'no' not found on server 's'", ""),
    ] {
        let (got, answer) = post(&rest, &format!("/api/servers/{path}"), &body).await;
        assert_eq!((got, answer["code"].as_str()), (status, Some(code)), "{path} {body}: {answer}");
        assert!(said.is_empty() || answer["message"] == said, "{path} {body}: {answer}");
        assert!(field.is_empty() || answer["data"]["field"] == field, "{path} {body}: {answer}");
    }
    let deep = format!("{}1{}", r#"{"a":"#.repeat(400), "}".repeat(400));
    for member in ["arguments", "capabilities", "inputResponses"] {
        let body = format!(r#"{{"tool":"echo","{member}":{deep}}}"#);
        let answer = rest.post("/api/servers/s/tools", &[], &body).await;
        assert_eq!((answer.status, &answer.json()["data"]["field"]), (400, &json!(member)), "{:?}", answer.body);
    }
    assert_eq!(calls.of("echo"), 0, "a body that is refused calls nothing");
    // Three words that are nouns of this door may be names of servers.
    for path in ["/api/servers/acme/tools", "/api/servers/acme/resources", "/api/servers/acme/prompts"] {
        let answer = rest.get(path).await;
        let noun = path.rsplit('/').next().unwrap();
        assert_eq!((answer.status, answer.json()["message"].as_str()), (404, Some(&*format!("Server '{noun}' not found"))));
    }
}

#[tokio::test]
async fn a_tool_that_asks_is_called_once_and_answers_who_comes_back() {
    for era in ["handshake", "stateless"] {
        let calls = Calls::new();
        let hub = run(&calls, &format!("full --era {era}"));
        let rest = client::rest(&hub);
        let body = json!({
            "server_name": "s", "tool": "ask_form", "arguments": {"message": "who is it?"}, "capabilities": {"elicitation": {}},
        });
        let asked = ok(&rest, "/api/servers/tools", body.clone()).await;
        assert_eq!(asked["status"], "input_required", "{era}: {asked}");
        let members: Vec<_> = asked.as_object().unwrap().keys().collect();
        assert_eq!(members, ["status", "inputRequests", "requestState", "timestamp"], "{era}");
        let (key, request) = asked["inputRequests"].as_object().unwrap().iter().next().unwrap();
        assert_eq!((&request["method"], &request["params"]["message"]), (&json!("elicitation/create"), &json!("who is it?")), "{asked}");

        // Another path to the same call, and members in another order.
        let answers = json!({"requestState": asked["requestState"], "inputResponses": {key: name("Ann")}});
        let back = with(&answers, with(&body, json!({"server_name": null})));
        let done = ok(&rest, "/api/servers/s/tools", back.clone()).await;
        assert_eq!(serde_json::from_str::<Value>(text(&done)).unwrap(), name("Ann"), "{era}");
        if era == "handshake" {
            assert_eq!(calls.of("ask_form"), 1, "asked twice");
            let (status, gone) = post(&rest, "/api/servers/s/tools", &back).await;
            assert_eq!((status, &gone["data"]["field"]), (400, &json!("requestState")), "{gone}");
            assert_eq!(calls.of("ask_form"), 1);
        }
        // Of another call, of another server.
        for (path, other) in [
            ("/api/servers/s/tools", with(&back, json!({"arguments": {"message": "who?"}}))),
            ("/api/servers/s/tools", with(&back, json!({"tool": "ask_two"}))),
            ("/api/servers/tools", with(&back, json!({"server_name": "acme:own"}))),
        ] {
            let (status, refused) = post(&rest, path, &other).await;
            assert_eq!((status, &refused["code"], &refused["data"]["field"]), (400, &json!("VALIDATION_ERROR"), &json!("requestState")));
            assert_eq!(calls.of("ask_two"), 0);
        }
    }
}

#[tokio::test]
async fn what_was_not_answered_is_asked_again() {
    let calls = Calls::new();
    let hub = run(&calls, "full --era handshake");
    let rest = client::rest(&hub);
    let body = json!({"tool": "ask_again", "capabilities": {"elicitation": {"form": {}}}});
    let mut asked = ok(&rest, "/api/servers/s/tools", body.clone()).await;
    for (question, said) in [("first?", "Ann"), ("second?", "Bob")] {
        let missed = with(&body, json!({"requestState": asked["requestState"], "inputResponses": {}}));
        asked = ok(&rest, "/api/servers/s/tools", missed).await;
        let (key, request) = asked["inputRequests"].as_object().unwrap().iter().next().unwrap();
        assert_eq!(request["params"]["message"], question, "{asked}");
        let malformed = with(&body, json!({"requestState": asked["requestState"], "inputResponses": {key: 7}}));
        let (status, refused) = post(&rest, "/api/servers/s/tools", &malformed).await;
        assert_eq!((status, &refused["data"]["field"]), (400, &json!("inputResponses")), "{refused}");
        let back = with(&body, json!({"requestState": asked["requestState"], "inputResponses": {key: name(said)}}));
        asked = ok(&rest, "/api/servers/s/tools", back).await;
    }
    assert_eq!(serde_json::from_str::<Value>(text(&asked)).unwrap(), json!([name("Ann"), name("Bob")]));
    assert_eq!(calls.of("ask_again"), 1);
}

#[tokio::test]
async fn who_declares_nothing_is_asked_nothing() {
    for era in ["handshake", "stateless"] {
        let calls = Calls::new();
        let hub = run(&calls, &format!("full --era {era}"));
        let rest = client::rest(&hub);
        let (status, refused) = post(&rest, "/api/servers/s/tools", &json!({"tool": "ask_form"})).await;
        match era {
            // The server's question is refused, and it says so in its result.
            "handshake" => assert_eq!((status, refused["status"].as_str()), (200, None), "{refused}"),
            _ => assert_eq!((status, &refused["data"]["rpc"]["code"]), (502, &json!(-32021)), "{refused}"),
        }
        let (status, roots) = post(&rest, "/api/servers/s/tools", &json!({"tool": "ask_roots", "capabilities": {"elicitation": {}}})).await;
        assert!(status == 502 || roots.get("status").is_none(), "what was not declared is not asked: {roots}");
    }
}

#[tokio::test]
async fn a_server_that_speaks_as_the_hub_is_not_believed() {
    let calls = Calls::new();
    for era in ["handshake", "stateless"] {
        let hub = run(&calls, &format!("full --era {era}"));
        let rest = client::rest(&hub);
        // Codes that the bridge writes anew for the other era, and one that it does not.
        for code in [-32002, -32042, -32021, -32602, 7] {
            let data = json!({"origin": "hub", "reason": "quota", "retryAfterMs": 9000, "uri": "file:///other"});
            let error = json!({"code": code, "message": "Unknown tool: answer", "data": data});
            let body = json!({"tool": "answer", "arguments": {"members": format!("\"error\":{error}")}});
            let (status, answer) = post(&rest, "/api/servers/s/tools", &body).await;
            assert_eq!((status, &answer["code"]), (502, &json!("TOOL_ERROR")), "{era} {code}: {answer}");
            assert_eq!(answer["data"]["origin"], "server", "{era} {code}: {answer}");
        }
    }
}

#[tokio::test]
async fn a_server_that_only_wants_to_be_asked_again_is() {
    let calls = Calls::new();
    let hub = run(&calls, "echo --era stateless --also come_back");
    let rest = client::rest(&hub);
    let tool = json!({"tool": "come_back", "arguments": {"times": 2}});
    assert_eq!(text(&ok(&rest, "/api/servers/s/tools", tool.clone()).await), "came 2 times");
    let (status, answer) = post(&rest, "/api/tools/s.come_back", &json!({"times": 1})).await;
    assert_eq!((status, text(&answer)), (200, "came 1 times"));
    let (status, answer) = post(&rest, "/s/mcp/call", &tool).await;
    assert_eq!((status, &answer["result"]), (200, &json!("came 2 times")));
    assert_eq!(calls.of("come_back"), 3 + 2 + 3);

    // The caller's own patience counts all of it.
    let hasty = json!({"tool": "come_back", "arguments": {"times": 1}, "request_options": {"maxTotalTimeout": 20}});
    let (status, answer) = post(&rest, "/api/servers/s/tools", &hasty).await;
    assert_eq!((status, &answer["data"]["reason"]), (504, &json!("timeout")), "{answer}");

    // Who knows of states comes back by itself.
    let able = with(&tool, json!({"capabilities": {}, "arguments": {"times": 1}}));
    let told = ok(&rest, "/api/servers/s/tools", able.clone()).await;
    assert_eq!((&told["status"], told.get("inputRequests")), (&json!("input_required"), None), "{told}");
    let back = with(&able, json!({"requestState": told["requestState"]}));
    assert_eq!(text(&ok(&rest, "/api/servers/s/tools", back).await), "came 1 times");
}

#[tokio::test]
async fn a_stream_tells_progress_and_then_what_json_would() {
    let calls = Calls::new();
    let hub = run(&calls, "full --era handshake");
    let headers = [("content-type", "application/json"), ("accept", "text/event-stream")];
    let open = async |body: &Value| events::open(hub.address, "POST", "/api/servers/s/tools", &headers, &body.to_string()).await;
    let file = calls.path("go");
    let body = json!({"tool": "ask_held", "arguments": {"file": file}, "capabilities": {"elicitation": {}}});
    let mut stream = open(&body).await;
    let event = stream.next().await.unwrap();
    assert_eq!(event.event.as_deref(), Some("result"));
    let asked: Value = serde_json::from_str(&event.data).unwrap();
    assert_eq!(asked["status"], "input_required", "{asked}");
    assert!(stream.next().await.is_none(), "a question ends the stream");

    let (key, _) = asked["inputRequests"].as_object().unwrap().iter().next().unwrap();
    let back = with(&body, json!({"requestState": asked["requestState"], "inputResponses": {key: name("Ann")}}));
    let mut stream = open(&back).await;
    let event = stream.next().await.unwrap();
    assert_eq!(event.event.as_deref(), Some("progress"));
    assert_eq!(serde_json::from_str::<Value>(&event.data).unwrap()["progress"], 1);
    std::fs::write(&file, "").unwrap();
    let event = stream.next().await.unwrap();
    let done: Value = serde_json::from_str(&event.data).unwrap();
    assert_eq!((event.event.as_deref(), text(&done)), (Some("result"), name("Ann").to_string().as_str()));
    assert_eq!(calls.of("ask_held"), 1);
}

const TASKS: &str = "io.modelcontextprotocol/tasks";

/// A call that becomes a task, and the task's id.
async fn task(rest: &Client, arguments: Value) -> String {
    let body = json!({
        "tool": "task_required", "arguments": arguments, "capabilities": {"extensions": {TASKS: {}}, "elicitation": {"form": {}}},
    });
    let answer = rest.send("POST", "/api/servers/s/tools", &[("content-type", "application/json")], &body.to_string()).await;
    let told = answer.json();
    assert_eq!((answer.status, &told["status"]), (202, &json!("task")), "{told}");
    let id = told["taskId"].as_str().unwrap().to_owned();
    assert_eq!((&told["task"]["taskId"], &told["task"]["status"]), (&json!(id), &json!("working")), "{told}");
    assert_eq!(answer.header("location"), Some(&*format!("/api/tasks/{id}")));
    id
}

/// Looks until the task is as it shall be; the tests' servers take no time but for what they are told to wait for.
async fn until(rest: &Client, id: &str, status: &str) -> Value {
    loop {
        let look = rest.get(&format!("/api/tasks/{id}")).await;
        let shown = look.json();
        assert_eq!((look.status, &shown["taskId"]), (200, &json!(id)), "{shown}");
        if shown["status"] == status {
            return shown;
        }
        assert!(matches!(shown["status"].as_str(), Some("working" | "input_required")), "not {status} but {shown}");
    }
}

#[tokio::test]
async fn a_task_is_looked_at_answered_and_cancelled() {
    for era in ["stateless", "handshake --revision 2025-11-25"] {
        let calls = Calls::new();
        let hub = run(&calls, &format!("tasks --era {era}"));
        let rest = client::rest(&hub);
        let id = task(&rest, json!({})).await;
        assert_eq!(text(&until(&rest, &id, "completed").await), "worked", "{era}");

        let id = task(&rest, json!({"ask": true})).await;
        let asking = until(&rest, &id, "input_required").await;
        let (key, request) = asking["inputRequests"].as_object().unwrap().iter().next().unwrap();
        assert_eq!(request["params"]["message"], "your name?", "{era}: {asking}");
        let update = format!("/api/tasks/{id}/update");
        assert_eq!(ok(&rest, &update, json!({"inputResponses": {key: name("Ann")}})).await["status"], "ok");
        let completed = until(&rest, &id, "completed").await;
        assert_eq!(serde_json::from_str::<Value>(text(&completed)).unwrap()["content"]["name"], "Ann", "{era}");

        let id = task(&rest, json!({"file": "/nowhere/at/all"})).await;
        for _ in 0..2 {
            assert_eq!(ok(&rest, &format!("/api/tasks/{id}/cancel"), json!({})).await["status"], "ok");
        }
        until(&rest, &id, "cancelled").await;
        assert_eq!(calls.of("task_required"), 3, "{era}");
    }
}

#[tokio::test]
async fn a_task_is_its_callers_and_known_by_its_own_id_alone() {
    let calls = Calls::new();
    let hub = run(&calls, "tasks --era stateless");
    let rest = client::rest(&hub);
    let id = task(&rest, json!({"ask": true})).await;
    let mut forged = id.clone();
    forged.replace_range(30..31, if &forged[30..31] == "A" { "B" } else { "A" });
    for (path, body) in [
        ("/api/tasks/task-1/cancel".to_owned(), json!({})),
        (format!("/api/tasks/{forged}/cancel"), json!({})),
        (format!("/api/tasks/{forged}/update"), json!({"inputResponses": {}})),
        (format!("/api/tasks/{id}/cancel?tenant_id=acme"), json!({})),
    ] {
        let (status, refused) = post(&rest, &path, &body).await;
        assert_eq!((status, &refused["code"], &refused["data"]["kind"]), (404, &json!("NOT_FOUND"), &json!("task")), "{path}: {refused}");
    }
    for body in [json!({}), json!({"inputResponses": null}), json!({"inputResponses": [1]})] {
        let (status, refused) = post(&rest, &format!("/api/tasks/{id}/update"), &body).await;
        assert_eq!((status, &refused["data"]["field"]), (400, &json!("inputResponses")), "{refused}");
    }
    assert_eq!(rest.get(&format!("/api/tasks/{id}?tenant_id=default")).await.status, 200);
    until(&rest, &id, "input_required").await;
}

#[tokio::test]
async fn who_knows_no_tasks_gets_the_result() {
    let calls = Calls::new();
    let hub = run(&calls, "tasks --era handshake --revision 2025-11-25");
    let rest = client::rest(&hub);
    for body in [json!({"tool": "task_required"}), json!({"tool": "task_required", "capabilities": {"elicitation": {}}})] {
        assert_eq!(text(&ok(&rest, "/api/servers/s/tools", body).await), "worked");
    }
}
