//! A link against a server that is a pair of pipes in this test's hand. Time is paused.

mod asking;
mod keepalive;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream, duplex},
    time::Instant,
};
use tokio_util::task::TaskTracker;

use super::{
    link::{Bounds, Link},
    listing::{self, Of, To},
    probe::{First, GreetError, Speaker, greet},
};
use crate::{
    bridge::outgoing,
    limits,
    mux::Deadline,
    protocol::{Message, Version, capability::Profile, code::Reason, mark::Mark},
    upstream::{Event, Exchange, UpstreamError, exchange::Wants, news::Outlet, status::Noise, tests::server_id, wire::Wire},
};

const DEADLINE: Deadline = Deadline { call: Duration::from_secs(60), call_max: Duration::from_secs(150) };

/// The server's ends of the pipes.
struct Peer {
    input: BufReader<DuplexStream>,
    output: DuplexStream,
    tasks: TaskTracker,
}

/// `pipe`: how many bytes the pipe to the server holds.
fn link_with(queue: usize, line_bytes: usize, pipe: usize) -> (Link, Peer) {
    link_of(Outlet::new(server_id(), 0, None, None), queue, line_bytes, pipe)
}

fn link_of(outlet: Arc<Outlet>, queue: usize, line_bytes: usize, pipe: usize) -> (Link, Peer) {
    let (hub_reads, output) = duplex(1 << 16);
    let (input, hub_writes) = duplex(pipe);
    let tasks = TaskTracker::new();
    let link = Link::start(&server_id(), Bounds { line_bytes, queue }, outlet, hub_reads, hub_writes, &tasks);
    (link, Peer { input: BufReader::new(input), output, tasks })
}

/// After the handshake.
fn link() -> (Link, Peer) {
    let (link, peer) = link_with(1024, 1 << 20, 1 << 16);
    link.set_version(Version::V2025_11_25);
    (link, peer)
}

impl Peer {
    async fn read(&mut self) -> Value {
        let mut line = String::new();
        self.input.read_line(&mut line).await.unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// The id of the next request, which must be `method`.
    async fn asked(&mut self, method: &str) -> Value {
        let request = self.read().await;
        assert_eq!(request["method"], method, "{request}");
        request["id"].clone()
    }

    async fn write(&mut self, text: impl AsRef<[u8]>) {
        self.output.write_all(text.as_ref()).await.unwrap();
    }

    async fn say(&mut self, message: Value) {
        self.write(format!("{message}\n")).await;
    }

    async fn answer(&mut self, id: &Value, result: Value) {
        self.say(json!({"jsonrpc": "2.0", "id": id, "result": result})).await;
    }

    /// Nothing more was written to it before `method` asked now.
    async fn reads_next(&mut self, link: &Link, method: &str) {
        link.notify(outgoing::own_notification(method, Version::V2025_11_25));
        assert_eq!(self.read().await["method"], method);
    }
}

fn open(link: &Link, method: &str) -> Result<Exchange, UpstreamError> {
    open_with(link, method, false)
}

fn open_with(link: &Link, method: &str, progress: bool) -> Result<Exchange, UpstreamError> {
    let opened =
        link.open(Wants { progress, ..Wants::NOTHING }, DEADLINE, |wire| outgoing::own(wire, method, "{}", Version::V2025_11_25))?;
    Ok(Exchange::new(opened, None))
}

fn result(event: Event) -> Value {
    match event {
        Event::Answer(message) => serde_json::from_slice::<Value>(message.bytes()).unwrap()["result"].clone(),
        other => panic!("{other:?}"),
    }
}

fn failure(event: Event) -> Reason {
    match event {
        Event::Failed(error) => error.reason,
        other => panic!("{other:?}"),
    }
}

fn failure_text(event: Event) -> String {
    match event {
        Event::Failed(error) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

fn text(message: &Message) -> Value {
    serde_json::from_slice(message.bytes()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn answers_in_any_order_reach_their_callers() {
    let (link, mut peer) = link();
    let mut exchanges: Vec<_> = (0..200).map(|n| open(&link, &format!("m{n}")).unwrap()).collect();
    let mut ids = Vec::new();
    for n in 0..200 {
        ids.push(peer.asked(&format!("m{n}")).await);
    }
    for (n, id) in ids.iter().enumerate().rev() {
        peer.answer(id, json!({"n": n})).await;
    }
    for (n, exchange) in exchanges.iter_mut().enumerate() {
        assert_eq!(result(exchange.next().await), json!({"n": n}));
    }
    assert_eq!(link.in_flight(), 0);
    assert_eq!(link.noise(), Noise::default());
}

#[tokio::test(start_paused = true)]
async fn whole_lines_arrive_through_a_pipe_that_takes_a_few_bytes_at_a_time() {
    let (link, mut peer) = link_with(1024, 1 << 20, 7);
    let exchanges: Vec<_> = (0..200).map(|n| open(&link, &format!("method/{n}")).unwrap()).collect();
    for n in 0..200 {
        peer.asked(&format!("method/{n}")).await;
    }
    drop(exchanges);
}

#[tokio::test(start_paused = true)]
async fn a_call_given_up_is_cancelled_once_and_an_answered_one_never() {
    let (link, mut peer) = link();
    let mut answered = open(&link, "answered").unwrap();
    let given_up = open(&link, "given up").unwrap();
    let (answered_id, given_up_id) = (peer.asked("answered").await, peer.asked("given up").await);
    peer.answer(&answered_id, json!({})).await;
    result(answered.next().await);
    drop(answered);
    drop(given_up);
    let note = peer.read().await;
    assert_eq!(note["method"], "notifications/cancelled");
    assert_eq!(note["params"]["requestId"], given_up_id);
    assert_eq!(link.in_flight(), 0);
    // The answer was on its way; nobody waits for it any more.
    peer.answer(&given_up_id, json!({})).await;
    peer.answer(&answered_id, json!({})).await;
    peer.answer(&json!(5), json!({})).await;
    peer.answer(&json!("what"), json!({})).await;
    peer.reads_next(&link, "done").await;
    let mut last = open(&link, "last").unwrap();
    let id = peer.asked("last").await;
    peer.answer(&id, json!({})).await;
    result(last.next().await);
    assert_eq!(link.noise(), Noise { late_answers: 2, unknown_answers: 2, ..Noise::default() });
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_cannot_be_read_fails_its_call_at_once_and_no_other() {
    let (link, mut peer) = link();
    let mut other = open(&link, "other").unwrap();
    let other_id = peer.asked("other").await;
    let deep = format!(r#""result":{{"a":{}{}}}"#, "[".repeat(200), "]".repeat(200));
    for members in [r#""result":[]"#, r#""result":null"#, r#""error":"no""#, r#""result":{},"error":{}"#, r#""Result":{}"#, deep.as_str()] {
        let mut exchange = open(&link, "asked").unwrap();
        let id = peer.asked("asked").await;
        let start = Instant::now();
        peer.write(format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},{members}}}\n")).await;
        assert_eq!(failure(exchange.next().await), Reason::BadAnswer, "{members}");
        assert_eq!(start.elapsed(), Duration::ZERO, "{members}");
    }
    // Not an answer at all: a request of the server's own that happens to bear the same id.
    peer.write(format!("{{\"jsonrpc\":\"2.0\",\"id\":{other_id},\"method\":\"ping\",\"params\":[]}}\n")).await;
    peer.answer(&other_id, json!({"well": true})).await;
    assert_eq!(result(other.next().await), json!({"well": true}));
    assert_eq!(link.noise(), Noise { bad_lines: 7, ..Noise::default() });
}

#[tokio::test(start_paused = true)]
async fn a_server_whose_first_answer_cannot_be_read_is_spoken_to_in_the_older_way() {
    let (link, mut peer) = link_with(1024, 1 << 20, 1 << 16);
    let greeting = tokio::spawn({
        let link = link.clone();
        async move { greet(&link, First::Discover, &speaker(), Instant::now() + Duration::from_secs(60)).await }
    });
    let id = peer.asked("server/discover").await;
    peer.answer(&id, json!(null)).await;
    let id = peer.asked("initialize").await;
    peer.answer(&id, json!({"protocolVersion": "2025-11-25", "capabilities": {}})).await;
    assert_eq!(greeting.await.unwrap().unwrap().version, Version::V2025_11_25);
}

#[tokio::test(start_paused = true)]
async fn before_the_handshake_nothing_is_cancelled() {
    let (link, mut peer) = link_with(1024, 1 << 20, 1 << 16);
    drop(open(&link, "initialize").unwrap());
    peer.asked("initialize").await;
    peer.reads_next(&link, "done").await;
}

#[tokio::test(start_paused = true)]
async fn a_detached_call_keeps_its_slot_until_the_answer_and_is_not_cancelled() {
    let (link, mut peer) = link();
    open(&link, "detached").unwrap().detach();
    let id = peer.asked("detached").await;
    assert_eq!(link.in_flight(), 1);
    peer.answer(&id, json!({})).await;
    let mut next = open(&link, "next").unwrap();
    let id = peer.asked("next").await;
    peer.answer(&id, json!({})).await;
    result(next.next().await);
    assert_eq!(link.in_flight(), 0);
    assert_eq!(link.noise(), Noise::default());
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_given_up_at_the_deadline_and_told_so() {
    let (link, mut peer) = link();
    let start = Instant::now();
    let mut exchange = open(&link, "tools/call").unwrap();
    let id = peer.asked("tools/call").await;
    assert_eq!(failure(exchange.next().await), Reason::Timeout);
    assert!(start.elapsed() >= DEADLINE.call && start.elapsed() < DEADLINE.call + Duration::from_millis(50), "{:?}", start.elapsed());
    assert_eq!(peer.read().await["params"]["requestId"], id);
    drop(exchange);
    peer.reads_next(&link, "done").await;
}

#[tokio::test(start_paused = true)]
async fn deadlines_hold_while_the_server_reads_nothing() {
    let (link, _peer) = link_with(1024, 1 << 20, 16);
    link.set_version(Version::V2025_11_25);
    let mut exchanges: Vec<_> = (0..10).map(|_| open(&link, "tools/call").unwrap()).collect();
    for exchange in &mut exchanges {
        assert_eq!(failure(exchange.next().await), Reason::Timeout);
    }
    assert_eq!(link.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn progress_arrives_before_the_answer_and_renews_the_deadline_up_to_the_hard_one() {
    let (link, mut peer) = link();
    let start = Instant::now();
    let mut exchange = open_with(&link, "tools/call", true).unwrap();
    let id = peer.asked("tools/call").await;
    for n in 1..=3 {
        tokio::time::sleep(Duration::from_secs(40)).await;
        let params = json!({"progressToken": id, "progress": n});
        peer.say(json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})).await;
        match exchange.next().await {
            Event::Progress(message) => assert_eq!(text(&message)["params"]["progress"], n),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(failure_text(exchange.next().await), "server 's' did not answer within 150 s (timeouts.call_max)");
    assert!(start.elapsed() >= DEADLINE.call_max && start.elapsed() < DEADLINE.call_max + Duration::from_secs(1));

    let mut exchange = open_with(&link, "tools/call", true).unwrap();
    assert_eq!(peer.read().await["method"], "notifications/cancelled");
    let id = peer.asked("tools/call").await;
    let params = json!({"progressToken": id, "progress": 1});
    peer.say(json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})).await;
    peer.answer(&id, json!({"last": true})).await;
    // Read both before looking.
    peer.reads_next(&link, "done").await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(matches!(exchange.next().await, Event::Progress(_)));
    assert_eq!(result(exchange.next().await), json!({"last": true}));
}

#[tokio::test(start_paused = true)]
async fn callers_of_a_full_queue_wait_for_room_and_others_do_not_notice() {
    let (full, _full_peer) = link_with(4, 1 << 20, 16);
    let (other, mut other_peer) = link();
    let mut held: Vec<_> = (0..4).map(|_| open(&full, "tools/call").unwrap()).collect();
    assert_eq!(open(&full, "tools/call").unwrap_err().reason, Reason::Busy);
    let waiting = tokio::spawn({
        let full = full.clone();
        async move { full.ready().await.map(|()| open(&full, "tools/call").is_ok()) }
    });
    let mut exchange = open(&other, "tools/call").unwrap();
    let id = other_peer.asked("tools/call").await;
    other_peer.answer(&id, json!({})).await;
    result(exchange.next().await);
    assert!(!waiting.is_finished());
    held.pop();
    assert_eq!(waiting.await.unwrap(), Ok(true));
}

#[tokio::test(start_paused = true)]
async fn lines_that_wait_are_bounded_in_bytes_and_a_closed_link_lets_the_waiting_go() {
    let (link, _peer) = link_with(1024, 1 << 20, 16);
    let line = Bytes::from(vec![b' '; 1 << 20]);
    let mut held = Vec::new();
    // Once for the writer's hand, once for the queue.
    for round in 1..=2 {
        while let Ok(opened) = link.open(Wants::NOTHING, DEADLINE, |_| line.clone()) {
            held.push(Exchange::new(opened, None));
        }
        assert_eq!(held.len(), round * limits::QUEUE_BYTES_MAX / line.len());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(open(&link, "tools/call").unwrap_err().reason, Reason::Busy);
    let waiting = tokio::spawn({
        let link = link.clone();
        async move { link.ready().await }
    });
    tokio::task::yield_now().await;
    link.close(&UpstreamError::exited(&server_id()));
    assert_eq!(waiting.await.unwrap().unwrap_err().reason, Reason::Crashed);
    for exchange in &mut held {
        assert_eq!(failure(exchange.next().await), Reason::ServerExited);
    }
}

#[tokio::test(start_paused = true)]
async fn when_a_link_is_closed_every_call_fails_once_and_its_tasks_end() {
    let (link, mut peer) = link();
    let mut exchanges: Vec<_> = (0..1000).map(|_| open(&link, "tools/call").unwrap()).collect();
    let id = peer.asked("tools/call").await;
    peer.answer(&id, json!({})).await;
    result(exchanges[0].next().await);
    link.close(&UpstreamError::exited(&server_id()));
    for exchange in &mut exchanges[1..] {
        assert_eq!(failure(exchange.next().await), Reason::ServerExited);
    }
    assert_eq!(open(&link, "tools/call").unwrap_err().reason, Reason::Crashed);
    assert_eq!(link.in_flight(), 0);
    drop(exchanges);
    peer.tasks.close();
    peer.tasks.wait().await;
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_servers_output_breaks_the_link_after_its_last_line() {
    let (link, mut peer) = link();
    let mut exchange = open(&link, "tools/call").unwrap();
    let id = peer.asked("tools/call").await;
    peer.write(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#)).await;
    drop(peer.output);
    link.signs().broken().await;
    link.drained().await;
    result(exchange.next().await);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_message_is_counted_and_skipped_and_a_long_line_dropped() {
    let (link, mut peer) = link_with(1024, 1000, 1 << 16);
    let mut exchange = open(&link, "tools/call").unwrap();
    let id = peer.asked("tools/call").await;
    peer.write("hello\r\n\r\n\n{\"a\":1}\n[]\n\u{e9}\n").await;
    peer.write(b"\xff\n").await;
    for _ in 0..100 {
        peer.write(vec![b'x'; 10_000]).await;
    }
    peer.write("\n").await;
    for byte in format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"é\":1}}}}\r\n").bytes() {
        peer.write([byte]).await;
    }
    assert_eq!(result(exchange.next().await), json!({"é": 1}));
    assert_eq!(link.noise(), Noise { bad_lines: 5, long_lines: 1, ..Noise::default() });
}

#[tokio::test(start_paused = true)]
async fn the_servers_own_requests_are_answered_and_its_changes_announced() {
    let (link, mut peer) = link();
    peer.say(json!({"jsonrpc": "2.0", "id": "a", "method": "ping"})).await;
    assert_eq!(peer.read().await, json!({"jsonrpc": "2.0", "id": "a", "result": {}}));
    peer.say(json!({"jsonrpc": "2.0", "id": 0, "method": "sampling/createMessage", "params": {}})).await;
    let refused = peer.read().await;
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(0), &json!(-32601)));
    peer.say(json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})).await;
    peer.say(json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})).await;
    link.signs().list_changed().await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_asks_without_reading_the_answers_costs_no_more_than_the_queue() {
    let (link, mut peer) = link_with(4, 1 << 20, 16);
    for n in 0..10_000 {
        peer.say(json!({"jsonrpc": "2.0", "id": n, "method": "ping"})).await;
    }
    drop(peer.output);
    link.drained().await;
    let mut answers = Vec::new();
    link.close(&UpstreamError::exited(&server_id()));
    peer.input.read_to_end(&mut answers).await.unwrap();
    // What the pipe held, and one more write that was under way.
    assert!(answers.len() <= 32, "{} bytes", answers.len());
}

/// What a server says to the first words, and what the hub makes of it.
fn speaker() -> Speaker {
    Speaker { profile: Profile::BARE, mark: Mark::new([7; 16], None) }
}

async fn check_greet(first: First, script: &[(&str, Option<Value>)]) -> Result<(Version, Duration), GreetError> {
    let (link, mut peer) = link_with(1024, 1 << 20, 1 << 16);
    let start = Instant::now();
    let greeted = tokio::spawn({
        let link = link.clone();
        async move { greet(&link, first, &speaker(), start + Duration::from_secs(60)).await.map(|greeting| (greeting, start.elapsed())) }
    });
    for (method, answer) in script {
        let request = peer.read().await;
        assert_eq!(request["method"], *method, "{request}");
        if let Some(Value::Object(mut answer)) = answer.clone() {
            answer.insert("jsonrpc".into(), "2.0".into());
            answer.insert("id".into(), request["id"].clone());
            peer.say(answer.into()).await;
        }
    }
    let (greeting, elapsed) = greeted.await.unwrap()?;
    if greeting.version != Version::STATELESS {
        assert_eq!(peer.read().await, json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    }
    assert!(greeting.declared.tools);
    assert_eq!(serde_json::from_slice::<Value>(&greeting.server_info).unwrap(), json!({"name": "x", "version": "1"}));
    Ok((greeting.version, elapsed))
}

fn discovered() -> Option<Value> {
    Some(json!({"result": {
        "supportedVersions": ["2030-01-01", "2026-07-28"], "capabilities": {"tools": {}},
        "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "x", "version": "1"}},
    }}))
}

fn initialized(version: &str) -> Option<Value> {
    let info = json!({"name": "x", "version": "1"});
    Some(json!({"result": {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info}}))
}

fn refused(code: i64, data: Value) -> Option<Value> {
    Some(json!({"error": {"code": code, "message": "no", "data": data}}))
}

#[tokio::test(start_paused = true)]
async fn the_era_of_a_server_follows_from_its_first_words() {
    use {First::*, Version::*};
    let silence = Duration::from_secs(5);
    let now = Duration::ZERO;
    type Case<'a> = (First, &'a [(&'a str, Option<Value>)], Version, Duration);
    let cases: &[Case<'_>] = &[
        (Discover, &[("server/discover", discovered())], V2026_07_28, now),
        (Discover, &[("server/discover", refused(-32601, Value::Null)), ("initialize", initialized("2025-11-25"))], V2025_11_25, now),
        (
            Discover,
            &[("server/discover", refused(-32022, json!({"supported": ["2025-06-18"]}))), ("initialize", initialized("2025-06-18"))],
            V2025_06_18,
            now,
        ),
        // Answers `{}` to whatever it does not know.
        (Discover, &[("server/discover", Some(json!({"result": {}}))), ("initialize", initialized("2024-11-05"))], V2024_11_05, now),
        (Discover, &[("server/discover", None), ("initialize", initialized("2025-03-26"))], V2025_03_26, silence),
        (Initialize, &[("initialize", initialized("2025-06-18"))], V2025_06_18, now),
        (
            Initialize,
            &[
                ("initialize", refused(-32602, json!({"supported": ["2024-11-05", "2025-03-26"]}))),
                ("initialize", initialized("2025-03-26")),
            ],
            V2025_03_26,
            now,
        ),
        (Initialize, &[("initialize", refused(-32602, Value::Null)), ("initialize", initialized("2024-11-05"))], V2024_11_05, now),
    ];
    for (first, script, version, waited) in cases {
        assert_eq!(check_greet(*first, script).await, Ok((*version, *waited)), "{script:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_cannot_be_spoken_to_is_refused_with_the_reason() {
    let unknown = check_greet(First::Initialize, &[("initialize", initialized("2030-01-01"))]).await;
    assert!(matches!(unknown, Err(GreetError::Refused(_))), "{unknown:?}");
    let no = || ("initialize", refused(-32603, Value::Null));
    assert!(matches!(check_greet(First::Initialize, &[no(), no()]).await, Err(GreetError::Refused(_))));
    let silent = check_greet(First::Discover, &[("server/discover", None), ("initialize", None)]).await;
    assert_eq!(silent, Err(GreetError::Silent));
}

#[tokio::test(start_paused = true)]
async fn a_slow_stateless_server_is_not_taken_for_one_of_the_handshake_era() {
    let (link, mut peer) = link_with(1024, 1 << 20, 1 << 16);
    let until = Instant::now() + Duration::from_secs(60);
    let greeted = tokio::spawn(async move { greet(&link, First::Discover, &speaker(), until).await });
    let discover = peer.asked("server/discover").await;
    let initialize = peer.asked("initialize").await;
    peer.answer(&discover, discovered().unwrap()["result"].clone()).await;
    peer.say(json!({"jsonrpc": "2.0", "id": initialize, "error": {"code": -32601, "message": "no"}})).await;
    assert_eq!(greeted.await.unwrap().unwrap().version, Version::STATELESS);
}

#[tokio::test(start_paused = true)]
async fn all_pages_of_tools_are_fetched_byte_for_byte() {
    let (link, mut peer) = link();
    let link = Wire::Pipe(link);
    let listing =
        tokio::spawn(
            async move { listing::list(&link, Of::Tools, To { version: Version::V2026_07_28, told: Profile::BARE }, DEADLINE).await },
        );
    let pages = [
        (Value::Null, r#"{"tools":[{"name":"a", "x": 1.0 }],"nextCursor":"","ttlMs":5000,"cacheScope":"public"}"#),
        (json!(""), r#"{"tools":[{"name":"b","é":"\u00e9"},7],"nextCursor":"\"q","ttlMs":60000,"cacheScope":"public"}"#),
        (json!("\"q"), r#"{"tools":[],"nextCursor":"","ttlMs":7000,"cacheScope":"public"}"#),
    ];
    for (cursor, page) in pages {
        let request = peer.read().await;
        assert_eq!(request["params"]["cursor"], cursor);
        peer.write(format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{page}}}\n", request["id"])).await;
    }
    // The cursor of the third page came before: the list ends.
    let tools = listing.await.unwrap().unwrap();
    assert_eq!(tools.definitions, [r#"{"name":"a", "x": 1.0 }"#, r#"{"name":"b","é":"\u00e9"}"#, "7"]);
    assert_eq!((tools.ttl_ms, tools.public), (Some(5000), true));
}

#[tokio::test(start_paused = true)]
async fn endless_lists_end_at_the_limit() {
    let (link, mut peer) = link();
    let link = Wire::Pipe(link);
    let listing =
        tokio::spawn(
            async move { listing::list(&link, Of::Tools, To { version: Version::V2025_11_25, told: Profile::BARE }, DEADLINE).await },
        );
    for page in 0..limits::LIST_PAGES_MAX {
        let id = peer.asked("tools/list").await;
        peer.answer(&id, json!({"tools": [{"name": page}], "nextCursor": page.to_string()})).await;
    }
    let tools = listing.await.unwrap().unwrap();
    assert_eq!(tools.definitions.len(), limits::LIST_PAGES_MAX);
    assert_eq!((tools.ttl_ms, tools.public), (None, false));
}
