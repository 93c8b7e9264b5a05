//! What numbering and matching a call costs, by the number of calls already in flight.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use mcp_hub::mux::{Connection, Deadline};
use std::{
    hint::black_box,
    time::{Duration, Instant},
};

fn open_answer(c: &mut Criterion) {
    let mut group = c.benchmark_group("mux");
    let deadline = Deadline { call: Duration::from_secs(60), call_max: Duration::from_secs(1800) };
    let now = Instant::now();
    for in_flight in [1, 64, 1024] {
        let mut connection = Connection::<u64>::new(in_flight);
        for caller in 1..in_flight {
            connection.open(caller as u64, deadline, now).expect("there is room");
        }
        group.bench_function(BenchmarkId::new("open_answer/1", in_flight), |b| {
            b.iter(|| {
                let id = connection.open(black_box(7), deadline, now).expect("there is room");
                black_box(connection.handle_answer(black_box(id)))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, open_answer);
criterion_main!(benches);
