//! Files of environment variables, as `--env-file` names them: a line `NAME=VALUE` each.
//!
//! Empty lines and those that begin with `#` are left out, and so is `export` before a name. A value
//! in single quotes is its text; in double quotes `\n`, `\r`, `\t`, `\"`, `\\` and `\$` are what they are in
//! other such files; without quotes it ends before ` #`. Nothing is replaced: `$NAME` is text. The first
//! line that cannot be read is named.

use std::{collections::BTreeMap, fs, io::Read as _, path::PathBuf};

use anyhow::Context as _;
use kipper_process::exit::UsageError;

use crate::env_flag::checked;

/// Largest file, in bytes: more than a Function may hold.
const MAX_BYTES: u64 = 1 << 20;

/// The variables of all files, one after the other.
///
/// # Errors
/// When a file cannot be read, or a line of it; the error names both.
pub(crate) fn read_all(paths: &[PathBuf]) -> anyhow::Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    for path in paths {
        let shown = path.display();
        let mut text = String::new();
        let file = fs::File::open(path).with_context(|| shown.to_string())?;
        let read = file.take(MAX_BYTES + 1).read_to_string(&mut text);
        let size = read.with_context(|| shown.to_string())?;
        if size as u64 > MAX_BYTES {
            return Err(UsageError::new(format!("{shown}: more than {MAX_BYTES} bytes")).into());
        }
        let read = parse(&text)
            .map_err(|(line, why)| UsageError::new(format!("{shown}, line {line}: {why}")))?;
        all.extend(read);
    }
    Ok(all)
}

/// The variables of a text; or the number of the line that cannot be read, and why.
fn parse(text: &str) -> Result<Vec<(String, String)>, (usize, String)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (mut variables, mut lines) = (Vec::new(), BTreeMap::new());
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = variable(line).map_err(|why| (number, why))?;
        if let Some(first) = lines.insert(name.clone(), number) {
            return Err((number, format!("{name} is set by line {first} already")));
        }
        variables.push((name, value));
    }
    Ok(variables)
}

fn variable(line: &str) -> Result<(String, String), String> {
    let exported = line.strip_prefix("export").filter(|rest| rest.starts_with([' ', '\t']));
    let line = exported.map_or(line, str::trim_start);
    let (name, value) = line.split_once('=').ok_or("expected NAME=VALUE")?;
    let name = checked(name.trim_end())?;
    let value = value.trim_start();
    let value = match value.chars().next() {
        Some('\'') => single_quoted(&value[1..])?,
        Some('"') => double_quoted(&value[1..])?,
        _ => plain(value).to_owned(),
    };
    Ok((name, value))
}

/// Up to a comment, which has a space before it.
fn plain(value: &str) -> &str {
    let comment = value
        .match_indices('#')
        .map(|(at, _)| at)
        .find(|at| *at == 0 || value[..*at].ends_with([' ', '\t']));
    value[..comment.unwrap_or(value.len())].trim_end()
}

fn single_quoted(rest: &str) -> Result<String, String> {
    let (value, rest) = rest.split_once('\'').ok_or("the quote does not end on this line")?;
    nothing_after(rest)?;
    Ok(value.to_owned())
}

fn double_quoted(rest: &str) -> Result<String, String> {
    let mut value = String::new();
    let mut chars = rest.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                nothing_after(chars.as_str())?;
                return Ok(value);
            }
            '\\' => match chars.next() {
                Some('n') => value.push('\n'),
                Some('r') => value.push('\r'),
                Some('t') => value.push('\t'),
                Some(c @ ('"' | '\\' | '$')) => value.push(c),
                // A path of Windows, a pattern.
                Some(other) => value.extend(['\\', other]),
                None => break,
            },
            c => value.push(c),
        }
    }
    Err("the quote does not end on this line".to_owned())
}

fn nothing_after(rest: &str) -> Result<(), String> {
    let rest = rest.trim();
    if rest.is_empty() || rest.starts_with('#') {
        return Ok(());
    }
    Err(format!("{rest:?} after the closing quote"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The variables as `NAME=VALUE`, joined by `|`; or what is wrong.
    #[track_caller]
    fn check(text: &str, expected: Result<&str, (usize, &str)>) {
        let found = parse(text).map(|all| {
            let all: Vec<_> = all.iter().map(|(name, value)| format!("{name}={value}")).collect();
            all.join("|")
        });
        assert_eq!(found, expected.map(str::to_owned).map_err(|(n, why)| (n, why.to_owned())));
    }

    #[test]
    fn a_line_is_a_variable() {
        check("", Ok(""));
        check("\u{feff}A=1\r\n\n# B=2\n  C = 3 \n", Ok("A=1|C=3"));
        check("export A=1\nexported=2", Ok("A=1|exported=2"));
        check("URL=http://h/#a?b=c # the start page", Ok("URL=http://h/#a?b=c"));
        check("A=\nB=#x\nC=''", Ok("A=|B=|C="));
        check("A='$HOME \"x\" \\n' # c", Ok("A=$HOME \"x\" \\n"));
        check(r#"A="a\tb\"c\\ \d \$X # no""#, Ok("A=a\tb\"c\\ \\d $X # no"));
        check("A=it's $B ${C} $(D)", Ok("A=it's $B ${C} $(D)"));
    }

    #[test]
    fn a_line_that_cannot_be_read_is_named() {
        check("A=1\n\nB", Err((3, "expected NAME=VALUE")));
        check("A='x", Err((1, "the quote does not end on this line")));
        check("A=\"x\\\"", Err((1, "the quote does not end on this line")));
        check("A=\"x\"y", Err((1, "\"y\" after the closing quote")));
        check("A=1\nB=2\nA=3", Err((3, "A is set by line 1 already")));
        for bad in ["1A=1", "=1", "PORT=1", "KIPPER_MODE=x"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
