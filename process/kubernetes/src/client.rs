//! The client of processes that watch.

use kube::{Client, Config};

/// A client as `KUBECONFIG` or the pod's service account says, that tries nothing again by itself: its
/// users have a backoff of their own, and must hear of a refusal to act on it.
///
/// # Errors
/// When there is no configuration, or it makes no client.
pub async fn client() -> kube::Result<Client> {
    let mut config = Config::infer().await.map_err(kube::Error::InferConfig)?;
    config.default_retry = false;
    Client::try_from(config)
}
