//! From the hub's outcome to a response: plain JSON when the answer comes first, a stream only when there is something to stream.
//!
//! A stateless client that goes away cancels its call: the future here is dropped with the connection, and the crossing with it. A
//! handshake client does not: then what is under way moves into a task of its own (`Work::drop`) and runs to its end; what it says
//! of a stream that had begun is kept for the client to come back.

use super::{
    super::{Doors, Reply, pulse::Pulse, reply},
    SESSION_ID,
    accept::Accept,
    refuse, session_header,
};
use crate::{
    hub::{Answer, Crossing, Outcome, Session, Step, session::Recorder},
    limits,
    protocol::{Body, Era, sse},
};
use futures_util::stream;
use hyper::{
    StatusCode,
    header::{self, HeaderValue},
};
use std::{collections::VecDeque, future::Future, sync::Arc};
use tokio::runtime::Handle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Who reads the response.
pub(super) struct Reader {
    pub(super) accept: Accept,
    pub(super) era: Era,
    pub(super) session: Option<Arc<Session>>,
    pub(super) pulse: Arc<Pulse>,
}

pub(super) async fn reply(doors: &Doors, reader: Reader, outcome: Outcome) -> Reply {
    match outcome {
        Outcome::Now(answer) => whole(answer, reader.accept),
        Outcome::Silent => reply::status(StatusCode::ACCEPTED),
        Outcome::Later(crossing) if crossing.is_listen() && reader.accept.events => listening(crossing, reader.pulse, doors.stop.clone()),
        Outcome::Later(crossing) if crossing.is_listen() => {
            let message = "A subscription is told of by events: Accept must list text/event-stream";
            refuse::invalid(StatusCode::NOT_ACCEPTABLE, message, Some(crossing.id().clone()))
        }
        Outcome::Later(crossing) => first(Work::new(Call(Some(crossing)), doors, reader.era), &reader).await,
    }
}

/// Waits for what decides the form of the response.
async fn first(mut work: Work<Call>, reader: &Reader) -> Reply {
    let accept = reader.accept;
    let mut patience = reader.pulse.alarm(limits::SSE_UPGRADE);
    let mut is_patient = accept.events;
    loop {
        let step = tokio::select! {
            biased;
            step = work.next() => step,
            () = &mut patience, if is_patient => None,
        };
        match step {
            Some(Step::Answer(answer)) => return whole(answer, accept),
            Some(Step::Notice(notice)) if accept.events => return streamed(work, reader, [notice]),
            // Who reads only JSON does without notices.
            Some(Step::Notice(_)) => is_patient = false,
            Some(Step::Cancelled) if accept.events => return reply::events(stream::empty()),
            Some(Step::Cancelled) => return reply::status(StatusCode::NO_CONTENT),
            None => return streamed(work, reader, []),
        }
    }
}

/// The answer alone.
fn whole(answer: Answer, accept: Accept) -> Reply {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let mut reply = if accept.json || status != StatusCode::OK {
        reply::json_body(status, answer.body)
    } else {
        reply::events(stream::iter([sse::message(answer.body)]))
    };
    if status == StatusCode::TOO_MANY_REQUESTS {
        reply.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if let Some(id) = answer.session.and_then(|session| session_header(session.as_str())) {
        reply.headers_mut().insert(SESSION_ID.clone(), id);
    }
    reply
}

/// These messages, then what follows, then the end; comments while nothing happens. Pulled by the connection: a client that reads
/// slowly slows its own calls' notices down, and nothing is queued here.
pub(super) fn streamed<S: Steps>(mut work: Work<S>, reader: &Reader, messages: impl IntoIterator<Item = Body>) -> Reply {
    work.recorder = reader.session.as_ref().and_then(|session| session.recorder());
    let prime = work.recorder.as_ref().and_then(Recorder::prime);
    let frames: VecDeque<Body> = prime.into_iter().chain(messages.into_iter().map(|message| work.frame(message))).collect();
    let state = (work, reader.pulse.clone(), frames);
    reply::events(stream::unfold(state, |(mut work, pulse, mut frames)| async move {
        let frame = loop {
            if let Some(frame) = frames.pop_front() {
                break frame;
            }
            if work.is_over() || work.is_replaced() {
                return None;
            }
            tokio::select! {
                biased;
                step = work.next() => match step {
                    Some(Step::Notice(body)) => frames.push_back(work.frame(body)),
                    Some(Step::Answer(answer)) => frames.push_back(work.frame(answer.body)),
                    Some(Step::Cancelled) | None => {}
                },
                () = pulse.alarm(limits::SSE_COMMENT) => break Body::one(sse::comment()),
            }
            if work.is_replaced() {
                return None;
            }
        };
        Some((frame, (work, pulse, frames)))
    }))
}

/// A stream from its first moment, which the hub ends only when it stops. The client ends it by closing, as it cancels any call.
fn listening(crossing: Crossing, pulse: Arc<Pulse>, stop: CancellationToken) -> Reply {
    let state = (Some(crossing), pulse, stop);
    let stream = stream::unfold(state, |(mut crossing, pulse, stop)| async move {
        let listen = crossing.as_mut()?;
        let (frame, is_last) = tokio::select! {
            biased;
            step = listen.next() => match step {
                Step::Notice(body) => (sse::message(body), false),
                Step::Answer(answer) => (sse::message(answer.body), true),
                Step::Cancelled => return None,
            },
            () = stop.cancelled() => (sse::message(listen.farewell().body), true),
            () = pulse.alarm(limits::SSE_COMMENT) => (Body::one(sse::comment()), false),
        };
        Some((frame, (crossing.filter(|_| !is_last), pulse, stop)))
    });
    reply::standing(stream)
}

/// What is under way for one POST.
pub(super) trait Steps: Send + 'static {
    /// What comes next, of any of its calls; cancel-safe. `None` when all are over.
    fn next(&mut self) -> impl Future<Output = Option<Step>> + Send;
    fn is_over(&self) -> bool;
}

/// One request.
pub(super) struct Call(Option<Crossing>);

impl Steps for Call {
    async fn next(&mut self) -> Option<Step> {
        let step = self.0.as_mut()?.next().await;
        if !matches!(step, Step::Notice(_)) {
            self.0 = None;
        }
        Some(step)
    }
    fn is_over(&self) -> bool {
        self.0.is_none()
    }
}

/// What is under way, and what becomes of it when nobody waits any more.
pub(super) struct Work<S: Steps> {
    /// Until its last step.
    steps: Option<S>,
    /// For calls that outlive their client.
    outlive: Option<TaskTracker>,
    /// Once there is a stream that can be resumed.
    recorder: Option<Recorder>,
}
impl<S: Steps> Work<S> {
    pub(super) fn new(steps: S, doors: &Doors, era: Era) -> Self {
        let outlive = (era == Era::Handshake).then(|| doors.tasks.clone());
        Self { steps: Some(steps), outlive, recorder: None }
    }
    fn is_over(&self) -> bool {
        self.steps.is_none()
    }
    /// Cancel-safe; `None` after the last step.
    pub(super) async fn next(&mut self) -> Option<Step> {
        let step = self.steps.as_mut()?.next().await;
        if self.steps.as_ref().is_some_and(S::is_over) {
            self.steps = None;
        }
        step
    }
    fn frame(&self, message: Body) -> Body {
        match &self.recorder {
            Some(recorder) => recorder.record(message),
            None => sse::message(message),
        }
    }
    fn is_replaced(&self) -> bool {
        self.recorder.as_ref().is_some_and(Recorder::is_replaced)
    }
}
impl<S: Steps> Drop for Work<S> {
    fn drop(&mut self) {
        let (Some(mut steps), Some(tasks)) = (self.steps.take(), self.outlive.take()) else { return };
        // Without a runtime the hub is going down, and the call with it.
        let Ok(runtime) = Handle::try_current() else { return };
        let recorder = self.recorder.take();
        let outlive = async move {
            while let Some(step) = steps.next().await {
                if let (Step::Notice(body) | Step::Answer(Answer { body, .. }), Some(recorder)) = (step, &recorder) {
                    recorder.record(body);
                }
            }
        };
        tasks.spawn_on(outlive, &runtime);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{downstream::watch::Watch, protocol::RequestId};
    use http_body_util::BodyExt;

    async fn next(reply: &mut Reply) -> Option<String> {
        let frame = reply.body_mut().frame().await?.ok()?;
        Some(String::from_utf8(frame.into_data().ok()?.to_vec()).unwrap())
    }

    fn listen() -> (tokio::sync::mpsc::UnboundedSender<Step>, Reply, CancellationToken, crate::downstream::watch::Place) {
        let (steps, crossing) = Crossing::scripted(RequestId::from_number(7), true);
        let place = Watch::start(1).admit().unwrap();
        let stop = CancellationToken::new();
        let reply = listening(crossing, place.pulse().clone(), stop.clone());
        (steps, reply, stop, place)
    }

    #[tokio::test]
    async fn a_listen_is_a_stream_before_anything_is_said_and_ends_with_its_answer() {
        let (steps, mut reply, _stop, _place) = listen();
        assert!(reply.status() == StatusCode::OK && reply.headers()["content-type"] == "text/event-stream");
        steps.send(Step::Notice(Body::one("{}".into()))).unwrap();
        assert_eq!(next(&mut reply).await.unwrap(), "event: message\ndata: {}\n\n");
        steps.send(Step::Answer(Answer::ok(Body::one("[]".into())))).unwrap();
        assert_eq!(next(&mut reply).await.unwrap(), "event: message\ndata: []\n\n");
        assert_eq!(next(&mut reply).await, None);
        assert!(steps.is_closed(), "the crossing is gone");
    }

    #[tokio::test]
    async fn a_stopping_hub_ends_a_listen_with_its_result_and_a_client_by_leaving() {
        let (_steps, mut reply, stop, _place) = listen();
        stop.cancel();
        let result = concat!(
            r#"{"jsonrpc":"2.0","id":7,"result":{"resultType":"complete","_meta":{"io.modelcontextprotocol/subscriptionId":7,"#,
            r#""io.modelcontextprotocol/serverInfo":{"name":"mcp-hub","version":""#,
            env!("CARGO_PKG_VERSION"),
            r#""}}}}"#
        );
        let mut told = String::new();
        while let Some(part) = next(&mut reply).await {
            told.push_str(&part);
        }
        assert_eq!(told, format!("event: message\ndata: {result}\n\n"));
        let (steps, reply, _stop, _place) = listen();
        drop(reply);
        assert!(steps.is_closed());
    }
}
