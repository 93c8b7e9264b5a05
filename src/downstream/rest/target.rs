//! Which tenant and server a request means.

use super::fault::Fault;
use crate::{
    control::ControlError,
    downstream::Request,
    hub::Endpoint,
    name::{ADDRESS_WORDS, ServerId, ServerName, TenantId},
};

const TENANT_HEADER: &str = "x-tenant-id";

/// The tenant that the request names, or the default one.
pub(super) fn tenant(request: &Request) -> Result<TenantId, Fault> {
    request.tenant().ok_or_else(|| unknown_tenant(request))
}

/// The tenant that a list is narrowed to, if any.
pub(super) fn narrowed(request: &Request) -> Result<Option<TenantId>, Fault> {
    let named = request.query("tenant_id").is_some() || request.parts.headers.contains_key(TENANT_HEADER);
    if named { tenant(request).map(Some) } else { Ok(None) }
}

fn unknown_tenant(request: &Request) -> Fault {
    let named = request.param("tenant").map(str::to_owned).or_else(|| request.query("tenant_id").map(Into::into));
    let header = || request.parts.headers.get(TENANT_HEADER).map(|name| String::from_utf8_lossy(name.as_bytes()).into_owned());
    ControlError::UnknownTenant { name: named.or_else(header).unwrap_or_default() }.into()
}

/// The server called `name`, or `tenant:name`, in the tenant that the request names.
pub(super) fn server(request: &Request, name: &str) -> Result<ServerId, Fault> {
    let own = request.tenant();
    let in_path = request.param("tenant").is_some();
    // A path that names the tenant twice must mean the same one.
    let id = parse(name, own.as_ref()).filter(|id| !in_path || Some(&id.tenant) == own.as_ref());
    id.ok_or_else(|| ControlError::UnknownServer { name: name.to_owned() }.into())
}

/// The server in the path, where `/{server}` stands first unless a tenant does.
pub(super) fn mounted(request: &Request) -> Result<ServerId, Fault> {
    let name = request.param("server").unwrap_or_default();
    if request.param("tenant").is_none() && ADDRESS_WORDS.contains(&name) {
        return Err(ControlError::UnknownServer { name: name.to_owned() }.into());
    }
    server(request, name)
}

/// The endpoint on which a server's own names count.
pub(super) fn endpoint_of(id: &ServerId, request: &Request) -> Endpoint {
    Endpoint::plain(id.tenant.clone(), Some(id.name.clone()), request.mount.names)
}

/// `None` when there can be no such server.
fn parse(name: &str, tenant: Option<&TenantId>) -> Option<ServerId> {
    let (tenant, name) = match name.split_once(':') {
        Some((tenant, name)) => (TenantId::new(tenant)?, name),
        None => (tenant?.clone(), name),
    };
    Some(ServerId { tenant, name: ServerName::new(name)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_alone_or_with_its_tenant() {
        let acme = TenantId::new("acme").unwrap();
        for (name, tenant, want) in [
            ("github", Some(&acme), Some("acme:github")),
            ("default:github", Some(&acme), Some("default:github")),
            ("default:github", None, Some("default:github")),
            ("github", None, None),
            ("a:b:c", Some(&acme), None),
            (":github", Some(&acme), None),
            ("git.hub", Some(&acme), None),
            ("", Some(&acme), None),
        ] {
            assert_eq!(parse(name, tenant).map(|id| id.to_string()).as_deref(), want, "{name}");
        }
    }
}
