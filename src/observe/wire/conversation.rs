//! What was said so far on one leg: which revision is spoken, and which request an answer belongs to.

use std::collections::HashMap;

use serde_json::Value;

use super::{
    Peer,
    schema::{Schemas, Subject},
};

const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// What a peer that names no revision speaks (MCP 2025-06-18, protocol version header).
const UNNAMED: &str = "2025-03-26";

#[derive(Debug)]
pub(super) struct Conversation {
    peer: Peer,
    /// Settled by `initialize`, or named by a header.
    session: Option<String>,
    /// Last named by a message's own envelope.
    envelope: Option<String>,
    /// Requests of the peer that are not answered yet, by their id as text.
    theirs: HashMap<String, Asked>,
    /// The hub's own.
    ours: HashMap<String, Asked>,
}

#[derive(Debug)]
struct Asked {
    method: String,
    version: Option<String>,
}

impl Conversation {
    pub(super) fn new(peer: Peer) -> Self {
        Self { peer, session: None, envelope: None, theirs: HashMap::new(), ours: HashMap::new() }
    }

    pub(super) fn speaks(&mut self, version: &str) {
        self.session = Some(version.to_owned());
    }

    /// What `message`, which came in now, is, and the revision that it should fit.
    pub(super) fn received(&mut self, message: &Value, schemas: &Schemas) -> (Subject, String) {
        let hub = match self.peer {
            Peer::Client => Peer::Server,
            Peer::Server => Peer::Client,
        };
        self.on_message(hub, message, schemas)
    }

    /// What `message`, which goes out now, is, and the revision that it must fit.
    pub(super) fn sent(&mut self, message: &Value, schemas: &Schemas) -> (Subject, String) {
        self.on_message(self.peer, message, schemas)
    }

    fn on_message(&mut self, to: Peer, message: &Value, schemas: &Schemas) -> (Subject, String) {
        let (asking, asked) = if to == self.peer { (&mut self.ours, &mut self.theirs) } else { (&mut self.theirs, &mut self.ours) };
        let named = envelope(message);
        let (subject, version) = match (method(message), id(message)) {
            (Some(method), Some(id)) => {
                // A handshake names what it offers, in its own way.
                let offered = message.pointer("/params/protocolVersion").filter(|_| method == "initialize").and_then(Value::as_str);
                let version = offered.map(str::to_owned).or_else(|| named.clone()).or_else(|| self.session.clone());
                asking.insert(id, Asked { method: method.to_owned(), version: named.clone() });
                (Subject::Request { to, method: method.to_owned() }, version)
            }
            (Some(method), None) => (Subject::Notification { to, method: method.to_owned() }, named.clone()),
            (None, id) => {
                let asked = id.and_then(|id| asked.remove(&id));
                let (method, version) = asked.map_or((None, None), |asked| (Some(asked.method), asked.version));
                let settled = settled(message).filter(|_| method.as_deref() == Some("initialize")).map(str::to_owned);
                if let Some(settled) = &settled {
                    self.speaks(settled);
                }
                let subject = if message.get("result").is_some() { Subject::Result { method } } else { Subject::Error { method } };
                (subject, settled.or(version))
            }
        };
        self.envelope = named.or_else(|| self.envelope.take());
        let version = version.or_else(|| self.session.clone()).or_else(|| self.envelope.clone());
        (subject, schemas.nearest(version.as_deref().unwrap_or(UNNAMED)).to_owned())
    }
}

fn method(message: &Value) -> Option<&str> {
    message.get("method")?.as_str()
}

/// As JSON text, so that 1 and "1" are two.
fn id(message: &Value) -> Option<String> {
    message.get("id").filter(|id| !id.is_null()).map(Value::to_string)
}

fn envelope(message: &Value) -> Option<String> {
    message.get("params")?.get("_meta")?.get(VERSION)?.as_str().map(str::to_owned)
}

fn settled(message: &Value) -> Option<&str> {
    message.get("result")?.get("protocolVersion")?.as_str()
}
