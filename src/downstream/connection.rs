//! One client connection: HTTP/1 by hyper, without a middleware stack and without a timer of its own.
//!
//! Cost of a request here, beside hyper's own: one `Arc` clone, about six relaxed stores, no allocation.

use super::{
    Reply,
    pulse::{Order, Pulse},
    stream::Watched,
    watch::Place,
};
use crate::limits;
use hyper::{
    Request, StatusCode,
    body::{Body, Incoming},
    header::{self, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, LazyLock},
    task::Poll,
};
use tokio::io::{AsyncRead, AsyncWrite};

/// What hyper may buffer per direction; a header block has a smaller bound of its own.
const BUFFER_BYTES_MAX: usize = 64 << 10;

static HTTP: LazyLock<http1::Builder> = LazyLock::new(|| {
    let mut http = http1::Builder::new();
    // No half-close: only the end of the client's side tells that it went away, and that cancels a stateless call.
    http.half_close(false).max_header_size(limits::HEADER_BYTES_MAX).max_buf_size(BUFFER_BYTES_MAX);
    http
});

/// One request, and no more.
static ONCE: LazyLock<http1::Builder> = LazyLock::new(|| {
    let mut http = HTTP.clone();
    http.keep_alive(false);
    http
});

/// Serves `stream` until either side ends it, a timer of its `Pulse` runs out, or it is drained. Must be spawned as a task of its own.
pub(super) async fn serve<S, H, F>(stream: S, place: Place, handler: H)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<Incoming>, Arc<Pulse>) -> F,
    F: Future<Output = Reply>,
{
    let stream = Watched::new(stream, place);
    let pulse = stream.pulse().clone();
    let service = service_fn(|request: Request<Incoming>| {
        let in_service = pulse.on_request(!request.body().is_end_stream());
        let answer = handler(request, pulse.clone());
        async {
            let mut reply = answer.await;
            if reply.status() == StatusCode::SWITCHING_PROTOCOLS {
                pulse.on_upgrade();
            } else if pulse.has_body_left() {
                // Nothing can follow what was not read: the client is told, or its next request would be lost (RFC 9112 9.6).
                reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            reply.body_mut().until_end(in_service);
            Ok::<_, Infallible>(reply)
        }
    });
    // One that came while draining is there to be told so: hyper would close it before its first request.
    let mut draining = pulse.order() == Order::Drain;
    let http = if draining { &ONCE } else { &HTTP };
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service).with_upgrades());
    let ended = poll_fn(|cx| {
        pulse.register(cx);
        match pulse.order() {
            Order::Close => return Poll::Ready(Ok(())),
            Order::Drain if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
            Order::Drain | Order::Go => {}
        }
        connection.as_mut().poll(cx)
    });
    if let Err(failure) = ended.await {
        tracing::trace!(%failure, "client connection ended");
    }
}

#[cfg(test)]
mod tests;
