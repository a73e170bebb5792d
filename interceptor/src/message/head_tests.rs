use proptest::prelude::*;

use super::*;
use crate::message::section::parse_fields;

const LIMIT: usize = 4096;

fn request(text: &str) -> Result<Option<(RequestHead<'_>, usize)>, HeadError> {
    parse_request(text.as_bytes(), LIMIT)
}

#[test]
fn requests_are_read() {
    let text = "GET /a?b=c HTTP/1.1\r\nHost: X.test:80\r\nAccept: */*\r\n\r\nnext";
    let (head, n) = request(text).unwrap().unwrap();
    assert_eq!((head.method, &*head.target, head.host), ("GET", "/a?b=c", "X.test:80"));
    assert_eq!(
        (head.version, &head.body, head.keep_alive),
        (Version::Http11, &Decoder::Done, true)
    );
    assert_eq!((head.fields.len(), &text[n..]), (2, "next"));
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
    let check = |line: &str, expected: Result<(&str, &str), HeadError>| {
        let text = format!("{line}\r\nHost: a.test\r\n\r\n");
        let got =
            request(&text).map(|h| h.map(|(h, _)| (h.target.into_owned(), h.host.to_owned())));
        let expected = expected.map(|(t, h)| Some((t.to_owned(), h.to_owned())));
        match (&got, &expected) {
            (Err(Malformed(_)), Err(Malformed(_))) => {}
            _ => assert_eq!(got, expected, "{line:?}"),
        }
    };
    let bad = || Err(Malformed(""));
    check("GET / HTTP/1.1", Ok(("/", "a.test")));
    check("OPTIONS * HTTP/1.1", Ok(("*", "a.test")));
    check("GET http://a.test/x?y HTTP/1.1", Ok(("/x?y", "a.test")));
    check("GET HTTP://A.TEST HTTP/1.1", Ok(("/", "A.TEST")));
    check("CONNECT a.test:443 HTTP/1.1", Err(HeadError::Method));
    check("GET * HTTP/1.1", bad());
    check("GET http://b.test/ HTTP/1.1", bad());
    check("GET http://u@a.test/ HTTP/1.1", bad());
    check("GET x HTTP/1.1", bad());
    check("GET  / HTTP/1.1", bad());
    check("GET /\u{e9} HTTP/1.1", bad());
    check("GET /#f HTTP/1.1", bad());
    check("GET / HTTP/1.2", bad());
    check("GET / HTTP/2.0", bad());
    check("GET /", bad());
    check("G(T / HTTP/1.1", bad());
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
}

#[test]
fn partial_and_oversized_heads() {
    assert!(request("GET / HT").unwrap().is_none());
    assert!(request("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().is_some());
    assert!(matches!(request("\r\n\r\nGET / HTTP/1.1\r\n\r\n"), Err(Malformed(_))));
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(LIMIT));
    assert_eq!(request(&long).err(), Some(HeadError::TooLarge));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "x: y\r\n".repeat(MAX_FIELDS));
    assert_eq!(request(&many).err(), Some(HeadError::TooLarge));
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
        let _ = parse_request(&input, 256);
        let _ = parse_response(&input, 256, false);
        let mut fields = Fields::new();
        let _ = parse_fields(&input, &mut fields);
    }
}
