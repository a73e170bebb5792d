//! Everything wrong with a Function, said before it is applied.
//!
//! `kip` and `kip dev` call this; the API server says the same through the CRD's schema and CEL
//! rules, one problem at a time. All problems are collected, each with the path of its field.

use std::{collections::BTreeMap, fmt::Display};

use kipper_trigger::EventTrigger;

use super::{
    problem::Problem,
    spec::{Function, FunctionSpec, Resources, Trigger},
};
use crate::{
    code,
    cron::Schedule,
    dependency, env_name,
    kinds::{DeletionPolicy, Protocol, Runtime, TriggerKind},
    names::{self, MAX_NAME_LEN},
    quantity,
};

/// Longest timeout.
const MAX_TIMEOUT_SECONDS: i64 = 86_400;
/// Longest idle time: thirty days.
const MAX_IDLE_SECONDS: i64 = 2_592_000;
/// Most replicas.
const MAX_REPLICAS: i32 = 1000;
/// Longest run of a schedule: a week.
const MAX_CRON_SECONDS: i64 = 604_800;
/// Largest `.npmrc`.
const MAX_NPMRC_BYTES: usize = 16 << 10;
/// Most requests in flight per pod.
const MAX_CONCURRENCY: i32 = 1_000_000;
/// Where the runtimes find the code; nothing else may be mounted there.
const CODE_PATH: &str = "/app/function";

/// Collects problems below one path.
struct Report(Vec<Problem>);

impl Report {
    fn add(&mut self, path: impl Into<String>, message: impl Display) {
        self.0.push(Problem { path: path.into(), message: message.to_string() });
    }

    fn check<E: Display>(&mut self, path: impl Into<String>, result: Result<(), E>) {
        if let Err(error) = result {
            self.add(path, error);
        }
    }

    fn require(&mut self, holds: bool, path: impl Into<String>, message: &str) {
        if !holds {
            self.add(path, message);
        }
    }

    fn range<T: PartialOrd + Display>(&mut self, path: &str, value: Option<T>, min: T, max: T) {
        if value.is_some_and(|value| value < min || value > max) {
            self.add(path, format_args!("must be between {min} and {max}"));
        }
    }
}

impl Function {
    /// Every problem of the whole object, in the order of its fields; empty when there is none.
    pub fn validate(&self) -> Vec<Problem> {
        let mut report = Report(Vec::new());
        match self.metadata.name.as_deref() {
            None | Some("") => report.add("metadata.name", "is required"),
            Some(name) => report.check("metadata.name", names::check_function_name(name)),
        }
        self.spec.check(&mut report);
        report.0
    }
}

impl FunctionSpec {
    /// Every problem of the spec, in the order of its fields; empty when there is none.
    pub fn validate(&self) -> Vec<Problem> {
        let mut report = Report(Vec::new());
        self.check(&mut report);
        report.0
    }

    fn check(&self, report: &mut Report) {
        self.check_workload(report);
        report.range("spec.port", self.port, 1, 65535);
        for (name, value) in &self.env {
            report.check(format!("spec.env.{name}"), env_name::check(name));
            let holds = !value.contains('\0');
            report.require(holds, format!("spec.env.{name}"), "must not contain a null character");
        }
        if let Some(resources) = &self.resources {
            check_resources(resources, report);
        }
        self.check_bindings(report);
        self.check_volumes(report);
        let image = self.image.as_deref().is_some_and(|image| !image.is_empty());
        report.require(
            !self.no_tmp || image,
            "spec.noTmp",
            "needs an image: the runtimes of inline code write to /tmp",
        );
        report.require(
            !self.log_requests || !image,
            "spec.logRequests",
            "is for inline code: an image logs its requests itself",
        );
        self.check_triggers(report);
        for (at, origin) in self.csp_allowlist.iter().enumerate() {
            // The header is built from these, so none may end it or start another directive.
            let bad = |c: char| c.is_whitespace() || c.is_control() || matches!(c, ';' | ',');
            let path = format!("spec.cspAllowlist[{at}]");
            report.require(!origin.is_empty(), path.as_str(), "must not be empty");
            report.require(
                !origin.contains(bad),
                path,
                "must be one origin without spaces, ';' or ','",
            );
        }
        report.range("spec.idleTimeoutSeconds", self.idle_timeout_seconds, 0, MAX_IDLE_SECONDS);
        self.check_scaling(report);
        self.check_timeouts(report);
        if let Some(path) = self.readiness_path.as_deref().filter(|path| !path.is_empty()) {
            let clean = path.bytes().all(|b| b.is_ascii_graphic());
            report.require(
                path.starts_with('/') && clean,
                "spec.readinessPath",
                "must be a path that starts with '/'",
            );
        }
        if let Some(word) = self.protocol.as_deref() {
            let known = word.is_empty() || Protocol::parse(word).is_some();
            report.require(known, "spec.protocol", "must be auto, http1 or h2c");
        }
    }

    fn check_workload(&self, report: &mut Report) {
        match (self.image(), self.inline()) {
            (Some(_), Some(_)) => report.add("spec", "only one of image and source can be set"),
            (None, None) => {
                report.add("spec", "one of image, source.code and source.files is required")
            }
            _ => {}
        }
        if let Some(image) = self.image() {
            let clean = image.bytes().all(|b| b.is_ascii_graphic());
            report.require(clean, "spec.image", "must be an image reference");
        }
        let Some(source) = self.inline() else { return };
        if self.image().is_none() && self.effective_runtime().is_none() {
            let known: Vec<_> = Runtime::ALL.iter().map(|runtime| runtime.as_str()).collect();
            report.add("spec.runtime", format_args!("must be {}", known.join(" or ")));
        }
        let size = source.code.as_ref().map_or(0, String::len);
        let fits = size <= code::MAX_CODE_BYTES;
        report.require(fits, "spec.source.code", "must be at most 1000000 bytes");
        let is_one = size == 0 || source.files.is_empty();
        report.require(is_one, "spec.source", "only one of code and files can be set");
        // An image that was given too wins.
        let runtime = self.effective_runtime();
        report.0.extend(code::check(source, runtime));
        let Some(runtime) = runtime else { return };
        for (name, version) in &source.dependencies {
            let checked = dependency::check(runtime, name, version);
            report.check(format!("spec.source.dependencies.{name}"), checked);
        }
        if let Some(npmrc) = source.npmrc.as_deref().filter(|text| !text.is_empty()) {
            report.check("spec.source.npmrc", check_npmrc(runtime, npmrc));
        }
    }

    fn check_bindings(&self, report: &mut Report) {
        let mut seen = BTreeMap::new();
        for (at, binding) in self.service_bindings.iter().enumerate() {
            let path = format!("spec.serviceBindings[{at}]");
            report.check(format!("{path}.name"), names::check_label(&binding.name));
            if let Some(first) = seen.insert(binding.name.as_str(), at) {
                report.add(
                    format!("{path}.name"),
                    format_args!("is bound by serviceBindings[{first}] already"),
                );
            }
            if let Some(prefix) = binding.prefix.as_deref().filter(|prefix| !prefix.is_empty()) {
                report.check(format!("{path}.prefix"), env_name::check(prefix));
            }
            let policy = binding.deletion_policy.as_deref();
            report.require(
                policy.is_none_or(|word| DeletionPolicy::parse(word).is_some()),
                format!("{path}.deletionPolicy"),
                "must be Retain or Delete",
            );
        }
    }

    fn check_volumes(&self, report: &mut Report) {
        let mut seen = BTreeMap::new();
        for (at, volume) in self.volumes.iter().enumerate() {
            let path = format!("spec.volumes[{at}]");
            report.check(format!("{path}.name"), names::check_label(&volume.name));
            let mount = volume.mount_path.trim_end_matches('/');
            let path = format!("{path}.mountPath");
            let absolute = volume.mount_path.starts_with('/') && !mount.is_empty();
            let plain = !mount.contains(':') && !mount.split('/').any(|part| part == "..");
            report.require(
                absolute && plain,
                path.as_str(),
                "must be an absolute path below '/' without ':' or '..'",
            );
            let shadows =
                mount == CODE_PATH || mount.starts_with("/app/function/") || mount == "/app";
            report.require(!shadows, path.as_str(), "would hide the function's code");
            if let Some(first) = seen.insert(mount, at) {
                report.add(path, format_args!("is the path of volumes[{first}] already"));
            }
        }
    }

    fn check_triggers(&self, report: &mut Report) {
        let (mut http, mut cron, mut event) = (0, 0, 0);
        for (at, trigger) in self.triggers.iter().enumerate() {
            let path = format!("spec.triggers[{at}]");
            let Some(kind) = trigger.kind() else {
                let known: Vec<_> = TriggerKind::ALL.iter().map(|kind| kind.as_str()).collect();
                report.add(
                    format!("{path}.type"),
                    format_args!("must be one of {}", known.join(", ")),
                );
                continue;
            };
            let (count, what) = match kind {
                TriggerKind::Http => (&mut http, "http"),
                TriggerKind::Cron => (&mut cron, "cron"),
                _ => (&mut event, "event"),
            };
            *count += 1;
            report.require(
                *count == 1,
                path.as_str(),
                &format!("only one {what} trigger is allowed"),
            );
            check_trigger(trigger, kind, &path, report);
        }
    }

    fn check_scaling(&self, report: &mut Report) {
        let Some(scaling) = &self.scaling else { return };
        report.range("spec.scaling.minReplicas", scaling.min_replicas, 0, MAX_REPLICAS);
        report.range("spec.scaling.maxReplicas", scaling.max_replicas, 1, MAX_REPLICAS);
        report.range("spec.scaling.concurrency", scaling.concurrency, 0, MAX_CONCURRENCY);
        let min = scaling.min_replicas.and_then(|min| u32::try_from(min).ok()).unwrap_or(0);
        report.require(
            min <= self.max_replicas(),
            "spec.scaling.minReplicas",
            "must not exceed maxReplicas",
        );
        let rate = scaling.target_request_rate;
        let positive = rate.is_none_or(|rate| rate.is_finite() && rate >= 0.001);
        report.require(positive, "spec.scaling.targetRequestRate", "must be at least 0.001");
    }

    fn check_timeouts(&self, report: &mut Report) {
        let Some(timeouts) = &self.timeouts else {
            return;
        };
        let max = MAX_TIMEOUT_SECONDS;
        report.range("spec.timeouts.coldStartSeconds", timeouts.cold_start_seconds, 1, max);
        report.range(
            "spec.timeouts.responseHeaderSeconds",
            timeouts.response_header_seconds,
            1,
            max,
        );
        report.range("spec.timeouts.requestSeconds", timeouts.request_seconds, 0, max);
    }
}

/// A Function is read by many; what is secret stands in its Secret.
///
/// # Errors
/// When these settings are not for this runtime, are too long, or hold a token.
pub fn check_npmrc(runtime: Runtime, text: &str) -> Result<(), &'static str> {
    if runtime != Runtime::Node {
        return Err(
            "is for npm; pip reads PIP_INDEX_URL and PIP_EXTRA_INDEX_URL, which may be secrets",
        );
    }
    if text.len() > MAX_NPMRC_BYTES {
        return Err("must be at most 16384 bytes");
    }
    let settings = text.lines().filter_map(|line| line.trim().split_once('='));
    let mut secrets = settings.filter(|(key, _)| {
        let key = key.trim().rsplit(':').next().unwrap_or_default();
        matches!(key, "_authToken" | "_auth" | "_password")
    });
    let is_named = |value: &str| {
        let value = value.trim().trim_matches('"');
        value.starts_with("${") && value.ends_with('}')
    };
    match secrets.find(|(_, value)| !is_named(value)) {
        Some(_) => {
            Err("holds a token: write ${NPM_TOKEN} in its place, and set the function's secret \
                        NPM_TOKEN to it")
        }
        None => Ok(()),
    }
}

fn check_trigger(trigger: &Trigger, kind: TriggerKind, path: &str, report: &mut Report) {
    report.range(&format!("{path}.deadlineSeconds"), trigger.deadline_seconds, 1, MAX_CRON_SECONDS);
    if kind == TriggerKind::Cron {
        return check_schedule(trigger, path, report);
    }
    let only_cron = "is for a cron trigger";
    report.require(trigger.time_zone().is_none(), format!("{path}.timeZone"), only_cron);
    report.require(!trigger.suspend, format!("{path}.suspend"), only_cron);
    for problem in trigger.event().iter().flat_map(EventTrigger::problems) {
        report.add(format!("{path}.config.{}", problem.key), problem.message);
    }
}

fn check_schedule(trigger: &Trigger, path: &str, report: &mut Report) {
    let zone = trigger.time_zone().map_or(Ok(()), Schedule::check_zone);
    match trigger.schedule() {
        None => report.add(format!("{path}.schedule"), "is required for a cron trigger"),
        Some(schedule) => {
            let fires = Schedule::parse(schedule).and_then(|schedule| schedule.check_fires());
            report.check(format!("{path}.schedule"), fires);
        }
    }
    report.check(format!("{path}.timeZone"), zone);
}

fn check_resources(resources: &Resources, report: &mut Report) {
    let fields = [
        ("cpuRequest", &resources.cpu_request),
        ("cpuLimit", &resources.cpu_limit),
        ("memoryRequest", &resources.memory_request),
        ("memoryLimit", &resources.memory_limit),
        ("tmpLimit", &resources.tmp_limit),
    ];
    let mut values = [None; 5];
    for ((name, field), value) in fields.iter().zip(&mut values) {
        let Some(text) = field.as_deref().filter(|text| !text.is_empty()) else {
            continue;
        };
        match quantity::parse(text) {
            Ok(parsed)
                if parsed > 0.0 && parsed < quantity::LEAST_BYTES && name.starts_with("memory") =>
            {
                let number = quantity::number(text);
                let problem = format!("{text} is less than 1Mi; did you mean {number}Mi?");
                report.add(format!("spec.resources.{name}"), problem);
            }
            Ok(parsed) if parsed > 0.0 => *value = Some(parsed),
            Ok(_) => report.add(format!("spec.resources.{name}"), "must be above zero"),
            Err(error) => report.add(format!("spec.resources.{name}"), error),
        }
    }
    let [cpu_request, cpu_limit, memory_request, memory_limit, _] = values;
    for (name, request, limit) in
        [("cpuRequest", cpu_request, cpu_limit), ("memoryRequest", memory_request, memory_limit)]
    {
        if let (Some(request), Some(limit)) = (request, limit)
            && request > limit
        {
            report.add(format!("spec.resources.{name}"), "must not exceed its limit");
        }
    }
}

const _: () = assert!(MAX_NAME_LEN + "-cron".len() <= 52);
