//! The first words on a new pipe: which era a server speaks, what it says of itself (MCP 2026-07-28 and 2025-11-25, lifecycle).
//!
//! ```text
//! Discover ── DiscoverResult ──────────► stateless
//!    │  ├──── any other answer ─► initialize on the same pipe
//!    │  ├──── silence ──────────► initialize as well; whichever is answered first decides
//!    │  └──── exit ─────────────► Gone: the caller tries again with Initialize
//! Initialize ── result ─► notifications/initialized ─► handshake
//!    └──── error ─► once more with a revision the server lists, else the oldest
//! ```

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout, timeout_at};

use super::link::Link;
use crate::{
    bridge::outgoing,
    mux::{Deadline, WireId},
    protocol::{
        Era, Kind, Message, Version,
        capability::{Profile, makes_tasks},
        code::{Code, Reason},
        mark::{self, Mark},
    },
    upstream::{Event, Exchange, exchange::Wants},
};

/// A server silent for this long, or for a quarter of its start time, may be one that ignores what it does not know.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// What to say first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::upstream) enum First {
    Discover,
    Initialize,
}

/// What a server is told of the hub.
#[derive(Clone, Debug)]
pub(in crate::upstream) struct Speaker {
    /// What its callers can do.
    pub(in crate::upstream) profile: Profile,
    pub(in crate::upstream) mark: Mark,
}

/// What a server said of itself.
#[derive(Clone, Debug)]
pub(in crate::upstream) struct Greeting {
    pub(in crate::upstream) version: Version,
    /// Raw JSON objects.
    pub(in crate::upstream) server_info: Bytes,
    pub(in crate::upstream) capabilities: Bytes,
    pub(in crate::upstream) instructions: Option<String>,
    pub(in crate::upstream) declared: Declared,
}

/// What its capabilities say of which it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::upstream) struct Declared {
    pub(in crate::upstream) tools: bool,
    pub(in crate::upstream) prompts: bool,
    /// And templates.
    pub(in crate::upstream) resources: bool,
    /// It tells when the list changes.
    pub(in crate::upstream) tools_change: bool,
    pub(in crate::upstream) prompts_change: bool,
    pub(in crate::upstream) resources_change: bool,
    /// It tells when one resource changes.
    pub(in crate::upstream) subscribe: bool,
    pub(in crate::upstream) logging: bool,
    /// It makes tasks of calls.
    pub(in crate::upstream) tasks: bool,
}

impl Declared {
    /// Of each that it has.
    pub(in crate::upstream) fn tells_of_all_lists(self) -> bool {
        let lists = [(self.tools, self.tools_change), (self.prompts, self.prompts_change), (self.resources, self.resources_change)];
        lists.into_iter().all(|(is_there, is_told)| is_told || !is_there)
    }

    fn read(capabilities: &[u8], era: Era) -> Self {
        let said: Said<'_> = serde_json::from_slice(capabilities).unwrap_or_default();
        let [tools, prompts, resources] = [said.tools, said.prompts, said.resources].map(details);
        let changes = |details: &Option<Details>| details.as_ref().is_some_and(|details| details.list_changed);
        Self {
            tools: tools.is_some(),
            prompts: prompts.is_some(),
            resources: resources.is_some(),
            tools_change: changes(&tools),
            prompts_change: changes(&prompts),
            resources_change: changes(&resources),
            subscribe: resources.is_some_and(|details| details.subscribe),
            logging: said.logging.is_some(),
            tasks: std::str::from_utf8(capabilities).is_ok_and(|said| makes_tasks(said, era)),
        }
    }
}

/// What is there but cannot be read declares no details.
fn details(raw: Option<&RawValue>) -> Option<Details> {
    raw.map(|raw| serde_json::from_str(raw.get()).unwrap_or_default())
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::upstream) enum GreetError {
    #[error("exited during the handshake")]
    Gone,
    #[error("did not answer the handshake in time")]
    Silent,
    #[error("refused the handshake: {0}")]
    Refused(String),
    #[error("is this hub itself: take the entry out (self_reference)")]
    Itself,
}

/// Until `until`. The link knows the version when this returns. A server of the handshake era is told of `profile`.
pub(in crate::upstream) async fn greet(link: &Link, first: First, speaker: &Speaker, until: Instant) -> Result<Greeting, GreetError> {
    let greeting = match first {
        First::Discover => discover(link, speaker, until).await?,
        First::Initialize => initialize(link, speaker, until).await?,
    };
    link.set_version(greeting.version);
    if greeting.version != Version::STATELESS {
        link.notify(outgoing::own_notification("notifications/initialized", greeting.version));
    }
    Ok(greeting)
}

async fn discover(link: &Link, speaker: &Speaker, until: Instant) -> Result<Greeting, GreetError> {
    let silence = (until.saturating_duration_since(Instant::now()) / 4).min(SILENCE_MAX);
    let mut discovery = ask(link, until, |wire| outgoing::discover(wire, &speaker.mark))?;
    let Ok(event) = timeout(silence, discovery.next()).await else { return race(link, discovery, speaker, until).await };
    match discovered(event)? {
        Some(greeting) => Ok(greeting),
        None => initialize(link, speaker, until).await,
    }
}

/// `None`: whatever it answered, it is of the handshake era.
fn discovered(event: Event) -> Result<Option<Greeting>, GreetError> {
    match answer(event) {
        Ok(message) if mark::is_self_reference(&message) => Err(GreetError::Itself),
        Ok(message) => Ok(read_discovery(&message)),
        Err(GreetError::Refused(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Nothing came: the server may be loading, or ignore what it does not know.
async fn race(link: &Link, mut discovery: Exchange, speaker: &Speaker, until: Instant) -> Result<Greeting, GreetError> {
    let mut handshake = std::pin::pin!(initialize(link, speaker, until));
    tokio::select! {
        biased;
        event = discovery.next() => if let Some(greeting) = discovered(event)? {
            return Ok(greeting);
        },
        greeting = &mut handshake => return greeting,
    }
    handshake.await
}

async fn initialize(link: &Link, speaker: &Speaker, until: Instant) -> Result<Greeting, GreetError> {
    let mut version = Version::LATEST_HANDSHAKE;
    let mut refusal = None;
    for _ in 0..2 {
        let params = initialize_params(version, speaker);
        let mut asked = ask(link, until, |wire| outgoing::own(wire, "initialize", &params, version))?;
        let event = timeout_at(until, asked.next()).await.map_err(|_| GreetError::Silent)?;
        let message = answer(event)?;
        if message.kind() == Kind::Result {
            return read_initialized(&message);
        }
        if mark::is_self_reference(&message) {
            return Err(GreetError::Itself);
        }
        let error = RpcError::read(&message);
        version = error.supported().unwrap_or(Version::V2024_11_05);
        refusal = Some(error.code);
    }
    Err(GreetError::Refused(format!("initialize failed with code {}", refusal.unwrap_or_default())))
}

/// Of `initialize`.
pub(in crate::upstream) fn initialize_params(version: Version, speaker: &Speaker) -> String {
    // Elicitation by URL came with the newest revision.
    let Speaker { profile, mark } = speaker;
    let profile = if version == Version::LATEST_HANDSHAKE { *profile } else { profile.without(Profile::URL) };
    format!(
        r#"{{"protocolVersion":"{}","capabilities":{},"clientInfo":{{"name":"{}","version":"{}"}},"_meta":{{{}}}}}"#,
        version.as_str(),
        profile.declare(version),
        env!("CARGO_PKG_NAME"),
        env!("CARGO_PKG_VERSION"),
        mark.member()
    )
}

fn ask(link: &Link, until: Instant, line: impl FnOnce(WireId) -> Bytes) -> Result<Exchange, GreetError> {
    let left = until.saturating_duration_since(Instant::now());
    let deadline = Deadline { call: left, call_max: left };
    let opened = link.open(Wants::HUBS, deadline, line);
    Ok(Exchange::new(opened.map_err(|_| GreetError::Gone)?, None))
}

fn answer(event: Event) -> Result<Message, GreetError> {
    match event {
        Event::Answer(message) => Ok(message),
        Event::Failed(error) if error.reason == Reason::Timeout => Err(GreetError::Silent),
        Event::Failed(error) if error.reason == Reason::BadAnswer => {
            Err(GreetError::Refused("it answered with something that is no answer".into()))
        }
        _ => Err(GreetError::Gone),
    }
}

/// `None`: not a `DiscoverResult` of a revision we speak, so the server belongs to the handshake era. Some servers answer `{}` to
/// whatever they do not know.
pub(in crate::upstream) fn read_discovery(message: &Message) -> Option<Greeting> {
    if message.kind() == Kind::Error {
        return None;
    }
    let discovery: Discovery<'_> = serde_json::from_slice(message.token(message.scan().result?)).ok()?;
    let ours = Version::STATELESS.as_str();
    if !discovery.supported_versions.iter().any(|version| version == ours) {
        return None;
    }
    Some(greeting(message, Version::STATELESS, discovery.meta.server_info, discovery.capabilities, discovery.instructions))
}

/// What a server speaks that was spoken to in the stateless way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::upstream) enum Spoken {
    Stateless,
    /// Not that, but revisions that have a handshake.
    Handshake,
    /// Nothing that the hub knows: what it names, fit to be shown.
    Unknown(String),
}

/// Of an answer to `server/discover`, or of the error that refuses its revision. `None`: it does not say.
pub(in crate::upstream) fn read_spoken(answer: &Message) -> Option<Spoken> {
    let named = match answer.kind() {
        Kind::Error if answer.error_code() == Some(Code::UnsupportedVersion.number()) => RpcError::read(answer).listed()?,
        Kind::Result => {
            let discovery: Discovery<'_> = serde_json::from_slice(answer.token(answer.scan().result?)).ok()?;
            discovery.supported_versions
        }
        _ => return None,
    };
    let known: Vec<_> = named.iter().filter_map(|name| Version::parse(name)).collect();
    Some(match known.as_slice() {
        [] => Spoken::Unknown(shown(&named)),
        known if known.contains(&Version::STATELESS) => Spoken::Stateless,
        _ => Spoken::Handshake,
    })
}

/// Of names that a server gives its revisions, a few that look like such.
fn shown(names: &[String]) -> String {
    let is_plain = |name: &&str| name.len() <= 32 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    let plain: Vec<&str> = names.iter().map(String::as_str).filter(is_plain).take(8).collect();
    if plain.is_empty() { "none".to_owned() } else { plain.join(", ") }
}

pub(in crate::upstream) fn read_initialized(message: &Message) -> Result<Greeting, GreetError> {
    let refused = |what: &str| GreetError::Refused(what.into());
    let result = message.scan().result.ok_or_else(|| refused("it answered without a result"))?;
    let said: Initialized<'_> =
        serde_json::from_slice(message.token(result)).map_err(|_| refused("its answer to initialize cannot be read"))?;
    let version = Version::parse(&said.protocol_version).filter(|version| *version != Version::STATELESS);
    let version = version.ok_or_else(|| refused("it speaks no revision that the hub knows"))?;
    Ok(greeting(message, version, said.server_info, said.capabilities, said.instructions))
}

fn greeting(
    message: &Message,
    version: Version,
    server_info: Option<&RawValue>,
    capabilities: Option<&RawValue>,
    instructions: Option<String>,
) -> Greeting {
    let object = |raw: Option<&RawValue>| match raw.map(RawValue::get) {
        Some(text) if text.starts_with('{') => message.bytes().slice_ref(text.as_bytes()),
        _ => Bytes::from_static(b"{}"),
    };
    let capabilities = object(capabilities);
    let declared = Declared::read(&capabilities, version.era());
    Greeting { version, server_info: object(server_info), capabilities, instructions, declared }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Discovery<'a> {
    supported_versions: Vec<String>,
    #[serde(borrow)]
    capabilities: Option<&'a RawValue>,
    instructions: Option<String>,
    #[serde(rename = "_meta", default)]
    meta: DiscoveryMeta<'a>,
}

#[derive(Default, Deserialize)]
struct DiscoveryMeta<'a> {
    #[serde(borrow, rename = "io.modelcontextprotocol/serverInfo")]
    server_info: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Initialized<'a> {
    protocol_version: String,
    #[serde(borrow)]
    capabilities: Option<&'a RawValue>,
    #[serde(borrow)]
    server_info: Option<&'a RawValue>,
    instructions: Option<String>,
}

#[derive(Default, Deserialize)]
struct Said<'a> {
    #[serde(borrow)]
    tools: Option<&'a RawValue>,
    #[serde(borrow)]
    prompts: Option<&'a RawValue>,
    #[serde(borrow)]
    resources: Option<&'a RawValue>,
    #[serde(borrow)]
    logging: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Details {
    list_changed: bool,
    subscribe: bool,
}

/// An error of JSON-RPC, as far as it decides what to say next.
#[derive(Default, Deserialize)]
pub(in crate::upstream) struct RpcError {
    #[serde(default)]
    pub(in crate::upstream) code: i64,
    data: Option<serde_json::Value>,
}

impl RpcError {
    pub(in crate::upstream) fn read(message: &Message) -> Self {
        message.scan().error.and_then(|error| serde_json::from_slice(message.token(error)).ok()).unwrap_or_default()
    }

    /// The newest listed revision that has a handshake.
    pub(in crate::upstream) fn supported(&self) -> Option<Version> {
        let versions = self.listed()?;
        let versions = versions.iter().filter_map(|version| Version::parse(version));
        versions.filter(|version| *version != Version::STATELESS).max()
    }

    fn listed(&self) -> Option<Vec<String>> {
        let listed = self.data.as_ref()?.get("supported")?.as_array()?;
        Some(listed.iter().filter_map(|version| version.as_str().map(str::to_owned)).collect())
    }
}
