//! A call in which somebody may ask: the server its caller while it works (handshake era), or by a result that asks for input
//! (stateless era). What is said to whom is `bridge`'s; here are the connections. How a handshake client is asked: `conversation`.

use std::{future::Future, pin::Pin, sync::Arc};

use super::{
    Answer, Step,
    again::{self, Refused},
    carried::{Call, Kept, roots_for},
    conversation::Conversation,
    crossing::{OnWire, Turn},
    park::{self, Parking, Waiter},
    seal,
    task::{Seen, Tasking},
};
use crate::{
    bridge::{
        reissue::Needed,
        round::{self, InputRequired, Outcome},
        seal::What,
    },
    protocol::{Era, Kind, Message, Refusal, RequestId, Version},
    upstream::{Event, Exchange, Question},
};

pub(super) struct Talk {
    kept: Arc<Kept>,
    whose: Whose,
    /// How often the server refused for want of an opened page.
    refusals: u32,
    /// The task that the call has become, or may become.
    task: Option<Box<Tasking>>,
    is_again: bool,
    /// The request on its way to the server once more, which had refused to read it.
    resending: Option<Reopening>,
}

enum Whose {
    /// A stateless client: asked by results.
    Stateless,
    /// A handshake client: asked on its session.
    Session(Box<Conversation>),
}

impl Whose {
    /// By results: then the request as its client sent it is not what the server refused.
    fn has_been_asked(&self) -> bool {
        matches!(self, Self::Session(conversation) if conversation.has_asked_by_results())
    }
}

pub(super) type Reopening = Pin<Box<dyn Future<Output = Result<OnWire, Refusal>> + Send>>;

impl Talk {
    pub(super) fn new(kept: Arc<Kept>, refusals: u32, task: Option<Box<Tasking>>) -> Box<Self> {
        let whose = match &kept.session {
            None => Whose::Stateless,
            Some(session) => Whose::Session(Box::new(Conversation::new(&kept, session))),
        };
        Box::new(Self { kept, whose, refusals, task, is_again: false, resending: None })
    }

    /// Cancel-safe.
    pub(super) async fn next(&mut self, exchange: &mut Exchange, call: &Call, server: &mut Version, id: &RequestId) -> Turn {
        loop {
            let Self { kept, whose, refusals, task, is_again, resending } = self;
            if let Some(opening) = resending {
                let opened = opening.await;
                *resending = None;
                match opened {
                    Ok(on_wire) => {
                        (*exchange, *server, *task) = (on_wire.exchange, on_wire.version, on_wire.task);
                        call.begins_again();
                    }
                    Err(refusal) => return Turn::Step(Step::Answer(call.refused(refusal, id))),
                }
            }
            let turn = match whose {
                Whose::Stateless => next(exchange, task, kept, call).await,
                Whose::Session(conversation) => conversation.next(exchange, task, call, *server, id).await,
            };
            let event = match turn {
                Turn::Event(event @ (Event::Answer(_) | Event::Failed(_))) => event,
                turn => return turn,
            };
            // What a task has come to is no answer to the call: that was taken when it became one.
            let is_of_task = task.as_ref().is_some_and(|task| task.is_watching());
            match &event {
                Event::Answer(answer) if !*is_again && !is_of_task && !whose.has_been_asked() => {
                    if let Some(refused) = Refused::of(answer, *server, exchange) {
                        let kept = Arc::clone(kept);
                        *is_again = true;
                        *resending = Some(Box::pin(async move { again::resend(&kept, refused).await }));
                        continue;
                    }
                }
                _ => {}
            }
            return Turn::Step(Step::Answer(last(kept, *refusals, task, event, call, *server, id)));
        }
    }

    pub(super) fn park(call: Call, mut on_wire: OnWire, id: &RequestId, first: Question) -> Waiter {
        let Self { kept, task, .. } = *on_wire.talk.take().expect("only a call that may ask parks");
        park::park(Parking { call, id: id.clone(), kept, on_wire, first, task })
    }
}

/// Of a stateless client's call. Cancel-safe.
async fn next(exchange: &mut Exchange, task: &mut Option<Box<Tasking>>, kept: &Kept, call: &Call) -> Turn {
    loop {
        let event = tokio::select! {
            biased;
            event = exchange.next() => event,
            seen = watch(task) => match seen {
                Seen::Goes(text) => match call.own_progress(&text) {
                    Some(notice) => return Turn::Step(Step::Notice(notice)),
                    None => continue,
                },
                // Of tasks that only handshake clients' calls become.
                Seen::Asks(_) | Seen::Ended(_) | Seen::Late => continue,
            },
        };
        match event {
            Event::Question(question) => return Turn::Parks(question),
            event => match follow(task, event, exchange, kept, call.wants_progress()) {
                Some(event) => return Turn::Event(event),
                None => continue,
            },
        }
    }
}

pub(super) async fn watch(task: &mut Option<Box<Tasking>>) -> Seen {
    match task {
        Some(task) => task.watch().await,
        None => std::future::pending().await,
    }
}

/// `None`: the call has become a task that the hub looks at.
pub(super) fn follow(
    task: &mut Option<Box<Tasking>>,
    event: Event,
    exchange: &mut Exchange,
    kept: &Kept,
    wants_progress: bool,
) -> Option<Event> {
    match task {
        Some(task) => task.follow(event, exchange, kept, wants_progress),
        None => Some(event),
    }
}

/// The last event of a call in which nobody else can be asked.
pub(super) fn answer(event: Event, call: &Call, on_wire: &OnWire, id: &RequestId) -> Answer {
    if let (Event::Answer(answer), Some(asker)) = (&event, &on_wire.asker)
        && Outcome::of(answer) == Outcome::InputRequired
        && let Some(kept) = asker.kept(call)
    {
        return relay(&kept, answer, id).unwrap_or_else(|refusal| call.refused(refusal, id));
    }
    call.answer(event, id, on_wire.version)
}

/// The last event of a call as the answer to its client, which may be to ask it something, or to tell it of a task.
pub(super) fn last(
    kept: &Kept,
    refusals: u32,
    task: &mut Option<Box<Tasking>>,
    event: Event,
    call: &Call,
    server: Version,
    id: &RequestId,
) -> Answer {
    let Event::Answer(answer) = event else { return call.answer(event, id, server) };
    let mut naming = None;
    if let Some(task) = task {
        if let Some(created) = task.created(kept, &answer, (call, id, server)) {
            return created;
        }
        naming = task.naming();
        if naming.is_some() {
            task.end();
        }
    }
    let plainly = |answer| match naming {
        Some(naming) => call.answer_naming(Event::Answer(answer), id, server, Some(naming)),
        None => call.answer(Event::Answer(answer), id, server),
    };
    let asked = match server.era() {
        // A session was asked before.
        _ if kept.session.is_some() => return plainly(answer),
        Era::Stateless if Outcome::of(&answer) == Outcome::InputRequired => relay(kept, &answer, id),
        Era::Handshake if answer.kind() == Kind::Error => match Needed::read(&answer, refusals + 1) {
            Some(needed) => needed.check(kept.profile).map(|()| reissue(kept, needed, id)),
            None => return plainly(answer),
        },
        _ => return plainly(answer),
    };
    asked.unwrap_or_else(|refusal| call.refused(refusal, id))
}

/// A stateless server's question to a stateless client: its own state comes back sealed.
fn relay(kept: &Kept, answer: &Message, id: &RequestId) -> Result<Answer, Refusal> {
    let publish = kept.publisher();
    let mut asked = InputRequired::read(answer, publish.as_deref())?;
    let keys = if roots_for(&kept.server, kept.profile) { asked.take_roots()? } else { Vec::new() };
    let state = asked.state.as_deref().map(str::to_owned);
    let what = if keys.is_empty() { state.map(What::Relay) } else { Some(What::Rooted { state, keys }) };
    let state = what.map(|what| kept.seal(what, seal::RELAY));
    round::relay(&asked, kept.profile, id, state.as_deref()).map(Answer::ok)
}

/// `input_required` for pages that a user has to open before the server takes the request.
fn reissue(kept: &Kept, needed: Needed, id: &RequestId) -> Answer {
    let requests = needed.requests();
    let state = kept.seal(What::Reissue(needed), kept.hub().limits.parked_ttl);
    Answer::ok(round::input_required(id, &requests, Some(&state)))
}
