//! The table of tools, and that of prompts: tenant, list and name to route. Every accepted form of a name has its own entry.
//!
//! A look-up hashes the name, takes a shard's read lock for the moment of the comparison, and clones one `Arc`: no allocation, and a cost that does
//! not depend on the number of tools (bench `route`). No guard leaves this file.

use super::definition::Visibility;
use crate::{
    name::{ServerId, ServerName, TenantId},
    protocol::{capability::TaskSupport, param::HeaderParam},
    random,
};
use bytes::Bytes;
use dashmap::DashMap;
use std::{
    borrow::Borrow,
    hash::{Hash, Hasher},
    sync::Arc,
};

/// Where a name leads. Cloned out of the table at once.
#[derive(Debug)]
pub struct Route {
    pub server: ServerId,
    /// The server's own name for the tool or prompt, as text and as JSON token for splicing.
    pub tool: String,
    pub tool_token: Bytes,
    /// Canonical `server.tool`, or the safe form where that cannot be published.
    pub canonical: String,
    /// As the server gave it, raw JSON, byte for byte.
    pub definition: Bytes,
    /// Arguments that are mirrored in headers over HTTP.
    pub headers: Option<Arc<[HeaderParam]>>,
    pub visibility: Visibility,
    /// Handshake clients are shown its output as `{"result":…}`: structured content for them is wrapped so, whatever it is.
    pub wraps_output: bool,
    /// Of a tool of 2025-11-25.
    pub tasks: TaskSupport,
}

#[derive(Debug, Default)]
pub(super) struct Table {
    routes: DashMap<Key, Arc<Route>, random::State>,
}

impl Table {
    /// `server` for the original names of one server, none for the forms of the whole tenant.
    pub(super) fn get(&self, tenant: &TenantId, server: Option<&ServerName>, name: &str) -> Option<Arc<Route>> {
        let key = KeyRef { tenant: tenant.as_str(), server: server.map(ServerName::as_str), name };
        self.routes.get(&key as &dyn AsKey).map(|route| Arc::clone(&route))
    }

    pub(super) fn insert(&self, key: Key, route: Arc<Route>) {
        self.routes.insert(key, route);
    }

    pub(super) fn remove(&self, key: &Key) {
        self.routes.remove(key);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.routes.len()
    }
}

/// Owned in the table, its parts shared.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) tenant: TenantId,
    pub(super) server: Option<ServerName>,
    pub(super) name: Arc<str>,
}

/// What a key says, borrowed from wherever it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct KeyRef<'a> {
    tenant: &'a str,
    server: Option<&'a str>,
    name: &'a str,
}

/// Lets the table be asked with borrowed parts: `Key` borrows as this, and both compare and hash as `KeyRef`.
trait AsKey {
    fn as_key(&self) -> KeyRef<'_>;
}

impl AsKey for Key {
    fn as_key(&self) -> KeyRef<'_> {
        KeyRef { tenant: self.tenant.as_str(), server: self.server.as_ref().map(ServerName::as_str), name: &self.name }
    }
}

impl AsKey for KeyRef<'_> {
    fn as_key(&self) -> KeyRef<'_> {
        *self
    }
}

impl<'a> Borrow<dyn AsKey + 'a> for Key {
    fn borrow(&self) -> &(dyn AsKey + 'a) {
        self
    }
}

impl PartialEq for dyn AsKey + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.as_key() == other.as_key()
    }
}

impl Eq for dyn AsKey + '_ {}

impl Hash for dyn AsKey + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_key().hash(state);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.as_key() == other.as_key()
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_key().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(tool: &str) -> Arc<Route> {
        let server = ServerId { tenant: TenantId::default_tenant(), name: ServerName::new("s").unwrap() };
        Arc::new(Route {
            server,
            tool: tool.into(),
            tool_token: Bytes::new(),
            canonical: String::new(),
            definition: Bytes::new(),
            headers: None,
            visibility: Visibility::default(),
            wraps_output: false,
            tasks: TaskSupport::Forbidden,
        })
    }

    #[test]
    fn each_part_of_the_key_counts() {
        let table = Table::default();
        let tenants = ["a", "b"].map(|name| TenantId::new(name).unwrap());
        let servers = [None, ServerName::new("x"), ServerName::new("y")];
        let mut keys = Vec::new();
        for tenant in &tenants {
            for server in &servers {
                keys.extend(["x", "y", ""].map(|name| Key { tenant: tenant.clone(), server: server.clone(), name: name.into() }));
            }
        }
        for (n, key) in keys.iter().enumerate() {
            assert!(table.get(&key.tenant, key.server.as_ref(), &key.name).is_none());
            table.insert(key.clone(), route(&n.to_string()));
        }
        for (n, key) in keys.iter().enumerate() {
            assert_eq!(table.get(&key.tenant, key.server.as_ref(), &key.name).unwrap().tool, n.to_string());
        }
        table.remove(&keys[0]);
        assert!(table.get(&keys[0].tenant, None, "x").is_none());
        assert!(table.get(&keys[1].tenant, None, "y").is_some());
    }
}
