//! The load: so many connections, each with one request under way, written and read as plainly as can be so that the client
//! costs as little as possible.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use memchr::memmem;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Bytes of text in a large answer.
pub(crate) const LARGE_BYTES: u64 = 100_000;

/// One HTTP request, whole, and where it goes.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) address: SocketAddr,
    pub(crate) bytes: Arc<[u8]>,
}

pub(crate) struct Load {
    pub(crate) request: Request,
    pub(crate) connections: usize,
}

impl Load {
    /// Makes `calls` calls, spread over the connections; the time from the first to the last.
    pub(crate) fn run(&self, calls: u64) -> Duration {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let connections = u64::try_from(self.connections).unwrap();
        runtime.block_on(async {
            let mut streams = Vec::new();
            for number in 0..connections {
                let mut connection = Connection::open(&self.request, number).await;
                // The first answer of a connection pays for what later ones find ready.
                connection.call(&connection.own(&self.request)).await;
                streams.push(connection);
            }
            let since = Instant::now();
            let tasks: Vec<_> = streams
                .into_iter()
                .zip(0..connections)
                .map(|(mut connection, number)| {
                    let share = calls / connections + u64::from(number < calls % connections);
                    let request = connection.own(&self.request);
                    tokio::spawn(async move {
                        for _ in 0..share {
                            connection.call(&request).await;
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            since.elapsed()
        })
    }

    /// Calls one after the other on one connection; the time of each.
    pub(crate) fn times(&self, calls: usize) -> Vec<Duration> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut connection = Connection::open(&self.request, 0).await;
            let mut times = Vec::with_capacity(calls);
            for _ in 0..calls {
                let since = Instant::now();
                connection.call(&self.request).await;
                times.push(since.elapsed());
            }
            times
        })
    }
}

/// One answer, for what is asked once; its head and body.
pub(crate) fn once(request: &Request) -> (String, Vec<u8>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection = Connection::open(request, 0).await;
        let head_len = connection.call(request).await;
        let head = String::from_utf8(connection.buffer[..head_len].to_vec()).unwrap();
        (head, connection.buffer[head_len..].to_vec())
    })
}

struct Connection {
    number: u64,
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(request: &Request, number: u64) -> Self {
        let stream = TcpStream::connect(request.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { number, stream, buffer: Vec::with_capacity(1 << 18) }
    }

    /// The request with an id of this connection's own: within a session no two may share one.
    fn own(&self, request: &Request) -> Request {
        let at = memmem::find(&request.bytes, b"\"id\":1000").map_or(request.bytes.len(), |at| at + 5);
        let mut bytes = request.bytes.to_vec();
        for (byte, digit) in bytes[at..].iter_mut().zip((1000 + self.number).to_string().bytes()) {
            *byte = digit;
        }
        Request { bytes: bytes.into(), ..*request }
    }

    /// One request and its whole answer, left in the buffer; the length of its head.
    async fn call(&mut self, request: &Request) -> usize {
        self.stream.write_all(&request.bytes).await.unwrap();
        self.buffer.clear();
        let mut head = None;
        loop {
            let read = self.stream.read_buf(&mut self.buffer).await.unwrap();
            assert!(read > 0, "closed early: {}", String::from_utf8_lossy(&self.buffer));
            head = head.or_else(|| self.head());
            let is_whole = |(head_len, body_len): (usize, Option<usize>)| match body_len {
                Some(body_len) => self.buffer.len() >= head_len + body_len,
                None => self.buffer[head_len..].ends_with(b"0\r\n\r\n"),
            };
            if let Some((head_len, _)) = head.filter(|head| is_whole(*head)) {
                assert!(self.buffer.starts_with(b"HTTP/1.1 20"), "{}", String::from_utf8_lossy(&self.buffer));
                return head_len;
            }
        }
    }

    /// Its length, and the body's unless that comes in chunks.
    fn head(&self) -> Option<(usize, Option<usize>)> {
        let end = memmem::find(&self.buffer, b"\r\n\r\n")? + 4;
        let head = self.buffer[..end].to_ascii_lowercase();
        if memmem::find(&head, b"transfer-encoding: chunked").is_some() {
            return Some((end, None));
        }
        let at = memmem::find(&head, b"content-length: ").expect("answers of known length, or in chunks") + 16;
        let digits: String = head[at..].iter().take_while(|byte| byte.is_ascii_digit()).map(|byte| char::from(*byte)).collect();
        Some((end, Some(digits.parse().unwrap())))
    }
}
