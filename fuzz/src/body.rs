//! The chunked coding: the same body however it is cut, and a valid one once it is framed afresh.

use kipper_interceptor::message::{
    body::{BodyError, BodySink, Decoder, Encoder, Framing},
    field::Fields,
    section::parse_fields,
};

#[derive(Default, Debug, PartialEq)]
struct Seen {
    data: Vec<u8>,
    trailers: Option<Vec<u8>>,
}

impl BodySink for Seen {
    fn data(&mut self, data: &[u8]) {
        assert!(!data.is_empty() && self.trailers.is_none());
        self.data.extend_from_slice(data);
    }

    fn end(&mut self, trailers: &[u8]) {
        assert!(self.trailers.replace(trailers.to_vec()).is_none());
    }
}

/// A chunked body. The first byte says in pieces of how many bytes it arrives.
pub fn chunked_body(data: &[u8]) {
    let Some((first, data)) = data.split_first() else { return };
    let whole = decode(data, data.len().max(1));
    assert_eq!(whole, decode(data, usize::from(*first) + 1));
    let Ok(seen) = whole else { return };
    let Some(trailers) = &seen.trailers else { return };
    let section = [trailers, &b"\r\n"[..]].concat();
    parse_fields(&section, &mut Fields::new()).expect("trailers that pass are valid");
    let mut wire = Vec::new();
    let mut encoder = Encoder { framing: Framing::Chunked, out: &mut wire };
    for piece in seen.data.chunks(100) {
        encoder.data(piece);
    }
    encoder.end(trailers);
    assert_eq!(decode(&wire, wire.len()).as_ref(), Ok(&seen));
}

fn decode(data: &[u8], step: usize) -> Result<Seen, BodyError> {
    let (mut decoder, mut seen, mut held) = (Decoder::chunked(), Seen::default(), Vec::new());
    for piece in data.chunks(step) {
        held.extend_from_slice(piece);
        let used = decoder.decode(&held, &mut seen)?;
        held.drain(..used);
    }
    assert_eq!(decoder.is_done(), seen.trailers.is_some());
    Ok(seen)
}
