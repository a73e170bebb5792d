//! Durations as Go writes them: `1h30m`, `1.5s`, `-2m`, `0`.

use std::time::Duration;

/// Largest magnitude a duration's parts may reach: 2^63 nanoseconds.
const LIMIT: u64 = 1 << 63;

/// A duration; `None` where `text` is none, or is below zero.
pub fn parse(text: &str) -> Option<Duration> {
    u64::try_from(nanoseconds(text)?).ok().map(Duration::from_nanos)
}

/// Parses a duration into nanoseconds; `None` where Go's `time.ParseDuration` fails.
pub fn nanoseconds(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (part, after) = element(rest)?;
        total = total.checked_add(part).filter(|total| *total <= LIMIT)?;
        rest = after;
    }
    if negative {
        // 2^63 itself is representable only as a negative number.
        return Some(0i64.wrapping_sub_unsigned(total));
    }
    i64::try_from(total).ok()
}

/// One number with its unit, in nanoseconds, and the text after it.
fn element(text: &str) -> Option<(u64, &str)> {
    let (whole, rest) = digits(text);
    let (fraction, rest) = rest.strip_prefix('.').map_or(("", rest), digits);
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let end = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(end);
    let unit = unit_nanoseconds(unit)?;
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let whole = whole.checked_mul(unit).filter(|value| *value <= LIMIT)?;
    let value = whole.checked_add(scaled(fraction, unit)).filter(|value| *value <= LIMIT)?;
    Some((value, rest))
}

fn digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

/// `0.<fraction>` of a unit, truncated. Digits beyond the 18th cannot change a nanosecond of the
/// longest unit, an hour.
fn scaled(fraction: &str, unit: u64) -> u64 {
    let kept = &fraction[..fraction.len().min(18)];
    let value = kept.parse::<u128>().unwrap_or(0) * u128::from(unit);
    let scale = 10u128.pow(u32::try_from(kept.len()).unwrap_or(0));
    u64::try_from(value / scale).unwrap_or(u64::MAX)
}

fn unit_nanoseconds(unit: &str) -> Option<u64> {
    Some(match unit {
        "ns" => 1,
        // Both micro signs, U+00B5 and U+03BC.
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}
