//! JSON-RPC arrays: only in sessions of 2025-03-26, the one revision that has them.

use super::{
    super::{Doors, Reply, Request, pulse::Pulse, reply},
    SESSION_ID,
    accept::Accept,
    answer::{self, Reader, Steps, Work},
    refuse, session,
};
use crate::{
    hub::{Crossing, Endpoint, Inbound, Outcome, Session, Step},
    limits,
    protocol::{Body, Era, Message, Method, Refusal, Version},
};
use bytes::{Bytes, BytesMut};
use futures_util::{
    StreamExt,
    future::{BoxFuture, FutureExt},
    stream::FuturesUnordered,
};
use hyper::StatusCode;
use serde_json::value::RawValue;
use std::sync::Arc;

/// Does an array begin here?
pub(super) fn is_one(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().first() == Some(&b'[')
}

/// The elements, checked as far as it concerns them all.
pub(super) struct Batch {
    session: Arc<Session>,
    inbounds: Vec<Inbound>,
    /// Answers to elements that are no messages.
    refused: Vec<Body>,
}

/// # Errors
/// 400 where arrays are not spoken, and for one that is empty, too long, no JSON, or holds `initialize` or a stateless request.
pub(super) fn admit(doors: &Doors, endpoint: &Endpoint, request: &Request, bytes: &Bytes) -> Result<Batch, Reply> {
    let invalid = |message: &str| refuse::invalid(StatusCode::BAD_REQUEST, message, None);
    let not_here = "Arrays of messages are part of 2025-03-26 only; send one message per request";
    let headers = &request.parts.headers;
    if !headers.contains_key(&SESSION_ID) {
        return Err(invalid(not_here));
    }
    let principal = request.caller()?;
    let session = session::find(doors, principal, endpoint, headers, None)?;
    if session.version() != Some(Version::V2025_03_26) {
        return Err(invalid(not_here));
    }
    let elements = split(bytes).map_err(|failure| match failure {
        Unsplit::NotJson => match Message::parse(bytes.clone()) {
            Err(failure) => refuse::with(&Refusal::from(failure)),
            Ok(_) => invalid("not a JSON array"),
        },
        Unsplit::Empty => invalid("An empty array holds no message"),
        Unsplit::TooLong => invalid("The array holds too many messages"),
    })?;
    let mut batch = Batch { session, inbounds: Vec::with_capacity(elements.len()), refused: Vec::new() };
    for element in elements {
        match Message::parse(element) {
            Ok(message) if message.method() == Method::Initialize => return Err(invalid("initialize must not be part of an array")),
            Ok(message) if message.scan().meta.protocol_version.is_some() => return Err(invalid(not_here)),
            Ok(message) => batch.inbounds.push(of_session(&batch.session, request, message)?),
            Err(failure) => batch.refused.push(Refusal::from(failure).to_body()),
        }
    }
    Ok(batch)
}

fn of_session(session: &Arc<Session>, request: &Request, message: Message) -> Result<Inbound, Reply> {
    let (caller, endpoint) = (request.caller()?.clone(), session.endpoint().clone());
    Ok(Inbound::new(caller, endpoint, message, Version::V2025_03_26, Some(session.clone())))
}

impl Batch {
    /// All at once; the answers in one array, or with what else is said in a stream. 202 when nothing is to be answered.
    pub(super) async fn answer(self, doors: &Arc<Doors>, accept: Accept, pulse: Arc<Pulse>) -> Reply {
        let mut answers = self.refused;
        let calls = Calls::default();
        for inbound in self.inbounds {
            match doors.hub.dispatch(inbound) {
                Outcome::Now(answer) => answers.push(answer.body),
                Outcome::Later(crossing) => calls.push(crossing),
                Outcome::Silent => {}
            }
        }
        let mut work = Work::new(calls, doors, Era::Handshake);
        while let Some(step) = work.next().await {
            match step {
                Step::Answer(answer) => answers.push(answer.body),
                Step::Notice(notice) if accept.events => {
                    let reader = Reader { accept, era: Era::Handshake, session: Some(self.session), pulse };
                    answers.push(notice);
                    return answer::streamed(work, &reader, answers);
                }
                Step::Notice(notice) => self.session.post(notice),
                Step::Cancelled => {}
            }
        }
        if answers.is_empty() { reply::status(StatusCode::ACCEPTED) } else { reply::json_body(StatusCode::OK, join(&answers)) }
    }
}

/// The requests of one array.
#[derive(Default)]
struct Calls(FuturesUnordered<BoxFuture<'static, (Step, Crossing)>>);

impl Calls {
    fn push(&self, mut crossing: Crossing) {
        self.0.push(async move { (crossing.next().await, crossing) }.boxed());
    }
}

impl Steps for Calls {
    async fn next(&mut self) -> Option<Step> {
        let (step, crossing) = self.0.next().await?;
        if matches!(step, Step::Notice(_)) {
            self.push(crossing);
        }
        Some(step)
    }
    fn is_over(&self) -> bool {
        self.0.is_empty()
    }
}

fn join(answers: &[Body]) -> Body {
    let mut array = BytesMut::with_capacity(answers.iter().map(|answer| answer.len() + 1).sum::<usize>() + 1);
    for (at, answer) in answers.iter().enumerate() {
        array.extend_from_slice(if at == 0 { b"[" } else { b"," });
        answer.pieces().iter().for_each(|piece| array.extend_from_slice(piece));
    }
    array.extend_from_slice(b"]");
    Body::one(array.freeze())
}

#[derive(Debug, PartialEq, Eq)]
enum Unsplit {
    NotJson,
    Empty,
    TooLong,
}

/// The elements' bytes, shared.
fn split(bytes: &Bytes) -> Result<Vec<Bytes>, Unsplit> {
    let elements: Vec<&RawValue> = serde_json::from_slice(bytes).map_err(|_| Unsplit::NotJson)?;
    match elements.len() {
        0 => Err(Unsplit::Empty),
        1..=limits::BATCH_MAX => Ok(elements.iter().map(|element| bytes.slice_ref(element.get().as_bytes())).collect()),
        _ => Err(Unsplit::TooLong),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_is_split_into_its_elements_byte_for_byte() {
        let bytes = Bytes::from_static(b" [ {\"id\": 1.0} ,\n[2], \"],[\" ] ");
        assert!(is_one(&bytes));
        let elements = split(&bytes).unwrap();
        assert_eq!(elements, [&b"{\"id\": 1.0}"[..], b"[2]", b"\"],[\""]);
    }
    #[test]
    fn empty_endless_and_broken_arrays_are_told_apart() {
        let long = format!("[{}0]", "0,".repeat(limits::BATCH_MAX));
        let full = format!("[{}0]", "0,".repeat(limits::BATCH_MAX - 1));
        assert_eq!(split(&Bytes::from("[]")), Err(Unsplit::Empty));
        assert_eq!(split(&Bytes::from(long)), Err(Unsplit::TooLong));
        assert_eq!(split(&Bytes::from(full)).map(|elements| elements.len()), Ok(limits::BATCH_MAX));
        assert_eq!(split(&Bytes::from("[1,")), Err(Unsplit::NotJson));
        assert_eq!(split(&Bytes::from("[1] 2")), Err(Unsplit::NotJson));
    }
    #[test]
    fn only_an_array_is_taken_for_one() {
        assert!(!is_one(b"{\"a\":[]}"));
        assert!(!is_one(b""));
        assert!(is_one(b"\r\n\t ["));
    }
}
