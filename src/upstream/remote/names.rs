//! What the headers of a request repeat of it (MCP 2026-07-28, Streamable HTTP).

use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use crate::{
    protocol::{Message, Method, header},
    upstream::Opening,
};

const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// Of a caller's request.
pub(super) fn of_opening(opening: &Opening<'_>) -> HeaderMap {
    let mut names = HeaderMap::with_capacity(2 + opening.headers.len());
    put(&mut names, METHOD, opening.method);
    opening.name.into_iter().for_each(|name| put(&mut names, NAME, name));
    for (name, value) in opening.headers {
        if let Ok(name) = HeaderName::from_bytes(format!("mcp-param-{name}").as_bytes()) {
            put(&mut names, name, value);
        }
    }
    names
}

/// Of a request of the hub's own, for which nobody said them.
pub(super) fn of_line(line: &Bytes) -> HeaderMap {
    let mut names = HeaderMap::new();
    if let Ok(message) = Message::parse(line.clone()) {
        put(&mut names, METHOD, message.method().as_str());
        if let Some(name) = message.name().filter(|_| matches!(message.method(), Method::ToolsCall | Method::PromptsGet)) {
            put(&mut names, NAME, &name);
        }
    }
    names
}

fn put(names: &mut HeaderMap, name: HeaderName, value: &str) {
    // What was encoded is printable, so it always can be carried.
    if let Ok(value) = HeaderValue::from_str(&header::encode(value)) {
        names.insert(name, value);
    }
}
