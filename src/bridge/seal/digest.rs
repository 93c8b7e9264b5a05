//! What a request is about, in 32 bytes, however its JSON is written: a client may write a retry anew.

use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// SHA-256 over method, public name or URI, and arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest([u8; 32]);

impl Digest {
    /// `target`: the public name or URI; `arguments`: raw JSON, absent like `{}`. Members in any order, with any spelling of strings and
    /// numbers, are the same arguments. Costs a tree: only requests that ask, and their retries, are digested.
    pub fn of(method: &str, target: &str, arguments: Option<&[u8]>) -> Self {
        let mut hash = Sha256::new();
        text(&mut hash, b'm', method);
        text(&mut hash, b't', target);
        match serde_json::from_slice(arguments.unwrap_or(b"{}")) {
            Ok(arguments) => value(&mut hash, &arguments),
            // Beyond what a tree can hold (a lone surrogate): only the same bytes are the same.
            Err(_) => bytes(&mut hash, b'x', arguments.unwrap_or_default()),
        }
        Self(hash.finalize().into())
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Each value is a letter and what follows it, with lengths: no two values read alike. Nesting is bounded by the parser.
fn value(hash: &mut Sha256, of: &Value) {
    match of {
        Value::Null => hash.update(b"n"),
        Value::Bool(is) => hash.update(if *is { b"y" } else { b"f" }),
        Value::Number(number) => text(hash, b'd', &plain(number)),
        Value::String(string) => text(hash, b's', string),
        Value::Array(values) => {
            bytes(hash, b'a', &(values.len() as u64).to_be_bytes());
            values.iter().for_each(|element| value(hash, element));
        }
        Value::Object(object) => {
            bytes(hash, b'o', &(object.len() as u64).to_be_bytes());
            let mut members: Vec<_> = object.iter().collect();
            members.sort_unstable_by_key(|(name, _)| name.as_str());
            for (name, member) in members {
                text(hash, b'k', name);
                value(hash, member);
            }
        }
    }
}

/// `1`, `1.0` and `1e0` are one number: a client may hold all numbers as floats.
fn plain(number: &serde_json::Number) -> String {
    match number.as_f64() {
        Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 9e15 => (float as i64).to_string(),
        _ => number.to_string(),
    }
}

fn text(hash: &mut Sha256, kind: u8, text: &str) {
    bytes(hash, kind, text.as_bytes());
}

fn bytes(hash: &mut Sha256, kind: u8, bytes: &[u8]) {
    hash.update([kind]);
    hash.update((bytes.len() as u64).to_be_bytes());
    hash.update(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(arguments: &str) -> Digest {
        Digest::of("tools/call", "a.b", Some(arguments.as_bytes()))
    }

    #[test]
    fn the_same_arguments_have_one_digest_however_they_are_written() {
        for (one, other) in [
            (r#"{"a":1,"b":[true,null,"é"]}"#, r#"{ "b" : [true, null, "\u00e9"], "a" : 1.0 }"#),
            (r#"{"a":-0.5e1}"#, r#"{"a":-5}"#),
            ("{}", " { } "),
        ] {
            assert_eq!(of(one), of(other), "{one} {other}");
        }
        assert_eq!(of("{}"), Digest::of("tools/call", "a.b", None));
    }

    #[test]
    fn other_requests_have_others() {
        let texts = [
            r#"{"a":1}"#,
            r#"{"a":"1"}"#,
            r#"{"a":[1]}"#,
            r#"{"b":1}"#,
            r#"{"a":1.5}"#,
            r#"{"a":{}}"#,
            "{}",
            r#"["a",1]"#,
            r#"{"a":"\ud800"}"#,
        ];
        for (n, one) in texts.iter().enumerate() {
            for other in &texts[n + 1..] {
                assert_ne!(of(one), of(other), "{one} {other}");
            }
        }
        assert_ne!(of("{}"), Digest::of("tools/call", "a.c", None));
        assert_ne!(Digest::of("a", "bc", None), Digest::of("ab", "c", None));
    }
}
