//! Headers: what a request and a response look like on the other side. Pure but for the request
//! id's randomness, which comes in as an argument.
//!
//! Hop-by-hop fields and those the sender nominated in `Connection` are dropped (RFC 9110 section
//! 7.6.1), but never a field this proxy adds itself. What a client says about who it is counts
//! only when it comes from a trusted proxy.

use std::{
    borrow::Cow,
    io::Write as _,
    net::{IpAddr, SocketAddr},
};

use ipnet::IpNet;
use smallvec::SmallVec;

use crate::{
    message::{
        body::Framing,
        field::{Class, Field, Fields},
        head::{RequestHead, ResponseHead, Version},
        trace::TraceParent,
    },
    source::SecurityHeaders,
};

/// Longest `X-Request-Id` taken over from a trusted proxy.
const MAX_REQUEST_ID: usize = 128;

/// Identifies one request in answers and logs. Holds only `[A-Za-z0-9._-]`.
pub type RequestId = SmallVec<[u8; 36]>;

/// A new request id: 128 random bits in hexadecimal.
pub fn new_request_id(random: u128) -> RequestId {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut id = [0; 32];
    for (digits, byte) in id.chunks_exact_mut(2).zip(random.to_be_bytes()) {
        digits.copy_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
    RequestId::from_slice(&id)
}

/// The peer of a downstream connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Its address, as text: it is written into every request.
    ip: Text,
    /// It is one of `--trusted-proxies`.
    pub trusted: bool,
    /// It speaks TLS to this proxy.
    pub tls: bool,
    /// It is another interceptor of the fleet.
    pub sibling: bool,
}

/// Longest address: an IPv6 one with an IPv4 tail.
const MAX_IP: usize = 45;

/// A short text that is copied, not shared.
#[derive(Clone, Copy, Debug)]
struct Text {
    bytes: [u8; MAX_IP],
    length: usize,
}

impl Peer {
    /// Looks the address up in the trusted networks.
    pub fn new(ip: IpAddr, tls: bool, trusted: &[IpNet]) -> Self {
        let ip = ip.to_canonical();
        let mut bytes = [0; MAX_IP];
        let mut rest = &mut bytes[..];
        // Every address fits.
        let _ = write!(rest, "{ip}");
        let length = MAX_IP - rest.len();
        let trusted = trusted.iter().any(|net| net.contains(&ip));
        Self { ip: Text { bytes, length }, trusted, tls, sibling: false }
    }

    /// The same as another interceptor, which is trusted.
    pub fn as_sibling(self) -> Self {
        Self { trusted: true, sibling: true, ..self }
    }

    /// Its address as text.
    fn ip(&self) -> &[u8] {
        &self.ip.bytes[..self.ip.length]
    }
}

/// What the rest of the exchange needs to know from the request's fields.
pub struct Forwarded {
    /// Its id: taken over from a trusted proxy, or new.
    pub request_id: RequestId,
    /// The client's own connection is encrypted, so HSTS may be sent.
    pub secure: bool,
}

/// What this proxy says in a request of its own.
pub struct RequestAdditions {
    /// The function gets events, which only its poller may describe.
    pub events: bool,
    /// A new request id.
    pub id: RequestId,
    /// The trace that the function is told of; `None` = what the client says of one passes.
    pub trace: Option<Trace>,
}

/// The trace that a request belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Trace {
    /// The span that the function's own are under.
    pub parent: TraceParent,
    /// The client named no trace, or none that is valid: its `tracestate` goes no further.
    pub restarted: bool,
}

/// The address of the client, as far as proxies are `trusted`: the nearest one that is no such proxy.
pub fn client(head: Option<&RequestHead<'_>>, peer: Peer, trusted: &[IpNet]) -> String {
    let peer_ip = String::from_utf8_lossy(peer.ip()).into_owned();
    let fields = head.filter(|_| peer.trusted).map(|head| head.fields.iter().rev());
    let said = fields.into_iter().flatten().filter(|f| f.class == Class::ForwardedFor);
    let mut nearest = None;
    for element in said.flat_map(|f| f.value.rsplit(|b| *b == b',')).map(<[u8]>::trim_ascii) {
        let text = std::str::from_utf8(element).unwrap_or_default();
        let with_port = || text.parse().map(|address: SocketAddr| address.ip());
        let Ok(ip) = text.parse::<IpAddr>().or_else(|_| with_port()) else { break };
        let ip = ip.to_canonical();
        nearest = Some(ip);
        if !trusted.iter().any(|net| net.contains(&ip)) {
            break;
        }
    }
    nearest.map_or(peer_ip, |ip| ip.to_string())
}

/// Is the client's own connection encrypted, as far as that is known?
pub fn is_secure(head: &RequestHead<'_>, peer: Peer) -> bool {
    proto(head, peer, &nominated(&head.fields)) == b"https"
}

/// What the client's own connection speaks: the peer's, or what a trusted one says last.
fn proto<'a>(head: &RequestHead<'a>, peer: Peer, nominated: &[&[u8]]) -> &'a [u8] {
    let own: &[u8] = if peer.tls { b"https" } else { b"http" };
    if !peer.trusted {
        return own;
    }
    let mut said = head.fields.iter().rev().filter(|f| f.class == Class::ForwardedProto);
    said.find(|field| !is_nominated(nominated, field)).map_or(own, |field| field.value)
}

/// How often the request was handed over between interceptors; only those are believed.
pub fn hops(head: &RequestHead<'_>, peer: Peer) -> u32 {
    let mut said = head.fields.iter().filter(|f| peer.sibling && f.class == Class::Hops);
    let value = said.next().and_then(|f| std::str::from_utf8(f.value).ok());
    value.and_then(|v| v.parse().ok()).unwrap_or(0)
}

/// Appends the request line and fields to send to the pod.
pub fn write_request(
    out: &mut Vec<u8>,
    head: &RequestHead<'_>,
    peer: Peer,
    framing: Framing,
    add: RequestAdditions,
) -> Forwarded {
    let (method, host) = (head.method.as_bytes(), head.host.as_bytes());
    for part in [method, b" ", &*head.target, b" HTTP/1.1\r\nhost: ", host, b"\r\n"] {
        out.extend_from_slice(part);
    }
    // RFC 9113 section 8.2.3: cookie crumbs are one field again before they go to HTTP/1.1.
    let crumbs = head.version == Version::Http2;
    let mut cookie = Vec::new();
    let forwarded = request_fields(head, peer, add, &mut |field| {
        if crumbs && field.name == "cookie" {
            cookie.extend_from_slice(if cookie.is_empty() { &b"cookie: "[..] } else { b"; " });
            cookie.extend_from_slice(field.value);
        } else {
            field.write(out);
        }
    });
    if !cookie.is_empty() {
        out.extend_from_slice(&cookie);
        out.extend_from_slice(b"\r\n");
    }
    match framing {
        Framing::Length(n) => write_length(out, n),
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        // Without it some servers wait for a body of POST and PUT.
        Framing::None if matches!(head.method, "POST" | "PUT" | "PATCH") => write_length(out, 0),
        Framing::None | Framing::Close => {}
    }
    if let Some(protocol) = head.upgrade {
        out.extend_from_slice(b"connection: upgrade\r\nupgrade: ");
        out.extend_from_slice(protocol);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    forwarded
}

fn write_length(out: &mut Vec<u8>, n: u64) {
    out.extend_from_slice(b"content-length: ");
    out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Hands every field of the forwarded request to `put`, without framing and `Host`.
pub fn request_fields(
    head: &RequestHead<'_>,
    peer: Peer,
    add: RequestAdditions,
    put: &mut dyn FnMut(Field<'_>),
) -> Forwarded {
    let nominated = nominated(&head.fields);
    let RequestAdditions { events, id: mut request_id, trace } = add;
    let mut known = Known::default();
    for field in &head.fields {
        if is_nominated(&nominated, field) {
            continue;
        }
        match field.class {
            Class::ForwardedFor if peer.trusted => known.client.push(field.value),
            Class::ForwardedHost if peer.trusted => known.host = Some(field.value),
            Class::ForwardedOther if peer.trusted => put(*field),
            Class::RequestId if peer.trusted && valid_request_id(field.value) => {
                request_id = RequestId::from_slice(field.value);
            }
            Class::Te if trailers_accepted(field) => {
                put(Field { value: b"trailers", ..*field });
            }
            Class::Event if !events => put(*field),
            Class::TraceParent if trace.is_none() => put(*field),
            Class::TraceState if trace.is_none_or(|trace| !trace.restarted) => put(*field),
            Class::EndToEnd
            | Class::Expect
            | Class::Date
            | Class::Product
            | Class::Csp
            | Class::Hsts
            | Class::NoSniff
            | Class::FrameOptions
            | Class::ReferrerPolicy => put(*field),
            _ => {}
        }
    }
    let proto = proto(head, peer, &nominated);
    let host = known.host.unwrap_or(head.host.as_bytes());
    let own = |name: &'static str, value| Field { name, value, class: Class::EndToEnd };
    if known.client.is_empty() {
        put(own("x-forwarded-for", peer.ip()));
    } else {
        // Another interceptor of the fleet is no hop of its own.
        if !peer.sibling {
            known.client.push(peer.ip());
        }
        let (name, value) = ("x-forwarded-for", &known.client.join(&b", "[..])[..]);
        put(Field { name, value, class: Class::EndToEnd });
    }
    put(own("x-forwarded-proto", proto));
    put(own("x-forwarded-host", host));
    put(own("x-request-id", &request_id));
    if let Some(trace) = trace {
        put(own("traceparent", &trace.parent.value()));
    }
    Forwarded { secure: proto == b"https", request_id }
}

/// What a trusted proxy said before us.
#[derive(Default)]
struct Known<'a> {
    client: SmallVec<[&'a [u8]; 2]>,
    host: Option<&'a [u8]>,
}

fn trailers_accepted(field: &Field<'_>) -> bool {
    field.elements().any(|e| e.eq_ignore_ascii_case(b"trailers"))
}

fn valid_request_id(value: &[u8]) -> bool {
    (1..=MAX_REQUEST_ID).contains(&value.len())
        && value.iter().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(b))
}

/// The connection options of a message: names of fields that are meant for one hop.
fn nominated<'a>(fields: &Fields<'a>) -> SmallVec<[&'a [u8]; 4]> {
    let mut names = SmallVec::new();
    for field in fields.iter().filter(|f| f.class == Class::Connection) {
        for element in field.value.split(|b| *b == b',').map(<[u8]>::trim_ascii) {
            let usual = [&b"close"[..], b"keep-alive", b"upgrade", b""];
            if !usual.iter().any(|u| element.eq_ignore_ascii_case(u)) {
                names.push(element);
            }
        }
    }
    names
}

/// Nominated by the sender, and not one that routes or frames the message.
fn is_nominated(nominated: &[&[u8]], field: &Field<'_>) -> bool {
    !nominated.is_empty()
        && !matches!(
            field.class,
            Class::Host | Class::ContentLength | Class::TransferEncoding | Class::Te
        )
        && nominated.iter().any(|n| field.name.as_bytes().eq_ignore_ascii_case(n))
}

/// Security header lines of one function, rendered once.
pub struct SecurityBlock {
    csp: Cow<'static, [u8]>,
}

const HSTS: &str = "max-age=31536000; includeSubDomains";
const NO_SNIFF: &str = "nosniff";
const FRAME_OPTIONS: &str = "SAMEORIGIN";
const REFERRER_POLICY: &str = "strict-origin-when-cross-origin";

impl SecurityBlock {
    /// Renders the Content-Security-Policy: `'self'` and the allowlist.
    pub fn new(headers: &SecurityHeaders) -> Self {
        let mut csp = Cow::Borrowed(&b"default-src 'self'"[..]);
        let allowed =
            |o: &&String| o.bytes().all(|b| (0x21..0x7f).contains(&b) && b != b';' && b != b',');
        for origin in headers.csp_allowlist.iter().filter(allowed) {
            csp.to_mut().push(b' ');
            csp.to_mut().extend_from_slice(origin.as_bytes());
        }
        Self { csp }
    }

    /// Hands the lines to `put` that the function did not set itself.
    fn fields(&self, set: Set, secure: bool, put: &mut dyn FnMut(Field<'_>)) {
        let mut own = |name, value, wanted| {
            if wanted {
                put(Field { name, value, class: Class::EndToEnd });
            }
        };
        own("content-security-policy", &self.csp[..], !set.csp);
        own("x-content-type-options", NO_SNIFF.as_bytes(), !set.no_sniff);
        own("x-frame-options", FRAME_OPTIONS.as_bytes(), !set.frame_options);
        own("referrer-policy", REFERRER_POLICY.as_bytes(), !set.referrer_policy);
        // RFC 6797 section 7.2: not over a connection that is not secure.
        own("strict-transport-security", HSTS.as_bytes(), secure && !set.hsts);
    }
}

/// Which of the security headers the function's own answer has: its own word counts.
#[derive(Clone, Copy, Default)]
struct Set {
    csp: bool,
    hsts: bool,
    no_sniff: bool,
    frame_options: bool,
    referrer_policy: bool,
}

/// What this proxy adds to a response.
pub struct Additions<'a> {
    /// `None` = the function has `noSecurityHeaders`: its fields pass untouched.
    pub security: Option<&'a SecurityBlock>,
    /// The client's connection is encrypted.
    pub secure: bool,
    /// `Server-Timing` of a cold start.
    pub server_timing: Option<String>,
    /// `Date` for a response without one (RFC 9110 section 6.6.1).
    pub date: fn() -> [u8; 29],
}

/// Hands every field of the forwarded response to `put`, without framing and connection options.
pub fn response_fields(
    head: &ResponseHead<'_>,
    add: &Additions<'_>,
    put: &mut dyn FnMut(Field<'_>),
) {
    let nominated = nominated(&head.fields);
    let (mut set, mut dated) = (Set::default(), false);
    for field in &head.fields {
        if is_nominated(&nominated, field) {
            continue;
        }
        match field.class {
            Class::Product if add.security.is_some() => continue,
            Class::ContentLength
            | Class::TransferEncoding
            | Class::Connection
            | Class::HopByHop
            | Class::Upgrade => continue,
            Class::Csp => set.csp = true,
            Class::Hsts => set.hsts = true,
            Class::NoSniff => set.no_sniff = true,
            Class::FrameOptions => set.frame_options = true,
            Class::ReferrerPolicy => set.referrer_policy = true,
            Class::Date => dated = true,
            _ => {}
        }
        put(*field);
    }
    let own = |name, value| Field { name, value, class: Class::EndToEnd };
    // RFC 9110 section 6.6.1: not on 1xx, where there is no content to date.
    if !dated && head.status >= 200 {
        put(Field { name: "date", value: &(add.date)(), class: Class::EndToEnd });
    }
    if head.status < 200 {
        return;
    }
    if let Some(security) = add.security {
        security.fields(set, add.secure, put);
    }
    if let Some(timing) = &add.server_timing {
        put(own("server-timing", timing.as_bytes()));
    }
}

/// Appends the status line and fields to send to an HTTP/1 client.
pub fn write_response(
    out: &mut Vec<u8>,
    head: &ResponseHead<'_>,
    add: &Additions<'_>,
    framing: Framing,
    connection: ConnectionOption,
) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(itoa::Buffer::new().format(head.status).as_bytes());
    out.push(b' ');
    out.extend_from_slice(head.reason.as_bytes());
    out.extend_from_slice(b"\r\n");
    response_fields(head, add, &mut |field| field.write(out));
    match framing {
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Framing::Length(n) => write_length(out, n),
        Framing::None | Framing::Close => {}
    }
    // A HEAD answer and a 304 describe the body that is not sent.
    if framing == Framing::None && head.status >= 200 && head.status != 204 {
        let length = head.fields.iter().find(|f| f.class == Class::ContentLength);
        if let Some(field) = length {
            Field { name: "content-length", ..*field }.write(out);
        }
    }
    match connection {
        ConnectionOption::Keep => {}
        ConnectionOption::KeepHttp10 => out.extend_from_slice(b"connection: keep-alive\r\n"),
        ConnectionOption::Close => out.extend_from_slice(b"connection: close\r\n"),
        ConnectionOption::Upgrade => {
            out.extend_from_slice(b"connection: upgrade\r\n");
            for field in head.fields.iter().filter(|f| f.class == Class::Upgrade) {
                field.write(out);
            }
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// What the response says about the client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionOption {
    /// Nothing: it stays, as HTTP/1.1 has it.
    Keep,
    /// It stays, said to an HTTP/1.0 client that asked.
    KeepHttp10,
    /// It closes after this response.
    Close,
    /// It becomes a tunnel.
    Upgrade,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "headers_tests.rs"]
mod tests;
