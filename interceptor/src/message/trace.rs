//! W3C Trace Context (<https://www.w3.org/TR/trace-context/>): the `traceparent` of a request. Pure.
//!
//! `tracestate` belongs to tracing systems; this proxy passes it on as it came, or drops it with a
//! `traceparent` that is invalid.

use std::{io::Write as _, str};

use super::field::{Class, Fields};

/// Length of a `traceparent` of version 00.
const LENGTH: usize = 55;
/// The sender records this trace.
const SAMPLED: u8 = 1;
/// The trace id is random (Trace Context Level 2); whoever goes on with the trace keeps it.
const RANDOM: u8 = 2;

/// Names a span that other spans are under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    pub trace_id: u128,
    pub span_id: u64,
    pub flags: u8,
}

impl TraceParent {
    /// The one of a head, if it has exactly one and that is valid.
    pub fn of(fields: &Fields<'_>) -> Option<Self> {
        let mut found = fields.iter().filter(|f| f.class == Class::TraceParent);
        let (first, second) = (found.next()?, found.next());
        second.is_none().then(|| Self::parse(first.value)).flatten()
    }

    /// Section 3.2: a version that is not known yet is read as far as version 00 goes.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (known, rest) = value.split_at_checked(LENGTH)?;
        let [version, trace_id, span_id, flags] = parts(known)?;
        let version = hex(version)?;
        let goes_on = version > 0 && rest.first() == Some(&b'-');
        if version == 0xff || !(rest.is_empty() || goes_on) {
            return None;
        }
        let parent = Self {
            trace_id: hex(trace_id)?,
            span_id: u64::try_from(hex(span_id)?).ok()?,
            flags: u8::try_from(hex(flags)?).ok()?,
        };
        (parent.trace_id != 0 && parent.span_id != 0).then_some(parent)
    }

    /// A new trace, whose id is random.
    pub fn root(trace_id: u128, span_id: u64) -> Self {
        // 0 is invalid, for both.
        Self { trace_id: trace_id.max(1), span_id: span_id.max(1), flags: RANDOM }
    }

    /// Another span of the same trace.
    #[must_use]
    pub fn child(self, span_id: u64) -> Self {
        Self { span_id: span_id.max(1), flags: self.flags & RANDOM, ..self }
    }

    /// The same, said to be recorded or not.
    #[must_use]
    pub fn sampled_as(self, sampled: bool) -> Self {
        Self { flags: (self.flags & !SAMPLED) | u8::from(sampled), ..self }
    }

    /// Its sender says that it is recorded.
    pub fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The value of the field, in version 00.
    pub fn value(self) -> [u8; LENGTH] {
        let mut value = [0; LENGTH];
        let Self { trace_id, span_id, flags } = self;
        // It has the room.
        let _ = write!(&mut value[..], "00-{trace_id:032x}-{span_id:016x}-{flags:02x}");
        value
    }
}

/// Version, trace id, parent id and flags, of the lengths that they must have.
fn parts(value: &[u8]) -> Option<[&[u8]; 4]> {
    let parts = [value.get(..2)?, value.get(3..35)?, value.get(36..52)?, value.get(53..55)?];
    [2, 35, 52].iter().all(|at| value.get(*at) == Some(&b'-')).then_some(parts)
}

/// Upper case is invalid (section 3.2.2), and so is a sign.
fn hex(digits: &[u8]) -> Option<u128> {
    let valid = digits.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let digits = valid.then(|| str::from_utf8(digits).ok()).flatten()?;
    u128::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331";

    #[test]
    fn only_what_the_specification_allows_is_read() {
        let check = |value: &str, flags: Option<u8>| {
            let parent = flags.map(|flags| TraceParent {
                trace_id: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c,
                span_id: 0xb7ad_6b71_6920_3331,
                flags,
            });
            assert_eq!(TraceParent::parse(value.as_bytes()), parent, "{value}");
        };
        check(&format!("00-{TRACE}-01"), Some(1));
        check(&format!("00-{TRACE}-00"), Some(0));
        check(&format!("00-{TRACE}-ff"), Some(0xff));
        check(&format!("cc-{TRACE}-01"), Some(1));
        check(&format!("cc-{TRACE}-01-what-the-future-will-be"), Some(1));
        check(&format!("00-{TRACE}-01-x"), None);
        check(&format!("cc-{TRACE}-01.x"), None);
        check(&format!("cc-{TRACE}-011"), None);
        check(&format!("ff-{TRACE}-01"), None);
        check(&format!("0-{TRACE}-01"), None);
        check(&format!("00-{TRACE}-1"), None);
        check(&format!("00-{TRACE}-0x"), None);
        check(&format!("00-{TRACE}"), None);
        check(&format!("00-{}-01", TRACE.to_uppercase()), None);
        check(&format!("00_{TRACE}_01"), None);
        check(&format!(" 00-{TRACE}-01"), None);
        check("00-00000000000000000000000000000000-b7ad6b7169203331-01", None);
        check("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", None);
        check("00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None);
        check("", None);
    }

    #[test]
    fn what_is_written_is_read() {
        for parent in [
            TraceParent::root(u128::MAX, u64::MAX).sampled_as(true),
            TraceParent::root(0, 0),
            TraceParent::root(7, 9).child(0).sampled_as(true).sampled_as(false),
        ] {
            assert_eq!(TraceParent::parse(&parent.value()), Some(parent));
        }
    }

    #[test]
    fn a_child_keeps_what_is_of_the_trace() {
        let parent = TraceParent { trace_id: 7, span_id: 8, flags: 0xff };
        assert_eq!(parent.child(9), TraceParent { trace_id: 7, span_id: 9, flags: RANDOM });
        assert!(parent.is_sampled() && !parent.child(9).is_sampled());
    }
}
