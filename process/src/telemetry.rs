//! The log of a process: the shared `--log-level` and `--log-format` flags and their set-up.
//!
//! Runs once, before anything else may log. Lines go to stderr, so that stdout stays free for what
//! a command is asked to print. Nothing here decides what is logged; the stages do.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::IsTerminal,
};

use clap::{Args, ValueEnum};
use tracing_subscriber::{
    EnvFilter,
    filter::ParseError,
    fmt::{MakeWriter, SubscriberBuilder},
    util::SubscriberInitExt,
};

/// The flags every process offers for its log.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Logging")]
pub struct LogArgs {
    /// What to log: a level, or `target=level` directives separated by commas
    #[arg(
        long,
        env = "KIPPER_LOG",
        value_name = "FILTER",
        default_value = "info",
        value_parser = checked_filter
    )]
    pub log_level: String,

    /// How to write a log line
    #[arg(long, env = "KIPPER_LOG_FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,
}

impl Default for LogArgs {
    fn default() -> Self {
        Self { log_level: "info".to_owned(), log_format: LogFormat::default() }
    }
}

/// How a log line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One compact line per event, coloured on a terminal
    #[default]
    Text,
    /// One JSON object per line
    Json,
}

/// Why the log could not be started.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter does not parse. Cannot happen for a [`LogArgs`] that clap built.
    #[error("invalid log filter")]
    Filter(#[from] ParseError),
    /// A log was started before in this process.
    #[error("the log was already started")]
    AlreadyStarted(#[from] tracing_subscriber::util::TryInitError),
}

/// Starts the log of this process and sends panics through it.
///
/// # Errors
/// When the filter does not parse or a log was started before.
pub fn init(args: &LogArgs) -> Result<(), TelemetryError> {
    let colour = std::io::stderr().is_terminal() && !no_colour(std::env::var_os("NO_COLOR"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(&args.log_level)?)
        .with_writer(std::io::stderr);
    start(builder, args.log_format, colour)?;
    log_panics();
    Ok(())
}

fn start<W>(
    builder: SubscriberBuilder<
        tracing_subscriber::fmt::format::DefaultFields,
        tracing_subscriber::fmt::format::Format,
        EnvFilter,
        W,
    >,
    format: LogFormat,
    colour: bool,
) -> Result<(), TelemetryError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    match format {
        LogFormat::Text => builder.with_ansi(colour).compact().finish().try_init()?,
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init()?,
    }
    Ok(())
}

fn filter(directives: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::builder().parse(directives)
}

fn checked_filter(directives: &str) -> Result<String, ParseError> {
    filter(directives).map(|_| directives.to_owned())
}

/// The `NO_COLOR` convention: any non-empty value switches colour off.
fn no_colour(value: Option<std::ffi::OsString>) -> bool {
    value.is_some_and(|value| !value.is_empty())
}

/// A panic becomes one log event instead of several bare lines, which would break a JSON log.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("panic of an unknown type");
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        let backtrace = Backtrace::capture();
        match backtrace.status() {
            BacktraceStatus::Captured => {
                tracing::error!(%location, %backtrace, "panicked: {message}");
            }
            _ => tracing::error!(%location, "panicked: {message}"),
        }
    }));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Example {
        #[command(flatten)]
        log: LogArgs,
    }

    #[test]
    fn the_defaults_are_text_at_info() {
        let example = Example::try_parse_from(["p"]).unwrap();
        assert_eq!(example.log.log_level, "info");
        assert_eq!(example.log.log_format, LogFormat::Text);
    }

    #[test]
    fn filters_are_checked_while_parsing() {
        for good in ["debug", "info,kipper_interceptor::queue=trace", "off"] {
            Example::try_parse_from(["p", "--log-level", good]).unwrap();
        }
        for bad in ["info,hyper=loud", "a=b=c"] {
            Example::try_parse_from(["p", "--log-level", bad]).unwrap_err();
        }
    }

    #[test]
    fn no_color_counts_only_with_a_value() {
        assert!(!no_colour(None));
        assert!(!no_colour(Some("".into())));
        assert!(no_colour(Some("1".into())));
    }
}
