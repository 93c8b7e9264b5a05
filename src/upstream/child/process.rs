//! One process in a group of its own, and the order in which it is stopped.
//!
//! `npx`, `uvx` and shells wrap the real server, so every signal goes to the whole group, and what is left of the group when its
//! leader has exited is killed. Processes that leave the group (`setsid`) are not followed.

use std::{
    collections::HashSet,
    io,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustix::process::{Pid, Signal, WaitOptions, kill_process_group, test_kill_process_group, waitpgid};
use tokio::{
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    time::{sleep, timeout},
};

use crate::{config::placeholder::Program, limits};

/// Large answers cross in one read; unprivileged users may not get it, and then the default of the system stays.
#[cfg(target_os = "linux")]
const PIPE_BYTES: usize = 1 << 20;
/// How long the killed rest of a group may take to disappear before it is left to the system.
const GONE_POLL: Duration = Duration::from_millis(5);
const GONE_POLLS: u32 = 40;

/// Every group alive, so that all can be killed at once.
#[derive(Clone, Debug, Default)]
pub(in crate::upstream) struct Groups(Arc<Mutex<HashSet<Pid>>>);

impl Groups {
    pub(in crate::upstream) fn kill_all(&self) {
        for pid in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let _ = kill_process_group(*pid, Signal::KILL);
        }
    }

    fn add(&self, pid: Pid) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(pid);
    }

    fn remove(&self, pid: Pid) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&pid);
    }
}

/// Dropping it kills the whole group.
#[derive(Debug)]
pub(in crate::upstream) struct Process {
    leader: Leader,
    groups: Groups,
    exited: bool,
}

#[derive(Debug)]
enum Leader {
    Child(Child, Pid),
    #[cfg(test)]
    Actor(super::actor::Actor),
}

#[derive(Debug)]
pub(in crate::upstream) struct Pipes<Stdin = ChildStdin, Stdout = ChildStdout, Stderr = ChildStderr> {
    pub(in crate::upstream) stdin: Stdin,
    pub(in crate::upstream) stdout: Stdout,
    pub(in crate::upstream) stderr: Stderr,
}

impl Process {
    /// # Errors
    /// The program cannot be run.
    pub(in crate::upstream) fn spawn(resolved: &Program, groups: &Groups) -> io::Result<(Self, Pipes)> {
        let mut command = Command::new(&resolved.command);
        command.args(&resolved.args).env_clear().envs(&resolved.env).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(cwd) = &resolved.cwd {
            command.current_dir(cwd);
        }
        let mut child = command.spawn()?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(pid), (Some(stdin), Some(stdout), Some(stderr))) = (pid, pipes) else {
            return Err(io::Error::other("a new process came without its pid or pipes"));
        };
        groups.add(pid);
        #[cfg(target_os = "linux")]
        {
            let _ = rustix::pipe::fcntl_setpipe_size(&stdin, PIPE_BYTES);
            let _ = rustix::pipe::fcntl_setpipe_size(&stdout, PIPE_BYTES);
        }
        Ok((Self { leader: Leader::Child(child, pid), groups: groups.clone(), exited: false }, Pipes { stdin, stdout, stderr }))
    }

    #[cfg(test)]
    pub(in crate::upstream) fn played(actor: super::actor::Actor) -> Self {
        Self { leader: Leader::Actor(actor), groups: Groups::default(), exited: false }
    }

    pub(in crate::upstream) fn id(&self) -> u32 {
        match &self.leader {
            Leader::Child(_, pid) => pid.as_raw_nonzero().get().unsigned_abs(),
            #[cfg(test)]
            Leader::Actor(actor) => actor.number(),
        }
    }

    /// Resolves when the leader has exited and the rest of its group was told to die. Cancel-safe.
    pub(in crate::upstream) async fn exited(&mut self) -> Option<ExitStatus> {
        let status = self.leader.wait().await.ok();
        // At once: a number is not given out again this soon, and nobody of the group shall outlive its leader.
        self.kill();
        status
    }

    /// After its stdin was closed: waits, asks, insists. Returns when the group is gone; `patience` is for waiting and asking together.
    pub(in crate::upstream) async fn stop(mut self, patience: Duration) {
        let whole = limits::STOP_STDIN + limits::STOP_TERM;
        let for_stdin = patience.mul_f64(limits::STOP_STDIN.as_secs_f64() / whole.as_secs_f64());
        if !self.exits_within(for_stdin).await {
            self.signal(Signal::TERM);
            if !self.exits_within(patience.saturating_sub(for_stdin)).await {
                self.signal(Signal::KILL);
            }
        }
        self.kill_and_wait().await;
    }

    /// Kills the group, reaps the leader, and waits a little for the others.
    pub(in crate::upstream) async fn kill_and_wait(mut self) {
        self.signal(Signal::KILL);
        self.exits_within(limits::STOP_TERM).await;
        for _ in 0..GONE_POLLS {
            if self.leader.is_group_gone() {
                return;
            }
            sleep(GONE_POLL).await;
        }
    }

    async fn exits_within(&mut self, wait: Duration) -> bool {
        self.exited || timeout(wait, self.exited()).await.is_ok()
    }

    fn signal(&self, signal: Signal) {
        if !self.exited {
            self.leader.signal(signal);
        }
    }

    fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.exited = true;
        self.leader.leave(&self.groups);
    }
}

impl Leader {
    async fn wait(&mut self) -> io::Result<ExitStatus> {
        match self {
            Self::Child(child, _) => child.wait().await,
            #[cfg(test)]
            Self::Actor(actor) => Ok(actor.wait().await),
        }
    }

    fn signal(&self, signal: Signal) {
        match self {
            Self::Child(_, pid) => _ = kill_process_group(*pid, signal),
            #[cfg(test)]
            Self::Actor(actor) => actor.signal(signal),
        }
    }

    /// Once the leader has been reaped.
    fn is_group_gone(&self) -> bool {
        match self {
            Self::Child(_, pid) => {
                // Orphans of the group are ours to reap where the hub is the first process of a container.
                while let Ok(Some(_)) = waitpgid(*pid, WaitOptions::NOHANG) {}
                test_kill_process_group(*pid).is_err()
            }
            #[cfg(test)]
            Self::Actor(actor) => actor.is_gone(),
        }
    }

    fn leave(&self, groups: &Groups) {
        match self {
            Self::Child(_, pid) => groups.remove(*pid),
            #[cfg(test)]
            Self::Actor(_) => {}
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.exited {
            self.kill();
        }
    }
}
