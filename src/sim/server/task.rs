//! Tasks of either design: made of calls, carried out besides, looked at, asked for input, cancelled, and forgotten after a while.

use std::{sync::Arc, time::Duration};

use serde_json::{Map, Value, json};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{Part, Process, tool};
use crate::{
    protocol::{Era, Version, capability},
    sim::plan::{Ask, End, Plan},
};

/// Said of those that are forgotten, and of those that never were.
pub(in crate::sim) const NO_TASK: &str = "no such task";
/// Of a task, from its beginning on.
pub(in crate::sim) const TTL: Duration = Duration::from_secs(240);

pub(super) struct Task {
    plan: Plan,
    status: &'static str,
    outcome: Option<Result<Value, Value>>,
    cancel: CancellationToken,
    /// What a stateless client is to answer.
    inputs: Map<String, Value>,
    /// Of the handshake era: who waits for the result, and can be asked meanwhile.
    readers: u64,
    changed: watch::Sender<u64>,
}

impl Task {
    fn change(&mut self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// What has ended stays as it is.
    fn end(&mut self, status: &'static str, outcome: Result<Value, Value>) {
        if self.outcome.is_none() {
            (self.status, self.outcome) = (status, Some(outcome));
            self.change();
        }
    }
}

/// One reader of a result.
struct Reading<'a>(&'a Process, &'a str);

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.with_task(self.1, |task| task.readers -= 1);
    }
}

/// What this tool says of tasks.
pub(super) fn support(part: &Part, number: u64) -> Option<&'static str> {
    if !part.makes_tasks || part.version != Version::V2025_11_25 {
        return None;
    }
    [None, Some("optional"), Some("required")].into_iter().nth(usize::try_from(number).unwrap()).flatten()
}

/// What is declared.
pub(super) fn declare(part: &Part, capabilities: &mut Value) {
    if part.makes_tasks {
        match part.version.era() {
            Era::Handshake => capabilities["tasks"] = json!({"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}),
            Era::Stateless => capabilities["extensions"] = json!({capability::TASKS: {}}),
        }
    }
}

impl Process {
    fn with_task<T>(&self, id: &str, look: impl FnOnce(&mut Task) -> T) -> Option<T> {
        self.state().tasks.get_mut(id).map(look)
    }

    /// Whether a call is to become one.
    pub(super) fn makes_task(&self, method: &str, params: &Value) -> bool {
        if !self.part.makes_tasks || method != "tools/call" {
            return false;
        }
        match self.part.version.era() {
            Era::Handshake => params["task"].is_object(),
            Era::Stateless => {
                let declared = &params["_meta"]["io.modelcontextprotocol/clientCapabilities"]["extensions"];
                declared[capability::TASKS].is_object() && params["requestState"].is_null() && self.roll(|dice| dice.percent(60))
            }
        }
    }

    /// Answers the call `id`; what the task is to do follows in `carry_out`.
    pub(super) fn begin_task(&self, id: &Value, mut plan: Plan, params: &Value) {
        if self.part.version.era() == Era::Stateless {
            plan.asks.retain(|ask| ask.is_declared(&params["_meta"]["io.modelcontextprotocol/clientCapabilities"]));
        }
        let name = format!("task-{}-{}", self.number, plan.token);
        let task = Task {
            plan,
            status: "working",
            outcome: None,
            cancel: CancellationToken::new(),
            inputs: Map::new(),
            readers: 0,
            changed: watch::Sender::new(0),
        };
        let mut state = self.state();
        // A stateless client may ask for the same thing twice.
        let name = if state.tasks.contains_key(&name) { format!("{name}-{id}") } else { name };
        state.tasks.insert(name.clone(), task);
        state.begun.insert(id.to_string(), name.clone());
        drop(state);
        self.record.count("tasks made");
        let described = self.describe_task(&name);
        match self.part.version.era() {
            Era::Handshake => self.answer(id, json!({"task": described})),
            Era::Stateless => {
                let mut described = described;
                described["resultType"] = "task".into();
                self.answer(id, described);
            }
        }
    }

    /// The task that the call with this id has become, to its end and until it is forgotten.
    pub(super) async fn carry_out(self: &Arc<Self>, id: &Value) {
        let Some(name) = self.state().begun.remove(&id.to_string()) else { return };
        let Some((plan, cancel)) = self.with_task(&name, |task| (task.plan.clone(), task.cancel.clone())) else { return };
        let until = Instant::now() + TTL;
        tokio::select! {
            biased;
            () = cancel.cancelled(), if !self.part.ignores_cancel => {}
            () = sleep_until(until) => {}
            () = self.work_on(&name, &plan) => {}
        }
        sleep_until(until).await;
        self.with_task(&name, |task| task.end("failed", Err(json!({"code": -32000, "message": "forgotten"}))));
        self.state().tasks.remove(&name);
    }

    async fn work_on(self: &Arc<Self>, name: &str, plan: &Plan) {
        let lag = self.lag();
        lag.pass().await;
        self.record.began(&plan.token, self.number, self.part.share);
        self.work(plan, &Value::Null).await;
        match self.part.version.era() {
            Era::Handshake if plan.asks.is_empty() => {}
            Era::Handshake => {
                self.set_status(name, "input_required");
                // It can only be asked while somebody waits for the result; some ask nevertheless.
                if !self.is_wild() || self.roll(|dice| dice.percent(90)) {
                    self.until(name, |task| task.readers > 0).await;
                }
                self.ask_all(plan).await;
                self.set_status(name, "working");
            }
            Era::Stateless => self.ask_by_state(name, plan).await,
        }
        sleep(Duration::from_millis(plan.then_ms)).await;
        let text = format!("R:{}:{}:{}", plan.token, self.part.id, self.number);
        let result = json!({"content": [{"type": "text", "text": format!("{text}:")}]});
        match plan.end {
            End::Answer | End::Page | End::Twice | End::Nonsense => {}
            End::Error => {
                self.with_task(name, |task| task.end("failed", Err(json!({"code": -32000, "message": text}))));
                return;
            }
            End::Never => std::future::pending().await,
            End::Late => sleep(tool::LATE).await,
            End::Crash => {
                self.record.count("crashes");
                self.crash.cancel();
                std::future::pending().await
            }
        }
        self.record.finished(&plan.token);
        self.with_task(name, |task| task.end("completed", Ok(result)));
    }

    fn set_status(&self, name: &str, status: &'static str) {
        self.with_task(name, |task| {
            if task.outcome.is_none() {
                task.status = status;
                task.change();
            }
        });
    }

    /// Until the task is so, or forgotten.
    async fn until(&self, name: &str, is_so: impl Fn(&Task) -> bool) {
        let Some(mut changed) = self.with_task(name, |task| task.changed.subscribe()) else { return };
        while self.with_task(name, |task| is_so(task)) == Some(false) && changed.changed().await.is_ok() {}
    }

    async fn ask_by_state(self: &Arc<Self>, name: &str, plan: &Plan) {
        let asks: Vec<(usize, Ask)> = plan.asks.iter().copied().enumerate().collect();
        for round in asks.chunks(if plan.together { asks.len().max(1) } else { 1 }) {
            let inputs = round.iter().map(|(n, ask)| (format!("k{n}"), ask.question(&format!("Q:{}:{n}:{}", plan.token, self.number))));
            self.with_task(name, |task| task.inputs.extend(inputs));
            self.set_status(name, "input_required");
            self.record.count("tasks that ask");
            // One who does not answer is waited for, but not for ever.
            let _ = timeout(Duration::from_secs(100), self.until(name, |task| task.inputs.is_empty())).await;
            self.with_task(name, |task| task.inputs.clear());
            self.set_status(name, "working");
        }
    }

    /// `tasks/…`. Ends early when it is cancelled: a result that nobody waits for any more.
    pub(super) async fn task_request(&self, method: &str, id: &Value, params: &Value) {
        let is_stateless = self.part.version.era() == Era::Stateless;
        let name = params["taskId"].as_str().unwrap_or_default();
        let Some(is_over) = self.with_task(name, |task| task.outcome.is_some()) else {
            return self.refuse(id, -32602, NO_TASK);
        };
        match method {
            "tasks/get" => self.answer(id, self.describe_task(name)),
            "tasks/cancel" if is_over && !is_stateless => self.refuse(id, -32602, "it has ended"),
            "tasks/cancel" => {
                self.with_task(name, |task| {
                    task.end("cancelled", Err(json!({"code": -32000, "message": "cancelled"})));
                    task.cancel.cancel();
                });
                self.record.count("tasks cancelled at the server");
                self.answer(id, if is_stateless { json!({}) } else { self.describe_task(name) });
            }
            "tasks/update" => {
                let token = self.with_task(name, |task| task.plan.token.clone()).unwrap_or_default();
                for (key, response) in params["inputResponses"].as_object().into_iter().flatten() {
                    self.check_answer(response, &token);
                    self.with_task(name, |task| task.inputs.remove(key));
                }
                self.with_task(name, Task::change);
                self.answer(id, json!({}));
            }
            "tasks/result" => {
                self.with_task(name, |task| {
                    task.readers += 1;
                    task.change();
                });
                // What it asks comes by this.
                let token = self.with_task(name, |task| task.plan.token.clone()).unwrap_or_default();
                self.state().on_call.insert(token, id.to_string());
                let reading = Reading(self, name);
                self.until(name, |task| task.outcome.is_some()).await;
                let outcome = self.with_task(name, |task| task.outcome.clone()).flatten();
                drop(reading);
                match outcome {
                    Some(Ok(mut result)) => {
                        result["_meta"] = json!({"io.modelcontextprotocol/related-task": {"taskId": name}});
                        self.answer(id, result);
                    }
                    Some(Err(error)) => self.say(&json!({"jsonrpc": "2.0", "id": id, "error": error})),
                    None => self.refuse(id, -32602, NO_TASK),
                }
            }
            _ => self.refuse(id, -32601, "Method not found"),
        }
    }

    fn describe_task(&self, name: &str) -> Value {
        let is_stateless = self.part.version.era() == Era::Stateless;
        let (ttl, poll) = if is_stateless { ("ttlMs", "pollIntervalMs") } else { ("ttl", "pollInterval") };
        let described = self.with_task(name, |task| {
            let at = "2025-11-25T10:30:00Z";
            let mut described = json!({
                "taskId": name, "status": task.status, "statusMessage": format!("P:{}", task.plan.token), "createdAt": at, "lastUpdatedAt": at,
                ttl: u64::try_from(TTL.as_millis()).unwrap(), poll: 1_000,
            });
            match &task.outcome {
                Some(Ok(result)) if is_stateless => described["result"] = result.clone(),
                Some(Err(error)) if is_stateless && task.status == "failed" => described["error"] = error.clone(),
                _ => {}
            }
            if is_stateless && task.status == "input_required" {
                described["inputRequests"] = task.inputs.clone().into();
            }
            described
        });
        described.unwrap_or_default()
    }
}
