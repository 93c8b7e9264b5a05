//! `/{server}/mcp/{tools,call,health}`, also under `/t/{tenant}`: one server as a small REST service of its own, with its own tool
//! names and plain values as results.

use std::sync::Arc;

use hyper::{StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};

use super::{
    call::{self, Call},
    fault::{Fault, Subject},
    fields::{self, Fields},
    ok,
    page::Page,
    target::{self, endpoint_of},
};
use crate::{
    access::Principal,
    control::ToolView,
    downstream::{
        Doors, Reply, Request, reply,
        value::{Plain, value},
    },
    protocol::Method,
};

pub(super) async fn tools(doors: &Doors, principal: &Arc<Principal>, request: &Request) -> Result<Reply, Fault> {
    let id = target::mounted(request)?;
    let page = Page::of(request, "definitions")?;
    let definitions = doors.control.definitions(principal, &id).await?;
    let endpoint = format!("{}{}", base(doors, request), call_path(request));
    let tools: Vec<MountTool<'_>> = definitions.iter().filter_map(|definition| MountTool::of(definition, &endpoint)).collect();
    #[derive(Serialize)]
    struct Tools<'a> {
        tools: &'a [MountTool<'a>],
        server: &'a str,
        total: usize,
        #[serde(skip_serializing_if = "Option::is_none")]
        next_cursor: Option<String>,
    }
    let total = tools.len();
    let (tools, next_cursor) = page.of_ordered(tools, |tool| &tool.name)?;
    Ok(ok(&Tools { tools: &tools, server: id.name.as_str(), total, next_cursor }))
}

pub(super) async fn call(doors: &Arc<Doors>, principal: &Arc<Principal>, request: &mut Request) -> Result<Reply, Fault> {
    let id = target::mounted(request)?;
    let body = fields::body(request, doors.limits.body_bytes).await?;
    let fields = Fields::parse(&body)?;
    let tool = fields.text("tool", "Missing tool name")?;
    let arguments = fields.arguments()?;
    doors.control.offer(principal, &id).await?;
    let endpoint = endpoint_of(&id, request);
    let subject = Subject { tenant: id.tenant, server: Some(id.name), method: Method::ToolsCall, name: tool };
    let result = call::run(doors, Call::plain(principal, endpoint, subject.clone(), arguments)).await?.only(&subject)?;
    let Plain { value, is_error } = value(&result);
    let tail = if is_error { r#","isError":true}"# } else { "}" };
    Ok(call::around(r#"{"result":"#.into(), value, tail))
}

pub(super) fn health(doors: &Doors, principal: &Arc<Principal>, request: &Request) -> Result<Reply, Fault> {
    let id = target::mounted(request)?;
    let server = doors.control.server(principal, &id)?;
    let (status, word) = match server.status {
        "connected" => (StatusCode::OK, "healthy"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "unhealthy"),
    };
    Ok(reply::json(status, &json!({"status": word, "server": id.name, "state": server.state, "tools": server.tools()})))
}

/// A tool as its callers' forms need it: the schema whole, and its properties once more.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MountTool<'a> {
    name: std::borrow::Cow<'a, str>,
    description: Option<&'a RawValue>,
    input_schema: Option<&'a RawValue>,
    parameters: Option<&'a RawValue>,
    endpoint: &'a str,
}

impl<'a> MountTool<'a> {
    fn of(definition: &'a [u8], endpoint: &'a str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Schema<'a> {
            #[serde(borrow)]
            properties: Option<&'a RawValue>,
        }
        let tool: ToolView<'a> = serde_json::from_slice(definition).ok()?;
        let empty = |json| serde_json::from_str::<&RawValue>(json).ok();
        let schema = tool.input_schema.and_then(|schema| serde_json::from_str::<Schema<'a>>(schema.get()).ok());
        Some(Self {
            name: tool.name,
            description: tool.description.or_else(|| empty(r#""""#)),
            input_schema: tool.input_schema.or_else(|| empty("{}")),
            parameters: schema.and_then(|schema| schema.properties).or_else(|| empty("{}")),
            endpoint,
        })
    }
}

/// Where callers reach the hub: the configured address, else the one this request came to.
fn base(doors: &Doors, request: &Request) -> String {
    let gateway = &doors.settings.gateway;
    let origin = match &gateway.public_url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => format!("http://{}", request.header(header::HOST).unwrap_or("localhost")),
    };
    format!("{origin}{}", gateway.base_path)
}

/// The address of `call` beside the one that was asked, under the names of the path.
fn call_path(request: &Request) -> String {
    let server = request.param("server").unwrap_or_default();
    match request.param("tenant") {
        Some(tenant) => format!("/t/{tenant}/{server}/mcp/call"),
        None => format!("/{server}/mcp/call"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_shows_its_schema_and_the_properties_of_it_as_they_were_written() {
        let definition =
            br#"{"name":"add","description":"adds","inputSchema":{"type":"object","properties":{"a":{"type" : "number"}}},"title":"x"}"#;
        let tool = MountTool::of(definition, "http://h/math/mcp/call").unwrap();
        assert_eq!(
            serde_json::to_string(&tool).unwrap(),
            concat!(
                r#"{"name":"add","description":"adds","inputSchema":{"type":"object","properties":{"a":{"type" : "number"}}},"#,
                r#""parameters":{"a":{"type" : "number"}},"endpoint":"http://h/math/mcp/call"}"#
            )
        );
        let bare = MountTool::of(br#"{"name":"now"}"#, "u").unwrap();
        let bare = serde_json::to_string(&bare).unwrap();
        assert_eq!(bare, r#"{"name":"now","description":"","inputSchema":{},"parameters":{},"endpoint":"u"}"#);
    }
}
