//! What a server lists to callers that can do more than others: a server of the handshake era may list more on a connection on which it
//! was told so, a stateless one to a request that says so. Either is asked once for each set of abilities, when somebody looks who has them.

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwap;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{
    Server, UpstreamError,
    instance::Instance,
    pool::{self, Failed},
    server::Life,
};
use crate::{config::Start, limits, protocol::capability::Profile};

/// When the last good listing was begun that was for those who can do this.
pub(super) type Listings = BTreeMap<Profile, Instant>;

/// Abilities for which it was asked what it lists; the token is cancelled when that has ended, well or not.
#[derive(Debug, Default)]
pub(super) struct Profiles(ArcSwap<Vec<(Profile, CancellationToken)>>);

impl Profiles {
    fn of(&self, profile: Profile) -> Option<CancellationToken> {
        self.0.load().iter().find(|(of, _)| *of == profile).map(|(_, tried)| tried.clone())
    }

    /// Writers hold `life`. `None`: as many are asked for as are kept.
    fn add(&self, profile: Profile) -> Option<CancellationToken> {
        let mut all = Vec::clone(&self.0.load());
        // One is that of those who can do nothing.
        if all.len() + 1 >= limits::PROFILES_PER_SERVER_MAX {
            return None;
        }
        let tried = CancellationToken::new();
        all.push((profile, tried.clone()));
        self.0.store(Arc::new(all));
        Some(tried)
    }

    /// As if it had not been tried. Writers hold `life`.
    fn forget(&self, profile: Profile) {
        let all = self.0.load().iter().filter(|(of, _)| *of != profile).cloned().collect();
        self.0.store(Arc::new(all));
    }

    pub(super) fn all(&self) -> Vec<Profile> {
        self.0.load().iter().map(|(profile, _)| *profile).collect()
    }
}

/// An instance that lists to callers of some abilities.
enum Look {
    There(Arc<Instance>),
    Coming(Failed),
}

impl Server {
    /// What of a caller's abilities it is told of: callers of whom it is told the same are listed the same.
    pub fn told(&self, profile: Profile) -> Profile {
        if self.ready.load().is_stateless { profile.without(Profile::TASKS) } else { pool::told(&self.settings.pool, false, profile) }
    }

    /// Asks what it lists to callers of whom it is told this, in the background: once, if that is not known (`is_kept`), if what it
    /// lists to others is, and if it may be started. Whether it is being asked now; await `learnt_as`, with a bound.
    pub fn learn_as(self: &Arc<Self>, told: Profile, is_kept: impl FnOnce() -> bool) -> bool {
        if told.is_empty() || !self.is_known() {
            return false;
        }
        if let Some(tried) = self.profiles.of(told) {
            return !tried.is_cancelled();
        }
        let mut life = self.life();
        if self.settings.start == Start::Manual || self.admit(&life).is_err() || self.profiles.of(told).is_some() {
            return false;
        }
        let Some(tried) = self.profiles.add(told) else { return false };
        let ended = tried.drop_guard();
        if is_kept() {
            return false;
        }
        // What goes wrong from here on is logged where it does.
        let Ok(look) = self.look(&mut life, told) else {
            self.profiles.forget(told);
            return false;
        };
        let (server, stop) = (Arc::clone(self), life.run.stop.clone());
        life.run.tasks.spawn(async move {
            let begun = tokio::select! {
                biased;
                () = stop.cancelled() => {
                    let _life = server.life();
                    return server.profiles.forget(told);
                }
                begun = server.list_to(told, look) => begun.ok().flatten(),
            };
            drop(ended);
            if let Some(instance) = begun {
                server.give_up_unused(&instance).await;
            }
        });
        true
    }

    /// Resolves when the one try of that has ended.
    pub async fn learnt_as(&self, told: Profile) {
        if let Some(tried) = self.profiles.of(told) {
            tried.cancelled().await;
        }
    }

    /// The instance that was started for it, if one was.
    async fn list_to(self: &Arc<Self>, told: Profile, look: Look) -> Result<Option<Arc<Instance>>, UpstreamError> {
        let (instance, is_begun) = match look {
            Look::There(instance) => (instance, false),
            Look::Coming(coming) => {
                self.wait(coming, self.patience()).await?;
                // One that has ended already is not begun again: each is started once for this.
                (self.life().lists_to(told).ok_or_else(|| UpstreamError::gone(&self.settings.id))?, true)
            }
        };
        self.learn_once(&instance, told).await?;
        Ok(Some(instance).filter(|instance| is_begun && instance.profile == told))
    }

    /// For the connection on which it lists to those, which is begun if there is none. Whoever needs one like it from now on finds it.
    fn look(self: &Arc<Self>, life: &mut Life, told: Profile) -> Result<Look, UpstreamError> {
        self.admit(life)?;
        Ok(match life.lists_to(told) {
            Some(instance) => Look::There(instance),
            None if life.is_stateless => Look::Coming(self.come_patiently(life, &self.unbound())?),
            None => Look::Coming(self.come_as(life, told)),
        })
    }

    /// A process for each set of abilities is much, if nobody calls anything. Whoever does starts it again.
    async fn give_up_unused(&self, instance: &Instance) {
        tokio::select! {
            biased;
            () = instance.link.signs().closed() => return,
            () = sleep(limits::LEARNT_KEPT) => {}
        }
        // Nobody finds it between the look and its end.
        let _life = self.life();
        if instance.taken() == 0 && instance.retire() {
            instance.stop.cancel();
        }
    }
}

impl Life {
    /// An instance on which those are listed what is for them.
    fn lists_to(&self, told: Profile) -> Option<Arc<Instance>> {
        self.pool.one_of(if self.is_stateless { Profile::BARE } else { told }).cloned()
    }
}
