//! How much one principal may have under way at once, over all doors; and each client of one that has several, by itself.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use super::Principal;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    Call,
    /// A stream of changes.
    Listen,
}

/// One place in its principal's account; dropping it gives the place back.
#[derive(Debug)]
pub struct Permit {
    principal: Arc<Principal>,
    of: Use,
}

/// The account itself, a part of the principal.
#[derive(Debug, Default)]
pub(super) struct Account {
    calls: AtomicUsize,
    listens: AtomicUsize,
    /// Whoever had it is gone.
    is_left: AtomicBool,
}

impl Account {
    const fn of(&self, what: Use) -> &AtomicUsize {
        match what {
            Use::Call => &self.calls,
            Use::Listen => &self.listens,
        }
    }

    #[cfg(test)]
    pub(super) fn in_use(&self) -> usize {
        [Use::Call, Use::Listen].map(|what| self.of(what).load(Ordering::Relaxed)).iter().sum()
    }
}

impl Permit {
    /// `None` when the principal has `most` of these already.
    pub fn take(principal: &Arc<Principal>, of: Use, most: usize) -> Option<Self> {
        let before = principal.account.of(of).fetch_add(1, Ordering::Relaxed);
        let permit = Self { principal: Arc::clone(principal), of };
        // Over the limit the permit is dropped here, which takes the count back.
        (before < most).then_some(permit)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.principal.account.of(self.of).fetch_sub(1, Ordering::Relaxed);
    }
}

/// One of several clients that are the same principal: what it may have and reach is that principal's, its account is its own. Dropped
/// when the client is gone.
#[derive(Debug)]
pub struct Client(Arc<Principal>);

impl Client {
    pub fn of(principal: &Principal) -> Self {
        Self(principal.with_own_account())
    }

    pub fn principal(&self) -> &Arc<Principal> {
        &self.0
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.0.account.is_left.store(true, Ordering::Relaxed);
    }
}

/// Which of the things that are kept until somebody comes back for them give way to one more of `principal`'s, the oldest first. `kept`
/// tells the number of each one's arrival and whose it is. An account keeps at most `most`; so do, together, those of the same principal
/// whose clients are gone: others may still come back for these.
pub fn surplus<T>(principal: &Arc<Principal>, most: usize, kept: impl Iterator<Item = (u64, Arc<Principal>, T)>) -> Vec<T> {
    let (mut own, mut left) = (Vec::new(), Vec::new());
    for (arrival, whose, thing) in kept {
        if Arc::ptr_eq(&whose, principal) {
            own.push((arrival, thing));
        } else if whose.id() == principal.id() && whose.account.is_left.load(Ordering::Relaxed) {
            left.push((arrival, thing));
        }
    }
    let beyond = |mut all: Vec<(u64, T)>, most: usize| {
        all.sort_unstable_by_key(|(arrival, _)| *arrival);
        all.truncate(all.len().saturating_sub(most));
        all
    };
    beyond(own, most.saturating_sub(1)).into_iter().chain(beyond(left, most)).map(|(_, thing)| thing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_account_refuses_until_a_permit_is_dropped() {
        let principal = Principal::local_admin();
        for of in [Use::Call, Use::Listen] {
            let first = Permit::take(&principal, of, 2);
            let second = Permit::take(&principal, of, 2);
            assert!(first.is_some() && second.is_some());
            assert!(Permit::take(&principal, of, 2).is_none());
            assert!(Permit::take(&principal, of, 2).is_none(), "a refusal leaves nothing behind");
            drop(first);
            assert!(Permit::take(&principal, of, 2).is_some());
        }
        assert_eq!(principal.in_use(), 0);
    }

    #[test]
    fn clients_of_one_principal_are_it_in_all_but_the_account() {
        let principal = Principal::local_admin();
        let (first, second) = (Client::of(&principal), Client::of(&principal));
        assert_eq!((first.principal().id(), first.principal().is_admin()), (principal.id(), true));
        let _taken = Permit::take(first.principal(), Use::Call, 1).unwrap();
        assert!(Permit::take(first.principal(), Use::Call, 1).is_none());
        for other in [&principal, second.principal()] {
            assert!(Permit::take(other, Use::Call, 1).is_some());
        }
    }

    #[test]
    fn the_oldest_of_an_account_give_way_and_of_clients_that_are_gone_the_oldest_of_all() {
        let principal = Principal::local_admin();
        let clients = [Client::of(&principal), Client::of(&principal), Client::of(&principal)];
        let whose: Vec<_> = clients.iter().map(|client| Arc::clone(client.principal())).collect();
        let other = Client::of(&Principal::first_key());
        let stranger = Arc::clone(other.principal());
        drop(other);
        let [first, _, third] = clients;
        // Six of each, in turns, and in no order.
        let kept = || (0..24).rev().map(|n| (n, Arc::clone(whose.get(n as usize % 4).unwrap_or(&stranger)), n));
        assert_eq!(surplus(&whose[1], 7, kept()), [0; 0], "one more fits");
        assert_eq!(surplus(&whose[1], 6, kept()), [1]);
        assert_eq!(surplus(&whose[1], 3, kept()), [1, 5, 9, 13]);
        drop((first, third));
        assert_eq!(surplus(&whose[1], 10, kept()), [0, 2], "ten of those who are gone are enough");
        assert_eq!(surplus(&principal, 6, kept()), [0, 2, 4, 6, 8, 10]);
    }
}
