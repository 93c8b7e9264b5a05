//! What a request is aimed at, and what of it is needed until its answer.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    Answer, Endpoint, Hub, Inbound, Session,
    aim::{self, Found},
    call::{self, failed},
    crossing::OnWire,
    progress::Progress,
    seal,
    task::Held,
};
use crate::{
    access::{Permit, Principal},
    bridge::{
        content::Publish,
        incoming::{self, Carry, Identity},
        outgoing::Inputs,
        question,
        seal::{Binding, Digest, What},
        task::{Naming, Task},
    },
    catalog::{Route, Uris, uri},
    name::ServerId,
    protocol::{Body, Era, Level, Message, Method, Refusal, RequestId, Version, capability::Profile, code::Code, refusal::quoted},
    upstream::{Event, Server},
};

/// What a request is aimed at: one server, and how that server calls the thing.
#[derive(Clone, Debug)]
pub(super) enum Aim {
    /// A tool or a prompt.
    Named(Arc<Route>),
    /// A resource, or a template of resources: the server's own URI, as text and as JSON token.
    Resource { server: ServerId, uri: String, token: Bytes },
    /// A task of the server: its own id of it.
    Task { server: ServerId, id: String, token: Bytes },
    /// The server itself: what the hub does not know is passed on at a server's own endpoint.
    Server(ServerId),
}

impl Aim {
    pub(super) fn server(&self) -> &ServerId {
        match self {
            Self::Named(route) => &route.server,
            Self::Resource { server, .. } | Self::Task { server, .. } | Self::Server(server) => server,
        }
    }

    pub(super) fn resource(server: ServerId, uri: String) -> Self {
        let token = Bytes::from(quoted(&uri));
        Self::Resource { server, uri, token }
    }

    pub(super) fn task(server: ServerId, id: String) -> Self {
        let token = Bytes::from(quoted(&id));
        Self::Task { server, id, token }
    }

    /// Raw JSON tokens that take the place of the caller's: name, URI, task id.
    pub(super) fn tokens(&self) -> (Option<&Bytes>, Option<&Bytes>, Option<&Bytes>) {
        match self {
            Self::Named(route) => (Some(&route.tool_token), None, None),
            Self::Resource { token, .. } => (None, Some(token), None),
            Self::Task { token, .. } => (None, None, Some(token)),
            Self::Server(_) => (None, None, None),
        }
    }

    fn uri(&self) -> Option<&str> {
        match self {
            Self::Resource { uri, .. } => Some(uri),
            _ => None,
        }
    }

    /// The value that `Mcp-Name` repeats.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Named(route) => Some(&route.tool),
            Self::Resource { uri, .. } => Some(uri),
            Self::Task { id, .. } => Some(id),
            Self::Server(_) => None,
        }
    }
}

/// What of a request is needed until its answer.
pub(super) struct Call {
    pub(super) client: Version,
    verb: Verb,
    aim: Aim,
    /// Where the client wants to hear of it.
    progress: Option<Progress>,
    /// From which level on it wants logs of this request.
    level: Option<Level>,
    /// Where URIs are published under other names than the server's, or have to be remembered.
    published: Option<Published>,
    /// At a server's own endpoint, where stateless clients are answered in its name.
    own: Option<Arc<Hub>>,
    /// Several servers are one here.
    is_merged: bool,
    /// The task that the request is about.
    task: Option<Box<About>>,
    _permit: Permit,
}

/// A task, as its client knows it.
struct About {
    id: Box<str>,
    held: Arc<Held>,
}

/// Whose URIs a caller sees, remembered for when it names one as the server does.
struct Published {
    hub: Arc<Hub>,
    caller: Arc<str>,
    uris: Uris,
}

/// The methods that a server answers, as far as they differ on the way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Call,
    Get,
    Read,
    Complete,
    /// The status of a task, its result, and what is done to it.
    TasksGet,
    TasksResult,
    Tasks,
    Other,
}

impl Verb {
    fn of(method: Method<'_>) -> Self {
        match method {
            Method::ToolsCall => Self::Call,
            Method::PromptsGet => Self::Get,
            Method::ResourcesRead => Self::Read,
            Method::Complete => Self::Complete,
            Method::TasksGet => Self::TasksGet,
            Method::TasksResult => Self::TasksResult,
            Method::TasksUpdate | Method::TasksCancel => Self::Tasks,
            _ => Self::Other,
        }
    }

    fn method(self) -> Method<'static> {
        match self {
            Self::Call => Method::ToolsCall,
            Self::Get => Method::PromptsGet,
            Self::Read => Method::ResourcesRead,
            Self::Complete => Method::Complete,
            Self::TasksGet => Method::TasksGet,
            Self::TasksResult => Method::TasksResult,
            Self::Tasks => Method::TasksUpdate,
            Self::Other => Method::Other(""),
        }
    }
}

impl Call {
    pub(super) fn new(hub: &Arc<Hub>, inbound: &Inbound, aim: Aim, permit: Permit) -> Self {
        let message = &inbound.message;
        let token = message.scan().meta.progress_token;
        let published = |uris| Published { hub: Arc::clone(hub), caller: Arc::clone(inbound.principal.id()), uris };
        Self {
            client: inbound.client,
            verb: Verb::of(message.method()),
            aim,
            progress: token.map(|member| Progress::new(message.share(member.value))),
            level: inbound.level(),
            published: inbound.endpoint.publishes().map(published),
            own: inbound.endpoint.server.as_ref().filter(|_| inbound.client.era() == Era::Stateless).map(|_| Arc::clone(hub)),
            is_merged: inbound.endpoint.server.is_none(),
            task: None,
            _permit: permit,
        }
    }

    /// Of a request about a task that the client knows by this id.
    pub(super) fn of_task(hub: &Arc<Hub>, inbound: &Inbound, aim: Aim, permit: Permit, id: Box<str>, held: Arc<Held>) -> Self {
        Self { task: Some(Box::new(About { id, held })), ..Self::new(hub, inbound, aim, permit) }
    }

    pub(super) fn method(&self) -> Method<'static> {
        self.verb.method()
    }

    /// What the client reads of something that came before the answer.
    pub(super) fn notice(&self, event: &Event) -> Option<Body> {
        match event {
            Event::Progress(note) => self.progress.as_ref()?.relay(note, &|task| self.known_task(task)),
            Event::Note(note) => match note.method() {
                // Before `logging/setLevel` a server decides what it sends (MCP 2025-11-25, logging).
                Method::LogMessage if self.level.is_some() || self.client.era() == Era::Handshake => {
                    incoming::log(note, self.level, &|task| self.known_task(task))
                }
                Method::ElicitationComplete if self.client == Version::V2025_11_25 => Some(incoming::notice(note, None)),
                _ => None,
            },
            _ => None,
        }
    }

    /// The task of the server that the request is about, as the client knows it.
    pub(super) fn known_task(&self, id: &str) -> Option<String> {
        let about = self.task.as_ref()?;
        matches!(&self.aim, Aim::Task { id: own, .. } if own == id).then(|| about.id.to_string())
    }

    pub(super) fn wants_progress(&self) -> bool {
        self.progress.is_some()
    }

    /// Of the hub's own, if the client asked for progress.
    pub(super) fn own_progress(&self, text: &str) -> Option<Body> {
        self.progress.as_ref()?.say(text)
    }

    /// What its client may hear of it when it has its answer.
    pub(super) fn further_progress(&self) -> Option<Progress> {
        self.progress.as_ref().map(Progress::further)
    }

    /// The request goes to its server anew.
    pub(super) fn begins_again(&self) {
        if let Some(progress) = &self.progress {
            progress.begin_again();
        }
    }

    /// The last event as the client's answer.
    pub(super) fn answer(&self, event: Event, id: &RequestId, server: Version) -> Answer {
        let Some(task) = &self.task else { return self.answer_naming(event, id, server, None) };
        if self.verb == Verb::TasksGet
            && let Event::Answer(answer) = &event
            && Task::read(answer).is_none_or(|task| task.status.is_terminal())
        {
            task.held.end_soon();
        }
        self.answer_naming(event, id, server, Some(Naming::As(&task.id)))
    }

    /// The same of an answer that names a task, perhaps.
    pub(super) fn answer_naming(&self, event: Event, id: &RequestId, server: Version, task: Option<Naming<'_>>) -> Answer {
        match event {
            // Here completion is offered for all servers, whichever of them can complete (those of 2024-11-05 do not say).
            Event::Answer(answer) if self.completes_nothing(&answer) => Answer::ok(incoming::no_completion(id, self.client.era())),
            Event::Answer(answer) => {
                let publish = |uri: &str| self.publish(uri);
                let own =
                    || Some(Bytes::copy_from_slice(self.own.as_ref()?.catalog.offer(self.aim.server())?.own_info()?.get().as_bytes()));
                let carry = Carry {
                    method: self.method(),
                    publish: self.published.is_some().then_some(&publish as &Publish<'_>),
                    uri: self.aim.uri(),
                    wraps_output: matches!(&self.aim, Aim::Named(route) if route.wraps_output),
                    identity: if self.own.is_some() { Identity::Server(&own) } else { Identity::Hub },
                    task,
                    ..Carry::new(id, self.client, server)
                };
                // Of a method that only this server could have known: nobody here has it (MCP 2026-07-28, Streamable HTTP).
                let status = if self.verb == Verb::Other && answer.error_code() == Some(Code::MethodNotFound.number()) {
                    self.unknown_status()
                } else {
                    200
                };
                incoming::answer(&answer, &carry).map_or_else(
                    // What is recoded is the server's own error; what the hub says of a bad answer is internal.
                    |refusal| Answer { is_hubs: refusal.code == Code::Internal, ..self.refused(refusal, id) },
                    |body| Answer { status, ..Answer::ok(body) },
                )
            }
            Event::Failed(error) => self.refused(failed(&error), id),
            _ => unreachable!("only the last event ends a call"),
        }
    }

    /// Whether the server has no completion at all, where that is no fault.
    fn completes_nothing(&self, answer: &Message) -> bool {
        self.verb == Verb::Complete && self.is_merged && answer.error_code() == Some(Code::MethodNotFound.number())
    }

    fn unknown_status(&self) -> u16 {
        if self.client.era() == Era::Stateless { 404 } else { 200 }
    }

    pub(super) fn refused(&self, refusal: Refusal, id: &RequestId) -> Answer {
        Answer::refused(&refusal.with_id(Some(id.clone())), self.client.era())
    }

    /// A URI of this server as its callers at this endpoint know it.
    fn publish(&self, uri: &str) -> Option<String> {
        let Published { hub, caller, uris } = self.published.as_ref()?;
        publish(hub, caller, self.aim.server(), uri, *uris)
    }
}

/// `None` when it stays as it is. What stays is remembered: it names no server.
pub(super) fn publish(hub: &Hub, caller: &Arc<str>, server: &ServerId, uri: &str, uris: Uris) -> Option<String> {
    match uri::publish(&server.name, uri, uris) {
        std::borrow::Cow::Owned(published) => Some(published),
        std::borrow::Cow::Borrowed(_) => {
            hub.recents.remember(caller, uri, server);
            None
        }
    }
}

/// The whole request, for calls that may have to be sent again, or be told from others.
pub(super) struct Kept {
    inbound: Inbound,
    aim: Aim,
    pub(super) server: Arc<Server>,
    pub(super) client: Version,
    /// What the client declared for this request.
    pub(super) profile: Profile,
    /// Of a handshake client.
    pub(super) session: Option<Arc<Session>>,
    hub: Arc<Hub>,
}

impl Kept {
    pub(super) fn new(hub: &Arc<Hub>, inbound: Inbound, aim: Aim, server: Arc<Server>) -> Self {
        let session = inbound.handshaken().cloned();
        Self { client: inbound.client, profile: inbound.profile(), session, inbound, aim, server, hub: Arc::clone(hub) }
    }

    pub(super) fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    pub(super) fn inbound(&self) -> &Inbound {
        &self.inbound
    }

    pub(super) fn principal(&self) -> &Arc<Principal> {
        &self.inbound.principal
    }

    pub(super) fn server(&self) -> &ServerId {
        self.aim.server()
    }

    /// The result of `roots/list`, for a client that has no roots of its own.
    pub(super) fn roots(&self) -> Option<String> {
        roots_for(&self.server, self.profile).then(|| question::roots(&self.server.settings().roots))
    }

    /// A task on this connection to the server as the client knows it; none that it was not told of.
    pub(super) fn known_task(&self, connection: u64, id: &str) -> Option<String> {
        self.hub.known_task(self.server(), connection, self.inbound.principal.id(), id)
    }

    pub(super) fn publisher(&self) -> Option<Box<Publish<'_>>> {
        let publishes =
            |uris| Box::new(move |uri: &str| publish(&self.hub, self.inbound.principal.id(), self.server(), uri, uris)) as Box<Publish<'_>>;
        self.inbound.endpoint.publishes().map(publishes)
    }

    pub(super) fn seal(&self, what: What, lives: Duration) -> String {
        let binding = Binding { principal: self.inbound.principal.id(), request: digest(&self.inbound) };
        seal::state(&self.hub, what, &self.server().to_string(), lives, &binding)
    }

    /// Sends the request again, with other inputs. Waits for an instance and for room.
    pub(super) async fn open(&self, inputs: Inputs<'_>) -> Result<OnWire, Refusal> {
        call::open(&self.hub, &self.server, &self.inbound, &self.aim_now(), inputs).await
    }

    /// By what the catalog says now: it may have changed since.
    fn aim_now(&self) -> Aim {
        match aim::find(&self.hub, &self.inbound) {
            Ok(Found::One(aim)) if aim.server() == self.aim.server() => aim,
            _ => self.aim.clone(),
        }
    }

    /// Goes on with a request that was sent again, as if it had been the first time.
    pub(super) fn carried_on(self, call: &mut Call, mut on_wire: OnWire) -> OnWire {
        let aim = self.aim_now();
        call.aim = aim.clone();
        call.begins_again();
        let Self { inbound, server, hub, .. } = self;
        call::prepare(&hub, inbound, aim, server, &mut on_wire, 0);
        on_wire
    }
}

/// Whether those that the entry of the server names stand in for a client's.
pub(super) fn roots_for(server: &Server, profile: Profile) -> bool {
    !server.settings().roots.is_empty() && !profile.has(Profile::ROOTS)
}

/// What is left of a request between stateless peers, for an answer that asks for input: that is rare, so the request is read again
/// then, and nothing is made before.
pub(super) struct Asker {
    hub: Arc<Hub>,
    request: Bytes,
    principal: Arc<Principal>,
    endpoint: Arc<Endpoint>,
}

impl Asker {
    pub(super) fn new(hub: &Arc<Hub>, inbound: &Inbound) -> Self {
        Self {
            hub: Arc::clone(hub),
            request: inbound.message.bytes().clone(),
            principal: Arc::clone(&inbound.principal),
            endpoint: Arc::clone(&inbound.endpoint),
        }
    }

    /// `None` when the server is none any more.
    pub(super) fn kept(&self, call: &Call) -> Option<Kept> {
        let message = Message::parse(self.request.clone()).ok()?;
        let inbound = Inbound::new(Arc::clone(&self.principal), Arc::clone(&self.endpoint), message, call.client, None);
        let server = self.hub.fleet.server(call.aim.server())?;
        Some(Kept::new(&self.hub, inbound, call.aim.clone(), server))
    }
}

/// What a request is about, however a client writes it: its endpoint, method, target and arguments.
pub(super) fn digest(inbound: &Inbound) -> Digest {
    let message = &inbound.message;
    let scan = message.scan();
    let target = scan.name.or(scan.uri).and_then(|span| message.string(span)).unwrap_or_default();
    let endpoint: &Endpoint = &inbound.endpoint;
    let server = endpoint.server.as_ref().map(|name| name.as_str()).unwrap_or_default();
    let target = format!("{}/{server}/{target}", endpoint.tenant);
    Digest::of(message.method().as_str(), &target, scan.arguments.map(|span| message.token(span)))
}
