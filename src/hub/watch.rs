//! Who wants to hear of changed resources: sessions that subscribed, streams that listen. A server is asked once for each of its
//! resources; whoever watches holds a part of that subscription.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicU64, Ordering},
};

use dashmap::DashMap;
use tokio::sync::mpsc;

use super::Session;
use crate::{
    bridge::incoming,
    name::ServerId,
    protocol::{Body, Message, RequestId},
    upstream::{Subscription, Whose},
};

/// All who watch, by server.
#[derive(Default)]
pub(super) struct Watches {
    servers: DashMap<ServerId, Vec<Arc<Watch>>>,
    last: AtomicU64,
}

/// One resource, watched by one client.
pub(super) struct Watch {
    number: u64,
    /// As the server knows it, and as this client does.
    uri: String,
    published: String,
    principal: Arc<str>,
    session: Option<Arc<str>>,
    ear: Ear,
}

/// How the client hears of it.
pub(super) enum Ear {
    Session(Weak<Session>),
    /// The id of its `subscriptions/listen`.
    Listener(mpsc::Sender<Body>, RequestId),
}

/// A guard: dropping it ends the watch, and the server's part of it when nobody else watches.
pub(super) struct Watching {
    watches: Arc<Watches>,
    server: ServerId,
    number: u64,
    _subscription: Subscription,
}

/// What is watched, by whom.
pub(super) struct Wish {
    pub(super) server: ServerId,
    pub(super) uri: String,
    pub(super) published: String,
    pub(super) principal: Arc<str>,
    /// Absent for stateless clients.
    pub(super) session: Option<Arc<str>>,
}

impl Watches {
    pub(super) fn add(self: &Arc<Self>, wish: Wish, ear: Ear, subscription: Subscription) -> Watching {
        let Wish { server, uri, published, principal, session } = wish;
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        let watch = Arc::new(Watch { number, uri, published, principal, session, ear });
        self.servers.entry(server.clone()).or_default().push(watch);
        Watching { watches: Arc::clone(self), server, number, _subscription: subscription }
    }

    /// `notifications/resources/updated` of a server, to whom it concerns: those who watch just that URI; else those who watch
    /// one above it; else all on that connection.
    pub(super) fn updated(&self, server: &ServerId, whose: &Whose, note: &Message) {
        let Some(uri) = note.scan().uri.and_then(|span| note.string(span)) else { return };
        let Some(watches) = self.servers.get(server).map(|watches| watches.value().clone()) else { return };
        let concerned: Vec<_> = watches.iter().filter(|watch| watch.is_of(whose)).collect();
        let degrees: [&dyn Fn(&Watch) -> bool; 3] = [&|watch| watch.uri == uri, &|watch| is_above(&watch.uri, &uri), &|_| true];
        for is_meant in degrees {
            let mut meant = concerned.iter().filter(|watch| is_meant(watch)).peekable();
            if meant.peek().is_some() {
                return meant.for_each(|watch| watch.tell(note, &uri));
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.servers.iter().map(|watches| watches.len()).sum()
    }

    fn remove(&self, server: &ServerId, number: u64) {
        if let Some(mut watches) = self.servers.get_mut(server) {
            watches.retain(|watch| watch.number != number);
        }
        self.servers.remove_if(server, |_, watches| watches.is_empty());
    }
}

impl Watch {
    fn is_of(&self, whose: &Whose) -> bool {
        match whose {
            Whose::Everyone => true,
            Whose::Principal(principal) => self.principal == *principal,
            Whose::Session(session) => self.session.as_ref() == Some(session),
        }
    }

    fn tell(&self, note: &Message, uri: &str) {
        // A resource below the one that is watched keeps the rest of its address.
        let rest = uri.strip_prefix(self.uri.as_str()).unwrap_or_default();
        let published = format!("{}{rest}", self.published);
        match &self.ear {
            Ear::Session(session) => {
                if let Some(session) = session.upgrade() {
                    session.post(incoming::updated(note, &published, None));
                }
            }
            // A listener that reads too slowly for this has as many changes before it anyway.
            Ear::Listener(outlet, id) => _ = outlet.try_send(incoming::updated(note, &published, Some(id))),
        }
    }
}

/// `file:///a` is above `file:///a/b`, not above `file:///ab`.
fn is_above(above: &str, uri: &str) -> bool {
    uri.strip_prefix(above).is_some_and(|rest| above.ends_with('/') || rest.starts_with(['/', '?', '#']))
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.watches.remove(&self.server, self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::is_above;

    #[test]
    fn only_whole_segments_are_above() {
        for (above, uri, expected) in [
            ("file:///a", "file:///a/b", true),
            ("file:///a/", "file:///a/b", true),
            ("file:///a", "file:///ab", false),
            ("file:///a", "file:///a#part", true),
            ("file:///a/b", "file:///a", false),
        ] {
            assert_eq!(is_above(above, uri), expected, "{above} {uri}");
        }
    }
}
