//! The proxy, before a server that repeats what it hears.

use std::{
    io::{BufReader, Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use kipper_servers::Proxy;

use crate::support::await_that;

/// What would have come by now. On a slow machine a late byte passes unseen, but none fails.
const SILENCE: Duration = Duration::from_millis(100);

/// Echoes every connection until its end. The thread ends with the test's process.
fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
        }
    });
    port
}

fn says(stream: &mut TcpStream, text: &[u8]) {
    stream.set_read_timeout(None).unwrap();
    let mut heard = vec![0; text.len()];
    stream.read_exact(&mut heard).unwrap();
    assert_eq!(heard, text);
}

fn is_silent(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(SILENCE)).unwrap();
    stream.read(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

fn is_over(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(None).unwrap();
    matches!(stream.read(&mut [0]), Ok(0) | Err(_))
}

#[test]
fn forwards_a_lot_and_the_end_of_it() {
    let proxy = Proxy::start(echo()).unwrap();
    let stream = TcpStream::connect(proxy.address()).unwrap();
    let sent: Vec<u8> = (0..5_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let mut heard = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            (&stream).write_all(&sent).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        });
        BufReader::new(&stream).read_to_end(&mut heard).unwrap();
    });
    assert!(heard == sent);
    await_that("both directions end", || proxy.connections() == 0);
}

#[test]
fn cuts_all_connections_at_once_and_takes_new_ones() {
    let proxy = Proxy::start(echo()).unwrap();
    let mut streams: Vec<TcpStream> =
        (0..10).map(|_| TcpStream::connect(proxy.address()).unwrap()).collect();
    for stream in &mut streams {
        stream.write_all(b"a").unwrap();
        says(stream, b"a");
    }
    proxy.stall();
    streams[0].write_all(b"b").unwrap();
    assert!(is_silent(&mut streams[0]));
    assert_eq!(proxy.cut(), 10);
    assert!(streams.iter_mut().all(is_over));
    proxy.resume();
    let mut stream = TcpStream::connect(proxy.address()).unwrap();
    stream.write_all(b"c").unwrap();
    says(&mut stream, b"c");
    drop(proxy);
    assert!(is_over(&mut stream));
}

#[test]
fn holds_back_and_lets_go() {
    let proxy = Proxy::start(echo()).unwrap();
    let mut stream = TcpStream::connect(proxy.address()).unwrap();
    for stall in [Proxy::stall, Proxy::stall_answers] {
        stall(&proxy);
        stream.write_all(b"held").unwrap();
        assert!(is_silent(&mut stream));
        proxy.resume();
        says(&mut stream, b"held");
    }
}

#[test]
fn refuses_new_connections_and_keeps_the_old() {
    let proxy = Proxy::start(echo()).unwrap();
    let mut old = TcpStream::connect(proxy.address()).unwrap();
    old.write_all(b"a").unwrap();
    says(&mut old, b"a");
    proxy.refuse();
    assert!(is_over(&mut TcpStream::connect(proxy.address()).unwrap()));
    old.write_all(b"b").unwrap();
    says(&mut old, b"b");
    proxy.resume();
    let mut new = TcpStream::connect(proxy.address()).unwrap();
    new.write_all(b"c").unwrap();
    says(&mut new, b"c");
}

#[test]
fn ends_a_connection_that_nobody_takes() {
    let proxy = Proxy::start(kipper_servers::free_port().unwrap()).unwrap();
    assert!(is_over(&mut TcpStream::connect(proxy.address()).unwrap()));
}
