//! Flags of triggers that `kip dev` and `kip function create` call the same. Pure.

use clap::Args;
use kipper_function::{
    cron::Schedule,
    function::{Trigger, TriggerKind},
};
use kipper_trigger::Setting;

use crate::duration;

/// Longest that a run of a schedule may take: a week, in seconds.
const MAX_DEADLINE: i64 = 604_800;

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

/// When a function runs by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct CronArgs {
    /// Cron expression for --trigger cron
    #[arg(long, value_name = "CRON", value_parser = schedule)]
    pub schedule: Option<String>,

    /// IANA name of the schedule's time zone, such as Europe/Berlin [default: UTC]
    #[arg(long, value_name = "ZONE", value_parser = time_zone)]
    pub time_zone: Option<String>,

    /// Suspend the schedule: no more runs are started; --suspend=false resumes it
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub suspend: Option<bool>,

    /// Seconds after which a run of the schedule is ended [default: 3600]
    #[arg(long, value_name = "SECONDS", value_parser = deadline)]
    pub deadline: Option<i64>,
}

impl CronArgs {
    /// The first of these flags that was given.
    pub(crate) fn given(&self) -> Option<&'static str> {
        let flags = [
            ("--schedule", self.schedule.is_some()),
            ("--time-zone", self.time_zone.is_some()),
            ("--suspend", self.suspend.is_some()),
            ("--deadline", self.deadline.is_some()),
        ];
        flags.into_iter().find(|(_, is_given)| *is_given).map(|(flag, _)| flag)
    }

    /// Makes a cron trigger be as the flags say; where none is about a field, it stays.
    pub(crate) fn apply(&self, trigger: &mut Trigger) {
        if let Some(schedule) = &self.schedule {
            trigger.schedule = Some(schedule.clone());
        }
        if let Some(zone) = &self.time_zone {
            trigger.time_zone = Some(zone.clone());
        }
        if let Some(suspend) = self.suspend {
            trigger.suspend = suspend;
        }
        if self.deadline.is_some() {
            trigger.deadline_seconds = self.deadline;
        }
    }
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

/// Why a flag without a trigger is refused: it names the triggers that take the flag. `setting` is the
/// one of a `config` that it is; a flag about a schedule is none.
pub(crate) fn needs_trigger(flag: &str, setting: Option<&str>) -> String {
    let takes = |kind: &&TriggerKind| match setting {
        None => **kind == TriggerKind::Cron,
        Some(name) => {
            kind.event().is_some_and(|kind| Setting::of(kind).iter().any(|it| it.name() == name))
        }
    };
    let kinds: Vec<_> = TriggerKind::ALL.iter().filter(takes).map(|kind| kind.as_str()).collect();
    match &kinds[..] {
        [] => format!("{flag} is not a setting of any trigger"),
        [kind] => format!("{flag} needs --trigger {kind}"),
        [kinds @ .., last] => format!("{flag} needs --trigger {} or {last}", kinds.join(", ")),
    }
}

/// The value of `--trigger`.
pub(crate) fn kind(text: &str) -> Result<TriggerKind, String> {
    let known = || TriggerKind::ALL.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ");
    TriggerKind::parse(text).ok_or_else(|| format!("must be one of {}", known()))
}

/// The value of `--schedule`.
fn schedule(text: &str) -> Result<String, String> {
    let fires = Schedule::parse(text).and_then(|schedule| schedule.check_fires());
    fires.map(|()| text.to_owned()).map_err(|error| error.to_string())
}

/// The value of `--deadline`.
fn deadline(text: &str) -> Result<i64, String> {
    let seconds = duration::seconds(text)?;
    let fits = (1..=MAX_DEADLINE).contains(&seconds);
    fits.then_some(seconds).ok_or_else(|| format!("must be from 1 to {MAX_DEADLINE} seconds"))
}

/// The value of `--time-zone`.
fn time_zone(text: &str) -> Result<String, String> {
    Schedule::check_zone(text).map(|()| text.to_owned()).map_err(|error| error.to_string())
}
