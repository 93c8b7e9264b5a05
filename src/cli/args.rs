//! The words after `mcp-hub`, as plain data. `mcp-hub --config X` is `mcp-hub serve --config X`.
//!
//! Bad arguments become one JSON error line (`CLI_ARGS_ERROR`) on stderr and exit code 1; help and version exit 0.
//! Says what was asked; does none of it.

use std::{collections::BTreeMap, ffi::OsString, io::Write, path::PathBuf, process::ExitCode, time::SystemTime};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum, error::ErrorKind};

use crate::config::{environment::variable, read::Overrides, settings::Builtin};

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Cli {
    pub command: Command,
}

/// One command with its options.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    Serve(ServeArgs),
    Stdio(StdioArgs),
    Check(CheckArgs),
    Servers(ServersArgs),
    Tools(ToolsArgs),
    Call(CallArgs),
    Demo(DemoArgs),
}

/// `mcp-hub [serve]`.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub struct ServeArgs {
    #[command(flatten)]
    pub files: FileArgs,
    /// Port of the main listener; 0 takes any free one
    #[arg(short, long, value_name = "N")]
    pub port: Option<u16>,
    /// Address of the listeners
    #[arg(long, value_name = "ADDR")]
    pub host: Option<String>,
    /// Add the demo servers `echo` and `math` to tenant `default`
    #[arg(long)]
    pub demo: bool,
    /// Treat every caller as the local administrator, wherever it comes from
    #[arg(long)]
    pub allow_unauthenticated: bool,
    /// error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", ignore_case = true)]
    pub log_level: Option<LogLevel>,
    /// Shape of the log lines
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
}

impl ServeArgs {
    /// What these flags change in the configuration.
    pub fn overrides(&self) -> Overrides {
        Overrides {
            host: self.host.clone(),
            port: self.port,
            demo: self.demo,
            strict: self.files.strict_config,
            log_level: self.log_level.map(|level| level.as_str().to_owned()),
            log_text: self.log_format.map(|format| format == LogFormat::Text),
        }
    }
}

/// Which configuration is read, and how strictly.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub struct FileArgs {
    /// Configuration file; may be given several times, later ones win
    #[arg(short, long = "config", value_name = "PATH")]
    pub config: Vec<PathBuf>,
    /// Unknown fields in a file are errors, not warnings
    #[arg(long)]
    pub strict_config: bool,
}

/// `mcp-hub stdio`.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub struct StdioArgs {
    #[command(flatten)]
    pub files: FileArgs,
    /// Tenant to show, `default` if absent
    #[arg(long, value_name = "NAME")]
    pub tenant: Option<String>,
    /// Show this server only
    #[arg(long, value_name = "NAME")]
    pub server: Option<String>,
    /// How tools are named; desktop hosts reject dots
    #[arg(long, value_name = "STYLE", default_value = "safe")]
    pub names: Names,
    /// Start servers of its own, even if a hub with the same configuration runs already
    #[arg(long)]
    pub no_share: bool,
}

/// `mcp-hub check`.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub struct CheckArgs {
    #[command(flatten)]
    pub files: FileArgs,
    /// The same files, as plain words
    #[arg(value_name = "FILE")]
    pub paths: Vec<PathBuf>,
}

/// Which hub a command talks to, and how it prints.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub struct RestArgs {
    /// Address of the hub (MCP_HUB_URL), http://127.0.0.1:8080 if absent
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// Key sent as a bearer token (MCP_HUB_KEY)
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// Print the hub's JSON as it is
    #[arg(long)]
    pub json: bool,
}

/// `mcp-hub servers [list|info|start|stop|refresh] [NAME]`.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct ServersArgs {
    #[arg(value_name = "ACTION", default_value = "list")]
    pub action: ServersAction,
    /// Server, or tenant:server; every action but `list` needs it
    #[arg(value_name = "NAME", required_if_eq_any([("action", "info"), ("action", "start"), ("action", "stop"), ("action", "refresh")]))]
    pub name: Option<String>,
    #[command(flatten)]
    pub rest: RestArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ServersAction {
    List,
    Info,
    Start,
    Stop,
    Refresh,
}

/// `mcp-hub tools [list|info] [NAME]`.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct ToolsArgs {
    #[arg(value_name = "ACTION", default_value = "list")]
    pub action: ToolsAction,
    /// With `list` a server, with `info` a tool
    #[arg(value_name = "NAME", required_if_eq("action", "info"))]
    pub name: Option<String>,
    #[command(flatten)]
    pub rest: RestArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ToolsAction {
    List,
    Info,
}

/// `mcp-hub call SERVER.TOOL ['{json}' | key=value …]`.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct CallArgs {
    /// The tool's public name
    #[arg(value_name = "SERVER.TOOL")]
    pub tool: String,
    /// Arguments: one JSON object, or key=value words
    #[arg(value_name = "ARGUMENTS")]
    pub arguments: Vec<String>,
    #[command(flatten)]
    pub rest: RestArgs,
}

/// `mcp-hub demo echo|math`.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct DemoArgs {
    #[arg(value_name = "SERVER")]
    pub server: Demo,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Demo {
    Echo,
    Math,
}

impl From<Demo> for Builtin {
    fn from(demo: Demo) -> Self {
        match demo {
            Demo::Echo => Self::Echo,
            Demo::Math => Self::Math,
        }
    }
}

/// Style of published names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Names {
    Dotted,
    #[default]
    Safe,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Json,
    Text,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
pub enum LogLevel {
    Error,
    #[value(alias = "warning")]
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// Reads this process's arguments. `Err`: what had to be said has been said; leave with this code.
pub fn parse() -> Result<Cli, ExitCode> {
    let vars = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect();
    parse_from(std::env::args_os(), &vars).map_err(|exit| {
        // Nobody is left to tell when these writes fail.
        let _ = std::io::stdout().lock().write_all(exit.stdout.as_bytes());
        let _ = std::io::stderr().lock().write_all(exit.stderr.as_bytes());
        ExitCode::from(exit.code)
    })
}

/// What to print before leaving, and the exit code.
#[derive(Debug, PartialEq, Eq)]
pub struct Exit {
    pub stdout: String,
    pub stderr: String,
    pub code: u8,
}

/// `parse` for given arguments (the program's name first) and environment.
pub fn parse_from(args: impl IntoIterator<Item = impl Into<OsString>>, vars: &BTreeMap<String, String>) -> Result<Cli, Exit> {
    let mut args: Vec<OsString> = args.into_iter().map(Into::into).collect();
    // clap takes the words behind `help` for commands.
    if args.get(1).is_some_and(|word| word == "help") {
        args.retain(|word| word != "--help" && word != "-h");
    }
    let words = Words::command().try_get_matches_from(args).and_then(|matches| Words::from_arg_matches(&matches));
    let words = words.map_err(|error| refusal(&error, vars))?;
    let mut command = match words.command {
        Some(Verb::Serve(serve)) => Command::Serve(serve),
        None => Command::Serve(words.serve),
        Some(Verb::Stdio(stdio)) => Command::Stdio(stdio),
        Some(Verb::Check(check)) => Command::Check(check),
        Some(Verb::Servers(servers)) => Command::Servers(servers),
        Some(Verb::Tools(tools)) => Command::Tools(tools),
        Some(Verb::Call(call)) => Command::Call(call),
        Some(Verb::Demo(demo)) => Command::Demo(demo),
    };
    command.fill_from(vars).map_err(|message| bad_arguments(&message))?;
    Ok(Cli { command })
}

impl Command {
    /// The variables that stand for flags; a flag wins.
    fn fill_from(&mut self, vars: &BTreeMap<String, String>) -> Result<(), String> {
        let rest = match self {
            Self::Serve(serve) => {
                let word = variable(vars, "MCP_HUB_ALLOW_UNAUTHENTICATED")?;
                serve.allow_unauthenticated |= word.is_some_and(|word| matches!(word.to_ascii_lowercase().as_str(), "1" | "true" | "yes"));
                return Ok(());
            }
            Self::Servers(servers) => &mut servers.rest,
            Self::Tools(tools) => &mut tools.rest,
            Self::Call(call) => &mut call.rest,
            Self::Stdio(_) | Self::Check(_) | Self::Demo(_) => return Ok(()),
        };
        if rest.url.is_none() {
            rest.url = variable(vars, "MCP_HUB_URL")?;
        }
        if rest.key.is_none() {
            rest.key = variable(vars, "MCP_HUB_KEY")?;
        }
        Ok(())
    }
}

fn refusal(error: &clap::Error, vars: &BTreeMap<String, String>) -> Exit {
    match error.kind() {
        ErrorKind::DisplayHelp => Exit { stdout: error.to_string(), stderr: String::new(), code: 0 },
        ErrorKind::DisplayVersion => {
            // Some editors insist on the version of the product they were written for.
            let version = variable(vars, "MCP_HUB_REPORT_VERSION").ok().flatten();
            let version = version.as_deref().unwrap_or(env!("CARGO_PKG_VERSION"));
            Exit { stdout: format!("mcp-hub {version}\n"), stderr: String::new(), code: 0 }
        }
        _ => {
            // clap's first paragraph says what is wrong; usage and tips follow in paragraphs of their own.
            let text = error.to_string();
            let said = text.strip_prefix("error: ").unwrap_or(&text);
            let words: Vec<&str> = said.split("\n\n").next().unwrap_or(said).split_whitespace().collect();
            bad_arguments(&words.join(" "))
        }
    }
}

/// One error line of the log's shape.
fn bad_arguments(message: &str) -> Exit {
    let line = serde_json::json!({
        "type": "error", "code": "CLI_ARGS_ERROR", "message": message, "data": {},
        "timestamp": humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
    });
    Exit { stdout: String::new(), stderr: format!("{line}\n"), code: 1 }
}

#[derive(Parser)]
#[command(name = "mcp-hub", version, about, args_conflicts_with_subcommands = true)]
struct Words {
    #[command(subcommand)]
    command: Option<Verb>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Subcommand)]
enum Verb {
    /// Run the hub; the command when none is named
    Serve(ServeArgs),
    /// Speak MCP on stdin and stdout
    Stdio(StdioArgs),
    /// Read the configuration and say what it means and what is wrong
    Check(CheckArgs),
    /// Look at, start and stop the servers of a running hub
    Servers(ServersArgs),
    /// Look at the tools of a running hub
    Tools(ToolsArgs),
    /// Call a tool through a running hub and print the result
    Call(CallArgs),
    /// Be a demo server on stdin and stdout
    Demo(DemoArgs),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command, Exit> {
        parse_with(line, &[])
    }

    fn parse_with(line: &str, vars: &[(&str, &str)]) -> Result<Command, Exit> {
        let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        parse_from(std::iter::once("mcp-hub").chain(line.split_whitespace()), &vars).map(|cli| cli.command)
    }

    #[test]
    fn the_definition_holds() {
        Words::command().debug_assert();
    }

    #[test]
    fn no_command_means_serve() {
        let line = "-c a.json --config b.json -p 0 --host ::1 --demo --strict-config --log-level DEBUG --log-format text";
        let bare = parse(line).unwrap();
        assert_eq!(bare, parse(&format!("serve {line}")).unwrap());
        let Command::Serve(serve) = bare else { panic!("not serve") };
        assert_eq!(serve.files.config, [PathBuf::from("a.json"), PathBuf::from("b.json")]);
        let overrides = serve.overrides();
        assert_eq!((overrides.host.as_deref(), overrides.port), (Some("::1"), Some(0)));
        assert!(overrides.demo && overrides.strict);
        assert_eq!((overrides.log_level.as_deref(), overrides.log_text), (Some("debug"), Some(true)));
        assert_eq!(parse("").unwrap(), Command::Serve(ServeArgs::default()));
    }

    #[test]
    fn each_command_has_its_words() {
        let Command::Stdio(stdio) = parse("stdio --config x --tenant acme --server fs --names dotted").unwrap() else { panic!() };
        assert_eq!((stdio.tenant.as_deref(), stdio.server.as_deref(), stdio.names), (Some("acme"), Some("fs"), Names::Dotted));
        let Command::Stdio(stdio) = parse("stdio").unwrap() else { panic!() };
        assert_eq!(stdio.names, Names::Safe);
        let Command::Servers(servers) = parse("servers").unwrap() else { panic!() };
        assert_eq!((servers.action, servers.name), (ServersAction::List, None));
        let Command::Servers(servers) = parse("servers stop acme:fs --json").unwrap() else { panic!() };
        assert_eq!((servers.action, servers.name.as_deref(), servers.rest.json), (ServersAction::Stop, Some("acme:fs"), true));
        let Command::Tools(tools) = parse("tools info echo.echo_tool").unwrap() else { panic!() };
        assert_eq!((tools.action, tools.name.as_deref()), (ToolsAction::Info, Some("echo.echo_tool")));
        let Command::Call(call) = parse("call math.add_tool a=1 b=-2 --key K").unwrap() else { panic!() };
        assert_eq!((call.tool.as_str(), call.arguments.as_slice()), ("math.add_tool", ["a=1".to_owned(), "b=-2".to_owned()].as_slice()));
        assert_eq!(call.rest.key.as_deref(), Some("K"));
        assert_eq!(parse("demo math").unwrap(), Command::Demo(DemoArgs { server: Demo::Math }));
        let Command::Check(check) = parse("check a.json -c b.json").unwrap() else { panic!() };
        assert_eq!((check.paths, check.files.config), (vec![PathBuf::from("a.json")], vec![PathBuf::from("b.json")]));
    }

    #[test]
    fn help_is_had_in_every_form() {
        let whole = parse("--help").unwrap_err();
        assert_eq!(whole.code, 0);
        for line in ["help", "-h", "help --help", "help -h"] {
            let exit = parse(line).unwrap_err();
            assert_eq!((exit.code, exit.stderr.as_str()), (0, ""), "{line}");
            assert!(exit.stdout.contains("Usage: mcp-hub"), "{line}");
        }
        for line in ["help call", "help call --help", "call --help"] {
            assert!(parse(line).unwrap_err().stdout.contains("SERVER.TOOL"), "{line}");
        }
    }

    #[test]
    fn flags_win_over_variables() {
        let vars = [("MCP_HUB_URL", "http://a"), ("MCP_HUB_KEY", "k"), ("MCP_HUB_ALLOW_UNAUTHENTICATED", "1")];
        let Command::Call(call) = parse_with("call x.y --url http://b", &vars).unwrap() else { panic!() };
        assert_eq!((call.rest.url.as_deref(), call.rest.key.as_deref()), (Some("http://b"), Some("k")));
        let Command::Serve(serve) = parse_with("", &vars).unwrap() else { panic!() };
        assert!(serve.allow_unauthenticated);
        let Command::Serve(serve) = parse_with("", &[("MCP_HUB_ALLOW_UNAUTHENTICATED", "0")]).unwrap() else { panic!() };
        assert!(!serve.allow_unauthenticated);
    }

    #[test]
    fn bad_arguments_are_one_json_line_and_exit_1() {
        for line in [
            "--port 70000",
            "--nonsense",
            "fly",
            "demo",
            "demo tea",
            "call",
            "servers start",
            "tools info",
            "--log-format xml",
            "-p 1 stdio",
        ] {
            let exit = parse(line).unwrap_err();
            assert_eq!((exit.code, exit.stdout.as_str()), (1, ""), "{line}");
            assert_eq!(exit.stderr.matches('\n').count(), 1, "{line}");
            let said: serde_json::Value = serde_json::from_str(&exit.stderr).unwrap();
            assert_eq!((&said["type"], &said["code"]), (&"error".into(), &"CLI_ARGS_ERROR".into()), "{line}");
            assert!(!said["message"].as_str().unwrap().is_empty(), "{line}");
            assert!(said["timestamp"].as_str().unwrap().ends_with('Z'), "{line}");
        }
        let said = parse("--port 70000").unwrap_err().stderr;
        assert!(said.contains("70000") && said.contains("--port"), "{said}");
    }

    #[test]
    fn help_and_version_exit_0() {
        for line in ["-h", "--help", "stdio -h", "call --help", "help"] {
            let exit = parse(line).unwrap_err();
            assert_eq!((exit.code, exit.stderr.as_str()), (0, ""), "{line}");
            assert!(exit.stdout.contains("Usage:"), "{line}");
        }
        assert_eq!(parse("-V").unwrap_err().stdout, concat!("mcp-hub ", env!("CARGO_PKG_VERSION"), "\n"));
        let told = parse_with("--version", &[("MCP_HUB_REPORT_VERSION", "4.2.1")]).unwrap_err();
        assert_eq!((told.stdout.as_str(), told.code), ("mcp-hub 4.2.1\n", 0));
    }
}
