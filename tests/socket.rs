//! The WebSocket doors of a running hub: refusals before the upgrade, raw MCP, apps, one server's tools, and how sockets end.

mod support;

use serde_json::{Value, json};
use support::{
    Hub, hub, server,
    talk::{self, HANDSHAKE, Socket, initialize, notice, open, request, stateless, text},
};

/// Two tenants whose servers run, and whose tools are known.
async fn running() -> Hub {
    let other = server::program("${mcpHub}", &["demo", "echo"]);
    let hub = hub::new()
        .server("s", server::child("echo").boot())
        .server("math", server::program("${mcpHub}", &["demo", "math"]).boot())
        .tenant_server("acme", "other", other.boot())
        .run();
    let rest = support::client::rest(&hub);
    for server in ["s", "math", "acme:other"] {
        let started = rest.post("/api/servers/start", &[], &json!({"server_name": server}).to_string()).await;
        assert_eq!(started.status, 200, "{:?}", started.body);
    }
    hub
}

fn call(id: impl Into<Value>, tool: &str, arguments: Value) -> Value {
    stateless(id, "tools/call", json!({"name": tool, "arguments": arguments}))
}

#[tokio::test]
async fn whatever_can_be_refused_is_refused_before_the_upgrade() {
    let hub = running().await;
    let offer = ("sec-websocket-protocol", "mcp");
    let without = |name: &str| HANDSHAKE.into_iter().filter(|(own, _)| *own != name).chain([offer]).collect::<Vec<_>>();
    let with = |more: &[(&'static str, &'static str)]| [&HANDSHAKE[..], more].concat();
    for (path, headers, status) in [
        ("/ws/mcp", with(&[offer]), 101),
        ("/ws/mcp/", with(&[("sec-websocket-protocol", "chat, mcp")]), 101),
        ("/ws/mcp", with(&[]), 400),
        ("/ws/mcp", with(&[("sec-websocket-protocol", "chat")]), 400),
        ("/ws/mcp", without("upgrade"), 426),
        ("/ws/mcp", without("connection"), 426),
        ("/ws/mcp", without("sec-websocket-version"), 426),
        ("/ws/mcp", without("sec-websocket-key"), 400),
        ("/ws/mcp", with(&[offer, ("origin", "http://evil.example")]), 403),
        ("/ws/mcp", with(&[offer, ("authorization", "Bearer wrong")]), 401),
        ("/ws/mcp/acme", with(&[offer]), 101),
        ("/ws/mcp/nobody", with(&[offer]), 404),
        ("/ws/mcp?tenant_id=nobody", with(&[offer]), 404),
        ("/ws/mcp?server=s", with(&[offer]), 101),
        ("/ws/mcp?server=acme:other", with(&[offer]), 101),
        ("/ws/mcp?server=other", with(&[offer]), 404),
        ("/ws/mcp?names=long", with(&[offer]), 400),
        ("/ws/mcp?group=research", with(&[offer]), 400),
        ("/ws/mcp?mode=search", with(&[offer]), 400),
        ("/ws/app/demo/default", with(&[]), 101),
        ("/ws/app/demo/acme", with(&[]), 101),
        ("/ws/app/demo/nobody", with(&[]), 404),
        ("/ws/app/Demo/default", with(&[]), 404),
        ("/ws/app/-demo/default", with(&[]), 404),
        ("/ws/app/demo", with(&[]), 404),
        ("/ws/app/demo/default", with(&[("origin", "null")]), 403),
        ("/s/mcp/ws", with(&[]), 101),
        ("/t/acme/other/mcp/ws", with(&[]), 101),
        ("/other/mcp/ws", with(&[]), 404),
        ("/t/acme/s/mcp/ws", with(&[]), 404),
        ("/ws/nothing", with(&[]), 404),
    ] {
        let (got, head, _) = talk::upgrade(&hub, path, &headers).await;
        assert_eq!(got, status, "{path} {headers:?}: {head}");
        let chosen = head.contains("sec-websocket-protocol: mcp");
        assert_eq!(chosen, status == 101 && path.starts_with("/ws/mcp"), "{path}: {head}");
        assert!(!head.contains("sec-websocket-extensions"), "nothing is compressed");
    }
}

#[tokio::test]
async fn both_eras_share_a_socket_and_ids_of_two_sockets_do_not_meet() {
    let hub = running().await;
    let mut one = open(&hub, "/ws/mcp").await;
    let mut two = open(&hub, "/ws/mcp").await;
    assert_eq!(one.ask(&request(0, "ping", json!({}))).await["result"], json!({}), "ping needs no era");
    assert_eq!(one.ask(&request(0, "tools/list", json!({}))).await["error"]["code"], -32602);
    let hello = one.ask(&initialize("i", "2025-06-18")).await;
    assert_eq!(hello["result"]["protocolVersion"], "2025-06-18");
    one.say(&notice("notifications/initialized", json!({}))).await;
    assert_eq!(one.ask(&initialize("again", "2025-06-18")).await["error"]["code"], -32600);

    one.say(&call(1, "s.slow", json!({"ms": 50}))).await;
    two.say(&call(1, "s.echo", json!({"text": "of two"}))).await;
    one.say(&request("1", "tools/call", json!({"name": "s__echo", "arguments": {"text": "of one"}}))).await;
    assert_eq!(text(&one.heard.answer("1").await), "of one");
    assert_eq!(text(&one.heard.answer(1).await), "slept");
    assert_eq!(text(&two.heard.answer(1).await), "of two");
    let list = two.ask(&stateless(2, "tools/list", json!({}))).await;
    assert_eq!(list["result"]["resultType"], "complete");
    assert_eq!(two.ask(&call(3, "no.such", json!({}))).await["error"]["code"], -32602);
}

#[tokio::test]
async fn a_socket_can_be_of_one_server_one_tenant_and_one_style_of_names() {
    let hub = running().await;
    for (path, name) in [
        ("/ws/mcp", "math.add_tool"),
        ("/ws/mcp?names=safe", "math__add_tool"),
        ("/ws/mcp?server=math", "add_tool"),
        ("/ws/mcp/acme", "other.echo_tool"),
        ("/ws/mcp?tenant_id=acme", "other.echo_tool"),
    ] {
        let mut socket = open(&hub, path).await;
        let list = socket.ask(&stateless(1, "tools/list", json!({}))).await;
        let tools = list["result"]["tools"].as_array().unwrap();
        assert!(tools.iter().any(|tool| tool["name"] == name), "{path}: {list}");
        let of_acme = tools.iter().any(|tool| tool["name"] == "other.echo_tool");
        assert_eq!(of_acme, name.starts_with("other"), "{path}: tenants do not see each other");
    }
}

#[tokio::test]
async fn what_is_no_message_is_answered_and_five_in_a_row_end_the_socket() {
    let hub = running().await;
    let mut socket = open(&hub, "/ws/mcp").await;
    for (bad, code) in [("{", -32700), ("", -32700), ("[]", -32600), (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, -32600)] {
        socket.say_text(bad).await;
        let answer = socket.heard.next().await;
        assert_eq!((&answer["error"]["code"], answer.get("id")), (&json!(code), None), "{bad}");
    }
    socket.ask(&request(1, "ping", json!({}))).await;
    for _ in 0..5 {
        socket.say_text("nonsense").await;
    }
    assert_eq!(socket.closed().await, 1008);
}

#[tokio::test]
async fn a_call_is_cancelled_by_its_id_or_by_closing_the_socket() {
    let hub = running().await;
    let mut socket = open(&hub, "/ws/mcp").await;
    let mut watcher = open(&hub, "/ws/mcp").await;
    for id in [json!(1), json!("1")] {
        socket.say(&call(id, "s.never", json!({}))).await;
    }
    // Answered after both have reached the server.
    socket.ask(&call(2, "s.echo", json!({}))).await;
    socket.say(&notice("notifications/cancelled", json!({"requestId": 1}))).await;
    let cancellations = async |watcher: &mut Socket, wanted: &str| {
        for id in 0.. {
            let answer = watcher.ask(&call(id, "s.cancellations", json!({}))).await;
            if text(&answer) == wanted {
                return;
            }
        }
    };
    cancellations(&mut watcher, "1").await;
    socket.send(0x88, &1000u16.to_be_bytes()).await;
    assert_eq!(socket.closed().await, 1000);
    cancellations(&mut watcher, "2").await;
    assert!(socket.heard.rest().await.is_empty(), "a cancelled call has no answer");
}

#[tokio::test]
async fn one_call_too_many_is_refused_and_the_others_go_on() {
    let hub = running().await;
    let mut socket = open(&hub, "/ws/mcp").await;
    for id in 0..256 {
        socket.say(&call(id, "s.never", json!({}))).await;
    }
    let refused = socket.ask(&call("more", "s.echo", json!({}))).await;
    assert_eq!((&refused["error"]["code"], &refused["error"]["data"]["reason"]), (&json!(-32603), &json!("quota")), "{refused}");
    socket.say(&notice("notifications/cancelled", json!({"requestId": 7}))).await;
    for id in 1000.. {
        let answer = socket.ask(&call(id, "s.echo", json!({"text": "room"}))).await;
        if answer.get("error").is_none() {
            assert_eq!(text(&answer), "room");
            break;
        }
    }
}

#[tokio::test]
async fn progress_comes_before_the_answer_and_list_changes_when_they_happen() {
    let hub = running().await;
    let mut socket = open(&hub, "/ws/mcp").await;
    socket.ask(&initialize(0, "2025-11-25")).await;
    let params = json!({"name": "s.progress", "arguments": {"steps": 2}, "_meta": {"progressToken": "mine"}});
    socket.say(&request(1, "tools/call", params)).await;
    for step in 1..=2 {
        let note = socket.heard.next().await;
        assert_eq!((&note["params"]["progressToken"], &note["params"]["progress"]), (&json!("mine"), &json!(step)));
    }
    assert_eq!(text(&socket.heard.next().await), "done");
    socket.ask(&request(2, "tools/call", json!({"name": "s.grow"}))).await;
    // The start of the servers may be told first.
    for id in 3.. {
        let note = socket.heard.pick(|message| message["method"] == "notifications/tools/list_changed").await;
        assert_eq!(note.get("id"), None);
        let list = socket.ask(&request(id, "tools/list", json!({}))).await;
        if list["result"]["tools"].as_array().unwrap().iter().any(|tool| tool["name"] == "s.grown0") {
            break;
        }
    }
}

fn tool_call(id: &str, tool: &str, arguments: Value) -> Value {
    json!({"type": "tool_call", "message_id": id, "data": {"tool_name": tool, "arguments": arguments}})
}

/// The next message but those about servers, which come when they like.
async fn next(app: &mut Socket) -> Value {
    app.heard.pick(|message| message["type"] != "server_event").await
}

async fn of_call(socket: &mut Socket, id: &str) -> Value {
    socket.heard.pick(|message| message["data"]["correlation_id"] == id).await
}

#[tokio::test]
async fn an_app_hears_how_things_stand_and_calls_tools() {
    let hub = running().await;
    let mut app = open(&hub, "/ws/app/demo/default").await;
    let state = next(&mut app).await;
    assert_eq!((&state["type"], &state["message_id"]), (&json!("app_state"), &Value::Null));
    assert!(state["timestamp"].as_str().unwrap().ends_with('Z'));
    let data = &state["data"];
    assert_eq!((&data["app_id"], &data["tenant_id"]), (&json!("demo"), &json!("default")));
    assert_eq!((&data["servers_status"]["tenant_id"], &data["servers_status"]["total_servers"]), (&json!("default"), &json!(2)));
    let tools = data["available_tools"].as_array().unwrap();
    assert!(tools.contains(&json!("math.add_tool")) && !tools.contains(&json!("other.echo_tool")), "{data}");

    app.say(&tool_call("slow", "s.slow", json!({"ms": 100}))).await;
    app.say(&tool_call("sum", "math.add_tool", json!({"a": 1, "b": 2}))).await;
    let sum = of_call(&mut app, "sum").await;
    assert_eq!((&sum["type"], &sum["data"]["tool_name"]), (&json!("tool_result"), &json!("math.add_tool")));
    assert_eq!(sum["data"]["result"]["structuredContent"], json!({"result": 3}));
    assert_eq!(of_call(&mut app, "slow").await["data"]["result"]["content"][0]["text"], "slept");

    app.say(&tool_call("p", "s.progress", json!({"steps": 2}))).await;
    for step in 1..=2 {
        let note = of_call(&mut app, "p").await;
        assert_eq!(
            (&note["type"], &note["data"]),
            (&json!("tool_progress"), &json!({"correlation_id": "p", "progress": step, "total": 2}))
        );
    }
    assert_eq!(of_call(&mut app, "p").await["type"], "tool_result");

    for (id, tool, arguments, code) in [
        ("unknown", "no.such", json!({}), "TOOL_ERROR"),
        ("of another tenant", "other.echo_tool", json!({}), "TOOL_ERROR"),
        ("fails", "s.fail", json!({}), "TOOL_ERROR"),
        ("no object", "s.echo", json!([1]), "VALIDATION_ERROR"),
    ] {
        app.say(&tool_call(id, tool, arguments)).await;
        let error = of_call(&mut app, id).await;
        assert_eq!((&error["type"], &error["data"]["code"]), (&json!("tool_error"), &json!(code)), "{error}");
        assert_eq!(error["data"]["tool_name"], tool);
    }

    // `type` and `data` may stand alone.
    app.say(&json!({"type": "tool_call", "data": {"tool_name": "s.echo"}})).await;
    let answer = app.heard.pick(|message| message["type"] == "tool_result").await;
    assert_eq!(answer["data"]["correlation_id"], Value::Null);
    app.say(&json!({"type": "app_ready", "data": {}})).await;
    app.heard.pick(|message| message["type"] == "app_state").await;
    app.say(&json!({"type": "ping"})).await;
    assert_eq!(next(&mut app).await["type"], "pong");
}

#[tokio::test]
async fn an_app_cancels_its_calls_and_survives_its_mistakes() {
    let hub = running().await;
    let mut app = open(&hub, "/ws/app/demo/default").await;
    next(&mut app).await;
    app.say(&tool_call("n", "s.never", json!({}))).await;
    app.say(&json!({"type": "tool_cancel", "data": {"correlation_id": "n"}})).await;
    let error = of_call(&mut app, "n").await;
    assert_eq!((&error["type"], &error["data"]["tool_name"]), (&json!("tool_error"), &json!("s.never")));
    app.say(&json!({"type": "tool_cancel", "data": {"correlation_id": "n"}})).await;

    for (bad, said) in [
        ("not json".to_owned(), "not a JSON object"),
        ("{\"type\":".to_owned(), "not JSON"),
        (json!({"type": "tool_call", "data": {}}).to_string(), "Missing tool_name"),
        (json!({"type": "fly", "data": {}}).to_string(), "unknown type"),
    ] {
        app.say_text(&bad).await;
        let error = next(&mut app).await;
        assert_eq!(
            (&error["type"], &error["data"]["error"], &error["data"]["details"]),
            (&json!("error"), &json!(said), &json!({})),
            "{bad}"
        );
    }
    app.say(&json!({"type": "ping", "data": {}})).await;
    assert_eq!(next(&mut app).await["type"], "pong");
    for _ in 0..5 {
        app.say_text("[]").await;
    }
    assert_eq!(app.closed().await, 1008);
}

#[tokio::test]
async fn an_app_hears_of_servers_of_its_own_tenant() {
    let hub = running().await;
    let mut app = open(&hub, "/ws/app/demo/default").await;
    next(&mut app).await;
    let rest = support::client::rest(&hub);
    for (path, server) in [("/api/servers/acme/other/stop", "other"), ("/api/servers/default/math/stop", "math")] {
        assert_eq!(rest.post(path, &[], "{}").await.status, 200, "{server}");
    }
    let stopped = app.heard.pick(|message| message["data"]["event"] == "server_stopped").await;
    assert_eq!(stopped["type"], "server_event");
    let data = json!({"event": "server_stopped", "server_id": "default:math", "tenant_id": "default", "state": "STOPPED"});
    assert_eq!(stopped["data"], data, "and not that of another tenant, which was first");
    rest.post("/api/servers/default/math/start", &[], "{}").await;
    let started = app.heard.pick(|message| message["data"]["event"] == "server_started").await;
    assert_eq!(started["data"]["state"], "RUNNING");
}

#[tokio::test]
async fn an_app_hears_of_every_list_that_changes() {
    let hub = hub::new().server("s", server::child("full").boot()).tenant_server("acme", "s", server::child("full").boot()).run();
    let rest = support::client::rest(&hub);
    let mut app = open(&hub, "/ws/app/demo/default").await;
    for (kind, event) in [("tools", "tools_changed"), ("prompts", "prompts_changed"), ("resources", "resources_changed")] {
        for tenant in ["acme", "default"] {
            let body = json!({"server_name": format!("{tenant}:s"), "tool": "grow", "arguments": {"kind": kind}});
            assert_eq!(rest.post("/api/servers/tools", &[], &body.to_string()).await.status, 200, "{tenant} {kind}");
        }
        // What the first start brought to light may be told before.
        let told = app.heard.pick(|message| message["data"]["event"] == event).await;
        let data = json!({"event": event, "server_id": "default:s", "tenant_id": "default", "state": "RUNNING"});
        assert_eq!((&told["type"], &told["data"]), (&json!("server_event"), &data));
    }
}

#[tokio::test]
async fn the_socket_of_one_server_answers_plain_values() {
    let hub = running().await;
    let mut math = open(&hub, "/math/mcp/ws").await;
    for (ask, answer) in [
        (json!({"tool": "add", "arguments": {"a": 1, "b": 2}, "id": 1}), json!({"result": 3, "id": 1})),
        (
            json!({"tool": "multiply_tool", "arguments": {"a": 2, "b": 4}, "id": {"any": "thing"}}),
            json!({"result": 8, "id": {"any": "thing"}}),
        ),
        (json!({"tool": "add", "arguments": {"a": 1, "b": 2}}), json!({"result": 3})),
    ] {
        math.say(&ask).await;
        assert_eq!(math.heard.next().await, answer);
    }
    math.say(&json!({"tool": "add", "arguments": {}, "id": 2})).await;
    let reported = math.heard.next().await;
    assert_eq!((&reported["isError"], &reported["id"]), (&json!(true), &json!(2)), "{reported}");
    for (ask, code, id) in [
        (json!({"tool": "no", "id": 3}), "TOOL_ERROR", json!(3)),
        (json!({"id": "x"}), "VALIDATION_ERROR", json!("x")),
        (json!({"tool": "add", "arguments": 1, "id": 5}), "VALIDATION_ERROR", json!(5)),
        (json!([]), "VALIDATION_ERROR", Value::Null),
    ] {
        math.say(&ask).await;
        let error = math.heard.next().await;
        assert_eq!((&error["code"], &error["id"]), (&json!(code), &id), "{ask}");
        assert!(error["error"] == error["message"] && error["timestamp"].is_string());
    }
}

#[tokio::test]
async fn a_stopping_hub_answers_what_is_under_way_and_says_goodbye() {
    let mut hub = running().await;
    let mut mcp = open(&hub, "/ws/mcp").await;
    let mut idle = open(&hub, "/ws/app/demo/default").await;
    idle.heard.next().await;
    mcp.ask(&call(0, "s.echo", json!({}))).await;
    mcp.say(&call(1, "s.slow", json!({"ms": 300}))).await;
    mcp.ask(&call(2, "s.echo", json!({}))).await;
    hub.signal(rustix::process::Signal::TERM);
    assert_eq!(idle.closed().await, 1001);
    assert_eq!(text(&mcp.heard.answer(1).await), "slept");
    assert_eq!(mcp.closed().await, 1001);
    assert!(hub.wait().success());
}

#[tokio::test]
async fn closed_sockets_leave_nothing_behind() {
    let hub = running().await;
    let mut first = open(&hub, "/ws/mcp").await;
    first.ask(&call(0, "s.echo", json!({}))).await;
    let before = hub.descriptors();
    let mut sockets = Vec::new();
    for _ in 0..50 {
        let mut socket = open(&hub, "/ws/mcp").await;
        socket.say(&call(1, "s.never", json!({}))).await;
        sockets.push(socket);
    }
    // What was open only for a moment before, a connection or a file being written, may be gone by now.
    assert!(hub.descriptors() + 10 >= before + 50);
    drop(sockets);
    for id in 1.. {
        let answer = first.ask(&call(id, "s.cancellations", json!({}))).await;
        if text(&answer) == "50" {
            break;
        }
    }
    while hub.descriptors() > before {
        tokio::task::yield_now().await;
    }
}
