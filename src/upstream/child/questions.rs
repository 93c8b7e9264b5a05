//! What one server has asked and not been answered yet, and the answers it has not read yet.
//!
//! A server may give the same id again once it was answered, so each question has a number of its own besides. Answers have places
//! of their own, never those of calls or cancellations: there are as many as questions may be open.

use std::{
    collections::{HashMap, VecDeque},
    sync::Weak,
};

use bytes::Bytes;

use crate::{limits, mux::WireId, protocol::RequestId, random, upstream::inbox::Inbox};

#[derive(Debug, Default)]
pub(in crate::upstream) struct Questions {
    open: HashMap<RequestId, Asked, random::State>,
    /// Whole lines.
    answers: VecDeque<Bytes>,
    serial: u64,
}

#[derive(Debug)]
pub(in crate::upstream) struct Asked {
    serial: u64,
    /// `None`: the session whose connection it is.
    pub(in crate::upstream) asked: Option<Weak<Inbox>>,
    /// Calls that wait for the answer, or may.
    pub(in crate::upstream) paused: Vec<WireId>,
}

impl Questions {
    /// Whether it is open now: then nobody could tell the two apart.
    pub(in crate::upstream) fn is_open(&self, id: &RequestId) -> bool {
        self.open.contains_key(id)
    }

    #[cfg(test)]
    pub(in crate::upstream) fn open_count(&self) -> usize {
        self.open.len()
    }

    pub(in crate::upstream) fn has_room(&self) -> bool {
        self.open.len() + self.answers.len() < limits::SERVER_QUESTIONS_MAX
    }

    /// Returns its number.
    pub(in crate::upstream) fn open(&mut self, id: RequestId, asked: Option<Weak<Inbox>>, paused: Vec<WireId>) -> u64 {
        self.serial += 1;
        self.open.insert(id, Asked { serial: self.serial, asked, paused });
        self.serial
    }

    /// `Some` once, for the question of that number.
    pub(in crate::upstream) fn close(&mut self, id: &RequestId, serial: u64) -> Option<Asked> {
        if self.open.get(id)?.serial == serial { self.open.remove(id) } else { None }
    }

    /// The server takes it back.
    pub(in crate::upstream) fn withdraw(&mut self, id: &RequestId) -> Option<Asked> {
        self.open.remove(id)
    }

    /// The connection has ended.
    pub(in crate::upstream) fn drain(&mut self) -> impl Iterator<Item = (RequestId, Asked)> {
        self.answers.clear();
        self.open.drain()
    }

    pub(in crate::upstream) fn answer(&mut self, line: Bytes) {
        self.answers.push_back(line);
    }

    /// Appends up to `max` answers, the oldest first.
    pub(in crate::upstream) fn take(&mut self, lines: &mut Vec<Bytes>, max: usize) {
        lines.extend(self.answers.drain(..max.min(self.answers.len())));
    }
}
