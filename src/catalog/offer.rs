//! What one server offers, as it said it, and how that is kept on disk.

use std::collections::HashSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use simd_json::prelude::*;

use super::{Kind, definition::Layout};
use crate::protocol::{Era, Version, capability::Profile, raw};

/// What a server has to be told about its definitions fits in a few lines.
const COMPLAINTS_MAX: usize = 20;
/// Of the stored form. Another number is another form: not read, learned again from the server.
const FORM: u32 = 2;

/// Learned from a running server, kept on disk under the fingerprint of its entry. To callers that can be asked more a server may offer more.
#[derive(Clone, Debug)]
pub struct Offer {
    pub version: Version,
    /// Raw JSON of `serverInfo`, `capabilities`; `instructions` as text.
    pub server_info: Bytes,
    pub capabilities: Bytes,
    pub instructions: Option<String>,
    /// To whom: what was declared when it was listed.
    pub profile: Profile,
    pub tools: Vec<Item>,
    pub prompts: Vec<Item>,
    pub resources: Vec<Item>,
    pub templates: Vec<Item>,
    /// Smallest `ttlMs` / widest scope the server gave with its lists, for stateless servers.
    pub ttl_ms: Option<u64>,
    pub public: bool,
}

/// One entry of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// A tool's or prompt's name, a resource's URI, a template's text.
    pub key: String,
    /** the definition, raw JSON, byte for byte */
    pub definition: Bytes,
}

impl Item {
    /// With the key that stands in the definition; an empty one, which nothing may have, when none does.
    pub fn read(kind: Kind, definition: Bytes) -> Self {
        let key = std::str::from_utf8(&definition)
            .ok()
            .and_then(|text| raw::text(raw::member(text, kind.key()).ok()??).map(|key| key.into_owned()));
        Self { key: key.unwrap_or_default(), definition }
    }
}

impl Offer {
    /// `serverInfo`, if it is one: servers need not say who they are (MCP 2026-07-28), but what is said has a name and a version.
    pub fn own_info(&self) -> Option<&RawValue> {
        #[derive(Deserialize)]
        struct Implementation {
            #[serde(rename = "name")]
            _name: String,
            #[serde(rename = "version")]
            _version: String,
        }
        serde_json::from_slice::<Implementation>(&self.server_info).ok().and_then(|_| raw(&self.server_info))
    }

    pub fn items(&self, kind: Kind) -> &[Item] {
        match kind {
            Kind::Tools => &self.tools,
            Kind::Prompts => &self.prompts,
            Kind::Resources => &self.resources,
            Kind::Templates => &self.templates,
        }
    }

    /// Drops duplicates (first wins), definitions that are not an object with this usable key, and what is more than a server may offer; returns what was
    /// dropped and why, the first few of them. `over_http`: the server is reached so, and tools that ask for headers by the wrong rules must not be used
    /// (MCP 2026-07-28, Streamable HTTP).
    pub fn tidy(&mut self, over_http: bool) -> Vec<String> {
        let (mut complaints, mut dropped) = (Vec::new(), 0_usize);
        let era = self.version.era();
        let strict = over_http && era == Era::Stateless;
        for kind in Kind::ALL {
            let mut keys = HashSet::new();
            self.items_mut(kind).retain(|item| {
                let complaint = match complaint(kind, item, era, strict) {
                    Some(complaint) => complaint,
                    None if keys.len() >= kind.items_max() => "is beyond the most that one server may offer".into(),
                    None if keys.insert(item.key.clone()) => return true,
                    None => "is there twice, the first one stays".into(),
                };
                dropped += 1;
                if complaints.len() < COMPLAINTS_MAX {
                    complaints.push(format!("{} {:?} {complaint}", kind.noun(), item.key.chars().take(64).collect::<String>()));
                }
                false
            });
        }
        if dropped > COMPLAINTS_MAX {
            complaints.push(format!("and {} more", dropped - COMPLAINTS_MAX));
        }
        complaints
    }

    const fn items_mut(&mut self, kind: Kind) -> &mut Vec<Item> {
        match kind {
            Kind::Tools => &mut self.tools,
            Kind::Prompts => &mut self.prompts,
            Kind::Resources => &mut self.resources,
            Kind::Templates => &mut self.templates,
        }
    }
}

/// One JSON document of a server's offers, definitions byte for byte. What is not JSON is left out.
pub fn to_stored<'a>(offers: impl IntoIterator<Item = &'a Offer>) -> Vec<u8> {
    let profiles: Vec<_> = offers.into_iter().map(|offer| (offer, offer.profile.declare(Version::STATELESS))).collect();
    let offers = profiles.iter().map(|(offer, profile)| {
        let definitions = |kind| offer.items(kind).iter().filter_map(|item| raw(&item.definition)).collect();
        StoredOffer {
            version: offer.version.as_str().into(),
            profile: raw(profile.as_bytes()),
            server_info: raw(&offer.server_info),
            capabilities: raw(&offer.capabilities),
            instructions: offer.instructions.as_deref().map(Into::into),
            ttl_ms: offer.ttl_ms,
            public: offer.public,
            tools: definitions(Kind::Tools),
            prompts: definitions(Kind::Prompts),
            resources: definitions(Kind::Resources),
            templates: definitions(Kind::Templates),
        }
    });
    serde_json::to_vec(&Stored { form: FORM, offers: offers.collect() }).unwrap_or_default()
}

/// `None` for another form or damaged bytes: the server is asked again.
pub fn from_stored(bytes: &[u8]) -> Option<Vec<Offer>> {
    #[derive(Deserialize)]
    struct Form {
        form: u32,
    }
    // One copy that all definitions share.
    let bytes = Bytes::copy_from_slice(bytes);
    if serde_json::from_slice::<Form>(&bytes).ok()?.form != FORM {
        return None;
    }
    let stored: Stored<'_> = serde_json::from_slice(&bytes).ok()?;
    let share = |raw: &RawValue| bytes.slice_ref(raw.get().as_bytes());
    let object = |raw: Option<&RawValue>| raw.map_or_else(|| Bytes::from_static(b"{}"), share);
    let items = |kind, definitions: Vec<&RawValue>| definitions.into_iter().map(|raw| Item::read(kind, share(raw))).collect();
    let offer = |stored: StoredOffer<'_>| {
        Some(Offer {
            version: Version::parse(&stored.version)?,
            profile: Profile::read(&object(stored.profile)),
            server_info: object(stored.server_info),
            capabilities: object(stored.capabilities),
            instructions: stored.instructions,
            tools: items(Kind::Tools, stored.tools),
            prompts: items(Kind::Prompts, stored.prompts),
            resources: items(Kind::Resources, stored.resources),
            templates: items(Kind::Templates, stored.templates),
            ttl_ms: stored.ttl_ms,
            public: stored.public,
        })
    };
    stored.offers.into_iter().map(offer).collect()
}

#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    form: u32,
    #[serde(borrow)]
    offers: Vec<StoredOffer<'a>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredOffer<'a> {
    version: String,
    /// Capabilities of a client.
    #[serde(borrow)]
    profile: Option<&'a RawValue>,
    #[serde(borrow)]
    server_info: Option<&'a RawValue>,
    #[serde(borrow)]
    capabilities: Option<&'a RawValue>,
    instructions: Option<String>,
    ttl_ms: Option<u64>,
    public: bool,
    #[serde(borrow)]
    tools: Vec<&'a RawValue>,
    #[serde(borrow)]
    prompts: Vec<&'a RawValue>,
    #[serde(borrow)]
    resources: Vec<&'a RawValue>,
    #[serde(borrow)]
    templates: Vec<&'a RawValue>,
}

pub(super) fn raw(json: &[u8]) -> Option<&RawValue> {
    serde_json::from_slice(json).ok()
}

/// Why something cannot be published. `strict`: as a client over HTTP has to be.
fn complaint(kind: Kind, item: &Item, server: Era, strict: bool) -> Option<String> {
    let key = kind.key();
    if item.key.is_empty() || item.key.len() > kind.key_bytes_max() {
        return Some(format!("has an empty {key} or one longer than {} bytes", kind.key_bytes_max()));
    }
    // The parser destroys its input. It checks the whole document, which every client would have to swallow.
    let mut copy = item.definition.to_vec();
    let Ok(tape) = simd_json::to_tape(&mut copy) else { return Some("has a definition that is not JSON".into()) };
    match tape.as_value().as_object().and_then(|object| object.get(key)) {
        Some(value) if value.as_str() == Some(&item.key) => {}
        _ => return Some(format!("has a definition that is not an object with this {key}")),
    }
    let Some((layout, _)) = Layout::find(kind, &item.definition, server) else {
        return Some("has a definition with a member twice".into());
    };
    layout.header_complaint().filter(|_| strict).map(|complaint| format!("asks for a header that cannot be: {complaint}"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An offer of tools given as definitions.
    pub(in crate::catalog) fn offer(definitions: &[&str]) -> Offer {
        Offer {
            version: Version::V2025_11_25,
            server_info: Bytes::from_static(br#"{"name":"one","version":"1"}"#),
            capabilities: Bytes::from_static(br#"{"tools":{"listChanged":true}}"#),
            instructions: None,
            profile: Profile::BARE,
            tools: definitions.iter().map(|definition| tool(definition)).collect(),
            prompts: vec![],
            resources: vec![],
            templates: vec![],
            ttl_ms: None,
            public: false,
        }
    }

    pub(in crate::catalog) fn tool(definition: &str) -> Item {
        item(Kind::Tools, definition)
    }

    pub(in crate::catalog) fn item(kind: Kind, definition: &str) -> Item {
        Item::read(kind, Bytes::copy_from_slice(definition.as_bytes()))
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
            offer.tools.push(Item { key: name.into(), definition: definition.into() });
        }
        let complaints = offer.tidy(false);
        assert_eq!(offer.tools, [tool(r#"{"name":"a"}"#), tool(r#"{"name":"b"}"#)]);
        assert_eq!(complaints.len(), 9, "{complaints:?}");
        assert!(complaints[0].starts_with("tool \"a\" is there twice"), "{complaints:?}");
        assert!(offer.tidy(false).is_empty());
    }

    #[test]
    fn tidy_is_bounded_in_tools_and_words() {
        let definitions: Vec<_> = (0..crate::limits::TOOLS_PER_SERVER_MAX + 100).map(|n| format!(r#"{{"name":"t{n}"}}"#)).collect();
        let mut offer = offer(&definitions.iter().map(String::as_str).collect::<Vec<_>>());
        let complaints = offer.tidy(false);
        assert_eq!(offer.tools.len(), crate::limits::TOOLS_PER_SERVER_MAX);
        assert_eq!(complaints.len(), COMPLAINTS_MAX + 1);
        assert_eq!(complaints.last().unwrap(), "and 80 more");
    }

    #[test]
    fn every_kind_is_tidied_by_its_own_key() {
        let mut offer = offer(&[]);
        offer.prompts = [r#"{"name":"p"}"#, r#"{"name":"p","x":1}"#, r#"{"uri":"p"}"#].map(|text| item(Kind::Prompts, text)).into();
        offer.resources =
            [r#"{"uri":"x:1","name":"p"}"#, r#"{"name":"r"}"#, r#"{"uri":"x:1"}"#].map(|text| item(Kind::Resources, text)).into();
        offer.templates = [r#"{"uriTemplate":"x:{a}"}"#, r#"{"uriTemplate":7}"#].map(|text| item(Kind::Templates, text)).into();
        let complaints = offer.tidy(true);
        let kept = Kind::ALL.map(|kind| offer.items(kind).iter().map(|item| item.key.as_str()).collect::<Vec<_>>());
        assert_eq!(kept, [vec![], vec!["p"], vec!["x:1"], vec!["x:{a}"]]);
        assert_eq!(complaints.len(), 5, "{complaints:?}");
        assert!(complaints[0].starts_with("prompt \"p\" is there twice"), "{complaints:?}");
        assert!(complaints[4].starts_with("resource template \"\" has an empty uriTemplate"), "{complaints:?}");
    }

    #[test]
    fn only_over_http_wrong_headers_cost_a_tool() {
        let wrong = r#"{"name":"a","inputSchema":{"properties":{"x":{"type":"number","x-mcp-header":"X"}}}}"#;
        for (version, over_http, kept) in
            [(Version::STATELESS, true, 0), (Version::STATELESS, false, 1), (Version::LATEST_HANDSHAKE, true, 1)]
        {
            let mut offer = Offer { version, ..offer(&[wrong]) };
            let complaints = offer.tidy(over_http);
            assert_eq!((offer.tools.len(), complaints.len()), (kept, 1 - kept), "{complaints:?}");
        }
    }

    #[test]
    fn offers_survive_the_disk_byte_for_byte() {
        let definitions =
            [r#"{"name":"a" , "inputSchema":{"n":1.0, "big":12345678901234567890123,"u":"\u00e9é"},"z":1,"b":2}"#, r#"{ "name":"\u0062"}"#];
        let bare = Offer { instructions: Some("say \"hi\"\n".into()), ttl_ms: Some(5), public: true, ..offer(&definitions) };
        let profile =
            Profile::BARE.with(Profile::FORM).with(Profile::SAMPLING).with(Profile::SAMPLING_TOOLS).with(Profile::UI).with(Profile::TASKS);
        let mut rich = Offer { profile, ..offer(&[]) };
        rich.prompts.push(item(Kind::Prompts, r#"{"name":"p" }"#));
        rich.resources.push(item(Kind::Resources, r#"{"uri":"x:1"}"#));
        rich.templates.push(item(Kind::Templates, r#"{"uriTemplate":"x:{a}"}"#));
        let read = from_stored(&to_stored([&bare, &rich])).unwrap();
        assert_eq!(format!("{read:?}"), format!("{:?}", [&bare, &rich]));
        assert_eq!(read[0].tools[1].key, "b");
    }

    #[test]
    fn damaged_and_foreign_documents_are_not_read() {
        let stored = to_stored([&offer(&[r#"{"name":"a"}"#])]);
        let text = String::from_utf8(stored.clone()).unwrap();
        assert!(from_stored(&stored).is_some());
        for len in 0..stored.len() {
            assert!(from_stored(&stored[..len]).is_none());
        }
        for (from, to) in
            [("\"form\":2", "\"form\":1"), ("2025-11-25", "1999-01-01"), ("\"tools\":[", "\"tools\":[1 2,"), ("\"form\":2,", "")]
        {
            assert!(from_stored(text.replacen(from, to, 1).as_bytes()).is_none(), "{to}");
        }
        assert!(from_stored(b"\xff").is_none());
    }

    #[test]
    fn a_server_that_does_not_say_who_it_is_says_nothing() {
        let cases = [("{}", false), ("", false), ("[]", false), (r#"{"name":"a"}"#, false), (r#"{"name":"a","version":1}"#, false)];
        for (info, said) in cases.into_iter().chain([(r#"{"title":"A","name":"a","version":"1"}"#, true)]) {
            let offer = Offer { server_info: Bytes::from_static(info.as_bytes()), ..offer(&[]) };
            assert_eq!(offer.own_info().map(RawValue::get), said.then_some(info));
        }
    }

    #[test]
    fn what_is_not_json_is_left_out_of_the_stored_form() {
        let mut offer = offer(&[r#"{"name":"a"}"#]);
        offer.server_info = Bytes::new();
        offer.tools.push(Item { key: "b".into(), definition: "{".into() });
        let read = &from_stored(&to_stored([&offer])).unwrap()[0];
        assert_eq!((read.server_info.as_ref(), read.tools.len()), (&b"{}"[..], 1));
    }
}
