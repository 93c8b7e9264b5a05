//! What one call becomes when the two legs differ: ids, names, progress tokens and the envelope of each era. Pure.
//!
//! Every message is scanned before it comes here; the bridge only says which spans change. It never reads `arguments` or content,
//! holds no state between two messages, and knows no tool.

#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods)]

pub mod incoming;
pub mod outgoing;

/// The hub as it introduces itself on both legs.
const HUB: &str = concat!(r#"{"name":"mcp-hub","version":""#, env!("CARGO_PKG_VERSION"), r#""}"#);
