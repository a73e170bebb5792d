//! The path by which a function says that it takes events.

use std::{fmt, str::FromStr};

use http::Uri;
use kipper_trigger::DEFAULT_HEALTH_PATH;

/// A path that can be asked for: starts with `/`, no host, no fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthPath(pub(super) Uri);

/// Why a text is no path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a health path starts with / and contains no spaces and no #")]
pub struct HealthPathError;

impl Default for HealthPath {
    fn default() -> Self {
        Self(Uri::from_static(DEFAULT_HEALTH_PATH))
    }
}

impl FromStr for HealthPath {
    type Err = HealthPathError;

    fn from_str(path: &str) -> Result<Self, Self::Err> {
        if !path.starts_with('/') || path.contains('#') {
            return Err(HealthPathError);
        }
        path.parse().map(Self).map_err(|_| HealthPathError)
    }
}

impl fmt::Display for HealthPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let check = |path: &str, valid: bool| {
            assert_eq!(path.parse::<HealthPath>().is_ok(), valid, "{path:?}");
        };
        check("/health", true);
        check("/healthz?probe=1", true);
        check("health", false);
        check("", false);
        check("/a b", false);
        check("/a#b", false);
        check("http://app/health", false);
        assert_eq!(HealthPath::default(), "/health".parse().unwrap());
    }
}
