//! Which interceptors there are, and which stream of each one counts.
//!
//! A [`Member`] is one stream's membership. Admitting a newer stream of the same interceptor
//! supersedes it; from then on it changes nothing.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use kipper_counts::CountsReport;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::{
    error::{MAX_INTERCEPTORS, ReportError},
    table::Table,
};
use crate::aggregate::Origin;

/// How long a stream that has just ended may have been silent already: until the keepalive
/// notices, requests go unheard.
const UNNOTICED: Duration = Duration::from_secs(10);

/// The interceptors that have a stream, or had one until recently.
#[derive(Default)]
pub(super) struct Roster {
    interceptors: Mutex<Interceptors>,
    last_stream: AtomicU32,
}

#[derive(Default)]
struct Interceptors {
    by_name: HashMap<String, Arc<Interceptor>>,
    last_id: u32,
}

struct Interceptor {
    id: u32,
    name: String,
    current: Mutex<Current>,
}

/// The stream that counts, and what its interceptor has said last.
pub(super) struct Current {
    stream: u32,
    epoch: u64,
    superseded: CancellationToken,
    heard: Option<Duration>,
    /// Kept over the streams of an epoch.
    pub(super) table: Table,
    /// Of the epoch before, until this one's snapshot is in: its requests are not to look finished.
    former: Option<Table>,
}

impl Current {
    /// Where a report of this stream comes from.
    pub(super) fn origin(&self) -> Origin {
        Origin { stream: self.stream, heard: self.heard, is_restarted: self.former.is_some() }
    }

    /// Gives numbers back.
    pub(super) fn free(&mut self, numbers: &[u32]) -> Result<(), ReportError> {
        numbers.iter().try_for_each(|number| self.table.free(*number, self.stream))
    }

    /// A whole report was taken in. A snapshot replaces what the interceptor had said before.
    pub(super) fn heard(&mut self, now: Duration, is_snapshot: bool) {
        self.heard = Some(now);
        if is_snapshot {
            self.table.retire_all_but(self.stream);
            self.former = None;
        }
    }
}

/// One stream of one interceptor.
#[derive(Clone)]
pub(super) struct Member {
    interceptor: Arc<Interceptor>,
    epoch: u64,
    stream: u32,
    superseded: CancellationToken,
}

impl Roster {
    /// Makes a new stream the one that counts.
    pub(super) fn admit(&self, name: &str, epoch: u64) -> Result<Member, ReportError> {
        let mut interceptors = self.interceptors.lock();
        let superseded = CancellationToken::new();
        let stream = self.last_stream.fetch_add(1, Relaxed) + 1;
        let interceptor = if let Some(interceptor) = interceptors.by_name.get(name) {
            let mut current = interceptor.current.lock();
            current.superseded.cancel();
            current.stream = stream;
            current.superseded = superseded.clone();
            if current.epoch != epoch {
                current.epoch = epoch;
                current.former = Some(std::mem::take(&mut current.table));
            }
            Arc::clone(interceptor)
        } else {
            if interceptors.by_name.len() >= MAX_INTERCEPTORS {
                return Err(ReportError::TooManyInterceptors);
            }
            interceptors.last_id = interceptors.last_id.wrapping_add(1);
            let interceptor = Arc::new(Interceptor {
                id: interceptors.last_id,
                name: name.to_owned(),
                current: Mutex::new(Current {
                    stream,
                    epoch,
                    superseded: superseded.clone(),
                    heard: None,
                    table: Table::default(),
                    former: None,
                }),
            });
            interceptors.by_name.insert(name.to_owned(), Arc::clone(&interceptor));
            interceptor
        };
        Ok(Member { interceptor, epoch, stream, superseded })
    }

    /// Forgets the interceptor with all that it had open; false when a newer stream has taken over.
    pub(super) fn remove(&self, member: &Member) -> bool {
        let mut interceptors = self.interceptors.lock();
        let mut current = member.interceptor.current.lock();
        if current.stream != member.stream {
            return false;
        }
        // No stream has this number, so the record counts nothing any more.
        current.stream = 0;
        (current.table, current.former) = (Table::default(), None);
        interceptors.by_name.remove(&member.interceptor.name).is_some()
    }
}

impl Member {
    pub(super) fn id(&self) -> u32 {
        self.interceptor.id
    }

    pub(super) fn name(&self) -> &str {
        &self.interceptor.name
    }

    /// Whether a later report of the stream still comes from who opened it.
    pub(super) fn sent(&self, report: &CountsReport) -> bool {
        report.interceptor == self.interceptor.name && report.epoch == self.epoch
    }

    /// Resolves when a newer stream has taken over.
    pub(super) async fn superseded(&self) {
        self.superseded.cancelled().await;
    }

    /// Runs `act` while no newer stream can take over.
    pub(super) fn while_current<R>(
        &self,
        act: impl FnOnce(&mut Current) -> R,
    ) -> Result<R, ReportError> {
        let mut current = self.interceptor.current.lock();
        if current.stream != self.stream {
            return Err(ReportError::Superseded);
        }
        Ok(act(&mut current))
    }

    /// The stream has ended; it listened until shortly before.
    pub(super) fn ended(&self, now: Duration) {
        let mut current = self.interceptor.current.lock();
        if current.stream == self.stream {
            let listened = now.saturating_sub(UNNOTICED);
            current.heard = current.heard.map(|heard| heard.max(listened));
        }
    }
}
