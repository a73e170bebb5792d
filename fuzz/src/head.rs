//! Heads of HTTP/1: never read from a part of themselves, and never sent on in a form that reads
//! differently.

use std::net::{IpAddr, Ipv4Addr};

use kipper_interceptor::{
    headers::{
        Additions, Peer, RequestAdditions, Trace, new_request_id, response_fields, write_request,
    },
    message::{
        field::{Class, Field},
        head::{RequestHead, parse_request, parse_response},
        section::HeadLimits,
        trace::TraceParent,
    },
};

pub(crate) const MOST_FIELDS: usize = 40;
const LIMITS: HeadLimits = HeadLimits { bytes: 4 << 10, fields: MOST_FIELDS };
/// A forwarded head has a few fields more than the one that came.
const FORWARDED: HeadLimits = HeadLimits { bytes: 32 << 10, fields: 2 * MOST_FIELDS };

/// A request's head, and the one that a pod gets for it.
pub fn request_head(data: &[u8]) {
    let Ok(Some((head, length))) = parse_request(data, LIMITS) else { return };
    assert!(length <= data.len().min(LIMITS.bytes));
    let part = parse_request(&data[..length - 1], LIMITS);
    assert!(!matches!(part, Ok(Some(_))), "read from a part of it");
    forwarded(&head);
}

/// The head that a pod gets for this one of a client whose word does not count reads the same.
pub(crate) fn forwarded(head: &RequestHead<'_>) {
    let stranger = Peer::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), false, &[]);
    let mut out = Vec::new();
    let framing = head.framing();
    let span = TraceParent::of(&head.fields).map(|parent| parent.child(7));
    let trace = span.map(|parent| Trace { parent, restarted: false });
    let add = RequestAdditions { events: true, id: new_request_id(7), trace };
    write_request(&mut out, head, stranger, framing, add);
    let again = parse_request(&out, FORWARDED);
    let (again, read) = again.expect("a forwarded head is valid").expect("and whole");
    assert_eq!(read, out.len());
    assert_eq!((again.method, &again.target), (head.method, &head.target));
    assert_eq!((again.host, again.framing()), (head.host, framing));
    assert_eq!(again.upgrade, head.upgrade);
    assert_eq!(values(&again, "x-forwarded-for"), [b"192.0.2.1"]);
    assert_eq!(values(&again, "x-forwarded-host"), [head.host.as_bytes()]);
    assert!(span.is_none() || TraceParent::of(&again.fields) == span);
    assert!(again.fields.iter().all(|f| f.class != Class::HopByHop));
    let ours =
        |f: &Field<'_>| f.name.to_ascii_lowercase().starts_with("kipper-") && f.name.len() > 7;
    assert!(!again.fields.iter().any(ours));
}

fn values<'a>(head: &RequestHead<'a>, name: &str) -> Vec<&'a [u8]> {
    let same = |f: &&Field<'_>| f.name.replace('_', "-").eq_ignore_ascii_case(name);
    head.fields.iter().filter(same).map(|f| f.value).collect()
}

/// A pod's head, and the fields that a client gets for it. The first byte says whether it answers a HEAD request.
pub fn response_head(data: &[u8]) {
    let Some((first, data)) = data.split_first() else { return };
    let to_head = first & 1 == 1;
    let Ok(Some((head, length))) = parse_response(data, LIMITS, to_head) else { return };
    assert!(length <= data.len().min(LIMITS.bytes));
    let part = parse_response(&data[..length - 1], LIMITS, to_head);
    assert!(!matches!(part, Ok(Some(_))), "read from a part of it");
    assert!((100..600).contains(&head.status));
    let add = Additions {
        security: None,
        secure: false,
        server_timing: None,
        date: || *b"Thu, 01 Jan 1970 00:00:00 GMT",
    };
    response_fields(&head, &add, &mut |field| {
        assert!(!field.name.is_empty());
        let bad = |b: &u8| matches!(b, b'\r' | b'\n' | 0);
        assert!(!field.value.iter().any(bad) && !field.name.as_bytes().iter().any(bad));
        assert!(!matches!(field.class, Class::ContentLength | Class::TransferEncoding));
    });
}
