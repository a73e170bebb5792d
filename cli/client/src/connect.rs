//! The cluster that is meant: kubeconfig and context, or the account of the pod this runs in.
//!
//! Nothing is sent here. A cluster that does not answer is found out by the first call.

use std::{io, path::PathBuf, time::Duration};

use http::Uri;
use kube::{
    Client, Config,
    config::{AuthInfo, KubeConfigOptions, Kubeconfig, KubeconfigError},
};

use crate::error::ApiError;

/// How long a connection to the cluster may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the cluster may take to answer, or to go on with an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// Namespace of a context that names none.
const DEFAULT_NAMESPACE: &str = "default";

/// Which cluster, and where in it. What is absent comes from the kubeconfig.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// File to read instead of those of `KUBECONFIG` or `~/.kube/config`.
    pub kubeconfig: Option<PathBuf>,
    /// Context instead of the current one.
    pub context: Option<String>,
    /// Namespace instead of the context's.
    pub namespace: Option<String>,
}

/// Why there is no cluster to talk to.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Neither a kubeconfig nor a pod's account.
    #[error("no kubeconfig found{}", looked_at(path))]
    NoKubeconfig {
        /// The file that was looked for, where it is one.
        path: Option<PathBuf>,
    },
    /// The kubeconfig cannot be read.
    #[error("cannot read the kubeconfig: {0}")]
    Unreadable(String),
    /// It has no current context, and none was named.
    #[error("the kubeconfig has no current context; it knows {}", known(contexts))]
    NoContext {
        /// Its contexts.
        contexts: Vec<String>,
    },
    /// It has no context of that name.
    #[error("the kubeconfig has no context {context:?}; it knows {}", known(contexts))]
    UnknownContext {
        /// What was asked for.
        context: String,
        /// Its contexts.
        contexts: Vec<String>,
    },
    /// What it says of the context makes no client.
    #[error("the kubeconfig's context cannot be used: {0}")]
    Unusable(String),
}

fn looked_at(path: &Option<PathBuf>) -> String {
    path.as_ref().map(|path| format!(" at {}", path.display())).unwrap_or_default()
}

fn known(contexts: &[String]) -> String {
    if contexts.is_empty() { "none".to_owned() } else { contexts.join(", ") }
}

/// A cluster and a namespace in it.
#[derive(Clone)]
pub struct Connection {
    /// For calls that are answered at once.
    pub client: Client,
    /// For streams, which may be silent as long as they like.
    pub streams: Client,
    /// Where everything is that is not named otherwise.
    pub namespace: String,
}

impl Connection {
    /// What the API server is of, `v1.34.0`.
    ///
    /// # Errors
    /// Whatever the cluster says.
    pub async fn kubernetes_version(&self) -> Result<String, ApiError> {
        let version = self.client.apiserver_version().await;
        let reported = |error| ApiError::read(error, "version", &self.namespace);
        Ok(version.map_err(reported)?.git_version)
    }

    /// The same cluster, in another namespace.
    pub fn within(&self, namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), ..self.clone() }
    }
}

/// Why there is no server, or no connection to it.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// This process is no pod.
    #[error("this is no pod of a cluster: {0}")]
    NoPod(String),
    /// The token cannot be one.
    #[error("a token has no spaces and no special characters")]
    Token,
    /// No client can be made.
    #[error(transparent)]
    Client(#[from] ConnectError),
}

/// A cluster's API server as somebody without credentials knows it: its address and whom it is signed by.
///
/// A connection has the rights of the token it is made with and no other: no account of this process
/// is ever read.
#[derive(Clone)]
pub struct Server(Config);

impl Server {
    /// That of the cluster this process is a pod of.
    ///
    /// # Errors
    /// Outside of a pod, and without the cluster's certificate.
    pub fn of_pod() -> Result<Self, ServerError> {
        let config = Config::incluster().map_err(|error| ServerError::NoPod(error.to_string()))?;
        Ok(Self(without_credentials(config)))
    }

    /// At this address.
    pub fn at(url: Uri) -> Self {
        Self(Config::new(url))
    }

    /// For whoever has this token.
    ///
    /// # Errors
    /// When it cannot be sent.
    pub fn connection(&self, token: &str) -> Result<Connection, ServerError> {
        if !is_token(token) {
            return Err(ServerError::Token);
        }
        let mut config = self.0.clone();
        config.auth_info.token = Some(token.to_owned().into());
        Ok(made(config, DEFAULT_NAMESPACE.to_owned())?)
    }
}

/// Whatever would let this process act as itself is left out.
fn without_credentials(mut config: Config) -> Config {
    config.auth_info = AuthInfo::default();
    config.headers.clear();
    config
}

/// Can this stand behind `Bearer`? Without one, the request would be anonymous.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Makes clients for the cluster that is meant.
///
/// # Errors
/// When the kubeconfig does not say how.
pub async fn connect(target: &Target) -> Result<Connection, ConnectError> {
    let config = config(target).await?;
    let namespace = match &target.namespace {
        Some(namespace) => namespace.clone(),
        None if config.default_namespace.is_empty() => DEFAULT_NAMESPACE.to_owned(),
        None => config.default_namespace.clone(),
    };
    made(config, namespace)
}

fn made(mut config: Config, namespace: String) -> Result<Connection, ConnectError> {
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    let streams = client(config.clone())?;
    config.read_timeout = Some(READ_TIMEOUT);
    config.reset_reader_on_write = true;
    Ok(Connection { client: client(config)?, streams, namespace })
}

fn client(config: Config) -> Result<Client, ConnectError> {
    Client::try_from(config).map_err(|error| ConnectError::Unusable(error.to_string()))
}

async fn config(target: &Target) -> Result<Config, ConnectError> {
    let kubeconfig = match read(target) {
        Ok(kubeconfig) => kubeconfig,
        // In a pod there is none, and none is needed.
        Err(ConnectError::NoKubeconfig { path }) if names_nothing(target) => {
            return Config::incluster().map_err(|_| ConnectError::NoKubeconfig { path });
        }
        Err(error) => return Err(error),
    };
    let contexts = || kubeconfig.contexts.iter().map(|context| context.name.clone()).collect();
    let context = target.context.as_ref().or(kubeconfig.current_context.as_ref());
    let Some(context) = context.filter(|context| !context.is_empty()) else {
        return Err(ConnectError::NoContext { contexts: contexts() });
    };
    if !kubeconfig.contexts.iter().any(|known| known.name == *context) {
        let (context, contexts) = (context.clone(), contexts());
        return Err(ConnectError::UnknownContext { context, contexts });
    }
    let options =
        KubeConfigOptions { context: Some(context.clone()), ..KubeConfigOptions::default() };
    let made = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    made.map_err(|error| ConnectError::Unusable(error.to_string()))
}

/// Contexts that the kubeconfig knows.
///
/// # Errors
/// When it cannot be read.
pub fn contexts(target: &Target) -> Result<Vec<String>, ConnectError> {
    Ok(read(target)?.contexts.into_iter().map(|context| context.name).collect())
}

fn names_nothing(target: &Target) -> bool {
    target.kubeconfig.is_none() && target.context.is_none()
}

fn read(target: &Target) -> Result<Kubeconfig, ConnectError> {
    let read = match &target.kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    read.map_err(|error| match error {
        KubeconfigError::ReadConfig(source, path) if source.kind() == io::ErrorKind::NotFound => {
            ConnectError::NoKubeconfig { path: Some(path) }
        }
        // Without the lines it is about, which may hold credentials.
        KubeconfigError::Parse(error) => {
            ConnectError::Unreadable(error.without_snippet().to_string())
        }
        KubeconfigError::FindPath => ConnectError::NoKubeconfig { path: None },
        error => ConnectError::Unreadable(error.to_string()),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_server_has_no_account_of_this_process() {
        let mut config = Config::new("https://10.0.0.1".parse().unwrap());
        config.auth_info.token_file = Some("/var/run/secrets/token".to_owned());
        config.auth_info.username = Some("pod".to_owned());
        let found = without_credentials(config).auth_info;
        assert!(found.token_file.is_none() && found.username.is_none() && found.token.is_none());
    }

    #[tokio::test]
    async fn without_a_token_there_is_no_connection() {
        let server = Server::at("http://127.0.0.1:1".parse().unwrap());
        for token in ["", " ", "a b", "a\nb", "a\0", "é"] {
            assert!(server.connection(token).is_err(), "{token:?}");
        }
        assert!(server.connection("a.b-c_d").is_ok());
    }
}
