//! Bytes of a provider to the events in them, wherever they are split.
//!
//! Server-sent events as the HTML standard parses them (9.2.6), of which only `data` counts here, and
//! one JSON text a line. An event may have [`MAX_EVENT_BYTES`]; nothing beyond that is kept.

/// Largest event, and longest line.
pub(crate) const MAX_EVENT_BYTES: usize = 1 << 20;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// How events follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Server-sent events.
    Events,
    /// A JSON text a line.
    Lines,
}

/// An event is larger than [`MAX_EVENT_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

/// Takes bytes as they come and hands out the data of whole events.
#[derive(Debug)]
pub struct Decoder {
    framing: Framing,
    buffer: Vec<u8>,
    /// Up to here the buffer has been handed out.
    taken: usize,
    /// Up to here it was searched for the end of a line.
    searched: usize,
    /// Is this the first line?
    first: bool,
    /// Did the last line end with a CR, which an LF may follow?
    after_cr: bool,
    /// The data of the event that is being read.
    data: Option<String>,
}

impl Decoder {
    /// At the beginning of a stream.
    pub fn new(framing: Framing) -> Self {
        Self {
            framing,
            buffer: Vec::new(),
            taken: 0,
            searched: 0,
            first: true,
            after_cr: false,
            data: None,
        }
    }

    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.taken);
        self.searched = self.searched.saturating_sub(self.taken);
        self.taken = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The data of the next event; `None` when more bytes are needed for it.
    ///
    /// # Errors
    /// When it is larger than [`MAX_EVENT_BYTES`].
    pub fn pull(&mut self) -> Result<Option<String>, TooLarge> {
        while let Some(line) = self.line()? {
            let event = match self.framing {
                Framing::Events => self.field(&line)?,
                Framing::Lines => Some(line).filter(|line| !line.trim().is_empty()),
            };
            if event.is_some() {
                return Ok(event);
            }
        }
        Ok(None)
    }

    /// The next line, which CR, LF or both end.
    fn line(&mut self) -> Result<Option<String>, TooLarge> {
        if self.taken < self.buffer.len() && std::mem::take(&mut self.after_cr) {
            self.taken += usize::from(self.buffer[self.taken] == b'\n');
        }
        self.searched = self.searched.max(self.taken);
        let found = memchr::memchr2(b'\r', b'\n', &self.buffer[self.searched..]);
        let end = self.searched + found.unwrap_or(self.buffer.len() - self.searched);
        self.searched = end;
        if end - self.taken > MAX_EVENT_BYTES {
            return Err(TooLarge);
        }
        if found.is_none() {
            return Ok(None);
        }
        let mut line = &self.buffer[self.taken..end];
        if self.first {
            line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        }
        let line = String::from_utf8_lossy(line).into_owned();
        self.first = false;
        self.after_cr = self.buffer[end] == b'\r';
        self.taken = end + 1;
        Ok(Some(line))
    }

    /// Reads a line of an event; the data when it was the last one.
    fn field(&mut self, line: &str) -> Result<Option<String>, TooLarge> {
        if line.is_empty() {
            return Ok(self.data.take().filter(|data| !data.is_empty()));
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        if name == "data" {
            let value = value.strip_prefix(' ').unwrap_or(value);
            let so_far = self.data.as_ref().map_or(0, String::len);
            if so_far + 1 + value.len() > MAX_EVENT_BYTES {
                return Err(TooLarge);
            }
            match &mut self.data {
                None => self.data = Some(value.to_owned()),
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn events(framing: Framing, parts: &[&[u8]]) -> Result<Vec<String>, TooLarge> {
        let mut decoder = Decoder::new(framing);
        let mut events = Vec::new();
        for part in parts {
            decoder.push(part);
            while let Some(event) = decoder.pull()? {
                events.push(event);
            }
        }
        Ok(events)
    }

    /// The same, in whatever two parts, and byte by byte.
    #[track_caller]
    fn check(framing: Framing, text: &[u8], expected: &[&str]) {
        let expected: Vec<_> = expected.iter().map(|&event| event.to_owned()).collect();
        for at in 0..=text.len() {
            let (start, end) = text.split_at(at);
            assert_eq!(events(framing, &[start, end]).as_ref(), Ok(&expected), "split at {at}");
        }
        let bytes: Vec<_> = text.chunks(1).collect();
        assert_eq!(events(framing, &bytes).as_ref(), Ok(&expected), "byte by byte");
    }

    #[test]
    fn events_however_they_are_written() {
        let check =
            |text: &str, expected: &[&str]| check(Framing::Events, text.as_bytes(), expected);
        check("data: a\n\ndata: b\n\n", &["a", "b"]);
        check("data: a\r\n\r\ndata: b\r\n\r\n", &["a", "b"]);
        check("data: a\r\rdata: b\r\r", &["a", "b"]);
        check("data: a\r\n\ndata: b\n\r\n", &["a", "b"]);
        check("data:a\n\ndata:  b\n\n", &["a", " b"]);
        check("data: a\ndata: b\ndata\ndata: c\n\n", &["a\nb\n\nc"]);
        check("\u{feff}data: a\n\n\u{feff}data: b\n\n", &["a"]);
        check(": comment\n\n:\nevent: ping\nid: 7\nretry: 1\ndata: a\n\n", &["a"]);
        check("event: ping\n\ndata\n\ndata:\n\nDATA: a\n\ndatum: b\n\n", &[]);
        check("data: gr\u{fc}\u{df}e \u{1f600}\n\n", &["gr\u{fc}\u{df}e \u{1f600}"]);
        check("data: a\n\ndata: half\n", &["a"]);
        check("data: a\n\ndata: ha", &["a"]);
        check("\n\n\r\n\r\n", &[]);
    }

    #[test]
    fn lines_however_they_end() {
        let check =
            |text: &str, expected: &[&str]| check(Framing::Lines, text.as_bytes(), expected);
        check(
            "{\"a\":1}\n{\"b\":\"\u{e9}\"}\r\n\n  \n{}\n",
            &["{\"a\":1}", "{\"b\":\"\u{e9}\"}", "{}"],
        );
        check("\u{feff}{}\n{\"half\":", &["{}"]);
    }

    #[test]
    fn what_is_no_utf8_is_replaced() {
        check(Framing::Events, b"data: a\xffb\xf0\x9f\n\n", &["a\u{fffd}b\u{fffd}"]);
    }

    #[test]
    fn an_event_is_bounded() {
        let most = "x".repeat(MAX_EVENT_BYTES - "data: ".len());
        let fits = format!("data: {most}\n\n");
        assert_eq!(events(Framing::Events, &[fits.as_bytes()]), Ok(vec![most.clone()]));
        let beyond = format!("data: {most}x");
        let parts: Vec<_> = beyond.as_bytes().chunks(4096).collect();
        assert_eq!(events(Framing::Events, &parts), Err(TooLarge));
        assert_eq!(events(Framing::Lines, &parts), Err(TooLarge));
        // Of many short lines as well.
        let line = format!("data: {}\n", "x".repeat(1000));
        let lines = MAX_EVENT_BYTES / 1001;
        assert!(events(Framing::Events, &[(line.repeat(lines) + "\n").as_bytes()]).is_ok());
        assert_eq!(events(Framing::Events, &[line.repeat(lines + 1).as_bytes()]), Err(TooLarge));
        // Comments are read and dropped, however many there are.
        let mut decoder = Decoder::new(Framing::Events);
        for _ in 0..2000 {
            decoder.push(format!(": {}\n", "x".repeat(1000)).as_bytes());
            assert_eq!(decoder.pull(), Ok(None));
            assert!(decoder.buffer.capacity() < 8192);
        }
    }
}
