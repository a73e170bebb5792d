//! A provider of language models for tests: each request waits until the test takes it, and is answered
//! byte by byte as the test says, in whichever protocol, whole or broken.
//!
//! [`words`] has what the three protocols say in good order. When a client goes, the test sees it:
//! [`Stream::closed`].
#![allow(clippy::unwrap_used)] // for tests

mod stream;

mod request;

mod server;
pub mod words;

pub use request::Asked;
pub use server::ModelServer;
pub use stream::Stream;
