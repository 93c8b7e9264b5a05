//! What plays a process in tests: pipes in memory, an exit of its own choosing, signals that it hears.

use std::{io, os::unix::process::ExitStatusExt, process::ExitStatus, sync::Arc};

use rustix::process::Signal;
use tokio::{io::DuplexStream, sync::watch};

use super::process::{Pipes, Process};
use crate::name::ServerId;

/// Starts what plays the processes of a fleet.
pub(crate) type Stage = Arc<dyn Fn(&ServerId) -> io::Result<Entrance> + Send + Sync>;

/// The hub's ends of what was started.
pub(crate) struct Entrance {
    actor: Actor,
    stdin: DuplexStream,
    stdout: DuplexStream,
    stderr: DuplexStream,
}

/// The other ends. The process has exited when this is dropped.
pub(crate) struct Script {
    pub(crate) stdin: DuplexStream,
    pub(crate) stdout: DuplexStream,
    pub(crate) stderr: DuplexStream,
    /// The gravest signal so far.
    pub(crate) signals: watch::Receiver<Option<Signal>>,
    pub(crate) _exit: watch::Sender<()>,
}

#[derive(Debug)]
pub(in crate::upstream) struct Actor {
    number: u32,
    exit: watch::Receiver<()>,
    signals: watch::Sender<Option<Signal>>,
}

/// `number`: shown as its pid; `pipe_bytes`: what each pipe holds.
pub(crate) fn enter(number: u32, pipe_bytes: usize) -> (Entrance, Script) {
    let [(stdin, read), (stdout, write), (stderr, errors)] = std::array::from_fn(|_| tokio::io::duplex(pipe_bytes));
    let (exit, exited) = watch::channel(());
    let (signals, heard) = watch::channel(None);
    let actor = Actor { number, exit: exited, signals };
    (Entrance { actor, stdin, stdout, stderr }, Script { stdin: read, stdout: write, stderr: errors, signals: heard, _exit: exit })
}

impl Entrance {
    pub(in crate::upstream) fn into_process(self) -> (Process, Pipes<DuplexStream, DuplexStream, DuplexStream>) {
        let Self { actor, stdin, stdout, stderr } = self;
        (Process::played(actor), Pipes { stdin, stdout, stderr })
    }
}

impl Actor {
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    pub(super) async fn wait(&mut self) -> ExitStatus {
        while self.exit.changed().await.is_ok() {}
        ExitStatus::from_raw(0)
    }

    pub(super) fn signal(&self, signal: Signal) {
        self.signals.send_if_modified(|heard| {
            let is_graver = *heard != Some(Signal::KILL) && *heard != Some(signal);
            if is_graver {
                *heard = Some(signal);
            }
            is_graver
        });
    }

    pub(super) fn is_gone(&self) -> bool {
        self.exit.has_changed().is_err()
    }
}
