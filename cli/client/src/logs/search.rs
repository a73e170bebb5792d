//! A search in lines: literal text, in upper or lower case. Pure.
//!
//! One rule for pods, Loki and `kip dev`, and for the page (`console/web/src/logs/search.ts`): Go's,
//! Rust's and JavaScript's patterns compare with Unicode's simple case folding, letter by letter.

use std::str::FromStr;

use regex::{Regex, RegexBuilder};

/// Longest search, in bytes: a Loki reads queries of 5,120.
const MAX_LEN: usize = 1000;

/// What is searched for.
#[derive(Clone, Debug)]
pub struct Search(Regex);

/// Why a text cannot be searched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a search has at most {MAX_LEN} bytes")]
pub struct SearchError;

impl FromStr for Search {
    type Err = SearchError;

    fn from_str(text: &str) -> Result<Self, SearchError> {
        if text.len() > MAX_LEN {
            return Err(SearchError);
        }
        let pattern = RegexBuilder::new(&regex::escape(text)).case_insensitive(true).build();
        pattern.map(Self).map_err(|_| SearchError)
    }
}

impl Search {
    /// Does a line contain it?
    pub fn matches(&self, line: &str) -> bool {
        self.0.is_match(line)
    }

    /// As a pattern of Go (RE2), which a Loki reads.
    pub(crate) fn pattern(&self) -> String {
        format!("(?i){}", self.0.as_str())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_search_is_for_text_in_any_case() {
        // The same table as in console/web/tests/unit/logs/search.test.ts.
        for (search, line, expected) in [
            ("", "anything", true),
            ("error", "ERROR: no", true),
            ("ErRoR", "an error", true),
            ("a.*[b]", "x A.*[B] y", true),
            ("a.*[b]", "a1b", false),
            ("\\d", "7", false),
            ("é", "É", true),
            ("straße", "STRASSE", false),
            ("σ", "ΟΔΟς", true),
            ("日本", "in 日本", true),
            ("a b", "a  b", false),
        ] {
            let found: Search = search.parse().unwrap();
            assert_eq!(found.matches(line), expected, "{search:?} in {line:?}");
        }
        assert_eq!("x".repeat(MAX_LEN + 1).parse::<Search>().unwrap_err(), SearchError);
        "é".repeat(MAX_LEN / 2).parse::<Search>().unwrap();
    }
}
