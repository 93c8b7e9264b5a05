//! A socket over an in-memory pipe with virtual time, and a client that writes its frames byte by byte.

use super::{
    super::{
        super::work::Work,
        door::{self, Door},
    },
    *,
};
use tokio::{
    io::{AsyncReadExt, DuplexStream, duplex},
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

struct Client {
    stream: DuplexStream,
    served: JoinHandle<()>,
    stop: CancellationToken,
}

/// Answers `again:x` twice, does nothing for `never`, tells when `slow` was dropped, makes no sense of `bad`.
struct Echo {
    work: Work,
    stopped: bool,
    gone: Option<oneshot::Sender<()>>,
}

impl Door for Echo {
    fn take(&mut self, message: Bytes) -> bool {
        if self.stopped {
            self.work.say(Body::one("stopping".into()));
            return true;
        }
        match &*message {
            b"bad" => return false,
            b"never" => {
                let gone = self.gone.take();
                self.work.call(async move {
                    let _gone = gone;
                    std::future::pending().await
                });
            }
            b"slow" => {
                let outlet = self.work.outlet();
                self.work.call(async move {
                    sleep(Duration::from_secs(7)).await;
                    let _ = outlet.send(Body::one("done".into())).await;
                });
            }
            b"busy" => self.work.background(async {
                // Interrupts whatever else is waited for, again and again.
                for _ in 0..100 {
                    sleep(Duration::from_millis(1)).await;
                }
            }),
            _ => self.work.say(Body::one(message)),
        }
        true
    }
    fn stop(&mut self) {
        self.stopped = true;
    }
    fn work(&mut self) -> &mut Work {
        &mut self.work
    }
}

fn connect(pipe_bytes: usize) -> (Client, oneshot::Receiver<()>) {
    let (stream, ours) = duplex(pipe_bytes);
    let (gone, is_gone) = oneshot::channel();
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    let served = tokio::spawn(serve(ours, move |inbox, outlet| {
        let echo = Echo { work: Work::new(outlet), stopped: false, gone: Some(gone) };
        door::serve(echo, inbox, stopping)
    }));
    (Client { stream, served, stop }, is_gone)
}

const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [7, 0, 200, 3];
    let mut frame = vec![first];
    match payload.len() {
        len @ ..=125 => frame.push(0x80 | len as u8),
        len @ ..=65535 => {
            frame.push(0x80 | 126);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

impl Client {
    async fn send(&mut self, first: u8, payload: &[u8]) {
        self.stream.write_all(&masked(first, payload)).await.unwrap();
    }
    async fn say(&mut self, text: &str) {
        self.send(TEXT, text.as_bytes()).await;
    }
    async fn hear(&mut self) -> (u8, Vec<u8>) {
        hear(&mut self.stream).await
    }
    async fn hear_text(&mut self) -> String {
        let (first, payload) = self.hear().await;
        assert_eq!(first, TEXT);
        String::from_utf8(payload).unwrap()
    }
    /// A close frame, then the end of the stream and of the task.
    async fn hear_close(mut self) -> Option<u16> {
        let (first, payload) = self.hear().await;
        assert_eq!(first, CLOSE, "{}", String::from_utf8_lossy(&payload));
        assert_eq!(self.stream.read(&mut [0; 9]).await.unwrap(), 0, "something came after the close frame");
        drop(self.stream);
        self.served.await.unwrap();
        payload.first_chunk().map(|code| u16::from_be_bytes(*code))
    }
}

/// The next frame, which must be unmasked and whole.
async fn hear(stream: &mut (impl AsyncRead + Unpin)) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    stream.read_exact(&mut head).await.unwrap();
    let len = match head[1] {
        126 => u64::from(stream.read_u16().await.unwrap()),
        127 => stream.read_u64().await.unwrap(),
        len @ ..=125 => u64::from(len),
        _ => panic!("a masked frame from a server"),
    };
    let mut payload = vec![0; len as usize];
    stream.read_exact(&mut payload).await.unwrap();
    (head[0], payload)
}

#[tokio::test]
async fn messages_of_every_length_come_back_as_they_went() {
    let (mut client, _) = connect(1 << 10);
    for len in [0, 1, 125, 126, 127, 65_535, 65_536, limits::SOCKET_MESSAGE_BYTES_MAX] {
        let text = vec![b'x'; len];
        let frame = masked(TEXT, &text);
        let (mut reading, mut writing) = split(client.stream);
        let (sent, heard) = tokio::join!(writing.write_all(&frame), hear(&mut reading));
        sent.unwrap();
        assert!(heard == (TEXT, text), "{len}");
        client.stream = reading.unsplit(writing);
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_under_way_survives_everything_else_that_happens() {
    let (mut client, _) = connect(1 << 16);
    client.say("busy").await;
    for piece in masked(TEXT, b"whole").chunks(1) {
        client.stream.write_all(piece).await.unwrap();
        sleep(Duration::from_millis(3)).await;
    }
    assert_eq!(client.hear_text().await, "whole");
}

#[tokio::test]
async fn a_ping_is_answered_with_its_bytes_even_inside_a_message() {
    let (mut client, _) = connect(1 << 16);
    client.send(0x01, b"a").await;
    client.send(PING, b"are you there").await;
    assert_eq!(client.hear().await, (PONG, b"are you there".to_vec()));
    client.send(0x80, b"b").await;
    assert_eq!(client.hear_text().await, "ab");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_answers_pings_stays_and_one_that_falls_silent_is_closed() {
    let (mut client, _) = connect(1 << 16);
    let start = Instant::now();
    for beat in 1..=5 {
        assert_eq!(client.hear().await, (PING, vec![]));
        assert_eq!(start.elapsed().as_secs(), beat * limits::SOCKET_PING.as_secs());
        client.send(PONG, b"").await;
    }
    assert_eq!(client.hear().await.0, PING);
    let silent_since = Instant::now();
    assert_eq!(client.hear().await.0, PING);
    assert_eq!(client.hear_close().await, Some(1001));
    assert_eq!(silent_since.elapsed().as_secs(), 2 * limits::SOCKET_PING.as_secs());
}

#[tokio::test(start_paused = true)]
async fn half_a_frame_is_no_sign_of_life() {
    let (mut client, is_gone) = connect(1 << 16);
    client.say("never").await;
    client.stream.write_all(&[TEXT]).await.unwrap();
    for _ in 0..2 {
        assert_eq!(client.hear().await.0, PING);
    }
    assert_eq!(client.hear_close().await, Some(1001));
    assert!(is_gone.await.is_err(), "its call was cancelled");
}

#[tokio::test]
async fn a_broken_rule_is_told_after_what_was_queued_before() {
    let unmasked = vec![TEXT, 1, b'x'];
    let reserved = vec![0xc1, 0x80, 0, 0, 0, 0];
    let unknown = vec![0x83, 0x80, 0, 0, 0, 0];
    let mut too_large = vec![TEXT, 0xff];
    too_large.extend((limits::SOCKET_MESSAGE_BYTES_MAX as u64 + 1).to_be_bytes());
    too_large.extend([0; 4]);
    let mut endless = vec![TEXT, 0xff];
    endless.extend([0xff; 12]);
    for (bytes, code) in [
        (unmasked, 1002),
        (reserved, 1002),
        (unknown, 1002),
        (too_large, 1009),
        (endless, 1009),
        (masked(0x82, b"{}"), 1003),
        (masked(TEXT, b"\xff"), 1007),
        (masked(0x80, b""), 1002),
        (masked(CLOSE, b"x"), 1002),
    ] {
        let (mut client, is_gone) = connect(1 << 16);
        client.say("never").await;
        client.say("first").await;
        client.stream.write_all(&bytes).await.unwrap();
        assert_eq!(client.hear_text().await, "first");
        assert_eq!(client.hear_close().await, Some(code), "{bytes:?}");
        assert!(is_gone.await.is_err(), "its call was cancelled");
    }
}

#[tokio::test]
async fn a_close_is_answered_and_cancels_what_is_under_way() {
    for (payload, code) in [(&b"\x03\xe8bye"[..], Some(1000)), (b"", None)] {
        let (mut client, is_gone) = connect(1 << 16);
        client.say("never").await;
        client.send(CLOSE, payload).await;
        assert_eq!(client.hear_close().await, code);
        assert!(is_gone.await.is_err());
    }
}

#[tokio::test]
async fn a_client_that_vanishes_cancels_what_is_under_way() {
    let (mut client, is_gone) = connect(1 << 16);
    client.say("never").await;
    drop(client.stream);
    assert!(is_gone.await.is_err());
    client.served.await.unwrap();
}

#[tokio::test]
async fn five_bad_messages_in_a_row_are_enough() {
    let (mut client, _) = connect(1 << 16);
    for text in ["bad", "bad", "bad", "bad", "good", "bad", "bad", "bad", "bad"] {
        client.say(text).await;
    }
    assert_eq!(client.hear_text().await, "good");
    client.say("bad").await;
    assert_eq!(client.hear_close().await, Some(1008));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_is_given_up_and_told_if_it_comes_back() {
    let (mut client, is_gone) = connect(1 << 10);
    client.say("never").await;
    client.say(&"x".repeat(2 << 10)).await;
    // Its call ends when it is given up, not before.
    let start = Instant::now();
    assert!(is_gone.await.is_err());
    assert_eq!(start.elapsed(), limits::WRITE_STALL);
    assert_eq!(client.hear_text().await.len(), 2 << 10);
    assert_eq!(client.hear_close().await, Some(1013));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_reads_does_not_keep_the_task() {
    let (mut client, _) = connect(64);
    client.say(&"x".repeat(100)).await;
    timeout(limits::WRITE_STALL + 2 * limits::LINGER, &mut client.served).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stopping_hub_answers_what_is_under_way_and_nothing_new() {
    let (mut client, _) = connect(1 << 16);
    client.say("slow").await;
    client.say("now").await;
    assert_eq!(client.hear_text().await, "now");
    client.stop.cancel();
    tokio::task::yield_now().await;
    client.say("too late").await;
    assert_eq!(client.hear_text().await, "stopping");
    assert_eq!(client.hear_text().await, "done");
    assert_eq!(client.hear_close().await, Some(1001));
}
