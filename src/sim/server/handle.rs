//! What a process hears, line by line.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{AtProbe, Doing, Process, task, tool};
use crate::protocol::{Era, Version};

pub(super) const STATELESS: &str = Version::STATELESS.as_str();

impl Process {
    /// What takes time is returned, to be done while it reads on.
    pub(super) fn hear(self: &Arc<Self>, line: &str) -> Option<Doing> {
        self.record.line(&self.wire, &format!("< {line}"));
        let Ok(message) = serde_json::from_str::<Value>(line) else {
            self.record.wrong(format!("{} was sent a line that is no JSON: {line}", self.wire));
            return None;
        };
        match (message["method"].as_str(), message.get("id")) {
            (Some(method), Some(id)) => self.request(method, id, &message["params"]),
            (Some("notifications/cancelled"), None) => {
                let id = &message["params"]["requestId"];
                let mut state = self.state();
                state.listens.retain(|(listen, _)| listen != id);
                if let Some(call) = state.calls.get(&id.to_string()) {
                    call.cancel();
                }
                None
            }
            (Some("notifications/initialized"), None) if self.part.asks_first => {
                let process = Arc::clone(self);
                Some(Box::pin(async move { process.ask_outside().await }))
            }
            (Some(_), None) => None,
            (None, _) => {
                self.answered(&message);
                None
            }
        }
    }

    fn answered(&self, message: &Value) {
        let number = message["id"].as_u64().unwrap_or_default();
        let mut state = self.state();
        let question = state.questions.remove(&number);
        let is_of_nonsense = number > state.last_question;
        drop(state);
        match question {
            Some(question) => {
                self.record.heard_answer(&number.to_string(), self.number);
                let _ = question.send(message.clone());
            }
            None if is_of_nonsense => {}
            None => self.record.wrong(format!("{} got an answer to no question: {message}", self.wire)),
        }
    }

    /// A question that has no way to anybody.
    pub(super) fn undeliverable(&self, id: &Value) {
        if let Some(question) = id.as_u64().and_then(|id| self.state().questions.remove(&id)) {
            let _ = question.send(json!({"error": {"code": -32000, "message": "nobody is connected"}}));
        }
    }

    fn request(self: &Arc<Self>, method: &str, id: &Value, params: &Value) -> Option<Doing> {
        if !self.is_greeted(method, id, params)? {
            return None;
        }
        if self.state().calls.contains_key(&id.to_string()) {
            self.record.wrong(format!("{} was sent the id {id} twice", self.wire));
        }
        let call = CancellationToken::new();
        self.state().calls.insert(id.to_string(), call.clone());
        let (process, method, id, params) = (Arc::clone(self), method.to_owned(), id.clone(), params.clone());
        Some(Box::pin(async move {
            let is_deaf = process.part.ignores_cancel && method != "subscriptions/listen";
            tokio::select! {
                biased;
                () = call.cancelled(), if !is_deaf => process.record.count("cancelled at the server"),
                () = process.serve(&method, &id, &params) => {}
            }
            process.state().calls.remove(&id.to_string());
            process.carry_out(&id).await;
        }))
    }

    /// `None`: nothing is said to it. `false`: it was refused.
    fn is_greeted(&self, method: &str, id: &Value, params: &Value) -> Option<bool> {
        let era = self.state().era;
        let of_part = self.part.version.era();
        if era.is_some() && method != "initialize" {
            return Some(true);
        }
        let is_hopeless = self.is_wild() && self.roll(|dice| dice.percent(10));
        match (method, of_part) {
            _ if is_hopeless => {
                if self.roll(|dice| dice.percent(60)) {
                    self.crash.cancel();
                }
                None
            }
            ("initialize", Era::Handshake) => {
                let mut state = self.state();
                state.era = Some(Era::Handshake);
                state.declared = params["capabilities"].clone();
                Some(true)
            }
            (_, Era::Stateless) if method != "initialize" && params["_meta"]["io.modelcontextprotocol/protocolVersion"] == STATELESS => {
                self.state().era = Some(Era::Stateless);
                Some(true)
            }
            _ => {
                match self.part.at_probe {
                    AtProbe::Refuses => self.refuse(id, -32601, "Method not found"),
                    AtProbe::Ignores => {}
                    AtProbe::Exits => self.crash.cancel(),
                }
                None
            }
        }
    }

    pub(super) fn refuse(&self, id: &Value, code: i64, text: &str) {
        self.say(&json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": text}}));
    }

    pub(super) fn answer(&self, id: &Value, mut result: Value) {
        if self.state().era == Some(Era::Stateless) {
            if result.get("resultType").is_none() {
                result["resultType"] = "complete".into();
            }
            result["_meta"] = json!({"io.modelcontextprotocol/serverInfo": {"name": self.part.id.name, "version": "1"}});
        }
        self.say(&json!({"jsonrpc": "2.0", "id": id, "result": result}));
    }

    async fn serve(self: &Arc<Self>, method: &str, id: &Value, params: &Value) {
        let lag = self.lag();
        lag.pass().await;
        let info = json!({"name": self.part.id.name, "version": "1"});
        let mut capabilities = json!({"tools": {"listChanged": true}});
        if self.part.is_rich {
            capabilities["prompts"] = json!({});
            capabilities["resources"] = json!({"subscribe": true, "listChanged": true});
            capabilities["logging"] = json!({});
        }
        task::declare(&self.part, &mut capabilities);
        match method {
            "initialize" => {
                self.answer(id, json!({"protocolVersion": self.part.version.as_str(), "capabilities": capabilities, "serverInfo": info}));
            }
            "server/discover" => self.answer(id, json!({"supportedVersions": [STATELESS], "capabilities": capabilities, "ttlMs": 60_000, "cacheScope": "public"})),
            "tools/list" => {
                let count = self.state().tools;
                let tools: Vec<_> = (0..count).map(|number| tool::describe(&self.part, number)).collect();
                self.answer(id, json!({"tools": tools, "ttlMs": 60_000, "cacheScope": "public"}));
            }
            "prompts/list" => self.answer(id, json!({"prompts": [{"name": "prompt0", "arguments": [{"name": "plan", "required": true}]}], "ttlMs": 60_000, "cacheScope": "public"})),
            "resources/list" => {
                let resources: Vec<_> = (0..tool::RESOURCES).map(|n| json!({"uri": tool::resource(&self.part, n), "name": format!("r{n}")})).collect();
                self.answer(id, json!({"resources": resources, "ttlMs": 60_000, "cacheScope": "public"}));
            }
            "resources/templates/list" => self.answer(id, json!({"resourceTemplates": [], "ttlMs": 60_000, "cacheScope": "public"})),
            "tools/call" | "prompts/get" => self.call(method, id, params).await,
            "resources/read" => {
                let uri = params["uri"].as_str().unwrap_or_default();
                self.answer(id, json!({"contents": [{"uri": uri, "text": format!("R:{uri}:{}", self.part.id)}], "ttlMs": 0, "cacheScope": "private"}));
            }
            "resources/subscribe" => {
                self.state().subscribed.insert(params["uri"].as_str().unwrap_or_default().into());
                self.answer(id, json!({}));
            }
            "resources/unsubscribe" => {
                self.state().subscribed.remove(params["uri"].as_str().unwrap_or_default());
                self.answer(id, json!({}));
            }
            "logging/setLevel" => {
                self.state().has_level = true;
                self.answer(id, json!({}));
            }
            "ping" => self.answer(id, json!({})),
            method if method.starts_with("tasks/") && self.part.makes_tasks => self.task_request(method, id, params).await,
            "subscriptions/listen" => self.listen(id, &params["notifications"]).await,
            _ => self.refuse(id, -32601, "Method not found"),
        }
    }

    /// Acknowledged; ends when it is cancelled, or when a wild server has had enough.
    async fn listen(&self, id: &Value, filter: &Value) {
        self.state().listens.push((id.clone(), filter.clone()));
        let params = json!({"notifications": filter, "_meta": {"io.modelcontextprotocol/subscriptionId": id}});
        self.note("notifications/subscriptions/acknowledged", params);
        if !self.is_wild() || self.roll(|dice| dice.percent(50)) {
            return std::future::pending().await;
        }
        let wait = self.roll(|dice| dice.millis(0, 60_000));
        tokio::time::sleep(wait).await;
        self.state().listens.retain(|(listen, _)| listen != id);
        self.answer(id, json!({}));
    }
}
