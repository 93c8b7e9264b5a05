//! MCP with one peer over a pipe, whatever carries its messages: stdin and stdout, or a WebSocket. Both eras share the pipe, told
//! apart message by message; the pipe is one session, which ends with it (MCP 2026-07-28, stdio; custom transports).
//!
//! Cost of a call beside the hub's: one scan, two allocations, no copy of the message.

use std::sync::Arc;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::work::{Outlet, Work};
use crate::{
    access::Principal,
    hub::{Crossing, Endpoint, Hub, Inbound, Outcome, Session, Step},
    limits,
    observe::wire::{Leg, Peer},
    protocol::{
        Body, Kind, Message, Method, Refusal, ScanError, Version,
        code::Code,
        era::{self, Verdict},
        scan::{self, Fault},
    },
};

/// One peer's conversation. Dropping it cancels everything under way.
pub(super) struct Pipe {
    hub: Arc<Hub>,
    principal: Arc<Principal>,
    endpoint: Arc<Endpoint>,
    session: Arc<Session>,
    work: Work,
    /// Cancelled when the hub stops.
    stopping: CancellationToken,
    wire: Leg,
}

impl Pipe {
    pub(super) fn new(hub: Arc<Hub>, endpoint: Arc<Endpoint>, principal: Arc<Principal>, outlet: Outlet) -> Self {
        let session = hub.sessions.pipe(Arc::clone(&principal), Arc::clone(&endpoint));
        let wire = Leg::new(Peer::Client, "pipe");
        let mut work = Work::new(outlet.speaking_mcp(wire.clone()));
        work.background(mail(Arc::clone(&session), work.outlet()));
        Self { hub, principal, endpoint, session, work, stopping: CancellationToken::new(), wire }
    }

    /// One message, or a batch where there may be one. `false`: it was neither; the peer is told if it can be.
    pub(super) fn take(&mut self, bytes: Bytes) -> bool {
        self.wire.received(&bytes);
        match Message::parse(bytes.clone()) {
            Ok(message) => self.message(message),
            Err(ScanError { fault: Fault::Batch, .. }) if self.session.version() == Some(Version::V2025_03_26) => {
                return self.batch(&bytes);
            }
            Err(failure) => {
                self.refuse(&Refusal::from(failure));
                return false;
            }
        }
        true
    }

    /// A message of which only the length is known, because it was not kept.
    pub(super) fn take_too_long(&mut self, bytes: u64, bytes_max: usize) {
        self.refuse(&too_long(bytes, bytes_max));
    }

    /// Longer ones are not to be kept.
    pub(super) fn message_bytes_max(&self) -> usize {
        self.hub.limits.body_bytes
    }

    /// From here on requests are refused; those under way go on, but for what would never end.
    pub(super) fn stop(&mut self) {
        self.stopping.cancel();
        self.work.end_standing();
    }

    /// What the requests without an answer are told where they get no other. To be asked for in the end: whatever else is said to them after
    /// this is said twice.
    pub(super) fn give_up(&self) -> Vec<Body> {
        let ids = self.session.unanswered();
        ids.into_iter().map(|id| Refusal::given_up().with_id(Some(id)).to_body()).collect()
    }

    pub(super) fn session(&self) -> &Arc<Session> {
        &self.session
    }

    pub(super) fn work(&mut self) -> &mut Work {
        &mut self.work
    }

    fn message(&mut self, message: Message) {
        let is_request = message.kind() == Kind::Request;
        if is_request && let Some(refusal) = self.cannot_serve() {
            return self.refuse(&refusal.with_id(message.id()));
        }
        let client = match era::decide_pipe(&message, self.session.version().is_some()) {
            Ok(Verdict::Stateless | Verdict::StatelessNotification) => Version::STATELESS,
            Ok(Verdict::Handshake | Verdict::Session) => self.session.version().unwrap_or(Version::LATEST_HANDSHAKE),
            Err(refusal) if is_request => return self.refuse(&refusal),
            // What is no request is never answered, not even with an error.
            Err(_) => return,
        };
        let session = Some(Arc::clone(&self.session));
        let inbound = Inbound::new(Arc::clone(&self.principal), Arc::clone(&self.endpoint), message, client, session);
        match self.hub.dispatch(inbound) {
            Outcome::Now(answer) => self.work.say(answer.body),
            Outcome::Later(crossing) if crossing.is_listen() => {
                self.work.stand(listen(crossing, self.work.outlet(), self.stopping.clone()));
            }
            Outcome::Later(crossing) => self.work.call(carry(crossing, self.work.outlet())),
            Outcome::Silent => {}
        }
    }

    /// The messages of a 2025-03-26 array; each is answered by itself.
    fn batch(&mut self, bytes: &Bytes) -> bool {
        let spans = match scan::elements(bytes) {
            Ok(spans) => spans,
            Err(failure) => {
                self.refuse(&Refusal::from(failure));
                return false;
            }
        };
        for span in spans {
            let element = bytes.slice(span.range());
            match Message::parse(element) {
                Ok(message) if message.method() == Method::Initialize => {
                    self.refuse(&Refusal::new(Code::InvalidRequest, 400, "initialize must not be part of a batch").with_id(message.id()));
                }
                Ok(message) if message.scan().meta.protocol_version.is_some() => {
                    let text = "a batch is of 2025-03-26 and so is every message in it";
                    self.refuse(&Refusal::new(Code::InvalidRequest, 400, text).with_id(message.id()));
                }
                Ok(message) => self.message(message),
                Err(failure) => self.refuse(&Refusal::from(failure)),
            }
        }
        true
    }

    fn cannot_serve(&self) -> Option<Refusal> {
        if self.stopping.is_cancelled() {
            return Some(Refusal::stopping());
        }
        self.work.is_busy().then(|| {
            let limit = limits::PIPE_CALLS_MAX;
            let text = format!("{limit} requests of this connection are under way already; wait for one to end");
            Refusal::new(Code::Internal, 429, text)
                .with_data(format!(r#"{{"origin":"hub","reason":"quota","retryable":true,"limit":{limit}}}"#))
        })
    }

    fn refuse(&mut self, refusal: &Refusal) {
        self.work.say(refusal.to_body());
    }
}

/// The answer to a message of which only the length is known.
pub(super) fn too_long(bytes: u64, bytes_max: usize) -> Refusal {
    let text = format!("the message is {bytes} bytes long; at most {bytes_max} are taken");
    Refusal::new(Code::InvalidRequest, 413, text)
}

/// One call to its end: notices, then the answer unless it was cancelled.
async fn carry(mut crossing: Crossing, outlet: Outlet) {
    loop {
        let (body, is_last) = match crossing.next().await {
            Step::Notice(body) => (body, false),
            Step::Answer(answer) => (answer.body, true),
            Step::Cancelled => return,
        };
        if outlet.send(body).await.is_err() || is_last {
            return;
        }
    }
}

/// One `subscriptions/listen` until the client cancels it or the hub ends it, which on a pipe takes two messages
/// (MCP 2026-07-28, subscriptions, stdio).
async fn listen(mut crossing: Crossing, outlet: Outlet, stopping: CancellationToken) {
    let last = loop {
        let step = tokio::select! {
            biased;
            step = crossing.next() => step,
            () = stopping.cancelled() => Step::Answer(crossing.farewell()),
        };
        match step {
            Step::Notice(body) => {
                if outlet.send(body).await.is_err() {
                    return;
                }
            }
            Step::Answer(answer) => break answer,
            Step::Cancelled => return,
        }
    };
    let id = crossing.id();
    let end = format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}},"requestId":{id}}}}}"#
    );
    // A refusal ends nothing that had begun.
    let is_told = last.is_hubs || outlet.send(Body::one(end.into())).await.is_ok();
    if is_told {
        // The peer may be gone by then.
        let _ = outlet.send(last.body).await;
    }
}

async fn mail(session: Arc<Session>, outlet: Outlet) {
    let Some(mut mail) = session.take_mail() else { return };
    while let Some(body) = mail.next().await {
        if outlet.send(body).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{downstream::work::outlet, hub::Answer, protocol::RequestId};
    use tokio::sync::mpsc;

    fn notice(text: &'static str) -> Step {
        Step::Notice(Body::one(text.into()))
    }

    async fn heard(mut queue: mpsc::Receiver<Body>) -> Vec<String> {
        let mut heard = Vec::new();
        while let Some(body) = queue.recv().await {
            heard.push(String::from_utf8(body.to_bytes().to_vec()).unwrap());
        }
        heard
    }

    const CANCELLED: &str = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":"l"},"requestId":"l"}}"#;
    const FAREWELL: &str = concat!(
        r#"{"jsonrpc":"2.0","id":"l","result":{"resultType":"complete","_meta":{"io.modelcontextprotocol/subscriptionId":"l","#,
        r#""io.modelcontextprotocol/serverInfo":{"name":"mcp-hub","version":""#,
        env!("CARGO_PKG_VERSION"),
        r#""}}}}"#
    );

    #[tokio::test]
    async fn a_listen_that_the_hub_ends_is_cancelled_and_then_answered() {
        for by_stop in [false, true] {
            let (steps, crossing) = Crossing::scripted(RequestId::from_token("\"l\"".into()).unwrap(), true);
            let (outlet, queue) = outlet();
            let stopping = CancellationToken::new();
            steps.send(notice("acknowledged")).unwrap();
            let farewell = crossing.farewell();
            let listening = tokio::spawn(listen(crossing, outlet, stopping.clone()));
            if by_stop {
                stopping.cancel();
            } else {
                steps.send(Step::Answer(farewell)).unwrap();
            }
            listening.await.unwrap();
            assert_eq!(heard(queue).await, ["acknowledged", CANCELLED, FAREWELL], "stop: {by_stop}");
        }
    }

    #[tokio::test]
    async fn a_listen_that_the_client_cancels_ends_without_a_word() {
        let (steps, crossing) = Crossing::scripted(RequestId::from_number(1), true);
        let (outlet, queue) = outlet();
        for step in [notice("acknowledged"), Step::Cancelled, Step::Answer(Answer::ok(Body::one("late".into())))] {
            steps.send(step).unwrap();
        }
        listen(crossing, outlet, CancellationToken::new()).await;
        assert_eq!(heard(queue).await, ["acknowledged"]);
    }
}
