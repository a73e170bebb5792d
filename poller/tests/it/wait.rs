//! Waiting for a condition.

pub(crate) use kipper_servers::until;
