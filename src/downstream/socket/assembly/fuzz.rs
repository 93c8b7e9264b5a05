//! The fuzz target of assembly, and the plain model it is held against.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use fastwebsockets::OpCode;
use futures_util::FutureExt;
use tokio::io::{AsyncRead, ReadBuf};

use super::{
    super::{
        close::{Close, End},
        frames::Frames,
    },
    Assembly, Frame, Taken,
};
use crate::limits;

/// Reads the bytes as what a client sends, in one piece and byte by byte, and compares with a plain model of RFC 6455: the same
/// messages and controls come out, and a broken rule ends both.
#[doc(hidden)]
pub fn fuzz_assembly(data: &[u8]) {
    let whole = assemble(data, data.len().max(1));
    assert_eq!(whole, assemble(data, 1), "assembly depends on how the bytes come in");
    let (taken, is_broken) = model(data);
    assert_eq!(whole.0, taken);
    assert!(!is_broken || whole.1 != End::Gone, "a broken rule was not noticed");
    for message in whole.0 {
        if let Taken::Message(message) = message {
            recut(&message);
        }
    }
}

/// All that comes of these bytes, and how it ends.
fn assemble(data: &[u8], chunk: usize) -> (Vec<Taken>, End) {
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
fn model(mut data: &[u8]) -> (Vec<Taken>, bool) {
    let mut all = Vec::new();
    let mut open: Option<(Vec<u8>, usize)> = None;
    let mut controls = 0;
    while let Some(parsed) = parse(&mut data) {
        let Ok((is_final, opcode, payload)) = parsed else { return (all, true) };
        let taken = match (opcode, open.take()) {
            (8, _) => {
                let parts = payload.split_first_chunk::<2>().map(|(code, reason)| (u16::from_be_bytes(*code), reason));
                let is_valid = match parts {
                    None => payload.is_empty(),
                    Some((code, reason)) => matches!(code, 1000..=1003 | 1007..=1013 | 3000..=4999) && std::str::from_utf8(reason).is_ok(),
                };
                if is_final && payload.len() <= 125 && is_valid {
                    all.push(Taken::Close(parts.map_or(Close::WITHOUT_CODE, |(code, _)| Close::echo(code))));
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
fn recut(message: &Bytes) {
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
