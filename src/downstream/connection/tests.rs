//! Timers, drain and hang-ups, with virtual time over in-memory pipes and a stub for the doors.

use super::*;
use crate::{
    downstream::{ReplyBody, body, reply, watch::Watch},
    protocol::Body,
};
use futures_util::stream;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, timeout},
};

/// What happened to a request that ended without an answer.
struct Gone(mpsc::UnboundedSender<&'static str>);
impl Drop for Gone {
    fn drop(&mut self) {
        let _ = self.0.send("gone");
    }
}

struct Client {
    stream: DuplexStream,
    watch: Arc<Watch>,
    served: JoinHandle<()>,
    news: mpsc::UnboundedReceiver<&'static str>,
}

/// A connection whose handler does what the path says.
fn connect() -> Client {
    connect_through(1 << 20)
}
fn connect_through(pipe_bytes: usize) -> Client {
    connect_to(Watch::start(8), pipe_bytes)
}
fn connect_to(watch: Arc<Watch>, pipe_bytes: usize) -> Client {
    let (stream, ours) = tokio::io::duplex(pipe_bytes);
    let (tell, news) = mpsc::unbounded_channel();
    let place = watch.admit().unwrap();
    let served = tokio::spawn(serve(ours, place, move |request, pulse| stub(request, pulse, tell.clone())));
    Client { stream, watch, served, news }
}

async fn stub(mut request: Request<Incoming>, pulse: Arc<Pulse>, tell: mpsc::UnboundedSender<&'static str>) -> Reply {
    match request.uri().path() {
        "/body" => match body::read(request.body_mut(), &pulse, 100).await {
            Ok(bytes) => Reply::new(ReplyBody::bytes(bytes)),
            Err(failure) => failure.to_reply(),
        },
        "/never" => {
            let _gone = Gone(tell.clone());
            let _ = tell.send("asked");
            pending().await
        }
        "/large" => Reply::new(ReplyBody::bytes(vec![b'x'; 1 << 20])),
        "/alarm" => {
            pulse.alarm(Duration::from_secs(10)).await;
            reply::status(StatusCode::NO_CONTENT)
        }
        "/stream" => {
            let gone = Gone(tell);
            reply::events(stream::unfold((pulse, gone), |(pulse, gone)| async move {
                pulse.alarm(Duration::from_secs(15)).await;
                Some((Body::one(": ping\n\n".into()), (pulse, gone)))
            }))
        }
        "/standing" => {
            let gone = Gone(tell);
            reply::standing(stream::unfold((pulse, gone), |(pulse, gone)| async move {
                pulse.alarm(Duration::from_secs(15)).await;
                Some((Body::one(": ping\n\n".into()), (pulse, gone)))
            }))
        }
        "/last-words" => reply::standing(stream::iter(["good", "", "bye"].map(|word| Body::one(word.into())))),
        "/standing-flood" => {
            let gone = Gone(tell);
            reply::standing(stream::unfold(gone, |gone| async move { Some((Body::one(vec![b'x'; 4096].into()), gone)) }))
        }
        "/flood" => {
            let gone = Gone(tell);
            reply::events(stream::unfold(gone, |gone| async move { Some((Body::one(vec![b'x'; 4096].into()), gone)) }))
        }
        _ => reply::status(StatusCode::NO_CONTENT),
    }
}

impl Client {
    async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }
    async fn ask(&mut self, path: &str) {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")).await;
    }
    /// Reads until `end` has come.
    async fn hear(&mut self, end: &str) -> String {
        let mut heard = Vec::new();
        while !heard.ends_with(end.as_bytes()) {
            let mut byte = [0];
            assert_eq!(self.stream.read(&mut byte).await.unwrap(), 1, "closed after {:?}", String::from_utf8_lossy(&heard));
            heard.push(byte[0]);
        }
        String::from_utf8(heard).unwrap()
    }
    async fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest).await;
        String::from_utf8(rest).unwrap()
    }
    /// Seconds until the hub closes this connection.
    async fn closed_after(&mut self) -> u64 {
        let start = Instant::now();
        self.rest().await;
        start.elapsed().as_secs()
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_closed_after_ten_seconds() {
    let after = connect().closed_after().await;
    assert!((10..=12).contains(&after), "{after}");
}

#[tokio::test(start_paused = true)]
async fn a_trickled_head_is_cut_ten_seconds_after_its_first_byte() {
    let mut client = connect();
    let start = Instant::now();
    for byte in "GET / HTTP/1.1\r\nhost: localhost\r\nx: ".chars().cycle() {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if client.stream.write_all(&[byte as u8]).await.is_err() {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "never cut");
    }
    assert!((10..=14).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_lives_for_seventy_five_seconds_after_its_last_answer() {
    let mut client = connect();
    client.ask("/").await;
    client.hear("\r\n\r\n").await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    client.ask("/").await;
    assert!(client.hear("\r\n\r\n").await.starts_with("HTTP/1.1 204"));
    let after = client.closed_after().await;
    assert!((75..=77).contains(&after), "{after}");
}

#[tokio::test(start_paused = true)]
async fn a_handler_may_take_longer_than_every_timer() {
    let mut client = connect();
    client.ask("/never").await;
    assert!(timeout(Duration::from_secs(3600), client.rest()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_is_cut_after_ten_seconds() {
    let mut client = connect();
    client.send("POST /body HTTP/1.1\r\nhost: localhost\r\ncontent-length: 50\r\n\r\nhalf").await;
    let after = client.closed_after().await;
    assert!((10..=12).contains(&after), "{after}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_trickles_is_cut_after_sixty_seconds() {
    let mut client = connect();
    client.send("POST /body HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99\r\n\r\n").await;
    let start = Instant::now();
    while client.stream.write_all(b"x").await.is_ok() {
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(start.elapsed() < Duration::from_secs(90), "never cut");
    }
    assert!((60..=66).contains(&start.elapsed().as_secs()));
}

#[tokio::test(start_paused = true)]
async fn a_body_comes_whole_however_it_is_chunked() {
    let mut client = connect();
    client.send("POST /body HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    client.send("4\r\ndefg\r\n0\r\n\r\n").await;
    assert!(client.hear("abcdefg").await.contains("content-length: 7"));
}

#[tokio::test(start_paused = true)]
async fn a_body_over_the_limit_is_refused_announced_or_not_and_the_answer_arrives() {
    for request in [
        "POST /body HTTP/1.1\r\nhost: localhost\r\ncontent-length: 101\r\n\r\n".to_owned(),
        format!("POST /body HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n65\r\n{}\r\n", "x".repeat(101)),
    ] {
        let mut client = connect();
        client.send(&request).await;
        let answer = client.rest().await;
        assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("VALIDATION_ERROR"), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_leaves_the_body_unread_says_that_the_connection_ends() {
    for (path, length, ends) in [("/", 50, true), ("/", 3, true), ("/", 0, false), ("/body", 101, true), ("/body", 3, false)] {
        let mut client = connect();
        client.send(&format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n")).await;
        client.send(&"x".repeat(length.min(3))).await;
        let head = client.hear("\r\n\r\n").await;
        assert_eq!(head.contains("connection: close"), ends, "{path} {length}: {head}");
        if ends {
            client.rest().await;
        } else if path == "/" {
            client.ask("/").await;
            client.hear("\r\n\r\n").await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_takes_nothing_for_thirty_seconds_is_closed() {
    let mut client = connect_through(1024);
    client.ask("/large").await;
    let start = Instant::now();
    (&mut client.served).await.unwrap();
    let after = start.elapsed().as_secs();
    assert!((30..=32).contains(&after), "{after}");
    assert_eq!(client.watch.open(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_not_read_is_closed_after_thirty_seconds_and_its_source_dropped() {
    for path in ["/flood", "/standing-flood"] {
        let mut client = connect_through(1024);
        client.ask(path).await;
        let start = Instant::now();
        assert_eq!(client.news.recv().await, Some("gone"));
        let after = start.elapsed().as_secs();
        assert!((30..=32).contains(&after), "{path}: {after}");
        client.watch.closed().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_read_slowly_lives_on() {
    for path in ["/flood", "/standing-flood"] {
        let mut client = connect_through(1024);
        client.ask(path).await;
        let start = Instant::now();
        let mut bytes = [0; 256];
        while start.elapsed() < Duration::from_secs(300) {
            assert!(client.stream.read(&mut bytes).await.unwrap() > 0, "{path}: cut after {:?}", start.elapsed());
            tokio::time::sleep(Duration::from_secs(20)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_standing_answer_leaves_the_machinery_of_requests_and_ends_with_its_client() {
    let mut client = connect();
    client.ask("/").await;
    client.hear("\r\n\r\n").await;
    client.ask("/standing").await;
    let head = client.hear("\r\n\r\n").await;
    for line in ["HTTP/1.1 200 OK\r\n", "\r\ncontent-type: text/event-stream\r\n", "\r\ndate: ", "\r\ntransfer-encoding: chunked\r\n"] {
        assert!(head.contains(line), "{head}");
    }
    (&mut client.served).await.unwrap();
    let start = Instant::now();
    client.send("what is said now is not listened to").await;
    for _ in 0..3 {
        assert_eq!(client.hear("\n\n\r\n").await, "8\r\n: ping\n\n\r\n");
    }
    assert!((45..=50).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    assert_eq!(client.watch.open(), 1);
    drop(client.stream);
    assert_eq!(client.news.recv().await, Some("gone"));
    client.watch.closed().await;
}

#[tokio::test(start_paused = true)]
async fn a_standing_answer_that_ends_ends_its_connection() {
    let mut client = connect();
    client.ask("/last-words").await;
    assert!(client.hear("\r\n\r\n").await.contains("\r\nconnection: close\r\n"));
    assert_eq!(client.rest().await, "4\r\ngood\r\n3\r\nbye\r\n0\r\n\r\n");
    drop(client.stream);
    client.watch.closed().await;
}

#[tokio::test(start_paused = true)]
async fn draining_leaves_a_standing_answer_to_whoever_fills_it_and_closing_does_not() {
    let mut client = connect();
    client.ask("/standing").await;
    client.hear("\r\n\r\n").await;
    client.watch.drain();
    client.hear(": ping\n\n").await;
    client.watch.close();
    assert_eq!(client.news.recv().await, Some("gone"));
    client.watch.closed().await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_stand_is_streamed_like_any_other() {
    let mut client = connect();
    client.send("GET /last-words HTTP/1.0\r\nhost: localhost\r\n\r\n").await;
    let heard = client.rest().await;
    assert!(heard.ends_with("\r\n\r\ngoodbye"), "{heard}");

    // An answer before it that still waits to be read must not be lost.
    let mut client = connect_through(1024);
    client.ask("/large").await;
    client.ask("/last-words").await;
    let heard = client.hear("bye\r\n").await;
    let (_, body) = heard.split_once("\r\n\r\n").unwrap();
    assert_eq!(body.find(|byte| byte != 'x'), Some(1 << 20));
    assert!(body[1 << 20..].starts_with("HTTP/1.1 200"));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_drops_its_request_at_once() {
    let mut client = connect();
    client.ask("/never").await;
    assert_eq!(client.news.recv().await, Some("asked"));
    drop(client.stream);
    let start = Instant::now();
    assert_eq!(client.news.recv().await, Some("gone"));
    assert_eq!(start.elapsed(), Duration::ZERO);
    client.watch.closed().await;
}

#[tokio::test(start_paused = true)]
async fn an_alarm_wakes_a_handler_and_a_stream_without_a_timer() {
    let mut client = connect();
    client.ask("/alarm").await;
    let start = Instant::now();
    client.hear("\r\n\r\n").await;
    assert!((10..=12).contains(&start.elapsed().as_secs()));

    client.ask("/stream").await;
    for _ in 0..3 {
        client.hear(": ping\n\n").await;
    }
    assert!((55..=62).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    drop(client.stream);
    assert_eq!(client.news.recv().await, Some("gone"));
}

#[tokio::test(start_paused = true)]
async fn draining_does_not_wait_for_idle_clients_to_hang_up() {
    let mut idle = connect();
    idle.ask("/").await;
    idle.hear("\r\n\r\n").await;
    let fresh = connect_to(idle.watch.clone(), 1 << 20);
    // A connection that was never polled has had no chance to be idle.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let start = Instant::now();
    idle.watch.drain();
    idle.watch.closed().await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    for mut client in [idle, fresh] {
        assert_eq!(client.rest().await, "");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_came_before_the_drain_is_answered() {
    let mut client = connect();
    client.ask("/").await;
    client.hear("\r\n\r\n").await;
    // In the pipe, but not read yet, when the order comes.
    client.ask("/").await;
    client.watch.drain();
    let heard = client.rest().await;
    assert!(heard.starts_with("HTTP/1.1 204") && heard.contains("connection: close"), "{heard}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_taken_yet_keeps_its_connection_while_draining() {
    let mut client = connect_through(1024);
    client.ask("/large").await;
    client.hear("\r\n\r\n").await;
    client.watch.drain();
    assert_eq!(client.rest().await.len(), 1 << 20);
}

#[tokio::test(start_paused = true)]
async fn draining_closes_busy_connections_after_their_answer() {
    let mut busy = connect();
    busy.ask("/alarm").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    busy.watch.drain();
    assert!(busy.rest().await.starts_with("HTTP/1.1 204"));
    drop(busy.stream);
    busy.watch.closed().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_comes_while_draining_is_answered_once() {
    let watch = Watch::start(8);
    watch.drain();
    let mut late = connect_to(watch, 1 << 20);
    let start = Instant::now();
    late.ask("/").await;
    late.ask("/").await;
    let heard = late.rest().await;
    assert_eq!(heard.matches("HTTP/1.1 204").count(), 1, "{heard}");
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn closing_cuts_what_is_still_running() {
    let mut client = connect();
    client.ask("/never").await;
    assert_eq!(client.news.recv().await, Some("asked"));
    client.watch.close();
    assert_eq!(client.news.recv().await, Some("gone"));
    client.watch.closed().await;
    assert_eq!(client.rest().await, "");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_hangs_up_after_the_last_answer_is_cut_soon() {
    let mut client = connect();
    client.send("GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
    assert!(client.rest().await.starts_with("HTTP/1.1 204"));
    let start = Instant::now();
    (&mut client.served).await.unwrap();
    assert!((2..=4).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn pipelined_requests_are_answered_in_order() {
    let mut client = connect();
    client.ask("/alarm").await;
    client.send("POST /body HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3\r\n\r\nabc").await;
    assert!(client.hear("\r\n\r\n").await.starts_with("HTTP/1.1 204"));
    assert!(client.hear("abc").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test(start_paused = true)]
async fn headers_beyond_the_limit_are_refused() {
    let mut client = connect();
    let long = "x".repeat(limits::HEADER_BYTES_MAX);
    client.send(&format!("GET / HTTP/1.1\r\nhost: localhost\r\nx: {long}\r\n\r\n")).await;
    assert!(client.rest().await.starts_with("HTTP/1.1 431"));
}
