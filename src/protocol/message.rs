//! A message as it came: bytes and spans. And a message to send: a few pieces, the payload uncopied.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use super::{Kind, Method, RequestId, Scan, ScanError, Span, scan};

/// A scanned JSON-RPC message. Cloning shares the bytes.
#[derive(Clone, Debug)]
pub struct Message {
    bytes: Bytes,
    /// Large, and a message moves often.
    scan: Box<Scan>,
    method: Named,
}

/// What the method is, looked up once: it decides at every turn.
#[derive(Clone, Debug)]
enum Named {
    Known(Method<'static>),
    /// As it stands in the message, if it has one.
    Other,
    /// Written with escapes (some writers write `tools\/call`).
    Escaped(Box<str>),
}

impl Message {
    /// # Errors
    /// See `scan::Fault`.
    pub fn parse(bytes: Bytes) -> Result<Self, ScanError> {
        let mut message = Self { bytes, scan: Box::new(Scan::nothing()), method: Named::Other };
        scan::scan_into(&message.bytes, &mut message.scan)?;
        let method = message.scan.method.and_then(|span| message.string(span));
        message.method = match method.as_deref().and_then(Method::known) {
            Some(known) => Named::Known(known),
            None => match method {
                Some(Cow::Owned(name)) => Named::Escaped(name.into()),
                _ => Named::Other,
            },
        };
        Ok(message)
    }

    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub fn scan(&self) -> &Scan {
        &self.scan
    }

    pub fn kind(&self) -> Kind {
        self.scan.kind
    }

    pub fn id(&self) -> Option<RequestId> {
        self.scan.id.and_then(|span| self.request_id_at(span))
    }

    /// The token at `span` as an id, if it can be one. Shares the bytes.
    pub fn request_id_at(&self, span: Span) -> Option<RequestId> {
        RequestId::from_token(self.share(span))
    }

    /// `Other("")` for responses.
    pub fn method(&self) -> Method<'_> {
        match &self.method {
            Named::Known(method) => *method,
            Named::Escaped(name) => Method::Other(name),
            Named::Other => match self.scan.method.and_then(|span| self.string(span)) {
                Some(Cow::Borrowed(name)) => Method::Other(name),
                _ => Method::Other(""),
            },
        }
    }

    /// `error.code`, if this is an error with an integer for it.
    pub fn error_code(&self) -> Option<i64> {
        std::str::from_utf8(self.token(self.scan.error_code?)).ok()?.parse().ok()
    }

    pub fn token(&self, span: Span) -> &[u8] {
        span.of(&self.bytes)
    }

    /// The token at `span`, sharing the message's bytes.
    pub fn share(&self, span: Span) -> Bytes {
        self.bytes.slice_ref(self.token(span))
    }

    /// A string token without quotes and escapes; `None` when the token is no string.
    pub fn string(&self, span: Span) -> Option<Cow<'_, str>> {
        scan::unescape(self.token(span))
    }

    /// `params.name`, if it is a string.
    pub fn name(&self) -> Option<Cow<'_, str>> {
        self.scan.name.and_then(|span| self.string(span))
    }
}

/// A message to send: a few slices, in order, without line end.
#[derive(Clone, Debug, Default)]
pub struct Body {
    pieces: SmallVec<[Bytes; 3]>,
    len: usize,
}

impl Body {
    pub fn one(bytes: Bytes) -> Self {
        let mut body = Self::default();
        body.push(bytes);
        body
    }

    pub fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.len += bytes.len();
            self.pieces.push(bytes);
        }
    }

    pub fn append(&mut self, other: Self) {
        self.len += other.len;
        self.pieces.extend(other.pieces);
    }

    /// In bytes, over all pieces.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }

    pub fn into_pieces(self) -> SmallVec<[Bytes; 3]> {
        self.pieces
    }

    /// One contiguous text; copies when there are several pieces.
    pub fn to_bytes(&self) -> Bytes {
        if let [only] = self.pieces() {
            return only.clone();
        }
        let mut whole = BytesMut::with_capacity(self.len);
        self.pieces.iter().for_each(|piece| whole.extend_from_slice(piece));
        whole.freeze()
    }
}

impl IntoIterator for Body {
    type Item = Bytes;
    type IntoIter = smallvec::IntoIter<[Bytes; 3]>;

    fn into_iter(self) -> Self::IntoIter {
        self.pieces.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &'static str) -> Message {
        Message::parse(Bytes::from_static(text.as_bytes())).unwrap()
    }

    #[test]
    fn methods_are_read_with_escapes_too() {
        assert_eq!(message(r#"{"jsonrpc":"2.0","id":1,"method":"tools\/call"}"#).method(), Method::ToolsCall);
        assert_eq!(message(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#).method(), Method::ToolsCall);
        assert_eq!(message(r#"{"jsonrpc":"2.0","id":1,"method":"own/x"}"#).method(), Method::Other("own/x"));
        assert_eq!(message(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#).method(), Method::Other(""));
    }

    #[test]
    fn an_error_has_a_code_that_is_a_whole_number() {
        let error = |code: &str| Message::parse(format!(r#"{{"jsonrpc":"2.0","id":1,"error":{{"code":{code},"message":""}}}}"#).into());
        for (code, read) in [("-32602", Some(-32602)), ("7", Some(7)), ("99999999999999999999", None), ("-1.5", None), ("\"1\"", None)] {
            assert_eq!(error(code).unwrap().error_code(), read, "{code}");
        }
        assert_eq!(message(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#).error_code(), None);
    }

    #[test]
    fn ids_and_names_share_what_came() {
        let message = message(r#"{"jsonrpc":"2.0","id":"a\u0062","method":"tools/call","params":{"name":"x\"y"}}"#);
        assert_eq!(message.id().unwrap().to_string(), r#""a\u0062""#);
        assert_eq!(message.name().as_deref(), Some("x\"y"));
    }

    #[test]
    fn a_body_knows_its_length_and_joins() {
        let mut body = Body::one(Bytes::from_static(b"ab"));
        body.push(Bytes::new());
        body.append(Body::one(Bytes::from_static(b"c")));
        assert_eq!((body.len(), body.pieces().len(), body.to_bytes()), (3, 2, Bytes::from_static(b"abc")));
        assert!(Body::default().is_empty());
    }
}
