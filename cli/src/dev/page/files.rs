//! The files of local functions as the console reads and writes them.
//!
//! A file is replaced as a whole, by a new one that takes its name: whoever reads it meanwhile reads the
//! old one or the new one. A code file holds code alone; what else a function is given moves it into a
//! manifest of the same name. What is in a folder of files stays there.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use kipper_function::{
    FunctionSpec,
    function::{Runtime, Source},
    manifest,
};

use super::{
    super::load::{Code, LocalFunction},
    document::{self, DocumentError},
};
use crate::code::{self, left_out};

/// Why a file cannot be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{}: {source}", path.display())]
    Document { path: PathBuf, source: DocumentError },
    #[error("{} exists already", .0.display())]
    Exists(PathBuf),
    #[error(
        "{} is a folder of files, which hold code alone; other settings need a manifest: deploy it with \
         `kip function create --code-file`", .0.display()
    )]
    FolderSettings(PathBuf),
    #[error(
        "its trigger was given on the command line of kip dev, and only its code can be changed"
    )]
    FlaggedTrigger,
    #[error(
        "{} has other files beside it that it loads; only its code can be changed here", .0.display()
    )]
    HasSiblings(PathBuf),
    #[error("a function of one file cannot become one of several here")]
    Several,
    #[error("{} is a link, and a save stays within the folder", .0.display())]
    Link(PathBuf),
    #[error("{} would be no part of the function: hidden files, secrets and what tools install are left out", .0.display())]
    LeftOut(PathBuf),
}

/// What a write did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Write {
    /// These files have other content.
    Written(Vec<PathBuf>),
    /// The function is in another file now.
    Moved { from: PathBuf, to: PathBuf },
}

/// A function as its files are at this moment, and what its user should know.
pub(crate) struct Stored {
    pub(crate) spec: FunctionSpec,
    pub(crate) notices: Vec<String>,
    /// Why it cannot be saved.
    pub(crate) read_only: Option<String>,
}

/// Reads a function's files. Where they cannot be read, what runs is shown, and nothing can be saved.
pub(crate) fn read(function: &LocalFunction) -> Stored {
    let origin = function.origin.display();
    match &function.code {
        Code::Inline => match fs::read_to_string(&function.origin) {
            Err(error) => broken(function, format!("cannot read {origin}: {error}")),
            Ok(text) => match manifest::parse(&text) {
                Err(error) => broken(function, format!("{origin}: {error}")),
                Ok(manifest) => {
                    let mut functions = manifest.functions.into_iter();
                    let name = Some(function.name.as_str());
                    match functions.find(|f| f.metadata.name.as_deref() == name) {
                        None => broken(function, format!("{origin} has no {}", function.name)),
                        Some(found) => inline(function, &text, found.spec),
                    }
                }
            },
        },
        Code::File(path) | Code::Folder(path) => {
            match code::Code::read(path, Some(function.runtime)) {
                // A file that is being written anew.
                Err(code::CodeError::Empty(_)) => with_code(function, |source| source.code = None),
                Err(error) => broken(function, error.to_string()),
                Ok(code) => with_code(function, |source| code.put(source)),
            }
        }
    }
}

fn broken(function: &LocalFunction, why: String) -> Stored {
    Stored { spec: function.spec.clone(), notices: Vec::new(), read_only: Some(why) }
}

fn inline(function: &LocalFunction, text: &str, spec: FunctionSpec) -> Stored {
    let lost = format!(
        "comments in {} beside those at its top are lost when it is saved here",
        function.origin.display()
    );
    let notices = document::has_comments(text, &function.name).then_some(lost);
    Stored { spec, notices: notices.into_iter().collect(), read_only: None }
}

fn with_code(function: &LocalFunction, put: impl FnOnce(&mut Source)) -> Stored {
    let mut spec = function.spec.clone();
    put(spec.source.get_or_insert_default());
    Stored { spec, notices: Vec::new(), read_only: None }
}

/// Makes the files of a function be as `spec` says, which differs from them.
pub(crate) fn write(function: &LocalFunction, spec: &FunctionSpec) -> Result<Write, FileError> {
    match &function.code {
        Code::Inline => {
            let path = &function.origin;
            let text = fs::read_to_string(path)
                .map_err(|source| FileError::Read { path: path.clone(), source })?;
            let text = document::replaced(&text, &function.name, spec)
                .map_err(|source| FileError::Document { path: path.clone(), source })?;
            replace(path, &text)?;
            Ok(Write::Written(vec![path.clone()]))
        }
        Code::File(path) if is_same_but_code(function, spec) => {
            let text = only_text(spec).ok_or(FileError::Several)?;
            replace(path, text)?;
            Ok(Write::Written(vec![path.clone()]))
        }
        Code::File(path) => to_manifest(function, path, spec),
        Code::Folder(folder) => write_folder(function, folder, spec),
    }
}

/// Is all but the code as it is stored?
fn is_same_but_code(function: &LocalFunction, spec: &FunctionSpec) -> bool {
    let without = |spec: &FunctionSpec| {
        let mut spec = spec.clone();
        let source = spec.source.take().unwrap_or_default();
        let rest = Source { code: None, files: Default::default(), ..source };
        (spec, rest)
    };
    without(&function.spec) == without(spec)
}

/// The code of a function that has one file.
fn only_text(spec: &FunctionSpec) -> Option<&str> {
    let source = spec.source.as_ref()?;
    match (&source.code, source.files.len()) {
        (Some(code), 0) => Some(code),
        (None, 1) => source.files.values().next().map(String::as_str),
        _ => None,
    }
}

fn to_manifest(
    function: &LocalFunction,
    path: &Path,
    spec: &FunctionSpec,
) -> Result<Write, FileError> {
    if function.spec.event().is_some() {
        return Err(FileError::FlaggedTrigger);
    }
    if loads_siblings(function, path) {
        return Err(FileError::HasSiblings(path.to_owned()));
    }
    let to = path.with_file_name(format!("{}.yaml", function.name));
    create_new(&to, &manifest_text(&to, &function.name, spec)?)?;
    // Its content is in the manifest by now.
    fs::remove_file(path).map_err(|source| FileError::Write { path: path.to_owned(), source })?;
    Ok(Write::Moved { from: path.to_owned(), to })
}

/// Does a code file load others, which a manifest would not have?
fn loads_siblings(function: &LocalFunction, path: &Path) -> bool {
    let code = code::Code::read(path, Some(function.runtime));
    code.is_ok_and(|code| code.needs_files_beside())
}

fn write_folder(
    function: &LocalFunction,
    folder: &Path,
    spec: &FunctionSpec,
) -> Result<Write, FileError> {
    if !is_same_but_code(function, spec) {
        return Err(FileError::FolderSettings(folder.to_owned()));
    }
    let stored = read(function).spec.source.unwrap_or_default().files;
    let files = spec.source.as_ref().map(|source| &source.files).cloned().unwrap_or_default();
    let is_changed = |(name, text): &(&String, &String)| stored.get(*name) != Some(*text);
    let changed: Vec<_> = files.iter().filter(is_changed).collect();
    // Before the first of them is written.
    for (name, text) in &changed {
        may_write(folder, name, text, stored.contains_key(*name))?;
    }
    let mut written = Vec::new();
    for (name, text) in changed {
        let path = folder.join(name);
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent)
            .map_err(|source| FileError::Write { path: parent.to_owned(), source })?;
        match stored.contains_key(name) {
            true => replace(&path, text)?,
            false => create_new(&path, text)?,
        }
        written.push(path);
    }
    for name in stored.keys().filter(|name| !files.contains_key(*name)) {
        let path = folder.join(name);
        fs::remove_file(&path).map_err(|source| FileError::Write { path: path.clone(), source })?;
        written.push(path);
    }
    Ok(Write::Written(written))
}

/// A file stays within its folder, however links lead, and none is replaced that is not shown.
fn may_write(folder: &Path, name: &str, text: &str, is_stored: bool) -> Result<(), FileError> {
    let path = folder.join(name);
    if !left_out::is_taken(name, text) {
        return Err(FileError::LeftOut(path));
    }
    let above = path.ancestors().skip(1).take_while(|above| *above != folder);
    if let Some(link) = above.into_iter().find(|above| above.is_symlink()) {
        return Err(FileError::Link(link.to_owned()));
    }
    match fs::symlink_metadata(&path) {
        Ok(_) if !is_stored => Err(FileError::Exists(path)),
        _ => Ok(()),
    }
}

/// Makes the file of a new function in `home`: a code file where it is code and nothing else, a manifest
/// otherwise.
pub(crate) fn create(home: &Path, name: &str, spec: &FunctionSpec) -> Result<PathBuf, FileError> {
    let runtime = spec.effective_runtime();
    let plain = FunctionSpec {
        runtime: runtime.map(|runtime| runtime.as_str().to_owned()),
        source: spec
            .source
            .as_ref()
            .map(|source| Source { code: source.code.clone(), ..Source::default() }),
        ..FunctionSpec::default()
    };
    let code = spec.source.as_ref().and_then(|source| source.code.as_deref());
    match (runtime, code) {
        (Some(runtime), Some(code)) if *spec == plain => {
            let ending = match runtime {
                Runtime::Node => "js",
                Runtime::Python => "py",
            };
            let path = home.join(format!("{name}.{ending}"));
            create_new(&path, code)?;
            Ok(path)
        }
        _ => {
            let path = home.join(format!("{name}.yaml"));
            create_new(&path, &manifest_text(&path, name, spec)?)?;
            Ok(path)
        }
    }
}

/// Removes the file of a function, or its document where the file has others.
pub(crate) fn remove(function: &LocalFunction) -> Result<(), FileError> {
    let path = &function.origin;
    let delete =
        || fs::remove_file(path).map_err(|source| FileError::Write { path: path.clone(), source });
    match &function.code {
        Code::File(_) => delete(),
        Code::Folder(folder) => Err(FileError::FolderSettings(folder.clone())),
        Code::Inline => {
            let text = fs::read_to_string(path)
                .map_err(|source| FileError::Read { path: path.clone(), source })?;
            let left = document::removed(&text, &function.name)
                .map_err(|source| FileError::Document { path: path.clone(), source })?;
            left.map_or_else(delete, |left| replace(path, &left))
        }
    }
}

fn manifest_text(path: &Path, name: &str, spec: &FunctionSpec) -> Result<String, FileError> {
    document::new(name, spec)
        .map_err(|source| FileError::Document { path: path.to_owned(), source })
}

/// Gives a file other content, all at once, with the rights it has.
fn replace(path: &Path, text: &str) -> Result<(), FileError> {
    let write = || -> io::Result<()> {
        // A link stays one.
        let path = &path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let mut file = temporary(path, text)?;
        if let Ok(former) = fs::metadata(path) {
            file.as_file_mut().set_permissions(former.permissions())?;
        }
        file.persist(path).map(drop).map_err(|error| error.error)
    };
    write().map_err(|source| FileError::Write { path: path.to_owned(), source })
}

/// Makes a file that must not be there.
fn create_new(path: &Path, text: &str) -> Result<(), FileError> {
    let write = || -> io::Result<()> {
        let file = temporary(path, text)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
        }
        file.persist_noclobber(path).map(drop).map_err(|error| error.error)
    };
    write().map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => FileError::Exists(path.to_owned()),
        _ => FileError::Write { path: path.to_owned(), source },
    })
}

/// A file beside `path` with this content, on the disk. Hidden, so that it is no function.
fn temporary(path: &Path, text: &str) -> io::Result<tempfile::NamedTempFile> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::Builder::new().prefix(".kip-").tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    Ok(file)
}
