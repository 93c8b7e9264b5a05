//! A peer's request id, kept as the raw JSON token it sent: it goes back byte for byte.

use std::fmt;

use bytes::Bytes;

/// A string or an integer. `1` and `"1"` are two ids, and so are two spellings of one string: equality is over the token.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(Bytes);

impl RequestId {
    /// `None` unless `token` is one JSON string or integer, as the scanner cut it out of a message.
    pub fn from_token(token: Bytes) -> Option<Self> {
        Self::is_token(&token).then_some(Self(token))
    }

    pub fn from_number(number: u64) -> Self {
        Self(number.to_string().into())
    }

    /// The raw token, quotes included: splices into JSON as it is.
    pub fn token(&self) -> &Bytes {
        &self.0
    }

    /// Whether a JSON value token is a string or an integer.
    pub(super) fn is_token(token: &[u8]) -> bool {
        match token {
            [b'"', .., b'"'] => true,
            [b'-', digits @ ..] | digits => !digits.is_empty() && digits.iter().all(u8::is_ascii_digit),
        }
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
    fn only_strings_and_integers_are_ids_and_each_spelling_is_its_own() {
        for token in ["1", "-7", "\"1\"", "\"\"", "12345678901234567890123"] {
            let id = RequestId::from_token(Bytes::from_static(token.as_bytes())).unwrap();
            assert_eq!((id.to_string().as_str(), id.token().as_ref()), (token, token.as_bytes()));
        }
        for token in ["null", "1.0", "1e3", "true", "{}", "[]", "-", "", "\""] {
            assert_eq!(RequestId::from_token(Bytes::from_static(token.as_bytes())), None, "{token}");
        }
        let [number, text] = ["1", "\"1\""].map(|token| RequestId::from_token(Bytes::from_static(token.as_bytes())).unwrap());
        assert_ne!(number, text);
        assert_eq!(number, RequestId::from_number(1));
    }
}
