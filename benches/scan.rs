//! What does it cost to look into a message? Beside what `serde_json` takes for the same: a tree, and a struct of raw values.

#[path = "messages/mod.rs"]
mod messages;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mcp_hub::protocol::scan;
use serde::Deserialize;
use serde_json::value::RawValue;

/// As the hub itself.
#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The envelope alone, every payload left as text: the usual way to relay with serde.
#[derive(Deserialize)]
#[allow(dead_code, reason = "read by nobody: the cost of filling it is the question")]
struct Envelope<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: Option<&'a str>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
}

fn bench(c: &mut Criterion) {
    for (size, text) in messages::all() {
        let mut group = c.benchmark_group("scan");
        group.throughput(Throughput::Bytes(text.len() as u64));
        let bytes = text.as_bytes();
        group.bench_function(format!("hub/{size}/1"), |b| b.iter(|| scan(black_box(bytes)).expect("a message")));
        group.bench_function(format!("serde_json_raw/{size}/1"), |b| {
            b.iter(|| serde_json::from_slice::<Envelope<'_>>(black_box(bytes)).expect("a message"));
        });
        group.bench_function(format!("serde_json_value/{size}/1"), |b| {
            b.iter(|| serde_json::from_slice::<serde_json::Value>(black_box(bytes)).expect("a message"));
        });
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
