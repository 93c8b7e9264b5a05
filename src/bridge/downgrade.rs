//! A question as an older client can take it, and its answer as an older server can (MCP, elicitation and sampling, revision by
//! revision). What cannot be said in the older revision is a capability that the client lacks.

use std::borrow::Cow;

use super::{
    content::{Reader, Shape, text_block},
    json::{Object, Writer, array, elements},
    question::Kind,
};
use crate::protocol::{Version, capability::Profile};

/// The client's revision has no words for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inexpressible {
    /// What a client would need to be able to.
    pub needs: Profile,
}

/// `params` of a question (without `_meta`, `task` and `elicitationId`) for a client of that revision.
///
/// # Errors
/// That revision cannot say it.
pub(super) fn question(kind: Kind, params: &str, client: Version) -> Result<Cow<'_, str>, Inexpressible> {
    match kind {
        Kind::Url if client < Version::V2025_11_25 => Err(Inexpressible { needs: Profile::URL }),
        Kind::Form if client < Version::V2025_06_18 => Err(Inexpressible { needs: Profile::FORM }),
        Kind::Form if client < Version::V2025_11_25 => form(params).ok_or(Inexpressible { needs: Profile::FORM }).map(Cow::Owned),
        Kind::Sampling if client < Version::V2025_11_25 => {
            let needs = Profile::SAMPLING.with(Profile::SAMPLING_TOOLS);
            sampling(params, client).ok_or(Inexpressible { needs }).map(Cow::Owned)
        }
        Kind::Url | Kind::Form | Kind::Sampling | Kind::Roots => Ok(Cow::Borrowed(params)),
    }
}

/// 2025-06-18: no `mode`, no `$schema`, enums with `enumNames`, one choice of each.
fn form(params: &str) -> Option<String> {
    let params = Object::read(params)?;
    let schema = params.object("requestedSchema")?;
    let properties = schema.object("properties")?;
    let mut fields = Writer::new();
    for property in properties.fields() {
        fields = fields.member(&property.key, &field(property.value)?);
    }
    let schema = schema.without(&["$schema", "properties"]).member("properties", &fields.finish()).finish();
    Some(params.without(&["mode", "requestedSchema"]).member("requestedSchema", &schema).finish())
}

/// One property of the form; `None` when several values may be chosen.
fn field(schema: &str) -> Option<String> {
    let field = Object::read(schema)?;
    if field.string("type").as_deref() == Some("array") {
        return None;
    }
    let Some(options) = field.get("oneOf") else { return Some(schema.to_owned()) };
    let (mut values, mut titles) = (Vec::new(), Vec::new());
    for option in elements(options)? {
        let option = Object::read(option)?;
        let value = option.get("const")?;
        values.push(value);
        titles.push(option.get("title").unwrap_or(value));
    }
    Some(field.without(&["oneOf"]).member("enum", &array(values)).member("enumNames", &array(titles)).finish())
}

/// Before 2025-11-25: one block a message, no tools.
fn sampling(params: &str, client: Version) -> Option<String> {
    let params = Object::read(params)?;
    if params.get("tools").is_some() || params.get("toolChoice").is_some() {
        return None;
    }
    let mut messages = Vec::new();
    for message in elements(params.get("messages")?)? {
        let message = Object::read(message)?;
        let content = message.get("content")?;
        for block in elements(content).unwrap_or_else(|| vec![content]) {
            let kind = Object::read(block)?;
            if matches!(kind.string("type").as_deref(), Some("tool_use" | "tool_result")) {
                return None;
            }
            messages.push(message.without(&["content"]).member("content", block).finish());
        }
    }
    let messages = array(messages);
    let messages = Reader::new(client, None).apply(&messages, Shape::Messages);
    Some(params.without(&["messages"]).member("messages", &messages).finish())
}

/// The result of a question for a server of that revision: until 2025-11-25 a sampled message is one block.
pub(super) fn answer(kind: Kind, result: &str, server: Version) -> Cow<'_, str> {
    if kind != Kind::Sampling || server >= Version::V2025_11_25 {
        return Cow::Borrowed(result);
    }
    one_block(result).map_or(Cow::Borrowed(result), Cow::Owned)
}

fn one_block(result: &str) -> Option<String> {
    let result = Object::read(result)?;
    let blocks = elements(result.get("content")?)?;
    let texts: Option<Vec<_>> = blocks.iter().map(|block| Object::read(block)?.string("text")).collect();
    let block = match (blocks.as_slice(), texts) {
        ([only], _) => (*only).to_owned(),
        (_, Some(texts)) => text_block(&texts.join("\n")),
        ([first, ..], None) => (*first).to_owned(),
        ([], None) => return None,
    };
    Some(result.without(&["content"]).member("content", &block).finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: Kind, client: Version, cases: &[(&str, Option<&str>)]) {
        for (before, after) in cases {
            assert_eq!(question(kind, before, client).ok().as_deref(), *after, "{before}");
        }
    }

    #[test]
    fn a_form_for_2025_06_18_has_no_mode_and_titles_beside_its_values() {
        let newer = r#"{"mode":"form","message":"m","requestedSchema":{"$schema":"s","type":"object","properties":{"a":{"type":"string","title":"t","oneOf":[{"const":"x","title":"X"},{"const":"y"}]},"b":{"type":"integer","default":1.0}},"required":["a"]}}"#;
        let older = r#"{"message":"m","requestedSchema":{"type":"object","required":["a"],"properties":{"a":{"type":"string","title":"t","enum":["x","y"],"enumNames":["X","y"]},"b":{"type":"integer","default":1.0}}}}"#;
        check(Kind::Form, Version::V2025_06_18, &[(newer, Some(older)), (older, Some(older))]);
        check(Kind::Form, Version::V2025_11_25, &[(newer, Some(newer))]);
        check(Kind::Form, Version::V2025_03_26, &[(older, None)]);
    }

    #[test]
    fn what_an_older_revision_cannot_say_is_refused() {
        let many = r#"{"message":"m","requestedSchema":{"type":"object","properties":{"a":{"type":"array","items":{"enum":["x"]}}}}}"#;
        check(Kind::Form, Version::V2025_06_18, &[(many, None), (r#"{"message":"m"}"#, None)]);
        let url = r#"{"mode":"url","message":"m","url":"https://a.example"}"#;
        check(Kind::Url, Version::V2025_06_18, &[(url, None)]);
        check(Kind::Url, Version::V2025_11_25, &[(url, Some(url))]);
        for params in [
            r#"{"messages":[],"tools":[]}"#,
            r#"{"messages":[{"role":"assistant","content":{"type":"tool_use"}}]}"#,
            r#"{"messages":[{"role":"user","content":[{"type":"tool_result"}]}]}"#,
        ] {
            check(Kind::Sampling, Version::V2025_06_18, &[(params, None)]);
            check(Kind::Sampling, Version::V2025_11_25, &[(params, Some(params))]);
        }
    }

    #[test]
    fn a_message_of_several_blocks_becomes_several_of_one() {
        let two = r#"{"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"audio","mimeType":"audio/wav"}]},{"role":"assistant","content":{"type":"text","text":"b"}}],"maxTokens":5}"#;
        check(
            Kind::Sampling,
            Version::V2025_06_18,
            &[(
                two,
                Some(
                    r#"{"maxTokens":5,"messages":[{"role":"user","content":{"type":"text","text":"a"}},{"role":"user","content":{"type":"audio","mimeType":"audio/wav"}},{"role":"assistant","content":{"type":"text","text":"b"}}]}"#,
                ),
            )],
        );
        let oldest = question(Kind::Sampling, two, Version::V2024_11_05).unwrap();
        assert!(oldest.contains("[audio, audio/wav, that this client cannot take]"), "{oldest}");
    }

    #[test]
    fn a_sampled_message_is_one_block_to_an_older_server() {
        for (result, older) in [
            (
                r#"{"role":"assistant","content":{"type":"text","text":"a"}}"#,
                r#"{"role":"assistant","content":{"type":"text","text":"a"}}"#,
            ),
            (r#"{"content":[{"type":"image"}],"model":"m"}"#, r#"{"model":"m","content":{"type":"image"}}"#),
            (r#"{"content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}"#, r#"{"content":{"type":"text","text":"a\nb"}}"#),
            (r#"{"content":[{"type":"image"},{"type":"text","text":"b"}]}"#, r#"{"content":{"type":"image"}}"#),
        ] {
            assert_eq!(answer(Kind::Sampling, result, Version::V2025_06_18), older);
            assert_eq!(answer(Kind::Sampling, result, Version::V2025_11_25), result);
        }
    }
}
