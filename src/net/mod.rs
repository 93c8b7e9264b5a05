//! Outgoing connections: the only door out besides children. Resolves, refuses addresses that nobody allowed, connects to exactly
//! the address that was checked, speaks HTTP/1.1 or HTTP/2 over it. Follows no redirect, uses no proxy, knows no MCP.

#![deny(clippy::unwrap_used, clippy::indexing_slicing)]

pub mod address;
pub mod body;
pub mod client;
mod connect;
pub mod error;
mod stream;
pub mod tls;

pub use address::Reach;
pub use client::Client;
pub use error::NetError;

/// Begins what plays a connection, and hands out the hub's end of it.
#[cfg(test)]
pub(crate) type Stage = std::sync::Arc<dyn Fn() -> std::io::Result<tokio::io::DuplexStream> + Send + Sync>;
