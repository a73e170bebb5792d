//! Desired state: the fields of a Function, and the schema by which they are admitted.

// `KubeSchema` repeats each type inside a function body, where `pub` reaches nobody.
#![allow(unreachable_pub)]

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{schema_default, status::FunctionStatus};

/// Desired state of a Function.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "kipper.run",
    version = "v1alpha1",
    kind = "Function",
    plural = "functions",
    shortname = "fn",
    category = "kipper",
    namespaced,
    status = "FunctionStatus",
    derive = "PartialEq",
    doc = "A serverless function: code or an image that scales to zero and wakes on demand.",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".status.replicas"),
    printcolumn(name = "Trigger", type_ = "string", json_path = ".spec.triggers[*].type"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "URL", type_ = "string", json_path = ".status.endpoint"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new(
        "oldSelf.hasValue() || (self.metadata.name.size() <= 47 && \
         self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$'))"
    )
    .message("name must be a DNS-1035 label of at most 47 characters")
    .optional_old_self(true)
)]
#[x_kube(
    validation = Rule::new(
        "[has(self.image) && self.image.size() > 0, \
         has(self.source) && has(self.source.code) && self.source.code.size() > 0, \
         has(self.source) && has(self.source.files) && self.source.files.size() > 0]\
         .exists_one(given, given)"
    )
    .message("exactly one of image, source.code and source.files must be set"),
    validation = Rule::new(
        "(has(self.image) && self.image.size() > 0) || !has(self.runtime) || \
         self.runtime in ['', 'node', 'python']"
    )
    .message("runtime must be node or python")
    .field_path(".runtime"),
    validation = Rule::new(
        "!has(self.noTmp) || !self.noTmp || (has(self.image) && self.image.size() > 0)"
    )
    .message("noTmp needs image: the runtimes of inline code write to /tmp")
    .field_path(".noTmp"),
    validation = Rule::new(
        "!has(self.logRequests) || !self.logRequests || !has(self.image) || self.image.size() == 0"
    )
    .message("logRequests needs inline code: an image logs its requests itself")
    .field_path(".logRequests"),
    validation = Rule::new(
        "!has(self.triggers) || \
         self.triggers.filter(t, !(t.type in ['http', 'cron'])).size() <= 1"
    )
    .message("at most one event trigger is allowed")
    .field_path(".triggers")
)]
#[serde(rename_all = "camelCase")]
pub struct FunctionSpec {
    /// Container image; excludes `source`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub image: Option<String>,

    /// Port the function listens on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(default = "schema_default::port", range(min = 1, max = 65535))]
    pub port: Option<i32>,

    /// Runtime of inline code: node or python. Ignored where `image` is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub runtime: Option<String>,

    /// Inline code, of one file or of a folder; excludes `image`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,

    /// Environment variables that are not secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 256))]
    pub env: BTreeMap<String, String>,

    /// CPU, memory and `/tmp` of one pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,

    /// Services whose connection details are injected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub service_bindings: Vec<ServiceBinding>,

    /// Volumes mounted into every pod, cron and test runs included.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["mountPath".into()]))]
    pub volumes: Vec<Volume>,

    /// Leaves out the volume at `/tmp` that the pods of an image have. A pod that mounts no volume at
    /// all starts 300 ms sooner: the kubelet does not wait for one. `/tmp` is then as read-only as the
    /// rest, unless the image declares it as a volume (`VOLUME /tmp`), which no limit counts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_tmp: bool,

    /// What invokes the function; none means http. At most one each of http, cron and event.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub triggers: Vec<Trigger>,

    /// Turns the security headers added to responses off.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_security_headers: bool,

    /// Writes a line per request to the function's log: method, path, status, duration, whether it
    /// was the first one of its process, and the memory of that. For inline code.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub log_requests: bool,

    /// External origins added to the Content-Security-Policy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub csp_allowlist: Vec<String>,

    /// Seconds without a request after which the function is scaled to zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(default = "schema_default::idle_timeout", range(min = 0, max = 2_592_000))]
    pub idle_timeout_seconds: Option<i64>,

    /// How far and how fast it scales.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<Scaling>,

    /// How long a request may take, stage by stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<Timeouts>,

    /// Path that answers 200..=399 once the function is ready. Absent: `/health` for inline code,
    /// an accepted connection for an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024), regex(pattern = "^(/.*)?$"))]
    pub readiness_path: Option<String>,

    /// Protocol spoken to the pod: auto (HTTP/1.1, h2c for gRPC), http1 or h2c.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(default = "schema_default::protocol", extend("enum" = ["auto", "http1", "h2c"]))]
    pub protocol: Option<String>,

    /// Secrets that hold registry credentials.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub image_pull_secrets: Vec<ImagePullSecret>,
}

/// Inline code of a function: one file, or the files of a folder.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new(
        "!has(self.files) || self.files.all(path, path.size() > 0 && path.size() <= 253 && \
         !path.startsWith('/') && !path.startsWith('..') && !path.endsWith('/'))"
    )
    .message(
        "the path of a file must be relative to the function's folder and have at most 253 characters"
    )
    .field_path(".files"),
    validation = Rule::new(
        "!has(self.files) || \
         self.files.map(path, path.size() + self.files[path].size()).sum() <= 1000000"
    )
    .message("all files together must be at most 1000000 bytes")
    .field_path(".files")
)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// The handler's source text, of one file; excludes `files`. It stands in a ConfigMap, which
    /// holds at most 1 MiB. With more than 96 KiB of code and `env` a cold start takes 300 ms longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1_000_000))]
    pub code: Option<String>,
    /// The files of the function's folder, relative path (`lib/shout.js`) to text; excludes `code`. The
    /// handler is in what `main` of its `package.json` names, in `index.js` (or `.mjs`, `.cjs`, `.ts`,
    /// `.mts`, `.cts`) or in `handler.py`. Packages are those of its `package.json` or
    /// `requirements.txt`, or, where it has none, `dependencies`. At most 1,000,000 bytes together.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 100))]
    #[x_kube(merge_strategy = MapMerge::Atomic)]
    pub files: BTreeMap<String, String>,
    /// Name of the exported handler, where it is not the runtime's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub handler: Option<String>,
    /// Packages installed when the pod starts: name to version, range or URL of an archive. Excludes a
    /// `package.json` or `requirements.txt` among `files`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 200))]
    pub dependencies: BTreeMap<String, String>,
    /// npm's settings for their installation, as in `.npmrc`. A token stands there as a variable,
    /// `${NPM_TOKEN}`, whose value is in the function's Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16_384))]
    pub npmrc: Option<String>,
}

/// CPU, memory and `/tmp` of one pod, as Kubernetes quantities. The defaults (50m and 64Mi requested,
/// 256Mi memory limit, no CPU limit, 512Mi of `/tmp`) are applied when the pod is rendered, not
/// stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// CPU reserved for the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub cpu_request: Option<String>,
    /// CPU the pod may not exceed. Unset by default: a throttled boot is a slow cold start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub cpu_limit: Option<String>,
    /// Memory reserved for the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub memory_request: Option<String>,
    /// Memory above which the pod is killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub memory_limit: Option<String>,
    /// What the pod may write to `/tmp`, installed packages included; beyond it the pod is evicted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub tmp_limit: Option<String>,
}

/// A service bound to the function.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceBinding {
    /// Name of the Service in the same namespace.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Replaces `DB_`, `REDIS_` or `S3_` in the injected names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), regex(pattern = "^([A-Za-z_][A-Za-z0-9_]*)?$"))]
    pub prefix: Option<String>,
    /// Database used instead of the function's own one. It has to exist, unless createDatabase is
    /// true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub database: Option<String>,
    /// Creates that database where it does not exist. The function's own one always is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub create_database: bool,
    /// What becomes of the function's database and user on the server when the binding or the
    /// function is removed: Retain (the default) keeps both, Delete drops the user, and the
    /// database too if it was created for this function and no other function uses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Retain", "Delete"]))]
    pub deletion_policy: Option<String>,
}

/// A volume mounted into the function's pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Volume {
    /// Name of the Kipper volume.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Absolute path in the container.
    #[schemars(length(max = 1024), regex(pattern = "^/[^:]*$"))]
    pub mount_path: String,
}

/// What invokes the function.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new(
        "self.type != 'cron' || (has(self.schedule) && self.schedule.size() > 0)"
    )
    .message("a cron trigger needs a schedule"),
    validation = Rule::new("!has(self.schedule) || !self.schedule.contains('TZ')")
        .message("a schedule must not name a time zone; set timeZone instead"),
    validation = Rule::new(
        "self.type in ['http', 'cron'] || (has(self.config) && \
         'source' in self.config && self.config['source'].size() > 0)"
    )
    .message("an event trigger needs config.source"),
    validation = Rule::new(
        "!(self.type in ['postgres', 'mysql']) || (has(self.config) && \
         'query' in self.config && self.config['query'].size() > 0)"
    )
    .message("a postgres or mysql trigger needs config.query"),
    validation = Rule::new(
        "self.type != 'redis' || (has(self.config) && \
         'list' in self.config && self.config['list'].size() > 0)"
    )
    .message("a redis trigger needs config.list"),
    validation = Rule::new(
        "self.type != 'minio' || (has(self.config) && \
         'bucket' in self.config && self.config['bucket'].size() > 0)"
    )
    .message("a minio trigger needs config.bucket")
)]
#[serde(rename_all = "camelCase")]
pub struct Trigger {
    /// http, cron, postgres, mysql, redis or minio.
    #[serde(rename = "type")]
    #[schemars(extend("enum" = ["http", "cron", "postgres", "mysql", "redis", "minio"]))]
    pub type_: String,
    /// Cron schedule, for type cron.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub schedule: Option<String>,
    /// IANA name of the time zone of the schedule, such as Europe/Berlin. Absent: UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub time_zone: Option<String>,
    /// Suspends the schedule: no run is started while this is true. A run in progress goes on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
    /// Seconds after which a run of type cron is ended. One run at a time: firings are skipped
    /// until then. Absent: requestSeconds where that is set, else an hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 604_800))]
    pub deadline_seconds: Option<i64>,
    /// Settings of an event trigger. All: source, batch, concurrency, maxHeld, maxAttempts,
    /// pollInterval, deliverTimeout. postgres and mysql: database, query, key, markDone, onFailed.
    /// redis: list, listEnd, lease. minio: bucket, prefix, suffix, lease.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub config: BTreeMap<String, String>,
}

/// How far and how fast a function scales.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new(
        "!has(self.minReplicas) || !has(self.maxReplicas) || \
         self.minReplicas <= self.maxReplicas"
    )
    .message("minReplicas must not exceed maxReplicas")
)]
#[serde(rename_all = "camelCase")]
pub struct Scaling {
    /// Replicas kept while idle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(default = "schema_default::min_replicas", range(min = 0, max = 1000))]
    pub min_replicas: Option<i32>,
    /// Replicas never exceeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(default = "schema_default::max_replicas", range(min = 1, max = 1000))]
    pub max_replicas: Option<i32>,
    /// Requests per second one replica is expected to take, over one minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(default = "schema_default::target_request_rate", range(min = 0.001))]
    pub target_request_rate: Option<f64>,
    /// Requests in flight a pod never exceeds; 0 is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(default = "schema_default::concurrency", range(min = 0, max = 1_000_000))]
    pub concurrency: Option<i32>,
    /// Whether a sudden load gets its replicas within a second or two, ahead of the
    /// HorizontalPodAutoscaler, which looks only every 15 seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(default = "schema_default::burst")]
    pub burst: Option<bool>,
}

/// How long a request may take, stage by stage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Timeouts {
    /// A request held for a waking pod is answered 504 after this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(default = "schema_default::cold_start", range(min = 1, max = 86_400))]
    pub cold_start_seconds: Option<i64>,
    /// From the request's last byte to the response's head.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(default = "schema_default::response_header", range(min = 1, max = 86_400))]
    pub response_header_seconds: Option<i64>,
    /// The whole request once forwarded; 0 is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(default = "schema_default::request", range(min = 0, max = 86_400))]
    pub request_seconds: Option<i64>,
}

/// A Secret that holds registry credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImagePullSecret {
    /// Name of the Secret in the same namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}
