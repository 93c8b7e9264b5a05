//! What handshake clients are shown for an `outputSchema` that only 2026-07-28 allows. There any schema may describe structured content, which may be
//! any value; before, the root is an object (MCP 2025-11-25, tools, output schema).

use super::definition::without;
use crate::protocol::{
    param::{DATA, NAMED_SCHEMAS},
    raw::{self, Field},
    refusal::quoted,
};

/// Schemas nested deeper are not looked into.
const DEPTH_MAX: usize = 64;
const RESULT: &str = "#/properties/result";
/// Says nothing but that it is an object, which structured content then is, however the server means it.
const ANY_OBJECT: &str = r#"{"type":"object"}"#;

/// In place of the schema as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) schema: Box<str>,
    /// Structured content of the tool goes as `{"result":…}`, whatever it is.
    pub(super) wraps: bool,
}

/// `None` for a schema that every client understands. Others become that of an object with the described value as `result`; references inside are moved
/// along. One in which they cannot be followed becomes that of any object.
pub(super) fn for_handshake(schema: &str) -> Option<Shown> {
    let any = || Some(Shown { schema: ANY_OBJECT.into(), wraps: false });
    let Some(root) = raw::fields(schema) else { return any() };
    if find(&root, "type").and_then(raw::text).is_some_and(|kind| kind == "object") {
        return None;
    }
    let mut moved = Vec::new();
    // With an id of its own it is a document of its own: its references mean itself wherever it stands.
    if find(&root, "$id").is_none() && !moves(schema, schema, 0, &mut moved) {
        return any();
    }
    let mut out = String::with_capacity(schema.len() + 128);
    out.push('{');
    let dialect = root.iter().position(|field| field.key == "$schema");
    if let Some(dialect) = dialect.and_then(|at| root.get(at)) {
        out.extend([r#""$schema":"#, dialect.value, ","]);
    }
    out.push_str(r#""type":"object","properties":{"result":"#);
    // Only the root of a document may name its dialect.
    if let Some(span) = dialect.filter(|_| find(&root, "$id").is_none()).and_then(|at| without(schema, &root, at)) {
        moved.push((span, String::new()));
    }
    moved.sort_by_key(|(span, _)| span.start);
    let mut copied = 0;
    for (span, text) in moved {
        out.push_str(schema.get(copied..span.start).unwrap_or_default());
        out.push_str(&text);
        copied = span.end;
    }
    out.push_str(schema.get(copied..).unwrap_or_default());
    out.push_str(r#"},"required":["result"]}"#);
    Some(Shown { schema: out.into(), wraps: true })
}

fn find<'a>(fields: &[Field<'a>], key: &str) -> Option<&'a str> {
    fields.iter().find(|field| field.key == key).map(|field| field.value)
}

type Edit = (std::ops::Range<usize>, String);

/// Collects what `schema`, a part of `whole`, has to say instead when `whole` is `#/properties/result`. `false`: that cannot be said.
fn moves(whole: &str, schema: &str, depth: usize, moved: &mut Vec<Edit>) -> bool {
    if depth > DEPTH_MAX {
        return false;
    }
    // `true`, `false`, or no schema at all.
    let Some(fields) = raw::fields(schema) else { return true };
    if depth > 0 && find(&fields, "$id").is_some() {
        return true;
    }
    fields.iter().all(|field| match &*field.key {
        "$ref" | "$dynamicRef" => match raw::text(field.value).as_deref().map(|reference| (reference, reference.strip_prefix('#'))) {
            Some((_, Some(pointer))) if pointer.is_empty() || pointer.starts_with('/') => {
                let place = raw::place(whole.as_bytes(), field.value);
                moved.extend(place.map(|place| (place, quoted(&format!("{RESULT}{pointer}")))));
                true
            }
            // A pointer in another spelling.
            Some((_, Some(pointer))) => !pointer.starts_with('%'),
            _ => true,
        },
        "$recursiveRef" => false,
        key if key == "properties" || NAMED_SCHEMAS.contains(&key) => {
            raw::fields(field.value).unwrap_or_default().iter().all(|named| moves(whole, named.value, depth + 1, moved))
        }
        key if DATA.contains(&key) => true,
        _ if field.value.starts_with('[') => {
            raw::elements(field.value).unwrap_or_default().iter().all(|element| moves(whole, element, depth + 1, moved))
        }
        _ => moves(whole, field.value, depth + 1, moved),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_shown(schema: &str, expected: Option<&str>) {
        let shown = for_handshake(schema);
        if let Some(shown) = &shown {
            serde_json::from_str::<serde_json::Value>(&shown.schema).unwrap_or_else(|error| panic!("{error}: {}", shown.schema));
        }
        let wrapped = expected.map(|inner| format!(r#"{{"type":"object","properties":{{"result":{inner}}},"required":["result"]}}"#));
        assert_eq!(shown.as_ref().map(|shown| (&*shown.schema, shown.wraps)), wrapped.as_deref().map(|schema| (schema, true)), "{schema}");
    }

    #[test]
    fn an_object_stays_and_anything_else_is_wrapped() {
        check_shown(r##"{"type":"object","properties":{"a":{"$ref":"#/$defs/a"}}}"##, None);
        check_shown(r#"{"$schema":"x","t\u0079pe":"object"}"#, None);
        for other in [
            "{}",
            r#"{"type":"array","items":{"type":"number"}}"#,
            r#"{"type":["object","null"]}"#,
            r#"{"anyOf":[{"type":"object"},{"type":"string"}]}"#,
            r#"{ "type" : "string" , "maximum" : 1.0e2 }"#,
        ] {
            check_shown(other, Some(other));
        }
    }

    #[test]
    fn references_to_the_document_move_with_it() {
        check_shown(
            r##"{"type":"array","items":{"$ref":"#/$defs/node"},"$defs":{"node":{"properties":{"next":{"$ref":"#/$defs/node"},"all":{"$ref":"#"}}}}}"##,
            Some(
                r##"{"type":"array","items":{"$ref":"#/properties/result/$defs/node"},"$defs":{"node":{"properties":{"next":{"$ref":"#/properties/result/$defs/node"},"all":{"$ref":"#/properties/result"}}}}}"##,
            ),
        );
        check_shown(
            r##"{"anyOf":[{"$r\u0065f":"#\/a~1\"b"},{"not":{"$dynamicRef":"#/x"}}]}"##,
            Some(r##"{"anyOf":[{"$r\u0065f":"#/properties/result/a~1\"b"},{"not":{"$dynamicRef":"#/properties/result/x"}}]}"##),
        );
        for same in [
            r##"{"$id":"urn:x","items":{"$ref":"#/$defs/a"}}"##,
            r##"{"items":{"$id":"urn:x","$ref":"#/$defs/a"}}"##,
            r##"{"items":{"$ref":"#anchor"},"$defs":{"a":{"$anchor":"anchor"}}}"##,
            r##"{"items":{"$ref":"urn:other#/a"}}"##,
            r##"{"const":{"$ref":"#/a"},"enum":[{"$ref":"#/a"}],"default":{"$ref":"#/a"},"examples":[{"$ref":"#/a"}]}"##,
            r##"{"properties":{"$ref":{"type":"string"}}}"##,
        ] {
            check_shown(same, Some(same));
        }
        check_shown(
            r##"{"properties":{"default":{"$ref":"#/a"}}}"##,
            Some(r##"{"properties":{"default":{"$ref":"#/properties/result/a"}}}"##),
        );
    }

    #[test]
    fn the_dialect_is_named_at_the_root() {
        for (schema, inner) in [
            (r#"{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"array"}"#, r#"{"type":"array"}"#),
            (r#"{"type":"array", "$schema":"https://json-schema.org/draft/2020-12/schema"}"#, r#"{"type":"array"}"#),
        ] {
            let shown = for_handshake(schema).unwrap();
            let dialect = r#"{"$schema":"https://json-schema.org/draft/2020-12/schema","#;
            assert_eq!(*shown.schema, format!(r#"{dialect}"type":"object","properties":{{"result":{inner}}},"required":["result"]}}"#));
        }
    }

    #[test]
    fn where_references_cannot_be_followed_any_object_will_do() {
        let deep = format!("{}{{}}{}", r#"{"not":"#.repeat(DEPTH_MAX + 1), "}".repeat(DEPTH_MAX + 1));
        for schema in ["true", "null", "[]", r##"{"$recursiveRef":"#"}"##, r##"{"items":{"$ref":"#%2F$defs"}}"##, &deep] {
            assert_eq!(for_handshake(schema), Some(Shown { schema: ANY_OBJECT.into(), wraps: false }), "{schema}");
        }
    }
}
