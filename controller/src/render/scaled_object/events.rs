//! KEDA's triggers for a source of events: what counts its events, and none holds a credential.
//!
//! Counts of rows are bounded by what all replicas together can have: a table with a million
//! pending rows is not counted through for a number that would change nothing.

use std::collections::BTreeMap;

use kipper_function::names;
use kipper_trigger::{
    EventTrigger, Kind, Setting, redis,
    scaler::{self, Target},
};

use super::trigger::{EVENT_POLLING_INTERVAL, Metadata, Trigger, pushed};
use crate::{plan::Event, render::subject::Subject};

/// A count that takes longer than this on a MySQL or MariaDB is given up there. (PostgreSQL is told
/// so in the connection string.)
const COUNT_SECONDS: u32 = 5;

/// The triggers of one source. Where its poller reports the backlog, the adapter has one too: KEDA's own
/// count wakes the function, and both scale it.
pub(super) fn triggers(subject: &Subject<'_>, event: &Event) -> Vec<Trigger> {
    let Some(source) = subject.spec().event() else { return Vec::new() };
    let target = f64::from(source.batch());
    let reported = subject.reported_to().map(|_| told(subject, Target::Backlog(target)));
    let mut triggers = counted(subject, &source, event);
    triggers.extend(reported);
    triggers
}

fn counted(subject: &Subject<'_>, source: &EventTrigger<'_>, event: &Event) -> Vec<Trigger> {
    let batch = source.batch().to_string();
    match source.kind {
        Kind::Postgres => {
            let metadata = BTreeMap::from([
                ("query", format!("SELECT {}", count(subject, source, event))),
                ("targetQueryValue", batch),
                ("activationTargetQueryValue", "0".to_owned()),
            ]);
            vec![authenticated(subject, "postgresql", metadata)]
        }
        Kind::Mysql => {
            let metadata = BTreeMap::from([
                ("query", mysql_query(&count(subject, source, event))),
                ("queryValue", batch),
                ("activationQueryValue", "0".to_owned()),
            ]);
            vec![authenticated(subject, "mysql", metadata)]
        }
        Kind::Redis => {
            let list = source.setting(Setting::List).unwrap_or_default();
            let length = |name: String| {
                let metadata = BTreeMap::from([
                    ("listName", name),
                    ("listLength", batch.clone()),
                    ("activationListLength", "0".to_owned()),
                    ("databaseIndex", "0".to_owned()),
                ]);
                authenticated(subject, "redis", metadata)
            };
            // An item in the hands of a pod is in the list no more; its lease keeps the pod.
            vec![length(list.to_owned()), length(redis::leases(list))]
        }
        // Which bucket the adapter knows from the Secret it has.
        Kind::Minio => vec![told(subject, Target::Bucket(source.batch().into()))],
    }
}

/// A trigger by what the adapter is told.
fn told(subject: &Subject<'_>, target: Target) -> Trigger {
    let metadata = scaler::Metadata {
        function: Some(subject.name.to_owned()),
        idle_timeout: subject.spec().idle_timeout(),
        polling_interval: EVENT_POLLING_INTERVAL,
        burst_max_replicas: subject.spec().burst_max_replicas(),
        target,
    };
    Trigger::new("external-push", pushed(subject, &metadata))
}

fn authenticated(subject: &Subject<'_>, type_: &'static str, metadata: Metadata) -> Trigger {
    Trigger::new(type_, metadata).authenticated(names::trigger_authentication(subject.name))
}

/// How many rows there are, up to as many as make all replicas run. Line breaks, because a query may
/// end in a comment.
fn count(subject: &Subject<'_>, source: &EventTrigger<'_>, event: &Event) -> String {
    let (_, max_replicas) = subject.spec().replica_limits();
    let bound = u64::from(max_replicas) * u64::from(source.batch());
    let query = event.query.as_deref().unwrap_or_default();
    format!("COUNT(*) FROM (SELECT 1 FROM (\n{query}\n) q LIMIT {bound}) n")
}

/// MySQL knows the limit as a hint; MariaDB takes it from a comment that only it executes.
fn mysql_query(count: &str) -> String {
    format!(
        "/*M!100100 SET STATEMENT max_statement_time={COUNT_SECONDS} FOR */ \
         SELECT /*+ MAX_EXECUTION_TIME({}) */ {count}",
        COUNT_SECONDS * 1000
    )
}
