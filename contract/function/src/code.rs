//! Inline code as the files its runtime loads: the text a pod and `kip dev` both see.
//!
//! The text is a function of the source alone: the digest that rolls the pods is taken over it.

use std::collections::BTreeMap;

use serde_json::json;

use crate::function::{Runtime, Source};

/// Files that name the packages to install, of all runtimes.
pub const MANIFESTS: [&str; 2] = ["package.json", "requirements.txt"];

/// File name → text. The manifest is left out where nothing is to be installed: both runtimes then
/// start without looking at their package manager.
pub fn files(function: &str, runtime: Runtime, source: &Source) -> BTreeMap<String, String> {
    let code = source.code.clone().unwrap_or_default();
    let dependencies = &source.dependencies;
    let (file, manifest, packages) = match runtime {
        Runtime::Node => ("index.js", "package.json", package_json(function, dependencies)),
        Runtime::Python => ("handler.py", "requirements.txt", requirements(dependencies)),
    };
    let mut files = BTreeMap::from([(file.to_owned(), code)]);
    if !dependencies.is_empty() {
        files.insert(manifest.to_owned(), packages);
    }
    files
}

/// Versions stand as they were declared: npm takes a bare one as exact.
fn package_json(function: &str, dependencies: &BTreeMap<String, String>) -> String {
    let package = json!({
        "name": function,
        "private": true,
        "main": "index.js",
        "dependencies": dependencies,
    });
    format!("{package:#}\n")
}

fn requirements(dependencies: &BTreeMap<String, String>) -> String {
    dependencies.iter().map(|(name, version)| requirement(name, version)).collect()
}

/// One line of requirements.txt: a bare version is exact, one with an operator says what it means.
fn requirement(name: &str, version: &str) -> String {
    match version {
        "" | "*" | "latest" => format!("{name}\n"),
        _ if version.starts_with(['<', '>', '=', '!', '~']) => format!("{name}{version}\n"),
        _ => format!("{name}=={version}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::requirement;

    #[test]
    fn a_version_is_exact_unless_it_says_otherwise() {
        for (version, expected) in [
            ("2.31.0", "x==2.31.0\n"),
            (">=2,<3", "x>=2,<3\n"),
            ("~=2.1", "x~=2.1\n"),
            ("==2.1", "x==2.1\n"),
            ("latest", "x\n"),
            ("*", "x\n"),
            ("", "x\n"),
        ] {
            assert_eq!(requirement("x", version), expected, "{version:?}");
        }
    }
}
