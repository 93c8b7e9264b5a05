//! The listening socket and what is accepted from it.
//!
//! `serve` runs everything on the current runtime. To shard connections over several runtimes, accept with `Acceptor`, `detach` each
//! `Accepted`, hand it over, `attach` it there and spawn `serve_connection`.

use super::{Doors, Mount, connection, entry, watch::Place, watch::Watch};
use crate::limits;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::{
    io,
    net::{SocketAddr, ToSocketAddrs},
    sync::Arc,
    time::Duration,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Connections the system completes before we accept them.
const BACKLOG: i32 = 1024;
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {host}:{port}")]
pub struct BindError {
    pub host: String,
    pub port: u16,
    #[source]
    pub source: io::Error,
}
impl BindError {
    /// The system's name for it: `EADDRINUSE`.
    pub fn name(&self) -> &'static str {
        match self.source.kind() {
            io::ErrorKind::AddrInUse => "EADDRINUSE",
            io::ErrorKind::AddrNotAvailable => "EADDRNOTAVAIL",
            io::ErrorKind::PermissionDenied => "EACCES",
            io::ErrorKind::InvalidInput | io::ErrorKind::NotFound => "EINVAL",
            _ => "EIO",
        }
    }
}

/// Binds the first address of `host` that can be bound; port 0 takes any free one. Needs no runtime.
///
/// # Errors
/// The last address's failure: port taken, address not of this machine, no right.
pub fn bind(host: &str, port: u16) -> Result<std::net::TcpListener, BindError> {
    let fail = |source| BindError { host: host.to_owned(), port, source };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let mut last = io::Error::from(io::ErrorKind::InvalidInput);
    for address in (bare, port).to_socket_addrs().map_err(fail)? {
        match bind_address(address) {
            Ok(listener) => return Ok(listener),
            Err(failure) => last = failure,
        }
    }
    Err(fail(last))
}

fn bind_address(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // Inherited by what is accepted: no system call per connection.
    socket.set_tcp_nodelay(true)?;
    #[cfg(target_os = "linux")]
    rustix::net::sockopt::set_tcp_user_timeout(&socket, u32::try_from(limits::WRITE_STALL.as_millis()).unwrap_or(u32::MAX))?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A listener within a runtime. Dropping it closes the port.
#[derive(Debug)]
pub struct Acceptor {
    listener: TcpListener,
    watch: Arc<Watch>,
}

/// A client's connection with its place among the open ones.
#[derive(Debug)]
pub struct Accepted {
    stream: TcpStream,
    peer: SocketAddr,
    place: Place,
}

/// The same, bound to no runtime.
#[derive(Debug)]
pub struct Detached {
    stream: std::net::TcpStream,
    peer: SocketAddr,
    place: Place,
}

impl Acceptor {
    /// # Errors
    /// The runtime takes no more sockets.
    pub fn new(listener: std::net::TcpListener, watch: Arc<Watch>) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::from_std(listener)?, watch })
    }

    /// # Errors
    /// The socket is gone.
    pub fn local(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The next connection that finds a place. Never fails: without free descriptors it waits, longer each time. Cancel-safe.
    pub async fn accept(&self) -> Accepted {
        let mut pause = PAUSE_MIN;
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    pause = PAUSE_MIN;
                    if let Some(place) = self.watch.admit() {
                        return Accepted { stream, peer, place };
                    }
                    tracing::debug!(open = self.watch.open(), "too many connections; one was closed");
                }
                Err(failure) if is_of_one_connection(&failure) => {}
                Err(failure) => {
                    tracing::warn!(%failure, pause_ms = pause.as_millis(), "cannot accept connections; waiting");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }
}

/// The client was gone before we accepted it; the listener is well.
fn is_of_one_connection(failure: &io::Error) -> bool {
    matches!(failure.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted)
}

impl Accepted {
    /// # Errors
    /// The runtime does not let go of the socket.
    pub fn detach(self) -> io::Result<Detached> {
        Ok(Detached { stream: self.stream.into_std()?, peer: self.peer, place: self.place })
    }
}
impl Detached {
    /// In the runtime that will serve it.
    ///
    /// # Errors
    /// The runtime takes no more sockets.
    pub fn attach(self) -> io::Result<Accepted> {
        Ok(Accepted { stream: TcpStream::from_std(self.stream)?, peer: self.peer, place: self.place })
    }
}

/// Accepts and serves on the current runtime until `stop`; then the port is closed and the open connections live on: see
/// `Watch::drain`, `Watch::closed`, `Watch::close`.
pub async fn serve(acceptor: Acceptor, doors: Arc<Doors>, mount: Arc<Mount>, stop: CancellationToken) {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = acceptor.accept() => {
                tokio::spawn(serve_connection(accepted, doors.clone(), mount.clone()));
            }
        }
    }
}

/// One connection to its end. Must be spawned as a task of its own; `Watch` is its stop signal and waits for it.
pub async fn serve_connection(accepted: Accepted, doors: Arc<Doors>, mount: Arc<Mount>) {
    let Accepted { stream, peer, place } = accepted;
    connection::serve(stream, place, |request, pulse| entry::answer(&doors, &mount, peer, pulse, request)).await;
}

#[cfg(test)]
mod tests;
