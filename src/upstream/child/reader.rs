//! Pipe to callers: frames lines, scans each once, hands it over. Never waits for anything but the pipe.
//!
//! The buffer holds one line (`line_bytes` at most) and one read. It grows while reads fill it and is given back when the pipe
//! has been quiet for a while, so that an idle server costs `READ_MIN`.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::timeout,
};
use tokio_util::sync::DropGuard;

use super::link::Shared;
use crate::{
    limits,
    mux::WireId,
    protocol::{
        Kind, Message, Method,
        line::{Framer, Line},
    },
    upstream::What,
};

const READ_MIN: usize = 16 << 10;
/// As much as a pipe holds: one read empties it.
const READ_MAX: usize = 1 << 20;
const QUIET: Duration = Duration::from_secs(1);

/// Ends at the end of the pipe, or by being aborted; either way `_ends` tell whom it concerns.
pub(super) async fn run(shared: Arc<Shared>, mut output: impl AsyncRead + Unpin, _ends: [DropGuard; 2]) {
    let shared = &shared;
    let mut framer = Framer::new(shared.bounds.line_bytes);
    let mut buffer = BytesMut::new();
    let mut size = READ_MIN;
    loop {
        // A new buffer for every read would cost its page faults each time; a nearly full one would cost small reads.
        if buffer.capacity() - buffer.len() < size / 4 {
            buffer.reserve(size);
        }
        let reading = output.read_buf(&mut buffer);
        let read = if size == READ_MIN { Ok(reading.await) } else { timeout(QUIET, reading).await };
        let count = match read {
            Err(_quiet) => {
                buffer = BytesMut::from(buffer.as_ref());
                size = READ_MIN;
                continue;
            }
            Ok(Ok(0)) => break,
            Ok(Ok(count)) => {
                shared.signs.hear();
                count
            }
            Ok(Err(error)) => {
                tracing::debug!(server = %shared.server, %error, "the server cannot be read");
                break;
            }
        };
        if count >= size / 2 {
            size = (size * 2).min(READ_MAX);
        }
        while let Some(line) = framer.next(&mut buffer) {
            handle_line(shared, line);
        }
    }
    while let Some(line) = framer.finish(&mut buffer) {
        handle_line(shared, line);
    }
}

fn handle_line(shared: &Arc<Shared>, line: Line) {
    match line {
        Line::Text(bytes) => handle_text(shared, bytes),
        Line::TooLong { bytes, ends } => {
            shared.counts.long_lines.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(server = %shared.server, bytes, limit = shared.bounds.line_bytes, "line too long, dropped");
            if let Some(wire) = ends.answers().and_then(WireId::parse) {
                shared.handle_long_answer(wire);
            }
        }
    }
}

fn handle_text(shared: &Arc<Shared>, bytes: Bytes) {
    shared.wire.received(&bytes);
    let message = match Message::parse(bytes.clone()) {
        Ok(message) => message,
        Err(error) => {
            shared.counts.bad_lines.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(server = %shared.server, %error, "line is no message, skipped");
            if let Some(wire) = meant_answer(&bytes) {
                shared.handle_bad_answer(wire);
            }
            return;
        }
    };
    match message.kind() {
        Kind::Result | Kind::Error => match message.scan().id.and_then(|id| WireId::parse(message.token(id))) {
            Some(wire) => shared.handle_answer(wire, message),
            None => {
                shared.counts.unknown_answers.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(server = %shared.server, "answer to an id that was never given");
            }
        },
        Kind::Notification => handle_notification(shared, message),
        Kind::Request => shared.handle_request(message),
    }
}

/// The call that a line would answer if it were an answer: its result is no object, or too deep, or it has both result and error.
/// Nothing better will come, so that call need not wait for its deadline. Off the hot path.
pub(in crate::upstream) fn meant_answer(line: &[u8]) -> Option<WireId> {
    #[derive(serde::Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow)]
        id: &'a RawValue,
        method: Option<IgnoredAny>,
    }
    let envelope: Envelope<'_> = serde_json::from_slice(line).ok()?;
    if envelope.method.is_some() { None } else { WireId::parse(envelope.id.get().as_bytes()) }
}

fn handle_notification(shared: &Shared, message: Message) {
    match message.method() {
        Method::Progress => {
            let wire = message.scan().progress_token.and_then(|token| WireId::parse(message.token(token)));
            if let Some(wire) = wire {
                shared.handle_progress(wire, message);
            }
        }
        Method::ToolsListChanged | Method::PromptsListChanged | Method::ResourcesListChanged => shared.handle_list_changed(),
        Method::Cancelled => shared.handle_cancelled(&message),
        Method::SubscriptionsAcknowledged => {
            if let Some(wire) = subscription(&message) {
                shared.handle_acknowledged(wire, message);
            }
        }
        // Bounded in bytes by this; in count by whoever keeps them.
        method if message.bytes().len() > limits::NOTE_BYTES_MAX => {
            tracing::debug!(server = %shared.server, method = method.as_str(), bytes = message.bytes().len(), "notification too large, dropped");
        }
        Method::LogMessage => shared.handle_log(message),
        Method::ResourcesUpdated => shared.handle_news(What::Updated(message)),
        Method::ElicitationComplete => shared.handle_elicited(message),
        _ => shared.handle_news(What::Note(message)),
    }
}

/// The listen that a notification is of. Off the hot path.
fn subscription(message: &Message) -> Option<WireId> {
    #[derive(serde::Deserialize)]
    struct Meta<'a> {
        #[serde(borrow, rename = "io.modelcontextprotocol/subscriptionId")]
        id: &'a RawValue,
    }
    let meta: Meta<'_> = serde_json::from_slice(message.token(message.scan().meta.object?)).ok()?;
    WireId::parse(meta.id.get().as_bytes())
}
