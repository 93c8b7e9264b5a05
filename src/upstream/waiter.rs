//! Who waits for the answer to one open call.

use std::{convert::Infallible, sync::Arc};

use tokio::{sync::oneshot, time::Instant};

use super::{Event, UpstreamError, exchange::Wants, inbox::Inbox};
use crate::{mux::Deadline, name::ServerId};

#[derive(Debug)]
pub(super) struct Waiter {
    answer: oneshot::Sender<Event>,
    pub(super) inbox: Option<Arc<Inbox>>,
    pub(super) wants: Wants,
    pub(super) deadline: Deadline,
    since: Instant,
    /// Dropped with the waiter, which ends the task that carries the call, if it has one.
    alive: Option<oneshot::Sender<Infallible>>,
}

impl Waiter {
    /// And where its answer arrives.
    pub(super) fn new(wants: Wants, deadline: Deadline, now: Instant) -> (Self, oneshot::Receiver<Event>) {
        let (answer, answered) = oneshot::channel();
        let inbox = wants.has_inbox().then(|| Arc::new(Inbox::new(now)));
        (Self { answer, inbox, wants, deadline, since: now, alive: None }, answered)
    }

    /// Resolves when nobody waits any more.
    pub(super) fn gone(&mut self) -> oneshot::Receiver<Infallible> {
        let (alive, gone) = oneshot::channel();
        self.alive = Some(alive);
        gone
    }

    pub(super) fn can_be_asked(&self) -> bool {
        self.wants.asks && self.inbox.as_ref().is_some_and(|inbox| !inbox.is_closed())
    }

    pub(super) fn end(self, event: Event) {
        // The caller may have left in this very moment.
        let _ = self.answer.send(event);
    }

    pub(super) fn time_out(self, server: &ServerId, now: Instant) {
        let Deadline { call, call_max } = self.deadline;
        let is_past_max = call != call_max && now.saturating_duration_since(self.since) >= call_max;
        let (wait, setting) = if is_past_max { (call_max, "timeouts.call_max") } else { (call, "timeouts.call") };
        let error = UpstreamError::timed_out(server, wait, (!self.wants.is_hubs).then_some(setting));
        self.end(Event::Failed(error));
    }
}
