//! How many tokens a text has, about.
//!
//! Vocabularies differ, and none can be shipped for a model that is not known. What they have in
//! common: a word of English is about one token, a longer one two; digits and punctuation take more,
//! white space takes little, other scripts take more the more letters they have. The sum of a weight
//! for each character comes within 25 % of two current vocabularies (`tests/it/estimate.rs`), and is
//! easy to have in any language.

/// Hundredths of a token.
mod weight {
    /// For each word of Latin letters; a capital behind a small letter begins one.
    pub(super) const WORD: u64 = 38;
    /// For each Latin letter.
    pub(super) const LETTER: u64 = 15;
    /// Beside that, for one with an accent.
    pub(super) const ACCENT: u64 = 140;
    pub(super) const DIGIT: u64 = 70;
    pub(super) const PUNCTUATION: u64 = 60;
    pub(super) const LINE: u64 = 30;
    /// For each letter of a script between Greek and the ideographs.
    pub(super) const OTHER: u64 = 31;
    /// For each ideograph, kana, syllable, symbol.
    pub(super) const WIDE: u64 = 80;
}

/// Where the scripts other than Latin begin: Greek.
const OTHER: char = '\u{370}';
/// Where the ideographs begin.
const WIDE: char = '\u{2e80}';

/// About as many tokens as the text has.
pub(crate) fn estimate(text: &str) -> u64 {
    let mut sum = 0;
    let mut before = ' ';
    for c in text.chars() {
        sum += match c {
            _ if is_latin(c) => {
                let word =
                    !is_latin(before) || (c.is_ascii_uppercase() && !before.is_ascii_uppercase());
                let accent = if c.is_ascii() { 0 } else { weight::ACCENT };
                weight::LETTER + accent + if word { weight::WORD } else { 0 }
            }
            '0'..='9' => weight::DIGIT,
            '\n' => weight::LINE,
            _ if c.is_ascii_punctuation() => weight::PUNCTUATION,
            _ if c < OTHER => 0,
            _ if c < WIDE => weight::OTHER,
            _ => weight::WIDE,
        };
        before = c;
    }
    sum.div_ceil(100)
}

/// A Latin letter. What else stands before Greek in Unicode, such as `§`, counts as one too.
fn is_latin(c: char) -> bool {
    c.is_ascii_alphabetic() || ('\u{a1}'..OTHER).contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_with_the_text() {
        for (text, expected) in [
            ("", 0),
            ("a", 1),
            ("hello", 2),
            ("hello world", 3),
            ("customerClient", 3),
            ("HTTP", 1),
            ("12345", 4),
            ("    \t  ", 0),
            ("\u{4f60}\u{597d}", 2),
            ("\u{43f}\u{440}\u{438}\u{432}\u{435}\u{442}", 2),
            ("\u{e9}", 2),
        ] {
            assert_eq!(estimate(text), expected, "{text:?}");
        }
    }
}
