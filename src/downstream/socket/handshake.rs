//! Whether a request opens a WebSocket (RFC 6455 4.2.1), and the answer that does. Host, Origin and caller were checked before.

use fastwebsockets::upgrade::UpgradeFut;
use hyper::{
    HeaderMap, Method, StatusCode, Version,
    body::Incoming,
    header::{self, HeaderName, HeaderValue},
    http::request::Parts,
};

use super::super::{
    Reply,
    guard::one,
    reply::{self, ReplyBody, class},
};

/// # Errors
/// The refusal: 426 to whoever speaks no WebSocket of version 13, 400 to whoever does it wrongly.
pub(super) fn check(parts: &Parts) -> Result<(), Reply> {
    let headers = &parts.headers;
    if parts.method != Method::GET || parts.version < Version::HTTP_11 {
        return Err(reply::invalid("A WebSocket is opened by GET over HTTP/1.1", None));
    }
    if !lists(headers, &header::UPGRADE, "websocket") || !lists(headers, &header::CONNECTION, "upgrade") {
        return Err(upgrade_required("This address is a WebSocket: send Upgrade: websocket"));
    }
    if !matches!(one(headers, &header::SEC_WEBSOCKET_VERSION), Ok(Some(version)) if version == "13") {
        return Err(upgrade_required("Sec-WebSocket-Version must be 13"));
    }
    if !matches!(one(headers, &header::SEC_WEBSOCKET_KEY), Ok(Some(key)) if is_key(key.as_bytes())) {
        return Err(reply::invalid("Sec-WebSocket-Key must be 16 bytes in base64, once", None));
    }
    // Bytes after the head would be taken for frames here and for a body elsewhere on the way.
    let has_body =
        headers.contains_key(header::TRANSFER_ENCODING) || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0");
    if has_body { Err(reply::invalid("A WebSocket request has no body", None)) } else { Ok(()) }
}

/// 101 and the stream that it opens. `check` said yes.
pub(super) fn accept(parts: Parts, body: Incoming) -> Option<(Reply, UpgradeFut)> {
    let request = hyper::Request::from_parts(parts, body);
    let (response, upgrade) = fastwebsockets::upgrade::upgrade(request).ok()?;
    Some((response.map(|_| ReplyBody::empty()), upgrade))
}

/// Whether the client offers a subprotocol.
pub(super) fn offers(headers: &HeaderMap, subprotocol: &str) -> bool {
    tokens(headers, &header::SEC_WEBSOCKET_PROTOCOL).any(|token| token == subprotocol.as_bytes())
}

fn lists(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    tokens(headers, name).any(|listed| listed.eq_ignore_ascii_case(token.as_bytes()))
}

fn tokens<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h [u8]> {
    headers.get_all(name).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

/// 22 characters and `==`.
fn is_key(key: &[u8]) -> bool {
    use base64::{Engine, engine::general_purpose::STANDARD};
    STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16)
}

fn upgrade_required(message: &str) -> Reply {
    let mut reply = reply::error(StatusCode::UPGRADE_REQUIRED, class::VALIDATION, message, serde_json::json!({"origin": "hub"}));
    let headers = reply.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    reply
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;

    const GOOD: [(&str, &str); 4] = [
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    fn parts(method: &str, version: Version, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).version(version).uri("/ws/mcp");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    /// The good headers, with those of `name` replaced.
    fn with<'a>(name: &'a str, values: &[&'a str]) -> Vec<(&'a str, &'a str)> {
        GOOD.into_iter().filter(|(own, _)| *own != name).chain(values.iter().map(|value| (name, *value))).collect()
    }

    #[test]
    fn only_a_whole_handshake_of_version_13_is_taken() {
        let cases: &[(&str, &[&str], Option<u16>)] = &[
            ("host", &["localhost"], None),
            ("upgrade", &["h2c, WebSocket"], None),
            ("upgrade", &["h2c", "websocket"], None),
            ("upgrade", &[], Some(426)),
            ("upgrade", &["websockets"], Some(426)),
            ("connection", &["keep-alive, Upgrade"], None),
            ("connection", &["keep-alive"], Some(426)),
            ("sec-websocket-version", &[], Some(426)),
            ("sec-websocket-version", &["8"], Some(426)),
            ("sec-websocket-version", &["13", "13"], Some(426)),
            ("sec-websocket-key", &[], Some(400)),
            ("sec-websocket-key", &["c2hvcnQ="], Some(400)),
            ("sec-websocket-key", &["not base64, not at all!!"], Some(400)),
            ("sec-websocket-key", &["dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ=="], Some(400)),
            ("content-length", &["0"], None),
            ("content-length", &["5"], Some(400)),
            ("transfer-encoding", &["chunked"], Some(400)),
        ];
        for (name, values, refused) in cases {
            let checked = check(&parts("GET", Version::HTTP_11, &with(name, values)));
            assert_eq!(checked.err().map(|reply| reply.status().as_u16()), *refused, "{name}: {values:?}");
        }
        assert!(check(&parts("HEAD", Version::HTTP_11, &GOOD)).is_err());
        assert!(check(&parts("GET", Version::HTTP_10, &GOOD)).is_err());
    }

    #[test]
    fn who_speaks_something_else_is_told_what_to_speak() {
        let reply = check(&parts("GET", Version::HTTP_11, &[])).unwrap_err();
        assert_eq!(reply.headers().get("upgrade").unwrap(), "websocket");
        assert_eq!(reply.headers().get("sec-websocket-version").unwrap(), "13");
    }

    #[test]
    fn subprotocols_are_compared_as_they_are_written() {
        for (offered, expected) in
            [(&["mcp"][..], true), (&["chat, mcp"], true), (&["chat", "mcp"], true), (&["MCP"], false), (&["mcp2"], false), (&[], false)]
        {
            let headers: Vec<_> = offered.iter().map(|offered| ("sec-websocket-protocol", *offered)).collect();
            assert_eq!(offers(&parts("GET", Version::HTTP_11, &headers).headers, "mcp"), expected, "{offered:?}");
        }
    }
}
