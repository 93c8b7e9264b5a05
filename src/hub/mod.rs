//! The data plane, where a request crosses. Each verb lives in its own file and takes the parts it needs; nothing here
//! changes what exists (that is `control`), and nothing here knows how a message arrived (that is `downstream`).

pub mod call;
pub mod crossing;
pub mod handshake;
pub mod inbound;
pub mod list;
pub mod session;

use std::{collections::HashSet, sync::Arc};

pub use crossing::{Crossing, Step};
pub use inbound::{Answer, Endpoint, Inbound, Outcome, ParamHeaders};
pub use session::{Mail, Session, SessionId, Sessions};

use crate::{
    access::Principal,
    catalog::Catalog,
    limits::Limits,
    name::{ServerId, TenantId},
    observe::Bus,
    protocol::{Era, Kind, Method},
    upstream::Fleet,
};

/// A handle of the parts that the verbs work on.
pub struct Hub {
    pub catalog: Arc<Catalog>,
    pub fleet: Arc<Fleet>,
    pub sessions: Sessions,
    pub limits: Limits,
    tenants: HashSet<TenantId>,
}

impl Hub {
    /// Within a runtime. `tenants`: every tenant that exists, with servers or without.
    pub fn new(catalog: Arc<Catalog>, fleet: Arc<Fleet>, bus: Bus, limits: Limits, tenants: impl IntoIterator<Item = TenantId>) -> Self {
        let instances = Arc::clone(&fleet);
        let sessions = Sessions::new(&bus, Arc::new(move |session| instances.forget_session(session)), limits.session_idle);
        Self { catalog, fleet, sessions, limits, tenants: tenants.into_iter().collect() }
    }

    /// One message of one caller, from any door. Requests get exactly one answer; notifications and responses none.
    pub fn dispatch(self: &Arc<Self>, inbound: Inbound) -> Outcome {
        match inbound.message.kind() {
            Kind::Request => self.request(inbound),
            Kind::Notification => {
                notification(&inbound);
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
        match (inbound.message.method(), inbound.client.era()) {
            (Method::ToolsCall, _) => call::call(self, inbound),
            (Method::ToolsList, _) => list::tools(self, inbound),
            (Method::Initialize, Era::Handshake) => Outcome::Now(handshake::initialize(self, &inbound)),
            (Method::Ping, Era::Handshake) => Outcome::Now(handshake::pong(&inbound)),
            (Method::Discover, Era::Stateless) => Outcome::Now(handshake::discover(self, &inbound)),
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
}

fn notification(inbound: &Inbound) {
    if let (Method::Cancelled, Some(session)) = (inbound.message.method(), &inbound.session)
        && let Some(id) = inbound.message.scan().request_id.and_then(|span| inbound.message.request_id_at(span))
    {
        session.cancel(&id);
    }
}
