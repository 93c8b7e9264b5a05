//! From a running instance to `Learned`: one listing at a time, the last good one stays.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
};

use tokio::{
    sync::MutexGuard,
    time::{Instant, sleep},
};

use super::{
    Learned, Server, UpstreamError,
    child::listing::{self, Listing},
    instance::Instance,
};
use crate::{
    limits,
    protocol::{capability::Profile, code::Reason},
};

impl Server {
    /// Lists through `instance` and reports.
    ///
    /// # Errors
    /// It did not answer, or nothing that could be read; nothing is reported then.
    pub(super) async fn learn_from(&self, instance: &Instance) -> Result<(), UpstreamError> {
        let one = self.listing.lock().await;
        self.list_through(instance, one).await
    }

    /// The same for those who cannot be asked, unless a listing that was begun after `then` was good.
    ///
    /// # Errors
    /// As `learn_from`.
    pub(super) async fn learn_since(&self, instance: &Instance, then: Instant) -> Result<(), UpstreamError> {
        let one = self.listing.lock().await;
        if one.is_some_and(|begun| begun > then) { Ok(()) } else { self.list_through(instance, one).await }
    }

    /// `one`: the right to list, taken before.
    async fn list_through(&self, instance: &Instance, mut one: MutexGuard<'_, Option<Instant>>) -> Result<(), UpstreamError> {
        let begun = Instant::now();
        let greeting = &instance.greeting;
        let listed = listing::list_all(&instance.link, greeting, self.deadline()).await;
        let id = &self.settings.id;
        let result = match listed {
            Ok(Listing { tools, prompts, resources, templates, ttl_ms, public }) => {
                tracing::debug!(server = %id, tools = tools.len(), prompts = prompts.len(), resources = resources.len(), "listed");
                (self.commons.learned)(Learned {
                    server: id.clone(),
                    version: greeting.version,
                    server_info: greeting.server_info.clone(),
                    capabilities: greeting.capabilities.clone(),
                    instructions: greeting.instructions.clone(),
                    profile: instance.profile,
                    tools,
                    prompts,
                    resources,
                    templates,
                    ttl_ms,
                    public,
                });
                if instance.profile == Profile::BARE {
                    *one = Some(begun);
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
        if instance.profile == Profile::BARE {
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
