//! Tasks in two designs: those of 2025-11-25, which a caller asks for and whose result blocks, and the extension of 2026-07-28, which a
//! server decides on and whose result comes with its state. Reading of both, writing for clients of either, and which is used when.

use std::{borrow::Cow, sync::LazyLock, time::Duration};

use memchr::memmem::Finder;

use super::{
    HUB,
    incoming::{self, Carry},
    json::{Object, Writer, member_in, text_of},
};
use crate::{
    limits,
    protocol::{
        Body, Era, Kind, Message, Method, RequestId, Span, Version,
        capability::{Profile, TaskSupport},
        code::Code,
        raw::Field,
        refusal::quoted,
        splice::Splice,
    },
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Working,
    InputRequired,
    Completed,
    Failed,
    Cancelled,
}

impl Status {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "working" => Self::Working,
            "input_required" => Self::InputRequired,
            "completed" => Self::Completed,
            "failed" => Self::Failed,
            "cancelled" => Self::Cancelled,
            _ => return None,
        })
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Working => "working",
            Self::InputRequired => "input_required",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Nothing follows.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// A task as its server describes it, in either design.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The server's own.
    pub id: String,
    pub status: Status,
    pub message: Option<String>,
    created_at: String,
    updated_at: String,
    /// `None`: for ever.
    pub ttl_ms: Option<u64>,
    poll_ms: Option<u64>,
}

impl Task {
    /// Of an answer to `tools/call`, `tasks/get` or `tasks/cancel`, or of a notification. `None` when it describes no task.
    pub fn read(message: &Message) -> Option<Self> {
        let whole = Object::read(text_of(message, body_of(message))?)?;
        let task = whole.object("task").unwrap_or(whole);
        let text = |name| task.string(name).map(Cow::into_owned);
        let number = |old, new| task.get(old).or_else(|| task.get(new)).and_then(|number| number.parse().ok());
        Some(Self {
            id: text("taskId")?,
            status: Status::parse(&task.string("status")?)?,
            message: text("statusMessage"),
            created_at: text("createdAt")?,
            updated_at: text("lastUpdatedAt")?,
            ttl_ms: number("ttl", "ttlMs"),
            poll_ms: number("pollInterval", "pollIntervalMs"),
        })
    }

    /// How long to wait before the next look.
    pub fn poll(&self) -> Duration {
        let wanted = self.poll_ms.map_or(limits::TASK_POLL, Duration::from_millis);
        wanted.clamp(limits::TASK_POLL_MIN, limits::TASK_POLL_MAX)
    }

    /// The members that both designs have, the rest under the names of the extension.
    fn extension(&self, first: Writer, id: &str, status: Status) -> Writer {
        let number = |number: u64| number.to_string();
        let ttl = self.ttl_ms.map_or_else(|| "null".to_owned(), number);
        let message = self.message.as_deref().map(quoted);
        first
            .text("taskId", id)
            .text("status", status.as_str())
            .maybe("statusMessage", message.as_deref())
            .text("createdAt", &self.created_at)
            .text("lastUpdatedAt", &self.updated_at)
            .member("ttlMs", &ttl)
            .maybe("pollIntervalMs", self.poll_ms.map(number).as_deref())
    }
}

/// The result, or the params of a notification.
fn body_of(message: &Message) -> Option<Span> {
    let scan = message.scan();
    if scan.result.is_some() { scan.result } else { scan.params }
}

/// What comes with a task's state in the extension; raw JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detail {
    Nothing,
    /// Makes it completed.
    Result(String),
    /// Makes it failed.
    Error(String),
    /// `inputRequests`, from `Parked::requests`.
    Inputs(String),
}

impl Detail {
    /// Of the answer to `tasks/result` (2025-11-25): what the call would have answered a stateless client, by `carry` of that call. A
    /// tool that failed has completed here.
    pub fn settled(answer: &Message, task_id: &str, carry: &Carry<'_>) -> Self {
        match answer.kind() {
            Kind::Error => Self::Error(incoming::settled_error(answer, carry)),
            _ => {
                let Some(result) = text_of(answer, answer.scan().result).and_then(Object::read) else { return Self::Nothing };
                let content = incoming::task_content(&result, carry);
                let wrapped = result.map(|field| match &*field.key {
                    "content" => Some(content.clone().unwrap_or(Cow::Borrowed(field.value))),
                    "_meta" => Some(related(field.value, task_id)),
                    "resultType" => None,
                    _ => Some(field.value.into()),
                });
                let missing = content.as_deref().filter(|_| result.field("content").is_none());
                Self::Result(wrapped.maybe("content", missing).text("resultType", "complete").finish())
            }
        }
    }

    fn status(&self, of: Status) -> Status {
        match self {
            Self::Result(_) => Status::Completed,
            Self::Error(_) => Status::Failed,
            // In the extension these come with what makes them so; it follows with the next look.
            Self::Nothing | Self::Inputs(_) if matches!(of, Status::Completed | Status::Failed) => Status::Working,
            Self::Inputs(_) => Status::InputRequired,
            Self::Nothing if of == Status::InputRequired => Status::Working,
            Self::Nothing => of,
        }
    }
}

/// What a call comes to whose task a stateless server has ended, as if it had answered at once: for `incoming::answer`. `got`: the answer to
/// `tasks/get`. `None`: it goes on, or the answer is none.
pub fn ended(got: &Message) -> Option<Message> {
    let task = text_of(got, got.scan().result).and_then(Object::read)?;
    let outcome = match Status::parse(&task.string("status")?)? {
        Status::Completed => format!(r#""result":{}"#, task.get("result")?),
        Status::Failed => format!(r#""error":{}"#, task.get("error")?),
        Status::Cancelled => format!(r#""error":{{"code":{},"message":"The task was cancelled"}}"#, Code::Internal.number()),
        Status::Working | Status::InputRequired => return None,
    };
    Message::parse(format!(r#"{{"jsonrpc":"2.0","id":0,{outcome}}}"#).into()).ok()
}

/// What a stateless server's task needs of its client, as if the call had answered so: for `Shim::handle_input_required`, whose responses
/// go out with `tasks/update`. Only keys that were not seen before, which it adds to `seen`: a server shows one until the update has
/// reached the task. `None`: nothing new.
pub fn input_required(got: &Message, seen: &mut Vec<String>) -> Option<Message> {
    let task = text_of(got, got.scan().result).and_then(Object::read)?;
    let requests = task.object("inputRequests").filter(|_| task.string("status").as_deref() == Some("input_required"))?;
    let is_new = |name: &str| !seen.iter().any(|seen| seen == name);
    let new: Vec<String> = requests.fields().iter().map(|field| field.key.to_string()).filter(|name| is_new(name)).collect();
    if new.is_empty() || seen.len() + new.len() > limits::QUESTIONS_PER_CALL_MAX as usize {
        return None;
    }
    let requests = requests.map(|field| new.iter().any(|name| *name == field.key).then_some(field.value.into())).finish();
    seen.extend(new);
    let result = format!(r#"{{"resultType":"input_required","inputRequests":{requests}}}"#);
    Message::parse(format!(r#"{{"jsonrpc":"2.0","id":0,"result":{result}}}"#).into()).ok()
}

/// `_meta` with the hub's id of the task.
fn related<'a>(meta: &'a str, task_id: &str) -> Cow<'a, str> {
    let Some(object) = Object::read(meta) else { return Cow::Borrowed(meta) };
    let wrapped = object.map(|field| match &*field.key {
        RELATED => Some(Writer::new().text("taskId", task_id).finish().into()),
        _ => Some(field.value.into()),
    });
    Cow::Owned(wrapped.finish())
}

const RELATED: &str = "io.modelcontextprotocol/related-task";

fn result(id: &RequestId, result: Writer) -> Body {
    let meta = format!(r#"{{"io.modelcontextprotocol/serverInfo":{HUB}}}"#);
    let result = result.member("_meta", &meta).finish();
    Body::one(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#).into())
}

/// The answer to a stateless client's `tools/call`: it has become a task, known by the hub's id.
pub fn created(id: &RequestId, task: &Task, task_id: &str) -> Body {
    // What it may ask and what it came to are for `tasks/get`.
    let status = Detail::Nothing.status(task.status);
    result(id, task.extension(Writer::new().text("resultType", "task"), task_id, status))
}

/// The answer to a stateless client's `tasks/get`.
pub fn shown(id: &RequestId, task: &Task, task_id: &str, detail: &Detail) -> Body {
    result(id, detailed(Writer::new().text("resultType", "complete"), task, task_id, detail))
}

/// `notifications/tasks` for a listen stream. `got`: the answer to the client's own `tasks/get`. `None`: it describes no task.
pub fn pushed(got: &Message, subscription: &RequestId) -> Option<Body> {
    let task = text_of(got, got.scan().result).and_then(Object::read)?;
    let meta = Writer::new().member("io.modelcontextprotocol/subscriptionId", &subscription.to_string()).finish();
    let mut params = Writer::new().member("_meta", &meta);
    let told = |field: &&Field<'_>| !matches!(&*field.key, "resultType" | "_meta");
    task.fields().iter().filter(told).for_each(|field| params.put(field.key_token, field.value));
    let params = params.finish();
    Some(Body::one(format!(r#"{{"jsonrpc":"2.0","method":"notifications/tasks","params":{params}}}"#).into()))
}

fn detailed(first: Writer, task: &Task, task_id: &str, detail: &Detail) -> Writer {
    let task = task.extension(first, task_id, detail.status(task.status));
    match detail {
        Detail::Nothing => task,
        Detail::Result(result) => task.member("result", result),
        Detail::Error(error) => task.member("error", error),
        Detail::Inputs(requests) => task.member("inputRequests", requests),
    }
}

/// The answer to a stateless client's `tasks/update` and `tasks/cancel`; a task that has ended is no error there.
pub fn acknowledged(id: &RequestId) -> Body {
    result(id, Writer::new().text("resultType", "complete"))
}

/// `params` of the hub's own `tasks/get`, `tasks/result`, `tasks/cancel`; of `tasks/update` with the raw object `inputResponses`.
pub fn params(server_id: &str, responses: Option<&str>) -> String {
    Writer::new().text("taskId", server_id).maybe("inputResponses", responses).finish()
}

/// `params.task` that asks a server of 2025-11-25 for a task.
pub fn augment(ttl: Option<Duration>) -> String {
    let ttl = ttl.map(|ttl| ttl.as_millis().to_string());
    Writer::new().maybe("ttl", ttl.as_deref()).finish()
}

/// What an answer relayed as it is says of its task's id.
#[derive(Clone, Copy, Debug)]
pub enum Naming<'a> {
    /// The client knows of no task.
    Hide,
    /// The client knows it by the hub's id.
    As(&'a str),
}

/// The places of a task's id in a result: itself, in `task`, and in `_meta`.
pub(super) fn rename(body: &mut Splice<'_>, message: &Message, naming: Naming<'_>) {
    let Naming::As(id) = naming else { return rename_related(body, message, &|_| None) };
    rename_related(body, message, &|_| Some(id.to_owned()));
    let Some(whole) = text_of(message, body_of(message)).and_then(Object::read) else { return };
    let task = whole.object("task");
    for object in [Some(&whole), task.as_ref()].into_iter().flatten() {
        if let Some(member) = object.field("taskId").and_then(|field| member_in(message, field)) {
            body.replace(member.value, quoted(id));
        }
    }
}

/// `notifications/tasks/status` for who knows the task by that id.
pub fn status(note: &Message, id: &str) -> Body {
    let mut body = Splice::new(note);
    rename(&mut body, note, Naming::As(id));
    body.to_body()
}

/// How a client knows a server's task: `None` when it knows of none.
pub type Known<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// The member of `_meta` that says to which task a message belongs (MCP 2025-11-25, tasks): the task is named as the other side knows
/// it, or not at all. Costs one search through `_meta`, if there is any.
pub(super) fn rename_related(body: &mut Splice<'_>, message: &Message, tasks: &Known<'_>) {
    let Some(entries) = related_in(message) else { return };
    let Some(field) = entries.field(RELATED) else { return };
    let task = Object::read(field.value);
    let named = task.as_ref().and_then(|task| Some((task.field("taskId")?, tasks(&task.string("taskId")?)?)));
    match named {
        Some((id, known)) => _ = member_in(message, id).map(|member| body.replace(member.value, quoted(&known))),
        None => _ = member_in(message, field).map(|member| body.delete(member)),
    }
}

/// The task that a message says it belongs to.
pub(super) fn related_to(message: &Message) -> Option<String> {
    related_in(message)?.object(RELATED)?.string("taskId").map(Cow::into_owned)
}

/// `_meta`, if it names a task.
fn related_in(message: &Message) -> Option<Object<'_>> {
    let meta = message.scan().meta.object.filter(|meta| RELATED_KEY.find(message.token(*meta)).is_some());
    text_of(message, meta).and_then(Object::read)
}

static RELATED_KEY: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"related-task"));

/// What decides about tasks in one `tools/call`.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    pub client: Version,
    /// Of the request or the session.
    pub profile: Profile,
    pub server: Version,
    /// It said `tasks.requests.tools.call` (2025-11-25), or the extension (2026-07-28).
    pub server_has_tasks: bool,
    pub support: TaskSupport,
    /// The client sent `task`, and may: at a server's own endpoint.
    pub asked: bool,
    /// Calls that may become tasks are to.
    pub prefers: bool,
    /// Handshake clients get the results of stateless servers' tasks.
    pub bridges: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// No task, whoever asks for one.
    Plain,
    /// Ask for one, and say so to the client: `created`, then `tasks/get` and the like.
    Start,
    /// Ask for one, look at it until it ends, and answer the client as if there were none.
    Poll,
    /// The client's own `task` goes on, the answer comes back, with the hub's ids.
    Relay,
    /// Tell the server that tasks are understood; a task that it makes goes to the client, with the hub's id.
    Declare,
    /// Tell the server that tasks are understood; look at the one it makes until it ends.
    DeclareAndPoll,
}

impl Plan {
    /// Whether a stateless server is told that tasks are understood.
    pub const fn declares(self) -> bool {
        matches!(self, Self::Declare | Self::DeclareAndPoll)
    }

    /// Raw JSON of `params.task` for the server.
    pub fn param(self, call: &Message) -> Option<Cow<'_, str>> {
        match self {
            Self::Start | Self::Poll => Some(augment(Some(limits::TASK_TTL)).into()),
            Self::Relay => text_of(call, call.scan().task.map(|task| task.value)).map(Cow::Borrowed),
            Self::Plain | Self::Declare | Self::DeclareAndPoll => None,
        }
    }

    pub fn of(facts: &Facts) -> Self {
        let is_able = facts.server_has_tasks && (facts.server.era() == Era::Stateless || facts.server >= Version::V2025_11_25);
        let understands = facts.profile.has(Profile::TASKS) && facts.client.era() == Era::Stateless;
        match (facts.client.era(), facts.server.era()) {
            _ if !is_able => Self::Plain,
            (Era::Stateless, Era::Stateless) if understands => Self::Declare,
            (Era::Handshake, Era::Stateless) if facts.bridges => Self::DeclareAndPoll,
            (_, Era::Stateless) => Self::Plain,
            (_, Era::Handshake) => match facts.support {
                TaskSupport::Forbidden => Self::Plain,
                _ if facts.asked && facts.client == Version::V2025_11_25 => Self::Relay,
                TaskSupport::Required if understands => Self::Start,
                TaskSupport::Required => Self::Poll,
                TaskSupport::Optional if understands && facts.prefers => Self::Start,
                TaskSupport::Optional => Self::Plain,
            },
        }
    }
}

/// Whether the method is one of tasks, in either design.
pub fn is_of_tasks(method: Method<'_>) -> bool {
    matches!(method, Method::TasksGet | Method::TasksResult | Method::TasksUpdate | Method::TasksCancel | Method::TasksList)
}

#[cfg(test)]
mod tests;
