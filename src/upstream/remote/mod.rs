//! Servers over HTTP: Streamable HTTP of every revision, and HTTP+SSE of 2024-11-05 behind it. Knows nothing of pools or of who calls.
//!
//! Reading order: `target` (where, and with which headers), `greet` (which era, MCP 2026-07-28, Versioning), `link` (the slots of open
//! calls), `call` (one POST and what comes of it), `names` (its headers), `events` (streams of an answer), `heard` (what is said there), `session` (2025-03-26 to 2025-11-25), `legacy`
//! (2024-11-05), `breaker` (is it worth asking).

mod breaker;
mod call;
mod events;
mod fault;
pub(super) mod greet;
mod heard;
mod legacy;
pub(super) mod link;
mod names;
mod session;
pub(super) mod target;
