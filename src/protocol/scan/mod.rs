//! One pass over a JSON-RPC message: what it is, and where the parts are that the hub reads or replaces.
//!
//! The bytes are validated as JSON (RFC 8259) and the envelope by the rules of JSON-RPC 2.0 as MCP narrows them; nothing is copied,
//! allocated or parsed into a tree, and nesting costs a bit, not a stack frame. A key counts as what it says once unescaped
//! (`"\u0069d"` is `id`). A key that two readers could take for different members, since it stands twice or differs only in case, is
//! refused where the hub reads it: otherwise the hub would check one and the server obey the other.
//!
//! Cost: a few cycles per token and 32 bytes of a string at a time; the `scan` bench watches it.

mod block;
mod cursor;
mod envelope;
mod fuzz;
#[cfg(test)]
mod tests;
mod text;

pub use fuzz::fuzz_scan;
pub use text::unescape;

use cursor::{Cursor, Halt, Shape};

use std::{num::NonZeroU32, ops::Range};

use super::RequestId;
use crate::limits::BATCH_MAX;

/// Byte offsets into the scanned message, `start..end`. Laid out so that one that is missing takes no more room: a `Scan` is full of
/// them, and moves with its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    start: u32,
    after_end: NonZeroU32,
}

impl Span {
    /// `end` is less than `u32::MAX`, as it is in whatever was scanned.
    #[inline]
    pub const fn new(start: u32, end: u32) -> Self {
        Self { start, after_end: NonZeroU32::MIN.saturating_add(end) }
    }

    #[inline]
    pub const fn start(self) -> u32 {
        self.start
    }

    #[inline]
    pub const fn end(self) -> u32 {
        self.after_end.get() - 1
    }

    #[inline]
    pub fn range(self) -> Range<usize> {
        self.start() as usize..self.end() as usize
    }

    /// The bytes it covers; none when it is not a span of `message`.
    #[inline]
    pub fn of(self, message: &[u8]) -> &[u8] {
        message.get(self.range()).unwrap_or_default()
    }
}

/// An object member: its key token (with quotes) and its value token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    pub key: Span,
    pub value: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Request,
    Notification,
    /// A response with `result`.
    Result,
    /// A response with `error`.
    Error,
}

/// `_meta` of `params` or of `result`: the object itself and the members the hub reads or replaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    pub object: Option<Span>,
    pub protocol_version: Option<Member>,
    pub client_capabilities: Option<Member>,
    pub client_info: Option<Member>,
    pub log_level: Option<Member>,
    pub server_info: Option<Member>,
    pub progress_token: Option<Member>,
    /// It is neither a string nor an integer, as every revision's schema wants it.
    pub is_progress_token_wrong: bool,
}

/// What one pass found. Spans are raw JSON tokens, strings with their quotes. Members of `params`, `result` and `error` are
/// those directly inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    pub kind: Kind,
    /// A string or integer token.
    pub id: Option<Span>,
    /// A string token.
    pub method: Option<Span>,
    /// An object.
    pub params: Option<Span>,
    pub name: Option<Span>,
    pub uri: Option<Span>,
    pub task_id: Option<Span>,
    pub cursor: Option<Span>,
    pub arguments: Option<Span>,
    /// `params.protocolVersion` of `initialize`.
    pub protocol_version: Option<Span>,
    /// `params.requestId` of `notifications/cancelled`.
    pub request_id: Option<Span>,
    /// `params.progressToken` of `notifications/progress`.
    pub progress_token: Option<Span>,
    pub task: Option<Member>,
    /// `params` has `inputResponses`, `requestState`: a retry of 2026-07-28. Too rare for a span in every message.
    pub has_input_responses: bool,
    pub has_request_state: bool,
    /// `params._meta` of a request or notification, `result._meta` of a result.
    pub meta: Meta,
    /// An object.
    pub result: Option<Span>,
    pub result_type: Option<Member>,
    pub ttl_ms: Option<Member>,
    pub cache_scope: Option<Member>,
    pub content: Option<Span>,
    pub structured_content: Option<Span>,
    pub is_error: Option<Span>,
    /// An object.
    pub error: Option<Span>,
    /// `error.code`, when it is an integer.
    pub error_code: Option<Span>,
    pub error_message: Option<Span>,
    pub error_data: Option<Span>,
    /// A raw CR or LF stands between tokens: overwrite with spaces before the message becomes a line or a `data:` field.
    pub has_newline: bool,
    /// A key `uri` may stand somewhere inside a value: content that names a resource.
    pub has_inner_uri: bool,
}

/// Why bytes are not a JSON-RPC message; says where, and the id when it could be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct ScanError {
    pub fault: Fault,
    pub what: &'static str,
    pub at: usize,
    pub id: Option<RequestId>,
}

impl ScanError {
    fn new(fault: Fault, what: &'static str, at: usize) -> Self {
        Self { fault, what, at, id: None }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not JSON, not UTF-8, or nested too deeply: `-32700`.
    Parse,
    /// JSON, but not a JSON-RPC 2.0 message: `-32600`.
    Invalid,
    /// An array: a batch in 2025-03-26 (see `elements`), `-32600` elsewhere.
    Batch,
}

/// Scans `bytes` in one pass.
///
/// # Errors
/// [`Fault::Parse`] when they are not JSON, whatever else is wrong with them; [`Fault::Batch`] for a JSON array with elements;
/// [`Fault::Invalid`] for any other JSON that is no JSON-RPC 2.0 message of MCP, with its id when that is there once and valid.
pub fn scan(bytes: &[u8]) -> Result<Scan, ScanError> {
    let mut found = Scan::nothing();
    scan_into(bytes, &mut found)?;
    Ok(found)
}

/// The same where the finds are to stay; `found` holds nothing yet.
pub(super) fn scan_into(bytes: &[u8], found: &mut Scan) -> Result<(), ScanError> {
    check_len(bytes)?;
    envelope::walk(bytes, found)
}

/// The elements of a batch (2025-03-26), in order, each still to be scanned.
///
/// # Errors
/// [`Fault::Parse`] when `bytes` are not JSON, [`Fault::Invalid`] when they are not an array, an empty one, or one longer than [`BATCH_MAX`].
pub fn elements(bytes: &[u8]) -> Result<Vec<Span>, ScanError> {
    check_len(bytes)?;
    let mut cursor = Cursor::new(bytes);
    let elements = split(&mut cursor).map_err(|Halt| ScanError::new(Fault::Parse, cursor.why, cursor.at))?;
    match elements.len() {
        _ if !bytes.trim_ascii_start().starts_with(b"[") => Err(ScanError::new(Fault::Invalid, "not an array", 0)),
        0 => Err(ScanError::new(Fault::Invalid, EMPTY_BATCH, 0)),
        1..=BATCH_MAX => Ok(elements),
        _ => Err(ScanError::new(Fault::Invalid, "too many messages in one array", 0)),
    }
}

const EMPTY_BATCH: &str = "an empty array";

/// The first `BATCH_MAX + 1` elements of an array, all of which is validated.
fn split(cursor: &mut Cursor<'_>) -> cursor::Step<Vec<Span>> {
    let mut elements = Vec::new();
    if cursor.token() != b'[' {
        cursor.value(0)?;
    } else {
        cursor.at += 1;
        if cursor.token() == b']' {
            cursor.at += 1;
        } else {
            loop {
                cursor.token();
                let start = cursor.at;
                cursor.value(1)?;
                if elements.len() <= BATCH_MAX {
                    elements.push(cursor.span_from(start));
                }
                match cursor.token() {
                    b',' => cursor.at += 1,
                    b']' => break cursor.at += 1,
                    _ => return cursor.halt("expected `,` or `]`"),
                }
            }
        }
    }
    cursor.end()?;
    Ok(elements)
}

/// Whether `token` is exactly one JSON string or integer: what may be an id.
pub(super) fn is_id(token: &[u8]) -> bool {
    let mut cursor = Cursor::new(token);
    // White space would be passed, but is not part of a token.
    matches!(token, [b'"' | b'-' | b'0'..=b'9', .., b'"' | b'0'..=b'9'] | [b'0'..=b'9'])
        && matches!(cursor.value(0), Ok(Shape::Text | Shape::Integer))
        && cursor.end().is_ok()
}

/// Spans count in 32 bits.
fn check_len(bytes: &[u8]) -> Result<(), ScanError> {
    if u32::try_from(bytes.len()).is_ok_and(|len| len < u32::MAX) {
        Ok(())
    } else {
        Err(ScanError::new(Fault::Invalid, "longer than 4 GiB", u32::MAX as usize))
    }
}
