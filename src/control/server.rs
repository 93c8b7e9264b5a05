//! The Server object: one configured server as every REST client sees it.

use std::{path::Path, sync::Arc, time::SystemTime};

use serde::{Serialize, Serializer, ser::SerializeSeq};
use serde_json::{Map, Value, value::RawValue};

use super::wire_time;
use crate::{
    catalog::{Item, Kind, Offer},
    config::{Launch, ServerSettings, Start},
    name::ServerId,
    upstream::{Status, Usable},
};

/// Serialises to the object itself; tool definitions are written byte for byte as the server gave them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerView {
    pub name: String,
    display_name: String,
    description: String,
    transport_type: &'static str,
    /// Can it be used: `connected`, `disconnected`, …
    pub status: &'static str,
    pub error: Option<String>,
    capabilities: Capabilities,
    /// Whole seconds, 0 without an instance.
    uptime: u64,
    last_started: Option<String>,
    authorization_url: Option<String>,
    server_info: Option<Box<RawValue>>,
    #[serde(rename = "config_source")]
    config_source: Option<String>,
    #[serde(rename = "server_id")]
    pub server_id: String,
    #[serde(rename = "tenant_id")]
    tenant_id: String,
    /// Is there a process: `RUNNING`, `STOPPED`, …
    pub state: &'static str,
    #[serde(rename = "started_at")]
    started_at: Option<String>,
    #[serde(rename = "last_error")]
    last_error: Option<String>,
    #[serde(rename = "restart_count")]
    restart_count: u32,
    config: Map<String, Value>,
    start: &'static str,
    instances: usize,
    retry: Option<Retry>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Capabilities {
    tools: Definitions,
    resources: Definitions,
    resource_templates: Definitions,
    prompts: Definitions,
}

#[derive(Debug, Serialize)]
struct Retry {
    attempts: u32,
    next_at: String,
}

impl ServerView {
    /// `detailed`: for callers who may know where on this machine the entry stands.
    pub(super) fn new(settings: &ServerSettings, status: &Status, offer: Option<Arc<Offer>>, detailed: bool, now: SystemTime) -> Self {
        let own = offer.as_deref().map(|offer| OwnWords::of(&offer.server_info)).unwrap_or_default();
        let ServerId { tenant, name } = &settings.id;
        let started = status.started_at.map(wire_time);
        let running_since = status.started_at.filter(|_| status.instances > 0);
        Self {
            name: name.to_string(),
            display_name: settings.display_name.clone().or(own.title).unwrap_or_else(|| name.to_string()),
            description: settings.description.clone().or(own.description).unwrap_or_default(),
            transport_type: match &settings.launch {
                Launch::Command { .. } | Launch::Builtin(_) => "stdio",
                Launch::Remote(remote) => remote.transport.as_str(),
            },
            status: word(status.usable),
            error: status.error.clone().or_else(|| settings.error.clone()),
            server_info: offer.as_deref().and_then(|offer| serde_json::from_slice(&offer.server_info).ok()),
            capabilities: Capabilities::of(offer),
            uptime: running_since.and_then(|since| now.duration_since(since).ok()).map_or(0, |up| up.as_secs()),
            last_started: started.clone(),
            authorization_url: None,
            config_source: settings.source.as_deref().filter(|_| detailed).map(|path: &Path| path.display().to_string()),
            server_id: settings.id.to_string(),
            tenant_id: tenant.to_string(),
            state: status.state.as_str(),
            started_at: started,
            last_error: status.last_error.clone().or_else(|| settings.error.clone()),
            restart_count: status.restart_count,
            config: settings.shown.clone(),
            start: match settings.start {
                Start::Boot => "boot",
                Start::Demand => "demand",
                Start::Manual => "manual",
            },
            instances: status.instances,
            retry: status.retry.map(|(attempts, at)| Retry { attempts, next_at: wire_time(at) }),
        }
    }

    pub fn tools(&self) -> usize {
        self.capabilities.tools.items().len()
    }

    pub fn resources(&self) -> usize {
        self.capabilities.resources.items().len()
    }

    pub fn resource_templates(&self) -> usize {
        self.capabilities.resource_templates.items().len()
    }

    pub fn prompts(&self) -> usize {
        self.capabilities.prompts.items().len()
    }
}

const fn word(usable: Usable) -> &'static str {
    match usable {
        Usable::Connected => "connected",
        Usable::Connecting => "connecting",
        Usable::Disconnected => "disconnected",
        Usable::Disabled => "disabled",
    }
}

/// What a server calls itself, used where the entry gives no name or text.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct OwnWords {
    title: Option<String>,
    description: Option<String>,
}

impl OwnWords {
    fn of(server_info: &[u8]) -> Self {
        serde_json::from_slice(server_info).unwrap_or_default()
    }
}

impl Capabilities {
    fn of(offer: Option<Arc<Offer>>) -> Self {
        let definitions = |kind| Definitions { offer: offer.clone(), kind };
        Self {
            tools: definitions(Kind::Tools),
            resources: definitions(Kind::Resources),
            resource_templates: definitions(Kind::Templates),
            prompts: definitions(Kind::Prompts),
        }
    }
}

/// One list of an offer, the definitions written as they came.
#[derive(Debug)]
struct Definitions {
    offer: Option<Arc<Offer>>,
    kind: Kind,
}

impl Definitions {
    fn items(&self) -> &[Item] {
        self.offer.as_deref().map_or(&[], |offer| offer.items(self.kind))
    }
}

impl Serialize for Definitions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        // A definition that is not JSON was dropped when the offer was learned.
        for definition in self.items().iter().filter_map(|item| serde_json::from_slice::<&RawValue>(&item.definition).ok()) {
            list.serialize_element(definition)?;
        }
        list.end()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use serde_json::json;

    use super::*;
    use crate::{
        config::{Launch, Pool, Restart, Timeouts},
        name::{ServerName, TenantId},
        protocol::{Version, capability::Profile},
        upstream::{State, status::Noise},
    };

    /// Some day at ten.
    fn ten() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_261_600)
    }

    pub(in crate::control) fn entry(tenant: &str, name: &str) -> ServerSettings {
        let Value::Object(shown) = json!({"name": name, "type": "api", "command": "npx", "enabled": true}) else { unreachable!() };
        ServerSettings {
            id: ServerId { tenant: TenantId::new(tenant).unwrap(), name: ServerName::new(name).unwrap() },
            launch: Launch::Command { command: "npx".into(), args: vec![], env: Default::default(), env_file: None, cwd: None },
            display_name: None,
            description: None,
            kind: "api".into(),
            enabled: true,
            start: Start::Demand,
            pool: Pool { idle_stop: None, ..Pool::default() },
            roots: Vec::new(),
            bridge_tasks: false,
            keepalive: None,
            restart: Restart {
                max_retries: None,
                wait: Duration::from_millis(100),
                wait_max: Duration::from_secs(30),
                reset_after: Duration::from_secs(60),
            },
            timeouts: Timeouts {
                start: Duration::from_secs(60),
                call: Duration::from_secs(60),
                call_max: Duration::from_secs(1800),
                stop: Duration::from_secs(5),
            },
            source: Some("/srv/servers.json".into()),
            error: None,
            shown,
            fingerprint: format!("print-of-{name}"),
            scope: Arc::default(),
        }
    }

    pub(in crate::control) fn idle() -> Status {
        Status {
            state: State::Stopped,
            usable: Usable::Disconnected,
            error: None,
            last_error: None,
            started_at: None,
            restart_count: 0,
            instances: 0,
            pids: vec![],
            breaker: None,
            in_flight: 0,
            retry: None,
            noise: Noise::default(),
        }
    }

    pub(in crate::control) fn offer() -> Offer {
        Offer {
            version: Version::V2025_11_25,
            server_info: Bytes::from_static(br#"{"name":"gh","version":"2","title":"GitHub"}"#),
            capabilities: Bytes::from_static(b"{}"),
            instructions: None,
            profile: Profile::BARE,
            prompts: vec![],
            resources: vec![],
            templates: vec![],
            tools: vec![Item {
                key: "create_issue".into(),
                definition: Bytes::from_static(br#"{"name":"create_issue" , "inputSchema":{"type":"object"},"x-later":1.0}"#),
            }],
            ttl_ms: None,
            public: false,
        }
    }

    #[test]
    fn a_running_server_shows_every_member_in_the_published_order() {
        let status = Status { state: State::Running, usable: Usable::Connected, started_at: Some(ten()), instances: 1, ..idle() };
        let now = ten() + Duration::from_millis(123_900);
        let view = ServerView::new(&entry("default", "github"), &status, Some(Arc::new(offer())), true, now);
        assert_eq!(
            serde_json::to_string(&view).unwrap(),
            concat!(
                r#"{"name":"github","displayName":"GitHub","description":"","transportType":"stdio","status":"connected","error":null,"#,
                r#""capabilities":{"tools":[{"name":"create_issue" , "inputSchema":{"type":"object"},"x-later":1.0}],"#,
                r#""resources":[],"resourceTemplates":[],"prompts":[]},"#,
                r#""uptime":123,"lastStarted":"2026-01-01T10:00:00.000Z","authorizationUrl":null,"#,
                r#""serverInfo":{"name":"gh","version":"2","title":"GitHub"},"config_source":"/srv/servers.json","#,
                r#""server_id":"default:github","tenant_id":"default","state":"RUNNING","started_at":"2026-01-01T10:00:00.000Z","#,
                r#""last_error":null,"restart_count":0,"#,
                r#""config":{"name":"github","type":"api","command":"npx","enabled":true},"#,
                r#""start":"demand","instances":1,"retry":null}"#,
            )
        );
    }

    #[test]
    fn a_crashed_server_shows_its_error_and_when_it_is_tried_again() {
        let status = Status {
            state: State::Crashed,
            usable: Usable::Connecting,
            error: Some("exited with code 1".into()),
            last_error: Some("exited with code 1".into()),
            started_at: Some(ten()),
            restart_count: 3,
            retry: Some((3, ten() + Duration::from_secs(2))),
            ..idle()
        };
        let view = ServerView::new(&entry("acme", "db"), &status, None, false, ten() + Duration::from_secs(1));
        let shown = serde_json::to_value(&view).unwrap();
        for (member, want) in [
            ("status", json!("connecting")),
            ("state", json!("CRASHED")),
            ("error", json!("exited with code 1")),
            ("last_error", json!("exited with code 1")),
            ("restart_count", json!(3)),
            ("retry", json!({"attempts": 3, "next_at": "2026-01-01T10:00:02.000Z"})),
            ("uptime", json!(0)),
            ("instances", json!(0)),
            ("serverInfo", Value::Null),
            ("server_id", json!("acme:db")),
            ("displayName", json!("db")),
            ("config_source", Value::Null),
        ] {
            assert_eq!(shown[member], want, "{member}");
        }
        assert_eq!(shown["capabilities"], json!({"tools": [], "resources": [], "resourceTemplates": [], "prompts": []}));
    }

    #[test]
    fn the_entry_names_a_server_before_the_server_does_and_tells_its_own_error() {
        let mut settings = entry("default", "github");
        settings.display_name = Some("Hub of git".into());
        settings.description = Some("issues".into());
        settings.error = Some("no command".into());
        let view = ServerView::new(&settings, &Status { usable: Usable::Disabled, ..idle() }, Some(Arc::new(offer())), true, ten());
        let shown = serde_json::to_value(&view).unwrap();
        assert_eq!((&shown["displayName"], &shown["description"]), (&json!("Hub of git"), &json!("issues")));
        assert_eq!((&shown["status"], &shown["error"]), (&json!("disabled"), &json!("no command")));
        assert_eq!((view.status, view.state, view.tools()), ("disabled", "STOPPED", 1));
    }
}
