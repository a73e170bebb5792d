//! The value of a flag that is a duration, as every command takes it. Pure.

use std::time::Duration;

/// Longest of every duration: far beyond any use, far below an overflow of a clock.
const MAX: Duration = Duration::from_secs(3650 * 24 * 3600);

/// A number with its unit, or several of them: `30s`, `1h30m`, `7d`.
///
/// # Errors
/// What it has to look like.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| match error {
        humantime::DurationError::NumberOverflow => too_long(),
        _ => {
            "expected a number with a unit (ms, s, m, h or d), such as 30s, 5m, 1h30m or 7d".into()
        }
    })?;
    if duration > MAX { Err(too_long()) } else { Ok(duration) }
}

/// Seconds: a number of them, or a duration of whole ones.
///
/// # Errors
/// What it has to look like.
pub(crate) fn seconds(text: &str) -> Result<i64, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(seconds);
    }
    let duration = parse(text).ok().filter(|duration| duration.subsec_nanos() == 0);
    let seconds = duration.and_then(|duration| i64::try_from(duration.as_secs()).ok());
    seconds.ok_or_else(|| {
        "expected a number of seconds, or one with a unit, such as 300, 5m or 1h30m".to_owned()
    })
}

fn too_long() -> String {
    "must be at most 3650d".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_need_none() {
        for (text, expected) in [
            ("300", Some(300)),
            ("-1", Some(-1)),
            ("5m", Some(300)),
            ("1h30m", Some(5400)),
            ("1500ms", None),
            ("5 apples", None),
            ("", None),
        ] {
            assert_eq!(seconds(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn a_duration_has_a_unit() {
        let seconds = |seconds| Ok(Duration::from_secs(seconds));
        let form = "expected a number with a unit (ms, s, m, h or d), such as 30s, 5m, 1h30m or 7d";
        for (text, expected) in [
            ("30s", seconds(30)),
            ("5min", seconds(300)),
            ("1h30m", seconds(5400)),
            ("7d", seconds(604_800)),
            ("7days", seconds(604_800)),
            ("7 days", seconds(604_800)),
            ("3650d", seconds(315_360_000)),
            ("3651d", Err(too_long())),
            ("99999999999999999999d", Err(too_long())),
            ("7", Err(form.to_owned())),
            ("7dayz", Err(form.to_owned())),
            ("d", Err(form.to_owned())),
            ("-5m", Err(form.to_owned())),
            ("soon", Err(form.to_owned())),
            ("", Err(form.to_owned())),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}
