//! A check for development: does every message that the hub sends fit the schema of the revision that its receiver speaks?
//!
//! Doors and links hand over each message at the edge, in both directions, through the `Leg` of the conversation. What comes in says
//! which revision is spoken and which request an answer belongs to; what goes out is checked. A message that does not fit is one
//! error line in the log (`WIRE_VIOLATION`), one JSON line in the report, and makes the process end with a failure; unless a message
//! of the same method came in with the same fault, which the hub relays as it is.
//!
//! All of this is there with the feature `check-wire` only, and only after `start`. Without the feature a `Leg` is nothing, and so
//! is what it does.

#[cfg(feature = "check-wire")]
mod conversation;
#[cfg(feature = "check-wire")]
mod schema;

/// Who reads what the hub sends on a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Client,
    Server,
}

#[cfg(not(feature = "check-wire"))]
pub use off::{Leg, start, verdict};
#[cfg(feature = "check-wire")]
pub use on::{Leg, start, verdict};

#[cfg(not(feature = "check-wire"))]
mod off {
    use std::{io, path::Path, process::ExitCode};

    use bytes::Bytes;

    use super::Peer;

    /// One conversation with one peer.
    #[derive(Clone, Debug)]
    pub struct Leg;

    impl Leg {
        /// What is said there is not MCP.
        #[inline]
        pub const fn none() -> Self {
            Self
        }
        /// `name` says which in the log: a door, a server.
        #[inline]
        pub fn new(_: Peer, _name: &str) -> Self {
            Self
        }
        /// What an HTTP header says of the revision, for one exchange.
        #[inline]
        #[must_use]
        pub fn speaking<'v>(self, _version: impl FnOnce() -> Option<&'v str>) -> Self {
            self
        }
        /// One message, or a batch, from the peer.
        #[inline]
        pub fn received(&self, _message: &[u8]) {}
        /// One message, or a batch, to the peer, in pieces.
        #[inline]
        pub fn sent(&self, _pieces: &[Bytes]) {}
        /// Several messages, each in one piece.
        #[inline]
        pub fn sent_each(&self, _messages: &[Bytes]) {}
    }

    /// # Errors
    /// Always: whoever asks for the check must not believe that it is made.
    pub fn start(_schemas: &Path, _report: Option<&Path>) -> io::Result<()> {
        Err(io::Error::other("this program was built without the feature check-wire"))
    }

    /// The process's exit code, `code` unless a violation was seen.
    pub fn verdict(code: ExitCode) -> ExitCode {
        code
    }
}

#[cfg(feature = "check-wire")]
mod on {
    use std::{
        collections::{HashMap, HashSet},
        fs::File,
        io::{self, Write},
        path::Path,
        process::ExitCode,
        sync::{
            Arc, Mutex, MutexGuard, OnceLock, PoisonError,
            atomic::{AtomicU64, Ordering},
        },
    };

    use bytes::Bytes;
    use serde_json::{Value, json};

    use super::{
        Peer,
        conversation::Conversation,
        schema::{Schemas, Subject},
    };

    static CHECKER: OnceLock<Arc<Checker>> = OnceLock::new();

    /// What the whole process checks against, and what it found.
    #[derive(Debug)]
    struct Checker {
        schemas: Schemas,
        report: Option<Mutex<File>>,
        /// Method and path of what peers sent wrong.
        excused: Mutex<HashSet<(String, String)>>,
        /// Methods of the hub's questions by id. Over HTTP a client's answer comes in an exchange of its own.
        questions: Mutex<HashMap<String, String>>,
        checked: AtomicU64,
        violations: AtomicU64,
    }

    impl Checker {
        fn new(schemas: Schemas, report: Option<Mutex<File>>) -> Self {
            let (checked, violations) = (AtomicU64::new(0), AtomicU64::new(0));
            Self { schemas, report, excused: Mutex::default(), questions: Mutex::default(), checked, violations }
        }

        fn lock_questions(&self) -> MutexGuard<'_, HashMap<String, String>> {
            self.questions.lock().unwrap_or_else(PoisonError::into_inner)
        }

        fn lock_excused(&self) -> MutexGuard<'_, HashSet<(String, String)>> {
            self.excused.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    /// One conversation with one peer.
    #[derive(Clone, Debug)]
    pub struct Leg(Option<Arc<Watched>>);

    #[derive(Debug)]
    struct Watched {
        checker: Arc<Checker>,
        name: String,
        conversation: Mutex<Conversation>,
    }

    impl Leg {
        /// What is said there is not MCP.
        pub const fn none() -> Self {
            Self(None)
        }
        /// `name` says which in the log: a door, a server.
        pub fn new(peer: Peer, name: &str) -> Self {
            Self(CHECKER.get().map(|checker| Watched::new(checker, peer, name)))
        }
        /// What an HTTP header says of the revision, for one exchange.
        #[must_use]
        pub fn speaking<'v>(self, version: impl FnOnce() -> Option<&'v str>) -> Self {
            if let (Some(watched), Some(version)) = (&self.0, version()) {
                watched.lock().speaks(version);
            }
            self
        }
        /// One message, or a batch, from the peer.
        pub fn received(&self, message: &[u8]) {
            let Some(watched) = &self.0 else { return };
            // What is no JSON is refused by the hub, and says nothing.
            if let Ok(message) = serde_json::from_slice::<Value>(message) {
                each(&message, |message| watched.note(message));
            }
        }
        /// One message, or a batch, to the peer, in pieces.
        pub fn sent(&self, pieces: &[Bytes]) {
            let Some(watched) = &self.0 else { return };
            match serde_json::from_slice::<Value>(&pieces.concat()) {
                Ok(message) => each(&message, |message| watched.check(message)),
                Err(error) => watched.violation("", "", "", &format!("not JSON: {error}")),
            }
        }
        /// Several messages, each in one piece.
        pub fn sent_each(&self, messages: &[Bytes]) {
            for message in messages {
                self.sent(std::slice::from_ref(message));
            }
        }
    }

    fn each(message: &Value, mut take: impl FnMut(&Value)) {
        match message {
            Value::Array(batch) => batch.iter().for_each(take),
            message => take(message),
        }
    }

    impl Watched {
        fn new(checker: &Arc<Checker>, peer: Peer, name: &str) -> Arc<Self> {
            let conversation = Mutex::new(Conversation::new(peer));
            Arc::new(Self { checker: Arc::clone(checker), name: name.to_owned(), conversation })
        }

        fn lock(&self) -> MutexGuard<'_, Conversation> {
            self.conversation.lock().unwrap_or_else(PoisonError::into_inner)
        }

        /// What came in wrong may go out wrong: the hub relays, it does not mend.
        fn note(&self, message: &Value) {
            let (mut subject, version) = self.lock().received(message, &self.checker.schemas);
            if let Subject::Result { method: method @ None } = &mut subject {
                *method = self.checker.lock_questions().get(&message["id"].to_string()).cloned();
            }
            if let Err(misfit) = self.checker.schemas.check(&version, &subject, message) {
                tracing::debug!(from = %self.name, method = subject.method(), version, misfit.path, misfit.reason, "WIRE_PEER_VIOLATION");
                self.checker.lock_excused().insert((subject.method().to_owned(), misfit.path));
            }
        }

        fn check(&self, message: &Value) {
            let (subject, version) = self.lock().sent(message, &self.checker.schemas);
            self.checker.checked.fetch_add(1, Ordering::Relaxed);
            if let Subject::Request { to: Peer::Client, method } = &subject {
                self.checker.lock_questions().insert(message["id"].to_string(), method.clone());
            }
            if let Err(misfit) = self.checker.schemas.check(&version, &subject, message)
                && !self.checker.lock_excused().contains(&(subject.method().to_owned(), misfit.path.clone()))
            {
                self.violation(subject.method(), &version, &misfit.path, &misfit.reason);
            }
        }

        fn violation(&self, method: &str, version: &str, path: &str, reason: &str) {
            let name = &self.name;
            self.checker.violations.fetch_add(1, Ordering::Relaxed);
            tracing::error!(code = "WIRE_VIOLATION", to = %name, method, version, path, reason, "a message does not fit its schema");
            if let Some(report) = &self.checker.report {
                let line = json!({"to": name, "method": method, "version": version, "path": path, "reason": reason});
                let _ = writeln!(report.lock().unwrap_or_else(PoisonError::into_inner), "{line}");
            }
        }
    }

    /// From now on legs are checked against `<schemas>/<revision>/schema.json`. Violations are appended to `report` too.
    ///
    /// # Errors
    /// There is no schema in the folder, one is not what it should be, or the report cannot be opened.
    pub fn start(schemas: &Path, report: Option<&Path>) -> io::Result<()> {
        let report = report.map(|path| File::options().create(true).append(true).open(path)).transpose()?.map(Mutex::new);
        let _ = CHECKER.set(Arc::new(Checker::new(Schemas::read(schemas)?, report)));
        Ok(())
    }

    /// The process's exit code, `code` unless a violation was seen.
    pub fn verdict(code: ExitCode) -> ExitCode {
        let Some(checker) = CHECKER.get() else { return code };
        let (messages, violations) = (checker.checked.load(Ordering::Relaxed), checker.violations.load(Ordering::Relaxed));
        tracing::info!(messages, violations, "WIRE_CHECKED");
        if violations > 0 { ExitCode::FAILURE } else { code }
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::observe::wire::schema;

        #[test]
        fn a_fault_counts_unless_a_peer_brought_it() {
            let report = tempfile::NamedTempFile::new().unwrap();
            let file = Mutex::new(report.reopen().unwrap());
            let checker = Arc::new(Checker::new(schema::tests::schemas(), Some(file)));
            let [client, server] = [(Peer::Client, "http"), (Peer::Server, "s")]
                .map(|(peer, name)| Leg(Some(Watched::new(&checker, peer, name))).speaking(|| Some("2025-06-18")));
            let ask = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t"}}"#;
            let pieces = [Bytes::from_static(br#"{"jsonrpc":"2.0","id":1,"#), Bytes::from_static(br#""result":{}}"#)];
            let counts = || (checker.checked.load(Ordering::Relaxed), checker.violations.load(Ordering::Relaxed));

            client.received(ask);
            client.sent(&pieces);
            assert_eq!(counts(), (1, 1));

            server.sent_each(&[Bytes::from_static(ask)]);
            server.received(&pieces.concat());
            client.received(ask);
            client.sent(&pieces);
            assert_eq!(counts(), (3, 1), "the server answered so");

            let question = Bytes::from_static(br#"{"jsonrpc":"2.0","id":7,"method":"elicitation/create","params":{"message":"m"}}"#);
            let answer = Bytes::from_static(br#"{"jsonrpc":"2.0","id":7,"result":{}}"#);
            server.received(&question);
            client.sent_each(&[question]);
            let elsewhere = Leg(Some(Watched::new(&checker, Peer::Client, "http"))).speaking(|| Some("2025-06-18"));
            elsewhere.received(&answer);
            server.sent_each(&[answer]);
            assert_eq!(counts(), (5, 1), "the client answered so, in another exchange");

            client.sent(&[Bytes::from_static(b"{")]);
            assert_eq!(counts(), (5, 2), "no JSON is a fault too");
            let lines = std::fs::read_to_string(report.path()).unwrap();
            let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
            assert_eq!(lines.lines().count(), 2);
            assert_eq!((&first["to"], &first["method"], &first["path"]), (&json!("http"), &json!("tools/call"), &json!("/result")));
        }
    }
}
