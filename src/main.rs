//! Arguments in, exit code out.

use std::process::ExitCode;

use mcp_hub::cli::{self, args};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match args::parse() {
        Ok(parsed) => cli::run(parsed.command),
        Err(code) => code,
    }
}
