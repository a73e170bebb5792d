//! The closed sets of words a Function may use.
//!
//! Stored as strings so that an object written by another version stays readable; parsed here,
//! where an unknown word is `None` and the caller decides what that means.

use kipper_trigger::Kind;

use crate::words::words;

words! {
    /// Runtime of inline code.
    Runtime {
        /// Node 22.
        Node = "node",
        /// Python 3.12.
        Python = "python",
    }
}

words! {
    /// What invokes a function.
    TriggerKind {
        /// HTTP requests.
        Http = "http",
        /// A schedule.
        Cron = "cron",
        /// Rows of a PostgreSQL query.
        Postgres = "postgres",
        /// Rows of a MySQL query.
        Mysql = "mysql",
        /// Items of a Redis list.
        Redis = "redis",
        /// Objects of a MinIO bucket.
        Minio = "minio",
    }
}

impl TriggerKind {
    /// Where events come from, for the kinds that a poller feeds.
    pub const fn event(self) -> Option<Kind> {
        match self {
            Self::Http | Self::Cron => None,
            Self::Postgres => Some(Kind::Postgres),
            Self::Mysql => Some(Kind::Mysql),
            Self::Redis => Some(Kind::Redis),
            Self::Minio => Some(Kind::Minio),
        }
    }

    /// True for the kinds that a poller feeds.
    pub const fn is_event(self) -> bool {
        self.event().is_some()
    }
}

impl From<Kind> for TriggerKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Postgres => Self::Postgres,
            Kind::Mysql => Self::Mysql,
            Kind::Redis => Self::Redis,
            Kind::Minio => Self::Minio,
        }
    }
}

words! {
    /// Protocol spoken to the pod.
    Protocol {
        /// HTTP/1.1, and h2c for gRPC requests.
        Auto = "auto",
        /// HTTP/1.1 always.
        Http1 = "http1",
        /// HTTP/2 with prior knowledge always.
        H2c = "h2c",
    }
}

words! {
    /// What becomes of a function's database when it is bound no more.
    DeletionPolicy {
        /// It stays, and its user too.
        Retain = "Retain",
        /// The user is dropped, and the database if it was created for the function.
        Delete = "Delete",
    }
}

words! {
    /// Where a function is in its life.
    Phase {
        /// At zero replicas.
        Idle = "Idle",
        /// Pods are on their way.
        Scaling = "Scaling",
        /// At least one pod serves.
        Running = "Running",
        /// It cannot run as declared.
        Failed = "Failed",
    }
}

words! {
    /// How a run of a schedule ended.
    RunResult {
        /// Well.
        Succeeded = "Succeeded",
        /// Not so, or not in time.
        Failed = "Failed",
    }
}
