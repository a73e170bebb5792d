//! Which file of a function's folder has the handler, and which runtime loads it.
//!
//! The rule of both runtimes (`locate` in `load.js` and `load.py`), so that a folder means the same to
//! `kip function create`, `kip dev` and a pod. Pure: whoever asks says which files there are.

use std::collections::BTreeMap;

use crate::function::Runtime;

/// Entry files of a Node function, in the order in which they are looked for where `main` of its
/// `package.json` names none.
pub const NODE_ENTRIES: [&str; 6] =
    ["index.js", "index.mjs", "index.cjs", "index.ts", "index.mts", "index.cts"];
/// Entry file of a Python function.
pub const PYTHON_ENTRY: &str = "handler.py";

/// A folder of which nothing says what runs it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("contains both {node} and {PYTHON_ENTRY}")]
pub struct Ambiguous {
    /// The entry file of a Node function.
    pub node: &'static str,
}

/// Entry files of a runtime, by precedence.
pub const fn entry_names(runtime: Runtime) -> &'static [&'static str] {
    match runtime {
        Runtime::Node => &NODE_ENTRIES,
        Runtime::Python => &[PYTHON_ENTRY],
    }
}

/// The file that has the handler, relative to the folder: what `main` of `package.json` names, else
/// one of [`entry_names`]. `has` tells whether a file of this path is there.
pub fn entry(
    runtime: Runtime,
    package_json: Option<&str>,
    has: impl Fn(&str) -> bool,
) -> Option<String> {
    let main = package_json.filter(|_| runtime == Runtime::Node).and_then(main);
    let named = main.filter(|path| has(path));
    named.or_else(|| {
        let known = entry_names(runtime).iter().find(|name| has(name));
        known.map(|name| (*name).to_owned())
    })
}

/// [`entry`] of files that are at hand.
pub fn entry_of(runtime: Runtime, files: &BTreeMap<String, String>) -> Option<String> {
    let package_json = files.get("package.json").map(String::as_str);
    entry(runtime, package_json, |path| files.contains_key(path))
}

/// What a folder without an entry file lacks, in words.
pub fn missing(runtime: Runtime) -> String {
    let names = entry_names(runtime).join(", ");
    match runtime {
        Runtime::Node => format!(
            "has no file with the handler: none of {names}, and \"main\" of its package.json names none"
        ),
        Runtime::Python => format!("has no file with the handler: no {names}"),
    }
}

/// The runtime of a folder; `None` when it is not the folder of one function.
///
/// # Errors
/// When it has an entry file of both.
pub fn runtime_of(
    package_json: Option<&str>,
    has: impl Fn(&str) -> bool,
) -> Result<Option<Runtime>, Ambiguous> {
    let node = NODE_ENTRIES.into_iter().find(|name| has(name));
    match (node, has(PYTHON_ENTRY)) {
        (Some(node), true) => Err(Ambiguous { node }),
        (None, true) => Ok(Some(Runtime::Python)),
        (_, false) => Ok(entry(Runtime::Node, package_json, has).map(|_| Runtime::Node)),
    }
}

/// What `main` names, as a path without `.` and `..`; `None` when it is outside the folder.
fn main(package_json: &str) -> Option<String> {
    // npm takes the byte order mark as well.
    let text = package_json.trim_start_matches('\u{feff}');
    let package: serde_json::Value = serde_json::from_str(text).ok()?;
    let mut parts = Vec::new();
    for part in package.get("main")?.as_str()?.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(package_json: Option<&str>, files: &[&str], expected: Option<(Runtime, &str)>) {
        let has = |path: &str| files.contains(&path);
        let runtime = runtime_of(package_json, has);
        assert_eq!(runtime, Ok(expected.map(|(runtime, _)| runtime)), "{files:?}");
        if let Some((runtime, file)) = expected {
            assert_eq!(entry(runtime, package_json, has).as_deref(), Some(file), "{files:?}");
        }
    }

    #[test]
    fn a_folder_has_one_entry_file() {
        use Runtime::{Node, Python};
        check(None, &["index.mjs", "index.ts", "lib/index.js"], Some((Node, "index.mjs")));
        check(None, &["index.ts"], Some((Node, "index.ts")));
        check(None, &["handler.py", "main.js"], Some((Python, "handler.py")));
        check(None, &["main.js", "lib/handler.py"], None);
        check(None, &[], None);
        let main = |main: &str| format!("\u{feff}{{\"main\": \"{main}\"}}");
        for (main, expected) in [
            (main("src/app.js"), Some((Node, "src/app.js"))),
            (main("./src/../src/./app.js"), Some((Node, "src/app.js"))),
            (main("gone.js"), None),
            (main("../src/app.js"), None),
            (main("src"), None),
            (main(""), None),
            ("{".to_owned(), None),
            ("{\"main\": 1}".to_owned(), None),
        ] {
            check(Some(&main), &["src/app.js"], expected);
        }
        // Without a file that it names, `main` is as good as absent; with one it comes first.
        check(Some(&main("gone.js")), &["index.js"], Some((Node, "index.js")));
        check(Some(&main("b.js")), &["b.js", "index.js"], Some((Node, "b.js")));
    }

    #[test]
    fn two_runtimes_are_one_too_many() {
        let has = |path: &str| matches!(path, "index.cjs" | "handler.py");
        let error = runtime_of(None, has).unwrap_err();
        assert_eq!(error.to_string(), "contains both index.cjs and handler.py");
    }
}
