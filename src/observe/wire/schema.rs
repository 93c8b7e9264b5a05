//! The schemas of the revisions, and which of their definitions a message must fit.
//!
//! A message of a method that no revision knows (an extension's) must fit the envelope of JSON-RPC only; one of another revision, or
//! of the other direction, fits nothing. What `anyOf` would let through is looked at by kind: an answer by its `resultType`.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs, io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use jsonschema::{ValidationError, Validator, error::ValidationErrorKind};
use serde_json::{Map, Value, json};

use super::Peer;

/// Long enough for a person to see what is wrong.
const REASON_CHARS: usize = 300;

/// What a message is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Request {
        to: Peer,
        method: String,
    },
    Notification {
        to: Peer,
        method: String,
    },
    /// `None`: to a request that this leg has not seen, such as one whose answer comes on another stream.
    Result {
        method: Option<String>,
    },
    Error {
        method: Option<String>,
    },
}

impl Subject {
    pub(super) fn method(&self) -> &str {
        match self {
            Self::Request { method, .. } | Self::Notification { method, .. } => method,
            Self::Result { method } | Self::Error { method } => method.as_deref().unwrap_or("?"),
        }
    }
}

/// Where a message does not fit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Misfit {
    /// JSON pointer into the message.
    pub path: String,
    pub reason: String,
}

impl Misfit {
    fn new(path: &str, reason: impl Into<String>) -> Self {
        Self { path: path.to_owned(), reason: reason.into() }
    }
}

#[derive(Debug)]
pub(super) struct Schemas(BTreeMap<String, Revision>);

#[derive(Debug)]
struct Revision {
    document: Value,
    /// The member that holds the definitions.
    root: &'static str,
    /// Definition of each method's message.
    methods: BTreeMap<String, String>,
    to_client: BTreeSet<String>,
    to_server: BTreeSet<String>,
    /// Definitions of errors with a code of their own.
    errors: BTreeMap<i64, String>,
    /// Made when first needed.
    validators: Mutex<HashMap<String, Arc<Validator>>>,
}

impl Schemas {
    /// Of `<dir>/<revision>/schema.json`.
    pub(super) fn read(dir: &Path) -> io::Result<Self> {
        let mut revisions = BTreeMap::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let file = entry.path().join("schema.json");
            if file.is_file() {
                let document = serde_json::from_slice(&fs::read(&file)?)?;
                let revision = Revision::new(document).map_err(|what| io::Error::other(format!("{}: {what}", file.display())))?;
                revisions.insert(entry.file_name().to_string_lossy().into_owned(), revision);
            }
        }
        if revisions.is_empty() {
            return Err(io::Error::other(format!("no <revision>/schema.json in {}", dir.display())));
        }
        Ok(Self(revisions))
    }

    /// The revision that a peer gets which names `version`: that one, or the newest when there is none such.
    pub(super) fn nearest<'s>(&'s self, version: &'s str) -> &'s str {
        // Some deployed SDKs name a draft of the first revision.
        let version = if version == "2024-10-07" { "2024-11-05" } else { version };
        match self.0.last_key_value() {
            Some((newest, _)) if !self.0.contains_key(version) => newest,
            _ => version,
        }
    }

    /// # Errors
    /// The message is not what `subject` must look like in `version`.
    pub(super) fn check(&self, version: &str, subject: &Subject, message: &Value) -> Result<(), Misfit> {
        let Some(revision) = self.0.get(version) else { return Ok(()) };
        match subject {
            Subject::Request { to, method } => {
                if *to == Peer::Client && !revision.has("ServerRequest") {
                    return Err(Misfit::new("/method", "a server of this revision sends no requests"));
                }
                self.check_named(revision, *to, method, "JSONRPCRequest", message)
            }
            Subject::Notification { to, method } => self.check_named(revision, *to, method, "JSONRPCNotification", message),
            Subject::Result { method } => revision.check_result(method.as_deref(), message),
            Subject::Error { .. } => revision.check_error(message),
        }
    }

    fn check_named(&self, revision: &Revision, to: Peer, method: &str, envelope: &str, message: &Value) -> Result<(), Misfit> {
        if revision.sent_to(to).contains(method)
            && let Some(definition) = revision.methods.get(method)
        {
            return revision.fits(definition, message, "");
        }
        let is_known = self.0.values().any(|other| other.to_client.contains(method) || other.to_server.contains(method));
        // Tasks left the specification to become an extension.
        if is_known && !method.contains("tasks/") {
            return Err(Misfit::new("/method", "not a message of this revision in this direction"));
        }
        revision.fits(envelope, message, "")
    }
}

impl Revision {
    fn new(document: Value) -> Result<Self, &'static str> {
        let root = if document.get("$defs").is_some() { "$defs" } else { "definitions" };
        let definitions = document.get(root).and_then(Value::as_object).ok_or("no definitions")?;
        let methods: BTreeMap<String, String> = definitions
            .iter()
            .filter_map(|(name, definition)| Some((method_of(definition)?.to_owned(), name.clone())))
            // Unions of one are named after their role; the message has a definition of its own.
            .filter(|(_, name)| {
                !["Client", "Server"].iter().any(|role| name == &format!("{role}Notification") || name == &format!("{role}Request"))
            })
            .collect();
        if methods.is_empty() {
            return Err("no definition names a method");
        }
        let codes = definitions.iter().filter_map(|(name, definition)| Some((code_of(definition)?, name.clone())));
        Ok(Self {
            root,
            to_client: union(definitions, &["ServerRequest", "ServerNotification"]),
            to_server: union(definitions, &["ClientRequest", "ClientNotification"]),
            errors: codes.collect(),
            methods,
            validators: Mutex::default(),
            document,
        })
    }

    fn has(&self, definition: &str) -> bool {
        self.document.get(self.root).is_some_and(|definitions| definitions.get(definition).is_some())
    }

    fn sent_to(&self, peer: Peer) -> &BTreeSet<String> {
        match peer {
            Peer::Client => &self.to_client,
            Peer::Server => &self.to_server,
        }
    }

    fn check_result(&self, method: Option<&str>, message: &Value) -> Result<(), Misfit> {
        self.fits(self.first_of(&["JSONRPCResultResponse", "JSONRPCResponse"]), message, "")?;
        let (Some(result), Some(definition)) = (message.get("result"), method.and_then(|method| self.methods.get(method))) else {
            return Ok(());
        };
        let own = format!("{}Result", definition.trim_end_matches("Request"));
        match result.get("resultType").and_then(Value::as_str) {
            Some("input_required") => {
                if result.get("inputRequests").is_none() && result.get("requestState").is_none() {
                    return Err(Misfit::new("/result", "neither inputRequests nor requestState"));
                }
                self.fits("InputRequiredResult", result, "/result")
            }
            // An extension's, such as "task".
            Some(kind) if kind != "complete" => Ok(()),
            _ if result.get("task").is_some() && self.has("CreateTaskResult") => self.fits("CreateTaskResult", result, "/result"),
            _ => self.fits(if self.has(&own) { &own } else { "EmptyResult" }, result, "/result"),
        }
    }

    fn check_error(&self, message: &Value) -> Result<(), Misfit> {
        let definition = self.first_of(&["JSONRPCErrorResponse", "JSONRPCError"]);
        if definition == "JSONRPCError" && message.get("id").is_none_or(Value::is_null) {
            // JSON-RPC 2.0, 5: the id of what could not be read is null. These revisions' schemas forgot that.
            let mut named = message.clone();
            if let Some(members) = named.as_object_mut() {
                members.insert("id".into(), json!(0));
            }
            return self.fits(definition, &named, "");
        }
        self.fits(definition, message, "")?;
        let code = message.pointer("/error/code").and_then(Value::as_i64);
        code.and_then(|code| self.errors.get(&code)).map_or(Ok(()), |definition| self.fits(definition, message, ""))
    }

    fn first_of<'n>(&self, names: &[&'n str; 2]) -> &'n str {
        let [first, second] = names;
        if self.has(first) { first } else { second }
    }

    fn fits(&self, definition: &str, value: &Value, at: &str) -> Result<(), Misfit> {
        let validator = self.validator(definition)?;
        let Some(error) = validator.iter_errors(value).next() else { return Ok(()) };
        let error = innermost(&error);
        let reason: String = format!("{definition}: {}", error.masked()).chars().take(REASON_CHARS).collect();
        Err(Misfit::new(&format!("{at}{}", error.instance_path()), reason))
    }

    fn validator(&self, definition: &str) -> Result<Arc<Validator>, Misfit> {
        let mut validators = self.validators.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(validator) = validators.get(definition) {
            return Ok(Arc::clone(validator));
        }
        let mut document = self.document.clone();
        if let Some(members) = document.as_object_mut() {
            members.insert("$ref".into(), json!(format!("#/{}/{definition}", self.root)));
        }
        let validator = jsonschema::validator_for(&document).map_err(|error| Misfit::new("", format!("{definition}: {error}")))?;
        let validator = Arc::new(validator);
        validators.insert(definition.to_owned(), Arc::clone(&validator));
        Ok(validator)
    }
}

/// Of the branches of a union, the one that was meant: not refused by its tag, and read farthest.
fn innermost<'e>(error: &'e ValidationError<'e>) -> &'e ValidationError<'e> {
    let (ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context }) = error.kind() else { return error };
    let is_tag =
        |error: &ValidationError<'_>| matches!(error.kind(), ValidationErrorKind::Constant { .. } | ValidationErrorKind::Enum { .. });
    let meant = context.iter().filter(|branch| !branch.iter().any(is_tag)).filter_map(|branch| branch.first());
    meant.map(innermost).max_by_key(|error| error.instance_path().as_str().matches('/').count()).unwrap_or(error)
}

fn method_of(definition: &Value) -> Option<&str> {
    definition.pointer("/properties/method/const")?.as_str()
}

fn code_of(definition: &Value) -> Option<i64> {
    let parts = definition.pointer("/properties/error/allOf")?.as_array()?;
    parts.iter().find_map(|part| part.pointer("/properties/code/const")?.as_i64())
}

/// Methods of all members of these unions.
fn union(definitions: &Map<String, Value>, names: &[&str]) -> BTreeSet<String> {
    let unions = names.iter().filter_map(|name| definitions.get(*name));
    let members = unions.flat_map(|union| match union.get("anyOf").and_then(Value::as_array) {
        Some(members) => members.iter().filter_map(|member| definitions.get(member.get("$ref")?.as_str()?.rsplit('/').next()?)).collect(),
        None => vec![union],
    });
    members.filter_map(method_of).map(str::to_owned).collect()
}

#[cfg(test)]
#[path = "tests.rs"]
pub(super) mod tests;
