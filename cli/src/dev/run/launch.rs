//! What it takes to start a function's process: program, code, environment.
//!
//! Turns a loaded function into a [`Launch`], and writes inline code to where the runtime reads it,
//! as a cluster's ConfigMap would lay it out. Starts nothing.

use std::{
    ffi::OsStr,
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use kipper_function::{
    code,
    function::{Trigger, TriggerKind},
};
use kipper_trigger::Variable;

use super::{
    super::{
        events::trigger::EventTrigger,
        load::{Code, LocalFunction},
    },
    runtime::{Cache, Interpreter, write_if_changed},
};

/// Settings of this machine's package managers that say where packages go. The runtimes say that
/// themselves; a function that wants one of them sets it.
const INSTALLERS: [&str; 8] = [
    "PIP_USER",
    "PIP_TARGET",
    "PIP_PREFIX",
    "PIP_ROOT",
    "PIP_REQUIRE_VIRTUALENV",
    "npm_config_global",
    "npm_config_location",
    "npm_config_prefix",
];

/// Everything the processes of one function have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Launch {
    pub(crate) interpreter: Interpreter,
    /// What the runtime loads: a file or a folder.
    pub(crate) code: PathBuf,
    /// Working folder of the process.
    pub(crate) folder: PathBuf,
    /// Where the runtime installs dependencies.
    pub(crate) work: PathBuf,
    /// The handler's name, where it is not the runtime's default.
    pub(crate) handler: Option<String>,
    /// The function's variables, then the command line's.
    pub(crate) env: Vec<(String, String)>,
    /// It prints a line per request.
    pub(crate) log_requests: bool,
    /// How long a stopping process may take.
    pub(crate) grace: Duration,
    /// How long a run of its schedule may take.
    pub(crate) run_deadline: Duration,
    /// What the process serves, as its environment says.
    pub(crate) serves: TriggerKind,
    /// What a poller beside the process delivers to it.
    pub(crate) events: Option<EventTrigger>,
    /// It has nothing to do without its source: it takes no requests.
    pub(crate) needs_source: bool,
}

/// How a process is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Serve requests on this loopback port.
    Serve(u16),
    /// Run the handler once; what invoked it, as it is told.
    Batch(&'static str),
}

impl Launch {
    /// Prepares `function` to be started; writes its inline code.
    ///
    /// # Errors
    /// When the cache cannot be written.
    pub(crate) fn prepare(
        function: &LocalFunction,
        interpreter: Interpreter,
        cache: &Cache,
        env: &[(String, String)],
        grace: Duration,
        events: Option<EventTrigger>,
    ) -> io::Result<Self> {
        let code = match &function.code {
            Code::File(path) | Code::Folder(path) => path.clone(),
            Code::Inline => write_inline(function, cache)?,
        };
        let folder = match &function.code {
            Code::File(path) => path.parent().unwrap_or(Path::new("/")).to_owned(),
            Code::Folder(_) | Code::Inline => code.clone(),
        };
        let own = function.spec.env.iter().map(|(name, value)| (name.clone(), value.clone()));
        Ok(Self {
            interpreter,
            code,
            folder,
            work: cache.folder("dependencies"),
            handler: function.spec.handler().map(str::to_owned),
            env: own.chain(env.iter().cloned()).collect(),
            log_requests: true,
            grace,
            run_deadline: function.spec.cron_deadline(),
            serves: function
                .spec
                .event_trigger()
                .and_then(Trigger::kind)
                .unwrap_or(TriggerKind::Http),
            needs_source: events.is_some() && !function.spec.is_http(),
            events,
        })
    }

    /// The process's command. The environment is this process's, without what a cluster sets.
    pub(crate) fn command(&self, mode: Mode) -> std::process::Command {
        let mut command = std::process::Command::new(&self.interpreter.program);
        command.arg(&self.interpreter.entry).current_dir(&self.folder);
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(kipper_function::env_name::is_reserved) {
                command.env_remove(name);
            }
        }
        for name in INSTALLERS {
            command.env_remove(name);
        }
        command
            // Whoever calls it here wrote it.
            .env("KIPPER_ERROR_DETAIL", "true")
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .env("KIPPER_FUNCTION_PATH", &self.code)
            .env("KIPPER_WORK_DIR", &self.work)
            .env("KIPPER_LOG_REQUESTS", self.log_requests.to_string())
            .env("KIPPER_DRAIN_SECONDS", drain_seconds(self.grace).to_string())
            .envs(self.handler.iter().map(|name| ("KIPPER_HANDLER", name)));
        let event_token =
            self.events.iter().map(|events| (Variable::EventToken.name(), &events.event_token));
        match mode {
            Mode::Serve(port) => command
                .envs(event_token)
                .env("KIPPER_MODE", "http")
                .env("KIPPER_TRIGGER", self.serves.as_str())
                .env("KIPPER_HOST", "127.0.0.1")
                .env("PORT", port.to_string()),
            Mode::Batch(trigger) => {
                command.env("KIPPER_MODE", "batch").env("KIPPER_TRIGGER", trigger)
            }
        };
        command
    }
}

/// Lays inline code out as a folder. The folder's name stays over saves, so that dependencies are
/// installed once and not once per save. What the function itself wrote there stays as well: only files
/// that were laid out before go.
fn write_inline(function: &LocalFunction, cache: &Cache) -> io::Result<PathBuf> {
    let mut hash = DefaultHasher::new();
    function.origin.hash(&mut hash);
    let name = format!("source-{}-{:016x}", function.name, hash.finish());
    let (folder, written) = (cache.folder(&name), cache.folder(&format!("{name}.files")));
    let source = function.spec.source.clone().unwrap_or_default();
    let files = code::files(&function.name, function.runtime, &source);
    // A path has no control characters. Without a record nothing was laid out.
    let before = fs::read_to_string(&written).unwrap_or_default();
    for path in before.lines().filter(|path| !files.contains_key(*path)) {
        forget_compiled(&folder.join(path));
        match fs::remove_file(folder.join(path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // A file may have the name of a folder that is empty now.
        let mut below = Path::new(path).ancestors().skip(1).filter(|at| *at != Path::new(""));
        while below.next().is_some_and(|at| fs::remove_dir(folder.join(at)).is_ok()) {}
    }
    let paths: Vec<&str> = files.keys().map(String::as_str).collect();
    write_if_changed(&written, &paths.join("\n"), |_| false)?;
    for (path, text) in &files {
        forget_compiled(&folder.join(path));
        write_if_changed(&folder.join(path), text, |found| found == text.as_bytes())?;
    }
    Ok(folder)
}

/// Removes what Python compiled from `path`, if it did. Python tells a stale compilation by the
/// file's size and its time in whole seconds, so two saves within a second may look the same to it.
pub(crate) fn forget_compiled(path: &Path) {
    let (Some(folder), Some(stem)) = (path.parent(), path.file_stem().and_then(OsStr::to_str))
    else {
        return;
    };
    if path.extension().is_none_or(|ending| ending != "py") {
        return;
    }
    let prefix = format!("{stem}.");
    // No such folder: nothing was compiled.
    for entry in fs::read_dir(folder.join("__pycache__")).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(&prefix)) {
            // At worst it is as stale as it was.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Rounded up, within what the runtimes take.
fn drain_seconds(grace: Duration) -> u64 {
    (grace.as_secs() + u64::from(grace.subsec_nanos() > 0)).min(86_400)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use kipper_function::{FunctionSpec, function::Runtime};
    use serde_json::json;

    use super::*;
    use crate::dev::{args::SourceUrl, events::trigger::Sources};

    /// The variables of a process of this function: those that are set or removed.
    fn variables(triggers: serde_json::Value, env: &[(&str, &str)], mode: Mode) -> Vec<String> {
        let spec: FunctionSpec = serde_json::from_value(json!({ "triggers": triggers })).unwrap();
        let function = LocalFunction {
            name: "f".to_owned(),
            spec,
            retry_idempotent: false,
            runtime: Runtime::Node,
            code: Code::File("/d/f.js".into()),
            origin: "/d/f.js".into(),
        };
        let sources = Sources {
            urls: [("cache".to_owned(), SourceUrl::from("redis://h"))].into(),
            event_token: "t0ken".to_owned(),
            ..Sources::default()
        };
        let events = EventTrigger::of(&function, &sources).and_then(Result::ok);
        let interpreter =
            Interpreter { program: "node".into(), entry: "main.js".into(), strips_types: false };
        let env: Vec<_> = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let cache = Cache::open().unwrap();
        let launch =
            Launch::prepare(&function, interpreter, &cache, &env, Duration::ZERO, events).unwrap();
        let command = launch.command(mode);
        let variables = command.get_envs().map(|(name, value)| {
            let value = value.map(|value| format!("={}", value.display())).unwrap_or_default();
            format!("{}{value}", name.display())
        });
        variables.collect()
    }

    #[test]
    fn inline_code_is_laid_out_and_what_goes_is_taken_away() {
        let cache = Cache::open().unwrap();
        let origin = tempfile::tempdir().unwrap();
        let lay_out = |source: serde_json::Value| {
            let function = LocalFunction {
                name: "laid-out".to_owned(),
                spec: serde_json::from_value(json!({ "source": source })).unwrap(),
                retry_idempotent: false,
                runtime: Runtime::Node,
                code: Code::Inline,
                origin: origin.path().join("f.yaml"),
            };
            write_inline(&function, &cache).unwrap()
        };
        let folder = lay_out(json!({ "files": {
            "index.js": "1", "lib/a/b.js": "2", "package.json": "{}",
        } }));
        assert_eq!(fs::read_to_string(folder.join("lib/a/b.js")).unwrap(), "2");
        fs::write(folder.join("data.db"), "mine").unwrap();
        let same = lay_out(json!({ "files": { "index.js": "1", "lib": "3" } }));
        assert_eq!(same, folder);
        assert_eq!(fs::read_to_string(folder.join("lib")).unwrap(), "3");
        assert!(!folder.join("package.json").exists());
        lay_out(json!({ "code": "4", "dependencies": { "pg": "8" } }));
        assert_eq!(fs::read_to_string(folder.join("index.js")).unwrap(), "4");
        assert!(folder.join("package.json").exists() && !folder.join("lib").exists());
        assert!(folder.join("data.db").exists());
        fs::remove_dir_all(&folder).unwrap();
        fs::remove_file(format!("{}.files", folder.display())).unwrap();
    }

    #[test]
    fn a_process_gets_what_a_pod_gets_and_says_what_went_wrong() {
        let has = |variables: &[String], text: &str| variables.iter().any(|it| it == text);
        let redis = json!([{ "type": "redis", "config": { "source": "cache", "list": "jobs" } }]);
        let serves = variables(redis.clone(), &[], Mode::Serve(9000));
        assert!(has(&serves, "KIPPER_EVENT_TOKEN=t0ken"), "{serves:?}");
        assert!(has(&serves, "KIPPER_ERROR_DETAIL=true"), "{serves:?}");
        assert!(has(&serves, "KIPPER_LOG_REQUESTS=true"), "{serves:?}");
        // Removed: it says where packages go, and so does the runtime.
        assert!(has(&serves, "PIP_USER"), "{serves:?}");

        let mine = [("KIPPER_ERROR_DETAIL", "false"), ("PIP_USER", "0")];
        let http = variables(json!([]), &mine, Mode::Serve(9000));
        assert!(has(&http, "KIPPER_ERROR_DETAIL=false") && has(&http, "PIP_USER=0"), "{http:?}");
        let has_token = |all: &[String]| all.iter().any(|it| it.starts_with("KIPPER_EVENT_TOKEN"));
        assert!(!has_token(&http), "{http:?}");
        assert!(!has_token(&variables(redis, &[], Mode::Batch("cron"))));
    }
}
