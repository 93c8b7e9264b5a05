//! Commands: what the words after `mcp-hub` mean, and what each of them does.

pub mod args;
pub mod call;
pub mod check;
pub mod client;
pub mod demo;
pub mod serve;
pub mod servers;
pub mod tools;

use std::process::ExitCode;

use args::Command;

/// Does what was asked, to its end.
pub fn run(command: Command) -> ExitCode {
    match command {
        Command::Serve(args) => serve::serve(&args),
        Command::Stdio(args) => serve::stdio(&args),
        Command::Check(args) => check::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Servers(args) => over_rest(servers::run(args)),
        Command::Tools(args) => over_rest(tools::run(args)),
        Command::Call(args) => over_rest(call::run(args)),
    }
}

/// Commands that ask a running hub wait for one answer at a time.
fn over_rest(command: impl Future<Output = ExitCode>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
    runtime.block_on(command)
}
