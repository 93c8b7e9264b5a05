//! A request on its way to a door.

use super::{Mount, Reply, body, body::BodyError, pulse::Pulse, reply, reply::class};
use crate::{access::Principal, name::TenantId};
use bytes::Bytes;
use hyper::{StatusCode, body::Incoming, header::AsHeaderName, http::request::Parts};
use std::{borrow::Cow, net::SocketAddr, sync::Arc};

/// What a handler gets.
pub struct Request {
    pub parts: Parts,
    pub body: Incoming,
    pub params: Params,
    /// There whenever the route's access is `Principal`.
    pub principal: Option<Arc<Principal>>,
    pub peer: SocketAddr,
    pub mount: Arc<Mount>,
    /// For alarms of the answer, without a timer.
    pub pulse: Arc<Pulse>,
}

/// Parameters of the path, percent-decoded once.
#[derive(Debug, Default)]
pub struct Params(Vec<(String, String)>);
impl Params {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// `None` when a value is not UTF-8 after decoding: no such thing exists.
    pub(super) fn decode(raw: &matchit::Params<'_, '_>) -> Option<Self> {
        raw.iter()
            .map(|(key, value)| Some((key.to_owned(), percent_encoding::percent_decode_str(value).decode_utf8().ok()?.into_owned())))
            .collect::<Option<_>>()
            .map(Self)
    }
}

impl Request {
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.get(name)
    }
    /// The first value of `name` in the query.
    pub fn query(&self, name: &str) -> Option<Cow<'_, str>> {
        form_urlencoded::parse(self.parts.uri.query()?.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value)
    }
    /// The first header of this name, when it is text.
    pub fn header(&self, name: impl AsHeaderName) -> Option<&str> {
        std::str::from_utf8(self.parts.headers.get(name)?.as_bytes()).ok()
    }
    /// # Errors
    /// 401, for a route that should have asked for a principal.
    pub fn caller(&self) -> Result<&Arc<Principal>, Reply> {
        self.principal.as_ref().ok_or_else(|| {
            reply::error(StatusCode::UNAUTHORIZED, class::AUTH, "A credential is needed", serde_json::json!({"origin": "hub"}))
        })
    }
    /// The tenant of a hub-wide caller: of the path, else `?tenant_id=`, else `X-Tenant-Id`, else `default`. `None`: not a possible
    /// name, so there is no such tenant.
    pub fn tenant(&self) -> Option<TenantId> {
        if let Some(name) = self.param("tenant") {
            return TenantId::new(name);
        }
        if let Some(name) = self.query("tenant_id") {
            return TenantId::new(&name);
        }
        match self.parts.headers.get("x-tenant-id") {
            Some(name) => TenantId::new(name.to_str().ok()?),
            None => Some(TenantId::default_tenant()),
        }
    }
    /// The whole body. Slow bodies are cut by the connection's own timers.
    ///
    /// # Errors
    /// Larger than `bytes_max` (known from `Content-Length` before anything is read, else while reading), or the client is gone.
    pub async fn read(&mut self, bytes_max: usize) -> Result<Bytes, BodyError> {
        body::read(&mut self.body, &self.pulse, bytes_max).await
    }
}
