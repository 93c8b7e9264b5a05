//! The last step: what was read gets its names, defaults and scope. Nothing is read any more.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    Problem, ServerSettings, TenantSettings,
    document::Place,
    entry::Entry,
    files::Tenant,
    gateway::Hub,
    names::{self, Verdict},
    placeholder::{Given, Scope, World},
    problem::Severity,
    settings::{Pool, Restart, Start, Timeouts},
    shown,
};
use crate::name::{ServerId, ServerName, TenantId};

/// Figures of a file with `tenants`, as that format has them.
const NATIVE_RETRIES: u32 = 3;
const NATIVE_START: Duration = Duration::from_secs(30);

/// What all servers have in common.
pub(super) struct Finish<'a> {
    pub(super) hub: &'a Hub,
    pub(super) world: Arc<World>,
    pub(super) inputs: Arc<BTreeMap<String, Given>>,
    pub(super) problems: &'a mut Vec<Problem>,
}

impl Finish<'_> {
    pub(super) fn tenants(mut self, drafts: Vec<Tenant>) -> Vec<TenantSettings> {
        // Where tenants share a hub, none of them sees the hub's environment.
        let hub_visible = drafts.len() <= 1;
        let written: Vec<&str> = drafts.iter().map(|draft| draft.written.as_str()).collect();
        let verdicts = names::judge(&written);
        let mut tenants = Vec::new();
        for (mut draft, verdict) in drafts.into_iter().zip(verdicts) {
            let mut notes = self.notes(draft.place.as_ref(), &draft.written, None);
            let name = notes.name(verdict, &draft.written, &mut draft.error);
            if let Some(id) = name.as_deref().and_then(TenantId::new) {
                tenants.push(self.tenant(id, draft, hub_visible));
            }
        }
        if tenants.is_empty() {
            let id = TenantId::default_tenant();
            tenants.push(TenantSettings { id, description: String::new(), enabled: true, servers: Vec::new() });
        }
        tenants
    }

    fn tenant(&mut self, id: TenantId, draft: Tenant, hub_visible: bool) -> TenantSettings {
        let enabled = draft.enabled && draft.error.is_none();
        let tenant_env = Arc::new(draft.env);
        let written: Vec<&str> = draft.servers.iter().map(|entry| entry.written.as_str()).collect();
        let verdicts = names::judge(&written);
        let mut servers = Vec::new();
        for (mut entry, verdict) in draft.servers.into_iter().zip(verdicts) {
            let mut notes = self.notes(entry.place.as_ref(), &draft.written, Some(&entry.written));
            let Some(name) = notes.name(verdict, &entry.written, &mut entry.error).as_deref().and_then(ServerName::new) else { continue };
            notes.reserved(&id, &name, &mut entry.error);
            if let Some(error) = &draft.error {
                entry.error.get_or_insert_with(|| format!("its tenant is disabled: {error}"));
            }
            entry.enabled &= enabled && entry.error.is_none();
            let id = ServerId { tenant: id.clone(), name };
            servers.push(Arc::new(self.server(id, entry, &tenant_env, hub_visible)));
        }
        TenantSettings { id, description: draft.description, enabled, servers }
    }

    fn server(&self, id: ServerId, entry: Entry, tenant_env: &Arc<BTreeMap<String, Given>>, hub_visible: bool) -> ServerSettings {
        let life = entry.life;
        let start = life.start.unwrap_or(if self.hub.auto_start { Start::Boot } else { Start::Demand });
        let max_retries = life.max_retries.or(self.hub.max_retries).unwrap_or_else(|| entry.native.then_some(NATIVE_RETRIES));
        let start_default = if entry.native { NATIVE_START } else { life.timeouts.start };
        let start_timeout = life.start_timeout.or(self.hub.startup_timeout).unwrap_or(start_default);
        let idle_stop = life.pool.idle_stop.filter(|_| start != Start::Boot);
        let mut shown = entry.shown;
        shown.entry("name").or_insert_with(|| id.name.as_str().into());
        shown.insert("type".to_owned(), entry.kind.clone().into());
        shown.insert("enabled".to_owned(), entry.enabled.into());
        let source = entry.place.as_ref().map(|place| place.source.path.clone());
        let env = tenant_env.iter().map(|(name, given)| (name.as_str(), given.text.as_str())).collect();
        ServerSettings {
            fingerprint: shown::fingerprint(&id, &entry.launch, &env, &life.roots),
            id,
            launch: entry.launch,
            display_name: entry.display_name,
            description: entry.description,
            kind: entry.kind,
            enabled: entry.enabled,
            start,
            pool: Pool { idle_stop, ..life.pool },
            roots: life.roots,
            bridge_tasks: life.bridge_tasks,
            keepalive: life.keepalive,
            restart: Restart { max_retries, ..life.restart },
            timeouts: Timeouts { start: start_timeout, ..life.timeouts },
            source,
            error: entry.error,
            shown,
            scope: Arc::new(Scope {
                world: self.world.clone(),
                hub_visible,
                tenant_env: tenant_env.clone(),
                inputs: self.inputs.clone(),
                place: entry.place.unwrap_or_default(),
                texts: entry.texts,
            }),
        }
    }

    fn notes(&mut self, place: Option<&Place>, tenant: &str, server: Option<&str>) -> Notes<'_> {
        let blank = Problem {
            severity: Severity::Warning,
            file: place.map(|place| place.source.path.clone()),
            line: place.map(|place| place.line),
            column: place.map(|place| place.column),
            tenant: Some(tenant.to_owned()),
            server: server.map(str::to_owned),
            message: String::new(),
        };
        Notes { blank, problems: self.problems }
    }
}

/// Problems of one tenant or server.
struct Notes<'a> {
    blank: Problem,
    problems: &'a mut Vec<Problem>,
}

impl Notes<'_> {
    /// The name by which the hub knows it; `None`: it cannot have one.
    fn name(&mut self, verdict: Verdict, written: &str, error: &mut Option<String>) -> Option<String> {
        match verdict {
            Verdict::Kept(name) => Some(name),
            Verdict::Changed(name) => {
                self.warn(format!("the name is read as \"{name}\"; names have letters, digits, \"-\" and \"_\" only, at most 63"));
                Some(name)
            }
            Verdict::GivesWay { name, other } => {
                self.fail(format!("the names \"{written}\" and \"{other}\" cannot be told apart; rename one"), error);
                name
            }
            Verdict::Unusable => {
                self.fail("the name has no letter or digit that a name can begin with; rename it".to_owned(), error);
                None
            }
        }
    }

    /// Names that the hub uses itself.
    fn reserved(&mut self, tenant: &TenantId, name: &ServerName, error: &mut Option<String>) {
        if names::is_hubs_own(name.as_str()) {
            self.fail("\"hub\" is the prefix of the hub's own tools; rename the server".to_owned(), error);
        } else if names::is_address(name.as_str()) {
            self.warn(format!("/{name} is an address of the hub's own: there is no /{name}/mcp, only /t/{tenant}/{name}/mcp"));
        }
    }

    fn fail(&mut self, message: String, error: &mut Option<String>) {
        error.get_or_insert_with(|| message.clone());
        self.problems.push(Problem { severity: Severity::Entry, message, ..self.blank.clone() });
    }

    fn warn(&mut self, message: String) {
        self.problems.push(Problem { message, ..self.blank.clone() });
    }
}
