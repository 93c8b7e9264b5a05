//! Against two small revisions, one of each era, written as the specification writes its own.

use serde_json::{Value, json};

use super::*;
use crate::observe::wire::conversation::Conversation;

type Said = Vec<(char, Value)>;
/// What it is, the header, what is said, the revision and the path that the last message is judged by.
type ToClient<'c> = (&'c str, Option<&'c str>, Said, &'c str, Option<&'c str>);

const OLD: &str = "2025-06-18";
const NEW: &str = "2026-07-28";

fn named(method: &str, params: Value, members: &[&str]) -> Value {
    json!({"type": "object", "required": members, "properties": {"jsonrpc": {"const": "2.0"}, "id": {"type": ["string", "integer"]},
        "method": {"const": method}, "params": params}})
}

fn request(method: &str, params: Value) -> Value {
    named(method, params, &["jsonrpc", "id", "method", "params"])
}

fn notification(method: &str) -> Value {
    named(method, json!({"type": "object"}), &["jsonrpc", "method"])
}

fn any_of(root: &str, names: &[&str]) -> Value {
    json!({"anyOf": names.iter().map(|name| json!({"$ref": format!("#/{root}/{name}")})).collect::<Vec<_>>()})
}

pub(in crate::observe::wire) fn schemas() -> Schemas {
    let id = json!({"type": ["string", "integer"]});
    let error = json!({"type": "object", "required": ["code", "message"], "properties": {"code": {"type": "integer"}}});
    let content = json!({"anyOf": [
        {"required": ["type", "text"], "properties": {"type": {"const": "text"}, "text": {"type": "string"}}},
        {"required": ["type", "data"], "properties": {"type": {"const": "image"}, "data": {"type": "string"}}},
    ]});
    let call = json!({"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}});
    let old = json!({"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {
        "JSONRPCRequest": {"required": ["jsonrpc", "id", "method"]},
        "JSONRPCNotification": {"required": ["jsonrpc", "method"]},
        "JSONRPCResponse": {"required": ["jsonrpc", "id", "result"], "properties": {"id": id, "result": {"type": "object"}}},
        "JSONRPCError": {"required": ["jsonrpc", "id", "error"], "properties": {"id": id, "error": error}},
        "InitializeRequest": request("initialize", json!({"required": ["protocolVersion", "clientInfo"]})),
        "InitializeResult": {"required": ["protocolVersion", "serverInfo"]},
        "PingRequest": named("ping", json!({}), &["jsonrpc", "id", "method"]),
        "EmptyResult": {"type": "object"},
        "CallToolRequest": request("tools/call", call),
        "CallToolResult": {"required": ["content"], "properties": {"content": {"type": "array", "items": content}}},
        "ElicitRequest": request("elicitation/create", json!({"required": ["message"]})),
        "ElicitResult": {"required": ["action"]},
        "ToolListChangedNotification": notification("notifications/tools/list_changed"),
        "InitializedNotification": notification("notifications/initialized"),
        "ClientRequest": any_of("definitions", &["InitializeRequest", "PingRequest", "CallToolRequest"]),
        "ServerRequest": any_of("definitions", &["PingRequest", "ElicitRequest"]),
        "ClientNotification": any_of("definitions", &["InitializedNotification"]),
        "ServerNotification": any_of("definitions", &["ToolListChangedNotification"]),
    }});
    let with_code = |code: i64, data: Value| {
        let own = json!({"required": ["code", "data"], "properties": {"code": {"const": code}, "data": data}});
        json!({"properties": {"error": {"allOf": [{"$ref": "#/$defs/Error"}, own]}}})
    };
    let meta = json!({"required": ["io.modelcontextprotocol/protocolVersion", "io.modelcontextprotocol/clientCapabilities"]});
    let new = json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "$defs": {
        "JSONRPCRequest": {"required": ["jsonrpc", "id", "method"]},
        "JSONRPCNotification": {"required": ["jsonrpc", "method"]},
        "JSONRPCResultResponse": {"required": ["jsonrpc", "id", "result"], "properties": {"result": {"required": ["resultType"]}}},
        "JSONRPCErrorResponse": {"required": ["jsonrpc", "error"], "properties": {"id": id, "error": {"$ref": "#/$defs/Error"}}},
        "Error": error,
        "HeaderMismatchError": with_code(-32020, json!({})),
        "MissingRequiredClientCapabilityError": with_code(-32021, json!({"required": ["requiredCapabilities"]})),
        "CallToolRequest": request("tools/call", json!({"required": ["name", "_meta"], "properties": {"_meta": meta}})),
        "CallToolResult": {"required": ["content", "resultType"]},
        "InputRequiredResult": {"required": ["resultType"], "properties": {"requestState": {"type": "string"}}},
        "ElicitRequest": {"properties": {"method": {"const": "elicitation/create"}}},
        "CancelledNotification": notification("notifications/cancelled"),
        "ToolListChangedNotification": notification("notifications/tools/list_changed"),
        "ClientRequest": any_of("$defs", &["CallToolRequest"]),
        "ClientNotification": notification("notifications/cancelled"),
        "ServerNotification": any_of("$defs", &["CancelledNotification", "ToolListChangedNotification"]),
    }});
    let dir = tempfile::tempdir().unwrap();
    for (version, document) in [(OLD, old), (NEW, new)] {
        fs::create_dir(dir.path().join(version)).unwrap();
        fs::write(dir.path().join(version).join("schema.json"), document.to_string()).unwrap();
    }
    Schemas::read(dir.path()).unwrap()
}

/// What is said on one leg: `<` comes from the peer, `>` goes to it. The last message is judged: the revision, and the path where
/// it does not fit.
fn verdict(peer: Peer, header: Option<&str>, said: &[(char, Value)]) -> (String, Option<String>) {
    let schemas = schemas();
    let mut conversation = Conversation::new(peer);
    if let Some(version) = header {
        conversation.speaks(version);
    }
    let mut last = None;
    for (direction, message) in said {
        match direction {
            '<' => drop(conversation.received(message, &schemas)),
            _ => {
                let (subject, version) = conversation.sent(message, &schemas);
                last = Some((version.clone(), schemas.check(&version, &subject, message).err().map(|misfit| misfit.path)));
            }
        }
    }
    last.expect("something was sent")
}

fn meta() -> Value {
    json!({"io.modelcontextprotocol/protocolVersion": NEW, "io.modelcontextprotocol/clientCapabilities": {}})
}

#[test]
fn what_goes_to_a_client_must_fit_the_revision_that_it_speaks() {
    let call = |id: Value| ('<', json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "t"}}));
    let modern = |id: Value| ('<', json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "t", "_meta": meta()}}));
    let result = |id: Value, result: Value| ('>', json!({"jsonrpc": "2.0", "id": id, "result": result}));
    let error = |error: Value| ('>', json!({"jsonrpc": "2.0", "id": 1, "error": error}));
    let tell = |message: Value| vec![('>', message)];
    let text = json!({"content": [{"type": "text", "text": "a"}]});
    let complete = json!({"content": [], "resultType": "complete"});
    let initialize = ('<', json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": "1999-01-01"}}));
    let settled = result(json!(0), json!({"protocolVersion": OLD, "serverInfo": {}}));
    let cases: Vec<ToClient<'_>> = vec![
        ("a result", Some(OLD), vec![call(json!(1)), result(json!(1), text.clone())], OLD, None),
        ("of the other era", Some(OLD), vec![modern(json!(1)), result(json!(1), text.clone())], NEW, Some("/result")),
        ("in its own era", None, vec![modern(json!(1)), result(json!(1), complete.clone())], NEW, None),
        ("without what it must have", Some(OLD), vec![call(json!(1)), result(json!(1), json!({}))], OLD, Some("/result")),
        (
            "with a wrong block, which is found",
            Some(OLD),
            vec![call(json!(1)), result(json!(1), json!({"content": [{"type": "text", "text": 1}]}))],
            OLD,
            Some("/result/content/0/text"),
        ),
        ("to another id of the same digits", Some(OLD), vec![call(json!(1)), result(json!("1"), json!({}))], OLD, None),
        ("settled by the handshake", None, vec![initialize.clone(), settled.clone(), call(json!(1)), result(json!(1), text)], OLD, None),
        ("a bad handshake", None, vec![initialize.clone(), result(json!(0), json!({"protocolVersion": OLD}))], OLD, Some("/result")),
        ("both eras on one pipe", None, vec![initialize, settled, modern(json!(2)), call(json!(3)), result(json!(2), complete)], NEW, None),
        (
            "input is needed",
            None,
            vec![modern(json!(1)), result(json!(1), json!({"resultType": "input_required", "requestState": "s"}))],
            NEW,
            None,
        ),
        (
            "but nothing is asked",
            None,
            vec![modern(json!(1)), result(json!(1), json!({"resultType": "input_required"}))],
            NEW,
            Some("/result"),
        ),
        ("an extension's kind", None, vec![modern(json!(1)), result(json!(1), json!({"resultType": "task"}))], NEW, None),
        ("an error", Some(NEW), vec![error(json!({"code": -32603, "message": "m"}))], NEW, None),
        (
            "an error with data of its own",
            Some(NEW),
            vec![error(json!({"code": -32021, "message": "m", "data": {}}))],
            NEW,
            Some("/error/data"),
        ),
        ("no code", Some(OLD), vec![error(json!({"message": "m"}))], OLD, Some("/error")),
        ("id null, once", Some(OLD), tell(json!({"jsonrpc": "2.0", "id": null, "error": {"code": 1, "message": "m"}})), OLD, None),
        ("id null, now", Some(NEW), tell(json!({"jsonrpc": "2.0", "id": null, "error": {"code": 1, "message": "m"}})), NEW, Some("/id")),
        (
            "a question",
            Some(OLD),
            tell(json!({"jsonrpc": "2.0", "id": 1, "method": "elicitation/create", "params": {"message": "m"}})),
            OLD,
            None,
        ),
        (
            "one that lacks a member",
            Some(OLD),
            tell(json!({"jsonrpc": "2.0", "id": 1, "method": "elicitation/create", "params": {}})),
            OLD,
            Some("/params"),
        ),
        ("where there are none", Some(NEW), tell(json!({"jsonrpc": "2.0", "id": 1, "method": "ping"})), NEW, Some("/method")),
        ("news", Some(NEW), tell(json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})), NEW, None),
        ("a client's own", Some(OLD), tell(json!({"jsonrpc": "2.0", "method": "notifications/initialized"})), OLD, Some("/method")),
        ("an extension's", Some(OLD), tell(json!({"jsonrpc": "2.0", "method": "notifications/x/y"})), OLD, None),
        ("and its envelope", Some(OLD), tell(json!({"method": "notifications/x/y"})), OLD, Some("")),
    ];
    for (what, header, said, version, path) in cases {
        assert_eq!(verdict(Peer::Client, header, &said), (version.to_owned(), path.map(str::to_owned)), "{what}");
    }
}

#[test]
fn what_goes_to_a_server_must_fit_the_revision_that_was_settled() {
    let initialize =
        ('>', json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": OLD, "clientInfo": {}}}));
    let settled = ('<', json!({"jsonrpc": "2.0", "id": 1, "result": {"protocolVersion": OLD, "serverInfo": {}}}));
    let asked = ('<', json!({"jsonrpc": "2.0", "id": 0, "method": "elicitation/create", "params": {"message": "m"}}));
    let call = |params: Value| ('>', json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params}));
    let news = ('>', json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}));
    let cases: Vec<(&str, Said, &str, Option<&str>)> = vec![
        ("the handshake", vec![initialize.clone()], OLD, None),
        ("a call after it", vec![initialize.clone(), settled.clone(), call(json!({"name": "t"}))], OLD, None),
        ("without a name", vec![initialize.clone(), settled.clone(), call(json!({}))], OLD, Some("/params")),
        ("with an envelope", vec![call(json!({"name": "t", "_meta": meta()}))], NEW, None),
        (
            "with half of one",
            vec![call(json!({"name": "t", "_meta": {"io.modelcontextprotocol/protocolVersion": NEW}}))],
            NEW,
            Some("/params/_meta"),
        ),
        (
            "an answer to its question",
            vec![
                initialize.clone(),
                settled.clone(),
                asked.clone(),
                ('>', json!({"jsonrpc": "2.0", "id": 0, "result": {"action": "decline"}})),
            ],
            OLD,
            None,
        ),
        (
            "that says nothing",
            vec![initialize, settled, asked, ('>', json!({"jsonrpc": "2.0", "id": 0, "result": {}}))],
            OLD,
            Some("/result"),
        ),
        ("a server's own", vec![call(json!({"name": "t", "_meta": meta()})), news], NEW, Some("/method")),
    ];
    for (what, said, version, path) in cases {
        assert_eq!(verdict(Peer::Server, None, &said), (version.to_owned(), path.map(str::to_owned)), "{what}");
    }
}

#[test]
fn a_folder_without_schemas_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    assert!(Schemas::read(dir.path()).is_err());
    fs::create_dir(dir.path().join(OLD)).unwrap();
    fs::write(dir.path().join(OLD).join("schema.json"), r#"{"definitions": {}}"#).unwrap();
    assert!(Schemas::read(dir.path()).unwrap_err().to_string().contains("no definition names a method"));
}
