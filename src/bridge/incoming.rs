//! From the server's answer or notification to the client's.
//!
//! Between two handshake peers only the id changes. Otherwise the envelope of the client's era is put on or taken off in the same one
//! splice. Content is looked into only for an endpoint that publishes URIs, or for a client of a revision older than its server's
//! (`content`). Errors are rare and may be parsed.

use super::{
    HUB,
    content::{Publish, Reader, Shape, text_block},
    json::{Object, Writer, elements, on_one_line, span_in, text_of},
    reissue::Needed,
    round,
    task::{self, Known, Naming},
};
use crate::protocol::{
    Body, Era, Kind, Level, Message, Method, Refusal, RequestId, Span, Version,
    capability::Profile,
    code::{self, Code, Reason},
    refusal::quoted,
    splice::Splice,
};
use bytes::Bytes;
use memchr::memmem::Finder;
use serde::Deserialize;
use serde_json::value::RawValue;
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
    pub identity: Identity,
    /// For answers of and about tasks. With a name `resultType` may be `task`.
    pub task: Option<Naming<'a>>,
}

/// Who answers a stateless client: `_meta` says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Identity {
    /// The hub; the server's own identity is kept under a key of the hub's.
    #[default]
    Hub,
    /// The server, where it says who it is: at its own endpoint.
    Server,
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

/// `notifications/progress` with the client's own token (raw JSON), and the task that it belongs to as the client knows that.
pub fn progress(note: &Message, token: &Bytes, tasks: &Known<'_>) -> Body {
    let mut body = Splice::new(note);
    if let Some(span) = note.scan().progress_token {
        body.replace(span, token.clone());
    }
    task::rename_related(&mut body, note, tasks);
    body.to_body()
}

/// `notifications/progress` of the hub's own, about what it does for the client meanwhile. `token`: the client's, raw JSON; `progress`
/// rises from one to the next.
pub fn own_progress(token: &Bytes, progress: u64, message: Option<&str>) -> Body {
    let token = String::from_utf8_lossy(token);
    let message = message.map(|message| format!(r#","message":{}"#, quoted(message))).unwrap_or_default();
    let params = format!(r#"{{"progressToken":{token},"progress":{progress}{message}}}"#);
    Body::one(format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{params}}}"#).into())
}

/// `notifications/message` for who wants to read from that level on; `None` when it is below. What names no level is not passed on, but
/// to who named none either. A task that it belongs to is told as the client knows it.
pub fn log(note: &Message, from: Option<Level>, tasks: &Known<'_>) -> Option<Body> {
    if let Some(from) = from {
        let params = Object::read(text_of(note, note.scan().params)?)?;
        Level::parse(&params.string("level")?).filter(|level| *level >= from)?;
    }
    let mut body = Splice::new(note);
    task::rename_related(&mut body, note, tasks);
    Some(body.to_body())
}

/// `notifications/resources/updated` under the URI that clients know; for a listen stream with its id.
pub fn updated(note: &Message, uri: &str, subscription: Option<&RequestId>) -> Body {
    let mut body = Splice::new(note);
    if let Some(span) = note.scan().uri
        && note.string(span).as_deref() != Some(uri)
    {
        body.replace(span, quoted(uri));
    }
    stamp(&mut body, note, subscription);
    body.to_body()
}

/// Any other notification as it came (`notifications/elicitation/complete`, …); for a listen stream with its id.
pub fn notice(note: &Message, subscription: Option<&RequestId>) -> Body {
    let mut body = Splice::new(note);
    stamp(&mut body, note, subscription);
    body.to_body()
}

/// A notification of the hub's own. `params`: a raw JSON object without `_meta`.
pub fn own_notification(method: Method<'_>, params: &str, subscription: Option<&RequestId>) -> Body {
    let rest = params.trim().strip_prefix('{').unwrap_or("}").trim_start();
    let meta = subscription.map(|id| format!(r#""_meta":{{{SUBSCRIPTION_KEY}:{id}}}"#)).unwrap_or_default();
    let comma = if meta.is_empty() || rest.starts_with('}') { "" } else { "," };
    let params = match (meta.is_empty(), rest) {
        (true, "}") => String::new(),
        _ => format!(r#","params":{{{meta}{comma}{rest}"#),
    };
    let method = quoted(method.as_str());
    Body::one(on_one_line(format!(r#"{{"jsonrpc":"2.0","method":{method}{params}}}"#)).into())
}

/// The result of a `completion/complete` for which the server knows no completion.
pub fn no_completion(id: &RequestId, client: Era) -> Body {
    let envelope = match client {
        Era::Handshake => String::new(),
        Era::Stateless => format!(r#""resultType":"complete",{META},"#),
    };
    Body::one(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{{envelope}"completion":{{"values":[]}}}}}}"#).into())
}

/// The result that ends a listen stream (MCP 2026-07-28, subscriptions).
pub fn listen_ended(id: &RequestId) -> Body {
    let meta = format!(r#"{{{SUBSCRIPTION_KEY}:{id},{SERVER_INFO}}}"#);
    Body::one(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"complete","_meta":{meta}}}}}"#).into())
}

const SUBSCRIPTION_KEY: &str = r#""io.modelcontextprotocol/subscriptionId""#;

/// Says which listen stream a notification belongs to.
pub(super) fn stamp(body: &mut Splice<'_>, note: &Message, subscription: Option<&RequestId>) {
    let Some(id) = subscription else { return };
    let scan = note.scan();
    let member = format!("{SUBSCRIPTION_KEY}:{id}");
    match (scan.meta.object, scan.params) {
        (Some(meta), _) => {
            // One of the server's own listen stream means nothing here.
            let entries = text_of(note, Some(meta)).and_then(Object::read);
            let own = entries.as_ref().and_then(|meta| meta.field("io.modelcontextprotocol/subscriptionId"));
            match own.and_then(|field| span_in(note, field.value)) {
                Some(value) => body.replace(value, id.token().clone()),
                None => body.insert_first(meta, member),
            }
        }
        (None, Some(params)) => body.insert_first(params, format!(r#""_meta":{{{member}}}"#)),
        (None, None) => {
            let start = note.bytes().len() - note.bytes().trim_ascii_start().len();
            let object = Span::new(start as u32, note.bytes().len() as u32);
            body.insert_first(object, format!(r#""params":{{"_meta":{{{member}}}}}"#))
        }
    };
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
        (None, _) => put(body, Bytes::from_static(META.as_bytes())),
        (Some(meta), None) => {
            body.insert_first(meta, SERVER_INFO);
        }
        (Some(_), Some(_)) if carry.identity == Identity::Server && carry.server.era() == Era::Stateless => {}
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
    if reader.is_idle() || !answer.scan().result.is_some_and(|result| reader.may_change(answer.token(result))) {
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

/// What a server's error says; the parts that are only relayed stay raw.
#[derive(Deserialize)]
struct ErrorObject<'a> {
    code: i64,
    #[serde(borrow)]
    message: Cow<'a, str>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

impl<'a> ErrorObject<'a> {
    /// `data.uri`, as it is published.
    fn data(&self, carry: &Carry<'_>) -> Option<Cow<'a, str>> {
        let data = self.data?.get();
        let published = carry.publish.and_then(|publish| {
            let object = Object::read(data)?;
            let uri = quoted(&publish(&object.string("uri")?)?);
            let renamed = object.map(|field| Some(if field.key == "uri" { uri.clone().into() } else { field.value.into() }));
            Some(renamed.finish())
        });
        Some(published.map_or(Cow::Borrowed(data), Cow::Owned))
    }

    fn has_uri(&self) -> bool {
        self.data.and_then(|data| Object::read(data.get())).is_some_and(|data| data.string("uri").is_some())
    }
}

/// Which errors may pass as they are, and what the others become (codes mean different things in the two eras).
fn error(answer: &Message, carry: &Carry<'_>) -> Result<Body, Refusal> {
    let (client, server) = (carry.client, carry.server);
    let relay = || Ok(with_id(answer, carry.id).to_body());
    let raw = answer.scan().error.map(|span| answer.token(span)).unwrap_or_default();
    let Ok(error) = serde_json::from_slice::<ErrorObject<'_>>(raw) else {
        return match (client.era(), server.era()) {
            (Era::Handshake, Era::Handshake) => relay(),
            _ => Err(bad_answer("The server answered with an error that is malformed")),
        };
    };
    let is = |code: Code| error.code == code.number();
    match (client.era(), server.era()) {
        (Era::Handshake, Era::Handshake) if is(Code::UrlElicitation) && client < Version::V2025_11_25 => match Needed::read(answer, 1) {
            Some(needed) => round::failed(carry.method, carry.id, Era::Handshake, &needed.to_text(), Some(wrap(raw))),
            None => Err(wrapped(&error, raw)),
        },
        (Era::Handshake, Era::Stateless) if is(Code::MissingCapability) => missing_capability(&error, carry),
        // Who can open pages was asked to; this one did not say that it can.
        (Era::Stateless, Era::Handshake)
            if round::may_ask(carry.method)
                && let Some(Err(refusal)) = Needed::read(answer, 1).map(|needed| needed.check(Profile::BARE)) =>
        {
            Err(refusal)
        }
        _ => match told(&error, raw, carry) {
            Told::AsItIs => relay(),
            Told::Otherwise(refusal) => Err(refusal),
            Told::WithData { data, published } => {
                let mut body = with_id(answer, carry.id);
                if let Some(span) = span_in(answer, data) {
                    body.replace(span, published);
                }
                Ok(body.to_body())
            }
        },
    }
}

/// What an error becomes that stays one.
enum Told<'a> {
    AsItIs,
    /// Only its data changes: that token of the message for this text.
    WithData {
        data: &'a str,
        published: String,
    },
    /// Another takes its place; without id.
    Otherwise(Refusal),
}

fn told<'a>(error: &ErrorObject<'a>, raw: &[u8], carry: &Carry<'_>) -> Told<'a> {
    let is = |code: Code| error.code == code.number();
    let refusal = match (carry.client.era(), carry.server.era()) {
        // A server of the stateless era should not know that code any more.
        (Era::Stateless, _) if is(Code::ResourceNotFound) => not_found(error, carry),
        // The hub spoke wrongly to that server; its caller did not.
        (_, Era::Stateless) if is(Code::HeaderMismatch) || is(Code::UnsupportedVersion) => wrapped(error, raw),
        (Era::Stateless, Era::Stateless) if is(Code::MissingCapability) => recoded(error, Code::MissingCapability, carry),
        // What that range means is for the specification to say; these codes it does not define, or not for this.
        (Era::Stateless, _) if code::is_reserved(error.code) => wrapped(error, raw),
        // The stateless era has no code of its own for it.
        (Era::Handshake, Era::Stateless) if is(Code::InvalidParams) && carry.method == Method::ResourcesRead && error.has_uri() => {
            recoded(error, Code::ResourceNotFound, carry)
        }
        _ => {
            return match (error.data, error.data(carry)) {
                (Some(data), Some(Cow::Owned(published))) => Told::WithData { data: data.get(), published },
                _ => Told::AsItIs,
            };
        }
    };
    Told::Otherwise(refusal)
}

/// What a stateless client's task has come to, as it stands in the task: the error of a call, a raw JSON object. `carry` is that of the
/// call. `None`: it stays as it is.
fn task_error(raw: &str, carry: &Carry<'_>) -> Option<String> {
    let Ok(error) = serde_json::from_str::<ErrorObject<'_>>(raw) else {
        return Some(bad_answer("The server ended the task with an error that is malformed").to_object());
    };
    match told(&error, raw.as_bytes(), carry) {
        Told::AsItIs => None,
        Told::WithData { published, .. } => Some(Object::read(raw)?.without(&["data"]).member("data", &published).finish()),
        Told::Otherwise(refusal) => Some(refusal.to_object()),
    }
}

/// The same, of a handshake server's answer to `tasks/result`.
pub(super) fn settled_error(answer: &Message, carry: &Carry<'_>) -> String {
    let raw = text_of(answer, answer.scan().error).unwrap_or("{}");
    task_error(raw, carry).unwrap_or_else(|| on_one_line(raw.to_owned()))
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

/// A resource that does not exist, as a stateless client is told: with its URI, whether the server named it or not (MCP 2026-07-28,
/// resources).
fn not_found(error: &ErrorObject<'_>, carry: &Carry<'_>) -> Refusal {
    let refusal = recoded(error, Code::InvalidParams, carry);
    let Some(uri) = carry.uri.filter(|_| carry.method == Method::ResourcesRead && !error.has_uri()) else { return refusal };
    let published = carry.publish.and_then(|publish| publish(uri));
    let uri = published.as_deref().unwrap_or(uri);
    match error.data.map(|data| Object::read(data.get())) {
        None => refusal.with_data(Writer::new().text("uri", uri).finish()),
        Some(Some(data)) => refusal.with_data(data.without(&["uri"]).text("uri", uri).finish()),
        // Something of its own, which stays.
        Some(None) => refusal,
    }
}

/// The server's error under a code that the client's era knows for the same thing.
fn recoded(error: &ErrorObject<'_>, code: Code, carry: &Carry<'_>) -> Refusal {
    let refusal = Refusal::new(code, code.http_status(carry.client.era()), &*error.message);
    match error.data(carry) {
        Some(data) => refusal.with_data(on_one_line(data.into_owned())),
        None => refusal,
    }
}

/// An error whose code must not, or cannot usefully, reach the client: the whole of it goes into `data.rpc`.
fn wrapped(error: &ErrorObject<'_>, raw: &[u8]) -> Refusal {
    Refusal::new(Code::Internal, 200, &*error.message).with_data(wrap(raw))
}

fn wrap(raw: &[u8]) -> String {
    let rpc = on_one_line(String::from_utf8_lossy(raw).into_owned());
    format!(r#"{{"origin":"server","rpc":{rpc}}}"#)
}

/// A handshake client has no such code: the model reads what is missing.
fn missing_capability(error: &ErrorObject<'_>, carry: &Carry<'_>) -> Result<Body, Refusal> {
    let data = error.data.map(|data| on_one_line(data.get().to_owned()));
    if carry.method != Method::ToolsCall {
        return round::failed(carry.method, carry.id, Era::Handshake, &error.message, data);
    }
    let mut text = error.message.to_string();
    if let Some(data) = data {
        text.push(' ');
        text.push_str(&data);
    }
    round::failed(carry.method, carry.id, Era::Handshake, &text, None)
}

fn bad_answer(message: &str) -> Refusal {
    Refusal::new(Code::Internal, 200, message).with_data(code::failure_data(None, Reason::BadAnswer, None))
}

#[cfg(test)]
mod tests;
