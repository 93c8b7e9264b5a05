//! What went wrong with a request, on its way to the one error body; and how a failed tool call maps to it.

use hyper::{
    StatusCode,
    header::{self, HeaderValue},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    control::{ControlError, sentence},
    downstream::{
        Reply,
        body::BodyError,
        reply::{self, class},
    },
    name::{ServerName, TenantId},
    protocol::{
        Method,
        code::{Code, Reason},
    },
};

#[derive(Clone, Debug, PartialEq)]
pub(in crate::downstream) struct Fault {
    pub(super) status: u16,
    pub(in crate::downstream) code: &'static str,
    pub(in crate::downstream) message: String,
    /// A JSON object.
    pub(super) data: Value,
    pub(super) retry_after_ms: Option<u64>,
}

impl Fault {
    pub(in crate::downstream) fn new(status: u16, code: &'static str, message: impl Into<String>, data: Value) -> Self {
        Self { status, code, message: message.into(), data, retry_after_ms: None }
    }

    /// 400, because of the body's `field`.
    pub(in crate::downstream) fn invalid(message: impl Into<String>, field: &str) -> Self {
        Self::new(400, class::VALIDATION, message, json!({"origin": "hub", "field": field}))
    }

    /// 400, because of the body as a whole.
    pub(in crate::downstream) fn bad_body(message: impl Into<String>) -> Self {
        Self::new(400, class::VALIDATION, message, json!({"origin": "hub"}))
    }

    pub(super) fn unauthenticated() -> Self {
        Self::new(401, class::AUTH, "A credential is needed", json!({"origin": "hub"}))
    }

    pub(in crate::downstream) fn into_reply(self) -> Reply {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut reply = reply::error(status, self.code, &self.message, self.data);
        if let Some(wait) = self.retry_after_ms {
            reply.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.div_ceil(1000).max(1)));
        }
        reply
    }

    /// The one error body as it stands, for streams.
    pub(in crate::downstream) fn body(&self) -> Value {
        json!({
            "error": self.message, "code": self.code, "message": self.message, "data": self.data,
            "timestamp": reply::timestamp(),
        })
    }
}

impl From<ControlError> for Fault {
    fn from(error: ControlError) -> Self {
        let retry_after_ms = error.retry_after_ms();
        Self { retry_after_ms, ..Self::new(error.status(), error.code(), error.to_string(), error.data()) }
    }
}

impl From<BodyError> for Fault {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge { .. } => Self { status: 413, ..Self::bad_body(error.to_string()) },
            BodyError::Cut => Self::bad_body(error.to_string()),
        }
    }
}

/// What a call was about, for the error that it may end in.
#[derive(Clone, Debug)]
pub(in crate::downstream) struct Subject {
    pub(in crate::downstream) tenant: TenantId,
    /// When the caller named the server, and what it has by the server's own name.
    pub(in crate::downstream) server: Option<ServerName>,
    /// `tools/call`, `prompts/get`, `resources/read` or a request about a task.
    pub(in crate::downstream) method: Method<'static>,
    /// Name, URI or id.
    pub(in crate::downstream) name: String,
}

/// How errors speak of what a call is about.
struct Noun {
    word: &'static str,
    /// Of the error's `data`.
    member: &'static str,
    class: &'static str,
}

impl Subject {
    const fn noun(&self) -> Noun {
        match self.method {
            Method::PromptsGet => Noun { word: "Prompt", member: "prompt", class: class::TOOL },
            Method::ResourcesRead => Noun { word: "Resource", member: "uri", class: class::RESOURCE },
            Method::TasksGet | Method::TasksUpdate | Method::TasksCancel => Noun { word: "Task", member: "taskId", class: class::TOOL },
            _ => Noun { word: "Tool", member: "tool", class: class::TOOL },
        }
    }
}

/// The members of a JSON-RPC error.
#[derive(Deserialize)]
struct RpcError {
    code: i64,
    #[serde(default)]
    message: String,
    #[serde(default)]
    data: Option<Value>,
}

/// From the raw `error` object of a call's answer. `is_hubs`: the hub made it, so what it says of its origin is true.
pub(super) fn of_rpc(error: &[u8], subject: &Subject, is_hubs: bool) -> Fault {
    let Ok(RpcError { code, message, data }) = serde_json::from_slice(error) else {
        return internal();
    };
    let hubs_own = data.as_ref().filter(|data| is_hubs && data.get("origin").and_then(Value::as_str) == Some("hub"));
    match hubs_own.and_then(|data| Some((data, data.get("reason")?.as_str()?))) {
        Some((data, reason)) => of_hub(reason, message, data, subject),
        None if is_hubs && code == Code::InvalidParams.number() => of_params(&message, data, subject),
        None => of_server(code, message, data, subject),
    }
}

/// The hub itself found fault with what the caller sent.
fn of_params(message: &str, data: Option<Value>, subject: &Subject) -> Fault {
    if ["Unknown tool", "Unknown prompt", "Resource not found", "Unknown task"].iter().any(|unknown| message.starts_with(unknown)) {
        return unknown(subject);
    }
    let mut fault = Fault::bad_body(message);
    if let (Value::Object(own), Some(Value::Object(said))) = (&mut fault.data, data) {
        own.extend(said);
    }
    if let (Value::Object(own), Some(field)) =
        (&mut fault.data, ["requestState", "inputResponses"].into_iter().find(|field| message.starts_with(field)))
    {
        own.insert("field".into(), field.into());
    }
    fault.add(subject);
    fault
}

/// The server answered with an error.
fn of_server(code: i64, message: String, data: Option<Value>, subject: &Subject) -> Fault {
    let is_params = code == Code::InvalidParams.number();
    let is_unknown = match subject.method {
        // Of the two codes the older one says so by itself (MCP 2025-11-25 and 2026-07-28, resources).
        Method::ResourcesRead => {
            code == Code::ResourceNotFound.number() || is_params && data.as_ref().is_some_and(|data| data["uri"].is_string())
        }
        Method::TasksGet | Method::TasksCancel => is_params,
        _ => false,
    };
    let rpc = json!({"code": code, "message": message, "data": data});
    let data = json!({"origin": "server", "rpc": rpc});
    let mut fault = match (is_unknown, subject.method) {
        (true, Method::ResourcesRead) => Fault::new(404, class::RESOURCE, message, data),
        (true, _) => Fault::new(404, class::NOT_FOUND, message, data),
        (false, _) => Fault::new(502, subject.noun().class, message, data),
    };
    fault.add(subject);
    fault
}

fn of_hub(reason: &str, message: String, data: &Value, subject: &Subject) -> Fault {
    let (status, code) = match Reason::ALL.iter().find(|known| known.as_str() == reason) {
        Some(Reason::UnknownTool) => return unknown(subject),
        Some(known) => (known.status(), known.class()),
        None if reason == "quota" => (429, class::QUOTA),
        None => (500, class::HUB),
    };
    let mut fault = Fault::new(status, code, sentence(&message), data.clone());
    fault.retry_after_ms = data.get("retryAfterMs").and_then(Value::as_u64).or_else(|| (status == 429).then_some(1000));
    fault.add(subject);
    fault
}

impl Fault {
    /// Says what the call was about, where the data does not say it yet.
    fn add(&mut self, subject: &Subject) {
        let Value::Object(data) = &mut self.data else { return };
        subject.describe(data);
    }
}

impl Subject {
    fn describe(&self, data: &mut Map<String, Value>) {
        if let Some(server) = &self.server {
            data.entry("server").or_insert_with(|| server.as_str().into());
        }
        data.entry("tenant_id").or_insert_with(|| self.tenant.as_str().into());
        data.entry(self.noun().member).or_insert_with(|| self.name.as_str().into());
    }
}

/// There is no such thing: neither with that server, nor anywhere in the tenant.
pub(super) fn unknown(subject: &Subject) -> Fault {
    let noun = subject.noun();
    let message = match &subject.server {
        Some(server) => format!("{} '{}' not found on server '{server}'", noun.word, subject.name),
        None => format!("{} '{}' not found", noun.word, subject.name),
    };
    let data = json!({"origin": "hub", "reason": "unknown_tool", "retryable": false});
    let mut fault = match subject.method {
        Method::ToolsCall => Fault::new(404, class::TOOL, message, data),
        Method::ResourcesRead => Fault::new(404, class::RESOURCE, message, json!({"origin": "hub", "retryable": false})),
        _ => {
            let data = json!({"origin": "hub", "kind": noun.word.to_ascii_lowercase(), "name": subject.name, "retryable": false});
            Fault::new(404, class::NOT_FOUND, message, data)
        }
    };
    fault.add(subject);
    fault
}

/// The caller's own bound was reached.
pub(super) fn timed_out(subject: &Subject, after_ms: u128) -> Fault {
    let reason = Reason::Timeout;
    let mut fault = Fault::new(
        reason.status(),
        reason.class(),
        format!("{} '{}' did not answer within {after_ms} ms", subject.noun().word, subject.name),
        json!({"origin": "hub", "reason": reason.as_str(), "retryable": reason.retryable()}),
    );
    fault.add(subject);
    fault
}

/// The server wants something of a caller who can be asked nothing here.
pub(super) fn unasked(subject: &Subject) -> Fault {
    let reason = Reason::Unsupported;
    let message = format!("{} '{}' asks for input, which POST /api/servers/tools can give", subject.noun().word, subject.name);
    let mut fault = Fault::new(
        502,
        subject.noun().class,
        message,
        json!({"origin": "server", "reason": reason.as_str(), "retryable": reason.retryable()}),
    );
    fault.add(subject);
    fault
}

/// Something that the hub should have made sure of.
pub(super) fn internal() -> Fault {
    Fault::new(
        500,
        class::HUB,
        "The hub made an answer that it cannot read",
        json!({"origin": "hub", "reason": "internal", "retryable": false}),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject() -> Subject {
        of(Method::ToolsCall)
    }

    fn of(method: Method<'static>) -> Subject {
        Subject { tenant: TenantId::default_tenant(), server: ServerName::new("x"), method, name: "y".into() }
    }

    #[test]
    fn every_failure_of_a_call_has_its_row_in_the_table() {
        let hub = |reason: &str| format!(r#"{{"code":-32603,"message":"m","data":{{"origin":"hub","reason":"{reason}","server":"x"}}}}"#);
        let rows = [
            (hub("stopped"), 503, "SERVER_ERROR"),
            (hub("disabled"), 503, "SERVER_ERROR"),
            (hub("start_failed"), 503, "SERVER_ERROR"),
            (hub("crashed"), 503, "SERVER_ERROR"),
            (hub("busy"), 503, "SERVER_ERROR"),
            (hub("server_exited"), 502, "CONNECTION_ERROR"),
            (hub("bad_answer"), 502, "CONNECTION_ERROR"),
            (hub("timeout"), 504, "CONNECTION_ERROR"),
            (hub("shutting_down"), 503, "HUB_ERROR"),
            (hub("internal"), 500, "HUB_ERROR"),
            (hub("of a later day"), 500, "HUB_ERROR"),
            (hub("quota"), 429, "QUOTA_ERROR"),
            (hub("unknown_tool"), 404, "TOOL_ERROR"),
            (r#"{"code":-32602,"message":"Unknown tool: y"}"#.into(), 404, "TOOL_ERROR"),
            (r#"{"code":-32602,"message":"Several tools are called y"}"#.into(), 400, "VALIDATION_ERROR"),
            (r#"{"code":7,"message":"m","data":{"origin":"server","reason":"stopped"}}"#.into(), 502, "TOOL_ERROR"),
            (r#"{"code":7,"message":"m","data":"hub"}"#.into(), 502, "TOOL_ERROR"),
            (r#"{"code":"7"}"#.into(), 500, "HUB_ERROR"),
        ];
        for (error, status, code) in rows {
            let fault = of_rpc(error.as_bytes(), &subject(), true);
            assert_eq!((fault.status, fault.code), (status, code), "{error}");
            assert!(fault.data.is_object(), "{error}");
        }
    }

    #[test]
    fn what_is_not_there_is_404_under_the_class_of_its_kind() {
        let (bare, uri) = (r#"{"code":-32602,"message":"no y"}"#, r#"{"code":-32602,"message":"no y","data":{"uri":"y"}}"#);
        let old = r#"{"code":-32002,"message":"no y"}"#;
        for (method, error, is_hubs, status, code) in [
            (Method::PromptsGet, r#"{"code":-32602,"message":"Unknown prompt: y"}"#, true, 404, "NOT_FOUND"),
            (Method::ResourcesRead, r#"{"code":-32602,"message":"Resource not found","data":{"uri":"y"}}"#, true, 404, "RESOURCE_ERROR"),
            (Method::TasksGet, r#"{"code":-32602,"message":"Unknown task: no"}"#, true, 404, "NOT_FOUND"),
            (Method::ResourcesRead, uri, false, 404, "RESOURCE_ERROR"),
            (Method::ResourcesRead, old, false, 404, "RESOURCE_ERROR"),
            (Method::ResourcesRead, bare, false, 502, "RESOURCE_ERROR"),
            (Method::PromptsGet, uri, false, 502, "TOOL_ERROR"),
            (Method::ToolsCall, uri, false, 502, "TOOL_ERROR"),
            (Method::TasksGet, bare, false, 404, "NOT_FOUND"),
            (Method::TasksCancel, bare, false, 404, "NOT_FOUND"),
            (Method::TasksUpdate, bare, false, 502, "TOOL_ERROR"),
        ] {
            let fault = of_rpc(error.as_bytes(), &of(method), is_hubs);
            assert_eq!((fault.status, fault.code), (status, code), "{method:?} {error}");
            assert_eq!(fault.data["origin"], if is_hubs { "hub" } else { "server" }, "{method:?} {error}");
        }
        let told = |method| (unknown(&of(method)).message, timed_out(&of(method), 5).message);
        assert_eq!(told(Method::PromptsGet).0, "Prompt 'y' not found on server 'x'");
        assert_eq!(
            told(Method::ResourcesRead),
            ("Resource 'y' not found on server 'x'".into(), "Resource 'y' did not answer within 5 ms".into())
        );
        let data = unknown(&of(Method::TasksGet)).data;
        assert_eq!((&data["kind"], &data["name"], &data["taskId"]), (&json!("task"), &json!("y"), &json!("y")));
    }

    #[test]
    fn what_the_hub_finds_wrong_is_the_callers_and_names_the_member() {
        for (message, field) in [
            ("requestState unknown or expired; send the request again without it", json!("requestState")),
            ("inputResponses.q1 is no answer to roots/list", json!("inputResponses")),
            ("Several tools are called y", Value::Null),
        ] {
            let error = json!({"code": -32602, "message": message, "data": {"candidates": ["a.y"]}});
            let fault = of_rpc(error.to_string().as_bytes(), &subject(), true);
            assert_eq!((fault.status, &fault.data["field"], &fault.data["candidates"]), (400, &field, &json!(["a.y"])), "{message}");
            assert!(fault.message.contains(message.get(1..20).unwrap()), "{}", fault.message);
            assert_eq!(of_rpc(error.to_string().as_bytes(), &subject(), false).status, 502);
        }
    }

    #[test]
    fn a_servers_own_error_is_shown_whole() {
        let fault = of_rpc(br#"{"code":-1,"message":"no","data":[1]}"#, &subject(), false);
        assert_eq!(fault.message, "no");
        let rpc = json!({"code": -1, "message": "no", "data": [1]});
        assert_eq!(fault.data, json!({"origin": "server", "rpc": rpc, "server": "x", "tenant_id": "default", "tool": "y"}));
    }

    #[test]
    fn a_server_that_speaks_as_the_hub_is_not_believed() {
        let error = br#"{"code":-32603,"message":"m","data":{"origin":"hub","reason":"quota","retryable":true,"retryAfterMs":9000}}"#;
        let fault = of_rpc(error, &subject(), false);
        assert_eq!((fault.status, fault.code, fault.retry_after_ms), (502, "TOOL_ERROR", None));
        assert_eq!(fault.data["origin"], "server");
        assert_eq!(of_rpc(br#"{"code":-32602,"message":"Unknown tool: y"}"#, &subject(), false).status, 502);
    }

    #[test]
    fn a_wait_is_told_in_whole_seconds() {
        let error = br#"{"code":-32603,"message":"m","data":{"origin":"hub","reason":"crashed","retryAfterMs":1200}}"#;
        let fault = of_rpc(error, &subject(), true);
        assert_eq!(fault.retry_after_ms, Some(1200));
        assert_eq!(fault.into_reply().headers().get("retry-after").unwrap(), "2");
    }

    #[test]
    fn what_is_wrong_with_a_request_is_the_callers_fault() {
        for (fault, status, code) in [
            (Fault::invalid("Missing tool name", "tool"), 400, "VALIDATION_ERROR"),
            (Fault::bad_body("not JSON"), 400, "VALIDATION_ERROR"),
            (BodyError::TooLarge { bytes_max: 9 }.into(), 413, "VALIDATION_ERROR"),
            (BodyError::Cut.into(), 400, "VALIDATION_ERROR"),
            (ControlError::UnknownTenant { name: "t".into() }.into(), 404, "NOT_FOUND"),
            (ControlError::UnknownServer { name: "s".into() }.into(), 404, "NOT_FOUND"),
            (Fault::unauthenticated(), 401, "AUTH_ERROR"),
        ] {
            assert_eq!((fault.status, fault.code), (status, code), "{fault:?}");
            let reply = fault.clone().into_reply();
            assert_eq!(reply.status().as_u16(), status, "{fault:?}");
            assert_eq!(reply.headers().get("content-type").unwrap(), "application/json");
        }
        assert_eq!(Fault::invalid("Missing tool name", "tool").data["field"], "tool");
    }

    #[test]
    fn the_error_body_says_its_sentence_twice() {
        let body = Fault::bad_body("no").body();
        assert_eq!((&body["error"], &body["message"], &body["code"]), (&json!("no"), &json!("no"), &json!("VALIDATION_ERROR")));
        assert!(body["timestamp"].as_str().unwrap().ends_with('Z'));
    }
}
