//! Raw JSON taken apart one level and put together again. For what is too rare to have a place in the scanner's finds: questions,
//! retries, tasks. Values stay as they were written.

use std::borrow::Cow;

use smallvec::SmallVec;

pub(super) use crate::protocol::raw::{Writer, elements, on_one_line};
use crate::protocol::{
    Message, Span,
    raw::{self, Field, Fields},
    scan::Member,
};

/// The members of one JSON object, in order, no key twice.
#[derive(Debug)]
pub(super) struct Object<'a>(Fields<'a>);

impl<'a> Object<'a> {
    /// `None` when `text` is no JSON object, or has a key twice: two readers could see two objects.
    pub(super) fn read(text: &'a str) -> Option<Self> {
        let fields = raw::fields(text)?;
        let mut keys: SmallVec<[&str; 8]> = fields.iter().map(|field| &*field.key).collect();
        keys.sort_unstable();
        keys.windows(2).all(|pair| pair.first() != pair.last()).then_some(())?;
        drop(keys);
        Some(Self(fields))
    }

    /// The value token under that key; `null` is not there.
    pub(super) fn get(&self, key: &str) -> Option<&'a str> {
        self.field(key).map(|field| field.value).filter(|value| *value != "null")
    }

    pub(super) fn string(&self, key: &str) -> Option<Cow<'a, str>> {
        raw::text(self.get(key)?)
    }

    pub(super) fn object(&self, key: &str) -> Option<Self> {
        Self::read(self.get(key)?)
    }

    pub(super) fn field(&self, key: &str) -> Option<&Field<'a>> {
        self.0.iter().find(|field| field.key == key)
    }

    pub(super) fn fields(&self) -> &[Field<'a>] {
        &self.0
    }

    /// The same without members of these keys.
    pub(super) fn without(&self, keys: &[&str]) -> Writer {
        self.map(|field| (!keys.contains(&&*field.key)).then_some(Cow::Borrowed(field.value)))
    }

    /// The same with other values; `None` leaves the member out.
    pub(super) fn map<'v>(&'v self, mut value: impl FnMut(&'v Field<'a>) -> Option<Cow<'v, str>>) -> Writer {
        let mut object = Writer::new();
        for field in &self.0 {
            if let Some(value) = value(field) {
                object.put(field.key_token, &value);
            }
        }
        object
    }
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

/// The text of a span, which the scanner has found to be UTF-8.
pub(super) fn text_of(message: &Message, span: Option<Span>) -> Option<&str> {
    std::str::from_utf8(message.token(span?)).ok()
}

/// The span of a token that was read out of the message.
pub(super) fn span_in(message: &Message, part: &str) -> Option<Span> {
    let range = raw::place(message.bytes(), part)?;
    Some(Span::new(u32::try_from(range.start).ok()?, u32::try_from(range.end).ok()?))
}

pub(super) fn member_in(message: &Message, field: &Field<'_>) -> Option<Member> {
    Some(Member { key: span_in(message, field.key_token)?, value: span_in(message, field.value)? })
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
        for field in object.fields() {
            assert_eq!(&text[raw::place(text.as_bytes(), field.value).unwrap()], field.value);
        }
    }

    #[test]
    fn what_two_readers_could_see_differently_is_no_object() {
        for text in [r#"{"a":1,"a":2}"#, r#"{"a":1,"\u0061":2}"#, "[]", "1", "", "{", r#"{"a":1} x"#] {
            assert!(Object::read(text).is_none(), "{text}");
        }
        assert!(Object::read("{}").is_some());
    }
}
