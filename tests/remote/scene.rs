//! A fleet with one remote server named `r`.

use std::{fs, sync::Arc, time::Duration};

use bytes::Bytes;
use mcp_hub::{
    config::read::{Environment, Overrides, read},
    limits::Limits,
    name::{ServerId, ServerName, TenantId},
    observe::Bus,
    protocol::{Message, Version, capability::Profile},
    upstream::{Event, Exchange, Fleet, Learned, Lease, News, Opening, Server, Sharer, UpstreamError},
};
use serde_json::{Value, json};
use tokio::{sync::mpsc, time::timeout};

use crate::support::remote_server::RemoteServer;

/// Longer than anything here may take on a busy machine; only a failing test waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Scene {
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) learned: mpsc::UnboundedReceiver<Learned>,
    pub(crate) news: mpsc::UnboundedReceiver<News>,
    _dir: tempfile::TempDir,
}

/// The hub has an entry for this server.
pub(crate) fn scene(server: &RemoteServer) -> Scene {
    scene_with(&server.url(), json!({}))
}

/// With further fields of the entry.
pub(crate) fn scene_with(url: &str, fields: Value) -> Scene {
    scene_known(url, fields, None)
}

/// What it spoke last is known.
pub(crate) fn scene_known(url: &str, fields: Value, known: Option<Version>) -> Scene {
    let dir = tempfile::tempdir().unwrap();
    let mut entry = json!({"url": url, "restart": {"wait": 0.01, "wait_max": 0.05}});
    entry.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let path = dir.path().join("servers.json");
    fs::write(&path, json!({"mcpServers": {"r": entry}}).to_string()).unwrap();
    let environment = Environment { vars: [("TOKEN".to_owned(), "s3cr3t".to_owned())].into(), cwd: dir.path().into(), exe: "/x".into() };
    let settings = read(&[path], &environment, &Overrides::default()).unwrap_or_else(|problems| panic!("{problems:?}"));
    assert!(settings.problems.is_empty(), "{:?}", settings.problems);
    let (sender, learned) = mpsc::unbounded_channel();
    let report = Arc::new(move |learned| drop(sender.send(learned)));
    let fleet = Fleet::new(&settings, Limits::default(), Bus::default(), report, move |_| known);
    let (sender, news) = mpsc::unbounded_channel();
    fleet.report_to(Arc::new(move |news| drop(sender.send(news))));
    Scene { fleet, learned, news, _dir: dir }
}

impl Scene {
    pub(crate) fn server(&self) -> Arc<Server> {
        let id = ServerId { tenant: TenantId::default_tenant(), name: ServerName::new("r").unwrap() };
        self.fleet.server(&id).unwrap()
    }

    pub(crate) async fn lease(&self) -> Lease {
        self.lease_for(Profile::BARE).await
    }

    /// Of a session that can be asked this.
    pub(crate) async fn lease_for(&self, profile: Profile) -> Lease {
        let sharer = Sharer { principal: "p".into(), session: Some("s".into()), profile };
        self.server().lease(&sharer).await.unwrap()
    }

    pub(crate) async fn error(&self) -> UpstreamError {
        let sharer = Sharer { principal: "p".into(), session: None, profile: Profile::BARE };
        self.server().lease(&sharer).await.unwrap_err()
    }

    pub(crate) async fn learned(&mut self) -> Learned {
        timeout(PATIENCE, self.learned.recv()).await.expect("a listing").unwrap()
    }

    pub(crate) async fn news(&mut self) -> News {
        timeout(PATIENCE, self.news.recv()).await.expect("news").unwrap()
    }

    pub(crate) async fn close(self) {
        timeout(PATIENCE, self.fleet.shutdown()).await.unwrap();
    }
}

pub(crate) fn call(lease: &Lease, tool: &str, arguments: Value) -> Exchange {
    try_call(lease, tool, arguments).unwrap()
}

/// Anything that can come, is taken.
pub(crate) fn try_call(lease: &Lease, tool: &str, arguments: Value) -> Result<Exchange, UpstreamError> {
    let version = lease.version();
    let opening = Opening { progress: true, asks: true, notes: true, method: "tools/call", name: Some(tool), ..Opening::default() };
    lease.open(&opening, |wire| {
        let mut params = json!({"name": tool, "arguments": arguments, "_meta": {"progressToken": wire.as_u64()}});
        if version == Version::STATELESS {
            let envelope = json!({"io.modelcontextprotocol/protocolVersion": version.as_str(),
                "io.modelcontextprotocol/clientCapabilities": {}});
            params["_meta"].as_object_mut().unwrap().extend(envelope.as_object().unwrap().clone());
        }
        Bytes::from(json!({"jsonrpc": "2.0", "id": wire.as_u64(), "method": "tools/call", "params": params}).to_string() + "\n")
    })
}

pub(crate) async fn next(exchange: &mut Exchange) -> Event {
    timeout(PATIENCE, exchange.next()).await.expect("an event")
}

/// The text of the answer; everything else that comes is skipped.
pub(crate) async fn text(exchange: Exchange) -> String {
    match last(exchange).await {
        Ok(answer) => text_of(&answer),
        Err(error) => panic!("{error}"),
    }
}

pub(crate) fn text_of(answer: &Message) -> String {
    let answer = json_of(answer);
    answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

/// How the call ended.
pub(crate) async fn last(mut exchange: Exchange) -> Result<Message, UpstreamError> {
    loop {
        match next(&mut exchange).await {
            Event::Answer(answer) => return Ok(answer),
            Event::Failed(error) => return Err(error),
            _ => {}
        }
    }
}

pub(crate) fn json_of(message: &Message) -> Value {
    serde_json::from_slice(message.bytes()).unwrap()
}
