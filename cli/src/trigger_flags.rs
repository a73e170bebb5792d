//! Flags of triggers that `kip dev` and `kip function create` call the same. Pure.

use clap::Args;
use kipper_function::{cron::Schedule, function::TriggerKind};
use kipper_trigger::Setting;

/// What events are, and what becomes of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct EventArgs {
    /// Query whose rows are the events of postgres and mysql
    #[arg(long, value_name = "SQL")]
    pub query: Option<String>,

    /// Statement run after each row is handled; {{column}} is the row's value
    #[arg(long, value_name = "SQL")]
    pub mark_done: Option<String>,

    /// Statement run after a row's last attempt; {{_error}} and {{_attempts}} are available too
    #[arg(long, value_name = "SQL")]
    pub on_failed: Option<String>,

    /// Columns that identify a row [default: the primary key]
    #[arg(long, value_name = "COLUMNS")]
    pub key: Option<String>,

    /// Redis list
    #[arg(long, value_name = "NAME")]
    pub list: Option<String>,

    /// MinIO bucket
    #[arg(long, value_name = "NAME")]
    pub bucket: Option<String>,

    /// Only objects whose names start with this text
    #[arg(long, value_name = "TEXT")]
    pub object_prefix: Option<String>,

    /// Only objects whose names end with this text
    #[arg(long, value_name = "TEXT")]
    pub object_suffix: Option<String>,
}

/// A flag, the setting of a trigger's `config` that it is, and its value.
pub(crate) type Flag<'a> = (&'static str, Setting, &'a Option<String>);

impl EventArgs {
    /// All of them, given or not.
    pub(crate) fn settings(&self) -> [Flag<'_>; 8] {
        [
            ("--query", Setting::Query, &self.query),
            ("--mark-done", Setting::MarkDone, &self.mark_done),
            ("--on-failed", Setting::OnFailed, &self.on_failed),
            ("--key", Setting::Key, &self.key),
            ("--list", Setting::List, &self.list),
            ("--bucket", Setting::Bucket, &self.bucket),
            ("--object-prefix", Setting::Prefix, &self.object_prefix),
            ("--object-suffix", Setting::Suffix, &self.object_suffix),
        ]
    }
}

/// The first flag that was given and is about a schedule.
pub(crate) fn of_cron(schedule: Option<&String>, deadline: Option<i64>) -> Option<&'static str> {
    schedule.map(|_| "--schedule").or(deadline.map(|_| "--deadline"))
}

/// Do the flags that were given go with a trigger of this kind? `cron` is one about a schedule,
/// `settings` are those of a `config`: each flag with its setting's name.
pub(crate) fn fit<'a>(
    kind: TriggerKind,
    cron: Option<&str>,
    mut settings: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<(), String> {
    if let Some(flag) = cron.filter(|_| kind != TriggerKind::Cron) {
        return Err(format!("{flag} is for --trigger cron, not {kind}"));
    }
    let all = kind.event().map_or(&[][..], Setting::of);
    let is_known = |name: &str| all.iter().any(|known| known.name() == name);
    match settings.find(|(_, name)| !is_known(name)) {
        Some((flag, _)) => Err(format!("{flag} is not for --trigger {kind}")),
        None => Ok(()),
    }
}

/// The value of `--trigger`.
pub(crate) fn kind(text: &str) -> Result<TriggerKind, String> {
    let known = || TriggerKind::ALL.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ");
    TriggerKind::parse(text).ok_or_else(|| format!("must be one of {}", known()))
}

/// The value of `--schedule`.
pub(crate) fn schedule(text: &str) -> Result<String, String> {
    Schedule::parse(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}
