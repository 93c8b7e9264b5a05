//! One round of a multi round-trip request (MCP 2026-07-28): the result that asks, and the retry that answers. Reading and writing of
//! the two shapes; who asks whom is the matter of `park`, `shim`, `reissue` and, between stateless peers, of `relay` here.

use std::borrow::Cow;

use bytes::Bytes;

use super::{
    HUB,
    content::Publish,
    json::{Object, Writer, text_of},
    question::{Asked, Kind as Question},
};
use crate::{
    limits,
    protocol::{
        Body, Era, Kind, Message, Method, Refusal, RequestId,
        capability::Profile,
        code::{self, Code, Reason},
        refusal::quoted,
    },
};

/// What kind of result an answer is, by its `resultType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A result, or an error: for `incoming::answer`.
    Final,
    /// A stateless server needs something of the client first.
    InputRequired,
    /// A stateless server has made a task of it (tasks extension).
    Task,
}

impl Outcome {
    /// Of the answer of a stateless server; handshake servers know no such member.
    pub fn of(answer: &Message) -> Self {
        let named = answer.scan().result_type.filter(|_| answer.kind() == Kind::Result);
        match named.and_then(|member| answer.string(member.value)).as_deref() {
            Some("input_required") => Self::InputRequired,
            Some("task") => Self::Task,
            _ => Self::Final,
        }
    }
}

/// Whether a result of that method may ask for input.
pub fn may_ask(method: Method<'_>) -> bool {
    matches!(method, Method::ToolsCall | Method::PromptsGet | Method::ResourcesRead)
}

/// An `input_required` result, read.
#[derive(Debug)]
pub struct InputRequired<'a> {
    /// By the server's keys, in its order.
    pub asked: Vec<(Cow<'a, str>, Asked)>,
    /// To be sent back exactly so.
    pub state: Option<Cow<'a, str>>,
}

impl<'a> InputRequired<'a> {
    /// # Errors
    /// What to answer the client, without id: the server sent something that is none (`-32603`).
    pub fn read(answer: &'a Message, publish: Option<&Publish<'_>>) -> Result<Self, Refusal> {
        let result = text_of(answer, answer.scan().result).and_then(Object::read).ok_or_else(bad_answer)?;
        let state = match result.get("requestState") {
            None => None,
            Some(_) => Some(result.string("requestState").filter(|state| state.len() <= limits::STATE_BYTES_MAX).ok_or_else(bad_answer)?),
        };
        let asked = match result.get("inputRequests") {
            None => Vec::new(),
            Some(requests) => asked(requests, publish)?,
        };
        if state.is_none() && asked.is_empty() {
            return Err(bad_answer());
        }
        Ok(Self { asked, state })
    }
}

impl InputRequired<'_> {
    /// Takes out what the hub answers for a client that has no roots of its own, and says under which keys it was asked.
    ///
    /// # Errors
    /// As `read`: the keys are longer than any state may be.
    pub fn take_roots(&mut self) -> Result<Vec<String>, Refusal> {
        let taken = self.asked.extract_if(.., |(_, asked)| asked.kind == Question::Roots);
        let keys: Vec<_> = taken.map(|(key, _)| key.into_owned()).collect();
        if keys.iter().map(String::len).sum::<usize>() > limits::STATE_BYTES_MAX { Err(bad_answer()) } else { Ok(keys) }
    }
}

/// The `inputResponses` of a client, if it gave any, with the hub's own: `roots` (raw JSON) under each of these keys.
pub fn with_roots(responses: Option<&str>, keys: &[String], roots: &str) -> String {
    let own: Vec<&str> = keys.iter().map(String::as_str).collect();
    let given = responses.and_then(Object::read).map_or_else(Writer::new, |given| given.without(&own));
    own.iter().fold(given, |all, key| all.member(key, roots)).finish()
}

/// The entries of `inputRequests`.
pub(super) fn asked<'a>(requests: &'a str, publish: Option<&Publish<'_>>) -> Result<Vec<(Cow<'a, str>, Asked)>, Refusal> {
    let requests = Object::read(requests).ok_or_else(bad_answer)?;
    if requests.fields().len() > limits::QUESTIONS_MAX {
        return Err(bad_answer());
    }
    let read = |value| {
        let request = Object::read(value)?;
        Asked::of(&request.string("method")?, request.get("params"), publish).ok()
    };
    requests.fields().iter().map(|field| Some((field.key.clone(), read(field.value)?))).collect::<Option<_>>().ok_or_else(bad_answer)
}

fn bad_answer() -> Refusal {
    Refusal::new(Code::Internal, 200, "The server asked for input in a way that is malformed").with_data(code::failure_data(
        None,
        Reason::BadAnswer,
        None,
    ))
}

/// The two members by which a request says that it is a retry.
#[derive(Debug, Default)]
pub struct Retry<'a> {
    /// A raw JSON object.
    pub responses: Option<&'a str>,
    pub state: Option<Cow<'a, str>>,
}

impl<'a> Retry<'a> {
    /// Costs nothing for a request that is none.
    ///
    /// # Errors
    /// They are malformed (`-32602`); with id.
    pub fn read(request: &'a Message) -> Result<Self, Refusal> {
        let scan = request.scan();
        if !scan.has_input_responses && !scan.has_request_state {
            return Ok(Self::default());
        }
        let malformed = |what| Refusal::new(Code::InvalidParams, 200, what).with_id(request.id());
        let params = text_of(request, scan.params).and_then(Object::read).ok_or_else(|| malformed("params has a key twice"))?;
        let responses = match params.field("inputResponses").map(|field| field.value) {
            Some(responses) if Object::read(responses).is_none() => return Err(malformed("inputResponses is not an object")),
            responses => responses,
        };
        let state = match params.field("requestState").map(|_| params.string("requestState")) {
            Some(None) => return Err(malformed("requestState is not a string")),
            Some(state) => state,
            None => None,
        };
        Ok(Self { responses, state })
    }

    pub fn is_one(&self) -> bool {
        self.responses.is_some() || self.state.is_some()
    }
}

/// The `input_required` result for a stateless client. `requests`: raw JSON object, from `Parked::requests` and its like.
pub fn input_required(id: &RequestId, requests: &str, state: Option<&str>) -> Body {
    let state = state.map(|state| format!(r#","requestState":{}"#, quoted(state))).unwrap_or_default();
    let result = format!(r#"{{"resultType":"input_required","inputRequests":{requests}{state},"_meta":{{{SERVER_INFO}{HUB}}}}}"#);
    Body::one(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#).into())
}

const SERVER_INFO: &str = r#""io.modelcontextprotocol/serverInfo":"#;

/// Of one stateless server for a stateless client: the requests with published URIs, and `state`, the server's own sealed.
///
/// # Errors
/// What to answer the client, with its id: the server asks what the client did not declare (`-32603`).
pub fn relay(asked: &InputRequired<'_>, client: Profile, id: &RequestId, state: Option<&str>) -> Result<Body, Refusal> {
    let mut requests = Writer::new();
    for (key, asked) in &asked.asked {
        if asked.check(client).is_err() {
            return Err(bad_answer().with_id(Some(id.clone())));
        }
        requests = requests.member(key, &asked.entry());
    }
    match (asked.asked.is_empty(), state) {
        // It only says to come back.
        (true, Some(state)) => Ok(state_only(id, state)),
        _ => Ok(input_required(id, &requests.finish(), state)),
    }
}

fn state_only(id: &RequestId, state: &str) -> Body {
    let state = quoted(state);
    let result = format!(r#"{{"resultType":"input_required","requestState":{state},"_meta":{{{SERVER_INFO}{HUB}}}}}"#);
    Body::one(Bytes::from(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)))
}

/// A `tools/call` that failed for a reason the model may read, or the error that says so for other methods: what a handshake client
/// gets where the stateless era would have asked, and the other way round.
///
/// # Errors
/// For every method but `tools/call`: the error, with id. `data` is its raw JSON data.
pub fn failed(method: Method<'_>, id: &RequestId, client: Era, text: &str, data: Option<String>) -> Result<Body, Refusal> {
    if method != Method::ToolsCall {
        let refusal = Refusal::new(Code::Internal, 200, text).with_id(Some(id.clone()));
        return Err(match data {
            Some(data) => refusal.with_data(data),
            None => refusal,
        });
    }
    let envelope = match client {
        Era::Handshake => String::new(),
        Era::Stateless => format!(r#""resultType":"complete","_meta":{{{SERVER_INFO}{HUB}}},"#),
    };
    let text = quoted(text);
    let result = format!(r#"{{{envelope}"content":[{{"type":"text","text":{text}}}],"isError":true}}"#);
    Ok(Body::one(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: String) -> Message {
        Message::parse(Bytes::from(text.clone())).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    fn answer(result: &str) -> Message {
        message(format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#))
    }

    fn call(params: &str) -> Message {
        message(format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#))
    }

    fn text(body: Body) -> String {
        String::from_utf8(body.to_bytes().to_vec()).unwrap().replace(HUB, "HUB")
    }

    const FORM: &str = r#"{"method":"elicitation/create","params":{"message":"m","requestedSchema":{"type":"object","properties":{}}}}"#;

    #[test]
    fn results_are_told_apart() {
        for (result, outcome) in [
            (r#"{"resultType":"input_required"}"#, Outcome::InputRequired),
            (r#"{"resultType":"t\u0061sk"}"#, Outcome::Task),
            (r#"{"resultType":"complete"}"#, Outcome::Final),
            (r#"{"resultType":7}"#, Outcome::Final),
            ("{}", Outcome::Final),
        ] {
            assert_eq!(Outcome::of(&answer(result)), outcome, "{result}");
        }
        assert!(may_ask(Method::ResourcesRead) && !may_ask(Method::ToolsList) && !may_ask(Method::Complete));
    }

    #[test]
    fn between_stateless_peers_the_requests_are_relayed_and_the_state_is_the_hubs() {
        let answer = answer(&format!(
            r#"{{"resultType":"input_required","inputRequests":{{"a b":{FORM},"r":{{"method":"roots/list"}}}},"requestState":"s\u0031"}}"#
        ));
        let asked = InputRequired::read(&answer, None).unwrap();
        assert_eq!(asked.state.as_deref(), Some("s1"));
        let client = Profile::FORM.with(Profile::ROOTS);
        let id = RequestId::from_number(9);
        assert_eq!(
            text(relay(&asked, client, &id, Some("v1.x")).unwrap()),
            format!(
                r#"{{"jsonrpc":"2.0","id":9,"result":{{"resultType":"input_required","inputRequests":{{"a b":{FORM},"r":{{"method":"roots/list"}}}},"requestState":"v1.x","_meta":{{"io.modelcontextprotocol/serverInfo":HUB}}}}}}"#
            )
        );
        assert_eq!(relay(&asked, Profile::FORM, &id, None).unwrap_err().code, Code::Internal);
    }

    #[test]
    fn roots_are_taken_out_and_answered_under_the_servers_keys() {
        let roots = r#"{"method":"roots/list"}"#;
        let answer = answer(&format!(r#"{{"resultType":"input_required","inputRequests":{{"r\"1":{roots},"f":{FORM},"r2":{roots}}}}}"#));
        let mut asked = InputRequired::read(&answer, None).unwrap();
        let keys = asked.take_roots().unwrap();
        assert_eq!((keys.as_slice(), asked.asked.len()), (["r\"1".to_owned(), "r2".to_owned()].as_slice(), 1));
        for (responses, all) in [
            (None, r#"{"r\"1":R,"r2":R}"#),
            (Some("{}"), r#"{"r\"1":R,"r2":R}"#),
            (Some(r#"{"f":{"a": 1},"r2":"the client's"}"#), r#"{"f":{"a": 1},"r\"1":R,"r2":R}"#),
        ] {
            assert_eq!(with_roots(responses, &keys, "R"), all);
        }
        assert_eq!(with_roots(Some(r#"{"f":1}"#), &[], "R"), r#"{"f":1}"#);
    }

    #[test]
    fn a_server_may_only_say_to_come_back() {
        let answer = answer(r#"{"resultType":"input_required","requestState":"s"}"#);
        let asked = InputRequired::read(&answer, None).unwrap();
        assert_eq!(
            text(relay(&asked, Profile::BARE, &RequestId::from_number(9), Some("v1.x")).unwrap()),
            r#"{"jsonrpc":"2.0","id":9,"result":{"resultType":"input_required","requestState":"v1.x","_meta":{"io.modelcontextprotocol/serverInfo":HUB}}}"#
        );
    }

    #[test]
    fn what_asks_in_another_way_is_malformed() {
        let many: Vec<_> = (0..=limits::QUESTIONS_MAX).map(|key| format!(r#""{key}":{FORM}"#)).collect();
        for result in [
            r#"{"resultType":"input_required"}"#,
            r#"{"resultType":"input_required","inputRequests":{}}"#,
            r#"{"resultType":"input_required","inputRequests":[],"requestState":"s"}"#,
            r#"{"resultType":"input_required","requestState":7}"#,
            r#"{"resultType":"input_required","inputRequests":{"a":{"method":"who/knows"}}}"#,
            r#"{"resultType":"input_required","inputRequests":{"a":{"method":"elicitation/create"}}}"#,
            r#"{"resultType":"input_required","inputRequests":{"a":{}}}"#,
            &format!(r#"{{"resultType":"input_required","inputRequests":{{{}}}}}"#, many.join(",")),
        ] {
            assert_eq!(InputRequired::read(&answer(result), None).unwrap_err().code, Code::Internal, "{result}");
        }
    }

    #[test]
    fn a_retry_is_read_and_anything_else_is_refused() {
        let request = call(r#"{"name":"a","requestState":"s\n","inputResponses":{"q1": {}}}"#);
        let retry = Retry::read(&request).unwrap();
        assert_eq!((retry.responses, retry.state.as_deref(), retry.is_one()), (Some(r#"{"q1": {}}"#), Some("s\n"), true));
        assert!(!Retry::read(&call(r#"{"name":"a"}"#)).unwrap().is_one());
        for params in
            [r#"{"requestState":7}"#, r#"{"requestState":null}"#, r#"{"inputResponses":[]}"#, r#"{"inputResponses":{"a":{},"a":{}}}"#]
        {
            let refusal = Retry::read(&call(params)).unwrap_err();
            assert_eq!((refusal.code, refusal.id), (Code::InvalidParams, Some(RequestId::from_number(1))), "{params}");
        }
    }

    #[test]
    fn a_failed_call_tells_the_model_and_a_failed_read_the_client() {
        let id = RequestId::from_number(1);
        assert_eq!(
            text(failed(Method::ToolsCall, &id, Era::Handshake, "no", None).unwrap()),
            r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"no"}],"isError":true}}"#
        );
        assert_eq!(
            text(failed(Method::ToolsCall, &id, Era::Stateless, "no", None).unwrap()),
            r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","_meta":{"io.modelcontextprotocol/serverInfo":HUB},"content":[{"type":"text","text":"no"}],"isError":true}}"#
        );
        let refusal = failed(Method::ResourcesRead, &id, Era::Handshake, "no", Some("{}".into())).unwrap_err();
        assert_eq!(text(refusal.to_body()), r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"no","data":{}}}"#);
    }
}
