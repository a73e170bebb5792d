//! Event triggers: what happens in buckets of a real MinIO, handled by real processes.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use kipper_bucket::{Condition, Endpoint, S3, escape, names};
use kipper_servers::minio::{Minio, Options};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::support::{Kip, folder, kip, require, save, until};

static SERVER: LazyLock<Minio> = LazyLock::new(|| Minio::start(&Options::default()).unwrap());
static NEXT: AtomicU32 = AtomicU32::new(0);

/// Where all functions' events are until they are handled.
const STATE: &str = "kipper-events";
/// Notes each event with its id.
const HANDLER: &str = "const fs = require('node:fs');\n\
    module.exports = async (event, context) => {\n\
      if (context.trigger !== 'minio' || process.env.KIPPER_TRIGGER !== 'minio')\n\
        throw new Error('not an event');\n\
      const id = context.headers['ce-id'];\n\
      fs.appendFileSync(process.env.LOG, `${JSON.stringify({ id, event })}\\n`);\n\
    };\n";

/// A function and a bucket of the same name, which nobody else has.
struct Case {
    name: String,
    /// With the keys.
    url: String,
    runtime: Runtime,
    s3: S3,
    folder: TempDir,
}

impl Case {
    fn new() -> Self {
        Self::on(&SERVER)
    }

    fn on(server: &Minio) -> Self {
        require(&["kipper-poll", "kipper-bucket-watcher"]);
        let name = format!("photos{}", NEXT.fetch_add(1, Relaxed));
        // A thread of its own, because connections are closed while no test looks.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let endpoint = Endpoint {
            url: server.endpoint(),
            access_key: Minio::ACCESS_KEY.to_owned(),
            secret_key: Minio::SECRET_KEY.to_owned(),
            authority: Some(server.ca_pem().to_owned()),
        };
        let s3 = runtime.block_on(async { S3::new(&endpoint) }).unwrap();
        let secret_key = escape(Minio::SECRET_KEY).replace('/', "%2F");
        let url = with_keys(&endpoint.url, &secret_key);
        let folder = folder(&[(&format!("{name}.js"), HANDLER)]);
        let case = Self { name, url, runtime, s3, folder };
        case.create_bucket(&case.name);
        case
    }

    /// Starts the code file.
    fn start(&self, flags: &[&str]) -> Kip {
        let (bucket, log) = (format!("--bucket={}", self.name), self.log_flag());
        let own = ["--trigger=minio", "--source-url", &self.url, &bucket, &log];
        self.start_on(&self.code(), &[&own[..], flags].concat())
    }

    fn start_on(&self, file: &Path, flags: &[&str]) -> Kip {
        Kip::start(file, &[&["--polling-interval=200ms"][..], flags].concat())
    }

    fn code(&self) -> PathBuf {
        self.folder.path().join(format!("{}.js", self.name))
    }

    fn manifest(&self, text: &str) -> PathBuf {
        let path = self.folder.path().join("f.yaml");
        save(&path, text);
        path
    }

    fn log_flag(&self) -> String {
        format!("--env=LOG={}", self.folder.path().join("log").display())
    }

    /// A server that has just started says so for a moment longer than it seems ready.
    fn create_bucket(&self, bucket: &str) {
        until("a bucket", || self.runtime.block_on(self.s3.create_bucket(bucket)).is_ok());
    }

    fn upload(&self, key: &str) {
        self.upload_to(&self.name, key);
    }

    fn upload_to(&self, bucket: &str, key: &str) {
        let put = self.s3.put(bucket, key, key.as_bytes().to_vec(), Condition::None);
        self.runtime.block_on(put).unwrap();
    }

    fn remove(&self, key: &str) {
        self.runtime.block_on(self.s3.delete(&self.name, key)).unwrap();
    }

    /// What was noted so far.
    fn log(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Waits until so many events were noted, and nothing waits any more.
    fn handles(&self, count: usize) {
        until("all events are handled", || self.log().len() >= count && self.waiting() == 0);
        assert_eq!(self.log().len(), count);
    }

    fn waiting(&self) -> u64 {
        let pending = names::pending("local", &self.name);
        self.runtime.block_on(self.s3.count(STATE, &pending, 1000)).unwrap()
    }

    /// Event and key of everything that was noted, which came once each.
    fn story(&self) -> BTreeSet<(String, String)> {
        let log = self.log();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let ids: BTreeSet<String> = log.iter().map(|noted| text(&noted["id"])).collect();
        assert_eq!(ids.len(), log.len(), "{log:#?}");
        assert!(ids.iter().all(|id| id.starts_with(&format!("local/{}/", self.name))), "{ids:?}");
        let events = log.iter().map(|noted| &noted["event"]);
        events.map(|event| (text(&event["EventName"]), text(&event["key"]))).collect()
    }
}

fn with_keys(endpoint: &str, secret_key: &str) -> String {
    endpoint.replace("://", &format!("://{}:{secret_key}@", Minio::ACCESS_KEY))
}

fn story<const N: usize>(events: [(&str, &str); N]) -> BTreeSet<(String, String)> {
    let named = |(what, key)| (format!("s3:Object{what}"), str::to_owned(key));
    events.map(named).into()
}

/// A Function on a bucket of the Service `source`.
fn function(name: &str, source: &str, bucket: &str, config: &str) -> String {
    let code = HANDLER.replace('\n', "\n      ");
    format!(
        "apiVersion: kipper.run/v1alpha1\nkind: Function\nmetadata: {{name: {name}}}\nspec:\n  source:\n    \
         code: |\n      {code}\n  triggers:\n  - type: minio\n    config: {{source: {source}, bucket: {bucket}{config}}}\n"
    )
}

#[test]
fn uploads_and_removals_wake_a_function_and_it_goes_back_to_zero() {
    let case = Case::new();
    case.upload("old.jpg");
    let kip = case.start(&["--idle-timeout=1s"]);
    kip.wait_for(&format!("{}  node    minio trigger", case.name));
    kip.wait_for_voice(&case.name, "watching, objects 1");
    assert!(kip.functions().is_empty(), "what was there before is no event");
    let goes_back_to_zero = |round, events| {
        kip.wait_for_nth(" waiting → 1 replica", round);
        kip.wait_for_nth("started in ", round);
        case.handles(events);
        kip.wait_for_nth("idle, scaled to 0", round);
        until("no process runs", || kip.functions().is_empty());
    };
    ["in/a b.jpg", "ä+1.jpg"].iter().for_each(|key| case.upload(key));
    goes_back_to_zero(1, 2);
    ["in/a b.jpg", "ä+1.jpg", "old.jpg"].iter().for_each(|key| case.remove(key));
    goes_back_to_zero(2, 5);
    let expected = story([
        ("Created:Put", "in/a b.jpg"),
        ("Created:Put", "ä+1.jpg"),
        ("Removed:Delete", "in/a b.jpg"),
        ("Removed:Delete", "ä+1.jpg"),
        ("Removed:Delete", "old.jpg"),
    ]);
    assert_eq!(case.story(), expected);
    let log = case.log();
    let of = |name: &str| {
        let mut events = log.iter().map(|noted| &noted["event"]);
        events.find(|event| event["key"] == "in/a b.jpg" && event["EventName"] == name).unwrap()
    };
    let (created, removed) = (of("s3:ObjectCreated:Put"), of("s3:ObjectRemoved:Delete"));
    assert_eq!(created["Key"], format!("{}/in/a b.jpg", case.name));
    assert_eq!((&created["size"], &created["source"]), (&json!(10), &json!("diff")));
    assert_eq!(created["Records"][0]["s3"]["object"]["key"], "in/a%20b.jpg");
    assert_eq!((&removed["size"], &removed["etag"]), (&Value::Null, &created["etag"]));
}

#[test]
fn only_keys_that_are_wanted_are_events_and_an_edit_wants_others() {
    let case = Case::new();
    let text = function(&case.name, "store", &case.name, ", prefix: in/, suffix: .jpg");
    let path = case.manifest(&text);
    let (source, log) = (format!("--source=store={}", case.url), case.log_flag());
    let kip = case.start_on(&path, &[&source, &log]);
    kip.wait_for(&format!("{}  node    minio trigger on store", case.name));
    kip.wait_for("watching, objects 0");
    ["in/1.png", "1.jpg", "in/1.jpg"].iter().for_each(|key| case.upload(key));
    case.handles(1);
    save(&path, &text.replace(".jpg", ".png"));
    // What is there when it begins anew is no event.
    kip.wait_for("watching, objects 1");
    ["in/2.jpg", "2.png", "in/2.png"].iter().for_each(|key| case.upload(key));
    case.handles(2);
    let expected = story([("Created:Put", "in/1.jpg"), ("Created:Put", "in/2.png")]);
    assert_eq!(case.story(), expected);
}

#[test]
fn what_cannot_be_watched_is_one_line_and_harms_no_other_function() {
    let case = Case::new();
    let (wrong, later) = (format!("{}-wrong", case.name), format!("{}-later", case.name));
    let path = case.manifest(
        &[
            function(&wrong, "wrong", &case.name, ""),
            function(&later, "store", &later, ""),
            function(&case.name, "store", &case.name, ""),
        ]
        .join("---\n"),
    );
    let wrong_url = with_keys(&SERVER.endpoint(), "nonsense");
    let sources = [format!("--source=store={}", case.url), format!("--source=wrong={wrong_url}")];
    let kip = case.start_on(&path, &[&sources[0], &sources[1], &case.log_flag()]);
    let line = kip.wait_for("  events are not handled: ");
    assert!(line.starts_with(&wrong) && line.contains("SignatureDoesNotMatch"), "{line}");
    let line = kip.wait_for(" does not exist, trying again");
    assert!(line.starts_with(&later), "{line}");
    kip.wait_for_voice(&case.name, "watching, objects 0");
    case.upload("a.jpg");
    case.handles(1);
    assert_eq!(case.story(), story([("Created:Put", "a.jpg")]));

    // Found by itself once it is there.
    case.create_bucket(&later);
    kip.wait_for_voice(&later, "watching, objects 0");
    case.upload_to(&later, "b.jpg");
    until("the other function's event is handled", || case.log().len() == 2);
    let lines = kip.lines();
    let said = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
    assert_eq!(said(&wrong), 2, "how it is triggered, and why it is not: {lines:#?}");
    assert_eq!((said("does not exist"), said("nonsense"), said("WARN")), (1, 0, 0), "{lines:#?}");
}

/// Uploads while nobody watches are found by the next list.
#[test]
fn events_of_the_time_in_between_are_handled_at_the_next_start_also_with_tls() {
    let server = Minio::start(&Options { tls: true, ..Options::default() }).unwrap();
    let case = Case::on(&server);
    let authority = format!("--source-ca={}", server.ca_file().display());
    let mut kip = case.start(&[&authority]);
    kip.wait_for_voice(&case.name, "watching, objects 0");
    kip.signal(Signal::INT);
    assert_eq!(kip.wait().code(), Some(0));
    // Not even of a state bucket that was yet to be made.
    let lines = kip.lines();
    assert!(!lines.iter().any(|line| line.contains("trying again")), "{lines:#?}");
    case.upload("a.jpg");
    let kip = case.start(&[&authority]);
    kip.wait_for("  1 event waiting → 1 replica");
    case.handles(1);
    assert_eq!(case.story(), story([("Created:Put", "a.jpg")]));
}

#[test]
fn a_lone_bucket_trigger_with_wrong_keys_is_one_line_and_exit_64() {
    let case = Case::new();
    let wrong_url = with_keys(&SERVER.endpoint(), "nonsense");
    let flags = ["--trigger=minio", "--bucket=b", "--source-url", &wrong_url];
    let output = kip().arg("dev").arg(case.code()).args(flags).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), &*output.stdout), (Some(64), &b""[..]), "{stderr}");
    assert!(stderr.contains("SignatureDoesNotMatch") && !stderr.contains("nonsense"), "{stderr}");
    assert_eq!(stderr.trim_end().lines().count(), 1, "{stderr}");
}

#[test]
fn the_example_hears_of_uploads() {
    let case = Case::new();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/examples/uploads.yaml");
    case.create_bucket("photos");
    let kip = case.start_on(Path::new(example), &[&format!("--source=store={}", case.url)]);
    kip.wait_for_voice("uploads", "watching, objects 0");
    case.upload_to("photos", "in/cat.jpg");
    kip.wait_for("s3:ObjectCreated:Put in/cat.jpg, 10 bytes");
}
