//! What a list of 1,000 tools costs: taken over and rendered after a change, and handed out from memory.

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mcp_hub::{
    catalog::{Catalog, Item, Kind, Names, Offer, Scope, View},
    name::{ServerId, ServerName, TenantId},
    protocol::{Version, capability::Profile},
};
use std::{hint::black_box, sync::Arc};

const TOOLS: usize = 1000;
const VIEW: View = View { version: Version::STATELESS, profile: Profile::BARE };

fn list(c: &mut Criterion) {
    let mut group = c.benchmark_group("list");
    let server = ServerId { tenant: TenantId::default_tenant(), name: ServerName::new("github").expect("a name") };
    let scope = Scope { tenant: &server.tenant, server: None, names: Names::Dotted, uris: None };
    let offer = Arc::new(offer());
    let catalog = catalog(&server, &offer);
    let page = catalog.page(Kind::Tools, scope, VIEW, None).expect("the first page");
    group.throughput(Throughput::Bytes(page.len() as u64));
    group.bench_function(BenchmarkId::new(format!("render/{TOOLS}"), 1), |b| {
        b.iter_batched(
            || self::catalog(&server, &offer),
            |catalog| {
                let page = catalog.page(Kind::Tools, scope, VIEW, None);
                (catalog, page)
            },
            BatchSize::LargeInput,
        );
    });
    group.bench_function(BenchmarkId::new(format!("publish/{TOOLS}"), 1), |b| {
        b.iter_batched(
            || {
                let catalog = Catalog::new(60_000, [0; 32]);
                catalog.declare(&server.tenant, vec![server.name.clone()]);
                catalog
            },
            |catalog| {
                catalog.publish(&server, Arc::clone(&offer));
                catalog
            },
            BatchSize::LargeInput,
        );
    });
    group.bench_function(BenchmarkId::new(format!("page/{TOOLS}"), 1), |b| {
        b.iter(|| catalog.page(Kind::Tools, black_box(scope), VIEW, None))
    });
    group.finish();
}

fn catalog(server: &ServerId, offer: &Arc<Offer>) -> Catalog {
    let catalog = Catalog::new(60_000, [0; 32]);
    catalog.declare(&server.tenant, vec![server.name.clone()]);
    catalog.publish(server, Arc::clone(offer));
    catalog
}

/// Definitions of the size that published servers have.
fn offer() -> Offer {
    let tool = |n: usize| {
        let name = format!("create_issue_{n}");
        let definition = format!(
            r#"{{"name":"{name}","title":"Create an issue","description":"Opens a new issue in a repository and returns its number. Labels that do not exist are created.","inputSchema":{{"type":"object","properties":{{"owner":{{"type":"string","description":"Account that owns the repository"}},"repo":{{"type":"string","description":"Name of the repository"}},"title":{{"type":"string"}},"body":{{"type":"string"}},"labels":{{"type":"array","items":{{"type":"string"}}}}}},"required":["owner","repo","title"],"additionalProperties":false,"$schema":"http://json-schema.org/draft-07/schema#"}},"annotations":{{"readOnlyHint":false,"destructiveHint":false}},"execution":{{"taskSupport":"forbidden"}}}}"#
        );
        Item { key: name, definition: definition.into() }
    };
    Offer {
        version: Version::V2025_11_25,
        server_info: Bytes::from_static(br#"{"name":"github","version":"1.0.0"}"#),
        capabilities: Bytes::from_static(br#"{"tools":{"listChanged":true}}"#),
        instructions: None,
        profile: Profile::BARE,
        prompts: vec![],
        resources: vec![],
        templates: vec![],
        tools: (0..TOOLS).map(tool).collect(),
        ttl_ms: None,
        public: false,
    }
}

criterion_group!(benches, list);
criterion_main!(benches);
