//! Servers behind Streamable HTTP. What is a process elsewhere is a session here, or the whole of a stateless server: it hears what is
//! posted, and what it says goes to the stream of the request that it belongs to, or to the one of what nobody asked for.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};
use http_body_util::{BodyExt, Either, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Frame, Incoming},
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    io::DuplexStream,
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{AtProbe, Doing, Part, Process, Troupe};
use crate::{
    name::ServerId,
    protocol::Era,
    sim::{dice::Dice, record::Record},
    upstream::fleet::Network,
};

const SESSION: &str = "mcp-session-id";

type Answer = Response<Either<Full<Bytes>, Events>>;

/// All of them; they end with it.
pub(in crate::sim) struct Hosts {
    by_id: BTreeMap<String, Arc<Host>>,
}

/// One server: its address.
struct Host {
    part: Arc<Part>,
    record: Arc<Record>,
    dice: Mutex<Dice>,
    is_calm: Arc<AtomicBool>,
    troupe: Weak<Troupe>,
    count: AtomicU32,
    /// By their ids; a stateless server has one under none.
    sessions: Mutex<BTreeMap<String, Arc<Session>>>,
    tasks: Mutex<JoinSet<()>>,
}

struct Session {
    process: Arc<Process>,
    heard: mpsc::UnboundedSender<String>,
    routes: Mutex<Routes>,
    end: CancellationToken,
}

#[derive(Default)]
struct Routes {
    /// By the raw ids of requests, as the process knows them.
    posts: BTreeMap<String, Post>,
    /// Connections give ids as they like, but a stateless server has requests of several.
    last: u64,
    unasked: Option<mpsc::UnboundedSender<String>>,
}

/// A request without answer.
struct Post {
    lines: mpsc::UnboundedSender<String>,
    /// As the client knows it.
    id: Value,
    token: Value,
    /// The questions that went to its stream, and when.
    asked: Vec<(u64, Instant)>,
}

impl Hosts {
    pub(in crate::sim) fn new(parts: &[Arc<Part>], record: &Arc<Record>, mut dice: Dice, troupe: &Arc<Troupe>) -> Arc<Self> {
        let host = |(at, part): (usize, &Arc<Part>)| {
            let host = Host {
                part: Arc::clone(part),
                record: Arc::clone(record),
                dice: Mutex::new(dice.fork()),
                is_calm: Arc::clone(&troupe.is_calm),
                troupe: Arc::downgrade(troupe),
                // Apart from those of every other.
                count: AtomicU32::new(u32::try_from(at + 1).unwrap() * 100_000),
                sessions: Mutex::default(),
                tasks: Mutex::default(),
            };
            (part.id.to_string(), Arc::new(host))
        };
        Arc::new(Self { by_id: parts.iter().filter(|part| part.is_remote).enumerate().map(host).collect() })
    }

    pub(in crate::sim) fn network(self: &Arc<Self>) -> Network {
        let hosts = Arc::downgrade(self);
        Arc::new(move |id: &ServerId| {
            let hosts = hosts.upgrade().ok_or(io::ErrorKind::ConnectionRefused)?;
            hosts.by_id.get(&id.to_string()).ok_or(io::ErrorKind::ConnectionRefused)?.connect()
        })
    }

    /// Nothing of it goes on.
    pub(in crate::sim) async fn end(&self) {
        for host in self.by_id.values() {
            let mut tasks = std::mem::take(&mut *host.tasks.lock().unwrap());
            tasks.shutdown().await;
            host.sessions.lock().unwrap().clear();
        }
    }
}

impl Host {
    fn roll<T>(&self, roll: impl FnOnce(&mut Dice) -> T) -> T {
        roll(&mut self.dice.lock().unwrap())
    }

    fn is_wild(&self) -> bool {
        self.part.is_wild && !self.is_calm.load(Ordering::Relaxed)
    }

    fn connect(self: &Arc<Self>) -> io::Result<DuplexStream> {
        if self.is_wild() && self.roll(|dice| dice.percent(3)) {
            self.record.line(&self.part.id.to_string(), "takes no connection");
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (hubs, own) = tokio::io::duplex(self.part.pipe_bytes);
        let host = Arc::clone(self);
        self.tasks.lock().unwrap().spawn(async move { host.serve(own).await });
        Ok(hubs)
    }

    /// One connection.
    async fn serve(self: Arc<Self>, own: DuplexStream) {
        let cut = self.roll(|dice| dice.percent(20).then(|| dice.millis(0, 60_000)));
        let host = Arc::clone(&self);
        let service = service_fn(move |request| {
            let host = Arc::clone(&host);
            async move { Ok::<_, Infallible>(host.answer(request).await) }
        });
        let served = http1::Builder::new().header_read_timeout(None).serve_connection(TokioIo::new(own), service);
        tokio::select! {
            biased;
            () = self.cut(cut) => {
                self.record.line(&self.part.id.to_string(), "cuts a connection");
                self.record.count("connections cut");
            }
            _ = served => {}
        }
    }

    async fn cut(&self, after: Option<Duration>) {
        if let Some(after) = after {
            sleep(after).await;
            if self.is_wild() {
                return;
            }
        }
        std::future::pending().await
    }

    async fn answer(self: &Arc<Self>, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        let Ok(body) = body.collect().await else { return status(StatusCode::BAD_REQUEST) };
        if self.is_wild() && self.roll(|dice| dice.percent(3)) {
            return status(self.roll(|dice| *dice.pick(&[StatusCode::INTERNAL_SERVER_ERROR, StatusCode::BAD_GATEWAY])));
        }
        let named = head.headers.get(SESSION).and_then(|id| id.to_str().ok()).map(str::to_owned);
        match head.method {
            Method::POST => self.post(&String::from_utf8_lossy(&body.to_bytes()), named).await,
            Method::GET => match self.session(named.as_deref()) {
                Ok(session) if self.part.version.era() == Era::Handshake && self.part.has_stream => session.unasked(),
                Ok(_) => status(StatusCode::METHOD_NOT_ALLOWED),
                Err(refused) => status(refused),
            },
            Method::DELETE => {
                let ended = named.and_then(|named| self.sessions.lock().unwrap().remove(&named));
                ended.inspect(|session| session.end.cancel());
                status(StatusCode::OK)
            }
            _ => status(StatusCode::METHOD_NOT_ALLOWED),
        }
    }

    async fn post(self: &Arc<Self>, text: &str, named: Option<String>) -> Answer {
        let Ok(mut message) = serde_json::from_str::<Value>(text) else {
            self.record.wrong(format!("{} was posted what is no JSON: {text}", self.part.id));
            return status(StatusCode::BAD_REQUEST);
        };
        let method = message["method"].as_str().unwrap_or_default().to_owned();
        let method = method.as_str();
        let is_handshake = self.part.version.era() == Era::Handshake;
        let (session, begun) = match (is_handshake, method) {
            (true, "initialize") => {
                let (session, id) = self.begin();
                (session, Some(id))
            }
            (true, "server/discover") if named.is_none() => {
                let refusal = json!({"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32601, "message": "Method not found"}});
                return match self.part.at_probe {
                    AtProbe::Refuses => json_of(&refusal.to_string(), StatusCode::OK),
                    AtProbe::Ignores => status(StatusCode::BAD_REQUEST),
                    AtProbe::Exits => status(StatusCode::NOT_FOUND),
                };
            }
            _ => match self.session(named.as_deref()) {
                Ok(session) => (session, None),
                Err(refused) => return status(refused),
            },
        };
        if message.get("id").is_none() || method.is_empty() {
            let _ = session.heard.send(text.to_owned());
            return status(StatusCode::ACCEPTED);
        }
        let mut events = session.open(&mut message);
        let _ = session.heard.send(message.to_string());
        let has_more = matches!(method, "tools/call" | "prompts/get" | "subscriptions/listen" | "tasks/result");
        if has_more || (begun.is_none() && self.roll(|dice| dice.percent(40))) {
            return stream_of(events);
        }
        // What comes before the answer of these is of no request.
        let Some(line) = events.lines.recv().await else { return status(StatusCode::BAD_GATEWAY) };
        let mut answer = json_of(&line, StatusCode::OK);
        if let Some(begun) = begun {
            answer.headers_mut().insert(SESSION, HeaderValue::from_str(&begun).unwrap());
        }
        answer
    }

    fn session(self: &Arc<Self>, named: Option<&str>) -> Result<Arc<Session>, StatusCode> {
        if self.part.version.era() == Era::Stateless {
            let known = self.sessions.lock().unwrap().get("").cloned();
            return Ok(known.unwrap_or_else(|| self.begin().0));
        }
        let named = named.ok_or(StatusCode::BAD_REQUEST)?;
        self.sessions.lock().unwrap().get(named).cloned().ok_or(StatusCode::NOT_FOUND)
    }

    fn begin(self: &Arc<Self>) -> (Arc<Session>, String) {
        let number = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        let process = Process::new(Arc::clone(&self.part), number, &self.record, self.roll(Dice::fork), &self.is_calm);
        if let Some(troupe) = self.troupe.upgrade().filter(|_| !self.part.is_wild) {
            troupe.processes.lock().unwrap().push(Arc::downgrade(&process));
        }
        let (heard, hears) = mpsc::unbounded_channel();
        let session = Arc::new(Session { process, heard, routes: Mutex::default(), end: CancellationToken::new() });
        let id = if self.part.version.era() == Era::Stateless { String::new() } else { format!("session-{number}") };
        self.sessions.lock().unwrap().insert(id.clone(), Arc::clone(&session));
        let (host, own, key) = (Arc::clone(self), Arc::clone(&session), id.clone());
        self.tasks.lock().unwrap().spawn(async move {
            own.perform(hears).await;
            let mut sessions = host.sessions.lock().unwrap();
            if sessions.get(&key).is_some_and(|session| Arc::ptr_eq(session, &own)) {
                sessions.remove(&key);
            }
            drop(sessions);
            // Streams that are open end without an answer.
            *own.routes.lock().unwrap() = Routes::default();
            own.process.record.line(&own.process.wire, "is over");
            own.process.record.is_over(number);
        });
        (session, id)
    }
}

impl Session {
    async fn perform(&self, mut hears: mpsc::UnboundedReceiver<String>) {
        let process = &self.process;
        let mut doing: FuturesUnordered<Doing> = FuturesUnordered::new();
        doing.extend(process.habits());
        let mut says = process.lines.lock().unwrap().take().expect("one reader");
        loop {
            tokio::select! {
                biased;
                () = process.crash.cancelled() => return,
                () = self.end.cancelled() => return,
                Some(()) = doing.next() => {}
                Some(line) = hears.recv() => doing.extend(process.hear(&line)),
                Some(line) = says.recv() => {
                    process.record.line(&process.wire, &format!("> {line}"));
                    self.say(line);
                }
            }
        }
    }

    /// Takes the place of the one before.
    fn unasked(self: &Arc<Self>) -> Answer {
        let (sender, lines) = mpsc::unbounded_channel();
        self.routes.lock().unwrap().unasked = Some(sender);
        stream_of(Events { lines, of: None })
    }

    fn open(self: &Arc<Self>, request: &mut Value) -> Events {
        let (sender, lines) = mpsc::unbounded_channel();
        let mut routes = self.routes.lock().unwrap();
        let meta = &request["params"]["_meta"];
        let post = Post { lines: sender, id: request["id"].clone(), token: meta["progressToken"].clone(), asked: Vec::new() };
        if self.process.part.version.era() == Era::Stateless {
            routes.last += 1;
            request["id"] = routes.last.into();
            if !post.token.is_null() {
                request["params"]["_meta"]["progressToken"] = routes.last.into();
            }
        }
        let id = request["id"].to_string();
        routes.posts.insert(id.clone(), post);
        Events { lines, of: Some((Arc::clone(self), id)) }
    }

    fn say(&self, line: String) {
        const LISTEN: &str = "io.modelcontextprotocol/subscriptionId";
        let Ok(mut message) = serde_json::from_str::<Value>(&line) else { return };
        let mut routes = self.routes.lock().unwrap();
        let of_call = |token: &str| self.process.state().on_call.get(token).cloned();
        match (message["method"].as_str(), message.get("id")) {
            (None, Some(id)) => {
                if let Some(post) = routes.posts.remove(&id.to_string()) {
                    message["id"] = post.id;
                    let _ = post.lines.send(message.to_string());
                }
            }
            (Some(_), Some(id)) => {
                let token = self.process.state().asks_for.get(&id.to_string()).cloned();
                let call = token.and_then(|token| of_call(&token)).filter(|call| routes.posts.contains_key(call));
                let by_call = self.process.roll(|dice| dice.percent(70)) || routes.unasked.is_none();
                let way = match call.filter(|_| by_call).and_then(|call| routes.posts.get_mut(&call)) {
                    Some(post) => {
                        post.asked.extend(id.as_u64().map(|id| (id, Instant::now())));
                        Some(&post.lines)
                    }
                    None => routes.unasked.as_ref(),
                };
                if way.is_none_or(|way| way.send(line).is_err()) {
                    self.process.undeliverable(id);
                }
            }
            (Some("notifications/progress"), None) => {
                if let Some(post) = routes.posts.get(&message["params"]["progressToken"].to_string()) {
                    message["params"]["progressToken"] = post.token.clone();
                    let _ = post.lines.send(message.to_string());
                }
            }
            (Some("notifications/message"), None) => {
                let call = message["params"]["data"].as_str().and_then(|data| data.strip_prefix("L:")).and_then(of_call);
                if let Some(post) = call.and_then(|call| routes.posts.get(&call)) {
                    let _ = post.lines.send(line);
                }
            }
            (Some(_), None) => match routes.posts.get(&message["params"]["_meta"][LISTEN].to_string()) {
                Some(post) => {
                    message["params"]["_meta"][LISTEN] = post.id.clone();
                    let _ = post.lines.send(message.to_string());
                }
                None => drop(routes.unasked.as_ref().map(|way| way.send(line))),
            },
            (None, None) => {}
        }
    }
}

/// A stream of messages, or the only one of them.
pub(in crate::sim) struct Events {
    lines: mpsc::UnboundedReceiver<String>,
    /// The request that it answers.
    of: Option<(Arc<Session>, String)>,
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.lines.poll_recv(cx).map(|line| Some(Ok(Frame::data(format!("data: {}\n\n", line?).into()))))
    }
}

impl Drop for Events {
    /// Nobody reads it any more. For a stateless server that is the cancellation; a handshake server is told of one, and what it asked
    /// in this very moment went nowhere. What it asked before was read: no time passes while there is something to read.
    fn drop(&mut self) {
        let Some((session, id)) = self.of.take() else { return };
        let Some(post) = session.routes.lock().unwrap().posts.remove(&id) else { return };
        let now = Instant::now();
        session.process.state().unread.extend(post.asked.iter().filter(|(_, at)| *at == now).map(|(id, _)| *id));
        if session.process.part.version.era() == Era::Stateless {
            let id: Value = serde_json::from_str(&id).unwrap();
            let _ =
                session.heard.send(json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}}).to_string());
        }
    }
}

fn status(status: StatusCode) -> Answer {
    let mut answer = Response::new(Either::Left(Full::default()));
    *answer.status_mut() = status;
    answer
}

fn json_of(text: &str, code: StatusCode) -> Answer {
    let mut answer = Response::new(Either::Left(Full::from(text.to_owned())));
    *answer.status_mut() = code;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

fn stream_of(events: Events) -> Answer {
    let mut answer = Response::new(Either::Right(events));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    answer
}
