//! A response that stands open for hours and is mostly silent, written without hyper: its buffers and state are two thirds of what
//! an idle connection costs, and ten thousand sessions may each have such a stream.
//!
//! The connection ends with the response. What the client still sends is thrown away; its end ends the stream.

use super::{
    Reply,
    gather::Gather,
    pulse::{InService, Order, Pulse},
    reply::Messages,
    stream::Watched,
};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::StreamExt;
use hyper::http::response::Parts;
use std::{
    future::{Future, poll_fn},
    io::{self, Write},
    pin::pin,
    task::Poll,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// A reply whose body was taken from it, on its way out of hyper's hands.
pub(super) struct Standing {
    head: Bytes,
    messages: Messages,
    in_service: InService,
}

impl Standing {
    pub(super) fn new(reply: Reply, messages: Messages, in_service: InService) -> Self {
        Self { head: head(&reply.into_parts().0), messages, in_service }
    }

    /// Until either side ends it or the connection's `Pulse` says so. Must be spawned as a task of its own.
    pub(super) async fn serve<S>(self, stream: Watched<S>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let pulse = stream.pulse().clone();
        ordered(&pulse, self.send(stream)).await;
    }

    async fn send<S>(mut self, mut stream: Watched<S>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut gather = Gather::default();
        gather.push(self.head);
        let ended: io::Result<()> = async {
            loop {
                gather.write(&mut stream).await?;
                let mut waste = [0; 64];
                let message = tokio::select! {
                    biased;
                    message = self.messages.next() => message,
                    read = stream.read(&mut waste) => match read? {
                        0 => return Ok(()),
                        _ => continue,
                    },
                };
                match message {
                    Some(message) => chunk(&mut gather, message),
                    None => break,
                }
            }
            drop(self.messages);
            gather.push(&b"0\r\n\r\n"[..]);
            gather.write(&mut stream).await?;
            drop(self.in_service);
            stream.shutdown().await
        }
        .await;
        if let Err(failure) = ended {
            tracing::trace!(%failure, "a stream's client is gone");
        }
    }
}

/// As long as the connection may live.
async fn ordered(pulse: &Pulse, sending: impl Future<Output = ()>) {
    let mut sending = pin!(sending);
    poll_fn(|cx| {
        pulse.register(cx);
        match pulse.order() {
            Order::Close => Poll::Ready(()),
            // Whoever fills the stream ends it when the hub stops.
            Order::Go | Order::Drain => sending.as_mut().poll(cx),
        }
    })
    .await;
}

/// As hyper would write it, but for the connection.
fn head(parts: &Parts) -> Bytes {
    let mut head = BytesMut::with_capacity(256).writer();
    let reason = parts.status.canonical_reason().unwrap_or_default();
    // Writing to memory cannot fail.
    let _ = write!(head, "HTTP/1.1 {} {reason}\r\n", parts.status.as_str());
    let mut head = head.into_inner();
    for (name, value) in &parts.headers {
        put(&mut head, name.as_str(), value.as_bytes());
    }
    put(&mut head, "date", httpdate::fmt_http_date(std::time::SystemTime::now()).as_bytes());
    put(&mut head, "connection", b"close");
    put(&mut head, "transfer-encoding", b"chunked");
    head.put_slice(b"\r\n");
    head.freeze()
}

fn put(head: &mut BytesMut, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        head.put_slice(part);
    }
}

/// RFC 9112 7.1.
fn chunk(gather: &mut Gather, message: crate::protocol::Body) {
    if message.is_empty() {
        return;
    }
    gather.push(format!("{:x}\r\n", message.len()).into_bytes());
    gather.push_body(message);
    gather.push(&b"\r\n"[..]);
}
