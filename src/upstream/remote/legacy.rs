//! HTTP+SSE of 2024-11-05: everything the server says comes on one stream, everything said to it is a POST. That is a pipe in all but
//! name, so it is made one: the link of a child reads and writes lines, and one task here carries them.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream::FuturesUnordered};
use hyper::{StatusCode, Uri, header::CONTENT_TYPE};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::timeout,
};
use tokio_util::task::TaskTracker;

use super::{
    events::{Events, messages},
    greet::Dial,
    target::{Head, Target},
};
use crate::{
    limits,
    net::body::Stream,
    protocol::{
        Kind, Message,
        line::{Framer, Line},
    },
    upstream::{
        child::{
            link::{Bounds, Link},
            probe::{self, First, GreetError, Greeting},
        },
        wire::Wire,
    },
};

/// Bytes between the link and the task here.
const PIPE_BYTES: usize = 64 << 10;

/// Why there is no connection.
pub(super) enum Refusal {
    /// The server is this hub.
    Itself,
    /// Completes "as a server of 2024-11-05 it …".
    Other(String),
}

impl From<String> for Refusal {
    fn from(why: String) -> Self {
        Self::Other(why)
    }
}

impl From<GreetError> for Refusal {
    fn from(error: GreetError) -> Self {
        match error {
            GreetError::Itself => Self::Itself,
            error => Self::Other(error.to_string()),
        }
    }
}

pub(super) async fn connect(dial: &Dial, tasks: &TaskTracker) -> Result<(Wire, Greeting), Refusal> {
    let Dial { target, bounds, outlet, speaker, until } = dial;
    let request = target.get(Head::default(), None);
    let response = target.send_within(request, limits::REMOTE_ACKNOWLEDGE).await.map_err(|error| error.to_string())?;
    let status = response.status();
    let media = response.headers().get(CONTENT_TYPE).map(|media| String::from_utf8_lossy(media.as_bytes()).to_ascii_lowercase());
    if status != StatusCode::OK || !media.is_some_and(|media| media.starts_with("text/event-stream")) {
        return Err(format!("offers no stream (HTTP {})", status.as_u16()).into());
    }
    let mut events = Events::new(Stream::new(response.into_body(), target.address()), bounds.line_bytes);
    let first = timeout(limits::REMOTE_ACKNOWLEDGE, events.next()).await;
    let Ok(Ok(Some(first))) = first else { return Err("named no endpoint".to_owned().into()) };
    let endpoint = match first.event.as_deref() {
        Some("endpoint") => endpoint(&target.url, first.data.trim())?,
        _ => return Err("named no endpoint".to_owned().into()),
    };
    let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
    let carrier = Carrier { target: target.clone(), endpoint, bounds: *bounds };
    tasks.spawn(carrier.run(events, theirs));
    let (output, input) = tokio::io::split(ours);
    let link = Link::start(&target.server, *bounds, Arc::clone(outlet), output, input, tasks);
    let mut closing = Closing { link: &link, is_greeted: false };
    let greeting = probe::greet(&link, First::Initialize, speaker, *until).await?;
    closing.is_greeted = true;
    drop(closing);
    Ok((Wire::Pipe(link), greeting))
}

/// A link whose handshake fails, or is given up, ends.
struct Closing<'a> {
    link: &'a Link,
    is_greeted: bool,
}

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        if !self.is_greeted {
            self.link.close(&self.link.lost());
        }
    }
}

struct Carrier {
    target: Target,
    endpoint: Uri,
    bounds: Bounds,
}

impl Carrier {
    /// Ends with the stream or with the link; either way the other end sees its pipe end.
    async fn run(self, mut events: Events, mut pipe: DuplexStream) {
        let mut framer = Framer::new(self.bounds.line_bytes);
        let mut buffer = BytesMut::new();
        let mut posts = FuturesUnordered::new();
        loop {
            let may_read = posts.len() < limits::LEGACY_POSTS_MAX;
            tokio::select! {
                biased;
                Some(failed) = posts.next(), if !posts.is_empty() => {
                    let failed: Option<Bytes> = failed;
                    if let Some(id) = failed && !write(&mut pipe, no_answer(&id)).await {
                        return;
                    }
                }
                event = events.next() => match event {
                    Ok(Some(event)) => {
                        if !self.deliver(&mut pipe, event.data).await {
                            return;
                        }
                    }
                    Ok(None) => return,
                    Err(fault) => {
                        tracing::debug!(server = %self.target.server, %fault, "stream broke off");
                        return;
                    }
                },
                read = pipe.read_buf(&mut buffer), if may_read => {
                    if !matches!(read, Ok(1..)) {
                        return;
                    }
                    while let Some(line) = framer.next(&mut buffer) {
                        let Line::Text(line) = line else { continue };
                        let message = Message::parse(line.clone()).ok();
                        if message.as_ref().is_some_and(|message| message.kind() == Kind::Request) {
                            let id = message.and_then(|message| Some(message.share(message.scan().id?)));
                            posts.push(self.post(line, id));
                            continue;
                        }
                        // Notifications mean what was said before them.
                        while let Some(failed) = posts.next().await {
                            if let Some(id) = failed && !write(&mut pipe, no_answer(&id)).await {
                                return;
                            }
                        }
                        self.post(line, None).await;
                    }
                }
            }
        }
    }

    /// As one line.
    async fn deliver(&self, pipe: &mut DuplexStream, data: String) -> bool {
        let Ok(messages) = messages(Bytes::from(data)) else {
            tracing::debug!(server = %self.target.server, "event is no message, skipped");
            return true;
        };
        for message in messages {
            if !write(pipe, message.bytes().clone()).await {
                return false;
            }
        }
        true
    }

    /// The id of the request that the server did not take.
    async fn post(&self, line: Bytes, id: Option<Bytes>) -> Option<Bytes> {
        let request = self.target.post_to(&self.endpoint, line, Head::default());
        match self.target.send_within(request, limits::REMOTE_ACKNOWLEDGE).await {
            Ok(response) if response.status().is_success() => {
                let body = Stream::new(response.into_body(), self.target.address()).all(limits::REFUSAL_BYTES_MAX);
                let _ = timeout(limits::STREAM_END, body).await;
                None
            }
            Ok(response) => {
                tracing::debug!(server = %self.target.server, status = response.status().as_u16(), "did not take a message");
                id
            }
            Err(error) => {
                tracing::debug!(server = %self.target.server, %error, "a message was not sent");
                id
            }
        }
    }
}

/// What the link takes for an answer that is none: that call fails, the others do not.
fn no_answer(id: &[u8]) -> Bytes {
    [br#"{"jsonrpc":"2.0","id":"#.as_slice(), id, b"}"].concat().into()
}

async fn write(pipe: &mut DuplexStream, line: Bytes) -> bool {
    pipe.write_all(&line).await.is_ok() && pipe.write_all(b"\n").await.is_ok()
}

/// Where messages go: what the stream named, seen from its own address (RFC 3986, 5.2), and never another origin's.
fn endpoint(stream: &Uri, named: &str) -> Result<Uri, String> {
    let scheme = stream.scheme_str().unwrap_or_default();
    let authority = stream.authority().map_or("", |authority| authority.as_str());
    let named = named.split('#').next().unwrap_or_default();
    let path = stream.path();
    let absolute = if named.contains("://") {
        named.to_owned()
    } else if named.starts_with("//") {
        format!("{scheme}:{named}")
    } else if named.starts_with('/') {
        format!("{scheme}://{authority}{named}")
    } else if named.starts_with('?') {
        format!("{scheme}://{authority}{path}{named}")
    } else {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{}", without_dots(&format!("{folder}/{named}")))
    };
    let endpoint: Uri = absolute.parse().map_err(|_| "named an endpoint that is no address".to_owned())?;
    if origin(&endpoint) == origin(stream) { Ok(endpoint) } else { Err("named an endpoint at another place".into()) }
}

fn origin(uri: &Uri) -> (Option<String>, Option<String>, Option<u16>) {
    let scheme = uri.scheme_str().map(str::to_ascii_lowercase);
    let port = uri.port_u16().or(match scheme.as_deref() {
        Some("http") => Some(80),
        Some("https") => Some(443),
        _ => None,
    });
    let has_user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
    (scheme, uri.host().filter(|_| !has_user).map(str::to_ascii_lowercase), port)
}

/// Only of the path: what follows `?` stays as it is.
fn without_dots(reference: &str) -> String {
    let (path, query) = reference.split_at(reference.find('?').unwrap_or(reference.len()));
    let mut parts: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "." | ".." => {
                if segment == ".." {
                    parts.pop();
                }
                if segments.peek().is_none() {
                    parts.push("");
                }
            }
            segment => parts.push(segment),
        }
    }
    format!("/{}{query}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_read_from_where_the_stream_is_and_stays_there() {
        for (stream, named, expected) in [
            ("http://h:1/sse", "/messages?s=1", Some("http://h:1/messages?s=1")),
            ("http://h:1/a/sse?x=y", "messages", Some("http://h:1/a/messages")),
            ("http://h:1/a/b/sse", "../m/./n?q=../x", Some("http://h:1/a/m/n?q=../x")),
            ("http://h:1/sse", "../../m", Some("http://h:1/m")),
            ("http://h:1/a/sse", "?session=1", Some("http://h:1/a/sse?session=1")),
            ("http://h/sse", "http://h:80/m", Some("http://h:80/m")),
            ("https://H/sse", "HTTPS://h:443/m#x", Some("https://h:443/m")),
            ("http://h:1/sse", "//h:1/m", Some("http://h:1/m")),
            ("http://h:1/sse", "//other/m", None),
            ("http://h:1/sse", "http://other:1/m", None),
            ("http://h:1/sse", "https://h:1/m", None),
            ("http://h:1/sse", "http://h:2/m", None),
            ("http://h:1/sse", "http://h:1@other/m", None),
            ("http://h:1/sse", "http://u@h:1/m", None),
            ("http://h:1/sse", "/a b", None),
        ] {
            let found = endpoint(&stream.parse().unwrap(), named);
            let expected = expected.map(|expected: &str| expected.parse::<Uri>().unwrap());
            assert_eq!(found.clone().ok(), expected, "{stream} {named}: {found:?}");
        }
    }
}
