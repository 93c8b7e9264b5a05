//! One entry, resolved: what to run or whom to call, the child's whole environment, and where each of its variables came from.

use std::{collections::BTreeMap, path::PathBuf};

use hyper::header::HeaderMap;

use super::{
    Leaning, Origin, PlaceholderError, Program, Resolved, failed,
    file::read_env_file,
    scope::{Given, Layer, Scope, is_passed_on, passed_on, predefined},
};
use crate::config::{
    Remote,
    document::Place,
    remote::{self, Destination},
    shown::{MASK, is_secretive},
    veil::Veil,
};

pub(super) struct Resolver<'a> {
    pub(super) scope: &'a Scope,
    /// The entry's own `env`.
    env: &'a BTreeMap<String, Option<String>>,
    env_file: BTreeMap<String, String>,
    pub(super) run_commands: bool,
    pub(super) leaning: &'a mut Leaning,
    pub(super) forms: usize,
    /// Names whose values are being resolved: none finds itself.
    within: Vec<(Layer, String)>,
    /// What was found where, for one variable of the child.
    pub(super) trail: Vec<String>,
    /// Where the text stands that is being resolved: after an error, the one that it is in.
    pub(super) at: Place,
    /// What was resolved and nobody may see.
    secrets: Vec<String>,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(scope: &'a Scope, env: &'a BTreeMap<String, Option<String>>, run_commands: bool, leaning: &'a mut Leaning) -> Self {
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
            secrets: Vec::new(),
        }
    }

    /// Keeps a value from being shown.
    pub(super) fn secret(&mut self, value: String) -> String {
        self.secrets.push(value.clone());
        value
    }

    pub(super) fn veil(&self) -> Veil {
        let added = self.scope.world.added.values().filter(|_| self.scope.hub_visible);
        let secrets = self.secrets.iter().chain(self.env_file.values()).chain(added);
        Veil::new(secrets.map(String::as_str))
    }

    pub(super) fn launch(
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

    pub(super) fn destination(&mut self, remote: &Remote) -> Result<(Resolved, Vec<Origin>), PlaceholderError> {
        if let Some(path) = &remote.env_file {
            let file = self.text(path)?;
            let file = self.in_folder(&file);
            self.env_file = read_env_file(&file, path)?;
        }
        let url = self.text(&remote.url)?;
        // A command that was not run may be the whole address.
        let url = if !self.run_commands && url == MASK { "https://a.command/" } else { &url };
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
    pub(super) fn in_folder(&mut self, path: &str) -> PathBuf {
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
            let value = if is_secretive(name) { self.secret(value) } else { value };
            child.insert(name.clone(), (value, self.story(Layer::Tenant)));
        }
        for (name, text) in self.env {
            self.at = scope.place.clone();
            match text {
                Some(text) => {
                    let given = self.of_entry(text);
                    let value = self.value_of(Layer::Entry, name, &given, 0)?;
                    let value = if is_secretive(name) { self.secret(value) } else { value };
                    child.insert(name.clone(), (value, self.story(Layer::Entry)));
                }
                // What is visible under that name is what the layers below gave, or the hub's own.
                None => {
                    if let Some((value, layer)) = self.find(name, 0)? {
                        let value = if is_passed_on(name) { value } else { self.secret(value) };
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

    /// Looks a name up, nearest layer first.
    pub(super) fn find(&mut self, name: &str, depth: usize) -> Result<Option<(String, Layer)>, PlaceholderError> {
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
