//! The client leg: from a socket's bytes to one call of the hub, and back. Never imports `upstream`.
//!
//! The way of a request: `listen` accepts, `connection` speaks HTTP/1, `guard` checks Host and Origin, `route` finds the door and
//! its access rule, then the door (`mcp`, `rest`, `socket`) answers with a `Reply`.
#![deny(clippy::unwrap_used, clippy::indexing_slicing)]

pub mod body;
mod connection;
pub mod doors;
mod entry;
mod gather;
pub mod guard;
pub mod legacy;
pub mod listen;
pub mod local;
pub mod mcp;
mod pipe;
pub mod pulse;
pub mod reply;
pub mod request;
pub mod rest;
pub mod route;
pub mod socket;
mod standing;
pub mod stdio;
mod stream;
pub mod value;
pub mod watch;
mod work;

pub use doors::{Doors, Mount, Ready, Stage};
pub use reply::{Reply, ReplyBody};
pub use request::Request;
