//! Files and environment to typed settings: one reader for every dialect, placeholders. Starts nothing, except what `${cmd:}` asks for
//! when an entry is resolved.

#![deny(clippy::unwrap_used, clippy::indexing_slicing)]

pub mod environment;
pub mod problem;
pub mod read;
pub mod settings;

mod document;
mod value;

mod files;

mod gateway;

mod entry;
mod life;
mod names;
pub mod remote;
mod roots;
mod shown;

mod finish;

mod command;
pub mod placeholder;

pub mod identity;
pub mod veil;

#[cfg(test)]
mod tests;

pub use identity::Identity;
pub use problem::Problem;
pub use remote::Remote;
pub use settings::{
    Gateway, Interactive, Launch, Listener, Pool, Restart, Scope, ServerSettings, Settings, Start, TenantSettings, Timeouts,
};
