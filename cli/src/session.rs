//! A cluster that is connected to, and the namespace in it that the command works in.

use kipper_client::{ApiError, Connection, cluster::Cluster, connect, functions::Functions};
use kipper_function::Function;
use kipper_process::exit::UsageError;
use kube::ResourceExt as _;

use crate::settings::{ScopeArgs, Settings};

/// A connection, what the settings say about it, and the functions of its namespace.
pub(crate) struct Session {
    pub(crate) settings: Settings,
    pub(crate) connection: Connection,
    pub(crate) functions: Functions,
}

impl Session {
    /// Connects as flags, environment, file and kubeconfig say.
    ///
    /// # Errors
    /// When they contradict each other or name no cluster.
    pub(crate) async fn open(scope: &ScopeArgs) -> anyhow::Result<Self> {
        let settings = scope.settings()?;
        let connection = connect::connect(&settings.target).await?;
        let functions = Functions::new(&connection);
        Ok(Self { settings, connection, functions })
    }

    /// What the cluster's chart says, if the user may read it.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub(crate) async fn cluster(&self) -> Result<Option<Cluster>, ApiError> {
        Cluster::read(&self.connection, &self.settings.system_namespace).await
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.connection.namespace
    }

    /// The session in the namespace that a file names for a function, unless flags name another.
    ///
    /// # Errors
    /// When flags name another namespace.
    pub(crate) fn within(&self, function: &Function) -> Result<Self, UsageError> {
        let settings = self.settings.clone();
        let connection = match function.namespace() {
            Some(namespace) if namespace != self.namespace() => {
                if settings.is_flagged {
                    let (name, asked) = (function.name_any(), self.namespace());
                    return Err(UsageError::new(format!(
                        "function {name} is in namespace {namespace} in its file, not in {asked}"
                    )));
                }
                self.connection.within(&namespace)
            }
            _ => self.connection.clone(),
        };
        let functions = Functions::new(&connection);
        Ok(Self { settings, connection, functions })
    }
}
