//! The state of one request under way: `opening` (waiting for an instance) → `carrying` (on the wire) → ended. Dropping it at
//! any point cancels: an unopened call is never sent, an open one is cancelled at its server, once.
//!
//! What crosses no era and asks nothing stays in `carrying` and needs nothing else. A call that may ask its caller, or be asked for
//! input, has a `Talk` beside it.

use std::{future::Future, pin::Pin};

use tokio_util::sync::CancellationToken;

use super::{
    Answer, Inbound, Outcome, again,
    carried::{Asker, Call},
    listen::Listening,
    park::Waiter,
    session::CallEntry,
    talk::{self, Talk},
    task::Tasking,
};
use crate::{
    bridge::incoming,
    protocol::{Body, Refusal, RequestId, Version, code::Code},
    upstream::{Event, Exchange},
};

/// What comes back for a request, in order: any number of notices, then one of the others.
pub enum Step {
    /// A notification or a request of the hub's for this client.
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
        Ok(Self { id, cancel })
    }
}

pub(super) type Opening = Pin<Box<dyn Future<Output = Result<(Call, OnWire), Refusal>> + Send>>;
type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

#[expect(clippy::large_enum_variant, reason = "the large one is the usual one, and a box would be an allocation per call")]
enum State {
    /// An answer that takes no server call of its own.
    Answering(Answering),
    Opening(Version, Opening),
    Carrying(Call, OnWire),
    /// A task has the call, which its server asks something.
    Parked(Waiter),
    Listening(Box<Listening>),
    #[cfg(test)]
    Scripted(tokio::sync::mpsc::UnboundedReceiver<Step>),
    Ended,
}

/// A call at its server, and the revision spoken there.
pub(super) struct OnWire {
    pub(super) exchange: Exchange,
    pub(super) version: Version,
    /// For calls that may ask.
    pub(super) talk: Option<Box<Talk>>,
    /// For calls between stateless peers, whose answer may be a question.
    pub(super) asker: Option<Asker>,
    /// For calls that may become tasks, until the talk has it.
    pub(super) task: Option<Box<Tasking>>,
    /// Sent once more, since the hub was wrong about the server.
    pub(super) is_again: bool,
    /// How often the hub answered itself what the server asked by results.
    pub(super) rounds: u32,
}

impl Crossing {
    pub(super) fn answering(claim: Claim, answer: Answering) -> Outcome {
        Self::start(claim, State::Answering(answer))
    }

    pub(super) fn opening(claim: Claim, client: Version, opening: Opening) -> Outcome {
        Self::start(claim, State::Opening(client, opening))
    }

    pub(super) fn carrying(claim: Claim, call: Call, on_wire: OnWire) -> Outcome {
        Self::start(claim, State::Carrying(call, on_wire))
    }

    pub(super) fn parked(claim: Claim, waiter: Waiter) -> Outcome {
        Self::start(claim, State::Parked(waiter))
    }

    pub(super) fn listening(claim: Claim, listening: Listening) -> Outcome {
        Self::start(claim, State::Listening(Box::new(listening)))
    }

    fn start(Claim { id, cancel }: Claim, state: State) -> Outcome {
        let is_listen = matches!(state, State::Listening(_));
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
        Answer::ok(incoming::listen_ended(&self.id))
    }

    /// What comes next. Cancel-safe. After `Answer` or `Cancelled` nothing follows: it pends forever.
    pub async fn next(&mut self) -> Step {
        let cancelled = self.cancel.as_ref().map(|entry| entry.token().clone());
        let step = tokio::select! {
            biased;
            step = advance(&mut self.state, &self.id) => step,
            () = wait(cancelled) => Step::Cancelled,
        };
        if matches!(step, Step::Cancelled)
            && let Some(reason) = self.cancel.as_ref().and_then(CallEntry::reason)
        {
            match &mut self.state {
                State::Carrying(_, on_wire) => on_wire.exchange.cancel(&reason),
                State::Parked(waiter) => waiter.leave(reason),
                _ => {}
            }
        }
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
            State::Opening(client, opening) => match opening.await {
                Ok((call, on_wire)) => *state = State::Carrying(call, on_wire),
                Err(refusal) => return Step::Answer(Answer::refused(&refusal.with_id(Some(id.clone())), client.era())),
            },
            State::Carrying(call, on_wire) => {
                let event = match &mut on_wire.talk {
                    None => on_wire.exchange.next().await,
                    Some(talk) => match talk.next(&mut on_wire.exchange, call, &mut on_wire.version, id).await {
                        Turn::Event(event) => event,
                        Turn::Step(step) => return step,
                        Turn::Parks(first) => {
                            let State::Carrying(call, on_wire) = std::mem::replace(state, State::Ended) else {
                                unreachable!("the state was Carrying above")
                            };
                            *state = State::Parked(Talk::park(call, on_wire, id, first));
                            continue;
                        }
                    },
                };
                match event {
                    Event::Progress(_) | Event::Note(_) => {
                        if let Some(notice) = call.notice(&event) {
                            return Step::Notice(notice);
                        }
                    }
                    // Nobody can be asked: the server learns it as its question is dropped.
                    Event::Question(_) | Event::Withdrawn(_) => {}
                    Event::Answer(_) | Event::Failed(_) => match again::due(&event, call, on_wire) {
                        None => return Step::Answer(talk::answer(event, call, on_wire, id)),
                        Some(due) => {
                            let State::Carrying(call, _) = std::mem::replace(state, State::Ended) else {
                                unreachable!("the state was Carrying above")
                            };
                            *state = State::Opening(call.client, due.open(call));
                        }
                    },
                }
            }
            State::Parked(waiter) => return waiter.next().await,
            State::Listening(listening) => return listening.next(id).await,
            #[cfg(test)]
            State::Scripted(steps) => match steps.recv().await {
                Some(step) => return step,
                None => *state = State::Ended,
            },
            State::Ended => std::future::pending().await,
        }
    }
}

/// What a call that may ask comes to next.
pub(super) enum Turn {
    /// For the crossing itself.
    Event(Event),
    Step(Step),
    /// The server asks a stateless client.
    Parks(crate::upstream::Question),
}
