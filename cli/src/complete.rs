//! Completion of names that only a cluster knows: functions, services, volumes, namespaces.
//!
//! The shell's script (`shell`) asks this command itself, with the words of the line behind `--`; what
//! subcommands and flags there are is clap's to say. Which arguments are a name is told once, for the
//! whole tree, by what they are called. A cluster that does not answer in time completes nothing, and
//! nothing is ever printed but candidates.

use std::{sync::mpsc, thread, time::Duration};

use clap::{Arg, ArgMatches, Command, FromArgMatches as _};
use clap_complete::{
    CompleteEnv,
    engine::{ArgValueCandidates, CompletionCandidate},
};
use kipper_client::{Connection, connect, names};

use crate::settings::ScopeArgs;

/// Makes the command line.
type Line = fn() -> Command;

/// Variable by which a shell's script asks for completions, and says which shell it is.
pub(crate) const VARIABLE: &str = "KIP_COMPLETE";
/// How long a person who pressed the tabulator waits at the most.
const PATIENCE: Duration = Duration::from_secs(2);

/// Answers a shell that asks for completions of this command line, and ends the process; returns where
/// none does.
pub(crate) fn answer(line: Line) {
    let factory = || with_names(line);
    CompleteEnv::with_factory(factory).var(VARIABLE).bin("kip").completer("kip").complete();
}

/// The command line, with candidates for the names in it.
fn with_names(line: Line) -> Command {
    line().mut_subcommands(|part| match part.get_name() {
        "function" => named(part, Kind::Function, line),
        "service" => named(part, Kind::Service, line),
        "volume" => named(part, Kind::Volume, line),
        _ => part,
    })
}

/// What a name may be one of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Function,
    Service,
    Volume,
    Namespace,
    Context,
}

/// A part of the command line whose `name` and `names` are those of `kind`, at any depth.
fn named(part: Command, kind: Kind, line: Line) -> Command {
    // The name of something new is nobody's yet; a function may be created again.
    let is_new = part.get_name() == "create" && kind != Kind::Function;
    let part = part.mut_args(|arg| match kind_of(&arg, kind) {
        Some(kind) if !is_new || !arg.is_positional() => {
            arg.add(ArgValueCandidates::new(move || candidates(kind, line)))
        }
        _ => arg,
    });
    part.mut_subcommands(|part| named(part, kind, line))
}

/// What an argument of a part about `kind` is the name of.
fn kind_of(arg: &Arg, kind: Kind) -> Option<Kind> {
    match (arg.get_id().as_str(), arg.is_positional()) {
        ("name" | "names", true) => Some(kind),
        ("service", true) | ("source" | "bind", false) => Some(Kind::Service),
        ("namespace", false) => Some(Kind::Namespace),
        ("context", false) => Some(Kind::Context),
        _ => None,
    }
}

/// Names of that kind where the line says, or none where the cluster does not answer.
fn candidates(kind: Kind, line: Line) -> Vec<CompletionCandidate> {
    let scope = scope(line, &words());
    let (sender, receiver) = mpsc::channel();
    // Not a task: a program that the kubeconfig names for credentials blocks its thread.
    let looked = thread::Builder::new().spawn(move || {
        // Nobody waits for it any more where this fails.
        let _ = sender.send(found(kind, &scope));
    });
    let found = looked.ok().and_then(|_| receiver.recv_timeout(PATIENCE).ok()).flatten();
    found.unwrap_or_default().into_iter().map(CompletionCandidate::new).collect()
}

fn found(kind: Kind, scope: &ScopeArgs) -> Option<Vec<String>> {
    let target = scope.settings().ok()?.target;
    if kind == Kind::Context {
        return connect::contexts(&target).ok();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    runtime.block_on(async {
        let connection: Connection = connect::connect(&target).await.ok()?;
        match kind {
            Kind::Function => names::functions(&connection).await.ok(),
            Kind::Service => names::services(&connection).await.ok(),
            Kind::Volume => names::volumes(&connection).await.ok(),
            Kind::Namespace => names::namespaces(&connection).await.ok(),
            Kind::Context => None,
        }
    })
}

/// The words of the line that is completed.
fn words() -> Vec<String> {
    let words = std::env::args_os().skip_while(|word| word != "--").skip(1);
    words.map(|word| word.to_string_lossy().into_owned()).collect()
}

/// Which cluster an unfinished line means.
fn scope(line: Line, words: &[String]) -> ScopeArgs {
    let Ok(matches) = line().ignore_errors(true).try_get_matches_from(words) else {
        return ScopeArgs::default();
    };
    let mut deepest: &ArgMatches = &matches;
    while let Some((_, matches)) = deepest.subcommand() {
        deepest = matches;
    }
    ScopeArgs::from_arg_matches(deepest).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn an_unfinished_line_says_which_cluster_is_meant() {
        let scope = |line: &str| {
            let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
            scope(crate::Cli::command, &words)
        };
        let namespace = |line: &str| scope(line).namespace;
        assert_eq!(namespace("kip function describe -n shop "), Some("shop".to_owned()));
        assert_eq!(namespace("kip -n shop"), None);
        assert_eq!(namespace("kip function -n shop env set "), Some("shop".to_owned()));
        assert_eq!(namespace("kip function logs --namespace=shop h"), Some("shop".to_owned()));
        assert_eq!(namespace("kip function invoke"), None);
        let scope = scope("kip fn delete --context two --kubeconfig k ");
        assert_eq!(scope.context.as_deref(), Some("two"));
        assert_eq!(scope.kubeconfig.as_deref(), Some("k"));
    }

    /// Every command about something that is there completes its name.
    #[test]
    fn what_is_called_a_name_has_candidates() {
        fn check(part: &Command, path: &str, missing: &mut Vec<String>) {
            for arg in part.get_positionals() {
                let is_name = matches!(arg.get_id().as_str(), "name" | "names" | "service");
                if is_name && arg.get::<ArgValueCandidates>().is_none() {
                    missing.push(path.to_owned());
                }
            }
            for part in part.get_subcommands() {
                check(part, &format!("{path} {}", part.get_name()), missing);
            }
        }
        let mut missing = Vec::new();
        check(&with_names(crate::Cli::command), "kip", &mut missing);
        assert_eq!(missing, ["kip service create", "kip volume create"]);
    }
}
