//! The flags that say what invokes a function. Pure.

use clap::Args;
use kipper_function::{
    FunctionSpec,
    function::{Trigger, TriggerKind},
};
use kipper_trigger::Setting;

use crate::trigger_flags::{self, CronArgs, EventArgs, Flag};

/// What invokes a function.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Trigger")]
pub struct TriggerArgs {
    /// What invokes it: http, cron, postgres, mysql, redis or minio [default: http]
    #[arg(long, value_name = "TYPE", value_parser = trigger_flags::kind)]
    pub trigger: Option<TriggerKind>,

    /// What `kip dev` calls the same.
    #[command(flatten)]
    pub cron: CronArgs,

    /// Service that events come from
    #[arg(long, value_name = "SERVICE")]
    pub source: Option<String>,

    /// Database that rows come from [default: the one that the service's Secret names]
    #[arg(long, value_name = "NAME")]
    pub source_database: Option<String>,

    /// What `kip dev` calls the same.
    #[command(flatten)]
    pub events: EventArgs,

    /// Any other setting of an event trigger: batch, concurrency, maxAttempts, … (may be repeated)
    #[arg(long, value_name = "NAME=VALUE", value_parser = setting)]
    pub trigger_setting: Vec<(String, String)>,
}

impl TriggerArgs {
    /// Makes the trigger of a spec be as the flags say. A function that is created has one at all
    /// events; of one that is changed the trigger stays as it is where no flag is about it.
    ///
    /// # Errors
    /// When flags do not fit each other, or the trigger that is there.
    pub(super) fn apply(&self, spec: &mut FunctionSpec, is_new: bool) -> Result<(), String> {
        let settings = self.settings();
        let Some(kind) = self.kind(spec, &settings)? else {
            if is_new {
                spec.triggers = vec![new(TriggerKind::Http)];
            }
            return Ok(());
        };
        let given = settings.iter().map(|(flag, name, _)| (flag.as_str(), name.as_str()));
        trigger_flags::fit(kind, self.cron.given(), given)?;
        let there = spec.triggers.iter().position(|trigger| trigger.kind() == Some(kind));
        let at = match there {
            Some(at) => at,
            None => {
                spec.triggers = vec![new(kind)];
                0
            }
        };
        let trigger = &mut spec.triggers[at];
        self.cron.apply(trigger);
        for (_, key, value) in settings {
            trigger.config.insert(key, value);
        }
        self.complete(trigger)
    }

    /// Says which flags are missing, before the resource's own checks say which fields are.
    fn complete(&self, trigger: &Trigger) -> Result<(), String> {
        let kind = &trigger.type_;
        let flag = |setting| self.flags().find(|(_, it, _)| *it == setting).map(|(flag, ..)| flag);
        let mut missing: Vec<&str> = match trigger.event() {
            Some(event) => event.missing().filter_map(flag).collect(),
            None => Vec::new(),
        };
        if trigger.kind() == Some(TriggerKind::Cron) && trigger.schedule().is_none() {
            missing.push("--schedule");
        }
        if missing.is_empty() {
            return Ok(());
        }
        Err(format!("--trigger {kind} needs {}", missing.join(" and ")))
    }

    /// The kind that is meant; `None` where no flag is about a trigger.
    fn kind(
        &self,
        spec: &FunctionSpec,
        settings: &[(String, String, String)],
    ) -> Result<Option<TriggerKind>, String> {
        if self.trigger.is_some() {
            return Ok(self.trigger);
        }
        let there = match (self.cron.given(), settings.first()) {
            (None, None) => return Ok(None),
            (Some(_), None) => spec.cron_trigger(),
            (None, Some(_)) => spec.event_trigger(),
            (Some(cron), Some((flag, ..))) => {
                return Err(format!("{cron} does not go with {flag}"));
            }
        };
        let event = settings.first().map(|(flag, name, _)| (flag.as_str(), Some(name.as_str())));
        let (flag, setting) = event.unwrap_or((self.cron.given().unwrap_or("--schedule"), None));
        let needed = || trigger_flags::needs_trigger(flag, setting);
        there.and_then(Trigger::kind).ok_or_else(needed).map(Some)
    }

    /// The flags that are settings of their own, given or not.
    fn flags(&self) -> impl Iterator<Item = Flag<'_>> {
        let own = [
            ("--source", Setting::Source, &self.source),
            ("--source-database", Setting::Database, &self.source_database),
        ];
        own.into_iter().chain(self.events.settings())
    }

    /// Flag, setting and value of everything that was given.
    fn settings(&self) -> Vec<(String, String, String)> {
        let given = self.flags().filter_map(|(flag, setting, value)| {
            Some((flag.to_owned(), setting.name().to_owned(), value.clone()?))
        });
        let others = self.trigger_setting.iter();
        let others = others
            .map(|(key, value)| (format!("--trigger-setting {key}"), key.clone(), value.clone()));
        given.chain(others).collect()
    }
}

fn new(kind: TriggerKind) -> Trigger {
    Trigger { type_: kind.as_str().to_owned(), ..Trigger::default() }
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Example {
        #[command(flatten)]
        args: TriggerArgs,
    }

    /// Applies the flags to a spec with these triggers; the triggers as `type schedule config`.
    fn apply(before: &[Trigger], flags: &[&str], is_new: bool) -> Result<Vec<String>, String> {
        let args = Example::try_parse_from([&["x"], flags].concat()).unwrap().args;
        let mut spec = FunctionSpec { triggers: before.to_vec(), ..FunctionSpec::default() };
        args.apply(&mut spec, is_new)?;
        let reported = spec.triggers.iter().map(|trigger| {
            let config: Vec<_> = trigger.config.iter().map(|(k, v)| format!("{k}={v}")).collect();
            let deadline = trigger.deadline_seconds.map(|seconds| format!(" {seconds} s"));
            let mut schedule = trigger.schedule.clone().unwrap_or_default();
            schedule.extend(trigger.time_zone.iter().map(|zone| format!(" {zone}")));
            schedule.push_str(if trigger.suspend { " suspended" } else { "" });
            let schedule = schedule + &deadline.unwrap_or_default();
            format!("{} {schedule} {}", trigger.type_, config.join(" ")).trim().to_owned()
        });
        Ok(reported.collect())
    }

    fn cron(schedule: &str) -> Trigger {
        Trigger { schedule: Some(schedule.to_owned()), ..new(TriggerKind::Cron) }
    }

    #[test]
    fn a_new_function_has_a_trigger() {
        let create = |flags: &[&str]| apply(&[], flags, true).map(|reported| reported.join("; "));
        assert_eq!(create(&[]).unwrap(), "http");
        assert_eq!(
            create(&["--trigger", "cron", "--schedule", "0 2 * * *"]).unwrap(),
            "cron 0 2 * * *"
        );
        let berlin =
            ["--trigger=cron", "--schedule=@daily", "--time-zone=Europe/Berlin", "--suspend"];
        assert_eq!(create(&berlin).unwrap(), "cron @daily Europe/Berlin suspended");
        let minio = ["--trigger=minio", "--source=s3", "--bucket=b", "--object-suffix=.jpg"];
        assert_eq!(create(&minio).unwrap(), "minio  bucket=b source=s3 suffix=.jpg");
        let batch = ["--trigger=redis", "--source=c", "--list=l", "--trigger-setting=batch=5"];
        assert_eq!(create(&batch).unwrap(), "redis  batch=5 list=l source=c");
        let other = ["--trigger=mysql", "--source=db", "--query=q", "--source-database=shop"];
        assert_eq!(create(&other).unwrap(), "mysql  database=shop query=q source=db");
        for (flags, expected) in [
            (
                &["--trigger=redis", "--source=c", "--list=l", "--source-database=1"][..],
                "--source-database is not for --trigger redis",
            ),
            (&["--schedule", "* * * * *"][..], "--schedule needs --trigger cron"),
            (&["--query=x"], "--query needs --trigger postgres or mysql"),
            (&["--source=db"], "--source needs --trigger postgres, mysql, redis or minio"),
            (&["--source-database=d"], "--source-database needs --trigger postgres or mysql"),
            (&["--list=l"], "--list needs --trigger redis"),
            (&["--bucket=b"], "--bucket needs --trigger minio"),
            (
                &["--trigger-setting=lease=5s"],
                "--trigger-setting lease needs --trigger redis or minio",
            ),
            (
                &["--trigger-setting=leese=5s"],
                "--trigger-setting leese is not a setting of any trigger",
            ),
            (&["--trigger=cron"], "--trigger cron needs --schedule"),
            (&["--trigger=postgres"], "--trigger postgres needs --source and --query"),
            (&["--trigger=redis", "--source=c"], "--trigger redis needs --list"),
            (&["--trigger=http", "--list=l"], "--list is not for --trigger http"),
            (&["--trigger=redis", "--bucket=b"], "--bucket is not for --trigger redis"),
            (
                &["--trigger=redis", "--trigger-setting=query=x"],
                "--trigger-setting query is not for --trigger redis",
            ),
            (
                &["--trigger=http", "--schedule", "@daily"],
                "--schedule is for --trigger cron, not http",
            ),
            (&["--schedule", "@daily", "--list=l"], "--schedule does not go with --list"),
            (&["--deadline=5"], "--deadline needs --trigger cron"),
            (&["--suspend"], "--suspend needs --trigger cron"),
            (&["--trigger=http", "--time-zone=UTC"], "--time-zone is for --trigger cron, not http"),
            (&["--trigger=http", "--deadline=5"], "--deadline is for --trigger cron, not http"),
        ] {
            assert_eq!(create(flags).unwrap_err(), expected, "{flags:?}");
        }
    }

    #[test]
    fn a_change_is_of_what_is_there() {
        let config = [("source", "db"), ("query", "SELECT 1")];
        let config = config.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let postgres = [Trigger { config, ..new(TriggerKind::Postgres) }];
        let both = [new(TriggerKind::Http), cron("@daily")];
        let update = |before: &[Trigger], flags: &[&str]| {
            apply(before, flags, false).map(|reported| reported.join("; "))
        };
        assert_eq!(update(&both, &[]).unwrap(), "http; cron @daily");
        assert_eq!(update(&both, &["--schedule", "@hourly"]).unwrap(), "http; cron @hourly");
        assert_eq!(update(&both, &["--deadline=5"]).unwrap(), "http; cron @daily 5 s");
        assert_eq!(update(&both, &["--trigger=http"]).unwrap(), "http; cron @daily");
        assert_eq!(update(&both, &["--suspend"]).unwrap(), "http; cron @daily suspended");
        let mut suspended = cron("@daily");
        suspended.suspend = true;
        let resumed = update(&[suspended], &["--suspend=false", "--time-zone=Asia/Tokyo"]);
        assert_eq!(resumed.unwrap(), "cron @daily Asia/Tokyo");
        assert_eq!(
            update(&postgres, &["--query=SELECT 2"]).unwrap(),
            "postgres  query=SELECT 2 source=db"
        );
        assert_eq!(update(&postgres, &["--trigger=http"]).unwrap(), "http");
        assert_eq!(
            update(&postgres, &["--list=l"]).unwrap_err(),
            "--list is not for --trigger postgres"
        );
        assert_eq!(update(&both, &["--list=l"]).unwrap_err(), "--list needs --trigger redis");
        assert_eq!(
            update(&postgres, &["--trigger=mysql"]).unwrap_err(),
            "--trigger mysql needs --source and --query"
        );
    }
}
