//! Sessions of handshake clients: which one a request belongs to.

use super::{
    super::{Doors, Reply, Request, reply},
    SESSION_ID, VERSION, refuse, supported, text,
};
use crate::{
    access::Principal,
    hub::{Endpoint, Session},
    protocol::{Era, RequestId, Version},
};
use hyper::{HeaderMap, StatusCode, header::HeaderValue};
use std::sync::Arc;

/// The live session that the request names, of this caller and this endpoint.
///
/// # Errors
/// 400 without the header or with a revision that no session speaks; 404 for an unknown, ended or foreign one: the client then
/// starts anew.
pub(super) fn find(
    doors: &Doors,
    principal: &Principal,
    endpoint: &Endpoint,
    headers: &HeaderMap,
    id: Option<RequestId>,
) -> Result<Arc<Session>, Reply> {
    let Some(named) = headers.get(&SESSION_ID) else {
        let message = "Mcp-Session-Id is missing; send initialize first";
        return Err(refuse::invalid(StatusCode::BAD_REQUEST, message, id));
    };
    let session = super::as_text(named).and_then(|session| doors.hub.sessions.get(session, principal));
    let Some(session) = session.filter(|session| is_of(session, endpoint)) else {
        return Err(refuse::invalid(StatusCode::NOT_FOUND, "Session not found", id));
    };
    match headers.get(&VERSION) {
        Some(version) if !is_handshake(version) => {
            let message = format!("Unsupported MCP-Protocol-Version; supported: {}", supported());
            Err(refuse::invalid(StatusCode::BAD_REQUEST, message, id))
        }
        _ => Ok(session),
    }
}

fn is_of(session: &Session, endpoint: &Endpoint) -> bool {
    let own = session.endpoint();
    own.tenant == endpoint.tenant && own.server == endpoint.server
}

/// One of the known handshake revisions.
pub(super) fn is_handshake(version: &HeaderValue) -> bool {
    version.to_str().ok().and_then(|version| Version::parse(version.trim_ascii())).is_some_and(|version| version.era() == Era::Handshake)
}

/// `DELETE`.
pub(super) fn end(doors: &Doors, endpoint: &Endpoint, request: &Request) -> Result<Reply, Reply> {
    let principal = request.caller()?;
    let headers = &request.parts.headers;
    find(doors, principal, endpoint, headers, None)?;
    if text(headers, &SESSION_ID).is_some_and(|session| doors.hub.sessions.end(session, principal)) {
        Ok(reply::status(StatusCode::NO_CONTENT))
    } else {
        Err(refuse::invalid(StatusCode::NOT_FOUND, "Session not found", None))
    }
}
