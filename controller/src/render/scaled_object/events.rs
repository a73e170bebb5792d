//! KEDA's triggers for a source of events: each counts what waits, and none holds a credential.
//!
//! Counts of rows are bounded by what all replicas together can have: a table with a million
//! pending rows is not counted through for a number that would change nothing.

use std::collections::BTreeMap;

use kipper_function::{
    function::{TriggerKind, event::EventTrigger},
    names,
};

use super::{AuthenticationRef, Metadata, Trigger};
use crate::render::{Event, Subject, seconds};

/// A count that takes longer than this on a MySQL or MariaDB is given up there. (PostgreSQL is told
/// so in the connection string.)
const COUNT_SECONDS: u32 = 5;

/// The triggers of one source.
pub(super) fn triggers(subject: &Subject<'_>, event: &Event) -> Vec<Trigger> {
    let Some(source) = subject.spec().event() else { return Vec::new() };
    let batch = source.batch().to_string();
    match source.kind {
        TriggerKind::Http | TriggerKind::Cron => Vec::new(),
        TriggerKind::Postgres => {
            let metadata = BTreeMap::from([
                ("query", format!("SELECT {}", count(subject, &source, event))),
                ("targetQueryValue", batch),
                ("activationTargetQueryValue", "0".to_owned()),
            ]);
            vec![authenticated(subject, "postgresql", metadata)]
        }
        TriggerKind::Mysql => {
            let metadata = BTreeMap::from([
                ("query", mysql_query(&count(subject, &source, event))),
                ("queryValue", batch),
                ("activationQueryValue", "0".to_owned()),
            ]);
            vec![authenticated(subject, "mysql", metadata)]
        }
        TriggerKind::Redis => {
            let list = source.setting("list").unwrap_or_default();
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
            vec![length(list.to_owned()), length(leases(list))]
        }
        TriggerKind::Minio => {
            let metadata = BTreeMap::from([
                ("scalerAddress", subject.settings.scaler_address.clone()),
                ("namespace", subject.namespace.to_owned()),
                ("function", subject.name.to_owned()),
                // Which one the adapter knows from the Secret it has.
                ("bucket", "true".to_owned()),
                ("targetEvents", batch),
                ("idleTimeoutSeconds", seconds(subject.spec().idle_timeout()).to_string()),
                ("pollingIntervalSeconds", super::EVENT_POLLING_INTERVAL_SECONDS.to_string()),
            ]);
            vec![Trigger::new("external-push", metadata)]
        }
    }
}

fn authenticated(subject: &Subject<'_>, type_: &'static str, metadata: Metadata) -> Trigger {
    let name = names::trigger_authentication(subject.name);
    Trigger {
        authentication_ref: Some(AuthenticationRef { name }),
        ..Trigger::new(type_, metadata)
    }
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

/// The poller's sorted set of leases for a list. In a cluster both have to have one slot, which the
/// part of a key in braces decides.
fn leases(list: &str) -> String {
    let tag = list.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
    if tag.is_some_and(|(tag, _)| !tag.is_empty()) {
        format!("{list}:kp:leases")
    } else {
        format!("{{{list}}}:kp:leases")
    }
}

#[cfg(test)]
mod tests {
    use super::leases;

    #[test]
    fn leases_share_the_slot_of_their_list() {
        let cases = [
            ("jobs", "{jobs}:kp:leases"),
            ("{shop}:jobs", "{shop}:jobs:kp:leases"),
            // Braces around nothing are no such part.
            ("jobs{}", "{jobs{}}:kp:leases"),
        ];
        for (list, expected) in cases {
            assert_eq!(leases(list), expected);
        }
    }
}
