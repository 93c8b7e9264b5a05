//! Children that write down which tools are called, and what a user says when one of them asks.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Server, server};

/// A folder with a list of the tools that were called.
pub struct Calls(tempfile::TempDir);

impl Calls {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A scripted child that counts.
    pub fn child(&self, words: &str) -> Server {
        server::child(&format!("{words} --count {}", self.path("calls").display()))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// How often this tool was called.
    pub fn of(&self, tool: &str) -> usize {
        std::fs::read_to_string(self.path("calls")).unwrap_or_default().lines().filter(|line| *line == tool).count()
    }
}

/// What a user answers who is asked for a name.
pub fn name(name: &str) -> Value {
    json!({"action": "accept", "content": {"name": name}})
}
