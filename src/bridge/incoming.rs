//! From the server's answer or notification to the client's: results here, notifications and errors apart.
//!
//! Between two handshake peers only the id changes. Otherwise the envelope of the client's era is put on or taken off in the same one
//! splice. Content is looked into only for an endpoint that publishes URIs, or for a client of a revision older than its server's
//! (`content`). Errors are rare and may be parsed.

mod error;
mod notification;

pub(super) use error::settled_error;
use error::{bad_answer, error, task_error};
pub use notification::{listen_ended, log, notice, own_notification, own_progress, progress, progress_of, updated};

use super::{
    HUB,
    content::{Publish, Reader, Shape, text_block},
    json::{Object, elements, span_in, text_of},
    round,
    task::{self, Naming},
};
use crate::protocol::{Body, Era, Kind, Message, Method, Refusal, RequestId, Span, Version, splice::Splice};
use bytes::Bytes;
use memchr::memmem::Finder;
use std::{borrow::Cow, sync::LazyLock};

/// What an answer needs to become the client's. `Carry::new` is that of a tool call at an endpoint that renames nothing.
#[derive(Clone, Copy)]
pub struct Carry<'a> {
    /// The client's own.
    pub id: &'a RequestId,
    pub client: Version,
    pub server: Version,
    /// Of the request.
    pub method: Method<'a>,
    /// How the endpoint publishes URIs, if it does not leave them as they are.
    pub publish: Option<&'a Publish<'a>>,
    /// The server's own URI of what was to be read.
    pub uri: Option<&'a str>,
    /// The tool's `outputSchema` was wrapped for clients of the handshake era, since its root is no object: so is what it describes.
    pub wraps_output: bool,
    pub identity: Identity<'a>,
    /// For answers of and about tasks. With a name `resultType` may be `task`.
    pub task: Option<Naming<'a>>,
}

/// Who answers a stateless client: `_meta` says so.
#[derive(Clone, Copy)]
pub enum Identity<'a> {
    /// The hub; the server's own identity is kept under a key of the hub's.
    Hub,
    /// The server, at its own endpoint: as its answer says, else as it said of itself before (a raw JSON object); else the hub.
    Server(&'a dyn Fn() -> Option<Bytes>),
}

impl Identity<'_> {
    /// The member of `_meta` for an answer that says nothing of it.
    fn member(self) -> Bytes {
        let own = match self {
            Self::Hub => None,
            Self::Server(own) => own(),
        };
        own.map_or(Bytes::from_static(SERVER_INFO.as_bytes()), |own| [SERVER_INFO_KEY.as_bytes(), b":", &own].concat().into())
    }
}

impl<'a> Carry<'a> {
    pub const fn new(id: &'a RequestId, client: Version, server: Version) -> Self {
        let method = Method::ToolsCall;
        Self { id, client, server, method, publish: None, uri: None, wraps_output: false, identity: Identity::Hub, task: None }
    }
}

/// The answer of any method for the client: its id restored byte for byte, the envelope of its era, URIs published. Not for answers that
/// ask for input (`round::Outcome`).
///
/// # Errors
/// The answer that takes its place, with the client's id: the server's could not be carried (unknown `resultType`, malformed error), or it has to be
/// told with a status of its own (`-32021`, 400).
pub fn answer(answer: &Message, carry: &Carry<'_>) -> Result<Body, Refusal> {
    let carried = match answer.kind() {
        Kind::Error => error(answer, carry),
        _ => result(answer, carry),
    };
    carried.map_err(|refusal| refusal.with_id(Some(carry.id.clone())))
}

/// The result of a `completion/complete` for which the server knows no completion.
pub fn no_completion(id: &RequestId, client: Era) -> Body {
    let envelope = match client {
        Era::Handshake => String::new(),
        Era::Stateless => format!(r#""resultType":"complete",{META},"#),
    };
    Body::one(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{{envelope}"completion":{{"values":[]}}}}}}"#).into())
}

fn with_id<'a>(answer: &'a Message, id: &RequestId) -> Splice<'a> {
    let mut body = Splice::new(answer);
    if let Some(span) = answer.scan().id {
        body.replace(span, id.token().clone());
    }
    body
}

fn result(answer: &Message, carry: &Carry<'_>) -> Result<Body, Refusal> {
    let mut body = with_id(answer, carry.id);
    match (carry.client.era(), carry.server.era()) {
        (Era::Handshake, Era::Handshake) => {
            // A client that knows no structured content reads it as text; for the others the server answered as they expect.
            let is_older = carry.client < STRUCTURED && answer.scan().structured_content.is_some();
            if is_older {
                put_content(&mut body, answer, carry);
            }
            content(&mut body, answer, carry, if is_older { text_for(answer, carry) } else { None });
        }
        (Era::Handshake, Era::Stateless) => {
            check_complete(answer, carry)?;
            take_envelope(&mut body, answer, carry);
        }
        (Era::Stateless, server) => {
            if server == Era::Stateless {
                check_complete(answer, carry)?;
            }
            put_envelope(&mut body, answer, carry);
        }
    }
    if let Some(naming) = carry.task {
        task::rename(&mut body, answer, naming);
    }
    Ok(body.to_body())
}

/// A stateless server may say anything but `complete` only if it was told that the caller understands it.
fn check_complete(answer: &Message, carry: &Carry<'_>) -> Result<(), Refusal> {
    let Some(member) = answer.scan().result_type else { return Ok(()) };
    match (answer.string(member.value).as_deref(), carry.method, carry.task) {
        (Some("complete"), _, _) => Ok(()),
        // Of an extension's method the hub knows nothing.
        (Some(_), Method::Other(_), _) if carry.client.era() == Era::Stateless => Ok(()),
        (Some("task"), Method::ToolsCall, Some(Naming::As(_))) if carry.client.era() == Era::Stateless => Ok(()),
        _ => Err(bad_answer("The server answered with a result type that was not asked for")),
    }
}

/// For a handshake client: what only 2026-07-28 knows goes, what earlier revisions require comes.
fn take_envelope(body: &mut Splice<'_>, answer: &Message, carry: &Carry<'_>) {
    let scan = answer.scan();
    for member in [scan.result_type, scan.ttl_ms, scan.cache_scope, scan.meta.server_info].into_iter().flatten() {
        body.delete(member);
    }
    if let Some(span) = scan.structured_content {
        let value = answer.token(span);
        // Until 2025-11-25 structured content is an object: strict clients drop a result in which it is not.
        if carry.wraps_output || !value.starts_with(b"{") {
            body.replace(span, [br#"{"result":"#, value, b"}"].concat());
        }
    }
    put_content(body, answer, carry);
    content(body, answer, carry, text_for(answer, carry));
}

/// `content` for a tool's result that has none.
fn put_content(body: &mut Splice<'_>, answer: &Message, carry: &Carry<'_>) {
    let scan = answer.scan();
    if let (true, None, Some(object)) = (carry.method == Method::ToolsCall, scan.content, scan.result) {
        body.insert_first(object, missing_content(answer));
    }
}

/// For a stateless client: the result says that it is complete, how long it holds where that is required, and who answers.
fn put_envelope(body: &mut Splice<'_>, answer: &Message, carry: &Carry<'_>) {
    let scan = answer.scan();
    // One after the other: what is always the same is not written anew for every answer.
    let put = |body: &mut Splice<'_>, member: Bytes| {
        if let Some(object) = scan.result {
            body.insert_first(object, member);
        }
    };
    match scan.result_type {
        None => put(body, Bytes::from_static(br#""resultType":"complete""#)),
        // A handshake server may mean anything by it.
        Some(member) if carry.server.era() == Era::Handshake && answer.token(member.value) != br#""complete""# => {
            body.replace(member.value, r#""complete""#);
        }
        Some(_) => {}
    }
    if needs_hints(carry.method) {
        // Of a handshake server these members could mean anything.
        let is_known = carry.server.era() == Era::Stateless;
        match scan.ttl_ms {
            None => put(body, Bytes::from_static(br#""ttlMs":0"#)),
            Some(member) if is_known && is_ttl(answer.token(member.value)) => {}
            Some(member) => _ = body.replace(member.value, "0"),
        }
        match scan.cache_scope {
            None => put(body, Bytes::from_static(br#""cacheScope":"private""#)),
            Some(member) if is_known && matches!(answer.string(member.value).as_deref(), Some("public" | "private")) => {}
            Some(member) => _ = body.replace(member.value, r#""private""#),
        }
    }
    if carry.method == Method::ToolsCall && scan.content.is_none() && !is_task(answer, carry) {
        put(body, missing_content(answer).into());
    }
    match (scan.meta.object, scan.meta.server_info) {
        (None, _) => match carry.identity {
            Identity::Hub => put(body, Bytes::from_static(META.as_bytes())),
            own @ Identity::Server(_) => put(body, [br#""_meta":{"#, &*own.member(), b"}"].concat().into()),
        },
        (Some(meta), None) => {
            body.insert_first(meta, carry.identity.member());
        }
        (Some(_), Some(_)) if matches!(carry.identity, Identity::Server(_)) && carry.server.era() == Era::Stateless => {}
        // The server's own identity stays, under the hub's key, unless a hub before this one put somebody there.
        (Some(meta), Some(member)) if KEPT_SERVER_INFO.find(answer.token(meta)).is_none() => {
            body.replace(member.key, KEPT_SERVER_INFO_KEY);
            body.insert_first(meta, SERVER_INFO);
        }
        (Some(_), Some(member)) => {
            body.replace(member.value, HUB);
        }
    }
    if carry.method == Method::TasksGet {
        return task_outcome(body, answer, carry);
    }
    content(body, answer, carry, text_for(answer, carry));
}

const SERVER_INFO_KEY: &str = r#""io.modelcontextprotocol/serverInfo""#;
/// The member of `_meta` that says who answers.
const SERVER_INFO: &str =
    concat!(r#""io.modelcontextprotocol/serverInfo":{"name":"mcp-hub","version":""#, env!("CARGO_PKG_VERSION"), r#""}"#);
/// With its object.
const META: &str =
    concat!(r#""_meta":{"io.modelcontextprotocol/serverInfo":{"name":"mcp-hub","version":""#, env!("CARGO_PKG_VERSION"), r#""}}"#);
const KEPT_SERVER_INFO_KEY: &str = r#""io.github.mcp-hub.mcp-hub/serverInfo""#;
static KEPT_SERVER_INFO: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(KEPT_SERVER_INFO_KEY));

/// Results that must say how long they hold (MCP 2026-07-28, caching).
fn needs_hints(method: Method<'_>) -> bool {
    matches!(
        method,
        Method::ResourcesRead
            | Method::ToolsList
            | Method::PromptsList
            | Method::ResourcesList
            | Method::ResourcesTemplatesList
            | Method::Discover
    )
}

/// Whether a raw JSON token is an integer from 0 on, however it is written (`1e3` is one); others count as 0 (MCP 2026-07-28, caching).
fn is_ttl(token: &[u8]) -> bool {
    token.iter().all(u8::is_ascii_digit)
        || std::str::from_utf8(token)
            .ok()
            .and_then(|token| token.parse::<f64>().ok())
            .is_some_and(|number| number.is_finite() && number.is_sign_positive() && number.fract() == 0.0)
}

fn is_task(answer: &Message, carry: &Carry<'_>) -> bool {
    carry.task.is_some() && round::Outcome::of(answer) == round::Outcome::Task
}

/// The `content` member for a result that has none: every revision requires it, and structured content is to be readable there too. So is
/// what the servers of before 2024-11-05 called `toolResult`.
fn missing_content(answer: &Message) -> String {
    let old = || text_of(answer, answer.scan().result).and_then(Object::read).as_ref().and_then(old_result);
    let block = content_block(text_of(answer, answer.scan().structured_content), old);
    format!(r#""content":[{}]"#, block.unwrap_or_default())
}

fn content_block(structured: Option<&str>, old: impl FnOnce() -> Option<String>) -> Option<String> {
    structured.map(text_block).or_else(old)
}

fn old_result(result: &Object<'_>) -> Option<String> {
    let raw = result.get("toolResult")?;
    Some(text_block(result.string("toolResult").as_deref().unwrap_or(raw)))
}

/// Structured content came with this revision (MCP 2025-06-18, tools).
const STRUCTURED: Version = Version::V2025_06_18;

/// The text block that structured content needs when no block of the result is text: what is no object for every client, since not all
/// take it, and an object for one that knows no structured content. Few tools have any.
fn text_for(answer: &Message, carry: &Carry<'_>) -> Option<String> {
    let scan = answer.scan();
    // Most often an object, and large: then it is not even read.
    scan.structured_content.filter(|span| carry.client < STRUCTURED || !answer.token(*span).starts_with(b"{"))?;
    text_block_for(text_of(answer, scan.structured_content)?, text_of(answer, scan.content)?, carry)
}

fn text_block_for(structured: &str, content: &str, carry: &Carry<'_>) -> Option<String> {
    if carry.client >= STRUCTURED && structured.starts_with('{') {
        return None;
    }
    let is_text = |block: &&str| Object::read(block).is_some_and(|block| block.string("type").as_deref() == Some("text"));
    (!elements(content)?.iter().any(is_text)).then(|| text_block(structured))
}

/// Publishes URIs and writes out what the client's revision does not know; puts `first` before the other blocks of a tool's content.
fn content(body: &mut Splice<'_>, answer: &Message, carry: &Carry<'_>, first: Option<String>) {
    let reader = Reader::new(if carry.server > carry.client { carry.client } else { Version::STATELESS }, carry.publish);
    if let (Some(first), Some(span)) = (first, answer.scan().content) {
        let rest = answer.token(span).get(1..).unwrap_or_default();
        let comma = if rest.trim_ascii_start().starts_with(b"]") { "" } else { "," };
        body.replace(Span::new(span.start(), span.start() + 1), format!("[{first}{comma}"));
    }
    if reader.is_idle() || !reader.may_change(answer) {
        return;
    }
    let result = || text_of(answer, answer.scan().result).and_then(Object::read);
    let (text, shape) = match carry.method {
        Method::ToolsCall | Method::TasksResult => (text_of(answer, answer.scan().content), Shape::Blocks),
        Method::PromptsGet => (result().and_then(|result| result.get("messages")), Shape::Messages),
        Method::ResourcesRead => (result().and_then(|result| result.get("contents")), Shape::Contents),
        _ => return,
    };
    for (token, with) in text.map(|text| reader.edits(text, shape)).unwrap_or_default() {
        if let Some(span) = span_in(answer, token) {
            body.replace(span, with);
        }
    }
}

/// The same of a tool's result: what `content` is to be, where it has to change, with its URIs published.
pub(super) fn task_content<'a>(result: &Object<'a>, carry: &Carry<'_>) -> Option<Cow<'a, str>> {
    let structured = result.field("structuredContent").map(|field| field.value);
    let Some(content) = result.field("content").map(|field| field.value) else {
        return Some(Cow::Owned(format!("[{}]", content_block(structured, || old_result(result)).unwrap_or_default())));
    };
    let published = Reader::new(Version::STATELESS, carry.publish).apply(content, Shape::Blocks);
    let first = structured.and_then(|structured| text_block_for(structured, content, carry));
    match (first, published) {
        (Some(first), published) => {
            let rest = published.get(1..).unwrap_or_default();
            let comma = if rest.trim_start().starts_with(']') { "" } else { "," };
            Some(Cow::Owned(format!("[{first}{comma}{rest}")))
        }
        (None, Cow::Borrowed(_)) => None,
        (None, published) => Some(published),
    }
}

/// What came of a stateless server's task, which stands in the answer to `tasks/get`.
fn task_outcome(body: &mut Splice<'_>, answer: &Message, carry: &Carry<'_>) {
    let Some(task) = text_of(answer, answer.scan().result).and_then(Object::read) else { return };
    let carry = Carry { method: Method::ToolsCall, ..*carry };
    if let Some(error) = task.get("error")
        && let Some(span) = span_in(answer, error)
        && let Some(told) = task_error(error, &carry)
    {
        body.replace(span, told);
    }
    let result = task.get("result").and_then(|token| Some((span_in(answer, token)?, Object::read(token)?)));
    if let Some((object, result)) = result
        && let Some(content) = task_content(&result, &carry)
    {
        match result.field("content").and_then(|field| span_in(answer, field.value)) {
            Some(span) => body.replace(span, content.into_owned()),
            None => body.insert_first(object, format!(r#""content":{content}"#)),
        };
    }
}

#[cfg(test)]
mod tests;
