//! The data plane, where a request crosses. Each verb lives in its own file and takes the parts it needs; nothing here
//! changes what exists (that is `control`), and nothing here knows how a message arrived (that is `downstream`).

mod again;
mod aim;
pub mod call;
mod carried;
mod conversation;
pub mod crossing;
pub mod handshake;
pub mod inbound;
#[cfg(test)]
mod left;
pub mod list;
mod listen;
mod news;
mod pages;
mod park;
mod progress;
mod resume;
mod seal;
pub mod session;
mod subscribe;
mod talk;
mod task;
mod watch;

use std::{collections::HashSet, sync::Arc};

use dashmap::DashMap;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use crossing::{Crossing, Step};
pub use inbound::{Answer, Endpoint, Inbound, Outcome, ParamHeaders};
pub use session::{Mail, Session, SessionId, Sessions};

use crate::{
    access::Principal,
    bridge::seal::Sealer,
    catalog::{Catalog, Recents},
    limits::{self, Limits},
    name::{ServerId, TenantId},
    observe::Bus,
    protocol::{Era, Kind, Message, Method, Refusal, RequestId, Version, capability::Profile, code::Code},
    random::{State, bytes as random},
    upstream::Fleet,
};

/// A handle of the parts that the verbs work on.
pub struct Hub {
    pub catalog: Arc<Catalog>,
    pub fleet: Arc<Fleet>,
    pub sessions: Sessions,
    pub limits: Limits,
    /// Cancelled when the hub stops: streams of changes end, parked calls are given up.
    pub stop: CancellationToken,
    bus: Bus,
    tenants: HashSet<TenantId, State>,
    sealer: Sealer,
    /// Of this process: what is parked in another, nobody here can resume.
    instance: u64,
    parks: park::Parks,
    watches: Arc<watch::Watches>,
    pages: pages::Pages,
    recents: Recents,
    holds: task::Holds,
    /// Questions of servers outside any call, by the connection and the servers' own ids.
    asking: DashMap<(u64, RequestId), CancellationToken>,
    /// Parked calls and questions outside any call.
    tasks: TaskTracker,
}

/// Pends for ever without a time.
async fn sleep_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// What a hub is made of.
pub struct Parts {
    pub catalog: Arc<Catalog>,
    pub fleet: Arc<Fleet>,
    pub bus: Bus,
    pub limits: Limits,
    /// Every tenant that exists, with servers or without.
    pub tenants: HashSet<TenantId>,
    /// Of the states that travel through clients.
    pub sealer: Sealer,
}

impl Hub {
    /// Within a runtime.
    pub fn new(parts: Parts) -> Arc<Self> {
        let Parts { catalog, fleet, bus, limits, tenants, sealer } = parts;
        let instances = Arc::clone(&fleet);
        let sessions = Sessions::new(&bus, Arc::new(move |session| instances.forget_session(session)), limits.session_idle);
        let hub = Arc::new(Self {
            catalog,
            fleet,
            sessions,
            limits,
            stop: CancellationToken::new(),
            bus,
            tenants: tenants.into_iter().collect(),
            sealer,
            instance: u64::from_ne_bytes(random()),
            parks: park::Parks::default(),
            watches: Arc::default(),
            pages: pages::Pages::default(),
            recents: Recents::default(),
            holds: task::Holds::default(),
            asking: DashMap::new(),
            tasks: TaskTracker::new(),
        });
        hub.fleet.report_to(hub.desk());
        hub
    }

    /// Parked calls and questions of servers end; returns when they have.
    pub async fn end(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// One message of one caller, from any door. Requests get exactly one answer; notifications and responses none.
    pub fn dispatch(self: &Arc<Self>, inbound: Inbound) -> Outcome {
        match inbound.message.kind() {
            Kind::Request => self.request(inbound),
            Kind::Notification => {
                self.notification(&inbound);
                Outcome::Silent
            }
            Kind::Result | Kind::Error => {
                if let Some(session) = &inbound.session
                    && !session.answered(inbound.message)
                {
                    tracing::debug!("a response to no open question was ignored");
                }
                Outcome::Silent
            }
        }
    }

    fn request(self: &Arc<Self>, inbound: Inbound) -> Outcome {
        use Era::{Handshake, Stateless};
        if inbound.message.scan().meta.is_progress_token_wrong {
            let refusal = Refusal::new(Code::InvalidParams, 400, "params._meta.progressToken must be a string or an integer");
            return call::refuse(&inbound, refusal);
        }
        match (inbound.message.method(), inbound.client.era()) {
            (Method::ToolsCall | Method::PromptsGet | Method::ResourcesRead | Method::Complete, _) => call::call(self, inbound),
            (Method::ToolsList | Method::PromptsList | Method::ResourcesList | Method::ResourcesTemplatesList, _) => {
                list::list(self, inbound)
            }
            (Method::Initialize, Handshake) => Outcome::Now(handshake::initialize(self, &inbound)),
            (Method::Ping, Handshake) => Outcome::Now(handshake::pong(&inbound)),
            (Method::ResourcesSubscribe, Handshake) => subscribe::subscribe(self, inbound),
            (Method::ResourcesUnsubscribe, Handshake) => Outcome::Now(subscribe::unsubscribe(&inbound)),
            (Method::SetLevel, Handshake) => Outcome::Now(subscribe::set_level(self, &inbound)),
            (Method::TasksGet | Method::TasksUpdate | Method::TasksCancel, Stateless) => task::request(self, inbound),
            (Method::TasksGet | Method::TasksCancel | Method::TasksResult, Handshake)
                if inbound.endpoint.server.is_some() && inbound.client == Version::V2025_11_25 =>
            {
                task::request(self, inbound)
            }
            (Method::Discover, Stateless) => Outcome::Now(handshake::discover(self, &inbound)),
            (Method::SubscriptionsListen, Stateless) => listen::listen(self, inbound),
            // What only the other era knows, a server must not be asked for either.
            (
                Method::Initialize | Method::Ping | Method::ResourcesSubscribe | Method::ResourcesUnsubscribe | Method::SetLevel,
                Stateless,
            )
            | (Method::Discover | Method::SubscriptionsListen, Handshake) => Outcome::Now(handshake::unknown_method(&inbound)),
            // Of tasks there is no list: they are several callers'.
            (Method::TasksGet | Method::TasksUpdate | Method::TasksCancel | Method::TasksResult | Method::TasksList, _) => {
                Outcome::Now(handshake::unknown_method(&inbound))
            }
            _ if inbound.endpoint.server.is_some() => call::call(self, inbound),
            _ => Outcome::Now(handshake::unknown_method(&inbound)),
        }
    }

    /// Whether the endpoint exists for this principal; doors answer 404 to everything else.
    pub fn knows(&self, principal: &Principal, endpoint: &Endpoint) -> bool {
        principal.may_reach(&endpoint.tenant)
            && self.tenants.contains(&endpoint.tenant)
            && endpoint
                .server
                .as_ref()
                .is_none_or(|name| self.fleet.server(&ServerId { tenant: endpoint.tenant.clone(), name: name.clone() }).is_some())
    }

    fn notification(&self, inbound: &Inbound) {
        let Some(session) = &inbound.session else { return };
        let message = &inbound.message;
        match message.method() {
            Method::Cancelled => {
                if let Some(id) = message.scan().request_id.and_then(|span| message.request_id_at(span)) {
                    session.cancel(&id, reason(message));
                }
            }
            Method::Progress => session.goes_on(message),
            Method::RootsListChanged if session.profile().has(Profile::ROOTS_CHANGE) => self.fleet.roots_changed(session.id().as_str()),
            _ => {}
        }
    }
}

/// Why a client cancels; longer than `limits::REASON_BYTES_MAX`, nobody reads it.
fn reason(cancelled: &Message) -> Option<Box<str>> {
    #[derive(serde::Deserialize)]
    struct Params {
        reason: Box<str>,
    }
    let params = cancelled.token(cancelled.scan().params?);
    let params: Params = serde_json::from_slice(params).ok()?;
    Some(params.reason).filter(|reason| reason.len() <= limits::REASON_BYTES_MAX)
}
