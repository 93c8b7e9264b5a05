//! One pass over a JSON-RPC 2.0 message: what it is, and where the parts are that the hub reads or replaces. No allocation, no
//! recursion. Everything else is checked to be JSON and left alone. Watched by the `scan` bench.

mod token;

use std::borrow::Cow;

use token::{Broken, Text, Tokens};

use super::RequestId;
use crate::limits::BATCH_MAX;

/// Byte offsets into the scanned message, `start..end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub start: u32,
    pub end: u32,
}

impl Span {
    pub fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
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
    pub error_code: Option<Span>,
    pub error_message: Option<Span>,
    pub error_data: Option<Span>,
    /// A raw CR or LF stands between tokens: overwrite with spaces before the message becomes a line or a `data:` field.
    pub has_newline: bool,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not JSON, not UTF-8, or nested too deeply: `-32700`.
    Parse,
    /// JSON, but not a JSON-RPC 2.0 message: `-32600`.
    Invalid,
    /// An array: a batch in 2025-03-26 (see `elements`), `-32600` elsewhere.
    Batch,
}

/// Scans `bytes` in one pass. Keys of the envelope, and of the members the hub reads, must not repeat: whoever reads the
/// message next might take the other one.
///
/// # Errors
/// See `Fault`. What is JSON but no message is read to its end, to find the id for the answer.
pub fn scan(bytes: &[u8]) -> Result<Scan, ScanError> {
    let mut reader = Reader::open(bytes)?;
    match reader.tokens.peek() {
        Some(b'{') => {}
        Some(b'[') => return Err(ScanError { fault: Fault::Batch, what: "a batch", at: reader.tokens.at(), id: None }),
        _ => {
            reader.tokens.value(0)?;
            reader.end()?;
            reader.fault("a message is an object", 0);
            return Err(reader.invalid().unwrap_or_else(|| unreachable!("a fault was just noted")));
        }
    }
    reader.envelope()?;
    reader.end()?;
    reader.judge()
}

/// The spans of a batch's elements, each a JSON value, at least one and at most `BATCH_MAX`.
///
/// # Errors
/// `Parse` when it is not an array of JSON, `Invalid` when it is empty or too long.
pub fn elements(bytes: &[u8]) -> Result<Vec<Span>, ScanError> {
    let mut reader = Reader::open(bytes)?;
    let invalid = |what, at| ScanError { fault: Fault::Invalid, what, at, id: None };
    let mut found = Vec::new();
    if !reader.tokens.eat(b'[') {
        return Err(invalid("a batch is an array", reader.tokens.at()));
    }
    reader.tokens.space();
    if !reader.tokens.eat(b']') {
        loop {
            reader.tokens.space();
            found.push(reader.tokens.value(1)?);
            reader.tokens.space();
            if reader.tokens.eat(b']') {
                break;
            }
            if !reader.tokens.eat(b',') {
                return reader.tokens.broken("expected ',' or the end of the batch").map_err(ScanError::from);
            }
        }
    }
    reader.end()?;
    match found.len() {
        0 => Err(invalid("an empty batch", 0)),
        length if length > BATCH_MAX => Err(invalid("a batch of too many messages", 0)),
        _ => Ok(found),
    }
}

impl From<Broken> for ScanError {
    fn from(broken: Broken) -> Self {
        Self { fault: Fault::Parse, what: broken.what, at: broken.at, id: None }
    }
}

/// The text of a string token, without quotes and escapes; `None` when it is no string or has a lone surrogate.
pub fn unescape(token: &[u8]) -> Option<Cow<'_, str>> {
    let inner = token.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if memchr::memchr(b'\\', inner).is_none() {
        return std::str::from_utf8(inner).ok().map(Cow::Borrowed);
    }
    serde_json::from_slice::<String>(token).ok().map(Cow::Owned)
}

struct Reader<'a> {
    bytes: &'a [u8],
    tokens: Tokens<'a>,
    found: Scan,
    version: Option<Span>,
    /// The id member, whatever it holds.
    raw_id: Option<Span>,
    /// The first thing that makes this JSON no message.
    fault: Option<(&'static str, usize)>,
}

impl<'a> Reader<'a> {
    /// At the first token.
    fn open(bytes: &'a [u8]) -> Result<Self, ScanError> {
        let parse = |what, at| ScanError { fault: Fault::Parse, what, at, id: None };
        if u32::try_from(bytes.len()).is_err() {
            return Err(parse("a message of 4 GiB or more", 0));
        }
        if simdutf8::basic::from_utf8(bytes).is_err() {
            let at = std::str::from_utf8(bytes).map_or_else(|error| error.valid_up_to(), str::len);
            return Err(parse("not UTF-8", at));
        }
        let mut tokens = Tokens::new(bytes);
        let has_newline = !tokens.is_clean() && memchr::memchr2(b'\n', b'\r', bytes).is_some();
        tokens.space();
        Ok(Self { bytes, tokens, found: Scan::nothing(has_newline), version: None, raw_id: None, fault: None })
    }

    fn fault(&mut self, what: &'static str, at: usize) {
        self.fault.get_or_insert((what, at));
    }

    fn end(&mut self) -> Result<(), Broken> {
        self.tokens.space();
        if self.tokens.peek().is_some() { self.tokens.broken("something follows the message") } else { Ok(()) }
    }

    fn token(&self, span: Span) -> &'a [u8] {
        self.bytes.get(span.range()).unwrap_or_default()
    }

    /// A key without quotes and escapes.
    fn name(&self, key: Text) -> Cow<'a, [u8]> {
        let token = self.token(key.span);
        let inner = token.get(1..token.len().saturating_sub(1)).unwrap_or_default();
        if !key.escaped {
            return Cow::Borrowed(inner);
        }
        unescape(token).map_or(Cow::Borrowed(inner), |name| Cow::Owned(name.into_owned().into_bytes()))
    }

    /// Walks the members of the object here, which lies `depth` levels deep; `each` takes the value.
    fn members(&mut self, depth: usize, mut each: impl FnMut(&mut Self, Text) -> Result<(), Broken>) -> Result<Span, Broken> {
        let start = self.tokens.at();
        debug_assert!(depth < crate::limits::JSON_DEPTH_MAX);
        self.tokens.eat(b'{');
        self.tokens.space();
        if !self.tokens.eat(b'}') {
            loop {
                let key = self.tokens.key()?;
                each(self, key)?;
                self.tokens.space();
                if self.tokens.eat(b'}') {
                    break;
                }
                if !self.tokens.eat(b',') {
                    return self.tokens.broken("expected ',' or '}'");
                }
            }
        }
        Ok(self.tokens.span(start))
    }

    /// The value here, if it is an object, by `walk`; anything else is skipped and a fault.
    fn object(&mut self, what: &'static str, walk: impl FnOnce(&mut Self) -> Result<Span, Broken>) -> Result<Span, Broken> {
        if self.tokens.peek() == Some(b'{') {
            return walk(self);
        }
        self.fault(what, self.tokens.at());
        self.tokens.value(1)
    }

    fn envelope(&mut self) -> Result<(), Broken> {
        self.members(1, |reader, key| {
            let at = reader.tokens.at();
            match &*reader.name(key) {
                b"jsonrpc" => {
                    let value = reader.tokens.value(1)?;
                    reader.once(at, |reader| &mut reader.version, value);
                }
                b"id" => {
                    let value = reader.tokens.value(1)?;
                    reader.once(at, |reader| &mut reader.raw_id, value);
                }
                b"method" => {
                    let value = reader.tokens.value(1)?;
                    reader.once(at, |reader| &mut reader.found.method, value);
                }
                b"params" => {
                    let is_again = reader.found.params.is_some();
                    let value = reader.object("params must be an object", Self::params)?;
                    reader.once_unless(is_again, at);
                    reader.found.params = Some(value);
                }
                b"result" => {
                    let is_again = reader.found.result.is_some();
                    let value = reader.object("result must be an object", Self::result)?;
                    reader.once_unless(is_again, at);
                    reader.found.result = Some(value);
                }
                b"error" => {
                    let is_again = reader.found.error.is_some();
                    let value = reader.object("error must be an object", Self::error)?;
                    reader.once_unless(is_again, at);
                    reader.found.error = Some(value);
                }
                other => {
                    if is_miscased(other) {
                        reader.fault("a key of the envelope in other letters than it is written", at);
                    }
                    reader.tokens.value(1)?;
                }
            }
            Ok(())
        })?;
        Ok(())
    }

    fn params(&mut self) -> Result<Span, Broken> {
        self.members(2, |reader, key| {
            let place: fn(&mut Scan) -> &mut Option<Span> = match &*reader.name(key) {
                b"_meta" => return reader.meta(),
                b"name" => |found| &mut found.name,
                b"arguments" => |found| &mut found.arguments,
                b"uri" => |found| &mut found.uri,
                b"taskId" => |found| &mut found.task_id,
                b"cursor" => |found| &mut found.cursor,
                b"protocolVersion" => |found| &mut found.protocol_version,
                b"requestId" => |found| &mut found.request_id,
                b"progressToken" => |found| &mut found.progress_token,
                b"task" => return reader.member(key, |found| &mut found.task),
                _ => return reader.tokens.value(2).map(drop),
            };
            reader.part(place)
        })
    }

    fn result(&mut self) -> Result<Span, Broken> {
        self.members(2, |reader, key| {
            let place: fn(&mut Scan) -> &mut Option<Span> = match &*reader.name(key) {
                b"_meta" => return reader.meta(),
                b"content" => |found| &mut found.content,
                b"structuredContent" => |found| &mut found.structured_content,
                b"isError" => |found| &mut found.is_error,
                b"resultType" => return reader.member(key, |found| &mut found.result_type),
                b"ttlMs" => return reader.member(key, |found| &mut found.ttl_ms),
                b"cacheScope" => return reader.member(key, |found| &mut found.cache_scope),
                _ => return reader.tokens.value(2).map(drop),
            };
            reader.part(place)
        })
    }

    fn error(&mut self) -> Result<Span, Broken> {
        self.members(2, |reader, key| {
            let place: fn(&mut Scan) -> &mut Option<Span> = match &*reader.name(key) {
                b"code" => |found| &mut found.error_code,
                b"message" => |found| &mut found.error_message,
                b"data" => |found| &mut found.error_data,
                _ => return reader.tokens.value(2).map(drop),
            };
            reader.part(place)
        })
    }

    fn meta(&mut self) -> Result<(), Broken> {
        let at = self.tokens.at();
        let is_again = self.found.meta.object.is_some();
        let object = self.object("_meta must be an object", |reader| {
            reader.members(3, |reader, key| {
                let name = reader.name(key);
                let place: fn(&mut Scan) -> &mut Option<Member> = match name.strip_prefix(b"io.modelcontextprotocol/") {
                    Some(b"protocolVersion") => |found| &mut found.meta.protocol_version,
                    Some(b"clientCapabilities") => |found| &mut found.meta.client_capabilities,
                    Some(b"clientInfo") => |found| &mut found.meta.client_info,
                    Some(b"logLevel") => |found| &mut found.meta.log_level,
                    Some(b"serverInfo") => |found| &mut found.meta.server_info,
                    None if *name == *b"progressToken" => |found| &mut found.meta.progress_token,
                    _ => return reader.tokens.value(3).map(drop),
                };
                reader.member(key, place)
            })
        })?;
        self.once_unless(is_again, at);
        self.found.meta.object = Some(object);
        Ok(())
    }

    /// Takes the value here into its place.
    fn part(&mut self, place: fn(&mut Scan) -> &mut Option<Span>) -> Result<(), Broken> {
        let at = self.tokens.at();
        let value = self.tokens.value(2)?;
        let is_again = place(&mut self.found).replace(value).is_some();
        self.once_unless(is_again, at);
        Ok(())
    }

    /// The same, with its key.
    fn member(&mut self, key: Text, place: fn(&mut Scan) -> &mut Option<Member>) -> Result<(), Broken> {
        let at = self.tokens.at();
        let value = self.tokens.value(3)?;
        let is_again = place(&mut self.found).replace(Member { key: key.span, value }).is_some();
        self.once_unless(is_again, at);
        Ok(())
    }

    fn once(&mut self, at: usize, place: fn(&mut Self) -> &mut Option<Span>, value: Span) {
        // The first one stays: it is what the answer to a refused message names.
        let is_again = place(self).is_some();
        place(self).get_or_insert(value);
        self.once_unless(is_again, at);
    }

    fn once_unless(&mut self, is_again: bool, at: usize) {
        if is_again {
            self.fault("a key that was there before", at);
        }
    }

    fn is_id(&self, span: Span) -> bool {
        RequestId::is_token(self.token(span))
    }

    /// The envelope is read: is it a message, and which?
    fn judge(mut self) -> Result<Scan, ScanError> {
        let at = self.tokens.at();
        match self.version {
            Some(version) if self.token(version) == b"\"2.0\"" || unescape(self.token(version)).as_deref() == Some("2.0") => {}
            Some(version) => self.fault("jsonrpc must be \"2.0\"", version.start as usize),
            None => self.fault("jsonrpc is missing", at),
        }
        let has = (self.found.method.is_some(), self.found.result.is_some(), self.found.error.is_some());
        match has {
            (true, false, false) => {
                self.found.kind = if self.raw_id.is_some() { Kind::Request } else { Kind::Notification };
                self.needs_id(self.raw_id);
            }
            (false, true, false) => {
                self.found.kind = Kind::Result;
                match self.raw_id {
                    None => self.fault("a response without an id", at),
                    id => self.needs_id(id),
                }
            }
            (false, false, true) => {
                self.found.kind = Kind::Error;
                // Many servers answer what they could not read with `"id":null`.
                let is_null = self.raw_id.is_some_and(|id| self.token(id) == b"null");
                self.raw_id = self.raw_id.filter(|_| !is_null);
                self.needs_id(self.raw_id);
            }
            _ => self.fault("a message has exactly one of method, result and error", at),
        }
        if let Some(method) = self.found.method
            && !self.token(method).starts_with(b"\"")
        {
            self.fault("method must be a string", method.start as usize);
        }
        match self.invalid() {
            Some(error) => Err(error),
            None => Ok(Scan { id: self.raw_id, ..self.found }),
        }
    }

    fn needs_id(&mut self, id: Option<Span>) {
        if let Some(id) = id
            && !self.is_id(id)
        {
            self.fault("an id is a string or an integer", id.start as usize);
        }
    }

    fn invalid(&self) -> Option<ScanError> {
        let (what, at) = self.fault?;
        let id = self.raw_id.and_then(|id| RequestId::from_token(bytes::Bytes::copy_from_slice(self.token(id))));
        Some(ScanError { fault: Fault::Invalid, what, at, id })
    }
}

impl Scan {
    fn nothing(has_newline: bool) -> Self {
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
            meta: Meta::default(),
            result: None,
            result_type: None,
            ttl_ms: None,
            cache_scope: None,
            content: None,
            structured_content: None,
            is_error: None,
            error: None,
            error_code: None,
            error_message: None,
            error_data: None,
            has_newline,
        }
    }
}

fn is_miscased(key: &[u8]) -> bool {
    ["jsonrpc", "id", "method", "params", "result", "error"].iter().any(|own| key.eq_ignore_ascii_case(own.as_bytes()))
}

/// Whatever the bytes: no panic, and JSON is told from other text exactly as `serde_json` tells it, but for the depth limit.
pub fn fuzz_scan(data: &[u8]) {
    let reference = std::str::from_utf8(data).is_ok() && serde_json::from_slice::<serde::de::IgnoredAny>(data).is_ok();
    match scan(data) {
        Ok(found) => {
            assert!(reference, "accepted what is not JSON");
            check_against_tree(data, &found);
        }
        Err(error) if error.fault == Fault::Invalid => assert!(reference, "called JSON what is not: {error}"),
        Err(error) if error.fault == Fault::Parse && error.what != "nested too deeply" => assert!(!reference, "refused JSON: {error}"),
        Err(_) => {}
    }
}

/// What was found is what a tree of the same text holds.
fn check_against_tree(data: &[u8], found: &Scan) {
    // Trees cannot hold every text that is JSON (lone surrogates, numbers beyond f64).
    let Ok(tree) = serde_json::from_slice::<serde_json::Value>(data) else { return };
    let same = |span: Option<Span>, value: Option<&serde_json::Value>| {
        let read = span.map(|span| serde_json::from_slice::<serde_json::Value>(data.get(span.range()).unwrap_or_default()).ok());
        assert_eq!(read, value.map(|value| Some(value.clone())));
    };
    same(found.method, tree.get("method"));
    same(found.params, tree.get("params"));
    same(found.result, tree.get("result"));
    same(found.name, tree.pointer("/params/name"));
    same(found.arguments, tree.pointer("/params/arguments"));
    same(found.cursor, tree.pointer("/params/cursor"));
    same(found.error_code, tree.pointer("/error/code"));
    same(found.content, tree.pointer("/result/content"));
    same(found.result_type.map(|member| member.value), tree.pointer("/result/resultType"));
    let meta = tree.pointer("/params/_meta").or_else(|| tree.pointer("/result/_meta"));
    same(found.meta.progress_token.map(|member| member.value), meta.and_then(|meta| meta.get("progressToken")));
    let version = meta.and_then(|meta| meta.get("io.modelcontextprotocol/protocolVersion"));
    same(found.meta.protocol_version.map(|member| member.value), version);
}

#[cfg(test)]
mod tests;
