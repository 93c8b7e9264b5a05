//! Why a socket ends, as its close frame says (RFC 6455 7.4).

use bytes::{BufMut, Bytes, BytesMut};

/// A close frame that the hub sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Close {
    code: Option<u16>,
    /// At most 123 bytes: the payload of a control frame, less the code.
    reason: &'static str,
}

impl Close {
    pub(super) const GOING_AWAY: Self = Self::new(1001, "the hub is stopping");
    pub(super) const SILENT: Self = Self::new(1001, "pings were not answered");
    pub(super) const PROTOCOL: Self = Self::new(1002, "not the WebSocket protocol");
    pub(super) const UNSUPPORTED: Self = Self::new(1003, "messages are text");
    pub(super) const NOT_TEXT: Self = Self::new(1007, "text is UTF-8");
    pub(super) const POLICY: Self = Self::new(1008, "policy");
    pub(super) const BAD_MESSAGES: Self = Self::new(1008, "too many bad messages in a row");
    pub(super) const TOO_LARGE: Self = Self::new(1009, "the message is too large");
    pub(super) const TOO_SLOW: Self = Self::new(1013, "messages are not read fast enough");
    /// Answers a close frame without a code.
    pub(super) const WITHOUT_CODE: Self = Self { code: None, reason: "" };

    const fn new(code: u16, reason: &'static str) -> Self {
        assert!(reason.len() <= 123, "a control frame holds 125 bytes");
        Self { code: Some(code), reason }
    }

    /// With a reason more exact.
    pub(super) const fn because(self, reason: &'static str) -> Self {
        assert!(reason.len() <= 123, "a control frame holds 125 bytes");
        Self { code: self.code, reason }
    }

    pub(super) const fn echo(code: u16) -> Self {
        Self { code: Some(code), reason: "" }
    }

    pub(super) fn payload(self) -> Bytes {
        let mut payload = BytesMut::with_capacity(2 + self.reason.len());
        if let Some(code) = self.code {
            payload.put_u16(code);
            payload.put_slice(self.reason.as_bytes());
        }
        payload.freeze()
    }
}

/// How a socket's conversation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With a frame that is still to be sent.
    Close(Close),
    /// The client is gone, or takes nothing more: there is nobody to tell.
    Gone,
}
