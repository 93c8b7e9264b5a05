//! Tasks, whoever made them and whoever wants them: the client of each revision gets what it understands, under ids of the hub's.

mod support;

use std::path::PathBuf;

use serde_json::{Value, json};
use support::{Client, Hub, client, events, hub, server, talk};

const STATELESS: &str = "tasks --era stateless";
const HANDSHAKE: &str = "tasks --era handshake --revision 2025-11-25";

/// What a stateless client declares that understands tasks and answers forms.
fn able() -> Value {
    let able = json!({"extensions": {"io.modelcontextprotocol/tasks": {}}, "elicitation": {"form": {}}});
    json!({"io.modelcontextprotocol/clientCapabilities": able})
}

fn one(words: &str) -> Hub {
    hub::new().server("s", server::child(words).scope("user")).run()
}

async fn call(client: &Client, tool: &str, arguments: Value) -> Value {
    client.ask("tools/call", json!({"name": tool, "arguments": arguments, "_meta": able()})).await.json()
}

async fn about(client: &Client, method: &str, task: &Value) -> Value {
    client.ask(method, json!({"taskId": task["taskId"], "_meta": able()})).await.json()
}

/// Looks until the task is as it shall be; the tests' servers take no time but for what they are told to wait for.
async fn until(client: &Client, task: &Value, status: &str) -> Value {
    loop {
        let look = about(client, "tasks/get", task).await;
        assert_eq!(look["result"]["resultType"], "complete", "{look}");
        assert_eq!(look["result"]["taskId"], task["taskId"], "{look}");
        if look["result"]["status"] == status {
            return look["result"].clone();
        }
        let is_underway = matches!(look["result"]["status"].as_str(), Some("working" | "input_required"));
        assert!(is_underway, "not {status} but {look}");
    }
}

#[tokio::test]
async fn a_stateless_client_sees_the_tasks_of_servers_of_either_era_alike() {
    for words in [STATELESS, HANDSHAKE] {
        let hub = one(words);
        let client = client::stateless(&hub);
        let discovered = client.ask("server/discover", json!({})).await.json();
        assert!(discovered["result"]["capabilities"]["extensions"]["io.modelcontextprotocol/tasks"].is_object(), "{discovered}");

        let created = call(&client, "s.task_required", json!({})).await["result"].clone();
        assert_eq!((&created["resultType"], &created["ttlMs"]), (&json!("task"), &json!(60_000)), "{words}: {created}");
        assert!(created["taskId"].as_str().unwrap().starts_with('t') && created["taskId"] != "task-1", "{created}");
        let completed = until(&client, &created, "completed").await;
        assert_eq!(completed["result"]["content"][0]["text"], "worked", "{words}: {completed}");
        assert!(!completed.to_string().contains("task-1"), "the server's own id shows: {completed}");

        let failed = call(&client, "s.task_required", json!({"fail": "tool"})).await["result"].clone();
        let completed = until(&client, &failed, "completed").await;
        assert_eq!(completed["result"]["isError"], true, "a tool that failed has completed");
        let broken = call(&client, "s.task_required", json!({"fail": "rpc"})).await["result"].clone();
        assert_eq!(until(&client, &broken, "failed").await["error"]["code"], -32000, "{words}");

        let endless = call(&client, "s.task_required", json!({"file": "/nowhere/at/all"})).await["result"].clone();
        for _ in 0..2 {
            let acknowledged = about(&client, "tasks/cancel", &endless).await;
            assert_eq!(acknowledged["result"]["resultType"], "complete", "{words}: {acknowledged}");
            assert!(acknowledged["result"].get("status").is_none(), "{acknowledged}");
        }
        until(&client, &endless, "cancelled").await;
    }
}

#[tokio::test]
async fn what_a_task_asks_is_answered_by_an_update() {
    for words in [STATELESS, HANDSHAKE] {
        let hub = one(words);
        let client = client::stateless(&hub);
        let task = call(&client, "s.task_required", json!({"ask": true})).await["result"].clone();
        let asking = until(&client, &task, "input_required").await;
        let requests = asking["inputRequests"].as_object().unwrap();
        let (key, request) = requests.iter().next().unwrap();
        assert_eq!((requests.len(), &request["params"]["message"]), (1, &json!("your name?")), "{words}: {asking}");
        let bad = json!({"taskId": task["taskId"], "_meta": able()});
        assert_eq!(
            client.ask("tasks/update", bad).await.json()["error"]["code"],
            if words == STATELESS { json!(null) } else { json!(-32602) }
        );
        let responses = json!({key: {"action": "accept", "content": {"name": "Ann"}}});
        let update = json!({"taskId": task["taskId"], "inputResponses": responses, "_meta": able()});
        assert_eq!(client.ask("tasks/update", update).await.json()["result"]["resultType"], "complete");
        let completed = until(&client, &task, "completed").await;
        let said: Value = serde_json::from_str(completed["result"]["content"][0]["text"].as_str().unwrap()).unwrap();
        assert_eq!(said["content"]["name"], "Ann", "{words}");
    }
}

#[tokio::test]
async fn a_stream_follows_the_tasks_that_it_names_and_no_others() {
    for words in [STATELESS, HANDSHAKE] {
        let hub = one(words);
        let client = client::stateless(&hub);
        let task = call(&client, "s.task_required", json!({"ask": true})).await["result"].clone();
        let wanted = json!({"notifications": {"taskIds": [task["taskId"], "tNobodys", task["taskId"]]}, "_meta": able()});
        let mut stream = events::post(&hub, "/mcp", &client, &json!(9), "subscriptions/listen", wanted.clone()).await;
        let (acknowledged, _) = stream.message().await;
        assert_eq!(acknowledged["params"]["notifications"], json!({"taskIds": [task["taskId"]]}), "{words}: {acknowledged}");
        let asking = loop {
            let (told, _) = stream.message().await;
            assert_eq!(told["method"], "notifications/tasks", "{told}");
            assert_eq!(told["params"]["taskId"], task["taskId"], "{told}");
            assert_eq!(told["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], 9, "{told}");
            if told["params"]["status"] == "input_required" {
                break told["params"].clone();
            }
        };
        let key = asking["inputRequests"].as_object().unwrap().keys().next().unwrap().clone();
        let responses = json!({key: {"action": "accept", "content": {"name": "Ann"}}});
        let update = json!({"taskId": task["taskId"], "inputResponses": responses, "_meta": able()});
        assert_eq!(client.ask("tasks/update", update).await.json()["result"]["resultType"], "complete");
        loop {
            let (told, _) = stream.message().await;
            if told["params"]["status"] == "completed" {
                assert!(told["params"]["result"]["content"][0]["text"].as_str().unwrap().contains("Ann"), "{told}");
                break;
            }
        }

        // Who said that they understand no tasks follow none.
        let silent = json!({"notifications": {"taskIds": wanted["notifications"]["taskIds"]}});
        let mut stream = events::post(&hub, "/mcp", &client, &json!(10), "subscriptions/listen", silent).await;
        assert_eq!(stream.message().await.0["params"]["notifications"], json!({}), "{words}");
    }
}

#[tokio::test]
async fn a_request_about_a_task_is_checked_before_it_goes_anywhere() {
    let hub = hub::new().server("s", server::child(STATELESS)).server("other", server::child(STATELESS)).run();
    let client = client::stateless(&hub);
    let task = call(&client, "s.task_required", json!({})).await["result"].clone();
    let ask = async |method: &str, params: Value| {
        let answer = client.ask(method, params).await;
        (answer.status, answer.json()["error"]["code"].as_i64())
    };
    let id = &task["taskId"];
    assert_eq!(ask("tasks/get", json!({"taskId": "nobody", "_meta": able()})).await, (200, Some(-32602)));
    assert_eq!(ask("tasks/get", json!({"taskId": "task-1", "_meta": able()})).await, (200, Some(-32602)), "the server's own id");
    let mut forged = id.as_str().unwrap().to_owned();
    forged.replace_range(30..31, if &forged[30..31] == "A" { "B" } else { "A" });
    assert_eq!(ask("tasks/get", json!({"taskId": forged, "_meta": able()})).await, (200, Some(-32602)));
    assert_eq!(ask("tasks/get", json!({"taskId": id})).await, (400, Some(-32021)), "not declared");
    assert_eq!(ask("tasks/result", json!({"taskId": id, "_meta": able()})).await, (404, Some(-32601)));
    assert_eq!(ask("tasks/list", json!({"_meta": able()})).await, (404, Some(-32601)));

    let (mut headers, body) = client.message(Some(&json!(77)), "tasks/get", json!({"taskId": id, "_meta": able()}));
    headers.retain(|(name, _)| *name != "mcp-name");
    headers.push(("mcp-name", "another".into()));
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mismatch = client.post("/mcp", &headers, &body).await;
    assert_eq!((mismatch.status, &mismatch.json()["error"]["code"]), (400, &json!(-32020)));

    let other = client::stateless_at(&hub, "/other/mcp");
    assert_eq!(about(&other, "tasks/get", &task).await["error"]["code"], -32602, "another server's endpoint");
    let own = client::stateless_at(&hub, "/s/mcp");
    until(&own, &task, "completed").await;

    // A stateless server is told that tasks are understood only of those who do.
    let plain = client.ask("tools/call", json!({"name": "s.task_optional", "arguments": {}})).await.json();
    assert_eq!(plain["result"]["content"][0]["text"], "worked at once", "{plain}");
    let refused = client.ask("tools/call", json!({"name": "s.task_required", "arguments": {}})).await;
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (400, &json!(-32021)));
    let session = client::session(&hub, "2025-11-25").await;
    assert_eq!(session.ask("tasks/get", json!({"taskId": id})).await.json()["error"]["code"], -32601);
}

#[tokio::test]
async fn a_tool_that_is_only_for_tasks_answers_callers_who_know_none() {
    let hub = one(HANDSHAKE);
    for client in [client::stateless(&hub), client::session(&hub, "2025-11-25").await, client::session(&hub, "2025-03-26").await] {
        let result = client.call("s.task_required", json!({})).await;
        assert_eq!(result["content"][0]["text"], "worked", "{result}");
        assert!(!result.to_string().contains("related-task"), "{result}");
        let failed = client.call("s.task_required", json!({"fail": "tool"})).await;
        assert_eq!(failed["isError"], true, "{failed}");
        let broken = client.ask("tools/call", json!({"name": "s.task_required", "arguments": {"fail": "rpc"}})).await.json();
        assert_eq!(broken["error"]["code"], -32000, "{broken}");
        assert_eq!(client.text("s.task_optional", json!({})).await, "worked at once");
    }
}

#[tokio::test]
async fn who_waits_for_a_task_hears_of_its_status_and_cancels_it_by_leaving() {
    let hub = one(HANDSHAKE);
    let client = client::stateless(&hub);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("go");
    let params = json!({"name": "s.task_required", "arguments": {"file": file}, "_meta": {"progressToken": "p"}});
    let mut stream = events::post(&hub, "/mcp", &client, &json!(1), "tools/call", params.clone()).await;
    let (progress, _) = stream.message().await;
    assert_eq!((&progress["method"], &progress["params"]["progressToken"]), (&json!("notifications/progress"), &json!("p")), "{progress}");
    assert!(progress["params"]["message"].as_str().unwrap().starts_with("look "), "{progress}");
    std::fs::write(&file, "").unwrap();
    let answer = loop {
        let (message, _) = stream.message().await;
        if message.get("result").is_some() {
            break message;
        }
    };
    assert_eq!(answer["result"]["content"][0]["text"], "worked", "{answer}");

    let endless = json!({"name": "s.task_required", "arguments": {"file": "/nowhere/at/all"}, "_meta": {"progressToken": "p"}});
    let mut stream = events::post(&hub, "/mcp", &client, &json!(2), "tools/call", endless).await;
    stream.message().await;
    drop(stream);
    assert_eq!(client.text("s.await", json!({"name": "tasks/cancel", "count": 1})).await, "1");
}

#[tokio::test]
async fn between_peers_of_2025_11_25_a_task_goes_on_under_the_hubs_id() {
    let hub = one(HANDSHAKE);
    let client = client::session_at(&hub, "/s/mcp", "2025-11-25").await;
    let call = json!({"name": "task_optional", "arguments": {}, "task": {"ttl": 1000}});
    let created = client.ask("tools/call", call.clone()).await.json()["result"]["task"].clone();
    let id = json!({"taskId": created["taskId"]});
    assert!(created["status"] == "working" && created["taskId"] != "task-1", "{created}");
    let result = client.ask("tasks/result", id.clone()).await.json();
    assert_eq!(result["result"]["content"][0]["text"], "worked", "{result}");
    assert_eq!(result["result"]["_meta"]["io.modelcontextprotocol/related-task"], id, "{result}");
    let look = client.ask("tasks/get", id.clone()).await.json();
    assert_eq!((&look["result"]["taskId"], &look["result"]["status"]), (&created["taskId"], &json!("completed")), "{look}");
    assert_eq!(client.ask("tasks/cancel", id.clone()).await.json()["error"]["code"], -32602, "it has ended");
    assert_eq!(client.ask("tasks/list", json!({})).await.json()["error"]["code"], -32601);

    // Elsewhere nobody may ask for one, so nobody gets one.
    let merged = client::session(&hub, "2025-11-25").await;
    let plain = merged.ask("tools/call", json!({"name": "s.task_optional", "arguments": {}, "task": {}})).await.json();
    assert_eq!(plain["result"]["content"][0]["text"], "worked at once", "{plain}");
    assert_eq!(merged.ask("tasks/get", id).await.json()["error"]["code"], -32601);
}

/// A session that answers forms.
async fn asked(hub: &Hub) -> talk::Socket {
    let mut socket = talk::open(hub, "/ws/mcp").await;
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {"elicitation": {}}, "clientInfo": {"name": "t", "version": "1"}});
    socket.ask(&talk::request(0, "initialize", params)).await;
    socket.say(&talk::notice("notifications/initialized", json!({}))).await;
    socket
}

#[tokio::test]
async fn a_question_names_its_task_as_its_client_knows_it() {
    const RELATED: &str = "io.modelcontextprotocol/related-task";
    let hub = one(HANDSHAKE);
    let own = client::session_able(&hub, "/s/mcp", "2025-11-25", json!({"elicitation": {}})).await;
    let call = json!({"name": "task_optional", "arguments": {"ask": true}, "task": {}});
    let id = json!({"taskId": own.ask("tools/call", call).await.json()["result"]["task"]["taskId"]});
    let mut result = events::post(&hub, "/s/mcp", &own, &json!("result"), "tasks/result", id.clone()).await;
    result.primed().await;
    let (question, _) = result.message().await;
    assert_eq!(question["params"]["_meta"][RELATED], id, "{question}");
    let reply = json!({"action": "decline", "_meta": {"own": 1, RELATED: id}});
    assert_eq!(own.respond(&question["id"], reply).await.status, 202);
    let (answer, _) = result.message().await;
    let said: Value = serde_json::from_str(answer["result"]["content"][0]["text"].as_str().unwrap()).unwrap();
    let theirs = json!({"own": 1, RELATED: {"taskId": "task-1"}});
    assert_eq!(said["_meta"], theirs, "the server knows it by its own: {said}");

    // Who asked for no task is told of none.
    let mut merged = asked(&hub).await;
    merged.say(&talk::request(1, "tools/call", json!({"name": "s.task_required", "arguments": {"ask": true}}))).await;
    let question = merged.heard.pick(|message| message["method"] == "elicitation/create").await;
    assert!(!question.to_string().contains("task"), "{question}");
    merged.say(&json!({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "decline"}})).await;
    assert!(merged.heard.answer(1).await["result"]["content"][0]["text"].as_str().unwrap().contains("decline"));
}

#[tokio::test]
async fn what_a_server_says_of_a_task_unasked_reaches_the_session_that_has_it() {
    let hub = hub::new().server("s", server::child(HANDSHAKE).scope("user")).run();
    let client = client::session_at(&hub, "/s/mcp", "2025-11-25").await;
    let other = client::session_at(&hub, "/s/mcp", "2025-11-25").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("go");
    let created = |client: Client, token: &'static str, file: PathBuf| async move {
        let arguments = json!({"progress": 10, "later": 20, "file": file});
        let params = json!({"name": "task_optional", "arguments": arguments, "task": {}, "_meta": {"progressToken": token}});
        let messages = client.ask("tools/call", params).await.messages();
        assert_eq!((messages.len(), &messages[0]["params"]["progress"]), (2, &json!(10)), "{messages:?}");
        (messages[1]["result"]["task"]["taskId"].clone(), client)
    };
    let (task, client) = created(client, "p", file.clone()).await;
    let (others, other) = created(other, "o", file.clone()).await;
    std::fs::write(&file, "").unwrap();
    for (client, token, task) in [(client, "p", task), (other, "o", others)] {
        let mut stream = events::get(&hub, "/s/mcp", &client, None).await;
        stream.primed().await;
        let mut told = Vec::new();
        while told.len() < 2 {
            let (message, _) = stream.message().await;
            if !message["method"].as_str().unwrap().ends_with("/list_changed") {
                told.push(message);
            }
        }
        // They come from two places of the hub's.
        told.sort_by_key(|message| message["method"].to_string());
        let progress = json!({"progressToken": token, "progress": 20, "total": 100});
        assert_eq!((&told[0]["method"], &told[0]["params"]), (&json!("notifications/progress"), &progress));
        assert_eq!((&told[1]["method"], &told[1]["params"]["taskId"]), (&json!("notifications/tasks/status"), &task));
        assert_eq!(client.ask("tasks/result", json!({"taskId": task})).await.json()["result"]["content"][0]["text"], "worked");
    }
}

#[tokio::test]
async fn a_session_gets_what_a_stateless_servers_task_comes_to_where_that_is_bridged() {
    let bridged = server::child(STATELESS).with("bridge_tasks", true);
    let hub = hub::new().server("s", bridged).server("off", server::child(STATELESS)).run();
    let mut socket = asked(&hub).await;
    let call = |id: u64, tool: &str, arguments: Value| talk::request(id, "tools/call", json!({"name": tool, "arguments": arguments}));

    let plain = socket.ask(&call(1, "s.task_required", json!({}))).await;
    assert_eq!(plain["result"]["content"][0]["text"], "worked", "{plain}");
    assert!(plain["result"].get("resultType").is_none(), "{plain}");
    assert_eq!(socket.ask(&call(2, "s.task_required", json!({"fail": "rpc"}))).await["error"]["code"], -32000);

    socket.say(&call(3, "s.task_required", json!({"ask": true}))).await;
    let question = socket.heard.pick(|message| message["method"] == "elicitation/create").await;
    assert_eq!(question["params"]["message"], "your name?", "{question}");
    let reply = json!({"action": "accept", "content": {"name": "Ann"}});
    socket.say(&json!({"jsonrpc": "2.0", "id": question["id"], "result": reply})).await;
    let answer = socket.heard.answer(3).await;
    let said: Value = serde_json::from_str(answer["result"]["content"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!(said, reply);

    let off = socket.ask(&call(4, "off.task_optional", json!({}))).await;
    assert_eq!(off["result"]["content"][0]["text"], "worked at once", "{off}");
    let refused = socket.ask(&call(5, "off.task_required", json!({}))).await;
    assert_eq!(refused["result"]["isError"], true, "{refused}");
}

#[tokio::test]
async fn a_task_that_fails_as_if_its_request_had_been_stale_is_not_begun_again() {
    let dir = tempfile::tempdir().unwrap();
    let count = dir.path().join("calls");
    let child = server::child(&format!("{STATELESS} --count {}", count.display())).with("bridge_tasks", true);
    let hub = hub::new().server("s", child).run();
    let client = client::session(&hub, "2025-11-25").await;
    let failed = client.ask("tools/call", json!({"name": "s.task_required", "arguments": {"fail": "stale"}})).await.json();
    assert!(failed["error"].is_object(), "{failed}");
    assert_eq!(std::fs::read_to_string(&count).unwrap().lines().count(), 1, "how often the tool was called");
}

#[tokio::test]
async fn tasks_of_two_processes_that_number_alike_are_told_apart() {
    let hub = hub::new().server("s", server::child(HANDSHAKE).with("pool", json!({"scope": "user", "size": 2}))).run();
    let client = client::stateless(&hub);
    // Whoever can be asked has a process alone, for as long as the task is held.
    let first = call(&client, "s.task_required", json!({"fail": "tool"})).await["result"].clone();
    let second = call(&client, "s.task_required", json!({})).await["result"].clone();
    for (task, fails) in [(&first, true), (&second, false), (&first, true)] {
        assert_eq!(until(&client, task, "completed").await["result"]["isError"], fails);
    }
}

#[tokio::test]
async fn a_task_of_a_process_of_a_session_is_that_sessions_whatever_its_number() {
    let hub = hub::new().server("s", server::child(HANDSHAKE).scope("session")).run();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("go");
    let mut sessions = Vec::new();
    for (later, fails) in [(20, true), (30, false)] {
        let client = client::session_at(&hub, "/s/mcp", "2025-11-25").await;
        let mut arguments = json!({"later": later, "file": file});
        if fails {
            arguments["fail"] = "tool".into();
        }
        let created = client.ask("tools/call", json!({"name": "task_optional", "arguments": arguments, "task": {}})).await.json();
        sessions.push((client, created["result"]["task"]["taskId"].clone(), fails));
    }
    std::fs::write(&file, "").unwrap();
    for (client, task, fails) in sessions {
        let mut stream = events::get(&hub, "/s/mcp", &client, None).await;
        stream.primed().await;
        let told = loop {
            let (message, _) = stream.message().await;
            if message["method"] == "notifications/tasks/status" {
                break message;
            }
        };
        assert_eq!(told["params"]["taskId"], task, "{told}");
        let result = client.ask("tasks/result", json!({"taskId": task})).await.json();
        assert_eq!(result["result"]["isError"], fails, "{result}");
    }
}

#[tokio::test]
async fn a_task_whose_process_is_gone_is_not_mistaken_for_anothers_of_that_number() {
    for words in [STATELESS, HANDSHAKE] {
        let state = tempfile::tempdir().unwrap();
        let builder = hub::new().server("s", server::child(words).scope("user")).state(state.path());
        let hub = builder.clone().run();
        let client = client::stateless(&hub);
        // Nobody who can be asked: one process for all of these.
        let begin = async |client: &Client| {
            let meta = json!({"io.modelcontextprotocol/clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}}});
            let params = json!({"name": "s.task_required", "arguments": {}, "_meta": meta});
            client.ask("tools/call", params).await.json()["result"].clone()
        };
        let lost = begin(&client).await;
        until(&client, &lost, "completed").await;
        client.ask("tools/call", json!({"name": "s.crash", "arguments": {}})).await;
        let other = begin(&client).await;
        let mut last = Value::Null;
        for _ in 0..2 {
            last = about(&client, "tasks/get", &lost).await;
            assert!(last["error"].is_object(), "{words}: {last}");
        }
        assert_eq!(last["error"]["code"], -32602, "{last}");
        until(&client, &other, "completed").await;

        assert!(hub.terminate().success());
        let hub = builder.run();
        let client = client::stateless(&hub);
        let after = begin(&client).await;
        assert_eq!(about(&client, "tasks/get", &other).await["error"]["code"], -32602, "{words}: of a process of an earlier hub");
        until(&client, &after, "completed").await;
    }
}

#[tokio::test]
async fn a_task_of_a_remote_server_outlives_the_connection_on_which_it_was_made() {
    for words in [STATELESS, HANDSHAKE] {
        let far = one(words);
        // From now on it says at that endpoint that there are tasks.
        client::stateless_at(&far, "/s/mcp").tools().await;
        let state = tempfile::tempdir().unwrap();
        let remote = server::remote(&format!("http://{}/s/mcp", far.address)).with("allow_private", true);
        let builder = hub::new().server("far", remote).state(state.path());
        let hub = builder.clone().run();
        let client = client::stateless(&hub);
        let created = call(&client, "far.task_required", json!({})).await;
        let task = created["result"].clone();
        assert_eq!(task["resultType"], "task", "{created}");
        assert!(hub.terminate().success());
        let hub = builder.run();
        let client = client::stateless(&hub);
        until(&client, &task, "completed").await;
    }
}
