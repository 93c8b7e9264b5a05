//! `${…}` in entries, and the environment a child is started with.
//!
//! Forms resolve inside out. Only text of configuration files is searched for placeholders: what a variable of the hub, a file or a
//! command holds is taken as it is, so that nobody can smuggle in a `${cmd:}`. Each text runs commands by the rights of its own file.

mod file;
mod form;
mod resolver;
mod scope;

use std::{collections::BTreeMap, fmt, path::PathBuf};

pub use scope::Scope;
pub(super) use scope::{Given, World};

use self::{
    resolver::Resolver,
    scope::{Layer, passed_on},
};
use super::{Launch, Problem, ServerSettings, document::Place, problem::Severity, remote::Destination, settings::Builtin, veil::Veil};

/// A launch with every placeholder resolved.
#[derive(Clone, Debug)]
pub enum Resolved {
    Program(Program),
    Remote(Destination),
}

/// What to run.
#[derive(Clone)]
pub struct Program {
    pub command: PathBuf,
    pub args: Vec<String>,
    /// The child's whole environment.
    pub env: BTreeMap<String, String>,
    pub cwd: Option<PathBuf>,
}

/// Arguments and values may hold secrets by now.
impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.env.keys().collect();
        f.debug_struct("Program").field("command", &self.command).field("args", &self.args.len()).field("env", &names).finish()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceholderError {
    #[error("Variable '{name}' not found")]
    NotFound { name: String },
    #[error("{message}")]
    Failed { message: String },
}

fn failed(message: impl Into<String>) -> PlaceholderError {
    PlaceholderError::Failed { message: message.into() }
}

/// Where one variable of a child, or one header, came from, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub variable: String,
    /// Such as `entry, GH_TOKEN from hub environment`.
    pub from: String,
}

impl Origin {
    /// Whether it is what every child gets of the hub's environment, and nothing of the configuration.
    pub fn is_passed_on(&self) -> bool {
        self.from == Layer::Hub.to_string()
    }
}

/// What a start depends on beyond the variables and files that went into it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Leaning {
    /// The hub's working folder.
    pub(super) on_folder: bool,
    /// All of its environment: a command runs in it.
    pub(super) on_everything: bool,
}

/// As [`explain`], and adds to `leaning`. What cannot be resolved is told as a text.
pub(super) fn outcome(server: &ServerSettings, leaning: &mut Leaning) -> Result<(Resolved, Vec<Origin>), String> {
    assemble(server, false, leaning).map(|(resolved, origins, _)| (resolved, origins)).map_err(|unresolved| unresolved.error.to_string())
}

/// Resolves the entry for one start. May run `${cmd:}` (up to 30 s): call on a blocking thread. `Launch::Builtin` resolves to this
/// program with `demo NAME`.
pub fn resolve(server: &ServerSettings) -> Result<Resolved, PlaceholderError> {
    resolve_veiled(server).map(|(resolved, _)| resolved)
}

/// The same, and what must be taken out of all that is said of it: what its placeholders stand for, but for what every child is given;
/// variables of the configuration that are named like secrets, of `envFile` and of `MCP_HUB_ENV`.
pub fn resolve_veiled(server: &ServerSettings) -> Result<(Resolved, Veil), PlaceholderError> {
    assemble(server, true, &mut Leaning::default()).map(|(resolved, _, veil)| (resolved, veil)).map_err(|unresolved| unresolved.error)
}

/// Resolves the entry as `resolve` does, but runs no command; `${cmd:}` stands for `***`. Also says where each variable came from.
///
/// # Errors
/// What cannot be resolved, and where it stands. A warning for an entry that is switched off: it may lack what it would need.
pub fn explain(server: &ServerSettings) -> Result<(Resolved, Vec<Origin>), Box<Problem>> {
    let assembled = assemble(server, false, &mut Leaning::default());
    assembled.map(|(resolved, origins, _)| (resolved, origins)).map_err(|Unresolved { error, place }| {
        let is_known = !place.source.path.as_os_str().is_empty();
        Box::new(Problem {
            severity: if server.enabled { Severity::Entry } else { Severity::Warning },
            file: is_known.then(|| place.source.path.clone()),
            line: is_known.then_some(place.line),
            column: is_known.then_some(place.column),
            tenant: Some(server.id.tenant.to_string()),
            server: Some(server.id.name.to_string()),
            message: error.to_string(),
        })
    })
}

/// An error, and where the text stands that it is in.
struct Unresolved {
    error: PlaceholderError,
    place: Place,
}

fn assemble(server: &ServerSettings, run_commands: bool, leaning: &mut Leaning) -> Result<(Resolved, Vec<Origin>, Veil), Unresolved> {
    if let Some(error) = &server.error {
        return Err(Unresolved { error: failed(error.clone()), place: server.scope.place.clone() });
    }
    match &server.launch {
        Launch::Builtin(builtin) => {
            let (resolved, origins) = demo(*builtin, &server.scope);
            Ok((resolved, origins, Veil::default()))
        }
        Launch::Remote(remote) => {
            let mut resolver = Resolver::new(&server.scope, &remote.env, run_commands, leaning);
            let destination = resolver.destination(remote);
            finish(resolver, destination)
        }
        Launch::Command { command, args, env, env_file, cwd } => {
            let mut resolver = Resolver::new(&server.scope, env, run_commands, leaning);
            let launch = resolver.launch(command, args, env_file.as_deref(), cwd.as_deref());
            finish(resolver, launch)
        }
    }
}

fn finish(
    resolver: Resolver<'_>,
    outcome: Result<(Resolved, Vec<Origin>), PlaceholderError>,
) -> Result<(Resolved, Vec<Origin>, Veil), Unresolved> {
    match outcome {
        Ok((resolved, origins)) => Ok((resolved, origins, resolver.veil())),
        Err(error) => Err(Unresolved { error, place: resolver.at }),
    }
}

fn demo(builtin: Builtin, scope: &Scope) -> (Resolved, Vec<Origin>) {
    let environment = &scope.world.environment;
    let env: BTreeMap<String, String> = passed_on(environment).collect();
    let origins = env.keys().map(|name| Origin { variable: name.clone(), from: Layer::Hub.to_string() }).collect();
    let args = vec!["demo".to_owned(), builtin.as_str().to_owned()];
    (Resolved::Program(Program { command: environment.exe.clone(), args, env, cwd: None }), origins)
}

#[cfg(test)]
mod tests;
