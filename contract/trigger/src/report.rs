//! What `kipper-poll` says to a program that starts it, as `kip dev` does.

use serde::{Deserialize, Serialize};

/// Message of the line in the poller's log once it has connected to its source.
pub const CONNECTED: &str = "connected to the source";

/// A line of `kipper-poll count`, and the body of a poller's report to the scaler-adapter, as JSON: what
/// one look at the source showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Count {
    /// So many events wait, the bound of counting at most.
    Waiting(u64),
    /// The source cannot be reached, or refuses to answer now. It is asked again.
    Unavailable(String),
    /// The trigger cannot work as it is configured.
    Invalid(String),
}

/// Path of the scaler-adapter's port for backlogs by which a poller reports how many events wait for its
/// function: `POST` with the token of [`crate::token::BacklogKey`] and a [`Count::Waiting`].
pub fn backlog_path(namespace: &str, function: &str) -> String {
    format!("{BACKLOG_PATH}{namespace}/{function}")
}

/// Namespace and function of such a path.
pub fn of_backlog_path(path: &str) -> Option<(&str, &str)> {
    let (namespace, function) = path.strip_prefix(BACKLOG_PATH)?.split_once('/')?;
    let is_name = |name: &str| !name.is_empty() && !name.contains('/');
    (is_name(namespace) && is_name(function)).then_some((namespace, function))
}

const BACKLOG_PATH: &str = "/backlog/";

/// Bytes of somebody else's words that are shown.
const MAX_WORDS: usize = 500;

/// The words of a server as one readable line of a log or a condition: white space is one space, what a
/// terminal would not print is replaced, and what is too long is cut.
pub fn one_line(words: &str) -> String {
    let mut line = String::with_capacity(words.len().min(MAX_WORDS));
    for word in words.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        for c in word.chars() {
            if line.len() >= MAX_WORDS {
                line.push('…');
                return line;
            }
            line.push(if c.is_control() { char::REPLACEMENT_CHARACTER } else { c });
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn words_are_one_line_of_a_bounded_length() {
        for (words, line) in [
            ("syntax error\n  at or near \"x\"\r\n", "syntax error at or near \"x\""),
            ("\u{1b}[31mred\0", "\u{fffd}[31mred\u{fffd}"),
            ("größe", "größe"),
            ("", ""),
        ] {
            assert_eq!(one_line(words), line);
        }
        let long = one_line(&"größe ".repeat(1000));
        assert!(long.len() < 510 && long.ends_with('…'), "{long}");
    }
}
