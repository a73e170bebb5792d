//! Code as its author has it: the file or the folder of `--code-file` and `kip dev`.
//!
//! The one reader of both, so that a folder means the same to them: which file has the handler
//! (`entry`), what of a folder is deployed (`folder`, `left_out`), and what is worth knowing before it
//! runs in a cluster (`warnings`). `kip dev` runs what it is given where it is and only tells what a
//! cluster would not have. Never runs code.

pub(crate) mod entry;
mod folder;
pub(crate) mod left_out;
mod warnings;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use kipper_function::{
    code::{self, Ambiguous, MAX_CODE_BYTES},
    function::{Runtime, Source},
};

use folder::{Folder, FolderError};
use left_out::LeftOut;

/// Why there is no code.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CodeError {
    #[error("--code-file needs --runtime node or python")]
    NoRuntime,
    #[error("--runtime {given} does not fit {}, whose ending is that of {ending}", path.display())]
    Misfit { path: PathBuf, given: Runtime, ending: Runtime },
    #[error("{0}")]
    Jsx(String),
    #[error("{}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}: the file contains no code", .0.display())]
    Empty(PathBuf),
    #[error("{}: the file is not text: it contains null characters", .0.display())]
    Binary(PathBuf),
    #[error("{}: has {size} bytes; code must be at most {MAX_CODE_BYTES} bytes", path.display())]
    TooLarge { path: PathBuf, size: u64 },
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("{}: {source}; say which with --runtime", path.display())]
    Ambiguous { path: PathBuf, source: Ambiguous },
    #[error("{}: the folder {}", path.display(), code::missing(*runtime))]
    NoEntry { path: PathBuf, runtime: Runtime },
    #[error("{}: the file with the handler cannot be deployed: {why}", path.display())]
    EntryLeftOut { path: PathBuf, why: String },
}

impl CodeError {
    /// The command line is wrong, whatever the files are.
    pub(crate) const fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::NoRuntime | Self::Misfit { .. } | Self::Jsx(_) | Self::Ambiguous { .. }
        )
    }
}

/// What a Function gets.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    Text(String),
    Files(BTreeMap<String, String>),
}

/// Where it came from.
#[derive(Clone, Debug)]
enum Origin {
    Stdin,
    File(PathBuf),
    Folder(Vec<LeftOut>),
}

/// Inline code and what runs it.
#[derive(Clone, Debug)]
pub(crate) struct Code {
    pub(crate) runtime: Runtime,
    content: Content,
    /// Settings of npm that a folder holds.
    npmrc: Option<String>,
    origin: Origin,
}

impl Code {
    /// Reads a file, a folder, or for `-` stdin.
    ///
    /// # Errors
    /// When it cannot be read or deployed, or nothing says what runs it.
    pub(crate) fn read(path: &Path, runtime: Option<Runtime>) -> Result<Self, CodeError> {
        if path.is_dir() {
            return Self::read_folder(path, runtime);
        }
        if let Some(why) = entry::refusal(path) {
            return Err(CodeError::Jsx(why));
        }
        let runtime = match (runtime, entry::runtime_of_file(path)) {
            (Some(given), Some(ending)) if given != ending => {
                return Err(CodeError::Misfit { path: path.to_owned(), given, ending });
            }
            (given, ending) => given.or(ending).ok_or(CodeError::NoRuntime)?,
        };
        let text = read(path)?;
        // What strips the types goes by the file's name.
        let content = match entry::typescript_ending(path).filter(|_| runtime == Runtime::Node) {
            Some(ending) => Content::Files([(format!("index.{ending}"), text)].into()),
            None => Content::Text(text),
        };
        let origin = if is_stdin(path) { Origin::Stdin } else { Origin::File(path.to_owned()) };
        Ok(Self { runtime, content, npmrc: None, origin })
    }

    fn read_folder(path: &Path, runtime: Option<Runtime>) -> Result<Self, CodeError> {
        let owned = || path.to_owned();
        let runtime = match runtime {
            Some(runtime) => runtime,
            None => entry::runtime_of_folder(path)
                .map_err(|source| CodeError::Ambiguous { path: owned(), source })?
                .ok_or_else(|| CodeError::NoEntry { path: owned(), runtime: Runtime::Node })?,
        };
        let entry = entry::entry_of_folder(path, runtime);
        let entry = entry.ok_or_else(|| CodeError::NoEntry { path: owned(), runtime })?;
        let Folder { files, npmrc, left_out } = folder::read(path, runtime)?;
        if !files.contains_key(&entry) {
            let named = left_out.iter().find(|left_out| left_out.path == entry);
            let why = named.map(LeftOut::to_string).unwrap_or_else(|| {
                format!(
                    "{entry} is ignored; an .npmignore takes the place of the .gitignore beside it"
                )
            });
            return Err(CodeError::EntryLeftOut { path: owned(), why });
        }
        let (content, origin) = (Content::Files(files), Origin::Folder(left_out));
        Ok(Self { runtime, content, npmrc, origin })
    }

    /// Makes it the code of a Function. A folder with a list of packages brings all of them: those that
    /// were declared for other code go.
    pub(crate) fn put(&self, source: &mut Source) {
        match &self.content {
            Content::Text(text) => {
                source.code = Some(text.clone());
                source.files.clear();
            }
            Content::Files(files) => {
                source.code = None;
                source.files = files.clone();
                if files.contains_key(code::package_list(self.runtime)) {
                    source.dependencies.clear();
                }
            }
        }
        if self.npmrc.is_some() {
            source.npmrc = self.npmrc.clone();
        }
    }

    /// Does a code file need what lies beside it?
    pub(crate) fn needs_files_beside(&self) -> bool {
        match (&self.origin, &self.content) {
            (Origin::File(path), Content::Text(text)) => {
                !warnings::of_file(self.runtime, text, path, &BTreeSet::new()).is_empty()
            }
            _ => false,
        }
    }

    /// What is worth knowing before it runs in a cluster. `given` are the packages that are installed.
    pub(crate) fn warnings(&self, given: &BTreeSet<&str>) -> Vec<String> {
        let entry = match &self.content {
            Content::Text(text) => text.as_str(),
            Content::Files(files) => {
                let entry = code::entry_of(self.runtime, files);
                entry.and_then(|entry| files.get(&entry)).map_or("", String::as_str)
            }
        };
        let mut warnings: Vec<String> = warnings::of_handler(self.runtime, entry).collect();
        match (&self.origin, &self.content) {
            (Origin::File(path), _) => {
                warnings.extend(warnings::of_file(self.runtime, entry, path, given));
            }
            (Origin::Folder(left_out), Content::Files(files)) => {
                warnings.extend(left_out.iter().map(LeftOut::to_string));
                warnings.extend(warnings::of_folder(self.runtime, files));
            }
            _ => {}
        }
        warnings
    }
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn read(path: &Path) -> Result<String, CodeError> {
    let failed = |source| CodeError::Read { path: path.to_owned(), source };
    // One byte more than there may be tells that there are too many.
    let limit = MAX_CODE_BYTES as u64 + 1;
    let mut text = String::new();
    let mut size = 0;
    if is_stdin(path) {
        io::stdin().lock().take(limit).read_to_string(&mut text).map_err(failed)?;
    } else {
        let file = fs::File::open(path).map_err(failed)?;
        size = file.metadata().map_err(failed)?.len();
        // A character that is cut in two is no error of a file that is too large anyway.
        if size < limit {
            file.take(limit).read_to_string(&mut text).map_err(failed)?;
        }
    }
    let size = size.max(text.len() as u64);
    if size >= limit {
        return Err(CodeError::TooLarge { path: path.to_owned(), size });
    }
    if text.trim().is_empty() {
        return Err(CodeError::Empty(path.to_owned()));
    }
    if text.contains('\0') {
        return Err(CodeError::Binary(path.to_owned()));
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
