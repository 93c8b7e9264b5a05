//! Whole calls over loopback, through the released binary with a real child, beside (in the same run) a bare hyper server
//! that sends as many bytes, a bare relay to the same servers, and the child alone over its pipe.
//!
//! `cargo bench --bench call` measures each by itself, ids `what/size/concurrency`. `cargo bench --bench call -- --ratios`
//! measures hub, bare server and relay in turns and prints the ratios: on a noisy machine only those mean something.
//! `-- --against <binary>` measures this build's hub and another's in turns.
//! `-- --remote http://127.0.0.1:3000/mcp echo` measures a tool of a server that runs already, through the hub and of itself.
//! `-- --load small-2026 16 10` keeps the hub busy with 16 connections for about 10 s, for a profiler to look at.
//! Under `taskset -c 0` every process of the run stays on one core, as the single-connection figure asks.

mod bare;
mod child;
mod client;
mod ratios;
mod relay;
mod scene;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion, Throughput};

use client::Load;
use scene::{Dialect, Scene};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("bare") => bare::run(),
        Some("child") => child::run(),
        Some("relay") => relay::run(arguments.get(2).and_then(|address| address.parse().ok()).expect("a server's address")),
        Some("--ratios") => ratios::run(),
        Some("--against") => ratios::against(Path::new(arguments.get(2).expect("the other build's binary"))),
        Some("--remote") => ratios::remote(arguments.get(2).expect("a URL"), arguments.get(3).expect("a tool")),
        Some("--load") => ratios::load(&arguments),
        _ => {
            let mut criterion = Criterion::default().sample_size(10).measurement_time(Duration::from_secs(3)).configure_from_args();
            calls(&mut criterion);
            criterion.final_summary();
        }
    }
}

fn calls(criterion: &mut Criterion) {
    let scene = Scene::start();
    let mut group = criterion.benchmark_group("call");
    for connections in [1, 16, 64] {
        for (name, request) in [
            ("hub-2026", scene.small(Dialect::Stateless)),
            ("hub-2025", scene.small(Dialect::Handshake)),
            ("bare-hyper", scene.bare_small()),
        ] {
            group.throughput(Throughput::Elements(1));
            group.bench_function(BenchmarkId::new(name, format!("200B/{connections}")), |bencher| {
                bencher.iter_custom(|calls| Load { request: request.clone(), connections }.run(calls));
            });
        }
    }
    for (name, request) in [("hub-2026", scene.remote()), ("bare-mcp", scene.bare_remote())] {
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new(name, "remote/64"), |bencher| {
            bencher.iter_custom(|calls| Load { request: request.clone(), connections: 64 }.run(calls));
        });
    }
    for (name, request) in [("hub-2026", scene.large(Dialect::Stateless)), ("bare-hyper", scene.bare_large())] {
        group.throughput(Throughput::Bytes(client::LARGE_BYTES));
        group.bench_function(BenchmarkId::new(name, "100KB/16"), |bencher| {
            bencher.iter_custom(|calls| Load { request: request.clone(), connections: 16 }.run(calls));
        });
    }
    for (name, request) in [("hub-list", scene.list()), ("bare-list", scene.bare_list())] {
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new(name, "1000-tools/16"), |bencher| {
            bencher.iter_custom(|calls| Load { request: request.clone(), connections: 16 }.run(calls));
        });
    }
    group.bench_function(BenchmarkId::new("pipe", "200B/1"), |bencher| {
        let mut pipe = scene.pipe();
        bencher.iter_custom(|calls| {
            let since = Instant::now();
            for _ in 0..calls {
                pipe.round_trip();
            }
            since.elapsed()
        });
    });
    group.finish();
}
