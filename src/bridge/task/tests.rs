use super::*;
use bytes::Bytes;

const CORE: &str = r#""taskId":"up","status":"STATUS","statusMessage":"half","createdAt":"2025-11-25T10:30:00Z","lastUpdatedAt":"2025-11-25T10:40:00Z","ttl":60000,"pollInterval":5000"#;
const EXTENSION: &str = r#""taskId":"tHUB","status":"STATUS","statusMessage":"half","createdAt":"2025-11-25T10:30:00Z","lastUpdatedAt":"2025-11-25T10:40:00Z","ttlMs":60000,"pollIntervalMs":5000"#;
const META: &str = r#""_meta":{"io.modelcontextprotocol/serverInfo":HUB}"#;

fn message(text: &str) -> Message {
    Message::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn answer(result: &str) -> Message {
    message(&format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#))
}

fn core(status: &str) -> Task {
    Task::read(&answer(&format!("{{{}}}", CORE.replace("STATUS", status)))).unwrap()
}

/// The members of the result, between its braces.
fn result_of(body: &Body) -> String {
    let text = String::from_utf8(body.to_bytes().to_vec()).unwrap().replace(HUB, "HUB");
    let result = text.strip_prefix(r#"{"jsonrpc":"2.0","id":7,"result":{"#).unwrap_or_else(|| panic!("{text}"));
    result.strip_suffix("}}").unwrap().to_owned()
}

#[test]
fn a_task_reads_alike_from_every_shape() {
    let flat = CORE.replace("STATUS", "working");
    let extension = EXTENSION.replace("STATUS", "working").replace("tHUB", "up");
    let tasks = [
        answer(&format!("{{{flat}}}")),
        answer(&format!(r#"{{"task":{{{flat}}},"_meta":{{}}}}"#)),
        answer(&format!(r#"{{"resultType":"task",{extension}}}"#)),
        message(&format!(r#"{{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{{{flat}}}}}"#)),
    ]
    .map(|message| Task::read(&message).unwrap());
    assert!(tasks.iter().all(|task| *task == tasks[0]), "{tasks:?}");
    assert_eq!((tasks[0].id.as_str(), tasks[0].poll()), ("up", Duration::from_secs(5)));
    for none in ["{}", r#"{"taskId":"t","status":"sleeping","createdAt":"","lastUpdatedAt":""}"#, r#"{"task":{"taskId":7}}"#] {
        assert_eq!(Task::read(&answer(none)), None, "{none}");
    }
}

#[test]
fn a_server_that_wants_to_be_asked_too_often_or_never_is_asked_within_bounds() {
    for (interval, wait) in [("0", limits::TASK_POLL_MIN), ("99999999", limits::TASK_POLL_MAX), ("null", limits::TASK_POLL)] {
        let text = format!("{{{}}}", CORE.replace("STATUS", "working").replace("5000", interval));
        assert_eq!(Task::read(&answer(&text)).unwrap().poll(), wait, "{interval}");
    }
}

#[test]
fn a_call_that_became_a_task_is_told_in_the_words_of_the_extension() {
    let id = RequestId::from_number(7);
    let said = |status: &str| EXTENSION.replace("STATUS", status);
    assert_eq!(result_of(&created(&id, &core("working"), "tHUB")), format!(r#""resultType":"task",{},{META}"#, said("working")));
    let forever = Task { ttl_ms: None, poll_ms: None, message: None, ..core("working") };
    assert_eq!(
        result_of(&created(&id, &forever, "tHUB")),
        format!(
            r#""resultType":"task","taskId":"tHUB","status":"working","createdAt":"2025-11-25T10:30:00Z","lastUpdatedAt":"2025-11-25T10:40:00Z","ttlMs":null,{META}"#
        )
    );
    for (status, detail, expected) in [
        ("working", Detail::Nothing, said("working")),
        ("cancelled", Detail::Nothing, said("cancelled")),
        ("completed", Detail::Result("{}".into()), format!(r#"{},"result":{{}}"#, said("completed"))),
        // A tool that failed has completed in the extension.
        ("failed", Detail::Result(r#"{"isError":true}"#.into()), format!(r#"{},"result":{{"isError":true}}"#, said("completed"))),
        ("failed", Detail::Error(r#"{"code":-1}"#.into()), format!(r#"{},"error":{{"code":-1}}"#, said("failed"))),
        ("input_required", Detail::Inputs(r#"{"q1":{}}"#.into()), format!(r#"{},"inputRequests":{{"q1":{{}}}}"#, said("input_required"))),
        // Without what belongs to them these say nothing a client could use.
        ("input_required", Detail::Nothing, said("working")),
        ("completed", Detail::Nothing, said("working")),
    ] {
        assert_eq!(
            result_of(&shown(&id, &core(status), "tHUB", &detail)),
            format!(r#""resultType":"complete",{expected},{META}"#),
            "{status} {detail:?}"
        );
    }
    assert_eq!(result_of(&acknowledged(&id)), format!(r#""resultType":"complete",{META}"#));
}

#[test]
fn what_a_task_came_to_is_carried_with_the_hubs_id() {
    let result = answer(
        r#"{"content":[{"type":"resource_link","uri":"a:1"}],"isError":true,"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"up"},"x":1}}"#,
    );
    let publish = |uri: &str| Some(format!("hub+s:{uri}"));
    let id = RequestId::from_number(7);
    let carry = Carry { publish: Some(&publish), ..Carry::new(&id, Version::STATELESS, Version::V2025_11_25) };
    assert_eq!(
        Detail::settled(&result, "tHUB", &carry),
        Detail::Result(r#"{"content":[{"type":"resource_link","uri":"hub+s:a:1"}],"isError":true,"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"tHUB"},"x":1},"resultType":"complete"}"#.into())
    );
    for (result, told) in [
        ("{}", r#"{"content":[],"resultType":"complete"}"#),
        (
            r#"{"structuredContent":{"a":1}}"#,
            r#"{"structuredContent":{"a":1},"content":[{"type":"text","text":"{\"a\":1}"}],"resultType":"complete"}"#,
        ),
        (
            r#"{"content":[],"structuredContent":5}"#,
            r#"{"content":[{"type":"text","text":"5"}],"structuredContent":5,"resultType":"complete"}"#,
        ),
    ] {
        assert_eq!(Detail::settled(&answer(result), "tHUB", &carry), Detail::Result(told.into()), "{result}");
    }
    for (error, told) in [
        (r#"{"code":-32000,"message":"no"}"#, r#"{"code":-32000,"message":"no"}"#),
        (
            r#"{"code":-32000,"message":"no","data":{"uri":"a:1","x":1}}"#,
            r#"{"code":-32000,"message":"no","data":{"uri":"hub+s:a:1","x":1}}"#,
        ),
        (r#"{"code":-32002,"message":"nf","data":{"uri":"a:1"}}"#, r#"{"code":-32602,"message":"nf","data":{"uri":"hub+s:a:1"}}"#),
        (
            r#"{"code":-32042,"message":"go"}"#,
            r#"{"code":-32603,"message":"go","data":{"origin":"server","rpc":{"code":-32042,"message":"go"}}}"#,
        ),
        (
            r#"{"code":-32021,"message":"q"}"#,
            r#"{"code":-32603,"message":"q","data":{"origin":"server","rpc":{"code":-32021,"message":"q"}}}"#,
        ),
    ] {
        let error = message(&format!(r#"{{"jsonrpc":"2.0","id":1,"error":{error}}}"#));
        assert_eq!(Detail::settled(&error, "tHUB", &carry), Detail::Error(told.into()));
    }
}

#[test]
fn a_task_of_a_stateless_server_ends_as_its_call_would_have() {
    let got = |status: &str, more: &str| answer(&format!(r#"{{"resultType":"complete",{}{more}}}"#, EXTENSION.replace("STATUS", status)));
    let ended = |status, more| ended(&got(status, more)).map(|message| String::from_utf8(message.bytes().to_vec()).unwrap());
    assert_eq!(ended("working", ""), None);
    assert_eq!(ended("completed", ""), None);
    assert_eq!(ended("completed", r#","result":{"content":[]}"#).as_deref(), Some(r#"{"jsonrpc":"2.0","id":0,"result":{"content":[]}}"#));
    assert_eq!(
        ended("failed", r#","error":{"code":-32000,"message":"no"}"#).as_deref(),
        Some(r#"{"jsonrpc":"2.0","id":0,"error":{"code":-32000,"message":"no"}}"#)
    );
    assert_eq!(
        ended("cancelled", "").as_deref(),
        Some(r#"{"jsonrpc":"2.0","id":0,"error":{"code":-32603,"message":"The task was cancelled"}}"#)
    );

    let asks = got("input_required", r#","inputRequests":{"a":{"method":"roots/list"},"b":{"method":"roots/list"}}"#);
    let mut seen = vec!["a".to_owned()];
    let asked = input_required(&asks, &mut seen).unwrap();
    assert_eq!(
        asked.bytes(),
        r#"{"jsonrpc":"2.0","id":0,"result":{"resultType":"input_required","inputRequests":{"b":{"method":"roots/list"}}}}"#
    );
    assert_eq!(seen, ["a", "b"]);
    assert!(input_required(&asks, &mut seen).is_none(), "all was seen");
    assert!(input_required(&got("working", ""), &mut seen).is_none());
}

#[test]
fn what_is_relayed_names_the_task_as_the_client_knows_it() {
    for (note, expected) in [
        (
            r#"{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{"taskId":"up","status":"working"}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{"taskId":"tHUB","status":"working"}}"#,
        ),
        (
            r#"{"jsonrpc":"2.0","method":"notifications/x","params":{"a":1,"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"up"}}}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/x","params":{"a":1,"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"tHUB"}}}}"#,
        ),
    ] {
        let note = message(note);
        let mut body = Splice::new(&note);
        rename(&mut body, &note, Naming::As("tHUB"));
        assert_eq!(body.to_body().to_bytes(), expected);
    }
}

#[test]
fn what_a_stream_is_told_is_what_a_look_would_show() {
    let got = shown(&RequestId::from_number(1), &core("working"), "tHUB", &Detail::Nothing).to_bytes();
    let pushed = pushed(&Message::parse(got).unwrap(), &RequestId::from_number(9)).unwrap();
    assert_eq!(
        pushed.to_bytes(),
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/tasks","params":{{"_meta":{{"io.modelcontextprotocol/subscriptionId":9}},{}}}}}"#,
            EXTENSION.replace("STATUS", "working")
        )
    );
}

#[test]
fn params_of_the_hubs_own_requests_are_plain() {
    assert_eq!(params("u\"p", None), r#"{"taskId":"u\"p"}"#);
    assert_eq!(params("up", Some(r#"{"a":{}}"#)), r#"{"taskId":"up","inputResponses":{"a":{}}}"#);
    assert_eq!((augment(None), augment(Some(Duration::from_secs(60)))), ("{}".into(), r#"{"ttl":60000}"#.into()));
}

#[test]
fn every_case_has_its_plan() {
    let (a, b) = (Version::V2025_11_25, Version::V2026_07_28);
    let old = Version::V2025_06_18;
    let (tasks, bare) = (Profile::TASKS, Profile::BARE);
    let (required, optional, forbidden) = (TaskSupport::Required, TaskSupport::Optional, TaskSupport::Forbidden);
    for (client, profile, server, has, support, asked, prefers, bridges, plan) in [
        // A stateless client that understands tasks, a server of 2025-11-25.
        (b, tasks, a, true, required, false, false, false, Plan::Start),
        (b, tasks, a, true, optional, false, false, false, Plan::Plain),
        (b, tasks, a, true, optional, false, true, false, Plan::Start),
        (b, tasks, a, true, forbidden, true, true, true, Plan::Plain),
        (b, tasks, a, false, required, false, true, true, Plan::Plain),
        (b, tasks, old, true, required, false, true, true, Plan::Plain),
        // Any client without tasks, and a tool that insists.
        (b, bare, a, true, required, false, true, false, Plan::Poll),
        (a, bare, a, true, required, false, false, false, Plan::Poll),
        (old, tasks, a, true, required, true, false, false, Plan::Poll),
        (old, bare, a, true, optional, false, true, false, Plan::Plain),
        // Both of 2025-11-25, at the server's own endpoint.
        (a, bare, a, true, optional, true, false, false, Plan::Relay),
        (a, bare, a, true, forbidden, true, false, false, Plan::Plain),
        // A stateless server decides itself.
        (a, bare, b, true, forbidden, true, true, false, Plan::Plain),
        (a, bare, b, true, forbidden, false, false, true, Plan::DeclareAndPoll),
        (b, tasks, b, true, forbidden, false, false, false, Plan::Declare),
        (b, bare, b, true, forbidden, false, false, true, Plan::Plain),
        (b, tasks, b, false, forbidden, false, false, false, Plan::Plain),
    ] {
        let facts = Facts { client, profile, server, server_has_tasks: has, support, asked, prefers, bridges };
        assert_eq!(Plan::of(&facts), plan, "{facts:?}");
    }
}

#[test]
fn methods_of_tasks_are_known() {
    assert!(is_of_tasks(Method::TasksUpdate) && !is_of_tasks(Method::ToolsCall));
}
