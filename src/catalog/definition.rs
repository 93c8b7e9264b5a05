//! Where the parts of a definition lie that the hub touches. Everything else is the server's, byte for byte.
//!
//! ```text
//! tool      name · execution · outputSchema · _meta.ui.resourceUri, _meta["ui/resourceUri"], _meta["openai/outputTemplate"]
//! prompt    name
//! resource  uri           template  uriTemplate
//! ```

use std::{borrow::Cow, ops::Range, sync::Arc};

use smallvec::SmallVec;

use super::{
    Kind,
    schema::{self, Shown},
    uri::{self, Uris},
};
use crate::{
    name::ServerName,
    protocol::{
        Era,
        param::{HeaderParam, HeaderParams},
        raw::{self, Field},
    },
};

/// Definitions are bounded well below 4 GiB (`limits::LIST_BYTES_MAX`).
type Span = Range<u32>;

/// Of one definition, which was found to be a JSON object with one string as its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    key: Span,
    /// With the comma that goes with it.
    execution: Option<Span>,
    rare: Option<Box<Rare>>,
}

/// What few tools have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Rare {
    /// Value of an `outputSchema` that handshake clients do not understand, and what they are shown.
    output: Option<(Span, Shown)>,
    /// String tokens: URIs in `_meta`.
    links: SmallVec<[Span; 2]>,
    visibility: Visibility,
    headers: Option<Arc<[HeaderParam]>>,
    complaint: Option<String>,
}

/// For whom a tool is (MCP Apps): a tool that is linked to a view is for both unless it says otherwise, any other for models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visibility {
    pub model: bool,
    pub app: bool,
}

impl Default for Visibility {
    fn default() -> Self {
        Self { model: true, app: false }
    }
}

/// How a definition is shown.
#[derive(Clone, Debug)]
pub(super) struct Dress<'a> {
    /// Name or URI, else its own.
    pub(super) key: Option<Cow<'a, str>>,
    /// Keeps the member `execution`.
    pub(super) execution: bool,
    pub(super) client: Era,
    /// URIs it links to belong to this server.
    pub(super) server: &'a ServerName,
    pub(super) uris: Uris,
}

impl Layout {
    /// The layout, and the key unescaped. `None` when this is no such object, or a member is there twice that the hub touches: two readers would then
    /// see two different definitions. `server`: the era in which it was given.
    pub(super) fn find(kind: Kind, definition: &[u8], server: Era) -> Option<(Self, String)> {
        let text = std::str::from_utf8(definition).ok()?;
        let fields = raw::fields(text)?;
        let key = once(&fields, kind.key())?;
        let (key, unescaped) = (span(text, key.value)?, raw::text(key.value)?.into_owned());
        let mut layout = Self { key, execution: None, rare: None };
        if kind == Kind::Tools {
            layout.execution = match place_of(&fields, "execution")? {
                Some(at) => Some(narrow(without(text, &fields, at)?)?),
                None => None,
            };
            layout.rare = Rare::find(text, &fields, server)?.map(Box::new);
        }
        Some((layout, unescaped))
    }

    pub(super) fn visibility(&self) -> Visibility {
        self.rare.as_ref().map(|rare| rare.visibility).unwrap_or_default()
    }

    /// Arguments that are mirrored in headers.
    pub(super) fn headers(&self) -> Option<Arc<[HeaderParam]>> {
        self.rare.as_ref()?.headers.clone()
    }

    /// Why clients over HTTP must not use this tool.
    pub(super) fn header_complaint(&self) -> Option<&str> {
        self.rare.as_ref()?.complaint.as_deref()
    }

    /// Handshake clients get its structured content as `{"result":…}`.
    pub(super) fn wraps_output(&self) -> bool {
        self.rare.as_ref().and_then(|rare| rare.output.as_ref()).is_some_and(|(_, shown)| shown.wraps)
    }

    /// The URIs it links to, as the server gave them.
    pub(super) fn links<'a>(&'a self, definition: &'a [u8]) -> impl Iterator<Item = Cow<'a, str>> {
        let spans = self.rare.iter().flat_map(|rare| &rare.links);
        spans.filter_map(|span| raw::text(std::str::from_utf8(definition.get(widen(span))?).ok()?))
    }

    /// Appends the definition as it is shown. Line breaks, which can only stand between tokens, become spaces, since a list may leave on a transport
    /// that frames by lines.
    pub(super) fn write(&self, definition: &[u8], dress: &Dress<'_>, out: &mut Vec<u8>) {
        let start = out.len();
        let mut edits: SmallVec<[(Range<usize>, Edit<'_>); 6]> = SmallVec::new();
        if let Some(key) = &dress.key {
            edits.push((widen(&self.key), Edit::Text(key)));
        }
        if let Some(execution) = self.execution.as_ref().filter(|_| !dress.execution) {
            edits.push((widen(execution), Edit::Json("")));
        }
        if let Some(rare) = &self.rare {
            if let (Era::Handshake, Some((span, shown))) = (dress.client, &rare.output) {
                edits.push((widen(span), Edit::Json(&shown.schema)));
            }
            if dress.uris == Uris::Prefixed {
                let link = |span: &Span| (widen(span), Edit::Link(dress.server));
                edits.extend(rare.links.iter().map(link));
            }
        }
        edits.sort_unstable_by_key(|(span, _)| span.start);
        let mut copied = 0;
        for (span, edit) in edits {
            out.extend_from_slice(definition.get(copied..span.start).unwrap_or_default());
            edit.write(definition.get(span.clone()).unwrap_or_default(), out);
            copied = span.end;
        }
        out.extend_from_slice(definition.get(copied..).unwrap_or_default());
        for byte in out.get_mut(start..).unwrap_or_default() {
            if matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
    }
}

/// What takes the place of a span.
enum Edit<'a> {
    Text(&'a str),
    Json(&'a str),
    /// The URI that stands there, as a URI of this server.
    Link(&'a ServerName),
}

impl Edit<'_> {
    fn write(&self, token: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => string(text, out),
            Self::Json(json) => out.extend_from_slice(json.as_bytes()),
            Self::Link(server) => match std::str::from_utf8(token).ok().and_then(raw::text) {
                Some(uri) => string(&uri::publish(server, &uri, Uris::Prefixed), out),
                None => out.extend_from_slice(token),
            },
        }
    }
}

fn string(text: &str, out: &mut Vec<u8>) {
    // Writing to memory cannot fail.
    let _ = serde_json::to_writer(out, text);
}

impl Rare {
    /// `None`: a member is there twice. `Some(None)`: nothing rare.
    fn find(text: &str, fields: &[Field<'_>], server: Era) -> Option<Option<Self>> {
        let mut rare = Self::default();
        // Servers of the handshake era gave every client the same; what they say there is what clients know.
        if let (Some(at), Era::Stateless) = (place_of(fields, "outputSchema")?, server) {
            let value = fields.get(at)?.value;
            rare.output = match schema::for_handshake(value) {
                Some(shown) => Some((span(text, value)?, shown)),
                None => None,
            };
        }
        if let Some(at) = place_of(fields, "_meta")? {
            rare.meta(text, fields.get(at)?.value)?;
        }
        if let Some(at) = place_of(fields, "inputSchema")? {
            let HeaderParams { params, complaint } = HeaderParams::find(fields.get(at)?.value);
            rare.headers = (!params.is_empty()).then(|| params.into());
            rare.complaint = complaint;
        }
        Some((rare != Self::default()).then_some(rare))
    }

    /// `None`: a member is there twice.
    fn meta(&mut self, text: &str, meta: &str) -> Option<()> {
        let Some(fields) = raw::fields(meta) else { return Some(()) };
        let mut links = [place_of(&fields, "ui/resourceUri")?, place_of(&fields, "openai/outputTemplate")?]
            .map(|at| at.and_then(|at| fields.get(at)).map(|field| field.value))
            .to_vec();
        let ui = place_of(&fields, "ui")?.and_then(|at| raw::fields(fields.get(at)?.value));
        let mut visibility = None;
        if let Some(ui) = &ui {
            let value = |at: Option<usize>| at.and_then(|at| ui.get(at)).map(|field| field.value);
            links.push(value(place_of(ui, "resourceUri")?));
            visibility = value(place_of(ui, "visibility")?).and_then(raw::elements);
        }
        let links = links.into_iter().flatten().filter(|token| raw::text(token).is_some());
        self.links = links.filter_map(|token| span(text, token)).collect();
        self.visibility = match visibility {
            Some(said) => {
                let is_for = |whom: &str| said.iter().any(|token| raw::text(token).is_some_and(|said| said == whom));
                Visibility { model: is_for("model"), app: is_for("app") }
            }
            None => Visibility { model: true, app: !self.links.is_empty() },
        };
        Some(())
    }
}

/// Where a member stands. `None`: it is there twice.
fn place_of(fields: &[Field<'_>], key: &str) -> Option<Option<usize>> {
    let mut places = fields.iter().enumerate().filter(|(_, field)| field.key == key).map(|(at, _)| at);
    let place = places.next();
    places.next().is_none().then_some(place)
}

fn once<'f, 'a>(fields: &'f [Field<'a>], key: &str) -> Option<&'f Field<'a>> {
    fields.get(place_of(fields, key)??)
}

/// The member at that place and one comma, so that the object without it is well formed.
pub(super) fn without(text: &str, fields: &[Field<'_>], at: usize) -> Option<Range<usize>> {
    let end = raw::place(text.as_bytes(), fields.get(at)?.value)?.end;
    if let Some(before) = at.checked_sub(1).and_then(|before| fields.get(before)) {
        return Some(raw::place(text.as_bytes(), before.value)?.end..end);
    }
    let rest = text.get(end..)?;
    let comma = rest.trim_ascii_start().starts_with(',');
    let end = if comma { end + rest.find(',')? + 1 } else { end };
    Some(text.find('{')? + 1..end)
}

fn span(text: &str, part: &str) -> Option<Span> {
    narrow(raw::place(text.as_bytes(), part)?)
}

fn narrow(span: Range<usize>) -> Option<Span> {
    Some(u32::try_from(span.start).ok()?..u32::try_from(span.end).ok()?)
}

const fn widen(span: &Span) -> Range<usize> {
    span.start as usize..span.end as usize
}

/// Whatever a server gives: what is shown of it is one JSON object on one line, under the name or URI that was meant.
#[doc(hidden)]
pub fn fuzz_definition(data: &[u8]) {
    let server = ServerName::new("s_S").expect("a name");
    for kind in Kind::ALL {
        for (given, client) in [(Era::Handshake, Era::Stateless), (Era::Stateless, Era::Handshake)] {
            let Some((layout, own)) = Layout::find(kind, data, given) else { continue };
            let published = uri::publish(&server, &own, Uris::Prefixed);
            let dress = Dress { key: Some(published.clone()), execution: false, client, server: &server, uris: Uris::Prefixed };
            let mut out = Vec::new();
            layout.write(data, &dress, &mut out);
            assert!(!out.contains(&b'\n') && !out.contains(&b'\r'));
            let (again, key) = Layout::find(kind, &out, given).expect("an object with one key");
            assert_eq!(key, published);
            assert_eq!(again.execution, None);
            let meant: Vec<_> = layout.links(data).map(|link| uri::publish(&server, &link, Uris::Prefixed).into_owned()).collect();
            assert_eq!(again.links(&out).collect::<Vec<_>>(), meant);
            let plain = Dress { key: None, execution: true, client: Era::Stateless, server: &server, uris: Uris::Raw };
            out.clear();
            layout.write(data, &plain, &mut out);
            assert!(out.iter().zip(data).all(|(shown, given)| shown == given || matches!(given, b'\n' | b'\r')) && out.len() == data.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(kind: Kind, given: Era, definition: &str, dress: &Dress<'_>, expected: &str) {
        let (layout, _) = Layout::find(kind, definition.as_bytes(), given).unwrap();
        let mut out = b"before".to_vec();
        layout.write(definition.as_bytes(), dress, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), format!("before{expected}"), "{definition}");
    }

    fn dress<'a>(server: &'a ServerName, key: Option<&'a str>) -> Dress<'a> {
        Dress { key: key.map(Cow::from), execution: true, client: Era::Stateless, server, uris: Uris::Raw }
    }

    fn check_write(definition: &str, name: Option<&str>, execution: bool, expected: &str) {
        let server = ServerName::new("s").unwrap();
        check(Kind::Tools, Era::Stateless, definition, &Dress { execution, ..dress(&server, name) }, expected);
    }

    #[test]
    fn only_the_name_changes() {
        check_write(r#"{"name":"a"}"#, Some("s.a"), true, r#"{"name":"s.a"}"#);
        check_write(r#" { "name" : "a" , "x":1e2 } "#, Some("s.a"), true, r#" { "name" : "s.a" , "x":1e2 } "#);
        check_write(
            r#"{"title":"name","name":"a","inputSchema":{"name":"b"}}"#,
            Some("s.a"),
            true,
            r#"{"title":"name","name":"s.a","inputSchema":{"name":"b"}}"#,
        );
        check_write(r#"{"n\u0061me":"\u0061"}"#, Some("s.a"), false, r#"{"n\u0061me":"s.a"}"#);
        check_write(r#"{"n\u0061me":"\u0061", "execution":1}"#, None, true, r#"{"n\u0061me":"\u0061", "execution":1}"#);
        check_write("{\"name\":\"a\",\r\n\t\"x\":\"\\n\"}", None, true, "{\"name\":\"a\",  \t\"x\":\"\\n\"}");
    }

    #[test]
    fn execution_goes_with_its_comma() {
        for (definition, expected) in [
            (r#"{"execution":{"taskSupport":"optional"},"name":"a"}"#, r#"{"name":"s.a"}"#),
            (r#"{ "execution" : null , "name":"a"}"#, r#"{ "name":"s.a"}"#),
            (r#"{"name":"a","execution":{}}"#, r#"{"name":"s.a"}"#),
            (r#"{"name":"a" , "execution":"," , "x":[]}"#, r#"{"name":"s.a" , "x":[]}"#),
            (r#"{"x":1,"\u0065xecution":[{}],"name":"a"}"#, r#"{"x":1,"name":"s.a"}"#),
            (r#"{"name":"a","_meta":{"execution":1}}"#, r#"{"name":"s.a","_meta":{"execution":1}}"#),
        ] {
            check_write(definition, Some("s.a"), false, expected);
        }
    }

    #[test]
    fn each_kind_has_a_key_of_its_own() {
        let server = ServerName::new("s").unwrap();
        let definition = r#"{"name":"n","uri":"u:\"1","uriTemplate":"t:{x}","execution":1,"_meta":{"ui":{"resourceUri":"ui://x"}}}"#;
        for (kind, own, shown) in [
            (Kind::Prompts, r#""name":"n""#, r#""name":"K\"""#),
            (Kind::Resources, r#""uri":"u:\"1""#, r#""uri":"K\"""#),
            (Kind::Templates, r#""uriTemplate":"t:{x}""#, r#""uriTemplate":"K\"""#),
        ] {
            let dress = Dress { execution: false, uris: Uris::Prefixed, ..dress(&server, Some("K\"")) };
            check(kind, Era::Handshake, definition, &dress, &definition.replace(own, shown));
        }
        assert_eq!(Layout::find(Kind::Resources, definition.as_bytes(), Era::Handshake).unwrap().1, "u:\"1");
        assert_eq!(Layout::find(Kind::Templates, br#"{"uri":"x:y"}"#, Era::Handshake), None);
    }

    #[test]
    fn uris_that_a_tool_links_to_are_published_with_their_server() {
        let server = ServerName::new("My_S").unwrap();
        let prefixed = Dress { uris: Uris::Prefixed, ..dress(&server, Some("s.a")) };
        for (meta, expected) in [
            (r#"{"ui":{"resourceUri":"ui://a/b","visibility":["app"]}}"#, r#"{"ui":{"resourceUri":"ui://my-s/a/b","visibility":["app"]}}"#),
            (
                r#"{"openai/outputTemplate":"ui:\/\/w" , "ui/resourceUri":"ui://a","x":"ui://a"}"#,
                r#"{"openai/outputTemplate":"ui://my-s/w" , "ui/resourceUri":"ui://my-s/a","x":"ui://a"}"#,
            ),
            (r#"{"ui":{"resourceUri":7},"ui/resourceUri":null}"#, r#"{"ui":{"resourceUri":7},"ui/resourceUri":null}"#),
            (r#"{"openai/outputTemplate":"https://x/y"}"#, r#"{"openai/outputTemplate":"https://x/y"}"#),
            ("null", "null"),
        ] {
            let definition = format!(r#"{{"_meta":{meta},"name":"a"}}"#);
            check(Kind::Tools, Era::Handshake, &definition, &prefixed, &format!(r#"{{"_meta":{expected},"name":"s.a"}}"#));
            check(Kind::Tools, Era::Handshake, &definition, &dress(&server, None), &definition);
        }
    }

    #[test]
    fn a_tool_says_for_whom_it_is() {
        for (meta, model, app) in [
            ("{}", true, false),
            (r#"{"ui":{"resourceUri":"ui://a"}}"#, true, true),
            (r#"{"ui/resourceUri":"ui://a"}"#, true, true),
            (r#"{"ui":{"resourceUri":"ui://a","visibility":["model"]}}"#, true, false),
            (r#"{"ui":{"visibility":["app"]}}"#, false, true),
            (r#"{"ui":{"visibility":["app","model"]}}"#, true, true),
            (r#"{"ui":{"visibility":"app"}}"#, true, false),
            (r#"{"ui":{}}"#, true, false),
        ] {
            let definition = format!(r#"{{"name":"a","_meta":{meta}}}"#);
            let (layout, _) = Layout::find(Kind::Tools, definition.as_bytes(), Era::Handshake).unwrap();
            assert_eq!(layout.visibility(), Visibility { model, app }, "{meta}");
        }
    }

    #[test]
    fn an_output_that_is_no_object_is_wrapped_for_those_who_know_only_objects() {
        let server = ServerName::new("s").unwrap();
        let definition = r#"{"outputSchema":{"type":"array"},"name":"a"}"#;
        let wrapped = r#"{"outputSchema":{"type":"object","properties":{"result":{"type":"array"}},"required":["result"]},"name":"a"}"#;
        for (given, client, expected) in [
            (Era::Stateless, Era::Handshake, wrapped),
            (Era::Stateless, Era::Stateless, definition),
            (Era::Handshake, Era::Handshake, definition),
        ] {
            check(Kind::Tools, given, definition, &Dress { client, ..dress(&server, None) }, expected);
            let (layout, _) = Layout::find(Kind::Tools, definition.as_bytes(), given).unwrap();
            assert_eq!(layout.wraps_output(), given == Era::Stateless);
        }
    }

    #[test]
    fn names_are_unescaped_and_other_documents_refused() {
        let find = |definition: &[u8]| Layout::find(Kind::Tools, definition, Era::Stateless);
        assert_eq!(find(r#"{"name":"\u00e9\"\n"}"#.as_bytes()).unwrap().1, "é\"\n");
        for refused in [
            "",
            "null",
            "[]",
            "\"name\"",
            "{}",
            "{\"name\":1}",
            "{\"name\":null}",
            "{\"Name\":\"a\"}",
            "{\"name\":\"a\"",
            "{\"name\":\"a\"} x",
            "{\"name\":\"a\",}",
            "{\"name\":\"a\",\"name\":\"a\"}",
            "{\"name\":\"a\",\"n\\u0061me\":\"b\"}",
            "{\"name\":\"a\",\"execution\":1,\"execution\":2}",
            "{\"name\":\"a\",\"outputSchema\":{},\"outputSchema\":{}}",
            "{\"name\":\"a\",\"_meta\":{\"ui\":{},\"ui\":{}}}",
            "{\"name\":\"\\ud800\"}",
        ] {
            assert_eq!(find(refused.as_bytes()), None, "{refused}");
        }
        assert_eq!(find(b"{\"name\":\"\xff\"}"), None);
    }

    proptest! {
        #[test]
        fn whatever_is_given_is_shown_well_formed(
            order in Just(["name", "execution", "outputSchema", "_meta", "uri", "uriTemplate", "x"]).prop_shuffle(),
            take in 1..8_usize,
            value in "[a-z:/\\\\\"é{}]{0,12}",
            space in "[ \n\r\t]{0,3}",
        ) {
            let token = serde_json::to_string(&value).unwrap();
            let members = order.iter().take(take).map(|key| match *key {
                "_meta" => format!(r#""_meta"{space}:{{"ui":{{"resourceUri":{token}}},"ui/resourceUri":{token}}}"#),
                "outputSchema" => format!(r##""outputSchema":{{"const":{token},{space}"items":{{"$ref":"#/a"}}}}"##),
                key => format!(r#""{key}"{space}:{space}{token}"#),
            });
            let definition = format!("{space}{{{space}{}{space}}}", members.collect::<Vec<_>>().join(&format!("{space},{space}")));
            fuzz_definition(definition.as_bytes());
        }
    }
}
