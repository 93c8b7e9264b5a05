//! What one peer of a pipe or socket has under way: futures that end by saying something. They run where the peer is read, in one
//! task; dropping `Work` cancels them all.

use std::future::Future;

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::sync::mpsc::{
    self,
    error::{SendError, TrySendError},
};

use crate::{limits, observe::wire::Leg, protocol::Body};

/// To the peer's writer. Waits when `limits::PIPE_QUEUE` messages are queued: a slow reader slows its own calls down and nobody
/// else's.
#[derive(Clone)]
pub(super) struct Outlet {
    queue: mpsc::Sender<Body>,
    wire: Leg,
}

impl Outlet {
    /// The same for a peer that speaks MCP.
    pub(super) fn speaking_mcp(self, wire: Leg) -> Self {
        Self { wire, ..self }
    }

    /// # Errors
    /// The peer is gone.
    pub(super) async fn send(&self, message: Body) -> Result<(), SendError<Body>> {
        self.wire.sent(message.pieces());
        self.queue.send(message).await
    }
}

/// To be drained by the writer; ends when every outlet is dropped.
pub(super) fn outlet() -> (Outlet, mpsc::Receiver<Body>) {
    let (queue, drain) = mpsc::channel(limits::PIPE_QUEUE);
    (Outlet { queue, wire: Leg::none() }, drain)
}

pub(super) struct Work {
    outlet: Outlet,
    running: FuturesUnordered<BoxFuture<'static, Kind>>,
    calls: usize,
    standing: usize,
    /// What stands is to end now, and is waited for.
    ending: bool,
    /// Messages that did not fit the outlet's queue.
    waiting: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Call,
    Standing,
    Message,
    Background,
}

impl Work {
    pub(super) fn new(outlet: Outlet) -> Self {
        Self { outlet, running: FuturesUnordered::new(), calls: 0, standing: 0, ending: false, waiting: 0 }
    }

    /// Where a call says what comes of it.
    pub(super) fn outlet(&self) -> Outlet {
        self.outlet.clone()
    }

    /// Something that ends by itself and is waited for when the peer has said its last.
    pub(super) fn call(&mut self, call: impl Future<Output = ()> + Send + 'static) {
        self.calls += 1;
        self.running.push(Box::pin(async {
            call.await;
            Kind::Call
        }));
    }

    /// Something that the peer asked for and that lasts until either side ends it: no work that is waited for.
    pub(super) fn stand(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.standing += 1;
        self.running.push(Box::pin(async {
            task.await;
            Kind::Standing
        }));
    }

    /// From here on what stands is waited for: it was told to end.
    pub(super) fn end_standing(&mut self) {
        self.ending = true;
    }

    /// Something that runs as long as the peer is there.
    pub(super) fn background(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.running.push(Box::pin(async {
            task.await;
            Kind::Background
        }));
    }

    /// Says it now if there is room, else when there is.
    pub(super) fn say(&mut self, message: Body) {
        self.outlet.wire.sent(message.pieces());
        self.put(message);
    }

    /// As `say`, for what is no message of MCP.
    pub(super) fn put(&mut self, line: Body) {
        let Err(TrySendError::Full(message)) = self.outlet.queue.try_send(line) else { return };
        let queue = self.outlet.queue.clone();
        self.waiting += 1;
        self.running.push(Box::pin(async move {
            // The peer may be gone by then.
            let _ = queue.send(message).await;
            Kind::Message
        }));
    }

    /// Runs what there is until something ends; cancel-safe. Pends when there is nothing.
    pub(super) async fn advance(&mut self) {
        match self.running.next().await {
            Some(Kind::Call) => self.calls -= 1,
            Some(Kind::Standing) => self.standing -= 1,
            Some(Kind::Message) => self.waiting -= 1,
            Some(Kind::Background) => {}
            None => std::future::pending().await,
        }
    }

    /// Waits for every call and message, not for background tasks.
    pub(super) async fn finish(&mut self) {
        while !self.is_idle() {
            self.advance().await;
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.calls == 0 && self.waiting == 0 && !(self.ending && self.standing > 0)
    }

    /// One more call is to be refused.
    pub(super) fn is_busy(&self) -> bool {
        self.calls >= limits::PIPE_CALLS_MAX
    }

    /// Nothing more is to be read from this peer before something ends: it does not read what it is told.
    pub(super) fn is_full(&self) -> bool {
        self.waiting >= limits::PIPE_REFUSALS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn text(text: &'static str) -> Body {
        Body::one(text.into())
    }

    #[test]
    fn a_peer_that_does_not_read_is_told_later_and_not_read_from() {
        let (outlet, mut queue) = outlet();
        let mut work = Work::new(outlet);
        for _ in 0..limits::PIPE_QUEUE + limits::PIPE_REFUSALS_MAX {
            assert!(!work.is_full());
            work.say(text("x"));
        }
        assert!(work.is_full() && !work.is_idle());
        assert!(work.advance().now_or_never().is_none(), "there is still no room");
        assert!(queue.try_recv().is_ok());
        assert!(work.advance().now_or_never().is_some());
        assert!(!work.is_full());
        let mut told = 1;
        while work.finish().now_or_never().is_none() || !queue.is_empty() {
            told += usize::from(queue.try_recv().is_ok());
        }
        assert_eq!(told, limits::PIPE_QUEUE + limits::PIPE_REFUSALS_MAX);
    }

    #[test]
    fn the_end_waits_for_calls_but_not_for_what_never_ends() {
        let (outlet, _queue) = outlet();
        let mut work = Work::new(outlet);
        work.background(std::future::pending());
        assert!(work.finish().now_or_never().is_some());
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        work.call(ended.map(drop));
        assert!(work.finish().now_or_never().is_none());
        drop(end);
        assert!(work.finish().now_or_never().is_some() && work.is_idle());
    }

    #[test]
    fn what_stands_is_no_work_until_it_is_told_to_end() {
        let (outlet, _queue) = outlet();
        let mut work = Work::new(outlet);
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        for _ in 0..limits::PIPE_CALLS_MAX {
            work.stand(std::future::pending());
        }
        assert!(work.is_idle() && !work.is_busy());
        let (outlet, _queue) = self::outlet();
        let mut work = Work::new(outlet);
        work.stand(ended.map(drop));
        assert!(work.finish().now_or_never().is_some());
        work.end_standing();
        assert!(work.finish().now_or_never().is_none());
        drop(end);
        assert!(work.finish().now_or_never().is_some() && work.is_idle());
    }

    #[test]
    fn dropping_the_work_drops_what_is_under_way() {
        let (outlet, _queue) = outlet();
        let mut work = Work::new(outlet);
        let (held, mut dropped) = tokio::sync::oneshot::channel::<()>();
        work.call(async move {
            let _held = held;
            std::future::pending().await
        });
        assert!(work.advance().now_or_never().is_none());
        drop(work);
        assert_eq!(dropped.try_recv(), Err(tokio::sync::oneshot::error::TryRecvError::Closed));
    }
}
