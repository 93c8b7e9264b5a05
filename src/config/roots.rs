//! `roots` of an entry: what its server is told where no client can be asked (MCP, client features, roots).

use super::value::{Fault, Field};
use crate::limits;

/// Absolute `file://` URIs, in order.
pub(super) fn read(field: &Field<'_>) -> Result<Vec<String>, Fault> {
    let given = field.strings_at()?;
    if given.len() > limits::ROOTS_MAX {
        return Err(field.fault(format!("holds more than {} roots", limits::ROOTS_MAX)));
    }
    for (uri, at) in &given {
        if !is_file_uri(uri) {
            let message = format!(
                "\"{}\" must hold absolute file URIs such as \"file:///home/me/project\" (spaces as %20, no placeholders), not \"{uri}\"",
                field.label
            );
            return Err(Fault { at: *at, message });
        }
    }
    Ok(given.into_iter().map(|(uri, _)| uri).collect())
}

/// `file://`, perhaps a host, an absolute path; RFC 8089 section 2 and RFC 3986 section 3.3.
fn is_file_uri(uri: &str) -> bool {
    let Some((scheme, rest)) = uri.split_once("://") else { return false };
    let Some((host, path)) = rest.split_once('/') else { return false };
    let is_host = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    scheme.eq_ignore_ascii_case("file") && is_host && is_path(path.as_bytes())
}

fn is_path(path: &[u8]) -> bool {
    let mut bytes = path.iter();
    while let Some(byte) = bytes.next() {
        let is_fine = match byte {
            b'%' => [bytes.next(), bytes.next()].iter().all(|digit| digit.is_some_and(u8::is_ascii_hexdigit)),
            byte => byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(byte),
        };
        if !is_fine {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_absolute_file_uris_are_roots() {
        for (uri, expected) in [
            ("file:///", true),
            ("file:///home/me/a%20b/(c)", true),
            ("FILE:///c:/Users/me", true),
            ("file://host-1.example/share", true),
            ("file://", false),
            ("file:/home", false),
            ("file:home", false),
            ("/home", false),
            ("home", false),
            ("", false),
            ("https://host/a", false),
            ("file:///a b", false),
            ("file:///é", false),
            ("file:///a%2", false),
            ("file:///a%2x", false),
            ("file:///a#b", false),
            ("file:///a?b", false),
            ("file:///${HOME}", false),
            ("file://user@host/a", false),
            ("file:///a\"b", false),
        ] {
            assert_eq!(is_file_uri(uri), expected, "{uri}");
        }
    }
}
