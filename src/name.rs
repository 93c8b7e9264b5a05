//! The names every room shares: tenants and servers. Cheap to clone, compared as text.

use std::{fmt, sync::Arc};

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);
        impl $name {
            /// Checks `^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$` (api.md 4.1).
            pub fn new(text: &str) -> Option<Self> { is_name(text).then(|| Self(text.into())) }
            pub fn as_str(&self) -> &str { &self.0 }
        }
        impl fmt::Display for $name { fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) } }
        impl fmt::Debug for $name { fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) } }
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> { s.serialize_str(&self.0) }
        }
    };
}
name!(/** A tenant. */ TenantId);
name!(/** A server within its tenant. */ ServerName);

impl TenantId {
    /// Of callers who name none.
    pub const DEFAULT: &str = "default";

    pub fn default_tenant() -> Self {
        Self(Self::DEFAULT.into())
    }
}

/// `tenant:server`, a server's full id.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerId {
    pub tenant: TenantId,
    pub name: ServerName,
}
impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.tenant, self.name)
    }
}
impl fmt::Debug for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// First words of the hub's own addresses: a server so named has no `/{server}/mcp`, only the address with its tenant.
pub const ADDRESS_WORDS: [&str; 13] =
    ["api", "apps", "dashboard", "g", "health", "livez", "mcp", "messages", "metrics", "readyz", "sse", "t", "ws"];

fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    matches!(bytes, [first, ..] if first.is_ascii_alphanumeric())
        && bytes.len() <= 63
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}
