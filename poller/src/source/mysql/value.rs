//! Values of MySQL's binary protocol: as JSON for the function, as text for keys, as parameters for
//! marks. Which of a value's forms is meant is decided by its column's type, never by its content.

use std::{
    fmt::Write as _,
    time::{Duration, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use mysql_async::{
    Column, Value,
    consts::{ColumnFlags, ColumnType},
};
use serde::de::IgnoredAny;

/// The character set of what is no text.
const BINARY: u16 = 63;
/// More digits of a second than there are mean that the server does not know how many.
const MAX_DIGITS: u8 = 6;

/// How a column's values are read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Integer,
    /// Digits after the point.
    Decimal(u8),
    Float,
    Double,
    Text,
    Binary,
    /// True where it has one bit, which is how ORMs store booleans.
    Bit(bool),
    Json,
    Date,
    /// Digits of a second.
    DateTime(u8),
    /// The same, in UTC.
    Timestamp(u8),
    Time(u8),
}

impl Kind {
    pub(super) fn of(column: &Column) -> Self {
        use ColumnType::*;
        let digits = column.decimals();
        match column.column_type() {
            MYSQL_TYPE_TINY | MYSQL_TYPE_SHORT | MYSQL_TYPE_INT24 | MYSQL_TYPE_LONG
            | MYSQL_TYPE_LONGLONG | MYSQL_TYPE_YEAR => Self::Integer,
            MYSQL_TYPE_DECIMAL | MYSQL_TYPE_NEWDECIMAL => Self::Decimal(digits),
            MYSQL_TYPE_FLOAT => Self::Float,
            MYSQL_TYPE_DOUBLE => Self::Double,
            MYSQL_TYPE_BIT => Self::Bit(column.column_length() == 1),
            MYSQL_TYPE_DATE | MYSQL_TYPE_NEWDATE => Self::Date,
            MYSQL_TYPE_DATETIME | MYSQL_TYPE_DATETIME2 => Self::DateTime(digits),
            MYSQL_TYPE_TIMESTAMP | MYSQL_TYPE_TIMESTAMP2 => Self::Timestamp(digits),
            MYSQL_TYPE_TIME | MYSQL_TYPE_TIME2 => Self::Time(digits),
            MYSQL_TYPE_JSON => Self::Json,
            MYSQL_TYPE_GEOMETRY | MYSQL_TYPE_VECTOR => Self::Binary,
            _ if column.character_set() != BINARY => Self::Text,
            _ if column.flags().intersects(ColumnFlags::ENUM_FLAG | ColumnFlags::SET_FLAG) => {
                Self::Text
            }
            _ => Self::Binary,
        }
    }

    /// Appends a value as JSON. Numbers keep every digit, JSON stays as it was written, what is no
    /// text is base64, and a date that is none is the string that the server has for it.
    pub(super) fn write_json(self, value: &Value, out: &mut Vec<u8>) {
        match (self, value) {
            (_, Value::NULL) => out.extend_from_slice(b"null"),
            (Self::Integer, Value::Int(_) | Value::UInt(_)) => {
                out.extend_from_slice(self.text(value).as_bytes());
            }
            (Self::Float | Self::Double, Value::Float(_) | Value::Double(_)) => {
                let text = self.text(value);
                let is_number = text.bytes().any(|byte| byte.is_ascii_digit());
                out.extend_from_slice(if is_number { text.as_bytes() } else { b"null" });
            }
            (Self::Decimal(_), Value::Bytes(bytes)) => out.extend_from_slice(number(bytes)),
            (Self::Json, Value::Bytes(bytes))
                if serde_json::from_slice::<IgnoredAny>(bytes).is_ok() =>
            {
                out.extend_from_slice(bytes);
            }
            (Self::Bit(is_flag), Value::Bytes(bytes)) => {
                let text = match (bit(bytes), is_flag) {
                    (0, true) => "false".to_owned(),
                    (1, true) => "true".to_owned(),
                    (number, _) => number.to_string(),
                };
                out.extend_from_slice(text.as_bytes());
            }
            (Self::Binary, Value::Bytes(bytes)) => {
                write_string(&BASE64.encode(bytes), out);
            }
            (Self::DateTime(digits), Value::Date(..)) => {
                write_string(&date_time(value, digits, 'T'), out);
            }
            // One that means no moment, as zero does; the others are written by `moment`.
            (Self::Timestamp(digits), Value::Date(..)) => {
                write_string(&(date_time(value, digits, 'T') + "+00:00"), out);
            }
            _ => match value {
                Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
                    Ok(text) => write_string(text, out),
                    Err(_) => write_string(&BASE64.encode(bytes), out),
                },
                value => write_string(&self.text(value), out),
            },
        }
    }

    /// A TIMESTAMP in UTC, whatever the time zone of the session is in which `value` is told: by the
    /// seconds since 1970 that the server has for it. `None` where it means no moment.
    pub(super) fn moment(self, value: &Value, seconds: &Value) -> Option<String> {
        let (Self::Timestamp(digits), Value::Date(1.., ..)) = (self, value) else { return None };
        let seconds = match seconds {
            Value::Bytes(text) => std::str::from_utf8(text).ok()?.to_owned(),
            Value::Int(seconds) => seconds.to_string(),
            Value::UInt(seconds) => seconds.to_string(),
            _ => return None,
        };
        let (seconds, fraction) = seconds.split_once('.').unwrap_or((&seconds, ""));
        let micros = format!("{fraction:0<6}").get(..6)?.parse().ok()?;
        let moment = UNIX_EPOCH.checked_add(Duration::from_secs(seconds.parse().ok()?))?;
        // Years beyond 9999 have no form, and no TIMESTAMP.
        let mut text = String::new();
        write!(text, "{}", humantime::format_rfc3339_seconds(moment)).ok()?;
        let fraction = self::fraction(micros, digits);
        Some(format!("{}{fraction}+00:00", text.strip_suffix('Z')?))
    }

    /// A value that is not NULL as text, from which [`Self::parse`] makes an equal one.
    pub(super) fn text(self, value: &Value) -> String {
        match value {
            Value::NULL => String::new(),
            Value::Int(number) => number.to_string(),
            Value::UInt(number) => number.to_string(),
            Value::Float(number) => short(format!("{number:?}")),
            Value::Double(number) => short(format!("{number:?}")),
            Value::Date(..) => match self {
                Self::Date => date(value),
                Self::DateTime(digits) | Self::Timestamp(digits) => date_time(value, digits, ' '),
                _ => date_time(value, MAX_DIGITS, ' '),
            },
            Value::Time(..) => {
                time(value, if let Self::Time(digits) = self { digits } else { MAX_DIGITS })
            }
            Value::Bytes(bytes) => match self {
                Self::Binary => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
                Self::Bit(_) => bit(bytes).to_string(),
                _ => String::from_utf8_lossy(bytes).into_owned(),
            },
        }
    }

    /// The other way round. `None` for text that is no such value.
    pub(super) fn parse(self, text: &str) -> Option<Value> {
        let unsigned = || text.parse().map(Value::UInt).ok();
        match self {
            Self::Integer => text.parse().map(Value::Int).ok().or_else(unsigned),
            Self::Bit(_) => unsigned(),
            Self::Float => text.parse().map(Value::Float).ok(),
            Self::Double => text.parse().map(Value::Double).ok(),
            Self::Binary => unhex(text).map(Value::Bytes),
            _ => Some(Value::Bytes(text.as_bytes().to_vec())),
        }
    }

    /// The parameter that stands for a value of this kind: itself, but that a bit field compares
    /// with numbers only.
    pub(super) fn parameter(self, value: &Value) -> Value {
        match (self, value) {
            (Self::Bit(_), Value::Bytes(bytes)) => Value::UInt(bit(bytes)),
            (_, value) => value.clone(),
        }
    }
}

/// Appends a JSON string.
pub(super) fn write_string(text: &str, out: &mut Vec<u8>) {
    // Writing to memory cannot fail, and a string has no key that could be wrong.
    let _ = serde_json::to_writer(out, text);
}

/// The number of a DECIMAL, without the zeros that ZEROFILL puts before it.
fn number(bytes: &[u8]) -> &[u8] {
    let needless = |pair: &[u8]| pair[0] == b'0' && pair[1].is_ascii_digit();
    let zeros = bytes.windows(2).take_while(|pair| needless(pair)).count();
    &bytes[zeros..]
}

/// A whole number has no fraction in JSON.
fn short(mut text: String) -> String {
    if text.ends_with(".0") {
        text.truncate(text.len() - 2);
    }
    text
}

/// At most 64 bits, the highest first.
fn bit(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

fn date(value: &Value) -> String {
    let Value::Date(year, month, day, ..) = value else { return String::new() };
    format!("{year:04}-{month:02}-{day:02}")
}

fn date_time(value: &Value, digits: u8, separator: char) -> String {
    let Value::Date(_, _, _, hour, minute, second, micros) = value else { return String::new() };
    let (date, fraction) = (date(value), fraction(*micros, digits));
    format!("{date}{separator}{hour:02}:{minute:02}:{second:02}{fraction}")
}

fn time(value: &Value, digits: u8) -> String {
    let Value::Time(negative, days, hours, minutes, seconds, micros) = value else {
        return String::new();
    };
    let sign = if *negative { "-" } else { "" };
    let (hours, fraction) = (days * 24 + u32::from(*hours), fraction(*micros, digits));
    format!("{sign}{hours:02}:{minutes:02}:{seconds:02}{fraction}")
}

/// As many digits as the column has.
fn fraction(micros: u32, digits: u8) -> String {
    match digits {
        0 => String::new(),
        1..=MAX_DIGITS => format!(".{micros:06}")[..=usize::from(digits)].to_owned(),
        _ if micros == 0 => String::new(),
        _ => format!(".{micros:06}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: Kind, value: &Value, json: &str, text: &str) {
        let mut out = Vec::new();
        kind.write_json(value, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), json);
        assert_eq!(kind.text(value), text);
        let parsed = kind.parse(text).unwrap();
        assert_eq!(kind.text(&parsed), text);
    }

    #[test]
    fn numbers_keep_every_digit() {
        check(Kind::Integer, &Value::Int(-5), "-5", "-5");
        check(
            Kind::Integer,
            &Value::UInt(u64::MAX),
            "18446744073709551615",
            "18446744073709551615",
        );
        let long = "-123456789012345678901234567890.000000001";
        check(Kind::Decimal(9), &Value::from(long), long, long);
        check(Kind::Decimal(2), &Value::from("0.50"), "0.50", "0.50");
        let mut zerofill = Vec::new();
        Kind::Decimal(2).write_json(&Value::from("000012.50"), &mut zerofill);
        assert_eq!(zerofill, b"12.50");
        check(Kind::Double, &Value::Double(0.1), "0.1", "0.1");
        check(Kind::Double, &Value::Double(1e300), "1e300", "1e300");
        check(Kind::Double, &Value::Double(3.0), "3", "3");
        check(Kind::Float, &Value::Float(0.1), "0.1", "0.1");
        check(Kind::Float, &Value::Float(f32::MAX), "3.4028235e38", "3.4028235e38");
    }

    #[test]
    fn dates_are_iso() {
        let moment = Value::Date(2026, 1, 2, 3, 4, 5, 678_900);
        let (json, text) = ("\"2026-01-02T03:04:05.6789\"", "2026-01-02 03:04:05.6789");
        check(Kind::DateTime(4), &moment, json, text);
        let (json, text) = ("\"2026-01-02T03:04:05+00:00\"", "2026-01-02 03:04:05");
        check(Kind::Timestamp(0), &moment, json, text);
        check(
            Kind::DateTime(31),
            &moment,
            "\"2026-01-02T03:04:05.678900\"",
            "2026-01-02 03:04:05.678900",
        );
        check(Kind::Date, &moment, "\"2026-01-02\"", "2026-01-02");
        let none = Value::Date(0, 0, 0, 0, 0, 0, 0);
        check(Kind::Date, &none, "\"0000-00-00\"", "0000-00-00");
        check(Kind::DateTime(0), &none, "\"0000-00-00T00:00:00\"", "0000-00-00 00:00:00");
        let long = Value::Time(true, 34, 22, 59, 59, 500_000);
        check(Kind::Time(1), &long, "\"-838:59:59.5\"", "-838:59:59.5");
        check(Kind::Time(0), &Value::Time(false, 0, 0, 0, 7, 0), "\"00:00:07\"", "00:00:07");
    }

    #[test]
    fn a_moment_is_told_in_utc() {
        // As a session in Berlin has it.
        let told = Value::Date(2026, 1, 2, 4, 4, 5, 678_900);
        let check = |digits, seconds: Value, expected: Option<&str>| {
            assert_eq!(Kind::Timestamp(digits).moment(&told, &seconds).as_deref(), expected);
        };
        check(3, Value::from("1767323045.678"), Some("2026-01-02T03:04:05.678+00:00"));
        check(6, Value::from("1767323045.678900"), Some("2026-01-02T03:04:05.678900+00:00"));
        check(0, Value::Int(1_767_323_045), Some("2026-01-02T03:04:05+00:00"));
        check(0, Value::NULL, None);
        let zero = Value::Date(0, 0, 0, 0, 0, 0, 0);
        assert_eq!(Kind::Timestamp(0).moment(&zero, &Value::Int(0)), None);
        assert_eq!(Kind::DateTime(0).moment(&told, &Value::Int(0)), None);
    }

    #[test]
    fn what_is_no_text_is_base64_and_its_key_hex() {
        let bytes = Value::Bytes(vec![0, 255, 16]);
        check(Kind::Binary, &bytes, "\"AP8Q\"", "00ff10");
        assert_eq!(Kind::Binary.parameter(&bytes), bytes);
        assert_eq!(Kind::Binary.parse("0"), None);
        assert_eq!(Kind::Integer.parse("x"), None);
    }

    /// Truthiness is what handlers ask of a boolean: base64 text would be true always.
    #[test]
    fn a_bit_is_a_boolean_and_several_are_a_number() {
        check(Kind::Bit(true), &Value::Bytes(vec![0]), "false", "0");
        check(Kind::Bit(true), &Value::Bytes(vec![1]), "true", "1");
        check(Kind::Bit(false), &Value::Bytes(vec![1]), "1", "1");
        check(Kind::Bit(false), &Value::Bytes(vec![1, 2]), "258", "258");
        let most = "18446744073709551615";
        check(Kind::Bit(false), &Value::Bytes(vec![255; 8]), most, most);
        assert_eq!(Kind::Bit(false).parameter(&Value::Bytes(vec![1, 2])), Value::UInt(258));
    }

    #[test]
    fn json_is_verbatim_and_text_is_escaped() {
        let json = r#"{"z": 1,  "a": 2.50}"#;
        check(Kind::Json, &Value::from(json), json, json);
        // A check constraint can be switched off.
        check(Kind::Json, &Value::from("{"), r#""{""#, "{");
        check(
            Kind::Text,
            &Value::from("a\"\\\n\u{1}ä😀"),
            r#""a\"\\\n\u0001ä😀""#,
            "a\"\\\n\u{1}ä😀",
        );
        let mut null = Vec::new();
        Kind::Text.write_json(&Value::NULL, &mut null);
        assert_eq!(null, b"null");
    }
}
