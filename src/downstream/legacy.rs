//! HTTP+SSE, the transport of 2024-11-05: a stream that says where to POST, and then all that the hub says. The stream is a pipe like
//! stdin and stdout, and its session ends with it.

use super::{
    Doors, Reply, Request,
    body::BodyError,
    mcp::{
        accept::{self, Accept},
        endpoint, refuse,
    },
    pipe::Pipe,
    pulse::Pulse,
    reply,
    route::{Access, Door, Handler, Route, Verb},
    work,
};
use crate::{
    access::Principal,
    limits,
    protocol::{
        Body, Refusal,
        code::Code,
        sse::{self, Event},
    },
};
use bytes::Bytes;
use dashmap::DashMap;
use futures_util::stream;
use hyper::StatusCode;
use std::sync::Arc;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio_util::sync::CancellationToken;

pub const ROUTES: &[Route] =
    &[stream("/sse"), stream("/{server}/sse"), stream("/t/{tenant}/sse"), stream("/t/{tenant}/{server}/sse"), MESSAGES];

const MESSAGES: Route = row(Verb::Post, "/messages", Action::Message);

const fn stream(path: &'static str) -> Route {
    row(Verb::Get, path, Action::Stream)
}

const fn row(verb: Verb, path: &'static str, action: Action) -> Route {
    Route { verb, path, access: Access::Principal, door: Door::Mcp, handler: Handler::Legacy(action) }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `GET`: opens a stream and a session with it.
    Stream,
    /// `POST`: one message, answered on the stream.
    Message,
}

pub async fn handle(doors: Arc<Doors>, action: Action, request: Box<Request>) -> Reply {
    let replied = match action {
        Action::Stream => open(&doors, &request),
        Action::Message => post(&doors, request).await,
    };
    replied.unwrap_or_else(|refused| refused)
}

/// The open streams, by the id that their clients POST to.
#[derive(Default)]
pub struct Talks(Arc<DashMap<Arc<str>, Talk>>);

struct Talk {
    principal: Arc<Principal>,
    inbox: mpsc::Sender<Bytes>,
}

/// A stream's place among them.
struct Place {
    id: Arc<str>,
    talks: Arc<DashMap<Arc<str>, Talk>>,
}

impl Talks {
    fn enter(&self, id: Arc<str>, talk: Talk) -> Place {
        self.0.insert(Arc::clone(&id), talk);
        Place { id, talks: Arc::clone(&self.0) }
    }

    /// `None` for unknown, ended and foreign ones alike.
    fn inbox(&self, id: &str, principal: &Principal) -> Option<mpsc::Sender<Bytes>> {
        let talk = self.0.get(id)?;
        (talk.principal.id() == principal.id()).then(|| talk.inbox.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.talks.remove(&self.id);
    }
}

/// # Errors
/// 406 when events cannot be read, and those of the address.
fn open(doors: &Arc<Doors>, request: &Request) -> Result<Reply, Reply> {
    let endpoint = endpoint::find(doors, request)?;
    if !Accept::of(&request.parts.headers).events {
        return Err(refuse::invalid(StatusCode::NOT_ACCEPTABLE, "Accept must list text/event-stream", None));
    }
    let principal = request.caller()?;
    let (outlet, queue) = work::outlet();
    let pipe = Pipe::new(Arc::clone(&doors.hub), endpoint, Arc::clone(principal), outlet);
    let (inbox, messages) = mpsc::channel(limits::LEGACY_INBOX);
    let id = pipe.session().id().share();
    let to = format!("{}{}?sessionId={id}", doors.settings.gateway.base_path, MESSAGES.path);
    let first = sse::event(&Event { event: Some("endpoint".into()), data: to, ..Event::default() });
    let place = doors.talks.enter(id, Talk { principal: Arc::clone(principal), inbox });
    let talking = Talking {
        first: Some(Body::one(first)),
        pipe,
        messages,
        queue,
        pulse: Arc::clone(&request.pulse),
        stop: doors.stop.clone(),
        stopping: false,
        _place: place,
    };
    Ok(reply::standing(stream::unfold(talking, |mut talking| async move { Some((talking.frame().await?, talking)) })))
}

/// # Errors
/// 415 and 413 for what is no message, 400 without a session, 404 for one that is none of the caller's, 429 when it takes no more.
async fn post(doors: &Arc<Doors>, mut request: Box<Request>) -> Result<Reply, Reply> {
    if !accept::is_json(&request.parts.headers) {
        return Err(refuse::invalid(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Content-Type must be application/json", None));
    }
    let principal = request.caller()?;
    let id = request.query("sessionId").ok_or_else(|| refuse::invalid(StatusCode::BAD_REQUEST, "sessionId is missing", None))?;
    let unknown = || refuse::invalid(StatusCode::NOT_FOUND, "Session not found", None);
    let inbox = doors.talks.inbox(&id, principal).ok_or_else(unknown)?;
    let message = request.read(doors.limits.body_bytes).await.map_err(|failure| {
        let status = match failure {
            BodyError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            BodyError::Cut => StatusCode::BAD_REQUEST,
        };
        refuse::invalid(status, failure.to_string(), None)
    })?;
    match inbox.try_send(message) {
        Ok(()) => Ok(reply::status(StatusCode::ACCEPTED)),
        Err(TrySendError::Closed(_)) => Err(unknown()),
        Err(TrySendError::Full(_)) => {
            let text = "more messages wait for this session than it takes; read its stream";
            Err(refuse::with(&Refusal::new(Code::Internal, StatusCode::TOO_MANY_REQUESTS.as_u16(), text)))
        }
    }
}

/// A stream under way. Pulled by its connection: a client that reads slowly slows its own calls down, and then its own messages.
struct Talking {
    first: Option<Body>,
    pipe: Pipe,
    messages: mpsc::Receiver<Bytes>,
    queue: mpsc::Receiver<Body>,
    pulse: Arc<Pulse>,
    stop: CancellationToken,
    stopping: bool,
    _place: Place,
}

impl Talking {
    /// `None` when the hub stops and all is answered.
    async fn frame(&mut self) -> Option<Body> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        loop {
            let is_full = self.pipe.work().is_full();
            tokio::select! {
                biased;
                Some(body) = self.queue.recv() => return Some(sse::message(body)),
                () = self.stop.cancelled(), if !self.stopping => {
                    self.stopping = true;
                    self.pipe.stop();
                }
                () = self.pipe.work().advance() => {}
                Some(message) = self.messages.recv(), if !is_full => {
                    self.pipe.take(message);
                }
                () = self.pulse.alarm(limits::SSE_COMMENT) => return Some(Body::one(sse::comment())),
            }
            if self.stopping && self.pipe.work().is_idle() && self.queue.is_empty() {
                return None;
            }
        }
    }
}
