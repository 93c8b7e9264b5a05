//! The keys of states that travel through clients: kept on disk, so that a state given before a restart is good after it, and
//! replaced once a day.

use std::{
    io,
    time::{Duration, SystemTime},
};

use crate::{
    bridge::seal::{Key, Sealer},
    store::Store,
};

const ROOM: &str = "keys";
const NAME: &str = "seal";
/// A state is good for an hour at most, so the key before the current one opens whatever is still good.
const LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// On disk: seconds since 1970 when the current key was made (big endian), the current key, the one before it.
struct Kept {
    made_unix: u64,
    current: Key,
    previous: Key,
}

/// # Errors
/// The store cannot be read or written, or there are no random numbers.
pub(super) fn sealer(store: &Store) -> io::Result<Sealer> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let kept = store.get(ROOM, NAME)?.as_deref().and_then(Kept::read);
    let kept = match kept {
        Some(kept) if now.saturating_sub(kept.made_unix) < LIFE.as_secs() => kept,
        older => {
            let current = random()?;
            let previous = match older {
                Some(older) => older.current,
                None => random()?,
            };
            let kept = Kept { made_unix: now, current, previous };
            store.put(ROOM, NAME, &kept.to_bytes())?;
            kept
        }
    };
    Ok(Sealer::new(&kept.current, Some(&kept.previous)))
}

impl Kept {
    fn read(bytes: &[u8]) -> Option<Self> {
        let (made, keys) = bytes.split_first_chunk()?;
        let (current, previous) = keys.split_first_chunk()?;
        Some(Self { made_unix: u64::from_be_bytes(*made), current: *current, previous: previous.try_into().ok()? })
    }

    fn to_bytes(&self) -> Vec<u8> {
        [self.made_unix.to_be_bytes().as_slice(), &self.current, &self.previous].concat()
    }
}

fn random() -> io::Result<Key> {
    let mut key = Key::default();
    getrandom::fill(&mut key).map_err(io::Error::other)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::seal::{Binding, Digest, State, What};

    #[test]
    fn a_state_of_yesterday_opens_after_a_restart_and_a_change_of_keys() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().to_owned()).unwrap();
        let state = State { what: What::Relay("s".into()), server: "a/b".into(), expires_unix: u64::MAX };
        let binding = Binding { principal: "p", request: Digest::of("tools/call", "t", None) };
        let sealed = sealer(&store).unwrap().seal(&state, &binding, [7; 24]);
        assert_eq!(sealer(&store).unwrap().open(&sealed, &binding, 0), Ok(state.clone()), "after a restart");

        let age = |days: u64| {
            let mut kept = Kept::read(&store.get(ROOM, NAME).unwrap().unwrap()).unwrap();
            kept.made_unix -= days * LIFE.as_secs();
            store.put(ROOM, NAME, &kept.to_bytes()).unwrap();
        };
        age(1);
        assert_eq!(sealer(&store).unwrap().open(&sealed, &binding, 0), Ok(state), "with the key before");
        age(1);
        assert!(sealer(&store).unwrap().open(&sealed, &binding, 0).is_err());
    }
}
