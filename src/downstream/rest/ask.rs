//! `POST /api/servers/{tools,prompts,resources}`, with the server in the body or in the path: what one server has, by its own names
//! and URIs. Callers who declare what they can do may be asked something first, or get a task, as clients of 2026-07-28 do.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, stream};
use hyper::{
    StatusCode,
    header::{self, HeaderValue},
};
use serde::Deserialize;

use super::{
    call::{self, Asked, Call, Event, Given, Kind, Params, Running},
    fault::{self, Fault, Subject},
    fields::{self, Fields},
    target::{self, endpoint_of},
};
use crate::{
    access::Principal,
    downstream::{Doors, Reply, Request, reply},
    limits,
    protocol::{Body, Method, sse},
};

/// `method`: `tools/call`, `prompts/get` or `resources/read`.
pub(super) async fn ask(
    doors: &Arc<Doors>,
    principal: &Arc<Principal>,
    request: &mut Request,
    method: Method<'static>,
) -> Result<Reply, Fault> {
    let body = fields::body(request, doors.limits.body_bytes).await?;
    let fields = Fields::parse(&body)?;
    let id = match request.param("server") {
        Some(name) => target::server(request, name)?,
        None => target::server(request, &fields.text("server_name", "Missing server name")?)?,
    };
    let (name, params) = wanted(&fields, method)?;
    let options = fields.read("request_options", "an object of milliseconds")?.unwrap_or_default();
    let streams = wants_events(request);
    // What is known or can be started is called; anything else says why not before it becomes an unknown tool.
    doors.control.offer(principal, &id).await?;
    let endpoint = endpoint_of(&id, request);
    let subject = Subject { tenant: id.tenant, server: Some(id.name), method, name };
    let mut running = call::start(doors, Call { principal, endpoint, subject, params, progress: streams, options })?;
    if streams && !running.is_known() {
        return Ok(reply::events(events(running)));
    }
    loop {
        if let Event::Done(given) = running.next().await {
            let told = Told::of(given?)?;
            let mut reply = reply::json_body(told.status, told.body);
            let place = told.task.and_then(|task| HeaderValue::try_from(format!("{}/api/tasks/{task}", base_path(doors))).ok());
            if let Some(place) = place {
                reply.headers_mut().insert(header::LOCATION, place);
            }
            return Ok(reply);
        }
    }
}

fn base_path(doors: &Doors) -> &str {
    &doors.settings.gateway.base_path
}

/// What the body asks for: its name, and the caller's own JSON.
fn wanted<'a>(fields: &Fields<'a>, method: Method<'static>) -> Result<(String, Params<'a>), Fault> {
    let (name, arguments) = match method {
        Method::ResourcesRead => (fields.text("uri", "Missing resource URI")?, None),
        Method::PromptsGet => (fields.text("prompt", "Missing prompt name")?, Some(fields.arguments()?)),
        _ => (fields.text("tool", "Missing tool name")?, Some(fields.arguments()?)),
    };
    let params = Params {
        arguments,
        capabilities: fields.object("capabilities")?,
        input_responses: fields.object("inputResponses")?,
        request_state: fields.string("requestState")?,
    };
    Ok((name, params))
}

/// A result as REST tells it.
struct Told {
    status: StatusCode,
    body: Body,
    /// The id of the task that the call has become.
    task: Option<String>,
}

impl Told {
    fn of(Given { kind, result }: Given) -> Result<Self, Fault> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Created {
            task_id: String,
        }
        let unread = |_| fault::internal();
        let (status, head, shown, task) = match kind {
            Kind::Final => (StatusCode::OK, r#"{"result":"#.to_owned(), Some(result), None),
            Kind::Task => {
                let Created { task_id } = serde_json::from_slice(&result).map_err(unread)?;
                let head = format!(r#"{{"status":"task","taskId":{},"task":"#, serde_json::Value::from(task_id.as_str()));
                (StatusCode::ACCEPTED, head, Some(result), Some(task_id))
            }
            Kind::InputRequired => {
                let asked = Asked::read(&result).map_err(unread)?;
                let mut head = r#"{"status":"input_required""#.to_owned();
                for (name, value) in [("inputRequests", asked.input_requests), ("requestState", asked.request_state)] {
                    head.extend(value.map(|value| format!(r#","{name}":{value}"#)));
                }
                (StatusCode::OK, head, None, None)
            }
        };
        let mut body = Body::one(head.into());
        body.push(shown.unwrap_or_default());
        body.push(Bytes::from(format!(r#","timestamp":"{}"}}"#, reply::timestamp())));
        Ok(Self { status, body, task })
    }
}

/// `progress` events, then one `result` or `error`.
fn events(running: Running) -> impl Stream<Item = Body> + Send {
    stream::unfold(Some(running), async |state| {
        let mut running = state?;
        Some(match tokio::time::timeout(limits::SSE_COMMENT, running.next()).await {
            Err(_) => (Body::one(sse::comment()), Some(running)),
            Ok(Event::Progress(progress)) => (event("progress", Body::one(progress.to_string().into())), Some(running)),
            Ok(Event::Done(given)) => match given.and_then(Told::of) {
                Ok(told) => (event("result", told.body), None),
                Err(fault) => (event("error", Body::one(fault.body().to_string().into())), None),
            },
        })
    })
}

/// `body` is one line: relayed messages lose their line ends in the bridge, our own have none.
fn event(name: &str, body: Body) -> Body {
    let mut framed = Body::one(format!("event: {name}\ndata: ").into());
    framed.append(body);
    framed.push(Bytes::from_static(b"\n\n"));
    framed
}

fn wants_events(request: &Request) -> bool {
    first_of_two(request.parts.headers.get_all(header::ACCEPT).iter().map(HeaderValue::as_bytes))
}

/// Whether events are asked for, and before JSON: who names both takes what the list says first.
fn first_of_two<'a>(accept: impl Iterator<Item = &'a [u8]>) -> bool {
    let ranges = accept.flat_map(|value| value.split(|byte| *byte == b','));
    let mut media = ranges.map(|range| range.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii());
    let either = media.find(|media| media.eq_ignore_ascii_case(b"text/event-stream") || media.eq_ignore_ascii_case(b"application/json"));
    either.is_some_and(|media| media.eq_ignore_ascii_case(b"text/event-stream"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_sent_to_those_who_ask_for_them_first() {
        for (accept, want) in [
            (&["text/event-stream"][..], true),
            (&["Text/Event-Stream;q=0.9, application/json"], true),
            (&["*/*", "text/event-stream"], true),
            (&["application/json, text/event-stream"], false),
            (&["application/json"], false),
            (&["*/*"], false),
            (&[], false),
        ] {
            assert_eq!(first_of_two(accept.iter().map(|text| text.as_bytes())), want, "{accept:?}");
        }
    }

    #[test]
    fn an_event_is_three_lines_around_shared_pieces() {
        let mut body = Body::one(Bytes::from_static(b"{\"a\":"));
        body.push(Bytes::from_static(b"1}"));
        assert_eq!(event("result", body).to_bytes(), "event: result\ndata: {\"a\":1}\n\n");
    }

    #[test]
    fn every_member_that_is_wrong_is_named() {
        for (method, body, message, field) in [
            (Method::ToolsCall, "{}", "Missing tool name", "tool"),
            (Method::ToolsCall, r#"{"tool":7}"#, "'tool' must be a string", "tool"),
            (Method::ToolsCall, r#"{"tool":"a","arguments":[]}"#, "'arguments' must be an object", "arguments"),
            (Method::PromptsGet, r#"{"tool":"a"}"#, "Missing prompt name", "prompt"),
            (Method::PromptsGet, r#"{"prompt":"a","arguments":"b"}"#, "'arguments' must be an object", "arguments"),
            (Method::ResourcesRead, r#"{"prompt":"a"}"#, "Missing resource URI", "uri"),
            (Method::ResourcesRead, r#"{"uri":{}}"#, "'uri' must be a string", "uri"),
            (Method::ResourcesRead, r#"{"uri":"a:b","capabilities":true}"#, "'capabilities' must be an object", "capabilities"),
            (Method::PromptsGet, r#"{"prompt":"a","inputResponses":[]}"#, "'inputResponses' must be an object", "inputResponses"),
            (Method::ToolsCall, r#"{"tool":"a","requestState":{}}"#, "'requestState' must be a string", "requestState"),
        ] {
            let fault = wanted(&Fields::parse(body.as_bytes()).unwrap(), method).unwrap_err();
            assert_eq!((fault.message.as_str(), &fault.data["field"]), (message, &field.into()), "{body}");
        }
        let body = br#"{"uri":"a:b","arguments":7,"capabilities":null,"inputResponses":{"q": 1.0},"requestState":"v\u0031"}"#;
        let fields = Fields::parse(body).unwrap();
        let (uri, params) = wanted(&fields, Method::ResourcesRead).unwrap();
        assert_eq!((uri.as_str(), params.arguments, params.capabilities), ("a:b", None, None));
        assert_eq!((params.input_responses, params.request_state), (Some(r#"{"q": 1.0}"#), Some(r#""v\u0031""#)));
    }

    #[test]
    fn a_result_is_told_as_what_it_says_it_is() {
        let told = |kind, result: &'static str| {
            let told = Told::of(Given { kind, result: result.into() }).unwrap();
            let mut body: serde_json::Value = serde_json::from_slice(&told.body.to_bytes()).unwrap();
            assert!(body.as_object_mut().unwrap().remove("timestamp").unwrap().as_str().unwrap().ends_with('Z'));
            (told.status.as_u16(), body.to_string(), told.task)
        };
        assert_eq!(told(Kind::Final, r#"{"a":1}"#), (200, r#"{"result":{"a":1}}"#.into(), None));
        assert_eq!(
            told(Kind::InputRequired, r#"{"resultType":"input_required","inputRequests":{"q":{}},"requestState":"s","_meta":{}}"#),
            (200, r#"{"status":"input_required","inputRequests":{"q":{}},"requestState":"s"}"#.into(), None)
        );
        assert_eq!(
            told(Kind::InputRequired, r#"{"requestState":"s"}"#),
            (200, r#"{"status":"input_required","requestState":"s"}"#.into(), None)
        );
        assert_eq!(
            told(Kind::Task, r#"{"resultType":"task","taskId":"t1","status":"working"}"#),
            (
                202,
                r#"{"status":"task","taskId":"t1","task":{"resultType":"task","taskId":"t1","status":"working"}}"#.into(),
                Some("t1".into())
            )
        );
        assert_eq!(Told::of(Given { kind: Kind::Task, result: "{}".into() }).err().map(|fault| fault.status), Some(500));
    }
}
