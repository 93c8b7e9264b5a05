//! How a process ended, for people.

use std::{os::unix::process::ExitStatusExt, process::ExitStatus};

use rustix::process::Signal;

/// "exited with status 3", "was killed by SIGKILL".
pub(super) fn of(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(signal)) => format!("was killed by {}", name(signal)),
        (None, None) => "exited".to_owned(),
    }
}

/// "exited (status 3) during the handshake", "was killed (SIGKILL) during the handshake". Without a status it has only closed its pipe.
pub(super) fn in_handshake(status: Option<ExitStatus>) -> String {
    match status.map(|status| (status.code(), status.signal())) {
        Some((Some(code), _)) => format!("exited (status {code}) during the handshake"),
        Some((None, Some(signal))) => format!("was killed ({}) during the handshake", name(signal)),
        Some((None, None)) => "exited during the handshake".to_owned(),
        None => "closed its pipe during the handshake".to_owned(),
    }
}

fn name(signal: i32) -> String {
    const NAMED: [(Signal, &str); 14] = [
        (Signal::HUP, "SIGHUP"),
        (Signal::INT, "SIGINT"),
        (Signal::QUIT, "SIGQUIT"),
        (Signal::ILL, "SIGILL"),
        (Signal::TRAP, "SIGTRAP"),
        (Signal::ABORT, "SIGABRT"),
        (Signal::BUS, "SIGBUS"),
        (Signal::FPE, "SIGFPE"),
        (Signal::KILL, "SIGKILL"),
        (Signal::SEGV, "SIGSEGV"),
        (Signal::PIPE, "SIGPIPE"),
        (Signal::ALARM, "SIGALRM"),
        (Signal::TERM, "SIGTERM"),
        (Signal::SYS, "SIGSYS"),
    ];
    let named = NAMED.iter().find(|(known, _)| known.as_raw() == signal);
    named.map_or_else(|| format!("signal {signal}"), |(_, name)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_is_told_by_its_status_or_signal() {
        for (raw, told, early) in [
            (0, "exited with status 0", "exited (status 0) during the handshake"),
            (3 << 8, "exited with status 3", "exited (status 3) during the handshake"),
            (9, "was killed by SIGKILL", "was killed (SIGKILL) during the handshake"),
            (11, "was killed by SIGSEGV", "was killed (SIGSEGV) during the handshake"),
            (40, "was killed by signal 40", "was killed (signal 40) during the handshake"),
        ] {
            let status = ExitStatus::from_raw(raw);
            assert_eq!((of(status).as_str(), in_handshake(Some(status)).as_str()), (told, early));
        }
        assert_eq!(in_handshake(None), "closed its pipe during the handshake");
    }
}
