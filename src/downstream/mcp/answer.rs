//! From the hub's outcome to a response: plain JSON when the answer comes first, a stream only when there is something to stream.
//!
//! A stateless client that goes away cancels its call: the future here is dropped with the connection, and the crossing with it. A
//! handshake client does not: then the crossing moves into a task of its own (`Call::drop`) and runs to its end.

use super::{
    super::{Doors, Reply, pulse::Pulse, reply},
    SESSION_ID,
    accept::Accept,
    session_header,
};
use crate::{
    hub::{Answer, Crossing, Outcome, Step},
    limits,
    protocol::{Body, Era, sse},
};
use futures_util::stream;
use hyper::{
    StatusCode,
    header::{self, HeaderValue},
};
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

pub(super) async fn reply(doors: &Doors, pulse: &Arc<Pulse>, accept: Accept, era: Era, outcome: Outcome) -> Reply {
    match outcome {
        Outcome::Now(answer) => whole(answer, accept),
        Outcome::Silent => reply::status(StatusCode::ACCEPTED),
        Outcome::Later(crossing) => first(Call::new(crossing, era, &doors.tasks), pulse, accept).await,
    }
}

/// Waits for what decides the form of the response.
async fn first(mut call: Call, pulse: &Arc<Pulse>, accept: Accept) -> Reply {
    let mut patience = pulse.alarm(limits::SSE_UPGRADE);
    let mut is_patient = accept.events;
    loop {
        let step = tokio::select! {
            biased;
            step = call.next() => step,
            () = &mut patience, if is_patient => None,
        };
        match step {
            Some(Step::Answer(answer)) => return whole(answer, accept),
            Some(Step::Notice(notice)) if accept.events => return streamed(call, pulse, Some(notice)),
            // Who reads only JSON does without notices.
            Some(Step::Notice(_)) => is_patient = false,
            Some(Step::Cancelled) if accept.events => return reply::events(stream::empty()),
            Some(Step::Cancelled) => return reply::status(StatusCode::NO_CONTENT),
            None => return streamed(call, pulse, None),
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

/// Notices, then the answer, then the end; comments while nothing happens. Pulled by the connection: a client that reads slowly
/// slows its own call's notices down, and nothing is queued here.
fn streamed(call: Call, pulse: &Arc<Pulse>, notice: Option<Body>) -> Reply {
    let state = (call, pulse.clone(), notice.map(sse::message));
    reply::events(stream::unfold(state, |(mut call, pulse, frame)| async move {
        let frame = match frame {
            Some(frame) => frame,
            None if call.is_over() => return None,
            None => tokio::select! {
                biased;
                step = call.next() => match step? {
                    Step::Notice(body) => sse::message(body),
                    Step::Answer(answer) => sse::message(answer.body),
                    Step::Cancelled => return None,
                },
                () = pulse.alarm(limits::SSE_COMMENT) => Body::one(sse::comment()),
            },
        };
        Some((frame, (call, pulse, None)))
    }))
}

/// A crossing and what becomes of it when nobody waits any more.
pub(super) struct Call {
    /// Until its last step.
    crossing: Option<Crossing>,
    /// For calls that outlive their client.
    outlive: Option<TaskTracker>,
}
impl Call {
    pub(super) fn new(crossing: Crossing, era: Era, tasks: &TaskTracker) -> Self {
        Self { crossing: Some(crossing), outlive: (era == Era::Handshake).then(|| tasks.clone()) }
    }
    fn is_over(&self) -> bool {
        self.crossing.is_none()
    }
    /// Cancel-safe; `None` after the last step.
    pub(super) async fn next(&mut self) -> Option<Step> {
        let step = self.crossing.as_mut()?.next().await;
        if matches!(step, Step::Answer(_) | Step::Cancelled) {
            self.crossing = None;
        }
        Some(step)
    }
}
impl Drop for Call {
    fn drop(&mut self) {
        let (Some(mut crossing), Some(tasks)) = (self.crossing.take(), self.outlive.take()) else { return };
        // Without a runtime the hub is going down, and the call with it.
        let Ok(runtime) = Handle::try_current() else { return };
        tasks.spawn_on(async move { while let Step::Notice(_) = crossing.next().await {} }, &runtime);
    }
}
