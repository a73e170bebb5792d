//! The cases of http_desync_guardian: none it calls severe reaches a pod, each it calls ambiguous
//! or acceptable ends as `README.md` says, and each it calls compliant is answered, but for those
//! that `README.md` lists.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::support::{Backend, Proxy, Recorder, ok, ready};

const DECISIONS: &str = include_str!("README.md");

const FILES: &[&str] = &[
    include_str!("http_desync_guardian/acceptable.yaml"),
    include_str!("http_desync_guardian/ambiguous.yaml"),
    include_str!("http_desync_guardian/bad-header-characters.yaml"),
    include_str!("http_desync_guardian/edge-cases.yaml"),
    include_str!("http_desync_guardian/more-compliant-tests.yaml"),
    include_str!("http_desync_guardian/real-life-test-cases.yaml"),
    include_str!("http_desync_guardian/rfc-compliant.yaml"),
    include_str!("http_desync_guardian/severe.yaml"),
    include_str!("http_desync_guardian/uri-specific-test-cases.yaml"),
];

#[derive(Debug, Deserialize)]
struct Case {
    name: String,
    uri: Text,
    method: Text,
    version: Text,
    headers: Option<Vec<Header>>,
    expected: Expected,
}

#[derive(Debug, Deserialize)]
struct Header {
    name: Text,
    value: Text,
}

#[derive(Debug, Deserialize)]
struct Expected {
    tier: Tier,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
enum Tier {
    Compliant,
    Acceptable,
    Ambiguous,
    Severe,
}

/// A scalar that may look like a number, or be missing.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Text {
    Plain(String),
    Number(u64),
    Missing(()),
}

impl Text {
    /// The bytes meant: `\xNN` is that byte, other characters are UTF-8. Single-quoted scalars
    /// have their escapes undone here, as the suite's own runner does.
    fn bytes(&self) -> Vec<u8> {
        let text = match self {
            Self::Plain(text) => text.clone(),
            Self::Number(n) => n.to_string(),
            Self::Missing(()) => String::new(),
        };
        let mut bytes = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            let c = if c == '\\' { unescaped(&mut chars) } else { c };
            match u8::try_from(c) {
                Ok(byte) => bytes.push(byte),
                Err(_) => bytes.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        bytes
    }
}

fn unescaped(chars: &mut std::str::Chars<'_>) -> char {
    match chars.next() {
        Some('x') => {
            let digits: String = chars.take(2).collect();
            char::from(u8::from_str_radix(&digits, 16).unwrap())
        }
        Some('b') => '\x08',
        Some('f') => '\x0c',
        Some('n') => '\n',
        Some('r') => '\r',
        Some('t') => '\t',
        other => other.unwrap(),
    }
}

impl Case {
    /// The request, for a host that is routed: without one it would be refused for that.
    fn request(&self) -> Vec<u8> {
        let line = [&self.method, &self.uri, &self.version].map(Text::bytes);
        let mut request = line.join(&b' ');
        request.extend(b"\r\nHost: f.test\r\n");
        for header in self.headers.iter().flatten() {
            let name = header.name.bytes();
            if name.eq_ignore_ascii_case(b"host") {
                continue;
            }
            request.extend([&name[..], b": ", &header.value.bytes(), b"\r\n"].concat());
        }
        request.extend(b"\r\n");
        request
    }
}

fn cases() -> Vec<Case> {
    let files = FILES.iter().flat_map(|text| serde_saphyr::from_str::<Vec<Case>>(text).unwrap());
    let mut cases: Vec<_> = files.collect();
    cases.sort_by_key(|c| c.expected.tier);
    cases
}

/// Sends the case: the status, and whether a pod saw anything of it.
async fn send(proxy: &Proxy, recorder: &Recorder, case: &Case) -> (u16, bool) {
    let before = recorder.targets().len();
    let mut client = proxy.client().await;
    client.send(case.request()).await;
    let mut answer = client.head().await.unwrap();
    if !case.method.bytes().eq_ignore_ascii_case(b"HEAD") {
        client.body(&mut answer).await.unwrap();
    }
    (answer.status(), recorder.targets().len() > before)
}

/// A pod that notes and answers each head at once, whatever body follows.
fn pod(recorder: &Recorder) -> Backend {
    let recorder = recorder.clone();
    Backend::start(move |mut wire, _| {
        let recorder = recorder.clone();
        async move {
            while let Ok(request) = wire.head().await {
                recorder.note(request.target());
                if wire.try_send(ok("")).await.is_err() {
                    return;
                }
            }
        }
    })
}

/// Rows `| tier | name | decision | … |` of the README.
fn decisions() -> BTreeMap<(String, String), String> {
    let tiers = ["| Acceptable |", "| Ambiguous |", "| Compliant |"];
    let rows = DECISIONS.lines().filter(|l| tiers.iter().any(|t| l.starts_with(t)));
    let cells = rows.map(|l| l.split('|').map(|c| c.trim().to_owned()).collect::<Vec<_>>());
    cells.map(|c| ((c[1].clone(), c[2].replace('`', "")), c[3].clone())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn http_desync_guardian() {
    let recorder = Recorder::new();
    let pod = pod(&recorder);
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    let mut decisions = decisions();
    let (mut counts, mut undecided) = (BTreeMap::<_, u32>::new(), Vec::new());
    let mut decided = BTreeSet::new();
    for case in cases() {
        let (status, reached) = send(&proxy, &recorder, &case).await;
        let tier = case.expected.tier;
        *counts.entry((tier, reached)).or_default() += 1;
        let refused = matches!(status, 400 | 501 | 505) && !reached;
        let forwarded = status == 200 && reached;
        assert!(refused || forwarded, "{} {status} {reached}", case.name);
        match (tier, forwarded) {
            (Tier::Severe, _) => assert!(refused, "{}", case.name),
            (Tier::Compliant, true) => {}
            _ => {
                let decision = if forwarded { "forwarded" } else { "refused" };
                let key = (format!("{tier:?}"), case.name.replace(['`', '|'], ""));
                if decisions.get(&key).map(String::as_str) != Some(decision) {
                    let row = format!("| {} | `{}` | {decision} | {status} |", key.0, key.1);
                    undecided.push(row);
                }
                decided.insert(key);
            }
        }
    }
    println!("http_desync_guardian (tier, reached a pod): {counts:?}");
    assert!(undecided.is_empty(), "not in the README:\n{}", undecided.join("\n"));
    decisions.retain(|key, _| !decided.contains(key));
    assert!(decisions.is_empty(), "no such case: {decisions:?}");
    proxy.idle().await;
}
