//! Which names an environment variable of a function may have.
//!
//! Kubernetes' classic rule, which every version accepts: letters, digits, `_`, `-` and `.`, not
//! starting with a digit, and no path-like `.` or `..`. On top of it the names Kipper sets itself
//! are reserved, because the pod would otherwise get two different values for one name.

/// Longest name, in bytes: also a Secret key may be no longer.
pub const MAX_LEN: usize = 253;

/// Prefix of the variables that Kipper sets.
pub const RESERVED_PREFIX: &str = "KIPPER_";
/// Settings of the runtimes that are a function's own: Kipper sets none of them in a cluster.
pub const SETTINGS: [&str; 6] = [
    "KIPPER_ERROR_DETAIL",
    "KIPPER_INSTALL_SECONDS",
    "KIPPER_KEEPALIVE_SECONDS",
    "KIPPER_MAX_BODY",
    "KIPPER_MAX_CONNECTIONS",
    "KIPPER_THREADS",
];

/// Why a name cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvNameError {
    /// It is empty.
    #[error("must not be empty")]
    Empty,
    /// It is longer than [`MAX_LEN`] bytes.
    #[error("must be at most 253 characters")]
    TooLong,
    /// It has a character Kubernetes refuses, or starts with one.
    #[error("must consist of letters, digits, '_', '-' and '.', and must not start with a digit")]
    Malformed,
    /// `PORT` and `KIPPER_*` are set by Kipper, except for [`SETTINGS`].
    #[error("is set by Kipper and cannot be overridden")]
    Reserved,
}

/// Checks the name of a variable from `spec.env` or the function's Secret.
pub fn check(name: &str) -> Result<(), EnvNameError> {
    check_syntax(name)?;
    if is_reserved(name) { Err(EnvNameError::Reserved) } else { Ok(()) }
}

/// Checks the form of a name only.
pub fn check_syntax(name: &str) -> Result<(), EnvNameError> {
    if name.is_empty() {
        return Err(EnvNameError::Empty);
    }
    if name.len() > MAX_LEN {
        return Err(EnvNameError::TooLong);
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    let starts_wrong = name.starts_with(|c: char| c.is_ascii_digit());
    if starts_wrong || name == "." || name.starts_with("..") || !name.bytes().all(allowed) {
        return Err(EnvNameError::Malformed);
    }
    Ok(())
}

/// True for the names Kipper sets in every pod.
pub fn is_reserved(name: &str) -> bool {
    name == "PORT" || (name.starts_with(RESERVED_PREFIX) && !SETTINGS.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::{EnvNameError, MAX_LEN, check};

    #[test]
    fn follows_kubernetes_and_keeps_its_own() {
        let long = "A".repeat(MAX_LEN + 1);
        let cases = [
            ("A", Ok(())),
            ("_a1", Ok(())),
            ("my.key-1", Ok(())),
            (".hidden", Ok(())),
            ("PORTAL", Ok(())),
            ("kipper_x", Ok(())),
            ("", Err(EnvNameError::Empty)),
            ("1A", Err(EnvNameError::Malformed)),
            ("A=B", Err(EnvNameError::Malformed)),
            ("A B", Err(EnvNameError::Malformed)),
            ("É", Err(EnvNameError::Malformed)),
            (".", Err(EnvNameError::Malformed)),
            ("..", Err(EnvNameError::Malformed)),
            ("..A", Err(EnvNameError::Malformed)),
            ("PORT", Err(EnvNameError::Reserved)),
            ("KIPPER_MODE", Err(EnvNameError::Reserved)),
            ("KIPPER_EVENT_TOKEN", Err(EnvNameError::Reserved)),
            ("KIPPER_ERROR_DETAIL", Ok(())),
            (&long, Err(EnvNameError::TooLong)),
            (&long[1..], Ok(())),
        ];
        for (name, expected) in cases {
            assert_eq!(check(name), expected, "{name:?}");
        }
    }
}
