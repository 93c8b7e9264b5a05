//! Renderings of lists: each made by the first who asks for it, then shared, and gone with the list. Nobody asks, nothing is made.

use std::sync::OnceLock;

use super::{Kind, Names, page::Pages, uri::Uris};
use crate::{
    limits::LIST_RENDERINGS_MAX,
    protocol::{Era, Version, capability::Profile},
};

/// Whatever a list's bytes depend on, beside the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Variant {
    pub(super) kind: Kind,
    pub(super) names: Names,
    pub(super) uris: Uris,
    pub(super) era: Era,
    /// Tools keep the member `execution`.
    pub(super) execution: bool,
    /// The offer to whom; bare for everyone without one of his own.
    pub(super) profile: Profile,
}

impl Variant {
    /// Of a merged list. Only names of tools and prompts come in styles.
    pub(super) const fn merged(kind: Kind, names: Names, uris: Uris, client: Version, profile: Profile) -> Self {
        let names = match kind {
            Kind::Tools | Kind::Prompts => names,
            Kind::Resources | Kind::Templates => Names::Dotted,
        };
        Self { kind, names, uris, era: client.era(), execution: false, profile }
    }

    /// Of a server's own list: its own names. `execution` came with 2025-11-25 and went with it.
    pub(super) fn own(kind: Kind, uris: Uris, client: Version, profile: Profile) -> Self {
        let execution = kind == Kind::Tools && client == Version::V2025_11_25;
        Self { kind, names: Names::Dotted, uris, era: client.era(), execution, profile }
    }

    /// For keys: no two variants are alike.
    pub(super) const fn bytes(self) -> [u8; 7] {
        let [high, low] = self.profile.bits().to_be_bytes();
        [self.kind as u8, self.names as u8, self.uris as u8, self.era as u8, self.execution as u8, high, low]
    }
}

/// A few at a time: places are taken in order and never given up, so readers need no lock and most find theirs at once.
#[derive(Default)]
pub(super) struct Rendered {
    places: [OnceLock<(Variant, OnceLock<Pages>)>; PLACES],
    more: OnceLock<Box<Self>>,
}

/// One client of each kind, with one style of names, in both eras.
const PLACES: usize = 8;

impl Rendered {
    /// Reads one rendering, which is made if need be. Beyond `limits::LIST_RENDERINGS_MAX` it is made and not kept.
    pub(super) fn read<T>(&self, variant: Variant, make: impl FnOnce() -> Pages, read: impl FnOnce(&Pages) -> T) -> T {
        let mut part = self;
        for _ in 0..LIST_RENDERINGS_MAX / PLACES {
            for place in &part.places {
                let (taken_by, pages) = place.get_or_init(|| (variant, OnceLock::new()));
                if *taken_by == variant {
                    return read(pages.get_or_init(make));
                }
            }
            part = part.more.get_or_init(Box::default);
        }
        read(&make())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn each_variant_is_made_once_and_those_beyond_the_bound_each_time() {
        let (rendered, made) = (Rendered::default(), Cell::new(0));
        let all: Vec<_> = (0..=LIST_RENDERINGS_MAX)
            .map(|n| {
                let capabilities = [(1, r#""roots":{}"#), (2, r#""sampling":{}"#), (4, r#""elicitation":{"url":{}}"#)];
                let declared: Vec<_> = capabilities.iter().filter(|(bit, _)| (n / 16) & bit != 0).map(|(_, text)| *text).collect();
                let profile = Profile::read(format!("{{{}}}", declared.join(",")).as_bytes());
                let kind = Kind::ALL[n % 4];
                let uris = if n & 4 == 0 { Uris::Raw } else { Uris::Prefixed };
                Variant { execution: n & 8 != 0, ..Variant::own(kind, uris, Version::STATELESS, profile) }
            })
            .collect();
        let read = |variant| {
            let make = || {
                made.set(made.get() + 1);
                Pages::default()
            };
            rendered.read(variant, make, |_| ());
        };
        all.iter().copied().for_each(read);
        assert_eq!(made.get(), LIST_RENDERINGS_MAX + 1);
        all.iter().copied().for_each(read);
        assert_eq!(made.get(), LIST_RENDERINGS_MAX + 2, "all but the last are kept");
    }
}
