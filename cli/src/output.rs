//! What is printed on stdout: tables for people, and stable forms for programs.
//!
//! `-o json` and `-o yaml` are the objects as the API server has them, without `managedFields`; one
//! object where one was asked for, else a `List`. `-o name` is `<resource>/<name>`, a line each.
//! Colour is for terminals, and never with NO_COLOR.

use std::{
    borrow::Cow,
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use clap::{Args, ValueEnum};
use kipper_function::Timestamp;
use kipper_process::exit::plain;
use serde::Serialize;
use serde_json::{Value, json};

use crate::visible::visible;

/// The resource of functions: its plural, with its group.
pub const FUNCTIONS: &str = "functions.kipper.run";
/// The resource of services.
pub const SERVICES: &str = "services.kipper.run";

/// Forms of output for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The objects, as JSON
    Json,
    /// The objects, as YAML
    Yaml,
    /// `<resource>/<name>`, a line each
    Name,
}

/// The flag for it.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct OutputArgs {
    /// Output format, instead of text for people
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub output: Option<Format>,
}

/// Writes text for people to stdout, without what others' text may do to a terminal ([`visible()`]).
/// Nobody reading any more is no failure.
///
/// # Errors
/// When stdout cannot be written to.
pub fn print(text: impl AsRef<str>) -> anyhow::Result<()> {
    raw(for_people(text.as_ref()))
}

/// Writes what programs read to stdout, as it is. Nobody reading any more is no failure.
///
/// # Errors
/// When stdout cannot be written to.
pub fn raw(bytes: impl AsRef<[u8]>) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes.as_ref()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// Writes a line to stdout.
///
/// # Errors
/// When stdout cannot be written to.
pub fn line(text: impl AsRef<str>) -> anyhow::Result<()> {
    print(format!("{}\n", text.as_ref()))
}

/// Writes a line about what goes on to stderr, as [`print`] does, and without the numbers of errors
/// ([`plain`]).
pub fn note(text: impl AsRef<str>) {
    eprintln!("{}", visible(&plain(text.as_ref())));
}

/// Makes all but our own colours visible. Whoever quotes others does so before: theirs are not ours.
fn for_people(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    let colour = |text: &str, at: usize| CODES.iter().find(|code| text[at..].starts_with(**code));
    while let Some((at, code)) =
        rest.match_indices('\x1b').find_map(|(at, _)| Some((at, colour(rest, at)?)))
    {
        shown.push_str(&visible(&rest[..at]));
        shown.push_str(code);
        rest = &rest[at + code.len()..];
    }
    shown + &visible(rest)
}

/// Any value in a form that has no names.
///
/// # Errors
/// When stdout cannot be written to.
pub fn value(format: Format, value: &impl Serialize) -> anyhow::Result<()> {
    match format {
        Format::Json => raw(serde_json::to_string_pretty(value)? + "\n"),
        Format::Yaml | Format::Name => raw(yaml(value)?),
    }
}

/// A value as YAML.
///
/// # Errors
/// When it has no such form.
pub fn yaml(value: &impl Serialize) -> anyhow::Result<String> {
    let text = serde_saphyr::to_string(value)?;
    Ok(if text.ends_with('\n') { text } else { text + "\n" })
}

/// One object. `resource` is its plural with its group, `functions.kipper.run`.
///
/// # Errors
/// When stdout cannot be written to.
pub fn object(format: Format, resource: &str, object: &impl Serialize) -> anyhow::Result<()> {
    let object = shown(object)?;
    match format {
        Format::Name => line(name(resource, &object)),
        format => value(format, &object),
    }
}

/// Any number of objects.
///
/// # Errors
/// When stdout cannot be written to.
pub fn objects<T: Serialize>(
    format: Format,
    resource: &str,
    objects: impl IntoIterator<Item = T>,
) -> anyhow::Result<()> {
    let objects = objects.into_iter().map(|object| shown(&object));
    let objects: Vec<Value> = objects.collect::<anyhow::Result<_>>()?;
    match format {
        Format::Name => objects.iter().try_for_each(|object| line(name(resource, object))),
        format => {
            let list =
                json!({ "apiVersion": "v1", "kind": "List", "metadata": {}, "items": objects });
            value(format, &list)
        }
    }
}

fn name(resource: &str, object: &Value) -> String {
    // A resource is named in the singular there, as kubectl does.
    let (kind, group) = resource.split_once('.').unwrap_or((resource, ""));
    let kind = kind.strip_suffix('s').unwrap_or(kind);
    let dot = if group.is_empty() { "" } else { "." };
    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    format!("{kind}{dot}{group}/{name}")
}

/// An object without what is of no interest to anybody but the API server.
fn shown(object: &impl Serialize) -> anyhow::Result<Value> {
    let mut object = serde_json::to_value(object)?;
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    Ok(object)
}

/// Names and values: a table, or a list of objects with these keys; with `-o name` the names. `none`
/// is what people are told where there are none.
///
/// # Errors
/// When stdout cannot be written to.
pub fn pairs(
    format: Option<Format>,
    headings: [&str; 2],
    keys: [&str; 2],
    pairs: impl IntoIterator<Item = (String, String)>,
    none: impl FnOnce() -> String,
) -> anyhow::Result<()> {
    let pairs = pairs.into_iter();
    match format {
        None => {
            let row = |(name, value): (String, String)| {
                vec![name, visible(&one_line(&value)).into_owned()]
            };
            let rows: Vec<_> = pairs.map(row).collect();
            if rows.is_empty() {
                note(none());
            }
            print(table(&headings, &rows))
        }
        Some(Format::Name) => pairs.into_iter().try_for_each(|(name, _)| line(name)),
        Some(format) => {
            let [name_key, value_key] = keys;
            let object = |(name, value)| json!({ name_key: name, value_key: value });
            value(format, &pairs.map(object).collect::<Vec<_>>())
        }
    }
}

/// A text in one line: what breaks a line or moves to a column is an escape, as in `--env-file`.
pub fn one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(['\n', '\r', '\t']) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t"))
}

/// Columns under their headings, a line per row ([`one_line`]). Without rows it is empty.
pub fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let headings: Vec<String> = headings.iter().map(|heading| (*heading).to_owned()).collect();
    let widths = widths(&headings, rows);
    std::iter::once(&headings).chain(rows).map(|row| aligned(row, &widths)).collect()
}

/// Widths of the columns of a table.
pub fn widths<T: AsRef<str>>(headings: &[T], rows: &[Vec<String>]) -> Vec<usize> {
    let width = |(column, heading): (usize, &T)| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| columns(&one_line(cell))).fold(columns(heading.as_ref()), usize::max)
    };
    headings.iter().enumerate().map(width).collect()
}

/// A line of a table whose columns are so wide.
pub fn aligned(row: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    for (cell, width) in row.iter().zip(widths) {
        let cell = one_line(cell);
        line.push_str(&cell);
        line.push_str(&" ".repeat(width.saturating_sub(columns(&cell)) + 3));
    }
    line.truncate(line.trim_end().len());
    line + "\n"
}

/// Characters of a cell that take room: colours do not.
fn columns(cell: &str) -> usize {
    let mut count = 0;
    let mut in_escape = false;
    for c in cell.chars() {
        match (in_escape, c) {
            (false, '\x1b') => in_escape = true,
            (false, _) => count += 1,
            (true, 'm') => in_escape = false,
            (true, _) => {}
        }
    }
    count
}

/// What [`coloured`] writes.
const CODES: [&str; 4] = ["\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"];

/// Colours a terminal has.
#[derive(Clone, Copy, Debug)]
pub enum Colour {
    /// Broken.
    Red,
    /// Serving.
    Green,
    /// On its way.
    Yellow,
}

/// The text in that colour, where stdout shows colours.
pub fn coloured(text: &str, colour: Colour) -> String {
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if no_colour || !io::stdout().is_terminal() {
        return text.to_owned();
    }
    let [red, green, yellow, end] = CODES;
    let begin = match colour {
        Colour::Red => red,
        Colour::Green => green,
        Colour::Yellow => yellow,
    };
    format!("{begin}{text}{end}")
}

/// Time since then in its largest unit, as kubectl shows ages.
pub fn age(since: Option<Timestamp>, now: Timestamp) -> String {
    let Some(since) = since else { return "-".to_owned() };
    let seconds = now.as_second().saturating_sub(since.as_second()).max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A duration as people read it: `812 ms`, `3.4 s`.
pub fn duration(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        let rows = [row(["hello", "1"]), row(["\x1b[32mé\x1b[0m", ""])];
        let expected = "NAME    N\nhello   1\n\x1b[32mé\x1b[0m\n";
        assert_eq!(table(&["NAME", "N"], &rows), expected);
        assert_eq!(table(&["NAME"], &[]), "");
        let expected = "NAME   VALUE\nA      1\\n2\\t3\\r\nB      4\n";
        assert_eq!(
            table(&["NAME", "VALUE"], &[row(["A", "1\n2\t3\r"]), row(["B", "4"])]),
            expected
        );
    }

    #[test]
    fn only_our_own_colours_reach_a_terminal() {
        let text = "\x1b[32mRunning\x1b[0m \x1b[2J\x1b]0;x\x07\ta\n";
        assert_eq!(for_people(text), "\x1b[32mRunning\x1b[0m ^[[2J^[]0;x^G\ta\n");
        assert_eq!(for_people("\x1b[31\x1b"), "^[[31^[");
        assert_eq!(for_people("ä"), "ä");
    }

    #[test]
    fn names_are_those_of_kubectl() {
        let object = json!({ "metadata": { "name": "hello" } });
        assert_eq!(name("functions.kipper.run", &object), "function.kipper.run/hello");
        let claim = "persistentvolumeclaims";
        assert_eq!(name(claim, &object), "persistentvolumeclaim/hello");
    }

    #[test]
    fn what_only_the_server_needs_is_left_out() {
        let object = json!({ "metadata": { "name": "a", "managedFields": [1] }, "spec": {} });
        assert_eq!(shown(&object).unwrap(), json!({ "metadata": { "name": "a" }, "spec": {} }));
    }

    #[test]
    fn ages_are_short() {
        let at = |second| Timestamp::from_second(second).unwrap();
        for (seconds, expected) in
            [(0, "0s"), (119, "119s"), (120, "2m"), (7199, "119m"), (7200, "2h"), (200_000, "2d")]
        {
            assert_eq!(age(Some(at(1000)), at(1000 + seconds)), expected);
        }
        assert_eq!(age(Some(at(1000)), at(10)), "0s");
        assert_eq!(age(None, at(10)), "-");
    }

    #[test]
    fn yaml_keeps_code_readable() {
        let object = json!({ "spec": { "source": { "code": "a\n  b\n" }, "port": "8080" } });
        let text = yaml(&object).unwrap();
        assert_eq!(serde_saphyr::from_str::<Value>(&text).unwrap(), object);
        assert!(text.contains("code: |\n"), "{text}");
    }
}
