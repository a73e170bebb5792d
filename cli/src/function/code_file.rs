//! The file of `--code-file`: its text, what runs it, and what it needs that is not in it.
//!
//! A Function holds one file. What lies beside it runs in `kip dev` and is not there in a cluster, so
//! it is named before a pod fails for the lack of it. Found by reading the text, not by running it:
//! a warning, never a refusal.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use kipper_function::function::{Runtime, validate::MAX_CODE_BYTES};
use kipper_process::exit::UsageError;

use crate::typescript;

/// What Node tries for a path without an ending.
const NODE_ENDINGS: [&str; 6] = ["", ".js", ".cjs", ".mjs", ".json", "/index.js"];
/// How a callback is usually called.
const CALLBACKS: [&str; 4] = ["callback", "cb", "done", "next"];

/// Inline code and what runs it.
#[derive(Clone, Debug)]
pub(super) struct Code {
    pub(super) text: String,
    pub(super) runtime: Runtime,
    /// Where the file is; `None` for stdin.
    folder: Option<PathBuf>,
}

impl Code {
    /// Reads it.
    ///
    /// # Errors
    /// When the file cannot be read, or nothing says what runs it.
    pub(super) fn read(path: &Path, runtime: Option<Runtime>) -> anyhow::Result<Self> {
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        if let Some(why) = typescript::refusal(path) {
            return Err(UsageError::new(why).into());
        }
        let by_ending = || match ending {
            "js" | "cjs" | "mjs" => Some(Runtime::Node),
            "py" => Some(Runtime::Python),
            _ => None,
        };
        let runtime = match (runtime, by_ending()) {
            (Some(given), Some(ending)) if given != ending => {
                return Err(UsageError::new(format!(
                    "--runtime {given} does not fit {}, whose ending is that of {ending}",
                    path.display()
                ))
                .into());
            }
            (given, ending) => given.or(ending),
        };
        let runtime =
            runtime.ok_or_else(|| UsageError::new("--code-file needs --runtime node or python"))?;
        let text = read(path).with_context(|| path.display().to_string())?;
        let is_stdin = path.as_os_str() == "-";
        let folder = path.parent().filter(|_| !is_stdin).map(|folder| {
            if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_owned() }
        });
        Ok(Self { text, runtime, folder })
    }

    /// What is worth knowing before it runs in a cluster. `given` are the packages that are installed.
    pub(super) fn warnings(&self, given: &BTreeSet<&str>) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.runtime == Runtime::Node && takes_callback(&self.text) {
            warnings.push(
                "the handler seems to take a callback as its third argument; there is none: return \
                 the answer, or a promise of it"
                    .to_owned(),
            );
        }
        let Some(folder) = &self.folder else { return warnings };
        let missing = match self.runtime {
            Runtime::Node => node_files(&self.text, folder),
            Runtime::Python => python_files(&self.text, folder),
        };
        if !missing.is_empty() {
            let files: Vec<_> = missing.into_iter().collect();
            warnings.push(format!(
                "only the code file itself is deployed; it refers to {}, which a pod will not have: \
                 bundle them into one file",
                files.join(", ")
            ));
        }
        let (manifest, packages) = match self.runtime {
            Runtime::Node => ("package.json", package_json(folder)),
            Runtime::Python => ("requirements.txt", requirements(folder)),
        };
        let packages: Vec<_> =
            packages.into_iter().filter(|name| !given.contains(name.as_str())).collect();
        if !packages.is_empty() {
            warnings.push(format!(
                "{manifest} beside the code file is not deployed; give its packages with \
                 --dependency: {}",
                packages.join(", ")
            ));
        }
        warnings
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    // One byte more than there may be tells that there are too many.
    let limit = u64::try_from(MAX_CODE_BYTES)? + 1;
    let mut text = String::new();
    if path.as_os_str() == "-" {
        io::stdin().lock().take(limit).read_to_string(&mut text)?;
    } else {
        fs::File::open(path)?.take(limit).read_to_string(&mut text)?;
    }
    anyhow::ensure!(text.len() <= MAX_CODE_BYTES, "code must be at most {MAX_CODE_BYTES} bytes");
    anyhow::ensure!(!text.trim().is_empty(), "the file contains no code");
    Ok(text)
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
    let mut files = BTreeSet::new();
    for quote in ['\'', '"', '`'] {
        for (at, _) in text.match_indices(quote) {
            let literal = text[at + 1..].split_once(quote).map_or("", |(inside, _)| inside);
            let is_path = literal.starts_with("./") || literal.starts_with("../");
            if !is_path || literal.contains(['\n', '$', ' ']) {
                continue;
            }
            let before = text[..at].trim_end();
            let is_required =
                ["require(", "from", "import(", "import"].iter().any(|word| before.ends_with(word));
            let exists = NODE_ENDINGS
                .iter()
                .any(|ending| folder.join(format!("{literal}{ending}")).is_file());
            if is_required || exists {
                files.insert(literal.to_owned());
            }
        }
    }
    files
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

fn package_json(folder: &Path) -> Vec<String> {
    let text = fs::read(folder.join("package.json")).unwrap_or_default();
    let package: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    let dependencies = package.get("dependencies").and_then(serde_json::Value::as_object);
    dependencies.map(|all| all.keys().cloned().collect()).unwrap_or_default()
}

fn requirements(folder: &Path) -> Vec<String> {
    let text = fs::read_to_string(folder.join("requirements.txt")).unwrap_or_default();
    let name = |line: &str| {
        let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || "._-".contains(c)));
        line[..end.unwrap_or(line.len())].to_owned()
    };
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', '-']));
    lines.map(name).filter(|name| !name.is_empty()).collect()
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
        let code = Code::read(&folder.path().join(name), None).unwrap();
        code.warnings(&given.iter().copied().collect())
    }

    #[test]
    fn what_is_not_deployed_is_named() {
        let beside = [("helper.js", "x"), ("lib/index.js", "x"), ("data.json", "{}")];
        let code = "const a = require('./helper')\nimport b from \"./lib\"\n\
                    const c = fs.readFileSync('./data.json')\nawait import(`./gone`)\n\
                    const d = require('pg'), e = './no such thing', f = './nothing'\n";
        let [told] = &warnings("main.js", code, &beside, &[])[..] else { panic!() };
        assert!(told.contains(" ./data.json, ./gone, ./helper, ./lib, "), "{told}");

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
    fn typescript_is_refused_whatever_is_to_run_it() {
        let error = Code::read(Path::new("src/hello.ts"), Some(Runtime::Node)).unwrap_err();
        assert!(error.to_string().contains("esbuild"), "{error}");
    }
}
