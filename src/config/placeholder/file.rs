//! Files that entries name: what stands in one, and lists of variables.

use std::{collections::BTreeMap, fs, io::Read, path::Path};

use super::{PlaceholderError, failed};

/// Largest file behind `${file:}` or `envFile`, and largest text resolved.
pub(super) const TEXT_BYTES_MAX: usize = 1 << 20;

pub(super) fn read_text(path: &Path) -> Result<String, String> {
    let file = fs::File::open(path).map_err(|error| error.to_string())?;
    let mut text = String::new();
    file.take(TEXT_BYTES_MAX as u64 + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() > TEXT_BYTES_MAX { Err(format!("larger than {} MiB", TEXT_BYTES_MAX >> 20)) } else { Ok(text) }
}

/// `NAME=value` lines, quotes and comments as in other tools. A `$` is a `$`: dotenvy would put variables of the hub in its place, which
/// this tenant may not be allowed to see.
pub(super) fn read_env_file(path: &Path, shown: &str) -> Result<BTreeMap<String, String>, PlaceholderError> {
    const DOLLAR: &str = "\u{f8ff}";
    let text = read_text(path).map_err(|why| failed(format!("envFile '{shown}': {why}")))?;
    let text = text.trim_start_matches('\u{feff}').replace("\\$", DOLLAR).replace('$', DOLLAR);
    // dotenvy's own error repeats the line, which may hold a secret.
    let variable = |line: Result<(String, String), dotenvy::Error>| line.map(|(name, value)| (name, value.replace(DOLLAR, "$")));
    let read: Result<BTreeMap<String, String>, _> = dotenvy::Iter::new(text.as_bytes()).map(variable).collect();
    read.map_err(|_| failed(format!("envFile '{shown}': a line is not NAME=value; put values with spaces in quotes")))
}
