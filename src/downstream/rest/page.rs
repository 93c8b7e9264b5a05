//! `limit` and `cursor` of the lists of REST, one reading for all of them. Without either a list is whole; with a limit it answers
//! `next_cursor` while there is more.
//!
//! A cursor is the list's name and the last key that was shown, so that a list may change between two pages: nothing that stays in it
//! is shown twice or left out. To callers it is opaque.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::fault::Fault;
use crate::downstream::Request;

/// What the caller wants to see of one list.
#[derive(Debug)]
pub(super) struct Page {
    list: &'static str,
    limit: Option<usize>,
    /// The last key of the page before.
    after: Option<String>,
}

impl Page {
    /// Of the list so called.
    ///
    /// # Errors
    /// 400: the limit is no whole number above 0, or the cursor none of this list.
    pub(super) fn of(request: &Request, list: &'static str) -> Result<Self, Fault> {
        Self::read(list, request.query("limit").as_deref(), request.query("cursor").as_deref())
    }

    fn read(list: &'static str, limit: Option<&str>, cursor: Option<&str>) -> Result<Self, Fault> {
        let limit = limit.map(|text| text.parse().ok().filter(|limit| *limit > 0).ok_or_else(|| bad("limit", "a whole number above 0")));
        let after = cursor.map(|text| opened(list, text).ok_or_else(bad_cursor));
        Ok(Self { list, limit: limit.transpose()?, after: after.transpose()? })
    }

    /// The page of a list that is sorted by its keys, and the cursor of the next.
    pub(super) fn of_sorted<T>(&self, mut items: Vec<T>, key: impl Fn(&T) -> &str) -> (Vec<T>, Option<String>) {
        if let Some(after) = &self.after {
            items.drain(..items.partition_point(|item| key(item) <= after.as_str()));
        }
        self.cut(items, key)
    }

    /// The same of a list in an order of its own.
    ///
    /// # Errors
    /// 400: what the cursor stands at is not in the list.
    pub(super) fn of_ordered<T>(&self, mut items: Vec<T>, key: impl Fn(&T) -> &str) -> Result<(Vec<T>, Option<String>), Fault> {
        if let Some(after) = &self.after {
            let at = items.iter().position(|item| key(item) == after).ok_or_else(bad_cursor)?;
            items.drain(..=at);
        }
        Ok(self.cut(items, key))
    }

    fn cut<T>(&self, mut items: Vec<T>, key: impl Fn(&T) -> &str) -> (Vec<T>, Option<String>) {
        let Some(limit) = self.limit.filter(|limit| *limit < items.len()) else { return (items, None) };
        items.truncate(limit);
        let next = items.last().map(|last| URL_SAFE_NO_PAD.encode(format!("{}\n{}", self.list, key(last))));
        (items, next)
    }
}

fn opened(list: &str, cursor: &str) -> Option<String> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    text.strip_prefix(list)?.strip_prefix('\n').map(str::to_owned)
}

fn bad_cursor() -> Fault {
    bad("cursor", "the next_cursor of a page of this list")
}

fn bad(name: &str, what: &str) -> Fault {
    Fault::invalid(format!("'{name}' must be {what}"), name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(limit: Option<&str>, cursor: Option<&str>) -> Page {
        Page::read("things", limit, cursor).unwrap()
    }

    #[test]
    fn pages_follow_each_other_until_all_was_shown() {
        for want in [&[&["c", "a"][..], &["d", "b"], &["e"]][..], &[&["c", "a", "d"], &["b", "e"]], &[&["c", "a", "d", "b", "e"]]] {
            let limit = want[0].len().to_string();
            let mut cursor = None;
            for (n, shown) in want.iter().enumerate() {
                let (items, next) = page(Some(&limit), cursor.as_deref()).of_ordered(vec!["c", "a", "d", "b", "e"], |item| item).unwrap();
                assert_eq!((items.as_slice(), next.is_some()), (*shown, n + 1 < want.len()));
                cursor = next;
            }
        }
        assert_eq!(page(None, None).of_sorted(vec!["a", "b"], |item| item), (vec!["a", "b"], None));
    }

    #[test]
    fn a_sorted_list_may_lose_what_a_cursor_stands_at() {
        let (_, next) = page(Some("2"), None).of_sorted(vec!["a", "b", "c"], |item| item);
        let rest = page(None, next.as_deref());
        assert_eq!(rest.of_sorted(vec!["a", "c", "d"], |item| item), (vec!["c", "d"], None));
        assert_eq!(rest.of_ordered(vec!["a", "c", "d"], |item| item).unwrap_err().data["field"], "cursor");
    }

    #[test]
    fn what_is_no_limit_and_no_cursor_of_this_list_is_refused() {
        let other = URL_SAFE_NO_PAD.encode("others\na");
        for (limit, cursor, field) in [
            (Some("0"), None, "limit"),
            (Some("-1"), None, "limit"),
            (Some("many"), None, "limit"),
            (Some(""), None, "limit"),
            (None, Some("zz"), "cursor"),
            (None, Some(""), "cursor"),
            (None, Some("ä"), "cursor"),
            (None, Some(other.as_str()), "cursor"),
        ] {
            let fault = Page::read("things", limit, cursor).unwrap_err();
            assert_eq!((fault.status, &fault.data["field"]), (400, &field.into()), "{limit:?} {cursor:?}");
        }
    }
}
