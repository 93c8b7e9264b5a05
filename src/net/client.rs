//! A client with its own connections. Clients share nothing, so that one server's connections never carry another's requests.

use std::{error::Error, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, Uri, body::Incoming, header::LOCATION};
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::timeout;
use tokio_rustls::rustls::ClientConfig;

use super::{NetError, Reach, connect::Connector};
use crate::limits;

/// Of a redirect, so much is shown.
const DESTINATION_BYTES_MAX: usize = 200;

/// Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct Client {
    inner: legacy::Client<Connector, Full<Bytes>>,
}

impl Client {
    /// Trusts what the system trusts.
    pub fn new(reach: Reach) -> Self {
        Self::with_tls(reach, None)
    }

    /// `tls`: of `tls::config`; `None` is the system's.
    pub fn with_tls(reach: Reach, tls: Option<Arc<ClientConfig>>) -> Self {
        Self::of(Connector {
            reach,
            tls,
            #[cfg(test)]
            stage: None,
        })
    }

    /// Its connections are played, whatever their address.
    #[cfg(test)]
    pub(crate) fn played(stage: super::Stage) -> Self {
        Self::of(Connector { reach: Reach::Public, tls: None, stage: Some(stage) })
    }

    fn of(connector: Connector) -> Self {
        let inner = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(limits::IDLE_CONNECTION)
            .pool_max_idle_per_host(limits::IDLE_CONNECTIONS_MAX)
            .http2_max_header_list_size(limits::HEADER_BYTES_MAX as u32)
            .http2_adaptive_window(true)
            .build(connector);
        Self { inner }
    }

    /// Resolves when the head of the answer is there. Dropping the future, or the body of the answer, ends the exchange: the stream of
    /// HTTP/2 is reset, the connection of HTTP/1.1 closed.
    ///
    /// # Errors
    /// There was no answer, or it was a redirect, which is not followed: the address in the configuration is what was allowed.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, NetError> {
        let uri = request.uri().clone();
        let response = self.inner.request(request).await.map_err(|error| failure(&error, host(&uri)))?;
        if response.status().is_redirection() {
            let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
            return Err(NetError::Redirected { host: host(&uri), to: destination(location) });
        }
        Ok(response)
    }

    /// As `send`, for requests whose answer has to begin soon.
    ///
    /// # Errors
    /// Also when it does not begin within `wait`.
    pub async fn send_within(&self, request: Request<Full<Bytes>>, wait: Duration) -> Result<Response<Incoming>, NetError> {
        let silent = NetError::Silent { host: host(request.uri()) };
        timeout(wait, self.send(request)).await.unwrap_or(Err(silent))
    }
}

/// For people: without port.
pub(super) fn host(uri: &Uri) -> String {
    uri.host().unwrap_or_default().to_owned()
}

/// Whole but for user, query and fragment, which may hold a secret of the server's.
fn destination(location: Option<&str>) -> String {
    let location = location.unwrap_or_default();
    let address = location.split(['?', '#']).next().unwrap_or_default();
    let uri = address.parse::<Uri>().ok().filter(|uri| !uri.authority().is_some_and(|authority| authority.as_str().contains('@')));
    match uri {
        Some(_) if address.len() <= DESTINATION_BYTES_MAX => address.to_owned(),
        Some(uri) => uri.host().unwrap_or("a long address").to_owned(),
        None => "what is no address".to_owned(),
    }
}

fn failure(error: &legacy::Error, host: String) -> NetError {
    let mut cause: &dyn Error = error;
    loop {
        if let Some(known) = cause.downcast_ref::<NetError>() {
            return known.clone();
        }
        if let Some(error) = cause.downcast_ref::<hyper::Error>()
            && error.is_canceled()
        {
            return NetError::Unsent { host };
        }
        match cause.source() {
            Some(source) => cause = source,
            // The innermost cause says most.
            None => return NetError::Lost { host, why: cause.to_string() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_is_told_as_it_came_without_what_may_be_secret() {
        let long = format!("https://h/{}", "x".repeat(DESTINATION_BYTES_MAX));
        for (location, told) in [
            (Some("https://h.example:8443/mcp/"), "https://h.example:8443/mcp/"),
            (Some("https://h.example/x?key=1#y"), "https://h.example/x"),
            (Some("/other"), "/other"),
            (Some("https://me:key@h.example/x"), "what is no address"),
            (Some(long.as_str()), "h"),
            (Some("no address"), "what is no address"),
            (Some(""), "what is no address"),
            (None, "what is no address"),
        ] {
            assert_eq!(destination(location), told, "{location:?}");
        }
    }
}
