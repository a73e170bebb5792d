//! What the scripts answer, read from frames.

use bytes::Bytes;
use fred::types::Resp3Frame;

/// The elements of an array.
pub(super) fn array(frame: Resp3Frame) -> Option<Vec<Resp3Frame>> {
    match frame {
        Resp3Frame::Array { data, .. } => Some(data),
        _ => None,
    }
}

/// The bytes of a string.
pub(super) fn bytes(frame: Resp3Frame) -> Option<Bytes> {
    match frame {
        Resp3Frame::BlobString { data, .. } | Resp3Frame::SimpleString { data, .. } => Some(data),
        _ => None,
    }
}

/// A string that is text.
pub(super) fn text(frame: Resp3Frame) -> Option<String> {
    String::from_utf8(bytes(frame)?.to_vec()).ok()
}

/// A whole number.
pub(super) fn number(frame: &Resp3Frame) -> Option<i64> {
    match frame {
        Resp3Frame::Number { data, .. } => Some(*data),
        _ => None,
    }
}

/// An array of texts.
pub(super) fn texts(frame: Resp3Frame) -> Option<Vec<String>> {
    array(frame)?.into_iter().map(text).collect()
}
