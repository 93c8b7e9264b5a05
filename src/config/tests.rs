//! Files in, settings and problems out.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Launch, ServerSettings, Settings,
    problem::Severity,
    read::{Environment, Overrides, read},
    settings::{Builtin, Listener, Scope, Serves, Start},
};

struct Folder {
    folder: tempfile::TempDir,
    environment: Environment,
}

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let environment = Environment { cwd: folder.path().to_owned(), exe: "/bin/mcp-hub".into(), ..Environment::default() };
        Self { folder, environment }
    }

    fn var(mut self, name: &str, value: &str) -> Self {
        self.environment.vars.insert(name.to_owned(), value.to_owned());
        self
    }

    fn read(&self, files: &[&str]) -> Result<Settings, Vec<String>> {
        self.read_with(files, &Overrides::default())
    }

    fn read_with(&self, files: &[&str], overrides: &Overrides) -> Result<Settings, Vec<String>> {
        let files: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
        read(&files, &self.environment, overrides).map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }
}

fn settings(text: &str) -> Settings {
    Folder::new(&[("s.json", text)]).read(&["s.json"]).unwrap()
}

fn server<'s>(settings: &'s Settings, id: &str) -> &'s ServerSettings {
    let all = || settings.tenants.iter().flat_map(|tenant| &tenant.servers);
    let ids: Vec<String> = all().map(|server| server.id.to_string()).collect();
    all().find(|server| server.id.to_string() == id).unwrap_or_else(|| panic!("no {id} in {ids:?}"))
}

fn said(settings: &Settings) -> Vec<String> {
    settings.problems.iter().map(ToString::to_string).collect()
}

/// One entry with these fields beside a healthy one: the problems, and whether the entry is enabled. The healthy one always is.
fn check_entry(fields: &str) -> (Vec<String>, bool) {
    let settings = settings(&format!("{{\"mcpServers\": {{\n\"x\": {{{fields}}},\n\"ok\": {{\"command\": \"true\"}}}}}}"));
    assert!(server(&settings, "default:ok").enabled);
    let x = server(&settings, "default:x");
    assert_eq!(x.enabled, x.error.is_none());
    assert_eq!(x.error.is_some(), settings.problems.iter().any(|problem| problem.severity == Severity::Entry));
    (said(&settings), x.enabled)
}

#[test]
fn whether_a_server_may_ask_is_said_beside_its_pool() {
    use super::Interactive;
    for (field, expected) in [
        ("", Interactive::Auto),
        (r#", "interactive": "never""#, Interactive::Never),
        (r#", "interactive": "auto", "pool": {"scope": "shared"}"#, Interactive::Auto),
        (r#", "interactive": "always", "pool": {"size": 2}"#, Interactive::Always),
    ] {
        let settings = settings(&format!(r#"{{"mcpServers": {{"s": {{"command": "a"{field}}}}}}}"#));
        let pool = &server(&settings, "default:s").pool;
        assert_eq!(pool.interactive, expected, "{field}");
        assert!(settings.problems.is_empty(), "{field}: {:?}", settings.problems);
    }
}

#[test]
fn signs_of_life_are_asked_for_where_an_entry_says_how_often() {
    let settings = settings(
        r#"{"mcpServers": {"n": {"command": "a"}, "never": {"command": "a", "keepalive": null}, "s": {"command": "a", "keepalive": 2.5}}}"#,
    );
    for (name, expected) in [("n", None), ("never", None), ("s", Some(Duration::from_millis(2500)))] {
        assert_eq!(server(&settings, &format!("default:{name}")).keepalive, expected, "{name}");
    }
    assert!(settings.problems.is_empty(), "{:?}", settings.problems);
}

#[test]
fn roots_are_file_uris_and_another_is_refused_where_it_stands() {
    let text = r#"{"mcpServers": {"s": {"command": "a", "roots": ["file:///a", "FILE:///b%20c"]}, "n": {"command": "a"}}}"#;
    let settings = settings(text);
    assert_eq!(server(&settings, "default:s").roots, ["file:///a", "FILE:///b%20c"]);
    assert!(server(&settings, "default:n").roots.is_empty() && settings.problems.is_empty(), "{:?}", settings.problems);
    let other = self::settings(&text.replace("/a\", ", "/other\", "));
    assert_ne!(server(&other, "default:s").fingerprint, server(&settings, "default:s").fingerprint);
    assert_eq!(server(&other, "default:n").fingerprint, server(&settings, "default:n").fingerprint);
}

#[test]
fn whether_tasks_are_bridged_is_a_switch() {
    for (field, expected) in [("", false), (r#", "bridge_tasks": true"#, true), (r#", "bridge_tasks": false"#, false)] {
        let settings = settings(&format!(r#"{{"mcpServers": {{"s": {{"command": "a"{field}}}}}}}"#));
        assert_eq!(server(&settings, "default:s").bridge_tasks, expected, "{field}");
        assert!(settings.problems.is_empty(), "{field}: {:?}", settings.problems);
    }
}

#[test]
fn a_bad_entry_disables_only_itself_and_says_where_and_what() {
    for (fields, column, message) in [
        (r#""command": 1"#, 18, "\"command\" must be a string, found a number; write it in quotes"),
        (r#""command": """#, 18, "\"command\" must not be empty"),
        (
            r#""command": "a", "roots": ["file:///a", "b"]"#,
            46,
            "\"roots\" must hold absolute file URIs such as \"file:///home/me/project\" (spaces as %20, no placeholders), not \"b\"",
        ),
        (r#""command": "a", "keepalive": 0.01"#, 36, "\"keepalive\" must be at least 0.1 seconds"),
        (r#""command": "a", "keepalive": "20""#, 36, "\"keepalive\" must be a number of seconds, found a string"),
        (r#""command": "a", "roots": [1]"#, 33, "\"roots\" must be a list of strings, item 1 is a number; write it in quotes"),
        (r#""command": "a", "args": "b""#, 31, "\"args\" must be a list of strings, found a string; write [\"…\"]"),
        (r#""command": "a", "env": ["A=1"]"#, 30, "\"env\" must be an object, found a list; write {…}"),
        (r#""command": "a", "env": {"A=B": "1"}"#, 31, "\"env\" holds a name that no variable can have; rename it"),
        (r#""command": "a", "command": "b""#, 23, "\"command\" is given twice; remove one"),
        (r#""command": "a", "env": {"A": "1", "A": "2"}"#, 41, "\"A\" is given twice; remove one"),
        (r#""command": "a", "builtin": "echo""#, 1, "only one of \"command\", \"url\", \"builtin\" is possible; remove the others"),
        (r#""args": []"#, 1, "nothing to run; write \"command\" (a program), \"url\" (a server elsewhere), or \"builtin\""),
        (r#""builtin": "tea""#, 18, "\"builtin\" must be one of \"echo\", \"math\""),
        (r#""url": "x.example/mcp""#, 14, "\"url\" is no address; write https://host/path"),
        (r#""url": "ftp://x.example/mcp""#, 14, "\"url\" must begin with https:// or http://"),
        (r#""url": "https://u:p@x.example/mcp""#, 14, "\"url\" must hold no user name or password; use \"headers\""),
        (r#""url": "https://x.example/mcp#a""#, 14, "\"url\" must have no fragment (#…)"),
        (
            r#""url": "https://x", "httpUrl": "https://y""#,
            27,
            "the address is given twice; keep one of \"url\", \"serverUrl\", \"httpUrl\"",
        ),
        (r#""url": "https://x", "command": "a""#, 1, "only one of \"command\", \"url\", \"builtin\" is possible; remove the others"),
        (r#""url": "https://x", "type": "stdio""#, 27, "\"type\" names a child, but there is a \"url\"; remove one"),
        (r#""url": "https://x", "headers": {"Host": "y"}"#, 38, "\"headers\" holds \"Host\", which the hub writes itself; remove it"),
        (r#""url": "https://x", "headers": {"A b": "y"}"#, 38, "\"headers\" holds a name that no header can have; rename it"),
        (r#""url": "https://x", "headers": {"A": "y\nz"}"#, 38, "\"headers\" holds a value of \"A\" that HTTP cannot carry"),
        (r#""url": "https://x", "headers": {"A": "1", "a": "2"}"#, 38, "\"headers\" holds \"a\" twice; remove one"),
        (
            r#""command": "a", "type": "http""#,
            23,
            "\"type\" names a remote server, but there is no \"url\"; remove it or write the address",
        ),
        (r#""command": "a", "enabled": true, "disabled": true"#, 40, "\"enabled\" and \"disabled\" contradict each other; remove one"),
        (r#""command": "a", "enabled": "yes""#, 34, "\"enabled\" must be true or false, found a string; write it without quotes"),
        (r#""command": "a", "start": "bott""#, 32, "\"start\" must be one of \"boot\", \"demand\", \"manual\""),
        (r#""command": "a", "pool": {"size": 0}"#, 40, "\"pool.size\" must be a whole number from 1 to 1024, found 0"),
        (r#""command": "a", "pool": {"spare": 9}"#, 1, "\"pool.spare\" is more than \"pool.size\"; make it at most as many"),
        (r#""command": "a", "timeouts": {"call": -1}"#, 44, "\"timeouts.call\" must be a number of seconds, from 0 to a year, found -1"),
        (r#""command": "a", "restart": {"wait": 60}"#, 1, "\"restart.wait_max\" is less than \"restart.wait\"; make it at least as long"),
        (r#""command": "a", "timeout": 0"#, 34, "\"timeout\" must be more than 0 seconds"),
    ] {
        let (said, enabled) = check_entry(fields);
        assert_eq!(said, [format!("s.json:2:{column}: tenant default, server x: {message}")], "{fields}");
        assert!(!enabled, "{fields}");
    }
}

#[test]
fn what_would_restrict_is_never_ignored() {
    for field in ["tools", "includeTools", "excludeTools", "disabledTools", "disabled_tools", "quotas", "limits", "prompts", "resources"] {
        let value = if field.contains("ools") && field != "tools" { "[\"x\"]" } else { "{}" };
        let (found, enabled) = check_entry(&format!("\"command\": \"a\", \"{field}\": {value}"));
        assert!(!enabled && found.len() == 1 && found[0].contains(field), "{found:?}");
    }
    let (found, enabled) = check_entry(r#""command": "a", "disabledTools": [], "excludeTools": []"#);
    assert!(enabled && found.is_empty(), "nothing is kept away: {found:?}");
    for top in [r#""auth": {}"#, r#""quotas": {}"#, r#""gateway": {"tls": {}}"#] {
        let refused = Folder::new(&[("s.json", &format!("{{{top}}}"))]).read(&["s.json"]).unwrap_err();
        assert!(refused[0].contains("restricts"), "{refused:?}");
    }
    for field in ["env_allow", "policy", "quotas"] {
        let both = format!(
            r#"{{"tenants": {{"a": {{"{field}": {{}}, "servers": {{"s": {{"command": "x"}}}}}}, "b": {{"servers": {{"s": {{"command": "x"}}}}}}}}}}"#
        );
        let settings = settings(&both);
        assert!(!settings.tenants[0].enabled && settings.tenants[1].enabled);
        assert!(!server(&settings, "a:s").enabled && server(&settings, "b:s").enabled);
        assert!(server(&settings, "a:s").error.as_ref().unwrap().contains("its tenant is disabled"));
        assert!(said(&settings)[0].starts_with("s.json:1:20: tenant a: "), "{:?}", said(&settings));
    }
}

#[test]
fn later_and_unknown_fields_warn_once_and_strictly_fail() {
    let text = r#"{"mcpServers": {"x": {"command": "a", "oauth": {}, "colour": 1, "x-mine": 1, "trust": true, "autoApprove": []}},
        "store": {}, "nonsense": 1, "version": "1", "gateway": {"prot": 1, "trusted_proxies": []}}"#;
    let folder = Folder::new(&[("s.json", text)]);
    let lenient = folder.read(&["s.json"]).unwrap();
    assert!(lenient.problems.iter().all(|problem| problem.severity == Severity::Warning));
    assert_eq!(
        said(&lenient),
        [
            "s.json:1:39: tenant default, server x: \"oauth\" needs a later version and has no effect yet",
            "s.json:1:52: tenant default, server x: unknown field \"colour\"; correct or remove it",
            "s.json:2:9: \"store\" needs a later version and has no effect yet",
            "s.json:2:22: unknown field \"nonsense\"; correct or remove it",
            "s.json:2:65: unknown field \"gateway.prot\"; correct or remove it",
            "s.json:2:76: \"gateway.trusted_proxies\" needs a later version and has no effect yet",
        ]
    );
    assert!(server(&lenient, "default:x").enabled);
    let strict = Overrides { strict: true, ..Overrides::default() };
    assert_eq!(folder.read_with(&["s.json"], &strict).unwrap_err().len(), 6);
    let entry = Folder::new(&[("s.json", r#"{"mcpServers": {"x": {"command": "a", "colour": 1}}}"#)]);
    let settings = entry.read_with(&["s.json"], &strict).unwrap();
    assert!(!server(&settings, "default:x").enabled);
}

#[test]
fn what_makes_the_hub_itself_impossible_is_fatal() {
    for (text, message) in [
        ("{", "s.json:1:1: not valid JSON: unterminated object"),
        ("{\"a\": 1, \"a\": 2}", "s.json:1:10: \"a\" is given twice; remove one"),
        ("{\"gateway\": {\"port\": 70000}}", "s.json:1:22: \"gateway.port\" must be a whole number from 0 to 65535, found 70000"),
        ("{\"gateway\": {\"base_path\": \"x\"}}", "s.json:1:27: \"gateway.base_path\" must be a path such as \"/tools\""),
        ("{\"gateway\": {\"names\": \"x\"}}", "s.json:1:23: \"gateway.names\" must be one of \"dotted\", \"safe\""),
        ("{\"gateway\": {\"threads\": 0}}", "s.json:1:25: \"gateway.threads\" must be a whole number from 1 to 64, found 0"),
        ("{\"gateway\": {\"listeners\": [{}]}}", "s.json:1:28: \"gateway.listeners[0]\" needs a \"port\""),
        (
            "{\"gateway\": {\"cors\": {\"origins\": [\"*\"], \"credentials\": true}}}",
            "s.json:1:2: \"gateway.cors\" cannot allow credentials to every origin; list the origins",
        ),
        ("{\"gateway\": {\"listeners\": [{\"port\": 8080}]}}", "two listeners on 127.0.0.1:8080; give each its own port"),
        (
            "{\"logging\": {\"level\": \"loud\"}}",
            "s.json:1:23: \"logging.level\" must be one of \"error\", \"warn\", \"info\", \"debug\", \"trace\"",
        ),
        ("{\"limits\": {\"queue\": 0}}", "s.json:1:22: \"limits.queue\" must be a whole number from 1 to 65536, found 0"),
        ("{\"mcpServers\": []}", "s.json:1:16: \"mcpServers\" must be an object, found a list; write {…}"),
        (
            "{\"servers\": {\"a\": 1}}",
            "s.json:1:14: \"servers\" must hold entries with \"command\" or \"url\"; groups of servers belong under \"tenants\"",
        ),
    ] {
        let said = Folder::new(&[("s.json", text)]).read(&["s.json"]).unwrap_err();
        assert_eq!(said, [message], "{text}");
    }
    for field in ["systemConfig", "bearerKeys", "userConfigs", "oauthClients", "mcp", "context_servers", "mcp_servers"] {
        let said = Folder::new(&[("s.json", &format!("{{\"{field}\": {{}}}}"))]).read(&["s.json"]).unwrap_err();
        assert!(said[0].contains("mcp-hub import"), "{said:?}");
    }
    let said = Folder::new(&[("s.toml", "[mcp_servers.a]")]).read(&["s.toml"]).unwrap_err();
    assert!(said[0].contains("TOML"), "{said:?}");
    assert!(Folder::new(&[("d/x", "")]).read(&["d"]).unwrap_err()[0].starts_with("d: cannot be read"));
}

#[test]
fn the_hubs_own_sections_are_read() {
    let settings = settings(
        r#"{"gateway": {"host": "0.0.0.0", "port": 1, "mcp_port": 2, "websocket_port": 2, "base_path": "/hub/", "names": "safe",
             "listeners": [{"port": 3, "serves": ["ops"], "names": "dotted"}, {"host": "::1", "port": 1}], "hosts": ["hub"],
             "threads": 2, "cors": {"origins": ["https://a"]}, "public_url": "https://hub.example"},
            "orchestrator": {"auto_start": true, "max_retries": 5, "startup_timeout": 7.5, "parallel_starts": 2, "watch": false},
            "limits": {"body_mb": 1, "line_mb": 2, "queue": 3, "session_idle": 4, "in_flight": 5, "parked_ttl": 0.5, "parked": 6, "listens": 7},
            "logging": {"level": "WARNING", "format": "%(message)s"},
            "mcpServers": {"a": {"command": "a"}}}"#,
    );
    let gateway = &settings.gateway;
    assert_eq!((gateway.host.as_str(), gateway.port, gateway.base_path.as_str(), gateway.safe_names), ("0.0.0.0", 1, "/hub", true));
    assert_eq!(gateway.threads, Some(2));
    let listener = |host: &str, port, serves, safe_names| Listener { host: host.to_owned(), port, serves, safe_names };
    assert_eq!(
        gateway.listeners,
        [
            listener("0.0.0.0", 2, Serves { mcp: true, ws: true, ..Serves::NONE }, None),
            listener("0.0.0.0", 3, Serves { ops: true, ..Serves::NONE }, Some(false)),
            listener("::1", 1, Serves::ALL, None),
        ]
    );
    assert_eq!((settings.limits.body_bytes, settings.limits.line_bytes, settings.limits.queue), (1 << 20, 2 << 20, 3));
    assert_eq!((settings.limits.session_idle, settings.limits.in_flight_per_principal), (Duration::from_secs(4), 5));
    let limits = &settings.limits;
    assert_eq!((limits.parked_ttl, limits.parked_per_principal, limits.listens_per_principal), (Duration::from_millis(500), 6, 7));
    assert_eq!((settings.log_level.as_str(), settings.log_text, settings.parallel_starts), ("warn", true, 2));
    let a = server(&settings, "default:a");
    assert_eq!((a.start, a.restart.max_retries, a.timeouts.start), (Start::Boot, Some(5), Duration::from_millis(7500)));
    assert_eq!(a.pool.idle_stop, None, "a server that starts at boot stays");
    assert!(settings.problems.is_empty(), "{:?}", said(&settings));
}

#[test]
fn defaults_depend_on_the_form_of_the_file() {
    let native = settings(r#"{"tenants": {"acme": {"servers": {"s": {"command": "a"}}}}}"#);
    let native = server(&native, "acme:s");
    assert_eq!((native.restart.max_retries, native.timeouts.start, native.start), (Some(3), Duration::from_secs(30), Start::Demand));
    let desktop = settings(r#"{"mcpServers": {"s": {"command": "a"}}}"#);
    let desktop = server(&desktop, "default:s");
    assert_eq!((desktop.restart.max_retries, desktop.timeouts.start, desktop.start), (None, Duration::from_secs(60), Start::Demand));
    assert_eq!((desktop.pool.scope, desktop.pool.size, desktop.pool.spare), (Scope::User, 4, 0));
    assert_eq!((desktop.timeouts.call, desktop.timeouts.call_max), (Duration::from_secs(60), Duration::from_secs(1800)));
    let said = settings(
        r#"{"tenants": {"default": {"servers": {"s": {"command": "a", "restart": {"max_retries": null}, "timeouts": {"start": 1},
            "timeout": 3600000, "pool": {"scope": "call", "idle_stop": null}, "disabled": true, "type": "database", "name": "Mine",
            "metadata": {"description": "told"}}}}}}"#,
    );
    let said = server(&said, "default:s");
    assert_eq!((said.restart.max_retries, said.timeouts.start), (None, Duration::from_secs(1)));
    assert_eq!((said.timeouts.call, said.timeouts.call_max), (Duration::from_secs(3600), Duration::from_secs(3600)));
    assert_eq!((said.pool.scope, said.pool.idle_stop, said.enabled), (Scope::Call, None, false));
    assert_eq!((said.kind.as_str(), said.display_name.as_deref(), said.description.as_deref()), ("database", Some("Mine"), Some("told")));
}

#[test]
fn a_remote_entry_shows_no_secret() {
    let settings = settings(r#"{"mcpServers": {"r": {"url": "https://${U:-u}@h/mcp?k=v", "headers": {"A": "secret"}, "disabled": true}}}"#);
    assert_eq!(settings.problems.len(), 0);
    let remote = server(&settings, "default:r");
    assert!(!remote.enabled && remote.error.is_none());
    assert!(!format!("{remote:?}").contains("secret"));
    let shown = serde_json::to_string(&remote.shown).unwrap();
    assert_eq!(
        shown,
        r#"{"url":"https://***@h/mcp?***","headers":{"A":"***"},"disabled":true,"name":"r","type":"unknown","enabled":false}"#
    );
}

#[test]
fn names_are_kept_changed_or_refused() {
    let settings = settings(
        r#"{"mcpServers": {
"a.b": {"command": "1"},
"a-b": {"command": "2"},
"A_B": {"command": "3"},
"hub": {"command": "4"},
"api": {"command": "5"},
"@x/y": {"command": "6"},
"é": {"command": "7"},
"twin": {"command": "8"},
"twin": {"command": "9"}}}"#,
    );
    assert_eq!(
        said(&settings),
        [
            "s.json:2:1: tenant default, server a.b: the names \"a.b\" and \"a-b\" cannot be told apart; rename one",
            "s.json:4:1: tenant default, server A_B: the names \"A_B\" and \"a-b\" cannot be told apart; rename one",
            "s.json:5:1: tenant default, server hub: \"hub\" is the prefix of the hub's own tools; rename the server",
            "s.json:6:1: tenant default, server api: /api is an address of the hub's own: there is no /api/mcp, only /t/default/api/mcp",
            "s.json:7:1: tenant default, server @x/y: the name is read as \"x-y\"; names have letters, digits, \"-\" and \"_\" only, at most 63",
            "s.json:8:1: tenant default, server é: the name has no letter or digit that a name can begin with; rename it",
            "s.json:10:1: tenant default, server twin: this tenant has a server of this name already; rename or remove one",
        ]
    );
    let ids: Vec<(String, bool)> = settings.tenants[0].servers.iter().map(|server| (server.id.name.to_string(), server.enabled)).collect();
    let expected = [("a-b", true), ("A_B", false), ("hub", false), ("api", true), ("x-y", true), ("twin", true)];
    assert_eq!(ids, expected.map(|(name, enabled)| (name.to_owned(), enabled)));
    let Launch::Command { command, .. } = &server(&settings, "default:twin").launch else { panic!() };
    assert_eq!(command, "8");
}

#[test]
fn tenants_whose_names_are_equal_are_not_mixed() {
    let settings = settings(
        r#"{"tenants": {"acme": {"servers": {"s": {"command": "1"}}}, "Acme": {"servers": {"s": {"command": "2"}}}, "a.c": {"servers": {}}}}"#,
    );
    let tenants: Vec<(String, bool)> = settings.tenants.iter().map(|tenant| (tenant.id.to_string(), tenant.enabled)).collect();
    assert_eq!(tenants, [("acme".to_owned(), true), ("Acme".to_owned(), false), ("a-c".to_owned(), true)]);
    assert!(!server(&settings, "Acme:s").enabled);
}

#[test]
fn files_merge_left_to_right() {
    let folder = Folder::new(&[
        (
            "a.json",
            r#"{"mcpServers": {"one": {"command": "1", "args": ["x"]}, "two": {"command": "2"}}, "gateway": {"port": 1, "host": "h"},
            "tenants": {"t": {"env": {"A": "1", "B": "1"}, "description": "first", "servers": {}}}}"#,
        ),
        (
            "b.json",
            r#"{"mcpServers": {"two": {"command": "3"}}, "servers": {"two": {"command": "4"}, "three": {"command": "5"}},
            "gateway": {"port": 2}, "tenants": {"t": {"env": {"B": "2"}, "servers": {"s": {"command": "6"}}}}}"#,
        ),
    ]);
    let settings = folder.read(&["a.json", "none.json", "b.json"]).unwrap();
    let command = |id: &str| match &server(&settings, id).launch {
        Launch::Command { command, .. } => command.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(["default:one", "default:two", "default:three", "t:s"].map(command), ["1", "4", "5", "6"]);
    assert_eq!((settings.gateway.port, settings.gateway.host.as_str()), (2, "h"));
    assert_eq!(settings.files, [PathBuf::from("a.json"), PathBuf::from("b.json")]);
    assert_eq!(said(&settings), ["none.json: no such file; skipped"]);
    let scope = &server(&settings, "t:s").scope;
    assert_eq!([&scope.tenant_env["A"].text, &scope.tenant_env["B"].text], ["1", "2"]);
    assert_eq!(settings.tenants.iter().find(|tenant| tenant.id.as_str() == "t").unwrap().description, "first");
    assert_eq!(server(&settings, "default:one").restart.max_retries, Some(3), "its file has tenants");
}

#[test]
fn files_are_found_in_the_default_places() {
    let text = |name: &str| format!("{{\"mcpServers\": {{\"{name}\": {{\"command\": \"x\"}}}}}}");
    let files = [("config/servers.json", text("local")), ("xdg/mcp-hub/servers.json", text("xdg")), ("named.json", text("named"))];
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let first = |folder: &Folder| folder.read(&[]).unwrap().tenants[0].servers.first().map(|server| server.id.name.to_string());
    assert_eq!(first(&Folder::new(&files).var("MCP_HUB_CONFIG", "named.json")).as_deref(), Some("named"));
    assert_eq!(first(&Folder::new(&files)).as_deref(), Some("local"));
    let folder = Folder::new(&files[1..]);
    let xdg = folder.folder.path().join("xdg").display().to_string();
    assert_eq!(first(&folder.var("XDG_CONFIG_HOME", &xdg)).as_deref(), Some("xdg"));
    let none = Folder::new(&[]);
    assert_eq!(first(&none), None);
    let settings = none.read(&[]).unwrap();
    assert_eq!((settings.tenants[0].id.as_str(), settings.files.len(), settings.problems.len()), ("default", 0, 0));
}

#[test]
fn flags_win_over_environment_and_environment_over_files() {
    let text = r#"{"gateway": {"host": "file", "port": 1, "mcp_port": 9}, "logging": {"level": "error", "format": "json"}}"#;
    let folder = Folder::new(&[("s.json", text)]).var("MCP_HUB_HOST", "env").var("MCP_HUB_PORT", "2").var("LOG_LEVEL", "DEBUG");
    let settings = folder.read(&["s.json"]).unwrap();
    assert_eq!((settings.gateway.host.as_str(), settings.gateway.port, settings.log_level.as_str()), ("env", 2, "debug"));
    assert_eq!(settings.gateway.listeners[0].host, "env", "listeners follow");
    let flags = Overrides {
        host: Some("flag".into()),
        port: Some(9),
        log_level: Some("trace".into()),
        log_text: Some(true),
        ..Overrides::default()
    };
    let settings = folder.read_with(&["s.json"], &flags).unwrap();
    assert_eq!((settings.gateway.host.as_str(), settings.gateway.port, settings.log_level.as_str()), ("flag", 9, "trace"));
    assert!(settings.log_text && settings.gateway.listeners.is_empty(), "the main listener serves MCP on that port already");
    let odd = Folder::new(&[]).var("LOG_LEVEL", "verbose").read(&[]).unwrap();
    assert_eq!((odd.log_level.as_str(), odd.problems.len()), ("info", 1));
    assert!(Folder::new(&[]).var("MCP_HUB_PORT", "x").read(&[]).is_err());
    assert!(Folder::new(&[]).var("MCP_HUB_ENV", "[]").read(&[]).is_err());
}

#[test]
fn the_demo_flag_adds_two_servers_to_tenant_default() {
    let demo = Overrides { demo: true, ..Overrides::default() };
    let settings = Folder::new(&[]).read_with(&[], &demo).unwrap();
    assert!(matches!(server(&settings, "default:echo").launch, Launch::Builtin(Builtin::Echo)));
    assert!(matches!(server(&settings, "default:math").launch, Launch::Builtin(Builtin::Math)));
    let folder = Folder::new(&[("s.json", r#"{"mcpServers": {"Echo": {"command": "mine"}}}"#)]);
    let settings = folder.read_with(&["s.json"], &demo).unwrap();
    assert_eq!(settings.tenants[0].servers.len(), 2);
    assert!(matches!(server(&settings, "default:Echo").launch, Launch::Command { .. }));
}

#[test]
fn the_fingerprint_follows_what_the_server_offers() {
    let of = |fields: &str| {
        let settings = settings(&format!("{{\"mcpServers\": {{\"s\": {{\"command\": \"a\"{fields}}}}}}}"));
        server(&settings, "default:s").fingerprint.clone()
    };
    let plain = of("");
    assert_eq!(plain.len(), 64);
    for same in ["", r#", "name": "x""#, r#", "timeout": 5"#, r#", "start": "boot""#, r#", "disabled": true"#] {
        assert_eq!(of(same), plain, "{same}");
    }
    let others = [
        r#", "args": ["a"]"#,
        r#", "env": {"A": "1"}"#,
        r#", "env": {"A": "${B}"}"#,
        r#", "env": {"A": ""}"#,
        r#", "cwd": "/""#,
        r#", "envFile": "/e""#,
    ];
    let mut seen = vec![plain];
    for other in others {
        let fingerprint = of(other);
        assert!(!seen.contains(&fingerprint), "{other}");
        seen.push(fingerprint);
    }
}

#[test]
fn no_secret_is_shown_or_printed() {
    let secret = "s3cr3t-value";
    let text = format!(
        r#"{{"tenants": {{"t": {{"env": {{"A": "{secret}"}}, "servers": {{"s": {{"command": "x", "env": {{"B": "{secret}"}}, "headers": {{"C": "{secret}"}},
            "oauth": {{"client_secret": "{secret}"}}}}}}}}}}, "inputs": [{{"id": "i", "default": "{secret}"}}]}}"#
    );
    let settings = settings(&text);
    assert!(!format!("{settings:?}").contains(secret));
    let shown = &server(&settings, "t:s").shown;
    assert_eq!(shown["env"]["B"], "***");
    let bad = Folder::new(&[("s.json", &text.replace("\"env\": {\"B\"", "\"start\": \"s3cr3t-value\", \"env\": {\"B\""))])
        .read(&["s.json"])
        .unwrap();
    assert!(!said(&bad).concat().contains(secret), "nor in messages");
}

#[test]
fn every_field_of_the_reference_is_read() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/README.md")).unwrap();
    let mut fields = 0;
    for line in page.lines().filter(|line| line.starts_with("| `")) {
        let mut cells = line.split(" | ").map(|cell| cell.trim_start_matches("| ").trim_matches('`'));
        let (field, value) = (cells.next().unwrap(), cells.next().unwrap_or_default());
        let is_one = |text: &str| text.chars().all(|letter| letter.is_ascii_alphabetic() || matches!(letter, '.' | '_'));
        if !is_one(field) || serde_json::from_str::<serde_json::Value>(value).is_err() {
            continue;
        }
        let nested = field.rsplit('.').fold(value.to_owned(), |value, name| format!("{{{name:?}: {value}}}"));
        let is_hubs = ["gateway.", "orchestrator.", "limits.", "logging."].iter().any(|section| field.starts_with(section));
        let text = match nested.strip_prefix('{') {
            Some(_) if is_hubs => nested,
            Some(rest) => format!(r#"{{"mcpServers": {{"s": {{"command": "x", {rest}}}}}"#),
            None => panic!("{field}"),
        };
        let folder = Folder::new(&[("s.json", &text)]);
        let settings = folder.read(&["s.json"]).unwrap_or_else(|problems| panic!("{field}: {problems:?}"));
        assert!(settings.problems.is_empty(), "{field}: {:?}", said(&settings));
        fields += 1;
    }
    assert!(fields > 50, "{fields}");
}

#[test]
fn shipped_and_example_files_load() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let environment = Environment { cwd: root.clone(), exe: "/bin/mcp-hub".into(), ..Environment::default() };
    let shipped = read(&[], &environment, &Overrides { strict: true, ..Overrides::default() }).unwrap();
    assert_eq!(shipped.files, [PathBuf::from("config/servers.json")]);
    assert!(shipped.problems.is_empty(), "{:?}", said(&shipped));
    for (id, which) in [("default:echo", "echo"), ("default:math", "math")] {
        let super::placeholder::Resolved::Program(resolved) = super::placeholder::resolve(server(&shipped, id)).unwrap() else { panic!() };
        assert_eq!((resolved.command, resolved.args), ("/bin/mcp-hub".into(), vec!["demo".to_owned(), which.to_owned()]));
    }
    let mut examples = 0;
    for file in fs::read_dir(root.join("config/examples")).unwrap() {
        let path = file.unwrap().path();
        let settings = read(std::slice::from_ref(&path), &environment, &Overrides::default()).unwrap();
        let remote = |problem: &super::Problem| problem.message.contains("inputs");
        assert!(settings.problems.iter().all(remote), "{:?}", said(&settings));
        assert!(settings.tenants.iter().any(|tenant| tenant.servers.iter().any(|server| server.enabled)), "{}", path.display());
        examples += 1;
    }
    assert!(examples >= 3);
}

/// Files as the hosts write them, the servers in them, and which of those are enabled.
#[test]
fn files_of_other_hosts_load() {
    type Servers<'a> = &'a [(&'a str, bool)];
    let cases: &[(&str, &str, Servers<'_>)] = &[
        (
            "Claude Desktop",
            r#"{"globalShortcut": "", "mcpServers": {"filesystem": {"command": "npx", "args": ["-y", "@modelcontextprotocol/server-filesystem", "/home/u"]}}}"#,
            &[("filesystem", true)],
        ),
        (
            "Claude Code",
            r#"{"mcpServers": {"db": {"type": "stdio", "command": "uvx", "args": ["mcp-server-sqlite"], "env": {"DB": "${DB:-/tmp/x.db}"}},
                "sentry": {"type": "http", "url": "https://mcp.sentry.dev/mcp"}}}"#,
            &[("db", true), ("sentry", true)],
        ),
        (
            "Cursor",
            r#"{"mcpServers": {"github": {"command": "npx", "args": ["-y", "server-github"], "env": {"GITHUB_TOKEN": "${env:GH}"}, "envFile": "${workspaceFolder}/.env"}}}"#,
            &[("github", true)],
        ),
        (
            "VS Code",
            r#"{"inputs": [{"type": "promptString", "id": "key", "description": "Key", "password": true, "default": "d"}],
                "servers": {"perplexity": {"type": "stdio", "command": "npx", "args": ["-y", "server-perplexity"], "env": {"KEY": "${input:key}"}, "dev": {"watch": "x"}},
                "remote": {"type": "http", "url": "https://x.example/mcp"}}}"#,
            &[("perplexity", true), ("remote", true)],
        ),
        (
            "Windsurf",
            r#"{"mcpServers": {"a": {"command": "npx", "disabled": false, "disabledTools": []}, "r": {"serverUrl": "https://x.example/sse"}}}"#,
            &[("a", true), ("r", true)],
        ),
        (
            "Cline",
            r#"{"mcpServers": {"a": {"command": "node", "args": ["a.js"], "autoApprove": ["t"], "alwaysAllow": [], "disabled": true, "timeout": 60, "type": "stdio"}}}"#,
            &[("a", false)],
        ),
        (
            "Gemini",
            r#"{"mcpServers": {"a": {"command": "python", "args": ["-m", "a"], "cwd": "./s", "timeout": 15000, "trust": false},
                "b": {"command": "b", "includeTools": ["safe"]}, "r": {"httpUrl": "https://x.example/mcp", "headers": {"A": "b"}}}, "theme": "GitHub"}"#,
            &[("a", true), ("b", false), ("r", true)],
        ),
        (
            "native",
            r#"{"version": "1.0.0", "tenants": {"default": {"description": "d", "servers": {"sqlite": {"name": "SQLite", "type": "database", "command": "uvx",
                "args": ["mcp-server-sqlite"], "env": {}, "enabled": true, "capabilities": ["sql"], "metadata": {"category": "db"}}}}},
                "gateway": {"port": 8080, "mcp_port": 8000, "websocket_port": 8081, "host": "0.0.0.0"},
                "orchestrator": {"auto_start": false, "max_retries": 3, "startup_timeout": 30},
                "logging": {"level": "INFO", "format": "%(asctime)s - %(message)s"}}"#,
            &[("sqlite", true)],
        ),
    ];
    for (host, text, servers) in cases {
        let settings = settings(text);
        let loaded: Vec<(String, bool)> =
            settings.tenants[0].servers.iter().map(|server| (server.id.name.to_string(), server.enabled)).collect();
        let expected: Vec<(String, bool)> = servers.iter().map(|(name, enabled)| ((*name).to_owned(), *enabled)).collect();
        assert_eq!(loaded, expected, "{host}: {:?}", said(&settings));
    }
}

#[test]
fn a_byte_order_mark_is_no_text() {
    assert!(settings("\u{feff}{}").problems.is_empty());
}

#[test]
fn servers_of_vs_code_win_over_mcp_servers() {
    let settings =
        settings(r#"{"servers": {"a": {"command": "code"}}, "mcpServers": {"a": {"command": "desktop"}, "b": {"command": "b"}}}"#);
    let Launch::Command { command, .. } = &server(&settings, "default:a").launch else { panic!() };
    assert_eq!((command.as_str(), settings.tenants[0].servers.len()), ("code", 2));
    assert!(settings.problems.is_empty());
}

proptest::proptest! {
    #[test]
    fn no_text_panics_and_every_problem_lies_in_the_file(text in r#"[\{\}\[\]:,"a-c0-9 \né/*]{0,60}"#) {
        let folder = Folder::new(&[("s.json", &text)]);
        let problems = match read(&["s.json".into()], &folder.environment, &Overrides::default()) {
            Ok(settings) => settings.problems,
            Err(problems) => problems,
        };
        for problem in problems {
            let line = text.lines().nth(problem.line.unwrap() - 1).unwrap_or_default();
            proptest::prop_assert!(problem.column.unwrap() <= line.chars().count() + 1, "{problem}");
        }
    }

    #[test]
    fn any_value_in_any_field_hurts_one_entry_at_most(
        field in "(command|args|env|envFile|cwd|url|headers|builtin|transport|type|name|metadata|enabled|disabled|start|pool|restart|timeouts|timeout)",
        value in r#"(null|true|-1|1e400|"x"|""|\[\]|\[1\]|\{\}|\{"a": 1\}|\{"size": "x"\}|\{"call": \[\]\})"#,
    ) {
        let text = format!("{{\"mcpServers\": {{\"x\": {{\"command\": \"c\", \"{field}\": {value}}}, \"ok\": {{\"command\": \"true\"}}}}}}");
        let settings = settings(&text);
        proptest::prop_assert!(server(&settings, "default:ok").enabled);
        let x = server(&settings, "default:x");
        proptest::prop_assert!(x.error.is_none() || !x.enabled);
    }
}
