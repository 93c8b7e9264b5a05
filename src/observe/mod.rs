//! What is told to people and programs that watch: the log, the event bus. Never decides anything.

pub mod bus;
mod file;
pub mod log;
pub mod wire;

pub use bus::{Bus, Event, ServerPhase};
pub use log::Log;
