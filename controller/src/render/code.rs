//! The files of inline code as keys of a ConfigMap, and as paths again where they are mounted.
//!
//! A key has no `/` and fewer characters than a path may have. A path that can be a key is one; a file
//! in a folder below gets a key that is easy to read; any other path gets one made of its digest. The
//! key of a path depends on nothing else: a pod that is about to be replaced never finds another file
//! in its place. Pure.

use k8s_openapi::api::core::v1::KeyToPath;

use crate::digest::digest;

/// Stands for the `/` of a path: no part of a path begins with it, and a name that has it inside gets
/// a key by its digest.
const SEPARATOR: &str = "..";
/// Begins a key by digest.
const BY_DIGEST: &str = "file-";
/// Longest key.
const MAX_KEY_LEN: usize = 253;

/// The key of the file of this path; no two paths have the same.
pub(super) fn key(path: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    let key = path.replace('/', SEPARATOR);
    let is_readable = path.chars().all(allowed)
        && !path.contains(SEPARATOR)
        && !path.contains("./")
        && !path.starts_with(BY_DIGEST)
        && key.len() <= MAX_KEY_LEN;
    if is_readable { key } else { format!("{BY_DIGEST}{}", digest([path.as_bytes()])) }
}

/// Where the keys are mounted; `None` where each is the path itself.
pub(super) fn items<'a>(paths: impl Iterator<Item = &'a String>) -> Option<Vec<KeyToPath>> {
    let item = |path: &String| KeyToPath { key: key(path), path: path.clone(), mode: None };
    let items: Vec<KeyToPath> = paths.map(item).collect();
    items.iter().any(|item| item.key != item.path).then_some(items)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_path_has_a_key_of_its_own() {
        let long = format!("{}/{}.js", "d".repeat(125), "f".repeat(124));
        for (path, expected) in [
            ("index.js", "index.js"),
            (".npmrc", ".npmrc"),
            ("lib/shout.js", "lib..shout.js"),
            ("pkg/sub/__init__.py", "pkg..sub..__init__.py"),
            ("lib/.eslintrc", "lib...eslintrc"),
        ] {
            assert_eq!(key(path), expected, "{path}");
        }
        let by_digest =
            ["a..b", "a./b", "a b.js", "\u{e9}t\u{e9}.js", "file-x", long.as_str(), "lib/a b.js"];
        let mut keys = BTreeSet::new();
        for path in by_digest {
            let key = key(path);
            assert!(
                key.starts_with(BY_DIGEST) && key.len() == BY_DIGEST.len() + 16,
                "{path}: {key}"
            );
            assert!(keys.insert(key), "{path}");
        }
    }

    #[test]
    fn a_flat_folder_is_mounted_as_it_is() {
        let paths =
            |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>();
        assert_eq!(items(paths(&["index.js", "package.json"]).iter()), None);
        let items = items(paths(&["index.js", "lib/shout.js"]).iter()).unwrap_or_default();
        let items: Vec<_> = items.iter().map(|item| (&*item.key, &*item.path)).collect();
        assert_eq!(items, [("index.js", "index.js"), ("lib..shout.js", "lib/shout.js")]);
    }
}
