//! What a server writes on stderr: kept in a ring, logged line by line. Always read, so that no server blocks on it.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::{limits, name::ServerId};

/// Longer lines are logged in pieces.
const LOGGED_LINE_BYTES_MAX: usize = 4 << 10;
const READ_BYTES: usize = 4 << 10;

/// The last `STDERR_RING_BYTES` of all instances of one server.
#[derive(Debug, Default)]
pub(in crate::upstream) struct Ring(Mutex<VecDeque<u8>>);

impl Ring {
    pub(in crate::upstream) fn text(&self) -> String {
        let ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (head, tail) = ring.as_slices();
        String::from_utf8_lossy(&[head, tail].concat()).into_owned()
    }

    fn push(&self, bytes: &[u8]) {
        let mut ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let over = (ring.len() + bytes.len()).saturating_sub(limits::STDERR_RING_BYTES);
        let over = over.min(ring.len());
        ring.drain(..over);
        ring.extend(bytes);
    }
}

/// Ends with the pipe.
pub(in crate::upstream) async fn drain(mut stderr: impl AsyncRead + Unpin, ring: &Ring, server: &ServerId) {
    let mut buffer = Vec::with_capacity(READ_BYTES);
    let mut logged = 0;
    loop {
        match stderr.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        ring.push(buffer.get(logged..).unwrap_or_default());
        let mut rest = buffer.as_slice();
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, after) = rest.split_at(end);
            log(server, line);
            rest = after.get(1..).unwrap_or_default();
        }
        if rest.len() >= LOGGED_LINE_BYTES_MAX {
            log(server, rest);
            rest = &[];
        }
        let kept = rest.len();
        buffer.drain(..buffer.len() - kept);
        logged = kept;
    }
    log(server, &buffer);
}

fn log(server: &ServerId, line: &[u8]) {
    if !line.trim_ascii().is_empty() {
        tracing::debug!(server = %server, line = %String::from_utf8_lossy(line), "stderr");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_ring_keeps_the_end_of_what_was_written() {
        let server = crate::upstream::tests::server_id();
        let ring = Ring::default();
        let mut text = vec![b'a'; limits::STDERR_RING_BYTES];
        text.extend_from_slice(b"\nlast line");
        drain(text.as_slice(), &ring, &server).await;
        let kept = ring.text();
        assert_eq!(kept.len(), limits::STDERR_RING_BYTES);
        assert!(kept.ends_with("a\nlast line"));
        drain(&b"one\ntwo"[..], &ring, &server).await;
        assert!(ring.text().ends_with("a\nlast lineone\ntwo"));
    }
}
