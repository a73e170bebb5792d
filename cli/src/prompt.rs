//! Questions to a person at a terminal.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::{failure::Report, interrupt::INTERRUPTED};

/// Longest answer, in bytes: a Secret holds no more.
const MAX_ANSWER: u64 = 1 << 20;
/// Keys.
const CTRL_C: u8 = 3;
const CTRL_D: u8 = 4;
const CTRL_U: u8 = 21;
const BACKSPACES: [u8; 2] = [8, 127];

/// Whether somebody can answer.
pub fn is_possible() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks for yes or no; anything but yes is no.
///
/// # Errors
/// When the terminal cannot be used.
pub fn confirm(question: &str) -> io::Result<bool> {
    eprint!("{question} [y/N] ");
    let mut answer = String::new();
    io::stdin().lock().take(MAX_ANSWER).read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// Asks before something is deleted, where somebody can answer.
///
/// # Errors
/// When the answer is no, or the terminal cannot be used.
pub fn before_deleting(question: &str) -> anyhow::Result<()> {
    if !is_possible() || confirm(question)? {
        return Ok(());
    }
    Err(Report("nothing was deleted".to_owned()).into())
}

/// Asks for a value that is not shown as it is typed.
///
/// # Errors
/// When the terminal cannot be used, or the value is not valid UTF-8.
pub fn hidden(question: &str) -> io::Result<String> {
    let stdin = io::stdin();
    let hidden = Hidden::start()?;
    eprint!("{question}: ");
    io::stderr().flush()?;
    let answer = typed(&mut stdin.lock());
    drop(hidden);
    eprintln!();
    match answer? {
        Typed::Line(bytes) => String::from_utf8(bytes).map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidData, "the value is not valid UTF-8")
        }),
        // The terminal is as it was.
        Typed::Interrupted => std::process::exit(INTERRUPTED),
    }
}

/// A terminal that shows nothing and hands over each key, Ctrl-C too: were it a signal, the terminal
/// would stay so.
struct Hidden(Termios);

impl Hidden {
    fn start() -> io::Result<Self> {
        let stdin = io::stdin();
        let before = tcgetattr(&stdin)?;
        let mut during = before.clone();
        during.local_modes &= !(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        tcsetattr(&stdin, OptionalActions::Now, &during)?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Typed {
    Line(Vec<u8>),
    Interrupted,
}

/// Keys up to the end of the line.
fn typed(keys: &mut impl io::BufRead) -> io::Result<Typed> {
    let mut line = Vec::new();
    for key in keys.take(MAX_ANSWER).bytes() {
        match key? {
            b'\n' | b'\r' | CTRL_D => break,
            CTRL_C => return Ok(Typed::Interrupted),
            CTRL_U => line.clear(),
            key if BACKSPACES.contains(&key) => {
                // The rest of a character that has several bytes goes with its first.
                while line.pop().is_some_and(|byte| byte & 0b1100_0000 == 0b1000_0000) {}
            }
            key => line.push(key),
        }
    }
    Ok(Typed::Line(line))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn keys_make_a_line() {
        for (keys, expected) in [
            ("value\nrest", "value"),
            ("value\r", "value"),
            ("value", "value"),
            ("vax\x7flue\x04more", "value"),
            ("wrong\x15right\n", "right"),
            ("é\x7fe\n", "e"),
            ("\x7f\x08a\n", "a"),
            ("\n", ""),
        ] {
            let line = typed(&mut keys.as_bytes()).unwrap();
            assert_eq!(line, Typed::Line(expected.as_bytes().to_vec()), "{keys:?}");
        }
        assert_eq!(typed(&mut "va\x03".as_bytes()).unwrap(), Typed::Interrupted);
    }
}
