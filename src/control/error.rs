//! Why a request of the control plane could not be done, in the caller's terms.

use serde_json::{Value, json};

use crate::{
    name::{ServerId, TenantId},
    upstream::UpstreamError,
};

/// `Display` is the sentence a caller reads.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// Unknown, or beyond the caller's reach: the two must not differ by a byte.
    #[error("{}", tenant_not_found(.name))]
    UnknownTenant { name: String },
    /// Likewise.
    #[error("Server '{name}' not found")]
    UnknownServer { name: String },
    #[error("{}", sentence(&.0.to_string()))]
    Server(#[from] UpstreamError),
}

impl ControlError {
    pub fn unknown_tenant(name: &TenantId) -> Self {
        Self::UnknownTenant { name: name.to_string() }
    }

    pub fn unknown_server(id: &ServerId) -> Self {
        Self::UnknownServer { name: id.name.to_string() }
    }

    /// The class of the one error body: `NOT_FOUND`, `SERVER_ERROR`, …
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownTenant { .. } | Self::UnknownServer { .. } => "NOT_FOUND",
            Self::Server(error) => error.reason.class(),
        }
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Self::UnknownTenant { .. } | Self::UnknownServer { .. } => 404,
            Self::Server(error) => error.reason.status(),
        }
    }

    /// `data` of the one error body.
    pub fn data(&self) -> Value {
        match self {
            Self::UnknownTenant { name } => not_found("tenant", name),
            Self::UnknownServer { name } => not_found("server", name),
            Self::Server(error) => json!({
                "origin": "hub", "reason": error.reason.as_str(), "retryable": error.reason.retryable(),
                "server": error.server.name, "tenant_id": error.server.tenant,
            }),
        }
    }

    /// When trying again may help.
    pub fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::Server(error) => error.retry_after_ms,
            Self::UnknownTenant { .. } | Self::UnknownServer { .. } => None,
        }
    }
}

/// The same for an unknown tenant and for one out of reach. Who named none is told how to.
pub fn tenant_not_found(name: &str) -> String {
    let hint = if name == TenantId::DEFAULT { "; name one: /t/{tenant}/mcp, ?tenant_id=, X-Tenant-Id, or tenant:server" } else { "" };
    format!("Tenant '{name}' not found{hint}")
}

fn not_found(kind: &str, name: &str) -> Value {
    json!({"origin": "hub", "kind": kind, "name": name})
}

/// An error's text with a capital first letter: REST clients show it to people as it is.
pub fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{name::ServerName, protocol::code::Reason};

    #[test]
    fn the_unknown_answer_with_their_kind_and_the_name_that_was_asked_for() {
        let tenant = ControlError::UnknownTenant { name: "acme".into() };
        assert_eq!((tenant.code(), tenant.status(), tenant.to_string().as_str()), ("NOT_FOUND", 404, "Tenant 'acme' not found"));
        assert_eq!(tenant.data()["kind"], "tenant");
        let default = ControlError::UnknownTenant { name: "default".into() }.to_string();
        assert!(default.starts_with("Tenant 'default' not found; ") && default.contains("?tenant_id="), "{default}");
        let server = ControlError::UnknownServer { name: "x".into() };
        assert_eq!((server.code(), server.status(), server.to_string().as_str()), ("NOT_FOUND", 404, "Server 'x' not found"));
        assert_eq!((&server.data()["kind"], &server.data()["name"]), (&json!("server"), &json!("x")));
    }

    #[test]
    fn a_server_that_cannot_be_used_says_which_and_why() {
        let id = ServerId { tenant: TenantId::default_tenant(), name: ServerName::new("x").unwrap() };
        for (reason, code, status) in [
            (Reason::Stopped, "SERVER_ERROR", 503),
            (Reason::Disabled, "SERVER_ERROR", 503),
            (Reason::StartFailed, "SERVER_ERROR", 503),
            (Reason::Crashed, "SERVER_ERROR", 503),
            (Reason::Busy, "SERVER_ERROR", 503),
            (Reason::ServerExited, "CONNECTION_ERROR", 502),
            (Reason::BadAnswer, "CONNECTION_ERROR", 502),
            (Reason::Timeout, "CONNECTION_ERROR", 504),
        ] {
            let error = UpstreamError { server: id.clone(), reason, what: "cannot answer".into(), retry_after_ms: Some(1500) };
            let error = ControlError::from(error);
            assert_eq!((error.code(), error.status()), (code, status), "{reason:?}");
            assert_eq!(error.data()["reason"], reason.as_str(), "{reason:?}");
            assert_eq!((&error.data()["server"], &error.data()["tenant_id"]), (&json!("x"), &json!("default")));
            assert_eq!(error.retry_after_ms(), Some(1500));
            assert!(error.to_string().starts_with("Server "), "{error}");
        }
    }
}
