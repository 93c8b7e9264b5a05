//! `mcp-hub [serve]` and `mcp-hub stdio`: from words and files to a running hub.

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
    process::ExitCode,
};

use etcetera::BaseStrategy;
use serde_json::json;

use super::args::{FileArgs, Names as NameStyle, ServeArgs, StdioArgs};
use crate::{
    app::{self, Place, Sharing},
    catalog::Names,
    config::{
        Identity, Problem, Settings,
        environment::Environment,
        identity::socket_folders,
        problem::Severity,
        read::{self, Overrides},
    },
    downstream::local::{join, seat::Address},
    hub::Endpoint,
    name::{ServerName, TenantId},
    observe::{
        log::{Format, Log, Plan, Sink, error_line},
        wire,
    },
};

pub(super) fn serve(args: &ServeArgs) -> ExitCode {
    let started = environment().and_then(|environment| {
        let settings = settings(&args.files, &environment, &args.overrides())?;
        check_wire(&environment)?;
        let place = place(&environment)?;
        let sharing = sharing(&settings, &environment, &place);
        Ok((settings, place, sharing))
    });
    let (settings, place, sharing) = match started {
        Ok(started) => started,
        Err(code) => return code,
    };
    // A person reads stdout; a program reads the lines of both streams.
    let for_a_person = std::io::stdout().is_terminal();
    let format = if settings.log_text || (for_a_person && args.log_format.is_none()) { Format::Text } else { Format::Json };
    let sink = if for_a_person { Sink::Stderr } else { Sink::Split };
    let mut log = Log::start(&Plan { level: &settings.log_level, format, sink, file: place.log() });
    warn(&settings.problems);
    wire::verdict(app::serve(settings, &place, args.allow_unauthenticated, &sharing, &mut log))
}

pub(super) fn stdio(args: &StdioArgs) -> ExitCode {
    let overrides = Overrides { strict: args.files.strict_config, ..Overrides::default() };
    let started = environment().and_then(|environment| {
        let settings = settings(&args.files, &environment, &overrides)?;
        check_wire(&environment)?;
        let place = place(&environment)?;
        let sharing = if args.no_share { Err("--no-share".to_owned()) } else { sharing(&settings, &environment, &place) };
        Ok((settings, place, sharing, endpoint(args)?))
    });
    let (settings, place, sharing, endpoint) = match started {
        Ok(started) => started,
        Err(code) => return code,
    };
    // A process that is not the hub keeps no log.
    let log = |settings: &Settings| {
        // stdout is the wire.
        let log =
            Log::start(&Plan { level: &settings.log_level, format: app::log_format(settings), sink: Sink::Stderr, file: place.log() });
        warn(&settings.problems);
        log
    };
    wire::verdict(app::serve_stdio(settings, &place, endpoint, &sharing, log))
}

/// The local socket that this hub may have, or use.
fn sharing(settings: &Settings, environment: &Environment, place: &Place) -> Sharing {
    let identity = Identity::of(settings, environment, &[&place.state, &place.data]);
    match Address::find(&socket_folders(&place.state, environment), identity) {
        Ok(address) => Ok(join::Place { address, identity }),
        Err(error) => Err(error.to_string()),
    }
}

fn environment() -> Result<Environment, ExitCode> {
    Environment::capture().map_err(|error| fail("HUB_ERROR", &format!("the environment cannot be read: {error}")))
}

fn settings(files: &FileArgs, environment: &Environment, overrides: &Overrides) -> Result<Settings, ExitCode> {
    read::read(&files.config, environment, overrides).map_err(|problems| {
        for problem in &problems {
            eprintln!("{}", error_line("CONFIG_ERROR", &problem.to_string(), data(problem)));
        }
        ExitCode::FAILURE
    })
}

fn endpoint(args: &StdioArgs) -> Result<Endpoint, ExitCode> {
    let bad = |what: &str, name: &str| fail("CLI_ARGS_ERROR", &format!("'{name}' cannot be the name of a {what}"));
    let tenant = match &args.tenant {
        None => TenantId::default_tenant(),
        Some(name) => TenantId::new(name).ok_or_else(|| bad("tenant", name))?,
    };
    let server = args.server.as_ref().map(|name| ServerName::new(name).ok_or_else(|| bad("server", name))).transpose()?;
    let names = match args.names {
        NameStyle::Dotted => Names::Dotted,
        NameStyle::Safe => Names::Safe,
    };
    Ok(Endpoint::plain(tenant, server, names))
}

/// `mcp-hub/` below the XDG bases.
fn place(environment: &Environment) -> Result<Place, ExitCode> {
    let bases = etcetera::base_strategy::Xdg::new().map_err(|error| fail("HUB_ERROR", &format!("no home folder: {error}")))?;
    let below = |base: PathBuf| base.join("mcp-hub");
    let version = environment.own("MCP_HUB_REPORT_VERSION").map_err(|error| fail("HUB_ERROR", &error))?;
    Ok(Place {
        state: below(bases.state_dir().unwrap_or_else(|| bases.data_dir())),
        data: below(bases.data_dir()),
        version: version.unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned()),
    })
}

/// `MCP_HUB_CHECK_WIRE` names the folder of the specification's schemas, `MCP_HUB_CHECK_WIRE_REPORT` where violations are written.
fn check_wire(environment: &Environment) -> Result<(), ExitCode> {
    let started = || {
        let Some(schemas) = environment.own("MCP_HUB_CHECK_WIRE")? else { return Ok(()) };
        let report = environment.own("MCP_HUB_CHECK_WIRE_REPORT")?;
        wire::start(schemas.as_ref(), report.as_deref().map(Path::new)).map_err(|error| error.to_string())
    };
    started().map_err(|error: String| fail("HUB_ERROR", &format!("messages cannot be checked: {error}")))
}

fn warn(problems: &[Problem]) {
    for problem in problems {
        let file = problem.file.as_ref().map(|file| file.display().to_string());
        let (file, line, column) = (file.as_deref(), problem.line, problem.column);
        let (tenant, server) = (problem.tenant.as_deref(), problem.server.as_deref());
        match problem.severity {
            Severity::Warning => tracing::warn!(code = "CONFIG_WARNING", file, line, column, tenant, server, "{problem}"),
            Severity::Entry | Severity::Fatal => tracing::error!(code = "CONFIG_ERROR", file, line, column, tenant, server, "{problem}"),
        }
    }
}

fn data(problem: &Problem) -> serde_json::Value {
    json!({"file": problem.file, "line": problem.line, "column": problem.column, "tenant_id": problem.tenant, "server": problem.server})
}

fn fail(code: &str, message: &str) -> ExitCode {
    eprintln!("{}", error_line(code, message, json!({})));
    ExitCode::FAILURE
}
