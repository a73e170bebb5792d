//! Text that others wrote, fit for a terminal. Pure.
//!
//! What a function logs, an exception says or a server answers may hold sequences that move the
//! cursor, rename the window or hide a line. Everything `kip` prints for people goes through here
//! ([`crate::output`]); what programs read (JSON, YAML, a body in a pipe) stays as it is.

use std::{borrow::Cow, fmt::Write as _};

/// The text with control characters in letters: `^[` for an escape, `\u{202e}` for one that turns
/// the direction of writing round. Tabs and newlines stay.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            c if !is_hidden(c) => shown.push(c),
            '\x7f' => shown.push_str("^?"),
            // As terminals and `cat -v` write them: the letter that is typed with Ctrl.
            '\0'..='\x1f' => {
                shown.push('^');
                shown.extend(char::from_u32(u32::from(c) + u32::from('@')));
            }
            c => {
                // Writing to a string cannot fail.
                let _ = write!(shown, "\\u{{{:x}}}", u32::from(c));
            }
        }
    }
    Cow::Owned(shown)
}

/// Controls (C0, DEL, C1), and marks that change the order in which text is shown.
fn is_hidden(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || (c.is_control() && !matches!(c, '\t' | '\n'))
}

/// Bytes of a stream that is shown as it comes: a character may be cut in two.
#[derive(Debug, Default)]
pub struct Stream {
    /// The beginning of a character; at most three bytes.
    rest: Vec<u8>,
}

impl Stream {
    /// What can be shown now.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        let mut all = std::mem::take(&mut self.rest);
        all.extend_from_slice(bytes);
        let cut = all.utf8_chunks().last().map_or(0, |chunk| chunk.invalid().len());
        let (whole, last) = all.split_at(all.len() - cut);
        // Not a character that is wrong, but one whose end is still to come.
        if std::str::from_utf8(last).is_err_and(|error| error.error_len().is_none()) {
            let text = visible(&String::from_utf8_lossy(whole)).into_owned();
            self.rest = last.to_vec();
            return text;
        }
        visible(&String::from_utf8_lossy(&all)).into_owned()
    }

    /// What was left at the end.
    pub fn finish(self) -> String {
        visible(&String::from_utf8_lossy(&self.rest)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_the_terminal_but_text() {
        for (text, expected) in [
            ("plain ä 漢 🙂", "plain ä 漢 🙂"),
            ("a\tb\nc", "a\tb\nc"),
            ("\x1b[2J\x1b]0;title\x07", "^[[2J^[]0;title^G"),
            ("10%\r100%", "10%^M100%"),
            ("\x08\x7f\0", "^H^?^@"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("user\u{202e}txt.exe", "user\\u{202e}txt.exe"),
            ("\u{2066}\u{200f}", "\\u{2066}\\u{200f}"),
        ] {
            assert_eq!(visible(text), expected);
            assert_eq!(visible(&visible(text)), expected, "once is enough");
        }
        assert!(matches!(visible("plain"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_stream_may_be_cut_anywhere() {
        let text = "aä漢\x1b[0m🙂";
        for at in 0..text.len() {
            let mut stream = Stream::default();
            let (head, tail) = text.as_bytes().split_at(at);
            let shown = stream.push(head) + &stream.push(tail) + &stream.finish();
            assert_eq!(shown, "aä漢^[[0m🙂", "{at}");
        }
        let mut stream = Stream::default();
        assert_eq!(stream.push(b"a\xff\x1bb\xe6"), "a\u{fffd}^[b");
        assert_eq!(stream.finish(), "\u{fffd}");
    }
}
