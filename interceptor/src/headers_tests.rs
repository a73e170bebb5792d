use super::*;
use crate::message::{
    head::{parse_request, parse_response},
    section::HeadLimits,
};

const LIMITS: HeadLimits = HeadLimits { bytes: 4096, fields: 100 };

fn sent(text: &str, trusted: bool) -> String {
    let (head, _) = parse_request(text.as_bytes(), LIMITS).unwrap().unwrap();
    let own: IpNet = "192.0.2.7/32".parse().unwrap();
    let nets: &[IpNet] = if trusted { &[own] } else { &[] };
    let peer = Peer::new([192, 0, 2, 7].into(), false, nets);
    let mut out = Vec::new();
    let id = RequestId::from_slice(b"new");
    let add = RequestAdditions { events: false, id, trace: None };
    write_request(&mut out, &head, peer, Framing::None, add);
    String::from_utf8(out).unwrap()
}

#[test]
fn hop_by_hop_and_nominated_fields_go_ours_stay() {
    let text = "GET /p?q HTTP/1.1\r\nHost: a.test\r\nConnection: X-Forwarded-For, X-Mine, close\r\n\
        X-Mine: 1\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nTE: gzip, trailers\r\n\
        X-Forwarded-For: 6.6.6.6\r\nX-Request-Id: theirs\r\nAccept: b\r\n\r\n";
    let expected = "GET /p?q HTTP/1.1\r\nhost: a.test\r\nTE: trailers\r\nAccept: b\r\n\
        x-forwarded-for: 192.0.2.7\r\nx-forwarded-proto: http\r\nx-forwarded-host: a.test\r\n\
        x-request-id: new\r\n\r\n";
    assert_eq!(sent(text, false), expected);
    assert_eq!(sent(text, true).replace("x-request-id: theirs", "x-request-id: new"), expected);
}

#[test]
fn trusted_proxies_speak_for_the_client() {
    let text = "POST / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: 1.1.1.1\r\n\
        X-Forwarded-Proto: https\r\nX-Forwarded-Host: pub.test\r\nX-Real-Ip: 1.1.1.1\r\n\
        X-Request-Id: abc-1\r\n\r\n";
    let trusted = sent(text, true);
    for line in [
        "x-forwarded-for: 1.1.1.1, 192.0.2.7\r\n",
        "x-forwarded-proto: https\r\n",
        "x-forwarded-host: pub.test\r\n",
        "X-Real-Ip: 1.1.1.1\r\n",
        "x-request-id: abc-1\r\n",
        "content-length: 0\r\n",
    ] {
        assert!(trusted.contains(line), "{trusted}");
    }
    let untrusted = sent(text, false);
    assert!(!untrusted.contains("1.1.1.1") && !untrusted.contains("https"), "{untrusted}");
    let bad = text.replace("abc-1", "a\"b");
    assert!(sent(&bad, true).contains("x-request-id: new"));
}

#[test]
fn request_ids_are_hexadecimal() {
    assert_eq!(new_request_id(0xff).as_slice(), b"000000000000000000000000000000ff");
}

fn answered(text: &str, security: Option<&SecurityHeaders>, secure: bool) -> String {
    let (head, _) = parse_response(text.as_bytes(), LIMITS, false).unwrap().unwrap();
    let block = security.map(SecurityBlock::new);
    let add = Additions {
        security: block.as_ref(),
        secure,
        server_timing: None,
        date: || *b"Sun, 06 Nov 1994 08:49:37 GMT",
    };
    let mut out = Vec::new();
    write_response(&mut out, &head, &add, Framing::Length(2), ConnectionOption::Keep);
    String::from_utf8(out).unwrap()
}

#[test]
fn security_headers_are_added_unless_set_or_switched_off() {
    let text = "HTTP/1.1 200 OK\r\nServer: x\r\nX-Powered-By: y\r\nConnection: close\r\n\
        X-Frame-Options: DENY\r\nContent-Length: 2\r\n\r\n";
    let headers = SecurityHeaders { csp_allowlist: vec!["https://a.test".into(), "bad;x".into()] };
    let with = answered(text, Some(&headers), true);
    let expected = "HTTP/1.1 200 OK\r\nX-Frame-Options: DENY\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
        content-security-policy: default-src 'self' https://a.test\r\n\
        x-content-type-options: nosniff\r\n\
        referrer-policy: strict-origin-when-cross-origin\r\n\
        strict-transport-security: max-age=31536000; includeSubDomains\r\n\
        content-length: 2\r\n\r\n";
    assert_eq!(with, expected);
    assert!(!answered(text, Some(&headers), false).contains("strict-transport"));
    let without = answered(text, None, true);
    assert!(without.contains("Server: x\r\n") && !without.contains("nosniff"), "{without}");
    assert!(!without.contains("Connection"));
}

#[test]
fn the_client_is_the_nearest_that_is_no_proxy() {
    let check = |fields: &str, expected: &str| {
        let text = format!("GET / HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n");
        let (head, _) = parse_request(text.as_bytes(), LIMITS).unwrap().unwrap();
        let trusted: [IpNet; 2] = ["192.0.2.0/24".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let peer = |ip: [u8; 4]| Peer::new(ip.into(), false, &trusted);
        assert_eq!(client(Some(&head), peer([192, 0, 2, 7]), &trusted), expected, "{fields}");
        assert_eq!(client(Some(&head), peer([203, 0, 113, 1]), &trusted), "203.0.113.1");
    };
    check("", "192.0.2.7");
    check("X-Forwarded-For: 198.51.100.1\r\n", "198.51.100.1");
    check("X-Forwarded-For: 6.6.6.6, 198.51.100.1, 192.0.2.8\r\n", "198.51.100.1");
    check(
        "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 198.51.100.1:80, fd00::1\r\n",
        "198.51.100.1",
    );
    check("X-Forwarded-For: [2001:db8::1]:443\r\n", "2001:db8::1");
    check("X-Forwarded-For: 192.0.2.9, 192.0.2.8\r\n", "192.0.2.9");
    check("X-Forwarded-For: 6.6.6.6, unknown, 192.0.2.8\r\n", "192.0.2.8");
    check("X-Forwarded-For: unknown\r\n", "192.0.2.7");
}
