//! The scenario that every long-lived watch must survive.
//!
//! A process starts with its watches against an [`ApiServer`], and [`survive`] leads each of them
//! through the same story: a clean end, a version that the server has forgotten (said as the answer
//! to the request, and as an event), lists that fail again and again, one that is never answered, a
//! server that answers lists and refuses watches, and a restart of the server that loses connections
//! and versions. A watch that the test does not list fails it, and so does one that stops asking.
//!
//! On paused time ([`ApiServer::in_memory`]) it also holds that pauses grow with failures in a row
//! and are short again after progress. No clock of the machine is read.

use std::collections::BTreeMap;

use tokio::{process::Command, time::Instant};

use crate::server::{ApiServer, Asked, Watch};

/// Failures in a row, on paused time: few enough to stay below the longest pause.
const FAILURES: usize = 3;

/// One watch of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Expected {
    path: &'static str,
    /// As it stands in a URL; empty where there is none.
    labels: &'static str,
    /// What every list brings, as JSON separated by commas.
    items: &'static str,
}

impl Expected {
    /// Watches everything at `path`.
    pub const fn all(path: &'static str) -> Self {
        Self { path, labels: "", items: "" }
    }

    /// Watches what `labels` selects, written as in a URL.
    pub const fn labelled(path: &'static str, labels: &'static str) -> Self {
        Self { path, labels, items: "" }
    }

    /// Every list brings these objects: JSON, separated by commas.
    #[must_use]
    pub const fn with(self, items: &'static str) -> Self {
        Self { items, ..self }
    }
}

/// Whether the test runs on paused time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// `#[tokio::test(start_paused = true)]`, with [`ApiServer::in_memory`].
    Paused,
    /// Pauses are really waited for; how long they take is not looked at.
    Real,
}

/// What the server does with one request of a watch.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// Expects a list and answers it: nothing is there, at this version.
    List(u32),
    /// Expects a list and fails.
    ListFails,
    /// Expects a list and never answers.
    ListHangs,
    /// Expects a watch from this version, tells another version and ends the watch.
    Ends(u32, u32),
    /// Expects a watch from this version and refuses it with this status.
    Refuses(u32, u16),
    /// Expects a watch from this version, opens it and then says that the version is gone.
    Gone(u32),
    /// Expects a watch from this version and fails as an overloaded server does.
    Overloaded(u32),
    /// Expects a watch from this version, tells another version and keeps the watch open.
    Stays(u32, u32),
}

/// How the time between a request and the next one compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pause {
    /// Not looked at.
    Any,
    /// At least as long as the last one.
    Grows,
    /// Of this series the first: shorter than the last of the former series.
    Begins,
}

/// Before the restart.
fn first_part(time: Time) -> Vec<(Act, Pause)> {
    let mut story = vec![
        (Act::List(1000), Pause::Any),
        (Act::Ends(1000, 1010), Pause::Any),
        // It ended, and goes on where it was.
        (Act::Ends(1010, 1020), Pause::Any),
        (Act::Overloaded(1020), Pause::Any),
        (Act::Refuses(1020, 410), Pause::Grows),
        (Act::List(2000), Pause::Grows),
        (Act::Gone(2000), Pause::Any),
    ];
    let failures = if time == Time::Paused { FAILURES } else { 1 };
    story.extend(std::iter::repeat_n((Act::ListFails, Pause::Grows), failures));
    if time == Time::Paused {
        story.push((Act::ListHangs, Pause::Grows));
    }
    // A list alone is no progress: a server that refuses every watch is asked ever more rarely.
    story.extend([(Act::List(3000), Pause::Any), (Act::Ends(3000, 3010), Pause::Any)]);
    let refusals = if time == Time::Paused { FAILURES } else { 1 };
    for refusal in 0..refusals {
        let pause = if refusal == 0 { Pause::Any } else { Pause::Grows };
        let version = if refusal == 0 { 3010 } else { 4000 };
        story.push((Act::Gone(version), Pause::Any));
        story.push((Act::List(4000), if refusal == 0 { Pause::Begins } else { pause }));
    }
    story.push((Act::Stays(4000, 4010), Pause::Any));
    story
}

/// After it: the server has forgotten everything, and its versions are lower than before.
fn second_part() -> Vec<(Act, Pause)> {
    vec![
        (Act::Refuses(4010, 504), Pause::Any),
        (Act::List(7), Pause::Any),
        (Act::Ends(7, 8), Pause::Any),
        (Act::Stays(8, 9), Pause::Any),
    ]
}

/// One watch on its way through the story.
struct Reader {
    story: std::vec::IntoIter<(Act, Pause)>,
    /// When the server had done with its last request.
    done: Instant,
    /// The last pause that was looked at.
    pause: std::time::Duration,
    open: Option<Watch>,
}

/// Leads every watch through the story. Returns when all have come to its end. What is neither a list
/// nor a watch is answered as by an empty cluster that takes every object it is given.
///
/// # Panics
/// When a watch asks for something else, or a request comes of a watch that is not `expected`.
pub async fn survive(api: &mut ApiServer, time: Time, expected: &[Expected]) {
    let mut readers: BTreeMap<Expected, Reader> = BTreeMap::new();
    for watch in expected {
        let reader = Reader {
            story: first_part(time).into_iter(),
            done: Instant::now(),
            pause: std::time::Duration::ZERO,
            open: None,
        };
        assert!(readers.insert(*watch, reader).is_none(), "{watch:?} is listed twice");
    }
    read_on(api, time, &mut readers).await;
    api.down().await;
    if time == Time::Paused {
        // Long enough that every watch meets a refused connection.
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    }
    for reader in readers.values_mut() {
        (reader.story, reader.open) = (second_part().into_iter(), None);
    }
    api.up().await;
    read_on(api, time, &mut readers).await;
}

/// Leads every watch of a program through the story, on real time. `KUBECONFIG` names the server to
/// it.
///
/// # Panics
/// As [`survive`], and when the program ends before the story.
pub async fn survive_as(program: &mut Command, expected: &[Expected]) {
    let mut api = ApiServer::start().await;
    let directory = tempfile::tempdir().expect("a directory");
    let kubeconfig = directory.path().join("config");
    std::fs::write(&kubeconfig, api.kubeconfig()).expect("write the kubeconfig");
    let mut process =
        program.env("KUBECONFIG", &kubeconfig).kill_on_drop(true).spawn().expect("start it");
    tokio::select! {
        () = survive(&mut api, Time::Real, expected) => {}
        ended = process.wait() => panic!("it ended: {ended:?}"),
    }
    process.kill().await.expect("kill it");
}

async fn read_on(api: &mut ApiServer, time: Time, readers: &mut BTreeMap<Expected, Reader>) {
    while readers.values().any(|reader| reader.story.len() > 0) {
        let asked = api.asked().await;
        let labels = asked.value("labelSelector").unwrap_or_default();
        let is_watch = asked.value("watch").is_some() || asked.value("limit").is_some();
        if asked.method != "GET" || !is_watch {
            answer_empty(asked);
            continue;
        }
        let found = readers.iter_mut().find(|(w, _)| w.path == asked.path && w.labels == labels);
        let Some((watch, reader)) = found else {
            panic!("no such watch is expected: {} {}?{}", asked.method, asked.path, asked.query);
        };
        let context = format!("{watch:?}: {}", asked.query);
        let Some((act, pause)) = reader.story.next() else {
            panic!("asks although its watch is open: {context}");
        };
        let waited = reader.done.elapsed();
        if time == Time::Paused {
            match pause {
                Pause::Any => {}
                Pause::Grows => {
                    assert!(waited >= reader.pause, "{act:?} after {waited:?}: {context}");
                    reader.pause = waited;
                }
                Pause::Begins => {
                    assert!(waited < reader.pause / 4, "{act:?} after {waited:?}: {context}");
                    reader.pause = waited;
                }
            }
        }
        reader.open = act.perform(asked, watch.items, &context).await;
        reader.done = Instant::now();
    }
}

impl Act {
    async fn perform(self, asked: Asked, items: &str, context: &str) -> Option<Watch> {
        let is_list = asked.value("watch").is_none();
        match self {
            Self::List(version) => {
                assert!(is_list, "not a list: {context}");
                asked.answer(200, &list(version, items));
                None
            }
            Self::ListFails => {
                assert!(is_list, "not a list: {context}");
                asked.answer(500, &status(500, "InternalError"));
                None
            }
            Self::ListHangs => {
                assert!(is_list, "not a list: {context}");
                drop(asked);
                None
            }
            Self::Refuses(version, code) => {
                check_watch(&asked, version, context);
                asked.answer(code, &status(code, "Expired"));
                None
            }
            Self::Overloaded(version) => {
                check_watch(&asked, version, context);
                asked.answer(429, &status(429, "TooManyRequests"));
                None
            }
            Self::Gone(version) => {
                check_watch(&asked, version, context);
                let watch = asked.stream();
                let gone = status(410, "Expired");
                watch.event(&format!(r#"{{"type":"ERROR","object":{gone}}}"#)).await;
                None
            }
            Self::Ends(version, next) => {
                check_watch(&asked, version, context);
                asked.stream().event(&bookmark(next)).await;
                None
            }
            Self::Stays(version, next) => {
                check_watch(&asked, version, context);
                let watch = asked.stream();
                watch.event(&bookmark(next)).await;
                Some(watch)
            }
        }
    }
}

fn check_watch(asked: &Asked, version: u32, context: &str) {
    assert_eq!(asked.value("watch"), Some("true"), "not a watch: {context}");
    let found = asked.value("resourceVersion");
    assert_eq!(found, Some(version.to_string().as_str()), "{context}");
    assert_eq!(asked.value("allowWatchBookmarks"), Some("true"), "{context}");
}

/// Nothing is there, everything can be created or applied, and nothing can be changed otherwise.
fn answer_empty(asked: Asked) {
    match asked.method.as_str() {
        "GET" => asked.answer(404, &status(404, "NotFound")),
        "POST" => {
            let created = asked.body.clone();
            asked.answer(201, &created);
        }
        "PATCH" if asked.content_type == "application/apply-patch+yaml" => {
            let applied = asked.body.clone();
            asked.answer(200, &applied);
        }
        _ => asked.answer(500, &status(500, "InternalError")),
    }
}

fn list(version: u32, items: &str) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"List","metadata":{{"resourceVersion":"{version}"}},"items":[{items}]}}"#
    )
}

fn bookmark(version: u32) -> String {
    format!(
        r#"{{"type":"BOOKMARK","object":{{"apiVersion":"v1","kind":"Object","metadata":{{"resourceVersion":"{version}"}}}}}}"#
    )
}

fn status(code: u16, reason: &str) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"Status","metadata":{{}},"status":"Failure","message":"no","reason":"{reason}","code":{code}}}"#
    )
}
