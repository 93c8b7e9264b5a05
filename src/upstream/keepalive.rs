//! Whether a server is still there (`keepalive`): when nothing was heard of it for so long it is asked for a sign of life, and what does
//! not give one is no server any more. `ping` in the handshake era; 2026-07-28 has none, so a child is asked `server/discover`, and of
//! a server over HTTP, to which nothing is connected between two requests, nothing is asked.
//!
//! Whatever is heard counts, not only the answer: a server that says something is there.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::{
    Exchange, Server,
    exchange::Wants,
    instance::Instance,
    wire::{Carrier, Wire},
};
use crate::{
    bridge::outgoing,
    limits::KEEPALIVE_ANSWER_MAX,
    mux::Deadline,
    protocol::{Era, Version},
};

/// Signs of life that are asked for before one that only failed, and was not left without an answer, counts as gone.
const TRIES: u32 = 2;

impl Server {
    /// Resolves when the server of this instance has gone silent.
    pub(super) async fn silent(&self, instance: &Instance) {
        match self.settings.keepalive {
            Some(every) => silent(&instance.link, instance.version(), every).await,
            None => std::future::pending().await,
        }
    }
}

/// How long a sign is waited for.
pub(super) fn patience(every: Duration) -> Duration {
    every.min(KEEPALIVE_ANSWER_MAX)
}

/// Resolves when nothing came of it for `every`, and nothing of what it was asked then either.
pub(super) async fn silent(link: &Wire, version: Version, every: Duration) {
    let method = match (version.era(), link.carrier()) {
        (Era::Handshake, _) => "ping",
        (Era::Stateless, Carrier::Pipe) => "server/discover",
        (Era::Stateless, Carrier::Http) => return std::future::pending().await,
    };
    let signs = link.signs();
    let deadline = Deadline { call: patience(every), call_max: patience(every) };
    'quiet: loop {
        sleep(every).await;
        for _ in 0..TRIES {
            if signs.was_heard() {
                continue 'quiet;
            }
            let until = Instant::now() + deadline.call;
            match link.open(Wants::QUIET, deadline, |wire| outgoing::own(wire, method, "{}", version)) {
                Ok(opened) => drop(Exchange::new(opened, None).next().await),
                Err(_) => {
                    sleep(deadline.call).await;
                    // It has failed so often that nobody asks it: that is the breaker's to judge. A child reads nothing any more.
                    if link.carrier() == Carrier::Http {
                        continue 'quiet;
                    }
                }
            }
            // The answer is not to pass for a sign in the time to come.
            if signs.was_heard() {
                continue 'quiet;
            }
            if Instant::now() >= until {
                return;
            }
            // One that failed at once, as before a gateway that is being changed, says little: it is asked once more.
            sleep_until(until).await;
        }
        if !signs.was_heard() {
            return;
        }
    }
}
