//! The scripts, and what a claim answers.

use std::sync::Arc;

use fred::types::Resp3Frame;

use super::{
    answer::{array, bytes, number, text, texts},
    body::body,
    connection::Script,
    lease::Lease,
};
use crate::source::Event;

/// All scripts that run while events do.
pub(super) struct Scripts {
    pub(super) claim: Script,
    pub(super) complete: Script,
    pub(super) dead: Script,
    pub(super) extend: Script,
    pub(super) release: Script,
    pub(super) adopt: Script,
}

impl Default for Scripts {
    fn default() -> Self {
        let script = |text: &str| Script::new([include_str!("scripts/prelude.lua"), text].concat());
        Self {
            claim: script(include_str!("scripts/claim.lua")),
            complete: script(include_str!("scripts/complete.lua")),
            dead: script(include_str!("scripts/dead.lua")),
            extend: script(include_str!("scripts/extend.lua")),
            release: script(include_str!("scripts/release.lua")),
            adopt: script(include_str!("scripts/adopt.lua")),
        }
    }
}

/// What a claim took.
pub(super) struct Taken {
    pub(super) events: Vec<Event<Lease>>,
    /// Whether there may be more than was asked for.
    pub(super) more: bool,
    /// Why items could not be taken off the list; empty if they could.
    pub(super) problem: String,
    /// Ids that became dead letters.
    pub(super) dead: Vec<String>,
}

impl Taken {
    /// Reads `{more, problem, {id, item, attempts, …}, {id, …}}`.
    pub(super) fn read(answer: Resp3Frame) -> Option<Self> {
        let mut parts = array(answer)?.into_iter();
        let more = number(&parts.next()?)? == 1;
        let problem = text(parts.next()?)?;
        let mut given = array(parts.next()?)?.into_iter();
        let mut events = Vec::with_capacity(given.len() / 3);
        while let Some(id) = given.next() {
            events.push(Event {
                key: Arc::from(text(id)?),
                body: body(&bytes(given.next()?)?),
                attempts: u32::try_from(number(&given.next()?)?).ok()?,
                claim: Lease::default(),
            });
        }
        let dead = texts(parts.next()?)?;
        Some(Self { events, more, problem, dead })
    }
}
