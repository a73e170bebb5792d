//! What a source of PostgreSQL rows is configured with.

/// What is configured.
#[derive(Clone, Debug)]
pub struct PostgresConfig {
    /// `postgres://user:password@host:port/database?sslmode=…`.
    pub url: String,
    /// Certificate authority in PEM.
    pub authority: Option<String>,
    /// Rows that match are events.
    pub query: String,
    /// Columns that tell rows apart; empty: the primary key.
    pub key: Vec<String>,
    /// Run after an event was handled.
    pub mark_done: Option<String>,
    /// Every mark its own commit, instead of as many as are due in one.
    pub mark_each: bool,
    /// Run after an event's last attempt.
    pub on_failed: Option<String>,
    /// Whose events these are: pods of one function must agree on it, functions must differ.
    pub function: String,
}
