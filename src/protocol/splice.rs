//! Replace, insert or delete spans of a message; every other byte stays as it came. Watched by the `splice` bench.
//!
//! Cost: one pass over the edits, one copy of the message (`to_line`), or none of its large stretches (`to_body`).

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use super::{Body, Message, Span, scan::Member};

/// Stretches of at least this many bytes are shared by `to_body`; a shorter one costs less to copy than to send by itself.
const SHARE_BYTES: usize = 4096;

/// Edits of one message, in any order. They must not overlap.
pub struct Splice<'a> {
    message: &'a Message,
    edits: SmallVec<[Edit; 8]>,
}

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

    /// Puts `members` (`"a":1,"b":2`, no comma around) first into the object at `object`.
    pub fn insert_first(&mut self, object: Span, members: impl Into<Bytes>) -> &mut Self {
        let at = object.range().start + 1;
        self.edit(at..at, members.into(), EditKind::InsertFirst)
    }

    fn edit(&mut self, range: std::ops::Range<usize>, with: Bytes, kind: EditKind) -> &mut Self {
        self.edits.push(Edit { start: range.start, end: range.end, with, kind });
        self
    }

    /// One line for a pipe: raw CR and LF become spaces, `\n` ends it. One allocation, one copy.
    pub fn to_line(&self) -> Bytes {
        let parts = self.parts();
        let mut line = BytesMut::with_capacity(parts.iter().map(Part::len).sum::<usize>() + 1);
        for part in &parts {
            self.copy(part, &mut line);
        }
        line.extend_from_slice(b"\n");
        line.freeze()
    }

    /// For HTTP, events and sockets: long stretches are shared, short ones copied together. Raw CR and LF become spaces, and
    /// then all is copied.
    pub fn to_body(&self) -> Body {
        let mut body = Body::default();
        let mut short = BytesMut::new();
        for part in self.parts() {
            let shared = match &part {
                Part::Kept(start, end) if end - start >= SHARE_BYTES && !self.message.scan().has_newline => {
                    Some(self.message.bytes().slice(*start..*end))
                }
                Part::New(with) if with.len() >= SHARE_BYTES => Some(with.clone()),
                _ => None,
            };
            match shared {
                Some(long) => {
                    body.push(short.split().freeze());
                    body.push(long);
                }
                None => {
                    if short.capacity() == 0 {
                        short.reserve(self.message.bytes().len().min(SHARE_BYTES) + 256);
                    }
                    self.copy(&part, &mut short);
                }
            }
        }
        body.push(short.freeze());
        body
    }

    fn copy(&self, part: &Part, into: &mut BytesMut) {
        match part {
            Part::New(with) => into.extend_from_slice(with),
            Part::Kept(start, end) => {
                let from = into.len();
                into.extend_from_slice(self.message.bytes().get(*start..*end).unwrap_or_default());
                if self.message.scan().has_newline {
                    // Raw line ends can stand only between tokens, where a space means the same.
                    let copied = into.get_mut(from..).unwrap_or_default();
                    copied.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
                }
            }
        }
    }

    /// The message after the edits, in order.
    fn parts(&self) -> SmallVec<[Part; 16]> {
        let cuts = self.cuts();
        let mut parts = SmallVec::new();
        let mut at = 0;
        for (start, end, with) in cuts {
            debug_assert!(at <= start && start <= end, "edits overlap");
            if at < start {
                parts.push(Part::Kept(at, start));
            }
            if !with.is_empty() {
                parts.push(Part::New(with));
            }
            at = end;
        }
        let len = self.message.bytes().len();
        if at < len {
            parts.push(Part::Kept(at, len));
        }
        parts
    }

    /// What is cut out, `start..end`, and what takes its place; ascending.
    fn cuts(&self) -> SmallVec<[(usize, usize, Bytes); 8]> {
        let mut edits: SmallVec<[&Edit; 8]> = self.edits.iter().collect();
        edits.sort_by_key(|edit| (edit.start, edit.kind));
        let mut cuts: SmallVec<[(usize, usize, Bytes); 8]> = SmallVec::new();
        let mut rest = edits.as_slice();
        while let Some((edit, after)) = rest.split_first() {
            rest = after;
            let cut = match edit.kind {
                EditKind::Replace => (edit.start, edit.end, edit.with.clone()),
                EditKind::InsertFirst => (edit.start, edit.end, self.with_comma(edit, rest)),
                EditKind::Delete => {
                    // Neighbours that go together are one run: only its ends have commas to think of.
                    let mut end = edit.end;
                    while let Some((next, after)) = rest.split_first()
                        && next.kind == EditKind::Delete
                        && self.after_comma(end) == Some(next.start)
                    {
                        end = next.end;
                        rest = after;
                    }
                    let (start, end) = self.run(edit.start, end);
                    (start, end, Bytes::new())
                }
            };
            cuts.push(cut);
        }
        cuts
    }

    /// A run of members with the comma behind it, or else the one before it.
    fn run(&self, start: usize, end: usize) -> (usize, usize) {
        match self.after_comma(end) {
            Some(next) => (start, next),
            None => (self.before_comma(start).unwrap_or(start), end),
        }
    }

    /// The inserted members, with a comma if anything of the object stays behind them.
    fn with_comma(&self, insert: &Edit, later: &[&Edit]) -> Bytes {
        let mut at = self.skip_space(insert.end);
        for edit in later.iter().filter(|edit| edit.kind == EditKind::Delete) {
            if edit.start != at {
                break;
            }
            at = self.after_comma(edit.end).unwrap_or_else(|| self.skip_space(edit.end));
        }
        if self.byte(at) == Some(b'}') {
            return insert.with.clone();
        }
        let mut with = BytesMut::with_capacity(insert.with.len() + 1);
        with.extend_from_slice(&insert.with);
        with.extend_from_slice(b",");
        with.freeze()
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

enum Part {
    /// Bytes `start..end` of the message.
    Kept(usize, usize),
    New(Bytes),
}

impl Part {
    fn len(&self) -> usize {
        match self {
            Self::Kept(start, end) => end - start,
            Self::New(with) => with.len(),
        }
    }
}

/// Whatever the message: edits change what they name, the rest stays byte for byte, and what comes out is a message again.
pub fn fuzz_splice(data: &[u8]) {
    let Ok(message) = Message::parse(Bytes::copy_from_slice(data)) else { return };
    let unchanged = Splice::new(&message);
    assert_eq!(unchanged.to_body().to_bytes().len(), data.len());
    let scan = message.scan();
    if let Some(id) = scan.id {
        let line = Splice::new(&message).replace(id, "4711").to_line();
        let again = Message::parse(line.slice(..line.len() - 1)).expect("a message stays one");
        assert_eq!(again.id().map(|id| id.to_string()).as_deref(), Some("4711"));
        assert!(!line.slice(..line.len() - 1).contains(&b'\n'));
        let strip = |bytes: &[u8]| bytes.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }).collect::<Vec<_>>();
        let (before, after) =
            (strip(data.get(..id.range().start).unwrap_or_default()), strip(data.get(id.range().end..).unwrap_or_default()));
        assert!(line.starts_with(&before) && line.slice(..line.len() - 1).ends_with(&after));
    }
    // Every member that the hub ever takes out, together, with new ones put in where they were.
    let mut all = Splice::new(&message);
    let meta = scan.meta;
    for member in [meta.protocol_version, meta.client_capabilities, meta.client_info, meta.log_level, meta.server_info, meta.progress_token]
    {
        member.map(|member| all.delete(member));
    }
    for member in [scan.task, scan.result_type, scan.ttl_ms, scan.cache_scope].into_iter().flatten() {
        all.delete(member);
    }
    for object in [meta.object, scan.params, scan.result].into_iter().flatten() {
        all.insert_first(object, r#""inserted/by-the-hub":0"#);
    }
    let text = all.to_body().to_bytes();
    let again = Message::parse(text).expect("a message stays one");
    assert_eq!(again.kind(), message.kind());
    assert_eq!(again.scan().meta, super::scan::Meta { object: again.scan().meta.object, ..super::scan::Meta::default() });
    assert!(again.scan().task.is_none() && again.scan().result_type.is_none());
    assert_eq!(again.name(), message.name());
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
}
