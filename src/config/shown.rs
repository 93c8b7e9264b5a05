//! A server entry as people may see it: names stay, secret values become `***`. And its fingerprint.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{Remote, settings::Launch};

/// What stands in place of a secret.
pub(super) const MASK: &str = "***";

/// Parts of field names whose values are nobody's business.
const SECRETIVE: [&str; 7] = ["secret", "token", "password", "passwd", "apikey", "api_key", "authorization"];

/// The entry as given, with the values of `env` and `headers` and all that is named like a secret masked.
pub(super) fn mask(entry: Map<String, Value>) -> Map<String, Value> {
    entry.into_iter().map(|(name, value)| (name.clone(), masked(&name, value))).collect()
}

fn masked(name: &str, value: Value) -> Value {
    if matches!(name, "env" | "headers") || is_secretive(name) {
        return hidden(value);
    }
    match value {
        Value::Object(map) => Value::Object(mask(map)),
        Value::Array(list) => list.into_iter().map(|item| masked("", item)).collect(),
        Value::String(url) if matches!(name, "url" | "serverUrl" | "httpUrl") => Value::String(without_secrets(&url)),
        other => other,
    }
}

/// Of a field or variable.
pub(super) fn is_secretive(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRETIVE.iter().any(|part| name.contains(part))
}

/// Names stay, values go; `null` says nothing.
fn hidden(value: Value) -> Value {
    match value {
        Value::Null => Value::Null,
        Value::Object(map) => map.into_iter().map(|(name, value)| (name, hidden(value))).collect(),
        _ => MASK.into(),
    }
}

/// A URL without the user, query and fragment it may carry keys in.
pub(super) fn without_secrets(url: &str) -> String {
    let (address, rest) = url.split_at(url.find(['?', '#']).unwrap_or(url.len()));
    let tail = rest.get(..1).map_or_else(String::new, |mark| format!("{mark}{MASK}"));
    let Some((scheme, after)) = address.split_once("://") else { return format!("{address}{tail}") };
    let (authority, path) = after.split_at(after.find('/').unwrap_or(after.len()));
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{MASK}@{host}{path}{tail}"),
        None => format!("{address}{tail}"),
    }
}

/// SHA-256 over all that decides what a server offers, placeholders unresolved, as hex.
pub(super) fn fingerprint(id: &crate::name::ServerId, launch: &Launch, tenant_env: &BTreeMap<&str, &str>, roots: &[String]) -> String {
    let id = (id.tenant.as_str(), id.name.as_str());
    // JSON delimits its parts, so that no two entries run into the same bytes.
    let mut text = match launch {
        Launch::Command { command, args, env, env_file, cwd } => {
            serde_json::json!([id, "command", command, args, env, env_file, cwd, tenant_env])
        }
        Launch::Builtin(builtin) => serde_json::json!([id, "builtin", builtin.as_str()]),
        Launch::Remote(Remote { url, headers, env, env_file, transport, allow_private: _ }) => {
            serde_json::json!([id, "url", url, headers, env, env_file, transport.as_str(), tenant_env])
        }
    };
    // Servers may list other tools to those who have roots.
    if let (Value::Array(parts), false) = (&mut text, roots.is_empty()) {
        parts.push(serde_json::json!({ "roots": roots }));
    }
    hex::encode(Sha256::digest(text.to_string()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check_mask(given: Value, shown: &Value) {
        let Value::Object(map) = given else { panic!("not an object") };
        assert_eq!(&Value::Object(mask(map)), shown);
    }

    #[test]
    fn names_stay_and_values_go() {
        check_mask(
            json!({"command": "npx", "args": ["-y"], "env": {"A": "s", "B": null, "C": 1}, "headers": {"X": "${Y}"}, "timeout": 5}),
            &json!({"command": "npx", "args": ["-y"], "env": {"A": "***", "B": null, "C": "***"}, "headers": {"X": "***"}, "timeout": 5}),
        );
        check_mask(json!({"env": "s", "headers": ["s"]}), &json!({"env": "***", "headers": "***"}));
        check_mask(
            json!({"oauth": {"client_id": "i", "client_secret": "s"}, "metadata": {"list": [{"apiKey": "s"}]}}),
            &json!({"oauth": {"client_id": "i", "client_secret": "***"}, "metadata": {"list": [{"apiKey": "***"}]}}),
        );
    }

    #[test]
    fn a_url_loses_what_may_be_a_key() {
        for (url, shown) in [
            ("https://h/mcp", "https://h/mcp"),
            ("https://h/mcp?key=s#x", "https://h/mcp?***"),
            ("https://u:s@h:1/a@b", "https://***@h:1/a@b"),
            ("${URL}", "${URL}"),
        ] {
            assert_eq!(without_secrets(url), shown);
        }
    }
}
