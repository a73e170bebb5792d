//! The API server's audit log: who asked for what, and when it was done.
//!
//! It is read forward from a mark, so that a scenario reads only what happened since. The API
//! server renames a full file and begins a new one; a mark stays good until its file is removed.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Seek as _, SeekFrom},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;

/// Longest line: with the policy `Metadata` no body is in it.
const MAX_LINE: usize = 1 << 20;

/// One request that was answered, or a watch that ended.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    pub verb: String,
    user: User,
    #[serde(default)]
    pub user_agent: String,
    #[serde(default)]
    pub object_ref: Target,
    #[serde(default)]
    response_status: Response,
    /// The answer was complete: a write is stored and visible.
    pub stage_timestamp: Timestamp,
}

#[derive(Clone, Debug, Deserialize)]
struct User {
    username: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Response {
    #[serde(default)]
    code: u16,
}

/// What a request was about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Target {
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
}

impl Entry {
    pub fn user(&self) -> &str {
        &self.user.username
    }

    /// It changed something.
    pub fn is_write(&self) -> bool {
        let written = matches!(
            self.verb.as_str(),
            "create" | "update" | "patch" | "delete" | "deletecollection"
        );
        // A review is a question, asked with `create`.
        written && self.succeeded() && !self.object_ref.resource.ends_with("reviews")
    }

    pub fn is_list(&self) -> bool {
        self.verb == "list"
    }

    pub fn succeeded(&self) -> bool {
        (200..300).contains(&self.response_status.code)
    }

    /// Who did what, as one line that does not differ between objects of a kind.
    pub fn summary(&self) -> String {
        let Target { resource, subresource, .. } = &self.object_ref;
        let slash = if subresource.is_empty() { "" } else { "/" };
        format!("{} {} {resource}{slash}{subresource}", self.user(), self.verb)
    }
}

/// A place in the log.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    inode: u64,
    offset: u64,
}

/// The log of the API server on this machine.
#[derive(Clone, Debug)]
pub struct Audit {
    dir: PathBuf,
}

impl Audit {
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The end of the log as it is now.
    pub fn mark(&self) -> Result<Mark, anyhow::Error> {
        let path = self.dir.join("audit.log");
        let file = fs::metadata(&path).with_context(|| path.display().to_string())?;
        Ok(Mark { inode: file.ino(), offset: file.len() })
    }

    /// Everything `wanted` since the mark, in the order in which it was answered.
    pub fn since(
        &self,
        mark: &Mark,
        mut wanted: impl FnMut(&Entry) -> bool,
    ) -> Result<Vec<Entry>, anyhow::Error> {
        let mut found = Vec::new();
        let mut offset = mark.offset;
        for path in self.files_since(mark)? {
            read(&path, offset, &mut |entry| {
                if wanted(&entry) {
                    found.push(entry);
                }
            })
            .with_context(|| path.display().to_string())?;
            offset = 0;
        }
        Ok(found)
    }

    /// The mark's file and those begun after it, oldest first. Full files carry the time at which
    /// they were full in their name; the current one sorts behind them.
    fn files_since(&self, mark: &Mark) -> Result<Vec<PathBuf>, anyhow::Error> {
        let mut files: Vec<PathBuf> = fs::read_dir(&self.dir)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| is_audit(path))
            .collect();
        files.sort_unstable_by_key(|path| (path.ends_with("audit.log"), path.clone()));
        let first = files
            .iter()
            .position(|path| fs::metadata(path).is_ok_and(|file| file.ino() == mark.inode))
            .context("the audit log of that time is gone: too much happened since")?;
        Ok(files.split_off(first))
    }
}

fn is_audit(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name == "audit.log" || (name.starts_with("audit-") && name.ends_with(".log"))
}

fn read(path: &Path, offset: u64, each: &mut dyn FnMut(Entry)) -> Result<(), anyhow::Error> {
    let mut file = File::open(path)?;
    // A mark can fall into a line that is just being written; what it says was over by then.
    file.seek(SeekFrom::Start(offset.saturating_sub(1)))?;
    let mut lines = BufReader::with_capacity(1 << 16, file);
    let mut line = Vec::new();
    if offset > 0 {
        lines.read_until(b'\n', &mut line)?;
    }
    loop {
        line.clear();
        lines.read_until(b'\n', &mut line)?;
        // A line that is being written has no end yet; it will be there for who asks later.
        if line.last() != Some(&b'\n') {
            return Ok(());
        }
        anyhow::ensure!(line.len() <= MAX_LINE, "a line is too long");
        each(serde_json::from_slice(&line)?);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write as _;

    use super::*;

    fn line(name: &str) -> String {
        format!(
            r#"{{"verb":"update","user":{{"username":"keda"}},"userAgent":"operator","objectRef":{{"resource":"deployments","namespace":"shop","name":"{name}","subresource":"scale"}},"responseStatus":{{"code":200}},"stageTimestamp":"2026-01-01T00:00:00.002001Z"}}"#
        ) + "\n"
    }

    #[test]
    fn a_mark_may_fall_into_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let current = dir.path().join("audit.log");
        let (written, rest) = (line("written"), line("rest"));
        let (begun, end) = written.split_at(20);
        fs::write(&current, line("before") + begun).unwrap();
        let audit = Audit::new(dir.path().to_owned());
        let mark = audit.mark().unwrap();
        let mut file = File::options().append(true).open(&current).unwrap();
        file.write_all((end.to_owned() + &rest).as_bytes()).unwrap();
        let found = audit.since(&mark, Entry::is_write).unwrap();
        let names: Vec<_> = found.iter().map(|entry| entry.object_ref.name.as_str()).collect();
        assert_eq!(names, ["rest"]);
    }

    #[test]
    fn a_mark_outlives_a_full_file() {
        let dir = tempfile::tempdir().unwrap();
        let current = dir.path().join("audit.log");
        fs::write(&current, line("before")).unwrap();
        let audit = Audit::new(dir.path().to_owned());
        let mark = audit.mark().unwrap();
        let mut file = File::options().append(true).open(&current).unwrap();
        file.write_all(line("after").as_bytes()).unwrap();
        fs::rename(&current, dir.path().join("audit-2026-01-01T00-00-00.000.log")).unwrap();
        fs::write(&current, line("later") + r#"{"verb":"#).unwrap();
        let found = audit.since(&mark, Entry::is_write).unwrap();
        let names: Vec<_> = found.iter().map(|entry| entry.object_ref.name.as_str()).collect();
        assert_eq!(names, ["after", "later"]);
        let entry = found.first().unwrap();
        assert_eq!(entry.summary(), "keda update deployments/scale");
        assert_eq!(entry.stage_timestamp.to_string(), "2026-01-01T00:00:00.002001Z");
    }
}
