//! Server-sent events, read and written (WHATWG HTML 9.2, MCP Streamable HTTP).
//!
//! Two departures from a browser: an event whose `data` line is empty is delivered (2025-11-25 opens streams with one), and `id` and `retry` of a block
//! without data come with the next event instead of being lost.

use super::Body;
use bytes::{Bytes, BytesMut};

#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Event {
    /// `None`: a message.
    pub event: Option<String>,
    pub data: String,
    pub id: Option<String>,
    pub retry_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SseError {
    #[error("event is larger than {limit_bytes} bytes")]
    TooLarge { limit_bytes: usize },
}

/// Incremental reader; CR, LF, CRLF, BOM, multi-line data, comments, any chunking. Holds at most one event and one partial line,
/// together no more than its limit.
#[derive(Debug)]
pub struct Reader {
    event_bytes_max: usize,
    /// The start of a line whose end has not come yet.
    partial: Vec<u8>,
    /// The last byte was a CR: an LF now belongs to it.
    after_cr: bool,
    /// No line has been read: a byte order mark may stand here.
    at_start: bool,
    failed: bool,
    event: Event,
    /// Whether a `data` line has come, and what it held; the last newline is not yet taken off.
    data: Option<String>,
}

impl Reader {
    /// `event_bytes_max` counts the values of one event and the line under way.
    pub fn new(event_bytes_max: usize) -> Self {
        Self { event_bytes_max, partial: Vec::new(), after_cr: false, at_start: true, failed: false, event: Event::default(), data: None }
    }

    /// Appends the events that `chunk` completes to `out`. An event still open when the stream ends is dropped with the reader.
    ///
    /// # Errors
    /// Once an event was too large the stream cannot be followed any more: every later call fails too.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<Event>) -> Result<(), SseError> {
        let too_large = SseError::TooLarge { limit_bytes: self.event_bytes_max };
        if self.failed {
            return Err(too_large);
        }
        let mut rest = chunk;
        while let Some(first) = rest.first() {
            if std::mem::take(&mut self.after_cr) && *first == b'\n' {
                rest = rest.get(1..).unwrap_or_default();
                continue;
            }
            let end = memchr::memchr2(b'\r', b'\n', rest);
            let (line, after) = rest.split_at(end.unwrap_or(rest.len()));
            if self.held() + self.partial.len() + line.len() > self.event_bytes_max {
                self.failed = true;
                return Err(too_large);
            }
            let Some((line_end, after)) = after.split_first() else {
                self.partial.extend_from_slice(line);
                break;
            };
            self.after_cr = *line_end == b'\r';
            rest = after;
            if self.partial.is_empty() {
                self.line(line, out);
            } else {
                let mut whole = std::mem::take(&mut self.partial);
                whole.extend_from_slice(line);
                self.line(&whole, out);
                whole.clear();
                self.partial = whole;
            }
        }
        Ok(())
    }

    fn held(&self) -> usize {
        let len = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        len(&self.data) + len(&self.event.event) + len(&self.event.id)
    }

    fn line(&mut self, line: &[u8], out: &mut Vec<Event>) {
        let line = if std::mem::take(&mut self.at_start) { line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line) } else { line };
        if line.is_empty() {
            return self.dispatch(out);
        }
        let (field, value) = match memchr::memchr(b':', line) {
            Some(colon) => {
                let (field, value) = line.split_at(colon);
                let value = value.get(1..).unwrap_or_default();
                (field, value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line, &b""[..]),
        };
        let text = || String::from_utf8_lossy(value);
        match field {
            b"event" => self.event.event = Some(text().into_owned()).filter(|name| !name.is_empty()),
            b"data" => {
                let data = self.data.get_or_insert_default();
                data.push_str(&text());
                data.push('\n');
            }
            b"id" if !value.contains(&0) => self.event.id = Some(text().into_owned()),
            b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                self.event.retry_ms = text().parse().ok().or(self.event.retry_ms);
            }
            _ => {} // A comment, or a field of the future.
        }
    }

    fn dispatch(&mut self, out: &mut Vec<Event>) {
        let Some(mut data) = self.data.take() else {
            self.event.event = None;
            return;
        };
        data.pop();
        out.push(Event { data, ..std::mem::take(&mut self.event) });
    }
}

/// Below this, one copy is cheaper than one more slice in a vectored write.
const COPY_BYTES_MAX: usize = 4096;
const HEAD: &[u8] = b"event: message\ndata: ";
const TAIL: &[u8] = b"\n\n";

/// `event: message\ndata: …\n\n` around a one-line message; the payload of a large one is shared, not copied.
pub fn message(body: Body) -> Body {
    framed(&[], body)
}

/// As `message`, with an id: one line, not empty.
pub fn numbered(id: &str, body: Body) -> Body {
    framed(&[b"id: ", id.as_bytes(), b"\n"], body)
}

fn framed(fields: &[&[u8]], body: Body) -> Body {
    let head = |spare: usize| {
        let mut head = BytesMut::with_capacity(fields.iter().map(|field| field.len()).sum::<usize>() + HEAD.len() + spare);
        fields.iter().chain(&[HEAD]).for_each(|part| head.extend_from_slice(part));
        head
    };
    if body.len() <= COPY_BYTES_MAX {
        let mut framed = head(body.len() + TAIL.len());
        body.pieces().iter().for_each(|piece| framed.extend_from_slice(piece));
        framed.extend_from_slice(TAIL);
        return Body::one(framed.freeze());
    }
    let mut framed = Body::one(if fields.is_empty() { Bytes::from_static(HEAD) } else { head(0).freeze() });
    framed.append(body);
    framed.push(Bytes::from_static(TAIL));
    framed
}

/// Any event: its data split into lines, line ends in `event` and `id` replaced by spaces. Empty data is still a `data:` line.
pub fn event(event: &Event) -> Bytes {
    let mut text = String::with_capacity(32 + event.data.len());
    let mut field = |name: &str, value: &str| {
        text.push_str(name);
        text.push_str(if value.is_empty() { ":" } else { ": " });
        text.push_str(value);
        text.push('\n');
    };
    let one_line = |value: &str| value.replace(['\r', '\n'], " ");
    if let Some(name) = &event.event {
        field("event", &one_line(name));
    }
    if let Some(id) = &event.id {
        // A reader ignores an id with a NUL in it.
        field("id", &one_line(id).replace('\0', ""));
    }
    if let Some(ms) = event.retry_ms {
        field("retry", &ms.to_string());
    }
    for line in event.data.replace("\r\n", "\n").split(['\r', '\n']) {
        field("data", line);
    }
    text.push('\n');
    Bytes::from(text)
}

/// `: ping\n\n`, which keeps a silent stream open.
pub fn comment() -> Bytes {
    Bytes::from_static(b": ping\n\n")
}

/// Events do not depend on chunking, and what was read and written again reads the same. The first byte picks limit and chunk size.
#[doc(hidden)]
pub fn fuzz_sse(data: &[u8]) {
    let Some((seed, input)) = data.split_first() else { return };
    let limit = (usize::from(seed >> 4) + 1) * 16;
    let read = |chunk_len: usize| {
        let (mut reader, mut events, mut outcome) = (Reader::new(limit), Vec::new(), Ok(()));
        for chunk in input.chunks(chunk_len) {
            outcome = reader.push(chunk, &mut events);
            assert!(reader.held() + reader.partial.len() <= limit + 3 * limit, "more is held than the limit allows");
        }
        (events, outcome)
    };
    let whole = read(input.len().max(1));
    assert_eq!(whole, read(usize::from(seed & 15) + 1));

    let written: Vec<u8> = whole.0.iter().flat_map(event).collect();
    let (mut reader, mut again) = (Reader::new(usize::MAX), Vec::new());
    assert_eq!(reader.push(&written, &mut again), Ok(()));
    assert_eq!(again, whole.0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn data(data: &str) -> Event {
        Event { data: data.into(), ..Event::default() }
    }

    fn read(chunks: &[&str]) -> Vec<Event> {
        let (mut reader, mut events) = (Reader::new(1024), Vec::new());
        for chunk in chunks {
            reader.push(chunk.as_bytes(), &mut events).expect("small enough");
        }
        events
    }

    #[test]
    fn events_are_read_as_browsers_read_them() {
        let named = |name: &str, text: &str| Event { event: Some(name.into()), ..data(text) };
        let cases: &[(&[&str], Vec<Event>)] = &[
            (&["event: message\ndata: {}\n\n"], vec![named("message", "{}")]),
            (&["data: {}\n\n"], vec![data("{}")]),
            (&["data:{}\r\rdata:  []\r\n\r\n"], vec![data("{}"), data(" []")]),
            (&["data: {}\r", "\n", "\r", "\n"], vec![data("{}")]),
            (&["data: a\r", "\r", "data: b\n\n"], vec![data("a"), data("b")]),
            (&["\u{feff}data: {}\n\n"], vec![data("{}")]),
            (&["\n\u{feff}data: {}\n\n"], vec![]),
            (&["data: a\ndata: b\ndata\n\n"], vec![data("a\nb\n")]),
            (&[": ping\n\n:\n\ndata: {}\n\n"], vec![data("{}")]),
            (&["da", "ta", ":", " ", "{}", "\n", "\n"], vec![data("{}")]),
            (&["event: x\n\ndata: {}\n\n"], vec![data("{}")]),
            (&["event:\ndata: {}\n\n"], vec![data("{}")]),
            (&["id: 1\ndata:\n\n"], vec![Event { id: Some("1".into()), ..data("") }]),
            (&["id: 1\nretry: 500\n\ndata: {}\n\n"], vec![Event { id: Some("1".into()), retry_ms: Some(500), ..data("{}") }]),
            (&["id: 1\ndata: a\n\ndata: b\n\n"], vec![Event { id: Some("1".into()), ..data("a") }, data("b")]),
            (&["id: 1\nid: a\0b\ndata: a\n\n"], vec![Event { id: Some("1".into()), ..data("a") }]),
            (&["id\ndata: a\n\n"], vec![Event { id: Some(String::new()), ..data("a") }]),
            (&["retry: 7\nretry: 5s\nretry:\nretry: -1\ndata: a\n\n"], vec![Event { retry_ms: Some(7), ..data("a") }]),
            (&["retry: 99999999999999999999\ndata: a\n\n"], vec![data("a")]),
            (&["future: x\nDATA: b\n data: c\ndata: a\n\n"], vec![data("a")]),
            (&["data: unfinished\n"], vec![]),
        ];
        for (chunks, expected) in cases {
            assert_eq!(&read(chunks), expected, "{chunks:?}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_replaced_even_when_split() {
        let (mut reader, mut events) = (Reader::new(64), Vec::new());
        for byte in b"data: \xc3\xa9\xff\n\n" {
            reader.push(&[*byte], &mut events).expect("small enough");
        }
        assert_eq!(events, [data("é\u{fffd}")]);
    }

    #[test]
    fn an_event_beyond_the_limit_ends_the_stream() {
        let too_large = Err(SseError::TooLarge { limit_bytes: 16 });
        for (chunks, expected) in [
            (vec!["data: 0123456789\n\n"], Ok(())),
            (vec!["data: 0123456789a\n\n"], too_large),
            (vec!["data: 01", "23456789", "a"], too_large),
            (vec!["data: 01\ndata: 23\n", "data: 45\ndata: 67\n", "data: 89\n"], too_large),
            (vec![": a long comment!"], too_large),
            (vec!["data: 0123456789a\n\n", "data: a\n\n"], too_large),
        ] {
            let (mut reader, mut events) = (Reader::new(16), Vec::new());
            let outcome = chunks.iter().map(|chunk| reader.push(chunk.as_bytes(), &mut events)).last();
            assert_eq!(outcome, Some(expected), "{chunks:?}");
            assert_eq!(events.len(), usize::from(expected.is_ok()), "{chunks:?}");
        }
    }

    #[test]
    fn a_message_is_framed_and_a_large_one_is_shared() {
        let small = message(Body::one(Bytes::from_static(b"{}")));
        assert_eq!(&small.to_bytes()[..], b"event: message\ndata: {}\n\n");
        assert_eq!(small.pieces().len(), 1);

        let payload = Bytes::from(vec![b'1'; COPY_BYTES_MAX + 1]);
        let large = message(Body::one(payload.clone()));
        let pieces: Vec<_> = large.pieces().iter().map(|piece| piece.as_ptr()).collect();
        assert!(pieces.contains(&payload.as_ptr()));
        assert_eq!(read_all(&large.to_bytes()), [Event { event: Some("message".into()), ..data(&"1".repeat(COPY_BYTES_MAX + 1)) }]);
    }

    #[test]
    fn a_numbered_message_is_the_same_message_with_an_id() {
        for len in [1, COPY_BYTES_MAX, COPY_BYTES_MAX + 1] {
            let body = Body::one(Bytes::from(vec![b'1'; len]));
            let plain = read_all(&message(body.clone()).to_bytes());
            let own = read_all(&numbered("7-3", body).to_bytes());
            assert_eq!(own, [Event { id: Some("7-3".into()), ..plain[0].clone() }]);
        }
    }

    fn read_all(bytes: &[u8]) -> Vec<Event> {
        let (mut reader, mut events) = (Reader::new(1 << 20), Vec::new());
        reader.push(bytes, &mut events).expect("small enough");
        events
    }

    #[test]
    fn an_event_cannot_smuggle_another_field() {
        let written =
            event(&Event { event: Some("a\ndata: x".into()), data: "b\rc\r\nd".into(), id: Some("1\n2".into()), retry_ms: Some(5) });
        assert_eq!(written, "event: a data: x\nid: 1 2\nretry: 5\ndata: b\ndata: c\ndata: d\n\n");
        assert_eq!(event(&data("")), "data:\n\n");
        assert_eq!(read_all(&[comment(), event(&data("a"))].concat()), [data("a")]);
    }

    proptest! {
        #[test]
        fn reading_does_not_depend_on_chunking(seed: u8, input in "((data|id|event|retry|x)?:? ?[a0é]{0,6}(\r|\n|\r\n)){0,20}") {
            fuzz_sse(&[&[seed], input.as_bytes()].concat());
        }

        #[test]
        fn reading_takes_any_bytes(input: Vec<u8>) {
            fuzz_sse(&input);
        }

        #[test]
        fn what_is_written_reads_the_same(name in "[a-z]{1,8}", text in "[ a:é\n]{0,40}", id in "[ -~]{0,8}", ms: u64) {
            let original = Event { event: Some(name), data: text, id: Some(id), retry_ms: Some(ms) };
            prop_assert_eq!(read_all(&event(&original)), [original]);
        }
    }
}
