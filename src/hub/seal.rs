//! States that travel through clients: what `bridge::seal` needs of the world, a nonce and the time.

use std::time::{Duration, SystemTime};

use super::{Hub, random};
use crate::bridge::seal::{Binding, State, What};

/// How long a stateless server's own state, wrapped, may take to come back.
pub(super) const RELAY: Duration = Duration::from_secs(60 * 60);

/// A state for one caller and one request, good for so long.
pub(super) fn state(hub: &Hub, what: What, server: &str, lives: Duration, binding: &Binding<'_>) -> String {
    let state = State { what, server: server.to_owned(), expires_unix: unix(SystemTime::now() + lives) };
    hub.sealer.seal(&state, binding, random())
}

/// Seconds since 1970.
pub(super) fn unix(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
