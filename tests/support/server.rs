//! Entries of the scripted server: `server::child().mode("echo").boot()`.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

/// One entry of a configuration file.
#[derive(Clone)]
pub struct Server {
    entry: Map<String, Value>,
    args: Vec<String>,
}

/// The scripted server with these words (see `tests/child/server.rs`).
pub fn child(words: &str) -> Server {
    let mut entry = Map::new();
    entry.insert("command".into(), scripted().to_str().unwrap().into());
    entry.insert("pool".into(), json!({"scope": "shared"}));
    Server { entry, args: words.split_whitespace().map(str::to_owned).collect() }
}

/// A server over HTTP.
pub fn remote(url: &str) -> Server {
    let mut server = Server { entry: Map::new(), args: Vec::new() }.with("url", url);
    server.entry.insert("pool".into(), json!({"scope": "shared"}));
    server
}

/// Any other program.
pub fn program(command: &str, args: &[&str]) -> Server {
    let mut server = child("");
    server.args = args.iter().map(|arg| (*arg).to_owned()).collect();
    server.with("command", command)
}

impl Server {
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.entry.insert(field.into(), value.into());
        self
    }

    pub fn boot(self) -> Self {
        self.with("start", "boot")
    }

    pub fn scope(self, scope: &str) -> Self {
        self.with("pool", json!({"scope": scope}))
    }

    pub fn entry(&self) -> Value {
        let mut entry = self.entry.clone();
        if !entry.contains_key("url") {
            entry.insert("args".into(), self.args.clone().into());
        }
        entry.into()
    }
}

/// Built by cargo beside the tests.
pub fn scripted() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let profile = tests.parent().and_then(|deps| deps.parent()).unwrap();
    profile.join("examples/scripted-server")
}
