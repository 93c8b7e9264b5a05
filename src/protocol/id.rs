//! A peer's request id, kept as the raw JSON token it sent.

use std::{fmt, io::Write};

use bytes::Bytes;

use super::scan;

/// `1`, `"1"` are two ids; equality and hash are over the raw token. Only strings and integers.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(Bytes);

impl RequestId {
    /// Checks that `token` is one JSON string or integer token.
    pub fn from_token(token: Bytes) -> Option<Self> {
        scan::is_id(&token).then_some(Self(token))
    }

    pub fn from_number(number: u64) -> Self {
        let mut digits = Vec::with_capacity(20);
        // Writing to a `Vec` cannot fail.
        let _ = write!(digits, "{number}");
        Self(digits.into())
    }

    /// The raw token, quotes included: splices into JSON as is.
    pub fn token(&self) -> &Bytes {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_string_or_integer_token_is_an_id() {
        for token in ["1", "-7", "0", "\"\"", "\"1\"", "\"a\\u0062\"", "\"é\"", "123456789012345678901234567890"] {
            let id = RequestId::from_token(Bytes::from(token)).expect(token);
            assert_eq!(id.token(), token.as_bytes());
            assert_eq!(id.to_string(), token);
        }
        let others: [&[u8]; 17] = [
            b"",
            b" 1",
            b"1 ",
            b"1.0",
            b"1e3",
            b"01",
            b"-",
            b"null",
            b"true",
            b"{}",
            b"[1]",
            b"\"a",
            b"\"a\"b",
            b"\"\\x\"",
            b"\"\xff\"",
            b"\"a\nb\"",
            b"1,2",
        ];
        for token in others {
            assert_eq!(RequestId::from_token(Bytes::from_static(token)), None, "{}", token.escape_ascii());
        }
    }

    #[test]
    fn a_number_and_the_same_number_in_quotes_are_two_ids() {
        let number = RequestId::from_number(1);
        let text = RequestId::from_token(Bytes::from("\"1\"")).unwrap();
        assert_ne!(number, text);
        assert_eq!((number.to_string(), text.to_string()), ("1".into(), "\"1\"".into()));
        assert_eq!(RequestId::from_number(u64::MAX).to_string(), u64::MAX.to_string());
    }
}
