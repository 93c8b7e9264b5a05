//! Where the names in placeholders are looked up, and what children see of the hub's own environment.

use std::{collections::BTreeMap, fmt, path::Path, sync::Arc};

use crate::config::{document::Place, environment::Environment};

/// What every child may have of the hub's environment, besides `LC_*`.
const PASSED_ON: [&str; 9] = ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TMPDIR", "TERM"];

/// Where the names in one server's entry are looked up. Its values may be secrets; `Debug` shows none.
#[derive(Clone, Default)]
pub struct Scope {
    pub(in crate::config) world: Arc<World>,
    /// Whether the hub's environment and `MCP_HUB_ENV` may be looked at: not where tenants share a hub.
    pub(in crate::config) hub_visible: bool,
    pub(in crate::config) tenant_env: Arc<BTreeMap<String, Given>>,
    /// Defaults of `inputs`.
    pub(in crate::config) inputs: Arc<BTreeMap<String, Given>>,
    /// Of the entry.
    pub(in crate::config) place: Place,
    /// Where texts of the entry stand.
    pub(in crate::config) texts: BTreeMap<String, Place>,
}

impl Scope {
    /// The scope of an entry that belongs to no file, in a hub with one tenant.
    pub fn of(environment: &Environment) -> Self {
        let world = World { environment: environment.clone(), ..World::default() };
        Self { world: Arc::new(world), hub_visible: true, ..Self::default() }
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("hub_visible", &self.hub_visible)
            .field("tenant_env", &self.tenant_env.keys().collect::<Vec<_>>())
            .field("source", &self.place.source.path)
            .finish()
    }
}

/// What is the same for every server.
#[derive(Default)]
pub(in crate::config) struct World {
    pub(in crate::config) environment: Environment,
    /// `MCP_HUB_ENV`.
    pub(in crate::config) added: BTreeMap<String, String>,
    /// Nobody beyond this machine is served.
    pub(in crate::config) is_local: bool,
}

/// A text of the configuration, and where it stands.
#[derive(Clone)]
pub(in crate::config) struct Given {
    pub(in crate::config) text: String,
    pub(in crate::config) place: Place,
}

/// Where a value was found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Layer {
    Entry,
    Tenant,
    Added,
    EnvFile,
    Hub,
    Predefined,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Entry => "entry",
            Self::Tenant => "tenant env",
            Self::Added => "MCP_HUB_ENV",
            Self::EnvFile => "envFile",
            Self::Hub => "hub environment",
            Self::Predefined => "predefined",
        })
    }
}

pub(super) fn passed_on(environment: &Environment) -> impl Iterator<Item = (String, String)> {
    environment.vars.iter().filter(|(name, _)| is_passed_on(name)).map(|(name, value)| (name.clone(), value.clone()))
}

pub(super) fn is_passed_on(name: &str) -> bool {
    PASSED_ON.contains(&name) || name.starts_with("LC_")
}

/// What editors define.
pub(super) fn predefined(name: &str, environment: &Environment) -> Option<String> {
    let path = |path: &Path| path.to_str().map(str::to_owned);
    match name {
        "mcpHub" => path(&environment.exe),
        "workspaceFolder" | "cwd" => path(&environment.cwd),
        "workspaceFolderBasename" => environment.cwd.file_name().and_then(|name| name.to_str()).map(str::to_owned),
        "userHome" => environment.vars.get("HOME").cloned(),
        "pathSeparator" | "/" => Some(std::path::MAIN_SEPARATOR.to_string()),
        _ => None,
    }
}
