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

impl<R, W> Front<R, W>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    /// From `stop` on nothing more is read from the client, as after the end of stdin.
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
        if self.copy(&mut reader, &mut writer).await {
            self.losses = if since.elapsed() < limits::LOCAL_LASTING { self.losses + 1 } else { 0 };
            self.ledger.lost(&mut self.out);
            if !self.closing {
                return Left::HubGone;
            }
        }
        self.give_up().await;
        Left::Done
    }

    /// With this process as the hub.
    pub async fn within(&mut self, door: Door) {
        let (ours, theirs) = duplex(DUPLEX_BYTES);
        let (reader, writer) = split(theirs);
        let pipe = door.pipe(self.endpoint.clone(), self.ledger.questions(), reader, writer, CancellationToken::new());
        // Ours is dropped when it is through, and that ends the other.
        tokio::join!(self.through(ours), pipe);
    }

    /// Nobody is there to ask any more: everything open fails, and that is the end.
    pub async fn give_up(&mut self) {
        self.ledger.give_up(&mut self.out);
        let written = timeout_at(Instant::now() + limits::PIPE_DRAIN, self.out.client.write(&mut self.stdout)).await;
        if !matches!(written, Ok(Ok(()))) {
            tracing::debug!("the client did not read its last answers");
        }
    }

    /// `true`: the hub went away. `false`: it knows that the client has said its last, and has answered; or stdout is gone.
    async fn copy<A, B>(&mut self, hub: &mut A, to_hub: &mut B) -> bool
    where
        A: AsyncRead + Unpin,
        B: AsyncWrite + Unpin,
    {
        let mut framer = Framer::new(usize::MAX);
        let mut buffer = BytesMut::new();
        // What it said before it went is still to be read when it takes no more.
        let mut takes = true;
        // Once it knows that the client has said its last.
        let mut deadline = None;
        loop {
            if self.out.client.is_empty() {
                while let Some(Line::Text(line)) = framer.next(&mut buffer) {
                    self.ledger.from_hub(line, &mut self.out);
                }
            }
            if !takes {
                self.out.hub = Gather::default();
            }
            let is_all_said = takes && self.out.hub.is_empty() && self.take_lines() && self.closing;
            if is_all_said && self.out.hub.is_empty() && deadline.is_none() {
                let _ = to_hub.shutdown().await;
                deadline = Some(Instant::now() + 2 * limits::PIPE_DRAIN);
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
                        return false;
                    }
                }
                read = hub.read_buf(&mut buffer), if self.out.client.is_empty() => {
                    if !matches!(read, Ok(1..)) {
                        return deadline.is_none();
                    }
                }
                read = self.stdin.read_buf(&mut self.buffer), if reads => {
                    self.at_end = !matches!(read, Ok(1..));
                    self.closing |= self.at_end;
                }
                () = self.stop.cancelled(), if !self.closing => self.closing = true,
                () = until(deadline) => return false,
            }
        }
    }

    /// What the client said, as far as the hub has room for it; whether that is all.
    fn take_lines(&mut self) -> bool {
        while self.ledger.has_room() {
            let line = if self.at_end { self.framer.finish(&mut self.buffer) } else { self.framer.next(&mut self.buffer) };
            match line {
                Some(Line::Text(line)) => self.ledger.from_client(line, &mut self.out),
                Some(Line::TooLong { bytes }) => {
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
