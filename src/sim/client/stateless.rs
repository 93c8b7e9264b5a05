//! A client of the stateless era: each request stands for itself, and questions come as results.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{Client, task::Followed};
use crate::{
    access::Principal,
    hub::{Crossing, Outcome, Step},
    protocol::Era,
    sim::{plan::Plan, server::Part},
};

/// How a call's next request differs from what was asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trick {
    None,
    /// Sent twice, at about the same time.
    Double,
    /// Another state, another name, other arguments: nothing that was given opens for it.
    Tampered,
    OtherArguments,
    /// Somebody else has got hold of the state.
    Stranger,
    Vanish,
    /// Without answers: asked again.
    Empty,
}

pub(in crate::sim) async fn live(client: Arc<Client>) {
    let mut calls = JoinSet::new();
    for _ in 0..client.steps {
        let wait = client.roll(|dice| dice.lag(client.pace));
        wait.pass().await;
        step(&client, &mut calls);
    }
    let is_hasty = client.roll(|dice| dice.percent(20));
    while !is_hasty && calls.join_next().await.is_some() {}
    client.record.line(&client.name, "leaves");
    calls.shutdown().await;
    client.errands.lock().unwrap().abort_all();
}

/// One call to each server, of somebody who asks for nothing else.
pub(in crate::sim) async fn visit(client: Arc<Client>) {
    for part in client.parts.clone() {
        let plan = client.plan(&part);
        call(Arc::clone(&client), part, plan).await;
    }
}

fn step(client: &Arc<Client>, calls: &mut JoinSet<()>) {
    let what = client.roll(|dice| dice.below(100));
    match what {
        0..65 => {
            let part = client.pick();
            let plan = client.plan(&part);
            calls.spawn(call(Arc::clone(client), part, plan));
        }
        65..80 => {
            let list = *client.roll(|dice| dice.pick(&["tools/list", "prompts/list", "resources/list", "server/discover"]));
            calls.spawn(ask(Arc::clone(client), list, json!({})));
        }
        80..88 => match client.some_uri() {
            Some(uri) => drop(calls.spawn(ask(Arc::clone(client), "resources/read", json!({"uri": uri})))),
            None => drop(calls.spawn(ask(Arc::clone(client), "resources/list", json!({})))),
        },
        _ => drop(calls.spawn(listen(Arc::clone(client)))),
    }
}

pub(super) fn with_envelope(client: &Client, mut params: Value) -> Value {
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = client.version.as_str().into();
    params["_meta"]["io.modelcontextprotocol/clientInfo"] = json!({"name": client.name, "version": "1"});
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = client.capabilities.clone();
    params
}

async fn ask(client: Arc<Client>, method: &'static str, params: Value) {
    let id = json!(client.next_number());
    let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": with_envelope(&client, params)});
    let answer = match client.say(&request, None) {
        Outcome::Now(answer) => client.read(&answer, &id),
        Outcome::Later(crossing) => match follow(&client, crossing, &id, None).await {
            Some(answer) => answer,
            None => return,
        },
        Outcome::Silent => return client.record.wrong(format!("{method} is never answered")),
    };
    if method == "resources/list" {
        client.remember(&answer);
    }
}

async fn follow(client: &Client, mut crossing: Crossing, id: &Value, token: Option<&str>) -> Option<Value> {
    loop {
        let lag = client.roll(|dice| dice.lag(30));
        lag.pass().await;
        match client.next(&mut crossing).await? {
            Step::Notice(body) => {
                let note = client.hear(&body);
                if note.get("id").is_some() {
                    client.record.wrong(format!("{} was sent a request: {note}", client.name));
                }
                client.check_note(&note, token);
            }
            Step::Answer(answer) => return Some(client.read(&answer, id)),
            Step::Cancelled => {
                client.record.wrong(format!("{}: {id} was cancelled by nobody", client.name));
                return None;
            }
        }
    }
}

async fn call(client: Arc<Client>, part: Arc<Part>, plan: Plan) {
    let (method, params) = client.call_of(&part, &plan);
    let mut params = with_envelope(&client, params);
    if plan.progress > 0 {
        params["_meta"]["progressToken"] = plan.token.as_str().into();
    }
    if plan.logs > 0 {
        params["_meta"]["io.modelcontextprotocol/logLevel"] = "debug".into();
    }
    if part.version.era() == Era::Stateless {
        // The server keeps the state, and whoever sends it twice is answered twice.
        client.record.repeats(&plan.token);
    }
    let mut is_strict = client.is_obliging || plan.asks.is_empty();
    // A server that has nothing more to ask has answered.
    for _ in 0..12 {
        let leaves_after = client.roll(|dice| (!client.is_last && dice.percent(6)).then(|| dice.millis(0, 6_000)));
        let Some(answer) = send(&client, method, &params, &plan, leaves_after).await else { return };
        if answer["result"]["resultType"] == "task" {
            let id = answer["result"]["taskId"].clone();
            return Followed { client: &client, part: &part, plan: &plan, id }.follow().await;
        }
        if answer["result"]["resultType"] != "input_required" {
            return client.check(&answer, &plan, &part, is_strict);
        }
        client.record.count("input required");
        let asked = answer["result"].clone();
        let Some(next) = retry(&client, &params, &asked, &plan, &mut is_strict).await else { return };
        match next {
            (Trick::Vanish, _) => return client.record.give_up(&plan.token),
            (Trick::Double, next) => {
                let other = client.doors.spawn({
                    let (client, params, plan) = (Arc::clone(&client), next.clone(), plan.clone());
                    async move { send(&client, method, &params, &plan, None).await }
                });
                let lag = client.roll(|dice| dice.lag(200));
                lag.pass().await;
                let answer = send(&client, method, &next, &plan, None).await;
                let _ = other.await;
                client.record.count("retries sent twice");
                let Some(answer) = answer else { return };
                if answer["result"]["resultType"] != "input_required" {
                    return client.check(&answer, &plan, &part, false);
                }
                // Enough of it.
                return client.record.give_up(&plan.token);
            }
            (trick @ (Trick::Tampered | Trick::OtherArguments | Trick::Stranger), tampered) => {
                client.record.count("states tampered with");
                let principal = if trick == Trick::Stranger { &client.stranger } else { &client.principal };
                let Some(answer) = send_as(&client, principal, method, &tampered, &plan, None).await else { return };
                if !answer["error"].is_object() {
                    client.record.wrong(format!("{}: a state that is not of {} was taken: {answer}", client.name, plan.token));
                }
                // The right one is still good.
                params = answered(&client, &params, &asked);
            }
            (Trick::None | Trick::Empty, next) => params = next,
        }
    }
}

/// One request. `None`: the client went away before the answer.
async fn send(client: &Arc<Client>, method: &str, params: &Value, plan: &Plan, leaves_after: Option<Duration>) -> Option<Value> {
    send_as(client, &client.principal, method, params, plan, leaves_after).await
}

pub(super) async fn send_as(
    client: &Arc<Client>,
    principal: &Arc<Principal>,
    method: &str,
    params: &Value,
    plan: &Plan,
    leaves_after: Option<Duration>,
) -> Option<Value> {
    let id = json!(format!("r{}", client.next_number()));
    let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
    match client.say_as(principal, &request, None) {
        Outcome::Now(answer) => Some(client.read(&answer, &id)),
        Outcome::Later(crossing) => {
            let following = follow(client, crossing, &id, Some(&plan.token));
            let Some(after) = leaves_after else { return following.await };
            client.record.give_up(&plan.token);
            match timeout(after, following).await {
                Ok(answer) => answer,
                Err(_) => {
                    client.record.line(&client.name, &format!("drops {id}"));
                    client.record.count("calls dropped");
                    None
                }
            }
        }
        Outcome::Silent => {
            client.record.wrong("a call is never answered");
            None
        }
    }
}

/// The next request of a call that is asked for input.
async fn retry(client: &Client, params: &Value, result: &Value, plan: &Plan, is_strict: &mut bool) -> Option<(Trick, Value)> {
    const PLAIN: Trick = Trick::None;
    const TRICKS: [Trick; 8] =
        [PLAIN, PLAIN, Trick::Double, Trick::Tampered, Trick::OtherArguments, Trick::Stranger, Trick::Vanish, Trick::Empty];
    let (wait, trick) = client.roll(|dice| match client.is_obliging {
        true => (dice.millis(0, 2_000), Trick::None),
        false => (dice.millis(0, 60_000), *dice.pick(&TRICKS)),
    });
    for (_, asked) in result["inputRequests"].as_object().into_iter().flatten() {
        client.record.count("questions heard");
        if let Some(text) = Client::question(asked["method"].as_str().unwrap_or_default(), &asked["params"]) {
            let is_page = text == "please look";
            if !is_page {
                client.record.heard_question(&text, &client.name, Some(&plan.token));
            }
        }
    }
    sleep(wait).await;
    let mut next = answered(client, params, result);
    match trick {
        Trick::None | Trick::Double => {}
        Trick::Tampered => {
            let state = next["requestState"].as_str()?;
            let at = state.len() / 2;
            let other = if state.as_bytes()[at] == b'A' { "B" } else { "A" };
            next["requestState"] = format!("{}{other}{}", &state[..at], &state[at + 1..]).into();
        }
        Trick::OtherArguments => next["arguments"] = json!({"plan": Plan { delay_ms: plan.delay_ms + 1, ..plan.clone() }}),
        Trick::Vanish | Trick::Stranger => {}
        Trick::Empty => {
            next["inputResponses"] = json!({});
            *is_strict = false;
        }
    }
    Some((trick, next))
}

/// The request with everything answered that was asked.
fn answered(client: &Client, params: &Value, result: &Value) -> Value {
    let mut next = params.clone();
    let reply = |(key, asked): (&String, &Value)| {
        let method = asked["method"].as_str().unwrap_or_default();
        let reply = match asked["params"]["mode"] == "url" {
            true => json!({"action": "accept"}),
            false => client.reply(method, &Client::question(method, &asked["params"]).unwrap_or_default()),
        };
        (key.clone(), reply)
    };
    let responses: serde_json::Map<_, _> = result["inputRequests"].as_object().into_iter().flatten().map(reply).collect();
    next["inputResponses"] = responses.into();
    if result["requestState"].is_string() {
        next["requestState"] = result["requestState"].clone();
    }
    next
}

/// A stream of changes, until the client has heard enough.
async fn listen(client: Arc<Client>) {
    let id = json!(format!("l{}", client.next_number()));
    let uris: BTreeSet<_> = (0..2).filter_map(|_| client.some_uri()).collect();
    let filter =
        json!({"toolsListChanged": true, "resourcesListChanged": client.roll(|dice| dice.percent(50)), "resourceSubscriptions": uris});
    let params = with_envelope(&client, json!({"notifications": filter}));
    let request = json!({"jsonrpc": "2.0", "id": id, "method": "subscriptions/listen", "params": params});
    let mut crossing = match client.say(&request, None) {
        Outcome::Later(crossing) => crossing,
        Outcome::Now(answer) => return drop(client.read(&answer, &id)),
        Outcome::Silent => return client.record.wrong("a listen is never answered"),
    };
    client.record.count("listens");
    let mut heard = 0;
    let patience = client.roll(|dice| dice.millis(0, 40_000));
    let listening = async {
        loop {
            match crossing.next().await {
                Step::Notice(body) => {
                    let note = client.hear(&body);
                    let is_acknowledged = note["method"] == "notifications/subscriptions/acknowledged";
                    if is_acknowledged != (heard == 0) {
                        client.record.wrong(format!("{}: the acknowledgement of {id} is not the first: {note}", client.name));
                    }
                    heard += 1;
                    if note["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"] != id {
                        client.record.wrong(format!("{}: a note of another listen than {id}: {note}", client.name));
                    }
                    if note["method"] == "notifications/resources/updated"
                        && !uris.contains(note["params"]["uri"].as_str().unwrap_or_default())
                    {
                        client.record.wrong(format!("{} hears of what it did not ask for: {note}", client.name));
                    }
                    client.check_note(&note, None);
                }
                Step::Answer(answer) => return drop(client.read(&answer, &id)),
                Step::Cancelled => return client.record.wrong(format!("{}: {id} was cancelled by nobody", client.name)),
            }
        }
    };
    let _ = timeout(patience, listening).await;
}
