//! What a connection of the marks is made of.

use kipper_statement::Template;

use super::{connection::Connector, plan::Plan};

/// What a connection of the marks is made of.
pub(super) struct Recipe {
    pub(super) connector: Connector,
    pub(super) plan: Plan,
    pub(super) mark_done: Option<Template>,
    pub(super) on_failed: Option<Template>,
}
