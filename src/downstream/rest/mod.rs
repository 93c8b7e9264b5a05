//! REST: the hub over plain HTTP and JSON, for scripts, back ends and operators. Mounted by `route`: `ROUTES` are its addresses,
//! `handle` answers them.
//!
//! What is looked at and changed goes to `control`; what is asked of a server goes through the same `hub::dispatch` as at every other door
//! (`call`). Arguments and results pass as the bytes they are. Never touches a server itself.

mod again;
mod ask;
pub(super) mod call;
pub(super) mod fault;
pub(super) mod fields;
mod mounts;
mod ops;
mod page;
mod patience;
mod servers;
mod target;
mod tasks;
mod tenants;
mod tools;

use std::sync::Arc;

use hyper::StatusCode;

use self::fault::Fault;
use super::{
    Doors, Reply, Request, reply,
    route::{Access, Door, Handler, Route, Verb},
};
use crate::{control::ControlError, protocol::Method};

/// Which route was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Root,
    Health,
    Live,
    Ready,
    ApiHealth,
    Servers,
    ServerInfo,
    ServerStart,
    ServerStop,
    ServerRefresh,
    /// By the server in the body, or in the path.
    Ask(Method<'static>),
    Server,
    /// `/api/servers/{tenant}/tools` and its like: a server may be called `tools`.
    ServerCalled(&'static str),
    StartServer,
    StopServer,
    Tools,
    ToolCall,
    Task,
    TaskUpdate,
    TaskCancel,
    Tenants,
    Tenant,
    TenantTools,
    StartTenant,
    StopTenant,
    MountTools,
    MountCall,
    MountHealth,
}

pub const ROUTES: &[Route] = &[
    row(Verb::Get, "/", Door::Ops, Action::Root),
    open("/health", Door::All, Action::Health),
    open("/livez", Door::Ops, Action::Live),
    open("/readyz", Door::Ops, Action::Ready),
    get("/api/health", Action::ApiHealth),
    get("/api/servers", Action::Servers),
    post("/api/servers/info", Action::ServerInfo),
    post("/api/servers/start", Action::ServerStart),
    post("/api/servers/stop", Action::ServerStop),
    post("/api/servers/refresh", Action::ServerRefresh),
    post("/api/servers/tools", Action::Ask(Method::ToolsCall)),
    post("/api/servers/resources", Action::Ask(Method::ResourcesRead)),
    post("/api/servers/prompts", Action::Ask(Method::PromptsGet)),
    post("/api/servers/{server}/tools", Action::Ask(Method::ToolsCall)),
    post("/api/servers/{server}/resources", Action::Ask(Method::ResourcesRead)),
    post("/api/servers/{server}/prompts", Action::Ask(Method::PromptsGet)),
    get("/api/servers/{server}/tools", Action::ServerCalled("tools")),
    get("/api/servers/{server}/resources", Action::ServerCalled("resources")),
    get("/api/servers/{server}/prompts", Action::ServerCalled("prompts")),
    get("/api/servers/{tenant}/{server}", Action::Server),
    post("/api/servers/{tenant}/{server}/start", Action::StartServer),
    post("/api/servers/{tenant}/{server}/stop", Action::StopServer),
    get("/api/tools", Action::Tools),
    post("/api/tools/{tool}", Action::ToolCall),
    post("/api/tools/{tool}/call", Action::ToolCall),
    get("/api/tasks/{task}", Action::Task),
    post("/api/tasks/{task}/update", Action::TaskUpdate),
    post("/api/tasks/{task}/cancel", Action::TaskCancel),
    get("/api/tenants", Action::Tenants),
    get("/api/tenants/{tenant}", Action::Tenant),
    get("/api/tenants/{tenant}/tools", Action::TenantTools),
    post("/api/tenants/{tenant}/start", Action::StartTenant),
    post("/api/tenants/{tenant}/stop", Action::StopTenant),
    get("/{server}/mcp/tools", Action::MountTools),
    post("/{server}/mcp/call", Action::MountCall),
    get("/{server}/mcp/health", Action::MountHealth),
    get("/t/{tenant}/{server}/mcp/tools", Action::MountTools),
    post("/t/{tenant}/{server}/mcp/call", Action::MountCall),
    get("/t/{tenant}/{server}/mcp/health", Action::MountHealth),
];

const fn row(verb: Verb, path: &'static str, door: Door, action: Action) -> Route {
    Route { verb, path, access: Access::Principal, door, handler: Handler::Rest(action) }
}

const fn get(path: &'static str, action: Action) -> Route {
    row(Verb::Get, path, Door::Api, action)
}

const fn post(path: &'static str, action: Action) -> Route {
    row(Verb::Post, path, Door::Api, action)
}

const fn open(path: &'static str, door: Door, action: Action) -> Route {
    Route { verb: Verb::Get, path, access: Access::Open, door, handler: Handler::Rest(action) }
}

/// Answers a request of one of `ROUTES`. Dropping the future cancels the call it makes, if any; a start or stop under way goes on.
pub async fn handle(doors: Arc<Doors>, action: Action, mut request: Box<Request>) -> Reply {
    answer(&doors, action, &mut request).await.unwrap_or_else(Fault::into_reply)
}

async fn answer(doors: &Arc<Doors>, action: Action, request: &mut Request) -> Result<Reply, Fault> {
    let caller = request.principal.clone().ok_or_else(Fault::unauthenticated);
    match action {
        Action::Root => Ok(ops::root()),
        Action::Health => Ok(ops::health(doors)),
        Action::Live => Ok(ops::live()),
        Action::Ready => ops::ready(doors),
        Action::ApiHealth => ops::api_health(doors, &caller?, request),
        Action::Servers => servers::list(doors, &caller?, request),
        Action::ServerInfo => servers::info(doors, &caller?, request).await,
        Action::ServerStart => servers::start(doors, &caller?, request).await,
        Action::ServerStop => servers::stop(doors, &caller?, request).await,
        Action::ServerRefresh => servers::refresh(doors, &caller?, request).await,
        Action::Ask(method) => ask::ask(doors, &caller?, request, method).await,
        Action::Server => servers::one(doors, &caller?, request),
        Action::ServerCalled(name) => servers::one_called(doors, &caller?, request, name),
        Action::StartServer => servers::start_one(doors, &caller?, request).await,
        Action::StopServer => servers::stop_one(doors, &caller?, request).await,
        Action::Tools => tools::list(doors, &caller?, request),
        Action::ToolCall => tools::call(doors, &caller?, request).await,
        Action::Task => tasks::get(doors, &caller?, request).await,
        Action::TaskUpdate => tasks::update(doors, &caller?, request).await,
        Action::TaskCancel => tasks::cancel(doors, &caller?, request).await,
        Action::Tenants => tenants::list(doors, &caller?, request),
        Action::Tenant => tenants::one(doors, &caller?, request),
        Action::TenantTools => tenants::tools(doors, &caller?, request),
        Action::StartTenant => tenants::start(doors, &caller?, request).await,
        Action::StopTenant => tenants::stop(doors, &caller?, request).await,
        Action::MountTools => mounts::tools(doors, &caller?, request).await,
        Action::MountCall => mounts::call(doors, &caller?, request).await,
        Action::MountHealth => mounts::health(doors, &caller?, request),
    }
}

/// Does `work` whole, also when the client that asked for it goes away: a server must not be left half started or half stopped.
async fn whole<T: Send + 'static>(doors: &Doors, work: impl Future<Output = Result<T, ControlError>> + Send + 'static) -> Result<T, Fault> {
    match doors.tasks.spawn(work).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(fault::internal()),
    }
}

fn ok(value: &impl serde::Serialize) -> Reply {
    reply::json(StatusCode::OK, value)
}
