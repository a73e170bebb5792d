//! Kubernetes resource quantities: `250m`, `64Mi`, `1.5`, `2e3`.
//!
//! Only what is needed to check one, to compare two and to add bytes; rendering passes most texts on
//! unchanged.

/// Why a text is no quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a quantity such as 250m, 64Mi or 1.5")]
pub struct QuantityError;

/// Bytes, 1Mi: whoever asks for less forgot the unit, or took `m`, a thousandth, for one.
pub const LEAST_BYTES: f64 = 1_048_576.0;

/// A quantity without its unit.
pub fn number(text: &str) -> &str {
    text.trim_end_matches(|c: char| c.is_ascii_alphabetic())
}

/// Value of a quantity in its base unit. A `f64` is exact enough to compare and to check a sign.
pub fn parse(text: &str) -> Result<f64, QuantityError> {
    let end = text
        .char_indices()
        .find(|(at, c)| !(c.is_ascii_digit() || *c == '.' || (*at == 0 && matches!(c, '+' | '-'))))
        .map_or(text.len(), |(at, _)| at);
    let (number, suffix) = text.split_at(end);
    if !number.contains(|c: char| c.is_ascii_digit()) {
        return Err(QuantityError);
    }
    let number: f64 = number.parse().map_err(|_| QuantityError)?;
    Ok(number * scale(suffix)?)
}

/// A quantity of bytes that is larger by `bytes`, written as Kubernetes writes it; the text itself where
/// it is none.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a number of bytes that saturates
pub fn plus(text: &str, bytes: u64) -> String {
    let Ok(value) = parse(text) else { return text.to_owned() };
    let mut number = (value.ceil() as u64).saturating_add(bytes);
    let mut units = ["", "Ki", "Mi", "Gi", "Ti", "Pi"].into_iter();
    let mut unit = units.next();
    while number.is_multiple_of(1024) {
        let Some(larger) = units.next() else { break };
        (number, unit) = (number / 1024, Some(larger));
    }
    format!("{number}{}", unit.unwrap_or_default())
}

fn scale(suffix: &str) -> Result<f64, QuantityError> {
    let power = |base: f64, exponent: i32| Ok(base.powi(exponent));
    match suffix {
        "" => Ok(1.0),
        "n" => power(10.0, -9),
        "u" => power(10.0, -6),
        "m" => power(10.0, -3),
        "k" => power(10.0, 3),
        "M" => power(10.0, 6),
        "G" => power(10.0, 9),
        "T" => power(10.0, 12),
        "P" => power(10.0, 15),
        "E" => power(10.0, 18),
        "Ki" => power(1024.0, 1),
        "Mi" => power(1024.0, 2),
        "Gi" => power(1024.0, 3),
        "Ti" => power(1024.0, 4),
        "Pi" => power(1024.0, 5),
        "Ei" => power(1024.0, 6),
        exponent => {
            let digits = exponent.strip_prefix(['e', 'E']).ok_or(QuantityError)?;
            let exponent: i8 = digits.parse().map_err(|_| QuantityError)?;
            power(10.0, exponent.into())
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{parse, plus};

    #[test]
    fn reads_what_kubernetes_reads() {
        let cases = [
            ("0", Some(0.0)),
            ("1.5", Some(1.5)),
            (".5", Some(0.5)),
            ("5.", Some(5.0)),
            ("250m", Some(0.25)),
            ("64Mi", Some(67_108_864.0)),
            ("1k", Some(1000.0)),
            ("2e3", Some(2000.0)),
            ("1E", Some(1e18)),
            ("-1", Some(-1.0)),
            ("", None),
            (".", None),
            ("Mi", None),
            ("64MB", None),
            ("64 Mi", None),
            ("1.2.3", None),
            ("lots", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text).ok(), expected, "{text:?}");
        }
        assert!(parse("100m").unwrap() < parse("1").unwrap());
    }

    #[test]
    fn bytes_are_added() {
        const MORE: u64 = 64 << 20;
        for (text, expected) in [
            ("512Mi", "576Mi"),
            ("1Gi", "1088Mi"),
            ("960Mi", "1Gi"),
            ("0.5Gi", "576Mi"),
            ("500M", "567108864"),
            ("1Ki", "65537Ki"),
            ("much", "much"),
        ] {
            assert_eq!(plus(text, MORE), expected, "{text}");
        }
    }
}
