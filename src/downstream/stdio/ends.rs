//! This process's stdin and stdout, for the runtime to wait on. tokio's own hand every read and write to another thread, which
//! costs tens of microseconds a message, and a read that waits there keeps the process from ending.

use std::{
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net,
    },
};

use rustix::fs::{FileType, fstat};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{UnixStream, unix::pipe},
};

pub(super) type Reader = Box<dyn AsyncRead + Send + Unpin>;
pub(super) type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// Within a runtime, once per process. Hosts give a child pipes or sockets; on anything else (a terminal, a file) tokio's own.
pub fn ends() -> (Reader, Writer) {
    let reader = reader().unwrap_or_else(|failure| {
        tracing::debug!(%failure, "stdin is read by a thread");
        Box::new(tokio::io::stdin())
    });
    let writer = writer().unwrap_or_else(|failure| {
        tracing::debug!(%failure, "stdout is written by a thread");
        Box::new(tokio::io::stdout())
    });
    (reader, writer)
}

fn reader() -> io::Result<Reader> {
    let stdin = io::stdin();
    Ok(match FileType::from_raw_mode(fstat(stdin.as_fd())?.st_mode) {
        // Opened anew: others may hold the same open file, and must not find it non-blocking.
        FileType::Fifo => Box::new(pipe::OpenOptions::new().open_receiver("/proc/self/fd/0")?),
        FileType::Socket => Box::new(socket(stdin.as_fd())?),
        _ => return Err(io::ErrorKind::Unsupported.into()),
    })
}

fn writer() -> io::Result<Writer> {
    let stdout = io::stdout();
    Ok(match FileType::from_raw_mode(fstat(stdout.as_fd())?.st_mode) {
        FileType::Fifo => Box::new(pipe::OpenOptions::new().open_sender("/proc/self/fd/1")?),
        FileType::Socket => Box::new(socket(stdout.as_fd())?),
        _ => return Err(io::ErrorKind::Unsupported.into()),
    })
}

/// A socket cannot be opened anew; a host that gives one (Node does) keeps the other end for itself.
fn socket(fd: BorrowedFd<'_>) -> io::Result<UnixStream> {
    let stream = net::UnixStream::from(fd.try_clone_to_owned()?);
    // Refused for sockets of other families.
    stream.local_addr()?;
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}
