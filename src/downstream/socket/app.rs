//! `/ws/app/{app_id}/{tenant_id}`: the tools of a tenant for a page in a browser. Both sides send
//! `{"type":str,"data":object,"timestamp":time,"message_id":str|null}`; calls run side by side and answers may overtake each other.
//!
//! Arguments and results pass as the bytes they are.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json, value::RawValue};
use tokio::sync::{
    broadcast::{Receiver, error::RecvError},
    oneshot,
};

use super::{
    super::{
        Doors,
        reply::timestamp,
        rest::{
            call::{self, Call, Event as Progressed, Running},
            fault::{Fault, Subject},
            fields::Fields,
        },
        work::{Outlet, Work},
    },
    door::Door,
    server::cannot_serve,
};
use crate::{
    access::Principal,
    catalog::Names,
    control::TenantView,
    hub::Endpoint,
    name::{ServerId, TenantId},
    observe::{Event, ServerPhase},
    protocol::{Body, Method, code::Reason},
};

/// `^[a-z0-9][a-z0-9-]{0,62}$`
pub(super) fn is_app_id(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.len() <= 63 && text.bytes().next().is_some_and(is_plain) && text.bytes().all(|byte| is_plain(byte) || byte == b'-')
}

pub(super) struct App {
    view: View,
    work: Work,
    /// Calls that can be cancelled, by the `message_id` of each; more than one may have the same.
    cancels: Vec<(Arc<str>, oneshot::Sender<()>)>,
    stopping: bool,
}

impl App {
    /// Tells the app at once how things stand, and later what changes.
    pub(super) fn new(doors: Arc<Doors>, principal: Arc<Principal>, app_id: &str, tenant: TenantId, outlet: Outlet) -> Self {
        let view = View { doors, principal, app_id: app_id.into(), tenant };
        let mut work = Work::new(outlet);
        // Listens before it looks, so that no change falls between.
        let bus = view.doors.control.bus.listen();
        work.say(view.app_state());
        work.background(tell(view.clone(), bus, work.outlet()));
        Self { view, work, cancels: Vec::new(), stopping: false }
    }

    fn handle(&mut self, message: &[u8]) -> Result<(), Bad> {
        let envelope = Envelope::parse(message)?;
        match &*envelope.kind {
            "app_ready" => self.work.say(self.view.app_state()),
            "ping" => self.work.say(say("pong", &json!({}))),
            "tool_call" => return self.call(&envelope),
            "tool_cancel" => return self.cancel(&envelope),
            _ => return Err(envelope.bad("unknown type")),
        }
        Ok(())
    }

    fn call(&mut self, envelope: &Envelope<'_>) -> Result<(), Bad> {
        let data = envelope.fields()?;
        let tool = data.text("tool_name", "Missing tool_name").map_err(|fault| envelope.bad(&fault.message))?;
        let ask = Ask { tool, correlation: envelope.message_id.as_deref().map(Arc::from) };
        match self.start(&data, &ask) {
            Ok(running) => {
                let (cancel, cancelled) = oneshot::channel();
                if let Some(id) = &ask.correlation {
                    self.cancels.retain(|(_, cancel)| !cancel.is_closed());
                    self.cancels.push((Arc::clone(id), cancel));
                }
                let outlet = self.work.outlet();
                self.work.call(carry(running, ask, cancelled, outlet));
            }
            Err(fault) => self.work.say(ask.failed(&fault)),
        }
        Ok(())
    }

    fn start(&self, data: &Fields<'_>, ask: &Ask) -> Result<Running, Fault> {
        let arguments = data.arguments()?;
        if let Some(fault) = cannot_serve(self.stopping, &self.work) {
            return Err(fault);
        }
        let tenant = self.view.tenant.clone();
        let endpoint = Endpoint::plain(tenant.clone(), None, Names::Dotted);
        let subject = Subject { tenant, server: None, method: Method::ToolsCall, name: ask.tool.clone() };
        let plain = Call::plain(&self.view.principal, endpoint, subject, arguments);
        call::start(&self.view.doors, Call { progress: true, ..plain })
    }

    /// The call's answer may be on its way already: that is no mistake.
    fn cancel(&mut self, envelope: &Envelope<'_>) -> Result<(), Bad> {
        let data = envelope.fields()?;
        let id = data.text("correlation_id", "Missing correlation_id").map_err(|fault| envelope.bad(&fault.message))?;
        for (_, cancel) in self.cancels.extract_if(.., |(own, _)| **own == *id) {
            let _ = cancel.send(());
        }
        Ok(())
    }
}

impl Door for App {
    fn take(&mut self, message: Bytes) -> bool {
        let handled = self.handle(&message);
        if let Err(bad) = &handled {
            self.work.say(bad.to_body());
        }
        handled.is_ok()
    }

    fn stop(&mut self) {
        self.stopping = true;
    }

    fn work(&mut self) -> &mut Work {
        &mut self.work
    }
}

/// What this app can see.
#[derive(Clone)]
struct View {
    doors: Arc<Doors>,
    principal: Arc<Principal>,
    app_id: Arc<str>,
    tenant: TenantId,
}

impl View {
    fn app_state(&self) -> Body {
        #[derive(Serialize)]
        struct AppState<'a> {
            app_id: &'a str,
            tenant_id: &'a TenantId,
            available_tools: Vec<String>,
            servers_status: Option<TenantView>,
        }
        let control = &self.doors.control;
        let tools = control.tools(&self.principal, Some(&self.tenant)).unwrap_or_default();
        let state = AppState {
            app_id: &self.app_id,
            tenant_id: &self.tenant,
            available_tools: tools.into_iter().flat_map(|server| server.names).collect(),
            servers_status: control.tenant(&self.principal, &self.tenant).ok(),
        };
        say("app_state", &state)
    }

    /// `None` when it is not for this app.
    fn server_event(&self, event: &Event) -> Option<Body> {
        let (event, server, state) = match event {
            Event::Server { id, phase, state } => (phase_name(*phase), id, *state),
            Event::ToolsChanged { server, .. } => ("tools_changed", server, self.state_of(server)),
            Event::PromptsChanged { server, .. } => ("prompts_changed", server, self.state_of(server)),
            Event::ResourcesChanged { server, .. } => ("resources_changed", server, self.state_of(server)),
        };
        let data = json!({"event": event, "server_id": server.to_string(), "tenant_id": server.tenant, "state": state});
        (server.tenant == self.tenant).then(|| say("server_event", &data))
    }

    fn state_of(&self, server: &ServerId) -> &'static str {
        self.doors.control.server(&self.principal, server).map_or("STOPPED", |server| server.state)
    }
}

const fn phase_name(phase: ServerPhase) -> &'static str {
    match phase {
        ServerPhase::Starting => "server_starting",
        ServerPhase::Started => "server_started",
        ServerPhase::Failed => "server_failed",
        ServerPhase::Stopping => "server_stopping",
        ServerPhase::Stopped => "server_stopped",
    }
}

/// Tells what changes, for as long as the app is there.
async fn tell(view: View, mut bus: Receiver<Event>, outlet: Outlet) {
    loop {
        let body = match bus.recv().await {
            Ok(event) => view.server_event(&event),
            // An app that missed events hears how things stand.
            Err(RecvError::Lagged(_)) => Some(view.app_state()),
            Err(RecvError::Closed) => return,
        };
        if let Some(body) = body
            && outlet.send(body).await.is_err()
        {
            return;
        }
    }
}

/// One call to its end.
async fn carry(mut running: Running, ask: Ask, cancelled: oneshot::Receiver<()>, outlet: Outlet) {
    let cancelled = async {
        if cancelled.await.is_err() {
            // Nobody can cancel it any more.
            std::future::pending().await
        }
    };
    tokio::pin!(cancelled);
    loop {
        let event = tokio::select! {
            biased;
            event = running.next() => event,
            () = &mut cancelled => Progressed::Done(Err(ask.cancelled())),
        };
        let (body, is_last) = match event {
            Progressed::Progress(progress) => (ask.progressed(progress), false),
            Progressed::Done(done) => match done.and_then(|given| given.only(running.subject())) {
                Ok(result) => (ask.answered(result), true),
                Err(fault) => (ask.failed(&fault), true),
            },
        };
        if is_last {
            // Cancels the call at its server, if it is not over, before the app is told.
            drop(running);
            let _ = outlet.send(body).await;
            return;
        }
        if outlet.send(body).await.is_err() {
            return;
        }
    }
}

/// What one call was about.
struct Ask {
    tool: String,
    correlation: Option<Arc<str>>,
}

impl Ask {
    fn answered(&self, result: Bytes) -> Body {
        let mut body =
            Body::one(Bytes::from(format!(r#"{{"type":"tool_result","data":{{"tool_name":{},"result":"#, Value::from(self.tool.as_str()))));
        body.push(result);
        let tail = format!(r#","correlation_id":{}}},"timestamp":"{}","message_id":null}}"#, self.correlation_id(), timestamp());
        body.push(tail.into());
        body
    }

    fn failed(&self, fault: &Fault) -> Body {
        let data = json!({
            "tool_name": self.tool, "error": fault.message, "code": fault.code, "correlation_id": self.correlation_id(),
        });
        say("tool_error", &data)
    }

    fn progressed(&self, progress: Value) -> Body {
        let mut data = match progress {
            Value::Object(members) => members,
            _ => Map::new(),
        };
        data.insert("correlation_id".into(), self.correlation_id());
        say("tool_progress", &data)
    }

    fn cancelled(&self) -> Fault {
        let reason = Reason::Cancelled;
        let data = json!({"origin": "hub", "reason": reason.as_str(), "retryable": reason.retryable()});
        Fault::new(reason.status(), reason.class(), format!("The call of '{}' was cancelled", self.tool), data)
    }

    fn correlation_id(&self) -> Value {
        self.correlation.as_deref().map_or(Value::Null, Value::from)
    }
}

/// What an app sends; `type` and `data` may stand alone.
struct Envelope<'a> {
    kind: Cow<'a, str>,
    data: Option<&'a RawValue>,
    message_id: Option<String>,
}

impl<'a> Envelope<'a> {
    fn parse(message: &'a [u8]) -> Result<Self, Bad> {
        #[derive(Deserialize)]
        struct Members<'a> {
            #[serde(rename = "type", borrow)]
            kind: Option<&'a RawValue>,
            #[serde(default, borrow)]
            data: Option<&'a RawValue>,
            #[serde(default, borrow)]
            message_id: Option<&'a RawValue>,
        }
        let bad = |error: &str| Bad { error: error.into(), message_id: None };
        let text = |raw: &'a RawValue| serde_json::from_str::<String>(raw.get()).ok();
        if message.trim_ascii_start().first() != Some(&b'{') {
            return Err(bad("not a JSON object"));
        }
        let members: Members<'a> = serde_json::from_slice(message).map_err(|_| bad("not JSON"))?;
        let message_id = members.message_id.map(|raw| text(raw).ok_or_else(|| bad("message_id must be a string"))).transpose()?;
        let kind = members.kind.and_then(text).map(Cow::Owned);
        let kind = kind.ok_or_else(|| Bad { error: "Missing type".into(), message_id: message_id.clone() })?;
        Ok(Self { kind, data: members.data, message_id })
    }

    fn fields(&self) -> Result<Fields<'a>, Bad> {
        let data = self.data.map_or("{}", RawValue::get);
        Fields::parse(data.as_bytes()).map_err(|_| self.bad("data must be an object"))
    }

    fn bad(&self, error: &str) -> Bad {
        Bad { error: error.to_owned(), message_id: self.message_id.clone() }
    }
}

/// A message that makes no sense.
#[derive(Debug, PartialEq, Eq)]
struct Bad {
    error: String,
    message_id: Option<String>,
}

impl Bad {
    fn to_body(&self) -> Body {
        let details = match &self.message_id {
            Some(id) => json!({"message_id": id}),
            None => json!({}),
        };
        say("error", &json!({"error": self.error, "details": details}))
    }
}

/// An envelope of the hub's.
fn say(kind: &'static str, data: &impl Serialize) -> Body {
    #[derive(Serialize)]
    struct Envelope<'a, D> {
        #[serde(rename = "type")]
        kind: &'static str,
        data: &'a D,
        timestamp: String,
        message_id: Option<&'static str>,
    }
    match serde_json::to_vec(&Envelope { kind, data, timestamp: timestamp(), message_id: None }) {
        Ok(bytes) => Body::one(bytes.into()),
        Err(failure) => {
            tracing::error!(%failure, kind, "a message could not be serialised");
            Body::one(Bytes::from_static(br#"{"type":"error","data":{"error":"internal","details":{}}}"#))
        }
    }
}
