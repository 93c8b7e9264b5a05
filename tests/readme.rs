//! What README.md tells a newcomer to type does what it says.

#[path = "support/mod.rs"]
mod support;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use support::{client, hub, server};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).into()
}

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).unwrap()
}

#[tokio::test]
async fn the_first_call_answers_what_it_shows() {
    let page = readme();
    let line = page.lines().find(|line| line.starts_with("curl ")).expect("a curl line");
    let path = line.split_once("127.0.0.1:8080").and_then(|(_, rest)| rest.split_whitespace().next()).expect("an address");
    let body = line.split("-d '").nth(1).and_then(|rest| rest.split('\'').next()).expect("a body");
    let hub = hub::new().run_shipped(&root());
    let answer = client::rest(&hub).post(path, &[], body).await.json();
    assert_eq!(answer["tool"], "echo.echo_tool");
    assert_eq!(answer["result"]["structuredContent"]["result"], "hello");
}

#[tokio::test]
async fn the_bodies_it_shows_are_understood() {
    let page = readme();
    let has = |words: &str| server::child(&format!("full {words}"));
    let hub = hub::new().server("time", has("--also get_current_time")).server("files", has("")).server("docs", has("")).run();
    let rest = client::rest(&hub);
    let mut told = Vec::new();
    for line in page.lines().filter(|line| line.starts_with("| `POST /api/servers/") && line.contains("{\"server_name\": ")) {
        let mut words = line.split('`').skip(1).step_by(2);
        let (paths, body) = (words.next().unwrap(), words.last().filter(|word| word.starts_with('{')));
        let Some(body) = body else { continue };
        let path = paths.trim_start_matches("POST ");
        let answer = rest.post(path, &[], body).await;
        told.push(format!("{path} {} {}", answer.status, answer.json()["message"].as_str().unwrap_or_default()));
    }
    let prompt = "/api/servers/prompts 404 Prompt 'summary' not found on server 'docs'";
    assert_eq!(told, ["/api/servers/tools 200 ", "/api/servers/resources 200 ", prompt]);
}

#[test]
fn the_configuration_it_shows_is_valid() {
    let page = readme();
    let example = page.split("```jsonc").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("servers.json");
    std::fs::write(&file, example).unwrap();
    let check = Command::new(env!("CARGO_BIN_EXE_mcp-hub")).args(["check", "--config"]).arg(&file).output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
}
