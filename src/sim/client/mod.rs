//! Clients of both eras, as the doors drive them: what they ask, what they are told, and when they lose their nerve.

pub(super) mod session;
pub(super) mod stateless;
pub(super) mod task;

use std::{
    ops::Deref,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::timeout};
use tokio_util::task::TaskTracker;

use super::{
    dice::Dice,
    plan::{End, Plan},
    record::Record,
    server::{
        Part,
        task::{NO_TASK, TTL},
    },
};
use crate::{
    access::Principal,
    bridge::park::UNKNOWN_STATE,
    hub::{Answer, Crossing, Endpoint, Hub, Inbound, Outcome, Session, Step},
    protocol::{Body, Era, Message, Version, capability},
};

/// No call takes so long: neither its server, nor its client's user, nor the queue before it.
const AGES: Duration = Duration::from_secs(2 * 3600);

/// What every client has.
pub(super) struct Client {
    made: Made,
    pub(super) capabilities: Value,
    /// Answers every question, soon and as it should.
    pub(super) is_obliging: bool,
    pub(super) steps: u64,
    last: AtomicU64,
    uris: Mutex<Vec<String>>,
    /// What it does besides its calls; ends with it.
    pub(super) errands: Mutex<JoinSet<()>>,
}

/// What a client is made of.
pub(super) struct Made {
    pub(super) hub: Arc<Hub>,
    pub(super) record: Arc<Record>,
    pub(super) principal: Arc<Principal>,
    /// Somebody else of the tenant.
    pub(super) stranger: Arc<Principal>,
    pub(super) endpoint: Arc<Endpoint>,
    /// `PRINCIPAL.NAME`; of those without session it ends with `~`.
    pub(super) name: String,
    pub(super) version: Version,
    /// What it can call.
    pub(super) parts: Vec<Arc<Part>>,
    /// Somebody stops the hub, or its servers, while the clients are at work.
    pub(super) is_disturbed: Arc<AtomicBool>,
    /// What goes on at the doors when a client has left.
    pub(super) doors: TaskTracker,
    /// Most milliseconds between two of its steps.
    pub(super) pace: u64,
    /// It comes when all is calm, and nothing excuses a failure.
    pub(super) is_last: bool,
    /// Where there are any.
    pub(super) knows_tasks: bool,
    pub(super) dice: Mutex<Dice>,
}

impl Deref for Client {
    type Target = Made;

    fn deref(&self) -> &Made {
        &self.made
    }
}

impl Client {
    pub(super) fn new(mut made: Made) -> Arc<Self> {
        let version = made.version;
        let dice = made.dice.get_mut().unwrap();
        let mut capabilities = json!({});
        let elicitation = if version < Version::V2025_11_25 { json!({}) } else { json!({"form": {}, "url": {}}) };
        for (ability, value) in [("elicitation", elicitation), ("sampling", json!({})), ("roots", json!({}))] {
            let is_known = ability != "elicitation" || version >= Version::V2025_06_18;
            if dice.percent(60) && is_known {
                capabilities[ability] = value;
            }
        }
        if made.knows_tasks && version.era() == Era::Stateless {
            capabilities["extensions"] = json!({capability::TASKS: {}});
        }
        let is_obliging = made.is_last || dice.percent(60);
        let steps = dice.between(3, 14);
        let (last, uris, errands) = (AtomicU64::new(0), Mutex::default(), Mutex::default());
        Arc::new(Self { made, capabilities, is_obliging, steps, last, uris, errands })
    }

    fn roll<T>(&self, roll: impl FnOnce(&mut Dice) -> T) -> T {
        roll(&mut self.dice.lock().unwrap())
    }

    fn next_number(&self) -> u64 {
        self.last.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The part that is called next.
    fn pick(&self) -> Arc<Part> {
        Arc::clone(self.roll(|dice| dice.pick(&self.parts)))
    }

    fn plan(&self, part: &Part) -> Plan {
        let token = format!("{}.{}", self.name, self.next_number());
        if self.is_last {
            return Plan::plain(token);
        }
        self.roll(|dice| Plan::roll(dice, token, part.is_wild))
    }

    /// Method and params of a call that carries this plan.
    fn call_of(&self, part: &Part, plan: &Plan) -> (&'static str, Value) {
        let name = |own: &str| match self.endpoint.server {
            Some(_) => own.to_owned(),
            None => format!("{}.{own}", part.id.name),
        };
        // Some names are no tool's any more, or not yet; that is its own step.
        if part.is_rich && self.roll(|dice| dice.percent(15)) {
            ("prompts/get", json!({"name": name("prompt0"), "arguments": {"plan": serde_json::to_string(plan).unwrap()}}))
        } else {
            ("tools/call", json!({"name": name(&format!("tool{}", self.roll(|dice| dice.below(3)))), "arguments": {"plan": plan}}))
        }
    }

    fn say(&self, message: &Value, session: Option<&Arc<Session>>) -> Outcome {
        self.say_as(&self.principal, message, session)
    }

    fn say_as(&self, principal: &Arc<Principal>, message: &Value, session: Option<&Arc<Session>>) -> Outcome {
        let text = message.to_string();
        self.record.line(&self.name, &format!("> {text}"));
        let message = Message::parse(text.into()).unwrap();
        self.hub.dispatch(Inbound::new(Arc::clone(principal), Arc::clone(&self.endpoint), message, self.version, session.cloned()))
    }

    /// What the hub said, as JSON, in the trace.
    fn hear(&self, body: &Body) -> Value {
        let bytes = body.to_bytes();
        let text = String::from_utf8_lossy(&bytes);
        self.record.line(&self.name, &format!("< {text}"));
        serde_json::from_slice(&bytes).unwrap_or_else(|error| {
            self.record.wrong(format!("{} got what is no JSON: {error}: {text}", self.name));
            Value::Null
        })
    }

    /// The next step; a call that never ends is wrong.
    async fn next(&self, crossing: &mut Crossing) -> Option<Step> {
        let step = timeout(AGES, crossing.next()).await;
        match &step {
            Err(_) => self.record.wrong(format!("{} waits for the answer to {:?} for ever", self.name, crossing.id())),
            Ok(Step::Answer(_) | Step::Cancelled) => {
                if crossing.next().now_or_never().is_some() {
                    self.record.wrong(format!("{}: something follows the answer to {:?}", self.name, crossing.id()));
                }
            }
            Ok(Step::Notice(_)) => {}
        }
        step.ok()
    }

    /// The answer to the request with this id.
    fn read(&self, answer: &Answer, id: &Value) -> Value {
        let value = self.hear(&answer.body);
        if value["id"] != *id {
            self.record.wrong(format!("{} got the answer to {} for {id}", self.name, value["id"]));
        }
        if value["result"].is_object() == value["error"].is_object() {
            self.record.wrong(format!("{}: neither result nor error, or both: {value}", self.name));
        }
        value
    }

    /// What a call came to: its own result, or an error that may be.
    fn check(&self, answer: &Value, plan: &Plan, part: &Part, is_strict: bool) {
        let text = [&answer["result"]["content"][0]["text"], &answer["result"]["messages"][0]["content"]["text"]]
            .into_iter()
            .find_map(Value::as_str)
            .filter(|text| text.starts_with("R:"));
        match text {
            Some(text) => {
                let own = format!("R:{}:{}:", plan.token, part.id);
                if !text.starts_with(&own) {
                    self.record.wrong(format!("{} called {} of {} and got {text}", self.name, plan.token, part.id));
                }
                self.record.count("calls answered");
            }
            None => {
                self.record.count("calls failed");
                let reason = answer["error"]["data"]["reason"].as_str();
                // There are only so many processes, and others take their time.
                let is_crowded = reason == Some("busy");
                // Whoever is slow to come back may find that a parked call has made way for another.
                let is_forgotten =
                    !self.is_obliging && answer["error"]["message"].as_str().is_some_and(|why| why.starts_with(UNKNOWN_STATE));
                // A server keeps its tasks for so long and no longer.
                let is_expired = answer["error"]["message"] == NO_TASK && self.record.age() >= TTL;
                let is_excused = !self.is_last
                    && (is_expired
                        || part.is_wild
                        || plan.end != End::Answer
                        || is_crowded
                        || is_forgotten
                        || self.is_disturbed.load(Ordering::Relaxed));
                if is_strict && !is_excused {
                    self.record.wrong(format!("{}: {} of {} failed without a cause: {answer}", self.name, plan.token, part.id));
                }
            }
        }
    }

    /// Progress and records of a log: of this very call, or of this client's.
    fn check_note(&self, note: &Value, token: Option<&str>) {
        let params = &note["params"];
        match note["method"].as_str().unwrap_or_default() {
            "notifications/progress" => {
                let message = params["message"].as_str().unwrap_or_default();
                let own = token.map(|token| format!("P:{token}"));
                // Of the hub's own there is none here but for tasks.
                if own.as_deref() != Some(message) {
                    self.record.wrong(format!("{}: the progress of {message} in {token:?}", self.name));
                }
                if Some(params["progressToken"].as_str().unwrap_or_default()) != token {
                    self.record.wrong(format!("{}: progress under another token in {token:?}: {note}", self.name));
                }
                self.record.count("progress");
            }
            "notifications/message" => {
                self.record.heard_log(params["data"].as_str().unwrap_or_default(), &self.name);
                self.record.count("logs");
            }
            "notifications/resources/updated" => self.record.count("resources updated"),
            "notifications/tools/list_changed" | "notifications/prompts/list_changed" | "notifications/resources/list_changed" => {
                self.record.count("lists changed");
            }
            "notifications/elicitation/complete" | "notifications/cancelled" | "notifications/subscriptions/acknowledged" => {}
            method => self.record.wrong(format!("{}: nobody said {method}", self.name)),
        }
    }

    /// What is asked, as text to be found again.
    fn question(method: &str, params: &Value) -> Option<String> {
        match method {
            "elicitation/create" => params["message"].as_str().map(str::to_owned),
            "sampling/createMessage" => {
                let content = &params["messages"][0]["content"];
                let content = if content.is_array() { &content[0] } else { content };
                content["text"].as_str().map(str::to_owned)
            }
            _ => None,
        }
    }

    /// A good answer.
    fn reply(&self, method: &str, text: &str) -> Value {
        let said = format!("A:{}:{text}", self.name);
        match method {
            "elicitation/create" => json!({"action": "accept", "content": {"text": said}}),
            "sampling/createMessage" => json!({"role": "assistant", "model": "m", "content": {"type": "text", "text": said}}),
            _ => json!({"roots": [{"uri": "file:///r", "name": said}]}),
        }
    }

    fn remember(&self, listed: &Value) {
        let uris = listed["result"]["resources"].as_array().into_iter().flatten().filter_map(|resource| resource["uri"].as_str());
        let uris: Vec<_> = uris.map(str::to_owned).collect();
        if !uris.is_empty() {
            *self.uris.lock().unwrap() = uris;
        }
    }

    fn some_uri(&self) -> Option<String> {
        let uris = self.uris.lock().unwrap();
        (!uris.is_empty()).then(|| self.roll(|dice| dice.pick(&uris)).clone())
    }
}
