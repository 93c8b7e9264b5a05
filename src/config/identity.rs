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
    [Some(state.join("local")), set("XDG_RUNTIME_DIR").map(|folder| folder.join("mcp-hub")), Some(temporary)].into_iter().flatten().collect()
}
