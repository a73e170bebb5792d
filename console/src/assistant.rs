//! The assistant's settings: where they are kept, who may change them, and the provider they make.
//!
//! They are one JSON text. `kip` takes them from its flags; on a cluster they are the Secret
//! `kipper-assistant` in the chart's namespace, which the console's pods have as a file, so that they need
//! no right to read it. The key goes in and never comes out: the API says only that there is one.

use std::{fs, io, path::PathBuf, time::Duration};

use kipper_assistant::{Assistant, BaseUrl, Bounds, Key, Protocol, Settings};
use kipper_function::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::{Problem, Reason, error::FieldProblem};

/// Longest name of a model.
const MAX_MODEL: usize = 200;
/// Largest file with settings; longer is none of ours.
const MAX_FILE: u64 = 64 << 10;
/// How late a kubelet brings a change of the Secret at the most: a minute, and somewhat more on a busy node.
const BROUGHT: Duration = Duration::from_mins(2);
/// States of the file that are known to be older than what was written; after more writes than that within
/// [`BROUGHT`], the file may count too early.
const MAX_OLDER: usize = 16;

/// The settings as they are kept. Has no `Debug`, because of the key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stored {
    /// What the endpoint speaks.
    pub provider: Protocol,
    /// Where it is.
    pub url: String,
    /// The model, by the provider's name for it.
    pub model: String,
    /// Its key, where it wants one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// When they were set; absent for flags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<Timestamp>,
}

/// What a user sees of the settings, and may do.
pub struct Setup {
    /// The settings, where there are any.
    pub stored: Option<Stored>,
    /// Why this user cannot change them; `None` where they can.
    pub fixed: Option<String>,
    /// Whether endpoints in private networks are called.
    pub allow_private: bool,
}

impl Stored {
    /// The settings in this text.
    ///
    /// # Errors
    /// When it is none of ours.
    pub fn read(text: &[u8]) -> Result<Self, Problem> {
        serde_json::from_slice(text).map_err(|error| {
            // The text has the key in it, and so may serde's words.
            let place = format!("line {} column {}", error.line(), error.column());
            Problem::new(
                Reason::Internal,
                format!("the assistant's settings cannot be read: {place}"),
            )
        })
    }

    /// As they are kept.
    pub fn text(&self) -> Vec<u8> {
        // Never fails for these types.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The provider.
    ///
    /// # Errors
    /// What is wrong, at its field.
    pub fn assistant(&self, allow_private: bool) -> Result<Assistant, Problem> {
        let mut problems = Vec::new();
        let mut problem = |path: &str, message: String| {
            problems.push(FieldProblem { path: path.to_owned(), message });
        };
        let base_url =
            self.url.parse::<BaseUrl>().map_err(|error| problem("url", error.to_string()));
        let key = self.key.as_deref().map(Key::new).transpose();
        let key = key.map_err(|error| problem("key", error.to_string()));
        let model = self.model.trim();
        if model.is_empty() || model.len() > MAX_MODEL || model.contains(char::is_control) {
            problem("model", format!("must be a name of 1 to {MAX_MODEL} characters"));
        }
        let (Ok(base_url), Ok(key), true) = (base_url, key, problems.is_empty()) else {
            return Err(Problem::invalid(problems));
        };
        Ok(Assistant::new(Settings {
            protocol: self.provider,
            base_url,
            model: model.to_owned(),
            key,
            max_reply_tokens: None,
            allow_private,
            bounds: Bounds::default(),
        }))
    }

    /// Is it the endpoint that a key was given for?
    pub(crate) fn is_at(&self, provider: Protocol, url: &str) -> bool {
        self.provider == provider && self.url.trim() == url.trim()
    }
}

/// The Secret as the kubelet mounts it, which takes about a minute after each change: what this process
/// has written itself counts at once.
pub struct Mounted {
    path: PathBuf,
    written: Mutex<Option<Written>>,
}

/// What this process has written, until the file shows something newer or should have shown it.
struct Written {
    stored: Option<Stored>,
    at: Instant,
    /// What the file may still show: what it did then, and what this process had written before.
    older: Vec<Option<Stored>>,
}

impl Written {
    fn counts(&self, file: &Option<Stored>) -> bool {
        let changed = |stored: &Option<Stored>| stored.as_ref().and_then(|stored| stored.changed);
        let is_older = match (changed(file), changed(&self.stored)) {
            // Whoever wrote it, with another replica's hand perhaps.
            (Some(file), Some(own)) if file != own => file < own,
            _ => self.older.contains(file),
        };
        is_older && self.at.elapsed() < BROUGHT
    }
}

impl Mounted {
    /// The file, which need not be there yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, written: Mutex::new(None) }
    }

    /// What was set last.
    pub(crate) fn read(&self) -> Result<Option<Stored>, Problem> {
        let file = self.file()?;
        let mut written = self.written.lock();
        if written.as_ref().is_some_and(|written| !written.counts(&file)) {
            *written = None;
        }
        Ok(written.as_ref().map_or(file, |written| written.stored.clone()))
    }

    pub(crate) fn note(&self, stored: Option<Stored>) {
        // A file that cannot be read now is another one once it can.
        let file = self.file().ok().flatten();
        let mut written = self.written.lock();
        let mut older = vec![file];
        if let Some(former) = written.take() {
            older.push(former.stored);
            older.extend(former.older);
            older.truncate(MAX_OLDER);
        }
        *written = Some(Written { stored, at: Instant::now(), older });
    }

    fn file(&self) -> Result<Option<Stored>, Problem> {
        let unreadable = |error: io::Error| {
            let words = format!("the assistant's settings cannot be read: {}", error.kind());
            Problem::new(Reason::Internal, words)
        };
        match fs::metadata(&self.path) {
            Ok(found) if found.len() > MAX_FILE => {
                Err(unreadable(io::ErrorKind::FileTooLarge.into()))
            }
            Ok(_) => Stored::read(&fs::read(&self.path).map_err(unreadable)?).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unreadable(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn stored(changed: &str) -> Stored {
        Stored {
            provider: Protocol::OpenAi,
            url: "https://models.example/v1".to_owned(),
            model: format!("model of {changed}"),
            key: Some("sk-canary".to_owned()),
            changed: Some(changed.parse().unwrap()),
        }
    }

    #[test]
    fn settings_come_back_as_they_were_kept() {
        let before = stored("2026-01-01T00:00:00Z");
        assert!(Stored::read(&before.text()).unwrap() == before);
        let error = Stored::read(b"{\"provider\":\"openai\",\"key\":\"sk-canary\"").err().unwrap();
        assert!(!error.error.contains("canary"), "{}", error.error);
    }

    #[test]
    fn what_is_wrong_is_said_at_its_field() {
        let wrong = Stored {
            url: "models.example".to_owned(),
            model: " ".to_owned(),
            key: Some("sk canary".to_owned()),
            ..stored("2026-01-01T00:00:00Z")
        };
        let problem = wrong.assistant(false).err().unwrap();
        let paths: Vec<_> = problem.problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(paths, ["url", "key", "model"]);
        assert!(!format!("{problem:?}").contains("canary"), "{problem:?}");
    }

    #[test]
    fn what_was_written_counts_until_the_file_moves() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("settings.json");
        let mounted = Mounted::new(path.clone());
        let model = || mounted.read().unwrap().map(|stored| stored.model);
        assert_eq!(model(), None);
        let [first, second, third] =
            ["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z"];
        fs::write(&path, stored(first).text()).unwrap();
        mounted.note(Some(stored(second)));
        assert_eq!(model().unwrap(), format!("model of {second}"));
        fs::write(&path, stored(third).text()).unwrap();
        assert_eq!(model().unwrap(), format!("model of {third}"));
        mounted.note(None);
        assert_eq!(model(), None);
        // What was written before comes late, and is no news.
        mounted.note(Some(stored(first)));
        mounted.note(Some(stored(second)));
        fs::write(&path, stored(first).text()).unwrap();
        assert_eq!(model().unwrap(), format!("model of {second}"));
        mounted.note(None);
        assert_eq!(model(), None);
        // Until all of it must have come.
        mounted.written.lock().as_mut().unwrap().at -= BROUGHT;
        assert_eq!(model().unwrap(), format!("model of {first}"));
        // Another replica has written that before.
        mounted.note(Some(stored(third)));
        fs::write(&path, stored(second).text()).unwrap();
        assert_eq!(model().unwrap(), format!("model of {third}"));
        mounted.note(None);
        fs::remove_file(&path).unwrap();
        assert_eq!(model(), None);
        fs::write(&path, vec![b' '; 65 << 10]).unwrap();
        assert!(mounted.read().is_err());
    }
}
