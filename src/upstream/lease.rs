//! The right to put calls on one instance.

use std::sync::Arc;

use bytes::Bytes;

use super::{Exchange, UpstreamError, exchange::Wants, instance::Use};
use crate::{
    mux::{Deadline, WireId},
    protocol::{Level, Version, capability::Profile},
};

/// Who shares an instance (`pool.scope`): the parts a caller brings; the server picks what its scope asks for.
#[derive(Clone, Debug)]
pub struct Sharer {
    pub principal: Arc<str>,
    /// Absent for stateless clients.
    pub session: Option<Arc<str>>,
    /// What the caller can be asked.
    pub profile: Profile,
}

/// What a call needs of its connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Opening<'a> {
    /// Whether to deliver progress.
    pub progress: bool,
    /// Whether the server may ask the caller (`Event::Question`).
    pub asks: bool,
    /// Whether to deliver `Event::Note`; with `progress` or `asks` they come in any case.
    pub notes: bool,
    /// Answered only when some work is done: it may take as long as any call (`timeouts.call_max`) without a sign.
    pub waits: bool,
    /// What headers of HTTP repeat (MCP 2026-07-28, Streamable HTTP).
    pub method: &'a str,
    /// `params.name`, `params.uri` or `params.taskId` as the server knows it.
    pub name: Option<&'a str>,
    /// `Mcp-Param-*`: the rest of the header's name, and the value as text.
    pub headers: &'a [(Box<str>, String)],
}

/// A guard; dropping it gives the instance back. Calls opened through it hold the instance themselves. A clone is another use.
#[derive(Clone, Debug)]
pub struct Lease {
    held: Use,
    deadline: Deadline,
}

impl Lease {
    pub(super) fn new(held: Use, deadline: Deadline) -> Self {
        Self { held, deadline }
    }

    /// The revision negotiated with this instance.
    pub fn version(&self) -> Version {
        self.held.instance().version()
    }

    /// What this instance was told that its caller can do: for its life. `BARE` of a stateless server, which every call tells.
    pub fn profile(&self) -> Profile {
        self.held.instance().profile
    }

    /// What the server declared: a raw JSON object.
    pub fn capabilities(&self) -> &Bytes {
        &self.held.instance().greeting.capabilities
    }

    /// Whether the server makes tasks of calls.
    pub fn makes_tasks(&self) -> bool {
        self.held.instance().greeting.declared.tasks
    }

    /// Asks a server of the handshake era for records of this level and graver, if it asked for fewer so far; what is opened next is
    /// logged so. Its records arrive as `Event::Note` where they are certainly of one call, else as `What::Log`.
    pub fn set_level(&self, level: Level) {
        self.held.instance().raise_level(level, self.deadline);
    }

    pub(super) fn into_use(self) -> Use {
        self.held
    }

    /// Opens a call now, without waiting: `line` gets the wire id and returns the whole line.
    ///
    /// # Errors
    /// `Reason::Busy` when its queues are full: wait for `ready`, then try again. `Reason::Crashed` when the instance is gone;
    /// nothing was sent.
    pub fn open(&self, opening: &Opening<'_>, line: impl FnOnce(WireId) -> Bytes) -> Result<Exchange, UpstreamError> {
        let wants = Wants { progress: opening.progress, asks: opening.asks, notes: opening.notes, ..Wants::NOTHING };
        let deadline = if opening.waits { Deadline { call: self.deadline.call_max, ..self.deadline } } else { self.deadline };
        let opened = self.held.instance().link.open_as(opening, wants, deadline, line)?;
        Ok(Exchange::new(opened, Some(self.held.clone())))
    }

    /// Waits for room in the queues of this instance. Cancel-safe; the bound on waiting is the caller's.
    ///
    /// # Errors
    /// The instance is gone.
    pub async fn ready(&self) -> Result<(), UpstreamError> {
        self.held.instance().link.ready().await
    }
}
