//! The demo servers are known elsewhere by shorter names for their tools; callers who bring these are understood.

use crate::config::{Launch, settings::Builtin};

/// Each short name and the tool that it means; none for servers other than ours.
pub(super) fn short_names(launch: &Launch) -> &'static [(&'static str, &'static str)] {
    match demo(launch) {
        Some(Builtin::Echo) => &[("echo", "echo_tool"), ("reverse", "reverse_tool")],
        Some(Builtin::Math) => &[("add", "add_tool"), ("multiply", "multiply_tool")],
        None => &[],
    }
}

fn demo(launch: &Launch) -> Option<Builtin> {
    match launch {
        Launch::Builtin(builtin) => Some(*builtin),
        Launch::Command { command, args, .. } => match (command.as_str(), args.first()?.as_str(), args.get(1)?.as_str()) {
            ("${mcpHub}", "demo", "echo") => Some(Builtin::Echo),
            ("${mcpHub}", "demo", "math") => Some(Builtin::Math),
            _ => None,
        },
        Launch::Remote(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_demo_servers_have_short_names() {
        let command = |command: &str, args: &[&str]| Launch::Command {
            command: command.into(),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            env: Default::default(),
            env_file: None,
            cwd: None,
        };
        for (launch, first) in [
            (Launch::Builtin(Builtin::Echo), Some("echo")),
            (Launch::Builtin(Builtin::Math), Some("add")),
            (command("${mcpHub}", &["demo", "math"]), Some("add")),
            (command("${mcpHub}", &["demo", "echo"]), Some("echo")),
            (command("${mcpHub}", &["demo"]), None),
            (command("npx", &["demo", "echo"]), None),
        ] {
            assert_eq!(short_names(&launch).first().map(|(name, _)| *name), first, "{launch:?}");
        }
    }
}
