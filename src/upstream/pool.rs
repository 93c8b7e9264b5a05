//! Which instances a server has, for whom: the shares of its pool.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, OwnedSemaphorePermit, broadcast},
    time::Instant,
};

use super::{Sharer, UpstreamError, Whose, backoff::Backoff, instance::Instance};
use crate::{
    config::{self, Interactive, Restart, Scope},
    protocol::capability::Profile,
    random,
};

/// Whose an instance is, and what it was told of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) whose: Whose,
    pub(super) profile: Profile,
}

impl Key {
    /// Everybody who was told of nothing.
    pub(super) const EVERYONE: Self = Self { whose: Whose::Everyone, profile: Profile::BARE };

    /// Whoever can be asked has an instance of their own: the answer to a question is for one principal, and of a principal's sessions
    /// for one. `call` has no sharers; its instances are counted by principal.
    pub(super) fn new(pool: &config::Pool, is_stateless: bool, sharer: &Sharer) -> Self {
        let profile = told(pool, is_stateless, sharer.profile);
        let can_be_asked = profile.can_be_asked();
        let whose = match (pool.scope, &sharer.session) {
            (Scope::Shared, _) if !can_be_asked => Whose::Everyone,
            (scope, Some(session)) if can_be_asked || scope == Scope::Session => Whose::Session(Arc::clone(session)),
            _ => Whose::Principal(Arc::clone(&sharer.principal)),
        };
        Self { whose, profile }
    }

    /// For `Outlet`: whose, and whether they can be asked.
    pub(super) fn owner(&self) -> (Whose, bool) {
        (self.whose.clone(), self.profile.can_be_asked())
    }

    /// Its callers have no session that could be asked instead: a question must become the result of one call, and which one is certain
    /// only where there is no other.
    pub(super) fn is_exclusive(&self) -> bool {
        self.profile.can_be_asked() && matches!(self.whose, Whose::Principal(_))
    }
}

/// What a server of the handshake era is told of a caller who can do all this. A stateless one is told by every call.
pub(super) fn told(pool: &config::Pool, is_stateless: bool, profile: Profile) -> Profile {
    let may_ask = match pool.interactive {
        Interactive::Never => false,
        Interactive::Auto => matches!(pool.scope, Scope::User | Scope::Session),
        Interactive::Always => true,
    };
    if is_stateless {
        Profile::BARE
    } else if may_ask && profile.can_be_asked() {
        profile.without(Profile::TASKS)
    } else {
        profile.only(Profile::UI)
    }
}

/// Instances nobody has taken yet have no key.
pub(super) type Slot = Option<Key>;

/// What the hot path reads, swapped whole whenever it changes.
#[derive(Debug, Default)]
pub(super) struct Ready {
    pub(super) shares: HashMap<Key, Box<[Arc<Instance>]>, random::State>,
    /// As far as anybody knows.
    pub(super) is_stateless: bool,
}

impl Ready {
    /// And whether its callers have it each alone.
    pub(super) fn instance_of(&self, connection: u64) -> Option<(Arc<Instance>, bool)> {
        let is_it = |instance: &&Arc<Instance>| instance.connection() == connection && !instance.link.signs().is_broken();
        self.shares.iter().find_map(|(key, instances)| Some((Arc::clone(instances.iter().find(is_it)?), key.is_exclusive())))
    }
}

#[derive(Debug, Default)]
pub(super) struct Pool {
    shares: HashMap<Slot, Share, random::State>,
}

#[derive(Debug, Default)]
pub(super) struct Share {
    pub(super) instances: Vec<Arc<Instance>>,
    pub(super) coming: Option<Coming>,
    pub(super) backoff: Backoff,
}

/// The next failed try of an instance on its way.
pub(super) type Failed = broadcast::Receiver<UpstreamError>;

/// An instance on its way.
#[derive(Debug)]
pub(super) struct Coming {
    /// Tells every failed try; gone when the instance is ready or given up. Those who wait hear it in the order in which they came.
    pub(super) failed: broadcast::Sender<UpstreamError>,
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
        Self { failed: broadcast::Sender::new(1), due, hurry: Arc::new(Notify::new()), place: None }
    }
}

impl Pool {
    pub(super) fn share(&self, slot: &Slot) -> Option<&Share> {
        self.shares.get(slot)
    }

    pub(super) fn share_mut(&mut self, slot: &Slot) -> &mut Share {
        self.shares.entry(slot.clone()).or_default()
    }

    /// Of one client session.
    pub(super) fn shares_of<'a>(&'a mut self, session: &'a str) -> impl Iterator<Item = &'a mut Share> {
        let is_it = move |slot: &Slot| matches!(slot, Some(Key { whose: Whose::Session(own), .. }) if **own == *session);
        self.shares.iter_mut().filter(move |(slot, _)| is_it(slot)).map(|(_, share)| share)
    }

    /// Takes one that nobody has yet and makes it `key`'s.
    pub(super) fn bind(&mut self, key: &Key) -> Option<Arc<Instance>> {
        let unbound = &mut self.shares.get_mut(&None)?.instances;
        let at = unbound.iter().rposition(|instance| instance.profile == key.profile)?;
        let instance = unbound.remove(at);
        instance.bind(Some(key));
        self.share_mut(&Some(key.clone())).instances.push(Arc::clone(&instance));
        Some(instance)
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

    pub(super) fn ready(&self, is_stateless: bool) -> Ready {
        let bound = self.shares.iter().filter_map(|(slot, share)| Some((slot.clone()?, share)));
        let bound = bound.filter(|(_, share)| !share.instances.is_empty());
        Ready { shares: bound.map(|(key, share)| (key, share.instances.as_slice().into())).collect(), is_stateless }
    }

    /// One that was told of just this, whosever it is.
    pub(super) fn one_of(&self, profile: Profile) -> Option<&Arc<Instance>> {
        self.instances().find(|instance| instance.profile == profile)
    }

    pub(super) fn shares(&self) -> impl Iterator<Item = &Share> {
        self.shares.values()
    }

    pub(super) fn shares_mut(&mut self) -> impl Iterator<Item = &mut Share> {
        self.shares.values_mut()
    }

    /// Instances and starts of these.
    #[cfg(test)]
    pub(super) fn left_of(&self, is_theirs: impl Fn(&Key) -> bool) -> Vec<String> {
        let theirs = self.shares.iter().filter(|(slot, _)| slot.as_ref().is_some_and(&is_theirs));
        let is_something = |share: &Share| !share.instances.is_empty() || share.coming.is_some();
        theirs
            .filter(|(_, share)| is_something(share))
            .map(|(slot, share)| format!("{slot:?} has {} instances", share.instances.len()))
            .collect()
    }

    pub(super) fn instances(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.shares().flat_map(|share| &share.instances)
    }
}

/// The one with the fewest users.
pub(super) fn least_used(instances: &[Arc<Instance>]) -> Option<&Arc<Instance>> {
    instances.iter().min_by_key(|instance| instance.uses())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sharer(session: Option<&str>, profile: Profile) -> Sharer {
        Sharer { principal: "p".into(), session: session.map(Into::into), profile }
    }

    #[test]
    fn whoever_can_be_asked_has_an_instance_of_their_own() {
        use Interactive::{Always, Auto, Never};
        let [form, ui, both] = [Profile::FORM, Profile::UI, Profile::FORM.with(Profile::UI)];
        let everything = both.with(Profile::TASKS);
        let session = || Some(Whose::Session("s".into()));
        for (scope, interactive, profile, of_session, of_stateless, told) in [
            (Scope::Shared, Auto, everything, None, None, ui),
            (Scope::Shared, Never, form, None, None, Profile::BARE),
            (Scope::Shared, Always, everything, session(), Some(()), both),
            (Scope::User, Auto, everything, session(), Some(()), both),
            (Scope::User, Auto, ui.with(Profile::TASKS), Some(Whose::Principal("p".into())), Some(()), ui),
            (Scope::User, Never, everything, Some(Whose::Principal("p".into())), Some(()), ui),
            (Scope::Session, Auto, form, session(), Some(()), form),
            (Scope::Session, Never, form, session(), Some(()), Profile::BARE),
            (Scope::Call, Auto, form, Some(Whose::Principal("p".into())), Some(()), Profile::BARE),
            (Scope::Call, Always, form, session(), Some(()), form),
        ] {
            let pool = config::Pool { scope, interactive, ..config::Pool::default() };
            let key = |session, is_stateless| Key::new(&pool, is_stateless, &sharer(session, profile));
            let what = format!("{scope:?} {interactive:?} {profile:?}");
            let expected = of_session.unwrap_or(Whose::Everyone);
            assert_eq!(key(Some("s"), false), Key { whose: expected, profile: told }, "{what}");
            let expected = of_stateless.map_or(Whose::Everyone, |()| Whose::Principal("p".into()));
            assert_eq!(key(None, false), Key { whose: expected, profile: told }, "{what}");
            assert_eq!(key(None, false).is_exclusive(), told.can_be_asked(), "{what}");
            assert!(!key(Some("s"), false).is_exclusive(), "{what}");
            assert_eq!(key(Some("s"), true).profile, Profile::BARE, "{what}: a stateless server is told by every call");
            assert_eq!(key(None, true), Key::new(&pool, true, &sharer(None, Profile::BARE)), "{what}");
        }
    }
}
