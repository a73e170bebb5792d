//! How a process begins and ends on the command line.
//!
//! Usage errors are one line on stderr and exit code 64 (`EX_USAGE` of `sysexits.h`), before any
//! port is bound; any other failure is one line with its whole chain of causes and exit code 1.
//! Nothing here logs: both ends of a process happen outside its telemetry.

use std::{borrow::Cow, fmt, process::ExitCode};

use clap::error::ErrorKind;

/// Exit code of a usage or configuration error, `EX_USAGE` of `sysexits.h`.
pub const USAGE_EXIT_CODE: u8 = 64;

/// A configuration that clap accepted value by value but that makes no sense as a whole.
///
/// Anywhere in the chain of the error given to [`main_result`], it turns the exit code into
/// [`USAGE_EXIT_CODE`].
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

impl UsageError {
    /// Builds the error from anything printable.
    pub fn new(message: impl fmt::Display) -> Self {
        Self(message.to_string())
    }
}

/// Parses the command line and environment into `C`, or ends the process.
///
/// `--help` and `--version` print to stdout and exit 0. A usage error prints one line to stderr
/// and exits [`USAGE_EXIT_CODE`]; a bare command that needs a subcommand prints its help instead.
pub fn parse<C: clap::Parser>() -> C {
    C::try_parse().unwrap_or_else(|error| {
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                // A closed stdout (`--help | head`) is no failure.
                let _ = error.print();
                std::process::exit(0);
            }
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => eprintln!("{}", error.render()),
            _ => eprintln!("{}", one_line(&error)),
        }
        std::process::exit(i32::from(USAGE_EXIT_CODE))
    })
}

/// What `main` returns: success, or one line on stderr and the matching exit code.
pub fn main_result(result: Result<(), anyhow::Error>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", join_lines(&chain(&error)));
            exit_code(&error)
        }
    }
}

fn exit_code(error: &anyhow::Error) -> ExitCode {
    if error.chain().any(|cause| cause.is::<UsageError>()) {
        ExitCode::from(USAGE_EXIT_CODE)
    } else {
        ExitCode::FAILURE
    }
}

/// The chain of causes joined by `": "`, in words for people ([`plain`]).
///
/// A cause whose text its parent already ends with is left out: many libraries print their source
/// inside their own message, and saying it twice helps nobody.
pub fn chain(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        let text = plain(&text);
        if line.ends_with(&*text) {
            continue;
        }
        if !line.is_empty() {
            line.push_str(": ");
        }
        line.push_str(&text);
    }
    line
}

/// What the standard library puts behind the words of the operating system, up to the number.
const CODE: &str = " (os error ";

/// A message without the numbers of errors of the operating system: `No such file or directory (os
/// error 2)` says it all before them.
pub fn plain(text: &str) -> Cow<'_, str> {
    let mut parts = text.split(CODE);
    let first = parts.next().unwrap_or_default();
    let mut shown = Cow::Borrowed(first);
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        let shown = shown.to_mut();
        match rest.strip_prefix(')').filter(|_| rest.len() < part.len()) {
            Some(rest) => shown.push_str(rest),
            None => shown.extend([CODE, part]),
        }
    }
    shown
}

/// Clap's message without its usage block and footer, on one line.
fn one_line(error: &clap::Error) -> String {
    let rendered = error.render().to_string();
    let message: Vec<&str> = rendered
        .lines()
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .collect();
    join_lines(&message.join("\n"))
}

fn join_lines(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use anyhow::Context as _;
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Example {
        #[arg(long)]
        listen: std::net::SocketAddr,
        #[arg(long)]
        name: String,
    }

    fn usage_line(args: &[&str]) -> String {
        one_line(&Example::try_parse_from(args).unwrap_err())
    }

    #[test]
    fn usage_errors_are_one_line() {
        assert_eq!(
            usage_line(&["p", "--listen", "nowhere", "--name", "x"]),
            "error: invalid value 'nowhere' for '--listen <LISTEN>': invalid socket address syntax"
        );
        assert_eq!(
            usage_line(&["p"]),
            "error: the following required arguments were not provided: --listen <LISTEN> --name <NAME>"
        );
        assert_eq!(
            usage_line(&["p", "--lisen", "127.0.0.1:0"]),
            "error: unexpected argument '--lisen' found tip: a similar argument exists: '--listen'"
        );
    }

    #[test]
    fn the_chain_is_joined_and_never_repeats_itself() {
        let io = std::io::Error::other("address\nin use");
        let error = Err::<(), _>(io).context("bind 0.0.0.0:80").context("start admin").unwrap_err();
        let line = join_lines(&chain(&error));
        assert_eq!(line, "start admin: bind 0.0.0.0:80: address in use");

        let doubled = anyhow::anyhow!("cause").context("outer: cause");
        assert_eq!(chain(&doubled), "outer: cause");
    }

    #[test]
    fn errors_of_the_system_have_no_numbers() {
        for (text, expected) in [
            ("a: No such file or directory (os error 2)", "a: No such file or directory"),
            ("x (os error 2), y (os error -1) (os error 13)", "x, y (os error -1)"),
            ("x (os error )", "x (os error )"),
            ("x (os error 2", "x (os error 2"),
            ("", ""),
        ] {
            assert_eq!(plain(text), expected);
        }
        let missing = std::io::Error::from_raw_os_error(2);
        let told = format!("cannot read a: {missing}");
        let error = Err::<(), _>(missing).context(told).unwrap_err();
        assert_eq!(chain(&error), "cannot read a: No such file or directory");
    }

    #[test]
    fn a_usage_error_anywhere_in_the_chain_decides_the_exit_code() {
        let usage =
            anyhow::Error::new(UsageError::new("two sources")).context("read configuration");
        assert_eq!(exit_code(&usage), ExitCode::from(64));
        assert_eq!(exit_code(&anyhow::anyhow!("boom")), ExitCode::FAILURE);
    }
}
