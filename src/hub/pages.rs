//! Pages that users opened for servers (`notifications/elicitation/complete`, MCP 2025-11-25): a request that waits for them is sent
//! again when they are done, or after a while all the same.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use tokio::{sync::Notify, time::timeout};

use crate::limits;

/// The newest ids of finished elicitations.
#[derive(Default)]
pub(super) struct Pages {
    finished: Mutex<VecDeque<String>>,
    came: Notify,
}

impl Pages {
    pub(super) fn finish(&self, elicitation_id: String) {
        let mut finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
        if finished.len() >= limits::FINISHED_PAGES_MAX {
            finished.pop_front();
        }
        finished.push_back(elicitation_id);
        drop(finished);
        self.came.notify_waiters();
    }

    /// Waits until all are finished, at most `limits::REISSUE_WAIT`.
    pub(super) async fn finished(&self, ids: &[String]) {
        let all = async {
            loop {
                let came = self.came.notified();
                if ids.iter().all(|id| self.is_finished(id)) {
                    return;
                }
                came.await;
            }
        };
        let _ = timeout(limits::REISSUE_WAIT, all).await;
    }

    fn is_finished(&self, id: &str) -> bool {
        self.finished.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|finished| finished == id)
    }
}
