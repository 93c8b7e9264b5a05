//! Placeholders and child environments, seen through configuration files.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use super::*;
use crate::config::{
    environment::Environment,
    read::{Overrides, read},
    remote,
};

/// A hub with these variables, in a folder with a file `secret`, reading this configuration.
struct Hub {
    folder: tempfile::TempDir,
    environment: Environment,
}

impl Hub {
    fn new(vars: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("secret"), " from file \n").unwrap();
        let env_file = "# c\nexport DOTTED='a $PLAIN b'\nQUOTED=\"x y\" # c\nPRICE=5$\nLINE=dotted\nEMPTY=\n";
        fs::write(folder.path().join("dot.env"), env_file).unwrap();
        let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let environment = Environment { vars, cwd: folder.path().to_owned(), exe: "/opt/mcp-hub".into() };
        Self { folder, environment }
    }

    fn servers(&self, text: &str) -> Vec<Arc<ServerSettings>> {
        let path = self.folder.path().join("s.json");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let settings = read(&["s.json".into()], &self.environment, &Overrides::default()).unwrap();
        settings.tenants.iter().flat_map(|tenant| tenant.servers.clone()).collect()
    }

    /// One server `s` of the only tenant, with these fields.
    fn resolve(&self, fields: &str) -> Result<Program, String> {
        let text = format!(
            r#"{{"tenants": {{"default": {{"env": {{"TENANT": "t-${{PLAIN}}", "BOTH": "tenant"}}, "servers": {{"s": {{"command": "c", {fields}}}}}}}}},
                "inputs": [{{"id": "api-key", "default": "default of ${{PLAIN}}"}}, {{"id": "none"}}]}}"#
        );
        let servers = self.servers(&text);
        program(&servers[0]).map_err(|error| error.to_string())
    }

    /// One argument, resolved.
    fn arg(&self, arg: &str) -> Result<String, String> {
        self.resolve(&format!(
            r#""env": {{"MINE": "m-${{PLAIN}}", "BOTH": "entry"}}, "envFile": "dot.env", "args": [{}]"#,
            serde_json::json!(arg)
        ))
        .map(|mut resolved| resolved.args.remove(0))
    }
}

fn program(server: &ServerSettings) -> Result<Program, PlaceholderError> {
    resolve(server).map(|resolved| match resolved {
        Resolved::Program(program) => program,
        Resolved::Remote(destination) => panic!("{destination:?}"),
    })
}

fn hub() -> Hub {
    Hub::new(&[
        ("PLAIN", "p"),
        ("INPUT_OTHER_ID", "upper"),
        ("INDIRECT", "PLAIN"),
        ("TRAP", "${cmd: echo trapped}"),
        ("VOID", ""),
        ("HOME", "/home/u"),
        ("PATH", "/usr/bin:/bin"),
        ("MCP_HUB_ENV", r#"{"ADDED": "a", "PLAIN2": 2, "input:given": "g"}"#),
    ])
}

#[test]
fn every_form_resolves() {
    let hub = hub();
    let cwd = hub.folder.path().to_str().unwrap().to_owned();
    let base = hub.folder.path().file_name().unwrap().to_str().unwrap().to_owned();
    for (text, value) in [
        ("plain $PLAIN $ {} }", "plain $PLAIN $ {} }"),
        ("${PLAIN}", "p"),
        ("a${PLAIN}b${env:PLAIN}c", "apbpc"),
        ("${NONE:-d}", "d"),
        ("${env:NONE:-d:-e}", "d:-e"),
        ("${VOID}", ""),
        ("${VOID:-d}", "d"),
        ("${PLAIN:-d}", "p"),
        ("${NONE:-${NONE2:-${PLAIN}}}", "p"),
        ("${${INDIRECT}}", "p"),
        ("${NONE:-}", ""),
        ("${file:secret}", "from file"),
        ("${file:${cwd}/secret}", "from file"),
        ("${cmd: echo ' ${PLAIN} '}", "p"),
        ("${cmd: echo a b | awk '{print $2}'}", "b"),
        ("${input:given}", "g"),
        ("${input:other-id}", "upper"),
        ("${input:api-key}", "default of p"),
        ("${mcpHub}", "/opt/mcp-hub"),
        ("${workspaceFolder}", &cwd),
        ("${cwd}", &cwd),
        ("${workspaceFolderBasename}", &base),
        ("${userHome}", "/home/u"),
        ("${pathSeparator}${/}", "//"),
        ("${TENANT}", "t-p"),
        ("${MINE}", "m-p"),
        ("${BOTH}", "entry"),
        ("${LINE}", "dotted"),
        ("${ADDED}${PLAIN2}", "a2"),
        ("${DOTTED}", "a $PLAIN b"),
        ("${QUOTED}/${PRICE}", "x y/5$"),
        ("${TRAP}", "${cmd: echo trapped}"),
    ] {
        assert_eq!(hub.arg(text).as_deref(), Ok(value), "{text}");
    }
}

#[test]
fn what_cannot_be_resolved_is_an_error_without_values() {
    let hub = hub();
    for (text, message) in [
        ("${NONE}", "Variable 'NONE' not found"),
        ("${env:NONE}", "Variable 'NONE' not found"),
        ("${input:none}", "Variable 'input:none' not found"),
        ("${${PLAIN}}", "Variable '${PLAIN}' not found"),
        ("${file:/no/such}", "${file:/no/such}: No such file or directory (os error 2)"),
        ("${cmd: echo secret; false}", "${cmd:…} failed: exit status: 1"),
        ("${cred:GH}", "${cred:GH} needs a later version; use \"env\" or ${file:…}"),
        ("${PLAIN", "a \"${\" has no closing \"}\""),
        ("${a:-${a:-${a:-${a:-${a:-${a:-${a:-${a:-${a:-${a:-${a:-x}}}}}}}}}}}", "placeholders are nested more than 10 deep"),
    ] {
        assert_eq!(hub.arg(text).unwrap_err(), message, "{text}");
    }
    assert!(hub.resolve(r#""envFile": "none.env""#).unwrap_err().contains("envFile 'none.env'"));
    fs::write(hub.folder.path().join("bad.env"), "TOKEN = s3cr3t and more").unwrap();
    let said = hub.resolve(r#""envFile": "bad.env""#).unwrap_err();
    assert!(said.contains("bad.env") && !said.contains("s3cr3t"), "{said}");
}

#[test]
fn a_name_never_finds_itself() {
    let hub = hub();
    let env = |fields: &str| hub.resolve(&format!(r#""env": {{{fields}}}"#)).map(|resolved| resolved.env);
    assert_eq!(env(r#""PLAIN": "x${PLAIN}""#).unwrap()["PLAIN"], "xp");
    assert_eq!(env(r#""BOTH": "x${BOTH}""#).unwrap()["BOTH"], "xtenant");
    assert_eq!(env(r#""A": "${B}", "B": "${A}""#).unwrap_err(), "Variable 'A' not found");
    assert_eq!(env(r#""A": "a${B}", "B": "b${PLAIN}""#).unwrap()["A"], "abp");
}

#[test]
fn values_that_name_each_other_do_not_multiply_without_end() {
    let many = |name: &str| format!("${{{name}}}").repeat(30);
    let fields: Vec<String> = (0..9).map(|at| format!("\"V{at}\": \"{}\"", many(&format!("V{}", at + 1)))).collect();
    let said = hub().resolve(&format!(r#""env": {{{}, "V9": "x"}}"#, fields.join(", "))).unwrap_err();
    assert_eq!(said, "more than 10000 placeholders in one entry");
}

#[test]
fn a_child_gets_the_allow_list_and_what_it_is_given() {
    let hub = Hub::new(&[
        ("PATH", "/bin"),
        ("HOME", "/home/u"),
        ("LC_ALL", "C"),
        ("LD_PRELOAD", "evil"),
        ("HUB_SECRET", "secret"),
        ("PASSED", "hub"),
        ("MCP_HUB_ENV", r#"{"ADDED": "a", "PLAIN": "added", "input:i": "x"}"#),
    ]);
    let resolved = hub
        .resolve(r#""envFile": "dot.env", "env": {"PASSED": null, "HUB_SECRET2": "", "PLAIN": "entry", "ADDED": null, "N": 1, "B": true}"#)
        .unwrap();
    let env: Vec<(&str, &str)> = resolved.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let expected = [
        ("ADDED", "a"),
        ("B", "true"),
        ("BOTH", "tenant"),
        ("DOTTED", "a $PLAIN b"),
        ("EMPTY", ""),
        ("HOME", "/home/u"),
        ("LC_ALL", "C"),
        ("LINE", "dotted"),
        ("N", "1"),
        ("PASSED", "hub"),
        ("PATH", "/bin"),
        ("PLAIN", "entry"),
        ("PRICE", "5$"),
        ("QUOTED", "x y"),
        ("TENANT", "t-entry"),
    ];
    assert_eq!(env, expected);
}

#[test]
fn tenants_that_share_a_hub_do_not_see_its_environment() {
    let hub = Hub::new(&[("PATH", "/usr/bin:/bin"), ("SECRET", "s"), ("MCP_HUB_ENV", r#"{"ADDED": "a", "input:i": "x"}"#)]);
    let two = |fields: &str| {
        let servers = hub.servers(&format!(
            r#"{{"tenants": {{"a": {{"servers": {{"s": {{"command": "c", {fields}}}}}}}, "b": {{"servers": {{"s": {{"command": "${{mcpHub}}"}}}}}}}}}}"#
        ));
        assert_eq!(program(&servers[1]).unwrap().command, Path::new("/opt/mcp-hub"), "the other one is not hurt");
        program(&servers[0])
    };
    let missing = |name: &str| PlaceholderError::NotFound { name: name.to_owned() };
    assert_eq!(two(r#""args": ["${SECRET}"]"#).unwrap_err(), missing("SECRET"));
    assert_eq!(two(r#""args": ["${ADDED}"]"#).unwrap_err(), missing("ADDED"));
    assert_eq!(two(r#""args": ["${input:i}"]"#).unwrap_err(), missing("input:i"));
    assert_eq!(two(r#""args": ["${cmd: echo [$SECRET]}"]"#).unwrap().args, ["[]"]);
    let env = two(r#""env": {"SECRET": null, "ADDED": ""}"#).unwrap().env;
    assert_eq!(env.keys().collect::<Vec<_>>(), ["PATH"]);
    fs::write(hub.folder.path().join("leak.env"), "LEAK=$PATH${HOME}").unwrap();
    assert_eq!(two(r#""envFile": "leak.env""#).unwrap().env["LEAK"], "$PATH${HOME}");
}

#[test]
fn commands_do_not_run_from_files_that_others_may_write() {
    let hub = hub();
    let path = hub.folder.path().join("open.json");
    fs::write(&path, r#"{"mcpServers": {"s": {"command": "${cmd: touch ran; echo c}"}, "ok": {"command": "c"}}}"#).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let settings = read(&["open.json".into()], &hub.environment, &Overrides::default()).unwrap();
    let [server, ok] = settings.tenants[0].servers.as_slice() else { panic!() };
    let said = resolve(server).unwrap_err().to_string();
    assert!(said.contains("open.json") && said.contains("chmod go-w"), "{said}");
    assert!(!hub.folder.path().join("ran").exists());
    assert!(resolve(ok).is_ok());
}

#[test]
fn explaining_runs_nothing_and_shows_no_value() {
    let hub = hub();
    let servers = hub.servers(
        r#"{"mcpServers": {"s": {"command": "c", "args": ["${cmd: touch ran; echo x}"], "envFile": "dot.env",
            "env": {"A": "${LINE}-${NONE:-x}", "B": "${file:secret}", "C": "${cmd: touch ran}", "LINE": null}}}}"#,
    );
    let (Resolved::Program(resolved), origins) = explain(&servers[0]).unwrap() else { panic!() };
    assert_eq!(resolved.args, ["***"]);
    assert!(!hub.folder.path().join("ran").exists());
    let from = |name: &str| origins.iter().find(|origin| origin.variable == name).unwrap().from.clone();
    assert_eq!(from("A"), "entry, LINE from envFile, NONE from its default");
    assert_eq!(from("B"), "entry, file secret");
    assert_eq!(from("C"), "entry, a command");
    assert_eq!(from("LINE"), "envFile");
    assert_eq!(from("PATH"), "hub environment");
    assert_eq!(from("ADDED"), "MCP_HUB_ENV");
    assert!(!format!("{:?}{resolved:?}", servers[0]).contains("from file"));
}

#[test]
fn a_demo_server_is_this_program() {
    let servers = hub().servers(r#"{"mcpServers": {"m": {"builtin": "math"}}}"#);
    let resolved = program(&servers[0]).unwrap();
    assert_eq!((resolved.command.as_path(), resolved.args), (Path::new("/opt/mcp-hub"), vec!["demo".to_owned(), "math".to_owned()]));
    assert_eq!(resolved.env.keys().collect::<Vec<_>>(), ["HOME", "PATH"]);
}

#[test]
fn a_remote_entry_is_an_address_and_headers_with_their_values() {
    let hub = hub();
    let remote = |fields: &str| {
        let servers = hub.servers(&format!(r#"{{"mcpServers": {{"r": {{{fields}}}}}}}"#));
        match resolve(&servers[0]) {
            Ok(Resolved::Remote(destination)) => Ok(destination),
            Ok(resolved) => panic!("{resolved:?}"),
            Err(error) => Err(error.to_string()),
        }
    };
    let there = remote(
        r#""url": "https://${PLAIN}.example/mcp?key=${BOTH}", "type": "sse", "env": {"T": "t", "BOTH": "b"}, "envFile": "dot.env",
           "headers": {"Authorization": "Bearer ${T}-${LINE}", "X-N": 1, "X-None": null}, "allow_private": true"#,
    )
    .unwrap();
    assert_eq!(there.url, "https://p.example/mcp?key=b");
    assert_eq!((there.transport, there.allow_private, there.allow_loopback), (remote::Transport::Sse, true, false));
    let headers: Vec<_> = there.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    assert_eq!(headers, [("authorization", "Bearer t-dotted"), ("x-n", "1")]);
    assert!(!format!("{there:?}").contains("Bearer"));
    for (fields, error) in [
        (r#""url": "https://u:p@${PLAIN}/""#, "\"url\" must hold no user name or password; use \"headers\""),
        (r#""url": "${PLAIN}""#, "\"url\" must begin with https:// or http://"),
        (r#""url": "https://h/", "headers": {"A": "${NONE}"}"#, "Variable 'NONE' not found"),
        (
            r#""url": "https://h/", "headers": {"A": "${LINES}"}, "env": {"LINES": "a\nb"}"#,
            "the value of header 'a' is none that HTTP can carry",
        ),
    ] {
        assert_eq!(remote(fields).unwrap_err(), error, "{fields}");
    }
}

#[test]
fn only_a_hub_that_serves_nobody_else_may_reach_its_own_machine_unasked() {
    let hub = hub();
    for (top, url, allowed) in [
        ("", "http://localhost:1/mcp", true),
        ("", "http://127.0.0.1:1/mcp", true),
        ("", "http://h.example/mcp", false),
        (r#""gateway": {"host": "0.0.0.0"},"#, "http://localhost:1/mcp", false),
        (r#""gateway": {"listeners": [{"host": "10.0.0.1", "port": 9}]},"#, "http://localhost:1/mcp", false),
        (r#""gateway": {"host": "::1", "mcp_port": 9},"#, "http://localhost:1/mcp", true),
    ] {
        let servers = hub.servers(&format!(r#"{{{top} "mcpServers": {{"r": {{"url": "{url}"}}}}}}"#));
        let Resolved::Remote(there) = resolve(&servers[0]).unwrap() else { panic!() };
        assert_eq!((there.allow_loopback, there.allow_private), (allowed, false), "{top} {url}");
    }
}

#[test]
fn what_placeholders_stand_for_is_taken_out_of_what_is_said_but_not_what_every_child_is_given() {
    let hub = Hub::new(&[("SEKRIT", "of-the-hub"), ("HOME", "/home/me"), ("OTHER", "untouched")]);
    let said = "of-the-hub of-a-file printed dotted literal /home/me untouched given x y named-so inner";
    fs::write(hub.folder.path().join("secret"), "of-a-file\n").unwrap();
    let fields = r#""command": "c", "envFile": "dot.env", "args": ["${HOME}", "-${SEKRIT}-", "${file:secret}", "${cmd: echo printed}", "${GIVEN}"],
        "env": {"GIVEN": "given", "PLAIN": "literal", "API_TOKEN": "named-so"}"#;
    let servers = hub.servers(&format!(r#"{{"mcpServers": {{"s": {{{fields}}}}}}}"#));
    let (_, veil) = resolve_veiled(&servers[0]).unwrap();
    assert_eq!(veil.over(said), "*** *** *** *** literal /home/me untouched *** x y *** inner");
    let servers = hub.servers(r#"{"mcpServers": {"r": {"url": "https://${SEKRIT}.example/", "headers": {"A": "Bearer ${OTHER}"}}}}"#);
    let (_, veil) = resolve_veiled(&servers[0]).unwrap();
    assert_eq!(veil.over(said), "*** of-a-file printed dotted literal /home/me *** given x y named-so inner");
}

#[test]
fn a_bad_entry_does_not_start() {
    let servers = hub().servers(r#"{"mcpServers": {"m": {"command": "c", "args": 1}}}"#);
    assert!(matches!(resolve(&servers[0]), Err(PlaceholderError::Failed { .. })));
}

#[test]
fn what_cannot_be_resolved_has_its_place() {
    let hub = hub();
    let place = |text: &str| {
        let servers = hub.servers(text);
        explain(&servers[0]).map(|_| ()).unwrap_err().to_string()
    };
    let entry = |fields: &str| place(&format!("{{\"mcpServers\": {{\n\"s\": {{{fields}}}}}}}"));
    for (fields, told) in [
        (r#""command": "${NONE}""#, "2:18: tenant default, server s: Variable 'NONE' not found"),
        (r#""command": "c", "args": ["a", "b ${file:no}"]"#, "2:37: tenant default, server s: ${file:no}: No such file"),
        (r#""command": "${VOID}""#, "2:18: tenant default, server s: \"command\" is empty once"),
        (r#""command": "c", "cwd": "${""#, "2:30: tenant default, server s: a \"${\" has no closing"),
        (r#""command": "c", "envFile": "gone.env""#, "2:34: tenant default, server s: envFile 'gone.env': No such file"),
        (r#""command": "c", "env": {"A": "x", "B": "${A}${NONE}"}"#, "2:46: tenant default, server s: Variable 'NONE' not found"),
        // Not where it is used, but where it is wrong.
        (r#""command": "${A}", "env": {"A": "${B}", "B": "${NONE}"}"#, "2:52: tenant default, server s: Variable 'NONE' not found"),
    ] {
        let said = entry(fields);
        assert!(said.starts_with(&format!("s.json:{told}")), "{fields}: {said}");
    }
    let said = place("{\"tenants\": {\"t\": {\"env\": {\n\"A\": \"${NONE}\"}, \"servers\": {\"s\": {\"command\": \"${A}\"}}}}}");
    assert_eq!(said, "s.json:2:6: tenant t, server s: Variable 'NONE' not found");
    let said = place("{\"inputs\": [{\"id\": \"i\",\n\"default\": \"${NONE}\"}], \"servers\": {\"s\": {\"command\": \"${input:i}\"}}}");
    assert_eq!(said, "s.json:2:12: tenant default, server s: Variable 'NONE' not found");
}
