//! From what the user names to functions: code files, manifests, folders.
//!
//! Reads files and decides nothing else. A code file is an http function with every default, named
//! after the file (`index.js` and `handler.py` after their folder); a manifest holds Functions as
//! a cluster stores them; a folder is one function when it has an entry file, else everything in
//! it that can be one. What cannot run without a cluster is left out with a notice, and so is told what
//! runs here and could not be deployed.

use std::{
    collections::{BTreeSet, HashMap},
    ffi::OsStr,
    fs, io,
    path::{Component, Path, PathBuf},
};

use kipper_function::{
    Function, FunctionSpec,
    code::{Ambiguous, NODE_ENTRIES, PYTHON_ENTRY},
    function::{Problem, Runtime},
    manifest::{self, ManifestError},
    names::{self, NameError},
};

use crate::code::{self, entry};

/// Namespace of every local function.
pub(crate) const NAMESPACE: &str = "local";
/// Functions run at once: each keeps a stream open on one connection.
pub(crate) const MAX_FUNCTIONS: usize = 100;

/// Why there is nothing to run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}: not a .js, .mjs, .cjs, .ts, .mts, .cts, .py or .yaml file", .0.display())]
    Unsupported(PathBuf),
    #[error("{0}")]
    Jsx(String),
    #[error("{}: a hidden file is no function", .0.display())]
    Hidden(PathBuf),
    #[error("{}: {source}", path.display())]
    Manifest { path: PathBuf, source: ManifestError },
    #[error("{}: Function {name:?}: {}", path.display(), join(problems))]
    Invalid { path: PathBuf, name: String, problems: Vec<Problem> },
    #[error("{}: a function cannot be named {name:?}: it {source}; rename the file", path.display())]
    Name { path: PathBuf, name: String, source: NameError },
    #[error(
        "two functions are named {name:?}: {} and {}; rename one of them",
        first.display(),
        second.display()
    )]
    Duplicate { name: String, first: PathBuf, second: PathBuf },
    #[error("{}: two functions are named {name:?}: documents {first} and {second}", path.display())]
    Twice { path: PathBuf, name: String, first: usize, second: usize },
    #[error("{}: no functions found", .0.display())]
    Empty(PathBuf),
    #[error(
        "{}: no functions found: the folder has neither an entry file (index.js, handler.py) nor any \
         .js, .ts, .py or .yaml file",
        .0.display()
    )]
    EmptyFolder(PathBuf),
    #[error("{}: {source}", path.display())]
    Ambiguous { path: PathBuf, source: Ambiguous },
    #[error("more than {MAX_FUNCTIONS} functions")]
    TooMany,
}

fn join(problems: &[Problem]) -> String {
    let texts: Vec<String> = problems.iter().map(Problem::to_string).collect();
    texts.join("; ")
}

/// Where a function's code is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// One file; others may lie beside it.
    File(PathBuf),
    /// A folder with an entry file.
    Folder(PathBuf),
    /// In the Function itself.
    Inline,
}

/// One function to run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LocalFunction {
    pub(crate) name: String,
    pub(crate) spec: FunctionSpec,
    pub(crate) retry_idempotent: bool,
    pub(crate) runtime: Runtime,
    pub(crate) code: Code,
    /// The file or folder it came from, absolute.
    pub(crate) origin: PathBuf,
}

impl LocalFunction {
    /// The file of this machine that has the handler.
    pub(crate) fn handler_file(&self) -> Option<PathBuf> {
        match &self.code {
            Code::File(file) => Some(file.clone()),
            Code::Folder(folder) => {
                entry::entry_of_folder(folder, self.runtime).map(|entry| folder.join(entry))
            }
            Code::Inline => None,
        }
    }
}

/// What was found, and what was left out.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) functions: Vec<LocalFunction>,
    pub(crate) notices: Vec<String>,
}

/// Loads everything the user named.
pub(crate) fn load(sources: &[PathBuf]) -> Result<Loaded, LoadError> {
    let mut loaded = Loaded::default();
    for source in sources {
        let path = absolute(source)?;
        let typed = as_typed(source, &path);
        if path.is_dir() {
            load_folder(&path, &typed, &mut loaded)?;
        } else {
            load_file(&path, &typed, &mut loaded)?;
        }
    }
    check_names(&loaded.functions)?;
    if loaded.functions.len() > MAX_FUNCTIONS {
        return Err(LoadError::TooMany);
    }
    Ok(loaded)
}

/// Folders whose files are functions, one each: a file that is added there is one more.
pub(crate) fn folders(sources: &[PathBuf]) -> Vec<PathBuf> {
    let absolute = sources.iter().filter_map(|source| source.canonicalize().ok());
    absolute
        .filter(|path| path.is_dir() && matches!(entry::runtime_of_folder(path), Ok(None)))
        .collect()
}

/// Where the file of a new function goes: the first folder of functions, else beside the first source.
pub(crate) fn home(sources: &[PathBuf]) -> PathBuf {
    let beside = || {
        let first = sources.first()?.canonicalize().ok()?;
        first.parent().map(Path::to_owned)
    };
    folders(sources).into_iter().next().or_else(beside).unwrap_or_else(|| PathBuf::from("."))
}

/// Does it hold functions, going by its name?
pub(crate) fn is_source(path: &Path) -> bool {
    !is_hidden(path) && kind(path).is_some() && path.is_file()
}

fn absolute(path: &Path) -> Result<PathBuf, LoadError> {
    path.canonicalize().map_err(|source| LoadError::Read { path: path.to_owned(), source })
}

/// The path by which a function is named: a link has its own name. Where it says nothing (`.`, `..`),
/// the file's.
fn as_typed(source: &Path, path: &Path) -> PathBuf {
    let goes_up = source.components().any(|part| part == Component::ParentDir);
    match std::path::absolute(source) {
        Ok(typed) if !goes_up => typed,
        _ => path.to_owned(),
    }
}

/// A file of `path`, whose function is named by `typed`.
fn load_file(path: &Path, typed: &Path, loaded: &mut Loaded) -> Result<(), LoadError> {
    if is_hidden(path) || is_hidden(typed) {
        return Err(LoadError::Hidden(typed.to_owned()));
    }
    match kind(path) {
        Some(Kind::Code(runtime)) => {
            let name = file_name_of(typed);
            let code = Code::File(path.to_owned());
            let function = plain(name, runtime, code, path)?;
            loaded.notices.extend(undeployed(&function, path));
            loaded.functions.push(function);
        }
        Some(Kind::Manifest) => {
            let mut found = load_manifest(path)?;
            if found.functions.is_empty() && found.notices.is_empty() {
                return Err(LoadError::Empty(path.to_owned()));
            }
            loaded.functions.append(&mut found.functions);
            loaded.notices.append(&mut found.notices);
        }
        None => {
            return Err(match entry::refusal(path) {
                Some(why) => LoadError::Jsx(why),
                None => LoadError::Unsupported(path.to_owned()),
            });
        }
    }
    Ok(())
}

/// Files that editors and other systems leave, such as `._hello.js`.
fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

fn load_folder(folder: &Path, typed: &Path, loaded: &mut Loaded) -> Result<(), LoadError> {
    let ambiguous = |source| LoadError::Ambiguous { path: folder.to_owned(), source };
    if let Some(runtime) = entry::runtime_of_folder(folder).map_err(ambiguous)? {
        let name = name_of(typed.file_name());
        let code = Code::Folder(folder.to_owned());
        let function = plain(name, runtime, code, folder)?;
        loaded.notices.extend(undeployed(&function, folder));
        loaded.functions.push(function);
        return Ok(());
    }
    let read = |source| LoadError::Read { path: folder.to_owned(), source };
    let entries = fs::read_dir(folder).map_err(read)?;
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(read)?;
    paths.sort();
    let before = (loaded.functions.len(), loaded.notices.len());
    for path in paths.iter().filter(|path| path.is_file() && !is_hidden(path)) {
        match kind(path) {
            Some(Kind::Code(_)) => load_file(path, path, loaded)?,
            Some(Kind::Manifest) => {
                let mut found = load_manifest(path)?;
                loaded.functions.append(&mut found.functions);
                loaded.notices.append(&mut found.notices);
            }
            None => {}
        }
    }
    if before == (loaded.functions.len(), loaded.notices.len()) {
        return Err(LoadError::EmptyFolder(folder.to_owned()));
    }
    Ok(())
}

/// The Functions of one manifest. Documents of other kinds are none of our business.
pub(crate) fn load_manifest(path: &Path) -> Result<Loaded, LoadError> {
    let read = |source| LoadError::Read { path: path.to_owned(), source };
    let text = fs::read_to_string(path).map_err(read)?;
    let manifest = manifest::parse(&text)
        .map_err(|source| LoadError::Manifest { path: path.to_owned(), source })?;
    let mut loaded = Loaded::default();
    let mut seen = HashMap::new();
    for (function, second) in manifest.functions.into_iter().zip(manifest.documents) {
        let name = function.metadata.name.clone().unwrap_or_default();
        if let Some(first) = seen.insert(name.clone(), second) {
            return Err(LoadError::Twice { path: path.to_owned(), name, first, second });
        }
        declared(function, path, &mut loaded)?;
    }
    Ok(loaded)
}

fn declared(function: Function, path: &Path, loaded: &mut Loaded) -> Result<(), LoadError> {
    let problems = function.validate();
    let retry_idempotent = function.retries_idempotent();
    let name = function.metadata.name.unwrap_or_default();
    if !problems.is_empty() {
        return Err(LoadError::Invalid { path: path.to_owned(), name, problems });
    }
    let spec = function.spec;
    let Some(runtime) = spec.effective_runtime() else {
        loaded.notices.push(format!("{name}: kip dev runs inline code only, not images"));
        return Ok(());
    };
    if !spec.service_bindings.is_empty() {
        loaded.notices.push(format!(
            "{name}: service bindings are not resolved by kip dev; pass their variables with --env"
        ));
    }
    loaded.functions.push(LocalFunction {
        name,
        spec,
        retry_idempotent,
        runtime,
        code: Code::Inline,
        origin: path.to_owned(),
    });
    Ok(())
}

enum Kind {
    Code(Runtime),
    Manifest,
}

fn kind(path: &Path) -> Option<Kind> {
    if let Some(runtime) = entry::runtime_of_file(path) {
        return Some(Kind::Code(runtime));
    }
    let ending = path.extension()?.to_str()?;
    matches!(ending, "yaml" | "yml").then_some(Kind::Manifest)
}

/// What of a function's code `kip function create --code-file` would not take along.
fn undeployed(function: &LocalFunction, path: &Path) -> Vec<String> {
    let name = &function.name;
    let told = match (code::Code::read(path, Some(function.runtime)), &function.code) {
        (Ok(code), _) => code.warnings(&BTreeSet::new()),
        // What is wrong with a file, its runtime says as well.
        (Err(_), Code::File(_)) => Vec::new(),
        (Err(why), _) => vec![format!("it cannot be deployed as it is: {why}")],
    };
    told.into_iter().map(|text| format!("{name}: {text}")).collect()
}

/// An http function with every default.
fn plain(
    name: String,
    runtime: Runtime,
    code: Code,
    origin: &Path,
) -> Result<LocalFunction, LoadError> {
    let path = origin.to_owned();
    if let Err(source) = names::check_function_name(&name) {
        return Err(LoadError::Name { path, name, source });
    }
    let spec =
        FunctionSpec { runtime: Some(runtime.as_str().to_owned()), ..FunctionSpec::default() };
    Ok(LocalFunction { name, spec, retry_idempotent: false, runtime, code, origin: path })
}

/// Name of a code file's function: the file's, or its folder's for an entry file.
fn file_name_of(path: &Path) -> String {
    let file = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    if NODE_ENTRIES.contains(&file) || file == PYTHON_ENTRY {
        name_of(path.parent().and_then(Path::file_name))
    } else {
        name_of(path.file_stem())
    }
}

/// What a function may be called, as near as possible to what the file is called.
fn name_of(file: Option<&OsStr>) -> String {
    let text = file.unwrap_or_default().to_string_lossy().to_lowercase();
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let name: String = text.chars().map(|c| if allowed(c) { c } else { '-' }).collect();
    name.trim_matches('-').to_owned()
}

/// Two functions of one name are a mistake wherever they come from, as in a cluster: a name that followed
/// from the order of the files would be another one after the next file.
fn check_names(functions: &[LocalFunction]) -> Result<(), LoadError> {
    let mut seen: HashMap<&str, &Path> = HashMap::new();
    for function in functions {
        if let Some(first) = seen.insert(&function.name, &function.origin) {
            return Err(LoadError::Duplicate {
                name: function.name.clone(),
                first: first.to_owned(),
                second: function.origin.clone(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
