//! Where a remote server is, and what every request to it carries.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, Uri,
    body::Incoming,
    header::{ACCEPT, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT},
};
use tokio::time::Instant;

use super::{breaker::Breaker, fault::Fault};
use crate::{
    config::{
        Launch, Restart, ServerSettings,
        remote::{Destination, Transport},
        veil::Veil,
    },
    name::ServerId,
    net::{Client, NetError, Reach},
    observe::wire::{Leg, Peer},
    protocol::Version,
};

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");
const STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// MCP, Streamable HTTP: every POST lists both.
const EITHER: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");
const AGENT: HeaderValue = HeaderValue::from_static(concat!("mcp-hub/", env!("CARGO_PKG_VERSION")));

/// So many headers a request usually has besides those of its entry.
const HEADERS_MORE: usize = 6;

/// What all instances of one server share: its connections, and whether it is worth asking.
#[derive(Debug, Default)]
pub(in crate::upstream) struct Common {
    client: Mutex<Option<(Reach, Client)>>,
    breaker: Mutex<Breaker>,
}

impl Common {
    /// `closed`, `open` or `half-open`.
    pub(in crate::upstream) fn breaker(&self) -> &'static str {
        lock(&self.breaker).as_str()
    }

    /// # Errors
    /// How long the server is left alone.
    pub(super) fn admit(&self) -> Result<(), Duration> {
        lock(&self.breaker).admit(Instant::now())
    }

    pub(super) fn reach(&self) {
        lock(&self.breaker).reach();
    }

    pub(super) fn succeed(&self) {
        lock(&self.breaker).succeed();
    }

    /// Before anything is connected: what it is connected to from now on is played, and public as far as anybody knows.
    #[cfg(test)]
    pub(in crate::upstream) fn play_on(&self, stage: crate::net::Stage) {
        *lock(&self.client) = Some((Reach::Public, Client::played(stage)));
    }

    fn client(&self, reach: Reach) -> Client {
        let mut client = lock(&self.client);
        match &*client {
            Some((known, client)) if *known == reach => client.clone(),
            _ => client.insert((reach, Client::new(reach))).1.clone(),
        }
    }
}

/// One server's address, as resolved for one start.
#[derive(Clone, Debug)]
pub(in crate::upstream) struct Target {
    pub(super) server: ServerId,
    pub(super) common: Arc<Common>,
    client: Client,
    /// As the entry has it.
    address: Arc<str>,
    veil: Veil,
    pub(super) url: Uri,
    pub(super) transport: Transport,
    restart: Restart,
    headers: HeaderMap,
    pub(super) wire: Leg,
}

/// What one request carries besides.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Head<'a> {
    pub(super) version: Option<Version>,
    pub(super) session: Option<&'a HeaderValue>,
    /// `Mcp-Method`, `Mcp-Name`, `Mcp-Param-*`.
    pub(super) names: Option<&'a HeaderMap>,
}

impl Target {
    /// `veil`: over what the destination was resolved from.
    pub(in crate::upstream) fn new(settings: &ServerSettings, common: &Arc<Common>, destination: &Destination, veil: &Veil) -> Self {
        let address = match &settings.launch {
            Launch::Remote(remote) => remote.shown_url(),
            Launch::Command { .. } | Launch::Builtin(_) => String::new(),
        };
        let reach = match destination {
            Destination { allow_private: true, .. } => Reach::Private,
            Destination { allow_loopback: true, .. } => Reach::Loopback,
            _ => Reach::Public,
        };
        let mut headers = destination.headers.clone();
        headers.entry(USER_AGENT).or_insert(AGENT);
        if let Some(host) = plain_host(&destination.url) {
            headers.entry(HOST).or_insert(host);
        }
        Self {
            server: settings.id.clone(),
            common: Arc::clone(common),
            client: common.client(reach),
            address: address.into(),
            veil: veil.clone(),
            url: destination.url.clone(),
            transport: destination.transport,
            restart: settings.restart.clone(),
            headers,
            wire: Leg::new(Peer::Server, settings.id.name.as_str()),
        }
    }

    /// For people: placeholders are not resolved.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// As `Client::send`; errors name the address as the entry has it.
    ///
    /// # Errors
    /// As there.
    pub(super) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, NetError> {
        self.client.send(request).await.map_err(|error| self.told(error))
    }

    /// The same of `Client::send_within`.
    ///
    /// # Errors
    /// As there.
    pub(super) async fn send_within(&self, request: Request<Full<Bytes>>, wait: Duration) -> Result<Response<Incoming>, NetError> {
        self.client.send_within(request, wait).await.map_err(|error| self.told(error))
    }

    fn told(&self, error: NetError) -> NetError {
        let mut error = error.of(&self.address);
        // Many redirect to themselves in another form.
        if let NetError::Redirected { to, .. } = &mut error {
            *to = self.veil.over(to).into_owned();
        }
        error
    }

    pub(super) fn post(&self, body: Bytes, head: Head<'_>) -> Request<Full<Bytes>> {
        self.wire.clone().speaking(|| head.version.map(Version::as_str)).sent(std::slice::from_ref(&body));
        self.post_to(&self.url, body, head)
    }

    pub(super) fn post_to(&self, url: &Uri, body: Bytes, head: Head<'_>) -> Request<Full<Bytes>> {
        let mut request = self.request(Method::POST, url, body, head);
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, JSON);
        headers.insert(ACCEPT, EITHER);
        request
    }

    /// A stream of messages nobody asked for, or the rest of one that broke off.
    pub(super) fn get(&self, head: Head<'_>, last_event: Option<&str>) -> Request<Full<Bytes>> {
        let mut request = self.request(Method::GET, &self.url, Bytes::new(), head);
        request.headers_mut().insert(ACCEPT, STREAM);
        // One that no header can carry cannot be resumed from; the server begins anew.
        if let Some(id) = last_event.and_then(|id| HeaderValue::from_bytes(id.as_bytes()).ok()) {
            request.headers_mut().insert(LAST_EVENT, id);
        }
        request
    }

    /// The end of a session.
    pub(super) fn delete(&self, head: Head<'_>) -> Request<Full<Bytes>> {
        self.request(Method::DELETE, &self.url, Bytes::new(), head)
    }

    fn request(&self, method: Method, url: &Uri, body: Bytes, head: Head<'_>) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = url.clone();
        let headers = request.headers_mut();
        headers.clone_from(&self.headers);
        headers.reserve(HEADERS_MORE);
        // Revisions before 2025-06-18 do not know this header.
        if let Some(version) = head.version.filter(|version| *version >= Version::V2025_06_18) {
            headers.insert(VERSION, HeaderValue::from_static(version.as_str()));
        }
        if let Some(session) = head.session {
            headers.insert(SESSION, session.clone());
        }
        headers.extend(head.names.into_iter().flatten().map(|(name, value)| (Some(name.clone()), value.clone())));
        request
    }

    /// Logged here, once.
    pub(super) fn fail(&self, fault: &Fault) {
        tracing::debug!(server = %self.server, %fault, "request failed");
        if fault.is_outage() && lock(&self.common.breaker).fail(&self.restart, Instant::now()) {
            tracing::warn!(server = %self.server, %fault, "fails again and again; left alone for a while");
        }
    }
}

/// `Host` of all requests without TLS, made once: without the port that is usual (RFC 9110, 7.2). With TLS it may be HTTP/2, which says
/// it otherwise, and the client adds it where it is not.
fn plain_host(url: &Uri) -> Option<HeaderValue> {
    let host = url.host().filter(|_| url.scheme_str() == Some("http"))?;
    let host = match url.port_u16() {
        Some(port) if port != 80 => format!("{host}:{port}"),
        _ => host.to_owned(),
    };
    HeaderValue::try_from(host).ok()
}

/// The id that an answer to `initialize` brings (visible ASCII; MCP 2025-11-25, Session Management).
pub(super) fn session_of(headers: &HeaderMap) -> Option<HeaderValue> {
    let id = headers.get(SESSION)?;
    let is_visible = !id.is_empty() && id.as_bytes().iter().all(|byte| (0x21..=0x7e).contains(byte));
    let mut id = id.clone();
    id.set_sensitive(true);
    is_visible.then_some(id)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_tls_the_host_is_known_before_there_is_a_request() {
        for (url, host) in [
            ("http://h.example/mcp", Some("h.example")),
            ("http://h.example:80/mcp", Some("h.example")),
            ("http://h.example:8080/mcp?a=b", Some("h.example:8080")),
            ("http://[::1]:3000/", Some("[::1]:3000")),
            ("http://127.0.0.1:443/", Some("127.0.0.1:443")),
            ("https://h.example/mcp", None),
            ("https://h.example:8443/mcp", None),
        ] {
            assert_eq!(plain_host(&url.parse().unwrap()).as_ref().map(HeaderValue::as_bytes), host.map(str::as_bytes), "{url}");
        }
    }
}
