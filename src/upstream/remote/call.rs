//! One POST and what comes of it (MCP, Streamable HTTP, Sending Messages to the Server).
//!
//! ```text
//! POST ─► JSON ─────────────────────────────────────────────► answer
//!   │  ─► stream ─► notifications, requests … ─► answer ────► answer, the rest of the stream read for its connection's sake
//!   │         └──── broke off ─► GET with Last-Event-ID, where events had ids
//!   └──► 404 with a session ─► a new session, POST once more: the request was not processed
//! ```

use std::{
    convert::Infallible,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use hyper::{
    Response, StatusCode,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderMap, HeaderValue},
};
use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};

use super::{
    events::{Events, messages},
    fault::Fault,
    heard::Source,
    link::{Shared, Weight},
    session::{self, Session},
    target::{Head, session_of},
};
use crate::{
    limits,
    mux::WireId,
    net::body::Stream,
    protocol::{Kind, Message},
    upstream::child::reader::meant_answer,
};

/// A call with its slot taken.
pub(super) struct Call {
    pub(super) wire: WireId,
    pub(super) line: Bytes,
    pub(super) names: Option<HeaderMap>,
    pub(super) weight: Weight,
    /// Resolves when the slot was freed: by a deadline, the caller or the end of the link.
    pub(super) gone: oneshot::Receiver<Infallible>,
}

/// What came back for one request.
pub(super) struct Answered {
    pub(super) status: StatusCode,
    pub(super) message: Message,
    /// Of the head.
    pub(super) session: Option<HeaderValue>,
    rest: Option<Events>,
}

pub(super) async fn run(shared: Arc<Shared>, call: Call) {
    let Call { wire, line, names, weight, mut gone } = call;
    let carried = tokio::select! {
        biased;
        // What was begun is dropped, and with it the exchange.
        _ = &mut gone => return,
        carried = carry(&shared, wire, line, names.as_ref(), weight) => carried,
    };
    match carried {
        Ok(Answered { message, rest, .. }) => {
            shared.dial.target.common.succeed();
            shared.handle_answer(wire, message);
            if let Some(rest) = rest {
                let _ = timeout(limits::STREAM_END, rest.finish()).await;
            }
        }
        Err(fault) => shared.handle_fault(wire, &fault),
    }
}

async fn carry(shared: &Arc<Shared>, wire: WireId, line: Bytes, names: Option<&HeaderMap>, _weight: Weight) -> Result<Answered, Fault> {
    let session = shared.session.load_full();
    match converse(shared, wire, line.clone(), shared.head(&session, names), &session).await {
        Err(Fault::SessionLost) => {
            session::renew(shared, session.epoch).await?;
            let session = shared.session.load_full();
            converse(shared, wire, line, shared.head(&session, names), &session).await
        }
        carried => carried,
    }
}

/// One request, until its answer. Its deadline is the caller's; dropping the future ends the exchange.
///
/// # Errors
/// There is no answer. An error of JSON-RPC is one.
pub(super) async fn converse(
    shared: &Arc<Shared>,
    wire: WireId,
    line: Bytes,
    head: Head<'_>,
    session: &Session,
) -> Result<Answered, Fault> {
    let response = shared.dial.target.send(shared.dial.target.post(line, head)).await?;
    let status = response.status();
    let new_session = session_of(response.headers());
    if !status.is_server_error() {
        shared.dial.target.common.reach();
        shared.signs.hear();
    }
    if !status.is_success() {
        let message = refusal(shared, wire, response, session).await?;
        return Ok(Answered { status, message, session: new_session, rest: None });
    }
    match media(response.headers()) {
        Media::Json => {
            let bytes = body(shared, response).all(shared.dial.bounds.line_bytes).await?;
            let message = read_json(shared, wire, status, bytes, session)?;
            Ok(Answered { status, message, session: new_session, rest: None })
        }
        Media::Stream => {
            let mut events = Events::new(body(shared, response), shared.dial.bounds.line_bytes);
            let message = follow(shared, wire, &mut events, session).await?;
            Ok(Answered { status, message, session: new_session, rest: Some(events) })
        }
        Media::None => Err(Fault::NoAnswer),
        Media::Other(name) => Err(Fault::ContentType(name)),
    }
}

/// A notification or an answer, for this session; nothing comes back. What becomes of it is only logged.
pub(super) async fn tell(shared: &Arc<Shared>, session: &Session, line: Bytes) {
    let len = line.trim_ascii_end().len();
    let request = shared.dial.target.post(line.slice(..len), shared.head(session, None));
    match shared.dial.target.send_within(request, limits::REMOTE_ACKNOWLEDGE).await {
        Ok(response) => {
            let status = response.status();
            if !status.is_success() {
                tracing::debug!(server = %shared.dial.server(), status = status.as_u16(), "did not take a notification");
            }
            let _ = timeout(limits::STREAM_END, body(shared, response).all(limits::REFUSAL_BYTES_MAX)).await;
        }
        Err(error) => tracing::debug!(server = %shared.dial.server(), %error, "a notification was not sent"),
    }
}

/// An error of JSON-RPC that answers the request, or what else the status stands for.
async fn refusal(shared: &Shared, wire: WireId, response: Response<Incoming>, session: &Session) -> Result<Message, Fault> {
    let status = response.status();
    let fault = Fault::of_status(status, response.headers());
    if !matches!(fault, Fault::Status(_)) || media(response.headers()) != Media::Json {
        return Err(if session.is_lost(status, None) { Fault::SessionLost } else { fault });
    }
    let reading = timeout(limits::REMOTE_ACKNOWLEDGE, body(shared, response).all(limits::REFUSAL_BYTES_MAX)).await;
    let message = reading.ok().and_then(Result::ok).and_then(|bytes| messages(bytes).ok()?.pop());
    let message = message.filter(|message| message.kind() == Kind::Error);
    match message {
        Some(message) if id_of(&message) == Some(wire) && !session.is_lost(status, None) => Ok(message),
        message if session.is_lost(status, message.as_ref()) => Err(Fault::SessionLost),
        Some(message) if !status.is_server_error() => Err(Fault::Refused { status, message: Box::new(message) }),
        _ => Err(fault),
    }
}

fn read_json(shared: &Arc<Shared>, wire: WireId, status: StatusCode, bytes: Bytes, session: &Session) -> Result<Message, Fault> {
    shared.dial.target.wire.received(&bytes);
    let messages = messages(bytes).map_err(|error| {
        tracing::debug!(server = %shared.dial.server(), %error, "answer is no message");
        Fault::NoAnswer
    })?;
    let mut answer = Err(Fault::NoAnswer);
    for message in messages {
        match message.kind() {
            // Some name no request in errors, though there is only one it can be.
            Kind::Error if message.scan().id.is_none() => answer = Err(Fault::Refused { status, message: Box::new(message) }),
            _ => answer = handle(shared, wire, message, session).map_or(answer, Ok),
        }
    }
    answer
}

/// Until the answer. A stream that breaks off before it is taken up where its events had ids (2025-11-25, Resumability).
async fn follow(shared: &Arc<Shared>, wire: WireId, events: &mut Events, session: &Session) -> Result<Message, Fault> {
    let mut tries = 0;
    loop {
        match read(shared, wire, events, session).await {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => {}
            Err(fault) if fault.is_outage() => tracing::debug!(server = %shared.dial.server(), %fault, "stream broke off"),
            Err(fault) => return Err(fault),
        }
        loop {
            if events.last_id.is_none() || shared.is_stateless() || tries >= limits::RESUMES_MAX {
                return Err(Fault::Cut);
            }
            tries += 1;
            sleep(events.wait()).await;
            let request = shared.dial.target.get(shared.head(session, None), events.last_id.as_deref());
            match shared.dial.target.send_within(request, limits::REMOTE_ACKNOWLEDGE).await {
                Ok(response) if response.status() == StatusCode::OK && media(response.headers()) == Media::Stream => {
                    events.resume(body(shared, response));
                    tries = 0;
                    break;
                }
                Ok(response) if response.status().is_client_error() => return Err(Fault::Cut),
                Ok(_) | Err(_) => {}
            }
        }
    }
}

/// `None`: the stream ended without the answer.
async fn read(shared: &Arc<Shared>, wire: WireId, events: &mut Events, session: &Session) -> Result<Option<Message>, Fault> {
    while let Some(event) = events.next().await? {
        let mut answer = None;
        for message in read_event(shared, event.data, Some(wire))? {
            answer = handle(shared, wire, message, session).or(answer);
        }
        if answer.is_some() {
            return Ok(answer);
        }
    }
    Ok(None)
}

/// What cannot be read is dropped, counted.
///
/// # Errors
/// It was meant to be the answer to `wire`.
pub(super) fn read_event(shared: &Shared, data: String, wire: Option<WireId>) -> Result<impl IntoIterator<Item = Message> + use<>, Fault> {
    let bytes = Bytes::from(data);
    shared.dial.target.wire.received(&bytes);
    shared.signs.hear();
    match messages(bytes.clone()) {
        Ok(messages) => Ok(messages),
        Err(error) => {
            shared.counts.bad_messages.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(server = %shared.dial.server(), %error, "event is no message, skipped");
            let meant = meant_answer(&bytes);
            if meant.is_some() && meant == wire { Err(Fault::NoAnswer) } else { Ok(Default::default()) }
        }
    }
}

/// The message, if it is the answer; anything else is dealt with.
fn handle(shared: &Arc<Shared>, wire: WireId, message: Message, session: &Session) -> Option<Message> {
    let source = Source { epoch: session.epoch, call: Some(wire) };
    match message.kind() {
        Kind::Result | Kind::Error if id_of(&message) == Some(wire) => return Some(message),
        Kind::Result | Kind::Error => {
            shared.counts.unknown_answers.fetch_add(1, Ordering::Relaxed);
        }
        Kind::Notification => shared.handle_notification(source, message),
        Kind::Request => shared.handle_request(source, message),
    }
    None
}

fn id_of(message: &Message) -> Option<WireId> {
    message.scan().id.and_then(|id| WireId::parse(message.token(id)))
}

pub(super) fn body(shared: &Shared, response: Response<Incoming>) -> Stream {
    Stream::new(response.into_body(), shared.dial.target.address())
}

/// What a body is said to hold.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Media {
    Json,
    Stream,
    /// Nothing is said.
    None,
    Other(String),
}

pub(super) fn media(headers: &HeaderMap) -> Media {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Media::None };
    if value.as_bytes() == b"application/json" {
        return Media::Json;
    }
    let value = String::from_utf8_lossy(value.as_bytes());
    let name = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match name.as_str() {
        "application/json" => Media::Json,
        "text/event-stream" => Media::Stream,
        _ => Media::Other(name.chars().filter(|letter| letter.is_ascii_graphic()).take(64).collect()),
    }
}
