//! Who owns the socket: whoever holds the lock of the file beside it. The system lets go of a lock when its process ends, however it
//! ends, so what a killed hub leaves behind is swept by the next one.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io,
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
        net::UnixListener,
    },
    path::{Path, PathBuf},
};

use crate::config::Identity;

/// The path of a socket, its end mark included, on the system that takes least (macOS; Linux takes 108).
const SOCKET_PATH_BYTES_MAX: usize = 104;
/// Owners that give a lock up just when it is tried, in a row.
const TRIES_MAX: usize = 16;

/// Where the hub of one identity listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub(super) socket: PathBuf,
    lock: PathBuf,
}

impl Address {
    /// In the first of these folders that is, or can be made, a folder of this user's alone, and leaves room for a socket's name.
    ///
    /// # Errors
    /// What is wrong with the last of them.
    pub fn find(folders: &[PathBuf], identity: Identity) -> io::Result<Self> {
        let name = identity.short();
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for folder in folders {
            let socket = folder.join(format!("{name}.sock"));
            if socket.as_os_str().as_bytes().len() >= SOCKET_PATH_BYTES_MAX {
                last = io::Error::new(io::ErrorKind::InvalidFilename, "the path is too long for a socket");
                continue;
            }
            match make_private(folder) {
                Ok(()) => return Ok(Self { socket, lock: folder.join(format!("{name}.lock")) }),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// A folder that nobody else can look into, list or change.
fn make_private(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    // Of the folder itself: a link that somebody else put there would lead elsewhere.
    let found = fs::symlink_metadata(folder)?;
    if !found.is_dir() || !is_own(found.uid()) {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the folder for the socket belongs to somebody else"));
    }
    if found.mode() & 0o077 != 0 {
        fs::set_permissions(folder, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Whether a process or file of this user is this process's user's.
pub(super) fn is_own(uid: u32) -> bool {
    uid == rustix::process::geteuid().as_raw()
}

/// The right to be the hub of an identity. Dropping it removes the socket and lets the next one in.
#[derive(Debug)]
pub struct Seat {
    address: Address,
    _lock: File,
}

impl Seat {
    /// With the socket that listens from now on. `None`: another process has it.
    ///
    /// # Errors
    /// The files cannot be made.
    pub fn take(address: &Address) -> io::Result<Option<(Self, UnixListener)>> {
        for _ in 0..TRIES_MAX {
            let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&address.lock)?;
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error),
            }
            if !is_at(&lock, &address.lock)? {
                // Its last owner removed it in between: this lock is nobody's business any more.
                continue;
            }
            let seat = Self { address: address.clone(), _lock: lock };
            remove(&address.socket)?;
            let listener = UnixListener::bind(&address.socket)?;
            fs::set_permissions(&address.socket, Permissions::from_mode(0o600))?;
            listener.set_nonblocking(true)?;
            return Ok(Some((seat, listener)));
        }
        Ok(None)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // While the lock is held, so these are nobody else's.
        for path in [&self.address.socket, &self.address.lock] {
            if let Err(error) = remove(path) {
                tracing::debug!(%error, path = %path.display(), "a file of the local socket stays behind");
            }
        }
    }
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let own = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (own.dev(), own.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Settings, environment::Environment, read};
    use std::os::unix::net::UnixStream;

    fn identity() -> Identity {
        let environment = Environment { cwd: "/nowhere".into(), ..Environment::default() };
        let settings: Settings = read::read(&[], &environment, &read::Overrides::default()).unwrap();
        Identity::of(&settings, &environment, &[])
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn one_of_many_gets_the_seat_and_the_next_one_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let address = Address::find(&[dir.path().join("local")], identity()).unwrap();
        let winners: Vec<_> = std::thread::scope(|scope| {
            let mut tries = Vec::new();
            for _ in 0..8 {
                tries.push(scope.spawn(|| Seat::take(&address).unwrap()));
            }
            tries.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(winners.len(), 1);
        assert!(UnixStream::connect(&address.socket).is_ok());
        assert_eq!((mode(&dir.path().join("local")), mode(&address.socket), mode(&address.lock)), (0o700, 0o600, 0o600));
        drop(winners);
        assert_eq!(fs::read_dir(dir.path().join("local")).unwrap().count(), 0, "nothing is left behind");
        assert!(Seat::take(&address).unwrap().is_some());
    }

    #[test]
    fn what_a_killed_hub_left_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let address = Address::find(&[dir.path().to_owned()], identity()).unwrap();
        drop(UnixListener::bind(&address.socket).unwrap());
        fs::write(&address.lock, "").unwrap();
        assert!(UnixStream::connect(&address.socket).is_err());
        let _seat = Seat::take(&address).unwrap().unwrap();
        assert!(UnixStream::connect(&address.socket).is_ok());
    }

    #[test]
    fn a_lock_that_was_removed_and_made_again_has_one_owner() {
        let dir = tempfile::tempdir().unwrap();
        let address = Address::find(&[dir.path().to_owned()], identity()).unwrap();
        let first = Seat::take(&address).unwrap().unwrap();
        // Opened before its owner removed it, tried after.
        let late = File::open(&address.lock).unwrap();
        drop(first);
        let _second = Seat::take(&address).unwrap().unwrap();
        late.try_lock().unwrap();
        assert!(!is_at(&late, &address.lock).unwrap());
        assert!(Seat::take(&address).unwrap().is_none());
    }

    #[test]
    fn the_socket_goes_where_its_path_fits_and_nobody_else_looks() {
        let dir = tempfile::tempdir().unwrap();
        let long = dir.path().join("x".repeat(100));
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let theirs = dir.path().join("theirs");
        let link = dir.path().join("link");
        fs::create_dir(&theirs).unwrap();
        std::os::unix::fs::symlink(&theirs, &link).unwrap();
        let open = dir.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
        let found = Address::find(&[long.clone(), file, link, open.clone()], identity()).unwrap();
        assert_eq!(found.socket.parent(), Some(&*open));
        assert_eq!(mode(&open), 0o700);
        assert!(!long.exists(), "nothing is made where nothing can be");
        assert!(Address::find(&[long], identity()).unwrap_err().to_string().contains("too long"));
    }

    #[test]
    fn only_the_own_user_is_let_in() {
        let own = rustix::process::geteuid().as_raw();
        assert!(is_own(own));
        assert!(!is_own(own.wrapping_add(1)) && !is_own(own.wrapping_sub(1)));
    }
}
