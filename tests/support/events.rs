//! A stream of server-sent events, read one event at a time on a connection of its own. Dropping it closes the connection.

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use mcp_hub::protocol::sse::{Event, Reader};
use serde_json::Value;
use tokio::{net::TcpStream, task::JoinHandle, time::timeout};

use super::{Client, Hub};

const PATIENCE: Duration = Duration::from_secs(60);

pub struct Events {
    pub status: u16,
    pub headers: hyper::HeaderMap,
    body: Incoming,
    reader: Reader,
    ready: VecDeque<Event>,
    /// Holds the connection open.
    _sender: http1::SendRequest<Full<Bytes>>,
    connection: JoinHandle<()>,
}

impl Drop for Events {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// `GET` at this path in the client's session, after this event if there is one.
pub async fn get(hub: &Hub, path: &str, client: &Client, last: Option<&str>) -> Events {
    let mut headers = vec![("accept", "text/event-stream")];
    headers.extend(client.session_id().map(|id| ("mcp-session-id", id)));
    headers.extend(last.map(|last| ("last-event-id", last)));
    open(hub.address, "GET", path, &headers, "").await
}

/// A request of this client whose answer is to be read as a stream.
pub async fn post(hub: &Hub, path: &str, client: &Client, id: &Value, method: &str, params: Value) -> Events {
    let (own, body) = client.message(Some(id), method, params);
    let mut headers = vec![("accept", "application/json, text/event-stream"), ("content-type", "application/json")];
    headers.extend(own.iter().map(|(name, value)| (*name, value.as_str())));
    open(hub.address, "POST", path, &headers, &body).await
}

pub async fn open(address: SocketAddr, verb: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Events {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(async move { drop(connection.await) });
    let mut request = Request::builder().method(verb).uri(path).header("host", address.to_string());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap();
    let (parts, body) = timeout(PATIENCE, sender.send_request(request)).await.expect("an answer in time").unwrap().into_parts();
    Events {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body,
        reader: Reader::new(64 << 20),
        ready: VecDeque::new(),
        _sender: sender,
        connection,
    }
}

impl Events {
    /// The next event; `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<Event> {
        while self.ready.is_empty() {
            let frame = timeout(PATIENCE, self.body.frame()).await.expect("an event in time")?.expect("a whole body");
            let mut events = Vec::new();
            self.reader.push(frame.data_ref().expect("no trailers"), &mut events).unwrap();
            self.ready.extend(events);
        }
        self.ready.pop_front()
    }

    /// The next message, and its event's id.
    pub async fn message(&mut self) -> (Value, Option<String>) {
        let event = self.next().await.expect("a message before the end");
        (serde_json::from_str(&event.data).unwrap_or_else(|error| panic!("{error}: {event:?}")), event.id)
    }

    /// The next event has no message, but an id to come back with.
    pub async fn primed(&mut self) -> String {
        let event = self.next().await.expect("an event before the end");
        assert_eq!((&*event.data, event.event.as_deref(), event.retry_ms), ("", None, Some(1000)), "{event:?}");
        event.id.expect("an id")
    }
}
