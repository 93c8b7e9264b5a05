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
    TooLong { bytes: u64 },
}

/// Fed through a buffer the caller reads into: no copy. The caller only ever appends to that buffer.
#[derive(Debug)]
pub struct Framer {
    line_bytes_max: usize,
    /// The buffer holds no `\n` before this offset.
    scanned: usize,
    /// Inside an over-long line: how much of it has been dropped.
    dropped: Option<u64>,
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
                    *self.dropped.get_or_insert(0) += buffer.len() as u64;
                    buffer.clear();
                    self.scanned = 0;
                }
                return None;
            };
            self.scanned = 0;
            let dropped = self.dropped.take();
            if dropped.is_some() || at > self.line_bytes_max {
                buffer.advance(at + 1);
                return Some(Line::TooLong { bytes: dropped.unwrap_or(0) + at as u64 });
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
            Some(bytes) => Some(Line::TooLong { bytes }),
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
            expected.push(Line::TooLong { bytes: line.len() as u64 });
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
        let too_long = |bytes| Line::TooLong { bytes };
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
            assert_eq!(&frame(8, chunks), expected, "{chunks:?}");
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
        assert_eq!(framer.next(&mut buffer), Some(Line::TooLong { bytes: 10_000 * 512 }));
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
