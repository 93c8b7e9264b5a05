//! Hub and bare server in turns, in one run, and the ratio of each pair.

use std::time::{Duration, Instant};

use crate::{
    client::{Load, Request},
    scene::{Dialect, Scene},
};

/// Turns of each pair, and the time one turn should take.
const TURNS: usize = 7;
const TURN: Duration = Duration::from_millis(700);

#[expect(clippy::print_stdout, reason = "the figures are for a person")]
pub(crate) fn run() {
    let scene = Scene::start();
    println!("{:<28} {:>5} {:>12} {:>12} {:>7}", "what", "conns", "hub calls/s", "bare calls/s", "ratio");
    for connections in [1, 16, 64] {
        report("small call 2026-07-28", connections, &scene.small(Dialect::Stateless), &scene.bare_small());
        report("small call 2025-11-25", connections, &scene.small(Dialect::Handshake), &scene.bare_small());
    }
    report("100 KB result", 16, &scene.large(Dialect::Stateless), &scene.bare_large());
    report("tools/list of 1,000", 16, &scene.list(), &scene.bare_list());
    let pipe = pipe(&scene);
    let hub = median(&mut Load { request: scene.small(Dialect::Stateless), connections: 1 }.times(20_000));
    let bare = median(&mut Load { request: scene.bare_small(), connections: 1 }.times(20_000));
    println!("\none connection: hub p50 {hub:?}, bare p50 {bare:?}, pipe round trip p50 {pipe:?}");
    println!("added over the bare server: {:.2} pipe round trips", (hub.saturating_sub(bare)).as_secs_f64() / pipe.as_secs_f64());
    println!("hub process: {}", resident(scene.hub_pid()));
}

/// `--load WHAT CONNECTIONS SECONDS`: one kind of call, and the hub's process id first.
#[expect(clippy::print_stdout, reason = "the figures are for a person")]
pub(crate) fn load(arguments: &[String]) {
    let scene = Scene::start();
    let request = match arguments.get(2).map(String::as_str) {
        Some("small-2025") => scene.small(Dialect::Handshake),
        Some("large") => scene.large(Dialect::Stateless),
        Some("list") => scene.list(),
        _ => scene.small(Dialect::Stateless),
    };
    let number = |place: usize, other: u64| arguments.get(place).and_then(|word| word.parse().ok()).unwrap_or(other);
    let connections = usize::try_from(number(3, 16)).unwrap();
    println!("hub {}", scene.hub_pid());
    let load = Load { request, connections };
    let until = Instant::now() + Duration::from_secs(number(4, 10));
    let (mut calls, mut spent) = (0, Duration::ZERO);
    while Instant::now() < until {
        spent += load.run(20_000);
        calls += 20_000;
    }
    println!("{:.0} calls/s", f64::from(calls) / spent.as_secs_f64());
}

fn report(what: &str, connections: usize, hub: &Request, bare: &Request) {
    let mut pairs: Vec<(f64, f64)> = Vec::new();
    for _ in 0..TURNS {
        pairs.push((rate(hub, connections), rate(bare, connections)));
    }
    pairs.sort_by(|a, b| (a.0 / a.1).total_cmp(&(b.0 / b.1)));
    let (hub, bare) = pairs[TURNS / 2];
    print_row(what, connections, hub, bare);
}

#[expect(clippy::print_stdout, reason = "the figures are for a person")]
fn print_row(what: &str, connections: usize, hub: f64, bare: f64) {
    println!("{what:<28} {connections:>5} {hub:>12.0} {bare:>12.0} {:>7.2}", hub / bare);
}

/// Calls a second: a short try tells how many calls fill a turn.
fn rate(request: &Request, connections: usize) -> f64 {
    let load = Load { request: request.clone(), connections };
    let tried = 50 * u64::try_from(connections).unwrap();
    let per_call = load.run(tried).as_secs_f64() / tried as f64;
    let calls = ((TURN.as_secs_f64() / per_call) as u64).max(tried);
    calls as f64 / load.run(calls).as_secs_f64()
}

fn pipe(scene: &Scene) -> Duration {
    let mut pipe = scene.pipe();
    let mut times: Vec<Duration> = (0..20_000)
        .map(|_| {
            let since = Instant::now();
            pipe.round_trip();
            since.elapsed()
        })
        .collect();
    median(&mut times)
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn resident(pid: u32) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or("VmRSS unknown");
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}
