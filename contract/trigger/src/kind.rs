//! The kinds of sources.

use std::fmt;

/// What kind of source events come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Rows of a PostgreSQL query.
    Postgres,
    /// Rows of a MySQL or MariaDB query.
    Mysql,
    /// Items of a Redis list.
    Redis,
    /// Objects of a bucket (MinIO or another S3).
    Minio,
}

impl Kind {
    /// Every kind, in the order of the documentation.
    pub const ALL: [Self; 4] = [Self::Postgres, Self::Mysql, Self::Redis, Self::Minio];

    /// The word by which a Function, the sidecar and labels name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
            Self::Redis => "redis",
            Self::Minio => "minio",
        }
    }

    /// The kind of this name; `None` for a word of another version.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// True where events are rows of a query.
    pub const fn is_sql(self) -> bool {
        matches!(self, Self::Postgres | Self::Mysql)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
