//! What a server may ask of a client while it works on a request: elicitation, sampling, roots (MCP, client features). One reading of
//! it, and the two ways it goes on: as a request of the hub's own to a handshake client, as an entry of `inputRequests` to a stateless
//! one (MCP 2026-07-28, multi round-trip requests).

use bytes::Bytes;

use super::{
    content::{Publish, Reader, Shape},
    downgrade::{self, Inexpressible},
    json::{Object, Writer, array, elements, on_one_line, text_of},
    outgoing, task,
};
use crate::protocol::{
    Body, Message, Method, Refusal, RequestId, Version, capability::Profile, code::Code, refusal::quoted, splice::Splice,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `elicitation/create`, a form.
    Form,
    /// `elicitation/create`, an address to open.
    Url,
    /// `sampling/createMessage`
    Sampling,
    /// `roots/list`
    Roots,
}

impl Kind {
    pub const fn method(self) -> &'static str {
        match self {
            Self::Form | Self::Url => "elicitation/create",
            Self::Sampling => "sampling/createMessage",
            Self::Roots => "roots/list",
        }
    }

    pub const fn is_elicitation(self) -> bool {
        matches!(self, Self::Form | Self::Url)
    }

    /// The response to a server whose question nobody will answer any more.
    pub fn closing(self, id: &RequestId) -> Bytes {
        match self {
            Self::Form | Self::Url => outgoing::response(id, CANCELLED),
            Self::Sampling => outgoing::error_response(id, Code::UserRejected, "nobody answered in time"),
            Self::Roots => outgoing::error_response(id, Code::Internal, "nobody answered in time"),
        }
    }

    /// Whether `result` (a raw JSON object) has the members that an answer must have.
    pub(super) fn accepts(self, result: &str) -> bool {
        let Some(result) = Object::read(result) else { return false };
        match self {
            Self::Form | Self::Url => {
                matches!(result.string("action").as_deref(), Some("accept" | "decline" | "cancel"))
                    && result.field("content").is_none_or(|content| content.value == "null" || Object::read(content.value).is_some())
            }
            Self::Sampling => {
                let content = result.get("content").unwrap_or_default();
                let is_content = Object::read(content).is_some() || elements(content).is_some();
                is_content && result.string("role").is_some() && result.string("model").is_some()
            }
            Self::Roots => result.get("roots").is_some_and(|roots| elements(roots).is_some()),
        }
    }
}

/// The answer to an elicitation that its user left.
pub(super) const CANCELLED: &str = r#"{"action":"cancel"}"#;

/// A question, read. Its params are as 2026-07-28 writes them: without `_meta`, `task` and `elicitationId`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub kind: Kind,
    /// What a client must have declared to be asked this.
    pub needs: Profile,
    /// The server's own, in url mode until 2025-11-25.
    pub elicitation_id: Option<String>,
    params: Option<String>,
}

impl Asked {
    /// A handshake server's request. `publish` goes over the content of messages to be sampled.
    ///
    /// # Errors
    /// What to answer the server, with its id: nobody can be asked such a thing (`-32601`), or it is malformed (`-32602`).
    pub fn read(question: &Message, publish: Option<&Publish<'_>>) -> Result<Self, Refusal> {
        let params = text_of(question, question.scan().params);
        let method = question.method();
        Self::of(method.as_str(), params, publish).map_err(|refusal| refusal.with_id(question.id()))
    }

    /// The same of its parts: a handshake server's request, or an entry of `inputRequests`.
    ///
    /// # Errors
    /// As `read`, without id.
    pub(super) fn of(method: &str, params: Option<&str>, publish: Option<&Publish<'_>>) -> Result<Self, Refusal> {
        let malformed = |what: &str| Refusal::new(Code::InvalidParams, 200, format!("{method} {what}"));
        let object = Object::read(params.unwrap_or("{}")).ok_or_else(|| malformed("has params that are no plain object"))?;
        let needs = |member: &str, is_good: bool| if is_good { Ok(()) } else { Err(malformed(&format!("needs params.{member}"))) };
        let kind = match Method::parse(method) {
            Method::ElicitationCreate => {
                needs("message", object.string("message").is_some())?;
                match object.get("mode").map(|_| object.string("mode")) {
                    Some(Some(mode)) if mode == "url" => {
                        needs("url", object.string("url").is_some())?;
                        Kind::Url
                    }
                    Some(mode) if mode.as_deref() != Some("form") => return Err(malformed("has a mode that is neither form nor url")),
                    _ => {
                        needs("requestedSchema", object.object("requestedSchema").is_some())?;
                        Kind::Form
                    }
                }
            }
            Method::SamplingCreateMessage => {
                needs("messages", object.get("messages").is_some_and(|messages| elements(messages).is_some()))?;
                needs("maxTokens", object.get("maxTokens").is_some())?;
                Kind::Sampling
            }
            Method::RootsList => Kind::Roots,
            _ => return Err(Refusal::new(Code::MethodNotFound, 200, UNKNOWN)),
        };
        let has_tools = object.get("tools").is_some() || object.get("toolChoice").is_some();
        let needs = match kind {
            Kind::Form => Profile::FORM,
            Kind::Url => Profile::URL,
            Kind::Sampling if has_tools => Profile::SAMPLING.with(Profile::SAMPLING_TOOLS),
            Kind::Sampling => Profile::SAMPLING,
            Kind::Roots => Profile::ROOTS,
        };
        let reader = Reader::new(Version::STATELESS, publish);
        let stated = object.map(|field| match &*field.key {
            "_meta" | "task" | "elicitationId" => None,
            "messages" => Some(reader.apply(field.value, Shape::Messages)),
            _ => Some(field.value.into()),
        });
        let elicitation_id = object.string("elicitationId").map(String::from);
        Ok(Self { kind, needs, elicitation_id, params: params.map(|_| stated.finish()) })
    }

    /// # Errors
    /// What to answer the server when the client has not declared that it can be asked this; without id.
    pub fn check(&self, client: Profile) -> Result<(), Refusal> {
        match (client.has(self.needs), self.kind) {
            (true, _) => Ok(()),
            // The client is asked such things, but not in this way.
            (false, Kind::Form | Kind::Url) if client.has(Profile::FORM) || client.has(Profile::URL) => {
                Err(Refusal::new(Code::InvalidParams, 200, "the client has not declared this mode of elicitation"))
            }
            (false, Kind::Sampling) if client.has(Profile::SAMPLING) => {
                Err(Refusal::new(Code::InvalidParams, 200, "the client has not declared sampling.tools"))
            }
            (false, _) => Err(Refusal::new(Code::MethodNotFound, 200, format!("the client has not declared {}", self.kind.method()))),
        }
    }

    /// An entry of `inputRequests`: `{"method":"roots/list"}`, `{"method":"elicitation/create","params":{…}}`.
    pub fn entry(&self) -> String {
        Writer::new().text("method", self.kind.method()).maybe("params", self.params.as_deref()).finish()
    }

    /// In bytes, of what is kept for it.
    pub(super) fn len(&self) -> usize {
        self.params.as_ref().map_or(0, String::len)
    }

    /// The params for a handshake client. `elicitation_id`: what it knows the elicitation by in url mode.
    ///
    /// # Errors
    /// Its revision cannot say this.
    pub(super) fn params_for(&self, client: Version, elicitation_id: &str) -> Result<Option<String>, Inexpressible> {
        let Some(params) = &self.params else { return Ok(None) };
        let params = downgrade::question(self.kind, params, client)?;
        if self.kind != Kind::Url {
            return Ok(Some(params.into_owned()));
        }
        let object = Object::read(&params).ok_or(Inexpressible { needs: self.needs })?;
        Ok(Some(object.without(&[]).text("elicitationId", elicitation_id).finish()))
    }
}

const UNKNOWN: &str = "mcp-hub takes no requests of this kind from a server";

/// A request to a handshake client: `{"jsonrpc":"2.0","id":7,"method":"roots/list"}`.
pub fn request(id: &RequestId, kind: Kind, params: Option<&str>) -> Body {
    let params = params.map(|params| format!(r#","params":{params}"#)).unwrap_or_default();
    let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{}"{params}}}"#, kind.method());
    Body::one(on_one_line(text).into())
}

/// A handshake server's question for a handshake client, under the hub's own `id`, which is its progress token too. Between revisions
/// that say it alike the rest stays byte for byte, without `task`: the hub carries no tasks of clients. The server's task that it
/// belongs to is named as the client knows it (`tasks`), or not at all.
///
/// # Errors
/// What to answer the server, with its id.
pub fn forward(
    question: &Message,
    id: &RequestId,
    client: (Version, Profile),
    server: Version,
    publish: Option<&Publish<'_>>,
    tasks: &task::Known<'_>,
) -> Result<Body, Refusal> {
    let (revision, profile) = client;
    let asked = Asked::read(question, publish)?;
    let refused = |refusal: Refusal| refusal.with_id(question.id());
    asked.check(profile).map_err(refused)?;
    let is_as_it_came = revision >= server || revision >= Version::V2025_11_25 || matches!(asked.kind, Kind::Roots);
    if is_as_it_came && (publish.is_none() || asked.kind != Kind::Sampling) {
        let mut body = Splice::new(question);
        let scan = question.scan();
        if let Some(span) = scan.id {
            body.replace(span, id.token().clone());
        }
        if let Some(token) = scan.meta.progress_token {
            body.replace(token.value, id.token().clone());
        }
        if let Some(task) = scan.task {
            body.delete(task);
        }
        task::rename_related(&mut body, question, tasks);
        return Ok(body.to_body());
    }
    let params = asked.params_for(revision, asked.elicitation_id.as_deref().unwrap_or_default());
    let inexpressible = |_| refused(Refusal::new(Code::MethodNotFound, 200, "the revision of the client cannot say this"));
    params.map(|params| request(id, asked.kind, params.as_deref())).map_err(inexpressible)
}

/// The result of `roots/list`: `{"roots":[{"uri":"file:///a"}]}`.
pub fn roots(uris: &[String]) -> String {
    let roots = array(uris.iter().map(|uri| Writer::new().text("uri", uri).finish()));
    Writer::new().member("roots", &roots).finish()
}

/// `notifications/cancelled` for a question of the hub's own to a handshake client.
pub fn withdrawn(id: &RequestId, reason: &str) -> Body {
    let reason = quoted(reason);
    let params = format!(r#"{{"requestId":{id},"reason":{reason}}}"#);
    Body::one(format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{params}}}"#).into())
}

/// A handshake client's response to a question, for the server that asked it, with that server's own ids of the question and of the
/// task that it belongs to; without line end.
pub fn answer(response: &Message, kind: Kind, question: &Message, server: Version) -> Bytes {
    let id = question.id().unwrap_or_else(|| RequestId::from_number(0));
    if let Some(result) = text_of(response, response.scan().result)
        && let std::borrow::Cow::Owned(older) = downgrade::answer(kind, result, server)
    {
        return outgoing::response(&id, &older);
    }
    let mut body = Splice::new(response);
    if let Some(span) = response.scan().id {
        body.replace(span, id.token().clone());
    }
    let task = task::related_to(question);
    task::rename_related(&mut body, response, &|_| task.clone());
    body.to_body().to_bytes()
}

#[cfg(test)]
mod tests;
