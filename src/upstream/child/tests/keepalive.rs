//! Servers that are asked for a sign of life.

use futures_util::FutureExt;
use tokio::time::{advance, timeout};

use super::*;
use crate::upstream::keepalive::silent;

const EVERY: Duration = Duration::from_secs(20);

fn watched(version: Version) -> (Link, Peer, tokio::task::JoinHandle<Duration>) {
    let (link, peer) = link_with(1024, 1 << 20, 1 << 16);
    link.set_version(version);
    let wire = Wire::Pipe(link.clone());
    let watch = tokio::spawn(async move {
        let since = Instant::now();
        silent(&wire, version, EVERY).await;
        since.elapsed()
    });
    (link, peer, watch)
}

#[tokio::test(start_paused = true)]
async fn whoever_says_nothing_is_asked_and_who_answers_lives_on() {
    for (version, method) in [(Version::V2025_11_25, "ping"), (Version::V2024_11_05, "ping"), (Version::STATELESS, "server/discover")] {
        let (link, mut peer, watch) = watched(version);
        for round in 1..=5 {
            let asked = Instant::now();
            let id = peer.asked(method).await;
            assert_eq!(asked.elapsed(), EVERY, "{method} {round}: the answer to one is no reason to leave out the next");
            assert_eq!(link.in_flight(), 0, "it takes no call's place");
            // An error is a sign as well.
            peer.say(json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": "no"}})).await;
        }
        assert!(!watch.is_finished());
        watch.abort();
        link.close(&link.lost());
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_says_something_is_not_asked() {
    let (link, mut peer, watch) = watched(Version::V2025_11_25);
    for _ in 0..10 {
        peer.say(json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": 1}})).await;
        // What was said is read before the time is over.
        tokio::task::yield_now().await;
        advance(EVERY - Duration::from_secs(1)).await;
    }
    assert!(peer.read().now_or_never().is_none());
    assert!(!watch.is_finished());
    peer.asked("ping").await;
    link.close(&link.lost());
}

#[tokio::test(start_paused = true)]
async fn who_answers_nothing_is_silent_and_who_says_anything_is_not() {
    let (link, mut peer, watch) = watched(Version::V2025_11_25);
    peer.asked("ping").await;
    assert_eq!(timeout(10 * EVERY, watch).await.expect("an end").unwrap(), 2 * EVERY);
    assert_eq!(peer.asked("notifications/cancelled").await, Value::Null);
    link.close(&link.lost());

    let (link, mut peer, watch) = watched(Version::V2025_11_25);
    peer.asked("ping").await;
    peer.say(json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": 1}})).await;
    assert_eq!(peer.asked("notifications/cancelled").await, Value::Null);
    peer.asked("ping").await;
    assert!(!watch.is_finished(), "it says things");
    link.close(&link.lost());
}

#[tokio::test(start_paused = true)]
async fn who_reads_nothing_is_silent_though_nothing_more_can_be_asked() {
    let (link, peer) = link_with(1, 1 << 20, 8);
    link.set_version(Version::V2025_11_25);
    // Cancellations fill what room there is.
    while link.notify(outgoing::own_notification("filling", Version::V2025_11_25)) {
        tokio::task::yield_now().await;
    }
    let since = Instant::now();
    timeout(10 * EVERY, silent(&Wire::Pipe(link.clone()), Version::V2025_11_25, EVERY)).await.expect("an end");
    assert_eq!(since.elapsed(), 2 * EVERY);
    link.close(&link.lost());
    drop(peer);
}
