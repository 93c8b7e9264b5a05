//! What makes two hubs one and the same: whoever reads the same files in the same surroundings gets the same servers, started with the
//! same arguments, variables and headers, and so may use a hub that is there already. In doubt two identities differ.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::{
    Settings,
    environment::Environment,
    placeholder::{self, Leaning, Origin, Resolved},
    settings::ServerSettings,
};

/// A digest. It is made of secrets among other things, so it stays with those who could read them: in files and sockets of their user.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Identity([u8; 32]);

impl Identity {
    /// `folders`: where the hub keeps what outlives it. Reads the configuration again, and what its entries name, but runs no
    /// command.
    pub fn of(settings: &Settings, environment: &Environment, folders: &[&Path]) -> Self {
        let mut made = Made(Sha256::new());
        made.part(env!("CARGO_PKG_VERSION"));
        // A home folder may be on several machines.
        made.part(rustix::system::uname().nodename().to_bytes());
        folders.iter().for_each(|folder| made.part(folder.as_os_str().as_encoded_bytes()));
        // Inside and outside a sandbox that shares both.
        for space in ["mnt", "net", "pid", "user"] {
            made.part(fs::read_link(format!("/proc/self/ns/{space}")).unwrap_or_default().as_os_str().as_encoded_bytes());
        }
        // Whom remote servers are believed by.
        for name in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
            made.part(environment.vars.get(name).map(String::as_str).unwrap_or_default());
        }
        for file in &settings.files {
            let path = environment.cwd.join(file);
            made.part(fs::canonicalize(&path).unwrap_or_else(|_| path.clone()).as_os_str().as_encoded_bytes());
            made.part(fs::read(&path).unwrap_or_default());
        }
        let mut leaning = Leaning::default();
        for tenant in &settings.tenants {
            made.part(tenant.id.as_str());
            made.part([u8::from(tenant.enabled)]);
            for server in &tenant.servers {
                made.server(server, &mut leaning);
            }
            made.part("end");
        }
        if leaning.on_folder {
            made.part(environment.cwd.as_os_str().as_encoded_bytes());
        }
        if leaning.on_everything {
            for (name, value) in &environment.vars {
                made.part(name);
                made.part(value);
            }
        }
        Self(made.0.finalize().into())
    }

    /// All of it, 64 digits.
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }

    /// Enough to tell the hubs of one user apart, 16 digits: two that share it must still compare the whole.
    pub fn short(self) -> String {
        let mut digits = self.to_hex();
        digits.truncate(16);
        digits
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(…)")
    }
}

struct Made(Sha256);

impl Made {
    /// With its length before it, so that no two rows of parts run into the same bytes.
    fn part(&mut self, part: impl AsRef<[u8]>) {
        let part = part.as_ref();
        self.0.update((part.len() as u64).to_be_bytes());
        self.0.update(part);
    }

    fn server(&mut self, server: &ServerSettings, leaning: &mut Leaning) {
        self.part(server.id.name.as_str());
        self.part(&server.fingerprint);
        let ServerSettings { enabled, start, pool, bridge_tasks, restart, timeouts, error, .. } = server;
        self.part(format!("{:?}", (enabled, start, pool, bridge_tasks, restart, timeouts, error)));
        match placeholder::outcome(server, leaning) {
            Ok((Resolved::Program(program), origins)) => {
                self.part("program");
                self.part(program.command.as_os_str().as_encoded_bytes());
                self.part(program.cwd.unwrap_or_default().as_os_str().as_encoded_bytes());
                program.args.iter().for_each(|arg| self.part(arg));
                self.part("env");
                for (name, value) in program.env.iter().filter(|(name, _)| !is_of_the_terminal(name, &origins)) {
                    self.part(format!("{name}={value}"));
                }
            }
            Ok((Resolved::Remote(there), _)) => {
                self.part("remote");
                self.part(there.url.to_string());
                self.part(format!("{:?}", (there.transport, there.allow_private, there.allow_loopback)));
                for (name, value) in &there.headers {
                    self.part(name);
                    self.part(value);
                }
            }
            Err(error) => {
                self.part("error");
                self.part(error);
                // What it may lean on once it can be resolved is not known.
                *leaning = Leaning { on_folder: true, on_everything: true };
            }
        }
        self.part("end");
    }
}

/// The kind of the terminal that somebody once started the hub from, passed on as it is: a server on pipes has none.
fn is_of_the_terminal(name: &str, origins: &[Origin]) -> bool {
    name == "TERM" && origins.iter().any(|origin| origin.variable == name && origin.is_passed_on())
}

/// Where a hub may put its socket, best first; which of them can be used is found out by trying. The folder of the user's run-time files
/// and that of temporary ones stand in where the path of the first would be too long for a socket.
pub fn socket_folders(state: &Path, environment: &Environment) -> Vec<PathBuf> {
    let set = |name: &str| environment.vars.get(name).filter(|value| value.starts_with('/')).map(PathBuf::from);
    let temporary = set("TMPDIR").unwrap_or_else(|| "/tmp".into()).join(format!("mcp-hub-{}", rustix::process::geteuid().as_raw()));
    [Some(state.join("local")), set("XDG_RUNTIME_DIR").map(|folder| folder.join("mcp-hub")), Some(temporary)]
        .into_iter()
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::read::{self, Overrides};

    struct Scene {
        folder: tempfile::TempDir,
        environment: Environment,
    }

    fn scene(config: &str) -> Scene {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("s.json"), config).unwrap();
        fs::write(folder.path().join("token"), "one").unwrap();
        let vars = [("PATH", "/bin"), ("HOME", "/h"), ("TERM", "dumb"), ("TOKEN", "t"), ("OTHER", "o")];
        let vars = vars.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let environment = Environment { vars, cwd: folder.path().to_owned(), exe: "/opt/mcp-hub".into() };
        Scene { folder, environment }
    }

    impl Scene {
        fn identity(&self) -> Identity {
            let settings = read::read(&[self.folder.path().join("s.json")], &self.environment, &Overrides::default()).unwrap();
            Identity::of(&settings, &self.environment, &[Path::new("/state")])
        }

        fn set(&mut self, name: &str, value: &str) {
            self.environment.vars.insert(name.to_owned(), value.to_owned());
        }
    }

    fn entry(fields: &str) -> String {
        format!(r#"{{"mcpServers": {{"s": {{{fields}}}}}}}"#)
    }

    /// Whether each of these changes makes another hub: variables, the working folder, a file that an entry names, the configuration.
    fn check(fields: &str, other: [(&str, bool); 6]) {
        for (what, differs) in other {
            let mut scene = scene(&entry(fields));
            let before = scene.identity();
            assert_eq!(scene.identity(), before, "{fields}: it is the same each time");
            match what {
                "cwd" => scene.environment.cwd = "/elsewhere".into(),
                "file" => fs::write(scene.folder.path().join("token"), "two").unwrap(),
                "config" => fs::write(scene.folder.path().join("s.json"), entry(fields) + " // new").unwrap(),
                variable => scene.set(variable, "new"),
            }
            assert_eq!(scene.identity() != before, differs, "{fields}: {what}");
        }
    }

    #[test]
    fn what_a_server_is_started_with_makes_the_hub() {
        let plain = [("PATH", true), ("TERM", false), ("OTHER", false), ("cwd", true), ("file", false), ("config", true)];
        check(r#""command": "c""#, plain);
        check(r#""command": "c", "cwd": "relative""#, plain);
        check(
            r#""command": "c", "env": {"A": "${TOKEN}"}"#,
            [("TOKEN", true), ("OTHER", false), ("TERM", false), plain[0], plain[3], plain[5]],
        );
        check(r#""command": "c", "args": ["${OTHER:-x}"]"#, [("TOKEN", false), ("OTHER", true), plain[0], plain[3], plain[4], plain[5]]);
        check(r#""command": "c", "env": {"TERM": "${TERM}"}"#, [("TERM", true), plain[0], plain[2], plain[3], plain[4], plain[5]]);
    }

    #[test]
    fn the_working_folder_counts_where_a_server_depends_on_it() {
        let rest = [("PATH", true), ("TERM", false), ("OTHER", false), ("config", true)];
        let with = |cwd, file| [rest[0], rest[1], rest[2], rest[3], ("cwd", cwd), ("file", file)];
        check(r#""command": "c", "cwd": "/srv""#, with(false, false));
        check(r#""command": "./c", "cwd": "/srv""#, with(true, false));
        check(r#""command": "c", "cwd": "/srv", "args": ["${workspaceFolder}"]"#, with(true, false));
        check(r#""command": "c", "cwd": "/srv", "env": {"T": "${file:token}"}"#, with(true, true));
        let remote = [("PATH", false), ("TERM", false), ("OTHER", false), ("config", true)];
        let with = |cwd, file| [remote[0], remote[1], remote[2], remote[3], ("cwd", cwd), ("file", file)];
        check(r#""url": "https://h/""#, with(false, false));
        check(r#""url": "https://h/", "headers": {"A": "${file:token}"}"#, with(true, true));
    }

    #[test]
    fn where_a_command_runs_everything_counts() {
        let all = [("PATH", true), ("TERM", true), ("OTHER", true), ("cwd", true), ("file", false), ("config", true)];
        check(r#""command": "c", "cwd": "/srv", "env": {"T": "${cmd: cat token}"}"#, all);
    }

    #[test]
    fn a_file_is_the_same_by_every_name() {
        let scene = scene(&entry(r#""command": "c""#));
        let settings = read::read(&["s.json".into()], &scene.environment, &Overrides::default()).unwrap();
        assert_eq!(Identity::of(&settings, &scene.environment, &[Path::new("/state")]), scene.identity());
        assert_ne!(Identity::of(&settings, &scene.environment, &[Path::new("/other")]), scene.identity());
    }

    #[test]
    fn what_cannot_be_resolved_is_the_same_for_all() {
        let mut scene = scene(&entry(r#""command": "c", "args": ["${NONE}"]"#));
        let before = scene.identity();
        assert_eq!(scene.identity(), before);
        scene.set("NONE", "some");
        assert_ne!(scene.identity(), before);
    }

    #[test]
    fn sockets_go_to_the_state_folder_first_and_never_to_a_relative_one() {
        let vars = [("XDG_RUNTIME_DIR", "/run/user/1"), ("TMPDIR", "tmp")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let environment = Environment { vars: vars.into(), ..Environment::default() };
        let own = format!("/tmp/mcp-hub-{}", rustix::process::geteuid().as_raw());
        let expected = ["/s/local", "/run/user/1/mcp-hub", &own].map(PathBuf::from);
        assert_eq!(socket_folders(Path::new("/s"), &environment), expected);
    }

    #[test]
    fn nobody_reads_it_in_a_log() {
        assert_eq!(format!("{:?}", scene("{}").identity()), "Identity(…)");
        let identity = scene("{}").identity();
        assert!(identity.to_hex().len() == 64 && identity.to_hex().starts_with(&identity.short()) && identity.short().len() == 16);
    }
}
