//! What happened, for whoever listens: sessions, sockets.

use tokio::sync::broadcast;

use crate::{
    limits,
    name::{ServerId, TenantId},
};

#[derive(Clone, Debug)]
pub enum Event {
    /// A server's state as api clients see it changed.
    Server { id: ServerId, phase: ServerPhase, state: &'static str },
    /// The published tools of `server`, and so of its tenant's merged list, changed.
    ToolsChanged { tenant: TenantId, server: ServerId },
    /// The same of its prompts.
    PromptsChanged { tenant: TenantId, server: ServerId },
    /// The same of its resources, or of their templates.
    ResourcesChanged { tenant: TenantId, server: ServerId },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerPhase {
    Starting,
    Started,
    Failed,
    Stopping,
    Stopped,
}

/// Bounded broadcast: emitting never waits. A listener that is too slow loses the oldest events and is told so.
#[derive(Clone, Debug)]
pub struct Bus(broadcast::Sender<Event>);

impl Default for Bus {
    fn default() -> Self {
        Self(broadcast::channel(limits::BUS_EVENTS).0)
    }
}

impl Bus {
    pub fn emit(&self, event: Event) {
        // Without listeners there is nobody to tell.
        let _ = self.0.send(event);
    }

    pub fn listen(&self) -> broadcast::Receiver<Event> {
        self.0.subscribe()
    }
}
