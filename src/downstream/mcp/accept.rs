//! What the client can read: `Accept` (RFC 9110 12.5.1), as far as it matters here.

use hyper::{HeaderMap, header};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::downstream) struct Accept {
    pub(in crate::downstream) json: bool,
    pub(in crate::downstream) events: bool,
}
impl Accept {
    pub(in crate::downstream) const BOTH: Self = Self { json: true, events: true };

    /// No header means anything; so does `*/*`.
    pub(in crate::downstream) fn of(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(header::ACCEPT).iter().peekable();
        if values.peek().is_none() {
            return Self::BOTH;
        }
        let mut accept = Self { json: false, events: false };
        for value in values {
            // What nearly every client sends.
            if value.as_bytes() == b"application/json, text/event-stream" {
                return Self::BOTH;
            }
            value.to_str().unwrap_or_default().split(',').for_each(|range| accept.add(range));
        }
        accept
    }

    fn add(&mut self, range: &str) {
        let (media, parameters) = range.split_once(';').unwrap_or((range, ""));
        if parameters.split(';').any(is_refusal) {
            return;
        }
        let media = media.trim_ascii();
        let is = |name: &str| media.eq_ignore_ascii_case(name);
        self.json |= is("application/json") || is("application/*") || media == "*/*";
        self.events |= is("text/event-stream") || is("text/*") || media == "*/*";
    }
}

/// `q=0`, `q=0.000`.
fn is_refusal(parameter: &str) -> bool {
    let Some((name, weight)) = parameter.split_once('=') else { return false };
    name.trim_ascii().eq_ignore_ascii_case("q") && weight.trim_ascii().bytes().all(|b| matches!(b, b'0' | b'.'))
}

/// `application/json`, with any parameters but another charset than UTF-8; not compressed.
pub(in crate::downstream) fn is_json(headers: &HeaderMap) -> bool {
    if headers.contains_key(header::CONTENT_ENCODING) {
        return false;
    }
    let Some(kind) = headers.get(header::CONTENT_TYPE) else { return false };
    if kind.as_bytes() == b"application/json" {
        return true;
    }
    let mut parts = kind.to_str().unwrap_or_default().split(';');
    parts.next().is_some_and(|media| media.trim_ascii().eq_ignore_ascii_case("application/json"))
        && parts.all(|parameter| match parameter.split_once('=') {
            Some((name, charset)) if name.trim_ascii().eq_ignore_ascii_case("charset") => {
                charset.trim_ascii().trim_matches('"').eq_ignore_ascii_case("utf-8")
            }
            _ => true,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    fn headers(name: header::HeaderName, values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name.clone(), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn media_ranges_are_read_as_browsers_curl_and_sdks_write_them() {
        let cases: &[(&[&'static str], (bool, bool))] = &[
            (&[], (true, true)),
            (&["application/json, text/event-stream"], (true, true)),
            (&["text/event-stream,application/json"], (true, true)),
            (&["application/json", "text/event-stream"], (true, true)),
            (&["*/*"], (true, true)),
            (&["application/json"], (true, false)),
            (&["Application/JSON ; q=0.5"], (true, false)),
            (&["text/event-stream"], (false, true)),
            (&["text/*, application/*;q=0.1"], (true, true)),
            (&["application/json;q=0, text/event-stream"], (false, true)),
            (&["application/json;q=0.0, */*;q=0"], (false, false)),
            (&["text/html"], (false, false)),
            (&["application/jsonx"], (false, false)),
            (&[""], (false, false)),
        ];
        for (values, (json, events)) in cases {
            assert_eq!(Accept::of(&headers(header::ACCEPT, values)), Accept { json: *json, events: *events }, "{values:?}");
        }
    }

    #[test]
    fn only_plain_json_is_json() {
        let cases = [
            ("application/json", true),
            ("application/json; charset=utf-8", true),
            ("application/json;charset=\"UTF-8\"", true),
            ("APPLICATION/JSON", true),
            ("application/json; profile=x", true),
            ("application/json; charset=latin1", false),
            ("text/plain", false),
            ("application/json-seq", false),
            ("", false),
        ];
        for (kind, expected) in cases {
            assert_eq!(is_json(&headers(header::CONTENT_TYPE, &[kind])), expected, "{kind}");
        }
        assert!(!is_json(&HeaderMap::new()));
        let mut zipped = headers(header::CONTENT_TYPE, &["application/json"]);
        zipped.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert!(!is_json(&zipped));
    }
}
