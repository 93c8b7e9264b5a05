//! How much one principal may have under way at once, over all doors.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::Principal;

/// One call's place in its principal's account; dropping it gives the place back.
#[derive(Debug)]
pub struct Permit {
    principal: Arc<Principal>,
}

/// The account itself, a part of the principal.
#[derive(Debug, Default)]
pub(super) struct Account {
    in_flight: AtomicUsize,
}

#[cfg(test)]
impl Account {
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }
}

impl Permit {
    /// `None` when the principal has `in_flight_max` calls under way already.
    pub fn take(principal: &Arc<Principal>, in_flight_max: usize) -> Option<Self> {
        let before = principal.account.in_flight.fetch_add(1, Ordering::Relaxed);
        let permit = Self { principal: Arc::clone(principal) };
        // Over the limit the permit is dropped here, which takes the count back.
        (before < in_flight_max).then_some(permit)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.principal.account.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_account_refuses_until_a_permit_is_dropped() {
        let principal = Principal::local_admin();
        let first = Permit::take(&principal, 2);
        let second = Permit::take(&principal, 2);
        assert!(first.is_some() && second.is_some());
        assert!(Permit::take(&principal, 2).is_none());
        assert!(Permit::take(&principal, 2).is_none(), "a refusal leaves nothing behind");
        drop(first);
        assert!(Permit::take(&principal, 2).is_some());
    }
}
