use proptest::prelude::*;

use super::*;
use crate::message::section::parse_fields;

const FIELDS: usize = 100;
const LIMIT: HeadLimits = HeadLimits { bytes: 4096, fields: FIELDS };

fn request(text: &str) -> Result<Option<(RequestHead<'_>, usize)>, HeadError> {
    parse_request(text.as_bytes(), LIMIT)
}

#[test]
fn requests_are_read() {
    let text = "GET /a?b=c HTTP/1.1\r\nHost: X.test:80\r\nAccept: */*\r\n\r\nnext";
    let (head, n) = request(text).unwrap().unwrap();
    assert_eq!((head.method, &*head.target, head.host), ("GET", &b"/a?b=c"[..], "X.test:80"));
    assert_eq!(
        (head.version, &head.body, head.keep_alive),
        (Version::Http11, &Decoder::Done, true)
    );
    assert_eq!((head.fields.len(), &text[n..]), (2, "next"));
}

#[test]
fn authorities_are_a_host_and_a_port() {
    assert_eq!(host_and_port("f.test"), ("f.test", None));
    assert_eq!(host_and_port("f.test:8080"), ("f.test", Some("8080")));
    assert_eq!(host_and_port("f.test:"), ("f.test", Some("")));
    assert_eq!(host_and_port("[::1]:8080"), ("[::1]", Some("8080")));
    assert_eq!(host_and_port("[::1]"), ("[::1]", None));
}

#[test]
fn framing_of_requests() {
    let body = |fields: &str| {
        let text = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        request(&text).map(|h| h.unwrap().0.body)
    };
    assert_eq!(body(""), Ok(Decoder::Done));
    assert_eq!(body("Content-Length: 0\r\n"), Ok(Decoder::Done));
    assert_eq!(body("Content-Length: 12\r\n"), Ok(Decoder::Length(12)));
    assert_eq!(body("transfer-encoding: Chunked\r\n"), Ok(Decoder::chunked()));
    assert_eq!(body("Transfer-Encoding: gzip, chunked\r\n"), Err(HeadError::TransferCoding));
    for bad in [
        "Content-Length: 1\r\nContent-Length: 1\r\n",
        "Content-Length: 1, 1\r\n",
        "Content-Length: +1\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 0x1\r\n",
        "Content-Length: 9999999999999999999\r\n",
        "Content-Length:\r\n",
        "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: xchunked\x0b\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding:\r\n",
        "Transfer_Encoding: chunked\r\n",
        "Content_Length: 3\r\n",
        "Transfer-Encoding : chunked\r\n",
        " Transfer-Encoding: chunked\r\n",
        "X: a\r\n folded\r\n",
        "X: a\nY: b\r\n",
        "X: a\rY: b\r\n",
        "X: \0\r\n",
        "Host: b\r\n",
    ] {
        assert!(matches!(body(bad), Err(Malformed(_))), "{bad:?}: {:?}", body(bad));
    }
}

#[test]
fn request_lines() {
    let check = |line: &[u8], expected: Result<(&[u8], &str), HeadError>| {
        let text = [line, b"\r\nHost: a.test\r\n\r\n"].concat();
        let got = parse_request(&text, LIMIT);
        let got = got.map(|h| h.map(|(h, _)| (h.target.into_owned(), h.host.to_owned())));
        let expected = expected.map(|(t, h)| Some((t.to_owned(), h.to_owned())));
        match (&got, &expected) {
            (Err(Malformed(_)), Err(Malformed(_))) => {}
            _ => assert_eq!(got, expected, "{}", line.escape_ascii()),
        }
    };
    let bad = || Err(Malformed(""));
    check(b"GET / HTTP/1.1", Ok((b"/", "a.test")));
    check(b"OPTIONS * HTTP/1.1", Ok((b"*", "a.test")));
    check(b"GET http://a.test/x?y HTTP/1.1", Ok((b"/x?y", "a.test")));
    check(b"GET HTTP://A.TEST HTTP/1.1", Ok((b"/", "A.TEST")));
    check(b"CONNECT a.test:443 HTTP/1.1", Err(HeadError::Method));
    check(b"GET * HTTP/1.1", bad());
    // RFC 9112 section 3.2.2: the target's authority, whatever `Host` says.
    check(b"GET http://b.test/ HTTP/1.1", Ok((b"/", "b.test")));
    check(b"GET http://a.test:80/ HTTP/1.1", Ok((b"/", "a.test:80")));
    check(b"GET https://a.test?x HTTP/1.1", Ok((b"/?x", "a.test")));
    check(b"GET http://u@a.test/ HTTP/1.1", bad());
    check(b"GET http:///x HTTP/1.1", bad());
    check(b"GET http://\xe9.test/x HTTP/1.1", bad());
    check(b"GET ftp://a.test/x HTTP/1.1", bad());
    check(b"GET x HTTP/1.1", bad());
    check(b"GET  / HTTP/1.1", bad());
    check(b"GET /  HTTP/1.1", bad());
    check(b"GET /a b HTTP/1.1", bad());
    check("GET /\u{e9}?\u{e9} HTTP/1.1".as_bytes(), Ok(("/\u{e9}?\u{e9}".as_bytes(), "a.test")));
    check(b"GET /\xe9\xff HTTP/1.1", Ok((b"/\xe9\xff", "a.test")));
    check(b"GET /\x7f HTTP/1.1", bad());
    check(b"GET /\t HTTP/1.1", bad());
    check(b"GET /\rX HTTP/1.1", bad());
    check(b"GET / HTTP/1.1\rX", bad());
    check(b"GET /#f HTTP/1.1", bad());
    check(b"GET / HTTP/1.2", Ok((b"/", "a.test")));
    check(b"GET / HTTP/2.0", Err(HeadError::Version));
    check(b"GET / HTTP/0.9", Err(HeadError::Version));
    check(b"GET / HTTP/1.10", bad());
    check(b"GET / HTTP/1", bad());
    check(b"GET / http/1.1", bad());
    check(b"GET / ICE/1.0", bad());
    check(b"GET /", bad());
    check(b" / HTTP/1.1", bad());
    check(b"G(T / HTTP/1.1", bad());
    check(b"G\xe9T / HTTP/1.1", bad());
}

#[test]
fn status_lines() {
    let check = |line: &[u8], expected: Option<(u16, &str)>| {
        let text = [line, b"\r\nContent-Length: 0\r\n\r\n"].concat();
        let got = parse_response(&text, LIMIT, false);
        let got = got.ok().map(|head| head.map(|(head, _)| (head.status, head.reason)).unwrap());
        assert_eq!(got, expected, "{}", line.escape_ascii());
    };
    check(b"HTTP/1.1 200 OK", Some((200, "OK")));
    check(b"HTTP/1.1 200", Some((200, "")));
    check(b"HTTP/1.1 200 ", Some((200, "")));
    check(b"HTTP/1.0 404 Not Found", Some((404, "Not Found")));
    check(b"HTTP/1.1 200 \xe9t\xe9", Some((200, "")));
    check(b"HTTP/1.1  200 OK", None);
    check(b"HTTP/1.1 20 OK", None);
    check(b"HTTP/1.1 2000", None);
    check(b"HTTP/1.1 +20 OK", None);
    check(b"HTTP/1.1 200 O\rK", None);
    check(b"HTTP/1.1", None);
    check(b"HTTP/2.0 200 OK", None);
    check(b"ICY 200 OK", None);
}

#[test]
fn hosts_and_versions() {
    assert!(matches!(request("GET / HTTP/1.1\r\n\r\n"), Err(Malformed(_))));
    let (head, _) = request("GET / HTTP/1.0\r\n\r\n").unwrap().unwrap();
    assert_eq!((head.host, head.keep_alive), ("", false));
    let text = "GET / HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive\r\n\r\n";
    assert!(request(text).unwrap().unwrap().0.keep_alive);
    let text = "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert!(matches!(request(text), Err(Malformed(_))));
    assert!(matches!(request("GET / HTTP/1.1\r\nHost: a b\r\n\r\n"), Err(Malformed(_))));
    assert!(matches!(request("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"), Err(Malformed(_))));
}

#[test]
fn upgrades_need_both_fields() {
    let upgrade = |fields: &str| {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        request(&text).unwrap().unwrap().0.upgrade.map(<[u8]>::to_vec)
    };
    let websocket = Some(b"websocket".to_vec());
    assert_eq!(upgrade("Connection: x, Upgrade\r\nUpgrade: websocket\r\n"), websocket);
    assert_eq!(upgrade("Upgrade: websocket\r\n"), None);
    assert_eq!(upgrade("Connection: upgrade\r\n"), None);
    for http in ["h2c", "H2C", "websocket, h2c", "h2", "HTTP/2.0", "h2c/1"] {
        assert_eq!(upgrade(&format!("Connection: upgrade\r\nUpgrade: {http}\r\n")), None, "{http}");
    }
}

#[test]
fn partial_and_oversized_heads() {
    assert!(request("GET / HT").unwrap().is_none());
    assert!(request("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().is_some());
    assert!(matches!(request("\r\n\r\nGET / HTTP/1.1\r\n\r\n"), Err(Malformed(_))));
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(LIMIT.bytes));
    assert_eq!(request(&long).err(), Some(HeadError::TooLong));
}

#[test]
fn an_empty_line_before_the_head_counts() {
    for before in ["", "\r\n"] {
        let head = |length: usize| {
            let start = format!("{before}GET / HTTP/1.1\r\nHost: a\r\nX: ");
            format!("{start}{}\r\n\r\n", "y".repeat(length - start.len() - 4))
        };
        let longest = head(LIMIT.bytes);
        assert_eq!(request(&longest).unwrap().unwrap().1, LIMIT.bytes);
        assert_eq!(request(&head(LIMIT.bytes + 1)).err(), Some(HeadError::TooLong));
    }
}

#[test]
fn fields_are_counted() {
    for most in [1, FIELDS, FIELDS + 1, 500] {
        let limits = HeadLimits { bytes: 1 << 16, fields: most };
        let count = |fields: usize| {
            let others = "x: y\r\n".repeat(fields - 1);
            let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{others}\r\n");
            let response = format!("HTTP/1.1 204 No Content\r\nHost: a\r\n{others}\r\n");
            let parsed = parse_request(request.as_bytes(), limits);
            let answered = parse_response(response.as_bytes(), limits, false);
            let counted = parsed.map(|head| head.unwrap().0.fields.len());
            assert_eq!(answered.map(|head| head.unwrap().0.fields.len()), counted);
            counted
        };
        assert_eq!(count(most), Ok(most));
        assert_eq!(count(most + 1), Err(HeadError::TooManyFields));
    }
}

#[test]
fn spoofed_forwarding_fields_are_dropped() {
    let text = "GET / HTTP/1.1\r\nHost: a\r\nX_Forwarded_For: 1.2.3.4\r\nX_Own: 1\r\n\r\n";
    let (head, _) = request(text).unwrap().unwrap();
    let classes: Vec<_> = head.fields.iter().map(|f| f.class).collect();
    assert_eq!(classes, [Class::Host, Class::HopByHop, Class::EndToEnd]);
}

#[test]
fn framing_of_responses() {
    let body = |status: &str, fields: &str, to_head: bool| {
        let text = format!("HTTP/1.1 {status}\r\n{fields}\r\n");
        parse_response(text.as_bytes(), LIMIT, to_head)
            .map(|h| h.map(|(h, _)| (h.body, h.keep_alive)))
    };
    let ok = |d: Decoder, keep: bool| Ok(Some((d, keep)));
    assert_eq!(body("200 OK", "Content-Length: 5\r\n", false), ok(Decoder::Length(5), true));
    assert_eq!(body("200 OK", "Content-Length: 5\r\n", true), ok(Decoder::Done, true));
    assert_eq!(body("304 Not Modified", "Content-Length: 5\r\n", false), ok(Decoder::Done, true));
    assert_eq!(body("204", "", false), ok(Decoder::Done, true));
    assert_eq!(body("200 OK", "", false), ok(Decoder::Close, false));
    assert_eq!(
        body("200 OK", "Transfer-Encoding: chunked\r\n", false),
        ok(Decoder::chunked(), true)
    );
    assert_eq!(
        body("200 OK", "Connection: close\r\nContent-Length: 1\r\n", false),
        ok(Decoder::Length(1), false)
    );
    let both = "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n";
    assert!(body("200 OK", both, false).is_err());
    assert!(body("99 X", "", false).is_err());
    assert!(body("600 X", "", false).is_err());
    assert!(parse_response(b"SSH-2.0", LIMIT, false).is_err());
    assert!(parse_response(b"HTT", LIMIT, false).unwrap().is_none());
    let text = b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5, max=9\r\nContent-Length: 0\r\n\r\n";
    let (head, _) = parse_response(text, LIMIT, false).unwrap().unwrap();
    assert_eq!(head.keep_alive_timeout, Some(5));
}

proptest! {
    /// A head is read the same however many bytes follow, and never from a part of it.
    #[test]
    fn prefixes_are_partial(cut in 0usize..70) {
        let text = b"POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\nX-A: b\r\n\r\nabc";
        let got = parse_request(&text[..cut.min(text.len())], LIMIT).unwrap();
        prop_assert_eq!(got.is_some(), cut >= text.len() - 3);
    }

    /// No input makes a parser panic.
    #[test]
    fn any_input(input in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse_request(&input, HeadLimits { bytes: 256, fields: 3 });
        let _ = parse_response(&input, LIMIT, false);
        let mut fields = Fields::new();
        let _ = parse_fields(&input, &mut fields);
    }
}
