//! How grave a log message is (RFC 5424 6.2.1, MCP logging).

use super::Message;

/// From the least grave on, so that levels compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Level {
    Debug,
    Info,
    Notice,
    Warning,
    Error,
    Critical,
    Alert,
    Emergency,
}

impl Level {
    pub const ALL: [Self; 8] =
        [Self::Debug, Self::Info, Self::Notice, Self::Warning, Self::Error, Self::Critical, Self::Alert, Self::Emergency];

    /// Exactly as the protocol writes it.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == name)
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
            Self::Alert => "alert",
            Self::Emergency => "emergency",
        }
    }

    /// As a JSON string token.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Debug => r#""debug""#,
            Self::Info => r#""info""#,
            Self::Notice => r#""notice""#,
            Self::Warning => r#""warning""#,
            Self::Error => r#""error""#,
            Self::Critical => r#""critical""#,
            Self::Alert => r#""alert""#,
            Self::Emergency => r#""emergency""#,
        }
    }

    /// What a stateless request asks for in `_meta` (MCP 2026-07-28, logging). `None` when it asks for nothing.
    ///
    /// # Errors
    /// It names no level there is.
    pub fn asked(request: &Message) -> Result<Option<Self>, UnknownLevel> {
        match request.scan().meta.log_level {
            None => Ok(None),
            Some(member) => request.string(member.value).as_deref().and_then(Self::parse).map(Some).ok_or(UnknownLevel),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such log level; there are debug, info, notice, warning, error, critical, alert and emergency")]
pub struct UnknownLevel;

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn levels_are_read_as_they_are_written_and_grow_graver() {
        for pair in Level::ALL.windows(2) {
            assert!(pair[0] < pair[1]);
        }
        for level in Level::ALL {
            assert_eq!(Level::parse(level.as_str()), Some(level));
        }
        assert_eq!((Level::parse("Debug"), Level::parse("warn"), Level::parse("")), (None, None, None));
    }

    #[test]
    fn a_request_asks_for_a_level_or_for_none() {
        for (meta, asked) in [
            ("{}", Ok(None)),
            (r#"{"io.modelcontextprotocol/logLevel":"err\u006fr"}"#, Ok(Some(Level::Error))),
            (r#"{"io.modelcontextprotocol/logLevel":"loud"}"#, Err(UnknownLevel)),
            (r#"{"io.modelcontextprotocol/logLevel":3}"#, Err(UnknownLevel)),
        ] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"_meta":{meta}}}}}"#);
            assert_eq!(Level::asked(&Message::parse(Bytes::from(text)).unwrap()), asked, "{meta}");
        }
    }
}
