//! One watch, kept up for as long as it is polled.
//!
//! List, then watch from the list's version on, as client-go's reflector does
//! (`tools/cache/reflector.go`). Whatever fails is tried again after a pause that grows until there
//! is real progress: an event, or a watch that stayed open for a while. A list alone is none, or a
//! server that answers lists and refuses watches would be asked for everything again and again.
//!
//! A watch resumes where it was, unless the server cannot: it has forgotten that version (410 Gone,
//! as the answer to the request or as an event), or never knew it (its storage was restored from a
//! backup). Then everything is listed again.

use std::{convert::Infallible, fmt::Debug, time::Duration};

use futures_util::{Stream, StreamExt as _};
use kipper_process::backoff::Backoff;
use kube::{
    Api, Resource, ResourceExt as _,
    api::{ListParams, WatchEvent, WatchParams},
    core::Status,
};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::mirror::Mirror;

/// A page of a list, or the beginning of a watch, must be there within this time: what kube-apiserver
/// gives every other request (`--request-timeout`).
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// How much later than it was asked to a server may end a watch. One that is silent for longer has
/// lost its connection.
const SLACK: Duration = Duration::from_secs(5);
/// A watch that was open for so long is progress, even without an event.
const SETTLED: Duration = Duration::from_secs(5);
/// So many watches in a row that the server refused or ended without an event are followed by a list.
/// A server that cannot be reached is another matter: a watch resumes where it was, however long that
/// takes.
const MAX_FUTILE: u32 = 5;

/// What is watched, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Label selector; empty selects everything.
    pub labels: String,
    /// Field selector; empty selects everything.
    pub fields: String,
    /// How long the server keeps one watch open. Resuming one is cheap for it; a connection that died
    /// silently is noticed five seconds after this time. Whole seconds.
    pub watch_timeout: Duration,
    /// Objects per page of a list.
    pub page_size: u32,
    /// Pauses after failures.
    pub backoff: Backoff,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            labels: String::new(),
            fields: String::new(),
            // What client-go and kube use: below the five minutes of most proxies.
            watch_timeout: Duration::from_secs(290),
            page_size: 500,
            backoff: Backoff::new(Duration::from_millis(200), Duration::from_secs(20)),
        }
    }
}

impl Settings {
    /// The defaults, for the objects that a label selector selects.
    pub fn labels(selector: impl Into<String>) -> Self {
        Self { labels: selector.into(), ..Self::default() }
    }
}

/// Why a watch is tried again.
#[derive(Debug, thiserror::Error)]
enum FollowError {
    #[error("list: {0}")]
    List(#[source] kube::Error),
    #[error("watch: {0}")]
    Watch(#[source] kube::Error),
    #[error("no answer within {REQUEST_TIMEOUT:?}")]
    NoAnswer,
    #[error("the connection of the watch is dead")]
    Dead,
    #[error("the watch ended at once")]
    EndedAtOnce,
    #[error("an object or list without a resourceVersion")]
    NoVersion,
}

/// Follows `api` and keeps `mirror`. Ends only with an error at which the mirror gives up; dropping
/// the future ends it at any time.
///
/// # Errors
/// The first one at which [`Mirror::gives_up`] says so.
pub async fn follow<K, M>(
    api: Api<K>,
    settings: Settings,
    mirror: M,
) -> Result<Infallible, kube::Error>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    M: Mirror<K>,
{
    let backoff = settings.backoff;
    let mut follower = Follower { api, settings, mirror, backoff, version: None, futile: 0 };
    loop {
        let Err(error) = follower.step().await else { continue };
        let pause = follower.backoff.pause();
        let resource = follower.api.resource_url();
        let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(resource, %error, pause_ms, "watch failed, the last known objects stay");
        let lost = match error {
            FollowError::List(error) | FollowError::Watch(error) => Some(error),
            FollowError::NoAnswer | FollowError::Dead => Some(no_answer(&error)),
            FollowError::EndedAtOnce | FollowError::NoVersion => None,
        };
        if let Some(error) = lost
            && follower.mirror.gives_up(&error)
        {
            return Err(error);
        }
        sleep(pause).await;
    }
}

/// A server that says nothing, as a client reports one that cannot be reached.
fn no_answer(error: &FollowError) -> kube::Error {
    kube::Error::Service(error.to_string().into())
}

struct Follower<K, M> {
    api: Api<K>,
    settings: Settings,
    mirror: M,
    backoff: Backoff,
    /// Where to resume; without it everything is listed.
    version: Option<String>,
    /// Watches in a row that the server refused or ended without an event.
    futile: u32,
}

impl<K, M> Follower<K, M>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    M: Mirror<K>,
{
    /// Lists, or watches until the watch ends.
    async fn step(&mut self) -> Result<(), FollowError> {
        let Some(version) = self.version.clone() else { return self.list().await };
        let events = self.open(&version).await?;
        let opened = Instant::now();
        self.futile += 1;
        let ended = self.read(events, opened).await;
        if opened.elapsed() >= SETTLED {
            self.progress();
        }
        match ended {
            // A server that ends every watch at once must not be asked without a pause.
            Ok(()) if self.futile > 0 => Err(self.in_vain(FollowError::EndedAtOnce)),
            Err(error) if self.futile > 0 => Err(self.in_vain(error)),
            ended => ended,
        }
    }

    /// Lists again if that is due.
    fn in_vain(&mut self, error: FollowError) -> FollowError {
        if self.futile >= MAX_FUTILE {
            self.version = None;
        }
        error
    }

    fn progress(&mut self) {
        self.backoff.reset();
        self.futile = 0;
    }

    async fn list(&mut self) -> Result<(), FollowError> {
        self.mirror.begin();
        let Settings { labels, fields, page_size, .. } = &self.settings;
        let mut params = ListParams {
            label_selector: selector(labels),
            field_selector: selector(fields),
            ..ListParams::default().limit(*page_size)
        };
        let version = loop {
            let page = timeout(REQUEST_TIMEOUT, self.api.list(&params)).await;
            let page = page.map_err(|_| FollowError::NoAnswer)?.map_err(FollowError::List)?;
            for object in page.items {
                self.mirror.list(object);
                self.mirror.settle().await;
            }
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                break page.metadata.resource_version.filter(|version| !version.is_empty());
            }
        };
        self.version = Some(version.ok_or(FollowError::NoVersion)?);
        self.futile = 0;
        self.mirror.complete();
        self.mirror.settle().await;
        Ok(())
    }

    /// Starts a watch at `version`.
    async fn open(
        &mut self,
        version: &str,
    ) -> Result<impl Stream<Item = kube::Result<WatchEvent<K>>> + Send + use<K, M>, FollowError>
    {
        let Settings { labels, fields, watch_timeout, .. } = &self.settings;
        let params = WatchParams {
            label_selector: selector(labels),
            field_selector: selector(fields),
            timeout: u32::try_from(watch_timeout.as_secs()).ok(),
            bookmarks: true,
            ..WatchParams::default()
        };
        let answer = timeout(REQUEST_TIMEOUT, self.api.watch(&params, version)).await;
        let answer = answer.map_err(|_| FollowError::NoAnswer)?;
        answer.map_err(|error| {
            self.futile += u32::from(matches!(error, kube::Error::Api(_)));
            let error = self.refused(error);
            self.in_vain(error)
        })
    }

    /// Takes in events until the watch ends.
    async fn read(
        &mut self,
        events: impl Stream<Item = kube::Result<WatchEvent<K>>> + Send,
        opened: Instant,
    ) -> Result<(), FollowError> {
        let mut events = std::pin::pin!(events);
        let deadline = opened + self.settings.watch_timeout + SLACK;
        loop {
            let event = timeout_at(deadline, events.next()).await.map_err(|_| FollowError::Dead)?;
            match event {
                None => return Ok(()),
                Some(Ok(WatchEvent::Added(object) | WatchEvent::Modified(object))) => {
                    self.seen(object.resource_version())?;
                    self.mirror.apply(object);
                }
                Some(Ok(WatchEvent::Deleted(object))) => {
                    self.seen(object.resource_version())?;
                    self.mirror.delete(object);
                }
                Some(Ok(WatchEvent::Bookmark(bookmark))) => {
                    self.seen(Some(bookmark.metadata.resource_version))?;
                }
                Some(Ok(WatchEvent::Error(status))) => {
                    return Err(self.refused(kube::Error::Api(status)));
                }
                // One object that cannot be read must not keep out those after it.
                Some(Err(error)) if is_unreadable(&error) => {
                    let resource = self.api.resource_url();
                    tracing::warn!(resource, %error, "an object of the watch cannot be read");
                    continue;
                }
                Some(Err(error)) => return Err(self.refused(error)),
            }
            self.progress();
            self.mirror.settle().await;
        }
    }

    fn seen(&mut self, version: Option<String>) -> Result<(), FollowError> {
        let version = version.filter(|version| !version.is_empty());
        let known = version.is_some();
        self.version = version;
        if known { Ok(()) } else { Err(FollowError::NoVersion) }
    }

    /// After an answer that is not about the server's own trouble, everything is listed again.
    fn refused(&mut self, error: kube::Error) -> FollowError {
        if let kube::Error::Api(status) = &error
            && !is_trouble(status)
        {
            self.version = None;
        }
        FollowError::Watch(error)
    }
}

/// True when the server could not do its work, so that the same request may succeed later. Listing
/// instead would only add to its load. A version from its future is answered 504, and is not of that
/// kind: it will never be known.
fn is_trouble(status: &Status) -> bool {
    matches!(status.code, 429 | 500 | 502 | 503)
}

/// A line of a watch that is not what it should be. Most of them kube takes for a `Status`, none of
/// whose fields is required; a real one has a code.
fn is_unreadable(error: &kube::Error) -> bool {
    match error {
        kube::Error::SerdeError(_) => true,
        kube::Error::Api(status) => status.code == 0,
        _ => false,
    }
}

fn selector(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}
