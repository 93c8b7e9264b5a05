//! One call on behalf of a REST client: a stateless message of the hub's own making around the caller's raw JSON, through the same
//! `dispatch` as every call, and the raw result out of the answer.
//!
//! Cost beside the call itself: one copy of the arguments into the message, one scan of message and answer, no parsing of either.

use std::{fmt::Write as _, sync::Arc};

use bytes::Bytes;
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{
    again::Again,
    fault::{self, Fault, Subject},
    patience::{Clock, Options},
};
use crate::{
    access::Principal,
    downstream::{Doors, Reply, reply},
    hub::{Answer, Crossing, Endpoint, Outcome, Step},
    protocol::{Body, Message, Method},
};

/// What is to be asked of a server.
pub(in crate::downstream) struct Call<'a> {
    pub(in crate::downstream) principal: &'a Arc<Principal>,
    pub(in crate::downstream) endpoint: Endpoint,
    pub(in crate::downstream) subject: Subject,
    pub(in crate::downstream) params: Params<'a>,
    /// Whether the caller wants to see progress.
    pub(in crate::downstream) progress: bool,
    pub(in crate::downstream) options: Options,
}

impl<'a> Call<'a> {
    /// Of a caller who can be asked nothing. `arguments`: raw JSON, known to be one whole object.
    pub(in crate::downstream) fn plain(principal: &'a Arc<Principal>, endpoint: Endpoint, subject: Subject, arguments: &'a str) -> Self {
        let params = Params { arguments: Some(arguments), ..Params::default() };
        Self { principal, endpoint, subject, params, progress: false, options: Options::default() }
    }
}

/// What the caller's own JSON says, member by member: each known to be one whole value, an object but for the state, a string.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::downstream) struct Params<'a> {
    pub(in crate::downstream) arguments: Option<&'a str>,
    /// What the caller can be asked; nothing without.
    pub(super) capabilities: Option<&'a str>,
    pub(super) input_responses: Option<&'a str>,
    pub(super) request_state: Option<&'a str>,
}

impl Params<'_> {
    /// `Message` has bounds that a body's JSON may pass: which of the members cannot be sent.
    fn at_fault(self, subject: &Subject) -> Fault {
        let none = Self::default();
        let alone = [
            ("arguments", Self { arguments: self.arguments, ..none }),
            ("capabilities", Self { capabilities: self.capabilities, ..none }),
            ("inputResponses", Self { input_responses: self.input_responses, ..none }),
            ("requestState", Self { request_state: self.request_state, ..none }),
        ];
        let wrong = alone.into_iter().find_map(|(name, params)| Some((name, Message::parse(message(subject, &params, false)).err()?)));
        match wrong {
            Some((name, error)) => Fault::invalid(format!("'{name}' cannot be sent: {error}"), name),
            None => Fault::bad_body("The request cannot be sent"),
        }
    }
}

/// A call under way. Dropping it cancels the call at its server.
pub(in crate::downstream) struct Running {
    state: State,
    subject: Subject,
    clock: Clock,
    again: Again,
    /// The caller knows how to come back when a server asks.
    is_told: bool,
}

enum State {
    Known(Answer),
    Crossing(Box<Crossing>),
    /// To be sent again, then.
    Pausing(Instant, Bytes),
    Ended,
}

impl State {
    fn of(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Now(answer) => Self::Known(answer),
            Outcome::Later(crossing) => Self::Crossing(Box::new(crossing)),
            Outcome::Silent => Self::Ended,
        }
    }
}

/// What a call comes to next.
enum Came {
    Notice(Body),
    Answer(Answer),
    /// The pause is over.
    Again(Bytes),
    Nothing,
}

/// What comes of a call.
pub(in crate::downstream) enum Event {
    /// Any number of these, then one `Done`.
    Progress(Value),
    Done(Result<Given, Fault>),
}

/// A result: a raw JSON object.
#[derive(Debug)]
pub(in crate::downstream) struct Given {
    pub(super) kind: Kind,
    pub(super) result: Bytes,
}

/// What a result says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Final,
    /// Something is needed of the caller first.
    InputRequired,
    /// The call goes on as a task.
    Task,
}

/// Of a result that is an `InputRequired`, raw JSON.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Asked<'a> {
    #[serde(borrow)]
    pub(super) input_requests: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) request_state: Option<&'a RawValue>,
}

impl<'a> Asked<'a> {
    /// # Errors
    /// One of them stands there twice.
    pub(super) fn read(result: &'a [u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(result)
    }
}

impl Given {
    /// The result, at a door whose callers get nothing else: they have declared nothing, so that nothing else should come.
    ///
    /// # Errors
    /// Something else came.
    pub(in crate::downstream) fn only(self, subject: &Subject) -> Result<Bytes, Fault> {
        match self.kind {
            Kind::Final => Ok(self.result),
            Kind::InputRequired | Kind::Task => Err(fault::unasked(subject)),
        }
    }
}

/// The result of a call, without its progress.
pub(super) async fn run(doors: &Arc<Doors>, call: Call<'_>) -> Result<Given, Fault> {
    let mut running = start(doors, call)?;
    loop {
        if let Event::Done(given) = running.next().await {
            return given;
        }
    }
}

/// Hands the call to the hub.
///
/// # Errors
/// What the caller sends cannot be part of a message: it is nested too deep.
pub(in crate::downstream) fn start(doors: &Arc<Doors>, call: Call<'_>) -> Result<Running, Fault> {
    let wants_progress = call.progress || call.options.resets_on_progress();
    let request = message(&call.subject, &call.params, wants_progress);
    let message = Message::parse(request.clone()).map_err(|_| call.params.at_fault(&call.subject))?;
    let again = Again::new(doors, call.principal, call.endpoint, request);
    let state = State::of(again.send(message));
    let is_told = call.params.capabilities.is_some() || call.params.input_responses.is_some() || call.params.request_state.is_some();
    Ok(Running { state, subject: call.subject, clock: Clock::new(call.options, Instant::now()), again, is_told })
}

/// The request as a stateless client sends it. There is one call per message, so any id and token will do.
fn message(subject: &Subject, params: &Params<'_>, progress: bool) -> Bytes {
    const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":"#;
    let (method, member, name) = (subject.method.as_str(), key(subject.method), Value::from(subject.name.as_str()));
    let arguments = params.arguments.map_or(0, str::len) + params.input_responses.map_or(0, str::len);
    let mut text = String::with_capacity(256 + arguments);
    // Writing to a String cannot fail.
    let _ = write!(text, r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{"{member}":{name},"#);
    let own = [("arguments", params.arguments), ("inputResponses", params.input_responses), ("requestState", params.request_state)];
    for (name, value) in own.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        let _ = write!(text, r#""{name}":{value},"#);
    }
    let token = if progress { r#","progressToken":1"# } else { "" };
    let _ = write!(text, "{META}{}{token}}}}}}}", params.capabilities.unwrap_or("{}"));
    text.into()
}

/// The member of `params` that names what is asked for.
const fn key(method: Method<'static>) -> &'static str {
    match method {
        Method::ResourcesRead => "uri",
        Method::TasksGet | Method::TasksUpdate | Method::TasksCancel => "taskId",
        _ => "name",
    }
}

impl Running {
    /// Cancel-safe. Nothing follows `Done`.
    pub(in crate::downstream) async fn next(&mut self) -> Event {
        let done = loop {
            let came = match self.clock.deadline() {
                Some(deadline) => timeout_at(deadline, advance(&mut self.state)).await,
                None => Ok(advance(&mut self.state).await),
            };
            match came {
                Ok(Came::Notice(note)) => {
                    self.clock.progress(Instant::now());
                    if let Some(progress) = progress_of(&note) {
                        return Event::Progress(progress);
                    }
                }
                Ok(Came::Answer(answer)) => {
                    let given = result_of(&answer, &self.subject);
                    let again = given.as_ref().ok().filter(|_| !self.is_told).and_then(|given| self.again.next(given));
                    match again {
                        Some((at, request)) => self.state = State::Pausing(at, request),
                        None => break given,
                    }
                }
                Ok(Came::Again(request)) => match Message::parse(request) {
                    Ok(message) => self.state = State::of(self.again.send(message)),
                    Err(_) => break Err(fault::internal()),
                },
                Ok(Came::Nothing) => break Err(fault::internal()),
                Err(_) => {
                    // The bound itself, not how late it was noticed.
                    let bound = self.clock.deadline().unwrap_or_else(Instant::now);
                    break Err(fault::timed_out(&self.subject, self.clock.elapsed_ms(bound)));
                }
            }
        };
        // Ends the call at its server, if it is not over.
        self.state = State::Ended;
        Event::Done(done)
    }

    pub(in crate::downstream) const fn subject(&self) -> &Subject {
        &self.subject
    }

    pub(super) fn is_known(&self) -> bool {
        matches!(self.state, State::Known(_))
    }
}

/// Cancel-safe.
async fn advance(state: &mut State) -> Came {
    match state {
        State::Crossing(crossing) => match crossing.next().await {
            Step::Notice(note) => return Came::Notice(note),
            Step::Answer(answer) => return Came::Answer(answer),
            Step::Cancelled => return Came::Nothing,
        },
        State::Pausing(at, _) => sleep_until(*at).await,
        State::Known(_) | State::Ended => {}
    }
    match std::mem::replace(state, State::Ended) {
        State::Known(answer) => Came::Answer(answer),
        State::Pausing(_, request) => Came::Again(request),
        State::Crossing(_) | State::Ended => Came::Nothing,
    }
}

fn result_of(answer: &Answer, subject: &Subject) -> Result<Given, Fault> {
    let message = Message::parse(answer.body.to_bytes()).map_err(|_| fault::internal())?;
    let scan = message.scan();
    match (scan.result, scan.error) {
        (Some(result), _) => {
            let kind = match scan.result_type.and_then(|member| message.string(member.value)).as_deref() {
                Some("input_required") => Kind::InputRequired,
                Some("task") => Kind::Task,
                _ => Kind::Final,
            };
            Ok(Given { kind, result: message.share(result) })
        }
        (None, Some(error)) => Err(fault::of_rpc(message.token(error), subject, answer.is_hubs)),
        (None, None) => Err(fault::internal()),
    }
}

/// The members of `notifications/progress` that mean something outside of MCP.
fn progress_of(note: &Body) -> Option<Value> {
    let Value::Object(mut note) = serde_json::from_slice(&note.to_bytes()).ok()? else { return None };
    let Some(Value::Object(mut params)) = note.remove("params") else { return None };
    params.retain(|name, _| matches!(name.as_str(), "progress" | "total" | "message"));
    Some(Value::Object(params))
}

/// 200 with `head`, the raw result, `tail`; the result is not copied.
pub(super) fn around(head: String, result: Bytes, tail: impl Into<Bytes>) -> Reply {
    let mut body = Body::one(head.into());
    body.push(result);
    body.push(tail.into());
    reply::json_body(StatusCode::OK, body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(method: Method<'static>, name: &str) -> Subject {
        Subject { tenant: crate::name::TenantId::default_tenant(), server: None, method, name: name.into() }
    }

    #[test]
    fn the_message_holds_the_arguments_byte_for_byte_and_the_name_as_json() {
        let call = subject(Method::ToolsCall, "a\"b");
        let text = message(&call, &Params { arguments: Some("{ \"x\" : 1.0 }"), ..Params::default() }, false);
        assert_eq!(
            text,
            concat!(
                r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a\"b","arguments":{ "x" : 1.0 },"_meta":{"#,
                r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#
            )
        );
        let text = message(&call, &Params::default(), true);
        assert_eq!(serde_json::from_slice::<Value>(&text).unwrap()["params"]["_meta"]["progressToken"], 1);
    }

    #[test]
    fn what_a_caller_answers_goes_back_as_it_came() {
        let params = Params {
            arguments: None,
            capabilities: Some(r#"{"roots": {}}"#),
            input_responses: Some(r#"{"q1": 1.0}"#),
            request_state: Some(r#""v\u0031""#),
        };
        for (method, named) in [(Method::ResourcesRead, r#""uri":"a:b""#), (Method::TasksUpdate, r#""taskId":"a:b""#)] {
            assert_eq!(
                message(&subject(method, "a:b"), &params, false),
                format!(
                    concat!(
                        r#"{{"jsonrpc":"2.0","id":1,"method":"{}","params":{{{},"inputResponses":{{"q1": 1.0}},"requestState":"v\u0031","#,
                        r#""_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","#,
                        r#""io.modelcontextprotocol/clientCapabilities":{{"roots": {{}}}}}}}}}}"#
                    ),
                    method.as_str(),
                    named
                )
            );
        }
    }

    #[test]
    fn the_member_that_is_nested_too_deep_is_named() {
        let deep = format!("{}1{}", r#"{"a":"#.repeat(400), "}".repeat(400));
        let (fine, none) = (r#"{"a":1}"#, Params::default());
        for (name, params) in [
            ("arguments", Params { arguments: Some(&deep), capabilities: Some(fine), ..none }),
            ("capabilities", Params { capabilities: Some(&deep), arguments: Some(fine), ..none }),
            ("inputResponses", Params { input_responses: Some(&deep), arguments: Some(fine), ..none }),
        ] {
            let call = subject(Method::ToolsCall, "a");
            assert!(Message::parse(message(&call, &params, false)).is_err(), "{name}");
            let fault = params.at_fault(&call);
            assert_eq!((fault.status, &fault.data["field"]), (400, &Value::from(name)), "{}", fault.message);
        }
    }

    #[test]
    fn progress_is_told_without_the_hubs_token() {
        let note = Body::one(Bytes::from_static(
            br#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":2,"total":4,"message":"half"}}"#,
        ));
        assert_eq!(progress_of(&note).unwrap(), serde_json::json!({"progress": 2, "total": 4, "message": "half"}));
    }

    #[test]
    fn a_result_comes_out_of_its_answer_as_the_bytes_it_is() {
        let subject = subject(Method::ToolsCall, "y");
        let answer = |text: &str| Answer::ok(Body::one(Bytes::from(text.to_owned())));
        for (result, kind) in [
            (r#"{"content":[ ],"x":1.0}"#, Kind::Final),
            (r#"{"resultType":"complete","content":[]}"#, Kind::Final),
            (r#"{"resultType":"t\u0061sk","taskId":"t1"}"#, Kind::Task),
            (r#"{"inputRequests":{},"resultType":"input_required"}"#, Kind::InputRequired),
        ] {
            let given = result_of(&answer(&format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#)), &subject).unwrap();
            assert_eq!((&given.result[..], given.kind), (result.as_bytes(), kind));
            assert_eq!(given.only(&subject).is_ok(), kind == Kind::Final, "{result}");
        }
        let fault = result_of(&answer(r#"{"jsonrpc":"2.0","id":1,"error":{"code":5,"message":"no"}}"#), &subject).unwrap_err();
        assert_eq!((fault.status, fault.code), (502, "TOOL_ERROR"));
    }
}
