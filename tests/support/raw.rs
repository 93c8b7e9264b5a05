//! Bytes on a socket, as no client library would send them.

use bytes::Bytes;
use hyper::{
    HeaderMap,
    header::{HeaderName, HeaderValue},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{Answer, Hub};

pub struct Raw(TcpStream);

/// A new connection.
pub async fn open(hub: &Hub) -> Raw {
    Raw(TcpStream::connect(hub.address).await.unwrap())
}

/// One POST of these bytes to `/mcp` on a connection of its own.
pub async fn post(hub: &Hub, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let own = [("host", "localhost"), ("content-type", "application/json"), ("accept", "application/json, text/event-stream")];
    let length = body.len().to_string();
    let mut head = String::from("POST /mcp HTTP/1.1\r\nconnection: close\r\n");
    let defaults = own.iter().filter(|(name, _)| !headers.iter().any(|(other, _)| other == name));
    for (name, value) in defaults.chain(headers).chain(&[("content-length", length.as_str())]) {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut raw = open(hub).await;
    raw.send(&[head.as_bytes(), b"\r\n", body].concat()).await;
    raw.answer().await
}

/// One request, as it is; it must ask for the end of the connection.
pub async fn ask(hub: &Hub, request: &str) -> Answer {
    let mut raw = open(hub).await;
    raw.send(request.as_bytes()).await;
    raw.answer().await
}

impl Raw {
    /// What the hub does not take any more is not sent.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes).await;
    }

    /// Whether the hub still takes bytes.
    pub async fn sends(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).await.is_ok()
    }

    /// Some bytes of what came; empty at the end.
    pub async fn some(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 1 << 16];
        let count = self.0.read(&mut bytes).await.unwrap_or(0);
        bytes.truncate(count);
        bytes
    }

    /// Everything until the hub closes; a reset is an end too.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        let _ = self.0.read_to_end(&mut all).await;
        all
    }

    /// The one answer of a connection that ends with it.
    pub async fn answer(&mut self) -> Answer {
        let all = self.rest().await;
        let end = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or_else(|| panic!("{:?}", String::from_utf8_lossy(&all)));
        let head = std::str::from_utf8(&all[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in lines.map(|line| line.split_once(": ").unwrap()) {
            headers.append(HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap());
        }
        Answer { status, headers, body: Bytes::copy_from_slice(&all[end + 4..]) }
    }

    /// Goes away with a reset instead of an end.
    pub fn vanish(self) {
        self.0.set_zero_linger().unwrap();
    }
}
