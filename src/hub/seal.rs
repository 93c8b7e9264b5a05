//! States that travel through clients: what `bridge::seal` needs of the world, random numbers and the time.

use std::time::{Duration, SystemTime};

use super::Hub;
use crate::bridge::{
    seal::{Binding, Nonce, State, What},
    trace::SpanId,
};

/// How long a stateless server's own state, wrapped, may take to come back.
pub(super) const RELAY: Duration = Duration::from_secs(60 * 60);

pub(super) fn nonce() -> Nonce {
    let mut nonce = Nonce::default();
    getrandom::fill(&mut nonce).expect("the operating system has random numbers");
    nonce
}

/// A state for one caller and one request, good for so long.
pub(super) fn state(hub: &Hub, what: What, server: &str, lives: Duration, binding: &Binding<'_>) -> String {
    let state = State { what, server: server.to_owned(), expires_unix: unix(SystemTime::now() + lives) };
    hub.sealer.seal(&state, binding, nonce())
}

/// Seconds since 1970.
pub(super) fn unix(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Visible ASCII of 128 random bits.
pub(super) fn token() -> String {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).expect("the operating system has random numbers");
    URL_SAFE_NO_PAD.encode(bits)
}

/// Of the hub's own span in a caller's trace.
pub(super) fn span() -> SpanId {
    let mut bits = [0; 8];
    getrandom::fill(&mut bits).expect("the operating system has random numbers");
    SpanId::new(bits)
}

/// A number that no other process has.
pub(super) fn instance() -> u64 {
    let mut bits = [0; 8];
    getrandom::fill(&mut bits).expect("the operating system has random numbers");
    u64::from_ne_bytes(bits)
}
