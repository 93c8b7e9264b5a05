//! What one call becomes when the two legs differ: ids, names, progress tokens and the envelope of each era. Pure.
//!
//! Every message is scanned before it comes here; the bridge says which spans change. It knows no tool, and reads `arguments` only to
//! digest those of a request that asks. What it holds between two messages are state machines of one request each (`park`, `shim`),
//! owned and driven by whoever holds the connections.

#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods)]

pub mod incoming;
pub mod outgoing;

pub mod question;
pub mod round;

pub mod park;
pub mod reissue;
pub mod seal;
pub mod shim;

pub mod task;

pub mod content;
pub mod downgrade;
pub mod trace;

mod fuzz;
mod json;

pub use fuzz::fuzz_bridge;

/// The hub as it introduces itself on both legs.
const HUB: &str = concat!(r#"{"name":"mcp-hub","version":""#, env!("CARGO_PKG_VERSION"), r#""}"#);
