//! Several processes of `mcp-hub stdio` on one machine: one of them, or `mcp-hub serve`, is the hub of all, and the others take its place
//! when it goes.

mod support;

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use mcp_hub::limits::{self, Limits};
use serde_json::{Value, json};
use support::{
    hub::{self, Builder},
    server,
    talk::{Stdio, initialize, meta, notice, request, stateless, text},
};

fn scene() -> (tempfile::TempDir, Builder) {
    (tempfile::tempdir().unwrap(), hub::new().server("s", server::child("full")))
}

fn editor(dir: &Path, builder: &Builder) -> Stdio {
    Stdio::spawn(builder.command(dir, &["stdio"]))
}

fn call(id: impl Into<Value>, tool: &str, arguments: Value) -> Value {
    stateless(id, "tools/call", json!({"name": format!("s__{tool}"), "arguments": arguments}))
}

/// Of the server that its calls reach.
async fn server_of(editor: &mut Stdio) -> u32 {
    text(&editor.ask(&call("pid", "pid", json!({}))).await).parse().unwrap()
}

/// What a client of the handshake era begins with.
async fn greet(editor: &mut Stdio, capabilities: Value) {
    let mut hello = initialize("hello", "2025-06-18");
    hello["params"]["capabilities"] = capabilities;
    let answer = editor.ask(&hello).await;
    assert_eq!(answer["result"]["protocolVersion"], "2025-06-18", "{answer}");
    editor.say(&notice("notifications/initialized", json!({})));
}

/// Ends well, and has nothing more to say but that lists changed.
async fn leave(editor: Stdio) {
    let (rest, status) = editor.finish().await;
    let is_news = |message: &Value| message["method"].as_str().is_some_and(|method| method.ends_with("list_changed"));
    assert!(status.success() && rest.iter().all(is_news), "{status} {rest:?}");
}

fn socket_files(dir: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(dir.join("state/mcp-hub/local")).unwrap();
    files.map(|file| file.unwrap().path()).collect()
}

#[tokio::test]
async fn editors_share_one_server_and_the_last_to_leave_ends_it() {
    let (dir, builder) = scene();
    let mut first = editor(dir.path(), &builder);
    let pid = server_of(&mut first).await;
    let mut second = Stdio::spawn(builder.command(dir.path(), &["stdio", "--names", "dotted", "--server", "s"]));
    let own = second.ask(&stateless(1, "tools/call", json!({"name": "pid", "arguments": {}}))).await;
    assert_eq!(text(&own), pid.to_string());
    assert_eq!((hub::descendants(first.pid()), hub::descendants(second.pid())), (vec![pid], vec![]));

    // The first editor goes, its hub stays for the other.
    first.close_stdin();
    for id in 2..20 {
        assert_eq!(text(&second.ask(&stateless(id, "tools/call", json!({"name": "echo", "arguments": {"text": "x"}}))).await), "x");
    }
    assert!(hub::is_running(first.pid()));
    leave(second).await;
    leave(first).await;
    assert!(!hub::is_running(pid), "the server outlived its last client");
    assert_eq!(socket_files(dir.path()), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn who_would_get_something_else_has_a_hub_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let with = |variables: &[(&str, &str)]| {
        let server = server::child("").with("env", json!({"TOKEN": "${TOKEN:-none}"}));
        variables.iter().fold(hub::new().server("s", server), |builder, (name, value)| builder.variable(name, value))
    };
    let mut first = editor(dir.path(), &with(&[("TOKEN", "a"), ("TERM", "one")]));
    let shared = server_of(&mut first).await;

    let mut same = editor(dir.path(), &with(&[("TOKEN", "a"), ("TERM", "two"), ("UNRELATED", "x")]));
    assert_eq!(server_of(&mut same).await, shared, "nothing that matters differs");
    leave(same).await;

    let config = with(&[]).setting("auto_start", json!(false));
    let elsewhere = {
        let mut command = with(&[("TOKEN", "a")]).command(dir.path(), &["stdio"]);
        command.current_dir(folder.path());
        command
    };
    let others = [
        ("token", with(&[("TOKEN", "b")]).command(dir.path(), &["stdio"])),
        ("no token", with(&[]).command(dir.path(), &["stdio"])),
        ("PATH", with(&[("TOKEN", "a"), ("PATH", "/usr/bin:/bin:/nowhere")]).command(dir.path(), &["stdio"])),
        ("folder", elsewhere),
        ("no share", with(&[("TOKEN", "a")]).command(dir.path(), &["stdio", "--no-share"])),
    ];
    for (what, command) in others {
        let mut other = Stdio::spawn(command);
        assert_ne!(server_of(&mut other).await, shared, "{what}");
        assert_eq!(hub::descendants(other.pid()).len(), 1, "{what}");
        leave(other).await;
    }
    let mut other = editor(dir.path(), &config.variable("TOKEN", "a"));
    assert_ne!(server_of(&mut other).await, shared, "configuration");
    leave(other).await;
    assert_eq!(server_of(&mut first).await, shared);
    leave(first).await;
}

#[tokio::test]
async fn editors_in_different_folders_share_what_does_not_depend_on_them() {
    let (dir, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let builder = hub::new().server("s", server::child("").with("cwd", dir.path().to_str().unwrap()));
    let mut first = editor(dir.path(), &builder);
    let mut command = builder.command(dir.path(), &["stdio"]);
    command.current_dir(folder.path());
    let pid = server_of(&mut first).await;
    let mut second = Stdio::spawn(command);
    assert_eq!(server_of(&mut second).await, pid);
    leave(second).await;
    leave(first).await;
}

#[tokio::test]
async fn a_killed_hub_costs_its_open_calls_and_nothing_else() {
    let (dir, builder) = scene();
    let mut first = editor(dir.path(), &builder);
    let old = server_of(&mut first).await;
    let mut editors = [editor(dir.path(), &builder), editor(dir.path(), &builder), editor(dir.path(), &builder)];
    for editor in &mut editors {
        greet(editor, json!({})).await;
        let quiet = request(1, "logging/setLevel", json!({"level": "warning"}));
        editor.ask(&quiet).await;
        editor.say(&request("open", "tools/call", json!({"name": "s__never", "arguments": {}})));
        editor.say(&request(2, "tools/call", json!({"name": "s__never", "arguments": {}})));
        assert_eq!(server_of(editor).await, old);
    }
    first.kill();
    for editor in &mut editors {
        for id in [json!("open"), json!(2)] {
            let failed = editor.heard.answer(id).await;
            assert_eq!(
                (&failed["error"]["code"], &failed["error"]["data"]),
                (&json!(-32603), &json!({"origin": "hub", "reason": "hub_exited", "retryable": false}))
            );
        }
        editor.heard.pick(|message| message["method"] == "notifications/tools/list_changed").await;
    }
    let mut pids = Vec::new();
    for editor in &mut editors {
        pids.push(server_of(editor).await);
        // Within the session that the hub before this one opened.
        let list = editor.ask(&request(3, "tools/list", json!({}))).await;
        assert!(list["result"]["tools"].as_array().unwrap().iter().any(|tool| tool["name"] == "s__echo"), "{list}");
        let again = editor.ask(&initialize(4, "2025-06-18")).await;
        assert_eq!(again["error"]["code"], -32600, "{again}");
        // Under a level that the client asked of it.
        for level in ["info", "error"] {
            let log = json!({"name": "s__log", "arguments": {"level": level, "data": level}});
            editor.ask(&request(5, "tools/call", log)).await;
        }
        let said = editor.heard.pick(|message| message["method"] == "notifications/message").await;
        assert_eq!(said["params"]["data"], "error");
    }
    assert!(pids.iter().all(|pid| *pid == pids[0] && *pid != old), "{pids:?}");
    // The hub among them waits for the others.
    editors.iter_mut().for_each(Stdio::close_stdin);
    for editor in editors {
        let (rest, status) = editor.finish().await;
        assert!(status.success() && rest.iter().all(|message| message.get("id").is_none()), "{rest:?}");
    }
    assert!(!hub::is_running(pids[0]), "the server outlived its last client");
    assert_eq!(socket_files(dir.path()), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn what_a_killed_hub_leaves_behind_stops_nobody() {
    let (dir, builder) = scene();
    let mut first = editor(dir.path(), &builder);
    let pid = server_of(&mut first).await;
    first.kill();
    assert_eq!(socket_files(dir.path()).len(), 2, "it had no time to clean up");
    let mut next = editor(dir.path(), &builder);
    assert_ne!(server_of(&mut next).await, pid);
    let mut joined = editor(dir.path(), &builder);
    assert_eq!(server_of(&mut joined).await, server_of(&mut next).await);
    leave(joined).await;
    leave(next).await;
}

#[tokio::test]
async fn a_hub_that_is_told_to_end_answers_first_and_its_clients_notice_nothing() {
    let (dir, builder) = scene();
    let file = dir.path().join("go");
    let mut first = editor(dir.path(), &builder);
    let old = server_of(&mut first).await;
    let mut second = editor(dir.path(), &builder);
    greet(&mut second, json!({})).await;
    second.say(&request("held", "tools/call", json!({"name": "s__hold", "arguments": {"file": file}})));
    assert_eq!(server_of(&mut second).await, old);
    first.terminate();
    // These reach either hub; none is lost.
    for id in 0..50 {
        second.say(&call(id, "echo", json!({"text": id.to_string()})));
    }
    std::fs::write(&file, "").unwrap();
    for id in 0..50 {
        assert_eq!(text(&second.heard.answer(id).await), id.to_string());
    }
    let held = second.heard.answer("held").await;
    assert!(held["error"].is_null(), "{held}");
    let (_, status) = first.finish().await;
    assert!(status.success(), "{status}");
    assert!(!hub::is_running(old), "the server outlived its hub");
    assert_ne!(server_of(&mut second).await, old);
    leave(second).await;
}

#[tokio::test]
async fn the_terminal_of_the_hub_holds_nobody_and_its_end_ends_the_hub_in_order() {
    let (dir, builder) = scene();
    let mut first = editor(dir.path(), &builder);
    let pid = server_of(&mut first).await;
    let mut second = editor(dir.path(), &builder);
    first.signal(rustix::process::Signal::TSTP);
    assert_eq!(server_of(&mut second).await, pid, "a key pressed there");
    first.signal(rustix::process::Signal::HUP);
    assert!(first.ended().await.1.success());
    assert!(!hub::is_running(pid), "the server outlived its hub");
    let answer = second.ask(&call(2, "pid", json!({}))).await;
    assert_ne!(text(&answer), pid.to_string(), "another hub answers");
    leave(second).await;
}

#[tokio::test]
async fn ten_at_once_with_the_same_ids_get_their_own_answers() {
    let (dir, builder) = scene();
    // All of them look for a hub at the same time.
    let mut editors: Vec<_> = (0..10).map(|_| editor(dir.path(), &builder)).collect();
    for (number, editor) in editors.iter_mut().enumerate() {
        for id in 0..20 {
            editor.say(&call(id, "echo", json!({"text": format!("{number}/{id}")})));
        }
    }
    let mut pids = std::collections::BTreeSet::new();
    for (number, editor) in editors.iter_mut().enumerate() {
        for id in 0..20 {
            assert_eq!(text(&editor.heard.answer(id).await), format!("{number}/{id}"));
        }
        pids.insert(server_of(editor).await);
    }
    assert_eq!(pids.len(), 1, "one server for all");
    let hubs = editors.iter().filter(|editor| !hub::descendants(editor.pid()).is_empty()).count();
    assert_eq!(hubs, 1);
    // The hub's turn may come first, last or between.
    for editor in &mut editors {
        editor.close_stdin();
    }
    for editor in editors {
        leave(editor).await;
    }
    assert!(pids.into_iter().all(|pid| !hub::is_running(pid)), "the server outlived its last client");
}

#[tokio::test]
async fn a_served_hub_is_shared_too_and_may_stop() {
    let (dir, builder) = scene();
    let state = dir.path().to_owned();
    let served = builder.clone().state(&state).run_in(dir.path());
    let mut first = editor(dir.path(), &builder);
    greet(&mut first, json!({})).await;
    let pid = server_of(&mut first).await;
    assert_eq!(served.descendants(), [pid]);

    // Another one on another port has no socket, and runs.
    let mut other = builder.clone().state(&state).run_in(dir.path());
    let mut second = editor(dir.path(), &builder);
    assert_eq!(server_of(&mut second).await, pid);
    assert!(other.descendants().is_empty());
    other.signal(rustix::process::Signal::TERM);
    assert!(other.wait().success());
    assert_eq!(server_of(&mut second).await, pid);

    assert!(served.terminate().success());
    assert!(!hub::is_running(pid));
    let next = server_of(&mut first).await;
    assert_eq!(server_of(&mut second).await, next);
    first.close_stdin();
    leave(second).await;
    leave(first).await;
    assert!(!hub::is_running(next));
    assert_eq!(socket_files(dir.path()), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_process_that_is_not_the_hub_ends_as_one_that_is() {
    let (dir, builder) = scene();
    let mut first = editor(dir.path(), &builder);
    let pid = server_of(&mut first).await;
    let mut second = editor(dir.path(), &builder);
    assert_eq!(server_of(&mut second).await, pid);
    second.terminate();
    assert_eq!(second.heard.rest().await, [json!(null); 0]);
    let (_, status) = second.finish().await;
    assert!(status.success(), "{status}");

    let mut third = editor(dir.path(), &builder);
    third.say(&call(3, "never", json!({})));
    assert_eq!(server_of(&mut third).await, pid);
    third.kill();
    // Calls of those who are gone are cancelled at the server.
    let awaited = first.ask(&call(4, "await", json!({"name": "cancelled", "count": 1}))).await;
    assert!(awaited["error"].is_null(), "{awaited}");
    leave(first).await;
    assert!(!hub::is_running(pid));
}

/// A stream of changes that stands.
async fn listen(editor: &mut Stdio, id: &str) {
    editor.say(&stateless(id, "subscriptions/listen", json!({"notifications": {"toolsListChanged": true}})));
    let key = "io.modelcontextprotocol/subscriptionId";
    editor
        .heard
        .pick(|message| message["method"] == "notifications/subscriptions/acknowledged" && message["params"]["_meta"][key] == id)
        .await;
}

/// What the hub could not wait for.
fn given_up() -> Value {
    json!({"origin": "hub", "reason": "cancelled", "retryable": false})
}

#[tokio::test]
async fn what_was_asked_before_the_end_of_stdin_is_answered_by_a_hub_and_by_way_of_one() {
    let (dir, builder) = scene();
    let mut first = editor(dir.path(), &builder);
    first.ask(&stateless(0, "server/discover", json!({}))).await;
    let mut second = editor(dir.path(), &builder);
    // As a pipe does it that somebody writes a few requests into, with a server that is still to start.
    let script = [
        initialize("hello", "2025-06-18"),
        notice("notifications/initialized", json!({})),
        request("list", "tools/list", json!({})),
        // Longer than the patience after a signal.
        request("slow", "tools/call", json!({"name": "s__slow", "arguments": {"ms": 2500}})),
        request("never", "tools/call", json!({"name": "s__never", "arguments": {}})),
        stateless("listen", "subscriptions/listen", json!({"notifications": {"toolsListChanged": true}})),
    ];
    let start = std::time::Instant::now();
    for editor in [&mut first, &mut second] {
        script.iter().for_each(|message| editor.say(message));
        editor.close_stdin();
    }
    for editor in [&mut first, &mut second] {
        assert_eq!(editor.heard.answer("hello").await["result"]["protocolVersion"], "2025-06-18");
        let list = editor.heard.answer("list").await;
        assert!(list["result"]["tools"].is_array(), "{list}");
        assert_eq!(text(&editor.heard.answer("slow").await), "slept");
        let given = editor.heard.answer("never").await;
        assert_eq!(given["error"]["data"], given_up(), "{given}");
        let listened = editor.heard.answer("listen").await;
        assert!(listened["error"].is_null(), "{listened}");
    }
    assert!(start.elapsed() >= limits::PIPE_END);
    for editor in [first, second] {
        let (rest, status) = editor.ended().await;
        assert!(status.success() && rest.iter().all(|message| message.get("id").is_none()), "{status} {rest:?}");
    }
}

#[tokio::test]
async fn a_signal_after_the_end_of_stdin_ends_it_at_once_here_and_there() {
    let (dir, builder) = scene();
    let mut first = editor(dir.path(), &builder);
    let pid = server_of(&mut first).await;
    let second = editor(dir.path(), &builder);
    for (count, mut editor) in [second, first].into_iter().enumerate() {
        assert_eq!(server_of(&mut editor).await, pid);
        listen(&mut editor, "listen").await;
        editor.say(&call("never", "never", json!({})));
        editor.ask(&call("arrived", "await", json!({"name": "never", "count": count + 1}))).await;
        editor.close_stdin();
        // It knows: what has no end of its own has ended.
        editor.heard.answer("listen").await;
        let start = std::time::Instant::now();
        editor.terminate();
        let given = editor.heard.answer("never").await;
        assert_eq!(given["error"]["data"], given_up(), "{given}");
        assert!(start.elapsed() < limits::PIPE_DRAIN);
        let (_, status) = editor.ended().await;
        assert!(status.success(), "{status}");
    }
    assert!(!hub::is_running(pid), "the server outlived its last client");
}

#[tokio::test]
async fn what_one_editor_has_under_way_is_not_counted_for_another() {
    let (dir, builder) = scene();
    let builder = builder.setting("limits", json!({"in_flight": 2}));
    let mut first = editor(dir.path(), &builder);
    let pid = server_of(&mut first).await;
    let mut others = [editor(dir.path(), &builder), editor(dir.path(), &builder)];
    for (count, greedy) in [&mut others[0], &mut first].into_iter().enumerate() {
        assert_eq!(server_of(greedy).await, pid);
        for id in 0..Limits::default().listens_per_principal {
            listen(greedy, &format!("listen {id}")).await;
        }
        greedy.say(&call("a", "never", json!({})));
        greedy.ask(&call("arrived", "await", json!({"name": "never", "count": 2 * count + 1}))).await;
        greedy.say(&call("b", "never", json!({})));
        for refused in [call("more", "echo", json!({})), stateless("more", "subscriptions/listen", json!({"notifications": {}}))] {
            let answer = greedy.ask(&refused).await;
            assert_eq!(answer["error"]["data"]["reason"], "quota", "{answer}");
        }
    }
    let modest = &mut others[1];
    assert_eq!(server_of(modest).await, pid);
    listen(modest, "listen").await;
    // Those who are gone hold nothing.
    first.terminate();
    assert!(first.ended().await.1.success());
    for mut editor in others {
        assert_ne!(server_of(&mut editor).await, pid);
        editor.terminate();
    }
}

#[tokio::test]
async fn calls_that_wait_for_an_editor_give_way_to_none_of_another() {
    let (dir, most) = (tempfile::tempdir().unwrap(), Limits::default().parked_per_principal);
    let server = server::child("full --era handshake").with("pool", json!({"scope": "user", "size": most + 2}));
    let builder = hub::new().server("s", server);
    let ask = |id: usize, more: Value| {
        let mut params = json!({"name": "s__ask_form", "arguments": {"message": format!("number {id}?")}, "_meta": meta()});
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({"elicitation": {}});
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        request(id, "tools/call", params)
    };
    let mut first = editor(dir.path(), &builder);
    // From here on it is the hub.
    first.ask(&stateless("hub", "server/discover", json!({}))).await;
    let mut editors = [first, editor(dir.path(), &builder), editor(dir.path(), &builder)];
    let mut parked = Vec::new();
    for (editor, count) in editors.iter_mut().zip([1, most, 1]) {
        let mut own = Vec::new();
        for id in 0..count {
            let asked = editor.ask(&ask(id, json!({}))).await;
            assert_eq!(asked["result"]["resultType"], "input_required", "{asked}");
            own.push(asked["result"].clone());
        }
        parked.push(own);
    }
    for (editor, own) in editors.iter_mut().zip(parked) {
        for (id, asked) in own.into_iter().enumerate() {
            let key = asked["inputRequests"].as_object().unwrap().keys().next().unwrap().clone();
            let said = json!({key: {"action": "decline"}});
            let answer = editor.ask(&ask(id, json!({"requestState": asked["requestState"], "inputResponses": said}))).await;
            assert!(text(&answer).contains("decline"), "{answer}");
        }
    }
}

#[tokio::test]
async fn a_question_is_withdrawn_with_its_hub_and_the_next_has_another_number() {
    let (dir, builder) = scene();
    let mut first = editor(dir.path(), &builder);
    first.ask(&stateless(0, "server/discover", json!({}))).await;
    let mut second = editor(dir.path(), &builder);
    greet(&mut second, json!({"elicitation": {}})).await;
    let ask = |id: i64| request(id, "tools/call", json!({"name": "s__ask_form", "arguments": {"message": "who?"}}));
    second.say(&ask(1));
    let question = second.heard.pick(|message| message["method"] == "elicitation/create").await;
    first.kill();
    let withdrawn = second.heard.pick(|message| message["method"] == "notifications/cancelled").await;
    assert_eq!(withdrawn["params"]["requestId"], question["id"]);
    assert_eq!(second.heard.answer(1).await["error"]["data"]["reason"], "hub_exited");
    let answer = |id: &Value| json!({"jsonrpc": "2.0", "id": id, "result": {"action": "decline"}});
    second.say(&ask(2));
    let next = second.heard.pick(|message| message["method"] == "elicitation/create").await;
    assert_ne!(next["id"], question["id"]);
    // Too late for the one, and no answer to the other.
    second.say(&json!({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "cancel"}}));
    second.say(&answer(&next["id"]));
    let answered = second.heard.answer(2).await;
    assert!(text(&answered).contains("decline"), "{answered}");
    leave(second).await;
}

#[tokio::test]
async fn whoever_says_something_else_on_the_socket_is_turned_away() {
    let (dir, builder) = scene();
    let mut first = editor(dir.path(), &builder);
    let pid = server_of(&mut first).await;
    let socket = socket_files(dir.path()).into_iter().find(|path| path.extension().is_some_and(|end| end == "sock")).unwrap();
    let other = json!({"mcpHub": 1, "identity": "0".repeat(64), "tenant": "default", "server": null, "names": "safe", "uris": null, "questions": 0});
    for (line, turned_away) in [
        (request(1, "tools/list", json!({})).to_string(), true),
        ("GET / HTTP/1.1\r".to_owned(), true),
        (other.to_string(), true),
        ("x".repeat(100_000), false),
        (format!("{other}\n{}", request(1, "tools/list", json!({}))), false),
    ] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        // The hub may have heard enough before all is said.
        let _ = stream.write_all(format!("{line}\n").as_bytes());
        let mut said = String::new();
        let _ = stream.read_to_string(&mut said);
        let said: Value = serde_json::from_str(said.trim_end()).unwrap_or_default();
        assert_eq!(said["joined"], if turned_away { json!(false) } else { json!(null) }, "{line:.80}");
    }
    assert_eq!(server_of(&mut first).await, pid);
    leave(first).await;
}

#[tokio::test]
async fn hub_after_hub_goes_and_every_request_has_one_answer_of_its_own() {
    const CALLS: usize = 40;
    let (dir, builder) = scene();
    let mut editors: Vec<_> = (0..5).map(|_| editor(dir.path(), &builder)).collect();
    let mut round = 0;
    while editors.len() > 1 {
        round += 1;
        for editor in &mut editors {
            server_of(editor).await;
        }
        let at = editors.iter().position(|editor| !hub::descendants(editor.pid()).is_empty()).expect("one of them is the hub");
        let mut going = editors.swap_remove(at);
        let is_killed = round % 2 == 1;
        for id in 0..CALLS {
            for (number, editor) in editors.iter_mut().enumerate() {
                editor.say(&call(id, "echo", json!({"text": format!("{round}/{number}/{id}")})));
            }
            if id == CALLS / 2 && is_killed {
                going.kill();
            } else if id == CALLS / 2 {
                going.terminate();
            }
        }
        for (number, editor) in editors.iter_mut().enumerate() {
            for id in 0..CALLS {
                let answer = editor.heard.answer(id).await;
                if is_killed && answer["result"].is_null() {
                    assert_eq!(answer["error"]["data"]["reason"], "hub_exited", "{answer}");
                } else {
                    assert_eq!(text(&answer), format!("{round}/{number}/{id}"));
                }
            }
        }
        if !is_killed {
            let (_, status) = going.finish().await;
            assert!(status.success(), "{status}");
        }
    }
    // Nothing came twice: that would be left over here.
    leave(editors.remove(0)).await;
    assert_eq!(socket_files(dir.path()), Vec::<PathBuf>::new());
}
