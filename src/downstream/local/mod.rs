//! One hub for all editors of a user: the first process is the hub and listens on a socket in a folder of its user's alone, further
//! ones with the same configuration and environment only copy lines between their stdin, stdout and that socket, and take its place
//! when it goes away.
//!
//! What a connection says: the first line is a `hello`, answered by one line; then messages both ways as on stdin and stdout. Only
//! processes of the same user get so far.
//!
//! - `seat`: where the socket is, and who owns it. Everyone may try at once; one wins.
//! - `hello`: the first lines.
//! - `door`: the hub's side.
//! - `join`: finding the hub, or becoming it.
//! - `ledger`, `front`: the other side: what a client was promised, and the copying.

pub mod door;
pub mod front;
mod hello;
pub mod join;
mod ledger;
pub mod seat;
