//! The yardstick: a hyper server on one current-thread runtime that reads a request whole and sends as many bytes as the
//! hub does. `/mcp` is a remote MCP server of 2026-07-28 that does as little as it can, `/small` echoes, any other path sends
//! the number of bytes it names.

use std::{convert::Infallible, net::Ipv4Addr};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use memchr::memmem;
use tokio::net::TcpListener;

use crate::child;

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
    let path = request.uri().path().trim_start_matches('/');
    let (wanted, is_mcp) = (path.parse::<usize>().ok(), path == "mcp");
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let body = match wanted {
        Some(bytes) => filler.slice(..bytes),
        None if is_mcp => answer_mcp(&body),
        None => body,
    };
    Ok(Response::builder().header("content-type", "application/json").body(Full::new(body)).unwrap())
}

fn answer_mcp(request: &[u8]) -> Bytes {
    let has = |text: &str| memmem::find(request, text.as_bytes()).is_some();
    let id = child::id(request).unwrap_or("null");
    let cached = r#""resultType":"complete","ttlMs":60000,"cacheScope":"public""#;
    let result = if has("\"tools/call\"") {
        format!(r#"{{"content":[{{"type":"text","text":"{}"}}],"resultType":"complete"}}"#, child::SMALL_TEXT)
    } else if has("\"server/discover\"") {
        format!(r#"{{"supportedVersions":["2026-07-28"],"capabilities":{{"tools":{{}}}},{cached}}}"#)
    } else {
        format!(r#"{{"tools":[{}],{cached}}}"#, child::tool("small"))
    };
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#).into()
}
