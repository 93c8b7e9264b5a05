//! Resources that callers watch, over the life of any one instance.
//!
//! Counted per connection and URI (`Feed`). When the instance goes, whoever watches asks the next one. What changed in between
//! was not told.

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Server, Sharer, UpstreamError, feed::Hold, instance::Use, pool::Key};
use crate::{
    config::Scope,
    limits,
    protocol::{capability::Profile, code::Reason},
};

/// A guard: changes of one resource arrive as `What::Updated` until it is dropped. The server is told when the last of its kind goes.
#[derive(Debug)]
pub struct Subscription {
    _end: DropGuard,
}

impl Server {
    /// Watches a resource, under its own URI, on the connection of this sharer; starts it if need be. Returns when the server has
    /// agreed. Drop a session's subscriptions before the session is forgotten.
    ///
    /// # Errors
    /// `Reason::Unsupported`: the server has no such thing. `Reason::Refused`: not this resource. Else as `lease`.
    pub async fn subscribe(self: &Arc<Self>, sharer: &Sharer, uri: &str) -> Result<Subscription, UpstreamError> {
        let mut sharer = sharer.clone();
        if sharer.session.is_none() {
            // No question can reach a caller here, and an instance that somebody wants alone must not be kept from them.
            sharer.profile = sharer.profile.only(Profile::UI);
        }
        let hold = self.watch(&sharer, uri).await?;
        let end = CancellationToken::new();
        let follow = Follow { server: Arc::clone(self), sharer, uri: uri.to_owned() };
        let ended = end.clone();
        self.commons.followers.spawn(async move {
            tokio::select! {
                // First: what follows after the end would start processes for somebody who is gone.
                biased;
                () = ended.cancelled() => {}
                () = follow.run(hold) => {}
            }
        });
        Ok(Subscription { _end: end.drop_guard() })
    }

    async fn watch(self: &Arc<Self>, sharer: &Sharer, uri: &str) -> Result<Hold, UpstreamError> {
        let held = self.lease(sharer).await?.into_use();
        let held = self.watching(sharer).unwrap_or(held);
        self.hold(held, uri).await
    }

    /// The instance of this sharer that others watch already: one of them tells, not all.
    fn watching(&self, sharer: &Sharer) -> Option<Use> {
        if self.settings.pool.scope == Scope::Call {
            return None;
        }
        let ready = self.ready.load();
        let instances = ready.shares.get(&Key::new(&self.settings.pool, ready.is_stateless, sharer))?;
        Use::new(instances.iter().find(|instance| instance.feed.is_used())?)
    }
}

struct Follow {
    server: Arc<Server>,
    sharer: Sharer,
    uri: String,
}

impl Follow {
    /// Until the hub shuts down; cancelled by the guard.
    async fn run(self, mut hold: Hold) {
        loop {
            tokio::select! {
                biased;
                () = self.server.commons.closing.cancelled() => return,
                () = hold.instance().link.signs().closed() => drop(hold),
            }
            tokio::select! {
                biased;
                () = self.server.commons.closing.cancelled() => return,
                next = self.next() => hold = next,
            }
        }
    }

    /// From the next instance that agrees.
    async fn next(&self) -> Hold {
        let mut wait = limits::BACKOFF_MIN;
        loop {
            let mut came = pin!(self.server.came.notified());
            came.as_mut().enable();
            // A client that is leaving takes its subscriptions along in this time.
            sleep(wait).await;
            let error = match self.server.watch(&self.sharer, &self.uri).await {
                Ok(hold) => return hold,
                Err(error) => error,
            };
            tracing::debug!(server = %error.server, %error, "a resource cannot be watched");
            if is_for_good(error.reason) {
                came.await;
                wait = Duration::ZERO;
            } else {
                wait = (wait * 2).clamp(limits::BACKOFF_MIN, limits::BACKOFF_MAX);
            }
        }
    }
}

/// Only another start can change it.
fn is_for_good(reason: Reason) -> bool {
    matches!(reason, Reason::Stopped | Reason::Disabled | Reason::ShuttingDown | Reason::Unsupported | Reason::Refused)
}
