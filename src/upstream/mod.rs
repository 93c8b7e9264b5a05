//! The server leg: configured servers, their pools, their children and connections. The only room that starts processes.
//!
//! Reading order: `fleet` (all servers), `server` (one, its start and stop by request), `supervise` and `serve` (how an instance comes
//! up, serves, ends and comes back), `pool` (whose it is), `learn`, `profiles` and `age` (what it lists, to whom, and for how long that
//! holds), `lease` and `exchange` (what a call holds), `inbox`, `question` and `news` (what a server says by itself), `feed` and
//! `subscription` (what it is asked to tell), `keepalive` (is it still there), `renegotiate` (does it still speak the revision), `wire`
//! (what carries it: pipes or HTTP), `calls`, `strays`, `waiter`, `questions`, `room` and `signs` (what either has), `child` (process,
//! pipes, first words), `remote` (servers over HTTP). Nothing here knows public names, clients or what a tool does.

#![deny(clippy::unwrap_used, clippy::indexing_slicing)]

mod age;
mod backoff;
mod calls;
mod child;
pub mod crowd;
pub mod error;
mod exchange;
mod exit;
mod feed;
pub mod fleet;
mod inbox;
mod instance;
mod keepalive;
mod learn;
pub mod lease;
#[cfg(test)]
mod left;
mod logging;
pub mod news;
mod pool;
mod profiles;
pub mod question;
mod questions;
mod remote;
mod renegotiate;
mod room;
mod roots;
mod serve;
pub mod server;
mod signs;
mod starts;
pub mod status;
mod strays;
pub mod subscription;
mod supervise;
mod uses;
mod waiter;
mod wire;

pub use error::UpstreamError;
pub use exchange::{Event, Exchange, Lingering};
pub use fleet::{Fleet, Learned, NewsDesk};
pub use lease::{Lease, Opening, Sharer};
pub use news::{News, What, Whose};
pub use question::{Progressing, Question};
pub use server::Server;
pub use status::{State, Status, Usable};
pub use subscription::Subscription;

#[cfg(test)]
pub(crate) use child::{actor, puppet};

#[cfg(test)]
mod tests;
