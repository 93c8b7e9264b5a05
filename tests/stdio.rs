//! The stdio door: first by itself, with pipes in memory, no server behind it and virtual time; then as the program that a desktop
//! host starts.

mod support;

use std::{path::Path, sync::Arc, time::Duration};

use mcp_hub::{
    access::Principal,
    bridge::seal::Sealer,
    catalog::{Catalog, Names},
    config::{Gateway, Settings, TenantSettings},
    downstream::stdio,
    hub::{Endpoint, Hub, Parts},
    limits::{self, Limits},
    name::TenantId,
    observe::Bus,
    upstream::Fleet,
};
use serde_json::{Value, json};
use support::{
    hub, server,
    talk::{Stdio, initialize, notice, request, stateless, text},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream, duplex},
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

/// A host and the door that serves it.
struct Host {
    stdin: DuplexStream,
    stdout: BufReader<DuplexStream>,
    served: JoinHandle<()>,
    stop: CancellationToken,
}

fn host_with(limits: Limits, pipe_bytes: usize) -> Host {
    let tenant = TenantId::default_tenant();
    let tenants = vec![TenantSettings { id: tenant.clone(), description: String::new(), enabled: true, servers: Vec::new() }];
    let settings = Settings {
        gateway: Gateway::default(),
        limits: limits.clone(),
        log_level: "info".into(),
        log_text: false,
        parallel_starts: 1,
        tenants,
        problems: Vec::new(),
        files: Vec::new(),
        digest: None,
    };
    let bus = Bus::default();
    let catalog = Arc::new(Catalog::new(60_000, [0; 32]));
    catalog.declare(&tenant, Vec::new());
    let fleet = Fleet::new(&settings, limits.clone(), bus.clone(), Arc::new(|_| {}), |_| None);
    let sealer = Sealer::new(&[7; 32], None);
    let hub = Hub::new(Parts { catalog, fleet, bus, limits, tenants: [tenant.clone()].into(), sealer });
    let endpoint = Arc::new(Endpoint::plain(tenant, None, Names::Safe));
    let (stdin, theirs) = duplex(pipe_bytes);
    let (stdout, ours) = duplex(pipe_bytes);
    let stop = CancellationToken::new();
    let served = tokio::spawn(stdio::serve(hub, endpoint, Principal::local_admin(), theirs, ours, stop.clone()));
    Host { stdin, stdout: BufReader::new(stdout), served, stop }
}

fn host() -> Host {
    host_with(Limits::default(), 1 << 20)
}

impl Host {
    async fn say(&mut self, text: &str) {
        self.stdin.write_all(format!("{text}\n").as_bytes()).await.unwrap();
    }

    async fn hear(&mut self) -> Value {
        let mut line = String::new();
        assert!(self.stdout.read_line(&mut line).await.unwrap() > 0, "stdout ended");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    async fn ask(&mut self, message: &Value) -> Value {
        self.say(&message.to_string()).await;
        let answer = self.hear().await;
        assert_eq!(answer["id"], message["id"], "{answer}");
        answer
    }

    /// Code and id of the error that this line gets.
    async fn refused(&mut self, line: &str) -> (i64, Option<Value>) {
        self.say(line).await;
        let answer = self.hear().await;
        (answer["error"]["code"].as_i64().unwrap_or_else(|| panic!("{answer}")), answer.get("id").cloned())
    }

    /// Ends stdin; what is still said, to the end.
    async fn finish(mut self) -> String {
        drop(self.stdin);
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).await.unwrap();
        self.served.await.unwrap();
        rest
    }
}

#[tokio::test]
async fn both_eras_share_the_pipe() {
    let mut host = host();
    assert_eq!(host.ask(&request(0, "ping", json!({}))).await["result"], json!({}), "ping needs no era");
    assert_eq!(host.refused(&request("a", "tools/list", json!({})).to_string()).await, (-32602, Some(json!("a"))));
    let found = host.ask(&stateless(1, "server/discover", json!({}))).await;
    assert_eq!(found["result"]["supportedVersions"], json!(["2026-07-28"]));
    assert_eq!(host.ask(&initialize(2, "2025-06-18")).await["result"]["protocolVersion"], "2025-06-18");
    host.say(&notice("notifications/initialized", json!({})).to_string()).await;
    assert_eq!(host.ask(&request(3, "tools/list", json!({}))).await["result"]["tools"], json!([]));
    let list = host.ask(&stateless(4, "tools/list", json!({}))).await;
    assert_eq!((&list["result"]["resultType"], &list["result"]["tools"]), (&json!("complete"), &json!([])));
    assert_eq!(host.refused(&initialize(5, "2025-06-18").to_string()).await, (-32600, Some(json!(5))));
    assert_eq!(host.refused(&stateless(6, "ping", json!({})).to_string()).await, (-32601, Some(json!(6))));
    assert_eq!(host.refused(&request(7, "own/method", json!({})).to_string()).await, (-32601, Some(json!(7))));
    assert_eq!(host.finish().await, "");
}

#[tokio::test]
async fn every_line_that_is_no_message_gets_its_code_and_the_pipe_goes_on() {
    let mut host = host_with(Limits { body_bytes: 100, ..Limits::default() }, 1 << 20);
    for (line, code, id) in [
        ("{", -32700, None),
        ("hello", -32700, None),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"} x", -32700, None),
        ("[]", -32600, None),
        ("[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}]", -32600, None),
        ("1", -32600, None),
        ("{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"ping\"}", -32600, Some(json!(1))),
        ("{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"ping\"}", -32600, None),
        ("{\"jsonrpc\":\"2.0\",\"id\":1.5,\"method\":\"ping\"}", -32600, None),
        (&"x".repeat(101), -32600, None),
        (&"x".repeat(100_000), -32600, None),
    ] {
        assert_eq!(host.refused(line).await, (code, id), "{line:.80}");
    }
    for silent in ["", "  ", "\r", r#"{"jsonrpc":"2.0","method":"notifications/what"}"#, r#"{"jsonrpc":"2.0","id":9,"result":{}}"#] {
        host.say(silent).await;
    }
    host.say(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":77}}"#).await;
    assert_eq!(host.ask(&request("still here", "ping", json!({}))).await["result"], json!({}));
    host.stdin.write_all(b"\xff\xfe\n").await.unwrap();
    assert_eq!(host.hear().await["error"]["code"], -32700);
}

#[tokio::test]
async fn batches_belong_to_2025_03_26_and_are_answered_one_by_one() {
    let mut host = host();
    host.ask(&initialize(0, "2025-03-26")).await;
    let batch = json!([
        request(1, "ping", json!({})),
        notice("notifications/x", json!({})),
        7,
        initialize(2, "2025-03-26"),
        stateless(3, "server/discover", json!({}))
    ]);
    host.say(&batch.to_string()).await;
    assert_eq!(host.hear().await, json!({"jsonrpc": "2.0", "id": 1, "result": {}}));
    for id in [None, Some(json!(2)), Some(json!(3))] {
        let refused = host.hear().await;
        assert_eq!((&refused["error"]["code"], refused.get("id").cloned()), (&json!(-32600), id));
    }
    assert_eq!(host.refused("[]").await, (-32600, None));
    let long = vec![request(1, "ping", json!({})); limits::BATCH_MAX + 1];
    assert_eq!(host.refused(&json!(long).to_string()).await, (-32600, None));

    let mut host = self::host();
    host.ask(&initialize(0, "2025-06-18")).await;
    assert_eq!(host.refused(&batch.to_string()).await, (-32600, None));
}

#[tokio::test]
async fn the_end_of_stdin_ends_the_door_when_all_is_answered() {
    let mut host = host();
    let line = request(1, "ping", json!({})).to_string();
    host.stdin.write_all(format!("{line}\n{line}").as_bytes()).await.unwrap();
    let answer = json!({"jsonrpc": "2.0", "id": 1, "result": {}}).to_string();
    let rest = host.finish().await;
    assert_eq!(rest.lines().map(|line| serde_json::from_str::<Value>(line).unwrap().to_string()).collect::<Vec<_>>(), [&*answer, &*answer]);
}

#[tokio::test]
async fn a_stop_and_a_closed_stdout_end_the_door() {
    let mut stopped = host();
    stopped.ask(&request(1, "ping", json!({}))).await;
    stopped.stop.cancel();
    stopped.served.await.unwrap();

    let mut left = host();
    drop(left.stdout);
    left.stdin.write_all(format!("{}\n", request(1, "ping", json!({}))).as_bytes()).await.unwrap();
    left.served.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_host_that_reads_nothing_is_not_read_from_and_loses_nothing() {
    const PINGS: usize = 20_000;
    let host = host_with(Limits::default(), 4 << 10);
    let Host { mut stdin, stdout, served, .. } = host;
    let line = format!("{}\n", request(1, "ping", json!({})));
    let mut asked = 0;
    // The clock moves only when nobody can go on.
    while let Ok(written) = timeout(Duration::from_secs(1), stdin.write_all(line.as_bytes())).await {
        written.unwrap();
        asked += 1;
        assert!(asked < PINGS, "a host that never reads can make the hub hold {PINGS} answers");
    }
    // That write went out in part; what is left of it is of no matter to the lines before.
    let reading = tokio::spawn(async move {
        let mut lines = stdout.lines();
        let mut answers = 0;
        while let Some(line) = lines.next_line().await.unwrap() {
            answers += usize::from(serde_json::from_str::<Value>(&line).unwrap()["result"] == json!({}));
        }
        answers
    });
    drop(stdin);
    served.await.unwrap();
    let answers = reading.await.unwrap();
    assert!((asked..=asked + 1).contains(&answers), "{asked} asked, {answers} answered");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_never_reads_does_not_keep_the_hub_when_stdin_ends() {
    let mut host = host_with(Limits::default(), 64);
    host.say(&request(1, "ping", json!({})).to_string()).await;
    for _ in 0..3 {
        let _ = timeout(Duration::from_secs(1), host.say(&request(1, "ping", json!({})).to_string())).await;
    }
    drop(host.stdin);
    let start = Instant::now();
    host.served.await.unwrap();
    assert_eq!(start.elapsed(), limits::PIPE_END);
}

fn program(dir: &Path) -> Stdio {
    let demo = server::program("${mcpHub}", &["demo", "math"]);
    Stdio::spawn(hub::new().server("s", server::child("echo")).server("math", demo).command(dir, &["stdio"]))
}

fn call(id: impl Into<Value>, tool: &str, arguments: Value) -> Value {
    stateless(id, "tools/call", json!({"name": tool, "arguments": arguments}))
}

#[tokio::test]
async fn a_probe_and_a_handshake_start_no_server() {
    let dir = tempfile::tempdir().unwrap();
    let mut stdio = program(dir.path());
    stdio.ask(&stateless(1, "server/discover", json!({}))).await;
    let hello = stdio.ask(&initialize(2, "2025-11-25")).await;
    assert_eq!(hello["result"]["serverInfo"]["name"], "mcp-hub");
    stdio.say(&notice("notifications/initialized", json!({})));
    stdio.ask(&request(3, "ping", json!({}))).await;
    assert_eq!(hub::descendants(stdio.pid()), [0; 0]);
    let (rest, status) = stdio.finish().await;
    assert!(rest.is_empty() && status.success(), "{rest:?} {status}");
}

#[tokio::test]
async fn a_host_sees_every_tool_under_safe_names_and_calls_many_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut stdio = program(dir.path());
    stdio.ask(&initialize(0, "2025-06-18")).await;
    let list = stdio.ask(&request(1, "tools/list", json!({}))).await;
    let names: Vec<_> = list["result"]["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"s__echo") && names.contains(&"math__add_tool"), "{names:?}");

    stdio.say(&call("slow", "s__slow", json!({"ms": 200})));
    let calls: String = (0..200).map(|n| format!("{}\n", call(n, "s__echo", json!({"text": n.to_string()})))).collect();
    stdio.say_bytes(calls.as_bytes());
    for n in 0..200 {
        let answer = stdio.heard.answer(n).await;
        assert_eq!(text(&answer), n.to_string());
    }
    assert_eq!(text(&stdio.heard.answer("slow").await), "slept");
    assert_eq!(stdio.ask(&call(1, "s.echo", json!({"text": "dotted"}))).await["result"]["content"][0]["text"], "dotted");
    let (rest, status) = stdio.finish().await;
    let is_list_change = |message: &Value| message["method"] == "notifications/tools/list_changed";
    assert!(rest.iter().all(is_list_change) && status.success(), "{rest:?} {status}");
}

#[tokio::test]
async fn progress_cancellation_and_list_changes_pass_through() {
    let dir = tempfile::tempdir().unwrap();
    let mut stdio = program(dir.path());
    stdio.ask(&initialize(0, "2025-06-18")).await;
    let params = json!({"name": "s__progress", "arguments": {"steps": 2}, "_meta": {"progressToken": 5}});
    stdio.say(&request(1, "tools/call", params));
    for step in 1..=2 {
        let note = stdio.heard.pick(|message| message["method"] == "notifications/progress").await;
        assert_eq!(note["params"], json!({"progressToken": 5, "progress": step, "total": 2}));
    }
    assert_eq!(text(&stdio.heard.answer(1).await), "done");

    stdio.say(&request(2, "tools/call", json!({"name": "s__never", "arguments": {}})));
    stdio.ask(&request(3, "tools/call", json!({"name": "s__echo", "arguments": {}}))).await;
    stdio.say(&notice("notifications/cancelled", json!({"requestId": 2})));
    for id in 100.. {
        let answer = stdio.ask(&request(id, "tools/call", json!({"name": "s__cancellations", "arguments": {}}))).await;
        if text(&answer) == "1" {
            break;
        }
    }
    stdio.ask(&request(4, "tools/call", json!({"name": "s__grow", "arguments": {}}))).await;
    stdio.heard.pick(|message| message["method"] == "notifications/tools/list_changed").await;
    let (rest, _) = stdio.finish().await;
    assert!(rest.iter().all(|message| message["id"] != 2), "a cancelled call has no answer: {rest:?}");
}

#[tokio::test]
async fn the_end_of_stdin_waits_for_answers_but_not_for_ever_and_leaves_no_process() {
    let dir = tempfile::tempdir().unwrap();
    let mut stdio = program(dir.path());
    let pid = text(&stdio.ask(&call(0, "s__pid", json!({}))).await).parse().unwrap();
    stdio.say(&call(1, "s__slow", json!({"ms": 300})));
    stdio.say(&call(2, "s__never", json!({})));
    let (rest, status) = stdio.finish().await;
    assert_eq!(rest.len(), 2, "{rest:?}");
    assert_eq!((&rest[0]["id"], text(&rest[0])), (&json!(1), "slept"));
    assert_eq!((&rest[1]["id"], &rest[1]["error"]["data"]["reason"]), (&json!(2), &json!("cancelled")));
    assert!(status.success(), "{status}");
    assert!(!hub::is_running(pid), "the server outlived the hub");
}

#[tokio::test]
async fn a_signal_ends_a_hub_whose_host_keeps_stdin_open() {
    let dir = tempfile::tempdir().unwrap();
    let mut stdio = program(dir.path());
    stdio.ask(&call(0, "s__echo", json!({}))).await;
    let start = std::time::Instant::now();
    stdio.terminate();
    let rest = stdio.heard.rest().await;
    assert!(rest.iter().all(|message| message.get("id").is_none()), "{rest:?}");
    assert!(start.elapsed() < limits::PIPE_DRAIN, "nothing was under way");
    let (_, status) = stdio.finish().await;
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn a_signal_leaves_the_calls_under_way_a_moment_and_says_what_became_of_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("go");
    let mut stdio = program(dir.path());
    stdio.say(&call(1, "s__hold", json!({"file": file})));
    stdio.say(&call(2, "s__never", json!({})));
    stdio.ask(&call(3, "s__await", json!({"name": "hold"}))).await;
    stdio.ask(&call(4, "s__await", json!({"name": "never"}))).await;
    stdio.terminate();
    // From here on new requests are refused.
    for id in 100.. {
        let answer = stdio.ask(&call(id, "s__echo", json!({}))).await;
        if answer["error"]["data"]["reason"] == "shutting_down" {
            break;
        }
    }
    std::fs::write(&file, "").unwrap();
    assert_eq!(text(&stdio.heard.answer(1).await), "let go");
    let given_up = stdio.heard.answer(2).await;
    assert_eq!(given_up["error"]["data"], json!({"origin": "hub", "reason": "cancelled", "retryable": false}), "{given_up}");
    let (rest, status) = stdio.ended().await;
    assert!(rest.iter().all(|message| message.get("id").is_none()) && status.success(), "{rest:?} {status}");
}
