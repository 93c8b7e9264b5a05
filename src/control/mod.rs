//! The control plane: what changes. Starts, stops and refreshes servers on request, says what exists, and brings the catalog
//! in line with what servers say of themselves. Never carries a call, never starts a server that nobody asked for.
//!
//! No verb here is without a `&Principal`: what a caller cannot reach answers exactly as what does not exist.

pub mod demo;
pub mod error;
pub mod keep;
pub mod server;
pub mod tenant;
pub mod tools;
pub mod verbs;

use std::{sync::Arc, time::SystemTime};

pub use error::{ControlError, sentence, tenant_not_found};
pub use keep::Keeper;
pub use server::ServerView;
pub use tenant::{TenantStart, TenantView};
pub use tools::{ServerTools, ToolView};

use crate::{catalog::Catalog, config::Settings, observe::Bus, upstream::Fleet};

/// A handle of the parts that the verbs work on. Each group of verbs lives in its own file.
pub struct Control {
    pub settings: Arc<Settings>,
    pub catalog: Arc<Catalog>,
    pub fleet: Arc<Fleet>,
    pub bus: Bus,
    /// When the hub read its configuration: tenants of a file exist since then.
    opened: SystemTime,
}

impl Control {
    pub fn new(settings: Arc<Settings>, catalog: Arc<Catalog>, fleet: Arc<Fleet>, bus: Bus) -> Self {
        Self { settings, catalog, fleet, bus, opened: SystemTime::now() }
    }
}

/// ISO 8601 in UTC with milliseconds and `Z`, as every time on the wire.
fn wire_time(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

#[cfg(test)]
mod tests {
    use crate::{
        config::{Gateway, Settings, TenantSettings},
        limits::Limits,
    };

    /// Settings of a hub with these tenants.
    pub(super) fn settings(tenants: Vec<TenantSettings>) -> Settings {
        Settings {
            gateway: Gateway {
                host: "127.0.0.1".into(),
                port: 0,
                listeners: vec![],
                public_url: None,
                base_path: String::new(),
                hosts: vec![],
                threads: None,
                safe_names: false,
                legacy_sse: true,
                cors_origins: vec![],
                cors_credentials: false,
            },
            limits: Limits::default(),
            log_level: "info".into(),
            log_text: false,
            parallel_starts: 8,
            tenants,
            problems: vec![],
            files: vec![],
            digest: None,
        }
    }
}
