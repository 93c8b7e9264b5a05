//! Why a request to a remote server has no answer.

use std::time::Duration;

use hyper::{
    StatusCode,
    header::{HeaderMap, RETRY_AFTER},
};

use crate::{
    name::ServerId,
    net::NetError,
    protocol::{Message, code::Reason},
    upstream::UpstreamError,
};

#[derive(Clone, Debug, thiserror::Error)]
pub(in crate::upstream) enum Fault {
    #[error("{0}")]
    Net(#[from] NetError),
    #[error("needs authorization: it answered with HTTP {}; what it wants belongs into \"headers\" of its entry", .0.as_u16())]
    Unauthorized(StatusCode),
    #[error("takes no more requests for now (HTTP {})", status.as_u16())]
    Busy { status: StatusCode, retry_after: Option<Duration> },
    #[error("answered with HTTP {}", .0.as_u16())]
    Status(StatusCode),
    /// An error of JSON-RPC that names no request.
    #[error("refused with HTTP {}", status.as_u16())]
    Refused { status: StatusCode, message: Box<Message> },
    #[error("answered with content of type '{0}'")]
    ContentType(String),
    #[error("answered with something that is no answer")]
    NoAnswer,
    /// After the request was sent.
    #[error("broke off before it had answered")]
    Cut,
    /// The request was not processed.
    #[error("has forgotten its session")]
    SessionLost,
}

impl Fault {
    /// The server, or the way to it, is at fault, and may be well again later: no verdict about what it speaks.
    pub(super) fn is_outage(&self) -> bool {
        match self {
            Self::Net(error) => error.is_outage(),
            Self::Status(status) => status.is_server_error(),
            Self::Cut => true,
            _ => false,
        }
    }

    /// The server may have got the request, and be at work on it.
    pub(super) fn may_go_on(&self) -> bool {
        match self {
            Self::Net(error) => !error.is_unsent(),
            Self::Status(status) => status.is_server_error(),
            Self::Cut => true,
            _ => false,
        }
    }

    pub(super) fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Unauthorized(status) | Self::Status(status) | Self::Busy { status, .. } | Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// For the caller.
    pub(in crate::upstream) fn told(&self, server: &ServerId) -> UpstreamError {
        let reason = match self {
            Self::Net(error) if error.is_unsent() => Reason::Crashed,
            Self::Net(NetError::Redirected { .. } | NetError::TooLarge { .. }) => Reason::BadAnswer,
            Self::Net(_) | Self::Cut => Reason::ServerExited,
            Self::Unauthorized(_) => Reason::Unauthorized,
            Self::Busy { .. } => Reason::Busy,
            Self::Status(_) | Self::Refused { .. } | Self::ContentType(_) | Self::NoAnswer => Reason::BadAnswer,
            Self::SessionLost => Reason::Crashed,
        };
        let what = match self {
            Self::Net(error) => format!("is out of reach: {error}"),
            other => other.to_string(),
        };
        let error = UpstreamError::new(server, reason, what);
        match self {
            Self::Busy { retry_after: Some(wait), .. } => error.retry_after(*wait),
            _ => error,
        }
    }

    /// Of an answer that is no success, whose body says nothing of use.
    pub(super) fn of_status(status: StatusCode, headers: &HeaderMap) -> Self {
        let retry_after = retry_after(headers);
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Self::Unauthorized(status),
            StatusCode::TOO_MANY_REQUESTS => Self::Busy { status, retry_after },
            StatusCode::SERVICE_UNAVAILABLE if retry_after.is_some() => Self::Busy { status, retry_after },
            _ => Self::Status(status),
        }
    }
}

/// Seconds; a date says too little without a clock that both sides trust.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(24 * 3600)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::{ServerName, TenantId};

    #[test]
    fn every_status_has_its_reason_and_its_time() {
        let id = ServerId { tenant: TenantId::default_tenant(), name: ServerName::new("r").unwrap() };
        for (status, wait, reason, retry_after_ms, is_outage) in [
            (401, None, Reason::Unauthorized, None, false),
            (403, None, Reason::Unauthorized, None, false),
            (404, None, Reason::BadAnswer, None, false),
            (429, None, Reason::Busy, None, false),
            (429, Some("7"), Reason::Busy, Some(7000), false),
            (429, Some("Wed, 21 Oct 2026 07:28:00 GMT"), Reason::Busy, None, false),
            (500, None, Reason::BadAnswer, None, true),
            (502, Some("3"), Reason::BadAnswer, None, true),
            (503, None, Reason::BadAnswer, None, true),
            (503, Some("3"), Reason::Busy, Some(3000), false),
        ] {
            let mut headers = HeaderMap::new();
            headers.extend(wait.map(|wait| (RETRY_AFTER, wait.parse().unwrap())));
            let fault = Fault::of_status(StatusCode::from_u16(status).unwrap(), &headers);
            let told = fault.told(&id);
            assert_eq!((told.reason, told.retry_after_ms, fault.is_outage()), (reason, retry_after_ms, is_outage), "{status}");
        }
    }
}
