//! Protocol revisions, and the two eras they fall into.

/// The revisions the hub speaks, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    V2024_11_05,
    V2025_03_26,
    V2025_06_18,
    V2025_11_25,
    V2026_07_28,
}

/// How a conversation is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Era {
    /// `initialize` opens a session (until 2025-11-25).
    Handshake,
    /// Each request carries its own envelope (from 2026-07-28).
    Stateless,
}

impl Version {
    /// What the hub offers to, and answers, a peer of the handshake era.
    pub const LATEST_HANDSHAKE: Self = Self::V2025_11_25;
    pub const STATELESS: Self = Self::V2026_07_28;

    /// Exactly the known strings. Some deployed SDKs still say 2024-10-07, which is 2024-11-05 for all that the hub does.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "2024-10-07" | "2024-11-05" => Self::V2024_11_05,
            "2025-03-26" => Self::V2025_03_26,
            "2025-06-18" => Self::V2025_06_18,
            "2025-11-25" => Self::V2025_11_25,
            "2026-07-28" => Self::V2026_07_28,
            _ => return None,
        })
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    pub const fn era(self) -> Era {
        match self {
            Self::V2026_07_28 => Era::Stateless,
            _ => Era::Handshake,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_strings_read_back_and_nothing_else_is_known() {
        for text in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"] {
            let version = Version::parse(text).unwrap();
            assert_eq!(version.as_str(), text);
            assert_eq!(version.era() == Era::Stateless, text == "2026-07-28");
        }
        assert_eq!(Version::parse("2024-10-07"), Some(Version::V2024_11_05));
        for text in ["", "v999", "2026-07-29", " 2025-03-26", "2025-03-26 "] {
            assert_eq!(Version::parse(text), None, "{text:?}");
        }
    }
}
