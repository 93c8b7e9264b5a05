//! The log on disk: one file, renamed away when it is full, and a few older ones (`mcp-hub.log`, `.1` the newest of the old, …).
//! Several hubs of one user may write the same files at the same time: every line goes out in one append, and who finds the file
//! full renames it under its lock. Readable by its owner only.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::retry_on_intr,
};

/// A line each `write`.
pub(super) struct Rolling {
    path: PathBuf,
    file: File,
    bytes_max: u64,
    files: u32,
}

impl Rolling {
    /// At most `files` files of `bytes_max`, or of one line where that is longer. Makes the folder where it is missing.
    pub(super) fn open(path: PathBuf, bytes_max: u64, files: u32) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let file = append(&path)?;
        Ok(Self { path, file, bytes_max, files })
    }

    fn make_room(&mut self, len: u64) -> io::Result<()> {
        if !self.is_current()? {
            // Another hub renamed it away.
            self.file = append(&self.path)?;
        }
        if !self.is_full(len)? {
            return Ok(());
        }
        // Held by others only while they rename.
        retry_on_intr(|| flock(&self.file, FlockOperation::LockExclusive))?;
        let next = self.rename().and_then(|()| append(&self.path));
        let _ = flock(&self.file, FlockOperation::Unlock);
        self.file = next?;
        Ok(())
    }

    /// Unless another hub was first.
    fn rename(&self) -> io::Result<()> {
        if !self.is_current()? {
            return Ok(());
        }
        for age in (1..self.files).rev() {
            let younger = if age == 1 { self.path.clone() } else { self.old(age - 1) };
            match fs::rename(younger, self.old(age)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether the file still has its name.
    fn is_current(&self) -> io::Result<bool> {
        let mine = self.file.metadata()?;
        Ok(fs::metadata(&self.path).is_ok_and(|named| (named.dev(), named.ino()) == (mine.dev(), mine.ino())))
    }

    fn is_full(&self, len: u64) -> io::Result<bool> {
        let there = self.file.metadata()?.len();
        Ok(there > 0 && there + len > self.bytes_max)
    }

    fn old(&self, age: u32) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(format!(".{age}"));
        path.into()
    }
}

impl Write for Rolling {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.make_room(line.len() as u64)?;
        self.file.write_all(line)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, thread};

    use super::*;

    fn names(folder: &Path) -> BTreeSet<String> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn full_files_are_renamed_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("below/hub.log");
        let mut log = Rolling::open(path.clone(), 20, 3).unwrap();
        for line in 0..9 {
            log.write_all(format!("line {line:03}\n").as_bytes()).unwrap();
        }
        let text = |name: &str| fs::read_to_string(path.with_file_name(name)).unwrap();
        assert_eq!(names(path.parent().unwrap()).len(), 3);
        assert_eq!(text("hub.log"), "line 008\n");
        assert_eq!(text("hub.log.1"), "line 006\nline 007\n");
        assert_eq!(text("hub.log.2"), "line 004\nline 005\n");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        // A line longer than a file is written all the same, alone.
        log.write_all(&[b'x'; 50]).unwrap();
        assert_eq!((text("hub.log").len(), text("hub.log.1").as_str()), (50, "line 008\n"));
        // What was there before counts.
        let mut next = Rolling::open(path.clone(), 20, 3).unwrap();
        next.write_all(b"next\n").unwrap();
        assert_eq!(text("hub.log"), "next\n");
    }

    #[test]
    fn hubs_that_share_the_files_lose_and_tear_no_line() {
        const LINES: usize = 2000;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hub.log");
        thread::scope(|scope| {
            for hub in 0..4 {
                let mut log = Rolling::open(path.clone(), 4096, 1000).unwrap();
                scope.spawn(move || (0..LINES).for_each(|line| log.write_all(format!("{hub} {line:05}\n").as_bytes()).unwrap()));
            }
        });
        let mut lines = Vec::new();
        for name in names(folder.path()) {
            let text = fs::read_to_string(folder.path().join(&name)).unwrap();
            // A hub may be one line late to see that the file is full or gone.
            assert!(text.len() <= 4096 + 4 * 8, "{name} has {} bytes", text.len());
            lines.extend(text.lines().map(str::to_owned));
        }
        let all: BTreeSet<_> = (0..4).flat_map(|hub| (0..LINES).map(move |line| format!("{hub} {line:05}"))).collect();
        assert_eq!((lines.len(), lines.into_iter().collect::<BTreeSet<_>>()), (4 * LINES, all));
    }
}
