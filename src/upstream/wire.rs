//! A connection to a server, whatever carries it: the pipes of a child (or of what behaves like one), or HTTP.

use bytes::Bytes;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

use super::{
    Event, Exchange, Opening, UpstreamError, child,
    exchange::{Opened, Wants},
    instance::Use,
    remote,
    signs::Signs,
    status::Noise,
};
use crate::{
    bridge::outgoing,
    mux::{Deadline, WireId},
    protocol::{Message, Version, capability::Profile, code::Reason},
};

/// What carries a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    /// Or what behaves like one.
    Pipe,
    Http,
}

/// A handle. The connection ends by `close`, not by dropping handles.
#[derive(Clone, Debug)]
pub(super) enum Wire {
    Pipe(child::link::Link),
    Http(remote::link::Link),
}

impl Wire {
    /// Opens a request of the hub's own now, without waiting.
    ///
    /// # Errors
    /// `Busy`: wait for `ready`, then try again. `Crashed`: the connection is over, or its server is known to be out of reach.
    pub(super) fn open(&self, wants: Wants, deadline: Deadline, line: impl FnOnce(WireId) -> Bytes) -> Result<Opened, UpstreamError> {
        match self {
            Self::Pipe(link) => link.open(wants, deadline, line),
            Self::Http(link) => link.open(wants, None, deadline, line),
        }
    }

    /// The same for a caller's request; `opening` says what headers repeat.
    ///
    /// # Errors
    /// As `open`.
    pub(super) fn open_as(
        &self,
        opening: &Opening<'_>,
        wants: Wants,
        deadline: Deadline,
        line: impl FnOnce(WireId) -> Bytes,
    ) -> Result<Opened, UpstreamError> {
        match self {
            Self::Pipe(link) => link.open(wants, deadline, line),
            Self::Http(link) => link.open(wants, Some(opening), deadline, line),
        }
    }

    /// A request of the hub's own: waits for room, then for the answer, each within `deadline.call`.
    ///
    /// # Errors
    /// Nobody answered.
    pub(super) async fn request(&self, method: &str, params: &str, version: Version, deadline: Deadline) -> Result<Message, UpstreamError> {
        self.request_for(Profile::BARE, method, params, version, deadline).await
    }

    /// The same on behalf of callers of these abilities, which a stateless server is told of.
    ///
    /// # Errors
    /// As `request`.
    pub(super) async fn request_for(
        &self,
        told: Profile,
        method: &str,
        params: &str,
        version: Version,
        deadline: Deadline,
    ) -> Result<Message, UpstreamError> {
        let opened = loop {
            match self.open(Wants::HUBS, deadline, |wire| outgoing::own_for(wire, method, params, version, told)) {
                Err(error) if error.reason == Reason::Busy => timeout(deadline.call, self.ready()).await.map_err(|_| error)??,
                opened => break opened?,
            }
        };
        match Exchange::new(opened, None).next().await {
            Event::Answer(answer) => Ok(answer),
            Event::Failed(error) => Err(error),
            // It takes nothing else.
            _ => Err(self.lost()),
        }
    }

    /// Waits until `open` would find room. Cancel-safe.
    ///
    /// # Errors
    /// The connection is over.
    pub(super) async fn ready(&self) -> Result<(), UpstreamError> {
        match self {
            Self::Pipe(link) => link.ready().await,
            Self::Http(link) => link.ready().await,
        }
    }

    /// A notification of the hub's. `false` when there was no room for it.
    pub(super) fn tell(&self, line: Bytes) -> bool {
        match self {
            Self::Pipe(link) => link.tell(line),
            Self::Http(link) => link.tell(line),
        }
    }

    /// Gives a call up: its slot is free at once, and the server learns of it, once, unless the call was over already.
    pub(super) fn cancel(&self, wire: WireId, reason: Option<&str>) {
        match self {
            Self::Pipe(link) => link.cancel(wire, reason),
            Self::Http(link) => link.cancel(wire, reason),
        }
    }

    /// The caller has left, the call goes on; `held` lives as long as the call.
    pub(super) fn detach(&self, answered: oneshot::Receiver<Event>, held: Option<Use>) {
        let tasks = match self {
            Self::Pipe(link) => link.tasks(),
            Self::Http(link) => link.tasks(),
        };
        // Ends with the answer, the deadline or the link, whichever is first.
        tasks.spawn(async move {
            let _ = answered.await;
            drop(held);
        });
    }

    /// Of a call that the connection lost with its runtime.
    pub(super) fn lost(&self) -> UpstreamError {
        match self {
            Self::Pipe(link) => link.lost(),
            Self::Http(link) => link.lost(),
        }
    }

    /// Its number among all connections of the fleet.
    pub(super) fn connection(&self) -> u64 {
        match self {
            Self::Pipe(link) => link.connection(),
            Self::Http(link) => link.connection(),
        }
    }

    pub(super) fn carrier(&self) -> Carrier {
        match self {
            Self::Pipe(_) => Carrier::Pipe,
            Self::Http(_) => Carrier::Http,
        }
    }

    pub(super) fn signs(&self) -> &Signs {
        match self {
            Self::Pipe(link) => link.signs(),
            Self::Http(link) => link.signs(),
        }
    }

    /// Resolves when everything the server wrote has been read.
    pub(super) async fn drained(&self) {
        match self {
            Self::Pipe(link) => link.drained().await,
            Self::Http(_) => {}
        }
    }

    /// Every open call fails with `error`, at once and once.
    pub(super) fn close(&self, error: &UpstreamError) {
        match self {
            Self::Pipe(link) => link.close(error),
            Self::Http(link) => link.close(error),
        }
    }

    /// After `close`: the server is told that its session is over. Bounded.
    pub(super) async fn leave(&self) {
        if let Self::Http(link) = self {
            link.leave().await;
        }
    }

    /// Calls without an answer, listens and the like aside.
    pub(super) fn in_flight(&self) -> usize {
        match self {
            Self::Pipe(link) => link.in_flight(),
            Self::Http(link) => link.in_flight(),
        }
    }

    /// Until when its server may ask for a call whose caller has left; `None`: it has none in hand.
    pub(super) fn strays_until(&self) -> Option<Instant> {
        match self {
            Self::Pipe(link) => link.strays_until(),
            Self::Http(link) => link.strays_until(),
        }
    }

    #[cfg(test)]
    pub(super) fn left(&self) -> Vec<String> {
        match self {
            Self::Pipe(link) => link.left(),
            Self::Http(_) => Vec::new(),
        }
    }

    pub(super) fn noise(&self) -> Noise {
        match self {
            Self::Pipe(link) => link.noise(),
            Self::Http(link) => link.noise(),
        }
    }
}
