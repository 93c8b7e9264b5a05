//! A stdio server that does as it is told: well behaved, or bad in the ways that servers are bad.
//!
//! `scripted-server [MODE]… [--OPTION VALUE]…`
//!
//! | Mode | What it does |
//! |---|---|
//! | `echo` | nothing special (the default) |
//! | `shuffle` | collects requests and answers them in a random order (`--batch`, or 1 ms of quiet) |
//! | `garbage` | lines that are no messages, blank lines and CRLF around every answer, written in pieces that split UTF-8 |
//! | `huge-line` | a line of `--huge` bytes before each answer of a tool |
//! | `twice` | every answer of a tool twice |
//! | `unknown-ids` | before each answer of a tool, answers to ids that nobody gave |
//! | `deaf` | never reads its stdin |
//! | `ignore-term` | ignores SIGTERM and the end of its stdin |
//! | `linger` | stays when its stdin has ended |
//! | `exit-at-probe` | exits when its first request is not `initialize` |
//! | `silent-probe` | says nothing to anything but `initialize` before that |
//! | `exit-at-start` | exits at once with status 3 |
//! | `late` | answers a cancelled call all the same |
//! | `changes` | says `list_changed` right after the handshake, four times |
//! | `full` | offers prompts, resources, templates, subscriptions, logging and completion too, and lists the tools for all that |
//! | `by-profile` | lists only those tools that ask which the client can answer |
//! | `tasks` | makes tasks of calls of `task_required` and `task_optional` (see `task.rs`) |
//! | `roots-first` | asks `roots/list` right after the handshake |
//!
//! | Option | Default | |
//! |---|---|---|
//! | `--era` | `both` | `handshake`, `stateless` or `both` |
//! | `--revision` | asked for | the revision it answers `initialize` with; others are refused with `data.supported` under `--strict 1` |
//! | `--tools N` | 0 | further tools `tool0`… |
//! | `--also A,B` | | further tools of these names |
//! | `--extension NAME` | | an extension that it declares |
//! | `--label TEXT` | | what `label` answers before its text |
//! | `--count FILE` | | the name of every tool called goes there, a line each, before anything else is done |
//! | `--reasons FILE` | | why calls were cancelled goes there, a line each |
//! | `--pages N` | 1 | pages of `tools/list`; the second cursor is the empty string |
//! | `--batch K` | 64 | most requests that `shuffle` collects |
//! | `--huge BYTES` | 209715200 | |
//! | `--no-tools 1` | | declares no tools |
//! | `--unlisted-until FILE` | | `tools/list` fails until that file is there |
//! | `--loop-cursor 1` | | pages never end: the same cursor again and again |
//! | `--renounces FILE` | | the revisions in that file, if it is there, are all it speaks: `-32022` to the rest. Of 2026-07-28 it takes the file away when asked what it speaks |
//! | `--prompts N`, `--resources N`, `--templates N` | 2, 2, 1 | under `full`: `prompt0`…, `file:///r0`…, `file:///t0/{name}`… |
//! | `--no-subscribe 1`, `--no-templates 1`, `--no-listen 1`, `--no-completion 1` | | these methods do not exist |
//!
//! Tools of `full` (can be called in any mode): `ask_form {message, token}`, `ask_url {url, message}`, `ask_sampling {prompt}`, `ask_roots {message}` (with a form at once if there is one),
//! `ask_two` (two forms at once), `ask_again {progress}` (two, one after the other; 2026-07-28: with a list of progress for each round), `ask_withdrawn` (takes its question back, then answers), `need_url`
//! (`-32042` the first time; 2026-07-28: never), `ask_held {file}` (a form; progress with the reply, the answer when that file is there),
//! `ask_given_up {file}` (a form; progress and the answer when that file is there, whatever was said), `ask_outside {method}` (answers, and asks when no call is open), `told` (waits for the
//! reply to that), `elicited {id}` (says `notifications/elicitation/complete`), `log {level, data, count}`, `log_level`,
//! `touch_resource {uri}`, `subscriptions`, `end_listens`, `declared` (what the client said it can do).
//!
//! Tools: `echo {text}`, `label {text}`, `slow {ms}`, `never`, `hold {file}` (answers when that file is there), `blob {bytes}`,
//! `halves {file}` (progress, and more of it with the answer when that file is there), `progress {steps, ms}`, `cancellations`, `await {name, count}` (answers when that tool was called, or `cancelled`, `cancelled: REASON`, `progress TOKEN NUMBER`, another notification or the reply `accept`, `decline`, `cancel` came, so often),
//! `grow {by, kind}` (as many new tools, prompts or resources, and as many times `list_changed`, at once), `crash {status}`,
//! `env`, `fork {}` (the pid of a sleeping grandchild), `pid`, `args`, `deaf` (reads no more after answering), `ask {method}` (asks the
//! client, answers what it said), `answer {members}` (this text in place of a result), `say {text}` (a line as it is), `stderr {text}`, `fail` (a JSON-RPC error), `whoami`,
//! `come_back {times}` (listed by `--also come_back`; 2026-07-28: so often the answer is only a state to come back with).

mod ask;
mod offer;
mod task;

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    fs::File,
    io::{self, BufRead, Read, Write},
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use offer::Offer;
use task::Tasks;

const STATELESS: &str = "2026-07-28";

fn main() {
    let script = Arc::new(Script::parse(std::env::args().skip(1)));
    if script.is("exit-at-start") {
        eprintln!("exit-at-start");
        std::process::exit(3);
    }
    if script.is("ignore-term") && std::env::var_os("SCRIPTED_TERM_IGNORED").is_none() {
        // What is ignored stays ignored over exec, and a shell can ignore without unsafe code.
        let error = Command::new("sh")
            .args(["-c", r#"trap "" TERM; export SCRIPTED_TERM_IGNORED=1; exec "$0" "$@""#])
            .arg(std::env::current_exe().expect("a running program has a path"))
            .args(std::env::args().skip(1))
            .exec();
        panic!("sh: {error}");
    }
    if script.is("deaf") {
        sleep_for_ever();
    }
    let server = Arc::new(Server::new(Arc::clone(&script)));
    if script.is("shuffle") {
        shuffle(&server);
    } else {
        let stdin = io::stdin().lock();
        for line in stdin.split(b'\n').map_while(Result::ok) {
            server.handle(&line);
        }
    }
    if script.is("ignore-term") || script.is("linger") {
        sleep_for_ever();
    }
    std::process::exit(0);
}

fn await_file(arguments: &Value) {
    let file = arguments["file"].as_str().unwrap_or_default();
    while !std::path::Path::new(file).exists() {
        thread::sleep(Duration::from_millis(5));
    }
}

fn sleep_for_ever() -> ! {
    loop {
        thread::park();
    }
}

struct Script {
    modes: HashSet<String>,
    options: HashMap<String, String>,
}

impl Script {
    fn parse(mut args: impl Iterator<Item = String>) -> Self {
        let mut script = Self { modes: HashSet::new(), options: HashMap::new() };
        while let Some(arg) = args.next() {
            match arg.strip_prefix("--") {
                Some(option) => {
                    script.options.insert(option.to_owned(), args.next().unwrap_or_default());
                }
                None => {
                    script.modes.insert(arg);
                }
            }
        }
        script
    }

    fn is(&self, mode: &str) -> bool {
        self.modes.contains(mode)
    }

    fn text(&self, option: &str) -> Option<&str> {
        self.options.get(option).map(String::as_str)
    }

    fn number(&self, option: &str, default: usize) -> usize {
        self.text(option).map_or(default, |text| text.parse().expect("a number"))
    }

    fn speaks(&self, era: &str) -> bool {
        matches!(self.text("era"), None | Some("both")) || self.text("era") == Some(era)
    }
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    /// Perhaps written with escapes.
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Call<'a> {
    name: Cow<'a, str>,
    #[serde(default)]
    arguments: Value,
    #[serde(rename = "_meta", default)]
    meta: Value,
}

struct Server {
    script: Arc<Script>,
    /// `initialize` or a stateless request came.
    era: Mutex<Option<&'static str>>,
    grown: AtomicUsize,
    cancelled: Mutex<HashSet<String>>,
    /// How often each tool was called, and `cancelled` and each action of a reply came.
    counts: Mutex<HashMap<String, u64>>,
    counted: Condvar,
    /// Of `--count`.
    called: Option<File>,
    /// What the client answered to `ask`.
    replies: Mutex<HashMap<u64, Value>>,
    replied: Condvar,
    asked: AtomicUsize,
    offer: Offer,
    tasks: Tasks,
    /// The client's capabilities, as `initialize` had them.
    declared: Mutex<Value>,
    /// The question asked outside any call.
    outside: Mutex<Option<u64>>,
}

impl Server {
    fn new(script: Arc<Script>) -> Self {
        let called = script.text("count").map(|path| File::options().create(true).append(true).open(path).expect("a file for the calls"));
        Self {
            script,
            called,
            era: Mutex::default(),
            grown: AtomicUsize::new(0),
            cancelled: Mutex::default(),
            counts: Mutex::default(),
            counted: Condvar::new(),
            replies: Mutex::default(),
            replied: Condvar::new(),
            asked: AtomicUsize::new(0),
            offer: Offer::default(),
            tasks: Tasks::default(),
            declared: Mutex::default(),
            outside: Mutex::default(),
        }
    }

    fn handle(self: &Arc<Self>, line: &[u8]) {
        let mut out = Vec::new();
        self.answer(line, &mut out);
        self.write(&out);
    }

    /// Appends the answer, if there is one now, as whole lines.
    fn answer(self: &Arc<Self>, line: &[u8], out: &mut Vec<u8>) {
        let Ok(message) = serde_json::from_slice::<Message<'_>>(line) else { return };
        let params = message.params.map_or("{}", RawValue::get);
        match (message.method.as_deref(), message.id) {
            (Some(method), Some(id)) => {
                if !self.is_allowed(method, id.get(), params, out) {
                    return;
                }
                match method {
                    "tools/call" => self.call(id.get(), params, out),
                    "subscriptions/listen" if self.is_stateless() => {
                        self.offer.listen(&self.script, id.get(), &serde_json::from_str(params).unwrap_or_default(), out);
                    }
                    _ if method.starts_with("tasks/")
                        && self.task_request(method, id.get(), &serde_json::from_str(params).unwrap_or_default(), out) => {}
                    _ => self.request(method, id.get(), params, out),
                }
            }
            (Some("notifications/cancelled"), None) => {
                let params: Value = serde_json::from_str(params).unwrap_or_default();
                self.cancelled.lock().unwrap().insert(params["requestId"].to_string());
                self.offer.cancelled(&params["requestId"].to_string());
                self.count("cancelled");
                if let Some(reason) = params["reason"].as_str() {
                    self.count(&format!("cancelled: {reason}"));
                    if let Some(file) = self.script.text("reasons") {
                        let mut file = File::options().create(true).append(true).open(file).expect("a file for the reasons");
                        writeln!(file, "{reason}").expect("a file that can be written");
                    }
                }
            }
            (Some("notifications/initialized"), None) => {
                if self.script.is("changes") {
                    for _ in 0..4 {
                        self.offer.list_changed("tools", false, out);
                    }
                }
                if self.script.is("roots-first") {
                    *self.outside.lock().unwrap() = Some(self.question(&json!({"method": "roots/list"}), out));
                }
            }
            (Some("notifications/progress"), None) => {
                let params: Value = serde_json::from_str(params).unwrap_or_default();
                self.count(&format!("progress {} {}", params["progressToken"], params["progress"]));
            }
            (Some(method), None) => self.count(method),
            (None, Some(id)) => {
                let reply = message.result.or(message.error).map_or("null", RawValue::get);
                let id = id.get().parse().unwrap_or_default();
                let reply: Value = serde_json::from_str(reply).unwrap_or_default();
                self.count(reply["action"].as_str().unwrap_or_default());
                self.replies.lock().unwrap().insert(id, reply);
                self.replied.notify_all();
            }
            (None, None) => {}
        }
    }

    /// Eras, and how servers are when the first word is not what they expect.
    fn is_allowed(&self, method: &str, id: &str, params: &str, out: &mut Vec<u8>) -> bool {
        if method != "initialize" && self.renounces(method, id, params, out) {
            return false;
        }
        let mut era = self.era.lock().unwrap();
        if let Some(era) = *era {
            if era == "stateless" && method == "initialize" {
                error(out, id, -32601, "Method not found", Value::Null);
                return false;
            }
            return true;
        }
        if method == "initialize" {
            if !self.script.speaks("handshake") {
                error(out, id, -32601, "Method not found", Value::Null);
                return false;
            }
            let params: Value = serde_json::from_str(params).unwrap_or_default();
            let revision = self.script.text("revision");
            if self.script.text("strict").is_some() && params["protocolVersion"].as_str() != revision {
                error(out, id, -32602, "Unsupported protocol version", json!({"supported": [revision]}));
                return false;
            }
            *self.declared.lock().unwrap() = params["capabilities"].clone();
            *era = Some("handshake");
            return true;
        }
        if self.script.is("exit-at-probe") {
            std::process::exit(1);
        }
        if self.script.is("silent-probe") {
            return false;
        }
        let params: Value = serde_json::from_str(params).unwrap_or_default();
        if self.script.speaks("stateless") && params["_meta"]["io.modelcontextprotocol/protocolVersion"] == STATELESS {
            *era = Some("stateless");
            return true;
        }
        error(out, id, -32601, "Method not found", Value::Null);
        false
    }

    fn renounces(&self, method: &str, id: &str, params: &str, out: &mut Vec<u8>) -> bool {
        let Some((file, spoken)) = self.script.text("renounces").and_then(|file| Some((file, std::fs::read_to_string(file).ok()?))) else {
            return false;
        };
        let params: Value = serde_json::from_str(params).unwrap_or_default();
        if params["_meta"]["io.modelcontextprotocol/protocolVersion"] != STATELESS {
            return false;
        }
        let supported: Vec<&str> = spoken.split_whitespace().collect();
        if method == "server/discover" && supported.contains(&STATELESS) {
            std::fs::remove_file(file).expect("it was there");
            return false;
        }
        error(out, id, -32022, "Unsupported protocol version", json!({"supported": supported, "requested": STATELESS}));
        true
    }

    fn is_stateless(&self) -> bool {
        *self.era.lock().unwrap() == Some("stateless")
    }

    fn request(&self, method: &str, id: &str, params: &str, out: &mut Vec<u8>) {
        let params: Value = serde_json::from_str(params).unwrap_or_default();
        let info = json!({"name": "scripted-server", "version": "1.0.0"});
        let capabilities = Offer::capabilities(&self.script);
        let mut answer = match method {
            "initialize" => {
                let revision = self.script.text("revision").map_or_else(|| params["protocolVersion"].clone(), Value::from);
                json!({"protocolVersion": revision, "capabilities": capabilities, "serverInfo": info, "instructions": "do as told"})
            }
            "server/discover" => {
                json!({"supportedVersions": [STATELESS], "capabilities": capabilities, "instructions": "do as told"})
            }
            "ping" => json!({}),
            "tools/list" if self.script.text("unlisted-until").is_some_and(|file| !std::path::Path::new(file).exists()) => {
                return error(out, id, -32603, "not yet", Value::Null);
            }
            "tools/list" => self.list(&params),
            _ => match self.offer.request(&self.script, method, &params) {
                Some(answer) => answer,
                None => return error(out, id, -32601, "Method not found", Value::Null),
            },
        };
        if self.is_stateless() {
            answer["resultType"] = "complete".into();
            answer["ttlMs"] = 60_000.into();
            answer["cacheScope"] = "public".into();
            answer["_meta"] = json!({"io.modelcontextprotocol/serverInfo": info});
        }
        result(out, id, &answer);
    }

    fn count(&self, what: &str) {
        *self.counts.lock().unwrap().entry(what.to_owned()).or_default() += 1;
        self.counted.notify_all();
    }

    fn counted(&self, what: &str) -> u64 {
        self.counts.lock().unwrap().get(what).copied().unwrap_or_default()
    }

    fn list(&self, params: &Value) -> Value {
        let own = [
            "echo",
            "slow",
            "never",
            "blob",
            "progress",
            "cancellations",
            "grow",
            "crash",
            "env",
            "fork",
            "pid",
            "args",
            "deaf",
            "ask",
            "say",
            "stderr",
            "fail",
            "whoami",
            "label",
            "hold",
            "halves",
            "await",
            "answer",
        ];
        let more = (0..self.script.number("tools", 0)).map(|n| format!("tool{n}"));
        let grown = (0..self.grown.load(Ordering::SeqCst)).map(|n| format!("grown{n}"));
        let also = self.also().map(str::to_owned);
        let full = ["ask_outside", "told", "elicited", "log", "log_level", "touch_resource", "subscriptions", "end_listens", "declared"];
        let full: &[&str] = if self.script.is("full") { &full } else { &[] };
        let declared = if self.is_stateless() {
            params["_meta"]["io.modelcontextprotocol/clientCapabilities"].clone()
        } else {
            self.declared.lock().unwrap().clone()
        };
        let is_listed = |tool: &&str| self.script.is("full") && (!self.script.is("by-profile") || ask::is_for(tool, &declared));
        let full = full.iter().copied().chain(ask::TOOLS.into_iter().filter(is_listed)).map(str::to_owned);
        let names = own.into_iter().map(str::to_owned).chain(full).chain(more).chain(also).chain(grown);
        let of_tasks = task::TOOLS.into_iter().filter(|_| self.script.is("tasks")).map(|(name, support)| {
            let mut tool = describe(name);
            tool["execution"] = json!({"taskSupport": support});
            tool
        });
        offer::page(&self.script, "tools", names.map(|name| describe(&name)).chain(of_tasks).collect(), params)
    }

    fn also(&self) -> impl Iterator<Item = &str> {
        self.script.text("also").into_iter().flat_map(|names| names.split(','))
    }

    fn call(self: &Arc<Self>, id: &str, params: &str, out: &mut Vec<u8>) {
        let Ok(call) = serde_json::from_str::<Call<'_>>(params) else {
            return error(out, id, -32602, "Invalid params", Value::Null);
        };
        if let Some(mut called) = self.called.as_ref() {
            let _ = called.write_all(format!("{}\n", call.name).as_bytes());
        }
        self.count(&call.name);
        let arguments = &call.arguments;
        let number = |name: &str, default: u64| arguments[name].as_u64().unwrap_or(default);
        let said = match &*call.name {
            name if name.starts_with("task_") && self.start_task(name, id, &serde_json::from_str(params).unwrap_or_default(), out) => {
                return;
            }
            "task_optional" => "worked at once".to_owned(),
            "echo" => arguments["text"].as_str().unwrap_or_default().to_owned(),
            "label" => format!("{}/{}", self.script.text("label").unwrap_or_default(), arguments["text"].as_str().unwrap_or_default()),
            "come_back" => return self.come_back(id, &serde_json::from_str(params).unwrap_or_default(), out),
            name if name.starts_with("tool") || name.starts_with("grown") || self.also().any(|also| also == name) => name.to_owned(),
            "blob" => "x".repeat(number("bytes", 1024) as usize),
            "cancellations" => self.counted("cancelled").to_string(),
            "env" => {
                let vars: HashMap<_, _> = std::env::vars().collect();
                serde_json::to_string(&vars).expect("strings are JSON")
            }
            "args" => serde_json::to_string(&std::env::args().collect::<Vec<_>>()).expect("strings are JSON"),
            "pid" => std::process::id().to_string(),
            "whoami" => self.era.lock().unwrap().unwrap_or_default().to_owned(),
            "fork" => {
                #[expect(clippy::zombie_processes, reason = "a server that leaves processes behind is what this plays")]
                let child = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().expect("sleep can be run");
                child.id().to_string()
            }
            "crash" => {
                eprintln!("crash, as asked");
                std::process::exit(number("status", 1) as i32);
            }
            "never" => return,
            "answer" => {
                let members = arguments["members"].as_str().unwrap_or_default();
                let _ = writeln!(out, r#"{{"jsonrpc":"2.0","id":{id},{members}}}"#);
                return;
            }
            "fail" => return error(out, id, -32000, "failed, as asked", json!({"why": "asked"})),
            "grow" => {
                let kind = arguments["kind"].as_str().unwrap_or("tools");
                let grown = match kind {
                    "prompts" => &self.offer.grown_prompts,
                    "resources" => &self.offer.grown_resources,
                    _ => &self.grown,
                };
                for _ in 0..number("by", 1) {
                    grown.fetch_add(1, Ordering::SeqCst);
                    self.offer.list_changed(kind, self.is_stateless(), out);
                }
                "grown".to_owned()
            }
            "say" => {
                out.extend_from_slice(arguments["text"].as_str().unwrap_or_default().as_bytes());
                out.push(b'\n');
                "said".to_owned()
            }
            "stderr" => {
                eprintln!("{}", arguments["text"].as_str().unwrap_or_default());
                "written".to_owned()
            }
            "deaf" => {
                self.answer_call(id, "deaf from now on", out);
                self.write(out);
                sleep_for_ever();
            }
            "declared" if self.is_stateless() => call.meta["io.modelcontextprotocol/clientCapabilities"].to_string(),
            "declared" => self.declared.lock().unwrap().to_string(),
            "log" => {
                let wanted = call.meta["io.modelcontextprotocol/logLevel"].as_str();
                self.offer.log(arguments, wanted, self.is_stateless(), out);
                "logged".to_owned()
            }
            "log_level" => self.offer.level(),
            "touch_resource" => {
                self.offer.touch(arguments["uri"].as_str().unwrap_or_default(), self.is_stateless(), out);
                "touched".to_owned()
            }
            "subscriptions" => self.offer.subscriptions(self.is_stateless()),
            "end_listens" => {
                self.offer.end_listens(out);
                "ended".to_owned()
            }
            "elicited" => {
                let params = json!({"elicitationId": arguments["id"]});
                let note = json!({"jsonrpc": "2.0", "method": "notifications/elicitation/complete", "params": params});
                out.extend_from_slice(format!("{note}\n").as_bytes());
                "said".to_owned()
            }
            "ask_outside" => {
                self.answer_call(id, "asked", out);
                let question = json!({"method": arguments["method"].as_str().unwrap_or("roots/list")});
                *self.outside.lock().unwrap() = Some(self.question(&question, out));
                return;
            }
            "need_url" => return self.need_url(id, out),
            name if ask::TOOLS.contains(&name) && self.is_stateless() => {
                return self.ask_by_result(name, id, &serde_json::from_str(params).unwrap_or_default(), out);
            }
            name if matches!(name, "slow" | "progress" | "ask" | "hold" | "halves" | "await" | "told") || ask::TOOLS.contains(&name) => {
                let (server, id) = (Arc::clone(self), id.to_owned());
                let (name, arguments, meta) = (call.name.clone().into_owned(), arguments.clone(), call.meta.clone());
                thread::spawn(move || server.take_time(&name, &id, &arguments, &meta));
                return;
            }
            name => return error(out, id, -32602, &format!("Unknown tool: {name}"), Value::Null),
        };
        self.answer_call(id, &said, out);
    }

    /// Tools that answer later, each on a thread of its own.
    fn take_time(self: &Arc<Self>, name: &str, id: &str, arguments: &Value, meta: &Value) {
        let millis = |default| Duration::from_millis(arguments["ms"].as_u64().unwrap_or(default));
        let mut out = Vec::new();
        match name {
            "slow" => {
                thread::sleep(millis(100));
                if self.cancelled.lock().unwrap().contains(id) && !self.script.is("late") {
                    return;
                }
                self.answer_call(id, "slept", &mut out);
            }
            "hold" => {
                await_file(arguments);
                self.answer_call(id, "let go", &mut out);
            }
            "halves" => {
                self.progress(meta, 1, 2);
                await_file(arguments);
                self.progress(meta, 2, 2);
                self.answer_call(id, "both", &mut out);
            }
            "await" => {
                let (what, most) = (arguments["name"].as_str().unwrap_or_default(), arguments["count"].as_u64().unwrap_or(1));
                let short = |counts: &mut HashMap<String, u64>| counts.get(what).copied().unwrap_or_default() < most;
                drop(self.counted.wait_while(self.counts.lock().unwrap(), short).unwrap());
                self.answer_call(id, &self.counted(what).to_string(), &mut out);
            }
            "progress" => {
                let steps = arguments["steps"].as_u64().unwrap_or(3);
                for step in 1..=steps {
                    thread::sleep(millis(0));
                    self.progress(meta, step, steps);
                }
                self.answer_call(id, "done", &mut out);
            }
            "told" => {
                let asked = self.outside.lock().unwrap().take();
                let reply = asked.map_or(Value::Null, |asked| self.reply_to(asked));
                self.answer_call(id, &reply.to_string(), &mut out);
            }
            "ask" => {
                let method = arguments["method"].as_str().unwrap_or("ping");
                let asked = self.send_question(&json!({"method": method, "params": {}}));
                let reply = self.reply_to(asked);
                self.answer_call(id, &reply.to_string(), &mut out);
            }
            name => self.ask_in_turn(name, id, arguments, meta, &mut out),
        }
        self.write(&out);
    }

    fn progress(&self, meta: &Value, step: u64, total: u64) {
        if !meta["progressToken"].is_null() {
            let params = json!({"progressToken": meta["progressToken"], "progress": step, "total": total});
            let note = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params});
            self.write(format!("{note}\n").as_bytes());
        }
    }

    /// Appends a request of this server's own; `question`: its method and params.
    fn question(&self, question: &Value, out: &mut Vec<u8>) -> u64 {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst) as u64;
        let mut question = question.clone();
        question["jsonrpc"] = "2.0".into();
        question["id"] = asked.into();
        out.extend_from_slice(format!("{question}\n").as_bytes());
        asked
    }

    fn send_question(&self, question: &Value) -> u64 {
        let mut out = Vec::new();
        let asked = self.question(question, &mut out);
        self.write(&out);
        asked
    }

    /// Waits for the client's answer: its result, or its error.
    fn reply_to(&self, asked: u64) -> Value {
        let mut replies = self.replies.lock().unwrap();
        loop {
            if let Some(reply) = replies.remove(&asked) {
                return reply;
            }
            replies = self.replied.wait(replies).unwrap();
        }
    }

    fn answer_call(&self, id: &str, text: &str, out: &mut Vec<u8>) {
        if self.script.is("huge-line") {
            self.huge_line();
        }
        if self.script.is("unknown-ids") {
            for id in ["9007199254740991", "\"who\"", "0", "1.5e3"] {
                self.text_result(id, "to nobody", out);
            }
        }
        self.text_result(id, text, out);
        if self.script.is("twice") {
            self.text_result(id, text, out);
        }
    }

    fn text_result(&self, id: &str, text: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
        out.extend_from_slice(id.as_bytes());
        out.extend_from_slice(br#","result":{"content":[{"type":"text","text":"#);
        serde_json::to_writer(&mut *out, text).expect("a string is JSON");
        out.extend_from_slice(b"}]");
        if self.is_stateless() {
            out.extend_from_slice(br#","resultType":"complete""#);
        }
        out.extend_from_slice(b"}}\n");
    }

    /// In chunks: the hub shall be the one that might need the memory.
    fn huge_line(&self) {
        let chunk = vec![b'x'; 1 << 20];
        let bytes = self.script.number("huge", 200 << 20);
        let mut stdout = io::stdout().lock();
        let head = br#"{"jsonrpc":"2.0","method":"notifications/message","params":{"data":""#;
        let _ = stdout.write_all(head);
        let mut left = bytes;
        while left > 0 {
            let count = left.min(chunk.len());
            if stdout.write_all(&chunk[..count]).is_err() {
                return;
            }
            left -= count;
        }
        let _ = stdout.write_all(b"\"}}\n");
        let _ = stdout.flush();
    }

    /// Whole lines only; the lock keeps those of several threads apart.
    fn write(&self, lines: &[u8]) {
        if lines.is_empty() {
            return;
        }
        let mut stdout = io::stdout().lock();
        if self.script.is("garbage") {
            let _ = stdout.write_all("hello from a console.log é\n\r\n\n{\"not\": \"json-rpc\"}\n[1, 2\n\u{0}\n".as_bytes());
            let _ = stdout.write_all(b"\xff\xfe not utf-8\n{\"jsonrpc\":\"2.0\",\"method\":\"notifications/none\"}\r\n");
            let _ = stdout.flush();
            // Every character of more than one byte is split; so is everything else.
            for piece in lines.chunks(7) {
                let _ = stdout.write_all(piece);
                let _ = stdout.flush();
            }
        } else {
            let _ = stdout.write_all(lines);
        }
        let _ = stdout.flush();
    }
}

/// A reading thread, so that quiet can be noticed.
fn shuffle(server: &Arc<Server>) {
    let (sender, receiver) = mpsc::sync_channel::<Vec<u8>>(4096);
    thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        let (mut buffer, mut chunk) = (Vec::new(), vec![0; 1 << 16]);
        while let Ok(count @ 1..) = stdin.read(&mut chunk) {
            buffer.extend_from_slice(&chunk[..count]);
            let whole = buffer.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            for line in buffer.drain(..whole).as_slice().split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                if sender.send(line.to_vec()).is_err() {
                    return;
                }
            }
        }
    });
    let most = server.script.number("batch", 64);
    let mut random = 0x9e37_79b9_7f4a_7c15_u64 ^ u64::from(std::process::id());
    let mut lines = Vec::new();
    while let Ok(first) = receiver.recv() {
        lines.push(first);
        while lines.len() < most {
            match receiver.recv_timeout(Duration::from_millis(1)) {
                Ok(line) => lines.push(line),
                Err(_) => break,
            }
        }
        for at in (1..lines.len()).rev() {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            lines.swap(at, (random % (at as u64 + 1)) as usize);
        }
        let mut out = Vec::new();
        for line in lines.drain(..) {
            server.answer(&line, &mut out);
        }
        server.write(&out);
    }
}

fn describe(name: &str) -> Value {
    json!({"name": name, "description": format!("The tool {name}"), "inputSchema": {"type": "object"}})
}

fn result(out: &mut Vec<u8>, id: &str, result: &Value) {
    let _ = writeln!(out, r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#);
}

fn error(out: &mut Vec<u8>, id: &str, code: i64, message: &str, data: Value) {
    let mut error = json!({"code": code, "message": message});
    if !data.is_null() {
        error["data"] = data;
    }
    let _ = writeln!(out, r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#);
}
