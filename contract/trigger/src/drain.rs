//! The drain port of a poller, which the `preStop` hook of the function's container asks.

/// The one path.
pub const PATH: &str = "/drain";
/// The header that carries the token.
pub const TOKEN_HEADER: &str = "kipper-drain-token";
/// Bytes of a token at the least: shorter ones can be guessed.
pub const MIN_TOKEN_BYTES: usize = 16;
/// Bytes of a token at the most.
pub const MAX_TOKEN_BYTES: usize = 256;
