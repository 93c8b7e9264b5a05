//! Calls that have become tasks, as either kind of client sees them through: looking, answering, cancelling, forgetting.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::{
    Client,
    session::Talk,
    stateless::{send_as, with_envelope},
};
use crate::{
    access::Principal,
    hub::{Outcome, Step},
    sim::{plan::Plan, server::Part},
};

/// More than any task takes that a server does not forget first.
const LOOKS: u32 = 100;

/// One task of a client without session.
pub(super) struct Followed<'a> {
    pub(super) client: &'a Arc<Client>,
    pub(super) part: &'a Part,
    pub(super) plan: &'a Plan,
    pub(super) id: Value,
}

impl Followed<'_> {
    /// Until it has ended, or its client has had enough.
    pub(super) async fn follow(self) {
        let (client, plan) = (self.client, self.plan);
        client.record.count("tasks created");
        if client.roll(|dice| dice.percent(30)) {
            client.errands.lock().unwrap().spawn(listen(Arc::clone(client), self.id.clone(), plan.token.clone()));
        }
        let mut is_strict = client.is_obliging || plan.asks.is_empty();
        for look in 0..LOOKS {
            let (wait, whim) = client.roll(|dice| (dice.millis(20, 3_000), if client.is_last { 99 } else { dice.below(100) }));
            sleep(wait * (1 + look / 4)).await;
            match whim {
                0..2 => return client.record.give_up(&plan.token),
                2..5 => {
                    client.record.give_up(&plan.token);
                    client.record.count("tasks cancelled");
                    self.ask(&client.principal, "tasks/cancel", json!({})).await;
                    is_strict = false;
                }
                5..8 => {
                    let told = self.ask(&client.stranger, "tasks/get", json!({})).await;
                    if told.is_some_and(|told| !told["error"].is_object()) {
                        client.record.wrong(format!("{} was told of the task of {}", client.stranger.id(), plan.token));
                    }
                }
                _ => {}
            }
            let Some(got) = self.ask(&client.principal, "tasks/get", json!({})).await else { return };
            let task = &got["result"];
            match task["status"].as_str() {
                Some("working") => {}
                Some("input_required") => is_strict &= self.answer(&task["inputRequests"]).await,
                Some("completed") => {
                    client.record.count("tasks ended");
                    return client.check(&json!({"result": task["result"]}), plan, self.part, is_strict);
                }
                Some("failed") => return client.check(&json!({"error": task["error"]}), plan, self.part, is_strict),
                Some("cancelled") if client.record.is_given_up(&plan.token) => return,
                _ if got["error"]["data"]["reason"] == "busy" => {}
                _ => return client.check(&got, plan, self.part, is_strict),
            }
        }
        client.record.wrong(format!("{}: the task of {} never ends", client.name, plan.token));
    }

    /// `false`: not as it should be.
    async fn answer(&self, asked: &Value) -> bool {
        let client = self.client;
        let mut responses = json!({});
        for (key, asked) in asked.as_object().into_iter().flatten() {
            client.record.count("questions heard");
            let method = asked["method"].as_str().unwrap_or_default();
            let text = Client::question(method, &asked["params"]);
            if let Some(text) = &text {
                client.record.heard_question(text, &client.name, Some(&self.plan.token));
            }
            if client.is_obliging || client.roll(|dice| dice.percent(60)) {
                responses[key] = client.reply(method, &text.unwrap_or_default());
            }
        }
        client.record.count("tasks told what they asked");
        let updated = self.ask(&client.principal, "tasks/update", json!({"inputResponses": responses})).await;
        updated.is_some_and(|updated| updated["result"].is_object())
    }

    async fn ask(&self, principal: &Arc<Principal>, method: &str, mut params: Value) -> Option<Value> {
        params["taskId"] = self.id.clone();
        send_as(self.client, principal, method, &with_envelope(self.client, params), self.plan, None).await
    }
}

/// A stream that is told of this task, and of no other.
async fn listen(client: Arc<Client>, task: Value, token: String) {
    let id = json!(format!("t{}", client.next_number()));
    let params = with_envelope(&client, json!({"notifications": {"taskIds": [task]}}));
    let request = json!({"jsonrpc": "2.0", "id": id, "method": "subscriptions/listen", "params": params});
    let mut crossing = match client.say(&request, None) {
        Outcome::Later(crossing) => crossing,
        Outcome::Now(answer) => return drop(client.read(&answer, &id)),
        Outcome::Silent => return client.record.wrong("a listen is never answered"),
    };
    let patience = client.roll(|dice| dice.millis(0, 40_000));
    let listening = async {
        loop {
            let Step::Notice(body) = crossing.next().await else { return };
            let note = client.hear(&body);
            if note["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"] != id {
                client.record.wrong(format!("{}: a note of another listen than {id}: {note}", client.name));
            }
            if note["method"] == "notifications/tasks" {
                client.record.count("tasks told of");
                let own = format!("R:{token}:");
                let text = note["params"]["result"]["content"][0]["text"].as_str();
                if note["params"]["taskId"] != task || text.is_some_and(|text| !text.starts_with(&own)) {
                    client.record.wrong(format!("{}: told of another task than that of {token}: {note}", client.name));
                }
            } else {
                client.check_note(&note, None);
            }
        }
    };
    let _ = timeout(patience, listening).await;
}

impl Talk {
    /// Its own task of 2025-11-25.
    pub(super) async fn follow_task(self: &Arc<Self>, part: &Part, plan: &Plan, id: &Value) {
        let client = &self.client;
        client.record.count("tasks relayed");
        let named = json!({"taskId": id});
        let (looks, how) = client.roll(|dice| (dice.below(4), dice.below(10)));
        for _ in 0..looks {
            let wait = client.roll(|dice| dice.lag(3_000));
            wait.pass().await;
            let Some(got) = self.request("tasks/get", named.clone(), None).await else { return };
            let is_own = got["result"]["taskId"] == *id || got["error"].is_object();
            if !is_own {
                client.record.wrong(format!("{}: another task than that of {}: {got}", client.name, plan.token));
            }
        }
        match how {
            0 => client.record.give_up(&plan.token),
            1 => {
                client.record.give_up(&plan.token);
                client.record.count("tasks cancelled");
                self.request("tasks/cancel", named, None).await;
            }
            _ => {
                let Some(answer) = self.request("tasks/result", named, None).await else { return };
                // A deadline is that of every request, and the questions of a task take their time.
                let is_strict = plan.asks.is_empty();
                client.check(&answer, plan, part, is_strict);
            }
        }
    }
}

/// How long the tasks of a world may keep it busy: the hub holds one that somebody asked for when it was held no longer.
pub(in crate::sim) const QUIET: Duration = Duration::from_secs(75 * 60);
