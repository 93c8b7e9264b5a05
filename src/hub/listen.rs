//! `subscriptions/listen` (MCP 2026-07-28): one request whose answer is a stream of changes, until the client or the hub ends it.

use std::{collections::HashSet, future::Future, pin::Pin, sync::Arc};

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::{
    sync::{broadcast, mpsc},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    Answer, Crossing, Hub, Inbound, Outcome, Step,
    call::refuse,
    crossing::Claim,
    session::{List, Lists},
    sleep_until, subscribe,
    task::{self, Follower},
    watch::{Ear, Watching},
};
use crate::{
    access::{Permit, Use},
    bridge::incoming,
    limits,
    observe::Event,
    protocol::{Body, Method, Refusal, RequestId, code::Code, raw},
};

/// What a client asks to hear of.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Filter {
    tools_list_changed: bool,
    prompts_list_changed: bool,
    resources_list_changed: bool,
    resource_subscriptions: Vec<String>,
    task_ids: Vec<String>,
}

pub(super) fn listen(hub: &Arc<Hub>, inbound: Inbound) -> Outcome {
    let filter = match filter(&inbound) {
        Ok(filter) => honest(hub, &inbound, filter),
        Err(refusal) => return refuse(&inbound, refusal),
    };
    let limit = hub.limits.listens_per_principal;
    let Some(permit) = Permit::take(&inbound.principal, Use::Listen, limit) else {
        let refusal = Refusal::new(Code::Internal, 429, format!("{limit} streams of changes are open already; close one"))
            .with_data(format!(r#"{{"origin":"hub","reason":"quota","retryable":true,"limit":{limit}}}"#));
        return refuse(&inbound, refusal);
    };
    let claim = match Claim::take(&inbound) {
        Ok(claim) => claim,
        Err(answer) => return Outcome::Now(answer),
    };
    let mut lists = Lists::default();
    for (is_wanted, list) in [
        (filter.tools_list_changed, List::Tools),
        (filter.prompts_list_changed, List::Prompts),
        (filter.resources_list_changed, List::Resources),
    ] {
        if is_wanted {
            lists.add(list.into());
        }
    }
    let bus = hub.bus.listen();
    let (outlet, updates) = mpsc::channel(limits::LISTEN_QUEUE);
    let stop = hub.stop.clone();
    let endpoint = Arc::clone(&inbound.endpoint);
    let opening = {
        let (hub, id) = (Arc::clone(hub), inbound.id());
        Box::pin(async move {
            let mut watching = Vec::new();
            let mut honoured = Vec::new();
            let mut seen = HashSet::new();
            for uri in filter.resource_subscriptions.iter().filter(|uri| seen.insert(uri.as_str())).take(limits::WATCHED_MAX) {
                let ear = Ear::Listener(outlet.clone(), id.clone());
                match subscribe::watch(&hub, &inbound, uri, ear).await {
                    Ok(watch) => {
                        watching.push(watch);
                        honoured.push(uri.clone());
                    }
                    // Left out of what is acknowledged.
                    Err(refusal) => tracing::debug!(reason = %refusal.message, "a resource cannot be watched"),
                }
            }
            let mut followers = Vec::new();
            let mut followed = Vec::new();
            seen.clear();
            for task in filter.task_ids.iter().filter(|task| seen.insert(task.as_str())).take(limits::TASKS_FOLLOWED_MAX) {
                if let Some(follower) = task::follow(&hub, &inbound, task, &outlet) {
                    followers.push(follower);
                    followed.push(task.clone());
                }
            }
            Opened { watching, followers, acknowledged: acknowledged(&filter, &honoured, &followed, &id) }
        })
    };
    let state = State::Opening(opening);
    Crossing::listening(
        claim,
        Listening {
            state,
            lists,
            endpoint,
            bus,
            updates,
            pending: Lists::default(),
            due: None,
            stop,
            watching: Vec::new(),
            followers: Vec::new(),
            _permit: permit,
        },
    )
}

fn filter(inbound: &Inbound) -> Result<Filter, Refusal> {
    #[derive(Deserialize)]
    struct Params<'a> {
        #[serde(borrow)]
        notifications: &'a RawValue,
    }
    let message = &inbound.message;
    let params = message.scan().params.map(|span| message.token(span)).unwrap_or_default();
    let refusal = |why: &dyn std::fmt::Display| {
        Refusal::new(Code::InvalidParams, 400, format!("subscriptions/listen needs params.notifications, an object: {why}"))
    };
    let params: Params<'_> = serde_json::from_slice(params).map_err(|error| refusal(&error))?;
    let notifications = params.notifications.get();
    // An array would be read as the members in order.
    if !notifications.starts_with('{') {
        return Err(refusal(&"it is none"));
    }
    serde_json::from_str(notifications).map_err(|error| refusal(&error))
}

/// What the endpoint can tell of: a server's own endpoint tells only of lists that the server has, as far as that is known.
fn honest(hub: &Hub, inbound: &Inbound, mut filter: Filter) -> Filter {
    if inbound.endpoint.server.is_some() {
        let capabilities = hub.catalog.capabilities(inbound.endpoint.scope(), inbound.view());
        let capabilities = std::str::from_utf8(&capabilities).unwrap_or_default();
        let has = |key| raw::member(capabilities, key).is_ok_and(|member| member.is_some());
        filter.tools_list_changed &= has("tools");
        filter.prompts_list_changed &= has("prompts");
        filter.resources_list_changed &= has("resources");
    }
    filter
}

/// `notifications/subscriptions/acknowledged`: what of the filter is honoured.
fn acknowledged(filter: &Filter, uris: &[String], tasks: &[String], id: &RequestId) -> Body {
    let mut honoured = serde_json::Map::new();
    for (is_wanted, name) in [
        (filter.tools_list_changed, "toolsListChanged"),
        (filter.prompts_list_changed, "promptsListChanged"),
        (filter.resources_list_changed, "resourcesListChanged"),
    ] {
        if is_wanted {
            honoured.insert(name.into(), true.into());
        }
    }
    for (ids, name) in [(uris, "resourceSubscriptions"), (tasks, "taskIds")] {
        if !ids.is_empty() {
            honoured.insert(name.into(), ids.into());
        }
    }
    let params = serde_json::json!({"notifications": honoured}).to_string();
    incoming::own_notification(Method::SubscriptionsAcknowledged, &params, Some(id))
}

struct Opened {
    watching: Vec<Watching>,
    followers: Vec<Follower>,
    acknowledged: Body,
}

enum State {
    Opening(Pin<Box<dyn Future<Output = Opened> + Send>>),
    Open,
}

/// One open stream. Dropping it ends its subscriptions.
pub(super) struct Listening {
    state: State,
    lists: Lists,
    endpoint: Arc<super::Endpoint>,
    bus: broadcast::Receiver<Event>,
    updates: mpsc::Receiver<Body>,
    /// Changed since `due` was set; told at that time, as one.
    pending: Lists,
    due: Option<Instant>,
    stop: CancellationToken,
    watching: Vec<Watching>,
    followers: Vec<Follower>,
    _permit: Permit,
}

impl Listening {
    /// Cancel-safe. Ends with the hub.
    pub(super) async fn next(&mut self, id: &RequestId) -> Step {
        if let State::Opening(opening) = &mut self.state {
            let Opened { watching, followers, acknowledged } = opening.await;
            self.watching = watching;
            self.followers = followers;
            self.state = State::Open;
            return Step::Notice(acknowledged);
        }
        loop {
            if self.due.is_none_or(|due| due <= Instant::now())
                && let Some(list) = self.pending.take_first()
            {
                return Step::Notice(incoming::own_notification(list.method(), "{}", Some(id)));
            }
            if self.pending.is_empty() {
                self.due = None;
            }
            let due = self.due;
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Step::Answer(Answer::ok(incoming::listen_ended(id))),
                Some(update) = self.updates.recv() => return Step::Notice(update),
                event = self.bus.recv() => match event {
                    Ok(event) => self.changed(&event),
                    // Whoever lagged may have missed a change of its own.
                    Err(broadcast::error::RecvError::Lagged(_)) => self.pend(Lists::ALL),
                    Err(broadcast::error::RecvError::Closed) => return Step::Answer(Answer::ok(incoming::listen_ended(id))),
                },
                () = sleep_until(due) => {}
            }
        }
    }

    fn changed(&mut self, event: &Event) {
        if let Some(lists) = Lists::changed_at(&self.endpoint, event) {
            self.pend(lists);
        }
    }

    fn pend(&mut self, lists: Lists) {
        let lists = lists.and(self.lists);
        if !lists.is_empty() {
            self.pending.add(lists);
            self.due.get_or_insert_with(|| Instant::now() + limits::LIST_COALESCE);
        }
    }
}
