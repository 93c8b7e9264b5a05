//! Errors: codes mean different things in the two eras.

use super::{Carry, with_id};
use crate::{
    bridge::{
        json::{Object, Writer, on_one_line, span_in, text_of},
        reissue::Needed,
        round,
    },
    protocol::{
        Body, Era, Message, Method, Refusal, Version,
        capability::Profile,
        code::{self, Code, Reason},
        refusal::quoted,
    },
};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

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
pub(super) fn error(answer: &Message, carry: &Carry<'_>) -> Result<Body, Refusal> {
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
pub(super) fn task_error(raw: &str, carry: &Carry<'_>) -> Option<String> {
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
pub(in crate::bridge) fn settled_error(answer: &Message, carry: &Carry<'_>) -> String {
    let raw = text_of(answer, answer.scan().error).unwrap_or("{}");
    task_error(raw, carry).unwrap_or_else(|| on_one_line(raw.to_owned()))
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

pub(super) fn bad_answer(message: &str) -> Refusal {
    Refusal::new(Code::Internal, 200, message).with_data(code::failure_data(None, Reason::BadAnswer, None))
}

#[cfg(test)]
mod tests;
