//! From a running instance to `Learned`: one listing at a time, the last good one stays.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
};

use tokio::{
    sync::MutexGuard,
    time::{Instant, sleep, timeout},
};

use super::{
    Learned, Server, UpstreamError,
    child::listing::{self, Listing},
    instance::Instance,
    profiles::Listings,
};
use crate::{
    config::Start,
    limits,
    protocol::{Era, capability::Profile, code::Reason},
};

impl Server {
    /// Lists again (starting it if it may be started), then reports through `Learned`.
    ///
    /// # Errors
    /// It may not or cannot be started, or does not list.
    pub async fn refresh(self: &Arc<Self>) -> Result<(), UpstreamError> {
        self.refresh_since(Instant::now()).await
    }

    /// The same, unless it was listed since: of many who find out at once that what is known of it no longer holds, one lists again.
    ///
    /// # Errors
    /// As `refresh`.
    pub async fn refresh_since(self: &Arc<Self>, then: Instant) -> Result<(), UpstreamError> {
        let until = self.patience();
        loop {
            let coming = {
                let mut life = self.life();
                self.admit(&life)?;
                match life.pool.one_of(Profile::BARE).cloned() {
                    Some(instance) => Ok(instance),
                    None => Err(self.come_patiently(&mut life, &self.unbound())?),
                }
            };
            match coming {
                Ok(instance) => {
                    self.learn_since(&instance, then).await?;
                    self.learn_others().await;
                    return Ok(());
                }
                Err(coming) => self.wait(coming, until).await?,
            }
        }
    }

    /// Resolves when the first try to learn this server has ended, well or not.
    pub async fn learnt(&self) {
        self.tried.cancelled().await;
    }

    /// Until when a list waits for it: `limits::LIST_WAIT` from when the first one wanted it, so that one that takes long to start
    /// delays no more than the first. `None`: no longer.
    pub fn awaited_until(&self) -> Option<Instant> {
        let now = Instant::now();
        let until = *self.wanted_at.get_or_init(|| now) + limits::LIST_WAIT;
        (until > now).then_some(until)
    }

    /// Whether its offer is known: stored, or learned.
    pub fn is_known(&self) -> bool {
        self.is_learned.load(Ordering::Acquire)
    }

    /// Returns when its offer is known: joins the learning under way, or starts and lists it now.
    ///
    /// # Errors
    /// It is disabled, may not or cannot be started, or does not list.
    pub async fn know(self: &Arc<Self>) -> Result<(), UpstreamError> {
        if self.is_disabled() {
            self.admit(&self.life())?;
        }
        if self.learn() {
            // Ends by itself after `timeouts.start`; the bound is for a long queue of starts.
            let _ = timeout(self.settings.timeouts.start * 2, self.learnt()).await;
        }
        if self.is_known() { Ok(()) } else { self.refresh().await }
    }

    /// Whether it is being learned now, because of this call or of an earlier one.
    pub(super) fn learn(self: &Arc<Self>) -> bool {
        if self.is_learned.load(Ordering::Acquire) {
            self.freshen();
            return false;
        }
        let mut life = self.life();
        if self.settings.start == Start::Manual || self.admit(&life).is_err() {
            return false;
        }
        match life.pool.one_of(Profile::BARE).cloned() {
            // It runs, but has not told what it offers: the first listing is under way, or failed.
            Some(instance) => {
                if self.tried.is_cancelled() {
                    self.relist_soon(&instance, &life.run);
                }
            }
            // After a failed try the next one comes by itself.
            None if self.tried.is_cancelled() => {}
            None => drop(self.come_patiently(&mut life, &self.unbound())),
        }
        // A server that cannot be learned must not hold up every list.
        !self.tried.is_cancelled()
    }

    /// Lists through `instance` and reports.
    ///
    /// # Errors
    /// It did not answer, or nothing that could be read; nothing is reported then.
    pub(super) async fn learn_from(&self, instance: &Instance) -> Result<(), UpstreamError> {
        let one = self.listing.lock().await;
        self.list_through(instance, one).await
    }

    /// The same, unless a listing for those who can do nothing that was begun after `then` was good.
    ///
    /// # Errors
    /// As `learn_from`.
    pub(super) async fn learn_since(&self, instance: &Instance, then: Instant) -> Result<(), UpstreamError> {
        let one = self.listing.lock().await;
        let is_later = one.get(&Profile::BARE).is_some_and(|begun| *begun > then);
        if is_later { Ok(()) } else { self.list_through(instance, one).await }
    }

    /// The same for those who can do this, unless that was done before.
    ///
    /// # Errors
    /// As `learn_from`.
    pub(super) async fn learn_once(&self, instance: &Instance, profile: Profile) -> Result<(), UpstreamError> {
        let mut one = self.listing.lock().await;
        if one.contains_key(&profile) { Ok(()) } else { self.list_as(instance, profile, &mut one).await }
    }

    /// For all who are listed something on this connection: of a stateless server these are all there are. `one`: the right to list,
    /// taken before.
    async fn list_through(&self, instance: &Instance, mut one: MutexGuard<'_, Listings>) -> Result<(), UpstreamError> {
        self.list_as(instance, instance.profile, &mut one).await?;
        if instance.version().era() == Era::Stateless {
            for profile in self.profiles.all() {
                // Logged there.
                let _ = self.list_as(instance, profile, &mut one).await;
            }
        }
        Ok(())
    }

    /// For callers who can do this.
    async fn list_as(&self, instance: &Instance, profile: Profile, one: &mut Listings) -> Result<(), UpstreamError> {
        let begun = Instant::now();
        let greeting = &instance.greeting;
        // As their calls are: roots that are configured stand in for those that nobody has.
        let told = if self.settings.roots.is_empty() { profile } else { profile.with(Profile::ROOTS) };
        let listed = listing::list_all(&instance.link, greeting, told, self.deadline()).await;
        self.age.set(instance.lists_live(listed.as_ref().ok()));
        let id = &self.settings.id;
        let result = match listed {
            Ok(Listing { tools, prompts, resources, templates, ttl_ms, public, is_partial: _ }) => {
                tracing::debug!(server = %id, tools = tools.len(), prompts = prompts.len(), resources = resources.len(), "listed");
                (self.commons.learned)(Learned {
                    server: id.clone(),
                    version: greeting.version,
                    server_info: greeting.server_info.clone(),
                    capabilities: greeting.capabilities.clone(),
                    instructions: greeting.instructions.clone(),
                    // Whether roots change decides nothing of what it lists.
                    profile: profile.without(Profile::ROOTS_CHANGE),
                    tools,
                    prompts,
                    resources,
                    templates,
                    ttl_ms,
                    public,
                });
                one.insert(profile, begun);
                if profile == Profile::BARE {
                    self.is_learned.store(true, Ordering::Release);
                }
                Ok(())
            }
            Err(error) if instance.stop.is_cancelled() => {
                tracing::debug!(server = %id, %error, "stopped before it had listed");
                Err(UpstreamError::new(id, Reason::Stopped, "was stopped before it had listed its tools"))
            }
            Err(error) => {
                tracing::warn!(server = %id, %error, "cannot be listed");
                self.life().last_error = Some(error.to_string());
                Err(UpstreamError::new(id, Reason::BadAnswer, "did not list its tools; see the log of the hub"))
            }
        };
        if profile == Profile::BARE {
            self.tried.cancel();
        }
        result
    }

    /// Lists for each kind of caller besides those that cannot be asked, as far as an instance is up that was told of them.
    pub(super) async fn learn_others(&self) {
        let profiles: BTreeSet<_> = self.life().pool.instances().map(|instance| instance.profile).collect();
        for profile in profiles.into_iter().filter(|profile| *profile != Profile::BARE) {
            let instance = self.life().pool.one_of(profile).cloned();
            if let Some(instance) = instance {
                // Logged there.
                let _ = self.learn_from(&instance).await;
            }
        }
    }

    /// Servers announce changes in bursts: one listing for all that come in a short while.
    pub(super) async fn relist_coalesced(self: Arc<Self>, instance: Arc<Instance>) {
        sleep(limits::LIST_COALESCE).await;
        let one = self.listing.lock().await;
        // What changes from here on needs a listing of its own; what changed until here, this one sees. So one waits at most.
        self.relisting().remove(&instance.profile);
        // The one that said so may be gone; what it said holds for the others that were told the same.
        let instance = self.life().pool.one_of(instance.profile).cloned().unwrap_or(instance);
        let _ = self.list_through(&instance, one).await;
    }
}
