//! One server entry of any dialect. Every field has one meaning, whatever other hosts call it.

use std::collections::BTreeMap;

use serde_json::Map;

use super::{
    Remote,
    document::{Notes, Place},
    life::Life,
    remote,
    settings::{Builtin, Launch},
    shown,
    value::{Fault, Field, texts, to_json},
};

/// An entry as read; names, scope and the file's defaults are still to come.
pub(super) struct Entry {
    /// The name as the file has it.
    pub(super) written: String,
    /// `None`: of no file.
    pub(super) place: Option<Place>,
    /// Where its texts stand that may turn out wrong when it starts: those with placeholders, `envFile` and `cwd`. Of equal ones the first.
    pub(super) texts: BTreeMap<String, Place>,
    /// From a file with `tenants`, whose format has defaults of its own.
    pub(super) native: bool,
    pub(super) launch: Launch,
    pub(super) display_name: Option<String>,
    pub(super) description: Option<String>,
    pub(super) kind: String,
    pub(super) enabled: bool,
    pub(super) life: Life,
    pub(super) error: Option<String>,
    pub(super) shown: Map<String, serde_json::Value>,
}

impl Entry {
    pub(super) fn read(field: &Field<'_>, native: bool, notes: &mut Notes<'_>) -> Self {
        let mut draft = Draft::default();
        let shown = notes.keep(to_json(field.value)).and_then(|value| match value {
            serde_json::Value::Object(map) => Some(shown::mask(map)),
            _ => None,
        });
        // Where a name is given twice, nothing in the entry can be relied on: `to_json` noted it, at any depth.
        if notes.error.is_none() {
            for field in notes.keep(field.object_unlabelled()).unwrap_or_default() {
                draft.take(&field, notes);
            }
            draft.settle(field.at, notes);
        }
        let error = notes.error.take();
        Self {
            written: field.name.to_owned(),
            place: Some(notes.place(field.at)),
            texts: late_texts(field, notes),
            native,
            enabled: error.is_none() && draft.is_enabled(),
            launch: draft.launch(),
            display_name: draft.display_name,
            description: draft.description.or(draft.metadata_description),
            kind: draft.kind.unwrap_or_else(|| "unknown".to_owned()),
            life: draft.life,
            error,
            shown: shown.unwrap_or_default(),
        }
    }

    /// A demo server that no file names.
    pub(super) fn demo(builtin: Builtin) -> Self {
        Self {
            written: builtin.as_str().to_owned(),
            place: None,
            texts: BTreeMap::new(),
            native: false,
            launch: Launch::Builtin(builtin),
            display_name: None,
            description: None,
            kind: "unknown".to_owned(),
            enabled: true,
            life: Life::default(),
            error: None,
            shown: Map::from_iter([("builtin".to_owned(), builtin.as_str().into())]),
        }
    }
}

/// What was found so far.
#[derive(Default)]
struct Draft {
    command: Option<String>,
    args: Vec<String>,
    env: BTreeMap<String, Option<String>>,
    env_file: Option<String>,
    cwd: Option<String>,
    url: Option<String>,
    headers: BTreeMap<String, String>,
    allow_private: bool,
    builtin: Option<Builtin>,
    /// Position, field and meaning of `transport` and of `type` when that is a transport word.
    transports: Vec<(usize, String, Transport)>,
    display_name: Option<String>,
    description: Option<String>,
    metadata_description: Option<String>,
    kind: Option<String>,
    enabled: Option<bool>,
    /// Position and inverse of `disabled`.
    disabled: Option<(usize, bool)>,
    life: Life,
}

#[derive(Clone, Copy, PartialEq)]
enum Transport {
    Child,
    Remote(remote::Transport),
}

const HTTP: Transport = Transport::Remote(remote::Transport::Http);

const TRANSPORTS: [(&str, Transport); 7] = [
    ("stdio", Transport::Child),
    ("local", Transport::Child),
    ("http", HTTP),
    ("streamable-http", HTTP),
    ("streamableHttp", HTTP),
    ("remote", HTTP),
    ("sse", Transport::Remote(remote::Transport::Sse)),
];

impl Draft {
    fn take(&mut self, field: &Field<'_>, notes: &mut Notes<'_>) {
        match field.name {
            "command" => self.command = notes.keep(field.text().and_then(|text| no_nul(field, text))),
            "args" => self.args = notes.keep(field.strings().and_then(|args| no_nuls(field, args))).unwrap_or_default(),
            "env" => self.env = notes.keep(environment(field)).unwrap_or_default(),
            "envFile" => self.env_file = notes.keep(field.or_null(Field::text)).flatten(),
            "cwd" => self.cwd = notes.keep(field.or_null(Field::text)).flatten(),
            "url" | "serverUrl" | "httpUrl" => {
                let url = notes.keep(field.text().and_then(|url| web_address(field, url)));
                if url.is_some_and(|url| self.url.replace(url).is_some()) {
                    notes.fail(field.at, "the address is given twice; keep one of \"url\", \"serverUrl\", \"httpUrl\"");
                }
            }
            "headers" => self.headers = notes.keep(headers(field)).unwrap_or_default(),
            "allow_private" => self.allow_private = notes.keep(field.flag()).unwrap_or_default(),
            "builtin" => self.builtin = notes.keep(field.one_of(&[("echo", Builtin::Echo), ("math", Builtin::Math)])),
            "transport" => {
                let transport = notes.keep(field.one_of(&TRANSPORTS));
                self.transports.extend(transport.map(|transport| (field.at, field.label.clone(), transport)));
            }
            "type" => self.take_type(field, notes),
            "name" => self.display_name = notes.keep(field.or_null(Field::string)).flatten(),
            "description" => self.description = notes.keep(field.or_null(Field::string)).flatten(),
            "metadata" => {
                let metadata = notes.keep(field.object()).unwrap_or_default();
                let description = metadata.iter().find(|field| field.name == "description");
                self.metadata_description = description.and_then(|description| description.string().ok());
            }
            "capabilities" => drop(notes.keep(field.strings())),
            "enabled" => self.enabled = notes.keep(field.flag()),
            "disabled" => self.disabled = notes.keep(field.flag()).map(|disabled| (field.at, disabled)),
            // Lists that keep nothing away restrict nothing; some hosts always write them.
            "excludeTools" | "disabledTools" | "disabled_tools" if field.value.as_array().is_some_and(|list| list.elements.is_empty()) => {}
            "tools" | "includeTools" | "excludeTools" | "disabledTools" | "disabled_tools" | "prompts" | "resources" | "quotas"
            | "limits" => notes.restricting(field.at, &field.label),
            "dev" | "passthrough_headers" | "user_env" | "oauth" | "cache" | "versions" | "instances" | "balance" | "image" => {
                notes.later(field.at, &field.label)
            }
            "alwaysAllow" | "autoApprove" | "trust" => {}
            kept if kept.starts_with("x-") => {}
            _ if self.life.take(field, notes) => {}
            _ => notes.unknown(field.at, &field.label),
        }
    }

    /// A transport word, or a label.
    fn take_type(&mut self, field: &Field<'_>, notes: &mut Notes<'_>) {
        let Some(word) = notes.keep(field.string()) else { return };
        match TRANSPORTS.iter().find(|(known, _)| *known == word) {
            Some((_, transport)) => self.transports.push((field.at, field.label.clone(), *transport)),
            None => self.kind = Some(word),
        }
    }

    fn settle(&mut self, at: usize, notes: &mut Notes<'_>) {
        self.life.settle(at, notes);
        if let (Some(enabled), Some((disabled_at, disabled))) = (self.enabled, self.disabled)
            && enabled == disabled
        {
            notes.fail(disabled_at, "\"enabled\" and \"disabled\" contradict each other; remove one");
        }
        // A field with an error of its own counts as absent here: one message is enough.
        let ways = [self.command.is_some(), self.url.is_some(), self.builtin.is_some()].into_iter().filter(|given| *given).count();
        match ways {
            0 if notes.error.is_none() => {
                notes.fail(at, "nothing to run; write \"command\" (a program), \"url\" (a server elsewhere), or \"builtin\"");
            }
            0 | 1 => {}
            _ => notes.fail(at, "only one of \"command\", \"url\", \"builtin\" is possible; remove the others"),
        }
        let is_child = self.url.is_none();
        if let Some((transport_at, label, said)) = self.transports.iter().find(|(_, _, said)| (*said == Transport::Child) != is_child)
            && ways == 1
        {
            let message = match said {
                Transport::Child => format!("\"{label}\" names a child, but there is a \"url\"; remove one"),
                Transport::Remote(_) => {
                    format!("\"{label}\" names a remote server, but there is no \"url\"; remove it or write the address")
                }
            };
            notes.fail(*transport_at, message);
        }
    }

    fn is_enabled(&self) -> bool {
        self.enabled.unwrap_or_else(|| self.disabled.is_none_or(|(_, disabled)| !disabled))
    }

    fn launch(&mut self) -> Launch {
        if let Some(url) = self.url.take() {
            let said = self.transports.iter().find_map(|(_, _, said)| match said {
                Transport::Remote(transport) => Some(*transport),
                Transport::Child => None,
            });
            return Launch::Remote(Remote {
                url,
                headers: std::mem::take(&mut self.headers),
                env: std::mem::take(&mut self.env),
                env_file: self.env_file.take(),
                transport: said.unwrap_or_default(),
                allow_private: self.allow_private,
            });
        }
        match self.builtin {
            Some(builtin) => Launch::Builtin(builtin),
            None => Launch::Command {
                command: self.command.take().unwrap_or_default(),
                args: std::mem::take(&mut self.args),
                env: std::mem::take(&mut self.env),
                env_file: self.env_file.take(),
                cwd: self.cwd.take(),
            },
        }
    }
}

/// What is looked into only when the server starts.
fn late_texts(field: &Field<'_>, notes: &Notes<'_>) -> BTreeMap<String, Place> {
    let mut found = BTreeMap::new();
    texts(field.value, &mut |name, text, at| {
        if (matches!(name, "envFile" | "cwd") || text.contains("${")) && !found.contains_key(text) {
            found.insert(text.to_owned(), notes.place(at));
        }
    });
    found
}

/// Variables for a process. An empty value is as good as `null`: take the hub's.
pub(super) fn environment(field: &Field<'_>) -> Result<BTreeMap<String, Option<String>>, Fault> {
    let mut env = field.scalars()?;
    if let Some(bad) = field.entries()?.iter().find(|variable| variable.name.is_empty() || variable.name.contains(['=', '\0'])) {
        return Err(Fault { at: bad.at, message: format!("\"{}\" holds a name that no variable can have; rename it", field.label) });
    }
    no_nuls(field, env.values().flatten().cloned().collect())?;
    env.values_mut().for_each(|value| *value = value.take().filter(|value| !value.is_empty()));
    Ok(env)
}

/// What a placeholder stands in is looked at when it is resolved.
fn web_address(field: &Field<'_>, url: String) -> Result<String, Fault> {
    if !url.contains("${") {
        remote::address(&url).map_err(|why| field.fault(why))?;
    }
    Ok(url)
}

/// A header without a value is not sent.
fn headers(field: &Field<'_>) -> Result<BTreeMap<String, String>, Fault> {
    let given = field.scalars()?.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let mut headers = BTreeMap::new();
    for (name, value) in given {
        let header = remote::header_name(&name).map_err(|why| field.fault(why))?;
        if !value.contains("${") && remote::header_value(&value).is_none() {
            return Err(field.fault(format!("holds a value of \"{name}\" that HTTP cannot carry")));
        }
        if headers.insert(header.as_str().to_owned(), value).is_some() {
            return Err(field.fault(format!("holds \"{name}\" twice; remove one")));
        }
    }
    Ok(headers)
}

/// The operating system cannot pass NUL to a program.
fn no_nul(field: &Field<'_>, text: String) -> Result<String, Fault> {
    if text.contains('\0') { Err(field.fault("must not contain the character NUL")) } else { Ok(text) }
}

fn no_nuls(field: &Field<'_>, texts: Vec<String>) -> Result<Vec<String>, Fault> {
    texts.into_iter().map(|text| no_nul(field, text)).collect()
}
