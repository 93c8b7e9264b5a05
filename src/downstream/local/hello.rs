//! The first line of each side of a local connection; after them come messages.
//!
//! `{"mcpHub":1,"identity":"9f…","tenant":"default","server":null,"names":"safe","uris":null,"questions":0}` is answered
//! `{"mcpHub":1,"joined":true,"pid":4711}`, or with `"joined":false` before the end of the connection.

use std::io;

use bytes::BytesMut;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::{
    catalog::{Names, Uris},
    config::Identity,
    hub::Endpoint,
    name::{ServerName, TenantId},
};

/// Grows with what is said on these connections.
const VERSION: u32 = 1;
/// The names in it are bounded far below.
const LINE_BYTES_MAX: usize = 4 << 10;

/// Who comes, and what for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hello {
    /// In hex.
    identity: String,
    pub(super) endpoint: Endpoint,
    /// Questions of servers are numbered from the one after this: the client has seen the earlier numbers, from another hub.
    pub(super) questions: u64,
}

#[derive(Serialize, Deserialize)]
struct Line {
    #[serde(rename = "mcpHub")]
    version: u32,
    identity: String,
    tenant: String,
    server: Option<String>,
    names: String,
    uris: Option<String>,
    questions: u64,
}

/// What the hub says to it.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
pub(super) struct Reply {
    #[serde(rename = "mcpHub")]
    version: u32,
    pub(super) joined: bool,
    /// Of the hub.
    pub(super) pid: u32,
}

impl Hello {
    pub(super) fn new(identity: Identity, endpoint: Endpoint, questions: u64) -> Self {
        Self { identity: identity.to_hex(), endpoint, questions }
    }

    /// Whether it is meant for this hub.
    pub(super) fn names(&self, identity: Identity) -> bool {
        self.identity == identity.to_hex()
    }

    fn to_line(&self) -> String {
        let Endpoint { tenant, server, names, uris } = &self.endpoint;
        let line = Line {
            version: VERSION,
            identity: self.identity.clone(),
            tenant: tenant.as_str().to_owned(),
            server: server.as_ref().map(|server| server.as_str().to_owned()),
            names: style(*names).to_owned(),
            uris: uris.map(|uris| form(uris).to_owned()),
            questions: self.questions,
        };
        serde_json::to_string(&line).expect("texts and numbers always serialise")
    }

    /// `None` for whatever this version would not say.
    fn read(line: &[u8]) -> Option<Self> {
        let line: Line = serde_json::from_slice(line).ok()?;
        let names = [Names::Safe, Names::Dotted].into_iter().find(|names| style(*names) == line.names)?;
        let server = match &line.server {
            Some(server) => Some(ServerName::new(server)?),
            None => None,
        };
        let uris = match &line.uris {
            Some(uris) => Some([Uris::Raw, Uris::Prefixed].into_iter().find(|own| form(*own) == uris)?),
            None => None,
        };
        let endpoint = Endpoint { tenant: TenantId::new(&line.tenant)?, server, names, uris };
        (line.version == VERSION).then_some(Self { identity: line.identity, endpoint, questions: line.questions })
    }
}

const fn style(names: Names) -> &'static str {
    match names {
        Names::Safe => "safe",
        Names::Dotted => "dotted",
    }
}

const fn form(uris: Uris) -> &'static str {
    match uris {
        Uris::Raw => "raw",
        Uris::Prefixed => "prefixed",
    }
}

impl Reply {
    fn new(joined: bool) -> Self {
        Self { version: VERSION, joined, pid: std::process::id() }
    }
}

/// Says who comes, and hears the answer; nothing else may be said before. What the hub says after it is still to be read.
///
/// # Errors
/// The hub is gone, or says something else.
pub(super) async fn say<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, hello: &Hello) -> io::Result<Reply> {
    stream.write_all(format!("{}\n", hello.to_line()).as_bytes()).await?;
    let line = line(stream).await?;
    let reply: Reply = serde_json::from_slice(&line)?;
    if reply.version == VERSION { Ok(reply) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// Hears who comes. `Ok(None)`: something that this hub does not understand.
///
/// # Errors
/// It is gone.
pub(super) async fn hear<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Option<Hello>> {
    Ok(Hello::read(&line(stream).await?))
}

pub(super) async fn reply<S: AsyncWrite + Unpin>(stream: &mut S, joined: bool) -> io::Result<()> {
    let reply = serde_json::to_string(&Reply::new(joined)).expect("a number and a word always serialise");
    stream.write_all(format!("{reply}\n").as_bytes()).await
}

/// Each side waits for the other before it says more. A hub that says more is ending: it counts as gone.
async fn line<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<BytesMut> {
    let mut line = BytesMut::with_capacity(512);
    loop {
        if stream.read_buf(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match memchr::memchr(b'\n', &line) {
            Some(end) if end + 1 == line.len() => return Ok(line),
            Some(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
            None if line.len() < LINE_BYTES_MAX => {}
            None => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{environment::Environment, read};
    use tokio::io::duplex;

    fn identity(folder: &str) -> Identity {
        let environment = Environment { cwd: "/nowhere".into(), ..Environment::default() };
        let settings = read::read(&[], &environment, &read::Overrides::default()).unwrap();
        Identity::of(&settings, &environment, &[folder.as_ref()])
    }

    #[tokio::test]
    async fn what_one_side_says_the_other_hears() {
        let git = || ServerName::new("git");
        for (server, names, uris) in
            [(None, Names::Safe, None), (git(), Names::Dotted, Some(Uris::Raw)), (git(), Names::Safe, Some(Uris::Prefixed))]
        {
            let (mut thin, mut hub) = duplex(1 << 10);
            let hello = Hello::new(identity("/a"), Endpoint { tenant: TenantId::default_tenant(), server, names, uris }, 7);
            let heard = tokio::spawn(async move {
                let heard = hear(&mut hub).await.unwrap();
                reply(&mut hub, true).await.unwrap();
                heard
            });
            let answer = say(&mut thin, &hello).await.unwrap();
            assert_eq!(answer, Reply { version: VERSION, joined: true, pid: std::process::id() });
            assert_eq!(heard.await.unwrap(), Some(hello));
        }
    }

    #[test]
    fn a_hello_names_one_hub() {
        let endpoint = Endpoint::plain(TenantId::default_tenant(), None, Names::Safe);
        let hello = Hello::new(identity("/a"), endpoint, 0);
        assert!(hello.names(identity("/a")) && !hello.names(identity("/b")));
    }

    #[tokio::test]
    async fn what_is_no_hello_is_none_or_an_error() {
        let good = r#"{"mcpHub":1,"identity":"i","tenant":"default","server":null,"names":"safe","uris":null,"questions":0}"#;
        assert!(Hello::read(good.as_bytes()).is_some());
        for bad in [
            "",
            "{}",
            r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
            &good.replace(":1,", ":2,"),
            &good.replace("safe", "Safe"),
            &good.replace("default", "../x"),
            &good.replacen("null", "\"\"", 1),
            &good.replace("uris\":null", "uris\":\"own\""),
            &good.replace(":0}", ":-1}"),
        ] {
            assert_eq!(Hello::read(bad.as_bytes()), None, "{bad}");
        }
        for (text, kind) in [
            (good.to_owned(), io::ErrorKind::UnexpectedEof),
            (format!("{good}\nmore"), io::ErrorKind::UnexpectedEof),
            ("x".repeat(LINE_BYTES_MAX), io::ErrorKind::InvalidData),
        ] {
            let error = hear(&mut text.as_bytes()).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{text:.20}");
        }
    }
}
