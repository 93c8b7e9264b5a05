//! MCP on stdin and stdout: the hub as an entry of a desktop host's `mcpServers`. One message a line and nothing but messages;
//! both eras on the one pipe. Starts nothing by itself: a host may only want to know whether somebody is there.

mod ends;

use std::{io, sync::Arc};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    sync::mpsc::Receiver,
    time::timeout,
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
const READ_BYTES: usize = 16 << 10;
const READ_BYTES_MIN: usize = 2 << 10;

/// Until stdin ends or `stop`; then the calls under way have `limits::PIPE_DRAIN` to be answered. Ends at once when stdout is
/// gone. A host that reads nothing is not read from either. Dropping the future cancels everything under way.
pub async fn serve<R, W>(hub: Arc<Hub>, endpoint: Arc<Endpoint>, principal: Arc<Principal>, stdin: R, stdout: W, stop: CancellationToken)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (outlet, queue) = work::outlet();
    let line_bytes_max = hub.limits.body_bytes;
    let pipe = Pipe::new(hub, endpoint, principal, outlet);
    let writing = write(queue, stdout);
    tokio::pin!(writing);
    let pipe = tokio::select! {
        pipe = read(pipe, stdin, line_bytes_max, stop) => pipe,
        written = &mut writing => return gone(written),
    };
    // Dropping the pipe, at the latest when its time is up, ends the queue and the writer with it.
    let drained = async move {
        let mut pipe = pipe;
        pipe.work().finish().await;
    };
    let ended = timeout(limits::PIPE_DRAIN, async { tokio::join!(drained, &mut writing).1 }).await;
    match ended {
        Ok(written) => gone(written),
        Err(_) => tracing::debug!("stdin ended with calls under way"),
    }
}

fn gone(written: io::Result<()>) {
    if let Err(failure) = written {
        tracing::debug!(%failure, "stdout is gone");
    }
}

/// Takes lines until there are no more, or until `stop`.
async fn read<R: AsyncRead + Unpin>(mut pipe: Pipe, mut stdin: R, line_bytes_max: usize, stop: CancellationToken) -> Pipe {
    let mut framer = Framer::new(line_bytes_max);
    let mut buffer = BytesMut::new();
    loop {
        // A buffer may hold many lines, and the peer may stop to read in the middle of them.
        while !pipe.work().is_full() {
            match framer.next(&mut buffer) {
                Some(line) => take(&mut pipe, line, line_bytes_max),
                None => break,
            }
        }
        if buffer.capacity() - buffer.len() < READ_BYTES_MIN {
            buffer.reserve(READ_BYTES);
        }
        let is_full = pipe.work().is_full();
        tokio::select! {
            () = stop.cancelled() => {
                pipe.stop();
                return pipe;
            }
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
    pipe
}

fn take(pipe: &mut Pipe, line: Line, line_bytes_max: usize) {
    match line {
        Line::Text(bytes) => {
            pipe.take(bytes);
        }
        Line::TooLong { bytes } => pipe.take_too_long(bytes, line_bytes_max),
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
