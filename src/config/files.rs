//! What all files say together: every dialect, read into one draft. A later file wins by name; within one file `servers` wins over
//! the other sections, and any other name given twice is an error.

use std::collections::{BTreeMap, HashSet};

use jsonc_parser::common::Ranged;

use super::{
    Problem,
    document::{Document, Notes, Place},
    entry::{self, Entry},
    gateway::Hub,
    names,
    placeholder::Given,
    settings::Builtin,
    value::{Field, fields},
};

/// Tenant and name of the servers that the current file has placed, and whether by a section that wins.
type Placed = HashSet<(String, String, bool)>;

/// All files so far.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) hub: Hub,
    pub(super) tenants: Vec<Tenant>,
    pub(super) inputs: BTreeMap<String, Given>,
}

/// A tenant as read.
pub(super) struct Tenant {
    /// The name as the file has it.
    pub(super) written: String,
    /// `None`: the tenant that nobody names.
    pub(super) place: Option<Place>,
    pub(super) description: String,
    pub(super) enabled: bool,
    pub(super) env: BTreeMap<String, Given>,
    pub(super) servers: Vec<Entry>,
    /// Why the whole tenant is disabled.
    pub(super) error: Option<String>,
}

/// Fields at the top of other hosts' files, and whose they are.
const OTHER_PRODUCTS: [(&str, &str); 7] = [
    ("systemConfig", "another hub's settings file"),
    ("bearerKeys", "another hub's settings file"),
    ("userConfigs", "another hub's settings file"),
    ("oauthClients", "another hub's settings file"),
    ("mcp", "another host's settings file"),
    ("context_servers", "Zed's settings file"),
    ("mcp_servers", "Codex's settings file"),
];

impl Draft {
    /// Adds one file. An `Err` is fatal, as is a `Severity::Fatal` among the problems.
    pub(super) fn add(&mut self, document: &Document, strict: bool, problems: &mut Vec<Problem>) -> Result<(), Box<Problem>> {
        let properties = document.parse()?;
        let mut notes = Notes::of_file(document, strict, problems);
        let Some(fields) = notes.keep(fields(&properties, "")) else { return Ok(()) };
        let native = fields.iter().any(|field| field.name == "tenants");
        // What earlier files placed gives way to this one; what this file has placed does not give way to itself.
        let mut placed = Placed::default();
        for field in &fields {
            match field.name {
                "tenants" => self.tenants(field, &mut placed, &mut notes),
                "mcpServers" | "servers" => {}
                "inputs" => self.inputs(field, &mut notes),
                "gateway" => self.hub.gateway(field, &mut notes),
                "orchestrator" => self.hub.orchestrator(field, &mut notes),
                "limits" => self.hub.limits(field, &mut notes),
                "logging" => self.hub.logging(field, &mut notes),
                "auth" | "quotas" => notes.restricting(field.at, field.name),
                "marketplace" | "store" | "audit" | "apps" | "telemetry" | "cluster" | "search" | "hooks" | "alerts" => {
                    notes.later(field.at, field.name);
                }
                "version" | "$schema" => {}
                kept if kept.starts_with("x-") => {}
                name => match OTHER_PRODUCTS.iter().find(|(known, _)| *known == name) {
                    Some((_, whose)) => {
                        let message = format!(
                            "\"{name}\" belongs to {whose}; write its servers under \"mcpServers\" (\"mcp-hub import\" of a later version converts)"
                        );
                        notes.fail(field.at, message);
                    }
                    None => notes.unknown(field.at, field.name),
                },
            }
        }
        for name in ["mcpServers", "servers"] {
            if let Some(field) = fields.iter().find(|field| field.name == name) {
                self.default_servers(field, native, &mut placed, &mut notes);
            }
        }
        Ok(())
    }

    /// `tenants`.
    fn tenants(&mut self, section: &Field<'_>, placed: &mut Placed, notes: &mut Notes<'_>) {
        for field in notes.keep(section.object()).unwrap_or_default() {
            let place = notes.place(field.at);
            let tenant = self.tenant(field.name);
            tenant.place = Some(place);
            tenant.read(&field, placed, &mut notes.within_tenant(field.name));
        }
    }

    /// `mcpServers` and `servers`: entries of tenant `default`.
    fn default_servers(&mut self, section: &Field<'_>, native: bool, placed: &mut Placed, notes: &mut Notes<'_>) {
        let Some(entries) = notes.keep(section.entries()) else { return };
        let wins = section.name == "servers";
        if wins && let Some(bad) = entries.iter().find(|entry| entry.value.as_object().is_none()) {
            return notes
                .fail(bad.at, "\"servers\" must hold entries with \"command\" or \"url\"; groups of servers belong under \"tenants\"");
        }
        let place = notes.place(section.at);
        let tenant = self.tenant("default");
        tenant.place.get_or_insert(place);
        for field in entries {
            tenant.server(&field, native, wins, placed, notes);
        }
    }

    /// VS Code's `inputs`: only their defaults matter, nobody is asked.
    fn inputs(&mut self, section: &Field<'_>, notes: &mut Notes<'_>) {
        for item in notes.keep(section.items()).unwrap_or_default() {
            let fields = notes.keep(item.object()).unwrap_or_default();
            let of = |name: &str| fields.iter().find(|field| field.name == name);
            let Some(id) = of("id") else {
                notes.fail(item.at, format!("\"{}\" needs an \"id\"", item.label));
                continue;
            };
            let default = of("default").and_then(|field| Some((field, notes.keep(field.or_null(Field::string))??)));
            if let (Some(id), Some((field, text))) = (notes.keep(id.text()), default) {
                self.inputs.insert(id, Given { text, place: notes.place(field.value.start()) });
            }
        }
    }

    pub(super) fn tenant(&mut self, written: &str) -> &mut Tenant {
        if let Some(index) = self.tenants.iter().position(|tenant| tenant.written == written) {
            return self.tenants.get_mut(index).expect("it was just found there");
        }
        self.tenants.push_mut(Tenant::new(written))
    }

    /// The demo servers in tenant `default`, unless a file has servers of these names.
    pub(super) fn add_demo(&mut self) {
        let tenant = self.tenant("default");
        for builtin in [Builtin::Echo, Builtin::Math] {
            if !tenant.servers.iter().any(|entry| names::key(&entry.written) == builtin.as_str()) {
                tenant.servers.push(Entry::demo(builtin));
            }
        }
    }
}

impl Tenant {
    fn new(written: &str) -> Self {
        Self {
            written: written.to_owned(),
            place: None,
            description: String::new(),
            enabled: true,
            env: BTreeMap::new(),
            servers: Vec::new(),
            error: None,
        }
    }

    fn read(&mut self, field: &Field<'_>, placed: &mut Placed, notes: &mut Notes<'_>) {
        for field in notes.keep(field.object_unlabelled()).unwrap_or_default() {
            match field.name {
                "description" => self.description = notes.keep(field.string()).unwrap_or_default(),
                "enabled" => self.enabled = notes.keep(field.flag()).unwrap_or(self.enabled),
                "env" => self.env(&field, notes),
                "servers" => {
                    for entry in notes.keep(field.entries()).unwrap_or_default() {
                        self.server(&entry, true, false, placed, notes);
                    }
                }
                "env_allow" | "policy" | "quotas" => notes.restricting(field.at, field.name),
                "credentials" | "groups" => notes.later(field.at, field.name),
                kept if kept.starts_with("x-") => {}
                _ => notes.unknown(field.at, field.name),
            }
        }
        if let Some(error) = notes.error.take() {
            self.error.get_or_insert(error);
        }
    }

    fn env(&mut self, field: &Field<'_>, notes: &mut Notes<'_>) {
        let Some(mut texts) = notes.keep(entry::environment(field)) else { return };
        for variable in notes.keep(field.entries()).unwrap_or_default() {
            // An empty value is one here: there is no layer that the tenant could mean.
            let text = texts.remove(variable.name).flatten().unwrap_or_default();
            self.env.insert(variable.name.to_owned(), Given { text, place: notes.place(variable.value.start()) });
        }
    }

    /// One entry; `wins`: over one of the same name in this file's earlier sections.
    fn server(&mut self, field: &Field<'_>, native: bool, wins: bool, placed: &mut Placed, notes: &mut Notes<'_>) {
        let (tenant, name) = (self.written.clone(), field.name.to_owned());
        let mut notes = notes.within_server(&tenant, &name);
        if !placed.insert((tenant.clone(), name.clone(), wins)) {
            return notes.fail(field.at, "this tenant has a server of this name already; rename or remove one");
        }
        let entry = Entry::read(field, native, &mut notes);
        match self.servers.iter_mut().find(|earlier| earlier.written == name) {
            Some(earlier) => *earlier = entry,
            None => self.servers.push(entry),
        }
    }
}
