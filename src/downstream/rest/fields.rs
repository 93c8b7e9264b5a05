//! The JSON object in a request's body, member by member; values that are only passed on stay raw.

use std::collections::HashMap;

use bytes::Bytes;
use hyper::header;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::fault::Fault;
use crate::downstream::{Request, reply::class};

/// Reads the body. An empty one is an empty object; any other must be declared as JSON.
pub(super) async fn body(request: &mut Request, bytes_max: usize) -> Result<Bytes, Fault> {
    let declared = request.parts.headers.get(header::CONTENT_TYPE).map(|value| is_json(value.as_bytes()));
    let body = request.read(bytes_max).await?;
    if body.trim_ascii().is_empty() {
        return Ok(Bytes::from_static(b"{}"));
    }
    match declared {
        Some(true) => Ok(body),
        Some(false) | None => {
            let message = "The body must be sent with 'Content-Type: application/json'";
            Err(Fault::new(415, class::VALIDATION, message, serde_json::json!({"origin": "hub"})))
        }
    }
}

fn is_json(content_type: &[u8]) -> bool {
    let media = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    media.eq_ignore_ascii_case(b"application/json") || media.to_ascii_lowercase().ends_with(b"+json")
}

/// The members of an object.
pub(in crate::downstream) struct Fields<'a>(HashMap<String, &'a RawValue>);

impl<'a> Fields<'a> {
    /// The whole of `body` is checked to be one JSON object.
    pub(in crate::downstream) fn parse(body: &'a [u8]) -> Result<Self, Fault> {
        match body.trim_ascii_start().first() {
            Some(b'{') => serde_json::from_slice(body).map(Self).map_err(|error| Fault::bad_body(format!("The body is not JSON: {error}"))),
            _ => match serde_json::from_slice::<&RawValue>(body) {
                Ok(_) => Err(Fault::bad_body("The body must be a JSON object")),
                Err(error) => Err(Fault::bad_body(format!("The body is not JSON: {error}"))),
            },
        }
    }

    /// A text that must be there; `missing` is said when it is not.
    pub(in crate::downstream) fn text(&self, name: &str, missing: &str) -> Result<String, Fault> {
        let text = self.read::<String>(name, "a string")?.filter(|text| !text.is_empty());
        text.ok_or_else(|| Fault::invalid(missing, name))
    }

    /// `null` counts as absent. `kind` names what is wanted, with its article.
    pub(in crate::downstream) fn read<T: DeserializeOwned>(&self, name: &str, kind: &str) -> Result<Option<T>, Fault> {
        let Some(raw) = self.0.get(name) else { return Ok(None) };
        serde_json::from_str(raw.get()).map_err(|_| Fault::invalid(format!("'{name}' must be {kind}"), name))
    }

    /// The arguments of a call as raw text, `{}` when there are none.
    pub(in crate::downstream) fn arguments(&self) -> Result<&'a str, Fault> {
        self.object("arguments").map(|arguments| arguments.unwrap_or("{}"))
    }

    /// An object as raw text.
    pub(super) fn object(&self, name: &str) -> Result<Option<&'a str>, Fault> {
        self.raw(name, '{', "an object")
    }

    /// A string as raw text, in its quotes.
    pub(super) fn string(&self, name: &str) -> Result<Option<&'a str>, Fault> {
        self.raw(name, '"', "a string")
    }

    fn raw(&self, name: &str, first: char, kind: &str) -> Result<Option<&'a str>, Fault> {
        match self.0.get(name).map(|raw| raw.get()) {
            None | Some("null") => Ok(None),
            Some(text) if text.starts_with(first) => Ok(Some(text)),
            Some(_) => Err(Fault::invalid(format!("'{name}' must be {kind}"), name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_whole_json_object_is_a_body() {
        for (body, fine) in [
            (r#"{}"#, true),
            (" {\"a\":1}\r\n", true),
            ("[]", false),
            ("null", false),
            ("1", false),
            ("", false),
            ("{", false),
            ("{}}", false),
            (r#"{},"x":{}"#, false),
            (r#"{"a":1,}"#, false),
            ("{'a':1}", false),
        ] {
            let parsed = Fields::parse(body.as_bytes());
            assert_eq!(parsed.is_ok(), fine, "{body}");
            if let Err(fault) = parsed {
                assert_eq!((fault.status, fault.code), (400, "VALIDATION_ERROR"), "{body}");
            }
        }
        assert!(Fields::parse(b"{\"a\":\"\xff\"}").is_err(), "not UTF-8");
    }

    #[test]
    fn a_missing_or_mistyped_member_is_named() {
        let fields = Fields::parse(br#"{"tool":1,"empty":"","none":null,"name":"a\u0062"}"#).unwrap();
        assert_eq!(fields.text("name", "Missing name").unwrap(), "ab");
        for (name, message) in [
            ("tool", "'tool' must be a string"),
            ("empty", "Missing tool name"),
            ("none", "Missing tool name"),
            ("absent", "Missing tool name"),
        ] {
            let fault = fields.text(name, "Missing tool name").unwrap_err();
            assert_eq!((fault.message.as_str(), &fault.data["field"]), (message, &name.into()));
        }
    }

    #[test]
    fn arguments_stay_the_bytes_they_are() {
        for (body, want) in [
            (r#"{"arguments":{"a": 1.0, "b":"\u00e9"}}"#, Some(r#"{"a": 1.0, "b":"\u00e9"}"#)),
            (r#"{"arguments":null}"#, Some("{}")),
            (r#"{}"#, Some("{}")),
            (r#"{"arguments":[1]}"#, None),
            (r#"{"arguments":"{}"}"#, None),
        ] {
            assert_eq!(Fields::parse(body.as_bytes()).unwrap().arguments().ok(), want, "{body}");
        }
    }

    #[test]
    fn json_is_declared_in_any_case_with_any_parameters() {
        for (text, want) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/problem+json", true),
            ("text/plain", false),
            ("application/x-www-form-urlencoded", false),
            ("application/jsonp", false),
        ] {
            assert_eq!(is_json(text.as_bytes()), want, "{text}");
        }
    }
}
