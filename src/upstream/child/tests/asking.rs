//! What servers ask and say by themselves, and whom it reaches.

use std::sync::Arc;

use futures_util::FutureExt;
use tokio::sync::mpsc;

use super::*;
use crate::upstream::{News, Question, What, Whose};

const ASKED: Wants = Wants { asks: true, ..Wants::NOTHING };
const NOTED: Wants = Wants { notes: true, ..Wants::NOTHING };

/// A link of a session's own connection, and what it says to the desk.
fn session_link(can_be_asked: bool) -> (Link, Peer, mpsc::UnboundedReceiver<News>) {
    let (sender, news) = mpsc::unbounded_channel();
    let outlet = Outlet::new(server_id(), 0, Some(Arc::new(move |news| drop(sender.send(news)))), None);
    outlet.settle(Some((Whose::Session("s1".into()), can_be_asked)));
    let (link, peer) = link_of(outlet, 1024, 1 << 20, 1 << 16);
    link.set_version(Version::V2025_11_25);
    (link, peer, news)
}

fn open_wanting(link: &Link, wants: Wants) -> Exchange {
    let opened = link.open(wants, DEADLINE, |wire| outgoing::own(wire, "tools/call", "{}", Version::V2025_11_25));
    Exchange::new(opened.unwrap(), None)
}

impl Peer {
    async fn ask(&mut self, id: Value) {
        self.say(json!({"jsonrpc": "2.0", "id": id, "method": "elicitation/create", "params": {"message": "?"}})).await;
    }

    async fn take_back(&mut self, id: Value) {
        self.say(json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}})).await;
    }

    /// The hub has read everything said so far.
    async fn pinged(&mut self) {
        self.say(json!({"jsonrpc": "2.0", "id": "ping", "method": "ping"})).await;
        assert_eq!(self.read().await, json!({"jsonrpc": "2.0", "id": "ping", "result": {}}));
    }
}

async fn question(exchange: &mut Exchange) -> Question {
    match exchange.next().await {
        Event::Question(question) => question,
        other => panic!("{other:?}"),
    }
}

fn answer(question: Question, result: &str) {
    let id = question.id();
    question.answer(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#).into());
}

#[tokio::test(start_paused = true)]
async fn the_newest_call_that_may_be_asked_is_asked_and_its_answer_bears_the_servers_id() {
    let (link, mut peer) = link();
    let mut older = open_wanting(&link, ASKED);
    let mut newest = open_wanting(&link, ASKED);
    let plain = open_wanting(&link, NOTED);
    for _ in 0..3 {
        peer.asked("tools/call").await;
    }
    // Ids of the server's own, given anew once they were answered.
    for id in [json!(0), json!("0"), json!(65536), json!("a\"b"), json!(0)] {
        peer.ask(id.clone()).await;
        let question = question(&mut newest).await;
        assert_eq!(serde_json::from_slice::<Value>(question.id().token()).unwrap(), id);
        assert_eq!(text(question.message())["params"]["message"], "?");
        answer(question, r#"{"action":"accept"}"#);
        assert_eq!(peer.read().await, json!({"jsonrpc": "2.0", "id": id, "result": {"action": "accept"}}));
    }
    newest.detach();
    peer.ask(json!(7)).await;
    answer(question(&mut older).await, "{}");
    assert_eq!(peer.read().await["id"], 7);
    older.detach();
    peer.ask(json!(8)).await;
    assert_eq!(peer.read().await["error"]["code"], -32601, "who has left is not asked");
    drop(plain);
}

#[tokio::test(start_paused = true)]
async fn a_question_is_answered_exactly_once_whoever_drops_it() {
    let (link, mut peer) = link();
    let mut exchange = open_wanting(&link, ASKED);
    peer.asked("tools/call").await;
    peer.ask(json!(1)).await;
    let held = question(&mut exchange).await;
    peer.ask(json!(2)).await;
    peer.ask(json!(3)).await;
    // Nobody could tell two of one id apart.
    peer.ask(json!(3)).await;
    peer.pinged().await;
    drop(exchange);
    // What was not taken out goes with the call; what was taken out is its taker's.
    let mut lines = [peer.read().await, peer.read().await, peer.read().await];
    lines.sort_by_key(|line| line["id"].as_u64());
    assert_eq!(lines.each_ref().map(|line| line["id"].as_u64()), [None, Some(2), Some(3)]);
    assert_eq!(lines[0]["method"], "notifications/cancelled");
    assert_eq!((&lines[1]["error"]["code"], &lines[2]["error"]["code"]), (&json!(-32603), &json!(-32603)));
    answer(held, "{}");
    assert_eq!(peer.read().await, json!({"jsonrpc": "2.0", "id": 1, "result": {}}));
    peer.reads_next(&link, "done").await;
}

#[tokio::test(start_paused = true)]
async fn a_question_taken_back_is_forgotten_or_told_to_who_has_it() {
    let (link, mut peer) = link();
    let mut exchange = open_wanting(&link, ASKED);
    let call = peer.asked("tools/call").await;
    peer.ask(json!("unseen")).await;
    peer.take_back(json!("unseen")).await;
    peer.ask(json!("seen")).await;
    let seen = question(&mut exchange).await;
    peer.take_back(json!("never asked")).await;
    peer.take_back(json!("seen")).await;
    assert!(matches!(exchange.next().await, Event::Withdrawn(id) if id == seen.id()));
    // The same id again, and only the new one counts.
    peer.ask(json!("seen")).await;
    let again = question(&mut exchange).await;
    answer(seen, r#"{"of":"the first"}"#);
    answer(again, r#"{"of":"the second"}"#);
    assert_eq!(peer.read().await["result"]["of"], "the second");
    peer.answer(&call, json!({})).await;
    result(exchange.next().await);
    peer.reads_next(&link, "done").await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_over_several_lines_is_one_line_to_the_server() {
    let (link, mut peer) = link();
    let mut exchange = open_wanting(&link, ASKED);
    peer.asked("tools/call").await;
    peer.ask(json!(1)).await;
    let response = "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\n{\"id\":9,\"method\":\"tools/call\"}\r\n}";
    question(&mut exchange).await.answer(response.into());
    assert_eq!(peer.read().await, json!({"jsonrpc": "2.0", "id": 1, "result": {"id": 9, "method": "tools/call"}}));
}

#[tokio::test(start_paused = true)]
async fn while_a_question_is_open_only_the_hard_deadline_ends_the_calls_it_may_belong_to() {
    let (link, mut peer) = link();
    let start = Instant::now();
    let mut older = open_wanting(&link, ASKED);
    let mut newest = open_wanting(&link, ASKED);
    let mut plain = open_wanting(&link, Wants::NOTHING);
    for _ in 0..3 {
        peer.asked("tools/call").await;
    }
    peer.ask(json!(1)).await;
    let question = question(&mut newest).await;
    assert_eq!(failure(plain.next().await), Reason::Timeout);
    assert!(start.elapsed() < DEADLINE.call + Duration::from_secs(1));
    tokio::time::sleep(Duration::from_secs(20)).await;
    answer(question, "{}");
    // From the answer on they have the time of a call again.
    assert_eq!(failure(older.next().await), Reason::Timeout);
    assert_eq!(failure(newest.next().await), Reason::Timeout);
    let waited = start.elapsed();
    assert!(waited >= Duration::from_secs(140) && waited < Duration::from_secs(141), "{waited:?}");

    let start = Instant::now();
    let mut last = open_wanting(&link, ASKED);
    peer.ask(json!(2)).await;
    let unanswered = self::question(&mut last).await;
    assert_eq!(failure(last.next().await), Reason::Timeout);
    assert!(start.elapsed() >= DEADLINE.call_max && start.elapsed() < DEADLINE.call_max + Duration::from_secs(1));
    drop(unanswered);
}

#[tokio::test(start_paused = true)]
async fn from_when_a_question_is_taken_back_its_call_has_the_time_of_a_call_again() {
    let (link, mut peer) = link();
    let start = Instant::now();
    let mut exchange = open_wanting(&link, ASKED);
    peer.asked("tools/call").await;
    peer.ask(json!(1)).await;
    let _question = question(&mut exchange).await;
    // The timer has looked once more meanwhile, and found nothing due.
    let open_for = DEADLINE.call + Duration::from_secs(10);
    tokio::time::sleep(open_for).await;
    peer.take_back(json!(1)).await;
    assert!(matches!(exchange.next().await, Event::Withdrawn(_)));
    assert_eq!(failure(exchange.next().await), Reason::Timeout);
    let waited = start.elapsed();
    assert!(waited >= open_for + DEADLINE.call && waited < open_for + DEADLINE.call + Duration::from_secs(1), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn questions_without_an_answer_and_answers_without_a_reader_are_bounded() {
    // A pipe that takes nothing more: whatever is answered waits in the hub.
    let (link, mut peer) = link_with(1024, 1 << 20, 16);
    link.set_version(Version::V2025_11_25);
    let mut exchange = open_wanting(&link, ASKED);
    let mut taken = Vec::new();
    for n in 0..limits::SERVER_QUESTIONS_MAX + 5 {
        peer.ask(json!(n)).await;
        if n < limits::SERVER_QUESTIONS_MAX {
            taken.push(question(&mut exchange).await);
        }
    }
    for question in taken {
        answer(question, "{}");
    }
    for n in 100..200 {
        peer.ask(json!(n)).await;
    }
    let call = peer.asked("tools/call").await;
    let mut answers = Vec::new();
    let mut refused = 0;
    while answers.len() < limits::SERVER_QUESTIONS_MAX {
        let line = peer.read().await;
        if line["result"].is_object() {
            answers.push(line["id"].as_u64().unwrap());
        } else {
            assert_eq!(line["error"]["code"], -32601, "{line}");
            refused += 1;
        }
    }
    assert!(answers.iter().copied().eq(0..limits::SERVER_QUESTIONS_MAX as u64), "{answers:?}");
    assert!(refused <= 105);
    peer.answer(&call, json!({})).await;
}

#[tokio::test(start_paused = true)]
async fn outside_calls_a_session_is_asked_and_nobody_else() {
    let (link, mut peer, mut news) = session_link(true);
    peer.ask(json!(0)).await;
    let said = news.recv().await.unwrap();
    assert_eq!((said.server, said.whose), (server_id(), Whose::Session("s1".into())));
    let What::Question(question) = said.what else { panic!("{:?}", said.what) };
    answer(question, r#"{"roots":[]}"#);
    assert_eq!(peer.read().await, json!({"jsonrpc": "2.0", "id": 0, "result": {"roots": []}}));
    // Whoever may be asked within a call is preferred.
    let mut exchange = open_wanting(&link, ASKED);
    peer.asked("tools/call").await;
    peer.ask(json!(1)).await;
    answer(self::question(&mut exchange).await, "{}");
    assert_eq!(peer.read().await["id"], 1);
    drop(exchange);
    assert_eq!(peer.read().await["method"], "notifications/cancelled");
    peer.ask(json!("x")).await;
    let What::Question(held) = news.recv().await.unwrap().what else { panic!("a question") };
    peer.take_back(json!("x")).await;
    assert!(matches!(news.recv().await.unwrap().what, What::Withdrawn(id) if id == held.id()));
    peer.ask(json!("y")).await;
    let What::Question(open) = news.recv().await.unwrap().what else { panic!("a question") };
    link.close(&UpstreamError::exited(&server_id()));
    assert!(matches!(news.recv().await.unwrap().what, What::Withdrawn(id) if id == open.id()));
    drop((held, open));
    assert!(news.try_recv().is_err());

    let (_link, mut peer, mut news) = session_link(false);
    peer.ask(json!(0)).await;
    assert_eq!(peer.read().await["error"]["code"], -32601, "a session that was never told of");
    assert!(news.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_waits_with_a_token_hears_of_it_until_its_question_is_closed() {
    async fn asks(peer: &mut Peer, id: &str, token: Value) {
        let params = json!({"message": "?", "_meta": {"progressToken": token}});
        peer.say(json!({"jsonrpc": "2.0", "id": id, "method": "elicitation/create", "params": params})).await;
    }
    async fn waits(peer: &mut Peer, token: &Value, progress: u32) {
        let since = Instant::now();
        let said = peer.read().await;
        assert_eq!((&said["method"], since.elapsed()), (&json!("notifications/progress"), limits::QUESTION_PROGRESS), "{said}");
        assert_eq!((&said["params"]["progressToken"], &said["params"]["progress"]), (token, &json!(progress)), "{said}");
    }
    let (link, mut peer) = link();
    for token in [json!(7), json!("a\"b"), json!(0)] {
        for ends in ["answered", "dropped", "withdrawn", "with its call"] {
            let mut exchange = open_wanting(&link, ASKED);
            peer.asked("tools/call").await;
            asks(&mut peer, "q", token.clone()).await;
            let question = question(&mut exchange).await;
            for progress in 1..=4 {
                waits(&mut peer, &token, progress).await;
            }
            match ends {
                "answered" => answer(question, "{}"),
                "dropped" => drop(question),
                "withdrawn" => {
                    peer.take_back(json!("q")).await;
                    assert!(matches!(exchange.next().await, Event::Withdrawn(_)));
                    drop(question);
                }
                _ => {
                    drop(exchange);
                    assert_eq!(peer.read().await["method"], "notifications/cancelled");
                    drop(question);
                    assert_eq!(peer.read().await["error"]["code"], -32603);
                    tokio::time::sleep(3 * limits::QUESTION_PROGRESS).await;
                    peer.reads_next(&link, "done").await;
                    continue;
                }
            }
            if ends != "withdrawn" {
                assert_eq!(peer.read().await["id"], "q", "{ends}");
            }
            tokio::time::sleep(3 * limits::QUESTION_PROGRESS).await;
            peer.reads_next(&link, "done").await;
            drop(exchange);
            assert_eq!(peer.read().await["method"], "notifications/cancelled");
        }
    }
    // What is no token, and what asks for no progress.
    for token in [json!(null), json!({}), json!([1]), json!(true), json!("x".repeat(2000))] {
        let mut exchange = open_wanting(&link, ASKED);
        peer.asked("tools/call").await;
        asks(&mut peer, "q", token).await;
        let question = question(&mut exchange).await;
        tokio::time::sleep(3 * limits::QUESTION_PROGRESS).await;
        answer(question, "{}");
        assert_eq!(peer.read().await["id"], "q");
        drop(exchange);
        assert_eq!(peer.read().await["method"], "notifications/cancelled");
    }
    link.close(&link.lost());
    peer.tasks.close();
    peer.tasks.wait().await;
}

#[tokio::test(start_paused = true)]
async fn servers_of_the_stateless_era_may_not_ask() {
    let (link, mut peer) = link_with(1024, 1 << 20, 1 << 16);
    link.set_version(Version::STATELESS);
    let exchange = open_wanting(&link, ASKED);
    peer.asked("tools/call").await;
    peer.ask(json!(1)).await;
    assert_eq!(peer.read().await["error"]["code"], -32601);
    drop(exchange);
}

#[tokio::test(start_paused = true)]
async fn a_log_record_is_for_the_only_call_or_for_the_connection() {
    let (link, mut peer, mut news) = session_link(true);
    let log = |n: u64| json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": n}});
    let mut noted = open_wanting(&link, NOTED);
    let hubs = [open_wanting(&link, Wants::QUIET), open_wanting(&link, Wants::HUBS)];
    peer.say(log(1)).await;
    let Event::Note(message) = noted.next().await else { panic!("a note") };
    assert_eq!(text(&message)["params"]["data"], 1);
    let other = open_wanting(&link, NOTED);
    peer.say(log(2)).await;
    let What::Log(message) = news.recv().await.unwrap().what else { panic!("a record") };
    assert_eq!(text(&message)["params"]["data"], 2);
    drop((noted, other, hubs));
    let plain = open_wanting(&link, Wants::NOTHING);
    peer.say(log(3)).await;
    assert!(matches!(news.recv().await.unwrap().what, What::Log(_)), "nobody takes notes");
    drop(plain);
    let huge = "x".repeat(limits::NOTE_BYTES_MAX);
    peer.say(json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": huge}})).await;
    peer.say(json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": "a:b"}})).await;
    assert!(matches!(news.recv().await.unwrap().what, What::Updated(_)));
    peer.say(json!({"jsonrpc": "2.0", "method": "notifications/own/thing"})).await;
    assert!(matches!(news.recv().await.unwrap().what, What::Note(_)));
}

#[tokio::test(start_paused = true)]
async fn what_is_logged_of_a_call_given_up_is_not_the_next_ones() {
    let (link, mut peer, mut news) = session_link(true);
    let log = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "of the first"}});
    let given_up = open_wanting(&link, NOTED);
    let first = peer.asked("tools/call").await;
    drop(given_up);
    peer.asked("notifications/cancelled").await;
    let mut noted = open_wanting(&link, NOTED);
    peer.asked("tools/call").await;
    peer.say(log.clone()).await;
    assert!(matches!(news.recv().await.unwrap().what, What::Log(_)), "the server may still be at the first");
    peer.answer(&first, json!({})).await;
    peer.say(log).await;
    assert!(matches!(noted.next().await, Event::Note(_)), "it has ended the first");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_an_elicitation_is_told_to_the_newest_call_that_may_be_asked_and_to_the_desk() {
    let (link, mut peer, mut news) = session_link(true);
    let completed = json!({"jsonrpc": "2.0", "method": "notifications/elicitation/complete", "params": {"elicitationId": "e"}});
    let plain = open_wanting(&link, NOTED);
    peer.say(completed.clone()).await;
    assert!(matches!(news.recv().await.unwrap().what, What::Elicited { is_told: false, .. }));
    let (mut older, mut newest) = (open_wanting(&link, ASKED), open_wanting(&link, ASKED));
    peer.say(completed).await;
    assert!(matches!(news.recv().await.unwrap().what, What::Elicited { is_told: true, .. }));
    assert!(matches!(newest.next().await, Event::Note(_)));
    assert!(older.next().now_or_never().is_none(), "once is enough for the session whose calls both are");
    drop(plain);
}

/// Dropping the last handle of an inbox answers its questions; that must not happen under the lock that the answer takes.
#[tokio::test(start_paused = true)]
async fn closing_a_link_with_questions_in_every_place_locks_nothing() {
    let (link, mut peer) = link();
    let mut exchanges = Vec::new();
    for n in 0..8 {
        exchanges.push(open_wanting(&link, ASKED));
        peer.asked("tools/call").await;
        peer.ask(json!(n)).await;
    }
    peer.pinged().await;
    link.close(&UpstreamError::exited(&server_id()));
    let mut taken = Vec::new();
    for mut exchange in exchanges {
        loop {
            match exchange.next().await {
                Event::Question(question) => taken.push(question),
                Event::Failed(error) => break assert_eq!(error.reason, Reason::ServerExited),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(taken.len(), 8);
}
