//! Where the parts of a tool's definition lie that the hub touches: the value of `name`, and the member `execution`. Everything else is the
//! server's, byte for byte.

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use std::{fmt, ops::Range};

/// Spans in one definition, which was found to be a JSON object with one string `name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    name: Range<usize>,
    /// With the comma that goes with it.
    execution: Option<Range<usize>>,
}

impl Layout {
    /// The layout, and the name unescaped. `None` when this is no such object, or a name or `execution` is there twice: two readers would then
    /// see two different tools.
    pub(super) fn find(definition: &[u8]) -> Option<(Self, String)> {
        let text = std::str::from_utf8(definition).ok()?;
        let Members { name, execution } = serde_json::from_str(text).ok()?;
        let unescaped = serde_json::from_str(name).ok()?;
        let execution = match execution {
            Some(member) => Some(member.span(text)?),
            None => None,
        };
        Some((Self { name: place(text, name), execution }, unescaped))
    }

    /// Appends the definition under `name` (else its own), with or without `execution`. Line breaks, which can only stand between tokens, become
    /// spaces, since a list may leave on a transport that frames by lines.
    pub(super) fn write(&self, definition: &[u8], name: Option<&str>, execution: bool, out: &mut Vec<u8>) {
        let start = out.len();
        let name = name.map(|name| (&self.name, name));
        let execution = self.execution.as_ref().filter(|_| !execution).map(|span| (span, ""));
        let edits = match (name, execution) {
            (Some(name), Some(execution)) if execution.0.start < name.0.start => [Some(execution), Some(name)],
            (name, execution) => [name, execution],
        };
        let mut copied = 0;
        for (span, text) in edits.into_iter().flatten() {
            out.extend_from_slice(definition.get(copied..span.start).unwrap_or_default());
            if !text.is_empty() {
                out.push(b'"');
                out.extend_from_slice(text.as_bytes());
                out.push(b'"');
            }
            copied = span.end;
        }
        out.extend_from_slice(definition.get(copied..).unwrap_or_default());
        for byte in out.get_mut(start..).unwrap_or_default() {
            if matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
    }
}

/// Raw values of the members that matter.
struct Members<'a> {
    name: &'a str,
    execution: Option<Member<'a>>,
}

struct Member<'a> {
    value: &'a str,
    /// The value of the member in front of it.
    before: Option<&'a str>,
}

impl Member<'_> {
    /// The member and one comma, so that the object without it is well formed.
    fn span(&self, text: &str) -> Option<Range<usize>> {
        let end = place(text, self.value).end;
        if let Some(before) = self.before {
            return Some(place(text, before).end..end);
        }
        let rest = text.get(end..)?;
        let comma = rest.trim_ascii_start().starts_with(',');
        let end = if comma { end + rest.find(',')? + 1 } else { end };
        Some(text.find('{')? + 1..end)
    }
}

/// Where `part`, borrowed from `text`, lies in it.
fn place(text: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - text.as_ptr().addr();
    start..start + part.len()
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Top;
        impl<'de> Visitor<'de> for Top {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a tool definition")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let (mut name, mut execution, mut before) = (None, None, None);
                while let Some(key) = map.next_key::<String>()? {
                    let value = map.next_value::<&'de RawValue>()?.get();
                    let duplicate = match key.as_str() {
                        "name" => name.replace(value).is_some(),
                        "execution" => execution.replace(Member { value, before }).is_some(),
                        _ => false,
                    };
                    if duplicate {
                        return Err(A::Error::custom("a member is there twice"));
                    }
                    before = Some(value);
                }
                let name = name.ok_or_else(|| A::Error::missing_field("name"))?;
                Ok(Members { name, execution })
            }
        }
        deserializer.deserialize_map(Top)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_write(definition: &str, name: Option<&str>, execution: bool, expected: &str) {
        let (layout, _) = Layout::find(definition.as_bytes()).unwrap();
        let mut out = b"before".to_vec();
        layout.write(definition.as_bytes(), name, execution, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), format!("before{expected}"), "{definition}");
    }

    #[test]
    fn only_the_name_changes() {
        check_write(r#"{"name":"a"}"#, Some("s.a"), true, r#"{"name":"s.a"}"#);
        check_write(r#" { "name" : "a" , "x":1e2 } "#, Some("s.a"), true, r#" { "name" : "s.a" , "x":1e2 } "#);
        check_write(
            r#"{"title":"name","name":"a","inputSchema":{"name":"b"}}"#,
            Some("s.a"),
            true,
            r#"{"title":"name","name":"s.a","inputSchema":{"name":"b"}}"#,
        );
        check_write(r#"{"n\u0061me":"\u0061"}"#, Some("s.a"), false, r#"{"n\u0061me":"s.a"}"#);
        check_write(r#"{"n\u0061me":"\u0061", "execution":1}"#, None, true, r#"{"n\u0061me":"\u0061", "execution":1}"#);
        check_write("{\"name\":\"a\",\r\n\t\"x\":\"\\n\"}", None, true, "{\"name\":\"a\",  \t\"x\":\"\\n\"}");
    }

    #[test]
    fn execution_goes_with_its_comma() {
        for (definition, expected) in [
            (r#"{"execution":{"taskSupport":"optional"},"name":"a"}"#, r#"{"name":"s.a"}"#),
            (r#"{ "execution" : null , "name":"a"}"#, r#"{ "name":"s.a"}"#),
            (r#"{"name":"a","execution":{}}"#, r#"{"name":"s.a"}"#),
            (r#"{"name":"a" , "execution":"," , "x":[]}"#, r#"{"name":"s.a" , "x":[]}"#),
            (r#"{"x":1,"\u0065xecution":[{}],"name":"a"}"#, r#"{"x":1,"name":"s.a"}"#),
            (r#"{"name":"a","_meta":{"execution":1}}"#, r#"{"name":"s.a","_meta":{"execution":1}}"#),
        ] {
            check_write(definition, Some("s.a"), false, expected);
        }
    }

    #[test]
    fn names_are_unescaped_and_other_documents_refused() {
        assert_eq!(Layout::find(r#"{"name":"\u00e9\"\n"}"#.as_bytes()).unwrap().1, "é\"\n");
        for refused in [
            "",
            "null",
            "[]",
            "\"name\"",
            "{}",
            "{\"name\":1}",
            "{\"name\":null}",
            "{\"Name\":\"a\"}",
            "{\"name\":\"a\"",
            "{\"name\":\"a\"} x",
            "{\"name\":\"a\",}",
            "{\"name\":\"a\",\"name\":\"a\"}",
            "{\"name\":\"a\",\"n\\u0061me\":\"b\"}",
            "{\"name\":\"a\",\"execution\":1,\"execution\":2}",
            "{\"name\":\"\\ud800\"}",
        ] {
            assert_eq!(Layout::find(refused.as_bytes()), None, "{refused}");
        }
        assert_eq!(Layout::find(b"{\"name\":\"\xff\"}"), None);
    }
}
