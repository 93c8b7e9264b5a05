//! An error that the hub itself answers.

use super::{
    Body, RequestId,
    code::{Code, Reason, failure_data},
    scan::{Fault, ScanError},
};
use bytes::Bytes;

/// A JSON-RPC error of the hub's own, with the HTTP status that carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: Code,
    /// HTTP status where there is HTTP; 200 for in-band errors.
    pub status: u16,
    pub message: String,
    /// Raw JSON of `error.data`, already encoded, on one line.
    pub data: Option<String>,
    pub id: Option<RequestId>,
}

impl Refusal {
    pub fn new(code: Code, status: u16, message: impl Into<String>) -> Self {
        Self { code, status, message: message.into(), data: None, id: None }
    }

    /// To whoever asks a hub that ends.
    pub fn stopping() -> Self {
        let reason = Reason::ShuttingDown;
        Self::new(reason.code(), reason.status(), "the hub is stopping").with_data(failure_data(None, reason, None))
    }

    /// To whoever waits for an answer where no time is left for it.
    pub fn given_up() -> Self {
        let reason = Reason::Cancelled;
        let text = "no answer came in the time that was left at the end of this connection; the request was cancelled";
        Self::new(reason.code(), reason.status(), text).with_data(failure_data(None, reason, None))
    }

    pub fn with_id(mut self, id: Option<RequestId>) -> Self {
        self.id = id;
        self
    }

    pub fn with_data(mut self, raw_json: String) -> Self {
        self.data = Some(raw_json);
        self
    }

    /// `{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"…","data":…}}`; `id` left out when unknown: peers of 2026-07-28 reject `null`.
    pub fn to_body(&self) -> Body {
        let mut text = String::with_capacity(96 + self.message.len() + self.data.as_ref().map_or(0, String::len));
        text.push_str(r#"{"jsonrpc":"2.0","#);
        if let Some(id) = &self.id {
            text.push_str(r#""id":"#);
            text.push_str(&String::from_utf8_lossy(id.token()));
            text.push(',');
        }
        text.push_str(r#""error":"#);
        self.push_object(&mut text);
        text.push('}');
        Body::one(Bytes::from(text))
    }

    /// The error object alone: `{"code":-32602,"message":"…","data":…}`.
    pub fn to_object(&self) -> String {
        let mut text = String::new();
        self.push_object(&mut text);
        text
    }

    fn push_object(&self, text: &mut String) {
        text.push_str(&format!(r#"{{"code":{},"message":{}"#, self.code.number(), quoted(&self.message)));
        if let Some(data) = &self.data {
            text.push_str(r#","data":"#);
            text.push_str(data);
        }
        text.push('}');
    }
}

impl From<ScanError> for Refusal {
    fn from(error: ScanError) -> Self {
        let message = error.to_string();
        match error.fault {
            // What is not JSON has no id, even if something that looks like one stands in it.
            Fault::Parse => Self::new(Code::Parse, 400, message),
            Fault::Invalid | Fault::Batch => Self::new(Code::InvalidRequest, 400, message).with_id(error.id),
        }
    }
}

/// `text` as a JSON string token.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a string always serialises")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(refusal: &Refusal) -> String {
        String::from_utf8(refusal.to_body().to_bytes().to_vec()).expect("UTF-8")
    }

    fn id(token: &'static str) -> Option<RequestId> {
        RequestId::from_token(Bytes::from_static(token.as_bytes()))
    }

    #[test]
    fn a_refusal_is_one_line_with_the_id_as_it_came() {
        let refusal = Refusal::new(Code::InvalidParams, 200, "Unknown tool: \"a\"\n\u{1}");
        for (refusal, expected) in [
            (refusal.clone(), r#"{"jsonrpc":"2.0","error":{"code":-32602,"message":"Unknown tool: \"a\"\n\u0001"}}"#),
            (
                refusal.clone().with_id(id("7")),
                r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32602,"message":"Unknown tool: \"a\"\n\u0001"}}"#,
            ),
            (
                refusal.with_id(id(r#""\u0041""#)).with_data(r#"{"a":1}"#.into()),
                r#"{"jsonrpc":"2.0","id":"\u0041","error":{"code":-32602,"message":"Unknown tool: \"a\"\n\u0001","data":{"a":1}}}"#,
            ),
        ] {
            assert_eq!(body(&refusal), expected);
        }
    }

    #[test]
    fn what_could_not_be_scanned_is_refused_with_its_code() {
        let error = |fault| ScanError { fault, what: "unexpected end", at: 3, id: id("7") };
        for (fault, expected) in [
            (Fault::Parse, r#"{"jsonrpc":"2.0","error":{"code":-32700,"message":"unexpected end at byte 3"}}"#),
            (Fault::Invalid, r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32600,"message":"unexpected end at byte 3"}}"#),
            (Fault::Batch, r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32600,"message":"unexpected end at byte 3"}}"#),
        ] {
            let refusal = Refusal::from(error(fault));
            assert_eq!((refusal.status, body(&refusal).as_str()), (400, expected));
        }
    }
}
