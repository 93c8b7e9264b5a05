//! Whether whoever wants a process alone finds all of them taken.

use std::sync::PoisonError;

use super::{Server, Sharer, pool::Key};
use crate::{config::Scope, protocol::capability::Profile};

impl Server {
    /// What the processes were told of which a caller like this one needs one alone, if there are as many as there may be and each is
    /// in use. Only calls of the same principal use them.
    pub fn in_use(&self, sharer: &Sharer) -> Option<Profile> {
        let pool = &self.settings.pool;
        let life = self.life();
        let key = Key::new(pool, life.is_stateless, sharer);
        let are_taken = match pool.scope {
            Scope::Call => {
                let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
                places.get(&sharer.principal).is_some_and(|places| places.available_permits() == 0)
            }
            Scope::Shared | Scope::User | Scope::Session => life
                .pool
                .share(&Some(key.clone()))
                .is_some_and(|share| share.instances.len() >= pool.size && share.instances.iter().all(|instance| instance.uses() > 0)),
        };
        (key.is_exclusive() && are_taken).then_some(key.profile)
    }
}
