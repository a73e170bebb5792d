//! An answer of Loki: streams with their labels, each with its lines. Pure.

use kipper_function::Timestamp;
use serde::Deserialize;

use crate::logs::Line;

/// A line, with its time in nanoseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Entry {
    pub(super) time: u64,
    pub(super) pod: String,
    pub(super) container: String,
    pub(super) text: String,
}

impl From<Entry> for Line {
    fn from(entry: Entry) -> Self {
        let time = Timestamp::from_nanosecond(entry.time.into()).ok();
        Self { pod: entry.pod, container: entry.container, time, text: entry.text }
    }
}

#[derive(Deserialize)]
struct Answer {
    data: Data,
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Streams(Vec<Stream>),
}

#[derive(Deserialize)]
struct Stream {
    stream: Labels,
    values: Vec<(String, String)>,
}

/// Labels that every collector for Kubernetes sets; a line without them has neither.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Labels {
    pod: String,
    container: String,
}

/// The lines of an answer; those of one stream stay in its order, turned to oldest first.
pub(super) fn read(body: &[u8]) -> Result<Vec<Entry>, serde_json::Error> {
    let answer: Answer = serde_json::from_slice(body)?;
    let Data::Streams(streams) = answer.data;
    let mut entries = Vec::new();
    for Stream { stream: Labels { pod, container }, values } in streams {
        for (time, text) in values.into_iter().rev() {
            let time = time.parse().map_err(serde::de::Error::custom)?;
            entries.push(Entry { time, pod: pod.clone(), container: container.clone(), text });
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_have_the_labels_of_their_stream() {
        let answer = json!({ "status": "success", "data": {
            "resultType": "streams",
            "result": [
                { "stream": { "app": "hello", "pod": "hello-1", "container": "function" },
                  "values": [["3000000000", "c"], ["2000000000", "b"]] },
                { "stream": {}, "values": [["1", "a"]] },
            ],
            "stats": {},
        }});
        let entries = read(answer.to_string().as_bytes()).unwrap();
        let reported: Vec<_> = entries
            .iter()
            .map(|entry| (entry.time, entry.pod.as_str(), entry.text.as_str()))
            .collect();
        assert_eq!(
            reported,
            [(2_000_000_000, "hello-1", "b"), (3_000_000_000, "hello-1", "c"), (1, "", "a")]
        );
        let line = Line::from(entries[0].clone());
        assert_eq!(line.time, Some("1970-01-01T00:00:02Z".parse().unwrap()));
        assert_eq!(line.container, "function");
    }

    #[test]
    fn another_answer_is_none_of_loki() {
        let matrix = json!({ "data": { "resultType": "matrix", "result": [] } });
        for body in [matrix.to_string().as_bytes(), b"<html>"] {
            read(body).unwrap_err();
        }
    }
}
