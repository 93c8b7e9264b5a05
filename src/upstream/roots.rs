//! What handshake clients say of their roots (`notifications/roots/list_changed`, MCP 2025-11-25, roots). Stateless servers are told
//! nothing: they ask anew with every request.

use std::sync::Arc;

use super::Server;
use crate::{bridge::outgoing, config::Interactive, protocol::capability::Profile};

impl Server {
    /// For the connections of this session.
    pub(super) fn roots_changed(&self, session: &str) {
        if self.settings.pool.interactive == Interactive::Never {
            return;
        }
        let instances: Vec<_> = {
            let mut life = self.life();
            let own = life.pool.shares_of(session).flat_map(|share| &share.instances);
            own.filter(|instance| instance.profile.has(Profile::ROOTS_CHANGE)).map(Arc::clone).collect()
        };
        for instance in instances {
            let line = outgoing::own_notification("notifications/roots/list_changed", instance.version());
            if !instance.link.tell(line) {
                tracing::debug!(server = %self.settings.id, "no room to tell of roots that changed");
            }
        }
    }
}
