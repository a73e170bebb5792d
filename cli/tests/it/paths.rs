//! Files that are named and not there: each flag that takes one says so in the same words.

use clap::{Command, CommandFactory as _};
use kipper_cli::Cli;

use crate::{function::run, support::folder};

/// A file that does not exist.
const GONE: &str = "no/such/file.js";
/// How the command line names arguments that are files of this machine.
const FILES: [&str; 3] = ["PATH", "FILE", "FOLDER"];
/// Arguments whose value is named like that and is something else: a path of a URL or in a pod; a
/// program, or a folder, that is made; a kubeconfig, which has words of its own.
const OTHERS: [&str; 4] = ["function invoke path", "volume", "man folder", "kubeconfig"];

/// Every argument that is a file, as `function create code_file`.
fn arguments(command: &Command, above: &str, found: &mut Vec<String>) {
    for argument in command.get_arguments() {
        let names = argument.get_value_names().unwrap_or_default();
        let is_file = names.iter().any(|name| FILES.iter().any(|file| name.contains(file)));
        let name = format!("{above}{}", argument.get_id());
        if is_file
            && !OTHERS.iter().any(|other| name == *other || name.ends_with(&format!(" {other}")))
        {
            found.push(name);
        }
    }
    for below in command.get_subcommands() {
        arguments(below, &format!("{above}{} ", below.get_name()), found);
    }
}

#[test]
fn a_file_that_is_not_there_is_told_in_one_way() {
    let home = folder(&[("hello.js", "module.exports = async () => 'hello'\n")]);
    let create: &[&str] = &["function", "create", "hello", "--dry-run=client"];
    let code: &[&str] =
        &["function", "create", "hello", "--code-file=hello.js", "--dry-run=client"];
    let update: &[&str] = &["function", "update", "hello"];
    let database: &[&str] = &["service", "create", "db", "--type=postgres", "--host=h"];
    let bucket: &[&str] =
        &["service", "create", "b", "--type=minio", "--endpoint=http://h", "--access-key=a"];
    let user: &[&str] = &["--username=u"];
    let ai: &[&str] =
        &["--ai-provider=ollama", "--ai-url=http://h", "--ai-model=m", "--ai-key-file", GONE];
    let cases: &[(&str, Vec<&[&str]>)] = &[
        ("console ai_key_file", vec![&["console"], ai]),
        ("dev ai_key_file", vec![&["dev", "hello.js", "--port=0", "--console-port=0"], ai]),
        ("function ask ai_key_file", vec![&["function", "ask", "f", "why"], ai]),
        ("function ask file", vec![&["function", "ask", "f", "why", "--file", GONE]]),
        ("dev sources", vec![&["dev", GONE]]),
        ("dev env_file", vec![&["dev", "hello.js", "--env-file", GONE]]),
        ("dev source_ca", vec![&["dev", "hello.js", "--source-ca", GONE]]),
        ("function create code_file", vec![create, &["--code-file", GONE]]),
        ("function create env_file", vec![code, &["--env-file", GONE]]),
        ("function create npmrc", vec![code, &["--npmrc", GONE]]),
        ("function create secret_file", vec![&code[..4], &["--secret-file", "A=no/such/file.js"]]),
        ("function apply file", vec![&["function", "apply", "-f", GONE]]),
        ("function diff file", vec![&["function", "diff", "-f", GONE]]),
        ("function update code_file", vec![update, &["--code-file", GONE]]),
        ("function update env_file", vec![update, &["--env-file", GONE]]),
        ("function update npmrc", vec![update, &["--npmrc", GONE]]),
        ("function invoke file", vec![&["function", "invoke", "hello", "--file", GONE]]),
        ("function env set env_file", vec![&["function", "env", "set", "f", "--env-file", GONE]]),
        (
            "function secret set from_file",
            vec![&["function", "secret", "set", "f", "A", "--from-file", GONE]],
        ),
        ("service create url_file", vec![&["service", "create", "db", "--url-file", GONE]]),
        ("service create password_file", vec![database, user, &["--password-file", GONE]]),
        ("service create secret_key_file", vec![bucket, &["--secret-key-file", GONE]]),
        (
            "service create ca_file",
            vec![bucket, &["--secret-key-file=hello.js", "--ca-file", GONE]],
        ),
        ("service update url_file", vec![&["service", "update", "db", "--url-file", GONE]]),
        (
            "service update password_file",
            vec![&["service", "update", "db", "--password-file", GONE]],
        ),
        (
            "service update secret_key_file",
            vec![&["service", "update", "b", "--secret-key-file", GONE]],
        ),
        ("service update ca_file", vec![&["service", "update", "b", "--ca-file", GONE]]),
    ];
    let mut known = Vec::new();
    arguments(&Cli::command(), "", &mut known);
    known.sort();
    let mut tested: Vec<_> = cases.iter().map(|(name, _)| (*name).to_owned()).collect();
    tested.sort();
    assert_eq!(tested, known);
    for (name, flags) in cases {
        let (code, _, stderr) = run(home.path(), &[], &flags.concat());
        assert_ne!(code, 0, "{name}");
        let error = stderr.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
        let times = |text: &str| stderr.matches(text).count();
        assert!(error.contains(GONE), "{name}: {stderr}");
        assert!(error.ends_with(": No such file or directory"), "{name}: {stderr}");
        assert_eq!((times("No such file"), times("os error")), (1, 0), "{name}: {stderr}");
    }
}
