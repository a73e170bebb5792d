//! The requests that scenarios send.

/// Header with the id of a request.
pub(crate) const ID: &str = "x-loadtest-id";

pub(crate) fn get(host: &str, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: {host}\r\naccept: */*\r\n\r\n").into_bytes()
}

/// A small `POST` with an id.
pub(crate) fn post(host: &str, id: &str) -> Vec<u8> {
    let length = id.len();
    format!("POST / HTTP/1.1\r\nhost: {host}\r\n{ID}: {id}\r\ncontent-length: {length}\r\n\r\n{id}")
        .into_bytes()
}

/// What a browser sends to open a WebSocket.
pub(crate) fn websocket(host: &str) -> Vec<u8> {
    format!(
        "GET / HTTP/1.1\r\nhost: {host}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .into_bytes()
}
