//! From the client's message to the server's line. What is said to end in `\n` is a whole line.
//!
//! Cost of a call: one copy of the message into its line, and one small allocation for the wire id. What only retries and completions
//! have is looked for when the scanner saw a sign of it.

use super::{
    HUB,
    json::{Object, member_in, on_one_line, text_of},
    trace::{self, SpanId},
};
use crate::{
    mux::WireId,
    protocol::{
        Era, Kind, Level, Message, Method, RequestId, Span, Version,
        capability::{Extras, Profile},
        code::Code,
        mark::Mark,
        refusal::{Refusal, quoted},
        scan::Member,
        splice::Splice,
    },
};
use bytes::Bytes;
use memchr::memmem::Finder;
use std::sync::LazyLock;

/// What the server leg needs to differ. `Outgoing::new` changes nothing that need not change.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    pub wire: WireId,
    /// The server's revision.
    pub version: Version,
    /// Raw JSON token that replaces `params.name`, or `params.ref.name` of a completion.
    pub name: Option<&'a Bytes>,
    /// Raw JSON token that replaces `params.uri`, or `params.ref.uri` of a completion.
    pub uri: Option<&'a Bytes>,
    /// Raw JSON token that replaces `params.taskId`.
    pub task_id: Option<&'a Bytes>,
    /// What the caller can be asked and the hub carries: declared to a stateless server, with this request only.
    pub profile: Profile,
    /// What it declares besides, to a stateless server that knows the same.
    pub extras: Option<&'a Extras>,
    /// Who a caller says it is that said so before this request: its `clientInfo`, raw JSON, for a stateless server.
    pub caller: Option<&'a Bytes>,
    /// From which level on the server may log about this request; a stateless server is told, a handshake server has a level of its
    /// connection.
    pub level: Option<Level>,
    /// Asks for progress though the caller did not.
    pub wants_progress: bool,
    /// Raw JSON of `params.task` (2025-11-25); the caller's own never stays.
    pub task: Option<&'a str>,
    pub inputs: Inputs<'a>,
    /// The hub's own span, for a caller that sent a `traceparent` (`trace::is_sent`).
    pub span: Option<SpanId>,
}

/// What becomes of `inputResponses` and `requestState` (MCP 2026-07-28, multi round-trip requests).
#[derive(Clone, Copy, Debug, Default)]
pub enum Inputs<'a> {
    /// The server gets neither.
    #[default]
    Take,
    /// The caller's responses stay. `state` is the server's own, which it gave before.
    Keep { state: Option<&'a str> },
    /// The hub's, instead of any that are there. `responses` is a raw JSON object.
    Put { responses: Option<&'a str>, state: Option<&'a str> },
}

impl Outgoing<'_> {
    pub const fn new(wire: WireId, version: Version) -> Self {
        Self {
            wire,
            version,
            name: None,
            uri: None,
            task_id: None,
            profile: Profile::BARE,
            extras: None,
            caller: None,
            level: None,
            wants_progress: false,
            task: None,
            inputs: Inputs::Take,
            span: None,
        }
    }
}

/// The request line for a server, of any method: id, names and URIs replaced, progress token (if there is one) replaced by the wire id,
/// the envelope of `_meta` replaced (stateless server) or removed (handshake server). `arguments` and all keys that the hub does
/// not know stay byte for byte. Sent again with other `inputs`, the same message is the retry of a stateless request.
pub fn request(message: &Message, to: &Outgoing<'_>) -> Bytes {
    let scan = message.scan();
    let mut line = Splice::new(message);
    if let Some(id) = scan.id {
        line.replace(id, to.wire.to_token());
    }
    for (span, with) in [(scan.name, to.name), (scan.uri, to.uri), (scan.task_id, to.task_id)] {
        if let (Some(span), Some(with)) = (span, with) {
            line.replace(span, with.clone());
        }
    }
    let mut puts = Puts::default();
    match (scan.task, to.task) {
        (Some(task), None) => delete(&mut line, Some(task)),
        (Some(task), Some(with)) => _ = line.replace(task.value, with.to_owned()),
        (None, Some(with)) => puts.put_param("\"task\":", with),
        (None, None) => {}
    }
    let has_inputs = scan.has_input_responses || scan.has_request_state || matches!(to.inputs, Inputs::Put { .. });
    if has_inputs {
        inputs(&mut line, &mut puts, message, to.inputs);
    }
    // Only a completion has none of the three.
    if scan.name.is_none() && scan.uri.is_none() && scan.task_id.is_none() && message.method() == Method::Complete {
        completion(&mut line, message, to);
    }
    if let Some(span) = to.span {
        trace::put(&mut line, message, span);
    }
    match to.version.era() {
        Era::Handshake => {
            for member in [scan.meta.protocol_version, scan.meta.client_capabilities, scan.meta.log_level] {
                delete(&mut line, member);
            }
            if let Some(member) = scan.meta.client_info {
                match is_kept(message) {
                    true => line.delete(member),
                    false => line.replace(member.key, KEPT_CLIENT_KEY),
                };
            }
        }
        Era::Stateless => {
            put_level(&mut line, &mut puts, message, to.level);
            put_envelope(&mut line, &mut puts, message, to);
        }
    }
    match scan.meta.progress_token {
        Some(token) => _ = line.replace(token.value, to.wire.to_token()),
        None if to.wants_progress => puts.put_meta("\"progressToken\":", &to.wire.to_string()),
        None => {}
    }
    puts.put(&mut line, message);
    line.to_line()
}

/// Members to put in, once it is known whether their objects are there.
#[derive(Default)]
struct Puts {
    params: String,
    meta: String,
}

impl Puts {
    fn put_param(&mut self, key: &str, value: &str) {
        Self::push(&mut self.params, key, value);
    }

    fn put_meta(&mut self, key: &str, value: &str) {
        Self::push(&mut self.meta, key, value);
    }

    /// `key` with its colon.
    fn push(members: &mut String, key: &str, value: &str) {
        members.reserve(key.len() + value.len() + 2);
        if !members.is_empty() {
            members.push(',');
        }
        members.push_str(key);
        members.push_str(value);
    }

    fn put(mut self, line: &mut Splice<'_>, message: &Message) {
        let scan = message.scan();
        match scan.meta.object {
            Some(meta) => _ = line.insert_first(meta, self.meta),
            None if self.meta.is_empty() => {}
            None => {
                Self::push(&mut self.params, "\"_meta\":{", &self.meta);
                self.params.push('}');
            }
        }
        match scan.params {
            Some(params) => _ = line.insert_first(params, self.params),
            None if self.params.is_empty() => {}
            None => _ = line.insert_first(whole(message), format!("\"params\":{{{}}}", self.params)),
        }
    }
}

/// The two members of a retry. They are found by a second look at the params, which only such requests get.
#[cold]
fn inputs(line: &mut Splice<'_>, puts: &mut Puts, message: &Message, to: Inputs<'_>) {
    let params = text_of(message, message.scan().params).and_then(Object::read);
    let member = |name| params.as_ref().and_then(|params| member_in(message, params.field(name)?));
    let (responses, state) = (member("inputResponses"), member("requestState"));
    if !matches!(to, Inputs::Keep { .. }) {
        delete(line, responses);
    }
    let (new_responses, new_state) = match to {
        Inputs::Take => (None, None),
        Inputs::Keep { state } => (None, state),
        Inputs::Put { responses, state } => (responses, state),
    };
    match (state, new_state) {
        (Some(member), Some(state)) => _ = line.replace(member.value, quoted(state)),
        (Some(member), None) => _ = line.delete(member),
        (None, Some(state)) => puts.put_param("\"requestState\":", &quoted(state)),
        (None, None) => {}
    }
    if let Some(responses) = new_responses {
        puts.put_param("\"inputResponses\":", responses);
    }
}

/// `ref` names a prompt or a resource; `context` came with 2025-06-18.
#[cold]
fn completion(line: &mut Splice<'_>, message: &Message, to: &Outgoing<'_>) {
    let Some(params) = text_of(message, message.scan().params).and_then(Object::read) else { return };
    if let Some(reference) = params.object("ref") {
        for (name, with) in [("name", to.name), ("uri", to.uri)] {
            if let (Some(member), Some(with)) = (reference.field(name).and_then(|field| member_in(message, field)), with) {
                line.replace(member.value, with.clone());
            }
        }
    }
    if to.version < Version::V2025_06_18 {
        delete(line, params.field("context").and_then(|field| member_in(message, field)));
    }
}

/// `notifications/cancelled` line.
pub fn cancelled(wire: WireId, reason: Option<&str>, _version: Version) -> Bytes {
    let reason = reason.map(|reason| format!(r#","reason":{}"#, quoted(reason))).unwrap_or_default();
    line(format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{wire}{reason}}}}}"#))
}

/// A request of the hub's own (`initialize`, `server/discover`, `tools/list`, `ping`); `params` is raw JSON object text without `_meta`.
pub fn own(wire: WireId, method: &str, params: &str, version: Version) -> Bytes {
    own_for(wire, method, params, version, Profile::BARE)
}

/// The same on behalf of a caller: a stateless server is told what it can be asked.
pub fn own_for(wire: WireId, method: &str, params: &str, version: Version, profile: Profile) -> Bytes {
    let method = quoted(method);
    line(match version.era() {
        Era::Handshake => format!(r#"{{"jsonrpc":"2.0","id":{wire},"method":{method},"params":{params}}}"#),
        Era::Stateless => {
            let rest = params.trim().strip_prefix('{').unwrap_or("}").trim_start();
            let comma = if rest.starts_with('}') { "" } else { "," };
            let envelope = envelope(version, &profile.declare(version));
            format!(r#"{{"jsonrpc":"2.0","id":{wire},"method":{method},"params":{{"_meta":{{{envelope}}}{comma}{rest}}}"#)
        }
    })
}

/// `server/discover`, by which the server learns who asks.
pub fn discover(wire: WireId, mark: &Mark) -> Bytes {
    let (envelope, mark) = (envelope(Version::STATELESS, NO_CAPABILITIES), mark.member());
    line(format!(r#"{{"jsonrpc":"2.0","id":{wire},"method":"server/discover","params":{{"_meta":{{{envelope},{mark}}}}}}}"#))
}

/// A notification of the hub's own.
pub fn own_notification(method: &str, _version: Version) -> Bytes {
    line(format!(r#"{{"jsonrpc":"2.0","method":{}}}"#, quoted(method)))
}

/// `notifications/progress` line toward a server that asked something and gave it a progress token (raw JSON), so that it keeps waiting.
pub fn progress(token: &str, progress: u64, message: &str) -> Bytes {
    let message = quoted(message);
    let params = format!(r#"{{"progressToken":{token},"progress":{progress},"message":{message}}}"#);
    line(format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{params}}}"#))
}

/// A client's progress on a question, with the token of the server that asked (raw JSON). `None`: the note names no token.
pub fn relayed_progress(note: &Message, token: &Bytes) -> Option<Bytes> {
    let mut line = Splice::new(note);
    line.replace(note.scan().progress_token?, token.clone());
    Some(line.to_line())
}

/// The response to a server's question with that server's own id; without line end. `result`: a raw JSON object.
pub fn response(id: &RequestId, result: &str) -> Bytes {
    on_one_line(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)).into()
}

/// The same, refusing; without line end.
pub fn error_response(id: &RequestId, code: Code, message: &str) -> Bytes {
    Refusal::new(code, 200, message).with_id(Some(id.clone())).to_body().to_bytes()
}

/// The answer to a server's own request: `{}` for `ping`, `roots` (a raw JSON object) for `roots/list` if there are any, `-32601` for all
/// else. `None`: it was no request.
pub fn answer_server(request: &Message, roots: Option<&str>) -> Option<Bytes> {
    let id = request.id().filter(|_| request.kind() == Kind::Request)?;
    let method = request.method();
    let result = match method {
        Method::Ping => Some("{}"),
        Method::RootsList => roots,
        _ => None,
    };
    Some(if let Some(result) = result {
        line(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#, id = String::from_utf8_lossy(id.token())))
    } else {
        let refusal = Refusal::new(Code::MethodNotFound, 200, "mcp-hub takes no requests of this kind from a server");
        let mut bytes = refusal.with_id(Some(id)).to_body().to_bytes().to_vec();
        bytes.push(b'\n');
        bytes.into()
    })
}

const VERSION_KEY: &str = r#""io.modelcontextprotocol/protocolVersion":"#;
const CLIENT_KEY: &str = r#""io.modelcontextprotocol/clientInfo":"#;
/// With its value.
const CLIENT: &str = concat!(r#""io.modelcontextprotocol/clientInfo":{"name":"mcp-hub","version":""#, env!("CARGO_PKG_VERSION"), r#""}"#);
/// Under which a server finds who called, whose `clientInfo` is the hub's.
const KEPT_CLIENT_KEY: &str = r#""io.github.mcp-hub.mcp-hub/clientInfo""#;
static KEPT_CLIENT: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(KEPT_CLIENT_KEY));
const CAPABILITIES_KEY: &str = r#""io.modelcontextprotocol/clientCapabilities":"#;
const LEVEL_KEY: &str = r#""io.modelcontextprotocol/logLevel":"#;
/// Of the hub's own requests, and of callers that cannot be asked anything.
const NO_CAPABILITIES: &str = "{}";

/// Every stateless request carries the hub's envelope, never the caller's: keys that are there get new values, the others are put in.
fn put_envelope(line: &mut Splice<'_>, puts: &mut Puts, message: &Message, to: &Outgoing<'_>) {
    let scan = message.scan();
    let capabilities = match (to.profile, to.extras) {
        (Profile::BARE, None) => Bytes::from_static(NO_CAPABILITIES.as_bytes()),
        (profile, extras) => profile.declare_with(to.version, extras).into(),
    };
    if let Some(caller) = to.caller.filter(|_| !is_kept(message)) {
        puts.put_meta(&format!("{KEPT_CLIENT_KEY}:"), &on_one_line(String::from_utf8_lossy(caller).into_owned()));
    }
    let Some(meta) = scan.meta.object else {
        let envelope = envelope(to.version, &String::from_utf8_lossy(&capabilities));
        match puts.meta.is_empty() {
            true => puts.meta = envelope,
            false => puts.put_meta("", &envelope),
        }
        return;
    };
    match scan.meta.protocol_version {
        Some(member) if is_string(message.token(member.value), to.version.as_str()) => {}
        Some(member) => _ = line.replace(member.value, quoted(to.version.as_str())),
        None => puts.put_meta(VERSION_KEY, &quoted(to.version.as_str())),
    }
    match scan.meta.client_info {
        Some(member) if is_kept(message) => _ = line.replace(member.value, HUB),
        // Who the caller says it is stays, under the hub's key.
        Some(member) => _ = line.replace(member.key, KEPT_CLIENT_KEY).insert_first(meta, CLIENT),
        // As a stateless client wrote it, which may keep silent of itself.
        None if scan.meta.protocol_version.is_some() => _ = line.insert_first(meta, CLIENT),
        None => puts.put_meta(CLIENT_KEY, HUB),
    }
    match scan.meta.client_capabilities {
        Some(member) if message.token(member.value) == capabilities => {}
        Some(member) => _ = line.replace(member.value, capabilities),
        None => puts.put_meta(CAPABILITIES_KEY, &String::from_utf8_lossy(&capabilities)),
    }
}

/// Whether a hub before this one says already who its caller is.
fn is_kept(message: &Message) -> bool {
    message.scan().meta.object.is_some_and(|meta| KEPT_CLIENT.find(message.token(meta)).is_some())
}

/// Whether the token is this text, written without escapes.
fn is_string(token: &[u8], text: &str) -> bool {
    token.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")) == Some(text.as_bytes())
}

fn put_level(line: &mut Splice<'_>, puts: &mut Puts, message: &Message, level: Option<Level>) {
    match (message.scan().meta.log_level, level) {
        (None, None) => {}
        (Some(member), None) => _ = line.delete(member),
        (Some(member), Some(level)) => {
            if message.token(member.value) != level.token().as_bytes() {
                line.replace(member.value, level.token());
            }
        }
        (None, Some(level)) => puts.put_meta(LEVEL_KEY, level.token()),
    }
}

fn envelope(version: Version, capabilities: &str) -> String {
    format!(r#"{VERSION_KEY}"{}",{CLIENT_KEY}{HUB},{CAPABILITIES_KEY}{capabilities}"#, version.as_str())
}

fn delete(line: &mut Splice<'_>, member: Option<Member>) {
    if let Some(member) = member {
        line.delete(member);
    }
}

/// The message's own object, without white space around it.
fn whole(message: &Message) -> Span {
    let bytes = message.bytes();
    let start = bytes.len() - bytes.trim_ascii_start().len();
    let end = bytes.trim_ascii_end().len();
    Span::new(start as u32, end as u32)
}

fn line(mut text: String) -> Bytes {
    text.push('\n');
    text.into()
}

#[cfg(test)]
mod tests;
