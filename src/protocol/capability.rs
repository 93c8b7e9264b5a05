//! What a client can do, as far as it decides what a server may ask of it. Every revision writes this differently (MCP 2024-11-05 to
//! 2026-07-28, client capabilities); a `Profile` is the normal form.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Era, Version, raw};

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
        let mut extensions = Vec::new();
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
