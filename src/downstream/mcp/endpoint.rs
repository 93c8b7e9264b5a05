//! From an address to the endpoint it names.

use super::super::{
    Doors, Reply, Request,
    reply::{invalid, not_found},
};
use crate::{
    catalog::{Names, Uris},
    hub::Endpoint,
    name::{ADDRESS_WORDS, ServerName, TenantId},
};
use std::sync::Arc;

/// # Errors
/// 404 for a tenant or server that is unknown or out of the caller's reach, 400 for options that do not exist, or not yet.
pub(in crate::downstream) fn find(doors: &Doors, request: &Request) -> Result<Arc<Endpoint>, Reply> {
    let server = request.param("server");
    // A restriction that is not known here would show everything instead.
    if server.is_none() && request.query("server").is_some() {
        return Err(invalid("server is not read at this address; use /{server}/mcp", Some("server")));
    }
    match server {
        Some(name) if request.param("tenant").is_none() && ADDRESS_WORDS.contains(&name) => Err(not_found("server", name)),
        _ => find_named(doors, request, server),
    }
}

/// With the server, if one is meant, named elsewhere than in the path.
pub(in crate::downstream) fn find_named(doors: &Doors, request: &Request, server: Option<&str>) -> Result<Arc<Endpoint>, Reply> {
    let principal = request.caller()?;
    let endpoint = if is_plain(request) { request.mount.endpoint.clone() } else { Arc::new(read(request, server)?) };
    if doors.hub.knows(principal, &endpoint) {
        return Ok(endpoint);
    }
    let whole = Endpoint::plain(endpoint.tenant.clone(), None, endpoint.names);
    Err(match &endpoint.server {
        Some(server) if doors.hub.knows(principal, &whole) => not_found("server", server.as_str()),
        _ => not_found("tenant", endpoint.tenant.as_str()),
    })
}

/// `/mcp` with nothing else said.
fn is_plain(request: &Request) -> bool {
    request.params.is_empty() && request.parts.uri.query().is_none() && !request.parts.headers.contains_key("x-tenant-id")
}

fn read(request: &Request, server: Option<&str>) -> Result<Endpoint, Reply> {
    // Each would show less than the whole, so that neither is passed over.
    for later in ["group", "mode"] {
        if request.query(later).is_some() {
            return Err(invalid(&format!("{later} needs a later version of the hub; leave it out"), Some(later)));
        }
    }
    let names = match request.query("names").as_deref() {
        None => request.mount.names,
        Some("dotted") => Names::Dotted,
        Some("safe") => Names::Safe,
        Some(_) => return Err(invalid("names must be dotted or safe", Some("names"))),
    };
    let uris = match request.query("uris").as_deref() {
        None => None,
        Some("prefixed") => Some(Uris::Prefixed),
        Some("raw") => Some(Uris::Raw),
        Some(_) => return Err(invalid("uris must be prefixed or raw", Some("uris"))),
    };
    let tenant = request.tenant().ok_or_else(|| not_found("tenant", &asked_tenant(request)))?;
    let Some(server) = server else { return Ok(Endpoint { tenant, server: None, names, uris }) };
    let unknown = || not_found("server", server);
    // A full id, `tenant:server`, is taken wherever a server's name is.
    let (tenant, name) = match server.split_once(':') {
        None => (tenant, server),
        Some((own, name)) => {
            let own = TenantId::new(own).ok_or_else(unknown)?;
            if request.param("tenant").is_some() && own != tenant {
                return Err(unknown());
            }
            (own, name)
        }
    };
    let server = Some(ServerName::new(name).ok_or_else(unknown)?);
    Ok(Endpoint { tenant, server, names, uris })
}

fn asked_tenant(request: &Request) -> String {
    let asked = request.param("tenant").map(str::to_owned).or_else(|| request.query("tenant_id").map(Into::into));
    asked.or_else(|| request.header("x-tenant-id").map(str::to_owned)).unwrap_or_default()
}
