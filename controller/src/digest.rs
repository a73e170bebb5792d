//! Short digests that tell whether something changed. Pure.

use ring::digest::{Context, SHA256};

/// Enough that two states of one object never meet by accident.
const BYTES: usize = 8;

/// Hex digest of `parts`.
pub(crate) fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    format!("{:016x}", number(parts))
}

/// The same as a number. Each part goes in with its length, so that no two lists of parts are one
/// text.
pub(crate) fn number<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let digest = context.finish();
    digest.as_ref().iter().take(BYTES).fold(0, |number, byte| number << 8 | u64::from(*byte))
}
