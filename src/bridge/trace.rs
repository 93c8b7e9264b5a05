//! Trace context in `_meta` (MCP 2026-07-28; W3C Trace Context): a call through the hub is a span of its own in the caller's trace.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::json::{Object, member_in, text_of};
use crate::protocol::{Message, Span, splice::Splice};

/// Eight random bytes, not all zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanId([u8; 8]);

impl SpanId {
    pub const fn new(random: [u8; 8]) -> Self {
        match random {
            // Zero means none (W3C Trace Context, 3.2.2.4).
            [0, 0, 0, 0, 0, 0, 0, 0] => Self([0, 0, 0, 0, 0, 0, 0, 1]),
            _ => Self(random),
        }
    }
}

/// Whether the caller sent a `traceparent`, so that a span id is worth its making. Most callers do not: a search through `_meta` tells.
pub fn is_sent(message: &Message) -> bool {
    let meta = message.scan().meta.object.map(|span| message.token(span)).unwrap_or_default();
    TRACEPARENT.find(meta).is_some()
}

static TRACEPARENT: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"traceparent\""));

/// Replaces the parent id; `tracestate` and `baggage` stay. What is no traceparent stays too.
pub(super) fn put(line: &mut Splice<'_>, message: &Message, span: SpanId) {
    if let Some(parent) = parent(message) {
        line.replace(parent, hex::encode(span.0));
    }
}

/// Where the parent id stands: `"00-<32 hex>-<16 hex>-<2 hex>"`, and more behind it in versions to come.
fn parent(message: &Message) -> Option<Span> {
    let meta = Object::read(text_of(message, message.scan().meta.object)?)?;
    let token = member_in(message, meta.field("traceparent")?)?.value;
    let bytes = message.token(token);
    let is_hex = |range| bytes.get(range).is_some_and(|part: &[u8]| part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
    let is_dash = |at: usize| bytes.get(at) == Some(&b'-');
    let is_whole = is_hex(1..3) && is_dash(3) && is_hex(4..36) && is_dash(36) && is_hex(37..53) && is_dash(53) && is_hex(54..56);
    is_whole.then_some(Span::new(token.start() + 37, token.start() + 53))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn after(meta: &str) -> String {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"_meta":{meta}}}}}"#);
        let message = Message::parse(Bytes::from(text)).unwrap();
        let mut line = Splice::new(&message);
        put(&mut line, &message, SpanId::new([0xab; 8]));
        let line = String::from_utf8(line.to_line().to_vec()).unwrap();
        line.split_once(r#""_meta":"#).unwrap().1.trim_end().trim_end_matches('}').to_owned()
    }

    #[test]
    fn the_parent_id_alone_changes() {
        let trace = "0af7651916cd43dd8448eb211c80319c";
        assert_eq!(
            after(&format!(r#"{{"tracestate":"a=b","traceparent":"00-{trace}-b7ad6b7169203331-01","x":1}}"#)),
            format!(r#"{{"tracestate":"a=b","traceparent":"00-{trace}-abababababababab-01","x":1"#)
        );
        for odd in ["\"\"", "7", "\"00-1\"", &format!("\"00-{trace}-b7ad6b716920333G-01\""), &format!("\"00-{trace}_b7ad6b7169203331-01\"")]
        {
            assert_eq!(after(&format!(r#"{{"traceparent":{odd}}}"#)), format!(r#"{{"traceparent":{odd}"#));
        }
    }

    #[test]
    fn a_span_id_is_never_zero() {
        assert_ne!(SpanId::new([0; 8]).0, [0; 8]);
    }
}
