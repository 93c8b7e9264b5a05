//! A process that is not the hub, or has become it while its client was there: lines are copied between stdin, stdout and whatever hub
//! there is at the time. Holds what is not written yet, and the `Ledger`.

use std::io;

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, duplex, split},
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    door::Door,
    join::{Found, Place},
    ledger::{Ledger, Out},
};
use crate::{
    downstream::{
        gather::Gather,
        pipe,
        stdio::{READ_BYTES, READ_BYTES_MIN, until},
    },
    hub::Endpoint,
    limits,
    protocol::line::{Framer, Line},
};

/// Between this process's own client and the hub that it is itself.
const DUPLEX_BYTES: usize = 64 << 10;

/// Between a client and its hubs.
pub struct Front<R, W> {
    stdin: R,
    stdout: W,
    endpoint: Endpoint,
    framer: Framer,
    buffer: BytesMut,
    line_bytes_max: usize,
    ledger: Ledger,
    out: Out,
    /// No more is read from the client: it said its last, or this process is told to end.
    closing: bool,
    /// Of stdin.
    at_end: bool,
    stop: CancellationToken,
    /// Hubs in a row that went away soon.
    losses: u32,
}

/// Why a hub was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// The client has had its answers, or is gone.
    Done,
    /// The hub went away; the client is still there.
    HubGone,
}

/// How far the copying went.
enum Copied {
    /// The hub says no more.
    ToTheEnd,
    /// It may still have something to say.
    LongEnough,
    /// stdout is gone.
    ForNobody,
}

impl<R, W> Front<R, W>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    /// From `stop` on nothing more is read from the client, as after the end of stdin; after both no answer is waited for.
    pub fn new(stdin: R, stdout: W, endpoint: Endpoint, line_bytes_max: usize, stop: CancellationToken) -> Self {
        Self {
            stdin,
            stdout,
            endpoint,
            framer: Framer::new(line_bytes_max),
            buffer: BytesMut::new(),
            line_bytes_max,
            ledger: Ledger::default(),
            out: Out::default(),
            closing: false,
            at_end: false,
            stop,
            losses: 0,
        }
    }

    /// The hub to go on with.
    pub async fn find(&self, place: &Place) -> Found {
        place.find(&self.endpoint, self.ledger.questions()).await
    }

    /// Whether hub after hub went away: this client is better served alone.
    pub fn is_unlucky(&self) -> bool {
        self.losses >= limits::LOCAL_LOSSES_MAX
    }

    /// By way of another process, to the end of either.
    pub async fn through(&mut self, hub: impl AsyncRead + AsyncWrite) -> Left {
        let (mut reader, mut writer) = split(hub);
        let since = Instant::now();
        self.ledger.begin(&mut self.out);
        match self.copy(&mut reader, &mut writer).await {
            Copied::ToTheEnd => {
                self.losses = if since.elapsed() < limits::LOCAL_LASTING { self.losses + 1 } else { 0 };
                self.ledger.lost(&mut self.out);
                if !self.closing {
                    return Left::HubGone;
                }
            }
            Copied::LongEnough => self.ledger.expire(&mut self.out),
            Copied::ForNobody => {}
        }
        self.give_up().await;
        Left::Done
    }

    /// With this process as the hub.
    pub async fn within(&mut self, door: Door) {
        let (ours, theirs) = duplex(DUPLEX_BYTES);
        let (reader, writer) = split(theirs);
        let pipe = door.pipe(self.endpoint.clone(), self.ledger.questions(), reader, writer, CancellationToken::new());
        let through = self.through(ours);
        tokio::pin!(pipe, through);
        // Whoever waits no longer has what is under way cancelled.
        tokio::select! {
            _ = &mut through => return,
            () = &mut pipe => {}
        }
        through.await;
    }

    /// Nobody is there to ask any more: everything open fails, and that is the end.
    pub async fn give_up(&mut self) {
        self.ledger.give_up(&mut self.out);
        let written = timeout_at(Instant::now() + limits::PIPE_DRAIN, self.out.client.write(&mut self.stdout)).await;
        if !matches!(written, Ok(Ok(()))) {
            tracing::debug!("the client did not read its last answers");
        }
    }

    /// To the end of either side; once the client has said its last, for as long as that may take.
    async fn copy<A, B>(&mut self, hub: &mut A, to_hub: &mut B) -> Copied
    where
        A: AsyncRead + Unpin,
        B: AsyncWrite + Unpin,
    {
        let mut framer = Framer::new(usize::MAX);
        let mut buffer = BytesMut::new();
        // What it said before it went is still to be read when it takes no more.
        let mut takes = true;
        // It knows that the client has said its last.
        let mut is_told = false;
        let mut is_stopped = false;
        let mut deadline = None;
        loop {
            if self.out.client.is_empty() {
                while let Some(Line::Text(line)) = framer.next(&mut buffer) {
                    self.ledger.hub_said(line, &mut self.out);
                }
            }
            if !takes {
                self.out.hub = Gather::default();
            }
            let is_all_said = takes && self.out.hub.is_empty() && self.take_lines() && self.closing;
            if is_all_said && self.out.hub.is_empty() && !is_told {
                let _ = to_hub.shutdown().await;
                is_told = true;
                // The hub keeps the time, and says what came of it.
                deadline.get_or_insert_with(|| Instant::now() + limits::PIPE_END + limits::PIPE_DRAIN);
            }
            for buffer in [&mut buffer, &mut self.buffer] {
                if buffer.capacity() - buffer.len() < READ_BYTES_MIN {
                    buffer.reserve(READ_BYTES);
                }
            }
            let reads = takes && !self.closing && self.out.hub.is_empty() && self.ledger.has_room();
            tokio::select! {
                biased;
                written = self.out.hub.write_some(to_hub), if !self.out.hub.is_empty() => takes = written.is_ok(),
                written = write(&mut self.out.client, &mut self.stdout), if !self.out.client.is_empty() => {
                    if let Err(failure) = written {
                        tracing::debug!(%failure, "stdout is gone");
                        return Copied::ForNobody;
                    }
                }
                read = hub.read_buf(&mut buffer), if self.out.client.is_empty() => {
                    if !matches!(read, Ok(1..)) {
                        return Copied::ToTheEnd;
                    }
                }
                read = self.stdin.read_buf(&mut self.buffer), if reads => {
                    self.at_end = !matches!(read, Ok(1..));
                    self.closing |= self.at_end;
                }
                () = self.stop.cancelled(), if !is_stopped => {
                    // Whoever ends stdin and then this process waits for nothing.
                    if self.at_end {
                        return Copied::LongEnough;
                    }
                    (is_stopped, self.closing) = (true, true);
                    deadline = Some(Instant::now() + limits::PIPE_DRAIN);
                }
                () = until(deadline) => return Copied::LongEnough,
            }
        }
    }

    /// What the client said, as far as the hub has room for it; whether that is all.
    fn take_lines(&mut self) -> bool {
        while self.ledger.has_room() {
            let line = if self.at_end { self.framer.finish(&mut self.buffer) } else { self.framer.next(&mut self.buffer) };
            match line {
                Some(Line::Text(line)) => self.ledger.client_said(line, &mut self.out),
                Some(Line::TooLong { bytes, .. }) => {
                    self.out.client.push_body(pipe::too_long(bytes, self.line_bytes_max).to_body());
                    self.out.client.push(&b"\n"[..]);
                }
                None => return true,
            }
        }
        false
    }
}

async fn write<W: AsyncWrite + Unpin>(gather: &mut Gather, out: &mut W) -> io::Result<()> {
    gather.write_some(out).await?;
    if gather.is_empty() { out.flush().await } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{catalog::Names, name::TenantId};
    use tokio::{
        io::{AsyncBufReadExt, BufReader, DuplexStream, Lines, ReadHalf, WriteHalf},
        task::JoinHandle,
    };

    const LINE_BYTES_MAX: usize = 8 << 20;

    /// One end of a stream of lines.
    struct Peer {
        lines: Lines<BufReader<ReadHalf<DuplexStream>>>,
        out: Option<WriteHalf<DuplexStream>>,
    }

    impl Peer {
        fn new(stream: DuplexStream) -> Self {
            let (reader, writer) = split(stream);
            Self { lines: BufReader::new(reader).lines(), out: Some(writer) }
        }

        async fn say(&mut self, line: &str) {
            self.out.as_mut().unwrap().write_all(format!("{line}\n").as_bytes()).await.unwrap();
        }

        async fn hear(&mut self) -> Option<String> {
            self.lines.next_line().await.unwrap()
        }

        async fn end(&mut self) {
            self.out.take().unwrap().shutdown().await.unwrap();
        }
    }

    type Ours = Front<ReadHalf<DuplexStream>, WriteHalf<DuplexStream>>;

    fn front() -> (Peer, Ours, CancellationToken) {
        let (client, ours) = duplex(1 << 10);
        let (stdin, stdout) = split(ours);
        let stop = CancellationToken::new();
        let endpoint = Endpoint::plain(TenantId::default_tenant(), None, Names::Safe);
        (Peer::new(client), Front::new(stdin, stdout, endpoint, LINE_BYTES_MAX, stop.clone()), stop)
    }

    fn through(mut front: Ours) -> (Peer, JoinHandle<(Ours, Left)>) {
        let (ours, hub) = duplex(1 << 10);
        let task = tokio::spawn(async move {
            let left = front.through(ours).await;
            (front, left)
        });
        (Peer::new(hub), task)
    }

    fn call(id: usize, text: &str) -> String {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{text}"}}}}"#)
    }

    fn answer(id: usize, text: &str) -> String {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"text":"{text}"}}}}"#)
    }

    #[tokio::test]
    async fn lines_of_every_length_cross_and_the_end_comes_after_the_answers() {
        let (mut client, front, _stop) = front();
        let (mut hub, task) = through(front);
        for (id, len) in [0, 1, 1000, 100_000, 5 << 20].into_iter().enumerate() {
            let text = "x".repeat(len);
            let call = call(id, &text);
            let (heard, ()) = tokio::join!(hub.hear(), client.say(&call));
            assert!(heard.unwrap() == call);
            let answer = answer(id, &text);
            let (heard, ()) = tokio::join!(client.hear(), hub.say(&answer));
            assert!(heard.unwrap() == answer);
        }
        client.say(&call(9, "last")).await;
        client.end().await;
        assert_eq!(hub.hear().await, Some(call(9, "last")));
        assert_eq!(hub.hear().await, None, "the hub learns that this was all");
        hub.say(&answer(9, "last")).await;
        hub.end().await;
        assert_eq!(task.await.unwrap().1, Left::Done);
        assert_eq!(client.hear().await, Some(answer(9, "last")));
        assert_eq!(client.hear().await, None);
    }

    #[tokio::test]
    async fn a_line_without_an_end_is_the_last_one() {
        let (mut client, front, _stop) = front();
        let (mut hub, _task) = through(front);
        client.out.as_mut().unwrap().write_all(call(1, "half").as_bytes()).await.unwrap();
        client.end().await;
        assert_eq!((hub.hear().await, hub.hear().await), (Some(call(1, "half")), None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_that_is_too_long_is_refused_here() {
        let (mut client, front, _stop) = front();
        let (mut hub, _task) = through(front);
        let long = call(1, &"x".repeat(LINE_BYTES_MAX));
        client.say(&long).await;
        assert!(client.hear().await.unwrap().contains("-32600"));
        client.say(&call(2, "short")).await;
        assert_eq!(hub.hear().await, Some(call(2, "short")));
    }

    #[tokio::test]
    async fn half_an_answer_of_a_hub_that_ends_reaches_nobody() {
        let (mut client, front, _stop) = front();
        let (mut hub, task) = through(front);
        for id in 0..3 {
            client.say(&call(id, "c")).await;
            hub.hear().await;
        }
        hub.say(&answer(0, "whole")).await;
        hub.out.as_mut().unwrap().write_all(&answer(1, "half").as_bytes()[..20]).await.unwrap();
        drop(hub);
        let (front, left) = task.await.unwrap();
        assert_eq!(left, Left::HubGone);
        let (mut hub, _task) = through(front);
        assert_eq!(client.hear().await, Some(answer(0, "whole")));
        for id in [1, 2] {
            let failed = client.hear().await.unwrap();
            assert!(failed.starts_with(&format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32603,"#)), "{failed}");
        }
        client.say(&call(1, "again")).await;
        assert_eq!(hub.hear().await, Some(call(1, "again")));
        hub.say(&answer(1, "done")).await;
        assert_eq!(client.hear().await, Some(answer(1, "done")));
    }

    #[tokio::test(start_paused = true)]
    async fn neither_side_is_read_from_faster_than_the_other_reads_and_nothing_is_lost() {
        let (mut client, front, _stop) = front();
        let (mut hub, task) = through(front);
        let mut sent = 0;
        let line = call(1, "x");
        // The clock moves only when nobody can go on.
        while tokio::time::timeout(limits::PIPE_DRAIN, client.say(&line)).await.is_ok() {
            sent += 1;
            assert!(sent < 10_000, "a hub that reads nothing is written to without end");
        }
        let mut answered = 0;
        let back = answer(1, "x");
        while tokio::time::timeout(limits::PIPE_DRAIN, hub.say(&back)).await.is_ok() {
            answered += 1;
            assert!(answered < 10_000, "a client that reads nothing is written to without end");
        }
        client.end().await;
        let count = async |peer: &mut Peer, line: &str| {
            let mut count = 0;
            while let Some(heard) = peer.hear().await {
                count += usize::from(heard == line);
            }
            count
        };
        let hub_side = async {
            let heard = count(&mut hub, &line).await;
            hub.end().await;
            heard
        };
        let done = async { assert_eq!(task.await.unwrap().1, Left::Done) };
        let (at_hub, at_client, ()) = tokio::join!(hub_side, count(&mut client, &back), done);
        // The write that was given up may have gone out in part.
        assert!(
            (sent..=sent + 1).contains(&at_hub) && (answered..=answered + 1).contains(&at_client),
            "{sent} {at_hub} {answered} {at_client}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_waits_for_answers_but_not_for_ever() {
        for answers in [true, false] {
            let (mut client, front, stop) = front();
            let (mut hub, task) = through(front);
            client.say(&call(1, "c")).await;
            assert_eq!(hub.hear().await, Some(call(1, "c")));
            stop.cancel();
            assert_eq!(hub.hear().await, None);
            let start = Instant::now();
            if answers {
                hub.say(&answer(1, "c")).await;
                hub.end().await;
            }
            assert_eq!(task.await.unwrap().1, Left::Done);
            let heard = client.hear().await.unwrap();
            assert_eq!(heard == answer(1, "c"), answers);
            assert!(answers || is_given_up(&heard, 1) && start.elapsed() == limits::PIPE_DRAIN, "{heard}");
            assert_eq!(client.hear().await, None);
        }
    }

    fn is_given_up(line: &str, id: usize) -> bool {
        line.starts_with(&format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32603,"#)) && line.contains(r#""reason":"cancelled""#)
    }

    #[tokio::test(start_paused = true)]
    async fn a_hub_has_some_time_after_the_end_of_stdin_and_none_after_a_signal_too() {
        for is_stopped in [true, false] {
            let (mut client, front, stop) = front();
            let (mut hub, task) = through(front);
            client.say(&call(1, "c")).await;
            client.end().await;
            assert_eq!((hub.hear().await, hub.hear().await), (Some(call(1, "c")), None));
            let start = Instant::now();
            if is_stopped {
                stop.cancel();
            }
            assert_eq!(task.await.unwrap().1, Left::Done);
            let heard = client.hear().await.unwrap();
            assert!(is_given_up(&heard, 1), "{heard}");
            assert_eq!(start.elapsed().is_zero(), is_stopped);
            assert!(is_stopped || start.elapsed() > limits::PIPE_END, "the hub says first what came of it");
        }
    }

    #[tokio::test]
    async fn what_a_hub_did_not_answer_before_its_end_fails_after_the_end_of_stdin_too() {
        let (mut client, front, _stop) = front();
        let (mut hub, task) = through(front);
        client.say(&call(1, "c")).await;
        client.end().await;
        assert_eq!((hub.hear().await, hub.hear().await), (Some(call(1, "c")), None));
        drop(hub);
        assert_eq!(task.await.unwrap().1, Left::Done);
        assert!(client.hear().await.unwrap().contains("hub_exited"));
        assert_eq!(client.hear().await, None);
    }

    #[tokio::test]
    async fn a_client_that_is_gone_ends_it() {
        let (client, front, _stop) = front();
        let (mut hub, task) = through(front);
        drop(client);
        assert_eq!(hub.hear().await, None);
        drop(hub);
        assert_eq!(task.await.unwrap().1, Left::Done);
    }

    #[tokio::test(start_paused = true)]
    async fn hubs_that_never_last_are_no_luck_and_one_that_did_is_forgotten() {
        let (_client, mut front, _stop) = front();
        for lasts in [false, true] {
            for _ in 0..limits::LOCAL_LOSSES_MAX {
                assert!(!front.is_unlucky());
                let (hub, task) = through(front);
                tokio::task::yield_now().await;
                if lasts {
                    tokio::time::advance(limits::LOCAL_LASTING).await;
                }
                drop(hub);
                front = task.await.unwrap().0;
            }
            assert_eq!(front.is_unlucky(), !lasts);
            front.losses = 0;
        }
    }
}
