//! Messages out of bodies: one, a batch (2025-03-26), or a stream of events.

use std::{collections::VecDeque, time::Duration};

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use super::fault::Fault;
use crate::{
    limits,
    net::body::Stream,
    protocol::{Message, ScanError, scan, sse},
};

/// A stream of server-sent events, over all the connections it came on.
pub(super) struct Events {
    body: Stream,
    reader: sse::Reader,
    event_bytes_max: usize,
    ready: VecDeque<sse::Event>,
    /// Of the last event that had one.
    pub(super) last_id: Option<String>,
    pub(super) retry_ms: Option<u64>,
}

impl Events {
    pub(super) fn new(body: Stream, event_bytes_max: usize) -> Self {
        let reader = sse::Reader::new(event_bytes_max);
        Self { body, reader, event_bytes_max, ready: VecDeque::new(), last_id: None, retry_ms: None }
    }

    /// The stream goes on over another connection.
    pub(super) fn resume(&mut self, body: Stream) {
        self.body = body;
        self.reader = sse::Reader::new(self.event_bytes_max);
    }

    /// The next event that holds anything; `None` at the end. Cancel-safe.
    ///
    /// # Errors
    /// The connection was lost, or an event is too large.
    pub(super) async fn next(&mut self) -> Result<Option<sse::Event>, Fault> {
        loop {
            while let Some(mut event) = self.ready.pop_front() {
                self.retry_ms = event.retry_ms.or(self.retry_ms);
                if let Some(id) = event.id.take() {
                    self.last_id = Some(id).filter(|id| !id.is_empty());
                }
                // An event without data only brings its id (2025-11-25, Sending Messages to the Server).
                if !event.data.is_empty() {
                    return Ok(Some(event));
                }
            }
            let Some(piece) = self.body.next().await? else { return Ok(None) };
            let mut events = Vec::new();
            let read = self.reader.push(&piece, &mut events);
            self.ready.extend(events);
            if read.is_err() && self.ready.is_empty() {
                return Err(Fault::NoAnswer);
            }
        }
    }

    /// Before the stream is taken up again, as the server asked for or as is usual.
    pub(super) fn wait(&self) -> Duration {
        let asked = self.retry_ms.map_or(limits::RESUME_WAIT, Duration::from_millis);
        asked.clamp(limits::RESUME_WAIT_MIN, limits::RESUME_WAIT_MAX)
    }

    /// Reads on to the end without looking, so that the connection can be used again.
    pub(super) async fn finish(mut self) {
        while let Ok(Some(_)) = self.body.next().await {}
    }
}

/// What one JSON body, or the data of one event, holds. On one line each: line ends stand only between tokens, and spaces do as well.
pub(super) fn messages(bytes: Bytes) -> Result<SmallVec<[Message; 1]>, ScanError> {
    let bytes = one_line(bytes);
    if bytes.trim_ascii_start().first() != Some(&b'[') {
        return Message::parse(bytes).map(|message| SmallVec::from_buf([message]));
    }
    scan::elements(&bytes)?.into_iter().map(|span| Message::parse(bytes.slice_ref(span.of(&bytes)))).collect()
}

fn one_line(bytes: Bytes) -> Bytes {
    if memchr::memchr2(b'\r', b'\n', &bytes).is_none() {
        return bytes;
    }
    let mut bytes = BytesMut::from(bytes);
    bytes.iter_mut().filter(|byte| matches!(byte, b'\r' | b'\n')).for_each(|byte| *byte = b' ');
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_holds_one_message_or_a_batch_each_on_one_line() {
        for (text, expected) in [
            (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, Some(vec![r#"{"jsonrpc":"2.0","id":1,"result":{}}"#])),
            ("{\r\n \"jsonrpc\":\"2.0\",\n\"id\":1,\"result\":{}}\n", Some(vec!["{   \"jsonrpc\":\"2.0\", \"id\":1,\"result\":{}} "])),
            (
                "[{\"jsonrpc\":\"2.0\",\"method\":\"a\"},\n{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}]",
                Some(vec![r#"{"jsonrpc":"2.0","method":"a"}"#, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#]),
            ),
            ("", None),
            ("<html>", None),
            ("[{]", None),
        ] {
            let found = messages(Bytes::copy_from_slice(text.as_bytes())).ok();
            let found =
                found.map(|found| found.iter().map(|message| String::from_utf8(message.bytes().to_vec()).unwrap()).collect::<Vec<_>>());
            assert_eq!(found, expected.map(|expected| expected.into_iter().map(ToOwned::to_owned).collect::<Vec<_>>()), "{text}");
        }
    }
}
