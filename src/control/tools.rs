//! Which tools there are: by canonical name over servers and tenants, and one server's own with their definitions.

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Control, ControlError};
use crate::{
    access::Principal,
    catalog::{Names, Offer, Scope},
    name::{ServerId, TenantId},
    protocol::code::Reason,
    upstream::UpstreamError,
};

/// The canonical names of one server's tools, in the server's order.
#[derive(Debug, PartialEq, Eq)]
pub struct ServerTools {
    pub server: ServerId,
    pub running: bool,
    pub names: Vec<String>,
}

/// What a listing takes out of a tool's definition; schemas stay raw.
#[derive(Debug, Deserialize)]
pub struct ToolView<'a> {
    #[serde(borrow)]
    pub name: std::borrow::Cow<'a, str>,
    #[serde(default, borrow)]
    pub description: Option<&'a RawValue>,
    #[serde(default, borrow, rename = "inputSchema")]
    pub input_schema: Option<&'a RawValue>,
}

impl Control {
    /// All tools in the caller's reach, or of one tenant; servers in configured order. Unknown offers are learned in the
    /// background.
    ///
    /// # Errors
    /// The tenant is unknown.
    pub fn tools(&self, principal: &Principal, tenant: Option<&TenantId>) -> Result<Vec<ServerTools>, ControlError> {
        let mut all = Vec::new();
        for tenant in self.tenants_of(principal, tenant)? {
            self.fleet.learn(&tenant.id);
            for (name, names) in self.catalog.tool_names(&tenant.id) {
                let server = ServerId { tenant: tenant.id.clone(), name };
                let running = self.fleet.server(&server).is_some_and(|server| server.status().instances > 0);
                all.push(ServerTools { server, running, names });
            }
        }
        Ok(all)
    }

    /// The canonical form of a tool's name, whatever accepted form was given.
    pub fn canonical(&self, principal: &Principal, tenant: &TenantId, name: &str) -> Option<String> {
        let scope = Scope { tenant, server: None, names: Names::Dotted, uris: None };
        let route = principal.may_reach(tenant).then(|| self.catalog.resolve(scope, name))??;
        Some(route.canonical.clone())
    }

    /// The definitions of one server's tools as the server gave them, waiting for a server that must be started to know.
    ///
    /// # Errors
    /// The server is unknown, or what it offers cannot be known now.
    pub async fn definitions(&self, principal: &Principal, id: &ServerId) -> Result<Vec<Bytes>, ControlError> {
        let offer = self.offer(principal, id).await?;
        Ok(offer.tools.iter().map(|tool| tool.definition.clone()).collect())
    }

    /// What the server offers: at once when known; else the server is started to learn it, within its start time.
    ///
    /// # Errors
    /// The server is unknown, stopped, disabled, or could not be started.
    pub async fn offer(&self, principal: &Principal, id: &ServerId) -> Result<Arc<Offer>, ControlError> {
        let (_, server) = self.find(principal, id)?;
        let server = server.ok_or_else(|| ControlError::unknown_server(id))?;
        server.check_enabled()?;
        if let Some(offer) = self.catalog.offer(id) {
            return Ok(offer);
        }
        server.know().await?;
        self.catalog.offer(id).ok_or_else(|| unusable(id, Reason::BadAnswer, "did not list its tools"))
    }
}

fn unusable(id: &ServerId, reason: Reason, what: &str) -> ControlError {
    UpstreamError { server: id.clone(), reason, what: what.into(), retry_after_ms: None }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_is_read_for_what_a_listing_shows_and_no_further() {
        let text = r#"{"name":"a\u0062","inputSchema":{ "type":"object" },"annotations":{"x":[1]}}"#;
        let tool: ToolView<'_> = serde_json::from_str(text).unwrap();
        assert_eq!(tool.name, "ab");
        assert!(tool.description.is_none());
        assert_eq!(tool.input_schema.unwrap().get(), r#"{ "type":"object" }"#);
    }
}
