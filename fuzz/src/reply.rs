//! What a provider of language models sends: the same events wherever its bytes are split, and those that
//! are in the whole text.

use kipper_assistant::{
    Protocol,
    fuzzing::{Decoder, Framing, read_all},
};

/// The body of a reply. The first byte says in which protocol, the second where it is split.
pub fn reply(data: &[u8]) {
    let [first, second, data @ ..] = data else { return };
    let protocol = Protocol::ALL[usize::from(*first) % Protocol::ALL.len()];
    let framing = if protocol == Protocol::Ollama { Framing::Lines } else { Framing::Events };
    let part = 1 + usize::from(*second);
    let events = events(framing, data.chunks(part));
    let expected = match framing {
        Framing::Events => events_of_text(data),
        Framing::Lines => lines(data).filter(|line| !line.trim().is_empty()).collect(),
    };
    assert_eq!(events, expected);
    assert_eq!(read_all(protocol, data.chunks(part)), read_all(protocol, [data].into_iter()));
}

fn events<'a>(framing: Framing, parts: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    let mut decoder = Decoder::new(framing);
    let mut events = Vec::new();
    for part in parts {
        decoder.push(part);
        while let Some(event) = decoder.pull().expect("an input is smaller than the bound") {
            events.push(event);
        }
    }
    events
}

/// The lines that ended.
fn lines(data: &[u8]) -> impl Iterator<Item = String> {
    let text = String::from_utf8_lossy(data.strip_prefix(b"\xef\xbb\xbf").unwrap_or(data));
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let ended = text.rfind('\n').map_or("", |end| &text[..=end]).to_owned();
    ended.split_terminator('\n').map(str::to_owned).collect::<Vec<_>>().into_iter()
}

/// The data of the events that ended with an empty line.
fn events_of_text(data: &[u8]) -> Vec<String> {
    let mut events = Vec::new();
    let mut data_lines: Vec<String> = Vec::new();
    for line in lines(data) {
        if line.is_empty() {
            events.extend(Some(data_lines.join("\n")).filter(|data| !data.is_empty()));
            data_lines.clear();
        } else if line == "data" {
            data_lines.push(String::new());
        } else if let Some(value) = line.strip_prefix("data:") {
            data_lines.push(value.strip_prefix(' ').unwrap_or(value).to_owned());
        }
    }
    events
}
