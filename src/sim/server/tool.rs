//! Calls, carried out as their arguments say.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::{sync::oneshot, time::sleep};

use super::{Part, Process, task};
use crate::{
    protocol::Era,
    sim::plan::{Ask, End, Plan, client_of},
};

/// Of each server.
pub(super) const RESOURCES: u64 = 3;
/// Longer than any call may take.
pub(super) const LATE: Duration = Duration::from_secs(200);

pub(super) fn resource(part: &Part, number: u64) -> String {
    format!("mem://{}/r{number}", part.id.name)
}

pub(super) fn describe(part: &Part, number: u64) -> Value {
    let mut tool = json!({"name": format!("tool{number}"), "inputSchema": {"type": "object"}});
    if let Some(support) = task::support(part, number) {
        tool["execution"] = json!({"taskSupport": support});
    }
    tool
}

impl Process {
    pub(super) async fn call(self: &Arc<Self>, method: &str, id: &Value, params: &Value) {
        let arguments = &params["arguments"];
        let plan = match arguments["plan"].as_str() {
            Some(text) => serde_json::from_str(text),
            None => serde_json::from_value::<Plan>(arguments["plan"].clone()),
        };
        let Ok(plan) = plan else {
            self.record.wrong(format!("{} was called with other arguments than the client's: {params}", self.wire));
            return self.refuse(id, -32602, "Invalid params");
        };
        self.state().on_call.insert(plan.token.clone(), id.to_string());
        if self.makes_task(method, params) {
            return self.begin_task(id, plan, params);
        }
        let is_stateless = self.state().era == Some(Era::Stateless);
        if plan.end == End::Page && !is_stateless && self.record.refuses(&plan.token) {
            let entry = json!({"mode": "url", "elicitationId": format!("e-{}", plan.token), "url": "https://example.org/", "message": "please look"});
            let error = json!({"code": -32042, "message": "a page first", "data": {"elicitations": [entry]}});
            self.say(&json!({"jsonrpc": "2.0", "id": id, "error": error}));
            if self.roll(|dice| dice.percent(50)) {
                let wait = self.roll(|dice| dice.millis(0, 20_000));
                sleep(wait).await;
                self.note("notifications/elicitation/complete", json!({"elicitationId": format!("e-{}", plan.token)}));
            }
            return;
        }
        if is_stateless && self.asks_by_result(id, &plan, params) {
            return;
        }
        self.record.began(&plan.token, self.number, self.part.share);
        self.work(&plan, &params["_meta"]).await;
        if !is_stateless {
            self.ask_all(&plan).await;
        }
        sleep(Duration::from_millis(plan.then_ms)).await;
        self.end(method, id, &plan).await;
    }

    pub(super) async fn work(&self, plan: &Plan, meta: &Value) {
        let steps = plan.progress + plan.logs + 1;
        for step in 0..steps {
            sleep(Duration::from_millis(plan.delay_ms / steps)).await;
            if step < plan.progress && !meta["progressToken"].is_null() {
                let params = json!({"progressToken": meta["progressToken"], "progress": step + 1, "message": format!("P:{}", plan.token)});
                self.note("notifications/progress", params);
            } else if step >= plan.progress && step + 1 < steps {
                self.log(plan, meta);
            }
        }
    }

    fn log(&self, plan: &Plan, meta: &Value) {
        let may = match self.state().era {
            _ if !self.part.is_rich => false,
            Some(Era::Stateless) => meta["io.modelcontextprotocol/logLevel"].is_string(),
            _ => true,
        };
        if may {
            self.note("notifications/message", json!({"level": "error", "data": format!("L:{}", plan.token)}));
        }
    }

    async fn end(&self, method: &str, id: &Value, plan: &Plan) {
        let text = format!("R:{}:{}:{}", plan.token, self.part.id, self.number);
        let content = json!({"type": "text", "text": format!("{text}:{}", "x".repeat(plan.bytes))});
        let result = match method {
            "prompts/get" => json!({"messages": [{"role": "user", "content": content}]}),
            _ => json!({"content": [content]}),
        };
        self.record.finished(&plan.token);
        match plan.end {
            End::Answer | End::Page => self.answer(id, result),
            End::Error => self.refuse(id, -32000, &text),
            End::Never => std::future::pending().await,
            End::Late => {
                sleep(LATE).await;
                self.answer(id, result);
            }
            End::Twice => {
                self.answer(id, result.clone());
                let lag = self.lag();
                lag.pass().await;
                self.answer(id, result);
            }
            End::Crash => {
                self.record.count("crashes");
                self.crash.cancel();
                std::future::pending().await
            }
            End::Nonsense => self.say(&json!({"jsonrpc": "2.0", "id": id, "result": "no object"})),
        }
    }

    /// `true`: the answer was a question. The state is the server's own: which round it was, and whose.
    fn asks_by_result(&self, id: &Value, plan: &Plan, params: &Value) -> bool {
        let declared = &params["_meta"]["io.modelcontextprotocol/clientCapabilities"];
        let asks: Vec<_> = plan.asks.iter().filter(|ask| ask.is_declared(declared)).collect();
        let state = params["requestState"].as_str();
        let round = match state {
            None => 0,
            Some(state) => match state.strip_prefix(&format!("S:{}:", plan.token)).and_then(|round| round.parse::<usize>().ok()) {
                Some(round) => round,
                None => {
                    self.record.wrong(format!("{} got a state that is not of {}: {state}", self.wire, plan.token));
                    return false;
                }
            },
        };
        let rounds: Vec<&[&Ask]> = if plan.together { asks.chunks(asks.len().max(1)).collect() } else { asks.chunks(1).collect() };
        if round > 0 && !params["inputResponses"].is_null() {
            for (_, response) in params["inputResponses"].as_object().into_iter().flatten() {
                self.check_answer(response, &plan.token);
            }
        }
        let Some(next) = rounds.get(round) else { return false };
        let question = |(n, ask): (usize, &&Ask)| (format!("k{n}"), ask.question(&format!("Q:{}:{round}{n}:{}", plan.token, self.number)));
        let requests: serde_json::Map<_, _> = next.iter().enumerate().map(question).collect();
        let state = format!("S:{}:{}", plan.token, round + 1);
        self.answer(id, json!({"resultType": "input_required", "inputRequests": requests, "requestState": state}));
        true
    }

    pub(super) async fn ask_all(self: &Arc<Self>, plan: &Plan) {
        let declared = self.state().declared.clone();
        let asks: Vec<_> = plan.asks.iter().filter(|ask| self.is_wild() || ask.is_declared(&declared)).copied().collect();
        let mut open = Vec::new();
        for ask in asks {
            open.push(self.ask(ask, &plan.token));
            if plan.together && self.roll(|dice| dice.percent(80)) {
                continue;
            }
            self.hear_out(&mut open, &plan.token).await;
        }
        self.hear_out(&mut open, &plan.token).await;
    }

    async fn hear_out(&self, open: &mut Vec<Open>, token: &str) {
        for Open { id, answered } in open.drain(..) {
            if self.is_wild() && self.roll(|dice| dice.percent(15)) {
                let lag = self.roll(|dice| dice.lag(2_000));
                lag.pass().await;
                // Withdrawn; or given up without a word.
                if self.roll(|dice| dice.percent(70)) {
                    self.withdraw(id);
                }
                continue;
            }
            if let Ok(answer) = answered.await {
                self.check_answer(&answer["result"], token);
            }
        }
    }

    fn withdraw(&self, id: u64) {
        self.state().withdrawn.insert(id);
        self.record.withdraws(id, self.number);
        self.note("notifications/cancelled", json!({"requestId": id, "reason": "never mind"}));
    }

    fn ask(&self, ask: Ask, token: &str) -> Open {
        let (told, answered) = oneshot::channel();
        let mut state = self.state();
        state.last_question += 1;
        let id = state.last_question;
        state.questions.insert(id, told);
        state.asks_for.insert(id.to_string(), token.to_owned());
        drop(state);
        let mut question = ask.question(&format!("Q:{token}:{id}:{}", self.number));
        question["jsonrpc"] = "2.0".into();
        question["id"] = id.into();
        self.say(&question);
        self.record.count("questions asked");
        Open { id, answered }
    }

    /// Outside any call.
    pub(super) async fn ask_outside(&self) {
        let ask = *self.roll(|dice| dice.pick(&[Ask::Form, Ask::Sampling, Ask::Roots]));
        if ask.is_declared(&self.state().declared.clone()) {
            let open = self.ask(ask, "-");
            let _ = open.answered.await;
        }
    }

    /// `A:CLIENT…`, of the very client that was called for.
    pub(super) fn check_answer(&self, result: &Value, token: &str) {
        let said = [&result["content"]["text"], &result["roots"][0]["name"]].into_iter().find_map(Value::as_str);
        let Some(client) = said.and_then(|said| said.strip_prefix("A:")) else { return };
        self.record.count("questions answered");
        let client = client.split(':').next().unwrap_or_default();
        if client != client_of(token) {
            self.record.wrong(format!("{} asked for {token} and was answered by {client}", self.wire));
        }
    }
}

struct Open {
    id: u64,
    answered: oneshot::Receiver<Value>,
}

impl Ask {
    pub(super) fn is_declared(self, capabilities: &Value) -> bool {
        match self {
            Self::Form => capabilities["elicitation"].is_object(),
            Self::Sampling => capabilities["sampling"].is_object(),
            Self::Roots => capabilities["roots"].is_object(),
        }
    }

    pub(super) fn question(self, text: &str) -> Value {
        match self {
            Self::Form => {
                let schema = json!({"type": "object", "properties": {"text": {"type": "string"}}});
                json!({"method": "elicitation/create", "params": {"message": text, "requestedSchema": schema}})
            }
            Self::Sampling => {
                let message = json!({"role": "user", "content": {"type": "text", "text": text}});
                json!({"method": "sampling/createMessage", "params": {"messages": [message], "maxTokens": 9}})
            }
            Self::Roots => json!({"method": "roots/list"}),
        }
    }
}
