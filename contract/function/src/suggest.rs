//! What a mistyped word was meant to be. Pure.

/// Least similarity (Jaro) of a suggestion; clap suggests flags from 0.7 on, and names are longer.
const MIN_SIMILARITY: f64 = 0.8;

/// The known word that is most like `given`, if one is like it; case does not count.
pub fn closest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given = given.to_ascii_lowercase();
    let similarity = |word: &str| strsim::jaro(&given, &word.to_ascii_lowercase());
    let rated = known.into_iter().map(|word| (similarity(word), word));
    let (similarity, word) = rated.max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    (similarity >= MIN_SIMILARITY).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_like_it_is_suggested() {
        let known = ["idleTimeoutSeconds", "image", "timeouts", "triggers"];
        assert_eq!(closest("idleTimeout", known), Some("idleTimeoutSeconds"));
        assert_eq!(closest("trigger", known), Some("triggers"));
        assert_eq!(closest("IMAGE", known), Some("image"));
        assert_eq!(closest("replicas", known), None);
        assert_eq!(closest("x", []), None);
    }
}
