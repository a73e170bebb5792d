//! One of the five fields: its bounds, its names, and the set of values a text selects.

use super::error::CronError;

/// The values a field selects, as bits, and whether a star made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field {
    bits: u64,
    star: bool,
}

impl Field {
    /// True when `value` is selected.
    pub(super) fn has(self, value: i8) -> bool {
        u32::try_from(value).is_ok_and(|value| value < 64 && self.bits >> value & 1 == 1)
    }

    /// True for `*` and `?`, alone, with step 1 or in a list: the field is then unrestricted for
    /// the rule that joins the two day fields. `*/2` is a restriction.
    pub(super) fn is_star(self) -> bool {
        self.star
    }

    /// The selected values, ascending.
    pub(super) fn values(self) -> impl Iterator<Item = i8> {
        (0..64).filter(move |value| self.has(*value))
    }
}

/// Bounds and names of a field.
pub(super) struct Bounds {
    label: &'static str,
    min: u8,
    max: u8,
    /// Names of the values from `min` on; empty when the field has none.
    names: &'static [&'static str],
}

pub(super) const MINUTE: Bounds = Bounds { label: "minute", min: 0, max: 59, names: &[] };
pub(super) const HOUR: Bounds = Bounds { label: "hour", min: 0, max: 23, names: &[] };
pub(super) const DAY: Bounds = Bounds { label: "day of month", min: 1, max: 31, names: &[] };
pub(super) const MONTH: Bounds = Bounds {
    label: "month",
    min: 1,
    max: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
pub(super) const WEEKDAY: Bounds = Bounds {
    label: "day of week",
    min: 0,
    max: 6,
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
};

impl Bounds {
    /// Parses a list of ranges. Empty elements are skipped, so `,` selects nothing and is
    /// accepted; such a schedule never fires.
    pub(super) fn parse(&self, text: &str) -> Result<Field, CronError> {
        let mut field = Field { bits: 0, star: false };
        for range in text.split(',').filter(|range| !range.is_empty()) {
            let part = self
                .range(range)
                .map_err(|problem| CronError::Field { field: self.label, problem })?;
            field.bits |= part.bits;
            field.star |= part.star;
        }
        Ok(field)
    }

    /// Parses `*`, `?`, `n`, `n-m`, each with an optional `/step`. `n/step` runs to the end of the
    /// field. What follows a star and a hyphen is ignored, as the original does.
    fn range(&self, text: &str) -> Result<Field, String> {
        let mut slashes = text.split('/');
        let (range, step) = (slashes.next().unwrap_or(""), slashes.next());
        if slashes.next().is_some() {
            return Err(format!("{text:?} has too many slashes"));
        }
        let mut hyphens = range.split('-');
        let (low, high) = (hyphens.next().unwrap_or(""), hyphens.next());
        let any = matches!(low, "*" | "?");
        let (start, mut end) = if any {
            (u64::from(self.min), u64::from(self.max))
        } else {
            if hyphens.next().is_some() {
                return Err(format!("{text:?} has too many hyphens"));
            }
            let start = self.value(low)?;
            (start, high.map_or(Ok(start), |high| self.value(high))?)
        };
        let step = match step {
            None => 1,
            Some(step) => {
                if high.is_none() {
                    end = u64::from(self.max);
                }
                number(step)?
            }
        };
        self.check(text, start, end, step)?;
        let bits = (start..=end).step_by(usize::try_from(step).unwrap_or(usize::MAX));
        Ok(Field { bits: bits.fold(0, |bits, value| bits | 1 << value), star: any && step == 1 })
    }

    fn check(&self, text: &str, start: u64, end: u64, step: u64) -> Result<(), String> {
        let (min, max) = (self.min, self.max);
        if start < min.into() || end > max.into() {
            return Err(format!("{text:?} is not within {min}-{max}"));
        }
        if start > end {
            return Err(format!("{text:?} ends before it begins"));
        }
        if step == 0 {
            return Err(format!("{text:?} has a step of zero"));
        }
        Ok(())
    }

    /// A number, or a name in any case.
    fn value(&self, text: &str) -> Result<u64, String> {
        // One character becomes one character here, as in Go's lower-casing.
        let lower: String = text.chars().filter_map(|c| c.to_lowercase().next()).collect();
        let named = self.names.iter().zip(u64::from(self.min)..).find(|(name, _)| **name == lower);
        named.map_or_else(|| number(text), |(_, value)| Ok(value))
    }
}

/// A decimal number with an optional sign that fits 63 bits; a negative one is refused, `-0` is 0.
fn number(text: &str) -> Result<u64, String> {
    let refuse = || format!("{text:?} is not a number");
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(refuse());
    }
    let value = digits.parse::<i64>().map_err(|_| refuse())?;
    match u64::try_from(value) {
        Ok(0) => Ok(0),
        Ok(value) if !negative => Ok(value),
        _ => Err(refuse()),
    }
}
