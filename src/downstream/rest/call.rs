//! One tool call on behalf of a REST client: a stateless message of the hub's own making around the caller's raw arguments,
//! through the same `dispatch` as every call, and the raw result out of the answer.
//!
//! Cost beside the call itself: one copy of the arguments into the message, one scan of message and answer, no parsing of either.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::fault::{self, Fault, Subject};
use crate::{
    access::Principal,
    downstream::{Doors, Reply, reply},
    hub::{Answer, Crossing, Endpoint, Inbound, Outcome, Step},
    protocol::{Body, Message, Version},
};

/// What is to be called.
pub(in crate::downstream) struct Call<'a> {
    pub(in crate::downstream) principal: &'a Arc<Principal>,
    pub(in crate::downstream) endpoint: Endpoint,
    pub(in crate::downstream) subject: Subject,
    /// Raw JSON, known to be one whole object.
    pub(in crate::downstream) arguments: &'a str,
    /// Whether the caller wants to see progress.
    pub(in crate::downstream) progress: bool,
    pub(in crate::downstream) options: Options,
}

/// `request_options`, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::downstream) struct Options {
    timeout: Option<u64>,
    max_total_timeout: Option<u64>,
    reset_timeout_on_progress: bool,
}

/// A call under way. Dropping it cancels the call at its server.
pub(in crate::downstream) struct Running {
    state: State,
    subject: Subject,
    clock: Clock,
}

enum State {
    Known(Answer),
    Crossing(Box<Crossing>),
    Ended,
}

/// What comes of a call.
pub(in crate::downstream) enum Event {
    /// Any number of these, then one `Done`.
    Progress(Value),
    /// The raw result object.
    Done(Result<Bytes, Fault>),
}

/// The result of a call, without its progress.
pub(super) async fn run(doors: &Arc<Doors>, call: Call<'_>) -> Result<Bytes, Fault> {
    let mut running = start(doors, call)?;
    loop {
        if let Event::Done(result) = running.next().await {
            return result;
        }
    }
}

/// Hands the call to the hub.
///
/// # Errors
/// The arguments are nested too deep to be a message.
pub(in crate::downstream) fn start(doors: &Arc<Doors>, call: Call<'_>) -> Result<Running, Fault> {
    let wants_progress = call.progress || call.options.reset_timeout_on_progress;
    let text = message(&call.subject.tool, call.arguments, wants_progress);
    let message =
        Message::parse(text.into()).map_err(|error| Fault::invalid(format!("'arguments' cannot be sent: {error}"), "arguments"))?;
    let inbound = Inbound::new(Arc::clone(call.principal), Arc::new(call.endpoint), message, Version::STATELESS, None);
    let state = match doors.hub.dispatch(inbound) {
        Outcome::Now(answer) => State::Known(answer),
        Outcome::Later(crossing) => State::Crossing(Box::new(crossing)),
        Outcome::Silent => State::Ended,
    };
    Ok(Running { state, subject: call.subject, clock: Clock::new(call.options, Instant::now()) })
}

/// `tools/call` of a client without capabilities. There is one call per message, so any id and token will do.
fn message(tool: &str, arguments: &str, progress: bool) -> String {
    const META: &str = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}"#;
    let token = if progress { r#","progressToken":1"# } else { "" };
    let name = Value::from(tool);
    format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":{name},"arguments":{arguments},"_meta":{{{META}{token}}}}}}}"#
    )
}

impl Running {
    /// Cancel-safe. Nothing follows `Done`.
    pub(in crate::downstream) async fn next(&mut self) -> Event {
        let done = loop {
            let crossing = match &mut self.state {
                State::Crossing(crossing) => crossing,
                State::Known(_) => match std::mem::replace(&mut self.state, State::Ended) {
                    State::Known(answer) => break result_of(&answer, &self.subject),
                    State::Crossing(_) | State::Ended => break Err(fault::internal()),
                },
                State::Ended => break Err(fault::internal()),
            };
            let step = match self.clock.deadline() {
                Some(deadline) => timeout_at(deadline, crossing.next()).await,
                None => Ok(crossing.next().await),
            };
            match step {
                Ok(Step::Notice(note)) => {
                    self.clock.progress(Instant::now());
                    if let Some(progress) = progress_of(&note) {
                        return Event::Progress(progress);
                    }
                }
                Ok(Step::Answer(answer)) => break result_of(&answer, &self.subject),
                Ok(Step::Cancelled) => break Err(fault::internal()),
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

    pub(super) fn is_known(&self) -> bool {
        matches!(self.state, State::Known(_))
    }
}

/// When the caller's patience ends.
struct Clock {
    options: Options,
    start: Instant,
    last_sign: Instant,
}

impl Clock {
    fn new(options: Options, start: Instant) -> Self {
        Self { options, start, last_sign: start }
    }

    fn progress(&mut self, now: Instant) {
        if self.options.reset_timeout_on_progress {
            self.last_sign = now;
        }
    }

    /// `None`: the server's own time limits alone count.
    fn deadline(&self) -> Option<Instant> {
        // A number that no clock can hold is no limit.
        let after = |from: Instant, ms: Option<u64>| from.checked_add(Duration::from_millis(ms?));
        let quiet = after(self.last_sign, self.options.timeout);
        let total = after(self.start, self.options.max_total_timeout);
        quiet.into_iter().chain(total).min()
    }

    fn elapsed_ms(&self, now: Instant) -> u128 {
        now.duration_since(self.start).as_millis()
    }
}

fn result_of(answer: &Answer, subject: &Subject) -> Result<Bytes, Fault> {
    let bytes = answer.body.to_bytes();
    let message = Message::parse(bytes.clone()).map_err(|_| fault::internal())?;
    let scan = message.scan();
    match (scan.result, scan.error) {
        (Some(result), _) => Ok(bytes.slice(result.range())),
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

    #[test]
    fn the_message_holds_the_arguments_byte_for_byte_and_the_name_as_json() {
        let text = message("a\"b", "{ \"x\" : 1.0 }", false);
        assert_eq!(
            text,
            concat!(
                r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a\"b","arguments":{ "x" : 1.0 },"_meta":{"#,
                r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#
            )
        );
        assert!(serde_json::from_str::<Value>(&text).is_ok());
        let text = message("a", "{}", true);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["params"]["_meta"]["progressToken"], 1);
    }

    #[test]
    fn patience_ends_at_the_first_of_the_two_limits_and_progress_renews_only_one() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let options = |timeout, total, reset| Options { timeout, max_total_timeout: total, reset_timeout_on_progress: reset };
        for (options, progress_at, want) in [
            (options(None, None, false), 0, None),
            (options(Some(100), None, false), 50, Some(100)),
            (options(Some(100), None, true), 50, Some(150)),
            (options(Some(100), Some(120), true), 50, Some(120)),
            (options(None, Some(70), true), 50, Some(70)),
            (options(Some(0), None, false), 0, Some(0)),
            (options(Some(u64::MAX), Some(70), false), 0, Some(70)),
        ] {
            let mut clock = Clock::new(options, start);
            clock.progress(start + ms(progress_at));
            assert_eq!(clock.deadline(), want.map(|want| start + ms(want)), "{options:?}");
        }
    }

    #[test]
    fn options_are_read_as_their_clients_write_them() {
        let read = |text| serde_json::from_str::<Options>(text).ok();
        assert_eq!(read("{}"), Some(Options::default()));
        assert_eq!(
            read(r#"{"timeout":5000,"maxTotalTimeout":9000,"resetTimeoutOnProgress":true,"later":1}"#),
            Some(Options { timeout: Some(5000), max_total_timeout: Some(9000), reset_timeout_on_progress: true })
        );
        assert_eq!(read(r#"{"timeout":"5"}"#), None);
        assert_eq!(read(r#"{"timeout":-1}"#), None);
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
        let subject = Subject { tenant: crate::name::TenantId::default_tenant(), server: None, tool: "y".into() };
        let answer = |text: &'static str| Answer::ok(Body::one(Bytes::from_static(text.as_bytes())));
        let result = result_of(&answer(r#"{"jsonrpc":"2.0","id":1,"result":{"content":[ ],"x":1.0}}"#), &subject);
        assert_eq!(result.unwrap(), r#"{"content":[ ],"x":1.0}"#);
        let fault = result_of(&answer(r#"{"jsonrpc":"2.0","id":1,"error":{"code":5,"message":"no"}}"#), &subject).unwrap_err();
        assert_eq!((fault.status, fault.code), (502, "TOOL_ERROR"));
    }
}
