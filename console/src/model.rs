//! What the API takes and gives (`docs/api.md`): shapes only.

use std::collections::BTreeMap;

use kipper_function::{
    FunctionSpec, FunctionStatus, Timestamp,
    function::{RunStatus, Runtime},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::FieldProblem;

/// What the page has to know before it shows anything.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Meta {
    /// Version of the console.
    pub version: &'static str,
    /// `dev` or `cluster`.
    pub backend: &'static str,
    /// Who is logged in.
    pub user: String,
    /// The namespace to begin with.
    pub namespace: String,
    /// Where a function is reached: a URL with `{name}` in it.
    pub url_pattern: Option<String>,
    /// What this backend can do, and by name what it cannot.
    pub can: BTreeMap<&'static str, bool>,
    /// Why it cannot.
    pub why: BTreeMap<&'static str, &'static str>,
    /// What is the same everywhere.
    #[serde(flatten)]
    pub catalog: Value,
}

/// What a backend may be able to do.
pub const ABILITIES: [&str; 10] = [
    "namespaces",
    "images",
    "bindings",
    "volumes",
    "services",
    "secrets",
    "revisions",
    "delete",
    "testRun",
    "events",
];

impl Meta {
    /// Of a backend that can do all but what `why` names.
    pub fn new(
        backend: &'static str,
        user: &str,
        namespace: &str,
        url_pattern: Option<String>,
        why: BTreeMap<&'static str, &'static str>,
    ) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            backend,
            user: user.to_owned(),
            namespace: namespace.to_owned(),
            url_pattern,
            can: ABILITIES.map(|what| (what, !why.contains_key(what))).into(),
            why,
            catalog: crate::catalog::catalog(),
        }
    }
}

/// A Function in a list.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// `Idle`, `Scaling`, `Running` or `Failed`.
    pub phase: Option<String>,
    /// Its condition Ready.
    pub ready: Option<Ready>,
    /// Kinds of its triggers; http where it names none.
    pub triggers: Vec<String>,
    /// Of its cron trigger.
    pub schedule: Option<String>,
    /// Pods, or processes.
    pub replicas: i32,
    /// Where it is reached, if it serves requests.
    pub url: Option<String>,
    /// `node`, `python` or `image`.
    pub runtime: String,
    /// The last run of its schedule that ended, or the one in progress.
    pub last_run: Option<RunStatus>,
    /// When it was created.
    pub created: Option<Timestamp>,
}

/// A condition, as far as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ready {
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// In one word.
    pub reason: String,
    /// The rest.
    pub message: String,
}

/// One Function.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Detail {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Moves with every change of the spec.
    pub generation: i64,
    /// As which it was read, where that is what a write is about: it moves with the status as well.
    #[serde(skip)]
    pub version: Option<String>,
    /// What it shall be.
    pub spec: FunctionSpec,
    /// What it is.
    pub status: FunctionStatus,
    /// Where it is reached, if it serves requests.
    pub url: Option<String>,
    /// Keys of its Secret, never values.
    pub secrets: Vec<SecretKey>,
    /// The file of a local function.
    pub origin: Option<String>,
    /// Why it cannot be saved.
    pub read_only: Option<String>,
    /// What its user should know.
    pub notices: Vec<String>,
}

/// A key of a function's Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretKey {
    /// The key.
    pub name: String,
    /// Had it another value before?
    pub has_previous: bool,
    /// When it was given the present one, if it had another.
    pub rotated_at: Option<String>,
}

/// A Function to be.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct New {
    /// Its name.
    pub name: String,
    /// What it shall be.
    pub spec: FunctionSpec,
    /// Its secrets.
    #[serde(default)]
    pub secrets: SecretChanges,
}

/// A form to be saved.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Save {
    /// What the Function shall be.
    pub spec: FunctionSpec,
    /// What becomes of its secrets.
    #[serde(default)]
    pub secrets: SecretChanges,
    /// What the form was loaded with.
    pub base: Base,
}

/// What a form was loaded with.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Base {
    /// The generation of then.
    pub generation: i64,
    /// The spec of then.
    pub spec: FunctionSpec,
}

/// Changes of secrets. Values are printed nowhere.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretChanges {
    /// Keys that are given a value.
    #[serde(default)]
    pub set: BTreeMap<String, String>,
    /// Keys that go.
    #[serde(default)]
    pub delete: Vec<String>,
}

impl std::fmt::Debug for SecretChanges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let set: Vec<&String> = self.set.keys().collect();
        f.debug_struct("SecretChanges").field("set", &set).field("delete", &self.delete).finish()
    }
}

impl SecretChanges {
    /// Is there nothing to do?
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.delete.is_empty()
    }
}

/// What became of a save.
#[derive(Debug, Serialize)]
pub struct Saved {
    /// The Function afterwards.
    pub function: Detail,
    /// `created`, `changed` or `unchanged`.
    pub outcome: Outcome,
    /// Fields that others changed meanwhile, and that were kept.
    pub merged: Vec<String>,
    /// What was written: `secrets`, `spec`.
    pub written: Vec<&'static str>,
    /// The step that failed after others were carried out.
    pub failed: Option<Failed>,
}

impl Saved {
    /// A Function that is new.
    pub fn created(function: Detail, written: Vec<&'static str>, failed: Option<Failed>) -> Self {
        Self { function, outcome: Outcome::Created, merged: Vec::new(), written, failed }
    }
}

/// What a write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It is new.
    Created,
    /// It is another one now.
    Changed,
    /// Nothing was written.
    Unchanged,
}

/// A step of a save that failed.
#[derive(Debug, Serialize)]
pub struct Failed {
    /// `secrets` or `spec`.
    pub step: &'static str,
    /// Why.
    pub error: String,
}

/// A Function that is asked about before it is saved.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Draft {
    /// Where it is to be.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What it shall be.
    pub spec: FunctionSpec,
    /// Must there be none of its name?
    #[serde(default)]
    pub is_new: bool,
}

/// What is wrong with a draft.
#[derive(Debug, Default, Serialize)]
pub struct Checked {
    /// What has to be mended before it can be saved.
    pub problems: Vec<FieldProblem>,
    /// What its user should know.
    pub warnings: Vec<String>,
}

/// A Service that can be bound.
#[derive(Clone, Debug, Serialize)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// `postgres`, `mysql`, `mongodb`, `redis`, `minio`; absent where it is none of them.
    pub kind: Option<String>,
    /// Why it cannot be used as it is.
    pub problem: Option<String>,
}

/// A volume that can be mounted.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// `1Gi`.
    pub size: String,
    /// Functions that mount it.
    pub mounted_by: Vec<String>,
}

/// A line of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// When.
    pub time: Option<Timestamp>,
    /// Who said it: a pod or a process.
    pub pod: String,
    /// In which container.
    pub container: String,
    /// What.
    pub text: String,
}

/// Lines up to now.
#[derive(Clone, Debug, Serialize)]
pub struct Lines {
    /// By their time.
    pub lines: Vec<Line>,
    /// What is missing.
    pub notices: Vec<String>,
    /// `pods`, `loki` or `process`.
    pub source: &'static str,
}

/// What was reported of a Function.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    /// When.
    pub time: Option<Timestamp>,
    /// `Normal` or `Warning`.
    #[serde(rename = "type")]
    pub type_: String,
    /// In one word.
    pub reason: String,
    /// The rest.
    pub message: String,
}

/// An earlier spec of a Function.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Revision {
    /// Its number.
    pub number: i64,
    /// When it was applied first.
    pub created: Option<Timestamp>,
    /// What its author said.
    pub cause: Option<String>,
    /// Is it the present one?
    pub is_current: bool,
    /// What it says.
    pub spec: FunctionSpec,
}

/// A request to a function.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invoke {
    /// `GET`.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Header fields.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// Its body, text.
    #[serde(default)]
    pub body: String,
}

/// Its answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Invoked {
    /// Its status.
    pub status: u16,
    /// Its header.
    pub headers: Vec<(String, String)>,
    /// Its body: text, or base64.
    pub body: String,
    /// Which of the two.
    pub is_text: bool,
    /// Was it longer?
    pub truncated: bool,
    /// Until its head, in milliseconds.
    pub milliseconds: f64,
    /// The phases of a cold start.
    pub phases: Vec<Phase>,
}

/// A phase of a cold start.
#[derive(Debug, Serialize)]
pub struct Phase {
    /// `queue`, `wake`, `ready`, `connect` or `ttfb`.
    pub name: String,
    /// How long it took.
    pub milliseconds: f64,
}

/// Who says how busy a function is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RateSource {
    /// Requests are counted: the mean since the last update.
    Counter,
    /// What the function is scaled by, as the scaler-adapter tells it: the larger of the mean of the last
    /// 60 s and of what the last 10 s show beyond chance; for 30 s after it has asked for replicas, at least
    /// what keeps them.
    Autoscaler,
}

/// A line of the stream.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Update {
    /// All there are.
    Functions {
        /// By name.
        items: Vec<Summary>,
    },
    /// The one that is watched.
    Function {
        /// As it is now.
        function: Box<Detail>,
    },
    /// It was deleted.
    Gone,
    /// It said something.
    Line {
        /// What.
        line: Line,
    },
    /// How busy it is.
    Rate {
        /// When.
        time: Timestamp,
        /// Requests per second.
        #[serde(rename = "perSecond")]
        per_second: f64,
        /// Pods, or processes.
        replicas: i32,
        /// Who says so, and thereby over how long it is a mean.
        source: RateSource,
    },
    /// The backend cannot go on.
    Error {
        /// Why.
        error: String,
        /// In one word.
        reason: crate::Reason,
    },
}

impl Summary {
    /// What a list shows of a Function.
    pub fn of(detail: &Detail, created: Option<Timestamp>) -> Self {
        let (spec, status) = (&detail.spec, &detail.status);
        let kinds = spec.triggers.iter().map(|trigger| trigger.type_.clone());
        let mut triggers: Vec<String> = kinds.collect();
        if triggers.is_empty() {
            triggers.push("http".to_owned());
        }
        let ready = status.condition(kipper_function::names::condition::READY);
        let schedule = status.schedule.clone().unwrap_or_default();
        Self {
            name: detail.name.clone(),
            namespace: detail.namespace.clone(),
            phase: status.phase.clone(),
            ready: ready.map(|ready| Ready {
                status: ready.status.clone(),
                reason: ready.reason.clone(),
                message: ready.message.clone(),
            }),
            triggers,
            schedule: spec.cron_trigger().and_then(|t| t.schedule.clone()),
            replicas: status.replicas.unwrap_or_default(),
            url: detail.url.clone(),
            runtime: spec.effective_runtime().map_or("image", Runtime::as_str).to_owned(),
            last_run: schedule.active_run.or(schedule.last_run),
            created,
        }
    }
}
