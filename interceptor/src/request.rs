//! The life of one request, whichever protocols its client and its pod speak.
//!
//! `prepared` finds the destination of a head and renders what the pod gets; `life` leases a pod,
//! runs the exchange, tries again where that is allowed, and sees to an answer in any case. On the
//! way `hold` waits for a place, `connect` opens the connection and `exchange` moves both messages.
//! `client` is what all of this needs of the framing: `http1` and `http2` implement it and know
//! nothing of each other. After an answer that came early, `discard` reads on for a while.
//!
//! A request is sent a second time only when nothing of it was processed, or once more when its
//! function allows that for idempotent methods.

pub(crate) mod client;
mod connect;
pub(crate) mod discard;
mod exchange;
mod hold;
pub(crate) mod life;
pub(crate) mod prepared;
mod timeline;
