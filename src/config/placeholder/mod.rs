//! `${…}` in entries, and the environment a child is started with.
//!
//! Forms resolve inside out. Only text of configuration files is searched for placeholders: what a variable of the hub, a file or a
//! command holds is taken as it is, so that nobody can smuggle in a `${cmd:}`. Each text runs commands by the rights of its own file.

use std::{
    collections::BTreeMap,
    fmt, fs,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use hyper::header::HeaderMap;

use super::{
    Launch, Problem, Remote, ServerSettings,
    command::output,
    document::Place,
    environment::Environment,
    problem::Severity,
    remote::{self, Destination},
    settings::Builtin,
};

/// Forms within forms, or values within values, at most.
const PASSES_MAX: usize = 10;
/// Forms that one start may resolve: values that name each other must not multiply without end.
const FORMS_MAX: usize = 10_000;
/// Largest file behind `${file:}` or `envFile`, and largest text resolved.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// What every child may have of the hub's environment, besides `LC_*`.
const PASSED_ON: [&str; 9] = ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TMPDIR", "TERM"];

/// Where the names in one server's entry are looked up. Its values may be secrets; `Debug` shows none.
#[derive(Clone, Default)]
pub struct Scope {
    pub(super) world: Arc<World>,
    /// Whether the hub's environment and `MCP_HUB_ENV` may be looked at: not where tenants share a hub.
    pub(super) hub_visible: bool,
    pub(super) tenant_env: Arc<BTreeMap<String, Given>>,
    /// Defaults of `inputs`.
    pub(super) inputs: Arc<BTreeMap<String, Given>>,
    /// Of the entry.
    pub(super) place: Place,
    /// Where texts of the entry stand.
    pub(super) texts: BTreeMap<String, Place>,
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
pub(super) struct World {
    pub(super) environment: Environment,
    /// `MCP_HUB_ENV`.
    pub(super) added: BTreeMap<String, String>,
    /// Nobody beyond this machine is served.
    pub(super) is_local: bool,
}

/// A text of the configuration, and where it stands.
#[derive(Clone)]
pub(super) struct Given {
    pub(super) text: String,
    pub(super) place: Place,
}

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
    pub(super) fn is_passed_on(&self) -> bool {
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
    assemble(server, false, leaning).map_err(|unresolved| unresolved.error.to_string())
}

/// Resolves the entry for one start. May run `${cmd:}` (up to 30 s): call on a blocking thread. `Launch::Builtin` resolves to this
/// program with `demo NAME`.
pub fn resolve(server: &ServerSettings) -> Result<Resolved, PlaceholderError> {
    assemble(server, true, &mut Leaning::default()).map(|(resolved, _)| resolved).map_err(|unresolved| unresolved.error)
}

/// Resolves the entry as `resolve` does, but runs no command; `${cmd:}` stands for `***`. Also says where each variable came from.
///
/// # Errors
/// What cannot be resolved, and where it stands. A warning for an entry that is switched off: it may lack what it would need.
pub fn explain(server: &ServerSettings) -> Result<(Resolved, Vec<Origin>), Box<Problem>> {
    assemble(server, false, &mut Leaning::default()).map_err(|Unresolved { error, place }| {
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

fn assemble(server: &ServerSettings, run_commands: bool, leaning: &mut Leaning) -> Result<(Resolved, Vec<Origin>), Unresolved> {
    if let Some(error) = &server.error {
        return Err(Unresolved { error: failed(error.clone()), place: server.scope.place.clone() });
    }
    match &server.launch {
        Launch::Builtin(builtin) => Ok(demo(*builtin, &server.scope)),
        Launch::Remote(remote) => {
            let mut resolver = Resolver::new(&server.scope, &remote.env, run_commands, leaning);
            let destination = resolver.destination(remote);
            destination.map_err(|error| Unresolved { error, place: resolver.at })
        }
        Launch::Command { command, args, env, env_file, cwd } => {
            let mut resolver = Resolver::new(&server.scope, env, run_commands, leaning);
            let launch = resolver.launch(command, args, env_file.as_deref(), cwd.as_deref());
            launch.map_err(|error| Unresolved { error, place: resolver.at })
        }
    }
}

fn demo(builtin: Builtin, scope: &Scope) -> (Resolved, Vec<Origin>) {
    let environment = &scope.world.environment;
    let env: BTreeMap<String, String> = passed_on(environment).collect();
    let origins = env.keys().map(|name| Origin { variable: name.clone(), from: Layer::Hub.to_string() }).collect();
    let args = vec!["demo".to_owned(), builtin.as_str().to_owned()];
    (Resolved::Program(Program { command: environment.exe.clone(), args, env, cwd: None }), origins)
}

fn passed_on(environment: &Environment) -> impl Iterator<Item = (String, String)> {
    let may = |name: &str| PASSED_ON.contains(&name) || name.starts_with("LC_");
    environment.vars.iter().filter(move |(name, _)| may(name)).map(|(name, value)| (name.clone(), value.clone()))
}

/// Where a value was found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layer {
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

struct Resolver<'a> {
    scope: &'a Scope,
    /// The entry's own `env`.
    env: &'a BTreeMap<String, Option<String>>,
    env_file: BTreeMap<String, String>,
    run_commands: bool,
    leaning: &'a mut Leaning,
    forms: usize,
    /// Names whose values are being resolved: none finds itself.
    within: Vec<(Layer, String)>,
    /// What was found where, for one variable of the child.
    trail: Vec<String>,
    /// Where the text stands that is being resolved: after an error, the one that it is in.
    at: Place,
}

impl<'a> Resolver<'a> {
    fn new(scope: &'a Scope, env: &'a BTreeMap<String, Option<String>>, run_commands: bool, leaning: &'a mut Leaning) -> Self {
        Self {
            scope,
            env,
            env_file: BTreeMap::new(),
            run_commands,
            leaning,
            forms: 0,
            within: Vec::new(),
            trail: Vec::new(),
            at: scope.place.clone(),
        }
    }

    fn launch(
        &mut self,
        command: &str,
        args: &[String],
        env_file: Option<&str>,
        cwd: Option<&str>,
    ) -> Result<(Resolved, Vec<Origin>), PlaceholderError> {
        if let Some(path) = env_file {
            let file = self.text(path)?;
            let file = self.in_folder(&file);
            self.env_file = read_env_file(&file, path)?;
        }
        let program = self.text(command)?;
        if program.trim().is_empty() {
            return Err(failed("\"command\" is empty once its placeholders are resolved"));
        }
        let args = args.iter().map(|arg| self.text(arg)).collect::<Result<_, _>>()?;
        let cwd = cwd.map(|cwd| self.text(cwd)).transpose()?.map(PathBuf::from);
        let is_found_from_there = program.contains('/') && !program.starts_with('/');
        self.leaning.on_folder |= is_found_from_there || !cwd.as_ref().is_some_and(|cwd| cwd.is_absolute());
        let (env, origins) = self.environment()?;
        Ok((Resolved::Program(Program { command: program.into(), args, env, cwd }), origins))
    }

    fn destination(&mut self, remote: &Remote) -> Result<(Resolved, Vec<Origin>), PlaceholderError> {
        if let Some(path) = &remote.env_file {
            let file = self.text(path)?;
            let file = self.in_folder(&file);
            self.env_file = read_env_file(&file, path)?;
        }
        let url = self.text(&remote.url)?;
        // A command that was not run may be the whole address.
        let url = if !self.run_commands && url == super::shown::MASK { "https://a.command/" } else { &url };
        let url = remote::address(url).map_err(|why| failed(format!("\"url\" {why}")))?;
        let (mut headers, mut origins) = (HeaderMap::new(), Vec::new());
        for (name, text) in &remote.headers {
            self.trail.clear();
            let value = self.text(text)?;
            let header = remote::header_name(name).map_err(|why| failed(format!("\"headers\" {why}")))?;
            let value =
                remote::header_value(&value).ok_or_else(|| failed(format!("the value of header '{name}' is none that HTTP can carry")))?;
            headers.insert(header, value);
            origins.push(Origin { variable: name.clone(), from: self.story(Layer::Entry) });
        }
        let allow_loopback = self.scope.world.is_local && remote::names_loopback(&url);
        let destination = Destination { url, headers, transport: remote.transport, allow_private: remote.allow_private, allow_loopback };
        Ok((Resolved::Remote(destination), origins))
    }

    /// A path as it is read: a relative one from the hub's working folder.
    fn in_folder(&mut self, path: &str) -> PathBuf {
        self.leaning.on_folder |= !path.starts_with('/');
        self.scope.world.environment.cwd.join(path)
    }

    /// A text of the entry.
    fn text(&mut self, text: &str) -> Result<String, PlaceholderError> {
        let given = self.of_entry(text);
        self.at = given.place.clone();
        let resolved = self.expand(text, &given.place, 0)?;
        if resolved.contains('\0') { Err(failed("a resolved value contains the character NUL")) } else { Ok(resolved) }
    }

    fn of_entry(&self, text: &str) -> Given {
        let place = self.scope.texts.get(text).unwrap_or(&self.scope.place);
        Given { text: text.to_owned(), place: place.clone() }
    }

    /// The child's whole environment, and where each variable came from.
    fn environment(&mut self) -> Result<(BTreeMap<String, String>, Vec<Origin>), PlaceholderError> {
        let scope = self.scope;
        self.trail.clear();
        let mut child: BTreeMap<String, (String, String)> =
            passed_on(&scope.world.environment).map(|(name, value)| (name, (value, Layer::Hub.to_string()))).collect();
        let mut literal = |layer: Layer, vars: &BTreeMap<String, String>| {
            let vars = vars.iter().filter(|(name, _)| !name.starts_with("input:"));
            child.extend(vars.map(|(name, value)| (name.clone(), (value.clone(), layer.to_string()))));
        };
        if scope.hub_visible {
            literal(Layer::Added, &scope.world.added);
        }
        literal(Layer::EnvFile, &self.env_file);
        for (name, given) in scope.tenant_env.iter() {
            let value = self.value_of(Layer::Tenant, name, given, 0)?;
            child.insert(name.clone(), (value, self.story(Layer::Tenant)));
        }
        for (name, text) in self.env {
            self.at = scope.place.clone();
            match text {
                Some(text) => {
                    let given = self.of_entry(text);
                    let value = self.value_of(Layer::Entry, name, &given, 0)?;
                    child.insert(name.clone(), (value, self.story(Layer::Entry)));
                }
                // What is visible under that name is what the layers below gave, or the hub's own.
                None => {
                    if let Some((value, layer)) = self.find(name, 0)? {
                        child.insert(name.clone(), (value, self.story(layer)));
                    }
                }
            }
        }
        self.at = scope.place.clone();
        if let Some(name) = child.iter().find(|(_, (value, _))| value.contains('\0')).map(|(name, _)| name) {
            return Err(failed(format!("the value of '{name}' contains the character NUL")));
        }
        let origins = child.iter().map(|(name, (_, from))| Origin { variable: name.clone(), from: from.clone() }).collect();
        Ok((child.into_iter().map(|(name, (value, _))| (name, value)).collect(), origins))
    }

    /// The layer, and what was looked up on the way.
    fn story(&mut self, layer: Layer) -> String {
        std::iter::once(layer.to_string()).chain(self.trail.drain(..)).collect::<Vec<_>>().join(", ")
    }

    /// Replaces every form in a text that stands at `place`.
    fn expand(&mut self, text: &str, place: &Place, depth: usize) -> Result<String, PlaceholderError> {
        // Of what is resolved within this text, only an error is told at its own place.
        let outer = std::mem::replace(&mut self.at, place.clone());
        let resolved = self.expand_at(text, place, depth)?;
        self.at = outer;
        Ok(resolved)
    }

    fn expand_at(&mut self, text: &str, place: &Place, depth: usize) -> Result<String, PlaceholderError> {
        if depth > PASSES_MAX {
            return Err(failed(format!("placeholders are nested more than {PASSES_MAX} deep")));
        }
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            out.push_str(before);
            let Some((body, behind)) = split_body(after) else {
                return Err(failed("a \"${\" has no closing \"}\""));
            };
            self.forms += 1;
            if self.forms > FORMS_MAX {
                return Err(failed(format!("more than {FORMS_MAX} placeholders in one entry")));
            }
            out.push_str(&self.form(body, place, depth + 1)?);
            if out.len() > TEXT_BYTES_MAX {
                return Err(failed(format!("a resolved value is longer than {} MiB", TEXT_BYTES_MAX >> 20)));
            }
            rest = behind;
        }
        out.push_str(rest);
        Ok(out)
    }

    /// The value of one form. Its kind is what the file says, never what a value says.
    fn form(&mut self, body: &str, place: &Place, depth: usize) -> Result<String, PlaceholderError> {
        match body.split_once(':') {
            Some(("cmd", line)) => self.command(line, place, depth),
            Some(("file", path)) => {
                // The path is shown as written: resolved, it may hold more than a path.
                let file = self.expand(path.trim(), place, depth)?;
                let file = self.in_folder(&file);
                let text = read_text(&file).map_err(|why| failed(format!("${{{body}}}: {why}")))?;
                self.trail.push(format!("file {path}"));
                Ok(text.trim().to_owned())
            }
            Some(("input", id)) => {
                let resolved = self.expand(id.trim(), place, depth)?;
                self.input(&resolved, id, depth)
            }
            Some(("cred", _)) => Err(failed(format!("${{{body}}} needs a later version; use \"env\" or ${{file:…}}"))),
            Some(("env", name)) => self.variable(name, place, depth),
            _ => self.variable(body, place, depth),
        }
    }

    fn command(&mut self, line: &str, place: &Place, depth: usize) -> Result<String, PlaceholderError> {
        if let Some(why) = &place.source.no_commands {
            return Err(failed(format!("${{cmd:…}} is not run: {why}")));
        }
        let line = self.expand(line.trim(), place, depth)?;
        self.trail.push("a command".to_owned());
        *self.leaning = Leaning { on_folder: true, on_everything: true };
        if !self.run_commands {
            return Ok(super::shown::MASK.to_owned());
        }
        let environment = &self.scope.world.environment;
        let vars = if self.scope.hub_visible { environment.vars.clone() } else { passed_on(environment).collect() };
        output(&line, &vars, &environment.cwd, TEXT_BYTES_MAX).map_err(|why| failed(format!("${{cmd:…}} {why}")))
    }

    /// `written`: the id as the file has it, which is what people may see.
    fn input(&mut self, id: &str, written: &str, depth: usize) -> Result<String, PlaceholderError> {
        let scope = self.scope;
        if scope.hub_visible
            && let Some(value) = scope.world.added.get(&format!("input:{id}"))
        {
            self.trail.push(format!("input {written} from MCP_HUB_ENV"));
            return Ok(value.clone());
        }
        let variable = format!("INPUT_{}", id.to_uppercase().replace('-', "_"));
        if let Some((value, layer)) = self.find(&variable, depth)? {
            self.trail.push(format!("input {written} from {layer}"));
            return Ok(value);
        }
        match scope.inputs.get(id) {
            Some(given) => {
                self.trail.push(format!("input {written} from its default"));
                self.expand(&given.text, &given.place, depth)
            }
            None => Err(PlaceholderError::NotFound { name: format!("input:{written}") }),
        }
    }

    /// `NAME` or `NAME:-default`; the default stands in for an empty value too, as in a shell.
    fn variable(&mut self, body: &str, place: &Place, depth: usize) -> Result<String, PlaceholderError> {
        let (written, default) = split_default(body);
        let name = self.expand(written, place, depth)?;
        match (self.find(&name, depth)?, default) {
            (Some((value, layer)), default) if !value.is_empty() || default.is_none() => {
                self.trail.push(format!("{written} from {layer}"));
                Ok(value)
            }
            (_, Some(default)) => {
                self.trail.push(format!("{written} from its default"));
                self.expand(default, place, depth)
            }
            (_, None) => Err(PlaceholderError::NotFound { name: written.to_owned() }),
        }
    }

    /// Looks a name up, nearest layer first.
    fn find(&mut self, name: &str, depth: usize) -> Result<Option<(String, Layer)>, PlaceholderError> {
        let scope = self.scope;
        let busy = |layer: Layer, within: &[(Layer, String)]| within.iter().any(|(at, inside)| *at == layer && inside == name);
        if let Some(text) = self.env.get(name).and_then(Option::as_ref).filter(|_| !busy(Layer::Entry, &self.within)) {
            let given = self.of_entry(text);
            return self.value_of(Layer::Entry, name, &given, depth).map(|value| Some((value, Layer::Entry)));
        }
        if let Some(given) = scope.tenant_env.get(name).filter(|_| !busy(Layer::Tenant, &self.within)) {
            return self.value_of(Layer::Tenant, name, given, depth).map(|value| Some((value, Layer::Tenant)));
        }
        let environment = &scope.world.environment;
        let added = scope.world.added.get(name).filter(|_| scope.hub_visible).map(|value| (value, Layer::Added));
        let env_file = || self.env_file.get(name).map(|value| (value, Layer::EnvFile));
        let hub = || environment.vars.get(name).filter(|_| scope.hub_visible).map(|value| (value, Layer::Hub));
        let found = added.or_else(env_file).or_else(hub).map(|(value, layer)| (value.clone(), layer));
        Ok(found.or_else(|| predefined(name, environment).map(|value| (value, Layer::Predefined))))
    }

    /// The resolved value of a variable that the configuration gives.
    fn value_of(&mut self, layer: Layer, name: &str, given: &Given, depth: usize) -> Result<String, PlaceholderError> {
        self.within.push((layer, name.to_owned()));
        let value = self.expand(&given.text, &given.place, depth);
        self.within.pop();
        value
    }
}

/// Splits behind the brace that closes the form: braces in pairs belong to it, as in `${cmd: awk '{print $1}'}`.
fn split_body(text: &str) -> Option<(&str, &str)> {
    let mut open = 1_usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => open += 1,
            b'}' => open -= 1,
            _ => {}
        }
        if open == 0 {
            return Some((text.get(..at)?, text.get(at + 1..)?));
        }
    }
    None
}

/// Splits at the first `:-` that is not inside a nested form.
fn split_default(body: &str) -> (&str, Option<&str>) {
    let mut open = 0_usize;
    for (at, byte) in body.bytes().enumerate() {
        match byte {
            b'{' => open += 1,
            b'}' => open = open.saturating_sub(1),
            b':' if open == 0 => {
                if let Some(default) = body.get(at..).and_then(|rest| rest.strip_prefix(":-")) {
                    return (body.get(..at).unwrap_or(body), Some(default));
                }
            }
            _ => {}
        }
    }
    (body, None)
}

/// What editors define.
fn predefined(name: &str, environment: &Environment) -> Option<String> {
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

fn read_text(path: &Path) -> Result<String, String> {
    let file = fs::File::open(path).map_err(|error| error.to_string())?;
    let mut text = String::new();
    file.take(TEXT_BYTES_MAX as u64 + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() > TEXT_BYTES_MAX { Err(format!("larger than {} MiB", TEXT_BYTES_MAX >> 20)) } else { Ok(text) }
}

/// `NAME=value` lines, quotes and comments as in other tools. A `$` is a `$`: dotenvy would put variables of the hub in its place, which
/// this tenant may not be allowed to see.
fn read_env_file(path: &Path, shown: &str) -> Result<BTreeMap<String, String>, PlaceholderError> {
    const DOLLAR: &str = "\u{f8ff}";
    let text = read_text(path).map_err(|why| failed(format!("envFile '{shown}': {why}")))?;
    let text = text.trim_start_matches('\u{feff}').replace("\\$", DOLLAR).replace('$', DOLLAR);
    // dotenvy's own error repeats the line, which may hold a secret.
    let variable = |line: Result<(String, String), dotenvy::Error>| line.map(|(name, value)| (name, value.replace(DOLLAR, "$")));
    let read: Result<BTreeMap<String, String>, _> = dotenvy::Iter::new(text.as_bytes()).map(variable).collect();
    read.map_err(|_| failed(format!("envFile '{shown}': a line is not NAME=value; put values with spaces in quotes")))
}

#[cfg(test)]
#[path = "placeholder_tests.rs"]
mod tests;
