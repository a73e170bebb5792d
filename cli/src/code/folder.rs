//! The files of a function's folder that are deployed: text, no more of it than a ConfigMap holds.
//!
//! A `.gitignore` leaves out what git would, or an `.npmignore` beside it in its place, as with npm;
//! those of the folders above do not count, so that a folder is the same function wherever it is. No
//! link is followed out of the folder. Files that are left out for another reason are named. Nothing is
//! read whole that is too large.

use std::{
    collections::BTreeMap,
    fs::{self, DirEntry, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use ignore::{
    Match,
    gitignore::{Gitignore, GitignoreBuilder},
};
use kipper_function::{
    code::{MAX_CODE_BYTES, MAX_FILES, NPMRC, check_path},
    function::{Runtime, validate::check_npmrc},
};

use super::left_out::{LeftOut, Why, is_ignored, is_secret, is_secret_pem};

/// Most files and folders that are looked at: beyond it, it is not the folder of one function.
const MAX_ENTRIES: usize = 10_000;
/// What is read of a file that does not fit any more, to tell text from anything else.
const HEAD_BYTES: u64 = 8 << 10;
/// Largest files that are named when all of them are too large.
const NAMED: usize = 3;
/// What says which files are left out; the first one of a folder counts.
const IGNORE_FILES: [&str; 2] = [".npmignore", ".gitignore"];

/// Why a folder cannot be deployed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{0}")]
    Ignore(#[from] ignore::Error),
    #[error(
        "{}: holds more than {MAX_ENTRIES} files and folders; give the folder of one function",
        .0.display()
    )]
    Endless(PathBuf),
    #[error(
        "{}: holds {found} files; at most {MAX_FILES} are allowed; leave out what the function does \
         not need with a .gitignore or .npmignore",
        path.display()
    )]
    TooMany { path: PathBuf, found: usize },
    #[error(
        "{}: its files have {size} bytes, paths included; at most {MAX_CODE_BYTES} are allowed, because \
         they are mounted from a ConfigMap; leave out what the function does not need with a .gitignore \
         or .npmignore; the largest are {largest}",
        path.display()
    )]
    TooLarge { path: PathBuf, size: u64, largest: String },
}

/// What of a folder is deployed, and what is not.
#[derive(Debug, Default)]
pub(super) struct Folder {
    /// Relative path → text.
    pub(super) files: BTreeMap<String, String>,
    /// Settings of npm without a token in them.
    pub(super) npmrc: Option<String>,
    pub(super) left_out: Vec<LeftOut>,
}

/// Reads the folder of a function of this runtime.
pub(super) fn read(folder: &Path, runtime: Runtime) -> Result<Folder, FolderError> {
    let root = folder.canonicalize().map_err(failed(folder))?;
    let mut walk = Walk { root: &root, found: Vec::new(), left_out: Vec::new(), seen: 0 };
    walk.folder(&root, "", &mut Vec::new())?;
    let Walk { found, mut left_out, .. } = walk;
    let files = texts(folder, found, &mut left_out)?;
    let npmrc = npmrc(&root, runtime, &mut left_out)?;
    left_out.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Folder { files, npmrc, left_out })
}

fn failed(path: &Path) -> impl Fn(io::Error) -> FolderError {
    move |source| FolderError::Read { path: path.to_owned(), source }
}

/// A file that may be deployed.
struct Found {
    /// Relative to the folder.
    path: String,
    /// Where it is, links resolved.
    file: PathBuf,
}

struct Walk<'a> {
    root: &'a Path,
    found: Vec<Found>,
    left_out: Vec<LeftOut>,
    seen: usize,
}

impl Walk<'_> {
    /// Goes through a folder whose path is `below` the root. `rules` are those of the folders above.
    /// The recursion is bounded by the length of a path.
    fn folder(
        &mut self,
        folder: &Path,
        below: &str,
        rules: &mut Vec<Gitignore>,
    ) -> Result<(), FolderError> {
        rules.push(ignored_by(folder)?);
        let entries = fs::read_dir(folder).map_err(failed(folder))?;
        let entries = entries.take(MAX_ENTRIES + 1).collect::<io::Result<Vec<_>>>();
        let mut entries = entries.map_err(failed(folder))?;
        self.seen += entries.len();
        if self.seen > MAX_ENTRIES {
            return Err(FolderError::Endless(self.root.to_owned()));
        }
        entries.sort_by_key(DirEntry::file_name);
        for entry in entries {
            self.entry(&entry, below, rules)?;
        }
        rules.pop();
        Ok(())
    }

    fn entry(
        &mut self,
        entry: &DirEntry,
        below: &str,
        rules: &mut Vec<Gitignore>,
    ) -> Result<(), FolderError> {
        let (place, name) = (entry.path(), entry.file_name());
        let kind = entry.file_type().map_err(failed(&place))?;
        let shown = name.to_string_lossy();
        let path = if below.is_empty() { shown.into_owned() } else { format!("{below}/{shown}") };
        if !kind.is_dir() && path != NPMRC && name.to_str().is_some_and(is_secret) {
            self.leave(path, Why::Secret);
            return Ok(());
        }
        if name.to_str().is_some() && is_ignored(&name)
            || kind.is_dir() && place.join("pyvenv.cfg").is_file()
            || is_excluded(rules, &place, kind.is_dir())
        {
            return Ok(());
        }
        if name.to_str().is_none() {
            self.leave(path, Why::Path("must be UTF-8"));
        } else if let Err(why) = check_path(&path) {
            self.leave(path, Why::Path(why));
        } else if kind.is_dir() {
            self.folder(&place, &path, rules)?;
        } else if kind.is_symlink() {
            match self.target(&place) {
                Ok(file) => self.found.push(Found { path, file }),
                Err(why) => self.leave(path, why),
            }
        } else if kind.is_file() {
            self.found.push(Found { path, file: place });
        } else {
            self.leave(path, Why::NoFile);
        }
        Ok(())
    }

    /// The file that a link leads to, if it is one of the folder.
    fn target(&self, link: &Path) -> Result<PathBuf, Why> {
        let target = link.canonicalize().map_err(|_| Why::BrokenLink)?;
        let inside = target.strip_prefix(self.root).map_err(|_| Why::LinkOut)?;
        if target.is_dir() {
            return Err(Why::LinkToFolder);
        }
        if !target.is_file() {
            return Err(Why::NoFile);
        }
        let name = target.file_name().and_then(|name| name.to_str());
        if name.is_some_and(is_secret) {
            return Err(Why::Secret);
        }
        if inside.iter().any(is_ignored) {
            return Err(Why::LinkToLeftOut);
        }
        Ok(target)
    }

    fn leave(&mut self, path: String, why: Why) {
        self.left_out.push(LeftOut { path, why });
    }
}

/// What a folder's own ignore file says.
fn ignored_by(folder: &Path) -> Result<Gitignore, FolderError> {
    let mut rules = GitignoreBuilder::new(folder);
    let file = IGNORE_FILES.iter().map(|name| folder.join(name)).find(|file| file.is_file());
    // A pattern that cannot be read might be the one that keeps something secret.
    match file.and_then(|file| rules.add(file)) {
        Some(error) => Err(error.into()),
        None => Ok(rules.build()?),
    }
}

/// The nearest folder's rules decide.
fn is_excluded(rules: &[Gitignore], path: &Path, is_folder: bool) -> bool {
    let mut decisions = rules.iter().rev().map(|rules| rules.matched(path, is_folder));
    decisions.find(|decision| !decision.is_none()).is_some_and(|decision| match decision {
        Match::Ignore(_) => true,
        Match::Whitelist(_) | Match::None => false,
    })
}

/// The texts of the files, within the bounds.
fn texts(
    folder: &Path,
    found: Vec<Found>,
    left_out: &mut Vec<LeftOut>,
) -> Result<BTreeMap<String, String>, FolderError> {
    let mut files = BTreeMap::new();
    let mut sizes: Vec<(u64, String)> = Vec::new();
    let mut total = 0_u64;
    for Found { path, file } in found {
        // One byte more than there may be tells that there are too many.
        let left = (MAX_CODE_BYTES as u64 + 1).saturating_sub(total);
        let Some((size, text)) = text(&file, left.max(HEAD_BYTES)).map_err(failed(&file))? else {
            left_out.push(LeftOut { path, why: Why::NotText });
            continue;
        };
        if is_secret_pem(&path, &text) {
            left_out.push(LeftOut { path, why: Why::Secret });
            continue;
        }
        total += path.len() as u64 + size;
        sizes.push((size, path.clone()));
        if total <= MAX_CODE_BYTES as u64 && sizes.len() <= MAX_FILES {
            files.insert(path, text);
        }
    }
    if sizes.len() > MAX_FILES {
        return Err(FolderError::TooMany { path: folder.to_owned(), found: sizes.len() });
    }
    if total > MAX_CODE_BYTES as u64 {
        sizes.sort_by(|a, b| b.cmp(a));
        let largest = sizes.iter().take(NAMED).map(|(size, path)| format!("{path} ({size})"));
        let largest = largest.collect::<Vec<_>>().join(", ");
        return Err(FolderError::TooLarge { path: folder.to_owned(), size: total, largest });
    }
    Ok(files)
}

/// Size and text of a file, of which at most `limit` bytes are read; `None` when it is not text.
fn text(file: &Path, limit: u64) -> io::Result<Option<(u64, String)>> {
    let file = File::open(file)?;
    let size = file.metadata()?.len();
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    let read = bytes.len() as u64;
    if bytes.contains(&0) {
        return Ok(None);
    }
    let size = size.max(read);
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some((size, text))),
        // A character may have been cut in two; a file that was cut is not used.
        Err(error) if read < size && error.utf8_error().error_len().is_none() => {
            Ok(Some((size, String::new())))
        }
        Err(_) => Ok(None),
    }
}

/// The settings of npm that the folder holds, if they may be read by everybody.
fn npmrc(
    root: &Path,
    runtime: Runtime,
    left_out: &mut Vec<LeftOut>,
) -> Result<Option<String>, FolderError> {
    let file = root.join(NPMRC);
    let is_file = fs::symlink_metadata(&file).is_ok_and(|file| file.is_file());
    if runtime != Runtime::Node || !is_file {
        return Ok(None);
    }
    let why = match text(&file, MAX_CODE_BYTES as u64).map_err(failed(&file))? {
        Some((_, text)) => match check_npmrc(runtime, &text) {
            Ok(()) => return Ok(Some(text).filter(|text| !text.trim().is_empty())),
            Err(why) => Why::Npmrc(why),
        },
        None => Why::NotText,
    };
    left_out.push(LeftOut { path: NPMRC.to_owned(), why });
    Ok(None)
}
