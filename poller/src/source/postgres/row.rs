//! A claimed row.

/// What is kept of a claimed row.
#[derive(Debug)]
pub struct Row {
    /// The advisory lock.
    pub(super) lock: i64,
    /// What marks are made with, as PostgreSQL's text, in the order of `Plan::values`.
    pub(super) values: Vec<Option<String>>,
}
