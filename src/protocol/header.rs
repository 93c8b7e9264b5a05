//! Header values of 2026-07-28, encoded and compared: `Mcp-Name` and `Mcp-Param-*` carry any text inside the bytes HTTP allows
//! (MCP 2026-07-28, Streamable HTTP). Names of headers are not its business.

use base64::{Engine, engine::general_purpose::STANDARD};
use std::borrow::Cow;

const OPEN: &str = "=?base64?";
const CLOSE: &str = "?=";

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    #[error("not valid base64 of UTF-8 text")]
    Undecodable,
    #[error("a character outside of printable ASCII that is not base64-encoded")]
    BadCharacter,
}

/// Plain, or `=?base64?…?=` where the rules ask for it: bytes outside of 0x20 to 0x7E, white space at an end, or text that looks encoded.
pub fn encode(value: &str) -> Cow<'_, str> {
    let plain = is_printable(value) && !value.starts_with(' ') && !value.ends_with(' ') && encoded(value).is_none();
    if plain { Cow::Borrowed(value) } else { Cow::Owned(format!("{OPEN}{}{CLOSE}", STANDARD.encode(value))) }
}

/// The text that a received header value stands for, white space around it ignored.
pub fn decode(value: &str) -> Result<Cow<'_, str>, HeaderError> {
    let value = value.trim_matches([' ', '\t']);
    if let Some(base64) = encoded(value) {
        let bytes = STANDARD.decode(base64).map_err(|_| HeaderError::Undecodable)?;
        return String::from_utf8(bytes).map(Cow::Owned).map_err(|_| HeaderError::Undecodable);
    }
    if is_printable(value) { Ok(Cow::Borrowed(value)) } else { Err(HeaderError::BadCharacter) }
}

/// Compares a received header with the body's value, case-sensitively.
pub fn matches(header: &str, value: &str) -> Result<bool, HeaderError> {
    Ok(decode(header)? == value)
}

/// What stands between the markers, if both are there (in lower case, not overlapping).
fn encoded(value: &str) -> Option<&str> {
    value.strip_prefix(OPEN)?.strip_suffix(CLOSE)
}

fn is_printable(value: &str) -> bool {
    value.bytes().all(|byte| matches!(byte, 0x20..=0x7E))
}

/// Whatever is encoded fits into a header and decodes to what it was; nothing received makes decoding panic.
#[doc(hidden)]
pub fn fuzz_header(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let header = encode(&text);
    assert!(is_printable(&header));
    assert_eq!(decode(&header).as_deref(), Ok(&*text));
    assert_eq!(matches(&format!("\t {header} "), &text), Ok(true));
    if let Ok(decoded) = decode(&text) {
        assert_eq!(decode(&encode(&decoded)), Ok(decoded.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_what_http_cannot_carry_is_encoded() {
        for (value, header) in [
            ("", ""),
            ("everything.echo", "everything.echo"),
            ("file:///a b", "file:///a b"),
            ("~!\"#", "~!\"#"),
            (" a", "=?base64?IGE=?="),
            ("a ", "=?base64?YSA=?="),
            ("a\tb", "=?base64?YQli?="),
            ("a\r\nX: y", "=?base64?YQ0KWDogeQ==?="),
            ("\u{7f}", "=?base64?fw==?="),
            ("é", "=?base64?w6k=?="),
            ("=?base64?YQ==?=", "=?base64?PT9iYXNlNjQ/WVE9PT89?="),
            ("=?BASE64?YQ==?=", "=?BASE64?YQ==?="),
            ("=?base64?=", "=?base64?="),
        ] {
            assert_eq!(encode(value), header, "{value:?}");
            assert_eq!(decode(header).as_deref(), Ok(value), "{header:?}");
        }
    }

    #[test]
    fn a_received_value_is_trimmed_decoded_and_compared() {
        for (header, value, expected) in [
            ("echo", "echo", Ok(true)),
            (" \techo\t ", "echo", Ok(true)),
            ("Echo", "echo", Ok(false)),
            ("=?base64?ZWNobw==?=", "echo", Ok(true)),
            ("=?base64??=", "", Ok(true)),
            ("=?Base64?ZWNobw==?=", "echo", Ok(false)),
            ("=?base64?ZWNobw==", "echo", Ok(false)),
            ("=?base64?ZWNobw?=", "echo", Err(HeaderError::Undecodable)),
            ("=?base64?ZW-_bw==?=", "echo", Err(HeaderError::Undecodable)),
            ("=?base64?/w==?=", "\u{fffd}", Err(HeaderError::Undecodable)),
            ("a\tb", "a\tb", Err(HeaderError::BadCharacter)),
            ("é", "é", Err(HeaderError::BadCharacter)),
        ] {
            assert_eq!(matches(header, value), expected, "{header:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_survives_the_round_trip(text in any::<String>()) {
            fuzz_header(text.as_bytes());
        }

        #[test]
        fn any_text_that_looks_encoded_survives_it_too(text in "[ \t]?(=\\?base64\\?)?[A-Za-z0-9+/= é\u{1}]{0,12}(\\?=)?[ \t]?") {
            fuzz_header(text.as_bytes());
        }
    }
}
