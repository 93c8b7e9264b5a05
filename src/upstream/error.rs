//! Why the server leg could not carry a call, in words a caller may read.

use std::time::Duration;

use crate::{name::ServerId, protocol::code::Reason};

/// Why a call could not be, or was not, carried by a server. Says nothing of its environment, and of
/// its output no more than why it did not start, without what its placeholders stand for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("server '{}' {what}", server.name)]
pub struct UpstreamError {
    pub server: ServerId,
    pub reason: Reason,
    /// The rest of the sentence: "is stopped; start it first".
    pub what: String,
    pub retry_after_ms: Option<u64>,
}

impl UpstreamError {
    pub(super) fn new(server: &ServerId, reason: Reason, what: impl Into<String>) -> Self {
        Self { server: server.clone(), reason, what: what.into(), retry_after_ms: None }
    }

    pub(super) fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after_ms = Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        self
    }

    pub(super) fn stopped(server: &ServerId) -> Self {
        Self::new(server, Reason::Stopped, "is stopped; start it first")
    }

    pub(super) fn shutting_down(server: &ServerId) -> Self {
        Self::new(server, Reason::ShuttingDown, "takes no more calls: the hub is shutting down")
    }

    pub(super) fn start_timed_out(server: &ServerId, budget: Duration) -> Self {
        Self::new(server, Reason::StartFailed, format!("was not ready within {} s", budget.as_secs_f64()))
    }

    pub(super) fn busy(server: &ServerId) -> Self {
        Self::new(server, Reason::Busy, "has as many calls waiting as it may; try again")
    }

    /// Each process that may ask its caller has one.
    pub(super) fn in_use(server: &ServerId, size: usize) -> Self {
        Self::new(
            server,
            Reason::Busy,
            format!("has {size} processes that may ask their caller (pool.size), and each is in use; try again"),
        )
    }

    /// A remote server that failed again and again.
    pub(super) fn left_alone(server: &ServerId) -> Self {
        Self::new(server, Reason::Crashed, "failed several times in a row and is left alone for a moment; try again")
    }

    /// `setting`: by which name a configuration changes the time; the hub's own requests have none.
    pub(super) fn timed_out(server: &ServerId, wait: Duration, setting: Option<&str>) -> Self {
        let setting = setting.map(|setting| format!(" ({setting})")).unwrap_or_default();
        Self::new(server, Reason::Timeout, format!("did not answer within {} s{setting}", wait.as_secs_f64()))
    }

    pub(super) fn bad_answer(server: &ServerId) -> Self {
        Self::new(server, Reason::BadAnswer, "answered with something that is no answer")
    }

    pub(super) fn long_answer(server: &ServerId, limit_bytes: usize) -> Self {
        Self::new(server, Reason::BadAnswer, format!("gave an answer of more than {limit_bytes} bytes, which exceeds limits.line_mb"))
    }

    /// Of a call that was sent, as the next two: it may have had effects.
    pub(super) fn silent(server: &ServerId) -> Self {
        Self::new(server, Reason::ServerExited, "gave no sign of life and was given up")
    }

    pub(super) fn exited(server: &ServerId) -> Self {
        Self::new(server, Reason::ServerExited, "exited during the call")
    }

    pub(super) fn stopped_during_call(server: &ServerId) -> Self {
        Self::new(server, Reason::ServerExited, "was stopped during the call")
    }

    /// Of calls that were not sent.
    pub(super) fn gone(server: &ServerId) -> Self {
        Self::new(server, Reason::Crashed, "exited before the call was sent; try again")
    }
}
