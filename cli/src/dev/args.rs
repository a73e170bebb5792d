//! The flags of `kip dev`.

use std::{collections::BTreeMap, fmt, net::IpAddr, path::PathBuf, time::Duration};

use clap::{ArgAction, Args as ClapArgs};
use kipper_function::function::TriggerKind;
use kipper_process::exit::plain;
use kipper_trigger::Setting;

use crate::{
    ai_args::AiArgs,
    env_flag::variable,
    trigger_flags::{self, CronArgs, EventArgs},
};

/// Shortest polling interval: below it the player would mostly measure itself.
const MIN_POLLING_INTERVAL: Duration = Duration::from_millis(100);
/// Longest of every duration: far beyond a working day, far below an overflow.
const MAX_DURATION: Duration = Duration::from_secs(30 * 24 * 3600);

/// Run functions on this machine, as a cluster would: from zero, up, and back to zero.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// A .js, .mjs, .cjs, .ts or .py file, the folder of a function, a .yaml file with Functions, or a
    /// folder of such files
    #[arg(required = true, value_name = "FILE|FOLDER")]
    pub sources: Vec<PathBuf>,

    /// Port to listen on; 0 picks a free one
    #[arg(long, default_value_t = 8080)]
    pub port: u16,

    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    pub host: IpAddr,

    /// Serve the web console
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_value_t = true,
        default_missing_value = "true",
        action = ArgAction::Set
    )]
    pub console: bool,

    /// Port of the console, on 127.0.0.1; 0 picks a free one [default: 8088, or a free one]
    #[arg(long, value_name = "PORT")]
    pub console_port: Option<u16>,

    /// Scale to zero after this time without a request [default: the function's own]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub idle_timeout: Option<Duration>,

    /// Environment variable for every function; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    pub env: Vec<(String, String)>,

    /// File with environment variables, a line NAME=VALUE each; --env overrides it; may be repeated
    #[arg(long, value_name = "PATH")]
    pub env_file: Vec<PathBuf>,

    /// URL of a source that a Function's event trigger names; may be repeated
    /// [env: KIPPER_SOURCE_<NAME>]
    #[arg(long, value_name = "NAME=URL", value_parser = source)]
    pub source: Vec<(String, SourceUrl)>,

    /// Certificate authority (PEM) of such a source; without a name, of sources given as a URL; may
    /// be repeated
    #[arg(long, value_name = "[NAME=]FILE", value_parser = authority)]
    pub source_ca: Vec<(String, PathBuf)>,

    /// Do not restart functions when their files change
    #[arg(long)]
    pub no_watch: bool,

    /// How often activity and metrics are polled (in a cluster: 30 s, for events 5 s)
    #[arg(long, value_name = "DURATION", value_parser = polling_interval, default_value = "1s")]
    pub polling_interval: Duration,

    /// How long the highest recommendation counts before scaling down (in a cluster: 5 min)
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "10s")]
    pub scale_down_window: Duration,

    /// How long running requests and events may take when a process stops
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "30s")]
    pub grace: Duration,

    /// Print a line per request
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_value_t = true,
        default_missing_value = "true",
        action = ArgAction::Set
    )]
    pub log_requests: bool,

    /// Node to use
    #[arg(long, value_name = "PROGRAM", default_value = "node")]
    pub node: PathBuf,

    /// Python to use
    #[arg(long, value_name = "PROGRAM", default_value = "python3")]
    pub python: PathBuf,

    /// The assistant's provider.
    #[command(flatten)]
    pub ai: AiArgs,

    /// The trigger of a code file; last, because its heading counts for what follows.
    #[command(flatten)]
    pub trigger: TriggerArgs,
}

/// URL of a source, with user and password. It is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SourceUrl(pub(crate) String);

impl fmt::Debug for SourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl From<&str> for SourceUrl {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// What `kip function create` calls the same, for a file that has no Function to say it in.
#[derive(Clone, Debug, Default, ClapArgs)]
#[command(next_help_heading = "Trigger of a code file")]
pub struct TriggerArgs {
    /// What invokes it: http, cron, postgres, mysql, redis or minio [default: http]
    #[arg(long, value_name = "TYPE", value_parser = trigger_flags::kind)]
    pub trigger: Option<TriggerKind>,

    /// What `kip function create` calls the same.
    #[command(flatten)]
    pub cron: CronArgs,

    /// URL of the event source, with user and password
    #[arg(long, value_name = "URL", env = "KIPPER_SOURCE_URL", hide_env_values = true)]
    pub source_url: Option<SourceUrl>,

    /// What `kip function create` calls the same.
    #[command(flatten)]
    pub events: EventArgs,
}

impl TriggerArgs {
    /// The first of these flags that was given, and the setting it is, if it is one; the URL may stand
    /// in the environment unasked.
    pub(crate) fn given(&self) -> Option<(&'static str, Option<&'static str>)> {
        let cron = self.cron.given().map(|flag| (flag, None));
        cron.or_else(|| self.settings().next().map(|(flag, setting)| (flag, Some(setting))))
    }

    /// Do the flags that were given go with a trigger of this kind?
    pub(crate) fn fit(&self, kind: TriggerKind) -> Result<(), String> {
        trigger_flags::fit(kind, self.cron.given(), self.settings())
    }

    /// Flags of settings that were given, with the settings' names.
    fn settings(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let given = self.events.settings().into_iter().filter(|(_, _, value)| value.is_some());
        given.map(|(flag, setting, _)| (flag, setting.name()))
    }

    /// A flag without which a trigger of this kind is none.
    pub(crate) fn missing(&self, kind: TriggerKind) -> Option<&'static str> {
        let Some(kind) = kind.event() else {
            let is_missing = kind == TriggerKind::Cron && self.cron.schedule.is_none();
            return is_missing.then_some("--schedule");
        };
        let is_missing = |setting: Setting| match setting {
            Setting::Source => self.source_url.is_none().then_some("--source-url"),
            setting => {
                let mut flags = self.events.settings().into_iter();
                flags
                    .find(|(_, it, value)| *it == setting && value.is_none())
                    .map(|(flag, ..)| flag)
            }
        };
        Setting::required(kind).iter().copied().find_map(is_missing)
    }

    /// They as a trigger's `config`.
    pub(crate) fn config(&self) -> BTreeMap<String, String> {
        let settings = self.events.settings().into_iter();
        let mut config: BTreeMap<String, String> = settings
            .filter_map(|(_, setting, value)| Some((setting.name().to_owned(), value.clone()?)))
            .collect();
        let source = self.source_url.iter().map(|url| url.0.clone());
        config.extend(source.map(|url| (Setting::Source.name().to_owned(), url)));
        config
    }
}

fn source(text: &str) -> Result<(String, SourceUrl), String> {
    let (name, url) = text.split_once('=').ok_or("expected NAME=URL")?;
    if name.is_empty() || !url.contains("://") {
        return Err("expected NAME=URL".to_owned());
    }
    Ok((name.to_owned(), url.into()))
}

/// A name has no slash, so that any file can be given as a path.
fn authority(text: &str) -> Result<(String, PathBuf), String> {
    let named = text.split_once('=').filter(|(name, _)| !name.contains('/'));
    let (name, file) = named.unwrap_or(("", text));
    // Whoever uses it reads it; here the user learns at once that it cannot be read.
    std::fs::read_to_string(file).map_err(|error| plain(&error.to_string()).into_owned())?;
    Ok((name.to_owned(), file.into()))
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = crate::duration::parse(text)?;
    if duration > MAX_DURATION {
        return Err("must be at most 30 days".to_owned());
    }
    Ok(duration)
}

fn polling_interval(text: &str) -> Result<Duration, String> {
    let interval = duration(text)?;
    if interval < MIN_POLLING_INTERVAL {
        return Err("must be at least 100 ms".to_owned());
    }
    Ok(interval)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Example {
        #[command(flatten)]
        args: Args,
    }

    fn parse(flags: &[&str]) -> Result<Args, clap::Error> {
        Example::try_parse_from([&["dev"], flags].concat()).map(|example| example.args)
    }

    #[test]
    fn a_source_is_enough() {
        let args = parse(&["hello.js"]).unwrap();
        assert_eq!((args.port, args.host.to_string().as_str()), (8080, "127.0.0.1"));
        assert_eq!(args.idle_timeout, None);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for flags in [
            &[][..],
            &["--port", "70000", "a.js"],
            &["--env", "NOVALUE", "a.js"],
            &["--env", "PORT=1", "a.js"],
            &["--env", "1A=1", "a.js"],
            &["--idle-timeout", "10", "a.js"],
            &["--polling-interval", "1ms", "a.js"],
            &["--grace", "400days", "a.js"],
            &["--source", "postgres://localhost/x", "a.js"],
            &["--source", "=postgres://localhost/x", "a.js"],
            &["--source-ca", "db=/no/such/file", "a.js"],
            &["--trigger", "kafka", "a.js"],
            &["--trigger", "cron", "--schedule", "often", "a.js"],
        ] {
            parse(flags).unwrap_err();
        }
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let named = format!("--source-ca=db={file}");
        let args = parse(&["a.js", &named, "--source-ca", file]).unwrap();
        let expected = ["db", ""].map(|name| (name.to_owned(), PathBuf::from(file)));
        assert_eq!(args.source_ca, expected);
        let args = parse(&["a.js", "--env", "A=b=c", "--env", "B="]).unwrap();
        let expected = [("A", "b=c"), ("B", "")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(args.env, expected);
    }
}
