//! Requests that are sent once more though nobody was asked anything. A stateless server would not read one because of what the hub
//! knows of it (`-32020`, `-32022`; MCP 2026-07-28, Streamable HTTP, Versioning): it certainly did not run, so the hub mends what it
//! knows and sends it again, once.
//!
//! Nothing is kept for this: what of a request may be needed after its answer is kept for questions anyway (`Asker`, `Talk`).

use tokio::time::Instant;

use super::{
    carried::{Call, Kept},
    crossing::{OnWire, Opening},
    resume,
};
use crate::{
    protocol::{Era, Kind, Message, Refusal, Version, code::Code},
    upstream::Event,
};

/// What the hub was wrong about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stale {
    /// The arguments that headers repeat.
    Headers,
    /// The revision. Its connection is over, and the next finds out.
    Version,
}

impl Stale {
    /// `None`: the server meant something else.
    pub(super) fn of(answer: &Message, server: Version) -> Option<Self> {
        if answer.kind() != Kind::Error || server.era() != Era::Stateless {
            return None;
        }
        let code: i64 = std::str::from_utf8(answer.token(answer.scan().error_code?)).ok()?.parse().ok()?;
        match code {
            _ if code == Code::HeaderMismatch.number() => Some(Self::Headers),
            _ if code == Code::UnsupportedVersion.number() => Some(Self::Version),
            _ => None,
        }
    }

    /// Brings up to date what the hub knows. Where it cannot, the next answer tells.
    async fn mend(self, kept: &Kept, then: Instant) {
        match self {
            Self::Headers => drop(kept.server.refresh_since(then).await),
            Self::Version => {}
        }
    }
}

/// The same request, with what its client said the first time. Waits for an instance and for room.
///
/// # Errors
/// What to tell the caller, without id.
pub(super) async fn resend(kept: &Kept, stale: Stale, then: Instant) -> Result<OnWire, Refusal> {
    let again = resume::said(kept)?;
    stale.mend(kept, then).await;
    kept.open(again.inputs()).await
}

/// The last event of a call between stateless peers, if it is to be sent once more.
pub(super) fn due(event: &Event, call: &Call, on_wire: &OnWire) -> Option<Due> {
    let Event::Answer(answer) = event else { return None };
    let asker = on_wire.asker.as_ref().filter(|_| !on_wire.is_again)?;
    let stale = Stale::of(answer, on_wire.version)?;
    Some(Due { kept: asker.kept(call)?, stale, then: Instant::now() })
}

pub(super) struct Due {
    kept: Kept,
    stale: Stale,
    then: Instant,
}

impl Due {
    pub(super) fn open(self, mut call: Call) -> Opening {
        Box::pin(async move {
            let Self { kept, stale, then } = self;
            let on_wire = resend(&kept, stale, then).await?;
            let on_wire = kept.carried_on(&mut call, OnWire { is_again: true, ..on_wire });
            Ok((call, on_wire))
        })
    }
}
