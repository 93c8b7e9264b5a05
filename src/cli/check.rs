//! `mcp-hub check`: reads the files as `serve` would and says what they mean and what is wrong. Starts nothing, runs no `${cmd:}`.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use super::args::CheckArgs;
use crate::config::{
    Launch, Problem, ServerSettings, Settings,
    placeholder::{Origin, Program, Resolved, explain},
    problem::{Severity, in_file_order},
    read::{Environment, Overrides, read},
};

/// Prints the report; the exit code is 1 when anything but warnings was found.
pub fn run(args: &CheckArgs) -> ExitCode {
    let (text, sound) = match Environment::capture() {
        Ok(environment) => report(args, &environment),
        Err(error) => (format!("error: {error}\n"), false),
    };
    // Nobody is left to tell when this write fails.
    let _ = io::stdout().lock().write_all(text.as_bytes());
    if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The report, and whether there was no error.
pub fn report(args: &CheckArgs, environment: &Environment) -> (String, bool) {
    let files: Vec<PathBuf> = args.files.config.iter().chain(&args.paths).cloned().collect();
    let overrides = Overrides { strict: args.files.strict_config, ..Overrides::default() };
    let mut report = Report::default();
    let problems = match read(&files, environment, &overrides) {
        Ok(mut settings) => {
            let unresolved = report.settings(&settings, &environment.cwd);
            settings.problems.extend(unresolved);
            in_file_order(&mut settings.problems, &settings.files);
            settings.problems
        }
        Err(problems) => problems,
    };
    report.problems(&problems);
    let _ = writeln!(
        report.text,
        "{}, {}, {}",
        count(report.servers, "server"),
        count(report.errors, "error"),
        count(report.warnings, "warning")
    );
    (report.text, report.errors == 0)
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

#[derive(Default)]
struct Report {
    text: String,
    servers: usize,
    errors: usize,
    warnings: usize,
}

// Writing to a String cannot fail.
impl Report {
    /// Returns what is wrong with placeholders, which `read` leaves alone.
    fn settings(&mut self, settings: &Settings, folder: &Path) -> Vec<Problem> {
        if settings.files.is_empty() {
            self.text.push_str("no configuration file: zero servers\n");
        }
        for file in &settings.files {
            let _ = writeln!(self.text, "file {}", file.display());
        }
        let gateway = &settings.gateway;
        let _ = writeln!(self.text, "listens on {}:{}", gateway.host, gateway.port);
        for listener in &gateway.listeners {
            let _ = writeln!(self.text, "listens on {}:{}", listener.host, listener.port);
        }
        let mut problems = Vec::new();
        for tenant in &settings.tenants {
            let _ = writeln!(self.text, "\ntenant {}{}", tenant.id, if tenant.enabled { "" } else { " (disabled)" });
            for server in &tenant.servers {
                problems.extend(self.server(server, folder).err().map(|problem| *problem));
            }
        }
        self.text.push('\n');
        problems
    }

    fn server(&mut self, server: &ServerSettings, folder: &Path) -> Result<(), Box<Problem>> {
        self.servers += 1;
        let state = if server.enabled { server.start.as_str() } else { "disabled" };
        let _ = writeln!(self.text, "  {} [{state}] {}", server.id.name, command_line(server));
        // A bad entry is among the problems already.
        if server.error.is_none() {
            let (resolved, origins) = explain(server)?;
            for origin in origins.iter().filter(|origin| is_own(server, origin)) {
                let _ = writeln!(self.text, "      {} = ***  ({})", origin.variable, origin.from);
            }
            no_folder(server, &resolved, folder)?;
        }
        Ok(())
    }

    fn problems(&mut self, problems: &[Problem]) {
        for problem in problems {
            let word = match problem.severity {
                Severity::Warning => {
                    self.warnings += 1;
                    "warning"
                }
                Severity::Entry | Severity::Fatal => {
                    self.errors += 1;
                    "error"
                }
            };
            // The place comes first, so that editors find it.
            let told = problem.to_string();
            let place = told.len() - problem.message.len();
            let _ = writeln!(self.text, "{}{word}: {}", told.get(..place).unwrap_or_default(), problem.message);
        }
    }
}

/// What every child gets of the hub's environment is shown only where the entry names it.
fn is_own(server: &ServerSettings, origin: &Origin) -> bool {
    let named = match &server.launch {
        Launch::Command { env, .. } => env.contains_key(&origin.variable),
        Launch::Builtin(_) | Launch::Remote(_) => false,
    };
    named || !origin.is_passed_on()
}

/// A working folder that is not there: the start would fail. A relative one is below `folder`, the hub's own.
fn no_folder(server: &ServerSettings, resolved: &Resolved, folder: &Path) -> Result<(), Box<Problem>> {
    let (Launch::Command { cwd: Some(written), .. }, Resolved::Program(Program { cwd: Some(cwd), .. })) = (&server.launch, resolved) else {
        return Ok(());
    };
    if folder.join(cwd).is_dir() {
        return Ok(());
    }
    Err(Box::new(server.problem(written, format!("cwd '{written}' is no folder; make it, or correct it"))))
}

/// How the entry starts, placeholders as written.
fn command_line(server: &ServerSettings) -> String {
    match &server.launch {
        Launch::Builtin(builtin) => format!("builtin {}", builtin.as_str()),
        Launch::Command { command, args, .. } => {
            let words = std::iter::once(command).chain(args);
            words
                .map(|word| if word.contains(char::is_whitespace) { format!("{word:?}") } else { word.clone() })
                .collect::<Vec<_>>()
                .join(" ")
        }
        Launch::Remote(remote) => format!("{} {}", remote.transport.as_str(), remote.shown_url()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::FileArgs;

    fn check(text: &str) -> (String, bool) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("s.json"), text).unwrap();
        let vars = [("PATH", "/bin"), ("GH", "s3cr3t")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let environment = Environment { vars: vars.into(), cwd: folder.path().to_owned(), exe: "/bin/mcp-hub".into() };
        report(&CheckArgs { files: FileArgs::default(), paths: vec!["s.json".into()] }, &environment)
    }

    #[test]
    fn a_sound_file_shows_servers_and_where_variables_come_from() {
        let text = r#"{"mcpServers": {"gh": {"command": "npx", "args": ["-y", "a b"], "env": {"TOKEN": "${GH}", "N": "1"}}, "demo": {"builtin": "echo"},
            "off": {"command": "x", "args": ["${NONE}"], "disabled": true}}}"#;
        let (said, sound) = check(text);
        assert!(sound);
        assert_eq!(
            said,
            "file s.json\nlistens on 127.0.0.1:8080\n\ntenant default\n  gh [demand] npx -y \"a b\"\n      N = ***  (entry)\n      \
             TOKEN = ***  (entry, GH from hub environment)\n  demo [demand] builtin echo\n  \
             off [disabled] x ${NONE}\n\n\
             s.json:2:46: tenant default, server off: warning: Variable 'NONE' not found\n3 servers, 0 errors, 1 warning\n"
        );
    }

    #[test]
    fn each_problem_has_its_place_and_errors_fail_the_check() {
        let (said, sound) = check(
            "{\"mcpServers\": {\n \"a\": {\"command\": 1},\n \"b\": {\"command\": \"${NONE}\", \"colour\": 2},\n \"c\": {\"command\": \"x\", \"envFile\": \"no.env\"},\n \"d\": {\"command\": \"x\", \"cwd\": \"gone/${GH}\"}}}",
        );
        assert!(!sound);
        for line in [
            "s.json:2:19: tenant default, server a: error: \"command\" must be a string, found a number; write it in quotes\n",
            "s.json:3:19: tenant default, server b: error: Variable 'NONE' not found\n\
             s.json:3:30: tenant default, server b: warning: unknown field \"colour\"; correct or remove it\n\
             s.json:4:35: tenant default, server c: error: envFile 'no.env': No such file or directory (os error 2)\n",
            "s.json:5:31: tenant default, server d: error: cwd 'gone/${GH}' is no folder; make it, or correct it\n",
            "4 servers, 4 errors, 1 warning\n",
        ] {
            assert!(said.contains(line), "{line}\n{said}");
        }
        let (said, sound) = check("{\"gateway\": {\"port\": 70000}}");
        assert!(!sound && said.starts_with("s.json:1:22: error: "), "{said}");
    }

    #[test]
    fn servers_that_no_published_uri_could_tell_apart_are_an_error() {
        use crate::{catalog::uri, name::ServerName};
        let server = |name| ServerName::new(name).unwrap();
        for (one, other, meet) in [("a_b", "A-b", true), ("fs", "FS", true), ("a_b", "ab", false)] {
            let published = |name| uri::publish(&server(name), "file:///x", uri::Uris::Prefixed).into_owned();
            assert_eq!(published(one) == published(other), meet, "{one} {other}");
            let (said, sound) =
                check(&format!("{{\"mcpServers\": {{\n \"{one}\": {{\"command\": \"x\"}},\n \"{other}\": {{\"command\": \"x\"}}}}}}"));
            let line = format!(
                "s.json:3:2: tenant default, server {other}: error: the names \"{other}\" and \"{one}\" cannot be told apart; rename one\n"
            );
            assert_eq!((said.contains(&line), sound), (meet, !meet), "{line}{said}");
        }
        let (_, sound) = check(r#"{"tenants": {"a": {"servers": {"fs": {"command": "x"}}}, "b": {"servers": {"FS": {"command": "x"}}}}}"#);
        assert!(sound, "tenants share no URIs");
    }

    #[test]
    fn the_files_that_are_shipped_are_sound() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let environment = Environment { cwd: root.to_owned(), exe: "/bin/mcp-hub".into(), ..Environment::default() };
        let environment = Environment { vars: [("HOME".to_owned(), "/home/me".to_owned())].into(), ..environment };
        let examples = std::fs::read_dir(root.join("config/examples")).unwrap().map(|file| file.unwrap().path());
        for path in examples.chain([root.join("config/servers.json")]) {
            let (said, sound) = report(&CheckArgs { files: FileArgs::default(), paths: vec![path] }, &environment);
            assert!(sound, "{said}");
        }
    }

    #[test]
    fn no_file_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        let environment = Environment { cwd: folder.path().to_owned(), ..Environment::default() };
        let (said, sound) = report(&CheckArgs::default(), &environment);
        assert!(sound && said.starts_with("no configuration file"), "{said}");
    }
}
