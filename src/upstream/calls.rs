//! The open calls of one connection, whatever carries them, and what its server has asked. Lives behind the connection's lock.
//!
//! Places: a call is taken while fewer than `queue` are in flight; a quiet request of the hub's own has a place of its own.
//!
//! Who is asked: a question that came with one call is for its caller and nobody else. Else nothing says for which call a server asks:
//! the newest call that may be asked is, else the session whose connection it is, else nobody (`-32601`). While a question is open
//! every call that it may belong to waits for somebody else than the server: `timeouts.call` rests, `timeouts.call_max` does not.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use tokio::time::Instant;

use super::{
    Event, UpstreamError, What,
    exchange::Wants,
    inbox::Inbox,
    news::Outlet,
    questions::{Asked, Questions},
    status::Noise,
    strays::Strays,
    waiter::Waiter,
};
use crate::{
    limits,
    mux::{Connection, WireId},
    name::ServerId,
    protocol::RequestId,
};

/// Most quiet requests of one connection at a time: two listens while they change, a log level, and a sign of life.
pub(super) const QUIET_MAX: usize = 4;

/// Answered calls of one connection whose progress goes on; of one more, nobody hears.
const LINGERING_MAX: usize = 256;

#[derive(Debug)]
pub(super) struct Calls {
    connection: Connection<Waiter>,
    pub(super) questions: Questions,
    queue: usize,
    /// Of the open calls, those that take no place of a caller's.
    quiet: usize,
    /// Those and the hub's other own.
    hubs: usize,
    is_closed: bool,
    /// A task was asked for: until when one lives, nobody here knows.
    has_tasks: bool,
    /// Of callers.
    strays: Strays,
    /// Answered calls of which the server may say more.
    lingering: Vec<(WireId, Weak<Inbox>)>,
}

/// To whom a question goes.
pub(super) enum Asking {
    /// Under the id of one that is open: nobody could tell the two apart, so it gets no answer of its own.
    Twice,
    Nobody,
    Somebody {
        /// `None`: the session whose connection it is.
        inbox: Option<Arc<Inbox>>,
        serial: u64,
    },
}

/// What was open when the connection ended.
#[must_use]
pub(super) struct Left {
    waiters: Vec<(WireId, Waiter)>,
    questions: Vec<(RequestId, Asked)>,
}

impl Left {
    /// Not under the lock.
    pub(super) fn end(self, error: &UpstreamError, outlet: &Outlet) {
        for (_, waiter) in self.waiters {
            waiter.end(Event::Failed(error.clone()));
        }
        // Those that calls were asked went with the calls.
        for (id, _) in self.questions.into_iter().filter(|(_, asked)| asked.asked.is_none()) {
            outlet.tell(What::Withdrawn(id));
        }
    }
}

impl Calls {
    pub(super) fn new(queue: usize) -> Self {
        Self {
            connection: Connection::new(queue.saturating_add(QUIET_MAX)),
            questions: Questions::default(),
            queue,
            quiet: 0,
            hubs: 0,
            is_closed: false,
            has_tasks: false,
            strays: Strays::default(),
            lingering: Vec::new(),
        }
    }

    /// Calls without an answer, quiet ones aside.
    pub(super) fn in_flight(&self) -> usize {
        self.connection.in_flight().saturating_sub(self.quiet)
    }

    pub(super) fn has_place(&self) -> bool {
        self.in_flight() < self.queue
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// As far as answers make it.
    pub(super) fn noise(&self) -> Noise {
        let counters = self.connection.counters();
        Noise { late_answers: counters.late + counters.repeated, unknown_answers: counters.unknown, ..Noise::default() }
    }

    /// What is not as it was before the first call, listens aside.
    #[cfg(test)]
    pub(super) fn left(&self) -> Vec<String> {
        let counts = [
            ("calls", self.in_flight()),
            ("questions", self.questions.open_count()),
            ("requests of the hub's own", self.hubs.saturating_sub(self.quiet)),
            ("quiet requests too many", self.quiet.saturating_sub(1)),
        ];
        counts.into_iter().filter(|(_, count)| *count > 0).map(|(what, count)| format!("{count} {what}")).collect()
    }

    /// When `expire` is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.connection.poll_timeout().map(Instant::from_std)
    }

    /// `has_room`: besides a place, for what is not quiet.
    ///
    /// # Errors
    /// `Crashed`: the connection is over. `Busy`: wait for room.
    pub(super) fn open(&mut self, server: &ServerId, waiter: Waiter, has_room: bool, now: Instant) -> Result<WireId, UpstreamError> {
        let (wants, deadline) = (waiter.wants, waiter.deadline);
        if self.is_closed {
            return Err(UpstreamError::gone(server));
        }
        let has_place = if wants.is_quiet { self.quiet < QUIET_MAX } else { has_room && self.has_place() };
        if !has_place {
            return Err(UpstreamError::busy(server));
        }
        let wire = self.connection.open(waiter, deadline, now.into_std()).map_err(|_| UpstreamError::busy(server))?;
        self.quiet += usize::from(wants.is_quiet);
        self.hubs += usize::from(wants.is_hubs);
        Ok(wire)
    }

    /// It was answered.
    pub(super) fn take(&mut self, wire: WireId) -> Option<Waiter> {
        self.strays.end(wire);
        let waiter = self.connection.handle_answer(wire)?;
        self.has_tasks |= waiter.wants.begins_task;
        self.forget(waiter.wants);
        if let Some(inbox) = waiter.inbox.as_ref().filter(|_| waiter.wants.lingers) {
            self.lingering.retain(|(_, inbox)| inbox.strong_count() > 0);
            if self.lingering.len() < LINGERING_MAX {
                self.lingering.push((wire, Arc::downgrade(inbox)));
            }
        }
        Some(waiter)
    }

    /// Its answer was lost on the way: the server may be at work on it.
    pub(super) fn lose(&mut self, wire: WireId) -> Option<Waiter> {
        let waiter = self.take(wire)?;
        self.stray(wire, &waiter, Instant::now());
        Some(waiter)
    }

    /// It was not sent.
    pub(super) fn unopen(&mut self, wire: WireId) {
        if let Some(waiter) = self.connection.cancel(wire) {
            self.forget(waiter.wants);
        }
    }

    /// It was given up.
    pub(super) fn cancel(&mut self, wire: WireId) -> Option<Waiter> {
        let waiter = self.connection.cancel(wire)?;
        self.forget(waiter.wants);
        self.stray(wire, &waiter, Instant::now());
        Some(waiter)
    }

    /// Those that took too long.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<(WireId, Waiter)> {
        let mut expired = Vec::new();
        self.connection.handle_timeout(now.into_std(), &mut expired);
        for (wire, waiter) in &expired {
            self.forget(waiter.wants);
            self.stray(*wire, waiter, now);
        }
        expired
    }

    /// Until its answer comes after all, or its server can be taken to have stopped.
    fn stray(&mut self, wire: WireId, given_up: &Waiter, now: Instant) {
        if !given_up.wants.is_hubs {
            self.strays.add(wire, now + limits::STRAY, now);
        }
    }

    /// Until when the server may ask for a call whose caller has left; `None`: it has none in hand.
    pub(super) fn strays_until(&self, now: Instant) -> Option<Instant> {
        self.strays.until(now)
    }

    /// Nothing is opened from now on.
    pub(super) fn close(&mut self) -> Left {
        self.is_closed = true;
        (self.quiet, self.hubs) = (0, 0);
        Left { waiters: self.connection.close(), questions: self.questions.drain().collect() }
    }

    fn forget(&mut self, over: Wants) {
        self.quiet -= usize::from(over.is_quiet);
        self.hubs -= usize::from(over.is_hubs);
    }

    /// Renews the deadline; `Some` where the caller wants to hear of it.
    pub(super) fn progress(&mut self, wire: WireId, now: Instant) -> Option<Arc<Inbox>> {
        match self.connection.handle_progress(wire, now.into_std()) {
            Some(waiter) => waiter.inbox.clone().filter(|_| waiter.wants.progress),
            None => self.lingering.iter().find(|(lingering, _)| *lingering == wire)?.1.upgrade(),
        }
    }

    pub(super) fn inbox_of(&self, wire: WireId) -> Option<Arc<Inbox>> {
        self.find(wire)?.inbox.clone()
    }

    pub(super) fn is_quiet(&self, wire: WireId) -> bool {
        self.find(wire).is_some_and(|waiter| waiter.wants.is_quiet)
    }

    /// Whether the server may be at work on what no open call tells of: tasks.
    pub(super) fn has_tasks(&self) -> bool {
        self.has_tasks
    }

    /// Of the only call of a caller's, if it has one and the server has no other in hand. What a server says of the hub's own requests may go there too: it is nobody else's.
    pub(super) fn only_inbox(&self, now: Instant) -> Option<Arc<Inbox>> {
        if self.strays.until(now).is_some() || self.connection.in_flight() != self.hubs + 1 {
            return None;
        }
        self.connection.open_calls().find(|(_, waiter)| !waiter.wants.is_hubs)?.1.inbox.clone()
    }

    /// Of the newest call that may be asked.
    pub(super) fn newest_asked(&self) -> Option<Arc<Inbox>> {
        self.connection.newest(Waiter::can_be_asked)?.1.inbox.clone()
    }

    fn find(&self, wire: WireId) -> Option<&Waiter> {
        self.connection.open_calls().find(|(open, _)| *open == wire).map(|(_, waiter)| waiter)
    }

    /// Opens a question. `wire`: the call it came with. `has_session`: a session can be asked where no call says whose it is.
    pub(super) fn ask(&mut self, id: &RequestId, wire: Option<WireId>, has_session: bool) -> Asking {
        if self.is_closed || self.questions.is_open(id) {
            return Asking::Twice;
        }
        let asked = match wire {
            Some(wire) => self.find(wire).filter(|waiter| waiter.can_be_asked()),
            None => self.connection.newest(Waiter::can_be_asked).map(|(_, waiter)| waiter),
        };
        let inbox = asked.and_then(|waiter| waiter.inbox.clone());
        let has_somebody = inbox.is_some() || (wire.is_none() && has_session);
        if !has_somebody || !self.questions.has_room() {
            return Asking::Nobody;
        }
        let waits = |open: WireId, waiter: &Waiter| wire.map_or_else(|| waiter.can_be_asked(), |wire| wire == open);
        let waiting = self.connection.open_calls().filter(|(open, waiter)| waits(*open, waiter));
        let paused: Vec<_> = waiting.map(|(open, _)| open).collect();
        for wire in &paused {
            self.connection.pause(*wire);
        }
        let serial = self.questions.open(id.clone(), inbox.as_ref().map(Arc::downgrade), paused);
        Asking::Somebody { inbox, serial }
    }

    /// Somebody answered. `false`: too late, it was taken back; or the connection is over.
    pub(super) fn answered(&mut self, id: &RequestId, serial: u64, now: Instant) -> bool {
        let Some(asked) = self.questions.close(id, serial) else { return false };
        self.resume(&asked, now);
        !self.is_closed
    }

    /// The server takes it back. `Some` of who was asked (`None`: the session), if it was open.
    pub(super) fn withdraw(&mut self, id: &RequestId, now: Instant) -> Option<Option<Weak<Inbox>>> {
        let asked = self.questions.withdraw(id)?;
        self.resume(&asked, now);
        Some(asked.asked)
    }

    /// Who asked can be answered no more, though the connection goes on: all of its questions, and who was asked.
    pub(super) fn withdraw_all(&mut self, now: Instant) -> Vec<(RequestId, Option<Weak<Inbox>>)> {
        let open: Vec<_> = self.questions.drain().collect();
        for (_, asked) in &open {
            self.resume(asked, now);
        }
        open.into_iter().map(|(id, asked)| (id, asked.asked)).collect()
    }

    fn resume(&mut self, asked: &Asked, now: Instant) {
        for wire in &asked.paused {
            self.connection.resume(*wire, now.into_std());
        }
    }

    /// Appends up to `max` answers to questions, the oldest first.
    pub(super) fn take_replies(&mut self, lines: &mut Vec<Bytes>, max: usize) {
        self.questions.take(lines, max);
    }
}
