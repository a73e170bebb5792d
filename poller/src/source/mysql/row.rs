//! A claimed row.

use mysql_async::Value;

use super::locks::Lock;

/// What is kept of a claimed row.
#[derive(Debug)]
pub struct Row {
    /// The lock's name.
    pub(super) lock: Lock,
    /// What marks are made with, in the order of `Plan::values`.
    pub(super) values: Vec<Value>,
}
