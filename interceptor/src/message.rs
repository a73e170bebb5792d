//! HTTP messages, whatever carried them: heads, fields and bodies. Pure.
//!
//! `field` says what a name means to a proxy, `section` reads HTTP/1 field sections, `body` decodes
//! and frames bodies, `head` parses HTTP/1 heads strictly, and `trace` reads W3C trace contexts. HTTP/2
//! heads become the same types.

pub mod body;
pub mod field;
pub mod head;
pub mod section;
pub mod trace;
