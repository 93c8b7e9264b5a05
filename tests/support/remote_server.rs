//! A remote MCP server in this process: well behaved in every revision, or bad in the ways that servers over HTTP are bad.
//!
//! | Tool | What it does |
//! |---|---|
//! | `echo {text}` | answers as JSON; under `Script::streams` as a stream |
//! | `progress {steps}` | so many notifications of progress, one of the log, then the answer, on a stream |
//! | `ask` | asks the client for a form on the stream of the call; answers what came back |
//! | `ask-roots` | asks for the roots likewise |
//! | `ask-twice` | asks, takes it back, then answers |
//! | `never` | begins a stream and says nothing more |
//! | `hold` | says nothing until `release`; not even a status |
//! | `cut` | ends its stream without an answer |
//! | `resumed` | an event with an id, then the end; the answer for who comes back with it |
//! | `huge {bytes}` | text of that size |
//! | `html`, `empty`, `broken` | an answer that is none |
//! | `redirect {to}` | 302 |
//! | `status {code, retry_after?}` | that status, with no body of use |
//! | `region {region}` | the region; once it demands headers, `-32020` to a call that does not repeat it there |
//! | `asks-back` | asks for a form by its result (2026-07-28); `-32020` to the first retry, then what each retry brought |
//! | `mismatch` | `-32020` |

use std::{
    collections::{BTreeSet, HashMap},
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Frame, Incoming},
    header::{CONTENT_TYPE, HeaderMap, LOCATION},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, mpsc, oneshot, watch},
    task::JoinHandle,
};

const PATIENCE: Duration = Duration::from_secs(60);
const STATELESS: &str = "2026-07-28";

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Which transport and revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    Stateless,
    /// Streamable HTTP of that revision, with sessions.
    Sessions(&'static str),
    /// The same, without.
    Handshake(&'static str),
    /// HTTP+SSE.
    Legacy,
}

/// What it does besides.
#[derive(Clone, Debug)]
pub struct Script {
    pub speaks: Speaks,
    /// Answers with streams where JSON would do.
    pub streams: bool,
    /// Offers a GET stream.
    pub tells: bool,
    /// Pretty-prints what it sends as JSON.
    pub pretty: bool,
    /// What the `endpoint` event of 2024-11-05 says in place of the truth.
    pub endpoint: Option<String>,
    /// Answers every request without this `authorization` with 401.
    pub authorization: Option<&'static str>,
    /// Has resources that can be watched.
    pub watched: bool,
}

impl Script {
    pub fn new(speaks: Speaks) -> Self {
        Self { speaks, streams: false, tells: true, pretty: false, endpoint: None, authorization: None, watched: false }
    }

    pub async fn run(self) -> RemoteServer {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        RemoteServer::at(self, listener)
    }
}

/// One request that came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub verb: Method,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn is(&self, method: &str) -> bool {
        self.body["method"] == method
    }
}

/// Dropping it closes its port and its connections.
pub struct RemoteServer {
    pub address: SocketAddr,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

struct State {
    script: Script,
    seen: watch::Sender<Vec<Seen>>,
    sessions: Mutex<BTreeSet<String>>,
    /// Streams of unasked messages, or of everything under 2024-11-05.
    streams: Mutex<HashMap<u64, mpsc::Sender<Bytes>>>,
    opened: watch::Sender<u64>,
    /// Answers to questions, by id.
    asked: Mutex<HashMap<String, oneshot::Sender<Value>>>,
    /// Streams of calls that their client closed.
    closed: watch::Sender<u64>,
    /// Answers everything with this status, if it is one.
    outage: AtomicU16,
    refuses_sessions: AtomicBool,
    demands_headers: AtomicBool,
    is_retired: AtomicBool,
    has_refused: AtomicBool,
    release: Notify,
    next: AtomicU64,
    connections: Mutex<Vec<JoinHandle<()>>>,
    accepted: AtomicU64,
}

impl RemoteServer {
    fn at(script: Script, listener: TcpListener) -> Self {
        let state = Arc::new(State {
            script,
            seen: watch::Sender::default(),
            sessions: Mutex::default(),
            streams: Mutex::default(),
            opened: watch::Sender::default(),
            asked: Mutex::default(),
            closed: watch::Sender::default(),
            outage: AtomicU16::new(0),
            refuses_sessions: AtomicBool::new(false),
            demands_headers: AtomicBool::new(false),
            is_retired: AtomicBool::new(false),
            has_refused: AtomicBool::new(false),
            release: Notify::new(),
            next: AtomicU64::new(1),
            connections: Mutex::default(),
            accepted: AtomicU64::new(0),
        });
        let address = listener.local_addr().unwrap();
        let accepting = tokio::spawn(accept(Arc::clone(&state), listener));
        Self { address, state, accepting }
    }

    pub fn url(&self) -> String {
        format!("http://{}/mcp?key=k", self.address)
    }

    /// Requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.seen.borrow().clone()
    }

    /// Those with this method of JSON-RPC.
    pub fn asked(&self, method: &str) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.is(method)).collect()
    }

    /// Waits for a request that fits, early ones included.
    pub async fn sees(&self, fits: impl Fn(&Seen) -> bool) -> Seen {
        let mut seen = self.state.seen.subscribe();
        let found = tokio::time::timeout(PATIENCE, seen.wait_for(|seen| seen.iter().any(&fits))).await;
        let found = found.unwrap_or_else(|_| panic!("no such request among {:#?}", self.seen())).unwrap();
        found.iter().find(|seen| fits(seen)).unwrap().clone()
    }

    /// Waits until so many streams of calls were closed by their client.
    pub async fn sees_closed(&self, count: u64) {
        let mut closed = self.state.closed.subscribe();
        tokio::time::timeout(PATIENCE, closed.wait_for(|closed| *closed >= count)).await.expect("closed streams").unwrap();
    }

    /// Waits until so many streams that belong to no call were opened.
    pub async fn sees_streams(&self, count: u64) {
        let mut opened = self.state.opened.subscribe();
        tokio::time::timeout(PATIENCE, opened.wait_for(|opened| *opened >= count)).await.expect("streams").unwrap();
    }

    /// On every stream that belongs to no call.
    pub async fn say(&self, message: Value) {
        let streams: Vec<_> = self.state.streams.lock().unwrap().values().cloned().collect();
        for stream in streams {
            let _ = stream.send(event(None, &message.to_string())).await;
        }
    }

    /// Ends every stream that belongs to no call.
    pub fn end_streams(&self) {
        self.state.streams.lock().unwrap().clear();
    }

    /// As a network does that loses its way.
    pub fn cut_connections(&self) {
        self.state.connections.lock().unwrap().drain(..).for_each(|connection| connection.abort());
    }

    pub fn forget_sessions(&self) {
        self.state.sessions.lock().unwrap().clear();
    }

    pub fn sessions(&self) -> usize {
        self.state.sessions.lock().unwrap().len()
    }

    /// No new session from now on.
    pub fn refuse_sessions(&self) {
        self.state.refuses_sessions.store(true, Ordering::Relaxed);
    }

    /// From now on `region` is listed as a tool whose argument a header repeats, and demands it. Nobody is told.
    pub fn demand_headers(&self) {
        self.state.demands_headers.store(true, Ordering::Relaxed);
    }

    /// From now on it speaks 2025-11-25 only, and answers anything else with `-32022`.
    pub fn retire(&self) {
        self.state.is_retired.store(true, Ordering::Relaxed);
    }

    /// 0: well again.
    pub fn outage(&self, status: u16) {
        self.state.outage.store(status, Ordering::Relaxed);
    }

    pub fn release(&self) {
        self.state.release.notify_waiters();
        self.state.release.notify_one();
    }

    /// Connections so far.
    pub fn connections(&self) -> u64 {
        self.state.accepted.load(Ordering::Relaxed)
    }

    /// Closes port and connections; what comes up at the same place remembers nothing.
    pub async fn restart(self, script: Script) -> Self {
        let address = self.address;
        drop(self);
        let listener = loop {
            match TcpListener::bind(address).await {
                Ok(listener) => break listener,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        Self::at(script, listener)
    }
}

impl Drop for RemoteServer {
    fn drop(&mut self) {
        self.accepting.abort();
        self.state.connections.lock().unwrap().drain(..).for_each(|connection| connection.abort());
    }
}

async fn accept(state: Arc<State>, listener: TcpListener) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        state.accepted.fetch_add(1, Ordering::Relaxed);
        let connection = tokio::spawn(serve(Arc::clone(&state), stream));
        state.connections.lock().unwrap().push(connection);
    }
}

async fn serve(state: Arc<State>, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let answer = service_fn(move |request| {
        let state = Arc::clone(&state);
        async move { Ok::<_, Infallible>(state.handle(request).await) }
    });
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
}

impl State {
    async fn handle(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let Ok(body) = body.collect().await else { return status(400) };
        let body: Value = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
        self.seen.send_modify(|seen| seen.push(Seen { verb: head.method.clone(), headers: head.headers.clone(), body: body.clone() }));
        if let code @ 1.. = self.outage.load(Ordering::Relaxed) {
            return status(code);
        }
        let authorization = head.headers.get("authorization").map(|value| value.to_str().unwrap());
        if self.script.authorization.is_some_and(|needed| authorization != Some(needed)) {
            return status(401);
        }
        if let Some(rest) = head.uri.path().strip_prefix("/redirect") {
            return Response::builder().status(307).header(LOCATION, format!("/elsewhere{rest}")).body(full(Bytes::new())).unwrap();
        }
        match (self.script.speaks, head.method) {
            (Speaks::Legacy, Method::GET) => self.legacy_stream(),
            (Speaks::Legacy, Method::POST) if head.uri.path() == "/messages" => self.legacy_post(head.uri.query(), body).await,
            (Speaks::Legacy, _) => status(405),
            (Speaks::Stateless, Method::POST) if self.is_retired.load(Ordering::Relaxed) => {
                if head.headers.get("mcp-protocol-version").is_some_and(|version| version == STATELESS) {
                    let mut refusal = error(&body["id"], -32022, "Unsupported protocol version");
                    refusal["error"]["data"] = json!({"supported": ["2025-11-25"], "requested": STATELESS});
                    return self.json(400, &refusal);
                }
                self.handshake(&head.headers, body).await
            }
            (Speaks::Stateless, Method::POST) => self.stateless(&head.headers, body).await,
            (Speaks::Sessions(_) | Speaks::Handshake(_), Method::POST) => self.handshake(&head.headers, body).await,
            (Speaks::Sessions(_) | Speaks::Handshake(_), Method::GET) => self.stream(&head.headers),
            (Speaks::Sessions(_), Method::DELETE) => {
                let session = head.headers.get("mcp-session-id").map(|id| id.to_str().unwrap()).unwrap_or_default();
                status(if self.sessions.lock().unwrap().remove(session) { 200 } else { 404 })
            }
            _ => status(405),
        }
    }

    async fn stateless(self: Arc<Self>, headers: &HeaderMap, body: Value) -> Response<Body> {
        let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        let method = body["method"].as_str().unwrap_or_default().to_owned();
        let id = body["id"].clone();
        let name = body["params"]["name"].as_str().filter(|_| method == "tools/call");
        let agrees = header("mcp-protocol-version").as_deref() == Some(STATELESS)
            && body["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] == STATELESS
            && header("mcp-method").as_deref() == Some(&method)
            && header("mcp-name").as_deref() == name
            && self.demanded(&body).is_none_or(|region| header("mcp-param-region").as_deref() == Some(region))
            && header("accept").is_some_and(|accept| accept.contains("application/json") && accept.contains("text/event-stream"));
        if !agrees {
            return self.json(400, &error(&id, -32020, "headers and body differ"));
        }
        match method.as_str() {
            "server/discover" => {
                let result = json!({"supportedVersions": [STATELESS], "capabilities": {"tools": {"listChanged": true}},
                    "resultType": "complete", "ttlMs": 0, "cacheScope": "private",
                    "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "remote", "version": "1"}}});
                self.json(200, &json!({"jsonrpc": "2.0", "id": id, "result": result}))
            }
            "subscriptions/listen" => {
                let (sender, response) = stream();
                let meta = json!({"io.modelcontextprotocol/subscriptionId": id});
                let acknowledged = json!({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged",
                    "params": {"_meta": meta, "notifications": body["params"]["notifications"]}});
                sender.try_send(event(None, &acknowledged.to_string())).unwrap();
                self.keep(sender);
                response
            }
            _ => self.answer(body).await,
        }
    }

    async fn handshake(self: Arc<Self>, headers: &HeaderMap, body: Value) -> Response<Body> {
        let version = match self.script.speaks {
            Speaks::Sessions(version) | Speaks::Handshake(version) => version,
            Speaks::Stateless | Speaks::Legacy => "2025-11-25",
        };
        let has_sessions = matches!(self.script.speaks, Speaks::Sessions(_));
        let session = headers.get("mcp-session-id").map(|id| id.to_str().unwrap().to_owned());
        let id = body["id"].clone();
        if body["method"] == "initialize" {
            assert!(headers.get("mcp-protocol-version").is_none() && session.is_none(), "a fresh start: {headers:?}");
            if self.refuses_sessions.load(Ordering::Relaxed) {
                return status(404);
            }
            let mut response = self.json(200, &json!({"jsonrpc": "2.0", "id": id, "result": initialized(version, self.script.watched)}));
            if has_sessions {
                let session = format!("s-{}", self.next.fetch_add(1, Ordering::Relaxed));
                response.headers_mut().insert("mcp-session-id", session.parse().unwrap());
                self.sessions.lock().unwrap().insert(session);
            }
            return response;
        }
        if has_sessions {
            match session {
                None => return self.json(400, &error(&Value::Null, -32000, "Bad Request: Server not initialized")),
                Some(session) if !self.sessions.lock().unwrap().contains(&session) => {
                    return self.json(404, &error(&Value::Null, -32001, "Session not found"));
                }
                Some(_) => {}
            }
        } else if body["method"] == "server/discover" {
            return self.json(200, &error(&id, -32601, "Method not found"));
        }
        let expected = (version >= "2025-06-18").then_some(version);
        assert_eq!(headers.get("mcp-protocol-version").map(|value| value.to_str().unwrap()), expected, "{body}");
        if body.get("id").is_none() || body.get("method").is_none() {
            self.take_response(&body);
            return status(202);
        }
        self.answer(body).await
    }

    fn demanded<'a>(&self, body: &'a Value) -> Option<&'a str> {
        let is_demanded = self.demands_headers.load(Ordering::Relaxed) && body["params"]["name"] == "region";
        body["params"]["arguments"]["region"].as_str().filter(|_| is_demanded)
    }

    fn take_response(&self, body: &Value) {
        if body.get("method").is_none()
            && let Some(asked) = self.asked.lock().unwrap().remove(&body["id"].to_string())
        {
            let _ = asked.send(body.clone());
        }
    }

    /// For a GET: a new stream, or the rest of one.
    fn stream(self: Arc<Self>, headers: &HeaderMap) -> Response<Body> {
        if let Some(last) = headers.get("last-event-id") {
            let id: Value = serde_json::from_str(last.to_str().unwrap()).unwrap();
            let (sender, response) = stream();
            sender.try_send(event(Some("done"), &text(&id, "resumed").to_string())).unwrap();
            return response;
        }
        if !self.script.tells {
            return status(405);
        }
        let (sender, response) = stream();
        self.keep(sender);
        response
    }

    fn keep(&self, sender: mpsc::Sender<Bytes>) {
        self.streams.lock().unwrap().insert(self.next.fetch_add(1, Ordering::Relaxed), sender);
        self.opened.send_modify(|opened| *opened += 1);
    }

    fn legacy_stream(self: Arc<Self>) -> Response<Body> {
        let (sender, response) = stream();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let endpoint = self.script.endpoint.clone().unwrap_or_else(|| format!("/messages?session={number}"));
        sender.try_send(format!("event: endpoint\ndata: {endpoint}\n\n").into()).unwrap();
        self.streams.lock().unwrap().insert(number, sender);
        self.opened.send_modify(|opened| *opened += 1);
        response
    }

    async fn legacy_post(self: Arc<Self>, query: Option<&str>, body: Value) -> Response<Body> {
        let number: u64 = query.and_then(|query| query.strip_prefix("session=")?.parse().ok()).unwrap_or_default();
        let Some(stream) = self.streams.lock().unwrap().get(&number).cloned() else { return status(404) };
        if body["params"]["name"] == "status" {
            return status(500);
        }
        if body["method"] == "initialize" {
            let answer = json!({"jsonrpc": "2.0", "id": body["id"], "result": initialized("2024-11-05", false)});
            let _ = stream.send(event(None, &answer.to_string())).await;
        } else if body["method"] == "tools/list" {
            let _ = stream.send(event(None, &tools(&body["id"], false).to_string())).await;
        } else if body.get("id").is_some() && body.get("method").is_some() {
            tokio::spawn(async move { self.play(body, stream).await });
        } else {
            self.take_response(&body);
        }
        status(202)
    }

    async fn answer(self: Arc<Self>, body: Value) -> Response<Body> {
        let id = body["id"].clone();
        if body["method"] == "tools/list" {
            return self.json(200, &tools(&id, self.demands_headers.load(Ordering::Relaxed)));
        }
        if self.script.watched && ["resources/subscribe", "resources/unsubscribe"].iter().any(|method| body["method"] == *method) {
            return self.json(200, &json!({"jsonrpc": "2.0", "id": id, "result": {}}));
        }
        if body["method"] != "tools/call" {
            let code = if self.script.speaks == Speaks::Stateless { 404 } else { 200 };
            return self.json(code, &error(&id, -32601, "Method not found"));
        }
        let arguments = &body["params"]["arguments"];
        match body["params"]["name"].as_str().unwrap_or_default() {
            "echo" if !self.script.streams => self.json(200, &text(&id, arguments["text"].as_str().unwrap_or_default())),
            "hold" => {
                self.release.notified().await;
                self.json(200, &text(&id, "released"))
            }
            "huge" => self.json(200, &text(&id, &"x".repeat(arguments["bytes"].as_u64().unwrap() as usize))),
            "html" => Response::builder().header(CONTENT_TYPE, "text/html").body(full("<html>".into())).unwrap(),
            "empty" => Response::new(full(Bytes::new())),
            "broken" => Response::builder().header(CONTENT_TYPE, "application/json").body(full("{\"jsonrpc\":".into())).unwrap(),
            "redirect" => {
                let to = arguments["to"].as_str().unwrap();
                Response::builder().status(302).header(LOCATION, to).body(full(Bytes::new())).unwrap()
            }
            "status" => {
                let mut response = status(arguments["code"].as_u64().unwrap() as u16);
                if let Some(wait) = arguments["retry_after"].as_u64() {
                    response.headers_mut().insert("retry-after", wait.into());
                }
                response
            }
            "region" => self.json(200, &text(&id, arguments["region"].as_str().unwrap_or_default())),
            "asks-back" => match body["params"]["requestState"].as_str() {
                None => {
                    let params = json!({"message": "who?", "requestedSchema": {"type": "object", "properties": {}}});
                    let requests = json!({"k": {"method": "elicitation/create", "params": params}});
                    let result = json!({"resultType": "input_required", "inputRequests": requests, "requestState": "st"});
                    self.json(200, &json!({"jsonrpc": "2.0", "id": id, "result": result}))
                }
                Some(_) if !self.has_refused.swap(true, Ordering::Relaxed) => {
                    self.json(400, &error(&id, -32020, "headers and body differ"))
                }
                Some(state) => self.json(200, &text(&id, &json!([state, body["params"]["inputResponses"]]).to_string())),
            },
            "mismatch" => self.json(400, &error(&id, -32020, "headers and body differ")),
            _ => {
                let (sender, response) = stream();
                tokio::spawn(async move { self.play(body, sender).await });
                response
            }
        }
    }

    /// What goes over a stream.
    async fn play(self: Arc<Self>, body: Value, out: mpsc::Sender<Bytes>) {
        let id = body["id"].clone();
        let arguments = &body["params"]["arguments"];
        let say = async |message: Value| drop(out.send(event(None, &message.to_string())).await);
        match body["params"]["name"].as_str().unwrap_or_default() {
            "echo" => say(text(&id, arguments["text"].as_str().unwrap_or_default())).await,
            "progress" => {
                let token = body["params"]["_meta"]["progressToken"].clone();
                for step in 1..=arguments["steps"].as_u64().unwrap() {
                    let params = json!({"progressToken": token, "progress": step});
                    say(json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})).await;
                }
                let params = json!({"level": "info", "data": "half-way"});
                say(json!({"jsonrpc": "2.0", "method": "notifications/message", "params": params})).await;
                say(text(&id, "done")).await;
            }
            name @ ("ask" | "ask-twice" | "ask-roots") => {
                let question = format!("q{}", self.next.fetch_add(1, Ordering::Relaxed));
                let (sender, answered) = oneshot::channel();
                self.asked.lock().unwrap().insert(json!(question).to_string(), sender);
                let params = json!({"message": "who?", "requestedSchema": {"type": "object", "properties": {}}});
                say(match name {
                    "ask-roots" => json!({"jsonrpc": "2.0", "id": question, "method": "roots/list"}),
                    _ => json!({"jsonrpc": "2.0", "id": question, "method": "elicitation/create", "params": params}),
                })
                .await;
                if name == "ask-twice" {
                    let params = json!({"requestId": question});
                    say(json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})).await;
                    return say(text(&id, "taken back")).await;
                }
                let answer = answered.await.unwrap();
                say(text(&id, &answer.to_string())).await;
            }
            "cut" => {}
            "resumed" => drop(out.send(format!("retry: 1\nid: {id}\ndata:\n\n").into()).await),
            "never" => {
                out.closed().await;
                self.closed.send_modify(|closed| *closed += 1);
            }
            _ => say(error(&id, -32602, "Unknown tool")).await,
        }
    }

    fn json(&self, code: u16, message: &Value) -> Response<Body> {
        let text = if self.script.pretty { serde_json::to_string_pretty(message) } else { serde_json::to_string(message) };
        let body = full(text.unwrap().into());
        Response::builder().status(code).header(CONTENT_TYPE, "application/json; charset=utf-8").body(body).unwrap()
    }
}

fn initialized(version: &str, watched: bool) -> Value {
    let mut capabilities = json!({"tools": {"listChanged": true}, "logging": {}});
    if watched {
        capabilities["resources"] = json!({"listChanged": true, "subscribe": true});
    }
    json!({"protocolVersion": version, "capabilities": capabilities, "serverInfo": {"name": "remote", "version": "1"}})
}

fn tools(id: &Value, demands_headers: bool) -> Value {
    let tools = ["echo", "progress", "ask", "never", "cut", "resumed", "hold", "mismatch", "asks-back", "region"];
    let mut tools: Vec<_> = tools.iter().map(|name| json!({"name": name, "inputSchema": {"type": "object"}})).collect();
    if demands_headers {
        tools[9]["inputSchema"]["properties"]["region"] = json!({"type": "string", "x-mcp-header": "Region"});
    }
    json!({"jsonrpc": "2.0", "id": id, "result": {"resultType": "complete", "tools": tools, "ttlMs": 0, "cacheScope": "private"}})
}

fn text(id: &Value, text: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "result": {"resultType": "complete", "content": [{"type": "text", "text": text}]}})
}

fn error(id: &Value, code: i64, message: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
}

fn event(id: Option<&str>, data: &str) -> Bytes {
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    format!("event: message\n{id}data: {data}\n\n").into()
}

fn status(code: u16) -> Response<Body> {
    Response::builder().status(StatusCode::from_u16(code).unwrap()).body(full(Bytes::new())).unwrap()
}

fn full(bytes: Bytes) -> Body {
    Full::new(bytes).boxed_unsync()
}

/// A stream of events, which ends when the sender is dropped.
fn stream() -> (mpsc::Sender<Bytes>, Response<Body>) {
    let (sender, receiver) = mpsc::channel(64);
    let frames = futures_util::stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)));
    let body = StreamBody::new(frames.map(|bytes| Ok(Frame::data(bytes)))).boxed_unsync();
    (sender, Response::builder().header(CONTENT_TYPE, "text/event-stream").body(body).unwrap())
}
