//! How many processes there are, for whom, and when they run.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{
    HANDSHAKE, both, error, order, server as shown,
    support::{Client, client, hub, server},
    within,
};

async fn pid(client: &Client, server: &str) -> String {
    within(client.text(&format!("{server}.pid"), json!({}))).await
}

#[tokio::test]
async fn sixty_four_sessions_on_ten_shared_servers_are_ten_children() {
    let names: Vec<String> = (0..10).map(|n| format!("s{n}")).collect();
    let hub = names.iter().fold(hub::new(), |hub, name| hub.server(name, server::child(""))).run();
    let sessions = join_all((0..64).map(|_| client::session(&hub, HANDSHAKE))).await;
    assert_eq!(hub.descendants(), [0; 0]);
    let pids = join_all(sessions.iter().map(async |session| join_all(names.iter().map(|name| pid(session, name))).await)).await;
    for one in &pids {
        assert_eq!(*one, pids[0], "everybody meets the same children");
    }
    let children: BTreeSet<_> = hub.descendants().iter().map(u32::to_string).collect();
    assert_eq!(children, pids[0].iter().cloned().collect());
    assert_eq!(children.len(), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_scope_has_its_own_number_of_processes() {
    let scopes = [("shared", 1), ("user", 1), ("session", 4)];
    let mut hub = scopes.iter().fold(hub::new(), |hub, (scope, _)| hub.server(scope, server::child("").scope(scope))).run();
    let rest = client::rest(&hub);
    let sessions = join_all((0..3).map(|_| client::session(&hub, HANDSHAKE))).await;
    // Without a session they are one user, however many they are.
    let stateless = [client::stateless(&hub), client::stateless(&hub)];
    for (scope, _) in scopes {
        order(&rest, "stop", scope).await;
    }
    for (scope, expected) in scopes {
        order(&rest, "start", scope).await;
        let mut pids = BTreeSet::new();
        for client in sessions.iter().chain(&stateless) {
            let first = pid(client, scope).await;
            assert_eq!(pid(client, scope).await, first, "{scope}");
            pids.insert(first);
        }
        assert_eq!(pids.len(), expected, "{scope}");
        assert_eq!(hub.descendants().len(), expected, "{scope}");
        if scope != "session" {
            order(&rest, "stop", scope).await;
            assert_eq!(hub.descendants(), [0; 0], "{scope}");
        }
    }
    let gone: u32 = pid(&sessions[0], "session").await.parse().unwrap();
    let id = ("mcp-session-id", sessions[0].session_id().unwrap());
    assert_eq!(sessions[0].send("DELETE", "/mcp", &[id], "").await.status, 204);
    hub.line(|line| line["message"] == "ended" && line["data"]["pid"] == gone);
    assert_eq!(hub.descendants().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_for_one_call_goes_with_it() {
    let mut hub = hub::new().server("call", server::child("").scope("call")).run();
    let mut pids = BTreeSet::new();
    for client in &both(&hub, "/mcp").await {
        pids.extend([pid(client, "call").await, pid(client, "call").await]);
    }
    assert_eq!(pids.len(), 4);
    while !pids.is_empty() {
        let ended = hub.line(|line| line["message"] == "ended");
        pids.remove(&ended["data"]["pid"].to_string());
    }
    assert_eq!(hub.descendants(), [0; 0]);
}

#[tokio::test]
async fn a_server_starts_when_its_entry_says_and_a_stop_by_request_holds() {
    let hub =
        ["boot", "demand", "manual"].into_iter().fold(hub::new(), |hub, start| hub.server(start, server::child("").with("start", start)));
    let hub = hub.run();
    let rest = client::rest(&hub);
    assert_eq!(hub.descendants().len(), 1);
    // Its own endpoint concerns no other server, though others are not known yet.
    for client in &both(&hub, "/boot/mcp").await {
        assert!(client.tools().await.contains(&"pid".to_owned()));
        let boot = client.text("pid", json!({})).await;
        assert_eq!(hub.descendants(), [boot.parse::<u32>().unwrap()]);
    }

    // None of these starts anything.
    let [stateless, session] = both(&hub, "/mcp").await;
    assert!(stateless.ask("server/discover", json!({})).await.json()["result"].is_object());
    assert_eq!(rest.get("/health").await.status, 200);
    assert_eq!(rest.get("/readyz").await.status, 200);
    assert_eq!(hub.descendants().len(), 1);

    // A list starts what may be started and is not known.
    let tools = session.tools().await;
    let has = |server: &str| tools.contains(&format!("{server}.echo"));
    assert_eq!((has("boot"), has("demand"), has("manual")), (true, true, false));
    assert_eq!(hub.descendants().len(), 2);
    assert_eq!(shown(&rest, "manual").await["state"], "STOPPED");
    let stopped = error(&session, "manual.echo").await;
    assert_eq!((&stopped["code"], &stopped["data"]["reason"]), (&json!(-32603), &json!("stopped")), "nobody started it");

    order(&rest, "start", "manual").await;
    pid(&session, "manual").await;
    assert_eq!(hub.descendants().len(), 3);

    for name in ["boot", "demand", "manual"] {
        order(&rest, "stop", name).await;
        let tool = format!("{name}.echo");
        for client in [&stateless, &session] {
            let refused = error(client, &tool).await;
            assert_eq!((&refused["code"], &refused["data"]["reason"]), (&json!(-32603), &json!("stopped")), "{refused}");
            assert!(client.tools().await.contains(&tool));
        }
        assert_eq!(shown(&rest, name).await["state"], "STOPPED");
    }
    assert_eq!(hub.descendants(), [0; 0]);
    for name in ["boot", "demand", "manual"] {
        order(&rest, "start", name).await;
        pid(&session, name).await;
    }
    assert_eq!(hub.descendants().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_child_is_stopped_its_tools_stay_listed_and_a_call_starts_it_again() {
    let pool = json!({"scope": "shared", "idle_stop": 0.2});
    let mut hub = hub::new().server("idle", server::child("").with("pool", pool)).run();
    let client = client::stateless(&hub);
    let first = pid(&client, "idle").await;
    let ended = hub.line(|line| line["message"] == "ended");
    assert_eq!((ended["data"]["why"].as_str(), ended["data"]["pid"].to_string()), (Some("idle"), first.clone()));
    assert_eq!(hub.descendants(), [0; 0]);
    assert!(client.tools().await.contains(&"idle.pid".to_owned()));
    assert_eq!(hub.descendants(), [0; 0]);
    assert_ne!(pid(&client, "idle").await, first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_earlier_run_learned_is_listed_before_anything_runs() {
    let state = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..20).map(|n| format!("s{n}")).collect();
    let run = || names.iter().fold(hub::new(), |hub, name| hub.server(name, server::child(""))).state(state.path()).run();
    let hub = run();
    let rest = client::rest(&hub);
    for name in &names {
        order(&rest, "start", name).await;
    }
    let learned = within(async {
        loop {
            let tools = client::stateless(&hub).tools().await;
            if names.iter().all(|name| tools.contains(&format!("{name}.pid"))) {
                return tools;
            }
        }
    })
    .await;
    assert!(hub.terminate().success());

    let hub = run();
    for client in &both(&hub, "/mcp").await {
        assert_eq!(client.tools().await, learned);
    }
    let offered: Value = client::rest(&hub).get("/api/tools").await.json();
    assert_eq!(offered["total_tools"], learned.len());
    assert_eq!(hub.descendants(), [0; 0]);
    pid(&client::stateless(&hub), "s7").await;
    assert_eq!(hub.descendants().len(), 1);
}

#[tokio::test]
async fn why_a_server_ended_is_told_with_its_status_and_last_words_and_without_secrets() {
    let secretive = |script: &str| server::program("sh", &["-c", script, "sh"]).with("env", json!({"GIVEN": "${SEKRIT}"}));
    let hub = hub::new()
        .server("early", secretive("echo \"error: no $GIVEN\" >&2; exit 4").with("restart", json!({"wait": 30})))
        .server("late", server::child("").with("restart", json!({"wait": 30})))
        .variable("SEKRIT", "zq9secretzq9");
    let mut hub = hub.run();
    let rest = client::rest(&hub);
    rest.get("/api/servers").await;
    let told = "exited (status 4) during the handshake: error: no ***";
    let failed = hub.line(|line| line["message"] == "start failed");
    assert_eq!((&failed["type"], &failed["data"]["error"]), (&json!("warn"), &json!(told)));
    let early = shown(&rest, "early").await;
    assert_eq!((&early["error"], &early["last_error"]), (&json!(told), &json!(told)));

    let client = client::stateless(&hub);
    client.ask("tools/call", json!({"name": "late.crash", "arguments": {"status": 7}})).await;
    let told = "exited with status 7; last on stderr: crash, as asked";
    let ended = hub.line(|line| line["message"] == "ended");
    assert_eq!((&ended["type"], &ended["data"]["why"]), (&json!("warn"), &json!(told)));
    assert_eq!(shown(&rest, "late").await["last_error"], told);
    assert!(!rest.get("/api/health").await.json().to_string().contains("zq9"));
}

#[tokio::test]
async fn a_list_does_not_wait_again_for_a_server_that_cannot_start_and_shows_why_and_when_it_is_tried_again() {
    let mut hub = hub::new().server("exits", server::child("exit-at-start").with("restart", json!({"wait": 30}))).run();
    let rest = client::rest(&hub);
    rest.get("/api/servers").await;
    hub.line(|line| line["message"] == "start failed");
    for _ in 0..3 {
        let listed = rest.get("/api/servers").await.json();
        let shown = &listed["servers"][0];
        assert_eq!(
            (&shown["state"], &shown["error"]),
            (&json!("CRASHED"), &json!("exited (status 3) during the handshake: exit-at-start")),
            "{shown}"
        );
        assert_eq!((&shown["status"], &shown["retry"]["attempts"]), (&json!("connecting"), &json!(1)), "{shown}");
    }
    let body = json!({"server_name": "exits", "tool": "echo"}).to_string();
    let refused = rest.post("/api/servers/tools", &[], &body).await;
    assert_eq!((refused.status, &refused.json()["data"]["reason"]), (503, &json!("start_failed")));
    assert!(
        refused.json()["error"].as_str().unwrap().contains("exited (status 3) during the handshake: exit-at-start"),
        "{:?}",
        refused.body
    );
}
