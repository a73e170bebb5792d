//! What the page shows of every Function, wherever it is: runtimes, presets of schedules, the settings
//! of triggers with what they mean, defaults and limits. All of it follows from the contract's types.

use kipper_function::{
    code::{MAX_CODE_BYTES, MAX_FILES},
    env_name,
    function::{Runtime, TriggerKind, effective},
    names,
    service::ServiceKind,
};
use kipper_trigger::{Kind, ListEnd, Setting};
use serde_json::{Value, json};

/// Largest value of a secret, in bytes: a Secret holds 1 MiB.
pub(crate) const MAX_SECRET_BYTES: usize = 256 << 10;
/// Environment variables that the resource's schema admits.
const MAX_ENV: usize = 256;

/// Schedules that are picked rather than typed.
const PRESETS: [(&str, &str); 6] = [
    ("Every minute (testing)", "* * * * *"),
    ("Every 5 minutes", "*/5 * * * *"),
    ("Every hour, on the hour", "0 * * * *"),
    ("Every day at midnight UTC", "0 0 * * *"),
    ("Every day at 02:00 UTC", "0 2 * * *"),
    ("Every Monday at 09:00 UTC", "0 9 * * 1"),
];

/// All of it, as a part of `Meta`.
pub(crate) fn catalog() -> Value {
    json!({
        "runtimes": [
            { "name": Runtime::Node.as_str(), "title": "Node 22" },
            { "name": Runtime::Python.as_str(), "title": "Python 3.12" },
        ],
        "cronPresets": PRESETS
            .map(|(title, schedule)| json!({ "title": title, "schedule": schedule })),
        "triggers": triggers(),
        "defaults": defaults(),
        "prefixes": ServiceKind::ALL
            .iter()
            .map(|kind| (kind.as_str().to_owned(), json!(kind.default_prefix())))
            .collect::<serde_json::Map<_, _>>(),
        "limits": {
            "codeBytes": MAX_CODE_BYTES,
            "files": MAX_FILES,
            "env": MAX_ENV,
            "secretBytes": MAX_SECRET_BYTES,
            "nameLength": names::MAX_NAME_LEN,
            "variableLength": env_name::MAX_LEN,
        },
    })
}

fn defaults() -> Value {
    json!({
        "port": effective::DEFAULT_PORT,
        "idleTimeoutSeconds": effective::DEFAULT_IDLE_TIMEOUT.as_secs(),
        "coldStartSeconds": effective::DEFAULT_COLD_START_TIMEOUT.as_secs(),
        "responseHeaderSeconds": effective::DEFAULT_RESPONSE_HEADER_TIMEOUT.as_secs(),
        "requestSeconds": 0,
        "cronDeadlineSeconds": effective::DEFAULT_CRON_DEADLINE.as_secs(),
        "minReplicas": effective::DEFAULT_MIN_REPLICAS,
        "maxReplicas": effective::DEFAULT_MAX_REPLICAS,
        "targetRequestRate": effective::DEFAULT_TARGET_REQUEST_RATE,
        "concurrency": 0,
        "cpuRequest": effective::DEFAULT_CPU_REQUEST,
        "memoryRequest": effective::DEFAULT_MEMORY_REQUEST,
        "memoryLimit": effective::DEFAULT_MEMORY_LIMIT,
        "tmpLimit": effective::DEFAULT_TMP_LIMIT,
    })
}

fn triggers() -> Vec<Value> {
    let plain = |kind: TriggerKind, title: &str, help: &str| json!({ "kind": kind.as_str(), "title": title, "help": help, "settings": [] });
    let mut triggers = vec![
        plain(TriggerKind::Http, "HTTP", "Each request to its URL invokes the function."),
        plain(TriggerKind::Cron, "Cron", "The function runs when its schedule says so."),
    ];
    triggers.extend(Kind::ALL.map(trigger));
    triggers
}

fn trigger(kind: Kind) -> Value {
    let (title, help) = match kind {
        Kind::Postgres => ("Postgres", "Each row that the query finds is an event."),
        Kind::Mysql => ("MySQL", "Each row that the query finds is an event."),
        Kind::Redis => ("Redis", "Each item of the list is an event."),
        Kind::Minio => ("MinIO", "Each object that is written or deleted is an event."),
    };
    let required = Setting::required(kind);
    let settings: Vec<Value> = Setting::of(kind)
        .iter()
        .map(|setting| {
            let (title, help) = words(*setting);
            json!({
                "name": setting.name(),
                "title": title,
                "help": help,
                "kind": kind_of(*setting),
                "choices": choices(*setting),
                "required": required.contains(setting),
                "default": setting.default(),
            })
        })
        .collect();
    json!({ "kind": kind.as_str(), "title": title, "help": help, "settings": settings })
}

fn kind_of(setting: Setting) -> &'static str {
    match setting {
        Setting::Query | Setting::MarkDone | Setting::OnFailed => "sql",
        Setting::ListEnd => "choice",
        _ if setting.numbers().is_some() => "number",
        _ if setting.durations().is_some() => "duration",
        _ => "text",
    }
}

fn choices(setting: Setting) -> Vec<&'static str> {
    match setting {
        Setting::ListEnd => ListEnd::ALL.map(ListEnd::as_str).to_vec(),
        _ => Vec::new(),
    }
}

/// Title and explanation of a setting.
fn words(setting: Setting) -> (&'static str, &'static str) {
    match setting {
        Setting::Source => ("Service", "Name of the Service that events come from."),
        Setting::Database => {
            ("Database", "Database of the Service, where it is not the one its Secret names.")
        }
        Setting::Batch => {
            ("Batch", "Waiting events per replica: the function scales to waiting ÷ batch.")
        }
        Setting::Concurrency => ("Concurrency", "Events that one pod handles at once."),
        Setting::MaxHeld => ("Held at most", "Events that one pod claims before they are done."),
        Setting::MaxAttempts => ("Attempts", "Failed attempts after which an event is dead."),
        Setting::PollInterval => ("Poll interval", "Pause after a look that found nothing."),
        Setting::DeliverTimeout => {
            ("Delivery timeout", "Time that the function may take for one event.")
        }
        Setting::Query => {
            ("Query", "Query whose rows are the events; no LIMIT, no ORDER BY needed.")
        }
        Setting::Key => {
            ("Key", "Columns that tell rows apart, separated by commas; by default the column id.")
        }
        Setting::MarkDone => (
            "Mark done",
            "Statement that runs after the function has returned 200, so that the row no longer \
             matches. {{column}} stands for the row's value.",
        ),
        Setting::OnFailed => (
            "On failure",
            "Statement that runs after the last failed attempt. {{column}} stands for the row's \
             value, {{_error}} for what went wrong.",
        ),
        Setting::List => ("List", "Redis list whose items are the events."),
        Setting::ListEnd => {
            ("End", "End that items are taken from: left with RPUSH, right with LPUSH.")
        }
        Setting::Lease => ("Lease", "How long a claim lives without being renewed."),
        Setting::Bucket => ("Bucket", "Bucket whose objects are watched."),
        Setting::Prefix => ("Prefix", "Only objects whose names begin with this."),
        Setting::Suffix => ("Suffix", "Only objects whose names end with this."),
    }
}

#[cfg(test)]
mod tests {
    use kipper_function::cron::Schedule;

    use super::*;

    #[test]
    fn presets_are_schedules_that_fire() {
        for (title, schedule) in PRESETS {
            let schedule = Schedule::parse(schedule).and_then(|s| s.check_fires().map(|()| s));
            assert!(schedule.is_ok(), "{title}: {schedule:?}");
        }
    }

    #[test]
    fn every_setting_of_a_trigger_is_explained() {
        let catalog = catalog();
        for kind in catalog["triggers"].as_array().into_iter().flatten() {
            for setting in kind["settings"].as_array().into_iter().flatten() {
                let help = setting["help"].as_str().unwrap_or_default();
                assert!(help.ends_with('.'), "{setting}");
            }
        }
        assert_eq!(catalog["triggers"].as_array().map(Vec::len), Some(Kind::ALL.len() + 2));
    }
}
