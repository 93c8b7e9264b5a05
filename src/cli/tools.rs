//! `mcp-hub tools [list|info] [NAME]`, over REST.

use std::process::ExitCode;

use serde_json::Value;

use super::{
    args::{ToolsAction, ToolsArgs},
    client::{Client, Failure, Output, finish, table},
};
use crate::{
    catalog::{Names, name::publish},
    name::TenantId,
};

/// So much of a description fits on a line.
const DESCRIPTION_CHARS: usize = 80;

pub async fn run(args: ToolsArgs) -> ExitCode {
    finish(tools(&args).await, args.rest.json)
}

async fn tools(args: &ToolsArgs) -> Result<Output, Failure> {
    let client = Client::new(&args.rest)?;
    let names = client.get("/api/tools").await?;
    if args.rest.json && args.action == ToolsAction::List && args.name.is_none() {
        return Ok(Output::raw(&names));
    }
    let servers = client.get("/api/servers").await?;
    let found: Vec<Tool<'_>> = catalog(&names.json, &servers.json).filter(|tool| tool.is(args.action, args.name.as_deref())).collect();
    match (args.action, &args.name) {
        (ToolsAction::Info, Some(name)) if found.is_empty() => Err(Failure::Usage(format!("there is no tool '{name}'"))),
        (ToolsAction::List, Some(name)) if !is_known(&servers.json, name) => Err(Failure::Usage(format!("there is no server '{name}'"))),
        (ToolsAction::Info, _) => Ok(Output::text(found.iter().map(Tool::whole).collect::<Vec<_>>().join("\n"))),
        (ToolsAction::List, _) if args.rest.json => {
            let definitions: Vec<_> = found.iter().map(|tool| tool.definition).collect();
            Ok(Output::text(serde_json::to_string(&definitions).map_err(|_| Failure::NotJson)?))
        }
        (ToolsAction::List, _) => Ok(Output::text(list(&found))),
    }
}

/// By its name, or with its tenant before it.
fn is_known(servers: &Value, name: &str) -> bool {
    servers["servers"].as_array().into_iter().flatten().any(|server| is_server(server, name))
}

/// By its full id, or by its name alone in tenant `default`: as everywhere, who names no tenant means that one.
fn is_server(server: &Value, name: &str) -> bool {
    text(server, "server_id") == name || is_default(server) && text(server, "name") == name
}

fn is_default(server: &Value) -> bool {
    text(server, "tenant_id") == TenantId::DEFAULT
}

/// A tool with the name it is called by.
struct Tool<'a> {
    public: String,
    server: &'a Value,
    definition: &'a Value,
}

/// All tools: the definitions of `/api/servers`, each with its name in `/api/tools`.
fn catalog<'a>(names: &'a Value, servers: &'a Value) -> impl Iterator<Item = Tool<'a>> {
    let servers = servers["servers"].as_array().into_iter().flatten();
    servers.flat_map(move |server| {
        let listed = names["tools_by_server"][text(server, "server_id")].as_array().map_or(&[][..], Vec::as_slice);
        let definitions = server["capabilities"]["tools"].as_array().map_or(&[][..], Vec::as_slice);
        definitions.iter().map(move |definition| {
            let public = public_name(text(server, "name"), text(definition, "name"), listed);
            Tool { public, server, definition }
        })
    })
}

/// A name that the dotted style cannot carry is listed in the safe one, which may be cut short.
fn public_name(server: &str, tool: &str, listed: &[Value]) -> String {
    const SAFE_STEM: usize = 55;
    let dotted = format!("{server}.{tool}");
    let is_safe = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let safe: String = format!("{server}__{tool}").chars().map(|c| if is_safe(&c) { c } else { '_' }).collect();
    let stem: String = safe.chars().take(SAFE_STEM).collect();
    let names = || listed.iter().filter_map(Value::as_str);
    let found = names().find(|name| **name == dotted).or_else(|| names().find(|name| **name == safe));
    let found = found.or_else(|| names().find(|name| name.starts_with(&stem)));
    found.map_or(dotted, str::to_owned)
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap_or_default()
}

impl Tool<'_> {
    /// With `list`, whether its server is the wanted one; with `info`, whether it is itself.
    fn is(&self, action: ToolsAction, wanted: Option<&str>) -> bool {
        let Some(wanted) = wanted else { return true };
        match action {
            ToolsAction::List => is_server(self.server, wanted),
            ToolsAction::Info => {
                let of_tenant = wanted.split_once(':').filter(|(tenant, _)| *tenant == text(self.server, "tenant_id"));
                is_default(self.server) && self.is_called(wanted) || of_tenant.is_some_and(|(_, name)| self.is_called(name))
            }
        }
    }

    /// By any form that is accepted on a call.
    fn is_called(&self, name: &str) -> bool {
        let (server, tool) = (text(self.server, "name"), text(self.definition, "name"));
        let safe = |digest| publish(server, tool, Names::Safe, digest);
        name == self.public || name == format!("{server}.{tool}") || name == safe(false) || name == safe(true)
    }

    fn whole(&self) -> String {
        let text = |name: &str| self.definition[name].as_str().unwrap_or_default();
        let schema = &self.definition["inputSchema"];
        format!(
            "{}  (server {})\n{}\n{schema:#}\n",
            self.public,
            self.server["server_id"].as_str().unwrap_or_default(),
            text("description")
        )
    }
}

fn list(tools: &[Tool<'_>]) -> String {
    if tools.is_empty() {
        return "no tools known; a server that is starting tells its tools in a moment\n".into();
    }
    let rows: Vec<_> = tools
        .iter()
        .map(|tool| {
            let name = match text(tool.server, "tenant_id") {
                TenantId::DEFAULT => tool.public.clone(),
                tenant => format!("{tenant}:{}", tool.public),
            };
            [name, shortened(text(tool.definition, "description"))]
        })
        .collect();
    table(["TOOL", "DESCRIPTION"], &rows)
}

/// Its first line, cut.
fn shortened(text: &str) -> String {
    let line = text.trim_start().lines().next().unwrap_or_default();
    if line.chars().count() <= DESCRIPTION_CHARS {
        return line.to_owned();
    }
    let mut cut: String = line.chars().take(DESCRIPTION_CHARS - 1).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answers() -> (Value, Value) {
        let names = json!({"tools_by_server": {"default:fs": ["fs__odd_name", "fs.read"], "acme:fs": ["fs.read"]}});
        let tool = |name: &str| json!({"name": name, "description": "reads\nmore", "inputSchema": {"type": "object"}});
        let server = |tenant: &str, tools: &[&str]| {
            let tools: Vec<_> = tools.iter().map(|name| tool(name)).collect();
            json!({"name": "fs", "tenant_id": tenant, "server_id": format!("{tenant}:fs"), "capabilities": {"tools": tools}})
        };
        (names, json!({"servers": [server("default", &["read", "odd name"]), server("acme", &["read"])]}))
    }

    #[test]
    fn tools_are_listed_by_the_name_they_are_called_by() {
        let (names, servers) = answers();
        let all: Vec<_> = catalog(&names, &servers).collect();
        assert_eq!(
            list(&all),
            "TOOL          DESCRIPTION\n\
             fs.read       reads\n\
             fs__odd_name  reads\n\
             acme:fs.read  reads\n"
        );
        assert!(list(&[]).starts_with("no tools"));
    }

    #[test]
    fn a_server_is_known_by_either_of_its_names() {
        let (_, servers) = answers();
        for (name, known) in [("fs", true), ("acme:fs", true), ("other:fs", false), ("default:fs", true), ("fs.read", false)] {
            assert_eq!(is_known(&servers, name), known, "{name}");
        }
    }

    #[test]
    fn a_name_chooses_a_server_or_a_tool() {
        let (names, servers) = answers();
        for (action, wanted, want) in [
            (ToolsAction::List, None, 3),
            (ToolsAction::List, Some("fs"), 2),
            (ToolsAction::List, Some("acme:fs"), 1),
            (ToolsAction::List, Some("x"), 0),
            (ToolsAction::Info, Some("fs.read"), 1),
            (ToolsAction::Info, Some("acme:fs.read"), 1),
            (ToolsAction::Info, Some("fs__odd_name"), 1),
            (ToolsAction::Info, Some("fs.odd name"), 1),
            (ToolsAction::Info, Some("fs__read"), 1),
            (ToolsAction::Info, Some("acme:fs__read"), 1),
            (ToolsAction::Info, Some("fs__odd_name_e2b30085"), 1),
            (ToolsAction::Info, Some("other:fs.read"), 0),
            (ToolsAction::Info, Some("read"), 0),
        ] {
            let found = catalog(&names, &servers).filter(|tool| tool.is(action, wanted)).count();
            assert_eq!(found, want, "{action:?} {wanted:?}");
        }
        let whole = catalog(&names, &servers).next().unwrap().whole();
        assert!(whole.starts_with("fs.read  (server default:fs)\nreads\nmore\n{\n  \"type\""), "{whole}");
    }

    #[test]
    fn the_listed_name_is_found_in_whatever_style_it_is() {
        let long = "x".repeat(80);
        let cut = format!("fs__{}_0123abcd", "x".repeat(51));
        for (tool, listed, want) in [
            ("read.all", vec!["fs.read.all"], "fs.read.all"),
            ("read all", vec!["fs.other", "fs__read_all"], "fs__read_all"),
            (&long, vec!["fs.other", &cut], &cut),
            ("read", vec![], "fs.read"),
        ] {
            let listed: Vec<Value> = listed.into_iter().map(Value::from).collect();
            assert_eq!(public_name("fs", tool, &listed), want, "{tool}");
        }
    }

    #[test]
    fn a_long_description_is_cut_between_characters() {
        let long = "ü".repeat(200);
        assert_eq!(shortened(&long).chars().count(), DESCRIPTION_CHARS);
        assert_eq!(shortened("\n  a\nb"), "a");
    }
}
