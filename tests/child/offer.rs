//! What the mode `full` offers besides tools, and who is told of changes.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};

use super::{Script, error};

const LEVELS: [&str; 8] = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];

/// Prompts, resources and templates that came later, subscriptions, the log level.
#[derive(Default)]
pub(crate) struct Offer {
    pub(crate) grown_prompts: AtomicUsize,
    pub(crate) grown_resources: AtomicUsize,
    subscribed: Mutex<BTreeSet<String>>,
    listens: Mutex<Vec<Listen>>,
    level: Mutex<Option<String>>,
}

struct Listen {
    /// Raw token.
    id: String,
    filter: Value,
}

impl Listen {
    fn wants(&self, key: &str, uri: Option<&str>) -> bool {
        match uri {
            Some(uri) => self.filter[key].as_array().is_some_and(|uris| uris.iter().any(|wanted| wanted == uri)),
            None => self.filter[key] == true,
        }
    }
}

impl Offer {
    pub(crate) fn capabilities(script: &Script) -> Value {
        let mut capabilities = json!({"tools": {"listChanged": true}});
        if script.text("no-tools").is_some() {
            capabilities = json!({});
        }
        super::task::declare(script, &mut capabilities);
        if let Some(extension) = script.text("extension") {
            capabilities["extensions"][extension] = json!({"v": 1});
        }
        if script.is("full") {
            capabilities["prompts"] = json!({"listChanged": true});
            capabilities["resources"] = json!({"listChanged": true, "subscribe": script.text("no-subscribe").is_none()});
            capabilities["logging"] = json!({});
            if script.text("no-completion").is_none() {
                capabilities["completions"] = json!({});
            }
        }
        capabilities
    }

    /// `None`: not a method of `full`.
    pub(crate) fn request(&self, script: &Script, method: &str, params: &Value) -> Option<Value> {
        if !script.is("full") {
            return None;
        }
        let uri = || params["uri"].as_str().unwrap_or_default().to_owned();
        let grown = |count: &AtomicUsize| count.load(Ordering::SeqCst);
        Some(match method {
            "prompts/list" => {
                let count = script.number("prompts", 2) + grown(&self.grown_prompts);
                let prompt = |n| json!({"name": format!("prompt{n}"), "arguments": [{"name": "who", "required": true}]});
                page(script, "prompts", (0..count).map(prompt).collect(), params)
            }
            "prompts/get" => {
                let text = format!("{} for {}", params["name"].as_str()?, params["arguments"]["who"].as_str().unwrap_or("nobody"));
                json!({"messages": [{"role": "user", "content": {"type": "text", "text": text}}]})
            }
            "resources/list" => {
                let count = script.number("resources", 2) + grown(&self.grown_resources);
                let resource = |n| json!({"uri": format!("file:///r{n}"), "name": format!("r{n}"), "mimeType": "text/plain"});
                page(script, "resources", (0..count).map(resource).collect(), params)
            }
            "resources/templates/list" if script.text("no-templates").is_none() => {
                let template = |n| json!({"uriTemplate": format!("file:///t{n}/{{name}}"), "name": format!("t{n}")});
                page(script, "resourceTemplates", (0..script.number("templates", 1)).map(template).collect(), params)
            }
            "resources/read" => {
                json!({"contents": [{"uri": uri(), "mimeType": "text/plain", "text": format!("this is {}", uri())}]})
            }
            "resources/subscribe" if script.text("no-subscribe").is_none() => {
                self.subscribed.lock().unwrap().insert(uri());
                json!({})
            }
            "resources/unsubscribe" => {
                self.subscribed.lock().unwrap().remove(&uri());
                json!({})
            }
            "logging/setLevel" => {
                *self.level.lock().unwrap() = params["level"].as_str().map(str::to_owned);
                json!({})
            }
            "completion/complete" if script.text("no-completion").is_none() => {
                let typed = params["argument"]["value"].as_str().unwrap_or_default();
                json!({"completion": {"values": [format!("{typed}1"), format!("{typed}2")], "total": 2, "hasMore": false}})
            }
            _ => return None,
        })
    }

    /// `subscriptions/listen`: acknowledged at once, answered when it ends.
    pub(crate) fn listen(&self, script: &Script, id: &str, params: &Value, out: &mut Vec<u8>) {
        if script.text("no-listen").is_some() {
            return error(out, id, -32601, "Method not found", Value::Null);
        }
        let mut filter = params["notifications"].clone();
        if !script.is("full")
            && let Some(filter) = filter.as_object_mut()
        {
            filter.retain(|key, _| key == "toolsListChanged");
        }
        let listen = Listen { id: id.to_owned(), filter };
        note(out, "notifications/subscriptions/acknowledged", json!({"notifications": listen.filter}), Some(&listen.id));
        self.listens.lock().unwrap().push(listen);
    }

    /// The client cancelled a request, perhaps a listen.
    pub(crate) fn cancelled(&self, id: &str) {
        self.listens.lock().unwrap().retain(|listen| listen.id != id);
    }

    /// Ends every listen as a server does that restarts its feeds.
    pub(crate) fn end_listens(&self, out: &mut Vec<u8>) {
        for Listen { id, .. } in self.listens.lock().unwrap().drain(..) {
            let number: Value = serde_json::from_str(&id).expect("an id is JSON");
            note(out, "notifications/cancelled", json!({"requestId": number}), Some(&id));
            let meta = json!({"io.modelcontextprotocol/subscriptionId": number});
            super::result(out, &id, &json!({"resultType": "complete", "_meta": meta}));
        }
    }

    /// `kind`: tools, prompts or resources.
    pub(crate) fn list_changed(&self, kind: &str, is_stateless: bool, out: &mut Vec<u8>) {
        let method = format!("notifications/{kind}/list_changed");
        self.tell(&method, &json!({}), &format!("{kind}ListChanged"), None, is_stateless, out);
    }

    /// Tells those who have subscribed to it.
    pub(crate) fn touch(&self, uri: &str, is_stateless: bool, out: &mut Vec<u8>) {
        if is_stateless || self.subscribed.lock().unwrap().contains(uri) {
            self.tell("notifications/resources/updated", &json!({"uri": uri}), "resourceSubscriptions", Some(uri), is_stateless, out);
        }
    }

    fn tell(&self, method: &str, params: &Value, key: &str, uri: Option<&str>, is_stateless: bool, out: &mut Vec<u8>) {
        if !is_stateless {
            return note(out, method, params.clone(), None);
        }
        for listen in self.listens.lock().unwrap().iter().filter(|listen| listen.wants(key, uri)) {
            note(out, method, params.clone(), Some(&listen.id));
        }
    }

    /// What is subscribed to now: of the handshake era the URIs, else the filters of all listens.
    pub(crate) fn subscriptions(&self, is_stateless: bool) -> String {
        if is_stateless {
            let listens = self.listens.lock().unwrap();
            return Value::from(listens.iter().map(|listen| listen.filter.clone()).collect::<Vec<_>>()).to_string();
        }
        Value::from(self.subscribed.lock().unwrap().iter().cloned().collect::<Vec<_>>()).to_string()
    }

    pub(crate) fn level(&self) -> String {
        self.level.lock().unwrap().clone().unwrap_or_else(|| "none".into())
    }

    /// `wanted`: of this request, the only thing that counts in the stateless era.
    pub(crate) fn log(&self, arguments: &Value, wanted: Option<&str>, is_stateless: bool, out: &mut Vec<u8>) {
        let rank = |level: &str| LEVELS.iter().position(|known| *known == level).unwrap_or(0);
        let level = arguments["level"].as_str().unwrap_or("info");
        let set = self.level.lock().unwrap().clone();
        let least = if is_stateless { wanted.map(str::to_owned) } else { Some(set.unwrap_or_else(|| "debug".into())) };
        if least.is_some_and(|least| rank(level) >= rank(&least)) {
            for n in 0..arguments["count"].as_u64().unwrap_or(1) {
                let data = arguments.get("data").cloned().unwrap_or_else(|| n.into());
                note(out, "notifications/message", json!({"level": level, "logger": "scripted", "data": data}), None);
            }
        }
    }
}

/// `subscription`: raw token of the listen's id.
fn note(out: &mut Vec<u8>, method: &str, mut params: Value, subscription: Option<&str>) {
    if let Some(id) = subscription {
        let id: Value = serde_json::from_str(id).expect("an id is JSON");
        params["_meta"] = json!({"io.modelcontextprotocol/subscriptionId": id});
    }
    out.extend_from_slice(format!("{}\n", json!({"jsonrpc": "2.0", "method": method, "params": params})).as_bytes());
}

/// One of `--pages` pages; the cursors are "", "2", "3" and so on.
pub(crate) fn page(script: &Script, key: &str, all: Vec<Value>, params: &Value) -> Value {
    let pages = script.number("pages", 1).max(1);
    let page = match params["cursor"].as_str() {
        None => 0,
        Some("") => 1,
        Some(text) => text.parse().unwrap_or(0),
    };
    let size = all.len().div_ceil(pages);
    let items: Vec<_> = all.into_iter().skip(page * size).take(size).collect();
    let mut answer = json!({key: items});
    if script.text("loop-cursor").is_some() {
        answer["nextCursor"] = "again".into();
    } else if page + 1 < pages {
        answer["nextCursor"] = if page == 0 { "".into() } else { (page + 1).to_string().into() };
    }
    answer
}
