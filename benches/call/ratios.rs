//! Hub and bare server in turns, in one run, and the ratio of each pair.

use std::{
    path::Path,
    time::{Duration, Instant},
};

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
    println!("{:<28} {:>5} {:>12} {:>12} {:>7}  of the bare server", "what", "conns", "calls/s", "the bare's", "ratio");
    for connections in [1, 16, 64] {
        report("small call 2026-07-28", connections, &scene.small(Dialect::Stateless), &scene.bare_small());
        report("small call 2025-11-25", connections, &scene.small(Dialect::Handshake), &scene.bare_small());
        report("the same through a relay", connections, &scene.relay_pipe(), &scene.bare_small());
    }
    for connections in [16, 64] {
        report("small call, remote server", connections, &scene.remote(), &scene.bare_remote());
        report("the same through a relay", connections, &scene.relay_remote(), &scene.bare_remote());
    }
    report("100 KB result", 16, &scene.large(Dialect::Stateless), &scene.bare_large());
    report("the same through a relay", 16, &scene.relay_large(), &scene.bare_large());
    report("tools/list of 1,000", 16, &scene.list(), &scene.bare_list());
    println!();
    println!("{:<28} {:>5} {:>12} {:>12} {:>7}  of a relay", "what", "conns", "calls/s", "the relay's", "ratio");
    for connections in [16, 64] {
        report("small call 2026-07-28", connections, &scene.small(Dialect::Stateless), &scene.relay_pipe());
        report("small call 2025-11-25", connections, &scene.small(Dialect::Handshake), &scene.relay_pipe());
        report("small call, remote server", connections, &scene.remote(), &scene.relay_remote());
    }
    report("100 KB result", 16, &scene.large(Dialect::Stateless), &scene.relay_large());
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
        Some("remote") => scene.remote(),
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

/// `--against BINARY`: this build's hub and another's in turns, by calls a second and by the processor time of the hub alone,
/// which other work on the machine changes less.
#[expect(clippy::print_stdout, reason = "the figures are for a person")]
pub(crate) fn against(other: &Path) {
    let (ours, theirs) = (Scene::start(), Scene::of(other));
    println!(
        "{:<28} {:>12} {:>12} {:>7} {:>9} {:>9} {:>7}",
        "what, 16 connections", "calls/s", "the other's", "ratio", "µs/call", "other's", "ratio"
    );
    let small = |dialect| move |scene: &Scene| scene.small(dialect);
    turns("small call 2026-07-28", [&ours, &theirs], small(Dialect::Stateless));
    turns("small call 2025-11-25", [&ours, &theirs], small(Dialect::Handshake));
    turns("100 KB result", [&ours, &theirs], |scene| scene.large(Dialect::Stateless));
    turns("tools/list of 1,000", [&ours, &theirs], Scene::list);
}

/// `--remote URL TOOL`: a tool of a real server, through the hub and of itself, in turns.
#[expect(clippy::print_stdout, reason = "the figures are for a person")]
pub(crate) fn remote(url: &str, tool: &str) {
    let scene = Scene::before(url);
    let path = url.splitn(4, '/').nth(3).map_or_else(|| "/".to_owned(), |path| format!("/{path}"));
    let (hub, own) = scene.remote_tool(&path, tool);
    println!("{:<28} {:>5} {:>12} {:>12} {:>7}", "what", "conns", "hub calls/s", "own calls/s", "ratio");
    for connections in [1, 16, 64] {
        report(tool, connections, &hub, &own);
    }
}

#[expect(clippy::print_stdout, reason = "the figures are for a person")]
fn turns(what: &str, scenes: [&Scene; 2], request: impl Fn(&Scene) -> Request) {
    const CONNECTIONS: usize = 16;
    let loads = scenes.map(|scene| Load { request: request(scene), connections: CONNECTIONS });
    let per_call = loads[0].run(2_000).as_secs_f64() / 2_000.0;
    let calls = (TURN.as_secs_f64() / per_call) as u64;
    let mut rates = [Vec::new(), Vec::new()];
    let before = scenes.map(|scene| ticks(scene.hub_pid()));
    for turn in 0..2 * TURNS {
        // Who goes first changes, so that neither has the better half of a busy moment.
        for side in [turn % 2, 1 - turn % 2] {
            rates[side].push(calls as f64 / loads[side].run(calls).as_secs_f64());
        }
    }
    let spent = [0, 1].map(|side| {
        let made = calls * 2 * u64::try_from(TURNS).unwrap();
        (ticks(scenes[side].hub_pid()) - before[side]) as f64 * 10_000.0 / made as f64
    });
    let mut ratios: Vec<f64> = rates[0].iter().zip(&rates[1]).map(|(ours, theirs)| ours / theirs).collect();
    let [ours, theirs] = rates.map(|mut rates| middle(&mut rates));
    println!(
        "{what:<28} {ours:>12.0} {theirs:>12.0} {:>7.3} {:>9.2} {:>9.2} {:>7.3}",
        middle(&mut ratios),
        spent[0],
        spent[1],
        spent[0] / spent[1]
    );
}

fn middle(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Processor time of a process, in ticks of 10 ms.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    fields.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum()
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
