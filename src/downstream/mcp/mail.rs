//! `GET`: the stream of what a session is told without having asked, and the rest of a stream that was lost.

use super::{
    super::{Doors, Reply, Request, pulse::Pulse, reply},
    LAST_EVENT_ID,
    accept::Accept,
    refuse, session, text,
};
use crate::{
    hub::{
        Endpoint,
        session::{EventId, Mail, Replay, Resumed},
    },
    limits,
    protocol::{Body, sse},
};
use futures_util::stream;
use hyper::StatusCode;
use std::{collections::VecDeque, sync::Arc};

/// # Errors
/// 406 when events cannot be read, 409 when the session has such a stream already and this is no return to it, 400 for a return to
/// what is not kept, and those of the session.
pub(super) fn open(doors: &Arc<Doors>, endpoint: &Endpoint, request: &Request) -> Result<Reply, Reply> {
    let principal = request.caller()?;
    let headers = &request.parts.headers;
    if !Accept::of(headers).events {
        return Err(refuse::invalid(StatusCode::NOT_ACCEPTABLE, "Accept must list text/event-stream", None));
    }
    let session = session::find(doors, principal, endpoint, headers, None)?;
    let pulse = request.pulse.clone();
    let last = text(headers, &LAST_EVENT_ID).filter(|last| !last.is_empty());
    let reading = match last {
        None => {
            let taken = || refuse::invalid(StatusCode::CONFLICT, "This session has a stream open already", None);
            let mail = session.take_mail().ok_or_else(taken)?;
            Reading { frames: mail.prime().into_iter().collect(), source: Source::Mail(mail), pulse }
        }
        Some(last) => {
            let unknown = || refuse::invalid(StatusCode::BAD_REQUEST, "Last-Event-ID is of no stream that is kept", None);
            match EventId::parse(last).and_then(|id| session.resume(id)).ok_or_else(unknown)? {
                Resumed::Unasked(missed, mail) => Reading { frames: missed.into(), source: Source::Mail(mail), pulse },
                Resumed::Request(replay) => Reading { frames: VecDeque::new(), source: Source::Replay(replay), pulse },
            }
        }
    };
    Ok(reply::standing(stream::unfold(reading, |mut reading| async move { Some((reading.frame().await?, reading)) })))
}

/// A stream under way; dropped with its connection, which lets the session open another.
struct Reading {
    /// What comes first.
    frames: VecDeque<Body>,
    source: Source,
    pulse: Arc<Pulse>,
}

enum Source {
    Mail(Mail),
    Replay(Replay),
}

impl Source {
    /// Cancel-safe.
    async fn next(&mut self) -> Option<Body> {
        match self {
            Self::Mail(mail) => mail.next_event().await,
            Self::Replay(replay) => replay.next().await,
        }
    }
}

impl Reading {
    /// `None` at the stream's end, or when the session or the hub ends.
    async fn frame(&mut self) -> Option<Body> {
        if let Some(frame) = self.frames.pop_front() {
            return Some(frame);
        }
        // Nothing is allocated while there is nothing to say.
        self.frames = VecDeque::new();
        tokio::select! {
            biased;
            event = self.source.next() => event,
            () = self.pulse.alarm(limits::SSE_COMMENT) => Some(Body::one(sse::comment())),
        }
    }
}
