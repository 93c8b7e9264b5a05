//! What the tests of this room share.

use crate::name::{ServerId, ServerName, TenantId};

pub(super) fn server_id() -> ServerId {
    ServerId { tenant: TenantId::default_tenant(), name: ServerName::new("s").unwrap() }
}
