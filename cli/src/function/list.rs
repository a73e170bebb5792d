//! `kip function list` and `get`.

use clap::Args as ClapArgs;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kipper_client::{
    ApiError,
    error::Patience,
    functions::{Seen, Selection},
};
use kipper_function::{
    Function, FunctionStatus, Timestamp,
    function::{Phase, RunResult},
    names::condition::READY,
};
use kube::ResourceExt as _;

use crate::{
    empty, failure,
    output::{self, Colour, Format, OutputArgs},
    session::Session,
    settings::ScopeArgs,
};

/// Heading of the phases.
const PHASE: &str = "PHASE";
/// The longest of them, which is nobody's but this command's.
const DELETING: &str = "Deleting";

/// List functions.
#[derive(Clone, Debug, ClapArgs)]
pub struct ListArgs {
    /// List functions in all namespaces
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,

    /// List only functions with these labels, such as team=web or tier!=test
    #[arg(short = 'l', long, value_name = "LABELS", default_value = "", hide_default_value = true)]
    pub selector: String,

    /// After the list, print each function that changes, until Ctrl-C
    #[arg(short, long)]
    pub watch: bool,

    /// Output format.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Show functions by name.
#[derive(Clone, Debug, ClapArgs)]
pub struct GetArgs {
    /// Names of functions
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,

    /// Output format.
    #[command(flatten)]
    pub output: OutputArgs,
}

pub(super) async fn list(args: &ListArgs, scope: &ScopeArgs) -> anyhow::Result<()> {
    let session = Session::open(scope).await?;
    let selection = Selection { everywhere: args.all_namespaces, labels: args.selector.clone() };
    if args.watch {
        return watch(args, &session, &selection).await;
    }
    let functions = session.functions.select(&selection).await?;
    let format = args.output.output;
    match (functions.is_empty(), args.all_namespaces) {
        (true, false) => empty::note("functions", &session.connection, format).await,
        (true, true) if format.is_none() => output::note("no functions found in the cluster"),
        _ => {}
    }
    if let Some(format) = format {
        return output::objects(format, output::FUNCTIONS, functions);
    }
    output::print(table(&functions, args.all_namespaces, Timestamp::now()))
}

async fn watch(args: &ListArgs, session: &Session, selection: &Selection) -> anyhow::Result<()> {
    let mut printed = Ok(());
    let mut watched = Watched::new(args.output.output, args.all_namespaces);
    let take = |seen: Seen| {
        if printed.is_ok() {
            printed = watched.print(seen);
        }
    };
    session.functions.watch(selection, Patience::Endless, take).await?;
    printed
}

/// Prints functions as a watch brings them: the columns stay as wide as those of the first table.
struct Watched {
    format: Option<Format>,
    columns: Columns,
    widths: Vec<usize>,
}

impl Watched {
    fn new(format: Option<Format>, namespace: bool) -> Self {
        Self { format, columns: Columns { namespace, runs: false }, widths: Vec::new() }
    }

    fn print(&mut self, seen: Seen) -> anyhow::Result<()> {
        match (seen, self.format) {
            (Seen::All(all), Some(format)) => {
                all.iter().try_for_each(|f| output::object(format, output::FUNCTIONS, f))
            }
            (Seen::Changed(one) | Seen::Gone(one), Some(format)) => {
                output::object(format, output::FUNCTIONS, &*one)
            }
            (seen, None) => output::print(self.lines(seen, Timestamp::now())),
        }
    }

    fn lines(&mut self, seen: Seen, now: Timestamp) -> String {
        match seen {
            Seen::All(all) => {
                self.columns.runs = has_runs(&all);
                let headings = self.columns.headings();
                let row = |function: &Function| row(function, self.columns, now);
                let rows: Vec<_> = all.iter().map(row).collect();
                self.widths = output::widths(&headings, &rows);
                let phase = headings.iter().position(|heading| *heading == PHASE);
                if let Some(width) = phase.and_then(|at| self.widths.get_mut(at)) {
                    *width = DELETING.len().max(*width);
                }
                let headings = headings.into_iter().map(str::to_owned).collect();
                let lines = std::iter::once(&headings).chain(&rows);
                lines.map(|line| output::aligned(line, &self.widths)).collect()
            }
            Seen::Changed(one) => output::aligned(&row(&one, self.columns, now), &self.widths),
            Seen::Gone(mut one) => {
                // That it was asked to go is what its phase says.
                one.metadata.deletion_timestamp.get_or_insert(Time(now));
                output::aligned(&row(&one, self.columns, now), &self.widths)
            }
        }
    }
}

pub(super) async fn get(args: &GetArgs, scope: &ScopeArgs) -> anyhow::Result<()> {
    let session = Session::open(scope).await?;
    let (mut found, mut missing) = (Vec::new(), Vec::<anyhow::Error>::new());
    for name in &args.names {
        match session.functions.get(name).await {
            Ok(function) => found.push(function),
            Err(error @ ApiError::NotFound { .. }) => missing.push(error.into()),
            Err(error) => return Err(error.into()),
        }
    }
    match (args.output.output, found.as_slice()) {
        (_, []) => {}
        (Some(format @ (Format::Json | Format::Yaml)), [one]) if args.names.len() == 1 => {
            output::object(format, output::FUNCTIONS, one)?;
        }
        (Some(format), _) => output::objects(format, output::FUNCTIONS, &found)?,
        (None, found) => output::print(table(found, false, Timestamp::now()))?,
    }
    failure::one_of(missing, args.names.len())
}

/// Columns that are there where a function needs them.
#[derive(Clone, Copy)]
struct Columns {
    namespace: bool,
    /// Last run and next one.
    runs: bool,
}

impl Columns {
    fn headings(self) -> Vec<&'static str> {
        let mut headings = vec!["NAME", "TRIGGER", PHASE, "REPLICAS", "URL", "AGE"];
        if self.runs {
            headings.splice(5..5, ["LAST RUN", "NEXT RUN"]);
        }
        if self.namespace {
            headings.insert(0, "NAMESPACE");
        }
        headings
    }
}

fn has_runs(functions: &[Function]) -> bool {
    functions.iter().any(|function| function.spec.cron_trigger().is_some())
}

fn table(functions: &[Function], with_namespace: bool, now: Timestamp) -> String {
    let columns = Columns { namespace: with_namespace, runs: has_runs(functions) };
    let headings = columns.headings();
    let rows: Vec<_> = functions.iter().map(|function| row(function, columns, now)).collect();
    output::table(&headings, &rows)
}

fn row(function: &Function, columns: Columns, now: Timestamp) -> Vec<String> {
    let status = function.status.as_ref();
    let created = function.creation_timestamp().map(|time| time.0);
    let mut row = vec![
        function.name_any(),
        triggers(function),
        phase(function),
        status.and_then(|status| status.replicas).unwrap_or(0).to_string(),
        status.and_then(|status| status.endpoint.clone()).unwrap_or_else(|| "-".to_owned()),
        output::age(created, now),
    ];
    if columns.runs {
        row.splice(5..5, [last_run(function, now), next_run(function, now)]);
    }
    if columns.namespace {
        row.insert(0, function.namespace().unwrap_or_default());
    }
    row
}

/// `Failed 3m ago`, in a colour, or that a run goes on.
pub(super) fn last_run(function: &Function, now: Timestamp) -> String {
    let schedule = function.status.as_ref().and_then(|status| status.schedule.as_ref());
    let Some(schedule) = schedule else { return "-".to_owned() };
    if let Some(active) = &schedule.active_run {
        let started = active.start_time.as_ref().map(|time| time.0);
        return output::coloured(&format!("Running {}", output::age(started, now)), Colour::Green);
    }
    let Some(last) = &schedule.last_run else { return "-".to_owned() };
    let ended = last.completion_time.as_ref().or(last.start_time.as_ref()).map(|time| time.0);
    let result = last.result.as_deref().unwrap_or_default();
    let text = format!("{result} {} ago", output::age(ended, now));
    match RunResult::parse(result) {
        Some(RunResult::Failed) => output::coloured(&text, Colour::Red),
        _ => text,
    }
}

/// `in 5h`, or that none will start.
fn next_run(function: &Function, now: Timestamp) -> String {
    let Some(trigger) = function.spec.cron_trigger() else { return "-".to_owned() };
    if trigger.suspend {
        return "suspended".to_owned();
    }
    match function.spec.schedule().and_then(|schedule| schedule.next(now)) {
        Some(next) => format!("in {}", output::age(Some(now), next)),
        None => "-".to_owned(),
    }
}

/// `http,cron`.
pub(super) fn triggers(function: &Function) -> String {
    let triggers = &function.spec.triggers;
    if triggers.is_empty() {
        return "http".to_owned();
    }
    triggers.iter().map(|trigger| trigger.type_.as_str()).collect::<Vec<_>>().join(",")
}

/// Its phase, in a colour, and why what it shall be now does not run, whatever serves meanwhile; one that
/// is being deleted has none any more.
pub(super) fn phase(function: &Function) -> String {
    if function.metadata.deletion_timestamp.is_some() {
        return output::coloured(DELETING, Colour::Yellow);
    }
    let status = function.status.as_ref();
    let ready = status.and_then(|status| status.condition(READY));
    let refused = ready.filter(|ready| ready.status == "False");
    match (status.and_then(|status| status.phase()), refused) {
        (Some(phase), Some(refused)) if phase != Phase::Failed => {
            output::coloured(&format!("{}, {}", phase.as_str(), refused.reason), Colour::Red)
        }
        (phase, _) => plain_phase(phase, status),
    }
}

fn plain_phase(phase: Option<Phase>, status: Option<&FunctionStatus>) -> String {
    match phase {
        Some(phase @ Phase::Failed) => output::coloured(phase.as_str(), Colour::Red),
        Some(phase @ Phase::Running) => output::coloured(phase.as_str(), Colour::Green),
        Some(phase @ Phase::Scaling) => output::coloured(phase.as_str(), Colour::Yellow),
        Some(phase @ Phase::Idle) => phase.as_str().to_owned(),
        None => status.and_then(|s| s.phase.clone()).unwrap_or_else(|| "Pending".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_tells_what_is_known() {
        let function: Function = serde_json::from_value(json!({
            "apiVersion": "kipper.run/v1alpha1", "kind": "Function",
            "metadata": {
                "name": "hello", "namespace": "shop-dev",
                "creationTimestamp": "2026-01-01T00:00:00Z",
            },
            "spec": { "triggers": [{ "type": "http" }] },
            "status": { "phase": "Idle", "replicas": 0, "endpoint": "https://fn-hello.test" },
        }))
        .unwrap();
        let now = "2026-01-01T00:01:00Z".parse().unwrap();
        let mut pending = function.clone();
        pending.status = None;
        pending.spec.triggers.clear();
        let mut broken = serde_json::to_value(&function).unwrap();
        broken["status"]["phase"] = json!("Running");
        broken["status"]["conditions"] = json!([{
            "type": "Ready", "status": "False", "reason": "ContainerCrashed", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }]);
        let broken: Function = serde_json::from_value(broken).unwrap();
        assert_eq!(
            table(&[function, pending, broken], true, now),
            "\
NAMESPACE   NAME    TRIGGER   PHASE                       REPLICAS   URL                     AGE
shop-dev    hello   http      Idle                        0          https://fn-hello.test   60s
shop-dev    hello   http      Pending                     0          -                       60s
shop-dev    hello   http      Running, ContainerCrashed   0          https://fn-hello.test   60s
"
        );
    }

    #[test]
    fn a_watch_keeps_its_columns() {
        let function = |name: &str, phase: &str| -> Box<Function> {
            Box::new(
                serde_json::from_value(json!({
                    "apiVersion": "kipper.run/v1alpha1", "kind": "Function",
                    "metadata": { "name": name, "creationTimestamp": "2026-01-01T00:00:00Z" },
                    "spec": {}, "status": { "phase": phase, "replicas": 1 },
                }))
                .unwrap(),
            )
        };
        let now = "2026-01-01T00:01:00Z".parse().unwrap();
        let mut watched = Watched::new(None, false);
        let mut printed = watched.lines(Seen::All(vec![*function("hello", "Running")]), now);
        printed += &watched.lines(Seen::Changed(function("hello", "Idle")), now);
        printed += &watched.lines(Seen::Gone(function("hi", "Idle")), now);
        assert_eq!(
            printed,
            "\
NAME    TRIGGER   PHASE      REPLICAS   URL   AGE
hello   http      Running    1          -     60s
hello   http      Idle       1          -     60s
hi      http      Deleting   1          -     60s
"
        );
        let mut none = Watched::new(None, false);
        assert!(none.lines(Seen::All(Vec::new()), now).starts_with("NAME   TRIGGER"));
    }

    #[test]
    fn schedules_have_their_last_run_and_their_next() {
        let function = |name: &str, suspend: bool, schedule: serde_json::Value| -> Function {
            serde_json::from_value(json!({
                "apiVersion": "kipper.run/v1alpha1", "kind": "Function",
                "metadata": { "name": name, "creationTimestamp": "2026-01-01T00:00:00Z" },
                "spec": { "triggers": [
                    { "type": "cron", "schedule": "0 2 * * *", "suspend": suspend },
                ] },
                "status": { "phase": "Idle", "schedule": schedule },
            }))
            .unwrap()
        };
        let run = |result: &str| json!({ "job": "f-1", "result": result, "completionTime": "2026-01-01T00:57:00Z" });
        let failed = function("failed", false, json!({ "lastRun": run("Failed") }));
        let paused = function("paused", true, json!({ "lastRun": run("Succeeded") }));
        let active = json!({ "job": "f-2", "startTime": "2026-01-01T00:59:50Z" });
        let busy = json!({ "lastRun": run("Failed"), "activeRun": active });
        let busy = function("busy", false, busy);
        let mut http = function("new", false, json!(null));
        http.spec.triggers.clear();
        let now = "2026-01-01T01:00:00Z".parse().unwrap();
        assert_eq!(
            table(&[failed, paused, busy, http], false, now),
            "\
NAME     TRIGGER   PHASE   REPLICAS   URL   LAST RUN           NEXT RUN    AGE
failed   cron      Idle    0          -     Failed 3m ago      in 60m      60m
paused   cron      Idle    0          -     Succeeded 3m ago   suspended   60m
busy     cron      Idle    0          -     Running 10s        in 60m      60m
new      http      Idle    0          -     -                  -           60m
"
        );
    }
}
