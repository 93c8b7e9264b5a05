//! Published URIs: which server a URI belongs to is written into it, so that nobody has to remember (RFC 3986 3.1).
//!
//! ```text
//! ui://rest          ui://<server>/rest           hosts of MCP Apps test for `ui://`
//! http(s)://rest     unchanged                    clients may fetch these themselves
//! scheme:rest        hub+<server>:scheme:rest     templates too: expansion leaves a literal prefix alone (RFC 6570)
//! ```
//!
//! `<server>` is the server's name in lower case with `-` for `_`, so that it can be part of a scheme. Of two names of one
//! tenant that are then alike the configuration refuses one.

use std::borrow::Cow;

use crate::name::ServerName;

const HUB: &str = "hub+";
const UI: &str = "ui://";

/// How URIs are published at an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Uris {
    /// As the server gave them.
    Raw,
    /// With their server.
    Prefixed,
}

/// A URI, or a template of URIs, as clients see it. [`reverse`] undoes it, `http` and `https` aside.
pub fn publish<'a>(server: &ServerName, uri: &'a str, uris: Uris) -> Cow<'a, str> {
    match uris {
        Uris::Raw => uri.into(),
        Uris::Prefixed if is_web(uri) => uri.into(),
        Uris::Prefixed => qualified(server, uri).into(),
    }
}

/// As published with prefixes, but web addresses get one too: no two servers' URIs are alike.
pub fn qualified(server: &ServerName, uri: &str) -> String {
    let key = key(server);
    match uri.strip_prefix(UI) {
        Some(rest) => format!("{UI}{key}/{rest}"),
        None => format!("{HUB}{key}:{uri}"),
    }
}

/// The key of the server and its own URI. `None` for a URI without a prefix. Whatever begins with `ui://` may have one: whether its first segment is a
/// server's key is for the caller to know. Schemes compare in any case, and so do keys ([`is_key`]).
pub fn reverse(published: &str) -> Option<(&str, Cow<'_, str>)> {
    if let Some((key, rest)) = published.strip_prefix(UI).and_then(|rest| rest.split_once('/')) {
        return Some((key, format!("{UI}{rest}").into()));
    }
    let (scheme, rest) = published.split_once(':')?;
    let (head, key) = scheme.split_at_checked(HUB.len())?;
    head.eq_ignore_ascii_case(HUB).then_some((key, rest.into()))
}

/// Does this key of a published URI stand for that server?
pub fn is_key(key: &str, server: &ServerName) -> bool {
    let server = server.as_str().bytes().map(letter);
    key.len() == server.len() && key.bytes().map(|byte| byte.to_ascii_lowercase()).eq(server)
}

/// What client libraries make of a URI: scheme and host in lower case, no default port, `/` for an empty path, escapes in upper case, and escapes for
/// what must not stand in a URI (RFC 3986 6.2; WHATWG URL). Two that are equal so are the same.
pub fn normal(uri: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = uri.split_once(':').filter(|(scheme, _)| is_scheme(scheme)) else { return escaped(uri) };
    let is_lower = scheme.bytes().all(|byte| !byte.is_ascii_uppercase());
    let Some(rest) = rest.strip_prefix("//") else {
        return if is_lower { escaped(uri) } else { format!("{}:{}", scheme.to_ascii_lowercase(), escaped(rest)).into() };
    };
    let scheme = scheme.to_ascii_lowercase();
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (user, host) = authority.rsplit_once('@').map_or(("", authority), |(user, host)| (user, host));
    let mut host = host.to_ascii_lowercase();
    let is_web = match scheme.as_str() {
        "http" => Some(":80"),
        "https" => Some(":443"),
        _ => None,
    };
    if let Some(port) = is_web.filter(|port| host.ends_with(port)) {
        host.truncate(host.len() - port.len());
    }
    let at = if user.is_empty() { "" } else { "@" };
    let slash = if is_web.is_some() && !path.starts_with('/') { "/" } else { "" };
    format!("{scheme}://{}{at}{}{slash}{}", escaped(user), escaped(&host), escaped(path)).into()
}

fn escaped(text: &str) -> Cow<'_, str> {
    let is_odd = |byte: u8| !(0x21..=0x7E).contains(&byte) || matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}');
    if !text.bytes().any(|byte| byte == b'%' || is_odd(byte)) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let next = (bytes.clone().next(), bytes.clone().nth(1));
        match (byte, next) {
            (b'%', (Some(high), Some(low))) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                out.extend(['%', high.to_ascii_uppercase().into(), low.to_ascii_uppercase().into()]);
                bytes.nth(1);
            }
            _ if is_odd(byte) => {
                out.push('%');
                out.extend(
                    [byte >> 4, byte & 15]
                        .into_iter()
                        .filter_map(|nibble| char::from_digit(nibble.into(), 16))
                        .map(|digit| digit.to_ascii_uppercase()),
                );
            }
            _ => out.push(byte.into()),
        }
    }
    out.into()
}

fn key(server: &ServerName) -> String {
    server.as_str().bytes().map(|byte| char::from(letter(byte))).collect()
}

const fn letter(byte: u8) -> u8 {
    match byte {
        b'_' => b'-',
        byte => byte.to_ascii_lowercase(),
    }
}

fn is_web(uri: &str) -> bool {
    let begins = |scheme: &str| uri.split_at_checked(scheme.len()).is_some_and(|(head, _)| head.eq_ignore_ascii_case(scheme));
    begins("http://") || begins("https://")
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn server(name: &str) -> ServerName {
        ServerName::new(name).unwrap()
    }

    #[test]
    fn each_scheme_is_published_in_its_way_and_read_back() {
        for (name, uri, published) in [
            ("fs", "file:///a/b", "hub+fs:file:///a/b"),
            ("My_Server", "file:///a", "hub+my-server:file:///a"),
            ("7up", "x:", "hub+7up:x:"),
            ("fs", "file:///{+path}", "hub+fs:file:///{+path}"),
            ("fs", "{+any}", "hub+fs:{+any}"),
            ("fs", "", "hub+fs:"),
            ("fs", "plain", "hub+fs:plain"),
            ("fs", "hub+fs:file:///a", "hub+fs:hub+fs:file:///a"),
            ("App_1", "ui://widget/main.html", "ui://app-1/widget/main.html"),
            ("app", "ui:///x", "ui://app//x"),
            ("app", "ui://", "ui://app/"),
            ("app", "UI://x", "hub+app:UI://x"),
        ] {
            assert_eq!(publish(&server(name), uri, Uris::Prefixed), published);
            assert_eq!(publish(&server(name), uri, Uris::Raw), uri);
            let (key, original) = reverse(published).unwrap();
            assert!(is_key(key, &server(name)), "{key} {name}");
            assert_eq!(original, uri);
        }
        for web in ["http://x/y", "https://x", "HTTPS://X"] {
            assert_eq!(publish(&server("s"), web, Uris::Prefixed), web);
            assert_eq!(reverse(&qualified(&server("s"), web)), Some(("s", web.into())));
        }
        assert_eq!(reverse("HUB+My-Server:file:///A"), Some(("My-Server", "file:///A".into())));
        for plain in ["", "file:///a", "http://ui", "hub:fs:x", "ui://alone", "hub+fs", "é+x:y", "hubé"] {
            assert_eq!(reverse(plain), None, "{plain}");
        }
    }

    #[test]
    fn a_key_is_one_servers_however_it_is_written() {
        assert!(is_key("A-B", &server("a_b")) && is_key("a-b", &server("A-b")));
        assert!(!is_key("a_b", &server("a_b")), "no scheme has this letter");
    }

    #[test]
    fn what_client_libraries_change_compares_as_equal() {
        for (one, other) in [
            ("http://Example.com", "http://example.com/"),
            ("https://u:P@Example.com:443/a?b#c", "https://u:P@example.com/a?b#c"),
            ("http://h?q", "http://h/?q"),
            ("FILE:///a%c3%a9", "file:///a%C3%A9"),
            ("file:///é b", "file:///%C3%A9%20b"),
            ("custom://Host/Path", "custom://host/Path"),
            ("Urn:X:%2f", "urn:X:%2F"),
        ] {
            assert_eq!(normal(one), normal(other));
        }
        for (one, other) in [("file:///A", "file:///a"), ("custom://h", "custom://h/"), ("http://h:80", "https://h:80"), ("a%zz", "a%ZZ")] {
            assert_ne!(normal(one), normal(other));
        }
    }

    proptest! {
        #[test]
        fn a_published_uri_reads_back_as_it_was(name in "[A-Za-z0-9][A-Za-z0-9_-]{0,20}", uri in "([a-z]{1,5}:|ui://|hub\\+[a-z]{1,3}:)?\\PC{0,30}") {
            let server = server(&name);
            let published = publish(&server, &uri, Uris::Prefixed);
            if published == uri {
                prop_assert!(is_web(&uri));
            } else {
                let (key, original) = reverse(&published).unwrap();
                prop_assert!(is_key(key, &server));
                prop_assert_eq!(&original, &uri);
            }
        }

        #[test]
        fn a_normal_form_is_its_own(uri in "([A-Za-z]{1,5}:(//)?)?[A-Za-z%0-9/ é@:?#]{0,20}") {
            let once = normal(&uri).into_owned();
            prop_assert_eq!(normal(&once), once.as_str());
        }
    }
}
