//! `mcp-hub demo echo|math`: a small MCP server on stdin and stdout, in both eras, so that a fresh hub has something to call.
//!
//! Answers one line at a time and writes when no further line waits: a pipe full of calls costs few system calls. Keeps no state.

use std::{
    borrow::Cow,
    fs::File,
    io::{self, BufReader, Read, Write},
    os::fd::AsFd,
    process::ExitCode,
};

use serde::Deserialize;
use serde_json::{Map, Number, Value, json, value::RawValue};

use super::args::{Demo, DemoArgs};
use crate::protocol::code::Code;

/// A longer line ends the conversation.
const LINE_BYTES_MAX: u64 = 16 << 20;
const READ_BYTES: usize = 64 << 10;
/// The tools never change while the program runs; an hour is as good as for ever.
const TTL_MS: u64 = 3_600_000;

const STATELESS: &str = "2026-07-28";
/// Revisions with a handshake, the one to fall back to first.
const HANDSHAKES: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

/// Serves until stdin ends.
pub fn run(args: &DemoArgs) -> ExitCode {
    // The files behind the streams: std's own would copy every byte through a buffer of theirs.
    let streams = io::stdin().as_fd().try_clone_to_owned().and_then(|input| Ok((input, io::stdout().as_fd().try_clone_to_owned()?)));
    match streams.and_then(|(input, output)| serve(args.server, File::from(input), File::from(output))) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever called has gone: that is how such a server ends.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr().lock(), "mcp-hub demo: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Answers every line of `input` on `output`.
///
/// # Errors
/// A stream failed, or a line was too long.
pub fn serve(demo: Demo, input: impl Read, mut output: impl Write) -> io::Result<()> {
    let mut input = BufReader::with_capacity(READ_BYTES, input);
    let (mut line, mut answers) = (Vec::new(), Vec::new());
    loop {
        line.clear();
        if io::BufRead::read_until(&mut input.by_ref().take(LINE_BYTES_MAX), b'\n', &mut line)? == 0 {
            return output.flush();
        }
        if line.len() as u64 == LINE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a line is too long"));
        }
        if !line.iter().all(u8::is_ascii_whitespace) {
            answer(demo, &line, &mut answers);
        }
        if memchr::memchr(b'\n', input.buffer()).is_none() {
            output.write_all(&answers)?;
            output.flush()?;
            answers.clear();
        }
    }
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct Params<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    arguments: Option<Map<String, Value>>,
    #[serde(borrow, rename = "protocolVersion")]
    version: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "_meta")]
    meta: Option<Meta<'a>>,
}

#[derive(Deserialize, Default)]
struct Meta<'a> {
    /// Only requests of the stateless era say it here.
    #[serde(borrow, rename = "io.modelcontextprotocol/protocolVersion")]
    version: Option<Cow<'a, str>>,
}

struct Failure {
    code: Code,
    message: String,
    data: Option<Value>,
}

impl Failure {
    fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }
}

/// Appends the answer to one line, if it is a request.
fn answer(demo: Demo, line: &[u8], answers: &mut Vec<u8>) {
    let (id, outcome) = match serde_json::from_slice::<Message<'_>>(line) {
        Ok(Message { id: Some(id), method: Some(method), params }) => (Some(id), outcome(demo, &method, params)),
        // Notifications and answers to questions that were never asked.
        Ok(_) => return,
        Err(error) if error.is_data() => (None, Err(Failure::new(Code::InvalidRequest, "Invalid request: not one JSON-RPC message"))),
        Err(_) => (None, Err(Failure::new(Code::Parse, "Parse error: the line is not JSON"))),
    };
    let id = id.map(|id| format!("\"id\":{id},")).unwrap_or_default();
    let (kind, body) = match outcome {
        Ok(result) => ("result", result),
        Err(Failure { code, message, data }) => {
            let mut error = json!({"code": code.number(), "message": message});
            if let (Some(data), Some(error)) = (data, error.as_object_mut()) {
                error.insert("data".to_owned(), data);
            }
            ("error", error)
        }
    };
    answers.extend_from_slice(format!("{{\"jsonrpc\":\"2.0\",{id}\"{kind}\":{body}}}\n").as_bytes());
}

/// The result of one request.
fn outcome(demo: Demo, method: &str, params: Option<&RawValue>) -> Result<Value, Failure> {
    let params = params.map(|params| serde_json::from_str::<Params<'_>>(params.get())).transpose();
    let params = params.map_err(|error| Failure::new(Code::InvalidParams, format!("Invalid params: {error}")))?.unwrap_or_default();
    let stateless = match params.meta.and_then(|meta| meta.version) {
        Some(version) if version != STATELESS => {
            let data = json!({"supported": [STATELESS], "requested": version});
            return Err(Failure { data: Some(data), ..Failure::new(Code::UnsupportedVersion, "Unsupported protocol version") });
        }
        version => version.is_some(),
    };
    let server_info = json!({"name": demo.title(), "version": env!("CARGO_PKG_VERSION")});
    let mut result = match (method, stateless) {
        ("initialize", false) => {
            let asked = params.version.unwrap_or_default();
            let version = HANDSHAKES.into_iter().find(|known| *known == asked).unwrap_or(HANDSHAKES[0]);
            return Ok(json!({"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": server_info}));
        }
        ("ping", false) => return Ok(json!({})),
        ("server/discover", _) => json!({"supportedVersions": [STATELESS], "capabilities": {"tools": {}}}),
        ("tools/list", _) => json!({"tools": demo.tools()}),
        ("tools/call", _) => {
            let name = params.name.ok_or_else(|| Failure::new(Code::InvalidParams, "Invalid params: the tool's name is missing"))?;
            let outcome = demo.call(&name, &params.arguments.unwrap_or_default());
            tool_result(outcome.ok_or_else(|| Failure::new(Code::InvalidParams, format!("Unknown tool: {name}")))?)
        }
        _ => return Err(Failure::new(Code::MethodNotFound, format!("Method not found: {method}"))),
    };
    // `server/discover` exists in the stateless era only, whatever else the request says.
    if (stateless || method == "server/discover")
        && let Some(result) = result.as_object_mut()
    {
        result.insert("resultType".to_owned(), "complete".into());
        result.insert("_meta".to_owned(), json!({"io.modelcontextprotocol/serverInfo": server_info}));
        if method != "tools/call" {
            result.insert("ttlMs".to_owned(), TTL_MS.into());
            result.insert("cacheScope".to_owned(), "public".into());
        }
    }
    Ok(result)
}

/// What a tool made of its arguments, or what was wrong with them.
type Outcome = Result<Value, String>;

fn tool_result(outcome: Outcome) -> Value {
    match outcome {
        Ok(value) => {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            json!({"content": [{"type": "text", "text": text}], "structuredContent": {"result": value}})
        }
        Err(message) => json!({"content": [{"type": "text", "text": message}], "isError": true}),
    }
}

impl Demo {
    const fn title(self) -> &'static str {
        match self {
            Self::Echo => "mcp-hub demo echo",
            Self::Math => "mcp-hub demo math",
        }
    }

    fn tools(self) -> Value {
        match self {
            Self::Echo => json!([
                tool("echo_tool", "Says the message again", "string", &["message"]),
                tool("reverse_tool", "Says the text backwards", "string", &["text"]),
            ]),
            Self::Math => json!([
                tool("add_tool", "Adds two numbers", "number", &["a", "b"]),
                tool("multiply_tool", "Multiplies two numbers", "number", &["a", "b"]),
            ]),
        }
    }

    /// `None`: there is no such tool. The short names are for clients that know these servers from elsewhere.
    fn call(self, name: &str, arguments: &Map<String, Value>) -> Option<Outcome> {
        let two = |combine: fn(&Number, &Number) -> Option<Number>| {
            let (a, b) = (number(arguments, "a")?, number(arguments, "b")?);
            combine(a, b).map(Value::Number).ok_or_else(|| "the result is too large for a number".to_owned())
        };
        Some(match (self, name) {
            (Self::Echo, "echo_tool" | "echo") => text(arguments, "message").map(Value::from),
            (Self::Echo, "reverse_tool" | "reverse") => text(arguments, "text").map(|text| text.chars().rev().collect::<String>().into()),
            (Self::Math, "add_tool" | "add") => two(add),
            (Self::Math, "multiply_tool" | "multiply") => two(multiply),
            _ => return None,
        })
    }
}

fn tool(name: &str, description: &str, kind: &str, arguments: &[&str]) -> Value {
    let properties: Map<String, Value> = arguments.iter().map(|argument| ((*argument).to_owned(), json!({"type": kind}))).collect();
    json!({
        "name": name,
        "description": description,
        "inputSchema": {"type": "object", "properties": properties, "required": arguments},
        "outputSchema": {"type": "object", "properties": {"result": {"type": kind}}, "required": ["result"]},
    })
}

fn text<'a>(arguments: &'a Map<String, Value>, name: &str) -> Result<&'a str, String> {
    arguments.get(name).and_then(Value::as_str).ok_or_else(|| format!("\"{name}\" must be a string"))
}

fn number<'a>(arguments: &'a Map<String, Value>, name: &str) -> Result<&'a Number, String> {
    match arguments.get(name) {
        Some(Value::Number(number)) => Ok(number),
        _ => Err(format!("\"{name}\" must be a number")),
    }
}

fn add(a: &Number, b: &Number) -> Option<Number> {
    whole(a, b, i64::checked_add).or_else(|| Number::from_f64(a.as_f64()? + b.as_f64()?))
}

fn multiply(a: &Number, b: &Number) -> Option<Number> {
    whole(a, b, i64::checked_mul).or_else(|| Number::from_f64(a.as_f64()? * b.as_f64()?))
}

/// Whole numbers stay whole while they fit.
fn whole(a: &Number, b: &Number, combine: fn(i64, i64) -> Option<i64>) -> Option<Number> {
    combine(a.as_i64()?, b.as_i64()?).map(Number::from)
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc};

    use super::*;

    /// The answers to these lines.
    fn talk(demo: Demo, lines: &str) -> Vec<Value> {
        let mut output = Vec::new();
        serve(demo, lines.as_bytes(), &mut output).unwrap();
        output.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(|line| serde_json::from_slice(line).unwrap()).collect()
    }

    fn ask(demo: Demo, line: &str) -> Value {
        let [answer] = talk(demo, line).try_into().unwrap();
        answer
    }

    fn call(demo: Demo, name: &str, arguments: &str) -> Value {
        let line = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{name}","arguments":{arguments}}}}}"#);
        ask(demo, &line)["result"].clone()
    }

    const META: &str =
        r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

    #[test]
    fn the_handshake_agrees_on_a_revision() {
        for (asked, agreed) in
            [("2024-11-05", "2024-11-05"), ("2025-06-18", "2025-06-18"), ("2026-07-28", "2025-11-25"), ("x", "2025-11-25")]
        {
            let line = format!(
                r#"{{"jsonrpc":"2.0","id":"a","method":"initialize","params":{{"protocolVersion":"{asked}","capabilities":{{}},"clientInfo":{{"name":"t","version":"1"}}}}}}"#
            );
            let answer = ask(Demo::Echo, &line);
            assert_eq!(answer["id"], "a");
            assert_eq!(answer["result"]["protocolVersion"], agreed);
            assert_eq!(answer["result"]["serverInfo"]["name"], "mcp-hub demo echo");
        }
        assert_eq!(ask(Demo::Math, r#"{"jsonrpc":"2.0","id":0,"method":"ping"}"#), json!({"jsonrpc": "2.0", "id": 0, "result": {}}));
    }

    #[test]
    fn the_stateless_era_has_its_own_results() {
        let discovered = ask(Demo::Echo, &format!(r#"{{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{{{META}}}}}"#));
        let result = &discovered["result"];
        assert_eq!((&result["supportedVersions"], &result["resultType"]), (&json!(["2026-07-28"]), &json!("complete")));
        assert_eq!(result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "mcp-hub demo echo");
        let listed = ask(Demo::Echo, &format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{{META}}}}}"#));
        assert_eq!((&listed["result"]["cacheScope"], &listed["result"]["ttlMs"]), (&json!("public"), &json!(TTL_MS)));
        let line =
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"echo","arguments":{{"message":"m"}},{META}}}}}"#);
        let called = ask(Demo::Echo, &line);
        assert_eq!((&called["result"]["resultType"], called["result"].get("ttlMs")), (&json!("complete"), None));
        for method in ["initialize", "ping"] {
            let refused = ask(Demo::Echo, &format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{META}}}}}"#));
            assert_eq!(refused["error"]["code"], Code::MethodNotFound.number(), "{method}");
        }
        let other = META.replace("2026-07-28", "2027-01-01");
        let refused = ask(Demo::Echo, &format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{{other}}}}}"#));
        assert_eq!(refused["error"]["code"], Code::UnsupportedVersion.number());
        assert_eq!(refused["error"]["data"], json!({"supported": ["2026-07-28"], "requested": "2027-01-01"}));
    }

    #[test]
    fn the_tools_do_what_they_say() {
        for (demo, name, arguments, result) in [
            (Demo::Echo, "echo_tool", r#"{"message":"héllo \"x\""}"#, json!("héllo \"x\"")),
            (Demo::Echo, "echo", r#"{"message":""}"#, json!("")),
            (Demo::Echo, "reverse_tool", r#"{"text":"añb"}"#, json!("bña")),
            (Demo::Echo, "reverse", r#"{"text":"ab"}"#, json!("ba")),
            (Demo::Math, "add_tool", r#"{"a":2,"b":3}"#, json!(5)),
            (Demo::Math, "add", r#"{"a":0.5,"b":1}"#, json!(1.5)),
            (Demo::Math, "multiply_tool", r#"{"a":-4,"b":6}"#, json!(-24)),
            (Demo::Math, "multiply", r#"{"a":9223372036854775807,"b":2}"#, json!(1.8446744073709552e19)),
        ] {
            let answer = call(demo, name, arguments);
            assert_eq!(answer["structuredContent"], json!({"result": result}), "{name}");
            let text = result.as_str().map_or_else(|| result.to_string(), str::to_owned);
            assert_eq!(answer["content"], json!([{"type": "text", "text": text}]), "{name}");
            assert_eq!(answer.get("isError"), None);
        }
    }

    #[test]
    fn bad_arguments_are_a_failed_call() {
        for (demo, name, arguments, message) in [
            (Demo::Echo, "echo_tool", "{}", "\"message\" must be a string"),
            (Demo::Echo, "reverse_tool", r#"{"text":1}"#, "\"text\" must be a string"),
            (Demo::Math, "add_tool", r#"{"a":1,"b":"2"}"#, "\"b\" must be a number"),
            (Demo::Math, "multiply_tool", r#"{"a":1e300,"b":1e300}"#, "the result is too large for a number"),
        ] {
            assert_eq!(call(demo, name, arguments), json!({"content": [{"type": "text", "text": message}], "isError": true}));
        }
    }

    #[test]
    fn only_the_first_names_are_listed() {
        for (demo, names) in [(Demo::Echo, ["echo_tool", "reverse_tool"]), (Demo::Math, ["add_tool", "multiply_tool"])] {
            let answer = ask(demo, r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#);
            let tools = answer["result"]["tools"].as_array().unwrap();
            assert_eq!(tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect::<Vec<_>>(), names);
            assert!(tools.iter().all(|tool| tool["outputSchema"]["required"] == json!(["result"])));
            assert_eq!(answer["result"].as_object().unwrap().len(), 1, "nothing of the other era");
        }
    }

    #[test]
    fn what_is_no_request_is_refused_or_ignored() {
        for (line, code, id) in [
            (r#"{"jsonrpc":"2.0","id":7,"method":"resources/list"}"#, Code::MethodNotFound, json!(7)),
            (r#"{"jsonrpc":"2.0","id":"7","method":"tools/call","params":{"name":"nope"}}"#, Code::InvalidParams, json!("7")),
            (r#"{"jsonrpc":"2.0","id":7,"method":"tools/call"}"#, Code::InvalidParams, json!(7)),
            (r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":[1,2]}"#, Code::InvalidParams, json!(7)),
            ("nonsense", Code::Parse, Value::Null),
            ("[]", Code::InvalidRequest, Value::Null),
        ] {
            let answer = ask(Demo::Echo, line);
            assert_eq!((&answer["error"]["code"], &answer["id"]), (&json!(code.number()), &id), "{line}");
        }
        let ignored =
            "\n  \r\n{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n";
        assert!(talk(Demo::Echo, ignored).is_empty());
    }

    /// Counts writes.
    struct Counted(Rc<Cell<usize>>);
    impl Write for Counted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.set(self.0.get() + usize::from(!bytes.is_empty()));
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_arrive_together_are_answered_together() {
        let writes = Rc::new(Cell::new(0));
        let line = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n";
        serve(Demo::Echo, line.repeat(100).as_bytes(), Counted(writes.clone())).unwrap();
        assert_eq!(writes.get(), 1);
        // A call whose end has not come yet holds nobody's answer back.
        let halves = line.as_bytes().chain(&line.as_bytes()[..10]).chain(&line.as_bytes()[10..]);
        writes.set(0);
        serve(Demo::Echo, halves, Counted(writes.clone())).unwrap();
        assert_eq!(writes.get(), 2);
    }
}
