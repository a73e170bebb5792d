//! Where the value of a secret comes from: typed, piped, or read from a file. Never from the command
//! line, and never shown. One newline at the end is not a part of it, wherever it comes from.

use std::{fs, path::Path};

use anyhow::Context as _;
use kipper_client::secrets::SecretValue;

use crate::prompt;

/// A value typed at the terminal.
///
/// # Errors
/// When nothing was typed, or it cannot be the value of a secret.
pub(crate) fn prompted(key: &str) -> anyhow::Result<SecretValue> {
    let value = prompt::hidden(&format!("Value of {key}"))?;
    anyhow::ensure!(!value.is_empty(), "no value was typed, nothing was changed");
    Ok(SecretValue::new(value)?)
}

/// All of stdin, without the newline that `echo` adds.
///
/// # Errors
/// When there is nothing on stdin, or it cannot be the value of a secret.
pub(crate) fn from_stdin() -> anyhow::Result<SecretValue> {
    let text = without_newline(std::io::read_to_string(std::io::stdin().lock())?);
    anyhow::ensure!(!text.is_empty(), "no value on stdin, nothing was changed");
    Ok(SecretValue::new(text)?)
}

/// A file, without the newline that an editor adds to the last line. Several lines stay as they are.
///
/// # Errors
/// When the file cannot be read, or cannot be the value of a secret.
pub(crate) fn from_file(path: &Path) -> anyhow::Result<SecretValue> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    Ok(SecretValue::new(without_newline(text))?)
}

/// Without one newline at the end.
fn without_newline(mut text: String) -> String {
    if text.ends_with('\n') {
        text.truncate(text.len() - if text.ends_with("\r\n") { 2 } else { 1 });
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_newline_at_the_end_is_the_editors() {
        for (text, expected) in [
            ("token", "token"),
            ("token\n", "token"),
            ("token\r\n", "token"),
            ("token\n\n", "token\n"),
            ("-----BEGIN\nabc\n-----END\n", "-----BEGIN\nabc\n-----END"),
            (" token \n", " token "),
        ] {
            assert_eq!(without_newline(text.to_owned()), expected, "{text:?}");
        }
    }
}
