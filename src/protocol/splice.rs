//! Replace, insert or delete spans of a message; every other byte stays as it came. Watched by the `splice` bench.
//!
//! Cost: one pass over the edits, one copy of the message (`to_line`), or none of its large stretches (`to_body`).

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use serde_json::{Map, Value};
use smallvec::SmallVec;

use super::{Body, Message, Span, scan::Member};

/// Stretches of at least this many bytes are shared by `to_body`; a shorter one costs less to copy than to send by itself.
const SHARE_BYTES: usize = 4096;

/// Edits of one message, in any order. They must not overlap: one inside what another takes away is dropped.
pub struct Splice<'a> {
    message: &'a Message,
    edits: SmallVec<[Edit; 8]>,
}

/// Bytes `start..end` of the message make room for `with`.
struct Edit {
    start: usize,
    end: usize,
    with: Bytes,
    kind: EditKind,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum EditKind {
    /// At the start of an object; a comma follows if the object keeps members.
    InsertFirst,
    Replace,
    /// A member, with its comma.
    Delete,
}

impl<'a> Splice<'a> {
    pub fn new(message: &'a Message) -> Self {
        Self { message, edits: SmallVec::new() }
    }

    pub fn replace(&mut self, span: Span, with: impl Into<Bytes>) -> &mut Self {
        self.edit(span.range(), with.into(), EditKind::Replace)
    }

    /// Takes a member out, with the comma that belongs to it; an object that loses all its members is `{}`.
    pub fn delete(&mut self, member: Member) -> &mut Self {
        self.edit(member.key.range().start..member.value.range().end, Bytes::new(), EditKind::Delete)
    }

    /// Puts `members` (`"a":1,"b":2`, no comma around) first into the object at `object`, behind those put there before.
    pub fn insert_first(&mut self, object: Span, members: impl Into<Bytes>) -> &mut Self {
        let at = object.range().start + 1;
        self.edit(at..at, members.into(), EditKind::InsertFirst)
    }

    /// Keeps the edits in the order of the text.
    fn edit(&mut self, range: Range<usize>, with: Bytes, kind: EditKind) -> &mut Self {
        if kind != EditKind::InsertFirst || !with.is_empty() {
            let earlier = |edit: &Edit| (edit.start, edit.kind) <= (range.start, kind);
            let place = self.edits.iter().rposition(earlier).map_or(0, |place| place + 1);
            self.edits.insert(place, Edit { start: range.start, end: range.end, with, kind });
        }
        self
    }

    /// One line for a pipe: raw CR and LF become spaces, `\n` ends it. One allocation, one copy.
    pub fn to_line(&self) -> Bytes {
        let parts = self.parts();
        let mut line = BytesMut::with_capacity(parts.iter().map(Part::len).sum::<usize>() + 1);
        parts.iter().for_each(|part| part.copy(&mut line));
        line.extend_from_slice(b"\n");
        line.freeze()
    }

    /// For HTTP, events and sockets: long stretches are shared, short ones copied together, so that a small message is one piece.
    /// Raw CR and LF become spaces; a stretch with one is copied.
    pub fn to_body(&self) -> Body {
        let parts = self.parts();
        let copied = parts.iter().filter(|part| !part.is_shared()).map(Part::len).sum();
        let mut copies = BytesMut::with_capacity(copied);
        let mut body = Body::default();
        for part in &parts {
            if part.is_shared() {
                body.push(copies.split().freeze());
                body.push(part.share(self.message.bytes()));
            } else {
                part.copy(&mut copies);
            }
        }
        body.push(copies.freeze());
        body
    }

    /// The message after the edits, in order.
    fn parts(&self) -> Parts<'_> {
        let mut parts = Parts::new();
        let mut at = 0;
        let mut rest = self.edits.as_slice();
        while let Some((edit, after)) = rest.split_first() {
            rest = after;
            let (mut start, mut end) = (edit.start, edit.end);
            if edit.kind == EditKind::Delete {
                (start, end, rest) = self.run(edit, rest);
            }
            if start < at || end < start {
                debug_assert!(false, "edits overlap");
                continue;
            }
            self.keep(&mut parts, at..start);
            if !edit.with.is_empty() {
                parts.push(Part::new(&edit.with));
            }
            if edit.kind == EditKind::InsertFirst && self.needs_comma(edit, rest) {
                parts.push(Part { bytes: b",", has_newline: false, own: None });
            }
            at = end;
        }
        self.keep(&mut parts, at..self.message.bytes().len());
        parts
    }

    fn keep<'s>(&'s self, parts: &mut Parts<'s>, range: Range<usize>) {
        let bytes = self.message.bytes().get(range).unwrap_or_default();
        let has_newline = self.message.scan().has_newline && has_newline(bytes);
        if !bytes.is_empty() {
            parts.push(Part { bytes, has_newline, own: None });
        }
    }

    /// What a deletion takes: the member, those deleted right behind it, and the comma after them or else the one before. Neighbours
    /// that go together are one run, since only its ends have commas to think of. And the edits that are left.
    fn run<'e>(&self, first: &Edit, mut rest: &'e [Edit]) -> (usize, usize, &'e [Edit]) {
        let mut end = first.end;
        while let Some((next, after)) = rest.split_first()
            && next.kind == EditKind::Delete
            && self.after_comma(end) == Some(next.start)
        {
            end = next.end;
            rest = after;
        }
        match self.after_comma(end) {
            Some(next) => (first.start, next, rest),
            None => (self.before_comma(first.start).unwrap_or(first.start), end, rest),
        }
    }

    /// Whether anything stands behind inserted members in their object: another insertion, or a member that stays.
    fn needs_comma(&self, insert: &Edit, later: &[Edit]) -> bool {
        if later.first().is_some_and(|next| next.kind == EditKind::InsertFirst && next.start == insert.start) {
            return true;
        }
        let mut at = self.skip_space(insert.end);
        for edit in later {
            if edit.kind != EditKind::Delete || edit.start != at {
                break;
            }
            at = self.after_comma(edit.end).unwrap_or_else(|| self.skip_space(edit.end));
        }
        self.byte(at) != Some(b'}')
    }

    /// Where the next token starts behind the comma that follows `at`; `None` when something else follows.
    fn after_comma(&self, at: usize) -> Option<usize> {
        let comma = self.skip_space(at);
        (self.byte(comma) == Some(b',')).then(|| self.skip_space(comma + 1))
    }

    /// Where the comma before `at` stands; `None` when something else precedes.
    fn before_comma(&self, at: usize) -> Option<usize> {
        let before = self.message.bytes().get(..at)?.trim_ascii_end();
        (before.last() == Some(&b',')).then(|| before.len() - 1)
    }

    fn skip_space(&self, at: usize) -> usize {
        let rest = self.message.bytes().get(at..).unwrap_or_default();
        at + (rest.len() - rest.trim_ascii_start().len())
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.message.bytes().get(at).copied()
    }
}

type Parts<'s> = SmallVec<[Part<'s>; 18]>;

/// A stretch of the outcome.
struct Part<'s> {
    bytes: &'s [u8],
    /// A CR or LF stands in it: raw, so between tokens, where a space means the same.
    has_newline: bool,
    /// The new text it is; else it is of the message.
    own: Option<&'s Bytes>,
}

impl<'s> Part<'s> {
    /// New text; it may come from another message, with line ends of its own.
    fn new(with: &'s Bytes) -> Self {
        Self { bytes: with, has_newline: has_newline(with), own: Some(with) }
    }

    fn len(&self) -> usize {
        self.bytes.len()
    }

    fn is_shared(&self) -> bool {
        self.len() >= SHARE_BYTES && !self.has_newline
    }

    fn share(&self, message: &Bytes) -> Bytes {
        self.own.unwrap_or(message).slice_ref(self.bytes)
    }

    fn copy(&self, into: &mut BytesMut) {
        let from = into.len();
        into.extend_from_slice(self.bytes);
        if self.has_newline {
            let copied = into.get_mut(from..).unwrap_or_default();
            copied.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
        }
    }
}

fn has_newline(bytes: &[u8]) -> bool {
    memchr::memchr2(b'\n', b'\r', bytes).is_some()
}

/// Whatever the message: edits change what they name, the rest stays byte for byte, and what comes out is what a tree edited alike holds.
pub fn fuzz_splice(data: &[u8]) {
    let Ok(message) = Message::parse(Bytes::copy_from_slice(data)) else { return };
    let spaced = |bytes: &[u8]| -> Vec<u8> { bytes.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }).collect() };
    let (start, end) = data.split_at(message.scan().id.map_or(0, |id| id.range().start));
    let mut renumbered = Splice::new(&message);
    let wanted = match message.scan().id {
        Some(id) => {
            renumbered.replace(id, "4711");
            [start, b"4711", end.get(id.range().len()..).unwrap_or_default()].concat()
        }
        None => data.to_vec(),
    };
    assert_eq!(text_of(&renumbered), spaced(&wanted));

    // Every member that the hub ever takes out, together, with new ones put in where they were; by turns none, half or all of them.
    let scan = message.scan();
    let meta = scan.meta;
    let members = [
        (meta.protocol_version, "/params/_meta", "io.modelcontextprotocol/protocolVersion"),
        (meta.client_capabilities, "/params/_meta", "io.modelcontextprotocol/clientCapabilities"),
        (meta.client_info, "/params/_meta", "io.modelcontextprotocol/clientInfo"),
        (meta.log_level, "/params/_meta", "io.modelcontextprotocol/logLevel"),
        (meta.server_info, "/params/_meta", "io.modelcontextprotocol/serverInfo"),
        (meta.progress_token, "/params/_meta", "progressToken"),
        (scan.task, "/params", "task"),
        (scan.result_type, "/result", "resultType"),
        (scan.ttl_ms, "/result", "ttlMs"),
        (scan.cache_scope, "/result", "cacheScope"),
    ];
    let objects = [(meta.object, "/params/_meta"), (scan.params, "/params"), (scan.result, "/result")];
    for turn in [0b00, 0b01, 0b10, 0b11] {
        let mut splice = Splice::new(&message);
        let mut tree = serde_json::from_slice::<Value>(data).ok();
        let mut edit = |pointer: &str, edit: &dyn Fn(&mut Map<String, Value>)| {
            let pointer = if scan.result.is_some() { pointer.replace("params", "result") } else { pointer.to_owned() };
            let object = tree.as_mut().and_then(|tree| tree.pointer_mut(&pointer)).and_then(Value::as_object_mut);
            object.into_iter().for_each(edit);
        };
        for (i, (member, pointer, name)) in members.iter().enumerate() {
            if let Some(member) = member.filter(|_| turn >> (i % 2) & 1 == 1) {
                splice.delete(member);
                edit(pointer, &|object| _ = object.remove(*name));
            }
        }
        for (object, pointer) in objects {
            if let Some(object) = object {
                splice.insert_first(object, r#""put in/by the hub":0"#);
                // What came under the same name comes later, and counts.
                edit(pointer, &|object| _ = object.entry("put in/by the hub").or_insert(Value::from(0)));
            }
        }
        let text = text_of(&splice);
        assert_eq!(Message::parse(text.clone().into()).expect("a message stays one").kind(), message.kind());
        if let Some(tree) = tree {
            assert_eq!(serde_json::from_slice::<Value>(&text).ok(), Some(tree));
        }
    }
}

/// The outcome, which is the same in both shapes: as a line without its end, and as a body.
fn text_of(splice: &Splice<'_>) -> Vec<u8> {
    let line = splice.to_line();
    let (text, end) = line.split_at(line.len() - 1);
    assert_eq!(end, b"\n");
    assert!(!has_newline(text));
    assert_eq!(splice.to_body().to_bytes(), text);
    text.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Message {
        Message::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap()
    }

    fn check(text: &str, edit: impl Fn(&mut Splice<'_>), want: &str) {
        let message = message(text);
        let mut splice = Splice::new(&message);
        edit(&mut splice);
        assert_eq!(std::str::from_utf8(&splice.to_body().to_bytes()).unwrap(), want);
        assert_eq!(std::str::from_utf8(&splice.to_line()).unwrap(), format!("{want}\n"));
    }

    fn with_meta(meta: &str) -> String {
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{{"_meta":{meta}}}}}"#)
    }

    #[test]
    fn a_replaced_span_leaves_every_other_byte() {
        let text = r#"{ "jsonrpc" : "2.0" , "id" : "a" , "method":"m","x":1.0e5 }"#;
        let id = message(text).scan().id.unwrap();
        check(
            text,
            |splice| {
                splice.replace(id, "42");
            },
            r#"{ "jsonrpc" : "2.0" , "id" : 42 , "method":"m","x":1.0e5 }"#,
        );
    }

    #[test]
    fn deletions_take_exactly_the_commas_that_go_with_them() {
        let (version, token, info) =
            (r#""io.modelcontextprotocol/protocolVersion":"v""#, r#""progressToken":1"#, r#""io.modelcontextprotocol/clientInfo":{}"#);
        for (before, after) in [
            (format!("{{{version}}}"), "{}".to_owned()),
            (format!(r#"{{{version},"k":1}}"#), r#"{"k":1}"#.to_owned()),
            (format!(r#"{{"k":1,{version}}}"#), r#"{"k":1}"#.to_owned()),
            (format!(r#"{{"k":1 , {version} , "l":2}}"#), r#"{"k":1 , "l":2}"#.to_owned()),
            (format!(r#"{{{version},{info}}}"#), "{}".to_owned()),
            (format!(r#"{{{version} , {info} , "k":1}}"#), r#"{"k":1}"#.to_owned()),
            (format!(r#"{{"k":1,{version},{info}}}"#), r#"{"k":1}"#.to_owned()),
            (format!(r#"{{"k":1,{version},{token},{info}}}"#), format!(r#"{{"k":1,{token}}}"#)),
            (format!("{{ {version} }}"), "{  }".to_owned()),
        ] {
            let text = with_meta(&before);
            let meta = message(&text).scan().meta;
            let edit = |splice: &mut Splice<'_>| {
                // The order of the calls does not matter.
                for member in [meta.client_info, meta.protocol_version].into_iter().flatten() {
                    splice.delete(member);
                }
            };
            check(&text, edit, &with_meta(&after));
        }
    }

    #[test]
    fn inserted_members_have_a_comma_only_before_what_stays() {
        let version = r#""io.modelcontextprotocol/protocolVersion":"v""#;
        for (before, after) in [
            ("{}".to_owned(), r#"{"n":1}"#),
            ("{ }".to_owned(), r#"{"n":1 }"#),
            (r#"{"k":1}"#.to_owned(), r#"{"n":1,"k":1}"#),
            (format!("{{{version}}}"), r#"{"n":1}"#),
            (format!(r#"{{{version},"k":1}}"#), r#"{"n":1,"k":1}"#),
            (format!(r#"{{"k":1,{version}}}"#), r#"{"n":1,"k":1}"#),
        ] {
            let text = with_meta(&before);
            let meta = message(&text).scan().meta;
            let edit = |splice: &mut Splice<'_>| {
                splice.insert_first(meta.object.unwrap(), r#""n":1"#);
                meta.protocol_version.map(|member| splice.delete(member));
            };
            check(&text, edit, &with_meta(after));
        }
    }

    #[test]
    fn line_ends_between_tokens_become_spaces() {
        let text = "{\r\n\"jsonrpc\":\"2.0\",\n\"id\":1,\"method\":\"a\\nb\"}";
        let id = message(text).scan().id.unwrap();
        check(
            text,
            |splice| {
                splice.replace(id, "2");
            },
            "{  \"jsonrpc\":\"2.0\", \"id\":2,\"method\":\"a\\nb\"}",
        );
    }

    #[test]
    fn a_long_stretch_is_shared_not_copied() {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"content":[{{"type":"text","text":"{}"}}]}}}}"#, "x".repeat(100_000));
        let message = message(&text);
        let body = Splice::new(&message).replace(message.scan().id.unwrap(), "\"a\"").to_body();
        assert_eq!(body.to_bytes(), text.replacen("\"id\":1", "\"id\":\"a\"", 1).as_bytes());
        let range = message.bytes().as_ptr_range();
        assert!(body.pieces().iter().any(|piece| piece.len() > 99_000 && range.contains(&piece.as_ptr())));
    }

    #[test]
    fn members_put_into_one_object_stand_in_the_order_they_were_put() {
        let version = r#""io.modelcontextprotocol/protocolVersion":"v""#;
        for (before, after) in [
            ("{}".to_owned(), r#"{"a":1,"b":2}"#),
            (format!("{{{version}}}"), r#"{"a":1,"b":2}"#),
            (r#"{"k":1}"#.to_owned(), r#"{"a":1,"b":2,"k":1}"#),
        ] {
            let text = with_meta(&before);
            let meta = message(&text).scan().meta;
            let edit = |splice: &mut Splice<'_>| {
                let object = meta.object.unwrap();
                meta.protocol_version.map(|member| splice.delete(member));
                splice.insert_first(object, r#""a":1"#).insert_first(object, "").insert_first(object, r#""b":2"#);
            };
            check(&text, edit, &with_meta(after));
        }
    }

    #[test]
    fn line_ends_in_new_text_become_spaces_too() {
        let text = r#"{"jsonrpc":"2.0","id":1,"method":"m"}"#;
        let id = message(text).scan().id.unwrap();
        check(text, |splice| _ = splice.replace(id, "[1,\r\n2]"), r#"{"jsonrpc":"2.0","id":[1,  2],"method":"m"}"#);
    }

    #[test]
    fn a_line_end_costs_a_copy_only_of_the_stretch_it_stands_in() {
        let text = format!("{{\"jsonrpc\":\"2.0\",\n\"id\":1,\"result\":{{\"text\":\"{}\"}}}}", "x".repeat(10_000));
        let message = message(&text);
        let body = Splice::new(&message).replace(message.scan().id.unwrap(), "2").to_body();
        assert_eq!(body.to_bytes(), text.replace('\n', " ").replacen(":1,", ":2,", 1).as_bytes());
        assert_eq!(body.pieces().len(), 2);
    }

    #[test]
    fn a_line_and_a_small_body_are_one_allocation_of_the_right_size() {
        let message = message(r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"name":"a.b"}}"#);
        let mut splice = Splice::new(&message);
        splice.replace(message.scan().id.unwrap(), "12345").replace(message.scan().name.unwrap(), "\"b\"");
        let mut body = splice.to_body().into_pieces();
        assert_eq!(body.len(), 1);
        for bytes in [splice.to_line(), body.remove(0)] {
            let len = bytes.len();
            assert_eq!(bytes.try_into_mut().expect("the only owner").capacity(), len);
        }
    }
}
