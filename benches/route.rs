//! What finding a tool by name costs, by the number of tools: it must not matter.

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use mcp_hub::{
    catalog::{Catalog, Item, Names, Offer, Scope},
    name::{ServerId, ServerName, TenantId},
    protocol::{Version, capability::Profile},
};
use std::{hint::black_box, sync::Arc};

const TOOLS_PER_SERVER: usize = 5000;

fn resolve(c: &mut Criterion) {
    let mut group = c.benchmark_group("route");
    let tenant = TenantId::default_tenant();
    for tools in [1, 1000, 100_000] {
        let catalog = catalog(&tenant, tools);
        let (last_server, last) = ((tools - 1) / TOOLS_PER_SERVER, (tools - 1) % TOOLS_PER_SERVER);
        let server = ServerName::new(&format!("server{last_server}")).expect("a name");
        let merged = Scope { tenant: &tenant, server: None, names: Names::Dotted, uris: None };
        let own = Scope { server: Some(&server), ..merged };
        for (what, scope, name) in [
            ("dotted", merged, format!("server{last_server}.tool_{last}")),
            ("safe", merged, format!("server{last_server}__tool_{last}")),
            ("original", own, format!("tool_{last}")),
        ] {
            assert!(catalog.resolve(scope, &name).is_some());
            group.bench_function(BenchmarkId::new(format!("{what}/{tools}"), 1), |b| b.iter(|| catalog.resolve(scope, black_box(&name))));
        }
        group.bench_function(BenchmarkId::new(format!("unknown/{tools}"), 1), |b| {
            b.iter(|| catalog.resolve(merged, black_box("server0.nothing")))
        });
    }
    group.finish();
}

fn catalog(tenant: &TenantId, tools: usize) -> Catalog {
    let catalog = Catalog::new(60_000, [0; 32]);
    let servers: Vec<_> = (0..tools.div_ceil(TOOLS_PER_SERVER)).filter_map(|n| ServerName::new(&format!("server{n}"))).collect();
    catalog.declare(tenant, servers.clone());
    for (n, name) in servers.into_iter().enumerate() {
        let tools = (tools - n * TOOLS_PER_SERVER).min(TOOLS_PER_SERVER);
        let tools = (0..tools).map(|n| Item { key: format!("tool_{n}"), definition: format!(r#"{{"name":"tool_{n}"}}"#).into() }).collect();
        let offer = Offer {
            version: Version::V2025_11_25,
            server_info: Bytes::from_static(b"{}"),
            capabilities: Bytes::from_static(b"{}"),
            instructions: None,
            profile: Profile::BARE,
            prompts: vec![],
            resources: vec![],
            templates: vec![],
            tools,
            ttl_ms: None,
            public: false,
        };
        catalog.publish(&ServerId { tenant: tenant.clone(), name }, Arc::new(offer));
    }
    catalog
}

criterion_group!(benches, resolve);
criterion_main!(benches);
