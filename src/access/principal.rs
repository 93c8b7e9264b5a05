//! The authenticated caller, the unit of isolation.

use std::sync::Arc;

use super::quota::Account;
use crate::name::TenantId;

/// Who called, and which tenants they can reach.
#[derive(Debug)]
pub struct Principal {
    id: Arc<str>,
    reach: Reach,
    pub(super) account: Account,
}

/// The tenants a principal can name; every other one answers as if it did not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    Hub,
    Tenant(TenantId),
}

impl Principal {
    /// A peer on this machine while no credential is configured.
    pub fn local_admin() -> Arc<Self> {
        Self::new("local", Reach::Hub)
    }

    /// The holder of the key that the first start made.
    pub fn first_key() -> Arc<Self> {
        Self::new("first-key", Reach::Hub)
    }

    /// A caller who acts in one tenant only.
    pub fn of_tenant(id: &str, tenant: TenantId) -> Arc<Self> {
        Self::new(id, Reach::Tenant(tenant))
    }

    /// Stable over requests and clients: pools, sessions and sealed states are keyed by it.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    pub fn may_reach(&self, tenant: &TenantId) -> bool {
        match &self.reach {
            Reach::Hub => true,
            Reach::Tenant(own) => own == tenant,
        }
    }

    /// Sees file paths and other matters of the whole hub.
    pub fn is_admin(&self) -> bool {
        self.reach == Reach::Hub
    }

    /// Calls and streams of changes under way.
    #[cfg(test)]
    pub(crate) fn in_use(&self) -> usize {
        self.account.in_use()
    }

    /// The same caller with nothing under way.
    pub(super) fn with_own_account(&self) -> Arc<Self> {
        Arc::new(Self { id: Arc::clone(&self.id), reach: self.reach.clone(), account: Account::default() })
    }

    fn new(id: &str, reach: Reach) -> Arc<Self> {
        Arc::new(Self { id: id.into(), reach, account: Account::default() })
    }
}
