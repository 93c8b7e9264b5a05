//! What does relaying a message cost: scan it, change the id (of a call also the name), write it out? Beside a tree of `serde_json` that
//! is parsed, edited and written.

#[path = "messages/mod.rs"]
mod messages;

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use mcp_hub::protocol::{Message, splice::Splice};
use serde_json::Value;

/// As the hub itself.
#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ID: &str = "18446744073709551";
const NAME: &str = "\"read_file\"";

fn edit(message: &Message) -> Splice<'_> {
    let mut splice = Splice::new(message);
    if let Some(id) = message.scan().id {
        splice.replace(id, ID);
    }
    if let Some(name) = message.scan().name {
        splice.replace(name, NAME);
    }
    splice
}

fn tree(text: &[u8]) -> Vec<u8> {
    let mut tree: Value = serde_json::from_slice(text).expect("a message");
    tree["id"] = Value::from(18_446_744_073_709_551_u64);
    if let Some(name) = tree.pointer_mut("/params/name") {
        *name = Value::from("read_file");
    }
    serde_json::to_vec(&tree).expect("a tree is JSON")
}

fn bench(c: &mut Criterion) {
    for (size, text) in messages::all() {
        let mut group = c.benchmark_group("splice");
        group.throughput(Throughput::Bytes(text.len() as u64));
        // As the doors do: the bytes come as their own, just copied from the kernel, and are gone with the message.
        let batch = if text.len() < 10_000 { BatchSize::SmallInput } else { BatchSize::PerIteration };
        let own = || Bytes::from(text.clone().into_bytes());
        group.bench_function(format!("line/{size}/1"), |b| {
            b.iter_batched(own, |bytes| edit(&Message::parse(black_box(bytes)).expect("a message")).to_line(), batch);
        });
        group.bench_function(format!("body/{size}/1"), |b| {
            b.iter_batched(own, |bytes| edit(&Message::parse(black_box(bytes)).expect("a message")).to_body(), batch);
        });
        group.bench_function(format!("serde_json_value/{size}/1"), |b| {
            b.iter_batched(own, |bytes| tree(black_box(&bytes)), batch);
        });
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
