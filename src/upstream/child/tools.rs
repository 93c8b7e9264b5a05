//! All pages of `tools/list`, each definition kept byte for byte.

use std::collections::HashSet;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::link::Link;
use crate::{
    bridge::outgoing,
    limits,
    mux::Deadline,
    protocol::{Era, Kind, Version},
    upstream::{Event, Exchange, exchange::Wants},
};

/// What a server lists, in its order.
#[derive(Clone, Debug, Default)]
pub(in crate::upstream) struct Tools {
    pub(in crate::upstream) definitions: Vec<Bytes>,
    /// The smallest of all pages; none of the handshake era.
    pub(in crate::upstream) ttl_ms: Option<u64>,
    /// Every page said so.
    pub(in crate::upstream) public: bool,
    /// Of all pages together.
    bytes: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::upstream) enum ListError {
    #[error("tools/list was not answered: {0}")]
    NoAnswer(String),
    #[error("tools/list was answered with an error")]
    Refused,
    #[error("the answer to tools/list cannot be read")]
    Unreadable,
    #[error("the answer to tools/list is larger than {limit_bytes} bytes")]
    TooLarge { limit_bytes: usize },
}

pub(in crate::upstream) async fn list(link: &Link, version: Version, deadline: Deadline) -> Result<Tools, ListError> {
    let mut tools = Tools { public: true, ..Tools::default() };
    let mut seen = HashSet::new();
    let mut params = "{}".to_owned();
    for _ in 0..limits::LIST_PAGES_MAX {
        let cursor = page(link, version, deadline, &params, &mut tools).await?;
        // A cursor that came before would go round for ever. An empty one is a cursor like any other.
        if tools.bytes > limits::LIST_BYTES_MAX {
            return Err(ListError::TooLarge { limit_bytes: limits::LIST_BYTES_MAX });
        }
        let Some(cursor) = cursor.filter(|cursor| seen.insert(cursor.clone())) else { break };
        if tools.definitions.len() >= limits::TOOLS_PER_SERVER_MAX {
            break;
        }
        params = format!(r#"{{"cursor":{cursor}}}"#);
    }
    tools.definitions.truncate(limits::TOOLS_PER_SERVER_MAX);
    Ok(tools)
}

/// Adds one page; returns the raw token of the next cursor.
async fn page(link: &Link, version: Version, deadline: Deadline, params: &str, tools: &mut Tools) -> Result<Option<String>, ListError> {
    let unanswered = |error: &dyn std::fmt::Display| ListError::NoAnswer(error.to_string());
    let opened = loop {
        match link.open(Wants::NOTHING, deadline, |wire| outgoing::own(wire, "tools/list", params, version)) {
            Err(error) if error.reason == crate::protocol::code::Reason::Busy => {
                let ready = tokio::time::timeout(deadline.call, link.ready()).await;
                ready.map_err(|_| unanswered(&error))?.map_err(|error| unanswered(&error))?;
            }
            opened => break opened.map_err(|error| unanswered(&error))?,
        }
    };
    let answer = match Exchange::new(opened, None).next().await {
        Event::Answer(answer) => answer,
        Event::Failed(error) => return Err(unanswered(&error)),
        _ => return Err(ListError::Unreadable),
    };
    let result = match answer.scan().result {
        Some(result) if answer.kind() == Kind::Result => answer.token(result),
        _ => return Err(ListError::Refused),
    };
    tools.bytes += answer.bytes().len();
    let page: Page<'_> = serde_json::from_slice(result).map_err(|_| ListError::Unreadable)?;
    tools.definitions.extend(page.tools.iter().map(|tool| answer.bytes().slice_ref(tool.get().as_bytes())));
    if version.era() == Era::Stateless {
        // Missing or unusable: not to be kept.
        let ttl_ms = page.ttl_ms.and_then(|ttl_ms| ttl_ms.get().parse().ok()).unwrap_or(0);
        tools.ttl_ms = Some(tools.ttl_ms.map_or(ttl_ms, |smallest| smallest.min(ttl_ms)));
    }
    tools.public &= page.cache_scope.is_some_and(|scope| scope.get() == r#""public""#);
    Ok(page.next_cursor.map(RawValue::get).filter(|cursor| cursor.starts_with('"')).map(ToOwned::to_owned))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page<'a> {
    #[serde(borrow)]
    tools: Vec<&'a RawValue>,
    #[serde(borrow)]
    next_cursor: Option<&'a RawValue>,
    #[serde(borrow)]
    ttl_ms: Option<&'a RawValue>,
    #[serde(borrow)]
    cache_scope: Option<&'a RawValue>,
}
