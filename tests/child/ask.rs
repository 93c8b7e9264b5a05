//! Tools that ask the client something. To a handshake client they ask by requests of their own, to a stateless one by
//! `input_required`, whose retry they answer.
//!
//! The answer of each is the client's reply (or replies, as a list) as JSON text; an error of the client's is shown as its object.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Server, await_file, error, result};

/// Every tool here.
pub(crate) const TOOLS: [&str; 10] =
    ["ask_form", "ask_url", "ask_sampling", "ask_roots", "ask_two", "ask_again", "ask_withdrawn", "ask_held", "ask_given_up", "need_url"];

/// What a tool asks, in order; all of one inner list at once.
fn questions(tool: &str, arguments: &Value) -> Vec<Vec<Value>> {
    let text = |name: &str, default: &str| arguments[name].as_str().unwrap_or(default).to_owned();
    let form = |message: String| {
        let schema = json!({"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]});
        let mut form = json!({"method": "elicitation/create", "params": {"message": message, "requestedSchema": schema}});
        if let Some(token) = arguments.get("token") {
            form["params"]["_meta"] = json!({"progressToken": token});
        }
        form
    };
    match tool {
        "ask_url" => {
            let params = json!({"mode": "url", "message": text("message", "please look"), "url": text("url", "https://example.org/")});
            vec![vec![json!({"method": "elicitation/create", "params": params})]]
        }
        "ask_sampling" => {
            let message = json!({"role": "user", "content": {"type": "text", "text": text("prompt", "say something")}});
            vec![vec![json!({"method": "sampling/createMessage", "params": {"messages": [message], "maxTokens": 64}})]]
        }
        "ask_roots" => {
            let roots = json!({"method": "roots/list"});
            vec![arguments["message"].as_str().map_or_else(|| vec![roots.clone()], |message| vec![roots.clone(), form(message.into())])]
        }
        "ask_two" => vec![vec![form("first?".into()), form("second?".into())]],
        "ask_again" => vec![vec![form("first?".into())], vec![form("second?".into())]],
        _ => vec![vec![form(text("message", "your name?"))]],
    }
}

/// What a stateless client must have declared, as `data.requiredCapabilities` says it.
fn required(tool: &str) -> Value {
    match tool {
        "ask_url" => json!({"elicitation": {"url": {}}}),
        "ask_sampling" => json!({"sampling": {}}),
        "ask_roots" => json!({"roots": {}}),
        _ => json!({"elicitation": {"form": {}}}),
    }
}

/// Whether `by-profile` lists it to a client that declared this.
pub(crate) fn is_for(tool: &str, declared: &Value) -> bool {
    match tool {
        "ask_url" | "need_url" => declared["elicitation"]["url"].is_object(),
        "ask_sampling" => declared["sampling"].is_object(),
        "ask_roots" => declared["roots"].is_object(),
        // `{}` means forms.
        _ => {
            declared["elicitation"]["form"].is_object() || (declared["elicitation"].is_object() && declared["elicitation"]["url"].is_null())
        }
    }
}

impl Server {
    /// On a thread of its own. Answers `id` when all was answered.
    pub(crate) fn ask_in_turn(self: &Arc<Self>, tool: &str, id: &str, arguments: &Value, meta: &Value, out: &mut Vec<u8>) {
        if tool == "ask_withdrawn" {
            let asked = self.send_question(&questions(tool, arguments)[0][0]);
            let params = json!({"requestId": asked, "reason": "never mind"});
            self.write(format!("{}\n", json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})).as_bytes());
            return self.answer_call(id, "withdrawn", out);
        }
        if tool == "ask_given_up" {
            self.send_question(&questions(tool, arguments)[0][0]);
            await_file(arguments);
            self.progress(meta, 1, 2);
            return self.answer_call(id, "given up", out);
        }
        let mut replies = Vec::new();
        for together in questions(tool, arguments) {
            let mut asked = Vec::new();
            for question in &together {
                asked.push(self.send_question(question));
            }
            for asked in asked {
                replies.push(self.reply_to(asked));
            }
        }
        if tool == "ask_held" {
            self.progress(meta, 1, 2);
            await_file(arguments);
        }
        self.answer_call(id, &said(replies), out);
    }

    /// Under 2026-07-28. `params` are those of the call.
    pub(crate) fn ask_by_result(&self, tool: &str, id: &str, params: &Value, out: &mut Vec<u8>) {
        let declared = &params["_meta"]["io.modelcontextprotocol/clientCapabilities"];
        if !is_for(tool, declared) {
            let data = json!({"requiredCapabilities": required(tool)});
            return error(out, id, -32021, "Missing required client capability", data);
        }
        let rounds = questions(tool, &params["arguments"]);
        let state: Value = params["requestState"].as_str().and_then(|state| serde_json::from_str(state).ok()).unwrap_or_default();
        let round = state["round"].as_u64().unwrap_or(0) as usize;
        let mut replies = state["replies"].as_array().cloned().unwrap_or_default();
        let answers = &params["inputResponses"];
        let key = |n: usize| format!("key{n}");
        // The first time nothing was asked yet; a missing key is asked for again.
        let is_answered = round > 0 && (0..rounds[round - 1].len()).all(|n| !answers[key(n)].is_null());
        let round = if round == 0 || is_answered { round } else { round - 1 };
        if is_answered {
            replies.extend((0..rounds[round - 1].len()).map(|n| answers[key(n)].clone()));
        }
        for step in params["arguments"]["progress"][round].as_array().into_iter().flatten() {
            self.progress(&params["_meta"], step.as_u64().unwrap_or_default(), 10);
        }
        let Some(next) = rounds.get(round) else { return self.answer_call(id, &said(replies), out) };
        let asked: serde_json::Map<_, _> = next.iter().enumerate().map(|(n, question)| (key(n), question.clone())).collect();
        let state = json!({"round": round + 1, "replies": replies}).to_string();
        result(out, id, &json!({"resultType": "input_required", "inputRequests": asked, "requestState": state}));
    }

    /// Under 2026-07-28: says so often only to come back, by the state alone.
    pub(crate) fn come_back(&self, id: &str, params: &Value, out: &mut Vec<u8>) {
        let round: u64 = params["requestState"].as_str().and_then(|state| state.parse().ok()).unwrap_or(0);
        if self.is_stateless() && round < params["arguments"]["times"].as_u64().unwrap_or(2) {
            return result(out, id, &json!({"resultType": "input_required", "requestState": (round + 1).to_string()}));
        }
        self.answer_call(id, &format!("came {round} times"), out);
    }

    /// Fails with `-32042` until it was called once before.
    pub(crate) fn need_url(&self, id: &str, out: &mut Vec<u8>) {
        if self.is_stateless() || self.counted("need_url") > 1 {
            return self.answer_call(id, "was looked at", out);
        }
        let entry = json!({"mode": "url", "elicitationId": "e1", "url": "https://example.org/", "message": "please look"});
        error(out, id, -32042, "This needs a look at a page", json!({"elicitations": [entry]}));
    }
}

/// One reply as it is, several as a list.
fn said(mut replies: Vec<Value>) -> String {
    match replies.len() {
        1 => replies.remove(0).to_string(),
        _ => Value::from(replies).to_string(),
    }
}
