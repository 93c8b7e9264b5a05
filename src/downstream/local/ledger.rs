//! What a client behind a local connection was promised, so that another hub can keep it: requests without an answer, questions it was
//! asked, and what of its session a new hub has to be told. Pure; the one scan of each line is all that it costs.
//!
//! When a hub goes away, what can be asked again without effect is asked again, and every other open request gets an error. The rest is
//! as if nothing had happened: `initialize` and what belongs to it is said to the next hub under ids of our own, whose answers the client
//! does not see, and questions are numbered on from where the last hub left off.

use std::collections::{HashMap, HashSet, VecDeque};

use bytes::{Bytes, BytesMut};
use serde::Deserialize;

use crate::{
    downstream::gather::Gather,
    limits,
    protocol::{
        Kind, Message, Method, Refusal, RequestId, ScanError, Version,
        code::{Reason, failure_data},
        era,
        scan::{self, Fault},
    },
};

/// A hub that ends says so, takes what comes before the consent as ever, and closes the connection when it has answered. No message of
/// a server or client can be this line: it is not JSON.
pub(super) const PARTING: &[u8] = b"#parting";
/// The answer: no request follows, only answers and notifications.
pub(super) const CONSENT: &[u8] = b"#consent";

/// Begins the ids of what the client did not say itself.
const OWN_ID: &str = "mcp-hub:again:";
/// Between the first question ids of two hubs: no session is asked so much.
const QUESTIONS_PER_HUB: u64 = 1_000_000;

/// Lines on their way to either side.
#[derive(Default)]
pub(super) struct Out {
    pub(super) hub: Gather,
    pub(super) client: Gather,
}

const INITIALIZED: &[u8] = br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

fn say(to: &mut Gather, line: impl Into<Bytes>) {
    to.push(line);
    to.push(&b"\n"[..]);
}

#[derive(Default)]
pub(super) struct Ledger {
    /// Sent to this hub and not answered, in order.
    open: Vec<Open>,
    /// Ids of the hub's requests that the client did not answer.
    asked: HashSet<RequestId>,
    handshake: Option<Handshake>,
    /// The client's last `logging/setLevel`.
    level: Option<Bytes>,
    /// The client's `resources/subscribe`, by URI as written.
    watched: HashMap<Bytes, Bytes>,
    /// What was said to this hub for the client, and not answered.
    own: HashSet<RequestId>,
    /// To be asked again.
    again: Vec<Bytes>,
    /// The hub takes no more requests.
    parting: bool,
    /// Lines with requests that came since then, in order; with the id where it is one request.
    held: VecDeque<(Option<RequestId>, Bytes)>,
    held_bytes: usize,
    /// Hubs before this one.
    hubs: u64,
}

struct Open {
    id: RequestId,
    loss: Loss,
}

/// What becomes of a request whose hub went away.
enum Loss {
    /// Nothing happened: the line goes to the next hub.
    Again(Bytes),
    /// Nothing happened, but the client has to ask again: it was told things since.
    Over,
    /// Something may have happened.
    Failed,
}

/// `initialize` and what became of it.
struct Handshake {
    line: Bytes,
    id: RequestId,
    /// By the answer; until then as a hub will settle it.
    version: Option<Version>,
    /// Requests of batches that came before the answer.
    batched: Vec<RequestId>,
    /// The lists of which the client expects to hear: by the answer.
    lists: Option<Lists>,
    /// The client said `notifications/initialized`.
    initialized: bool,
}

impl Ledger {
    /// Questions of the next hub are numbered from the one after this.
    pub(super) fn questions(&self) -> u64 {
        self.hubs * QUESTIONS_PER_HUB
    }

    /// Whether another line of the client's may be read.
    pub(super) fn has_room(&self) -> bool {
        self.open.len() < limits::LOCAL_OPEN_MAX && self.held_bytes < limits::LOCAL_HELD_BYTES_MAX
    }

    /// A new hub is there: says what it has to know, and what the one before did not answer.
    pub(super) fn begin(&mut self, out: &mut Out) {
        self.hubs += 1;
        let (mut handshaken, mut initialized) = (false, false);
        if let Some(handshake) = &self.handshake {
            initialized = handshake.initialized;
            if let Some(lists) = &handshake.lists {
                handshaken = true;
                self.own.extend(say_again(&handshake.line, 0, &mut out.hub));
                if initialized {
                    say(&mut out.hub, INITIALIZED);
                    // What is listed now may not be what was.
                    lists.tell(&mut out.client);
                }
                for (count, line) in self.level.iter().chain(self.watched.values()).enumerate() {
                    self.own.extend(say_again(line, count + 1, &mut out.hub));
                }
            }
        }
        for line in std::mem::take(&mut self.again) {
            self.client_said(line, out);
        }
        if initialized && !handshaken {
            say(&mut out.hub, INITIALIZED);
        }
        self.held_bytes = 0;
        for (_, line) in std::mem::take(&mut self.held) {
            self.client_said(line, out);
        }
    }

    /// One line of the client's.
    pub(super) fn client_said(&mut self, line: Bytes, out: &mut Out) {
        match Message::parse(line.clone()) {
            // Whoever asks so wants to know whether this process is there.
            Ok(message) if self.parting && message.method() == Method::Ping && self.handshake.is_some() => {
                if let Some(id) = message.id() {
                    say(&mut out.client, format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#));
                }
                return;
            }
            Ok(message) if self.parting && (message.kind() == Kind::Request || self.is_of_held(&message)) => {
                return self.hold(message.id(), line);
            }
            Ok(message) => self.note(&message),
            Err(ScanError { fault: Fault::Batch, .. }) if self.has_batches() => {
                let messages = batch(&line);
                if self.parting && messages.iter().any(|message| message.kind() == Kind::Request) {
                    return self.hold(None, line);
                }
                self.note_batch(&messages);
            }
            // Whatever is wrong with it, the hub says so: of an array in another revision, once for the whole of it.
            Err(_) => {}
        }
        say(&mut out.hub, line);
    }

    fn hold(&mut self, id: Option<RequestId>, line: Bytes) {
        self.held_bytes += line.len();
        self.held.push_back((id, line));
    }

    /// Whether it says something to a request that waits, and so has to stay behind it.
    fn is_of_held(&self, message: &Message) -> bool {
        match message.method() {
            Method::Initialized => !self.held.is_empty(),
            Method::Cancelled => {
                let id = cancelled(message);
                self.held.iter().any(|(held, _)| held.is_some() && *held == id)
            }
            _ => false,
        }
    }

    /// As the hub decides it, which reads in order.
    fn has_batches(&self) -> bool {
        self.handshake.as_ref().and_then(|handshake| handshake.version) == Some(Version::V2025_03_26)
    }

    fn note_batch(&mut self, messages: &[Message]) {
        messages.iter().for_each(|message| self.note(message));
        if let Some(handshake) = self.handshake.as_mut().filter(|handshake| handshake.lists.is_none()) {
            handshake.batched.extend(messages.iter().filter_map(Message::id));
        }
    }

    fn note(&mut self, message: &Message) {
        let id = message.id();
        match (message.kind(), id) {
            (Kind::Request, Some(id)) => self.request(message, id),
            (Kind::Notification, _) => match message.method() {
                Method::Initialized => self.handshake.iter_mut().for_each(|handshake| handshake.initialized = true),
                // There will be no answer; one that was on its way already is passed on.
                Method::Cancelled => {
                    let id = cancelled(message);
                    self.open.retain(|open| Some(&open.id) != id.as_ref());
                }
                _ => {}
            },
            (_, Some(id)) => {
                self.asked.remove(&id);
            }
            (_, None) => {}
        }
    }

    fn request(&mut self, message: &Message, id: RequestId) {
        let line = message.bytes();
        let loss = match message.method() {
            Method::Initialize => {
                if self.handshake.is_none() {
                    let asked = message.scan().protocol_version.and_then(|span| message.string(span));
                    self.handshake = Some(Handshake {
                        // Kept for long: not with all that was read with it.
                        line: Bytes::copy_from_slice(line),
                        id: id.clone(),
                        version: asked.map(|asked| era::negotiate(&asked)),
                        batched: Vec::new(),
                        lists: None,
                        initialized: false,
                    });
                }
                Loss::Again(line.clone())
            }
            Method::SetLevel => {
                self.level = Some(Bytes::copy_from_slice(line));
                Loss::Again(line.clone())
            }
            Method::ResourcesSubscribe => {
                if let Some(uri) = message.scan().uri
                    && self.watched.len() < limits::WATCHED_MAX
                {
                    self.watched.insert(Bytes::copy_from_slice(message.token(uri)), Bytes::copy_from_slice(line));
                }
                Loss::Again(line.clone())
            }
            Method::ResourcesUnsubscribe => {
                if let Some(uri) = message.scan().uri {
                    self.watched.remove(message.token(uri));
                }
                Loss::Again(line.clone())
            }
            Method::Ping
            | Method::Discover
            | Method::ToolsList
            | Method::PromptsList
            | Method::ResourcesList
            | Method::ResourcesTemplatesList => Loss::Again(line.clone()),
            Method::SubscriptionsListen => Loss::Over,
            _ => Loss::Failed,
        };
        self.open.push(Open { id, loss });
    }

    /// One line of the hub's.
    pub(super) fn hub_said(&mut self, line: Bytes, out: &mut Out) {
        if line == PARTING {
            self.parting = true;
            return say(&mut out.hub, CONSENT);
        }
        let Ok(message) = Message::parse(line.clone()) else { return say(&mut out.client, line) };
        match (message.kind(), message.id()) {
            (Kind::Result | Kind::Error, Some(id)) if self.own.remove(&id) => {
                if message.kind() == Kind::Error {
                    tracing::debug!(%id, "the new hub refused what the one before had granted");
                }
                return;
            }
            (Kind::Result | Kind::Error, Some(id)) => self.answered(&message, &id),
            (Kind::Request, Some(id)) => drop(self.asked.insert(id)),
            (Kind::Notification, _) if message.method() == Method::Cancelled => {
                let id = cancelled(&message);
                self.asked.retain(|asked| Some(asked) != id.as_ref());
            }
            _ => {}
        }
        say(&mut out.client, line);
    }

    fn answered(&mut self, message: &Message, id: &RequestId) {
        if let Some(at) = self.open.iter().position(|open| open.id == *id) {
            self.open.remove(at);
        }
        if let Some(handshake) = &mut self.handshake
            && handshake.lists.is_none()
            && handshake.id == *id
        {
            let batched = std::mem::take(&mut handshake.batched);
            if message.kind() == Kind::Result {
                let Welcome { version, capabilities } = Welcome::read(message.bytes());
                handshake.version = version.as_deref().and_then(Version::parse);
                handshake.lists = Some(capabilities);
            } else {
                // It may try another one. What it sent with this one was refused with it.
                self.handshake = None;
                self.open.retain(|open| !batched.contains(&open.id));
            }
        }
    }

    /// The hub is gone. Nothing more of its comes after this.
    pub(super) fn lost(&mut self, out: &mut Out) {
        self.parting = false;
        self.own.clear();
        // Half of a message to it is none to the next.
        out.hub = Gather::default();
        for Open { id, loss } in std::mem::take(&mut self.open) {
            match loss {
                Loss::Again(line) => self.again.push(line),
                Loss::Over => fail(&id, Reason::ShuttingDown, "this stream of changes has ended with its hub; open another", out),
                Loss::Failed => {
                    fail(&id, Reason::HubExited, "the hub ended before it had the answer; what was asked may have been done", out);
                }
            }
        }
        for id in std::mem::take(&mut self.asked) {
            let text = String::from_utf8_lossy(id.token()).into_owned();
            let params = format!(r#"{{"requestId":{text},"reason":"the hub ended"}}"#);
            say(&mut out.client, format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{params}}}"#));
        }
    }

    /// The client has said its last, and no more is heard of the hub: what is open was cancelled.
    pub(super) fn expire(&mut self, out: &mut Out) {
        for Open { id, .. } in std::mem::take(&mut self.open) {
            say(&mut out.client, Refusal::given_up().with_id(Some(id)).to_body().to_bytes());
        }
    }

    /// No other hub is sought: what was not sent, or was to be sent again, fails too.
    pub(super) fn give_up(&mut self, out: &mut Out) {
        self.held_bytes = 0;
        let held = std::mem::take(&mut self.held).into_iter().map(|(_, line)| line);
        for line in std::mem::take(&mut self.again).into_iter().chain(held) {
            // An array waits only where a batch may.
            let messages = Message::parse(line.clone()).map_or_else(|_| batch(&line), |message| vec![message]);
            for id in messages.iter().filter(|message| message.kind() == Kind::Request).filter_map(Message::id) {
                fail(&id, Reason::ShuttingDown, "the hub has ended", out);
            }
        }
    }
}

/// The request that is not wanted any more.
fn cancelled(message: &Message) -> Option<RequestId> {
    message.scan().request_id.and_then(|span| message.request_id_at(span))
}

fn fail(id: &RequestId, reason: Reason, message: &str, out: &mut Out) {
    let refusal = Refusal::new(reason.code(), reason.status(), message).with_data(failure_data(None, reason, None));
    say(&mut out.client, refusal.with_id(Some(id.clone())).to_body().to_bytes());
}

/// What can be read of a batch; the hub says what is wrong with the rest.
fn batch(line: &Bytes) -> Vec<Message> {
    let spans = scan::elements(line).unwrap_or_default();
    spans.into_iter().filter_map(|span| Message::parse(line.slice(span.range())).ok()).collect()
}

/// The same request under an id of its own, which is returned.
fn say_again(line: &Bytes, count: usize, to: &mut Gather) -> Option<RequestId> {
    let range = Message::parse(line.clone()).ok()?.scan().id?.range();
    let own = format!("\"{OWN_ID}{count}\"");
    let mut renamed = BytesMut::with_capacity(line.len() + own.len());
    for part in [line.get(..range.start)?, own.as_bytes(), line.get(range.end..)?] {
        renamed.extend_from_slice(part);
    }
    say(to, renamed.freeze());
    RequestId::from_token(own.into())
}

/// Of which lists the client is told that they changed.
#[derive(Default, Deserialize)]
struct Lists {
    #[serde(default)]
    tools: Told,
    #[serde(default)]
    prompts: Told,
    #[serde(default)]
    resources: Told,
}

#[derive(Default, Deserialize)]
struct Told {
    #[serde(default, rename = "listChanged")]
    changes: bool,
}

/// The result of `initialize`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Welcome {
    #[serde(rename = "protocolVersion")]
    version: Option<String>,
    capabilities: Lists,
}

impl Welcome {
    fn read(answer: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Answer {
            result: Welcome,
        }
        serde_json::from_slice(answer).map(|answer: Answer| answer.result).unwrap_or_default()
    }
}

impl Lists {
    fn tell(&self, to: &mut Gather) {
        for (told, method) in [
            (&self.tools, Method::ToolsListChanged),
            (&self.prompts, Method::PromptsListChanged),
            (&self.resources, Method::ResourcesListChanged),
        ] {
            if told.changes {
                say(to, format!(r#"{{"jsonrpc":"2.0","method":"{}"}}"#, method.as_str()));
            }
        }
    }
}

#[cfg(test)]
mod tests;
