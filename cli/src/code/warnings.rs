//! What code needs that a cluster will not have, named before a pod fails for the lack of it. Found by
//! reading the text, not by running it: a warning, never a refusal.
//!
//! A file is deployed alone: what lies beside it runs in `kip dev` only, unless its folder is deployed.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs,
    path::Path,
};

use kipper_function::{code, function::Runtime};

use super::entry;

/// What Node tries for a path without an ending.
const NODE_ENDINGS: [&str; 6] = ["", ".js", ".cjs", ".mjs", ".json", "/index.js"];
/// How a callback is usually called.
const CALLBACKS: [&str; 4] = ["callback", "cb", "done", "next"];

/// Of the text of a handler's file.
pub(super) fn of_handler(runtime: Runtime, text: &str) -> impl Iterator<Item = String> {
    let callback = "the handler seems to take a callback as its third argument; there is none: return \
                    the answer, or a promise of it";
    let takes_one = runtime == Runtime::Node && takes_callback(text);
    takes_one.then(|| callback.to_owned()).into_iter()
}

/// Of a file that is deployed alone. `given` are the packages that are installed.
pub(super) fn of_file(
    runtime: Runtime,
    text: &str,
    path: &Path,
    given: &BTreeSet<&str>,
) -> Vec<String> {
    let mut warnings = Vec::new();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let instead = instead(runtime, path, folder);
    let missing = match runtime {
        Runtime::Node => node_files(text, folder),
        Runtime::Python => python_files(text, folder),
    };
    if !missing.is_empty() {
        let files: Vec<_> = missing.into_iter().collect();
        warnings.push(format!(
            "only the code file itself is deployed; it refers to {}, which a pod will not have: \
             {instead}",
            files.join(", ")
        ));
    }
    let list = code::package_list(runtime);
    let packages = fs::read_to_string(folder.join(list)).unwrap_or_default();
    let packages = code::packages_of(runtime, &packages);
    let packages: Vec<_> =
        packages.keys().filter(|name| !given.contains(name.as_str())).cloned().collect();
    if !packages.is_empty() {
        warnings.push(format!(
            "{list} beside the code file is not deployed; {instead}, or give its packages with \
             --dependency: {}",
            packages.join(", ")
        ));
    }
    warnings
}

/// How what lies beside a file is deployed with it.
fn instead(runtime: Runtime, path: &Path, folder: &Path) -> String {
    let flag = format!("deploy the folder instead: --code-file {}", folder.display());
    let entry = entry::entry_of_folder(folder, runtime);
    if entry.is_some_and(|entry| path.file_name() == Some(OsStr::new(&entry))) {
        return flag;
    }
    let name = match runtime {
        Runtime::Node => format!("index.{}", entry::typescript_ending(path).unwrap_or("js")),
        Runtime::Python => code::PYTHON_ENTRY.to_owned(),
    };
    format!("{flag}, with the handler in {name}")
}

/// Of the files of a folder: what they refer to outside of it.
pub(super) fn of_folder(
    runtime: Runtime,
    files: &BTreeMap<String, String>,
) -> impl Iterator<Item = String> {
    let code = files.iter().filter(move |(path, _)| {
        runtime == Runtime::Node && entry::runtime_of_file(Path::new(path)) == Some(Runtime::Node)
    });
    code.filter_map(|(path, text)| {
        let depth = path.matches('/').count();
        let imported = imports(text).filter(|(_, is_required)| *is_required);
        let outside: BTreeSet<_> =
            imported.map(|(literal, _)| literal).filter(|literal| leaves(literal, depth)).collect();
        let outside = outside.into_iter().collect::<Vec<_>>().join(", ");
        (!outside.is_empty()).then(|| {
            format!("{path} refers to {outside}, outside the folder, which a pod will not have")
        })
    })
}

/// Does a relative path go up further than `depth` folders?
fn leaves(literal: &str, depth: usize) -> bool {
    let mut depth = Some(depth);
    for part in literal.split('/') {
        depth = match (depth, part) {
            (None, _) => return true,
            (depth, "" | ".") => depth,
            (Some(depth), "..") => depth.checked_sub(1),
            (Some(depth), _) => Some(depth + 1),
        };
    }
    depth.is_none()
}

/// Whether there is a list of parameters such as `(event, context, callback)`.
fn takes_callback(text: &str) -> bool {
    text.match_indices('(').any(|(at, _)| {
        let inside = text[at + 1..].split_once(')').map_or("", |(inside, _)| inside);
        let names: Vec<&str> = inside.split(',').map(str::trim).collect();
        let is_name = |name: &str| {
            !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '$')
        };
        matches!(names[..], [_, _, last] if CALLBACKS.contains(&last))
            && names.iter().all(|name| is_name(name))
            // `f(a, b, callback)` is a call as well as a declaration.
            && declares(&text[..at], &text[at + inside.len() + 2..])
    })
}

/// Whether parameters between these texts are those of a declaration.
fn declares(before: &str, after: &str) -> bool {
    let after = after.trim_start();
    let before = before.trim_end();
    let named = before.trim_end_matches(|c: char| c.is_alphanumeric() || c == '_').trim_end();
    after.starts_with("=>")
        || (after.starts_with('{') && (before.ends_with("function") || named.ends_with("function")))
}

/// Files that the text names by a path relative to it.
fn node_files(text: &str, folder: &Path) -> BTreeSet<String> {
    let exists = |literal: &str| {
        NODE_ENDINGS.iter().any(|ending| folder.join(format!("{literal}{ending}")).is_file())
    };
    let named = imports(text).filter(|(literal, is_required)| *is_required || exists(literal));
    named.map(|(literal, _)| literal.to_owned()).collect()
}

/// Literals that may be relative paths, and whether they are those of a module.
fn imports(text: &str) -> impl Iterator<Item = (&str, bool)> {
    let quotes = ['\'', '"', '`'].into_iter();
    quotes.flat_map(move |quote| {
        text.match_indices(quote).filter_map(move |(at, _)| {
            let literal = text[at + 1..].split_once(quote).map_or("", |(inside, _)| inside);
            let is_path = literal.starts_with("./") || literal.starts_with("../");
            if !is_path || literal.contains(['\n', '$', ' ']) {
                return None;
            }
            let before = text[..at].trim_end();
            let words = ["require(", "from", "import(", "import"];
            Some((literal, words.iter().any(|word| before.ends_with(word))))
        })
    })
}

/// Modules that the text imports and that lie beside it.
fn python_files(text: &str, folder: &Path) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    for line in text.lines().map(str::trim) {
        let modules = if let Some(rest) = line.strip_prefix("from ") {
            rest.split_whitespace().next().unwrap_or_default().to_owned()
        } else if let Some(rest) = line.strip_prefix("import ") {
            rest.split('#').next().unwrap_or_default().to_owned()
        } else {
            continue;
        };
        for module in modules.split(',') {
            let name = module.split_whitespace().next().unwrap_or_default();
            let first = name.trim_start_matches('.').split('.').next().unwrap_or_default();
            if first.is_empty() {
                continue;
            }
            if folder.join(format!("{first}.py")).is_file() {
                files.insert(format!("{first}.py"));
            } else if folder.join(first).join("__init__.py").is_file() {
                files.insert(format!("{first}/"));
            }
        }
    }
    files
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The warnings of a code file beside these files.
    fn warnings(name: &str, code: &str, beside: &[(&str, &str)], given: &[&str]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        for (file, text) in beside.iter().chain([&(name, code)]) {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let path = folder.path().join(name);
        let runtime = entry::runtime_of_file(&path).unwrap();
        of_file(runtime, code, &path, &given.iter().copied().collect())
    }

    #[test]
    fn what_is_not_deployed_is_named() {
        let beside = [("helper.js", "x"), ("lib/index.js", "x"), ("data.json", "{}")];
        let code = "const a = require('./helper')\nimport b from \"./lib\"\n\
                    const c = fs.readFileSync('./data.json')\nawait import(`./gone`)\n\
                    const d = require('pg'), e = './no such thing', f = './nothing'\n";
        let [told] = &warnings("main.js", code, &beside, &[])[..] else { panic!() };
        assert!(told.contains(" ./data.json, ./gone, ./helper, ./lib, "), "{told}");
        assert!(told.contains(": deploy the folder instead: --code-file /"), "{told}");
        assert!(told.ends_with(", with the handler in index.js"), "{told}");
        let [told] = &warnings("index.js", "require('./lib')", &beside, &[])[..] else { panic!() };
        assert!(!told.contains("with the handler in"), "{told}");

        let beside = [("helper.py", "x"), ("pkg/__init__.py", ""), ("other.py", "")];
        let code = "import os, helper\nfrom pkg.sub import x\nfrom .other import y  # here\n\
                    import requests\n";
        let [told] = &warnings("main.py", code, &beside, &[])[..] else { panic!() };
        assert!(told.contains(" helper.py, other.py, pkg/, "), "{told}");
        let plain: &[&str] = &[];
        assert_eq!(warnings("main.py", "import os\n", &beside, &[]), plain);
        assert_eq!(warnings("main.js", "module.exports = () => 1\n", &[], &[]), plain);
    }

    #[test]
    fn packages_beside_the_file_are_named_unless_they_are_given() {
        let manifest = r#"{"dependencies": {"pg": "8", "ms": "2"}, "devDependencies": {"x": "1"}}"#;
        let beside = [("package.json", manifest)];
        let [told] = &warnings("main.js", "x\n", &beside, &["ms"])[..] else { panic!() };
        assert!(told.starts_with("package.json ") && told.ends_with("--dependency: pg"), "{told}");
        assert!(warnings("main.js", "x\n", &beside, &["ms", "pg"]).is_empty());
        let beside = [("requirements.txt", "# all\nsix>=1.16\n-r more.txt\nPyYAML\n")];
        let [told] = &warnings("main.py", "x\n", &beside, &["six"])[..] else { panic!() };
        assert!(told.ends_with("--dependency: PyYAML"), "{told}");
    }

    #[test]
    fn a_third_argument_looks_like_a_callback() {
        for (code, expected) in [
            ("exports.handler = (event, context, callback) => callback(null, 1)", true),
            ("exports.handler = function (event, context, cb) { cb() }", true),
            ("async function handler(event, ctx, done) {\n}", true),
            ("module.exports = async (event, context) => 1", false),
            ("fs.readFile(name, options, callback)", false),
            ("items.reduce((a, b, index) => a, 0)", false),
            ("f(", false),
        ] {
            assert_eq!(takes_callback(code), expected, "{code}");
        }
    }

    #[test]
    fn what_a_folder_refers_to_outside_is_named() {
        let files = [
            ("index.js", "require('./lib/a'); require('../shared/x'); const s = '../no/module'"),
            (
                "lib/a.js",
                "import '../b.js'; export * from \"../../c/d.mjs\"; import('../lib/../..')",
            ),
            ("notes.md", "require('../x')"),
        ];
        let files = files.map(|(path, text)| (path.to_owned(), text.to_owned())).into();
        let found: Vec<_> = of_folder(Runtime::Node, &files).collect();
        assert_eq!(
            found,
            [
                "index.js refers to ../shared/x, outside the folder, which a pod will not have",
                "lib/a.js refers to ../../c/d.mjs, ../lib/../.., outside the folder, which a pod will \
                 not have",
            ]
        );
        assert_eq!(of_folder(Runtime::Python, &files).count(), 0);
    }
}
