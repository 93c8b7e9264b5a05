//! The seeds of every fuzz target, and the inputs that once failed, as ordinary tests: what `fuzz/` explores starts here.

use std::{fs, path::Path};

/// Runs the target over each file of its folder; an empty folder is a mistake.
fn check(target: &str, run: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut seeds = 0;
    for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        run(&fs::read(entry.unwrap().path()).unwrap());
        seeds += 1;
    }
    assert!(seeds > 0, "{} has no seeds", folder.display());
}

#[test]
fn scan() {
    check("scan", mcp_hub::protocol::scan::fuzz_scan);
}

#[test]
fn splice() {
    check("splice", mcp_hub::protocol::splice::fuzz_splice);
}

#[test]
fn line() {
    check("line", mcp_hub::protocol::line::fuzz_line);
}

#[test]
fn sse() {
    check("sse", mcp_hub::protocol::sse::fuzz_sse);
}

#[test]
fn header() {
    check("header", mcp_hub::protocol::header::fuzz_header);
}

#[test]
fn mux() {
    check("mux", mcp_hub::mux::fuzz_mux);
}

#[test]
fn assembly() {
    check("assembly", mcp_hub::downstream::socket::assembly::fuzz_assembly);
}

#[test]
fn seal() {
    check("seal", mcp_hub::bridge::seal::fuzz_seal);
}

#[test]
fn bridge() {
    check("bridge", mcp_hub::bridge::fuzz_bridge);
}

#[test]
fn definition() {
    check("definition", mcp_hub::catalog::definition::fuzz_definition);
}
