//! What a door answers: a response whose body is nothing, a message in a few shared pieces, or a stream.

use super::pulse::InService;
use crate::{
    control::{sentence, tenant_not_found},
    observe::wire::Leg,
    protocol::Body,
};
use bytes::Bytes;
use futures_util::Stream;
use hyper::{
    Response, StatusCode,
    body::{Frame, SizeHint},
    header::{self, HeaderValue},
};
use serde::Serialize;
use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::SystemTime,
};

pub type Reply = Response<ReplyBody>;

/// Pulled by the connection as fast as the client reads: nothing is buffered ahead of it.
pub struct ReplyBody {
    content: Content,
    is_standing: bool,
    /// Dropped with the body, when the response is over.
    in_service: Option<InService>,
}

pub(super) type Messages = Pin<Box<dyn Stream<Item = Body> + Send>>;

enum Content {
    Empty,
    Full { body: Body, next: usize, left: u64 },
    Stream { stream: Messages, body: Body, next: usize },
}

impl ReplyBody {
    const fn of(content: Content) -> Self {
        Self { content, is_standing: false, in_service: None }
    }
    pub const fn empty() -> Self {
        Self::of(Content::Empty)
    }
    /// With an exact length; pieces are shared, not copied.
    pub fn full(body: Body) -> Self {
        let left = body.len() as u64;
        Self::of(if left == 0 { Content::Empty } else { Content::Full { body, next: 0, left } })
    }
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        Self::full(Body::one(bytes.into()))
    }
    /// Chunked; dropped when the client goes away.
    pub fn stream(stream: impl Stream<Item = Body> + Send + 'static) -> Self {
        Self::of(Content::Stream { stream: Box::pin(stream), body: Body::default(), next: 0 })
    }
}

impl ReplyBody {
    /// The stream of a response that may last for hours, to be sent without what a busy connection needs.
    pub(super) fn take_standing(&mut self) -> Option<Messages> {
        match std::mem::replace(&mut self.content, Content::Empty) {
            Content::Stream { stream, .. } if self.is_standing => Some(stream),
            content => {
                self.content = content;
                None
            }
        }
    }
    /// Keeps the connection's "in service" mark until the response is over.
    pub(super) fn until_end(&mut self, in_service: InService) {
        self.in_service = Some(in_service);
    }
}

impl hyper::body::Body for ReplyBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.content {
            Content::Empty => Poll::Ready(None),
            Content::Full { body, next, left } => {
                let piece = body.pieces().get(*next).cloned();
                *next += 1;
                *left -= piece.as_ref().map_or(0, |piece| piece.len() as u64);
                Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
            }
            Content::Stream { stream, body, next } => loop {
                if let Some(piece) = body.pieces().get(*next) {
                    let piece = piece.clone();
                    *next += 1;
                    return Poll::Ready(Some(Ok(Frame::data(piece))));
                }
                match stream.as_mut().poll_next(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(None) => {
                        self.content = Content::Empty;
                        return Poll::Ready(None);
                    }
                    Poll::Ready(Some(more)) => (*body, *next) = (more, 0),
                }
            },
        }
    }
    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Empty => true,
            Content::Full { left, .. } => *left == 0,
            Content::Stream { .. } => false,
        }
    }
    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Empty => SizeHint::with_exact(0),
            Content::Full { left, .. } => SizeHint::with_exact(*left),
            Content::Stream { .. } => SizeHint::default(),
        }
    }
}

/// Nothing but a status.
pub fn status(status: StatusCode) -> Reply {
    let mut reply = Reply::new(ReplyBody::empty());
    *reply.status_mut() = status;
    reply
}

/// A message that is JSON already.
pub fn json_body(status: StatusCode, body: Body) -> Reply {
    let mut reply = Reply::new(ReplyBody::full(body));
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

/// Serialises; for the control plane, not for relayed messages.
pub fn json(status: StatusCode, value: &impl Serialize) -> Reply {
    match serde_json::to_vec(value) {
        Ok(bytes) => json_body(status, Body::one(bytes.into())),
        Err(failure) => {
            tracing::error!(%failure, "an answer could not be serialised");
            self::status(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

/// Server-sent events: never cached, never buffered by proxies.
pub fn events(stream: impl Stream<Item = Body> + Send + 'static) -> Reply {
    let mut reply = Reply::new(ReplyBody::stream(stream));
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    reply
}

/// As `events`, of a stream that is silent for most of its life.
pub fn standing(stream: impl Stream<Item = Body> + Send + 'static) -> Reply {
    let mut reply = events(stream);
    reply.body_mut().is_standing = true;
    reply
}

/// Has the messages of an MCP answer checked as they go out.
#[cfg(not(feature = "check-wire"))]
pub const fn checked(reply: Reply, _: Leg) -> Reply {
    reply
}

/// Has the messages of an MCP answer checked as they go out. A refusal need not be one.
#[cfg(feature = "check-wire")]
pub fn checked(reply: Reply, wire: Leg) -> Reply {
    let is_mcp = |body: &Body| body.pieces().concat().windows(9).any(|window| window == br#""jsonrpc""#);
    let (head, ReplyBody { content, is_standing, in_service }) = reply.into_parts();
    let content = match content {
        Content::Full { body, next, left } => {
            if head.status.is_success() || is_mcp(&body) {
                wire.sent(body.pieces());
            }
            Content::Full { body, next, left }
        }
        Content::Stream { stream, body, next } => {
            let mut reader = crate::protocol::sse::Reader::new(usize::MAX);
            let mut events = Vec::new();
            let watched = futures_util::StreamExt::inspect(stream, move |body: &Body| {
                let read = reader.push(&body.pieces().concat(), &mut events);
                debug_assert!(read.is_ok(), "events of any size are read");
                for event in events.drain(..).filter(|event| !event.data.is_empty()) {
                    wire.sent(&[event.data.into()]);
                }
            });
            Content::Stream { stream: Box::pin(watched), body, next }
        }
        Content::Empty => Content::Empty,
    };
    Response::from_parts(head, ReplyBody { content, is_standing, in_service })
}

/// The classes of the one error body.
pub mod class {
    pub const VALIDATION: &str = "VALIDATION_ERROR";
    pub const CONFIG: &str = "CONFIG_ERROR";
    pub const AUTH: &str = "AUTH_ERROR";
    pub const NOT_FOUND: &str = "NOT_FOUND";
    pub const TOOL: &str = "TOOL_ERROR";
    pub const RESOURCE: &str = "RESOURCE_ERROR";
    pub const SERVER: &str = "SERVER_ERROR";
    pub const CONNECTION: &str = "CONNECTION_ERROR";
    pub const QUOTA: &str = "QUOTA_ERROR";
    pub const HUB: &str = "HUB_ERROR";
}

#[derive(Serialize)]
struct ErrorBody<'a, D> {
    error: &'a str,
    code: &'a str,
    message: &'a str,
    data: D,
    timestamp: String,
}

/// The one error body of every HTTP door:
/// `{"error":M,"code":"NOT_FOUND","message":M,"data":{…},"timestamp":"2026-01-01T00:00:00.000Z"}`. `data` is a JSON object.
pub fn error(status: StatusCode, code: &str, message: &str, data: impl Serialize) -> Reply {
    json(status, &ErrorBody { error: message, code, message, data, timestamp: timestamp() })
}

/// Unknown things of all kinds, and those out of the caller's reach: `kind` is "tenant", "server", "route" …
pub fn not_found(kind: &str, name: &str) -> Reply {
    let message = match kind {
        "tenant" => tenant_not_found(name),
        _ => sentence(&format!("{kind} '{name}' not found")),
    };
    error(StatusCode::NOT_FOUND, class::NOT_FOUND, &message, serde_json::json!({"origin": "hub", "kind": kind, "name": name}))
}

/// 400 `VALIDATION_ERROR`; `field` as the caller knows it.
pub fn invalid(message: &str, field: Option<&str>) -> Reply {
    let data = match field {
        Some(field) => serde_json::json!({"origin": "hub", "field": field}),
        None => serde_json::json!({"origin": "hub"}),
    };
    error(StatusCode::BAD_REQUEST, class::VALIDATION, message, data)
}

/// Now, as every answer writes it.
pub fn timestamp() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}
