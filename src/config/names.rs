//! Names as files write them, made into names as the hub has them; and which of two equal ones stays.

use crate::name::ADDRESS_WORDS;

/// Longest name of a server or tenant.
const NAME_MAX: usize = 63;

/// `^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$` is kept; other characters become `-`, a leading `-` or `_` goes, the rest is cut. `None`: nothing
/// is left.
pub(super) fn clean(written: &str) -> Option<String> {
    let legal = |letter: char| if letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-') { letter } else { '-' };
    let legal: String = written.chars().map(legal).collect();
    let kept: String = legal.trim_start_matches(['-', '_']).chars().take(NAME_MAX).collect();
    (!kept.is_empty()).then_some(kept)
}

/// Two names with equal keys cannot be told apart in published names.
pub(super) fn key(name: &str) -> String {
    name.to_ascii_lowercase().replace('_', "-")
}

/// The prefix of the hub's own tools.
pub(super) fn is_hubs_own(name: &str) -> bool {
    key(name) == "hub"
}

pub(super) fn is_address(name: &str) -> bool {
    ADDRESS_WORDS.contains(&name)
}

/// What becomes of one written name among its siblings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing in it can begin a name.
    Unusable,
    Kept(String),
    Changed(String),
    /// It cannot be told apart from `other`, as written. `name`: its own name, unless that is the other's.
    GivesWay {
        name: Option<String>,
        other: String,
    },
}

/// The verdict on each name, in order. Of two equal names the changed one gives way, else the later one.
pub(super) fn judge(written: &[&str]) -> Vec<Verdict> {
    let names: Vec<(&str, Option<String>)> = written.iter().map(|written| (*written, clean(written))).collect();
    let mut holders = std::collections::HashMap::<String, (&str, &str)>::new();
    for (written, cleaned) in &names {
        let Some(cleaned) = cleaned else { continue };
        let holder = holders.entry(key(cleaned)).or_insert((written, cleaned));
        if holder.0 != holder.1 && written == cleaned {
            *holder = (written, cleaned);
        }
    }
    let verdict = |(written, cleaned): &(&str, Option<String>)| {
        let Some(cleaned) = cleaned else { return Verdict::Unusable };
        match holders.get(&key(cleaned)) {
            Some((other, name)) if other != written => {
                Verdict::GivesWay { name: Some(cleaned.clone()).filter(|cleaned| cleaned != name), other: (*other).to_owned() }
            }
            _ if written == cleaned => Verdict::Kept(cleaned.clone()),
            _ => Verdict::Changed(cleaned.clone()),
        }
    };
    names.iter().map(verdict).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_or_cleaned() {
        let long = "x".repeat(70);
        for (written, cleaned) in [
            ("github", Some("github")),
            ("My_Server-2", Some("My_Server-2")),
            ("a.b c", Some("a-b-c")),
            ("@scope/name", Some("scope-name")),
            ("__x", Some("x")),
            ("é", None),
            ("", None),
            ("-_-", None),
            (long.as_str(), Some(&long[..63])),
        ] {
            assert_eq!(clean(written).as_deref(), cleaned, "{written}");
            if let Some(name) = clean(written) {
                assert!(crate::name::ServerName::new(&name).is_some(), "{name}");
            }
        }
    }

    #[test]
    fn the_changed_one_gives_way_else_the_later() {
        let kept = |name: &str| Verdict::Kept(name.to_owned());
        let changed = |name: &str| Verdict::Changed(name.to_owned());
        let gone = |other: &str| Verdict::GivesWay { name: None, other: other.to_owned() };
        let shadowed = |name: &str, other: &str| Verdict::GivesWay { name: Some(name.to_owned()), other: other.to_owned() };
        for (names, verdicts) in [
            (vec!["a.b", "a-b"], vec![gone("a-b"), kept("a-b")]),
            (vec!["a-b", "a.b"], vec![kept("a-b"), gone("a-b")]),
            (vec!["a_b", "A-b", "c", "é"], vec![kept("a_b"), shadowed("A-b", "a_b"), kept("c"), Verdict::Unusable]),
            (vec!["a.b", "a b"], vec![changed("a-b"), gone("a.b")]),
            (vec!["a b", "a_b", "a-b"], vec![shadowed("a-b", "a_b"), kept("a_b"), shadowed("a-b", "a_b")]),
        ] {
            assert_eq!(judge(&names), verdicts, "{names:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_cleaned_name_is_always_a_name(written in "\\PC{0,80}") {
            if let Some(name) = clean(&written) {
                proptest::prop_assert!(crate::name::ServerName::new(&name).is_some());
                proptest::prop_assert_eq!(clean(&name), Some(name));
            }
        }
    }
}
