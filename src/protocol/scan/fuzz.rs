//! What must hold for any bytes, asked of `serde_json`. The only place of the scanner that builds a tree.

use serde::de::IgnoredAny;
use serde_json::Value;

use super::{Fault, Kind, Member, Scan, Span, elements, scan};
use crate::protocol::Message;

/// Whatever the bytes: JSON is told from other text exactly as `serde_json` tells it (but for the depth at which each gives up), what
/// was found is what a tree of the same text holds, and of a message without repeated or mis-cased keys the tree alone tells the kind.
pub fn fuzz_scan(data: &[u8]) {
    let scanned = scan(data);
    let is_json = match serde_json::from_slice::<IgnoredAny>(data) {
        // `IgnoredAny` skips strings without a look at their UTF-8.
        Ok(_) => std::str::from_utf8(data).is_ok(),
        Err(error) if error.to_string().starts_with("recursion limit exceeded") => return,
        Err(_) => false,
    };
    let is_parsed = !matches!(&scanned, Err(error) if error.fault == Fault::Parse);
    assert_eq!(is_parsed, is_json, "{scanned:?}");
    if let Err(error) = &scanned {
        assert!(error.at <= data.len(), "{error}");
    }
    // Trees cannot hold all that is JSON: no half of a surrogate pair, no number beyond f64.
    let Ok(tree) = serde_json::from_slice::<Value>(data) else { return };
    if tree.get("id").is_some_and(Value::is_f64) {
        return; // An integer beyond 64 bits, or -0, is a float in a tree.
    }
    match scanned {
        Ok(found) => {
            assert_eq!(kind_of(&tree), Some(found.kind));
            check_against_tree(data, &found, &tree);
        }
        Err(error) => {
            if !error.what.starts_with("mis-cased") && !repeats_a_key(data, &tree) {
                assert_eq!(kind_of(&tree), None, "{error}");
            }
            check_elements(data, &tree);
        }
    }
}

/// A tree keeps one member of a name, the text has a colon for each.
fn repeats_a_key(data: &[u8], tree: &Value) -> bool {
    fn members(value: &Value) -> usize {
        match value {
            Value::Object(object) => object.len() + object.values().map(members).sum::<usize>(),
            Value::Array(array) => array.iter().map(members).sum(),
            _ => 0,
        }
    }
    let (mut colons, mut in_string, mut bytes) = (0, false, data.iter());
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => in_string = !in_string,
            b'\\' => _ = bytes.next(),
            b':' if !in_string => colons += 1,
            _ => {}
        }
    }
    colons != members(tree)
}

/// What was found is what a tree of the same text holds.
pub(super) fn check_against_tree(data: &[u8], found: &Scan, tree: &Value) {
    let same = |span: Option<Span>, value: Option<&Value>| {
        let read = span.map(|span| serde_json::from_slice::<Value>(span.of(data)).expect("a span is one JSON value"));
        assert_eq!(read.as_ref(), value);
    };
    let same_member = |member: Option<Member>, name: &str, object: Option<&Value>| {
        same(member.map(|member| member.value), object.and_then(|object| object.get(name)));
        if let Some(member) = member {
            assert_eq!(serde_json::from_slice::<String>(member.key.of(data)).ok().as_deref(), Some(name));
        }
    };
    let (params, result, error) = (tree.get("params"), tree.get("result"), tree.get("error"));
    let of = |object: Option<&Value>, name: &str| object.and_then(|object| object.get(name)).cloned();
    for (span, object, name) in [
        (found.name, params, "name"),
        (found.uri, params, "uri"),
        (found.task_id, params, "taskId"),
        (found.cursor, params, "cursor"),
        (found.arguments, params, "arguments"),
        (found.protocol_version, params, "protocolVersion"),
        (found.request_id, params, "requestId"),
        (found.progress_token, params, "progressToken"),
        (found.content, result, "content"),
        (found.structured_content, result, "structuredContent"),
        (found.is_error, result, "isError"),
        (found.error_message, error, "message"),
        (found.error_data, error, "data"),
    ] {
        same(span, of(object, name).as_ref());
    }
    same(found.method, tree.get("method"));
    same(found.params, params);
    same(found.result, result);
    same(found.error, error);
    same(found.id, tree.get("id").filter(|id| !id.is_null()));
    if let Some(code) = found.error_code {
        same(Some(code), of(error, "code").as_ref());
    }
    same_member(found.task, "task", params);
    assert_eq!(found.has_input_responses, of(params, "inputResponses").is_some());
    assert_eq!(found.has_request_state, of(params, "requestState").is_some());
    same_member(found.result_type, "resultType", result);
    same_member(found.ttl_ms, "ttlMs", result);
    same_member(found.cache_scope, "cacheScope", result);
    let meta = of(params.or(result), "_meta");
    let meta = meta.as_ref();
    same(found.meta.object, meta);
    same_member(found.meta.progress_token, "progressToken", meta);
    // A large integer, or -0, is a float to the tree.
    if let Some(token) = of(meta, "progressToken").filter(|token| !token.is_f64()) {
        assert_eq!(found.meta.is_progress_token_wrong, !token.is_string() && !token.is_number());
    }
    for (member, name) in [
        (found.meta.protocol_version, "io.modelcontextprotocol/protocolVersion"),
        (found.meta.client_capabilities, "io.modelcontextprotocol/clientCapabilities"),
        (found.meta.client_info, "io.modelcontextprotocol/clientInfo"),
        (found.meta.log_level, "io.modelcontextprotocol/logLevel"),
        (found.meta.server_info, "io.modelcontextprotocol/serverInfo"),
    ] {
        same_member(member, name, meta);
    }
    assert_eq!(found.has_newline, data.iter().any(|byte| matches!(byte, b'\n' | b'\r')));
    let inside = [params, result].into_iter().flatten().filter_map(Value::as_object).flatten().filter(|(key, _)| *key != "_meta");
    assert!(found.has_inner_uri || !inside.into_iter().any(|(_, value)| holds_uri(value)));
    let message = Message::parse(bytes::Bytes::copy_from_slice(data)).expect("it was scanned before");
    assert_eq!(message.id().is_some(), found.id.is_some());
    assert_eq!(message.name().as_deref(), params.and_then(|params| params.get("name")?.as_str()));
    let method = tree.get("method").and_then(Value::as_str).unwrap_or_default();
    assert_eq!(message.method().as_str(), method);
}

/// Whether any object in it has a member `uri`.
fn holds_uri(value: &Value) -> bool {
    match value {
        Value::Object(members) => members.iter().any(|(key, value)| key == "uri" || holds_uri(value)),
        Value::Array(elements) => elements.iter().any(holds_uri),
        _ => false,
    }
}

/// The rules of the envelope once more, said of a tree.
fn kind_of(tree: &Value) -> Option<Kind> {
    let envelope = tree.as_object().filter(|envelope| envelope.get("jsonrpc").is_some_and(|version| version == "2.0"))?;
    let id = envelope.get("id");
    let is_id = |id: &Value| id.is_string() || id.is_i64() || id.is_u64();
    for name in ["params", "result", "error"] {
        let object = envelope.get(name).map(Value::as_object);
        let meta = object.flatten().filter(|_| name != "error").and_then(|object| object.get("_meta"));
        if object == Some(None) || meta.is_some_and(|meta| !meta.is_object()) {
            return None;
        }
    }
    let has = |name| envelope.contains_key(name);
    match (has("method"), has("params"), has("result"), has("error")) {
        (true, _, false, false) if envelope.get("method").is_some_and(Value::is_string) => match id {
            None => Some(Kind::Notification),
            Some(id) => is_id(id).then_some(Kind::Request),
        },
        (false, false, true, false) => id.is_some_and(is_id).then_some(Kind::Result),
        (false, false, false, true) => id.is_none_or(|id| id.is_null() || is_id(id)).then_some(Kind::Error),
        _ => None,
    }
}

/// A batch is split as the tree is.
fn check_elements(data: &[u8], tree: &Value) {
    let Some(values) = tree.as_array() else { return };
    match elements(data) {
        Ok(spans) => {
            let read: Vec<Value> =
                spans.iter().map(|span| serde_json::from_slice(span.of(data)).expect("an element is one JSON value")).collect();
            assert_eq!(&read, values);
        }
        Err(error) => {
            assert_eq!(error.fault, Fault::Invalid);
            assert!(values.is_empty() || values.len() > crate::limits::BATCH_MAX);
        }
    }
}
