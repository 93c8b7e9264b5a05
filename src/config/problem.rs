//! What is wrong in a configuration, where, and what to do.

use std::{fmt, path::PathBuf};

/// How far a problem reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Warning,
    /// This server entry (or, without a server, this tenant) is disabled.
    Entry,
    /// Nothing can start.
    Fatal,
}

/// One finding. Its text never holds a value that may be secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub severity: Severity,
    pub file: Option<PathBuf>,
    /// From 1.
    pub line: Option<usize>,
    /// From 1, in characters.
    pub column: Option<usize>,
    pub tenant: Option<String>,
    pub server: Option<String>,
    /// What is wrong and what to do, one sentence.
    pub message: String,
}

impl Problem {
    /// A problem of no file.
    pub fn outside(severity: Severity, message: String) -> Self {
        Self { severity, file: None, line: None, column: None, tenant: None, server: None, message }
    }
}

/// As a reader goes through the files: what concerns none of them comes last.
pub fn in_file_order(problems: &mut [Problem], files: &[PathBuf]) {
    let place = |file: Option<&PathBuf>| files.iter().position(|known| Some(known) == file).unwrap_or(usize::MAX);
    problems.sort_by_key(|problem| (place(problem.file.as_ref()), problem.line, problem.column));
}

/// `servers.json:4:7: tenant default, server x: …`
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}", file.display())?;
            if let (Some(line), Some(column)) = (self.line, self.column) {
                write!(f, ":{line}:{column}")?;
            }
            f.write_str(": ")?;
        }
        match (&self.tenant, &self.server) {
            (Some(tenant), Some(server)) => write!(f, "tenant {tenant}, server {server}: ")?,
            (Some(tenant), None) => write!(f, "tenant {tenant}: ")?,
            (None, Some(server)) => write!(f, "server {server}: ")?,
            (None, None) => {}
        }
        f.write_str(&self.message)
    }
}
impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_comes_first() {
        let mut problem = Problem {
            severity: Severity::Entry,
            file: Some("servers.json".into()),
            line: Some(4),
            column: Some(7),
            tenant: Some("default".into()),
            server: Some("x".into()),
            message: "no".into(),
        };
        assert_eq!(problem.to_string(), "servers.json:4:7: tenant default, server x: no");
        (problem.line, problem.server) = (None, None);
        assert_eq!(problem.to_string(), "servers.json: tenant default: no");
        assert_eq!(Problem::outside(Severity::Fatal, "no".into()).to_string(), "no");
    }
}
