//! `parallel_starts`, shared out so that the servers of one tenant that hang while they start do not hold up everybody else's, and those
//! that are tried again though nobody waits for them hold up none that is waited for.

use std::collections::HashMap;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::name::TenantId;

/// How many starts may be under way at once. Where there are several tenants, each may have at most half of them (at least one) under
/// way or next in line; the rest of its starts wait behind its own.
pub(super) struct Starts {
    all: Semaphore,
    /// Empty for a single tenant.
    shares: HashMap<TenantId, Semaphore>,
    /// Beside those: one for each tenant.
    unasked: HashMap<TenantId, Semaphore>,
}

/// A start under way; dropping it lets the next one begin.
pub(super) struct Place<'a> {
    _one: SemaphorePermit<'a>,
    _share: Option<SemaphorePermit<'a>>,
}

impl Starts {
    pub(super) fn new<'t>(parallel: usize, tenants: impl ExactSizeIterator<Item = &'t TenantId> + Clone) -> Self {
        let share = (parallel / 2).max(1);
        let is_shared = tenants.len() > 1;
        let unasked = tenants.clone().map(|tenant| (tenant.clone(), Semaphore::new(1))).collect();
        let shares = tenants.filter(|_| is_shared).map(|tenant| (tenant.clone(), Semaphore::new(share)));
        Self { all: Semaphore::new(parallel.max(1)), shares: shares.collect(), unasked }
    }

    /// For a start that nobody waits for. `None`: there is no such tenant. Cancel-safe.
    pub(super) async fn begin_unasked(&self, tenant: &TenantId) -> Option<Place<'_>> {
        Some(Place { _one: self.unasked.get(tenant)?.acquire().await.ok()?, _share: None })
    }

    /// First come, first served, within a tenant and between the tenants' next ones. Cancel-safe.
    pub(super) async fn begin(&self, tenant: &TenantId) -> Place<'_> {
        const OPEN: &str = "nobody closes these semaphores";
        let share = match self.shares.get(tenant) {
            Some(share) => Some(share.acquire().await.expect(OPEN)),
            None => None,
        };
        Place { _one: self.all.acquire().await.expect(OPEN), _share: share }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, rc::Rc};

    use tokio::task::{LocalSet, yield_now};

    use super::*;

    /// Begins these starts in order; at each `!` the oldest under way ends. The order in which they begin.
    async fn began(parallel: usize, tenants: &[&str], steps: &str) -> String {
        let ids: Vec<_> = tenants.iter().map(|tenant| TenantId::new(tenant).unwrap()).collect();
        let starts = Rc::new(Starts::new(parallel, ids.iter()));
        let (begun, running) = (Rc::new(RefCell::new(String::new())), Rc::new(RefCell::new(Vec::new())));
        let local = LocalSet::new();
        local
            .run_until(async {
                for step in steps.chars() {
                    if step == '!' {
                        let end: tokio::sync::oneshot::Sender<()> = running.borrow_mut().remove(0);
                        drop(end);
                    } else {
                        let (starts, begun, running) = (Rc::clone(&starts), Rc::clone(&begun), Rc::clone(&running));
                        tokio::task::spawn_local(async move {
                            let _starting = starts.begin(&TenantId::new(&step.to_string()).unwrap()).await;
                            begun.borrow_mut().push(step);
                            let (end, ended) = tokio::sync::oneshot::channel();
                            running.borrow_mut().push(end);
                            let _ = ended.await;
                        });
                    }
                    for _ in 0..4 {
                        yield_now().await;
                    }
                }
            })
            .await;
        begun.take()
    }

    #[tokio::test]
    async fn one_tenant_leaves_half_of_the_starts_to_the_others() {
        for (parallel, tenants, steps, order) in [
            (4, &["a"][..], "aaaaaa", "aaaa"),
            (4, &["a", "b"], "aaaaaabbb", "aabb"),
            (4, &["a", "b"], "aaaa!b", "aaab"),
            (5, &["a", "b"], "aaaabbbb", "aabb"),
            // With one place only, tenants take turns.
            (1, &["a", "b"], "aaab!!!", "abaa"),
            (1, &["a", "b", "c"], "aabc!!!", "abca"),
            (0, &["a"], "aa", "a"),
        ] {
            assert_eq!(began(parallel, tenants, steps).await, order, "{parallel} for {tenants:?}: {steps}");
        }
    }

    #[tokio::test]
    async fn a_start_that_nobody_waits_for_takes_no_place_of_another() {
        let (a, b) = (TenantId::new("a").unwrap(), TenantId::new("b").unwrap());
        let starts = Starts::new(1, [&a, &b].into_iter());
        let _hangs = starts.begin_unasked(&a).await.unwrap();
        let _other = starts.begin_unasked(&b).await.unwrap();
        let _asked = starts.begin(&a).await;
        let mut second = std::pin::pin!(starts.begin_unasked(&a));
        assert!(futures_util::poll!(second.as_mut()).is_pending(), "one of a tenant at a time");
    }
}
