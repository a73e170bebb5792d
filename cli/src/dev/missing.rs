//! Files that are not there any more: a function goes with its file. Pure.
//!
//! An editor moves a file away for a moment, and so does a change of branches: only what stays away is
//! gone.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::Instant;

/// How long a file is awaited.
const GRACE: Duration = Duration::from_secs(2);

/// Files that are awaited, and since when.
#[derive(Debug, Default)]
pub(crate) struct Missing(BTreeMap<PathBuf, Instant>);

impl Missing {
    /// Takes in which of `files` are missing now.
    pub(crate) fn note(&mut self, files: impl IntoIterator<Item = PathBuf>, now: Instant) {
        let former = std::mem::take(&mut self.0);
        let since = |path: &PathBuf| former.get(path).copied().unwrap_or(now);
        self.0 = files.into_iter().map(|path| (path.clone(), since(&path))).collect();
    }

    /// When the next of them counts as gone.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.0.values().min().map(|since| *since + GRACE)
    }

    /// Has it been away for too long?
    pub(crate) fn is_gone(&self, path: &Path, now: Instant) -> bool {
        self.0.get(path).is_some_and(|since| *since + GRACE <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stays_away_is_gone() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let (a, b) = (PathBuf::from("a.js"), PathBuf::from("b.js"));
        let mut missing = Missing::default();
        assert_eq!(missing.next(), None);
        missing.note([a.clone()], at(0));
        missing.note([a.clone(), b.clone()], at(1));
        assert_eq!(missing.next(), Some(at(0) + GRACE));
        let gone = |missing: &Missing, now| [&a, &b].map(|path| missing.is_gone(path, now));
        assert_eq!(gone(&missing, at(1)), [false, false]);
        assert_eq!(gone(&missing, at(2)), [true, false]);
        // The first is back, and goes again.
        missing.note([b.clone()], at(2));
        missing.note([a.clone(), b.clone()], at(3));
        assert_eq!(gone(&missing, at(4)), [false, true]);
    }
}
