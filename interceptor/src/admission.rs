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
            let by_path = router.route_path(&head.target);
            let (function, target) = by_path.ok_or(ProxyError::UnknownHost)?;
            head.target = target.into();
            function
        }
    };
    if function.route().spec.event_trigger && is_event_path(&head.target) {
        return Err(ProxyError::EventPath);
    }
    Ok(function)
}

/// `/event`, which only the function's own poller may call.
fn is_event_path(target: &str) -> bool {
    let path = target.split(['?', ';']).next().unwrap_or_default();
    let path = path.trim_end_matches('/');
    // Percent-encoding must not be a way around it; a path this short is decoded by eye.
    path.eq_ignore_ascii_case("/event") || decoded_event(path)
}

fn decoded_event(path: &str) -> bool {
    if !path.contains('%') && !path.contains("//") && !path.contains("/.") {
        return false;
    }
    let mut plain = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(b) = bytes.next() {
        let hex = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
        match b {
            b'%' => match (hex(bytes.next()), hex(bytes.next())) {
                (Some(high), Some(low)) => {
                    plain.push(u8::try_from(high << 4 | low).unwrap_or(b'?'))
                }
                _ => return false,
            },
            b => plain.push(b),
        }
    }
    let mut segments = Vec::new();
    for segment in plain.split(|b| *b == b'/') {
        match segment {
            b"" | b"." => {}
            b".." => drop(segments.pop()),
            s => segments.push(s.to_ascii_lowercase()),
        }
    }
    segments == [b"event"]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_paths_in_every_spelling() {
        let check = |target: &str, expected: bool| {
            assert_eq!(is_event_path(target), expected, "{target}");
        };
        check("/event", true);
        check("/event/", true);
        check("/event?x=1", true);
        check("/EVENT", true);
        check("//event", true);
        check("/./event", true);
        check("/a/../event", true);
        check("/%65vent", true);
        check("/%2e/event", true);
        check("/a/%2E%2e/event", true);
        check("/event;v=1", true);
        check("/events", false);
        check("/event/x", false);
        check("/a/event", false);
        check("/", false);
        check("/%zz", false);
    }
}
