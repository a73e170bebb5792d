//! Frames written by hand, for what no library would send (RFC 9113 section 4, RFC 7541 section
//! 6.2.2).

use crate::support::Wire;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const GOAWAY: u8 = 7;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const ACK: u8 = 1;

pub(super) const REFUSED_STREAM: u32 = 7;
pub(super) const ENHANCE_YOUR_CALM: u32 = 11;

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One frame.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

impl Frame {
    /// Error code of a GOAWAY or RST_STREAM.
    pub(super) fn error(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// Renders a frame.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Renders fields as literals that are not indexed; each part is shorter than 127 bytes.
pub(super) fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for part in [name, value] {
            assert!(part.len() < 127);
            block.push(u8::try_from(part.len()).unwrap());
            block.extend(part.as_bytes());
        }
    }
    block
}

/// The fields of a GET, and more.
pub(super) fn get(host: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let head = [(":method", "GET"), (":scheme", "http"), (":authority", host), (":path", "/raw")];
    fields(&[&head[..], more].concat())
}

/// Connects and says hello; the server's settings are acknowledged.
pub(super) async fn connect(address: std::net::SocketAddr) -> Wire {
    let mut wire = Wire::connect(address).await;
    let hello = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &frame(SETTINGS, ACK, 0, &[])].concat();
    wire.send(hello).await;
    wire
}

/// The next frame; an error is the end of the connection.
pub(super) async fn read(wire: &mut Wire) -> std::io::Result<Frame> {
    let head = wire.exactly(9).await?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    Ok(Frame {
        kind: head[3],
        stream: u32::from_be_bytes(head[5..9].try_into().unwrap()),
        payload: wire.exactly(usize::try_from(length).unwrap()).await?,
    })
}

/// The next frame of this kind on this stream; what else comes is skipped.
pub(super) async fn read_kind(wire: &mut Wire, kind: u8, stream: u32) -> std::io::Result<Frame> {
    loop {
        let frame = read(wire).await?;
        if frame.kind == kind && frame.stream == stream {
            return Ok(frame);
        }
    }
}
