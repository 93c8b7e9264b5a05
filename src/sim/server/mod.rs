//! Scripted servers of both eras. Each process is one future: when it is killed, or has had enough, all of it is gone at once.

mod handle;
pub(super) mod remote;
pub(super) mod task;
mod tool;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, Weak,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream},
    sync::{mpsc, oneshot},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::{
    dice::{Dice, Lag},
    record::{Record, Share},
};
use crate::{
    name::ServerId,
    protocol::{Era, Version},
    upstream::actor::{self, Script, Stage},
};

/// Of one configured server: what all its processes are like.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) id: ServerId,
    pub(super) version: Version,
    /// It breaks: its processes, its answers, its pipes. Others never do.
    pub(super) is_wild: bool,
    pub(super) share: Share,
    /// Another first word than `initialize`.
    pub(super) at_probe: AtProbe,
    pub(super) pipe_bytes: usize,
    /// Goes on for a while after the end of its stdin, and after TERM.
    pub(super) is_stubborn: bool,
    /// Milliseconds that every step may take.
    pub(super) slowness: u64,
    /// Goes on with what was cancelled, as many do.
    pub(super) ignores_cancel: bool,
    /// Prompts, resources and logs, besides tools.
    pub(super) is_rich: bool,
    /// Lists that change, resources that are touched, without being asked.
    pub(super) stirs: bool,
    /// Roots are asked for with its first breath.
    pub(super) asks_first: bool,
    pub(super) makes_tasks: bool,
    /// Behind HTTP.
    pub(super) is_remote: bool,
    /// There, for what nobody asked for.
    pub(super) has_stream: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AtProbe {
    Refuses,
    Ignores,
    Exits,
}

/// All processes there ever were.
#[derive(Default)]
pub(super) struct Troupe {
    processes: Mutex<Vec<Weak<Process>>>,
    is_calm: Arc<AtomicBool>,
    /// The hub has so little room that it may drop its refusals of questions.
    is_narrow: bool,
}

impl Troupe {
    pub(super) fn new(is_narrow: bool) -> Arc<Self> {
        Arc::new(Self { is_narrow, ..Self::default() })
    }

    /// From now on nobody breaks anything.
    pub(super) fn calm(&self) {
        self.is_calm.store(true, Ordering::Relaxed);
    }

    /// What their callers have left with those that live.
    pub(super) fn left(&self) -> Vec<String> {
        let processes = self.processes.lock().unwrap();
        processes.iter().filter_map(Weak::upgrade).flat_map(|process| process.left(self.is_narrow)).collect()
    }
}

/// What plays the processes of these servers.
pub(super) fn stage(parts: BTreeMap<String, Arc<Part>>, record: Arc<Record>, dice: Dice, troupe: Arc<Troupe>) -> Stage {
    let count = AtomicU32::new(0);
    let dice = Mutex::new(dice);
    Arc::new(move |id| {
        let part = Arc::clone(&parts[&id.to_string()]);
        let mut dice = dice.lock().unwrap().fork();
        let is_wild = part.is_wild && !troupe.is_calm.load(Ordering::Relaxed);
        if is_wild && dice.percent(5) {
            record.line(&format!("{id}"), "cannot be run");
            return Err(std::io::Error::other("cannot be run"));
        }
        let number = count.fetch_add(1, Ordering::Relaxed) + 1;
        let (entrance, script) = actor::enter(number, part.pipe_bytes);
        record.is_born();
        let alive = Alive(Arc::clone(&record), number);
        let process = Process::new(part, number, &record, dice, &troupe.is_calm);
        troupe.processes.lock().unwrap().push(Arc::downgrade(&process));
        tokio::spawn(perform(script, process, alive));
        Ok(entrance)
    })
}

struct Alive(Arc<Record>, u32);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.has_died(self.1);
    }
}

/// One process.
pub(super) struct Process {
    part: Arc<Part>,
    number: u32,
    wire: String,
    record: Arc<Record>,
    dice: Mutex<Dice>,
    state: Mutex<State>,
    out: mpsc::UnboundedSender<String>,
    lines: Mutex<Option<mpsc::UnboundedReceiver<String>>>,
    /// The process exits at once.
    crash: CancellationToken,
    is_calm: Arc<AtomicBool>,
}

#[derive(Default)]
struct State {
    era: Option<Era>,
    declared: Value,
    /// By the id of the question.
    questions: BTreeMap<u64, oneshot::Sender<Value>>,
    last_question: u64,
    /// By the id of the question, raw: the token of the call, which is under way with that raw id.
    asks_for: BTreeMap<String, String>,
    on_call: BTreeMap<String, String>,
    withdrawn: BTreeSet<u64>,
    /// They were on a stream when it was given up, with the call that they were for.
    unread: BTreeSet<u64>,
    /// By the raw id of the request.
    calls: BTreeMap<String, CancellationToken>,
    subscribed: BTreeSet<String>,
    /// Raw ids and filters.
    listens: Vec<(Value, Value)>,
    tools: u64,
    has_level: bool,
    tasks: BTreeMap<String, task::Task>,
    /// Those that calls have just become, by the raw id of the call.
    begun: BTreeMap<String, String>,
}

type Doing = BoxFuture<'static, ()>;

async fn perform(script: Script, process: Arc<Process>, _alive: Alive) {
    let Script { stdin, mut stdout, mut stderr, mut signals, _exit } = script;
    let mut doing: FuturesUnordered<Doing> = FuturesUnordered::new();
    let end = CancellationToken::new();
    doing.extend(process.habits());
    let mut stdin = BufReader::new(stdin);
    let mut line = Vec::new();
    let written = write(&process, &mut stdout);
    let patience = process.roll(|dice| dice.millis(0, 4_000));
    let mut leaving = std::pin::pin!(async {
        end.cancelled().await;
        sleep(if process.part.is_stubborn { patience } else { Duration::ZERO }).await;
    });
    let mut written = std::pin::pin!(written);
    let mut is_open = true;
    let _ = stderr.write_all(format!("process {} of {}\n", process.number, process.part.id).as_bytes()).await;
    loop {
        tokio::select! {
            biased;
            () = killed(&mut signals, process.part.is_stubborn) => break,
            () = process.crash.cancelled() => break,
            () = &mut leaving => break,
            Some(()) = doing.next() => {}
            read = stdin.read_until(b'\n', &mut line), if is_open => {
                // What was cut off by the end of the pipe is no line.
                if read.is_ok() && line.pop() == Some(b'\n') {
                    doing.extend(process.hear(&String::from_utf8_lossy(&line)));
                } else {
                    is_open = false;
                    end.cancel();
                }
                line.clear();
            }
            () = &mut written => {}
        }
    }
    process.record.line(&process.wire, "exits");
}

async fn killed(signals: &mut tokio::sync::watch::Receiver<Option<Signal>>, is_stubborn: bool) {
    loop {
        match *signals.borrow_and_update() {
            Some(signal) if signal == Signal::KILL || !is_stubborn => return,
            _ => {}
        }
        if signals.changed().await.is_err() {
            return;
        }
    }
}

/// All that is said, in pieces; for ever.
async fn write(process: &Process, stdout: &mut DuplexStream) {
    let mut lines = process.lines.lock().unwrap().take().expect("one writer");
    let hangs_up_at = process.hangs_up_after();
    let mut said = 0;
    while let Some(line) = lines.recv().await {
        process.record.line(&process.wire, &format!("> {line}"));
        let mut rest = line.as_bytes();
        while process.roll(|dice| dice.percent(15)) && rest.len() > 1 {
            let at = usize::try_from(process.roll(|dice| dice.between(1, rest.len() as u64 - 1))).unwrap();
            let (piece, after) = rest.split_at(at);
            if stdout.write_all(piece).await.is_err() {
                return std::future::pending().await;
            }
            rest = after;
            let lag = process.roll(|dice| dice.lag(20));
            lag.pass().await;
        }
        let end = if process.roll(|dice| dice.percent(5)) { "\r\n" } else { "\n" };
        if stdout.write_all(rest).await.is_err() || stdout.write_all(end.as_bytes()).await.is_err() {
            break;
        }
        said += 1;
        if hangs_up_at.is_some_and(|at| said >= at) && process.is_wild() {
            process.record.line(&process.wire, "closes its stdout");
            let _ = stdout.shutdown().await;
            break;
        }
    }
    std::future::pending().await
}

impl Process {
    fn new(part: Arc<Part>, number: u32, record: &Arc<Record>, dice: Dice, is_calm: &Arc<AtomicBool>) -> Arc<Self> {
        let (out, lines) = mpsc::unbounded_channel();
        let wire = format!("{}#{number}", part.id.name);
        Arc::new(Self {
            part,
            number,
            wire,
            record: Arc::clone(record),
            dice: Mutex::new(dice),
            state: Mutex::new(State { tools: 3, ..State::default() }),
            out,
            lines: Mutex::new(Some(lines)),
            crash: CancellationToken::new(),
            is_calm: Arc::clone(is_calm),
        })
    }

    fn roll<T>(&self, roll: impl FnOnce(&mut Dice) -> T) -> T {
        roll(&mut self.dice.lock().unwrap())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn lag(&self) -> Lag {
        self.roll(|dice| dice.lag(self.part.slowness))
    }

    fn say(&self, message: &Value) {
        let _ = self.out.send(message.to_string());
    }

    fn note(&self, method: &str, params: Value) {
        self.say(&json!({"jsonrpc": "2.0", "method": method, "params": params}));
    }

    /// Breaks things now.
    fn is_wild(&self) -> bool {
        self.part.is_wild && !self.is_calm.load(Ordering::Relaxed)
    }

    fn left(&self, is_narrow: bool) -> Vec<String> {
        let state = self.state();
        let questions = state.questions.keys().filter(|id| !is_narrow && !state.withdrawn.contains(id) && !state.unread.contains(id));
        let questions = questions.map(|id| format!("{} never got an answer to its question {id}", self.wire));
        let listens: BTreeSet<_> = state.listens.iter().map(|(listen, _)| listen.to_string()).collect();
        let is_listen = |id: &&String| listens.contains(*id);
        let calls = state.calls.keys().filter(|id| !self.part.ignores_cancel && !is_listen(id));
        let calls = calls.map(|id| format!("{} still works on {id}, which it was not told to give up", self.wire));
        questions.chain(calls).collect()
    }

    fn hangs_up_after(&self) -> Option<u64> {
        self.roll(|dice| (self.is_wild() && dice.percent(6)).then(|| dice.between(1, 30)))
    }

    /// What it does by itself.
    fn habits(self: &Arc<Self>) -> Vec<Doing> {
        let mut habits: Vec<Doing> = Vec::new();
        if self.is_wild() && self.roll(|dice| dice.percent(25)) {
            let process = Arc::clone(self);
            habits.push(Box::pin(async move {
                let wait = process.roll(|dice| dice.millis(0, 90_000));
                sleep(wait).await;
                if process.is_wild() {
                    process.record.line(&process.wire, "crashes");
                    process.record.count("crashes");
                    process.crash.cancel();
                }
            }));
        }
        if self.is_wild() && self.roll(|dice| dice.percent(40)) {
            let process = Arc::clone(self);
            habits.push(Box::pin(async move { process.babble().await }));
        }
        if self.part.stirs {
            let process = Arc::clone(self);
            habits.push(Box::pin(async move { process.stir().await }));
        }
        habits
    }

    /// Lines that no server should say.
    async fn babble(&self) {
        for _ in 0..30 {
            let wait = self.roll(|dice| dice.millis(0, 5_000));
            sleep(wait).await;
            if !self.is_wild() {
                return;
            }
            let line = self.nonsense();
            let _ = self.out.send(line);
        }
    }

    fn nonsense(&self) -> String {
        let (number, kind) = self.roll(|dice| (dice.below(5_000_000_000), dice.below(9)));
        let known = self.state().calls.keys().next().cloned().unwrap_or_else(|| "7".into());
        match kind {
            0 => "{\"jsonrpc\":\"2.0\",\"id\":".into(),
            1 => String::new(),
            2 => "Listening on port 3000".into(),
            3 => json!({"jsonrpc": "2.0", "id": number, "result": {"content": []}}).to_string(),
            4 => json!({"jsonrpc": "2.0", "id": "none of yours", "result": {}}).to_string(),
            5 => json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": number, "progress": 1}})
                .to_string(),
            6 => json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": number}}).to_string(),
            7 => format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{known}}}}}"#),
            _ => json!({"jsonrpc": "2.0", "id": number, "method": "no/such", "params": {}}).to_string(),
        }
    }

    /// What changes without anybody's doing.
    async fn stir(&self) {
        for _ in 0..4 {
            let wait = self.roll(|dice| dice.millis(100, 30_000));
            sleep(wait).await;
            let what = if self.part.is_rich { self.roll(|dice| dice.below(3)) } else { 0 };
            match what {
                0 => {
                    self.state().tools += 1;
                    self.tell("notifications/tools/list_changed", json!({}), "toolsListChanged", None);
                }
                1 => self.tell("notifications/resources/list_changed", json!({}), "resourcesListChanged", None),
                _ => {
                    let uri = tool::resource(&self.part, self.roll(|dice| dice.below(tool::RESOURCES)));
                    self.tell("notifications/resources/updated", json!({"uri": uri}), "resourceSubscriptions", Some(&uri));
                }
            }
        }
    }

    /// Who has asked to hear of it.
    fn tell(&self, method: &str, params: Value, key: &str, uri: Option<&str>) {
        let state = self.state();
        match state.era {
            None => {}
            Some(Era::Handshake) if uri.is_some_and(|uri| !state.subscribed.contains(uri)) => {}
            Some(Era::Handshake) => {
                drop(state);
                self.note(method, params);
            }
            Some(Era::Stateless) => {
                let wants = |filter: &Value| match uri {
                    None => filter[key] == true,
                    Some(uri) => filter[key].as_array().is_some_and(|uris| uris.iter().any(|wanted| wanted == uri)),
                };
                let listens: Vec<_> = state.listens.iter().filter(|(_, filter)| wants(filter)).map(|(id, _)| id.clone()).collect();
                drop(state);
                for id in listens {
                    let mut params = params.clone();
                    params["_meta"] = json!({"io.modelcontextprotocol/subscriptionId": id});
                    self.note(method, params);
                }
            }
        }
    }
}
