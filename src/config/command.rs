//! `${cmd:}`: one short command of the operator's, its output, and no process left.

use std::{
    collections::BTreeMap,
    io::{self, Read},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};

/// How long a command may take.
const COMMAND_WAIT: Duration = Duration::from_secs(30);

/// Trimmed output of `sh -c line`. Blocks, 30 s at most. The error says how it went wrong, never what was written.
pub(super) fn output(line: &str, vars: &BTreeMap<String, String>, cwd: &Path, bytes_max: usize) -> Result<String, String> {
    output_within(line, vars, cwd, bytes_max, COMMAND_WAIT)
}

fn output_within(line: &str, vars: &BTreeMap<String, String>, cwd: &Path, bytes_max: usize, wait: Duration) -> Result<String, String> {
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(line).env_clear().envs(vars).current_dir(cwd).process_group(0);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let child = child.map_err(|error| format!("cannot be started: {error}"))?;
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let (done, finished) = mpsc::sync_channel(1);
    thread::spawn(move || done.send(read_and_wait(child, bytes_max)));
    let ended = finished.recv_timeout(wait);
    if let Some(group) = group {
        // Whatever the command left behind goes with it; when nothing is left, there is no such group.
        let _ = kill_process_group(group, Signal::KILL);
    }
    let (bytes, status) =
        ended.map_err(|_| format!("took longer than {} s", wait.as_secs()))?.map_err(|error| format!("failed: {error}"))?;
    if !status.success() {
        return Err(format!("failed: {status}"));
    }
    if bytes.len() > bytes_max {
        return Err("wrote too much".to_owned());
    }
    let text = String::from_utf8(bytes).map_err(|_| "wrote something other than UTF-8".to_owned())?;
    Ok(text.trim().to_owned())
}

fn read_and_wait(mut child: Child, bytes_max: usize) -> io::Result<(Vec<u8>, ExitStatus)> {
    let mut bytes = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        // Dropping the pipe after this stops a writer that goes on.
        stdout.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    }
    Ok((bytes, child.wait()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(line: &str, wait: Duration) -> Result<String, String> {
        let vars = BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned()), ("A".to_owned(), "x".to_owned())]);
        output_within(line, &vars, Path::new("/"), 1000, wait)
    }

    #[test]
    fn output_is_trimmed_and_failure_is_told() {
        let long = Duration::from_secs(20);
        assert_eq!(run("echo \"  $A$HOME \"; pwd", long).unwrap(), "x \n/");
        assert_eq!(run("echo secret; exit 3", long).unwrap_err(), "failed: exit status: 3");
        assert!(run("no-such-command-anywhere", long).is_err());
        assert_eq!(run("head -c 1001 /dev/zero", long).unwrap_err(), "wrote too much");
        assert!(run("printf '\\377'", long).unwrap_err().contains("UTF-8"));
    }

    #[test]
    fn a_command_that_hangs_is_killed_with_all_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
        let reader = pipe.clone();
        let silent = thread::spawn(move || io::read_to_string(std::fs::File::open(reader).unwrap()).unwrap());
        let line = format!("exec 3>'{}'; sleep 1000 & sleep 1000", pipe.display());
        assert_eq!(run(&line, Duration::from_millis(500)).unwrap_err(), "took longer than 0 s");
        // Both held the other end open: this ends because both are gone.
        assert_eq!(silent.join().unwrap(), "");
    }
}
