//! How much the servers of the handshake era are asked to log (`logging/setLevel`, MCP 2025-11-25). Stateless ones are told by each
//! request.

use std::sync::{Arc, atomic::Ordering};

use super::{
    Server, Sharer, Whose,
    exchange::Wants,
    instance::Instance,
    pool::{Key, Slot},
};
use crate::{
    bridge::outgoing,
    mux::Deadline,
    protocol::{Era, Level},
};

/// No level was set on this connection.
pub(super) const UNSET: u8 = u8::MAX;

impl Server {
    /// For the connections of this sharer, now and at their next start. One that several sessions share gets the most that any of
    /// them asked for; a session's own gets just this.
    pub fn log_level(&self, sharer: &Sharer, level: Level) {
        let ready = self.ready.load_full();
        let key = Key::new(&self.settings.pool, ready.is_stateless, sharer);
        let level = {
            let mut levels = self.levels();
            let own = matches!(key.whose, Whose::Session(_));
            let known = levels.get(&key).copied();
            let level = known.filter(|_| !own).map_or(level, |known| known.min(level));
            levels.insert(key.clone(), level);
            level
        };
        for instance in ready.shares.get(&key).into_iter().flatten() {
            instance.set_level(level, self.deadline());
        }
    }

    /// Whether this sharer's calls go to connections of that owner.
    pub fn serves(&self, whose: &Whose, sharer: &Sharer) -> bool {
        Key::new(&self.settings.pool, self.ready.load().is_stateless, sharer).whose == *whose
    }

    /// An instance has got its owner.
    pub(super) fn apply_level(&self, slot: &Slot, instance: &Instance) {
        let level = slot.as_ref().and_then(|key| self.levels().get(key).copied());
        if let Some(level) = level {
            instance.set_level(level, self.deadline());
        }
    }

    pub(super) fn forget_levels(&self, session: &str) {
        self.levels().retain(|key, _| !matches!(&key.whose, Whose::Session(own) if **own == *session));
    }
}

impl Instance {
    /// If it is more than was set so far.
    pub(super) fn raise_level(self: &Arc<Self>, level: Level, deadline: Deadline) {
        if self.level.load(Ordering::Relaxed) > level as u8 {
            self.set_level(level, deadline);
        }
    }

    /// The server has forgotten it.
    pub(super) fn repeat_level(&self, deadline: Deadline) {
        let set = self.level.swap(UNSET, Ordering::Relaxed);
        if let Some(level) = Level::ALL.into_iter().find(|level| *level as u8 == set) {
            self.set_level(level, deadline);
        }
    }

    /// Unless it is set. Its answer is of no interest.
    fn set_level(&self, level: Level, deadline: Deadline) {
        let does_log = self.greeting.declared.logging && self.version().era() == Era::Handshake;
        if !does_log || self.level.swap(level as u8, Ordering::Relaxed) == level as u8 {
            return;
        }
        let params = format!(r#"{{"level":"{}"}}"#, level.as_str());
        let line = |wire| outgoing::own(wire, "logging/setLevel", &params, self.version());
        if self.link.open(Wants::QUIET, deadline, line).is_err() {
            // Busy: whoever asks next tries again.
            self.level.store(UNSET, Ordering::Relaxed);
        }
    }
}
