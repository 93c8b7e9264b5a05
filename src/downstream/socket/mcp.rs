//! `/ws/mcp`: MCP as on stdio, one message a text frame (custom transports of every revision). Closing the socket ends its session
//! and cancels what is under way.

use bytes::Bytes;

use super::{
    super::{pipe::Pipe, work::Work},
    door::Door,
};

/// Must be offered by the client, and is chosen.
pub(super) const SUBPROTOCOL: &str = "mcp";

impl Door for Pipe {
    fn take(&mut self, message: Bytes) -> bool {
        self.take(message)
    }

    fn stop(&mut self) {
        self.stop();
    }

    fn work(&mut self) -> &mut Work {
        self.work()
    }
}
