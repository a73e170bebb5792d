//! Rights in the namespaces of functions, and what can only be watched with them: Secrets.
//!
//! The controller may write nothing outside its own namespace until it has bound its role there,
//! which an admission policy allows for namespaces of functions only. Secrets are watched by
//! their metadata; a value is read when a reconcile needs it and is not kept.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::{
    ByteString,
    api::{
        core::v1::{Namespace, Secret},
        rbac::v1::{RoleBinding, RoleRef, Subject},
    },
};
use kipper_function::{Function, names};
use kipper_trigger::token::BacklogKey;
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ObjectMeta, PartialObjectMeta, PostParams},
    runtime::reflector::Store,
};
use parking_lot::Mutex;
use tokio::{sync::watch, task::AbortHandle};

use crate::{
    cache::{Cache, Key},
    digest::digest,
    watch::{self as follow, Queue, rows},
};

/// The RoleBinding in each namespace of functions.
const ROLE_BINDING: &str = "kipper-controller";
/// The role it gives.
const ROLE: &str = "kipper-controller-namespace";
/// Label of a namespace that says which environment of its project it is.
const ENVIRONMENT: &str = "kipper.run/environment";
/// A reconcile waits this long for a namespace's first list of Secrets, and is then tried again.
const SYNC_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a namespace cannot be worked in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NamespaceError {
    #[error("functions are refused in namespace {0}")]
    Denied(String),
    #[error("bind the controller's role in namespace {namespace}")]
    Bind { namespace: String, source: kube::Error },
    #[error("the Secrets of namespace {0} could not be listed in time")]
    NotSynced(String),
}

/// What is kept of a Secret's values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SecretView {
    pub(crate) keys: BTreeSet<String>,
    /// Changes exactly when a key or value does.
    pub(crate) digest: String,
}

struct Watching {
    task: AbortHandle,
    synced: watch::Receiver<bool>,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The namespaces that have functions.
pub(crate) struct Namespaces {
    pub(crate) client: Client,
    pub(crate) cache: Arc<Cache>,
    pub(crate) functions: Store<Function>,
    pub(crate) queue: Queue,
    /// Namespace and name of the controller's service account.
    pub(crate) account: Key,
    pub(crate) denied: HashSet<String>,
    /// Signs what pollers report backlogs with, where they do.
    pub(crate) backlog_key: Option<BacklogKey>,
    watching: Mutex<HashMap<String, Watching>>,
    /// Views by Secret and the version they were made from. Rows go with their namespace.
    views: Mutex<HashMap<Key, (String, SecretView)>>,
}

/// Gives the rights in one namespace back.
pub(crate) async fn give_back(client: &Client, namespace: &str) -> kube::Result<()> {
    let api: Api<RoleBinding> = Api::namespaced(client.clone(), namespace);
    match api.delete(ROLE_BINDING, &DeleteParams::default()).await {
        // Gone with its namespace, or refused there.
        Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => Ok(()),
        other => other.map(drop),
    }
}

impl Namespaces {
    pub(crate) fn new(
        client: Client,
        cache: Arc<Cache>,
        functions: Store<Function>,
        queue: Queue,
        account: Key,
        denied: HashSet<String>,
        backlog_key: Option<BacklogKey>,
    ) -> Self {
        let (watching, views) = (Mutex::default(), Mutex::default());
        Self { client, cache, functions, queue, account, denied, backlog_key, watching, views }
    }

    /// Gets the rights and the Secrets' metadata of `namespace`; costs nothing the second time.
    pub(crate) async fn enter(&self, namespace: &str) -> Result<(), NamespaceError> {
        if self.denied.contains(namespace) || namespace == self.account.namespace {
            return Err(NamespaceError::Denied(namespace.to_owned()));
        }
        let known = self.watching.lock().get(namespace).map(|w| w.synced.clone());
        let mut synced = match known {
            Some(synced) => synced,
            None => {
                self.bind(namespace).await?;
                self.watch(namespace)
            }
        };
        let ready = tokio::time::timeout(SYNC_TIMEOUT, synced.wait_for(|synced| *synced)).await;
        match ready {
            Ok(Ok(_)) => Ok(()),
            _ => Err(NamespaceError::NotSynced(namespace.to_owned())),
        }
    }

    /// Forgets a namespace whose rights were taken away, so that they are asked for again.
    pub(crate) fn forget(&self, namespace: &str) {
        self.watching.lock().remove(namespace);
        self.views.lock().retain(|key, _| key.namespace != namespace);
        for (key, _) in self.cache.secrets.filter(|key, _| key.namespace == namespace) {
            self.cache.secrets.remove(&key);
        }
    }

    /// Gives the rights back once no function of its namespace is to stay. Of several that are
    /// deleted together the first does it; one that needs the rights still, enters again.
    pub(crate) async fn leave(&self, leaving: &Function) -> kube::Result<()> {
        let namespace = leaving.namespace().unwrap_or_default();
        let others = self.functions.state().iter().any(|f| {
            f.namespace().as_deref() == Some(namespace.as_str())
                && f.uid() != leaving.uid()
                && f.metadata.deletion_timestamp.is_none()
        });
        if others {
            return Ok(());
        }
        self.forget(&namespace);
        give_back(&self.client, &namespace).await
    }

    async fn bind(&self, namespace: &str) -> Result<(), NamespaceError> {
        let api: Api<RoleBinding> = Api::namespaced(self.client.clone(), namespace);
        let labels = [(names::MANAGED_BY, names::KIPPER), (names::PART_OF, names::KIPPER)];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let binding = RoleBinding {
            metadata: ObjectMeta {
                name: Some(ROLE_BINDING.to_owned()),
                labels: Some(labels.into()),
                ..ObjectMeta::default()
            },
            role_ref: RoleRef {
                api_group: "rbac.authorization.k8s.io".to_owned(),
                kind: "ClusterRole".to_owned(),
                name: ROLE.to_owned(),
            },
            subjects: Some(vec![Subject {
                kind: "ServiceAccount".to_owned(),
                name: self.account.name.clone(),
                namespace: Some(self.account.namespace.clone()),
                ..Subject::default()
            }]),
        };
        match api.create(&PostParams::default(), &binding).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
            Err(source) => Err(NamespaceError::Bind { namespace: namespace.to_owned(), source }),
            Ok(_) => Ok(()),
        }
    }

    /// Starts the watch of a namespace's Secrets, unless another reconcile just did.
    fn watch(&self, namespace: &str) -> watch::Receiver<bool> {
        let mut watching = self.watching.lock();
        if let Some(known) = watching.get(namespace) {
            return known.synced.clone();
        }
        let (done, synced) = watch::channel(false);
        let rows = rows::Secrets {
            cache: Arc::clone(&self.cache),
            functions: self.functions.clone(),
            namespace: namespace.to_owned(),
        };
        let api: Api<PartialObjectMeta<Secret>> = Api::namespaced(self.client.clone(), namespace);
        let queue = self.queue.clone();
        let task = tokio::spawn(follow::follow(api, "", rows, queue, move || {
            // Kept alive by the closure until then; that none waits for it is not an error.
            let _ = done.send(true);
        }));
        let entry = Watching { task: task.abort_handle(), synced: synced.clone() };
        watching.insert(namespace.to_owned(), entry);
        synced
    }

    /// Keys and digest of a Secret; `None` where there is none.
    pub(crate) async fn view(&self, key: &Key) -> kube::Result<Option<SecretView>> {
        let Some(meta) = self.cache.secrets.get(key) else { return Ok(None) };
        if let Some((version, view)) = self.views.lock().get(key)
            && *version == meta.version
        {
            return Ok(Some(view.clone()));
        }
        let Some(values) = self.values(key).await? else { return Ok(None) };
        let view = SecretView {
            keys: values.keys().cloned().collect(),
            digest: digest(values.iter().flat_map(|(key, value)| [key.as_bytes(), value])),
        };
        self.views.lock().insert(key.clone(), (meta.version, view.clone()));
        Ok(Some(view))
    }

    /// Values of a Secret.
    pub(crate) async fn values(
        &self,
        key: &Key,
    ) -> kube::Result<Option<BTreeMap<String, Vec<u8>>>> {
        let secret = self.secrets(&key.namespace).get_opt(&key.name).await?;
        let data = secret.map(|secret| secret.data.unwrap_or_default());
        let plain = |data: BTreeMap<String, ByteString>| {
            data.into_iter().map(|(key, value)| (key, value.0)).collect()
        };
        Ok(data.map(plain))
    }

    /// Takes note of a Secret this controller just wrote, ahead of the watch.
    pub(crate) fn stored(&self, key: &Key, secret: &Secret) {
        self.cache.secrets.put(key.clone(), rows::secret_meta(&secret.metadata));
    }

    pub(crate) fn secrets(&self, namespace: &str) -> Api<Secret> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Which environment of its project a namespace is: its label, else the last part of its name.
    pub(crate) async fn environment(&self, namespace: &str) -> kube::Result<String> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let object = api.get(namespace).await?;
        let label = object.labels().get(ENVIRONMENT).filter(|value| !value.is_empty());
        let suffix = || namespace.rsplit('-').next().unwrap_or(namespace).to_owned();
        Ok(label.cloned().unwrap_or_else(suffix))
    }
}
