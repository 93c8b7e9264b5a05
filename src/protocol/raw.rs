//! JSON documents looked into without a tree: the members of an object as they stand. For definitions, capabilities, questions and
//! the few arguments that are mirrored in headers; what the scanner finds in a message is not asked here.

use std::{borrow::Cow, fmt, ops::Range};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use smallvec::SmallVec;

use super::{refusal::quoted, scan::unescape};

/// A member of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Unescaped.
    pub key: Cow<'a, str>,
    /// The key as it stands, with its quotes.
    pub key_token: &'a str,
    /// As it stands.
    pub value: &'a str,
}

pub type Fields<'a> = SmallVec<[Field<'a>; 8]>;

/// The members in the order in which they stand. `None` for anything but an object.
pub fn fields(object: &str) -> Option<Fields<'_>> {
    serde_json::from_str(object).ok().map(|Members(fields)| fields)
}

/// The elements of an array. `None` for anything else.
pub fn elements(array: &str) -> Option<Vec<&str>> {
    serde_json::from_str::<Vec<&RawValue>>(array).ok().map(|values| values.into_iter().map(RawValue::get).collect())
}

/// The text of a string token. `None` for anything else.
pub fn text(token: &str) -> Option<Cow<'_, str>> {
    unescape(token.as_bytes())
}

/// The value of one member; `None` when it is not there.
///
/// # Errors
/// It stands there twice, or this is no object: two readers could see two different values.
pub fn member<'a>(object: &'a str, key: &str) -> Result<Option<&'a str>, Unclear> {
    struct Search<'k>(&'k str);
    impl<'de> Visitor<'de> for Search<'_> {
        type Value = Result<Option<&'de str>, Unclear>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let (mut found, mut twice) = (None, false);
            while let Some(Text(key)) = map.next_key()? {
                if key == self.0 {
                    twice |= found.replace(map.next_value::<&RawValue>()?.get()).is_some();
                } else {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            Ok(if twice { Err(Unclear) } else { Ok(found) })
        }
    }
    let mut reader = serde_json::Deserializer::from_str(object);
    reader.deserialize_map(Search(key)).map_err(|_| Unclear)?
}

/// See [`member`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an object in which this stands once")]
pub struct Unclear;

/// Where `part`, borrowed from `whole`, lies in it. `None`: it is of something else.
pub fn place(whole: &[u8], part: &str) -> Option<Range<usize>> {
    let start = part.as_ptr().addr().checked_sub(whole.as_ptr().addr())?;
    let end = start.checked_add(part.len())?;
    (end <= whole.len()).then_some(start..end)
}

/// An object being written.
#[derive(Clone, Debug, Default)]
pub struct Writer(String);

impl Writer {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `name` needs no escapes; `value` is a JSON token.
    pub fn member(mut self, name: &str, value: &str) -> Self {
        self.put(&quoted(name), value);
        self
    }

    pub fn text(self, name: &str, value: &str) -> Self {
        self.member(name, &quoted(value))
    }

    pub fn maybe(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.member(name, value),
            None => self,
        }
    }

    /// On one line: raw line ends stand only between tokens.
    pub fn finish(mut self) -> String {
        self.0.push_str(if self.is_empty() { "{}" } else { "}" });
        on_one_line(self.0)
    }

    /// Both are JSON tokens.
    pub fn put(&mut self, key: &str, value: &str) {
        self.0.push(if self.is_empty() { '{' } else { ',' });
        self.0.push_str(key);
        self.0.push(':');
        self.0.push_str(value);
    }
}

/// A raw line end in JSON stands only between tokens, where a space means the same.
pub fn on_one_line(json: String) -> String {
    if memchr::memchr2(b'\n', b'\r', json.as_bytes()).is_some() { json.replace(['\r', '\n'], " ") } else { json }
}

/// Borrows where nothing is escaped.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

struct Members<'a>(Fields<'a>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Fields::new();
                while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
                    let key_token = key.get();
                    let key = text(key_token).ok_or_else(|| A::Error::custom("half a surrogate pair"))?;
                    fields.push(Field { key, key_token, value: value.get() });
                }
                Ok(Members(fields))
            }
        }
        deserializer.deserialize_map(All)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_stand_as_they_are_written() {
        let text = r#" { "a" : 1.0 , "\u0062":{"a":[1, 2]},"a":null} "#;
        let found: Vec<_> = fields(text).unwrap().into_iter().map(|field| (field.key.into_owned(), field.value)).collect();
        assert_eq!(found, [("a".into(), "1.0"), ("b".into(), r#"{"a":[1, 2]}"#), ("a".into(), "null")]);
        assert_eq!(text[place(text.as_bytes(), found[1].1).unwrap()], *found[1].1);
        for no_object in ["", "[]", "1", r#"{"a":1} x"#, r#"{"a"}"#, "null"] {
            assert_eq!(fields(no_object), None, "{no_object}");
        }
    }

    #[test]
    fn a_slice_of_something_else_has_no_place() {
        let (whole, other) = (String::from("abc"), String::from("b"));
        assert_eq!(place(whole.as_bytes(), &whole[1..2]), Some(1..2));
        assert_eq!(place(&whole.as_bytes()[..1], &whole[1..2]), None);
        assert!(place(whole.as_bytes(), &other).is_none());
    }

    #[test]
    fn a_member_that_stands_twice_is_unclear() {
        let text = r#"{"a":1,"b":{"c":2},"\u0061":3}"#;
        assert_eq!(member(text, "b"), Ok(Some(r#"{"c":2}"#)));
        assert_eq!(member(text, "c"), Ok(None));
        assert_eq!(member(text, "a"), Err(Unclear));
        assert_eq!(member("[1]", "a"), Err(Unclear));
    }
}
