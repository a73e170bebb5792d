//! Bytes of a log as lines. Pure.

use kipper_function::Timestamp;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Who said it.
    pub pod: String,
    /// In which container: the function, or its poller.
    pub container: String,
    /// When; `None` where the kubelet did not say.
    pub time: Option<Timestamp>,
    /// What.
    pub text: String,
}

/// Cuts bytes into lines, and lines beyond a bound into several.
#[derive(Debug)]
pub struct Cutter {
    max_line: usize,
    begun: Vec<u8>,
}

impl Cutter {
    /// Keeps lines of up to so many bytes together.
    pub fn new(max_line: usize) -> Self {
        Self { max_line, begun: Vec::new() }
    }

    /// The lines that `bytes` complete.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.begun.extend_from_slice(part);
            if part.ends_with(b"\n") || self.begun.len() >= self.max_line {
                found.extend(self.finish());
            }
        }
        found
    }

    /// What came after the last line's end.
    pub fn finish(&mut self) -> Option<String> {
        let bytes = std::mem::take(&mut self.begun);
        let text = String::from_utf8_lossy(&bytes);
        (!bytes.is_empty()).then(|| text.trim_end_matches(['\n', '\r']).to_owned())
    }
}

/// A line as the kubelet gives it: its time, a space, and what was said.
pub(super) fn line(pod: &str, container: &str, text: &str) -> Line {
    let stamped = text.split_once(' ').unwrap_or((text, ""));
    let (time, text) = match stamped.0.parse::<Timestamp>() {
        Ok(time) => (Some(time), stamped.1),
        Err(_) => (None, text),
    };
    Line { pod: pod.to_owned(), container: container.to_owned(), time, text: text.to_owned() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_line_has_its_time() {
        let read = line("p", "function", "2026-01-02T03:04:05.6Z hello  there");
        assert_eq!(read.time, Some("2026-01-02T03:04:05.6Z".parse().unwrap()));
        assert_eq!(read.text, "hello  there");
        assert_eq!(line("p", "function", "2026-01-02T03:04:05Z").text, "");
        let read = line("p", "function", "no time here");
        assert_eq!((read.time, read.text.as_str()), (None, "no time here"));
    }

    #[test]
    fn lines_are_cut_at_their_end_or_at_the_bound() {
        const MAX_LINE: usize = 1_000;
        let mut cutter = Cutter::new(MAX_LINE);
        assert!(cutter.push(b"a").is_empty());
        assert_eq!(cutter.push(b"b\r\n\nc"), ["ab", ""]);
        assert_eq!(cutter.finish().as_deref(), Some("c"));
        assert_eq!(cutter.finish(), None);
        assert_eq!(cutter.push(&vec![b'x'; MAX_LINE + 1]).len(), 1);
        assert_eq!(cutter.push(b"\n"), [""]);
        assert_eq!(cutter.push(b"\xff\n"), ["\u{fffd}"]);
    }
}
