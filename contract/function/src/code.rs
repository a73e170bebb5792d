//! Inline code as the files its runtime loads: what a pod and `kip dev` both see.
//!
//! The files are a function of the source alone: the digest that rolls the pods is taken over them.
//! Here also stand the rules of a function's folder, once for `kip`, the controller and `kip dev`:
//! which file has the handler ([`entry`]), which files it may hold ([`check`]), what its list of
//! packages says ([`packages`]), and how it comes into a pod ([`volume_reason`]). Reads no file.

mod carrier;
mod entry;
mod files;
mod packages;

use std::collections::BTreeMap;

use serde_json::json;

use crate::{
    dependency,
    function::{Runtime, Source},
};

pub use carrier::{MAX_ENVIRONMENT_BYTES, VolumeReason, volume_reason};
pub use entry::{
    Ambiguous, NODE_ENTRIES, PYTHON_ENTRY, entry, entry_names, entry_of, missing, runtime_of,
};
pub use files::{MAX_CODE_BYTES, MAX_FILES, check, check_path, size};
pub use packages::{NPMRC, package_list, packages, packages_of};

/// Path → text. Packages that the Function declares become a list of packages where the function's
/// folder has none of its own. Where nothing is to be installed there is no list: both runtimes then
/// start without looking at their package manager.
pub fn files(function: &str, runtime: Runtime, source: &Source) -> BTreeMap<String, String> {
    let mut files = source.files.clone();
    if files.is_empty() {
        let code = source.code.clone().unwrap_or_default();
        let [first, ..] = entry_names(runtime) else { return files };
        files.insert((*first).to_owned(), code);
    }
    let list = package_list(runtime);
    let dependencies = &source.dependencies;
    if !dependencies.is_empty() && !files.contains_key(list) {
        let text = match runtime {
            Runtime::Node => {
                let main = entry_of(runtime, &files).unwrap_or_default();
                package_json(function, &main, dependencies)
            }
            Runtime::Python => requirements(dependencies),
        };
        files.insert(list.to_owned(), text);
    }
    if runtime == Runtime::Node && files.contains_key(list) {
        let npmrc = source.npmrc.iter().filter(|text| !text.is_empty());
        files.extend(npmrc.map(|text| (NPMRC.to_owned(), text.clone())));
    }
    files
}

/// Versions stand as they were declared: npm takes a bare one as exact.
fn package_json(function: &str, main: &str, dependencies: &BTreeMap<String, String>) -> String {
    let package = json!({
        "name": function,
        "private": true,
        "main": main,
        "dependencies": dependencies,
    });
    format!("{package:#}\n")
}

fn requirements(dependencies: &BTreeMap<String, String>) -> String {
    dependencies.iter().map(|(name, version)| dependency::requirement(name, version)).collect()
}
