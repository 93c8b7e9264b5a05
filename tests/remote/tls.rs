//! The way out over TLS: HTTP/2 where the server chooses it, HTTP/1.1 where not, and nothing to who cannot prove its name.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, Version, body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mcp_hub::net::{Client, NetError, Reach, body::Stream, tls};
use tokio::{net::TcpListener, sync::watch};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{RootCertStore, ServerConfig, crypto::aws_lc_rs, pki_types::PrivateKeyDer},
};

struct Peer {
    port: u16,
    roots: RootCertStore,
    connections: Arc<AtomicU64>,
    /// Requests that never end: begun, and given up by the client.
    never: watch::Receiver<(u64, u64)>,
}

/// Answers what it was sent; `/never` never ends.
async fn peer(alpn: &[&[u8]]) -> Peer {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let builder =
        ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider())).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::new(AtomicU64::new(0));
    let (told, never) = watch::channel((0, 0));
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::Relaxed);
            let (acceptor, told) = (acceptor.clone(), told.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let is_two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                let service = service_fn(move |request| answer(request, told.clone()));
                let io = TokioIo::new(stream);
                if is_two {
                    drop(hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await);
                } else {
                    drop(hyper::server::conn::http1::Builder::new().serve_connection(io, service).await);
                }
            });
        }
    });
    Peer { port, roots, connections, never }
}

struct Told(watch::Sender<(u64, u64)>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.send_modify(|(_, dropped)| *dropped += 1);
    }
}

async fn answer(request: Request<Incoming>, told: watch::Sender<(u64, u64)>) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.uri().path() == "/never" {
        told.send_modify(|(begun, _)| *begun += 1);
        let _told = Told(told);
        std::future::pending::<()>().await;
    }
    let body = request.into_body().collect().await.unwrap().to_bytes();
    Ok(Response::new(Full::new(body)))
}

fn request(port: u16, path: &str, body: &str) -> Request<Full<Bytes>> {
    Request::post(format!("https://localhost:{port}{path}")).body(Full::new(body.to_owned().into())).unwrap()
}

#[tokio::test]
async fn what_the_server_chooses_is_spoken_and_connections_are_used_again() {
    for (alpn, version, most) in
        [(&[b"h2".as_slice(), b"http/1.1"][..], Version::HTTP_2, 1), (&[b"http/1.1"], Version::HTTP_11, 16), (&[], Version::HTTP_11, 16)]
    {
        let peer = peer(alpn).await;
        let client = Client::with_tls(Reach::Loopback, Some(tls::config(peer.roots.clone())));
        let first = client.send(request(peer.port, "/", "first")).await.unwrap();
        assert_eq!(first.version(), version);
        assert_eq!(Stream::new(first.into_body(), "h").all(100).await.unwrap(), "first");
        let calls = (0..16).map(|n| {
            let (client, port) = (&client, peer.port);
            async move {
                let response = client.send(request(port, "/", &format!("call {n}"))).await.unwrap();
                assert_eq!(Stream::new(response.into_body(), "h").all(100).await.unwrap(), format!("call {n}"));
            }
        });
        join_all(calls).await;
        let connections = peer.connections.load(Ordering::Relaxed);
        assert!(connections <= most, "{connections} connections over {version:?}");
    }
}

#[tokio::test]
async fn a_request_given_up_is_given_up_at_the_server_and_others_go_on() {
    for alpn in [b"h2".as_slice(), b"http/1.1"] {
        let mut peer = peer(&[alpn]).await;
        let client = Client::with_tls(Reach::Loopback, Some(tls::config(peer.roots.clone())));
        tokio::select! {
            answer = client.send(request(peer.port, "/never", "x")) => panic!("{answer:?}"),
            begun = peer.never.wait_for(|(begun, _)| *begun == 1) => drop(begun.unwrap()),
        }
        peer.never.wait_for(|(_, dropped)| *dropped == 1).await.unwrap();
        let response = client.send(request(peer.port, "/", "on")).await.unwrap();
        assert_eq!(Stream::new(response.into_body(), "h").all(100).await.unwrap(), "on");
    }
}

#[tokio::test]
async fn who_cannot_prove_its_name_is_told_nothing() {
    let peer = peer(&[]).await;
    let stranger = Client::with_tls(Reach::Loopback, Some(tls::config(RootCertStore::empty())));
    let by_address = Client::with_tls(Reach::Loopback, Some(tls::config(peer.roots.clone())));
    let named_otherwise = Request::post(format!("https://127.0.0.1:{}/", peer.port)).body(Full::default()).unwrap();
    for refused in [stranger.send(request(peer.port, "/", "secret")).await, by_address.send(named_otherwise).await] {
        let error = refused.unwrap_err();
        assert!(matches!(error, NetError::Tls { .. }) && error.is_unsent() && error.is_outage(), "{error:?}");
    }
}

#[tokio::test]
async fn an_answer_is_read_as_far_as_allowed() {
    let peer = peer(&[b"http/1.1"]).await;
    let client = Client::with_tls(Reach::Loopback, Some(tls::config(peer.roots.clone())));
    for (len, fits) in [(99, true), (100, true), (101, false), (100_000, false)] {
        let response = client.send(request(peer.port, "/", &"x".repeat(len))).await.unwrap();
        let read = Stream::new(response.into_body(), "h").all(100).await;
        assert_eq!(read.as_ref().map(Bytes::len).ok(), fits.then_some(len));
        assert!(fits || matches!(read, Err(NetError::TooLarge { limit_bytes: 100, .. })));
    }
}
