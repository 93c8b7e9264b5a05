//! Raw JSON taken apart one level and put together again. For what is too rare to have a place in the scanner's finds: questions,
//! retries, tasks. Values stay as they were written.

use std::{borrow::Cow, fmt, ops::Range};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::protocol::{Message, Span, refusal::quoted, scan::Member, scan::unescape};

/// The members of one JSON object, in order.
#[derive(Debug)]
pub(super) struct Object<'a>(Vec<Entry<'a>>);

#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) name: Cow<'a, str>,
    /// The key token, with quotes.
    pub(super) key: &'a str,
    /// The value token.
    pub(super) value: &'a str,
}

impl<'a> Object<'a> {
    /// `None` when `text` is no JSON object, or has a key twice: two readers could see two objects.
    pub(super) fn read(text: &'a str) -> Option<Self> {
        let Pairs(pairs) = serde_json::from_str(text).ok()?;
        let mut entries: Vec<Entry<'a>> = Vec::with_capacity(pairs.len());
        for (key, value) in pairs {
            let (key, value) = (key.get(), value.get());
            entries.push(Entry { name: unescape(key.as_bytes())?, key, value });
        }
        let mut names: Vec<&str> = entries.iter().map(|entry| &*entry.name).collect();
        names.sort_unstable();
        names.windows(2).all(|pair| pair.first() != pair.last()).then_some(())?;
        Some(Self(entries))
    }

    /// The token of that name; `null` is not there.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        self.entry(name).map(|entry| entry.value).filter(|value| *value != "null")
    }

    pub(super) fn string(&self, name: &str) -> Option<Cow<'a, str>> {
        unescape(self.get(name)?.as_bytes())
    }

    pub(super) fn object(&self, name: &str) -> Option<Self> {
        Self::read(self.get(name)?)
    }

    pub(super) fn entry(&self, name: &str) -> Option<&Entry<'a>> {
        self.0.iter().find(|entry| entry.name == name)
    }

    pub(super) fn entries(&self) -> &[Entry<'a>] {
        &self.0
    }

    /// The same without members of these names.
    pub(super) fn without(&self, names: &[&str]) -> Writer {
        self.map(|entry| (!names.contains(&&*entry.name)).then_some(Cow::Borrowed(entry.value)))
    }

    /// The same with other values; `None` leaves the member out.
    pub(super) fn map<'v>(&'v self, mut value: impl FnMut(&'v Entry<'a>) -> Option<Cow<'v, str>>) -> Writer {
        let mut object = Writer::new();
        for entry in &self.0 {
            if let Some(value) = value(entry) {
                object.put(entry.key, &value);
            }
        }
        object
    }
}

/// The elements of a JSON array; `None` when it is none.
pub(super) fn elements(text: &str) -> Option<Vec<&str>> {
    let elements: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    Some(elements.into_iter().map(RawValue::get).collect())
}

/// A JSON array of these tokens.
pub(super) fn array<T: AsRef<str>>(elements: impl IntoIterator<Item = T>) -> String {
    let mut text = String::from("[");
    for element in elements {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(element.as_ref());
    }
    text.push(']');
    text
}

/// An object being written.
#[derive(Clone, Debug)]
pub(super) struct Writer(String);

impl Writer {
    pub(super) fn new() -> Self {
        Self(String::from("{"))
    }

    /// `name` needs no escapes; `value` is a JSON token.
    pub(super) fn member(mut self, name: &str, value: &str) -> Self {
        self.put(&quoted(name), value);
        self
    }

    pub(super) fn text(self, name: &str, value: &str) -> Self {
        self.member(name, &quoted(value))
    }

    pub(super) fn maybe(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.member(name, value),
            None => self,
        }
    }

    /// On one line: raw line ends stand only between tokens.
    pub(super) fn finish(mut self) -> String {
        self.0.push('}');
        on_one_line(self.0)
    }

    fn put(&mut self, key: &str, value: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.0.push_str(key);
        self.0.push(':');
        self.0.push_str(value);
    }
}

/// A raw line end in JSON stands only between tokens, where a space means the same.
pub(super) fn on_one_line(json: String) -> String {
    if memchr::memchr2(b'\n', b'\r', json.as_bytes()).is_some() { json.replace(['\r', '\n'], " ") } else { json }
}

/// The text of a span, which the scanner has found to be UTF-8.
pub(super) fn text_of(message: &Message, span: Option<Span>) -> Option<&str> {
    std::str::from_utf8(message.token(span?)).ok()
}

/// Where `part`, a slice of `whole`, stands in it.
pub(super) fn range_in(whole: &[u8], part: &str) -> Option<Range<usize>> {
    let start = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
    let end = start.checked_add(part.len())?;
    (end <= whole.len()).then_some(start..end)
}

/// The span of a token that was read out of the message.
pub(super) fn span_in(message: &Message, part: &str) -> Option<Span> {
    let range = range_in(message.bytes(), part)?;
    Some(Span::new(u32::try_from(range.start).ok()?, u32::try_from(range.end).ok()?))
}

pub(super) fn member_in(message: &Message, entry: &Entry<'_>) -> Option<Member> {
    Some(Member { key: span_in(message, entry.key)?, value: span_in(message, entry.value)? })
}

struct Pairs<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PairsVisitor)
    }
}

struct PairsVisitor;

impl<'de> Visitor<'de> for PairsVisitor {
    type Value = Pairs<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Pairs(pairs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_taken_apart_and_put_together_as_it_was_written() {
        let text = "{ \"a\" : 1.0 , \"b\\u0063\":{\"x\": [1, 2]},\n\"n\":null}";
        let object = Object::read(text).unwrap();
        assert_eq!(object.get("a"), Some("1.0"));
        assert_eq!(object.get("bc"), Some(r#"{"x": [1, 2]}"#));
        assert_eq!((object.get("n"), object.get("b")), (None, None));
        assert_eq!(object.without(&["a"]).member("z", "0").finish(), r#"{"b\u0063":{"x": [1, 2]},"n":null,"z":0}"#);
        for entry in object.entries() {
            assert_eq!(&text[range_in(text.as_bytes(), entry.value).unwrap()], entry.value);
        }
    }

    #[test]
    fn what_two_readers_could_see_differently_is_no_object() {
        for text in [r#"{"a":1,"a":2}"#, r#"{"a":1,"\u0061":2}"#, "[]", "1", "", "{", r#"{"a":1} x"#] {
            assert!(Object::read(text).is_none(), "{text}");
        }
        assert!(Object::read("{}").is_some());
    }

    #[test]
    fn a_slice_of_something_else_has_no_range() {
        let (whole, other) = (String::from("abc"), String::from("b"));
        assert_eq!(range_in(whole.as_bytes(), &whole[1..2]), Some(1..2));
        assert_eq!(range_in(&whole.as_bytes()[..1], &whole[1..2]), None);
        assert!(range_in(whole.as_bytes(), &other).is_none());
    }
}
