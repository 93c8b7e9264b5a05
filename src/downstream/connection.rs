//! One client connection: HTTP/1 by hyper, without a middleware stack and without a timer of its own.
//!
//! Cost of a request here, beside hyper's own: one `Arc` clone, about six relaxed stores, no allocation.

use super::{
    Reply,
    pulse::{Order, Pulse},
    standing::Standing,
    stream::Watched,
    watch::Place,
};
use crate::limits;
use hyper::{
    Method, Request, StatusCode, Version,
    body::{Body, Incoming},
    header::{self, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use std::{
    convert::Infallible,
    future::{Future, pending, poll_fn},
    pin::Pin,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
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
/// A standing response moves into another task, and this one ends.
pub(super) async fn serve<S, H, F>(stream: S, place: Place, handler: H)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<Incoming>, Arc<Pulse>) -> F,
    F: Future<Output = Reply>,
{
    let stream = Watched::new(stream, place);
    let pulse = stream.pulse().clone();
    let stands = Mutex::new(None);
    let service = service_fn(|request: Request<Incoming>| {
        let in_service = pulse.on_request(!request.body().is_end_stream());
        let may_stand = request.version() == Version::HTTP_11 && request.method() != Method::HEAD;
        let answer = handler(request, pulse.clone());
        let (pulse, stands) = (&pulse, &stands);
        async move {
            let mut reply = answer.await;
            if reply.status() == StatusCode::SWITCHING_PROTOCOLS {
                pulse.on_upgrade();
            } else if pulse.has_body_left() || pulse.order() != Order::Go {
                // Nothing can follow what was not read, or while draining: the client is told, or its next request would be lost (RFC 9112 9.6).
                reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            } else if may_stand
                && pulse.is_written()
                && let Some(messages) = reply.body_mut().take_standing()
            {
                *lock(stands) = Some(Standing::new(reply, messages, in_service));
                // The connection is taken from hyper before this is polled again.
                return pending().await;
            }
            reply.body_mut().until_end(in_service);
            Ok::<_, Infallible>(reply)
        }
    });
    // One that came while draining is there to be told so: hyper would close it before its first request.
    let mut draining = pulse.order() == Order::Drain;
    let http = if draining { &ONCE } else { &HTTP };
    let mut connection = http.serve_connection(TokioIo::new(stream), service).with_upgrades();
    let ended = poll_fn(|cx| {
        pulse.register(cx);
        let order = pulse.order();
        if order == Order::Close {
            return Poll::Ready(Ok(None));
        }
        let mut polled = Pin::new(&mut connection).poll(cx);
        if order == Order::Drain && !draining && polled.is_pending() {
            draining = true;
            // Whatever had come by now was read, so nothing is lost, and nobody needs to be waited for to hang up.
            if pulse.is_idle() {
                return Poll::Ready(Ok(None));
            }
            Pin::new(&mut connection).graceful_shutdown();
            polled = Pin::new(&mut connection).poll(cx);
        }
        match polled {
            Poll::Pending => lock(&stands).take().map_or(Poll::Pending, |standing| Poll::Ready(Ok(Some(standing)))),
            Poll::Ready(ended) => Poll::Ready(ended.map(|()| None)),
        }
    });
    match ended.await {
        Ok(None) => {}
        Ok(Some(standing)) => {
            if let Some(parts) = connection.into_parts() {
                tokio::spawn(standing.serve(parts.io.into_inner()));
            }
        }
        Err(failure) => tracing::trace!(%failure, "client connection ended"),
    }
}

fn lock<T>(slot: &Mutex<T>) -> MutexGuard<'_, T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
