//! `POST`: one message in, its answer out. Each refusal is the first rung of the ladder that fails.

use super::{
    super::{Doors, Reply, Request, body::BodyError, guard, reply},
    METHOD, NAME, SESSION_ID, VERSION,
    accept::{self, Accept},
    answer::{self, Reader},
    batch, refuse, session,
};
use crate::{
    hub::{Endpoint, Inbound, ParamHeaders},
    observe::wire::Leg,
    protocol::{
        Kind, Message, Refusal, Version,
        code::Code,
        era::{self, Headers, Verdict},
    },
};
use hyper::{HeaderMap, StatusCode, header::HeaderName};
use std::sync::Arc;

pub(super) async fn handle(doors: &Arc<Doors>, endpoint: Arc<Endpoint>, mut request: Box<Request>, wire: &Leg) -> Reply {
    if !accept::is_json(&request.parts.headers) {
        return refuse::invalid(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Content-Type must be application/json", None);
    }
    let bytes = match request.read(doors.limits.body_bytes).await {
        Ok(bytes) => bytes,
        Err(failure @ BodyError::TooLarge { .. }) => {
            return refuse::invalid(StatusCode::PAYLOAD_TOO_LARGE, failure.to_string(), None);
        }
        Err(failure @ BodyError::Cut) => return refuse::invalid(StatusCode::BAD_REQUEST, failure.to_string(), None),
    };
    wire.received(&bytes);
    let pulse = request.pulse.clone();
    let accept = Accept::of(&request.parts.headers);
    if batch::is_one(&bytes) {
        return match batch::admit(doors, &endpoint, &request, &bytes) {
            Ok(batch) => {
                drop(request);
                Box::pin(batch.answer(doors, accept, pulse)).await
            }
            Err(refused) => refused,
        };
    }
    let inbound = match Message::parse(bytes) {
        Ok(message) => match admit(doors, endpoint, &request, accept, message) {
            Ok(inbound) => inbound,
            Err(refused) => return refused,
        },
        Err(failure) => return refuse::with(&Refusal::from(failure)),
    };
    // The head shares the connection's read buffer: let go of it before the call.
    drop(request);
    let reader = Reader { accept, era: inbound.client.era(), session: inbound.session.clone(), pulse };
    answer::reply(doors, reader, doors.hub.dispatch(inbound)).await
}

/// What goes to the hub.
///
/// # Errors
/// The reply when nothing does: refusals, and 202 for what only needs that.
fn admit(doors: &Doors, endpoint: Arc<Endpoint>, request: &Request, accept: Accept, message: Message) -> Result<Inbound, Reply> {
    let principal = request.caller()?;
    let headers = &request.parts.headers;
    let verdict = decide(&message, headers)?;
    let inbound = |message, client, session, endpoint| Inbound::new(principal.clone(), endpoint, message, client, session);
    match verdict {
        Verdict::Stateless if !accept.json && !accept.events => Err(unreadable(&message)),
        Verdict::Stateless => {
            let mut inbound = inbound(message, Version::STATELESS, None, endpoint);
            inbound.param_headers = Some(param_headers(headers));
            Ok(inbound)
        }
        Verdict::StatelessNotification => Err(reply::status(StatusCode::ACCEPTED)),
        Verdict::Handshake => {
            if headers.contains_key(&SESSION_ID) {
                session::find(doors, principal, &endpoint, headers, message.id())?;
                let known = "This session is initialized already";
                return Err(refuse::invalid(StatusCode::BAD_REQUEST, known, message.id()));
            }
            if accept != Accept::BOTH {
                return Err(unreadable(&message));
            }
            Ok(inbound(message, Version::LATEST_HANDSHAKE, None, endpoint))
        }
        Verdict::Session => {
            let session = session::find(doors, principal, &endpoint, headers, message.id())?;
            if message.kind() == Kind::Request && accept != Accept::BOTH {
                return Err(unreadable(&message));
            }
            let client = session.version().unwrap_or(Version::LATEST_HANDSHAKE);
            let endpoint = session.endpoint().clone();
            Ok(inbound(message, client, Some(session), endpoint))
        }
    }
}

/// MCP 2026-07-28, Streamable HTTP, custom headers from tool parameters. Which of them there must be, only the tool's schema tells.
fn param_headers(headers: &HeaderMap) -> ParamHeaders {
    let sent = headers.iter().filter_map(|(name, value)| {
        let parameter = name.as_str().strip_prefix("mcp-param-")?;
        let value = String::from_utf8_lossy(value.as_bytes());
        Some((parameter.into(), value.trim_matches([' ', '\t']).into()))
    });
    // None at all, as nearly always, is no allocation.
    sent.collect()
}

fn decide(message: &Message, headers: &HeaderMap) -> Result<Verdict, Reply> {
    let single = |name| {
        single(headers, name)
            .map_err(|what| refuse::with(&Refusal::new(Code::HeaderMismatch, 400, format!("{name} {what}")).with_id(message.id())))
    };
    let named = Headers { version: single(&VERSION)?, method: single(&METHOD)?, name: single(&NAME)? };
    era::decide_http(message, &named).map_err(|refusal| refuse::with(&refusal))
}

/// Two different values, or bytes that are not text, agree with no body.
fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, &'static str> {
    let Some(value) = guard::one(headers, name).map_err(|()| "is sent more than once")? else { return Ok(None) };
    std::str::from_utf8(value.as_bytes()).map(|text| Some(text.trim_ascii())).map_err(|_| "is not text")
}

fn unreadable(message: &Message) -> Reply {
    let both = "Accept must list application/json and text/event-stream";
    refuse::invalid(StatusCode::NOT_ACCEPTABLE, both, message.id())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    #[test]
    fn headers_of_parameters_are_picked_out_of_the_others() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("mcp-name", &b"t"[..]), ("mcp-parameter", b"x"), ("accept", b"*/*")] {
            headers.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        assert!(param_headers(&headers).is_empty());
        for (name, value) in [("Mcp-Param-City", &b" Bern\t"[..]), ("mcp-param-city", b"=?base64?QQ==?="), ("MCP-PARAM-X", b"a\xff")] {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        let sent = param_headers(&headers);
        let mut sent: Vec<_> = sent.iter().map(|(name, value)| (&**name, &**value)).collect();
        sent.sort_unstable();
        assert_eq!(sent, [("city", "=?base64?QQ==?="), ("city", "Bern"), ("x", "a\u{fffd}")]);
    }
}
