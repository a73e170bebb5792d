//! What the pods of a function say.
//!
//! Read from the kubelets, so only as long as the pods are there: a function at zero has none. Pods
//! of every kind are read, cron and test runs included, and of each the function and its poller.

mod container;
mod lines;
mod search;

use std::{collections::HashSet, time::Duration};

use futures_util::{AsyncBufRead, AsyncReadExt as _};
use k8s_openapi::api::core::v1::Pod;
use kipper_function::names;
use kipper_kubernetes::{Mirror, Settings};
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, LogParams},
};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, timeout_at},
};

use crate::{ApiError, Connection, error::is_lasting};

use container::{Run, containers};
use lines::line;
pub use lines::{Cutter, Line};
pub use search::{Search, SearchError};

/// Pods of a function that are read.
const MAX_PODS: u32 = 100;
/// Lines read of one container, the last ones.
const MAX_LINES: i64 = 10_000;
/// Bytes read of one container.
const MAX_BYTES: i64 = 4 << 20;
/// Bytes read at once.
const CHUNK: usize = 8 << 10;
/// Longest line that is kept together, in bytes.
const MAX_LINE: usize = 64 << 10;
/// Containers that are followed.
const MAX_STREAMS: usize = 200;
/// Lines that wait to be taken.
const QUEUE_LEN: usize = 256;

/// Which lines are meant.
#[derive(Clone, Debug)]
pub struct Query {
    /// Selects the pods.
    pub selector: String,
    /// No line older than this.
    pub since: Duration,
    /// Only lines that contain this.
    pub search: Option<Search>,
    /// Only so many lines, the last ones.
    pub tail: Option<usize>,
    /// Those of containers before they were restarted, instead of those that run or ran last.
    pub previous: bool,
}

impl Query {
    /// Lines of every pod of a function.
    pub fn function(function: &str, since: Duration) -> Self {
        Self {
            selector: format!("{}={function}", names::APP),
            since,
            search: None,
            tail: None,
            previous: false,
        }
    }

    fn takes(&self, text: &str) -> bool {
        self.search.as_ref().is_none_or(|search| search.matches(text))
    }

    fn seconds(&self) -> Option<i64> {
        i64::try_from(self.since.as_secs().max(1)).ok()
    }

    /// Lines that are read of one container; a search needs all there are.
    fn lines(&self) -> i64 {
        let tail = self.tail.filter(|_| self.search.is_none());
        tail.and_then(|tail| i64::try_from(tail).ok()).map_or(MAX_LINES, |tail| tail.min(MAX_LINES))
    }

    /// Keeps the last ones, of lines in their order.
    pub fn cut(&self, lines: &mut Vec<Line>) {
        if let Some(tail) = self.tail {
            lines.drain(..lines.len().saturating_sub(tail));
        }
    }
}

/// Lines up to now.
#[derive(Clone, Debug, Default)]
pub struct Recent {
    /// By their time.
    pub lines: Vec<Line>,
    /// Pods there are.
    pub pods: usize,
    /// Pods whose older lines were left out, and pods that have not started.
    pub notices: Vec<String>,
}

/// The pods of one namespace.
#[derive(Clone)]
pub struct Logs {
    pods: Api<Pod>,
    streams: Api<Pod>,
    namespace: String,
}

impl Logs {
    /// Those of the connection's namespace.
    pub fn new(connection: &Connection) -> Self {
        let namespace = connection.namespace.clone();
        Self {
            pods: Api::namespaced(connection.client.clone(), &namespace),
            streams: Api::namespaced(connection.streams.clone(), &namespace),
            namespace,
        }
    }

    fn error(&self, what: &str) -> impl Fn(kube::Error) -> ApiError + use<> {
        let (what, namespace) = (what.to_owned(), self.namespace.clone());
        move |error| ApiError::read(error, &what, &namespace)
    }

    /// Every pod of the query, oldest first.
    ///
    /// # Errors
    /// Whatever the cluster says.
    pub async fn pods(&self, query: &Query) -> Result<Vec<Pod>, ApiError> {
        let params = ListParams::default().labels(&query.selector).limit(MAX_PODS);
        let mut pods = self.pods.list(&params).await.map_err(self.error("pods"))?.items;
        pods.sort_by_key(|pod| (pod.metadata.creation_timestamp.clone(), pod.name_any()));
        Ok(pods)
    }

    /// The lines there are.
    ///
    /// # Errors
    /// Whatever the cluster says of the pods. A pod that is gone meanwhile is none.
    pub async fn recent(&self, query: &Query) -> Result<Recent, ApiError> {
        let pods = self.pods(query).await?;
        let mut recent = Recent { pods: pods.len(), ..Recent::default() };
        for pod in &pods {
            let name = pod.name_any();
            for container in containers(pod) {
                let Run::Started(restarts) = container.run else {
                    recent.notices.push(format!("{name}: {}", container.run));
                    continue;
                };
                if query.previous && restarts == 0 {
                    continue;
                }
                let params = LogParams {
                    container: Some(container.name.clone()),
                    limit_bytes: Some(MAX_BYTES),
                    since_seconds: query.seconds(),
                    tail_lines: Some(query.lines()),
                    timestamps: true,
                    previous: query.previous,
                    ..LogParams::default()
                };
                let text = match self.pods.logs(&name, &params).await {
                    Ok(text) => text,
                    Err(error) => match self.error(&format!("pod {name}"))(error) {
                        ApiError::NotFound { .. } | ApiError::Refused { .. } => continue,
                        error => return Err(error),
                    },
                };
                let lines: Vec<_> = text.lines().collect();
                if lines.len() >= usize::try_from(MAX_LINES).unwrap_or(usize::MAX) {
                    recent.notices.push(format!("{name}: only the last {MAX_LINES} lines"));
                }
                let lines = lines.into_iter().map(|text| line(&name, &container.name, text));
                recent.lines.extend(lines.filter(|line| query.takes(&line.text)));
            }
        }
        // The sort is stable: lines of one container at one time stay as they are.
        recent.lines.sort_by_key(|line| line.time);
        query.cut(&mut recent.lines);
        Ok(recent)
    }

    /// Lines from `query.since` ago on, of pods that come as well, as long as the receiver lives.
    pub fn follow(&self, query: Query) -> Following {
        let (lines, received) = mpsc::channel(QUEUE_LEN);
        let follower = Follower {
            logs: self.clone(),
            query,
            lines,
            started: HashSet::new(),
            streams: JoinSet::new(),
        };
        Following { lines: received, follower }
    }
}

/// Lines as they come.
pub struct Following {
    lines: mpsc::Receiver<Line>,
    follower: Follower,
}

impl Following {
    /// Hands over every line, forever.
    ///
    /// # Errors
    /// When the pods cannot be watched.
    pub async fn run(self, mut take: impl FnMut(Line)) -> Result<(), ApiError> {
        let Self { mut lines, mut follower } = self;
        let mut following = Box::pin(follower.watch());
        loop {
            tokio::select! {
                Some(line) = lines.recv() => take(line),
                ended = &mut following => return ended,
            }
        }
    }

    /// Hands over every line until `end` is done, and then those that are still on their way, for
    /// `grace` at the most.
    ///
    /// # Errors
    /// When the pods cannot be watched or listed.
    pub async fn until<T>(
        self,
        end: impl Future<Output = T>,
        grace: Duration,
        mut take: impl FnMut(Line),
    ) -> Result<T, ApiError> {
        let Self { mut lines, mut follower } = self;
        let mut end = std::pin::pin!(end);
        let ended = {
            let mut following = Box::pin(follower.watch());
            loop {
                tokio::select! {
                    Some(line) = lines.recv() => take(line),
                    Err(error) = &mut following => return Err(error),
                    ended = &mut end => break ended,
                }
            }
        };
        let deadline = Instant::now() + grace;
        // A pod that lived shorter than a watch needs to tell of it.
        for pod in follower.logs.pods(&follower.query).await? {
            follower.take(&pod);
        }
        let mut rest = Box::pin(follower.rest());
        loop {
            tokio::select! {
                Some(line) = lines.recv() => take(line),
                _ = timeout_at(deadline, &mut rest) => break,
            }
        }
        while let Ok(line) = lines.try_recv() {
            take(line);
        }
        Ok(ended)
    }
}

/// Follows each container once per start.
struct Follower {
    logs: Logs,
    query: Query,
    lines: mpsc::Sender<Line>,
    started: HashSet<(String, String, i32)>,
    streams: JoinSet<()>,
}

impl Follower {
    /// Takes up every pod that comes; ends only when it cannot.
    async fn watch(&mut self) -> Result<(), ApiError> {
        let (pods, settings) =
            (self.logs.streams.clone(), Settings::labels(self.query.selector.as_str()));
        let error = self.logs.error("pods");
        let ended = kipper_kubernetes::follow(pods, settings, Pods(self)).await;
        ended.map(|never| match never {}).map_err(error)
    }

    fn take(&mut self, pod: &Pod) {
        let Some(uid) = pod.metadata.uid.clone() else { return };
        for container in containers(pod) {
            let Run::Started(restarts) = container.run else { continue };
            let key = (uid.clone(), container.name.clone(), restarts);
            if self.streams.len() >= MAX_STREAMS || !self.started.insert(key) {
                continue;
            }
            let stream = stream(
                self.logs.streams.clone(),
                pod.name_any(),
                container.name,
                self.query.clone(),
                self.lines.clone(),
            );
            self.streams.spawn(stream);
        }
    }

    /// Waits for the end of what is followed.
    async fn rest(&mut self) {
        while self.streams.join_next().await.is_some() {}
    }
}

/// Follows the containers of pods as these come.
struct Pods<'a>(&'a mut Follower);

impl Mirror<Pod> for Pods<'_> {
    fn begin(&mut self) {}

    fn list(&mut self, pod: Pod) {
        self.apply(pod);
    }

    fn complete(&mut self) {}

    fn apply(&mut self, pod: Pod) {
        self.0.take(&pod);
        // Those that ended make room.
        while self.0.streams.try_join_next().is_some() {}
    }

    fn delete(&mut self, _: Pod) {}

    fn gives_up(&self, error: &kube::Error) -> bool {
        is_lasting(error)
    }
}

/// Reads one container until it ends, or nobody listens any more.
async fn stream(
    api: Api<Pod>,
    pod: String,
    container: String,
    query: Query,
    lines: mpsc::Sender<Line>,
) {
    let params = LogParams {
        container: Some(container.clone()),
        follow: true,
        since_seconds: query.seconds(),
        tail_lines: query.tail.map(|_| query.lines()),
        timestamps: true,
        ..LogParams::default()
    };
    // A pod that is gone has nothing more to say.
    let Ok(reader) = api.log_stream(&pod, &params).await else { return };
    let mut reader = Box::pin(reader);
    let mut cutter = Cutter::new(MAX_LINE);
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = read(&mut reader, &mut chunk).await;
        let found = match read {
            0 => cutter.finish().into_iter().collect(),
            _ => cutter.push(&chunk[..read]),
        };
        for text in found {
            let line = line(&pod, &container, &text);
            if query.takes(&line.text) && lines.send(line).await.is_err() {
                return;
            }
        }
        if read == 0 {
            return;
        }
    }
}

/// Bytes read; an error is as good as an end.
async fn read(reader: &mut (impl AsyncBufRead + Unpin), chunk: &mut [u8]) -> usize {
    reader.read(chunk).await.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_is_for_text() {
        let mut query = Query::function("hello", Duration::from_millis(1));
        assert_eq!((query.selector.as_str(), query.seconds()), ("app=hello", Some(1)));
        assert!(query.takes("anything"));
        query.search = "a.*[b]".parse().ok();
        assert!(query.takes("x A.*[b] y"));
        assert!(!query.takes("a1b"));
    }

    #[test]
    fn a_tail_is_of_what_is_shown() {
        let query = |tail, search: Option<&str>| Query {
            tail,
            search: search.and_then(|text| text.parse().ok()),
            ..Query::function("hello", Duration::ZERO)
        };
        assert_eq!(query(None, None).lines(), MAX_LINES);
        assert_eq!(query(Some(5), None).lines(), 5);
        assert_eq!(query(Some(usize::MAX), None).lines(), MAX_LINES);
        // The last ones that contain it may be anywhere.
        assert_eq!(query(Some(5), Some("x")).lines(), MAX_LINES);
        let left = |tail| {
            let line = |text: &str| line("p", "function", text);
            let mut lines = ["a", "b", "c"].map(line).to_vec();
            query(tail, None).cut(&mut lines);
            lines.iter().map(|line| line.text.clone()).collect::<String>()
        };
        let expected = [(None, "abc"), (Some(5), "abc"), (Some(2), "bc"), (Some(0), "")];
        for (tail, expected) in expected {
            assert_eq!(left(tail), expected);
        }
    }
}
