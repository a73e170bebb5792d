//! What the list of packages in a function's folder says: `package.json` or `requirements.txt`. Pure.
//!
//! Read only as far as it is shown or refused; what is installed, npm and pip decide.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    dependency,
    function::{Runtime, Source},
};

/// npm's settings: its registries, and which variable has their token.
pub const NPMRC: &str = ".npmrc";

/// The file that tells a runtime's package manager what to install.
pub const fn package_list(runtime: Runtime) -> &'static str {
    match runtime {
        Runtime::Node => "package.json",
        Runtime::Python => "requirements.txt",
    }
}

/// Packages that are installed for a source: name → version, as they were declared.
pub fn packages(runtime: Runtime, source: &Source) -> BTreeMap<String, String> {
    match source.files.get(package_list(runtime)) {
        Some(text) => packages_of(runtime, text),
        None => source.dependencies.clone(),
    }
}

/// Packages that a list names; none where it cannot be read.
pub fn packages_of(runtime: Runtime, list: &str) -> BTreeMap<String, String> {
    match runtime {
        Runtime::Node => node(list).unwrap_or_default(),
        Runtime::Python => requirements(list).filter_map(requirement).collect(),
    }
}

/// True when a runtime with these files installs something, or cannot read what.
pub(super) fn installs(runtime: Runtime, files: &BTreeMap<String, String>) -> bool {
    files.get(package_list(runtime)).is_some_and(|list| match runtime {
        Runtime::Node => node(list).map_or(true, |packages| !packages.is_empty()),
        Runtime::Python => requirements(list).next().is_some(),
    })
}

/// What no image can install, or cannot be read at all, in words.
pub(super) fn check(runtime: Runtime, list: &str) -> Result<(), String> {
    match runtime {
        Runtime::Node => {
            let packages = node(list)?;
            let mut remote = packages.iter().filter(|(_, version)| !is_npms(version));
            remote.try_for_each(|(name, version)| {
                dependency::check(runtime, name, version).map_err(|why| format!("{name}: {why}"))
            })
        }
        Runtime::Python => match requirements(list).find(|line| line.contains("git+")) {
            Some(line) => Err(format!("{line:?}: {}", dependency::NEEDS_GIT)),
            None => Ok(()),
        },
    }
}

/// A package that may be in the folder itself, or that npm gives any version.
fn is_npms(version: &str) -> bool {
    let is_inside = version.starts_with("file:") || version.starts_with("./");
    version.is_empty() || (is_inside && !version.contains(".."))
}

fn node(text: &str) -> Result<BTreeMap<String, String>, String> {
    // npm takes the byte order mark as well.
    let text = text.trim_start_matches('\u{feff}');
    let package: Value =
        serde_json::from_str(text).map_err(|error| format!("is not valid JSON: {error}"))?;
    let package = package.as_object().ok_or("must be a JSON object")?;
    let mut packages = BTreeMap::new();
    for field in ["optionalDependencies", "dependencies"] {
        for (name, version) in package.get(field).and_then(Value::as_object).into_iter().flatten() {
            let version =
                version.as_str().ok_or_else(|| format!("{field}.{name} must be a string"))?;
            packages.insert(name.clone(), version.to_owned());
        }
    }
    Ok(packages)
}

/// Lines that are not comments.
fn requirements(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Name and the rest of a line that names a package; options such as `-r` name none.
fn requirement(line: &str) -> Option<(String, String)> {
    let line = line.split(" #").next().unwrap_or_default();
    let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || "._-[],".contains(c)));
    let (name, version) = line.split_at(end.unwrap_or(line.len()));
    let is_name = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    is_name.then(|| (name.to_owned(), version.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn lists(runtime: Runtime, text: &str, expected: &[(&str, &str)]) {
        let found = packages_of(runtime, text);
        let found: Vec<_> = found.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn a_list_names_its_packages() {
        let node = "\u{feff}{\"dependencies\": {\"pg\": \"^8\"}, \"devDependencies\": {\"x\": \"1\"}, \
                    \"optionalDependencies\": {\"fsevents\": \"*\"}}";
        lists(Runtime::Node, node, &[("fsevents", "*"), ("pg", "^8")]);
        lists(Runtime::Node, "{", &[]);
        lists(Runtime::Node, "{}", &[]);
        let python =
            "# all\nsix>=1.16 # old\n-r more.txt\n\nPyYAML\nacme[x] == 1 ; python_version > '3'\n";
        let expected =
            [("PyYAML", ""), ("acme[x]", "== 1 ; python_version > '3'"), ("six", ">=1.16")];
        lists(Runtime::Python, python, &expected);
    }

    #[test]
    fn what_cannot_be_installed_is_refused() {
        for (runtime, text, expected) in [
            (Runtime::Node, "{\"type\": \"module\"}", None),
            (Runtime::Node, "{\"dependencies\": {\"a\": \"file:./a\", \"pg\": \"8\"}}", None),
            (Runtime::Node, "{\"dependencies\": ", Some("is not valid JSON: ")),
            (Runtime::Node, "[]", Some("must be a JSON object")),
            (
                Runtime::Node,
                "{\"dependencies\": {\"a\": 1}}",
                Some("dependencies.a must be a string"),
            ),
            (
                Runtime::Node,
                "{\"dependencies\": {\"a\": \"file:../a\"}}",
                Some("a: only the function's code"),
            ),
            (Runtime::Node, "{\"dependencies\": {\"a\": \"\"}}", None),
            (
                Runtime::Node,
                "{\"dependencies\": {\"a\": \"o/r\"}}",
                Some("a: packages from git need git"),
            ),
            (Runtime::Python, "six\n# git+https://h/r\n", None),
            (
                Runtime::Python,
                "x @ git+https://h/r\n",
                Some("\"x @ git+https://h/r\": packages from git"),
            ),
        ] {
            let error = check(runtime, text).err();
            let begins = match (&error, expected) {
                (Some(error), Some(expected)) => error.starts_with(expected),
                (error, expected) => error.is_none() && expected.is_none(),
            };
            assert!(begins, "{text}: {error:?}");
        }
    }
}
