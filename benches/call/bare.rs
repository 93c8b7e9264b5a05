//! The yardstick: a hyper server on one current-thread runtime that reads a request whole and sends as many bytes as the
//! hub does. `/small` echoes, any other path sends the number of bytes it names.

use std::{convert::Infallible, net::Ipv4Addr};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

#[expect(clippy::print_stdout, reason = "the port is told to the process that measures")]
pub(crate) fn run() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        println!("{}", listener.local_addr().unwrap().port());
        let filler = Bytes::from(vec![b'x'; 1 << 21]);
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let filler = filler.clone();
            let service = service_fn(move |request| answer(request, filler.clone()));
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
}

async fn answer(request: Request<Incoming>, filler: Bytes) -> Result<Response<Full<Bytes>>, Infallible> {
    let wanted = request.uri().path().trim_start_matches('/').parse::<usize>().ok();
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let body = wanted.map_or(body, |bytes| filler.slice(..bytes));
    Ok(Response::builder().header("content-type", "application/json").body(Full::new(body)).unwrap())
}
