//! What a source of MySQL rows is configured with.

/// What is configured.
#[derive(Clone, Debug)]
pub struct MysqlConfig {
    /// `mysql://user:password@host:port/database?ssl-mode=…`.
    pub url: String,
    /// Certificate authority in PEM.
    pub authority: Option<String>,
    /// Rows that match are events.
    pub query: String,
    /// Columns that tell rows apart; empty: the primary key.
    pub key: Vec<String>,
    /// Run after an event was handled.
    pub mark_done: Option<String>,
    /// Run after an event's last attempt.
    pub on_failed: Option<String>,
    /// Whose events these are: pods of one function must agree on it, functions must differ.
    pub function: String,
}
