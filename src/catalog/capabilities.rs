//! What an endpoint can do, for the results of `initialize` and `server/discover`.
//!
//! A merged endpoint says the same whatever its servers can do, so that a server that comes later needs no new handshake: an empty list is a list. A
//! server's own endpoint says what the server says, in the words of the client's era.

use bytes::Bytes;

use super::{Catalog, Scope, View, offered::Offered};
use crate::protocol::{
    Era,
    capability::{self, TASKS, makes_tasks},
    raw::{self, Field, Writer},
};

macro_rules! all {
    ($more:literal) => {
        concat!(
            r#"{"tools":{"listChanged":true},"prompts":{"listChanged":true},"resources":{"listChanged":true,"subscribe":true},"#,
            r#""completions":{},"logging":{}"#,
            $more,
            "}"
        )
    };
}
/// All that is carried without a server's word for it.
const ALL: &str = all!("");
const ALL_AND_UI: &str = all!(r#","extensions":{"io.modelcontextprotocol/ui":{}}"#);
const ALL_AND_TASKS: &str = all!(r#","extensions":{"io.modelcontextprotocol/tasks":{}}"#);
const ALL_AND_BOTH: &str = all!(r#","extensions":{"io.modelcontextprotocol/ui":{},"io.modelcontextprotocol/tasks":{}}"#);

impl Catalog {
    /// A raw JSON object. At a merged endpoint tasks are an extension of the stateless era only.
    pub fn capabilities(&self, scope: Scope<'_>, view: View) -> Bytes {
        let tenant = self.tenant(scope.tenant);
        let snapshot = tenant.as_ref().map(|tenant| tenant.snapshot.load());
        let Some(server) = scope.server else {
            let all = snapshot.iter().flat_map(|snapshot| &snapshot.servers).flat_map(|listed| listed.offers.iter());
            let has_ui = all.map(AsRef::as_ref).any(|offered: &Offered| offered.has_ui);
            let said = match (view.version.era(), has_ui) {
                (Era::Handshake, false) => ALL,
                (Era::Handshake, true) => ALL_AND_UI,
                (Era::Stateless, false) => ALL_AND_TASKS,
                (Era::Stateless, true) => ALL_AND_BOTH,
            };
            return Bytes::from_static(said.as_bytes());
        };
        let listed = snapshot.as_ref().and_then(|snapshot| snapshot.listed(server));
        let own = listed.and_then(|listed| listed.offers.fitting(view.profile)).and_then(|offered| {
            let said = std::str::from_utf8(&offered.offer.capabilities).ok()?;
            translated(said, offered.offer.version.era(), view.version.era())
        });
        own.map_or(Bytes::from_static(ALL.as_bytes()), Bytes::from)
    }
}

/// The same, said by the hub. `None`: no object.
fn translated(said: &str, server: Era, client: Era) -> Option<String> {
    let mut out = Writer::new();
    // The tasks of 2025-11-25 as the extension shows them.
    let carries_tasks = (server, client) == (Era::Handshake, Era::Stateless) && makes_tasks(said, server);
    for Field { key, key_token, value } in raw::fields(said)? {
        match &*key {
            // The hub tells of changes even where the server does not: it asks again when somebody looks at a list that is old.
            "tools" | "prompts" | "resources" => out.put(key_token, &told_of_changes(value)),
            // The tasks of 2025-11-25; those of 2026-07-28 are an extension and another design. Of all tasks there is no list: they
            // are several callers'.
            "tasks" if (server, client) != (Era::Handshake, Era::Handshake) => {}
            "tasks" => {
                let mut kept = Writer::new();
                raw::fields(value)?.iter().filter(|field| field.key != "list").for_each(|field| kept.put(field.key_token, field.value));
                out.put(key_token, &kept.finish());
            }
            "extensions" if (server, client) != (Era::Stateless, Era::Stateless) => {
                let mut kept = Writer::new();
                // A handshake server learns of its clients by a profile, which has no place for the extensions of others: those stay off.
                let is_told = |field: &&Field<'_>| field.key != TASKS && (server == Era::Stateless || field.key == capability::UI);
                raw::fields(value)?.iter().filter(is_told).for_each(|field| kept.put(field.key_token, field.value));
                if carries_tasks {
                    kept = kept.member(TASKS, "{}");
                }
                if !kept.is_empty() {
                    out.put(key_token, &kept.finish());
                }
            }
            _ => out.put(key_token, value),
        }
    }
    if carries_tasks && raw::member(said, "extensions").ok()?.is_none() {
        out = out.member("extensions", &format!(r#"{{"{TASKS}":{{}}}}"#));
    }
    Some(out.finish())
}

fn told_of_changes(said: &str) -> String {
    let mut out = Writer::new();
    for field in raw::fields(said).unwrap_or_default().iter().filter(|field| field.key != "listChanged") {
        out.put(field.key_token, field.value);
    }
    out.member("listChanged", "true").finish()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        catalog::{Names, Offer, offer::tests::offer},
        name::{ServerId, ServerName, TenantId},
        protocol::{Version, capability::Profile},
    };

    const A: Era = Era::Handshake;
    const B: Era = Era::Stateless;

    #[test]
    fn a_server_speaks_for_itself_in_the_words_of_the_era() {
        let changed = r#"{"listChanged":true}"#;
        for (server, client, said, expected) in [
            (A, A, "{}".to_owned(), "{}".to_owned()),
            (A, B, r#"{"tools":{},"logging":{}}"#.into(), format!(r#"{{"tools":{changed},"logging":{{}}}}"#)),
            (
                A,
                A,
                r#"{"resources":{"listChanged":false,"subscribe":true,"x":1},"tasks":{"list":{}},"own":[1.0]}"#.into(),
                r#"{"resources":{"subscribe":true,"x":1,"listChanged":true},"tasks":{},"own":[1.0]}"#.into(),
            ),
            (
                A,
                A,
                r#"{"tasks":{"list":{},"cancel":{},"requests":{"tools":{"call":{}}}}}"#.into(),
                r#"{"tasks":{"cancel":{},"requests":{"tools":{"call":{}}}}}"#.into(),
            ),
            (
                A,
                B,
                r#"{"tasks":{"requests":{"tools":{"call":{}}}}}"#.into(),
                r#"{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#.into(),
            ),
            (
                A,
                B,
                r#"{"extensions":{"own/x":{},"io.modelcontextprotocol/ui":{}},"tasks":{"requests":{"tools":{"call":{}}}}}"#.into(),
                r#"{"extensions":{"io.modelcontextprotocol/ui":{},"io.modelcontextprotocol/tasks":{}}}"#.into(),
            ),
            (A, A, r#"{"extensions":{"own/x":{}},"experimental":{"e":{}}}"#.into(), r#"{"experimental":{"e":{}}}"#.into()),
            (A, B, "{\"tasks\":{},\n\"experimental\":{\n\"a\":1}}".into(), r#"{"experimental":{ "a":1}}"#.into()),
            (
                B,
                B,
                r#"{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#.into(),
                r#"{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#.into(),
            ),
            (B, A, r#"{"extensions":{"io.modelcontextprotocol/tasks":{}},"completions":{}}"#.into(), r#"{"completions":{}}"#.into()),
            (
                B,
                A,
                r#"{"extensions":{"io.modelcontextprotocol/tasks":{},"io.modelcontextprotocol/ui":{"a":1},"own/x":{}}}"#.into(),
                r#"{"extensions":{"io.modelcontextprotocol/ui":{"a":1},"own/x":{}}}"#.into(),
            ),
        ] {
            assert_eq!(translated(&said, server, client), Some(expected), "{said}");
        }
        assert_eq!(translated("[]", A, A), None);
    }

    #[test]
    fn a_merged_endpoint_says_the_same_whatever_its_servers_can_do() {
        let catalog = Catalog::new(60_000, [7; 32]);
        let (tenant, name) = (TenantId::default_tenant(), ServerName::new("s").unwrap());
        let server = ServerId { tenant: tenant.clone(), name: name.clone() };
        let merged = Scope { tenant: &tenant, server: None, names: Names::Dotted, uris: None };
        let own = Scope { server: Some(&name), ..merged };
        let view = View { version: Version::STATELESS, profile: Profile::BARE };
        let both = || [merged, own].map(|scope| String::from_utf8(catalog.capabilities(scope, view).to_vec()).unwrap());
        assert_eq!(both(), [ALL_AND_TASKS, ALL], "nothing is known yet");
        catalog.declare(&tenant, vec![name.clone()]);
        catalog.publish(&server, Arc::new(offer(&[])));
        assert_eq!(both(), [ALL_AND_TASKS, r#"{"tools":{"listChanged":true}}"#]);
        catalog.publish(&server, Arc::new(offer(&[r#"{"name":"a","_meta":{"ui/resourceUri":"ui://x"}}"#])));
        assert_eq!(both()[0], ALL_AND_BOTH);
        let handshake = View { version: Version::LATEST_HANDSHAKE, ..view };
        assert_eq!(catalog.capabilities(merged, handshake), ALL_AND_UI, "tasks are an extension of the stateless era");
        let capabilities = Bytes::from_static(br#"{"extensions":{"io.modelcontextprotocol/ui":{}}}"#);
        catalog.publish(&server, Arc::new(Offer { capabilities, ..offer(&[]) }));
        assert_eq!(both(), [ALL_AND_BOTH, r#"{"extensions":{"io.modelcontextprotocol/ui":{}}}"#]);
        for all in [ALL, ALL_AND_UI, ALL_AND_TASKS, ALL_AND_BOTH] {
            serde_json::from_str::<serde_json::Value>(all).unwrap();
        }
    }
}
