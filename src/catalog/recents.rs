//! Which server a URI came from that was shown to a caller: for URIs that stand in no list. Bounded in callers, and in URIs for each.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    limits::{RECENT_CALLERS_MAX, RECENT_URIS_MAX, URI_BYTES_MAX},
    name::{ServerId, ServerName, TenantId},
};

/// Shared; each look and each note holds its lock for a walk over one caller's URIs.
#[derive(Debug, Default)]
pub struct Recents(Mutex<Callers>);

#[derive(Debug, Default)]
struct Callers {
    of: HashMap<Arc<str>, Shown>,
    /// Counts notes, to tell who was noted longest ago.
    turn: u64,
}

/// Oldest first, no URI of a server twice.
#[derive(Debug, Default)]
struct Shown {
    uris: VecDeque<(Box<str>, ServerId)>,
    turn: u64,
}

impl Recents {
    /// `uri` as the server said it was shown to the caller with this id. With too many the oldest is forgotten, and with too many callers the one who
    /// was shown nothing for longest.
    pub fn remember(&self, caller: &Arc<str>, uri: &str, server: &ServerId) {
        if uri.len() > URI_BYTES_MAX {
            return;
        }
        let mut callers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        callers.turn += 1;
        let turn = callers.turn;
        if !callers.of.contains_key(caller) && callers.of.len() >= RECENT_CALLERS_MAX {
            let oldest = callers.of.iter().min_by_key(|(_, shown)| shown.turn).map(|(caller, _)| Arc::clone(caller));
            oldest.map(|caller| callers.of.remove(&caller));
        }
        let shown = callers.of.entry(Arc::clone(caller)).or_default();
        shown.turn = turn;
        let known = shown.uris.iter().position(|(known, of)| **known == *uri && of == server);
        let entry = known.and_then(|at| shown.uris.remove(at)).unwrap_or_else(|| (uri.into(), server.clone()));
        if shown.uris.len() >= RECENT_URIS_MAX {
            shown.uris.pop_front();
        }
        shown.uris.push_back(entry);
    }

    /// The servers of this tenant that showed this very URI to this caller.
    pub(super) fn owners(&self, caller: &str, tenant: &TenantId, uri: &str) -> Vec<ServerName> {
        let callers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = callers.of.get(caller).into_iter().flat_map(|shown| &shown.uris);
        shown.filter(|(known, server)| **known == *uri && server.tenant == *tenant).map(|(_, server)| server.name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(name: &str) -> ServerId {
        ServerId { tenant: TenantId::default_tenant(), name: ServerName::new(name).unwrap() }
    }

    fn owners(recents: &Recents, caller: &str, uri: &str) -> Vec<String> {
        recents.owners(caller, &TenantId::default_tenant(), uri).iter().map(ServerName::to_string).collect()
    }

    #[test]
    fn a_caller_is_told_only_what_was_shown_to_it() {
        let recents = Recents::default();
        let (one, other) = (Arc::from("one"), Arc::from("other"));
        recents.remember(&one, "x:1", &server("a"));
        recents.remember(&one, "x:1", &server("b"));
        recents.remember(&one, "x:1", &server("a"));
        recents.remember(&other, "x:2", &server("a"));
        assert_eq!(owners(&recents, "one", "x:1"), ["b", "a"]);
        assert!(owners(&recents, "one", "x:2").is_empty());
        assert!(owners(&recents, "nobody", "x:1").is_empty());
        assert!(recents.owners("one", &TenantId::new("acme").unwrap(), "x:1").is_empty());
        recents.remember(&one, &"x".repeat(URI_BYTES_MAX + 1), &server("a"));
        assert!(owners(&recents, "one", &"x".repeat(URI_BYTES_MAX + 1)).is_empty());
    }

    #[test]
    fn the_oldest_gives_way() {
        let recents = Recents::default();
        let caller = Arc::from("one");
        for n in 0..=RECENT_URIS_MAX {
            recents.remember(&caller, &format!("x:{n}"), &server("a"));
            // Used again and again, so never the oldest.
            recents.remember(&caller, "x:0", &server("a"));
        }
        assert!(owners(&recents, "one", "x:1").is_empty());
        assert_eq!(owners(&recents, "one", "x:0"), ["a"]);
        assert_eq!(owners(&recents, "one", "x:2"), ["a"]);
        for n in 0..RECENT_CALLERS_MAX - 1 {
            recents.remember(&Arc::from(format!("c{n}")), "x:0", &server("a"));
        }
        assert_eq!(owners(&recents, "one", "x:0"), ["a"]);
        recents.remember(&Arc::from("last"), "x:0", &server("a"));
        assert!(owners(&recents, "one", "x:0").is_empty());
        assert_eq!(owners(&recents, "c0", "x:0"), ["a"]);
    }
}
