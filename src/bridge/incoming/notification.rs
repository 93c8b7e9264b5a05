//! Notifications: a server's as its client reads them, and the hub's own.

use super::SERVER_INFO;
use crate::{
    bridge::{
        json::{Object, member_in, on_one_line, text_of},
        task::{self, Known},
    },
    protocol::{Body, Level, Message, Method, RequestId, Span, refusal::quoted, splice::Splice},
};
use bytes::Bytes;

/// `notifications/progress` with the client's own token (raw JSON), and the task that it belongs to as the client knows that.
pub fn progress(note: &Message, token: &Bytes, tasks: &Known<'_>) -> Body {
    let mut body = Splice::new(note);
    if let Some(span) = note.scan().progress_token {
        body.replace(span, token.clone());
    }
    task::rename_related(&mut body, note, tasks);
    body.to_body()
}

/// How far a `notifications/progress` says that it has come.
pub fn progress_of(note: &Message) -> Option<f64> {
    Object::read(text_of(note, note.scan().params)?)?.get("progress")?.parse().ok()
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

/// The result that ends a listen stream (MCP 2026-07-28, subscriptions).
pub fn listen_ended(id: &RequestId) -> Body {
    let meta = format!(r#"{{{SUBSCRIPTION_KEY}:{id},{SERVER_INFO}}}"#);
    Body::one(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"complete","_meta":{meta}}}}}"#).into())
}

const SUBSCRIPTION_KEY: &str = r#""io.modelcontextprotocol/subscriptionId""#;

/// Says which listen stream a notification belongs to, if it belongs to one. The server's own stream means nothing to a client.
fn stamp(body: &mut Splice<'_>, note: &Message, subscription: Option<&RequestId>) {
    let scan = note.scan();
    let entries = text_of(note, scan.meta.object).and_then(Object::read);
    let own = entries.as_ref().and_then(|meta| member_in(note, meta.field("io.modelcontextprotocol/subscriptionId")?));
    let Some(id) = subscription else {
        if let Some(own) = own {
            body.delete(own);
        }
        return;
    };
    let member = format!("{SUBSCRIPTION_KEY}:{id}");
    match (scan.meta.object, scan.params) {
        (Some(meta), _) => match own {
            Some(own) => body.replace(own.value, id.token().clone()),
            None => body.insert_first(meta, member),
        },
        (None, Some(params)) => body.insert_first(params, format!(r#""_meta":{{{member}}}"#)),
        (None, None) => {
            let start = note.bytes().len() - note.bytes().trim_ascii_start().len();
            let object = Span::new(start as u32, note.bytes().len() as u32);
            body.insert_first(object, format!(r#""params":{{"_meta":{{{member}}}}}"#))
        }
    };
}

#[cfg(test)]
mod tests;
