//! Where everything unguessable comes from, and the hasher of maps in whose order things happen. In tests both can follow a seed.

/// For identifiers that nobody can guess.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    #[cfg(test)]
    if seeded::fill(&mut bytes) {
        return bytes;
    }
    getrandom::fill(&mut bytes).expect("the operating system has random numbers");
    bytes
}

/// Of maps that every call looks into, or that somebody walks through. Quicker than the default, and less safe where strangers choose
/// the keys of a large map.
#[cfg(not(test))]
pub(crate) type State = foldhash::fast::RandomState;
#[cfg(test)]
pub(crate) type State = std::hash::BuildHasherDefault<std::hash::DefaultHasher>;

#[cfg(test)]
pub(crate) mod seeded {
    use std::cell::Cell;

    thread_local!(static SEED: Cell<Option<u64>> = const { Cell::new(None) });

    /// What this thread draws from here on is the same for the same seed; `None`: unguessable again.
    pub(crate) fn follow(seed: Option<u64>) {
        SEED.set(seed);
    }

    /// `false`: this thread follows no seed.
    pub(super) fn fill(bytes: &mut [u8]) -> bool {
        let Some(mut seed) = SEED.get() else { return false };
        for chunk in bytes.chunks_mut(8) {
            // splitmix64
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes()[..chunk.len()]);
        }
        SEED.set(Some(seed));
        true
    }
}
