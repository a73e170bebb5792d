//! Header fields: one borrowed from a head, and what its name means to a proxy. Pure.

use smallvec::SmallVec;

/// Says how often a request was handed over between interceptors.
pub const HOPS: &str = "kipper-hops";

/// What a field name means to a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Passed on as it is.
    EndToEnd,
    Host,
    ContentLength,
    TransferEncoding,
    Connection,
    /// Meant for one hop: `Keep-Alive`, `Proxy-Connection`, `Proxy-Authenticate`, …
    HopByHop,
    Te,
    Upgrade,
    Expect,
    /// `X-Forwarded-*`, `Forwarded`, `X-Real-Ip`: who the client says it is.
    ForwardedFor,
    ForwardedProto,
    ForwardedHost,
    ForwardedOther,
    RequestId,
    /// W3C Trace Context: the span that the request is under, and what tracing systems add.
    TraceParent,
    TraceState,
    /// How often a request was handed over between interceptors.
    Hops,
    /// `kipper-*`, which only our own components say to each other.
    Ours,
    /// `ce-*`: an attribute of an event (CloudEvents HTTP binding, section 3.1.3).
    Event,
    Date,
    /// `Server`, `X-Powered-By`.
    Product,
    Csp,
    Hsts,
    NoSniff,
    FrameOptions,
    ReferrerPolicy,
}

impl Class {
    /// Trailers must not frame, route or authenticate (RFC 9110 section 6.5.1).
    fn allowed_in_trailers(self) -> bool {
        self == Self::EndToEnd
    }
}

/// A name that a CGI-like server reads as one that frames or routes the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imitation;

impl Imitation {
    /// The rule that was broken.
    pub fn rule(self) -> &'static str {
        "a field name imitates one that frames the message"
    }
}

/// What a received name means, in every head and trailer section of either protocol. Servers that
/// put fields into variables do not tell `_` from `-`: a name that would become one by which this
/// proxy says who the client is goes no further, and one that would frame or route is refused.
pub fn identify(name: &str) -> Result<Class, Imitation> {
    let class = classify(name);
    if class != Class::EndToEnd || !name.contains('_') {
        return Ok(class);
    }
    match classify_alias(name) {
        Class::EndToEnd => Ok(class),
        Class::ForwardedFor
        | Class::ForwardedHost
        | Class::ForwardedProto
        | Class::ForwardedOther
        | Class::RequestId => Ok(Class::HopByHop),
        _ => Err(Imitation),
    }
}

/// Trailers as lines, without those that must not be trailers.
pub fn trailer_section<'a>(
    fields: impl Iterator<Item = (&'a str, &'a [u8])>,
) -> Result<Vec<u8>, Imitation> {
    let mut out = Vec::new();
    for (name, value) in fields {
        let class = identify(name)?;
        if class.allowed_in_trailers() {
            Field { name, value, class }.write(&mut out);
        }
    }
    Ok(out)
}

/// Classifies a field name, whatever its case.
fn classify(name: &str) -> Class {
    let known: &[(&str, Class)] = match name.len() {
        2 => &[("te", Class::Te)],
        4 => &[("host", Class::Host), ("date", Class::Date)],
        6 => &[("expect", Class::Expect), ("server", Class::Product)],
        7 => &[("upgrade", Class::Upgrade)],
        9 => &[("forwarded", Class::ForwardedOther), ("x-real-ip", Class::ForwardedOther)],
        10 => &[
            ("connection", Class::Connection),
            ("keep-alive", Class::HopByHop),
            ("tracestate", Class::TraceState),
        ],
        11 => &[(HOPS, Class::Hops), ("traceparent", Class::TraceParent)],
        12 => &[("x-request-id", Class::RequestId), ("x-powered-by", Class::Product)],
        14 => &[("content-length", Class::ContentLength)],
        15 => &[
            ("x-forwarded-for", Class::ForwardedFor),
            ("x-frame-options", Class::FrameOptions),
            ("referrer-policy", Class::ReferrerPolicy),
        ],
        16 => &[
            ("x-forwarded-host", Class::ForwardedHost),
            ("x-forwarded-port", Class::ForwardedOther),
            ("proxy-connection", Class::HopByHop),
        ],
        17 => &[
            ("transfer-encoding", Class::TransferEncoding),
            ("x-forwarded-proto", Class::ForwardedProto),
        ],
        18 => &[
            ("x-forwarded-server", Class::ForwardedOther),
            ("x-forwarded-prefix", Class::ForwardedOther),
            ("proxy-authenticate", Class::HopByHop),
        ],
        19 => &[("proxy-authorization", Class::HopByHop)],
        22 => &[("x-content-type-options", Class::NoSniff)],
        23 => &[("content-security-policy", Class::Csp)],
        25 => &[
            ("strict-transport-security", Class::Hsts),
            ("proxy-authentication-info", Class::HopByHop),
        ],
        _ => &[],
    };
    known
        .iter()
        .find(|(known, _)| name.eq_ignore_ascii_case(known))
        .map_or_else(|| by_prefix(name), |(_, class)| *class)
}

/// Names of which the first part says enough, with `_` or `-` behind it.
fn by_prefix(name: &str) -> Class {
    let starts = |prefix: &str| {
        let Some((start, [b'-' | b'_', _, ..])) = name.as_bytes().split_at_checked(prefix.len())
        else {
            return false;
        };
        start.eq_ignore_ascii_case(prefix.as_bytes())
    };
    match name.as_bytes().first() {
        Some(b'k' | b'K') if starts("kipper") => Class::Ours,
        Some(b'c' | b'C') if starts("ce") => Class::Event,
        _ => Class::EndToEnd,
    }
}

/// The class a name would have if `_` meant `-`, as CGI-like servers read it.
fn classify_alias(name: &str) -> Class {
    let mut alias = [0_u8; 32];
    let Some(slot) = alias.get_mut(..name.len()) else { return Class::EndToEnd };
    for (to, from) in slot.iter_mut().zip(name.bytes()) {
        *to = if from == b'_' { b'-' } else { from };
    }
    std::str::from_utf8(slot).map_or(Class::EndToEnd, classify)
}

/// One header field, borrowed from the head.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    pub name: &'a str,
    pub value: &'a [u8],
    pub class: Class,
}

impl Field<'_> {
    /// Appends the field as a line.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.name.as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(self.value);
        out.extend_from_slice(b"\r\n");
    }

    /// The comma-separated elements of the value, trimmed, without empty ones.
    pub fn elements(&self) -> impl Iterator<Item = &[u8]> {
        self.value.split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|e| !e.is_empty())
    }
}

/// The fields of one head, in order.
pub type Fields<'a> = SmallVec<[Field<'a>; 24]>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imitations_are_dropped_or_refused() {
        let check = |name: &str, expected| assert_eq!(identify(name), expected, "{name}");
        check("X-Forwarded-For", Ok(Class::ForwardedFor));
        check("x_forwarded_for", Ok(Class::HopByHop));
        check("X_Real_IP", Ok(Class::HopByHop));
        check("x_request-id", Ok(Class::HopByHop));
        check("x_forwarded_proto", Ok(Class::HopByHop));
        check("content_length", Err(Imitation));
        check("Transfer_Encoding", Err(Imitation));
        check("my_own_field", Ok(Class::EndToEnd));
    }

    #[test]
    fn names_of_ours_and_of_events() {
        let check = |name: &str, expected| assert_eq!(identify(name), Ok(expected), "{name}");
        let long = "x".repeat(200);
        check("kipper-hops", Class::Hops);
        check("kipper_hops", Class::Ours);
        check("kipper-attempt", Class::Ours);
        check("Kipper_Event-Token", Class::Ours);
        check(&format!("kipper_{long}"), Class::Ours);
        check("ce-id", Class::Event);
        check("CE_Type", Class::Event);
        check(&format!("ce_{long}"), Class::Event);
        check("kipper", Class::EndToEnd);
        check("kipper-", Class::EndToEnd);
        check("kippers-1", Class::EndToEnd);
        check("cell-id", Class::EndToEnd);
        check("x-ce-id", Class::EndToEnd);
    }

    #[test]
    fn trailers_neither_frame_nor_imitate() {
        let check = |name: &str, expected: Result<&str, Imitation>| {
            let section = trailer_section([(name, &b"1"[..])].into_iter());
            assert_eq!(section, expected.map(|e| e.as_bytes().to_vec()), "{name}");
        };
        check("x-sum", Ok("x-sum: 1\r\n"));
        check("content-length", Ok(""));
        check("x-forwarded-for", Ok(""));
        check("x_forwarded_for", Ok(""));
        check("kipper-attempt", Ok(""));
        check("ce_id", Ok(""));
        check("content_length", Err(Imitation));
    }
}
