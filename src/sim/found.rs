//! What was found once, each told by itself, with processes that do as the test says.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::{sync::mpsc, time::timeout};

use super::world::learned;
use crate::{
    access::Principal,
    bridge::seal::Sealer,
    catalog::{Catalog, Names},
    config::{Pool, Scope, ServerSettings, Settings},
    hub::{Crossing, Endpoint, Hub, Inbound, Mail, Outcome, Parts, Session, Step},
    limits::{LIST_TTL_MS, Limits},
    name::{ServerId, ServerName, TenantId},
    observe::Bus,
    protocol::{Message, Version, capability::Profile},
    upstream::{
        Fleet, Lease, Sharer, actor,
        puppet::{Puppet, Taken},
    },
};

/// After the handshake a process says what the test says.
fn take(message: &Value) -> Taken {
    let result = match (message["method"].as_str(), message.get("id")) {
        (Some("tools/call"), _) | (None, _) => return Taken::Heard,
        (Some(_), None) => return Taken::Ignored,
        (Some("initialize"), _) => {
            json!({"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "1"}})
        }
        (Some("tools/list"), _) => json!({"tools": [{"name": "t", "inputSchema": {"type": "object"}}]}),
        (Some(_), Some(id)) => {
            return Taken::Answered(json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": "no"}}));
        }
    };
    Taken::Answered(json!({"jsonrpc": "2.0", "id": message["id"], "result": result}))
}

/// A hub with one server, whose processes are told apart by the order in which they start.
struct Scene {
    hub: Arc<Hub>,
    processes: mpsc::UnboundedReceiver<Puppet>,
}

impl Scene {
    fn new(pool: Pool) -> Self {
        let id = ServerId { tenant: TenantId::default_tenant(), name: ServerName::new("s").unwrap() };
        let settings = Settings::plain(vec![ServerSettings { pool, ..ServerSettings::plain(id) }]);
        let bus = Bus::default();
        let catalog = Arc::new(Catalog::new(LIST_TTL_MS, [0; 32]));
        catalog.declare(&TenantId::default_tenant(), vec![ServerName::new("s").unwrap()]);
        let learned = learned(&catalog, &bus);
        let fleet = Fleet::new(&settings, Limits::default(), bus.clone(), learned, |_| Some(Version::V2025_11_25));
        let (started, processes) = mpsc::unbounded_channel();
        fleet.play_on(Arc::new(move |_| {
            let (entrance, script) = actor::enter(1, 1 << 10);
            let _ = started.send(Puppet::new(script, take));
            Ok(entrance)
        }));
        let hub = Hub::new(Parts {
            catalog,
            fleet,
            bus,
            limits: Limits::default(),
            tenants: [TenantId::default_tenant()].into(),
            sealer: Sealer::new(&[0; 32], None),
        });
        Self { hub, processes }
    }

    /// A client that can tell its roots, and its process.
    async fn client(&mut self) -> Client {
        let endpoint = Endpoint::plain(TenantId::default_tenant(), None, Names::Dotted);
        let (endpoint, principal) = (Arc::new(endpoint), Principal::local_admin());
        let session = self.hub.sessions.pipe(Arc::clone(&principal), Arc::clone(&endpoint));
        let client = Client { hub: Arc::clone(&self.hub), mail: session.take_mail().unwrap(), session };
        let params = json!({"protocolVersion": "2025-11-25", "capabilities": {"roots": {}}, "clientInfo": {"name": "c", "version": "1"}});
        client.say(&json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}));
        client
    }

    async fn process(&mut self, client: &Client) -> (Lease, Puppet) {
        let server = self.hub.fleet.servers().remove(0);
        let session = Some(client.session.id().share());
        let lease =
            server.lease(&Sharer { principal: Arc::clone(client.session.principal().id()), session, profile: Profile::ROOTS }).await;
        (lease.unwrap(), self.processes.recv().await.unwrap())
    }
}

struct Client {
    hub: Arc<Hub>,
    session: Arc<Session>,
    mail: Mail,
}

impl Client {
    fn say(&self, message: &Value) {
        let message = Message::parse(message.to_string().into()).unwrap();
        let (principal, endpoint) = (Arc::clone(self.session.principal()), Arc::clone(self.session.endpoint()));
        let inbound = Inbound::new(principal, endpoint, message, Version::V2025_11_25, Some(Arc::clone(&self.session)));
        assert!(matches!(self.hub.dispatch(inbound), Outcome::Now(_) | Outcome::Silent));
    }

    async fn hear(&mut self) -> Value {
        let mail = timeout(Duration::from_secs(1), self.mail.next()).await.expect("something to read");
        serde_json::from_slice(&mail.unwrap().to_bytes()).unwrap()
    }
}

/// Each process counts its questions from one.
#[tokio::test(start_paused = true)]
async fn the_end_of_one_process_takes_back_no_question_of_another() {
    let mut scene = Scene::new(Pool { scope: Scope::Session, ..Pool::default() });
    let (mut ann, mut bob) = (scene.client().await, scene.client().await);
    let (ann_lease, ann_process) = scene.process(&ann).await;
    let (_bob_lease, mut bob_process) = scene.process(&bob).await;
    let question = json!({"jsonrpc": "2.0", "id": 1, "method": "roots/list"});
    ann_process.say(question.clone());
    let taken_back = ann.hear().await["id"].clone();
    bob_process.say(question);
    let asked = bob.hear().await;
    assert_eq!(asked["method"], "roots/list");
    drop((ann_process, ann_lease));
    let gone = ann.hear().await;
    assert_eq!((&gone["method"], &gone["params"]["requestId"]), (&json!("notifications/cancelled"), &taken_back));
    bob.say(&json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"roots": [{"uri": "file:///bob"}]}}));
    let answer = bob_process.hear().await;
    assert_eq!(answer["result"]["roots"][0]["uri"], "file:///bob", "{answer}");
}

/// Over HTTP a session that takes the place of one that was lost counts its questions from one again, on the same connection.
#[tokio::test(start_paused = true)]
async fn a_question_under_an_id_that_was_taken_back_can_be_taken_back_too() {
    let mut scene = Scene::new(Pool { scope: Scope::Session, ..Pool::default() });
    let mut ann = scene.client().await;
    let (_lease, process) = scene.process(&ann).await;
    let question = json!({"jsonrpc": "2.0", "id": 1, "method": "roots/list"});
    let taken_back = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
    process.say(question.clone());
    process.say(taken_back.clone());
    process.say(question);
    let asked = [ann.hear().await["id"].clone(), ann.hear().await["id"].clone()];
    assert_eq!(ann.hear().await["params"]["requestId"], asked[0]);
    process.say(taken_back);
    assert_eq!(ann.hear().await["params"]["requestId"], asked[1]);
}

/// A call of a client without session, for the first time or again.
fn call(hub: &Arc<Hub>, more: &Value) -> Crossing {
    let mut params = json!({"name": "s.t", "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "c", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {"roots": {}},
    }});
    more.as_object().unwrap().iter().for_each(|(key, value)| params[key] = value.clone());
    let request = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    let message = Message::parse(request.to_string().into()).unwrap();
    let endpoint = Endpoint::plain(TenantId::default_tenant(), None, Names::Dotted);
    let inbound = Inbound::new(Principal::local_admin(), Arc::new(endpoint), message, Version::STATELESS, None);
    match hub.dispatch(inbound) {
        Outcome::Later(crossing) => crossing,
        Outcome::Now(answer) => panic!("answered at once: {:?}", answer.body.to_bytes()),
        Outcome::Silent => panic!("a request is answered"),
    }
}

async fn answer(crossing: &mut Crossing) -> Value {
    match timeout(Duration::from_secs(60), crossing.next()).await.expect("an answer") {
        Step::Answer(answer) => serde_json::from_slice(&answer.body.to_bytes()).unwrap(),
        Step::Notice(_) | Step::Cancelled => panic!("an answer"),
    }
}

/// The client has answered, and waits for the server, when the hub stops.
#[tokio::test(start_paused = true)]
async fn whoever_waits_for_a_parked_call_is_told_that_the_hub_stops() {
    let mut scene = Scene::new(Pool::default());
    scene.hub.fleet.servers().remove(0).refresh().await.unwrap();
    let mut first = call(&scene.hub, &json!({}));
    let asks = async {
        loop {
            let mut process = scene.processes.recv().await.unwrap();
            // One that is started to be learned is not called.
            if process.heard().await.is_none() {
                continue;
            }
            process.say(json!({"jsonrpc": "2.0", "id": 1, "method": "roots/list"}));
            return process;
        }
    };
    let (asked, _process) = tokio::join!(answer(&mut first), asks);
    let state = asked["result"]["requestState"].as_str().unwrap_or_else(|| panic!("{asked}"));
    let responses = json!({"q1": {"roots": []}});
    let mut again = call(&scene.hub, &json!({"requestState": state, "inputResponses": responses}));
    assert!(timeout(Duration::from_secs(1), again.next()).await.is_err(), "the server works");
    scene.hub.stop.cancel();
    let told = answer(&mut again).await;
    assert_eq!(told["error"]["data"]["reason"], "shutting_down", "{told}");
}

/// Over HTTP, on a connection that was open when the drain began.
#[tokio::test(start_paused = true)]
async fn whoever_begins_a_session_with_a_hub_that_stops_is_told_that_it_stops() {
    let scene = Scene::new(Pool::default());
    scene.hub.sessions.end_all();
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}});
    let request = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params});
    let message = Message::parse(request.to_string().into()).unwrap();
    let endpoint = Endpoint::plain(TenantId::default_tenant(), None, Names::Dotted);
    let inbound = Inbound::new(Principal::local_admin(), Arc::new(endpoint), message, Version::LATEST_HANDSHAKE, None);
    let Outcome::Now(answer) = scene.hub.dispatch(inbound) else { panic!("it is answered at once") };
    let told: Value = serde_json::from_slice(&answer.body.to_bytes()).unwrap();
    assert_eq!(told["error"]["data"], json!({"origin": "hub", "reason": "shutting_down", "retryable": true}), "{told}");
}
