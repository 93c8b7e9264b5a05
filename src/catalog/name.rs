//! Published names. A pure function of server and tool, so that a name outlives restarts and does not depend on the order of listing.

use super::Names;
use sha2::{Digest, Sha256};

const DOTTED_MAX: usize = 128;
/// Model APIs and desktop hosts enforce `^[A-Za-z0-9_-]{1,64}$`, and drop a whole list for one name.
const SAFE_MAX: usize = 64;
const SAFE_HEAD: usize = 55;

/// The published form; `suffix` when two names of the tenant would be equal.
///
/// Dotted is `server.tool`, or the safe form where that is longer than 128 or has other characters than `[A-Za-z0-9_.-]`. Safe is `server__tool`,
/// other characters than `[A-Za-z0-9_-]` as `_`, and when longer than 64 or with `suffix` the first 55 characters, `_`, and 8 hex digits of
/// SHA-256(`server\0tool`).
pub fn publish(server: &str, tool: &str, names: Names, suffix: bool) -> String {
    match names {
        Names::Dotted if !suffix && is_dotted(server, tool) => dotted(server, tool),
        Names::Dotted | Names::Safe => safe(server, tool, suffix),
    }
}

/// `server.tool`, whatever the characters.
pub(super) fn dotted(server: &str, tool: &str) -> String {
    format!("{server}.{tool}")
}

pub(super) fn is_dotted(server: &str, tool: &str) -> bool {
    server.len() + 1 + tool.len() <= DOTTED_MAX && tool.bytes().all(|b| is_safe(b) || b == b'.')
}

fn safe(server: &str, tool: &str, suffix: bool) -> String {
    let mut name = String::with_capacity(SAFE_MAX);
    let characters = server.chars().chain("__".chars()).chain(tool.chars());
    // One past the limit tells that the name is too long; the rest of a long one is never looked at.
    name.extend(characters.take(SAFE_MAX + 1).map(|c| if c.is_ascii() && is_safe(c as u8) { c } else { '_' }));
    if suffix || name.len() > SAFE_MAX {
        let digest = Sha256::new().chain_update(server).chain_update([0]).chain_update(tool).finalize();
        name.truncate(SAFE_HEAD);
        name.push('_');
        name.extend(digest.iter().take(4).flat_map(|byte| [byte >> 4, byte & 15]).filter_map(|nibble| char::from_digit(nibble.into(), 16)));
    }
    name
}

const fn is_safe(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_publish(server: &str, tool: &str, dotted: &str, safe: &str) {
        assert_eq!(publish(server, tool, Names::Dotted, false), dotted);
        assert_eq!(publish(server, tool, Names::Safe, false), safe);
    }

    #[test]
    fn names_are_published_in_both_styles() {
        check_publish("github", "create_issue", "github.create_issue", "github__create_issue");
        check_publish("fs", "read.text", "fs.read.text", "fs__read_text");
        check_publish("fs", "lire fichier", "fs__lire_fichier", "fs__lire_fichier");
        check_publish("fs", "größe", "fs__gr__e", "fs__gr__e");
        check_publish("fs", "a/b", "fs__a_b", "fs__a_b");
        check_publish("fs", "", "fs.", "fs__");
        check_publish("a_-Z", "0-9_", "a_-Z.0-9_", "a_-Z__0-9_");
    }

    #[test]
    fn long_names_are_cut_and_told_apart_by_a_digest() {
        let (fits, long) = ("x".repeat(61), "x".repeat(62));
        check_publish("s", &fits, &format!("s.{fits}"), &format!("s__{fits}"));
        check_publish("s", &long, &format!("s.{long}"), &format!("s__{}_{}", "x".repeat(52), digest("s", &long)));
        let (fits, long) = ("x".repeat(126), "x".repeat(127));
        assert_eq!(publish("s", &fits, Names::Dotted, false), format!("s.{fits}"));
        assert_eq!(publish("s", &long, Names::Dotted, false), publish("s", &long, Names::Safe, false));
        assert_eq!(publish("s", &long, Names::Safe, false).len(), 64);
        assert_eq!(publish("s", "ü".repeat(100).as_str(), Names::Safe, false).len(), 64);
    }

    #[test]
    fn a_suffix_is_the_digest_of_server_and_tool() {
        // printf 'github\0create_issue' | sha256sum
        assert_eq!(publish("github", "create_issue", Names::Safe, true), "github__create_issue_5b9912e6");
        assert_eq!(publish("github", "create_issue", Names::Dotted, true), "github__create_issue_5b9912e6");
        assert_ne!(publish("a", "b__c", Names::Safe, true), publish("a__b", "c", Names::Safe, true));
    }

    fn digest(server: &str, tool: &str) -> String {
        hex::encode(Sha256::digest(format!("{server}\0{tool}")))[..8].to_owned()
    }
}
