//! MCP and REST clients that say exactly what a test wants them to say, over one kept connection.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpStream, sync::Mutex};

use super::Hub;

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: hyper::HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON; of an event stream, the last message.
    pub fn json(&self) -> Value {
        self.messages().pop().unwrap_or_else(|| panic!("no message in {:?}", self.body))
    }

    /// Every message: of a plain body one, of an event stream all.
    pub fn messages(&self) -> Vec<Value> {
        let text = std::str::from_utf8(&self.body).unwrap();
        if self.header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream")) {
            return text.lines().filter_map(|line| line.strip_prefix("data: ")).map(|data| serde_json::from_str(data).unwrap()).collect();
        }
        if text.is_empty() { Vec::new() } else { vec![serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))] }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// The names in an answer to `tools/list`.
pub fn tool_names(list: &Value) -> Vec<String> {
    let tools = list["result"]["tools"].as_array().unwrap_or_else(|| panic!("{list}"));
    tools.iter().map(|tool| tool["name"].as_str().unwrap().into()).collect()
}

/// Which revision a client speaks.
#[derive(Clone, Debug)]
enum Dialect {
    Stateless,
    Handshake { version: String, session: String },
    Rest,
}

pub struct Client {
    address: SocketAddr,
    path: String,
    dialect: Dialect,
    ids: AtomicU64,
    connection: Mutex<Option<http1::SendRequest<Full<Bytes>>>>,
}

/// 2026-07-28 at `/mcp`.
pub fn stateless(hub: &Hub) -> Client {
    stateless_at(hub, "/mcp")
}

pub fn stateless_at(hub: &Hub, path: &str) -> Client {
    Client::new(hub.address, path, Dialect::Stateless)
}

/// For REST routes.
pub fn rest(hub: &Hub) -> Client {
    Client::new(hub.address, "", Dialect::Rest)
}

/// A session of a handshake revision at `/mcp`.
pub async fn session(hub: &Hub, version: &str) -> Client {
    session_at(hub, "/mcp", version).await
}

pub async fn session_at(hub: &Hub, path: &str, version: &str) -> Client {
    session_able(hub, path, version, json!({})).await
}

/// One that declares these capabilities.
pub async fn session_able(hub: &Hub, path: &str, version: &str, capabilities: Value) -> Client {
    let mut client = Client::new(hub.address, path, Dialect::Rest);
    let params = json!({"protocolVersion": version, "capabilities": capabilities, "clientInfo": {"name": "test", "version": "1"}});
    let hello =
        client.post(path, &[], &json!({"jsonrpc": "2.0", "id": "hello", "method": "initialize", "params": params}).to_string()).await;
    assert_eq!(hello.status, 200, "{:?}", hello.body);
    assert_eq!(hello.json()["result"]["protocolVersion"], version);
    let session = hello.header("mcp-session-id").expect("a session id").to_owned();
    client.dialect = Dialect::Handshake { version: version.into(), session };
    let accepted = client.notify("notifications/initialized", json!({})).await;
    assert_eq!(accepted.status, 202);
    client
}

impl Client {
    fn new(address: SocketAddr, path: &str, dialect: Dialect) -> Self {
        Self { address, path: path.into(), dialect, ids: AtomicU64::new(1), connection: Mutex::new(None) }
    }

    /// The same client, session included, on a connection of its own.
    pub fn beside(&self) -> Self {
        Self::new(self.address, &self.path, self.dialect.clone())
    }

    /// Ids 1, 2, 3 …
    pub fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// The result of a tool call; panics on a JSON-RPC error.
    pub async fn call(&self, tool: &str, arguments: Value) -> Value {
        let answer = self.ask("tools/call", json!({"name": tool, "arguments": arguments})).await;
        let message = answer.json();
        assert!(message.get("result").is_some(), "{message}");
        message["result"].clone()
    }

    /// The text of a tool call's first block.
    pub async fn text(&self, tool: &str, arguments: Value) -> String {
        let result = self.call(tool, arguments).await;
        result["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no text in {result}")).to_owned()
    }

    /// Names of the first page of tools.
    pub async fn tools(&self) -> Vec<String> {
        tool_names(&self.ask("tools/list", json!({})).await.json())
    }

    /// One request with the next id; the answer must carry it.
    pub async fn ask(&self, method: &str, params: Value) -> Answer {
        let id = self.next_id();
        let answer = self.ask_with(&json!(id), method, params).await;
        assert_eq!(answer.json()["id"], id, "{:?}", answer.body);
        answer
    }

    pub async fn ask_with(&self, id: &Value, method: &str, params: Value) -> Answer {
        let (headers, body) = self.message(Some(id), method, params);
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.post(&self.path, &headers, &body).await
    }

    pub async fn notify(&self, method: &str, params: Value) -> Answer {
        let (headers, body) = self.message(None, method, params);
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.post(&self.path, &headers, &body).await
    }

    /// A session's result for a question of the server's.
    pub async fn respond(&self, id: &Value, result: Value) -> Answer {
        let (headers, _) = self.message(None, "", json!({}));
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let body = json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string();
        self.post(&self.path, &headers, &body).await
    }

    /// The headers and body that this client sends for a message.
    pub fn message(&self, id: Option<&Value>, method: &str, mut params: Value) -> (Vec<(&'static str, String)>, String) {
        let mut headers = Vec::new();
        match &self.dialect {
            Dialect::Stateless => {
                headers.push(("mcp-protocol-version", "2026-07-28".to_owned()));
                headers.push(("mcp-method", method.to_owned()));
                if let Some(name) = ["name", "uri", "taskId"].iter().find_map(|key| params[key].as_str()) {
                    headers.push(("mcp-name", name.to_owned()));
                }
                let meta = params.as_object_mut().unwrap().entry("_meta").or_insert_with(|| json!({}));
                meta["io.modelcontextprotocol/protocolVersion"] = "2026-07-28".into();
                if meta.get("io.modelcontextprotocol/clientCapabilities").is_none() {
                    meta["io.modelcontextprotocol/clientCapabilities"] = json!({});
                }
            }
            Dialect::Handshake { version, session } => {
                headers.push(("mcp-protocol-version", version.clone()));
                headers.push(("mcp-session-id", session.clone()));
            }
            Dialect::Rest => {}
        }
        let mut message = json!({"jsonrpc": "2.0", "method": method, "params": params});
        if let Some(id) = id {
            message["id"] = id.clone();
        }
        (headers, message.to_string())
    }

    pub fn session_id(&self) -> Option<&str> {
        match &self.dialect {
            Dialect::Handshake { session, .. } => Some(session),
            _ => None,
        }
    }

    /// A POST of JSON with the `Accept` of MCP clients, and these headers besides.
    pub async fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut all = vec![("content-type", "application/json"), ("accept", "application/json, text/event-stream")];
        all.extend(headers);
        self.send("POST", path, &all, body).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    /// Any request, on the kept connection; the whole answer.
    pub async fn send(&self, verb: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let response = self.open(verb, path, headers, body).await;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    /// Any request; the answer as it begins, for streams.
    pub async fn open(&self, verb: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Response<Incoming> {
        let mut request = Request::builder().method(verb).uri(path);
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            request = request.header("host", self.address.to_string());
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap();
        let mut kept = self.connection.lock().await;
        let mut sender = match kept.take() {
            Some(sender) if !sender.is_closed() => sender,
            _ => connect(self.address).await,
        };
        if sender.ready().await.is_err() {
            sender = connect(self.address).await;
        }
        let response = sender.send_request(request).await.expect("an answer");
        *kept = Some(sender);
        response
    }
}

pub async fn connect(address: SocketAddr) -> http1::SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}
