//! Pages that users opened for servers (`notifications/elicitation/complete`, MCP 2025-11-25): a request that waits for them is sent
//! again when they are done, or after a while all the same.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use tokio::{sync::Notify, time::timeout};

use crate::{limits, name::ServerId};

/// An elicitation by URL: whose, and the id that its server gave it. Two servers may give the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) server: ServerId,
    pub(super) id: String,
}

/// The newest finished ones.
#[derive(Default)]
pub(super) struct Pages {
    finished: Mutex<VecDeque<Page>>,
    came: Notify,
}

impl Pages {
    pub(super) fn finish(&self, page: Page) {
        let mut finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
        if finished.len() >= limits::FINISHED_PAGES_MAX {
            finished.pop_front();
        }
        finished.push_back(page);
        drop(finished);
        self.came.notify_waiters();
    }

    /// Waits until all are finished, at most `limits::REISSUE_WAIT`.
    pub(super) async fn finished(&self, pages: &[Page]) {
        let all = async {
            loop {
                let came = self.came.notified();
                if pages.iter().all(|page| self.is_finished(page)) {
                    return;
                }
                came.await;
            }
        };
        let _ = timeout(limits::REISSUE_WAIT, all).await;
    }

    fn is_finished(&self, page: &Page) -> bool {
        self.finished.lock().unwrap_or_else(PoisonError::into_inner).contains(page)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::name::{ServerName, TenantId};

    fn page(server: &str, id: &str) -> Page {
        let server = ServerId { tenant: TenantId::default_tenant(), name: ServerName::new(server).unwrap() };
        Page { server, id: id.into() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_is_finished_when_its_own_server_says_so() {
        let pages = Arc::new(Pages::default());
        let begun = tokio::time::Instant::now();
        let wait = |page: Page| {
            let pages = Arc::clone(&pages);
            tokio::spawn(async move {
                pages.finished(&[page]).await;
                begun.elapsed()
            })
        };
        let (of_a, of_b) = (wait(page("a", "e1")), wait(page("b", "e1")));
        pages.finish(page("a", "e1"));
        assert!(of_a.await.unwrap() < limits::REISSUE_WAIT);
        assert!(of_b.await.unwrap() >= limits::REISSUE_WAIT, "another server's, though it has the same id");
    }
}
