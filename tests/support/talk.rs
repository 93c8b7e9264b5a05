//! Peers that talk in single messages, over a WebSocket or a child's stdin and stdout: `talk::open(&hub, "/ws/mcp")`, `Stdio::spawn(command)`.
//! What was heard and not asked for yet is kept.

use std::{
    io::{BufRead, BufReader, Write},
    process::{self, Child, ChildStdin, Command, ExitStatus},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
    time::timeout,
};

use super::Hub;

/// Longer than anything here may take on a busy machine; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// `_meta` of a client without capabilities.
pub fn meta() -> Value {
    json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}})
}

pub fn stateless(id: impl Into<Value>, method: &str, mut params: Value) -> Value {
    for (key, value) in meta().as_object().unwrap() {
        params["_meta"][key] = value.clone();
    }
    request(id, method, params)
}

pub fn request(id: impl Into<Value>, method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id.into(), "method": method, "params": params})
}

pub fn notice(method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "method": method, "params": params})
}

pub fn initialize(id: impl Into<Value>, version: &str) -> Value {
    request(id, "initialize", json!({"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}))
}

/// The first text that a tool answered, in a message or in an answer over REST.
pub fn text(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no text in {answer}"))
}

/// Messages in the order in which they came, less those that were picked out.
pub struct Heard {
    incoming: mpsc::UnboundedReceiver<Value>,
    kept: Vec<Value>,
}

impl Heard {
    fn new(incoming: mpsc::UnboundedReceiver<Value>) -> Self {
        Self { incoming, kept: Vec::new() }
    }

    /// The first message that fits, whenever it came.
    pub async fn pick(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.kept.iter().position(&fits) {
            return self.kept.remove(at);
        }
        loop {
            match timeout(PATIENCE, self.incoming.recv()).await {
                Ok(Some(message)) if fits(&message) => return message,
                Ok(Some(message)) => self.kept.push(message),
                Ok(None) => panic!("the peer is gone; it said {:#?}", self.kept),
                Err(_) => panic!("nothing like that among {:#?}", self.kept),
            }
        }
    }

    /// The next message, whatever it is.
    pub async fn next(&mut self) -> Value {
        self.pick(|_| true).await
    }

    /// The answer with this id.
    pub async fn answer(&mut self, id: impl Into<Value>) -> Value {
        let id = id.into();
        self.pick(|message| message["id"] == id).await
    }

    /// Everything else that the peer says, to its end.
    pub async fn rest(&mut self) -> Vec<Value> {
        while let Some(message) = timeout(PATIENCE, self.incoming.recv()).await.expect("the peer ends") {
            self.kept.push(message);
        }
        std::mem::take(&mut self.kept)
    }
}

/// A program that speaks lines.
pub struct Stdio {
    pub heard: Heard,
    process: Child,
    stdin: Option<ChildStdin>,
}

impl Stdio {
    /// stdout must hold nothing but messages.
    pub fn spawn(mut command: Command) -> Self {
        let mut process =
            command.stdin(process::Stdio::piped()).stdout(process::Stdio::piped()).stderr(process::Stdio::null()).spawn().unwrap();
        let (told, incoming) = mpsc::unbounded_channel();
        let output = process.stdout.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let message =
                    serde_json::from_str(&line).unwrap_or_else(|error| json!({"not a message": line, "error": error.to_string()}));
                let _ = told.send(message);
            }
        });
        let stdin = process.stdin.take();
        Self { heard: Heard::new(incoming), process, stdin }
    }

    pub fn say(&mut self, message: &Value) {
        self.say_bytes(format!("{message}\n").as_bytes());
    }

    pub fn say_bytes(&mut self, bytes: &[u8]) {
        self.stdin.as_mut().unwrap().write_all(bytes).unwrap();
    }

    pub async fn ask(&mut self, message: &Value) -> Value {
        self.say(message);
        self.heard.answer(message["id"].clone()).await
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// As the system does it to one that takes too much.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Ends stdin, and hears the rest.
    pub async fn finish(mut self) -> (Vec<Value>, ExitStatus) {
        self.stdin = None;
        self.ended().await
    }

    /// Hears the rest of one that ends by itself.
    pub async fn ended(mut self) -> (Vec<Value>, ExitStatus) {
        let rest = self.heard.rest().await;
        (rest, self.process.wait().unwrap())
    }
}

impl Drop for Stdio {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// One end of a WebSocket, as a client.
pub struct Socket {
    pub heard: Heard,
    writer: tokio::net::tcp::OwnedWriteHalf,
}

/// The answer to a handshake: status and headers as text, and the stream if it is 101.
pub async fn upgrade(hub: &Hub, path: &str, headers: &[(&str, &str)]) -> (u16, String, TcpStream) {
    let mut stream = TcpStream::connect(hub.address).await.unwrap();
    let mut text = format!("GET {path} HTTP/1.1\r\nhost: {}\r\n", hub.address);
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head, stream)
}

pub const HANDSHAKE: [(&str, &str); 4] = [
    ("upgrade", "websocket"),
    ("connection", "Upgrade"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// Opens one; `mcp` is offered, as every client of the raw door must.
pub async fn open(hub: &Hub, path: &str) -> Socket {
    let headers = [&HANDSHAKE[..], &[("sec-websocket-protocol", "mcp")]].concat();
    let (status, head, stream) = upgrade(hub, path, &headers).await;
    assert_eq!(status, 101, "{head}");
    assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
    let (mut reader, writer) = stream.into_split();
    let (told, incoming) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        // A close frame is told as a message of its own; anything else is not expected here.
        while let Ok(first) = reader.read_u8().await {
            let len = match reader.read_u8().await.unwrap() {
                126 => u64::from(reader.read_u16().await.unwrap()),
                127 => reader.read_u64().await.unwrap(),
                len => u64::from(len),
            };
            let mut payload = vec![0; len as usize];
            reader.read_exact(&mut payload).await.unwrap();
            let message = match first {
                0x81 => serde_json::from_slice(&payload).unwrap(),
                0x88 => json!({"closed": payload.first_chunk().map(|code| u16::from_be_bytes(*code))}),
                _ => continue,
            };
            let _ = told.send(message);
        }
    });
    Socket { heard: Heard::new(incoming), writer }
}

impl Socket {
    pub async fn say(&mut self, message: &Value) {
        self.say_text(&message.to_string()).await;
    }

    pub async fn say_text(&mut self, text: &str) {
        self.send(0x81, text.as_bytes()).await;
    }

    pub async fn ask(&mut self, message: &Value) -> Value {
        self.say(message).await;
        self.heard.answer(message["id"].clone()).await
    }

    /// The close code that the hub gives, and nothing after it.
    pub async fn closed(&mut self) -> Value {
        let close = self.heard.pick(|message| message.get("closed").is_some()).await;
        assert_eq!(self.heard.incoming.recv().await, None, "something came after the close frame");
        close["closed"].clone()
    }

    pub async fn send(&mut self, first: u8, payload: &[u8]) {
        let mut frame = vec![first];
        match payload.len() {
            len @ ..=125 => frame.push(0x80 | len as u8),
            len => {
                frame.push(0x80 | 127);
                frame.extend((len as u64).to_be_bytes());
            }
        }
        let mask = [1, 2, 3, 4];
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.writer.write_all(&frame).await.unwrap();
    }
}
