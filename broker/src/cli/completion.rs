//! `reveille completion`: scripts that let a shell complete sub-commands and flags.

use std::fmt::Write as _;
use std::io::Write;

use clap::{Command, ValueEnum};

use super::fault::Fault;

/// Shells that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Shell {
    /// source <(reveille completion bash)
    Bash,
    /// source <(reveille completion zsh)
    Zsh,
    /// reveille completion fish | source
    Fish,
}

/// `completion`
#[derive(Debug, clap::Args)]
pub(super) struct CompletionArgs {
    /// For which shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script for a shell.
pub(super) fn run(args: &CompletionArgs, mut command: Command, out: &mut impl Write) -> Result<(), Fault> {
    command.build();
    let script = match args.shell {
        Shell::Bash => bash(&command),
        Shell::Zsh => format!(
            "autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n{}",
            bash(&command)
        ),
        Shell::Fish => fish(&command),
    };
    out.write_all(script.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// A command with the words that lead to it.
fn walk<'a>(command: &'a Command, path: &[&'a str], found: &mut Vec<(Vec<&'a str>, &'a Command)>) {
    let path: Vec<&str> = path.iter().copied().chain([command.get_name()]).collect();
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help" && !sub.is_hide_set()) {
        walk(sub, &path, found);
    }
    found.push((path, command));
}

fn flags(command: &Command) -> impl Iterator<Item = &clap::Arg> {
    command.get_arguments().filter(|arg| arg.get_long().is_some() && !arg.is_hide_set())
}

fn all(command: &Command) -> Vec<(Vec<&str>, &Command)> {
    let mut found = Vec::new();
    walk(command, &[], &mut found);
    found
}

fn bash(command: &Command) -> String {
    let commands = all(command);
    let mut paths = String::new();
    let mut words = String::new();
    for (path, command) in &commands {
        let path = path.join(" ");
        if path.contains(' ') {
            let _ = writeln!(paths, "      \"{path}\") path=\"{path}\" ;;");
        }
        let subs = command.get_subcommands().map(|sub| sub.get_name().to_owned());
        let flags = flags(command).filter_map(|arg| arg.get_long()).map(|flag| format!("--{flag}"));
        let list: Vec<_> = subs.chain(flags).collect();
        let _ = writeln!(words, "    \"{path}\") words=\"{}\" ;;", list.join(" "));
    }
    let name = command.get_name();
    format!(
        "_{name}() {{\n  local cur=\"${{COMP_WORDS[COMP_CWORD]}}\" path=\"{name}\" word words=\"\"\n  \
         for word in \"${{COMP_WORDS[@]:1:COMP_CWORD-1}}\"; do\n    case \"$path $word\" in\n{paths}    esac\n  done\n  \
         case \"$path\" in\n{words}  esac\n  COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n}}\n\
         complete -o default -F _{name} {name}\n"
    )
}

fn fish(command: &Command) -> String {
    let quote = |text: &str| text.replace('\\', "\\\\").replace('\'', "\\'");
    let mut script = String::new();
    let name = command.get_name();
    for (path, command) in all(command) {
        let seen: Vec<_> = path.iter().skip(1).map(|word| format!("__fish_seen_subcommand_from {word}")).collect();
        let subs: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
        let mut conditions = seen;
        let below = format!("not __fish_seen_subcommand_from {}", subs.join(" "));
        if !subs.is_empty() {
            conditions.push(below);
        }
        let condition = conditions.join("; and ");
        for sub in command.get_subcommands() {
            let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
            let _ =
                writeln!(script, "complete -c {name} -f -n '{condition}' -a {} -d '{}'", sub.get_name(), quote(&about));
        }
        for arg in flags(command) {
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            let long = arg.get_long().unwrap_or_default();
            let _ = writeln!(script, "complete -c {name} -n '{condition}' -l {long} -d '{}'", quote(&help));
        }
    }
    script
}
