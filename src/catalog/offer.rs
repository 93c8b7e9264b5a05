//! What one server offers, as it said it, and how that is kept on disk.

use super::definition::Layout;
use crate::{limits::TOOLS_PER_SERVER_MAX, protocol::Version};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use simd_json::prelude::*;
use std::collections::HashSet;

const NAME_BYTES_MAX: usize = 1024;
/// What a server has to be told about its tools fits in a few lines.
const COMPLAINTS_MAX: usize = 20;
/// Of the stored form. Another number is another form: not read, learned again from the server.
const FORM: u32 = 1;

/// Learned from a running server, kept on disk under the fingerprint of its entry.
#[derive(Clone, Debug)]
pub struct Offer {
    pub version: Version,
    /// Raw JSON of `serverInfo`, `capabilities`; `instructions` as text.
    pub server_info: Bytes,
    pub capabilities: Bytes,
    pub instructions: Option<String>,
    pub tools: Vec<Tool>,
    /// Smallest `ttlMs` / widest scope the server gave with its lists, for stateless servers.
    pub ttl_ms: Option<u64>,
    pub public: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tool {
    pub name: String,
    /** the definition, raw JSON, byte for byte */
    pub definition: Bytes,
}

impl Offer {
    /// Drops duplicates (first wins), definitions that are not an object with this tool's usable name, and what is more than a server may offer;
    /// returns what was dropped and why, the first few of them.
    pub fn tidy(&mut self) -> Vec<String> {
        let (mut names, mut complaints, mut dropped) = (HashSet::new(), Vec::new(), 0_usize);
        self.tools.retain(|tool| {
            let complaint = match complaint(tool) {
                Some(complaint) => complaint,
                None if names.len() >= TOOLS_PER_SERVER_MAX => "is beyond the most that one server may offer",
                None if names.insert(tool.name.clone()) => return true,
                None => "is there twice, the first one stays",
            };
            dropped += 1;
            if complaints.len() < COMPLAINTS_MAX {
                complaints.push(format!("tool {:?} {complaint}", tool.name.chars().take(64).collect::<String>()));
            }
            false
        });
        if dropped > COMPLAINTS_MAX {
            complaints.push(format!("and {} more", dropped - COMPLAINTS_MAX));
        }
        complaints
    }

    /// One JSON document, definitions byte for byte. What is not JSON is left out.
    pub fn to_stored(&self) -> Vec<u8> {
        let tools =
            self.tools.iter().filter_map(|tool| Some(StoredTool { name: tool.name.as_str().into(), definition: raw(&tool.definition)? }));
        let stored = Stored {
            form: FORM,
            version: self.version.as_str().into(),
            server_info: raw(&self.server_info),
            capabilities: raw(&self.capabilities),
            instructions: self.instructions.as_deref().map(Into::into),
            ttl_ms: self.ttl_ms,
            public: self.public,
            tools: tools.collect(),
        };
        serde_json::to_vec(&stored).unwrap_or_default()
    }

    /// `None` for another form or damaged bytes: the server is asked again.
    pub fn from_stored(bytes: &[u8]) -> Option<Self> {
        // One copy that all definitions share.
        let bytes = Bytes::copy_from_slice(bytes);
        let stored: Stored<'_> = serde_json::from_slice(&bytes).ok()?;
        if stored.form != FORM {
            return None;
        }
        let share = |raw: &RawValue| bytes.slice_ref(raw.get().as_bytes());
        let object = |raw: Option<&RawValue>| raw.map_or_else(|| Bytes::from_static(b"{}"), share);
        Some(Self {
            version: Version::parse(&stored.version)?,
            server_info: object(stored.server_info),
            capabilities: object(stored.capabilities),
            instructions: stored.instructions,
            tools: stored.tools.into_iter().map(|tool| Tool { name: tool.name, definition: share(tool.definition) }).collect(),
            ttl_ms: stored.ttl_ms,
            public: stored.public,
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored<'a> {
    form: u32,
    version: String,
    #[serde(borrow)]
    server_info: Option<&'a RawValue>,
    #[serde(borrow)]
    capabilities: Option<&'a RawValue>,
    instructions: Option<String>,
    ttl_ms: Option<u64>,
    public: bool,
    #[serde(borrow)]
    tools: Vec<StoredTool<'a>>,
}

#[derive(Serialize, Deserialize)]
struct StoredTool<'a> {
    name: String,
    #[serde(borrow)]
    definition: &'a RawValue,
}

pub(super) fn raw(json: &[u8]) -> Option<&RawValue> {
    serde_json::from_slice(json).ok()
}

/// Why a tool cannot be published.
fn complaint(tool: &Tool) -> Option<&'static str> {
    if tool.name.is_empty() || tool.name.len() > NAME_BYTES_MAX {
        return Some("has an empty name or one longer than 1024 bytes");
    }
    // The parser destroys its input. It checks the whole document, which every client would have to swallow.
    let mut copy = tool.definition.to_vec();
    let Ok(tape) = simd_json::to_tape(&mut copy) else { return Some("has a definition that is not JSON") };
    match tape.as_value().as_object().and_then(|object| object.get("name")) {
        Some(name) if name.as_str() == Some(&tool.name) => {}
        _ => return Some("has a definition that is not an object with this name"),
    }
    Layout::find(&tool.definition).is_none().then_some("has a definition with a member twice")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An offer of tools given as definitions.
    pub(in crate::catalog) fn offer(definitions: &[&str]) -> Offer {
        Offer {
            version: Version::V2025_11_25,
            server_info: Bytes::from_static(br#"{"name":"one","version":"1"}"#),
            capabilities: Bytes::from_static(br#"{"tools":{}}"#),
            instructions: None,
            tools: definitions.iter().map(|definition| tool(definition)).collect(),
            ttl_ms: None,
            public: false,
        }
    }

    pub(in crate::catalog) fn tool(definition: &str) -> Tool {
        let name = Layout::find(definition.as_bytes()).map(|(_, name)| name).unwrap_or_default();
        Tool { name, definition: Bytes::copy_from_slice(definition.as_bytes()) }
    }

    #[test]
    fn tidy_keeps_usable_tools_and_says_what_it_dropped() {
        let long = format!(r#"{{"name":"{}"}}"#, "x".repeat(1025));
        let mut offer = offer(&[r#"{"name":"a"}"#, r#"{"name":"b"}"#, r#"{"name":"a","x":1}"#, &long, r#"{"name":""}"#]);
        for (name, definition) in [
            ("c", "[]"),
            ("c", "{\"name\":\"c\""),
            ("c", r#"{"name":"d"}"#),
            ("c", r#"{"name":1}"#),
            ("c", r#"{"name":"c","name":"c"}"#),
            ("c", r#"{"Name":"c"}"#),
        ] {
            offer.tools.push(Tool { name: name.into(), definition: definition.into() });
        }
        let complaints = offer.tidy();
        assert_eq!(offer.tools, [tool(r#"{"name":"a"}"#), tool(r#"{"name":"b"}"#)]);
        assert_eq!(complaints.len(), 9, "{complaints:?}");
        assert!(complaints[0].starts_with("tool \"a\" is there twice"), "{complaints:?}");
        assert!(offer.tidy().is_empty());
    }

    #[test]
    fn tidy_is_bounded_in_tools_and_words() {
        let definitions: Vec<_> = (0..TOOLS_PER_SERVER_MAX + 100).map(|n| format!(r#"{{"name":"t{n}"}}"#)).collect();
        let mut offer = offer(&definitions.iter().map(String::as_str).collect::<Vec<_>>());
        let complaints = offer.tidy();
        assert_eq!(offer.tools.len(), TOOLS_PER_SERVER_MAX);
        assert_eq!(complaints.len(), COMPLAINTS_MAX + 1);
        assert_eq!(complaints.last().unwrap(), "and 80 more");
    }

    #[test]
    fn an_offer_survives_the_disk_byte_for_byte() {
        let definitions =
            [r#"{"name":"a" , "inputSchema":{"n":1.0, "big":12345678901234567890123,"u":"\u00e9é"},"z":1,"b":2}"#, r#"{ "name":"\u0062"}"#];
        let offer = Offer { instructions: Some("say \"hi\"\n".into()), ttl_ms: Some(5), public: true, ..offer(&definitions) };
        let read = Offer::from_stored(&offer.to_stored()).unwrap();
        assert_eq!(format!("{read:?}"), format!("{offer:?}"));
        assert_eq!(read.tools[1].name, "b");
    }

    #[test]
    fn damaged_and_foreign_documents_are_not_read() {
        let stored = offer(&[r#"{"name":"a"}"#]).to_stored();
        let text = String::from_utf8(stored.clone()).unwrap();
        assert!(Offer::from_stored(&stored).is_some());
        for len in 0..stored.len() {
            assert!(Offer::from_stored(&stored[..len]).is_none());
        }
        for (from, to) in
            [("\"form\":1", "\"form\":2"), ("2025-11-25", "1999-01-01"), ("\"tools\":[", "\"tools\":[1,"), ("\"form\":1,", "")]
        {
            assert!(Offer::from_stored(text.replacen(from, to, 1).as_bytes()).is_none(), "{to}");
        }
        assert!(Offer::from_stored(b"\xff").is_none());
    }

    #[test]
    fn what_is_not_json_is_left_out_of_the_stored_form() {
        let mut offer = offer(&[r#"{"name":"a"}"#]);
        offer.server_info = Bytes::new();
        offer.tools.push(Tool { name: "b".into(), definition: "{".into() });
        let read = Offer::from_stored(&offer.to_stored()).unwrap();
        assert_eq!((read.server_info.as_ref(), read.tools.len()), (&b"{}"[..], 1));
    }
}
