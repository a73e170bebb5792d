//! Admit: which function a request head is for, and whether it may pass. Pure.

use std::sync::Arc;

use crate::{
    destination::Destination, error::ProxyError, message::head::RequestHead, router::Router,
};

/// The function that answers for the head's host, unless the request must not reach it. A target
/// that named the function by its path loses that prefix.
pub(crate) fn admit(
    head: &mut RequestHead<'_>,
    router: &Router,
) -> Result<Arc<Destination>, ProxyError> {
    let function = match router.route(head.host) {
        Some(function) => function,
        None => {
            let (function, target) = router.route_path(&head.target)?;
            head.target = target.into();
            function
        }
    };
    if function.route().spec.event_trigger && may_be_event(&head.target) {
        return Err(ProxyError::EventPath);
    }
    Ok(function)
}

/// Could a server read this target as `/event`, which only the function's own poller may call?
///
/// Servers differ in what they make of a path before they match it: percent-encoding is decoded
/// once, twice or not at all, `\` is a `/`, empty and dot segments go, what follows a `;` in a
/// segment goes, a second `/` at the start begins an authority, and case or a final `/` may not
/// matter. So this asks for more than any one of them does: everything is decoded, and the path is
/// refused where the segment `event` may be the only one that is left. No client that means another
/// path writes it like that.
pub fn may_be_event(target: &[u8]) -> bool {
    let path = target.split(|b| *b == b'?').next().unwrap_or_default();
    let path = decoded(path);
    let is_separator = |b: &u8| matches!(b, b'/' | b'\\');
    let ends = |b: &u8| matches!(b, b';' | b'?' | b'#' | 0);
    // What is between separators, as far as it counts.
    let segments = path.split(is_separator).map(|segment| {
        let end = segment.iter().position(ends);
        segment[..end.unwrap_or(segment.len())].trim_ascii()
    });
    let is_event = |segment: &[u8]| segment.eq_ignore_ascii_case(b"event");
    if !segments.clone().any(is_event) {
        return false;
    }
    // Whether it is cut off before or after decoding, it may take any separator with it.
    if path.iter().any(ends) {
        return true;
    }
    let vanishes = |segment: &[u8]| matches!(segment, b"" | b".");
    // More than one separator before the first name.
    let has_authority = segments.clone().skip(1).take(1).any(vanishes);
    if has_authority || segments.clone().any(|segment| segment == b"..") {
        return true;
    }
    let mut left = segments.filter(|segment| !vanishes(segment));
    let (first, next) = (left.next(), left.next());
    next.is_none() && first.is_some_and(is_event)
}

/// The path with every percent-encoded byte decoded, again and again, in one pass.
fn decoded(path: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(path.len());
    for byte in path {
        plain.push(*byte);
        // What was decoded may complete another one.
        while let [.., b'%', high, low] = plain[..]
            && let (Some(high), Some(low)) = (digit(high), digit(low))
        {
            plain.truncate(plain.len() - 3);
            plain.push(high << 4 | low);
        }
    }
    plain
}

fn digit(hex: u8) -> Option<u8> {
    char::from(hex).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
#[path = "admission_tests.rs"]
mod tests;
