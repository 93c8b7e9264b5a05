//! `/{server}/mcp/ws`: one server's tools by their own names, one call a frame, plain values back. `{"tool":"add","arguments":{…},
//! "id":1}` is answered by `{"result":3,"id":1}`, or by the one error body with `id`; without an id, without it.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{json, value::RawValue};

use super::{
    super::{
        Doors,
        reply::class,
        rest::{
            call::{self, Call, Event, Running},
            fault::{Fault, Subject},
            fields::Fields,
        },
        value::value,
        work::{Outlet, Work},
    },
    door::Door,
};
use crate::{
    access::Principal,
    hub::Endpoint,
    limits,
    name::ServerId,
    protocol::{Body, Method, code::Reason},
};

pub(super) struct Server {
    doors: Arc<Doors>,
    principal: Arc<Principal>,
    id: ServerId,
    endpoint: Endpoint,
    work: Work,
    stopping: bool,
}

impl Server {
    /// `endpoint` is the server's own.
    pub(super) fn new(doors: Arc<Doors>, principal: Arc<Principal>, id: ServerId, endpoint: Endpoint, outlet: Outlet) -> Self {
        Self { doors, principal, id, endpoint, work: Work::new(outlet), stopping: false }
    }

    fn start(&self, fields: &Fields<'_>) -> Result<Running, Fault> {
        let tool = fields.text("tool", "Missing tool name")?;
        let arguments = fields.arguments()?;
        if let Some(fault) = cannot_serve(self.stopping, &self.work) {
            return Err(fault);
        }
        let id = self.id.clone();
        let subject = Subject { tenant: id.tenant, server: Some(id.name), method: Method::ToolsCall, name: tool };
        call::start(&self.doors, Call::plain(&self.principal, self.endpoint.clone(), subject, arguments))
    }
}

/// Why a socket's next call is not begun, if it is not.
pub(super) fn cannot_serve(stopping: bool, work: &Work) -> Option<Fault> {
    if stopping {
        let reason = Reason::ShuttingDown;
        let data = json!({"origin": "hub", "reason": reason.as_str(), "retryable": reason.retryable()});
        return Some(Fault::new(reason.status(), reason.class(), "The hub is stopping", data));
    }
    work.is_busy().then(|| {
        let limit = limits::PIPE_CALLS_MAX;
        let data = json!({"origin": "hub", "reason": "quota", "retryable": true, "limit": limit});
        Fault::new(429, class::QUOTA, format!("{limit} calls of this connection are under way already; wait for one to end"), data)
    })
}

impl Door for Server {
    fn take(&mut self, message: Bytes) -> bool {
        let fields = match Fields::parse(&message) {
            Ok(fields) => fields,
            Err(fault) => {
                self.work.say(failed(&fault, None));
                return false;
            }
        };
        let id = fields.read::<Box<RawValue>>("id", "JSON").ok().flatten();
        match self.start(&fields) {
            Ok(running) => {
                let outlet = self.work.outlet();
                self.work.call(carry(running, id, outlet));
                true
            }
            Err(fault) => {
                self.work.say(failed(&fault, id.as_deref()));
                fault.code != class::VALIDATION
            }
        }
    }

    fn stop(&mut self) {
        self.stopping = true;
    }

    fn work(&mut self) -> &mut Work {
        &mut self.work
    }
}

async fn carry(mut running: Running, id: Option<Box<RawValue>>, outlet: Outlet) {
    let done = loop {
        if let Event::Done(done) = running.next().await {
            break done;
        }
    };
    let body = match done.and_then(|given| given.only(running.subject())) {
        Ok(result) => succeeded(&result, id.as_deref()),
        Err(fault) => failed(&fault, id.as_deref()),
    };
    // The client may be gone by now.
    let _ = outlet.send(body).await;
}

/// `{"result":value,"isError"?,"id"?}`
fn succeeded(result: &Bytes, id: Option<&RawValue>) -> Body {
    let plain = value(result);
    let is_error = if plain.is_error { r#","isError":true"# } else { "" };
    let mut body = Body::one(Bytes::from_static(br#"{"result":"#));
    body.push(plain.value);
    body.push(Bytes::from(match id {
        Some(id) => format!(r#"{is_error},"id":{id}}}"#),
        None => format!("{is_error}}}"),
    }));
    body
}

fn failed(fault: &Fault, id: Option<&RawValue>) -> Body {
    let mut body = fault.body();
    if let (Some(members), Some(id)) = (body.as_object_mut(), id.and_then(|id| serde_json::from_str(id.get()).ok())) {
        members.insert("id".into(), id);
    }
    Body::one(body.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.into()).unwrap()
    }

    #[test]
    fn an_answer_is_the_plain_value_with_the_callers_id() {
        for (result, id, expected) in [
            (r#"{"structuredContent":{"result":3}}"#, Some("7"), r#"{"result":3,"id":7}"#),
            (r#"{"structuredContent":{"result":3}}"#, None, r#"{"result":3}"#),
            (
                r#"{"content":[{"type":"text","text":"no"}],"isError":true}"#,
                Some(r#""a\u0062""#),
                r#"{"result":"no","isError":true,"id":"a\u0062"}"#,
            ),
        ] {
            let id = id.map(raw);
            let body = succeeded(&Bytes::from_static(result.as_bytes()), id.as_deref());
            assert_eq!(body.to_bytes(), expected);
        }
    }

    #[test]
    fn an_error_is_the_one_error_body_with_the_callers_id() {
        let text = |id: Option<&str>| {
            let id = id.map(raw);
            let body = failed(&Fault::bad_body("no"), id.as_deref()).to_bytes();
            serde_json::from_slice::<serde_json::Value>(&body).unwrap()
        };
        assert_eq!((&text(Some("[1]"))["id"], &text(Some("1"))["code"]), (&json!([1]), &json!("VALIDATION_ERROR")));
        assert!(text(None).get("id").is_none());
    }
}
