//! Flags that may be repeated, one value each: what they add, and with a dash behind a name, as in
//! `kubectl label`, what they take away. Pure.

use kipper_client::edits::{self, EditError};
use kipper_function::{
    FunctionSpec,
    function::{ImagePullSecret, Runtime, ServiceBinding, Volume},
};

use crate::env_flag;

/// What one value of such a flag does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry<T> {
    /// Adds this, or changes what is there of its name.
    Add(T),
    /// Takes away what has this name.
    Remove(String),
}

impl<T> Entry<T> {
    /// What it adds.
    pub(super) const fn added(&self) -> Option<&T> {
        match self {
            Self::Add(value) => Some(value),
            Self::Remove(_) => None,
        }
    }
}

/// `NAME-`, where the rest of the text could be nothing else.
fn removal<T>(text: &str, separator: char) -> Option<Entry<T>> {
    let name = text.strip_suffix('-').filter(|name| !name.is_empty())?;
    (!name.contains(separator)).then(|| Entry::Remove(name.to_owned()))
}

/// `NAME=VALUE` of an environment variable, or `NAME-`.
pub(super) fn variable(text: &str) -> Result<Entry<(String, String)>, String> {
    match removal(text, '=') {
        Some(removal) => Ok(removal),
        None => env_flag::variable(text).map(Entry::Add),
    }
}

/// Sets environment variables and takes them away, in the order in which they were given.
///
/// # Errors
/// When one that is to go is not there.
pub(super) fn change_env(
    spec: &mut FunctionSpec,
    entries: &[Entry<(String, String)>],
) -> Result<(), EditError> {
    for entry in entries {
        match entry {
            Entry::Add(variable) => edits::set_env(spec, std::slice::from_ref(variable)),
            Entry::Remove(name) => edits::delete_env(spec, std::slice::from_ref(name))?,
        }
    }
    Ok(())
}

/// `NAME:/PATH` of a volume, or `NAME-`.
pub(super) fn volume(text: &str) -> Result<Entry<Volume>, String> {
    if let Some(removal) = removal(text, ':') {
        return Ok(removal);
    }
    let (name, path) = text.split_once(':').ok_or("expected NAME:/PATH")?;
    if name.is_empty() || !path.starts_with('/') {
        return Err("expected NAME:/PATH".to_owned());
    }
    Ok(Entry::Add(Volume { name: name.to_owned(), mount_path: path.to_owned() }))
}

/// The name of a Secret, or `NAME-`. No name of an object ends in a dash.
pub(super) fn image_pull_secret(text: &str) -> Result<Entry<ImagePullSecret>, String> {
    let add = || Entry::Add(ImagePullSecret { name: text.to_owned() });
    Ok(removal(text, '/').unwrap_or_else(add))
}

/// An origin, or `ORIGIN-`. No origin ends in a dash.
pub(super) fn origin(text: &str) -> Result<Entry<String>, String> {
    Ok(removal(text, ' ').unwrap_or_else(|| Entry::Add(text.to_owned())))
}

/// `SERVICE[,prefix=P][,database=D[,create-database]]`.
pub(super) fn binding(text: &str) -> Result<ServiceBinding, String> {
    let mut parts = text.split(',');
    let name = parts.next().unwrap_or_default();
    if name.is_empty() {
        return Err("no service given".to_owned());
    }
    let mut binding = ServiceBinding { name: name.to_owned(), ..ServiceBinding::default() };
    for part in parts {
        match part.split_once('=') {
            Some(("prefix", prefix)) => binding.prefix = Some(prefix.to_owned()),
            Some(("database", database)) => binding.database = Some(database.to_owned()),
            None if part == "create-database" => binding.create_database = true,
            _ => return Err(format!("{part:?} must be prefix=…, database=… or create-database")),
        }
    }
    if binding.create_database && binding.database().is_none() {
        return Err("create-database needs database=…".to_owned());
    }
    Ok(binding)
}

/// `node` or `python`.
pub(super) fn runtime(text: &str) -> Result<Runtime, String> {
    Runtime::parse(text).ok_or_else(|| "must be node or python".to_owned())
}

/// `NAME@VERSION` of a package; the name of one of npm's may begin with `@`.
pub(super) fn dependency(text: &str) -> Result<(String, String), String> {
    let missing = || format!("no version given; write {text}@<version>");
    let at = text.char_indices().skip(1).find(|(_, c)| *c == '@').map(|(at, _)| at);
    let (name, version) = text.split_at(at.ok_or_else(missing)?);
    let version = &version[1..];
    if version.is_empty() {
        return Err("no version after '@'".to_owned());
    }
    Ok((name.to_owned(), version.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dash_behind_a_name_takes_away() {
        let added = |name: &str, path: &str| {
            Ok(Entry::Add(Volume { name: name.to_owned(), mount_path: path.to_owned() }))
        };
        for (text, expected) in [
            ("cache:/data", added("cache", "/data")),
            ("cache:/data-", added("cache", "/data-")),
            ("cache-", Ok(Entry::Remove("cache".to_owned()))),
            ("my-cache-", Ok(Entry::Remove("my-cache".to_owned()))),
            ("-", Err("expected NAME:/PATH".to_owned())),
            ("cache", Err("expected NAME:/PATH".to_owned())),
        ] {
            assert_eq!(volume(text), expected, "{text}");
        }
        let value = |name: &str, value: &str| Entry::Add((name.to_owned(), value.to_owned()));
        assert_eq!(variable("A=b-"), Ok(value("A", "b-")));
        assert_eq!(variable("A-"), Ok(Entry::Remove("A".to_owned())));
        assert!(variable("A").is_err() && variable("PORT=1").is_err());
        assert_eq!(image_pull_secret("reg-"), Ok(Entry::Remove("reg".to_owned())));
        let cdn = || "https://cdn.example.com".to_owned();
        assert_eq!(origin(&cdn()), Ok(Entry::Add(cdn())));
        assert_eq!(origin(&(cdn() + "-")), Ok(Entry::Remove(cdn())));
    }

    #[test]
    fn a_database_is_created_only_where_it_is_named() {
        let found = binding("db,prefix=P_,database=shop,create-database");
        let found = found.map(|it| (it.prefix, it.database, it.create_database));
        assert_eq!(found, Ok((Some("P_".to_owned()), Some("shop".to_owned()), true)));
        for text in ["db,create-database", "db,create-database=yes", "db,name=x", ",database=x"] {
            assert!(binding(text).is_err(), "{text}");
        }
    }
}
