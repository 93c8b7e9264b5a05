//! `/api/tools…`: all tools by canonical name, and a call by any name that a list may show.

use std::sync::Arc;

use serde_json::json;

use super::{
    call::{self, Call},
    fault::{Fault, Subject},
    fields::{self, Fields},
    ok,
    page::Page,
    target,
    tenants::{by_server, sorted, with_next},
};
use crate::{
    access::Principal,
    downstream::{Doors, Reply, Request},
    hub::Endpoint,
    protocol::Method,
};

pub(super) fn list(doors: &Doors, principal: &Arc<Principal>, request: &Request) -> Result<Reply, Fault> {
    let page = Page::of(request, "tools")?;
    let servers = doors.control.tools(principal, target::narrowed(request)?.as_ref())?;
    let (names, next) = page.of_sorted(sorted(&servers), |name| name);
    let shown = json!({
        "total_tools": servers.iter().map(|server| server.names.len()).sum::<usize>(),
        "total_servers": servers.len(),
        "tools_by_server": by_server(&servers, &names, |server| server.server.to_string()),
        "all_tools": names,
    });
    Ok(ok(&with_next(shown, next)))
}

/// The body is the arguments object itself.
pub(super) async fn call(doors: &Arc<Doors>, principal: &Arc<Principal>, request: &mut Request) -> Result<Reply, Fault> {
    let body = fields::body(request, doors.limits.body_bytes).await?;
    Fields::parse(&body)?;
    let tool = request.param("tool").unwrap_or_default();
    let tenant = target::tenant(request)?;
    // An unknown tenant is told from an unknown tool.
    doors.control.tenant(principal, &tenant)?;
    let endpoint = Endpoint::plain(tenant.clone(), None, request.mount.names);
    let subject = Subject { tenant: tenant.clone(), server: None, method: Method::ToolsCall, name: tool.to_owned() };
    let arguments = std::str::from_utf8(&body).map_err(|_| Fault::bad_body("The body is not UTF-8"))?;
    let result = call::run(doors, Call::plain(principal, endpoint, subject.clone(), arguments)).await?.only(&subject)?;
    let canonical = doors.control.canonical(principal, &tenant, tool);
    let name = serde_json::Value::from(canonical.as_deref().unwrap_or(tool));
    Ok(call::around(format!(r#"{{"tool":{name},"result":"#), result, "}"))
}
