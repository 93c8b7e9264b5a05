//! Why a request had no answer, in words an operator may read. Says nothing of headers or queries, and of the address what `of` says.

use std::{io, sync::Arc};

#[derive(Clone, Debug, thiserror::Error)]
pub enum NetError {
    #[error("'{host}' cannot be resolved: {source}")]
    Unresolved { host: String, source: Arc<io::Error> },
    #[error("'{host}' has no address that may be connected to; if it is meant to be private, write \"allow_private\": true in its entry")]
    Forbidden { host: String },
    #[error("'{host}' cannot be connected to: {source}")]
    Unreachable { host: String, source: Arc<io::Error> },
    #[error("'{host}' cannot be spoken to over TLS: {source}")]
    Tls { host: String, source: Arc<io::Error> },
    /// `to`: without its query.
    #[error("'{host}' redirects to '{to}'; write that address in its entry if it is the right one")]
    Redirected { host: String, to: String },
    #[error("'{host}' did not begin to answer in time")]
    Silent { host: String },
    /// The connection went before the request was on it.
    #[error("the connection to '{host}' was closed before the request was sent")]
    Unsent { host: String },
    /// The request may have arrived.
    #[error("the connection to '{host}' was lost: {why}")]
    Lost { host: String, why: String },
    #[error("'{host}' answered with more than {limit_bytes} bytes")]
    TooLarge { host: String, limit_bytes: usize },
}

impl NetError {
    /// The same, with the address as people have written it, which may be less than it stands for.
    pub fn of(mut self, address: &str) -> Self {
        let (Self::Unresolved { host, .. }
        | Self::Forbidden { host }
        | Self::Unreachable { host, .. }
        | Self::Tls { host, .. }
        | Self::Redirected { host, .. }
        | Self::Silent { host }
        | Self::Unsent { host }
        | Self::Lost { host, .. }
        | Self::TooLarge { host, .. }) = &mut self;
        address.clone_into(host);
        self
    }

    /// The server surely saw nothing of the request.
    pub fn is_unsent(&self) -> bool {
        matches!(self, Self::Unresolved { .. } | Self::Forbidden { .. } | Self::Unreachable { .. } | Self::Tls { .. } | Self::Unsent { .. })
    }

    /// The server, or the way to it, is at fault, and may be well again later.
    pub fn is_outage(&self) -> bool {
        !matches!(self, Self::Forbidden { .. } | Self::Redirected { .. } | Self::TooLarge { .. })
    }
}
