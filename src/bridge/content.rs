//! Content blocks on their way to a client: the URIs in them published, and kinds that its revision does not know written as text.
//! Everything else stays as it came.
//!
//! Blocks are looked into only when an endpoint publishes URIs or the client's revision is older than the server's, and then only
//! when the scan of an answer noticed a key that could matter and a search of its blocks finds that, or a kind. The search goes for
//! what every writer writes: a key spelt with escapes is not found, and its URI stays the server's own, which no client can do more
//! with than read it.

use std::{borrow::Cow, sync::LazyLock};

use memchr::memmem::Finder;

use super::json::{Object, elements};
use crate::protocol::{Message, Version, raw, refusal::quoted};

/// A server's URI as clients know it; `None` when that is the same.
pub type Publish<'a> = dyn Fn(&str) -> Option<String> + 'a;

static URI: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(br#""uri""#));
static AUDIO: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(br#""audio""#));

/// Where blocks stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// `[block]`: `content` of a tool's result.
    Blocks,
    /// `[{role, content: block or [block]}]`: `messages` of a prompt or of sampling.
    Messages,
    /// `[{uri, …}]`: `contents` of a resource.
    Contents,
}

/// A token of the text, and what takes its place.
pub(super) type Edits<'a> = Vec<(&'a str, String)>;

#[derive(Clone, Copy)]
pub(super) struct Reader<'p> {
    client: Version,
    publish: Option<&'p Publish<'p>>,
}

impl<'p> Reader<'p> {
    pub(super) fn new(client: Version, publish: Option<&'p Publish<'p>>) -> Self {
        Self { client, publish }
    }

    /// What changes in the array at `text`, in order.
    pub(super) fn edits<'a>(&self, text: &'a str, shape: Shape) -> Edits<'a> {
        let mut edits = Vec::new();
        let has = |sign: &Finder<'_>| sign.find(text.as_bytes()).is_some();
        if self.changes_uris() && has(&URI) || self.lacks_sound() && has(&AUDIO) {
            for element in elements(text).unwrap_or_default() {
                match shape {
                    Shape::Blocks => self.block(element, &mut edits),
                    Shape::Messages => self.message(element, &mut edits),
                    Shape::Contents => self.uri(Object::read(element).as_ref(), &mut edits),
                }
            }
        }
        edits
    }

    /// The same array after the edits.
    pub(super) fn apply<'a>(&self, text: &'a str, shape: Shape) -> Cow<'a, str> {
        apply(text, &self.edits(text, shape))
    }

    /// Whether any block could be another to this client than it is to the server.
    pub(super) fn is_idle(&self) -> bool {
        self.publish.is_none() && self.client >= Version::V2025_06_18
    }

    /// Whether any block of this answer could be, as far as the scan tells.
    pub(super) fn may_change(&self, answer: &Message) -> bool {
        self.changes_uris() && answer.scan().has_inner_uri || self.lacks_sound()
    }

    /// Publishes them, or writes links as text.
    fn changes_uris(&self) -> bool {
        self.publish.is_some() || self.client < Version::V2025_06_18
    }

    fn lacks_sound(&self) -> bool {
        self.client < Version::V2025_03_26
    }

    fn message<'a>(&self, text: &'a str, edits: &mut Edits<'a>) {
        let Some(content) = Object::read(text).and_then(|message| message.get("content")) else { return };
        self.one_or_more(content, edits);
    }

    fn one_or_more<'a>(&self, content: &'a str, edits: &mut Edits<'a>) {
        match elements(content) {
            Some(blocks) => blocks.into_iter().for_each(|block| self.block(block, edits)),
            None => self.block(content, edits),
        }
    }

    fn block<'a>(&self, text: &'a str, edits: &mut Edits<'a>) {
        let Some(block) = Object::read(text) else { return };
        match block.string("type").as_deref() {
            Some("resource_link") if self.client < Version::V2025_06_18 => edits.push((text, self.link_as_text(&block))),
            Some("resource_link") => self.uri(Some(&block), edits),
            Some("audio") if self.lacks_sound() => edits.push((text, audio_as_text(&block))),
            Some("resource") => self.uri(block.object("resource").as_ref(), edits),
            Some("tool_result") => {
                if let Some(content) = block.get("content") {
                    self.one_or_more(content, edits);
                }
            }
            _ => {}
        }
    }

    fn uri<'a>(&self, of: Option<&Object<'a>>, edits: &mut Edits<'a>) {
        if let Some(field) = of.and_then(|object| object.field("uri"))
            && let Some(uri) = of.and_then(|object| object.string("uri"))
            && let Some(published) = self.published(&uri)
        {
            edits.push((field.value, quoted(&published)));
        }
    }

    fn published(&self, uri: &str) -> Option<String> {
        self.publish.and_then(|publish| publish(uri))
    }

    /// Until 2025-06-18 there are no links.
    fn link_as_text(&self, block: &Object<'_>) -> String {
        let uri = block.string("uri").unwrap_or_default();
        let uri = self.published(&uri).unwrap_or_else(|| uri.into_owned());
        let name = block.string("title").or_else(|| block.string("name")).unwrap_or_default();
        text_block(&if name.is_empty() { uri } else { format!("{name}: {uri}") })
    }
}

/// Until 2025-03-26 there is no sound.
fn audio_as_text(block: &Object<'_>) -> String {
    let kind = block.string("mimeType").unwrap_or(Cow::Borrowed("unknown kind"));
    text_block(&format!("[audio, {kind}, that this client cannot take]"))
}

/// `{"type":"text","text":…}`
pub(super) fn text_block(text: &str) -> String {
    format!(r#"{{"type":"text","text":{}}}"#, quoted(text))
}

/// The text with tokens of it replaced; they stand in order.
pub(super) fn apply<'a>(text: &'a str, edits: &[(&'a str, String)]) -> Cow<'a, str> {
    if edits.is_empty() {
        return Cow::Borrowed(text);
    }
    let (mut edited, mut at) = (String::with_capacity(text.len() + 64), 0);
    for (token, with) in edits {
        let Some(range) = raw::place(text.as_bytes(), token) else { continue };
        edited.push_str(text.get(at..range.start).unwrap_or_default());
        edited.push_str(with);
        at = range.end;
    }
    edited.push_str(text.get(at..).unwrap_or_default());
    Cow::Owned(edited)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish(uri: &str) -> Option<String> {
        uri.strip_prefix("a:").map(|rest| format!("hub+s:a:{rest}"))
    }

    fn check(client: Version, shape: Shape, cases: &[(&str, &str)]) {
        for (before, after) in cases {
            assert_eq!(Reader::new(client, Some(&publish)).apply(before, shape), *after, "{before}");
        }
    }

    #[test]
    fn uris_are_published_in_every_place_and_nothing_else_changes() {
        check(
            Version::STATELESS,
            Shape::Blocks,
            &[
                (
                    r#"[ {"type":"resource_link", "uri":"a:1","name":"a:1"},{"type":"resource","resource":{"uri":"\u0061:2","text":"a:2"} }]"#,
                    r#"[ {"type":"resource_link", "uri":"hub+s:a:1","name":"a:1"},{"type":"resource","resource":{"uri":"hub+s:a:2","text":"a:2"} }]"#,
                ),
                (r#"[{"type":"text","text":"\"uri\"","uri":"a:1"}]"#, r#"[{"type":"text","text":"\"uri\"","uri":"a:1"}]"#),
                (r#"[{"type":"resource_link","uri":"b:1"}]"#, r#"[{"type":"resource_link","uri":"b:1"}]"#),
                (
                    r#"[{"type":"tool_result","content":[{"type":"resource","resource":{"uri":"a:1"}}]}]"#,
                    r#"[{"type":"tool_result","content":[{"type":"resource","resource":{"uri":"hub+s:a:1"}}]}]"#,
                ),
                (r#"{"uri":"a:1"}"#, r#"{"uri":"a:1"}"#),
                (
                    r#"[{"type":"resource_link","uri":7},{"type":"resource","resource":{"uri":"a:1","uri":"a:2"}}]"#,
                    r#"[{"type":"resource_link","uri":7},{"type":"resource","resource":{"uri":"a:1","uri":"a:2"}}]"#,
                ),
            ],
        );
        check(
            Version::STATELESS,
            Shape::Messages,
            &[(
                r#"[{"role":"user","content":{"type":"resource","resource":{"uri":"a:1"}}},{"role":"user","content":[{"type":"resource_link","uri":"a:2"}]}]"#,
                r#"[{"role":"user","content":{"type":"resource","resource":{"uri":"hub+s:a:1"}}},{"role":"user","content":[{"type":"resource_link","uri":"hub+s:a:2"}]}]"#,
            )],
        );
        check(Version::STATELESS, Shape::Contents, &[(r#"[{"uri":"a:1","text":"x"},{}]"#, r#"[{"uri":"hub+s:a:1","text":"x"},{}]"#)]);
    }

    #[test]
    fn kinds_that_a_revision_does_not_know_become_text() {
        let link = r#"[{"type":"resource_link","uri":"a:1","name":"n"}]"#;
        let audio = r#"[{"type":"audio","mimeType":"audio/wav","data":"AA=="}]"#;
        let linked = r#"[{"type":"text","text":"n: hub+s:a:1"}]"#;
        check(Version::V2025_06_18, Shape::Blocks, &[(audio, audio)]);
        check(Version::V2025_03_26, Shape::Blocks, &[(link, linked), (audio, audio)]);
        check(
            Version::V2024_11_05,
            Shape::Blocks,
            &[(link, linked), (audio, r#"[{"type":"text","text":"[audio, audio/wav, that this client cannot take]"}]"#)],
        );
    }
}
