//! Bytes of a log as lines. Pure.

use kipper_api::Timestamp;

use super::Line;

/// Longest line that is kept together, in bytes.
const MAX_LINE: usize = 64 << 10;

/// Cuts bytes into lines, and lines beyond the bound into several.
#[derive(Default)]
pub(super) struct Cutter(Vec<u8>);

impl Cutter {
    /// The lines that `bytes` complete.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.0.extend_from_slice(part);
            if part.ends_with(b"\n") || self.0.len() >= MAX_LINE {
                found.extend(self.finish());
            }
        }
        found
    }

    /// What came after the last line's end.
    pub(super) fn finish(&mut self) -> Option<String> {
        let bytes = std::mem::take(&mut self.0);
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
        let mut cutter = Cutter::default();
        assert!(cutter.push(b"a").is_empty());
        assert_eq!(cutter.push(b"b\r\n\nc"), ["ab", ""]);
        assert_eq!(cutter.finish().as_deref(), Some("c"));
        assert_eq!(cutter.finish(), None);
        assert_eq!(cutter.push(&vec![b'x'; MAX_LINE + 1]).len(), 1);
    }
}
