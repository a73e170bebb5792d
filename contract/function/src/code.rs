//! Inline code as the files its runtime loads: the text a pod and `kip dev` both see.
//!
//! The text is a function of the source alone: the digest that rolls the pods is taken over it.

use std::collections::BTreeMap;

use serde_json::json;

use crate::{
    dependency,
    function::{Runtime, Source},
};

/// npm's settings: its registries, and which variable has their token.
const NPMRC: &str = ".npmrc";
/// Files that say what is to be installed and from where, of all runtimes.
pub const MANIFESTS: [&str; 3] = ["package.json", "requirements.txt", NPMRC];

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
        let npmrc = source.npmrc.iter().filter(|_| runtime == Runtime::Node);
        files.extend(npmrc.map(|text| (NPMRC.to_owned(), text.clone())));
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
    dependencies.iter().map(|(name, version)| dependency::requirement(name, version)).collect()
}
