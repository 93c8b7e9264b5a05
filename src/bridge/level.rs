//! How much a client wants to read of a server's log (MCP, logging): the levels of syslog (RFC 5424).

use crate::protocol::Message;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "debug" => Self::Debug,
            "info" => Self::Info,
            "notice" => Self::Notice,
            "warning" => Self::Warning,
            "error" => Self::Error,
            "critical" => Self::Critical,
            "alert" => Self::Alert,
            "emergency" => Self::Emergency,
            _ => return None,
        })
    }

    pub const fn as_str(self) -> &'static str {
        let token = self.token();
        // Quotes are one byte each.
        token.split_at(token.len() - 1).0.split_at(1).1
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
    fn levels_read_back_and_rise() {
        let names = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];
        let levels: Vec<Level> = names.iter().map(|name| Level::parse(name).unwrap()).collect();
        assert!(levels.is_sorted());
        for (level, name) in levels.iter().zip(names) {
            assert_eq!((level.as_str(), level.token().trim_matches('"')), (name, name));
        }
        assert_eq!(Level::parse("warn"), None);
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
