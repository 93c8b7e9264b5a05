//! The mode `tasks`: calls that go on after their answer, in the way of either era.
//!
//! `task_required {progress, file, later, ask, fail}`, `task_optional {…}`: a task that says so much of progress first, waits for that file, says
//! more of progress and its status (`later`: how much), asks for a form (`ask: true`: says so by its
//! status until it is answered) and ends with the text `worked`, or with the answer as JSON; with `fail: "tool"`, `"rpc"` or `"stale"` it fails.

use std::{
    collections::BTreeMap,
    sync::{Arc, Condvar, Mutex},
    thread,
};

use serde_json::{Value, json};

use super::{Script, Server, await_file, error, result};

const EXTENSION: &str = "io.modelcontextprotocol/tasks";
const RELATED: &str = "io.modelcontextprotocol/related-task";

/// The tools, and what each says of tasks.
pub(crate) const TOOLS: [(&str, &str); 2] = [("task_required", "required"), ("task_optional", "optional")];

#[derive(Default)]
pub(crate) struct Tasks {
    all: Mutex<BTreeMap<String, Task>>,
    changed: Condvar,
}

struct Task {
    status: &'static str,
    looks: u64,
    /// The form's answer.
    reply: Option<Value>,
    is_asked: bool,
    outcome: Option<Result<Value, Value>>,
}

impl Task {
    fn is_over(&self) -> bool {
        matches!(self.status, "completed" | "failed" | "cancelled")
    }
}

fn form() -> Value {
    let schema = json!({"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]});
    json!({"method": "elicitation/create", "params": {"message": "your name?", "requestedSchema": schema}})
}

/// What is declared of tasks, under 2025-11-25 and under 2026-07-28.
pub(crate) fn declare(script: &Script, capabilities: &mut Value) {
    if script.is("tasks") {
        capabilities["tasks"] = json!({"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}});
        capabilities["extensions"] = json!({EXTENSION: {}});
    }
}

impl Server {
    /// `tools/call` of one of these tools. `false`: it is to be answered as any other.
    pub(crate) fn start_task(self: &Arc<Self>, tool: &str, id: &str, params: &Value, out: &mut Vec<u8>) -> bool {
        let is_wanted = if self.is_stateless() {
            params["_meta"]["io.modelcontextprotocol/clientCapabilities"]["extensions"][EXTENSION].is_object()
        } else {
            params["task"].is_object()
        };
        if !is_wanted {
            if tool == "task_required" && self.is_stateless() {
                let data = json!({"requiredCapabilities": {"extensions": {EXTENSION: {}}}});
                error(out, id, -32021, "Missing required client capability", data);
                return true;
            }
            if tool == "task_required" {
                error(out, id, -32601, "This tool is only for tasks", Value::Null);
                return true;
            }
            return false;
        }
        let task = {
            let mut all = self.tasks.all.lock().unwrap();
            let task = format!("task-{}", all.len() + 1);
            all.insert(task.clone(), Task { status: "working", looks: 0, reply: None, is_asked: false, outcome: None });
            task
        };
        let mut created = self.describe_task(&task, json!({}));
        if self.is_stateless() {
            created["resultType"] = "task".into();
        } else {
            created = json!({"task": created});
        }
        if let Some(step) = params["arguments"]["progress"].as_u64() {
            self.progress(&params["_meta"], step, 100);
        }
        result(out, id, &created);
        let (server, params) = (Arc::clone(self), params.clone());
        thread::spawn(move || server.run_task(&task, &params["arguments"], &params["_meta"]));
        true
    }

    fn run_task(&self, task: &str, arguments: &Value, meta: &Value) {
        if arguments["file"].is_string() {
            await_file(arguments);
        }
        if let Some(step) = arguments["later"].as_u64() {
            self.progress(meta, step, 100);
            let status = json!({"jsonrpc": "2.0", "method": "notifications/tasks/status", "params": self.describe_task(task, json!({}))});
            self.write(format!("{status}\n").as_bytes());
        }
        let mut said = "worked".to_owned();
        if arguments["ask"] == true {
            self.change_task(task, |task| task.status = "input_required");
            let waiting = |all: &mut BTreeMap<String, Task>| all[task].reply.is_none() && !all[task].is_over();
            let all = self.tasks.changed.wait_while(self.tasks.all.lock().unwrap(), waiting).unwrap();
            said = all[task].reply.clone().unwrap_or_default().to_string();
        }
        let result = json!({"content": [{"type": "text", "text": said}], "isError": arguments["fail"] == "tool"});
        let (status, outcome) = match (arguments["fail"].as_str(), self.is_stateless()) {
            (Some("stale"), _) => ("failed", Err(json!({"code": -32020, "message": "of its own"}))),
            (Some("rpc"), _) => ("failed", Err(json!({"code": -32000, "message": "broke, as asked"}))),
            (Some(_), false) => ("failed", Ok(result)),
            _ => ("completed", Ok(result)),
        };
        self.change_task(task, |task| {
            if !task.is_over() {
                task.status = status;
                task.outcome = Some(outcome);
            }
        });
    }

    fn change_task(&self, task: &str, change: impl FnOnce(&mut Task)) {
        change(self.tasks.all.lock().unwrap().get_mut(task).expect("a task"));
        self.tasks.changed.notify_all();
    }

    /// `tasks/…`. `false`: no such method here.
    pub(crate) fn task_request(self: &Arc<Self>, method: &str, id: &str, params: &Value, out: &mut Vec<u8>) -> bool {
        if !self.script.is("tasks") {
            return false;
        }
        self.count(method);
        let name = params["taskId"].as_str().unwrap_or_default().to_owned();
        let over = self.tasks.all.lock().unwrap().get(&name).map(Task::is_over);
        let Some(is_over) = over else {
            error(out, id, -32602, "No such task", Value::Null);
            return true;
        };
        let more = if self.is_stateless() { json!({"resultType": "complete"}) } else { json!({}) };
        match (method, self.is_stateless()) {
            ("tasks/get", _) => {
                self.change_task(&name, |task| task.looks += 1);
                result(out, id, &self.describe_task(&name, more));
            }
            ("tasks/cancel", false) if is_over => error(out, id, -32602, "It has ended", Value::Null),
            ("tasks/cancel", is_stateless) => {
                self.change_task(&name, |task| {
                    if !task.is_over() {
                        task.status = "cancelled";
                        task.outcome = Some(Err(json!({"code": -32000, "message": "cancelled"})));
                    }
                });
                result(out, id, &if is_stateless { more } else { self.describe_task(&name, more) });
            }
            ("tasks/update", true) => {
                self.change_task(&name, |task| {
                    if let Some(reply) = params["inputResponses"].get("name") {
                        task.reply = Some(reply.clone());
                        task.status = "working";
                    }
                });
                result(out, id, &more);
            }
            ("tasks/result", false) => {
                let (server, id) = (Arc::clone(self), id.to_owned());
                thread::spawn(move || server.task_result(&name, &id));
            }
            _ => return false,
        }
        true
    }

    /// Blocks until the task has ended; meanwhile asks what it has to ask.
    fn task_result(self: &Arc<Self>, task: &str, id: &str) {
        loop {
            let waiting =
                |all: &mut BTreeMap<String, Task>| !all[task].is_over() && (all[task].status != "input_required" || all[task].is_asked);
            let mut all = self.tasks.changed.wait_while(self.tasks.all.lock().unwrap(), waiting).unwrap();
            let state = all.get_mut(task).expect("a task");
            if let Some(outcome) = &state.outcome {
                let mut out = Vec::new();
                match outcome {
                    Ok(said) => {
                        let mut said = said.clone();
                        said["_meta"] = json!({RELATED: {"taskId": task}});
                        result(&mut out, id, &said);
                    }
                    Err(error) => out = format!("{}\n", json!({"jsonrpc": "2.0", "id": id.parse::<u64>().unwrap(), "error": error})).into(),
                }
                drop(all);
                return self.write(&out);
            }
            state.is_asked = true;
            drop(all);
            let mut question = form();
            question["params"]["_meta"] = json!({RELATED: {"taskId": task}});
            let reply = self.reply_to(self.send_question(&question));
            self.change_task(task, |task| {
                task.reply = Some(reply);
                if !task.is_over() {
                    task.status = "working";
                }
            });
        }
    }

    fn describe_task(&self, name: &str, mut described: Value) -> Value {
        let all = self.tasks.all.lock().unwrap();
        let task = &all[name];
        let (ttl, poll) = if self.is_stateless() { ("ttlMs", "pollIntervalMs") } else { ("ttl", "pollInterval") };
        described["taskId"] = name.into();
        described["status"] = task.status.into();
        described["statusMessage"] = format!("look {}", task.looks).into();
        described["createdAt"] = "2025-11-25T10:30:00Z".into();
        described["lastUpdatedAt"] = "2025-11-25T10:30:00Z".into();
        described[ttl] = 60_000.into();
        described[poll] = 100.into();
        if self.is_stateless() {
            match &task.outcome {
                Some(Ok(result)) => described["result"] = result.clone(),
                Some(Err(error)) if task.status == "failed" => described["error"] = error.clone(),
                _ => {}
            }
            if task.status == "input_required" {
                described["inputRequests"] = json!({"name": form()});
            }
        }
        described
    }
}
