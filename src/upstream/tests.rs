//! What the tests of this room share, and its servers by themselves: their processes are played.

mod given_up;
mod lists;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    time::{sleep, timeout},
};

use super::{
    Fleet, Server, Sharer, State,
    actor::{self, Script},
};
use crate::{
    config::{Pool, Scope, ServerSettings, Settings, Start, Timeouts},
    limits::Limits,
    name::{ServerId, ServerName, TenantId},
    observe::Bus,
    protocol::{Version, capability::Profile},
};

pub(super) fn server_id() -> ServerId {
    ServerId { tenant: TenantId::default_tenant(), name: ServerName::new("s").unwrap() }
}

/// A fleet of one server, whose processes go on until they are killed, and how many of them there are.
fn stubborn() -> (Arc<Fleet>, Arc<Server>, Arc<AtomicUsize>) {
    let settings = Settings::plain(vec![ServerSettings::plain(server_id())]);
    let fleet = Fleet::new(&settings, Limits::default(), Bus::default(), Arc::new(|_| {}), |_| None);
    let alive = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&alive);
    fleet.play_on(Arc::new(move |_| {
        let (entrance, script) = actor::enter(1, 1 << 10);
        let count = Arc::clone(&count);
        count.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(async move {
            let Script { stdin, mut stdout, stderr: _stderr, mut signals, _exit } = script;
            let mut lines = BufReader::new(stdin).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let Some(answer) = answer(&line) else { continue };
                stdout.write_all(format!("{answer}\n").as_bytes()).await.unwrap();
            }
            let _ = signals.wait_for(|signal| *signal == Some(rustix::process::Signal::KILL)).await;
            count.fetch_sub(1, Ordering::SeqCst);
        });
        Ok(entrance)
    }));
    let server = fleet.server(&server_id()).unwrap();
    (fleet, server, alive)
}

fn answer(line: &str) -> Option<Value> {
    let request: Value = serde_json::from_str(line).unwrap();
    let id = request.get("id")?;
    Some(match request["method"].as_str()? {
        "initialize" => {
            let capabilities = json!({"resources": {"subscribe": true}});
            let result =
                json!({"protocolVersion": "2025-11-25", "capabilities": capabilities, "serverInfo": {"name": "s", "version": "1"}});
            json!({"jsonrpc": "2.0", "id": id, "result": result})
        }
        "resources/subscribe" => json!({"jsonrpc": "2.0", "id": id, "result": {}}),
        _ => json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": "Method not found"}}),
    })
}

#[tokio::test(start_paused = true)]
async fn a_stop_goes_on_when_whoever_asked_for_it_leaves() {
    let (fleet, server, alive) = stubborn();
    server.start().await.unwrap();
    assert_eq!(alive.load(Ordering::SeqCst), 1);
    assert!(timeout(Duration::from_secs(1), server.stop(false)).await.is_err(), "the process takes its time");
    assert_eq!(server.status().state, State::Stopping);
    sleep(Duration::from_secs(60)).await;
    assert_eq!((server.status().state, alive.load(Ordering::SeqCst)), (State::Stopped, 0));

    server.start().await.unwrap();
    assert!(timeout(Duration::from_secs(1), server.stop(false)).await.is_err());
    fleet.shutdown().await;
    assert_eq!(alive.load(Ordering::SeqCst), 0, "the fleet waits for what another stop began");
}

/// Whoever follows a resource waits for the next process of its session when that session ends.
#[tokio::test(start_paused = true)]
async fn a_session_that_is_forgotten_gets_no_process_any_more() {
    let pool = Pool { scope: Scope::Session, ..Pool::default() };
    let settings = Settings::plain(vec![ServerSettings { pool, start: Start::Boot, ..ServerSettings::plain(server_id()) }]);
    let fleet = Fleet::new(&settings, Limits::default(), Bus::default(), Arc::new(|_| {}), |_| Some(Version::V2025_11_25));
    let started = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&started);
    fleet.play_on(Arc::new(move |_| {
        let (entrance, script) = actor::enter(1, 1 << 10);
        let is_first = count.fetch_add(1, Ordering::SeqCst) == 0;
        tokio::spawn(async move {
            let Script { stdin, mut stdout, stderr: _stderr, signals: _signals, _exit } = script;
            let mut lines = BufReader::new(stdin).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                // The second says nothing, so that it is waited for.
                let Some(answer) = answer(&line).filter(|_| is_first) else { continue };
                stdout.write_all(format!("{answer}\n").as_bytes()).await.unwrap();
                if line.contains("resources/subscribe") {
                    sleep(Duration::from_secs(1)).await;
                    return;
                }
            }
        });
        Ok(entrance)
    }));
    let server = fleet.server(&server_id()).unwrap();
    let sharer = Sharer { principal: "p".into(), session: Some("x".into()), profile: Profile::BARE };
    let subscription = server.subscribe(&sharer, "mem://r").await.unwrap();
    sleep(Duration::from_secs(3)).await;
    assert_eq!(started.load(Ordering::SeqCst), 2, "the first has exited");
    drop(subscription);
    fleet.forget_session("x");
    sleep(Duration::from_secs(300)).await;
    assert_eq!(started.load(Ordering::SeqCst), 2);
    assert_eq!(fleet.left(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn whoever_got_a_place_late_has_time_for_the_whole_start() {
    let pool = Pool { scope: Scope::Call, size: 1, ..Pool::default() };
    let timeouts = Timeouts { start: Duration::from_secs(20), ..Timeouts::default() };
    let settings = Settings::plain(vec![ServerSettings { pool, timeouts, ..ServerSettings::plain(server_id()) }]);
    let fleet = Fleet::new(&settings, Limits::default(), Bus::default(), Arc::new(|_| {}), |_| Some(Version::V2025_11_25));
    fleet.play_on(Arc::new(move |_| {
        let (entrance, script) = actor::enter(1, 1 << 10);
        tokio::spawn(async move {
            let Script { stdin, mut stdout, stderr: _stderr, signals: _signals, _exit } = script;
            let mut lines = BufReader::new(stdin).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let Some(answer) = answer(&line) else { continue };
                sleep(Duration::from_secs(5)).await;
                stdout.write_all(format!("{answer}\n").as_bytes()).await.unwrap();
            }
        });
        Ok(entrance)
    }));
    let server = fleet.server(&server_id()).unwrap();
    let sharer = Sharer { principal: "p".into(), session: None, profile: Profile::BARE };
    let first = server.lease(&sharer).await.unwrap();
    let leaves = async {
        sleep(Duration::from_secs(18)).await;
        drop(first);
    };
    let (second, ()) = tokio::join!(server.lease(&sharer), leaves);
    second.unwrap();
}
