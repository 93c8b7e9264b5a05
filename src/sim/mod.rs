//! The simulation: the hub's cores, scripted servers of both eras and clients of both, in one thread under virtual time. Only processes
//! (`upstream::actor`) and sockets (`net::Stage`) are replaced, and the doors: clients drive what doors drive. Whatever happens follows
//! from a seed, so that what went wrong once can be seen again:
//!
//! `MCP_HUB_SIM_SEED=17 cargo test --lib sim::tests::replay -- --nocapture` prints every line on every wire of seed 17
//! (`1:17`: as it was before the simulation knew tasks; `2:17`: before it knew servers over HTTP),
//! `MCP_HUB_SIM_SEEDS=0..100000 cargo test --release --lib sim::` plays these.
//!
//! Reading order: `dice` (all choices), `plan` (what a call asks of its server), `record` (what happened, what is wrong), `server` and
//! `client` (who plays), `world` (how it begins, goes on and ends). `found` tells what was found,
//! as small tests.

mod client;
mod dice;
mod found;
mod plan;
mod record;
mod server;
mod tests;
mod world;
