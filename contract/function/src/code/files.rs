//! Which files a function's folder may hold: their paths, their number and their size. Pure.
//!
//! They are mounted from a ConfigMap, which bounds the size, by the kubelet, which refuses a pod for a
//! path that leaves its volume: what could not be mounted is refused before a pod is asked to.

use std::collections::BTreeMap;

use super::{
    entry,
    packages::{self, NPMRC, package_list},
};
use crate::function::{Problem, Runtime, Source};

/// Largest code, in bytes, that fits a ConfigMap beside a list of packages: of a file, or of all files
/// of a folder with their paths.
pub const MAX_CODE_BYTES: usize = 1_000_000;
/// Most files of a folder.
pub const MAX_FILES: usize = 100;
/// Longest path of a file, in bytes.
const MAX_PATH_BYTES: usize = 253;

/// Bytes that files take of what [`MAX_CODE_BYTES`] allows.
pub fn size(files: &BTreeMap<String, String>) -> usize {
    files.iter().map(|(path, text)| path.len() + text.len()).sum()
}

/// What is wrong with a path, in words.
///
/// # Errors
/// When it is not that of a file below the function's folder.
pub fn check_path(path: &str) -> Result<(), &'static str> {
    if path.is_empty() || path.len() > MAX_PATH_BYTES {
        return Err("must be a path of 1 to 253 bytes");
    }
    if path.contains(char::is_control) {
        return Err("must not contain control characters");
    }
    if path.contains('\\') {
        return Err("must have '/' between folders, not '\\'");
    }
    if path.starts_with('/') {
        return Err("must be relative to the function's folder, without '/' at the beginning");
    }
    for part in path.split('/') {
        if matches!(part, "" | ".") {
            return Err("must not have an empty part or '.' between slashes");
        }
        // The kubelet keeps the versions of a mounted ConfigMap under such names.
        if part.starts_with("..") {
            return Err("must not have a part that begins with '..'");
        }
    }
    Ok(())
}

/// Everything wrong with the files of a source; nothing where it has none. `runtime` is what loads
/// them, where that is known.
pub fn check(source: &Source, runtime: Option<Runtime>) -> Vec<Problem> {
    let files = &source.files;
    let mut problems = Vec::new();
    if files.is_empty() {
        return problems;
    }
    let mut add = |path: String, message: String| problems.push(Problem { path, message });
    let all = || "spec.source.files".to_owned();
    let one = |path: &str| format!("spec.source.files[{path:?}]");
    if files.len() > MAX_FILES {
        let message = format!("has {} files; at most {MAX_FILES} are allowed", files.len());
        add(all(), message);
    }
    let size = size(files);
    if size > MAX_CODE_BYTES {
        let message = format!(
            "has {size} bytes, paths included; at most {MAX_CODE_BYTES} are allowed, because it is \
             mounted from a ConfigMap"
        );
        add(all(), message);
    }
    for path in files.keys() {
        if let Err(why) = check_path(path) {
            add(one(path), why.to_owned());
        }
        let below = format!("{path}/");
        let first = files.range(below.clone()..).next();
        if let Some((inside, _)) = first.filter(|(path, _)| path.starts_with(&below)) {
            add(one(path), format!("cannot be a file and the folder of {inside}"));
        }
    }
    if files.contains_key(NPMRC) {
        add(one(NPMRC), "belongs into spec.source.npmrc".to_owned());
    }
    let Some(runtime) = runtime else { return problems };
    if entry::entry_of(runtime, files).is_none() {
        add(all(), entry::missing(runtime));
    }
    let list = package_list(runtime);
    if !source.dependencies.is_empty() && files.contains_key(list) {
        let message = format!("cannot be set together with the folder's {list}; list them there");
        add("spec.source.dependencies".to_owned(), message);
    }
    if let Some(text) = files.get(list)
        && let Err(why) = packages::check(runtime, text)
    {
        add(one(list), why);
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_in_the_folder() {
        let long = format!("{}/a.js", "d".repeat(248));
        let longer = format!("{}/a.js", "d".repeat(249));
        for (path, expected) in [
            ("index.js", Ok(())),
            ("lib/shout.js", Ok(())),
            ("a b/\u{e9}t\u{e9}-1_@.json", Ok(())),
            ("lib/.hidden", Ok(())),
            ("a..b/c...", Ok(())),
            (long.as_str(), Ok(())),
            (longer.as_str(), Err("must be a path of 1 to 253 bytes")),
            ("", Err("must be a path of 1 to 253 bytes")),
            (
                "/etc/passwd",
                Err("must be relative to the function's folder, without '/' at the beginning"),
            ),
            ("../x", Err("must not have a part that begins with '..'")),
            ("a/../../x", Err("must not have a part that begins with '..'")),
            ("a/..", Err("must not have a part that begins with '..'")),
            ("..data/x", Err("must not have a part that begins with '..'")),
            ("a//b", Err("must not have an empty part or '.' between slashes")),
            ("./a", Err("must not have an empty part or '.' between slashes")),
            ("lib/", Err("must not have an empty part or '.' between slashes")),
            (".", Err("must not have an empty part or '.' between slashes")),
            ("a\nb", Err("must not contain control characters")),
            ("a\0b", Err("must not contain control characters")),
            ("lib\\a.js", Err("must have '/' between folders, not '\\'")),
        ] {
            assert_eq!(check_path(path), expected, "{path:?}");
        }
    }
}
