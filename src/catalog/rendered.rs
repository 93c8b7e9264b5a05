//! Renderings of lists: each made by the first who asks for it, then shared, and gone with the list. Nobody asks, nothing is made.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;

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

type Cell = (Variant, Arc<OnceLock<Pages>>);

/// Readers take no lock; a new rendering is a new, short list of them.
#[derive(Default)]
pub(super) struct Rendered(ArcSwapOption<Vec<Cell>>);

impl Rendered {
    /// Reads one rendering, which is made if need be. Beyond `limits::LIST_RENDERINGS_MAX` it is made and not kept.
    pub(super) fn read<T>(&self, variant: Variant, make: impl FnOnce() -> Pages, read: impl FnOnce(&Pages) -> T) -> T {
        let find = |cells: Option<&Arc<Vec<Cell>>>| {
            let cell = cells?.iter().find(|(known, _)| *known == variant)?;
            Some(Arc::clone(&cell.1))
        };
        if let Some(cells) = &*self.0.load()
            && let Some((_, cell)) = cells.iter().find(|(known, _)| *known == variant)
        {
            return read(cell.get_or_init(make));
        }
        let new = Arc::new(OnceLock::new());
        self.0.rcu(|cells| {
            let known = cells.as_ref().map_or(&[][..], |cells| cells);
            let is_there = known.len() >= LIST_RENDERINGS_MAX || known.iter().any(|(known, _)| *known == variant);
            let new = (!is_there).then(|| (variant, Arc::clone(&new)));
            Some(Arc::new(known.iter().cloned().chain(new).collect()))
        });
        match find(self.0.load().as_ref()) {
            Some(cell) => read(cell.get_or_init(make)),
            None => read(&make()),
        }
    }
}
