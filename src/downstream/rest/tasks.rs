//! `/api/tasks/{taskId}`, `…/update`, `…/cancel`: what has become of a call that was answered with a task (MCP 2026-07-28, tasks
//! extension). An id says whose task it is, so that no server has to be named; another caller's is as unknown as a forged one.

use std::sync::Arc;

use serde_json::json;

use super::{
    call::{self, Call, Given, Params},
    fault::{self, Fault, Subject},
    fields::{self, Fields},
    ok, target,
};
use crate::{
    access::Principal,
    downstream::{Doors, Reply, Request, reply},
    protocol::{Body, Method, Version},
};

/// The task as `tasks/get` shows it: with `inputRequests`, `result` or `error`, as its `status` says.
pub(super) async fn get(doors: &Arc<Doors>, principal: &Arc<Principal>, request: &Request) -> Result<Reply, Fault> {
    let given = about(doors, principal, request, Method::TasksGet, Params::default()).await?;
    Ok(reply::json_body(hyper::StatusCode::OK, Body::one(given.result)))
}

/// Answers what the task asks for; whether that was enough, the next `get` tells.
pub(super) async fn update(doors: &Arc<Doors>, principal: &Arc<Principal>, request: &mut Request) -> Result<Reply, Fault> {
    let body = fields::body(request, doors.limits.body_bytes).await?;
    let responses = Fields::parse(&body)?.object("inputResponses")?;
    let responses = responses.ok_or_else(|| Fault::invalid("Missing input responses", "inputResponses"))?;
    let params = Params { input_responses: Some(responses), ..Params::default() };
    about(doors, principal, request, Method::TasksUpdate, params).await?;
    Ok(acknowledged())
}

/// Asks the server to end it; a task that has ended stays as it is.
pub(super) async fn cancel(doors: &Arc<Doors>, principal: &Arc<Principal>, request: &Request) -> Result<Reply, Fault> {
    about(doors, principal, request, Method::TasksCancel, Params::default()).await?;
    Ok(acknowledged())
}

fn acknowledged() -> Reply {
    ok(&json!({"status": "ok", "timestamp": reply::timestamp()}))
}

async fn about(
    doors: &Arc<Doors>,
    principal: &Arc<Principal>,
    request: &Request,
    method: Method<'static>,
    params: Params<'_>,
) -> Result<Given, Fault> {
    let id = request.param("task").unwrap_or_default().to_owned();
    let named = target::narrowed(request)?;
    let owner = doors.hub.task_owner(principal, &id);
    let Some(owner) = owner.filter(|owner| named.as_ref().is_none_or(|tenant| *tenant == owner.server.tenant)) else {
        let tenant = named.unwrap_or_else(crate::name::TenantId::default_tenant);
        return Err(fault::unknown(&Subject { tenant, server: None, method, name: id }));
    };
    let endpoint = target::endpoint_of(&owner.server, request);
    let subject = Subject { tenant: owner.server.tenant, server: Some(owner.server.name), method, name: id };
    if !doors.hub.knows(principal, &endpoint) {
        return Err(fault::unknown(&subject));
    }
    // What the caller said when the task began counts for as long as it is known.
    let capabilities = owner.profile.declare(Version::STATELESS);
    let params = Params { capabilities: Some(&capabilities), ..params };
    call::run(doors, Call { params, ..Call::plain(principal, endpoint, subject, "{}") }).await
}
