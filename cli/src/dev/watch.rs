//! Which files changed, in batches: one save is one batch, however the editor writes it.
//!
//! Folders are watched, not files, because most editors replace a file rather than write to it.
//! Which function a file belongs to is a pure question, answered by [`concerns`]. Reads nothing.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    path::{Component, Path, PathBuf},
    time::Duration,
};

use kipper_function::function::Runtime;
use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode, ModifyKind},
};
use tokio::{sync::mpsc, time::Instant};

use super::load::{Code, LocalFunction};
use crate::code::{entry, left_out::is_ignored};

/// A batch is over when nothing changed for this long …
const QUIET: Duration = Duration::from_millis(40);
/// … or after this long in any case.
const LONGEST_BATCH: Duration = Duration::from_millis(500);
/// Events on their way; the watching thread waits at the bound, and the kernel then reports an
/// overflow, which counts as a change of everything.
const EVENTS: usize = 256;
/// Folders watched at most, and how deep they are looked for below a function's folder.
const MAX_FOLDERS: usize = 1000;
const MAX_DEPTH: usize = 8;

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Changed {
    Paths(BTreeSet<PathBuf>),
    /// Nobody knows: events were lost.
    Everything,
}

impl Changed {
    /// The paths, as far as they are known.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        let known = match self {
            Self::Paths(paths) => Some(paths),
            Self::Everything => None,
        };
        known.into_iter().flatten().map(PathBuf::as_path)
    }

    /// Does it hold a path that satisfies the condition?
    pub(crate) fn any(&self, mut condition: impl FnMut(&Path) -> bool) -> bool {
        match self {
            Self::Paths(paths) => paths.iter().any(|path| condition(path)),
            Self::Everything => true,
        }
    }
}

/// Watches the files of all functions.
pub(crate) struct Watch {
    watcher: RecommendedWatcher,
    events: mpsc::Receiver<notify::Result<Event>>,
    folders: BTreeSet<PathBuf>,
}

impl Watch {
    /// Starts to watch nothing.
    pub(crate) fn start() -> notify::Result<Self> {
        let (sender, events) = mpsc::channel(EVENTS);
        let watcher = notify::recommended_watcher(move |event| {
            // Nobody listens any more when `kip` ends.
            let _ = sender.blocking_send(event);
        })?;
        Ok(Self { watcher, events, folders: BTreeSet::new() })
    }

    /// Adds what a function consists of.
    pub(crate) fn add(&mut self, function: &LocalFunction) -> notify::Result<()> {
        let mut folders = Vec::new();
        match &function.code {
            Code::Folder(folder) => collect(folder, 0, &mut folders),
            Code::File(file) => folders.extend(file.parent().map(Path::to_owned)),
            Code::Inline => folders.extend(function.origin.parent().map(Path::to_owned)),
        }
        for folder in folders {
            if self.folders.len() < MAX_FOLDERS && self.folders.insert(folder.clone()) {
                self.watcher.watch(&folder, RecursiveMode::NonRecursive)?;
            }
        }
        Ok(())
    }

    /// The next batch. Pending forever once the watching thread is gone.
    pub(crate) async fn changed(&mut self) -> Changed {
        let mut paths = BTreeSet::new();
        let mut end: Option<(Instant, Instant)> = None;
        loop {
            let deadline = end.map(|(quiet, last)| quiet.min(last));
            let event = tokio::select! {
                event = self.events.recv() => event,
                () = sleep_until(deadline), if deadline.is_some() => {
                    return Changed::Paths(paths);
                }
            };
            match event {
                None => std::future::pending().await,
                Some(Ok(event)) if event.need_rescan() => return Changed::Everything,
                Some(Ok(event)) if is_change(event.kind) => {
                    paths.extend(event.paths);
                    let now = Instant::now();
                    let last = end.map_or(now + LONGEST_BATCH, |(_, last)| last);
                    end = Some((now + QUIET, last));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => tracing::warn!(%error, "a file cannot be watched"),
            }
        }
    }
}

/// Waits for a deadline, if there is one.
pub(super) async fn sleep_until(deadline: Option<Instant>) {
    if let Some(deadline) = deadline {
        tokio::time::sleep_until(deadline).await;
    }
}

/// Reading a file is no change, and neither is changing its times or rights.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        EventKind::Modify(kind) => !matches!(kind, ModifyKind::Metadata(_)),
        _ => true,
    }
}

fn collect(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    if found.len() >= MAX_FOLDERS || depth > MAX_DEPTH {
        return;
    }
    found.push(folder.to_owned());
    // A folder that cannot be read has nothing that could be edited.
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) && !is_ignored(&entry.file_name()) {
            collect(&entry.path(), depth + 1, found);
        }
    }
}

/// Does a change of `path` concern the code of `function`? `own` are the files that are functions
/// of their own. What a function could not load is its data, and may be written by itself.
pub(crate) fn concerns(function: &LocalFunction, path: &Path, own: &BTreeSet<PathBuf>) -> bool {
    match &function.code {
        Code::File(file) if path == file => true,
        Code::File(file) => {
            path.parent() == file.parent()
                && !own.contains(path)
                && is_loadable(path, function.runtime)
        }
        Code::Folder(folder) => path.strip_prefix(folder).is_ok_and(|below| {
            let mut names = below.components();
            !names.any(|name| matches!(name, Component::Normal(name) if is_ignored(name)))
                && is_loadable(path, function.runtime)
        }),
        Code::Inline => path == function.origin,
    }
}

fn is_loadable(path: &Path, runtime: Runtime) -> bool {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let ending = path.extension().and_then(OsStr::to_str).unwrap_or_default();
    match runtime {
        Runtime::Node => {
            let is_code = entry::runtime_of_file(path) == Some(Runtime::Node);
            !name.starts_with('.') && (is_code || matches!(ending, "json" | "node"))
        }
        Runtime::Python => !name.starts_with('.') && (ending == "py" || name == "requirements.txt"),
    }
}

#[cfg(test)]
mod tests {
    use kipper_function::FunctionSpec;

    use super::*;

    fn function(code: Code, runtime: Runtime) -> LocalFunction {
        LocalFunction {
            name: "f".to_owned(),
            spec: FunctionSpec::default(),
            retry_idempotent: false,
            runtime,
            code,
            origin: PathBuf::from("/d/f.yaml"),
        }
    }

    #[test]
    fn a_change_concerns_who_could_load_it() {
        let own = ["/d/a.js", "/d/b.js", "/d/c.py"].map(PathBuf::from).into();
        let file = |name: &str| Code::File(PathBuf::from(name));
        let check = |code: Code, runtime, path: &str, expected| {
            let found = concerns(&function(code.clone(), runtime), Path::new(path), &own);
            assert_eq!(found, expected, "{code:?} and {path}");
        };
        use Runtime::{Node, Python};
        check(file("/d/a.js"), Node, "/d/a.js", true);
        check(file("/d/a.js"), Node, "/d/lib.mjs", true);
        check(file("/d/a.js"), Node, "/d/package.json", true);
        check(file("/d/a.js"), Node, "/d/b.js", false);
        check(file("/d/a.js"), Node, "/d/.a.js.swp", false);
        check(file("/d/a.js"), Node, "/d/.#a.js", false);
        check(file("/d/a.js"), Node, "/e/lib.js", false);
        check(file("/d/c.py"), Python, "/d/lib.js", false);
        check(file("/d/c.py"), Python, "/d/requirements.txt", true);
        check(Code::Folder("/d".into()), Node, "/d/lib/x.js", true);
        check(Code::Folder("/d".into()), Node, "/d/lib/x.ts", true);
        check(Code::Folder("/d".into()), Node, "/d/data/x.db", false);
        check(Code::Folder("/d".into()), Node, "/d/node_modules/x/index.js", false);
        check(Code::Folder("/d".into()), Node, "/d/.git/index", false);
        check(Code::Folder("/d".into()), Python, "/d/p/__pycache__/x.pyc", false);
        check(Code::Inline, Node, "/d/f.yaml", true);
        check(Code::Inline, Node, "/d/lib.js", false);
    }
}
