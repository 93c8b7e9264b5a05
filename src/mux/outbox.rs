//! Messages waiting for one pipe.

use bytes::Bytes;
use std::collections::VecDeque;

/// Bounded in count and bytes. What `take` handed out is the writer's and no longer counts.
#[derive(Debug)]
pub struct Outbox {
    lines: VecDeque<Bytes>,
    bytes: usize,
    messages_max: usize,
    bytes_max: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the write queue is full")]
pub struct OutboxFull;

impl Outbox {
    pub fn new(messages_max: usize, bytes_max: usize) -> Self {
        Self { lines: VecDeque::new(), bytes: 0, messages_max, bytes_max }
    }

    /// A message larger than `bytes_max` is accepted when the box is empty, else it could never be sent.
    ///
    /// # Errors
    /// Hands the message back when the box is full; nothing is dropped.
    pub fn push(&mut self, line: Bytes) -> Result<(), (OutboxFull, Bytes)> {
        let bytes = self.bytes.saturating_add(line.len());
        let fits = self.lines.is_empty() || bytes <= self.bytes_max;
        if !fits || self.lines.len() >= self.messages_max {
            return Err((OutboxFull, line));
        }
        self.bytes = bytes;
        self.lines.push_back(line);
        Ok(())
    }

    /// Appends up to `max` lines, the oldest first, for one vectored write.
    pub fn take(&mut self, out: &mut Vec<Bytes>, max: usize) {
        for line in self.lines.drain(..max.min(self.lines.len())) {
            self.bytes -= line.len();
            out.push(line);
        }
    }

    pub fn len(&self) -> usize {
        self.lines.len()
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_box_is_bounded_in_count_and_bytes() {
        let cases: [(&[usize], usize); 5] = [(&[1, 1, 1, 1], 3), (&[4, 4, 4], 2), (&[9, 1], 1), (&[8, 1], 1), (&[0, 0, 9], 2)];
        for (sizes, accepted) in cases {
            let mut outbox = Outbox::new(3, 8);
            let pushed = sizes.iter().take_while(|size| outbox.push(Bytes::from(vec![b'x'; **size])).is_ok()).count();
            assert_eq!((pushed, outbox.len()), (accepted, accepted), "{sizes:?}");
            assert_eq!(outbox.bytes(), sizes.iter().take(accepted).sum::<usize>());
        }
    }

    #[test]
    fn lines_leave_in_the_order_they_came_and_make_room() {
        let mut outbox = Outbox::new(3, 100);
        for line in ["a", "bb", "ccc"] {
            outbox.push(line.into()).unwrap();
        }
        assert_eq!(outbox.push("d".into()), Err((OutboxFull, "d".into())));
        let mut out = vec![Bytes::from("earlier")];
        outbox.take(&mut out, 2);
        assert_eq!(out, ["earlier", "a", "bb"]);
        assert_eq!((outbox.len(), outbox.bytes()), (1, 3));
        outbox.push("d".into()).unwrap();
        outbox.take(&mut out, usize::MAX);
        assert_eq!(out, ["earlier", "a", "bb", "ccc", "d"]);
        assert!(outbox.is_empty());
    }
}
