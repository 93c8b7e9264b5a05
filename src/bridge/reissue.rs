//! `-32042` (MCP 2025-11-25, URL elicitation required): a server refuses a request until its user has opened some addresses. A
//! stateless client gets them as `input_required`, and its retry sends the original request again, which is safe: it was refused. What
//! the retry needs travels in the sealed state; nothing is parked.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{
    json::{Object, Writer, elements, text_of},
    question::Kind,
};
use crate::{
    limits,
    protocol::{Message, Refusal, capability::Profile, code::Code},
};

/// What must be opened first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needed {
    pub pages: Vec<Page>,
    /// How often the request was refused already.
    pub round: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// The server's own id: `notifications/elicitation/complete` names it.
    #[serde(rename = "i")]
    pub elicitation_id: String,
    #[serde(rename = "u")]
    pub url: String,
    #[serde(rename = "m")]
    pub message: String,
}

/// What a retry comes to.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send the original request again, at once or when the pages are reported done (`limits::REISSUE_WAIT`).
    Reissue,
    /// Ask again; `Needed::requests` of this.
    Ask(Needed),
    /// The user does not want to: `round::failed` with this text.
    Declined(String),
}

impl Needed {
    /// Of a server's answer; `None` when it is another one, or names nothing that could be opened. `round`: 1 for the first refusal.
    pub fn read(answer: &Message, round: u32) -> Option<Self> {
        let scan = answer.scan();
        let code = answer.error_code()?;
        if code != Code::UrlElicitation.number() {
            return None;
        }
        let data = Object::read(text_of(answer, scan.error_data)?)?;
        let entries = elements(data.get("elicitations")?)?;
        let pages: Option<Vec<Page>> = entries.into_iter().map(page).collect();
        pages.filter(|pages| !pages.is_empty() && pages.len() <= limits::QUESTIONS_MAX).map(|pages| Self { pages, round })
    }

    /// # Errors
    /// What to answer a stateless client, without id, that cannot be sent to an address (`-32021`), or was so too often (`-32603`).
    pub fn check(&self, client: Profile) -> Result<(), Refusal> {
        if !client.has(Profile::URL) {
            return Err(Refusal::new(Code::MissingCapability, 400, "the server needs its user to open an address first")
                .with_data(r#"{"requiredCapabilities":{"elicitation":{"url":{}}}}"#.into()));
        }
        if self.round > limits::ROUNDS_MAX {
            return Err(Refusal::new(Code::Internal, 200, "the server refuses the request however often its pages are opened"));
        }
        Ok(())
    }

    /// The raw object `inputRequests`, by keys `u1`, `u2`, …
    pub fn requests(&self) -> String {
        let entry = |page: &Page| {
            let params = Writer::new().text("mode", "url").text("message", &page.message).text("url", &page.url).finish();
            Writer::new().text("method", Kind::Url.method()).member("params", &params).finish()
        };
        self.pages.iter().enumerate().fold(Writer::new(), |requests, (n, page)| requests.member(&key(n), &entry(page))).finish()
    }

    /// The retry's `inputResponses`.
    ///
    /// # Errors
    /// They are malformed (`-32602`, without id).
    pub fn verdict(&self, responses: Option<&str>) -> Result<Verdict, Refusal> {
        let malformed = |what: String| Refusal::new(Code::InvalidParams, 200, what);
        let responses = Object::read(responses.unwrap_or("{}")).ok_or_else(|| malformed("inputResponses is not an object".into()))?;
        let mut is_missing = false;
        for n in 0..self.pages.len() {
            let Some(response) = responses.field(&key(n)) else {
                is_missing = true;
                continue;
            };
            if !Kind::Url.accepts(response.value) {
                return Err(malformed(format!("inputResponses.{} is no answer to {}", key(n), Kind::Url.method())));
            }
            let action = Object::read(response.value).and_then(|response| response.string("action").map(Cow::into_owned));
            if action.as_deref() != Some("accept") {
                return Ok(Verdict::Declined("The user did not open an address that the server needs opened first".into()));
            }
        }
        Ok(if is_missing { Verdict::Ask(self.clone()) } else { Verdict::Reissue })
    }

    /// For a client that has no such code: what its user may do.
    pub fn to_text(&self) -> String {
        let lines = self.pages.iter().map(|page| match page.message.as_str() {
            "" => page.url.clone(),
            message => format!("{message}: {}", page.url),
        });
        std::iter::once("Open this first, then try again".to_owned()).chain(lines).collect::<Vec<_>>().join("\n")
    }
}

fn key(n: usize) -> String {
    format!("u{}", n + 1)
}

fn page(entry: &str) -> Option<Page> {
    let entry = Object::read(entry)?;
    let text = |name| entry.string(name).map(Cow::into_owned);
    Some(Page {
        elicitation_id: text("elicitationId").unwrap_or_default(),
        url: text("url")?,
        message: text("message").unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn answer(error: &str) -> Message {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"error":{error}}}"#);
        Message::parse(Bytes::from(text)).unwrap()
    }

    fn two() -> Needed {
        let refused = r#"{"code":-32042,"message":"first","data":{"elicitations":[{"mode":"url","elicitationId":"e1","url":"https://a.example/1","message":"Connect"},{"elicitationId":"e2","url":"https://a.example/2","message":"Sign \"in\""}]}}"#;
        Needed::read(&answer(refused), 1).unwrap()
    }

    #[test]
    fn pages_are_asked_for_without_the_servers_ids() {
        assert_eq!(
            two().requests(),
            r#"{"u1":{"method":"elicitation/create","params":{"mode":"url","message":"Connect","url":"https://a.example/1"}},"u2":{"method":"elicitation/create","params":{"mode":"url","message":"Sign \"in\"","url":"https://a.example/2"}}}"#
        );
        assert_eq!(two().to_text(), "Open this first, then try again\nConnect: https://a.example/1\nSign \"in\": https://a.example/2");
    }

    #[test]
    fn other_errors_name_no_pages() {
        for error in [
            r#"{"code":-32602,"message":"m","data":{"elicitations":[{"url":"u"}]}}"#,
            r#"{"code":-32042,"message":"m"}"#,
            r#"{"code":-32042,"message":"m","data":{"elicitations":[]}}"#,
            r#"{"code":-32042,"message":"m","data":{"elicitations":[{"message":"no address"}]}}"#,
        ] {
            assert_eq!(Needed::read(&answer(error), 1), None, "{error}");
        }
    }

    #[test]
    fn a_retry_is_sent_on_only_when_every_page_was_opened() {
        let (yes, no) = (r#"{"action":"accept"}"#, r#"{"action":"decline"}"#);
        let needed = two();
        let verdict = |responses: &str| needed.verdict(Some(responses));
        assert_eq!(verdict(&format!(r#"{{"u1":{yes},"u2":{yes},"u9":{no}}}"#)), Ok(Verdict::Reissue));
        assert_eq!(verdict(&format!(r#"{{"u1":{yes}}}"#)), Ok(Verdict::Ask(two())));
        assert_eq!(needed.verdict(None), Ok(Verdict::Ask(two())));
        assert!(matches!(verdict(&format!(r#"{{"u1":{yes},"u2":{no}}}"#)), Ok(Verdict::Declined(_))));
        assert!(matches!(verdict(r#"{"u2":{"action":"cancel"}}"#), Ok(Verdict::Declined(_))));
        for malformed in [r#"{"u1":7}"#, r#"{"u1":{"action":"maybe"}}"#, "[]"] {
            assert_eq!(verdict(malformed).unwrap_err().code, Code::InvalidParams, "{malformed}");
        }
    }

    #[test]
    fn only_who_can_be_sent_to_an_address_is() {
        assert_eq!(two().check(Profile::FORM).unwrap_err().code, Code::MissingCapability);
        assert_eq!(two().check(Profile::URL), Ok(()));
        let often = Needed { round: limits::ROUNDS_MAX + 1, ..two() };
        assert_eq!(often.check(Profile::URL).unwrap_err().code, Code::Internal);
    }
}
