//! One object, followed for somebody who waits for it to become something.

use std::fmt::Debug;

use futures_util::{Stream, stream};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use crate::{
    follow::{Settings, follow},
    mirror::Mirror,
};

/// Each state of the object `name` from now on; `None` while there is none. After an error for which
/// `gives_up` is true the stream ends with it; all others are tried again.
pub fn states<K>(
    api: Api<K>,
    name: &str,
    gives_up: fn(&kube::Error) -> bool,
) -> impl Stream<Item = kube::Result<Option<K>>> + Send + use<K>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let (sender, states) = mpsc::channel(1);
    let settings = Settings { fields: format!("metadata.name={name}"), ..Settings::default() };
    let mirror = ObjectMirror { sender, gives_up, listed: None, seen: Vec::new() };
    let following = Box::pin(follow(api, settings, mirror));
    stream::unfold((states, Some(following)), |(mut states, mut following)| async move {
        let running = following.as_mut()?;
        let ended = tokio::select! {
            biased;
            Some(state) = states.recv() => Ok(state),
            Err(error) = running => Err(error),
        };
        Some(match ended {
            Ok(state) => (Ok(state), (states, following)),
            Err(error) => (Err(error), (states, None)),
        })
    })
}

struct ObjectMirror<K> {
    sender: mpsc::Sender<Option<K>>,
    gives_up: fn(&kube::Error) -> bool,
    listed: Option<K>,
    /// States that are not handed over yet.
    seen: Vec<Option<K>>,
}

impl<K: Send> Mirror<K> for ObjectMirror<K> {
    fn begin(&mut self) {
        self.listed = None;
    }

    fn list(&mut self, object: K) {
        self.listed = Some(object);
    }

    fn complete(&mut self) {
        self.seen.push(self.listed.take());
    }

    fn apply(&mut self, object: K) {
        self.seen.push(Some(object));
    }

    fn delete(&mut self, _: K) {
        self.seen.push(None);
    }

    async fn settle(&mut self) {
        for state in self.seen.drain(..) {
            // The receiver lives as long as the stream that polls this.
            let _ = self.sender.send(state).await;
        }
    }

    fn gives_up(&self, error: &kube::Error) -> bool {
        (self.gives_up)(error)
    }
}
