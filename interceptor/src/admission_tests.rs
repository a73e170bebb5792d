use proptest::prelude::*;

use super::*;

#[test]
fn event_paths_in_every_spelling() {
    let check = |target: &str, expected: bool| {
        assert_eq!(may_be_event(target.as_bytes()), expected, "{target}");
    };
    for refused in [
        "/event",
        "/event/",
        "/event//",
        "/event?x=1",
        "/EVENT",
        "//event",
        "/./event",
        "/event/.",
        "/a/../event",
        "/a/b/../../event",
        "/../event",
        "/event/a/..",
        "/%65vent",
        "/%2565vent",
        "/%2e/event",
        "/a/%2E%2e/event",
        "/a%2f..%2fevent",
        "/event;v=1",
        "/event;v=1/x",
        "/;x/event",
        "/;x/../event",
        "/..;/event",
        "/a/..;v=1/event",
        "/%/../event",
        "/%zz/..%2fevent",
        "/%%32%65/event",
        "\\event",
        "/\\event",
        "/a\\..\\event",
        "/%5cevent",
        "/%5C..%5Cevent",
        "//other.test/event",
        "/\\other.test/event",
        "///other.test/a/../event",
        "/event%3Fx=1",
        "/event%23x",
        "/event%00",
        "/event%00.txt",
        "/event%20",
        "/%20/../event",
        "/event/;x",
    ] {
        check(refused, true);
    }
    for passes in [
        "/events",
        "/event/x",
        "/a/event",
        "/a?/../event",
        "/?event",
        "/",
        "*",
        "/%zz",
        "/..",
        "/event-log",
        "/%65vents",
        "/e/vent",
        "/event.json",
    ] {
        check(passes, false);
    }
}

/// What decodes to itself a million times over takes no longer than its length.
#[test]
fn decoding_is_one_pass() {
    let deep = format!("/%{}65vent", "25".repeat(16_000));
    assert!(may_be_event(deep.as_bytes()));
}

/// What servers do to a path, one step of each kind.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Python's `unquote`, Node's legacy `unescape`: what is no encoding stays.
    Decode,
    /// nginx's `merge_slashes`.
    MergeSlashes,
    /// RFC 3986 section 5.2.4, as URL parsers do it: empty segments count.
    RemoveDots,
    /// Go's `path.Clean`.
    Clean,
    /// Java servlets.
    StripParameters,
    /// Python's `urlparse`: parameters of the last segment.
    StripLastParameters,
    /// The URL standard, and so Node's `URL`.
    Backslashes,
    /// `new URL(target, base)` and `urlsplit(target)`.
    Authority,
    Query,
    Fragment,
    /// Strings of C.
    Nul,
    Trim,
    Lower,
    FinalSlash,
}

fn step() -> impl Strategy<Value = Step> {
    use Step::*;
    prop::sample::select(vec![
        Decode,
        Decode,
        MergeSlashes,
        RemoveDots,
        Clean,
        StripParameters,
        StripLastParameters,
        Backslashes,
        Authority,
        Query,
        Fragment,
        Nul,
        Trim,
        Lower,
        FinalSlash,
    ])
}

fn decode(path: &[u8]) -> Vec<u8> {
    let (mut plain, mut rest) = (Vec::new(), path);
    while let [byte, after @ ..] = rest {
        match (byte, after) {
            (b'%', [high, low, tail @ ..]) if digit(*high).is_some() && digit(*low).is_some() => {
                plain.push(digit(*high).unwrap_or(0) << 4 | digit(*low).unwrap_or(0));
                rest = tail;
            }
            _ => {
                plain.push(*byte);
                rest = after;
            }
        }
    }
    plain
}

fn before(path: &[u8], end: u8) -> Vec<u8> {
    path.split(|b| *b == end).next().unwrap_or_default().to_vec()
}

fn remove_dots(path: &[u8], keep_empty: bool) -> Vec<u8> {
    let mut left: Vec<&[u8]> = Vec::new();
    for segment in path.split(|b| *b == b'/').skip(1) {
        match segment {
            b"." => {}
            b".." => drop(left.pop()),
            b"" if !keep_empty => {}
            segment => left.push(segment),
        }
    }
    left.iter().flat_map(|segment| [b"/", *segment]).flatten().copied().collect()
}

fn apply(step: Step, path: &[u8]) -> Vec<u8> {
    let segments = || path.split(|b| *b == b'/');
    match step {
        Step::Decode => decode(path),
        Step::MergeSlashes => {
            let mut merged = path.to_vec();
            merged.dedup_by(|b, before| *b == b'/' && *before == b'/');
            merged
        }
        Step::RemoveDots => remove_dots(path, true),
        Step::Clean => remove_dots(path, false),
        Step::StripParameters => {
            segments().map(|segment| before(segment, b';')).collect::<Vec<_>>().join(&b'/')
        }
        Step::StripLastParameters => {
            let mut stripped: Vec<_> = segments().map(<[u8]>::to_vec).collect();
            stripped.last_mut().into_iter().for_each(|last| *last = before(last, b';'));
            stripped.join(&b'/')
        }
        Step::Backslashes => path.iter().map(|b| if *b == b'\\' { b'/' } else { *b }).collect(),
        Step::Authority if path.starts_with(b"//") => {
            let after = path.iter().skip_while(|b| **b == b'/').skip_while(|b| **b != b'/');
            after.copied().collect()
        }
        Step::Authority => path.to_vec(),
        Step::Query => before(path, b'?'),
        Step::Fragment => before(path, b'#'),
        Step::Nul => before(path, 0),
        Step::Trim => path.trim_ascii().to_vec(),
        Step::Lower => path.to_ascii_lowercase(),
        Step::FinalSlash => path.strip_suffix(b"/").unwrap_or(path).to_vec(),
    }
}

fn target() -> impl Strategy<Value = Vec<u8>> {
    let parts = [
        "/",
        "/",
        "/",
        "//",
        "\\",
        ".",
        "..",
        "a",
        "event",
        "event",
        "event",
        "EVENT",
        "%65vent",
        "%2565vent",
        "%2e",
        "%2E%2e",
        "%252e",
        "%2f",
        "%252F",
        "%5c",
        "%",
        "%z",
        "%2",
        ";",
        ";x",
        "?",
        "%3f",
        "%23",
        "%00",
        "%20",
        "%3b",
        "h.test",
        "\u{e9}",
    ];
    let parts = prop::collection::vec(prop::sample::select(parts.to_vec()), 0..8);
    parts.prop_map(|parts| format!("/{}", parts.concat()).into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    /// What any sequence of such steps makes `/event` of is refused.
    #[test]
    fn whatever_a_server_makes_of_it(target in target(), steps in prop::collection::vec(step(), 0..8)) {
        let made = steps.iter().fold(before(&target, b'?'), |path, step| apply(*step, &path));
        if made.eq_ignore_ascii_case(b"/event") {
            prop_assert!(may_be_event(&target), "{} by {steps:?}", target.escape_ascii());
        }
    }

    /// A path that no server changes is refused only where it is `/event`.
    #[test]
    fn plain_paths_pass(path in "(/[a-z0-9_.-]{1,8}){1,4}") {
        prop_assume!(!path.split('/').any(|segment| matches!(segment, "." | "..")));
        prop_assert_eq!(may_be_event(path.as_bytes()), path == "/event");
    }
}
