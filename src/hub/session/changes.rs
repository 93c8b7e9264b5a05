//! Which lists changed, and when: a session is told of what changed after it began, however long that waits to be told. Whoever sees the
//! server is told, though only callers of other abilities may see another list than before; who does is told in any case (`catalog`).

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
};

use tokio::sync::broadcast::{Receiver, error::TryRecvError};

use super::{List, mail::Lists};
use crate::{
    hub::Endpoint,
    name::{ServerId, TenantId},
    observe::Event,
};

/// What is still to be told. Moments are counted, not timed: each `now` is later than every change that was announced before it.
pub(super) struct Changes(Mutex<Pending>);

struct Pending {
    bus: Receiver<Event>,
    moment: u64,
    changed: Changed,
}

/// The moment of each list's last change; 0 for none.
#[derive(Debug, Default)]
pub(super) struct Changed {
    merged: HashMap<TenantId, Moments>,
    own: HashMap<ServerId, Moments>,
    /// Events were missed: any list may have changed.
    all: u64,
}

type Moments = [u64; List::ALL.len()];

/// Which list of which server an event is about.
fn changed(event: &Event) -> Option<(&TenantId, &ServerId, List)> {
    Some(match event {
        Event::ToolsChanged { tenant, server } => (tenant, server, List::Tools),
        Event::PromptsChanged { tenant, server } => (tenant, server, List::Prompts),
        Event::ResourcesChanged { tenant, server } => (tenant, server, List::Resources),
        Event::Server { .. } => return None,
    })
}

impl Lists {
    /// The list that changed for those at this endpoint.
    pub(in crate::hub) fn changed_at(endpoint: &Endpoint, event: &Event) -> Option<Self> {
        let (_, server, list) = changed(event)?;
        endpoint.shows(server).then(|| list.into())
    }
}

impl Changes {
    pub(super) fn new(bus: Receiver<Event>) -> Self {
        Self(Mutex::new(Pending { bus, moment: 1, changed: Changed::default() }))
    }

    /// Later than what is announced already.
    pub(super) fn now(&self) -> u64 {
        let mut pending = self.read();
        pending.moment += 1;
        pending.moment
    }

    pub(super) fn are_there(&self) -> bool {
        let changed = &self.read().changed;
        changed.all > 0 || !changed.own.is_empty()
    }

    /// What was announced and not taken before.
    pub(super) fn take(&self) -> Changed {
        std::mem::take(&mut self.read().changed)
    }

    fn read(&self) -> MutexGuard<'_, Pending> {
        let mut pending = self.0.lock().expect("no panic under this lock");
        pending.read();
        pending
    }
}

impl Pending {
    fn read(&mut self) {
        loop {
            match self.bus.try_recv() {
                Ok(event) => self.changed.add(&event, self.moment),
                Err(TryRecvError::Lagged(_)) => self.changed.all = self.moment,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }
}

impl Changed {
    fn add(&mut self, event: &Event, moment: u64) {
        let Some((tenant, server, list)) = changed(event) else { return };
        for moments in [self.merged.entry(tenant.clone()).or_default(), self.own.entry(server.clone()).or_default()] {
            if let Some(last) = moments.get_mut(list as usize) {
                *last = moment;
            }
        }
    }

    /// What changed there at this moment or later.
    pub(super) fn seen_at(&self, endpoint: &Endpoint, since: u64) -> Lists {
        if self.all >= since {
            return Lists::ALL;
        }
        let moments = match &endpoint.server {
            None => self.merged.get(&endpoint.tenant),
            Some(name) => self.own.get(&ServerId { tenant: endpoint.tenant.clone(), name: name.clone() }),
        };
        let mut seen = Lists::default();
        for (list, last) in List::ALL.into_iter().zip(moments.into_iter().flatten()) {
            if *last >= since {
                seen.add(list.into());
            }
        }
        seen
    }
}
