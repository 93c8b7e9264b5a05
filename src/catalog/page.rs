//! A list written out, page by page.
//!
//! ```text
//! {"tools":[…],"nextCursor":"…"}
//! {"tools":[…],"nextCursor":"…","resultType":"complete","ttlMs":60000,"cacheScope":"private","_meta":{…}}   2026-07-28
//! ```
//!
//! Always `private`, also where every server said `public`: what is listed follows from what its client declares, and a cache that is
//! shared goes by method and cursor alone (MCP 2026-07-28, caching), so one client's list would be shown to another that cannot use it.

use bytes::Bytes;

use super::{
    Scope,
    cursor::{Key, Position},
    definition::{Dress, Layout},
    rendered::Variant,
};
use crate::{limits::LIST_PAGE_TOOLS, protocol::Era};

/// What an aggregated endpoint says of itself.
pub(super) const HUB_INFO: &[u8] = concat!(r#"{"name":"mcp-hub","version":""#, env!("CARGO_PKG_VERSION"), r#""}"#).as_bytes();

/// A whole list. Never without a page, once rendered.
#[derive(Default)]
pub(super) struct Pages(Vec<Bytes>);

/// What the pages of one list share.
pub(super) struct Frame<'a> {
    pub(super) scope: Scope<'a>,
    pub(super) variant: Variant,
    pub(super) generation: u64,
    pub(super) ttl_ms: u64,
    /// Raw JSON.
    pub(super) server_info: &'a [u8],
    pub(super) key: &'a Key,
}

/// One entry of a list.
pub(super) struct Line<'a> {
    pub(super) definition: &'a [u8],
    pub(super) layout: &'a Layout,
    pub(super) dress: Dress<'a>,
}

impl Pages {
    pub(super) fn render(frame: &Frame<'_>, lines: &[Line<'_>]) -> Self {
        if lines.is_empty() {
            return Self(vec![frame.page(lines, None)]);
        }
        let pages = lines.chunks(LIST_PAGE_TOOLS).scan(0, |offset, chunk| {
            *offset += chunk.len();
            let next = (*offset < lines.len()).then_some(*offset);
            Some(frame.page(chunk, next.and_then(|next| u32::try_from(next).ok())))
        });
        Self(pages.collect())
    }

    /// The page that starts at this offset.
    pub(super) fn at(&self, offset: u32) -> Option<&Bytes> {
        self.0.get(usize::try_from(offset).ok()? / LIST_PAGE_TOOLS)
    }
}

impl Frame<'_> {
    fn page(&self, lines: &[Line<'_>], next: Option<u32>) -> Bytes {
        // Names grow by less than this, and so does the envelope.
        let len: usize = lines.iter().map(|line| line.definition.len() + 192).sum();
        let mut out = Vec::with_capacity(len + self.server_info.len() + 256);
        out.extend_from_slice(br#"{""#);
        out.extend_from_slice(self.variant.kind.member().as_bytes());
        out.extend_from_slice(br#"":["#);
        for (n, line) in lines.iter().enumerate() {
            if n > 0 {
                out.push(b',');
            }
            line.layout.write(line.definition, &line.dress, &mut out);
        }
        out.push(b']');
        if let Some(offset) = next {
            let cursor = self.key.seal(Position { generation: self.generation, offset }, self.scope, self.variant);
            out.extend_from_slice(br#","nextCursor":""#);
            out.extend_from_slice(cursor.as_bytes());
            out.push(b'"');
        }
        if self.variant.era == Era::Stateless {
            out.extend_from_slice(br#","resultType":"complete","ttlMs":"#);
            out.extend_from_slice(self.ttl_ms.to_string().as_bytes());
            out.extend_from_slice(br#","cacheScope":"private","_meta":{"io.modelcontextprotocol/serverInfo":"#);
            out.extend_from_slice(self.server_info);
            out.push(b'}');
        }
        out.push(b'}');
        out.into()
    }
}
