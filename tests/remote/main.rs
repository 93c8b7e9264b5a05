//! Servers over HTTP: every revision, every way to misbehave, through a fleet and through the whole hub.

mod doors;
mod faults;
mod fleet;
mod scene;
#[path = "../support/mod.rs"]
mod support;
mod tls;
