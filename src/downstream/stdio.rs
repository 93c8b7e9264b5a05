//! MCP on stdin and stdout: the hub as an entry of a desktop host's `mcpServers`. One message a line and nothing but messages;
//! both eras on the one pipe. Starts nothing by itself: a host may only want to know whether somebody is there.

mod ends;

use std::{io, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    sync::mpsc::Receiver,
    time::{Instant, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;

pub use ends::ends;

use super::{gather::Gather, pipe::Pipe, work};
use crate::{
    access::Principal,
    hub::{Endpoint, Hub},
    limits,
    protocol::{
        Body,
        line::{Framer, Line},
    },
};

/// Room made for a read when less than `READ_BYTES_MIN` is left; a longer line makes its own. Messages under way share it.
pub(super) const READ_BYTES: usize = 16 << 10;
pub(super) const READ_BYTES_MIN: usize = 2 << 10;

/// Until stdin ends or `stop`. Then the calls under way have `limits::PIPE_END` or `limits::PIPE_DRAIN` to be answered; those that are not
/// are cancelled, and answered with an error. After `stop` new requests are refused. A `stop` after the end of stdin ends the wait: a host
/// closes stdin, gives some time, then sends a signal (MCP 2025-11-25, lifecycle, shutdown).
/// Ends at once when stdout is gone. A host that reads nothing is not read from either. Dropping the future cancels everything under way.
pub async fn serve<R, W>(hub: Arc<Hub>, endpoint: Arc<Endpoint>, principal: Arc<Principal>, stdin: R, stdout: W, stop: CancellationToken)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (outlet, queue) = work::outlet();
    let pipe = Pipe::new(hub, endpoint, principal, outlet);
    carry(pipe, queue, stdin, stdout, Stop { token: stop, patience: limits::PIPE_DRAIN, parting: None }).await;
}

/// How a peer learns that the hub stops.
pub(super) struct Stop {
    pub(super) token: CancellationToken,
    /// From then on, for the calls under way.
    pub(super) patience: Duration,
    /// `None`: who stops the hub is its client.
    pub(super) parting: Option<Parting>,
}

/// For a peer that can wait with its requests: it is told of the stop, and what it says before its consent is taken as ever.
pub(super) struct Parting {
    pub(super) notice: &'static [u8],
    pub(super) consent: &'static [u8],
}

/// `queue` is what the pipe says.
pub(super) async fn carry<R, W>(pipe: Pipe, queue: Receiver<Body>, stdin: R, stdout: W, stop: Stop)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let writing = write(queue, stdout);
    tokio::pin!(writing);
    let (mut pipe, mut end) = tokio::select! {
        read = read(pipe, stdin, &stop) => read,
        written = &mut writing => return gone(written),
    };
    let is_late = tokio::select! {
        biased;
        () = pipe.work().finish() => false,
        () = end.comes(&stop) => true,
        written = &mut writing => return gone(written),
    };
    let mut last = Vec::new();
    // Who finds another hub asks that one again, and knows what it asked this one.
    if is_late && (end.is_of_input || stop.parting.is_none()) {
        last = pipe.give_up();
        end.deadline = Instant::now() + limits::PIPE_DRAIN;
    }
    let outlet = pipe.work().outlet();
    // Cancels what is under way. The queue ends with the last outlet, and the writer with it.
    drop(pipe);
    let telling = async move {
        for refusal in last {
            if outlet.send(refusal).await.is_err() {
                return;
            }
        }
    };
    match timeout_at(end.deadline, async { tokio::join!(telling, &mut writing).1 }).await {
        Ok(written) => gone(written),
        Err(_) => tracing::debug!("a peer did not read its last answers"),
    }
}

/// Until when what is under way is waited for.
struct End {
    deadline: Instant,
    /// The peer said its last.
    is_of_input: bool,
    /// The hub was told to stop before that.
    is_stopped: bool,
}

impl End {
    /// Resolves when nothing is waited for any more. A stop may come meanwhile.
    async fn comes(&mut self, stop: &Stop) {
        if !self.is_stopped {
            tokio::select! {
                () = sleep_until(self.deadline) => return,
                () = stop.token.cancelled() => {}
            }
            self.is_stopped = true;
            let patience = if stop.parting.is_some() { stop.patience } else { Duration::ZERO };
            self.deadline = self.deadline.min(Instant::now() + patience);
        }
        sleep_until(self.deadline).await;
    }
}

fn gone(written: io::Result<()>) {
    if let Err(failure) = written {
        tracing::debug!(%failure, "stdout is gone");
    }
}

/// How far a stop is.
#[derive(Clone, Copy)]
enum Stage {
    Open,
    /// The peer was told, and may still send requests.
    Parting(Instant),
    /// What is under way is answered, no more.
    Closing(Instant),
}

impl Stage {
    const fn deadline(self) -> Option<Instant> {
        match self {
            Self::Open => None,
            Self::Parting(deadline) | Self::Closing(deadline) => Some(deadline),
        }
    }

    fn end(self, is_of_input: bool) -> End {
        let deadline = self.deadline();
        End { deadline: deadline.unwrap_or_else(|| Instant::now() + limits::PIPE_END), is_of_input, is_stopped: deadline.is_some() }
    }
}

/// Takes lines until there are no more, or until a stop is through.
async fn read<R: AsyncRead + Unpin>(mut pipe: Pipe, mut stdin: R, stop: &Stop) -> (Pipe, End) {
    let line_bytes_max = pipe.message_bytes_max();
    let mut framer = Framer::new(line_bytes_max);
    let mut buffer = BytesMut::new();
    let mut stage = Stage::Open;
    loop {
        // A buffer may hold many lines, and the peer may stop to read in the middle of them.
        while !pipe.work().is_full() {
            match framer.next(&mut buffer) {
                Some(Line::Text(line)) if stop.is_consent(stage, &line) => {
                    pipe.stop();
                    stage = Stage::Closing(Instant::now() + stop.patience);
                }
                Some(line) => take(&mut pipe, line, line_bytes_max),
                None => break,
            }
        }
        if matches!(stage, Stage::Closing(_)) && pipe.work().is_idle() {
            return (pipe, stage.end(false));
        }
        if buffer.capacity() - buffer.len() < READ_BYTES_MIN {
            buffer.reserve(READ_BYTES);
        }
        let is_full = pipe.work().is_full();
        tokio::select! {
            () = stop.token.cancelled(), if matches!(stage, Stage::Open) => {
                let deadline = Instant::now() + stop.patience;
                stage = match &stop.parting {
                    Some(parting) => {
                        pipe.work().put(Body::one(Bytes::from_static(parting.notice)));
                        Stage::Parting(deadline)
                    }
                    None => {
                        pipe.stop();
                        Stage::Closing(deadline)
                    }
                };
            }
            () = until(stage.deadline()) => return (pipe, stage.end(false)),
            () = pipe.work().advance() => {}
            read = stdin.read_buf(&mut buffer), if !is_full => match read {
                Ok(0) => break,
                Ok(_) => {}
                Err(failure) => {
                    tracing::debug!(%failure, "stdin cannot be read");
                    break;
                }
            },
        }
    }
    while let Some(line) = framer.finish(&mut buffer) {
        take(&mut pipe, line, line_bytes_max);
    }
    // What has no end of its own ends here.
    pipe.stop();
    (pipe, stage.end(true))
}

impl Stop {
    fn is_consent(&self, stage: Stage, line: &[u8]) -> bool {
        matches!(stage, Stage::Parting(_)) && self.parting.as_ref().is_some_and(|parting| line == parting.consent)
    }
}

/// Pends for ever without a time.
pub(super) async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

fn take(pipe: &mut Pipe, line: Line, line_bytes_max: usize) {
    match line {
        Line::Text(bytes) => {
            pipe.take(bytes);
        }
        Line::TooLong { bytes, .. } => pipe.take_too_long(bytes, line_bytes_max),
    }
}

/// Writes what is queued, as much at once as there is, until nothing more can come.
async fn write<W: AsyncWrite + Unpin>(mut queue: Receiver<Body>, mut stdout: W) -> io::Result<()> {
    let mut batch = Vec::new();
    let mut gather = Gather::default();
    while queue.recv_many(&mut batch, limits::PIPE_QUEUE).await > 0 {
        for body in batch.drain(..) {
            gather.push_body(body);
            gather.push(&b"\n"[..]);
        }
        gather.write(&mut stdout).await?;
    }
    Ok(())
}
