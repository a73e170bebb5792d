//! The controller's stages, each with the least that can make it fail for the right reason.
#![allow(clippy::unwrap_used)]

mod bindings;
mod credentials;
mod render;
mod scaler;
mod servers;
mod watches;
