//! A stateless server may answer that it only wants to be asked again: a `requestState` without questions (MCP 2026-07-28, multi
//! round-trip requests). For a caller who knows nothing of that the hub comes back, later each time, and never for ever.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::call::{Asked, Given, Kind};
use crate::{
    access::Principal,
    downstream::Doors,
    hub::{Endpoint, Inbound, Outcome},
    limits,
    protocol::{Message, Version},
};

/// A request, to be sent for the first time and perhaps again. What it holds is shared, not copied.
pub(super) struct Again {
    doors: Arc<Doors>,
    principal: Arc<Principal>,
    endpoint: Arc<Endpoint>,
    request: Bytes,
    rounds: u32,
}

impl Again {
    pub(super) fn new(doors: &Arc<Doors>, principal: &Arc<Principal>, endpoint: Endpoint, request: Bytes) -> Self {
        Self { doors: Arc::clone(doors), principal: Arc::clone(principal), endpoint: Arc::new(endpoint), request, rounds: 0 }
    }

    pub(super) fn send(&self, request: Message) -> Outcome {
        let (principal, endpoint) = (Arc::clone(&self.principal), Arc::clone(&self.endpoint));
        self.doors.hub.dispatch(Inbound::new(principal, endpoint, request, Version::STATELESS, None))
    }

    /// The request with the state that the result asks for, and when to send it. `None`: the result is anything else, or it has
    /// been sent often enough.
    pub(super) fn next(&mut self, given: &Given) -> Option<(Instant, Bytes)> {
        if given.kind != Kind::InputRequired || self.rounds >= limits::ROUNDS_MAX {
            return None;
        }
        let asked = Asked::read(&given.result).ok()?;
        let state = asked.request_state.filter(|_| asked.input_requests.is_none())?;
        self.rounds += 1;
        Some((Instant::now() + limits::ROUND_PAUSE * self.rounds, with_state(&self.request, state.get())?))
    }
}

/// `request` ends with its params, and is of the hub's own making; `state` is a raw JSON string.
fn with_state(request: &[u8], state: &str) -> Option<Bytes> {
    const END: &[u8] = b"}}";
    let mut again = BytesMut::from(request.strip_suffix(END)?);
    again.extend_from_slice(br#","requestState":"#);
    again.extend_from_slice(state.as_bytes());
    again.extend_from_slice(END);
    Some(again.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_becomes_a_member_of_the_params() {
        let request = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","_meta":{}}}"#;
        assert_eq!(
            with_state(request, r#""v\u0031""#).unwrap(),
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","_meta":{},"requestState":"v\u0031"}}"#
        );
    }
}
