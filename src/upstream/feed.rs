//! What one connection tells unasked: lists that change, resources that are watched.
//!
//! Servers of the handshake era tell of lists anyway, and of a resource after `resources/subscribe`. Stateless ones tell what a
//! `subscriptions/listen` asked for (MCP 2026-07-28, subscriptions): there is one open per connection, with everything wanted of it.
//! A filter cannot be edited, so a new listen is opened and acknowledged before the old one is closed. One that ends is opened again,
//! after a wait that grows, and the lists are fetched again: what changed in between was not told.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Deserialize;
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use super::{
    Event, Exchange, Server, UpstreamError,
    exchange::Wants,
    instance::{Instance, Use},
    server::Run,
};
use crate::{
    bridge::outgoing,
    limits,
    mux::Deadline,
    protocol::{Era, Kind, Message, code::Reason, refusal::quoted},
};

/// Ends when the server ends it, or the hub.
const ENDLESS: Deadline = Deadline { call: Duration::MAX, call_max: Duration::MAX };
const LISTEN: Wants = Wants { notes: true, ..Wants::QUIET };

#[derive(Debug, Default)]
pub(super) struct Feed {
    state: Mutex<State>,
    changed: Notify,
    settled: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// How many hold each URI.
    wanted: BTreeMap<String, usize>,
    changes: u64,
    /// Up to which of these the server knows them.
    known: u64,
    /// Wanted, but the server would not.
    refused: BTreeSet<String>,
    is_tended: bool,
    /// How often the server has forgotten what it was asked to tell.
    lost: u64,
    /// The server declares that it tells, and does not take what asks for it.
    is_deaf: bool,
}

/// A guard: the server tells of changes of one resource on this connection while any of it lives. Keeps the instance.
#[derive(Debug)]
pub(super) struct Hold {
    held: Use,
    uri: String,
}

impl Hold {
    pub(super) fn instance(&self) -> &Arc<Instance> {
        self.held.instance()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.held.instance().feed.want(&self.uri, |count| count.saturating_sub(1));
    }
}

impl Feed {
    /// Whether anybody watches a resource on this connection.
    pub(super) fn is_used(&self) -> bool {
        !self.lock().wanted.is_empty()
    }

    #[cfg(test)]
    pub(super) fn left(&self) -> Vec<String> {
        self.lock().wanted.iter().map(|(uri, count)| format!("{uri} is wanted {count} times")).collect()
    }

    fn is_full(&self, uri: &str) -> bool {
        let state = self.lock();
        state.wanted.len() >= limits::SERVER_WATCHED_MAX && !state.wanted.contains_key(uri)
    }

    /// Returns the number of this change.
    fn want(&self, uri: &str, count: impl Fn(usize) -> usize) -> u64 {
        let mut state = self.lock();
        let next = count(state.wanted.get(uri).copied().unwrap_or(0));
        if next == 0 {
            state.wanted.remove(uri);
            state.refused.remove(uri);
        } else {
            state.wanted.insert(uri.to_owned(), next);
        }
        state.changes += 1;
        self.changed.notify_one();
        state.changes
    }

    /// `false`: somebody tends it already.
    fn take_charge(&self) -> bool {
        !std::mem::replace(&mut self.lock().is_tended, true)
    }

    /// The server has forgotten what it was asked to tell, and is asked again. What changed in between was not told.
    pub(super) fn repeat(&self) {
        self.lock().lost += 1;
        self.changed.notify_one();
    }

    /// Whether the server does not tell of its lists though it declared it would.
    pub(super) fn is_deaf(&self) -> bool {
        self.lock().is_deaf
    }

    fn lost(&self) -> u64 {
        self.lock().lost
    }

    fn wishes(&self) -> (BTreeSet<String>, u64) {
        let state = self.lock();
        (state.wanted.keys().cloned().collect(), state.changes)
    }

    /// The server knows the wishes up to this change.
    fn settle(&self, changes: u64) {
        self.lock().known = changes;
        self.settled.notify_waiters();
    }

    async fn settled(&self, change: u64) {
        loop {
            let mut settled = pin!(self.settled.notified());
            // Before the look: what is settled after it must not be missed.
            settled.as_mut().enable();
            if self.lock().known >= change {
                return;
            }
            settled.await;
        }
    }

    fn refuse(&self, uri: &str) {
        let mut state = self.lock();
        if state.wanted.contains_key(uri) {
            state.refused.insert(uri.to_owned());
        }
    }

    fn is_refused(&self, uri: &str) -> bool {
        self.lock().refused.contains(uri)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Server {
    /// Before anybody uses a new instance: what changes from here on is told. The server acknowledges it in its time.
    pub(super) fn listen(self: &Arc<Self>, instance: &Arc<Instance>, run: &Run) {
        let filter = Filter::of(instance, BTreeSet::new());
        if instance.version().era() == Era::Stateless && !filter.is_empty() && instance.feed.take_charge() {
            let first = open_listen(instance, &filter).ok().map(|exchange| (exchange, filter));
            run.tasks.spawn(tend_stateless(Arc::clone(self), Arc::clone(instance), run.clone(), first));
        }
    }

    /// Returns when the server has agreed.
    pub(super) async fn hold(self: &Arc<Self>, held: Use, uri: &str) -> Result<Hold, UpstreamError> {
        let id = &self.settings.id;
        let instance = Arc::clone(held.instance());
        if !instance.greeting.declared.subscribe {
            return Err(UpstreamError::new(id, Reason::Unsupported, "does not tell of changes of its resources"));
        }
        let feed = &instance.feed;
        if feed.is_full(uri) {
            return Err(UpstreamError::new(id, Reason::Refused, "has as many resources watched as it may"));
        }
        let change = feed.want(uri, |count| count + 1);
        let hold = Hold { held, uri: uri.to_owned() };
        if feed.take_charge() {
            let run = self.life().run.clone();
            match instance.version().era() {
                Era::Handshake => run.tasks.spawn(tend_handshake(Arc::clone(self), Arc::clone(&instance))),
                Era::Stateless => run.tasks.spawn(tend_stateless(Arc::clone(self), Arc::clone(&instance), run.clone(), None)),
            };
        }
        tokio::select! {
            biased;
            () = feed.settled(change) => {}
            () = instance.link.signs().closed() => return Err(UpstreamError::gone(id)),
        }
        if instance.link.signs().is_closed() {
            return Err(UpstreamError::gone(id));
        }
        if feed.is_refused(uri) {
            return Err(UpstreamError::new(id, Reason::Refused, "would not tell of changes of that resource"));
        }
        Ok(hold)
    }
}

/// Ends with the link.
async fn tend_handshake(server: Arc<Server>, instance: Arc<Instance>) {
    let feed = &instance.feed;
    let (mut subscribed, mut lost) = (BTreeSet::new(), feed.lost());
    loop {
        // Before the wishes: what is lost while the server is asked is asked for in the next round.
        let lost_now = feed.lost();
        if lost != lost_now {
            (subscribed, lost) = (BTreeSet::new(), lost_now);
        }
        let (wanted, changes) = feed.wishes();
        for uri in wanted.difference(&subscribed.clone()).filter(|uri| !feed.is_refused(uri)) {
            if is_agreed(&server, &instance, "resources/subscribe", uri).await {
                subscribed.insert(uri.clone());
            } else {
                feed.refuse(uri);
            }
        }
        for uri in subscribed.clone().difference(&wanted) {
            is_agreed(&server, &instance, "resources/unsubscribe", uri).await;
            subscribed.remove(uri);
        }
        feed.settle(changes);
        tokio::select! {
            biased;
            () = instance.link.signs().closed() => return,
            () = feed.changed.notified() => {}
        }
    }
}

async fn is_agreed(server: &Server, instance: &Instance, method: &str, uri: &str) -> bool {
    let params = format!(r#"{{"uri":{}}}"#, quoted(uri));
    let answer = instance.link.request(method, &params, instance.version(), server.deadline()).await;
    answer.is_ok_and(|answer| answer.kind() == Kind::Result)
}

/// Ends with the link.
async fn tend_stateless(server: Arc<Server>, instance: Arc<Instance>, run: Run, first: Option<(Exchange, Filter)>) {
    let closed = instance.link.clone();
    let mut tending = Tending { server, instance, current: None, wait: limits::BACKOFF_MIN, is_lost: false, is_unknown: false };
    if let Some((exchange, filter)) = first {
        tending.settle(exchange, filter).await;
    }
    loop {
        if tending.renew().await {
            tending.server.relist_soon(&tending.instance, &run);
        }
        let again = tending.is_missing().then(|| tending.longer());
        let over = async {
            match (&mut tending.current, again) {
                (Some((listen, _)), _) => while let Event::Note(_) = listen.next().await {},
                (None, Some(wait)) => sleep(wait).await,
                (None, None) => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = closed.signs().closed() => return,
            () = tending.instance.feed.changed.notified() => continue,
            () = over => {}
        }
        if tending.current.take().is_some() {
            tending.is_lost = true;
            let wait = tending.longer();
            tokio::select! {
                biased;
                () = closed.signs().closed() => return,
                () = sleep(wait) => {}
            }
        }
    }
}

struct Tending {
    server: Arc<Server>,
    instance: Arc<Instance>,
    /// Acknowledged.
    current: Option<(Exchange, Filter)>,
    wait: Duration,
    /// There was a time without a listen.
    is_lost: bool,
    /// The server knows no such thing.
    is_unknown: bool,
}

impl Tending {
    /// Brings the listen in line with the wishes. Whether something may have been missed.
    async fn renew(&mut self) -> bool {
        let (wanted, changes) = self.instance.feed.wishes();
        let filter = Filter::of(&self.instance, wanted);
        if filter.is_empty() {
            self.current = None;
        } else if self.current.as_ref().is_none_or(|(_, current)| *current != filter) {
            match open_listen(&self.instance, &filter) {
                Ok(listen) if !self.is_unknown => self.settle(listen, filter).await,
                _ => self.refuse(&filter),
            }
        }
        self.instance.feed.settle(changes);
        self.current.is_some() && std::mem::take(&mut self.is_lost)
    }

    /// Waits for the acknowledgement; the listen before it is closed then.
    async fn settle(&mut self, mut listen: Exchange, filter: Filter) {
        let call = self.server.deadline().call;
        let first = tokio::select! {
            biased;
            first = timeout(call, listen.next()) => first,
            () = self.instance.link.signs().closed() => return,
        };
        if let Ok(Event::Note(message)) = &first {
            let honoured = honoured(message);
            let is_refused = |uri: &&String| honoured.as_ref().is_some_and(|honoured| !honoured.contains(*uri));
            filter.uris.iter().filter(is_refused).for_each(|uri| self.instance.feed.refuse(uri));
            self.current = Some((listen, filter));
            self.wait = limits::BACKOFF_MIN;
            return;
        }
        self.is_unknown = matches!(&first, Ok(Event::Answer(answer)) if answer.kind() == Kind::Error);
        self.is_lost = true;
        if self.is_unknown {
            self.instance.feed.lock().is_deaf = true;
            self.server.age.set(Some(limits::LIST_AGE_MIN));
        }
        tracing::warn!(server = %self.server.settings.id, is_unknown = self.is_unknown, "subscriptions/listen is not acknowledged");
        self.refuse(&filter);
    }

    /// Those that the listen before it does not have.
    fn refuse(&self, filter: &Filter) {
        let before = self.current.as_ref().map(|(_, filter)| &filter.uris);
        let is_new = |uri: &&String| before.is_none_or(|before| !before.contains(*uri));
        filter.uris.iter().filter(is_new).for_each(|uri| self.instance.feed.refuse(uri));
    }

    /// Something is wanted, and trying again may help.
    fn is_missing(&self) -> bool {
        let (wanted, _) = self.instance.feed.wishes();
        self.current.is_none() && !self.is_unknown && !Filter::of(&self.instance, wanted).is_empty()
    }

    fn longer(&mut self) -> Duration {
        let wait = self.wait;
        self.wait = (wait * 2).min(limits::BACKOFF_MAX);
        wait
    }
}

/// What a listen asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Filter {
    tools: bool,
    prompts: bool,
    resources: bool,
    uris: BTreeSet<String>,
}

impl Filter {
    /// Every list that the server declared to tell of, and these resources.
    fn of(instance: &Instance, uris: BTreeSet<String>) -> Self {
        let declared = instance.greeting.declared;
        Self { tools: declared.tools_change, prompts: declared.prompts_change, resources: declared.resources_change, uris }
    }

    fn is_empty(&self) -> bool {
        !(self.tools || self.prompts || self.resources) && self.uris.is_empty()
    }

    fn params(&self) -> String {
        let lists = [("toolsListChanged", self.tools), ("promptsListChanged", self.prompts), ("resourcesListChanged", self.resources)];
        let mut members: Vec<_> =
            lists.into_iter().filter(|(_, is_wanted)| *is_wanted).map(|(key, _)| format!(r#""{key}":true"#)).collect();
        if !self.uris.is_empty() {
            let uris: Vec<_> = self.uris.iter().map(|uri| quoted(uri)).collect();
            members.push(format!(r#""resourceSubscriptions":[{}]"#, uris.join(",")));
        }
        format!(r#"{{"notifications":{{{}}}}}"#, members.join(","))
    }
}

fn open_listen(instance: &Instance, filter: &Filter) -> Result<Exchange, UpstreamError> {
    let (version, params) = (instance.version(), filter.params());
    let opened = instance.link.open(LISTEN, ENDLESS, |wire| outgoing::own(wire, "subscriptions/listen", &params, version))?;
    Ok(Exchange::new(opened, None))
}

/// The resources that an acknowledgement names. `None`: it cannot be read, and everything counts as agreed.
fn honoured(message: &Message) -> Option<BTreeSet<String>> {
    #[derive(Deserialize)]
    struct Params {
        notifications: Honoured,
    }
    #[derive(Deserialize)]
    struct Honoured {
        #[serde(default, rename = "resourceSubscriptions")]
        uris: BTreeSet<String>,
    }
    let params: Params = serde_json::from_slice(message.token(message.scan().params?)).ok()?;
    Some(params.notifications.uris)
}
