//! Strings unescaped, and key names compared. Takes only what a cursor accepted; anything else is `None`, never a panic.

use std::borrow::Cow;

/// The text of a string token, without quotes and escapes; `None` when it is no string or has half a surrogate pair.
pub fn unescape(token: &[u8]) -> Option<Cow<'_, str>> {
    let inner = inner(token)?;
    if memchr::memchr(b'\\', inner).is_none() {
        return simdutf8::basic::from_utf8(inner).ok().map(Cow::Borrowed);
    }
    let mut text = Vec::with_capacity(inner.len());
    unescape_into(inner, |bytes| {
        text.extend_from_slice(bytes);
        Some(())
    })?;
    String::from_utf8(text).ok().map(Cow::Owned)
}

/// The longest key the hub knows has 42 characters; a longer one need not be unescaped to be told apart.
pub(super) type Spare = [u8; 64];

/// The bytes of a key, unescaped into `spare` when it must be; empty, which no key the hub knows is, when it is too long for that.
#[inline]
pub(super) fn name<'s>(token: &'s [u8], escaped: bool, spare: &'s mut Spare) -> &'s [u8] {
    let inner = inner(token).unwrap_or_default();
    if escaped { unescape_short(inner, spare).unwrap_or_default() } else { inner }
}

#[cold]
fn unescape_short<'s>(inner: &[u8], spare: &'s mut Spare) -> Option<&'s [u8]> {
    let mut len = 0;
    unescape_into(inner, |bytes| {
        spare.get_mut(len..len + bytes.len())?.copy_from_slice(bytes);
        len += bytes.len();
        Some(())
    })?;
    spare.get(..len)
}

/// Whether readers that ignore case (Go's `encoding/json` does, by Unicode's simple folding) would take `name` for one of `known`.
#[cold]
pub(super) fn folds_to_any(name: &[u8], known: &[&str]) -> bool {
    let Ok(name) = std::str::from_utf8(name) else { return false };
    let fold = |c: char| match c {
        'ſ' => 's',
        '\u{212a}' => 'k',
        _ => c.to_ascii_lowercase(),
    };
    known.iter().any(|known| name.chars().map(fold).eq(known.chars().map(fold)))
}

fn inner(token: &[u8]) -> Option<&[u8]> {
    match token {
        [b'"', inner @ .., b'"'] => Some(inner),
        _ => None,
    }
}

/// Hands over the unescaped text piece by piece; `None` from `take` ends it early.
fn unescape_into(mut inner: &[u8], mut take: impl FnMut(&[u8]) -> Option<()>) -> Option<()> {
    while let Some(at) = memchr::memchr(b'\\', inner) {
        let (plain, escape) = inner.split_at_checked(at)?;
        take(plain)?;
        let simple: &[u8] = match *escape.get(1)? {
            b'b' => b"\x08",
            b'f' => b"\x0c",
            b'n' => b"\n",
            b'r' => b"\r",
            b't' => b"\t",
            b'u' => {
                let (character, len) = unicode(escape)?;
                take(character.encode_utf8(&mut [0; 4]).as_bytes())?;
                inner = escape.get(len..)?;
                continue;
            }
            b'"' => b"\"",
            b'\\' => b"\\",
            b'/' => b"/",
            _ => return None,
        };
        take(simple)?;
        inner = escape.get(2..)?;
    }
    take(inner)
}

/// The character that starts with `\u`, and how many bytes name it.
fn unicode(escape: &[u8]) -> Option<(char, usize)> {
    let first = hex(escape.first_chunk()?)?;
    let second = escape.get(6..).and_then(<[u8]>::first_chunk).and_then(hex);
    let mut characters = char::decode_utf16(std::iter::once(first).chain(second));
    let character = characters.next()?.ok()?;
    Some((character, 6 * character.len_utf16()))
}

/// The code unit of one `\uXXXX`.
pub(super) fn hex(escape: &[u8; 6]) -> Option<u16> {
    let [b'\\', b'u', digits @ ..] = escape else { return None };
    digits.iter().try_fold(0u16, |unit, digit| Some(unit << 4 | (*digit as char).to_digit(16)? as u16))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_unescaped_as_serde_json_does() {
        let tokens = [
            r#""""#,
            r#""plain""#,
            r#""tools\/call""#,
            r#""\"\\\/\b\f\n\r\t""#,
            r#""a\u0041\u00e9\u20AC\ud83d\ude00z""#,
            r#""\ud83dx""#,
            r#""\ude00""#,
            r#""\ud83d\u0041""#,
            r#""\u12""#,
            r#""\x""#,
            r#""é\u00e9 😀""#,
            r#""\ud800""#,
            "12",
            "\"",
            "",
        ];
        for token in tokens {
            let expected: Option<String> = serde_json::from_str(token).ok();
            assert_eq!(unescape(token.as_bytes()).as_deref(), expected.as_deref(), "{token}");
        }
    }

    #[test]
    fn a_text_without_escapes_is_borrowed() {
        assert!(matches!(unescape(b"\"echo\""), Some(Cow::Borrowed("echo"))));
    }

    #[test]
    fn keys_too_long_to_be_known_are_not_unescaped() {
        let mut spare = [0; 64];
        let long = format!("\"\\u0069{}\"", "d".repeat(64));
        assert_eq!(name(long.as_bytes(), true, &mut spare), b"");
        assert_eq!(name(br#""\u0069\u0064""#, true, &mut spare), b"id");
        assert_eq!(name(br#""id""#, false, &mut spare), b"id");
    }

    #[test]
    fn names_fold_as_readers_that_ignore_case_fold_them() {
        for other in ["task", "TASK", "taſk", "tas\u{212a}", "TaſK"] {
            assert!(folds_to_any(other.as_bytes(), &["id", "task"]), "{other}");
        }
        for other in ["tasks", "tas", "", "täsk"] {
            assert!(!folds_to_any(other.as_bytes(), &["id", "task"]), "{other}");
        }
    }
}
