//! What runs a function's code: the embedded runtimes and the interpreters of this machine.
//!
//! The runtimes' files are part of the binary and unpacked once per version into the user's cache.
//! An interpreter is asked for its own path once, at start: the `node` or `python3` on the search
//! path may be a script of a version switcher, which would cost every cold start a shell.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use kipper_function::function::Runtime;
use tempfile::{NamedTempFile, TempDir};

use crate::code::entry;

/// The files of both runtimes, written by the build script.
mod embedded {
    include!(concat!(env!("OUT_DIR"), "/runtimes.rs"));
}

/// How long an interpreter may take to say where it is.
const ASK_TIMEOUT: Duration = Duration::from_secs(20);

/// Why no function of a runtime can run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RuntimeError {
    #[error("{program} not found: {runtime} functions need {wanted}; install it or pass {flag}")]
    Missing { program: String, runtime: Runtime, wanted: &'static str, flag: &'static str },
    #[error("{program} cannot be used: {reason}")]
    Unusable { program: String, reason: String },
    #[error("cannot write to the cache {0}: {1}")]
    Cache(PathBuf, #[source] io::Error),
}

/// Where `kip dev` keeps files: the user's cache, or a temporary folder without one.
pub(crate) struct Cache {
    root: PathBuf,
    /// Removed at the end, when there is no lasting cache.
    _temporary: Option<TempDir>,
}

impl Cache {
    /// `$XDG_CACHE_HOME/kipper` or `~/.cache/kipper`, if it can be written; else a new temporary
    /// folder, because one of a fixed name could be somebody else's.
    pub(crate) fn open() -> Result<Self, RuntimeError> {
        let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
        let lasting = absolute("XDG_CACHE_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
            .map(|cache| cache.join("kipper"));
        if let Some(root) = lasting
            && fs::create_dir_all(&root).is_ok()
            && NamedTempFile::new_in(&root).is_ok()
        {
            return Ok(Self { root, _temporary: None });
        }
        let temporary = TempDir::with_prefix("kipper-")
            .map_err(|error| RuntimeError::Cache(std::env::temp_dir(), error))?;
        Ok(Self { root: temporary.path().to_owned(), _temporary: Some(temporary) })
    }

    /// A folder below the cache; it need not exist yet.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

/// How to start one runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interpreter {
    /// The interpreter itself, no wrapper of it.
    pub(crate) program: PathBuf,
    /// The runtime's entry point, its first argument.
    pub(crate) entry: PathBuf,
    /// It runs TypeScript: Node from 22.18 on.
    pub(crate) strips_types: bool,
}

impl Interpreter {
    /// Asks `program` for its own path and unpacks the runtime.
    pub(crate) async fn resolve(
        runtime: Runtime,
        program: &Path,
        cache: &Cache,
    ) -> Result<Self, RuntimeError> {
        let folder = cache.folder(&format!("runtimes-{}", embedded::HASH));
        let (files, entry) = match runtime {
            Runtime::Node => (embedded::NODE, "main.js"),
            Runtime::Python => (embedded::PYTHON, "main.py"),
        };
        let folder = folder.join(runtime.as_str());
        unpack(files, &folder).map_err(|error| RuntimeError::Cache(folder.clone(), error))?;
        let Answer { program, strips_types } = ask(runtime, program).await?;
        Ok(Self { program, entry: folder.join(entry), strips_types })
    }

    /// Why it does not run this file, and what to do.
    pub(crate) fn refusal(&self, file: &Path) -> Option<String> {
        let is_refused = entry::typescript_ending(file).is_some() && !self.strips_types;
        let (file, program) = (file.display(), self.program.display());
        is_refused.then(|| {
            format!(
                "{file} is TypeScript, whose types {program} does not strip: pass a Node 22.18 or newer \
                 with --node, or make JavaScript of it, for example with `npx esbuild {file} --bundle \
                 --platform=node --outfile=index.js`"
            )
        })
    }
}

/// Writes what is missing or was cut short. The folder is named by its content, so a file of the
/// right length is the right file.
fn unpack(files: &[(&str, &str)], folder: &Path) -> io::Result<()> {
    for (relative, text) in files {
        write_if_changed(&folder.join(relative), text, |found| found.len() == text.len())?;
    }
    Ok(())
}

/// Writes `text` to `path` unless what is there satisfies `is_good`; in one step, so that nobody
/// ever reads half a file.
pub(crate) fn write_if_changed(
    path: &Path,
    text: &str,
    is_good: impl FnOnce(&[u8]) -> bool,
) -> io::Result<()> {
    if fs::read(path).is_ok_and(|found| is_good(&found)) {
        return Ok(());
    }
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent)?;
    let mut file = NamedTempFile::new_in(parent)?;
    io::Write::write_all(&mut file, text.as_bytes())?;
    file.persist(path)?;
    Ok(())
}

/// What an interpreter says of itself.
#[derive(Debug)]
struct Answer {
    program: PathBuf,
    strips_types: bool,
}

async fn ask(runtime: Runtime, program: &Path) -> Result<Answer, RuntimeError> {
    let (arguments, wanted, flag) = match runtime {
        Runtime::Node => {
            let asked = "process.execPath + '\\n' + (process.features.typescript ? 'strips' : '')";
            (["-p", asked], "Node 20.19 or newer", "--node")
        }
        Runtime::Python => {
            (["-c", "import sys; print(sys.executable)"], "Python 3.11 or newer", "--python")
        }
    };
    let shown = program.display().to_string();
    let unusable = |reason: String| RuntimeError::Unusable { program: shown.clone(), reason };
    let asked = tokio::process::Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = match tokio::time::timeout(ASK_TIMEOUT, asked).await {
        Err(_) => return Err(unusable("it does not answer".to_owned())),
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
            return Err(RuntimeError::Missing { program: shown, runtime, wanted, flag });
        }
        Ok(Err(error)) => return Err(unusable(error.to_string())),
        Ok(Ok(output)) => output,
    };
    let stdout = String::from_utf8_lossy(&output.stdout);
    let mut lines = stdout.lines().map(str::trim);
    let program = PathBuf::from(lines.next().unwrap_or_default());
    if output.status.success() && program.is_absolute() {
        return Ok(Answer { program, strips_types: lines.next() == Some("strips") });
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let reason = stderr.lines().find(|line| !line.trim().is_empty());
    Err(unusable(reason.unwrap_or("it did not print its path").to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_missing_or_cut_short_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let entry = folder.path().join("main.js");
        unpack(embedded::NODE, folder.path()).unwrap();
        let whole = fs::read_to_string(&entry).unwrap();
        fs::write(&entry, "half").unwrap();
        fs::remove_file(folder.path().join("log.js")).unwrap();
        unpack(embedded::NODE, folder.path()).unwrap();
        assert_eq!(fs::read_to_string(&entry).unwrap(), whole);
        assert!(folder.path().join("log.js").exists());
    }

    #[test]
    fn both_runtimes_are_whole() {
        let has = |files: &[(&str, &str)], name| files.iter().any(|(path, _)| *path == name);
        assert!(has(embedded::NODE, "main.js") && has(embedded::NODE, "http.js"));
        assert!(has(embedded::PYTHON, "main.py"));
        assert!(has(embedded::PYTHON, "kipper_runtime/start.py"));
    }

    #[test]
    fn typescript_needs_a_node_that_strips_types() {
        let refusal = |file: &str, strips_types| {
            let (program, entry) = ("/bin/node".into(), "main.js".into());
            Interpreter { program, entry, strips_types }.refusal(Path::new(file))
        };
        let refused = refusal("/d/index.ts", false).unwrap();
        assert!(
            refused.starts_with("/d/index.ts is TypeScript, whose types /bin/node"),
            "{refused}"
        );
        for (file, strips_types) in [("index.ts", true), ("index.js", false), ("a.py", false)] {
            assert_eq!(refusal(file, strips_types), None, "{file}");
        }
    }

    #[tokio::test]
    async fn an_interpreter_that_is_not_there_is_named() {
        let error = ask(Runtime::Node, Path::new("no-such-node")).await.unwrap_err();
        let expected = "no-such-node not found: node functions need Node 20.19 or newer; install it \
             or pass --node";
        assert_eq!(error.to_string(), expected);
        let error = ask(Runtime::Python, Path::new("false")).await.unwrap_err();
        assert_eq!(error.to_string(), "false cannot be used: it did not print its path");
    }
}
