//! `GET`: the stream of what a session is told without having asked.

use super::{
    super::{Doors, Reply, Request, pulse::Pulse, reply},
    accept::Accept,
    refuse, session,
};
use crate::{
    hub::{Endpoint, session::Mail},
    limits,
    protocol::{Body, sse},
};
use futures_util::stream;
use hyper::StatusCode;
use std::{future::Future, pin::Pin, sync::Arc};
use tokio_util::sync::WaitForCancellationFutureOwned;

/// # Errors
/// 406 when events cannot be read, 409 when the session has such a stream already, and those of the session.
pub(super) fn open(doors: &Arc<Doors>, endpoint: &Endpoint, request: &Request) -> Result<Reply, Reply> {
    let principal = request.caller()?;
    let headers = &request.parts.headers;
    if !Accept::of(headers).events {
        return Err(refuse::invalid(StatusCode::NOT_ACCEPTABLE, "Accept must list text/event-stream", None));
    }
    let session = session::find(doors, principal, endpoint, headers, None)?;
    let Some(mail) = session.take_mail() else {
        return Err(refuse::invalid(StatusCode::CONFLICT, "This session has a stream open already", None));
    };
    let reading =
        Reading { next: Box::pin(next(mail)), pulse: request.pulse.clone(), stopped: Box::pin(doors.stop.clone().cancelled_owned()) };
    Ok(reply::events(stream::unfold(reading, |mut reading| async move { Some((reading.frame().await?, reading)) })))
}

/// A stream under way; dropped with its connection, which lets the session open another.
struct Reading {
    /// Kept over comments: a message that is being collected must not be lost to one.
    next: Pin<Box<Next>>,
    pulse: Arc<Pulse>,
    stopped: Pin<Box<WaitForCancellationFutureOwned>>,
}
type Next = dyn Future<Output = Option<(Body, Mail)>> + Send;
impl Reading {
    /// `None` when the session or the hub ends.
    async fn frame(&mut self) -> Option<Body> {
        tokio::select! {
            biased;
            () = &mut self.stopped => None,
            message = &mut self.next => {
                let (message, mail) = message?;
                self.next = Box::pin(next(mail));
                Some(sse::message(message))
            }
            () = self.pulse.alarm(limits::SSE_COMMENT) => Some(Body::one(sse::comment())),
        }
    }
}

async fn next(mut mail: Mail) -> Option<(Body, Mail)> {
    let message = mail.next().await?;
    Some((message, mail))
}
