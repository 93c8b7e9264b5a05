//! A client that costs next to nothing, for many calls: one socket, prepared bytes, and only as much HTTP as the hub's plain answers need.

use std::io::ErrorKind;

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Client, Hub};

pub(crate) struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
    head: String,
    /// The message up to its id, from there to the argument, and the rest.
    parts: [String; 3],
}

impl Wire {
    /// Calls `tool` as `like` would; its one argument is `argument`.
    pub(crate) async fn connect(hub: &Hub, path: &str, like: &Client, tool: &str, argument: &str) -> Self {
        let params = serde_json::json!({"name": tool, "arguments": {argument: "TEXT"}});
        let (headers, body) = like.message(Some(&"ID".into()), "tools/call", params);
        let mut head = format!("POST {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n", hub.address);
        head.push_str("accept: application/json, text/event-stream\r\n");
        headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        // The order of members is no matter of ours, so the id is put first.
        let body = body.replacen(r#","id":"ID""#, "", 1).replacen('{', r#"{"id":ID,"#, 1);
        let (before, rest) = body.split_once("ID").unwrap();
        let (between, after) = rest.split_once("TEXT").unwrap();
        let stream = TcpStream::connect(hub.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::new(), head, parts: [before.into(), between.into(), after.into()] }
    }

    pub(crate) async fn send(&mut self, id: usize, text: &str) {
        let [before, between, after] = &self.parts;
        let body = format!("{before}{id}{between}{text}{after}");
        let request = format!("{}content-length: {}\r\n\r\n{body}", self.head, body.len());
        self.stream.write_all(request.as_bytes()).await.unwrap();
    }

    pub(crate) async fn answer(&mut self) -> Value {
        let (start, end) = loop {
            if let Some(body) = body_of(&self.buffer) {
                break body;
            }
            assert_ne!(self.stream.read_buf(&mut self.buffer).await.unwrap(), 0, "the hub closed the connection");
        };
        while self.buffer.len() < end {
            assert_ne!(self.stream.read_buf(&mut self.buffer).await.unwrap(), 0, "the hub closed the connection");
        }
        let message = serde_json::from_slice(&self.buffer[start..end]).unwrap();
        self.buffer.drain(..end);
        message
    }

    /// Nothing came that was not asked for.
    pub(crate) fn assert_quiet(&self) {
        assert_eq!(String::from_utf8_lossy(&self.buffer), "");
        let more = self.stream.try_read(&mut [0; 1]);
        assert_eq!(more.unwrap_err().kind(), ErrorKind::WouldBlock);
    }
}

/// Where the body lies, once the head is whole.
fn body_of(bytes: &[u8]) -> Option<(usize, usize)> {
    let start = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..start]).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or_else(|| panic!("no length: {head}"));
    Some((start, start + length.parse::<usize>().unwrap()))
}
