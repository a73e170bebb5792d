//! Functions with an event trigger: what Kipper's own programs do for them, as processes beside `kip`.
//!
//! trigger → `kipper-poll count` (what waits) → for each process of the function its `kipper-poll`;
//! for buckets also their watcher. Nothing here talks to a source.

pub(crate) mod program;
pub(crate) mod trigger;

pub(crate) mod log;

pub(crate) mod companion;

pub(crate) mod backlog;
pub(crate) mod buckets;
pub(crate) mod poller;
