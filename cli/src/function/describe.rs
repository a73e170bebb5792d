//! `kip function describe`: everything about a function, for people.

use clap::{Args as ClapArgs, ValueEnum};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kipper_client::{
    ApiError,
    events::{self, Reported},
    logs::{Logs, Query},
    services::{Services, injected},
};
use kipper_function::{
    Function, Timestamp,
    code::{self, VolumeReason},
    function::{ServiceBinding, effective::Workload},
    names::{self, service_credentials},
};
use kipper_trigger::Setting;
use kube::ResourceExt as _;
use serde_json::{Value, json};
use std::time::Duration;

use crate::{output, session::Session, settings::ScopeArgs, visible::visible};

use super::{list, overridden, report};

/// Events that are shown, the last ones.
const EVENTS: usize = 10;

/// Show the details of a function.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// Name of the function
    pub name: String,

    /// Output format, instead of text for people: the function with its pods, Events, bindings and
    /// next runs
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub output: Option<Form>,
}

/// Forms of a description for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// One object
    Json,
    /// The same as YAML
    Yaml,
}

pub(super) async fn run(args: &Args, scope: &ScopeArgs) -> anyhow::Result<()> {
    let session = Session::open(scope).await?;
    let function = session.functions.get(&args.name).await?;
    let services =
        ApiError::allowed(Services::read(&session.connection).await)?.unwrap_or_default();
    let query = Query::function(&args.name, Duration::ZERO);
    let pods =
        ApiError::allowed(Logs::new(&session.connection).pods(&query).await)?.unwrap_or_default();
    let (tests, pods): (Vec<_>, Vec<_>) = pods.into_iter().partition(is_test);
    let events = ApiError::allowed(events::about(&session.connection, &args.name).await)?
        .unwrap_or_default();
    let now = Timestamp::now();
    if let Some(form) = args.output {
        let format = match form {
            Form::Json => output::Format::Json,
            Form::Yaml => output::Format::Yaml,
        };
        return output::value(format, &whole(function, [pods, tests], &events, &services, now)?);
    }
    let mut text = String::new();
    for (what, lines) in [
        ("", about(&function, now)),
        ("Environment", environment(&function)),
        ("Secrets", secrets(&function)),
        ("Bindings", bindings(&function.spec.service_bindings, &services)),
        ("Dependencies", dependencies(&function)),
        ("Volumes", volumes(&function)),
        ("Conditions", conditions(&function)),
        ("Pods", pods.iter().map(|pod| pod_line(pod, now)).collect()),
        ("Test runs", tests.iter().map(|pod| pod_line(pod, now)).collect()),
        ("Events", event_lines(&events, now)),
    ] {
        section(&mut text, what, &lines);
    }
    output::print(text)
}

/// All of it as one object.
fn whole(
    mut function: Function,
    [pods, tests]: [Vec<Pod>; 2],
    events: &[Reported],
    services: &Services,
    now: Timestamp,
) -> anyhow::Result<Value> {
    let bindings = function.spec.service_bindings.iter().map(|binding| {
        let kind = services.kind(&binding.name).ok();
        json!({
            "name": binding.name,
            "type": kind.map(|kind| kind.as_str()),
            "variables": kind.map(|kind| injected(binding, kind)).unwrap_or_default(),
        })
    });
    let bindings: Vec<_> = bindings.collect();
    let events = events.iter().map(|event| {
        json!({
            "time": event.time.map(|time| time.to_string()), "type": event.type_,
            "reason": event.reason, "message": event.message,
        })
    });
    let events: Vec<_> = events.collect();
    let next: Vec<_> =
        report::upcoming(&function, now).iter().map(|time| time.to_string()).collect();
    function.metadata.managed_fields = None;
    Ok(json!({
        "function": function, "pods": values(pods)?, "test_runs": values(tests)?,
        "events": events, "bindings": bindings, "next_runs": next,
    }))
}

fn values(pods: Vec<Pod>) -> Result<Vec<Value>, serde_json::Error> {
    let pods = pods.into_iter().map(|mut pod| {
        pod.metadata.managed_fields = None;
        serde_json::to_value(pod)
    });
    pods.collect()
}

/// A pod of a test run is no replica, whatever became of it.
fn is_test(pod: &Pod) -> bool {
    pod.labels().contains_key(names::TEST_RUN)
}

fn section(text: &mut String, heading: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    let indent = if heading.is_empty() {
        ""
    } else {
        text.push_str(&format!("\n{heading}\n"));
        "  "
    };
    for line in lines {
        // What the phase is called has our own colour.
        let line = if heading.is_empty() { line.into() } else { visible(line) };
        text.push_str(&format!("{indent}{line}\n"));
    }
}

fn about(function: &Function, now: Timestamp) -> Vec<String> {
    let (spec, status) = (&function.spec, function.status.clone().unwrap_or_default());
    let (min, max) = spec.replica_limits();
    let created = function.creation_timestamp().map(|time| time.0);
    let runs = match spec.workload() {
        Some(Workload::Image(image)) => format!("image {image}"),
        Some(Workload::Inline(runtime, source)) => {
            let texts = source.code.iter().chain(source.files.values());
            let lines: usize = texts.map(|text| text.lines().count()).sum();
            let files = match source.files.len() {
                0 => String::new(),
                1 => " in 1 file".to_owned(),
                files => format!(" in {files} files"),
            };
            let unit = if lines == 1 { "line" } else { "lines" };
            format!("{runtime}, {lines} {unit} of code{files}")
        }
        None => "nothing".to_owned(),
    };
    let mut pairs = vec![
        ("name", function.name_any()),
        ("namespace", function.namespace().unwrap_or_default()),
        ("age", output::age(created, now)),
        ("runs", runs),
        ("trigger", list::triggers(function)),
        ("phase", list::phase(function)),
        ("url", status.endpoint.unwrap_or_default()),
    ];
    pairs.extend(report::schedule(function, now));
    if spec.cron_trigger().is_some() {
        pairs.push(("last run", list::last_run(function, now)));
        let deadline = humantime::format_duration(spec.cron_deadline());
        pairs.push(("deadline", format!("a run is ended after {deadline}")));
    }
    if let Some(event) = spec.event() {
        let config = event.kind.to_string();
        pairs.push(("events", format!("{config} {}", event.source())));
        if event.kind.is_sql() {
            let own = || format!("the one of Secret {}", service_credentials(event.source()));
            pairs.push(("database", event.database().map_or_else(own, str::to_owned)));
        }
        let shown =
            [Setting::Query, Setting::MarkDone, Setting::OnFailed, Setting::List, Setting::Bucket];
        for setting in shown {
            pairs.extend(event.setting(setting).map(|value| ("", format!("{setting}: {value}"))));
        }
    }
    if spec.is_served() {
        let replicas = status.replicas.unwrap_or(0);
        pairs.push(("replicas", format!("{replicas} now, {min} to {max}")));
        let idle = humantime::format_duration(spec.idle_timeout());
        pairs.push(("idle", format!("to zero after {idle}")));
    }
    if let Some(exit) = &status.last_exit {
        let (reason, code) = (&exit.reason, exit.exit_code);
        let age = output::age(Some(exit.time.0), now);
        pairs.push(("last exit", format!("{reason}, exit code {code}, {age} ago")));
    }
    if let Some(Workload::Inline(runtime, source)) = spec.workload() {
        let files = code::files(&function.name_any(), runtime, source);
        if let Some(reason @ VolumeReason::Size) = code::volume_reason(spec, runtime, &files) {
            pairs.push(("code", format!("from a volume, which a cold start waits for: {reason}")));
        }
    }
    let cpu = spec.cpu_limit().unwrap_or("no limit");
    pairs.push(("cpu", format!("{} reserved, {cpu}", spec.cpu_request())));
    pairs.push((
        "memory",
        format!("{} reserved, at most {}", spec.memory_request(), spec.memory_limit()),
    ));
    if spec.log_requests {
        pairs.push(("requests", "a line each in the log".to_owned()));
    }
    if spec.no_security_headers {
        pairs.push(("headers", "no security headers".to_owned()));
    }
    let shown = pairs.into_iter().filter(|(_, value)| !value.is_empty());
    shown.map(|(what, value)| format!("{what:<10}{value}")).collect()
}

fn environment(function: &Function) -> Vec<String> {
    let overridden = overridden::variables(function);
    let line = |(name, value): (&String, &String)| {
        let value = output::one_line(value);
        let note =
            if overridden.contains(name.as_str()) { " (overridden by the secret)" } else { "" };
        format!("{name}={value}{note}")
    };
    function.spec.env.iter().map(line).collect()
}

fn secrets(function: &Function) -> Vec<String> {
    let keys = function.status.iter().flat_map(|status| &status.secret_keys);
    keys.map(|key| match &key.rotated_at {
        Some(time) => format!("{} (value changed at {time})", key.name),
        None => key.name.clone(),
    })
    .collect()
}

fn bindings(bindings: &[ServiceBinding], services: &Services) -> Vec<String> {
    let line = |binding: &ServiceBinding| match services.kind(&binding.name) {
        Ok(kind) => {
            let database = match binding.database() {
                Some(database) => format!(", database {database}"),
                None => String::new(),
            };
            let names = injected(binding, kind).join(" ");
            format!("{} ({kind}{database}) → {names}", binding.name)
        }
        Err(_) => binding.name.clone(),
    };
    bindings.iter().map(line).collect()
}

fn dependencies(function: &Function) -> Vec<String> {
    let Some(Workload::Inline(runtime, source)) = function.spec.workload() else {
        return Vec::new();
    };
    let all = code::packages(runtime, source).into_iter();
    all.map(|(name, version)| match version.as_str() {
        "" => name,
        version => format!("{name}@{version}"),
    })
    .collect()
}

fn volumes(function: &Function) -> Vec<String> {
    let volumes = function.spec.volumes.iter();
    volumes.map(|volume| format!("{}:{}", volume.name, volume.mount_path)).collect()
}

fn conditions(function: &Function) -> Vec<String> {
    let conditions = function.status.iter().flat_map(|status| &status.conditions);
    conditions
        .map(|condition| {
            let (type_, status, reason) = (&condition.type_, &condition.status, &condition.reason);
            let colon = if condition.message.is_empty() { "" } else { ": " };
            format!("{type_}={status} {reason}{colon}{}", condition.message)
        })
        .collect()
}

/// Name, state as `kubectl get pods` has it, restarts with how the last container ended, and age.
fn pod_line(pod: &Pod, now: Timestamp) -> String {
    let status = pod.status.as_ref();
    let init = status.and_then(|status| status.init_container_statuses.as_deref());
    let own = status.and_then(|status| status.container_statuses.as_deref());
    let containers = || init.into_iter().chain(own).flatten();
    let reason = |container: &ContainerStatus| {
        let state = container.state.as_ref()?;
        let waiting = state.waiting.as_ref().and_then(|waiting| waiting.reason.clone());
        waiting.or_else(|| state.terminated.as_ref()?.reason.clone())
    };
    let phase = status.and_then(|status| status.reason.clone().or_else(|| status.phase.clone()));
    let word = match (&pod.metadata.deletion_timestamp, containers().find_map(reason)) {
        (Some(_), _) => "Terminating".to_owned(),
        (None, Some(reason)) if phase.as_deref() != Some("Evicted") => reason,
        _ => phase.unwrap_or_default(),
    };
    let mut line = format!("{} {word}", pod.name_any());
    let restarts: i32 = containers().map(|container| container.restart_count).sum();
    if restarts > 0 {
        let s = if restarts == 1 { "" } else { "s" };
        line.push_str(&format!(", {restarts} restart{s}"));
        let last = containers().filter_map(|container| {
            let ended = container.last_state.as_ref()?.terminated.as_ref()?;
            Some((ended.finished_at.as_ref()?.0, ended))
        });
        if let Some((at, ended)) = last.max_by_key(|(at, _)| *at) {
            let reason = ended.reason.as_deref().unwrap_or("ended");
            let age = output::age(Some(at), now);
            line.push_str(&format!(" ({reason}, exit code {}, {age} ago)", ended.exit_code));
        }
    }
    let created = pod.creation_timestamp().map(|time| time.0);
    format!("{line}, {}", output::age(created, now))
}

fn event_lines(events: &[Reported], now: Timestamp) -> Vec<String> {
    let last = &events[events.len().saturating_sub(EVENTS)..];
    let line = |event: &Reported| {
        let age = output::age(event.time, now);
        format!("{age} ago {} {}: {}", event.type_, event.reason, event.message)
    };
    last.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn it_is_told_in_effective_values() {
        let function: Function = serde_json::from_value(json!({
            "apiVersion": "kipper.run/v1alpha1", "kind": "Function",
            "metadata": {
                "name": "hello", "namespace": "shop-dev",
                "creationTimestamp": "2026-01-01T00:00:00Z",
            },
            "spec": { "runtime": "node", "source": { "code": "a\nb\n" } },
            "status": { "phase": "Idle", "endpoint": "https://fn-hello.test" },
        }))
        .unwrap();
        let now = "2026-01-01T01:00:00Z".parse().unwrap();
        assert_eq!(
            about(&function, now).join("\n"),
            "\
name      hello
namespace shop-dev
age       60m
runs      node, 2 lines of code
trigger   http
phase     Idle
url       https://fn-hello.test
replicas  0 now, 0 to 10
idle      to zero after 5m
cpu       50m reserved, no limit
memory    64Mi reserved, at most 256Mi"
        );
    }

    #[test]
    fn a_pod_is_shown_as_kubectl_shows_it() {
        let now = "2026-01-01T01:00:00Z".parse().unwrap();
        let check = |status: serde_json::Value, expected: &str| {
            let pod = json!({
                "metadata": { "name": "f-1", "creationTimestamp": "2026-01-01T00:30:00Z" },
                "status": status,
            });
            assert_eq!(pod_line(&serde_json::from_value(pod).unwrap(), now), expected);
        };
        let container = |restarts: i32, state: serde_json::Value, last: serde_json::Value| {
            json!([{
                "name": "function", "image": "", "imageID": "", "ready": false,
                "restartCount": restarts, "state": state, "lastState": last,
            }])
        };
        check(json!({ "phase": "Pending" }), "f-1 Pending, 30m");
        let running = json!({ "running": {} });
        let calm = container(0, running.clone(), json!({}));
        check(json!({ "phase": "Running", "containerStatuses": calm }), "f-1 Running, 30m");
        let killed = json!({ "terminated": {
            "exitCode": 137, "reason": "OOMKilled", "finishedAt": "2026-01-01T00:57:00Z",
        } });
        let again = container(1, running, killed.clone());
        let expected = "f-1 Running, 1 restart (OOMKilled, exit code 137, 3m ago), 30m";
        check(json!({ "phase": "Running", "containerStatuses": again }), expected);
        let loops = container(4, json!({ "waiting": { "reason": "CrashLoopBackOff" } }), killed);
        let expected = "f-1 CrashLoopBackOff, 4 restarts (OOMKilled, exit code 137, 3m ago), 30m";
        check(json!({ "phase": "Running", "containerStatuses": loops }), expected);
        check(json!({ "phase": "Failed", "reason": "Evicted" }), "f-1 Evicted, 30m");
    }

    #[test]
    fn the_database_of_a_trigger_is_named() {
        let about = |database: Option<&str>| {
            let mut config = json!({ "source": "db", "query": "SELECT 1", "database": database });
            config.as_object_mut().unwrap().retain(|_, value| !value.is_null());
            let function: Function = serde_json::from_value(json!({
                "apiVersion": "kipper.run/v1alpha1", "kind": "Function",
                "metadata": { "name": "orders" },
                "spec": {
                    "image": "x", "triggers": [{ "type": "postgres", "config": config }],
                },
            }))
            .unwrap();
            let lines = super::about(&function, Timestamp::UNIX_EPOCH);
            lines.into_iter().find(|line| line.starts_with("database")).unwrap()
        };
        assert_eq!(about(None), "database  the one of Secret db-credentials");
        assert_eq!(about(Some("shop")), "database  shop");
    }

    #[test]
    fn a_folder_has_files_and_a_list_of_packages() {
        let spec = json!({ "source": { "files": {
            "index.js": "a\nb\n", "lib/c.js": "c\n",
            "package.json": "{\"dependencies\": {\"pg\": \"^8\", \"any\": \"\"}}",
        } } });
        let function = Function::new("f", serde_json::from_value(spec).unwrap());
        let about = about(&function, Timestamp::UNIX_EPOCH);
        assert!(
            about.contains(&"runs      node, 4 lines of code in 3 files".to_owned()),
            "{about:?}"
        );
        assert_eq!(dependencies(&function), ["any", "pg@^8"]);
    }

    #[test]
    fn a_schedule_has_its_deadline_and_its_last_run() {
        let function: Function = serde_json::from_value(json!({
            "apiVersion": "kipper.run/v1alpha1", "kind": "Function",
            "metadata": { "name": "nightly" },
            "spec": { "image": "x", "triggers": [
                { "type": "cron", "schedule": "0 2 * * *", "timeZone": "Europe/Berlin" },
            ] },
            "status": { "schedule": { "lastRun": {
                "job": "nightly-cron-1", "result": "Failed",
                "completionTime": "2026-01-01T00:57:00Z",
            } } },
        }))
        .unwrap();
        let lines = about(&function, "2026-01-01T01:00:00Z".parse().unwrap());
        for expected in [
            "schedule  Every day at 02:00 Europe/Berlin",
            "next      2026-01-02 02:00 CET",
            "last run  Failed 3m ago",
            "deadline  a run is ended after 1h",
        ] {
            assert!(lines.iter().any(|line| line == expected), "{expected}: {lines:#?}");
        }
    }

    #[test]
    fn programs_get_all_of_it_as_one_object() {
        let function: Function = serde_json::from_value(json!({
            "apiVersion": "kipper.run/v1alpha1", "kind": "Function",
            "metadata": { "name": "nightly", "managedFields": [{ "manager": "kip" }] },
            "spec": {
                "image": "x", "serviceBindings": [{ "name": "db" }],
                "triggers": [{ "type": "cron", "schedule": "0 2 * * *" }],
            },
        }))
        .unwrap();
        let pod = |name: &str, labels: Value| -> Pod {
            let metadata = json!({ "name": name, "labels": labels });
            serde_json::from_value(json!({ "metadata": metadata })).unwrap()
        };
        let pods = [pod("t", json!({ names::TEST_RUN: "true" })), pod("p", json!({}))];
        let (tests, pods) = pods.into_iter().partition(is_test);
        let event = Reported {
            time: None,
            type_: "Warning".to_owned(),
            reason: "RunFailed".to_owned(),
            message: "m".to_owned(),
        };
        let now = "2026-01-01T01:00:00Z".parse().unwrap();
        let whole = whole(function, [pods, tests], &[event], &Services::default(), now).unwrap();
        let text = |path: &str| whole.pointer(path).and_then(Value::as_str).unwrap_or("-");
        assert_eq!(text("/function/metadata/name"), "nightly");
        assert_eq!(whole.pointer("/function/metadata/managedFields"), None);
        assert_eq!((text("/pods/0/metadata/name"), text("/pods/1")), ("p", "-"));
        assert_eq!(text("/test_runs/0/metadata/name"), "t");
        assert_eq!(text("/events/0/reason"), "RunFailed");
        assert_eq!(text("/bindings/0/name"), "db");
        assert_eq!(text("/next_runs/0"), "2026-01-01T02:00:00Z");
    }

    #[test]
    fn what_others_wrote_is_shown_as_text() {
        let mut text = String::new();
        section(&mut text, "Conditions", &["Ready=False: \x1b[31mboom\x1b[0m\n\tat x".to_owned()]);
        assert_eq!(text, "\nConditions\n  Ready=False: ^[[31mboom^[[0m\n\tat x\n");
    }

    #[test]
    fn the_last_events_are_shown() {
        let event = |number: usize| Reported {
            time: None,
            type_: "Normal".to_owned(),
            reason: number.to_string(),
            message: "m".to_owned(),
        };
        let events: Vec<_> = (0..12).map(event).collect();
        let now = Timestamp::UNIX_EPOCH;
        let lines = event_lines(&events, now);
        assert_eq!((lines.len(), lines[0].as_str()), (EVENTS, "- ago Normal 2: m"));
        assert!(event_lines(&[], now).is_empty());
    }
}
