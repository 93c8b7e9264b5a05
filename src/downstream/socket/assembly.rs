//! From frames to messages, and every rule of RFC 6455 about what a client may send; no I/O, no clock.
//!
//! fastwebsockets parses frame headers and checks reserved bits, opcodes and the length of a single frame. What it does not
//! check is checked here: masks, fragments as a whole, control frames, close codes, UTF-8, floods.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use fastwebsockets::{CloseCode, OpCode};

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

/// Reads the bytes as what a client sends, in one piece and byte by byte, and compares with a plain model of RFC 6455: the same
/// messages and controls come out, and a broken rule ends both.
#[doc(hidden)]
pub fn fuzz_assembly(data: &[u8]) {
    let whole = fuzz::assemble(data, data.len().max(1));
    assert_eq!(whole, fuzz::assemble(data, 1), "assembly depends on how the bytes come in");
    let (taken, is_broken) = fuzz::model(data);
    assert_eq!(whole.0, taken);
    assert!(!is_broken || whole.1 != super::close::End::Gone, "a broken rule was not noticed");
    for message in whole.0 {
        if let Taken::Message(message) = message {
            fuzz::recut(&message);
        }
    }
}

mod fuzz {
    use std::{
        pin::Pin,
        task::{Context, Poll},
    };

    use futures_util::FutureExt;
    use tokio::io::{AsyncRead, ReadBuf};

    use super::{
        super::{close::End, frames::Frames},
        *,
    };

    /// All that comes of these bytes, and how it ends.
    pub(super) fn assemble(data: &[u8], chunk: usize) -> (Vec<Taken>, End) {
        let now = Instant::now();
        let mut frames = Frames::new(Chunks { data: data.to_vec(), at: 0, chunk });
        let mut assembly = Assembly::default();
        let mut all = Vec::new();
        loop {
            let frame = match frames.next().now_or_never().expect("the bytes are all there") {
                Ok(frame) => frame,
                Err(end) => return (all, end),
            };
            match assembly.take(frame, now) {
                Ok(Taken::Partial) => {}
                Ok(Taken::Close(close)) => {
                    all.push(Taken::Close(close));
                    return (all, End::Close(close));
                }
                Ok(taken) => all.push(taken),
                Err(close) => return (all, End::Close(close)),
            }
            let held = assembly.partial.as_ref().map_or(0, |partial| partial.bytes.len());
            assert!(held <= limits::SOCKET_MESSAGE_BYTES_MAX);
        }
    }

    struct Chunks {
        data: Vec<u8>,
        at: usize,
        chunk: usize,
    }

    impl AsyncRead for Chunks {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
            let rest = self.data.get(self.at..).unwrap_or_default();
            let len = rest.len().min(self.chunk).min(buf.remaining());
            buf.put_slice(rest.get(..len).unwrap_or_default());
            self.at += len;
            Poll::Ready(Ok(()))
        }
    }

    /// What comes of the bytes, and whether a rule is broken by a frame that is there as a whole.
    pub(super) fn model(mut data: &[u8]) -> (Vec<Taken>, bool) {
        let mut all = Vec::new();
        let mut open: Option<(Vec<u8>, usize)> = None;
        let mut controls = 0;
        while let Some(parsed) = parse(&mut data) {
            let Ok((is_final, opcode, payload)) = parsed else { return (all, true) };
            let taken = match (opcode, open.take()) {
                (8, _) => {
                    let code = payload.first_chunk::<2>().map(|code| u16::from_be_bytes(*code));
                    let is_valid = match code {
                        None => payload.is_empty(),
                        Some(code) => {
                            matches!(code, 1000..=1003 | 1007..=1013 | 3000..=4999)
                                && payload.get(2..).is_some_and(|reason| std::str::from_utf8(reason).is_ok())
                        }
                    };
                    if is_final && payload.len() <= 125 && is_valid {
                        all.push(Taken::Close(code.map_or(Close::WITHOUT_CODE, Close::echo)));
                        return (all, false);
                    }
                    return (all, true);
                }
                (9 | 10, kept) => {
                    open = kept;
                    controls += 1;
                    if !is_final || payload.len() > 125 || controls > limits::SOCKET_PINGS_PER_SECOND_MAX {
                        return (all, true);
                    }
                    all.push(if opcode == 9 { Taken::Ping(payload.into()) } else { Taken::Pong });
                    continue;
                }
                (1, None) => (payload, 1),
                (0, Some((mut bytes, fragments))) => {
                    bytes.extend(payload);
                    (bytes, fragments + 1)
                }
                _ => return (all, true),
            };
            if taken.0.len() > limits::SOCKET_MESSAGE_BYTES_MAX || taken.1 > limits::SOCKET_FRAGMENTS_MAX {
                return (all, true);
            }
            if !is_final {
                open = Some(taken);
            } else if std::str::from_utf8(&taken.0).is_ok() {
                all.push(Taken::Message(taken.0.into()));
            } else {
                return (all, true);
            }
        }
        (all, false)
    }

    /// The next whole frame, masked and without reserved bits; `None` when it is cut short.
    #[expect(clippy::type_complexity, reason = "final, opcode, payload: read in one place")]
    fn parse(data: &mut &[u8]) -> Option<Result<(bool, u8, Vec<u8>), ()>> {
        let (&[first, second], mut rest) = data.split_first_chunk::<2>()?;
        let len = match second & 0x7f {
            126 => u64::from(u16::from_be_bytes(take(&mut rest)?)),
            127 => u64::from_be_bytes(take(&mut rest)?),
            len => u64::from(len),
        };
        let mask = if second & 0x80 == 0 { None } else { Some(take::<4>(&mut rest)?) };
        let payload = rest.get(..usize::try_from(len).ok()?)?;
        *data = rest.get(payload.len()..)?;
        Some(match mask {
            Some(mask) if first & 0x70 == 0 => {
                let payload = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
                Ok((first & 0x80 != 0, first & 0x0f, payload))
            }
            _ => Err(()),
        })
    }

    fn take<const N: usize>(data: &mut &[u8]) -> Option<[u8; N]> {
        let (head, rest) = data.split_first_chunk::<N>()?;
        *data = rest;
        Some(*head)
    }

    /// The same message, however it is cut.
    pub(super) fn recut(message: &Bytes) {
        let cut = usize::from(message.first().copied().unwrap_or(0)) % (message.len() + 1);
        let (head, tail) = message.split_at(cut);
        let mut assembly = Assembly::default();
        let mut take = |opcode, is_final, payload: &[u8]| {
            assembly.take(Frame { is_final, opcode, is_masked: true, payload: payload.into() }, Instant::now())
        };
        assert_eq!(take(OpCode::Text, false, head), Ok(Taken::Partial));
        assert_eq!(take(OpCode::Continuation, false, &[]), Ok(Taken::Partial));
        assert_eq!(take(OpCode::Continuation, true, tail), Ok(Taken::Message(message.clone())));
    }
}

#[cfg(test)]
mod tests;
