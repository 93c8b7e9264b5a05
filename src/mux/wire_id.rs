//! The id of a request on a server leg, minted by the hub. Never a caller's own id.

use std::fmt;

use bytes::Bytes;

/// Slot in the low 16 bits, generation above. Below 2^53, so that any peer's JSON number holds it, and never 0: generations start at 1.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct WireId(u64);

pub(super) const SLOTS_MAX: usize = 1 << SLOT_BITS;
pub(super) const GENERATION_MAX: u64 = (1 << (53 - SLOT_BITS)) - 1;
const SLOT_BITS: u32 = 16;
const SLOT_MASK: u64 = (1 << SLOT_BITS) - 1;

impl WireId {
    pub(super) fn new(slot: u16, generation: u64) -> Self {
        debug_assert!((1..=GENERATION_MAX).contains(&generation));
        Self(generation << SLOT_BITS | u64::from(slot))
    }

    /// From an answer's id token: plain digits, also as a string or with `.0`, as sloppy peers send them back. Any number below 2^53 parses:
    /// whether it was ever given is for the connection to say.
    pub fn parse(token: &[u8]) -> Option<Self> {
        let digits = match token {
            [b'"', inner @ .., b'"'] => inner,
            _ => token,
        };
        let digits = digits.strip_suffix(b".0").unwrap_or(digits);
        if digits.is_empty() || digits.len() > 16 || (digits.len() > 1 && digits.first() == Some(&b'0')) {
            return None;
        }
        let mut number = 0_u64;
        for digit in digits {
            if !digit.is_ascii_digit() {
                return None;
            }
            number = number * 10 + u64::from(digit - b'0');
        }
        (number < 1 << 53).then_some(Self(number))
    }

    pub fn as_u64(self) -> u64 {
        self.0
    }

    pub(super) fn slot(self) -> usize {
        (self.0 & SLOT_MASK) as usize
    }

    pub(super) fn generation(self) -> u64 {
        self.0 >> SLOT_BITS
    }
}

impl WireId {
    /// As an id of JSON. One small allocation.
    pub fn to_token(self) -> Bytes {
        Bytes::copy_from_slice(itoa::Buffer::new().format(self.0).as_bytes())
    }
}

impl fmt::Display for WireId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slot_and_generation_survive_the_wire() {
        for (slot, generation) in [(0, 1), (u16::MAX, 1), (7, 42), (0, GENERATION_MAX), (u16::MAX, GENERATION_MAX)] {
            let id = WireId::new(slot, generation);
            assert!(id.as_u64() > 0 && id.as_u64() < 1 << 53);
            assert_eq!((id.slot(), id.generation()), (usize::from(slot), generation));
            assert_eq!(WireId::parse(id.to_string().as_bytes()), Some(id));
        }
    }

    #[test]
    fn sloppy_tokens_are_read_and_other_tokens_are_not() {
        for token in ["65536", "\"65536\"", "65536.0", "\"65536.0\""] {
            assert_eq!(WireId::parse(token.as_bytes()).map(WireId::as_u64), Some(65536), "{token}");
        }
        assert_eq!(WireId::parse(b"0").map(WireId::as_u64), Some(0));
        assert_eq!(WireId::parse(b"9007199254740991").map(WireId::as_u64), Some((1 << 53) - 1));
        for token in
            ["", "\"", "\"\"", "null", "-1", "1.5", "1e3", "01", " 1", ".0", "0x1", "9007199254740992", "99999999999999999999", "\"1", "١"]
        {
            assert_eq!(WireId::parse(token.as_bytes()), None, "{token}");
        }
    }
}
