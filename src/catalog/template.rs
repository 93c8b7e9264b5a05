//! Does a URI come from a template? (RFC 6570, levels 1 to 3, as servers' libraries match them: leniently.)
//!
//! Matching keeps the set of positions that the parts so far can end at, so it takes at most parts × length steps: nothing that a server writes into a
//! template makes it slow.

/// Expressions in one template; more, and it matches nothing.
const PARTS_MAX: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(Box<str>),
    /// One or more characters that are not in `stops`.
    Some {
        stops: &'static [u8],
    },
    /// Nothing, or `first` and then any characters that are not in `stops`.
    Maybe {
        first: u8,
        stops: &'static [u8],
    },
}

impl Template {
    /// `None` for text without an expression, or with one that is not closed.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((literal, after)) = rest.split_once('{') {
            let (expression, after) = after.split_once('}')?;
            if !literal.is_empty() {
                parts.push(Part::Literal(literal.into()));
            }
            parts.push(match expression.as_bytes() {
                [b'+', ..] => Part::Some { stops: b"" },
                [b'#', ..] => Part::Maybe { first: b'#', stops: b"" },
                [b'.', ..] => Part::Maybe { first: b'.', stops: b"/" },
                // Several variables are several segments.
                [b'/', ..] => Part::Maybe { first: b'/', stops: b"?#" },
                [b';', ..] => Part::Maybe { first: b';', stops: b"/?#" },
                [b'?', ..] => Part::Maybe { first: b'?', stops: b"#" },
                [b'&', ..] => Part::Maybe { first: b'&', stops: b"#" },
                _ => Part::Some { stops: b"/" },
            });
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.into()));
        }
        let is_template = parts.iter().any(|part| !matches!(part, Part::Literal(_)));
        (is_template && parts.len() <= PARTS_MAX).then_some(Self(parts))
    }

    pub(super) fn matches(&self, uri: &str) -> bool {
        let uri = uri.as_bytes();
        // Nearly every URI is told apart by what its template begins or ends with.
        let is_out =
            |part: Option<&Part>, fits: fn(&[u8], &[u8]) -> bool| matches!(part, Some(Part::Literal(text)) if !fits(uri, text.as_bytes()));
        if is_out(self.0.first(), <[u8]>::starts_with) || is_out(self.0.last(), <[u8]>::ends_with) {
            return false;
        }
        // One for each place between two bytes, and both ends.
        let mut reached = vec![false; uri.len() + 1];
        if let Some(start) = reached.first_mut() {
            *start = true;
        }
        for part in &self.0 {
            reached = part.step(uri, &reached);
        }
        reached.last().copied().unwrap_or(false)
    }
}

impl Part {
    /// Where this part can end when it begins at one of the places in `from`.
    fn step(&self, uri: &[u8], from: &[bool]) -> Vec<bool> {
        let mut to = vec![false; from.len()];
        let mut set = |at: usize| {
            if let Some(place) = to.get_mut(at) {
                *place = true;
            }
        };
        match self {
            Self::Literal(text) => {
                for (at, _) in from.iter().enumerate().filter(|(_, reached)| **reached) {
                    if uri.get(at..).is_some_and(|rest| rest.starts_with(text.as_bytes())) {
                        set(at + text.len());
                    }
                }
            }
            Self::Some { stops } => {
                let mut open = false;
                for (at, (byte, reached)) in uri.iter().zip(from).enumerate() {
                    open = (open || *reached) && !stops.contains(byte);
                    if open {
                        set(at + 1);
                    }
                }
            }
            Self::Maybe { first, stops } => {
                let mut open = false;
                for (at, reached) in from.iter().enumerate() {
                    if *reached {
                        set(at);
                    }
                    let Some(byte) = uri.get(at) else { break };
                    open = (open && !stops.contains(byte)) || (*reached && byte == first);
                    if open {
                        set(at + 1);
                    }
                }
            }
        }
        to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_is_matched_to_its_template() {
        for (template, matching, others) in [
            ("file:///{path}", &["file:///a", "file:///a.b%20c"][..], &["file:///", "file:///a/b", "file://a", "xfile:///a"][..]),
            ("file:///{+path}", &["file:///a", "file:///a/b?c#d"], &["file:///", "file:"]),
            ("{+any}", &["a", "x://y/z"], &[""]),
            ("db://{table}/rows/{id}", &["db://t/rows/1"], &["db://t/rows/", "db://t/u/rows/1", "db://t/rows/1/2"]),
            ("x://{a,b}", &["x://1,2", "x://1"], &["x://1/2"]),
            ("x://a{.ext}", &["x://a", "x://a.txt", "x://a."], &["x://ab", "x://a/b"]),
            ("x://a{/p,q}", &["x://a", "x://a/1", "x://a/1/2"], &["x://a?b", "x://ab"]),
            ("x://a{;p}", &["x://a", "x://a;p=1"], &["x://a/;p=1"]),
            ("x://a{?q,r}", &["x://a", "x://a?q=1&r=2", "x://a?"], &["x://a&q=1", "x://a?q#f"]),
            ("x://a?f=1{&q}", &["x://a?f=1", "x://a?f=1&q=2"], &["x://a?f=1?q=2"]),
            ("x://a{#f}", &["x://a", "x://a#f/g?h"], &["x://af"]),
            ("x://{a}-{b}", &["x://1-2", "x://1-2-3"], &["x://1", "x://-2", "x://1-"]),
            ("ü://{a}/é", &["ü://ö/é"], &["ü://ö/e"]),
        ] {
            let parsed = Template::parse(template).unwrap();
            for uri in matching {
                assert!(parsed.matches(uri), "{template} {uri}");
            }
            for uri in others {
                assert!(!parsed.matches(uri), "{template} {uri}");
            }
        }
        for none in ["", "file:///a", "x://{a", "x://a}"] {
            assert_eq!(Template::parse(none), None, "{none}");
        }
        assert_eq!(Template::parse(&"{a}".repeat(PARTS_MAX + 1)), None);
    }

    #[test]
    fn no_template_takes_long() {
        let template = Template::parse(&format!("{}x", "{+a}/".repeat(PARTS_MAX / 2 - 1))).unwrap();
        // Ways to split this: more than there are atoms. It ends with what the template ends with, so it is looked at whole.
        assert!(!template.matches(&format!("{}yx", "/".repeat(4000))));
        assert!(template.matches(&format!("{}/x", "a/".repeat(2000))));
    }
}
