//! What tells this process to end.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and SIGINT, one after the other.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// SIGHUP, where that ends it too.
    hangup: Option<Signal>,
    /// SIGTSTP, heard so that it does nothing.
    _pause: Option<Signal>,
}

impl Signals {
    pub(super) fn listen() -> Self {
        let listen = |kind| signal(kind).expect("a runtime with signals can listen for them");
        let (terminate, interrupt) = (listen(SignalKind::terminate()), listen(SignalKind::interrupt()));
        Self { terminate, interrupt, hangup: None, _pause: None }
    }

    /// Of a process that somebody's terminal started, and that others may use: the end of that terminal ends it in order, and no key
    /// pressed there holds it.
    pub(super) fn of_a_pipe() -> Self {
        let pause = signal(SignalKind::from_raw(rustix::process::Signal::TSTP.as_raw()));
        Self { hangup: signal(SignalKind::hangup()).ok(), _pause: pause.ok(), ..Self::listen() }
    }

    pub(super) async fn next(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => _ = hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            () = hangup => {}
        }
    }
}
