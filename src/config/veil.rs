//! What a start resolved and nobody may see, taken out of whatever is said about it.

use std::{borrow::Cow, fmt, sync::Arc};

use super::shown::MASK;

/// What is shorter is no secret, and would be found in words that hold none.
const SECRET_BYTES_MIN: usize = 4;

/// Cheap to clone; `Debug` shows nothing of it.
#[derive(Clone, Default)]
pub struct Veil(Arc<[String]>);

impl Veil {
    /// Of a secret with several lines each is one: what it is taken out of is read line by line.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let lines = secrets.into_iter().flat_map(str::lines).map(str::trim).filter(|line| line.len() >= SECRET_BYTES_MIN);
        let mut lines: Vec<_> = lines.map(str::to_owned).collect();
        // One may hold another, and the rest of it would stay.
        lines.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        lines.dedup();
        Self(lines.into())
    }

    /// The text with `***` in place of every secret.
    pub fn over<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut shown = Cow::Borrowed(text);
        for secret in self.0.iter().filter(|secret| text.contains(secret.as_str())) {
            shown = Cow::Owned(shown.replace(secret.as_str(), MASK));
        }
        shown
    }

    /// Bytes of the longest secret: of a text that was cut off, as many at its end may be the beginning of one.
    pub fn longest(&self) -> usize {
        self.0.first().map_or(0, String::len)
    }
}

impl fmt::Debug for Veil {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Veil({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_secret_is_covered_and_nothing_else() {
        for (secrets, text, shown) in [
            (&[][..], "all of it", "all of it"),
            (&["s3cret"], "a s3cret, s3cret", "a ***, ***"),
            (&["abc"], "abcabc", "abcabc"),
            (&["long", "long-er"], "long-er and long", "*** and ***"),
            (&["first line\nsecond line\n"], "second line of it, first line of it", "*** of it, *** of it"),
            (&["", " "], "a  b", "a  b"),
            (&["größe"], "die größe", "die ***"),
        ] {
            assert_eq!(Veil::new(secrets.iter().copied()).over(text), shown, "{secrets:?}");
        }
    }

    #[test]
    fn nothing_of_it_is_shown() {
        let veil = Veil::new(["s3cret", "another"]);
        assert_eq!((format!("{veil:?}").as_str(), veil.longest()), ("Veil(2)", 7));
    }
}
