//! What every door shares, and what one listener adds.

use super::{guard::Guard, legacy::Talks, route::Router};
use crate::{
    access::Gate,
    catalog::Names,
    config::{Settings, settings::Serves},
    control::Control,
    hub::{Endpoint, Hub},
    limits::Limits,
    name::TenantId,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The parts that doors use. One per hub, built by the composition root once all ports are known.
pub struct Doors {
    pub hub: Arc<Hub>,
    pub control: Arc<Control>,
    pub gate: Arc<Gate>,
    pub settings: Arc<Settings>,
    pub limits: Limits,
    pub guard: Guard,
    pub router: Router,
    /// Open streams of the transport of 2024-11-05.
    pub talks: Talks,
    pub started: Instant,
    /// Told by `/api/health` and `--version`; the crate's own unless an environment variable says otherwise.
    pub version: Arc<str>,
    pub ready: Ready,
    /// Work that outlives its request: calls of handshake clients that went away, open sockets. Waited for when draining.
    pub tasks: TaskTracker,
    /// Cancelled when draining begins: streams without an end of their own (mail, events, sockets) close.
    pub stop: CancellationToken,
}

/// What is particular to one listener.
#[derive(Debug)]
pub struct Mount {
    pub serves: Serves,
    pub names: Names,
    /// The port that was bound.
    pub port: u16,
    /// `/mcp` without options: built once, the most frequent address.
    pub endpoint: Arc<Endpoint>,
}
impl Mount {
    pub fn new(serves: Serves, names: Names, port: u16) -> Arc<Self> {
        let endpoint = Arc::new(Endpoint::plain(TenantId::default_tenant(), None, names));
        Arc::new(Self { serves, names, port, endpoint })
    }
}

/// How far the hub is (`state` of `/api/health`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    Starting,
    Ready,
    Stopping,
}
impl Stage {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Stopping => "stopping",
        }
    }
}

/// The stage, shared; set by the composition root, read by the doors.
#[derive(Clone, Debug, Default)]
pub struct Ready(Arc<AtomicU8>);
impl Ready {
    pub fn stage(&self) -> Stage {
        match self.0.load(Ordering::Acquire) {
            0 => Stage::Starting,
            1 => Stage::Ready,
            _ => Stage::Stopping,
        }
    }
    pub fn set(&self, stage: Stage) {
        self.0.store(stage as u8, Ordering::Release);
    }
}
