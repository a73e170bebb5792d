//! Packages of inline code: which forms of a version work, and the line that pip reads.
//!
//! One rule for `kip`, the controller and `kip dev`: what none of the runtimes' images can install is
//! refused before a pod is asked to. A range may be written as npm or as pip writes it where both mean
//! the same. Sources: PEP 440 and PEP 508 for pip, the `node-semver` and `package.json` documents for
//! npm.

use crate::function::Runtime;

/// Where a package comes from that is no version of a registry's.
const GIT_PREFIXES: [&str; 8] =
    ["git+", "git:", "git@", "ssh:", "github:", "gitlab:", "bitbucket:", "gist:"];
/// Prefixes of what lies beside the code.
const LOCAL_PREFIXES: [&str; 8] =
    ["file:", "link:", "portal:", "workspace:", "./", "../", "/", "~/"];
/// Operators of PEP 440, the longer ones first.
const OPERATORS: [&str; 8] = ["===", "==", "~=", "!=", "<=", ">=", "<", ">"];

pub(crate) const NEEDS_GIT: &str = "packages from git need git, which the runtimes' images do not have; give the \
                         URL of an archive, such as \
                         https://github.com/<owner>/<repository>/archive/<tag>.tar.gz";
const IS_LOCAL: &str = "only the function's code is in the cluster, not what lies beside it; give a \
                        version of a registry, or the URL of an archive";
const PIP_FORM: &str = "must be a version such as 2.31.0, a range such as >=1.16,<2, or the URL of an \
                        archive";
const NPM_FORM: &str = "must be a version such as 4.17.21, a range such as ^4.17 or >=1.16 <2, or the URL of an archive";

/// What is wrong with a package, in words.
pub(crate) fn check(runtime: Runtime, name: &str, version: &str) -> Result<(), &'static str> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/@[],".contains(c);
    let starts = name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '@');
    if !starts
        || !name.chars().all(allowed)
        || version.is_empty()
        || version.contains(char::is_control)
    {
        return Err("must be a package name and a version");
    }
    if is_git(runtime, version) {
        return Err(NEEDS_GIT);
    }
    if LOCAL_PREFIXES.iter().any(|prefix| version.starts_with(prefix)) || version == "." {
        return Err(IS_LOCAL);
    }
    match runtime {
        Runtime::Python => pip(version).map(drop),
        Runtime::Node => npm(version),
    }
}

fn is_git(runtime: Runtime, version: &str) -> bool {
    let path = version.split(['#', '?']).next().unwrap_or_default();
    // `owner/repository` is npm's short form of one on GitHub.
    let is_short = || {
        let mut parts = path.split('/');
        let plain = |part: Option<&str>| {
            part.is_some_and(|part| !part.is_empty() && !part.contains([':', '@', ' ', '.']))
        };
        plain(parts.next())
            && parts.next().is_some_and(|part| !part.is_empty())
            && parts.next().is_none()
    };
    GIT_PREFIXES.iter().any(|prefix| version.starts_with(prefix))
        || (is_url(version) && path.ends_with(".git"))
        || (runtime == Runtime::Node && is_short())
}

fn is_url(version: &str) -> bool {
    version.starts_with("https://") || version.starts_with("http://")
}

fn npm(version: &str) -> Result<(), &'static str> {
    let is_alias = version.starts_with("npm:");
    let of_pip = ["==", "~=", "!="].iter().any(|operator| version.contains(operator));
    if is_alias || is_url(version) {
        return Ok(());
    }
    if of_pip || version.contains([',', ';', '/', ':']) { Err(NPM_FORM) } else { Ok(()) }
}

/// One line of requirements.txt: a bare version is exact, one with an operator says what it means.
pub(crate) fn requirement(name: &str, version: &str) -> String {
    if is_url(version) {
        return format!("{name} @ {version}\n");
    }
    match pip(version) {
        Ok(specifier) => format!("{name}{specifier}\n"),
        // What was stored before it was checked: pip says what it does not understand.
        Err(_) => format!("{name}=={version}\n"),
    }
}

/// A version as pip reads it behind a package's name.
fn pip(version: &str) -> Result<String, &'static str> {
    if is_url(version) {
        return Ok(format!(" @ {version}"));
    }
    // An environment marker, or an option such as --hash.
    let rest = [version.find(';'), version.find(" --")].into_iter().flatten().min();
    let (range, rest) = version.split_at(rest.unwrap_or(version.len()));
    let range = range.trim();
    if matches!(range, "" | "*" | "latest") {
        return Ok(rest.to_owned());
    }
    let mut specifiers = Vec::new();
    for clause in clauses(range) {
        specifiers.push(specifier(&clause).ok_or(PIP_FORM)?);
    }
    Ok(specifiers.join(",") + rest)
}

/// The parts of a range: pip separates them by commas, npm by spaces.
fn clauses(range: &str) -> Vec<String> {
    let mut clauses: Vec<String> = Vec::new();
    for word in range.split([',', ' ']).filter(|word| !word.is_empty()) {
        match clauses.last_mut() {
            // `>= 1.0`
            Some(last) if !last.contains(|c: char| c.is_ascii_alphanumeric()) => {
                last.push_str(word)
            }
            _ => clauses.push(word.to_owned()),
        }
    }
    clauses
}

/// One part of a range in the words of PEP 440; `None` for what is none.
fn specifier(clause: &str) -> Option<String> {
    if let Some(operator) = OPERATORS.iter().find(|operator| clause.starts_with(**operator)) {
        let version = number(&clause[operator.len()..])?;
        return Some(format!("{operator}{version}"));
    }
    let (first, rest) = clause.split_at_checked(1)?;
    match first {
        "^" => below(rest, caret),
        "~" => below(rest, tilde),
        "=" => Some(format!("=={}", number(rest)?)),
        _ => Some(format!("=={}", number(clause)?)),
    }
}

/// A version by itself; npm's `1.x` is pip's `1.*`.
fn number(text: &str) -> Option<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ".*+!-_".contains(c);
    let is_version = text.contains(|c: char| c.is_ascii_digit())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(allowed);
    let text = match text.strip_suffix(".x").or_else(|| text.strip_suffix(".X")) {
        Some(known) => format!("{known}.*"),
        None => text.to_owned(),
    };
    is_version.then_some(text)
}

/// `>=` the version and `<` the next one that `bound` finds.
fn below(version: &str, bound: fn(&[u64]) -> usize) -> Option<String> {
    let version = number(version)?;
    let release: Vec<u64> = version.split('.').map_while(|part| part.parse().ok()).collect();
    let raised = bound(&release);
    let next = release.get(raised)?.checked_add(1)?;
    let kept = release.iter().take(raised).chain([&next]);
    let kept: Vec<String> = kept.map(u64::to_string).collect();
    Some(format!(">={version},<{}", kept.join(".")))
}

/// `^`: the first number that is not zero stays.
fn caret(release: &[u64]) -> usize {
    let first = release.iter().position(|number| *number != 0);
    first.unwrap_or(release.len().saturating_sub(1))
}

/// `~`: the second number stays, where there is one.
fn tilde(release: &[u64]) -> usize {
    usize::from(release.len() > 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_exact_unless_it_says_otherwise() {
        for (version, expected) in [
            ("2.31.0", "x==2.31.0\n"),
            (">=2,<3", "x>=2,<3\n"),
            (">= 2, < 3", "x>=2,<3\n"),
            (">=2 <3", "x>=2,<3\n"),
            ("~=2.1", "x~=2.1\n"),
            ("==2.1", "x==2.1\n"),
            ("=2.1", "x==2.1\n"),
            ("1.*", "x==1.*\n"),
            ("1.x", "x==1.*\n"),
            ("latest", "x\n"),
            ("*", "x\n"),
            ("", "x\n"),
            ("^1.16", "x>=1.16,<2\n"),
            ("^1.2.3", "x>=1.2.3,<2\n"),
            ("^0.2.3", "x>=0.2.3,<0.3\n"),
            ("^0.0.3", "x>=0.0.3,<0.0.4\n"),
            ("^0.0", "x>=0.0,<0.1\n"),
            ("~1.2.3", "x>=1.2.3,<1.3\n"),
            ("~1", "x>=1,<2\n"),
            ("2.1; python_version < '3.13'", "x==2.1; python_version < '3.13'\n"),
            ("==2.1 --hash=sha256:00", "x==2.1 --hash=sha256:00\n"),
            ("https://example.com/x-1.tar.gz", "x @ https://example.com/x-1.tar.gz\n"),
        ] {
            assert_eq!(requirement("x", version), expected, "{version:?}");
            let is_given = !version.is_empty();
            assert_eq!(check(Runtime::Python, "x", version).is_ok(), is_given, "{version:?}");
        }
    }

    #[test]
    fn what_no_image_can_install_is_refused_with_what_to_write() {
        let both = [Runtime::Node, Runtime::Python];
        for (runtimes, version, expected) in [
            (&both[..], "git+https://github.com/o/r@v1", NEEDS_GIT),
            (&both[..], "git@github.com:o/r.git", NEEDS_GIT),
            (&both[..], "https://github.com/o/r.git#v1", NEEDS_GIT),
            (&both[..], "github:o/r", NEEDS_GIT),
            (&both[..1], "o/r#v1", NEEDS_GIT),
            (&both[..], "file:../lib", IS_LOCAL),
            (&both[..], "workspace:*", IS_LOCAL),
            (&both[..], "./lib", IS_LOCAL),
            (&both[1..], "1 || 2", PIP_FORM),
            (&both[1..], "o/r", PIP_FORM),
            (&both[1..], "^", PIP_FORM),
            (&both[1..], "1.0 - 2.0", PIP_FORM),
            (&both[..1], "==1.2", NPM_FORM),
            (&both[..1], ">=1,<2", NPM_FORM),
            (&both[..1], "~=1.2", NPM_FORM),
        ] {
            for runtime in runtimes {
                assert_eq!(check(*runtime, "x", version), Err(expected), "{runtime} {version:?}");
            }
        }
        for version in
            ["^1.16", "1.x", "1 || 2", ">=1 <2", "latest", "next", "npm:y@1.2", "1.0.0 - 2.0.0"]
        {
            assert_eq!(check(Runtime::Node, "@scope/x", version), Ok(()), "{version:?}");
        }
        let archive = "https://github.com/o/r/archive/v1.tar.gz";
        for runtime in both {
            assert_eq!(check(runtime, "x", archive), Ok(()));
            assert!(check(runtime, "--index-url", "1").is_err());
            assert!(check(runtime, "a b", "1").is_err());
        }
    }
}
