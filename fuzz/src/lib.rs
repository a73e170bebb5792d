//! What must hold for any bytes that a stranger sends, one function per target.
//!
//! A target panics when an invariant is broken. `fuzz_targets/` runs each under libFuzzer, and the
//! crate's tests run each over its corpus. What a target found becomes a file of its corpus, and a
//! test where the mistake was.

mod body;
mod guard;
mod head;
mod header_list;
mod notification;
mod reply;
mod statement;
mod trigger;

pub use self::{
    body::chunked_body,
    guard::event_guard,
    head::{request_head, response_head},
    header_list::header_list,
    notification::notification,
    reply::reply,
    statement::statement,
    trigger::trigger_settings,
};

/// A target, by the name of its corpus.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 9] = [
    ("request_head", request_head),
    ("response_head", response_head),
    ("chunked_body", chunked_body),
    ("header_list", header_list),
    ("event_guard", event_guard),
    ("statement", statement),
    ("notification", notification),
    ("trigger_settings", trigger_settings),
    ("reply", reply),
];
