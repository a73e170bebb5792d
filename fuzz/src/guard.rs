//! The guard of `/event`: whatever a server could make of a path, it does not become the event path.

use kipper_interceptor::fuzzing::may_be_event;

/// A request target. What a usual server could take for `/event` is refused.
pub fn event_guard(target: &[u8]) {
    if target.first() != Some(&b'/') {
        return;
    }
    let refused = may_be_event(target);
    let mut read = target.split(|b| *b == b'?').next().unwrap_or_default().to_vec();
    for _ in 0..3 {
        for backslash in [false, true] {
            for parameters in [false, true] {
                let seen = normalize(&read, backslash, parameters);
                assert!(
                    refused || seen != b"/event",
                    "{} is read as /event",
                    target.escape_ascii()
                );
            }
        }
        read = percent_decode(&read);
    }
}

/// Takes `%XX` back once; what is none stays as it is.
fn percent_decode(path: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let [first, tail @ ..] = rest {
        let hex = |at: usize| char::from(*tail.get(at)?).to_digit(16);
        match (first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push(u8::try_from(high * 16 + low).expect("two digits"));
                rest = &tail[2..];
            }
            _ => {
                decoded.push(*first);
                rest = tail;
            }
        }
    }
    decoded
}

/// Empty and dot segments gone, in lower case, as routers do it; `parameters` = without what follows a semicolon.
fn normalize(path: &[u8], backslash: bool, parameters: bool) -> Vec<u8> {
    let mut segments: Vec<Vec<u8>> = Vec::new();
    for segment in path.split(|b| *b == b'/' || (backslash && *b == b'\\')) {
        let end = segment.iter().position(|b| parameters && *b == b';').unwrap_or(segment.len());
        match &segment[..end] {
            b"" | b"." => {}
            b".." => drop(segments.pop()),
            segment => segments.push(segment.to_ascii_lowercase()),
        }
    }
    segments.iter().flat_map(|segment| [b"/", &segment[..]].concat()).collect()
}
