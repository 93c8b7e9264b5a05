//! What happened: every line on every wire with its time, what each call came to, and what must never be.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use tokio::time::Instant;

use super::plan::{client_of, principal_of};

/// Lines of the trace that a failure shows.
const SHOWN: usize = 60;
/// What is found wrong after these follows from them.
const WRONG_MAX: usize = 20;
/// How long an instance may be there after its questions were taken back for it: its hub asks it to go, insists, and has it gone. The most
/// that any server here is given for that, and a moment.
const GOING: Duration = Duration::from_secs(6);

pub(super) struct Record {
    start: Instant,
    prints: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    hasher: DefaultHasher,
    lines: VecDeque<String>,
    wrong: Vec<String>,
    calls: BTreeMap<String, Fate>,
    instances: BTreeMap<u32, Seen>,
    counts: BTreeMap<&'static str, u64>,
    alive: u64,
}

#[derive(Default)]
struct Fate {
    began: u32,
    finished: u32,
    given_up: bool,
    /// It was sent away to have a page opened.
    was_refused: bool,
    /// It may be carried out more than once: whoever keeps the state is the server.
    repeats: bool,
}

#[derive(Default)]
struct Seen {
    what: &'static str,
    /// By what it is shared; one, if all is well.
    keys: BTreeSet<String>,
    /// Clients.
    callers: BTreeSet<String>,
    /// Of what the instance asked outside any call.
    heard: BTreeSet<String>,
    answered: BTreeSet<String>,
    withdrawn: BTreeSet<String>,
    /// By others than the instance itself, and when its client first heard of that.
    taken_back: BTreeMap<String, Duration>,
    over_at: Option<Duration>,
}

/// What of a run is of interest afterwards.
pub(super) struct Story {
    pub(super) hash: u64,
    pub(super) wrong: Vec<String>,
    pub(super) last: Vec<String>,
    pub(super) counts: BTreeMap<&'static str, u64>,
}

impl Record {
    pub(super) fn new(prints: bool) -> Self {
        Self { start: Instant::now(), prints, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// A line of this wire.
    pub(super) fn line(&self, wire: &str, text: &str) {
        let at = self.start.elapsed().as_millis();
        let line = format!("{at:>8} {wire} {}", without_seals(text.trim_end()));
        let mut state = self.state();
        line.hash(&mut state.hasher);
        if self.prints {
            eprintln!("{line}");
        }
        if state.lines.len() >= SHOWN {
            state.lines.pop_front();
        }
        state.lines.push_back(line);
    }

    pub(super) fn wrong(&self, what: impl Into<String>) {
        let what = what.into();
        self.line("WRONG", &what);
        let mut state = self.state();
        if state.wrong.len() < WRONG_MAX {
            state.wrong.push(what);
        }
    }

    /// Since the world began.
    pub(super) fn age(&self) -> Duration {
        self.start.elapsed()
    }

    pub(super) fn count(&self, what: &'static str) {
        *self.state().counts.entry(what).or_default() += 1;
    }

    /// An instance begins to carry out a call. `what`: how it is shared.
    pub(super) fn began(&self, token: &str, instance: u32, share: Share) {
        let mut state = self.state();
        let fate = state.calls.entry(token.to_owned()).or_default();
        fate.began += 1;
        let (began, repeats) = (fate.began, fate.repeats);
        let seen = state.instances.entry(instance).or_default();
        let caller = share.of(token);
        seen.what = share.name();
        seen.keys.insert(caller);
        seen.callers.insert(client_of(token).to_owned());
        let callers = (seen.keys.len() > 1).then(|| format!("{:?}", seen.keys));
        drop(state);
        if let Some(callers) = callers {
            self.wrong(format!("instance {instance} is one {}'s, and was used by {callers}", share.name()));
        }
        if began > 1 && !repeats {
            self.wrong(format!("{token} was carried out {began} times"));
        }
    }

    /// The server may see this call more than once.
    pub(super) fn repeats(&self, token: &str) {
        self.state().calls.entry(token.to_owned()).or_default().repeats = true;
    }

    /// `true` once: the call is to be refused until its page was opened.
    pub(super) fn refuses(&self, token: &str) -> bool {
        let mut state = self.state();
        let fate = state.calls.entry(token.to_owned()).or_default();
        // Sent again by the hub, as often as its client says that the page is open.
        fate.repeats = true;
        !std::mem::replace(&mut fate.was_refused, true)
    }

    pub(super) fn finished(&self, token: &str) {
        self.state().calls.entry(token.to_owned()).or_default().finished += 1;
    }

    pub(super) fn give_up(&self, token: &str) {
        self.state().calls.entry(token.to_owned()).or_default().given_up = true;
    }

    pub(super) fn is_given_up(&self, token: &str) -> bool {
        self.state().calls.get(token).is_some_and(|fate| fate.given_up)
    }

    /// A client is asked: `Q:TOKEN:NUMBER:INSTANCE`, with `-` for the token outside any call. `own`: of the one call that it can be asked
    /// for here; one with a session is asked for any of its own.
    pub(super) fn heard_question(&self, text: &str, client: &str, own: Option<&str>) {
        let mut parts = text.split(':');
        let (Some("Q"), Some(token), Some(_), Some(instance)) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return self.wrong(format!("{client} was asked something that nobody asks: {text}"));
        };
        if token == "-" {
            let instance = instance.parse().unwrap_or_default();
            self.state().instances.entry(instance).or_default().heard.insert(client.to_owned());
            return;
        }
        if principal_of(token) != principal_of(client) {
            return self.wrong(format!("{client} was asked what is another principal's: {text}"));
        }
        let is_own = own.map_or_else(|| client_of(token) == client, |own| token == own);
        if !is_own {
            self.wrong(format!("{client} was asked what is not of {}: {text}", own.unwrap_or("its session")));
        }
    }

    /// A server hears what was said to its question.
    pub(super) fn heard_answer(&self, text: &str, instance: u32) {
        let is_first = self.state().instances.entry(instance).or_default().answered.insert(text.to_owned());
        if !is_first {
            self.wrong(format!("{text} was answered twice"));
        }
    }

    pub(super) fn withdraws(&self, question: u64, instance: u32) {
        self.state().instances.entry(instance).or_default().withdrawn.insert(question.to_string());
    }

    /// A client hears that the server takes its question back.
    pub(super) fn heard_withdrawn(&self, text: &str, client: &str) {
        let parts: Vec<_> = text.split(':').collect();
        let &["Q", _, question, instance] = parts.as_slice() else { return };
        let now = self.age();
        let mut state = self.state();
        let seen = state.instances.entry(instance.parse().unwrap_or_default()).or_default();
        if !seen.withdrawn.contains(question) {
            // Then the instance is on its way out.
            seen.taken_back.entry(format!("{text} of {client}")).or_insert(now);
        }
    }

    /// A client reads a record of a server's log: `L:TOKEN`.
    pub(super) fn heard_log(&self, text: &str, client: &str) {
        let Some(token) = text.strip_prefix("L:") else { return self.wrong(format!("{client} reads a log of nobody: {text}")) };
        if token != "-" && principal_of(token) != principal_of(client) {
            self.wrong(format!("{client} reads a log that is another principal's: {text}"));
        }
    }

    pub(super) fn is_born(&self) {
        self.state().alive += 1;
    }

    pub(super) fn has_died(&self, instance: u32) {
        self.is_over(instance);
        self.state().alive -= 1;
    }

    /// A process has exited, or a session over HTTP was ended at its server.
    pub(super) fn is_over(&self, instance: u32) {
        let now = self.age();
        self.state().instances.entry(instance).or_default().over_at = Some(now);
    }

    pub(super) fn alive(&self) -> u64 {
        self.state().alive
    }

    /// What can only be said at the end.
    pub(super) fn close(&self) -> Story {
        let mut wrong = Vec::new();
        {
            let state = self.state();
            for (instance, seen) in &state.instances {
                let lived_on = |heard: &Duration| seen.over_at.is_none_or(|over| over > *heard + GOING);
                let unsaid = seen.taken_back.iter().filter(|(_, heard)| lived_on(heard));
                wrong.extend(unsaid.map(|(question, _)| format!("instance {instance} did not take back {question}, and lived on")));
                let callers: BTreeSet<_> = seen.callers.iter().map(|caller| principal_of(caller)).collect();
                let is_foreign = |client: &&String| !callers.is_empty() && !callers.contains(principal_of(client));
                wrong.extend(seen.heard.iter().filter(is_foreign).map(|client| {
                    format!("{client} heard a question of instance {instance} ({}), which is another's: {:?}", seen.what, seen.callers)
                }));
            }
        }
        wrong.into_iter().for_each(|wrong| self.wrong(wrong));
        let mut state = self.state();
        Story {
            hash: state.hasher.finish(),
            wrong: std::mem::take(&mut state.wrong),
            last: state.lines.drain(..).collect(),
            counts: std::mem::take(&mut state.counts),
        }
    }
}

/// Among whom an instance may be shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Share {
    Everyone,
    Principal,
    /// Of those that have one; else the principal.
    Session,
    Call,
}

impl Share {
    fn of(self, token: &str) -> String {
        match self {
            Self::Everyone => String::new(),
            Self::Principal => principal_of(token).into(),
            // Clients without sessions have names that say so.
            Self::Session if client_of(token).ends_with('~') => principal_of(token).into(),
            Self::Session => client_of(token).into(),
            Self::Call => token.into(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Everyone => "tenant",
            Self::Principal => "principal",
            Self::Session => "session",
            Self::Call => "call",
        }
    }
}

/// What is sealed differs from run to run: it holds the time of day.
fn without_seals(text: &str) -> String {
    let text = without(text, "\"requestState\":\"");
    let text = without(&text, "\"taskId\":\"");
    without(&text, "\"taskIds\":[\"")
}

/// Whatever follows `key`, to the next quote.
fn without(text: &str, key: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(key) {
        out.push_str(before);
        out.push_str(key);
        rest = after.find('"').map_or("", |end| &after[end..]);
    }
    out.push_str(rest);
    out
}
