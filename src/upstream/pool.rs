//! Which instances a server has, for whom: the shares of its pool.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, OwnedSemaphorePermit, watch},
    time::Instant,
};

use super::{Sharer, UpstreamError, backoff::Backoff, instance::Instance};
use crate::config::{Restart, Scope};

/// Whose an instance is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Everyone,
    Principal(Arc<str>),
    Session(Arc<str>),
}

impl Key {
    /// `call` has no sharers; its instances are counted by principal.
    pub(super) fn new(scope: Scope, sharer: &Sharer) -> Self {
        match (scope, &sharer.session) {
            (Scope::Shared, _) => Self::Everyone,
            (Scope::Session, Some(session)) => Self::Session(Arc::clone(session)),
            (Scope::User | Scope::Session | Scope::Call, _) => Self::Principal(Arc::clone(&sharer.principal)),
        }
    }
}

/// Instances nobody has taken yet have no key.
pub(super) type Slot = Option<Key>;

/// What the hot path reads, swapped whole whenever it changes.
pub(super) type Ready = HashMap<Key, Box<[Arc<Instance>]>>;

#[derive(Debug, Default)]
pub(super) struct Pool {
    shares: HashMap<Slot, Share>,
}

#[derive(Debug, Default)]
pub(super) struct Share {
    pub(super) instances: Vec<Arc<Instance>>,
    pub(super) coming: Option<Coming>,
    pub(super) backoff: Backoff,
}

/// An instance on its way.
#[derive(Debug)]
pub(super) struct Coming {
    /// Tells every failed try; gone when the instance is ready or given up.
    pub(super) failed: watch::Sender<Option<UpstreamError>>,
    /// Set while it waits to try again.
    pub(super) due: Option<Instant>,
    /// Ends that wait.
    pub(super) hurry: Arc<Notify>,
    /// Under `pool.scope: call`, the place of the caller for whom it was begun, who may leave.
    pub(super) place: Option<Arc<OwnedSemaphorePermit>>,
}

impl Coming {
    pub(super) fn new(wait: Option<Duration>) -> Self {
        let due = wait.map(|wait| Instant::now() + wait);
        Self { failed: watch::Sender::new(None), due, hurry: Arc::new(Notify::new()), place: None }
    }
}

impl Pool {
    pub(super) fn share(&self, slot: &Slot) -> Option<&Share> {
        self.shares.get(slot)
    }

    pub(super) fn share_mut(&mut self, slot: &Slot) -> &mut Share {
        self.shares.entry(slot.clone()).or_default()
    }

    /// As `share_mut`, but makes none.
    pub(super) fn known_mut(&mut self, slot: &Slot) -> Option<&mut Share> {
        self.shares.get_mut(slot)
    }

    /// Takes one that nobody has yet and makes it `key`'s.
    pub(super) fn bind(&mut self, key: &Key) -> Option<Arc<Instance>> {
        let instance = self.take_unbound()?;
        self.share_mut(&Some(key.clone())).instances.push(Arc::clone(&instance));
        Some(instance)
    }

    pub(super) fn take_unbound(&mut self) -> Option<Arc<Instance>> {
        self.shares.get_mut(&None)?.instances.pop()
    }

    /// Takes it out, wherever it is, and says where it was.
    pub(super) fn remove(&mut self, instance: &Arc<Instance>) -> Option<Slot> {
        let is_it = |other: &Arc<Instance>| Arc::ptr_eq(other, instance);
        let (slot, share) = self.shares.iter_mut().find(|(_, share)| share.instances.iter().any(is_it))?;
        share.instances.retain(|other| !is_it(other));
        Some(slot.clone())
    }

    /// Forgets shares that hold nothing worth knowing.
    pub(super) fn tidy(&mut self, restart: &Restart) {
        let now = Instant::now();
        self.shares.retain(|_, share| !share.instances.is_empty() || share.coming.is_some() || share.backoff.matters(restart, now));
    }

    pub(super) fn ready(&self) -> Ready {
        let bound = self.shares.iter().filter_map(|(slot, share)| Some((slot.clone()?, share)));
        bound.filter(|(_, share)| !share.instances.is_empty()).map(|(key, share)| (key, share.instances.as_slice().into())).collect()
    }

    pub(super) fn shares(&self) -> impl Iterator<Item = &Share> {
        self.shares.values()
    }

    pub(super) fn shares_mut(&mut self) -> impl Iterator<Item = &mut Share> {
        self.shares.values_mut()
    }

    pub(super) fn instances(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.shares().flat_map(|share| &share.instances)
    }
}

/// The one with the fewest users.
pub(super) fn least_used(instances: &[Arc<Instance>]) -> Option<&Arc<Instance>> {
    instances.iter().min_by_key(|instance| instance.uses())
}
