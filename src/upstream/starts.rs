//! `parallel_starts`, shared out so that the servers of one tenant that hang while they start do not hold up everybody else's.

use std::collections::HashMap;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::name::TenantId;

/// How many starts may be under way at once. Where there are several tenants, each may have at most half of them (at least one) under
/// way or next in line; the rest of its starts wait behind its own.
pub(super) struct Starts {
    all: Semaphore,
    /// Empty for a single tenant.
    shares: HashMap<TenantId, Semaphore>,
}

/// A start under way; dropping it lets the next one begin.
pub(super) struct Starting<'a> {
    _one: SemaphorePermit<'a>,
    _share: Option<SemaphorePermit<'a>>,
}

impl Starts {
    pub(super) fn new<'t>(parallel: usize, tenants: impl ExactSizeIterator<Item = &'t TenantId>) -> Self {
        let share = (parallel / 2).max(1);
        let is_shared = tenants.len() > 1;
        let shares = tenants.filter(|_| is_shared).map(|tenant| (tenant.clone(), Semaphore::new(share)));
        Self { all: Semaphore::new(parallel.max(1)), shares: shares.collect() }
    }

    /// First come, first served, within a tenant and between the tenants' next ones. Cancel-safe.
    pub(super) async fn begin(&self, tenant: &TenantId) -> Starting<'_> {
        const OPEN: &str = "nobody closes these semaphores";
        let share = match self.shares.get(tenant) {
            Some(share) => Some(share.acquire().await.expect(OPEN)),
            None => None,
        };
        Starting { _one: self.all.acquire().await.expect(OPEN), _share: share }
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
}
