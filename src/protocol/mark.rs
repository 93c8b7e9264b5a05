//! By what a hub knows itself again behind a server's address: a configuration that leads back to its own hub would otherwise list its
//! tools once more with every look, each time under a longer name.

use serde::Deserialize;

use super::Message;

/// In `params._meta` of `initialize` and `server/discover`: an array of strings.
const KEY: &str = "io.github.mcp-hub.mcp-hub/hub";

/// Who a hub is: a running one, and all that read the same configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    running: String,
    /// Of all files that were read; `None`: there were none.
    files: Option<String>,
}

impl Mark {
    /// `running`: what nobody can guess.
    pub fn new(running: [u8; 16], files: Option<[u8; 32]>) -> Self {
        Self { running: hex::encode(running), files: files.map(hex::encode) }
    }

    /// What others may see who could not read the files.
    #[must_use]
    pub fn without_files(&self) -> Self {
        Self { files: None, ..self.clone() }
    }

    /// The member of `_meta`, with its key.
    pub fn member(&self) -> String {
        match &self.files {
            Some(files) => format!(r#""{KEY}":["{}","{files}"]"#, self.running),
            None => format!(r#""{KEY}":["{}"]"#, self.running),
        }
    }

    /// Whether who says this is the hub of this mark, or one with the same files.
    pub fn is_on(&self, message: &Message) -> bool {
        #[derive(Deserialize)]
        struct Meta {
            #[serde(rename = "io.github.mcp-hub.mcp-hub/hub")]
            marks: Vec<String>,
        }
        let meta = message.scan().meta.object.map(|span| message.token(span)).unwrap_or_default();
        let said: Option<Meta> = serde_json::from_slice(meta).ok();
        said.is_some_and(|said| said.marks.iter().any(|mark| *mark == self.running || Some(mark) == self.files.as_ref()))
    }
}

/// `error.data` of a hub that found itself.
pub fn refusal_data() -> String {
    r#"{"reason":"self_reference"}"#.to_owned()
}

/// Whether a server refused for that.
pub fn is_self_reference(message: &Message) -> bool {
    #[derive(Deserialize)]
    struct Error<'a> {
        #[serde(borrow)]
        data: Data<'a>,
    }
    #[derive(Deserialize)]
    struct Data<'a> {
        reason: &'a str,
    }
    let error = message.scan().error.map(|span| message.token(span)).unwrap_or_default();
    serde_json::from_slice::<Error<'_>>(error).is_ok_and(|error| error.data.reason == "self_reference")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(meta: &str) -> Message {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{{"_meta":{{{meta}}}}}}}"#);
        Message::parse(text.into()).expect("a request")
    }

    #[test]
    fn a_hub_knows_its_own_mark_and_that_of_its_files_and_no_other() {
        let hub = Mark::new([1; 16], Some([2; 32]));
        let cases = [
            (hub.member(), true),
            (hub.without_files().member(), true),
            (Mark::new([3; 16], Some([2; 32])).member(), true),
            (Mark::new([3; 16], Some([4; 32])).member(), false),
            (Mark::new([3; 16], None).member(), false),
            (format!(r#""{KEY}":"{}""#, "01".repeat(16)), false),
            (String::new(), false),
        ];
        for (member, is_own) in cases {
            assert_eq!(hub.is_on(&said(&member)), is_own, "{member}");
        }
        assert!(!Mark::new([1; 16], None).is_on(&said(&Mark::new([5; 16], Some([2; 32])).member())), "no files are nobody's");
    }
}
