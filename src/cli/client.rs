//! The plain HTTP client of the commands that talk to a running hub: one connection, one request, the whole answer. Reads no
//! environment; `args` did.

use std::{io::Write, process::ExitCode, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode, Uri, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::args::RestArgs;

const DEFAULT_URL: &str = "http://127.0.0.1:8080";
/// A hub on the network that does not take a connection in this time is not there.
const CONNECT: Duration = Duration::from_secs(5);

/// A running hub's address, and the key for it.
#[derive(Debug)]
pub struct Client {
    host: String,
    port: u16,
    /// As it stands in the address, for `Host`.
    authority: String,
    /// Before every path; no trailing slash.
    base: String,
    key: Option<String>,
}

/// An answer with a good status.
#[derive(Debug)]
pub struct Reply {
    /// As the hub wrote it.
    pub raw: Bytes,
    pub json: Value,
}

/// Why there is no good answer. `Display` is one line for a person.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("'{url}' is not an address of a hub; give one like {DEFAULT_URL}")]
    Address { url: String },
    #[error("the key holds characters that cannot be sent")]
    Key,
    #[error("no hub answers at {url}; start one with 'mcp-hub serve', or name another with --url")]
    NotRunning { url: String },
    #[error("the connection to the hub broke: {0}")]
    Broken(#[from] hyper::Error),
    #[error("the hub's answer is not JSON; is another program listening there?")]
    NotJson,
    /// The hub refused; `raw` is its error body.
    #[error("{message}")]
    Refused { status: StatusCode, message: String, raw: Bytes },
    /// The command itself asks for what cannot be.
    #[error("{0}")]
    Usage(String),
}

impl Client {
    /// # Errors
    /// The address is not `http://host[:port][/base]`.
    pub fn new(rest: &RestArgs) -> Result<Self, Failure> {
        let url = rest.url.as_deref().unwrap_or(DEFAULT_URL);
        let bad = || Failure::Address { url: url.to_owned() };
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let (Some("http"), Some(authority), None) = (uri.scheme_str(), uri.authority(), uri.query()) else { return Err(bad()) };
        if authority.as_str().contains('@') {
            return Err(bad());
        }
        Ok(Self {
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(80),
            authority: authority.to_string(),
            base: uri.path().trim_end_matches('/').to_owned(),
            key: rest.key.clone(),
        })
    }

    /// # Errors
    /// See [`Failure`].
    pub async fn get(&self, path: &str) -> Result<Reply, Failure> {
        self.send(Method::GET, path, None).await
    }

    /// `body` is a JSON object.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn post(&self, path: &str, body: String) -> Result<Reply, Failure> {
        self.send(Method::POST, path, Some(body)).await
    }

    async fn send(&self, method: Method, path: &str, body: Option<String>) -> Result<Reply, Failure> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base)).header(header::HOST, &self.authority);
        request = request.header(header::ACCEPT, "application/json");
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(key) = &self.key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        }
        let request = request.body(Full::new(Bytes::from(body.unwrap_or_default()))).map_err(|_| Failure::Key)?;

        let silent = || Failure::NotRunning { url: format!("http://{}{}", self.authority, self.base) };
        let connected = tokio::time::timeout(CONNECT, TcpStream::connect((self.host.as_str(), self.port))).await;
        let stream = connected.map_err(|_| silent())?.map_err(|_| silent())?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let exchange = async {
            let answer = sender.send_request(request).await?;
            let status = answer.status();
            let raw = answer.into_body().collect().await?.to_bytes();
            Ok::<_, Failure>((status, raw))
        };
        // The connection must be driven while the answer is awaited, and may end with it.
        let (status, raw) = tokio::select! {
            biased;
            answered = exchange => answered?,
            Err(error) = connection => return Err(error.into()),
        };
        let json: Value = serde_json::from_slice(&raw).map_err(|_| Failure::NotJson)?;
        if status.is_success() {
            return Ok(Reply { raw, json });
        }
        let message = match (status, &self.key) {
            (StatusCode::UNAUTHORIZED, None) => "the hub asks for a key; give it with --key or in MCP_HUB_KEY".to_owned(),
            (StatusCode::UNAUTHORIZED, Some(_)) => "the hub does not know the key that --key or MCP_HUB_KEY gives".to_owned(),
            _ => json.get("message").and_then(Value::as_str).map_or_else(|| format!("the hub answered {status}"), str::to_owned),
        };
        Err(Failure::Refused { status, message, raw })
    }
}

/// Prints what a command came to: its text on stdout, or one line on stderr.
pub fn finish(outcome: Result<Output, Failure>, json: bool) -> ExitCode {
    // Nobody is left to tell when these writes fail.
    match outcome {
        Ok(output) => {
            let mut stdout = std::io::stdout().lock();
            let _ = stdout.write_all(output.text.as_bytes());
            if !output.text.is_empty() && !output.text.ends_with('\n') {
                let _ = stdout.write_all(b"\n");
            }
            let _ = stdout.flush();
            if output.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
        Err(failure) => {
            let mut stderr = std::io::stderr().lock();
            let _ = match &failure {
                Failure::Refused { raw, .. } if json => stderr.write_all(raw).and_then(|()| stderr.write_all(b"\n")),
                _ => writeln!(stderr, "mcp-hub: {failure}"),
            };
            ExitCode::FAILURE
        }
    }
}

/// What a command prints.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Output {
    pub text: String,
    /// It printed a failure that a tool reported: leave with 1.
    pub failed: bool,
}

impl Output {
    pub fn text(text: String) -> Self {
        Self { text, failed: false }
    }

    /// The hub's own bytes.
    pub fn raw(reply: &Reply) -> Self {
        Self::text(String::from_utf8_lossy(&reply.raw).into_owned())
    }
}

/// Columns as wide as their widest cell, two spaces apart; no trailing blanks. Line ends inside a cell become spaces.
pub fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let cell = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let rows: Vec<[String; N]> =
        std::iter::once(head.map(str::to_owned)).chain(rows.iter().cloned()).map(|row| row.map(|text| cell(&text))).collect();
    let mut widths = [0; N];
    for row in &rows {
        for (width, text) in widths.iter_mut().zip(row) {
            *width = (*width).max(text.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let line: String = row.iter().zip(widths).map(|(text, width)| format!("{text:width$}  ")).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use hyper::{Response, body::Incoming, server::conn::http1 as server, service::service_fn};
    use tokio::net::TcpListener;

    use super::*;

    fn args(url: &str) -> RestArgs {
        RestArgs { url: Some(url.to_owned()), key: Some("k".into()), json: false }
    }

    /// A hub that answers one request with `status` and a body made of the request it got.
    async fn one_answer(status: u16, answer: impl FnOnce(String) -> String + Send + 'static) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/base/", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let answer = std::sync::Mutex::new(Some(answer));
            let service = service_fn(move |request: Request<Incoming>| {
                let answer = answer.lock().unwrap().take().unwrap();
                async move {
                    let header = |name: &str| request.headers().get(name).map_or("-", |value| value.to_str().unwrap()).to_owned();
                    let seen = format!("{} {} {} {}", request.method(), request.uri(), header("authorization"), header("content-type"));
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let seen = format!("{seen} {}", String::from_utf8_lossy(&body));
                    let answer = Response::builder().status(status).body(Full::new(Bytes::from(answer(seen)))).unwrap();
                    Ok::<_, Infallible>(answer)
                }
            });
            let _ = server::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
        url
    }

    #[tokio::test]
    async fn a_request_carries_base_path_key_and_body() {
        let url = one_answer(200, |seen| serde_json::json!({ "seen": seen }).to_string()).await;
        let reply = Client::new(&args(&url)).unwrap().post("/api/x", r#"{"a":1}"#.into()).await.unwrap();
        assert_eq!(reply.json["seen"], r#"POST /base/api/x Bearer k application/json {"a":1}"#);
        let url = one_answer(200, |seen| serde_json::json!({ "seen": seen }).to_string()).await;
        let reply = Client::new(&args(&url)).unwrap().get("/api/x").await.unwrap();
        assert_eq!(reply.json["seen"], "GET /base/api/x Bearer k - ");
    }

    #[tokio::test]
    async fn a_refusal_is_the_hubs_own_sentence() {
        let body = r#"{"error":"Server 'x' not found","code":"NOT_FOUND","message":"Server 'x' not found"}"#;
        let url = one_answer(404, move |_| body.into()).await;
        let failure = Client::new(&args(&url)).unwrap().get("/").await.unwrap_err();
        assert_eq!(failure.to_string(), "Server 'x' not found");
        assert!(matches!(failure, Failure::Refused { status: StatusCode::NOT_FOUND, raw, .. } if raw == body));
        for (key, line) in [(None, "asks for a key; give it with --key or in MCP_HUB_KEY"), (Some("k"), "does not know the key")] {
            let url = one_answer(401, |_| r#"{"message":"send Authorization: Bearer"}"#.into()).await;
            let args = RestArgs { key: key.map(str::to_owned), ..args(&url) };
            let failure = Client::new(&args).unwrap().get("/").await.unwrap_err().to_string();
            assert!(failure.contains(line), "{failure}");
        }
        let url = one_answer(200, |_| "<html>".into()).await;
        assert!(matches!(Client::new(&args(&url)).unwrap().get("/").await, Err(Failure::NotJson)));
    }

    #[tokio::test]
    async fn a_hub_that_is_not_there_is_one_clear_line() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let line = Client::new(&args(&url)).unwrap().get("/").await.unwrap_err().to_string();
        assert!(line.contains(&url) && line.contains("mcp-hub serve") && !line.contains('\n'), "{line}");
    }

    #[test]
    fn only_plain_http_addresses_are_taken() {
        let client = Client::new(&RestArgs::default()).unwrap();
        assert_eq!((client.host.as_str(), client.port, client.base.as_str()), ("127.0.0.1", 8080, ""));
        for (url, want) in [
            ("http://[::1]:9/hub/", Some(("::1", 9, "/hub"))),
            ("http://hub.local", Some(("hub.local", 80, ""))),
            ("https://hub.local", None),
            ("hub.local:8080", None),
            ("http://me:secret@hub.local", None),
            ("http://hub.local/?a=1", None),
            ("", None),
        ] {
            let client = Client::new(&args(url));
            assert_eq!(client.as_ref().ok().map(|client| (client.host.as_str(), client.port, client.base.as_str())), want, "{url}");
        }
    }

    #[test]
    fn a_table_lines_up() {
        let rows = [["a".into(), "two\nlines".into()], ["long name".into(), String::new()]];
        assert_eq!(table(["NAME", "TEXT"], &rows), "NAME       TEXT\na          two lines\nlong name\n");
    }
}
