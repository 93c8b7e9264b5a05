//! What a tool's result says in one plain value, for doors whose callers want no content blocks. Everything stays the bytes it
//! was; nothing is built or re-serialised.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Raw JSON, sharing the result's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plain {
    pub value: Bytes,
    /// The tool ran and reports a failure.
    pub is_error: bool,
}

/// The only member `result` of `structuredContent` if it has no other; else `structuredContent`; else the text of a single text
/// block; else the content array. `result` is a tool result, a raw JSON object.
pub fn value(result: &Bytes) -> Plain {
    let Ok(parts) = serde_json::from_slice::<Parts<'_>>(result) else {
        // Not of the shape of a result, so nothing is known to be the value but all of it.
        return Plain { value: result.clone(), is_error: false };
    };
    let plain = match (parts.structured_content, parts.content) {
        (Some(structured), _) => Some(only_result(structured).unwrap_or(structured)),
        (None, Some(content)) => Some(only_text(content).unwrap_or(content)),
        (None, None) => None,
    };
    let value = plain.map_or(Bytes::from_static(b"[]"), |plain| result.slice_ref(plain.get().as_bytes()));
    Plain { value, is_error: parts.is_error.unwrap_or(false) }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Parts<'a> {
    #[serde(default, borrow)]
    structured_content: Option<&'a RawValue>,
    #[serde(default, borrow)]
    content: Option<&'a RawValue>,
    #[serde(default)]
    is_error: Option<bool>,
}

fn only_result(structured: &RawValue) -> Option<&RawValue> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct OnlyResult<'a> {
        // A member that is `null` is there, too: no `Option`.
        #[serde(borrow)]
        result: &'a RawValue,
    }
    // An array would be read as a struct in order.
    structured.get().starts_with('{').then(|| serde_json::from_str::<OnlyResult<'_>>(structured.get()).ok())?.map(|only| only.result)
}

fn only_text(content: &RawValue) -> Option<&RawValue> {
    #[derive(Deserialize)]
    struct Block<'a> {
        #[serde(rename = "type", borrow)]
        kind: std::borrow::Cow<'a, str>,
        #[serde(borrow)]
        text: &'a RawValue,
    }
    match serde_json::from_str::<[Block<'_>; 1]>(content.get()) {
        Ok([block]) if block.kind == "text" && block.text.get().starts_with('"') => Some(block.text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_read_down_to_its_plainest_value() {
        for (result, expected) in [
            (r#"{"content":[{"type":"text","text":"3"}],"structuredContent":{"result": 3.0 }}"#, "3.0"),
            (r#"{"structuredContent":{"result":null}}"#, "null"),
            (r#"{"structuredContent":{"result":{"result":1}}}"#, r#"{"result":1}"#),
            (r#"{"structuredContent":{"result":3,"unit":"m"}}"#, r#"{"result":3,"unit":"m"}"#),
            (r#"{"structuredContent":{"sum":3},"content":[]}"#, r#"{"sum":3}"#),
            (r#"{"structuredContent":{}}"#, "{}"),
            (r#"{"structuredContent":["result"]}"#, r#"["result"]"#),
            (r#"{"structuredContent":[1]}"#, "[1]"),
            (r#"{"structuredContent":null,"content":[{"type":"text","text":"a"}]}"#, r#""a""#),
            (r#"{"content":[{"type":"text","text":"\u0061\n","annotations":{}}]}"#, r#""\u0061\n""#),
            (r#"{"content":[{"type":"text","text":7}]}"#, r#"[{"type":"text","text":7}]"#),
            (
                r#"{"content":[{"type":"image","data":"","mimeType":"image/png"}]}"#,
                r#"[{"type":"image","data":"","mimeType":"image/png"}]"#,
            ),
            (
                r#"{"content":[{"type":"text","text":"a"}, {"type":"text","text":"b"}]}"#,
                r#"[{"type":"text","text":"a"}, {"type":"text","text":"b"}]"#,
            ),
            (r#"{"content":[]}"#, "[]"),
            (r#"{}"#, "[]"),
        ] {
            let plain = value(&Bytes::from_static(result.as_bytes()));
            assert_eq!((std::str::from_utf8(&plain.value), plain.is_error), (Ok(expected), false), "{result}");
        }
    }

    #[test]
    fn a_reported_failure_is_told_and_its_text_is_the_value() {
        let result = Bytes::from_static(br#"{"isError":true,"content":[{"type":"text","text":"no such city"}]}"#);
        assert_eq!(value(&result), Plain { value: Bytes::from_static(br#""no such city""#), is_error: true });
    }

    #[test]
    fn the_value_shares_the_bytes_of_the_result() {
        let result = Bytes::from(br#"{"content":[{"type":"text","text":"a"}]}"#.to_vec());
        let range = result.as_ptr_range();
        assert!(range.contains(&value(&result).value.as_ptr()));
    }
}
