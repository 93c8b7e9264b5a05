//! One file as text: where it came from, its JSON with comments, positions, and the notebook of what is wrong in it.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use jsonc_parser::{
    CollectOptions, ParseOptions,
    ast::{ObjectProp, Value},
    common::Ranged,
    parse_to_ast,
};

use super::{Problem, problem::Severity, value::Fault};

/// A configuration larger than this is a mistake.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Where a piece of configuration came from, and whether its `${cmd:}` may run.
#[derive(Clone, Debug, Default)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    /// Why `${cmd:}` may not run from here.
    pub(super) no_commands: Option<String>,
}

/// Where something stands, kept after its file is closed. By default nowhere: of no file.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    pub(super) source: Arc<Source>,
    /// From 1.
    pub(super) line: usize,
    /// From 1, in characters.
    pub(super) column: usize,
}

pub(super) struct Document {
    pub(super) source: Arc<Source>,
    pub(super) text: String,
}

impl Document {
    /// Opens `path`, if relative from `cwd`, and shows it as given. `Ok(None)`: there is no such file.
    pub(super) fn open(path: &Path, cwd: &Path) -> Result<Option<Self>, Box<Problem>> {
        let unreadable = |error: io::Error| fatal(path, None, format!("cannot be read: {error}"));
        let mut file = match File::open(cwd.join(path)) {
            Ok(file) => file,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(None),
            Err(error) => return Err(unreadable(error)),
        };
        // Asked of the open file: these are the rights of the bytes that are about to be read.
        let metadata = file.metadata().map_err(unreadable)?;
        if metadata.len() > FILE_BYTES_MAX {
            return Err(fatal(path, None, format!("is larger than {} MiB", FILE_BYTES_MAX >> 20)));
        }
        let mut text = String::new();
        file.by_ref().take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(unreadable)?;
        // Some editors mark UTF-8 so.
        if text.starts_with('\u{feff}') {
            text.drain(..'\u{feff}'.len_utf8());
        }
        let no_commands = commands_refused(path, metadata.uid(), metadata.mode());
        Ok(Some(Self { source: Arc::new(Source { path: path.to_owned(), no_commands }), text }))
    }

    /// The fields of the object that the file holds.
    pub(super) fn parse(&self) -> Result<Vec<ObjectProp<'_>>, Box<Problem>> {
        if self.source.path.extension().is_some_and(|extension| extension == "toml") {
            let message =
                "TOML is not read; write the servers as JSON under \"mcpServers\" (\"mcp-hub import\" of a later version converts)";
            return Err(fatal(&self.source.path, None, message.to_owned()));
        }
        let parsed = parse_to_ast(&self.text, &CollectOptions::default(), &json_with_comments()).map_err(|error| {
            let position = (error.line_display(), error.column_display());
            fatal(&self.source.path, Some(position), format!("not valid JSON: {}", lower_first(&error.kind().to_string())))
        })?;
        match parsed.value {
            Some(Value::Object(object)) => Ok(object.properties),
            Some(other) => {
                let message = "the file must hold one object, such as {\"mcpServers\": {}}".to_owned();
                Err(fatal(&self.source.path, Some(self.position(other.start())), message))
            }
            None => Err(fatal(&self.source.path, Some((1, 1)), "the file is empty; write {\"mcpServers\": {}}".to_owned())),
        }
    }

    pub(super) fn place(&self, at: usize) -> Place {
        let (line, column) = self.position(at);
        Place { source: self.source.clone(), line, column }
    }

    /// Line and column, both from 1.
    fn position(&self, at: usize) -> (usize, usize) {
        let before = self.text.get(..at).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before.get(line_start..).map_or(0, |line| line.chars().count()) + 1)
    }
}

/// What JSON with comments allows beyond JSON.
fn json_with_comments() -> ParseOptions {
    ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    }
}

fn commands_refused(path: &Path, owner: u32, mode: u32) -> Option<String> {
    if owner != rustix::process::geteuid().as_raw() {
        Some(format!("'{}' belongs to another user", path.display()))
    } else if mode & 0o022 != 0 {
        Some(format!("'{0}' can be written by others (chmod go-w {0})", path.display()))
    } else {
        None
    }
}

fn fatal(path: &Path, position: Option<(usize, usize)>, message: String) -> Box<Problem> {
    let problem = Problem::outside(Severity::Fatal, message);
    let (line, column) = (position.map(|(line, _)| line), position.map(|(_, column)| column));
    Box::new(Problem { file: Some(path.to_owned()), line, column, ..problem })
}

fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

/// Collects problems of one part of a document: the file, a tenant, or a server.
pub(super) struct Notes<'d> {
    pub(super) document: &'d Document,
    tenant: Option<&'d str>,
    server: Option<&'d str>,
    /// How far an error in this part reaches.
    severity: Severity,
    strict: bool,
    problems: &'d mut Vec<Problem>,
    /// The first error of this part.
    pub(super) error: Option<String>,
}

impl<'d> Notes<'d> {
    pub(super) fn of_file(document: &'d Document, strict: bool, problems: &'d mut Vec<Problem>) -> Self {
        Self { document, tenant: None, server: None, severity: Severity::Fatal, strict, problems, error: None }
    }

    pub(super) fn within_tenant<'n>(&'n mut self, tenant: &'n str) -> Notes<'n> {
        Notes { severity: Severity::Entry, tenant: Some(tenant), server: None, error: None, ..self.reborrow() }
    }

    pub(super) fn within_server<'n>(&'n mut self, tenant: &'n str, server: &'n str) -> Notes<'n> {
        Notes { severity: Severity::Entry, tenant: Some(tenant), server: Some(server), error: None, ..self.reborrow() }
    }

    fn reborrow(&mut self) -> Notes<'_> {
        Notes { problems: self.problems, error: None, ..*self }
    }

    /// The value, or a note of what is wrong with it.
    pub(super) fn keep<T>(&mut self, result: Result<T, Fault>) -> Option<T> {
        result.map_err(|fault| self.fail(fault.at, fault.message)).ok()
    }

    pub(super) fn fail(&mut self, at: usize, message: impl Into<String>) {
        let message = message.into();
        self.error.get_or_insert_with(|| message.clone());
        self.push(self.severity, at, message);
    }

    pub(super) fn warn(&mut self, at: usize, message: impl Into<String>) {
        self.push(Severity::Warning, at, message.into());
    }

    /// A field nobody knows.
    pub(super) fn unknown(&mut self, at: usize, label: &str) {
        let message = format!("unknown field \"{label}\"; correct or remove it");
        if self.strict { self.fail(at, message) } else { self.warn(at, message) }
    }

    /// A field of a later version that changes nothing yet.
    pub(super) fn later(&mut self, at: usize, label: &str) {
        self.warn(at, format!("\"{label}\" needs a later version and has no effect yet"));
    }

    /// A field of a later version that would restrict something: never ignored.
    pub(super) fn restricting(&mut self, at: usize, label: &str) {
        self.fail(at, format!("\"{label}\" restricts, but needs a later version; remove it to run without that restriction"));
    }

    /// To be remembered.
    pub(super) fn place(&self, at: usize) -> Place {
        self.document.place(at)
    }

    fn push(&mut self, severity: Severity, at: usize, message: String) {
        let (line, column) = self.document.position(at);
        self.problems.push(Problem {
            severity,
            file: Some(self.document.source.path.clone()),
            line: Some(line),
            column: Some(column),
            tenant: self.tenant.map(str::to_owned),
            server: self.server.map(str::to_owned),
            message,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str) -> Document {
        Document { source: Arc::new(Source { path: "s.json".into(), no_commands: None }), text: text.to_owned() }
    }

    #[test]
    fn positions_count_lines_and_characters_from_1() {
        let text = document("{\n  \"é\": 1\n}");
        for (at, place) in [(0, (1, 1)), (2, (2, 1)), (4, (2, 3)), (9, (2, 7)), (12, (3, 1)), (99, (3, 2))] {
            assert_eq!(text.position(at), place, "{at}");
        }
    }

    #[test]
    fn comments_and_trailing_commas_are_read() {
        let text = document("// c\n{\"a\": [1, /* x */ 2,], }");
        assert_eq!(text.parse().unwrap().len(), 1);
    }

    #[test]
    fn what_json_does_not_allow_is_refused_in_place() {
        for (text, place) in [
            ("", "1:1"),
            ("[]", "1:1"),
            ("{\"a\": }", "1:7"),
            ("{'a': 1}", "1:2"),
            ("{a: 1}", "1:2"),
            ("{\n \"a\": 0x1}", "2:7"),
            ("{\"a\": 1 \"b\": 2}", "1:8"),
            ("{\"a\": 1", "1:1"),
            ("{} {}", "1:4"),
        ] {
            let problem = document(text).parse().unwrap_err();
            assert_eq!(problem.severity, Severity::Fatal);
            assert!(problem.to_string().starts_with(&format!("s.json:{place}: ")), "{text}: {problem}");
        }
        assert!(document(&"[".repeat(100_000)).parse().is_err(), "depth is bounded");
    }

    #[test]
    fn commands_run_only_from_files_that_nobody_else_writes() {
        let me = rustix::process::geteuid().as_raw();
        let path = Path::new("s.json");
        assert_eq!(commands_refused(path, me, 0o100_644), None);
        assert!(commands_refused(path, me, 0o100_664).unwrap().contains("chmod"));
        assert!(commands_refused(path, me, 0o100_602).is_some());
        assert!(commands_refused(path, me + 1, 0o100_600).unwrap().contains("another user"));
    }
}
