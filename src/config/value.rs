//! Typed looks at one field. A wrong type is said in terms of what to write instead; string values are never repeated, they may be
//! secrets.

use std::{collections::BTreeMap, time::Duration};

use jsonc_parser::{
    ast::{Object, ObjectProp, Value},
    common::Ranged,
};

/// The longest duration that makes sense in a configuration.
const SECONDS_MAX: f64 = 366.0 * 24.0 * 3600.0;

/// What is wrong, and the byte at which it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) message: String,
}

/// A field of an object.
#[derive(Clone)]
pub(super) struct Field<'a> {
    pub(super) name: &'a str,
    /// Name with the names above it, such as `pool.size`.
    pub(super) label: String,
    /// Byte at which the name stands.
    pub(super) at: usize,
    pub(super) value: &'a Value<'a>,
}

/// The fields of an object.
///
/// # Errors
/// A name is given twice.
pub(super) fn fields<'a>(properties: &'a [ObjectProp<'a>], above: &str) -> Result<Vec<Field<'a>>, Fault> {
    let mut seen = std::collections::HashSet::new();
    let fields = properties.iter().map(|property| field(property, above));
    fields.map(|field| if seen.insert(field.name) { Ok(field) } else { Err(twice(field.at, &field.label)) }).collect()
}

fn field<'a>(property: &'a ObjectProp<'a>, above: &str) -> Field<'a> {
    let name = property.name.as_str();
    let label = if above.is_empty() { name.to_owned() } else { format!("{above}.{name}") };
    Field { name, label, at: property.range.start, value: &property.value }
}

fn twice(at: usize, label: &str) -> Fault {
    Fault { at, message: format!("\"{label}\" is given twice; remove one") }
}

impl<'a> Field<'a> {
    pub(super) fn string(&self) -> Result<String, Fault> {
        match self.value {
            Value::StringLit(text) => Ok(text.value.to_string()),
            Value::NumberLit(_) | Value::BooleanLit(_) => Err(self.wrong("a string", "; write it in quotes")),
            _ => Err(self.wrong("a string", "")),
        }
    }

    /// A string that is not empty.
    pub(super) fn text(&self) -> Result<String, Fault> {
        let text = self.string()?;
        if text.trim().is_empty() { Err(self.fault("must not be empty")) } else { Ok(text) }
    }

    pub(super) fn flag(&self) -> Result<bool, Fault> {
        match self.value {
            Value::BooleanLit(flag) => Ok(flag.value),
            Value::StringLit(_) => Err(self.wrong("true or false", "; write it without quotes")),
            _ => Err(self.wrong("true or false", "")),
        }
    }

    pub(super) fn whole(&self, least: u64, most: u64) -> Result<u64, Fault> {
        let wanted = format!("a whole number from {least} to {most}");
        match self.value {
            Value::NumberLit(number) => match number.value.parse() {
                Ok(whole) if (least..=most).contains(&whole) => Ok(whole),
                _ => Err(self.fault(format!("must be {wanted}, found {}", number.value))),
            },
            Value::StringLit(_) => Err(self.wrong(&wanted, "; write it without quotes")),
            _ => Err(self.wrong(&wanted, "")),
        }
    }

    /// Seconds, with fractions, zero included.
    pub(super) fn seconds(&self) -> Result<Duration, Fault> {
        Ok(Duration::from_secs_f64(self.number_of_seconds()?))
    }

    /// Seconds, with fractions, more than none.
    pub(super) fn some_seconds(&self) -> Result<Duration, Fault> {
        let duration = self.seconds()?;
        if duration.is_zero() { Err(self.fault("must be more than 0 seconds")) } else { Ok(duration) }
    }

    /// Milliseconds from 1000 on, below that seconds: other hosts use either.
    pub(super) fn seconds_or_ms(&self) -> Result<Duration, Fault> {
        match self.value {
            Value::NumberLit(number) => match number.value.parse::<f64>() {
                Ok(ms) if (1000.0..=SECONDS_MAX * 1000.0).contains(&ms) => Ok(Duration::from_secs_f64(ms / 1000.0)),
                _ => self.some_seconds(),
            },
            _ => self.some_seconds(),
        }
    }

    fn number_of_seconds(&self) -> Result<f64, Fault> {
        let Value::NumberLit(number) = self.value else { return Err(self.wrong("a number of seconds", "")) };
        match number.value.parse::<f64>() {
            Ok(seconds) if (0.0..=SECONDS_MAX).contains(&seconds) => Ok(seconds),
            _ => Err(self.fault(format!("must be a number of seconds, from 0 to a year, found {}", number.value))),
        }
    }

    /// `null`, or what `read` makes of it.
    pub(super) fn or_null<T>(&self, read: impl FnOnce(&Self) -> Result<T, Fault>) -> Result<Option<T>, Fault> {
        if matches!(self.value, Value::NullKeyword(_)) { Ok(None) } else { read(self).map(Some) }
    }

    pub(super) fn strings(&self) -> Result<Vec<String>, Fault> {
        Ok(self.strings_at()?.into_iter().map(|(text, _)| text).collect())
    }

    /// Each with the byte at which it stands.
    pub(super) fn strings_at(&self) -> Result<Vec<(String, usize)>, Fault> {
        let wanted = "a list of strings";
        let Value::Array(list) = self.value else {
            let hint = if matches!(self.value, Value::StringLit(_)) { "; write [\"…\"]" } else { "" };
            return Err(self.wrong(wanted, hint));
        };
        let item = |(index, item): (usize, &Value<'_>)| match item {
            Value::StringLit(text) => Ok((text.value.to_string(), text.start())),
            other => {
                let hint = if matches!(other, Value::NumberLit(_) | Value::BooleanLit(_)) { "; write it in quotes" } else { "" };
                let message = format!("\"{}\" must be {wanted}, item {} is {}{hint}", self.label, index + 1, kind(other));
                Err(Fault { at: other.start(), message })
            }
        };
        list.elements.iter().enumerate().map(item).collect()
    }

    /// Names with strings, numbers, booleans as text, or null.
    pub(super) fn scalars(&self) -> Result<BTreeMap<String, Option<String>>, Fault> {
        let scalar = |field: &Field<'_>| match field.value {
            Value::StringLit(text) => Ok(Some(text.value.to_string())),
            Value::NumberLit(number) => Ok(Some(number.value.to_owned())),
            Value::BooleanLit(flag) => Ok(Some(flag.value.to_string())),
            Value::NullKeyword(_) => Ok(None),
            Value::Object(_) | Value::Array(_) => Err(field.wrong("a string, number, true, false or null", "")),
        };
        self.object()?.iter().map(|field| Ok((field.name.to_owned(), scalar(field)?))).collect()
    }

    /// The fields of this object.
    pub(super) fn object(&self) -> Result<Vec<Self>, Fault> {
        fields(&self.as_object()?.properties, &self.label)
    }

    /// As `object`; labels start anew.
    pub(super) fn object_unlabelled(&self) -> Result<Vec<Self>, Fault> {
        fields(&self.as_object()?.properties, "")
    }

    /// As `object`, where a name given twice is the reader's to judge; labels start anew.
    pub(super) fn entries(&self) -> Result<Vec<Self>, Fault> {
        Ok(self.as_object()?.properties.iter().map(|property| field(property, "")).collect())
    }

    fn as_object(&self) -> Result<&'a Object<'a>, Fault> {
        self.value.as_object().ok_or_else(|| self.wrong("an object", "; write {…}"))
    }

    /// The items of this list, each as a field.
    pub(super) fn items(&self) -> Result<Vec<Self>, Fault> {
        let list = self.value.as_array().ok_or_else(|| self.wrong("a list", "; write […]"))?;
        let item = |(index, value): (usize, &'a Value<'a>)| Field {
            name: "",
            label: format!("{}[{index}]", self.label),
            at: value.start(),
            value,
        };
        Ok(list.elements.iter().enumerate().map(item).collect())
    }

    pub(super) fn one_of<T: Copy>(&self, words: &[(&str, T)]) -> Result<T, Fault> {
        let word = self.string()?;
        words.iter().find(|(known, _)| *known == word).map(|(_, meaning)| *meaning).ok_or_else(|| {
            let known: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            self.fault(format!("must be one of {}", known.join(", ")))
        })
    }

    /// `"label" must be {wanted}, found a …{hint}`
    pub(super) fn wrong(&self, wanted: &str, hint: &str) -> Fault {
        self.fault(format!("must be {wanted}, found {}{hint}", kind(self.value)))
    }

    /// `"label" {message}`, at the value.
    pub(super) fn fault(&self, message: impl std::fmt::Display) -> Fault {
        Fault { at: self.value.start(), message: format!("\"{}\" {message}", self.label) }
    }
}

fn kind(value: &Value<'_>) -> &'static str {
    match value {
        Value::StringLit(_) => "a string",
        Value::NumberLit(_) => "a number",
        Value::BooleanLit(_) => "true or false",
        Value::Object(_) => "an object",
        Value::Array(_) => "a list",
        Value::NullKeyword(_) => "null",
    }
}

/// Every string in `value` at any depth, in order: the name of the field that holds it, the string, the byte at which it stands.
pub(super) fn texts(value: &Value<'_>, tell: &mut impl FnMut(&str, &str, usize)) {
    texts_under("", value, tell);
}

fn texts_under(name: &str, value: &Value<'_>, tell: &mut impl FnMut(&str, &str, usize)) {
    match value {
        Value::StringLit(text) => tell(name, &text.value, text.start()),
        Value::Array(list) => list.elements.iter().for_each(|item| texts_under(name, item, tell)),
        Value::Object(object) => object.properties.iter().for_each(|property| texts_under(property.name.as_str(), &property.value, tell)),
        Value::NumberLit(_) | Value::BooleanLit(_) | Value::NullKeyword(_) => {}
    }
}

/// The value as JSON.
///
/// # Errors
/// An object at any depth has a name twice.
pub(super) fn to_json(value: &Value<'_>) -> Result<serde_json::Value, Fault> {
    Ok(match value {
        Value::StringLit(text) => text.value.as_ref().into(),
        // The parser let only JSON's own numbers through; what does not fit a double stays readable as text.
        Value::NumberLit(number) => serde_json::from_str(number.value).unwrap_or_else(|_| number.value.into()),
        Value::BooleanLit(flag) => flag.value.into(),
        Value::NullKeyword(_) => serde_json::Value::Null,
        Value::Array(list) => list.elements.iter().map(to_json).collect::<Result<Vec<_>, _>>()?.into(),
        Value::Object(object) => {
            let mut map = serde_json::Map::new();
            for property in &object.properties {
                let name = property.name.as_str();
                if map.insert(name.to_owned(), to_json(&property.value)?).is_some() {
                    return Err(twice(property.range.start, name));
                }
            }
            map.into()
        }
    })
}

#[cfg(test)]
mod tests {
    use jsonc_parser::parse_to_ast;

    use super::*;

    fn with<T>(value: &str, look: impl Fn(&Field<'_>) -> Result<T, Fault>) -> Result<T, String> {
        let text = format!("{{\"f\": {value}}}");
        let parsed = parse_to_ast(&text, &Default::default(), &Default::default()).unwrap().value.unwrap();
        let field = fields(&parsed.as_object().unwrap().properties, "").unwrap().pop().unwrap();
        look(&field).map_err(|fault| format!("{}: {}", fault.at, fault.message))
    }

    #[test]
    fn wrong_types_say_what_to_write() {
        let cases: &[(&str, Result<String, String>, &str)] = &[
            ("1", with("1", |f| f.string()), "6: \"f\" must be a string, found a number; write it in quotes"),
            ("\"\"", with("\"\"", |f| f.text()), "6: \"f\" must not be empty"),
            (
                "\"x\"",
                with("\"x\"", |f| f.strings().map(|l| l.join(""))),
                "6: \"f\" must be a list of strings, found a string; write [\"…\"]",
            ),
            (
                "[\"a\", 2]",
                with("[\"a\", 2]", |f| f.strings().map(|l| l.join(""))),
                "12: \"f\" must be a list of strings, item 2 is a number; write it in quotes",
            ),
            (
                "\"true\"",
                with("\"true\"", |f| f.flag().map(|b| b.to_string())),
                "6: \"f\" must be true or false, found a string; write it without quotes",
            ),
            (
                "70000",
                with("70000", |f| f.whole(0, 65535).map(|n| n.to_string())),
                "6: \"f\" must be a whole number from 0 to 65535, found 70000",
            ),
            ("1.5", with("1.5", |f| f.whole(0, 9).map(|n| n.to_string())), "6: \"f\" must be a whole number from 0 to 9, found 1.5"),
            (
                "-1",
                with("-1", |f| f.seconds().map(|d| format!("{d:?}"))),
                "6: \"f\" must be a number of seconds, from 0 to a year, found -1",
            ),
            ("0", with("0", |f| f.some_seconds().map(|d| format!("{d:?}"))), "6: \"f\" must be more than 0 seconds"),
            (
                "{\"a\": []}",
                with("{\"a\": []}", |f| f.scalars().map(|_| String::new())),
                "12: \"f.a\" must be a string, number, true, false or null, found a list",
            ),
            (
                "{\"a\":1,\"a\":2}",
                with("{\"a\":1,\"a\":2}", |f| f.object().map(|_| String::new())),
                "13: \"f.a\" is given twice; remove one",
            ),
            ("\"c\"", with("\"c\"", |f| f.one_of(&[("a", "a"), ("b", "b")]).map(str::to_owned)), "6: \"f\" must be one of \"a\", \"b\""),
        ];
        for (value, result, message) in cases {
            assert_eq!(result.as_ref().unwrap_err(), message, "{value}");
        }
    }

    #[test]
    fn right_types_are_read() {
        assert_eq!(with("[\"a\", \"b\"]", |f| f.strings()).unwrap(), ["a", "b"]);
        let scalars = with("{\"a\": 1.50, \"b\": true, \"c\": null, \"d\": \"x\"}", |f| f.scalars()).unwrap();
        let text = |name: &str| scalars[name].as_deref();
        assert_eq!((text("a"), text("b"), text("c"), text("d")), (Some("1.50"), Some("true"), None, Some("x")));
        for (value, ms) in [("999", 999_000), ("1000", 1_000), ("60000", 60_000), ("0.5", 500), ("60", 60_000)] {
            assert_eq!(with(value, |f| f.seconds_or_ms()).unwrap(), Duration::from_millis(ms), "{value}");
        }
        assert_eq!(with("null", |f| f.or_null(|f| f.whole(0, 9))).unwrap(), None);
    }

    #[test]
    fn a_name_given_twice_is_found_at_any_depth() {
        assert_eq!(with("[{\"a\": {\"b\": 1, \"b\": 2}}]", |f| to_json(f.value)).unwrap_err(), "22: \"b\" is given twice; remove one");
        let json = with("{\"a\": [1, 2.5, \"x\", null, true]}", |f| to_json(f.value)).unwrap();
        assert_eq!(json, serde_json::json!({"a": [1, 2.5, "x", null, true]}));
    }
}
