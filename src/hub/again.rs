//! Requests that are sent once more though nobody was asked anything. A stateless server would not read one because of what the hub
//! knows of it (`-32020`, `-32022`; MCP 2026-07-28, Streamable HTTP, Versioning): it certainly did not run, so the hub mends what it
//! knows and sends it again, once. Or one asked for the roots alone, which the hub knows where the client has none (`roots` of an entry).
//!
//! Nothing is kept for this: what of a request may be needed after its answer is kept for questions anyway (`Asker`, `Talk`).

use std::borrow::Cow;

use tokio::time::Instant;

use super::{
    call::failed,
    carried::{Call, Kept},
    crossing::{OnWire, Opening},
    resume,
};
use crate::{
    bridge::{
        outgoing::Inputs,
        round::{self, InputRequired, Outcome},
    },
    limits,
    protocol::{Era, Kind, Message, Refusal, Version, code::Code},
    upstream::{Event, Exchange},
};

/// What the hub was wrong about, and where it learnt that.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refused {
    stale: Stale,
    connection: u64,
    then: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stale {
    /// The arguments that headers repeat.
    Headers,
    /// The revision.
    Version,
}

impl Refused {
    /// Now. `None`: the server meant something else.
    pub(super) fn of(answer: &Message, server: Version, exchange: &Exchange) -> Option<Self> {
        Some(Self { stale: Stale::of(answer, server)?, connection: exchange.connection(), then: Instant::now() })
    }

    /// Brings up to date what the hub knows. Where it cannot, the next answer tells.
    ///
    /// # Errors
    /// Nothing that could be sent would be read.
    async fn mend(self, kept: &Kept) -> Result<(), Refusal> {
        match self.stale {
            Stale::Headers => drop(kept.server.refresh_since(self.then).await),
            Stale::Version => kept.server.renegotiate(self.connection, self.then).await.map_err(|error| failed(&error))?,
        }
        Ok(())
    }
}

impl Stale {
    fn of(answer: &Message, server: Version) -> Option<Self> {
        if answer.kind() != Kind::Error || server.era() != Era::Stateless {
            return None;
        }
        match answer.error_code()? {
            code if code == Code::HeaderMismatch.number() => Some(Self::Headers),
            code if code == Code::UnsupportedVersion.number() => Some(Self::Version),
            _ => None,
        }
    }
}

/// The same request, with what its client said the first time. Waits for an instance and for room.
///
/// # Errors
/// What to tell the caller, without id.
pub(super) async fn resend(kept: &Kept, refused: Refused) -> Result<OnWire, Refusal> {
    let again = resume::said(kept)?;
    refused.mend(kept).await?;
    kept.open(again.inputs()).await
}

/// The last event of a call between stateless peers, if it is to be sent once more.
pub(super) fn due(event: &Event, call: &Call, on_wire: &OnWire) -> Option<Due> {
    let (Event::Answer(answer), Some(asker)) = (event, &on_wire.asker) else { return None };
    match answer.kind() {
        Kind::Error if !on_wire.is_again => {
            let refused = Refused::of(answer, on_wire.version, &on_wire.exchange)?;
            Some(Due { kept: asker.kept(call)?, why: Why::Refused(refused), is_again: true, rounds: on_wire.rounds })
        }
        Kind::Result if on_wire.rounds < limits::ROUNDS_MAX && Outcome::of(answer) == Outcome::InputRequired => {
            let kept = asker.kept(call)?;
            let roots = kept.roots()?;
            let mut asked = InputRequired::read(answer, None).ok()?;
            let keys = asked.take_roots().ok()?;
            let state = asked.state.map(Cow::into_owned);
            let responses = round::with_roots(None, &keys, &roots);
            let is_all = asked.asked.is_empty() && !keys.is_empty();
            is_all.then(|| Due { kept, why: Why::Roots { responses, state }, is_again: on_wire.is_again, rounds: on_wire.rounds + 1 })
        }
        _ => None,
    }
}

pub(super) struct Due {
    kept: Kept,
    why: Why,
    is_again: bool,
    rounds: u32,
}

enum Why {
    Refused(Refused),
    /// The server asks for nothing but the roots, and the client has none of its own.
    Roots {
        responses: String,
        state: Option<String>,
    },
}

impl Due {
    pub(super) fn open(self, mut call: Call) -> Opening {
        Box::pin(async move {
            let Self { kept, why, is_again, rounds } = self;
            let on_wire = match why {
                Why::Refused(refused) => resend(&kept, refused).await?,
                Why::Roots { responses, state } => kept.open(Inputs::Put { responses: Some(&responses), state: state.as_deref() }).await?,
            };
            let on_wire = kept.carried_on(&mut call, OnWire { is_again, rounds, ..on_wire });
            Ok((call, on_wire))
        })
    }
}
