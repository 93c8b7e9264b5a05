//! The one key that a hub makes for itself when it is reachable from outside and nobody configured a credential.

use std::{
    fs, io,
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

/// A key, and whether this call made it: then it is shown once.
pub struct FirstKey {
    pub key: String,
    pub is_new: bool,
}

/// Reads the key from `path`, or makes one of 256 random bits there, readable by this user only.
///
/// # Errors
/// The file cannot be read or written, is empty, or others may read it.
pub fn load_or_make(path: &Path) -> io::Result<FirstKey> {
    match fs::File::open(path) {
        Ok(file) => {
            if file.metadata()?.permissions().mode() & 0o077 != 0 {
                return Err(io::Error::other(format!("{} can be read by others; give it mode 0600", path.display())));
            }
            let key = io::read_to_string(file)?.trim().to_owned();
            if key.is_empty() {
                return Err(io::Error::other(format!("{} is empty; remove it and start again", path.display())));
            }
            Ok(FirstKey { key, is_new: false })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(path),
        Err(error) => Err(error),
    }
}

fn make(path: &Path) -> io::Result<FirstKey> {
    let mut bits = [0; 32];
    getrandom::fill(&mut bits).map_err(io::Error::other)?;
    let key = format!("mh_first_{}", URL_SAFE_NO_PAD.encode(bits));
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(key.as_bytes())?;
    file.sync_all()?;
    Ok(FirstKey { key, is_new: true })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/first-key");
        let made = load_or_make(&path).unwrap();
        assert!(made.is_new && made.key.len() > 43);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let found = load_or_make(&path).unwrap();
        assert_eq!((found.key, found.is_new), (made.key, false));
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("first-key");
        load_or_make(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(load_or_make(&path).is_err());
    }
}
