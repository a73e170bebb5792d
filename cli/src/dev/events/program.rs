//! Kipper's own programs that `kip dev` starts: where they are, and the environment they get.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use tracing::Level;

/// Variables of these programs, and of functions, begin with it.
const VARIABLES: &str = "KIPPER_";

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// Claims events and delivers them; counts what waits.
    Poller,
    /// Turns changes of a bucket into events.
    BucketWatcher,
}

/// A program that is needed and not installed.
#[derive(Debug, thiserror::Error)]
#[error(
    "{name} not found beside kip or in PATH: {needed_by} need it; build it with `make pollers`, or \
     install the kip package, which contains it"
)]
pub(crate) struct MissingProgram {
    name: &'static str,
    needed_by: &'static str,
}

impl Program {
    /// The name of its file.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Poller => "kipper-poll",
            Self::BucketWatcher => "kipper-bucket-watcher",
        }
    }

    /// What its log lines are from.
    pub(crate) const fn target(self) -> &'static str {
        match self {
            Self::Poller => "kipper_poller",
            Self::BucketWatcher => "kipper_bucket_watcher",
        }
    }

    /// Its log lines of this level and above are for the user: of a poller what went wrong, of a
    /// watcher also that it watches, because what happened before is no event.
    pub(crate) const fn level(self) -> Level {
        match self {
            Self::Poller => Level::WARN,
            Self::BucketWatcher => Level::INFO,
        }
    }

    /// Its file: the one beside the running `kip`, else the first in PATH.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn find(self) -> Result<PathBuf, MissingProgram> {
        let kip = env::current_exe().ok();
        let beside = kip.as_deref().and_then(Path::parent).map(Path::to_owned);
        let path = env::var_os("PATH").unwrap_or_default();
        let folders = beside.into_iter().chain(env::split_paths(&path));
        let needed_by = match self {
            Self::Poller => "event triggers",
            Self::BucketWatcher => "minio triggers",
        };
        find_in(self.name(), folders).ok_or(MissingProgram { name: self.name(), needed_by })
    }

    /// A command that starts it with this process's environment, except for variables that would
    /// configure it.
    ///
    /// # Errors
    /// When it is not installed.
    pub(crate) fn command(self) -> Result<Command, MissingProgram> {
        let mut command = Command::new(self.find()?);
        for (name, _) in env::vars_os() {
            if name.as_encoded_bytes().starts_with(VARIABLES.as_bytes()) {
                command.env_remove(name);
            }
        }
        Ok(command)
    }
}

fn find_in(name: &str, folders: impl Iterator<Item = PathBuf>) -> Option<PathBuf> {
    let is_program = |path: &PathBuf| {
        fs::metadata(path)
            .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    folders.map(|folder| folder.join(name)).find(is_program)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_first_file_that_can_be_run_is_the_program() {
        let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let paths = || folders.iter().map(|folder| folder.path().to_owned());
        let write = |folder: usize, mode: u32| {
            let file = folders[folder].path().join("x");
            fs::write(&file, "").unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        };
        assert_eq!(find_in("x", paths()), None);
        write(0, 0o644);
        write(2, 0o755);
        assert_eq!(find_in("x", paths()), Some(folders[2].path().join("x")));
        write(1, 0o700);
        assert_eq!(find_in("x", paths()), Some(folders[1].path().join("x")));
    }
}
