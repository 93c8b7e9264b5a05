//! A client of the handshake era, on a pipe or over HTTP.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use futures_util::FutureExt;
use serde_json::{Value, json};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::Client;
use crate::{
    hub::{
        Crossing, Mail, Outcome, Session, Step,
        session::{EventId, Resumed},
    },
    protocol::{Body, Version, sse},
    sim::{plan::Plan, server::Part},
};

/// One session, from `initialize` to its end.
pub(in crate::sim) struct Talk {
    pub(super) client: Arc<Client>,
    session: Arc<Session>,
    is_pipe: bool,
    /// Questions that it got, by their ids.
    asked: Mutex<BTreeMap<String, String>>,
    /// URIs that it ever subscribed to.
    subscribed: Mutex<BTreeSet<String>>,
}

pub(in crate::sim) async fn live(client: Arc<Client>) {
    let is_pipe = client.roll(|dice| dice.percent(40));
    let Some(talk) = Talk::open(&client, is_pipe) else { return };
    let mut calls = JoinSet::new();
    client.errands.lock().unwrap().spawn(Arc::clone(&talk).read_mail());
    for _ in 0..client.steps {
        let wait = client.roll(|dice| dice.lag(client.pace));
        wait.pass().await;
        talk.step(&mut calls);
    }
    // Calls of a pipe end with it; over HTTP each goes on without its client.
    let is_hasty = client.roll(|dice| dice.percent(30));
    if !(is_hasty && is_pipe) {
        while calls.join_next().await.is_some() {}
    }
    client.record.line(&client.name, "leaves");
    calls.shutdown().await;
    if !is_pipe && client.roll(|dice| dice.percent(60)) {
        let was_there = client.hub.sessions.end(talk.session.id().as_str(), &client.principal);
        if was_there && client.hub.sessions.end(talk.session.id().as_str(), &client.principal) {
            client.record.wrong("a session was ended twice");
        }
    }
    client.errands.lock().unwrap().abort_all();
}

/// One call to each server, of somebody who asks for nothing else.
pub(in crate::sim) async fn visit(client: Arc<Client>) {
    let Some(talk) = Talk::open(&client, true) else { return };
    for part in client.parts.clone() {
        let plan = client.plan(&part);
        Arc::clone(&talk).call(part, plan).await;
    }
}

impl Talk {
    fn open(client: &Arc<Client>, is_pipe: bool) -> Option<Arc<Self>> {
        let pipe = is_pipe.then(|| client.hub.sessions.pipe(Arc::clone(&client.principal), Arc::clone(&client.endpoint)));
        let params = json!({
            "protocolVersion": client.version.as_str(),
            "capabilities": client.capabilities,
            "clientInfo": {"name": client.name, "version": "1"},
        });
        let request = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
        let Outcome::Now(answer) = client.say(&request, pipe.as_ref()) else {
            client.record.wrong("initialize is not answered at once");
            return None;
        };
        let value = client.read(&answer, &json!(0));
        let session = match (pipe, &answer.session) {
            (Some(pipe), _) => pipe,
            (None, Some(id)) => client.hub.sessions.get(id.as_str(), &client.principal)?,
            (None, None) => {
                // The hub takes no sessions any more.
                if !client.is_disturbed.load(Ordering::Relaxed) {
                    client.record.wrong(format!("{}: no session: {value}", client.name));
                }
                return None;
            }
        };
        client.say(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}), Some(&session));
        client.record.count("sessions");
        Some(Arc::new(Self { client: Arc::clone(client), session, is_pipe, asked: Mutex::default(), subscribed: Mutex::default() }))
    }

    fn has_ended(&self) -> bool {
        self.session.ended().now_or_never().is_some()
    }

    fn step(self: &Arc<Self>, calls: &mut JoinSet<()>) {
        let client = &self.client;
        let what = client.roll(|dice| dice.below(100));
        match what {
            0..60 => {
                let part = client.pick();
                let plan = client.plan(&part);
                calls.spawn(Arc::clone(self).call(part, plan));
            }
            60..70 => {
                let list = *client.roll(|dice| dice.pick(&["tools/list", "prompts/list", "resources/list", "resources/list"]));
                calls.spawn(Arc::clone(self).ask(list, json!({})));
            }
            70..75 => drop(calls.spawn(Arc::clone(self).ask("ping", json!({})))),
            75..80 => {
                let level = *client.roll(|dice| dice.pick(&["debug", "info", "emergency"]));
                calls.spawn(Arc::clone(self).ask("logging/setLevel", json!({"level": level})));
            }
            _ => {
                let method = *client
                    .roll(|dice| dice.pick(&["resources/subscribe", "resources/subscribe", "resources/read", "resources/unsubscribe"]));
                match client.some_uri() {
                    Some(uri) => {
                        if method == "resources/subscribe" {
                            self.subscribed.lock().unwrap().insert(uri.clone());
                        }
                        calls.spawn(Arc::clone(self).ask(method, json!({"uri": uri})));
                    }
                    None => drop(calls.spawn(Arc::clone(self).ask("resources/list", json!({})))),
                }
            }
        }
    }

    /// A request whose answer is only looked at.
    async fn ask(self: Arc<Self>, method: &'static str, params: Value) {
        if let Some(answer) = self.request(method, params, None).await
            && method == "resources/list"
        {
            self.client.remember(&answer);
        }
    }

    pub(super) async fn request(self: &Arc<Self>, method: &'static str, params: Value, token: Option<&str>) -> Option<Value> {
        let id = json!(self.client.next_number());
        let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        match self.client.say(&request, Some(&self.session)) {
            Outcome::Now(answer) => Some(self.client.read(&answer, &id)),
            Outcome::Later(crossing) => self.follow(crossing, &id, token).await,
            Outcome::Silent => {
                self.client.record.wrong(format!("{method} is never answered"));
                None
            }
        }
    }

    async fn call(self: Arc<Self>, part: Arc<Part>, plan: Plan) {
        let client = &self.client;
        let id = json!(client.next_number());
        let (method, mut params) = client.call_of(&part, &plan);
        if plan.progress > 0 {
            params["_meta"] = json!({"progressToken": plan.token});
        }
        // Only at a server's own address may a client ask for one.
        let may_task = part.makes_tasks && client.version == Version::V2025_11_25 && client.endpoint.server.is_some();
        if may_task && method == "tools/call" && client.roll(|dice| dice.percent(50)) {
            params["task"] = json!({"ttl": 60_000});
        }
        let cancels_after = client.roll(|dice| (!client.is_last && dice.percent(12)).then(|| dice.millis(0, 6_000)));
        if cancels_after.is_some() {
            client.record.give_up(&plan.token);
        }
        let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let answer = match client.say(&request, Some(&self.session)) {
            Outcome::Now(answer) => Some(client.read(&answer, &id)),
            Outcome::Later(crossing) => {
                // Over HTTP the door sees the call through, whoever still listens.
                let followed = client.doors.spawn({
                    let (talk, id, token) = (Arc::clone(&self), id.clone(), plan.token.clone());
                    async move { talk.follow(crossing, &id, Some(&token)).await }
                });
                let _abort = self.is_pipe.then(|| AbortOnDrop(followed.abort_handle()));
                if let Some(after) = cancels_after {
                    let mut followed = followed;
                    let early = timeout(after, &mut followed).await;
                    if early.is_err() {
                        client.say(
                            &json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}}),
                            Some(&self.session),
                        );
                        client.record.count("calls cancelled");
                        if timeout(Duration::from_secs(60), followed).await.is_err() {
                            client.record.wrong(format!("{}: {} goes on though it was cancelled", client.name, plan.token));
                        }
                        return;
                    }
                    early.ok().and_then(Result::ok).flatten()
                } else {
                    followed.await.ok().flatten()
                }
            }
            Outcome::Silent => {
                client.record.wrong("a call is never answered");
                None
            }
        };
        if let Some(answer) = answer {
            if answer["result"]["task"].is_object() {
                return self.follow_task(&part, &plan, &answer["result"]["task"]["taskId"]).await;
            }
            let is_strict = plan.asks.is_empty() || client.is_obliging;
            client.check(&answer, &plan, &part, is_strict);
        }
    }

    /// To the answer; `None` when it was cancelled.
    async fn follow(self: &Arc<Self>, mut crossing: Crossing, id: &Value, token: Option<&str>) -> Option<Value> {
        let recorder = if self.is_pipe { None } else { self.session.recorder() };
        let (frames, reader) = mpsc::unbounded_channel();
        let reading = recorder.is_some().then(|| self.client.doors.spawn(Arc::clone(self).read_stream(reader, token.map(str::to_owned))));
        let mut answer = None;
        loop {
            let lag = self.client.roll(|dice| dice.lag(30));
            lag.pass().await;
            match self.client.next(&mut crossing).await {
                Some(Step::Notice(body)) => match &recorder {
                    Some(recorder) => _ = frames.send(recorder.record(body)),
                    None => self.heard(&body, token),
                },
                Some(Step::Answer(last)) => {
                    if let Some(recorder) = &recorder {
                        let _ = frames.send(recorder.record(last.body.clone()));
                    }
                    answer = Some(self.client.read(&last, id));
                    break;
                }
                Some(Step::Cancelled) => {
                    if !token.is_some_and(|token| self.client.record.is_given_up(token)) {
                        self.client.record.wrong(format!("{}: {id} was cancelled by nobody", self.client.name));
                    }
                    break;
                }
                None => break,
            }
        }
        drop((frames, recorder));
        if let Some(reading) = reading
            && answer.is_some()
            && !self.has_ended()
            && reading.await.is_ok_and(|answers| answers != 1)
        {
            self.client.record.wrong(format!("{}: the stream of {id} has not one answer", self.client.name));
        }
        answer
    }

    /// The stream of a request, which the client may lose and take up again. Returns how many answers it had.
    async fn read_stream(self: Arc<Self>, mut frames: mpsc::UnboundedReceiver<Body>, token: Option<String>) -> u32 {
        let mut last = None;
        let mut answers = 0;
        let mut is_cut = false;
        while let Some(frame) = frames.recv().await {
            let Some(message) = self.frame(&frame, &mut last) else { continue };
            answers += u32::from(self.heard_or_answer(&message, token.as_deref()));
            if self.client.roll(|dice| dice.percent(15)) {
                is_cut = true;
                break;
            }
        }
        drop(frames);
        while is_cut && answers == 0 {
            is_cut = false;
            let wait = self.client.roll(|dice| dice.millis(0, 3_000));
            sleep(wait).await;
            let resumed = last.and_then(|last| self.session.resume(last));
            let Some(Resumed::Request(mut replay)) = resumed else { return 1 };
            self.client.record.count("streams taken up again");
            while let Some(frame) = replay.next().await {
                let Some(message) = self.frame(&frame, &mut last) else { continue };
                answers += u32::from(self.heard_or_answer(&message, token.as_deref()));
                if answers == 0 && self.client.roll(|dice| dice.percent(15)) {
                    is_cut = true;
                    break;
                }
            }
        }
        answers
    }

    /// The message of an event; each follows the one before it.
    fn frame(&self, frame: &Body, last: &mut Option<EventId>) -> Option<Body> {
        let mut events = Vec::new();
        sse::Reader::new(1 << 20).push(&frame.to_bytes(), &mut events).ok()?;
        let event = events.pop()?;
        if let Some(id) = event.id.as_deref().and_then(EventId::parse) {
            let number = |id: &EventId| id.to_string().split('-').nth(1).and_then(|number| number.parse::<u64>().ok()).unwrap_or_default();
            if let Some(before) = last.as_ref().filter(|before| number(before) + 1 != number(&id)) {
                self.client.record.wrong(format!("{}: event {id} follows {before}", self.client.name));
            }
            *last = Some(id);
        }
        (!event.data.is_empty()).then(|| Body::one(event.data.into()))
    }

    fn heard_or_answer(self: &Arc<Self>, body: &Body, token: Option<&str>) -> bool {
        let bytes = body.to_bytes();
        let is_answer = serde_json::from_slice::<Value>(&bytes).is_ok_and(|message| message.get("method").is_none());
        if !is_answer {
            self.heard(body, token);
        }
        is_answer
    }

    /// Whatever is no answer.
    fn heard(self: &Arc<Self>, body: &Body, token: Option<&str>) {
        let message = self.client.hear(body);
        match (message["method"].as_str(), message.get("id")) {
            (Some(method), Some(id)) => self.asked(method, id, &message["params"]),
            (Some("notifications/cancelled"), None) => {
                let params = &message["params"];
                let asked = self.asked.lock().unwrap().get(&params["requestId"].to_string()).cloned();
                match asked {
                    Some(text) if params["reason"] == "the server withdrew it" => {
                        self.client.record.heard_withdrawn(&text, &self.client.name);
                    }
                    _ => {}
                }
            }
            (Some("notifications/resources/updated"), None) => {
                let uri = message["params"]["uri"].as_str().unwrap_or_default();
                if !self.subscribed.lock().unwrap().contains(uri) {
                    self.client.record.wrong(format!("{} hears of {uri}, and never asked to", self.client.name));
                }
                self.client.check_note(&message, token);
            }
            _ => self.client.check_note(&message, token),
        }
    }

    fn asked(self: &Arc<Self>, method: &str, id: &Value, params: &Value) {
        let client = &self.client;
        client.record.count("questions heard");
        let text = Client::question(method, params);
        if self.asked.lock().unwrap().insert(id.to_string(), text.clone().unwrap_or_default()).is_some() {
            return client.record.wrong(format!("{} was asked {id} twice", client.name));
        }
        if let Some(text) = &text {
            client.record.heard_question(text, &client.name, None);
        }
        let (wait, how) = client.roll(|dice| match client.is_obliging {
            true => (dice.millis(0, 2_000), 0),
            false => (dice.millis(0, 60_000), dice.below(6)),
        });
        let good = json!({"jsonrpc": "2.0", "id": id, "result": client.reply(method, &text.unwrap_or_default())});
        let answers = match how {
            0..3 => vec![good],
            3 => vec![json!({"jsonrpc": "2.0", "id": id, "error": {"code": -1, "message": "declined"}})],
            4 => vec![good.clone(), good],
            _ => vec![],
        };
        let talk = Arc::clone(self);
        client.errands.lock().unwrap().spawn(async move {
            sleep(wait).await;
            for answer in answers {
                talk.client.say(&answer, Some(&talk.session));
            }
        });
    }

    /// The stream of what was not asked for, which comes and goes.
    async fn read_mail(self: Arc<Self>) {
        let mut last = None;
        loop {
            let lag = self.client.roll(|dice| dice.lag(3_000));
            lag.pass().await;
            let Some(mut mail) = self.mail(&mut last) else { return };
            let reads = self.client.roll(|dice| dice.between(1, 12));
            for _ in 0..reads {
                let patience = self.client.roll(|dice| dice.millis(100, 20_000));
                let next = async { if self.is_pipe { mail.next().await } else { mail.next_event().await } };
                match timeout(patience, next).await {
                    // A pipe's is read to its end.
                    Err(_) if self.is_pipe => {}
                    Err(_) => break,
                    Ok(None) => return,
                    Ok(Some(body)) if self.is_pipe => self.heard(&body, None),
                    Ok(Some(frame)) => {
                        if let Some(message) = self.frame(&frame, &mut last) {
                            self.heard(&message, None);
                        }
                    }
                }
            }
        }
    }

    fn mail(self: &Arc<Self>, last: &mut Option<EventId>) -> Option<Mail> {
        if self.is_pipe {
            return self.session.take_mail();
        }
        match last.filter(|_| self.client.roll(|dice| dice.percent(70))) {
            Some(from) => match self.session.resume(from)? {
                Resumed::Unasked(missed, mail) => {
                    for frame in missed {
                        if let Some(message) = self.frame(&frame, last) {
                            self.heard(&message, None);
                        }
                    }
                    Some(mail)
                }
                Resumed::Request(_) => {
                    self.client.record.wrong("stream 0 is that of a request");
                    None
                }
            },
            None => {
                *last = None;
                self.session.take_mail()
            }
        }
    }
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
