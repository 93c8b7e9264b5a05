//! The real binary, real children and plain clients, as builders that read as prose.
#![allow(dead_code, unreachable_pub, unused_imports, reason = "each test binary uses its own part of this")]

pub mod calls;
pub mod client;
pub mod events;
pub mod hub;
pub mod raw;
pub mod remote_server;
pub mod server;
pub mod talk;

pub use calls::Calls;
pub use client::{Answer, Client};
pub use events::Events;
pub use hub::Hub;
pub use server::Server;
pub use talk::text;
