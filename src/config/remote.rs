//! What a `url` entry may say: an address, and headers. Checked when the file is read, and again when placeholders are resolved.

use std::{collections::BTreeMap, fmt, net::IpAddr};

use hyper::{
    Uri,
    header::{HeaderMap, HeaderName, HeaderValue},
};

use super::shown::MASK;

/// A server elsewhere; placeholders in `url`, `headers` and `env_file` are still in place.
#[derive(Clone, PartialEq, Eq)]
pub struct Remote {
    pub url: String,
    pub headers: BTreeMap<String, String>,
    /// Only for placeholders.
    pub env: BTreeMap<String, Option<String>>,
    pub env_file: Option<String>,
    pub transport: Transport,
    /// It may live at a private address.
    pub allow_private: bool,
}

impl Remote {
    /// Without what may be a key.
    pub fn shown_url(&self) -> String {
        super::shown::without_secrets(&self.url)
    }
}

/// Values of `headers` and `env`, and the query, may be secrets.
impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<(&str, &str)> = self.headers.keys().map(|name| (name.as_str(), MASK)).collect();
        f.debug_struct("Remote").field("url", &self.shown_url()).field("headers", &headers).finish_non_exhaustive()
    }
}

/// How a remote server is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// Streamable HTTP; the transport of 2024-11-05 where that is all there is.
    #[default]
    Http,
    /// HTTP+SSE of 2024-11-05.
    Sse,
}

impl Transport {
    /// As people see it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "streamable-http",
            Self::Sse => "sse",
        }
    }
}

/// Where a remote server is and what it is told, every placeholder resolved.
#[derive(Clone)]
pub struct Destination {
    pub url: Uri,
    /// Marked as sensitive.
    pub headers: HeaderMap,
    pub transport: Transport,
    pub allow_private: bool,
    /// It names this very machine, and the hub serves nobody else.
    pub allow_loopback: bool,
}

/// Shows no header and no query.
impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&HeaderName> = self.headers.keys().collect();
        f.debug_struct("Destination").field("host", &self.url.host()).field("headers", &names).finish_non_exhaustive()
    }
}

/// Headers that the hub writes itself.
const OWN: [&str; 16] = [
    "host",
    "content-length",
    "content-type",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "proxy-connection",
    "upgrade",
    "te",
    "trailer",
    "accept",
    "accept-encoding",
    "last-event-id",
    "mcp-session-id",
    "mcp-protocol-version",
    "mcp-method",
];

/// What is wrong completes `"url" …`; nothing of the address is repeated, it may hold a secret.
pub(super) fn address(text: &str) -> Result<Uri, &'static str> {
    let text = text.trim();
    if text.contains('#') {
        return Err("must have no fragment (#…)");
    }
    let Ok(uri) = text.parse::<Uri>() else { return Err("is no address; write https://host/path") };
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err("must begin with https:// or http://");
    }
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    if authority.contains('@') {
        return Err("must hold no user name or password; use \"headers\"");
    }
    if uri.host().is_none_or(str::is_empty) || (authority.ends_with(':') || uri.port().is_some_and(|port| port.as_u16() == 0)) {
        return Err("is no address; write https://host/path");
    }
    Ok(uri)
}

/// What is wrong completes `"headers" …`.
pub(super) fn header_name(name: &str) -> Result<HeaderName, String> {
    let Ok(header) = HeaderName::from_bytes(name.as_bytes()) else { return Err("holds a name that no header can have; rename it".into()) };
    if OWN.contains(&header.as_str()) || header.as_str().starts_with("mcp-param-") || header == "mcp-name" {
        return Err(format!("holds \"{name}\", which the hub writes itself; remove it"));
    }
    Ok(header)
}

/// `None`: HTTP cannot carry it.
pub(super) fn header_value(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(value.trim()).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Whether the address names the machine it is used on, without a look at any DNS.
pub(super) fn names_loopback(url: &Uri) -> bool {
    is_loopback(url.host().unwrap_or_default())
}

/// `localhost`, or an address of the loopback network; brackets of IPv6 or none.
pub(super) fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_web_addresses_are_addresses() {
        for good in ["https://h.example/mcp", "http://127.0.0.1:3000/mcp?a=b", "https://[::1]:1/", "https://h", " https://h/x "] {
            assert!(address(good).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("", "is no address"),
            ("h/mcp", "is no address"),
            ("/mcp", "must begin"),
            ("ftp://h/", "must begin"),
            ("ws://h/", "must begin"),
            ("https://u:p@h/", "no user name"),
            ("https://u@h/", "no user name"),
            ("https://h/#x", "no fragment"),
            ("https://", "is no address"),
            ("https://h:/", "is no address"),
            ("https://h:0/", "is no address"),
            ("https://h h/", "is no address"),
            ("https://h\r\nX: y/", "is no address"),
        ] {
            let said = address(bad).unwrap_err();
            assert!(said.contains(why), "{bad}: {said}");
        }
    }

    #[test]
    fn headers_of_the_hubs_own_cannot_be_given() {
        for name in ["Host", "content-type", "MCP-Session-Id", "Mcp-Param-Region", "Mcp-Name", "Connection"] {
            assert!(header_name(name).unwrap_err().contains(name), "{name}");
        }
        assert!(header_name("a b").is_err() && header_name("").is_err());
        for name in ["Authorization", "X-Api-Key", "User-Agent", "Cookie"] {
            assert!(header_name(name).is_ok(), "{name}");
        }
        assert!(header_value("a\r\nb").is_none());
        assert!(header_value(" Bearer x ").is_some_and(|value| value.is_sensitive() && value == "Bearer x"));
    }

    #[test]
    fn loopback_is_what_says_so_itself() {
        for (url, is) in [
            ("http://localhost:1/", true),
            ("http://LOCALHOST/", true),
            ("http://127.9.9.9/", true),
            ("http://[::1]/", true),
            ("http://[::ffff:127.0.0.1]/", true),
            ("http://localhost.example/", false),
            ("http://10.0.0.1/", false),
            ("http://0.0.0.0/", false),
        ] {
            assert_eq!(names_loopback(&address(url).unwrap()), is, "{url}");
        }
    }
}
