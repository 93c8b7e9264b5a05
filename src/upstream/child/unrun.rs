//! Why a program could not be run, for whoever wrote its entry. Says its command and folder as they are written there, never what their
//! placeholders stand for, and no value of its environment.

use std::{io, path::Path};

use crate::config::{Launch, placeholder::Program};

/// What follows `cannot be run: `.
pub(in crate::upstream) fn why(launch: &Launch, program: &Program, error: &io::Error) -> String {
    let (command, cwd) = match launch {
        Launch::Command { command, cwd, .. } => (command.as_str(), cwd.as_deref().unwrap_or_default()),
        Launch::Builtin(_) | Launch::Remote(_) => ("mcp-hub", ""),
    };
    let from = program.cwd.as_deref().unwrap_or_else(|| Path::new(""));
    let is_path = program.command.components().nth(1).is_some();
    match error.kind() {
        // The same error, and for the same reason, whatever is to be run there.
        _ if program.cwd.as_ref().is_some_and(|cwd| !cwd.is_dir()) => format!("its cwd '{cwd}' is no folder"),
        io::ErrorKind::NotFound if !is_path && program.env.contains_key("PATH") => {
            format!("'{command}' is in no folder of its PATH; write its whole path, or set PATH in its \"env\"")
        }
        io::ErrorKind::NotFound if !is_path => format!("'{command}' cannot be looked for without a PATH; write its whole path"),
        io::ErrorKind::NotFound if from.join(&program.command).exists() => {
            format!("'{command}' is there, but not what its first line says it is to be run by")
        }
        _ => format!("'{command}': {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn the_command_is_told_as_it_is_written_and_where_it_was_looked_for() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("script");
        std::fs::write(&script, "#!/nowhere/at/all\n").unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        let plain = dir.path().join("plain");
        std::fs::write(&plain, "").unwrap();
        let path = || BTreeMap::from([("PATH".to_owned(), "/usr/bin:/s3cr3t".to_owned())]);
        for (command, cwd, env, said) in [
            (
                "no-such-program".as_ref(),
                None,
                path(),
                "'${WHAT}' is in no folder of its PATH; write its whole path, or set PATH in its \"env\"",
            ),
            ("no-such-program".as_ref(), None, BTreeMap::new(), "'${WHAT}' cannot be looked for without a PATH; write its whole path"),
            ("/s3cr3t/program".as_ref(), None, path(), "'${WHAT}': No such file or directory (os error 2)"),
            ("./program".as_ref(), Some(dir.path()), path(), "'${WHAT}': No such file or directory (os error 2)"),
            (script.as_path(), None, path(), "'${WHAT}' is there, but not what its first line says it is to be run by"),
            ("./script".as_ref(), Some(dir.path()), path(), "'${WHAT}' is there, but not what its first line says it is to be run by"),
            (plain.as_path(), None, path(), "'${WHAT}': Permission denied (os error 13)"),
            ("/bin/true".as_ref(), Some(Path::new("/s3cr3t/cwd")), path(), "its cwd '${WHERE}' is no folder"),
        ] {
            let program = Program { command: command.into(), args: Vec::new(), env, cwd: cwd.map(Into::into) };
            let mut run = std::process::Command::new(&program.command);
            run.env_clear().envs(&program.env);
            if let Some(cwd) = &program.cwd {
                run.current_dir(cwd);
            }
            let error = run.spawn().map(|_| ()).unwrap_err();
            let launch = Launch::Command {
                command: "${WHAT}".into(),
                args: Vec::new(),
                env: BTreeMap::new(),
                env_file: None,
                cwd: Some("${WHERE}".into()),
            };
            assert_eq!(why(&launch, &program, &error), said, "{command:?}");
        }
    }
}
