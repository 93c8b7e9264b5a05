//! Before anything else: one `Host`, an allowed one, and an allowed `Origin` (what keeps web pages of strangers, and names of
//! strangers that point at this machine, out); and what browsers need to hear back.
//!
//! hyper takes no `Host`, two of them, and a foreign absolute-form target: they are refused here (RFC 9112 3.2).

use super::{
    Reply,
    reply::{self, class},
};
use crate::config::Gateway;
use hyper::{
    HeaderMap, StatusCode,
    header::{self, HeaderName, HeaderValue},
    http::request::Parts,
};
use std::net::{Ipv4Addr, Ipv6Addr};

/// The rules in force.
#[derive(Debug)]
pub struct Guard {
    /// Names beyond `localhost` and addresses, in lower case, without port.
    hosts: Vec<String>,
    /// Of all of the hub's listeners, as bound.
    ports: Vec<u16>,
    /// In lower case, without a trailing slash; `*` is `any_origin`.
    origins: Vec<String>,
    any_origin: bool,
    credentials: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("The request must name exactly one host")]
    BadHost,
    #[error("This host name is not one of the hub's; add it to gateway.hosts")]
    ForeignHost,
    #[error("This origin is not allowed; add it to gateway.cors.origins")]
    ForeignOrigin,
}
impl Refused {
    pub fn to_reply(self) -> Reply {
        let (status, class) = match self {
            Self::BadHost => (StatusCode::BAD_REQUEST, class::VALIDATION),
            Self::ForeignHost | Self::ForeignOrigin => (StatusCode::FORBIDDEN, class::AUTH),
        };
        reply::error(status, class, &self.to_string(), serde_json::json!({"origin": "hub"}))
    }
}

impl Guard {
    pub fn new(gateway: &Gateway, ports: &[u16]) -> Self {
        let public = gateway.public_url.as_deref().and_then(|url| url.split_once("://")).map(|(_, rest)| rest);
        let names = public.iter().copied().chain(gateway.hosts.iter().map(String::as_str));
        Self {
            hosts: names.filter_map(|name| Authority::parse(name.split('/').next()?)).map(|name| name.host.to_ascii_lowercase()).collect(),
            ports: ports.to_vec(),
            origins: gateway.cors_origins.iter().map(|origin| origin.trim_end_matches('/').to_ascii_lowercase()).collect(),
            any_origin: gateway.cors_origins.iter().any(|origin| origin == "*"),
            credentials: gateway.cors_credentials,
        }
    }

    /// The origin to answer, when there is one and it may come.
    ///
    /// # Errors
    /// Nothing more may be done with this request.
    pub fn check(&self, parts: &Parts) -> Result<Option<HeaderValue>, Refused> {
        let host = one(&parts.headers, &header::HOST).map_err(|()| Refused::BadHost)?.ok_or(Refused::BadHost)?;
        let host = host.to_str().map_err(|_| Refused::BadHost)?;
        if parts.uri.authority().is_some_and(|target| !target.as_str().eq_ignore_ascii_case(host)) {
            return Err(Refused::BadHost);
        }
        let authority = Authority::parse(host).ok_or(Refused::BadHost)?;
        if !self.is_ours(authority.host) {
            return Err(Refused::ForeignHost);
        }
        let Some(origin) = one(&parts.headers, &header::ORIGIN).map_err(|()| Refused::ForeignOrigin)? else { return Ok(None) };
        let text = origin.to_str().map_err(|_| Refused::ForeignOrigin)?;
        if self.is_welcome(text, authority) { Ok(Some(origin.clone())) } else { Err(Refused::ForeignOrigin) }
    }

    fn is_ours(&self, host: &str) -> bool {
        host.eq_ignore_ascii_case("localhost")
            || host.parse::<Ipv4Addr>().is_ok()
            || ipv6(host).is_some()
            || self.hosts.iter().any(|own| own.eq_ignore_ascii_case(host))
    }

    fn is_welcome(&self, origin: &str, host: Authority<'_>) -> bool {
        if self.any_origin || self.origins.iter().any(|own| own.eq_ignore_ascii_case(origin)) {
            return true;
        }
        let Some((scheme, rest)) = origin.split_once("://") else { return false };
        let default = match scheme {
            "http" => 80,
            "https" => 443,
            _ => return false,
        };
        let Some(page) = Authority::parse(rest) else { return false };
        let port = page.port.unwrap_or(default);
        page.host.eq_ignore_ascii_case(host.host) && (port == host.port.unwrap_or(default) || self.ports.contains(&port))
    }

    /// The answer to a browser that asks before it sends. Any headers: `Mcp-Param-*` names are open-ended, and `*` would leave
    /// `Authorization` out.
    pub(super) fn preflight(&self, parts: &Parts) -> Reply {
        let mut reply = reply::status(StatusCode::NO_CONTENT);
        let headers = reply.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, PUT, DELETE, OPTIONS"));
        if let Some(asked) = parts.headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
        }
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
        reply
    }

    /// Lets the page at `origin`, which `check` let in, read the answer.
    pub(super) fn share(&self, origin: &HeaderValue, reply: &mut Reply) {
        let headers = reply.headers_mut();
        let readers = if self.any_origin && !self.credentials { HeaderValue::from_static("*") } else { origin.clone() };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, readers);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Mcp-Session-Id, WWW-Authenticate, Retry-After"));
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        if self.credentials {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }
}

/// The one value of a header; `Err` when there are several.
pub(super) fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h HeaderValue>, ()> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() { Err(()) } else { Ok(first) }
}

/// `host[:port]`; IPv6 in brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Authority<'a> {
    host: &'a str,
    port: Option<u16>,
}
impl<'a> Authority<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let host_len = match text.strip_prefix('[') {
            Some(rest) => rest.find(']')? + 2,
            None => text.find(':').unwrap_or(text.len()),
        };
        let (host, port) = text.split_at_checked(host_len)?;
        let port = match port.strip_prefix(':') {
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => Some(digits.parse().ok()?),
            None if port.is_empty() => None,
            _ => return None,
        };
        let is_host = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~[]:%".contains(&b));
        is_host.then_some(Self { host, port })
    }
}

fn ipv6(host: &str) -> Option<Ipv6Addr> {
    host.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;

    fn guard(origins: &[&str]) -> Guard {
        let gateway = Gateway {
            host: "127.0.0.1".into(),
            port: 8080,
            listeners: Vec::new(),
            public_url: Some("https://hub.example/base".into()),
            base_path: String::new(),
            hosts: vec!["Box.local".into()],
            threads: None,
            safe_names: false,
            legacy_sse: true,
            cors_origins: origins.iter().map(|&origin| origin.into()).collect(),
            cors_credentials: false,
        };
        Guard::new(&gateway, &[8080, 8081])
    }
    fn parts(target: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn exactly_one_allowed_host_is_needed() {
        let guard = guard(&[]);
        let cases: &[(&[&str], Result<(), Refused>)] = &[
            (&[], Err(Refused::BadHost)),
            (&["localhost", "localhost"], Err(Refused::BadHost)),
            (&["localhost:8080"], Ok(())),
            (&["LocalHost"], Ok(())),
            (&["127.0.0.1:8080"], Ok(())),
            (&["192.168.1.7:9"], Ok(())),
            (&["[::1]:8080"], Ok(())),
            (&["[::1]"], Ok(())),
            (&["hub.example"], Ok(())),
            (&["box.LOCAL:1"], Ok(())),
            (&["evil.example"], Err(Refused::ForeignHost)),
            (&["localhost.evil.example"], Err(Refused::ForeignHost)),
            (&["127.0.0.1.evil.example"], Err(Refused::ForeignHost)),
            (&["localhost:8080:1"], Err(Refused::BadHost)),
            (&["localhost:x"], Err(Refused::BadHost)),
            (&["localhost:99999"], Err(Refused::BadHost)),
            (&["user@localhost"], Err(Refused::BadHost)),
            (&["[::1"], Err(Refused::BadHost)),
            (&["::1"], Err(Refused::BadHost)),
            (&[""], Err(Refused::BadHost)),
        ];
        for (hosts, expected) in cases {
            let headers: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
            assert_eq!(guard.check(&parts("/mcp", &headers)).map(drop), *expected, "{hosts:?}");
        }
    }

    #[test]
    fn an_absolute_target_must_name_the_same_host() {
        let guard = guard(&[]);
        let headers = [("host", "localhost:8080")];
        assert_eq!(guard.check(&parts("http://localhost:8080/mcp", &headers)), Ok(None));
        assert_eq!(guard.check(&parts("http://evil.example/mcp", &headers)), Err(Refused::BadHost));
        assert_eq!(guard.check(&parts("http://localhost:9/mcp", &headers)), Err(Refused::BadHost));
    }

    #[test]
    fn an_origin_is_the_host_itself_another_port_of_ours_or_listed() {
        let cases = [
            ("localhost:8080", "http://localhost:8080", true),
            ("localhost:8080", "http://localhost:8081", true),
            ("localhost:8080", "http://localhost:3000", false),
            ("localhost:8080", "http://127.0.0.1:8080", false),
            ("localhost:8080", "https://app.example", true),
            ("localhost:8080", "HTTPS://App.example", true),
            ("localhost:8080", "https://app.example.evil", false),
            ("localhost:8080", "http://evil.example", false),
            ("localhost:8080", "null", false),
            ("localhost:8080", "file://", false),
            ("localhost:8080", "ftp://localhost:8080", false),
            ("localhost:8080", "http://localhost:8080/x", false),
            ("localhost:8080", "", false),
            ("hub.example", "https://hub.example", true),
            ("hub.example", "http://hub.example", true),
            ("hub.example:443", "https://hub.example", true),
            ("hub.example", "https://hub.example:8443", false),
        ];
        for (host, origin, expected) in cases {
            let found = guard(&["https://app.example/"]).check(&parts("/mcp", &[("host", host), ("origin", origin)]));
            let wanted = if expected { Ok(Some(HeaderValue::from_static(origin))) } else { Err(Refused::ForeignOrigin) };
            assert_eq!(found, wanted, "{host} {origin}");
        }
    }

    #[test]
    fn two_origins_are_refused_even_with_a_wildcard() {
        let headers = [("host", "localhost"), ("origin", "http://a.example"), ("origin", "http://b.example")];
        assert_eq!(guard(&["*"]).check(&parts("/", &headers)), Err(Refused::ForeignOrigin));
        assert!(guard(&["*"]).check(&parts("/", &headers[..2])).is_ok());
    }

    #[test]
    fn a_preflight_is_answered_with_the_headers_it_asks_for() {
        let guard = guard(&["https://app.example"]);
        let asked = "authorization, mcp-param-region";
        let parts = parts("/mcp", &[("host", "localhost"), ("origin", "https://app.example"), ("access-control-request-headers", asked)]);
        let origin = guard.check(&parts).unwrap().unwrap();
        let mut reply = guard.preflight(&parts);
        guard.share(&origin, &mut reply);
        assert_eq!(reply.status(), StatusCode::NO_CONTENT);
        let header = |name: &str| reply.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        assert_eq!(header("access-control-allow-headers"), asked);
        assert_eq!(header("access-control-allow-origin"), "https://app.example");
        assert!(header("access-control-expose-headers").contains("Mcp-Session-Id"));
        assert_eq!(header("vary"), "Origin");
    }
}
