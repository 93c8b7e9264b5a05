//! What one server has asked and not been answered yet, and the answers it has not read yet.
//!
//! A server may give the same id again once it was answered, so each question has a number of its own besides. Answers have places
//! of their own, never those of calls or cancellations: there are as many as questions may be open.

use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    sync::Weak,
};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::inbox::Inbox;
use crate::{limits, mux::WireId, protocol::RequestId, random};

#[derive(Debug, Default)]
pub(super) struct Questions {
    open: HashMap<RequestId, Asked, random::State>,
    /// Whole lines.
    answers: VecDeque<Bytes>,
    serial: u64,
}

#[derive(Debug)]
pub(super) struct Asked {
    serial: u64,
    /// `None`: the session whose connection it is.
    pub(super) asked: Option<Weak<Inbox>>,
    /// Calls that wait for the answer, or may.
    pub(super) paused: Vec<WireId>,
    /// Dropped with the question.
    open: Option<oneshot::Sender<Infallible>>,
}

impl Questions {
    /// Whether it is open now: then nobody could tell the two apart.
    pub(super) fn is_open(&self, id: &RequestId) -> bool {
        self.open.contains_key(id)
    }

    #[cfg(test)]
    pub(super) fn open_count(&self) -> usize {
        self.open.len()
    }

    pub(super) fn has_room(&self) -> bool {
        self.open.len() + self.answers.len() < limits::SERVER_QUESTIONS_MAX
    }

    /// Returns its number.
    pub(super) fn open(&mut self, id: RequestId, asked: Option<Weak<Inbox>>, paused: Vec<WireId>) -> u64 {
        self.serial += 1;
        self.open.insert(id, Asked { serial: self.serial, asked, paused, open: None });
        self.serial
    }

    /// Resolves when the question of that number is closed, however that is.
    pub(super) fn closed(&mut self, id: &RequestId, serial: u64) -> Option<oneshot::Receiver<Infallible>> {
        let (open, closed) = oneshot::channel();
        self.current(id, serial)?.open = Some(open);
        Some(closed)
    }

    /// What may be said while the question of that number is open: in front of its answer. `false`: it is not, or others wait to be read.
    pub(super) fn say(&mut self, id: &RequestId, serial: u64, line: Bytes) -> bool {
        let may_say = self.answers.is_empty() && self.current(id, serial).is_some();
        if may_say {
            self.answers.push_back(line);
        }
        may_say
    }

    pub(super) fn is_current(&mut self, id: &RequestId, serial: u64) -> bool {
        self.current(id, serial).is_some()
    }

    fn current(&mut self, id: &RequestId, serial: u64) -> Option<&mut Asked> {
        self.open.get_mut(id).filter(|asked| asked.serial == serial)
    }

    /// `Some` once, for the question of that number.
    pub(super) fn close(&mut self, id: &RequestId, serial: u64) -> Option<Asked> {
        if self.is_current(id, serial) { self.open.remove(id) } else { None }
    }

    /// The server takes it back.
    pub(super) fn withdraw(&mut self, id: &RequestId) -> Option<Asked> {
        self.open.remove(id)
    }

    /// The connection has ended, or what asked on it.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = (RequestId, Asked)> {
        self.answers.clear();
        self.open.drain()
    }

    pub(super) fn answer(&mut self, line: Bytes) {
        self.answers.push_back(line);
    }

    /// Appends up to `max` answers, the oldest first.
    pub(super) fn take(&mut self, lines: &mut Vec<Bytes>, max: usize) {
        lines.extend(self.answers.drain(..max.min(self.answers.len())));
    }
}
