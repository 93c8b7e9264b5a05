//! Newline-delimited messages out of any chunking, in bounded memory (MCP stdio transport).
//!
//! Cost per line: one `memchr` over its bytes, each byte looked at once however it arrives, and one reference-counted split; nothing is copied.
//! It never looks inside a line and never checks UTF-8: that is the scanner's.

use bytes::{Buf, Bytes, BytesMut};

/// One framed item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// Without its line end; never blank.
    Text(Bytes),
    /// A line beyond the limit was dropped; the stream is in step again after it. `bytes` counts all of it but its `\n`.
    TooLong { bytes: u64, ends: Box<Ends> },
}

/// What is left of a line that was too long: its first and its last `END_BYTES`, which are the same where it has no more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    head: Vec<u8>,
    tail: Vec<u8>,
}

/// Enough for the members beside the one that made the line long.
const END_BYTES: usize = 256;

impl Ends {
    /// Of the rest of a line, piece by piece.
    fn extend(&mut self, piece: &[u8]) {
        let missing = END_BYTES.saturating_sub(self.head.len()).min(piece.len());
        self.head.extend_from_slice(piece.get(..missing).unwrap_or_default());
        let piece = piece.get(piece.len().saturating_sub(END_BYTES)..).unwrap_or_default();
        self.tail.extend_from_slice(piece);
        self.tail.drain(..self.tail.len().saturating_sub(END_BYTES));
    }

    /// The id, a raw token, of the request that the line answers, if its members are where they are usually written: before or after the
    /// long one. `None` for requests and notifications too.
    pub fn answers(&self) -> Option<&[u8]> {
        let (first, last) = (first_members(&self.head), last_members(&self.tail));
        if first.has_method || last.has_method { None } else { first.id.or(last.id) }
    }
}

/// What was read of an object.
#[derive(Default)]
struct Members<'a> {
    id: Option<&'a [u8]>,
    has_method: bool,
}

impl<'a> Members<'a> {
    fn see(&mut self, key: &[u8], token: &'a [u8]) {
        match key {
            b"\"method\"" => self.has_method = true,
            b"\"id\"" => self.id = Some(token),
            _ => {}
        }
    }
}

/// Of an object whose end is cut off: as far as its values are plain.
fn first_members(head: &[u8]) -> Members<'_> {
    let mut members = Members::default();
    let mut rest = head.trim_ascii_start().strip_prefix(b"{").unwrap_or_default();
    while let Some((key, after)) = string(rest.trim_ascii_start())
        && let Some(value) = after.trim_ascii_start().strip_prefix(b":")
        && let Some((token, after)) = plain(value.trim_ascii_start())
        // Only what follows shows that a number is over.
        && let Some(next) = after.trim_ascii_start().strip_prefix(b",")
    {
        members.see(key, token);
        rest = next;
    }
    members
}

/// Of an object whose beginning is cut off, from its end: as far as its values are plain and hold no escapes.
fn last_members(tail: &[u8]) -> Members<'_> {
    let mut members = Members::default();
    let mut rest = tail.trim_ascii_end().strip_suffix(b"}").unwrap_or_default();
    while let Some((token, before)) = plain_before(rest.trim_ascii_end())
        && let Some(before) = before.trim_ascii_end().strip_suffix(b":")
        && let Some((key, before)) = string_before(before.trim_ascii_end())
    {
        members.see(key, token);
        rest = before.trim_ascii_end().strip_suffix(b",").unwrap_or_default();
    }
    members
}

/// A string, its quotes included, and what follows.
fn string(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut is_escaped = false;
    let end = text.strip_prefix(b"\"")?.iter().position(|byte| {
        let is_end = *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        is_end
    })?;
    text.split_at_checked(end + 2)
}

/// A string, a number or a word, and what follows.
fn plain(text: &[u8]) -> Option<(&[u8], &[u8])> {
    if text.starts_with(b"\"") {
        return string(text);
    }
    let end = text.iter().position(|byte| !is_of_word(*byte)).unwrap_or(text.len());
    text.split_at_checked(end).filter(|(word, _)| !word.is_empty())
}

fn string_before(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let inner = text.strip_suffix(b"\"")?;
    let start = inner.iter().rposition(|byte| matches!(byte, b'"' | b'\\'))?;
    let (before, string) = text.split_at_checked(start)?;
    // An escape, or an escaped quote: where the string begins is not to be told from here.
    (string.starts_with(b"\"") && !before.ends_with(b"\\")).then_some((string, before))
}

fn plain_before(text: &[u8]) -> Option<(&[u8], &[u8])> {
    if text.ends_with(b"\"") {
        return string_before(text);
    }
    let start = text.iter().rposition(|byte| !is_of_word(*byte))? + 1;
    let (before, word) = text.split_at_checked(start)?;
    (!word.is_empty()).then_some((word, before))
}

const fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')
}

/// Fed through a buffer the caller reads into: no copy. The caller only ever appends to that buffer.
#[derive(Debug)]
pub struct Framer {
    line_bytes_max: usize,
    /// The buffer holds no `\n` before this offset.
    scanned: usize,
    /// Inside an over-long line: how much of it has been dropped, and what is kept.
    dropped: Option<(u64, Box<Ends>)>,
}

impl Framer {
    /// `line_bytes_max` counts everything before the `\n`, so also a `\r`.
    pub fn new(line_bytes_max: usize) -> Self {
        Self { line_bytes_max, scanned: 0, dropped: None }
    }

    /// Takes the next whole line out of `buffer` (zero-copy split); `None`: read more. While an over-long line is being
    /// skipped the buffer is emptied, so it never grows past the limit plus one read.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Option<Line> {
        loop {
            let unseen = buffer.get(self.scanned..).unwrap_or_default();
            let Some(at) = memchr::memchr(b'\n', unseen).map(|offset| self.scanned + offset) else {
                self.scanned = buffer.len();
                if self.dropped.is_some() || self.scanned > self.line_bytes_max {
                    let (bytes, ends) = self.dropped.get_or_insert_default();
                    *bytes += buffer.len() as u64;
                    ends.extend(buffer);
                    buffer.clear();
                    self.scanned = 0;
                }
                return None;
            };
            self.scanned = 0;
            let dropped = self.dropped.take();
            if dropped.is_some() || at > self.line_bytes_max {
                let (bytes, mut ends) = dropped.unwrap_or_default();
                ends.extend(buffer.get(..at).unwrap_or_default());
                buffer.advance(at + 1);
                return Some(Line::TooLong { bytes: bytes + at as u64, ends });
            }
            let mut line = buffer.split_to(at + 1);
            line.truncate(at);
            if let Some(line) = text(line) {
                return Some(line);
            }
        }
    }

    /// At end of input: what is left, line by line, at last a line without line end; then `None`.
    pub fn finish(&mut self, buffer: &mut BytesMut) -> Option<Line> {
        if let Some(line) = self.next(buffer) {
            return Some(line);
        }
        self.scanned = 0;
        match self.dropped.take() {
            Some((bytes, ends)) => Some(Line::TooLong { bytes, ends }),
            None => text(buffer.split()),
        }
    }
}

/// The line without one `\r` at its end, unless it is blank.
fn text(mut line: BytesMut) -> Option<Line> {
    if line.ends_with(b"\r") {
        line.truncate(line.len() - 1);
    }
    let blank = line.trim_ascii_start().is_empty();
    (!blank).then(|| Line::Text(line.freeze()))
}

/// Framing does not depend on chunking, and agrees with splitting the whole input at once. The first byte picks limit and chunk size.
#[doc(hidden)]
pub fn fuzz_line(data: &[u8]) {
    let Some((seed, input)) = data.split_first() else { return };
    let limit = usize::from(seed >> 4) + 1;
    let chunk = usize::from(seed & 15) + 1;
    let mut framer = Framer::new(limit);
    let mut buffer = BytesMut::new();
    let mut framed = Vec::new();
    for chunk in input.chunks(chunk) {
        buffer.extend_from_slice(chunk);
        framed.extend(std::iter::from_fn(|| framer.next(&mut buffer)));
        assert!(buffer.len() <= limit, "a partial line beyond the limit stays in memory");
    }
    framed.extend(std::iter::from_fn(|| framer.finish(&mut buffer)));
    assert!(buffer.is_empty());

    let mut expected = Vec::new();
    for line in input.split(|byte| *byte == b'\n') {
        let stripped = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > limit {
            let mut ends = Box::<Ends>::default();
            ends.extend(line);
            expected.push(Line::TooLong { bytes: line.len() as u64, ends });
        } else if !stripped.trim_ascii().is_empty() {
            expected.push(Line::Text(Bytes::copy_from_slice(stripped)));
        }
    }
    assert_eq!(framed, expected);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(line: &str) -> Line {
        Line::Text(Bytes::copy_from_slice(line.as_bytes()))
    }

    fn too_long(bytes: u64) -> Line {
        Line::TooLong { bytes, ends: Box::default() }
    }

    fn forget_ends(line: &mut Line) {
        if let Line::TooLong { ends, .. } = line {
            **ends = Ends::default();
        }
    }

    fn frame(limit: usize, chunks: &[&str]) -> Vec<Line> {
        let mut framer = Framer::new(limit);
        let mut buffer = BytesMut::new();
        let mut lines = Vec::new();
        for chunk in chunks {
            buffer.extend_from_slice(chunk.as_bytes());
            lines.extend(std::iter::from_fn(|| framer.next(&mut buffer)));
        }
        lines.extend(std::iter::from_fn(|| framer.finish(&mut buffer)));
        lines
    }

    #[test]
    fn lines_come_without_their_line_ends() {
        let cases: &[(&[&str], Vec<Line>)] = &[
            (&[], vec![]),
            (&["{}\n"], vec![text("{}")]),
            (&["{}\n{}\n"], vec![text("{}"), text("{}")]),
            (&["{", "}", "\n"], vec![text("{}")]),
            (&["{}\r\n[]\n"], vec![text("{}"), text("[]")]),
            (&["{}\r", "\n[]"], vec![text("{}"), text("[]")]),
            (&["{}\r\r\n"], vec![text("{}\r")]),
            (&["\n\r\n \t \n\x0c\n{}"], vec![text("{}")]),
            (&[" {} \n"], vec![text(" {} ")]),
            (&["garbage\n{}\n"], vec![text("garbage"), text("{}")]),
            (&["12345678\n"], vec![text("12345678")]),
            (&["123456789\n{}\n"], vec![too_long(9), text("{}")]),
            (&["1234567\r\n12345678\r\n"], vec![text("1234567"), too_long(9)]),
            (&["123456789", "0123456789", "01\n{}", "\n"], vec![too_long(21), text("{}")]),
            (&["123456789", "\n", "123456789", "\n"], vec![too_long(9), too_long(9)]),
            (&["{}\n123456789"], vec![text("{}"), too_long(9)]),
            (&["         \n"], vec![too_long(9)]),
            (&["{}\n   "], vec![text("{}")]),
        ];
        for (chunks, expected) in cases {
            let mut lines = frame(8, chunks);
            lines.iter_mut().for_each(forget_ends);
            assert_eq!(&lines, expected, "{chunks:?}");
        }
    }

    #[test]
    fn the_request_that_a_dropped_line_answers_is_found_at_either_end() {
        let long = "x".repeat(2 * END_BYTES);
        for (line, id) in [
            (r#"{"jsonrpc":"2.0","id":7,"result":{"a":"LONG"}}"#, Some("7")),
            (r#" { "id" : "a\"b" , "result" : "LONG" } "#, Some(r#""a\"b""#)),
            (r#"{"result":{"a":"LONG"},"id":7}"#, Some("7")),
            (r#"{"result":["LONG"],"id":"q","jsonrpc":"2.0"}"#, Some(r#""q""#)),
            (r#"{"result":["LONG"] , "jsonrpc" : "2.0" , "id" : 12345 } "#, Some("12345")),
            (r#"{"jsonrpc":"2.0","result":{"a":"LONG"},"id":7}"#, Some("7")),
            (r#"{"error":{"code":-1,"message":"LONG"},"id":7}"#, Some("7")),
            // Requests and notifications.
            (r#"{"id":7,"method":"x","params":{"a":"LONG"}}"#, None),
            (r#"{"id":7,"params":{"a":"LONG"},"method":"x"}"#, None),
            (r#"{"method":"x","id":7,"params":{"a":"LONG"}}"#, None),
            (r#"{"method":"x","params":{"a":"LONG"},"id":7}"#, None),
            (r#"{"params":{"a":"LONG"},"method":"x","id":7}"#, None),
            (r#"{"params":{"a":"LONG"},"id":7,"method":"x"}"#, None),
            // What only looks like a member.
            (r#"{"result":{"a":"LONG","id":7}}"#, None),
            (r#"{"result":"LONG \"id\":7"}"#, None),
            (r#"{"result":"LONG,\"id\":\"7\""}"#, None),
            (r#"{"result":"LONG\\","id":7}"#, Some("7")),
            (r#"{"result":{"id":7,"a":"LONG"}}"#, None),
            (r#"{"LONG":1,"id":7}"#, Some("7")),
            (r#"{"id":LONG}"#, None),
            (r#"[{"id":7,"result":"LONG"}]"#, None),
            ("LONG", None),
            (r#"{"a":1,"b":2,"LONG"#, None),
        ] {
            let mut ends = Ends::default();
            let line = line.replace("LONG", &long);
            line.as_bytes().chunks(100).for_each(|piece| ends.extend(piece));
            assert_eq!(ends.answers().map(|id| std::str::from_utf8(id).unwrap()), id, "{}", line.replace(&long, "LONG"));
        }
    }

    #[test]
    fn a_line_shares_the_buffer_it_was_read_into() {
        let mut buffer = BytesMut::from("{\"a\":1}\nrest");
        let start = buffer.as_ptr();
        let Some(Line::Text(line)) = Framer::new(64).next(&mut buffer) else { panic!("no line") };
        assert_eq!((&line[..], line.as_ptr()), (&b"{\"a\":1}"[..], start));
        assert_eq!(&buffer[..], b"rest");
    }

    #[test]
    fn memory_stays_bounded_while_an_endless_line_comes() {
        let mut framer = Framer::new(1024);
        let mut buffer = BytesMut::new();
        for _ in 0..10_000 {
            buffer.extend_from_slice(&[b'x'; 512]);
            assert_eq!(framer.next(&mut buffer), None);
            assert!(buffer.len() <= 1024 && buffer.capacity() <= 8192, "{} of {}", buffer.len(), buffer.capacity());
        }
        buffer.extend_from_slice(b"\n{}\n");
        let mut line = framer.next(&mut buffer).unwrap();
        let Line::TooLong { ends, .. } = &line else { panic!("{line:?}") };
        assert_eq!((ends.head.len(), ends.tail.len()), (END_BYTES, END_BYTES));
        forget_ends(&mut line);
        assert_eq!(line, too_long(10_000 * 512));
        assert_eq!(framer.next(&mut buffer), Some(text("{}")));
    }

    proptest! {
        #[test]
        fn framing_does_not_depend_on_chunking(seed: u8, input in "[a{} \r\n]{0,120}") {
            fuzz_line(&[&[seed], input.as_bytes()].concat());
        }

        #[test]
        fn framing_takes_any_bytes(data: Vec<u8>) {
            fuzz_line(&data);
        }
    }
}
