//! Tool arguments that are mirrored in HTTP headers: a property whose schema has `x-mcp-header: "<X>"` travels as `Mcp-Param-<X>` too
//! (MCP 2026-07-28, Streamable HTTP, custom headers from tool parameters).
//!
//! The annotations of a schema are read once; values are taken from raw arguments along their paths, and the rest is skipped over.

use std::borrow::Cow;

use super::{Refusal, code::Code, header, raw};

const ANNOTATION: &str = "x-mcp-header";
const PREFIX: &str = "Mcp-Param-";
/// Headers that one tool may ask for; more would not fit into a request.
const PARAMS_MAX: usize = 32;
/// Schemas nested deeper are not looked into.
const DEPTH_MAX: usize = 64;
/// Up to here every integer has a double of its own.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// One argument and the header that mirrors it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderParam {
    /// The whole name, `Mcp-Param-Region`.
    pub header: Box<str>,
    /// Keys from `arguments` inwards.
    pub path: Box<[Box<str>]>,
}

/// What the annotations of one schema say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderParams {
    pub params: Vec<HeaderParam>,
    /// The first annotation that breaks a rule: clients over HTTP drop such a tool.
    pub complaint: Option<String>,
}

impl HeaderParams {
    /// Of a raw `inputSchema`.
    pub fn find(schema: &str) -> Self {
        let mut found = Self::default();
        // Most schemas have none; a key may be written with escapes.
        if schema.contains(ANNOTATION) || schema.contains("\\u") {
            found.schema(schema, Some(&mut Vec::new()), 0);
        }
        found
    }

    /// `path`: the keys of properties that lead here, if nothing else does.
    fn schema<'a>(&mut self, schema: &'a str, mut path: Option<&mut Vec<Cow<'a, str>>>, depth: usize) {
        let Some(fields) = raw::fields(schema).filter(|_| depth < DEPTH_MAX) else { return };
        for field in &fields {
            match &*field.key {
                ANNOTATION => self.annotation(field.value, &fields, path.as_deref()),
                "properties" => {
                    for property in raw::fields(field.value).unwrap_or_default() {
                        match &mut path {
                            Some(path) => {
                                path.push(property.key);
                                self.schema(property.value, Some(path), depth + 1);
                                path.pop();
                            }
                            None => self.schema(property.value, None, depth + 1),
                        }
                    }
                }
                key if NAMED_SCHEMAS.contains(&key) => {
                    raw::fields(field.value).unwrap_or_default().iter().for_each(|named| self.schema(named.value, None, depth + 1));
                }
                key if DATA.contains(&key) => {}
                _ if field.value.starts_with('[') => {
                    raw::elements(field.value).unwrap_or_default().iter().for_each(|element| self.schema(element, None, depth + 1));
                }
                _ => self.schema(field.value, None, depth + 1),
            }
        }
    }

    fn annotation(&mut self, token: &str, schema: &[raw::Field<'_>], path: Option<&Vec<Cow<'_, str>>>) {
        let name = raw::text(token).unwrap_or_default();
        let kind = schema.iter().find(|field| field.key == "type").and_then(|field| raw::text(field.value)).unwrap_or_default();
        let header = format!("{PREFIX}{name}");
        let wrong = match path {
            _ if !is_token(&name) => "is no name of a header",
            None => "stands where no path of properties leads",
            Some(path) if path.is_empty() => "stands where no path of properties leads",
            _ if !matches!(&*kind, "string" | "integer" | "boolean") => "is on a property that is no string, integer or boolean",
            _ if self.params.iter().any(|param| param.header.eq_ignore_ascii_case(&header)) => "is there twice",
            _ if self.params.len() >= PARAMS_MAX => "is beyond the most that one tool may ask for",
            Some(path) => {
                let path = path.iter().map(|key| key.as_ref().into()).collect();
                self.params.push(HeaderParam { header: header.into(), path });
                return;
            }
        };
        let shown: String = name.chars().take(64).collect();
        self.complaint.get_or_insert_with(|| format!("{ANNOTATION} {shown:?} {wrong}"));
    }
}

/// Keywords whose members are schemas by name.
pub const NAMED_SCHEMAS: [&str; 5] = ["patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies"];
/// Keywords whose values are no schemas, whatever they look like.
pub const DATA: [&str; 5] = ["const", "default", "enum", "example", "examples"];

/// The headers for a call with these raw `arguments`, each with its text, not yet encoded (`header::encode`). What is absent, `null` or no
/// single value has none.
///
/// # Errors
/// The arguments name a mirrored key twice.
pub fn values<'p>(params: &'p [HeaderParam], arguments: &[u8]) -> Result<Vec<(&'p str, String)>, raw::Unclear> {
    let mut values = Vec::with_capacity(params.len());
    for param in params {
        if let Some(value) = value(param, arguments)? {
            values.push((&*param.header, value.text.into_owned()));
        }
    }
    Ok(values)
}

/// Compares the headers of a call with its raw `arguments`. `received`: the value of a header by its name in any case, as received.
///
/// # Errors
/// `-32020`, 400, without an id: one is missing, too much, undecodable or another than the argument.
pub fn check<'h>(params: &[HeaderParam], arguments: &[u8], received: impl Fn(&str) -> Option<&'h str>) -> Result<(), Refusal> {
    let mismatch = |what: String| Refusal::new(Code::HeaderMismatch, 400, what);
    for param in params {
        let HeaderParam { header, path } = param;
        let body = value(param, arguments).map_err(|_| mismatch(format!("the argument {} is there twice", path.join("."))))?;
        match (received(header), body) {
            (None, None) => {}
            (None, Some(_)) => return Err(mismatch(format!("{header} is missing; it mirrors the argument {}", path.join(".")))),
            (Some(_), None) => return Err(mismatch(format!("{header} mirrors an argument that is not there"))),
            (Some(text), Some(body)) => {
                let text = header::decode(text).map_err(|error| mismatch(format!("{header}: {error}")))?;
                if text != body.text && !(body.is_number && is_number(&text) && decimal(&text) == body.text) {
                    return Err(mismatch(format!("{header} and the argument {} differ", path.join("."))));
                }
            }
        }
    }
    Ok(())
}

/// One argument as a header says it: strings as they are, integers decimal.
struct Value<'a> {
    text: Cow<'a, str>,
    /// Numbers are the same when they stand for the same, `42.0` and `42`.
    is_number: bool,
}

fn value<'a>(param: &HeaderParam, arguments: &'a [u8]) -> Result<Option<Value<'a>>, raw::Unclear> {
    let Ok(mut token) = std::str::from_utf8(arguments) else { return Ok(None) };
    for key in &param.path {
        if !token.trim_ascii_start().starts_with('{') {
            return Ok(None);
        }
        match raw::member(token, key)? {
            Some(inner) => token = inner,
            None => return Ok(None),
        }
    }
    Ok(match token.as_bytes() {
        [b'"', ..] => raw::text(token).map(|text| Value { text, is_number: false }),
        b"true" | b"false" => Some(Value { text: token.into(), is_number: false }),
        _ if is_number(token) => Some(Value { text: decimal(token), is_number: true }),
        _ => None,
    })
}

fn decimal(token: &str) -> Cow<'_, str> {
    if token.bytes().all(|byte| matches!(byte, b'-' | b'0'..=b'9')) {
        return token.into();
    }
    match token.parse::<f64>() {
        Ok(number) if number.fract() == 0.0 && number.abs() <= EXACT => format!("{number:.0}").into(),
        _ => token.into(),
    }
}

fn is_number(token: &str) -> bool {
    matches!(token.as_bytes(), [b'-' | b'0'..=b'9', ..])
}

/// A name that HTTP can carry (RFC 9110 5.6.2).
fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_find(schema: &str, expected: &[(&str, &[&str])], complaint: &str) {
        let found = HeaderParams::find(schema);
        let params: Vec<_> = found.params.iter().map(|param| (&*param.header, param.path.iter().map(|key| &**key).collect())).collect();
        let expected: Vec<(&str, Vec<&str>)> = expected.iter().map(|(header, path)| (*header, path.to_vec())).collect();
        assert_eq!(params, expected, "{schema}");
        match complaint {
            "" => assert_eq!(found.complaint, None, "{schema}"),
            part => assert!(found.complaint.as_ref().is_some_and(|complaint| complaint.contains(part)), "{schema}: {:?}", found.complaint),
        }
    }

    #[test]
    fn annotations_count_where_only_properties_lead() {
        check_find(r#"{"type":"object"}"#, &[], "");
        check_find(
            r#"{"properties":{"region":{"type":"string","x-mcp-header":"Region"},"o":{"type":"object","properties":{"n":{"x-mcp-header":"N","type":"integer"}}}}}"#,
            &[("Mcp-Param-Region", &["region"]), ("Mcp-Param-N", &["o", "n"])],
            "",
        );
        check_find(r#"{"properties":{"b":{"type":"boolean","\u0078-mcp-header":"B"}}}"#, &[("Mcp-Param-B", &["b"])], "");
        // A property of that name, and data that looks like a schema, are no annotations.
        check_find(r#"{"properties":{"x-mcp-header":{"type":"string"}}}"#, &[], "");
        check_find(r#"{"properties":{"a":{"type":"object","default":{"x-mcp-header":"A"},"enum":[{"x-mcp-header":"A"}]}}}"#, &[], "");
        for outside in [
            r#"{"x-mcp-header":"A","type":"string"}"#,
            r#"{"properties":{"a":{"type":"array","items":{"type":"string","x-mcp-header":"A"}}}}"#,
            r#"{"$defs":{"a":{"type":"string","x-mcp-header":"A"}}}"#,
            r#"{"anyOf":[{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}]}"#,
            r#"{"if":{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}}"#,
        ] {
            check_find(outside, &[], "no path of properties");
        }
    }

    #[test]
    fn an_annotation_that_breaks_a_rule_is_told() {
        for (kind, name, complaint) in [
            (r#""number""#, r#""A""#, "no string, integer or boolean"),
            (r#""object""#, r#""A""#, "no string, integer or boolean"),
            (r#"["string","null"]"#, r#""A""#, "no string, integer or boolean"),
            (r#""string""#, r#""""#, "no name of a header"),
            (r#""string""#, r#""a b""#, "no name of a header"),
            (r#""string""#, r#""é""#, "no name of a header"),
            (r#""string""#, r#""a\r\nb""#, "no name of a header"),
            (r#""string""#, "7", "no name of a header"),
        ] {
            check_find(&format!(r#"{{"properties":{{"a":{{"type":{kind},"x-mcp-header":{name}}}}}}}"#), &[], complaint);
        }
        check_find(
            r#"{"properties":{"a":{"type":"string","x-mcp-header":"Id"},"b":{"type":"string","x-mcp-header":"iD"}}}"#,
            &[("Mcp-Param-Id", &["a"])],
            "twice",
        );
    }

    fn params() -> Vec<HeaderParam> {
        let param =
            |header: &str, path: &[&str]| HeaderParam { header: header.into(), path: path.iter().map(|key| (*key).into()).collect() };
        vec![param("Mcp-Param-A", &["a"]), param("Mcp-Param-B", &["o", "b"])]
    }

    #[test]
    fn values_are_taken_along_their_paths() {
        for (arguments, expected) in [
            (r#"{}"#, Ok(vec![])),
            (r#"[1]"#, Ok(vec![])),
            (r#"{"a":null,"o":{"b":null}}"#, Ok(vec![])),
            (r#"{"a":"x\u00e9\n","o":{"b":true}}"#, Ok(vec![("Mcp-Param-A", "xé\n"), ("Mcp-Param-B", "true")])),
            (r#"{"a":-7,"o":{"b":42.0}}"#, Ok(vec![("Mcp-Param-A", "-7"), ("Mcp-Param-B", "42")])),
            (r#"{"a":1e3,"o":{"b":1.5}}"#, Ok(vec![("Mcp-Param-A", "1000"), ("Mcp-Param-B", "1.5")])),
            (r#"{"a":123456789012345678901234567890}"#, Ok(vec![("Mcp-Param-A", "123456789012345678901234567890")])),
            (r#"{"a":{"x":1},"o":"b"}"#, Ok(vec![])),
            (r#" { "b":{"a":1}, "o" : { "b" : "" } } "#, Ok(vec![("Mcp-Param-B", "")])),
            (r#"{"a":1,"\u0061":2}"#, Err(raw::Unclear)),
        ] {
            let expected: Result<Vec<_>, _> =
                expected.map(|values| values.into_iter().map(|(header, text)| (header, text.to_owned())).collect());
            assert_eq!(values(&params(), arguments.as_bytes()), expected, "{arguments}");
        }
    }

    #[test]
    fn headers_must_say_what_the_arguments_say() {
        let arguments = r#"{"a":"é","o":{"b":42}}"#;
        for (a, b, part) in [
            (Some("=?base64?w6k=?="), Some("42"), ""),
            (Some("=?base64?w6k=?="), Some(" 42.0 "), ""),
            (Some("=?base64?w6k=?="), None, "Mcp-Param-B is missing"),
            (Some("=?base64?w6k=?="), Some("43"), "differ"),
            (Some("=?base64?w6k=?="), Some("forty-two"), "differ"),
            (Some("=?base64?w6?="), Some("42"), "not valid base64"),
            (Some("é"), Some("42"), "outside of printable ASCII"),
        ] {
            let received = |name: &str| match name {
                "Mcp-Param-A" => a,
                _ => b,
            };
            match (check(&params(), arguments.as_bytes(), received), part) {
                (Ok(()), "") => {}
                (Err(refusal), part) if !part.is_empty() => {
                    assert_eq!((refusal.code, refusal.status), (Code::HeaderMismatch, 400));
                    assert!(refusal.message.contains(part), "{}", refusal.message);
                }
                (outcome, _) => panic!("{a:?} {b:?}: {outcome:?}"),
            }
        }
        assert!(check(&params(), b"{}", |_| None).is_ok());
        assert!(check(&params(), b"{}", |_| Some("x")).is_err(), "a header that mirrors nothing");
        assert!(check(&params(), br#"{"a":"042"}"#, |name| (name == "Mcp-Param-A").then_some("42")).is_err(), "text is no number");
        assert!(check(&params(), br#"{"a":"42.0"}"#, |name| (name == "Mcp-Param-A").then_some("42")).is_err(), "text is no number");
    }
}
