//! The state of one request under way: `opening` (waiting for an instance) → `carrying` (on the wire) → ended. Dropping it at
//! any point cancels: an unopened call is never sent, an open one is cancelled at its server, once.

use std::{future::Future, pin::Pin};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::{Answer, Inbound, Outcome, call, session::CallEntry};
use crate::{
    access::Permit,
    bridge::incoming,
    protocol::{Body, Method, Refusal, RequestId, Version, code::Code},
    upstream::{Event, Exchange},
};

/// What comes back for a request, in order: any number of notices, then one of the others.
pub enum Step {
    /// A notification for this client.
    Notice(Body),
    /// The one answer.
    Answer(Answer),
    /// The client cancelled the request: it gets no answer.
    Cancelled,
}

/// A request under way.
pub struct Crossing {
    id: RequestId,
    state: State,
    /// Set for clients that can cancel by id.
    cancel: Option<CallEntry>,
    is_listen: bool,
}

/// The id of a request, which is its own until it is answered.
pub(super) struct Claim {
    id: RequestId,
    cancel: Option<CallEntry>,
    is_listen: bool,
}

impl Claim {
    /// To be taken before anything is done: a request that is refused for its id must have had no effect.
    ///
    /// # Errors
    /// The answer to one whose id is in use by another of its session.
    pub(super) fn take(inbound: &Inbound) -> Result<Self, Answer> {
        let id = inbound.id();
        let cancel = match inbound.session.as_ref().map(|session| session.enter(&id)) {
            None => None,
            Some(Some(entry)) => Some(entry),
            Some(None) => {
                let refusal = Refusal::new(Code::InvalidRequest, 400, format!("id {id} is in use by a request without an answer"));
                return Err(Answer { status: 400, body: refusal.with_id(Some(id)).to_body(), session: None, is_hubs: true });
            }
        };
        Ok(Self { id, cancel, is_listen: inbound.message.method() == Method::SubscriptionsListen })
    }
}

type Opening = Pin<Box<dyn Future<Output = Result<OnWire, Refusal>> + Send>>;
type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

#[expect(clippy::large_enum_variant, reason = "the large one is the usual one, and a box would be an allocation per call")]
enum State {
    /// An answer that takes no server call of its own.
    Answering(Answering),
    Opening(Call, Opening),
    Carrying(Call, OnWire),
    #[cfg(test)]
    Scripted(tokio::sync::mpsc::UnboundedReceiver<Step>),
    Ended,
}

/// A call at its server, and the revision spoken there.
pub(super) struct OnWire {
    pub(super) exchange: Exchange,
    pub(super) version: Version,
}

/// What of the caller is needed until the answer.
pub(super) struct Call {
    client: Version,
    /// The client's own progress token, raw JSON.
    progress: Option<Bytes>,
    _permit: Permit,
}

impl Call {
    pub(super) fn new(inbound: &Inbound, permit: Permit) -> Self {
        let message = &inbound.message;
        let token = message.scan().meta.progress_token;
        Self { client: inbound.client, progress: token.map(|member| message.share(member.value)), _permit: permit }
    }
}

impl Crossing {
    pub(super) fn answering(claim: Claim, answer: Answering) -> Outcome {
        Self::start(claim, State::Answering(answer))
    }

    pub(super) fn opening(claim: Claim, call: Call, opening: Opening) -> Outcome {
        Self::start(claim, State::Opening(call, opening))
    }

    pub(super) fn carrying(claim: Claim, call: Call, on_wire: OnWire) -> Outcome {
        Self::start(claim, State::Carrying(call, on_wire))
    }

    fn start(Claim { id, cancel, is_listen }: Claim, state: State) -> Outcome {
        Outcome::Later(Self { id, state, cancel, is_listen })
    }

    /// One that does as it is told, for the doors' tests.
    #[cfg(test)]
    pub(crate) fn scripted(id: RequestId, is_listen: bool) -> (tokio::sync::mpsc::UnboundedSender<Step>, Self) {
        let (steps, script) = tokio::sync::mpsc::unbounded_channel();
        (steps, Self { id, state: State::Scripted(script), cancel: None, is_listen })
    }

    pub fn id(&self) -> &RequestId {
        &self.id
    }

    /// A `subscriptions/listen`: it lasts until either side ends it, so it is no work that anybody waits for.
    pub fn is_listen(&self) -> bool {
        self.is_listen
    }

    /// The answer with which the hub ends a `subscriptions/listen` (MCP 2026-07-28, subscriptions).
    pub fn farewell(&self) -> Answer {
        let id = &self.id;
        let result = format!(r#"{{"resultType":"complete","_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}}}"#);
        Answer::result(id, result.into())
    }

    /// What comes next. Cancel-safe. After `Answer` or `Cancelled` nothing follows: it pends forever.
    pub async fn next(&mut self) -> Step {
        let cancelled = self.cancel.as_ref().map(|entry| entry.token().clone());
        let step = tokio::select! {
            biased;
            step = advance(&mut self.state, &self.id) => step,
            () = wait(cancelled) => Step::Cancelled,
        };
        if !matches!(step, Step::Notice(_)) {
            // Lets go of the permit, the exchange and the id at once, not when the door is done writing.
            self.state = State::Ended;
            self.cancel = None;
        }
        step
    }
}

async fn wait(cancelled: Option<CancellationToken>) {
    match cancelled {
        Some(token) => token.cancelled().await,
        None => std::future::pending().await,
    }
}

async fn advance(state: &mut State, id: &RequestId) -> Step {
    loop {
        match state {
            State::Answering(answer) => return Step::Answer(answer.await),
            State::Opening(_, opening) => {
                let opened = opening.await;
                match (opened, std::mem::replace(state, State::Ended)) {
                    (Ok(on_wire), State::Opening(call, _)) => *state = State::Carrying(call, on_wire),
                    (Err(refusal), State::Opening(call, _)) => return Step::Answer(refused(refusal, id, call.client)),
                    _ => unreachable!("the state was Opening above"),
                }
            }
            State::Carrying(call, on_wire) => match on_wire.exchange.next().await {
                Event::Progress(note) => {
                    if let Some(token) = &call.progress {
                        return Step::Notice(incoming::progress(&note, token));
                    }
                }
                Event::Note(_) | Event::Question(_) | Event::Withdrawn(_) => {}
                Event::Answer(answer) => {
                    let carried = incoming::tool_answer(&answer, id, call.client, on_wire.version);
                    return Step::Answer(carried.map_or_else(|refusal| refused(refusal, id, call.client), Answer::ok));
                }
                Event::Failed(error) => return Step::Answer(refused(call::failed(&error), id, call.client)),
            },
            #[cfg(test)]
            State::Scripted(steps) => match steps.recv().await {
                Some(step) => return step,
                None => *state = State::Ended,
            },
            State::Ended => std::future::pending().await,
        }
    }
}

fn refused(refusal: Refusal, id: &RequestId, client: Version) -> Answer {
    Answer::refused(&refusal.with_id(Some(id.clone())), client.era())
}
