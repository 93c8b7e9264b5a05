//! A call that its caller has left while its server may still ask for it: whoever is next must not be asked instead.

use std::sync::atomic::AtomicU32;

use tokio::sync::mpsc;

use super::*;
use crate::{
    bridge::outgoing,
    limits::STRAY,
    upstream::{
        Event, Exchange, Lease, Opening,
        puppet::{Puppet, Taken},
    },
};

struct Played {
    number: u32,
    puppet: Puppet,
}

impl Played {
    async fn hear(&mut self) -> Value {
        self.puppet.hear().await
    }

    fn say(&self, message: Value) {
        self.puppet.say(message);
    }

    fn ask(&self, id: u64) {
        self.say(json!({"jsonrpc": "2.0", "id": id, "method": "elicitation/create", "params": {"message": "?"}}));
    }
}

/// One server with a pool of so many.
struct Scene {
    server: Arc<Server>,
    started: mpsc::UnboundedReceiver<Played>,
    _fleet: Arc<Fleet>,
}

impl Scene {
    fn new(size: usize) -> Self {
        let pool = Pool { scope: Scope::User, size, ..Pool::default() };
        let settings = Settings::plain(vec![ServerSettings { pool, ..ServerSettings::plain(server_id()) }]);
        let fleet = Fleet::new(&settings, Limits::default(), Bus::default(), Arc::new(|_| {}), |_| Some(Version::V2025_11_25));
        let (starts, started) = mpsc::unbounded_channel();
        let count = AtomicU32::new(0);
        fleet.play_on(Arc::new(move |_| {
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            let (entrance, script) = actor::enter(number, 1 << 10);
            let _ = starts.send(Played { number, puppet: Puppet::new(script, take) });
            Ok(entrance)
        }));
        Self { server: fleet.server(&server_id()).unwrap(), started, _fleet: fleet }
    }

    async fn lease(&self) -> Lease {
        let sharer = Sharer { principal: "p".into(), session: None, profile: Profile::FORM };
        self.server.lease(&sharer).await.unwrap()
    }

    async fn process(&mut self) -> Played {
        self.started.recv().await.unwrap()
    }

    /// A process that somebody has called and left, and the id of that call.
    async fn left_behind(&mut self) -> (Played, Value) {
        let exchange = call(&self.lease().await);
        let mut process = self.process().await;
        let id = process.hear().await["id"].clone();
        drop(exchange);
        assert_eq!(process.hear().await["method"], "notifications/cancelled");
        (process, id)
    }
}

/// It leaves calls, cancellations and answers to the test.
fn take(message: &Value) -> Taken {
    match message["method"].as_str() {
        Some("tools/call" | "notifications/cancelled") | None => Taken::Heard,
        Some(_) => answer(&message.to_string()).map_or(Taken::Ignored, Taken::Answered),
    }
}

fn call(lease: &Lease) -> Exchange {
    let opening = Opening { asks: true, method: "tools/call", ..Opening::default() };
    lease.open(&opening, |wire| outgoing::own(wire, "tools/call", "{}", Version::V2025_11_25)).unwrap()
}

async fn is_answered(exchange: &mut Exchange, process: &mut Played) {
    let id = process.hear().await["id"].clone();
    process.say(json!({"jsonrpc": "2.0", "id": id, "result": {}}));
    let event = timeout(Duration::from_secs(1), exchange.next()).await.unwrap();
    assert!(matches!(event, Event::Answer(_)), "{event:?}");
}

#[tokio::test(start_paused = true)]
async fn a_question_for_a_call_that_was_given_up_reaches_nobody() {
    let mut scene = Scene::new(2);
    let (mut first, _) = scene.left_behind().await;
    let mut exchange = call(&scene.lease().await);
    let mut second = scene.process().await;
    first.ask(7);
    let refused = first.hear().await;
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(7), &json!(-32601)));
    is_answered(&mut exchange, &mut second).await;
    drop(exchange);
    let mut exchange = call(&scene.lease().await);
    is_answered(&mut exchange, &mut second).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_after_all_or_time_makes_the_process_anybodys_again() {
    for is_answered_late in [true, false] {
        let mut scene = Scene::new(1);
        let (mut process, id) = scene.left_behind().await;
        if is_answered_late {
            process.say(json!({"jsonrpc": "2.0", "id": id, "result": {}}));
            process.ask(1);
            assert_eq!(process.hear().await["id"], 1, "the hub has read the answer");
        } else {
            sleep(STRAY).await;
        }
        let mut exchange = call(&scene.lease().await);
        is_answered(&mut exchange, &mut process).await;
        assert!(scene.started.try_recv().is_err(), "there is no other");
    }
}

#[tokio::test(start_paused = true)]
async fn where_there_may_be_no_more_processes_it_is_replaced() {
    let mut scene = Scene::new(2);
    let kept = scene.lease().await;
    let mut first = scene.process().await;
    let (second, _) = scene.left_behind().await;
    assert_eq!((first.number, second.number), (1, 2));
    let mut exchange = call(&scene.lease().await);
    let mut third = scene.process().await;
    assert!(second.puppet.is_over(), "it has ended");
    is_answered(&mut exchange, &mut third).await;
    let mut exchange = call(&kept);
    is_answered(&mut exchange, &mut first).await;
    assert_eq!(scene.server.status().instances, 2);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_gives_a_call_up_too() {
    let mut scene = Scene::new(2);
    let mut exchange = call(&scene.lease().await);
    let event = exchange.next().await;
    assert!(matches!(event, Event::Failed(_)), "{event:?}");
    drop(exchange);
    let (first, mut exchange) = (scene.process().await, call(&scene.lease().await));
    let mut second = scene.process().await;
    first.ask(7);
    is_answered(&mut exchange, &mut second).await;
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_to_one_process_gets_that_one_alone_and_none_when_it_is_gone() {
    let mut scene = Scene::new(2);
    let (first, second) = (scene.lease().await, scene.lease().await);
    let connections = [first.connection(), second.connection()];
    assert_ne!(connections[0], connections[1]);
    drop(first);
    assert_eq!(scene.server.lease_on(connections[0]).await.unwrap().unwrap().connection(), connections[0]);
    let in_use = timeout(Duration::from_secs(1), scene.server.lease_on(connections[1])).await;
    assert!(in_use.is_err(), "somebody else may be asked there");
    let waits = async { scene.server.lease_on(connections[1]).await.unwrap().unwrap() };
    let leaves = async {
        sleep(Duration::from_secs(2)).await;
        drop(second);
    };
    assert_eq!(tokio::join!(waits, leaves).0.connection(), connections[1]);

    let mut exchange = call(&scene.server.lease_on(connections[0]).await.unwrap().unwrap());
    let mut process = scene.process().await;
    process.hear().await;
    drop(exchange);
    // Until its server has answered after all, or can be taken to have stopped.
    let begun = tokio::time::Instant::now();
    exchange = call(&scene.server.lease_on(connections[0]).await.unwrap().unwrap());
    assert_eq!(begun.elapsed(), STRAY);
    drop(process);
    assert!(matches!(exchange.next().await, Event::Failed(_)));
    drop(exchange);
    assert!(scene.server.lease_on(connections[0]).await.unwrap().is_none());
}
