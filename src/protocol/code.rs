//! The one table of JSON-RPC codes, HTTP statuses and reasons. No other file writes such a number.

use super::Era;

/// JSON-RPC error codes of every revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    Parse,
    InvalidRequest,
    MethodNotFound,
    InvalidParams,
    Internal,
    /// A required header is missing or differs from the body (2026-07-28).
    HeaderMismatch,
    /// The client did not declare a capability the work needs (2026-07-28).
    MissingCapability,
    /// The revision of this request is not spoken here (2026-07-28).
    UnsupportedVersion,
    /// Until 2025-11-25; later revisions say `InvalidParams`.
    ResourceNotFound,
    /// A URL elicitation has to come first (2025-11-25 only).
    UrlElicitation,
    /// The user does not want to (`sampling/createMessage`).
    UserRejected,
}

impl Code {
    pub const fn number(self) -> i64 {
        match self {
            Self::Parse => -32700,
            Self::InvalidRequest => -32600,
            Self::MethodNotFound => -32601,
            Self::InvalidParams => -32602,
            Self::Internal => -32603,
            Self::HeaderMismatch => -32020,
            Self::MissingCapability => -32021,
            Self::UnsupportedVersion => -32022,
            Self::ResourceNotFound => -32002,
            Self::UrlElicitation => -32042,
            Self::UserRejected => -1,
        }
    }

    /// The HTTP status of an error with this code that answers a request whose envelope was in order.
    ///
    /// A stateless request with a faulty envelope is 400 also with `InvalidParams`; `protocol::era` says so itself.
    pub const fn http_status(self, era: Era) -> u16 {
        match (self, era) {
            (Self::Parse | Self::InvalidRequest, _) => 400,
            (_, Era::Handshake) => 200,
            (Self::MethodNotFound, Era::Stateless) => 404,
            (Self::HeaderMismatch | Self::MissingCapability | Self::UnsupportedVersion, Era::Stateless) => 400,
            (Self::InvalidParams | Self::Internal | Self::ResourceNotFound | Self::UrlElicitation | Self::UserRejected, Era::Stateless) => {
                200
            }
        }
    }
}

/// `-32020` to `-32099`: 2026-07-28 keeps them for codes that it defines; an older server may mean anything by them.
pub const fn is_reserved(number: i64) -> bool {
    matches!(number, -32099..=-32020)
}

/// Why the hub itself failed a call: `data.reason`, one vocabulary for JSON-RPC and REST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Stopped,
    Disabled,
    StartFailed,
    Crashed,
    Busy,
    /// The server wants credentials that the hub does not have.
    Unauthorized,
    ServerExited,
    BadAnswer,
    Timeout,
    Cancelled,
    ShuttingDown,
    /// The hub that had the call went away without an answer.
    HubExited,
    Internal,
    UnknownTool,
    /// The server does not do such a thing at all.
    Unsupported,
    /// The server would not do this.
    Refused,
}

impl Reason {
    /// Every one.
    pub const ALL: [Self; 16] = [
        Self::Stopped,
        Self::Disabled,
        Self::StartFailed,
        Self::Crashed,
        Self::Busy,
        Self::Unauthorized,
        Self::ServerExited,
        Self::BadAnswer,
        Self::Timeout,
        Self::Cancelled,
        Self::ShuttingDown,
        Self::HubExited,
        Self::Internal,
        Self::UnknownTool,
        Self::Unsupported,
        Self::Refused,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Disabled => "disabled",
            Self::StartFailed => "start_failed",
            Self::Crashed => "crashed",
            Self::Busy => "busy",
            Self::Unauthorized => "unauthorized",
            Self::ServerExited => "server_exited",
            Self::BadAnswer => "bad_answer",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::ShuttingDown => "shutting_down",
            Self::HubExited => "hub_exited",
            Self::Internal => "internal",
            Self::UnknownTool => "unknown_tool",
            Self::Unsupported => "unsupported",
            Self::Refused => "refused",
        }
    }

    /// The call did not reach the server and may succeed later. A call that may have had effects is never called retryable.
    pub const fn retryable(self) -> bool {
        match self {
            Self::Stopped | Self::StartFailed | Self::Crashed | Self::Busy | Self::ShuttingDown => true,
            Self::Disabled | Self::Unauthorized | Self::ServerExited | Self::HubExited | Self::BadAnswer | Self::Timeout => false,
            Self::Cancelled | Self::Internal | Self::UnknownTool | Self::Unsupported | Self::Refused => false,
        }
    }

    /// The JSON-RPC code that carries it.
    pub const fn code(self) -> Code {
        match self {
            Self::UnknownTool | Self::Unsupported | Self::Refused => Code::InvalidParams,
            _ => Code::Internal,
        }
    }

    /// HTTP status at the REST doors.
    pub const fn status(self) -> u16 {
        self.rest().1
    }

    /// The class (`SERVER_ERROR`, ...) at the REST doors.
    pub const fn class(self) -> &'static str {
        self.rest().0
    }

    const fn rest(self) -> (&'static str, u16) {
        match self {
            Self::Stopped | Self::Disabled | Self::StartFailed | Self::Crashed | Self::Busy | Self::Unauthorized => ("SERVER_ERROR", 503),
            Self::ServerExited | Self::HubExited | Self::BadAnswer | Self::Cancelled => ("CONNECTION_ERROR", 502),
            Self::Timeout => ("CONNECTION_ERROR", 504),
            Self::ShuttingDown => ("HUB_ERROR", 503),
            Self::Internal => ("HUB_ERROR", 500),
            Self::UnknownTool => ("TOOL_ERROR", 404),
            Self::Unsupported => ("SERVER_ERROR", 501),
            Self::Refused => ("SERVER_ERROR", 400),
        }
    }
}

/// `error.data` of a failure of the hub's own, as raw JSON:
/// `{"origin":"hub","server":"git","reason":"busy","retryable":true,"retryAfterMs":250}`.
pub fn failure_data(server: Option<&str>, reason: Reason, retry_after_ms: Option<u64>) -> String {
    let mut data = String::from(r#"{"origin":"hub","#);
    if let Some(server) = server {
        data.push_str(r#""server":"#);
        data.push_str(&super::refusal::quoted(server));
        data.push(',');
    }
    data.push_str(&format!(r#""reason":"{}","retryable":{}"#, reason.as_str(), reason.retryable()));
    if let Some(ms) = retry_after_ms {
        data.push_str(&format!(r#","retryAfterMs":{ms}"#));
    }
    data.push('}');
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_follow_the_era() {
        for (code, number, handshake, stateless) in [
            (Code::Parse, -32700, 400, 400),
            (Code::InvalidRequest, -32600, 400, 400),
            (Code::MethodNotFound, -32601, 200, 404),
            (Code::InvalidParams, -32602, 200, 200),
            (Code::Internal, -32603, 200, 200),
            (Code::HeaderMismatch, -32020, 200, 400),
            (Code::MissingCapability, -32021, 200, 400),
            (Code::UnsupportedVersion, -32022, 200, 400),
            (Code::ResourceNotFound, -32002, 200, 200),
            (Code::UrlElicitation, -32042, 200, 200),
            (Code::UserRejected, -1, 200, 200),
        ] {
            assert_eq!(code.number(), number);
            assert_eq!(code.http_status(Era::Handshake), handshake, "{code:?}");
            assert_eq!(code.http_status(Era::Stateless), stateless, "{code:?}");
        }
    }

    #[test]
    fn only_codes_of_the_new_range_are_reserved() {
        for (number, reserved) in [(-32000, false), (-32019, false), (-32020, true), (-32099, true), (-32100, false), (1, false)] {
            assert_eq!(is_reserved(number), reserved, "{number}");
        }
    }

    #[test]
    fn reasons_have_their_class_and_status_over_rest() {
        for (reason, class, status) in [
            (Reason::Stopped, "SERVER_ERROR", 503),
            (Reason::ServerExited, "CONNECTION_ERROR", 502),
            (Reason::Timeout, "CONNECTION_ERROR", 504),
            (Reason::ShuttingDown, "HUB_ERROR", 503),
            (Reason::Internal, "HUB_ERROR", 500),
            (Reason::UnknownTool, "TOOL_ERROR", 404),
        ] {
            assert_eq!((reason.class(), reason.status()), (class, status), "{reason:?}");
        }
    }

    #[test]
    fn no_two_reasons_read_alike_and_those_after_sending_are_not_retryable() {
        let names: std::collections::BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        for reason in [Reason::ServerExited, Reason::HubExited, Reason::BadAnswer, Reason::Timeout] {
            assert!(!reason.retryable(), "{reason:?}");
        }
    }

    #[test]
    fn failure_data_is_json_that_names_the_server_and_what_to_do() {
        assert_eq!(
            failure_data(Some("git"), Reason::Busy, Some(250)),
            r#"{"origin":"hub","server":"git","reason":"busy","retryable":true,"retryAfterMs":250}"#
        );
        assert_eq!(failure_data(None, Reason::Timeout, None), r#"{"origin":"hub","reason":"timeout","retryable":false}"#);
        for reason in Reason::ALL {
            let data: serde_json::Value = serde_json::from_str(&failure_data(Some("a\"b"), reason, None)).expect("JSON");
            assert_eq!(data["server"], "a\"b");
        }
    }
}
