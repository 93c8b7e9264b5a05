//! How an instance serves, ends and comes back. One task per instance.

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout};

use super::{
    Server, UpstreamError,
    child::{process::Process, stderr::Stderr},
    exit,
    instance::Instance,
    keepalive::patience,
    server::Run,
    supervise::{LAST_WORDS, is_current},
};
use crate::{config::Start, observe::ServerPhase, protocol::capability::Profile};

/// Looks per `idle_stop`: it ends at most a quarter late.
const IDLE_LOOKS: u32 = 4;

/// Why an instance ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("{0}")]
    Exited(String),
    #[error("closed its pipe")]
    Broken,
    #[error("ended its session")]
    Unlinked,
    #[error("speaks another revision now")]
    Outdated,
    #[error("gave no sign of life for {} s", .0.as_secs_f64())]
    Silent(Duration),
    #[error("asked to stop")]
    Asked,
    #[error("idle")]
    Idle,
}

impl End {
    fn is_unasked(&self) -> bool {
        match self {
            Self::Exited(_) | Self::Broken | Self::Unlinked | Self::Outdated | Self::Silent(_) => true,
            Self::Asked | Self::Idle => false,
        }
    }
}

impl Server {
    /// Until it ends, whatever ends it.
    pub(super) async fn serve(self: Arc<Self>, instance: Arc<Instance>, mut process: Option<Process>, stderr: Option<Stderr>, run: Run) {
        let link = &instance.link;
        let id = &self.settings.id;
        let mut silent = pin!(self.silent(&instance));
        let end = loop {
            tokio::select! {
                biased;
                () = instance.stop.cancelled() => break End::Asked,
                status = exited(&mut process) => break End::Exited(status.map_or_else(|| "exited".into(), exit::of)),
                () = link.signs().broken() => break match instance.pid {
                    _ if link.signs().is_outdated() => End::Outdated,
                    Some(_) => End::Broken,
                    None => End::Unlinked,
                },
                () = self.idle(&instance) => break End::Idle,
                () = &mut silent => break End::Silent(patience(self.settings.keepalive.unwrap_or_default())),
                () = link.signs().renewed() => {
                    instance.repeat_level(self.deadline());
                    instance.feed.repeat();
                }
                () = link.signs().list_changed() => self.relist_soon(&instance, &run),
            }
        };
        // First: what it may still have to say is for those who have asked, and nobody else shall ask it.
        self.leave(&instance, &end, &run);
        let mut how = end.to_string();
        match &end {
            End::Exited(_) => {
                // Its group is dead, so the pipe ends now; an answer written just before counts.
                let _ = timeout(LAST_WORDS, link.drained()).await;
            }
            // Its pipe ends a moment before it does.
            End::Broken => {
                if let Ok(Some(status)) = timeout(LAST_WORDS, exited(&mut process)).await {
                    how = exit::of(status);
                }
            }
            End::Unlinked | End::Outdated | End::Silent(_) | End::Asked | End::Idle => {}
        }
        let error = match &end {
            End::Exited(_) | End::Broken => UpstreamError::exited(id),
            End::Unlinked | End::Outdated => link.lost(),
            End::Silent(_) => UpstreamError::silent(id),
            End::Asked | End::Idle => UpstreamError::stopped_during_call(id),
        };
        link.close(&error);
        link.leave().await;
        if let Some(process) = process {
            process.stop(self.settings.timeouts.stop).await;
        }
        let words = match stderr {
            Some(stderr) => stderr.last_words(LAST_WORDS).await,
            None => None,
        };
        self.life().noise += link.noise();
        if !end.is_unasked() {
            tracing::info!(server = %id, pid = instance.pid, why = how, "ended");
            return;
        }
        if let Some(words) = words {
            how = format!("{how}; last on stderr: {words}");
        }
        self.retell(&end, &how);
        tracing::warn!(server = %id, pid = instance.pid, why = how, "ended");
    }

    /// What is known only when nothing of it is left, unless something else has gone wrong since.
    fn retell(&self, end: &End, how: &str) {
        let mut life = self.life();
        if life.last_error.as_ref().is_some_and(|told| *told == end.to_string()) {
            life.last_error = Some(how.to_owned());
        }
    }

    /// Out of the pool; comes back if it went by itself.
    fn leave(self: &Arc<Self>, instance: &Arc<Instance>, end: &End, run: &Run) {
        let mut life = self.life();
        if !is_current(&life, run) {
            return;
        }
        let slot = life.pool.remove(instance);
        self.publish(&life);
        let Some(slot) = slot.filter(|_| end.is_unasked()) else {
            life.pool.tidy(&self.settings.restart);
            self.emit(&life, ServerPhase::Stopped);
            return;
        };
        life.last_error = Some(end.to_string());
        life.is_crashed = true;
        let share = life.pool.share_mut(&slot);
        share.backoff.lived(&self.settings.restart, instance.ready_at.elapsed());
        let (wait, may_retry) = share.backoff.fail(&self.settings.restart, Instant::now());
        // Others of the same sharer are still there, and grow again by need.
        let is_needed = share.instances.is_empty() && share.coming.is_none();
        let is_wanted = (!instance.is_for_one || self.is_to_be_learned(&slot)) && !instance.stop.is_cancelled();
        if is_needed && may_retry && is_wanted && self.admit(&life).is_ok() {
            self.launch(&mut life, &slot, Some(wait), true);
        }
        self.emit(&life, ServerPhase::Failed);
    }

    /// Resolves when nobody has used it for `idle_stop`; nobody can from then on.
    async fn idle(&self, instance: &Instance) {
        let Some(limit) = self.settings.pool.idle_stop.filter(|_| self.settings.start != Start::Boot) else {
            return std::future::pending().await;
        };
        let (mut looks, mut taken) = (0, instance.taken());
        loop {
            sleep(limit / IDLE_LOOKS).await;
            let is_unused = instance.uses() == 0 && instance.taken() == taken && instance.link.in_flight() == 0;
            (looks, taken) = (if is_unused { looks + 1 } else { 0 }, instance.taken());
            if looks >= IDLE_LOOKS && self.retire(instance) {
                return;
            }
        }
    }

    fn retire(&self, instance: &Instance) -> bool {
        let life = self.life();
        let unbound = life.pool.share(&None).map(|share| share.instances.as_slice()).unwrap_or_default();
        let is_unbound = unbound.iter().any(|other| std::ptr::eq(&**other, instance));
        let is_spare = is_unbound && unbound.len() <= self.settings.pool.spare && instance.profile == Profile::BARE;
        !is_spare && instance.retire()
    }
}

/// What has no process never exits.
async fn exited(process: &mut Option<Process>) -> Option<std::process::ExitStatus> {
    match process {
        Some(process) => process.exited().await,
        None => std::future::pending().await,
    }
}
