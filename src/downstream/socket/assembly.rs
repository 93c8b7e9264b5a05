//! From frames to messages, and every rule of RFC 6455 about what a client may send; no I/O, no clock.
//!
//! fastwebsockets parses frame headers and checks reserved bits, opcodes and the length of a single frame. What it does not
//! check is checked here: masks, fragments as a whole, control frames, close codes, UTF-8, floods.

mod fuzz;

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use fastwebsockets::{CloseCode, OpCode};

#[doc(hidden)]
pub use fuzz::fuzz_assembly;

use super::close::Close;
use crate::limits;

/// One frame, its payload unmasked.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) is_final: bool,
    pub(super) opcode: OpCode,
    pub(super) is_masked: bool,
    pub(super) payload: BytesMut,
}

/// What a frame amounts to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// A whole text message, UTF-8. Of one frame: shares its bytes.
    Message(Bytes),
    /// A fragment; more will come.
    Partial,
    /// To be answered with the same bytes.
    Ping(Bytes),
    Pong,
    /// To be answered with this; nothing may follow.
    Close(Close),
}

/// What is left of the frames so far. At most `limits::SOCKET_MESSAGE_BYTES_MAX` in `limits::SOCKET_FRAGMENTS_MAX` pieces.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    partial: Option<Partial>,
    controls: Rate,
}

#[derive(Debug)]
struct Partial {
    bytes: BytesMut,
    fragments: usize,
}

impl Assembly {
    /// # Errors
    /// The client broke a rule: say so and close. Nothing may be taken after that.
    pub(super) fn take(&mut self, frame: Frame, now: Instant) -> Result<Taken, Close> {
        if !frame.is_masked {
            return Err(Close::PROTOCOL.because("frames of a client are masked"));
        }
        match frame.opcode {
            OpCode::Text => self.start(frame),
            OpCode::Continuation => self.go_on(frame),
            OpCode::Binary => Err(Close::UNSUPPORTED),
            OpCode::Close | OpCode::Ping | OpCode::Pong => self.control(frame, now),
        }
    }

    fn start(&mut self, frame: Frame) -> Result<Taken, Close> {
        if self.partial.is_some() {
            return Err(Close::PROTOCOL.because("a message began inside another"));
        }
        check_len(frame.payload.len())?;
        if frame.is_final {
            return whole(frame.payload);
        }
        self.partial = Some(Partial { bytes: frame.payload, fragments: 1 });
        Ok(Taken::Partial)
    }

    fn go_on(&mut self, frame: Frame) -> Result<Taken, Close> {
        let Some(mut partial) = self.partial.take() else {
            return Err(Close::PROTOCOL.because("a continuation of no message"));
        };
        check_len(partial.bytes.len().saturating_add(frame.payload.len()))?;
        partial.fragments += 1;
        if partial.fragments > limits::SOCKET_FRAGMENTS_MAX {
            return Err(Close::POLICY.because("too many fragments"));
        }
        partial.bytes.extend_from_slice(&frame.payload);
        if frame.is_final {
            return whole(partial.bytes);
        }
        self.partial = Some(partial);
        Ok(Taken::Partial)
    }

    /// May stand between the fragments of a message (RFC 6455 5.5).
    fn control(&mut self, frame: Frame, now: Instant) -> Result<Taken, Close> {
        if !frame.is_final || frame.payload.len() > 125 {
            return Err(Close::PROTOCOL.because("a control frame is whole and at most 125 bytes"));
        }
        if frame.opcode == OpCode::Close {
            return closing(&frame.payload).map(Taken::Close);
        }
        if self.controls.count(now) > limits::SOCKET_PINGS_PER_SECOND_MAX {
            return Err(Close::POLICY.because("too many pings"));
        }
        Ok(if frame.opcode == OpCode::Ping { Taken::Ping(frame.payload.freeze()) } else { Taken::Pong })
    }
}

fn check_len(len: usize) -> Result<(), Close> {
    if len > limits::SOCKET_MESSAGE_BYTES_MAX { Err(Close::TOO_LARGE) } else { Ok(()) }
}

/// Checked as a whole: a fragment may end inside a character.
fn whole(bytes: BytesMut) -> Result<Taken, Close> {
    match simdutf8::basic::from_utf8(&bytes) {
        Ok(_) => Ok(Taken::Message(bytes.freeze())),
        Err(_) => Err(Close::NOT_TEXT),
    }
}

/// The answer to a close frame: its code and no reason (RFC 6455 5.5.1, 7.4).
fn closing(payload: &[u8]) -> Result<Close, Close> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() { Ok(Close::WITHOUT_CODE) } else { Err(Close::PROTOCOL.because("half a close code")) };
    };
    let code = u16::from_be_bytes(*code);
    if !CloseCode::from(code).is_allowed() {
        return Err(Close::PROTOCOL.because("not a close code"));
    }
    if simdutf8::basic::from_utf8(reason).is_err() {
        return Err(Close::NOT_TEXT);
    }
    Ok(Close::echo(code))
}

/// Counts events in windows of a second; two neighbouring windows may share a burst.
#[derive(Debug, Default)]
struct Rate {
    since: Option<Instant>,
    events: u32,
}

impl Rate {
    /// With this one.
    fn count(&mut self, now: Instant) -> u32 {
        let is_current = self.since.is_some_and(|since| now.saturating_duration_since(since) < Duration::from_secs(1));
        if !is_current {
            *self = Self { since: Some(now), events: 0 };
        }
        self.events = self.events.saturating_add(1);
        self.events
    }
}

#[cfg(test)]
mod tests;
