//! The REST door of a running hub: shapes, every class of the error body, tenants apart, and the commands that use it.

mod support;

use std::process::{Command, Output};

use serde_json::{Value, json};
use support::{Client, Hub, Server, client, hub, server};

/// Two tenants with an `echo` each; `math`, a manual, a disabled and a broken server beside the first.
fn running() -> Hub {
    hub::new()
        .server("echo", demo("echo"))
        .server("math", demo("math").with("description", "sums"))
        .server("byhand", demo("echo").with("start", "manual"))
        .server("off", demo("echo").with("enabled", false))
        .server("broken", server::program("/bin/false", &[]))
        .tenant_server("acme", "echo", demo("echo"))
        .tenant_server("acme", "own", demo("echo"))
        .run()
}

fn demo(name: &str) -> Server {
    server::program("${mcpHub}", &["demo", name])
}

/// Everything that can be started is, so that what it offers is known.
async fn learned() -> (Hub, Client) {
    let hub = running();
    let rest = client::rest(&hub);
    for (server, status) in [("echo", 200), ("math", 200), ("acme:echo", 200), ("acme:own", 200), ("broken", 503)] {
        assert_eq!(ask(&rest, "/api/servers/start", json!({"server_name": server})).await.0, status, "{server}");
    }
    (hub, rest)
}

async fn ask(rest: &Client, path: &str, body: Value) -> (u16, Value) {
    let answer = rest.post(path, &[], &body.to_string()).await;
    (answer.status, answer.json())
}

async fn get(rest: &Client, path: &str) -> (u16, Value) {
    let answer = rest.get(path).await;
    (answer.status, answer.json())
}

#[tokio::test]
async fn a_tool_is_called_by_every_route_and_every_name() {
    let (_hub, rest) = learned().await;
    let two = json!({"a": 1.5, "b": 2});
    for path in [
        "/api/tools/math.add_tool/call",
        "/api/tools/math.add_tool",
        "/api/tools/math__add_tool/call",
        "/api/tools/math.add",
        "/api/tools/math__add",
    ] {
        let (status, answer) = ask(&rest, path, two.clone()).await;
        assert_eq!((status, &answer["tool"]), (200, &json!("math.add_tool")), "{path}");
        assert_eq!(answer["result"]["structuredContent"], json!({"result": 3.5}), "{path}");
    }
    for (path, body) in [
        ("/api/servers/tools", json!({"server_name": "math", "tool": "add_tool", "arguments": two})),
        ("/api/servers/tools", json!({"server_name": "default:math", "tool": "add", "arguments": two})),
        ("/api/servers/math/tools", json!({"tool": "add_tool", "arguments": two, "request_options": {"timeout": 60_000}})),
    ] {
        let (status, answer) = ask(&rest, path, body).await;
        assert_eq!((status, &answer["result"]["content"][0]["text"]), (200, &json!("3.5")), "{path}");
        assert!(answer["timestamp"].as_str().unwrap().ends_with('Z'));
    }
    let (status, answer) = ask(&rest, "/math/mcp/call", json!({"tool": "add", "arguments": two})).await;
    assert_eq!((status, answer), (200, json!({"result": 3.5})));
    let (status, answer) = ask(&rest, "/math/mcp/call", json!({"tool": "add_tool", "arguments": {}})).await;
    assert_eq!((status, &answer["isError"]), (200, &json!(true)), "a reported failure is an answer");

    let headers = [("content-type", "application/json"), ("accept", "text/event-stream")];
    let body = json!({"server_name": "math", "tool": "add_tool", "arguments": two}).to_string();
    let streamed = rest.send("POST", "/api/servers/tools", &headers, &body).await;
    assert_eq!(streamed.header("content-type"), Some("text/event-stream"));
    let text = std::str::from_utf8(&streamed.body).unwrap();
    assert!(text.starts_with("event: result\ndata: {\"result\":{"), "{text}");
}

#[tokio::test]
async fn the_short_names_of_the_demo_servers_lead_to_their_tools_at_every_door() {
    // Nothing is learned yet: the first call does that.
    let hub = hub::new().server("echo", demo("echo")).server("math", demo("math")).run();
    let arguments = json!({"message": "hi"});
    let mcp = client::stateless(&hub);
    for name in ["echo.echo", "echo__echo"] {
        assert_eq!(mcp.call(name, arguments.clone()).await["structuredContent"], json!({"result": "hi"}), "{name}");
    }
    let own = client::stateless_at(&hub, "/echo/mcp");
    assert_eq!(own.call("echo", arguments.clone()).await["structuredContent"], json!({"result": "hi"}));
    let refused = mcp.ask("tools/call", json!({"name": "math.echo", "arguments": arguments})).await.json();
    assert_eq!(refused["error"]["code"], -32602);
    let listed = get(&client::rest(&hub), "/api/tools").await.1;
    assert_eq!(listed["all_tools"], json!(["echo.echo_tool", "echo.reverse_tool", "math.add_tool", "math.multiply_tool"]));
}

#[tokio::test]
async fn the_version_that_clients_insist_on_is_not_the_logs() {
    let mut hub = hub::new().variable("MCP_HUB_REPORT_VERSION", "4.2.1").run();
    let (rest, own) = (client::rest(&hub), env!("CARGO_PKG_VERSION"));
    assert_eq!(get(&rest, "/api/health").await.1["version"], "4.2.1");
    assert_eq!((&get(&rest, "/").await.1["version"], &hub.ready["version"]), (&json!(own), &json!(own)));
    hub.signal(rustix::process::Signal::TERM);
    for status in ["stopping", "stopped"] {
        assert_eq!(hub.line(|line| line["status"] == status)["version"], own);
    }
    assert!(hub.wait().success());
}

#[tokio::test]
async fn the_log_is_kept_on_disk_as_json_lines_whatever_the_console_shows() {
    let dir = tempfile::tempdir().unwrap();
    let hub = hub::new().state(dir.path()).arg("--log-format").arg("text").server("broken", server::program("/bin/false", &[]));
    let mut hub = hub.run();
    ask(&client::rest(&hub), "/api/servers/start", json!({"server_name": "broken"})).await;
    hub.signal(rustix::process::Signal::TERM);
    assert!(hub.wait().success());
    let text = std::fs::read_to_string(dir.path().join("state/mcp-hub/logs/mcp-hub.log")).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let has = |fits: &dyn Fn(&Value) -> bool| lines.iter().any(fits);
    assert!(has(&|line| line["message"] == "HTTP_SERVER_STARTED" && line["type"] == "info"), "{text}");
    assert!(has(&|line| line["type"] == "warn" && line["data"]["server"] == "broken"), "{text}");
    assert!(["ready", "stopping", "stopped"].iter().all(|status| has(&|line| line["status"] == *status)), "{text}");
}

#[tokio::test]
async fn a_hub_that_can_keep_nothing_serves_all_the_same_and_one_that_must_says_where() {
    let dir = tempfile::tempdir().unwrap();
    let taken = dir.path().join("a file");
    std::fs::write(&taken, "").unwrap();
    let folder = taken.join("data");
    let mut hub = hub::new().server("echo", demo("echo")).variable("XDG_DATA_HOME", folder.to_str().unwrap());
    hub = hub.variable("XDG_STATE_HOME", taken.join("state").to_str().unwrap());
    let mut hub = hub.run();
    let (status, answer) = ask(&client::rest(&hub), "/api/tools/echo.echo_tool", json!({"message": "hi"})).await;
    assert_eq!((status, &answer["result"]["structuredContent"]), (200, &json!({"result": "hi"})));
    hub.signal(rustix::process::Signal::TERM);
    assert!(hub.wait().success());

    let mut command =
        hub::new().variable("XDG_STATE_HOME", taken.to_str().unwrap()).command(dir.path(), &["--port", "0", "--host", "0.0.0.0"]);
    let output = command.output().unwrap();
    let mut lines = std::str::from_utf8(&output.stderr).unwrap().lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let said = lines.find(|line| line["code"] == "HUB_ERROR").unwrap();
    assert!(!output.status.success());
    let key = taken.join("mcp-hub/first-key").display().to_string();
    assert_eq!((&said["code"], &said["data"]["path"]), (&json!("HUB_ERROR"), &json!(key)));
    assert!(said["message"].as_str().unwrap().contains("XDG_STATE_HOME"), "{said}");
}

#[tokio::test]
async fn a_tenants_last_activity_follows_its_calls() {
    let (_hub, rest) = learned().await;
    let active = async |tenant: &str| get(&rest, &format!("/api/tenants/{tenant}")).await.1["last_activity"].as_str().unwrap().to_owned();
    let (mine, theirs) = (active("default").await, active("acme").await);
    let mut calls = 0;
    while active("default").await <= mine {
        calls += 1;
        assert!(calls < 10_000, "still {mine}");
        assert_eq!(ask(&rest, "/api/tools/math.add_tool", json!({"a": 1, "b": 2})).await.0, 200);
    }
    assert_eq!(active("acme").await, theirs);
}

#[tokio::test]
async fn what_exists_is_shown_in_the_published_shapes() {
    let (_hub, rest) = learned().await;
    let (_, root) = get(&rest, "/").await;
    assert_eq!((&root["name"], &root["status"]), (&json!("MCP Hub"), &json!("running")));
    let (status, health) = get(&rest, "/health").await;
    assert_eq!((status, &health["status"], &health["components"]["gateway"]), (200, &json!("healthy"), &json!(true)));
    assert_eq!((rest.get("/livez").await.status, rest.get("/readyz").await.status), (200, 200));

    let (_, servers) = get(&rest, "/api/servers").await;
    assert_eq!(servers["total"], 7);
    let named = |id: &str| servers["servers"].as_array().unwrap().iter().find(|server| server["server_id"] == id).unwrap();
    assert_eq!((&named("default:math")["status"], &named("default:math")["state"]), (&json!("connected"), &json!("RUNNING")));
    assert_eq!(named("default:math")["capabilities"]["tools"][0]["name"], "add_tool");
    assert_eq!((&named("default:byhand")["status"], &named("default:byhand")["start"]), (&json!("disconnected"), &json!("manual")));
    assert_eq!(named("default:off")["status"], "disabled");
    assert!(named("default:broken")["error"].is_string() || named("default:broken")["last_error"].is_string());

    let (_, health) = get(&rest, "/api/health").await;
    assert_eq!((&health["state"], &health["servers"].as_array().unwrap().len()), (&json!("ready"), &7));
    assert_eq!(health["mcpEndpoint"]["totalCapabilities"], 8);

    let (_, tools) = get(&rest, "/api/tools").await;
    assert_eq!(tools["total_tools"], 8);
    assert_eq!(tools["tools_by_server"]["default:math"], json!(["math.add_tool", "math.multiply_tool"]));
    let all = ["echo.echo_tool", "echo.reverse_tool", "math.add_tool", "math.multiply_tool", "own.echo_tool", "own.reverse_tool"];
    assert_eq!(tools["all_tools"], json!(all));

    let (_, tenants) = get(&rest, "/api/tenants").await;
    assert_eq!((&tenants["total"], &tenants["tenants"]["acme"]["total_tools"]), (&json!(2), &json!(4)));
    let (_, tenant) = get(&rest, "/api/tenants/default").await;
    assert_eq!((&tenant["total_servers"], &tenant["active_servers"], &tenant["is_active"]), (&json!(5), &json!(2), &json!(true)));
    let (_, tools) = get(&rest, "/api/tenants/acme/tools").await;
    assert_eq!((&tools["exists"], &tools["tools_by_server"]["own"][0]), (&json!(true), &json!("own.echo_tool")));

    let (_, mount) = get(&rest, "/math/mcp/tools").await;
    assert_eq!((&mount["server"], &mount["total"]), (&json!("math"), &json!(2)));
    assert_eq!(mount["tools"][0]["parameters"], mount["tools"][0]["inputSchema"]["properties"]);
    assert!(mount["tools"][0]["endpoint"].as_str().unwrap().ends_with("/math/mcp/call"));
    assert_eq!(get(&rest, "/math/mcp/health").await, (200, json!({"status": "healthy", "server": "math", "state": "RUNNING", "tools": 2})));
    assert_eq!(get(&rest, "/off/mcp/health").await.0, 503);
}

#[tokio::test]
async fn health_counts_all_that_servers_offer() {
    let offers = |words: &str| server::child(&format!("full --era handshake {words}"));
    let hub = hub::new()
        .server("one", offers("--prompts 2 --resources 3 --templates 1"))
        .tenant_server("acme", "two", offers("--prompts 1 --resources 0 --templates 4"))
        .run();
    let rest = client::rest(&hub);
    for server in ["one", "acme:two"] {
        assert_eq!(ask(&rest, "/api/servers/start", json!({"server_name": server})).await.0, 200, "{server}");
    }
    let counts = get(&rest, "/api/health").await.1["mcpEndpoint"].clone();
    let tools = get(&rest, "/api/tools").await.1["total_tools"].as_u64().unwrap();
    assert!(tools > 0);
    assert_eq!(counts["registeredCapabilities"], json!({"tools": tools, "resources": 3, "resourceTemplates": 5, "prompts": 3}));
    assert_eq!(counts["totalCapabilities"], tools + 11);
}

#[tokio::test]
async fn every_list_comes_in_pages_when_it_is_asked_to() {
    let (_hub, rest) = learned().await;
    // The key of what a list shows, in order.
    let shown = |list: &str, answer: &Value| -> Vec<String> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        match list {
            "/api/servers" => answer["servers"].as_array().unwrap().iter().map(|server| text(&server["server_id"])).collect(),
            "/api/tenants" => answer["tenants"].as_object().unwrap().keys().cloned().collect(),
            "/math/mcp/tools" => answer["tools"].as_array().unwrap().iter().map(|tool| text(&tool["name"])).collect(),
            _ => answer["all_tools"].as_array().unwrap().iter().map(text).collect(),
        }
    };
    for (list, total) in
        [("/api/servers", 7), ("/api/tenants", 2), ("/api/tools", 6), ("/api/tenants/acme/tools", 4), ("/math/mcp/tools", 2)]
    {
        let whole = get(&rest, list).await.1;
        assert_eq!((shown(list, &whole).len(), &whole["next_cursor"]), (total, &Value::Null), "{list}");
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let (status, page) = get(&rest, &format!("{list}?limit=1{cursor}")).await;
            assert_eq!((status, shown(list, &page).len()), (200, 1), "{list}{cursor}: {page}");
            seen.extend(shown(list, &page));
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(seen, shown(list, &whole), "{list}");
        let foreign = get(&rest, "/api/tenants?limit=1").await.1["next_cursor"].as_str().unwrap().to_owned();
        for (wrong, field) in
            [("limit=0", "limit"), ("limit=x", "limit"), ("cursor=zz", "cursor"), (&format!("cursor={foreign}"), "cursor")]
        {
            let (status, answer) = get(&rest, &format!("{list}?{wrong}")).await;
            if list != "/api/tenants" || !wrong.ends_with(&foreign) {
                assert_eq!(
                    (status, &answer["code"], &answer["data"]["field"]),
                    (400, &json!("VALIDATION_ERROR"), &json!(field)),
                    "{list}?{wrong}"
                );
            }
        }
    }
    let (_, page) = get(&rest, "/api/tools?limit=3").await;
    assert_eq!(page["tools_by_server"]["default:math"], json!(["math.add_tool"]), "as much of each server as the page shows");
    assert_eq!(page["total_tools"], 8);
}

#[tokio::test]
async fn servers_and_tenants_are_started_and_stopped() {
    let (_hub, rest) = learned().await;
    let (status, answer) = ask(&rest, "/api/servers/start", json!({"server_name": "byhand"})).await;
    assert_eq!((status, &answer["status"], &answer["server"]["state"]), (200, &json!("ok"), &json!("RUNNING")));
    assert_eq!(answer["server"]["capabilities"]["tools"].as_array().unwrap().len(), 2);
    let (_, answer) = ask(&rest, "/api/servers/stop", json!({"server_name": "byhand"})).await;
    assert_eq!((&answer["server"]["state"], &answer["server"]["status"]), (&json!("STOPPED"), &json!("disconnected")));

    let (_, answer) = ask(&rest, "/api/servers/stop?disable=true", json!({"server_name": "math"})).await;
    assert_eq!(answer["server"]["status"], "disabled");
    let (_, answer) = ask(&rest, "/api/tenants/default/start", json!({})).await;
    assert_eq!((&answer["servers_count"], &answer["failed"][0]["server"]), (&json!(3), &json!("broken")));
    assert_eq!(ask(&rest, "/api/servers/info", json!({"server_name": "math"})).await.1["server"]["status"], "disabled");
    let listed = get(&rest, "/api/tools").await.1;
    assert_eq!(listed["tools_by_server"]["default:math"], json!([]), "a disabled server lists nothing");
    let (status, answer) = ask(&rest, "/api/servers/start", json!({"server_name": "math"})).await;
    assert_eq!((status, &answer["server"]["status"]), (200, &json!("connected")));
    let listed = get(&rest, "/api/tools").await.1;
    assert_eq!(listed["tools_by_server"]["default:math"].as_array().unwrap().len(), 2);
    assert_eq!(ask(&rest, "/api/servers/refresh", json!({"server_name": "math"})).await.1["status"], "ok");

    assert_eq!(ask(&rest, "/api/servers/acme/own/stop", json!({})).await, (200, json!({"message": "Server 'own' stopped"})));
    let started = ask(&rest, "/api/servers/acme/own/start", json!({})).await;
    assert_eq!(started, (200, json!({"message": "Server 'own' started", "state": "RUNNING"})));
    assert_eq!(ask(&rest, "/api/tenants/acme/stop", json!({})).await.0, 200);
    assert_eq!(get(&rest, "/api/tenants/acme").await.1["active_servers"], 0);
    let (_, answer) = ask(&rest, "/api/tenants/acme/start", json!({})).await;
    assert_eq!((&answer["servers_count"], &answer["failed"]), (&json!(2), &json!([])));
    let (_, answer) = ask(&rest, "/api/tenants/default/start", json!({})).await;
    assert_eq!((&answer["servers_count"], &answer["failed"][0]["server"]), (&json!(4), &json!("broken")));
}

#[tokio::test]
async fn every_refusal_has_its_class_status_and_one_body() {
    let (_hub, rest) = learned().await;
    ask(&rest, "/api/servers/stop", json!({"server_name": "echo"})).await;
    ask(&rest, "/api/servers/stop?disable=true", json!({"server_name": "acme:own"})).await;
    let call = |server: &str, tool: &str| json!({"server_name": server, "tool": tool}).to_string();
    let json_type = ("content-type", "application/json");
    let text_type = ("content-type", "text/plain");
    for (verb, path, kind, body, status, code, said) in [
        ("POST", "/api/servers/info", json_type, "{", 400, "VALIDATION_ERROR", ""),
        ("POST", "/api/servers/info", json_type, "[]", 400, "VALIDATION_ERROR", ""),
        ("POST", "/api/servers/info", json_type, "", 400, "VALIDATION_ERROR", "Missing server name"),
        ("POST", "/api/servers/info", json_type, r#"{"server_name":1}"#, 400, "VALIDATION_ERROR", ""),
        ("POST", "/api/servers/math/tools", json_type, "{}", 400, "VALIDATION_ERROR", "Missing tool name"),
        ("POST", "/math/mcp/call", json_type, "{}", 400, "VALIDATION_ERROR", "Missing tool name"),
        ("POST", "/api/servers/math/tools", json_type, r#"{"tool":"x","arguments":[]}"#, 400, "VALIDATION_ERROR", ""),
        ("POST", "/api/tools/math.add_tool", json_type, r#"{},"x":{}"#, 400, "VALIDATION_ERROR", ""),
        ("POST", "/api/servers/stop?disable=maybe", json_type, r#"{"server_name":"math"}"#, 400, "VALIDATION_ERROR", ""),
        ("POST", "/api/servers/info", text_type, r#"{"server_name":"math"}"#, 415, "VALIDATION_ERROR", ""),
        ("GET", "/api/servers/info", json_type, "", 405, "VALIDATION_ERROR", ""),
        ("POST", "/api/servers", json_type, "{}", 405, "VALIDATION_ERROR", ""),
        ("GET", "/api/nothing", json_type, "", 404, "NOT_FOUND", ""),
        ("POST", "/api/servers/info", json_type, r#"{"server_name":"no"}"#, 404, "NOT_FOUND", "Server 'no' not found"),
        ("GET", "/api/servers/acme/math", json_type, "", 404, "NOT_FOUND", "Server 'math' not found"),
        ("GET", "/api/servers/nobody/math", json_type, "", 404, "NOT_FOUND", "Server 'math' not found"),
        ("GET", "/api/tenants/nobody", json_type, "", 404, "NOT_FOUND", "Tenant 'nobody' not found"),
        ("POST", "/api/tools/own.echo_tool?tenant_id=nobody", json_type, "{}", 404, "NOT_FOUND", "Tenant 'nobody' not found"),
        ("GET", "/api/mcp/health", json_type, "", 404, "NOT_FOUND", "Server 'api' not found"),
        ("POST", "/api/tools/no.tool/call", json_type, "{}", 404, "TOOL_ERROR", "Tool 'no.tool' not found"),
        ("POST", "/api/tools/own.echo_tool/call", json_type, "{}", 404, "TOOL_ERROR", "Tool 'own.echo_tool' not found"),
        ("POST", "/api/servers/tools", json_type, &call("math", "no"), 404, "TOOL_ERROR", "Tool 'no' not found on server 'math'"),
        ("POST", "/api/servers/tools", json_type, &call("echo", "echo_tool"), 503, "SERVER_ERROR", ""),
        ("POST", "/api/tools/echo.echo_tool", json_type, "{}", 503, "SERVER_ERROR", ""),
        ("POST", "/api/servers/tools", json_type, &call("off", "echo_tool"), 503, "SERVER_ERROR", ""),
        ("POST", "/api/servers/tools", json_type, &call("acme:own", "echo_tool"), 503, "SERVER_ERROR", ""),
        ("GET", "/t/acme/own/mcp/tools", json_type, "", 503, "SERVER_ERROR", ""),
        ("POST", "/api/servers/tools", json_type, &call("byhand", "echo_tool"), 503, "SERVER_ERROR", ""),
        ("POST", "/api/servers/tools", json_type, &call("broken", "x"), 503, "SERVER_ERROR", ""),
        ("POST", "/api/servers/start", json_type, r#"{"server_name":"broken"}"#, 503, "SERVER_ERROR", ""),
    ] {
        let answer = rest.send(verb, path, &[kind], body).await;
        let shown = answer.json();
        assert_eq!((answer.status, shown["code"].as_str()), (status, Some(code)), "{verb} {path} {body}: {shown}");
        assert_eq!(shown["error"], shown["message"], "{verb} {path}");
        assert!(said.is_empty() || shown["message"] == said, "{verb} {path}: {shown}");
        assert!(shown["data"].is_object() && shown["timestamp"].as_str().unwrap().ends_with('Z'), "{shown}");
        assert_eq!(answer.header("allow").is_some(), status == 405, "{verb} {path}");
    }
    let large = format!(r#"{{"server_name":"{}"}}"#, "x".repeat(5 << 20));
    let answer = rest.post("/api/servers/info", &[], &large).await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (413, Some("VALIDATION_ERROR")));
}

#[tokio::test]
async fn a_disabled_server_says_so_and_why_whoever_disabled_it() {
    let wrong = demo("echo").with("enabled", true).with("disabled", true);
    let hub = hub::new().server("asked", demo("echo")).server("off", demo("echo").with("enabled", false)).server("wrong", wrong).run();
    let rest = client::rest(&hub);
    assert_eq!(ask(&rest, "/api/servers/start", json!({"server_name": "asked"})).await.0, 200);
    assert_eq!(ask(&rest, "/api/servers/default/asked/stop?disable=true", json!({})).await.0, 200);
    for (name, says, starts) in [
        ("asked", "Server 'asked' was disabled by request; start it first", true),
        ("off", "Server 'off' is disabled in its file; set \"enabled\": true there", false),
        ("wrong", "Server 'wrong' is disabled: \"enabled\" and \"disabled\" contradict each other; remove one", false),
    ] {
        let own = json!({"server_name": name, "tool": "echo_tool", "uri": "a:b", "prompt": "p"});
        let mut answers = Vec::new();
        for path in ["/api/servers/tools", "/api/servers/resources", "/api/servers/prompts", "/api/servers/refresh"] {
            answers.push((path.to_owned(), ask(&rest, path, own.clone()).await));
        }
        let (call, tools) = (format!("/{name}/mcp/call"), format!("/{name}/mcp/tools"));
        answers.push((call.clone(), ask(&rest, &call, own.clone()).await));
        answers.push((tools.clone(), get(&rest, &tools).await));
        let started = ask(&rest, "/api/servers/start", own).await;
        match starts {
            true => assert_eq!(started.0, 200, "{started:?}"),
            false => answers.push(("/api/servers/start".into(), started)),
        }
        for (path, (status, answer)) in answers {
            assert_eq!(
                (status, &answer["code"], &answer["data"]["reason"]),
                (503, &json!("SERVER_ERROR"), &json!("disabled")),
                "{path}: {answer}"
            );
            assert_eq!(answer["message"], says, "{path}");
        }
    }
}

#[tokio::test]
async fn a_tenant_is_chosen_by_path_query_or_header() {
    let (_hub, rest) = learned().await;
    for (path, headers) in
        [("/api/tools/own.echo_tool/call?tenant_id=acme", &[][..]), ("/api/tools/own.echo_tool/call", &[("x-tenant-id", "acme")][..])]
    {
        let answer = rest.post(path, headers, r#"{"message":"hi"}"#).await;
        assert_eq!((answer.status, &answer.json()["result"]["structuredContent"]["result"]), (200, &json!("hi")), "{path}");
    }
    let (status, answer) = ask(&rest, "/t/acme/own/mcp/call", json!({"tool": "echo", "arguments": {"message": "hi"}})).await;
    assert_eq!((status, answer), (200, json!({"result": "hi"})));
    assert_eq!(get(&rest, "/api/servers?tenant_id=acme").await.1["total"], 2);
    assert_eq!(get(&rest, "/own/mcp/tools").await.0, 404);
    assert_eq!(get(&rest, "/t/default/acme:own/mcp/tools").await.0, 404, "the path and the name disagree");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_speak_to_a_running_hub() {
    let (hub, _rest) = learned().await;
    let run = |words: &[&str]| mcp_hub(&format!("http://{}", hub.address), words);
    let servers = stdout(&run(&["servers"]));
    assert!(servers.lines().any(|line| line.starts_with("math ") && line.contains("connected  ") && line.contains("RUNNING")), "{servers}");
    assert!(servers.contains("acme:own"), "{servers}");
    let tools = stdout(&run(&["tools"]));
    assert!(tools.contains("math.add_tool ") && tools.contains("acme:own.echo_tool "), "{tools}");
    assert!(stdout(&run(&["tools", "info", "math.add_tool"])).contains("\"number\""));
    assert_eq!(stdout(&run(&["call", "math.add_tool", "a=1", "b=2"])), "3\n");
    assert_eq!(stdout(&run(&["call", "acme:own.echo_tool", r#"{"message":"hi"}"#])), "hi\n");
    let raw = stdout(&run(&["call", "math.add_tool", "a=1", "b=2", "--json"]));
    assert_eq!(serde_json::from_str::<Value>(&raw).unwrap()["tool"], "math.add_tool");
    assert_eq!(stdout(&run(&["servers", "stop", "math"])), "math: disconnected (STOPPED), 2 tools\n");

    let reported = run(&["call", "echo.echo_tool", "message=1"]);
    assert_eq!(reported.status.code(), Some(1), "a failure that the tool reports");
    for (url, words, line) in [
        (format!("http://{}", hub.address), &["call", "no.tool"][..], "mcp-hub: Tool 'no.tool' not found\n"),
        (format!("http://{}", hub.address), &["servers", "info", "no"], "mcp-hub: Server 'no' not found\n"),
        (
            format!("http://{}", hub.address),
            &["servers", "stop", "own"],
            "mcp-hub: Server 'own' not found; there is one in another tenant: acme:own\n",
        ),
        (
            format!("http://{}", hub.address),
            &["servers", "info", "acme:math"],
            "mcp-hub: Server 'math' not found; there is one in another tenant: default:math\n",
        ),
        ("http://127.0.0.1:1".into(), &["servers"], "mcp-hub: no hub answers at http://127.0.0.1:1;"),
    ] {
        let failed = mcp_hub(&url, words);
        let said = String::from_utf8(failed.stderr).unwrap();
        assert_eq!((failed.status.code(), said.lines().count()), (Some(1), 1), "{said}");
        assert!(said.starts_with(line), "{said}");
        assert!(failed.stdout.is_empty());
    }
}

fn mcp_hub(url: &str, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mcp-hub")).args(words).env("MCP_HUB_URL", url).env_remove("MCP_HUB_KEY").output().unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}
