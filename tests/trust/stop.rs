//! The end of a hub, and the beginnings that must not be: calls are finished, no process is left, one bad thing hurts nothing else.

use std::{
    net::TcpListener,
    process::{Output, Stdio},
    time::{Duration, Instant},
};

use http_body_util::Full;
use hyper::Request;
use mcp_hub::limits;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    both, server as shown,
    support::{Client, Hub, client, hub, hub::is_running, server},
    wire::Wire,
    within,
};

/// Far below the 30 s that a drain may take.
const AT_ONCE: Duration = Duration::from_secs(15);

/// SIGTERM; returns when the hub says that it drains.
async fn drain(hub: &Hub) {
    hub.signal(Signal::TERM);
    // One that connects in the moment of the signal may find its connection closed.
    while within(ready(hub)).await.is_none_or(|status| status == 200) {}
    let answer = client::rest(hub).get("/readyz").await;
    assert_eq!((answer.status, &answer.json()["data"]["reason"]), (503, &json!("shutting_down")));
}

async fn ready(hub: &Hub) -> Option<u16> {
    let request = Request::get("/readyz").header("host", "localhost").body(Full::default()).unwrap();
    let answer = client::connect(hub.address).await.send_request(request).await.ok()?;
    Some(answer.status().as_u16())
}

fn assert_gone(pids: &[u32]) {
    for pid in pids {
        assert!(!is_running(*pid), "{pid} is left");
    }
}

/// A call of `server.never` that has arrived at its server.
async fn never(hub: &Hub, client: &Client, server: &str) -> Wire {
    let mut wire = Wire::connect(hub, "/mcp", client, &format!("{server}.never"), "text").await;
    wire.send(1, "").await;
    within(client.text(&format!("{server}.await"), json!({"name": "never"}))).await;
    wire
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_told_to_stop_finishes_its_calls_takes_no_more_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("go").display().to_string();
    let mut hub = hub::new().server("a", server::child("").boot()).server("b", server::child("").boot()).run();
    let mut wires = Vec::new();
    for client in &both(&hub, "/mcp").await {
        let mut wire = Wire::connect(&hub, "/mcp", client, "a.hold", "file").await;
        wire.send(1, &file).await;
        wires.push(wire);
    }
    let client = client::stateless(&hub);
    within(client.text("a.await", json!({"name": "hold", "count": 2}))).await;
    let grandchild: u32 = client.text("b.fork", json!({})).await.parse().unwrap();
    let mut pids = hub.descendants();
    assert!(pids.len() == 3 && pids.contains(&grandchild), "{pids:?}");

    drain(&hub).await;
    let live = client::rest(&hub).get("/livez").await;
    assert_eq!(live.status, 200, "it still lives");
    let refused = client.beside().ask_with(&json!(1), "tools/call", json!({"name": "a.echo", "arguments": {"text": ""}})).await;
    assert_eq!((refused.status, &refused.json()["code"]), (503, &json!("HUB_ERROR")), "{:?}", refused.body);
    std::fs::write(&file, "").unwrap();
    for wire in &mut wires {
        let message = within(wire.answer()).await;
        assert_eq!((&message["id"], &message["result"]["content"][0]["text"]), (&json!(1), &json!("let go")), "{message}");
    }
    pids.push(hub.pid());
    assert_eq!(hub.wait().code(), Some(0));
    assert_gone(&pids);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_connects_to_a_hub_that_drains_and_says_nothing_does_not_keep_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("go").display().to_string();
    let mut hub = hub::new().server("a", server::child("").boot()).run();
    let client = client::stateless(&hub);
    let mut wire = Wire::connect(&hub, "/mcp", &client, "a.hold", "file").await;
    wire.send(1, &file).await;
    within(client.text("a.await", json!({"name": "hold"}))).await;
    drain(&hub).await;
    let _silent = tokio::net::TcpStream::connect(hub.address).await.unwrap();
    let mut half = tokio::net::TcpStream::connect(hub.address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut half, b"POST /mcp HTT").await.unwrap();
    // Those two were accepted before this one.
    assert_eq!(client::rest(&hub).get("/livez").await.status, 200);
    let told = Instant::now();
    std::fs::write(&file, "").unwrap();
    within(wire.answer()).await;
    assert_eq!(hub.wait().code(), Some(0));
    assert!(told.elapsed() < limits::FIRST_BYTE, "{:?}", told.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_twice_a_hub_stops_at_once() {
    let mut hub = hub::new().server("a", server::child("").boot()).server("s", server::child("ignore-term").boot()).run();
    let client = client::stateless(&hub);
    let _wires = [never(&hub, &client, "a").await, never(&hub, &client, "s").await];
    let pids = hub.descendants();
    assert_eq!(pids.len(), 2);
    let told = Instant::now();
    drain(&hub).await;
    hub.signal(Signal::TERM);
    assert_eq!(hub.wait().code(), Some(0));
    assert!(told.elapsed() < AT_ONCE, "{:?}", told.elapsed());
    assert_gone(&pids);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stubborn_child_does_not_keep_the_hub_from_its_end() {
    let stubborn = server::child("ignore-term").boot().with("timeouts", json!({"stop": 0.5}));
    let hub = hub::new().server("s", stubborn).run();
    let client = client::stateless(&hub);
    within(client.text("s.fork", json!({}))).await;
    let pids = hub.descendants();
    assert_eq!(pids.len(), 2);
    let told = Instant::now();
    assert_eq!(hub.terminate().code(), Some(0));
    assert!(told.elapsed() < AT_ONCE, "{:?}", told.elapsed());
    assert_gone(&pids);
}

fn output(mut hub: std::process::Command) -> Output {
    hub.stdin(Stdio::null()).output().unwrap()
}

#[test]
fn a_port_that_is_taken_is_one_error_line_and_starts_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let trace = dir.path().join("started");
    let hub = hub::new().server("toucher", server::program("touch", &[trace.to_str().unwrap()]).boot());
    let ended = output(hub.command(dir.path(), &["--port", &port.to_string()]));
    assert_eq!(ended.status.code(), Some(1));
    let errors = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(errors.lines().count(), 1, "{errors}");
    let line: Value = serde_json::from_str(&errors).unwrap();
    assert_eq!((&line["type"], &line["code"]), (&json!("error"), &json!("HTTP_SERVER_ERROR")), "{line}");
    assert_eq!((&line["data"]["port"], &line["data"]["error"]), (&json!(port), &json!("EADDRINUSE")), "{line}");
    assert_eq!(String::from_utf8(ended.stdout).unwrap(), "");
    assert!(!trace.exists());
}

#[tokio::test]
async fn a_bad_entry_disables_only_itself() {
    let hub = hub::new()
        .server("good", server::child("").boot())
        .server("nothing", server::child("").with("command", Value::Null).boot())
        .server("number", server::child("").with("command", 7).boot())
        .server("nowhere", server::program("/does/not/exist", &[]).boot().with("restart", json!({"max_retries": 0})))
        .server("variable", server::child("${MCP_HUB_TEST_MISSING}").boot().with("restart", json!({"max_retries": 0})))
        .run();
    let rest = client::rest(&hub);
    for client in &both(&hub, "/mcp").await {
        assert_eq!(client.text("good.echo", json!({"text": "x"})).await, "x");
        assert!(client.tools().await.iter().all(|tool| tool.starts_with("good.")));
    }
    for (name, status, said) in [
        ("good", "connected", ""),
        ("nothing", "disabled", "command"),
        ("number", "disabled", "command"),
        ("nowhere", "disconnected", "cannot be run"),
        ("variable", "disconnected", "Variable 'MCP_HUB_TEST_MISSING' not found"),
    ] {
        let server = shown(&rest, name).await;
        assert_eq!(server["status"], status, "{server}");
        assert!(server["error"].as_str().unwrap_or_default().contains(said), "{server}");
        assert_eq!(server["error"].is_null(), said.is_empty(), "{server}");
    }
    assert_eq!(rest.get("/health").await.json()["status"], "healthy");
}
