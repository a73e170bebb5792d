//! Bytes that show where in a body they stand.

/// `n` bytes from this place on.
pub(super) fn pattern(from: usize, n: usize) -> Vec<u8> {
    let at = |i: usize| u8::try_from((i ^ (i >> 8) ^ (i >> 16)) & 0xff).unwrap_or_default();
    (from..from + n).map(at).collect()
}
