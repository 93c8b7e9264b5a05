//! The members the hub knows, and the rules of the envelope: JSON-RPC 2.0 as MCP narrows it.
//!
//! A broken rule does not end the walk: the rest must be read to know whether it is JSON at all, and to find the id to answer with.

use super::{
    EMPTY_BATCH, Fault, Kind, Member, Meta, Scan, ScanError, Span,
    cursor::{Cursor, Halt, Key, Shape, Step},
    text::{self, Spare},
};
use crate::protocol::RequestId;

use bytes::Bytes;

/// Keys of the envelope and of `params` that no other key may be mistaken for by a reader that ignores case.
const ENVELOPE: &[&str] = &["jsonrpc", "id", "method", "params", "result", "error"];
const PARAMS: &[&str] = &[
    "_meta",
    "name",
    "uri",
    "taskId",
    "cursor",
    "arguments",
    "protocolVersion",
    "requestId",
    "progressToken",
    "task",
    "inputResponses",
    "requestState",
];

/// Fills in `found`, which is large: it is made where it stays.
pub(super) fn walk(bytes: &[u8], found: &mut Scan) -> Result<(), ScanError> {
    let mut walk = Walk { cursor: Cursor::new(bytes), found, jsonrpc: None, id: Id::Absent, fault: None };
    match walk.message() {
        Ok(()) => walk.verdict(),
        Err(Halt) => Err(ScanError::new(Fault::Parse, walk.cursor.why, walk.cursor.at)),
    }
}

struct Walk<'a> {
    cursor: Cursor<'a>,
    found: &'a mut Scan,
    jsonrpc: Option<Span>,
    id: Id,
    /// The first rule broken, and where.
    fault: Option<ScanError>,
}

#[derive(Clone, Copy)]
enum Id {
    Absent,
    Null(Span),
    Good(Span),
    /// Of a wrong type.
    Bad,
}

impl Walk<'_> {
    fn message(&mut self) -> Step<()> {
        if self.cursor.token() == b'{' {
            self.envelope()?;
        } else {
            let (span, shape) = self.value(0)?;
            let inner = span.of(self.cursor.bytes).get(1..).unwrap_or_default();
            let (fault, what) = match shape {
                Shape::Array if inner.trim_ascii_start().starts_with(b"]") => (Fault::Invalid, EMPTY_BATCH),
                Shape::Array => (Fault::Batch, "an array of messages"),
                _ => (Fault::Invalid, "not an object"),
            };
            self.fault = Some(ScanError::new(fault, what, span.start() as usize));
        }
        self.cursor.end()
    }

    /// The value here, and what it is.
    #[inline(always)]
    fn value(&mut self, outer: usize) -> Step<(Span, Shape)> {
        let start = self.cursor.at;
        let shape = self.cursor.value(outer)?;
        Ok((self.cursor.span_from(start), shape))
    }

    fn envelope(&mut self) -> Step<()> {
        let bytes = self.cursor.bytes;
        let mut spare: Spare = [0; 64];
        self.cursor.at += 1;
        let mut first = true;
        while let Some(key) = self.cursor.key(first)? {
            first = false;
            let repeated = match key.name(bytes, &mut spare) {
                b"jsonrpc" => {
                    let (value, _) = self.value(1)?;
                    let token = value.of(bytes);
                    if token != b"\"2.0\"" && text::unescape(token).as_deref() != Some("2.0") {
                        self.broken("jsonrpc is not \"2.0\"", value);
                    }
                    self.jsonrpc.replace(value).is_some()
                }
                b"id" => self.id()?,
                b"method" => {
                    let (value, shape) = self.value(1)?;
                    if shape != Shape::Text {
                        self.broken("method is not a string", value);
                    }
                    self.found.method.replace(value).is_some()
                }
                b"params" => {
                    let value = self.object(Self::params, "params is not an object")?;
                    self.found.params.replace(value).is_some()
                }
                b"result" => {
                    let value = self.object(Self::result, "result is not an object")?;
                    self.found.result.replace(value).is_some()
                }
                b"error" => {
                    let value = self.object(Self::error, "error is not an object")?;
                    self.found.error.replace(value).is_some()
                }
                other => {
                    if text::folds_to_any(other, ENVELOPE) {
                        self.broken("mis-cased key in the envelope", key.span);
                    }
                    self.value(1)?;
                    false
                }
            };
            if repeated {
                self.broken("duplicate key in the envelope", key.span);
            }
        }
        Ok(())
    }

    /// The id; true when there was one already. The first stays: it is what the refusal names.
    fn id(&mut self) -> Step<bool> {
        let (value, shape) = self.value(1)?;
        let id = match shape {
            Shape::Text | Shape::Integer => Id::Good(value),
            Shape::Null => Id::Null(value),
            _ => {
                self.broken("id is neither a string nor an integer", value);
                Id::Bad
            }
        };
        let repeated = !matches!(self.id, Id::Absent);
        if !repeated {
            self.id = id;
        }
        Ok(repeated)
    }

    /// A member's value that has members of its own, of which `read` takes those it knows.
    #[inline(always)]
    fn object(&mut self, read: fn(&mut Self) -> Step<()>, otherwise: &'static str) -> Step<Span> {
        if self.cursor.token() != b'{' {
            let (value, _) = self.value(1)?;
            self.broken(otherwise, value);
            return Ok(value);
        }
        let start = self.cursor.at;
        self.cursor.at += 1;
        read(self)?;
        Ok(self.cursor.span_from(start))
    }

    fn params(&mut self) -> Step<()> {
        let bytes = self.cursor.bytes;
        let mut spare: Spare = [0; 64];
        let mut first = true;
        while let Some(key) = self.cursor.key(first)? {
            first = false;
            let name = key.name(bytes, &mut spare);
            if name == b"_meta" {
                self.meta(key)?;
                continue;
            }
            let (value, _) = self.value(2)?;
            let found = &mut *self.found;
            let slot = match name {
                b"name" => &mut found.name,
                b"arguments" => &mut found.arguments,
                b"uri" => &mut found.uri,
                b"taskId" => &mut found.task_id,
                b"cursor" => &mut found.cursor,
                b"protocolVersion" => &mut found.protocol_version,
                b"requestId" => &mut found.request_id,
                b"progressToken" => &mut found.progress_token,
                b"task" => {
                    if found.task.replace(Member { key: key.span, value }).is_some() {
                        self.broken("duplicate key in params", key.span);
                    }
                    continue;
                }
                b"inputResponses" | b"requestState" => {
                    let seen = if name == b"requestState" { &mut found.has_request_state } else { &mut found.has_input_responses };
                    if std::mem::replace(seen, true) {
                        self.broken("duplicate key in params", key.span);
                    }
                    continue;
                }
                other => {
                    if text::folds_to_any(other, PARAMS) {
                        self.broken("mis-cased key in params", key.span);
                    }
                    continue;
                }
            };
            if slot.replace(value).is_some() {
                self.broken("duplicate key in params", key.span);
            }
        }
        Ok(())
    }

    fn result(&mut self) -> Step<()> {
        let bytes = self.cursor.bytes;
        let mut spare: Spare = [0; 64];
        let mut first = true;
        while let Some(key) = self.cursor.key(first)? {
            first = false;
            let name = key.name(bytes, &mut spare);
            if name == b"_meta" {
                self.meta(key)?;
                continue;
            }
            let (value, _) = self.value(2)?;
            let member = Member { key: key.span, value };
            let found = &mut *self.found;
            let repeated = match name {
                b"content" => found.content.replace(value).is_some(),
                b"structuredContent" => found.structured_content.replace(value).is_some(),
                b"isError" => found.is_error.replace(value).is_some(),
                b"resultType" => found.result_type.replace(member).is_some(),
                b"ttlMs" => found.ttl_ms.replace(member).is_some(),
                b"cacheScope" => found.cache_scope.replace(member).is_some(),
                _ => false,
            };
            if repeated {
                self.broken("duplicate key in result", key.span);
            }
        }
        Ok(())
    }

    fn error(&mut self) -> Step<()> {
        let bytes = self.cursor.bytes;
        let mut spare: Spare = [0; 64];
        let mut first = true;
        let mut coded = false;
        while let Some(key) = self.cursor.key(first)? {
            first = false;
            let name = key.name(bytes, &mut spare);
            let (value, shape) = self.value(2)?;
            let repeated = match name {
                b"code" => {
                    if shape == Shape::Integer {
                        self.found.error_code = Some(value);
                    }
                    std::mem::replace(&mut coded, true)
                }
                b"message" => self.found.error_message.replace(value).is_some(),
                b"data" => self.found.error_data.replace(value).is_some(),
                _ => false,
            };
            if repeated {
                self.broken("duplicate key in error", key.span);
            }
        }
        Ok(())
    }

    /// `_meta` of `params` or of `result`: a message has one of the two.
    fn meta(&mut self, meta_key: Key) -> Step<()> {
        let bytes = self.cursor.bytes;
        let mut spare: Spare = [0; 64];
        let mut meta = Meta::default();
        let start = self.cursor.at;
        if self.cursor.token() != b'{' {
            let (value, _) = self.value(2)?;
            self.broken("_meta is not an object", value);
            return Ok(());
        }
        self.cursor.at += 1;
        let mut first = true;
        while let Some(key) = self.cursor.key(first)? {
            first = false;
            let name = key.name(bytes, &mut spare);
            let (value, shape) = self.value(3)?;
            let slot = match name {
                b"progressToken" => {
                    meta.is_progress_token_wrong |= !matches!(shape, Shape::Text | Shape::Integer);
                    &mut meta.progress_token
                }
                b"io.modelcontextprotocol/protocolVersion" => &mut meta.protocol_version,
                b"io.modelcontextprotocol/clientCapabilities" => &mut meta.client_capabilities,
                b"io.modelcontextprotocol/clientInfo" => &mut meta.client_info,
                b"io.modelcontextprotocol/logLevel" => &mut meta.log_level,
                b"io.modelcontextprotocol/serverInfo" => &mut meta.server_info,
                _ => continue,
            };
            if slot.replace(Member { key: key.span, value }).is_some() {
                self.broken("duplicate key in _meta", key.span);
            }
        }
        meta.object = Some(self.cursor.span_from(start));
        if std::mem::replace(&mut self.found.meta, meta).object.is_some() {
            self.broken("duplicate _meta", meta_key.span);
        }
        Ok(())
    }

    #[cold]
    fn broken(&mut self, what: &'static str, at: Span) {
        self.fault.get_or_insert_with(|| ScanError::new(Fault::Invalid, what, at.start as usize));
    }

    fn verdict(self) -> Result<(), ScanError> {
        let fault = match self.fault {
            Some(fault) => fault,
            None => match kind(self.found, self.id, self.jsonrpc) {
                Ok(kind) => {
                    self.found.kind = kind;
                    self.found.has_newline = self.cursor.newline;
                    self.found.has_inner_uri = self.cursor.inner_uri;
                    if let Id::Good(id) = self.id {
                        self.found.id = Some(id);
                    }
                    return Ok(());
                }
                Err((what, at)) => ScanError::new(Fault::Invalid, what, at as usize),
            },
        };
        let id = match self.id {
            Id::Good(id) => RequestId::from_token(Bytes::copy_from_slice(id.of(self.cursor.bytes))),
            _ => None,
        };
        Err(ScanError { id, ..fault })
    }
}

/// Request: `id` and `method`. Notification: `method` alone. Response: `id` and one of `result` and `error`; an error may come
/// without an id, or with `null`, when the peer could not read that of the request. Else what is wrong, and where: at the start when
/// it is something missing.
fn kind(found: &Scan, id: Id, jsonrpc: Option<Span>) -> Result<Kind, (&'static str, u32)> {
    if jsonrpc.is_none() {
        return Err(("no jsonrpc", 0));
    }
    if found.method.is_some() {
        return match (found.result.or(found.error), id) {
            (Some(response), _) => Err(("both a request and a response", response.start)),
            (None, Id::Good(_)) => Ok(Kind::Request),
            (None, Id::Absent) => Ok(Kind::Notification),
            (None, Id::Null(null)) => Err(("id is null", null.start)),
            (None, Id::Bad) => Err(("id is neither a string nor an integer", 0)),
        };
    }
    if let Some(params) = found.params {
        return Err(("params without method", params.start));
    }
    match (found.result, found.error, id) {
        (None, None, _) => Err(("none of method, result and error", 0)),
        (Some(_), Some(error), _) => Err(("both result and error", error.start)),
        (Some(_), None, Id::Good(_)) => Ok(Kind::Result),
        (Some(_), None, Id::Null(null)) => Err(("id is null", null.start)),
        (Some(_), None, _) => Err(("result without id", 0)),
        (None, Some(_), _) => Ok(Kind::Error),
    }
}

impl Key {
    #[inline]
    fn name<'s>(self, bytes: &'s [u8], spare: &'s mut Spare) -> &'s [u8] {
        text::name(self.span.of(bytes), self.escaped, spare)
    }
}

impl Scan {
    /// What is found before the first byte.
    pub(in crate::protocol) fn nothing() -> Self {
        Self {
            kind: Kind::Notification,
            id: None,
            method: None,
            params: None,
            name: None,
            uri: None,
            task_id: None,
            cursor: None,
            arguments: None,
            protocol_version: None,
            request_id: None,
            progress_token: None,
            task: None,
            has_input_responses: false,
            has_request_state: false,
            meta: Meta::default(),
            result: None,
            error: None,
            error_code: None,
            error_message: None,
            error_data: None,
            result_type: None,
            ttl_ms: None,
            cache_scope: None,
            content: None,
            structured_content: None,
            is_error: None,
            has_newline: false,
            has_inner_uri: false,
        }
    }
}
