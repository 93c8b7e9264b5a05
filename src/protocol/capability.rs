//! What a client can do, as far as it decides what a server may ask of it. Every revision writes this differently (MCP 2024-11-05 to
//! 2026-07-28, client capabilities); a `Profile` is the normal form.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Era, Version, raw};
use crate::limits;

/// The extension of MCP Apps.
pub const UI: &str = "io.modelcontextprotocol/ui";
/// The tasks extension of 2026-07-28.
pub const TASKS: &str = "io.modelcontextprotocol/tasks";

/// A set of abilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Profile(u16);

impl Profile {
    /// Nobody can be asked anything.
    pub const BARE: Self = Self(0);
    pub const ROOTS: Self = Self(1);
    pub const SAMPLING: Self = Self(1 << 1);
    pub const SAMPLING_TOOLS: Self = Self(1 << 2);
    pub const SAMPLING_CONTEXT: Self = Self(1 << 3);
    pub const FORM: Self = Self(1 << 4);
    pub const URL: Self = Self(1 << 5);
    /// Renders MCP Apps. No ability to be asked: servers may list other tools for it.
    pub const UI: Self = Self(1 << 6);
    /// Understands the tasks of 2026-07-28.
    pub const TASKS: Self = Self(1 << 7);
    /// Says when its roots change, which only handshake clients do.
    pub const ROOTS_CHANGE: Self = Self(1 << 8);

    /// What can be asked of somebody.
    const QUESTIONS: Self = Self(Self::ROOTS.0 | Self::SAMPLING.0 | Self::FORM.0 | Self::URL.0);

    /// Of a raw JSON object of capabilities; what cannot be read declares nothing.
    pub fn read(capabilities: &[u8]) -> Self {
        let declared: Declared<'_> = serde_json::from_slice(capabilities).unwrap_or_default();
        let mut profile = Self::BARE;
        let mut add = |is_there: bool, ability: Self| {
            if is_there {
                profile.0 |= ability.0;
            }
        };
        if let Some(roots) = members(declared.roots) {
            add(true, Self::ROOTS);
            add(roots.list_changed.is_some_and(|changes| changes.get() == "true"), Self::ROOTS_CHANGE);
        }
        if let Some(sampling) = members(declared.sampling) {
            add(true, Self::SAMPLING);
            add(sampling.tools.is_some(), Self::SAMPLING_TOOLS);
            add(sampling.context.is_some(), Self::SAMPLING_CONTEXT);
        }
        if let Some(elicitation) = members(declared.elicitation) {
            // `{}` is how 2025-06-18 says forms.
            add(elicitation.form.is_some() || elicitation.url.is_none(), Self::FORM);
            add(elicitation.url.is_some(), Self::URL);
        }
        add(declared.extensions.ui.is_some(), Self::UI);
        add(declared.extensions.tasks.is_some(), Self::TASKS);
        profile
    }

    /// The raw JSON object that declares this to a server of that revision.
    pub fn declare(self, version: Version) -> String {
        self.declare_with(version, None)
    }

    /// The same with what no profile holds.
    pub fn declare_with(self, version: Version, extras: Option<&Extras>) -> String {
        let mut members: Vec<String> = Vec::new();
        if self.has(Self::ROOTS) {
            let changes = self.has(Self::ROOTS_CHANGE) && version.era() == Era::Handshake;
            members.push(if changes { r#""roots":{"listChanged":true}"# } else { r#""roots":{}"# }.into());
        }
        if self.has(Self::SAMPLING) {
            let details: Vec<_> = [(Self::SAMPLING_TOOLS, r#""tools":{}"#), (Self::SAMPLING_CONTEXT, r#""context":{}"#)]
                .into_iter()
                .filter_map(|(ability, member)| self.has(ability).then_some(member))
                .collect();
            members.push(format!(r#""sampling":{{{}}}"#, details.join(",")));
        }
        let modes: Vec<_> = [(Self::FORM, r#""form":{}"#), (Self::URL, r#""url":{}"#)]
            .into_iter()
            .filter_map(|(ability, member)| self.has(ability).then_some(member))
            .collect();
        if !modes.is_empty() {
            members.push(format!(r#""elicitation":{{{}}}"#, modes.join(",")));
        }
        let extras = extras.map_or(("", ""), |extras| (extras.extensions.as_str(), extras.experimental.as_str()));
        if !extras.1.is_empty() {
            members.push(format!(r#""experimental":{{{}}}"#, extras.1));
        }
        let mut extensions = Vec::new();
        if !extras.0.is_empty() {
            extensions.push(extras.0.to_owned());
        }
        if self.has(Self::UI) {
            extensions.push(format!(r#""{UI}":{{"mimeTypes":["text/html;profile=mcp-app"]}}"#));
        }
        if self.has(Self::TASKS) && version.era() == Era::Stateless {
            extensions.push(format!(r#""{TASKS}":{{}}"#));
        }
        if !extensions.is_empty() {
            members.push(format!(r#""extensions":{{{}}}"#, extensions.join(",")));
        }
        format!("{{{}}}", members.join(","))
    }

    /// Every set that there is.
    pub fn every() -> impl Iterator<Item = Self> {
        (0..Self::ROOTS_CHANGE.0 << 1).map(Self)
    }

    pub const fn has(self, ability: Self) -> bool {
        self.0 & ability.0 == ability.0
    }

    pub const fn with(self, ability: Self) -> Self {
        Self(self.0 | ability.0)
    }

    /// What both have.
    pub const fn only(self, abilities: Self) -> Self {
        Self(self.0 & abilities.0)
    }

    pub const fn without(self, ability: Self) -> Self {
        Self(self.0 & !ability.0)
    }

    /// A number for each set, the same in every process of this build.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// How many abilities it has.
    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether a server could ask anything of it.
    pub const fn can_be_asked(self) -> bool {
        self.0 & Self::QUESTIONS.0 != 0
    }
}

/// What a client declares that no `Profile` holds: extensions of others, and what is experimental. Only their two parties know what
/// such members say, so they stay as they were written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// Raw JSON members of `extensions`: `"acme/x":{"a":1},…`
    extensions: String,
    /// The same of `experimental`.
    experimental: String,
}

impl Extras {
    /// Of a raw JSON object of capabilities, as far as the server with those capabilities declares the same: an extension is off unless
    /// both do (MCP 2026-07-28, extensions). `None`: there are none, or more than `limits::CLIENT_EXTRAS_BYTES_MAX`.
    pub fn shared(client: &[u8], server: &[u8]) -> Option<Self> {
        let may_be = |said: &[u8]| ["extensions", "experimental"].iter().any(|key| memchr::memmem::find(said, key.as_bytes()).is_some());
        if !may_be(client) || !may_be(server) || client.len() > limits::CLIENT_EXTRAS_BYTES_MAX {
            return None;
        }
        let (client, server) = (std::str::from_utf8(client).ok()?, std::str::from_utf8(server).ok()?);
        let both = |key: &str| {
            let (client, server) = (raw::member(client, key).ok()??, raw::member(server, key).ok()??);
            let server = raw::fields(server)?;
            let own = |field: &&raw::Field<'_>| !matches!(&*field.key, UI | TASKS) && field.value.starts_with('{');
            let is_shared = |field: &&raw::Field<'_>| own(field) && server.iter().any(|theirs| theirs.key == field.key);
            let client = raw::fields(client)?;
            // What stands twice two readers could read differently.
            let is_once = |field: &&raw::Field<'_>| client.iter().filter(|other| other.key == field.key).count() == 1;
            let mut members = String::new();
            for raw::Field { key_token, value, .. } in client.iter().filter(is_shared).filter(is_once) {
                let comma = if members.is_empty() { "" } else { "," };
                members.push_str(&format!("{comma}{key_token}:{value}"));
            }
            Some(raw::on_one_line(members))
        };
        let shared = Self { extensions: both("extensions").unwrap_or_default(), experimental: both("experimental").unwrap_or_default() };
        (shared != Self::default()).then_some(shared)
    }

    /// Of a raw JSON object of capabilities, the part in which there may be any; `None`: there is none, or more than
    /// `limits::CLIENT_EXTRAS_BYTES_MAX`.
    pub fn declared(capabilities: &str) -> Option<String> {
        let mut kept = raw::Writer::new();
        for key in ["extensions", "experimental"] {
            let is_any = |field: &raw::Field<'_>| !matches!(&*field.key, UI | TASKS);
            let declared = raw::member(capabilities, key).ok().flatten();
            if let Some(declared) = declared.filter(|declared| raw::fields(declared).is_some_and(|fields| fields.iter().any(is_any))) {
                kept = kept.member(key, declared);
            }
        }
        Some(kept).filter(|kept| !kept.is_empty()).map(raw::Writer::finish).filter(|kept| kept.len() <= limits::CLIENT_EXTRAS_BYTES_MAX)
    }
}

/// `execution.taskSupport` of a tool (MCP 2025-11-25, tasks).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TaskSupport {
    #[default]
    Forbidden,
    Optional,
    Required,
}

impl TaskSupport {
    /// Of a tool's definition, raw JSON.
    pub fn of(definition: &[u8]) -> Self {
        // Few have any.
        if memchr::memmem::find(definition, b"askSupport").is_none() {
            return Self::Forbidden;
        }
        let execution = std::str::from_utf8(definition).ok().and_then(|tool| raw::member(tool, "execution").ok()?);
        let support = execution.and_then(|execution| raw::text(raw::member(execution, "taskSupport").ok()??));
        match support.as_deref() {
            Some("optional") => Self::Optional,
            Some("required") => Self::Required,
            _ => Self::Forbidden,
        }
    }
}

/// Whether a server with these capabilities (a raw JSON object) makes tasks of calls of its tools, in the way of its era.
pub fn makes_tasks(capabilities: &str, server: Era) -> bool {
    let path: &[&str] = match server {
        Era::Handshake => &["tasks", "requests", "tools", "call"],
        Era::Stateless => &["extensions", TASKS],
    };
    path.iter().try_fold(capabilities, |object, key| raw::member(object, key).ok()?).is_some_and(|last| last.starts_with('{'))
}

/// `null` is not there; anything else that is no object is there and empty.
fn members(raw: Option<&RawValue>) -> Option<Details<'_>> {
    raw.map(|raw| serde_json::from_str(raw.get()).unwrap_or_default())
}

#[derive(Default, Deserialize)]
struct Declared<'a> {
    #[serde(borrow)]
    roots: Option<&'a RawValue>,
    #[serde(borrow)]
    sampling: Option<&'a RawValue>,
    #[serde(borrow)]
    elicitation: Option<&'a RawValue>,
    #[serde(borrow, default)]
    extensions: Extensions<'a>,
}

#[derive(Default, Deserialize)]
struct Extensions<'a> {
    #[serde(borrow, rename = "io.modelcontextprotocol/ui")]
    ui: Option<&'a RawValue>,
    #[serde(borrow, rename = "io.modelcontextprotocol/tasks")]
    tasks: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Details<'a> {
    #[serde(borrow)]
    tools: Option<&'a RawValue>,
    #[serde(borrow)]
    context: Option<&'a RawValue>,
    #[serde(borrow)]
    form: Option<&'a RawValue>,
    #[serde(borrow)]
    url: Option<&'a RawValue>,
    #[serde(borrow, rename = "listChanged")]
    list_changed: Option<&'a RawValue>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_say_it_has_one_form() {
        for (said, declared) in [
            ("{}", "{}"),
            ("no json", "{}"),
            (r#"{"roots":{"listChanged":true},"experimental":{}}"#, r#"{"roots":{}}"#),
            (r#"{"sampling":{}}"#, r#"{"sampling":{}}"#),
            (r#"{"sampling":{"tools":{},"context":{}}}"#, r#"{"sampling":{"tools":{},"context":{}}}"#),
            (r#"{"elicitation":{}}"#, r#"{"elicitation":{"form":{}}}"#),
            (r#"{"elicitation":{"form":{}}}"#, r#"{"elicitation":{"form":{}}}"#),
            (r#"{"elicitation":{"url":{}}}"#, r#"{"elicitation":{"url":{}}}"#),
            (r#"{"elicitation":{"url":{},"form":{"x":1}}}"#, r#"{"elicitation":{"form":{},"url":{}}}"#),
            (r#"{"elicitation":null}"#, "{}"),
            (r#"{"extensions":{"io.modelcontextprotocol/tasks":{},"own/x":{}}}"#, r#"{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#),
        ] {
            assert_eq!(Profile::read(said.as_bytes()).declare(Version::STATELESS), declared, "{said}");
        }
        for (said, declared) in [("true", r#"{"roots":{"listChanged":true}}"#), ("false", r#"{"roots":{}}"#), ("1", r#"{"roots":{}}"#)] {
            let profile = Profile::read(format!(r#"{{"roots":{{"listChanged":{said}}}}}"#).as_bytes());
            assert_eq!(profile.declare(Version::LATEST_HANDSHAKE), declared, "{said}");
        }
        let tasks = Profile::BARE.with(Profile::TASKS);
        assert_eq!(tasks.declare(Version::LATEST_HANDSHAKE), "{}", "an extension of the stateless era only");
    }

    #[test]
    fn what_both_declare_is_declared_as_the_client_wrote_it() {
        let server = br#"{"extensions":{"acme/x":{"v":1},"io.modelcontextprotocol/ui":{}},"experimental":{"e":{}}}"#;
        for (client, declared) in [
            (r#"{"extensions":{"acme/x":{ "z":1.0 }}}"#, Some(r#"{"extensions":{"acme/x":{ "z":1.0 }}}"#)),
            ("{\"extensions\":{\"acme/x\":{\n\"z\":1},\"other/y\":{}}}", Some(r#"{"extensions":{"acme/x":{ "z":1}}}"#)),
            (r#"{"experimental":{"e":{"q":1},"f":{}}}"#, Some(r#"{"experimental":{"e":{"q":1}}}"#)),
            (r#"{"extensions":{"other/y":{}}}"#, None),
            (r#"{"extensions":{"acme/x":{},"acme/x":{"a":1}}}"#, None),
            (r#"{"extensions":{"acme/x":7}}"#, None),
            (r#"{"extensions":{"io.modelcontextprotocol/ui":{}}}"#, None),
            (r#"{"extensions":7}"#, None),
            (r#"{"roots":{}}"#, None),
        ] {
            let extras = Extras::shared(client.as_bytes(), server);
            let said = extras.as_ref().map(|extras| Profile::BARE.declare_with(Version::STATELESS, Some(extras)));
            assert_eq!(said.as_deref(), declared, "{client}");
            // What a session keeps of it is enough.
            let kept = Extras::declared(client);
            assert_eq!(kept.and_then(|kept| Extras::shared(kept.as_bytes(), server)), extras, "{client}");
        }
        let large = format!(r#"{{"extensions":{{"acme/x":{{"z":"{}"}}}}}}"#, "z".repeat(limits::CLIENT_EXTRAS_BYTES_MAX));
        assert_eq!((Extras::shared(large.as_bytes(), server), Extras::declared(&large)), (None, None));
        assert_eq!(Extras::shared(br#"{"extensions":{"acme/x":{}}}"#, b"{}"), None);
        let both = Extras::shared(br#"{"extensions":{"acme/x":{}}}"#, server);
        assert_eq!(
            Profile::ROOTS.with(Profile::UI).declare_with(Version::STATELESS, both.as_ref()),
            r#"{"roots":{},"extensions":{"acme/x":{},"io.modelcontextprotocol/ui":{"mimeTypes":["text/html;profile=mcp-app"]}}}"#
        );
    }

    #[test]
    fn a_tool_says_what_it_supports() {
        for (tool, support) in [
            (r#"{"name":"a","execution":{"taskSupport":"required"}}"#, TaskSupport::Required),
            (r#"{"execution":{"taskSupport":"optional"}}"#, TaskSupport::Optional),
            (r#"{"execution":{"taskSupport":"sometimes"}}"#, TaskSupport::Forbidden),
            (r#"{"taskSupport":"required"}"#, TaskSupport::Forbidden),
            (r#"{"name":"a"}"#, TaskSupport::Forbidden),
        ] {
            assert_eq!(TaskSupport::of(tool.as_bytes()), support, "{tool}");
        }
    }

    #[test]
    fn each_era_says_in_its_way_that_a_server_makes_tasks() {
        for (said, handshake, stateless) in [
            (r#"{"tasks":{"requests":{"tools":{"call":{}}}}}"#, true, false),
            (r#"{"tasks":{"list":{},"requests":{"sampling":{}}}}"#, false, false),
            (r#"{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#, false, true),
            (r#"{"extensions":{"io.modelcontextprotocol/tasks":null}}"#, false, false),
            ("{}", false, false),
        ] {
            assert_eq!((makes_tasks(said, Era::Handshake), makes_tasks(said, Era::Stateless)), (handshake, stateless), "{said}");
        }
    }

    #[test]
    fn only_what_can_be_answered_is_a_question() {
        assert!(!Profile::BARE.with(Profile::UI).with(Profile::TASKS).can_be_asked());
        for ability in [Profile::ROOTS, Profile::SAMPLING, Profile::FORM, Profile::URL] {
            assert!(ability.can_be_asked());
            assert!(!ability.without(ability).can_be_asked());
        }
    }
}
