//! `mcp-hub`: one process between AI agents and MCP servers. A message is scanned once, a few spans of it are replaced, and
//! the bytes go on. `ARCHITECTURE.md` has the map; the rooms in reading order:
//!
//! - [`limits`], [`name`], `random`: every bound; the names of tenants and servers; what nobody can guess.
//! - [`protocol`]: the language on the wire. Pure.
//! - [`mux`]: one connection's conversation: ids, deadlines, the outbox. Pure.
//! - [`bridge`]: what a call becomes when client and server speak different revisions. Pure.
//! - [`catalog`]: what exists, under which name, for which tenant. Pure but for one table.
//! - [`observe`], [`config`], [`store`]: the log and the event bus; files to settings; durable bytes.
//! - [`net`]: the one way out besides children: addresses, TLS, HTTP.
//! - [`access`]: who calls, and how much they may have under way.
//! - [`upstream`]: the server leg: pools, processes, pipes, remote servers.
//! - [`hub`]: the data plane, where a request crosses.
//! - [`control`]: the control plane: what changes.
//! - [`downstream`]: the client leg: listeners, routes, doors.
//! - [`app`], [`cli`]: putting together; commands.

pub mod limits;
pub mod name;

mod random;

pub mod protocol;

pub mod mux;

pub mod bridge;

pub mod catalog;

pub mod observe;

pub mod config;

pub mod store;

pub mod net;

pub mod access;

pub mod upstream;

pub mod hub;

pub mod control;

pub mod downstream;

pub mod app;
pub mod cli;

#[cfg(test)]
mod sim;
