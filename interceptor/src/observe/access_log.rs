//! The access log: one JSON object per line on stdout, for every request that is over.
//!
//! Workers only put records into a queue; a thread of its own makes lines of them and writes. A
//! stdout that nobody reads blocks that thread and nothing else: the queue fills up, and further
//! lines are dropped and counted.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use prometheus::IntCounter;
use serde::{Serialize, Serializer, ser::SerializeMap as _};
use tokio::sync::oneshot;

use super::record::{PHASES, Phase, Record, protocol, took};
use crate::message::trace::TraceParent;

/// Records that wait to be written; with the longest paths and user agents some 10 MiB, and twice that where
/// they are not UTF-8.
const QUEUE: usize = 4096;
/// Lines are written together up to this size.
const PIECE: usize = 64 << 10;
/// A line waits this long for others: workers then wake the thread a hundred times a second at most,
/// not once for each.
const LINGER: Duration = Duration::from_millis(10);

/// Where workers put their records.
pub(super) struct AccessLog {
    queue: SyncSender<Arc<Record>>,
    dropped: IntCounter,
}

impl AccessLog {
    /// Starts the thread that writes. It ends, and tells, when the last record is written after this
    /// was dropped.
    pub(super) fn start(dropped: &IntCounter) -> io::Result<(Self, oneshot::Receiver<()>)> {
        let (queue, records) = sync_channel(QUEUE);
        let (done, ended) = oneshot::channel();
        let lost = dropped.clone();
        thread::Builder::new().name("access-log".into()).spawn(move || {
            write(&records, io::stdout(), &lost);
            let _ = done.send(());
        })?;
        Ok((Self { queue, dropped: dropped.clone() }, ended))
    }

    pub(super) fn put(&self, record: Arc<Record>) {
        if self.queue.try_send(record).is_err() {
            self.dropped.inc();
        }
    }
}

/// Writes until no record can come any more. What cannot be written is dropped.
fn write(records: &Receiver<Arc<Record>>, mut out: impl Write, dropped: &IntCounter) {
    let (mut lines, mut failing) = (Vec::new(), false);
    while let Ok(first) = records.recv() {
        // Behind a full piece there is more already.
        if lines.len() < PIECE {
            thread::sleep(LINGER);
        }
        lines.clear();
        let mut count = 0;
        let mut next = Some(first);
        while let Some(record) = next {
            line(&record, &mut lines);
            count += 1;
            next = if lines.len() < PIECE { records.try_recv().ok() } else { None };
        }
        let written = out.write_all(&lines).and_then(|()| out.flush());
        if let Err(error) = &written {
            dropped.inc_by(count);
            if !failing {
                tracing::warn!(%error, "cannot write the access log, dropping its lines");
            }
        }
        failing = written.is_err();
    }
}

/// One request, as written. Absent = there was none.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<&'a str>,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    bytes_received: u64,
    bytes_sent: u64,
    duration_ms: f64,
    #[serde(skip_serializing_if = "no_phases")]
    phases_ms: PhasesMs<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<String>,
    client: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<&'a str>,
}

/// The phases that a request had, with their names.
struct PhasesMs<'a>(&'a [Phase]);

fn no_phases(phases: &PhasesMs<'_>) -> bool {
    phases.0.is_empty()
}

impl Serialize for PhasesMs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for name in PHASES.iter().filter(|name| self.0.iter().any(|phase| phase.name == **name)) {
            map.serialize_entry(name, &milliseconds(took(self.0, name)))?;
        }
        map.end()
    }
}

/// To a microsecond.
fn milliseconds(took: Duration) -> f64 {
    (took.as_secs_f64() * 1e6).round() / 1e3
}

/// Appends the line of one record.
fn line(record: &Record, out: &mut Vec<u8>) {
    let Record { seen, function, .. } = record;
    let head = seen.head.as_ref();
    let trace_id = |span: TraceParent| format!("{:032x}", span.trace_id);
    let line = Line {
        time: humantime::format_rfc3339_micros(seen.at).to_string(),
        namespace: function.as_ref().map(|f| &*f.namespace),
        function: function.as_ref().map(|f| &*f.name),
        method: head.map(|head| head.method.as_str()),
        host: head.map(|head| head.host.as_str()),
        path: head.map(|head| head.path.as_str()),
        protocol: head.map(|head| protocol(head.version)),
        status: record.status,
        reason: record.error.map(|error| error.reason()),
        request_id: std::str::from_utf8(&record.id).unwrap_or_default(),
        trace_id: seen.span.map(trace_id),
        bytes_received: record.moved.received,
        bytes_sent: record.moved.sent,
        duration_ms: milliseconds(record.took),
        phases_ms: PhasesMs(&record.phases),
        pod: record.pod.map(|pod| pod.to_string()),
        client: &seen.client,
        user_agent: head.and_then(|head| head.user_agent.as_deref()),
    };
    // Writing to a vector cannot fail, and nothing in it refuses to be JSON.
    let _ = serde_json::to_writer(&mut *out, &line);
    out.push(b'\n');
}
