//! One connection's conversation: ids, deadlines, progress, cancellation, the bounded outbox.
//!
//! Pure: no task, clock, lock or socket; `now` arrives as an argument. It never sees a message, only ids and what the shell keeps for each call.
//! Cost of a call: one slot taken and one given back, no allocation once warm (bench `mux`).
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods)]

pub mod connection;
pub mod model;
#[cfg(test)]
mod orders;
pub mod outbox;
pub mod pending;
pub mod wire_id;

pub use connection::{Connection, Counters, Deadline};
pub use model::fuzz_mux;
pub use outbox::Outbox;
pub use wire_id::WireId;
