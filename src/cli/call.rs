//! `mcp-hub call SERVER.TOOL ['{json}' | key=value …]`: calls a tool through a running hub and prints what it gave.

use std::process::ExitCode;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Serializer, ser::SerializeMap};
use serde_json::{Value, value::RawValue};

use super::{
    args::CallArgs,
    client::{Client, Failure, Output, finish},
};
use crate::name::TenantId;

/// What stays as it is in a part of a path (RFC 3986 §2.3).
const PART: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Exit code 1 also when the tool reports a failure.
pub async fn run(args: CallArgs) -> ExitCode {
    finish(call(&args).await, args.rest.json)
}

async fn call(args: &CallArgs) -> Result<Output, Failure> {
    let body = arguments(&args.arguments).map_err(Failure::Usage)?;
    let reply = Client::new(&args.rest)?.post(&path(&args.tool), body).await?;
    let result = reply.json.get("result").ok_or(Failure::NotJson)?;
    let failed = result.get("isError") == Some(&Value::Bool(true));
    let text = if args.rest.json { Output::raw(&reply).text } else { readable(result) };
    Ok(Output { text, failed })
}

/// `tenant:server.tool` names the tenant too; public names hold a dot before any colon.
fn path(tool: &str) -> String {
    match tool.split_once(':').and_then(|(tenant, tool)| Some((TenantId::new(tenant)?, tool))) {
        Some((tenant, tool)) => format!("/api/tools/{}/call?tenant_id={tenant}", utf8_percent_encode(tool, PART)),
        None => format!("/api/tools/{}/call", utf8_percent_encode(tool, PART)),
    }
}

/// The arguments object: one JSON text as it is, or `key=value` words. A value that is JSON is that JSON, any other is a string.
fn arguments(words: &[String]) -> Result<String, String> {
    if let [text] = words
        && text.trim_start().starts_with('{')
    {
        return match serde_json::from_str::<&RawValue>(text) {
            Ok(object) => Ok(object.get().to_owned()),
            Err(error) => Err(format!("the arguments are not JSON: {error}")),
        };
    }
    let mut pairs: Vec<(&str, Box<RawValue>)> = Vec::with_capacity(words.len());
    for word in words {
        let Some((key, value)) = word.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return Err(format!("'{word}' is neither key=value nor a JSON object"));
        };
        if pairs.iter().any(|(other, _)| *other == key) {
            return Err(format!("'{key}' is given twice"));
        }
        let value = serde_json::from_str(value).or_else(|_| serde_json::value::to_raw_value(value));
        pairs.push((key, value.map_err(|error| error.to_string())?));
    }
    let mut text = Vec::new();
    let mut serializer = serde_json::Serializer::new(&mut text);
    let written = serializer.serialize_map(Some(pairs.len())).and_then(|mut map| {
        for (key, value) in &pairs {
            map.serialize_entry(key, value)?;
        }
        map.end()
    });
    written.map_err(|error| error.to_string())?;
    String::from_utf8(text).map_err(|error| error.to_string())
}

/// The text of a result; what is not text is named. Without any content, the structured value.
fn readable(result: &Value) -> String {
    let blocks = result.get("content").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    match result.get("structuredContent") {
        Some(value) if blocks.is_empty() => format!("{value:#}"),
        _ => blocks.iter().map(block).collect::<Vec<_>>().join("\n"),
    }
}

fn block(block: &Value) -> String {
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let kind = text(block, "type").unwrap_or_else(|| "unknown".into());
    match kind.as_str() {
        "text" => text(block, "text").unwrap_or_default(),
        "resource" => {
            let resource = block.get("resource").unwrap_or(&Value::Null);
            text(resource, "text").unwrap_or_else(|| format!("[resource {}]", text(resource, "uri").unwrap_or_default()))
        }
        "resource_link" => format!("[resource {}]", text(block, "uri").unwrap_or_default()),
        _ => format!("[{kind} {}]", text(block, "mimeType").unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn arguments_are_one_object_or_words() {
        for (words, want) in [
            (&[][..], Ok("{}")),
            (&[r#" {"a": 1.0} "#], Ok(r#"{"a": 1.0}"#)),
            (&["a=1", "b=-2.50"], Ok(r#"{"a":1,"b":-2.50}"#)),
            (&["n=123456789012345678901234567890"], Ok(r#"{"n":123456789012345678901234567890}"#)),
            (&["text=hello world", "on=true", "none=null"], Ok(r#"{"text":"hello world","on":true,"none":null}"#)),
            (&["list=[1, 2]", r#"s="1""#, "empty=", "eq=a=b"], Ok(r#"{"list":[1, 2],"s":"1","empty":"","eq":"a=b"}"#)),
            (&[r#"ke"y=1"#], Ok(r#"{"ke\"y":1}"#)),
            (&["a"], Err("'a' is neither key=value nor a JSON object")),
            (&["=1"], Err("'=1' is neither key=value nor a JSON object")),
            (&["a=1", "a=2"], Err("'a' is given twice")),
            (&["[1]"], Err("'[1]' is neither key=value nor a JSON object")),
        ] {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(arguments(&words).as_deref().map_err(String::as_str), want, "{words:?}");
        }
        for broken in [r#"{"a":}"#, r#"{"a":1},"b":{}"#, "{"] {
            let error = arguments(&[broken.to_owned()]).unwrap_err();
            assert!(error.starts_with("the arguments are not JSON"), "{broken}: {error}");
        }
    }

    #[test]
    fn a_tool_may_be_named_with_its_tenant() {
        assert_eq!(path("github.create_issue"), "/api/tools/github.create_issue/call");
        assert_eq!(path("acme:github.create_issue"), "/api/tools/github.create_issue/call?tenant_id=acme");
        assert_eq!(path("fs.read/all ü"), "/api/tools/fs.read%2Fall%20%C3%BC/call");
        assert_eq!(path("fs.read:all"), "/api/tools/fs.read%3Aall/call");
    }

    #[test]
    fn a_result_reads_as_text() {
        for (result, want) in [
            (json!({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "structuredContent": {"x": 1}}), "a\nb"),
            (json!({"content": [], "structuredContent": {"x": 1}}), "{\n  \"x\": 1\n}"),
            (json!({"content": [{"type": "image", "mimeType": "image/png", "data": "AA=="}]}), "[image image/png]"),
            (json!({"content": [{"type": "resource", "resource": {"uri": "f:a", "text": "t"}}]}), "t"),
            (json!({"content": [{"type": "resource_link", "uri": "f:a"}]}), "[resource f:a]"),
            (json!({"content": []}), ""),
            (json!({}), ""),
        ] {
            assert_eq!(readable(&result), want, "{result}");
        }
    }
}
