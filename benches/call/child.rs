//! The server behind the hub: as little work as a server can do, so that what is measured is the hub.

use std::io::{BufRead, BufReader, BufWriter, Write};

use memchr::memmem;

use crate::client::LARGE_BYTES;

/// What the small tool says.
pub(crate) const SMALL_TEXT: &str = "the answer of a small tool call, as long as such answers often are";
/// Tools besides `small` and `large`, so that its list is as long as the list bench wants.
const OTHER_TOOLS: usize = 998;

pub(crate) fn run() {
    let mut input = BufReader::with_capacity(1 << 16, std::io::stdin().lock());
    let mut output = BufWriter::with_capacity(1 << 18, std::io::stdout().lock());
    let large = "x".repeat(usize::try_from(LARGE_BYTES).unwrap());
    let mut line = Vec::new();
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line).unwrap() == 0 {
            return;
        }
        answer(&line, &large, &mut output);
        // Answers to what came in together go out together.
        if input.buffer().is_empty() {
            output.flush().unwrap();
        }
    }
}

fn answer(line: &[u8], large: &str, output: &mut impl Write) {
    let has = |text: &str| memmem::find(line, text.as_bytes()).is_some();
    let Some(id) = id(line) else { return };
    if has("\"tools/call\"") {
        let text = if has("large\"") { large } else { SMALL_TEXT };
        write!(output, r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[{{"type":"text","text":"{text}"}}]}}}}"#).unwrap();
    } else if has("\"initialize\"") {
        let result = r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"bench","version":"1"}}"#;
        write!(output, r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#).unwrap();
    } else if has("\"tools/list\"") {
        write!(output, r#"{{"jsonrpc":"2.0","id":{id},"result":{{"tools":[{}]}}}}"#, tools()).unwrap();
    } else {
        write!(output, r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32601,"message":"Method not found"}}}}"#).unwrap();
    }
    output.write_all(b"\n").unwrap();
}

/// The digits behind `"id":`. The hub writes plain numbers.
pub(crate) fn id(line: &[u8]) -> Option<&str> {
    let start = memmem::find(line, b"\"id\":")? + 5;
    let rest = line.get(start..)?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(rest.get(..digits)?).ok().filter(|text| !text.is_empty())
}

fn tools() -> String {
    let names = ["small".to_owned(), "large".to_owned()].into_iter().chain((0..OTHER_TOOLS).map(|number| format!("tool_{number}")));
    let tools: Vec<String> = names.map(|name| tool(&name)).collect();
    tools.join(",")
}

pub(crate) fn tool(name: &str) -> String {
    let description = "Looks something up and says what it found, in words that a model can use without asking again.";
    let schema = r#"{"type":"object","properties":{"query":{"type":"string","description":"what to look for"},"limit":{"type":"integer"}},"required":["query"]}"#;
    format!(r#"{{"name":"{name}","description":"{description}","inputSchema":{schema}}}"#)
}
