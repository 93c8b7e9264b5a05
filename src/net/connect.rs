//! From an origin to a connection: resolve, check, connect to what was checked, TLS.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use hyper::Uri;
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpStream, lookup_host},
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, pki_types::ServerName},
};

use super::{NetError, Reach, stream::Stream, tls};
use crate::limits;

#[derive(Clone)]
pub(super) struct Connector {
    pub(super) reach: Reach,
    /// `None`: the system's.
    pub(super) tls: Option<Arc<ClientConfig>>,
    /// Where connections come from, in place of all the rest.
    #[cfg(test)]
    pub(super) stage: Option<super::Stage>,
}

impl tower_service::Service<Uri> for Connector {
    type Response = Stream;
    type Error = NetError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, NetError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), NetError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, origin: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect(&origin).await })
    }
}

impl Connector {
    async fn connect(&self, origin: &Uri) -> Result<Stream, NetError> {
        #[cfg(test)]
        if let Some(stage) = &self.stage {
            let refused = |source| NetError::Unreachable { host: origin.host().unwrap_or_default().to_owned(), source: Arc::new(source) };
            return stage().map(|stream| Stream::Played(TokioIo::new(stream))).map_err(refused);
        }
        let is_tls = origin.scheme_str() == Some("https");
        let bracketed = origin.host().unwrap_or_default();
        let host = bracketed.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(bracketed);
        let port = origin.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let tcp = open(host, &resolve(host, port, self.reach).await?).await?;
        if !is_tls {
            return Ok(Stream::Plain(TokioIo::new(tcp)));
        }
        let failed = |source: io::Error| NetError::Tls { host: host.to_owned(), source: Arc::new(source) };
        let config = match &self.tls {
            Some(config) => Arc::clone(config),
            None => tls::system().await,
        };
        let name = ServerName::try_from(host.to_owned()).map_err(|error| failed(io::Error::other(error)))?;
        let handshake = TlsConnector::from(config).connect(name, tcp);
        let stream = timeout(limits::CONNECT_WAIT, handshake).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        Ok(Stream::Tls(Box::new(TokioIo::new(stream.map_err(failed)?))))
    }
}

/// The addresses that may be connected to, in the resolver's order.
async fn resolve(host: &str, port: u16, reach: Reach) -> Result<Vec<SocketAddr>, NetError> {
    let found: Vec<SocketAddr> = match host.parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::new(address, port)],
        Err(_) => {
            let failed = |source: io::Error| NetError::Unresolved { host: host.to_owned(), source: Arc::new(source) };
            let looked_up = timeout(limits::CONNECT_WAIT, lookup_host((host, port))).await;
            looked_up.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(failed)?.collect()
        }
    };
    let mut allowed: Vec<SocketAddr> = found.into_iter().filter(|address| reach.allows(address.ip())).collect();
    allowed.truncate(limits::ADDRESSES_MAX);
    if allowed.is_empty() { Err(NetError::Forbidden { host: host.to_owned() }) } else { Ok(allowed) }
}

/// One after the other; the last failure is told.
async fn open(host: &str, addresses: &[SocketAddr]) -> Result<TcpStream, NetError> {
    let until = Instant::now() + limits::CONNECT_WAIT;
    let mut failure: io::Error = io::ErrorKind::TimedOut.into();
    for address in addresses {
        let until = if addresses.len() > 1 { until.min(Instant::now() + limits::CONNECT_TRY) } else { until };
        match timeout_at(until, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Requests are small and waited for; where it cannot be set, they are only slower.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => failure = error,
            Err(_) => failure = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(NetError::Unreachable { host: host.to_owned(), source: Arc::new(failure) })
}
