//! Refusals at the level of HTTP, with a JSON-RPC error as their body.

use super::super::{Reply, reply};
use crate::protocol::{Refusal, RequestId, code::Code};
use hyper::StatusCode;

/// Any refusal, with its own status.
pub(in crate::downstream) fn with(refusal: &Refusal) -> Reply {
    reply::json_body(StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST), refusal.to_body())
}

/// `-32600` with this status.
pub(in crate::downstream) fn invalid(status: StatusCode, message: impl Into<String>, id: Option<RequestId>) -> Reply {
    with(&Refusal::new(Code::InvalidRequest, status.as_u16(), message).with_id(id))
}
