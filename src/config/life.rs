//! How instances of a server live: `pool`, `interactive`, `roots`, `bridge_tasks`, `keepalive`, `restart`, `timeouts`.

use std::time::Duration;

use super::{
    document::Notes,
    roots,
    settings::{Interactive, Pool, Restart, Scope, Start, Timeouts},
    value::{Fault, Field},
};
use crate::limits::KEEPALIVE_MIN;

/// What an entry says of its instances' lives. `None` and unset: the file's defaults.
#[derive(Default)]
pub(super) struct Life {
    pub(super) start: Option<Start>,
    pub(super) pool: Pool,
    pub(super) roots: Vec<String>,
    pub(super) bridge_tasks: bool,
    pub(super) keepalive: Option<Duration>,
    pub(super) restart: Restart,
    /// `restart.max_retries` if given; the inner `None` is "never give up".
    pub(super) max_retries: Option<Option<u32>>,
    pub(super) timeouts: Timeouts,
    pub(super) start_timeout: Option<Duration>,
    /// The figures below `timeouts` that were given.
    call: Option<Duration>,
    call_max: Option<Duration>,
    /// `timeout` of other hosts; `timeouts.call` wins.
    timeout: Option<Duration>,
}

impl Life {
    /// Takes a field that is about an instance's life; false: it is not.
    pub(super) fn take(&mut self, field: &Field<'_>, notes: &mut Notes<'_>) -> bool {
        match field.name {
            "start" => {
                let words = [("boot", Start::Boot), ("demand", Start::Demand), ("manual", Start::Manual)];
                self.start = notes.keep(field.one_of(&words)).or(self.start);
            }
            "pool" => self.pool(field, notes),
            "interactive" => {
                let words = [("never", Interactive::Never), ("auto", Interactive::Auto), ("always", Interactive::Always)];
                self.pool.interactive = notes.keep(field.one_of(&words)).unwrap_or(self.pool.interactive);
            }
            "roots" => self.roots = notes.keep(roots::read(field)).unwrap_or_default(),
            "bridge_tasks" => self.bridge_tasks = notes.keep(field.flag()).unwrap_or(self.bridge_tasks),
            "keepalive" => self.keepalive = notes.keep(field.or_null(often)).flatten(),
            "restart" => self.restart(field, notes),
            "timeouts" => self.timeouts(field, notes),
            "timeout" => self.timeout = notes.keep(field.seconds_or_ms()),
            _ => return false,
        }
        true
    }

    /// When every field is taken: `timeout` gives way to `timeouts.call`, and no call outlives `call_max`.
    pub(super) fn settle(&mut self, at: usize, notes: &mut Notes<'_>) {
        if let Some(call) = self.call.or(self.timeout) {
            self.timeouts.call = call;
        }
        match self.call_max {
            Some(call_max) if call_max < self.timeouts.call => {
                notes.fail(at, "\"timeouts.call_max\" is less than the time of one call; make it at least as long");
            }
            Some(call_max) => self.timeouts.call_max = call_max,
            None => self.timeouts.call_max = self.timeouts.call_max.max(self.timeouts.call),
        }
        if self.restart.wait_max < self.restart.wait {
            notes.fail(at, "\"restart.wait_max\" is less than \"restart.wait\"; make it at least as long");
        }
        if self.pool.spare > self.pool.size {
            notes.fail(at, "\"pool.spare\" is more than \"pool.size\"; make it at most as many");
        }
    }

    fn pool(&mut self, field: &Field<'_>, notes: &mut Notes<'_>) {
        for field in notes.keep(field.object()).unwrap_or_default() {
            match field.name {
                "scope" => {
                    let words = [("shared", Scope::Shared), ("user", Scope::User), ("session", Scope::Session), ("call", Scope::Call)];
                    self.pool.scope = notes.keep(field.one_of(&words)).unwrap_or(self.pool.scope);
                }
                "size" => self.pool.size = notes.keep(field.whole(1, 1024)).map_or(self.pool.size, |size| size as usize),
                "spare" => self.pool.spare = notes.keep(field.whole(0, 1024)).map_or(self.pool.spare, |spare| spare as usize),
                "idle_stop" => self.pool.idle_stop = notes.keep(field.or_null(Field::some_seconds)).unwrap_or(self.pool.idle_stop),
                _ => notes.unknown(field.at, &field.label),
            }
        }
    }

    fn restart(&mut self, field: &Field<'_>, notes: &mut Notes<'_>) {
        for field in notes.keep(field.object()).unwrap_or_default() {
            let mut set = |slot: &mut Duration| *slot = notes.keep(field.seconds()).unwrap_or(*slot);
            match field.name {
                "wait" => set(&mut self.restart.wait),
                "wait_max" => set(&mut self.restart.wait_max),
                "reset_after" => set(&mut self.restart.reset_after),
                "max_retries" => self.max_retries = notes.keep(retries(&field)),
                _ => notes.unknown(field.at, &field.label),
            }
        }
    }

    fn timeouts(&mut self, field: &Field<'_>, notes: &mut Notes<'_>) {
        for field in notes.keep(field.object()).unwrap_or_default() {
            match field.name {
                "start" => self.start_timeout = notes.keep(field.some_seconds()),
                "call" => self.call = notes.keep(field.some_seconds()),
                "call_max" => self.call_max = notes.keep(field.some_seconds()),
                "stop" => self.timeouts.stop = notes.keep(field.seconds()).unwrap_or(self.timeouts.stop),
                _ => notes.unknown(field.at, &field.label),
            }
        }
    }
}

/// Not so often that it costs more than it tells.
fn often(field: &Field<'_>) -> Result<Duration, Fault> {
    let every = field.seconds()?;
    match every < KEEPALIVE_MIN {
        true => Err(field.fault(format!("must be at least {} seconds", KEEPALIVE_MIN.as_secs_f64()))),
        false => Ok(every),
    }
}

/// `null`, or how many times to try again.
pub(super) fn retries(field: &Field<'_>) -> Result<Option<u32>, Fault> {
    field.or_null(|field| field.whole(0, u64::from(u32::MAX)).map(|retries| retries as u32))
}
