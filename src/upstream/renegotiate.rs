//! A stateless child that refuses the revision it is spoken to in (`-32022`; MCP 2026-07-28, versioning): it is asked on its own pipe what
//! it speaks now. On that pipe it can be spoken to in no other way (its era is that of the first word), so one that speaks only revisions
//! of the handshake era is replaced: the next process finds out, as at every start.

use tokio::time::{Instant, timeout};

use super::{
    Server, UpstreamError,
    child::probe::{Spoken, read_spoken},
    wire::Wire,
};
use crate::{
    mux::Deadline,
    protocol::{Version, code::Reason},
};

/// The last verdict: of which connection, and when it was begun.
#[derive(Debug)]
pub(super) struct Verdict {
    connection: u64,
    begun: Instant,
    told: Result<(), UpstreamError>,
}

impl Server {
    /// Of the server on this connection, which refused a revision `then`; of many who were refused at once, one asks. `Ok`: whatever is
    /// sent next is spoken as the server speaks, as far as anybody knows.
    ///
    /// # Errors
    /// It speaks no revision that the hub knows.
    pub async fn renegotiate(&self, connection: u64, then: Instant) -> Result<(), UpstreamError> {
        let Some((instance, _)) = self.ready.load().instance_of(connection) else { return Ok(()) };
        // A remote server's connection is over with the refusal.
        let Wire::Pipe(_) = &instance.link else { return Ok(()) };
        let mut last = self.renegotiated.lock().await;
        if let Some(verdict) = last.as_ref().filter(|verdict| verdict.connection == connection && verdict.begun > then) {
            return verdict.told.clone();
        }
        let begun = Instant::now();
        let patience = self.settings.timeouts.call;
        let deadline = Deadline { call: patience, call_max: patience };
        let asked = timeout(patience, instance.link.request("server/discover", "{}", Version::STATELESS, deadline)).await;
        let told = match asked.ok().and_then(Result::ok).and_then(|answer| read_spoken(&answer)) {
            Some(Spoken::Handshake) => {
                tracing::info!(server = %self.settings.id, pid = instance.pid, "speaks another revision now");
                instance.link.signs().outdate();
                Ok(())
            }
            Some(Spoken::Unknown(named)) => {
                let what = format!("speaks no revision of MCP any more that the hub knows; it names {named}");
                Err(UpstreamError::new(&self.settings.id, Reason::BadAnswer, what))
            }
            // What it says to the request itself tells more than silence.
            Some(Spoken::Stateless) | None => Ok(()),
        };
        *last = Some(Verdict { connection, begun, told: told.clone() });
        told
    }
}
