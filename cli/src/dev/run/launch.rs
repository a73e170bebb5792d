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

use super::{
    super::{
        events::trigger::EventTrigger,
        load::{Code, LocalFunction},
    },
    runtime::{Cache, Interpreter, write_if_changed},
};

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
    /// How long a stopping process may take.
    pub(crate) grace: Duration,
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
    /// Run the handler once.
    Batch(TriggerKind),
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
            grace,
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
        command
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .env("KIPPER_FUNCTION_PATH", &self.code)
            .env("KIPPER_WORK_DIR", &self.work)
            .env("KIPPER_DRAIN_SECONDS", drain_seconds(self.grace).to_string())
            .envs(self.handler.iter().map(|name| ("KIPPER_HANDLER", name)));
        match mode {
            Mode::Serve(port) => command
                .env("KIPPER_MODE", "http")
                .env("KIPPER_TRIGGER", self.serves.as_str())
                .env("KIPPER_HOST", "127.0.0.1")
                .env("PORT", port.to_string()),
            Mode::Batch(trigger) => {
                command.env("KIPPER_MODE", "batch").env("KIPPER_TRIGGER", trigger.as_str())
            }
        };
        command
    }
}

/// Lays inline code out as a folder. The folder's name stays over saves, so that dependencies are
/// installed once and not once per save.
fn write_inline(function: &LocalFunction, cache: &Cache) -> io::Result<PathBuf> {
    let mut hash = DefaultHasher::new();
    function.origin.hash(&mut hash);
    let folder = cache.folder(&format!("source-{}-{:016x}", function.name, hash.finish()));
    let source = function.spec.source.clone().unwrap_or_default();
    let files = code::files(&function.name, function.runtime, &source);
    for (name, text) in &files {
        forget_compiled(&folder.join(name));
        write_if_changed(&folder.join(name), text, |found| found == text.as_bytes())?;
    }
    for manifest in code::MANIFESTS.iter().filter(|name| !files.contains_key(**name)) {
        if folder.join(manifest).exists() {
            fs::remove_file(folder.join(manifest))?;
        }
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
