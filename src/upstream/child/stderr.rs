//! What a server writes on stderr: logged line by line, its last lines kept for when it ends. Always read, so that no server blocks on it.
//!
//! Neither the log nor what is kept holds a secret that the server was started with.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::task::TaskTracker;

use crate::{config::veil::Veil, limits, name::ServerId};

/// Longer lines are read as far as this.
const LINE_BYTES_MAX: usize = 4 << 10;
const READ_BYTES: usize = 4 << 10;

/// The stderr of one process, while it is read.
#[derive(Debug)]
pub(in crate::upstream) struct Stderr {
    task: JoinHandle<()>,
    words: Arc<Words>,
}

impl Stderr {
    pub(in crate::upstream) fn read(
        pipe: impl AsyncRead + Unpin + Send + 'static,
        server: &ServerId,
        veil: &Veil,
        tasks: &TaskTracker,
    ) -> Self {
        let words = Arc::new(Words::default());
        let (kept, server, veil) = (Arc::clone(&words), server.clone(), veil.clone());
        Self { task: tasks.spawn(async move { drain(pipe, &kept, &server, &veil).await }), words }
    }

    /// Of a process that is gone: the line that says most of why. Waits at most `patience` for the end of the pipe, which somebody who
    /// left the group of the process may hold open for ever.
    pub(in crate::upstream) async fn last_words(mut self, patience: Duration) -> Option<String> {
        if timeout(patience, &mut self.task).await.is_err() {
            self.task.abort();
        }
        self.words.telling()
    }
}

/// The last lines: each one line of visible characters, without secrets.
#[derive(Debug, Default)]
struct Words(Mutex<VecDeque<String>>);

impl Words {
    fn keep(&self, line: &str) {
        let mut words = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if words.len() >= limits::STDERR_LINES_KEPT {
            words.pop_front();
        }
        words.push_back(shortened(line));
    }

    /// The last one that speaks of an error, since runtimes say more after it (what to do, their version); else the last.
    fn telling(&self) -> Option<String> {
        let words = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        words.iter().rev().find(|line| is_of_error(line)).or_else(|| words.back()).cloned()
    }
}

/// Ends with the pipe.
async fn drain(mut stderr: impl AsyncRead + Unpin, words: &Words, server: &ServerId, veil: &Veil) {
    let mut buffer = Vec::with_capacity(READ_BYTES);
    // The rest of a line that was too long.
    let mut is_over = false;
    loop {
        match stderr.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        let mut rest = buffer.as_slice();
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, after) = rest.split_at(end);
            if !std::mem::take(&mut is_over) {
                hear(line, words, server, veil);
            }
            rest = after.get(1..).unwrap_or_default();
        }
        if rest.len() >= LINE_BYTES_MAX {
            if !std::mem::replace(&mut is_over, true) {
                tell(&beginning(rest, veil), words, server);
            }
            rest = &[];
        }
        let kept = rest.len();
        buffer.drain(..buffer.len() - kept);
    }
    if !is_over {
        hear(&buffer, words, server, veil);
    }
}

/// Of a line that was cut off. Its last bytes may be the beginning of a secret, which nobody would find.
fn beginning(line: &[u8], veil: &Veil) -> String {
    let line = visible(&String::from_utf8_lossy(line));
    let mut line = veil.over(&line).into_owned();
    line.truncate(line.floor_char_boundary(line.len().saturating_sub(veil.longest())));
    line
}

fn hear(line: &[u8], words: &Words, server: &ServerId, veil: &Veil) {
    let line = visible(&String::from_utf8_lossy(line));
    tell(&veil.over(&line), words, server);
}

fn tell(line: &str, words: &Words, server: &ServerId) {
    if !line.trim().is_empty() {
        tracing::debug!(server = %server, line, "stderr");
        words.keep(line);
    }
}

/// Without the control characters, and without what terminals read as colours.
fn visible(line: &str) -> String {
    let mut visible = String::with_capacity(line.len());
    let mut rest = line.chars();
    while let Some(char) = rest.next() {
        match char {
            '\u{1b}' if rest.as_str().starts_with('[') => {
                rest.next();
                rest.by_ref().find(|char| ('@'..='~').contains(char));
            }
            '\t' => visible.push(' '),
            // Of these some turn the direction of the text around.
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => {}
            char if char.is_control() => {}
            char => visible.push(char),
        }
    }
    visible
}

/// Indented lines are traces and quotations.
fn is_of_error(line: &str) -> bool {
    let lower = line.to_ascii_lowercase();
    !line.starts_with(' ') && ["error", "exception", "panic", "fatal"].iter().any(|word| lower.contains(word))
}

fn shortened(line: &str) -> String {
    let line = line.trim_end();
    if line.len() <= limits::STDERR_LINE_KEPT_BYTES {
        return line.to_owned();
    }
    let end = line.floor_char_boundary(limits::STDERR_LINE_KEPT_BYTES);
    format!("{}…", line.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn last_words(written: &[u8], secrets: &[&str]) -> Option<String> {
        let words = Words::default();
        drain(written, &words, &crate::upstream::tests::server_id(), &Veil::new(secrets.iter().copied())).await;
        assert!(words.0.lock().unwrap().len() <= limits::STDERR_LINES_KEPT);
        words.telling()
    }

    #[tokio::test]
    async fn the_line_that_says_most_is_told_without_secrets_and_control_characters() {
        let trace = "Traceback (most recent call last):\n  File \"<string>\", line 1\n    raise ValueError\nValueError: no s3cret\n";
        let node = "node:internal:1\n  throw err;\n\nError: Cannot find module 'x'\n    at y {\n  code: 'E'\n}\n\nNode.js v22.1.0\n";
        for (written, told) in [
            ("", None),
            ("\n \n\t\n", None),
            ("one\ntwo\n", Some("two")),
            ("one\ntwo", Some("two")),
            (trace, Some("ValueError: no ***")),
            (node, Some("Error: Cannot find module 'x'")),
            ("thread 'main' panicked at x.rs:1:1:\nnote: run with more\n", Some("thread 'main' panicked at x.rs:1:1:")),
            ("\u{1b}[31mred\u{1b}[0m\u{7}\u{202e} s3\u{0}cret\r\n", Some("red ***")),
        ] {
            assert_eq!(last_words(written.as_bytes(), &["s3cret"]).await.as_deref(), told, "{written:?}");
        }
        assert_eq!(last_words(b"\xff\n", &[]).await.as_deref(), Some("\u{fffd}"));
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded_and_a_long_line_is_told_from_its_beginning_without_half_a_secret() {
        let mut written = b"error: long ago\n".to_vec();
        for _ in 0..1000 {
            written.extend_from_slice(b"line\n");
        }
        assert_eq!(last_words(&written, &[]).await.as_deref(), Some("line"));

        let long = last_words(&vec![b'a'; 1 << 20], &[]).await.unwrap();
        assert_eq!(long, format!("{}…", "a".repeat(limits::STDERR_LINE_KEPT_BYTES)));

        // Wherever the cut is.
        let secret = "0123456789".repeat(30);
        let line = format!("beginning {secret} and more");
        for end in 0..line.len() {
            let told = beginning(&line.as_bytes()[..end], &Veil::new([secret.as_str()]));
            assert!(!told.contains("01"), "{end}: {told}");
        }
        assert_eq!(beginning(b"whole", &Veil::default()), "whole");
    }
}
