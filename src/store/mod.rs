//! Durable bytes by key, in files. Knows no MCP, and not what the bytes mean: corrupt ones are the reader's problem.
//!
//! Calls block on the disk; callers on a runtime keep them off its threads.

use rustix::fs::{Mode, chmod};
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// A larger file is not ours: the largest catalog is bounded well below.
const FILE_BYTES_MAX: u64 = 64 << 20;
const KEY_LEN_MAX: usize = 100;
/// Between the name of a file and what makes its temporary one unique; no plain key holds it.
const TEMPORARY: &str = "~";

/// A folder of small files, each written whole (temporary file, rename). Readable by its owner only.
#[derive(Clone, Debug)]
pub struct Store {
    /// `None`: nothing is kept.
    dir: Option<PathBuf>,
}

impl Store {
    /// Creates the folder with mode 0700 where it is missing.
    ///
    /// # Errors
    /// The folder cannot be created or is not ours.
    pub fn open(dir: PathBuf) -> io::Result<Self> {
        folder(&dir)?;
        chmod(&dir, Mode::RWXU)?;
        Ok(Self { dir: Some(dir) })
    }

    /// One that keeps nothing: every key is empty, whatever was put there.
    pub const fn nowhere() -> Self {
        Self { dir: None }
    }

    /// `room` is a folder (`catalogs`), `key` any text (hashed into a file name when it is not plain). `None` when there is nothing.
    ///
    /// # Errors
    /// The file cannot be read, or is larger than 64 MiB.
    pub fn get(&self, room: &str, key: &str) -> io::Result<Option<Vec<u8>>> {
        let Some(path) = self.path(room, key) else { return Ok(None) };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        // Read one byte past the bound instead of trusting a length that may change.
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "a stored file is larger than 64 MiB"));
        }
        Ok(Some(bytes))
    }

    /// Replaces the whole value: a reader, or a start after a crash, sees the old bytes or the new ones. Mode 0600.
    ///
    /// # Errors
    /// The file cannot be written; the old value is untouched.
    pub fn put(&self, room: &str, key: &str, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "a value to store is larger than 64 MiB"));
        }
        let Some(path) = self.path(room, key) else { return Ok(()) };
        let temporary = temporary(&path);
        path.parent().map_or(Ok(()), folder)?;
        write_whole(&temporary, bytes).and_then(|()| fs::rename(&temporary, &path)).inspect_err(|_| {
            let _ = fs::remove_file(&temporary);
        })
    }

    /// Nothing to delete is no error.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn delete(&self, room: &str, key: &str) -> io::Result<()> {
        let Some(path) = self.path(room, key) else { return Ok(()) };
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn path(&self, room: &str, key: &str) -> Option<PathBuf> {
        Some(self.dir.as_ref()?.join(file_name(room)).join(file_name(key)))
    }
}

fn folder(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Beside the file, so that the rename stays within one file system; unique, so that two writers never share one.
fn temporary(path: &Path) -> PathBuf {
    static WRITES: AtomicU64 = AtomicU64::new(0);
    let write = WRITES.fetch_add(1, Ordering::Relaxed);
    let mut name = path.as_os_str().to_owned();
    name.push(format!("{TEMPORARY}{}{TEMPORARY}{write}", std::process::id()));
    name.into()
}

/// Plain text stays as it is, for the person who looks into the folder; the hashed rest starts with `%`, so the two never meet.
fn file_name(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-' | b'.');
    let is_plain = !text.is_empty() && text.len() <= KEY_LEN_MAX && !text.starts_with('.') && text.bytes().all(plain);
    if is_plain { text.to_owned() } else { format!("%{}", hex::encode(Sha256::digest(text))) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn files(dir: &Path) -> Vec<PathBuf> {
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    #[test]
    fn what_was_put_is_got_until_it_is_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("state/hub")).unwrap();
        assert_eq!(store.get("catalogs", "a").unwrap(), None);
        store.put("catalogs", "a", b"one").unwrap();
        store.put("catalogs", "a", b"two").unwrap();
        store.put("keys", "a", b"").unwrap();
        let reopened = Store::open(dir.path().join("state/hub")).unwrap();
        assert_eq!(reopened.get("catalogs", "a").unwrap().as_deref(), Some(&b"two"[..]));
        assert_eq!(reopened.get("keys", "a").unwrap().as_deref(), Some(&b""[..]));
        store.delete("catalogs", "a").unwrap();
        store.delete("catalogs", "a").unwrap();
        assert_eq!(reopened.get("catalogs", "a").unwrap(), None);
    }

    #[test]
    fn no_key_leaves_its_room_and_no_two_keys_meet() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("hub")).unwrap();
        let long = "x".repeat(500);
        let keys = ["a", "A", "..", ".", "", "../a", "a/b", "/etc/passwd", "a\0b", "acme:github", "ü", "~", long.as_str(), &file_name("A")];
        for key in keys {
            store.put("room", key, key.as_bytes()).unwrap();
            store.put("../room", key, b"other").unwrap();
        }
        for key in keys {
            assert_eq!(store.get("room", key).unwrap().as_deref(), Some(key.as_bytes()), "{key:?}");
        }
        assert_eq!(files(dir.path()).len(), 1);
        assert_eq!(files(&dir.path().join("hub")).len(), 2);
        assert_eq!(files(&dir.path().join("hub/room")).len(), keys.len());
    }

    #[test]
    fn files_and_folders_are_for_their_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hub");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let store = Store::open(path.clone()).unwrap();
        store.put("keys", "first", b"secret").unwrap();
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&path.join("keys")), 0o700);
        assert_eq!(mode(&path.join("keys/first")), 0o600);
    }

    #[test]
    fn a_failed_write_leaves_the_old_value_and_no_litter() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().to_owned()).unwrap();
        store.put("room", "key", b"old").unwrap();
        assert!(store.put("room", "key", &vec![0; FILE_BYTES_MAX as usize + 1]).is_err());
        assert_eq!(store.get("room", "key").unwrap().as_deref(), Some(&b"old"[..]));
        // A folder where the file should go makes the rename fail, after the temporary file was written.
        fs::create_dir(dir.path().join("room/folder")).unwrap();
        assert!(store.put("room", "folder", b"new").is_err());
        assert_eq!(files(&dir.path().join("room")).len(), 2);
    }

    #[test]
    fn a_file_too_large_is_refused_on_read() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().to_owned()).unwrap();
        store.put("room", "key", b"x").unwrap();
        let file = OpenOptions::new().write(true).open(dir.path().join("room/key")).unwrap();
        file.set_len(FILE_BYTES_MAX + 1).unwrap();
        assert_eq!(store.get("room", "key").unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn concurrent_writers_leave_one_whole_value() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().to_owned()).unwrap();
        std::thread::scope(|scope| {
            for letter in b'a'..=b'd' {
                let store = &store;
                scope.spawn(move || (0..20).for_each(|_| store.put("room", "key", &[letter; 10_000]).unwrap()));
            }
        });
        let value = store.get("room", "key").unwrap().unwrap();
        assert_eq!(value.len(), 10_000);
        assert!(value.iter().all(|byte| *byte == value[0]));
        assert_eq!(files(&dir.path().join("room")).len(), 1);
    }
}
